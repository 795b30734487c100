//! Directories of ours: whose they are, the lock on one, and files that are whole or not there.
//!
//! Knows no file by name and nothing of what is in them: the client does. Everything here blocks
//! for as long as the disk does, and is called from a thread of its own but at the start. Called
//! by `app`. Spec: none. C tor: `check_private_dir` in lib/fs/dir.c, `start_writing_to_file` in
//! lib/fs/files.c, `tor_lockfile_lock` in lib/fs/lockfile.c.

use core::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

/// How much of a file is read at once; ours.
pub const PIECE_LEN: usize = 64 * 1024;

/// The file whose lock says that a program runs on a directory. C tor has the same.
const LOCK: &str = "lock";
/// What a file is called until it is whole. C tor has the same.
const UNFINISHED: &str = ".tmp";
const DIRECTORY_MODE: u32 = 0o700;
/// The same where the group may look.
const GROUP_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o600;
/// What nobody else may do with a directory: anything.
const OTHERS: u32 = 0o077;
/// The group may look, and no more.
const MOST_OTHERS: u32 = 0o027;
/// Whoever may look may not change anything.
const OTHERS_WRITE: u32 = 0o022;

/// Why a directory cannot be had.
#[derive(Debug)]
pub enum Fault {
    /// It is something else.
    NoDirectory,
    /// It is one person's, and we are another.
    NotOurs {
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// Its mode lets others in who must not be.
    TooOpen(u32),
    /// Another program has it.
    Locked,
    /// The system will not have it so.
    System(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NoDirectory => f.write_str("it is no directory"),
            Fault::NotOurs { owner, us } => write!(f, "it belongs to user {owner}, and this is user {us}"),
            Fault::TooOpen(mode) => write!(f, "others may do too much in it: its mode is {mode:o}"),
            Fault::Locked => f.write_str("another program is using it"),
            Fault::System(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::System(error)
    }
}

/// A directory that is ours alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    path: PathBuf,
    /// Whether what was written is seen onto the disk before it counts.
    is_durable: bool,
}

/// Shows that no other program uses a directory, for as long as it is kept.
#[derive(Debug)]
pub struct Lock {
    /// Whose closing is the lock's end.
    _file: File,
}

impl Directory {
    /// That directory, made if it is not there. Says also whether its mode had to be mended,
    /// because others could look into it.
    ///
    /// C tor: follows no link, makes no parents, and mends a mode rather than refuse it. The group may
    /// look into it if the user wants that, and into one that is there already if it could before.
    pub fn open(path: &Path, is_durable: bool, is_for_group: bool) -> Result<(Directory, bool), Fault> {
        let (mode_wanted, others) = if is_for_group { (GROUP_MODE, MOST_OTHERS) } else { (DIRECTORY_MODE, OTHERS) };
        let made = DirBuilder::new().mode(mode_wanted).create(path);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        let (file, mode) = open_own(path)?;
        let is_open = mode & others != 0;
        if is_open {
            file.set_permissions(Permissions::from_mode(mode & !others | mode_wanted))?;
        }
        Ok((Directory { path: path.to_owned(), is_durable }, is_open))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Locks it, or says at once that somebody else did.
    pub fn lock(&self) -> Result<Lock, Fault> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(self.path.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Fault::Locked),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Begins a file that will take the place of the one of that name.
    pub fn replace(&self, name: &str) -> io::Result<Replacement> {
        let path = self.file(name)?;
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&unfinished)?;
        Ok(Replacement { file, path, unfinished, directory: self.is_durable.then(|| self.path.clone()) })
    }

    /// Adds to a file, which is made if it is not there.
    pub fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(self.file(name)?)?;
        file.write_all(bytes)
    }

    /// Reads a file piece by piece; `None` if there is none.
    pub fn read(&self, name: &str) -> io::Result<Option<Reading>> {
        match File::open(self.file(name)?) {
            Ok(file) => Ok(Some(Reading(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps a file as it is under another name, and gives that: its own and a number, of which there
    /// are so many. The last of them is taken again. C tor: does so with `state`.
    pub fn set_aside(&self, name: &str, most: u32) -> io::Result<String> {
        let names = || (0..most).map(|number| format!("{name}.{number}"));
        let free = names().find(|name| !self.path.join(name).exists());
        let other = free.or_else(|| names().next_back()).ok_or(io::ErrorKind::InvalidInput)?;
        let (from, to) = (self.file(name)?, self.file(&other)?);
        self.remove(&other)?;
        // Where a disk has no second names, it is copied.
        fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop))?;
        Ok(other)
    }

    /// Removes a file. That there is none is as good.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.file(name)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The path of a file that lies in this directory and nowhere else.
    fn file(&self, name: &str) -> io::Result<PathBuf> {
        let mut parts = Path::new(name).components();
        match (parts.next(), parts.next()) {
            (Some(Component::Normal(part)), None) => Ok(self.path.join(part)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// A file that is being written. It is in its place once [`Replacement::commit`] says so, and
/// gone if that never happens.
#[derive(Debug)]
pub struct Replacement {
    file: File,
    path: PathBuf,
    unfinished: PathBuf,
    /// Where it is to be seen onto the disk.
    directory: Option<PathBuf>,
}

impl Replacement {
    /// Writes what comes next.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Puts it in its place, whole.
    pub fn commit(self) -> io::Result<()> {
        if self.directory.is_some() {
            self.file.sync_all()?;
        }
        fs::rename(&self.unfinished, &self.path)?;
        match &self.directory {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }
}

impl Drop for Replacement {
    /// What was committed has no unfinished file any more.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.unfinished);
    }
}

/// A file that is being read.
#[derive(Debug)]
pub struct Reading(File);

impl Reading {
    /// The next piece, at most [`PIECE_LEN`] long; empty at the end.
    pub fn next_piece(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = Vec::with_capacity(PIECE_LEN);
        Read::by_ref(&mut self.0).take(PIECE_LEN as u64).read_to_end(&mut piece)?;
        Ok(piece)
    }
}

/// Who else may be in the directory of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Company {
    /// The group.
    pub group: bool,
    /// Whoever only looks.
    pub lookers: bool,
}

/// Whether a directory of which nothing is changed keeps out those it should: who can list a
/// socket can often connect to it. C tor: `CPD_CHECK_MODE_ONLY`.
pub fn check_private(path: &Path, company: Company) -> Result<(), Fault> {
    let (_, mode) = open_own(path)?;
    let unwanted = if company.group { MOST_OTHERS } else { OTHERS };
    let counted = if company.lookers { OTHERS_WRITE } else { u32::MAX };
    if mode & unwanted & counted == 0 { Ok(()) } else { Err(Fault::TooOpen(mode & 0o777)) }
}

/// Opens a directory that belongs to us, and says what its mode is.
fn open_own(path: &Path) -> Result<(File, u32), Fault> {
    // What is there must be what was looked at: it may have been exchanged for a link between.
    let seen = fs::symlink_metadata(path)?;
    if !seen.is_dir() {
        return Err(Fault::NoDirectory);
    }
    let file = File::open(path)?;
    let facts = file.metadata()?;
    if (facts.dev(), facts.ino()) != (seen.dev(), seen.ino()) {
        return Err(Fault::NoDirectory);
    }
    check_owner(facts.uid(), user())?;
    Ok((file, facts.mode()))
}

fn check_owner(owner: u32, us: Option<u32>) -> Result<(), Fault> {
    match us {
        Some(us) if us != owner => Err(Fault::NotOurs { owner, us }),
        _ => Ok(()),
    }
}

/// Who runs us, where the system says so in a file; `None` elsewhere, where whatever is not
/// ours will not let itself be written to.
pub fn user() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A directory that goes when it is dropped.
    pub(crate) struct Scratch(pub(crate) PathBuf);

    impl Scratch {
        pub(crate) fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("cepa-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            DirBuilder::new().mode(DIRECTORY_MODE).create(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn whole(directory: &Directory, name: &str) -> Option<Vec<u8>> {
        let mut reading = directory.read(name).unwrap()?;
        let mut text = Vec::new();
        loop {
            let piece = reading.next_piece().unwrap();
            if piece.is_empty() {
                return Some(text);
            }
            text.extend(piece);
        }
    }

    #[test]
    fn a_directory_is_made_for_us_alone_and_mended_where_others_could_look() {
        let scratch = Scratch::new("made");
        let path = scratch.0.join("data");
        let (directory, was_open) = Directory::open(&path, true, false).unwrap();
        assert_eq!((mode(&path), was_open, directory.path()), (0o700, false, &path as &Path));
        fs::set_permissions(&path, Permissions::from_mode(0o577)).unwrap();
        assert!(Directory::open(&path, true, false).unwrap().1);
        assert_eq!(mode(&path), 0o700);
        assert!(!Directory::open(&path, true, false).unwrap().1);
    }

    #[test]
    fn what_is_no_directory_of_ours_is_refused() {
        let scratch = Scratch::new("refused");
        let (file, link, nowhere) = (scratch.0.join("file"), scratch.0.join("link"), scratch.0.join("a/b"));
        File::create(&file).unwrap();
        std::os::unix::fs::symlink(&scratch.0, &link).unwrap();
        assert!(matches!(Directory::open(&file, true, false), Err(Fault::NoDirectory)));
        assert!(matches!(Directory::open(&link, true, false), Err(Fault::NoDirectory)));
        assert!(matches!(Directory::open(&nowhere, true, false), Err(Fault::System(_))));
        assert!(check_owner(7, Some(7)).is_ok() && check_owner(7, None).is_ok());
        assert!(matches!(check_owner(0, Some(7)), Err(Fault::NotOurs { owner: 0, us: 7 })));
        assert_eq!(user(), Some(fs::metadata(&scratch.0).unwrap().uid()));
    }

    #[test]
    fn a_directory_is_locked_by_one_and_free_again_after_it() {
        let scratch = Scratch::new("locked");
        let (directory, _) = Directory::open(&scratch.0, true, false).unwrap();
        let lock = directory.lock().unwrap();
        assert!(matches!(directory.lock(), Err(Fault::Locked)));
        drop(lock);
        assert!(directory.lock().is_ok());
        assert_eq!(mode(&scratch.0.join(LOCK)), 0o600);
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let scratch = Scratch::new("replaced");
        for is_durable in [true, false] {
            let (directory, _) = Directory::open(&scratch.0, is_durable, false).unwrap();
            let mut file = directory.replace("state").unwrap();
            file.write(b"one ").unwrap();
            file.write(b"two").unwrap();
            file.commit().unwrap();
            let mut abandoned = directory.replace("state").unwrap();
            abandoned.write(b"three").unwrap();
            drop(abandoned);
            assert_eq!(whole(&directory, "state").unwrap(), b"one two");
            assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);
            assert_eq!(mode(&scratch.0.join("state")), 0o600);
        }
    }

    #[test]
    fn a_journal_grows_and_is_read_in_pieces() {
        let scratch = Scratch::new("journal");
        let (directory, _) = Directory::open(&scratch.0, false, false).unwrap();
        assert!(directory.read("journal").unwrap().is_none());
        let bytes = vec![7; PIECE_LEN];
        directory.append("journal", &bytes).unwrap();
        directory.append("journal", b"end").unwrap();
        let mut reading = directory.read("journal").unwrap().unwrap();
        let pieces = [(); 3].map(|()| reading.next_piece().unwrap().len());
        assert_eq!(pieces, [PIECE_LEN, 3, 0]);
        directory.remove("journal").unwrap();
        directory.remove("journal").unwrap();
        assert_eq!(whole(&directory, "journal"), None);
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        let scratch = Scratch::new("names");
        let (directory, _) = Directory::open(&scratch.0, false, false).unwrap();
        for name in ["", ".", "..", "../x", "/etc/passwd", "a/b"] {
            assert!(directory.append(name, b"").is_err(), "{name}");
        }
    }

    /// After the flags of `check_private_dir` in C tor's lib/fs/dir.c.
    #[test]
    fn a_socket_stands_where_only_those_can_see_it_who_may_use_it() {
        let scratch = Scratch::new("socket");
        let alone = Company { group: false, lookers: false };
        for (mode, company, expected) in [
            (0o700, alone, true),
            (0o710, alone, false),
            (0o701, alone, false),
            (0o750, Company { group: true, ..alone }, true),
            (0o770, Company { group: true, ..alone }, false),
            (0o755, Company { group: true, ..alone }, false),
            (0o755, Company { lookers: true, ..alone }, true),
            (0o775, Company { lookers: true, ..alone }, false),
            (0o777, Company { group: true, lookers: true }, false),
        ] {
            fs::set_permissions(&scratch.0, Permissions::from_mode(mode)).unwrap();
            assert_eq!(check_private(&scratch.0, company).is_ok(), expected, "{mode:o} {company:?}");
        }
    }

    #[test]
    fn a_broken_file_has_another_name_as_well() {
        let scratch = Scratch::new("aside");
        let (directory, _) = Directory::open(&scratch.0, false, false).unwrap();
        assert!(directory.set_aside("state", 2).is_err());
        for (text, other) in [("one", "state.0"), ("two", "state.1"), ("three", "state.1")] {
            let mut file = directory.replace("state").unwrap();
            file.write(text.as_bytes()).unwrap();
            file.commit().unwrap();
            assert_eq!(directory.set_aside("state", 2).unwrap(), other);
            assert_eq!(whole(&directory, other).unwrap(), text.as_bytes());
        }
        assert_eq!(whole(&directory, "state.0").unwrap(), b"one");
        // It is the old one that stays, whatever becomes of the file.
        directory.replace("state").unwrap().commit().unwrap();
        assert_eq!(whole(&directory, "state.1").unwrap(), b"three");
    }

    #[test]
    fn the_group_may_look_where_the_user_wants_that() {
        let scratch = Scratch::new("group");
        let path = scratch.0.join("data");
        assert!(!Directory::open(&path, false, true).unwrap().1);
        assert_eq!(mode(&path) & 0o707, 0o700);
        for (before, is_for_group, after) in [
            (0o750, true, 0o750),
            (0o700, true, 0o700),
            (0o777, true, 0o750),
            (0o755, true, 0o750),
            (0o750, false, 0o700),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
            assert_eq!(Directory::open(&path, false, is_for_group).unwrap().1, before != after);
            assert_eq!(mode(&path), after, "{before:o} {is_for_group}");
        }
    }
}
