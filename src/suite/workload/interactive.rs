//! Interactive while bulk runs: from when a kibibyte is meant to be sent on an open stream to when
//! all of it is back, one every [`STEP`] whatever became of those before, beside eight streams of bulk.
//!
//! Called by `mod.rs`. Spec: none.

use core::time::Duration;
use std::sync::Arc;

use tokio::time::Instant;

use super::super::figure::{Amount, Figure, Unit, mebibytes};
use super::super::load::{Moments, Purse, gather};
use super::super::scene::Scene;
use super::super::subject::Subject;
use super::{MESSAGE, Measuring, Workload, latencies};
use crate::bench::LatencyTracker;

/// The time from one message to the next; ours, that of a fast typist's keys and more, and no
/// multiple of the ten milliseconds by which relays of C tor go.
const STEP: Duration = Duration::from_millis(23);
/// How many streams of bulk are beside it.
const BULK: usize = 8;
/// More than any client carries meanwhile.
const ENDLESS: u64 = 1 << 40;

/// It.
pub struct Interactive;

impl Workload for Interactive {
    fn name(&self) -> String {
        "interactive".to_owned()
    }

    fn about(&self) -> &'static str {
        "from when 1 KiB is meant to be sent to when it is back, 43 a second, while 8 streams download"
    }

    fn fits(&self, subject: &Subject) -> bool {
        matches!(subject, Subject::Program(_) | Subject::Direct)
    }

    fn measure<'a>(&'a self, scene: &'a mut Scene<'_>) -> Measuring<'a> {
        Box::pin(async {
            let load = scene.load().await?;
            let (talk, flows) = (load.open(None).await?, load.open_all(BULK).await?);
            let (watch, tracker) = (scene.watch(), LatencyTracker::default());
            let until = Instant::now() + scene.size.time;
            let purse = Arc::new(Purse::new(ENDLESS, BULK, until));
            let bulk = gather(flows.into_iter().map(|flow| flow.pull(Arc::clone(&purse))));
            let echo = talk.pace(MESSAGE, Moments::new(STEP, until), |late| tracker.record(late));
            let (carried, count) = tokio::try_join!(bulk, echo)?;
            let (elapsed, carried) = (watch.elapsed(), carried.iter().sum::<u64>());
            let talked = count * u64::from(MESSAGE);
            scene.check_count(carried + talked, talked)?;
            let mut figures: Vec<Figure> = latencies(&tracker).into();
            let rate = mebibytes(carried) / elapsed.as_secs_f64();
            figures.push(Figure::new("bulk", Unit::MebibytesPerSecond, rate));
            Ok(watch.measured(figures, Amount::Bytes(carried + talked)))
        })
    }
}
