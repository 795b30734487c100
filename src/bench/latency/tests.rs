//! Percentiles against a naive model, the reservoir against bias, and many threads at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use proptest::prelude::*;

use super::*;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn tracker(samples: impl IntoIterator<Item = u64>) -> LatencyTracker {
    let tracker = LatencyTracker::default();
    samples.into_iter().for_each(|sample| tracker.record(ms(sample)));
    tracker
}

#[test]
fn an_empty_tracker_answers_zero() {
    let tracker = tracker([]);
    assert_eq!(tracker.snapshot(), LatencySnapshot::default());
    assert_eq!((tracker.percentile(0.5), tracker.max(), tracker.min()), (ms(0), ms(0), ms(0)));
    assert_eq!((tracker.mean(), tracker.count()), (ms(0), 0));
}

#[test]
fn percentiles_take_the_floor_of_their_index() {
    let tracker = tracker((1..=100).rev());
    for (p, expected) in [(0.0, 1), (0.5, 50), (0.9, 90), (0.95, 95), (0.99, 99), (0.999, 99), (1.0, 100)] {
        assert_eq!(tracker.percentile(p), ms(expected), "{p}");
    }
    let snapshot = tracker.snapshot();
    assert_eq!((snapshot.p50, snapshot.p90, snapshot.p95), (ms(50), ms(90), ms(95)));
    assert_eq!((snapshot.p99, snapshot.p999, snapshot.max), (ms(99), ms(99), ms(100)));
    assert_eq!((snapshot.min, snapshot.mean, snapshot.count), (ms(1), Duration::from_micros(50_500), 100));
}

#[test]
fn odd_shares_are_clamped() {
    let tracker = tracker([1, 2, 3]);
    for p in [f64::NAN, -1.0, f64::NEG_INFINITY, -0.0] {
        assert_eq!(tracker.percentile(p), ms(1), "{p}");
    }
    for p in [1.5, f64::INFINITY] {
        assert_eq!(tracker.percentile(p), ms(3), "{p}");
    }
}

#[test]
fn a_reset_tracker_is_like_a_new_one() {
    let tracker = tracker([5, 7]);
    tracker.reset();
    assert_eq!(tracker.snapshot(), LatencySnapshot::default());
    tracker.record(ms(9));
    assert_eq!((tracker.min(), tracker.max(), tracker.count()), (ms(9), ms(9), 1));
}

#[test]
fn durations_without_end_saturate() {
    let tracker = LatencyTracker::new(2);
    for _ in 0..3 {
        tracker.record(Duration::MAX);
    }
    assert_eq!(tracker.max(), Duration::from_nanos(u64::MAX));
    assert_eq!(tracker.mean(), Duration::from_nanos(u64::MAX));
}

proptest! {
    #[test]
    fn percentile_is_the_naive_one(samples in prop::collection::vec(0_u64..10_000, 1..300), p in -0.5_f64..1.5) {
        let mut sorted = samples.clone();
        sorted.sort_unstable();
        let mut index = 0;
        while index + 1 < sorted.len() && (index + 1) as f64 <= (sorted.len() - 1) as f64 * p {
            index += 1;
        }
        let tracker = tracker(samples.iter().copied());
        prop_assert_eq!(tracker.percentile(p), ms(sorted[index]));
        prop_assert_eq!(tracker.max(), ms(*sorted.last().unwrap()));
        prop_assert_eq!(tracker.min(), ms(sorted[0]));
        let sum: u64 = samples.iter().sum();
        prop_assert_eq!(tracker.mean(), Duration::from_nanos(sum * 1_000_000 / samples.len() as u64));
    }

    #[test]
    fn memory_is_bounded_and_totals_stay_exact(capacity in 0_usize..50, samples in prop::collection::vec(1_u64..1000, 1..200)) {
        let tracker = LatencyTracker::new(capacity);
        samples.iter().for_each(|&sample| tracker.record(ms(sample)));
        prop_assert_eq!(tracker.copy().kept.len(), samples.len().min(capacity.max(1)));
        prop_assert!(tracker.copy().kept.iter().all(|nanos| samples.contains(&(nanos / 1_000_000))));
        prop_assert_eq!(tracker.count(), samples.len() as u64);
        prop_assert_eq!(tracker.max(), ms(*samples.iter().max().unwrap()));
        prop_assert_eq!(tracker.min(), ms(*samples.iter().min().unwrap()));
    }
}

/// Each of 1,000 samples should be among the 100 kept in a tenth of all runs. Over 2,000
/// runs that is 200 times with a deviation of 13.4; the early, the middle and the late
/// samples are summed over 100 places each, where the deviation of the mean is 1.34.
#[test]
fn the_reservoir_favours_neither_early_nor_late_samples() {
    const RUNS: u64 = 2_000;
    let mut kept_at = [0_u32; 1000];
    for run in 0..RUNS {
        let mut samples = Samples::new(100);
        samples.choice = run.wrapping_mul(0x1234_5678_9ABC_DEF1);
        (0..1000).for_each(|n| samples.record(n));
        for &n in &samples.kept {
            kept_at[usize::try_from(n).unwrap()] += 1;
        }
    }
    for (name, range) in [("early", 0..100), ("at the brim", 100..200), ("middle", 450..550), ("late", 900..1000)] {
        let mean = f64::from(kept_at[range].iter().sum::<u32>()) / 100.0;
        assert!((mean - 200.0).abs() < 6.0, "{name}: {mean}");
    }
    assert!(kept_at.iter().all(|&n| (120..280).contains(&n)));
}

#[test]
fn ten_threads_times_a_hundred_records_are_a_thousand() {
    let tracker = LatencyTracker::default();
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| (1..=100).for_each(|n| tracker.record(ms(n))));
        }
    });
    assert_eq!(tracker.count(), 1000);
    assert_eq!(tracker.percentile(0.0), ms(1));
    assert_eq!(tracker.percentile(1.0), ms(100));
}

#[test]
fn fifty_writers_and_ten_readers() {
    let tracker = LatencyTracker::default();
    let writing = AtomicBool::new(true);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..50).map(|_| scope.spawn(|| (1..=200).for_each(|n| tracker.record(ms(n))))).collect();
        for _ in 0..10 {
            scope.spawn(|| {
                let mut last = 0;
                while writing.load(Ordering::Relaxed) {
                    let seen = check(&tracker.snapshot());
                    assert!(seen >= last);
                    last = seen;
                }
            });
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        writing.store(false, Ordering::Relaxed);
    });
    assert_eq!(tracker.count(), 10_000);
    assert_eq!(tracker.mean(), Duration::from_micros(100_500));
}

/// What holds in every snapshot; gives its count.
fn check(snapshot: &LatencySnapshot) -> u64 {
    let LatencySnapshot { count, p50, p90, p95, p99, p999, max, min, mean } = *snapshot;
    assert!(min <= p50 && p50 <= p90 && p90 <= p95 && p95 <= p99 && p99 <= p999 && p999 <= max, "{snapshot:?}");
    assert!(min <= mean && mean <= max, "{snapshot:?}");
    assert_eq!(count == 0, max.is_zero(), "{snapshot:?}");
    count
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a load test is bounded by real time")]
fn a_hundred_and_fifty_one_threads_for_two_seconds() {
    const AT_LEAST: usize = 30_000;
    let tracker = LatencyTracker::new(4096);
    let (recorded, operations) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let end = std::time::Instant::now() + Duration::from_secs(2);
    let until_the_end = |operation: &mut dyn FnMut()| {
        while std::time::Instant::now() < end {
            operation();
            operations.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                until_the_end(&mut || {
                    tracker.record(ms(1));
                    recorded.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(tracker.percentile(0.5), ms(1));
                });
            });
        }
        for _ in 0..50 {
            scope.spawn(|| until_the_end(&mut || assert!(tracker.max() <= ms(1) && tracker.mean() <= ms(1))));
        }
        scope.spawn(|| {
            let mut last = 0;
            until_the_end(&mut || {
                let seen = check(&tracker.snapshot());
                assert!(seen >= last);
                last = seen;
            });
        });
    });
    assert_eq!(tracker.count(), recorded.load(Ordering::Relaxed) as u64);
    assert_eq!(tracker.snapshot().count, tracker.count());
    assert!(operations.load(Ordering::Relaxed) > AT_LEAST, "{operations:?}");
}
