//! An Arti, where one is given. It reads a file of its own kind, which is made of what the network
//! says of itself; on one that says nothing to Arti it is not started.
//!
//! Called by `mod.rs`. Spec: none.

use std::path::PathBuf;
use std::process::Command;

use super::super::process::version;
use super::{Home, Program};

/// The one there.
pub struct Arti(pub PathBuf);

impl Program for Arti {
    fn name(&self) -> String {
        "arti".to_owned()
    }

    fn about(&self) -> Option<String> {
        version(&self.0)
    }

    fn command(&self, home: &Home) -> Result<Command, String> {
        let network = home.arti.as_ref().ok_or("this network has no lines for Arti")?;
        let (file, data, socks) = (home.path().join("arti.toml"), home.data(), home.socks);
        let data = data.display();
        let ours = format!(
            "\n[application]\nallow_running_as_root = true\n[proxy]\nsocks_listen = \"{socks}\"\n\
             [storage]\ncache_dir = \"{data}/cache\"\nstate_dir = \"{data}/state\"\n\
             [storage.permissions]\ndangerously_trust_everyone = true\n"
        );
        std::fs::write(&file, format!("{network}{ours}")).map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.0);
        command.arg("--config").arg(&file).arg("proxy");
        Ok(command)
    }
}
