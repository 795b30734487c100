//! What options do to circuits, links and streams, each beside what happens without it.

use std::time::Duration;

use cepa::internal::client::circuits::Phase;
use cepa::internal::client::events::{CircuitReason, CircuitStatus, Event, Mask, StreamStatus};
use cepa::internal::client::state::{STATE, State};
use cepa::internal::path::guards::sample::{DEFAULT, Record};
use cepa::lab::network::{Network, Weather};

use super::client::{Shell, connect, directory_network, honest, setup_with};
use super::seed;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A client with these options that can build circuits.
fn ready(options: &str) -> (Network, Shell) {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, setup_with(&cache, options));
    assert!(shell.bootstrap(&mut network));
    (network, shell)
}

fn is_served(network: &mut Network, shell: &mut Shell, user: &str) -> bool {
    shell.serve(network, connect("source-5000.lab", user), MINUTE).read.len() == 5000
}

fn open(shell: &Shell) -> usize {
    shell.client.pool().iter().filter(|(_, circuit)| circuit.phase == Phase::Open).count()
}

/// Three hops take longer than the one, and not as long as the other.
#[test]
fn circuits_may_take_as_long_as_the_user_says() {
    for (options, is_late) in [
        ("LearnCircuitBuildTimeout 0\nCircuitBuildTimeout 2\n", true),
        ("LearnCircuitBuildTimeout 0\nCircuitBuildTimeout 30\n", false),
    ] {
        let (mut network, mut shell) = ready(options);
        assert!(is_served(&mut network, &mut shell, "a"));
        let relays: Vec<_> = network.relays().collect();
        for relay in relays {
            network.set_weather(relay, Weather { latency: SECOND / 2, ..Weather::default() });
        }
        shell.client.subscribe(Mask::CIRCUITS);
        assert!(is_served(&mut network, &mut shell, "b"));
        assert!(is_served(&mut network, &mut shell, "c"));
        shell.run_until(&mut network, MINUTE, |_| false);
        let late = |event: &Event| {
            matches!(event, Event::Circuit(_, CircuitStatus::Failed(CircuitReason::MeasurementExpired)))
        };
        assert_eq!(shell.events.iter().any(late), is_late, "{options}");
    }
}

/// What was learned in the same weather is another time than the first.
#[test]
fn build_times_are_learned_unless_the_user_says_otherwise() {
    for (options, is_learned) in [("", true), ("LearnCircuitBuildTimeout 0\n", false)] {
        let (mut network, mut shell) = ready(options);
        shell.client.subscribe(Mask::NETWORK);
        for user in 0..200 {
            assert!(is_served(&mut network, &mut shell, &user.to_string()));
        }
        let learned = shell.events.iter().any(|event| matches!(event, Event::BuildTimes(_)));
        assert_eq!(learned, is_learned, "{options}");
    }
}

#[test]
fn no_more_circuits_are_under_way_than_the_user_wants() {
    for (options, expected) in [("MaxClientCircuitsPending 2\n", 2..3), ("", 5..33)] {
        let (mut network, mut shell) = ready(options);
        let all: Vec<_> =
            (0..30).map(|user| shell.request(&mut network, connect("source-5000.lab", &user.to_string()))).collect();
        let mut most = 0;
        let is_done = |shell: &Shell| {
            let building = shell.client.pool().iter().filter(|(_, circuit)| circuit.phase == Phase::Building);
            most = most.max(building.count());
            all.iter().all(|no| shell.requests[no].read.len() == 5000)
        };
        assert!(shell.run_until(&mut network, 2 * MINUTE, is_done));
        assert!(expected.contains(&most), "{options}: {most}");
    }
}

#[test]
fn streams_that_last_get_stable_relays() {
    for (options, is_stable) in [("", false), ("LongLivedPorts 22,80\n", true)] {
        let (mut network, mut shell) = ready(options);
        assert!(is_served(&mut network, &mut shell, "a"));
        let used: Vec<bool> =
            shell.client.pool().iter().filter(|(_, it)| it.is_used()).map(|(_, it)| it.is_stable()).collect();
        assert_eq!(used, [is_stable], "{options}");
    }
}

#[test]
fn circuits_are_kept_ready_as_long_as_the_user_says() {
    for (options, is_ready) in [("", true), ("CircuitsAvailableTimeout 2 minutes\n", false)] {
        let (mut network, mut shell) = ready(&format!("LearnCircuitBuildTimeout 0\n{options}"));
        assert!(is_served(&mut network, &mut shell, "a"));
        shell.run_until(&mut network, 20 * MINUTE, |_| false);
        assert_eq!(open(&shell) > 0, is_ready, "{options}: {}", open(&shell));
    }
}

#[test]
fn a_stream_waits_on_one_circuit_as_long_as_the_user_says() {
    for (options, expected) in [("CircuitStreamTimeout 15\n", 3), ("CircuitStreamTimeout 55\n", 1)] {
        let (mut network, mut shell) = ready(options);
        shell.client.subscribe(Mask::STREAMS);
        shell.serve(&mut network, connect("silent.lab", "a"), 40 * SECOND);
        let sent = shell.events.iter().filter(|event| matches!(event, Event::Stream(_, StreamStatus::Sent))).count();
        assert_eq!(sent, expected, "{options}");
    }
}

#[test]
fn silent_links_are_padded_as_often_as_the_user_says() {
    for (options, expected) in [("", 0..10), ("KeepalivePeriod 10 seconds\n", 40..400)] {
        let (mut network, mut shell) = ready(&format!("LearnCircuitBuildTimeout 0\nConnectionPadding 0\n{options}"));
        assert!(is_served(&mut network, &mut shell, "a"));
        shell.run_until(&mut network, MINUTE, |_| false);
        let before = shell.sent;
        shell.run_until(&mut network, 8 * MINUTE, |_| false);
        let cells = (shell.sent - before) / 514;
        assert!(expected.contains(&cells), "{options}: {cells}");
    }
}

/// All relays of the lab are in one network.
#[test]
fn relays_of_one_network_share_no_circuit_unless_the_user_says_so() {
    let (mut network, mut shell) = ready("");
    assert!(is_served(&mut network, &mut shell, "a"));
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, setup_with(&cache, "EnforceDistinctSubnets 1"));
    assert!(!is_served(&mut network, &mut shell, "a"));
}

/// The lab's relays are at port 9001 of 10.1.0.1, 10.1.1.1 and so on.
#[test]
fn relays_are_dialled_only_where_the_user_lets_us() {
    for (options, is_served_by) in [
        ("ReachableAddresses 10.1.0.0/21\n", Some(8)),
        ("ReachableORAddresses reject 10.1.4.0/22,accept *:9001\n", Some(11)),
        ("FascistFirewall 1\nFirewallPorts 9001\n", Some(11)),
        ("FascistFirewall 1\n", None),
        ("ReachableAddresses 192.0.2.0/24\n", None),
    ] {
        let (mut network, _, cache) = directory_network(seed(), honest);
        let mut shell = Shell::start(&mut network, setup_with(&cache, options));
        assert_eq!(is_served(&mut network, &mut shell, "a"), is_served_by.is_some(), "{options}");
        let third =
            |address: &core::net::SocketAddr| address.to_string().split('.').nth(2).unwrap().parse::<u8>().unwrap();
        let rejected = if options.contains("reject") { 4..8 } else { 0..0 };
        let is_let = |third: u8| third < is_served_by.unwrap_or(0) && !rejected.contains(&third);
        let may_be = |address| is_let(third(address));
        assert!(shell.dialled.iter().all(may_be), "{options}: {:?}", shell.dialled);
    }
}

#[test]
fn no_circuits_are_built_ahead_where_the_user_wants_none() {
    for (options, expected) in [("", true), ("__DisablePredictedCircuits 1\n", false)] {
        let (mut network, mut shell) = ready(options);
        shell.run_until(&mut network, 2 * MINUTE, |_| false);
        assert_eq!(open(&shell) > 0, expected, "{options}");
        assert!(is_served(&mut network, &mut shell, "a"));
    }
}

/// A window of a stream is 249,000 bytes.
#[test]
fn what_is_held_is_bounded_as_the_user_says() {
    for (options, fit) in [("MaxMemInQueues 1 MB\n", 4), ("MaxMemInQueues 10 bytes\n", 4), ("", 8)] {
        let (mut network, mut shell) = ready(options);
        shell.is_reading = false;
        let all: Vec<_> = (0..8)
            .map(|user| {
                let no = shell.request(&mut network, connect("source-1000000.lab", &format!("{user}")));
                assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&no].is_open));
                shell.run_until(&mut network, MINUTE / 2, |_| false);
                no
            })
            .collect();
        let given_up = all.iter().filter(|no| shell.requests[no].is_given_up).count();
        assert_eq!(8 - given_up, fit, "{options}");
    }
}

/// A client is begun with guards of a month ago.
#[test]
fn guards_are_kept_as_long_as_the_user_says() {
    let month = Duration::from_secs(30 * 86_400);
    let (mut network, shell) = ready("");
    let (_, _, cache) = directory_network(seed(), honest);
    let mut disk = shell.end(&mut network);
    let (mut state, faults) = State::parse(&disk.files[STATE]);
    assert!(faults.is_empty());
    let aged: Vec<_> = state
        .guards(DEFAULT)
        .cloned()
        .map(|guard| Record {
            sampled_on: guard.sampled_on - month,
            confirmed: guard.confirmed.map(|(on, index)| (on - month, index)),
            ..guard
        })
        .collect();
    state.set_guards(DEFAULT, aged.iter());
    disk.files.insert(STATE, state.encode("test", network.now().wall).into_bytes());
    for (options, are_kept) in [("", true), ("GuardLifetime 20 days\n", false), ("GuardLifetime 90 days\n", true)] {
        let mut shell = Shell::start_with(&mut network, setup_with(&cache, options), disk.left());
        assert!(shell.bootstrap(&mut network));
        let (state, _) = State::parse(&shell.end(&mut network).files[STATE]);
        let same = state.guards(DEFAULT).filter(|guard| aged.iter().any(|old| old.sampled_on == guard.sampled_on));
        assert_eq!(same.count() > 0, are_kept, "{options}");
    }
}

#[test]
fn guards_are_written_as_often_as_the_user_wants() {
    for (options, expected) in [("", true), ("AvoidDiskWrites 1\n", false)] {
        let (mut network, mut shell) = ready(options);
        assert!(is_served(&mut network, &mut shell, "a"));
        shell.run_until(&mut network, 2 * MINUTE, |_| false);
        assert_eq!(shell.disk.commits.contains(&STATE), expected, "{options}");
        shell.run_until(&mut network, 12 * MINUTE, |_| false);
        assert!(shell.disk.commits.contains(&STATE));
    }
}
