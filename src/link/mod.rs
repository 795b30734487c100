//! One connection to one relay: bytes in, cells out, and the reverse.
//!
//! [`Link`] owns what is between TLS and circuits: framing, the handshake, circuit numbers
//! and padding. It knows no circuit beyond its number and opens no socket; both its sides
//! are here, because the lab's relays are its far end. Drive it like every machine:
//! `handle_*`, then `poll_output` until there is none, then sleep until `next_deadline`.
//! Bytes to write are taken only when TLS can write them (`take_transmit`): what waits
//! counts, here, against the link's bound and against padding.
//! Called by the lab and its probe.
//! Spec: tor-spec, "Negotiating and initializing channels"; padding-spec.

pub mod circ_ids;
pub mod frame;
pub mod handshake;
pub mod identity;
pub mod padding;

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::collections::VecDeque;

use crate::base::RelayIds;
use crate::base::codec::Writer;
use crate::base::error::{Blame, Scope};
use crate::base::random::Entropy;
use crate::base::time::{Now, Tick, earlier};
use crate::crypto::{cert, x509};
use crate::wire;
use crate::wire::cell::{self, Body, CircId, Command, Era};
use crate::wire::cell_msg::{CertType, Destroy, DestroyReason, PaddingNegotiate};

use circ_ids::{CircIds, Fate};
use frame::{CellAt, Framer, Next};
use handshake::{Established, Handshake, Progress, Responder};
use identity::LeafDigest;
use padding::{Mode, Padding, Timing};

/// Bytes that may wait to be written before [`Link::handle_send`] refuses more; ours. The
/// circuits above stop long before, when [`Link::queued`] grows.
pub const MAX_QUEUED: usize = 1024 * 1024;
/// What DESTROY may add to that, before the link is given up as stuck; ours.
const MAX_QUEUED_DESTROYS: usize = 1024 * cell::FIXED_LEN;
/// Buffers kept for the next read; ours.
const MAX_SPARE: usize = 2;
/// C tor: how long a connection may take to be ready for circuits.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(60);
/// Cells of a handshake, VPADDING included; ours. Real ones have four or five.
const MAX_HANDSHAKE_CELLS: u32 = 32;

/// Why a link failed. All of it falls on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A cell is malformed.
    Wire(wire::Error),
    /// A certificate is not good.
    Certificate(cert::Error),
    /// The RSA identity certificate cannot be read.
    X509(x509::Error),
    /// No link protocol that both sides speak.
    NoCommonVersion,
    /// A cell came before or after its turn in the handshake.
    OutOfTurn(Command),
    /// CERTS lacks a certificate that proves an identity.
    CertificateMissing(CertType),
    /// The certificates are for another TLS connection.
    TlsNotCertified,
    /// The RSA identity speaks for another Ed25519 identity than the one that signed.
    IdentitiesDisagree,
    /// The RSA identity is no key a relay has.
    BadRsaIdentity,
    /// The RSA identity certificate's dates are not now.
    IdentityCertificateOutdated,
    /// The relay proved another RSA identity than the one we dialled.
    WrongRsaIdentity,
    /// The relay proved another Ed25519 identity than the one we dialled.
    WrongEd25519Identity,
    /// A relay tried to open a circuit to us.
    CreateFromRelay,
    /// A relay told us how to pad.
    PaddingNegotiateFromRelay,
    /// A relay sent RELAY_EARLY, which marks a circuit for an accomplice further on.
    RelayEarlyFromRelay,
    /// The handshake took too long.
    HandshakeTooSlow,
    /// The handshake had more cells, or a longer one, than any real handshake.
    HandshakeTooLong,
    /// The other side has more circuits open than we can serve.
    TooManyCircuits,
    /// A cell was to be sent on a circuit that is not open, perhaps no longer.
    CircuitNotOpen,
    /// The other side does not read: too much waits to be written.
    Stuck,
    /// The other side opened a circuit under a number that is ours to choose, or in use.
    BadCircId,
    /// A cell for a circuit that is not there.
    UnknownCircuit,
    /// Cells kept coming for a circuit we had closed.
    TooManyLateCells,
    /// No free circuit number was found.
    NoFreeCircId,
    /// The link is not open yet.
    NotOpen,
    /// More waits to be written than may.
    QueueFull,
}

impl Error {
    /// Who is at fault.
    pub fn blame(self) -> Blame {
        match self {
            Error::Wire(error) => error.blame(),
            Error::Certificate(error) => error.blame(),
            Error::X509(error) => error.blame(),
            Error::IdentityCertificateOutdated => Blame::Clock,
            Error::NoFreeCircId => Blame::Local,
            Error::HandshakeTooSlow | Error::QueueFull | Error::CircuitNotOpen | Error::Stuck => Blame::Network,
            Error::NotOpen => Blame::Bug,
            _ => Blame::Peer,
        }
    }

    /// What falls.
    pub fn scope(self) -> Scope {
        match self {
            Error::NoFreeCircId | Error::QueueFull | Error::CircuitNotOpen => Scope::Circuit,
            _ => Scope::Link,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Error::Wire(error) => return write!(f, "a cell is malformed: {error:?}"),
            Error::Certificate(error) => return write!(f, "a certificate is not good: {error:?}"),
            Error::X509(error) => return write!(f, "the RSA identity certificate cannot be read: {error:?}"),
            Error::OutOfTurn(command) => return write!(f, "a cell came out of turn: command {}", command.0),
            Error::CertificateMissing(kind) => return write!(f, "CERTS lacks the certificate of type {}", kind.0),
            Error::NoCommonVersion => "no link protocol that both sides speak",
            Error::TlsNotCertified => "the certificates are for another TLS connection",
            Error::IdentitiesDisagree => "the RSA identity speaks for another Ed25519 identity",
            Error::BadRsaIdentity => "the RSA identity is no key that a relay has",
            Error::IdentityCertificateOutdated => "the RSA identity certificate is outdated, or a clock is wrong",
            Error::WrongRsaIdentity => "the relay has another RSA identity than the one wanted",
            Error::WrongEd25519Identity => "the relay has another Ed25519 identity than the one wanted",
            Error::CreateFromRelay => "the relay tried to open a circuit to us",
            Error::PaddingNegotiateFromRelay => "the relay told us how to pad",
            Error::RelayEarlyFromRelay => "the relay sent RELAY_EARLY, which marks a circuit",
            Error::HandshakeTooSlow => "the link handshake took too long",
            Error::HandshakeTooLong => "the link handshake had too many cells, or one too long",
            Error::TooManyCircuits => "the other side has too many circuits open",
            Error::CircuitNotOpen => "a cell was to be sent on a circuit that is not open",
            Error::Stuck => "the other side does not read",
            Error::BadCircId => "a circuit was opened under a number that may not be used",
            Error::UnknownCircuit => "a cell came for a circuit that is not there",
            Error::TooManyLateCells => "cells kept coming for a circuit that was closed",
            Error::NoFreeCircId => "no free circuit number was found",
            Error::NotOpen => "the link is not open yet",
            Error::QueueFull => "more waits to be written than may",
        };
        f.write_str(text)
    }
}

impl From<wire::Error> for Error {
    fn from(error: wire::Error) -> Self {
        Error::Wire(error)
    }
}

impl From<cert::Error> for Error {
    fn from(error: cert::Error) -> Self {
        Error::Certificate(error)
    }
}

impl From<x509::Error> for Error {
    fn from(error: x509::Error) -> Self {
        Error::X509(error)
    }
}

/// What a link has come to.
#[derive(Debug)]
pub enum Output {
    /// The handshake is over; cells may flow.
    Established(Box<Established>),
    /// Cells for circuits arrived.
    Cells(Cells),
}

/// What one read brought for circuits: the bytes, and where the cells are in them.
#[derive(Debug, Default)]
pub struct Cells {
    /// The bytes as read. Relay cells are decrypted in here.
    pub buffer: Vec<u8>,
    /// In the order they came. Each has a circuit.
    pub cells: Vec<CellAt>,
}

impl Cells {
    /// A cell's body, to be worked on in place.
    pub fn body_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        let range = self.cells.get(index)?.body.clone();
        self.buffer.get_mut(range)
    }
}

/// One connection to one relay, over TLS that is up already.
///
/// Whoever drives it polls all outputs after each call; what they hold is then no more
/// than one read brought.
pub struct Link {
    state: State,
    is_initiator: bool,
    handshake_ends: Tick,
    handshake_cells: u32,
    framer: Framer,
    ids: CircIds,
    padding: Padding,
    outgoing: Vec<u8>,
    outputs: VecDeque<Output>,
    spare: Vec<Cells>,
    /// How much of the buffer of the next read is of reads before.
    held: usize,
    traffic: Traffic,
    /// When a cell was written last, and how long the link may be silent after it.
    last_sent: Tick,
    keepalive: Option<Duration>,
}

/// What a link has carried, as TLS sees it: bytes of cells, padding among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Towards us.
    pub read: u64,
    /// Away from us.
    pub written: u64,
}

impl Traffic {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Traffic) -> Traffic {
        Traffic { read: self.read + other.read, written: self.written + other.written }
    }
}

enum State {
    Handshaking(Box<Handshake>),
    Open,
    Failed(Error),
}

impl Link {
    /// The side that dialled. `tls_leaf` is of the certificate that TLS saw, `wanted` the
    /// identities we dialled, `address` where we connected to.
    pub fn initiate(wanted: RelayIds, tls_leaf: LeafDigest, address: IpAddr, timing: Timing, now: Now) -> Link {
        let mut outgoing = Vec::new();
        let handshake = Handshake::initiate(wanted, tls_leaf, address, &mut outgoing);
        Link { outgoing, ..Link::new(handshake, CircIds::of_initiator(), Padding::of_client(timing), true, now) }
    }

    /// The side that was dialled: a relay. For the lab and the tests.
    pub fn respond(responder: Responder, timing: Timing, now: Now) -> Link {
        let handshake = Handshake::respond(responder);
        Link::new(handshake, CircIds::of_responder(), Padding::of_relay(timing), false, now)
    }

    fn new(handshake: Handshake, ids: CircIds, padding: Padding, is_initiator: bool, now: Now) -> Link {
        Link {
            state: State::Handshaking(Box::new(handshake)),
            is_initiator,
            handshake_ends: now.tick + HANDSHAKE_LIMIT,
            handshake_cells: 0,
            framer: Framer::default(),
            ids,
            padding,
            outgoing: Vec::new(),
            outputs: VecDeque::new(),
            spare: Vec::new(),
            held: 0,
            traffic: Traffic::default(),
            last_sent: now.tick,
            keepalive: None,
        }
    }

    /// A buffer for the next read: append to it what TLS gives and hand it to
    /// [`Link::handle_read`].
    /// Dropping it loses nothing.
    pub fn begin_read(&mut self) -> Vec<u8> {
        let spare = self.spare.last_mut().map(|cells| core::mem::take(&mut cells.buffer));
        let buffer = self.framer.begin_read(spare.unwrap_or_default());
        self.held = buffer.len();
        buffer
    }

    /// What it has carried so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Takes what a read brought. After an error the link is dead, and every further call
    /// gives the same error.
    pub fn handle_read(&mut self, buffer: Vec<u8>, now: Now) -> Result<(), Error> {
        self.traffic.read += count(buffer.len().saturating_sub(self.held));
        self.check_handshake_time(now)?;
        let mut read = self.spare.pop().unwrap_or_default();
        read.buffer = buffer;
        read.cells.clear();
        let result = self.cut(&mut read, now);
        if let Err(error) = result {
            self.state = State::Failed(error);
        }
        if read.cells.is_empty() {
            self.recycle(read);
        } else {
            self.outputs.push_back(Output::Cells(read));
        }
        result
    }

    /// Gives back what came with [`Output::Cells`], for the next read.
    pub fn recycle(&mut self, cells: Cells) {
        if self.spare.len() < MAX_SPARE {
            self.spare.push(cells);
        }
    }

    /// Writes a cell of an open circuit.
    pub fn handle_send(&mut self, circ_id: CircId, command: Command, body: &Body, now: Now) -> Result<(), Error> {
        match self.state {
            State::Open => {}
            State::Handshaking(_) => return Err(Error::NotOpen),
            State::Failed(error) => return Err(error),
        }
        if !self.ids.is_open(circ_id) {
            return Err(Error::CircuitNotOpen);
        }
        if self.outgoing.len() + cell::FIXED_LEN > MAX_QUEUED {
            return Err(Error::QueueFull);
        }
        self.ids.announce(circ_id);
        self.push_cell(circ_id, command, body, now)
    }

    fn push_cell(&mut self, circ_id: CircId, command: Command, body: &Body, now: Now) -> Result<(), Error> {
        let header = cell::fixed_header(Some(circ_id), command)?;
        self.outgoing.reserve(cell::FIXED_LEN);
        self.outgoing.extend_from_slice(&header);
        self.outgoing.extend_from_slice(body);
        self.padding.on_cell(now.tick);
        self.last_sent = now.tick;
        Ok(())
    }

    /// Chooses the number of a new circuit of ours.
    pub fn open_circuit(&mut self, entropy: &mut dyn Entropy) -> Result<CircId, Error> {
        match self.state {
            State::Open => self.ids.allocate(entropy),
            State::Handshaking(_) => Err(Error::NotOpen),
            State::Failed(error) => Err(error),
        }
    }

    /// Ends a circuit, and tells the other side. Nothing happens if it has ended already.
    ///
    /// DESTROY goes out although the queue is full, or the other side would keep the
    /// circuit; when too many of them wait the link fails.
    pub fn close_circuit(&mut self, circ_id: CircId, reason: DestroyReason, now: Now) -> Result<(), Error> {
        if let State::Failed(error) = self.state {
            return Err(error);
        }
        if !matches!(self.state, State::Open) || !self.ids.close(circ_id) {
            return Ok(());
        }
        if self.outgoing.len() + cell::FIXED_LEN > MAX_QUEUED + MAX_QUEUED_DESTROYS {
            self.state = State::Failed(Error::Stuck);
            return Err(Error::Stuck);
        }
        let mut body = [0; cell::BODY_LEN];
        Destroy { reason }.encode(&mut Writer::new(&mut body))?;
        self.push_cell(circ_id, Command::DESTROY, &body, now)
    }

    /// The link carries, or has carried, more than directory requests of one hop: from
    /// now on it is padded. C tor: CHANNEL_USED_FOR_FULL_CIRCS.
    pub fn engage_padding(&mut self, now: Now) {
        let news = self.padding.engage(now.tick);
        self.tell_padding(news);
    }

    /// The user or the consensus wants other padding.
    pub fn set_padding(&mut self, mode: Mode, timing: Timing, now: Now) {
        let news = self.padding.set(mode, timing, now.tick);
        self.tell_padding(news);
    }

    /// How long we may write nothing to the link, whatever else is padded, lest somebody between
    /// forget it. C tor: `KeepalivePeriod`.
    pub fn set_keepalive(&mut self, period: Duration) {
        self.keepalive = Some(period).filter(|period| !period.is_zero());
    }

    /// Bytes that wait to be taken and written.
    pub fn queued(&self) -> usize {
        self.outgoing.len()
    }

    /// All bytes that wait to be written. To be called only when TLS has written what it
    /// was given before.
    pub fn take_transmit(&mut self) -> Option<Vec<u8>> {
        self.traffic.written += count(self.outgoing.len());
        (!self.outgoing.is_empty()).then(|| core::mem::take(&mut self.outgoing))
    }

    /// The next thing that the link has come to.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Link::handle_timeout`].
    pub fn next_deadline(&self) -> Option<Tick> {
        match self.state {
            State::Handshaking(_) => Some(self.handshake_ends),
            State::Open => earlier(self.padding.next_deadline(), self.keepalive.map(|period| self.last_sent + period)),
            State::Failed(_) => None,
        }
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Now, entropy: &mut dyn Entropy) -> Result<(), Error> {
        self.check_handshake_time(now)?;
        if matches!(self.state, State::Open) {
            let is_silent = self.keepalive.is_some_and(|period| self.last_sent + period <= now.tick);
            let is_padded = self.padding.handle_timeout(now.tick, entropy);
            // C tor: while anything waits to be written, the link is not silent.
            if (is_silent || is_padded) && self.outgoing.is_empty() {
                self.send_own(Command::PADDING, &[]);
            }
            if is_silent || is_padded {
                self.last_sent = now.tick;
            }
        }
        Ok(())
    }

    /// Fails if the link has failed, or its handshake takes too long.
    fn check_handshake_time(&mut self, now: Now) -> Result<(), Error> {
        if matches!(self.state, State::Handshaking(_)) && now.tick >= self.handshake_ends {
            self.state = State::Failed(Error::HandshakeTooSlow);
        }
        if let State::Failed(error) = self.state { Err(error) } else { Ok(()) }
    }

    /// Finds all cells of a read, answers those of the link itself, keeps the others.
    fn cut(&mut self, read: &mut Cells, now: Now) -> Result<(), Error> {
        let mut from = self.framer.first_cell(&read.buffer);
        loop {
            let in_handshake = matches!(self.state, State::Handshaking(_));
            match self.framer.next(self.era(), in_handshake, &read.buffer, from)? {
                Next::Unfinished => break,
                Next::Nothing(next) => {
                    from = next;
                    self.count_handshake_cell()?;
                }
                Next::Cell(cell) => {
                    from = cell.body.end;
                    if self.handle_cell(&cell, &read.buffer[cell.body.clone()], now)? {
                        read.cells.push(cell);
                    }
                }
            }
        }
        self.framer.end_read(&read.buffer, from);
        if from > 0 {
            self.padding.on_cell(now.tick);
        }
        Ok(())
    }

    /// While the handshake goes on, every cell counts against its bound.
    fn count_handshake_cell(&mut self) -> Result<(), Error> {
        self.handshake_cells += u32::from(matches!(self.state, State::Handshaking(_)));
        if self.handshake_cells > MAX_HANDSHAKE_CELLS { Err(Error::HandshakeTooLong) } else { Ok(()) }
    }

    fn era(&self) -> Era {
        match &self.state {
            State::Handshaking(handshake) => handshake.era(),
            State::Open | State::Failed(_) => Era::Wide,
        }
    }

    /// Whether the cell is for a circuit.
    fn handle_cell(&mut self, cell: &CellAt, body: &[u8], now: Now) -> Result<bool, Error> {
        self.count_handshake_cell()?;
        match core::mem::replace(&mut self.state, State::Open) {
            State::Open => self.handle_open_cell(cell, body),
            State::Failed(error) => {
                self.state = State::Failed(error);
                Err(error)
            }
            State::Handshaking(handshake) => {
                match handshake.handle_cell(cell.command, body, now, &mut self.outgoing)? {
                    Progress::Going(handshake) => self.state = State::Handshaking(handshake),
                    Progress::Done(established) => {
                        let news = self.padding.set_version(established.version, now.tick);
                        self.tell_padding(news);
                        self.outputs.push_back(Output::Established(established));
                    }
                }
                Ok(false)
            }
        }
    }

    fn handle_open_cell(&mut self, cell: &CellAt, body: &[u8]) -> Result<bool, Error> {
        match cell.circ_id {
            // C tor: unknown commands are dropped.
            _ if !cell.command.is_known() => Ok(false),
            Some(circ_id) => self.handle_circuit_cell(circ_id, cell.command),
            None => self.handle_link_cell(cell.command, body).map(|()| false),
        }
    }

    /// Whether a cell that names a circuit is for a circuit. All of these are of fixed
    /// length, or their command would not be known.
    fn handle_circuit_cell(&mut self, circ_id: CircId, command: Command) -> Result<bool, Error> {
        match command {
            Command::RELAY_EARLY if self.is_initiator => return Err(Error::RelayEarlyFromRelay),
            Command::CREATE | Command::CREATE2 | Command::CREATE_FAST => return self.ids.adopt(circ_id).map(|()| true),
            Command::DESTROY => return Ok(self.ids.on_destroy(circ_id)),
            Command::CREATED | Command::CREATED2 | Command::CREATED_FAST if !self.is_initiator => {
                return Err(Error::OutOfTurn(command));
            }
            _ => {}
        }
        Ok(self.ids.on_cell(circ_id)? == Fate::Deliver)
    }

    fn handle_link_cell(&mut self, command: Command, body: &[u8]) -> Result<(), Error> {
        match command {
            Command::PADDING => Ok(()),
            Command::PADDING_NEGOTIATE => self.padding.on_negotiate(PaddingNegotiate::parse(body)?),
            command => Err(Error::OutOfTurn(command)),
        }
    }

    fn tell_padding(&mut self, news: Option<PaddingNegotiate>) {
        let mut body = [0; 6];
        if let Some(negotiate) = news
            && !matches!(self.state, State::Failed(_))
            && negotiate.encode(&mut Writer::new(&mut body)).is_ok()
        {
            self.send_own(Command::PADDING_NEGOTIATE, &body);
        }
    }

    /// Writes a cell of no circuit: `body` and zeros. PADDING is written only to an empty
    /// queue and PADDING_NEGOTIATE when the user's wish changes, so neither needs a bound.
    fn send_own(&mut self, command: Command, body: &[u8]) {
        if let Ok(header) = cell::fixed_header(None, command) {
            self.outgoing.extend_from_slice(&header);
            self.outgoing.extend_from_slice(body);
            self.outgoing.resize(self.outgoing.len() + cell::BODY_LEN - body.len(), 0);
        }
    }
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
