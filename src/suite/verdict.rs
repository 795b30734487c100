//! Which of two series of samples is better, if anybody can tell.
//!
//! A difference is called real only if it is larger than what the machine itself varied by, the
//! bootstrap's interval of the ratio excludes 1, and chance alone would part such series no more
//! often than it may: once in 200 for subjects of one run; for two runs, as often as the caller
//! says, who knows how many rows are judged at once (by Bonferroni's inequality, of `n` rows that
//! are alike any is called different no more often than `n` times that). Called by `engine.rs` for
//! subjects of one run and by `compare.rs` for two runs. Spec: none.

use super::figure::is_more_better;
use super::stats::{Confidence, Estimate, chance_of_pairs, chance_of_series, ratio, ratio_of_pairs};

/// How often chance alone may part the pairs of two series that are called different; ours, where
/// many are judged at once.
const MOST_CHANCE: f64 = 0.005;
/// The fewest pairs that chance alone parts less often than that, be they as far apart as they may.
const LEAST_PAIRS: usize = 9;
/// The least difference that is worth a word, as a share; ours.
const LEAST_DIFFERENCE: f64 = 0.03;

/// What is to be said of a second series beside a first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The second is better.
    Better,
    /// The second is worse.
    Worse,
    /// It is within the noise.
    CannotTell,
    /// One of the two was not measured often enough.
    TooFewSamples,
    /// The second could not be measured, and the first could.
    Failed,
}

impl Verdict {
    /// All of them.
    const ALL: [Verdict; 5] =
        [Verdict::Better, Verdict::Worse, Verdict::CannotTell, Verdict::TooFewSamples, Verdict::Failed];

    /// As a report says it.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::CannotTell => "cannot tell",
            Verdict::TooFewSamples => "cannot tell: too few samples",
            Verdict::Failed => "worse: it failed",
        }
    }

    /// Out of a report.
    pub fn of_words(words: &str) -> Option<Verdict> {
        Verdict::ALL.into_iter().find(|verdict| verdict.words() == words)
    }

    /// The same as the first would say it.
    pub fn of_first(self) -> Verdict {
        match self {
            Verdict::Better => Verdict::Worse,
            Verdict::Worse | Verdict::Failed => Verdict::Better,
            other => other,
        }
    }

    /// Itself, unless it says of a difference what chance says as well.
    fn if_real(self, is_rare: impl Fn() -> bool) -> Verdict {
        match self {
            Verdict::Better | Verdict::Worse if !is_rare() => Verdict::CannotTell,
            other => other,
        }
    }
}

/// Judges a series whose samples were each taken beside one of the first.
pub fn of_pairs(first: &[f64], second: &[f64], unit: &str, noise: f64, seed: u64) -> Verdict {
    let estimate = ratio_of_pairs(first, second, Confidence::Verdict, seed);
    match first.len().min(second.len()) {
        0..LEAST_PAIRS => Verdict::TooFewSamples,
        _ => judge(estimate, unit, noise).if_real(|| chance_of_pairs(first, second) <= MOST_CHANCE),
    }
}

/// Judges a series that was taken in another run than the first. Chance alone may part the two as
/// often as that, and no more.
pub fn of_series(first: &[f64], second: &[f64], unit: &str, noise: f64, most_chance: f64, seed: u64) -> Verdict {
    let least_chance = least_chance(first.len(), second.len());
    if least_chance > most_chance {
        return Verdict::TooFewSamples;
    }
    // What lies as far apart as it may needs no dealing out: that is known exactly, and may be rarer
    // than anything that comes up while dealing.
    let chance = || if are_parted(first, second) { least_chance } else { chance_of_series(first, second, seed) };
    judge(ratio(first, second, Confidence::Verdict, seed), unit, noise).if_real(|| chance() <= most_chance)
}

/// How often chance alone parts so many samples from so many others as far as it goes: by two of all
/// the ways to deal them out.
fn least_chance(first: usize, second: usize) -> f64 {
    let (fewer, more) = (first.min(second), first.max(second));
    let ways: f64 = (1..=fewer).map(|number| (more + number) as f64 / number as f64).product();
    2.0 / ways
}

/// Whether all of the one lie over all of the other.
fn are_parted(first: &[f64], second: &[f64]) -> bool {
    let ends =
        |samples: &[f64]| samples.iter().fold((f64::MAX, f64::MIN), |(low, high), it| (low.min(*it), high.max(*it)));
    let ((low, high), (other_low, other_high)) = (ends(first), ends(second));
    high < other_low || other_high < low
}

/// What is to be said of a ratio, if chance has no part in it.
fn judge(estimate: Option<Estimate>, unit: &str, noise: f64) -> Verdict {
    let Some(Estimate { median, low, high }) = estimate else { return Verdict::CannotTell };
    let least = noise.max(LEAST_DIFFERENCE);
    let is_more = low > 1.0 && median > 1.0 + least;
    let is_less = high < 1.0 && median < 1.0 / (1.0 + least);
    match (is_more, is_less) {
        (false, false) => Verdict::CannotTell,
        (is_more, _) if is_more == is_more_better(unit) => Verdict::Better,
        _ => Verdict::Worse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NINE: [f64; 9] = [100.0, 101.0, 99.0, 100.5, 99.5, 100.2, 99.8, 101.2, 98.9];

    fn scaled(factor: f64) -> Vec<f64> {
        NINE.iter().map(|it| it * factor).collect()
    }

    fn both(unit: &str, second: &[f64], noise: f64) -> [Verdict; 2] {
        [of_pairs(&NINE, second, unit, noise, 1), of_series(&NINE, second, unit, noise, MOST_CHANCE, 1)]
    }

    #[test]
    fn more_of_a_rate_is_better_and_more_of_a_time_is_worse() {
        assert_eq!(both("MiB/s", &scaled(1.5), 0.01), [Verdict::Better; 2]);
        assert_eq!(both("MiB/s", &scaled(0.5), 0.01), [Verdict::Worse; 2]);
        assert_eq!(both("ms", &scaled(1.5), 0.01), [Verdict::Worse; 2]);
        assert_eq!(both("ms", &scaled(0.5), 0.01), [Verdict::Better; 2]);
        assert_eq!(both("MiB/s", &NINE, 0.01), [Verdict::CannotTell; 2]);
        assert_eq!(both("MiB/s", &scaled(0.98), 0.01), [Verdict::CannotTell; 2], "too little to matter");
    }

    #[test]
    fn what_varies_more_than_it_differs_is_not_called_real() {
        let wild = [60.0, 190.0, 95.0, 140.0, 180.0, 99.0, 150.0, 98.0, 170.0];
        assert_eq!(both("MiB/s", &wild, 0.01), [Verdict::CannotTell; 2]);
        assert_eq!(both("MiB/s", &scaled(1.3), 0.4), [Verdict::CannotTell; 2], "so does the machine");
    }

    fn of_first(count: usize, most_chance: f64) -> Verdict {
        of_series(&NINE[..count], &scaled(2.0)[..count], "ms", 0.01, most_chance, 1)
    }

    #[test]
    fn of_few_samples_nobody_can_tell() {
        assert_eq!(both("MiB/s", &scaled(2.0)[..2], 0.01), [Verdict::TooFewSamples; 2]);
        assert_eq!(of_series(&NINE, &[], "ms", 0.01, 1.0, 1), Verdict::TooFewSamples);
        let eight = of_pairs(&NINE[..LEAST_PAIRS - 1], &scaled(2.0), "ms", 0.01, 1);
        assert_eq!(eight, Verdict::TooFewSamples);
        assert_eq!([5, 6].map(|count| of_first(count, 0.005)), [Verdict::TooFewSamples, Verdict::Worse]);
    }

    /// By the rank sum's tables: 2 in 924 for six and six, 2 in 12870 for eight, 2 in 48620 for nine.
    #[test]
    fn the_less_chance_may_do_the_more_samples_it_takes() {
        assert!((least_chance(6, 6) - 2.0 / 924.0).abs() < 1e-12 && (least_chance(2, 3) - 0.2).abs() < 1e-12);
        assert_eq!((least_chance(0, 9), least_chance(1000, 1000)), (2.0, 0.0));
        assert_eq!([6, 7].map(|count| of_first(count, 0.002)), [Verdict::TooFewSamples, Verdict::Worse]);
        assert_eq!([8, 9].map(|count| of_first(count, 0.0001)), [Verdict::TooFewSamples, Verdict::Worse]);
        // One of them lies under two of the others: as far apart chance has them 8 times in 48620.
        let mut near = scaled(2.0);
        near[0] = 100.9;
        let of = |most_chance| of_series(&NINE, &near, "ms", 0.01, most_chance, 1);
        assert_eq!((of(0.005), of(0.00005)), (Verdict::Worse, Verdict::CannotTell));
    }

    /// Of two hundred pairs of series that are drawn alike, hardly any is called different, however
    /// quiet the machine is said to be.
    #[test]
    fn what_is_alike_is_hardly_ever_called_different() {
        let mut draws = super::super::stats::tests::uniform(7);
        let mut called = [0; 2];
        for seed in 0..200 {
            let [a, b]: [Vec<f64>; 2] = [(); 2].map(|()| (0..9).map(|_| 100.0 + 100.0 * draws()).collect());
            let both = [of_pairs(&a, &b, "ms", 0.0, seed), of_series(&a, &b, "ms", 0.0, MOST_CHANCE, seed)];
            for (count, verdict) in called.iter_mut().zip(both) {
                *count += usize::from(verdict != Verdict::CannotTell);
            }
        }
        assert!(called.iter().all(|count| *count <= 4), "{called:?} of 200");
    }

    #[test]
    fn a_verdict_is_read_as_it_was_written() {
        for verdict in Verdict::ALL {
            assert_eq!(Verdict::of_words(verdict.words()), Some(verdict));
        }
        assert_eq!(Verdict::of_words("great"), None);
        assert_eq!(Verdict::Better.of_first(), Verdict::Worse);
        assert_eq!(Verdict::CannotTell.of_first(), Verdict::CannotTell);
    }
}
