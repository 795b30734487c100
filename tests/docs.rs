//! What the documents name is there.
#![allow(clippy::unwrap_used, reason = "a test helper that fails should say where")]

use std::path::Path;

use cepa::internal::config::options::{ABBREVIATIONS, Entry, State, table};
use cepa::internal::config::{Config, Settings};

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
fn the_example_of_a_torrc_has_every_implemented_option_with_its_default() {
    let example = std::fs::read_to_string(format!("{ROOT}/torrc.example")).unwrap();
    let lines: Vec<&str> = example.lines().filter_map(|line| line.strip_prefix('#')).collect();
    let mut all = Settings::new();
    let table = table();
    let implemented =
        || table.iter().filter(|entry| matches!(entry.state, State::Implemented(_)) && is_of_files(entry));
    for entry in implemented() {
        let line = format!("{} {}", entry.name, entry.default).trim_end().to_owned();
        assert!(lines.contains(&line.as_str()), "torrc.example has no line #{line}");
        if !entry.default.is_empty() {
            all.add_text("torrc.example", &line).unwrap();
        }
    }
    let named = lines.iter().filter(|line| !line.starts_with('#') && !line.is_empty()).count();
    assert_eq!(named, implemented().count());
    assert_eq!(Config::of(&all).unwrap().0, Config::of(&Settings::new()).unwrap().0);
}

/// Whether a person would write it: what has `__` before it is for controllers.
fn is_of_files(entry: &Entry) -> bool {
    !entry.name.starts_with("__")
}

/// The page that the table makes.
fn page_of_options() -> String {
    let table = table();
    let (obsolete, rows): (Vec<&Entry>, Vec<&Entry>) = table.into_iter().partition(|entry| entry.is_obsolete());
    let count = |is: fn(&State) -> bool| rows.iter().filter(|entry| is(&entry.state)).count();
    let counts = [
        count(|state| matches!(state, State::Implemented(_))),
        count(|state| matches!(state, State::Kept(_))),
        count(|state| matches!(state, State::Refused(_))),
    ];
    let names: Vec<_> = obsolete.iter().map(|entry| code(entry)).collect();
    let others: Vec<_> =
        ABBREVIATIONS.iter().map(|other| format!("`{}` for `{}`", other.name, other.stands_for)).collect();
    let mut page = HEAD.to_owned();
    page += &format!(
        "{} options: {} implemented, {} kept, {} refused; and {} that are obsolete.\n\n",
        rows.len(),
        counts[0],
        counts[1],
        counts[2],
        obsolete.len()
    );
    page += "| option | default | state | what it does |\n|---|---|---|---|\n";
    page.extend(rows.iter().map(|entry| line_of(entry)));
    page += &format!("\n## Other names\n\n{}.\n", others.join(", "));
    page += &format!("\n## Obsolete\n\nTaken, and do nothing, as in C tor: {}.\n", names.join(", "));
    page
}

const HEAD: &str = "\
# Options

Every option of C tor 0.4.9 is one of these:

- **implemented**: it does what it says, which the test shows that stands behind it.
- **kept**: it may be given and changes nothing, which is told when it is not its default.
- **refused**: given another value than its default, it ends the program with status 1 and one
  line that names the file, the line, the option, the value and the reason. Those are the
  options that would serve others, and those that say whom to connect to or how to be
  protected and are not here yet. While `DisableNetwork` is 1 they may have any value that is
  well-formed; turning the network on is then what is refused.

This page is made from the table in `src/config/options/`; the tests compare them, and
`CEPA_WRITE_DOCS=1 cargo test --test docs` writes it anew.

";

fn code(entry: &Entry) -> String {
    format!("`{}`", entry.name)
}

fn line_of(entry: &Entry) -> String {
    let default = match (entry.default, entry.testing) {
        ("", _) => String::new(),
        (default, Some(testing)) if testing != default => format!("`{default}`, in a testing network `{testing}`"),
        (default, _) => format!("`{default}`"),
    };
    let state = match entry.state {
        State::Implemented(test) => format!("implemented: `{test}`"),
        State::Kept(why) => format!("kept: {why}"),
        State::Refused(why) => format!("refused: {why}"),
    };
    format!("| `{}` | {default} | {state} | {} |\n", entry.name, entry.help)
}

#[test]
fn the_page_of_options_is_the_one_that_the_table_makes() {
    let path = format!("{ROOT}/docs/torrc.md");
    let expected = page_of_options();
    if std::env::var_os("CEPA_WRITE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let different = page.lines().zip(expected.lines()).find(|(is, should)| is != should);
    assert!(
        page == expected,
        "docs/torrc.md is not what the table makes (CEPA_WRITE_DOCS=1 cargo test --test docs writes it): {different:?}"
    );
}

/// `network x` is a test of that name in tests/network/ or tests/network.rs, `lib x` one beside the
/// code.
#[test]
fn each_test_that_shows_an_option_exists() {
    for entry in table() {
        let State::Implemented(test) = entry.state else { continue };
        let named = test.split_once(' ');
        let (suite, test) = named.unwrap_or_else(|| panic!("{}: name a suite and a test", entry.name));
        let code = match suite {
            "lib" => sources(&Path::new(ROOT).join("src")),
            suite => {
                let folder = Path::new(ROOT).join("tests").join(suite);
                let file = folder.with_extension("rs");
                if folder.is_dir() { sources(&folder) } else { std::fs::read_to_string(file).unwrap() }
            }
        };
        assert!(code.contains(&format!("fn {test}(")), "{}: there is no test {suite} {test}", entry.name);
    }
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
