//! What to ask directories for now: how many requests of each kind, of whom, and when somebody
//! else is asked for the same.
//!
//! What is known, and what is missing, is `bootstrap.rs`'s, which calls this; who there is, is
//! `servers.rs`'s. Spec: dir-spec, "Client operation". C tor:
//! `update_consensus_bootstrap_attempt_downloads`, `launch_descriptor_downloads`.

use std::collections::BTreeSet;

use super::arrive::{Arrival, Kind, What};
use super::fetch::Fetch;
use super::pace::Pace;
use super::servers::{Among, Asking};
use super::{Bootstrap, EARLY_TOLERATED, FetchNo, MAX_MICRODESC_FETCHES, Order, Origin};
use crate::base::RsaId;
use crate::base::random::Entropy;
use crate::base::time::{Now, Tick};
use crate::client::Progress;
use crate::client::links::Goal;
use crate::client::notices::Notice;
use crate::directory::certs::KeyIds;
use crate::directory::download::requests;
use crate::directory::{NetDir, microdesc};

impl Bootstrap {
    /// When somebody else is to be asked for the same, because whoever was stalls.
    pub(super) fn next_stall(&self, now: Tick) -> Option<Tick> {
        let at = self.fetches.values().map(|fetch| fetch.stalls_at()).filter(|at| *at > now).min();
        at.filter(|_| !self.was_enough)
    }

    pub(super) fn pace(&mut self, kind: Kind) -> &mut Pace {
        match kind {
            Kind::Consensus => &mut self.consensus_pace,
            Kind::Certificates => &mut self.certificate_pace,
            Kind::Microdescs => &mut self.microdesc_pace,
        }
    }

    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Fetch> {
        self.fetches.values().filter(move |fetch| fetch.what.kind() == kind)
    }

    /// How many more requests of a kind there may be, of usually `most`. Those that stall do not
    /// count, as long as something is urgent and there are not too many of them.
    pub(super) fn room_for(&self, kind: Kind, most: usize, now: Now) -> usize {
        let all = self.of_kind(kind).count();
        if self.was_enough {
            return most.saturating_sub(all);
        }
        let stalled = self.of_kind(kind).filter(|fetch| fetch.stalls(now.tick)).count();
        let extra = self.asking.max_tries.max(1) - 1;
        most.saturating_sub(all - stalled).min((most + extra).saturating_sub(all))
    }

    pub(super) fn order_consensus(&mut self, now: Now, entropy: &mut dyn Entropy) -> Vec<Order> {
        if self.room_for(Kind::Consensus, 1, now) == 0
            || self.consensus_pace.rests(now.tick)
            || self.keep.is_patching()
            || self.is_paused(now)
        {
            return Vec::new();
        }
        if self.dir.is_none() && self.servers.are_all_excluded(&self.asking) {
            self.note(Notice::NobodyToAsk);
            return Vec::new();
        }
        let Some(among) = self.among(now, entropy) else { return Vec::new() };
        let digest = self.dir.as_ref().map(|dir| dir.consensus().digests().signed_sha3);
        let arrival = Arrival::new(digest.filter(|digest| self.keep.can_patch(digest)));
        self.order(What::Consensus(arrival), among, now, entropy).into_iter().collect()
    }

    /// Whether there is no use in asking for a consensus, unless the clock was set.
    pub(super) fn is_paused(&self, now: Now) -> bool {
        self.pause.is_some_and(|(until, wall)| {
            let left = until.since(now.tick);
            let expected = now.wall + left;
            let was_set = expected.since(wall).max(wall.since(expected)) > EARLY_TOLERATED;
            !left.is_zero() && !was_set
        })
    }

    /// Who is asked for a consensus now; nobody, if it is too early for any. C tor:
    /// `update_consensus_bootstrap_attempt_downloads`, where authorities are asked beside
    /// fallbacks.
    pub(super) fn among(&mut self, now: Now, entropy: &mut dyn Entropy) -> Option<Among> {
        if self.is_live(now.wall) {
            return Some(Among::All);
        }
        let since = *self.wanted_since.get_or_insert(now.tick);
        let waited = now.tick.since(since);
        if !self.servers.has_fallbacks() {
            return (waited >= self.asking.authority_only_delay).then_some(Among::All);
        }
        let is_turn = self.next_authority.is_none_or(|at| at <= now.tick);
        if waited >= self.asking.authority_delay && is_turn {
            self.next_authority = Some(now.tick + self.authority_backoff.next_delay(entropy));
            return Some(Among::Authorities);
        }
        (waited >= self.asking.fallback_delay).then_some(Among::All)
    }

    /// When somebody may be asked for the first consensus who may not be asked yet.
    pub(super) fn next_first(&self, now: Now) -> Option<Tick> {
        let since = self.wanted_since.filter(|_| !self.is_live(now.wall))?;
        let Asking { authority_delay, authority_only_delay, fallback_delay, .. } = self.asking;
        let delays = match self.servers.has_fallbacks() {
            true => [authority_delay, fallback_delay],
            false => [authority_only_delay; 2],
        };
        let begins = delays.into_iter().map(|delay| since + delay).chain(self.next_authority);
        begins.filter(|at| *at > now.tick).min()
    }

    pub(super) fn order_certificates(&mut self, asked: Vec<KeyIds>, now: Now, entropy: &mut dyn Entropy) -> Vec<Order> {
        if self.room_for(Kind::Certificates, 1, now) == 0 || self.certificate_pace.rests(now.tick) {
            return Vec::new();
        }
        self.step(Progress::LoadingKeys);
        // C tor: whoever gave the consensus is asked first; it can be reached, and may be already.
        let is_first = self.of_kind(Kind::Certificates).next().is_none();
        let source = self.waiting.as_ref().filter(|waiting| waiting.in_vain == 0 && is_first);
        let source = source.and_then(|waiting| match waiting.origin {
            Origin::Directory(server) => self.servers.find(server, &self.asking, now.tick),
            Origin::File => None,
        });
        let what = What::Certificates { asked, text: Vec::new() };
        match source {
            Some(goal) => vec![self.order_of(what, goal, now)],
            None => self.order(what, Among::All, now, entropy).into_iter().collect(),
        }
    }

    pub(super) fn order_microdescs(&mut self, now: Now, entropy: &mut dyn Entropy) -> Vec<Order> {
        let free = self.room_for(Kind::Microdescs, MAX_MICRODESC_FETCHES, now);
        if free == 0 || self.microdesc_pace.rests(now.tick) {
            return Vec::new();
        }
        let is_urgent = !self.was_enough;
        let mut under_way: BTreeSet<[u8; 32]> = BTreeSet::new();
        for fetch in self.fetches.values().filter(|fetch| !(is_urgent && fetch.stalls(now.tick))) {
            if let What::Microdescs { left, .. } = &fetch.what {
                under_way.extend(left);
            }
        }
        let mut missing = self.dir.as_ref().map(NetDir::missing).unwrap_or_default();
        missing.retain(|digest| !under_way.contains(digest));
        let parts: Vec<Vec<[u8; 32]>> = requests(&missing).take(free).map(<[_]>::to_vec).collect();
        if !parts.is_empty() {
            self.step(Progress::RequestingDescriptors);
            self.last_microdescs = Some(now.tick);
        }
        let order = |asked: Vec<[u8; 32]>| {
            let left = asked.iter().copied().collect();
            let what = What::Microdescs { asked, left, parser: microdesc::Parser::default() };
            self.order(what, Among::All, now, entropy)
        };
        parts.into_iter().filter_map(order).collect()
    }

    /// Asks somebody, each as likely as he should be.
    pub(super) fn order(&mut self, what: What, among: Among, now: Now, entropy: &mut dyn Entropy) -> Option<Order> {
        let for_microdescs = what.kind() == Kind::Microdescs;
        let avoided = self.asked_in_vain(what.kind(), now.tick);
        let stalling = self.stalling(what.kind(), now.tick);
        let mut draw = |avoided: &_| self.servers.draw(among, for_microdescs, avoided, &self.asking, now.tick, entropy);
        // Whoever is late is better than nobody.
        let goal = draw(&avoided).or_else(|| draw(&stalling))?;
        Some(self.order_of(what, goal, now))
    }

    pub(super) fn order_of(&mut self, what: What, goal: Goal, now: Now) -> Order {
        let fetch = FetchNo(self.next_fetch);
        self.next_fetch = self.next_fetch.wrapping_add(1);
        let for_microdescs = what.kind() == Kind::Microdescs;
        let mut avoided = self.servers.directories.resting(for_microdescs, now.tick);
        avoided.append(&mut self.asked_in_vain(what.kind(), now.tick));
        self.fetches.insert(fetch, Fetch::new(what, goal.clone(), self.asking.max_stall, now.tick));
        Order { fetch, goal, avoided }
    }

    /// Who was asked for the same, and stalls, or has nothing newer.
    pub(super) fn asked_in_vain(&self, kind: Kind, now: Tick) -> BTreeSet<RsaId> {
        let late = self.late.who().filter(|_| kind == Kind::Consensus);
        self.stalling(kind, now).into_iter().chain(late).collect()
    }

    fn stalling(&self, kind: Kind, now: Tick) -> BTreeSet<RsaId> {
        self.of_kind(kind).filter(|fetch| fetch.stalls(now)).filter_map(|fetch| fetch.server.ids.rsa).collect()
    }
}
