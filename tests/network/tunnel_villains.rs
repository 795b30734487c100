//! What a tunnel makes of every villain that concerns circuits and streams: which error it
//! names, and what falls.

use std::time::Duration;

use cepa::internal::base::error::{Blame, Scope};
use cepa::internal::circuit::hop::{HopNo, Leg, StreamAt};
use cepa::internal::circuit::{Ended, Error, Output};
use cepa::internal::crypto::Error as CryptoError;
use cepa::internal::link;
use cepa::internal::stream::Error as StreamError;
use cepa::internal::wire;
use cepa::internal::wire::cell_msg::DestroyReason;
use cepa::internal::wire::relay::Command;
use cepa::internal::wire::relay_msg::BeginFlags;
use cepa::lab::network::{Network, RelayNo, Role};
use cepa::lab::villain::{STALL_AFTER, Villain};

use super::driver::{Ask, Driver};
use super::seed;

const EXIT: HopNo = HopNo(2);

/// What a villain comes to.
enum Falls {
    /// The circuit, with this error.
    Circuit(Error),
    /// One stream, with this error.
    Stream(StreamError),
    /// The link, with this error.
    Link(link::Error),
    /// Nothing: it is for those above to lose patience.
    Nothing,
    /// It misbehaves elsewhere: in the link handshake, or as a directory.
    Elsewhere,
}

/// Where the villain stands, and what falls.
fn expected(villain: Villain) -> (usize, Falls) {
    use Villain as V;
    let circuit = |error| (2, Falls::Circuit(error));
    let stream = |error| (2, Falls::Circuit(Error::Stream(error)));
    match villain {
        V::EarlyDestroy => (0, Falls::Circuit(Error::Destroyed(DestroyReason::NONE))),
        V::RelayEarlyToClient => (0, Falls::Link(link::Error::RelayEarlyFromRelay)),
        V::DropsCells | V::ReplaysCells | V::TagsCells => (0, Falls::Circuit(Error::Unrecognized)),
        V::WrongDigest => circuit(Error::Unrecognized),
        V::BadCreatedAuth => (1, Falls::Circuit(Error::Handshake(CryptoError::WrongAuthenticator))),
        V::CreatedTooLong => (0, Falls::Circuit(Error::Wire(wire::Error::Truncated))),
        V::GarbageCommand => circuit(Error::UnknownCommand(Command(99))),
        V::DataBeforeConnected => stream(StreamError::DataBeforeConnected),
        V::DataAfterEnd | V::EndTwice | V::ResolvedFlood => stream(StreamError::UnknownStream),
        V::ConnectedTwice => stream(StreamError::ConnectedTwice),
        V::ConnectedPrivate | V::ResolvedPrivate => (2, Falls::Stream(StreamError::AddressRefused)),
        V::EndWithoutReason => stream(StreamError::Wire(wire::Error::EndWithoutReason)),
        V::EmptyData => stream(StreamError::EmptyData),
        V::DropFlood => circuit(Error::Unexpected(Command::DROP)),
        V::SendmeWithoutTag => stream(StreamError::SendmeWithoutTag),
        V::SendmeWrongTag => stream(StreamError::SendmeTagWrong),
        V::SendmeFlood => stream(StreamError::SendmeUnexpected),
        V::WindowOverrun => stream(StreamError::WindowOverrun),
        V::StallMidStream => (2, Falls::Nothing),
        V::TruncatedUnasked => circuit(Error::Truncated(DestroyReason(9))),
        V::ExtendedUnasked => circuit(Error::Unexpected(Command::EXTENDED2)),
        V::WrongIdentity
        | V::ExpiredCertificates
        | V::CertsAfterChallenge
        | V::NoAuthChallenge
        | V::TwoNetinfos
        | V::NoCommonVersion
        | V::PaddingInHandshake
        | V::EndlessVpadding
        | V::StallBeforeVersions
        | V::StallBeforeCerts
        | V::StallBeforeNetinfo
        | V::UnknownCircuit
        | V::CreateToClient
        | V::PaddingNegotiateToClient
        | V::SwallowsCircuits
        | V::Trickle
        | V::EndlessDirectory
        | V::DecompressionBomb
        | V::TruncatedConsensus
        | V::ConsensusSwap
        | V::FalseDiff
        | V::FalseCertificates
        | V::NotModified
        | V::OldConsensus => (0, Falls::Elsewhere),
    }
}

#[test]
fn every_villain_of_circuits_and_streams_is_named() {
    for (villain, name, _) in Villain::all().filter(|(villain, ..)| !matches!(expected(*villain).1, Falls::Elsewhere)) {
        println!("{name}");
        is_named(villain);
    }
}

/// A tunnel names what it does, and lets fall what must. Nothing, of one that misbehaves elsewhere.
pub fn is_named(villain: Villain) {
    let (place, falls) = expected(villain);
    if !matches!(falls, Falls::Elsewhere) {
        meet(villain, place, &falls, seed());
    }
}

fn meet(villain: Villain, place: usize, falls: &Falls, seed: u64) {
    let (mut network, relays) = network(villain, place, seed);
    let path = relays.map(|relay| (relay, Ask::Ntor));
    let mut driver = Driver::dial(&mut network, &path, seed);
    driver.wait(&mut network, |driver| driver.tunnel.hop_count() == 3 || driver.tunnel.failure().is_some());
    driver.events.clear();
    // A window that is opened as fast as it is used cannot be overrun.
    driver.pace = (villain == Villain::WindowOverrun).then_some(10_000);
    let at = (driver.tunnel.failure().is_none()).then(|| provoke(&mut driver, villain));
    match falls {
        Falls::Circuit(error) => {
            if matches!(villain, Villain::SendmeWithoutTag | Villain::SendmeWrongTag) {
                // A SENDME is due for a hundred cells, so there must be that much to send.
                driver.wait(&mut network, |driver| {
                    let _ = at.map(|at| driver.tunnel.handle_write(at, &[1; 4980]));
                    driver.tunnel.failure().is_some()
                });
            }
            assert_eq!(driver.closed(&mut network), *error, "{villain:?}");
            assert_eq!(error.scope(), Scope::Circuit);
            let is_told = error.blame() == Blame::Peer || matches!(error, Error::Truncated(_));
            falls_with_its_streams(&mut driver, &mut network, at, *error);
            assert_eq!(error.destroy_reason().is_some(), is_told, "{villain:?}");
            // The relays hear of it, and forget the circuit.
            assert!(relays.iter().all(|relay| network.relay(*relay).circuit_count() == 0), "{villain:?}");
        }
        Falls::Link(error) => {
            assert_eq!(driver.closed(&mut network), Error::LinkClosed);
            assert_eq!(driver.link_error, Some(*error));
        }
        Falls::Stream(error) => {
            let event = driver.event(&mut network);
            let Output::Ended { stream, why: Ended::Refused(why), .. } = event else {
                panic!("{villain:?}: {event:?}")
            };
            assert_eq!((Some(stream), why, why.scope()), (at, *error, Scope::Stream));
            driver.run_for(&mut network, Duration::from_secs(2));
            assert_eq!(driver.tunnel.failure(), None, "{villain:?}");
        }
        Falls::Nothing => {
            driver.run_for(&mut network, Duration::from_secs(60));
            assert_eq!(driver.tunnel.failure(), None);
            let read = at.and_then(|at| driver.read.get(&at)).map_or(0, Vec::len);
            assert_eq!(read, usize::try_from(STALL_AFTER).unwrap() * 498);
        }
        Falls::Elsewhere => {}
    }
}

/// Each stream ends once, with the circuit or before it; then nothing comes.
fn falls_with_its_streams(driver: &mut Driver, network: &mut Network, at: Option<StreamAt>, error: Error) {
    driver.run_for(network, Duration::from_secs(2));
    let (mut ends, mut closed) = (0, 0);
    for event in &driver.events {
        assert_eq!(closed, 0, "nothing after the end: {event:?}");
        match event {
            Output::Ended { stream, why, .. } => {
                assert!(Some(*stream) == at && (ends == 0), "{why:?}");
                ends += 1;
            }
            Output::Resolved { stream, .. } if Some(*stream) == at => ends += 1,
            Output::Closed { error: why, leg: Leg(0), .. } => {
                assert_eq!(*why, error);
                closed += 1;
            }
            _ => {}
        }
    }
    // A circuit that fell before there was a stream was cleared above.
    assert_eq!(ends, i32::from(at.is_some()), "{error:?}");
    assert_eq!(closed, i32::from(at.is_some()), "{error:?}");
}

/// Does what makes the villain show.
fn provoke(driver: &mut Driver, villain: Villain) -> StreamAt {
    use Villain as V;
    let host = match villain {
        V::ResolvedPrivate | V::ResolvedFlood => {
            return driver.tunnel.resolve(EXIT, "echo.lab", &mut driver.entropy).unwrap();
        }
        V::SendmeWithoutTag | V::SendmeWrongTag => "sink.lab",
        V::WindowOverrun => "source-600000.lab",
        V::DropsCells | V::ReplaysCells | V::TagsCells => "source-20000.lab",
        _ => "source-9999.lab",
    };
    driver.tunnel.begin(EXIT, host, 80, BeginFlags::default(), true, &mut driver.entropy).unwrap()
}

/// A guard, a middle and an exit; the one of that number is the villain.
fn network(villain: Villain, number: usize, seed: u64) -> (Network, [RelayNo; 3]) {
    let mut network = Network::new(seed);
    let relays = [0, 1, 2].map(|relay| {
        let villain = (relay == number).then_some(villain);
        network.add_relay(Role { is_exit: relay != 1, villain, ..Role::default() }).unwrap()
    });
    (network, relays)
}
