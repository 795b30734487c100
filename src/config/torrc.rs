//! The text of a torrc: lines to options, and back.
//!
//! Knows quotes, comments, continuations and the marks before a key; not what any option
//! means (`mod.rs`), and no file: including others is the shell's, which sees the line.
//! Called by `mod.rs` and by the shell. Spec: none.
//! C tor: `parse_config_line_from_str_verbose` and `unescape_string`, quirk by quirk; the
//! manual page tor(1), "The Configuration File Format".
//! Differs: a value is text. C tor takes any bytes; those that are no UTF-8 are refused here.

use core::fmt;

/// The key of a line that stands for those of other files.
pub const INCLUDE: &str = "%include";
/// The longest value; ours, for a bound. C tor has none.
pub const MAX_VALUE_LEN: usize = 64 * 1024;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it begins, counted from 1.
    pub number: u32,
    /// What it does to what was said before it.
    pub change: Change,
    /// As it was written, without the mark.
    pub key: String,
    /// Without quotes, comments and continuations; empty if none was given.
    pub value: String,
}

/// What a line does to what lower layers said of the same option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Takes its place.
    Set,
    /// `+Key`: is added to it.
    Append,
    /// `/Key`: leaves nothing of it.
    Clear,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A quoted value that does not end on its line, or with an escape that there is not.
    BadQuote,
    /// Something behind a quoted value.
    BehindQuote,
    /// Bytes that are no text.
    NotText,
    /// A value longer than [`MAX_VALUE_LEN`].
    TooLong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::BadQuote => "the quoted value does not end, or has an escape that there is not",
            Fault::BehindQuote => "there is something behind the quoted value",
            Fault::NotText => "the value is not UTF-8",
            Fault::TooLong => "the value is too long",
        })
    }
}

/// The lines of a text, or the number of the first that is none. Nothing follows a fault.
pub fn lines(text: &str) -> impl Iterator<Item = Result<Line, (u32, Fault)>> + '_ {
    let mut reader = Reader { rest: text, number: 1 };
    let mut is_over = false;
    core::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let line = reader.next();
        is_over = !matches!(line, Some(Ok(_)));
        line
    })
}

/// A value as a line of a torrc can carry it: quoted only where it must be.
pub fn quote(value: &str) -> String {
    let plain = |c: char| !c.is_control() && c != '#' && c != '\\';
    let is_plain = value.chars().all(plain) && !value.starts_with('"') && value.trim() == value;
    if is_plain { value.to_owned() } else { quoted(value) }
}

/// A value in quotes.
pub fn quoted(value: &str) -> String {
    let mut out = String::from('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => out.push_str(&format!("\\{:03o}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What a quoted string at the front of a text says, and what is behind it.
pub fn unquote(text: &str) -> Option<(String, &str)> {
    let length = text.starts_with('"').then(|| quoted_len(text.as_bytes()))??;
    let (quoted, rest) = text.split_at_checked(length)?;
    Some((unescape(quoted).and_then(acceptable).ok()?, rest))
}

struct Reader<'a> {
    rest: &'a str,
    number: u32,
}

impl<'a> Reader<'a> {
    /// Takes so many bytes, which end between characters.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        let lines = taken.bytes().filter(|byte| *byte == b'\n').count();
        self.number = self.number.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.rest = rest;
        taken
    }

    /// Takes all up to the first character that does not fit.
    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        self.take(self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len()))
    }

    fn next(&mut self) -> Option<Result<Line, (u32, Fault)>> {
        loop {
            self.take_while(is_space);
            if !self.rest.starts_with('#') {
                break;
            }
            self.take_while(|c| c != '\n');
        }
        if self.rest.is_empty() {
            return None;
        }
        let number = self.number;
        let key = self.key();
        self.take_while(is_blank);
        let value = if self.rest.starts_with('"') { self.quoted_value() } else { Ok(self.plain_value()) };
        let value = value.and_then(acceptable);
        Some(value.map(|value| line(number, key, value)).map_err(|fault| (number, fault)))
    }

    fn key(&mut self) -> &'a str {
        let continued = self.rest.find("\\\n").unwrap_or(self.rest.len());
        let end = self.rest.find(|c| is_space(c) || c == '#').unwrap_or(self.rest.len());
        self.take(end.min(continued))
    }

    /// To the end of the line. A comment ends it, unless the value was continued: then only
    /// that comment's line is left out.
    fn plain_value(&mut self) -> String {
        let (mut value, mut is_continued) = (String::new(), false);
        loop {
            let end = self.rest.find(['\n', '#', '\\']).unwrap_or(self.rest.len());
            value.push_str(self.take(end));
            match self.rest.as_bytes() {
                [b'\\', b'\n', ..] => {
                    is_continued = true;
                    self.take(2);
                }
                [b'\\', ..] => value.push_str(self.take(1)),
                [b'#', ..] => {
                    self.take_while(|c| c != '\n');
                    if !is_continued {
                        break;
                    }
                    self.take(1);
                }
                _ => break,
            }
        }
        value.trim_end_matches(is_space).to_owned()
    }

    fn quoted_value(&mut self) -> Result<String, Fault> {
        let length = quoted_len(self.rest.as_bytes()).ok_or(Fault::BadQuote)?;
        let text = self.take(length);
        self.take_while(is_blank);
        if self.rest.starts_with("\r\n") {
            self.take(1);
        }
        if !(self.rest.is_empty() || self.rest.starts_with(['#', '\n'])) {
            return Err(Fault::BehindQuote);
        }
        self.take_while(|c| c != '\n');
        unescape(text)
    }
}

fn line(number: u32, key: &str, value: String) -> Line {
    let (change, key) = match (key.strip_prefix('+'), key.strip_prefix('/')) {
        (Some(key), _) => (Change::Append, key),
        (_, Some(key)) => (Change::Clear, key),
        _ => (Change::Set, key),
    };
    let value = if change == Change::Clear { String::new() } else { value };
    Line { number, change, key: key.to_owned(), value }
}

/// How long a quoted string is, with both its quotes, if it ends.
fn quoted_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\n' | 0 => return None,
            b'\\' => at += 1 + escape(bytes.get(at + 1..)?)?.1,
            _ => at += 1,
        }
    }
}

/// What stands behind a backslash: the byte it means, and its length.
fn escape(bytes: &[u8]) -> Option<(u8, usize)> {
    let octal = |byte: &&u8| matches!(byte, b'0'..=b'7');
    Some(match bytes {
        [b'n', ..] => (b'\n', 1),
        [b'r', ..] => (b'\r', 1),
        [b't', ..] => (b'\t', 1),
        [byte @ (b'"' | b'\\' | b'\''), ..] => (*byte, 1),
        [b'x' | b'X', high, low, ..] => {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            (digit(*high)? << 4 | digit(*low)?, 3)
        }
        _ => {
            let digits: Vec<u8> = bytes.iter().take(3).take_while(octal).copied().collect();
            let value = digits.iter().try_fold(0_u8, |value, digit| value.checked_mul(8)?.checked_add(digit - b'0'))?;
            (!digits.is_empty()).then_some((value, digits.len()))?
        }
    })
}

/// What a quoted string says.
fn unescape(text: &str) -> Result<String, Fault> {
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    let (mut rest, mut out) = (inner.as_bytes(), Vec::with_capacity(inner.len()));
    while let [byte, behind @ ..] = rest {
        let (byte, length) = if *byte == b'\\' { escape(behind).ok_or(Fault::BadQuote)? } else { (*byte, 0) };
        out.push(byte);
        rest = behind.get(length..).unwrap_or_default();
    }
    String::from_utf8(out).map_err(|_| Fault::NotText)
}

/// C tor: a value ends at its first zero byte; nobody means that.
fn acceptable(value: String) -> Result<String, Fault> {
    match value.len() {
        _ if value.contains('\0') => Err(Fault::NotText),
        0..=MAX_VALUE_LEN => Ok(value),
        _ => Err(Fault::TooLong),
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// C tor: `TOR_ISSPACE`.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0B' | '\x0C' | '\r')
}

/// For the fuzzer: no text does harm, and what is read can be written and read again.
pub fn fuzz_torrc(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for line in lines(&text).map_while(Result::ok) {
        let again = format!("Key {}\n", quote(&line.value));
        let read: Vec<_> = lines(&again).collect();
        assert!(matches!(&read[..], [Ok(Line { value, .. })] if *value == line.value), "{again:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(u32, String, String)> {
        lines(text).map(|line| line.map(|line| (line.number, line.key, line.value)).unwrap()).collect()
    }

    fn one(text: &str) -> (String, String) {
        let [(_, key, value)] = <[_; 1]>::try_from(read(text)).unwrap();
        (key, value)
    }

    fn fault(text: &str) -> (u32, Fault) {
        lines(text).last().unwrap().unwrap_err()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    /// The cases of `test_config_parsing` style in C tor's src/test/test_util.c,
    /// `test_util_config_line`, and what follows from them.
    #[test]
    fn lines_are_read_as_c_tor_reads_them() {
        for (text, key, value) in [
            ("k v\n", "k", "v"),
            (" key    value with spaces   \n", "key", "value with spaces"),
            ("keykey val\n\n", "keykey", "val"),
            ("k2\n", "k2", ""),
            ("k3 \n", "k3", ""),
            ("  k6           val     # comment\n", "k6", "val"),
            ("kseven   \"a quoted 'string\"\n", "kseven", "a quoted 'string"),
            ("k8 \"a \\x71uoted\\n\\\"str\\\\ing\\t\\001\\01\\1\\\"\"\n", "k8", "a quoted\n\"str\\ing\t\x01\x01\x01\""),
            ("k9 a line that\\\n spans two lines.\n", "k9", "a line that spans two lines."),
            ("k10 more than\\\n one contin\\\nuation\n", "k10", "more than one continuation"),
            ("k11  \\\ncontinuation at the start\n", "k11", "continuation at the start"),
            ("k12 line with a\\\n#comment\n embedded\n", "k12", "line with a embedded"),
            ("k13\\\ncontinuation at the very start\n", "k13", "continuation at the very start"),
            ("k14 a line that has a comment and # ends with a slash \\\n", "k14", "a line that has a comment and"),
            ("k16 line with an unescaped \" quote\n", "k16", "line with an unescaped \" quote"),
            ("k17 \"quoted\" # behind\n", "k17", "quoted"),
            ("k18 \"dos\"\r\n", "k18", "dos"),
            ("k19 back\\slash", "k19", "back\\slash"),
            ("k20#no value", "k20", ""),
        ] {
            assert_eq!(one(text), pair(key, value), "{text:?}");
        }
    }

    #[test]
    fn lines_are_counted() {
        let text = "# a comment\n\na 1\nb \\\n2\n   # more\n\"\n";
        assert_eq!(
            read(&text[..text.len() - 2]),
            [(3, "a".to_owned(), "1".to_owned()), (4, "b".to_owned(), "2".to_owned())]
        );
        assert_eq!(fault("a 1\n\nb \"open\nc 2\n"), (3, Fault::BadQuote));
    }

    #[test]
    fn marks_say_what_a_line_does_to_others() {
        let read: Vec<_> = lines("A 1\n+A 2\n/A x\n").map(|line| line.unwrap()).collect();
        assert_eq!(
            read.iter().map(|line| line.change).collect::<Vec<_>>(),
            [Change::Set, Change::Append, Change::Clear]
        );
        assert!(read.iter().all(|line| line.key == "A") && read[2].value.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_and_ends_the_text() {
        for (text, expected) in [
            ("k \"no end\n", Fault::BadQuote),
            ("k \"no end", Fault::BadQuote),
            ("k \"\\q\"\n", Fault::BadQuote),
            ("k \"\\x1\"\n", Fault::BadQuote),
            ("k \"\\400\"\n", Fault::BadQuote),
            ("k \"v\" w\n", Fault::BehindQuote),
            ("k \"\\xff\"\n", Fault::NotText),
            ("k \"\\0\"\n", Fault::NotText),
        ] {
            assert_eq!(fault(text), (1, expected), "{text:?}");
            assert_eq!(lines(&format!("{text}\na b\n")).count(), 1, "{text:?}");
        }
        assert_eq!(fault(&format!("k {}\n", "v".repeat(MAX_VALUE_LEN + 1))), (1, Fault::TooLong));
        assert_eq!(one(&format!("k {}\n", "v".repeat(MAX_VALUE_LEN))).1.len(), MAX_VALUE_LEN);
    }

    #[test]
    fn a_value_is_quoted_only_where_it_must_be() {
        for plain in ["", "a b", "x\"y", "/var/lib/tor", "\u{e4}"] {
            assert_eq!(quote(plain), plain);
        }
        for (value, written) in [
            (" a", "\" a\""),
            ("a#b", "\"a#b\""),
            ("\"", "\"\\\"\""),
            ("a\\b", "\"a\\\\b\""),
            ("a\x01\n", "\"a\\001\\n\""),
        ] {
            assert_eq!(quote(value), written);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in "\\PC*|[ -~\n\t\r]*") {
            for written in [quote(&value), quoted(&value)] {
                let (_, read) = one(&format!("k {written}\n"));
                prop_assert_eq!(&read, &value, "{}", written);
            }
        }

        #[test]
        fn no_text_does_harm(text in ".{0,60}|([ak\"\\\\#+/ \n\r]|x7){0,60}") {
            fuzz_torrc(text.as_bytes());
        }
    }
}
