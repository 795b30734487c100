use super::*;
use proptest::prelude::*;

/// Applies a diff by the book, checking both digests: nothing of the writer is used.
pub(crate) fn apply(old: &str, diff: &str) -> Result<String, String> {
    let mut commands = diff.lines();
    if commands.next() != Some("network-status-diff-version 1") {
        return Err("no diff".into());
    }
    let hash: Vec<_> = commands.next().unwrap_or_default().split(' ').collect();
    let end = old.find("\ndirectory-signature ").unwrap() + "\ndirectory-signature ".len();
    if hash[1] != text::hex(&kdf::sha3_256(&[&old.as_bytes()[..end]])) {
        return Err("FROM".into());
    }
    let mut lines: Vec<String> = old.lines().map(str::to_owned).collect();
    let mut lowest = usize::MAX;
    while let Some(command) = commands.next() {
        let (range, action) = command.split_at(command.len() - 1);
        let (first, last) = range.split_once(',').unwrap_or((range, range));
        let first: usize = first.parse().map_err(|_| command.to_owned())?;
        let last = if last == "$" { lines.len() } else { last.parse().map_err(|_| command.to_owned())? };
        if last < first || last > lines.len() || (last >= lowest && lowest != usize::MAX && action != "a") {
            return Err(format!("order: {command}"));
        }
        lowest = first;
        let mut fresh = Vec::new();
        if action != "d" {
            for line in commands.by_ref().take_while(|line| *line != ".") {
                fresh.push(line.to_owned());
            }
        }
        match action {
            "a" => drop(lines.splice(first..first, fresh)),
            "c" | "d" => drop(lines.splice(first - 1..last, fresh)),
            _ => return Err(command.to_owned()),
        }
    }
    let new: String = lines.iter().map(|line| format!("{line}\n")).collect();
    if hash[2] == text::hex(&kdf::sha3_256(&[new.as_bytes()])) { Ok(new) } else { Err("TO".into()) }
}

const OLD: &str = "network-status-version 3 microdesc\nvalid-after 2026-01-01 00:00:00\nr a\nr b\nr c\n\
     directory-signature sha256 AA BB\nsig1\n";
const NEW: &str = "network-status-version 3 microdesc\nvalid-after 2026-01-01 01:00:00\nr a\nr d\nr e\nr c\n\
     directory-signature sha256 AA BB\nsig2\n";

/// A pair of our own, applied by `tor-consdiff` of Arti 2.7 too.
#[test]
fn a_known_pair_gives_the_known_diff() {
    let diff = write(OLD, NEW);
    assert_eq!(
        diff,
        "network-status-diff-version 1\n\
         hash 07246F46BC27494C259026E8EFAF2E8D86B6E12755E975F4E16CBDCB0CAAC2F6 \
         01D9C29EA092682EE934A44C19A651B4F6BC54656F98FD63A4BBE2F442FD4B79\n\
         6,$d\n5a\ndirectory-signature sha256 AA BB\nsig2\n.\n4c\nr d\nr e\n.\n2c\nvalid-after 2026-01-01 01:00:00\n.\n"
    );
    assert_eq!(apply(OLD, &diff).unwrap(), NEW);
    assert_eq!(apply(NEW, &diff), Err("FROM".into()));
}

#[test]
fn the_signed_part_ends_behind_the_first_signature_word() {
    assert!(signed_part(OLD).ends_with("r c\ndirectory-signature "));
    assert_eq!(signed_part("no signature"), "no signature");
}

/// A consensus of relays `(identity, bandwidth)`, sorted or not.
fn consensus(head: u8, relays: &[(u8, u8)]) -> String {
    let mut out = format!("network-status-version 3 microdesc\nvalid-after {head}\n");
    if head.is_multiple_of(3) {
        out.push_str("params x=1\n");
    }
    for (id, bandwidth) in relays {
        let _ = writeln!(out, "r nick{id} ID{id} 2038-01-01\ns Fast");
        if bandwidth.is_multiple_of(4) {
            out.push_str("v Tor\n");
        }
        let _ = writeln!(out, "w Bandwidth={bandwidth}");
    }
    let _ = write!(out, "directory-footer\nbandwidth-weights {head}\ndirectory-signature sha256 A B\n{head}\n");
    out
}

proptest! {
    #[test]
    fn any_two_documents_have_a_diff(
        old in proptest::collection::vec((0_u8..30, any::<u8>()), 0..40),
        new in proptest::collection::vec((0_u8..30, any::<u8>()), 0..40),
        heads in any::<(u8, u8)>(),
    ) {
        let (old, new) = (consensus(heads.0, &old), consensus(heads.1, &new));
        prop_assert_eq!(apply(&old, &write(&old, &new)).unwrap(), new);
    }

    #[test]
    fn a_sorted_change_gives_a_small_diff(
        old in proptest::collection::btree_map(0_u8..250, any::<u8>(), 30..60),
        change in 0_usize..30,
    ) {
        let mut relays: Vec<_> = old.into_iter().collect();
        let before = consensus(1, &relays);
        relays.remove(change);
        let after = consensus(1, &relays);
        let diff = write(&before, &after);
        prop_assert_eq!(apply(&before, &diff).unwrap(), after);
        prop_assert!(diff.len() < 400, "{}", diff);
    }
}
