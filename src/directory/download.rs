//! What is missing, and when to ask for it: decisions about downloads, as values.
//!
//! Whom to ask is for the guards and `client`, what is written is `http`. Every draw takes its
//! randomness, every decision its time, as arguments. Called by `client`. Spec: dir-spec,
//! "When to download a networkstatus", "Retrying failed downloads".

use core::time::Duration;

use super::NetDir;
use super::certs::KeyIds;
use super::consensus::Lifetime;
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
/// And with fewer, after so long. Chosen by C tor: `TestingClientMaxIntervalWithoutRequest`.
const MAX_WAIT: Duration = Duration::from_secs(600);
/// No delay is longer; ours.
const MAX_DELAY: Duration = Duration::from_secs(24 * 3600);

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
    /// once; now, if it is not its time. C tor: `update_consensus_networkstatus_fetch_time_impl`.
    pub fn next_fetch(self, lifetime: &Lifetime, now: Wall, entropy: &mut dyn Entropy) -> Wall {
        if !lifetime.is_live(now) {
            return now;
        }
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
        Wall::from_secs(start + u64::from(drawn))
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
        let has_waited = self.last_microdescs.is_none_or(|last| tick.since(last) >= MAX_WAIT);
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
        let ids = KeyIds { identity: crate::base::RsaId([1; 20]), signing: crate::base::RsaId([2; 20]) };
        let next_consensus = now + Duration::from_secs(15);
        let holding = Holding {
            dir: Some(&dir),
            certificates: &[],
            next_consensus,
            last_microdescs: Some(tick(0)),
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
        assert_eq!(Holding { next_consensus: stale + MAX_WAIT, ..holding }.want(stale, tick(1)), Want::Consensus);
    }
}
