//! A folder that nobody else may look into, and that goes away with its owner.
//!
//! Those that a killed run has left are removed by the next. Called by `subject/` and `network/`.
//! Spec: none.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::getuid;

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
        if number == 0 {
            sweep(&all);
        }
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

/// Removes what is of a process of this user that is no more. Of another user's, it may be that it
/// cannot be seen.
fn sweep(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let is_ours = entry.metadata().is_ok_and(|it| it.is_dir() && it.uid() == getuid().as_raw());
        let owner = entry.file_name().to_str().and_then(owner);
        if is_ours && owner.is_some_and(|owner| !Path::new("/proc").join(owner.to_string()).exists()) {
            // What cannot be removed stays, as it did.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whose folder that is, by its name.
fn owner(name: &str) -> Option<u32> {
    let (owner, number) = name.strip_prefix(PREFIX)?.strip_prefix('-')?.split_once('-')?;
    number.parse::<usize>().ok()?;
    owner.parse().ok()
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

    #[test]
    fn what_a_killed_run_has_left_is_removed_and_nothing_else() {
        let all = Folder::new().unwrap();
        // No Linux has a process of such a number.
        let (gone, here) = (u32::MAX, std::process::id());
        let left = format!("cepa-bench-{gone}-0");
        let others = [
            format!("cepa-bench-{here}-0"),
            format!("cepa-bench-{gone}"),
            format!("cepa-bench-{gone}-x"),
            format!("cepa-bench-test-{gone}-0"),
            format!("cepa-{gone}-0"),
        ];
        for name in others.iter().chain([&left]) {
            fs::create_dir_all(all.path().join(name).join("data")).unwrap();
        }
        let file = all.path().join(format!("cepa-bench-{gone}-1"));
        fs::write(&file, []).unwrap();
        sweep(all.path());
        assert!(!all.path().join(&left).exists() && file.exists());
        assert!(others.iter().all(|name| all.path().join(name).is_dir()));
    }
}
