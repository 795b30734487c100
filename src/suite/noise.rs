//! How much this machine varies by itself: the same work, looked at before, between and after all
//! rounds of a run.
//!
//! Measures no client. What differs by less than this between two subjects, or two reports, is never
//! called different. A look is the middle of many short times, so that whoever takes a processor
//! away for a moment does not count, and whoever keeps it does. Called by `engine.rs`; weighed by
//! `verdict.rs`. Spec: none.

use std::hint::black_box;

use super::json::Value;
use super::stats::median;
use crate::bench::LatencyTracker;
use crate::lab::SystemClock;

/// How often the work is done in a look; ours.
const TIMES: usize = 21;
/// How much work that is; ours, a few thousandths of a second.
const STEPS: u64 = 2_000_000;
/// The most looks that are read of a report; ours, more than any run has rounds.
const MAX_LOOKS: usize = 2000;

/// What a machine varied by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Noise {
    /// What the work took at each look, in milliseconds.
    pub looks: Vec<f64>,
}

impl Noise {
    /// Does the work, and notes what it took.
    pub fn look(&mut self) {
        let (clock, times) = (SystemClock::start(), LatencyTracker::new(TIMES));
        for _ in 0..TIMES {
            let begun = clock.now().tick;
            let work = |sum: u64, step: u64| (sum ^ step).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
            black_box((0..black_box(STEPS)).fold(1, work));
            times.record(clock.now().tick.since(begun));
        }
        self.looks.push(times.percentile(0.5).as_secs_f64() * 1e3);
    }

    /// By what share the slower looks were slower than the quicker ones: what a figure may differ by
    /// for no reason of its own. Up to a quarter of them at either end is left out, where there are
    /// more than a few: a median bears twice as many rounds that went wrong.
    pub fn share(&self) -> f64 {
        let mut looks = self.looks.clone();
        looks.sort_by(f64::total_cmp);
        let out = looks.len().saturating_sub(1) / 4;
        let quick = looks.get(out);
        let slow = looks.len().checked_sub(out + 1).and_then(|at| looks.get(at));
        quick.zip(slow).map_or(0.0, |(quick, slow)| slow / quick - 1.0)
    }

    /// By what share the machine of another report was faster or slower.
    pub fn apart(&self, other: &Noise) -> f64 {
        let [Some(ours), Some(theirs)] = [self, other].map(|noise| median(&noise.looks)) else { return 0.0 };
        (ours / theirs).max(theirs / ours) - 1.0
    }

    /// As a report has it.
    pub fn json(&self) -> Value {
        Value::object([("share", self.share().into()), ("look_ms", Value::numbers(&self.looks))])
    }

    /// Out of a report.
    pub fn of_json(value: &Value) -> Option<Noise> {
        let looks = value.field("look_ms")?.items().filter(|looks| (1..=MAX_LOOKS).contains(&looks.len()))?;
        let looks = looks.iter().map(Value::number).collect::<Option<Vec<_>>>()?;
        looks.iter().all(|look| *look > 0.0).then_some(Noise { looks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time() {
        let mut noise = Noise::default();
        assert_eq!(noise.share(), 0.0);
        noise.look();
        noise.look();
        assert!(noise.looks.iter().all(|look| *look > 0.0) && noise.share() >= 0.0, "{noise:?}");
    }

    #[test]
    fn a_machine_that_slowed_down_is_noisy_and_another() {
        let [quiet, slowed] = [[5.0, 5.1, 5.0], [5.0, 6.0, 6.0]].map(|looks| Noise { looks: looks.into() });
        assert!((quiet.share() - 0.02).abs() < 1e-9 && (slowed.share() - 0.2).abs() < 1e-9);
        assert!((quiet.apart(&slowed) - 0.2).abs() < 1e-9 && (slowed.apart(&quiet) - 0.2).abs() < 1e-9);
        assert_eq!(Noise::of_json(&slowed.json()), Some(slowed));
        let once = Noise { looks: vec![5.0, 5.1, 5.0, 5.0, 12.0, 5.0, 5.1, 5.0, 5.0] };
        assert!(once.share() < 0.03, "one look in nine");
        let half = Noise { looks: vec![5.0, 5.0, 5.0, 5.0, 5.0, 6.0, 6.0, 6.0, 6.0] };
        assert!(half.share() > 0.19, "four in nine");
        assert_eq!(Noise::of_json(&Noise { looks: vec![0.0] }.json()), None);
        assert_eq!(Noise::of_json(&Noise::default().json()), None);
    }
}
