//! What is counted against a guard when nobody was answered: only what its circuits are to blame
//! for.

use std::time::Duration;

use cepa::internal::base::RsaId;
use cepa::internal::client::RequestNo;
use cepa::internal::client::events::{CircuitStatus, Event, Mask, Purpose};
use cepa::internal::client::junction::TunnelNo;
use cepa::internal::path::guards::sample::BIAS_NAMES;
use cepa::lab::network::{Network, Place, RelayNo};

use super::client::{Shell, connect, directory_network, honest, setup_with};
use super::seed;

const MINUTE: Duration = Duration::from_secs(60);

/// A client with one guard.
fn begin(options: &str) -> (Network, Vec<RelayNo>, Shell) {
    let (mut network, relays, cache) = directory_network(seed(), honest);
    let mut shell = Shell::prepare(&network, setup_with(&cache, &format!("NumEntryGuards 1\n{options}")));
    shell.client.subscribe(Mask::CIRCUITS);
    shell.begin(&mut network);
    assert!(shell.bootstrap(&mut network));
    (network, relays, shell)
}

/// The circuit of a request, and its guard, once an exit has been asked.
fn wait_for(shell: &mut Shell, network: &mut Network, no: RequestNo) -> (TunnelNo, RsaId) {
    let at = |shell: &Shell| shell.client.streams().get(no).and_then(|request| request.at());
    assert!(shell.run_until(network, MINUTE, |shell| at(shell).is_some()));
    let tunnel = at(shell).unwrap().0;
    (tunnel, shell.client.pool().get(tunnel).unwrap().path.hops[0].ids.rsa.unwrap())
}

fn count(shell: &Shell, guard: RsaId, name: &str) -> f64 {
    let place = BIAS_NAMES.iter().position(|known| *known == name).unwrap();
    shell.client.pool().guards.records().find(|record| record.id == guard).unwrap().bias.0[place]
}

fn statuses(shell: &Shell, tunnel: TunnelNo) -> Vec<CircuitStatus> {
    let of = |event: &Event| match event {
        Event::Circuit(facts, status) if facts.circuit == tunnel => Some(*status),
        _ => None,
    };
    shell.events.iter().filter_map(of).collect()
}

/// More than it takes to alarm somebody, if they counted.
#[test]
fn dead_servers_and_programs_that_leave_are_no_guards_fault() {
    let (mut network, _, mut shell) = begin("SocksTimeout 11");
    let mut guards = Vec::new();
    for number in 0..60 {
        let no = shell.request(&mut network, connect("silent.lab", &format!("user {number}")));
        guards.push(wait_for(&mut shell, &mut network, no).1);
        if number % 2 == 0 {
            shell.cancel(&mut network, no);
        } else {
            assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&no].is_over()));
        }
    }
    shell.run_until(&mut network, 15 * MINUTE, |_| false);
    guards.sort();
    guards.dedup();
    let sum = |name| guards.iter().map(|guard| count(&shell, *guard, name)).sum::<f64>();
    assert!(sum("pb_use_attempts") >= 60.0);
    assert_eq!((sum("pb_use_attempts"), sum("pb_unusable_circuits")), (sum("pb_use_successes"), 0.0));
    assert_eq!(shell.notices, []);
}

/// What succeeded and was tried elsewhere all the same may have been the guard's doing.
#[test]
fn a_circuit_that_was_left_for_another_is_asked_too() {
    let (mut network, _, mut shell) = begin("");
    let no = shell.request(&mut network, connect("ends-1.lab", "a"));
    let (tunnel, guard) = wait_for(&mut shell, &mut network, no);
    assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&no].is_over()));
    shell.run_until(&mut network, MINUTE, |_| false);
    let statuses = statuses(&shell, tunnel);
    assert!(statuses.contains(&CircuitStatus::Repurposed(Purpose::General)), "{statuses:?}");
    assert_eq!(count(&shell, guard, "pb_unusable_circuits"), 0.0);
}

#[test]
fn a_circuit_that_says_nothing_more_counts_when_its_time_is_over() {
    let (mut network, relays, mut shell) = begin("");
    let no = shell.request(&mut network, connect("silent.lab", "a"));
    let (tunnel, guard) = wait_for(&mut shell, &mut network, no);
    shell.cancel(&mut network, no);
    shell.run_until(&mut network, 9 * MINUTE, |_| false);
    assert!(shell.client.pool().get(tunnel).is_some());
    relays.iter().for_each(|relay| network.deaden(Place::Scripts, *relay));
    shell.run_until(&mut network, 3 * MINUTE, |_| false);
    assert_eq!((shell.client.pool().get(tunnel).is_none(), count(&shell, guard, "pb_unusable_circuits")), (true, 1.0));
}
