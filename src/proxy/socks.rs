//! SOCKS 4, 4a and 5 with Tor's extensions: bytes of a program in, a request and replies out.
//!
//! One machine a connection. It takes bytes until the request is whole, whatever pieces they
//! come in; what comes behind it is the stream's, and kept for it ([`Socks::take_early`]).
//! It answers once, when it is told what became of the request, and then has nothing more
//! to do. Not what a request leads to; not who may connect (the shell). Called by the shell.
//! Spec: RFC 1928, RFC 1929, socks-extensions; proposal 351, "Making SOCKS5 authentication
//! extensions extensible". C tor: core/proto/proto_socks.c, and core/or/connection_edge.c
//! and core/or/reasons.c for the replies.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::VecDeque;

use super::{BadName, Command, Credentials, Failure, Fault, Found, Host, MAX_EARLY_LEN, Output, Protocol, Request};
use crate::base::codec::Reader;

/// The longest request, with all that is said before it at once. C tor: `MAX_SOCKS_MESSAGE_LEN`.
pub const MAX_MESSAGE_LEN: usize = 512;

const V4: u8 = 4;
const V5: u8 = 5;
const AUTH_VERSION: u8 = 1;
const NO_AUTH: u8 = 0;
const USER_PASS: u8 = 2;
const NO_METHOD: u8 = 0xFF;
const CONNECT: u8 = 1;
const BIND: u8 = 2;
const UDP_ASSOCIATE: u8 = 3;
const RESOLVE: u8 = 0xF0;
const RESOLVE_PTR: u8 = 0xF1;
const GRANTED_V4: u8 = 0x5A;
const REJECTED_V4: u8 = 0x5B;
/// User names that begin with this mean something else than names.
const EXTENDED: &[u8] = b"<torS0X>";
/// The one extended form there is: nothing follows, the password separates streams.
const EXTENDED_PLAIN: &[u8] = b"<torS0X>0";
/// What a browser that takes us for an HTTP proxy is shown.
const NOT_HTTP: &str = "HTTP/1.0 501 Tor is not an HTTP Proxy\r\nContent-Type: text/html; charset=utf-8\r\n\r\n\
    <!DOCTYPE html><title>Not an HTTP proxy</title><h1>This port speaks SOCKS</h1>\
    <p>Choose SOCKS in the settings of your program, not HTTP. For HTTP, configure HTTPTunnelPort.\n";

/// How a listener wants it spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// "No authentication" is chosen where both are offered.
    pub prefers_no_auth: bool,
    /// Tor's own reply codes may be used.
    pub extended_errors: bool,
    /// The program came over IPv6 or a socket in the file system, and gets longer replies.
    pub long_replies: bool,
}

/// One connection of a program.
pub struct Socks {
    manner: Manner,
    state: State,
    buffer: Vec<u8>,
    credentials: Option<Credentials>,
    outputs: VecDeque<Output>,
    fault: Option<Fault>,
}

/// What is awaited.
///
/// ```text
///   Greeting ──4──────────────────────┐
///      │ 5                            │
///      ├─user and password─> Auth ─┐  │
///      └─none─> Asking <───────────┘  │
///                  └──────> Asked <───┘ ──answered──> Over
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first byte says which version it is.
    Greeting,
    /// User and password.
    Auth,
    /// SOCKS5: the request.
    Asking,
    /// The request is with others; the answer will be in this language.
    Asked(Protocol, Command),
    /// Answered, or refused.
    Over,
}

/// What a whole message, or less, came to.
enum Step {
    /// So many bytes were a message.
    Taken(usize),
    /// It is not all there.
    More,
}

impl Socks {
    /// A program connected.
    pub fn new(manner: Manner) -> Socks {
        let (buffer, outputs) = (Vec::new(), VecDeque::new());
        Socks { manner, state: State::Greeting, buffer, credentials: None, outputs, fault: None }
    }

    /// Takes what a read brought.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        while matches!(self.state, State::Greeting | State::Auth | State::Asking) && !self.buffer.is_empty() {
            let buffer = core::mem::take(&mut self.buffer);
            let head = buffer.get(..MAX_MESSAGE_LEN).unwrap_or(&buffer);
            let step = match self.state {
                State::Greeting => self.on_greeting(head),
                State::Auth => self.on_auth(head),
                _ => self.on_request(head),
            };
            self.buffer = buffer;
            match step {
                Step::Taken(length) => drop(self.buffer.drain(..length.min(self.buffer.len()))),
                Step::More if self.buffer.len() < MAX_MESSAGE_LEN => return,
                Step::More => self.refuse(Failure::Malformed),
            }
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Why there was no request, where the user should know.
    pub fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    /// How many more bytes of the stream may be taken before the request is answered.
    pub fn room(&self) -> usize {
        MAX_EARLY_LEN.saturating_sub(self.buffer.len())
    }

    /// The bytes that came behind the request.
    pub fn take_early(&mut self) -> Vec<u8> {
        match self.state {
            State::Asked(..) | State::Over => core::mem::take(&mut self.buffer),
            _ => Vec::new(),
        }
    }

    /// The stream is open.
    pub fn handle_connected(&mut self) {
        if let State::Asked(protocol, _) = self.state {
            self.reply(match protocol {
                Protocol::Socks5 => self.plain_v5(0),
                _ => reply_v4(GRANTED_V4, None),
            });
            self.state = State::Over;
        }
    }

    /// The look-up found something.
    pub fn handle_found(&mut self, found: &Found) {
        let State::Asked(protocol, _) = self.state else { return };
        let reply = match (protocol, found) {
            (Protocol::Socks5, Found::Ip(ip)) => address_v5(0, *ip),
            (Protocol::Socks5, Found::Name(name)) => match u8::try_from(name.len()) {
                Ok(length) => [&[V5, 0, 0, 3, length], name.as_bytes(), &[0, 0]].concat(),
                Err(_) => self.plain_v5(code_v5(Failure::ResolveFailed)),
            },
            (_, Found::Ip(IpAddr::V4(ip))) => reply_v4(GRANTED_V4, Some(*ip)),
            _ => reply_v4(REJECTED_V4, None),
        };
        self.reply(reply);
        self.close();
    }

    /// Nothing came of it.
    pub fn handle_failure(&mut self, failure: Failure) {
        if matches!(self.state, State::Asked(..)) {
            self.refuse(failure);
        }
    }

    // --- what comes in -------------------------------------------------------------------

    fn on_greeting(&mut self, head: &[u8]) -> Step {
        match head {
            [V4, ..] => self.on_request_v4(head),
            [V5, count, methods @ ..] => match methods.get(..usize::from(*count)) {
                Some(methods) => {
                    self.on_methods(methods);
                    Step::Taken(2 + methods.len())
                }
                None => Step::More,
            },
            [V5] => Step::More,
            [first @ (b'G' | b'H' | b'P' | b'C'), ..] => {
                self.fault = Some(Fault::Language(*first));
                self.reply(NOT_HTTP.as_bytes().to_vec());
                self.close();
                Step::Taken(head.len())
            }
            _ => {
                self.fault = head.first().map(|first| Fault::Language(*first));
                self.close();
                Step::Taken(head.len())
            }
        }
    }

    fn on_methods(&mut self, methods: &[u8]) {
        let (has_auth, has_none) = (methods.contains(&USER_PASS), methods.contains(&NO_AUTH));
        if has_auth && !(has_none && self.manner.prefers_no_auth) {
            self.reply(vec![V5, USER_PASS]);
            self.state = State::Auth;
        } else if has_none {
            self.reply(vec![V5, NO_AUTH]);
            self.state = State::Asking;
        } else {
            // C tor: no methods at all get no answer.
            if !methods.is_empty() {
                self.reply(vec![V5, NO_METHOD]);
            }
            self.close();
        }
    }

    fn on_auth(&mut self, head: &[u8]) -> Step {
        let mut reader = Reader::new(head);
        let mut read = || {
            let version = reader.u8()?;
            let length = reader.u8()?;
            let user = reader.take(usize::from(length))?.to_vec();
            let length = reader.u8()?;
            let password = reader.take(usize::from(length))?.to_vec();
            Ok::<_, crate::base::codec::Error>((version, user, password))
        };
        if head.first().is_some_and(|version| *version != AUTH_VERSION) {
            return self.refuse_all(head, Failure::Misc);
        }
        let Ok((_, user, password)) = read() else { return Step::More };
        let length = 3 + user.len() + password.len();
        // Spec: proposal 351. C tor: such a refusal is a reply to a request that was not made.
        if user.starts_with(EXTENDED) && user != EXTENDED_PLAIN {
            self.reply(self.plain_v5(code_v5(Failure::Malformed)));
            self.close();
            return Step::Taken(length);
        }
        self.credentials = Some(Credentials { user, password });
        self.reply(vec![AUTH_VERSION, 0]);
        self.state = State::Asking;
        Step::Taken(length)
    }

    /// The request of SOCKS5.
    fn on_request(&mut self, head: &[u8]) -> Step {
        // C tor: user and password are taken from those too who agreed on none.
        if head.first() == Some(&AUTH_VERSION) && self.credentials.is_none() {
            return self.on_auth(head);
        }
        let [version, command, _, kind, rest @ ..] = head else {
            return self.more_unless_wrong(head);
        };
        let length = match (version, kind, rest) {
            (&V5, 1, _) => 4,
            (&V5, 3, [length, ..]) => 1 + usize::from(*length),
            (&V5, 3, []) => return Step::More,
            (&V5, 4, _) => 16,
            _ => return self.refuse_all(head, Failure::Misc),
        };
        let Some([high, low]) = rest.get(length..length + 2) else { return Step::More };
        let port = u16::from_be_bytes([*high, *low]);
        let address = rest.get(..length).unwrap_or_default();
        let asked = (*command, address, *kind, port);
        match self.request_of(asked) {
            Ok(request) => self.ask(request),
            Err(reply) => {
                self.reply(reply);
                self.close();
            }
        }
        Step::Taken(4 + length + 2)
    }

    /// The front of a request can be wrong before the rest is there.
    fn more_unless_wrong(&mut self, head: &[u8]) -> Step {
        match head {
            [V5, ..] | [] => Step::More,
            _ => self.refuse_all(head, Failure::Misc),
        }
    }

    fn refuse_all(&mut self, head: &[u8], failure: Failure) -> Step {
        self.reply(self.plain_v5(code_v5(failure)));
        self.close();
        Step::Taken(head.len())
    }

    /// The request, or what is said to one that is none.
    fn request_of(&mut self, (command, address, kind, port): (u8, &[u8], u8, u16)) -> Result<Request, Vec<u8>> {
        let command = match command {
            CONNECT => Command::Connect,
            RESOLVE => Command::Resolve,
            RESOLVE_PTR => Command::ResolvePtr,
            BIND | UDP_ASSOCIATE => {
                self.fault = Some(Fault::Command(command));
                return Err(self.plain_v5(COMMAND_NOT_SUPPORTED));
            }
            _ => {
                self.fault = Some(Fault::Command(command));
                return Err(self.plain_v5(code_v5(Failure::Misc)));
            }
        };
        let host = match kind {
            1 => ip::<4>(address).map(|octets| Host::Ip(Ipv4Addr::from(octets).into())),
            4 => ip::<16>(address).map(|octets| Host::Ip(Ipv6Addr::from(octets).into())),
            _ => address.get(1..).map_or(Err(BadName::Malformed), name),
        };
        if command == Command::ResolvePtr && !matches!(host, Ok(Host::Ip(_))) {
            return Err(self.plain_v5(ADDRESS_NOT_SUPPORTED));
        }
        let host = host.map_err(|bad| {
            self.fault = address.get(1..).map(|name| Fault::of_name(bad, name));
            match bad {
                // C tor: to look at these is not for its SOCKS.
                BadName::BadOnion | BadName::Exit if command == Command::Resolve => self.nothing_v5(bad.into()),
                _ => self.plain_v5(self.code(bad.into())),
            }
        })?;
        if command == Command::Connect && port == 0 {
            return Err(self.plain_v5(self.code(Failure::NoPort)));
        }
        let (protocol, credentials) = (Protocol::Socks5, self.credentials.clone());
        Ok(Request { command, host, port, protocol, credentials, preference: None })
    }

    fn on_request_v4(&mut self, head: &[u8]) -> Step {
        let [_, command, port_high, port_low, a, b, c, d, rest @ ..] = head else { return Step::More };
        let Some((user, behind)) = until_zero(rest) else { return Step::More };
        let (port, ip) = (u16::from_be_bytes([*port_high, *port_low]), Ipv4Addr::new(*a, *b, *c, *d));
        let is_named = [*a, *b, *c] == [0, 0, 0] && *d != 0;
        let (host, length) = match (is_named, until_zero(behind)) {
            (false, _) => (Ok(Host::Ip(ip.into())), 8 + user.len() + 1),
            (true, Some((letters, _))) => (name(letters), 8 + user.len() + 1 + letters.len() + 1),
            (true, None) => return Step::More,
        };
        self.fault = match (&host, *command, is_named) {
            (Err(bad), CONNECT | RESOLVE, true) => until_zero(behind).map(|(letters, _)| Fault::of_name(*bad, letters)),
            (_, CONNECT | RESOLVE, _) => None,
            (_, other, _) => Some(Fault::Command(other)),
        };
        let command = match *command {
            CONNECT if port != 0 => Some(Command::Connect),
            RESOLVE => Some(Command::Resolve),
            _ => None,
        };
        self.credentials = (!user.is_empty()).then(|| Credentials { user: user.to_vec(), password: Vec::new() });
        let protocol = if is_named { Protocol::Socks4a } else { Protocol::Socks4 };
        match (command, host) {
            (Some(command), Ok(host)) if !ip.is_unspecified() => {
                let credentials = self.credentials.clone();
                self.ask(Request { command, host, port, protocol, credentials, preference: None });
            }
            _ => {
                self.reply(reply_v4(REJECTED_V4, None));
                self.close();
            }
        }
        Step::Taken(length)
    }

    // --- what goes out -------------------------------------------------------------------

    fn ask(&mut self, request: Request) {
        self.state = State::Asked(request.protocol, request.command);
        self.outputs.push_back(Output::Request(request));
    }

    /// Says no in the language that was spoken, as far as it is known.
    fn refuse(&mut self, failure: Failure) {
        match self.state {
            State::Asked(Protocol::Socks5, Command::Resolve | Command::ResolvePtr) => {
                self.reply(self.nothing_v5(failure));
            }
            State::Asked(Protocol::Socks5, _) | State::Asking => self.reply(self.plain_v5(self.code(failure))),
            State::Asked(..) => self.reply(reply_v4(REJECTED_V4, None)),
            State::Greeting if self.buffer.first() == Some(&V4) => self.reply(reply_v4(REJECTED_V4, None)),
            State::Greeting | State::Auth | State::Over => {}
        }
        self.close();
    }

    fn reply(&mut self, bytes: Vec<u8>) {
        self.outputs.push_back(Output::Reply(bytes));
    }

    fn close(&mut self) {
        self.state = State::Over;
        self.outputs.push_back(Output::Close);
    }

    /// A look-up came to nothing. C tor: why is not said, and the address is of no type.
    fn nothing_v5(&self, failure: Failure) -> Vec<u8> {
        let code = self.code(failure);
        let code = if code == BAD_ONION { code } else { HOST_UNREACHABLE };
        vec![V5, code, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    /// A reply whose address says nothing. C tor: it is of the program's own family.
    fn plain_v5(&self, code: u8) -> Vec<u8> {
        match self.manner.long_replies {
            true => address_v5(code, Ipv6Addr::UNSPECIFIED.into()),
            false => address_v5(code, Ipv4Addr::UNSPECIFIED.into()),
        }
    }

    fn code(&self, failure: Failure) -> u8 {
        match failure {
            Failure::BadOnion if self.manner.extended_errors => BAD_ONION,
            failure => code_v5(failure),
        }
    }
}

const COMMAND_NOT_SUPPORTED: u8 = 7;
const ADDRESS_NOT_SUPPORTED: u8 = 8;
const HOST_UNREACHABLE: u8 = 4;
/// Spec: socks-extensions, "extended error codes".
const BAD_ONION: u8 = 0xF6;

/// The table of answers. C tor: `stream_end_reason_to_socks5_response`.
pub fn code_v5(failure: Failure) -> u8 {
    match failure {
        Failure::Unsafe | Failure::PlaintextPort | Failure::TrafficOff | Failure::ExitPolicy => 2,
        Failure::NoDirectory => 3,
        Failure::OnionHasNoAddress
        | Failure::InternalHasNoName
        | Failure::ResolveFailed
        | Failure::NotFound
        | Failure::OtherKind
        | Failure::NoRoute => 4,
        Failure::Refused | Failure::Reset | Failure::Done => 5,
        Failure::TimedOut | Failure::ExitTimedOut => 6,
        Failure::Malformed
        | Failure::NoPort
        | Failure::BadOnion
        | Failure::ExitName
        | Failure::OnionsNotHere
        | Failure::NoMapping
        | Failure::Internal
        | Failure::Unattachable
        | Failure::Misc
        | Failure::Destroyed
        | Failure::Hibernating
        | Failure::ExitInternal
        | Failure::ResourceLimit
        | Failure::TorProtocol
        | Failure::NotDirectory => 1,
    }
}

fn address_v5(code: u8, ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => [&[V5, code, 0, 1][..], &ip.octets(), &[0, 0]].concat(),
        IpAddr::V6(ip) => [&[V5, code, 0, 4][..], &ip.octets(), &[0, 0]].concat(),
    }
}

fn reply_v4(code: u8, ip: Option<Ipv4Addr>) -> Vec<u8> {
    let ip = ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
    [&[0, code, 0, 0][..], &ip.octets()].concat()
}

fn ip<const N: usize>(octets: &[u8]) -> Result<[u8; N], BadName> {
    octets.try_into().map_err(|_| BadName::Malformed)
}

fn name(letters: &[u8]) -> Result<Host, BadName> {
    core::str::from_utf8(letters).map_err(|_| BadName::Malformed).and_then(Host::parse)
}

/// What is before the first zero byte, and what is behind it.
fn until_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// For the fuzzer: no bytes do harm, however they are cut, and a request comes at most once.
pub fn fuzz_socks(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let run = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut socks = Socks::new(Manner { extended_errors: cut & 1 == 1, ..Manner::default() });
        pieces.for_each(|piece| socks.handle_bytes(piece));
        core::iter::from_fn(|| socks.poll_output()).collect::<Vec<_>>()
    };
    let whole = run(&mut core::iter::once(bytes));
    let cut = run(&mut bytes.chunks(usize::from(*cut).max(1)));
    assert!(whole == cut, "how the bytes are cut shows");
    let requests = whole.iter().filter(|output| matches!(output, Output::Request(_))).count();
    let ends = whole.iter().filter(|output| matches!(output, Output::Close)).count();
    assert!(requests + ends <= 1, "more than one end");
}

#[cfg(test)]
mod tests;
