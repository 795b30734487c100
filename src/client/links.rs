//! Which link serves which relay: dialled when it is wanted, shared while it lives, let go when
//! nobody uses it.
//!
//! Knows who was wanted and where; the link itself is `junction.rs`'s, the connection the
//! shell's. Called by `client/mod.rs`. Spec: tor-spec, "Connections"; dir-spec, for which
//! relay may be asked without a circuit of its own. C tor: core/or/channel.c, connection_or.c.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use super::Ids;
use super::junction::LinkNo;
use crate::base::RelayIds;
use crate::base::random::{Entropy, below};
use crate::base::time::Tick;
use crate::config::outward::Proxy;

/// How long a connection and its TLS may take to be made. Ours, as long as a circuit over a
/// guard of the second rank keeps others from being used; Arti begins with five seconds.
pub const DIAL_LIMIT: Duration = Duration::from_secs(15);
/// A link that is being made and of which nothing came for so long hangs: if another comes
/// about meanwhile after a row of failures, it is begun anew. Ours, as long as a slow relay
/// takes for a step.
const HANG_LIMIT: Duration = Duration::from_secs(3);
/// After a row of failures one of which nothing came for so long is given up: those who come
/// would all wait for it, and the network may be back. Ours, after the fourth SYN of Linux.
const STUCK_LIMIT: Duration = Duration::from_secs(8);
/// A link that has answered before, and then says nothing at all for so long after a circuit was
/// asked for over it, is taken for dead. Ours: a relay answers or gives up within
/// `MaxOnionQueueDelay`, 1.75 seconds.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);
/// If its answers take long, then after so many times as long; ours.
const SILENCE_FACTOR: u32 = 3;
/// How long a link that nobody uses is kept at least; up to half of that is drawn on top, for
/// each link when it opens, so that the time tells nobody which client it is. C tor:
/// `channelpadding_get_channel_idle_timeout`.
pub const IDLE_LIMIT: Duration = Duration::from_secs(180);

/// How long one link may be idle, by the second. C tor: half of it where padding is reduced.
pub fn idle_limit(is_reduced: bool, entropy: &mut dyn Entropy) -> Duration {
    let half = u32::try_from(IDLE_LIMIT.as_secs() / 2).unwrap_or(u32::MAX);
    let limit = IDLE_LIMIT + Duration::from_secs(below(entropy, half).into());
    if is_reduced { Duration::from_secs(limit.as_secs() / 2) } else { limit }
}

/// A relay to be reached: who it must prove to be, and where to try, in order, and which way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    /// Who: by RSA, by Ed25519, by both, or whoever is there.
    pub ids: RelayIds,
    /// Where.
    pub addresses: Vec<SocketAddr>,
    /// Which way.
    pub way: Way,
}

/// The way to a relay. What goes by another way than a link that is there gets its own link.
/// Transports with their arguments will be further ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Way {
    /// By TCP to its address.
    #[default]
    Direct,
    /// By somebody who connects there.
    Proxy(Proxy),
}

impl Goal {
    /// One that is reached by TCP.
    pub fn direct(ids: RelayIds, addresses: Vec<SocketAddr>) -> Goal {
        Goal { ids, addresses, way: Way::Direct }
    }
}

/// All links that are wanted or there.
#[derive(Debug, Default)]
pub struct Links {
    known: BTreeMap<LinkNo, Known>,
}

#[derive(Debug)]
struct Known {
    goal: Goal,
    /// Who is there, once it is up: perhaps more than was wanted.
    proved: RelayIds,
    /// The address that is tried, or was reached.
    at: usize,
    state: State,
    /// When something last came of it.
    heard: Tick,
    /// The longest that it took to answer a circuit's first cell; none if it never has.
    slowest: Option<Duration>,
    /// It did not answer when it should have.
    is_silent: bool,
    /// How long it may be idle, once it is open.
    idle_limit: Duration,
}

impl Known {
    fn new(goal: Goal, now: Tick) -> Known {
        Known {
            goal,
            proved: RelayIds::default(),
            at: 0,
            state: State::Dialling(now + DIAL_LIMIT),
            heard: now,
            slowest: None,
            is_silent: false,
            idle_limit: IDLE_LIMIT,
        }
    }

    /// When it is silent for too long, if a circuit that was begun then waits for its answer.
    fn silent_at(&self, begun: Tick) -> Option<Tick> {
        let is_unheard = matches!(self.state, State::Up(_)) && !self.is_silent && self.heard <= begun;
        let patience = SILENCE_LIMIT.max(self.slowest? * SILENCE_FACTOR);
        is_unheard.then(|| begun + patience)
    }

    fn stuck_at(&self) -> Option<Tick> {
        (!matches!(self.state, State::Up(_))).then(|| self.heard + STUCK_LIMIT)
    }

    /// Whether whoever is wanted is there, though less of it was known when it was dialled. C
    /// tor: `channel_remote_identity_matches`.
    fn proves(&self, wanted: &RelayIds) -> bool {
        let is_rsa = wanted.rsa.is_some() && wanted.rsa == self.proved.rsa;
        let is_ed25519 = wanted.ed25519.is_none_or(|id| self.proved.ed25519 == Some(id));
        matches!(self.state, State::Up(_)) && is_rsa && is_ed25519
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its connection is to be there by then.
    Dialling(Tick),
    /// The handshake goes on.
    Greeting,
    /// It is open; idle since then, if nobody uses it.
    Up(Option<Tick>),
}

/// What to do for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is there, or will be.
    Wait(LinkNo),
    /// Dial this first.
    Dial(LinkNo, SocketAddr),
}

impl Links {
    /// The link for a goal. `None` if the goal has no address.
    pub fn want(&mut self, goal: &Goal, ids: &mut Ids, now: Tick) -> Option<Step> {
        let is_who = |known: &Known| known.goal.ids == goal.ids || known.proves(&goal.ids);
        let serves = |known: &Known| !known.is_silent && known.goal.way == goal.way && is_who(known);
        if let Some((no, known)) = self.known.iter_mut().find(|(_, known)| serves(known)) {
            if known.state != State::Greeting && matches!(known.state, State::Up(_)) {
                known.state = State::Up(None);
            }
            return Some(Step::Wait(*no));
        }
        let first = *goal.addresses.first()?;
        let no = LinkNo(ids.next());
        self.known.insert(no, Known::new(goal.clone(), now));
        Some(Step::Dial(no, first))
    }

    /// Whom a link is for, and where it goes; `None` if nobody wants it any more.
    pub fn goal(&self, no: LinkNo) -> Option<(RelayIds, SocketAddr)> {
        let known = self.known.get(&no)?;
        Some((known.goal.ids, *known.goal.addresses.get(known.at)?))
    }

    /// Which way a link goes.
    pub fn way(&self, no: LinkNo) -> Way {
        self.known.get(&no).map(|known| known.goal.way.clone()).unwrap_or_default()
    }

    /// All of them, and whether they are open.
    pub fn iter(&self) -> impl Iterator<Item = (LinkNo, bool)> + '_ {
        self.known.iter().map(|(no, known)| (*no, matches!(known.state, State::Up(_))))
    }

    /// Whether it is open.
    pub fn is_up(&self, no: LinkNo) -> bool {
        self.known.get(&no).is_some_and(|known| matches!(known.state, State::Up(_)))
    }

    /// Its connection is there.
    pub fn on_dialled(&mut self, no: LinkNo) {
        if let Some(known) = self.known.get_mut(&no) {
            known.state = State::Greeting;
        }
    }

    /// Its connection could not be made: the next address to try, if there is one.
    pub fn next_address(&mut self, no: LinkNo, now: Tick) -> Option<SocketAddr> {
        let known = self.known.get_mut(&no)?;
        let next = known.goal.addresses.get(known.at + 1).copied()?;
        known.at += 1;
        (known.state, known.heard) = (State::Dialling(now + DIAL_LIMIT), now);
        Some(next)
    }

    /// It is open, and this is who proved to be there; it may be idle for so long.
    pub fn on_up(&mut self, no: LinkNo, proved: RelayIds, idle_limit: Duration) {
        if let Some(known) = self.known.get_mut(&no) {
            known.state = State::Up(None);
            (known.proved, known.idle_limit) = (proved, idle_limit);
        }
    }

    /// Something came of it. True if it was silent before.
    #[inline]
    pub fn on_heard(&mut self, no: LinkNo, now: Tick) -> bool {
        let Some(known) = self.known.get_mut(&no) else { return false };
        known.heard = now;
        core::mem::take(&mut known.is_silent)
    }

    /// A circuit over it got its first hop, so long after it was begun.
    pub fn on_answered(&mut self, no: LinkNo, took: Duration) {
        if let Some(known) = self.known.get_mut(&no) {
            known.slowest = known.slowest.max(Some(took));
        }
    }

    /// Whether any circuit over it ever got its first hop.
    pub fn has_answered(&self, no: LinkNo) -> bool {
        self.known.get(&no).is_some_and(|known| known.slowest.is_some())
    }

    /// What was begun over it then got no answer in time. If nothing else came since, its
    /// connection is probably dead, and nobody has noticed: another is made for those who come,
    /// and what is on it may still wake up. Without that, all the circuits of an outage would
    /// reach the relay at once when it is over. True if that is new.
    pub fn on_unanswered(&mut self, no: LinkNo, begun: Tick) -> bool {
        let is_news = |known: &&mut Known| matches!(known.state, State::Up(_)) && !known.is_silent;
        let unheard = self.known.get_mut(&no).filter(is_news).filter(|known| known.heard <= begun);
        unheard.map(|known| known.is_silent = true).is_some()
    }

    /// All that are open may be dead, but for those that have spoken since. Gives those of which
    /// that is news.
    pub fn doubt(&mut self, since: Tick) -> Vec<LinkNo> {
        let open = self.known.iter_mut().filter(|(_, it)| matches!(it.state, State::Up(_)) && !it.is_silent);
        let unheard = open.filter(|(_, known)| known.heard <= since);
        unheard.map(|(no, known)| (known.is_silent = true, *no).1).collect()
    }

    /// When a link is to be taken for dead if it says nothing before, once a circuit over it was
    /// begun then; none if it has spoken since, or is known to be slow in general.
    pub fn silent_at(&self, no: LinkNo, begun: Tick) -> Option<Tick> {
        self.known.get(&no)?.silent_at(begun)
    }

    /// Those that are not open yet and of which nothing came for a while.
    pub fn hanging(&self, now: Tick) -> Vec<LinkNo> {
        let hangs = |known: &Known| !matches!(known.state, State::Up(_)) && known.heard + HANG_LIMIT <= now;
        self.known.iter().filter(|(_, known)| hangs(known)).map(|(no, _)| *no).collect()
    }

    /// Those of them that are to be given up if all else failed before.
    pub fn stuck(&self, now: Tick) -> Vec<LinkNo> {
        let is_stuck = |known: &Known| known.stuck_at().is_some_and(|at| at <= now);
        self.known.iter().filter(|(_, known)| is_stuck(known)).map(|(no, _)| *no).collect()
    }

    /// When the first of them will be.
    pub fn next_stuck(&self) -> Option<Tick> {
        self.known.values().filter_map(Known::stuck_at).min()
    }

    /// It is gone.
    pub fn on_down(&mut self, no: LinkNo) {
        self.known.remove(&no);
    }

    /// Those whose connections take too long.
    pub fn overdue(&self, now: Tick) -> Vec<LinkNo> {
        let is_late = |known: &Known| matches!(known.state, State::Dialling(by) if by <= now);
        self.known.iter().filter(|(_, known)| is_late(known)).map(|(no, _)| *no).collect()
    }

    /// Marks those that are open and unused, and gives those that were so for too long.
    pub fn idle(&mut self, is_used: impl Fn(LinkNo) -> bool, now: Tick) -> Vec<LinkNo> {
        let mut over = Vec::new();
        for (no, known) in &mut self.known {
            let State::Up(since) = &mut known.state else { continue };
            *since = if is_used(*no) { None } else { Some(since.unwrap_or(now)) };
            if since.is_some_and(|since| since + known.idle_limit <= now) {
                over.push(*no);
            }
        }
        over
    }

    /// When to look again.
    pub fn next_deadline(&self) -> Option<Tick> {
        let deadline = |known: &Known| match known.state {
            State::Dialling(by) => Some(by),
            State::Greeting | State::Up(None) => None,
            State::Up(Some(since)) => Some(since + known.idle_limit),
        };
        self.known.values().filter_map(deadline).min()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;
    use crate::base::{Ed25519Id, RsaId};
    use std::collections::BTreeSet;

    fn goal(number: u8, addresses: &[&str]) -> Goal {
        let ids = RelayIds { rsa: Some(RsaId([number; 20])), ed25519: None };
        Goal::direct(ids, addresses.iter().map(|address| address.parse().unwrap()).collect())
    }

    fn at(secs: u64) -> Tick {
        Tick::new(Duration::from_secs(secs))
    }

    #[test]
    fn a_relay_has_one_link() {
        let (mut links, mut ids) = (Links::default(), Ids::default());
        let (a, b) = (goal(1, &["192.0.2.1:1"]), goal(2, &["192.0.2.2:1"]));
        assert_eq!(links.want(&a, &mut ids, at(0)), Some(Step::Dial(LinkNo(1), a.addresses[0])));
        assert_eq!(links.want(&a, &mut ids, at(0)), Some(Step::Wait(LinkNo(1))));
        assert_eq!(links.want(&b, &mut ids, at(0)), Some(Step::Dial(LinkNo(2), b.addresses[0])));
        links.on_down(LinkNo(1));
        assert_eq!(links.want(&a, &mut ids, at(0)), Some(Step::Dial(LinkNo(3), a.addresses[0])));
        assert_eq!(links.want(&goal(3, &[]), &mut ids, at(0)), None);
    }

    /// A directory is asked before its Ed25519 identity is known.
    #[test]
    fn a_link_serves_those_who_want_what_it_proved() {
        let (mut links, mut ids) = (Links::default(), Ids::default());
        let rsa = goal(1, &["192.0.2.1:1"]);
        let with = |byte| Goal { ids: RelayIds { ed25519: Some(Ed25519Id([byte; 32])), ..rsa.ids }, ..rsa.clone() };
        links.want(&rsa, &mut ids, at(0));
        // Until it is up, who knows.
        assert_eq!(links.want(&with(1), &mut ids, at(0)), Some(Step::Dial(LinkNo(2), rsa.addresses[0])));
        links.on_down(LinkNo(2));
        links.on_up(LinkNo(1), with(1).ids, IDLE_LIMIT);
        assert_eq!(links.want(&with(1), &mut ids, at(1)), Some(Step::Wait(LinkNo(1))));
        assert_eq!(links.want(&rsa, &mut ids, at(1)), Some(Step::Wait(LinkNo(1))));
        assert!(matches!(links.want(&with(2), &mut ids, at(1)), Some(Step::Dial(..))));
        assert!(matches!(links.want(&goal(2, &["192.0.2.2:1"]), &mut ids, at(1)), Some(Step::Dial(..))));
    }

    #[test]
    fn a_link_that_does_not_answer_is_left_to_those_who_have_it() {
        let (mut links, mut ids) = (Links::default(), Ids::default());
        let goal = goal(1, &["192.0.2.1:1"]);
        links.want(&goal, &mut ids, at(0));
        links.on_up(LinkNo(1), goal.ids, IDLE_LIMIT);
        links.on_heard(LinkNo(1), at(5));
        assert!(!links.on_unanswered(LinkNo(1), at(4)));
        assert_eq!(links.want(&goal, &mut ids, at(60)), Some(Step::Wait(LinkNo(1))));
        assert!(links.on_unanswered(LinkNo(1), at(6)) && !links.on_unanswered(LinkNo(1), at(6)));
        assert_eq!(links.want(&goal, &mut ids, at(66)), Some(Step::Dial(LinkNo(2), goal.addresses[0])));
        links.on_down(LinkNo(2));
        assert!(links.on_heard(LinkNo(1), at(70)) && !links.on_heard(LinkNo(1), at(70)));
        assert_eq!(links.want(&goal, &mut ids, at(71)), Some(Step::Wait(LinkNo(1))));
    }

    #[test]
    fn a_link_has_as_long_to_answer_as_it_is_slow() {
        let (mut links, mut ids) = (Links::default(), Ids::default());
        links.want(&goal(1, &["192.0.2.1:1"]), &mut ids, at(0));
        links.on_answered(LinkNo(1), Duration::from_secs(1));
        assert_eq!(links.silent_at(LinkNo(1), at(9)), None);
        links.on_up(LinkNo(1), RelayIds::default(), IDLE_LIMIT);
        assert_eq!(links.silent_at(LinkNo(1), at(9)), Some(at(14)));
        for (took, expected) in [(4, 21), (3, 21)] {
            links.on_answered(LinkNo(1), Duration::from_secs(took));
            assert_eq!(links.silent_at(LinkNo(1), at(9)), Some(at(expected)));
        }
        links.on_heard(LinkNo(1), at(10));
        assert_eq!(links.silent_at(LinkNo(1), at(9)), None);
        assert_eq!(links.doubt(at(9)), []);
        assert_eq!((links.doubt(at(10)), links.doubt(at(10))), (vec![LinkNo(1)], vec![]));
        assert_eq!(links.silent_at(LinkNo(1), at(11)), None);
        // One that never answered has as long as circuits have.
        links.want(&goal(2, &["192.0.2.2:1"]), &mut ids, at(0));
        links.on_up(LinkNo(2), RelayIds::default(), IDLE_LIMIT);
        assert_eq!(links.silent_at(LinkNo(2), at(1)), None);
    }

    #[test]
    fn addresses_are_tried_in_their_order() {
        let (mut links, mut ids) = (Links::default(), Ids::default());
        let goal = goal(1, &["192.0.2.1:1", "[2001:db8::1]:2"]);
        links.want(&goal, &mut ids, at(0));
        assert_eq!(links.next_address(LinkNo(1), at(1)), Some(goal.addresses[1]));
        assert_eq!(links.goal(LinkNo(1)).unwrap().1, goal.addresses[1]);
        assert_eq!(links.next_address(LinkNo(1), at(2)), None);
        links.on_down(LinkNo(1));
        assert!(links.is_empty() && links.goal(LinkNo(1)).is_none());
    }

    /// C tor: `test_channelpadding_consensus`.
    #[test]
    fn each_link_may_be_idle_for_a_time_of_its_own() {
        let mut entropy = Seeded(1);
        let mut draw = |is_reduced| (0..1000).map(|_| idle_limit(is_reduced, &mut entropy).as_secs()).collect();
        let (usual, reduced): (BTreeSet<u64>, BTreeSet<u64>) = (draw(false), draw(true));
        assert_eq!((usual.first(), usual.last(), usual.len()), (Some(&180), Some(&269), 90));
        assert_eq!((reduced.first(), reduced.last(), reduced.len()), (Some(&90), Some(&134), 45));
        let (mut links, mut ids) = (Links::default(), Ids::default());
        links.want(&goal(1, &["192.0.2.1:1"]), &mut ids, at(0));
        links.on_up(LinkNo(1), RelayIds::default(), Duration::from_secs(200));
        assert!(links.idle(|_| false, at(1)).is_empty() && links.idle(|_| false, at(200)).is_empty());
        assert_eq!((links.next_deadline(), links.idle(|_| false, at(201))), (Some(at(201)), vec![LinkNo(1)]));
    }

    #[test]
    fn dials_have_their_time_and_so_have_idle_links() {
        let (mut links, mut ids) = (Links::default(), Ids::default());
        links.want(&goal(1, &["192.0.2.1:1"]), &mut ids, at(0));
        assert_eq!(links.next_deadline(), Some(at(15)));
        assert!(links.overdue(at(14)).is_empty());
        assert_eq!(links.overdue(at(15)), [LinkNo(1)]);
        links.on_dialled(LinkNo(1));
        links.on_up(LinkNo(1), RelayIds::default(), IDLE_LIMIT);
        assert_eq!((links.next_deadline(), links.len()), (None, 1));
        assert!(links.idle(|_| false, at(40)).is_empty());
        assert_eq!(links.next_deadline(), Some(at(220)));
        assert!(links.idle(|_| true, at(100)).is_empty() && links.next_deadline().is_none());
        assert!(links.idle(|_| false, at(110)).is_empty());
        assert_eq!(links.idle(|_| false, at(290)), [LinkNo(1)]);
    }
}
