//! Where a workload finds itself: whom it measures, on what, for how long; and what that takes.
//!
//! A subject's client stays for all workloads of a round, and is started anew for the next one, so
//! that rounds owe nothing to each other; also when it failed. Called by `engine.rs`, which makes
//! it, and by the files of `workload/`. Spec: none.

use core::time::Duration;
use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::figure::{Amount, Fault, Figure, Measured, Unit};
use super::load::{Load, Route};
use super::network::Network;
use super::origin::{Origin, Pattern, Tally};
use super::process::{Memory, Usage};
use super::subject::{Home, Program, Running, Subject};
use crate::app::client::Client;

/// How often a start that came to nothing is tried; ours. Each may take all patience.
const MAX_VAIN: usize = 2;
/// For what part of the time that memory is left alone a new client is, before anything is measured:
/// it has circuits to build ahead; ours.
const SETTLING: u32 = 5;
/// How often a port that does not answer yet is tried again; ours.
const PAUSE: Duration = Duration::from_millis(1);

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// For how long.
    pub time: Duration,
    /// How many bytes, where that is over sooner.
    pub bytes: u64,
    /// How long nothing happens before memory is looked at.
    pub rest: Duration,
    /// How much longer than [`Size::time`] nothing may come of it.
    pub patience: Duration,
}

/// One who is measured.
pub struct Contestant {
    /// Who.
    pub subject: Subject,
    /// Its client, while it runs.
    standing: Option<Standing>,
    /// What a client kept that has ended, for one that begins with it.
    pub kept: Option<Home>,
    /// How many starts came to nothing, one after the other.
    vain: usize,
}

enum Standing {
    Program(Running),
    Inside(Client),
}

impl Contestant {
    /// One of whom nothing runs yet.
    pub fn new(subject: Subject) -> Contestant {
        Contestant { subject, standing: None, kept: None, vain: 0 }
    }

    /// After a fault: ends what runs. Says that it died, if that is what happened.
    pub async fn blame(&mut self, fault: Fault) -> Fault {
        match self.standing.take() {
            Some(Standing::Program(mut running)) => running.blame(fault).await,
            _ => fault,
        }
    }

    /// Ends its client, if one runs.
    pub async fn end(&mut self) {
        match self.standing.take() {
            Some(Standing::Program(running)) => drop(running.end().await),
            // One that has failed has ended.
            Some(Standing::Inside(client)) => drop(client.shutdown().await),
            None => {}
        }
    }

    /// The process of its client, if it is one.
    pub fn process(&self) -> Option<u32> {
        if let Some(Standing::Program(running)) = &self.standing { Some(running.id()) } else { None }
    }
}

/// Where a workload finds itself.
pub struct Scene<'a> {
    /// The network.
    pub network: &'a Network,
    /// The server at the far end.
    pub origin: &'a Origin,
    /// What is sent.
    pub pattern: Arc<Pattern>,
    /// How much.
    pub size: Size,
    /// Whom.
    pub contestant: &'a mut Contestant,
}

impl Scene<'_> {
    /// The program that is measured.
    pub fn program(&self) -> Result<&dyn Program, Fault> {
        match &self.contestant.subject {
            Subject::Program(program) => Ok(program.as_ref()),
            _ => Err(Fault::Start("it is no program".to_owned())),
        }
    }

    /// A load on a way that is open: a client that has carried a byte.
    pub async fn load(&mut self) -> Result<Load, Fault> {
        if let Subject::Direct = self.contestant.subject {
            return Ok(self.load_by(Route::Direct));
        }
        if self.contestant.standing.is_none() {
            self.stand(async |scene: &mut Scene<'_>| {
                let running = Running::start(scene.program()?, Home::new(scene.network)?)?;
                scene.await_first_byte(running).await.map(Standing::Program)
            })
            .await?;
        }
        match &mut self.contestant.standing {
            Some(Standing::Program(running)) => {
                running.check()?;
                let socks = running.home.socks;
                Ok(self.load_by(Route::Socks(socks)))
            }
            _ => Err(Fault::Start("it has no port".to_owned())),
        }
    }

    /// The client in this process.
    pub async fn client(&mut self) -> Result<Client, Fault> {
        if self.contestant.standing.is_none() {
            self.stand(async |scene: &mut Scene<'_>| {
                let client = Client::builder().torrc(&scene.network.torrc).start().await;
                let client = client.map_err(|error| Fault::Start(error.to_string()))?;
                let ready = client.bootstrap(scene.size.patience).await;
                ready.map(|()| Standing::Inside(client)).map_err(|error| Fault::Start(error.to_string()))
            })
            .await?;
        }
        match &self.contestant.standing {
            Some(Standing::Inside(client)) => Ok(client.clone()),
            _ => Err(Fault::Start("it is not in this process".to_owned())),
        }
    }

    async fn stand(&mut self, start: impl AsyncFnOnce(&mut Self) -> Result<Standing, Fault>) -> Result<(), Fault> {
        if self.contestant.vain >= MAX_VAIN {
            return Err(Fault::GivenUp);
        }
        self.contestant.vain += 1;
        let standing = start(self).await?;
        sleep(self.size.rest / SETTLING).await;
        self.contestant.standing = Some(standing);
        self.contestant.vain = 0;
        Ok(())
    }

    /// A load by that way, in a run of its own.
    pub fn load_by(&self, route: Route) -> Load {
        Load { route, to: self.origin.address(), run: self.origin.begin(), pattern: Arc::clone(&self.pattern) }
    }

    /// Waits until a program has carried a byte. Its port is tried until it answers: who starts a
    /// client does not wait for it either.
    pub async fn await_first_byte(&self, mut running: Running) -> Result<Running, Fault> {
        let load = self.load_by(Route::Socks(running.home.socks));
        loop {
            let tried = async { load.open(None).await?.get(1).await }.await;
            running.check()?;
            match tried {
                Ok(()) => return Ok(running),
                Err(Fault::Network(_) | Fault::Refused(_) | Fault::CutOff) => sleep(PAUSE).await,
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Begins to watch what a measurement takes.
    pub fn watch(&self) -> Watch {
        let process = self.contestant.process();
        Watch { process, before: process.and_then(Usage::of), begun: Instant::now() }
    }

    /// Whether the server has counted what we have.
    pub fn check_count(&self, given: u64, taken: u64) -> Result<(), Fault> {
        let Tally { given: ours, taken: theirs } = self.origin.tally();
        let pair = if ours == given { (theirs, taken) } else { (ours, given) };
        if pair.0 == pair.1 { Ok(()) } else { Err(Fault::Miscounted { origin: pair.0, reported: pair.1 }) }
    }
}

/// What a measurement takes.
pub struct Watch {
    process: Option<u32>,
    before: Option<Usage>,
    begun: Instant,
}

impl Watch {
    /// How long it has taken.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// What came of it, and behind that what it took.
    pub fn measured(&self, mut figures: Vec<Figure>, amount: Amount) -> Measured {
        let after = self.process.and_then(Usage::of);
        if let (Some(before), Some(after)) = (&self.before, after) {
            figures.extend(cost(after.busy_since(before), after.switches_since(before), amount));
        }
        if let Some(memory) = self.process.and_then(Memory::of) {
            figures.extend([Figure::memory("memory", memory.now), Figure::memory("peak", memory.peak)]);
        }
        Measured { figures, amount }
    }
}

/// What so much of the processors is for so much that went through.
pub fn cost(busy: Duration, switches: u64, amount: Amount) -> [Figure; 2] {
    let (units, per) = match amount {
        Amount::Bytes(bytes) => ([Unit::SecondsPerGibibyte, Unit::TimesPerMebibyte], bytes as f64 / f64::from(1 << 20)),
        Amount::Operations(count) => ([Unit::MillisecondsPerOperation, Unit::TimesPerOperation], count as f64),
        Amount::Nothing => {
            let switches = Figure::new("switches", Unit::TimesPerOperation, switches as f64);
            return [Figure::time("cpu", busy), switches];
        }
    };
    let scale = if matches!(amount, Amount::Bytes(_)) { 1024.0 } else { 1e3 };
    let [cpu, switched] = units;
    [
        Figure::new("cpu", cpu, busy.as_secs_f64() * scale / per),
        Figure::new("switches", switched, switches as f64 / per),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_divided_by_what_went_through() {
        let value = |amount| cost(Duration::from_millis(500), 64, amount).iter().map(|it| it.value).collect::<Vec<_>>();
        assert_eq!(value(Amount::Bytes(256 << 20)), [2.0, 0.25]);
        assert_eq!(value(Amount::Operations(10)), [50.0, 6.4]);
        assert_eq!(value(Amount::Nothing), [500.0, 64.0]);
    }
}
