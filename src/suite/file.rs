//! Where results are kept: looked at before anything is measured, then written whole or not at all.
//!
//! Knows nothing of what is written; `report.rs` reads it. Called by `mod.rs`. Spec: none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A place that can be written to.
#[derive(Debug)]
pub enum Place {
    /// A file, there or not; what is written takes its place.
    File(PathBuf),
    /// A device, a pipe or an output of this program: nothing can take its place.
    Open(File),
}

impl Place {
    /// Looks whether something can be written there. What is there stays as it is, and what is not
    /// there is not there afterwards.
    pub fn look(path: &Path) -> io::Result<Place> {
        let path = match OpenOptions::new().write(true).open(path) {
            Ok(file) => match output(&file)? {
                Some(output) => return Ok(Place::Open(output)),
                None if !file.metadata()?.is_file() => return Ok(Place::Open(file)),
                // A link stays one, and what it leads to is replaced.
                None => fs::canonicalize(path)?,
            },
            Err(error) if error.kind() == ErrorKind::NotFound && path.file_name().is_some() => path.to_owned(),
            Err(error) => return Err(error),
        };
        let (_, unfinished) = begin(&path)?;
        fs::remove_file(unfinished)?;
        Ok(Place::File(path))
    }

    /// Writes all of that, or leaves what is there as it is.
    pub fn write(self, text: &str) -> io::Result<()> {
        let path = match self {
            Place::Open(mut file) => return file.write_all(text.as_bytes()),
            Place::File(path) => path,
        };
        let (mut file, unfinished) = begin(&path)?;
        let mut replace = || {
            if let Ok(older) = fs::metadata(&path) {
                file.set_permissions(older.permissions())?;
            }
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)
        };
        replace().inspect_err(|_| drop(fs::remove_file(&unfinished)))
    }
}

/// A file beside that one, and where it is.
fn begin(path: &Path) -> io::Result<(File, PathBuf)> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}.tmp", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    // Of a process that had this number and was killed.
    let _ = fs::remove_file(&unfinished);
    Ok((File::create_new(&unfinished)?, unfinished))
}

/// The output of this program that a file is, if it is one: what comes next stands behind what was
/// written there before, where a file opened anew would begin at its head.
fn output(file: &File) -> io::Result<Option<File>> {
    let (out, err) = (io::stdout(), io::stderr());
    for output in [out.as_fd(), err.as_fd()] {
        let output = File::from(output.try_clone_to_owned()?);
        let (one, other) = (file.metadata()?, output.metadata()?);
        if (one.dev(), one.ino()) == (other.dev(), other.ino()) {
            return Ok(Some(output));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A folder for one test, which goes when it is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("cepa-suite-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Folder(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn looking_leaves_everything_as_it_is() {
        let folder = Folder::new("look");
        let (older, new) = (folder.0.join("older"), folder.0.join("new"));
        fs::write(&older, "older").unwrap();
        assert!(matches!(Place::look(&new), Ok(Place::File(_))) && matches!(Place::look(&older), Ok(Place::File(_))));
        assert_eq!(
            (folder.names(), fs::read_to_string(&older).unwrap()),
            (vec!["older".to_owned()], "older".to_owned())
        );
        assert_eq!(Place::look(&folder.0).unwrap_err().kind(), ErrorKind::IsADirectory);
        for nowhere in ["nowhere/file", "new/"] {
            assert_eq!(Place::look(&folder.0.join(nowhere)).unwrap_err().kind(), ErrorKind::NotFound);
        }
        assert!(Place::look(Path::new("")).is_err());
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_and_the_links_to_it() {
        let folder = Folder::new("replace");
        let (older, link) = (folder.0.join("older"), folder.0.join("link"));
        fs::write(&older, "older and longer").unwrap();
        fs::set_permissions(&older, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("older", &link).unwrap();
        let kept = File::open(&older).unwrap();
        Place::look(&link).unwrap().write("newer").unwrap();
        assert_eq!(fs::read_to_string(&older).unwrap(), "newer");
        assert_eq!(io::read_to_string(kept).unwrap(), "older and longer", "whoever reads it reads one of the two");
        assert_eq!(fs::metadata(&older).unwrap().mode() & 0o777, 0o640);
        assert_eq!(
            (fs::read_link(&link).unwrap(), folder.names()),
            ("older".into(), vec!["link".to_owned(), "older".to_owned()])
        );
    }

    #[test]
    fn what_cannot_be_written_leaves_what_is_there() {
        let folder = Folder::new("fail");
        let path = folder.0.join("file");
        let place = Place::look(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(place.write("text").is_err());
        assert_eq!(folder.names(), ["file"]);
    }

    #[test]
    fn a_device_is_written_into_and_stays_one() {
        let full = Place::look(Path::new("/dev/full")).unwrap();
        assert!(matches!(full, Place::Open(_)));
        assert_eq!(full.write("text").unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(!fs::metadata("/dev/full").unwrap().is_file());
    }
}
