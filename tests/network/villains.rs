//! Every villain is seen to misbehave as its name says. What a client must do about it is
//! for the client's tests.

use std::time::Duration;

use cepa::internal::base::codec::Writer;
use cepa::internal::base::text;
use cepa::internal::crypto::Error as CryptoError;
use cepa::internal::crypto::cert::Error as CertError;
use cepa::internal::crypto::ntor;
use cepa::internal::directory;
use cepa::internal::directory::certs;
use cepa::internal::directory::diff::{Diff, Patch};
use cepa::internal::link::Error;
use cepa::internal::wire::cell::Command as CellCommand;
use cepa::internal::wire::cell_msg::{Created2, DestroyReason, HandshakeType};
use cepa::internal::wire::relay::{Command, StreamId};
use cepa::internal::wire::relay_msg::{Connected, End, Resolve};
use cepa::lab::authority::{Spec, diff};
use cepa::lab::cache::CONSENSUS;
use cepa::lab::network::{BEGINNING, Network, RelayNo, Role};
use cepa::lab::seed::SeededEntropy;
use cepa::lab::villain::{STALL_AFTER, Villain};
use miniz_oxide::inflate::TINFLStatus;

use super::driver::{Ask, Driver};
use super::near::{Event, Near, ntor_start, target};
use super::seed;

#[test]
fn every_villain_shows() {
    let seed = seed();
    for (villain, name, _) in Villain::all() {
        println!("{name}");
        show(villain, seed);
    }
}

fn show(villain: Villain, seed: u64) {
    use Villain as V;
    match villain {
        V::WrongIdentity => fails(villain, seed, Error::WrongRsaIdentity),
        V::ExpiredCertificates => fails(villain, seed, Error::Certificate(CertError::Expired)),
        V::CertsAfterChallenge => fails(villain, seed, Error::OutOfTurn(CellCommand::AUTH_CHALLENGE)),
        V::NoAuthChallenge | V::TwoNetinfos => fails(villain, seed, Error::OutOfTurn(CellCommand::NETINFO)),
        V::NoCommonVersion => fails(villain, seed, Error::NoCommonVersion),
        V::PaddingInHandshake => fails(villain, seed, Error::OutOfTurn(CellCommand::PADDING)),
        V::EndlessVpadding => fails(villain, seed, Error::HandshakeTooLong),
        V::StallBeforeVersions | V::StallBeforeCerts | V::StallBeforeNetinfo => stalls(villain, seed),
        V::UnknownCircuit => fails(villain, seed, Error::UnknownCircuit),
        V::CreateToClient => fails(villain, seed, Error::CreateFromRelay),
        V::PaddingNegotiateToClient => fails(villain, seed, Error::PaddingNegotiateFromRelay),
        V::SwallowsCircuits => {
            let (mut network, relays) = network(villain, 0, seed);
            let mut driver = Driver::dial(&mut network, &[(relays[0], Ask::Ntor)], seed);
            driver.run_for(&mut network, Duration::from_secs(20));
            assert!(driver.link_error.is_none() && driver.tunnel.hop_count() == 0);
        }
        V::RelayEarlyToClient => {
            let (mut network, relays) = network(villain, 0, seed);
            let mut near = Near::dial(&mut network, relays[0]);
            near.create_ntor(relays[0]);
            near.begin_unheard("echo.lab", 80);
            assert_eq!(near.link_failure(), Error::RelayEarlyFromRelay);
        }
        V::Trickle => {
            let (mut network, relays) = network(villain, 0, seed);
            assert_eq!(Near::connect(&mut network, relays[0]).link_failure(), Error::HandshakeTooSlow);
            // It was never silent for long.
            assert!(network.carried() > 30 * 4, "{}", network.carried());
        }
        V::EndlessDirectory
        | V::DecompressionBomb
        | V::TruncatedConsensus
        | V::ConsensusSwap
        | V::FalseDiff
        | V::FalseCertificates
        | V::NotModified
        | V::OldConsensus => {
            show_directory(villain, seed);
        }
        V::EarlyDestroy => {
            let (mut network, relays) = network(villain, 0, seed);
            let mut near = Near::dial(&mut network, relays[0]);
            near.create_ntor(relays[0]);
            assert_eq!(near.next_event(), Event::Destroyed(DestroyReason::NONE));
        }
        V::DropsCells | V::ReplaysCells | V::TagsCells => cells_come_otherwise(villain, seed),
        V::WrongDigest => noise_comes(villain, 2, seed),
        V::BadCreatedAuth => {
            bad_auth(villain, seed);
            bad_fast_auth(villain, seed);
        }
        V::CreatedTooLong => {
            let (mut network, relays) = network(villain, 0, seed);
            let facts = *network.facts(relays[0]);
            let mut near = Near::dial(&mut network, relays[0]);
            let (_, onionskin) = ntor_start(&mut SeededEntropy::new(seed, "skin"), &facts);
            assert!(Created2::parse(&near.try_create2(HandshakeType::NTOR, &onionskin)).is_err());
        }
        _ => show_messages(villain, seed),
    }
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

fn fails(villain: Villain, seed: u64, error: Error) {
    let (mut network, relays) = network(villain, 0, seed);
    assert_eq!(Near::connect(&mut network, relays[0]).link_failure(), error, "{villain:?}");
}

/// Each of them falls silent later than the one before: what it has said shows in the bytes.
fn stalls(villain: Villain, seed: u64) {
    let (mut network, relays) = network(villain, 0, seed);
    let mut near = Near::connect(&mut network, relays[0]);
    assert_eq!(near.link_failure(), Error::HandshakeTooSlow, "{villain:?}");
    // VERSIONS is of at most 13 bytes each way; CERTS is of more than 600.
    let expected = match villain {
        Villain::StallBeforeVersions => 0..14,
        Villain::StallBeforeCerts => 14..60,
        _ => 600..2000,
    };
    assert!(expected.contains(&near.network.carried()), "{villain:?}: {}", near.network.carried());
}

/// Of forty relay cells every tenth is missing, there twice, or there and no good; what comes
/// behind it is noise in each case.
fn cells_come_otherwise(villain: Villain, seed: u64) {
    let (mut network, relays) = network(villain, 0, seed);
    let mut near = circuit(&mut network, relays);
    // CONNECTED, 37 DATA and END; two EXTENDED2 came before.
    near.begin_unheard("source-18000.lab", 80);
    let (mut good, mut noise) = (0, 0);
    while let Some(event) = near.event_within(Duration::from_secs(20)) {
        match event {
            Event::Noise => noise += 1,
            Event::Message { .. } => good += 1,
            other => panic!("{villain:?}: {other:?}"),
        }
    }
    let expected = match villain {
        Villain::DropsCells => (7, 28),
        Villain::ReplaysCells => (8, 35),
        _ => (7, 32),
    };
    assert_eq!((good, noise), expected, "{villain:?}");
}

/// CREATED_FAST without the proof that both have the same keys.
fn bad_fast_auth(villain: Villain, seed: u64) {
    let (mut network, relays) = network(villain, 0, seed);
    let mut near = Near::dial(&mut network, relays[0]);
    assert!(!near.try_create_fast());
}

/// It is bounded, or a test would hold all that a source has.
#[test]
fn a_villain_that_overruns_windows_stops_in_the_end() {
    let (mut network, relays) = network(Villain::WindowOverrun, 2, seed());
    let mut near = circuit(&mut network, relays);
    near.begin_unheard("source-2000000000.lab", 80);
    let mut data = 0;
    while near.event_within(Duration::from_secs(20)).is_some() {
        data += 1;
    }
    assert!((1001..=4001).contains(&data), "{data}");
}

/// A circuit on which a cell comes that no hop recognizes.
fn noise_comes(villain: Villain, number: usize, seed: u64) {
    let (mut network, relays) = network(villain, number, seed);
    let mut near = circuit(&mut network, relays);
    near.begin_unheard("source-20000.lab", 80);
    let mut data = 0;
    loop {
        match near.next_event() {
            Event::Noise => break,
            Event::Message { command: Command::DATA, .. } => data += 1,
            Event::Message { .. } => {}
            other => panic!("{villain:?}: {other:?}"),
        }
    }
    // Ten relay cells: two EXTENDED2 came before.
    assert!(data <= 8, "{villain:?}: {data}");
}

fn bad_auth(villain: Villain, seed: u64) {
    let (mut network, relays) = network(villain, 1, seed);
    let facts = *network.facts(relays[1]);
    let mut near = Near::dial(&mut network, relays[0]);
    near.create_ntor(relays[0]);
    let key = ntor::RelayKey { id: facts.rsa, onion_key: facts.onion_key };
    let (client, onionskin) = ntor::Client::start(&mut SeededEntropy::new(seed, "skin"), key).unwrap();
    let event = near.try_extend(&target(&facts), HandshakeType::NTOR, &onionskin);
    let Event::Message { command: Command::EXTENDED2, body, .. } = event else { panic!("{event:?}") };
    let answer = Created2::parse(&body).unwrap();
    assert_eq!(client.finish(answer.data).err(), Some(CryptoError::WrongAuthenticator));
}

fn circuit<'n>(network: &'n mut Network, relays: [RelayNo; 3]) -> Near<'n> {
    let mut near = Near::dial(network, relays[0]);
    near.create_ntor(relays[0]);
    near.extend_ntor(relays[1]);
    near.extend_ntor(relays[2]);
    near
}

fn show_directory(villain: Villain, seed: u64) {
    let (mut network, relays) = network(villain, 0, seed);
    let cache = network.open_directory(Spec::new(seed, BEGINNING)).unwrap();
    let round = cache.authorities().round(BEGINNING);
    let honest = cache.authorities().consensus(round).unwrap();
    let mut near = Near::dial(&mut network, relays[0]);
    near.create_fast();
    if villain == Villain::EndlessDirectory {
        return never_ends(&mut near, honest.len());
    }
    let before = cache.authorities().consensus(round - 1).unwrap();
    let path = match villain {
        Villain::FalseDiff => format!("{CONSENSUS}/diff/{}", text::hex(&diff::digest(&before))),
        Villain::FalseCertificates | Villain::NotModified => "/tor/keys/all".to_owned(),
        _ => CONSENSUS.to_owned(),
    };
    let (head, body) = near.get(&path);
    let status = if villain == Villain::NotModified { "304 Not modified" } else { "200 OK" };
    assert!(head.starts_with(&format!("HTTP/1.0 {status}\r\n")), "{head}");
    let trusted: Vec<_> = cache.authorities().certificates().map(|(trusted, _)| trusted.torrc_line()).collect();
    let text = String::from_utf8_lossy(&body);
    let shown = match villain {
        Villain::DecompressionBomb => {
            let limit = 100 << 20;
            let inflated = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(&body, limit);
            let has_more = inflated.is_err_and(|error| error.status == TINFLStatus::HasMoreOutput);
            head.contains("\r\nContent-Encoding: deflate\r\n") && body.len() < 3 << 20 && has_more
        }
        Villain::TruncatedConsensus => body == honest.as_bytes()[..honest.len() / 2],
        Villain::ConsensusSwap => {
            let signers = text.lines().filter_map(|line| line.strip_prefix("directory-signature sha256 "));
            let mut signers = signers.map(|line| line.split(' ').next().unwrap());
            signers.clone().count() == 3 && signers.all(|id| trusted.iter().all(|line| !line.contains(id)))
        }
        Villain::FalseDiff => {
            let (mut patch, mut new) = (Patch::new(Diff::parse(body).unwrap()), Vec::new());
            let mut out = |bytes: &[u8]| new.extend_from_slice(bytes);
            patch.push(before.as_bytes(), &mut out);
            let result = patch.finish(&mut out);
            result == Err(directory::Error::DiffToOther) && new.len() == honest.len()
        }
        Villain::FalseCertificates => {
            let checked: Vec<_> = certs::check_all(&body).map(|one| one.map(drop)).collect();
            checked == [Err(directory::Error::WrongSignature); 3]
        }
        Villain::NotModified => body.is_empty(),
        Villain::OldConsensus => {
            let old = cache.authorities().round(BEGINNING - Duration::from_secs(48 * 3600));
            body == cache.authorities().consensus(old).unwrap().as_bytes()
        }
        other => panic!("{other:?} is not shown"),
    };
    assert!(shown, "{villain:?}: {head}");
}

/// An answer of which ten times the honest length is not the end.
fn never_ends(near: &mut Near<'_>, honest: usize) {
    let stream = near.ask(CONSENSUS);
    let (mut read, mut cells) = (0, 0);
    while read < 10 * honest {
        match near.next_event() {
            Event::Message { command: Command::DATA, body, .. } => {
                read += body.len();
                cells += 1;
                near.acknowledge(stream, cells);
            }
            other => panic!("after {read} bytes: {other:?}"),
        }
    }
}

/// What the exit says, with its body, until it falls silent.
fn said(near: &mut Near<'_>) -> Vec<(Command, Vec<u8>)> {
    let mut said = Vec::new();
    while let Some(event) = near.event_within(Duration::from_secs(20)) {
        let Event::Message { hop: 2, command, body, .. } = event else { panic!("{event:?}") };
        said.push((command, body));
    }
    said
}

fn show_messages(villain: Villain, seed: u64) {
    let (mut network, relays) = network(villain, 2, seed);
    let mut near = circuit(&mut network, relays);
    let first = match villain {
        Villain::ResolvedPrivate | Villain::ResolvedFlood => {
            let stream = near.new_stream();
            resolve(&mut near, stream);
            said(&mut near)
        }
        Villain::SendmeWithoutTag | Villain::SendmeWrongTag => {
            let stream = near.begin("sink.lab");
            (0..100).for_each(|_| near.send(Command::DATA, Some(stream), &[1; 498]));
            said(&mut near)
        }
        _ => {
            near.begin_unheard(
                if villain == Villain::WindowOverrun { "source-600000.lab" } else { "source-9999.lab" },
                80,
            );
            said(&mut near)
        }
    };
    let commands: Vec<_> = first.iter().map(|(command, _)| *command).collect();
    let count = |wanted| commands.iter().filter(|command| **command == wanted).count();
    let body = |wanted| &first.iter().find(|(command, _)| *command == wanted).unwrap().1;
    let shown = match villain {
        Villain::GarbageCommand => commands[..2] == [Command(99), Command::CONNECTED],
        Villain::DataBeforeConnected => commands[..2] == [Command::DATA, Command::CONNECTED],
        Villain::DataAfterEnd => commands.ends_with(&[Command::END, Command::DATA]),
        Villain::ConnectedTwice => count(Command::CONNECTED) == 2,
        Villain::ConnectedPrivate => {
            let connected = Connected::parse(body(Command::CONNECTED)).unwrap();
            connected.address.unwrap().0.uncover().to_string() == "10.0.0.1"
        }
        Villain::EndTwice => count(Command::END) == 2,
        Villain::EndWithoutReason => End::parse(body(Command::END)).is_err(),
        Villain::EmptyData => first[1] == (Command::DATA, Vec::new()),
        Villain::DropFlood => count(Command::DROP) >= 100,
        Villain::SendmeWithoutTag => first.iter().any(|(command, body)| *command == Command::SENDME && body.is_empty()),
        Villain::SendmeWrongTag => first.iter().any(|(_, body)| body.ends_with(&[0xEE; 20])),
        Villain::SendmeFlood => count(Command::SENDME) >= 100,
        Villain::WindowOverrun => count(Command::DATA) > 1000,
        Villain::StallMidStream => count(Command::DATA) == STALL_AFTER as usize && count(Command::END) == 0,
        Villain::ResolvedPrivate => body(Command::RESOLVED)[2..6] == [10, 0, 0, 1],
        Villain::ResolvedFlood => count(Command::RESOLVED) >= 100,
        Villain::TruncatedUnasked => commands[0] == Command::TRUNCATED,
        Villain::ExtendedUnasked => commands[0] == Command::EXTENDED2,
        other => panic!("{other:?} is not shown"),
    };
    assert!(shown, "{villain:?} said {commands:?}");
}

fn resolve(near: &mut Near<'_>, stream: StreamId) {
    let mut body = [0; 64];
    let mut writer = Writer::new(&mut body);
    let name = cepa::internal::base::redact::Sensitive::new("echo.lab");
    Resolve { name }.encode(&mut writer).unwrap();
    let length = writer.written();
    near.send(Command::RESOLVE, Some(stream), &body[..length]);
}
