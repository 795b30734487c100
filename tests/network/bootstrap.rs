//! A client learns the network from its directories, whatever they do.

use std::time::Duration;

use cepa::internal::client::Progress;
use cepa::internal::client::notices::Notice;
use cepa::lab::authority::Spec;
use cepa::lab::network::{BEGINNING, Place, Role};
use cepa::lab::villain::Villain;

use super::client::{Shell, directory_network, directory_network_of, honest, setup_with, wish};
use super::seed;

#[test]
fn a_client_learns_the_whole_network() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let begun = network.now().tick;
    let mut shell = Shell::start(&mut network, wish(&cache));
    assert!(shell.bootstrap(&mut network), "{:?}", shell.progress);
    let took = network.now().tick.since(begun);
    let dir = shell.client.dir().unwrap();
    assert_eq!((dir.relays().count(), dir.missing_count()), (11, 0));
    // Ten milliseconds each way: a link, a circuit, three documents one after the other.
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(
        shell.run_until(&mut network, Duration::from_secs(2), |shell| shell.progress.last() == Some(&Progress::Done))
    );
    let steps: Vec<u8> = shell.progress.iter().map(|step| step.words().0).collect();
    let (directory, circuit) = steps.split_at(11);
    assert_eq!(directory, [5, 10, 14, 15, 20, 25, 30, 40, 45, 74, 75]);
    // A guard may have been asked for the directory before, so that its link is there.
    let possible = [80, 85, 89, 90, 95, 100];
    assert!(circuit.ends_with(&[95, 100]) && circuit.iter().all(|step| possible.contains(step)), "{circuit:?}");
}

/// Whoever gave the consensus is asked for what it is checked with.
#[test]
fn one_directory_is_enough_for_the_first_consensus() {
    for seed in seed()..seed().saturating_add(4) {
        let (mut network, _, cache) = directory_network(seed, honest);
        let mut shell = Shell::start(&mut network, wish(&cache));
        let asks_twice = |shell: &Shell| shell.client.bootstrap().request_count() == 2;
        assert!(shell.run_until(&mut network, Duration::from_secs(60), asks_twice));
        assert!(shell.client.dir().is_none() && shell.dialled.len() == 1, "{:?}", shell.dialled);
    }
}

/// The relays that carry most come first, and nothing waits for the others.
#[test]
fn circuits_can_be_built_while_most_microdescriptors_are_still_to_come() {
    let spec = Spec { listed: 3000, ..Spec::new(seed(), BEGINNING) };
    let (mut network, _, cache) = directory_network_of(spec, honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    assert!(shell.bootstrap(&mut network));
    let missing = shell.client.dir().unwrap().missing_count();
    // What is asked for first comes in three answers at once.
    assert!(missing > 1000, "{missing}");
    let loading = shell.progress.iter().filter(|step| (51..75).contains(&step.words().0)).count();
    assert!(loading >= 1, "{:?}", shell.progress);
    let has_all = |shell: &Shell| shell.client.dir().unwrap().missing_count() == 0;
    assert!(shell.run_until(&mut network, Duration::from_secs(60), has_all));
}

/// Whoever names authorities gets none of those that are built in.
#[test]
fn only_those_are_dialled_who_were_named() {
    let (mut network, relays, cache) = directory_network(seed(), honest);
    let named: Vec<_> = relays.iter().take(3).map(|relay| network.facts(*relay).address).collect();
    let mut shell = Shell::start(&mut network, wish(&cache));
    assert!(shell.bootstrap(&mut network));
    let guards: Vec<_> = relays.iter().map(|relay| network.facts(*relay).address).collect();
    let first = shell.dialled.iter().take_while(|to| named.contains(to)).count();
    assert!(first > 0 && shell.dialled.iter().all(|to| guards.contains(to)), "{:?}", shell.dialled);
}

#[test]
fn the_next_consensus_is_fetched_in_its_time_and_not_all_at_once() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    assert!(shell.bootstrap(&mut network));
    let valid_after = |shell: &Shell| shell.client.dir().unwrap().consensus().lifetime().valid_after;
    let first = valid_after(&shell);
    let dials = shell.dialled.len();
    assert!(!shell.run_until(&mut network, Duration::from_secs(1800), |shell| valid_after(shell) > first));
    assert!(shell.run_until(&mut network, Duration::from_secs(3 * 3600), |shell| valid_after(shell) > first));
    assert!(shell.dialled.len() - dials <= 4, "{}", shell.dialled.len() - dials);
}

/// Each of them is the first authority, to which every third client comes first.
#[test]
fn a_directory_that_lies_delays_a_client_and_no_more() {
    for villain in [
        Villain::TruncatedConsensus,
        Villain::ConsensusSwap,
        Villain::EndlessDirectory,
        Villain::DecompressionBomb,
        Villain::WrongIdentity,
        Villain::StallBeforeVersions,
        Villain::Trickle,
        Villain::EarlyDestroy,
        Villain::BadCreatedAuth,
        Villain::DropsCells,
        Villain::TagsCells,
    ] {
        let role = |number: usize| Role { villain: (number == 0).then_some(villain), ..honest(number) };
        println!("{villain:?}");
        let mut met = 0;
        for seed in seed()..seed().saturating_add(12) {
            if met == 2 {
                break;
            }
            let (mut network, relays, cache) = directory_network(seed, role);
            let villains = network.facts(relays[0]).address;
            let mut shell = Shell::start(&mut network, wish(&cache));
            assert!(shell.bootstrap(&mut network), "{villain:?} {seed} {:?}", shell.progress);
            assert_eq!(shell.client.dir().unwrap().missing_count(), 0);
            met += usize::from(shell.dialled.contains(&villains));
        }
        assert!(met > 0, "{villain:?} was never met");
    }
}

#[test]
fn a_client_without_a_network_waits_says_so_and_is_back_within_seconds() {
    for hours in [0, 1, 12] {
        let (mut network, _, cache) = directory_network(seed(), honest);
        network.part(&[Place::Scripts]);
        let mut shell = Shell::start(&mut network, wish(&cache));
        let is_done = |shell: &Shell| shell.progress.last() >= Some(&Progress::EnoughDirectory);
        assert!(!shell.run_until(&mut network, Duration::from_secs(300 + hours * 3600), is_done));
        // It has tried, and it has not been frantic about it.
        let (dialled, most) = (shell.dialled.len() as u64, 30 + hours * 3600 / 10);
        assert!((3..most).contains(&dialled), "{hours} hours: {dialled}");
        let said = shell.notices.iter().filter(|notice| matches!(notice, Notice::Unreachable(_))).count();
        assert_eq!(said, 1, "{hours}");
        network.join();
        assert!(shell.run_until(&mut network, Duration::from_secs(75), is_done), "{hours} hours");
    }
}

/// Two hundred fallbacks, and none of them answers.
#[test]
fn a_client_that_reaches_nobody_does_not_try_all_at_once() {
    let lines: String = (1..=200).map(|n| format!("FallbackDir 192.0.2.{n}:9001 orport=9001 id={n:040X}\n")).collect();
    let (mut network, _, cache) = directory_network(seed(), honest);
    let never = "DirAuthorityFallbackRate 0\nClientBootstrapConsensusAuthorityDownloadInitialDelay 1000";
    let mut shell = Shell::start(&mut network, setup_with(&cache, &format!("{never}\n{lines}")));
    shell.run_until(&mut network, Duration::from_secs(60), |_| false);
    assert!((5..40).contains(&shell.dialled.len()), "{}", shell.dialled.len());
}
