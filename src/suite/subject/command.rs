//! Any other program with a SOCKS port, by a line of words, which may be quoted as in a shell. No
//! shell is between.
//!
//! Called by `mod.rs`. Spec: POSIX, shell command language, quoting.

use std::path::Path;
use std::process::Command;

use super::super::process::plain;
use super::{Home, Program};

/// A line of words, the program first. In each, `{torrc}`, `{socks}` and `{data}` stand for what it
/// is given.
pub struct Line {
    line: String,
    words: Vec<String>,
}

impl Line {
    /// What the command line asks for.
    pub fn parse(line: &str) -> Result<Line, String> {
        let words = words(line).map_err(|why| format!("cmd:{line:?}: {why}"))?;
        let line = Line { line: line.to_owned(), words };
        if line.name().is_empty() { Err("cmd: no program is named".to_owned()) } else { Ok(line) }
    }
}

impl Program for Line {
    fn name(&self) -> String {
        let program = self.words.first().map(String::as_str).unwrap_or_default();
        let name = Path::new(program).file_name().unwrap_or(program.as_ref());
        plain(&name.to_string_lossy())
    }

    fn about(&self) -> Option<String> {
        Some(plain(&self.line))
    }

    fn command(&self, home: &Home) -> Result<Command, String> {
        let (torrc, data) = (home.torrc(), home.data());
        let filled = |word: &String| {
            let word = word.replace("{socks}", &home.socks.to_string());
            word.replace("{torrc}", &torrc.to_string_lossy()).replace("{data}", &data.to_string_lossy())
        };
        let mut words = self.words.iter().map(filled);
        let mut command = Command::new(words.next().ok_or("the command is empty")?);
        command.args(words);
        Ok(command)
    }
}

/// The words of a line. Within '…' everything is itself; within "…" a backslash makes `"`, `\`, `$`
/// and a backquote themselves; elsewhere it makes anything that follows itself. Nothing else means
/// anything.
fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let (mut words, mut word, mut rest) = (Vec::new(), None, line.chars().peekable());
    while let Some(c) = rest.next() {
        if c.is_ascii_whitespace() {
            words.extend(word.take());
            continue;
        }
        // An empty pair of quotes is a word too.
        let word = word.get_or_insert_with(String::new);
        match c {
            '\\' => word.push(rest.next().ok_or("nothing follows its last backslash")?),
            '\'' => loop {
                match rest.next().ok_or("a ' is not closed")? {
                    '\'' => break,
                    c => word.push(c),
                }
            },
            '"' => loop {
                match rest.next().ok_or("a \" is not closed")? {
                    '"' => break,
                    '\\' => word.push(rest.next_if(|c| matches!(c, '"' | '\\' | '$' | '`')).unwrap_or('\\')),
                    c => word.push(c),
                }
            },
            c => word.push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_in_a_shell() {
        for (line, expected) in [
            (" a  b\tc\n", &["a", "b", "c"][..]),
            (r#"'a b'c "d 'e' \"f\" \g \\" ''"#, &["a bc", r#"d 'e' "f" \g \"#, ""]),
            (r"a\ b \'c 'd\'", &["a b", "'c", r"d\"]),
            ("$HOME *;# {data}/x", &["$HOME", "*;#", "{data}/x"]),
            ("", &[]),
        ] {
            assert_eq!(
                words(line).as_deref(),
                Ok(&expected.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()[..])
            );
        }
        for (line, why) in [("a 'b c", "a ' is not closed"), ("a \"b\\\"", "a \" is not closed"), ("a\\", "backslash")]
        {
            assert!(words(line).unwrap_err().contains(why), "{line}");
        }
    }

    #[test]
    fn a_program_is_named_by_its_file_and_told_by_its_line() {
        let line = Line::parse("'/opt/my \u{1b}tor' -f\t{torrc}").unwrap();
        assert_eq!((line.name(), line.about()), ("my tor".to_owned(), Some("'/opt/my tor' -f{torrc}".to_owned())));
        for empty in ["", "''", "\"\" x", "\u{7}"] {
            assert!(Line::parse(empty).is_err(), "{empty:?}");
        }
    }
}
