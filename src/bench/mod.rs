//! The measuring instruments: what the client, the control port, the metrics endpoint and
//! the benchmark suite all sit on.
//!
//! Instruments only; the workloads that use them are `suite`'s, and nothing here reads a
//! clock: durations come in as values. The one quiet folder with locks in it, so their
//! order is written down here. Called by the shell and everything above it; the machines
//! of floors 1-5 report facts as outputs instead. Spec: none.
//!
//! Locks taken together are taken in this order, and none is held while something is
//! sorted or printed:
//!
//! 1. the table of a [`PerfStats`] (its names);
//! 2. the counters of one operation;
//! 3. the samples of one [`LatencyTracker`].
//!
//! The list of slowest operations is locked alone.

mod latency;
mod lock;
mod perf;

pub use latency::{LatencySnapshot, LatencyTracker};
pub use perf::{Limits, OperationSnapshot, Outcome, PerfSnapshot, PerfStats, Slow, Ticket};
