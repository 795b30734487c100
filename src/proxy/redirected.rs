//! Connections that were meant for others and led to us by a firewall: where they wanted to go in,
//! a request out.
//!
//! The program does not know that we are here, and is told nothing: its stream opens, or its
//! connection closes. Where it wanted to go the system says, which the shell has asked, or a line
//! that BSD's natd writes ahead of it. Whether it may is `door.rs`'s. Called by the shell, one
//! machine a connection, driven like `socks.rs`. Spec: none; libalias(3), "-proxy_rule", for the line.
//! C tor: `connection_ap_process_transparent` and `connection_ap_process_natd` in
//! core/or/connection_edge.c.
//! Differs: C tor waits for the end of a line however long it is, and takes 29 bytes, which some of
//! natd's exceed.

use core::net::SocketAddr;

use super::opening::{Heard, Opening};
use super::{BadName, Command, Failure, Fault, Host, Output, Protocol, Request};
use crate::base::redact::Sensitive;

/// The longest line, with its end: of 28 signs, and a blank that natd puts behind an even number.
pub const MAX_LINE_LEN: usize = 30;

const LINE_START: &[u8] = b"[DEST ";

/// One connection of a program.
pub struct Redirected(Opening);

impl Redirected {
    /// A program connected that wanted to go there, says the system.
    pub fn to(address: SocketAddr) -> Redirected {
        let mut redirected = Redirected::by_natd();
        redirected.ask(Host::Ip(address.ip()), address.port(), Protocol::Transparent);
        redirected
    }

    /// A program connected, and natd will say where it wanted to go.
    pub fn by_natd() -> Redirected {
        Redirected(Opening::new(b"\n", MAX_LINE_LEN))
    }

    /// Takes what a read brought.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        match self.0.handle_bytes(bytes) {
            Some(Heard::Text(line)) => match destination(&line) {
                Ok((host, port)) => self.ask(host, port, Protocol::Natd),
                Err(fault) => self.refuse(fault),
            },
            Some(Heard::TooLong) => self.refuse(Fault::LongLine),
            None => {}
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.0.poll_output()
    }

    /// Why there was no request, where the user should know.
    pub fn take_fault(&mut self) -> Option<Fault> {
        self.0.take_fault()
    }

    /// The bytes that came behind the line.
    pub fn take_early(&mut self) -> Vec<u8> {
        self.0.take_early()
    }

    /// The stream is open.
    pub fn handle_connected(&mut self) {
        self.0.settle();
    }

    /// Nothing came of it, which the program learns from nothing else than that it is over.
    pub fn handle_failure(&mut self, _: Failure) {
        if self.0.settle() {
            self.0.close();
        }
    }

    fn ask(&mut self, host: Host, port: u16, protocol: Protocol) {
        let command = Command::Connect;
        self.0.ask(Request { command, host, port, protocol, credentials: None, preference: None });
    }

    fn refuse(&mut self, fault: Fault) {
        self.0.tell(fault);
        self.0.close();
    }
}

/// Where a line says that its program wanted to go. C tor: what is behind the port counts for
/// nothing, and in place of an address there may be a name.
fn destination(line: &[u8]) -> Result<(Host, u16), Fault> {
    let show = |bytes: &[u8]| Sensitive::new(bytes.escape_ascii().to_string());
    let words = line.strip_prefix(LINE_START).and_then(|rest| {
        let at = rest.iter().position(|byte| *byte == b' ')?;
        Some((rest.get(..at)?, rest.get(at + 1..)?))
    });
    let Some((name, behind)) = words else { return Err(Fault::NoLine(show(line.trim_ascii_end()))) };
    let port = port(behind).ok_or_else(|| Fault::LineWithoutPort(show(behind.trim_ascii_end())))?;
    let text = core::str::from_utf8(name).map_err(|_| BadName::Malformed);
    let host = text.and_then(Host::parse_loosely).map_err(|bad| Fault::of_name(bad, name))?;
    Ok((host, port))
}

/// The number that a text begins with, if a port has it.
fn port(text: &[u8]) -> Option<u16> {
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let number = core::str::from_utf8(text.get(..end)?).ok()?;
    number.parse().ok().filter(|port| *port != 0)
}

/// For the fuzzer: no bytes do harm, however they are cut, and nobody is told anything.
pub fn fuzz(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let run = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut natd = Redirected::by_natd();
        pieces.for_each(|piece| natd.handle_bytes(piece));
        let outputs: Vec<_> = core::iter::from_fn(|| natd.poll_output()).collect();
        (outputs, natd.take_early(), natd.take_fault())
    };
    let whole = run(&mut core::iter::once(bytes));
    let cut = run(&mut bytes.chunks(usize::from(*cut).max(1)));
    assert!(whole == cut, "how the bytes are cut shows");
    match &whole {
        (outputs, early, None) if outputs.is_empty() => assert!(early.is_empty() && bytes.len() < MAX_LINE_LEN),
        (outputs, early, fault) => {
            let is_request = matches!(outputs[..], [Output::Request(_)]);
            assert!(is_request || outputs[..] == [Output::Close], "neither a request nor an end");
            assert!(is_request == fault.is_none() && early.len() <= bytes.len(), "no reason, or too many bytes");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes of bytes given at once: the request or nothing, what is left, and what was wrong.
    fn heard(bytes: &[u8]) -> (Vec<Output>, Vec<u8>, Option<Fault>) {
        let mut natd = Redirected::by_natd();
        natd.handle_bytes(bytes);
        let outputs = core::iter::from_fn(|| natd.poll_output()).collect();
        (outputs, natd.take_early(), natd.take_fault())
    }

    fn request(host: &str, port: u16, protocol: Protocol) -> Output {
        let host = Host::parse_loosely(host).unwrap();
        let command = Command::Connect;
        Output::Request(Request { command, host, port, protocol, credentials: None, preference: None })
    }

    /// After `connection_ap_process_natd` in C tor's core/or/connection_edge.c.
    #[test]
    fn a_line_of_natd_says_where_to_go_as_c_tor_reads_it() {
        for (line, host, port) in [
            ("[DEST 192.0.2.1 80]\n", "192.0.2.1", 80),
            ("[DEST 192.0.2.1 80]\r\n", "192.0.2.1", 80),
            ("[DEST 255.255.255.255 65535]\n", "255.255.255.255", 65535),
            ("[DEST 255.255.255.255 65535] \n", "255.255.255.255", 65535),
            ("[DEST 192.0.2.1 80\n", "192.0.2.1", 80),
            ("[DEST 192.0.2.1  +080 or 81]\n", "192.0.2.1", 80),
            ("[DEST www.example.com 80]\n", "www.example.com", 80),
            ("[DEST 2001:db8::1 80]\n", "2001:db8::1", 80),
        ] {
            let heard = heard(format!("{line}GET /\n").as_bytes());
            assert_eq!(heard, (vec![request(host, port, Protocol::Natd)], b"GET /\n".to_vec(), None), "{line:?}");
        }
    }

    #[test]
    fn what_is_no_line_of_natd_is_closed_and_told() {
        let shown = |text: &str| Sensitive::new(text.to_owned());
        let name = |bad, text| Fault::Name(bad, shown(text));
        for (line, expected) in [
            ("\n", Fault::NoLine(shown(""))),
            ("[DEST\n", Fault::NoLine(shown("[DEST"))),
            ("[DEST 192.0.2.1]\r\n", Fault::NoLine(shown("[DEST 192.0.2.1]"))),
            ("[dest 192.0.2.1 80]\n", Fault::NoLine(shown("[dest 192.0.2.1 80]"))),
            ("GET / HTTP/1.0\r\n\r\n", Fault::NoLine(shown("GET / HTTP/1.0"))),
            ("[DEST 192.0.2.1 ]\n", Fault::LineWithoutPort(shown("]"))),
            ("[DEST 192.0.2.1 0]\n", Fault::LineWithoutPort(shown("0]"))),
            ("[DEST 192.0.2.1 -1]\n", Fault::LineWithoutPort(shown("-1]"))),
            ("[DEST 192.0.2.1 65536]\n", Fault::LineWithoutPort(shown("65536]"))),
            ("[DEST  80]\n", name(BadName::Malformed, "")),
            ("[DEST a..b 80]\n", name(BadName::Malformed, "a..b")),
            ("[DEST x.onion 80]\n", name(BadName::BadOnion, "x.onion")),
            ("[DEST a.b.exit 80]\n", name(BadName::Exit, "a.b.exit")),
            ("[DEST 255.255.255.255 65535]  \n", Fault::LongLine),
            ("123456789012345678901234567890", Fault::LongLine),
        ] {
            let (outputs, _, fault) = heard(line.as_bytes());
            assert_eq!((&outputs[..], fault), (&[Output::Close][..], Some(expected)), "{line:?}");
        }
        assert_eq!(heard(&[b'['; MAX_LINE_LEN - 1]), (Vec::new(), Vec::new(), None));
    }

    #[test]
    fn the_system_needs_no_line_and_nobody_is_told_anything() {
        for address in ["192.0.2.1:80", "[2001:db8::1]:443"] {
            let address: SocketAddr = address.parse().unwrap();
            for fails in [false, true] {
                let mut redirected = Redirected::to(address);
                let expected = request(&address.ip().to_string(), address.port(), Protocol::Transparent);
                assert_eq!(redirected.poll_output(), Some(expected));
                redirected.handle_bytes(b"[DEST 192.0.2.2 1]\n");
                assert_eq!(redirected.take_early(), b"[DEST 192.0.2.2 1]\n");
                match fails {
                    true => redirected.handle_failure(Failure::Refused),
                    false => redirected.handle_connected(),
                };
                assert_eq!(redirected.poll_output(), fails.then_some(Output::Close));
                redirected.handle_failure(Failure::Reset);
                assert_eq!((redirected.poll_output(), redirected.take_fault()), (None, None));
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(front in "(\\[DEST |[0-9a-z.: \\]+\r]|\n){0,12}", rest: Vec<u8>, cut: u8) {
            fuzz(&[&[cut], front.as_bytes(), &rest].concat());
        }
    }
}
