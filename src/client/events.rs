//! What became of links, circuits, streams, guards, names and the directory, as values that a
//! controller can print.
//!
//! Made only for whoever subscribed: [`Events::say`] asks the mask before anything is put
//! together. The same values answer what is there now ([`Client::links`] and its neighbours).
//! Decides nothing and formats nothing. Called by all parts of `client`; the shell takes them
//! with [`Client::poll_event`]. Spec: control-spec, "Asynchronous events". C tor:
//! feature/control/control_events.c.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;

use super::circuits::Phase;
use super::junction::{LinkNo, TunnelNo};
use super::notices::Notice;
use super::streams::{Failure, RequestNo, State, Wish};
use super::{Client, Progress};
use crate::base::error::Blame;
use crate::base::redact::Sensitive;
use crate::base::time::{Now, Wall};
use crate::base::{RelayIds, RsaId};
use crate::circuit::{Error as CircuitError, Traffic};
use crate::link;
use crate::path::guards::News;
use crate::path::timeout::{BuildTimes, Change, Curve};
use crate::wire::cell_msg::DestroyReason;
use crate::wire::relay_msg::EndReason;

/// How many events may wait for whoever subscribed; ours. Those beyond are counted and lost.
pub const MAX_EVENTS: usize = 16_384;

/// So many links that could not be had are worth a warning. C tor: `BOOTSTRAP_PROBLEM_THRESHOLD`.
const MANY_PROBLEMS: u32 = 10;

/// Which events somebody wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask(u8);

impl Mask {
    /// What becomes of links.
    pub const LINKS: Mask = Mask(1);
    /// What becomes of circuits.
    pub const CIRCUITS: Mask = Mask(2);
    /// What becomes of streams.
    pub const STREAMS: Mask = Mask(4);
    /// What becomes of guards.
    pub const GUARDS: Mask = Mask(8);
    /// Which names were found to mean what.
    pub const NAMES: Mask = Mask(16);
    /// What is learned of the network, and how fast it is.
    pub const NETWORK: Mask = Mask(32);
    /// Everything.
    pub const ALL: Mask = Mask(63);

    /// These and those.
    #[must_use]
    pub fn with(self, other: Mask) -> Mask {
        Mask(self.0 | other.0)
    }

    fn has(self, other: Mask) -> bool {
        self.0 & other.0 != 0
    }
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// To a link.
    Link(LinkFacts, LinkStatus),
    /// To a circuit.
    Circuit(CircuitFacts, CircuitStatus),
    /// To a stream, or to a request that has none yet.
    Stream(StreamFacts, StreamStatus),
    /// To a guard.
    Guard(News),
    /// A name was found to mean an address, or the other way round; or nothing.
    Name(Mapping),
    /// There is a new consensus, valid from then on.
    Consensus(Wall),
    /// There is enough to build circuits with, or no more.
    Enough(bool),
    /// It got so far.
    Progress(Progress),
    /// It was learned how long circuits take.
    BuildTimes(Box<Times>),
    /// Whether the network answers at all.
    Alive(bool),
    /// A user must know something.
    Notice(Notice),
    /// A link could not be had, and there is no circuit yet.
    Problem(Problem),
    /// So many events had no room.
    Lost(u32),
}

/// Why there is no circuit yet, perhaps.
#[derive(Clone, Debug)]
pub struct Problem {
    /// How far the client is.
    pub progress: Progress,
    /// What was wrong with the link.
    pub reason: LinkReason,
    /// How many there were by now.
    pub count: u32,
    /// Whether that is worth a warning: it is not the first, or it will not go away.
    pub is_warning: bool,
    /// The link.
    pub link: LinkFacts,
}

/// What there is to say of a link. Its number is no stream's.
#[derive(Clone, Debug)]
pub struct LinkFacts {
    /// Which.
    pub link: LinkNo,
    /// Who it must be.
    pub ids: RelayIds,
    /// Where it is.
    pub address: SocketAddr,
    /// What it has carried.
    pub traffic: link::Traffic,
}

/// How far a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkStatus {
    /// It is dialled.
    Launched,
    /// Its handshake is over.
    Connected,
    /// It never came to be; so many circuits had waited for it.
    Failed(LinkReason, usize),
    /// It is gone, with so many circuits.
    Closed(LinkReason, usize),
}

/// Why a link is over. C tor: `orconn_end_reason_to_control_string`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkReason {
    /// Nobody needs it.
    Done,
    /// Nobody listens there.
    Refused,
    /// It was somebody else.
    Identity,
    /// The other side closed it.
    Reset,
    /// It took too long.
    TimedOut,
    /// There is no way there.
    NoRoute,
    /// The system failed.
    Io,
    /// The system has no more.
    ResourceLimit,
    /// TLS failed.
    Tls,
    /// Something else, a breach of the protocol among it.
    Misc,
}

impl From<link::Error> for LinkReason {
    fn from(error: link::Error) -> Self {
        match error {
            link::Error::WrongRsaIdentity | link::Error::WrongEd25519Identity => LinkReason::Identity,
            link::Error::HandshakeTooSlow => LinkReason::TimedOut,
            _ => LinkReason::Misc,
        }
    }
}

/// What a circuit is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// For streams.
    #[default]
    General,
    /// To a directory, of one hop.
    Directory,
    /// It took too long, and is only measured.
    Measured,
    /// Nobody was answered on it; its exit is asked whether it works. C tor:
    /// `PATH_BIAS_TESTING`.
    Probed,
    /// For what a controller does with it.
    Controller,
}

/// What there is to say of a circuit.
#[derive(Clone, Debug)]
pub struct CircuitFacts {
    /// Which.
    pub circuit: TunnelNo,
    /// The hops that are built.
    pub path: Vec<RsaId>,
    /// What it is for.
    pub purpose: Purpose,
    /// Whether its relays are for streams that live long.
    pub is_stable: bool,
    /// When it was asked for.
    pub created: Wall,
    /// The name and the password that its streams gave, if all must give them.
    pub credentials: Option<Sensitive<(Vec<u8>, Vec<u8>)>>,
    /// What it has carried.
    pub traffic: Traffic,
}

/// How far a circuit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitStatus {
    /// It was asked for.
    Launched,
    /// It has one more hop.
    Extended,
    /// It is built, and a better guard may still answer. C tor: says so only if asked.
    GuardWait,
    /// It is built, and carries streams.
    Built,
    /// It was never built.
    Failed(CircuitReason),
    /// It is over.
    Closed(CircuitReason),
    /// It is for something else now.
    Repurposed(Purpose),
}

/// Why a circuit is over. C tor: `circuit_end_reason_to_control_string`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitReason {
    /// Somebody broke the protocol.
    Protocol,
    /// Something of ours failed.
    Internal,
    /// Somebody here wanted it so.
    Requested,
    /// Its first relay could not be reached.
    ConnectFailed,
    /// Its link is gone.
    LinkClosed,
    /// It is of no use any more.
    Finished,
    /// It took too long.
    TimedOut,
    /// It took too long even to be measured.
    MeasurementExpired,
    /// A relay gave it up, for this reason.
    Destroyed(DestroyReason),
}

impl From<CircuitError> for CircuitReason {
    fn from(error: CircuitError) -> Self {
        match error {
            CircuitError::Requested => CircuitReason::Requested,
            CircuitError::Destroyed(reason) | CircuitError::Truncated(reason) => CircuitReason::Destroyed(reason),
            CircuitError::LinkClosed => CircuitReason::LinkClosed,
            CircuitError::BuildTooSlow => CircuitReason::TimedOut,
            error if error.blame() == Blame::Peer => CircuitReason::Protocol,
            _ => CircuitReason::Internal,
        }
    }
}

/// What there is to say of a stream.
#[derive(Clone, Debug)]
pub struct StreamFacts {
    /// Which. Its number is no link's.
    pub stream: RequestNo,
    /// What is wanted, by whom, and whom it may not meet; none if a directory is asked.
    pub wish: Option<Box<Wish>>,
    /// The circuit that it is on.
    pub circuit: Option<TunnelNo>,
    /// What it has written and read, as its program counts.
    pub bytes: Bytes,
}

/// How far a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStatus {
    /// It was asked for.
    New,
    /// It waits for a controller to put it on a circuit.
    Held,
    /// An exit was asked.
    Sent,
    /// The exit said what the name means.
    Remapped(Sensitive<IpAddr>),
    /// It goes elsewhere, for a controller wanted it so.
    Redirected,
    /// It is open, or its answer is there.
    Succeeded,
    /// It is tried again.
    Detached(StreamReason),
    /// Nothing comes of it.
    Failed(StreamReason),
    /// It is over.
    Closed(StreamReason),
}

/// Why a stream is over. C tor: `stream_end_reason_to_control_string`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamReason {
    /// The far end said so.
    Far(EndReason),
    /// We say so.
    Ours(EndReason),
    /// No circuit could take it.
    CantAttach,
    /// There is no network.
    NetUnreachable,
}

impl From<Failure> for StreamReason {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TooMany => StreamReason::Ours(EndReason::RESOURCELIMIT),
            Failure::NetworkDisabled => StreamReason::NetUnreachable,
            Failure::TimedOut => StreamReason::Ours(EndReason::TIMEOUT),
            Failure::NoExit => StreamReason::CantAttach,
            Failure::Exit(reason) => StreamReason::Far(reason),
            Failure::CircuitsBroke => StreamReason::Ours(EndReason::DESTROY),
            Failure::NothingFound | Failure::NothingNow | Failure::OtherKind => {
                StreamReason::Ours(EndReason::RESOLVEFAILED)
            }
            Failure::UnknownExit => StreamReason::Ours(EndReason::TORPROTOCOL),
            Failure::Closed(reason) => StreamReason::Ours(reason),
        }
    }
}

/// How much was carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Towards us.
    pub read: u64,
    /// Away from us.
    pub written: u64,
}

/// What a name means.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The stream that asked.
    pub stream: RequestNo,
    /// What was asked for.
    pub from: Sensitive<String>,
    /// What it means; nothing if nobody knows.
    pub to: Option<Sensitive<String>>,
    /// Until when.
    pub expires: Wall,
}

/// How long circuits take.
#[derive(Clone, Debug)]
pub struct Times {
    /// Whether it follows from what was learned, or all of that was forgotten.
    pub change: Change,
    /// How many times are known.
    pub total: usize,
    /// After how long a circuit of three hops is late, and when it is given up.
    pub timeout: Duration,
    /// See above.
    pub close: Duration,
    /// The curve that fits best.
    pub curve: Option<Curve>,
    /// Which share of the last circuits was late, and which was given up.
    pub rates: (f64, f64),
}

impl Times {
    pub(super) fn of(times: &BuildTimes, change: Change) -> Times {
        const HOPS: usize = crate::path::timeout::COUNTED_HOPS;
        Times {
            change,
            total: times.count(),
            timeout: times.timeout(HOPS),
            close: times.close(HOPS),
            curve: times.curve(),
            rates: times.rates(),
        }
    }
}

/// The events that wait.
#[derive(Debug, Default)]
pub(super) struct Events {
    mask: Mask,
    queue: VecDeque<Event>,
    lost: u32,
}

impl Events {
    /// From now on these and no others.
    pub(super) fn subscribe(&mut self, mask: Mask) {
        self.mask = mask;
    }

    /// Whether anybody wants such.
    pub(super) fn wants(&self, kind: Mask) -> bool {
        self.mask.has(kind)
    }

    /// Says something, if anybody wants to hear it.
    pub(super) fn say(&mut self, kind: Mask, event: impl FnOnce() -> Option<Event>) {
        if !self.mask.has(kind) {
            return;
        }
        if self.queue.len() >= MAX_EVENTS {
            self.lost = self.lost.saturating_add(1);
        } else if let Some(event) = event() {
            self.queue.push_back(event);
        }
    }

    pub(super) fn poll(&mut self) -> Option<Event> {
        self.queue.pop_front().or_else(|| match core::mem::take(&mut self.lost) {
            0 => None,
            lost => Some(Event::Lost(lost)),
        })
    }
}

impl Client {
    /// From now on these events are made and no others.
    pub fn subscribe(&mut self, mask: Mask) {
        self.events.subscribe(mask);
    }

    /// The next event. To be taken after each input, as outputs are.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.poll()
    }

    /// What all links have carried since the start.
    pub fn traffic(&self) -> link::Traffic {
        self.junction.traffic()
    }

    /// All links, and how far they are.
    pub fn links(&self) -> impl Iterator<Item = (LinkFacts, LinkStatus)> + '_ {
        self.links.iter().filter_map(|(link, is_up)| {
            let status = if is_up { LinkStatus::Connected } else { LinkStatus::Launched };
            Some((self.link_facts(link)?, status))
        })
    }

    /// All circuits, those to directories among them.
    pub fn circuits(&self) -> impl Iterator<Item = (CircuitFacts, CircuitStatus)> + '_ {
        let of_pool = self.pool.iter().map(|(no, circuit)| {
            let status = match circuit.phase {
                Phase::Building | Phase::Late if circuit.hops_built() == 0 => CircuitStatus::Launched,
                Phase::Building | Phase::Late => CircuitStatus::Extended,
                Phase::Waiting => CircuitStatus::GuardWait,
                Phase::Open => CircuitStatus::Built,
            };
            (no, status)
        });
        let to_directories = self
            .directories
            .iter()
            .map(|(no, errand)| (*no, if errand.is_built() { CircuitStatus::Built } else { CircuitStatus::Launched }));
        of_pool.chain(to_directories).filter_map(|(no, status)| Some((self.circuit_facts(no)?, status)))
    }

    /// All streams and requests, those to directories aside.
    pub fn requests(&self) -> impl Iterator<Item = (StreamFacts, StreamStatus)> + '_ {
        self.streams.iter().filter_map(|(no, request)| {
            let status = match request.state {
                State::Waiting if request.is_held => StreamStatus::Held,
                State::Waiting => StreamStatus::New,
                State::Asked { .. } => StreamStatus::Sent,
                State::Open { .. } => StreamStatus::Succeeded,
            };
            Some((self.stream_facts(no)?, status))
        })
    }

    // --- what is said, and when ----------------------------------------------------------

    fn link_facts(&self, link: LinkNo) -> Option<LinkFacts> {
        let traffic = self.junction.traffic_of(link);
        self.links.goal(link).map(|(ids, address)| LinkFacts { link, ids, address, traffic })
    }

    fn circuit_facts(&self, no: TunnelNo) -> Option<CircuitFacts> {
        let traffic = self.junction.tunnel(no).map(|tunnel| tunnel.traffic()).unwrap_or_default();
        if let Some(errand) = self.directories.get(&no) {
            let path = errand.guard_id().into_iter().filter(|_| errand.is_built()).collect();
            let (purpose, created) = (Purpose::Directory, errand.created());
            let (is_stable, credentials) = (false, None);
            return Some(CircuitFacts { circuit: no, path, purpose, is_stable, created, credentials, traffic });
        }
        let circuit = self.pool.get(no)?;
        let built = circuit.path.hops.iter().take(circuit.hops_built());
        Some(CircuitFacts {
            circuit: no,
            path: built.filter_map(|hop| hop.ids.rsa).collect(),
            purpose: circuit.purpose(),
            is_stable: circuit.is_stable(),
            created: circuit.created(),
            credentials: circuit.credentials().map(Sensitive::new),
            traffic,
        })
    }

    fn stream_facts(&self, no: RequestNo) -> Option<StreamFacts> {
        let request = self.streams.get(no)?;
        Some(StreamFacts {
            stream: no,
            wish: Some(Box::new(request.wish.clone())),
            circuit: request.at().map(|(tunnel, _)| tunnel),
            bytes: request.bytes,
        })
    }

    pub(super) fn say_link(&mut self, link: LinkNo, status: LinkStatus) {
        if self.events.wants(Mask::LINKS) {
            let facts = self.link_facts(link);
            self.events.say(Mask::LINKS, || facts.map(|facts| Event::Link(facts, status)));
        }
    }

    /// C tor: `control_event_bootstrap_prob_or`.
    pub(super) fn say_problem(&mut self, link: LinkNo, reason: LinkReason) {
        let progress = self.bootstrap.progress();
        if self.links.is_up(link) || progress == Progress::Done {
            return;
        }
        self.problems = self.problems.saturating_add(1);
        let (count, facts) = (self.problems, self.link_facts(link));
        let is_warning = count >= MANY_PROBLEMS || reason == LinkReason::NoRoute;
        let problem = facts.map(|link| Problem { progress, reason, count, is_warning, link });
        self.events.say(Mask::NETWORK, || problem.map(Event::Problem));
    }

    /// What the user is to be told next, and controllers too.
    pub(super) fn poll_notice(&mut self) -> Option<Notice> {
        let notice = self.bootstrap.poll_notice()?;
        self.events.say(Mask::NETWORK, || Some(Event::Notice(notice.clone())));
        Some(notice)
    }

    pub(super) fn say_circuit(&mut self, no: TunnelNo, status: CircuitStatus) {
        if self.events.wants(Mask::CIRCUITS) {
            let facts = self.circuit_facts(no);
            self.events.say(Mask::CIRCUITS, || facts.map(|facts| Event::Circuit(facts, status)));
        }
    }

    pub(super) fn say_stream(&mut self, no: RequestNo, status: StreamStatus) {
        if self.events.wants(Mask::STREAMS) {
            let facts = self.stream_facts(no);
            self.events.say(Mask::STREAMS, || facts.map(|facts| Event::Stream(facts, status)));
        }
    }

    /// Says what is said of a directory's stream, which is nobody's request.
    pub(super) fn say_errand(&mut self, no: TunnelNo, status: StreamStatus) {
        let Some(errand) = self.directories.get(&no) else { return };
        let (stream, bytes) = (errand.stream_no(), Bytes::default());
        let facts = StreamFacts { stream, wish: None, circuit: Some(no), bytes };
        self.events.say(Mask::STREAMS, || Some(Event::Stream(facts, status)));
    }

    pub(super) fn say_name(&mut self, stream: RequestNo, from: &str, to: Option<String>, seconds: u32, now: Now) {
        let expires = now.wall + Duration::from_secs(seconds.into());
        let mapping = || Mapping { stream, from: Sensitive::new(from.to_owned()), to: to.map(Sensitive::new), expires };
        self.events.say(Mask::NAMES, || Some(Event::Name(mapping())));
    }

    /// What guards and build times have to say for themselves.
    pub(super) fn say_what_was_learned(&mut self) {
        for news in self.pool.guards.take_news() {
            self.events.say(Mask::GUARDS, || Some(Event::Guard(news)));
        }
        for alarm in self.pool.take_alarms() {
            self.bootstrap.say(Notice::Guard(alarm));
        }
        if let Some(change) = self.pool.take_times_change() {
            let times = &self.pool.times;
            self.events.say(Mask::NETWORK, || Some(Event::BuildTimes(Box::new(Times::of(times, change)))));
        }
        let is_alive = self.pool.times.is_live();
        if core::mem::replace(&mut self.was_alive, is_alive) != is_alive {
            self.events.say(Mask::NETWORK, || Some(Event::Alive(is_alive)));
        }
        for no in self.pool.take_late() {
            self.say_circuit(no, CircuitStatus::Repurposed(Purpose::General));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_nobody_takes_are_counted_beyond_a_bound() {
        let mut events = Events::default();
        events.say(Mask::NETWORK, || panic!("nobody wants it"));
        events.subscribe(Mask::NETWORK.with(Mask::GUARDS));
        events.say(Mask::LINKS, || panic!("nobody wants it"));
        (0..MAX_EVENTS + 2).for_each(|_| events.say(Mask::NETWORK, || Some(Event::Alive(true))));
        let all: Vec<Event> = core::iter::from_fn(|| events.poll()).collect();
        assert!(all.len() == MAX_EVENTS + 1 && matches!(all.last(), Some(Event::Lost(2))));
    }
}
