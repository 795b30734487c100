//! Holds the tree to the two tables of `docs/ARCHITECTURE.md`: which folder may import
//! which, and where a third-party crate may be named; and keeps the quiet floors quiet.
//!
//! It reads source lines, not types: a `use` or a path is enough to be found.
#![allow(clippy::unwrap_used, reason = "a test helper that fails should say where")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A line that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    /// `file:line`.
    at: String,
    what: String,
}

/// Words that a quiet floor may not say outside its tests, and why.
const LOUD: &[(&str, &str)] = &[
    ("std::net::", "a socket (addresses are in core::net)"),
    ("std::fs", "a file"),
    ("std::io", "input or output"),
    ("std::env", "the environment"),
    ("std::process", "a process"),
    ("std::thread", "a thread"),
    ("std::time::Instant", "a clock"),
    ("std::time::SystemTime", "a clock"),
    ("Instant::now", "a clock"),
    ("SystemTime::now", "a clock"),
    ("std::sync::Mutex", "a lock"),
    ("std::sync::{Mutex", "a lock"),
    ("std::sync::RwLock", "a lock"),
    ("std::sync::mpsc", "a channel"),
    ("std::sync::Condvar", "a lock"),
    ("AtomicU64", "an atomic that 32-bit boards lack"),
    ("AtomicI64", "an atomic that 32-bit boards lack"),
    ("OnceLock", "state that outlives its owner"),
    ("LazyLock", "state that outlives its owner"),
    ("static mut", "state that outlives its owner"),
    ("thread_local!", "state that outlives its owner"),
    ("println!", "output"),
    ("getrandom::", "the system's randomness"),
];

/// The exceptions that the architecture page names: file prefix, word.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("src/bench/lock.rs", "std::sync::{Mutex"),
    // The TLS library's traits read from and write to buffers through std::io.
    ("src/crypto/tls/", "std::io"),
    ("src/crypto/tls/", "getrandom::"),
];

/// The highest floor that must be quiet.
const HIGHEST_QUIET_FLOOR: u32 = 6;

struct Tables {
    /// Folder to its floor and its row.
    floors: BTreeMap<String, (u32, Vec<String>)>,
    /// Crate to where it may be named.
    crates: BTreeMap<String, Vec<String>>,
}

fn words(cell: &str) -> Vec<String> {
    cell.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

/// The rows under the table head that begins with `head`.
fn rows<'a>(page: &'a str, head: &'a str) -> impl Iterator<Item = Vec<&'a str>> + 'a {
    let lines = page.lines().skip_while(move |line| !line.starts_with(head)).skip(2);
    lines
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

fn tables(page: &str) -> Tables {
    let floors = rows(page, "| floor | folder |")
        .map(|row| (row[1].to_owned(), (row[0].parse().unwrap(), words(row[2]))))
        .collect();
    let crates = rows(page, "| crate |")
        .flat_map(|row| words(row[0]).into_iter().map(|name| (name, words(row[1]))).collect::<Vec<_>>())
        .collect();
    Tables { floors, crates }
}

/// Whether `line` names `path` as a path of its own, not as the end of a longer one.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

/// The first names that follow `crate::` in a line, braces opened.
fn imported(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(std::mem::take(&mut word)),
                    _ if depth == 0 => word.push(c),
                    _ => {}
                }
            }
            found.push(word);
        } else {
            found.push(rest.to_owned());
        }
    }
    let first = |path: String| path.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    found.into_iter().map(first).filter(|name| !name.is_empty()).collect()
}

/// All breaches of one file, `path` being relative to the package.
fn check(tables: &Tables, path: &str, text: &str) -> Vec<Breach> {
    let inner = path.trim_start_matches("src/");
    let Some((folder, _)) = inner.split_once('/') else { return Vec::new() };
    let Some((floor, row)) = tables.floors.get(folder) else {
        return vec![Breach { at: path.to_owned(), what: format!("the folder {folder} has no row") }];
    };
    let mut breaches = Vec::new();
    let mut in_tests = path.ends_with("/tests.rs");
    for (number, line) in joined_lines(text) {
        let code = line.split("//").next().unwrap_or_default();
        let mut report = |what: String| breaches.push(Breach { at: format!("{path}:{number}"), what });
        in_tests |= line.contains("mod tests {");
        for name in imported(code) {
            let is_folder = tables.floors.contains_key(&name);
            if is_folder && name != folder && !row.contains(&name) {
                report(format!("{folder} may import {row:?}, not {name}"));
            }
        }
        if !in_tests && *floor <= HIGHEST_QUIET_FLOOR {
            for (word, reason) in LOUD.iter().filter(|(word, _)| code.contains(word)) {
                let excused = EXCEPTIONS.iter().any(|(file, what)| path.starts_with(file) && what == word);
                if !excused {
                    report(format!("{folder} is a quiet floor, and {word} is {reason}"));
                }
            }
        }
        for (name, places) in &tables.crates {
            let named = names(code, &format!("{name}::")) || code.trim() == format!("use {name};");
            let allowed =
                places.iter().any(|place| inner.starts_with(&format!("{place}/")) || inner == format!("{place}.rs"));
            // A module of ours by the same name, imported, hides the crate.
            if named && !allowed && !imports_our_own(text, name) {
                report(format!("{name} may be named in {places:?} only"));
            }
        }
    }
    breaches
}

/// Whether a file imports something of ours that is called `name`.
fn imports_our_own(text: &str, name: &str) -> bool {
    joined_lines(text).iter().any(|(_, line)| {
        let ours = ["use crate::", "use super::"].iter().any(|start| line.trim_start().starts_with(start));
        ours && line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
    })
}

/// Lines with their numbers, a `use` that spans several joined to one.
fn joined_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        if open {
            let last = lines.last_mut().unwrap();
            last.1.push_str(line.trim());
        } else {
            lines.push((index + 1, line.to_owned()));
        }
        let trimmed = line.trim_start();
        open = (open || trimmed.starts_with("use ") || trimmed.starts_with("pub use ")) && !line.contains(';');
    }
    lines
}

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_str().unwrap().replace('\\', "/");
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn page() -> Tables {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    tables(&fs::read_to_string(root.join("docs/ARCHITECTURE.md")).unwrap())
}

#[test]
fn every_folder_keeps_to_its_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    assert!(files.len() > 20, "the sources were not found");
    let tables = page();
    let breaches: Vec<_> = files.iter().flat_map(|(path, text)| check(&tables, path, text)).collect();
    let report: Vec<_> = breaches.iter().map(|breach| format!("{}: {}", breach.at, breach.what)).collect();
    assert!(report.is_empty(), "\n{}\n", report.join("\n"));
    for folder in tables.floors.keys() {
        let mine = format!("src/{folder}/");
        assert!(
            files.iter().filter(|(path, _)| path.starts_with(&mine)).count() >= 2,
            "{folder} is no folder of two files"
        );
    }
}

#[test]
fn no_row_points_up_or_sideways() {
    let tables = page();
    for (folder, (floor, row)) in &tables.floors {
        for name in row {
            let (below, _) =
                tables.floors.get(name).unwrap_or_else(|| panic!("{folder} imports {name}, which has no row"));
            assert!(below < floor, "{folder} (floor {floor}) may not import {name} (floor {below})");
        }
    }
}

#[test]
fn every_dependency_has_a_place() {
    let tables = page();
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let mut in_dependencies = false;
    let mut seen = 0;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]") && !line.contains("dev-");
        } else if in_dependencies
            && let Some((name, _)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            seen += 1;
            assert!(tables.crates.contains_key(&name.replace('-', "_")), "{name} has no place in docs/ARCHITECTURE.md");
        }
    }
    assert!(seen >= tables.crates.len(), "a crate of the table is no dependency");
}

#[test]
fn a_breach_is_found_and_named() {
    let tables = page();
    let what = |path: &str, text: &str| {
        check(&tables, path, text).into_iter().map(|b| format!("{}: {}", b.at, b.what)).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(what("src/wire/cell.rs", "use crate::base::codec;\nuse core::net::IpAddr;\n"), "");
    assert_eq!(
        what("src/wire/cell.rs", "use crate::base::codec;\nuse crate::crypto::kdf;\n"),
        "src/wire/cell.rs:2: wire may import [\"base\"], not crypto"
    );
    for (path, text, found) in [
        ("src/base/mod.rs", "use crate::{wire::cell, base};", "not wire"),
        (
            "src/base/mod.rs",
            "use crate::{\n    base,\n    link,\n};",
            "src/base/mod.rs:1: base may import [], not link",
        ),
        ("src/wire/cell.rs", "let x = crate::link::Link::new();", "not link"),
        ("src/bench/mod.rs", "use crate::base::time;", "not base"),
        ("src/link/mod.rs", "let now = Instant::now();", "a clock"),
        ("src/link/mod.rs", "use std::net::TcpStream;", "a socket"),
        ("src/bench/perf.rs", "use std::sync::{Mutex, Arc};", "a lock"),
        ("src/link/mod.rs", "let c = aes::Aes128::new();", "aes may be named in"),
        ("src/crypto/mod.rs", "use rustls::ClientConfig;", "rustls may be named in"),
        ("src/link/mod.rs", "use crate::crypto::cert;\nlet k = rsa::RsaPublicKey;", "rsa may be named in"),
        ("src/cellar/mod.rs", "", "has no row"),
    ] {
        assert!(what(path, text).contains(found), "{path}: {text}: {:?}", what(path, text));
    }
    // Tests may read clocks and start threads; a comment may say anything.
    assert_eq!(what("src/bench/latency/tests.rs", "use std::thread;"), "");
    assert_eq!(
        what("src/link/mod.rs", "// crate::lab, Instant::now\n#[cfg(test)]\nmod tests {\nuse std::thread;\n}"),
        ""
    );
    assert_eq!(what("src/link/mod.rs", "use crate::crypto::{cert, rsa};\nlet k: rsa::PublicKey;"), "");
    // The end of a longer path is not the crate.
    assert_eq!(what("src/link/mod.rs", "let x = kdf::sha1::new();"), "");
}
