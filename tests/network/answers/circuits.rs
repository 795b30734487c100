//! Relays that misbehave on a circuit: the circuit falls, and all its streams with it.
//!
//! A stream that was not open yet is asked for again on another circuit, with all that its
//! program wrote; of one that was, the program is told that it was cut off. Only for what it did
//! on its own first hop is a guard left; else the circuit counts against it, as C tor has it.

use std::time::Duration;

use cepa::internal::client::Failure;
use cepa::internal::client::circuits::Phase;
use cepa::internal::client::junction::TunnelNo;
use cepa::internal::client::notices::Notice;
use cepa::lab::villain::Villain;

use super::super::client::connect;
use super::{MINUTE, Meeting, PAGE, Place, SECONDS, assert_served};

/// C tor: `SocksTimeout`.
const SOCKS_TIMEOUT: Duration = Duration::from_secs(120);

// --- at the guard ------------------------------------------------------------------------

/// C tor: a guard that answers with DESTROY lives, and is kept: it may be full. Nobody is
/// served, and it is not asked over and over.
#[test]
pub fn a_guard_that_destroys_every_circuit_is_kept_and_not_hurried() {
    let mut meeting = Meeting::of(Villain::EarlyDestroy, Place::Guard, false).ready();
    let told = meeting.fetch("first", 2 * SOCKS_TIMEOUT);
    assert_eq!(told.failure, Some(Failure::TimedOut));
    assert!(!meeting.is_down());
    assert_eq!(meeting.dials(), (1, 0));
    let attempts = meeting.count(meeting.villain.rsa, "pb_circ_attempts");
    assert!((10.0..=150.0).contains(&attempts), "{attempts} in two minutes");
    assert_eq!(meeting.count(meeting.villain.rsa, "pb_circ_successes"), 0.0);
}

/// C tor: `pathbias_measure_close_rate`, from so many circuits on as mean something.
#[test]
fn a_guard_that_destroys_every_circuit_is_named_in_time() {
    let mut meeting = Meeting::of(Villain::EarlyDestroy, Place::Guard, false).ready();
    for number in 0..8 {
        meeting.fetch(&format!("{number}"), 2 * SOCKS_TIMEOUT);
    }
    let guard = meeting.villain.rsa;
    let named = |notice: &Notice| matches!(notice, Notice::Guard(alarm) if alarm.guard == guard);
    assert!(meeting.shell.notices.iter().any(named), "{:?}", meeting.count(guard, "pb_circ_attempts"));
    // Each level once, not each circuit.
    assert!(meeting.shell.notices.len() <= 4, "{:?}", meeting.shell.notices);
}

/// What was open is cut off, and the program knows. What comes next gets another circuit over
/// the same guard: that it was the guard cannot be known.
fn breaks_what_it_touches(villain: Villain) {
    let mut meeting = Meeting::of(villain, Place::Guard, false).ready();
    let no = meeting.request(connect("source-200000.lab", "first"));
    let tunnel = meeting.tunnel_of(no);
    let told = meeting.outcome(no);
    assert_eq!((told.end, told.failure), (Some(false), None));
    assert!(told.is_open && told.read.len() < 10 * 498, "{}", told.read.len());
    assert!(meeting.circuit(tunnel).is_none());
    // Its link carries on, and what is small enough gets through.
    let small = (0..10).filter(|number| {
        let wish = connect("source-400.lab", &format!("{number}"));
        meeting.shell.serve(&mut meeting.network, wish, SECONDS).read.len() == 400
    });
    assert!(small.count() >= 5);
    assert_eq!((meeting.dials(), meeting.is_down()), ((1, 0), false));
    let count = |name| meeting.count(meeting.villain.rsa, name);
    assert!(count("pb_circ_successes") < count("pb_circ_attempts"));
}

#[test]
pub fn a_guard_that_drops_cells_breaks_what_it_touches() {
    breaks_what_it_touches(Villain::DropsCells);
}

#[test]
pub fn a_guard_that_replays_cells_breaks_what_it_touches() {
    breaks_what_it_touches(Villain::ReplaysCells);
}

#[test]
pub fn a_guard_that_tags_cells_breaks_what_it_touches() {
    breaks_what_it_touches(Villain::TagsCells);
}

/// A guard is left for it; beyond the guard, another path is taken and the guard keeps its rank.
fn is_gone_round(villain: Villain) {
    let mut meeting = Meeting::of(villain, Place::Guard, false).ready();
    assert_served(&meeting.fetch("first", SECONDS));
    assert!(meeting.is_down() && !meeting.uses_villain(0));
    assert_eq!(meeting.count(meeting.villain.rsa, "pb_circ_attempts"), 0.0);

    let mut meeting = Meeting::of(villain, Place::Middle, false).ready();
    assert_served(&meeting.fetch("first", SECONDS));
    let (_, used) = meeting.shell.client.pool().iter().find(|(_, circuit)| circuit.is_used()).unwrap();
    let guard = used.path.hops[0].ids.rsa.unwrap();
    assert!(!meeting.shell.client.pool().guards.is_down(&guard));
    assert!(meeting.count(guard, "pb_circ_attempts") > meeting.count(guard, "pb_circ_successes"));
    meeting.wait(MINUTE);
    let is_built = |circuit: &super::Circuit| circuit.phase == Phase::Open;
    let over_it = |circuit: &super::Circuit| circuit.path.hops[1].ids.rsa == Some(meeting.villain.rsa);
    assert!(!meeting.shell.client.pool().iter().any(|(_, circuit)| is_built(circuit) && over_it(circuit)));
}

#[test]
pub fn a_relay_that_has_not_the_keys_is_gone_round() {
    is_gone_round(Villain::BadCreatedAuth);
}

#[test]
pub fn a_relay_that_lies_of_a_length_is_gone_round() {
    is_gone_round(Villain::CreatedTooLong);
}

// --- at the exit -------------------------------------------------------------------------

/// It falls before its stream is open: that is asked for elsewhere, and the program sees
/// nothing of it. That it could not be used counts.
pub(super) fn is_tried_elsewhere(villain: Villain) {
    let mut meeting = Meeting::of(villain, Place::Exit, false).ready();
    let no = meeting.request(connect(PAGE, "first"));
    let first = meeting.tunnel_of(no);
    assert_eq!(meeting.circuit(first).unwrap().exit(), Some(meeting.villain.rsa));
    let guard = meeting.guard_of(first);
    let told = meeting.outcome(no);
    assert_served(&told);
    assert!(meeting.circuit(first).is_none());
    assert!(meeting.count(guard, "pb_unusable_circuits") >= 1.0);
    assert!(!meeting.shell.client.pool().guards.is_down(&guard));
}

#[test]
pub fn a_message_that_nobody_sealed_fells_its_circuit() {
    is_tried_elsewhere(Villain::WrongDigest);
}

#[test]
pub fn a_command_that_nobody_defined_fells_its_circuit() {
    is_tried_elsewhere(Villain::GarbageCommand);
}

#[test]
pub fn padding_that_nobody_asked_for_fells_its_circuit() {
    is_tried_elsewhere(Villain::DropFlood);
}

#[test]
pub fn a_circuit_that_is_cut_is_over() {
    is_tried_elsewhere(Villain::TruncatedUnasked);
}

#[test]
pub fn an_extension_that_nobody_asked_for_fells_its_circuit() {
    is_tried_elsewhere(Villain::ExtendedUnasked);
}

#[test]
pub fn a_sendme_for_nothing_fells_its_circuit() {
    is_tried_elsewhere(Villain::SendmeFlood);
}

/// It falls when its stream is open, and what a program has done with half an answer nobody else
/// can know: it is told that it was cut off. The circuit had carried a stream, so nothing counts
/// against the guard.
pub(super) fn is_cut_off(villain: Villain, host: &str, read: core::ops::Range<usize>) {
    let mut meeting = Meeting::of(villain, Place::Exit, false).ready();
    let no = meeting.request(connect(host, "first"));
    let tunnel = met(&mut meeting, no);
    let guard = meeting.guard_of(tunnel);
    let told = meeting.outcome(no);
    assert_eq!((told.is_open, told.end, told.failure), (true, Some(false), None));
    assert!(read.contains(&told.read.len()), "{}", told.read.len());
    is_over(&mut meeting, tunnel, guard);
}

/// The tunnel of a request, which ends at the villain.
pub(super) fn met(meeting: &mut Meeting, no: super::RequestNo) -> TunnelNo {
    let tunnel = meeting.tunnel_of(no);
    assert_eq!(meeting.circuit(tunnel).unwrap().exit(), Some(meeting.villain.rsa));
    tunnel
}

/// A circuit is gone that had served, and the guard is as good as before.
pub(super) fn is_over(meeting: &mut Meeting, tunnel: TunnelNo, guard: super::RsaId) {
    meeting.wait(Duration::from_millis(200));
    assert!(meeting.circuit(tunnel).is_none());
    assert_eq!(meeting.count(guard, "pb_use_successes"), 1.0);
    assert_eq!(meeting.count(guard, "pb_unusable_circuits"), 0.0);
    assert!(!meeting.shell.client.pool().guards.is_down(&guard));
}

fn is_not_acknowledged(villain: Villain) {
    let mut meeting = Meeting::of(villain, Place::Exit, false).ready();
    let no = meeting.request(connect("sink.lab", "first"));
    let tunnel = met(&mut meeting, no);
    let guard = meeting.guard_of(tunnel);
    // A SENDME is due for a hundred cells.
    for _ in 0..50 {
        meeting.shell.write(&mut meeting.network, no, &[1; 4980]);
        meeting.wait(Duration::from_millis(100));
    }
    assert_eq!(meeting.shell.requests[&no].end, Some(false));
    is_over(&mut meeting, tunnel, guard);
}

#[test]
pub fn a_sendme_without_proof_fells_its_circuit() {
    is_not_acknowledged(Villain::SendmeWithoutTag);
}

#[test]
pub fn a_sendme_with_a_wrong_proof_fells_its_circuit() {
    is_not_acknowledged(Villain::SendmeWrongTag);
}

/// A program that does not read makes nobody hold more than a window.
#[test]
pub fn a_window_that_is_overrun_fells_its_circuit() {
    let mut meeting = Meeting::of(Villain::WindowOverrun, Place::Exit, false).ready();
    meeting.shell.is_reading = false;
    let no = meeting.request(connect("source-600000.lab", "first"));
    let tunnel = met(&mut meeting, no);
    let guard = meeting.guard_of(tunnel);
    let told = meeting.outcome(no);
    assert_eq!((told.read.len(), told.end), (500 * 498, Some(false)));
    is_over(&mut meeting, tunnel, guard);
}
