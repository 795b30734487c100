//! What measuring costs: recording under contention, and a snapshot of many samples.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use cepa::bench::{LatencyTracker, Outcome, PerfStats};
use criterion::{Criterion, criterion_group, criterion_main};

/// How long `threads` threads take until each has run `operation` `rounds` times.
fn together(threads: u32, rounds: u64, operation: impl Fn(u64) + Sync) -> Duration {
    let start_line = Barrier::new(threads as usize + 1);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                start_line.wait();
                (0..rounds).for_each(&operation);
            });
        }
        start_line.wait();
        Instant::now()
    })
    .elapsed()
}

fn record(c: &mut Criterion) {
    for threads in [1, 2, 8] {
        c.bench_function(&format!("record/{threads}_threads"), |b| {
            let tracker = LatencyTracker::default();
            b.iter_custom(|rounds| together(threads, rounds, |n| tracker.record(Duration::from_nanos(n))));
        });
        c.bench_function(&format!("perf_record/{threads}_threads"), |b| {
            let stats = PerfStats::default();
            b.iter_custom(|rounds| {
                together(threads, rounds, |n| stats.record("bench", Duration::from_nanos(n), Outcome::Done))
            });
        });
    }
}

fn snapshot(c: &mut Criterion) {
    for (name, samples) in [("1k", 1_000), ("100k", 100_000)] {
        c.bench_function(&format!("snapshot/{name}"), |b| {
            let tracker = LatencyTracker::new(samples);
            // An order that no sort knows beforehand.
            (0..samples as u64).for_each(|n| tracker.record(Duration::from_nanos(n.wrapping_mul(0x9E37_79B9) >> 7)));
            b.iter(|| black_box(tracker.snapshot()));
        });
    }
}

criterion_group!(benches, record, snapshot);
criterion_main!(benches);
