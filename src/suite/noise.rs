//! How much this machine varies by itself: the same work again and again, before and after.
//!
//! Measures no client. What differs by less than this between two reports is never called
//! different. Called by `engine.rs`; weighed by `compare.rs`. Spec: none.

use std::hint::black_box;

use super::json::Value;
use crate::bench::LatencyTracker;
use crate::lab::SystemClock;

/// How often the work is done; ours.
const ROUNDS: usize = 101;
/// How much work that is; ours, a few thousandths of a second.
const STEPS: u64 = 2_000_000;

/// What a machine varied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// By how much more than the middle one the slowest tenth of rounds took, before all else.
    pub before: f64,
    /// The same, after all else.
    pub after: f64,
    /// What the middle round took before all else, in milliseconds.
    pub round_before: f64,
    /// The same, after all else.
    pub round_after: f64,
}

/// Does the work: how much it varied, and what a round took.
pub fn look() -> (f64, f64) {
    let (clock, rounds) = (SystemClock::start(), LatencyTracker::new(ROUNDS));
    for _ in 0..ROUNDS {
        let begun = clock.now().tick;
        let work = |sum: u64, step: u64| (sum ^ step).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        black_box((0..black_box(STEPS)).fold(1, work));
        rounds.record(clock.now().tick.since(begun));
    }
    let [middle, slow] = [0.5, 0.9].map(|share| rounds.percentile(share).as_secs_f64() * 1e3);
    (slow / middle - 1.0, middle)
}

impl Noise {
    /// By what share a figure of this run may differ from another for no reason of its own.
    pub fn share(self) -> f64 {
        let drift = (self.round_after / self.round_before - 1.0).abs();
        self.before.max(self.after).max(drift)
    }

    /// By what share the machine of another report was faster or slower.
    pub fn apart(self, other: Noise) -> f64 {
        let round = |noise: Noise| f64::midpoint(noise.round_before, noise.round_after);
        let ratio = round(self) / round(other);
        ratio.max(1.0 / ratio) - 1.0
    }

    /// As a report has it.
    pub fn json(self) -> Value {
        let Noise { before, after, round_before, round_after } = self;
        Value::object([
            ("before", before.into()),
            ("after", after.into()),
            ("round_ms_before", round_before.into()),
            ("round_ms_after", round_after.into()),
        ])
    }

    /// Out of a report.
    pub fn of_json(value: &Value) -> Option<Noise> {
        let number = |name| value.field(name).and_then(Value::number);
        let (round_before, round_after) = (number("round_ms_before")?, number("round_ms_after")?);
        let is_time = |number: f64| number > 0.0;
        let is_real = is_time(round_before) && is_time(round_after);
        is_real.then_some(Noise { before: number("before")?, after: number("after")?, round_before, round_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time_and_varies() {
        let (share, round) = look();
        assert!(share >= 0.0 && round > 0.0, "{share} {round}");
    }

    #[test]
    fn a_machine_that_slowed_down_is_as_noisy_as_one_that_varied() {
        let quiet = Noise { before: 0.01, after: 0.02, round_before: 5.0, round_after: 5.0 };
        assert_eq!(quiet.share(), 0.02);
        let slowed = Noise { round_after: 6.0, ..quiet };
        assert!((slowed.share() - 0.2).abs() < 1e-9);
        assert!((quiet.apart(slowed) - 0.1).abs() < 1e-9 && (slowed.apart(quiet) - 0.1).abs() < 1e-9);
        assert_eq!(Noise::of_json(&slowed.json()), Some(slowed));
    }
}
