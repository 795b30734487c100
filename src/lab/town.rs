//! A network for a person at a terminal: opened, told of, and kept until Ctrl-C.
//!
//! What is written to files is written only once the network answers. Called by
//! `bin/cepa-lab.rs`. Spec: none.
#![allow(clippy::print_stdout, reason = "it speaks to the person who started it")]

use core::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::plan::{self, Plan, Town};
use super::probe::{self, Target};
use crate::base::RelayIds;
use crate::crypto::tls::Provider;

/// How often the status line is drawn; ours.
const STATUS: Duration = Duration::from_secs(1);

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The network.
    pub plan: Plan,
    /// Where to write the lines for C tor.
    pub torrc: Option<PathBuf>,
    /// Where to write the lines for Arti.
    pub arti: Option<PathBuf>,
}

/// Why it ended before its time.
#[derive(Debug)]
pub enum Error {
    /// The network could not be opened.
    Plan(plan::Error),
    /// A relay of it does not answer.
    Silent(probe::Error),
    /// A file cannot be written.
    File(PathBuf, io::Error),
    /// Nothing can be printed.
    Output(io::Error),
    /// Ctrl-C cannot be heard.
    Signal(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Plan(error) => write!(f, "no network: {error}"),
            Error::Silent(error) => write!(f, "a relay of the network does not answer: {error}"),
            Error::File(path, error) => write!(f, "{}: {error}", path.display()),
            Error::Output(error) => write!(f, "nothing can be printed: {error}"),
            Error::Signal(error) => write!(f, "Ctrl-C cannot be heard: {error}"),
        }
    }
}

/// Opens the network, tells of it, and waits for Ctrl-C.
#[allow(clippy::disallowed_methods, reason = "the person wants to know how long it took")]
pub fn run(wish: &Wish) -> Result<(), Error> {
    let begun = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let town = wish.plan.open(threads, Provider::best()).map_err(Error::Plan)?;
    let first = &town.relays()[0];
    let wanted = RelayIds { rsa: Some(first.rsa), ed25519: Some(first.ed25519) };
    let target = Target { address: first.address, wanted, provider: Provider::best() };
    probe::run(&target).map_err(Error::Silent)?;
    save(wish.torrc.as_deref(), &town.torrc())?;
    save(wish.arti.as_deref(), &town.arti_toml())?;
    let told = format!(
        "network   {} relays on 127.0.0.1, up in {:.2?}\n# for C tor, or any client that reads a torrc:\n{}\n{}\n",
        town.relays().len(),
        begun.elapsed(),
        town.torrc().trim_end(),
        how_to(wish.torrc.as_deref())
    );
    match io::stdout().lock().write_all(told.as_bytes()) {
        // Whoever reads no further may still use the files.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(Error::Output(error)),
        _ => {}
    }
    wait(&town).map_err(Error::Signal)
}

/// How a person tries it.
fn how_to(torrc: Option<&Path>) -> String {
    let file = torrc.map_or("FILE".into(), Path::to_string_lossy);
    let first = if torrc.is_none() { "  (the lines above are FILE; --torrc-out writes them)" } else { "" };
    format!(
        "# to try it with C tor:{first}\n\
         tor --defaults-torrc /dev/null -f {file} --SocksPort 9150 --DataDirectory \"$(mktemp -d)\"\n\
         curl --socks5-hostname 127.0.0.1:9150 --output /dev/null http://http.lab/16777216"
    )
}

fn save(path: Option<&Path>, text: &str) -> Result<(), Error> {
    path.map_or(Ok(()), |path| std::fs::write(path, text).map_err(|error| Error::File(path.to_owned(), error)))
}

/// Waits for Ctrl-C; a terminal is shown what goes on.
fn wait(town: &Town) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let is_terminal = io::stdout().is_terminal();
    runtime.block_on(async {
        let mut interval = tokio::time::interval(STATUS);
        let end = tokio::signal::ctrl_c();
        tokio::pin!(end);
        loop {
            tokio::select! {
                heard = &mut end => break heard,
                _ = interval.tick(), if is_terminal => show(&status(town))?,
            }
        }
    })?;
    if is_terminal { show("stopped\n") } else { Ok(()) }
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
