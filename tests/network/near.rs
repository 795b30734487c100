//! The scripted near end: a link, a circuit and its streams, each step by hand.
//!
//! Not the client: it decides nothing and checks only what the next step needs. Whatever
//! does not fit what the script waits for panics.

use std::collections::VecDeque;
use std::time::Duration;

use cepa::internal::base::RelayIds;
use cepa::internal::base::codec::Writer;
use cepa::internal::base::redact::Sensitive;
use cepa::internal::crypto::layer::{Cipher, ClientLayer};
use cepa::internal::crypto::{SendmeTag, fast, ntor, ntor3};
use cepa::internal::link::padding::Timing;
use cepa::internal::link::{self, Link, Output};
use cepa::internal::wire;
use cepa::internal::wire::cell::{BODY_LEN, Body, CircId, Command as CellCommand};
use cepa::internal::wire::cell_msg::{Create2, CreateFast, Created2, CreatedFast, DestroyReason, HandshakeType};
use cepa::internal::wire::extend::{Extend2, Target};
use cepa::internal::wire::relay::{Command, Format, StreamId};
use cepa::internal::wire::relay_msg::{Begin, BeginFlags, ClaimedTag as MessageTag, End, EndReason, Sendme};
use cepa::lab::network::{Arrival, NearId, Network, RelayFacts, RelayNo};
use cepa::lab::seed::SeededEntropy;

/// How long a script waits for anything, in virtual time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Congestion control and Counter Galois Onion asked for, as wire/extension.rs writes them.
pub const ASK_CGO: &[u8] = &[1, 3, 2, 2, 6];
/// No extensions.
pub const ASK_NOTHING: &[u8] = &[0];

/// What came on the circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message of the hop of that number, counted from 0.
    Message { hop: usize, command: Command, stream: Option<StreamId>, body: Vec<u8> },
    /// A cell that no hop recognized.
    Noise,
    /// The circuit was destroyed.
    Destroyed(DestroyReason),
    /// The link failed, or was closed.
    LinkGone,
}

/// A near end with one link and at most one circuit.
pub struct Near<'n> {
    pub network: &'n mut Network,
    id: NearId,
    link: Link,
    circ_id: Option<CircId>,
    hops: Vec<(ClientLayer, Format)>,
    entropy: SeededEntropy,
    pub events: VecDeque<Event>,
    cells: VecDeque<(CellCommand, Vec<u8>)>,
    data: Acknowledgements,
    next_stream: u16,
    pub established: bool,
    /// Why the link failed.
    pub link_error: Option<link::Error>,
}

impl<'n> Near<'n> {
    /// Connects to a relay, and begins the link handshake.
    pub fn connect(network: &'n mut Network, relay: RelayNo) -> Near<'n> {
        let facts = *network.facts(relay);
        let (id, seed) = (network.connect(facts.address), network.seed());
        let wanted = RelayIds { rsa: Some(facts.rsa), ed25519: Some(facts.ed25519) };
        let link = Link::initiate(wanted, facts.leaf, facts.address.ip(), Timing::default(), network.now());
        let mut near = Near {
            network,
            id,
            link,
            circ_id: None,
            hops: Vec::new(),
            entropy: SeededEntropy::new(seed, &format!("{id:?}")),
            events: VecDeque::new(),
            cells: VecDeque::new(),
            data: Acknowledgements::default(),
            next_stream: 1,
            established: false,
            link_error: None,
        };
        near.flush();
        near
    }

    /// Connects to a relay and goes through the link handshake.
    pub fn dial(network: &'n mut Network, relay: RelayNo) -> Near<'n> {
        let mut near = Near::connect(network, relay);
        near.wait(|near| near.established);
        near
    }

    /// Runs until the link has failed; gives why.
    pub fn link_failure(&mut self) -> link::Error {
        let end = self.network.now().tick + 2 * PATIENCE;
        while self.link_error.is_none() {
            let deadline = self.link.next_deadline().unwrap_or(end).min(end);
            if !self.network.step(deadline) {
                let now = self.network.now();
                self.link_error = self.link.handle_timeout(now, &mut self.entropy).err();
                assert!(now.tick < end, "the link did not fail");
            }
            self.hear();
        }
        self.link_error.unwrap()
    }

    /// Opens the first hop by CREATE_FAST.
    pub fn create_fast(&mut self) {
        assert!(self.try_create_fast(), "CREATED_FAST proves nothing");
    }

    /// The same; false if the answer proves nothing.
    pub fn try_create_fast(&mut self) -> bool {
        let (client, x) = fast::Client::start(&mut self.entropy);
        let mut body = [0; BODY_LEN];
        CreateFast { x }.encode(&mut Writer::new(&mut body)).unwrap();
        let answer = self.create(CellCommand::CREATE_FAST, &body, CellCommand::CREATED_FAST);
        let CreatedFast { y, key_hash } = CreatedFast::parse(&answer).unwrap();
        let Ok(keys) = client.finish(&[y, key_hash].concat().try_into().unwrap()) else { return false };
        self.hops.push((ClientLayer::new(Cipher::Tor1, keys).unwrap().0, Format::V0));
        true
    }

    /// Opens the first hop by ntor.
    pub fn create_ntor(&mut self, relay: RelayNo) {
        let facts = *self.network.facts(relay);
        let (client, onionskin) = ntor_start(&mut self.entropy, &facts);
        let answer = self.create2(HandshakeType::NTOR, &onionskin);
        let keys = client.finish(&answer).unwrap();
        self.hops.push((ClientLayer::new(Cipher::Tor1, keys).unwrap().0, Format::V0));
    }

    /// Adds a hop by ntor.
    pub fn extend_ntor(&mut self, relay: RelayNo) {
        let facts = *self.network.facts(relay);
        let (client, onionskin) = ntor_start(&mut self.entropy, &facts);
        let answer = self.extend(&facts, HandshakeType::NTOR, &onionskin);
        let keys = client.finish(&answer).unwrap();
        self.hops.push((ClientLayer::new(Cipher::Tor1, keys).unwrap().0, Format::V0));
    }

    /// Adds a hop by ntor-v3 with these extensions; CGO follows from asking for it.
    pub fn extend_v3(&mut self, relay: RelayNo, ask: &[u8]) {
        let facts = *self.network.facts(relay);
        let key = ntor3::RelayKey { id: facts.ed25519, onion_key: facts.onion_key };
        let (client, onionskin) = ntor3::Client::start(&mut self.entropy, key, ask, ntor3::CIRCUIT_EXTEND).unwrap();
        let answer = self.extend(&facts, HandshakeType::NTOR_V3, &onionskin);
        let (granted, keys) = client.finish(&answer).unwrap();
        assert_eq!(granted, [0], "nothing is granted yet");
        let (cipher, format) = if ask == ASK_CGO { (Cipher::Cgo, Format::V1) } else { (Cipher::Tor1, Format::V0) };
        self.hops.push((ClientLayer::new(cipher, keys).unwrap().0, format));
    }

    /// Sends EXTEND2 and waits for what comes, which need not be EXTENDED2.
    pub fn try_extend(&mut self, target: &Target, handshake_type: HandshakeType, onionskin: &[u8]) -> Event {
        self.extend_unheard(target, handshake_type, onionskin);
        self.next_event()
    }

    /// Sends EXTEND2, and does not wait.
    pub fn extend_unheard(&mut self, target: &Target, handshake_type: HandshakeType, onionskin: &[u8]) {
        let mut body = [0; 490];
        let mut writer = Writer::new(&mut body);
        Extend2::encode_to(target, &Create2 { handshake_type, data: onionskin }, &mut writer).unwrap();
        let length = writer.written();
        let last = self.hops.len() - 1;
        self.send_as(CellCommand::RELAY_EARLY, last, Command::EXTEND2, None, &body[..length]);
    }

    /// Closes the connection.
    pub fn hang_up(&mut self) {
        self.network.hang_up(self.id);
    }

    /// The circuit is gone; another one may be made.
    pub fn forget_circuit(&mut self) {
        self.circ_id = None;
        self.hops.clear();
        self.data = Acknowledgements::default();
    }

    fn extend(&mut self, facts: &RelayFacts, handshake_type: HandshakeType, onionskin: &[u8]) -> Vec<u8> {
        let Event::Message { command: Command::EXTENDED2, body, hop, .. } =
            self.try_extend(&target(facts), handshake_type, onionskin)
        else {
            panic!("not extended: {:?}", self.events)
        };
        assert_eq!(hop, self.hops.len() - 1);
        Created2::parse(&body).unwrap().data.to_vec()
    }

    fn create2(&mut self, handshake_type: HandshakeType, onionskin: &[u8]) -> Vec<u8> {
        Created2::parse(&self.try_create2(handshake_type, onionskin)).unwrap().data.to_vec()
    }

    /// Sends CREATE2; gives the body of CREATED2 as it came.
    pub fn try_create2(&mut self, handshake_type: HandshakeType, onionskin: &[u8]) -> Vec<u8> {
        let mut body = [0; BODY_LEN];
        Create2 { handshake_type, data: onionskin }.encode(&mut Writer::new(&mut body)).unwrap();
        self.create(CellCommand::CREATE2, &body, CellCommand::CREATED2)
    }

    fn create(&mut self, command: CellCommand, body: &Body, wanted: CellCommand) -> Vec<u8> {
        let circ_id = self.link.open_circuit(&mut self.entropy).unwrap();
        self.circ_id = Some(circ_id);
        self.send_cell(command, body);
        self.wait(|near| !near.cells.is_empty());
        let (command, body) = self.cells.pop_front().unwrap();
        assert_eq!(command, wanted);
        body
    }

    /// Begins a stream at the last hop, and does not wait.
    pub fn begin_unheard(&mut self, host: &str, port: u16) -> StreamId {
        let stream = self.new_stream();
        let mut body = [0; 300];
        let mut writer = Writer::new(&mut body);
        let begin = Begin { host: Sensitive::new(host), port, flags: BeginFlags::default() };
        begin.encode(&mut writer).unwrap();
        let length = writer.written();
        self.send(Command::BEGIN, Some(stream), &body[..length]);
        stream
    }

    /// Begins a stream at the last hop, and waits until it is open.
    pub fn begin(&mut self, host: &str) -> StreamId {
        let stream = self.begin_unheard(host, 80);
        let event = self.next_event();
        let Event::Message { command, stream: Some(heard), .. } = event else { panic!("not connected: {event:?}") };
        assert_eq!((command, heard), (Command::CONNECTED, stream));
        stream
    }

    /// Begins a stream to the directory of the last hop, and waits until it is open.
    pub fn begin_dir(&mut self) -> StreamId {
        let stream = self.new_stream();
        self.send(Command::BEGIN_DIR, Some(stream), &[]);
        let event = self.next_event();
        let Event::Message { command, stream: Some(heard), .. } = event else { panic!("no directory: {event:?}") };
        assert_eq!((command, heard), (Command::CONNECTED, stream));
        stream
    }

    /// Asks the directory of the last hop for something, and does not wait.
    pub fn ask(&mut self, path: &str) -> StreamId {
        let stream = self.begin_dir();
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        request.as_bytes().chunks(498).for_each(|chunk| self.send(Command::DATA, Some(stream), chunk));
        stream
    }

    /// Asks the directory of the last hop for something; gives the head and the body.
    pub fn get(&mut self, path: &str) -> (String, Vec<u8>) {
        let stream = self.ask(path);
        let (mut answer, reason) = self.read_to_end(stream);
        assert_eq!(reason, EndReason::DONE);
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let body = answer.split_off(end);
        (String::from_utf8(answer).unwrap(), body)
    }

    pub fn new_stream(&mut self) -> StreamId {
        self.next_stream += 1;
        StreamId::new(self.next_stream).unwrap()
    }

    /// Sends a message to the last hop.
    pub fn send(&mut self, command: Command, stream: Option<StreamId>, body: &[u8]) {
        let last = self.hops.len() - 1;
        self.send_as(CellCommand::RELAY, last, command, stream, body);
    }

    /// Sends a message to a hop in a cell of that command.
    pub fn send_as(
        &mut self,
        cell_command: CellCommand,
        hop: usize,
        command: Command,
        stream: Option<StreamId>,
        body: &[u8],
    ) -> SendmeTag {
        let mut cell = [0; BODY_LEN];
        let (layer, format) = &mut self.hops[hop];
        format
            .encode(&mut cell, command, stream, &mut self.entropy, |out| out.bytes(body).map_err(wire::Error::from))
            .unwrap();
        let tag = layer.originate(cell_command.0, &mut cell);
        self.hops[..hop].iter_mut().rev().for_each(|(layer, _)| layer.wrap(cell_command.0, &mut cell));
        self.send_cell(cell_command, &cell);
        tag
    }

    /// Sends any cell on the circuit.
    pub fn send_cell(&mut self, command: CellCommand, body: &Body) {
        let circ_id = self.circ_id.unwrap();
        let now = self.network.now();
        self.link.handle_send(circ_id, command, body, now).unwrap();
        self.flush();
    }

    /// Reads a stream to its end, acknowledging as it goes; gives the bytes and the reason.
    pub fn read_to_end(&mut self, stream: StreamId) -> (Vec<u8>, EndReason) {
        let mut bytes = Vec::new();
        let mut cells = 0_u32;
        loop {
            match self.next_event() {
                Event::Message { command: Command::DATA, stream: Some(heard), body, .. } if heard == stream => {
                    bytes.extend(body);
                    cells += 1;
                    self.acknowledge(stream, cells);
                }
                Event::Message { command: Command::END, stream: Some(heard), body, .. } if heard == stream => {
                    return (bytes, End::parse(&body).unwrap().reason);
                }
                Event::Message { command: Command::SENDME, .. } => {}
                other => panic!("while reading: {other:?}"),
            }
        }
    }

    /// Sends the SENDMEs that are due when so many DATA cells have come.
    pub fn acknowledge(&mut self, stream: StreamId, cells: u32) {
        if cells.is_multiple_of(50) {
            self.send(Command::SENDME, Some(stream), &[]);
        }
        while let Some(tag) = self.data.due.pop_front() {
            let tag = MessageTag::Tor1(tag.as_bytes().try_into().unwrap());
            let mut body = [0; 23];
            Sendme::V1(tag).encode(&mut Writer::new(&mut body)).unwrap();
            self.send(Command::SENDME, None, &body);
        }
    }

    /// The next thing that comes on the circuit.
    pub fn next_event(&mut self) -> Event {
        self.wait(|near| !near.events.is_empty());
        self.events.pop_front().unwrap()
    }

    /// What comes within a time; `None` if nothing does.
    pub fn event_within(&mut self, time: Duration) -> Option<Event> {
        let end = self.network.now().tick + time;
        while self.events.is_empty() && self.network.step(end) {
            self.hear();
        }
        self.events.pop_front()
    }

    fn wait(&mut self, done: impl Fn(&Near<'_>) -> bool) {
        let end = self.network.now().tick + PATIENCE;
        self.flush();
        while !done(self) {
            assert!(self.network.step(end), "waited in vain");
            self.hear();
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Some(bytes) = self.link.take_transmit() {
            self.network.send(self.id, bytes);
        }
        while let Some(output) = self.link.poll_output() {
            match output {
                Output::Established(_) => self.established = true,
                Output::Cells(cells) => self.hear_cells(cells),
            }
        }
    }

    fn hear(&mut self) {
        while let Some(arrival) = self.network.receive(self.id) {
            let Arrival::Bytes(bytes) = arrival else {
                self.events.push_back(Event::LinkGone);
                continue;
            };
            for chunk in bytes.chunks(link::frame::READ_LEN) {
                let mut buffer = self.link.begin_read();
                buffer.extend_from_slice(chunk);
                let now = self.network.now();
                if let Err(error) = self.link.handle_read(buffer, now) {
                    self.link_error.get_or_insert(error);
                    self.events.push_back(Event::LinkGone);
                }
            }
            self.flush();
        }
    }

    fn hear_cells(&mut self, mut cells: link::Cells) {
        for index in 0..cells.cells.len() {
            let command = cells.cells[index].command;
            let body: &mut Body = cells.body_mut(index).unwrap().try_into().unwrap();
            let event = match command {
                CellCommand::RELAY => peel(&mut self.hops, command, body, &mut self.data),
                CellCommand::DESTROY => Event::Destroyed(DestroyReason(body[0])),
                _ => {
                    self.cells.push_back((command, body.to_vec()));
                    continue;
                }
            };
            self.events.push_back(event);
        }
        self.link.recycle(cells);
    }
}

/// The DATA cells that came, and the proofs for those that a SENDME is for.
#[derive(Default)]
struct Acknowledgements {
    cells: u32,
    due: VecDeque<SendmeTag>,
}

impl Acknowledgements {
    fn on_data(&mut self, tag: SendmeTag) {
        self.cells += 1;
        if self.cells.is_multiple_of(100) {
            self.due.push_back(tag);
        }
    }
}

fn peel(
    hops: &mut [(ClientLayer, Format)],
    command: CellCommand,
    body: &mut Body,
    data: &mut Acknowledgements,
) -> Event {
    for (hop, (layer, format)) in hops.iter_mut().enumerate() {
        if let Some(tag) = layer.peel(command.0, body) {
            let message = format.parse(body).unwrap();
            if message.command == Command::DATA {
                data.on_data(tag);
            }
            return Event::Message {
                hop,
                command: message.command,
                stream: message.stream,
                body: message.body.to_vec(),
            };
        }
    }
    Event::Noise
}

pub fn ntor_start(entropy: &mut SeededEntropy, facts: &RelayFacts) -> (ntor::Client, [u8; 84]) {
    ntor::Client::start(entropy, ntor::RelayKey { id: facts.rsa, onion_key: facts.onion_key }).unwrap()
}

/// A relay as EXTEND2 names it.
pub fn target(facts: &RelayFacts) -> Target {
    let std::net::SocketAddr::V4(ipv4) = facts.address else { panic!("the lab is IPv4") };
    Target { ipv4: Some(ipv4), ipv6: None, ids: facts.ids }
}
