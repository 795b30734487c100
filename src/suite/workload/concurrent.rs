//! Concurrent streams: on a hundred streams that are open already, from the first request sent to
//! the last answer come; a kibibyte each way, one request a stream under way.
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

/// How many streams.
const STREAMS: usize = 100;

/// It.
pub struct Concurrent;

impl Workload for Concurrent {
    fn name(&self) -> String {
        "concurrent".to_owned()
    }

    fn about(&self) -> &'static str {
        "on 100 open streams, from the first request of 1 KiB sent to the last answer of 1 KiB come"
    }

    fn fits(&self, subject: &Subject) -> bool {
        matches!(subject, Subject::Program(_) | Subject::Direct)
    }

    fn measure<'a>(&'a self, scene: &'a mut Scene<'_>) -> Measuring<'a> {
        Box::pin(async {
            let load = scene.load().await?;
            let flows = load.open_all(STREAMS).await?;
            let (watch, tracker) = (scene.watch(), Arc::new(LatencyTracker::default()));
            let until = Instant::now() + scene.size.time;
            let talks = flows.into_iter().map(|mut flow| {
                let tracker = Arc::clone(&tracker);
                async move {
                    while Instant::now() < until {
                        let begun = Instant::now();
                        flow.call(MESSAGE).await?;
                        flow.hear(MESSAGE).await?;
                        tracker.record(begun.elapsed());
                    }
                    Ok(())
                }
            });
            gather(talks).await?;
            let (elapsed, count) = (watch.elapsed(), tracker.count());
            scene.check_count(count * u64::from(MESSAGE), count * u64::from(MESSAGE))?;
            let mut figures = vec![Figure::new("rate", Unit::PerSecond, count as f64 / elapsed.as_secs_f64())];
            figures.extend(latencies(&tracker));
            Ok(watch.measured(figures, Amount::Operations(count)))
        })
    }
}
