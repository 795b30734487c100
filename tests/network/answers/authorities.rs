//! Authorities that misbehave together, so that whatever directory is asked says the same.
//!
//! What is no consensus for this client is dropped and not kept, nobody is served by it, and
//! directories are asked ever more rarely. What is only odd is no fault.

use std::time::Duration;

use cepa::internal::client::notices::{Notice, Source};
use cepa::internal::directory::{Error, store};
use cepa::internal::link::handshake::ClockSkew;
use cepa::lab::authority::{Misbehaviour, Spec};
use cepa::lab::network::{BEGINNING, Network};

use super::super::client::{Shell, Told, connect, directory_network_of, honest, wish};
use super::super::seed;
use super::{MINUTE, PAGE, SECONDS, assert_served};

const HOUR: Duration = Duration::from_secs(3600);
/// C tor: `SocksTimeout`.
const SOCKS_TIMEOUT: Duration = Duration::from_secs(120);

/// Which test tells what becomes of it. A misbehaviour that has none here does not compile.
fn answer_to(misbehaviour: Misbehaviour) -> fn() {
    use Misbehaviour as M;
    match misbehaviour {
        M::TooFewSignatures => a_consensus_that_half_of_them_signed_is_none,
        M::WrongSignatures => a_consensus_whose_signatures_are_of_another_is_none,
        M::Expired => a_consensus_of_days_ago_is_not_used,
        M::FromTheFuture => a_consensus_of_days_to_come_is_not_used_and_says_that_a_clock_is_wrong,
        M::WrongDigests => microdescriptors_that_nobody_has_are_asked_for_ever_more_rarely,
        M::UnknownKeywords => what_nobody_knows_is_passed_over,
        M::GiantLists => lists_as_long_as_a_line_may_be_are_read,
    }
}

#[test]
fn every_misbehaviour_is_answered_by_a_test_of_its_own() {
    for misbehaviour in Misbehaviour::ALL {
        let is_its = |other: &Misbehaviour| std::ptr::fn_addr_eq(answer_to(*other), answer_to(misbehaviour));
        assert_eq!(Misbehaviour::ALL.iter().filter(|other| is_its(other)).count(), 1, "{misbehaviour:?}");
    }
}

/// A client in a network of such authorities, and what became of a program's wish.
fn served(misbehaviour: Misbehaviour, limit: Duration) -> (Network, Shell, Told) {
    let spec = Spec { misbehaviour: Some(misbehaviour), ..Spec::new(seed(), BEGINNING) };
    let (mut network, _, cache) = directory_network_of(spec, honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    let told = shell.serve(&mut network, connect(PAGE, "first"), limit);
    (network, shell, told)
}

/// Each answer is dropped for that; gives whatever else the user was told.
fn is_dropped(misbehaviour: Misbehaviour, error: Error) -> Vec<Notice> {
    let (mut network, mut shell, told) = served(misbehaviour, SOCKS_TIMEOUT + SECONDS);
    assert!(told.failure.is_some() && told.read.is_empty(), "{told:?}");
    shell.run_until(&mut network, HOUR, |_| false);
    assert!(shell.client.dir().is_none() && !shell.disk.files.contains_key(store::CONSENSUS));
    let asked = shell.client.bootstrap().request_count();
    assert!((4..40).contains(&asked), "{asked} requests in an hour");
    let (dropped, others): (Vec<Notice>, Vec<Notice>) =
        shell.notices.into_iter().partition(|notice| *notice == Notice::Answer(error));
    assert!(dropped.len() >= 2, "{others:?}");
    others
}

#[test]
fn a_consensus_that_half_of_them_signed_is_none() {
    assert_eq!(is_dropped(Misbehaviour::TooFewSignatures, Error::TooFewSignatures), []);
}

#[test]
fn a_consensus_whose_signatures_are_of_another_is_none() {
    assert_eq!(is_dropped(Misbehaviour::WrongSignatures, Error::TooFewSignatures), []);
}

#[test]
fn a_consensus_of_days_ago_is_not_used() {
    assert_eq!(is_dropped(Misbehaviour::Expired, Error::ConsensusOutdated), []);
}

#[test]
fn a_consensus_of_days_to_come_is_not_used_and_says_that_a_clock_is_wrong() {
    let others = is_dropped(Misbehaviour::FromTheFuture, Error::ConsensusOutdated);
    assert!(matches!(others[..], [Notice::Clock(ClockSkew::Behind(_), Source::Consensus)]), "{others:?}");
}

/// The consensus is good, and kept; of its relays nothing is known.
#[test]
fn microdescriptors_that_nobody_has_are_asked_for_ever_more_rarely() {
    let (mut network, mut shell, told) = served(Misbehaviour::WrongDigests, SOCKS_TIMEOUT + SECONDS);
    assert!(told.failure.is_some(), "{told:?}");
    shell.run_until(&mut network, HOUR, |_| false);
    let dir = shell.client.dir().unwrap();
    assert_eq!(dir.missing_count(), dir.relays().count());
    assert!(
        shell.disk.files.contains_key(store::CONSENSUS) && !shell.disk.files.contains_key(store::MICRODESCS_JOURNAL)
    );
    let asked = shell.client.bootstrap().request_count();
    assert!((5..60).contains(&asked), "{asked} requests in an hour");
    let is_refused = |notice: &Notice| *notice == Notice::Answer(Error::AnswerRefused);
    assert!(shell.notices.len() >= 3 && shell.notices.iter().all(is_refused), "{:?}", shell.notices);
}

/// Nothing is dropped, and nobody is told.
fn is_no_fault(misbehaviour: Misbehaviour) {
    let (_, shell, told) = served(misbehaviour, MINUTE);
    assert_served(&told);
    let dir = shell.client.dir().unwrap();
    assert_eq!((dir.consensus().left_out(), dir.missing_count()), (0, 0));
    assert_eq!((shell.notices, shell.bad_files), (vec![], vec![]));
}

#[test]
fn what_nobody_knows_is_passed_over() {
    is_no_fault(Misbehaviour::UnknownKeywords);
}

#[test]
fn lists_as_long_as_a_line_may_be_are_read() {
    is_no_fault(Misbehaviour::GiantLists);
}
