//! Files of options: what they say, and what the files say that they include, onto the settings.
//!
//! Finds and reads them; what a line is `config::torrc` knows, and what an option means
//! `config::Settings`. Called by `command.rs`, at the start and on reload. Spec: tor(1), "The
//! Configuration File Format". C tor: lib/fs/conffile.c, `tor_glob` in lib/fs/path.c,
//! `load_torrc_from_disk` and `load_torrc_from_stdin` in app/config/config.c.

use core::fmt;
use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::glob;
use crate::config::torrc::Fault;
use crate::config::{Complaint, Objection, Origin, Settings, Warning};

/// The longest file of options; ours, for a bound.
const MAX_TORRC_LEN: u64 = 4 << 20;
/// How deep files may lie that include each other. C tor: `MAX_INCLUDE_RECURSION_LEVEL`.
const MAX_DEPTH: u32 = 31;
/// How many files may be included in all, each time anew. Ours: two that include each other twice
/// would never end.
const MAX_INCLUDED: usize = 1000;
/// The name of a file that is none.
const STANDARD_INPUT: &str = "-";

/// A file of options.
pub struct Source {
    /// Where it is, or was looked for.
    pub path: PathBuf,
    /// Whether it was found.
    pub is_there: bool,
    /// The files that it includes, in their order.
    pub included: Vec<PathBuf>,
    /// What it said, if it can be read only once.
    text: Option<Vec<u8>>,
}

/// Why a file cannot be had, or what it includes.
#[derive(Debug)]
pub enum Error {
    /// What somebody wrote.
    Complaint(Complaint),
    /// The file.
    File(PathBuf, io::Error),
    /// The line there includes that.
    Include(Origin, String, Hindrance),
}

/// Why nothing can be included.
#[derive(Debug)]
pub enum Hindrance {
    /// Files that include each other lie too deep.
    TooDeep,
    /// There are too many.
    TooMany,
    /// The system.
    System(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Complaint(complaint) => write!(f, "{complaint}"),
            Error::File(path, error) => write!(f, "{}: {error}", path.display()),
            Error::Include(origin, path, why) => write!(f, "{origin}: %include {path}: {why}"),
        }
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hindrance::TooDeep => write!(f, "more than {MAX_DEPTH} files include each other"),
            Hindrance::TooMany => write!(f, "more than {MAX_INCLUDED} files are included"),
            Hindrance::System(error) => write!(f, "{error}"),
        }
    }
}

impl From<Complaint> for Error {
    fn from(complaint: Complaint) -> Self {
        Error::Complaint(complaint)
    }
}

impl From<io::Error> for Hindrance {
    fn from(error: io::Error) -> Self {
        Hindrance::System(error)
    }
}

/// Adds what a file says: the one that was there before, or else the one at that path.
pub fn add(
    settings: &mut Settings,
    before: Option<&Source>,
    path: impl FnOnce() -> PathBuf,
    is_missing_fine: bool,
) -> Result<(Source, Vec<Warning>), Error> {
    let (path, is_missing_fine) = match before {
        Some(Source { path, is_there: true, .. }) => (path.clone(), false),
        _ => (path(), is_missing_fine),
    };
    let mut source = Source { path, is_there: true, included: Vec::new(), text: None };
    let is_input = source.path == Path::new(STANDARD_INPUT);
    let bytes = match before.and_then(|before| before.text.clone()) {
        Some(text) => Ok(text),
        None if is_input => whole(io::stdin()),
        None => read(&source.path, before.is_some()),
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        // C tor: that it is no file, or not for us, is as good as that it is missing.
        Err(_) if is_missing_fine => return Ok((Source { is_there: false, ..source }, Vec::new())),
        Err(error) => return Err(Error::File(source.path, error)),
    };
    source.text = is_input.then(|| bytes.clone());
    let name = if is_input { "standard input".to_owned() } else { source.path.display().to_string() };
    let mut reading = Reading { included: Vec::new(), is_again: before.is_some() };
    let warnings = reading.add(settings, &name, bytes, 1)?;
    source.included = reading.included;
    Ok((source, warnings))
}

/// One file, and all that it includes.
struct Reading {
    included: Vec<PathBuf>,
    is_again: bool,
}

impl Reading {
    /// Adds lines; those that include files are replaced by theirs.
    fn add(&mut self, settings: &mut Settings, name: &str, bytes: Vec<u8>, depth: u32) -> Result<Vec<Warning>, Error> {
        let text = String::from_utf8(bytes).map_err(|error| not_text(name, &error))?;
        settings.add_lines(name, &text, &mut |settings, origin, pattern| {
            let hindered = |why| Error::Include(origin.clone(), pattern.to_owned(), why);
            if depth >= MAX_DEPTH {
                return Err(hindered(Hindrance::TooDeep));
            }
            let mut warnings = Vec::new();
            for path in files(pattern).map_err(|error| hindered(error.into()))? {
                if self.included.len() >= MAX_INCLUDED {
                    return Err(hindered(Hindrance::TooMany));
                }
                let bytes = read(&path, self.is_again).map_err(|error| Error::File(path.clone(), error))?;
                let name = path.display().to_string();
                self.included.push(path);
                warnings.extend(self.add(settings, &name, bytes, depth + 1)?);
            }
            Ok(warnings)
        })
    }
}

/// The files that a line includes: those of a directory, but hidden ones, stand for it. C tor:
/// empty ones are left out.
fn files(pattern: &str) -> io::Result<Vec<PathBuf>> {
    let paths = if glob::is_glob(pattern) { glob::paths(pattern)? } else { vec![PathBuf::from(pattern)] };
    let mut files = Vec::new();
    for path in paths {
        let about = fs::metadata(&path)?;
        if about.is_dir() {
            files.extend(files_of(&path)?);
        } else if is_readable(about.file_type()) {
            files.extend(says_something(&about).then_some(path));
        } else {
            return Err(no_file());
        }
    }
    Ok(files)
}

fn files_of(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if !name.as_bytes().starts_with(b".") {
            names.push(name);
        }
    }
    names.sort_unstable();
    let paths = names.into_iter().map(|name| directory.join(name));
    let is_file =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|it| is_readable(it.file_type()) && says_something(&it));
    Ok(paths.filter(is_file).collect())
}

/// A pipe does not say how much.
fn says_something(about: &Metadata) -> bool {
    about.len() > 0 || !about.is_file()
}

/// C tor: a pipe will do, as a shell makes one of `<(…)`.
fn is_readable(kind: FileType) -> bool {
    kind.is_file() || kind.is_fifo()
}

fn no_file() -> io::Error {
    io::Error::other("it is no file")
}

fn read(path: &Path, is_again: bool) -> io::Result<Vec<u8>> {
    // A pipe has said what it had to say. Whoever opens one would wait for its other end, and the
    // client with it.
    if is_again && fs::metadata(path)?.file_type().is_fifo() {
        return Err(io::Error::other("it is a pipe, and cannot be read a second time"));
    }
    let file = File::open(path)?;
    if !is_readable(file.metadata()?.file_type()) {
        return Err(no_file());
    }
    whole(file)
}

fn whole(file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_TORRC_LEN + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(0..=MAX_TORRC_LEN) => Ok(bytes),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    }
}

fn not_text(name: &str, error: &std::string::FromUtf8Error) -> Error {
    let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let origin = Origin { source: name.into(), line: u32::try_from(line).unwrap_or(u32::MAX) };
    Error::Complaint(Complaint { origin, fault: Objection::Line(Fault::NotText) })
}

#[cfg(test)]
mod tests {
    use super::super::disk::tests::Scratch;
    use super::*;
    use crate::config::Config;

    /// Files with these texts; `@` in them is where they are.
    fn scratch(name: &str, files: &[(&str, &str)]) -> Scratch {
        let scratch = Scratch::new(name);
        for (path, text) in files {
            let path = scratch.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace('@', &scratch.0.display().to_string())).unwrap();
        }
        scratch
    }

    fn read_torrc(scratch: &Scratch) -> Result<(Settings, Source), String> {
        let mut settings = Settings::new();
        let shown = |error: Error| error.to_string().replace(&scratch.0.display().to_string(), "@");
        let (source, _) = add(&mut settings, None, || scratch.0.join("torrc"), false).map_err(shown)?;
        Ok((settings, source))
    }

    fn complaint(scratch: &Scratch) -> String {
        read_torrc(scratch).map(drop).unwrap_err()
    }

    /// After `test_config_include_*` in C tor's src/test/test_config.c.
    #[test]
    fn lines_of_included_files_stand_where_the_line_stood() {
        let scratch = scratch(
            "include",
            &[
                (
                    "torrc",
                    "Log err file 1\n%include @/conf.d\n%include @/m*/[a-c]?.conf\n%include @/none*\nLog err file 9\n",
                ),
                ("conf.d/20", "Log err file 3"),
                ("conf.d/10", "%include @/nested\nSocksTimeout 7\n"),
                ("conf.d/.hidden", "Nonsense\n"),
                ("conf.d/30-empty", ""),
                ("conf.d/folder/x", "Nonsense\n"),
                ("nested", "Log err file 2\n"),
                ("more/b1.conf", "Log err file 5\n"),
                ("more/a2.conf", "Log err file 4\n"),
                ("more/d1.conf", "Nonsense\n"),
                ("more/a22.conf", "Nonsense\n"),
            ],
        );
        let (settings, source) = read_torrc(&scratch).unwrap();
        let logs: Vec<&str> = settings.given("Log").iter().map(|given| given.value.as_str()).collect();
        assert_eq!(logs, ["1", "2", "3", "4", "5", "9"].map(|number| format!("err file {number}")));
        let places: Vec<u32> = settings.given("Log").iter().map(|given| given.origin.line).collect();
        assert_eq!(places, [1, 1, 1, 1, 1, 5]);
        assert_eq!(Config::of(&settings).unwrap().0.requests.timeout.as_secs(), 7);
        let names: Vec<_> = source.included.iter().map(|path| path.strip_prefix(&scratch.0).unwrap()).collect();
        let expected = ["conf.d/10", "nested", "conf.d/20", "more/a2.conf", "more/b1.conf"].map(Path::new);
        assert_eq!(names, expected);
    }

    #[test]
    fn what_cannot_be_included_is_named_with_its_line() {
        let missing = scratch("missing", &[("torrc", "\n%include @/none\n")]);
        assert!(complaint(&missing).starts_with("@/torrc:2: %include @/none: No such file"), "{}", complaint(&missing));
        let inner = scratch("inner", &[("torrc", "%include @/a\n"), ("a", "\n\nSockPort 1\n")]);
        assert_eq!(complaint(&inner), "@/a:3: there is no option SockPort; did you mean SocksPort?");
        let endless = scratch("endless", &[("torrc", "%include @/torrc\n")]);
        assert_eq!(complaint(&endless), "@/torrc:1: %include @/torrc: more than 31 files include each other");
        let twice = scratch("twice", &[("torrc", "%include @/torrc\n%include @/d\n"), ("d/a", "%include @/d\n")]);
        assert!(complaint(&twice).ends_with("more than 31 files include each other"));
        let many = [("torrc", "%include @/a\n%include @/a\n"), ("a", "%include @/b\n%include @/b\n")];
        let wide = |name: &str| format!("%include @/{name}\n").repeat(40);
        let (b, c) = (wide("c"), "SocksTimeout 1\n");
        let many = scratch("many", &[many[0], many[1], ("b", &b), ("c", &c.repeat(2)), ("torrc", &wide("b"))]);
        assert!(complaint(&many).ends_with("more than 1000 files are included"), "{}", complaint(&many));
    }
}
