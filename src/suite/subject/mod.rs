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
use super::json::Value;
use super::network::Network;
use super::process::{Folder, Process};

/// How long after its sockets a process may end that dies; ours.
const DYING: Duration = Duration::from_millis(200);
/// The name of the generator that goes straight to its server, which is measured as a subject is.
pub const DIRECT: &str = "direct";
/// The name of ourselves in this process.
pub const INSIDE: &str = "inside";

/// What is written before the path of an Arti.
const ARTI: &str = "arti=";
/// What is written before a command.
const COMMAND: &str = "cmd:";
/// The longest name that a person gives; ours, what a table has room for.
const MAX_NAME: usize = 40;

/// All subjects, as the command line names them, and what they are.
pub const KNOWN: [(&str, &str); 6] = [
    (cepa::NAME, "the cepa beside this program, as a process (the default)"),
    (INSIDE, "cepa in this process, for what no other program tells: circuits, hop by hop"),
    (tor::NAME, "the C tor on the PATH"),
    ("arti=PATH", "the Arti there"),
    ("cmd:COMMAND", "any program with a SOCKS port: {torrc} is a file, {socks} ADDR:PORT, {data} a folder"),
    ("NAME=cmd:COMMAND", "the same by a name of your own, as is NAME=arti=PATH: two builds of one program in one run"),
];

/// A program with a SOCKS port.
pub trait Program {
    /// What it is called in a report.
    fn name(&self) -> String;

    /// What it is, in a line: what it says of its version, or how it was asked for.
    fn about(&self) -> Option<String>;

    /// How it is started.
    fn command(&self, home: &Home) -> Result<Command, String>;
}

/// A program by a name that a person gave it.
struct Named {
    name: String,
    program: Box<dyn Program>,
}

impl Program for Named {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn about(&self) -> Option<String> {
        self.program.about()
    }

    fn command(&self, home: &Home) -> Result<Command, String> {
        self.program.command(home)
    }
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
        if words == INSIDE {
            return Ok(Subject::Inside);
        }
        let given = words.split_once('=').filter(|(_, rest)| rest.starts_with(ARTI) || rest.starts_with(COMMAND));
        let program = match given.filter(|_| !words.starts_with(COMMAND)) {
            Some((name, rest)) => Box::new(Named { name: check(name)?, program: program(rest)? }),
            None => program(words)?,
        };
        let name = program.name();
        if [DIRECT, INSIDE].contains(&name.as_str()) {
            return Err(format!(
                "{words:?}: {name:?} is what a report calls something else; NAME=cmd:… and NAME=arti=… give another name"
            ));
        }
        Ok(Subject::Program(program))
    }

    /// What a report says that it is, behind what it is called there.
    pub fn fact(&self) -> (String, Value) {
        let about = match self {
            Subject::Program(program) => program.about(),
            Subject::Inside => Some("the client in cepa-bench".to_owned()),
            Subject::Direct => Some("the generator alone".to_owned()),
        };
        (self.name(), about.unwrap_or_default().as_str().into())
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

/// A program, by its own name.
fn program(words: &str) -> Result<Box<dyn Program>, String> {
    Ok(match (words, words.strip_prefix(ARTI), words.strip_prefix(COMMAND)) {
        (cepa::NAME, ..) => Box::new(cepa::Cepa),
        (tor::NAME, ..) => Box::new(tor::Tor),
        (_, Some(path), _) if !path.is_empty() => Box::new(arti::Arti(PathBuf::from(path))),
        (_, _, Some(line)) if !line.trim().is_empty() => Box::new(command::Line::parse(line)?),
        _ => {
            return Err(format!("unknown subject {words:?}; known: {}", KNOWN.map(|(name, _)| name).join(", ")));
        }
    })
}

/// A name that a person may give.
fn check(name: &str) -> Result<String, String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match name.chars().all(is_good) && (1..=MAX_NAME).contains(&name.len()) {
        true => Ok(name.to_owned()),
        false => {
            Err(format!("{name:?} is no name for a subject: 1 to {MAX_NAME} letters, digits, \".\", \"_\" and \"-\""))
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
        for words in ["Tor", "arti=", "cmd:", "cmd: ", "direct", "", "x=cmd:", "x=arti=", "x=tor"] {
            let complaint = name(words).unwrap_err();
            assert!(KNOWN.iter().all(|(known, _)| complaint.contains(known)), "{complaint}");
        }
        assert!(name("cmd:a 'b").unwrap_err().contains("a ' is not closed"));
    }

    #[test]
    fn a_person_may_give_a_name_and_none_is_called_as_something_else_is() {
        let name = |words: &str| Subject::parse(words).map(|subject| subject.name());
        for (words, expected) in [
            ("old=cmd:/opt/tor -f {torrc}", "old"),
            ("new_1.2-x=arti=/x/arti", "new_1.2-x"),
            ("arti=cmd:/x/arti", "arti"),
            ("cmd:env A=cmd:b", "env"),
            ("arti=/a=cmd:b", "arti"),
            ("far=cmd:/x/direct", "far"),
        ] {
            assert_eq!(name(words).as_deref(), Ok(expected), "{words}");
        }
        for words in ["=cmd:a", "a b=cmd:a", "\u{1b}[1m=cmd:a", &format!("{}=arti=a", "x".repeat(MAX_NAME + 1))] {
            let complaint = name(words).unwrap_err();
            assert!(complaint.contains("is no name for a subject") && !complaint.contains('\u{1b}'), "{complaint}");
        }
        for words in ["cmd:/x/direct", "cmd:'inside' x", "direct=cmd:a", "inside=arti=a"] {
            let complaint = name(words).unwrap_err();
            assert!(complaint.contains("is what a report calls something else"), "{complaint}");
        }
    }

    #[test]
    fn each_program_tells_what_it_is() {
        let about = |words: &str| match Subject::parse(words) {
            Ok(Subject::Program(program)) => program.about(),
            _ => None,
        };
        assert_eq!(about("x=cmd:a \u{1b}b").as_deref(), Some("a b"));
        // Any program that has a version is like an Arti in this.
        assert!(about("arti=/usr/bin/sort").unwrap().starts_with("sort ("));
        assert_eq!(about("arti=/nowhere/arti"), None);
    }

    #[test]
    fn a_tor_is_told_whom_to_end_with_and_others_are_not() {
        let folder = Folder::new().unwrap();
        let home = Home { folder, socks: (Ipv4Addr::LOCALHOST, 1).into(), arti: None };
        let arguments = |program: &dyn Program| {
            let command = program.command(&home).unwrap();
            command.get_args().map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let owner = ["--__OwningControllerProcess".to_owned(), std::process::id().to_string()];
        assert!(arguments(&tor::Tor).ends_with(&owner));
        assert!(!arguments(&command::Line::parse("a {torrc}").unwrap()).contains(&owner[0]));
    }
}
