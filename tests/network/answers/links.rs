//! Guards that misbehave on their links, and so before anything is proved of their circuits.
//!
//! The link falls, with an error that has a name, and all that waits on it goes over the next
//! guard. The guard has failed, and is left alone for ten minutes.

use std::time::Duration;

use cepa::internal::crypto::cert::Error as CertError;
use cepa::internal::link::Error;
use cepa::internal::wire::cell::Command;
use cepa::lab::network::{Network, Role};
use cepa::lab::villain::Villain;

use super::super::driver::{Ask, Driver};
use super::{MINUTE, Meeting, Place, SECONDS, assert_served};

/// C tor: how long a handshake of a link may take, and what was begun meanwhile to be made up for.
const HANDSHAKE: Duration = Duration::from_secs(70);

/// How long a circuit may take of which nobody knows how long it should, and what was begun
/// meanwhile to be made up for.
const CIRCUIT: Duration = Duration::from_secs(80);

/// The link falls with that error, before a circuit is made.
fn is_left(villain: Villain, error: Error) {
    falls(villain, error, SECONDS, 0.0);
}

/// The same, once the handshake has had its time.
fn is_left_late(villain: Villain) {
    falls(villain, Error::HandshakeTooSlow, HANDSHAKE, 0.0);
}

fn falls(villain: Villain, error: Error, limit: Duration, attempts: f64) {
    assert_eq!(named(villain), Some(error));
    let mut meeting = Meeting::of(villain, Place::Guard, false).ready();
    assert_served(&meeting.fetch("first", limit));
    let made = meeting.count(meeting.villain.rsa, "pb_circ_attempts");
    assert!(meeting.is_down() && made <= attempts, "{made}");
    // It is not tried again, nor held, nor anything more counted.
    for _ in 0..8 {
        meeting.wait(MINUTE);
        assert_served(&meeting.fetch("first", SECONDS));
    }
    assert_eq!(meeting.dials(), (1, 1));
    assert!(meeting.is_down() && !meeting.uses_villain(0));
    assert_eq!(meeting.count(meeting.villain.rsa, "pb_circ_attempts"), made);
}

/// What the link itself says of it.
fn named(villain: Villain) -> Option<Error> {
    let mut network = Network::new(1);
    let relays = [Some(villain), None].map(|villain| {
        let role = Role { villain, ..Role::default() };
        (network.add_relay(role).unwrap(), Ask::Ntor)
    });
    let mut driver = Driver::dial(&mut network, &relays, 1);
    driver.run_for(&mut network, HANDSHAKE);
    driver.link_error
}

#[test]
pub fn a_guard_that_proves_another_identity_is_left() {
    is_left(Villain::WrongIdentity, Error::WrongRsaIdentity);
}

#[test]
pub fn a_guard_with_certificates_of_yesterday_is_left() {
    is_left(Villain::ExpiredCertificates, Error::Certificate(CertError::Expired));
}

#[test]
pub fn a_guard_that_is_challenged_before_it_is_proved_is_left() {
    is_left(Villain::CertsAfterChallenge, Error::OutOfTurn(Command::AUTH_CHALLENGE));
}

#[test]
pub fn a_guard_that_leaves_out_a_step_is_left() {
    is_left(Villain::NoAuthChallenge, Error::OutOfTurn(Command::NETINFO));
}

#[test]
pub fn a_guard_that_says_a_step_twice_is_left() {
    is_left(Villain::TwoNetinfos, Error::OutOfTurn(Command::NETINFO));
}

#[test]
pub fn a_guard_of_another_age_is_left() {
    is_left(Villain::NoCommonVersion, Error::NoCommonVersion);
}

#[test]
pub fn a_guard_that_pads_a_handshake_is_left() {
    is_left(Villain::PaddingInHandshake, Error::OutOfTurn(Command::PADDING));
}

#[test]
pub fn a_guard_whose_handshake_has_no_end_is_left() {
    is_left(Villain::EndlessVpadding, Error::HandshakeTooLong);
}

#[test]
pub fn a_guard_that_says_nothing_is_left_after_a_minute() {
    is_left_late(Villain::StallBeforeVersions);
}

#[test]
pub fn a_guard_that_falls_silent_unproved_is_left_after_a_minute() {
    is_left_late(Villain::StallBeforeCerts);
}

#[test]
pub fn a_guard_that_falls_silent_proved_is_left_after_a_minute() {
    is_left_late(Villain::StallBeforeNetinfo);
}

#[test]
pub fn a_guard_that_trickles_is_left_after_a_minute() {
    is_left_late(Villain::Trickle);
}

#[test]
pub fn a_guard_that_speaks_of_no_circuit_is_left() {
    is_left(Villain::UnknownCircuit, Error::UnknownCircuit);
}

#[test]
pub fn a_guard_that_opens_a_circuit_to_us_is_left() {
    is_left(Villain::CreateToClient, Error::CreateFromRelay);
}

#[test]
pub fn a_guard_that_tells_us_how_to_pad_is_left() {
    is_left(Villain::PaddingNegotiateToClient, Error::PaddingNegotiateFromRelay);
}

/// Its link is open, and stays: only of circuits it says nothing. C tor: as long as circuits have
/// that nobody has timed.
#[test]
pub fn a_guard_that_answers_no_circuit_is_left_after_a_minute() {
    let mut meeting = Meeting::of(Villain::SwallowsCircuits, Place::Guard, false).ready();
    assert_served(&meeting.fetch("first", CIRCUIT));
    assert!(meeting.is_down());
    for _ in 0..8 {
        meeting.wait(MINUTE);
        assert_served(&meeting.fetch("first", SECONDS));
    }
    assert!(meeting.is_down() && !meeting.uses_villain(0));
    assert_eq!(meeting.dials().0, 1);
}

/// Its circuits have their first hop by then, and count. It is left all the same, or the next
/// would fare as they did.
#[test]
pub fn a_guard_that_marks_a_circuit_is_left() {
    falls(Villain::RelayEarlyToClient, Error::RelayEarlyFromRelay, SECONDS, 4.0);
}
