//! Directories that deceive: what they said is dropped, they are left alone for a while, and
//! another is asked at once.

use std::time::Duration;

use cepa::internal::client::Progress;
use cepa::internal::client::notices::Notice;
use cepa::internal::directory::{Error, store};
use cepa::lab::network::Role;
use cepa::lab::villain::Villain;

use super::super::client::{Shell, directory_network, honest, setup_with};
use super::super::seed;
use super::{Meeting, Place, SECONDS, SETUP};

const HOUR: Duration = Duration::from_secs(3600);

/// It is asked first, and for the consensus, which is dropped for that; gives how many bytes it got
/// to say.
fn is_left(villain: Villain, error: Error) -> u64 {
    let mut meeting = Meeting::of(villain, Place::Directory, false);
    let rests = |meeting: &Meeting| {
        let now = meeting.network.now().tick;
        meeting.shell.client.bootstrap().is_left_alone(&meeting.villain.rsa, now)
    };
    let step = Duration::from_millis(1);
    for _ in 0..SECONDS.as_millis() {
        if rests(&meeting) {
            break;
        }
        meeting.wait(step);
    }
    assert!(rests(&meeting) && meeting.dials() == (1, 0));
    assert_eq!(meeting.shell.notices[..1], [Notice::Answer(error)]);
    let said = meeting.network.relay(meeting.number()).written();
    // Nothing is kept of it: it was the first, and there is no directory.
    assert!(meeting.shell.client.dir().is_none() && !meeting.shell.disk.files.contains_key(store::CONSENSUS));
    let begun = meeting.network.now().tick;
    assert!(meeting.shell.bootstrap(&mut meeting.network));
    let took = meeting.network.now().tick.since(begun);
    assert!(took < SECONDS, "{took:?}");
    // And what another gave is that of this network.
    let relays: Vec<_> = meeting.network.relays().map(|relay| meeting.network.facts(relay).ids).collect();
    let dir = meeting.shell.client.dir().unwrap();
    assert!(dir.relays().count() == relays.len() && dir.relays().all(|relay| relays.contains(&relay.ids())));
    meeting.wait(SECONDS);
    let dir = meeting.shell.client.dir().unwrap();
    let round = meeting.cache.authorities().round(dir.consensus().lifetime().valid_after);
    let expected = meeting.cache.authorities().consensus(round).unwrap();
    assert!(meeting.shell.disk.files[store::CONSENSUS] == expected.as_bytes());
    let certificates: String = meeting.cache.authorities().certificates().map(|(_, text)| text).collect();
    assert_eq!(meeting.shell.disk.files[store::CERTIFICATES].len(), certificates.len());
    said
}

/// What was under way when it was left is a window.
#[test]
pub fn an_answer_without_end_is_left() {
    let said = is_left(Villain::EndlessDirectory, Error::LineOutOfPlace);
    assert!(said < 300_000, "{said}");
}

/// Two gigabytes of lines are some megabytes on their way, of which few are waited for.
#[test]
pub fn a_bomb_is_left_before_it_is_large() {
    let said = is_left(Villain::DecompressionBomb, Error::CompressionBomb);
    assert!(said < 500_000, "{said}");
}

#[test]
pub fn half_a_consensus_is_none() {
    is_left(Villain::TruncatedConsensus, Error::AnswerCut);
}

#[test]
pub fn a_consensus_that_others_signed_is_none() {
    is_left(Villain::ConsensusSwap, Error::TooFewSignatures);
}

/// Whoever gave the consensus is asked for what it is checked with.
#[test]
pub fn a_certificate_that_nobody_signed_is_none() {
    is_left(Villain::FalseCertificates, Error::WrongSignature);
}

/// Whoever asked for no change cannot be told that there is none.
#[test]
pub fn certificates_that_have_not_changed_are_none() {
    is_left(Villain::NotModified, Error::AnswerRefused);
}

/// Others are asked at once: it may be the only one that is late.
#[test]
pub fn a_consensus_of_days_ago_is_one_directorys_word() {
    is_left(Villain::OldConsensus, Error::ConsensusOutdated);
}

/// All lie who are asked for diffs, so that none who tells the truth can help; what is asked for
/// next is the whole.
#[test]
pub fn a_diff_that_lies_changes_nothing() {
    let role = |number: usize| Role { villain: Some(Villain::FalseDiff), ..honest(number) };
    let (mut network, _, cache) = directory_network(seed(), role);
    let mut shell = Shell::start(&mut network, setup_with(&cache, SETUP));
    assert!(shell.bootstrap(&mut network) && shell.notices.is_empty());
    let lifetime = |shell: &Shell| shell.client.dir().unwrap().consensus().lifetime();
    let first = lifetime(&shell);
    assert!(shell.run_until(&mut network, 4 * HOUR, |shell| lifetime(shell).valid_after > first.valid_after));
    shell.turn(&mut network);
    assert_eq!(shell.notices, [Notice::Answer(Error::DiffToOther)]);
    // What lies says that it is good for a thousand years.
    let next = lifetime(&shell);
    assert_eq!(next.valid_until.since(next.valid_after), 3 * HOUR);
    let expected = cache.authorities().consensus(cache.authorities().round(next.valid_after)).unwrap();
    assert!(shell.disk.files[store::CONSENSUS] == expected.as_bytes());
    assert_eq!(shell.progress.last(), Some(&Progress::Done));
}
