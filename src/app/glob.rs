//! Patterns of paths, as shells have them: `*`, `?` and `[…]` within each part of a path.
//!
//! Finds what matches; opens nothing but directories. Called by `torrc.rs`. Spec: glob(7).
//! C tor: `tor_glob` and `has_glob` in lib/fs/path.c, and so the C library's.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// How many paths may match; ours, for a bound.
const MAX_PATHS: usize = 10_000;

/// A sign of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sign {
    /// Any number of any bytes.
    Star,
    /// Any byte.
    Any,
    /// That byte.
    Byte(u8),
    /// A byte of these ranges; or of none of them.
    Set(Vec<(u8, u8)>, bool),
}

/// Whether it has a sign that stands for others. C tor: `[` alone does not make a pattern.
pub fn is_glob(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_sign = |at: usize, byte: &u8| {
        matches!(byte, b'*' | b'?') && at.checked_sub(1).is_none_or(|before| bytes.get(before) != Some(&b'\\'))
    };
    bytes.iter().enumerate().any(|(at, byte)| is_sign(at, byte))
}

/// What matches, in the order of its bytes. Directories that cannot be read have nothing in them.
pub fn paths(pattern: &str) -> io::Result<Vec<PathBuf>> {
    let begin = if pattern.starts_with('/') { "/" } else { "" };
    let mut paths = vec![PathBuf::from(begin)];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let signs = signs(part.as_bytes());
        paths = paths.iter().flat_map(|path| step(path, &signs)).take(MAX_PATHS + 1).collect();
        if paths.len() > MAX_PATHS {
            return Err(io::Error::other("too much matches it"));
        }
    }
    if pattern.ends_with('/') {
        paths.retain(|path| path.is_dir());
    }
    paths.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    Ok(paths)
}

/// What matches one part, below a path.
fn step(path: &Path, signs: &[Sign]) -> Vec<PathBuf> {
    let bytes = |sign: &Sign| if let Sign::Byte(byte) = sign { Some(*byte) } else { None };
    if let Some(name) = signs.iter().map(bytes).collect::<Option<Vec<u8>>>() {
        let path = path.join(OsString::from_vec(name));
        return path.symlink_metadata().map(|_| path).into_iter().collect();
    }
    let here = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let entries = fs::read_dir(here).into_iter().flatten().flatten();
    let fits = |name: &OsString| {
        // A name with a dot before it is meant only by whoever writes the dot.
        let is_hidden = name.as_bytes().starts_with(b".") && signs.first() != Some(&Sign::Byte(b'.'));
        !is_hidden && matches(signs, name.as_bytes())
    };
    entries.map(|entry| entry.file_name()).filter(fits).map(|name| path.join(name)).collect()
}

fn signs(mut part: &[u8]) -> Vec<Sign> {
    let mut signs = Vec::new();
    while let [first, rest @ ..] = part {
        let (sign, behind) = match (first, rest) {
            (b'*', _) => (Sign::Star, rest),
            (b'?', _) => (Sign::Any, rest),
            (b'\\', [byte, rest @ ..]) => (Sign::Byte(*byte), rest),
            (b'[', _) => set(rest).unwrap_or((Sign::Byte(b'['), rest)),
            (byte, _) => (Sign::Byte(*byte), rest),
        };
        signs.push(sign);
        part = behind;
    }
    signs
}

/// What stands behind `[`, if that ends: the set, and what is behind it.
fn set(text: &[u8]) -> Option<(Sign, &[u8])> {
    let (is_other, mut rest) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        rest = match rest {
            [b']', rest @ ..] if !ranges.is_empty() => return Some((Sign::Set(ranges, is_other), rest)),
            [low, b'-', high, rest @ ..] if *high != b']' => {
                ranges.push((*low, *high));
                rest
            }
            [byte, rest @ ..] => {
                ranges.push((*byte, *byte));
                rest
            }
            [] => return None,
        };
    }
}

/// Whether they stand for all of a name. Goes back to the last star only, which is enough.
fn matches(signs: &[Sign], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(from) {
        let fits = match signs.get(at) {
            Some(Sign::Star) => {
                star = Some((at, from));
                at += 1;
                continue;
            }
            Some(Sign::Any) => true,
            Some(Sign::Byte(wanted)) => wanted == byte,
            Some(Sign::Set(ranges, is_other)) => {
                ranges.iter().any(|(low, high)| (low..=high).contains(&byte)) != *is_other
            }
            None => false,
        };
        (at, from) = match (fits, star) {
            (true, _) => (at + 1, from + 1),
            (false, Some((sign, begun))) => {
                star = Some((sign, begun + 1));
                (sign + 1, begun + 1)
            }
            (false, None) => return false,
        };
    }
    signs.get(at..).is_some_and(|rest| rest.iter().all(|sign| *sign == Sign::Star))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn signs_stand_for_what_shells_say() {
        for (pattern, name, expected) in [
            ("", "", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[!a-c]x", "dx", true),
            ("[]a]", "]", true),
            ("[a-]", "-", true),
            ("[a", "[a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("***a", "bba", true),
        ] {
            assert_eq!(matches(&signs(pattern.as_bytes()), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn only_stars_and_questions_make_a_pattern() {
        for (text, expected) in
            [("a*", true), ("?", true), ("a\\*", false), ("[a]", false), ("", false), ("\\\\*", false)]
        {
            assert_eq!(is_glob(text), expected, "{text}");
        }
    }

    /// The same by going every way.
    fn slowly(signs: &[Sign], name: &[u8]) -> bool {
        match (signs, name) {
            ([], []) => true,
            ([Sign::Star, rest @ ..], _) => (0..=name.len()).any(|taken| slowly(rest, &name[taken..])),
            ([sign, rest @ ..], [byte, behind @ ..]) => {
                (*sign == Sign::Any || *sign == Sign::Byte(*byte)) && slowly(rest, behind)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_name_fits_if_any_way_leads_there(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            let signs = signs(pattern.as_bytes());
            prop_assert_eq!(matches(&signs, name.as_bytes()), slowly(&signs, name.as_bytes()));
        }

        #[test]
        fn no_pattern_does_harm(pattern in "\\PC{0,20}|[]\\[a!\\\\*-]{0,20}", name in "\\PC{0,20}") {
            let _ = matches(&signs(pattern.as_bytes()), name.as_bytes());
        }
    }
}
