//! Warm start: from starting the program with the files of an earlier run to the first byte of an
//! answer through three relays, which is asked for as soon as its port is there; again and again,
//! the middle one.
//!
//! Called by `mod.rs`. Spec: none.

use super::super::scene::Scene;
use super::super::subject::{Home, Running};
use super::cold_start::starts;
use super::{Measuring, Workload};

/// It.
pub struct WarmStart;

impl Workload for WarmStart {
    fn name(&self) -> String {
        "warm-start".to_owned()
    }

    fn about(&self) -> &'static str {
        "from starting the program, with the files of an earlier run, to the first byte through three relays"
    }

    fn measure<'a>(&'a self, scene: &'a mut Scene<'_>) -> Measuring<'a> {
        Box::pin(async {
            let home = match scene.contestant.kept.take() {
                Some(home) => home,
                // The run before: left alone for a while, so that it has all that it wants to keep.
                None => {
                    let running = Running::start(scene.program()?, Home::new(scene.network)?)?;
                    let running = scene.await_first_byte(running).await?;
                    tokio::time::sleep(scene.size.rest).await;
                    running.end().await
                }
            };
            let (measured, home) = starts(scene, home, Ok).await?;
            scene.contestant.kept = Some(home);
            Ok(measured)
        })
    }
}
