//! A circuit: a row of hops, its life and its end.
//!
//! Knows no link, no circuit number and no socket: cells come in as a batch of one read and
//! leave one by one into the caller's room. Which relays, how long to wait and what to do
//! when it fails is decided above. Called by the client's machine, through [`tunnel::Tunnel`].
//! Spec: tor-spec, "Circuit management", "Relay cells".

pub mod build;
pub mod far;
pub mod hop;
mod recv;
mod send;
pub mod tunnel;

use core::fmt;
use core::net::IpAddr;
use core::ops::Range;
use core::time::Duration;
use std::collections::VecDeque;

use crate::base::error::{Blame, Scope};
use crate::base::redact::Sensitive;
use crate::base::time::{Now, Tick};
use crate::crypto;
use crate::stream::verdict::Verdict;
use crate::stream::{self, Stream};
use crate::wire;
use crate::wire::cell::Command as CellCommand;
use crate::wire::cell_msg::DestroyReason;
use crate::wire::relay::Command;
use crate::wire::relay_msg::End;

use build::{ExpectCreated, ExpectExtended};
use hop::{Handshake, Hop, HopNo, Leg, PathHop, StreamAt};
use send::Control;

/// Relays in a row: as many as RELAY_EARLY cells allow (tor-spec), and one hop behind them
/// that is no relay.
pub const MAX_HOPS: usize = 9;
/// Messages of those above that may wait to be sent; ours.
pub const MAX_MESSAGES: usize = 256;

/// What may wait to be sent before data, when another stream is to be opened; ours. SENDMEs
/// and ENDs add to it what open streams and windows allow.
pub const MAX_WAITING: usize = 4096;

/// Why a circuit or one of its streams failed, or a wish could not be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A cell or message is malformed.
    Wire(wire::Error),
    /// A hop did not prove to be who we wanted.
    Handshake(crypto::Error),
    /// A message of a stream, or a SENDME, was refused.
    Stream(stream::Error),
    /// A cell that no hop sealed: lost, changed or made up on the way.
    Unrecognized,
    /// A cell that is not of a circuit's life, or not now.
    UnexpectedCell(CellCommand),
    /// A message that its hop may not say, or not now.
    Unexpected(Command),
    /// A message that nobody has defined.
    UnknownCommand(Command),
    /// A message names a stream where it may not, or none where it must.
    StreamMisplaced(Command),
    /// RELAY_EARLY towards us, which marks a circuit.
    RelayEarly,
    /// A relay granted what we had not asked for.
    UnaskedExtension,
    /// The first relay destroyed the circuit.
    Destroyed(DestroyReason),
    /// A relay said that the circuit ends at it.
    Truncated(DestroyReason),
    /// The link under it is gone.
    LinkClosed,
    /// It was not built in time.
    BuildTooSlow,
    /// Whoever asked for it wants it no more.
    Requested,
    /// A path that no circuit can have, or that lacks what its handshakes need.
    BadPath,
    /// No RELAY_EARLY cell is left to extend with.
    NoRelayEarlyLeft,
    /// There is no such hop.
    NoSuchHop,
    /// There is no such leg.
    NoSuchLeg,
    /// There is no such stream, perhaps no longer.
    NoSuchStream,
    /// More waits to be sent than may.
    QueueFull,
    /// Cells came before what the last ones brought was taken.
    NotDrained,
}

impl Error {
    /// Who is at fault. A circuit that a relay gives up is nobody's crime: it may have lost
    /// the next one.
    pub fn blame(self) -> Blame {
        match self {
            Error::Wire(error) => error.blame(),
            Error::Handshake(error) => error.blame(),
            Error::Stream(error) => error.blame(),
            Error::Destroyed(_) | Error::Truncated(_) | Error::LinkClosed | Error::BuildTooSlow => Blame::Network,
            Error::Requested => Blame::User,
            Error::NoSuchStream | Error::NoRelayEarlyLeft | Error::QueueFull => Blame::Local,
            Error::BadPath | Error::NoSuchHop | Error::NoSuchLeg | Error::NotDrained => Blame::Bug,
            _ => Blame::Peer,
        }
    }

    /// What falls.
    pub fn scope(self) -> Scope {
        match self {
            Error::Stream(error) => error.scope(),
            Error::NoSuchStream | Error::QueueFull | Error::NoSuchHop => Scope::Stream,
            _ => Scope::Circuit,
        }
    }

    /// What DESTROY says of it; `None` where the circuit is gone for the first relay too. A
    /// client never says why.
    pub fn destroy_reason(self) -> Option<DestroyReason> {
        match self {
            Error::Destroyed(_) | Error::LinkClosed => None,
            _ => Some(DestroyReason::NONE),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Error::Wire(error) => return write!(f, "a cell or message is malformed: {error:?}"),
            Error::Handshake(error) => return write!(f, "a hop did not prove itself: {error:?}"),
            Error::Stream(error) => return error.fmt(f),
            Error::UnexpectedCell(command) => return write!(f, "a cell came out of turn: command {}", command.0),
            Error::Unexpected(command) => return write!(f, "a message came out of turn: command {}", command.0),
            Error::UnknownCommand(command) => return write!(f, "nobody has defined message {}", command.0),
            Error::StreamMisplaced(command) => return write!(f, "message {} has a wrong stream", command.0),
            Error::Destroyed(reason) => return write!(f, "the circuit was destroyed: reason {}", reason.0),
            Error::Truncated(reason) => return write!(f, "the circuit was cut: reason {}", reason.0),
            Error::Unrecognized => "a cell came that no hop has sealed",
            Error::RelayEarly => "RELAY_EARLY came towards us, which marks a circuit",
            Error::UnaskedExtension => "a relay granted what was not asked for",
            Error::LinkClosed => "the link under the circuit is gone",
            Error::BuildTooSlow => "the circuit took too long to build",
            Error::Requested => "the circuit was closed on request",
            Error::BadPath => "no circuit can have this path",
            Error::NoRelayEarlyLeft => "no RELAY_EARLY cell is left to extend with",
            Error::NoSuchHop => "there is no such hop",
            Error::NoSuchLeg => "there is no such leg",
            Error::NoSuchStream => "there is no such stream",
            Error::QueueFull => "more waits to be sent than may",
            Error::NotDrained => "cells came before the last ones were taken",
        };
        f.write_str(text)
    }
}

impl From<wire::Error> for Error {
    fn from(error: wire::Error) -> Self {
        Error::Wire(error)
    }
}

impl From<crypto::Error> for Error {
    fn from(error: crypto::Error) -> Self {
        Error::Handshake(error)
    }
}

impl From<stream::Error> for Error {
    fn from(error: stream::Error) -> Self {
        Error::Stream(error)
    }
}

/// What a circuit has come to.
#[derive(Debug)]
pub enum Output {
    /// A hop of the path is there.
    HopBuilt {
        /// On which leg.
        leg: Leg,
        /// Which.
        hop: HopNo,
        /// From its question to its answer.
        took: Duration,
    },
    /// All hops asked for are there.
    Built {
        /// On which leg.
        leg: Leg,
        /// From the first question to the last answer.
        took: Duration,
    },
    /// It is over, and so are its streams, of which each was told before.
    Closed {
        /// Which leg.
        leg: Leg,
        /// Why; who closed it is its blame.
        error: Error,
        /// What to tell the first relay, if it must be told.
        tell: Option<DestroyReason>,
        /// How many hops it had.
        hops: usize,
    },
    /// A stream is open.
    Connected {
        /// Which.
        stream: StreamAt,
        /// To which address, if that was said, and for how many seconds that is the name's.
        address: Option<(Sensitive<IpAddr>, u32)>,
    },
    /// What was asked for with RESOLVE, without addresses that no exit can mean; each with
    /// its lifetime in seconds. The stream is over.
    Resolved {
        /// Which.
        stream: StreamAt,
        /// Perhaps none.
        answers: Vec<(Answer, u32)>,
    },
    /// Bytes for a stream's reader.
    Data {
        /// Which.
        stream: StreamAt,
        /// Where in the batch, see [`tunnel::Tunnel::bytes`].
        at: Range<usize>,
    },
    /// A stream's writer, which had found no room, may go on.
    Writable {
        /// Which.
        stream: StreamAt,
    },
    /// A stream is over, and not by our wish.
    Ended {
        /// Which.
        stream: StreamAt,
        /// Why.
        why: Ended,
        /// What its writer gave that no CONNECTED answered, for another try.
        unanswered: Sensitive<Vec<u8>>,
    },
    /// The far end wants to open a stream to us; to be accepted or refused.
    Asked {
        /// Which.
        stream: StreamAt,
        /// To what; empty for an onion service.
        host: Sensitive<String>,
        /// To which port.
        port: u16,
    },
    /// A message that is not the circuit's own, of a hop that is listened to.
    Message {
        /// On which leg.
        leg: Leg,
        /// Of which hop.
        hop: HopNo,
        /// Its command.
        command: Command,
        /// Its body.
        body: Sensitive<Vec<u8>>,
    },
}

/// One answer to RESOLVE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An address of the name.
    Address(Sensitive<IpAddr>),
    /// The name of the address.
    Hostname(Sensitive<Vec<u8>>),
    /// Nothing now; another try may help.
    TransientError,
    /// Nothing, and there will not be.
    PermanentError,
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The far end ended it.
    ByFarEnd {
        /// Its reason, and perhaps an address.
        end: End,
        /// Whether the stream had been open.
        was_open: bool,
    },
    /// What the far end said of it cannot be taken.
    Refused(stream::Error),
    /// The circuit is over.
    WithCircuit(Error),
}

impl Ended {
    /// What to do about it, and what to tell the user; `None` where only what was tried
    /// before can say.
    pub fn verdict(&self) -> Option<Verdict> {
        match self {
            Ended::ByFarEnd { end, .. } => Some(Verdict::on(end.reason)),
            Ended::Refused(_) | Ended::WithCircuit(_) => None,
        }
    }
}

/// One circuit.
struct Circuit {
    leg: Leg,
    life: Life,
    hops: Vec<Hop>,
    /// The relays that are still to become hops.
    path: VecDeque<PathHop>,
    awaited: Awaited,
    /// When the first question went out.
    begun: Option<Tick>,
    /// When to have given up, while it is being built.
    build_by: Tick,
    /// RELAY_EARLY cells that may still be sent; drawn with the first cell.
    early_left: Option<u8>,
    control: VecDeque<Control>,
    /// How many of those are messages of those above.
    messages: usize,
    /// The hop that sent data last.
    served: usize,
    /// Exits may find addresses of private networks.
    allows_internal: bool,
    outputs: VecDeque<Output>,
    traffic: Traffic,
}

/// What a circuit has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Cells of any kind that came, and that went.
    pub cells_read: u64,
    /// See above.
    pub cells_written: u64,
    /// What came in messages that were good.
    pub read: Share,
    /// What went out as data.
    pub written: Share,
}

/// How much of the room in messages was used. C tor: `n_delivered_read_circ_bw` and its
/// neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Bytes.
    pub used: u64,
    /// Bytes that might have been.
    pub unused: u64,
}

impl Share {
    #[inline]
    fn add(&mut self, length: usize, most: usize) {
        let count = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
        self.used += count(length);
        self.unused += count(most.saturating_sub(length));
    }
}

/// ```text
///  Building --last hop answered--> Open --more hops asked for--> Building
///      |                            |
///      +----- any error, or the end wished for -----> Closed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Building,
    Open,
    Closed(Error),
}

/// The answer that must come next, if one must.
enum Awaited {
    Nothing,
    Created(ExpectCreated),
    Extended(ExpectExtended),
}

impl Circuit {
    /// A circuit that is to have these hops by then.
    fn new(leg: Leg, path: Vec<PathHop>, build_by: Tick) -> Result<Circuit, Error> {
        check_path(&path, true)?;
        Ok(Circuit { leg, life: Life::Building, path: path.into(), build_by, ..Circuit::of_hops(Vec::new()) })
    }

    /// Adds relays behind the last hop.
    fn extend(&mut self, path: Vec<PathHop>, build_by: Tick) -> Result<(), Error> {
        self.check_open()?;
        check_path(&path, false)?;
        let to_come = self.path.len() + path.len();
        if self.hops.len() + to_come >= MAX_HOPS {
            return Err(Error::BadPath);
        }
        if self.early_left.is_some_and(|left| usize::from(left) < to_come) {
            return Err(Error::NoRelayEarlyLeft);
        }
        self.path.extend(path);
        self.build_by = build_by;
        self.life = Life::Building;
        self.begun = None;
        Ok(())
    }

    /// A circuit whose hops are there already.
    fn of_hops(hops: Vec<Hop>) -> Circuit {
        Circuit {
            leg: Leg::default(),
            life: Life::Open,
            hops,
            path: VecDeque::new(),
            awaited: Awaited::Nothing,
            begun: None,
            build_by: Tick::default(),
            early_left: None,
            control: VecDeque::new(),
            messages: 0,
            served: 0,
            allows_internal: false,
            outputs: VecDeque::new(),
            traffic: Traffic::default(),
        }
    }

    fn check_open(&self) -> Result<(), Error> {
        match self.life {
            Life::Closed(error) => Err(error),
            Life::Building | Life::Open => Ok(()),
        }
    }

    /// The hop of that number, on a circuit that is not over.
    fn hop(&mut self, hop: HopNo) -> Result<&mut Hop, Error> {
        self.check_open()?;
        self.hops.get_mut(hop.index()).ok_or(Error::NoSuchHop)
    }

    fn stream(&mut self, at: StreamAt) -> Result<&mut Stream, Error> {
        self.hop(at.hop)?.streams.get_mut(at.id).ok_or(Error::NoSuchStream)
    }

    /// A hop has answered.
    fn on_hop(&mut self, hop: Hop, took: Duration, now: Now) {
        let number = HopNo::of(self.hops.len());
        self.hops.push(hop);
        self.path.pop_front();
        self.outputs.push_back(Output::HopBuilt { leg: self.leg, hop: number, took });
        if self.path.is_empty() {
            self.life = Life::Open;
            let took = self.begun.map_or(Duration::ZERO, |begun| now.tick.since(begun));
            self.outputs.push_back(Output::Built { leg: self.leg, took });
        }
    }

    /// It is over: every stream is told, then those above.
    fn fall(&mut self, error: Error) {
        if matches!(self.life, Life::Closed(_)) {
            return;
        }
        self.life = Life::Closed(error);
        let fallen = core::mem::take(&mut self.hops);
        let hops = fallen.len();
        for (number, mut hop) in fallen.into_iter().enumerate() {
            let ids: Vec<_> = hop.streams.live().collect();
            for id in ids {
                let unanswered = hop.streams.get_mut(id).map(Stream::take_unanswered);
                self.outputs.push_back(Output::Ended {
                    stream: StreamAt { hop: HopNo::of(number), id },
                    why: Ended::WithCircuit(error),
                    unanswered: unanswered.unwrap_or(Sensitive::new(Vec::new())),
                });
            }
        }
        self.path.clear();
        self.awaited = Awaited::Nothing;
        self.control.clear();
        let (leg, tell) = (self.leg, error.destroy_reason());
        self.outputs.push_back(Output::Closed { leg, error, tell, hops });
    }

    fn next_deadline(&self) -> Option<Tick> {
        (self.life == Life::Building).then_some(self.build_by)
    }

    fn handle_timeout(&mut self, now: Now) {
        if self.next_deadline().is_some_and(|deadline| deadline <= now.tick) {
            self.fall(Error::BuildTooSlow);
        }
    }
}

/// Refuses what no relay would do, or cannot be asked for: nothing at all, too many hops, a
/// relay twice in a row, CREATE_FAST beyond the first hop, a handshake without the identity
/// it needs, a relay behind another that cannot be found.
fn check_path(path: &[PathHop], begins_the_circuit: bool) -> Result<(), Error> {
    let is_good = |(number, hop): (usize, &PathHop)| {
        let ids = hop.target.ids;
        let is_first = number == 0 && begins_the_circuit;
        let is_provable = match hop.handshake {
            Handshake::Fast => is_first,
            Handshake::Ntor(_) => ids.rsa.is_some(),
            Handshake::NtorV3(_) => ids.ed25519.is_some(),
        };
        let has_address = hop.target.ipv4.is_some() || hop.target.ipv6.is_some();
        let can_be_found = has_address && ids.rsa.is_some_and(|rsa| !rsa.is_zero());
        is_provable && (is_first || can_be_found)
    };
    let is_twice =
        |(one, next): (&PathHop, &PathHop)| one.target.ids.rsa.is_some() && one.target.ids.rsa == next.target.ids.rsa;
    let has_length = !path.is_empty() && path.len() < MAX_HOPS;
    let is_straight = !path.iter().zip(path.iter().skip(1)).any(is_twice);
    if has_length && is_straight && path.iter().enumerate().all(is_good) { Ok(()) } else { Err(Error::BadPath) }
}

#[cfg(test)]
mod tests;
