//! JSON, as much of it as a file of results has: values that are written and read back.
//!
//! Not for what strangers send at speed: it reads a whole text, of a bounded length and depth, and
//! says at which byte it gave up. Called by `report.rs`. Spec: RFC 8259, "The JavaScript Object
//! Notation (JSON) Data Interchange Format".

use core::fmt::{self, Write as _};
use std::collections::BTreeSet;

/// The longest text that is read; ours, ten times a long run's.
pub const MAX_LEN: usize = 4 << 20;
/// How deep values may be within each other; ours, several times a report's.
pub const MAX_DEPTH: usize = 16;
/// Down to which depth each item has a line of its own.
const BROKEN: usize = 2;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; one that is none is written as `null`.
    Number(f64),
    /// A text.
    Text(String),
    /// Values in their order.
    List(Vec<Value>),
    /// Names and values, in the order in which they are written.
    Object(Vec<(String, Value)>),
}

/// Why a text is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Longer than [`MAX_LEN`].
    TooLong,
    /// Deeper than [`MAX_DEPTH`], at that byte.
    TooDeep(usize),
    /// Not what may stand at that byte.
    Unexpected(usize),
    /// An object that ends at that byte has a name twice, so that nobody knows which counts.
    Twice(usize),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::TooLong => write!(f, "longer than {MAX_LEN} bytes"),
            Error::TooDeep(at) => write!(f, "more than {MAX_DEPTH} values within each other at byte {at}"),
            Error::Unexpected(at) => write!(f, "no JSON at byte {at}"),
            Error::Twice(at) => write!(f, "a name stands twice in the object that ends at byte {at}"),
        }
    }
}

impl Value {
    /// An object of these.
    pub fn object<const N: usize>(entries: [(&str, Value); N]) -> Value {
        Value::Object(entries.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// A list of numbers.
    pub fn numbers(numbers: &[f64]) -> Value {
        Value::List(numbers.iter().copied().map(Value::Number).collect())
    }

    /// What stands under a name of an object.
    pub fn field(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(entries) => entries.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// A number.
    pub fn number(&self) -> Option<f64> {
        if let Value::Number(number) = self { Some(*number) } else { None }
    }

    /// A text.
    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    /// The items of a list.
    pub fn items(&self) -> Option<&[Value]> {
        if let Value::List(items) = self { Some(items) } else { None }
    }

    /// Whether none of its texts and names can tell a terminal anything but letters.
    pub fn is_plain(&self) -> bool {
        let is_plain = |text: &str| !text.contains(char::is_control);
        match self {
            Value::Text(text) => is_plain(text),
            Value::List(items) => items.iter().all(Value::is_plain),
            Value::Object(entries) => entries.iter().all(|(name, value)| is_plain(name) && value.is_plain()),
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
        }
    }

    /// The same with blanks for what is not plain.
    pub fn into_plain(self) -> Value {
        let plain = |text: String| text.replace(char::is_control, " ");
        match self {
            Value::Text(text) => Value::Text(plain(text)),
            Value::List(items) => Value::List(items.into_iter().map(Value::into_plain).collect()),
            Value::Object(entries) => {
                let entries = entries.into_iter().map(|(name, value)| (plain(name), value.into_plain()));
                Value::Object(entries.collect())
            }
            other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
        }
    }

    /// Reads a text.
    pub fn parse(text: &str) -> Result<Value, Error> {
        if text.len() > MAX_LEN {
            return Err(Error::TooLong);
        }
        let mut parser = Parser { text, at: 0 };
        let value = parser.value(0)?;
        parser.blanks();
        if parser.at == text.len() { Ok(value) } else { Err(Error::Unexpected(parser.at)) }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Number(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Bool(flag)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self, 0)
    }
}

fn write(f: &mut fmt::Formatter<'_>, value: &Value, depth: usize) -> fmt::Result {
    match value {
        Value::Null => f.write_str("null"),
        Value::Bool(flag) => write!(f, "{flag}"),
        Value::Number(number) if number.is_finite() => write!(f, "{number}"),
        Value::Number(_) => f.write_str("null"),
        Value::Text(text) => write_text(f, text),
        Value::List(items) => write_all(f, ['[', ']'], depth, items, |f, item| write(f, item, depth + 1)),
        Value::Object(entries) => write_all(f, ['{', '}'], depth, entries, |f, (name, value)| {
            write_text(f, name)?;
            f.write_str(": ")?;
            write(f, value, depth + 1)
        }),
    }
}

fn write_all<T>(
    f: &mut fmt::Formatter<'_>,
    [open, close]: [char; 2],
    depth: usize,
    items: &[T],
    each: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    let is_broken = depth < BROKEN && !items.is_empty();
    let line = |f: &mut fmt::Formatter<'_>, depth| if is_broken { write!(f, "\n{:1$}", "", 2 * depth) } else { Ok(()) };
    f.write_char(open)?;
    for (number, item) in items.iter().enumerate() {
        f.write_str(if number == 0 {
            ""
        } else if is_broken {
            ","
        } else {
            ", "
        })?;
        line(f, depth + 1)?;
        each(f, item)?;
    }
    line(f, depth)?;
    f.write_char(close)
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

struct Parser<'a> {
    text: &'a str,
    /// `at <= text.len()`, and never within a character.
    at: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn take(&mut self, word: &str) -> bool {
        let is_next = self.rest().starts_with(word);
        self.at += if is_next { word.len() } else { 0 };
        is_next
    }

    fn want(&mut self, word: &str) -> Result<(), Error> {
        self.blanks();
        if self.take(word) { Ok(()) } else { Err(Error::Unexpected(self.at)) }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::TooDeep(self.at));
        }
        self.blanks();
        match self.rest().chars().next() {
            Some('{') => self.object(depth),
            Some('[') => self.list(depth),
            Some('"') => Ok(Value::Text(self.string()?)),
            Some('-' | '0'..='9') => self.number(),
            _ if self.take("null") => Ok(Value::Null),
            _ if self.take("true") => Ok(Value::Bool(true)),
            _ if self.take("false") => Ok(Value::Bool(false)),
            _ => Err(Error::Unexpected(self.at)),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Error> {
        let mut entries = Vec::new();
        self.want("{")?;
        self.blanks();
        if self.take("}") {
            return Ok(Value::Object(entries));
        }
        loop {
            self.blanks();
            let name = self.string()?;
            self.want(":")?;
            entries.push((name, self.value(depth + 1)?));
            self.blanks();
            if !self.take(",") {
                self.want("}")?;
                let mut names = BTreeSet::new();
                let is_clear = entries.iter().all(|(name, _)| names.insert(name));
                return if is_clear { Ok(Value::Object(entries)) } else { Err(Error::Twice(self.at)) };
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Error> {
        let mut items = Vec::new();
        self.want("[")?;
        self.blanks();
        if self.take("]") {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blanks();
            if !self.take(",") {
                return self.want("]").map(|()| Value::List(items));
            }
        }
    }

    fn number(&mut self) -> Result<Value, Error> {
        let rest = self.rest();
        let len = rest.find(|c: char| !matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9')).unwrap_or(rest.len());
        let number = rest.get(..len).and_then(|text| text.parse::<f64>().ok()).filter(|number| number.is_finite());
        let number = number.ok_or(Error::Unexpected(self.at))?;
        self.at += len;
        Ok(Value::Number(number))
    }

    fn string(&mut self) -> Result<String, Error> {
        let begun = self.at;
        let mut text = String::new();
        if !self.take("\"") {
            return Err(Error::Unexpected(begun));
        }
        loop {
            let Some(c) = self.rest().chars().next() else { return Err(Error::Unexpected(begun)) };
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(text),
                '\\' => text.push(self.escaped()?),
                c if c.is_control() => return Err(Error::Unexpected(self.at)),
                c => text.push(c),
            }
        }
    }

    /// What stands behind a backslash. Halves of a pair stand for nothing that can be read.
    fn escaped(&mut self) -> Result<char, Error> {
        let at = self.at;
        let c = self.rest().chars().next().ok_or(Error::Unexpected(at))?;
        self.at += c.len_utf8();
        match c {
            '"' | '\\' | '/' => Ok(c),
            'b' => Ok('\u{8}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'u' => {
                let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|it| it.is_ascii_hexdigit()));
                let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                self.at += 4;
                Ok(char::from_u32(number.ok_or(Error::Unexpected(at))?).unwrap_or(char::REPLACEMENT_CHARACTER))
            }
            _ => Err(Error::Unexpected(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Value {
        Value::object([
            ("text", "a \"b\" \\ \n ü".into()),
            ("numbers", Value::numbers(&[0.0, -1.5, 1e-9, 123_456_789_012.0])),
            ("rows", Value::List(vec![Value::object([("is", true.into()), ("null", Value::Null)])])),
            ("empty", Value::List(vec![])),
        ])
    }

    #[test]
    fn what_is_written_is_read_back_and_escapes_of_others_are_too() {
        assert_eq!(Value::parse(&sample().to_string()), Ok(sample()));
        assert_eq!(Value::parse(" [\t\"\\u00fc\\n\\/\" ] \n"), Ok(Value::List(vec!["ü\n/".into()])));
        assert_eq!(Value::Number(f64::NAN).to_string(), "null");
    }

    #[test]
    fn a_text_that_is_cut_anywhere_is_none() {
        let whole = sample().to_string();
        for (at, _) in whole.char_indices().skip(1) {
            assert!(Value::parse(&whole[..at]).is_err(), "{at}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_at_its_byte() {
        for (text, at) in [("", 0), ("{}x", 2), ("[1,]", 3), ("{\"a\" 1}", 5), ("nul", 0), ("-", 0), ("1e999", 0)] {
            assert_eq!(Value::parse(text), Err(Error::Unexpected(at)), "{text}");
        }
        assert!(
            Value::parse("\"\\u12").is_err() && Value::parse("\"\\x\"").is_err() && Value::parse("\"\\uüab\"").is_err()
        );
    }

    #[test]
    fn a_name_that_stands_twice_in_an_object_is_refused() {
        assert_eq!(Value::parse("[{\"a\": 1, \"b\": 2, \"a\": 1}]"), Err(Error::Twice(25)));
        assert!(Value::parse("[{\"a\": 1}, {\"a\": {\"a\": 1}}]").is_ok());
    }

    #[test]
    fn what_is_not_plain_is_found_wherever_it_is() {
        for escape in ["\u{1b}[2J", "\u{9b}2J", "a\nb", "\u{7f}"] {
            let deep = Value::List(vec![Value::object([("a", Value::List(vec![escape.into()]))])]);
            let named = Value::object([(escape, true.into())]);
            for value in [deep, named] {
                assert!(!value.is_plain(), "{value}");
                assert!(value.into_plain().is_plain());
            }
        }
        assert!(Value::from("ü \"b\" \\").is_plain());
        assert_eq!(Value::from("a\nb").into_plain(), "a b".into());
    }

    #[test]
    fn depth_and_length_have_a_bound() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Value::parse(&deep(MAX_DEPTH + 1)).is_ok());
        assert_eq!(Value::parse(&deep(MAX_DEPTH + 2)), Err(Error::TooDeep(MAX_DEPTH + 1)));
        assert_eq!(Value::parse(&" ".repeat(MAX_LEN + 1)), Err(Error::TooLong));
    }
}
