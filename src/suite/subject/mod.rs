//! Who is measured, and one of them while it runs.
//!
//! Each file says how one program is started on a network; all that have a SOCKS port are then
//! measured alike. Called by `engine.rs` and `workload/`. Spec: none.

mod arti;
mod cepa;
mod command;
mod tor;

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::time::{Instant, sleep};

use super::figure::Fault;
use super::network::Network;
use super::process::{Folder, Process};

/// How long after its sockets a process may end that dies; ours.
const DYING: Duration = Duration::from_millis(200);
/// The name of the generator that goes straight to its server, which is measured as a subject is.
pub const DIRECT: &str = "direct";
/// The name of ourselves in this process.
pub const INSIDE: &str = "inside";

/// All subjects, as the command line names them, and what they are.
pub const KNOWN: [(&str, &str); 5] = [
    (cepa::NAME, "the cepa beside this program, as a process (the default)"),
    (INSIDE, "cepa in this process, for what no other program tells: circuits, hop by hop"),
    (tor::NAME, "the C tor on the PATH"),
    ("arti=PATH", "the Arti there"),
    ("cmd:COMMAND", "any program with a SOCKS port: {torrc} is a file, {socks} ADDR:PORT, {data} a folder"),
];

/// A program with a SOCKS port.
pub trait Program {
    /// What it is called in a report.
    fn name(&self) -> String;

    /// How it is started.
    fn command(&self, home: &Home) -> Result<Command, String>;
}

/// Who is measured.
pub enum Subject {
    /// A process.
    Program(Box<dyn Program>),
    /// Ourselves in this process.
    Inside,
    /// Nobody: the generator alone.
    Direct,
}

impl Subject {
    /// What the command line asks for.
    pub fn parse(words: &str) -> Result<Subject, String> {
        let program: Box<dyn Program> = match words {
            INSIDE => return Ok(Subject::Inside),
            cepa::NAME => Box::new(cepa::Cepa),
            tor::NAME => Box::new(tor::Tor),
            _ => match (words.strip_prefix("arti="), words.strip_prefix("cmd:")) {
                (Some(path), _) if !path.is_empty() => Box::new(arti::Arti(PathBuf::from(path))),
                (_, Some(line)) if !line.trim().is_empty() => Box::new(command::Line(line.to_owned())),
                _ => {
                    return Err(format!(
                        "unknown subject {words:?}; known: {}",
                        KNOWN.map(|(name, _)| name).join(", ")
                    ));
                }
            },
        };
        Ok(Subject::Program(program))
    }

    /// What it is called in a report.
    pub fn name(&self) -> String {
        match self {
            Subject::Program(program) => program.name(),
            Subject::Inside => INSIDE.to_owned(),
            Subject::Direct => DIRECT.to_owned(),
        }
    }
}

/// What a program is given: files, and a port that nobody else has.
pub struct Home {
    folder: Folder,
    /// Where it shall listen.
    pub socks: SocketAddr,
    /// What points Arti at the network.
    pub arti: Option<String>,
}

impl Home {
    /// A new one, with nothing in it but what points at the network.
    pub fn new(network: &Network) -> Result<Home, Fault> {
        let folder = Folder::new()?;
        let socks = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let home = Home { folder, socks, arti: network.arti.clone() };
        let ours = format!("DataDirectory {}\nSocksPort {socks}\n", home.data().display());
        std::fs::write(home.torrc(), format!("{}{ours}", network.torrc))?;
        Ok(home)
    }

    /// The file that says all this to whoever reads a torrc.
    pub fn torrc(&self) -> PathBuf {
        self.path().join("torrc")
    }

    /// The folder for what it keeps, which is its own to make.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Where all this is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A program that runs.
pub struct Running {
    process: Process,
    /// What it was given.
    pub home: Home,
}

impl Running {
    /// Starts it; its port may not be open yet.
    pub fn start(program: &dyn Program, home: Home) -> Result<Running, Fault> {
        let mut command = program.command(&home).map_err(Fault::Start)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::start(&mut command)
            .map_err(|error| Fault::Start(format!("{}: {error}", command.get_program().display())))?;
        Ok(Running { process, home })
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// That it died, if it has.
    pub fn check(&mut self) -> Result<(), Fault> {
        self.process.ended().map_or(Ok(()), |status| Err(Fault::Died(status)))
    }

    /// After a fault: that it died, if that is what happened.
    pub async fn blame(&mut self, fault: Fault) -> Fault {
        let until = Instant::now() + DYING;
        while self.process.ended().is_none() && Instant::now() < until {
            sleep(DYING / 20).await;
        }
        self.check().err().unwrap_or(fault)
    }

    /// Ends it as a user does; what it keeps stays.
    pub async fn end(self) -> Home {
        self.process.end().await;
        self.home
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_asked_for_by_its_words_and_others_list_them() {
        let name = |words: &str| Subject::parse(words).map(|subject| subject.name());
        for (words, expected) in [("cepa", "cepa"), ("tor", "tor"), ("inside", "inside"), ("arti=/x/arti", "arti")] {
            assert_eq!(name(words).as_deref(), Ok(expected));
        }
        assert_eq!(name("cmd:/opt/my-tor -f {torrc}").as_deref(), Ok("my-tor"));
        for words in ["Tor", "arti=", "cmd:", "cmd: ", "direct", ""] {
            let complaint = name(words).unwrap_err();
            assert!(KNOWN.iter().all(|(known, _)| complaint.contains(known)), "{complaint}");
        }
    }
}
