//! Every interleaving of the latency tracker's record, snapshot and reset.
#![forbid(unsafe_code)]

use std::time::Duration;

use cepa_loom::latency::{LatencySnapshot, LatencyTracker};
use loom::sync::Arc;
use loom::thread;

const ONE: Duration = Duration::from_nanos(1);
const TWO: Duration = Duration::from_nanos(2);

/// What must hold of samples of one and two nanoseconds at any moment.
fn check(snapshot: &LatencySnapshot, at_most: u64) {
    assert!(snapshot.count <= at_most);
    if snapshot.count == 0 {
        assert_eq!(*snapshot, LatencySnapshot::default());
    } else {
        assert!(ONE <= snapshot.min && snapshot.min <= snapshot.p50);
        assert!(snapshot.p50 <= snapshot.p999 && snapshot.p999 <= snapshot.max && snapshot.max <= TWO);
        assert!(snapshot.min <= snapshot.mean && snapshot.mean <= snapshot.max);
    }
}

#[test]
fn no_record_is_lost_and_no_snapshot_is_torn() {
    loom::model(|| {
        let tracker = Arc::new(LatencyTracker::new(2));
        let writers = [ONE, TWO].map(|elapsed| {
            let tracker = Arc::clone(&tracker);
            thread::spawn(move || tracker.record(elapsed))
        });
        check(&tracker.snapshot(), 2);
        writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
        let snapshot = tracker.snapshot();
        assert_eq!((snapshot.count, snapshot.min, snapshot.p50, snapshot.max), (2, ONE, ONE, TWO));
    });
}

#[test]
fn the_reservoir_replaces_without_losing_count() {
    loom::model(|| {
        let tracker = Arc::new(LatencyTracker::new(1));
        let writers = [ONE, TWO].map(|elapsed| {
            let tracker = Arc::clone(&tracker);
            thread::spawn(move || tracker.record(elapsed))
        });
        let seen = tracker.percentile(1.0);
        assert!(seen <= TWO);
        writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
        assert_eq!((tracker.count(), tracker.max(), tracker.min()), (2, TWO, ONE));
    });
}

#[test]
fn a_reset_falls_between_records_and_snapshots() {
    loom::model(|| {
        let tracker = Arc::new(LatencyTracker::new(2));
        tracker.record(TWO);
        let writer = {
            let tracker = Arc::clone(&tracker);
            thread::spawn(move || tracker.record(ONE))
        };
        let resetter = {
            let tracker = Arc::clone(&tracker);
            thread::spawn(move || tracker.reset())
        };
        check(&tracker.snapshot(), 2);
        writer.join().expect("the writer");
        resetter.join().expect("the resetter");
        let snapshot = tracker.snapshot();
        check(&snapshot, 1);
        assert!(snapshot.count == 0 || snapshot.max == ONE, "only a record after the reset is left");
    });
}
