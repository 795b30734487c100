//! A folder that nobody else may look into, and that goes away with its owner.
//!
//! Called by `subject/` and `network/`.
//! Spec: none.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What their names begin with; the number of their process and a number of their own follow.
const PREFIX: &str = "cepa-bench";

/// One.
pub struct Folder(PathBuf);

/// How many there were.
static FOLDERS: AtomicUsize = AtomicUsize::new(0);

impl Folder {
    /// A new one.
    pub fn new() -> io::Result<Folder> {
        let (number, all) = (FOLDERS.fetch_add(1, Ordering::Relaxed), std::env::temp_dir());
        let path = all.join(format!("{PREFIX}-{}-{number}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the folder for what is temporary.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_owner() {
        let folder = Folder::new().unwrap();
        let path = folder.path().to_owned();
        assert!(path.is_dir());
        drop(folder);
        assert!(!path.exists());
    }
}
