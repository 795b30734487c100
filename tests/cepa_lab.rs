//! `cepa-lab` as a person meets it: what it prints and does, and how it refuses what cannot be.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should say where")]
#![allow(clippy::disallowed_methods, reason = "a test of a program reads a clock and the environment")]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long its lines may take, and the client's first download.
const LINES: Duration = Duration::from_secs(3);
const DOWNLOAD: Duration = Duration::from_secs(10);
/// What network and client may hold together, in kilobytes.
const MEMORY: u64 = 32 * 1024;

/// What it complains of; it must do so with status 1, and say nothing else.
fn complaint(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cepa-lab")).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The same, of which one line must be all.
fn one_line(arguments: &[&str]) -> String {
    let text = complaint(arguments);
    assert!(text.starts_with("cepa-lab: ") && text.lines().count() == 1, "{text}");
    text
}

#[test]
fn a_port_in_use_is_named() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let text = one_line(&["--relays", "6", "--port", &port.to_string()]);
    assert!(text.contains(&format!("port {port} of 127.0.0.1: ")), "{text}");
    let text = one_line(&["--relays", "6", "--socks-port", &port.to_string()]);
    let expected = format!("no client: SocksPort 127.0.0.1:{port}: the address is in use. Is Tor already running?");
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    for flag in ["--torrc-out", "--arti-out"] {
        let text = one_line(&["--relays", "6", flag, "/dev/null/nowhere"]);
        assert!(text.contains("/dev/null/nowhere: "), "{text}");
    }
}

#[test]
fn too_many_relays_and_too_many_listed_are_refused() {
    assert!(one_line(&["--relays", "201"]).contains("6 to 200"));
    assert!(one_line(&["--relays", "6", "--listed", "20001"]).contains("TooManyListed"));
    assert!(one_line(&["--relays", "6", "--port", "65533"]).contains("65535"));
}

#[test]
fn an_unknown_villain_lists_all_there_are() {
    let text = complaint(&["--villain", "nobody"]);
    for (_, name, _) in cepa::lab::villain::Villain::all() {
        assert!(text.contains(name), "{name} is not listed");
    }
}

#[test]
fn an_unknown_flag_or_command_lists_all_there_are() {
    assert!(complaint(&["--relais", "6"]).contains("known: --relays, --listed, --seed, --latency, --port, --villain"));
    assert!(complaint(&["prob"]).contains("known: probe"));
    assert!(complaint(&["--latency", "soon"]).contains("no number"));
    assert!(complaint(&["--latency", "3001"]).contains("at most 3000"));
    assert!(complaint(&["--port", "0"]).contains("ports begin at 1"));
    assert!(complaint(&["--socks-port", "0"]).contains("ports begin at 1"));
    assert!(complaint(&["--socks-port", "1", "--network-only"]).contains("leaves it out"));
}

#[test]
fn help_is_there_beside_anything_and_for_those_who_read_half_of_it() {
    for arguments in [&["--help"][..], &["--relays", "6", "-h"], &["probe", "--help"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_cepa-lab")).args(arguments).output().unwrap();
        assert!(output.status.success() && output.stdout.starts_with(b"usage: cepa-lab"), "{arguments:?}");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_cepa-lab")).arg("--help").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

/// One that runs.
struct Running {
    child: Child,
    begun: Instant,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Running {
    fn start(arguments: &[&str]) -> Running {
        let begun = Instant::now();
        let mut child =
            Command::new(env!("CARGO_BIN_EXE_cepa-lab")).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        Running { child, begun, lines: Box::new(lines) }
    }

    /// The next line that begins like this.
    fn line(&mut self, start: &str) -> String {
        self.lines.find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no line begins with {start:?}"))
    }

    /// The most memory that it has held, in kilobytes.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// What it says from now on, until Ctrl-C has ended it; with status 0.
    fn end(mut self) -> Vec<String> {
        let done = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(done.unwrap().success());
        let said = self.lines.by_ref().collect();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_client_downloads_through_three_relays_and_says_how_others_do() {
    let mut lab = Running::start(&[]);
    let socks = lab.line("socks ");
    let curl = lab.line("curl --socks5-hostname ");
    let took = lab.begun.elapsed();
    assert!(took < LINES, "{took:?}");
    let fetched = lab.line("fetched ");
    let took = lab.begun.elapsed();
    assert!(fetched.starts_with("fetched 1 MiB through 3 relays in ") && took < DOWNLOAD, "{fetched} {took:?}");
    let socks: SocketAddr = socks["socks ".len()..].parse().unwrap();
    assert!(socks.ip().is_loopback() && curl.contains(&format!(" {socks} ")), "{curl}");
    if has_curl() {
        let output = Command::new("sh").args(["-c", &curl]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && said.starts_with("16777216 bytes in ") && said.ends_with(" s\n"), "{said}");
    }
    let memory = lab.memory();
    assert!(memory < MEMORY, "{memory} kB");
    assert_eq!(lab.end(), [""; 0]);
    assert!(TcpStream::connect(socks).is_err());
}

/// A person may be gone before the download has begun.
#[test]
fn it_ends_whenever_it_is_told_to() {
    let mut lab = Running::start(&["--latency", "300"]);
    lab.line("curl ");
    assert_eq!(lab.end(), [""; 0]);
    let mut lab = Running::start(&["--network-only"]);
    let lines: Vec<_> = lab.lines.by_ref().take_while(|line| !line.starts_with("curl ")).collect();
    assert!(lines.iter().any(|line| line.starts_with("tor ")) && lab.begun.elapsed() < LINES, "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("socks ")), "{lines:?}");
    assert_eq!(lab.end(), [""; 0]);
}

/// Whoever must try everything has it; others may lack it.
fn has_curl() -> bool {
    let is_there = Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok();
    assert!(is_there || std::env::var("CEPA_INTEROP").is_err(), "there is no curl");
    is_there
}
