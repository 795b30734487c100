//! Two reports against each other, row by row: better, worse, or nobody can tell.
//!
//! A difference is called real only if the interval of the ratio excludes 1, it is larger than the
//! noise of both runs, and both have samples enough. Measures nothing. Called by
//! `bin/cepa-bench.rs`. Spec: none.

use core::fmt;

use super::figure::is_more_better;
use super::report::{Key, Report, Row};
use super::stats::{Confidence, Estimate, ratio};

/// The fewest samples of each side: of fewer, chance alone parts the two too often; ours.
const LEAST_SAMPLES: usize = 5;
/// The least difference that is worth a word, as a share; ours.
const LEAST_DIFFERENCE: f64 = 0.03;

/// What is to be said of a row.
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
    fn words(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::CannotTell => "cannot tell",
            Verdict::TooFewSamples => "cannot tell: too few samples",
            Verdict::Failed => "worse: it failed",
        }
    }
}

/// One row of both.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Whose, of what.
    pub key: Key,
    /// How much the second is of the first.
    pub ratio: Option<Estimate>,
    /// What is to be said of it.
    pub verdict: Verdict,
}

/// Two reports, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The rows that both have, in the order of the first.
    pub lines: Vec<Line>,
    /// How many rows only one of them has.
    pub unpaired: usize,
    /// By what share both may differ for no reason of their own.
    pub noise: f64,
    /// Whether they are of different networks or in different haste, so that nothing can be told.
    pub is_mismatched: bool,
}

/// Holds two reports against each other.
pub fn compare(first: &Report, second: &Report) -> Comparison {
    let noise = first.noise.share().max(second.noise.share()).max(first.noise.apart(second.noise));
    let is_mismatched = first.network != second.network || first.is_quick != second.is_quick;
    let mut lines = Vec::new();
    for row in &first.rows {
        let is_same = |workload: &str, subject: &str| (workload, subject) == (&row.key.workload, &row.key.subject);
        let other = second.rows.iter().find(|other| other.key == row.key);
        let is_failed = second.failures.iter().any(|failure| is_same(&failure.workload, &failure.subject));
        match other {
            Some(other) => {
                let (ratio, verdict) = judge(row, other, noise.max(LEAST_DIFFERENCE), second.seed);
                let verdict = if is_mismatched { Verdict::CannotTell } else { verdict };
                lines.push(Line { key: row.key.clone(), ratio, verdict });
            }
            None if is_failed => lines.push(Line { key: row.key.clone(), ratio: None, verdict: Verdict::Failed }),
            None => {}
        }
    }
    let shared = lines.iter().filter(|line| line.ratio.is_some()).count();
    let unpaired = first.rows.len() - lines.len() + second.rows.len() - shared.min(second.rows.len());
    Comparison { lines, unpaired, noise, is_mismatched }
}

fn judge(first: &Row, second: &Row, least: f64, seed: u64) -> (Option<Estimate>, Verdict) {
    let estimate = ratio(&first.samples, &second.samples, Confidence::Verdict, seed);
    if first.samples.len().min(second.samples.len()) < LEAST_SAMPLES {
        return (estimate, Verdict::TooFewSamples);
    }
    let Some(Estimate { median, low, high }) = estimate else { return (None, Verdict::CannotTell) };
    let is_more = low > 1.0 && median > 1.0 + least;
    let is_less = high < 1.0 && median < 1.0 / (1.0 + least);
    let verdict = match (is_more, is_less) {
        (false, false) => Verdict::CannotTell,
        (is_more, _) if is_more == is_more_better(&first.key.unit) => Verdict::Better,
        _ => Verdict::Worse,
    };
    (estimate, verdict)
}

impl Comparison {
    /// Whether anything became worse.
    pub fn is_worse(&self) -> bool {
        self.lines.iter().any(|line| matches!(line.verdict, Verdict::Worse | Verdict::Failed))
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { key: Key { subject, workload, metric, unit }, ratio, verdict } in &self.lines {
            write!(f, "{workload:15} {metric:14} {unit:6} {subject:10} ")?;
            match ratio {
                Some(Estimate { median, low, high }) => write!(f, "× {median:.3} ({low:.3} to {high:.3})")?,
                None => write!(f, "{:24}", "")?,
            }
            writeln!(f, "  {}", verdict.words())?;
        }
        let count = |verdict| self.lines.iter().filter(|line| line.verdict == verdict).count();
        let unsure = count(Verdict::CannotTell) + count(Verdict::TooFewSamples);
        let [better, worse] = [count(Verdict::Better), count(Verdict::Worse) + count(Verdict::Failed)];
        if self.is_mismatched {
            writeln!(f, "they are of different networks, or only one was quick: nothing can be told")?;
        }
        let Comparison { unpaired, noise, .. } = self;
        writeln!(
            f,
            "{better} better, {worse} worse, {unsure} that nobody can tell, {unpaired} in one of them only; \
             noise of the machine {:.1} %",
            noise * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Failure;
    use super::super::report::tests::{report, row};
    use super::*;

    const FIVE: [f64; 5] = [100.0, 101.0, 99.0, 100.5, 99.5];

    fn scaled(factor: f64) -> Vec<f64> {
        FIVE.iter().map(|it| it * factor).collect()
    }

    fn verdict(unit: &str, second: &[f64]) -> Verdict {
        let [a, b] = [&FIVE[..], second].map(|samples| report(vec![row("bulk", unit, samples)]));
        compare(&a, &b).lines[0].verdict
    }

    #[test]
    fn more_of_a_rate_is_better_and_more_of_a_time_is_worse() {
        assert_eq!(verdict("MiB/s", &scaled(1.5)), Verdict::Better);
        assert_eq!(verdict("MiB/s", &scaled(0.5)), Verdict::Worse);
        assert_eq!(verdict("ms", &scaled(1.5)), Verdict::Worse);
        assert_eq!(verdict("ms", &scaled(0.5)), Verdict::Better);
        assert_eq!(verdict("MiB/s", &FIVE), Verdict::CannotTell);
        assert_eq!(verdict("MiB/s", &scaled(0.98)), Verdict::CannotTell, "too little to matter");
    }

    #[test]
    fn what_varies_more_than_it_differs_is_not_called_real() {
        assert_eq!(verdict("MiB/s", &[60.0, 190.0, 95.0, 140.0, 180.0]), Verdict::CannotTell);
        assert_eq!(verdict("MiB/s", &scaled(2.0)[..4]), Verdict::TooFewSamples);
    }

    #[test]
    fn no_difference_within_the_noise_of_the_machine_is_called_real() {
        let [a, mut b] = [FIVE.to_vec(), scaled(0.8)].map(|samples| report(vec![row("bulk", "MiB/s", &samples)]));
        assert!(compare(&a, &b).is_worse());
        b.noise.before = 0.3;
        assert_eq!(compare(&a, &b).lines[0].verdict, Verdict::CannotTell);
        b.noise.before = 0.0;
        b.noise.round_before = 7.0;
        b.noise.round_after = 7.0;
        assert_eq!(compare(&a, &b).lines[0].verdict, Verdict::CannotTell, "another machine");
    }

    #[test]
    fn other_networks_cannot_be_compared() {
        let [a, mut b] = [FIVE.to_vec(), scaled(0.5)].map(|samples| report(vec![row("bulk", "MiB/s", &samples)]));
        b.network = vec![("name".to_owned(), "ctor".into())];
        let comparison = compare(&a, &b);
        assert!(comparison.is_mismatched && !comparison.is_worse());
    }

    #[test]
    fn what_failed_since_is_worse_and_what_was_not_asked_for_is_nothing() {
        let a = report(vec![row("bulk", "MiB/s", &FIVE)]);
        let mut b = report(vec![row("other", "MiB/s", &FIVE)]);
        let comparison = compare(&a, &b);
        assert!(comparison.lines.is_empty() && !comparison.is_worse());
        assert_eq!(comparison.unpaired, 2);
        let [subject, workload, error] = ["cepa", "bulk", "it died"].map(str::to_owned);
        b.failures.push(Failure { subject, workload, error });
        let comparison = compare(&a, &b);
        assert!(comparison.is_worse() && comparison.to_string().contains("worse: it failed"));
    }
}
