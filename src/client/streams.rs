//! What programs have asked for: requests that wait for a circuit, that wait for an answer,
//! and streams that are open.
//!
//! Keeps them, and says what an end means for each; which circuit a request gets is
//! `circuits.rs`'s, and `mod.rs` sends what is to be sent. Called by `mod.rs` alone. Spec:
//! tor-spec, "Application connections and stream management"; path-spec, "Handling
//! failure". C tor: `connection_ap_expire_beginning`, `connection_ap_process_end_not_open`.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::circuits::Demand;
use super::events::Bytes;
use super::isolation::{Facts, Fields};
use super::junction::TunnelNo;
use super::name::ForExit;
use crate::base::RsaId;
use crate::base::redact::Sensitive;
use crate::base::time::{Tick, earlier};
use crate::circuit::hop::StreamAt;
use crate::circuit::{Answer, Ended};
use crate::config;
use crate::path::rules::{Avoided, Family, Target};
use crate::stream::verdict::{Retry, Verdict};
use crate::stream::{MAX_UNSENT, may_be_answered};
use crate::wire::relay_msg::{BeginFlags, End, EndReason};

/// How many requests and streams there are at once; ours. A listener refuses more before.
pub const MAX_REQUESTS: usize = 16_384;
/// At so many exits a request is tried that say they cannot reach what it wants. C tor:
/// `MAX_RESOLVE_FAILURES`.
const MAX_REFUSALS: u32 = 3;
/// So often a request is tried at all. Arti's.
const MAX_TRIES: u32 = 16;
/// How long an exit has to answer: the first two, and those after. C tor:
/// `compute_retry_timeout`.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(15));

/// What all programs together may leave unread and have unsent, unless the shell knows its
/// machine better; ours, half of the least board. C tor: `MaxMemInQueues`, by what the machine
/// has, and 256 megabytes at least.
pub const MAX_HELD: usize = 32 << 20;
/// However little the user lets us hold, a few streams fit into it; ours.
pub const LEAST_HELD: usize = 1 << 20;
/// If it is more, as much is given up as leaves so many tenths. C tor:
/// `FRACTION_OF_DATA_TO_RETAIN_ON_OOM`.
const RETAINED_TENTHS: usize = 9;
/// What is unsent is counted anew when it may have grown by this part of what may be held; ours.
const COUNTED_PART: usize = 64;

/// A request, as the client and its shell call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestNo(pub u64);

/// What a program wants.
#[derive(Clone, Debug)]
pub struct Wish {
    /// To do what.
    pub what: What,
    /// By which exit, if the user names one: a fingerprint or a name.
    pub exit: Option<String>,
    /// What is known of it.
    pub facts: Facts,
    /// Whom it may not meet.
    pub fields: Fields,
    /// Whether a circuit lives on from when it was last used by it.
    pub keeps_alive: bool,
    /// Where its program is, if it is known by an address.
    pub from: Option<Sensitive<SocketAddr>>,
}

/// To do what.
#[derive(Clone)]
pub enum What {
    /// Open a stream.
    Connect {
        /// To that name or address.
        host: ForExit,
        /// To that port.
        port: u16,
        /// By which protocols of the Internet.
        family: Family,
        /// What the exit is told of them.
        flags: BeginFlags,
    },
    /// Look up the addresses of a name that are of that kind; any, but IPv4 first.
    Resolve(ForExit, Family),
    /// Look an address up.
    ResolvePtr(IpAddr),
}

/// Says what kind it is, and not where to.
impl core::fmt::Debug for What {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            What::Connect { .. } => "Connect",
            What::Resolve(..) => "Resolve",
            What::ResolvePtr(_) => "ResolvePtr",
        })
    }
}

/// Why nothing came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There are too many already.
    TooMany,
    /// No connection to the network may be opened.
    NetworkDisabled,
    /// The user wants an exit that is none, or is excluded.
    UnknownExit,
    /// No circuit for it within the time, or no answer on any.
    TimedOut,
    /// No exit takes it.
    NoExit,
    /// The last exit that was tried said so.
    Exit(EndReason),
    /// Its circuit broke, and so did the others.
    CircuitsBroke,
    /// The look-up found nothing, and will not.
    NothingFound,
    /// It found nothing now.
    NothingNow,
    /// It found addresses, if any, of another kind.
    OtherKind,
    /// A controller wanted it so.
    Closed(EndReason),
}

/// What a look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// An address.
    Ip(Sensitive<IpAddr>),
    /// A name.
    Name(Sensitive<String>),
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has no circuit.
    Waiting,
    /// An exit was asked.
    Asked {
        /// On which tunnel.
        tunnel: TunnelNo,
        /// As which stream.
        at: StreamAt,
        /// When.
        since: Tick,
    },
    /// It is open.
    Open {
        /// On which tunnel.
        tunnel: TunnelNo,
        /// As which stream.
        at: StreamAt,
    },
}

/// An exit that a request is to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Which.
    pub id: RsaId,
    /// How many circuits may still be begun to it, before any other will do; none if no other does.
    pub tries_left: Option<u32>,
}

/// A request or stream.
#[derive(Debug)]
pub struct Request {
    /// What is wanted.
    pub wish: Wish,
    /// By which exit, if not by any.
    pub exit: Option<Exit>,
    /// Where it is.
    pub state: State,
    /// What its program wrote that no tunnel has taken.
    pub unsent: VecDeque<u8>,
    /// Its program writes no more.
    pub is_finished: bool,
    /// It waits for a controller to say which circuit it gets.
    pub is_held: bool,
    /// What its program has written and read.
    pub bytes: Bytes,
    born: Tick,
    timeouts: u32,
    tries: u32,
    refusals: u32,
    avoided: Avoided,
    /// What an exit last said of it.
    said: Option<EndReason>,
    held: Held,
}

/// What a request makes us hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    /// What came for its program and was not taken.
    unread: usize,
    /// What its program wrote and is not known to be sent.
    unsent: usize,
    /// Since when nothing of it has moved.
    since: Tick,
}

impl Held {
    fn sum(&self) -> usize {
        self.unread + self.unsent
    }
}

impl Request {
    /// What it needs of a circuit.
    pub fn demand(&self, config: &config::Circuits) -> Demand<'_> {
        let (target, is_stable) = match &self.wish.what {
            What::Connect { port, family, .. } => {
                (Some(Target { port: *port, family: *family }), config.long_lived_ports.contains(port))
            }
            What::Resolve(..) | What::ResolvePtr(_) => (None, false),
        };
        let Wish { facts, fields, .. } = &self.wish;
        let only = self.exit.map(|exit| exit.id);
        Demand { target, is_stable, only, avoided: &self.avoided, facts, fields: *fields }
    }

    /// Any exit will do from now on, unless it is bound to one: then false.
    pub fn may_leave_exit(&mut self) -> bool {
        let may = self.exit.is_some_and(|exit| exit.tries_left.is_some());
        if may {
            self.exit = None;
        }
        may
    }

    /// The host that it is for, if it has a name.
    pub fn host(&self) -> Option<&str> {
        match &self.wish.what {
            What::Connect { host, .. } | What::Resolve(host, _) => Some(host.as_str()),
            What::ResolvePtr(_) => None,
        }
    }

    /// Its tunnel and its stream there, if it has any.
    pub fn at(&self) -> Option<(TunnelNo, StreamAt)> {
        match self.state {
            State::Waiting => None,
            State::Asked { tunnel, at, .. } | State::Open { tunnel, at } => Some((tunnel, at)),
        }
    }

    /// How much more its program may write.
    pub fn room(&self) -> usize {
        MAX_UNSENT.saturating_sub(self.unsent.len())
    }

    /// Why nothing comes of it if no exit is left to try.
    pub fn failure_without_exits(&self) -> Failure {
        self.said.map_or(Failure::NoExit, Failure::Exit)
    }

    /// An exit found this for its name, and does not connect there. It is asked for from now
    /// on, unless nobody can connect there: then false. C tor: the same, by
    /// `connection_ap_process_end_not_open`.
    fn lead_to(&mut self, ip: IpAddr, allows_internal: bool) -> bool {
        let What::Connect { host, family, flags, .. } = &mut self.wish.what else { return true };
        let may_be = !ip.is_unspecified() && may_be_answered(ip, *flags, allows_internal);
        if may_be {
            *host = ip.into();
            *family = if ip.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        }
        may_be
    }

    fn patience(&self, config: &config::Circuits) -> Duration {
        let (first, later) = PATIENCE;
        config.stream_timeout.unwrap_or(if self.timeouts < 2 { first } else { later })
    }
}

/// What becomes of a request whose stream ended before it was open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Why it is over; none if it is to be tried again.
    pub failure: Option<Failure>,
    /// What to do with the circuit.
    pub circuit: Fate,
}

/// What to do with the circuit of a stream that was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Stays,
    /// It takes no new streams.
    Retires,
    /// It takes no new streams, and its exit is busy.
    ExitBusy,
    /// It is closed.
    Closes,
}

/// All requests and streams.
#[derive(Debug, Default)]
pub struct Streams {
    requests: BTreeMap<RequestNo, Request>,
    by_stream: BTreeMap<(TunnelNo, StreamAt), RequestNo>,
    /// Those that wait, in their order.
    waiting: Vec<RequestNo>,
    /// Those of them that nobody has looked at since they came.
    new: BTreeSet<RequestNo>,
    /// When the first time of any is over, or before, if `is_due_known`; but for these, whose
    /// times have changed since.
    due: Option<Tick>,
    is_due_known: bool,
    changed: Vec<RequestNo>,
    /// What all of them hold.
    held: usize,
    /// It is counted anew when it seems to be more than this, or than what may be.
    counted: usize,
    /// The time, when bytes last came.
    clock: Tick,
}

impl Streams {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// A request. False if there are too many.
    pub fn add(&mut self, no: RequestNo, wish: Wish, exit: Option<Exit>, now: Tick) -> bool {
        if self.requests.len() >= MAX_REQUESTS {
            return false;
        }
        let request = Request {
            wish,
            exit,
            state: State::Waiting,
            unsent: VecDeque::new(),
            is_finished: false,
            is_held: false,
            bytes: Bytes::default(),
            born: now,
            timeouts: 0,
            tries: 0,
            refusals: 0,
            avoided: Avoided::new(),
            said: None,
            held: Held::default(),
        };
        self.requests.insert(no, request);
        self.waiting.push(no);
        self.new.insert(no);
        self.changed.push(no);
        true
    }

    /// An exit that some requests would rather go by is no good: any will do.
    pub fn leave_exit(&mut self, id: &RsaId) {
        for request in self.requests.values_mut() {
            if request.exit.is_some_and(|exit| exit.id == *id) {
                request.may_leave_exit();
            }
        }
    }

    /// A request.
    pub fn get(&self, no: RequestNo) -> Option<&Request> {
        self.requests.get(&no)
    }

    /// A request.
    pub fn get_mut(&mut self, no: RequestNo) -> Option<&mut Request> {
        self.requests.get_mut(&no)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (RequestNo, &Request)> {
        self.requests.iter().map(|(no, request)| (*no, request))
    }

    /// One that waits is left to a controller. False if there is none such.
    pub fn hold(&mut self, no: RequestNo) -> bool {
        let request = self.requests.get_mut(&no).filter(|request| request.state == State::Waiting);
        request.map(|request| request.is_held = true).is_some()
    }

    /// One that was held gets whichever circuit is best.
    pub fn release(&mut self, no: RequestNo) {
        if let Some(request) = self.requests.get_mut(&no) {
            request.is_held = false;
            self.new.insert(no);
        }
    }

    /// What one that waits wants is another thing now.
    pub fn renew(&mut self, no: RequestNo) {
        self.new.insert(no);
    }

    /// Whose a stream is.
    #[inline]
    pub fn whose(&self, tunnel: TunnelNo, at: StreamAt) -> Option<RequestNo> {
        self.by_stream.get(&(tunnel, at)).copied()
    }

    /// Bytes came for a stream; whose it is.
    #[inline]
    pub fn on_data(&mut self, tunnel: TunnelNo, at: StreamAt, length: usize, now: Tick) -> Option<RequestNo> {
        let no = self.whose(tunnel, at)?;
        if let Some(request) = self.requests.get_mut(&no) {
            request.bytes.read += u64::try_from(length).unwrap_or(u64::MAX);
            if request.held.unread == 0 {
                request.held.since = now;
            }
            request.held.unread += length;
            (self.held, self.clock) = (self.held + length, now);
        }
        Some(no)
    }

    /// A program has taken so much of what came for it.
    pub fn on_taken(&mut self, no: RequestNo, length: usize) {
        if let Some(request) = self.requests.get_mut(&no) {
            let length = length.min(request.held.unread);
            (request.held.unread, request.held.since) = (request.held.unread - length, self.clock);
            self.held -= length;
        }
    }

    /// So much of what a program wrote was taken from it.
    pub fn on_written(&mut self, no: RequestNo, length: usize) {
        if let Some(request) = self.requests.get_mut(&no) {
            request.bytes.written += u64::try_from(length).unwrap_or(u64::MAX);
            let more = length.min(MAX_UNSENT.saturating_sub(request.held.unsent));
            (request.held.unsent, request.held.since) = (request.held.unsent + more, self.clock);
            self.held += more;
        }
    }

    /// What all of them hold; of what is unsent perhaps more than there is.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether that may be more than `most`.
    pub fn may_hold_more(&self, most: usize) -> bool {
        self.held > most.max(self.counted)
    }

    /// Those that must be given up if no more than `most` may be held: of those that hold
    /// anything, the ones of which nothing has moved for longest. What is unsent is asked for. C
    /// tor: `circuits_handle_oom`.
    pub fn oldest_beyond(&mut self, most: usize, unsent: impl Fn(&Request) -> usize) -> Vec<RequestNo> {
        for request in self.requests.values_mut() {
            request.held.unsent = unsent(request);
        }
        self.held = self.requests.values().map(|request| request.held.sum()).sum();
        self.counted = if self.held > most { 0 } else { self.held + most / COUNTED_PART };
        if self.held <= most {
            return Vec::new();
        }
        let holds = |(no, request): (&RequestNo, &Request)| (request.held.since, *no, request.held.sum());
        let mut all: Vec<_> = self.requests.iter().map(holds).filter(|(.., sum)| *sum > 0).collect();
        all.sort_unstable();
        let mut left = self.held;
        let is_too_much = |(.., sum): &(Tick, RequestNo, usize)| {
            let before = left;
            left -= sum;
            before > most / 10 * RETAINED_TENTHS
        };
        all.into_iter().take_while(is_too_much).map(|(_, no, _)| no).collect()
    }

    /// Those that wait for a circuit, in the order in which they came.
    pub fn waiting(&self) -> &[RequestNo] {
        &self.waiting
    }

    /// Whether some came since they were last taken.
    pub fn has_new(&self) -> bool {
        !self.new.is_empty()
    }

    /// Those that came, or came back, since they were last taken.
    pub fn take_new(&mut self) -> BTreeSet<RequestNo> {
        core::mem::take(&mut self.new)
    }

    /// An exit was asked.
    pub fn on_asked(&mut self, no: RequestNo, tunnel: TunnelNo, at: StreamAt, now: Tick) {
        self.leave_row(no);
        self.changed.push(no);
        if let Some(request) = self.requests.get_mut(&no) {
            (request.state, request.is_held) = (State::Asked { tunnel, at, since: now }, false);
            request.tries += 1;
            self.by_stream.insert((tunnel, at), no);
        }
    }

    /// It is open.
    pub fn on_connected(&mut self, no: RequestNo) {
        if let Some(request) = self.requests.get_mut(&no)
            && let State::Asked { tunnel, at, .. } = request.state
        {
            request.state = State::Open { tunnel, at };
        }
    }

    /// It is over; gives it back.
    pub fn remove(&mut self, no: RequestNo) -> Option<Request> {
        let request = self.requests.remove(&no)?;
        self.held -= request.held.sum();
        match request.at() {
            Some(place) => drop(self.by_stream.remove(&place)),
            None => self.leave_row(no),
        }
        Some(request)
    }

    fn leave_row(&mut self, no: RequestNo) {
        self.new.remove(&no);
        if let Some(place) = self.waiting.iter().position(|waiting| *waiting == no) {
            self.waiting.remove(place);
        }
    }

    /// It waits again, with what no exit has taken.
    pub fn put_back(&mut self, no: RequestNo, unanswered: Sensitive<Vec<u8>>) {
        let Some(request) = self.requests.get_mut(&no) else { return };
        if let Some(place) = request.at() {
            self.by_stream.remove(&place);
            self.waiting.push(no);
            self.new.insert(no);
            self.changed.push(no);
        }
        request.state = State::Waiting;
        let mut unsent: VecDeque<u8> = unanswered.into_inner().into();
        unsent.append(&mut request.unsent);
        request.unsent = unsent;
    }

    /// What the end of a stream that was not open means. `exit` is who was asked; whether names
    /// may lead to private networks is the user's to say.
    pub fn judge(&mut self, no: RequestNo, why: &Ended, exit: Option<RsaId>, allows_internal: bool) -> Outcome {
        let Some(request) = self.requests.get_mut(&no) else { return Outcome::NOTHING };
        let (verdict, failure) = match why {
            Ended::ByFarEnd { end, .. } => {
                request.said = Some(end.reason);
                (Some(Verdict::on(end.reason)), Failure::Exit(end.reason))
            }
            Ended::Refused(_) => {
                request.said = Some(EndReason::TORPROTOCOL);
                // Only the exit can have said it, so nothing is wrong with the circuit. If others
                // say the same, that is where the name leads. C tor: believes the first, and calls
                // it so.
                request.refusals += 1;
                request.avoided.extend(exit);
                let failure = Failure::Exit(EndReason::TORPROTOCOL);
                let is_over = request.refusals >= MAX_REFUSALS;
                return Outcome { failure: is_over.then_some(failure), circuit: Fate::Stays };
            }
            Ended::WithCircuit(_) => (None, Failure::CircuitsBroke),
        };
        let fate = match verdict.map(|verdict| verdict.retry) {
            Some(Retry::No) => return Outcome { failure: Some(failure), circuit: Fate::Stays },
            Some(Retry::Elsewhere) => {
                request.refusals += 1;
                Fate::Retires
            }
            Some(Retry::ElsewhereAddressRefused) => {
                if let Ended::ByFarEnd { end: End { address: Some((ip, _)), .. }, .. } = why
                    && !request.lead_to(*ip.uncover(), allows_internal)
                {
                    let failure = Failure::Exit(EndReason::TORPROTOCOL);
                    return Outcome { failure: Some(failure), circuit: Fate::Stays };
                }
                // C tor: does not count them, and asks until the time is over.
                request.refusals += 1;
                request.avoided.extend(exit);
                Fate::Stays
            }
            Some(Retry::ElsewhereExitBusy) => Fate::ExitBusy,
            Some(Retry::ElsewhereCircuitCloses) | None => Fate::Closes,
        };
        let is_over = request.tries >= MAX_TRIES || request.refusals >= MAX_REFUSALS;
        Outcome { failure: is_over.then_some(failure), circuit: fate }
    }

    /// Those whose time is over, and that are not open. Differs: C tor lets an exit that was asked
    /// before have its own time beyond that.
    pub fn expired(&self, limit: Duration, now: Tick) -> Vec<RequestNo> {
        if !self.is_due(now) {
            return Vec::new();
        }
        let is_over = |request: &Request| !matches!(request.state, State::Open { .. }) && request.born + limit <= now;
        self.requests.iter().filter(|(_, request)| is_over(request)).map(|(no, _)| *no).collect()
    }

    /// Those whose exits have taken too long, with where they are and since when; each is counted.
    pub fn unanswered(&mut self, config: &config::Circuits, now: Tick) -> Vec<(RequestNo, TunnelNo, StreamAt, Tick)> {
        let mut late = Vec::new();
        if !self.is_due(now) {
            return late;
        }
        for (no, request) in &mut self.requests {
            if let State::Asked { tunnel, at, since } = request.state
                && since + request.patience(config) <= now
            {
                request.timeouts += 1;
                late.push((*no, tunnel, at, since));
            }
        }
        late
    }

    /// When to look again. All are looked at only when a time was over.
    pub fn next_deadline(&mut self, limit: Duration, config: &config::Circuits, now: Tick) -> Option<Tick> {
        let deadline = |request: &Request| match request.state {
            State::Waiting => Some(request.born + limit),
            State::Asked { since, .. } => Some((since + request.patience(config)).min(request.born + limit)),
            State::Open { .. } => None,
        };
        let changed = core::mem::take(&mut self.changed);
        self.due = if self.is_due(now) {
            self.requests.values().filter_map(deadline).min()
        } else {
            let changed = changed.iter().filter_map(|no| self.requests.get(no)).filter_map(deadline).min();
            earlier(self.due, changed)
        };
        self.is_due_known = true;
        self.due
    }

    /// Other times hold from now on.
    pub fn forget_deadlines(&mut self) {
        self.is_due_known = false;
    }

    fn is_due(&self, now: Tick) -> bool {
        !self.is_due_known || self.due.is_some_and(|due| due <= now)
    }
}

impl Outcome {
    const NOTHING: Outcome = Outcome { failure: None, circuit: Fate::Stays };
}

/// The answer that a program gets of those that an exit gave, and for how many seconds it is good.
/// C tor: the first address of the kind that is wanted more, or the name;
/// `connection_ap_handshake_socks_got_resolved_cell`.
pub fn choose(answers: &[(Answer, u32)], what: &What) -> Result<(Found, u32), Failure> {
    let family = match what {
        What::Resolve(_, family) => *family,
        What::Connect { .. } | What::ResolvePtr(_) => Family::Either,
    };
    let address = |(answer, seconds): &(Answer, u32)| match answer {
        Answer::Address(ip) => Some((Found::Ip(*ip), *seconds, ip.uncover().is_ipv4())),
        _ => None,
    };
    let name = |(answer, seconds): &(Answer, u32)| match answer {
        Answer::Hostname(name) => {
            let name = String::from_utf8(name.uncover().clone()).ok().filter(|name| is_plain(name))?;
            Some((Found::Name(Sensitive::new(name)), *seconds))
        }
        _ => None,
    };
    let first = |wants_ipv4| answers.iter().filter_map(address).find(|(.., is_ipv4)| *is_ipv4 == wants_ipv4);
    let found = match (what, family) {
        (What::ResolvePtr(_), _) => answers.iter().find_map(name),
        (_, Family::Ipv4) => first(true).map(|(found, seconds, _)| (found, seconds)),
        (_, Family::Ipv6) => first(false).map(|(found, seconds, _)| (found, seconds)),
        (_, Family::Either) => first(true).or_else(|| first(false)).map(|(found, seconds, _)| (found, seconds)),
    };
    let has = |wanted: Answer| answers.iter().any(|(answer, _)| *answer == wanted);
    found.ok_or(match what {
        _ if has(Answer::TransientError) => Failure::NothingNow,
        What::ResolvePtr(_) => Failure::NothingFound,
        _ if has(Answer::PermanentError) => Failure::NothingFound,
        _ => Failure::OtherKind,
    })
}

/// A name that an exit gives goes to a program that may believe anything.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::hop::HopNo;
    use crate::client::isolation::Group;
    use crate::client::name::Host;
    use crate::wire::relay::StreamId;

    fn wish(what: What) -> Wish {
        let facts = Facts {
            group: Group::Internal,
            epoch: 0,
            protocol: 5,
            client: None,
            credentials: None,
            host: String::new(),
            port: 0,
        };
        Wish { what, exit: None, facts, fields: Fields::default(), keeps_alive: false, from: None }
    }

    /// C tor: `connection_ap_process_end_not_open`.
    #[test]
    fn an_address_that_an_exit_refuses_is_asked_of_others_if_it_can_be_one() {
        let (both, v4, v6) = (BeginFlags::IPV6_OK, BeginFlags::default(), BeginFlags::IPV4_NOT_OK);
        let v6 = v6.with(BeginFlags::IPV6_OK);
        for (address, flags, allows_internal, expected) in [
            (None, both, false, Some(("name", Family::Either))),
            (Some("198.51.100.1"), both, false, Some(("198.51.100.1", Family::Ipv4))),
            (Some("2001:db8::1"), both, false, Some(("2001:db8::1", Family::Ipv6))),
            (Some("2001:db8::1"), v6, false, Some(("2001:db8::1", Family::Ipv6))),
            (Some("10.0.0.1"), both, true, Some(("10.0.0.1", Family::Ipv4))),
            (Some("10.0.0.1"), both, false, None),
            (Some("::1"), both, false, None),
            (Some("0.0.0.0"), both, true, None),
            (Some("::"), both, true, None),
            (Some("2001:db8::1"), v4, false, None),
            (Some("198.51.100.1"), v6, false, None),
        ] {
            let (mut streams, no, exit) = (Streams::default(), RequestNo(1), RsaId([1; 20]));
            let what = What::Connect {
                host: ForExit::of(&Host::Name("name".to_owned())).unwrap(),
                port: 1,
                family: Family::Either,
                flags,
            };
            streams.add(no, wish(what), None, Tick::default());
            let address = address.map(|ip| (Sensitive::new(ip.parse().unwrap()), 60));
            let end = End { reason: EndReason::EXITPOLICY, address };
            let why = Ended::ByFarEnd { end, was_open: false };
            let outcome = streams.judge(no, &why, Some(exit), allows_internal);
            let failure = expected.is_none().then_some(Failure::Exit(EndReason::TORPROTOCOL));
            assert_eq!(outcome, Outcome { failure, circuit: Fate::Stays }, "{address:?}");
            let request = streams.get(no).unwrap();
            assert_eq!(request.failure_without_exits(), Failure::Exit(EndReason::EXITPOLICY));
            if let Some((to, kind)) = expected {
                let What::Connect { host, family, .. } = &request.wish.what else { panic!() };
                assert_eq!((host.as_str(), *family), (to, kind));
                assert!(request.avoided.contains(&exit));
                let outcomes = [1, 2].map(|_| streams.judge(no, &why, Some(exit), allows_internal).failure);
                assert_eq!(outcomes, [None, Some(Failure::Exit(EndReason::EXITPOLICY))], "three are enough");
            }
        }
    }

    fn at(secs: u64) -> Tick {
        Tick::new(Duration::from_secs(secs))
    }

    /// Streams that are open, of these numbers, on one tunnel.
    fn open(numbers: core::ops::Range<u16>) -> (Streams, impl Fn(u16) -> StreamAt) {
        let place = |number: u16| StreamAt { hop: HopNo(2), id: StreamId::new(number).unwrap() };
        let mut streams = Streams::default();
        for number in numbers {
            let no = RequestNo(number.into());
            streams.add(no, wish(What::ResolvePtr(IpAddr::from([192, 0, 2, 1]))), None, at(0));
            streams.on_asked(no, TunnelNo(1), place(number), at(0));
            streams.on_connected(no);
        }
        (streams, place)
    }

    #[test]
    fn what_has_lain_for_longest_is_given_up_when_all_hold_too_much() {
        let (mut streams, place) = open(1..11);
        for number in 1..11 {
            streams.on_data(TunnelNo(1), place(number), 100, at(number.into()));
        }
        assert!(streams.held() == 1000 && !streams.may_hold_more(1000) && streams.may_hold_more(999));
        // Some of the first is read, all of the second, and the third writes.
        streams.on_taken(RequestNo(1), 50);
        streams.on_taken(RequestNo(2), 1000);
        streams.on_written(RequestNo(3), 1000);
        assert_eq!(streams.held(), 1850);
        // Most of that is sent already.
        let unsent = |request: &Request| if request.held.unsent > 0 { 100 } else { 0 };
        assert_eq!(streams.oldest_beyond(1000, unsent), []);
        assert!(streams.held() == 950 && !streams.may_hold_more(965 - 100));
        // 950 hold too much for 800: 720 may stay.
        assert_eq!(streams.oldest_beyond(800, unsent), [4, 5, 6].map(RequestNo));
        for number in 1..11 {
            streams.remove(RequestNo(number));
        }
        assert_eq!(streams.held(), 0);
    }

    #[test]
    fn of_all_answers_the_one_that_was_wanted_is_chosen() {
        let (v4, v6) = (IpAddr::from([192, 0, 2, 1]), "2001:db8::1".parse().unwrap());
        let address = |ip: IpAddr, seconds| (Answer::Address(Sensitive::new(ip)), seconds);
        let both = [address(v6, 6), address(v4, 4), address(IpAddr::from([192, 0, 2, 2]), 5)];
        let ip = |ip: IpAddr, seconds| Ok((Found::Ip(Sensitive::new(ip)), seconds));
        let (permanent, transient) = ((Answer::PermanentError, 9), (Answer::TransientError, 9));
        for (answers, family, expected) in [
            (&both[..], Family::Either, ip(v4, 4)),
            (&both, Family::Ipv4, ip(v4, 4)),
            (&both, Family::Ipv6, ip(v6, 6)),
            (&both[..1], Family::Either, ip(v6, 6)),
            (&both[..1], Family::Ipv4, Err(Failure::OtherKind)),
            (&both[1..], Family::Ipv6, Err(Failure::OtherKind)),
            (&[], Family::Either, Err(Failure::OtherKind)),
            (core::slice::from_ref(&permanent), Family::Ipv4, Err(Failure::NothingFound)),
            (&[permanent.clone(), transient.clone()], Family::Ipv4, Err(Failure::NothingNow)),
        ] {
            assert_eq!(
                choose(answers, &What::Resolve(IpAddr::from([192, 0, 2, 1]).into(), family)),
                expected,
                "{answers:?} {family:?}"
            );
        }
        let named = [both[0].clone(), (Answer::Hostname(Sensitive::new(b"a.b".to_vec())), 7)];
        let name = Found::Name(Sensitive::new("a.b".to_owned()));
        assert_eq!(choose(&named, &What::ResolvePtr(v4)), Ok((name, 7)));
        assert_eq!(choose(&both, &What::ResolvePtr(v4)), Err(Failure::NothingFound));
        assert_eq!(choose(&[transient], &What::ResolvePtr(v4)), Err(Failure::NothingNow));
    }

    #[test]
    fn so_many_requests_wait_and_no_more() {
        let wish = wish(What::ResolvePtr(IpAddr::from([192, 0, 2, 1])));
        let mut streams = Streams::default();
        for no in 0..MAX_REQUESTS {
            assert!(streams.add(RequestNo(no as u64), wish.clone(), None, Tick::default()));
        }
        assert!(!streams.add(RequestNo(u64::MAX), wish.clone(), None, Tick::default()));
        streams.remove(RequestNo(0));
        assert!(streams.add(RequestNo(u64::MAX), wish, None, Tick::default()));
    }
}
