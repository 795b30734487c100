//! Two reports against each other, row by row: better, worse, or nobody can tell.
//!
//! What is real is `verdict.rs`'s to say; here, also the noise of both runs counts, how far apart
//! the two machines were, and how many rows are judged at once: of two runs of the same thing, any
//! row is called different once in twenty at most. Reports of other machines, networks or builds
//! are not compared, and what only one report has is named. Measures nothing. Called by
//! `bin/cepa-bench.rs`. Spec: none.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use super::json::Value;
use super::report::{Failure, Key, Report, Row};
use super::stats::{Confidence, Estimate, ratio};
use super::subject::DIRECT;
use super::verdict::{self, Verdict};

/// How often chance alone may have any row of a comparison called different.
const MOST_CHANCE: f64 = 0.05;
/// What of machines and builds must be the same, besides all of the network: other figures are to be
/// expected otherwise, and say nothing of the subject.
const SAME: [&str; 4] = ["machine.processor", "machine.cores", "build.profile", "build.processor"];
/// What the relays took, as `workload/bulk.rs` calls it: theirs, whoever the subject is.
const RELAYS_CPU: &str = "relays' cpu";

/// Why nothing of two reports can be compared: this differs, which must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where it stands in a file of results.
    field: String,
    /// What the first has there.
    first: String,
    /// What the second has.
    second: String,
}

/// One row of both.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Whose, of what.
    pub key: Key,
    /// How much the second is of the first.
    pub ratio: Option<Estimate>,
    /// Whether both were measured once, so that nobody knows how sure the ratio is.
    is_single: bool,
    /// What is to be said of it.
    pub verdict: Verdict,
}

/// What is not in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// A row, or a workload of a subject.
    what: String,
    /// Why it is missing.
    pub why: Why,
}

/// Why something is not in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A row that the second was not asked for.
    First,
    /// A row that the first was not asked for.
    Second,
    /// A row that the second may have had no time for.
    FirstOfInterrupted,
    /// A row that the first may have had no time for.
    SecondOfInterrupted,
    /// A row that could not be measured in the first.
    SecondOfFailed,
    /// A workload that could be measured in neither.
    FailedInBoth,
    /// A workload that could not be measured in the first, and is not in the second.
    FailedInFirst,
    /// A workload that could not be measured in the second, and is not in the first.
    FailedInSecond,
}

/// Two reports, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The rows that both have or that failed since, in the order of the first.
    pub lines: Vec<Line>,
    /// What is not in both.
    pub lacks: Vec<Lack>,
    /// By what share both may differ for no reason of their own.
    pub noise: f64,
}

/// What is to be said of a comparison as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is worse, as far as anybody can tell.
    NotWorse,
    /// A row is worse, or could not be measured any more.
    Worse,
    /// No row of a subject is in both.
    Nothing,
}

/// Holds two reports against each other.
pub fn compare(first: &Report, second: &Report) -> Result<Comparison, Mismatch> {
    match_up(first, second)?;
    let noise = first.noise.share().max(second.noise.share()).max(first.noise.apart(&second.noise));
    let rows: BTreeMap<&Key, &Row> = second.rows.iter().map(|row| (&row.key, row)).collect();
    let failed: BTreeSet<_> = second.failures.iter().map(Failure::what).collect();
    let judged = first.rows.iter().filter(|row| rows.contains_key(&row.key)).count();
    let most_chance = MOST_CHANCE / judged as f64;
    let line = |row: &Row| {
        let key = row.key.clone();
        let Some(Row { samples, .. }) = rows.get(&key) else {
            let is_failed = failed.contains(&key.what());
            return is_failed.then_some(Line { key, ratio: None, is_single: false, verdict: Verdict::Failed });
        };
        let ratio = ratio(&row.samples, samples, Confidence::Verdict, second.seed);
        let verdict = verdict::of_series(&row.samples, samples, &key.unit, noise, most_chance, second.seed);
        Some(Line { key, ratio, is_single: row.samples.len().max(samples.len()) == 1, verdict })
    };
    Ok(Comparison { lines: first.rows.iter().filter_map(line).collect(), lacks: lacks(first, second), noise })
}

/// Looks whether they are of runs of one kind.
fn match_up(first: &Report, second: &Report) -> Result<(), Mismatch> {
    let (facts, other) = (facts(first), facts(second));
    let names: BTreeSet<&String> = facts.keys().chain(other.keys()).collect();
    let words = |value: Option<&Value>| value.map_or_else(|| "missing".to_owned(), Value::to_string);
    match names.into_iter().find(|name| facts.get(*name) != other.get(*name)) {
        Some(name) => {
            let (first, second) = (words(facts.get(name)), words(other.get(name)));
            Err(Mismatch { field: name.clone(), first, second })
        }
        None => Ok(()),
    }
}

/// What must be the same of two runs, by where it stands in a file of results.
fn facts(report: &Report) -> BTreeMap<String, Value> {
    let Report { network, machine, build, is_quick, .. } = report;
    let mut facts = BTreeMap::from([("quick".to_owned(), (*is_quick).into())]);
    for (group, entries) in [("network", network), ("machine", machine), ("build", build)] {
        let named = entries.iter().map(|(name, value)| (format!("{group}.{name}"), value.clone()));
        facts.extend(named.filter(|(name, _)| group == "network" || SAME.contains(&name.as_str())));
    }
    facts
}

/// What is not in both, in the order of the first, and then of the second.
fn lacks(first: &Report, second: &Report) -> Vec<Lack> {
    let [in_first, in_second] = [first, second].map(Has::of);
    let mut lacks = Vec::new();
    let mut add = |what: String, why| lacks.push(Lack { what, why });
    for Row { key, .. } in &first.rows {
        // What failed since has a line.
        if !in_second.rows.contains(key) && !in_second.failed.contains(&key.what()) {
            add(key.words(), if second.is_whole { Why::First } else { Why::FirstOfInterrupted });
        }
    }
    for Row { key, .. } in second.rows.iter().filter(|row| !in_first.rows.contains(&row.key)) {
        let why = match (in_first.failed.contains(&key.what()), first.is_whole) {
            (true, _) => Why::SecondOfFailed,
            (false, true) => Why::Second,
            (false, false) => Why::SecondOfInterrupted,
        };
        add(key.words(), why);
    }
    for failure in &first.failures {
        let what = failure.what();
        if in_second.failed.contains(&what) {
            add(failure.words(), Why::FailedInBoth);
        } else if !in_second.measured.contains(&what) {
            add(failure.words(), Why::FailedInFirst);
        }
    }
    for failure in &second.failures {
        let what = failure.what();
        if !in_first.failed.contains(&what) && !in_first.measured.contains(&what) {
            add(failure.words(), Why::FailedInSecond);
        }
    }
    lacks
}

/// What a report has, to be looked up.
struct Has<'a> {
    rows: BTreeSet<&'a Key>,
    /// Subjects and workloads that have rows.
    measured: BTreeSet<(String, String)>,
    /// Those that could not be measured.
    failed: BTreeSet<(String, String)>,
}

impl Has<'_> {
    fn of(report: &Report) -> Has<'_> {
        Has {
            rows: report.rows.iter().map(|row| &row.key).collect(),
            measured: report.rows.iter().map(|row| row.key.what()).collect(),
            failed: report.failures.iter().map(Failure::what).collect(),
        }
    }
}

impl Key {
    /// As a sentence has it.
    fn words(&self) -> String {
        format!("{} {} of {}", self.workload, self.metric, self.subject)
    }
}

impl Failure {
    /// As a sentence has it.
    fn words(&self) -> String {
        format!("{} of {}", self.workload, self.subject)
    }
}

impl Line {
    /// Whether it is the subject's own: neither the generator's nor the relays'.
    fn counts(&self) -> bool {
        self.key.subject != DIRECT && self.key.metric != RELAYS_CPU
    }
}

impl Why {
    /// As a comparison says it.
    fn words(self) -> &'static str {
        match self {
            Why::First => "only A has it",
            Why::Second => "only B has it",
            Why::FirstOfInterrupted => "only A has it, and B was interrupted",
            Why::SecondOfInterrupted => "only B has it, and A was interrupted",
            Why::SecondOfFailed => "only B has it, and in A it failed",
            Why::FailedInBoth => "it failed in both",
            Why::FailedInFirst => "it failed in A, and B has nothing of it",
            Why::FailedInSecond => "it failed in B, and A has nothing of it",
        }
    }

    /// Whether it is a row that is missing, and not one that failed.
    fn is_of_row(self) -> bool {
        !matches!(self, Why::FailedInBoth | Why::FailedInFirst | Why::FailedInSecond)
    }
}

impl Comparison {
    /// What is to be said of all rows that are of a subject.
    pub fn outcome(&self) -> Outcome {
        let mut verdicts = self.lines.iter().filter(|line| line.counts()).map(|line| line.verdict).peekable();
        if verdicts.peek().is_none() {
            return Outcome::Nothing;
        }
        let is_worse = verdicts.any(|verdict| matches!(verdict, Verdict::Worse | Verdict::Failed));
        if is_worse { Outcome::Worse } else { Outcome::NotWorse }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { field, first, second } = self;
        write!(f, "nothing can be compared: {field} is {first} in A and {second} in B")
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            let Line { key: Key { subject, workload, metric, unit }, ratio, is_single, verdict } = line;
            write!(f, "{workload:15} {metric:14} {unit:6} {subject:10} ")?;
            match ratio {
                Some(Estimate { median, .. }) if *is_single => write!(f, "{:24}", format!("× {median:.3}"))?,
                Some(Estimate { median, low, high }) => write!(f, "× {median:.3} ({low:.3} to {high:.3})")?,
                None => write!(f, "{:24}", "")?,
            }
            writeln!(f, "  {}{}", verdict.words(), if line.counts() { "" } else { " (does not count)" })?;
        }
        for Lack { what, why } in &self.lacks {
            writeln!(f, "{what}: {}", why.words())?;
        }
        let count = |verdict| self.lines.iter().filter(|line| line.counts() && line.verdict == verdict).count();
        let unsure = count(Verdict::CannotTell) + count(Verdict::TooFewSamples);
        let [better, worse] = [count(Verdict::Better), count(Verdict::Worse) + count(Verdict::Failed)];
        let unpaired = self.lacks.iter().filter(|lack| lack.why.is_of_row()).count();
        let noise = self.noise * 100.0;
        writeln!(
            f,
            "{better} better, {worse} worse, {unsure} that nobody can tell, {unpaired} in one of them only; \
             noise of the machine {noise:.1} %"
        )?;
        match self.outcome() {
            Outcome::Nothing => writeln!(f, "nothing can be compared: no row of a subject is in both"),
            Outcome::NotWorse | Outcome::Worse => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{report, row};
    use super::*;

    const SIX: [f64; 6] = [100.0, 101.0, 99.0, 100.5, 99.5, 100.2];

    fn scaled(factor: f64) -> Vec<f64> {
        SIX.iter().map(|it| it * factor).collect()
    }

    fn bulk(factor: f64) -> Report {
        report(vec![row("bulk", "MiB/s", &scaled(factor))])
    }

    fn failure(workload: &str) -> Failure {
        let [subject, workload, error] = ["cepa", workload, "it died"].map(str::to_owned);
        Failure { subject, workload, error }
    }

    fn of(a: &Report, b: &Report) -> Comparison {
        compare(a, b).unwrap()
    }

    #[test]
    fn no_difference_within_the_noise_of_the_machine_is_called_real() {
        let [a, mut b] = [1.0, 0.8].map(bulk);
        assert_eq!(of(&a, &b).outcome(), Outcome::Worse);
        b.noise.looks = vec![5.0, 6.5, 6.5];
        assert_eq!(of(&a, &b).lines[0].verdict, Verdict::CannotTell);
        b.noise.looks = vec![7.0; 3];
        assert_eq!(of(&a, &b).lines[0].verdict, Verdict::CannotTell, "another machine");
    }

    #[test]
    fn runs_of_another_kind_cannot_be_compared() {
        let a = bulk(1.0);
        let refused = |change: fn(&mut Report)| {
            let mut b = bulk(0.5);
            change(&mut b);
            compare(&a, &b).map_err(|mismatch| mismatch.to_string())
        };
        let said = |text: &str| Err(format!("nothing can be compared: {text}"));
        let name = |b: &mut Report| b.network = vec![("name".to_owned(), "ctor".into())];
        assert_eq!(refused(name), said("network.name is \"lab\" in A and \"ctor\" in B"));
        let listed = |b: &mut Report| b.network.push(("listed".to_owned(), 9000.0.into()));
        assert_eq!(refused(listed), said("network.listed is missing in A and 9000 in B"));
        assert_eq!(refused(|b| b.is_quick = false), said("quick is true in A and false in B"));
        assert_eq!(refused(|b| b.machine[0].1 = 64.0.into()), said("machine.cores is 2 in A and 64 in B"));
        let processor = |b: &mut Report| b.machine.push(("processor".to_owned(), "6502".into()));
        assert_eq!(refused(processor), said("machine.processor is missing in A and \"6502\" in B"));
        let profile = |b: &mut Report| b.build.push(("profile".to_owned(), "debug".into()));
        assert_eq!(refused(profile), said("build.profile is missing in A and \"debug\" in B"));
        // Another load and another version are what a comparison is for.
        let later = |b: &mut Report| {
            b.machine.push(("load_before".to_owned(), "3.0".into()));
            b.build[0].1 = "1".into();
        };
        assert!(refused(later).is_ok());
    }

    #[test]
    fn what_failed_since_is_worse_and_what_was_not_asked_for_is_nothing() {
        let a = bulk(1.0);
        let mut b = report(vec![row("other", "MiB/s", &SIX)]);
        let comparison = of(&a, &b);
        assert_eq!((comparison.lines.len(), comparison.outcome()), (0, Outcome::Nothing));
        let said = comparison.to_string();
        assert!(said.contains("bulk rate of cepa: only A has it\nother rate of cepa: only B has it\n"), "{said}");
        assert!(said.contains("2 in one of them only"), "{said}");
        assert!(said.ends_with("nothing can be compared: no row of a subject is in both\n"), "{said}");
        b.failures.push(failure("bulk"));
        let comparison = of(&a, &b);
        let said = comparison.to_string();
        assert!(comparison.outcome() == Outcome::Worse && said.contains("worse: it failed"), "{said}");
        assert!(said.contains("1 worse, 0 that nobody can tell, 1 in one of them only"), "{said}");
    }

    #[test]
    fn what_is_missing_is_named_and_so_is_why() {
        let rows = |names: &[&str]| report(names.iter().map(|name| row(name, "MiB/s", &SIX)).collect());
        let (mut a, mut b) = (rows(&["both", "late"]), rows(&["both", "mended"]));
        a.failures.extend(["mended", "always", "before"].map(failure));
        b.failures.extend(["always", "since"].map(failure));
        b.is_whole = false;
        let said = of(&a, &b).to_string();
        let lines = [
            "late rate of cepa: only A has it, and B was interrupted",
            "mended rate of cepa: only B has it, and in A it failed",
            "always of cepa: it failed in both",
            "before of cepa: it failed in A, and B has nothing of it",
            "since of cepa: it failed in B, and A has nothing of it",
        ];
        assert!(said.contains(&lines.join("\n")), "{said}");
        assert!(said.contains("1 that nobody can tell, 2 in one of them only"), "{said}");
    }

    #[test]
    fn a_row_without_a_ratio_is_in_both_nonetheless() {
        let [a, b] = [[0.0; 6], SIX].map(|samples| report(vec![row("bulk", "ms", &samples)]));
        let comparison = of(&a, &b);
        assert_eq!((comparison.lines[0].ratio, comparison.lacks.len()), (None, 0));
        assert!(comparison.to_string().contains("1 that nobody can tell, 0 in one of them only"));
    }

    #[test]
    fn what_is_the_generator_s_or_the_relays_is_shown_and_decides_nothing() {
        let both = |factor: f64| {
            let mut report = bulk(1.0);
            for (subject, metric) in [(DIRECT, "rate"), ("cepa", RELAYS_CPU)] {
                let mut row = row("bulk", "MiB/s", &scaled(factor));
                (row.key.subject, row.key.metric) = (subject.to_owned(), metric.to_owned());
                report.rows.push(row);
            }
            report
        };
        let (a, mut b) = (both(1.0), both(0.3));
        let comparison = of(&a, &b);
        let said = comparison.to_string();
        assert_eq!(said.matches("  worse (does not count)\n").count(), 2, "{said}");
        assert!(said.contains("0 better, 0 worse, 1 that"), "{said}");
        assert_eq!(comparison.outcome(), Outcome::NotWorse);
        b.rows.remove(0);
        assert_eq!(of(&a, &b).outcome(), Outcome::Nothing, "nobody is compared by what others took");
    }

    /// Six of each lie so far apart 2 times in 924: one row may be called different for that, one of
    /// many may not.
    #[test]
    fn the_more_rows_there_are_the_more_it_takes_to_call_one_different() {
        let of_rows = |count: usize, samples: usize| {
            let many = |factor: f64| {
                let of = |factor: f64| -> Vec<f64> { (0..samples).map(|at| factor * (100.0 + at as f64)).collect() };
                let name = |number: usize| format!("bulk-{number}");
                let rows =
                    (0..count).map(|number| row(&name(number), "ms", &of(if number == 0 { factor } else { 1.0 })));
                report(rows.collect())
            };
            of(&many(1.0), &many(2.0)).lines[0].verdict
        };
        assert_eq!(of_rows(20, 6), Verdict::Worse);
        assert_eq!(of_rows(30, 6), Verdict::TooFewSamples);
        assert_eq!(of_rows(30, 7), Verdict::Worse);
    }

    #[test]
    fn a_ratio_of_single_samples_has_no_interval() {
        let [a, b] = [100.0, 150.0].map(|sample| report(vec![row("bulk", "ms", &[sample])]));
        let said = of(&a, &b).to_string();
        assert!(said.contains("× 1.500") && !said.contains(" to "), "{said}");
    }
}
