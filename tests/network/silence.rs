//! Connections that are dead without a word: who waits for them, and for how long.

use std::time::Duration;

use cepa::internal::base::RsaId;
use cepa::internal::client::events::{Event, Mask};
use cepa::internal::client::notices::Notice;
use cepa::internal::client::silence::Jump;
use cepa::lab::network::{Network, Place, RelayNo};

use super::client::{Shell, Told, connect, directory_network, honest, wish};
use super::seed;

const MINUTE: Duration = Duration::from_secs(60);

/// A client that has been served, and has circuits to spare.
fn at_ease() -> (Network, Vec<RelayNo>, Shell) {
    let (mut network, relays, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    shell.client.subscribe(Mask::ALL);
    assert_eq!(ask(&mut shell, &mut network, "a").0.end, Some(true));
    shell.run_until(&mut network, MINUTE, |_| false);
    (network, relays, shell)
}

/// A program asks; gives what it was told, and how long that took.
fn ask(shell: &mut Shell, network: &mut Network, user: &str) -> (Told, Duration) {
    let begun = network.now().tick;
    let told = shell.serve(network, connect("source-5000.lab", user), 3 * MINUTE);
    (told, network.now().tick.since(begun))
}

/// All connections of the client die, and nobody says so.
fn deaden(network: &mut Network, relays: &[RelayNo]) {
    relays.iter().for_each(|relay| network.deaden(Place::Scripts, *relay));
}

fn guards(shell: &Shell) -> Vec<RsaId> {
    let guards = shell.client.pool().iter().filter_map(|(_, circuit)| circuit.path.hops.first()?.ids.rsa);
    let mut guards: Vec<_> = guards.collect();
    guards.dedup();
    guards
}

/// A relay answers at once when a circuit is begun, or the connection is dead.
#[test]
fn a_dead_connection_delays_a_crowd_by_seconds() {
    let (mut network, relays, mut shell) = at_ease();
    let before = guards(&shell);
    deaden(&mut network, &relays);
    let begun = network.now().tick;
    let ask = |user: u32| connect("source-5000.lab", &format!("user {user}"));
    let crowd: Vec<_> = (0..8).map(|user| shell.request(&mut network, ask(user))).collect();
    shell.run_until(&mut network, 3 * MINUTE, |shell| crowd.iter().all(|no| shell.requests[no].is_over()));
    let took = network.now().tick.since(begun);
    assert!(crowd.iter().all(|no| shell.requests[no].end == Some(true)) && took < Duration::from_secs(8), "{took:?}");
    // Nobody was blamed for it.
    assert!(guards(&shell).iter().all(|guard| before.contains(guard)), "{before:?} {:?}", guards(&shell));
}

/// Whoever has a circuit begins no other, so that only the exit is waited for.
#[test]
fn a_dead_connection_delays_whoever_has_a_circuit_by_one_timeout() {
    let (mut network, relays, mut shell) = at_ease();
    deaden(&mut network, &relays);
    let (told, took) = ask(&mut shell, &mut network, "a");
    assert_eq!((told.end, told.read.len()), (Some(true), 5000));
    assert!(took < Duration::from_secs(13), "{took:?}");
}

#[test]
fn a_machine_that_slept_asks_over_new_connections_at_once() {
    let (mut network, relays, mut shell) = at_ease();
    deaden(&mut network, &relays);
    shell.doze(&mut network, 20 * MINUTE);
    let (told, took) = ask(&mut shell, &mut network, "a");
    assert_eq!((told.end, told.read.len()), (Some(true), 5000));
    assert!(took < Duration::from_secs(2), "{took:?}");
    let jump = Jump::Ahead(20 * MINUTE);
    assert!(shell.events.iter().any(|event| matches!(event, Event::Notice(Notice::Jumped(by)) if *by == jump)));
    assert!(shell.notices.contains(&Notice::Jumped(jump)), "{:?}", shell.notices);
}

/// The clock was only set: what is there is good, and is used again as soon as it speaks.
#[test]
fn a_connection_that_speaks_after_the_clock_was_set_is_as_good_as_before() {
    let (mut network, _, mut shell) = at_ease();
    let no = shell.request(&mut network, connect("source-3000000.lab", "a"));
    shell.run_until(&mut network, MINUTE, |shell| shell.requests[&no].read.len() > 100_000);
    assert!(!shell.requests[&no].is_over());
    let dialled = shell.dialled.len();
    shell.set_clock(3000);
    shell.run_until(&mut network, MINUTE, |shell| shell.requests[&no].is_over());
    assert_eq!((shell.requests[&no].end, shell.requests[&no].read.len()), (Some(true), 3_000_000));
    assert_eq!(ask(&mut shell, &mut network, "a").0.end, Some(true));
    assert_eq!(shell.dialled.len(), dialled);
}

/// TCP outlives such a pause, and so must what runs over it.
#[test]
fn streams_outlive_a_pause_of_the_network() {
    let (mut network, _, mut shell) = at_ease();
    let no = shell.request(&mut network, connect("source-3000000.lab", "a"));
    shell.run_until(&mut network, MINUTE, |shell| shell.requests[&no].read.len() > 100_000);
    network.part(&[Place::Scripts]);
    let other = shell.request(&mut network, connect("source-5000.lab", "b"));
    shell.run_until(&mut network, MINUTE, |_| false);
    assert!(!shell.requests[&no].is_over() && !shell.requests[&other].is_over());
    network.join();
    shell.run_until(&mut network, MINUTE, |shell| [no, other].iter().all(|no| shell.requests[no].is_over()));
    for (no, length) in [(no, 3_000_000), (other, 5000)] {
        assert_eq!((shell.requests[&no].end, shell.requests[&no].read.len()), (Some(true), length));
    }
}
