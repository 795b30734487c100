//! What a controller sees of the client, and what it can decide in its place.

use std::collections::BTreeSet;
use std::time::Duration;

use cepa::internal::base::RsaId;
use cepa::internal::circuit::hop::HopNo;
use cepa::internal::client::circuits::Phase;
use cepa::internal::client::control::Refused;
use cepa::internal::client::events::{
    Bytes, CircuitReason, CircuitStatus, Event, LinkReason, LinkStatus, Mask, Purpose, StreamReason, StreamStatus,
};
use cepa::internal::client::junction::TunnelNo;
use cepa::internal::client::{Progress, RequestNo};
use cepa::internal::directory::consensus::Flag;
use cepa::internal::wire::relay_msg::EndReason;
use cepa::lab::network::{Network, Place};

use super::client::{Shell, connect, directory_network, honest, resolve, setup_with, wish};
use super::seed;

const MINUTE: Duration = Duration::from_secs(60);

fn watched() -> (Network, Shell) {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::prepare(&network, wish(&cache));
    shell.client.subscribe(Mask::ALL);
    shell.begin(&mut network);
    (network, shell)
}

fn of_stream(shell: &Shell, no: RequestNo) -> Vec<StreamStatus> {
    let mine = |event: &Event| match event {
        Event::Stream(facts, status) if facts.stream == no => Some(*status),
        _ => None,
    };
    shell.events.iter().filter_map(mine).collect()
}

fn of_circuit(shell: &Shell, no: TunnelNo) -> Vec<CircuitStatus> {
    let mine = |event: &Event| match event {
        Event::Circuit(facts, status) if facts.circuit == no => Some(*status),
        _ => None,
    };
    shell.events.iter().filter_map(mine).collect()
}

fn tunnel_of(shell: &Shell, no: RequestNo) -> TunnelNo {
    let mine = |event: &Event| match event {
        Event::Stream(facts, StreamStatus::Sent) if facts.stream == no => facts.circuit,
        _ => None,
    };
    shell.events.iter().find_map(mine).unwrap()
}

#[test]
fn the_life_of_a_stream_and_of_its_circuit_is_told_in_order() {
    let (mut network, mut shell) = watched();
    let no = shell.request(&mut network, connect("source-5000.lab", "a"));
    assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&no].is_over()));
    let done = |status: &StreamStatus| *status == StreamStatus::Closed(StreamReason::Far(EndReason::DONE));
    let statuses = of_stream(&shell, no);
    assert_eq!(statuses[..2], [StreamStatus::New, StreamStatus::Sent]);
    assert!(matches!(statuses[2..], [StreamStatus::Remapped(_), StreamStatus::Succeeded, ref end] if done(end)));
    let sent = |event: &&Event| matches!(event, Event::Stream(facts, status) if facts.stream == no && done(status));
    let Some(Event::Stream(facts, _)) = shell.events.iter().find(sent) else { panic!() };
    assert_eq!(facts.bytes, Bytes { read: 5000, written: 0 });

    let tunnel = tunnel_of(&shell, no);
    use CircuitStatus::{Built, Extended, Launched};
    assert_eq!(of_circuit(&shell, tunnel), [Launched, Extended, Extended, Extended, Built]);
    let (facts, status) = shell.client.circuits().find(|(facts, _)| facts.circuit == tunnel).unwrap();
    assert!(status == Built && facts.path.len() == 3 && facts.purpose == Purpose::General);
    // CREATED2, two EXTENDED2, CONNECTED, END, and 5,000 bytes in eleven cells.
    assert!(facts.traffic.cells_read == 16 && facts.traffic.read.used > 5000, "{:?}", facts.traffic);
    assert_eq!((facts.traffic.cells_read - 1) * 498, facts.traffic.read.used + facts.traffic.read.unused);
    assert!(facts.traffic.cells_written >= 4 && facts.traffic.written.used == 0);
    let links =
        |wanted| shell.events.iter().filter(|it| matches!(it, Event::Link(_, status) if *status == wanted)).count();
    assert!(links(LinkStatus::Launched) > 0 && links(LinkStatus::Connected) > 0);
    let names = shell.events.iter().filter(|event| matches!(event, Event::Name(_))).count();
    assert_eq!(names, 1);
    assert!(shell.events.iter().any(|event| matches!(event, Event::Consensus(_))));
    assert!(shell.events.iter().any(|event| matches!(event, Event::Guard(_))));
    assert!(shell.events.iter().any(|event| matches!(event, Event::Enough(true))));
}

/// When all guards of the first rank are gone, circuits over others wait until they are known to
/// be.
#[test]
fn a_circuit_that_waits_for_better_guards_is_not_told_of_as_built() {
    let (mut network, relays, cache) = directory_network(seed(), honest);
    let mut shell = Shell::prepare(&network, setup_with(&cache, "NumEntryGuards 1\nNumPrimaryGuards 1"));
    shell.client.subscribe(Mask::ALL);
    shell.begin(&mut network);
    use CircuitStatus::{Built, Extended, GuardWait, Launched};
    let expected = [Launched, Extended, Extended, Extended, GuardWait, Built];
    let waited = |shell: &Shell| {
        let built = |event: &Event| match event {
            Event::Circuit(facts, Built) => Some(facts.circuit),
            _ => None,
        };
        shell.events.iter().filter_map(built).any(|no| of_circuit(shell, no).starts_with(&expected))
    };
    // Some that wait are closed when a better guard answers.
    let is_seen = (0..4).any(|user| {
        shell.serve(&mut network, connect("source-5000.lab", &format!("{user}")), 2 * MINUTE);
        let guards: BTreeSet<_> = shell.client.pool().iter().map(|(_, it)| it.path.hops[0].ids.rsa).collect();
        for relay in relays.iter().filter(|_| !waited(&shell)) {
            if guards.contains(&network.facts(*relay).ids.rsa) {
                network.cut(*relay);
            }
        }
        shell.run_until(&mut network, MINUTE / 60, |_| false);
        waited(&shell)
    });
    assert!(is_seen);
}

/// C tor: `global_identifier`.
#[test]
fn no_stream_has_the_number_of_a_link() {
    let (mut network, mut shell) = watched();
    for user in 0..5 {
        shell.serve(&mut network, connect("source-5000.lab", &user.to_string()), MINUTE);
    }
    let (mut links, mut streams) = (BTreeSet::new(), BTreeSet::new());
    for event in &shell.events {
        match event {
            Event::Link(facts, LinkStatus::Launched) => assert!(links.insert(facts.link.0)),
            Event::Stream(facts, StreamStatus::New) => assert!(streams.insert(facts.stream.0)),
            _ => {}
        }
    }
    assert!(links.len() > 1 && streams.len() > 5 && links.is_disjoint(&streams));
}

#[test]
fn nothing_is_told_to_whoever_did_not_ask() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    shell.serve(&mut network, connect("source-5000.lab", "a"), MINUTE);
    assert!(shell.events.is_empty());
    shell.client.subscribe(Mask::STREAMS);
    shell.serve(&mut network, connect("source-5000.lab", "b"), MINUTE);
    assert!(!shell.events.is_empty() && shell.events.iter().all(|event| matches!(event, Event::Stream(..))));
}

#[test]
fn what_fails_is_told_with_its_reason() {
    let (mut network, mut shell) = watched();
    for (wanted, reason) in [
        (connect("refuse.lab", "a"), StreamReason::Far(EndReason::CONNECTREFUSED)),
        (resolve("nowhere.example"), StreamReason::Ours(EndReason::RESOLVEFAILED)),
    ] {
        let no = shell.request(&mut network, wanted);
        assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&no].is_over()));
        let end = [StreamStatus::Failed(reason), StreamStatus::Closed(reason)];
        assert!(of_stream(&shell, no).ends_with(&end), "{:?}", of_stream(&shell, no));
    }
}

/// Three relays that can be a path: a guard, somebody, and an exit.
fn hand_made(shell: &Shell) -> Vec<RsaId> {
    let dir = shell.client.dir().unwrap();
    let is = |flag, wanted| dir.relays().filter(move |relay| relay.flags().has(flag) == wanted).map(|it| it.rsa_id());
    let exit = is(Flag::Exit, true).next().unwrap();
    let mut others = is(Flag::Exit, false);
    vec![others.next().unwrap(), others.next().unwrap(), exit]
}

fn build(shell: &mut Shell, network: &mut Network, path: &[RsaId]) -> TunnelNo {
    let hops = path.iter().map(|id| shell.client.hop(id).unwrap()).collect();
    let no = shell.client.build(hops, Purpose::Controller, network.now(), &mut shell.entropy).unwrap();
    shell.turn(network);
    no
}

fn is_built(shell: &Shell, no: TunnelNo) -> bool {
    shell.client.pool().get(no).is_some_and(|circuit| circuit.phase == Phase::Open)
}

#[test]
fn a_controller_builds_and_attaches() {
    let (mut network, mut shell) = watched();
    assert!(shell.bootstrap(&mut network));
    let path = hand_made(&shell);
    let no = build(&mut shell, &mut network, &path[..1]);
    assert!(shell.run_until(&mut network, MINUTE, |shell| is_built(shell, no)));
    shell.client.hold_requests(true);
    let held = shell.request(&mut network, connect("nowhere.example", "a"));
    let refused = shell.client.attach_request(held, Some((no, None)), network.now(), &mut shell.entropy);
    assert_eq!(refused, Err(Refused::OneHop));
    shell.client.hold_requests(false);
    shell.cancel(&mut network, held);
    let rest: Vec<_> = path[1..].iter().map(|id| shell.client.hop(id).unwrap()).collect();
    shell.client.extend(no, &rest, network.now(), &mut shell.entropy).unwrap();
    shell.turn(&mut network);
    assert!(shell.run_until(&mut network, MINUTE, |shell| is_built(shell, no)));
    let (facts, _) = shell.client.circuits().find(|(facts, _)| facts.circuit == no).unwrap();
    assert!(facts.path == path && facts.purpose == Purpose::Controller);

    // It is nobody's whom it was not given to.
    let other = shell.request(&mut network, connect("source-5000.lab", "a"));
    assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&other].is_over()));
    assert_ne!(tunnel_of(&shell, other), no);

    shell.client.hold_requests(true);
    let held = shell.request(&mut network, connect("nowhere.example", "a"));
    shell.run_until(&mut network, MINUTE / 2, |_| false);
    assert_eq!(of_stream(&shell, held), [StreamStatus::New, StreamStatus::Held]);
    let (now, entropy) = (network.now(), &mut shell.entropy);
    let client = &mut shell.client;
    assert_eq!(client.attach_request(held, Some((TunnelNo(9999), None)), now, entropy), Err(Refused::NoSuchCircuit));
    assert_eq!(client.attach_request(held, Some((no, Some(HopNo(3)))), now, entropy), Err(Refused::NoSuchHop));
    assert_eq!(client.attach_request(held, Some((no, Some(HopNo(0)))), now, entropy), Err(Refused::OneHop));
    assert_eq!(client.attach_request(RequestNo(9999), None, now, entropy), Err(Refused::NoSuchStream));
    client.redirect(held, "Source-5000.LAB", Some(80)).unwrap();
    client.attach_request(held, Some((no, Some(HopNo(2)))), now, entropy).unwrap();
    assert_eq!(client.attach_request(held, None, now, entropy), Err(Refused::NotWaiting));
    shell.turn(&mut network);
    assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&held].is_over()));
    assert_eq!((tunnel_of(&shell, held), shell.requests[&held].read.len()), (no, 5000));
    assert!(of_stream(&shell, held).contains(&StreamStatus::Redirected));

    // One that is let go gets whichever is best.
    let free = shell.request(&mut network, connect("source-5000.lab", "a"));
    shell.client.attach_request(free, None, network.now(), &mut shell.entropy).unwrap();
    assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&free].is_over()));
    assert_ne!(tunnel_of(&shell, free), no);
}

/// C tor: one that was open before it got its third hop says nothing of how long three take.
#[test]
fn a_circuit_that_is_built_by_steps_is_not_timed() {
    let (mut network, mut shell) = watched();
    assert!(shell.bootstrap(&mut network));
    let path = hand_made(&shell);
    let at_once = build(&mut shell, &mut network, &path);
    let by_steps = build(&mut shell, &mut network, &path[..1]);
    assert!(shell.run_until(&mut network, MINUTE, |shell| is_built(shell, by_steps) && is_built(shell, at_once)));
    let rest: Vec<_> = path[1..].iter().map(|id| shell.client.hop(id).unwrap()).collect();
    shell.client.extend(by_steps, &rest, network.now(), &mut shell.entropy).unwrap();
    shell.turn(&mut network);
    assert!(shell.run_until(&mut network, MINUTE, |shell| is_built(shell, by_steps)));
    let is_whole = |event: &&Event| match event {
        Event::Circuit(facts, CircuitStatus::Built) => facts.path.len() == 3 && facts.circuit != by_steps,
        _ => false,
    };
    assert_eq!(shell.client.pool().times.count(), shell.events.iter().filter(is_whole).count());
    assert!(shell.client.pool().times.count() > 1);
}

#[test]
fn a_controller_ends_what_it_likes() {
    let (mut network, mut shell) = watched();
    let no = shell.request(&mut network, connect("echo.lab", "a"));
    assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&no].is_open));
    let tunnel = tunnel_of(&shell, no);
    let (client, now, entropy) = (&mut shell.client, network.now(), &mut shell.entropy);
    client.close_circuit(tunnel, true, now, entropy).unwrap();
    client.close_request(no, EndReason::MISC, now, entropy).unwrap();
    client.close_circuit(tunnel, true, now, entropy).unwrap();
    assert_eq!(client.close_circuit(tunnel, true, now, entropy), Err(Refused::NoSuchCircuit));
    shell.turn(&mut network);
    assert_eq!(shell.requests[&no].end, Some(false));
    assert_eq!(of_circuit(&shell, tunnel).last(), Some(&CircuitStatus::Closed(CircuitReason::Requested)));

    let no = shell.request(&mut network, connect("echo.lab", "a"));
    assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&no].is_open));
    let tunnel = tunnel_of(&shell, no);
    shell.client.close_circuit(tunnel, false, network.now(), &mut shell.entropy).unwrap();
    shell.turn(&mut network);
    assert_eq!(shell.requests[&no].end, Some(false));
    assert_eq!(of_circuit(&shell, tunnel).last(), Some(&CircuitStatus::Closed(CircuitReason::Requested)));
}

/// C tor: `control_event_bootstrap_prob_or`.
#[test]
fn a_controller_hears_why_there_is_no_circuit_yet() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let id = "A".repeat(40);
    let delay = "ClientBootstrapConsensusAuthorityDownloadInitialDelay 60\nDirAuthorityFallbackRate 0";
    let setup = setup_with(&cache, &format!("{delay}\nFallbackDir 192.0.2.1:80 orport=443 id={id}"));
    let mut shell = Shell::prepare(&network, setup);
    shell.client.subscribe(Mask::NETWORK);
    shell.begin(&mut network);
    shell.run_until(&mut network, 5 * MINUTE, |_| false);
    let problems = shell.events.iter().filter_map(|event| match event {
        Event::Problem(problem) => Some(problem),
        _ => None,
    });
    let problems: Vec<_> = problems.collect();
    assert!(problems.len() >= 3, "{problems:?}");
    for (at, problem) in problems.iter().enumerate() {
        let said = (problem.count as usize, problem.reason, problem.is_warning, problem.link.address.to_string());
        assert_eq!(said, (at + 1, LinkReason::Refused, at >= 9, "192.0.2.1:443".to_owned()));
    }
    let count = |shell: &Shell| shell.events.iter().filter(|event| matches!(event, Event::Problem(_))).count();
    assert_eq!(shell.progress.last(), Some(&Progress::Done));
    let before = count(&shell);
    network.part(&[Place::Scripts]);
    shell.run_until(&mut network, 5 * MINUTE, |_| false);
    assert_eq!(count(&shell), before);
}

/// What links carry is what a relay has read and written.
#[test]
fn a_controller_learns_how_much_is_carried() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    let told = shell.serve(&mut network, connect("source-200000.lab", "a"), MINUTE);
    assert_eq!(told.read.len(), 200_000);
    let all = shell.client.traffic();
    assert!(all.read > 200_000 && all.read < 400_000 && all.written > 2000, "{all:?}");
    let of_links = shell.client.links().map(|(facts, _)| facts.traffic.read).sum::<u64>();
    assert!(of_links <= all.read && of_links > 200_000);
    shell.run_until(&mut network, 60 * MINUTE, |_| false);
    assert!(shell.client.traffic().read >= all.read);
}
