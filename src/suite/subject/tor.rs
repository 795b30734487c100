//! The C tor on the PATH, which is told of no network but the one that is measured on: its file of
//! defaults is left out.
//!
//! Called by `mod.rs`. Spec: none.

use std::process::Command;

use super::super::process::version;
use super::{Home, Program};

/// Its name.
pub const NAME: &str = "tor";

/// It.
pub struct Tor;

impl Program for Tor {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn about(&self) -> Option<String> {
        version(NAME)
    }

    fn command(&self, home: &Home) -> Result<Command, String> {
        let mut command = Command::new(NAME);
        command.args(["--defaults-torrc", "/dev/null", "-f"]).arg(home.torrc());
        Ok(command)
    }
}
