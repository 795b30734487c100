//! What is measured. Each file is one workload, or one kind: from where to where it measures, in its
//! first line, then what is done once.
//!
//! A measurement is a real one or a fault: each checks every byte that comes, and, but for starts,
//! which are over with the first, that the server counted as many. Called by `engine.rs`. Spec: none.

mod bulk;
mod circuit_build;
mod cold_start;
mod concurrent;
mod first_byte;
mod fresh_isolation;
mod interactive;
mod memory;
mod stream_rate;
mod warm_start;

use core::pin::Pin;

use super::figure::{Fault, Figure, Measured};
use super::scene::Scene;
use super::subject::Subject;
use crate::bench::LatencyTracker;

/// What is sent, and comes back, where there are messages: a request of most protocols; ours.
pub const MESSAGE: u32 = 1024;

/// A measurement under way.
pub type Measuring<'a> = Pin<Box<dyn Future<Output = Result<Measured, Fault>> + 'a>>;

/// Something that can be measured.
pub trait Workload {
    /// What it is called.
    fn name(&self) -> String;

    /// What it measures, from where to where.
    fn about(&self) -> &'static str;

    /// Whether it can be measured of that subject.
    fn fits(&self, subject: &Subject) -> bool {
        matches!(subject, Subject::Program(_))
    }

    /// Measures once.
    fn measure<'a>(&'a self, scene: &'a mut Scene<'_>) -> Measuring<'a>;
}

/// All of them, in the order in which they are measured.
pub fn all() -> Vec<Box<dyn Workload>> {
    let mut all: Vec<Box<dyn Workload>> = vec![
        Box::new(cold_start::ColdStart),
        Box::new(warm_start::WarmStart),
        Box::new(first_byte::FirstByte),
        Box::new(fresh_isolation::FreshIsolation),
        Box::new(circuit_build::CircuitBuild),
    ];
    for direction in [bulk::Direction::Down, bulk::Direction::Up] {
        all.extend(bulk::STREAMS.map(|streams| Box::new(bulk::Bulk { direction, streams }) as Box<dyn Workload>));
    }
    all.push(Box::new(stream_rate::StreamRate));
    all.push(Box::new(concurrent::Concurrent));
    all.push(Box::new(interactive::Interactive));
    all.push(Box::new(memory::Held));
    all
}

/// The middle latency, and the longest of which there are enough to tell: of a hundred and more that
/// which one in a hundred exceeds, of fewer one in ten, of a handful the longest there was.
fn latencies(tracker: &LatencyTracker) -> [Figure; 2] {
    let seen = tracker.snapshot();
    let tail = match seen.count {
        100.. => Figure::time("p99", seen.p99),
        20.. => Figure::time("p90", seen.p90),
        _ => Figure::time("longest", seen.max),
    };
    [Figure::time("median", seen.p50), tail]
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn each_workload_has_a_name_of_its_own_and_fits_somebody() {
        let names: Vec<String> = all().iter().map(|it| it.name()).collect();
        let mut distinct = names.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), names.len());
        let somebody = [Subject::parse("cepa").unwrap(), Subject::Inside];
        assert!(all().iter().all(|it| somebody.iter().any(|subject| it.fits(subject))));
    }

    #[test]
    fn no_hundredth_is_told_of_a_handful() {
        let tail = |count: u64| {
            let tracker = LatencyTracker::default();
            (1..=count).for_each(|at| tracker.record(Duration::from_millis(at)));
            let [_, Figure { metric, value, .. }] = latencies(&tracker);
            (metric, value)
        };
        assert_eq!(tail(8), ("longest", 8.0));
        assert_eq!((tail(20).0, tail(99).0), ("p90", "p90"));
        assert_eq!(tail(101), ("p99", 100.0));
    }
}
