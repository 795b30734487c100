//! What leaves next: the next question of building, then control, then data, one cell a
//! stream in turn; and sealing it into the caller's room.
//!
//! Pulled: nothing is made into a cell before there is room for it, so that what waits stays
//! where it can be fair. No queue of cells, no circuit number (the link's). Called by
//! `tunnel.rs`. Spec: tor-spec, "Relay cells", "Flow control"; RELAY_EARLY as C tor spends it.

use super::build::{ExpectCreated, ExpectExtended};
use super::hop::{Hop, HopNo, StreamAt};
use super::{Awaited, Circuit, Error, Life, Output};
use crate::base::codec::Writer;
use crate::base::random::{self, Entropy};
use crate::base::time::Now;
use crate::crypto::SendmeTag;
use crate::stream::verdict::OUR_REASON;
use crate::wire;
use crate::wire::cell::{Body, Command as CellCommand};
use crate::wire::relay::{Command, Format, StreamId};
use crate::wire::relay_msg::{ClaimedTag, Sendme};

/// RELAY_EARLY cells of a circuit (tor-spec).
const MAX_RELAY_EARLY: u8 = 8;

/// What waits to be sent before any data.
pub(super) enum Control {
    /// A circuit SENDME that proves the cell of this tag. Bounded by the hop's window.
    Sendme(HopNo, SendmeTag),
    /// A stream SENDME. Bounded by the stream's window.
    StreamSendme(StreamAt),
    /// A message about a stream, made already. As many as there are streams.
    Stream(StreamAt, Command, Vec<u8>),
    /// A message of those above, to a hop.
    Message(HopNo, Command, Vec<u8>),
}

impl Control {
    /// END, with the one reason that we give.
    pub(super) fn end(stream: StreamAt) -> Control {
        Control::Stream(stream, Command::END, vec![OUR_REASON.0])
    }
}

impl Circuit {
    /// Fills a cell with what leaves next; gives its command. After an error the circuit
    /// must fall.
    pub(super) fn next_cell(
        &mut self,
        cell: &mut Body,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<Option<CellCommand>, Error> {
        let command = self.fill_cell(cell, now, entropy)?;
        self.traffic.cells_written += u64::from(command.is_some());
        Ok(command)
    }

    #[inline]
    fn fill_cell(
        &mut self,
        cell: &mut Body,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<Option<CellCommand>, Error> {
        if matches!(self.life, Life::Closed(_)) {
            return Ok(None);
        }
        if matches!(self.awaited, Awaited::Nothing) && !self.path.is_empty() {
            return self.ask(cell, now, entropy).map(Some);
        }
        while let Some(control) = self.control.pop_front() {
            if let Some(command) = self.control_cell(control, cell, entropy)? {
                return Ok(Some(command));
            }
        }
        self.data_cell(cell, now, entropy)
    }

    /// Asks for the next hop of the path.
    fn ask(&mut self, cell: &mut Body, now: Now, entropy: &mut dyn Entropy) -> Result<CellCommand, Error> {
        let Some(wanted) = self.path.front() else { return Err(Error::BadPath) };
        self.begun.get_or_insert(now.tick);
        let Some(last) = self.hops.last() else {
            let (command, expect) = ExpectCreated::ask(wanted, cell, now, entropy)?;
            self.awaited = Awaited::Created(expect);
            return Ok(command);
        };
        let through = HopNo::of(self.hops.len() - 1);
        let (body, expect) = ExpectExtended::ask(wanted, through, last.format, now, entropy)?;
        self.awaited = Awaited::Extended(expect);
        self.message_cell(through, Command::EXTEND2, None, &body, cell, entropy)
    }

    /// The cell of a control message; `None` if it is not wanted any more.
    fn control_cell(
        &mut self,
        control: Control,
        cell: &mut Body,
        entropy: &mut dyn Entropy,
    ) -> Result<Option<CellCommand>, Error> {
        match control {
            Control::Sendme(hop, tag) => {
                self.hop(hop)?.congestion.on_sendme_sent();
                let (body, len) = sendme(&tag)?;
                let body = body.get(..len).unwrap_or_default();
                self.message_cell(hop, Command::SENDME, None, body, cell, entropy)
            }
            Control::StreamSendme(at) => {
                let hop = self.hop(at.hop)?;
                // The far end of a stream that we ended wants none, and where the layout
                // has no place for one, windows are not what holds the stream.
                let Some(stream) = hop.streams.get_mut(at.id) else { return Ok(None) };
                if hop.format == Format::V1 {
                    return Ok(None);
                }
                stream.on_sendme_sent();
                self.message_cell(at.hop, Command::SENDME, Some(at.id), &[], cell, entropy)
            }
            Control::Stream(at, command, body) => self.message_cell(at.hop, command, Some(at.id), &body, cell, entropy),
            Control::Message(hop, command, body) => {
                self.messages -= 1;
                self.message_cell(hop, command, None, &body, cell, entropy)
            }
        }
        .map(Some)
    }

    fn message_cell(
        &mut self,
        hop: HopNo,
        command: Command,
        stream: Option<StreamId>,
        body: &[u8],
        cell: &mut Body,
        entropy: &mut dyn Entropy,
    ) -> Result<CellCommand, Error> {
        let format = self.hop(hop)?.format;
        format.encode(cell, command, stream, entropy, |out| Ok(out.bytes(body)?))?;
        self.seal(hop.index(), command, cell, entropy).map(|(command, _)| command)
    }

    /// The next stream's next bytes.
    fn data_cell(
        &mut self,
        cell: &mut Body,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<Option<CellCommand>, Error> {
        let count = self.hops.len();
        // The hop behind the one served last comes first.
        for number in (self.served + 1..count).chain(0..count.min(self.served + 1)) {
            let Some(hop) = self.hops.get_mut(number) else { continue };
            if hop.congestion.room() == 0 {
                continue;
            }
            let Some(id) = hop.streams.next_turn() else { continue };
            self.served = number;
            let len = package(hop, id, cell, entropy)?;
            self.traffic.written.add(len, hop.format.max_body(Command::DATA));
            let (command, tag) = self.seal(number, Command::DATA, cell, entropy)?;
            self.on_data_sent(StreamAt { hop: HopNo::of(number), id }, len, tag, now)?;
            return Ok(Some(command));
        }
        Ok(None)
    }

    fn on_data_sent(&mut self, at: StreamAt, len: usize, tag: SendmeTag, now: Now) -> Result<(), Error> {
        let hop = self.hop(at.hop)?;
        hop.congestion.on_sent(tag, now.tick);
        let Some(stream) = hop.streams.get_mut(at.id) else { return Ok(()) };
        stream.on_sent(len);
        if stream.is_finished() {
            hop.streams.close(at.id);
            self.control.push_back(Control::end(at));
            return Ok(());
        }
        let writer_may_go_on = stream.writer_may_go_on();
        hop.streams.go_on(at.id);
        if writer_may_go_on {
            self.outputs.push_back(Output::Writable { stream: at });
        }
        Ok(())
    }

    /// Seals a cell for a hop; gives its command and the tag that proves it. C tor: EXTEND2
    /// is RELAY_EARLY, and so is what goes beyond the first hop while there are any left.
    #[inline]
    fn seal(
        &mut self,
        number: usize,
        command: Command,
        cell: &mut Body,
        entropy: &mut dyn Entropy,
    ) -> Result<(CellCommand, SendmeTag), Error> {
        let drawn = || MAX_RELAY_EARLY - u8::from(random::below(entropy, 2) == 1);
        let left = self.early_left.get_or_insert_with(drawn);
        let is_extending = command == Command::EXTEND2;
        // Those that building will need are kept.
        let is_early = if is_extending { *left > 0 } else { number > 0 && usize::from(*left) > self.path.len() };
        if is_extending && !is_early {
            return Err(Error::NoRelayEarlyLeft);
        }
        *left -= u8::from(is_early);
        let command = if is_early { CellCommand::RELAY_EARLY } else { CellCommand::RELAY };
        let (nearer, hop) = self.hops.split_at_mut_checked(number).ok_or(Error::NoSuchHop)?;
        let tag = hop.first_mut().ok_or(Error::NoSuchHop)?.layer.originate(command.0, cell);
        nearer.iter_mut().rev().for_each(|hop| hop.layer.wrap(command.0, cell));
        Ok((command, tag))
    }
}

/// Writes a stream's next bytes into a cell; gives how many.
#[inline]
fn package(hop: &mut Hop, id: StreamId, cell: &mut Body, entropy: &mut dyn Entropy) -> Result<usize, Error> {
    let stream = hop.streams.get(id).ok_or(Error::NoSuchStream)?;
    let len = hop.congestion.package_len(stream.sendable(), hop.format.max_body(Command::DATA), entropy);
    let bytes = stream.next_bytes(len);
    hop.format.encode(cell, Command::DATA, Some(id), entropy, |out| {
        bytes.iter().try_for_each(|piece| out.bytes(piece))?;
        Ok(())
    })?;
    Ok(len)
}

/// A circuit SENDME's body, and its length.
fn sendme(tag: &SendmeTag) -> Result<([u8; 3 + SendmeTag::MAX_LEN], usize), Error> {
    let bytes = tag.as_bytes();
    let claimed = bytes.try_into().map(ClaimedTag::Tor1);
    let claimed = claimed.or_else(|_| bytes.try_into().map(ClaimedTag::Cgo));
    let mut body = [0; 3 + SendmeTag::MAX_LEN];
    let mut out = Writer::new(&mut body);
    Sendme::V1(claimed.map_err(|_| wire::Error::SendmeTagWrongLength)?).encode(&mut out)?;
    let len = out.written();
    Ok((body, len))
}
