//! A cell arrives: peel it, find whose it is, judge the message, hand it over.
//!
//! Works in the buffer that brought the cell and allocates nothing for data. Sends nothing:
//! what must be answered waits in the queue that `send.rs` empties. Called by `tunnel.rs`.
//! Spec: tor-spec, "Relay cells", "Tearing down circuits"; proposal 344 on why a message
//! that changes nothing closes the circuit.

use super::hop::{HopNo, StreamAt};
use super::send::Control;
use super::{Answer, Awaited, Circuit, Ended, Error, Life, Output};
use crate::base::address::is_internal;
use crate::base::redact::Sensitive;
use crate::base::time::Now;
use crate::crypto::SendmeTag;
use crate::stream::{self, Heard};
use crate::wire::batch::CellBatch;
use crate::wire::cell::{BODY_LEN, Body, Command as CellCommand};
use crate::wire::cell_msg::Destroy;
use crate::wire::extend::Truncated;
use crate::wire::relay::{Command, Message};
use crate::wire::relay_msg::{self, Resolved, Sendme};

impl Circuit {
    /// Takes all cells of a batch. What came before a fault still counts.
    pub(super) fn on_batch(&mut self, batch: &mut CellBatch, now: Now) -> Result<(), Error> {
        if matches!(self.life, Life::Closed(_)) {
            return Ok(());
        }
        for number in 0..batch.len() {
            if let Some((command, start, body)) = batch.cell_mut(number) {
                self.on_cell(command, start, body, now)?;
            }
        }
        Ok(())
    }

    /// Takes a cell whose body lies at `start` of its batch. After an error the circuit
    /// must fall.
    #[inline]
    fn on_cell(&mut self, command: CellCommand, start: usize, body: &mut Body, now: Now) -> Result<(), Error> {
        self.traffic.cells_read += 1;
        match command {
            CellCommand::RELAY => self.on_relay(start, body, now),
            CellCommand::CREATED_FAST | CellCommand::CREATED2 => self.on_created(command, body, now),
            CellCommand::DESTROY => Err(Error::Destroyed(Destroy::parse(body)?.reason)),
            CellCommand::RELAY_EARLY => Err(Error::RelayEarly),
            command => Err(Error::UnexpectedCell(command)),
        }
    }

    fn on_created(&mut self, command: CellCommand, body: &Body, now: Now) -> Result<(), Error> {
        match core::mem::replace(&mut self.awaited, Awaited::Nothing) {
            Awaited::Created(expect) => {
                let (hop, took) = expect.handle(command, body, now)?;
                self.on_hop(hop, took, now);
                Ok(())
            }
            Awaited::Nothing | Awaited::Extended(_) => Err(Error::UnexpectedCell(command)),
        }
    }

    fn on_extended(&mut self, from: HopNo, body: &[u8], now: Now) -> Result<(), Error> {
        match core::mem::replace(&mut self.awaited, Awaited::Nothing) {
            Awaited::Extended(expect) => {
                let (hop, took) = expect.handle(from, body, now)?;
                self.on_hop(hop, took, now);
                Ok(())
            }
            Awaited::Nothing | Awaited::Created(_) => Err(Error::Unexpected(Command::EXTENDED2)),
        }
    }

    fn on_relay(&mut self, start: usize, body: &mut Body, now: Now) -> Result<(), Error> {
        let mut hops = self.hops.iter_mut().enumerate();
        let sealed = hops.find_map(|(number, hop)| Some((number, hop.layer.peel(CellCommand::RELAY.0, body)?)));
        let Some((number, tag)) = sealed else { return Err(Error::Unrecognized) };
        let Some(hop) = self.hops.get_mut(number) else { return Err(Error::NoSuchHop) };
        let message = hop.format.parse(body)?;
        let from = HopNo::of(number);
        let (length, most) = (message.body.len(), hop.format.max_body(message.command));
        let result = match (message.command, message.stream) {
            (Command::DATA, Some(id)) => {
                let at = start + BODY_LEN - hop.format.max_body(Command::DATA);
                self.on_data(StreamAt { hop: from, id }, at, message.body, tag)
            }
            (Command::SENDME, None) => self.on_sendme(from, message.body, now),
            (command, _) if !command.is_known() => Err(Error::UnknownCommand(command)),
            (command, _) if !message.stream_fits() => Err(Error::StreamMisplaced(command)),
            (_, Some(id)) => self.on_stream_message(StreamAt { hop: from, id }, &message),
            (Command::EXTENDED2, None) => self.on_extended(from, message.body, now),
            (Command::TRUNCATED, None) => Err(Error::Truncated(Truncated::parse(message.body)?.reason)),
            (_, None) => self.on_other(from, &message),
        };
        if result.is_ok() {
            self.traffic.read.add(length, most);
        }
        result
    }

    /// What the circuit has no use for goes up, if anybody there talks with that hop.
    fn on_other(&mut self, from: HopNo, message: &Message<'_>) -> Result<(), Error> {
        if !self.hop(from)?.is_listened_to {
            return Err(Error::Unexpected(message.command));
        }
        let body = Sensitive::new(message.body.to_vec());
        self.outputs.push_back(Output::Message { leg: self.leg, hop: from, command: message.command, body });
        Ok(())
    }

    /// DATA counts against the circuit's window whatever becomes of it.
    #[inline]
    fn on_data(&mut self, stream: StreamAt, at: usize, bytes: &[u8], tag: SendmeTag) -> Result<(), Error> {
        let Some(hop) = self.hops.get_mut(stream.hop.index()) else { return Err(Error::NoSuchHop) };
        if hop.congestion.on_data()? {
            self.control.push_back(Control::Sendme(stream.hop, tag));
        }
        if let Heard::Data = hop.streams.handle(stream.id, Command::DATA, bytes)? {
            if hop.streams.get_mut(stream.id).is_some_and(stream::Stream::sendme_due) {
                self.control.push_back(Control::StreamSendme(stream));
            }
            self.outputs.push_back(Output::Data { stream, at: at..at + bytes.len() });
        }
        Ok(())
    }

    fn on_sendme(&mut self, from: HopNo, body: &[u8], now: Now) -> Result<(), Error> {
        let Sendme::V1(claimed) = Sendme::parse(body)? else {
            return Err(Error::Stream(stream::Error::SendmeWithoutTag));
        };
        let hop = self.hop(from)?;
        Ok(hop.congestion.on_sendme(|tag| tag.matches(claimed.as_bytes()), now.tick)?)
    }

    fn on_stream_message(&mut self, stream: StreamAt, message: &Message<'_>) -> Result<(), Error> {
        let streams = &mut self.hop(stream.hop)?.streams;
        let heard = streams.handle(stream.id, message.command, message.body)?;
        // A window may have opened, or the stream: what waits can go.
        streams.wake(stream.id);
        // What was kept until CONNECTED made room.
        let writer_may_go_on = matches!(heard, Heard::Connected(_))
            && streams.get_mut(stream.id).is_some_and(stream::Stream::writer_may_go_on);
        let output = match heard {
            Heard::Nothing | Heard::Data => return Ok(()),
            Heard::Connected(address) => Output::Connected { stream, address },
            Heard::Resolved(resolved) => found(stream, &resolved, self.allows_internal),
            Heard::Ended { end, was_open, unanswered } => {
                Output::Ended { stream, why: Ended::ByFarEnd { end, was_open }, unanswered }
            }
            Heard::Refused { error, unanswered } => {
                self.control.push_back(Control::end(stream));
                Output::Ended { stream, why: Ended::Refused(error), unanswered }
            }
            Heard::Asked(begin) => {
                let host = Sensitive::new((*begin.host.uncover()).to_owned());
                Output::Asked { stream, host, port: begin.port }
            }
        };
        self.outputs.push_back(output);
        if writer_may_go_on {
            self.outputs.push_back(Output::Writable { stream });
        }
        Ok(())
    }
}

/// What was found, without what no exit can mean; if nothing else was, the answer is
/// refused.
fn found(stream: StreamAt, resolved: &Resolved<'_>, allows_internal: bool) -> Output {
    let mut answers = Vec::new();
    let mut refused = false;
    for (answer, ttl) in resolved.iter() {
        match answer {
            relay_msg::Answer::Address(ip) if !allows_internal && is_internal(*ip.uncover()) => refused = true,
            relay_msg::Answer::Address(ip) => answers.push((Answer::Address(ip), ttl)),
            relay_msg::Answer::Hostname(name) => {
                answers.push((Answer::Hostname(Sensitive::new(name.uncover().to_vec())), ttl));
            }
            relay_msg::Answer::TransientError => answers.push((Answer::TransientError, ttl)),
            relay_msg::Answer::PermanentError => answers.push((Answer::PermanentError, ttl)),
            relay_msg::Answer::Unknown(_) => {}
        }
    }
    if refused && answers.is_empty() {
        let why = Ended::Refused(stream::Error::AddressRefused);
        return Output::Ended { stream, why, unanswered: Sensitive::new(Vec::new()) };
    }
    Output::Resolved { stream, answers }
}
