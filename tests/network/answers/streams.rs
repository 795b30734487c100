//! Exits that misbehave on a stream. What only marks a circuit fells it; what is a lie about the
//! world falls with its stream.

use cepa::internal::base::time::Tick;
use cepa::internal::client::events::{Event, Mask, StreamStatus};
use cepa::internal::client::{Failure, Found};
use cepa::internal::wire::relay_msg::EndReason;
use cepa::lab::network::Role;
use cepa::lab::villain::{STALL_AFTER, Villain};

use super::super::client::{Shell, connect, directory_network, honest, resolve, setup_with};
use super::super::seed;
use super::circuits::{is_cut_off, is_over, is_tried_elsewhere, met};
use super::{MINUTE, Meeting, PAGE, PAGE_LEN, Place, SECONDS, SETUP, assert_served};

#[test]
pub fn data_before_connected_is_tried_elsewhere() {
    is_tried_elsewhere(Villain::DataBeforeConnected);
}

/// The program has all, and an end. Then the circuit falls.
fn spoils_nothing(villain: Villain) {
    let mut meeting = Meeting::of(villain, Place::Exit, false).ready();
    let no = meeting.request(connect(PAGE, "first"));
    let tunnel = met(&mut meeting, no);
    let guard = meeting.guard_of(tunnel);
    assert_served(&meeting.outcome(no));
    is_over(&mut meeting, tunnel, guard);
}

#[test]
pub fn data_after_the_end_fells_the_circuit_and_spoils_nothing() {
    spoils_nothing(Villain::DataAfterEnd);
}

#[test]
pub fn a_second_end_fells_the_circuit_and_spoils_nothing() {
    spoils_nothing(Villain::EndTwice);
}

#[test]
pub fn a_stream_that_is_opened_twice_is_cut_off() {
    is_cut_off(Villain::ConnectedTwice, PAGE, 0..1);
}

#[test]
pub fn data_of_no_bytes_cuts_its_stream_off() {
    is_cut_off(Villain::EmptyData, PAGE, 0..1);
}

#[test]
pub fn an_end_without_a_reason_is_no_clean_end() {
    is_cut_off(Villain::EndWithoutReason, PAGE, PAGE_LEN..PAGE_LEN + 1);
}

/// To the client it is as if the server had nothing to say. The program knows better, and its
/// going ends the matter.
#[test]
pub fn a_stream_that_stalls_is_its_programs_to_give_up() {
    let mut meeting = Meeting::of(Villain::StallMidStream, Place::Exit, false).ready();
    let no = meeting.request(connect(PAGE, "first"));
    let tunnel = met(&mut meeting, no);
    meeting.wait(5 * MINUTE);
    let told = meeting.shell.requests[&no].clone();
    assert_eq!((told.read.len(), told.is_over()), (usize::try_from(STALL_AFTER).unwrap() * 498, false));
    assert_eq!(meeting.circuit(tunnel).unwrap().streams, 1);
    meeting.shell.cancel(&mut meeting.network, no);
    assert_eq!(meeting.circuit(tunnel).unwrap().streams, 0);
    assert_eq!(meeting.shell.client.streams().len(), 0);
    // Whoever may not share a circuit with it is not held up.
    meeting.shell.new_identity(&mut meeting.network);
    let users = (0..4).map(|user| format!("{user}"));
    let served = users.filter(|user| meeting.fetch(user, SECONDS).end == Some(true)).count();
    assert!(served >= 1);
}

/// The exit alone can have said it: it is asked no more, and nothing counts against the guard.
#[test]
pub fn a_private_address_is_believed_of_no_exit() {
    let mut meeting = Meeting::of(Villain::ConnectedPrivate, Place::Exit, false).ready();
    let no = meeting.request(connect(PAGE, "first"));
    let tunnel = met(&mut meeting, no);
    let guard = meeting.guard_of(tunnel);
    assert_served(&meeting.outcome(no));
    let used = meeting.shell.client.pool().iter().filter(|(_, circuit)| circuit.is_used());
    assert!({ used }.any(|(_, circuit)| circuit.exit() != Some(meeting.villain.rsa)));
    meeting.wait(15 * MINUTE);
    assert_eq!(meeting.count(guard, "pb_unusable_circuits"), 0.0);
}

#[test]
pub fn a_private_answer_is_believed_of_no_exit() {
    let mut meeting = Meeting::of(Villain::ResolvedPrivate, Place::Exit, true).ready();
    let no = meeting.request(resolve("echo.lab"));
    let tunnel = met(&mut meeting, no);
    let guard = meeting.guard_of(tunnel);
    let told = meeting.outcome(no);
    let Some(Found::Ip(ip)) = told.found else { panic!("{told:?}") };
    assert_eq!(ip.uncover().to_string(), "198.51.100.80");
    meeting.wait(15 * MINUTE);
    assert_eq!(meeting.count(guard, "pb_unusable_circuits"), 0.0);
}

/// If three say so, that is where the name leads. C tor: takes the first for it.
#[test]
pub fn what_is_private_by_every_exit_is_given_up() {
    for (villain, wish) in
        [(Villain::ConnectedPrivate, connect(PAGE, "first")), (Villain::ResolvedPrivate, resolve("echo.lab"))]
    {
        let role = |number: usize| Role { villain: (number > 6).then_some(villain), ..honest(number) };
        let (mut network, _, cache) = directory_network(seed(), role);
        let mut shell = Shell::start(&mut network, setup_with(&cache, SETUP));
        assert!(shell.bootstrap(&mut network));
        shell.client.subscribe(Mask::STREAMS);
        let begun: Tick = network.now().tick;
        let told = shell.serve(&mut network, wish, MINUTE);
        let is_asked = |event: &&Event| matches!(event, Event::Stream(_, StreamStatus::Sent));
        assert_eq!(shell.events.iter().filter(is_asked).count(), 3, "{villain:?}");
        assert_eq!(told.failure, Some(Failure::Exit(EndReason::TORPROTOCOL)), "{villain:?}");
        assert!(told.found.is_none() && network.now().tick.since(begun) < SECONDS);
    }
}

#[test]
pub fn the_first_answer_counts_and_more_fell_the_circuit() {
    let mut meeting = Meeting::of(Villain::ResolvedFlood, Place::Exit, true).ready();
    let no = meeting.request(resolve("echo.lab"));
    let tunnel = met(&mut meeting, no);
    let guard = meeting.guard_of(tunnel);
    assert!(meeting.outcome(no).found.is_some());
    is_over(&mut meeting, tunnel, guard);
}
