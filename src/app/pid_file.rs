//! The file that says which process we are, for whoever wants to signal us.
//!
//! Is there as long as we run, if the user wants it. Called by `mod.rs`. Spec: tor(1), `PidFile`.
//! C tor: `write_pidfile` in app/config/config.c, `tor_cleanup` in app/main/shutdown.c.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process;

use super::paths;

/// A file of ours, which goes when it is dropped.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes it, if there is to be one.
    pub fn write(wanted: Option<&str>) -> Result<Option<PidFile>, (PathBuf, io::Error)> {
        let Some(path) = wanted.map(paths::expand) else { return Ok(None) };
        match fs::write(&path, format!("{}\n", process::id())) {
            Ok(()) => Ok(Some(PidFile(path))),
            Err(error) => Err((path, error)),
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
