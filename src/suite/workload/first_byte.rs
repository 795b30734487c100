//! Time to first byte on a circuit that is ready: from when a stream is meant to be opened to the
//! first byte that it brings; one every [`STEP`], late or not.
//!
//! Called by `mod.rs`. Spec: none.

use core::time::Duration;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::alarm::Alarm;
use super::super::figure::{Amount, Fault, Measured};
use super::super::load::{Load, Moments, join};
use super::super::scene::Scene;
use super::super::subject::Subject;
use super::{Measuring, Workload, latencies};
use crate::bench::LatencyTracker;

/// The time from one stream to the next; ours, several times what one takes here, and no multiple of
/// the ten milliseconds by which relays of C tor go.
const STEP: Duration = Duration::from_millis(23);

/// It.
pub struct FirstByte;

impl Workload for FirstByte {
    fn name(&self) -> String {
        "first-byte".to_owned()
    }

    fn about(&self) -> &'static str {
        "from opening a stream on a ready circuit to its first byte, 43 a second, from when each was meant to begin"
    }

    fn fits(&self, subject: &Subject) -> bool {
        matches!(subject, Subject::Program(_) | Subject::Direct)
    }

    fn measure<'a>(&'a self, scene: &'a mut Scene<'_>) -> Measuring<'a> {
        Box::pin(async {
            let load = scene.load().await?;
            streams(scene, &load, STEP, |_| None).await
        })
    }
}

/// Opens a stream at each moment, of the user that its number gives, whether or not those before
/// have come to anything; how late each brought its first byte.
pub async fn streams(
    scene: &Scene<'_>,
    load: &Load,
    step: Duration,
    user: impl Fn(usize) -> Option<String>,
) -> Result<Measured, Fault> {
    let (watch, tracker, alarm) = (scene.watch(), Arc::new(LatencyTracker::default()), Alarm::new()?);
    let (moments, mut tasks) = (Moments::new(step, Instant::now() + scene.size.time), JoinSet::new());
    for (number, intended) in moments.enumerate() {
        alarm.until(intended).await;
        let (load, user, tracker) = (load.clone(), user(number), Arc::clone(&tracker));
        tasks.spawn(async move {
            load.open(user.as_deref()).await?.get(1).await?;
            tracker.record(intended.elapsed());
            Ok(())
        });
    }
    join(tasks).await?;
    let count = tracker.count();
    scene.check_count(count, 0)?;
    Ok(watch.measured(latencies(&tracker).into(), Amount::Operations(count)))
}
