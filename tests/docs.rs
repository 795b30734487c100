//! What the documents name is there.
#![allow(clippy::unwrap_used, reason = "a test helper that fails should say where")]

use std::path::Path;

use cepa::internal::config::{Config, OPTIONS, Settings};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The text of every Rust file under `folder`.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &std::fs::read_to_string(path).unwrap();
        }
    }
    text
}

/// The names in a document that look like a test's: a claim of three words or more.
fn claims(document: &str) -> Vec<&str> {
    let quoted = document.split('`').skip(1).step_by(2);
    quoted
        .filter(|name| name.matches('_').count() >= 2 && !name.contains(|c: char| !c.is_alphanumeric() && c != '_'))
        .collect()
}

/// Asserts that `page` names at least so many tests, and that each is there.
fn assert_tests_exist(page: &str, least: usize) {
    let code = sources(&Path::new(ROOT).join("src")) + &sources(&Path::new(ROOT).join("tests"));
    let document = std::fs::read_to_string(format!("{ROOT}/{page}")).unwrap();
    let named = claims(&document);
    assert!(named.len() >= least, "few tests were found in {page}: {named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "{page} names tests that are not there: {missing:?}");
}

#[test]
fn each_test_that_answers_an_attack_exists() {
    assert_tests_exist("docs/attacks.md", 20);
}

#[test]
fn each_test_that_keeps_an_invariant_exists() {
    assert_tests_exist("docs/ARCHITECTURE.md", 8);
}

/// Each option has its line, and all defaults together are a configuration, the one that there
/// is without them.
#[test]
fn the_example_of_a_torrc_has_every_option_with_its_default() {
    let example = std::fs::read_to_string(format!("{ROOT}/torrc.example")).unwrap();
    let lines: Vec<&str> = example.lines().filter_map(|line| line.strip_prefix('#')).collect();
    let mut all = Settings::new();
    for entry in OPTIONS {
        let line = format!("{} {}", entry.name, entry.default).trim_end().to_owned();
        assert!(lines.contains(&line.as_str()), "torrc.example has no line #{line}");
        if !entry.default.is_empty() {
            all.add_text("torrc.example", &line).unwrap();
        }
    }
    let named = lines.iter().filter(|line| !line.starts_with('#') && !line.is_empty()).count();
    assert_eq!(named, OPTIONS.len());
    assert_eq!(Config::of(&all).unwrap().0, Config::of(&Settings::new()).unwrap().0);
}

/// What a patch of `tests/mutations/` expects to find, hunk by hunk: the file, and its lines.
fn hunks(patch: &str) -> Vec<(&str, String)> {
    let mut hunks: Vec<(&str, String)> = Vec::new();
    let mut file = "";
    for line in patch.lines().filter(|line| !line.starts_with('#') && !line.starts_with("+++ ")) {
        if let Some(name) = line.strip_prefix("--- a/") {
            file = name;
        } else if line.starts_with("@@ ") {
            hunks.push((file, String::new()));
        } else if let (Some((_, lines)), Some(old)) = (hunks.last_mut(), line.strip_prefix([' ', '-'])) {
            *lines += old;
            lines.push('\n');
        }
    }
    hunks
}

/// That its test fails is seen by night; that it is there, and the check too, at once.
#[test]
fn each_mutation_finds_its_check_and_its_test() {
    let tests = sources(&Path::new(ROOT).join("tests")) + &sources(&Path::new(ROOT).join("src"));
    let mut count = 0;
    for entry in std::fs::read_dir(format!("{ROOT}/tests/mutations")).unwrap() {
        let path = entry.unwrap().path();
        let patch = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().display();
        let mut head = patch.lines();
        let fails: Vec<&str> = head.by_ref().map_while(|line| line.strip_prefix("# fails: ")).collect();
        assert!(!fails.is_empty(), "{name}");
        for test in fails {
            let (_, test) = test.rsplit_once("::").unwrap();
            assert!(tests.contains(&format!("fn {test}(")), "{name}: there is no test {test}");
        }
        assert!(
            patch.lines().find(|line| !line.starts_with("# fails: ")).unwrap().starts_with("# without: "),
            "{name}"
        );
        for (file, lines) in hunks(&patch) {
            // What the lab checks is not the client's to lose.
            assert!(file.starts_with("src/") && !file.starts_with("src/lab/"), "{name}: {file}");
            let source = std::fs::read_to_string(format!("{ROOT}/{file}")).unwrap();
            assert!(source.contains(&lines), "{name} does not apply to {file} any more:\n{lines}");
        }
        count += hunks(&patch).len();
    }
    assert!(count >= 40, "few were found: {count}");
}

/// A test counts only if something shows that it would notice.
#[test]
fn each_villain_has_a_mutation_that_its_test_finds() {
    let patches = std::fs::read_dir(format!("{ROOT}/tests/mutations")).unwrap();
    let patches: String = patches.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    let mut count = 0;
    for file in ["mod", "authorities"] {
        let source = std::fs::read_to_string(format!("{ROOT}/tests/network/answers/{file}.rs")).unwrap();
        let named = source.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once(" => "));
        for (whose, test) in named.filter(|(whose, _)| whose.starts_with("V::") || whose.starts_with("M::")) {
            let test = if file == "mod" { test.to_owned() } else { format!("{file}::{test}") };
            assert!(patches.contains(&format!("# fails: network answers::{test}\n")), "{whose}: {test}");
            count += 1;
        }
    }
    assert!(count >= 54, "few were found: {count}");
}

#[test]
fn a_hunk_is_read_as_what_it_was() {
    let patch = "# fails: lib a\n--- a/b.rs\n+++ b/b.rs\n@@ -1,3 +1,2 @@\n one\n-two\n+three\n \n@@ -9 +9 @@\n-x\n";
    assert_eq!(hunks(patch), [("b.rs", "one\ntwo\n\n".to_owned()), ("b.rs", "x\n".to_owned())]);
}

#[test]
fn a_claim_is_told_from_other_names() {
    assert_eq!(claims("a `b_c`, `an_old_name`, `wire::a_b_c`, `End`"), ["an_old_name"]);
}
