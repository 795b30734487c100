//! A relay of the lab: links on all sides, circuits through it, streams that end at it.
//!
//! A machine like the client's: bytes and a time go in; bytes, and links to dial or close,
//! come out. Links are here, the circuits through it in `switch.rs`, the ends of circuits in
//! `exit.rs`. It is a real relay in what it says, not in what it endures: no bandwidth
//! limits, no defence against floods beyond its bounds and `gate.rs`, keys that replay from a
//! seed.
//! Backpressure is by pulling: what a stream has to say is turned into cells only when the
//! runner asks for bytes ([`Relay::take_transmit`]). Called by the virtual network
//! (`lab/network.rs`) and by `lab/loopback.rs`. Spec: tor-spec, "Circuit management".

mod circuit;
mod exit;
mod gate;
mod stream;
mod switch;

use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::RelayIds;
use crate::base::redact::Sensitive;
use crate::base::time::{Now, Tick, earlier};
use crate::lab::crooked;
use crate::lab::seed::SeededEntropy;
use crate::lab::villain::{Mangler, Villain};
use crate::link::handshake::Responder;
use crate::link::identity::{Credentials, LeafDigest};
use crate::link::padding::{Mode, Timing};
use crate::link::{Link, MAX_QUEUED, Output as LinkOutput};
use crate::wire::cell::{Body, CircId, Command as CellCommand, FIXED_LEN};
use crate::wire::cell_msg::DestroyReason;
use crate::wire::relay::StreamId;
use switch::{CircuitNo, Far, Routed, Side};

pub use circuit::{CIRCUIT_INCREMENT, CIRCUIT_WINDOW, Circuit, Created, Fault, OnionKeys};
pub use gate::Gate;
pub use stream::{Behind, PIPE_ROOM, Pipe, STREAM_INCREMENT, STREAM_WINDOW, Stream};

/// Bytes turned into cells before the runner is given some; ours, two TLS records.
const TRANSMIT_LEN: usize = 32 * 1024;

/// Cells of one circuit that wait for a link, on average over its circuits: what the consensus
/// says in 2026 (`circ_max_cell_queue_size`); fixed windows never lead to so many.
const MAX_WAITING: usize = 1750;

/// Of how many streams a relay remembers where to; ours, more than any test opens.
const MAX_ASKED: usize = 10_000;

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
    /// Who may open how many circuits, if that is anybody's concern.
    gate: Option<Gate>,
    entropy: SeededEntropy,
    channels: BTreeMap<LinkId, Channel>,
    circuits: BTreeMap<CircuitNo, Routed>,
    next_link: u32,
    next_circuit: u32,
    written: u64,
    /// The names and addresses that it was asked for, at most [`MAX_ASKED`].
    asked: Vec<Sensitive<String>>,
    /// Links that have something to write, or circuits with something to say.
    ready: BTreeSet<LinkId>,
    outputs: VecDeque<Output>,
}

/// One link and what runs over it.
struct Channel {
    link: Link,
    /// Whom we dialled; `None` for a link that was dialled to us.
    dialled: Option<RelayIds>,
    /// Where a link that was dialled to us comes from.
    peer: Option<IpAddr>,
    established: bool,
    circuits: BTreeMap<CircId, (CircuitNo, Side)>,
    /// Circuits of clients on this link that may have something to say, in turn.
    talking: VecDeque<CircuitNo>,
    /// Circuits that wait for this link to be up.
    extending: Vec<CircuitNo>,
    /// Cells for which the link had no room, oldest first; until they are gone all others
    /// go behind them.
    waiting: VecDeque<(CircId, CellCommand, Body)>,
    /// What a villain does to what it writes here.
    mangler: Option<Mangler>,
}

impl Channel {
    /// A circuit is gone from here, and so is what waits of it.
    fn forget(&mut self, circ_id: CircId) {
        self.circuits.remove(&circ_id);
        self.waiting.retain(|(waiting, ..)| *waiting != circ_id);
    }
}

impl Relay {
    /// A relay that draws from the stream of its `name` under `seed`.
    pub fn new(mut config: Config, seed: u64, name: &str) -> Self {
        let directory = config.directory.take();
        let mut relay = Relay {
            config,
            gate: None,
            entropy: SeededEntropy::new(seed, name),
            channels: BTreeMap::new(),
            circuits: BTreeMap::new(),
            next_link: 0,
            next_circuit: 0,
            written: 0,
            asked: Vec::new(),
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

    /// From now on it lets clients open so many circuits.
    pub fn set_gate(&mut self, gate: Gate) {
        self.gate = Some(gate);
    }

    /// How many circuits it refused those who opened too many.
    pub fn refused_count(&self) -> usize {
        self.gate.as_ref().map_or(0, Gate::refused)
    }

    /// Somebody connected, from `peer`. TLS, if any, is up.
    pub fn handle_accepted(&mut self, peer: IpAddr, now: Now) -> LinkId {
        let responder = Responder {
            credentials: self.config.credentials.clone(),
            challenge: crate::base::random::array(&mut self.entropy),
            their_address: peer,
            own_addresses: self.config.addresses.clone(),
        };
        let id = self.add_channel(Link::respond(responder, self.config.timing, now), None);
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.peer = Some(peer);
        }
        id
    }

    /// A connection that was to be dialled is up; its TLS showed `leaf`.
    pub fn handle_dialled(&mut self, id: LinkId, to: SocketAddr, leaf: LeafDigest, now: Now) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let wanted = channel.dialled.unwrap_or_default();
        channel.link = Link::initiate(wanted, leaf, to.ip(), self.config.timing, now);
        // No relay can tell another from a client here, and relays do not pad for each other.
        channel.link.set_padding(Mode::Off, self.config.timing, now);
        channel.link.engage_padding(now);
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
        self.send_waiting(id, now);
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
        let circuits = self.circuits.values().map(Routed::next_deadline);
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
        let due = |routed: &Routed| routed.next_deadline().is_some_and(|deadline| deadline <= now.tick);
        let circuits: Vec<_> = self.circuits.iter().filter(|(_, routed)| due(routed)).map(|(no, _)| *no).collect();
        for no in circuits {
            if let Some(routed) = self.circuits.get_mut(&no) {
                // Said anew by those who still have nothing to say.
                routed.writes_again = routed.writes_again.filter(|at| *at > now.tick);
            }
            self.wake(no);
            self.acknowledge_streams(no, now);
        }
    }

    /// How many links it has, those that are not up yet among them.
    pub fn link_count(&self) -> usize {
        self.channels.len()
    }

    /// How many circuits run through or end at it.
    pub fn circuit_count(&self) -> usize {
        self.circuits.len()
    }

    /// How many circuits end at it: of all relays together, how many there are.
    pub fn ending_count(&self) -> usize {
        self.circuits.values().filter(|routed| matches!(routed.far, Far::Nothing)).count()
    }

    /// What it was asked to connect to and to look up, as it was written in BEGIN and RESOLVE.
    pub fn asked(&self) -> &[Sensitive<String>] {
        &self.asked
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
            peer: None,
            established: false,
            circuits: BTreeMap::new(),
            talking: VecDeque::new(),
            extending: Vec::new(),
            waiting: VecDeque::new(),
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
        let is_full = channel.link.queued() + FIXED_LEN > MAX_QUEUED;
        if channel.waiting.is_empty() && !is_full {
            // Refused only when the link or the circuit is gone already.
            let _ = channel.link.handle_send(circ_id, command, body, now);
        } else if channel.waiting.len() < MAX_WAITING * channel.circuits.len() {
            channel.waiting.push_back((circ_id, command, *body));
        } else if let Some((no, _)) = self.route(link, circ_id) {
            self.end_circuit(no, DestroyReason::RESOURCELIMIT, None, now);
        }
        self.ready.insert(link);
    }

    /// Moves cells that wait into the link while it has room.
    fn send_waiting(&mut self, id: LinkId, now: Now) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        while channel.link.queued() < TRANSMIT_LEN
            && let Some((circ_id, command, body)) = channel.waiting.pop_front()
        {
            // That of a circuit that is gone is refused, and goes with it.
            let _ = channel.link.handle_send(circ_id, command, &body, now);
        }
    }
}
