//! What repeated samples say: their median, how sure one may be of it, and how two series relate.
//!
//! Every interval is a bootstrap: the samples are drawn again, with replacement, and the middle
//! share of what comes out is the interval. Of few samples that share holds the true median less
//! often than it says, so that a larger one is taken. The draws follow from a seed, so that the same
//! samples always say the same. Measures nothing. Called by `engine.rs`, `verdict.rs`, `compare.rs`,
//! `noise.rs` and workloads. Spec: none; the percentile bootstrap is Efron's, "Bootstrap methods:
//! another look at the jackknife".

/// How often samples are drawn again; ours, where the ends of an interval no longer move.
const RESAMPLES: usize = 2000;
/// How often two series are dealt out anew; ours, where something as rare as once in some thousands
/// is told from never.
const DEALS: usize = 10_000;

/// How sure an interval is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// What a table shows: of nine samples and more it holds the true median nineteen times in
    /// twenty; of fewer than six it is the least and the most, which of three hold it three times
    /// in four.
    Shown,
    /// What a verdict needs, where many are given at once.
    Verdict,
}

impl Confidence {
    /// The share below an interval, and that above it.
    fn tail(self) -> f64 {
        match self {
            Confidence::Shown => 0.005,
            Confidence::Verdict => 0.0005,
        }
    }
}

/// A median, and the interval that it lies in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The middle of the samples.
    pub median: f64,
    /// Where the interval begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
}

/// The middle sample, or the mean of the two that are; nothing of none.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    middle(&sorted)
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some(f64::midpoint(*sorted.get(half - 1)?, upper)) }
}

/// What the samples of one series say.
pub fn estimate(samples: &[f64], confidence: Confidence, seed: u64) -> Option<Estimate> {
    let (mut draws, whole) = (Draws(seed), median(samples)?);
    let mut again = || median(&picked(samples, &draws.indices(samples.len())));
    let mut all: Vec<f64> = (0..RESAMPLES).filter_map(|_| again()).collect();
    Some(ends(whole, &mut all, confidence))
}

/// How much `b` is of `a`, where each sample of the one was taken beside the same of the other:
/// the median of their ratios.
pub fn ratio_of_pairs(a: &[f64], b: &[f64], confidence: Confidence, seed: u64) -> Option<Estimate> {
    let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| b / a).filter(|ratio| ratio.is_finite()).collect();
    estimate(&ratios, confidence, seed)
}

/// How much `b` is of `a`, where they were taken apart: the ratio of their medians.
pub fn ratio(a: &[f64], b: &[f64], confidence: Confidence, seed: u64) -> Option<Estimate> {
    let of = |a: &[f64], b: &[f64]| Some(median(b)? / median(a)?).filter(|ratio| ratio.is_finite());
    let (mut draws, whole) = (Draws(seed), of(a, b)?);
    let mut again = || of(&picked(a, &draws.indices(a.len())), &picked(b, &draws.indices(b.len())));
    let mut all: Vec<f64> = (0..RESAMPLES).filter_map(|_| again()).collect();
    Some(ends(whole, &mut all, confidence))
}

/// How often chance alone would have at least as many of the pairs on one side, whichever it is: the
/// sign test.
pub fn chance_of_pairs(a: &[f64], b: &[f64]) -> f64 {
    let differ = a.iter().zip(b).filter(|(a, b)| a != b);
    let (count, more) = differ.fold((0_u32, 0_u32), |(count, more), (a, b)| (count + 1, more + u32::from(b > a)));
    let fewer = more.min(count - more);
    // Of `count` coins, how likely it is that so many or fewer show the one side: a term from the
    // one before.
    let mut term = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut sum = 0.0;
    for heads in 0..=fewer {
        sum += term;
        term *= f64::from(count - heads) / f64::from(heads + 1);
    }
    (2.0 * sum).min(1.0)
}

/// How often chance alone would part two series at least as far: the ranks of both are dealt out
/// anew, and it is seen how far those of the one are from what they would be together.
pub fn chance_of_series(a: &[f64], b: &[f64], seed: u64) -> f64 {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let mut sorted = all.clone();
    sorted.sort_by(f64::total_cmp);
    // Twice the rank, so that those who share one have a whole number too.
    let rank = |it: &f64| sorted.partition_point(|other| other < it) + sorted.partition_point(|other| other <= it);
    let mut ranks: Vec<usize> = all.iter().map(rank).collect();
    let even = ranks.iter().sum::<usize>() as f64 * a.len() as f64 / ranks.len().max(1) as f64;
    let apart = |ranks: &[usize]| (ranks.iter().take(a.len()).sum::<usize>() as f64 - even).abs();
    let (mut draws, seen, mut as_far) = (Draws(seed), apart(&ranks), 0_usize);
    for _ in 0..DEALS {
        for last in (1..ranks.len()).rev() {
            ranks.swap(last, draws.below(last + 1));
        }
        as_far += usize::from(apart(&ranks) >= seen);
    }
    (as_far + 1) as f64 / (DEALS + 1) as f64
}

/// Cuts the tails off.
fn ends(median: f64, all: &mut [f64], confidence: Confidence) -> Estimate {
    all.sort_by(f64::total_cmp);
    let tail = confidence.tail();
    let cut = (1..=RESAMPLES).take_while(|count| (*count as f64) <= tail * RESAMPLES as f64).count();
    let low = all.get(cut).copied().unwrap_or(median);
    let high = all.len().checked_sub(cut + 1).and_then(|at| all.get(at).copied()).unwrap_or(median);
    Estimate { median, low, high }
}

fn picked(samples: &[f64], drawn: &[usize]) -> Vec<f64> {
    drawn.iter().filter_map(|at| samples.get(*at).copied()).collect()
}

/// Splitmix64: enough to draw samples, and the same for ever.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A place below that number.
    fn below(&mut self, count: usize) -> usize {
        let bound = u64::try_from(count).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    /// So many places below that number.
    fn indices(&mut self, count: usize) -> Vec<usize> {
        (0..count).map(|_| self.below(count)).collect()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Numbers from nothing to one.
    pub fn uniform(seed: u64) -> impl FnMut() -> f64 {
        let mut draws = Draws(seed);
        move || (draws.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[test]
    fn a_median_is_the_middle_and_there_is_none_of_nothing() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!((median(&[]), estimate(&[], Confidence::Shown, 1)), (None, None));
    }

    #[test]
    fn an_interval_holds_its_median_lies_within_the_samples_and_replays() {
        let samples = [10.0, 11.0, 9.5, 10.5, 30.0, 10.2, 9.9];
        let shown = estimate(&samples, Confidence::Shown, 7).unwrap();
        assert!(shown.low <= shown.median && shown.median <= shown.high);
        assert!(shown.low >= 9.5 && shown.high <= 30.0 && shown.high < 31.0);
        assert_eq!(estimate(&samples, Confidence::Shown, 7), Some(shown));
        let surer = estimate(&samples, Confidence::Verdict, 7).unwrap();
        assert!(surer.low <= shown.low && surer.high >= shown.high);
        let one = estimate(&[4.0], Confidence::Shown, 7).unwrap();
        assert_eq!((one.low, one.median, one.high), (4.0, 4.0, 4.0));
    }

    /// Of many series with a known middle, about so many intervals miss it as they say.
    #[test]
    fn nineteen_intervals_in_twenty_hold_the_true_median() {
        let mut draws = uniform(42);
        for (count, most) in [(3, 140), (9, 28), (15, 28)] {
            let mut missed = 0;
            for round in 0..400 {
                let samples: Vec<f64> = (0..count).map(|_| draws()).collect();
                let Estimate { low, high, .. } = estimate(&samples, Confidence::Shown, round).unwrap();
                missed += usize::from(!(low..=high).contains(&0.5));
            }
            assert!((4..=most).contains(&missed), "{missed} of 400 miss it with {count} samples");
        }
    }

    #[test]
    fn pairs_tell_what_noise_that_hits_both_alike_would_hide() {
        let noise = [1.0, 5.0, 2.0, 9.0, 3.0, 7.0, 4.0];
        let faster: Vec<f64> = noise.iter().map(|it| it * 0.9).collect();
        let paired = ratio_of_pairs(&noise, &faster, Confidence::Verdict, 3).unwrap();
        assert!((paired.median - 0.9).abs() < 1e-9 && paired.high < 0.91);
        let apart = ratio(&noise, &faster, Confidence::Verdict, 3).unwrap();
        assert!(apart.low < 0.9 && apart.high > 1.0, "{apart:?}");
        assert_eq!(ratio_of_pairs(&[0.0], &[1.0], Confidence::Shown, 3), None);
    }

    /// By the binomial's tables: 2 / 2^9, 2 × (1 + 9) / 2^9, and all of it where it is even.
    #[test]
    fn chance_has_all_pairs_on_one_side_as_often_as_coins_do() {
        let (low, mut high) = ([1.0; 9], [2.0; 9]);
        assert!((chance_of_pairs(&low, &high) - 2.0 / 512.0).abs() < 1e-12);
        high[4] = 0.5;
        assert!((chance_of_pairs(&low, &high) - 20.0 / 512.0).abs() < 1e-12);
        assert_eq!(chance_of_pairs(&[1.0, 1.0], &[0.5, 2.0]), 1.0);
        assert_eq!(chance_of_pairs(&[1.0], &[1.0]), 1.0, "equal ones say nothing");
    }

    /// By the rank sum's tables: 2 of the 924 ways to deal twelve out, and nearly all where they lie
    /// alike.
    #[test]
    fn chance_parts_two_series_as_often_as_ways_to_deal_them_out_do() {
        let low: Vec<f64> = (0..6).map(f64::from).collect();
        let high: Vec<f64> = low.iter().map(|it| it + 6.0).collect();
        let chance = chance_of_series(&low, &high, 3);
        assert!(chance > 0.0005 && chance < 0.005, "{chance}");
        assert!(chance_of_series(&low, &low, 3) > 0.9);
    }

    #[test]
    fn series_that_were_taken_apart_differ_where_they_do() {
        let (slow, fast) = ([10.0, 10.1, 9.9, 10.0, 10.2], [20.0, 20.1, 19.9, 20.0, 20.2]);
        let apart = ratio(&slow, &fast, Confidence::Verdict, 3).unwrap();
        assert!(apart.low > 1.9 && apart.high < 2.1, "{apart:?}");
    }
}
