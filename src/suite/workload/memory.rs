//! Memory: what a fresh client holds once it has been left alone, while eight streams download, at
//! most, and once it has been left alone again.
//!
//! Called by `mod.rs`. Spec: none.

use core::time::Duration;
use std::sync::Arc;

use tokio::time::{Instant, interval, sleep};

use super::super::figure::{Amount, Fault, Figure, Measured, Unit, mebibytes};
use super::super::load::{Load, Purse, Route, gather};
use super::super::process::{Memory, Usage};
use super::super::scene::{Scene, Size, cost};
use super::super::stats::median;
use super::super::subject::{Home, Running};
use super::{Measuring, Workload};

/// How many streams are its load.
const STREAMS: usize = 8;
/// How often it is looked at meanwhile; ours.
const LOOK: Duration = Duration::from_millis(10);

/// It.
pub struct Held;

impl Workload for Held {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn about(&self) -> &'static str {
        "what a fresh client holds: left alone, while 8 streams download, at most, and left alone again"
    }

    fn measure<'a>(&'a self, scene: &'a mut Scene<'_>) -> Measuring<'a> {
        Box::pin(async {
            let running = Running::start(scene.program()?, Home::new(scene.network)?)?;
            let mut running = scene.await_first_byte(running).await?;
            match measure(scene, &running).await {
                Ok(measured) => {
                    running.end().await;
                    Ok(measured)
                }
                Err(fault) => Err(running.blame(fault).await),
            }
        })
    }
}

async fn measure(scene: &Scene<'_>, running: &Running) -> Result<Measured, Fault> {
    let (rest, process) = (scene.size.rest, running.id());
    sleep(rest).await;
    let idle = held(process)?;
    let (load, before) = (scene.load_by(Route::Socks(running.home.socks)), Usage::of(process).unwrap_or_default());
    let (loaded, carried) = loaded(&load, process, scene.size).await?;
    scene.check_count(carried, 0)?;
    let used = Usage::of(process).unwrap_or_default();
    sleep(rest).await;
    let after = held(process)?;
    let amount = Amount::Bytes(carried);
    let mut figures = vec![
        Figure::memory("idle", idle.now),
        Figure::new("loaded", Unit::Mebibytes, loaded),
        Figure::memory("peak", after.peak),
        Figure::memory("after", after.now),
    ];
    figures.extend(cost(used.busy_since(&before), used.switches_since(&before), amount));
    Ok(Measured { figures, amount })
}

/// Downloads: what the process held meanwhile, in the middle, and how many bytes came.
async fn loaded(load: &Load, process: u32, size: Size) -> Result<(f64, u64), Fault> {
    let flows = load.open_all(STREAMS).await?;
    let purse = Arc::new(Purse::new(size.bytes, STREAMS, Instant::now() + size.time));
    let mut held = Vec::new();
    let (mut looks, bulk) = (interval(LOOK), gather(flows.into_iter().map(|flow| flow.pull(Arc::clone(&purse)))));
    tokio::pin!(bulk);
    let carried = loop {
        tokio::select! {
            carried = &mut bulk => break carried?,
            _ = looks.tick() => held.extend(Memory::of(process).map(|memory| mebibytes(memory.now))),
        }
    };
    let middle = median(&held).ok_or(Fault::Nothing("loaded"))?;
    Ok((middle, carried.iter().sum()))
}

fn held(process: u32) -> Result<Memory, Fault> {
    Memory::of(process).ok_or(Fault::Nothing("idle"))
}
