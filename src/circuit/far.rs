//! The far ends of a tunnel, and the body of its fuzz target.
//!
//! For tests, benches and fuzzing: relays that say what they are told, sealed rightly, with
//! keys that everybody knows. Not a relay (the lab has those). Called by nothing that runs.
//! Spec: none.

use std::collections::{BTreeMap, VecDeque};

use super::hop::{Hop, HopNo, Layer, Leg, StreamAt};
use super::tunnel::Tunnel;
use super::{Error, Output};
use crate::base::random::Entropy;
use crate::base::time::Now;
use crate::crypto::kdf::{KeyStream, ShakeStream};
use crate::crypto::layer::{Cipher, ClientLayer, RelayLayer};
use crate::crypto::{Error as CryptoError, SendmeTag};
use crate::stream::map::{MAX_HALF_CLOSED, MAX_STREAMS};
use crate::stream::xon::{MAX_UNREAD, WINDOW};
use crate::stream::{Error as StreamError, MAX_UNSENT};
use crate::wire::batch::CellBatch;
use crate::wire::cell::{BODY_LEN, Body, Command as CellCommand};
use crate::wire::relay::{Command, Format, StreamId};
use crate::wire::relay_msg::BeginFlags;

/// The other side of each hop of a tunnel.
pub struct FarEnd {
    hops: Vec<(RelayLayer, Format)>,
}

fn keys(hop: usize) -> KeyStream {
    KeyStream::Shake(Box::new(ShakeStream::new(&[b"far end", &hop.to_be_bytes()])))
}

fn format(cipher: Cipher) -> Format {
    if cipher == Cipher::Cgo { Format::V1 } else { Format::V0 }
}

/// A tunnel with a hop for each cipher, and what is on its other side.
pub fn pair(ciphers: &[Cipher]) -> Result<(Tunnel, FarEnd), CryptoError> {
    let mut hops = Vec::new();
    let mut far = FarEnd { hops: Vec::new() };
    for (number, cipher) in ciphers.iter().enumerate() {
        let (layer, binding) = ClientLayer::new(*cipher, keys(number))?;
        hops.push(Hop::new(Layer::Client(layer), *cipher, binding));
        far.hops.push((RelayLayer::new(*cipher, keys(number))?.0, format(*cipher)));
    }
    Ok((Tunnel::of_hops(hops), far))
}

impl FarEnd {
    /// A cell of the tunnel arrives; gives the hop that it is for, and the tag that proves
    /// it.
    pub fn hear(&mut self, command: CellCommand, cell: &mut Body) -> Option<(HopNo, SendmeTag)> {
        let mut hops = self.hops.iter_mut().enumerate();
        hops.find_map(|(number, (layer, _))| Some((HopNo::of(number), layer.peel(command.0, cell)?)))
    }

    /// Seals a message of a hop into a cell.
    pub fn say(
        &mut self,
        hop: HopNo,
        command: Command,
        stream: Option<StreamId>,
        body: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Body, Error> {
        let mut cell = [0; BODY_LEN];
        self.format(hop).encode(&mut cell, command, stream, entropy, |out| Ok(out.bytes(body)?))?;
        self.seal(hop, &mut cell)?;
        Ok(cell)
    }

    /// Seals a cell as from a hop, whatever is in it.
    pub fn seal(&mut self, hop: HopNo, cell: &mut Body) -> Result<(), Error> {
        let (nearer, rest) = self.hops.split_at_mut_checked(hop.index()).ok_or(Error::NoSuchHop)?;
        let (layer, _) = rest.first_mut().ok_or(Error::NoSuchHop)?;
        layer.originate(CellCommand::RELAY.0, cell);
        nearer.iter_mut().rev().for_each(|(layer, _)| layer.wrap(CellCommand::RELAY.0, cell));
        Ok(())
    }

    /// A cell from beyond the last hop passes towards the tunnel.
    pub fn pass(&mut self, cell: &mut Body) {
        self.hops.iter_mut().rev().for_each(|(layer, _)| layer.wrap(CellCommand::RELAY.0, cell));
    }

    /// How a hop's messages lie in cells.
    pub fn format(&self, hop: HopNo) -> Format {
        self.hops.get(hop.index()).map_or(Format::V0, |(_, format)| *format)
    }
}

/// Bytes that look random and are the same each time.
struct Counter(u64);

impl Entropy for Counter {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            chunk.iter_mut().zip(self.0.to_be_bytes()).for_each(|(to, from)| *to = from);
        }
    }
}

/// Reads `bytes` as a list of things done to a tunnel by both sides, and holds it to what
/// it promises after each.
pub fn fuzz_tunnel(bytes: &[u8]) {
    let ciphers = [Cipher::Tor1, Cipher::Cgo, Cipher::OnionService];
    let Ok((tunnel, far)) = pair(&ciphers) else { return };
    let mut run = Run {
        tunnel,
        far,
        entropy: Counter(1),
        now: Now::default(),
        streams: Vec::new(),
        unread: BTreeMap::new(),
        tags: BTreeMap::new(),
        closed: None,
    };
    let mut rest = bytes.iter().copied();
    while let Some(op) = rest.next() {
        let [a, b, c] = [rest.next(), rest.next(), rest.next()].map(Option::unwrap_or_default);
        run.act(op, [a, b, c]);
        run.check();
    }
}

struct Run {
    tunnel: Tunnel,
    far: FarEnd,
    entropy: Counter,
    now: Now,
    /// Every stream there ever was.
    streams: Vec<StreamAt>,
    /// What each live stream's reader was given and has not taken; gone when it ended.
    unread: BTreeMap<StreamAt, usize>,
    /// What proves the cells that a SENDME is due for, by hop.
    tags: BTreeMap<HopNo, (u32, VecDeque<SendmeTag>)>,
    closed: Option<Error>,
}

impl Run {
    fn act(&mut self, op: u8, [a, b, c]: [u8; 3]) {
        let hop = HopNo(a % 4);
        let at = self.streams.get(usize::from(b) % self.streams.len().max(1)).copied();
        let many = usize::from(c) * 64;
        match (op % 16, at) {
            (0, _) => {
                let flags = BeginFlags(u32::from(b));
                let at = self.tunnel.begin(hop, "a.example", 80, flags, c.is_multiple_of(2), &mut self.entropy);
                self.opened(at);
            }
            (1, _) => {
                let at = self.tunnel.begin_dir(hop, &mut self.entropy);
                self.opened(at);
            }
            (2, _) => {
                let at = self.tunnel.resolve(hop, "a.example", &mut self.entropy);
                self.opened(at);
            }
            (3, Some(at)) => {
                let room = self.tunnel.room(at);
                assert!(self.tunnel.handle_write(at, &vec![c; many]) == many.min(room) && room <= MAX_UNSENT);
            }
            (4, Some(at)) => {
                self.tunnel.handle_read(at, many);
                self.unread.entry(at).and_modify(|unread| *unread = unread.saturating_sub(many));
            }
            (5, Some(at)) => self.finish(at, false),
            (6, Some(at)) => self.finish(at, true),
            (7 | 8, _) => self.pull(usize::from(c)),
            (9, _) => self.say(hop, Command(b), at.map(|at| at.id), &[c; 30]),
            (10, Some(at)) => self.say(at.hop, Command(c), Some(at.id), &[0; 9]),
            (11, Some(at)) => (0..c).for_each(|_| self.say(at.hop, Command::DATA, Some(at.id), &[c; 100])),
            (12, _) => self.acknowledge(hop),
            (13, _) => self.cells(CellCommand(b), &[[c; BODY_LEN]]),
            (14, _) => drop(self.tunnel.listen_to(hop)),
            (15, _) => self.tunnel.handle_timeout(self.now),
            _ => {}
        }
    }

    fn opened(&mut self, at: Result<StreamAt, Error>) {
        match at {
            Ok(at) => {
                assert!(!self.unread.contains_key(&at), "a number is not given twice");
                self.streams.push(at);
                self.unread.insert(at, 0);
            }
            Err(Error::NoSuchHop | Error::QueueFull | Error::Stream(StreamError::TooManyStreams)) => {}
            Err(error) => assert_eq!(Some(error), self.closed),
        }
    }

    fn finish(&mut self, at: StreamAt, at_once: bool) {
        if at_once {
            self.tunnel.reset(at);
            self.unread.remove(&at);
        } else {
            self.tunnel.finish(at);
        }
    }

    fn pull(&mut self, most: usize) {
        for _ in 0..most {
            let mut cell = [0; BODY_LEN];
            let Some(command) = self.tunnel.take_cell(Leg(0), &mut cell, self.now, &mut self.entropy) else { return };
            let heard = self.far.hear(command, &mut cell);
            assert!(heard.is_some(), "a hop knows each cell");
            let Some((hop, tag)) = heard else { continue };
            let message = self.far.format(hop).parse(&cell);
            assert!(message.is_ok_and(|message| message.stream_fits()), "and can read it");
            if message.is_ok_and(|message| message.command == Command::DATA) {
                let (sent, tags) = self.tags.entry(hop).or_default();
                *sent += 1;
                if sent.is_multiple_of(100) {
                    tags.push_back(tag);
                }
                assert!(tags.len() <= 10, "no more than the window goes out");
            }
        }
    }

    fn say(&mut self, hop: HopNo, command: Command, stream: Option<StreamId>, body: &[u8]) {
        if let Ok(cell) = self.far.say(hop, command, stream, body, &mut self.entropy) {
            self.cells(CellCommand::RELAY, &[cell]);
        }
    }

    fn acknowledge(&mut self, hop: HopNo) {
        let tag = self.tags.get_mut(&hop).and_then(|(_, tags)| tags.pop_front());
        let Some(tag) = tag else { return };
        let length = u8::try_from(tag.as_bytes().len()).unwrap_or_default();
        let was_closed = self.closed;
        self.say(hop, Command::SENDME, None, &[&[1, 0, length], tag.as_bytes()].concat());
        self.drain();
        assert_eq!(self.closed, was_closed, "a right proof is taken");
    }

    fn cells(&mut self, command: CellCommand, cells: &[Body]) {
        let mut batch = CellBatch::default();
        cells.iter().for_each(|cell| batch.append(command, cell));
        self.tunnel.handle_cells(Leg(0), batch, self.now);
        self.drain();
        assert!(self.tunnel.take_batch().is_some());
    }

    fn drain(&mut self) {
        while let Some(output) = self.tunnel.poll_output() {
            assert!(self.closed.is_none(), "nothing comes after the end: {output:?}");
            match output {
                Output::Data { stream, at } => {
                    assert!(!at.is_empty() && self.tunnel.bytes(&at).len() == at.len());
                    let unread = self.unread.get_mut(&stream);
                    assert!(unread.is_some(), "data is of a stream that is not over");
                    unread.into_iter().for_each(|unread| *unread += at.len());
                }
                Output::Ended { stream, .. } => assert!(self.unread.remove(&stream).is_some(), "a stream ends once"),
                Output::Resolved { stream, .. } => {
                    assert!(self.unread.remove(&stream).is_some(), "or is answered once")
                }
                Output::Closed { error, .. } => self.closed = Some(error),
                _ => {}
            }
        }
    }

    fn check(&mut self) {
        self.drain();
        assert_eq!(self.tunnel.failure(), self.closed);
        assert!(self.closed.is_none() || self.tunnel.hop_count() == 0);
        assert!((0..4).all(|hop| self.tunnel.stream_count(HopNo(hop)) <= MAX_STREAMS + MAX_HALF_CLOSED));
        for (at, unread) in &self.unread {
            assert!(
                *unread <= MAX_UNREAD + 498 * usize::try_from(WINDOW).unwrap_or(0),
                "an idle reader costs a window"
            );
            assert!(self.tunnel.unread(*at) <= *unread);
        }
        self.now = self.now.plus(core::time::Duration::from_millis(1));
    }
}
