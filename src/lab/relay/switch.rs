//! A relay as a switch: cells come in on one side of a circuit and go out on the other.
//!
//! Creates circuits, extends and truncates them, and decides of each relay cell whether it
//! is passed on or was meant for this relay. What a cell that was meant for it says is
//! `exit.rs`; the keys of one circuit are `circuit.rs`; links are `mod.rs`, which calls this.
//! Spec: tor-spec, "Circuit management".

use std::net::SocketAddr;

use super::circuit::{Circuit, Fault};
use super::{LinkId, Output, Relay};
use crate::base::RelayIds;
use crate::base::codec::Writer;
use crate::base::time::{Now, Tick, earlier};
use crate::lab::villain::{self, Villain};
use crate::link::Link;
use crate::link::identity::LeafDigest;
use crate::wire::cell::{BODY_LEN, Body, CircId, Command as CellCommand};
use crate::wire::cell_msg::{Create2, CreateFast, Created2, DestroyReason, HandshakeType};
use crate::wire::extend::{Extend2, Target, Truncated};
use crate::wire::relay::{Command, StreamId};

/// RELAY_EARLY cells a circuit may carry (tor-spec).
const MAX_RELAY_EARLY: u32 = 8;
/// Circuits of one link; ours.
const MAX_CIRCUITS: usize = 4096;

/// On which side of a circuit a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Towards the client.
    Client,
    /// Away from it.
    Far,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CircuitNo(pub(super) u32);

/// A circuit and the way on both its sides.
pub(super) struct Routed {
    pub(super) circuit: Circuit,
    pub(super) client: (LinkId, CircId),
    pub(super) far: Far,
    early: u32,
    /// When a server behind one of its streams reads again.
    pub(super) reads_again: Option<Tick>,
    /// When a server behind one of its streams writes again.
    pub(super) writes_again: Option<Tick>,
}

/// The way on.
pub(super) enum Far {
    /// The circuit ends here.
    Nothing,
    /// The link to the next relay is not up yet.
    Dialling(LinkId, HandshakeType, Vec<u8>),
    /// CREATE2 is sent.
    Creating(LinkId, CircId),
    /// The circuit goes on.
    Open(LinkId, CircId),
}

impl Routed {
    /// When one of its streams may go on without a message.
    pub(super) fn next_deadline(&self) -> Option<Tick> {
        earlier(self.reads_again, self.writes_again)
    }
}

impl Far {
    fn hop(&self) -> Option<(LinkId, CircId)> {
        match *self {
            Far::Creating(link, circ_id) | Far::Open(link, circ_id) => Some((link, circ_id)),
            Far::Nothing | Far::Dialling(..) => None,
        }
    }
}

impl Relay {
    pub(super) fn on_cell(&mut self, link: LinkId, circ_id: CircId, command: CellCommand, body: &mut Body, now: Now) {
        match command {
            CellCommand::CREATE_FAST | CellCommand::CREATE2 => self.create(link, circ_id, command, body, now),
            CellCommand::CREATED2 => self.on_created(link, circ_id, body, now),
            CellCommand::DESTROY => self.on_destroy(link, circ_id, now),
            CellCommand::RELAY | CellCommand::RELAY_EARLY => match self.route(link, circ_id) {
                Some((no, Side::Client)) => self.on_forward(no, command, body, now),
                Some((no, Side::Far)) => self.on_backward(no, command, body, now),
                None => {}
            },
            _ => {}
        }
    }

    pub(super) fn route(&self, link: LinkId, circ_id: CircId) -> Option<(CircuitNo, Side)> {
        self.channels.get(&link)?.circuits.get(&circ_id).copied()
    }

    fn create(&mut self, link: LinkId, circ_id: CircId, command: CellCommand, body: &Body, now: Now) {
        let Some(channel) = self.channels.get(&link) else { return };
        let admits = |peer| self.gate.as_mut().is_none_or(|gate| gate.admits(peer, now));
        if channel.circuits.len() >= MAX_CIRCUITS || !channel.peer.is_none_or(admits) {
            return self.destroy(link, circ_id, DestroyReason::RESOURCELIMIT, now);
        }
        let mut answer = [0; BODY_LEN];
        let created = if command == CellCommand::CREATE_FAST {
            self.create_fast(body, &mut answer).map(|circuit| (circuit, CellCommand::CREATED_FAST))
        } else {
            self.create2(body, &mut answer).map(|circuit| (circuit, CellCommand::CREATED2))
        };
        let Ok((circuit, command)) = created else {
            return self.destroy(link, circ_id, DestroyReason::PROTOCOL, now);
        };
        let no = CircuitNo(self.next_circuit);
        self.next_circuit += 1;
        let routed = Routed {
            circuit,
            client: (link, circ_id),
            far: Far::Nothing,
            early: 0,
            reads_again: None,
            writes_again: None,
        };
        self.circuits.insert(no, routed);
        if let Some(channel) = self.channels.get_mut(&link) {
            channel.circuits.insert(circ_id, (no, Side::Client));
        }
        match self.config.villain {
            // The last byte of KH, or one in the middle of AUTH.
            Some(Villain::BadCreatedAuth) if command == CellCommand::CREATED_FAST => answer[39] ^= 1,
            Some(Villain::BadCreatedAuth) => answer[40] ^= 1,
            Some(Villain::CreatedTooLong) => answer[0] = 0xFF,
            _ => {}
        }
        self.send_cell(link, circ_id, command, &answer, now);
        if self.config.villain == Some(Villain::EarlyDestroy) {
            self.end_circuit(no, DestroyReason::NONE, None, now);
        }
    }

    fn create_fast(&mut self, body: &Body, answer: &mut Body) -> Result<Circuit, Fault> {
        let CreateFast { x } = CreateFast::parse(body)?;
        let created = self.config.onion.create_fast(&x, &mut self.entropy)?;
        answer[..created.answer.len()].copy_from_slice(&created.answer);
        Ok(created.circuit)
    }

    fn create2(&mut self, body: &Body, answer: &mut Body) -> Result<Circuit, Fault> {
        let created = self.config.onion.create2(&Create2::parse(body)?, &mut self.entropy)?;
        write(answer, |out| Created2 { data: &created.answer }.encode(out))?;
        Ok(created.circuit)
    }

    /// Tells one side that a circuit is gone; frees its number there.
    fn destroy(&mut self, link: LinkId, circ_id: CircId, reason: DestroyReason, now: Now) {
        let Some(channel) = self.channels.get_mut(&link) else { return };
        channel.forget(circ_id);
        match channel.link.close_circuit(circ_id, reason, now) {
            Ok(()) => {
                self.ready.insert(link);
            }
            Err(_) => {
                self.outputs.push_back(Output::Close(link));
                self.drop_channel(link, now);
            }
        }
    }

    /// A circuit is gone; both sides are told, except a link that is gone itself.
    pub(super) fn end_circuit(&mut self, no: CircuitNo, reason: DestroyReason, gone: Option<LinkId>, now: Now) {
        let streams = self.circuits.get(&no).map(|routed| routed.circuit.streams.keys().copied().collect::<Vec<_>>());
        streams.unwrap_or_default().into_iter().for_each(|id| self.forget_stream(no, id));
        let Some(routed) = self.circuits.remove(&no) else { return };
        for (link, circ_id) in [Some(routed.client), routed.far.hop()].into_iter().flatten() {
            if Some(link) != gone {
                self.destroy(link, circ_id, reason, now);
            }
        }
    }

    fn on_destroy(&mut self, link: LinkId, circ_id: CircId, now: Now) {
        let Some((no, _)) = self.route(link, circ_id) else { return };
        if let Some(channel) = self.channels.get_mut(&link) {
            channel.forget(circ_id);
        }
        // C tor: whichever side it comes from, the other gets it too, and never its reason.
        self.end_circuit(no, DestroyReason::DESTROYED, Some(link), now);
    }

    fn on_backward(&mut self, no: CircuitNo, command: CellCommand, body: &mut Body, now: Now) {
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        routed.circuit.wrap(command.0, body);
        let (link, circ_id) = routed.client;
        self.send_cell(link, circ_id, CellCommand::RELAY, body, now);
    }

    fn on_forward(&mut self, no: CircuitNo, command: CellCommand, body: &mut Body, now: Now) {
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        routed.early += u32::from(command == CellCommand::RELAY_EARLY);
        if routed.early > MAX_RELAY_EARLY {
            return self.fail(no, Fault::RelayEarly, now);
        }
        match (routed.circuit.peel(command.0, body), &routed.far) {
            (None, &Far::Open(link, circ_id)) => self.send_cell(link, circ_id, command, body, now),
            (None, _) => self.fail(no, Fault::Unrecognized, now),
            (Some(tag), _) => {
                let result = match routed.circuit.format().parse(body) {
                    Ok(message) => self.on_message(no, command, &message, &tag, now),
                    Err(error) => Err(Fault::Wire(error)),
                };
                if let Err(fault) = result {
                    self.fail(no, fault, now);
                }
            }
        }
    }

    fn fail(&mut self, no: CircuitNo, _fault: Fault, now: Now) {
        self.end_circuit(no, DestroyReason::PROTOCOL, None, now);
    }

    /// Sends a message of this relay's to the client of a circuit.
    pub(super) fn say(
        &mut self,
        no: CircuitNo,
        command: Command,
        stream: Option<StreamId>,
        now: Now,
        fill: impl FnOnce(&mut Writer<'_>) -> Result<(), crate::wire::Error>,
    ) {
        let mut body = [0; BODY_LEN];
        let mut writer = Writer::new(&mut body);
        if fill(&mut writer).is_ok() {
            let length = writer.written();
            self.say_bytes(no, command, stream, now, &body[..length]);
        }
    }

    pub(super) fn say_bytes(
        &mut self,
        no: CircuitNo,
        command: Command,
        stream: Option<StreamId>,
        now: Now,
        body: &[u8],
    ) {
        let Some(villain) = self.config.villain else { return self.seal(no, command, stream, now, body) };
        for (command, stream, body) in villain.say((command, stream, body.to_vec())) {
            self.seal(no, command, stream, now, &body);
        }
    }

    fn seal(&mut self, no: CircuitNo, command: Command, stream: Option<StreamId>, now: Now, body: &[u8]) {
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        let (link, circ_id) = routed.client;
        match routed.circuit.seal(command, stream, body, &mut self.entropy) {
            Ok(mut cell) => {
                if self.config.villain == Some(Villain::WrongDigest) {
                    villain::flip(&mut cell);
                }
                self.send_cell(link, circ_id, CellCommand::RELAY, &cell, now);
            }
            Err(fault) => self.fail(no, fault, now),
        }
    }

    // --- extending -----------------------------------------------------------------------

    pub(super) fn extend(&mut self, no: CircuitNo, command: CellCommand, body: &[u8], now: Now) -> Result<(), Fault> {
        let refused = Err(Fault::Unexpected(Command::EXTEND2));
        if command != CellCommand::RELAY_EARLY {
            return Err(Fault::RelayEarly);
        }
        let extend = Extend2::parse(body)?;
        let target = Target::from_specifiers(&extend.specifiers)?;
        let Some(to) = target.ipv4.map(SocketAddr::from).or(target.ipv6.map(SocketAddr::from)) else { return refused };
        let Some(rsa) = target.ids.rsa else { return refused };
        if rsa.is_zero() || rsa == self.config.onion.rsa || target.ids.ed25519 == Some(self.config.onion.ed25519) {
            return refused;
        }
        let Some(routed) = self.circuits.get_mut(&no) else { return Ok(()) };
        if !matches!(routed.far, Far::Nothing) {
            return refused;
        }
        let known = self.channels.iter().find(|(_, channel)| channel.dialled == Some(target.ids)).map(|(id, _)| *id);
        let link = known.unwrap_or_else(|| self.dial(target.ids, to, now));
        let Some(routed) = self.circuits.get_mut(&no) else { return Ok(()) };
        routed.far = Far::Dialling(link, extend.create.handshake_type, extend.create.data.to_vec());
        match self.channels.get_mut(&link) {
            Some(channel) if !channel.established => channel.extending.push(no),
            _ => self.create_far(no, now),
        }
        Ok(())
    }

    pub(super) fn truncate(&mut self, no: CircuitNo, now: Now) {
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        match core::mem::replace(&mut routed.far, Far::Nothing) {
            Far::Nothing => {}
            Far::Dialling(link, ..) => {
                if let Some(channel) = self.channels.get_mut(&link) {
                    channel.extending.retain(|waiting| *waiting != no);
                }
            }
            Far::Creating(link, circ_id) | Far::Open(link, circ_id) => {
                self.destroy(link, circ_id, DestroyReason::REQUESTED, now);
            }
        }
        let reason = DestroyReason::REQUESTED;
        self.say(no, Command::TRUNCATED, None, now, |out| Truncated { reason }.encode(out));
    }

    fn dial(&mut self, wanted: RelayIds, to: SocketAddr, now: Now) -> LinkId {
        // Nothing is read or written before `handle_dialled`, which brings the real leaf.
        let link = Link::initiate(wanted, LeafDigest([0; 32]), to.ip(), self.config.timing, now);
        let id = self.add_channel(link, Some(wanted));
        self.outputs.push_back(Output::Dial { link: id, to });
        id
    }

    /// The link to the next relay is up: opens the circuit there.
    pub(super) fn create_far(&mut self, no: CircuitNo, now: Now) {
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        if !matches!(routed.far, Far::Dialling(..)) {
            return;
        }
        let Far::Dialling(link, handshake_type, data) = core::mem::replace(&mut routed.far, Far::Nothing) else {
            return;
        };
        let Some(channel) = self.channels.get_mut(&link) else { return };
        let mut body = [0; BODY_LEN];
        let written = write(&mut body, |out| Create2 { handshake_type, data: &data }.encode(out));
        match (channel.link.open_circuit(&mut self.entropy), written) {
            (Ok(circ_id), Ok(())) => {
                channel.circuits.insert(circ_id, (no, Side::Far));
                routed.far = Far::Creating(link, circ_id);
                self.send_cell(link, circ_id, CellCommand::CREATE2, &body, now);
            }
            _ => self.end_circuit(no, DestroyReason::INTERNAL, None, now),
        }
    }

    fn on_created(&mut self, link: LinkId, circ_id: CircId, body: &Body, now: Now) {
        let Some((no, Side::Far)) = self.route(link, circ_id) else { return };
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        if !matches!(routed.far, Far::Creating(..)) {
            return self.end_circuit(no, DestroyReason::PROTOCOL, None, now);
        }
        routed.far = Far::Open(link, circ_id);
        match Created2::parse(body) {
            Ok(created) => self.say(no, Command::EXTENDED2, None, now, |out| created.encode(out)),
            Err(_) => self.end_circuit(no, DestroyReason::PROTOCOL, None, now),
        }
    }
}

/// Writes the front of a cell's body.
fn write(body: &mut Body, fill: impl FnOnce(&mut Writer<'_>) -> Result<(), crate::wire::Error>) -> Result<(), Fault> {
    fill(&mut Writer::new(body)).map_err(Fault::Wire)
}
