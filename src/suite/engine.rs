//! The run: rounds, in each of which all workloads are measured, of all subjects in turns; what came
//! of it as a report.
//!
//! A first round is not counted: it warms up. Whatever else the machine does hits all alike, since
//! subjects take turns, and samples of one turn are pairs. Each round has clients of its own, so
//! that its samples owe nothing to those before: a client keeps its guard, and its luck with it;
//! but for `warm-start`, which goes on with the files of one client all the time. A fault ends that workload of that subject, and nothing else. Called by `mod.rs`. Spec: none.

use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::time::{sleep, timeout};

use super::figure::{Fault, Figure, Measured};
use super::json::Value;
use super::network::{Network, Wanted};
use super::noise::Noise;
use super::origin::{Origin, Pattern};
use super::progress::{self, Progress};
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
    2,
);
/// What part of a measurement the round takes that warms up.
const WARM_UP: u32 = 4;
/// The most repeats; ours, a night's. A report of more would be too long to be read.
const MAX_REPEATS: usize = 500;
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
        let (workloads, subjects) = (workloads(&wish.workloads)?, subjects(&wish.subjects)?);
        let is_of = |workload: &dyn Workload| {
            subjects.iter().any(|subject| !matches!(subject, Subject::Direct) && workload.fits(subject))
        };
        let nobodys =
            workloads.iter().find(|workload| wish.workloads.contains(&workload.name()) && !is_of(&***workload));
        if let Some(workload) = nobodys {
            let whose = if workload.fits(&Subject::Inside) { INSIDE } else { "cepa" };
            let name = workload.name();
            return Err(Error::Unknown(format!("{name} cannot be measured of these subjects; add --subject {whose}")));
        }
        Ok(Plan {
            workloads,
            subjects,
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
    let mut run = Run::new(plan)?;
    let is_whole = tokio::select! {
        biased;
        () = any(&mut stops) => false,
        done = run.go() => done.map(|()| true)?,
    };
    if !is_whole {
        run.noise.look();
    }
    facts.push(("load_after".to_owned(), load().into()));
    let report = run.report(facts, is_whole);
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
    /// What a report says of each subject.
    subjects: Vec<(String, Value)>,
    origin: Origin,
    pattern: Arc<Pattern>,
    size: Size,
    repeats: usize,
    seed: u64,
    is_quick: bool,
    noise: Noise,
    progress: Progress,
    /// What is measured in each round, in this order.
    results: Vec<Outcome>,
}

/// What came of one workload of one subject.
struct Outcome {
    /// Their numbers.
    workload: usize,
    contestant: usize,
    /// One each time that it was measured.
    measured: Vec<Measured>,
    /// What ended that.
    fault: Option<Fault>,
}

impl Run {
    fn new(plan: Plan) -> Result<Run, Error> {
        let Plan { workloads, subjects, network, size, repeats, seed, is_quick } = plan;
        let mut results = Vec::new();
        for (number, workload) in workloads.iter().enumerate() {
            let fitting = subjects.iter().enumerate().filter(|(_, subject)| workload.fits(subject));
            let outcome = |contestant| Outcome { workload: number, contestant, measured: Vec::new(), fault: None };
            results.extend(fitting.map(|(contestant, _)| outcome(contestant)));
        }
        let rounds = u32::try_from(repeats).unwrap_or(u32::MAX).saturating_add(1);
        Ok(Run {
            workloads,
            contestants: subjects.into_iter().map(Contestant::new).collect(),
            wanted: network,
            network: None,
            subjects: Vec::new(),
            origin: Origin::start()?,
            pattern: Arc::new(Pattern::new()),
            size,
            repeats,
            seed,
            is_quick,
            noise: Noise::default(),
            progress: Progress::new(rounds, vec![size.time; results.len()]),
            results,
        })
    }

    async fn go(&mut self) -> Result<(), Error> {
        self.noise.look();
        self.progress.tell("opening the network");
        self.network = Some(self.wanted.open(self.seed).await?);
        self.subjects = self.contestants.iter().map(|contestant| contestant.subject.fact()).collect();
        for round in 0..=self.repeats {
            self.round(round).await;
            self.noise.look();
        }
        Ok(())
    }

    /// Measures everything once, and ends the clients that did it.
    async fn round(&mut self, round: usize) {
        for number in 0..self.results.len() {
            if self.results[number].fault.is_some() {
                continue;
            }
            let measured = self.once(round, number).await;
            let outcome = &mut self.results[number];
            match measured {
                Ok(measured) if round > 0 => outcome.measured.push(measured),
                Ok(_) => {}
                Err(fault) => {
                    outcome.fault = Some(fault);
                    self.progress.skip(number);
                }
            }
        }
        for contestant in &mut self.contestants {
            contestant.end().await;
        }
    }

    async fn once(&mut self, round: usize, number: usize) -> Result<Measured, Fault> {
        let Outcome { workload, contestant, .. } = &self.results[number];
        let (workload, contestant) = (&self.workloads[*workload], &mut self.contestants[*contestant]);
        let (network, is_warm_up) = (self.network.as_ref().ok_or(Fault::GivenUp)?, round == 0);
        let part = Size { time: self.size.time / WARM_UP, bytes: self.size.bytes / u64::from(WARM_UP), ..self.size };
        let size = if is_warm_up { part } else { self.size };
        let name = format!("{} of {}", workload.name(), contestant.subject.name());
        self.progress.begin(u32::try_from(round).unwrap_or(u32::MAX), number, name);
        let (origin, pattern) = (&self.origin, Arc::clone(&self.pattern));
        let limit = size.time + size.rest * 2 + size.patience;
        let mut scene = Scene { network, origin, pattern, size, contestant };
        let measured = {
            let measuring = timeout(limit, workload.measure(&mut scene));
            tokio::pin!(measuring);
            loop {
                tokio::select! {
                    measured = &mut measuring => break measured.unwrap_or(Err(Fault::Hangs(limit))),
                    () = sleep(progress::STEP) => self.progress.go_on(),
                }
            }
        };
        let measured = match measured.and_then(Measured::check) {
            Ok(measured) => Ok(measured),
            Err(fault) => Err(scene.contestant.blame(fault).await),
        };
        let first = measured.as_ref().ok().and_then(|measured| measured.figures.first());
        self.progress.end(is_warm_up, first);
        measured
    }

    fn report(self, machine: Vec<(String, Value)>, is_whole: bool) -> Report {
        let (mut rows, mut failures): (Vec<Row>, _) = (Vec::new(), Vec::new());
        let mut ratios = Vec::new();
        for outcome in &self.results {
            let of = |metric: &str, unit: &str| Key {
                subject: self.contestants[outcome.contestant].subject.name(),
                workload: self.workloads[outcome.workload].name(),
                metric: metric.to_owned(),
                unit: unit.to_owned(),
            };
            match &outcome.fault {
                Some(fault) => {
                    let Key { subject, workload, .. } = of("", "");
                    failures.push(Failure { subject, workload, error: outcome.error(fault, self.repeats) });
                }
                None => rows.extend(outcome.rows(self.seed, of)),
            }
        }
        for row in &rows {
            // Whoever is the first of those whom the workload fits, also where it has failed.
            let is_of = |outcome: &&Outcome| self.workloads[outcome.workload].name() == row.key.workload;
            let Some(first) = self.results.iter().find(is_of) else { continue };
            let to = Key { subject: self.contestants[first.contestant].subject.name(), ..row.key.clone() };
            let Some(first) = rows.iter().find(|other| other.key == to && to != row.key) else { continue };
            let (a, b, key, to) = (&first.samples, &row.samples, row.key.clone(), to.subject);
            let verdict = verdict::of_pairs(a, b, &key.unit, self.noise.share(), self.seed);
            let ratio = ratio_of_pairs(a, b, Confidence::Shown, self.seed);
            ratios.extend(ratio.map(|estimate| Ratio { key, to, estimate, verdict }));
        }
        let network = self.network.as_ref().map(|network| network.facts.clone()).unwrap_or_default();
        let Run { subjects, seed, is_quick, noise, .. } = self;
        Report { machine, noise, build: build(), network, subjects, seed, is_quick, is_whole, rows, failures, ratios }
    }
}

impl Outcome {
    /// A row for each figure that there was every time, in their order; one sample a round, so that
    /// those of two subjects are pairs.
    fn rows(&self, seed: u64, key: impl Fn(&str, &str) -> Key) -> Vec<Row> {
        let Some(first) = self.measured.first() else { return Vec::new() };
        let row = |Figure { metric, unit, .. }: &Figure| {
            let of = |measured: &Measured| Some(measured.figures.iter().find(|figure| figure.metric == *metric)?.value);
            let samples: Vec<f64> = self.measured.iter().map(of).collect::<Option<_>>()?;
            let estimate = estimate(&samples, Confidence::Shown, seed)?;
            Some(Row { key: key(metric, unit.word()), estimate, samples })
        };
        first.figures.iter().filter_map(row).collect()
    }

    fn error(&self, fault: &Fault, repeats: usize) -> String {
        match self.measured.len() {
            0 => fault.to_string(),
            done => format!("{fault} (after {done} of {repeats})"),
        }
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
