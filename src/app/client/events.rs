//! What a program is told of its client, as values that wait for it up to a bound.
//!
//! Everybody who listens has all events; whoever is slow loses the oldest and hears how many, and
//! holds nobody up. No event says where a stream went. Called by `engine.rs`, which tells them, and
//! by `mod.rs`. Spec: control-spec, "Bootstrap phases", for the words of progress.

use core::fmt;

use tokio::sync::{broadcast, watch};

use super::CircuitId;
use super::engine::State;
use crate::base::text;
use crate::client;
use crate::client::events::{self, CircuitFacts, LinkReason, Purpose};

/// How many events wait for whoever listens; ours, what a start and some minutes bring.
pub(super) const MAX_EVENTS: usize = 256;

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    percent: u8,
    tag: &'static str,
    summary: &'static str,
}

impl Progress {
    /// Of a hundred; it never becomes less.
    pub fn percent(self) -> u8 {
        self.percent
    }

    /// The word for programs, as C tor's control port has it.
    pub fn tag(self) -> &'static str {
        self.tag
    }

    /// In words.
    pub fn summary(self) -> &'static str {
        self.summary
    }

    /// Whether streams can be opened.
    pub fn is_done(self) -> bool {
        self.percent == 100
    }
}

impl Default for Progress {
    /// At the start.
    fn default() -> Self {
        client::Progress::Starting.into()
    }
}

impl From<client::Progress> for Progress {
    fn from(progress: client::Progress) -> Self {
        let (percent, tag, summary) = progress.words();
        Progress { percent, tag, summary }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}% ({}): {}", self.percent, self.tag, self.summary)
    }
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It got so far.
    Progress(Progress),
    /// There is enough of a directory to build circuits with, or no more.
    CanBuild(bool),
    /// Whether the network answers at all.
    Alive(bool),
    /// Something became of a circuit for streams.
    Circuit {
        /// Which.
        circuit: CircuitId,
        /// What.
        status: CircuitStatus,
        /// The fingerprints of those of its relays that are reached, the guard first.
        relays: Vec<String>,
    },
    /// Somebody must know something, in words: of the clock, of the network, of this program.
    Notice(String),
    /// So many events were lost, before the next.
    Lost(u64),
}

/// What became of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CircuitStatus {
    /// It is being built.
    Launched,
    /// It has one more relay.
    Extended,
    /// It carries streams.
    Built,
    /// It was never built.
    Failed,
    /// It is over.
    Closed,
}

impl Event {
    /// What programs are told of an event; nothing of some.
    pub(super) fn of(event: events::Event) -> Option<Event> {
        match event {
            events::Event::Progress(progress) => Some(Event::Progress(progress.into())),
            events::Event::Enough(is_enough) => Some(Event::CanBuild(is_enough)),
            events::Event::Alive(is_alive) => Some(Event::Alive(is_alive)),
            events::Event::Circuit(facts, status) => of_circuit(&facts, status),
            events::Event::Notice(notice) => Some(Event::Notice(notice.to_string())),
            events::Event::Lost(count) => Some(Event::Lost(count.into())),
            _ => None,
        }
    }
}

fn of_circuit(facts: &CircuitFacts, status: events::CircuitStatus) -> Option<Event> {
    let status = match status {
        events::CircuitStatus::Launched => CircuitStatus::Launched,
        events::CircuitStatus::Extended => CircuitStatus::Extended,
        events::CircuitStatus::Built => CircuitStatus::Built,
        events::CircuitStatus::Failed(_) => CircuitStatus::Failed,
        events::CircuitStatus::Closed(_) => CircuitStatus::Closed,
        events::CircuitStatus::GuardWait | events::CircuitStatus::Repurposed(_) => return None,
    };
    let relays = facts.path.iter().map(|relay| text::hex(&relay.0)).collect();
    let is_for_streams = facts.purpose != Purpose::Directory;
    is_for_streams.then(|| Event::Circuit { circuit: CircuitId::of(facts.circuit), status, relays })
}

/// Why a relay could not be reached, in words.
pub(super) fn trouble(reason: LinkReason) -> &'static str {
    match reason {
        LinkReason::Done => "nobody needs it",
        LinkReason::Refused => "the connection is refused",
        LinkReason::Identity => "somebody else is there",
        LinkReason::Reset => "the connection is reset",
        LinkReason::TimedOut => "it takes too long",
        LinkReason::NoRoute => "there is no way to it",
        LinkReason::Io => "the system fails",
        LinkReason::ResourceLimit => "the system has no more",
        LinkReason::Tls => "TLS fails",
        LinkReason::Misc => "the protocol is broken",
    }
}

/// What happens to a client, from when [`super::Client::events`] was called.
#[derive(Debug)]
pub struct Events {
    receiver: Option<broadcast::Receiver<Event>>,
}

impl Events {
    pub(super) fn new(receiver: Option<broadcast::Receiver<Event>>) -> Events {
        Events { receiver }
    }

    /// The next event; nothing once the client has ended. Whoever takes them too slowly gets
    /// [`Event::Lost`] in place of the oldest. Nothing is lost by dropping the future.
    pub async fn next(&mut self) -> Option<Event> {
        match self.receiver.as_mut()?.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Event::Lost(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// How far a client is, each time that it got further.
#[derive(Debug)]
pub struct ProgressSteps {
    events: Events,
    state: watch::Receiver<State>,
    /// What was last told.
    told: Option<Progress>,
}

impl ProgressSteps {
    pub(super) fn new(events: Events, state: watch::Receiver<State>) -> ProgressSteps {
        ProgressSteps { events, state, told: None }
    }

    /// First how far it is now, then each further step; nothing once the client has ended, or when
    /// it is usable and that was told. Whoever is so slow that steps are lost gets the last.
    pub async fn next(&mut self) -> Option<Progress> {
        if self.told.is_none() {
            let now = self.state.borrow().progress;
            return self.tell(now);
        }
        while !self.told.is_some_and(Progress::is_done) {
            let progress = match self.events.next().await? {
                Event::Progress(progress) => progress,
                Event::Lost(_) => self.state.borrow().progress,
                _ => continue,
            };
            // What it had come to before it was asked is told already.
            if self.told.is_none_or(|told| progress.percent > told.percent) {
                return self.tell(progress);
            }
        }
        None
    }

    fn tell(&mut self, progress: Progress) -> Option<Progress> {
        self.told = Some(progress);
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::Hub;
    use super::*;
    use crate::app::runtime::executor;

    fn hub() -> (Hub, broadcast::Sender<Event>, watch::Receiver<State>) {
        let (events, _) = broadcast::channel(MAX_EVENTS);
        let (tell, state) = watch::channel(State::default());
        (Hub::new(events.clone(), tell), events, state)
    }

    #[test]
    fn who_is_slow_loses_the_oldest_and_is_told_how_many() {
        let (hub, sender, _state) = hub();
        let (mut slow, mut late) = (Events::new(Some(sender.subscribe())), Events::new(None));
        for _ in 0..MAX_EVENTS + 7 {
            hub.hear(events::Event::Alive(true));
        }
        hub.hear(events::Event::Alive(false));
        drop((hub, sender));
        executor().unwrap().block_on(async {
            assert_eq!(slow.next().await, Some(Event::Lost(8)));
            for _ in 1..MAX_EVENTS {
                assert_eq!(slow.next().await, Some(Event::Alive(true)));
            }
            assert_eq!((slow.next().await, slow.next().await), (Some(Event::Alive(false)), None));
            assert_eq!(late.next().await, None);
        });
    }

    #[test]
    fn progress_is_what_it_is_now_and_each_step_after_it_even_where_steps_are_lost() {
        let (hub, sender, state) = hub();
        let step = |progress| hub.hear(events::Event::Progress(progress));
        let mut early = ProgressSteps::new(Events::new(Some(sender.subscribe())), state.clone());
        step(client::Progress::Connecting);
        let mut late = ProgressSteps::new(Events::new(Some(sender.subscribe())), state.clone());
        executor().unwrap().block_on(async {
            let percent = |progress: Option<Progress>| progress.map(Progress::percent);
            assert_eq!((percent(early.next().await), percent(late.next().await)), (Some(5), Some(5)));
            step(client::Progress::LoadingDescriptors(60));
            assert_eq!((percent(early.next().await), percent(late.next().await)), (Some(60), Some(60)));
            step(client::Progress::EnoughDirectory);
            step(client::Progress::Done);
            (0..=MAX_EVENTS).for_each(|_| hub.hear(events::Event::Alive(true)));
            assert_eq!(percent(early.next().await), Some(100), "the steps before it are lost");
            assert_eq!(early.next().await, None);
        });
    }
}
