//! What programs ask a client for, over circuits that it builds itself.

use std::time::Duration;

use cepa::internal::client::{Failure, Found, Progress};
use cepa::internal::wire::relay_msg::EndReason;

use super::client::{Shell, connect, directory_network, honest, resolve, wish};
use super::seed;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_stream_goes_through_three_relays_to_a_server_and_back() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    // Asked for before anything is known, it waits for what it needs and for nothing else.
    let told = shell.serve(&mut network, connect("source-1000000.lab", "a"), MINUTE);
    assert_eq!((told.read.len(), told.end, told.failure), (1_000_000, Some(true), None));
    assert_eq!(shell.progress.last(), Some(&Progress::Done));
    let circuit = shell.client.pool().iter().find(|(_, circuit)| circuit.path.hops.len() == 3);
    assert!(circuit.is_some());
}

#[test]
fn names_and_addresses_are_looked_up() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    let told = shell.serve(&mut network, resolve("echo.lab"), MINUTE);
    let Some(Found::Ip(ip)) = told.found else { panic!("{told:?}") };
    assert!(ip.uncover().is_ipv4());
    let told = shell.serve(&mut network, resolve("nobody.example"), MINUTE);
    assert_eq!(told.failure, Some(Failure::NothingFound));
}

#[test]
fn what_an_exit_says_is_what_a_program_hears() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    for (host, expected) in [
        ("refuse.lab", Failure::Exit(EndReason::CONNECTREFUSED)),
        ("time-out.lab", Failure::Exit(EndReason::TIMEOUT)),
        ("nobody.example", Failure::Exit(EndReason::RESOLVEFAILED)),
    ] {
        let told = shell.serve(&mut network, connect(host, "a"), 3 * MINUTE);
        assert_eq!(told.failure, Some(expected), "{host}");
    }
}

/// That is what TORPROTOCOL says. The relays on it hear that it is over, or they would keep it.
#[test]
fn a_circuit_whose_end_says_that_it_is_broken_is_closed_for_all() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    let told = shell.serve(&mut network, connect("ends-13.lab", "a"), MINUTE);
    assert_eq!(told.failure, Some(Failure::Exit(EndReason::TORPROTOCOL)));
    shell.run_until(&mut network, MINUTE, |_| false);
    let ending = network.relays().map(|relay| network.relay(relay).ending_count());
    assert_eq!(ending.sum::<usize>(), shell.client.pool().iter().count());
}

/// The circuits that have had streams.
fn used(shell: &Shell) -> usize {
    shell.client.pool().iter().filter(|(_, circuit)| circuit.is_used()).count()
}

#[test]
fn streams_share_a_circuit_unless_they_must_not() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    for _ in 0..3 {
        let told = shell.serve(&mut network, connect("source-1000.lab", "a"), MINUTE);
        assert_eq!(told.end, Some(true), "{told:?}");
    }
    assert_eq!(used(&shell), 1);
    shell.serve(&mut network, connect("source-1000.lab", "b"), MINUTE);
    assert_eq!(used(&shell), 2);
    shell.serve(&mut network, connect("source-1000.lab", "a"), MINUTE);
    assert_eq!(used(&shell), 2);
    // After "new identity" not even the same program meets itself.
    shell.new_identity(&mut network);
    shell.serve(&mut network, connect("source-1000.lab", "a"), MINUTE);
    assert_eq!(used(&shell), 1);
}

#[test]
fn a_circuit_takes_no_new_streams_ten_minutes_after_its_first() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    let echo = shell.request(&mut network, connect("echo.lab", "a"));
    assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&echo].is_open));
    let first = shell.client.streams().get(echo).unwrap().at().unwrap().0;
    shell.run_until(&mut network, 11 * MINUTE, |_| false);
    let told = shell.serve(&mut network, connect("source-1000.lab", "a"), MINUTE);
    assert_eq!(told.end, Some(true));
    // The old one is there as long as its stream is, and takes no other.
    let circuit = shell.client.pool().get(first).unwrap();
    assert_eq!((circuit.streams, used(&shell)), (1, 2));
    assert_eq!(shell.write(&mut network, echo, b"still here"), 10);
    assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&echo].read == b"still here"));
    shell.cancel(&mut network, echo);
    assert!(shell.run_until(&mut network, MINUTE, |shell| shell.client.pool().get(first).is_none()));
}

#[test]
fn what_a_program_writes_before_its_stream_is_open_arrives() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    let echo = shell.request(&mut network, connect("echo.lab", "a"));
    assert_eq!(shell.write(&mut network, echo, b"early "), 6);
    assert!(!shell.requests[&echo].is_open);
    assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&echo].read == b"early "));
    // More than there is room for waits in the program.
    let more = vec![7; 100_000];
    let mut sent = 0;
    while sent < more.len() {
        sent += shell.write(&mut network, echo, &more[sent..]);
        shell.run_until(&mut network, Duration::from_millis(50), |_| false);
    }
    assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&echo].read.len() == 100_006));
}

#[test]
fn circuits_are_ready_before_anybody_asks_and_more_when_they_are_taken_fast() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    let ready = |shell: &Shell| shell.client.pool().iter().filter(|(_, circuit)| circuit.is_ready()).count();
    assert!(shell.run_until(&mut network, MINUTE, |shell| ready(shell) >= 2));
    for number in 0..10 {
        let told = shell.serve(&mut network, connect("source-1000.lab", &format!("user {number}")), MINUTE);
        assert_eq!(told.end, Some(true));
    }
    assert!(ready(&shell) > 4, "{}", ready(&shell));
}

#[test]
fn a_request_that_nobody_answers_is_tried_elsewhere_until_its_time_is_over() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    assert!(shell.bootstrap(&mut network));
    let begun = network.now().tick;
    let told = shell.serve(&mut network, connect("silent.lab", "a"), 5 * MINUTE);
    assert_eq!(told.failure, Some(Failure::TimedOut));
    let took = network.now().tick.since(begun).as_secs();
    assert!((120..140).contains(&took), "{took}");
}
