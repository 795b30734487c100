//! The network that all subjects are on: how it is asked for, and what they are told of it.
//!
//! Whatever it is, it is on this machine, and no client is ever told of another: a subject that got
//! no authorities would go to the public network. Each file opens one kind. Called by `engine.rs`.
//! Spec: none.

mod given;
mod lab;
mod relays;

use std::path::{Path, PathBuf};

pub use self::relays::{OWNER, Relays};
use super::Error;
use super::json::Value;
use super::process::{Folder, Process, Usage};

/// The words for the lab's network.
pub const LAB: &str = "lab";
/// Those for a network of C tor's relays.
const CTOR: &str = "ctor";
/// Those for one that runs already.
const GIVEN: &str = "torrc=";

/// All kinds, and what they are.
pub const KNOWN: [(&str, &str); 3] = [
    (LAB, "the relays of cepa-lab, in a process of their own; --listed N lists as many more"),
    (CTOR, "eleven relays of the C tor on the PATH; it takes half a minute until they know each other"),
    ("torrc=FILE", "a test network on this machine that runs already; FILE has its DirAuthority lines"),
];

/// A network that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The lab's.
    Lab {
        /// How many relays it lists.
        listed: usize,
    },
    /// C tor's relays.
    Relays,
    /// One that runs already.
    Given(PathBuf),
}

impl Wanted {
    /// What the command line asks for.
    pub fn parse(words: &str, listed: usize) -> Result<Wanted, String> {
        match words.strip_prefix(GIVEN) {
            _ if listed > 0 && words != LAB => Err("--listed is for the lab's network alone".to_owned()),
            Some("") => Err("--network torrc= wants a file".to_owned()),
            Some(path) => Ok(Wanted::Given(PathBuf::from(path))),
            None if words == LAB => Ok(Wanted::Lab { listed }),
            None if words == CTOR => Ok(Wanted::Relays),
            None => Err(format!("unknown network {words:?}; known: {}", KNOWN.map(|(name, _)| name).join(", "))),
        }
    }

    /// Opens it, and waits until it can be used.
    pub async fn open(&self, seed: u64) -> Result<Network, Error> {
        let opened = match self {
            Wanted::Lab { listed } => lab::open(*listed, seed).await,
            Wanted::Relays => relays::open().await,
            Wanted::Given(path) => given::read(path),
        };
        opened.map_err(Error::Network)
    }
}

/// A network that can be used, for as long as this lives.
pub struct Network {
    /// What a report says of it.
    pub facts: Vec<(String, Value)>,
    /// What points C tor, and whoever reads a torrc, at it.
    pub torrc: String,
    /// What points Arti at it.
    pub arti: Option<String>,
    processes: Vec<Process>,
    _folder: Option<Folder>,
}

impl Network {
    /// What its processes have used, where they are ours.
    pub fn usage(&self) -> Vec<Usage> {
        self.processes.iter().filter_map(|process| Usage::of(process.id())).collect()
    }
}

/// A program beside this one.
pub fn beside(name: &str) -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|error| error.to_string())?;
    let path = here.parent().unwrap_or(Path::new(".")).join(name);
    let is_there = path.is_file();
    is_there.then_some(path.clone()).ok_or_else(|| format!("{} is not there: build it too", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_asked_for_by_its_words_and_others_list_them() {
        assert_eq!(Wanted::parse("lab", 8), Ok(Wanted::Lab { listed: 8 }));
        assert_eq!(Wanted::parse("ctor", 0), Ok(Wanted::Relays));
        assert!(Wanted::parse("ctor", 8).is_err() && Wanted::parse("torrc=x", 8).is_err());
        assert_eq!(Wanted::parse("torrc=/x=y", 0), Ok(Wanted::Given("/x=y".into())));
        assert_eq!(
            Wanted::parse("public", 0),
            Err("unknown network \"public\"; known: lab, ctor, torrc=FILE".to_owned())
        );
        assert!(Wanted::parse("torrc=", 0).is_err());
    }
}
