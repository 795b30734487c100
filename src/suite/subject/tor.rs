//! The C tor on the PATH, which is told of no network but the one that is measured on: its file of
//! defaults is left out. It ends with us, should we be killed; its line for that stands among its
//! arguments, since others who read the file may not know it.
//!
//! Called by `mod.rs`. Spec: none.

use std::process::Command;

use super::super::network::OWNER;
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
        command.args([format!("--{OWNER}"), std::process::id().to_string()]);
        Ok(command)
    }
}
