//! Two reports against each other, row by row: better, worse, or nobody can tell.
//!
//! What is real is `verdict.rs`'s to say; here, also the noise of both runs counts, and how far
//! apart the two machines were. Measures nothing. Called by `bin/cepa-bench.rs`. Spec: none.

use core::fmt;

use super::report::{Key, Report};
use super::stats::{Confidence, Estimate, ratio};
use super::verdict::{self, Verdict};

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
    let noise = first.noise.share().max(second.noise.share()).max(first.noise.apart(&second.noise));
    let is_mismatched = first.network != second.network || first.is_quick != second.is_quick;
    let mut lines = Vec::new();
    for row in &first.rows {
        let is_same = |workload: &str, subject: &str| (workload, subject) == (&row.key.workload, &row.key.subject);
        let other = second.rows.iter().find(|other| other.key == row.key);
        let is_failed = second.failures.iter().any(|failure| is_same(&failure.workload, &failure.subject));
        match other {
            Some(other) => {
                let ratio = ratio(&row.samples, &other.samples, Confidence::Verdict, second.seed);
                let verdict = match is_mismatched {
                    true => Verdict::CannotTell,
                    false => verdict::of_series(&row.samples, &other.samples, &row.key.unit, noise, second.seed),
                };
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

    const SIX: [f64; 6] = [100.0, 101.0, 99.0, 100.5, 99.5, 100.2];

    fn scaled(factor: f64) -> Vec<f64> {
        SIX.iter().map(|it| it * factor).collect()
    }

    #[test]
    fn no_difference_within_the_noise_of_the_machine_is_called_real() {
        let [a, mut b] = [SIX.to_vec(), scaled(0.8)].map(|samples| report(vec![row("bulk", "MiB/s", &samples)]));
        assert!(compare(&a, &b).is_worse());
        b.noise.looks[1] = 6.5;
        assert_eq!(compare(&a, &b).lines[0].verdict, Verdict::CannotTell);
        b.noise.looks = vec![7.0; 3];
        assert_eq!(compare(&a, &b).lines[0].verdict, Verdict::CannotTell, "another machine");
    }

    #[test]
    fn other_networks_cannot_be_compared() {
        let [a, mut b] = [SIX.to_vec(), scaled(0.5)].map(|samples| report(vec![row("bulk", "MiB/s", &samples)]));
        b.network = vec![("name".to_owned(), "ctor".into())];
        let comparison = compare(&a, &b);
        assert!(comparison.is_mismatched && !comparison.is_worse());
    }

    #[test]
    fn what_failed_since_is_worse_and_what_was_not_asked_for_is_nothing() {
        let a = report(vec![row("bulk", "MiB/s", &SIX)]);
        let mut b = report(vec![row("other", "MiB/s", &SIX)]);
        let comparison = compare(&a, &b);
        assert!(comparison.lines.is_empty() && !comparison.is_worse());
        assert_eq!(comparison.unpaired, 2);
        let [subject, workload, error] = ["cepa", "bulk", "it died"].map(str::to_owned);
        b.failures.push(Failure { subject, workload, error });
        let comparison = compare(&a, &b);
        assert!(comparison.is_worse() && comparison.to_string().contains("worse: it failed"));
    }
}
