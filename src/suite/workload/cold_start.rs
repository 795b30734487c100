//! Cold start: from starting the program without any files to the first byte of an answer through
//! three relays, which is asked for as soon as its port is there; again and again, the middle one.
//!
//! Called by `mod.rs`. Spec: none.

use super::super::figure::{Amount, Fault, Figure, Measured};
use super::super::process::{Memory, Usage};
use super::super::scene::{Scene, cost};
use super::super::stats::median;
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
            let fresh = || Home::new(scene.network);
            starts(scene, fresh()?, |_| fresh()).await.map(|(measured, _)| measured)
        })
    }
}

/// Starts the program with what is in that home, until the first byte, and ends it; again with the
/// next home, until the time is over. What it took in the middle, and the last home.
pub async fn starts(
    scene: &Scene<'_>,
    mut home: Home,
    next: impl Fn(Home) -> Result<Home, Fault>,
) -> Result<(Measured, Home), Fault> {
    let (until, mut all) = (Instant::now() + scene.size.time, Vec::new());
    loop {
        let (figures, running) = start(scene, home).await?;
        all.push(figures);
        home = next(running.end().await)?;
        if Instant::now() >= until {
            break;
        }
    }
    let amount = Amount::Nothing;
    let middle = |at: usize, figure: &Figure| {
        let values: Vec<f64> = all.iter().filter_map(|figures| Some(figures.get(at)?.value)).collect();
        Figure { value: median(&values).unwrap_or_default(), ..*figure }
    };
    let figures = all.first().into_iter().flatten().enumerate().map(|(at, figure)| middle(at, figure)).collect();
    Ok((Measured { figures, amount }, home))
}

/// Starts the program, until the first byte: what that took.
async fn start(scene: &Scene<'_>, home: Home) -> Result<(Vec<Figure>, Running), Fault> {
    let begun = Instant::now();
    let running = Running::start(scene.program()?, home)?;
    let running = scene.await_first_byte(running).await?;
    let mut figures = vec![Figure::time("first byte", begun.elapsed())];
    let (used, before) = (Usage::of(running.id()).unwrap_or_default(), Usage::default());
    figures.extend(cost(used.busy_since(&before), used.switches_since(&before), Amount::Nothing));
    let memory = Memory::of(running.id()).unwrap_or_default();
    figures.extend([Figure::memory("memory", memory.now), Figure::memory("peak", memory.peak)]);
    Ok((figures, running))
}
