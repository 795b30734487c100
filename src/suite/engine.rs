//! The run: subjects in turns, workload by workload, again and again; what came of it as a report.
//!
//! Each subject measures once unseen, to warm up; then all in turns, so that whatever else the
//! machine does hits all alike, and samples of one turn are pairs. A fault ends that workload of
//! that subject, and nothing else. Called by `mod.rs`. Spec: none.

use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::time::timeout;

use super::figure::{Fault, Figure, Measured};
use super::json::Value;
use super::network::{Network, Wanted};
use super::noise::{self, Noise};
use super::origin::{Origin, Pattern};
use super::progress::Progress;
use super::report::{Failure, Key, Ratio, Report, Row};
use super::scene::{Contestant, Scene, Size};
use super::stats::{Confidence, estimate, ratio_of_pairs};
use super::subject::{INSIDE, Subject};
use super::verdict;
use super::workload::{self, Workload};
use super::{Ending, Error, Wish};

/// How much is measured by default, and how often.
const FULL: (Size, usize) = (
    Size {
        time: Duration::from_secs(3),
        bytes: 64 << 20,
        rest: Duration::from_secs(5),
        patience: Duration::from_secs(120),
    },
    9,
);
/// The same in a hurry.
const QUICK: (Size, usize) = (
    Size {
        time: Duration::from_secs(1),
        bytes: 16 << 20,
        rest: Duration::from_millis(500),
        patience: Duration::from_secs(20),
    },
    3,
);
/// What part of a measurement warms up.
const WARM_UP: u32 = 4;
/// The most repeats; ours, a night's.
const MAX_REPEATS: usize = 1000;
/// The most subjects of one run; ours.
const MAX_SUBJECTS: usize = 16;

/// What is measured, checked before anything runs.
pub struct Plan {
    workloads: Vec<Box<dyn Workload>>,
    subjects: Vec<Subject>,
    network: Wanted,
    size: Size,
    repeats: usize,
    seed: u64,
    is_quick: bool,
}

impl Plan {
    /// What follows from a wish; what is unknown in it lists what is known.
    pub fn of(wish: &Wish) -> Result<Plan, Error> {
        let (size, repeats) = if wish.is_quick { QUICK } else { FULL };
        let repeats = wish.repeats.unwrap_or(repeats);
        if !(1..=MAX_REPEATS).contains(&repeats) {
            return Err(Error::Unknown(format!("--repeats {repeats}: 1 to {MAX_REPEATS} are possible")));
        }
        Ok(Plan {
            workloads: workloads(&wish.workloads)?,
            subjects: subjects(&wish.subjects)?,
            network: Wanted::parse(&wish.network, wish.listed).map_err(Error::Unknown)?,
            size,
            repeats,
            seed: wish.seed,
            is_quick: wish.is_quick,
        })
    }
}

fn workloads(names: &[String]) -> Result<Vec<Box<dyn Workload>>, Error> {
    let all = workload::all();
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|it| it.name() == **name)) {
        let known: Vec<String> = all.iter().map(|it| it.name()).collect();
        return Err(Error::Unknown(format!("unknown workload {unknown:?}; known: {}", known.join(", "))));
    }
    Ok(all.into_iter().filter(|it| names.is_empty() || names.contains(&it.name())).collect())
}

/// Whom the words name, and behind them the generator alone. Without any, ourselves, also inside.
fn subjects(words: &[String]) -> Result<Vec<Subject>, Error> {
    let usual = ["cepa", INSIDE].map(str::to_owned);
    let words = if words.is_empty() { &usual[..] } else { words };
    let mut subjects =
        words.iter().map(|it| Subject::parse(it)).collect::<Result<Vec<_>, _>>().map_err(Error::Unknown)?;
    let mut names: Vec<String> = subjects.iter().map(Subject::name).collect();
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::Unknown(format!(
            "two subjects are called {:?}, so that nobody could tell whose is what; NAME=cmd:… and NAME=arti=… \
             give one another name",
            twice[0]
        )));
    }
    if subjects.len() > MAX_SUBJECTS {
        return Err(Error::Unknown(format!("more than {MAX_SUBJECTS} subjects")));
    }
    subjects.push(Subject::Direct);
    Ok(subjects)
}

/// Measures, until all is done or one of these signals comes.
pub async fn run(plan: Plan, mut stops: Vec<Signal>) -> Result<(Report, Ending), Error> {
    let mut facts = machine();
    let (before, round_before) = noise::look();
    let mut run = Run::new(plan)?;
    let is_whole = tokio::select! {
        biased;
        () = any(&mut stops) => false,
        done = run.go() => done.map(|()| true)?,
    };
    let (after, round_after) = noise::look();
    facts.push(("load_after".to_owned(), load().into()));
    let report = run.report(facts, Noise { before, after, round_before, round_after }, is_whole);
    let ending = match (is_whole, report.failures.is_empty()) {
        (false, _) => Ending::Interrupted,
        (true, false) => Ending::Failed,
        (true, true) => Ending::Whole,
    };
    Ok((report, ending))
}

/// Waits for the first of these signals.
async fn any(stops: &mut [Signal]) {
    poll_fn(|context| match stops.iter_mut().any(|stop| stop.poll_recv(context).is_ready()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

/// A run under way.
struct Run {
    workloads: Vec<Box<dyn Workload>>,
    contestants: Vec<Contestant>,
    wanted: Wanted,
    network: Option<Network>,
    origin: Origin,
    pattern: Arc<Pattern>,
    size: Size,
    repeats: usize,
    seed: u64,
    is_quick: bool,
    progress: Progress,
    results: Vec<Outcome>,
}

/// What came of one workload of one subject.
struct Outcome {
    workload: String,
    subject: String,
    /// One each time that it was measured.
    measured: Vec<Measured>,
    /// What ended that.
    fault: Option<Fault>,
}

impl Run {
    fn new(plan: Plan) -> Result<Run, Error> {
        let Plan { workloads, subjects, network, size, repeats, seed, is_quick } = plan;
        let fitting = |workload: &dyn Workload| subjects.iter().filter(|subject| workload.fits(subject)).count();
        let each: usize = workloads.iter().map(|workload| fitting(workload.as_ref())).sum();
        let planned = each as f64 * (repeats as f64 + f64::from(WARM_UP).recip());
        Ok(Run {
            workloads,
            contestants: subjects.into_iter().map(Contestant::new).collect(),
            wanted: network,
            network: None,
            origin: Origin::start()?,
            pattern: Arc::new(Pattern::new()),
            size,
            repeats,
            seed,
            is_quick,
            progress: Progress::new(planned),
            results: Vec::new(),
        })
    }

    async fn go(&mut self) -> Result<(), Error> {
        self.progress.tell("opening the network");
        self.network = Some(self.wanted.open(self.seed).await?);
        for number in 0..self.workloads.len() {
            self.all_of(number).await;
        }
        Ok(())
    }

    /// Measures one workload of all whom it fits, in turns.
    async fn all_of(&mut self, workload: usize) {
        let first = self.results.len();
        let mut turn: Vec<(usize, usize)> = Vec::new();
        for (contestant, Contestant { subject, .. }) in self.contestants.iter().enumerate() {
            let Some(workload) = self.workloads.get(workload).filter(|workload| workload.fits(subject)) else {
                continue;
            };
            turn.push((contestant, first + turn.len()));
            let (workload, subject) = (workload.name(), subject.name());
            self.results.push(Outcome { workload, subject, measured: Vec::new(), fault: None });
        }
        let (full, part) =
            (self.size, Size { time: self.size.time / WARM_UP, bytes: self.size.bytes / 4, ..self.size });
        for round in 0..=self.repeats {
            for (contestant, result) in &turn {
                if self.results[*result].fault.is_none() {
                    let size = if round == 0 { part } else { full };
                    let measured = self.once(workload, *contestant, size).await;
                    let outcome = &mut self.results[*result];
                    match measured {
                        Ok(measured) if round > 0 => outcome.measured.push(measured),
                        Ok(_) => {}
                        Err(fault) => outcome.fault = Some(fault),
                    }
                }
            }
        }
    }

    async fn once(&mut self, workload: usize, contestant: usize, size: Size) -> Result<Measured, Fault> {
        let (workload, contestant) = (&self.workloads[workload], &mut self.contestants[contestant]);
        let (name, subject) = (workload.name(), contestant.subject.name());
        let planned = size.time.as_secs_f64() / self.size.time.as_secs_f64();
        self.progress.begin(&name, &subject);
        let network = self.network.as_ref().ok_or(Fault::GivenUp)?;
        let (origin, pattern) = (&self.origin, Arc::clone(&self.pattern));
        let limit = size.time + size.rest * 2 + size.patience;
        let mut scene = Scene { network, origin, pattern, size, contestant };
        let measured = timeout(limit, workload.measure(&mut scene)).await.unwrap_or(Err(Fault::Hangs(limit)));
        let measured = match measured.and_then(Measured::check) {
            Ok(measured) => Ok(measured),
            Err(fault) => Err(scene.contestant.blame(fault).await),
        };
        let first = measured.as_ref().ok().and_then(|measured| measured.figures.first());
        self.progress.end(planned, &name, &subject, first);
        measured
    }

    fn report(self, machine: Vec<(String, Value)>, noise: Noise, is_whole: bool) -> Report {
        let (mut rows, mut ratios, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for outcome in &self.results {
            match &outcome.fault {
                Some(fault) => failures.push(outcome.failure(fault, self.repeats)),
                None => rows.extend(outcome.rows(self.seed)),
            }
        }
        let to = self.contestants.first().map(|first| first.subject.name()).unwrap_or_default();
        for row in rows.iter().filter(|row: &&Row| row.key.subject != to) {
            let first = Key { subject: to.clone(), ..row.key.clone() };
            let Some(first) = rows.iter().find(|row| row.key == first) else { continue };
            let (a, b, key) = (&first.samples, &row.samples, row.key.clone());
            let verdict = verdict::of_pairs(a, b, &key.unit, noise.share(), self.seed);
            let ratio = ratio_of_pairs(a, b, Confidence::Shown, self.seed);
            ratios.extend(ratio.map(|estimate| Ratio { key, to: to.clone(), estimate, verdict }));
        }
        let network = self.network.as_ref().map(|network| network.facts.clone()).unwrap_or_default();
        let Run { seed, is_quick, .. } = self;
        Report { machine, noise, build: build(), network, seed, is_quick, is_whole, rows, failures, ratios }
    }
}

impl Outcome {
    /// A row for each figure, in their order; one sample each time that it was measured.
    fn rows(&self, seed: u64) -> Vec<Row> {
        let Some(first) = self.measured.first() else { return Vec::new() };
        let row = |Figure { metric, unit, .. }: &Figure| {
            let of = |measured: &Measured| Some(measured.figures.iter().find(|figure| figure.metric == *metric)?.value);
            let samples: Vec<f64> = self.measured.iter().filter_map(of).collect();
            let key = Key {
                subject: self.subject.clone(),
                workload: self.workload.clone(),
                metric: (*metric).to_owned(),
                unit: unit.word().to_owned(),
            };
            Some(Row { key, estimate: estimate(&samples, Confidence::Shown, seed)?, samples })
        };
        first.figures.iter().filter_map(row).collect()
    }

    fn failure(&self, fault: &Fault, repeats: usize) -> Failure {
        let error = match self.measured.len() {
            0 => fault.to_string(),
            done => format!("{fault} (after {done} of {repeats})"),
        };
        Failure { subject: self.subject.clone(), workload: self.workload.clone(), error }
    }
}

/// What a report says of this program.
fn build() -> Vec<(String, Value)> {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let facts = [("version", env!("CARGO_PKG_VERSION")), ("profile", profile), ("processor", std::env::consts::ARCH)];
    facts.map(|(name, text)| (name.to_owned(), text.into())).into()
}

/// What a report says of this machine.
fn machine() -> Vec<(String, Value)> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        line.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let facts = [
        ("processor", value(&read("/proc/cpuinfo"), "model name").into()),
        ("cores", Value::Number(cores as f64)),
        ("memory", value(&read("/proc/meminfo"), "MemTotal").into()),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().into()),
        ("load_before", load().into()),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).into()
}

/// How many wanted a processor of late, by the kernel.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
