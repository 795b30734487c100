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

/// Paths that a quiet floor may not name outside its tests, and why. A glob that would
/// bring one in counts as well.
const LOUD: &[(&str, &str)] = &[
    ("std::net", "a socket (addresses are in core::net)"),
    ("std::os", "the system"),
    ("std::fs", "a file"),
    ("std::io", "input or output"),
    ("std::env", "the environment"),
    ("std::process", "a process"),
    ("std::thread", "a thread"),
    ("std::time::Instant", "a clock"),
    ("std::time::SystemTime", "a clock"),
    ("std::sync::Mutex", "a lock"),
    ("std::sync::RwLock", "a lock"),
    ("std::sync::Condvar", "a lock"),
    ("std::sync::Barrier", "a lock"),
    ("std::sync::mpsc", "a channel"),
    ("std::sync::OnceLock", "state that outlives its owner"),
    ("std::sync::LazyLock", "state that outlives its owner"),
    ("std::sync::atomic::AtomicU64", "an atomic that 32-bit boards lack"),
    ("std::sync::atomic::AtomicI64", "an atomic that 32-bit boards lack"),
    ("core::sync::atomic::AtomicU64", "an atomic that 32-bit boards lack"),
    ("core::sync::atomic::AtomicI64", "an atomic that 32-bit boards lack"),
    ("getrandom", "the system's randomness"),
];

/// Words that say the same without a path.
const LOUD_WORDS: &[(&str, &str)] = &[
    ("Instant::now", "a clock"),
    ("SystemTime::now", "a clock"),
    ("static mut", "state that outlives its owner"),
    ("thread_local!", "state that outlives its owner"),
    ("println!", "output"),
    ("print!", "output"),
    ("include!", "code from elsewhere"),
];

/// The exceptions that the architecture page names: file prefix, path.
const EXCEPTIONS: &[(&str, &str)] = &[("src/bench/lock.rs", "std::sync::Mutex"), ("src/crypto/tls/", "getrandom")];

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

/// Every path that a file names: its line, and its segments from the root, `crate` or a
/// crate's name first.
fn paths(file: &str, text: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut inline: Vec<usize> = Vec::new();
    for (number, line) in statements(text) {
        let indent = line.len() - line.trim_start().len();
        if line.trim() == "}" {
            inline.retain(|opened| *opened != indent);
        }
        let here = module(file, inline.len());
        let trimmed = line.trim();
        let statement = ["pub(crate) use ", "pub(super) use ", "pub use ", "use "]
            .iter()
            .find_map(|start| trimmed.strip_prefix(start));
        let named = match statement {
            Some(tree) => expand(tree.trim_end_matches(';')),
            None => inline_paths(trimmed),
        };
        found.extend(named.into_iter().map(|path| (number, resolve(&here, &path))));
        let opens = trimmed.trim_start_matches("pub ").trim_start_matches("pub(crate) ").starts_with("mod ");
        if opens && trimmed.ends_with('{') {
            inline.push(indent);
        }
    }
    found
}

/// The module of a file, `depth` inline modules down: only its length counts.
fn module(file: &str, depth: usize) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
    module.extend((0..depth).map(|_| "inline".to_owned()));
    module
}

/// A path from the root: `self` and `super` resolved against the module it stands in.
fn resolve(here: &[String], path: &str) -> Vec<String> {
    let mut segments: Vec<String> = path.split("::").map(|segment| segment.trim().to_owned()).collect();
    if segments.first().is_some_and(String::is_empty) {
        segments.remove(0);
    }
    if !matches!(segments.first().map(String::as_str), Some("self" | "super")) {
        return segments;
    }
    let mut module = here.to_vec();
    while let Some(first) = segments.first() {
        match first.as_str() {
            "self" => {}
            "super" => drop(module.pop()),
            _ => break,
        }
        segments.remove(0);
    }
    ["crate".to_owned()].into_iter().chain(module).chain(segments).collect()
}

/// The paths of a `use` tree.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((front, list)) = tree.split_once('{') else {
        return vec![tree.to_owned()];
    };
    let list = list.trim_end().strip_suffix('}').unwrap_or(list);
    let (mut parts, mut depth, mut part) = (Vec::new(), 0, String::new());
    for c in list.chars() {
        match c {
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                part.push(c);
            }
        }
    }
    parts.push(part);
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(part)).map(|part| format!("{front}{part}")).collect()
}

/// The paths in a line of code: words joined by `::`.
fn inline_paths(code: &str) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    code.split(|c: char| !is_word(c)).filter(|word| word.contains("::")).map(str::to_owned).collect()
}

/// A line without its comment and without what its strings say.
fn code_of(line: &str) -> String {
    let mut code = String::new();
    let (mut in_string, mut chars) = (false, line.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => drop(chars.next()),
            '"' => in_string = !in_string,
            '\'' if !in_string && chars.peek() == Some(&'"') => drop(chars.nth(1)),
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            _ if in_string => {}
            _ => code.push(c),
        }
    }
    code
}

/// Lines of code with their numbers, a `use` that spans several joined to one.
fn statements(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        let code = code_of(line);
        if open {
            lines.last_mut().unwrap().1.push_str(code.trim());
        } else {
            lines.push((index + 1, code.clone()));
        }
        let trimmed = code.trim_start();
        let begins = trimmed.starts_with("use ") || (trimmed.starts_with("pub") && trimmed.contains(" use "));
        open = (open || begins) && !code.contains(';');
    }
    lines
}

/// Where the tests at the foot of a file begin: the line, if any.
fn tests_begin(text: &str) -> Option<usize> {
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().position(|line| {
        let bare = line.trim_start_matches("pub(crate) ");
        bare.starts_with("mod tests") && bare.ends_with('{')
    })
}

/// All breaches of one file, `path` being relative to the package.
fn check(tables: &Tables, path: &str, text: &str) -> Vec<Breach> {
    let inner = path.trim_start_matches("src/");
    let Some((folder, _)) = inner.split_once('/') else {
        // The front page names folders and nothing else.
        return match inner {
            "lib.rs" => check_front_page(path, text),
            _ => vec![Breach { at: path.to_owned(), what: "a file stands in a folder".to_owned() }],
        };
    };
    let Some((floor, row)) = tables.floors.get(folder) else {
        return vec![Breach { at: path.to_owned(), what: format!("the folder {folder} has no row") }];
    };
    let mut breaches = Vec::new();
    let mut report = |number: usize, what: String| breaches.push(Breach { at: format!("{path}:{number}"), what });
    let tests_at = if path.ends_with("/tests.rs") { Some(0) } else { tests_begin(text) };
    let is_test = |number: usize| tests_at.is_some_and(|at| number > at);
    let quiet = *floor <= HIGHEST_QUIET_FLOOR;

    for (number, segments) in paths(path, text) {
        let full = segments.join("::");
        let (first, second) = (segments[0].as_str(), segments.get(1).map(String::as_str).unwrap_or_default());
        let second = second.split_whitespace().next().unwrap_or_default();
        let first_word = first.split_whitespace().next().unwrap_or_default();
        if first_word == "crate" {
            if second.is_empty() || second == "*" || first != "crate" {
                report(number, "the crate's root may not be renamed or brought in whole".to_owned());
            } else if second != folder && !row.contains(&second.to_owned()) {
                report(number, format!("{folder} may import {row:?}, not {second}"));
            }
        }
        if quiet && !is_test(number) {
            for (word, reason) in LOUD.iter().filter(|(word, _)| reaches(&full, word)) {
                let excused = EXCEPTIONS.iter().any(|(file, what)| path.starts_with(file) && what == word);
                if !excused {
                    report(number, format!("{folder} is a quiet floor, and {word} is {reason}"));
                }
            }
        }
        if let Some(places) = tables.crates.get(first_word) {
            let allowed = |place: &String| inner.starts_with(&format!("{place}/")) || inner == format!("{place}.rs");
            // A module of ours by the same name, imported, hides the crate.
            if !places.iter().any(allowed) && !imports_our_own(path, text, first_word) {
                report(number, format!("{first_word} may be named in {places:?} only"));
            }
        }
    }
    for (number, line) in statements(text) {
        for (word, reason) in LOUD_WORDS.iter().filter(|(word, _)| quiet && !is_test(number) && line.contains(word)) {
            report(number, format!("{folder} is a quiet floor, and {word} is {reason}"));
        }
        if line.contains("extern crate") {
            report(number, "crates are named by their own names".to_owned());
        }
    }
    if let Some(at) = tests_begin(text) {
        let after = text.lines().enumerate().skip(at).find(|(_, line)| *line == "}").map(|(end, _)| end + 1);
        if after.is_some_and(|after| text.lines().skip(after).any(|line| !line.trim().is_empty())) {
            report(at + 1, "the tests stand at the foot of a file".to_owned());
        }
    }
    breaches
}

/// What breaks the rules in `lib.rs`: anything but its modules and what it passes on.
fn check_front_page(path: &str, text: &str) -> Vec<Breach> {
    let allowed = |code: &str| {
        let bare = code.trim().trim_start_matches("pub ");
        let starts = [
            "mod ",
            "use crate::",
            "#![deny(missing_docs)]",
            "#![forbid(unsafe_code)]",
            "#[doc(hidden)]",
            "#[cfg(feature = ",
        ];
        bare.is_empty() || bare == "}" || starts.iter().any(|start| bare.starts_with(start))
    };
    let lines = statements(text).into_iter().filter(|(_, code)| !allowed(code));
    lines
        .map(|(number, code)| Breach { at: format!("{path}:{number}"), what: format!("the front page says {code:?}") })
        .collect()
}

/// Whether a path, perhaps a glob or renamed, brings in what is at `loud`.
fn reaches(path: &str, loud: &str) -> bool {
    let path = path.split(" as ").next().unwrap_or_default().trim();
    if let Some(parent) = path.strip_suffix("::*") {
        return loud.starts_with(&format!("{parent}::")) || reaches(parent, loud);
    }
    path == loud || path.starts_with(&format!("{loud}::"))
}

/// Whether a file imports something of ours that is called `name`.
fn imports_our_own(file: &str, text: &str, name: &str) -> bool {
    paths(file, text).iter().any(|(_, segments)| {
        segments[0] == "crate" && segments.len() > 2 && segments.last().is_some_and(|last| last == name)
    })
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
        ("src/base/mod.rs", "pub(crate) use crate::{\n    lab::probe,\n};", "not lab"),
        ("src/wire/cell.rs", "let x = crate::link::Link::new();", "not link"),
        ("src/wire/cell.rs", "use super::super::lab::probe;", "not lab"),
        ("src/wire/cell.rs", "mod inner {\n    use super::super::super::lab::probe;\n}", "not lab"),
        ("src/wire/cell.rs", "let url = \"http://x\"; crate::lab::probe::run();", "not lab"),
        ("src/wire/cell.rs", "use crate as c;", "renamed"),
        ("src/wire/cell.rs", "use crate::*;", "brought in whole"),
        ("src/wire/cell.rs", "use super::super::*;", "brought in whole"),
        ("src/bench/mod.rs", "use crate::base::time;", "not base"),
        ("src/link/mod.rs", "let now = Instant::now();", "a clock"),
        ("src/link/mod.rs", "use std::net::TcpStream;", "a socket"),
        ("src/link/mod.rs", "use std::{fs, net::TcpStream};", "a file"),
        ("src/link/mod.rs", "use std::{fs, net::TcpStream};", "a socket"),
        ("src/link/mod.rs", "use std::time::{Duration, Instant};", "a clock"),
        ("src/link/mod.rs", "use std::time::*;", "a clock"),
        ("src/link/mod.rs", "let x = ::std::env::var(name);", "the environment"),
        ("src/bench/perf.rs", "use std::sync::{Arc, Mutex};", "a lock"),
        ("src/link/mod.rs", "let c = aes::Aes128::new();", "aes may be named in"),
        ("src/link/mod.rs", "use aes as a;", "aes may be named in"),
        ("src/link/mod.rs", "extern crate aes as a;", "by their own names"),
        ("src/crypto/mod.rs", "use rustls::ClientConfig;", "rustls may be named in"),
        ("src/crypto/mod.rs", "use ::rustls::ClientConfig;", "rustls may be named in"),
        ("src/link/mod.rs", "use crate::crypto::cert;\nlet k = rsa::RsaPublicKey;", "rsa may be named in"),
        ("src/link/mod.rs", "\nmod tests {\n}\nuse crate::base::x;", "at the foot"),
        ("src/base/text.rs", "use crate::internal::link::Link;", "not internal"),
        ("src/cellar/mod.rs", "", "has no row"),
        ("src/cellar.rs", "use std::net::TcpStream;", "stands in a folder"),
        ("src/lib.rs", "use std::net::TcpStream;", "the front page says"),
        ("src/lib.rs", "static X: u8 = 1;", "the front page says"),
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
    assert_eq!(what("src/crypto/cgo/tests.rs", "use super::super::kdf;\nuse super::*;"), "");
    assert_eq!(what("src/wire/cell.rs", "mod tests {\n    use super::super::testing::unhex;\n}\n"), "");
    // The end of a longer path is not the crate.
    assert_eq!(what("src/link/mod.rs", "let x = kdf::sha1::new();"), "");
}
