//! HTTP CONNECT: the head of a program's request in, a request and one answer out.
//!
//! One machine a connection, driven like `socks.rs`: what comes behind the head is the stream's.
//! A proxy for pages it is not: whoever asks for one is told so, if the name of this machine is
//! what they asked, and else is somebody's page that tries its luck. Called by the shell. Spec:
//! RFC 9110, "CONNECT"; proposal 365, "HTTP CONNECT".
//! C tor: `connection_ap_process_http_connect` and `connection_ap_handshake_socks_reply` in
//! core/or/connection_edge.c, `end_reason_to_http_connect_response_line` in core/or/reasons.c,
//! `parse_http_command` and `http_get_header` in feature/dircommon/directory.c.
//! Differs: C tor takes up to 1023 bytes behind the head for a body, drops them, and leaves over
//! more of them; here they are the stream's, and `Content-Length` says nothing. It sees a header
//! only with one blank behind its colon. Of the names of this machine it means to take loopback
//! addresses too, and takes `localhost` alone.

use core::net::{IpAddr, Ipv6Addr};

use super::opening::{Heard, Opening};
use super::{BadName, Command, Credentials, Failure, Fault, Host, Output, Preference, Protocol, Request};
use crate::base::text;
use crate::client::name::MAX_NAME_LEN;

/// The longest head, with its end. C tor: 8192 are too many.
pub const MAX_HEAD_LEN: usize = 8191;

const HEAD_END: &[u8] = b"\r\n\r\n";
/// Between the two headers that separate streams. C tor's.
const BETWEEN: &[u8] = b"\x01\xFF\x01\xFF";
/// In every answer. Spec: proposal 365, "Tor-Capabilities". C tor has none either.
const CAPABILITIES: &str = "Tor-Capabilities: \r\n";
/// Who answers to CONNECT, and who to anything else. C tor: the same, with its own name.
const VIA: &str = concat!("Via: tor/1.0 tor-network (cepa ", env!("CARGO_PKG_VERSION"), ")\r\n");
const SERVER: &str = concat!("Server: tor/1.0 (cepa ", env!("CARGO_PKG_VERSION"), ")\r\n");

const OK: &str = "200 OK";
const BAD_REQUEST: &str = "400 Bad Request";
const TOO_LONG: &str = "414 Request-URI Too Long";
const NO_RPC: &str = "501 Not implemented (No RPC Support)";
const ODD_REASON: &str = "500 Internal Server Error (weird end reason)";

/// What a browser that takes us for a proxy of pages is shown.
const NOT_A_PROXY: &str = "<!DOCTYPE html><title>Not a proxy for pages</title>\
    <h1>This port speaks HTTP CONNECT</h1>\
    <p>It opens tunnels, and fetches no page itself. Choose it for HTTPS alone in the settings of your program, \
    or choose a SOCKS port for everything.\n";

/// One connection of a program.
pub struct HttpConnect(Opening);

impl Default for HttpConnect {
    fn default() -> Self {
        HttpConnect::new()
    }
}

impl HttpConnect {
    /// A program connected.
    pub fn new() -> HttpConnect {
        HttpConnect(Opening::new(HEAD_END, MAX_HEAD_LEN))
    }

    /// Takes what a read brought.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        match self.0.handle_bytes(bytes) {
            Some(Heard::Text(head)) => self.on_head(&head),
            Some(Heard::TooLong) => self.0.close(),
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

    /// The bytes that came behind the head.
    pub fn take_early(&mut self) -> Vec<u8> {
        self.0.take_early()
    }

    /// The stream is open.
    pub fn handle_connected(&mut self) {
        if self.0.settle() {
            self.0.reply(answer(OK, None));
        }
    }

    /// Nothing came of it.
    pub fn handle_failure(&mut self, failure: Failure) {
        if self.0.settle() {
            self.refuse(failure);
        }
    }

    fn on_head(&mut self, head: &[u8]) {
        // C tor: what is no HTTP gets no answer.
        let Some(head) = Head::parse(head) else { return self.0.close() };
        if head.method.eq_ignore_ascii_case(b"CONNECT") {
            return match head.request() {
                Ok(request) => self.0.ask(request),
                Err(Refusal::Status(status)) => {
                    self.0.reply(answer(status, None));
                    self.0.close();
                }
                Err(Refusal::Name(bad, name)) => {
                    self.0.tell(Fault::of_name(bad, name));
                    self.refuse(bad.into());
                }
            };
        }
        // Whoever asks another name was led here by a name that means this machine, for now.
        if head.header("Host").is_some_and(is_here) {
            let is_question = head.method.eq_ignore_ascii_case(b"OPTIONS");
            self.0.reply(if is_question { options().into_bytes() } else { not_a_proxy().into_bytes() });
        }
        self.0.close();
    }

    fn refuse(&mut self, failure: Failure) {
        let (status, reason) = status(failure);
        self.0.reply(answer(status, reason));
        self.0.close();
    }
}

/// The head of a request.
struct Head<'a> {
    method: &'a [u8],
    target: &'a [u8],
    headers: &'a [u8],
}

/// What is wrong with a head that can be read.
enum Refusal<'a> {
    /// With HTTP.
    Status(&'static str),
    /// With where it wants to go.
    Name(BadName, &'a [u8]),
}

impl<'a> Head<'a> {
    fn parse(head: &'a [u8]) -> Option<Head<'a>> {
        let end = head.iter().position(|byte| *byte == b'\n')?;
        let (line, headers) = head.split_at_checked(end)?;
        // C tor: a comment begins here, whatever HTTP says.
        let line = line.strip_suffix(b"\r").filter(|line| !line.contains(&b'#'))?;
        let mut words = line.split(|byte| matches!(byte, b' ' | b'\t' | b'\r')).filter(|word| !word.is_empty());
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let minor = core::str::from_utf8(version).ok()?.strip_prefix("HTTP/1.")?;
        let is_number = minor.bytes().all(|byte| byte.is_ascii_digit()) && minor.parse::<u32>().is_ok();
        (is_number && words.next().is_none()).then_some(Head { method, target, headers })
    }

    /// The value of a header; of the first, if there are more.
    fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.split(|byte| *byte == b'\n').find_map(|line| {
            let at = line.iter().position(|byte| *byte == b':')?;
            let (front, value) = (line.get(..at)?, line.get(at + 1..)?);
            front.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
        })
    }

    fn request(&self) -> Result<Request, Refusal<'a>> {
        let target = core::str::from_utf8(self.target).map_err(|_| Refusal::Name(BadName::Malformed, self.target))?;
        let (host, port) = split(without_origin(target)).ok_or(Refusal::Status(BAD_REQUEST))?;
        if host.len() > MAX_NAME_LEN {
            return Err(Refusal::Status(TOO_LONG));
        }
        if self.header("Tor-RPC-Target").is_some() {
            return Err(Refusal::Status(NO_RPC));
        }
        let preference = match self.header("Tor-Family-Preference").map(preference) {
            Some(None) => return Err(Refusal::Status(BAD_REQUEST)),
            known => known.flatten(),
        };
        let host = Host::parse_loosely(host).map_err(|bad| Refusal::Name(bad, host.as_bytes()))?;
        let (command, protocol) = (Command::Connect, Protocol::HttpConnect);
        Ok(Request { command, host, port, protocol, credentials: self.credentials(), preference })
    }

    /// Who asks. C tor: two headers share one place, and only a program that means to can make
    /// them look like others.
    fn credentials(&self) -> Option<Credentials> {
        let names = ["Proxy-Authorization", "Tor-Stream-Isolation", "X-Tor-Stream-Isolation"];
        let [user, isolation, old_isolation] = names.map(|name| self.header(name));
        let password = match (isolation, old_isolation) {
            (None, None) => Vec::new(),
            (new, old) => [new.unwrap_or_default(), BETWEEN, old.unwrap_or_default()].concat(),
        };
        let is_said = user.is_some() || !password.is_empty();
        is_said.then(|| Credentials { user: user.unwrap_or_default().to_vec(), password })
    }
}

/// C tor: a target that is a whole address of the web counts from its path on.
fn without_origin(target: &str) -> &str {
    let behind = target.strip_prefix("http").map(|rest| rest.strip_prefix('s').unwrap_or(rest));
    let path = behind.and_then(|rest| rest.strip_prefix("://")).and_then(|rest| rest.get(rest.find('/')?..));
    path.unwrap_or(target)
}

/// A host, and the port behind it: 0 if there is none. C tor: `tor_addr_port_split`.
fn split(target: &str) -> Option<(&str, u16)> {
    let bare = target.strip_prefix('[').and_then(|target| target.strip_suffix(']')).unwrap_or(target);
    if bare.parse::<Ipv6Addr>().is_ok() {
        return Some((target, 0));
    }
    match target.rsplit_once(':') {
        Some((host, port)) => Some((host, port.parse().ok().filter(|port| *port != 0)?)),
        None => Some((target, 0)),
    }
}

/// Whether a header `Host` means this machine.
fn is_here(value: &[u8]) -> bool {
    let host = core::str::from_utf8(value).ok().and_then(split);
    host.is_some_and(|(host, _)| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// Spec: proposal 365, "Tor-Family-Preference".
fn preference(value: &[u8]) -> Option<Preference> {
    let known = [
        ("ipv4-preferred", Preference::Ipv4First),
        ("ipv6-preferred", Preference::Ipv6First),
        ("ipv4-only", Preference::Ipv4Only),
        ("ipv6-only", Preference::Ipv6Only),
    ];
    known.into_iter().find(|(name, _)| value.eq_ignore_ascii_case(name.as_bytes())).map(|(_, it)| it)
}

/// Whether what a program says of who asks is not in the form that is meant for that: `Basic`, and
/// the user `tor`. Spec: proposal 365, "Proxy-Authorization". C tor: `using_old_proxy_auth`.
pub fn is_old_authorization(value: &[u8]) -> bool {
    let user = || {
        let (scheme, rest) = value.split_at_checked(BASIC.len())?;
        let letters = core::str::from_utf8(rest).ok().filter(|_| scheme.eq_ignore_ascii_case(BASIC))?;
        text::from_base64(letters.trim()).ok()
    };
    !value.is_empty() && !user().is_some_and(|user| user.starts_with(b"tor:"))
}

const BASIC: &[u8] = b"Basic ";

// --- what goes out -----------------------------------------------------------------------

/// The table of answers, each with the reason that goes with it. C tor: the reason of an END, or
/// one of its own, which it calls so.
fn status(failure: Failure) -> (&'static str, Option<&'static str>) {
    match failure {
        Failure::Malformed | Failure::NoPort | Failure::BadOnion | Failure::ExitName | Failure::TorProtocol => {
            ("502 Bad Gateway (tor protocol violation)", Some("end/TORPROTOCOL"))
        }
        Failure::TrafficOff | Failure::Unsafe | Failure::PlaintextPort => {
            ("403 Forbidden (entry policy violation)", None)
        }
        Failure::Internal => (ODD_REASON, Some("c-tor/PRIVATE_ADDR")),
        Failure::NoDirectory => (ODD_REASON, Some("c-tor/NET_UNREACHABLE")),
        Failure::Unattachable | Failure::OnionsNotHere => (ODD_REASON, Some("c-tor/CANT_ATTACH")),
        Failure::OnionHasNoAddress | Failure::InternalHasNoName => (ODD_REASON, Some("c-tor/SOCKS_PROTOCOL")),
        Failure::Misc => ("500 Internal Server Error", Some("end/MISC")),
        Failure::NotDirectory => (ODD_REASON, Some("end/NOTDIRECTORY")),
        Failure::ResolveFailed | Failure::NotFound | Failure::OtherKind => {
            ("503 Service Unavailable (resolve failed)", Some("end/RESOLVEFAILED"))
        }
        Failure::NoRoute => ("503 Service Unavailable (no route)", Some("end/NOROUTE")),
        Failure::Refused => ("403 Forbidden (connection refused)", Some("end/CONNECTREFUSED")),
        Failure::ExitPolicy => ("403 Forbidden (exit policy)", Some("end/EXITPOLICY")),
        Failure::Reset => ("403 Forbidden (connection reset)", Some("end/CONNRESET")),
        Failure::Destroyed => ("502 Bad Gateway (destroy cell received)", Some("end/DESTROY")),
        Failure::Done => ("502 Bad Gateway (unexpected close)", Some("end/DONE")),
        Failure::Hibernating => ("502 Bad Gateway (hibernating server)", Some("end/HIBERNATING")),
        Failure::ExitInternal | Failure::NoMapping => ("502 Bad Gateway (internal error)", Some("end/INTERNAL")),
        Failure::ResourceLimit => ("502 Bad Gateway (resource limit)", Some("end/RESOURCELIMIT")),
        Failure::TimedOut | Failure::ExitTimedOut => ("504 Gateway Timeout", Some("end/TIMEOUT")),
    }
}

/// An answer to CONNECT.
fn answer(status: &str, reason: Option<&str>) -> Vec<u8> {
    let reason = reason.map_or_else(String::new, |reason| format!("Tor-Request-Failed: {reason}\r\n"));
    format!("HTTP/1.0 {status}\r\n{CAPABILITIES}{VIA}{reason}\r\n").into_bytes()
}

fn options() -> String {
    format!("HTTP/1.0 {OK}\r\nAllow: OPTIONS, CONNECT\r\n{CAPABILITIES}{SERVER}\r\n")
}

fn not_a_proxy() -> String {
    let kind = "Content-Type: text/html; charset=iso-8859-1\r\n";
    format!("HTTP/1.0 405 Method Not Allowed\r\n{kind}{CAPABILITIES}{SERVER}\r\n{NOT_A_PROXY}")
}

/// For the fuzzer: no bytes do harm, however they are cut, and there is one end at most.
pub fn fuzz(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let run = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut http = HttpConnect::new();
        pieces.for_each(|piece| http.handle_bytes(piece));
        let outputs: Vec<_> = core::iter::from_fn(|| http.poll_output()).collect();
        (outputs, http.take_early())
    };
    let whole = run(&mut core::iter::once(bytes));
    let cut = run(&mut bytes.chunks(usize::from(*cut).max(1)));
    assert!(whole == cut, "how the bytes are cut shows");
    let (outputs, early) = whole;
    let ends = outputs.iter().filter(|output| !matches!(output, Output::Reply(_))).count();
    assert!(ends <= 1 && outputs.len() <= 2 && early.len() <= bytes.len(), "more than one end");
    for output in outputs {
        if let Output::Reply(reply) = output {
            assert!(reply.starts_with(b"HTTP/1.0 ") && reply.windows(4).any(|four| four == HEAD_END), "no answer");
        }
    }
}

#[cfg(test)]
mod tests;
