//! A report: what was measured, on what, as one JSON object, and read back from it.
//!
//! Its keys are in `docs/performance.md`. A file of another version is refused by name, never read
//! as if it were this one; so is one that would tell a terminal more than letters. Called by
//! `engine.rs`, `table.rs` and `compare.rs`. Spec: none.

use core::fmt;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::json::{self, Value};
use super::noise::Noise;
use super::stats::Estimate;
use super::verdict::Verdict;

/// What such a file calls itself.
const FORMAT: &str = "cepa-bench";
/// The version of its keys. Whoever changes what one means counts on.
const VERSION: f64 = 1.0;

/// The most rows of a file that are read; ours, several times those of a run of many subjects.
const MAX_ROWS: usize = 2000;
/// The most samples of a row that are read; ours, as many as can be asked for.
const MAX_SAMPLES: usize = 1000;

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
    /// What each subject is.
    pub subjects: Vec<(String, Value)>,
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
        Report::read(File::open(path).map_err(Unreadable::File)?)
    }

    /// Reads whatever there is, but no more than a report may have: devices have no end, and say
    /// that they have no length.
    fn read(from: impl Read) -> Result<Report, Unreadable> {
        let mut bytes = Vec::new();
        from.take(json::MAX_LEN as u64 + 1).read_to_end(&mut bytes).map_err(Unreadable::File)?;
        if bytes.len() > json::MAX_LEN {
            return Err(Unreadable::Json(json::Error::TooLong));
        }
        let text = str::from_utf8(&bytes);
        Report::parse(text.map_err(|error| Unreadable::Json(json::Error::Unexpected(error.valid_up_to())))?)
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
        let field = |name| value.field(name).filter(|field| field.is_plain()).ok_or(Unreadable::Field(name));
        let object = |name| match field(name)? {
            Value::Object(entries) => Ok(entries.clone()),
            _ => Err(Unreadable::Field(name)),
        };
        let list = |name| {
            let items = field(name)?.items().filter(|items| items.len() <= MAX_ROWS);
            items.ok_or(Unreadable::Field(name))
        };
        let flag = |name| match field(name)? {
            Value::Bool(flag) => Ok(*flag),
            _ => Err(Unreadable::Field(name)),
        };
        let (failed, measured): (Vec<_>, Vec<_>) = list("rows")?.iter().partition(|row| row.field("error").is_some());
        let seed = field("seed")?.text().and_then(|seed| seed.parse().ok());
        Ok(Report {
            machine: object("machine")?,
            noise: Noise::of_json(field("noise")?).ok_or(Unreadable::Field("noise"))?,
            build: object("build")?,
            network: object("network")?,
            subjects: object("subjects")?,
            seed: seed.ok_or(Unreadable::Field("seed"))?,
            is_quick: flag("quick")?,
            is_whole: flag("whole")?,
            rows: distinct(measured, Row::of_json, |row| row.key.clone()).ok_or(Unreadable::Field("rows"))?,
            failures: distinct(failed, Failure::of_json, Failure::what).ok_or(Unreadable::Field("rows"))?,
            ratios: distinct(list("ratios")?, Ratio::of_json, |ratio| ratio.key.clone())
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
            ("subjects", Value::Object(self.subjects.clone())),
            // A text: numbers of JSON lose what is beyond 2^53.
            ("seed", self.seed.to_string().into()),
            ("quick", self.is_quick.into()),
            ("whole", self.is_whole.into()),
            ("rows", Value::List(rows.collect())),
            ("ratios", Value::List(self.ratios.iter().map(Ratio::json).collect())),
        ]);
        format!("{}\n", value.into_plain())
    }
}

/// All of them, if each is one and no two are of the same thing.
fn distinct<'a, T, K: Ord>(
    values: impl IntoIterator<Item = &'a Value>,
    read: fn(&Value) -> Option<T>,
    key: fn(&T) -> K,
) -> Option<Vec<T>> {
    let all: Vec<T> = values.into_iter().map(read).collect::<Option<_>>()?;
    let mut seen = BTreeSet::new();
    let is_clear = all.iter().all(|it| seen.insert(key(it)));
    is_clear.then_some(all)
}

impl Key {
    /// Whose it is, and of which workload.
    pub fn what(&self) -> (String, String) {
        (self.subject.clone(), self.workload.clone())
    }

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
    /// Whose it is, and of which workload.
    pub fn what(&self) -> (String, String) {
        (self.subject.clone(), self.workload.clone())
    }

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
            subjects: vec![("cepa".to_owned(), "cepa 0".into())],
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
            let rows = (0..rows)
                .map(|number| Row { samples: vec![1.0; samples], ..row(&format!("bulk-{number}"), "MiB/s", &[1.0]) });
            Report::parse(&report(rows.collect()).json())
        };
        assert!(of(MAX_ROWS, 1).is_ok() && of(1, MAX_SAMPLES).is_ok());
        assert!(of(MAX_ROWS + 1, 1).is_err() && of(1, MAX_SAMPLES + 1).is_err());
    }

    #[test]
    fn no_two_rows_are_of_the_same() {
        let is_refused = |report: &Report, name| matches!(Report::parse(&report.json()), Err(Unreadable::Field(field)) if field == name);
        let mut twice = sample();
        twice.rows.push(row("bulk", "MiB/s", &[9.0]));
        assert!(is_refused(&twice, "rows"));
        let mut twice = sample();
        twice.failures.push(Failure { error: "again".to_owned(), ..twice.failures[0].clone() });
        assert!(is_refused(&twice, "rows"));
        let mut twice = sample();
        twice.ratios.push(twice.ratios[0].clone());
        assert!(is_refused(&twice, "ratios"));
    }

    #[test]
    fn what_would_tell_a_terminal_more_than_letters_is_not_read_and_not_written() {
        let text = sample().json();
        let entries =
            [("\"lab\"", "network"), ("\"cores\"", "machine"), ("\"tor\"", "rows"), ("\"version\": \"0\"", "build")];
        for (entry, name) in entries {
            let escaped = text.replacen(entry, &format!("{}\\u001b[2J\"", entry.trim_end_matches('"')), 1);
            let refused = Report::parse(&escaped).unwrap_err().to_string();
            assert_eq!(refused, format!("\"{name}\" is missing, or is not what it should be"));
        }
        let mut loud = sample();
        loud.failures[0].error = "it \u{1b}[31mdied\n".to_owned();
        assert_eq!(Report::parse(&loud.json()).unwrap().failures[0].error, "it  [31mdied ");
    }

    /// Gives blanks, and counts them.
    struct Endless(usize);

    impl Read for Endless {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            bytes.fill(b' ');
            self.0 += bytes.len();
            Ok(bytes.len())
        }
    }

    #[test]
    fn of_what_has_no_end_no_more_is_read_than_a_report_may_have() {
        let mut endless = Endless(0);
        let refused = Report::read(&mut endless).unwrap_err();
        assert!(matches!(refused, Unreadable::Json(json::Error::TooLong)), "{refused}");
        assert!(endless.0 <= json::MAX_LEN + 1, "{}", endless.0);
        let foreign = Report::read(&b"{\"a\": \"\xff\"}"[..]).unwrap_err();
        assert_eq!(foreign.to_string(), "no JSON at byte 7");
    }

    #[test]
    fn what_a_report_lacks_is_named() {
        let text = sample().json();
        for name in ["machine", "noise", "build", "network", "subjects", "seed", "quick", "whole", "rows", "ratios"] {
            let without = text.replace(&format!("  \"{name}\": "), "  \"other\": ");
            assert!(matches!(Report::parse(&without), Err(Unreadable::Field(field)) if field == name), "{name}");
        }
        let without = text.replace("\"median\"", "\"middle\"");
        assert!(matches!(Report::parse(&without), Err(Unreadable::Field("rows"))));
    }
}
