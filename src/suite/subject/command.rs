//! Any other program with a SOCKS port, by a line of words; no shell is between, so that the process
//! that is counted is the program's own.
//!
//! Called by `mod.rs`. Spec: none.

use std::path::Path;
use std::process::Command;

use super::{Home, Program};

/// A line of words, the program first. In each, `{torrc}`, `{socks}` and `{data}` stand for what it
/// is given.
pub struct Line(pub String);

impl Program for Line {
    fn name(&self) -> String {
        let program = self.0.split_whitespace().next().unwrap_or_default();
        let name = Path::new(program).file_name().unwrap_or(program.as_ref());
        name.to_string_lossy().into_owned()
    }

    fn command(&self, home: &Home) -> Result<Command, String> {
        let (torrc, data) = (home.torrc(), home.data());
        let filled = |word: &str| {
            let word = word.replace("{socks}", &home.socks.to_string());
            word.replace("{torrc}", &torrc.to_string_lossy()).replace("{data}", &data.to_string_lossy())
        };
        let mut words = self.0.split_whitespace().map(filled);
        let mut command = Command::new(words.next().ok_or("the command is empty")?);
        command.args(words);
        Ok(command)
    }
}
