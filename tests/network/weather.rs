//! What the network itself does to those on it: slow paths, lost links, partitions.

use std::time::Duration;

use cepa::internal::wire::cell_msg::{DestroyReason, HandshakeType};
use cepa::internal::wire::relay::Command;
use cepa::lab::network::{Arrival, Place, RelayNo, Weather};

use super::near::{Event, Near, target};
use super::{seed, three_relays};

const HOUR: Duration = Duration::from_secs(3600);

fn circuit(near: &mut Near<'_>, [guard, middle, exit]: [RelayNo; 3]) {
    near.create_ntor(guard);
    near.extend_ntor(middle);
    near.extend_ntor(exit);
}

#[test]
fn one_slow_path_slows_what_goes_over_it() {
    let slow = Weather { latency: Duration::from_secs(2), ..Weather::default() };
    let (mut network, [guard, middle, exit]) = three_relays(seed());
    network.set_weather_between(middle, exit, slow);
    let mut near = Near::dial(&mut network, guard);
    near.create_ntor(guard);
    let begun = near.network.now().tick;
    near.extend_ntor(middle);
    let quick = near.network.now().tick.since(begun);
    near.extend_ntor(exit);
    let slowed = near.network.now().tick.since(begun) - quick;
    // Dialling, the link handshake and CREATE2 each wait for an answer.
    assert!(quick < Duration::from_millis(400) && slowed >= Duration::from_secs(12), "{quick:?} {slowed:?}");
}

#[test]
fn a_lost_link_ends_what_ran_over_it_and_a_new_one_can_be_made() {
    let (mut network, relays @ [guard, middle, exit]) = three_relays(seed());
    let mut near = Near::dial(&mut network, guard);
    circuit(&mut near, relays);
    near.network.lose(middle, exit);
    assert_eq!(near.next_event(), Event::Destroyed(DestroyReason::DESTROYED));
    near.forget_circuit();
    circuit(&mut near, relays);
    near.begin("echo.lab");
    near.network.lose(guard, Place::Scripts);
    assert_eq!(near.next_event(), Event::LinkGone);
}

#[test]
fn what_is_parted_waits_and_goes_on_when_joined() {
    let (mut network, relays @ [guard, ..]) = three_relays(seed());
    let mut near = Near::dial(&mut network, guard);
    circuit(&mut near, relays);
    near.network.part(&[Place::Scripts]);
    let stream = near.begin_unheard("source-1000.lab", 80);
    assert_eq!(near.event_within(HOUR), None);
    near.network.join();
    let event = near.next_event();
    assert!(matches!(event, Event::Message { command: Command::CONNECTED, .. }), "{event:?}");
    assert_eq!(near.read_to_end(stream).0.len(), 1000);
}

#[test]
fn a_dial_across_a_partition_is_answered_when_joined_or_given_up() {
    let (mut network, [guard, middle, _]) = three_relays(seed());
    let address = network.facts(guard).address;
    network.part(&[guard.into(), middle.into()]);
    let (begun, near) = (network.now().tick, network.connect(address));
    let mut end = None;
    assert!(network.run_until(HOUR, |network| {
        end = network.receive(near);
        end.is_some()
    }));
    assert_eq!(end, Some(Arrival::Closed));
    let waited = network.now().tick.since(begun).as_secs();
    assert!((127..260).contains(&waited), "{waited} s");

    let near = network.connect(address);
    assert!(!network.run_until(Duration::from_secs(20), |network| network.receive(near).is_some()));
    network.join();
    assert!(!network.run_until(Duration::from_secs(30), |network| network.receive(near).is_some()));
    assert_eq!(network.relay(guard).link_count(), 1);
}

#[test]
fn a_guard_far_away_is_reached() {
    let (mut network, relays @ [guard, ..]) = three_relays(seed());
    network.set_weather(guard, Weather { latency: Duration::from_secs(1), ..Weather::default() });
    let mut near = Near::dial(&mut network, guard);
    circuit(&mut near, relays);
    near.begin("echo.lab");
}

#[test]
fn weather_changes_for_those_who_are_connected() {
    let (mut network, relays @ [guard, middle, exit]) = three_relays(seed());
    let mut near = Near::dial(&mut network, guard);
    circuit(&mut near, relays);
    let slow = Weather { latency: Duration::from_secs(10), ..Weather::default() };
    near.network.set_weather_between(middle, exit, slow);
    let begun = near.network.now().tick;
    near.begin("echo.lab");
    assert!(near.network.now().tick.since(begun) >= Duration::from_secs(20));
}

/// A connection that reached its relay, and of which the other side has not heard.
#[test]
fn who_is_cut_off_while_it_dials_is_cut_off() {
    let (mut network, [guard, middle, _]) = three_relays(seed());
    let slow = Weather { latency: Duration::from_secs(5), ..Weather::default() };
    network.set_weather_between(guard, middle, slow);
    let facts = *network.facts(middle);
    let mut near = Near::dial(&mut network, guard);
    near.create_ntor(guard);
    near.extend_unheard(&target(&facts), HandshakeType::NTOR, &[0; 84]);
    near.event_within(Duration::from_secs(7));
    assert_eq!(near.network.relay(middle).link_count(), 1);
    near.network.cut(guard);
    let before = near.network.carried();
    near.network.run_until(HOUR, |_| false);
    assert_eq!((near.network.relay(middle).link_count(), near.network.carried()), (0, before));
}

#[test]
fn another_partition_lets_only_those_through_who_are_not_parted_by_it() {
    let (mut network, relays @ [guard, _, exit]) = three_relays(seed());
    let mut near = Near::dial(&mut network, guard);
    circuit(&mut near, relays);
    near.network.part(&[Place::Scripts]);
    near.begin_unheard("source-1000.lab", 80);
    let before = near.network.carried();
    near.network.part(&[Place::Scripts, exit.into()]);
    // Not for longer, or relays pad their links.
    let soon = Duration::from_millis(500);
    assert_eq!((near.event_within(soon), near.network.carried()), (None, before));
    near.network.join();
    assert!(matches!(near.next_event(), Event::Message { command: Command::CONNECTED, .. }));
}

#[test]
fn a_script_can_hang_up() {
    let (mut network, relays @ [guard, _, exit]) = three_relays(seed());
    let mut near = Near::dial(&mut network, guard);
    circuit(&mut near, relays);
    near.hang_up();
    near.network.run_until(HOUR, |_| false);
    assert_eq!((near.network.relay(guard).link_count(), near.network.relay(exit).circuit_count()), (1, 0));
}

/// Before its dial has reached the relay, and before it hears that it did: what it wrote comes
/// first.
#[test]
fn a_script_can_hang_up_before_it_is_connected() {
    for wait in [Duration::ZERO, Duration::from_millis(1500)] {
        let (mut network, [guard, ..]) = three_relays(seed());
        network.set_weather(guard, Weather { latency: Duration::from_secs(1), ..Weather::default() });
        let near = network.connect(network.facts(guard).address);
        network.send(near, vec![0, 0, 7, 0, 2, 0, 5]);
        network.run_until(wait, |_| false);
        network.hang_up(near);
        network.run_until(HOUR, |_| false);
        assert_eq!(network.relay(guard).link_count(), 0, "{wait:?}");
        assert!(network.carried() >= 7, "{wait:?}");
    }
}
