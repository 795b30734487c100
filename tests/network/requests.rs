//! What programs ask a client for, over circuits that it builds itself.

use std::collections::BTreeSet;
use std::time::Duration;

use cepa::internal::base::RsaId;
use cepa::internal::client::events::{Event, Mask, StreamStatus};
use cepa::internal::client::{Failure, Found, Progress, RequestNo, Wish};
use cepa::internal::stream::map::MAX_STREAMS;
use cepa::internal::wire::relay_msg::EndReason;
use cepa::lab::network::{Network, Place, Role};

use super::client::{Shell, connect, directory_network, honest, resolve, setup_with, wish};
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

/// Where a request was sent, and what its name was found to mean, in order.
fn tries(shell: &Shell, no: RequestNo) -> (Vec<Option<RsaId>>, Vec<String>) {
    let (mut exits, mut names) = (Vec::new(), Vec::new());
    for event in &shell.events {
        match event {
            Event::Stream(facts, StreamStatus::Sent) if facts.stream == no => {
                let circuit = facts.circuit.and_then(|circuit| shell.client.pool().get(circuit));
                exits.push(circuit.and_then(|circuit| circuit.exit()));
            }
            Event::Stream(facts, StreamStatus::Remapped(ip)) if facts.stream == no => {
                names.push(ip.uncover().to_string());
            }
            _ => {}
        }
    }
    (exits, names)
}

/// A client that tells all of its streams, in a network with so many exits that say what
/// exits in the world say.
fn with_exits(number: usize) -> (Network, Shell) {
    let role = |relay| Role { is_exit: relay >= 11 - number, ..Role::default() };
    let (mut network, _, cache) = directory_network(seed(), role);
    let mut shell = Shell::prepare(&network, setup_with(&cache, "ClientDNSRejectInternalAddresses 1"));
    shell.client.subscribe(Mask::STREAMS);
    shell.begin(&mut network);
    assert!(shell.bootstrap(&mut network));
    (network, shell)
}

/// No other exit could reach it either.
#[test]
fn a_name_of_a_private_address_is_asked_of_one_exit() {
    let (mut network, mut shell) = with_exits(4);
    let no = shell.request(&mut network, connect("private.lab", "a"));
    shell.run_until(&mut network, MINUTE, |shell| shell.requests[&no].is_over());
    assert_eq!(shell.requests[&no].failure, Some(Failure::Exit(EndReason::TORPROTOCOL)));
    assert_eq!((tries(&shell, no).0.len(), tries(&shell, no).1.len()), (1, 0));
}

#[test]
fn an_address_that_policies_forbid_is_asked_of_three_exits_or_of_all() {
    for (exits, asked) in [(4, 3), (2, 2)] {
        let (mut network, mut shell) = with_exits(exits);
        let no = shell.request(&mut network, connect("ends-4.lab", "a"));
        shell.run_until(&mut network, MINUTE, |shell| shell.requests[&no].is_over());
        assert_eq!(shell.requests[&no].failure, Some(Failure::Exit(EndReason::EXITPOLICY)));
        let (mut tried, names) = tries(&shell, no);
        tried.sort();
        tried.dedup();
        assert_eq!((tried.len(), names), (asked, vec!["198.51.100.80".to_owned()]));
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

/// `KeepAliveIsolateSOCKSAuth`: from when it was last used, by one that comes or one that goes.
#[test]
fn a_circuit_lives_on_for_those_who_keep_it_alive() {
    for keeps_alive in [true, false] {
        let (mut network, _, cache) = directory_network(seed(), honest);
        let mut shell = Shell::start(&mut network, wish(&cache));
        let mut tunnel_of = |shell: &mut Shell, host: &str, wait: u32| {
            let no = shell.request(&mut network, Wish { keeps_alive, ..connect(host, "a") });
            let at = |shell: &Shell| shell.client.streams().get(no).and_then(|request| request.at());
            assert!(shell.run_until(&mut network, MINUTE, |shell| at(shell).is_some()));
            let tunnel = at(shell).unwrap().0;
            shell.run_until(&mut network, wait * MINUTE, |_| false);
            tunnel
        };
        // Those that stay count when they come.
        for (host, waits) in [("source-1000.lab", [4, 4, 4, 11]), ("echo.lab", [1, 7, 7, 1])] {
            let tunnels: BTreeSet<_> = waits.into_iter().map(|wait| tunnel_of(&mut shell, host, wait)).collect();
            assert_eq!(tunnels.len(), if keeps_alive { 1 } else { 2 }, "{host}");
        }
    }
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
    for (options, limit) in [("", 120), ("SocksTimeout 61\nCircuitStreamTimeout 50", 61)] {
        let (mut network, _, cache) = directory_network(seed(), honest);
        let mut shell = Shell::start(&mut network, setup_with(&cache, options));
        assert!(shell.bootstrap(&mut network));
        let begun = network.now().tick;
        let told = shell.serve(&mut network, connect("silent.lab", "a"), 5 * MINUTE);
        assert_eq!(told.failure, Some(Failure::TimedOut));
        let took = network.now().tick.since(begun);
        assert_eq!(took, Duration::from_secs(limit));
        assert!(shell.client.pool().iter().all(|(_, circuit)| circuit.streams == 0));
    }
}

/// A hop has room for so many streams; whoever comes then finds another circuit at once.
#[test]
fn whoever_finds_a_circuit_full_waits_for_nothing() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    shell.run_until(&mut network, MINUTE, |_| false);
    let begun = network.now().tick;
    let tunnel_of = |shell: &mut Shell, network: &mut Network| {
        let no = shell.client.request(connect("silent.lab", "a"), network.now(), &mut shell.entropy);
        let at = shell.client.streams().get(no).and_then(|request| request.at());
        shell.turn(network);
        at.map(|(tunnel, _)| tunnel)
    };
    let first = tunnel_of(&mut shell, &mut network);
    let mut others = (0..MAX_STREAMS).map(|_| tunnel_of(&mut shell, &mut network));
    assert!(first.is_some() && others.by_ref().take(MAX_STREAMS - 1).all(|tunnel| tunnel == first));
    let last = others.next().unwrap();
    assert!(last.is_some() && last != first);
    assert_eq!(network.now().tick, begun);
}

/// All that wait are looked at when something has become of a circuit, and not whenever another
/// one comes.
#[test]
fn a_crowd_costs_as_much_as_there_are_in_it() {
    for is_isolated in [false, true] {
        let (mut network, _, cache) = directory_network(seed(), honest);
        let mut shell = Shell::start(&mut network, wish(&cache));
        assert!(shell.bootstrap(&mut network));
        shell.run_until(&mut network, MINUTE, |_| false);
        network.part(&[Place::Scripts]);
        shell.new_identity(&mut network);
        let before = shell.client.pool().judged();
        for number in 0..2000 {
            let user = if is_isolated { number.to_string() } else { "a".to_owned() };
            shell.request(&mut network, connect("source-5000.lab", &user));
        }
        shell.run_until(&mut network, MINUTE, |_| false);
        let judged = shell.client.pool().judged() - before;
        assert!(judged < 2000 * 200, "{judged}");
    }
}

/// C tor: `circuits_handle_oom`.
#[test]
fn programs_that_do_not_read_make_us_hold_so_much_and_no_more() {
    const MOST: usize = 1_000_000;
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache).holding_at_most(MOST));
    shell.is_reading = false;
    let all: Vec<_> = (0..8)
        .map(|user| {
            let no = shell.request(&mut network, connect("source-1000000.lab", &format!("{user}")));
            assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&no].is_open));
            let is_bounded = |shell: &Shell| shell.client.streams().held() > MOST;
            assert!(!shell.run_until(&mut network, MINUTE / 2, is_bounded));
            no
        })
        .collect();
    // A window of a stream is 249,000 bytes: four fit.
    let given_up: Vec<_> = all.iter().map(|no| shell.requests[no].is_given_up).collect();
    assert_eq!(given_up, [true, true, true, true, false, false, false, false]);
    shell.is_reading = true;
    let told = shell.serve(&mut network, connect("source-1000000.lab", "9"), MINUTE);
    assert_eq!((told.read.len(), told.end), (1_000_000, Some(true)));
}

/// A circuit that is built ahead is for the first who waits for it: the others get their own
/// without waiting for it.
#[test]
fn a_crowd_does_not_wait_for_what_was_begun_for_nobody() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    assert!(shell.run_until(&mut network, MINUTE, |shell| shell.client.pool().iter().next().is_some()));
    let begun = network.now().tick;
    let wish = |user: u32| connect("source-400.lab", &format!("{user}"));
    let crowd: Vec<_> = (0..20).map(|user| shell.request(&mut network, wish(user))).collect();
    let are_over = |shell: &Shell| crowd.iter().all(|no| shell.requests[no].end == Some(true));
    assert!(shell.run_until(&mut network, MINUTE, are_over));
    let took = network.now().tick.since(begun);
    assert!(took < Duration::from_secs(1), "{took:?}");
}
