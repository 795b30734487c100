//! First byte of somebody new: from when a stream of a user is meant to be opened, who may share no
//! circuit with those before, to the first byte that it brings.
//!
//! One every [`STEP`]: what relays let a client do for long, by the public network's parameters.
//! Called by `mod.rs`. Spec: proposal 171, "Separate streams across circuits by connection metadata".

use core::time::Duration;

use super::super::scene::Scene;
use super::first_byte::streams;
use super::{Measuring, Workload};

/// The time from one user to the next; ours: with the two circuits a second and the sixty at once
/// that `DoSCircuitCreationRate` and `DoSCircuitCreationBurst` allow, no run has to wait for either.
pub const STEP: Duration = Duration::from_millis(400);

/// It.
pub struct FreshIsolation;

impl Workload for FreshIsolation {
    fn name(&self) -> String {
        "fresh-isolation".to_owned()
    }

    fn about(&self) -> &'static str {
        "from opening a stream that may share no circuit to its first byte, from when each was meant to begin"
    }

    fn measure<'a>(&'a self, scene: &'a mut Scene<'_>) -> Measuring<'a> {
        Box::pin(async {
            let load = scene.load().await?;
            let run = load.run;
            streams(scene, &load, STEP, |number| Some(format!("{run}-{number}"))).await
        })
    }
}
