//! A report as a table for a person: a line a figure, a column a subject, how the others relate to
//! the first, and where that one stands.
//!
//! Called by `bin/cepa-bench.rs`, by [`Report`]'s `Display`. Spec: none.

use core::fmt::{self, Write as _};

use super::figure::is_more_better;
use super::report::{Key, Ratio, Report, Row};
use super::stats::Estimate;
use super::subject::DIRECT;
use super::verdict::Verdict;

/// A number to be read: three digits that matter.
fn short(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        size if size >= 1.0 => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}

/// A median, and its interval where there is one: a single sample says nothing of how sure it is.
fn range(Estimate { median, low, high }: Estimate, samples: usize) -> String {
    match samples {
        1 => short(median),
        _ => format!("{} ({} to {})", short(median), short(low), short(high)),
    }
}

impl Report {
    /// Whose rows there are, in their order, the generator last.
    fn subjects(&self) -> Vec<&str> {
        let mut subjects: Vec<&str> = Vec::new();
        for Row { key, .. } in &self.rows {
            if !subjects.contains(&key.subject.as_str()) {
                subjects.push(&key.subject);
            }
        }
        subjects.sort_by_key(|subject| *subject == DIRECT);
        subjects
    }

    /// The cell of a subject, beside whose figure stands how it relates to the first's.
    fn cell(&self, row: &Row, subject: &str) -> String {
        let key = Key { subject: subject.to_owned(), ..row.key.clone() };
        let find = |key: &Key| self.rows.iter().find(|row| row.key == *key);
        let Some(row) = find(&key) else { return "-".to_owned() };
        let ratio = self.ratios.iter().find(|ratio| ratio.key == key);
        let ratio = ratio.map(|ratio| {
            let mark = if subject == DIRECT { "" } else { mark(ratio.verdict.of_first()) };
            let first = find(&Key { subject: ratio.to.clone(), ..key.clone() });
            let pairs = first.map_or(row.samples.len(), |first| first.samples.len().min(row.samples.len()));
            format!(", × {}{mark}", range(ratio.estimate, pairs))
        });
        format!("{}{}", range(row.estimate, row.samples.len()), ratio.unwrap_or_default())
    }

    /// Where the first subject stands beside that one, and in what it is behind.
    fn standing(&self, subject: &str) -> Option<String> {
        let ratios: Vec<&Ratio> = self.ratios.iter().filter(|ratio| ratio.key.subject == subject).collect();
        let first = &ratios.first()?.to;
        let with = |wanted: &[Verdict]| -> Vec<String> {
            let found = ratios.iter().filter(|ratio| wanted.contains(&ratio.verdict.of_first()));
            found.map(|Ratio { key, .. }| format!("{} {}", key.workload, key.metric)).collect()
        };
        let (better, worse) = (with(&[Verdict::Better]).len(), with(&[Verdict::Worse]));
        let unsure = with(&[Verdict::CannotTell, Verdict::TooFewSamples]).len();
        let which = if worse.is_empty() { String::new() } else { format!(" ({})", worse.join(", ")) };
        let count = worse.len();
        Some(format!(
            "{first} beside {subject}: better in {better} figures, worse in {count}{which}, of {unsure} nobody can tell"
        ))
    }

    /// How far the generator's own ceiling is above the first subject, where it is nearest.
    fn ceiling(&self) -> Option<String> {
        let rates = self.ratios.iter().filter(|ratio| ratio.key.subject == DIRECT && is_more_better(&ratio.key.unit));
        let nearest = rates.min_by(|a, b| a.estimate.median.total_cmp(&b.estimate.median))?;
        let Ratio { key: Key { workload, .. }, to, estimate, .. } = nearest;
        let times = short(estimate.median);
        Some(format!("the generator alone does at least {times} times what {to} does (in {workload})"))
    }
}

/// What stands behind a ratio: how the first is beside the other.
fn mark(first: Verdict) -> &'static str {
    match first {
        Verdict::Better => " +",
        Verdict::Worse | Verdict::Failed => " -",
        Verdict::CannotTell | Verdict::TooFewSamples => " ?",
    }
}

impl fmt::Display for Report {
    /// Whatever a program is called or says of its end, the terminal sees letters of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text)?;
        f.write_str(&text.replace(|c: char| c.is_control() && c != '\n', " "))
    }
}

impl Report {
    fn write(&self, f: &mut String) -> fmt::Result {
        let subjects = self.subjects();
        let mut lines = vec![["workload", "metric", "unit"].map(str::to_owned).to_vec()];
        lines[0].extend(subjects.iter().map(|&subject| subject.to_owned()));
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for row in &self.rows {
            let what = (row.key.workload.as_str(), row.key.metric.as_str());
            if seen.contains(&what) {
                continue;
            }
            seen.push(what);
            let mut line = vec![row.key.workload.clone(), row.key.metric.clone(), row.key.unit.clone()];
            line.extend(subjects.iter().map(|subject| self.cell(row, subject)));
            lines.push(line);
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
        for line in &lines {
            let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        for failure in &self.failures {
            writeln!(f, "{} of {}: {}", failure.workload, failure.subject, failure.error)?;
        }
        if let Some(Ratio { to, .. }) = self.ratios.first() {
            writeln!(f, "× so many times {to}'s; + {to} is better, - it is worse, ? nobody can tell")?;
        }
        let others = subjects.iter().filter(|&&subject| subject != DIRECT);
        for line in others.filter_map(|subject| self.standing(subject)).chain(self.ceiling()) {
            writeln!(f, "{line}")?;
        }
        let noise = self.noise.share() * 100.0;
        write!(f, "by itself this machine varied by {noise:.1} %")?;
        if !self.is_whole {
            write!(f, "; interrupted: this is not all")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Failure;
    use super::super::report::tests::{report, row};
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_figure_and_a_column_for_each_subject() {
        let mut all = vec![row("bulk", "MiB/s", &[30.0, 31.0, 32.0]), row("rate", "1/s", &[1000.0])];
        let mut other = row("bulk", "MiB/s", &[60.0, 62.0, 64.0]);
        other.key.subject = "tor".to_owned();
        let (key, estimate) = (other.key.clone(), Estimate { median: 2.0, low: 1.9, high: 2.1 });
        let straight = Key { subject: DIRECT.to_owned(), ..key.clone() };
        all.insert(0, Row { key: straight.clone(), ..other.clone() });
        all.push(other);
        let mut report = report(all);
        for key in [key, straight] {
            report.ratios.push(Ratio { key, to: "cepa".to_owned(), estimate, verdict: Verdict::Better });
        }
        let text = report.to_string();
        let words = |line: usize| text.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(0), "workload metric unit cepa tor direct");
        assert_eq!(
            words(1),
            "bulk rate MiB/s 31.0 (30.0 to 32.0) 62.0 (60.0 to 64.0), × 2.00 (1.90 to 2.10) - 62.0 (60.0 to 64.0), × \
             2.00 (1.90 to 2.10)"
        );
        assert_eq!(words(2), "rate rate 1/s 1000 - -");
        assert_eq!(words(3), "× so many times cepa's; + cepa is better, - it is worse, ? nobody can tell");
        assert_eq!(words(4), "cepa beside tor: better in 0 figures, worse in 1 (bulk rate), of 0 nobody can tell");
        assert_eq!(words(5), "the generator alone does at least 2.00 times what cepa does (in bulk)");
        assert!(text.ends_with("varied by 1.0 %"), "{text}");
        report.is_whole = false;
        assert!(report.to_string().ends_with("this is not all"));
    }

    #[test]
    fn a_single_sample_has_no_interval_and_neither_has_its_ratio() {
        let (one, two) = (row("bulk", "MiB/s", &[30.0]), row("bulk", "MiB/s", &[60.0, 62.0]));
        let two = Row { key: Key { subject: "tor".to_owned(), ..two.key }, ..two };
        let estimate = Estimate { median: 2.0, low: 2.0, high: 2.0 };
        let ratio = Ratio { key: two.key.clone(), to: "cepa".to_owned(), estimate, verdict: Verdict::TooFewSamples };
        let report = Report { ratios: vec![ratio], ..report(vec![one, two]) };
        let text = report.to_string();
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(words.join(" "), "bulk rate MiB/s 30.0 61.0 (60.0 to 62.0), × 2.00 ?");
    }

    #[test]
    fn whatever_a_subject_is_called_tells_the_terminal_letters() {
        let mut loud = row("bulk", "MiB/s", &[30.0]);
        loud.key.subject = "\u{1b}[2J\u{9b}31m".to_owned();
        let mut report = report(vec![loud]);
        let [subject, workload, error] = ["tor", "bulk", "\r\u{1b}]0;gone\u{7}"].map(str::to_owned);
        report.failures.push(Failure { subject, workload, error });
        let text = report.to_string();
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
}
