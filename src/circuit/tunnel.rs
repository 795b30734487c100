//! One circuit, or later several linked by conflux, behaving as one: the machine that is
//! driven.
//!
//! `handle_*` takes one thing from outside, [`Tunnel::take_cell`] gives one cell to a link
//! that has room, [`Tunnel::poll_output`] says what came of it, until there is no more. It is
//! `Send` and shares nothing: whoever drives tunnels puts each on a thread of its choice.
//! Knows no link and no other tunnel. Called by the client's machine. Spec: tor-spec,
//! "Circuit management", "Application connections and stream management".

use core::ops::Range;

use super::hop::{Hop, HopNo, Layer, Leg, PathHop, StreamAt};
use super::send::Control;
use super::{Circuit, Error, Life, MAX_HOPS, MAX_MESSAGES, MAX_WAITING, Output, Traffic};
use crate::base::codec::Writer;
use crate::base::random::Entropy;
use crate::base::redact::Sensitive;
use crate::base::time::{Now, Tick};
use crate::crypto::layer::{BindingKey, Cipher};
use crate::stream::Stream;
use crate::wire;
use crate::wire::batch::CellBatch;
use crate::wire::cell::{Body, Command as CellCommand};
use crate::wire::relay::{Command, Format, StreamUse};
use crate::wire::relay_msg::{Begin, BeginFlags, Resolve};

/// A circuit and its streams.
pub struct Tunnel {
    circuit: Circuit,
    /// What the last read brought, while its data is being taken.
    batch: Option<CellBatch>,
}

impl Tunnel {
    /// A tunnel whose first leg is to be built along `path`, by then.
    pub fn build(path: Vec<PathHop>, build_by: Tick) -> Result<Tunnel, Error> {
        Ok(Tunnel { circuit: Circuit::new(Leg::default(), path, build_by)?, batch: None })
    }

    /// A tunnel whose hops were all agreed on elsewhere: for those that try it out.
    pub fn of_hops(hops: Vec<Hop>) -> Tunnel {
        Tunnel { circuit: Circuit::of_hops(hops), batch: None }
    }

    /// Adds relays behind the last hop of a leg.
    pub fn extend(&mut self, leg: Leg, path: Vec<PathHop>, build_by: Tick) -> Result<(), Error> {
        self.leg(leg)?.extend(path, build_by)
    }

    /// Adds a hop that is no relay: its keys were agreed on elsewhere. A hop made with
    /// [`Layer::Service`] may open streams to us.
    pub fn add_virtual_hop(&mut self, layer: Layer, cipher: Cipher, binding: BindingKey) -> Result<HopNo, Error> {
        let circuit = &mut self.circuit;
        if circuit.life != Life::Open || circuit.hops.len() >= MAX_HOPS {
            return Err(circuit.check_open().err().unwrap_or(Error::BadPath));
        }
        circuit.hops.push(Hop::new(layer, cipher, binding));
        Ok(HopNo::of(circuit.hops.len() - 1))
    }

    /// Whether exits may say, of what they are asked from now on, that they found addresses of
    /// private networks, as they do in networks of tests.
    pub fn allow_internal_answers(&mut self, allows_internal: bool) {
        self.circuit.allows_internal = allows_internal;
    }

    // --- streams -------------------------------------------------------------------------

    /// Opens a stream at a hop; `host` in lower case. If it `is_optimistic`, data goes out
    /// before CONNECTED.
    pub fn begin(
        &mut self,
        hop: HopNo,
        host: &str,
        port: u16,
        flags: BeginFlags,
        is_optimistic: bool,
        entropy: &mut dyn Entropy,
    ) -> Result<StreamAt, Error> {
        let begin = Begin { host: Sensitive::new(host), port, flags };
        let stream = Stream::begin(flags, is_optimistic);
        let stream = if self.circuit.allows_internal { stream.allowing_internal() } else { stream };
        self.open(hop, stream, Command::BEGIN, |out| begin.encode(out), entropy)
    }

    /// Opens a stream to a hop's directory.
    pub fn begin_dir(&mut self, hop: HopNo, entropy: &mut dyn Entropy) -> Result<StreamAt, Error> {
        self.open(hop, Stream::begin_dir(), Command::BEGIN_DIR, |_| Ok(()), entropy)
    }

    /// Asks a hop for the addresses of a name, or the name of an address.
    pub fn resolve(&mut self, hop: HopNo, name: &str, entropy: &mut dyn Entropy) -> Result<StreamAt, Error> {
        let resolve = Resolve { name: Sensitive::new(name) };
        self.open(hop, Stream::resolve(), Command::RESOLVE, |out| resolve.encode(out), entropy)
    }

    fn open(
        &mut self,
        hop: HopNo,
        stream: Stream,
        command: Command,
        fill: impl FnOnce(&mut Writer<'_>) -> Result<(), wire::Error>,
        entropy: &mut dyn Entropy,
    ) -> Result<StreamAt, Error> {
        if self.circuit.control.len() >= MAX_WAITING {
            return Err(Error::QueueFull);
        }
        let at = self.circuit.hop(hop)?;
        let mut body = [0; wire::cell::BODY_LEN];
        let space = body.get_mut(..at.format.max_body(command)).unwrap_or_default();
        let mut out = Writer::new(space);
        fill(&mut out)?;
        let len = out.written();
        let id = at.streams.open(stream, entropy)?;
        let at = StreamAt { hop, id };
        let body = body.get(..len).unwrap_or_default().to_vec();
        self.circuit.control.push_back(Control::Stream(at, command, body));
        Ok(at)
    }

    /// Grants a stream that the far end asked for.
    pub fn accept(&mut self, stream: StreamAt) -> Result<(), Error> {
        if !self.circuit.stream(stream)?.accept() {
            return Err(Error::NoSuchStream);
        }
        self.circuit.control.push_back(Control::Stream(stream, Command::CONNECTED, Vec::new()));
        self.wake(stream);
        Ok(())
    }

    /// How many bytes a stream takes from its writer now.
    pub fn room(&self, stream: StreamAt) -> usize {
        let hop = self.circuit.hops.get(stream.hop.index());
        hop.and_then(|hop| hop.streams.get(stream.id)).map_or(0, Stream::room)
    }

    /// Bytes of a stream's writer that were not sent, or are kept until it is open.
    pub fn unsent(&self, stream: StreamAt) -> usize {
        let hop = self.circuit.hops.get(stream.hop.index());
        hop.and_then(|hop| hop.streams.get(stream.id)).map_or(0, Stream::unsent)
    }

    /// Takes from a stream's writer what there is room for; gives how much. If that is not
    /// all, [`Output::Writable`] says when to go on.
    pub fn handle_write(&mut self, stream: StreamAt, bytes: &[u8]) -> usize {
        let taken = self.circuit.stream(stream).map_or(0, |stream| stream.write(bytes));
        self.wake(stream);
        taken
    }

    /// A stream's reader has taken so many bytes of what came as [`Output::Data`]. The far
    /// end is let on only when it has.
    pub fn handle_read(&mut self, stream: StreamAt, bytes: usize) {
        let Ok(live) = self.circuit.stream(stream) else { return };
        live.on_read(bytes);
        while self.circuit.stream(stream).is_ok_and(Stream::sendme_due) {
            self.circuit.control.push_back(Control::StreamSendme(stream));
        }
    }

    /// Bytes handed to a stream's reader and not yet taken by it.
    pub fn unread(&self, stream: StreamAt) -> usize {
        let hop = self.circuit.hops.get(stream.hop.index());
        hop.and_then(|hop| hop.streams.get(stream.id)).map_or(0, Stream::unread)
    }

    /// A stream's writer is done: END follows what waits. Tor has no half-open streams, so
    /// nothing more is read once it is sent.
    pub fn finish(&mut self, stream: StreamAt) {
        if self.circuit.stream(stream).is_ok_and(Stream::finish) {
            self.reset(stream);
        }
    }

    /// Ends a stream at once, whatever waits; or refuses one that the far end asked for.
    pub fn reset(&mut self, stream: StreamAt) {
        let is_there = self.circuit.hop(stream.hop).is_ok_and(|hop| hop.streams.close(stream.id).is_some());
        if is_there {
            self.circuit.control.push_back(Control::end(stream));
        }
    }

    /// Ends a stream at once, to try it elsewhere: gives what its writer gave that no CONNECTED
    /// answered.
    pub fn recall(&mut self, stream: StreamAt) -> Sensitive<Vec<u8>> {
        let unanswered = self.circuit.stream(stream).map(Stream::take_unanswered);
        self.reset(stream);
        unanswered.unwrap_or_else(|_| Sensitive::new(Vec::new()))
    }

    fn wake(&mut self, stream: StreamAt) {
        if let Ok(hop) = self.circuit.hop(stream.hop) {
            hop.streams.wake(stream.id);
        }
    }

    /// How many streams a hop has, with those that we ended and the far end has not.
    pub fn stream_count(&self, hop: HopNo) -> usize {
        self.circuit.hops.get(hop.index()).map_or(0, |hop| hop.streams.len())
    }

    // --- messages ------------------------------------------------------------------------

    /// From now on what a hop says that is not the circuit's own comes as
    /// [`Output::Message`]. From any other hop it closes the circuit.
    pub fn listen_to(&mut self, hop: HopNo) -> Result<(), Error> {
        self.circuit.hop(hop)?.is_listened_to = true;
        Ok(())
    }

    /// Sends a hop a message of no stream.
    pub fn send_message(&mut self, hop: HopNo, command: Command, body: &[u8]) -> Result<(), Error> {
        let format = self.circuit.hop(hop)?.format;
        if command.stream_use() != StreamUse::Forbidden || body.len() > format.max_body(command) {
            return Err(Error::Wire(wire::Error::Unencodable));
        }
        if self.circuit.messages >= MAX_MESSAGES {
            return Err(Error::QueueFull);
        }
        self.circuit.messages += 1;
        self.circuit.control.push_back(Control::Message(hop, command, body.to_vec()));
        Ok(())
    }

    /// What proves that a message was made for this circuit; only hops of a path have it.
    pub fn binding(&self, hop: HopNo) -> Option<&BindingKey> {
        self.circuit.hops.get(hop.index()).map(|hop| &hop.binding)
    }

    /// How a hop's messages lie in cells.
    pub fn format(&self, hop: HopNo) -> Option<Format> {
        self.circuit.hops.get(hop.index()).map(|hop| hop.format)
    }

    // --- cells ---------------------------------------------------------------------------

    /// Takes the cells of a leg that one read brought; they are peeled in place. Outputs
    /// are to be polled, and the batch taken, before the next.
    pub fn handle_cells(&mut self, leg: Leg, mut batch: CellBatch, now: Now) {
        if self.batch.is_some() {
            // Ranges already given out are of the batch before.
            return self.circuit.fall(Error::NotDrained);
        }
        if let Ok(circuit) = self.leg(leg)
            && let Err(error) = circuit.on_batch(&mut batch, now)
        {
            circuit.fall(error);
        }
        self.batch = Some(batch);
    }

    /// Bytes of the last batch, as [`Output::Data`] named them.
    pub fn bytes(&self, at: &Range<usize>) -> &[u8] {
        self.batch.as_ref().map_or(&[], |batch| batch.bytes(at))
    }

    /// Gives the last batch back, so that its buffer can be read into again.
    pub fn take_batch(&mut self) -> Option<CellBatch> {
        self.batch.take()
    }

    /// Fills a cell with what a leg's link should carry next, and gives its command; the
    /// circuit's number is the link's to write. `None` if there is nothing.
    pub fn take_cell(&mut self, leg: Leg, cell: &mut Body, now: Now, entropy: &mut dyn Entropy) -> Option<CellCommand> {
        let circuit = self.leg(leg).ok()?;
        circuit.next_cell(cell, now, entropy).unwrap_or_else(|error| {
            circuit.fall(error);
            None
        })
    }

    /// The link under a leg is gone.
    pub fn handle_link_closed(&mut self, leg: Leg) {
        self.fall(leg, Error::LinkClosed);
    }

    /// Closes a leg that is not wanted any more.
    pub fn close(&mut self, leg: Leg) {
        self.fall(leg, Error::Requested);
    }

    fn fall(&mut self, leg: Leg, error: Error) {
        if let Ok(circuit) = self.leg(leg) {
            circuit.fall(error);
        }
    }

    fn leg(&mut self, leg: Leg) -> Result<&mut Circuit, Error> {
        if leg == self.circuit.leg { Ok(&mut self.circuit) } else { Err(Error::NoSuchLeg) }
    }

    /// The next thing that the tunnel has come to.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.circuit.outputs.pop_front()
    }

    /// Why the tunnel is over, if it is.
    pub fn failure(&self) -> Option<Error> {
        self.circuit.check_open().err()
    }

    /// When the first question went out, while it is being built.
    pub fn begun(&self) -> Option<Tick> {
        self.circuit.begun
    }

    /// What it has carried.
    pub fn traffic(&self) -> Traffic {
        self.circuit.traffic
    }

    /// How many hops there are.
    pub fn hop_count(&self) -> usize {
        self.circuit.hops.len()
    }

    /// When to call [`Tunnel::handle_timeout`].
    pub fn next_deadline(&self) -> Option<Tick> {
        self.circuit.next_deadline()
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.circuit.handle_timeout(now);
    }
}
