//! How long a circuit may take to build: learned from those that were built before.
//!
//! Build times follow a Pareto curve well enough in its tail; from the last thousand of them
//! follow the time after which a circuit is not worth waiting for, and the later one after
//! which it is not even worth measuring. Watches no circuit itself. Called by `client`, which
//! reports what became of each, and asks. Spec: path-spec, "Learning when to give up
//! ("timeout") on circuit construction". C tor: core/or/circuitstats.c.

use core::time::Duration;
use std::collections::VecDeque;

use crate::base::random::{self, Entropy};
use crate::base::time::Tick;
use crate::directory::params::{Param, Params};

/// How many build times are kept. C tor: `CBT_NCIRCUITS_TO_OBSERVE`.
pub const MAX_TIMES: usize = 1000;
/// How wide a bin is, in milliseconds. C tor: `CBT_BIN_WIDTH`.
const BIN_WIDTH: u32 = 10;
/// No time is longer, in milliseconds: C tor's are of 31 bits.
const MAX_MILLIS: u32 = 0x7FFF_FFFF;
/// The hops of a circuit whose time is counted, also on the way to more.
pub const COUNTED_HOPS: usize = 3;

/// What the user says about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// `CircuitBuildTimeout`, in place of the initial one.
    pub initial: Option<Duration>,
    /// `LearnCircuitBuildTimeout 0`.
    pub is_fixed: bool,
}

/// What is known about how long circuits take.
#[derive(Clone, Debug)]
pub struct BuildTimes {
    /// The last ones in milliseconds, oldest first; `None` for one that was given up.
    times: VecDeque<Option<u32>>,
    timeout: f64,
    close: f64,
    is_computed: bool,
    curve: Option<Curve>,
    /// Of the last circuits that got beyond their first hop, which timed out. Newest last.
    recent: VecDeque<bool>,
    last_live: Tick,
    /// Circuits that lived and died without a sign of the network.
    nonlive: u32,
    last_circuit: Option<Tick>,
    /// How many times were learned since it was last asked.
    learned: u32,
}

/// The Pareto curve that fits best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curve {
    /// Where it begins, in milliseconds.
    pub xm: u32,
    /// How steep it falls.
    pub alpha: f64,
}

/// What is kept between runs: C tor's `TotalBuildTimes`, `CircuitBuildAbandonedCount` and
/// `CircuitBuildTimeBin` lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// How many times in all.
    pub total: u32,
    /// How many of them were given up.
    pub abandoned: u32,
    /// The middle of each bin in milliseconds, and how many times are in it.
    pub bins: Vec<(u32, u32)>,
}

/// What happened to the timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It follows from what was learned.
    Computed,
    /// All that was learned is forgotten, because most circuits time out.
    Reset,
}

impl BuildTimes {
    /// Nothing is known.
    pub fn new(params: &Params, wish: Wish) -> BuildTimes {
        let initial = initial(params, wish);
        BuildTimes {
            times: VecDeque::new(),
            timeout: initial,
            close: initial,
            is_computed: false,
            curve: None,
            recent: VecDeque::new(),
            last_live: Tick::default(),
            nonlive: 0,
            last_circuit: None,
            learned: 0,
        }
    }

    /// What an earlier run knew; `None` if its parts contradict each other.
    pub fn load(saved: &Saved, params: &Params, wish: Wish, entropy: &mut dyn Entropy) -> Option<BuildTimes> {
        let known = saved.bins.iter().try_fold(0_u32, |sum, (_, count)| sum.checked_add(*count))?;
        if known.checked_add(saved.abandoned)? != saved.total || saved.bins.iter().any(|(time, _)| *time >= MAX_MILLIS)
        {
            return None;
        }
        let mut build_times = BuildTimes::new(params, wish);
        if is_fixed(params, wish) {
            return Some(build_times);
        }
        build_times.times = sample(saved, entropy);
        build_times.compute(params);
        Some(build_times)
    }

    /// How many times were learned since this was last asked.
    pub fn take_learned(&mut self) -> u32 {
        core::mem::take(&mut self.learned)
    }

    /// What the next run should know.
    pub fn save(&self) -> Saved {
        let bins = self.bins();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Saved {
            total: count(self.times.len()),
            abandoned: count(self.times.iter().filter(|time| time.is_none()).count()),
            bins: bins.into_iter().map(|(bin, count)| (middle(bin), count)).collect(),
        }
    }

    /// After how long a circuit of so many hops is not worth waiting for. C tor: a fourth hop
    /// makes ten steps where three hops have six.
    pub fn timeout(&self, hops: usize) -> Duration {
        millis(scaled(self.timeout, hops))
    }

    /// After how long it is not worth measuring.
    pub fn close(&self, hops: usize) -> Duration {
        millis(scaled(self.close, hops))
    }

    /// The curve the timeout follows from, once there is one.
    pub fn curve(&self) -> Option<Curve> {
        self.curve.filter(|_| self.is_computed)
    }

    /// How many times are known.
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// The share of known times that were over the timeout, and of those that were given up.
    pub fn rates(&self) -> (f64, f64) {
        let total = f64_of(self.times.len().max(1));
        let is_over = |time: &&Option<u32>| time.is_none_or(|time| f64::from(time) >= self.timeout);
        let over = self.times.iter().filter(is_over).count();
        let abandoned = self.times.iter().filter(|time| time.is_none()).count();
        (f64_of(over) / total, f64_of(abandoned) / total)
    }

    /// The network gave a sign of life.
    pub fn on_live(&mut self, now: Tick) {
        self.last_live = now;
        self.nonlive = 0;
    }

    /// Whether what circuits do says something about the network.
    pub fn is_live(&self) -> bool {
        self.nonlive == 0
    }

    /// A circuit got its third hop; `timed_out` if it had been over its time before.
    pub fn on_built(&mut self, took: Duration, timed_out: bool, params: &Params, wish: Wish) -> Option<Change> {
        if is_fixed(params, wish) {
            return None;
        }
        let took = took.as_secs_f64() * 1000.0;
        // C tor: longer than that, and the machine slept, or its clock was set.
        if took > 2.0 * self.close + 1000.0 {
            return None;
        }
        let change = self.is_live().then(|| {
            self.push(Some(whole(took).clamp(1, MAX_MILLIS - 2)));
            self.compute(params)
        });
        if !timed_out {
            self.remember(false, params);
        }
        change.flatten()
    }

    /// A circuit is over its time.
    pub fn on_timeout(&mut self, had_first_hop: bool, params: &Params, wish: Wish) -> Option<Change> {
        if is_fixed(params, wish) {
            self.forget_all(params, wish);
            return None;
        }
        if had_first_hop {
            self.remember(true, params);
        }
        self.reset_if_changed(params, wish)
    }

    /// A circuit was given up before its third hop. It had been begun at `begun`.
    pub fn on_abandoned(&mut self, begun: Tick, params: &Params, wish: Wish) -> Option<Change> {
        if is_fixed(params, wish) {
            self.forget_all(params, wish);
            return None;
        }
        if self.last_live < begun {
            self.nonlive = self.nonlive.saturating_add(1);
        }
        if !self.is_live() {
            return None;
        }
        self.push(None);
        self.compute(params)
    }

    /// A circuit was begun, for whatever reason.
    pub fn on_begun(&mut self, now: Tick) {
        self.last_circuit = Some(now);
    }

    /// When to begin a circuit only to learn, if there is anything to learn.
    pub fn next_test(&self, params: &Params, wish: Wish) -> Option<Tick> {
        let is_enough = self.times.len() >= usize_of(params.unsigned(Param::CbtMinCircs));
        let every = Duration::from_secs(params.unsigned(Param::CbtTestFreq).into());
        let next = self.last_circuit.map_or(Tick::default(), |last| last + every);
        (!is_enough && !is_fixed(params, wish)).then_some(next)
    }

    // --- what follows from the times -----------------------------------------------------

    fn push(&mut self, time: Option<u32>) {
        if self.times.len() >= MAX_TIMES {
            self.times.pop_front();
        }
        self.times.push_back(time);
        self.learned = self.learned.saturating_add(1);
    }

    fn remember(&mut self, timed_out: bool, params: &Params) {
        self.recent.push_back(timed_out);
        let most = usize_of(params.unsigned(Param::CbtRecentCount));
        self.recent.drain(..self.recent.len().saturating_sub(most));
    }

    fn forget_all(&mut self, params: &Params, wish: Wish) {
        self.timeout = initial(params, wish);
        self.close = self.timeout;
    }

    /// If most of the last circuits timed out, the network is another one now.
    fn reset_if_changed(&mut self, params: &Params, wish: Wish) -> Option<Change> {
        let timed_out = self.recent.iter().filter(|timed_out| **timed_out).count();
        if timed_out < usize_of(params.unsigned(Param::CbtMaxTimeouts)) {
            return None;
        }
        self.times.clear();
        self.recent.clear();
        self.is_computed = false;
        // C tor: again and again on a very bad network, each time with twice the patience.
        let most = f64::from(MAX_MILLIS / 2);
        if self.timeout < initial(params, wish) {
            self.forget_all(params, wish);
        } else if self.timeout <= most && self.close <= most {
            self.timeout *= 2.0;
            self.close *= 2.0;
        }
        Some(Change::Reset)
    }

    fn compute(&mut self, params: &Params) -> Option<Change> {
        if self.times.len() < usize_of(params.unsigned(Param::CbtMinCircs)) {
            return None;
        }
        let curve = self.fit(params.unsigned(Param::CbtNumModes))?;
        let quantile = |param| f64::from(params.unsigned(param)) / 100.0;
        let longest = f64::from(self.times.iter().copied().flatten().max().unwrap_or(0));
        self.curve = Some(curve);
        let least = f64::from(params.unsigned(Param::CbtMinTimeout));
        self.timeout = curve.quantile(quantile(Param::CbtQuantile)).min(longest).max(least);
        let close = curve.quantile(quantile(Param::CbtCloseQuantile)).min(2.0 * longest);
        self.close = close.max(f64::from(params.unsigned(Param::CbtInitialTimeout)));
        self.is_computed = true;
        Some(Change::Computed)
    }

    /// The curve begins at the average of the fullest bins; its steepness is the likeliest.
    fn fit(&self, modes: u32) -> Option<Curve> {
        let xm = self.xm(modes)?;
        let known: Vec<u32> = self.times.iter().copied().flatten().collect();
        let start = f64::from(xm).ln();
        let sum: f64 = known.iter().map(|time| f64::from((*time).max(xm)).ln()).sum();
        let count = f64_of(known.len());
        Some(Curve { xm, alpha: count / (sum - count * start) })
    }

    fn xm(&self, modes: u32) -> Option<u32> {
        let mut bins = self.bins();
        // The fullest first, and of equally full ones the shortest.
        bins.sort_by_key(|(bin, count)| (core::cmp::Reverse(*count), *bin));
        let fullest = bins.iter().take(usize_of(modes));
        let (count, total) = fullest.fold((0_u64, 0_u64), |(count, total), (bin, size)| {
            (count + u64::from(*size), total + u64::from(middle(*bin)) * u64::from(*size))
        });
        let xm = total.checked_div(count)?;
        u32::try_from(xm).ok().filter(|xm| *xm > 0)
    }

    /// How many times are in each bin that has any, in order.
    fn bins(&self) -> Vec<(u32, u32)> {
        let mut bins: Vec<u32> = self.times.iter().flatten().map(|time| time / BIN_WIDTH).collect();
        bins.sort_unstable();
        let mut counted: Vec<(u32, u32)> = Vec::new();
        for bin in bins {
            match counted.last_mut() {
                Some((last, count)) if *last == bin => *count += 1,
                _ => counted.push((bin, 1)),
            }
        }
        counted
    }
}

impl Curve {
    /// Below which time this share of all circuits is built, in milliseconds.
    pub fn quantile(&self, share: f64) -> f64 {
        let most = f64::from(MAX_MILLIS);
        let behind = (1.0 - share).powf(self.alpha.recip());
        if self.alpha > 0.0 && behind > 0.0 { (f64::from(self.xm) / behind).min(most) } else { most }
    }
}

/// Up to [`MAX_TIMES`] of the saved times, in no order.
fn sample(saved: &Saved, entropy: &mut dyn Entropy) -> VecDeque<Option<u32>> {
    let mut bins: Vec<(Option<u32>, u32)> =
        saved.bins.iter().map(|(time, count)| (Some((*time).max(1)), *count)).collect();
    bins.push((None, saved.abandoned));
    let mut left = saved.total;
    let mut times = VecDeque::new();
    while left > 0 && times.len() < MAX_TIMES {
        let mut drawn = random::below(entropy, left);
        for (time, count) in &mut bins {
            if drawn < *count {
                *count -= 1;
                times.push_back(*time);
                break;
            }
            drawn -= *count;
        }
        left -= 1;
    }
    times
}

fn is_fixed(params: &Params, wish: Wish) -> bool {
    wish.is_fixed || params.is_on(Param::CbtDisabled)
}

/// C tor: a wish below the least is raised to it, unless nothing is learned.
fn initial(params: &Params, wish: Wish) -> f64 {
    let least = if is_fixed(params, wish) { 0.0 } else { f64::from(params.unsigned(Param::CbtMinTimeout)) };
    match wish.initial {
        Some(wish) => (wish.as_secs_f64() * 1000.0).max(least),
        None => f64::from(params.unsigned(Param::CbtInitialTimeout)),
    }
}

fn scaled(time: f64, hops: usize) -> f64 {
    // C tor: four hops get ten sixths and a second more.
    if hops <= COUNTED_HOPS { time } else { time * 10.0 / 6.0 + 1000.0 }
}

fn millis(time: f64) -> Duration {
    Duration::try_from_secs_f64(time / 1000.0).unwrap_or(Duration::from_millis(MAX_MILLIS.into()))
}

fn middle(bin: u32) -> u32 {
    bin * BIN_WIDTH + BIN_WIDTH / 2
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped first")]
fn whole(value: f64) -> u32 {
    value.clamp(0.0, f64::from(MAX_MILLIS)) as u32
}

fn f64_of(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

fn usize_of(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;

    const WISH: Wish = Wish { initial: None, is_fixed: false };

    fn with(name: &str, value: i32) -> Params {
        let mut params = Params::default();
        params.set(name, value);
        params
    }

    fn of(times: &[Option<u32>]) -> BuildTimes {
        BuildTimes { times: times.iter().copied().collect(), ..BuildTimes::new(&Params::default(), WISH) }
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// C tor's src/test/test.c, `test_circuit_timeout_xm_alpha`: 110 times, nine modes, eight
    /// of them equally full, ten given up.
    #[test]
    fn the_curve_fits_as_c_tors_does() {
        let first = [100, 20, 1000, 500, 200, 5000, 30, 600, 200, 300];
        let times: Vec<_> =
            (0..10).flat_map(|row| first.map(|time| Some(time + row)).into_iter().chain([None])).collect();
        for (modes, xm, alpha) in [
            (1, 205, 1.394_401),
            (3, 117, 0.902_313),
            (5, 146, 1.049_032),
            (10, 800, 4.851_754),
            (15, 800, 4.851_754),
            (20, 800, 4.851_754),
        ] {
            let curve = of(&times).fit(modes).unwrap();
            assert_eq!(curve.xm, xm, "{modes}");
            assert!((curve.alpha - alpha).abs() < 0.000_01, "{modes}: {}", curve.alpha);
        }
        assert_eq!(of(&[None; 200]).fit(10), None);
    }

    /// C tor's `test_circuit_timeout`, first half: from samples of a known curve follows that
    /// curve, and still after it was saved and loaded.
    #[test]
    fn a_known_curve_is_found_again_also_after_a_restart() {
        let params = Params::default();
        let known = Curve { xm: 3000, alpha: (0.2_f64.ln()) / (3000_f64.ln() - 30_000_f64.ln()) };
        let share_below = |time: f64| 1.0 - (f64::from(known.xm) / time).powf(known.alpha);
        let (mut entropy, mut learned) = (Seeded(1), BuildTimes::new(&params, WISH));
        for _ in 0..MAX_TIMES {
            let share = f64::from(random::below(&mut entropy, 1_000_000)) / 1_000_001.0;
            learned.push(Some(whole(known.quantile(share))));
        }
        assert_eq!(learned.compute(&params), Some(Change::Computed));
        let after = BuildTimes::load(&learned.save(), &params, WISH, &mut entropy).unwrap();
        for (times, tolerance) in [(&learned, 0.05), (&after, 0.05)] {
            let found = times.curve().unwrap().quantile(0.8);
            assert!((share_below(found) - 0.8).abs() < tolerance, "{found}");
        }
        assert_eq!(after.count(), MAX_TIMES);
        assert!((after.timeout(3).as_secs_f64() - learned.timeout(3).as_secs_f64()).abs() < 2.0);
    }

    /// The second half: a network that is gone is not learned from, one that changed is.
    #[test]
    fn a_dead_network_teaches_nothing_and_a_changed_one_starts_over() {
        let params = Params::default();
        let mut times = BuildTimes::new(&params, WISH);
        for _ in 0..40 {
            assert_eq!(times.on_built(ms(500), false, &params, WISH), None);
        }
        assert_eq!(times.count(), 40);
        let begun = Tick::new(ms(10_000));
        assert_eq!(times.on_abandoned(begun, &params, WISH), None);
        assert!(!times.is_live());
        assert_eq!((times.count(), times.on_built(ms(400), false, &params, WISH)), (40, None));
        assert_eq!(times.count(), 40);
        times.on_live(Tick::new(ms(90_000)));
        assert!(times.is_live());
        for round in 0..17 {
            assert_eq!(times.on_timeout(true, &params, WISH), None, "{round}");
        }
        // Those that had no first hop say nothing about the network behind it.
        assert_eq!(times.on_timeout(false, &params, WISH), None);
        assert_eq!(times.on_timeout(true, &params, WISH), Some(Change::Reset));
        assert_eq!((times.count(), times.timeout(3)), (0, ms(120_000)));
        for _ in 0..17 {
            times.on_timeout(true, &params, WISH);
        }
        assert_eq!(times.on_timeout(true, &params, WISH), Some(Change::Reset));
        assert_eq!(times.timeout(3), ms(240_000));
    }

    #[test]
    fn a_learned_timeout_stays_between_its_bounds() {
        let params = Params::default();
        let mut times = BuildTimes::new(&params, WISH);
        let mut last = None;
        for time in (0..100).map(|n| 200 + n % 50) {
            last = times.on_built(ms(time), false, &params, WISH);
        }
        assert_eq!(last, Some(Change::Computed));
        // Not above the longest ever seen; measuring goes on for the initial timeout at least.
        assert!(times.timeout(3) <= ms(249) && times.timeout(3) >= ms(200), "{:?}", times.timeout(3));
        assert_eq!(times.close(3), ms(60_000));
        let expected = ms(1000) + times.timeout(3) * 10 / 6;
        assert!(times.timeout(4).abs_diff(expected) < ms(1), "{:?}", times.timeout(4));
        let slow = with("cbtmintimeout", 5000);
        times.on_built(ms(210), false, &slow, WISH);
        assert_eq!(times.timeout(3), ms(5000));
    }

    #[test]
    fn strange_times_and_fixed_ones_are_not_learned() {
        let params = Params::default();
        let mut times = BuildTimes::new(&params, WISH);
        times.on_built(ms(121_001), false, &params, WISH);
        assert_eq!(times.count(), 0);
        times.on_built(ms(121_000), true, &params, WISH);
        assert_eq!(times.count(), 1);
        let fixed = Wish { initial: Some(ms(7000)), is_fixed: true };
        let mut times = BuildTimes::new(&params, fixed);
        for _ in 0..200 {
            times.on_built(ms(100), false, &params, fixed);
            times.on_timeout(true, &params, fixed);
            times.on_abandoned(Tick::default(), &params, fixed);
        }
        assert_eq!((times.count(), times.timeout(3), times.close(3)), (0, ms(7000), ms(7000)));
        assert_eq!(times.next_test(&params, fixed), None);
        assert_eq!(BuildTimes::new(&with("cbtdisabled", 1), WISH).next_test(&with("cbtdisabled", 1), WISH), None);
        assert_eq!(BuildTimes::new(&params, Wish { initial: Some(ms(1)), is_fixed: false }).timeout(3), ms(10));
    }

    #[test]
    fn circuits_are_begun_to_learn_until_enough_is_known() {
        let params = Params::default();
        let mut times = BuildTimes::new(&params, WISH);
        assert_eq!(times.next_test(&params, WISH), Some(Tick::default()));
        times.on_begun(Tick::new(ms(5000)));
        assert_eq!(times.next_test(&params, WISH), Some(Tick::new(ms(15_000))));
        for _ in 0..100 {
            times.push(Some(100));
        }
        assert_eq!(times.next_test(&params, WISH), None);
    }

    #[test]
    fn what_is_saved_is_what_was_known_and_nonsense_is_refused() {
        let params = Params::default();
        let times = of(&[Some(5), Some(14), Some(19), Some(120), None, None]);
        let saved = times.save();
        assert_eq!(saved, Saved { total: 6, abandoned: 2, bins: vec![(5, 1), (15, 2), (125, 1)] });
        let loaded = BuildTimes::load(&saved, &params, WISH, &mut Seeded(3)).unwrap();
        assert_eq!(loaded.save(), saved);
        for wrong in [
            Saved { total: 7, ..saved.clone() },
            Saved { abandoned: 3, ..saved.clone() },
            Saved { bins: vec![(5, u32::MAX), (15, 2)], ..saved.clone() },
            Saved { total: 1, abandoned: 0, bins: vec![(MAX_MILLIS, 1)] },
        ] {
            assert!(BuildTimes::load(&wrong, &params, WISH, &mut Seeded(3)).is_none(), "{wrong:?}");
        }
        let huge = Saved { total: 4_000_000_000, abandoned: 0, bins: vec![(100, 4_000_000_000)] };
        assert_eq!(BuildTimes::load(&huge, &params, WISH, &mut Seeded(3)).unwrap().count(), MAX_TIMES);
    }
}
