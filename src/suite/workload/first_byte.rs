//! Time to first byte on a circuit that is ready: from when a stream is meant to be opened to the
//! first byte that it brings; one every [`STEP`], late or not.
//!
//! Called by `mod.rs`. Spec: none.

use core::time::Duration;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::super::figure::{Amount, Fault, Measured};
use super::super::load::{Load, Moments, gather};
use super::super::scene::Scene;
use super::{Measuring, Workload, latencies};
use crate::bench::LatencyTracker;

/// The time from one stream to the next; ours, several times what one takes here.
const STEP: Duration = Duration::from_millis(20);

/// It.
pub struct FirstByte;

impl Workload for FirstByte {
    fn name(&self) -> String {
        "first-byte".to_owned()
    }

    fn about(&self) -> &'static str {
        "from opening a stream on a ready circuit to its first byte, 50 a second, from when each was meant to begin"
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
    let (watch, tracker) = (scene.watch(), Arc::new(LatencyTracker::default()));
    let moments = Moments::new(step, Instant::now() + scene.size.time).enumerate();
    let streams = moments.map(|(number, intended)| {
        let (load, user, tracker) = (load.clone(), user(number), Arc::clone(&tracker));
        async move {
            sleep_until(intended).await;
            load.open(user.as_deref()).await?.get(1).await?;
            tracker.record(intended.elapsed());
            Ok(())
        }
    });
    gather(streams).await?;
    let count = tracker.count();
    scene.check_count(count, 0)?;
    Ok(watch.measured(latencies(&tracker).into(), Amount::Operations(count)))
}
