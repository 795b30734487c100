//! The system's log: a line to its socket, which `syslogd` or the journal listens at.
//!
//! Does not wait for it and does not insist: a line that nobody takes is gone, as with the C
//! library. Called by `logging.rs`. Spec: RFC 3164, "The BSD syslog Protocol", as systems speak it
//! among themselves. C tor: `add_syslog_log` in lib/log/log.c, and so `syslog(3)`.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process;

use crate::config::Severity;

/// Where it listens.
const SOCKET: &str = "/dev/log";
/// C tor: `LOG_DAEMON`.
const FACILITY: u8 = 3;
/// The name of whoever writes. C tor's, for whoever looks for it.
const IDENTITY: &str = "Tor";

/// The system's log, as it is written to.
pub struct Syslog {
    path: PathBuf,
    identity: String,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    /// The one that there is, where we are known by that tag as well.
    pub fn new(tag: Option<&str>) -> Syslog {
        Syslog::at(PathBuf::from(SOCKET), tag)
    }

    fn at(path: PathBuf, tag: Option<&str>) -> Syslog {
        let identity = tag.map_or(IDENTITY.to_owned(), |tag| format!("{IDENTITY}-{tag}"));
        Syslog { path, identity, socket: None }
    }

    /// Sends a line of that date. One whose listener was started anew is found again.
    pub fn send(&mut self, severity: Severity, date: &str, text: &str) {
        let priority = FACILITY * 8 + level(severity);
        let line = format!("<{priority}>{date} {}[{}]: {text}", self.identity, process::id());
        let is_sent = |socket: &UnixDatagram| socket.send(line.as_bytes()).is_ok();
        if !self.socket.as_ref().is_some_and(is_sent) {
            self.socket = self.connect();
            self.socket.as_ref().map(is_sent);
        }
    }

    fn connect(&self) -> Option<UnixDatagram> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(&self.path).ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(socket)
    }
}

/// By the numbers of the system's log.
pub fn level(severity: Severity) -> u8 {
    match severity {
        Severity::Err => 3,
        Severity::Warn => 4,
        Severity::Notice => 5,
        Severity::Info => 6,
        Severity::Debug => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::tests::Scratch;
    use super::*;

    #[test]
    fn lines_go_to_whoever_listens_and_to_nobody_else() {
        let scratch = Scratch::new("syslog");
        let path = scratch.0.join("log");
        let mut log = Syslog::at(path.clone(), None);
        log.send(Severity::Err, "Nov 28 18:00:00", "nobody hears this");
        for round in 0..2 {
            if round == 1 {
                log = Syslog::at(path.clone(), Some("home"));
            }
            let listener = UnixDatagram::bind(&path).unwrap();
            listener.set_nonblocking(true).unwrap();
            log.send(Severity::Warn, "Nov 28 18:00:00", &format!("round {round}"));
            let mut buffer = [0; 200];
            let length = listener.recv(&mut buffer).unwrap();
            let name = if round == 1 { "Tor-home" } else { "Tor" };
            let expected = format!("<28>Nov 28 18:00:00 {name}[{}]: round {round}", process::id());
            assert_eq!(std::str::from_utf8(&buffer[..length]).unwrap(), expected);
            assert!(listener.recv(&mut buffer).is_err());
            // As when it is started anew.
            drop(listener);
            std::fs::remove_file(&path).unwrap();
        }
    }
}
