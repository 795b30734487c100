//! Ourselves, as the process that a user runs: the `cepa` beside this program.
//!
//! Called by `mod.rs`. Spec: none.

use std::process::Command;

use super::super::network::beside;
use super::super::process::version;
use super::{Home, Program};

/// Its name.
pub const NAME: &str = "cepa";

/// It.
pub struct Cepa;

impl Program for Cepa {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn about(&self) -> Option<String> {
        version(beside(NAME).ok()?)
    }

    fn command(&self, home: &Home) -> Result<Command, String> {
        let mut command = Command::new(beside(NAME)?);
        command.args(["--defaults-torrc", "/dev/null", "-f"]).arg(home.torrc());
        Ok(command)
    }
}
