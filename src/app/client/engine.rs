//! The thread that a client of another program lives on: an executor of its own, the orders that
//! come to it, and the end.
//!
//! A task for each order, as for each connection of a program; what a request may be is
//! `proxy/door.rs`'s, as for a SOCKS port. Ends when it is told to, when no handle is left, or when
//! the client cannot go on, and then writes what the next run should know. Called by `builder.rs`,
//! which starts it. Spec: none.

use core::time::Duration;
use std::rc::Rc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{LocalSet, spawn_local};

use super::stream::{Carrier, Conduit, Stream};
use super::{BootstrapError, CircuitId, Error, Event, Isolation, Progress, StartError, events};
use crate::app;
use crate::app::driver::{Driver, Recipient};
use crate::app::files::{Done, Files};
use crate::app::local::LocalClient;
use crate::app::logging::Logger;
use crate::app::program::{self, News};
use crate::app::runtime::{self, SystemClock, SystemEntropy};
use crate::app::{SAVE_LIMIT, directories};
use crate::client;
use crate::client::events::Mask;
use crate::client::isolation::Group;
use crate::client::{Setup, Wish};
use crate::config::Domain;
use crate::proxy::door::{Door, Verdict};
use crate::proxy::{Found, Protocol, Request};

/// What the thread is called.
pub(super) const THREAD: &str = "cepa";
/// What requests of the program count as: names and addresses alike, and `SafeSocks` holds for them.
pub(super) const PROTOCOL: Protocol = Protocol::Socks5;

/// Where its ports are, or why it cannot begin.
pub(super) type Begun = Result<Vec<String>, StartError>;

/// What a client begins with.
pub(super) struct Plan {
    pub(super) setup: Setup,
    pub(super) warnings: Vec<String>,
}

/// What a handle wants. What comes of it goes to the sender; whoever drops the other end of that
/// wants it no more.
pub(super) enum Order {
    /// A stream.
    Connect(Request, Isolation, oneshot::Sender<Result<Stream, Error>>),
    /// A look-up.
    LookUp(Request, Isolation, oneshot::Sender<Result<Found, Error>>),
    /// To hear when it is usable, or that it is not after so long.
    Wait(Duration, oneshot::Sender<Result<(), BootstrapError>>),
    /// New circuits from now on.
    NewIdentity,
    /// The end.
    Shutdown,
}

/// How it is with a client, for all its handles.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) progress: Progress,
    /// Why the last relay could not be reached.
    pub(super) trouble: Option<&'static str>,
    pub(super) end: Option<End>,
}

/// That it has ended.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    /// Why, if not by anybody's wish.
    pub(super) why: Option<String>,
    /// Whether what the next run should know is written.
    pub(super) is_saved: bool,
}

/// Where handles hear of the client.
pub(super) struct Hub {
    events: broadcast::Sender<Event>,
    state: watch::Sender<State>,
}

impl Hub {
    pub(super) fn new(events: broadcast::Sender<Event>, state: watch::Sender<State>) -> Hub {
        Hub { events, state }
    }

    /// Something happened. That nobody listens is as good.
    pub(super) fn hear(&self, event: client::events::Event) {
        match &event {
            client::events::Event::Progress(progress) => {
                self.state.send_modify(|state| state.progress = (*progress).into());
            }
            client::events::Event::Problem(problem) => {
                self.state.send_modify(|state| state.trouble = Some(events::trouble(problem.reason)));
            }
            _ => {}
        }
        if let Some(event) = Event::of(event) {
            let _ = self.events.send(event);
        }
    }

    fn is_usable(&self) -> bool {
        self.state.borrow().progress.is_done()
    }
}

/// Lives. Where programs can connect to, or why it cannot begin, is said once.
pub(super) fn run(plan: &Plan, orders: mpsc::Receiver<Order>, hub: Hub, begun: oneshot::Sender<Begun>) {
    let (hub, mut begun) = (Rc::new(hub), Some(begun));
    let end = live(plan, orders, &hub, &mut begun).unwrap_or_else(|error| {
        // It can only fail before it has begun.
        if let Some(begun) = begun.take() {
            let _ = begun.send(Err(error.into()));
        }
        End::default()
    });
    // By now all that it had is let go: its files, its ports, and its lock.
    hub.state.send_modify(|state| state.end = Some(end));
}

/// What the client needs of this machine.
struct Home {
    setup: Setup,
    files: Files,
    done: Option<mpsc::Receiver<Done>>,
    clock: SystemClock,
    log: Rc<Logger>,
}

fn live(
    plan: &Plan,
    orders: mpsc::Receiver<Order>,
    hub: &Rc<Hub>,
    begun: &mut Option<oneshot::Sender<Begun>>,
) -> Result<End, app::Error> {
    let (runtime, clock, config) = (runtime::executor()?, SystemClock::start(), &plan.setup.config);
    let log = Rc::new(Logger::open(config, clock).map_err(app::Error::Log)?);
    plan.warnings.iter().for_each(|warning| log.warn(Domain::Config, format_args!("{warning}")));
    let kept = config.data_directory.is_some().then(|| directories(config, &log, &runtime)).transpose()?;
    let (places, _lock) = kept.unzip();
    let setup = plan.setup.clone();
    let (setup, (files, done)) = match places {
        Some(places) => (setup.with_files(), Files::start(places).map(|(files, done)| (files, Some(done)))?),
        None => (setup, (Files::nowhere(), None)),
    };
    let home = Home { setup, files, done, clock, log };
    let result = LocalSet::new().block_on(&runtime, reside(home, orders, hub, begun));
    // A disk that hangs holds up nobody who ends it.
    runtime.shutdown_background();
    result
}

/// Lives there until the end, and writes what the next run should know.
async fn reside(
    home: Home,
    orders: mpsc::Receiver<Order>,
    hub: &Rc<Hub>,
    begun: &mut Option<oneshot::Sender<Begun>>,
) -> Result<End, app::Error> {
    let client = LocalClient::begin(home.setup, home.files, home.clock, home.log)?;
    let (driver, ear) = (client.driver(), Rc::clone(hub));
    driver.watch(Mask::NETWORK.with(Mask::CIRCUITS), Box::new(move |event| ear.hear(event)));
    if let Some(done) = home.done {
        drop(spawn_local(Rc::clone(driver).hear_files(done)));
    }
    if let Some(begun) = begun.take() {
        // Whoever does not wait for it any more has no handle, and that is the end.
        let _ = begun.send(Ok(client.ports().to_owned()));
    }
    let why = tokio::select! {
        () = serve(driver, hub, orders) => None,
        why = driver.doomed() => Some(why),
    };
    let is_saved = tokio::time::timeout(SAVE_LIMIT, driver.save()).await.is_ok();
    Ok(End { why, is_saved })
}

/// Obeys until it is told to end, or nobody is left who could.
async fn serve(driver: &Rc<Driver>, hub: &Rc<Hub>, mut orders: mpsc::Receiver<Order>) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Connect(request, isolation, answer) => {
                drop(spawn_local(connect(Rc::clone(driver), Rc::clone(hub), request, isolation, answer)));
            }
            Order::LookUp(request, isolation, answer) => {
                drop(spawn_local(look_up(Rc::clone(driver), Rc::clone(hub), request, isolation, answer)));
            }
            Order::Wait(limit, answer) => drop(spawn_local(wait(hub.state.subscribe(), limit, answer))),
            Order::NewIdentity => driver.new_identity(),
            Order::Shutdown => return,
        }
    }
}

/// Opens a stream, and carries its bytes.
async fn connect(
    driver: Rc<Driver>,
    hub: Rc<Hub>,
    request: Request,
    isolation: Isolation,
    mut answer: oneshot::Sender<Result<Stream, Error>>,
) {
    let error = match judge(&driver, &request, &isolation) {
        Verdict::Ask(wish) => match ask(&driver, wish, &mut answer).await {
            None => return,
            Some((carrier, News::Connected, circuit)) => {
                // A stream that nobody takes any more is dropped, and that is heard of.
                let _ = answer.send(Ok(carrier.stream(circuit)));
                return carrier.run().await;
            }
            Some((_, News::Failed(failure), _)) => Error::of(failure.into(), hub.is_usable()),
            Some(_) => Error::CircuitFailed,
        },
        Verdict::Answer(_) => Error::NotFound,
        Verdict::Refuse(failure) => Error::of(failure, hub.is_usable()),
    };
    let _ = answer.send(Err(error));
}

/// Looks something up.
async fn look_up(
    driver: Rc<Driver>,
    hub: Rc<Hub>,
    request: Request,
    isolation: Isolation,
    mut answer: oneshot::Sender<Result<Found, Error>>,
) {
    let result = match judge(&driver, &request, &isolation) {
        Verdict::Ask(wish) => match ask(&driver, wish, &mut answer).await {
            None => return,
            Some((_, News::Found(found, _), _)) => Ok(found.into()),
            Some((_, News::Failed(failure), _)) => Err(Error::of(failure.into(), hub.is_usable())),
            Some(_) => Err(Error::CircuitFailed),
        },
        Verdict::Answer(found) => Ok(found),
        Verdict::Refuse(failure) => Err(Error::of(failure, hub.is_usable())),
    };
    let _ = answer.send(result);
}

/// What becomes of a request, as of one to a port. The user is told what there is to know of it.
fn judge(driver: &Rc<Driver>, request: &Request, isolation: &Isolation) -> Verdict {
    let (requests, flags) = (driver.requests(), isolation.flags());
    let door = Door { number: 0, flags: &flags, requests: &requests };
    let (verdict, notices) = door.judge(request, None, &mut driver.maps(), &mut SystemEntropy);
    notices.into_iter().for_each(|notice| program::warn(driver, request, notice));
    match verdict {
        Verdict::Ask(mut wish) => {
            wish.facts.group = Group::Embedder;
            Verdict::Ask(wish)
        }
        verdict => verdict,
    }
}

/// What the client first says of a request, and the circuit of it; nothing if nobody waits for
/// that any more.
async fn ask<T>(
    driver: &Rc<Driver>,
    wish: Wish,
    answer: &mut oneshot::Sender<T>,
) -> Option<(Carrier, News, Option<CircuitId>)> {
    let conduit = Conduit::new();
    let no = driver.request(wish, Recipient::Embedder(conduit.clone()));
    let news = tokio::select! {
        biased;
        news = conduit.news() => news,
        () = answer.closed() => {
            driver.cancel(no);
            return None;
        }
    };
    let circuit = driver.circuit_of(no).map(CircuitId::of);
    if !matches!(news, News::Connected) {
        driver.forget(no);
    }
    Some((Carrier::new(driver, no, conduit), news, circuit))
}

/// Says when the client is usable, or that it is not in time.
async fn wait(
    mut state: watch::Receiver<State>,
    limit: Duration,
    mut answer: oneshot::Sender<Result<(), BootstrapError>>,
) {
    let is_usable = tokio::select! {
        is_usable = tokio::time::timeout(limit, state.wait_for(|state| state.progress.is_done())) => is_usable.is_ok(),
        () = answer.closed() => return,
    };
    let State { progress, trouble, .. } = *state.borrow();
    let _ = answer.send(if is_usable { Ok(()) } else { Err(BootstrapError::TimedOut { progress, trouble }) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Settings};
    use crate::proxy::{Command, Host};

    /// The only relay that it knows: a port of this machine that nobody has.
    const LINES: &str = "TestingTorNetwork 1\nDirAuthority nobody orport=1 \
                         v3ident=0000000000000000000000000000000000000000 127.0.0.1:1 \
                         0000000000000000000000000000000000000000\nSocksPort 0\nLog err stderr\n";

    fn request() -> Request {
        let host = Host::parse("example.com").unwrap();
        Request { command: Command::Connect, host, port: 80, protocol: PROTOCOL, credentials: None, preference: None }
    }

    fn client() -> LocalClient {
        let mut settings = Settings::new();
        settings.add_text("lines", LINES).unwrap();
        let (setup, clock) = (Setup::of(Config::of(&settings).unwrap().0).unwrap(), SystemClock::start());
        let log = Rc::new(Logger::open(&setup.config, clock).ok().unwrap());
        LocalClient::begin(setup, Files::nowhere(), clock, log).unwrap()
    }

    fn waiting(driver: &Driver) -> bool {
        driver.statistics().iter().any(|line| line.starts_with("Streams: 1, of which 1 wait"))
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_given_up() {
        LocalSet::new().block_on(&runtime::executor().unwrap(), async {
            let client = client();
            let (events, state) = (broadcast::channel(1).0, watch::channel(State::default()).0);
            let (orders, ordered) = mpsc::channel(1);
            let hub = Rc::new(Hub::new(events, state));
            let driver = Rc::clone(client.driver());
            let serving = spawn_local(async move { serve(&driver, &hub, ordered).await });
            let (answer, answered) = oneshot::channel();
            orders.send(Order::Connect(request(), Isolation::default(), answer)).await.ok().unwrap();
            while !waiting(client.driver()) {
                tokio::task::yield_now().await;
            }
            drop(answered);
            while waiting(client.driver()) {
                tokio::task::yield_now().await;
            }
            assert!(!serving.is_finished());
            drop(orders);
            serving.await.unwrap();
        });
    }

    /// Streams of ports and of the program that we are a part of never meet.
    #[test]
    fn a_request_of_the_program_is_in_a_group_of_its_own() {
        LocalSet::new().block_on(&runtime::executor().unwrap(), async {
            let client = client();
            for isolation in [Isolation::default(), Isolation::fresh()] {
                let Verdict::Ask(wish) = judge(client.driver(), &request(), &isolation) else { panic!() };
                assert!(wish.facts.group == Group::Embedder && wish.from.is_none());
            }
        });
    }
}
