//! Cold start: from starting the program without any files to the first byte of an answer through
//! three relays, which is asked for as soon as its port is there.
//!
//! Called by `mod.rs`. Spec: none.

use super::super::figure::{Amount, Fault, Figure, Measured};
use super::super::process::{Memory, Usage};
use super::super::scene::Scene;
use super::super::subject::{Home, Running};
use super::{Measuring, Workload};
use tokio::time::Instant;

/// It.
pub struct ColdStart;

impl Workload for ColdStart {
    fn name(&self) -> String {
        "cold-start".to_owned()
    }

    fn about(&self) -> &'static str {
        "from starting the program, without files, to the first byte through three relays"
    }

    fn measure<'a>(&'a self, scene: &'a mut Scene<'_>) -> Measuring<'a> {
        Box::pin(async {
            let home = Home::new(scene.network)?;
            let (measured, running) = start(scene, home).await?;
            running.end().await;
            Ok(measured)
        })
    }
}

/// Starts the program with what is in that home, until the first byte.
pub async fn start(scene: &Scene<'_>, home: Home) -> Result<(Measured, Running), Fault> {
    let begun = Instant::now();
    let running = Running::start(scene.program()?, home)?;
    let running = scene.await_first_byte(running).await?;
    let mut figures = vec![Figure::time("first byte", begun.elapsed())];
    let used = Usage::of(running.id()).unwrap_or_default();
    figures.push(Figure::time("cpu", used.busy_since(&Usage::default())));
    let memory = Memory::of(running.id()).unwrap_or_default();
    figures.extend([Figure::memory("memory", memory.now), Figure::memory("peak", memory.peak)]);
    Ok((Measured { figures, amount: Amount::Nothing }, running))
}
