//! What is missing, and when to ask for it: decisions about downloads, as values.
//!
//! Which relays are guards is for `path`, what is written is `http`. Every draw takes its
//! randomness, every decision its time, as arguments. Called by `client`. Spec: dir-spec,
//! "When to download a networkstatus", "Retrying failed downloads".

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::NetDir;
use super::certs::KeyIds;
use super::consensus::Lifetime;
use crate::base::RsaId;
use crate::base::random::{self, Entropy};
use crate::base::time::{Tick, Wall};

/// After this many bytes an answer with a consensus is given up. Chosen by C tor:
/// `MAX_DIR_DL_SIZE`.
pub const MAX_ANSWER_LEN: usize = (1 << 24) - 1;
/// Microdescriptors in one request. Chosen by C tor, for requests through a link.
pub const MAX_PER_REQUEST: usize = 500;
/// Fewer than this are not worth a request of their own. Chosen by C tor:
/// `MIN_DL_PER_REQUEST`.
const MIN_PER_REQUEST: usize = 32;
/// In how many requests they are asked for, lest one cache see all. Chosen by C tor:
/// `MIN_REQUESTS`.
const MIN_REQUESTS: usize = 3;
/// With this many missing they are asked for at once. Chosen by C tor: `MAX_DL_TO_DELAY`.
const ENOUGH_TO_ASK: usize = 16;
/// Directories of which it is remembered that they failed; ours, and more than the fallback
/// list has.
const MAX_REMEMBERED: usize = 256;
/// No delay is longer; ours.
const MAX_DELAY: Duration = Duration::from_secs(24 * 3600);

/// A directory that could not be reached is left alone for no longer: the network may be back.
/// Ours.
pub const MAX_UNREACHABLE: Duration = Duration::from_secs(10);

/// When a client that asks relays, or one that asks its bridges, fetches consensuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetcher {
    /// It asks relays.
    Client,
    /// It asks bridges, which ask when clients do.
    BridgeUser,
}

impl Fetcher {
    /// When to fetch the consensus after one with this lifetime, drawn so that not all ask at
    /// once; now, if its time is over. C tor: `update_consensus_networkstatus_fetch_time_impl`.
    /// Differs: with a clock that is behind, C tor asks again and again.
    pub fn next_fetch(self, lifetime: &Lifetime, now: Wall, entropy: &mut dyn Entropy) -> Wall {
        if now > lifetime.valid_until {
            return now;
        }
        let behind = lifetime.valid_after.since(now);
        let interval = lifetime.interval().as_secs();
        let end = lifetime.valid_until.as_secs();
        // Caches are given time to fetch it first.
        let mut start = lifetime.fresh_until.as_secs() + interval * 3 / 4;
        let mut span = end.saturating_sub(start) * 7 / 8;
        if self == Fetcher::BridgeUser {
            let slack = (interval / 16).clamp(1, 120);
            start += span + slack;
            span = end.saturating_sub(start + slack);
        }
        let span = span.max(1);
        if start + span >= end {
            start = end.saturating_sub(span + 1);
        }
        let drawn = random::below(entropy, u32::try_from(span).unwrap_or(u32::MAX));
        Wall::from_secs(start + u64::from(drawn)) - behind
    }
}

/// How long to wait before the next attempt: at least the base, and at random up to thrice
/// what it was the last time. C tor: `next_random_exponential_delay`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    last: Duration,
}

impl Backoff {
    /// Never less than `base`, nor than a second.
    pub fn new(base: Duration) -> Backoff {
        let base = base.max(Duration::from_secs(1));
        Backoff { base, last: Duration::ZERO }
    }

    /// The next delay, after a failure.
    pub fn next_delay(&mut self, entropy: &mut dyn Entropy) -> Duration {
        let high = (self.last * 3).max(self.base + Duration::from_secs(1));
        let span = u32::try_from((high - self.base).as_millis()).unwrap_or(u32::MAX);
        let drawn = Duration::from_millis(u64::from(random::below(entropy, span)));
        self.last = (self.base + drawn).min(MAX_DELAY);
        self.last
    }

    /// An attempt succeeded.
    pub fn reset(&mut self) {
        self.last = Duration::ZERO;
    }
}

/// How directories served us: which of them may be asked now.
#[derive(Clone, Debug, Default)]
pub struct Directories {
    /// When one that failed may be asked again.
    failed: BTreeMap<RsaId, (Backoff, Tick)>,
    /// Those that lack microdescriptors which the consensus names.
    outdated: BTreeSet<RsaId>,
}

impl Directories {
    /// One could not be reached, or gave nothing good.
    pub fn on_failure(&mut self, id: RsaId, now: Tick, entropy: &mut dyn Entropy) {
        if !self.failed.contains_key(&id) && self.failed.len() >= MAX_REMEMBERED {
            let first = self.failed.iter().min_by_key(|(_, (_, until))| *until).map(|(id, _)| *id);
            first.map(|id| self.failed.remove(&id));
        }
        let (backoff, until) = self.failed.entry(id).or_insert((Backoff::new(Duration::ZERO), now));
        *until = now + backoff.next_delay(entropy);
    }

    /// One could not be reached, which may be our own network's fault: it may be asked again soon.
    pub fn on_unreachable(&mut self, id: RsaId, now: Tick, entropy: &mut dyn Entropy) {
        self.on_failure(id, now, entropy);
        if let Some((_, until)) = self.failed.get_mut(&id) {
            *until = (*until).min(now + MAX_UNREACHABLE);
        }
    }

    /// All may be asked again.
    pub fn forgive(&mut self) {
        self.failed.clear();
    }

    /// One gave what was asked for.
    pub fn on_success(&mut self, id: &RsaId) {
        self.failed.remove(id);
    }

    /// One lacked microdescriptors that the consensus names. C tor:
    /// `microdesc_note_outdated_dirserver`.
    pub fn on_outdated(&mut self, id: RsaId) {
        if self.outdated.len() < MAX_REMEMBERED {
            self.outdated.insert(id);
        }
    }

    /// There is a newer consensus, which they may well know.
    pub fn on_consensus(&mut self) {
        self.outdated.clear();
    }

    /// Whether one may be asked, for microdescriptors or for anything else.
    pub fn may_ask(&self, id: &RsaId, for_microdescs: bool, now: Tick) -> bool {
        let waits = self.failed.get(id).is_some_and(|(_, until)| now < *until);
        let is_outdated = for_microdescs && self.outdated.contains(id);
        !(waits || is_outdated)
    }

    /// Those that may not be asked now, for microdescriptors or for anything else.
    pub fn resting(&self, for_microdescs: bool, now: Tick) -> BTreeSet<RsaId> {
        let failed = self.failed.iter().filter(|(_, (_, until))| now < *until).map(|(id, _)| *id);
        let outdated = self.outdated.iter().filter(|_| for_microdescs).copied();
        failed.chain(outdated).collect()
    }

    /// When the first of those that wait may be asked again.
    pub fn next_deadline(&self, now: Tick) -> Option<Tick> {
        self.failed.values().map(|(_, until)| *until).filter(|until| *until > now).min()
    }
}

/// Parts of what is missing, each for a request of its own.
pub fn requests(missing: &[[u8; 32]]) -> impl Iterator<Item = &[[u8; 32]]> {
    let each = missing.len().div_ceil(MIN_REQUESTS).clamp(MIN_PER_REQUEST, MAX_PER_REQUEST);
    missing.chunks(each)
}

/// What a client has, as far as it decides what it fetches next.
#[derive(Clone, Copy, Debug)]
pub struct Holding<'a> {
    /// The directory that it goes by.
    pub dir: Option<&'a NetDir>,
    /// Certificates without which a consensus that waits cannot be checked.
    pub certificates: &'a [KeyIds],
    /// When to fetch the next consensus.
    pub next_consensus: Wall,
    /// When microdescriptors were asked for last.
    pub last_microdescs: Option<Tick>,
    /// For how long from then few are not worth another request.
    pub max_wait_for_few: Duration,
    /// Whether circuits can be built with what is here.
    pub is_enough: bool,
}

/// What to fetch next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// The certificates that a consensus waits for.
    Certificates,
    /// A consensus.
    Consensus,
    /// Microdescriptors: all that are missing.
    Microdescs,
    /// Nothing.
    Nothing,
}

impl Holding<'_> {
    /// The most urgent want. A consensus that waits for certificates comes before another.
    pub fn want(&self, wall: Wall, tick: Tick) -> Want {
        if !self.certificates.is_empty() {
            return Want::Certificates;
        }
        let Some(dir) = self.dir.filter(|dir| dir.consensus().lifetime().is_reasonably_live(wall)) else {
            return Want::Consensus;
        };
        if wall >= self.next_consensus {
            return Want::Consensus;
        }
        let has_waited = self.last_microdescs.is_none_or(|last| tick.since(last) >= self.max_wait_for_few);
        match dir.missing_count() {
            0 => Want::Nothing,
            ENOUGH_TO_ASK.. => Want::Microdescs,
            _ if has_waited || !self.is_enough => Want::Microdescs,
            _ => Want::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;

    fn lifetime(fresh: u64, valid: u64) -> Lifetime {
        let start = 1_600_000_000;
        Lifetime::new(Wall::from_secs(start), Wall::from_secs(start + fresh), Wall::from_secs(start + valid)).unwrap()
    }

    /// Least and most seconds after the start of many draws.
    fn drawn(fetcher: Fetcher, lifetime: &Lifetime) -> (u64, u64) {
        let draw = |seed| fetcher.next_fetch(lifetime, lifetime.valid_after, &mut Seeded(seed));
        let all: Vec<_> = (0..3000).map(|seed| draw(seed).since(lifetime.valid_after).as_secs()).collect();
        (*all.iter().min().unwrap(), *all.iter().max().unwrap())
    }

    #[test]
    fn a_consensus_is_fetched_when_caches_have_it_and_before_it_is_too_late() {
        // From 1 h 45 min on, for seven eighths of the 75 minutes that are left then.
        let (least, most) = drawn(Fetcher::Client, &lifetime(3600, 10_800));
        assert!((6300..6310).contains(&least) && (10_225..10_237).contains(&most), "{least} {most}");
        // And bridge users in the last eighth, two minutes off at both ends.
        let (least, most) = drawn(Fetcher::BridgeUser, &lifetime(3600, 10_800));
        assert!((10_357..10_360).contains(&least) && (10_677..10_680).contains(&most), "{least} {most}");
        for (fresh, valid) in [(1, 2), (5, 10), (20, 40), (10, 1000), (3600, 3601)] {
            for fetcher in [Fetcher::Client, Fetcher::BridgeUser] {
                let (least, most) = drawn(fetcher, &lifetime(fresh, valid));
                assert!(most < valid && least <= most, "{fresh} {valid}: {least} {most}");
            }
        }
        let over = lifetime(3600, 10_800);
        // By a clock that is a minute behind, all of it a minute sooner.
        let minute = Duration::from_secs(60);
        let [early, right] = [over.valid_after - minute, over.valid_after]
            .map(|now| Fetcher::Client.next_fetch(&over, now, &mut Seeded(1)));
        assert_eq!(early + minute, right);
        let late = over.valid_until + Duration::from_secs(1);
        assert_eq!(Fetcher::Client.next_fetch(&over, late, &mut Seeded(1)), late);
    }

    #[test]
    fn delays_grow_at_random_and_stay_in_their_bounds() {
        let (mut entropy, second) = (Seeded(1), Duration::from_secs(1));
        let mut backoff = Backoff::new(Duration::ZERO);
        let mut last = Duration::ZERO;
        let mut longest = last;
        for _ in 0..200 {
            let delay = backoff.next_delay(&mut entropy);
            assert!(delay >= second && delay <= (last * 3).max(2 * second) && delay <= MAX_DELAY, "{last:?} {delay:?}");
            longest = longest.max(delay);
            last = delay;
        }
        assert!(longest > Duration::from_secs(600), "{longest:?}");
        backoff.reset();
        assert!(backoff.next_delay(&mut entropy) < 2 * second);
        let mut slow = Backoff::new(Duration::from_secs(10_800));
        assert!(slow.next_delay(&mut entropy) >= Duration::from_secs(10_800));
    }

    #[test]
    fn a_directory_that_failed_is_left_alone_for_a_while() {
        let mut directories = Directories::default();
        let mut entropy = Seeded(7);
        let tick = |millis| Tick::new(Duration::from_millis(millis));
        let ids = [1, 2, 3].map(|number| RsaId([number; 20]));
        let drawn = |directories: &Directories, now| {
            let may_ask = |id: &&RsaId| directories.may_ask(id, false, now);
            ids.iter().filter(may_ask).map(|id| id.0[0]).collect::<BTreeSet<_>>()
        };
        assert_eq!(drawn(&directories, tick(0)), BTreeSet::from([1, 2, 3]));
        directories.on_failure(ids[0], tick(0), &mut entropy);
        directories.on_failure(ids[1], tick(0), &mut entropy);
        assert_eq!(drawn(&directories, tick(999)), BTreeSet::from([3]));
        assert_eq!(drawn(&directories, tick(2000)), BTreeSet::from([1, 2, 3]));
        assert!(directories.next_deadline(tick(0)).is_some_and(|at| at >= tick(1000) && at < tick(2000)));
        assert_eq!(directories.next_deadline(tick(2000)), None);
        directories.on_success(&ids[0]);
        assert_eq!(drawn(&directories, tick(0)), BTreeSet::from([1, 3]));
        directories.on_failure(ids[2], tick(0), &mut entropy);
        directories.on_failure(ids[0], tick(0), &mut entropy);
        assert_eq!(drawn(&directories, tick(0)), BTreeSet::new());
        directories.on_outdated(ids[0]);
        assert!(directories.may_ask(&ids[0], false, tick(2000)) && !directories.may_ask(&ids[0], true, tick(2000)));
        directories.on_consensus();
        assert!(directories.may_ask(&ids[0], true, tick(2000)));
        directories.on_outdated(ids[0]);
        let resting = [true, false].map(|for_microdescs| directories.resting(for_microdescs, tick(9000)));
        assert_eq!(resting, [BTreeSet::from([ids[0]]), BTreeSet::new()]);
    }

    #[test]
    fn so_many_failures_are_remembered() {
        let mut directories = Directories::default();
        for number in 0..1000_u32 {
            let mut id = RsaId([0; 20]);
            id.0[..4].copy_from_slice(&number.to_be_bytes());
            let now = Tick::new(Duration::from_secs(u64::from(number) * 10));
            directories.on_failure(id, now, &mut Seeded(1));
            directories.on_outdated(id);
            assert!(!directories.may_ask(&id, false, now));
        }
        assert_eq!((directories.failed.len(), directories.outdated.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
    }

    #[test]
    fn what_is_missing_is_split_over_requests() {
        let sizes = |count: usize| requests(&vec![[0; 32]; count]).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(0), []);
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(32), [32]);
        assert_eq!(sizes(96), [32, 32, 32]);
        assert_eq!(sizes(100), [34, 34, 32]);
        assert_eq!(sizes(1600), [500, 500, 500, 100]);
        assert_eq!(sizes(8000).len(), 16);
    }

    #[test]
    fn the_most_urgent_is_fetched_first() {
        let dir = NetDir::new(super::super::consensus::tests::verified());
        let now = dir.consensus().lifetime().valid_after;
        let tick = |secs| Tick::new(Duration::from_secs(secs));
        let ids = KeyIds { identity: RsaId([1; 20]), signing: RsaId([2; 20]) };
        let next_consensus = now + Duration::from_secs(15);
        let holding = Holding {
            dir: Some(&dir),
            certificates: &[],
            next_consensus,
            last_microdescs: Some(tick(0)),
            max_wait_for_few: Duration::from_secs(600),
            is_enough: true,
        };
        assert_eq!(holding.want(now, tick(599)), Want::Nothing, "six are missing, which is not much");
        assert_eq!(holding.want(now, tick(600)), Want::Microdescs);
        assert_eq!(Holding { is_enough: false, ..holding }.want(now, tick(1)), Want::Microdescs);
        assert_eq!(Holding { last_microdescs: None, ..holding }.want(now, tick(1)), Want::Microdescs);
        assert_eq!(holding.want(next_consensus, tick(600)), Want::Consensus);
        assert_eq!(Holding { dir: None, ..holding }.want(now, tick(1)), Want::Consensus);
        assert_eq!(Holding { certificates: &[ids], dir: None, ..holding }.want(now, tick(1)), Want::Certificates);
        let stale = now + Duration::from_secs(25 * 3600);
        assert_eq!(
            Holding { next_consensus: stale + Duration::from_secs(600), ..holding }.want(stale, tick(1)),
            Want::Consensus
        );
    }
}
