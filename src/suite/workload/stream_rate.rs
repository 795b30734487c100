//! Stream rate: from the first of many streams opened to the last one over; each is opened, sends a
//! kibibyte, gets it back and is closed, fifty at once.
//!
//! Called by `mod.rs`. Spec: none.

use std::sync::Arc;

use tokio::time::Instant;

use super::super::figure::{Amount, Figure, Unit};
use super::super::load::gather;
use super::super::scene::Scene;
use super::super::subject::Subject;
use super::{MESSAGE, Measuring, Workload, latencies};
use crate::bench::LatencyTracker;

/// How many at once.
const AT_ONCE: usize = 50;

/// It.
pub struct StreamRate;

impl Workload for StreamRate {
    fn name(&self) -> String {
        "stream-rate".to_owned()
    }

    fn about(&self) -> &'static str {
        "from the first of many streams opened (each: 1 KiB there and back, closed; 50 at once) to the last one over"
    }

    fn fits(&self, subject: &Subject) -> bool {
        matches!(subject, Subject::Program(_) | Subject::Direct)
    }

    fn measure<'a>(&'a self, scene: &'a mut Scene<'_>) -> Measuring<'a> {
        Box::pin(async {
            let load = scene.load().await?;
            let (watch, tracker) = (scene.watch(), Arc::new(LatencyTracker::default()));
            let until = Instant::now() + scene.size.time;
            let workers = (0..AT_ONCE).map(|_| {
                let (load, tracker) = (load.clone(), Arc::clone(&tracker));
                async move {
                    while Instant::now() < until {
                        let begun = Instant::now();
                        let mut flow = load.open(None).await?;
                        flow.call(MESSAGE).await?;
                        flow.hear(MESSAGE).await?;
                        drop(flow);
                        tracker.record(begun.elapsed());
                    }
                    Ok(())
                }
            });
            gather(workers).await?;
            let (elapsed, count) = (watch.elapsed(), tracker.count());
            scene.check_count(count * u64::from(MESSAGE), count * u64::from(MESSAGE))?;
            let mut figures = vec![Figure::new("rate", Unit::PerSecond, count as f64 / elapsed.as_secs_f64())];
            figures.extend(latencies(&tracker));
            Ok(watch.measured(figures, Amount::Operations(count)))
        })
    }
}
