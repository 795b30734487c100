//! The benchmark suite: what a client of Tor takes, beside any other, on the same network in one
//! run.
//!
//! A workload is a file of `workload/`, a subject a file of `subject/`, a network a file of
//! `network/`; `engine.rs` repeats, pairs and sums up, `report.rs` writes it down, `file.rs` keeps
//! it, `compare.rs` holds two reports against each other. Every figure is of bytes that went through
//! sockets to a server of the suite's own (`origin.rs`) and back. Decides nothing about what is fast
//! enough. Called by `bin/cepa-bench.rs`. Spec: none.

mod alarm;
pub mod compare;
mod engine;
mod figure;
mod file;
mod json;
mod load;
mod network;
mod noise;
mod origin;
mod process;
mod progress;
mod report;
mod scene;
mod stats;
mod subject;
mod table;
mod verdict;
mod workload;

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use self::file::Place;
pub use self::network::Relays;
pub use self::report::{Report, Unreadable};
use crate::app::runtime;

/// What is to be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Whether it is to be over soon.
    pub is_quick: bool,
    /// Which workloads, by name; without any, all.
    pub workloads: Vec<String>,
    /// Who is measured, in the words of the command line; without any, ourselves.
    pub subjects: Vec<String>,
    /// On which network, in the words of the command line.
    pub network: String,
    /// How many relays the lab's network lists.
    pub listed: usize,
    /// How often each workload is measured; without it, as often as is usual.
    pub repeats: Option<usize>,
    /// What the lab's network and the drawing of samples follow from.
    pub seed: u64,
    /// Where the report goes besides the screen.
    pub json: Option<PathBuf>,
}

impl Default for Wish {
    fn default() -> Self {
        Wish {
            is_quick: false,
            workloads: Vec::new(),
            subjects: Vec::new(),
            network: network::LAB.to_owned(),
            listed: 0,
            repeats: None,
            seed: 1,
            json: None,
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All was measured.
    Whole,
    /// Something could not be measured, and its row says so.
    Failed,
    /// The user had enough.
    Interrupted,
    /// The user had enough before anything was measured, and no file was written.
    Nothing,
}

/// Why nothing was measured, or not kept.
#[derive(Debug)]
pub enum Error {
    /// What was asked for is not there; says what is.
    Unknown(String),
    /// The network does not come up.
    Network(String),
    /// A file cannot be written.
    File(PathBuf, io::Error),
    /// No port, no thread, no memory.
    System(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unknown(text) => f.write_str(text),
            Error::Network(text) => write!(f, "no network: {text}"),
            Error::File(path, error) => write!(f, "{}: {error}", path.display()),
            Error::System(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::System(error)
    }
}

/// Measures, shows what came of it, and then keeps it: a full disk does not take it away. Ctrl-C
/// ends it early, with what was measured until then.
pub fn run(wish: &Wish, show: impl FnOnce(&Report)) -> Result<Ending, Error> {
    let plan = engine::Plan::of(wish)?;
    let failed = |path: &Path, error| Error::File(path.to_owned(), error);
    let look = |path: &Path| Place::look(path).map_err(|error| failed(path, error));
    // Better known now than in an hour.
    let place = wish.json.as_deref().map(look).transpose()?;
    let (report, ending) = runtime::executor()?.block_on(async {
        let mut stops = vec![signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        if !process::is_hangup_ignored() {
            stops.push(signal(SignalKind::hangup())?);
        }
        engine::run(plan, stops).await
    })?;
    show(&report);
    if ending == Ending::Interrupted && report.rows.is_empty() {
        // What an older file says is more than this.
        return Ok(Ending::Nothing);
    }
    if let (Some(path), Some(place)) = (&wish.json, place) {
        place.write(&report.json()).map_err(|error| failed(path, error))?;
    }
    Ok(ending)
}

/// All workloads and subjects, a line each.
pub fn list() -> String {
    let line = |name: &str, about: &str| format!("  {name:18} {about}\n");
    let workloads: String = workload::all().iter().map(|it| line(&it.name(), it.about())).collect();
    let subjects: String = subject::KNOWN.iter().map(|(name, about)| line(name, about)).collect();
    let networks: String = network::KNOWN.iter().map(|(name, about)| line(name, about)).collect();
    format!("workloads:\n{workloads}\nsubjects:\n{subjects}\nnetworks:\n{networks}")
}
