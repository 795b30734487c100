//! One stream: which message is legal now, what waits to be sent, and how it ends.
//!
//! A machine without a circuit: it says what a message means and when it may send; hops,
//! cells and sealing are `circuit`'s, numbers and half-closed streams are in `map`. Streams
//! that the far end opens (an onion service's) are served by the same states. Called by
//! `circuit/recv.rs`, `circuit/send.rs` and `circuit/tunnel.rs`. Spec: tor-spec,
//! "Application connections and stream management".

pub mod congestion;
pub mod map;
pub mod verdict;
pub mod xon;

use core::fmt;
use core::net::IpAddr;
use std::collections::VecDeque;

use crate::base::address::is_internal;
use crate::base::error::{Blame, Scope};
use crate::base::redact::Sensitive;
use crate::wire;
use crate::wire::relay::Command;
use crate::wire::relay_msg::{Begin, BeginFlags, Connected, End, Resolved, Xoff, Xon};

use xon::Flow;

/// Bytes of a stream that may wait to be sent, or, before CONNECTED, be sent and kept; ours,
/// two TLS records.
pub const MAX_UNSENT: usize = 64 * 498;
/// How much of that must be free before a writer that found it full is called again; ours.
const ROOM_WORTH_TELLING: usize = MAX_UNSENT / 2;

/// Why a message of a stream was refused, or a stream could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A message is malformed.
    Wire(wire::Error),
    /// A message for a stream that is not there, or is over.
    UnknownStream,
    /// A message that no such stream has, or not now.
    OutOfTurn(Command),
    /// DATA of a stream that is not open yet.
    DataBeforeConnected,
    /// DATA of no bytes, which only marks a circuit.
    EmptyData,
    /// CONNECTED for a stream that is open already.
    ConnectedTwice,
    /// Somebody tried to open a stream to us.
    BeginUnexpected,
    /// The far end opened a stream under a number in use.
    StreamIdInUse,
    /// More data than the windows allow.
    WindowOverrun,
    /// A SENDME for what was not sent.
    SendmeUnexpected,
    /// A circuit SENDME without proof.
    SendmeWithoutTag,
    /// A circuit SENDME with the proof of something else.
    SendmeTagWrong,
    /// XON or XOFF where windows serve.
    FlowControlNotNegotiated,
    /// After our END more came than can have been under way.
    HalfClosedOverrun,
    /// The far end connected to, or found, an address that no exit can mean.
    AddressRefused,
    /// As many streams are open as may be.
    TooManyStreams,
    /// The far end opened more streams than it may.
    TooManyAsked,
}

impl Error {
    /// Who is at fault.
    pub fn blame(self) -> Blame {
        match self {
            Error::Wire(error) => error.blame(),
            Error::TooManyStreams => Blame::Local,
            _ => Blame::Peer,
        }
    }

    /// What falls. A message out of order can be a mark that one relay makes for another, so
    /// the circuit falls with it; C tor counts such cells, Arti closes as we do.
    pub fn scope(self) -> Scope {
        match self {
            Error::AddressRefused | Error::TooManyStreams => Scope::Stream,
            _ => Scope::Circuit,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Error::Wire(error) => return write!(f, "a message of a stream is malformed: {error:?}"),
            Error::OutOfTurn(command) => return write!(f, "a message came out of turn: command {}", command.0),
            Error::UnknownStream => "a message came for a stream that is not there",
            Error::DataBeforeConnected => "data came before the stream was open",
            Error::EmptyData => "a DATA message came without data",
            Error::ConnectedTwice => "a stream was opened twice",
            Error::BeginUnexpected => "the far end tried to open a stream to us",
            Error::StreamIdInUse => "the far end opened a stream under a number in use",
            Error::WindowOverrun => "more data came than the window allows",
            Error::SendmeUnexpected => "data was acknowledged that was not sent",
            Error::SendmeWithoutTag => "data was acknowledged without proof",
            Error::SendmeTagWrong => "data was acknowledged with a wrong proof",
            Error::FlowControlNotNegotiated => "XON or XOFF came where windows serve",
            Error::HalfClosedOverrun => "too much came for a stream that we had closed",
            Error::AddressRefused => "the exit named an address that it cannot mean",
            Error::TooManyStreams => "no more streams fit on the circuit",
            Error::TooManyAsked => "the far end opened too many streams",
        };
        f.write_str(text)
    }
}

impl From<wire::Error> for Error {
    fn from(error: wire::Error) -> Self {
        Error::Wire(error)
    }
}

/// What a message of a stream comes to.
#[derive(Debug)]
pub enum Heard<'a> {
    /// Nothing for anybody above.
    Nothing,
    /// Its bytes are for the stream's reader.
    Data,
    /// The stream is open: the address and its lifetime in seconds, if they were said.
    Connected(Option<(Sensitive<IpAddr>, u32)>),
    /// What was looked up is found, or not; the stream is over. It may hold addresses that
    /// `base::address::is_internal`.
    Resolved(Resolved<'a>),
    /// The far end ended the stream.
    Ended {
        /// Why.
        end: End,
        /// Whether it had been open.
        was_open: bool,
        /// What its writer gave that no CONNECTED answered, for another try.
        unanswered: Sensitive<Vec<u8>>,
    },
    /// The stream falls, and the far end must be told so; the circuit stays.
    Refused {
        /// Why.
        error: Error,
        /// As above.
        unanswered: Sensitive<Vec<u8>>,
    },
    /// The far end wants to open a stream to us: accept or refuse it.
    Asked(Begin<'a>),
}

/// Where a stream is. RESOLVE is one question and one answer, without data.
///
/// ```text
///  BEGIN or BEGIN_DIR sent          BEGIN received            RESOLVE sent
///         |                              |                         |
///         v                              v                         v
///      Opening --END received--+       Asked --refused: END--+  Resolving
///         | CONNECTED received |         | accepted:         |     | RESOLVED or
///         |                    |         | CONNECTED sent    |     | END received
///         +-------> Open <-----|---------+                   |     |
///                   |  |       v                             |     v
///                   |  +----> over  <--- nothing more comes -+--- over
///                   |  END received
///        END sent   v
///   (from any) half closed, `map::HalfClosed` --END received--> over
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// We asked for it. Data may go out already, of which a copy is kept.
    Opening(Wanted),
    /// We asked for an address or a name.
    Resolving,
    /// The far end asked for it, and may send data already.
    Asked,
    /// Both ways are open.
    Open,
}

/// What a stream that we asked for may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    /// `None`: what is said of an address means nothing, as of a directory.
    flags: Option<BeginFlags>,
    /// Whether data goes out before CONNECTED.
    is_optimistic: bool,
    /// Whether an exit may say that it found an address of a private network.
    allows_internal: bool,
}

/// One stream that is not over.
pub struct Stream {
    state: State,
    flow: Flow,
    /// What the writer gave; the first `kept` bytes are sent. At most [`MAX_UNSENT`].
    unsent: VecDeque<u8>,
    /// Sent and kept because no CONNECTED has come; 0 when it has.
    kept: usize,
    /// Bytes handed over and not yet read.
    unread: usize,
    /// END follows the last byte that waits.
    is_finishing: bool,
    /// A writer found no room and wants to know when there is some.
    writer_waits: bool,
    /// It stands in the row of those who have something to send (`map`).
    in_turn: bool,
}

impl Stream {
    /// One for which BEGIN goes out with these flags.
    pub fn begin(flags: BeginFlags, is_optimistic: bool) -> Stream {
        Stream::new(State::Opening(Wanted { flags: Some(flags), is_optimistic, allows_internal: false }))
    }

    /// The same, and its exit may find addresses of private networks. C tor:
    /// `ClientDNSRejectInternalAddresses 0`, for networks of tests.
    #[must_use]
    pub fn allowing_internal(mut self) -> Stream {
        if let State::Opening(wanted) = &mut self.state {
            wanted.allows_internal = true;
        }
        self
    }

    /// One for which BEGIN_DIR goes out. C tor and Arti: its data never waits.
    pub fn begin_dir() -> Stream {
        Stream::new(State::Opening(Wanted { flags: None, is_optimistic: true, allows_internal: false }))
    }

    /// One for which RESOLVE goes out.
    pub fn resolve() -> Stream {
        Stream::new(State::Resolving)
    }

    /// One for which BEGIN came.
    fn asked() -> Stream {
        Stream::new(State::Asked)
    }

    fn new(state: State) -> Stream {
        Stream {
            state,
            flow: Flow::windows(),
            unsent: VecDeque::new(),
            kept: 0,
            unread: 0,
            is_finishing: false,
            writer_waits: false,
            in_turn: false,
        }
    }

    /// Takes a message of this stream. After `Ended`, `Resolved` and `Refused` it is over;
    /// after an error so is the circuit.
    pub fn handle<'a>(&mut self, command: Command, body: &'a [u8]) -> Result<Heard<'a>, Error> {
        match command {
            Command::DATA => self.on_data(body),
            Command::SENDME => self.on_sendme().map(|()| Heard::Nothing),
            Command::CONNECTED => self.on_connected(body),
            Command::END => {
                let end = End::parse(body)?;
                Ok(Heard::Ended { end, was_open: self.is_open(), unanswered: self.take_unanswered() })
            }
            Command::RESOLVED if self.state == State::Resolving => Ok(Heard::Resolved(Resolved::parse(body)?)),
            Command::XON => self.on_flow(Xon::parse(body).map(drop)),
            Command::XOFF => self.on_flow(Xoff::parse(body).map(drop)),
            Command::BEGIN | Command::BEGIN_DIR => Err(Error::StreamIdInUse),
            command => Err(Error::OutOfTurn(command)),
        }
    }

    #[inline]
    fn on_data<'a>(&mut self, body: &[u8]) -> Result<Heard<'a>, Error> {
        match self.state {
            State::Open | State::Asked => {}
            State::Opening(_) => return Err(Error::DataBeforeConnected),
            State::Resolving => return Err(Error::OutOfTurn(Command::DATA)),
        }
        if body.is_empty() {
            return Err(Error::EmptyData);
        }
        self.flow.on_data()?;
        self.unread = self.unread.saturating_add(body.len());
        Ok(Heard::Data)
    }

    fn on_sendme(&mut self) -> Result<(), Error> {
        // C tor: RESOLVE has no flow control (TROVE-2026-018).
        if self.state == State::Resolving { Err(Error::OutOfTurn(Command::SENDME)) } else { self.flow.on_sendme() }
    }

    fn on_flow<'a>(&mut self, parsed: Result<(), wire::Error>) -> Result<Heard<'a>, Error> {
        parsed?;
        self.flow.on_xon_xoff().map(|()| Heard::Nothing)
    }

    fn on_connected<'a>(&mut self, body: &[u8]) -> Result<Heard<'a>, Error> {
        let wanted = match self.state {
            State::Opening(wanted) => wanted,
            State::Open => return Err(Error::ConnectedTwice),
            State::Resolving | State::Asked => return Err(Error::OutOfTurn(Command::CONNECTED)),
        };
        let Connected { address } = Connected::parse(body)?;
        let address = address.filter(|_| wanted.flags.is_some());
        if let (Some((ip, _)), Some(flags)) = (address, wanted.flags)
            && !may_be_answered(*ip.uncover(), flags, wanted.allows_internal)
        {
            let unanswered = self.take_unanswered();
            // To the far end it is open, and data may be under way.
            self.open();
            return Ok(Heard::Refused { error: Error::AddressRefused, unanswered });
        }
        self.open();
        Ok(Heard::Connected(address))
    }

    /// The far end's wish is granted: CONNECTED goes out. False if it had none.
    pub fn accept(&mut self) -> bool {
        let is_asked = self.state == State::Asked;
        if is_asked {
            self.open();
        }
        is_asked
    }

    fn open(&mut self) {
        self.state = State::Open;
        self.unsent.drain(..self.kept);
        self.kept = 0;
    }

    /// What its writer gave that no CONNECTED answered.
    pub fn take_unanswered(&mut self) -> Sensitive<Vec<u8>> {
        let unanswered = if self.is_open() { Vec::new() } else { core::mem::take(&mut self.unsent).into() };
        self.kept = 0;
        Sensitive::new(unanswered)
    }

    /// Whether both ways are open.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// How many bytes its writer may give.
    pub fn room(&self) -> usize {
        let takes_none = self.is_finishing || self.state == State::Resolving;
        if takes_none { 0 } else { MAX_UNSENT - self.unsent.len() }
    }

    /// What its writer gave that is not sent, or kept until it is open.
    pub fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Takes from its writer what there is room for, and says how much.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        self.make_room(taken);
        self.unsent.extend(bytes.get(..taken).unwrap_or_default());
        self.writer_waits |= taken < bytes.len() && !self.is_finishing;
        taken
    }

    /// Grows by doubling, but to no more than can ever be used.
    fn make_room(&mut self, more: usize) {
        let (len, capacity) = (self.unsent.len(), self.unsent.capacity());
        if len + more > capacity {
            let wanted = (2 * capacity).max(len + more).min(MAX_UNSENT);
            self.unsent.reserve_exact(wanted - len);
        }
    }

    /// Whether a writer that found no room can go on now. Says so once.
    pub fn writer_may_go_on(&mut self) -> bool {
        let may = self.writer_waits && self.room() >= ROOM_WORTH_TELLING;
        self.writer_waits &= !may;
        may
    }

    /// Bytes that could go into a DATA cell now.
    pub fn sendable(&self) -> usize {
        let may = match self.state {
            State::Open => true,
            State::Opening(wanted) => wanted.is_optimistic,
            State::Resolving | State::Asked => false,
        };
        if may && self.flow.may_send() { self.unsent.len() - self.kept } else { 0 }
    }

    /// The next `len` of them, in two pieces.
    pub fn next_bytes(&self, len: usize) -> [&[u8]; 2] {
        let (front, back) = self.unsent.as_slices();
        let from_front = front.get(self.kept..).unwrap_or_default();
        let from_back = back.get(self.kept.saturating_sub(front.len())..).unwrap_or_default();
        let first = from_front.get(..len).unwrap_or(from_front);
        [first, from_back.get(..len - first.len()).unwrap_or(from_back)]
    }

    /// The next `len` of them went into a DATA cell.
    pub fn on_sent(&mut self, len: usize) {
        self.flow.on_sent();
        if self.is_open() {
            self.unsent.drain(..len.min(self.unsent.len()));
        } else {
            self.kept = (self.kept + len).min(self.unsent.len());
        }
    }

    /// Its writer is done: END follows the last byte. True if that is now.
    pub fn finish(&mut self) -> bool {
        self.is_finishing = true;
        self.is_finished()
    }

    /// Whether its writer is done and all is sent.
    pub fn is_finished(&self) -> bool {
        self.is_finishing && self.kept == self.unsent.len()
    }

    /// Its reader has taken so many bytes.
    pub fn on_read(&mut self, bytes: usize) {
        self.unread = self.unread.saturating_sub(bytes);
    }

    /// Bytes handed over and not yet read.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// Whether a SENDME is due, which is then owed.
    pub fn sendme_due(&mut self) -> bool {
        self.flow.sendme_due(self.unread)
    }

    /// A SENDME that was owed leaves.
    pub fn on_sendme_sent(&mut self) {
        self.flow.on_sendme_sent();
    }
}

/// Whether `ip` can be what an exit found for a name when it was asked with `flags`.
pub fn may_be_answered(ip: IpAddr, flags: BeginFlags, allows_internal: bool) -> bool {
    let family_wanted = match ip {
        IpAddr::V4(_) => !flags.has(BeginFlags::IPV4_NOT_OK),
        IpAddr::V6(_) => flags.has(BeginFlags::IPV6_OK),
    };
    family_wanted && (allows_internal || !is_internal(ip))
}

#[cfg(test)]
mod tests;
