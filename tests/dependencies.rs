//! Nothing needs a C compiler, and nothing arrives that `deny.toml` bans: the resolved
//! graph, dev-dependencies included, is walked offline with Cargo's own eyes.
#![allow(clippy::unwrap_used, reason = "a test helper that fails should say where")]
#![allow(clippy::disallowed_methods, reason = "a test reads its environment")]
#![allow(clippy::print_stdout, reason = "what is not checked is said in one line")]

use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// One package of the graph.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    licence: String,
    /// What Cargo prints behind the version: empty for the registry.
    source: String,
}

struct Rules {
    banned: Vec<(String, String)>,
    licences: Vec<String>,
}

/// The quoted strings of a line.
fn quoted(line: &str) -> Vec<String> {
    line.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn rules(deny: &str) -> Rules {
    let mut rules = Rules { banned: Vec::new(), licences: Vec::new() };
    let mut section = String::new();
    for line in deny.lines() {
        let line = line.trim();
        if line.starts_with('[') && line.ends_with(']') && !line.contains('=') {
            line.clone_into(&mut section);
        }
        match (section.as_str(), &quoted(line)[..]) {
            ("[bans]", [name, reason]) if line.starts_with("{ name") => {
                rules.banned.push((name.clone(), reason.clone()))
            }
            ("[licenses]", [licence]) => rules.licences.push(licence.clone()),
            _ => {}
        }
    }
    rules
}

/// One line of `cargo tree`: `name vVERSION (source) | licence`.
fn package(line: &str) -> Package {
    let (left, licence) = line.split_once('|').unwrap();
    let mut words = left.split_whitespace();
    let name = words.next().unwrap().to_owned();
    let source = words.find(|word| word.starts_with('(') && *word != "(*)" && *word != "(proc-macro)");
    Package {
        name,
        licence: licence.trim().trim_end_matches("(*)").trim().to_owned(),
        source: source.unwrap_or_default().to_owned(),
    }
}

/// Whether a licence expression can be met with the allowed ones.
fn allowed(expression: &str, allow: &[String]) -> bool {
    let flat = expression.replace(['(', ')'], " ").replace('/', " OR ");
    flat.split(" AND ").all(|all| {
        all.split(" OR ").any(|one| {
            let one = one.trim();
            allow.iter().any(|licence| licence == one.split(" WITH ").next().unwrap_or_default().trim())
        })
    })
}

/// What is wrong with a graph, a line each.
fn complaints(packages: &[Package], rules: &Rules) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        let name = &package.name;
        if let Some((_, reason)) = rules.banned.iter().find(|(banned, _)| banned == name) {
            found.push(format!("{name} is banned: {reason}"));
        }
        if !allowed(&package.licence, &rules.licences) {
            found.push(format!("{name} has the licence {:?}", package.licence));
        }
        if !package.source.is_empty() && name != "cepa" {
            found.push(format!("{name} comes from {}, not from the registry", package.source));
        }
    }
    found
}

/// The graph for every target or for this machine's, or what Cargo said.
fn graph(every_target: bool) -> Result<Vec<Package>, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--locked", "--all-features", "--edges", "normal,build,dev"])
        .args(["--prefix", "none", "--format", "{p} | {l}"])
        .args(if every_target { &["--target", "all"][..] } else { &[] })
        .current_dir(ROOT)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
    // The package itself is printed with its folder, which may hold blanks.
    let mut packages: Vec<_> = text.lines().filter(|line| !line.starts_with("cepa ")).map(package).collect();
    packages.sort();
    packages.dedup();
    Ok(packages)
}

/// The graph of every target where its packages are at hand, else that of this machine.
fn widest_graph() -> Vec<Package> {
    let everywhere = graph(true);
    if std::env::var("CEPA_DEPENDENCIES").is_ok_and(|wish| wish == "required") {
        return everywhere.unwrap();
    }
    everywhere.unwrap_or_else(|_| {
        println!("dependencies: packages of other targets are not downloaded; checked for this machine only");
        graph(false).unwrap()
    })
}

fn deny() -> Rules {
    rules(&std::fs::read_to_string(format!("{ROOT}/deny.toml")).unwrap())
}

#[test]
fn nothing_banned_no_odd_licence_no_odd_source() {
    let packages = widest_graph();
    assert!(packages.len() > 50, "the graph was not read: {packages:?}");
    let found = complaints(&packages, &deny());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn each_rule_finds_its_breach() {
    let rules = deny();
    assert!(rules.banned.len() > 10 && rules.licences.len() > 5);
    let complain = |line: &str| complaints(&[package(line)], &rules).join("\n");
    assert_eq!(complain("aes v0.9.2 | MIT OR Apache-2.0"), "");
    assert_eq!(complain("unicode-ident v1.0.0 | (MIT OR Apache-2.0) AND Unicode-3.0"), "");
    assert_eq!(complain("memchr v2.7.0 | Unlicense OR MIT (*)"), "");
    assert_eq!(complain("serde_derive v1.0 (proc-macro) | MIT/Apache-2.0"), "");
    assert_eq!(complain("cc v1.2.0 | MIT OR Apache-2.0"), "cc is banned: compiles C");
    assert!(complain("equix v0.8.0 | LGPL-3.0-only").contains("licence"));
    assert!(complain("x v1.0 | MIT AND GPL-3.0").contains("licence"));
    assert!(complain("x v1.0 | ").contains("licence"));
    assert!(complain("x v1.0 (https://example.com/x#1234) | MIT").contains("not from the registry"));
}
