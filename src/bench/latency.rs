//! `LatencyTracker`: durations in, percentiles out of a sorted copy, in bounded memory.
//!
//! Measures nothing itself and reads no clock. Readers copy the samples under the lock and
//! sort the copy outside it, so that a reader never makes a writer wait for a sort. Called
//! by whoever times something; `perf` keeps one for each operation. Spec: none.

use core::time::Duration;

use super::lock::Lock;

/// Samples kept by a tracker whose maker has no wish of its own: 512 KiB.
const DEFAULT_CAPACITY: usize = 65_536;
/// Samples a writer may add between a reader's two looks without making it allocate
/// under the lock.
const COPY_SLACK: usize = 64;

/// Collects durations from any number of threads.
///
/// Up to its capacity it keeps every sample. Beyond it keeps a uniform reservoir
/// (Algorithm R): each sample seen so far is kept with the same probability, so that
/// percentiles are estimates over a fair choice, while count, mean, minimum and maximum
/// stay exact.
pub struct LatencyTracker {
    samples: Lock<Samples>,
}

/// What was seen, as values from one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencySnapshot {
    /// How many samples were recorded.
    pub count: u64,
    /// Half of them took at most this long.
    pub p50: Duration,
    /// Nine in ten.
    pub p90: Duration,
    /// Nineteen in twenty.
    pub p95: Duration,
    /// Ninety-nine in a hundred.
    pub p99: Duration,
    /// 999 in a thousand.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
    /// The shortest.
    pub min: Duration,
    /// Their mean.
    pub mean: Duration,
}

impl LatencyTracker {
    /// A tracker that keeps at most `capacity` samples, and at least one.
    pub fn new(capacity: usize) -> Self {
        LatencyTracker { samples: Lock::new(Samples::new(capacity.max(1))) }
    }

    /// Adds a sample.
    pub fn record(&self, elapsed: Duration) {
        let nanos = nanos(elapsed);
        self.samples.with(|samples| samples.record(nanos));
    }

    /// The sample below or at which the share `p` of all samples lies: the one at index
    /// floor((n - 1) * p) in order of length. `p` is clamped to 0..=1, NaN counts as 0;
    /// without samples the answer is zero.
    pub fn percentile(&self, p: f64) -> Duration {
        self.copy().sort().percentile(p)
    }

    /// The longest sample ever recorded; zero without any.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.samples.with(|samples| samples.max))
    }

    /// The shortest sample ever recorded; zero without any.
    pub fn min(&self) -> Duration {
        Duration::from_nanos(self.samples.with(|samples| samples.min))
    }

    /// The mean of all samples ever recorded; zero without any.
    pub fn mean(&self) -> Duration {
        let (sum, count) = self.samples.with(|samples| (samples.sum, samples.count));
        mean(sum, count)
    }

    /// How many samples were recorded.
    pub fn count(&self) -> u64 {
        self.samples.with(|samples| samples.count)
    }

    /// Forgets everything, in place.
    pub fn reset(&self) {
        self.samples.with(Samples::reset);
    }

    /// All figures from one moment, out of one copy and one sort.
    pub fn snapshot(&self) -> LatencySnapshot {
        self.copy().sort().snapshot()
    }

    /// The samples and totals of one moment, unsorted, for a caller that holds a lock of
    /// its own and will sort later.
    pub(super) fn copy(&self) -> Copied {
        let expected = self.samples.with(|samples| samples.kept.len());
        let mut kept = Vec::with_capacity(expected.saturating_add(COPY_SLACK));
        self.samples.with(|samples| {
            kept.extend_from_slice(&samples.kept);
            Copied { kept, count: samples.count, sum: samples.sum, min: samples.min, max: samples.max }
        })
    }
}

impl Default for LatencyTracker {
    fn default() -> Self {
        LatencyTracker::new(DEFAULT_CAPACITY)
    }
}

/// What the lock guards.
struct Samples {
    capacity: usize,
    /// In nanoseconds, in no order; `kept.len() <= capacity`.
    kept: Vec<u64>,
    count: u64,
    /// Of all nanoseconds ever recorded.
    sum: u128,
    min: u64,
    max: u64,
    /// The state of the generator that chooses for the reservoir.
    choice: u64,
}

impl Samples {
    fn new(capacity: usize) -> Self {
        Samples { capacity, kept: Vec::new(), count: 0, sum: 0, min: 0, max: 0, choice: 0 }
    }

    fn record(&mut self, nanos: u64) {
        self.min = if self.count == 0 { nanos } else { self.min.min(nanos) };
        self.max = self.max.max(nanos);
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(u128::from(nanos));
        if self.kept.len() < self.capacity {
            self.kept.push(nanos);
            return;
        }
        // Algorithm R: the sample takes the place of an equally likely one of all seen.
        let place = self.below(self.count);
        if let Some(kept) = usize::try_from(place).ok().and_then(|place| self.kept.get_mut(place)) {
            *kept = nanos;
        }
    }

    /// A number below `bound`: the high half of a 64 by 64 bit product, whose bias is less
    /// than one in 2^64 / bound.
    fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next_choice()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// SplitMix64. Statistics, not secrets.
    fn next_choice(&mut self) -> u64 {
        self.choice = self.choice.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.choice ^ (self.choice >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn reset(&mut self) {
        self.kept.clear();
        (self.count, self.sum, self.min, self.max) = (0, 0, 0, 0);
    }
}

/// A copy, yet to be sorted.
pub(super) struct Copied {
    kept: Vec<u64>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

impl Copied {
    pub(super) fn sort(mut self) -> Sorted {
        self.kept.sort_unstable();
        Sorted(self)
    }
}

/// A sorted copy.
pub(super) struct Sorted(Copied);

impl Sorted {
    fn percentile(&self, p: f64) -> Duration {
        let nanos = self.0.kept.get(index(self.0.kept.len(), p)).copied();
        Duration::from_nanos(nanos.unwrap_or(0))
    }

    pub(super) fn snapshot(&self) -> LatencySnapshot {
        LatencySnapshot {
            count: self.0.count,
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p95: self.percentile(0.95),
            p99: self.percentile(0.99),
            p999: self.percentile(0.999),
            max: Duration::from_nanos(self.0.max),
            min: Duration::from_nanos(self.0.min),
            mean: mean(self.0.sum, self.0.count),
        }
    }
}

/// floor((n - 1) * p), within 0..n; NaN counts as 0.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index below the capacity is exact in 53 bits, and the product is clamped to it"
)]
fn index(n: usize, p: f64) -> usize {
    let last = n.saturating_sub(1);
    let p = if p.is_nan() { 0.0 } else { p.clamp(0.0, 1.0) };
    ((last as f64 * p).floor() as usize).min(last)
}

fn mean(sum: u128, count: u64) -> Duration {
    let nanos = sum.checked_div(u128::from(count)).unwrap_or(0);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A duration in nanoseconds; all above 584 years are alike.
fn nanos(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

// The path is spelt out for `tests/loom`, which includes this file from elsewhere.
#[cfg(test)]
#[path = "latency/tests.rs"]
mod tests;
