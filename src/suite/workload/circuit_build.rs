//! Circuit build: from when a circuit is begun, over a guard that is connected, to when each hop has
//! been added, and to when it can be used; of ourselves in this process, which tells.
//!
//! Each is wanted by a stream that may share no other, as often as by `fresh_isolation.rs`; those
//! built ahead count as well. Called by `mod.rs`. Spec: tor-spec, "Setting circuit keys" and
//! "Creating circuits".

use core::time::Duration;
use std::collections::BTreeMap;

use tokio::time::{Instant, sleep_until, timeout};

use super::super::figure::{Amount, Fault, Figure, Measured};
use super::super::load::Moments;
use super::super::scene::Scene;
use super::super::subject::Subject;
use super::fresh_isolation::STEP;
use super::{Measuring, Workload};
use crate::app::client::{CircuitId, CircuitStatus, Client, Event, Events, Isolation};
use crate::bench::{LatencyTracker, Limits, Outcome, PerfStats};

/// What each hop is called.
const HOPS: [&str; 3] = ["hop 1", "hop 2", "hop 3"];
/// What all of it is called.
const WHOLE: &str = "circuit";
/// How long the word for what was just built may take; ours.
const WORD: Duration = Duration::from_millis(100);

/// It.
pub struct CircuitBuild;

impl Workload for CircuitBuild {
    fn name(&self) -> String {
        "circuit-build".to_owned()
    }

    fn about(&self) -> &'static str {
        "from beginning a circuit to its use, and to each hop from the one before (ourselves in this process)"
    }

    fn fits(&self, subject: &Subject) -> bool {
        matches!(subject, Subject::Inside)
    }

    fn measure<'a>(&'a self, scene: &'a mut Scene<'_>) -> Measuring<'a> {
        Box::pin(async {
            let client = scene.client().await?;
            let mut heard = Heard::new(client.events());
            let opened = tokio::select! {
                opened = open(&client, scene) => opened,
                () = heard.listen() => Err(Fault::CutOff),
            };
            opened?;
            // It does not end by itself but with the client.
            let _ = timeout(WORD, heard.listen()).await;
            heard.measured()
        })
    }
}

/// Opens streams that share no circuit, one after the other.
async fn open(client: &Client, scene: &Scene<'_>) -> Result<(), Fault> {
    for moment in Moments::new(STEP, Instant::now() + scene.size.time) {
        sleep_until(moment).await;
        let opened = client.connect(scene.origin.address(), &Isolation::fresh()).await;
        opened.map_err(|error| Fault::Start(error.to_string()))?;
    }
    Ok(())
}

/// What is heard of circuits.
struct Heard {
    events: Events,
    /// When each that is being built began, and came to its last hop.
    building: BTreeMap<CircuitId, (Instant, Instant)>,
    steps: PerfStats,
    whole: LatencyTracker,
}

impl Heard {
    fn new(events: Events) -> Heard {
        let steps = PerfStats::new(Limits { operations: HOPS.len(), ..Limits::default() });
        Heard { events, building: BTreeMap::new(), steps, whole: LatencyTracker::default() }
    }

    async fn listen(&mut self) {
        while let Some(event) = self.events.next().await {
            if let Event::Circuit { circuit, status, relays } = event {
                self.note(circuit, status, relays.len(), Instant::now());
            }
        }
    }

    fn note(&mut self, circuit: CircuitId, status: CircuitStatus, hops: usize, now: Instant) {
        match status {
            CircuitStatus::Launched => drop(self.building.insert(circuit, (now, now))),
            CircuitStatus::Extended => {
                let Some((_, last)) = self.building.get_mut(&circuit) else { return };
                if let Some(hop) = hops.checked_sub(1).and_then(|at| HOPS.get(at)) {
                    self.steps.record(hop, now - *last, Outcome::Done);
                }
                *last = now;
            }
            CircuitStatus::Built => {
                let Some((begun, _)) = self.building.remove(&circuit) else { return };
                self.whole.record(now - begun);
            }
            CircuitStatus::Failed | CircuitStatus::Closed => drop(self.building.remove(&circuit)),
        }
    }

    fn measured(&self) -> Result<Measured, Fault> {
        let snapshot = self.steps.snapshot();
        let mut figures = vec![Figure::time(WHOLE, self.whole.percentile(0.5))];
        for hop in HOPS {
            let seen = snapshot.operations.iter().find(|operation| &*operation.name == hop);
            let seen = seen.ok_or(Fault::Nothing(hop))?;
            figures.push(Figure::time(hop, seen.latency.p50));
        }
        Ok(Measured { figures, amount: Amount::Operations(self.whole.count()) })
    }
}
