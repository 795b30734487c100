//! The virtual network: relays joined by made-up wires, under made-up time.
//!
//! No sockets, no threads, no TLS: a connection carries the bytes that TLS would, and a
//! made-up certificate stands for the one TLS would show. Time jumps from event to event,
//! so an hour of silence costs nothing, and everything is drawn from one seed: the same
//! seed and the same script give the same bytes at the same instants ([`Network::digest`]).
//! Not the loopback network (`loopback`). Called by tests. Spec: none.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::authority::{self, Authorities, Flag, Member, Spec};
use super::cache::Cache;
use super::relay::{Config, Gate, LinkId, OnionKeys, Output, Relay};
use super::seed::SeededEntropy;
use super::villain::Villain;
use super::weather::Sky;
pub use super::weather::{Place, Weather};
use crate::base::random;
use crate::base::time::{Now, Tick, Wall, earlier};
use crate::base::{Ed25519Id, RelayIds, RsaId};
use crate::crypto::kdf;
use crate::crypto::rsa;
use crate::crypto::x25519::{KeyPair, PublicKey};
use crate::crypto::{Error as CryptoError, ed25519};
use crate::link::identity::{Credentials, LeafDigest, RelayKeys};
use crate::link::padding::Timing;

/// When every virtual network begins: 2026-01-01 00:00:00.
pub const BEGINNING: Wall = Wall::from_secs(1_767_225_600);
/// How long certificates are good around that date.
const CERTIFICATES_GOOD: Duration = Duration::from_secs(400 * 86_400);
/// The port every relay listens on.
const OR_PORT: u16 = 9001;
/// Where the connections of scripts come from.
const NEAR_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// How soon a dial that nobody answers is tried again, and then after twice as long each
/// time; and for how long in all. As Linux has it.
const DIAL_AGAIN: Duration = Duration::from_secs(1);
const DIAL_LIMIT: Duration = Duration::from_secs(127);

/// What a client knows of a relay of the network.
#[derive(Clone, Copy, Debug)]
pub struct RelayFacts {
    /// Where it listens.
    pub address: SocketAddr,
    /// Who it is.
    pub ids: RelayIds,
    /// Its RSA identity.
    pub rsa: RsaId,
    /// Its Ed25519 identity.
    pub ed25519: Ed25519Id,
    /// Its onion key.
    pub onion_key: PublicKey,
    /// What its TLS would show.
    pub leaf: LeafDigest,
}

/// What kind of relay to add.
#[derive(Default)]
pub struct Role {
    /// Whether it opens streams to the lab's servers.
    pub is_exit: bool,
    /// Whether it lets a client choose Counter Galois Onion.
    pub offers_cgo: bool,
    /// What it does wrong, if anything.
    pub villain: Option<Villain>,
}

/// A relay by its place in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RelayNo(pub usize);

/// A connection that a script made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NearId(usize);

/// What a script's connection brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Bytes.
    Bytes(Vec<u8>),
    /// The end.
    Closed,
}

/// A whole network.
pub struct Network {
    seed: u64,
    now: Now,
    entropy: SeededEntropy,
    relays: Vec<Node>,
    sky: Sky,
    /// What waits until those who were parted are joined, in order.
    held: Vec<Held>,
    by_address: BTreeMap<SocketAddr, usize>,
    wires: Vec<Wire>,
    inboxes: Vec<VecDeque<Arrival>>,
    /// What scripts wrote to connections that have not reached their relays.
    early: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Scripts that closed connections which were not there yet.
    hung_up: BTreeSet<usize>,
    events: BTreeMap<(Tick, u64), Event>,
    next_event: u64,
    digest: [u8; 32],
    carried: u64,
}

struct Node {
    relay: Relay,
    facts: RelayFacts,
    is_exit: bool,
    /// Nothing reaches it, nothing leaves it.
    is_cut: bool,
    wires: BTreeMap<LinkId, (usize, End)>,
}

/// One connection.
struct Wire {
    ends: [Party; 2],
    is_open: bool,
    /// What a script wrote before it heard that the connection is there; `None` once it has.
    early: Option<Vec<Vec<u8>>>,
    /// For each direction: when the sender may write again, and when the last bytes arrive.
    busy_until: [Tick; 2],
    last_arrival: [Tick; 2],
}

/// What an end wrote, or `None` when it closed, while the other could not be reached.
struct Held {
    wire: usize,
    from: End,
    bytes: Option<Vec<u8>>,
}

/// Which end of a wire: the one that dialled is the first.
type End = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Party {
    Relay(usize, LinkId),
    Near(usize),
}

impl Party {
    fn place(self) -> Place {
        match self {
            Party::Relay(number, _) => Place::Relay(RelayNo(number)),
            Party::Near(_) => Place::Scripts,
        }
    }
}

enum Event {
    /// A dial reached its relay.
    Reached { from: Party, to: SocketAddr, since: Tick },
    /// The dialler hears that it did.
    Opened { wire: usize },
    /// The dialler hears that it did not.
    Failed { from: Party },
    /// Bytes arrive at an end.
    Bytes { wire: usize, end: End, bytes: Vec<u8> },
    /// The end of the connection arrives at an end.
    Closed { wire: usize, end: End },
    /// An end may write again.
    Writable,
}

impl Network {
    /// An empty network.
    pub fn new(seed: u64) -> Self {
        Network {
            seed,
            now: Now { tick: Tick::default(), wall: BEGINNING },
            entropy: SeededEntropy::new(seed, "network"),
            relays: Vec::new(),
            sky: Sky::default(),
            held: Vec::new(),
            by_address: BTreeMap::new(),
            wires: Vec::new(),
            inboxes: Vec::new(),
            early: BTreeMap::new(),
            hung_up: BTreeSet::new(),
            events: BTreeMap::new(),
            next_event: 0,
            digest: [0; 32],
            carried: 0,
        }
    }

    /// Adds a relay with keys drawn from the seed.
    pub fn add_relay(&mut self, role: Role) -> Result<RelayNo, CryptoError> {
        let number = self.relays.len();
        let name = format!("relay {number}");
        let mut entropy = SeededEntropy::new(self.seed, &format!("{name} keys"));
        let keys = RelayKeys {
            rsa: rsa::KeyPair::random(&mut entropy, rsa::RELAY_IDENTITY_BITS)?,
            ed25519: ed25519::KeyPair::random(&mut entropy),
            signing: ed25519::KeyPair::random(&mut entropy),
        };
        let ntor = KeyPair::random(&mut entropy);
        let facts = facts(number, &keys, ntor.public);
        let ends = match role.villain {
            Some(Villain::ExpiredCertificates) => BEGINNING - Duration::from_secs(86_400),
            _ => BEGINNING + CERTIFICATES_GOOD,
        };
        let shown = match role.villain {
            Some(Villain::WrongIdentity) => RelayKeys::random(&mut entropy)?,
            _ => keys,
        };
        let credentials = Credentials::issue(&shown, facts.leaf, BEGINNING - CERTIFICATES_GOOD, ends, &mut entropy)?;
        let onion = OnionKeys { rsa: facts.rsa, ed25519: facts.ed25519, ntor, offers_cgo: role.offers_cgo };
        let config = Config {
            onion,
            credentials,
            addresses: vec![facts.address.ip()],
            is_exit: role.is_exit,
            reaches_loopback: false,
            directory: None,
            timing: Timing::default(),
            villain: role.villain,
        };
        self.by_address.insert(facts.address, number);
        let relay = Relay::new(config, self.seed, &name);
        self.relays.push(Node { relay, facts, is_exit: role.is_exit, is_cut: false, wires: BTreeMap::new() });
        Ok(RelayNo(number))
    }

    /// Makes all relays of now directory caches of a network that consists of them. The first
    /// of them become its authorities; there must be so many. The cache is given back too.
    pub fn open_directory(&mut self, spec: Spec) -> Result<Arc<Cache>, authority::Error> {
        let members = self.relays.iter().enumerate().map(|(number, node)| node.listed(number)).collect();
        let cache = Arc::new(Cache::new(Authorities::new(spec, members)?));
        self.relays.iter_mut().for_each(|node| node.relay.set_directory(Box::new(Arc::clone(&cache))));
        Ok(cache)
    }

    /// From now on all relays defend themselves against floods of circuits as the consensus says,
    /// if it does. All scripts are one client to them.
    pub fn refuse_floods(&mut self, authorities: &Authorities) {
        let param = |name| authorities.param(name).and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
        if param("DoSCircuitCreationEnabled") == 0 {
            return;
        }
        let relays: BTreeSet<IpAddr> = self.by_address.keys().map(SocketAddr::ip).collect();
        let gate = Gate::new(param("DoSCircuitCreationRate"), param("DoSCircuitCreationBurst"), relays);
        self.relays.iter_mut().for_each(|node| node.relay.set_gate(gate.clone()));
    }

    /// All relays, in the order in which they were added.
    pub fn relays(&self) -> impl Iterator<Item = RelayNo> + use<> {
        (0..self.relays.len()).map(RelayNo)
    }

    /// What a client knows of a relay.
    pub fn facts(&self, relay: RelayNo) -> &RelayFacts {
        &self.relays[relay.0].facts
    }

    /// What a client knows of the relay that listens there.
    pub fn facts_of(&self, address: SocketAddr) -> Option<&RelayFacts> {
        self.by_address.get(&address).map(|number| &self.relays[*number].facts)
    }

    /// The relay itself.
    pub fn relay(&self, relay: RelayNo) -> &Relay {
        &self.relays[relay.0].relay
    }

    /// How bytes travel to and from a place, from now on. What is under way goes on as it was.
    pub fn set_weather(&mut self, place: impl Into<Place>, weather: Weather) {
        self.sky.set_over(place.into(), weather);
    }

    /// How they travel between these two from now on, whatever the weather at each of them.
    pub fn set_weather_between(&mut self, a: impl Into<Place>, b: impl Into<Place>, weather: Weather) {
        self.sky.set_between(a.into(), b.into(), weather);
    }

    /// The connections between two places break, and new ones can be made.
    pub fn lose(&mut self, a: impl Into<Place>, b: impl Into<Place>) {
        let (a, b) = (a.into(), b.into());
        self.break_wires(|ends| ends == [a, b] || ends == [b, a]);
    }

    /// The connections between two places are dead from now on, and nobody is told: whatever is
    /// on them, or is written to them, is lost. New ones can be made.
    pub fn deaden(&mut self, a: impl Into<Place>, b: impl Into<Place>) {
        let (a, b) = (a.into(), b.into());
        let is_such = |wire: &Wire| [[a, b], [b, a]].contains(&wire.ends.map(Party::place));
        self.wires.iter_mut().filter(|wire| is_such(wire)).for_each(|wire| wire.is_open = false);
    }

    /// From now on nothing passes between these places and all others, and nobody is told:
    /// what is written waits, what is dialled is not answered. What is on its way arrives.
    pub fn part(&mut self, places: &[Place]) {
        self.sky.part(places);
        // Between some of those who were parted before there may be nothing now.
        for held in core::mem::take(&mut self.held) {
            match held.bytes {
                _ if self.is_parted(held.wire) => self.held.push(held),
                Some(bytes) => self.carry(held.wire, held.from, bytes),
                None => self.announce_end(held.wire, held.from),
            }
        }
    }

    /// Everybody reaches everybody again; what waited goes on its way.
    pub fn join(&mut self) {
        self.part(&[]);
    }

    /// Cuts a relay off: its connections end, and none can be made.
    pub fn cut(&mut self, relay: RelayNo) {
        self.relays[relay.0].is_cut = true;
        let place = Place::Relay(relay);
        self.break_wires(|ends| ends.contains(&place));
    }

    /// Joins a relay that was cut off again.
    pub fn heal(&mut self, relay: RelayNo) {
        self.relays[relay.0].is_cut = false;
    }

    /// The time.
    pub fn now(&self) -> Now {
        self.now
    }

    /// What identifies this run: a hash over all bytes carried, and when and where.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Bytes carried so far, over all wires.
    pub fn carried(&self) -> u64 {
        self.carried
    }

    /// A script connects to an address; whether that works shows in its arrivals.
    pub fn connect(&mut self, to: SocketAddr) -> NearId {
        let near = self.inboxes.len();
        self.inboxes.push(VecDeque::new());
        self.schedule_dial(Party::Near(near), to);
        NearId(near)
    }

    /// A script writes; what it writes before the connection is there goes out then.
    pub fn send(&mut self, near: NearId, bytes: Vec<u8>) {
        match self.wire_of(near) {
            Some(wire) => match &mut self.wires[wire].early {
                Some(early) => early.push(bytes),
                None => self.carry(wire, 0, bytes),
            },
            None => self.early.entry(near.0).or_default().push(bytes),
        }
    }

    /// A script closes its connection; one that is not there yet, once it is.
    pub fn hang_up(&mut self, near: NearId) {
        match self.wire_of(near) {
            Some(wire) if self.wires[wire].early.is_none() => self.close(wire, 0),
            _ => drop(self.hung_up.insert(near.0)),
        }
    }

    fn wire_of(&self, near: NearId) -> Option<usize> {
        self.wires.iter().position(|wire| wire.ends[0] == Party::Near(near.0))
    }

    /// The seed that all is drawn from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The next thing that arrived for a script.
    pub fn receive(&mut self, near: NearId) -> Option<Arrival> {
        self.inboxes[near.0].pop_front()
    }

    /// Runs to the next event, and says whether there was one before `until`.
    ///
    /// Time stands at the event, or at `until`.
    pub fn step(&mut self, until: Tick) -> bool {
        self.settle();
        let event = self.events.keys().next().map(|(at, _)| *at);
        let deadline = self.relays.iter().map(|node| node.relay.next_deadline()).fold(None, earlier);
        let Some(next) = earlier(event, deadline).filter(|next| *next <= until) else {
            self.advance(until);
            return false;
        };
        self.advance(next);
        if event.is_some_and(|event| event <= next)
            && let Some((_, event)) = self.events.pop_first()
        {
            self.handle(event);
        } else {
            let now = self.now;
            self.relays.iter_mut().for_each(|node| node.relay.handle_timeout(now));
        }
        self.settle();
        true
    }

    /// Runs until `done`, or for `limit`; says whether it was done.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Network) -> bool) -> bool {
        let end = self.now.tick + limit;
        loop {
            if done(self) {
                return true;
            }
            if !self.step(end) {
                return done(self);
            }
        }
    }

    fn advance(&mut self, to: Tick) {
        let step = to.since(self.now.tick);
        self.now = self.now.plus(step);
    }

    fn schedule(&mut self, at: Tick, event: Event) {
        self.next_event += 1;
        self.events.insert((at, self.next_event), event);
    }

    /// Does all that the relays want done now.
    fn settle(&mut self) {
        for number in 0..self.relays.len() {
            while let Some(output) = self.relays[number].relay.poll_output() {
                match output {
                    Output::Dial { link, to } => self.schedule_dial(Party::Relay(number, link), to),
                    Output::Close(link) => {
                        if let Some((wire, end)) = self.relays[number].wires.get(&link).copied() {
                            self.close(wire, end);
                        }
                    }
                    // There are no sockets here, and no relay is told that there are.
                    Output::Connect { .. } | Output::Write(_) | Output::HangUp(..) => {}
                }
            }
            let ready: Vec<_> = self.relays[number].relay.ready().collect();
            ready.into_iter().for_each(|link| self.write(number, link));
        }
    }

    /// Lets a relay write to a link until the wire is busy.
    fn write(&mut self, number: usize, link: LinkId) {
        let Some((wire, end)) = self.relays[number].wires.get(&link).copied() else { return };
        if self.is_parted(wire) {
            // It is as if the other side did not read.
            return;
        }
        while self.wires[wire].busy_until[end] <= self.now.tick {
            let now = self.now;
            let Some(bytes) = self.relays[number].relay.take_transmit(link, now) else { return };
            self.carry(wire, end, bytes);
        }
    }

    /// Puts bytes on a wire, at its end `from`.
    fn carry(&mut self, wire: usize, from: End, bytes: Vec<u8>) {
        if self.is_parted(wire) {
            return self.held.push(Held { wire, from, bytes: Some(bytes) });
        }
        let weather = self.weather_on(wire);
        let jitter = self.draw(weather.jitter);
        let Wire { is_open, busy_until, last_arrival, .. } = &mut self.wires[wire];
        if !*is_open {
            return;
        }
        let start = busy_until[from].max(self.now.tick);
        let sent = start + weather.transmission(bytes.len());
        busy_until[from] = sent;
        // One write may not overtake the one before.
        let arrival = (sent + weather.latency + jitter).max(last_arrival[from]);
        last_arrival[from] = arrival;
        if sent > self.now.tick {
            self.schedule(sent, Event::Writable);
        }
        self.schedule(arrival, Event::Bytes { wire, end: 1 - from, bytes });
    }

    /// A duration below `bound`.
    fn draw(&mut self, bound: Duration) -> Duration {
        let micros = u32::try_from(bound.as_micros()).unwrap_or(u32::MAX);
        Duration::from_micros(u64::from(random::below(&mut self.entropy, micros)))
    }

    fn schedule_dial(&mut self, from: Party, to: SocketAddr) {
        let (since, delay) = (self.now.tick, self.path(from, to).latency);
        self.schedule(since + delay, Event::Reached { from, to, since });
    }

    fn path(&self, from: Party, to: SocketAddr) -> Weather {
        match self.by_address.get(&to) {
            Some(number) => self.sky.path(from.place(), Place::Relay(RelayNo(*number))),
            None => Weather::default(),
        }
    }

    fn weather_on(&self, wire: usize) -> Weather {
        let [a, b] = self.wires[wire].ends.map(Party::place);
        self.sky.path(a, b)
    }

    fn is_parted(&self, wire: usize) -> bool {
        let [a, b] = self.wires[wire].ends.map(Party::place);
        self.sky.are_parted(a, b)
    }

    fn is_cut(&self, party: Party) -> bool {
        matches!(party, Party::Relay(number, _) if self.relays[number].is_cut)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Reached { from, to, since } => self.on_reached(from, to, since),
            Event::Opened { wire } => self.on_opened(wire),
            Event::Failed { from } => self.on_failed(from),
            Event::Bytes { wire, end, bytes } => self.on_bytes(wire, end, bytes),
            Event::Closed { wire, end } => self.on_closed(wire, end),
            Event::Writable => {}
        }
    }

    fn on_reached(&mut self, from: Party, to: SocketAddr, since: Tick) {
        let back = self.now.tick + self.path(from, to).latency;
        let number = self.by_address.get(&to).copied();
        if number.is_some_and(|number| self.sky.are_parted(from.place(), Place::Relay(RelayNo(number)))) {
            let waited = self.now.tick.since(since);
            return match waited < DIAL_LIMIT {
                true => self.schedule(self.now.tick + waited.max(DIAL_AGAIN), Event::Reached { from, to, since }),
                false => self.schedule(self.now.tick, Event::Failed { from }),
            };
        }
        let number = number.filter(|number| !self.relays[*number].is_cut);
        let (Some(number), false) = (number, self.is_cut(from)) else {
            return self.schedule(back, Event::Failed { from });
        };
        let peer = match from {
            Party::Relay(from, _) => self.relays[from].facts.address.ip(),
            Party::Near(_) => NEAR_ADDRESS,
        };
        let link = self.relays[number].relay.handle_accepted(peer, self.now);
        let early = match from {
            Party::Near(near) => self.early.remove(&near).unwrap_or_default(),
            Party::Relay(..) => Vec::new(),
        };
        let wire = self.wires.len();
        self.wires.push(Wire {
            ends: [from, Party::Relay(number, link)],
            is_open: true,
            early: Some(early),
            busy_until: [self.now.tick; 2],
            last_arrival: [self.now.tick; 2],
        });
        self.relays[number].wires.insert(link, (wire, 1));
        self.schedule(back, Event::Opened { wire });
    }

    fn on_opened(&mut self, wire: usize) {
        if !self.wires[wire].is_open {
            return;
        }
        for bytes in self.wires[wire].early.take().into_iter().flatten() {
            self.carry(wire, 0, bytes);
        }
        let [Party::Relay(number, link), Party::Relay(far, _)] = self.wires[wire].ends else {
            return self.on_script_opened(wire);
        };
        let RelayFacts { address, leaf, .. } = self.relays[far].facts;
        let now = self.now;
        self.relays[number].wires.insert(link, (wire, 0));
        self.relays[number].relay.handle_dialled(link, address, leaf, now);
    }

    fn on_script_opened(&mut self, wire: usize) {
        if let [Party::Near(near), _] = self.wires[wire].ends
            && self.hung_up.remove(&near)
        {
            self.close(wire, 0);
        }
    }

    fn on_failed(&mut self, from: Party) {
        match from {
            Party::Relay(number, link) => {
                let now = self.now;
                self.relays[number].relay.handle_closed(link, now);
            }
            Party::Near(near) => self.inboxes[near].push_back(Arrival::Closed),
        }
    }

    fn on_bytes(&mut self, wire: usize, end: End, bytes: Vec<u8>) {
        if !self.wires[wire].is_open {
            return;
        }
        self.record(wire, end, &bytes);
        match self.wires[wire].ends[end] {
            Party::Near(near) => self.inboxes[near].push_back(Arrival::Bytes(bytes)),
            Party::Relay(number, link) => {
                let now = self.now;
                for chunk in bytes.chunks(crate::link::frame::READ_LEN) {
                    let relay = &mut self.relays[number].relay;
                    let mut buffer = relay.begin_read(link);
                    buffer.extend_from_slice(chunk);
                    relay.handle_read(link, buffer, now);
                }
            }
        }
    }

    fn record(&mut self, wire: usize, end: End, bytes: &[u8]) {
        let at = self.now.tick.since(Tick::default()).as_nanos().to_be_bytes();
        let place = u64::try_from(wire * 2 + end).unwrap_or(u64::MAX).to_be_bytes();
        self.digest = kdf::sha256(&[&self.digest, &at, &place, bytes]);
        self.carried += u64::try_from(bytes.len()).unwrap_or(0);
    }

    /// An end closes: the other hears of it behind all bytes on their way.
    fn close(&mut self, wire: usize, end: End) {
        match self.is_parted(wire) {
            true => self.held.push(Held { wire, from: end, bytes: None }),
            false => self.announce_end(wire, end),
        }
        self.forget(wire, end);
    }

    fn announce_end(&mut self, wire: usize, end: End) {
        let arrival = self.wires[wire].last_arrival[end].max(self.now.tick + self.weather_on(wire).latency);
        self.schedule(arrival, Event::Closed { wire, end: 1 - end });
    }

    /// Those whose two ends are such break.
    fn break_wires(&mut self, is_such: impl Fn([Place; 2]) -> bool) {
        let chosen = |wire: &Wire| wire.is_open && is_such(wire.ends.map(Party::place));
        let broken: Vec<_> = (0..self.wires.len()).filter(|wire| chosen(&self.wires[*wire])).collect();
        broken.into_iter().for_each(|wire| self.break_wire(wire));
    }

    /// The connection breaks: both ends hear of it, bytes on their way are lost.
    fn break_wire(&mut self, wire: usize) {
        for end in 0..2 {
            let at = self.now.tick;
            self.schedule(at, Event::Closed { wire, end });
        }
        self.wires[wire].is_open = false;
    }

    fn on_closed(&mut self, wire: usize, end: End) {
        let party = self.wires[wire].ends[end];
        self.wires[wire].is_open = false;
        self.forget(wire, end);
        self.on_failed(party);
    }

    fn forget(&mut self, wire: usize, end: End) {
        if let Party::Relay(number, link) = self.wires[wire].ends[end] {
            self.relays[number].wires.remove(&link);
        }
    }
}

impl Node {
    /// As the authorities are told of it.
    fn listed(&self, number: usize) -> Member {
        let SocketAddr::V4(address) = self.facts.address else { unreachable!("`facts` gives no other") };
        let listed = Member::new(&format!("virtual{number}"), self.facts.ids, address, self.facts.onion_key);
        if self.is_exit { listed.exit() } else { listed.flagged(Flag::Guard) }
    }
}

fn facts(number: usize, keys: &RelayKeys, onion_key: PublicKey) -> RelayFacts {
    let [.., high, low] = number.to_be_bytes();
    let (rsa, ed25519) = (keys.rsa.public().id(), keys.ed25519.public());
    RelayFacts {
        // A network of its own for each relay, so that no path rule finds two alike.
        address: SocketAddr::from((Ipv4Addr::new(10, high.wrapping_add(1), low, 1), OR_PORT)),
        ids: RelayIds { rsa: Some(rsa), ed25519: Some(ed25519) },
        rsa,
        ed25519,
        onion_key,
        leaf: LeafDigest(kdf::sha256(&[b"the certificate of", &rsa.0])),
    }
}
