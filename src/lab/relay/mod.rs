//! A relay of the lab: links on all sides, circuits through it, streams that end at it.
//!
//! A machine like the client's: bytes and a time go in; bytes, and links to dial or close,
//! come out. It is a real relay in what it says, not in what it endures: no bandwidth
//! limits, no defence against floods beyond its bounds, keys that replay from a seed.
//! Backpressure is by pulling: what a stream has to say is turned into cells only when the
//! runner asks for bytes ([`Relay::take_transmit`]). Called by the virtual network
//! (`lab/mod.rs`) and by `lab/loopback.rs`. Spec: tor-spec, "Circuit management".

mod circuit;
mod stream;

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::ops::Bound;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::RelayIds;
use crate::base::time::{Now, Tick, earlier};
use crate::lab::crooked;
use crate::lab::origin::{self, Given, Habit, Origin, ResolveFailure};
use crate::lab::seed::SeededEntropy;
use crate::lab::villain::{self, Mangler, Villain};
use crate::link::handshake::Responder;
use crate::link::identity::{Credentials, LeafDigest};
use crate::link::padding::Timing;
use crate::link::{Link, Output as LinkOutput};
use crate::wire::cell::{BODY_LEN, Body, CircId, Command as CellCommand};
use crate::wire::cell_msg::{Create2, CreateFast, Created2, Destroy, DestroyReason, HandshakeType};
use crate::wire::extend::{Extend2, Target, Truncated};
use crate::wire::relay::{Command, Message, StreamId};
use crate::wire::relay_msg::{Answer, Begin, Connected, End, EndReason, Resolve, Resolved, Sendme};

pub use circuit::{CIRCUIT_INCREMENT, CIRCUIT_WINDOW, Circuit, Created, Fault, OnionKeys};
pub use stream::{Behind, PIPE_ROOM, Pipe, STREAM_INCREMENT, STREAM_WINDOW, Stream};

/// Bytes turned into cells before the runner is given some; ours, two TLS records.
const TRANSMIT_LEN: usize = 32 * 1024;
/// RELAY_EARLY cells a circuit may carry (tor-spec).
const MAX_RELAY_EARLY: u32 = 8;
/// Circuits of one link, and streams of one circuit; ours.
const MAX_CIRCUITS: usize = 4096;
const MAX_STREAMS: usize = 4096;

/// One connection of a relay, as the relay and its runner call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// What a relay wants done besides writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect there, and report with [`Relay::handle_dialled`] or [`Relay::handle_closed`].
    Dial {
        /// What the connection will be called.
        link: LinkId,
        /// Where to.
        to: SocketAddr,
    },
    /// Close that connection.
    Close(LinkId),
    /// Connect a stream to a server on this machine, and report with
    /// [`Relay::handle_connected`].
    Connect {
        /// What the stream will be called.
        stream: StreamKey,
        /// Where to.
        to: SocketAddr,
    },
    /// There are bytes to write to a stream's socket.
    Write(StreamKey),
    /// A stream is over: write these last bytes to its socket, and close it.
    HangUp(StreamKey, Vec<u8>),
}

/// One stream with a socket, as the relay and its runner call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamKey(CircuitNo, StreamId);

/// Who answers requests for directory documents.
pub trait Directory: Send {
    /// The answer to a request, once all of the request is there.
    fn answer(&self, request: &[u8], now: Now) -> Option<Answered>;
}

/// What a directory says to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What it says first.
    pub bytes: Vec<u8>,
    /// Where it goes on when it has said that, of an answer that never ends.
    pub again_from: Option<usize>,
}

/// What a relay is.
pub struct Config {
    /// How it answers circuit handshakes, and both its identities.
    pub onion: OnionKeys,
    /// What it shows on each new link: proof of who it is.
    pub credentials: Credentials,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it opens streams to the lab's servers.
    pub is_exit: bool,
    /// Whether it opens streams to sockets on this machine too.
    pub reaches_loopback: bool,
    /// What it knows of the network, if it is a directory cache.
    pub directory: Option<Box<dyn Directory>>,
    /// How its links are padded.
    pub timing: Timing,
    /// What it does wrong, if anything.
    pub villain: Option<Villain>,
}

/// A relay.
pub struct Relay {
    config: Config,
    entropy: SeededEntropy,
    channels: BTreeMap<LinkId, Channel>,
    circuits: BTreeMap<CircuitNo, Routed>,
    next_link: u32,
    next_circuit: u32,
    written: u64,
    /// Links that have something to write, or circuits with something to say.
    ready: BTreeSet<LinkId>,
    outputs: VecDeque<Output>,
}

/// One link and what runs over it.
struct Channel {
    link: Link,
    /// Whom we dialled; `None` for a link that was dialled to us.
    dialled: Option<RelayIds>,
    established: bool,
    circuits: BTreeMap<CircId, (CircuitNo, Side)>,
    /// Circuits of clients on this link that may have something to say, in turn.
    talking: VecDeque<CircuitNo>,
    /// Circuits that wait for this link to be up.
    extending: Vec<CircuitNo>,
    /// What a villain does to what it writes here.
    mangler: Option<Mangler>,
}

/// On which side of a circuit a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Towards the client.
    Client,
    /// Away from it.
    Far,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CircuitNo(u32);

/// A circuit and the way on both its sides.
struct Routed {
    circuit: Circuit,
    client: (LinkId, CircId),
    far: Far,
    early: u32,
    deadline: Option<Tick>,
}

/// The way on.
enum Far {
    /// The circuit ends here.
    Nothing,
    /// The link to the next relay is not up yet.
    Dialling(LinkId, HandshakeType, Vec<u8>),
    /// CREATE2 is sent.
    Creating(LinkId, CircId),
    /// The circuit goes on.
    Open(LinkId, CircId),
}

impl Far {
    fn hop(&self) -> Option<(LinkId, CircId)> {
        match *self {
            Far::Creating(link, circ_id) | Far::Open(link, circ_id) => Some((link, circ_id)),
            Far::Nothing | Far::Dialling(..) => None,
        }
    }
}

impl Relay {
    /// A relay that draws from the stream of its `name` under `seed`.
    pub fn new(mut config: Config, seed: u64, name: &str) -> Self {
        let directory = config.directory.take();
        let mut relay = Relay {
            config,
            entropy: SeededEntropy::new(seed, name),
            channels: BTreeMap::new(),
            circuits: BTreeMap::new(),
            next_link: 0,
            next_circuit: 0,
            written: 0,
            ready: BTreeSet::new(),
            outputs: VecDeque::new(),
        };
        directory.into_iter().for_each(|directory| relay.set_directory(directory));
        relay
    }

    /// From now on it is a directory cache, or another one.
    pub fn set_directory(&mut self, directory: Box<dyn Directory>) {
        self.config.directory = Some(match self.config.villain {
            Some(villain) => crooked::wrap(directory, villain),
            None => directory,
        });
    }

    /// Somebody connected, from `peer`. TLS, if any, is up.
    pub fn handle_accepted(&mut self, peer: IpAddr, now: Now) -> LinkId {
        let responder = Responder {
            credentials: self.config.credentials.clone(),
            challenge: crate::base::random::array(&mut self.entropy),
            their_address: peer,
            own_addresses: self.config.addresses.clone(),
        };
        self.add_channel(Link::respond(responder, self.config.timing, now), None)
    }

    /// A connection that was to be dialled is up; its TLS showed `leaf`.
    pub fn handle_dialled(&mut self, id: LinkId, to: SocketAddr, leaf: LeafDigest, now: Now) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let wanted = channel.dialled.unwrap_or_default();
        channel.link = Link::initiate(wanted, leaf, to.ip(), self.config.timing, now);
        self.ready.insert(id);
    }

    /// A connection is gone, or never came to be.
    pub fn handle_closed(&mut self, id: LinkId, now: Now) {
        self.drop_channel(id, now);
    }

    /// A buffer for the next read of a link.
    pub fn begin_read(&mut self, id: LinkId) -> Vec<u8> {
        self.channels.get_mut(&id).map(|channel| channel.link.begin_read()).unwrap_or_default()
    }

    /// Takes what a read brought.
    pub fn handle_read(&mut self, id: LinkId, buffer: Vec<u8>, now: Now) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let result = channel.link.handle_read(buffer, now);
        // What came before the fault still counts.
        self.drain(id, now);
        if result.is_err() {
            self.outputs.push_back(Output::Close(id));
            self.drop_channel(id, now);
        }
    }

    /// The links that have bytes to write.
    pub fn ready(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.ready.iter().copied()
    }

    /// The next bytes to write to a link. The runner calls this when it can write.
    pub fn take_transmit(&mut self, id: LinkId, now: Now) -> Option<Vec<u8>> {
        let bytes = match self.trickle(id, now) {
            Some(drop) => drop,
            None => self.take_honest(id, now),
        };
        match &bytes {
            None => {
                self.ready.remove(&id);
            }
            Some(bytes) => self.written += u64::try_from(bytes.len()).unwrap_or(0),
        }
        bytes
    }

    /// What a villain gives of what it holds back; `None` if it holds back nothing.
    fn trickle(&mut self, id: LinkId, now: Now) -> Option<Option<Vec<u8>>> {
        self.channels.get_mut(&id)?.mangler.as_mut()?.trickle(now.tick)
    }

    fn take_honest(&mut self, id: LinkId, now: Now) -> Option<Vec<u8>> {
        while self.channels.get(&id).is_some_and(|channel| channel.link.queued() < TRANSMIT_LEN) {
            if !self.talk(id, now) {
                break;
            }
        }
        let channel = self.channels.get_mut(&id)?;
        let bytes = channel.link.take_transmit();
        match &mut channel.mangler {
            Some(mangler) => bytes.map(|bytes| mangler.mangle(bytes, now.tick)),
            None => bytes,
        }
    }

    /// The next thing to do besides writing.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Relay::handle_timeout`].
    pub fn next_deadline(&self) -> Option<Tick> {
        let links = self.channels.values().map(|channel| channel.link.next_deadline());
        let circuits = self.circuits.values().map(|routed| routed.deadline);
        links.chain(circuits).chain(self.trickles().map(|(_, at)| Some(at))).fold(None, earlier)
    }

    /// The links that villains hold bytes of back for, and until when.
    fn trickles(&self) -> impl Iterator<Item = (LinkId, Tick)> {
        let waiting = self.channels.iter().filter(|(id, _)| !self.ready.contains(id));
        waiting.filter_map(|(id, channel)| Some((*id, channel.mangler.as_ref()?.next_drop()?)))
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Now) {
        let drops: Vec<_> = self.trickles().filter(|(_, at)| *at <= now.tick).map(|(id, _)| id).collect();
        self.ready.extend(drops);
        let late: Vec<_> = self
            .channels
            .iter_mut()
            .filter_map(|(id, channel)| {
                let due = channel.link.next_deadline().is_some_and(|deadline| deadline <= now.tick);
                self.ready.extend(due.then_some(*id));
                (due && channel.link.handle_timeout(now, &mut self.entropy).is_err()).then_some(*id)
            })
            .collect();
        for id in late {
            self.outputs.push_back(Output::Close(id));
            self.drop_channel(id, now);
        }
        let due = |routed: &Routed| routed.deadline.is_some_and(|deadline| deadline <= now.tick);
        let circuits: Vec<_> = self.circuits.iter().filter(|(_, routed)| due(routed)).map(|(no, _)| *no).collect();
        for no in circuits {
            self.wake(no);
            self.acknowledge_streams(no, now);
        }
    }

    /// A stream's socket is connected, or why it is not.
    pub fn handle_connected(&mut self, key: StreamKey, result: Result<SocketAddr, EndReason>, now: Now) {
        let StreamKey(no, id) = key;
        if self.pipe(key).is_none() {
            return;
        }
        match result {
            Ok(address) => {
                let address = Some((crate::base::redact::Sensitive::new(address.ip()), origin::TTL));
                self.say(no, Command::CONNECTED, Some(id), now, |out| Connected { address }.encode(out));
            }
            Err(reason) => {
                self.forget_stream(no, id);
                self.say_end(no, id, reason, now);
            }
        }
    }

    /// How many bytes a stream will take from its socket now.
    pub fn room(&mut self, key: StreamKey) -> usize {
        self.pipe(key).map_or(0, |pipe| PIPE_ROOM.saturating_sub(pipe.inbox.len()))
    }

    /// A stream's socket gave bytes, no more than there was room for.
    pub fn handle_socket_bytes(&mut self, key: StreamKey, bytes: &[u8]) {
        if let Some(pipe) = self.pipe(key) {
            pipe.inbox.extend(bytes);
            self.wake(key.0);
        }
    }

    /// A stream's socket gives no more.
    pub fn handle_socket_end(&mut self, key: StreamKey, reason: EndReason) {
        if let Some(pipe) = self.pipe(key) {
            pipe.ended = Some(reason);
            self.wake(key.0);
        }
    }

    /// What is to be written to a stream's socket; what the stream holds is then nothing.
    pub fn take_socket_bytes(&mut self, key: StreamKey, now: Now) -> Vec<u8> {
        let bytes = self.pipe(key).map(|pipe| core::mem::take(&mut pipe.outbox)).unwrap_or_default();
        if !bytes.is_empty() {
            self.acknowledge_streams(key.0, now);
        }
        bytes
    }

    fn pipe(&mut self, StreamKey(no, id): StreamKey) -> Option<&mut Pipe> {
        match &mut self.circuits.get_mut(&no)?.circuit.streams.get_mut(&id)?.behind {
            Behind::Socket(pipe) => Some(pipe),
            _ => None,
        }
    }

    /// How many circuits run through or end at it.
    pub fn circuit_count(&self) -> usize {
        self.circuits.len()
    }

    /// How many circuits end at it: of all relays together, how many there are.
    pub fn ending_count(&self) -> usize {
        self.circuits.values().filter(|routed| matches!(routed.far, Far::Nothing)).count()
    }

    /// How many bytes it has written to its links.
    pub fn written(&self) -> u64 {
        self.written
    }

    // --- links ---------------------------------------------------------------------------

    fn add_channel(&mut self, link: Link, dialled: Option<RelayIds>) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        // Villains deceive whoever dials them; to the relays they dial they are honest.
        let is_clients = dialled.is_none();
        let channel = Channel {
            link,
            dialled,
            established: false,
            circuits: BTreeMap::new(),
            talking: VecDeque::new(),
            extending: Vec::new(),
            mangler: self.config.villain.filter(|_| is_clients).map(Mangler::new),
        };
        self.channels.insert(id, channel);
        id
    }

    /// Handles all that a link has to say about what it read.
    fn drain(&mut self, id: LinkId, now: Now) {
        loop {
            let Some(channel) = self.channels.get_mut(&id) else { return };
            if channel.link.queued() > 0 {
                self.ready.insert(id);
            }
            match channel.link.poll_output() {
                None => return,
                Some(LinkOutput::Established(_)) => {
                    channel.established = true;
                    for no in core::mem::take(&mut channel.extending) {
                        self.create_far(no, now);
                    }
                }
                Some(LinkOutput::Cells(mut cells)) => {
                    for index in 0..cells.cells.len() {
                        let cell = cells.cells[index].clone();
                        let body = cells.body_mut(index).and_then(|body| <&mut Body>::try_from(body).ok());
                        if let (Some(circ_id), Some(body)) = (cell.circ_id, body) {
                            self.on_cell(id, circ_id, cell.command, body, now);
                        }
                    }
                    if let Some(channel) = self.channels.get_mut(&id) {
                        channel.link.recycle(cells);
                    }
                }
            }
        }
    }

    fn drop_channel(&mut self, id: LinkId, now: Now) {
        let Some(channel) = self.channels.remove(&id) else { return };
        self.ready.remove(&id);
        let through: Vec<_> = channel.circuits.values().map(|(no, _)| *no).chain(channel.extending).collect();
        for no in through {
            self.end_circuit(no, DestroyReason::CHANNEL_CLOSED, Some(id), now);
        }
    }

    fn send_cell(&mut self, link: LinkId, circ_id: CircId, command: CellCommand, body: &Body, now: Now) {
        let Some(channel) = self.channels.get_mut(&link) else { return };
        // A queue that is full drops the cell, and with it the circuit: its client will see.
        if channel.link.handle_send(circ_id, command, body, now).is_ok() {
            self.ready.insert(link);
        }
    }

    // --- circuits ------------------------------------------------------------------------

    fn on_cell(&mut self, link: LinkId, circ_id: CircId, command: CellCommand, body: &mut Body, now: Now) {
        match command {
            CellCommand::CREATE_FAST | CellCommand::CREATE2 => self.create(link, circ_id, command, body, now),
            CellCommand::CREATED2 => self.on_created(link, circ_id, body, now),
            CellCommand::DESTROY => self.on_destroy(link, circ_id, body, now),
            CellCommand::RELAY | CellCommand::RELAY_EARLY => match self.route(link, circ_id) {
                Some((no, Side::Client)) => self.on_forward(no, command, body, now),
                Some((no, Side::Far)) => self.on_backward(no, command, body, now),
                None => {}
            },
            _ => {}
        }
    }

    fn route(&self, link: LinkId, circ_id: CircId) -> Option<(CircuitNo, Side)> {
        self.channels.get(&link)?.circuits.get(&circ_id).copied()
    }

    fn create(&mut self, link: LinkId, circ_id: CircId, command: CellCommand, body: &Body, now: Now) {
        let Some(channel) = self.channels.get(&link) else { return };
        if channel.circuits.len() >= MAX_CIRCUITS {
            return self.destroy(link, circ_id, DestroyReason::RESOURCELIMIT, now);
        }
        let mut answer = [0; BODY_LEN];
        let created = if command == CellCommand::CREATE_FAST {
            self.create_fast(body, &mut answer).map(|circuit| (circuit, CellCommand::CREATED_FAST))
        } else {
            self.create2(body, &mut answer).map(|circuit| (circuit, CellCommand::CREATED2))
        };
        let Ok((circuit, command)) = created else {
            return self.destroy(link, circ_id, DestroyReason::PROTOCOL, now);
        };
        let no = CircuitNo(self.next_circuit);
        self.next_circuit += 1;
        let routed = Routed { circuit, client: (link, circ_id), far: Far::Nothing, early: 0, deadline: None };
        self.circuits.insert(no, routed);
        if let Some(channel) = self.channels.get_mut(&link) {
            channel.circuits.insert(circ_id, (no, Side::Client));
        }
        match self.config.villain {
            Some(Villain::BadCreatedAuth) => answer[40] ^= 1,
            Some(Villain::CreatedTooLong) => answer[0] = 0xFF,
            _ => {}
        }
        self.send_cell(link, circ_id, command, &answer, now);
        if self.config.villain == Some(Villain::EarlyDestroy) {
            self.end_circuit(no, DestroyReason::NONE, None, now);
        }
    }

    fn create_fast(&mut self, body: &Body, answer: &mut Body) -> Result<Circuit, Fault> {
        let CreateFast { x } = CreateFast::parse(body)?;
        let created = self.config.onion.create_fast(&x, &mut self.entropy)?;
        answer[..created.answer.len()].copy_from_slice(&created.answer);
        Ok(created.circuit)
    }

    fn create2(&mut self, body: &Body, answer: &mut Body) -> Result<Circuit, Fault> {
        let created = self.config.onion.create2(&Create2::parse(body)?, &mut self.entropy)?;
        write(answer, |out| Created2 { data: &created.answer }.encode(out))?;
        Ok(created.circuit)
    }

    /// Tells one side that a circuit is gone; frees its number there.
    fn destroy(&mut self, link: LinkId, circ_id: CircId, reason: DestroyReason, now: Now) {
        let Some(channel) = self.channels.get_mut(&link) else { return };
        channel.circuits.remove(&circ_id);
        match channel.link.close_circuit(circ_id, reason, now) {
            Ok(()) => {
                self.ready.insert(link);
            }
            Err(_) => {
                self.outputs.push_back(Output::Close(link));
                self.drop_channel(link, now);
            }
        }
    }

    /// A circuit is gone; both sides are told, except a link that is gone itself.
    fn end_circuit(&mut self, no: CircuitNo, reason: DestroyReason, gone: Option<LinkId>, now: Now) {
        let streams = self.circuits.get(&no).map(|routed| routed.circuit.streams.keys().copied().collect::<Vec<_>>());
        streams.unwrap_or_default().into_iter().for_each(|id| self.forget_stream(no, id));
        let Some(routed) = self.circuits.remove(&no) else { return };
        for (link, circ_id) in [Some(routed.client), routed.far.hop()].into_iter().flatten() {
            if Some(link) != gone {
                self.destroy(link, circ_id, reason, now);
            }
        }
    }

    fn on_destroy(&mut self, link: LinkId, circ_id: CircId, body: &Body, now: Now) {
        let Some((no, side)) = self.route(link, circ_id) else { return };
        if let Some(channel) = self.channels.get_mut(&link) {
            channel.circuits.remove(&circ_id);
        }
        let reason = Destroy::parse(body).map_or(DestroyReason::NONE, |destroy| destroy.reason);
        match side {
            Side::Client => self.end_circuit(no, DestroyReason::DESTROYED, Some(link), now),
            // C tor: the circuit now ends here, and its client is told so.
            Side::Far => {
                if let Some(routed) = self.circuits.get_mut(&no) {
                    routed.far = Far::Nothing;
                }
                self.say(no, Command::TRUNCATED, None, now, |out| Truncated { reason }.encode(out));
            }
        }
    }

    fn on_backward(&mut self, no: CircuitNo, command: CellCommand, body: &mut Body, now: Now) {
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        routed.circuit.wrap(command.0, body);
        let (link, circ_id) = routed.client;
        self.send_cell(link, circ_id, CellCommand::RELAY, body, now);
    }

    fn on_forward(&mut self, no: CircuitNo, command: CellCommand, body: &mut Body, now: Now) {
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        routed.early += u32::from(command == CellCommand::RELAY_EARLY);
        if routed.early > MAX_RELAY_EARLY {
            return self.fail(no, Fault::RelayEarly, now);
        }
        match (routed.circuit.peel(command.0, body), &routed.far) {
            (None, &Far::Open(link, circ_id)) => self.send_cell(link, circ_id, command, body, now),
            (None, _) => self.fail(no, Fault::Unrecognized, now),
            (Some(tag), _) => {
                let result = match routed.circuit.format().parse(body) {
                    Ok(message) => self.on_message(no, command, &message, &tag, now),
                    Err(error) => Err(Fault::Wire(error)),
                };
                if let Err(fault) = result {
                    self.fail(no, fault, now);
                }
            }
        }
    }

    fn fail(&mut self, no: CircuitNo, _fault: Fault, now: Now) {
        self.end_circuit(no, DestroyReason::PROTOCOL, None, now);
    }

    /// Sends a message of this relay's to the client of a circuit.
    fn say(
        &mut self,
        no: CircuitNo,
        command: Command,
        stream: Option<StreamId>,
        now: Now,
        fill: impl FnOnce(&mut crate::base::codec::Writer<'_>) -> Result<(), crate::wire::Error>,
    ) {
        let mut body = [0; BODY_LEN];
        let mut writer = crate::base::codec::Writer::new(&mut body);
        if fill(&mut writer).is_ok() {
            let length = writer.written();
            self.say_bytes(no, command, stream, now, &body[..length]);
        }
    }

    fn say_bytes(&mut self, no: CircuitNo, command: Command, stream: Option<StreamId>, now: Now, body: &[u8]) {
        let Some(villain) = self.config.villain else { return self.seal(no, command, stream, now, body) };
        for (command, stream, body) in villain.say((command, stream, body.to_vec())) {
            self.seal(no, command, stream, now, &body);
        }
    }

    fn seal(&mut self, no: CircuitNo, command: Command, stream: Option<StreamId>, now: Now, body: &[u8]) {
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        let (link, circ_id) = routed.client;
        match routed.circuit.seal(command, stream, body, &mut self.entropy) {
            Ok(mut cell) => {
                if self.config.villain == Some(Villain::WrongDigest) {
                    villain::flip(&mut cell);
                }
                self.send_cell(link, circ_id, CellCommand::RELAY, &cell, now);
            }
            Err(fault) => self.fail(no, fault, now),
        }
    }

    // --- extending -----------------------------------------------------------------------

    fn extend(&mut self, no: CircuitNo, command: CellCommand, body: &[u8], now: Now) -> Result<(), Fault> {
        let refused = Err(Fault::Unexpected(Command::EXTEND2));
        if command != CellCommand::RELAY_EARLY {
            return Err(Fault::RelayEarly);
        }
        let extend = Extend2::parse(body)?;
        let target = Target::from_specifiers(&extend.specifiers)?;
        let Some(to) = target.ipv4.map(SocketAddr::from).or(target.ipv6.map(SocketAddr::from)) else { return refused };
        let Some(rsa) = target.ids.rsa else { return refused };
        if rsa.is_zero() || rsa == self.config.onion.rsa || target.ids.ed25519 == Some(self.config.onion.ed25519) {
            return refused;
        }
        let Some(routed) = self.circuits.get_mut(&no) else { return Ok(()) };
        if !matches!(routed.far, Far::Nothing) {
            return refused;
        }
        let known = self.channels.iter().find(|(_, channel)| channel.dialled == Some(target.ids)).map(|(id, _)| *id);
        let link = known.unwrap_or_else(|| self.dial(target.ids, to, now));
        let Some(routed) = self.circuits.get_mut(&no) else { return Ok(()) };
        routed.far = Far::Dialling(link, extend.create.handshake_type, extend.create.data.to_vec());
        match self.channels.get_mut(&link) {
            Some(channel) if !channel.established => channel.extending.push(no),
            _ => self.create_far(no, now),
        }
        Ok(())
    }

    fn dial(&mut self, wanted: RelayIds, to: SocketAddr, now: Now) -> LinkId {
        // Nothing is read or written before `handle_dialled`, which brings the real leaf.
        let link = Link::initiate(wanted, LeafDigest([0; 32]), to.ip(), self.config.timing, now);
        let id = self.add_channel(link, Some(wanted));
        self.outputs.push_back(Output::Dial { link: id, to });
        id
    }

    /// The link to the next relay is up: opens the circuit there.
    fn create_far(&mut self, no: CircuitNo, now: Now) {
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        let Far::Dialling(link, handshake_type, data) = core::mem::replace(&mut routed.far, Far::Nothing) else {
            return;
        };
        let Some(channel) = self.channels.get_mut(&link) else { return };
        let mut body = [0; BODY_LEN];
        let written = write(&mut body, |out| Create2 { handshake_type, data: &data }.encode(out));
        match (channel.link.open_circuit(&mut self.entropy), written) {
            (Ok(circ_id), Ok(())) => {
                channel.circuits.insert(circ_id, (no, Side::Far));
                routed.far = Far::Creating(link, circ_id);
                self.send_cell(link, circ_id, CellCommand::CREATE2, &body, now);
            }
            _ => self.end_circuit(no, DestroyReason::INTERNAL, None, now),
        }
    }

    fn on_created(&mut self, link: LinkId, circ_id: CircId, body: &Body, now: Now) {
        let Some((no, Side::Far)) = self.route(link, circ_id) else { return };
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        if !matches!(routed.far, Far::Creating(..)) {
            return self.end_circuit(no, DestroyReason::PROTOCOL, None, now);
        }
        routed.far = Far::Open(link, circ_id);
        match Created2::parse(body) {
            Ok(created) => self.say(no, Command::EXTENDED2, None, now, |out| created.encode(out)),
            Err(_) => self.end_circuit(no, DestroyReason::PROTOCOL, None, now),
        }
    }

    // --- streams -------------------------------------------------------------------------

    fn on_message(
        &mut self,
        no: CircuitNo,
        cell: CellCommand,
        message: &Message<'_>,
        tag: &crate::crypto::SendmeTag,
        now: Now,
    ) -> Result<(), Fault> {
        match (message.command, message.stream) {
            (Command::DATA, Some(id)) => self.on_data(no, id, message.body, tag, now),
            (Command::BEGIN, Some(id)) => self.begin(no, id, message.body, now),
            (Command::BEGIN_DIR, Some(id)) => {
                self.begin_directory(no, id, now);
                Ok(())
            }
            (Command::RESOLVE, Some(id)) => self.resolve(no, id, message.body, now),
            (Command::END, Some(id)) => {
                self.forget_stream(no, id);
                Ok(())
            }
            (Command::SENDME, stream) => self.on_sendme(no, stream, &Sendme::parse(message.body)?),
            (Command::EXTEND2, None) => self.extend(no, cell, message.body, now),
            (Command::TRUNCATE, None) => {
                self.truncate(no, now);
                Ok(())
            }
            (Command::DROP, _) => Ok(()),
            // C tor: an unknown command is dropped.
            (command, _) if !command.is_known() => Ok(()),
            (command, _) => Err(Fault::Unexpected(command)),
        }
    }

    fn truncate(&mut self, no: CircuitNo, now: Now) {
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        if let Some((link, circ_id)) = core::mem::replace(&mut routed.far, Far::Nothing).hop() {
            self.destroy(link, circ_id, DestroyReason::REQUESTED, now);
        }
        let reason = DestroyReason::REQUESTED;
        self.say(no, Command::TRUNCATED, None, now, |out| Truncated { reason }.encode(out));
    }

    fn on_data(
        &mut self,
        no: CircuitNo,
        id: StreamId,
        bytes: &[u8],
        tag: &crate::crypto::SendmeTag,
        now: Now,
    ) -> Result<(), Fault> {
        let Some(routed) = self.circuits.get_mut(&no) else { return Ok(()) };
        let due = routed.circuit.on_data(tag)?;
        if let Some(stream) = routed.circuit.streams.get_mut(&id) {
            stream.on_data(bytes)?;
            if matches!(stream.behind, Behind::Socket(_)) {
                self.outputs.push_back(Output::Write(StreamKey(no, id)));
            }
            self.answer_directory(no, id, now);
        }
        if let Some(sendme) = due {
            self.say(no, Command::SENDME, None, now, |out| sendme.encode(out));
        }
        self.acknowledge_streams(no, now);
        self.wake(no);
        Ok(())
    }

    /// Sends the stream SENDMEs that are due, and remembers when to look again.
    fn acknowledge_streams(&mut self, no: CircuitNo, now: Now) {
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        let mut due = Vec::new();
        let mut deadline = None;
        for (id, stream) in &mut routed.circuit.streams {
            while stream.sendme_due(now.tick) {
                due.push(*id);
            }
            deadline = earlier(deadline, stream.next_deadline());
        }
        routed.deadline = deadline;
        for id in due {
            self.say_bytes(no, Command::SENDME, Some(id), now, &[]);
        }
    }

    fn on_sendme(&mut self, no: CircuitNo, stream: Option<StreamId>, sendme: &Sendme) -> Result<(), Fault> {
        let Some(routed) = self.circuits.get_mut(&no) else { return Ok(()) };
        match stream {
            None => routed.circuit.on_sendme(sendme)?,
            Some(id) => {
                if let Some(stream) = routed.circuit.streams.get_mut(&id) {
                    stream.on_sendme()?;
                }
            }
        }
        self.wake(no);
        Ok(())
    }

    /// A stream is over, whoever ended it.
    fn forget_stream(&mut self, no: CircuitNo, id: StreamId) {
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        match routed.circuit.streams.remove(&id).map(|stream| stream.behind) {
            Some(Behind::Server(mut origin)) => origin.close(),
            Some(Behind::Socket(pipe)) => self.outputs.push_back(Output::HangUp(StreamKey(no, id), pipe.outbox)),
            _ => {}
        }
    }

    fn begin(&mut self, no: CircuitNo, id: StreamId, body: &[u8], now: Now) -> Result<(), Fault> {
        let begin = Begin::parse(body)?;
        let Some(routed) = self.circuits.get_mut(&no) else { return Ok(()) };
        if routed.circuit.streams.contains_key(&id) {
            return Err(Fault::Unexpected(Command::BEGIN));
        }
        let host = begin.host.uncover();
        if let Some(to) = loopback(host, begin.port).filter(|_| self.config.reaches_loopback) {
            routed.circuit.streams.insert(id, Stream::new(Behind::Socket(Pipe::default())));
            self.outputs.push_back(Output::Connect { stream: StreamKey(no, id), to });
            return Ok(());
        }
        let habit = Habit::of_host(host).filter(|_| self.config.is_exit);
        let full = routed.circuit.streams.len() >= MAX_STREAMS;
        let refused = match habit {
            None if !self.config.is_exit => EndReason::EXITPOLICY,
            None => EndReason::RESOLVEFAILED,
            Some(_) if full => EndReason::RESOURCELIMIT,
            Some(habit) => match Origin::connect(habit, now.tick) {
                Ok(Some(origin)) => {
                    routed.circuit.streams.insert(id, Stream::new(Behind::Server(origin)));
                    self.say_connected(no, id, host, now);
                    self.wake(no);
                    return Ok(());
                }
                Ok(None) => {
                    routed.circuit.streams.insert(id, Stream::new(Behind::Nobody));
                    return Ok(());
                }
                Err(reason) => reason,
            },
        };
        self.say_end(no, id, refused, now);
        Ok(())
    }

    fn say_connected(&mut self, no: CircuitNo, id: StreamId, host: &str, now: Now) {
        let address = origin::resolve(host).ok().map(|[first, _]| first);
        let address = address.map(|ip| (crate::base::redact::Sensitive::new(ip), origin::TTL));
        self.say(no, Command::CONNECTED, Some(id), now, |out| Connected { address }.encode(out));
    }

    fn say_end(&mut self, no: CircuitNo, id: StreamId, reason: EndReason, now: Now) {
        self.say(no, Command::END, Some(id), now, |out| End::new(reason).encode(out));
    }

    fn begin_directory(&mut self, no: CircuitNo, id: StreamId, now: Now) {
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        if self.config.directory.is_none() || routed.circuit.streams.len() >= MAX_STREAMS {
            return self.say_end(no, id, EndReason::NOTDIRECTORY, now);
        }
        let behind = Behind::Directory { request: Vec::new(), answer: None, said: 0 };
        routed.circuit.streams.insert(id, Stream::new(behind));
        self.say_bytes(no, Command::CONNECTED, Some(id), now, &[]);
    }

    /// Asks the directory, if a stream to it has a request that may be whole.
    fn answer_directory(&mut self, no: CircuitNo, id: StreamId, now: Now) {
        let stream = self.circuits.get_mut(&no).and_then(|routed| routed.circuit.streams.get_mut(&id));
        let (Some(stream), Some(directory)) = (stream, &self.config.directory) else { return };
        if let Behind::Directory { request, answer: answer @ None, .. } = &mut stream.behind {
            *answer = directory.answer(request, now);
        }
    }

    fn resolve(&mut self, no: CircuitNo, id: StreamId, body: &[u8], now: Now) -> Result<(), Fault> {
        let resolve = Resolve::parse(body)?;
        let answers = match origin::resolve(resolve.name.uncover()) {
            Ok(addresses) => {
                addresses.map(|ip| (Answer::Address(crate::base::redact::Sensitive::new(ip)), origin::TTL)).to_vec()
            }
            Err(ResolveFailure::Transient) => vec![(Answer::TransientError, origin::TTL)],
            Err(ResolveFailure::Permanent) => vec![(Answer::PermanentError, origin::TTL)],
        };
        self.say(no, Command::RESOLVED, Some(id), now, |out| Resolved::encode_list(&answers, out));
        Ok(())
    }

    /// A circuit may have something to say.
    fn wake(&mut self, no: CircuitNo) {
        let Some(routed) = self.circuits.get(&no) else { return };
        let link = routed.client.0;
        if let Some(channel) = self.channels.get_mut(&link)
            && !channel.talking.contains(&no)
        {
            channel.talking.push_back(no);
            self.ready.insert(link);
        }
    }

    /// Lets the next circuit of a link say one thing. False if none has anything to say.
    fn talk(&mut self, link: LinkId, now: Now) -> bool {
        while let Some(no) = self.channels.get_mut(&link).and_then(|channel| channel.talking.pop_front()) {
            if self.talk_of(no, now) {
                self.wake(no);
                return true;
            }
        }
        false
    }

    /// Lets the next stream of a circuit say one thing.
    fn talk_of(&mut self, no: CircuitNo, now: Now) -> bool {
        let Some(routed) = self.circuits.get_mut(&no) else { return false };
        let overruns = self.config.villain == Some(Villain::WindowOverrun);
        let stalls = self.config.villain == Some(Villain::StallMidStream);
        if !(routed.circuit.may_package() || overruns) || (stalls && routed.circuit.sent() >= villain::STALL_AFTER) {
            return false;
        }
        let room = routed.circuit.format().max_body(Command::DATA);
        let after = routed.circuit.served.map_or(Bound::Unbounded, Bound::Excluded);
        let streams = &routed.circuit.streams;
        let order: Vec<_> = streams.range((after, Bound::Unbounded)).chain(streams).map(|(id, _)| *id).collect();
        for id in order.into_iter().take(streams.len()) {
            let Some(stream) = routed.circuit.streams.get_mut(&id) else { continue };
            match stream.next(room, overruns, now.tick) {
                Given::NothingUntil(deadline) => routed.deadline = earlier(routed.deadline, deadline),
                Given::Bytes(bytes) => {
                    routed.circuit.served = Some(id);
                    self.say_bytes(no, Command::DATA, Some(id), now, &bytes);
                    // What an echo has given it has read: its client may send again.
                    self.acknowledge_streams(no, now);
                    return true;
                }
                Given::End(reason) => {
                    self.forget_stream(no, id);
                    self.say_end(no, id, reason, now);
                    return true;
                }
            }
        }
        false
    }
}

/// Where a stream to this machine goes, and nowhere else.
fn loopback(host: &str, port: u16) -> Option<SocketAddr> {
    let ip = if host == "localhost" { Ipv4Addr::LOCALHOST.into() } else { host.parse::<IpAddr>().ok()? };
    ip.is_loopback().then_some(SocketAddr::new(ip, port))
}

/// Writes the front of a cell's body.
fn write(
    body: &mut Body,
    fill: impl FnOnce(&mut crate::base::codec::Writer<'_>) -> Result<(), crate::wire::Error>,
) -> Result<(), Fault> {
    fill(&mut crate::base::codec::Writer::new(body)).map_err(Fault::Wire)
}
