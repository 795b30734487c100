//! Circuits: every handshake, extending through other relays, and how they end.

use std::time::Duration;

use cepa::internal::wire::cell_msg::{DestroyReason, HandshakeType};
use cepa::internal::wire::extend::Target;
use cepa::internal::wire::relay::Command;
use cepa::lab::network::{Network, Role, Weather};

use super::near::{ASK_CGO, ASK_NOTHING, Event, Near, target};
use super::{seed, three_relays};

#[test]
fn every_handshake_makes_a_hop() {
    let (mut network, [guard, middle, exit]) = three_relays(seed());
    let mut near = Near::dial(&mut network, guard);
    near.create_fast();
    near.extend_ntor(middle);
    near.extend_v3(exit, ASK_NOTHING);
    near.begin("echo.lab");

    let (mut network, [guard, middle, exit]) = three_relays(seed());
    let mut near = Near::dial(&mut network, guard);
    near.create_ntor(guard);
    near.extend_v3(middle, ASK_NOTHING);
    near.extend_ntor(exit);
    near.begin("echo.lab");
}

#[test]
fn cgo_serves_where_it_is_offered_and_not_elsewhere() {
    let mut network = Network::new(seed());
    let guard = network.add_relay(Role::default()).unwrap();
    let exit = network.add_relay(Role { is_exit: true, offers_cgo: true, ..Role::default() }).unwrap();
    let mut near = Near::dial(&mut network, guard);
    near.create_ntor(guard);
    near.extend_v3(exit, ASK_CGO);
    let stream = near.begin("source-100.lab");
    assert_eq!(near.read_to_end(stream).0.len(), 100);

    let (mut network, [guard, middle, _]) = three_relays(seed());
    let facts = *network.facts(middle);
    let mut near = Near::dial(&mut network, guard);
    near.create_ntor(guard);
    let event = near.try_extend(&target(&facts), HandshakeType::NTOR_V3, &[0; 160]);
    assert_eq!(event, Event::Destroyed(DestroyReason::DESTROYED));
}

#[test]
fn a_relay_does_not_extend_to_itself_or_to_nobody() {
    let seed = seed();
    let refused = |change: &dyn Fn(Target) -> Target| {
        let (mut network, [guard, middle, _]) = three_relays(seed);
        let (guard_facts, facts) = (*network.facts(guard), *network.facts(middle));
        let mut near = Near::dial(&mut network, guard);
        near.create_ntor(guard);
        let target = change(Target { ids: guard_facts.ids, ..target(&facts) });
        near.try_extend(&target, HandshakeType::NTOR, &[0; 84])
    };
    for event in [
        refused(&|target| target),
        refused(&|target| Target { ipv4: None, ..target }),
        refused(&|target| Target { ids: Default::default(), ..target }),
    ] {
        assert!(matches!(event, Event::Destroyed(_)), "{event:?}");
    }
}

#[test]
fn a_next_relay_that_cannot_be_reached_ends_the_circuit() {
    let (mut network, [guard, middle, _]) = three_relays(seed());
    network.cut(middle);
    let facts = *network.facts(middle);
    let mut near = Near::dial(&mut network, guard);
    near.create_ntor(guard);
    let event = near.try_extend(&target(&facts), HandshakeType::NTOR, &[0; 84]);
    assert!(matches!(event, Event::Destroyed(_)), "{event:?}");
}

#[test]
fn a_relay_that_is_cut_off_takes_its_circuits_along() {
    let (mut network, [guard, middle, exit]) = three_relays(seed());
    let mut near = Near::dial(&mut network, guard);
    near.create_ntor(guard);
    near.extend_ntor(middle);
    near.extend_ntor(exit);
    near.network.cut(exit);
    // C tor: each relay passes DESTROY on, and not why.
    assert_eq!(near.next_event(), Event::Destroyed(DestroyReason::DESTROYED));
    near.network.cut(guard);
    assert_eq!(near.next_event(), Event::LinkGone);
}

#[test]
fn two_clients_share_a_link_between_relays() {
    let (mut network, [guard, middle, exit]) = three_relays(seed());
    for _ in 0..2 {
        let mut near = Near::dial(&mut network, guard);
        near.create_ntor(guard);
        near.extend_ntor(middle);
        near.extend_ntor(exit);
        near.begin("echo.lab");
    }
    assert_eq!(network.relay(middle).circuit_count(), 2);
}

#[test]
fn a_silent_network_stands_still() {
    let (mut network, [guard, ..]) = three_relays(seed());
    let mut near = Near::dial(&mut network, guard);
    near.create_ntor(guard);
    assert_eq!(near.event_within(Duration::from_secs(3600)), None);
}

/// The link that the first EXTEND2 asked for comes up when nobody wants it any more.
#[test]
fn a_circuit_that_was_truncated_while_it_grew_can_grow_elsewhere() {
    let (mut network, [guard, middle, exit]) = three_relays(seed());
    let slow = Weather { latency: Duration::from_secs(5), ..Weather::default() };
    network.set_weather_between(guard, middle, slow);
    let facts = *network.facts(middle);
    let mut near = Near::dial(&mut network, guard);
    near.create_ntor(guard);
    near.extend_unheard(&target(&facts), HandshakeType::NTOR, &[0; 84]);
    near.send(Command::TRUNCATE, None, &[0]);
    assert!(matches!(near.next_event(), Event::Message { command: Command::TRUNCATED, hop: 0, .. }));
    near.extend_ntor(exit);
    let stream = near.begin("echo.lab");
    assert_eq!(near.event_within(Duration::from_secs(60)), None);
    near.send(Command::DATA, Some(stream), b"still there");
    assert!(matches!(near.next_event(), Event::Message { command: Command::DATA, .. }));
}
