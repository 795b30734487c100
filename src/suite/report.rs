//! A report: what was measured, on what, as one JSON object, and read back from it.
//!
//! Its keys are in `docs/performance.md`. A file of another version is refused by name, never read
//! as if it were this one. Called by `engine.rs`, `table.rs` and `compare.rs`. Spec: none.

use core::fmt;
use std::io;
use std::path::Path;

use super::json::{self, Value};
use super::noise::Noise;
use super::stats::Estimate;
use super::verdict::Verdict;

/// What such a file calls itself.
const FORMAT: &str = "cepa-bench";
/// The version of its keys. Whoever changes what one means counts on.
const VERSION: f64 = 1.0;

/// The most rows of a file, and samples of a row, that are read; ours, ten times a long run's.
const MAX_ROWS: usize = 10_000;
const MAX_SAMPLES: usize = 10_000;

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The machine, and how quiet it was.
    pub machine: Vec<(String, Value)>,
    /// How much it varied by itself.
    pub noise: Noise,
    /// What program measured.
    pub build: Vec<(String, Value)>,
    /// On which network.
    pub network: Vec<(String, Value)>,
    /// What the network and the intervals follow from.
    pub seed: u64,
    /// Whether it was in a hurry.
    pub is_quick: bool,
    /// Whether all that was asked for was tried.
    pub is_whole: bool,
    /// The figures.
    pub rows: Vec<Row>,
    /// What could not be measured.
    pub failures: Vec<Failure>,
    /// How subjects relate, by pairs of samples that were taken side by side.
    pub ratios: Vec<Ratio>,
}

/// Whose figure, of what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// By whom.
    pub subject: String,
    /// Of which workload.
    pub workload: String,
    /// Which of its figures.
    pub metric: String,
    /// In what.
    pub unit: String,
}

/// A figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Whose, of what.
    pub key: Key,
    /// The middle, and how sure that is.
    pub estimate: Estimate,
    /// One each time that it was measured.
    pub samples: Vec<f64>,
}

/// What could not be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whose.
    pub subject: String,
    /// What.
    pub workload: String,
    /// Why.
    pub error: String,
}

/// How a figure relates to the first subject's.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// Whose, of what.
    pub key: Key,
    /// To whose.
    pub to: String,
    /// How many times as much.
    pub estimate: Estimate,
    /// Which of the two is better, if anybody can tell.
    pub verdict: Verdict,
}

/// Why there is no report in a file.
#[derive(Debug)]
pub enum Unreadable {
    /// It cannot be read.
    File(io::Error),
    /// It is no JSON.
    Json(json::Error),
    /// It is something else.
    Foreign,
    /// It is of another version of this program.
    Version(String),
    /// This is missing, or is not what it should be.
    Field(&'static str),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::File(error) => write!(f, "{error}"),
            Unreadable::Json(error) => write!(f, "{error}"),
            Unreadable::Foreign => write!(f, "no results of {FORMAT}"),
            Unreadable::Version(theirs) => {
                write!(f, "results of version {theirs}, and this program reads version {VERSION}: measure anew")
            }
            Unreadable::Field(name) => write!(f, "\"{name}\" is missing, or is not what it should be"),
        }
    }
}

impl Report {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Report, Unreadable> {
        let length = std::fs::metadata(path).map_err(Unreadable::File)?.len();
        if usize::try_from(length).map_or(true, |length| length > json::MAX_LEN) {
            return Err(Unreadable::Json(json::Error::TooLong));
        }
        Report::parse(&std::fs::read_to_string(path).map_err(Unreadable::File)?)
    }

    /// Reads a text.
    pub fn parse(text: &str) -> Result<Report, Unreadable> {
        let value = Value::parse(text).map_err(Unreadable::Json)?;
        if value.field("format").and_then(Value::text) != Some(FORMAT) {
            return Err(Unreadable::Foreign);
        }
        match value.field("version") {
            Some(Value::Number(VERSION)) => {}
            other => return Err(Unreadable::Version(other.map_or_else(|| "unknown".to_owned(), Value::to_string))),
        }
        let object = |name| match value.field(name) {
            Some(Value::Object(entries)) => Ok(entries.clone()),
            _ => Err(Unreadable::Field(name)),
        };
        let list = |name| {
            let items = value.field(name).and_then(Value::items).filter(|items| items.len() <= MAX_ROWS);
            items.ok_or(Unreadable::Field(name))
        };
        let flag = |name| match value.field(name) {
            Some(Value::Bool(flag)) => Ok(*flag),
            _ => Err(Unreadable::Field(name)),
        };
        let (failed, measured): (Vec<_>, Vec<_>) = list("rows")?.iter().partition(|row| row.field("error").is_some());
        let seed = value.field("seed").and_then(Value::text).and_then(|seed| seed.parse().ok());
        Ok(Report {
            machine: object("machine")?,
            noise: value.field("noise").and_then(Noise::of_json).ok_or(Unreadable::Field("noise"))?,
            build: object("build")?,
            network: object("network")?,
            seed: seed.ok_or(Unreadable::Field("seed"))?,
            is_quick: flag("quick")?,
            is_whole: flag("whole")?,
            rows: measured.into_iter().map(Row::of_json).collect::<Option<_>>().ok_or(Unreadable::Field("rows"))?,
            failures: failed
                .into_iter()
                .map(Failure::of_json)
                .collect::<Option<_>>()
                .ok_or(Unreadable::Field("rows"))?,
            ratios: list("ratios")?
                .iter()
                .map(Ratio::of_json)
                .collect::<Option<_>>()
                .ok_or(Unreadable::Field("ratios"))?,
        })
    }

    /// As a text that [`Report::parse`] reads.
    pub fn json(&self) -> String {
        let rows = self.rows.iter().map(Row::json).chain(self.failures.iter().map(Failure::json));
        let value = Value::object([
            ("format", FORMAT.into()),
            ("version", VERSION.into()),
            ("machine", Value::Object(self.machine.clone())),
            ("noise", self.noise.json()),
            ("build", Value::Object(self.build.clone())),
            ("network", Value::Object(self.network.clone())),
            // A text: numbers of JSON lose what is beyond 2^53.
            ("seed", self.seed.to_string().into()),
            ("quick", self.is_quick.into()),
            ("whole", self.is_whole.into()),
            ("rows", Value::List(rows.collect())),
            ("ratios", Value::List(self.ratios.iter().map(Ratio::json).collect())),
        ]);
        format!("{value}\n")
    }
}

impl Key {
    fn json(&self) -> Vec<(String, Value)> {
        let Key { subject, workload, metric, unit } = self;
        let entries = [("subject", subject), ("workload", workload), ("metric", metric), ("unit", unit)];
        entries.map(|(name, text)| (name.to_owned(), text.as_str().into())).into()
    }

    fn of_json(value: &Value) -> Option<Key> {
        let text = |name| value.field(name).and_then(Value::text).map(str::to_owned);
        Some(Key {
            subject: text("subject")?,
            workload: text("workload")?,
            metric: text("metric")?,
            unit: text("unit")?,
        })
    }
}

impl Estimate {
    fn json(self) -> [(String, Value); 3] {
        let Estimate { median, low, high } = self;
        [("median", median), ("low", low), ("high", high)].map(|(name, number)| (name.to_owned(), number.into()))
    }

    fn of_json(value: &Value) -> Option<Estimate> {
        let number = |name| value.field(name).and_then(Value::number);
        Some(Estimate { median: number("median")?, low: number("low")?, high: number("high")? })
    }
}

impl Row {
    fn json(&self) -> Value {
        let mut entries = self.key.json();
        entries.extend(self.estimate.json());
        entries.push(("samples".to_owned(), Value::numbers(&self.samples)));
        Value::Object(entries)
    }

    fn of_json(value: &Value) -> Option<Row> {
        let samples = value.field("samples")?.items().filter(|samples| samples.len() <= MAX_SAMPLES)?;
        let samples = samples.iter().map(Value::number).collect::<Option<Vec<_>>>()?;
        Some(Row { key: Key::of_json(value)?, estimate: Estimate::of_json(value)?, samples })
    }
}

impl Failure {
    fn json(&self) -> Value {
        Value::object([
            ("subject", self.subject.as_str().into()),
            ("workload", self.workload.as_str().into()),
            ("error", self.error.as_str().into()),
        ])
    }

    fn of_json(value: &Value) -> Option<Failure> {
        let text = |name| value.field(name).and_then(Value::text).map(str::to_owned);
        Some(Failure { subject: text("subject")?, workload: text("workload")?, error: text("error")? })
    }
}

impl Ratio {
    fn json(&self) -> Value {
        let mut entries = self.key.json();
        entries.push(("to".to_owned(), self.to.as_str().into()));
        entries.extend(self.estimate.json());
        entries.push(("verdict".to_owned(), self.verdict.words().into()));
        Value::Object(entries)
    }

    fn of_json(value: &Value) -> Option<Ratio> {
        let to = value.field("to")?.text()?.to_owned();
        let verdict = Verdict::of_words(value.field("verdict")?.text()?)?;
        Some(Ratio { key: Key::of_json(value)?, to, estimate: Estimate::of_json(value)?, verdict })
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::stats::{Confidence, estimate};
    use super::*;

    /// A row of these samples.
    pub fn row(workload: &str, unit: &str, samples: &[f64]) -> Row {
        let key = Key {
            subject: "cepa".to_owned(),
            workload: workload.to_owned(),
            metric: "rate".to_owned(),
            unit: unit.to_owned(),
        };
        Row { key, estimate: estimate(samples, Confidence::Shown, 1).unwrap(), samples: samples.to_vec() }
    }

    /// A report of these rows, from a machine that varied by a hundredth.
    pub fn report(rows: Vec<Row>) -> Report {
        Report {
            machine: vec![("cores".to_owned(), 2.0.into())],
            noise: Noise { looks: vec![5.0, 5.05, 5.0] },
            build: vec![("version".to_owned(), "0".into())],
            network: vec![("name".to_owned(), "lab".into())],
            seed: u64::MAX,
            is_quick: true,
            is_whole: true,
            rows,
            failures: Vec::new(),
            ratios: Vec::new(),
        }
    }

    fn sample() -> Report {
        let mut report = report(vec![row("bulk", "MiB/s", &[1.0, 2.0, 3.5])]);
        let Row { key, estimate, .. } = report.rows[0].clone();
        report.ratios.push(Ratio { key, to: "tor".to_owned(), estimate, verdict: Verdict::Better });
        let [subject, workload, error] = ["tor", "bulk", "it \"died\""].map(str::to_owned);
        report.failures.push(Failure { subject, workload, error });
        report
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let text = sample().json();
        assert_eq!(Report::parse(&text).unwrap(), sample());
        assert!(!text.contains("null"), "{text}");
    }

    #[test]
    fn a_report_of_another_version_is_refused_by_its_number() {
        let later = sample().json().replace("\"version\": 1,", "\"version\": 2,");
        let complaint = Report::parse(&later).unwrap_err().to_string();
        assert_eq!(complaint, "results of version 2, and this program reads version 1: measure anew");
        assert!(matches!(Report::parse("{}"), Err(Unreadable::Foreign)));
        assert!(matches!(Report::parse("nonsense"), Err(Unreadable::Json(_))));
    }

    #[test]
    fn a_report_has_so_many_rows_and_samples_and_no_more() {
        let of = |rows: usize, samples: usize| {
            let mut row = row("bulk", "MiB/s", &[1.0]);
            row.samples = vec![1.0; samples];
            Report::parse(&report(vec![row; rows]).json())
        };
        assert!(of(MAX_ROWS, 1).is_ok() && of(1, MAX_SAMPLES).is_ok());
        assert!(of(MAX_ROWS + 1, 1).is_err() && of(1, MAX_SAMPLES + 1).is_err());
    }

    #[test]
    fn what_a_report_lacks_is_named() {
        let text = sample().json();
        for name in ["machine", "noise", "build", "network", "seed", "quick", "whole", "rows", "ratios"] {
            let without = text.replace(&format!("  \"{name}\": "), "  \"other\": ");
            assert!(matches!(Report::parse(&without), Err(Unreadable::Field(field)) if field == name), "{name}");
        }
        let without = text.replace("\"median\"", "\"middle\"");
        assert!(matches!(Report::parse(&without), Err(Unreadable::Field("rows"))));
    }
}
