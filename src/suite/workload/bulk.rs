//! Bulk: from the first byte asked for to the last one come (or, upwards, from the first sent to the
//! server's word that it has the last), over one stream or many at once that are open already.
//!
//! Called by `mod.rs`. Spec: none.

use std::sync::Arc;

use tokio::time::Instant;

use super::super::figure::{Amount, Fault, Figure, Measured, Unit, mebibytes};
use super::super::load::{Flow, Purse, gather};
use super::super::process::Usage;
use super::super::scene::Scene;
use super::super::subject::Subject;
use super::{Measuring, Workload};

/// Over how many streams.
pub const STREAMS: [usize; 3] = [1, 8, 64];

/// Whereto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To us.
    Down,
    /// From us.
    Up,
}

/// It, of one direction and so many streams.
pub struct Bulk {
    /// Whereto.
    pub direction: Direction,
    /// Over how many streams.
    pub streams: usize,
}

impl Workload for Bulk {
    fn name(&self) -> String {
        let direction = if self.direction == Direction::Down { "down" } else { "up" };
        format!("bulk-{direction}-{}", self.streams)
    }

    fn about(&self) -> &'static str {
        match self.direction {
            Direction::Down => "from the first byte asked for to the last one come, over so many open streams",
            Direction::Up => "from the first byte sent to the server's word for the last, over so many open streams",
        }
    }

    fn fits(&self, subject: &Subject) -> bool {
        matches!(subject, Subject::Program(_) | Subject::Direct)
    }

    fn measure<'a>(&'a self, scene: &'a mut Scene<'_>) -> Measuring<'a> {
        Box::pin(async {
            let load = scene.load().await?;
            let flows = load.open_all(self.streams).await?;
            let (watch, network) = (scene.watch(), scene.network.usage());
            let purse = Arc::new(Purse::new(scene.size.bytes, self.streams, Instant::now() + scene.size.time));
            let direction = self.direction;
            let carried = flows.into_iter().map(|flow| carry(flow, direction, Arc::clone(&purse)));
            let bytes = gather(carried).await?.iter().sum::<u64>();
            let elapsed = watch.elapsed();
            let (given, taken) = if self.direction == Direction::Down { (bytes, 0) } else { (0, bytes) };
            scene.check_count(given, taken)?;
            let rate = mebibytes(bytes) / elapsed.as_secs_f64();
            let mut measured =
                watch.measured(vec![Figure::new("rate", Unit::MebibytesPerSecond, rate)], Amount::Bytes(bytes));
            measured.relays(&network, &scene.network.usage(), bytes);
            Ok(measured)
        })
    }
}

async fn carry(flow: Flow, direction: Direction, purse: Arc<Purse>) -> Result<u64, Fault> {
    match direction {
        Direction::Down => flow.pull(purse).await,
        Direction::Up => flow.push(purse).await,
    }
}

impl Measured {
    /// What the relays took, where they are ours: who is near a whole processor limits all others.
    fn relays(&mut self, before: &[Usage], after: &[Usage], bytes: u64) {
        let is_through_them = self.figures.iter().any(|figure| figure.metric == "cpu");
        if is_through_them && before.len() == after.len() && !before.is_empty() {
            let busy = before.iter().zip(after).map(|(before, after)| after.busy_since(before).as_secs_f64());
            let share = busy.sum::<f64>() * 1024.0 / mebibytes(bytes);
            self.figures.push(Figure::new("relays' cpu", Unit::SecondsPerGibibyte, share));
        }
    }
}
