//! A network for a person at a terminal, and a client on it: opened, told of, and kept until
//! Ctrl-C.
//!
//! What is written to files is written only once the network answers. The client downloads
//! something at once, so that the person sees that it works. Called by `bin/cepa-lab.rs`.
//! Spec: none.
#![allow(clippy::print_stdout, reason = "it speaks to the person who started it")]

use core::fmt;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use super::plan::{self, Plan, Town};
use super::probe::{self, Target};
use super::{SystemClock, fetch};
use crate::app;
use crate::app::local::LocalClient;
use crate::app::runtime;
use crate::base::RelayIds;
use crate::crypto::tls::Provider;

/// How often the status line is drawn; ours.
const STATUS: Duration = Duration::from_secs(1);
/// How many mebibytes the client downloads at the start; ours, four times what a stream may have
/// under way.
const FIRST_MIB: u64 = 1;
/// How long nothing may come of it; ours, more than the `SocksTimeout` after which the client
/// says no.
const PATIENCE: Duration = Duration::from_secs(150);
/// What a person downloads to try it; ours, some seconds at most.
const SECOND_MIB: u64 = 16;
/// The SOCKS port that a person gives C tor. Differs: not C tor's 9050, which may be taken.
const TORS_PORT: u16 = 9150;

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The network.
    pub plan: Plan,
    /// Where to write the lines for C tor.
    pub torrc: Option<PathBuf>,
    /// Where to write the lines for Arti.
    pub arti: Option<PathBuf>,
    /// Whether there is no client of ours.
    pub network_only: bool,
    /// Where that client listens; without it, anywhere.
    pub socks_port: Option<u16>,
}

/// Why it ended before its time.
#[derive(Debug)]
pub enum Error {
    /// The network could not be opened.
    Plan(plan::Error),
    /// A relay of it does not answer.
    Silent(probe::Error),
    /// The client could not begin.
    Client(app::Error),
    /// The client's download was in vain.
    Fetch(fetch::Error),
    /// A file cannot be written.
    File(PathBuf, io::Error),
    /// Nothing can be printed.
    Output(io::Error),
    /// Ctrl-C cannot be heard, or nothing can be run.
    System(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Plan(error) => write!(f, "no network: {error}"),
            Error::Silent(error) => write!(f, "a relay of the network does not answer: {error}"),
            Error::Client(error) => write!(f, "no client: {error}"),
            Error::Fetch(error) => write!(f, "nothing can be downloaded by the client: {error}"),
            Error::File(path, error) => write!(f, "{}: {error}", path.display()),
            Error::Output(error) => write!(f, "nothing can be printed: {error}"),
            Error::System(error) => write!(f, "{error}"),
        }
    }
}

/// Opens the network, tells of it, and waits for Ctrl-C.
pub fn run(wish: &Wish) -> Result<(), Error> {
    let (clock, threads) = (SystemClock::start(), thread::available_parallelism().map_or(1, usize::from));
    let town = wish.plan.open(threads, Provider::best()).map_err(Error::Plan)?;
    let first = &town.relays()[0];
    let wanted = RelayIds { rsa: Some(first.rsa), ed25519: Some(first.ed25519) };
    let target = Target { address: first.address, wanted, provider: Provider::best() };
    probe::run(&target).map_err(Error::Silent)?;
    save(wish.torrc.as_deref(), &town.torrc())?;
    save(wish.arti.as_deref(), &town.arti_toml())?;
    let network = format!(
        "network   {} relays on 127.0.0.1, up in {:.2?}\n# for C tor, or any client that reads a torrc:\n{}\n",
        town.relays().len(),
        clock.now().tick.since(Default::default()),
        town.torrc().trim_end(),
    );
    let (executor, local) = (runtime::executor().map_err(Error::System)?, LocalSet::new());
    local.block_on(&executor, async {
        // Heard from the first line on.
        let interrupt = signal(SignalKind::interrupt()).map_err(Error::System)?;
        let guest = if wish.network_only { None } else { Some(Guest::start(wish, &town)?) };
        tell(&match &guest {
            None => format!("{network}{}\n", how_to(wish.torrc.as_deref())),
            Some(guest) => format!("{network}socks {}\n{}\n", guest.socks, curl(guest.socks)),
        })?;
        live(&town, guest, interrupt).await
    })
}

/// A client on the network.
struct Guest {
    client: LocalClient,
    socks: SocketAddr,
    /// Whether all that it meets is honest and near, so that nothing may fail.
    is_safe: bool,
}

impl Guest {
    fn start(wish: &Wish, town: &Town) -> Result<Guest, Error> {
        let port = wish.socks_port.map_or_else(|| "auto".to_owned(), |port| port.to_string());
        let lines = format!("{}SocksPort {port}\nLog [~config]warn stderr\n", town.torrc());
        let client = LocalClient::start("cepa-lab", &lines).map_err(Error::Client)?;
        let socks = client.ports().first().and_then(|port| port.parse().ok());
        let socks = socks.ok_or_else(|| Error::System(io::ErrorKind::AddrNotAvailable.into()))?;
        Ok(Guest { client, socks, is_safe: wish.plan.villain.is_none() && wish.plan.latency.is_zero() })
    }

    /// Downloads something, on a thread of its own.
    fn fetch(&self) -> Result<oneshot::Receiver<Result<Duration, fetch::Error>>, Error> {
        let ((done, result), socks) = (oneshot::channel(), self.socks);
        let fetch = move || drop(done.send(fetch::fetch(socks, FIRST_MIB << 20, PATIENCE)));
        thread::Builder::new().name("lab fetch".to_owned()).spawn(fetch).map_err(Error::System)?;
        Ok(result)
    }

    /// What came of it, in words.
    fn report(&self, result: Result<Duration, fetch::Error>) -> Result<String, Error> {
        match result {
            Ok(took) => {
                let hops = self.client.hops().into_iter().max().unwrap_or_default();
                Ok(format!("fetched {FIRST_MIB} MiB through {hops} relays in {:.2} s", took.as_secs_f64()))
            }
            // Where somebody misbehaves or is far away, that is what there is to be seen.
            Err(error) if !self.is_safe => Ok(Error::Fetch(error).to_string()),
            Err(error) => Err(Error::Fetch(error)),
        }
    }
}

/// How a person has the client download something.
fn curl(socks: SocketAddr) -> String {
    format!(
        "curl --socks5-hostname {socks} -sSo /dev/null -w '%{{size_download}} bytes in %{{time_total}} s\\n' http://{}/{}",
        fetch::HOST,
        SECOND_MIB << 20
    )
}

/// How a person tries it with C tor.
fn how_to(torrc: Option<&Path>) -> String {
    let file = torrc.map_or("FILE".into(), Path::to_string_lossy);
    let first = if torrc.is_none() { "  (the lines above are FILE; --torrc-out writes them)" } else { "" };
    format!(
        "# to try it with C tor:{first}\n\
         tor --defaults-torrc /dev/null -f {file} --SocksPort {TORS_PORT} --DataDirectory \"$(mktemp -d)\"\n\
         {}",
        curl(SocketAddr::from((Ipv4Addr::LOCALHOST, TORS_PORT)))
    )
}

fn save(path: Option<&Path>, text: &str) -> Result<(), Error> {
    path.map_or(Ok(()), |path| std::fs::write(path, text).map_err(|error| Error::File(path.to_owned(), error)))
}

/// Whoever reads no further may still use the network.
fn tell(text: &str) -> Result<(), Error> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

/// Tells what the client has downloaded, and waits for Ctrl-C; a terminal is shown what goes on.
async fn live(town: &Town, guest: Option<Guest>, mut interrupt: Signal) -> Result<(), Error> {
    let is_terminal = io::stdout().is_terminal();
    let mut interval = tokio::time::interval(STATUS);
    let fetched = async {
        match &guest {
            Some(guest) => guest.report(guest.fetch()?.await.unwrap_or(Err(fetch::Error::Gibberish))),
            None => core::future::pending().await,
        }
    };
    tokio::pin!(fetched);
    let mut is_fetched = false;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            text = &mut fetched, if !is_fetched => {
                is_fetched = true;
                if is_terminal {
                    show("").map_err(Error::Output)?;
                }
                tell(&format!("{}\n", text?))?;
            }
            _ = interval.tick(), if is_terminal => show(&status(town)).map_err(Error::Output)?,
        }
    }
    if is_terminal { show("stopped\n").map_err(Error::Output) } else { Ok(()) }
}

/// Draws the last line anew.
fn show(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "\r\x1b[K{line}")?;
    out.flush()
}

fn status(town: &Town) -> String {
    let counts = town.counts();
    let mib = counts.written >> 20;
    format!("{} relays, {} circuits, {mib} MiB carried; Ctrl-C ends it", town.relays().len(), counts.circuits)
}
