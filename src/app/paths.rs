//! Where files are that nobody named, and what `~` means.
//!
//! Opens nothing. Called by `app`. Spec: none. C tor: `expand_filename` in lib/fs/path.c,
//! `get_data_directory` and `find_torrc_filename` in app/config/config.c.
//! Differs: no `~user`, whose home only the C library can find.

use std::env;
use std::path::{Path, PathBuf};

/// Where the system keeps the options of all users.
const SYSTEM_TORRC: &str = "/etc/tor/torrc";
/// What those of the system are laid over.
const SYSTEM_DEFAULTS: &str = "/etc/tor/torrc-defaults";
const DATA_DIRECTORY: &str = "~/.tor";
/// Where the data of those goes whose home is the root of all.
const HOMELESS: &str = "/.tor";
const SYSTEM_DATA: &str = "/var/lib/tor";

/// A path in which a leading `~/` is the user's home.
pub fn expand(path: &str) -> PathBuf {
    expand_in(path, &env::var_os("HOME").map(PathBuf::from).unwrap_or_else(|| PathBuf::from("/")))
}

fn expand_in(path: &str, home: &Path) -> PathBuf {
    match path.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(path),
    }
}

/// Where to keep what outlives a run.
pub fn data_directory(wanted: Option<&str>) -> PathBuf {
    data_directory_in(wanted, &expand("~"))
}

fn data_directory_in(wanted: Option<&str>, home: &Path) -> PathBuf {
    match (wanted, expand_in(wanted.unwrap_or(DATA_DIRECTORY), home)) {
        (None, path) if path == Path::new(HOMELESS) => PathBuf::from(SYSTEM_DATA),
        (_, path) => path,
    }
}

/// The options to read where none were named: the system's, else the user's.
pub fn default_torrc() -> PathBuf {
    let (system, own) = (PathBuf::from(SYSTEM_TORRC), expand("~/.torrc"));
    if !system.is_file() && own.is_file() { own } else { system }
}

/// The options that others are laid over, where none were named.
pub fn default_defaults() -> PathBuf {
    PathBuf::from(SYSTEM_DEFAULTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_the_home_of_its_user() {
        for (path, home, expected) in [
            ("~/.tor", "/home/a", "/home/a/.tor"),
            ("~", "/home/a", "/home/a"),
            ("~//x", "/home/a/", "/home/a/x"),
            ("~bob/x", "/home/a", "~bob/x"),
            ("/var/~/x", "/home/a", "/var/~/x"),
            ("x", "/home/a", "x"),
        ] {
            assert_eq!(expand_in(path, Path::new(home)), Path::new(expected));
        }
    }

    #[test]
    fn data_of_the_homeless_goes_where_the_system_keeps_it() {
        for (wanted, home, expected) in [
            (None, "/home/a", "/home/a/.tor"),
            (None, "/", "/var/lib/tor"),
            (Some("~/.tor"), "/", "/.tor"),
            (Some("/srv/tor"), "/", "/srv/tor"),
        ] {
            assert_eq!(data_directory_in(wanted, Path::new(home)), Path::new(expected));
        }
    }
}
