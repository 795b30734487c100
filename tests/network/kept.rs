//! What a client saved serves the next one, whatever has become of it meanwhile.

use std::time::Duration;

use cepa::internal::client::Progress;
use cepa::internal::directory::{Error, NetDir, store};
use cepa::internal::wire;
use cepa::lab::authority::Spec;
use cepa::lab::network::{BEGINNING, Network, Role};
use cepa::lab::villain::Villain;

use super::client::{Shell, directory_network, directory_network_of, honest, wish};
use super::disk::Disk;
use super::seed;

/// All that a directory says of each relay.
fn facts(dir: &NetDir) -> Vec<String> {
    let relays = dir.relays().map(|relay| {
        let facts = (relay.ids(), relay.nickname(), relay.ipv4(), relay.ntor_key().map(|key| key.0));
        format!("{facts:?} {:?} {:?} {:?}", relay.policy(), relay.flags(), relay.microdesc_digest())
    });
    relays.collect()
}

fn is_ready(shell: &Shell) -> bool {
    shell.progress.last() >= Some(&Progress::EnoughDirectory)
        && shell.client.dir().is_some_and(|dir| dir.missing_count() == 0)
}

/// Runs for a while in which nothing happens.
fn idle(shell: &mut Shell, network: &mut Network, minutes: u64) {
    shell.run_until(network, Duration::from_secs(minutes * 60), |_| false);
}

#[test]
fn a_second_start_asks_nobody_and_learns_the_same() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut first = Shell::start(&mut network, wish(&cache));
    assert!(first.bootstrap(&mut network));
    idle(&mut first, &mut network, 1);
    assert_eq!(first.bad_files, []);
    let consensus = cache.authorities().consensus(cache.authorities().round(network.now().wall)).unwrap();
    assert_eq!(first.disk.files[store::CONSENSUS], consensus.as_bytes());

    let mut second = Shell::start_with(&mut network, wish(&cache), first.disk.left());
    idle(&mut second, &mut network, 1);
    assert!(is_ready(&second) && second.bad_files.is_empty(), "{:?} {:?}", second.progress, second.bad_files);
    assert_eq!(second.client.bootstrap().request_count(), 0);
    assert_eq!(facts(second.client.dir().unwrap()), facts(first.client.dir().unwrap()));
    // It goes on as one that fetched all of it: the next consensus, and that as a diff.
    let hours = Duration::from_secs(4 * 3600);
    let before = second.disk.files[store::CONSENSUS].clone();
    assert!(second.run_until(&mut network, hours, |shell| shell.disk.files[store::CONSENSUS] != before));
}

/// The file of microdescriptors is written anew where it is time to, but no first circuit waits
/// behind that.
#[test]
fn files_are_put_in_order_when_the_first_circuits_are_there() {
    let spec = Spec { listed: 200, ..Spec::new(seed(), BEGINNING) };
    let (mut network, _, cache) = directory_network_of(spec, honest);
    let mut first = Shell::start(&mut network, wish(&cache));
    assert!(first.run_until(&mut network, Duration::from_secs(60), is_ready));
    let journal = first.disk.files[store::MICRODESCS_JOURNAL].len();
    assert!(store::is_rewrite_due(0, journal.try_into().unwrap(), 0));

    let mut second = Shell::start_with(&mut network, wish(&cache), first.disk.left());
    assert!(second.bootstrap(&mut network));
    second.run_until(&mut network, Duration::from_secs(20), |_| false);
    let is_read_once = |name| second.disk.reads.iter().filter(|read| **read == name).count() == 1;
    assert!(is_read_once(store::MICRODESCS) && is_read_once(store::MICRODESCS_JOURNAL));
    idle(&mut second, &mut network, 2);
    assert!(second.disk.commits.contains(&store::MICRODESCS));
    assert!(!second.disk.files.contains_key(store::MICRODESCS_JOURNAL));
}

/// One that is bad among good ones, a file that is torn, bytes that are none of it: each is said
/// once, the others are used, and the next start finds a file without it.
#[test]
fn a_bad_certificate_spoils_no_good_one() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut first = Shell::start(&mut network, wish(&cache));
    assert!(first.bootstrap(&mut network));
    idle(&mut first, &mut network, 1);
    let whole = first.disk.left();
    let text = String::from_utf8(whole.files[store::CERTIFICATES].clone()).unwrap();
    let begins: Vec<usize> = text.match_indices("dir-key-certificate-version").map(|(at, _)| at).collect();
    let [_, second, third] = begins[..] else { panic!("{begins:?}") };
    let signature = text[second..].find("dir-key-certification\n-----BEGIN SIGNATURE-----\n").unwrap() + second + 60;
    let changed = if text.as_bytes()[signature] == b'A' { b'B' } else { b'A' };
    let replaced = [&text.as_bytes()[..signature], &[changed], &text.as_bytes()[signature + 1..]].concat();
    let torn = text.as_bytes()[..third + 300].to_vec();
    let strange = [b"\xFF\x00\n", text.as_bytes()].concat();
    let (without_second, without_third) = (text[..second].to_owned() + &text[third..], text[..third].to_owned());
    for (spoilt, error, left) in [
        (replaced, Error::WrongSignature, &without_second),
        (torn, Error::Document(wire::Error::BadObjectEnd), &without_third),
        (strange, Error::Document(wire::Error::NotUtf8), &text),
    ] {
        let mut disk = whole.left();
        disk.files.insert(store::CERTIFICATES, spoilt);
        let mut shell = Shell::start_with(&mut network, wish(&cache), disk);
        idle(&mut shell, &mut network, 1);
        assert!(is_ready(&shell), "{:?}", shell.progress);
        assert_eq!(shell.bad_files, [(store::CERTIFICATES, error)]);
        assert_eq!(shell.client.bootstrap().request_count(), 0);
        assert_eq!(String::from_utf8_lossy(&shell.disk.files[store::CERTIFICATES]), *left);
        let next = Shell::start_with(&mut network, wish(&cache), shell.disk.left());
        assert_eq!((&next.bad_files[..], next.disk.commits.len()), (&[][..], 0));
    }
}

/// Two files, and what is left of them: cut, emptied, or with a byte that is another.
#[test]
fn a_start_gets_through_whatever_has_become_of_a_file() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut first = Shell::start(&mut network, wish(&cache));
    assert!(first.bootstrap(&mut network));
    idle(&mut first, &mut network, 1);
    let whole = first.disk.left();
    let expected = facts(first.client.dir().unwrap());
    for name in [store::CERTIFICATES, store::CONSENSUS, store::MICRODESCS_JOURNAL] {
        let length = whole.files[name].len();
        let cuts = [0, 1, length / 3, length / 2, length - 1];
        let changes = [0, length / 7, length / 3, length / 2, length - 2];
        let mut spoilt: Vec<Disk> = Vec::new();
        for cut in cuts {
            let mut disk = whole.clone();
            disk.files.get_mut(name).unwrap().truncate(cut);
            spoilt.push(disk);
        }
        for at in changes {
            for byte in [0, b'\n', b'x', 0xFF] {
                let mut disk = whole.clone();
                disk.files.get_mut(name).unwrap()[at] = byte;
                spoilt.push(disk);
            }
        }
        let mut without = whole.clone();
        without.files.remove(name);
        spoilt.push(without);
        for (number, disk) in spoilt.into_iter().enumerate() {
            let mut shell = Shell::start_with(&mut network, wish(&cache), disk);
            assert!(
                shell.run_until(&mut network, Duration::from_secs(600), is_ready),
                "{name} {number}: {:?}",
                shell.progress
            );
            assert_eq!(facts(shell.client.dir().unwrap()), expected, "{name} {number}");
            // And what it leaves is good again.
            let next = Shell::start_with(&mut network, wish(&cache), shell.disk.left());
            let requests = next.client.bootstrap().request_count();
            assert!(is_ready(&next) && requests == 0, "{name} {number}: {:?}", next.bad_files);
        }
    }
}

/// Two of three signatures are of keys for which there is no certificate, and never was.
#[test]
fn a_consensus_that_nobody_can_check_is_given_up() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut first = Shell::start(&mut network, wish(&cache));
    assert!(first.bootstrap(&mut network));
    let mut left = first.disk.left();
    let text = String::from_utf8(left.files[store::CONSENSUS].clone()).unwrap();
    let (signed, signatures) = text.split_once("directory-signature ").unwrap();
    let spoilt: Vec<String> = signatures
        .split("directory-signature ")
        .enumerate()
        .map(|(number, one)| match one.split_once('\n') {
            Some((line, rest)) if number < 2 => format!("{}{}\n{rest}", &line[..line.len() - 40], "A".repeat(40)),
            _ => one.to_owned(),
        })
        .collect();
    let spoilt = format!("{signed}directory-signature {}", spoilt.join("directory-signature "));
    assert!(spoilt.len() == text.len() && spoilt != text);
    left.files.insert(store::CONSENSUS, spoilt.into_bytes());
    let mut second = Shell::start_with(&mut network, wish(&cache), left);
    assert!(second.run_until(&mut network, Duration::from_secs(600), is_ready), "{:?}", second.progress);
    assert_eq!(second.bad_files, [(store::CONSENSUS, Error::TooFewSignatures)]);
    assert_eq!(second.disk.files[store::CONSENSUS], text.as_bytes());
}

/// Days later the old consensus serves for a diff, and its microdescriptors for themselves.
#[test]
fn a_consensus_that_is_too_old_to_use_is_good_for_a_diff() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut first = Shell::start(&mut network, wish(&cache));
    assert!(first.bootstrap(&mut network));
    let left = first.disk.left();
    drop(first);
    network.run_until(Duration::from_secs(30 * 3600), |_| false);
    let mut second = Shell::start_with(&mut network, wish(&cache), left.clone());
    assert!(!is_ready(&second));
    assert!(second.run_until(&mut network, Duration::from_secs(600), is_ready));
    assert!(second.disk.files[store::CONSENSUS] != left.files[store::CONSENSUS]);
    assert_eq!(second.disk.files[store::MICRODESCS_JOURNAL], left.files[store::MICRODESCS_JOURNAL]);
}

#[test]
fn the_next_consensus_comes_by_diff_and_its_file_is_that_of_the_authorities() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    assert!(shell.bootstrap(&mut network));
    let consensuses = |shell: &Shell| shell.disk.commits.iter().filter(|name| **name == store::CONSENSUS).count();
    let mut seen = consensuses(&shell);
    for hour in 0..6 {
        let before = shell.client.dir().unwrap().consensus().lifetime().valid_after;
        let is_newer = |shell: &Shell| {
            shell.client.dir().unwrap().consensus().lifetime().valid_after > before && consensuses(shell) > seen
        };
        assert!(shell.run_until(&mut network, Duration::from_secs(4 * 3600), is_newer), "{hour}");
        seen = consensuses(&shell);
        let lifetime = shell.client.dir().unwrap().consensus().lifetime();
        let round = cache.authorities().round(lifetime.valid_after);
        let expected = cache.authorities().consensus(round).unwrap();
        assert!(shell.disk.files[store::CONSENSUS] == expected.as_bytes(), "{hour}");
    }
    // Once at the start, in vain, and for each diff.
    assert_eq!(shell.disk.reads.iter().filter(|name| **name == store::CONSENSUS).count(), 7);
    assert_eq!(shell.bad_files, []);
}

/// To what is not on the disk no diff can be applied.
#[test]
fn a_consensus_that_could_not_be_written_is_followed_by_a_whole_one() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    assert!(shell.bootstrap(&mut network));
    shell.client.handle_unwritten(store::CONSENSUS, network.now());
    let before = shell.client.dir().unwrap().consensus().lifetime().valid_after;
    let is_newer = |shell: &Shell| shell.client.dir().unwrap().consensus().lifetime().valid_after > before;
    assert!(shell.run_until(&mut network, Duration::from_secs(4 * 3600), is_newer));
    shell.turn(&mut network);
    // Once at the start, in vain.
    assert_eq!(shell.disk.reads.iter().filter(|name| **name == store::CONSENSUS).count(), 1);
    assert_eq!(shell.bad_files, []);
}

/// All lie, so that none who tells the truth can help.
#[test]
fn a_diff_that_lies_is_answered_by_asking_for_the_whole() {
    let role = |number: usize| Role { villain: Some(Villain::FalseDiff), ..honest(number) };
    let (mut network, _, cache) = directory_network(seed(), role);
    let mut shell = Shell::start(&mut network, wish(&cache));
    assert!(shell.bootstrap(&mut network));
    let before = shell.client.dir().unwrap().consensus().lifetime();
    let is_newer = |shell: &Shell| shell.client.dir().unwrap().consensus().lifetime().valid_after > before.valid_after;
    assert!(shell.run_until(&mut network, Duration::from_secs(4 * 3600), is_newer));
    shell.turn(&mut network);
    let lifetime = shell.client.dir().unwrap().consensus().lifetime();
    assert!(lifetime.valid_until.since(lifetime.valid_after) == Duration::from_secs(3 * 3600));
    let expected = cache.authorities().consensus(cache.authorities().round(lifetime.valid_after)).unwrap();
    assert!(shell.disk.files[store::CONSENSUS] == expected.as_bytes());
    // The old one was read for a diff, which came to nothing.
    assert_eq!(shell.disk.reads.iter().filter(|name| **name == store::CONSENSUS).count(), 2);
    assert_eq!(shell.disk.commits.iter().filter(|name| **name == store::CONSENSUS).count(), 2);
}
