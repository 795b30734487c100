//! A tunnel against its far ends: building, judging, both windows, and the end.

use core::net::SocketAddrV4;

use super::far::{FarEnd, fuzz_tunnel, pair};
use super::hop::{Layer, Leg};
use super::tunnel::Tunnel;
use super::*;
use crate::base::codec::Writer;
use crate::base::random::Seeded;
use crate::base::{Ed25519Id, RelayIds, RsaId};
use crate::crypto::kdf::{KeyStream, ShakeStream};
use crate::crypto::layer::{BindingKey, Cipher, ClientLayer, RelayLayer};
use crate::crypto::x25519::KeyPair;
use crate::crypto::{SendmeTag, fast, ntor, ntor3};
use crate::wire::batch::CellBatch;
use crate::wire::cell::{BODY_LEN, Body};
use crate::wire::cell_msg::{Create2, CreateFast, Created2, HandshakeType};
use crate::wire::extend::{Extend2, Target};
use crate::wire::relay::{Format, StreamId};
use crate::wire::relay_msg::{BeginFlags, EndReason};
use proptest::prelude::*;

mod streams;

const LEG: Leg = Leg(0);
const TOR1: [Cipher; 3] = [Cipher::Tor1; 3];

fn now() -> Now {
    Now::default().plus(Duration::from_secs(1))
}

/// A tunnel, its far ends, and what both draw from.
struct Pair {
    tunnel: Tunnel,
    far: FarEnd,
    entropy: Seeded,
    outputs: Vec<Output>,
    /// What a reader that takes all at once has got.
    read: Vec<(StreamAt, Vec<u8>)>,
    /// Whether it does.
    reads: bool,
}

/// A message that came to a far end.
#[derive(Debug, PartialEq)]
struct Said {
    hop: u8,
    early: bool,
    command: Command,
    stream: Option<StreamId>,
    body: Vec<u8>,
}

impl Pair {
    fn new(ciphers: &[Cipher]) -> Pair {
        let (tunnel, far) = pair(ciphers).unwrap();
        Pair { tunnel, far, entropy: Seeded(1), outputs: Vec::new(), read: Vec::new(), reads: true }
    }

    /// The next cell, as its far end reads it.
    fn pull(&mut self) -> Option<(Said, SendmeTag)> {
        let mut cell = [0; BODY_LEN];
        let link_command = self.tunnel.take_cell(LEG, &mut cell, now(), &mut self.entropy)?;
        let (hop, tag) = self.far.hear(link_command, &mut cell).expect("a hop knows it");
        let message = self.far.format(hop).parse(&cell).unwrap();
        let said = Said {
            hop: hop.0,
            early: link_command == CellCommand::RELAY_EARLY,
            command: message.command,
            stream: message.stream,
            body: message.body.to_vec(),
        };
        Some((said, tag))
    }

    fn pull_all(&mut self) -> Vec<(Said, SendmeTag)> {
        core::iter::from_fn(|| self.pull()).collect()
    }

    fn say(&mut self, hop: u8, command: Command, stream: Option<StreamId>, body: &[u8]) {
        let cell = self.far.say(HopNo(hop), command, stream, body, &mut self.entropy).unwrap();
        self.cells(&[(CellCommand::RELAY, cell)]);
    }

    fn cells(&mut self, cells: &[(CellCommand, Body)]) {
        let mut batch = CellBatch::default();
        cells.iter().for_each(|(command, cell)| batch.append(*command, cell));
        self.tunnel.handle_cells(LEG, batch, now());
        self.drain();
        assert!(self.tunnel.take_batch().is_some());
    }

    fn drain(&mut self) {
        while let Some(output) = self.tunnel.poll_output() {
            if let Output::Data { stream, at } = &output {
                let bytes = self.tunnel.bytes(at).to_vec();
                if self.reads {
                    self.tunnel.handle_read(*stream, bytes.len());
                }
                self.read.push((*stream, bytes));
            } else {
                self.outputs.push(output);
            }
        }
    }

    /// A stream at the last hop, open.
    fn open(&mut self) -> StreamAt {
        let last = HopNo::of(self.tunnel.hop_count() - 1);
        let at = self.tunnel.begin(last, "a.example", 80, BeginFlags::default(), true, &mut self.entropy).unwrap();
        let (said, _) = self.pull().unwrap();
        assert_eq!((said.command, said.stream), (Command::BEGIN, Some(at.id)));
        self.say(last.0, Command::CONNECTED, Some(at.id), &[198, 51, 100, 80, 0, 0, 0, 60]);
        assert!(matches!(self.outputs.pop(), Some(Output::Connected { stream, .. }) if stream == at));
        at
    }

    /// Why the circuit is over, which must be the last that is said.
    fn closed(&mut self) -> Option<Error> {
        self.drain();
        let Some(Output::Closed { error, .. }) = self.outputs.last() else { return None };
        assert_eq!(self.tunnel.failure(), Some(*error));
        Some(*error)
    }
}

// --- building --------------------------------------------------------------------------------

/// A relay with all its keys.
struct Keys {
    rsa: RsaId,
    ed25519: Ed25519Id,
    onion: KeyPair,
}

fn relay(number: u8) -> Keys {
    Keys {
        rsa: RsaId([number; 20]),
        ed25519: Ed25519Id([number; 32]),
        onion: KeyPair::random(&mut Seeded(number.into())),
    }
}

fn target(number: u8) -> Target {
    let keys = relay(number);
    let ipv4 = Some(SocketAddrV4::new([198, 51, 100, number].into(), 9001));
    Target { ipv4, ipv6: None, ids: RelayIds { rsa: Some(keys.rsa), ed25519: Some(keys.ed25519) } }
}

/// How each relay is asked, in order: `f`ast, `n`tor or ntor-v`3`.
fn path(handshakes: &str) -> Vec<PathHop> {
    let hop = |(number, kind): (u8, char)| {
        let key = relay(number).onion.public;
        let handshake = match kind {
            'f' => Handshake::Fast,
            'n' => Handshake::Ntor(key),
            _ => Handshake::NtorV3(key),
        };
        PathHop { target: target(number), handshake }
    };
    (1..).zip(handshakes.chars()).map(hop).collect()
}

/// What a relay answers to CREATE2, with these extensions, and its layer.
fn answer(number: u8, create: &Create2<'_>, extensions: &[u8]) -> (Vec<u8>, RelayLayer) {
    let keys = relay(number);
    let (data, stream) = match create.handshake_type {
        HandshakeType::NTOR => {
            let (data, stream) = ntor::respond(&mut Seeded(9), keys.rsa, &[&keys.onion], create.data).unwrap();
            (data.to_vec(), stream)
        }
        _ => {
            let onion = [&keys.onion];
            let (half, asked) =
                ntor3::Relay::receive(keys.ed25519, &onion, create.data, ntor3::CIRCUIT_EXTEND).unwrap();
            assert_eq!(asked, [0], "nothing is asked for");
            half.respond(&mut Seeded(9), extensions).unwrap()
        }
    };
    let mut body = vec![0; BODY_LEN];
    Created2 { data: &data }.encode(&mut Writer::new(&mut body)).unwrap();
    body.truncate(2 + data.len());
    (body, RelayLayer::new(Cipher::Tor1, stream).unwrap().0)
}

/// The relays of a path that is being built, as far as it is.
#[derive(Default)]
struct Relays(Vec<RelayLayer>);

impl Relays {
    /// Answers whatever the tunnel asks next; gives the cell that brings the answer, and of
    /// which command the question was.
    fn answer(&mut self, tunnel: &mut Tunnel, extensions: &[u8]) -> (CellCommand, CellCommand, Body) {
        let mut cell = [0; BODY_LEN];
        let asked = tunnel.take_cell(LEG, &mut cell, now(), &mut Seeded(3)).unwrap();
        let number = u8::try_from(self.0.len() + 1).unwrap();
        let mut body = [0; BODY_LEN];
        let command = match asked {
            CellCommand::CREATE_FAST => {
                let (reply, keys) = fast::respond(&mut Seeded(9), &CreateFast::parse(&cell).unwrap().x).unwrap();
                body[..40].copy_from_slice(&reply);
                self.0.push(RelayLayer::new(Cipher::Tor1, keys).unwrap().0);
                CellCommand::CREATED_FAST
            }
            CellCommand::CREATE2 => {
                let (reply, layer) = answer(number, &Create2::parse(&cell).unwrap(), extensions);
                body[..reply.len()].copy_from_slice(&reply);
                self.0.push(layer);
                CellCommand::CREATED2
            }
            _ => {
                let last = self.0.len() - 1;
                let found = self.0.iter_mut().position(|layer| layer.peel(asked.0, &mut cell).is_some());
                assert_eq!(found, Some(last), "the last relay is asked");
                let message = Format::V0.parse(&cell).unwrap();
                assert_eq!(message.command, Command::EXTEND2);
                let extend = Extend2::parse(message.body).unwrap();
                assert_eq!(Target::from_specifiers(&extend.specifiers), Ok(target(number)));
                let (reply, layer) = answer(number, &extend.create, extensions);
                body = self.say(last, Command::EXTENDED2, &reply);
                self.0.push(layer);
                CellCommand::RELAY
            }
        };
        (asked, command, body)
    }

    fn say(&mut self, hop: usize, command: Command, body: &[u8]) -> Body {
        let mut cell = [0; BODY_LEN];
        Format::V0.encode(&mut cell, command, None, &mut Seeded(5), |out| Ok(out.bytes(body)?)).unwrap();
        self.0[hop].originate(CellCommand::RELAY.0, &mut cell);
        self.0[..hop].iter_mut().rev().for_each(|layer| layer.wrap(CellCommand::RELAY.0, &mut cell));
        cell
    }
}

fn hear(tunnel: &mut Tunnel, command: CellCommand, body: &Body, now: Now) -> Vec<Output> {
    let mut batch = CellBatch::default();
    batch.append(command, body);
    tunnel.handle_cells(LEG, batch, now);
    tunnel.take_batch().unwrap();
    core::iter::from_fn(|| tunnel.poll_output()).collect()
}

fn never() -> Tick {
    now().tick + Duration::from_secs(60)
}

#[test]
fn every_handshake_makes_every_hop_it_may() {
    for handshakes in ["f", "n", "3", "fnn", "n3n", "33n", "fn3", "nnnnnnnn"] {
        let mut tunnel = Tunnel::build(path(handshakes), never()).unwrap();
        let mut relays = Relays::default();
        let mut later = now();
        for (number, kind) in handshakes.chars().enumerate() {
            assert!(tunnel.next_deadline().is_some());
            let (asked, command, body) = relays.answer(&mut tunnel, &[0]);
            assert!(
                tunnel.take_cell(LEG, &mut [0; BODY_LEN], now(), &mut Seeded(3)).is_none(),
                "one question at a time"
            );
            let wanted = match (number, kind) {
                (0, 'f') => CellCommand::CREATE_FAST,
                (0, _) => CellCommand::CREATE2,
                _ => CellCommand::RELAY_EARLY,
            };
            assert_eq!(asked, wanted);
            later = later.plus(Duration::from_millis(10));
            let outputs = hear(&mut tunnel, command, &body, later);
            let Output::HopBuilt { leg: LEG, hop, took } = outputs[0] else { panic!("{outputs:?}") };
            assert_eq!((hop.index(), took), (number, later.tick.since(now().tick)));
            let is_last = number + 1 == handshakes.len();
            let built = outputs
                .iter()
                .any(|output| matches!(output, Output::Built { took, .. } if *took == later.tick.since(now().tick)));
            assert_eq!(built, is_last);
        }
        assert_eq!((tunnel.next_deadline(), tunnel.hop_count()), (None, handshakes.len()));
    }
}

#[test]
fn a_path_no_circuit_can_have_is_refused() {
    let change = |change: &dyn Fn(&mut Vec<PathHop>)| {
        let mut path = path("nn3");
        change(&mut path);
        Tunnel::build(path, never()).err()
    };
    let bad = Some(Error::BadPath);
    assert_eq!(change(&|_| ()), None);
    assert_eq!(change(&|path| path.clear()), bad);
    assert_eq!(change(&|path| path[1].handshake = Handshake::Fast), bad);
    assert_eq!(change(&|path| path[2].target.ids.ed25519 = None), bad);
    assert_eq!(change(&|path| path[1].target.ids.rsa = None), bad);
    assert_eq!(change(&|path| path[1].target.ids.rsa = Some(RsaId([0; 20]))), bad);
    assert_eq!(change(&|path| path[1].target.ipv4 = None), bad);
    assert_eq!(change(&|path| path[1] = path[0]), bad);
    assert_eq!(change(&|path| path[0].target.ipv4 = None), None, "the first hop is the link's to reach");
    assert_eq!(Tunnel::build(path("nnnnnnnnn"), never()).err(), bad);
    assert_eq!(Error::BadPath.blame(), Blame::Bug);
}

/// Builds as far as `hops`, then lets `wrong` make the next answer; gives why that is the end.
fn end_of(handshakes: &str, hops: usize, wrong: impl FnOnce(&mut Relays, &mut Tunnel) -> (CellCommand, Body)) -> Error {
    let mut tunnel = Tunnel::build(path(handshakes), never()).unwrap();
    let mut relays = Relays::default();
    for _ in 0..hops {
        let (_, command, body) = relays.answer(&mut tunnel, &[0]);
        hear(&mut tunnel, command, &body, now());
    }
    let (command, body) = wrong(&mut relays, &mut tunnel);
    match hear(&mut tunnel, command, &body, now()).pop() {
        Some(Output::Closed { error, hops: had, .. }) => {
            assert_eq!(had, hops);
            error
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrong_answer_ends_the_circuit() {
    let wrong_proof = Error::Handshake(crypto::Error::WrongAuthenticator);
    // The proof is the second half of each answer, after CREATED2's length.
    for (handshakes, hops, at) in [("f", 0, 20), ("n", 0, 40), ("3", 0, 40)] {
        let error = end_of(handshakes, hops, |relays, tunnel| {
            let (_, command, mut body) = relays.answer(tunnel, &[0]);
            body[at] ^= 1;
            (command, body)
        });
        assert_eq!(error, wrong_proof, "{handshakes}");
    }
    let too_long = |relays: &mut Relays, tunnel: &mut Tunnel| {
        let (_, command, mut body) = relays.answer(tunnel, &[0]);
        body[0] = 0xFF;
        (command, body)
    };
    assert_eq!(end_of("n", 0, too_long), Error::Wire(wire::Error::Truncated));
    let unasked = |relays: &mut Relays, tunnel: &mut Tunnel| {
        let (_, command, body) = relays.answer(tunnel, &[1, 2, 1, 31]);
        (command, body)
    };
    assert_eq!(end_of("3", 0, unasked), Error::UnaskedExtension);
    assert_eq!(end_of("n3", 1, unasked), Error::UnaskedExtension);
    let malformed = |relays: &mut Relays, tunnel: &mut Tunnel| {
        let (_, command, body) = relays.answer(tunnel, &[2, 9]);
        (command, body)
    };
    assert_eq!(end_of("3", 0, malformed), Error::Wire(wire::Error::Truncated));
}

#[test]
fn an_answer_to_another_question_or_to_none_ends_the_circuit() {
    let empty = [0; BODY_LEN];
    for (handshakes, command) in [("f", CellCommand::CREATED2), ("n", CellCommand::CREATED_FAST)] {
        let error = end_of(handshakes, 0, |relays, tunnel| {
            relays.answer(tunnel, &[0]);
            (command, empty)
        });
        assert_eq!(error, Error::UnexpectedCell(command));
    }
    // Before the question, and once more after the answer.
    assert_eq!(end_of("n", 0, |_, _| (CellCommand::CREATED2, empty)), Error::UnexpectedCell(CellCommand::CREATED2));
    assert_eq!(end_of("nn", 1, |_, _| (CellCommand::CREATED2, empty)), Error::UnexpectedCell(CellCommand::CREATED2));
    let extended =
        |relays: &mut Relays, _: &mut Tunnel| (CellCommand::RELAY, relays.say(0, Command::EXTENDED2, &[0, 0]));
    assert_eq!(end_of("nn", 1, extended), Error::Unexpected(Command::EXTENDED2));
    // The first relay answers for the second.
    let ask = |tunnel: &mut Tunnel| tunnel.take_cell(LEG, &mut [0; BODY_LEN], now(), &mut Seeded(3)).unwrap();
    let from_another = |relays: &mut Relays, tunnel: &mut Tunnel| {
        ask(tunnel);
        (CellCommand::RELAY, relays.say(0, Command::EXTENDED2, &[0, 64]))
    };
    assert_eq!(end_of("nnn", 2, from_another), Error::Unexpected(Command::EXTENDED2));
    let truncated = |relays: &mut Relays, tunnel: &mut Tunnel| {
        ask(tunnel);
        (CellCommand::RELAY, relays.say(0, Command::TRUNCATED, &[6]))
    };
    assert_eq!(end_of("nn", 1, truncated), Error::Truncated(DestroyReason::CONNECTFAILED));
}

#[test]
fn an_onion_key_of_low_order_is_refused_before_anything_is_sent() {
    let mut path = path("3");
    path[0].handshake = Handshake::NtorV3(crypto::x25519::PublicKey([0; 32]));
    let mut tunnel = Tunnel::build(path, never()).unwrap();
    assert!(tunnel.take_cell(LEG, &mut [0; BODY_LEN], now(), &mut Seeded(1)).is_none());
    assert_eq!(tunnel.failure(), Some(Error::Handshake(crypto::Error::ZeroSharedSecret)));
}

#[test]
fn a_circuit_that_takes_too_long_is_given_up() {
    let mut tunnel = Tunnel::build(path("nn"), never()).unwrap();
    tunnel.handle_timeout(now());
    assert_eq!(tunnel.failure(), None);
    assert_eq!(tunnel.next_deadline(), Some(never()));
    tunnel.handle_timeout(Now { tick: never(), ..now() });
    assert_eq!(tunnel.failure(), Some(Error::BuildTooSlow));
    assert_eq!(tunnel.next_deadline(), None);
}

#[test]
fn a_circuit_can_be_made_longer_while_it_has_relay_early_cells() {
    let mut tunnel = Tunnel::build(path("n"), never()).unwrap();
    let mut relays = Relays::default();
    let (_, command, body) = relays.answer(&mut tunnel, &[0]);
    hear(&mut tunnel, command, &body, now());
    tunnel.extend(LEG, path("nnn").split_off(1), never()).unwrap();
    for _ in 0..2 {
        let (_, command, body) = relays.answer(&mut tunnel, &[0]);
        hear(&mut tunnel, command, &body, now());
    }
    assert_eq!((tunnel.hop_count(), tunnel.failure()), (3, None));
    assert_eq!(tunnel.extend(LEG, path("f"), never()), Err(Error::BadPath));
    // Whatever goes beyond the first hop spends them.
    let stream = tunnel.begin_dir(HopNo(2), &mut Seeded(1)).unwrap();
    tunnel.handle_write(stream, &[0; 498 * 8]);
    let take = |tunnel: &mut Tunnel| tunnel.take_cell(LEG, &mut [0; BODY_LEN], now(), &mut Seeded(1));
    let commands: Vec<_> = core::iter::from_fn(|| take(&mut tunnel)).collect();
    let early = commands.iter().filter(|command| **command == CellCommand::RELAY_EARLY).count();
    assert!(commands.len() == 9 && (early == 5 || early == 6), "{early}");
    assert_eq!(tunnel.extend(LEG, path("nnnn").split_off(3), never()), Err(Error::NoRelayEarlyLeft));
    assert_eq!(tunnel.failure(), None, "a wish that cannot be granted costs nothing");
}

/// Data that goes while the circuit is still growing leaves it the cells it grows with.
#[test]
fn data_does_not_spend_what_building_needs() {
    let mut tunnel = Tunnel::build(path("nnnnnnnn"), never()).unwrap();
    let mut relays = Relays::default();
    let mut early = 0;
    for _ in 0..8 {
        let (asked, command, body) = relays.answer(&mut tunnel, &[0]);
        early += u32::from(asked == CellCommand::RELAY_EARLY);
        if tunnel.hop_count() == 2 {
            let at = tunnel.begin_dir(HopNo(1), &mut Seeded(1)).unwrap();
            tunnel.handle_write(at, &[1; 498 * 20]);
            let mut cell = [0; BODY_LEN];
            let mut cells = 0;
            while let Some(command) = tunnel.take_cell(LEG, &mut cell, now(), &mut Seeded(1)) {
                early += u32::from(command == CellCommand::RELAY_EARLY);
                assert_eq!(relays.0.iter_mut().position(|layer| layer.peel(command.0, &mut cell).is_some()), Some(1));
                cells += 1;
            }
            assert_eq!(cells, 21);
        }
        hear(&mut tunnel, command, &body, now());
    }
    assert_eq!((tunnel.failure(), tunnel.hop_count()), (None, 8));
    assert!(early == 7 || early == 8, "{early}");
}

// --- judging ---------------------------------------------------------------------------------

/// What each message that has no business here does: the circuit falls, with that error.
#[test]
fn a_message_that_has_no_business_here_ends_the_circuit() {
    let unexpected = Error::Unexpected;
    let of_stream = Error::Stream;
    for (command, on_stream, body, error) in [
        (Command::DROP, false, &[][..], unexpected(Command::DROP)),
        (Command::EXTENDED2, false, &[0, 0], unexpected(Command::EXTENDED2)),
        (Command::EXTEND2, false, &[], unexpected(Command::EXTEND2)),
        (Command::TRUNCATE, false, &[], unexpected(Command::TRUNCATE)),
        (Command::CONFLUX_SWITCH, false, &[0; 4], unexpected(Command::CONFLUX_SWITCH)),
        (Command::INTRODUCE2, false, &[0; 60], unexpected(Command::INTRODUCE2)),
        (Command::PADDING_NEGOTIATED, false, &[0; 60], unexpected(Command::PADDING_NEGOTIATED)),
        (Command::TRUNCATED, false, &[9], Error::Truncated(DestroyReason::FINISHED)),
        (Command::TRUNCATED, false, &[], Error::Wire(wire::Error::Truncated)),
        (Command(99), false, &[], Error::UnknownCommand(Command(99))),
        (Command(99), true, &[], Error::UnknownCommand(Command(99))),
        (Command::SENDME, false, &[], of_stream(stream::Error::SendmeWithoutTag)),
        (Command::SENDME, false, &[1, 0, 20, 9], Error::Wire(wire::Error::Truncated)),
        (Command::SENDME, false, &[2], Error::Wire(wire::Error::SendmeVersionUnknown)),
        (Command::SENDME, true, &[], of_stream(stream::Error::SendmeUnexpected)),
        (Command::CONNECTED, true, &[], of_stream(stream::Error::ConnectedTwice)),
        (Command::DATA, true, &[], of_stream(stream::Error::EmptyData)),
        (Command::END, true, &[], of_stream(stream::Error::Wire(wire::Error::EndWithoutReason))),
        (Command::XOFF, true, &[0], of_stream(stream::Error::FlowControlNotNegotiated)),
        (Command::BEGIN, true, b"x:80\0", of_stream(stream::Error::StreamIdInUse)),
    ] {
        let mut pair = Pair::new(&TOR1);
        let at = pair.open();
        pair.say(2, command, on_stream.then_some(at.id), body);
        assert_eq!(pair.closed(), Some(error), "{command:?}");
        let ended = &pair.outputs[0];
        assert!(
            matches!(ended, Output::Ended { stream, why: Ended::WithCircuit(why), .. } if *stream == at && *why == error)
        );
        assert_eq!((error.scope(), pair.outputs.len()), (Scope::Circuit, 2));
        assert!(matches!(pair.outputs[1], Output::Closed { tell: Some(DestroyReason::NONE), hops: 3, .. }));
    }
}

/// Such cells cannot be written with our own encoder.
#[test]
fn a_message_with_a_stream_too_many_or_too_few_ends_the_circuit() {
    for (command, stream, len, error) in [
        (Command::DROP, 7, 0, Error::StreamMisplaced(Command::DROP)),
        (Command::TRUNCATED, 7, 1, Error::StreamMisplaced(Command::TRUNCATED)),
        (Command::EXTENDED2, 7, 2, Error::StreamMisplaced(Command::EXTENDED2)),
        (Command::DATA, 0, 5, Error::StreamMisplaced(Command::DATA)),
        (Command::END, 0, 1, Error::StreamMisplaced(Command::END)),
        (Command::DROP, 0, 9, Error::Unexpected(Command::DROP)),
    ] {
        let mut pair = Pair::new(&TOR1);
        let mut cell = [0; BODY_LEN];
        (cell[0], cell[4], cell[10]) = (command.0, stream, len);
        pair.far.seal(HopNo(2), &mut cell).unwrap();
        pair.cells(&[(CellCommand::RELAY, cell)]);
        assert_eq!(pair.closed(), Some(error));
    }
    // A message longer than its cell.
    let mut pair = Pair::new(&TOR1);
    let mut cell = [0; BODY_LEN];
    (cell[0], cell[9], cell[10]) = (Command::DROP.0, 1, 0xF3);
    pair.far.seal(HopNo(2), &mut cell).unwrap();
    pair.cells(&[(CellCommand::RELAY, cell)]);
    assert_eq!(pair.closed(), Some(Error::Wire(wire::Error::MessageLongerThanCell)));
}

#[test]
fn each_stream_belongs_to_its_hop() {
    // TROVE-2021-003: any hop could end a stream of another.
    for command in [Command::DATA, Command::END, Command::CONNECTED, Command::SENDME, Command::RESOLVED] {
        let mut pair = Pair::new(&TOR1);
        let at = pair.open();
        pair.say(1, command, Some(at.id), &[6]);
        assert_eq!(pair.closed(), Some(Error::Stream(stream::Error::UnknownStream)), "{command:?}");
    }
    // Nor does a half-closed stream listen to other hops.
    let mut pair = Pair::new(&TOR1);
    let at = pair.open();
    pair.tunnel.reset(at);
    pair.say(1, Command::END, Some(at.id), &[6]);
    assert_eq!(pair.closed(), Some(Error::Stream(stream::Error::UnknownStream)));
    let mut pair = Pair::new(&TOR1);
    pair.say(2, Command::BEGIN, StreamId::new(5), b"x:80\0");
    assert_eq!(pair.closed(), Some(Error::Stream(stream::Error::BeginUnexpected)));
}

#[test]
fn a_cell_that_no_hop_sealed_ends_the_circuit() {
    for ciphers in [TOR1, [Cipher::Cgo; 3], [Cipher::Tor1, Cipher::Cgo, Cipher::OnionService]] {
        let mut pair = Pair::new(&ciphers);
        pair.cells(&[(CellCommand::RELAY, [7; BODY_LEN])]);
        assert_eq!(pair.closed(), Some(Error::Unrecognized));
        // A cell that is sent twice, one that is lost, one with a bit flipped.
        for fate in ["twice", "lost", "flipped"] {
            let mut pair = Pair::new(&ciphers);
            let at = pair.open();
            let mut cells: Vec<_> = (0..3)
                .map(|n| pair.far.say(HopNo(2), Command::DATA, Some(at.id), &[n; 400], &mut pair.entropy).unwrap())
                .map(|cell| (CellCommand::RELAY, cell))
                .collect();
            match fate {
                "twice" => cells.insert(1, cells[0]),
                "lost" => drop(cells.remove(1)),
                _ => cells[1].1[250] ^= 0x10,
            }
            pair.cells(&cells);
            assert_eq!(pair.closed(), Some(Error::Unrecognized), "{fate} {ciphers:?}");
            assert_eq!(pair.read.len(), 1, "what came before counts, nothing after");
        }
    }
}

#[test]
fn cells_that_no_circuit_gets_end_it() {
    for (command, error) in [
        (CellCommand::RELAY_EARLY, Error::RelayEarly),
        (CellCommand::CREATED2, Error::UnexpectedCell(CellCommand::CREATED2)),
        (CellCommand::CREATED_FAST, Error::UnexpectedCell(CellCommand::CREATED_FAST)),
        (CellCommand::CREATE2, Error::UnexpectedCell(CellCommand::CREATE2)),
        (CellCommand::PADDING, Error::UnexpectedCell(CellCommand::PADDING)),
        (CellCommand::DESTROY, Error::Destroyed(DestroyReason(5))),
    ] {
        let mut pair = Pair::new(&TOR1);
        pair.cells(&[(command, [5; BODY_LEN])]);
        assert_eq!(pair.closed(), Some(error));
        let tell = (command != CellCommand::DESTROY).then_some(DestroyReason::NONE);
        assert!(matches!(pair.outputs[..], [Output::Closed { tell: told, .. }] if told == tell));
    }
}

#[test]
fn only_a_hop_that_is_listened_to_says_other_things() {
    let mut pair = Pair::new(&TOR1);
    pair.tunnel.listen_to(HopNo(2)).unwrap();
    pair.say(2, Command::INTRO_ESTABLISHED, None, b"body");
    let Some(Output::Message { hop: HopNo(2), command, body, .. }) = pair.outputs.pop() else { panic!() };
    assert_eq!((command, body.uncover().as_slice()), (Command::INTRO_ESTABLISHED, &b"body"[..]));
    pair.say(1, Command::INTRO_ESTABLISHED, None, b"body");
    assert_eq!(pair.closed(), Some(Error::Unexpected(Command::INTRO_ESTABLISHED)));
    assert_eq!(pair.tunnel.listen_to(HopNo(2)), Err(Error::Unexpected(Command::INTRO_ESTABLISHED)));
}

#[test]
fn messages_to_a_hop_wait_up_to_a_bound() {
    let mut pair = Pair::new(&TOR1);
    for _ in 0..MAX_MESSAGES {
        pair.tunnel.send_message(HopNo(1), Command::ESTABLISH_INTRO, b"x").unwrap();
    }
    assert_eq!(pair.tunnel.send_message(HopNo(1), Command::ESTABLISH_INTRO, b"x"), Err(Error::QueueFull));
    let said = pair.pull_all();
    assert_eq!(said.len(), MAX_MESSAGES);
    assert!(said.iter().all(|(said, _)| (said.hop, said.command) == (1, Command::ESTABLISH_INTRO)));
    pair.tunnel.send_message(HopNo(1), Command::ESTABLISH_INTRO, b"x").unwrap();
    let unencodable = Err(Error::Wire(wire::Error::Unencodable));
    assert_eq!(pair.tunnel.send_message(HopNo(1), Command::DATA, b"x"), unencodable);
    assert_eq!(pair.tunnel.send_message(HopNo(1), Command::ESTABLISH_INTRO, &[0; 499]), unencodable);
    assert_eq!(pair.tunnel.send_message(HopNo(3), Command::ESTABLISH_INTRO, b"x"), Err(Error::NoSuchHop));
}

// --- the end ---------------------------------------------------------------------------------

#[test]
fn every_stream_ends_once_when_the_circuit_does() {
    type Fall = fn(&mut Pair);
    let falls: [(Fall, Error, Option<DestroyReason>); 3] = [
        (|pair| pair.tunnel.close(LEG), Error::Requested, Some(DestroyReason::NONE)),
        (|pair| pair.tunnel.handle_link_closed(LEG), Error::LinkClosed, None),
        (|pair| pair.cells(&[(CellCommand::DESTROY, [9; BODY_LEN])]), Error::Destroyed(DestroyReason::FINISHED), None),
    ];
    for (fall, error, tell) in falls {
        let mut pair = Pair::new(&TOR1);
        let open = pair.open();
        let ended = pair.open();
        pair.say(2, Command::END, Some(ended.id), &[6]);
        let reset = pair.open();
        pair.tunnel.reset(reset);
        let waiting = pair.tunnel.begin_dir(HopNo(0), &mut pair.entropy).unwrap();
        pair.tunnel.handle_write(waiting, b"GET /");
        pair.pull_all();
        pair.outputs.clear();
        fall(&mut pair);
        pair.drain();
        let ends = pair.outputs.iter().map_while(|output| match output {
            Output::Ended { stream, why, unanswered } => Some((*stream, *why, unanswered.uncover().clone())),
            _ => None,
        });
        let ends: Vec<_> = ends.collect();
        let with = Ended::WithCircuit(error);
        assert_eq!(ends, [(waiting, with, b"GET /".to_vec()), (open, with, vec![])]);
        assert!(
            matches!(pair.outputs[2], Output::Closed { error: why, tell: told, hops: 3, .. } if (why, told) == (error, tell))
        );
        assert_eq!(pair.outputs.len(), 3);
        // Nothing comes of anything any more.
        pair.tunnel.close(LEG);
        pair.cells(&[(CellCommand::DESTROY, [9; BODY_LEN])]);
        assert!(pair.pull().is_none() && pair.tunnel.poll_output().is_none());
        assert_eq!(pair.tunnel.begin_dir(HopNo(0), &mut pair.entropy), Err(error));
        assert_eq!((pair.tunnel.handle_write(open, b"x"), pair.tunnel.room(open)), (0, 0));
        assert_eq!(pair.outputs.len(), 3);
    }
}

#[test]
fn cells_before_the_last_ones_are_taken_are_a_bug() {
    let mut pair = Pair::new(&TOR1);
    let at = pair.open();
    let cell = pair.far.say(HopNo(2), Command::DATA, Some(at.id), b"x", &mut pair.entropy).unwrap();
    for _ in 0..2 {
        let mut batch = CellBatch::default();
        batch.append(CellCommand::RELAY, &cell);
        pair.tunnel.handle_cells(LEG, batch, now());
    }
    assert_eq!(pair.tunnel.failure(), Some(Error::NotDrained));
    assert_eq!(Error::NotDrained.blame(), Blame::Bug);
    let Some(Output::Data { at, .. }) = pair.tunnel.poll_output() else { panic!() };
    assert_eq!(pair.tunnel.bytes(&at), b"x", "what was named is still there");
}

#[test]
fn a_tunnel_can_be_given_to_a_thread() {
    fn sent<T: Send>() {}
    sent::<Tunnel>();
    sent::<Output>();
}

#[test]
fn errors_say_whose_fault_it_was() {
    for (error, blame) in [
        (Error::Unrecognized, Blame::Peer),
        (Error::Handshake(crypto::Error::WrongAuthenticator), Blame::Peer),
        (Error::Destroyed(DestroyReason::CHANNEL_CLOSED), Blame::Network),
        (Error::BuildTooSlow, Blame::Network),
        (Error::Requested, Blame::User),
        (Error::NoSuchLeg, Blame::Bug),
    ] {
        assert_eq!((error.blame(), error.scope()), (blame, Scope::Circuit), "{error}");
    }
    assert_eq!(Error::NoSuchStream.scope(), Scope::Stream);
    let mut pair = Pair::new(&TOR1);
    let at =
        pair.tunnel.begin(HopNo(2), "secret.example", 443, BeginFlags::default(), true, &mut pair.entropy).unwrap();
    pair.tunnel.handle_write(at, b"secret");
    pair.say(2, Command::CONNECTED, Some(at.id), &[198, 51, 100, 77, 0, 0, 0, 60]);
    assert!(!format!("{:?}", pair.outputs).contains("77"));
}

// --- hops that are no relays -----------------------------------------------------------------

fn virtual_keys() -> KeyStream {
    KeyStream::Shake(Box::new(ShakeStream::new(&[b"a rendezvous"])))
}

/// A client's and a service's tunnel, joined at their last relays.
#[test]
fn two_tunnels_meet_at_a_rendezvous() {
    let (client_layer, _) = ClientLayer::new(Cipher::OnionService, virtual_keys()).unwrap();
    let (service_layer, _) = RelayLayer::new(Cipher::OnionService, virtual_keys()).unwrap();
    let mut client = Pair::new(&TOR1);
    let mut service = Pair::new(&TOR1);
    let binding = || BindingKey::zero();
    let hop = client.tunnel.add_virtual_hop(Layer::Client(client_layer), Cipher::OnionService, binding()).unwrap();
    assert_eq!(hop, HopNo(3));
    service.tunnel.add_virtual_hop(Layer::Service(service_layer), Cipher::OnionService, binding()).unwrap();
    // The relays of both take off and put on their own layers; what is left goes over.
    let carry = |from: &mut Pair, to: &mut Pair| {
        let mut cell = [0; BODY_LEN];
        let mut count = 0;
        while let Some(command) = from.tunnel.take_cell(LEG, &mut cell, now(), &mut from.entropy) {
            assert!(from.far.hear(command, &mut cell).is_none(), "no relay of the path can read it");
            to.far.pass(&mut cell);
            to.cells(&[(CellCommand::RELAY, cell)]);
            count += 1;
        }
        count
    };
    let at = client.tunnel.begin(hop, "", 80, BeginFlags::default(), true, &mut Seeded(1)).unwrap();
    client.tunnel.handle_write(at, b"early");
    assert_eq!(carry(&mut client, &mut service), 2);
    let Some(Output::Asked { stream, host, port: 80 }) = service.outputs.pop() else { panic!("{:?}", service.outputs) };
    assert!(host.uncover().is_empty());
    assert_eq!(service.read, [(stream, b"early".to_vec())]);
    service.tunnel.accept(stream).unwrap();
    assert_eq!(service.tunnel.accept(stream), Err(Error::NoSuchStream), "once");
    for _ in 0..4 {
        service.tunnel.handle_write(stream, &[3; stream::MAX_UNSENT]);
        while carry(&mut service, &mut client) + carry(&mut client, &mut service) > 0 {}
    }
    assert!(matches!(client.outputs[..], [Output::Connected { stream, address: None }] if stream == at));
    let read: usize = client.read.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(read, 4 * stream::MAX_UNSENT);
    service.tunnel.finish(stream);
    carry(&mut service, &mut client);
    assert!(matches!(client.outputs.pop(), Some(Output::Ended { why: Ended::ByFarEnd { was_open: true, .. }, .. })));
    // Who is not wanted is refused.
    let at = client.tunnel.begin(hop, "", 81, BeginFlags::default(), true, &mut Seeded(1)).unwrap();
    carry(&mut client, &mut service);
    let Some(Output::Asked { stream, .. }) = service.outputs.pop() else { panic!() };
    service.tunnel.reset(stream);
    carry(&mut service, &mut client);
    assert!(matches!(client.outputs.pop(), Some(Output::Ended { stream, .. }) if stream == at));
    assert_eq!((client.closed(), service.closed()), (None, None));
}

// --- anything at all -------------------------------------------------------------------------

proptest! {
    #[test]
    fn whatever_both_sides_do_the_promises_hold(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz_tunnel(&bytes);
    }

    /// Bytes written come out at the far end, whatever the hops' ciphers and the writes.
    #[test]
    fn what_is_written_arrives(
        ciphers in proptest::collection::vec(prop_oneof![Just(Cipher::Tor1), Just(Cipher::Cgo)], 1..4),
        writes in proptest::collection::vec(1_usize..4000, 1..20),
    ) {
        let mut pair = Pair::new(&ciphers);
        let at = pair.open();
        let (mut given, mut arrived) = (Vec::new(), Vec::new());
        for len in writes {
            let bytes: Vec<u8> = (given.len()..given.len() + len).map(|n| u8::try_from(n % 253).unwrap()).collect();
            let taken = pair.tunnel.handle_write(at, &bytes);
            given.extend_from_slice(&bytes[..taken]);
            arrived.extend(pair.pull_all().into_iter().flat_map(|(said, _)| said.body));
        }
        prop_assert_eq!(given, arrived);
    }
}
