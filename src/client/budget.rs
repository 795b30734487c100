//! How many circuits may be begun over each guard, so that no guard takes us for a flood.
//!
//! One bucket a guard for all circuits, of the size at which the consensus has relays defend
//! themselves; what nobody waits for has a bucket of half that size beside it. Begins no
//! circuit. Called by `circuits.rs`. Spec: param-spec, "DoSCircuitCreationRate". C tor:
//! core/or/dos.c, which is the other side; its clients know no such bound.

use core::time::Duration;
use std::collections::BTreeMap;

use super::junction::LinkNo;
use crate::base::RsaId;
use crate::base::time::Tick;
use crate::directory::params::{Param, Params};

/// How many guards' buckets are kept: full ones say nothing and go first. Ours, more than are
/// in a sample.
const MAX_BUCKETS: usize = 256;
/// Tokens are counted in thousandths.
const TOKEN: u64 = 1000;

/// For whom a circuit is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Awaited {
    /// Somebody waits for it.
    Now,
    /// It is built ahead, or to measure.
    Later,
}

/// What relays let through, by the consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Circuits a second.
    rate: u32,
    /// Circuits at once.
    burst: u32,
}

impl Limit {
    /// The limit that is in force, if any is. Relays count whole seconds by their own clock,
    /// so that what comes within one second of ours may come within one of theirs with what
    /// came before: a second's worth less is begun at once than they let through.
    pub fn of(params: &Params) -> Option<Limit> {
        let rate = params.unsigned(Param::DosCircuitCreationRate).max(1);
        let burst = params.unsigned(Param::DosCircuitCreationBurst).saturating_sub(rate).max(1);
        params.is_on(Param::DosCircuitCreationEnabled).then_some(Limit { rate, burst })
    }

    fn half(self) -> Limit {
        // A rate of one a second has a half that thousandths can say.
        Limit { rate: self.rate, burst: (self.burst / 2).max(1) }
    }
}

/// The buckets of all guards.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    buckets: BTreeMap<RsaId, Pair>,
    /// Circuits that were begun before anybody knew of a limit, by relay: they count too.
    early: BTreeMap<RsaId, u64>,
    /// Links that are being dialled, and to whom: what is begun over them goes out when they are
    /// up, all of it at once, so that until then nothing is gained.
    dialled: BTreeMap<LinkNo, RsaId>,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    all: Bucket,
    later: Bucket,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In thousandths.
    level: u64,
    filled: Tick,
}

impl Bucket {
    fn fill(&mut self, limit: Limit, halves: u64, now: Tick) {
        let rate = u64::from(limit.rate) * TOKEN / halves;
        let millis = u64::try_from(now.since(self.filled).as_millis()).unwrap_or(u64::MAX);
        let gained = rate.saturating_mul(millis) / TOKEN;
        // What is less than a thousandth stays for the next time.
        if gained > 0 {
            self.level = self.level.saturating_add(gained).min(u64::from(limit.burst) * TOKEN);
            self.filled = now;
        }
    }

    /// How long until there is a whole token.
    fn wait(&self, limit: Limit, halves: u64) -> Duration {
        let rate = (u64::from(limit.rate) * TOKEN / halves).max(1);
        let lacking = TOKEN.saturating_sub(self.level);
        Duration::from_millis((lacking * TOKEN).div_ceil(rate))
    }
}

impl Budget {
    /// Takes a token for a circuit over a guard, or says when there will be one.
    pub fn take(&mut self, guard: &RsaId, limit: Option<Limit>, awaited: Awaited, now: Tick) -> Result<(), Tick> {
        let Some(limit) = limit else { return Ok(()) };
        let pair = self.filled(guard, limit, now);
        let mut wait = pair.all.wait(limit, 1);
        if awaited == Awaited::Later {
            wait = wait.max(pair.later.wait(limit.half(), 2));
        }
        if !wait.is_zero() {
            return Err(now + wait);
        }
        pair.all.level = pair.all.level.saturating_sub(TOKEN);
        if awaited == Awaited::Later {
            pair.later.level = pair.later.level.saturating_sub(TOKEN);
        }
        Ok(())
    }

    /// A circuit was begun that did not ask: to a directory that was not chosen as a guard, and
    /// may be one all the same.
    pub fn spend(&mut self, relay: &RsaId, limit: Limit, now: Tick) {
        let pair = self.filled(relay, limit, now);
        pair.all.level = pair.all.level.saturating_sub(TOKEN);
    }

    /// The same, while no limit is known.
    pub fn spend_early(&mut self, relay: &RsaId) {
        if self.early.len() < MAX_BUCKETS || self.early.contains_key(relay) {
            *self.early.entry(*relay).or_default() += 1;
        }
    }

    /// A relay is dialled, which may take long.
    pub fn on_dial(&mut self, link: LinkNo, relay: RsaId, limit: Option<Limit>, now: Tick) {
        if let Some(limit) = limit.filter(|_| self.buckets.contains_key(&relay)) {
            self.filled(&relay, limit, now);
        }
        self.dialled.insert(link, relay);
    }

    /// It has answered, or never will.
    pub fn on_dialled(&mut self, link: LinkNo, now: Tick) {
        if let Some(relay) = self.dialled.remove(&link)
            && !self.is_dialled(&relay)
            && let Some(pair) = self.buckets.get_mut(&relay)
        {
            (pair.all.filled, pair.later.filled) = (now, now);
        }
    }

    fn is_dialled(&self, relay: &RsaId) -> bool {
        self.dialled.values().any(|dialled| dialled == relay)
    }

    fn filled(&mut self, guard: &RsaId, limit: Limit, now: Tick) -> &mut Pair {
        let is_dialled = self.is_dialled(guard);
        let pair = self.pair(guard, limit, now);
        if !is_dialled {
            pair.all.fill(limit, 1, now);
            pair.later.fill(limit.half(), 2, now);
        }
        pair
    }

    fn pair(&mut self, guard: &RsaId, limit: Limit, now: Tick) -> &mut Pair {
        let early = self.early.remove(guard).unwrap_or(0);
        if self.buckets.len() >= MAX_BUCKETS && !self.buckets.contains_key(guard) {
            let fullest = self.buckets.iter().max_by_key(|(_, pair)| pair.all.level).map(|(id, _)| *id);
            fullest.map(|id| self.buckets.remove(&id));
        }
        let full = |limit: Limit| Bucket { level: u64::from(limit.burst).saturating_sub(early) * TOKEN, filled: now };
        self.buckets.entry(*guard).or_insert_with(|| Pair { all: full(limit), later: full(limit.half()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: RsaId = RsaId([1; 20]);
    const LIVE: &str = "DoSCircuitCreationBurst=60 DoSCircuitCreationEnabled=1 DoSCircuitCreationRate=2";

    fn params(text: &str) -> Params {
        Params::parse(text.split_ascii_whitespace()).unwrap()
    }

    fn at(millis: u64) -> Tick {
        Tick::new(Duration::from_millis(millis))
    }

    /// Takes all that there is.
    fn drain(budget: &mut Budget, limit: Option<Limit>, awaited: Awaited, now: Tick) -> usize {
        (0..1000).take_while(|_| budget.take(&GUARD, limit, awaited, now).is_ok()).count()
    }

    #[test]
    fn there_is_a_limit_where_the_consensus_has_one() {
        assert_eq!(Limit::of(&Params::default()), None);
        assert_eq!(Limit::of(&params(LIVE)), Some(Limit { rate: 2, burst: 58 }));
        let mut budget = Budget::default();
        assert_eq!(drain(&mut budget, None, Awaited::Later, at(0)), 1000);
    }

    #[test]
    fn a_burst_is_followed_by_the_rate() {
        let (mut budget, limit) = (Budget::default(), Limit::of(&params(LIVE)));
        assert_eq!(drain(&mut budget, limit, Awaited::Now, at(0)), 58);
        assert_eq!(budget.take(&GUARD, limit, Awaited::Now, at(0)), Err(at(500)));
        assert_eq!(budget.take(&GUARD, limit, Awaited::Now, at(499)), Err(at(500)));
        assert_eq!(budget.take(&GUARD, limit, Awaited::Now, at(500)), Ok(()));
        assert_eq!(drain(&mut budget, limit, Awaited::Now, at(10_500)), 20);
        assert_eq!(drain(&mut budget, limit, Awaited::Now, at(1_000_000)), 58);
        assert_eq!(budget.take(&RsaId([2; 20]), limit, Awaited::Now, at(1_000_000)), Ok(()));
    }

    #[test]
    fn what_did_not_ask_counts_as_well() {
        let (mut budget, limit) = (Budget::default(), Limit::of(&params(LIVE)));
        (0..3).for_each(|_| budget.spend_early(&GUARD));
        assert_eq!(drain(&mut budget, limit, Awaited::Now, at(0)), 55);
        let Some(limit) = limit else { panic!() };
        budget.spend(&GUARD, limit, at(1000));
        assert_eq!(drain(&mut budget, Some(limit), Awaited::Now, at(1000)), 1);
        // Nobody goes below nothing.
        (0..9).for_each(|_| budget.spend(&GUARD, limit, at(1000)));
        assert_eq!(budget.take(&GUARD, Some(limit), Awaited::Now, at(1000)), Err(at(1500)));
    }

    #[test]
    fn nothing_is_gained_while_a_guard_is_dialled() {
        let (mut budget, limit) = (Budget::default(), Limit::of(&params(LIVE)));
        assert_eq!(drain(&mut budget, limit, Awaited::Now, at(0)), 58);
        budget.on_dial(LinkNo(1), GUARD, limit, at(5000));
        assert_eq!(drain(&mut budget, limit, Awaited::Now, at(20_000)), 10);
        // One is given up, and its successor is not there yet.
        budget.on_dial(LinkNo(2), GUARD, limit, at(20_000));
        budget.on_dialled(LinkNo(1), at(21_000));
        assert_eq!(drain(&mut budget, limit, Awaited::Now, at(29_000)), 0);
        budget.on_dialled(LinkNo(2), at(30_000));
        assert_eq!(drain(&mut budget, limit, Awaited::Now, at(30_000)), 0);
        assert_eq!(drain(&mut budget, limit, Awaited::Now, at(31_000)), 2);
    }

    #[test]
    fn what_nobody_waits_for_takes_half_and_leaves_the_rest() {
        let (mut budget, limit) = (Budget::default(), Limit::of(&params(LIVE)));
        assert_eq!(drain(&mut budget, limit, Awaited::Later, at(0)), 29);
        assert_eq!(drain(&mut budget, limit, Awaited::Now, at(0)), 29);
        // In ten seconds there are twenty more, of which ten are for later.
        assert_eq!(drain(&mut budget, limit, Awaited::Later, at(10_000)), 10);
        assert_eq!(drain(&mut budget, limit, Awaited::Now, at(10_000)), 10);
        // What somebody waits for goes first: then there is nothing for later.
        assert_eq!(drain(&mut budget, limit, Awaited::Now, at(20_000)), 20);
        assert_eq!(drain(&mut budget, limit, Awaited::Later, at(20_000)), 0);
    }

    #[test]
    fn so_many_buckets_are_kept() {
        let (mut budget, limit) = (Budget::default(), Limit::of(&params(LIVE)));
        assert_eq!(drain(&mut budget, limit, Awaited::Now, at(0)), 58);
        for number in 0..1000_u16 {
            let [high, low] = number.to_be_bytes();
            let mut id = [9; 20];
            (id[0], id[1]) = (high, low);
            assert_eq!(budget.take(&RsaId(id), limit, Awaited::Now, at(0)), Ok(()));
        }
        assert_eq!(budget.buckets.len(), MAX_BUCKETS);
        // The empty one is not forgotten.
        assert!(budget.take(&GUARD, limit, Awaited::Now, at(0)).is_err());
    }
}
