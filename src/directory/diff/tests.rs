use proptest::prelude::*;

use super::*;
use crate::crypto::kdf;

/// Arti 2.7, tor-consdiff, `testdata`: two consensuses of a test network, and the diff that a
/// C tor made of them.
const OLD: &str = include_str!("../testdata/diff-old.txt");
const NEW: &str = include_str!("../testdata/diff-new.txt");
const DIFF: &str = include_str!("../testdata/diff.txt");

fn parse(text: &str) -> Result<Diff, Error> {
    Diff::parse(text.as_bytes().to_vec())
}

/// The new text, and whether it is good.
fn patched(old: &str, diff: &Diff, step: usize) -> (String, Result<(), Error>) {
    let mut new = Vec::new();
    let mut out = |bytes: &[u8]| new.extend_from_slice(bytes);
    let mut patch = Patch::new(diff.clone());
    old.as_bytes().chunks(step).for_each(|piece| patch.push(piece, &mut out));
    let done = patch.finish(&mut out);
    (String::from_utf8(new).unwrap(), done)
}

/// A diff of these commands with the right digests for a text.
fn with_digests(old: &str, new: &str, commands: &str) -> String {
    let end = old.find("\ndirectory-signature ").map_or(old.len(), |at| at + SIGNATURE.len());
    let (from, to) = (kdf::sha3_256(&[&old.as_bytes()[..end]]), kdf::sha3_256(&[new.as_bytes()]));
    format!("{VERSION}\nhash {} {}\n{commands}", text::hex(&from), text::hex(&to))
}

fn commands(text: &str) -> Result<Diff, Error> {
    parse(&with_digests("", "", text))
}

#[test]
fn the_published_diff_makes_the_published_consensus() {
    let diff = parse(DIFF).unwrap();
    assert!(Diff::is_diff(DIFF.as_bytes()) && !Diff::is_diff(NEW.as_bytes()));
    for step in [1, 2, 100, 1000, OLD.len()] {
        assert_eq!(patched(OLD, &diff, step), (NEW.to_owned(), Ok(())), "{step}");
    }
    let mut parser = super::super::consensus::Parser::default();
    parser.push(OLD.as_bytes()).unwrap();
    assert_eq!(&parser.finish().unwrap().digests().signed_sha3, diff.from());
    let mut parser = super::super::consensus::Parser::default();
    parser.push(NEW.as_bytes()).unwrap();
    assert_eq!(&parser.finish().unwrap().digests().whole_sha3, diff.to());
}

#[test]
fn digests_are_compared_and_in_hex_of_either_case() {
    let line = DIFF.lines().nth(1).unwrap();
    let lower = format!("hash {}", line[5..].to_lowercase());
    assert_eq!(patched(OLD, &parse(&DIFF.replace(line, &lower)).unwrap(), 999).1, Ok(()));
    let other = |from: &str, to: &str| patched(OLD, &parse(&DIFF.replacen(from, to, 1)).unwrap(), 999).1;
    assert_eq!(other("hash B0", "hash B1"), Err(Error::DiffFromOther));
    assert_eq!(other(" F678", " F679"), Err(Error::DiffToOther));
    assert_eq!(other("Bandwidth=3", "Bandwidth=2"), Err(Error::DiffToOther));
    let diff = parse(DIFF).unwrap();
    assert_eq!(patched(&OLD.replacen("127.0.0.1", "127.0.0.2", 1), &diff, 999).1, Err(Error::DiffFromOther));
    assert_eq!(
        patched(&OLD.replacen("directory-signature", "directory-Signature", 9), &diff, 999).1,
        Err(Error::DiffFromOther)
    );
    // What follows the signed part is not in the digest, as long as it goes.
    assert_eq!(patched(&format!("{OLD}more\n"), &diff, 999).1, Ok(()));
}

/// C tor, `test_consdiff.c`: `test_consdiff_apply_ed_diff`.
#[test]
fn commands_do_what_those_of_ed_do() {
    let old = "A\nB\nC\nD\nE\n";
    for (text, new) in [
        ("3a\nU\nO\n.\n0a\nV\n.\n", "V\nA\nB\nC\nU\nO\nD\nE\n"),
        ("4d\n1,2d\n", "C\nE\n"),
        ("4c\nT\nX\n.\n1,2c\nM\n.\n", "M\nC\nT\nX\nE\n"),
        ("4c\nT\nX\n.\n2d\n0a\nM\n.\n", "M\nA\nC\nT\nX\nE\n"),
        ("", old),
        ("1,$d\n", ""),
        ("3,$d\n2a\nX\n.\n", "A\nB\nX\n"),
        ("5a\nX\n.\n5d", "A\nB\nC\nD\nX\n"),
        ("5c\nX\n.\n4a\nY\n.\n4a\nZ\n.\n4d", "A\nB\nC\nZ\nY\nX\n"),
        ("5,$d\n1,4d\n", ""),
    ] {
        let diff = commands(text).unwrap();
        for step in [1, 3, 10] {
            assert_eq!(patched(old, &diff, step).0, new, "{text:?}");
        }
        assert_eq!(edited(old, &diff), new.as_bytes(), "{text:?}");
    }
}

/// C tor, `test_consdiff.c`, most of them.
#[test]
fn each_bad_command_is_refused() {
    for text in [
        "a\n",
        "1\n",
        "1,\n",
        "1,1\n",
        "3,2d\n",
        "2,2d\n",
        "1,2a\nx\n.\n",
        "1,$c\nx\n.\n",
        "1,$a\nx\n.\n",
        "1foo\n",
        "1e\n",
        "0a\n",
        "0a\n.\n",
        "0a\nhello\n",
        "0, 4d\n",
        "+0,4d\n",
        "0,+4d\n",
        "-0,4d\n",
        "0,-4d\n",
        "0,4d,5d\n",
        "1,4 d\n",
        "1,4 5d\n",
        " 1,4d\n",
        "1,4d \n",
        "0d\n",
        "0c\nx\n.\n",
        "$d\n",
        "1,$$d\n",
        "\n",
        ".\n",
        "123456789d\n",
        "1\u{e9}\n",
    ] {
        assert_eq!(commands(text).err(), Some(Error::DiffCommandMalformed), "{text:?}");
    }
    for text in ["1d\n3d\n", "3d\n3a\nx\n.\n", "3d\n2,3d\n", "1d\n2,$d\n", "1a\nx\n.\n2d\n"] {
        assert_eq!(commands(text).err(), Some(Error::DiffOutOfOrder), "{text:?}");
    }
    let long = format!("{}d\n", "1".repeat(200));
    assert_eq!(commands(&long).err(), Some(Error::DiffCommandMalformed));
    for (head, error) in [
        ("", Error::UnknownVersion),
        ("network-status-diff-version 2\n", Error::UnknownVersion),
        ("foo-bar\nheader-line\n", Error::UnknownVersion),
        ("network-status-diff-version 1\n", Error::LineMalformed),
        ("network-status-diff-version 1\nword a b\nx\n", Error::LineMalformed),
        ("network-status-diff-version 1\nhash a b c\n", Error::LineMalformed),
        ("network-status-diff-version 1\nhash aaa bbb\n", Error::LineMalformed),
    ] {
        assert_eq!(parse(head).err(), Some(error), "{head:?}");
    }
    assert_eq!(Diff::parse(vec![b'x'; MAX_LEN + 1]).err(), Some(Error::DocumentTooLong));
}

#[test]
fn commands_beyond_the_end_are_refused() {
    for text in ["6d\n", "5,6d\n", "6a\nx\n.\n", "7,$d\n"] {
        assert_eq!(patched("A\nB\nC\nD\nE\n", &commands(text).unwrap(), 4).1, Err(Error::DiffOutOfOrder), "{text:?}");
    }
}

#[test]
fn a_cut_diff_makes_no_consensus() {
    for length in 0..DIFF.len() - 2 {
        if let Ok(diff) = parse(&DIFF[..length]) {
            assert!(patched(OLD, &diff, 1000).1.is_err(), "{length}");
        }
    }
}

proptest! {
    #[test]
    fn any_diff_does_what_ed_would(
        mut hunks in proptest::collection::vec((0..9_usize, 0..9_usize, 0..4_usize, 1..3_usize), 0..5),
    ) {
        hunks.sort_by(|a, b| b.cmp(a));
        let commands: String = hunks.iter().map(|&(first, length, kind, lines)| {
            let (last, new) = (first + length, "n\n".repeat(lines));
            match kind {
                0 => format!("{first}a\n{new}.\n"),
                1 if length > 0 => format!("{first},{last}c\n{new}.\n"),
                1 => format!("{first}c\n{new}.\n"),
                2 if length > 0 => format!("{first},{last}d\n"),
                2 => format!("{first}d\n"),
                _ => format!("{first},$d\n"),
            }
        }).collect();
        fuzz(with_digests("", "", &commands).as_bytes());
    }

    #[test]
    fn any_bytes_are_no_trouble(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz(&[with_digests("", "", "").as_bytes(), &bytes].concat());
        fuzz(&bytes);
    }
}
