//! `PerfStats`: named operations, their counts, latencies and slowest cases.
//!
//! Starts no timer: whoever runs an operation says how long it took. Names are of the
//! program, never of a user's destination. Called by the shell; rendered by `metrics` and
//! `control` from snapshots. Spec: none.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::latency::{LatencySnapshot, LatencyTracker};
use super::lock::Lock;

/// The name under which operations beyond [`Limits::operations`] are counted together.
pub const OTHER: &str = "other";

/// How much a [`PerfStats`] may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Names told apart.
    pub operations: usize,
    /// Samples kept for each.
    pub samples: usize,
    /// Length of the list of slowest operations.
    pub slowest: usize,
}

impl Default for Limits {
    /// Ours: 64 names of 1,024 samples are half a mebibyte when all are full.
    fn default() -> Self {
        Limits { operations: 64, samples: 1024, slowest: 16 }
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// As wished.
    Done,
    /// With an error.
    Failed,
}

/// Statistics of named operations, from any number of threads.
pub struct PerfStats {
    limits: Limits,
    operations: Lock<BTreeMap<Box<str>, Arc<Operation>>>,
    slowest: Arc<Lock<Slowest>>,
}

/// An operation that has begun. Dropped without [`Ticket::finish`] it counts as failed,
/// without a latency.
#[must_use = "an operation that is not finished counts as failed"]
pub struct Ticket {
    operation: Arc<Operation>,
    slowest: Arc<Lock<Slowest>>,
    finished: bool,
}

/// One operation's figures, as values from one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationSnapshot {
    /// Its name.
    pub name: Box<str>,
    /// How many ended.
    pub count: u64,
    /// How many of them failed.
    pub errors: u64,
    /// How many have begun and not ended.
    pub in_flight: u64,
    /// How long all of them together took.
    pub total: Duration,
    /// How long each took.
    pub latency: LatencySnapshot,
}

/// One of the slowest operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slow {
    /// Its name.
    pub name: Box<str>,
    /// How long it took.
    pub elapsed: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// Everything, as values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerfSnapshot {
    /// By name.
    pub operations: Vec<OperationSnapshot>,
    /// Slowest first.
    pub slowest: Vec<Slow>,
}

impl PerfStats {
    /// Statistics within `limits`.
    pub fn new(limits: Limits) -> Self {
        let slowest = Slowest { room: limits.slowest, list: Vec::new() };
        PerfStats { limits, operations: Lock::default(), slowest: Arc::new(Lock::new(slowest)) }
    }

    /// An operation begins.
    pub fn begin(&self, name: &str) -> Ticket {
        let operation = self.operation(name);
        operation.counters.with(|counters| counters.in_flight = counters.in_flight.saturating_add(1));
        Ticket { operation, slowest: Arc::clone(&self.slowest), finished: false }
    }

    /// An operation began and ended.
    pub fn record(&self, name: &str, elapsed: Duration, outcome: Outcome) {
        let operation = self.operation(name);
        operation.end(elapsed, outcome, 0);
        self.slowest.with(|slowest| slowest.offer(&operation.name, elapsed, outcome));
    }

    /// All figures. Each operation's are from one moment.
    pub fn snapshot(&self) -> PerfSnapshot {
        let operations: Vec<_> = self.operations.with(|table| table.values().cloned().collect());
        PerfSnapshot {
            operations: operations.iter().map(|operation| operation.snapshot()).collect(),
            slowest: self.slowest.with(|slowest| slowest.list.clone()),
        }
    }

    /// Forgets all figures in place. What has begun is still in flight.
    pub fn reset(&self) {
        self.operations.with(|table| table.values().for_each(|operation| operation.reset()));
        self.slowest.with(|slowest| slowest.list.clear());
    }

    fn operation(&self, name: &str) -> Arc<Operation> {
        self.operations.with(|table| {
            if let Some(operation) = table.get(name) {
                return Arc::clone(operation);
            }
            let name = if table.len() < self.limits.operations { name } else { OTHER };
            let fresh = || Arc::new(Operation::new(name, self.limits.samples));
            Arc::clone(table.entry(name.into()).or_insert_with(fresh))
        })
    }
}

impl Default for PerfStats {
    fn default() -> Self {
        PerfStats::new(Limits::default())
    }
}

impl Ticket {
    /// The operation ended.
    pub fn finish(mut self, elapsed: Duration, outcome: Outcome) {
        self.finished = true;
        self.operation.end(elapsed, outcome, 1);
        self.slowest.with(|slowest| slowest.offer(&self.operation.name, elapsed, outcome));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.finished {
            self.operation.abandon();
        }
    }
}

struct Operation {
    name: Box<str>,
    counters: Lock<Counters>,
    latency: LatencyTracker,
}

#[derive(Default)]
struct Counters {
    count: u64,
    errors: u64,
    in_flight: u64,
    total: Duration,
}

impl Operation {
    fn new(name: &str, samples: usize) -> Self {
        Operation { name: name.into(), counters: Lock::default(), latency: LatencyTracker::new(samples) }
    }

    /// Counts an end. The sample is added under the counters' lock, so that a snapshot
    /// never sees one without the other.
    fn end(&self, elapsed: Duration, outcome: Outcome, was_in_flight: u64) {
        self.counters.with(|counters| {
            counters.in_flight = counters.in_flight.saturating_sub(was_in_flight);
            counters.count = counters.count.saturating_add(1);
            counters.errors = counters.errors.saturating_add(u64::from(outcome == Outcome::Failed));
            counters.total = counters.total.saturating_add(elapsed);
            self.latency.record(elapsed);
        });
    }

    fn abandon(&self) {
        self.counters.with(|counters| {
            counters.in_flight = counters.in_flight.saturating_sub(1);
            counters.count = counters.count.saturating_add(1);
            counters.errors = counters.errors.saturating_add(1);
        });
    }

    fn reset(&self) {
        self.counters.with(|counters| {
            *counters = Counters { in_flight: counters.in_flight, ..Counters::default() };
            self.latency.reset();
        });
    }

    fn snapshot(&self) -> OperationSnapshot {
        let (mut snapshot, samples) = self.counters.with(|counters| {
            let snapshot = OperationSnapshot {
                name: self.name.clone(),
                count: counters.count,
                errors: counters.errors,
                in_flight: counters.in_flight,
                total: counters.total,
                latency: LatencySnapshot::default(),
            };
            (snapshot, self.latency.copy())
        });
        snapshot.latency = samples.sort().snapshot();
        snapshot
    }
}

/// The slowest operations, slowest first; `list.len() <= room`.
struct Slowest {
    room: usize,
    list: Vec<Slow>,
}

impl Slowest {
    fn offer(&mut self, name: &str, elapsed: Duration, outcome: Outcome) {
        // Among equals the first to come stays ahead.
        let place = self.list.partition_point(|slow| slow.elapsed >= elapsed);
        if place < self.room {
            self.list.truncate(self.room.saturating_sub(1));
            self.list.insert(place, Slow { name: name.into(), elapsed, outcome });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn operations_are_counted_from_begin_to_end() {
        let stats = PerfStats::default();
        let first = stats.begin("build");
        let second = stats.begin("build");
        let third = stats.begin("build");
        assert_eq!(stats.snapshot().operations[0].in_flight, 3);
        first.finish(ms(3), Outcome::Done);
        second.finish(ms(5), Outcome::Failed);
        drop(third);
        stats.record("resolve", ms(1), Outcome::Done);

        let snapshot = stats.snapshot();
        let build = &snapshot.operations[0];
        assert_eq!((&*build.name, build.count, build.errors, build.in_flight), ("build", 3, 2, 0));
        assert_eq!((build.total, build.latency.count, build.latency.max), (ms(8), 2, ms(5)));
        assert_eq!(&*snapshot.operations[1].name, "resolve");
        let slowest: Vec<_> = snapshot.slowest.iter().map(|slow| (&*slow.name, slow.elapsed, slow.outcome)).collect();
        let expected =
            [("build", ms(5), Outcome::Failed), ("build", ms(3), Outcome::Done), ("resolve", ms(1), Outcome::Done)];
        assert_eq!(slowest, expected);
    }

    #[test]
    fn names_beyond_the_limit_are_counted_together() {
        let stats = PerfStats::new(Limits { operations: 2, samples: 4, slowest: 1 });
        for name in ["a", "b", "c", "d", "a"] {
            stats.record(name, ms(1), Outcome::Done);
        }
        let operations = stats.snapshot().operations;
        let counts: Vec<_> = operations.iter().map(|operation| (&*operation.name, operation.count)).collect();
        assert_eq!(counts, [("a", 2), ("b", 1), (OTHER, 2)]);
    }

    #[test]
    fn a_reset_keeps_what_is_in_flight() {
        let stats = PerfStats::default();
        let ticket = stats.begin("fetch");
        stats.record("fetch", ms(1), Outcome::Failed);
        stats.reset();
        let snapshot = stats.snapshot();
        assert_eq!((snapshot.operations[0].count, snapshot.operations[0].in_flight), (0, 1));
        assert_eq!(snapshot.operations[0].latency, LatencySnapshot::default());
        assert!(snapshot.slowest.is_empty());
        ticket.finish(ms(2), Outcome::Done);
        let operation = &stats.snapshot().operations[0];
        assert_eq!((operation.count, operation.in_flight, operation.total), (1, 0, ms(2)));
    }

    proptest! {
        #[test]
        fn the_slowest_are_the_slowest(room in 0_usize..6, elapsed in prop::collection::vec(0_u64..50, 0..40)) {
            let stats = PerfStats::new(Limits { slowest: room, ..Limits::default() });
            elapsed.iter().for_each(|&n| stats.record("x", ms(n), Outcome::Done));
            let mut expected = elapsed;
            expected.sort_unstable_by(|a, b| b.cmp(a));
            expected.truncate(room);
            let kept: Vec<_> = stats.snapshot().slowest.iter().map(|slow| slow.elapsed).collect();
            prop_assert_eq!(kept, expected.into_iter().map(ms).collect::<Vec<_>>());
        }
    }

    #[test]
    fn counts_and_samples_agree_in_every_snapshot() {
        let stats = PerfStats::default();
        let running = AtomicBool::new(true);
        thread::scope(|scope| {
            let writers: Vec<_> = (0..8)
                .map(|thread| {
                    let stats = &stats;
                    scope.spawn(move || {
                        for n in 0..500_u64 {
                            let name = if n % 2 == 0 { "even" } else { "odd" };
                            let outcome = if n % 5 == 0 { Outcome::Failed } else { Outcome::Done };
                            if thread % 2 == 0 {
                                stats.begin(name).finish(ms(1), outcome);
                            } else {
                                stats.record(name, ms(1), outcome);
                            }
                        }
                    })
                })
                .collect();
            for _ in 0..2 {
                scope.spawn(|| {
                    while running.load(Ordering::Relaxed) {
                        for operation in stats.snapshot().operations {
                            assert_eq!(operation.count, operation.latency.count);
                            assert_eq!(operation.total, ms(operation.count));
                            assert!(operation.in_flight <= 4 && operation.errors <= operation.count);
                        }
                    }
                });
            }
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            running.store(false, Ordering::Relaxed);
        });
        let [even, odd] = &stats.snapshot().operations[..] else { panic!() };
        assert_eq!((even.count, odd.count, even.errors + odd.errors), (2000, 2000, 800));
        assert_eq!((even.in_flight, odd.in_flight), (0, 0));
    }
}
