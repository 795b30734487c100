//! The client as a value in another program: a handle that any task on any thread may hold.
//!
//! [`Client`] is cheap to clone, and asks for streams, look-ups and an end; the client itself is on
//! a thread of its own (`engine.rs`), to which orders go over a bounded channel. Bytes of streams do
//! not: both sides meet in one buffer (`stream.rs`). Decides nothing about circuits, and names no
//! executor: its futures run on whichever there is. Re-exported at the crate's root; called by
//! programs that embed us, and never by `cepa`. Spec: none.

mod builder;
mod engine;
mod error;
mod events;
mod isolation;
mod stream;

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

pub use self::builder::ClientBuilder;
use self::engine::{End, Order, State};
pub use self::error::{BootstrapError, Error, ShutdownError, StartError};
pub use self::events::{CircuitStatus, Event, Events, Progress, ProgressSteps};
pub use self::isolation::{Isolation, IsolationToken};
pub(super) use self::stream::Conduit;
pub use self::stream::{CircuitId, Stream};
use crate::proxy::{Command, Found, Host, Request};

/// How many orders may wait for the client's thread; ours. Whoever gives one more waits.
const MAX_ORDERS: usize = 64;

/// A Tor client inside this program.
///
/// It lives on a thread of its own, from [`ClientBuilder::start`] until [`Client::shutdown`] or
/// until its last handle is dropped. Handles are clones of each other; any task may use one, under
/// any executor, for nothing here waits by the clock or the sockets of the caller's.
///
/// ```no_run
/// use core::time::Duration;
/// use cepa::{Client, Isolation};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder().data_directory("/var/lib/example/tor").start().await?;
/// client.bootstrap(Duration::from_secs(120)).await?;
/// let mut stream = client.connect(("example.com", 80), &Isolation::fresh()).await?;
/// stream.write_all(b"GET / HTTP/1.0\r\nHost: example.com\r\n\r\n").await?;
/// let mut page = Vec::new();
/// stream.read_to_end(&mut page).await?;
/// client.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    orders: mpsc::Sender<Order>,
    state: watch::Receiver<State>,
    /// The thread holds the strong one, so that events end with it.
    events: broadcast::WeakSender<Event>,
    facts: Arc<Facts>,
}

/// What never changes.
struct Facts {
    ports: Vec<String>,
    warnings: Vec<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("progress", &self.state.borrow().progress).finish_non_exhaustive()
    }
}

impl Client {
    /// How one is made.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// Waits until streams can be opened, for no longer than `limit`. A client that was not
    /// usable in time goes on trying: this may be asked again.
    pub async fn bootstrap(&self, limit: Duration) -> Result<(), BootstrapError> {
        let (answer, answered) = oneshot::channel();
        // It is the thread that has a timer, whatever executor the caller has.
        let is_given = self.orders.send(Order::Wait(limit, answer)).await.is_ok();
        match if is_given { answered.await.ok() } else { None } {
            Some(result) => result,
            None => Err(BootstrapError::Ended(self.ended().await.and_then(|end| end.why))),
        }
    }

    /// How far it is: that now, and each step that it makes from now on.
    pub fn progress(&self) -> ProgressSteps {
        ProgressSteps::new(self.events(), self.state.clone())
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        Events::new(self.events.upgrade().map(|events| events.subscribe()))
    }

    /// Opens a stream. A name is looked up by the exit alone.
    ///
    /// Waits for a circuit where there is none, for as long as `SocksTimeout` allows (two minutes,
    /// unless the options say otherwise). Dropping the future gives it up.
    pub async fn connect(&self, to: impl Into<Target>, isolation: &Isolation) -> Result<Stream, Error> {
        let to: Target = to.into();
        let request = request(Command::Connect, &to, isolation)?;
        self.ask(|answer| Order::Connect(request, *isolation, answer)).await
    }

    /// Looks a name up, by an exit: one of its addresses, of IPv4 if it has any.
    pub async fn resolve(&self, name: &str, isolation: &Isolation) -> Result<IpAddr, Error> {
        match self.look_up(Command::Resolve, name, isolation).await? {
            Found::Ip(ip) => Ok(ip),
            Found::Name(_) => Err(Error::NotFound),
        }
    }

    /// Looks an address up, by an exit: the name that it has.
    pub async fn resolve_ptr(&self, ip: IpAddr, isolation: &Isolation) -> Result<String, Error> {
        match self.look_up(Command::ResolvePtr, &ip.to_string(), isolation).await? {
            Found::Name(name) => Ok(name),
            Found::Ip(_) => Err(Error::NotFound),
        }
    }

    /// Streams opened from now on share no circuit with those before, whatever their isolation.
    pub async fn new_identity(&self) -> Result<(), Error> {
        self.orders.send(Order::NewIdentity).await.map_err(|_| Error::Ended)
    }

    /// Where its ports are, in the order of the lines that ask for them. There are none unless
    /// [`ClientBuilder::torrc`] or [`ClientBuilder::option`] ask for them.
    pub fn ports(&self) -> &[String] {
        &self.facts.ports
    }

    /// What is odd about its options, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.facts.warnings
    }

    /// Ends it, for all its handles: streams are reset, what the next run should know is written,
    /// the lock on the data directory is let go. Within some seconds, whatever the disk does; and
    /// at once if it has ended already.
    pub async fn shutdown(&self) -> Result<(), ShutdownError> {
        // That it hears of it is as good as that it has ended.
        let _ = self.orders.send(Order::Shutdown).await;
        let is_saved = self.ended().await.is_some_and(|end| end.is_saved);
        if is_saved { Ok(()) } else { Err(ShutdownError::NotSaved) }
    }

    async fn look_up(&self, command: Command, name: &str, isolation: &Isolation) -> Result<Found, Error> {
        let request = request(command, &(name, 0).into(), isolation)?;
        self.ask(|answer| Order::LookUp(request, *isolation, answer)).await
    }

    /// Gives an order and waits for its answer; none comes if the client ends.
    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Order) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(order(answer)).await.map_err(|_| Error::Ended)?;
        answered.await.unwrap_or(Err(Error::Ended))
    }

    /// How it ended, once it has; nothing if its thread fell over.
    async fn ended(&self) -> Option<End> {
        let mut state = self.state.clone();
        state.wait_for(|state| state.end.is_some()).await.ok()?.end.clone()
    }
}

fn request(command: Command, to: &Target, isolation: &Isolation) -> Result<Request, Error> {
    let host = Host::parse(&to.host).map_err(|_| Error::BadName)?;
    Ok(Request {
        command,
        host,
        port: to.port,
        protocol: engine::PROTOCOL,
        credentials: isolation.credentials(),
        preference: None,
    })
}

/// Where to connect to: a name or an address, and a port. Prints nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target")
    }
}

impl From<(&str, u16)> for Target {
    fn from((host, port): (&str, u16)) -> Self {
        Target { host: host.to_owned(), port }
    }
}

impl From<(String, u16)> for Target {
    fn from((host, port): (String, u16)) -> Self {
        Target { host, port }
    }
}

impl From<(IpAddr, u16)> for Target {
    fn from((ip, port): (IpAddr, u16)) -> Self {
        Target { host: ip.to_string(), port }
    }
}

impl From<SocketAddr> for Target {
    fn from(to: SocketAddr) -> Self {
        (to.ip(), to.port()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an embedder relies on.
    #[test]
    fn handles_and_streams_may_go_to_any_thread() {
        fn is_shared<T: Send + Sync + Clone + 'static>() {}
        fn is_sent<T: Send + 'static>() {}
        is_shared::<Client>();
        is_shared::<IsolationToken>();
        is_sent::<Stream>();
        is_sent::<Events>();
        is_sent::<ProgressSteps>();
        fn is_spawned(_: impl Future + Send) {}
        is_spawned(Client::builder().start());
        is_spawned(async {
            let client = Client::builder().start().await?;
            let isolation = Isolation::default();
            client.bootstrap(Duration::ZERO).await?;
            client.resolve("example.com", &isolation).await?;
            client.connect(("example.com", 80), &isolation).await?;
            client.shutdown().await?;
            Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
        });
    }

    #[test]
    fn nothing_that_names_a_place_prints_it() {
        let target = Target::from(("secret.example", 4321));
        let printed = format!("{target:?}");
        assert!(!printed.contains("secret") && !printed.contains("4321"), "{printed}");
        let to = SocketAddr::from(([192, 0, 2, 77], 80));
        assert!(Target::from(to) == Target::from(("192.0.2.77", 80)) && Target::from((to.ip(), 80)) == to.into());
    }

    #[test]
    fn a_name_that_is_none_is_refused_before_anybody_is_asked() {
        let refused = |host: &str| request(Command::Connect, &(host, 80).into(), &Isolation::default()).err();
        for host in ["", "a..b", "a b", "x.exit", "x.onion"] {
            assert_eq!(refused(host), Some(Error::BadName), "{host:?}");
        }
        assert_eq!(refused("example.com"), None);
    }
}
