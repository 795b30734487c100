//! What the documents name is there.
#![allow(clippy::unwrap_used, reason = "a test helper that fails should say where")]

use std::path::Path;

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

#[test]
fn a_claim_is_told_from_other_names() {
    assert_eq!(claims("a `b_c`, `an_old_name`, `wire::a_b_c`, `End`"), ["an_old_name"]);
}
