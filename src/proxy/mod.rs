//! From a local program's words to a request, and from what became of it to the words back.
//!
//! What can be asked for ([`Request`]), and why it can fail ([`Failure`]), whichever language
//! the program speaks; each language is a file, with its table of answers, and [`Language`] is
//! whichever of them a connection speaks; `dns.rs` has none. Opens no socket and decides nothing about circuits: the
//! client does. Called by the shell, one machine for each connection of a program. Spec:
//! socks-extensions; tor-spec, "Remote hostname lookup".

pub mod dns;
pub mod door;
pub mod http_connect;
pub mod maps;
mod opening;
pub mod outward;
pub mod redirected;
pub mod socks;

use core::fmt;
use core::net::IpAddr;

use crate::base::redact::Sensitive;
use crate::client;
pub use crate::client::name::{BadName, Host};
use crate::wire::relay_msg::EndReason;
use http_connect::HttpConnect;
use redirected::Redirected;
use socks::Socks;

/// How much of a stream is taken before its request is answered; ours, a TLS record. The shell
/// reads no more than this ahead.
pub const MAX_EARLY_LEN: usize = 16 * 1024;

/// What a language wants done for its program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Reply(Vec<u8>),
    /// Serve this, then say what became of it.
    Request(Request),
    /// Send nothing more, and close.
    Close,
}

/// What a program asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub command: Command,
    /// With what.
    pub host: Host,
    /// The port; 0 where none is wanted.
    pub port: u16,
    /// The language it was asked in.
    pub protocol: Protocol,
    /// Who asks, as far as they say: what is equal may share a circuit.
    pub credentials: Option<Credentials>,
    /// To which kind of address a name should lead, if the program minds.
    pub preference: Option<Preference>,
}

/// To which kind of address a name should lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// The port's other kind is as good if there is no IPv4.
    Ipv4First,
    /// The same of IPv6.
    Ipv6First,
    /// IPv4, or none.
    Ipv4Only,
    /// IPv6, or none.
    Ipv6Only,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Open a stream.
    Connect,
    /// Look a name up.
    Resolve,
    /// Look an address up.
    ResolvePtr,
}

/// The language of a request. Streams of different ones can be kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// With an address.
    Socks4,
    /// With a name.
    Socks4a,
    /// Either.
    Socks5,
    /// HTTP CONNECT.
    HttpConnect,
    /// Look-ups by datagrams.
    Dns,
    /// None: a firewall led it here, and the system knows where it wanted to go.
    Transparent,
    /// None, but for the line of natd ahead of it.
    Natd,
}

/// What a connection speaks.
pub enum Language {
    /// SOCKS, of whichever version.
    Socks(Socks),
    /// HTTP CONNECT.
    HttpConnect(HttpConnect),
    /// Whatever it would have spoken to somebody else.
    Redirected(Redirected),
}

impl Language {
    /// Takes what a read brought.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        match self {
            Language::Socks(socks) => socks.handle_bytes(bytes),
            Language::HttpConnect(http) => http.handle_bytes(bytes),
            Language::Redirected(redirected) => redirected.handle_bytes(bytes),
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        match self {
            Language::Socks(socks) => socks.poll_output(),
            Language::HttpConnect(http) => http.poll_output(),
            Language::Redirected(redirected) => redirected.poll_output(),
        }
    }

    /// Why there was no request, where the user should know.
    pub fn take_fault(&mut self) -> Option<Fault> {
        match self {
            Language::Socks(socks) => socks.take_fault(),
            Language::HttpConnect(http) => http.take_fault(),
            Language::Redirected(redirected) => redirected.take_fault(),
        }
    }

    /// The bytes that came behind the request.
    pub fn take_early(&mut self) -> Vec<u8> {
        match self {
            Language::Socks(socks) => socks.take_early(),
            Language::HttpConnect(http) => http.take_early(),
            Language::Redirected(redirected) => redirected.take_early(),
        }
    }

    /// The stream is open.
    pub fn handle_connected(&mut self) {
        match self {
            Language::Socks(socks) => socks.handle_connected(),
            Language::HttpConnect(http) => http.handle_connected(),
            Language::Redirected(redirected) => redirected.handle_connected(),
        }
    }

    /// The look-up found something.
    pub fn handle_found(&mut self, found: &Found) {
        match self {
            Language::Socks(socks) => socks.handle_found(found),
            // There are no look-ups in these.
            Language::HttpConnect(http) => http.handle_failure(Failure::Misc),
            Language::Redirected(redirected) => redirected.handle_failure(Failure::Misc),
        }
    }

    /// Nothing came of it.
    pub fn handle_failure(&mut self, failure: Failure) {
        match self {
            Language::Socks(socks) => socks.handle_failure(failure),
            Language::HttpConnect(http) => http.handle_failure(failure),
            Language::Redirected(redirected) => redirected.handle_failure(failure),
        }
    }
}

/// What is wrong with words that are no request, or with one that nobody may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They are in another language: what they begin with.
    Language(u8),
    /// A command that there is not.
    Command(u8),
    /// A name that cannot be asked for.
    Name(BadName, Sensitive<String>),
    /// A line of natd that does not end.
    LongLine,
    /// What is none.
    NoLine(Sensitive<String>),
    /// One that names no port but this.
    LineWithoutPort(Sensitive<String>),
}

impl Fault {
    fn of_name(bad: BadName, name: &[u8]) -> Fault {
        Fault::Name(bad, Sensitive::new(name.escape_ascii().to_string()))
    }
}

/// What a program says of who asks: any bytes. They separate streams and mean nothing else.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credentials {
    /// The user, or the user id of SOCKS4.
    pub user: Vec<u8>,
    /// The password.
    pub password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// What a look-up found.
#[derive(Clone, PartialEq, Eq)]
pub enum Found {
    /// An address.
    Ip(IpAddr),
    /// A name.
    Name(String),
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Found")
    }
}

/// Why nothing came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The name is none.
    Malformed,
    /// The port is 0.
    NoPort,
    /// An onion address that is none.
    BadOnion,
    /// `.exit`, which programs may not choose.
    ExitName,
    /// An onion address, and onion services are not here.
    OnionsNotHere,
    /// A look-up of an onion address, which has no other.
    OnionHasNoAddress,
    /// What the port's flags do not let through.
    TrafficOff,
    /// `SafeSocks`, and an address that somebody else looked up.
    Unsafe,
    /// A port that carries passwords in the clear.
    PlaintextPort,
    /// One of the addresses that stand for names, and it stands for none.
    NoMapping,
    /// An address of this machine or a local network.
    Internal,
    /// A reverse look-up of such an address.
    InternalHasNoName,
    /// The directory is not known yet.
    NoDirectory,
    /// No circuit for it within the time.
    TimedOut,
    /// It can be attached to none.
    Unattachable,
    /// The exit: MISC.
    Misc,
    /// The exit: RESOLVEFAILED, or a look-up that came to nothing now.
    ResolveFailed,
    /// A look-up of what nobody knows.
    NotFound,
    /// A name that has addresses of another kind, if any.
    OtherKind,
    /// The exit: CONNECTREFUSED.
    Refused,
    /// The exit: EXITPOLICY.
    ExitPolicy,
    /// The exit: DESTROY, or the circuit is gone.
    Destroyed,
    /// The exit: DONE, before it was open.
    Done,
    /// The exit: TIMEOUT.
    ExitTimedOut,
    /// The exit: NOROUTE.
    NoRoute,
    /// The exit: HIBERNATING.
    Hibernating,
    /// The exit: INTERNAL.
    ExitInternal,
    /// The exit: RESOURCELIMIT.
    ResourceLimit,
    /// The exit: CONNRESET.
    Reset,
    /// The exit: TORPROTOCOL.
    TorProtocol,
    /// The exit: NOTDIRECTORY.
    NotDirectory,
}

impl From<BadName> for Failure {
    fn from(bad: BadName) -> Self {
        match bad {
            BadName::Malformed => Failure::Malformed,
            BadName::BadOnion => Failure::BadOnion,
            BadName::Exit => Failure::ExitName,
        }
    }
}

impl From<client::Failure> for Failure {
    fn from(failure: client::Failure) -> Self {
        match failure {
            client::Failure::TooMany => Failure::ResourceLimit,
            client::Failure::NetworkDisabled => Failure::NoDirectory,
            client::Failure::UnknownExit => Failure::TorProtocol,
            client::Failure::TimedOut => Failure::TimedOut,
            client::Failure::NoExit => Failure::Unattachable,
            client::Failure::CircuitsBroke => Failure::Destroyed,
            client::Failure::NothingFound => Failure::NotFound,
            client::Failure::NothingNow => Failure::ResolveFailed,
            client::Failure::OtherKind => Failure::OtherKind,
            client::Failure::Exit(reason) | client::Failure::Closed(reason) => reason.into(),
        }
    }
}

/// C tor: a reason that nobody defined is no reason.
impl From<EndReason> for Failure {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::RESOLVEFAILED => Failure::ResolveFailed,
            EndReason::CONNECTREFUSED => Failure::Refused,
            EndReason::EXITPOLICY => Failure::ExitPolicy,
            EndReason::DESTROY => Failure::Destroyed,
            EndReason::DONE => Failure::Done,
            EndReason::TIMEOUT => Failure::ExitTimedOut,
            EndReason::NOROUTE => Failure::NoRoute,
            EndReason::HIBERNATING => Failure::Hibernating,
            EndReason::INTERNAL => Failure::ExitInternal,
            EndReason::RESOURCELIMIT => Failure::ResourceLimit,
            EndReason::CONNRESET => Failure::Reset,
            EndReason::TORPROTOCOL => Failure::TorProtocol,
            EndReason::NOTDIRECTORY => Failure::NotDirectory,
            _ => Failure::Misc,
        }
    }
}

/// What a look-up found, for a program to be shown.
impl From<client::Found> for Found {
    fn from(found: client::Found) -> Self {
        match found {
            client::Found::Ip(ip) => Found::Ip(ip.into_inner()),
            client::Found::Name(name) => Found::Name(name.into_inner()),
        }
    }
}
