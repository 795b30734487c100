//! Nothing needs a C compiler, and nothing arrives that `deny.toml` bans: the resolved
//! graphs, dev-dependencies included, are walked offline with Cargo's own eyes.
#![allow(clippy::unwrap_used, reason = "a test helper that fails should say where")]
#![allow(clippy::disallowed_methods, reason = "a test reads its environment")]
#![allow(clippy::print_stdout, reason = "what is not checked is said in one line")]

use serde_json::Value;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A graph with its own lock file.
struct Graph {
    manifest: &'static str,
    /// The package at its root, which no rule is about.
    root: &'static str,
    /// Fewer packages than this mean that the graph was not read.
    least: usize,
    /// Banned packages it may have all the same, and why.
    exceptions: &'static [(&'static str, &'static str)],
}

const GRAPHS: [Graph; 2] = [
    Graph { manifest: "Cargo.toml", root: "cepa", least: 50, exceptions: &[] },
    Graph {
        manifest: "tests/loom/Cargo.toml",
        root: "cepa-loom",
        least: 20,
        exceptions: &[(
            "cc",
            "`generator` names it for its build script, which calls it on powerpc64 alone; \
             the model checker is a package of its own, and nothing of it reaches the client",
        )],
    },
];

/// One package of a graph.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    licence: String,
    /// What Cargo prints behind the version: empty for the registry.
    source: String,
    /// What it links, if its manifest says so.
    links: Option<String>,
    /// Its dependencies of any version.
    wildcards: Vec<String>,
}

/// What `deny.toml` says.
#[derive(Debug, Default)]
struct Rules {
    banned: Vec<(String, String)>,
    licences: Vec<String>,
    no_wildcards: bool,
    no_other_registry: bool,
    no_git: bool,
}

/// Reads `deny.toml`, of which every line must be understood: a rule that nobody reads
/// forbids nothing.
fn rules(deny: &str) -> Result<Rules, String> {
    let mut rules = Rules::default();
    let mut section = "";
    let mut list = "";
    for line in deny.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let quoted: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        match (section, list, &quoted[..]) {
            (_, "", []) if line.starts_with('[') && line.ends_with(']') => section = line,
            ("[bans]", "", []) if line == "deny = [" => list = "deny",
            ("[licenses]", "", []) if line == "allow = [" => list = "allow",
            (_, "deny" | "allow", []) if line == "]" => list = "",
            ("[bans]", "deny", [name, reason])
                if line == format!("{{ name = \"{name}\", reason = \"{reason}\" }},") && !name.contains('@') =>
            {
                rules.banned.push(((*name).to_owned(), (*reason).to_owned()));
            }
            ("[licenses]", "allow", [licence]) if line == format!("\"{licence}\",") => {
                rules.licences.push((*licence).to_owned());
            }
            ("[bans]", "", _) if line == "wildcards = \"deny\"" => rules.no_wildcards = true,
            ("[sources]", "", _) if line == "unknown-registry = \"deny\"" => rules.no_other_registry = true,
            ("[sources]", "", _) if line == "unknown-git = \"deny\"" => rules.no_git = true,
            // Of use to cargo-deny itself, and a warning.
            ("[graph]", "", _) if line == "all-features = true" => {}
            ("[bans]", "", _) if line == "multiple-versions = \"warn\"" => {}
            _ => return Err(format!("this line of {section} is not understood: {line}")),
        }
    }
    Ok(rules)
}

/// One line of `cargo tree`: `name vVERSION (source) | licence`.
fn package(line: &str) -> Package {
    let (left, licence) = line.split_once('|').unwrap();
    let mut words = left.split_whitespace();
    let name = words.next().unwrap().to_owned();
    let version = words.next().unwrap().trim_start_matches('v').to_owned();
    let source = words.find(|word| word.starts_with('(') && *word != "(*)" && *word != "(proc-macro)");
    Package {
        name,
        version,
        licence: licence.trim().trim_end_matches("(*)").trim().to_owned(),
        source: source.unwrap_or_default().to_owned(),
        links: None,
        wildcards: Vec::new(),
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
fn complaints(packages: &[Package], rules: &Rules, exceptions: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        let name = &package.name;
        let excepted = exceptions.iter().any(|(excepted, _)| excepted == name);
        if let Some((_, reason)) = rules.banned.iter().find(|(banned, _)| banned == name)
            && !excepted
        {
            found.push(format!("{name} is banned: {reason}"));
        }
        if let Some(links) = &package.links {
            found.push(format!("{name} links {links}"));
        }
        if !allowed(&package.licence, &rules.licences) {
            found.push(format!("{name} has the licence {:?}", package.licence));
        }
        // Only crates.io goes without saying.
        if !package.source.is_empty() && (rules.no_other_registry || rules.no_git) {
            found.push(format!("{name} comes from {}, not from the registry", package.source));
        }
        if rules.no_wildcards {
            found.extend(package.wildcards.iter().map(|wild| format!("{name} takes any version of {wild}")));
        }
    }
    found
}

/// What Cargo prints when it is asked this of a manifest.
fn cargo(manifest: &str, arguments: &[&str]) -> Result<String, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(arguments)
        .args(["--offline", "--locked", "--all-features", "--manifest-path", manifest])
        .current_dir(ROOT)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

/// The packages of a graph for every target or for this machine's, or what Cargo said.
fn packages(graph: &Graph, every_target: bool) -> Result<Vec<Package>, String> {
    let mut tree = vec!["tree", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p} | {l}"];
    if every_target {
        tree.extend(["--target", "all"]);
    }
    let text = cargo(graph.manifest, &tree)?;
    // The package itself is printed with its folder, which may hold blanks.
    let root = format!("{} ", graph.root);
    let mut packages: Vec<_> = text.lines().filter(|line| !line.starts_with(&root)).map(package).collect();
    packages.sort();
    packages.dedup();
    Ok(packages)
}

/// Adds to `packages` what only their manifests say, and the root with it.
fn with_manifests(graph: &Graph, mut packages: Vec<Package>) -> Result<Vec<Package>, String> {
    let json = cargo(graph.manifest, &["metadata", "--format-version", "1"])?;
    let json: Value = serde_json::from_str(&json).map_err(|error| error.to_string())?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut read = 0;
    // Some of the lock file is in no graph, and of no interest.
    for manifest in json["packages"].as_array().ok_or("no packages")? {
        let (name, version) = (&manifest["name"], &manifest["version"]);
        let links = text(&manifest["links"]);
        let any = |dependency: &&Value| dependency["req"] == "*" && dependency["path"].is_null();
        let wildcards: Vec<_> = manifest["dependencies"].as_array().ok_or("no dependencies")?.iter().collect();
        let wildcards: Vec<_> = wildcards.into_iter().filter(any).filter_map(|wild| text(&wild["name"])).collect();
        if *name == graph.root {
            let (name, version) = (graph.root.to_owned(), text(version).unwrap_or_default());
            let licence = "MIT".to_owned(); // our own choice
            packages.push(Package { name, version, licence, source: String::new(), links, wildcards });
            continue;
        }
        for package in packages.iter_mut().filter(|package| *name == package.name && *version == package.version) {
            read += 1;
            package.links.clone_from(&links);
            package.wildcards.clone_from(&wildcards);
        }
    }
    // The root is one more now.
    if read + 1 == packages.len() { Ok(packages) } else { Err(format!("{read} manifests of {}", packages.len())) }
}

/// The graph of every target where its packages are at hand, else that of this machine.
fn widest(graph: &Graph) -> Vec<Package> {
    let everywhere = packages(graph, true).and_then(|packages| with_manifests(graph, packages));
    if std::env::var("CEPA_DEPENDENCIES").is_ok_and(|wish| wish == "required") {
        return everywhere.unwrap();
    }
    everywhere.or_else(|_| packages(graph, false)).unwrap_or_default()
}

fn deny() -> Rules {
    rules(&std::fs::read_to_string(format!("{ROOT}/deny.toml")).unwrap()).unwrap()
}

#[test]
fn nothing_banned_nothing_linked_no_odd_licence_no_odd_source() {
    let rules = deny();
    for graph in &GRAPHS {
        let packages = widest(graph);
        if !packages.iter().any(|package| package.name == graph.root) {
            println!(
                "dependencies: {}: not all is downloaded; checked for this machine, by name alone",
                graph.manifest
            );
        }
        if packages.is_empty() && graph.root != "cepa" {
            continue;
        }
        assert!(packages.len() > graph.least, "{} was not read: {packages:?}", graph.manifest);
        let found = complaints(&packages, &rules, graph.exceptions);
        assert!(found.is_empty(), "\n{}:\n{}\n", graph.manifest, found.join("\n"));
        for (name, reason) in graph.exceptions {
            let needed = packages.iter().any(|package| package.name == *name);
            assert!(needed, "{} has no {name} any more; it was excepted because {reason}", graph.manifest);
        }
    }
}

#[test]
fn each_rule_finds_its_breach() {
    let rules = deny();
    assert!(rules.banned.len() > 10 && rules.licences.len() > 5);
    assert!(rules.no_wildcards && rules.no_other_registry && rules.no_git, "{rules:?}");
    let complain = |package: Package| complaints(&[package], &rules, &[]).join("\n");
    let line = |line: &str| complain(package(line));
    assert_eq!(line("aes v0.9.2 | MIT OR Apache-2.0"), "");
    assert_eq!(line("unicode-ident v1.0.0 | (MIT OR Apache-2.0) AND Unicode-3.0"), "");
    assert_eq!(line("memchr v2.7.0 | Unlicense OR MIT (*)"), "");
    assert_eq!(line("serde_derive v1.0 (proc-macro) | MIT/Apache-2.0"), "");
    assert_eq!(line("cc v1.2.0 | MIT OR Apache-2.0"), "cc is banned: compiles C");
    assert!(line("equix v0.8.0 | LGPL-3.0-only").contains("licence"));
    assert!(line("x v1.0 | MIT AND GPL-3.0").contains("licence"));
    assert!(line("x v1.0 | ").contains("licence"));
    assert!(line("x v1.0 (https://example.com/x#1234) | MIT").contains("not from the registry"));
    let x = package("x v1.0 | MIT");
    assert_eq!(complain(Package { links: Some("z".into()), ..x.clone() }), "x links z");
    assert_eq!(complain(Package { wildcards: vec!["y".into()], ..x }), "x takes any version of y");
    let excepted = [package("cc v1.2.0 | MIT"), package("ring v0.17.0 | MIT")];
    assert_eq!(complaints(&excepted, &rules, &[("cc", "")]).len(), 1);
}

#[test]
fn a_rule_that_is_not_understood_is_an_error() {
    let ban = |line: &str| rules(&format!("[bans]\ndeny = [\n{line}\n]\n"));
    assert_eq!(ban("{ name = \"cc\", reason = \"C\" },").unwrap().banned, [("cc".to_owned(), "C".to_owned())]);
    for line in [
        "{ name = \"cc\" },",
        "{ crate = \"cc@1\", reason = \"C\" },",
        "{ name = \"cc@1\", reason = \"C\" },",
        "{ name = \"cc\", wrappers = [\"x\"], reason = \"C\" },",
        "{ reason = \"C\", name = \"cc\" },",
        "{ name = \"cc\", reason = \"C\" }, { name = \"ring\", reason = \"C\" },",
        "\"cc\",",
        "cc",
    ] {
        assert!(ban(line).is_err(), "{line}");
    }
    for text in ["[bans]\nwildcards = \"allow\"", "[sources]\nallow-git = [\"x\"]", "[licenses]\nallow = [\n{}\n]"] {
        assert!(rules(text).is_err(), "{text}");
    }
    assert!(!rules("").unwrap().no_wildcards);
}
