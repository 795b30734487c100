//! Where links and tunnels meet: cells go from the one to the other, and nothing is decided.
//!
//! Holds every [`Link`] and every [`Tunnel`] of a client that runs on one thread, and the
//! circuit numbers by which they find each other. What they come to is reported in the order
//! in which it happened; bytes of streams are handed over where they lie. A shell with more
//! threads would put links and tunnels on tasks of their own, and carry the same reports.
//! Opens no socket: the shell brings what TLS gives, and takes what TLS is to write. Called by
//! the shell and by `client`, which says what is to be built. Spec: none of its own.

use core::net::IpAddr;
use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::RelayIds;
use crate::base::random::Entropy;
use crate::base::time::{Now, Tick, earlier};
use crate::circuit::hop::{Leg, PathHop, StreamAt};
use crate::circuit::tunnel::Tunnel;
use crate::circuit::{self, Output};
use crate::link::handshake::Established;
use crate::link::identity::LeafDigest;
use crate::link::padding::Timing;
use crate::link::{self, Cells, Link, Traffic};
use crate::wire::batch::CellBatch;
use crate::wire::cell::{BODY_LEN, CircId};
use crate::wire::cell_msg::DestroyReason;

/// What may wait in a link before its tunnels are asked for more; ours, two TLS records.
const LINK_ROOM: usize = 32 * 1024;
/// Until conflux, a tunnel has one leg.
pub const LEG: Leg = Leg(0);

/// A link, as the client and its shell call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkNo(pub u64);

/// A tunnel, likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelNo(pub u32);

/// What links and tunnels have come to.
#[derive(Debug)]
pub enum Report {
    /// A link's handshake is over.
    LinkUp(LinkNo, Box<Established>),
    /// A link failed. Its tunnels are told, and its connection is to be closed.
    LinkDown(LinkNo, link::Error),
    /// Something of a tunnel, but for data.
    Tunnel(TunnelNo, Output),
}

/// Who takes the bytes of streams.
pub trait Reader {
    /// Bytes of a stream. Once they are read for good, [`Junction::handle_taken`] says so.
    fn data(&mut self, tunnel: TunnelNo, stream: StreamAt, bytes: &[u8]);
}

/// All links and tunnels.
#[derive(Default)]
pub struct Junction {
    links: BTreeMap<LinkNo, Joined>,
    tunnels: BTreeMap<TunnelNo, Routed>,
    /// Links with something to write, or with tunnels that may have.
    ready: BTreeSet<LinkNo>,
    reports: VecDeque<Report>,
    batch: CellBatch,
    /// What links have carried that are gone.
    past: Traffic,
}

/// A link and the circuits on it.
struct Joined {
    link: Link,
    circuits: BTreeMap<CircId, TunnelNo>,
    is_open: bool,
    /// Tunnels that may have something to send, in turn.
    talking: VecDeque<TunnelNo>,
}

/// A tunnel and its way.
struct Routed {
    tunnel: Tunnel,
    link: LinkNo,
    /// Given when the link is open.
    circ_id: Option<CircId>,
}

impl Junction {
    /// Nothing yet.
    pub fn new() -> Junction {
        Junction::default()
    }

    /// A connection is up; its TLS showed `leaf`.
    pub fn add_link(
        &mut self,
        no: LinkNo,
        wanted: RelayIds,
        leaf: LeafDigest,
        address: IpAddr,
        timing: Timing,
        now: Now,
    ) {
        let link = Link::initiate(wanted, leaf, address, timing, now);
        let joined = Joined { link, circuits: BTreeMap::new(), is_open: false, talking: VecDeque::new() };
        self.links.insert(no, joined);
        self.ready.insert(no);
    }

    /// A connection is gone. Its tunnels are told.
    pub fn drop_link(&mut self, no: LinkNo) {
        if let Some(joined) = self.links.remove(&no) {
            self.past = self.past.plus(joined.link.traffic());
        }
        self.ready.remove(&no);
        let over: Vec<_> = self.tunnels.iter().filter(|(_, routed)| routed.link == no).map(|(no, _)| *no).collect();
        for tunnel in over {
            if let Some(routed) = self.tunnels.get_mut(&tunnel) {
                routed.tunnel.handle_link_closed(LEG);
                routed.circ_id = None;
            }
            self.collect(tunnel);
        }
    }

    /// How a link is to be used and padded; `None` if it is gone.
    pub fn link_mut(&mut self, no: LinkNo) -> Option<&mut Link> {
        self.ready.insert(no);
        self.links.get_mut(&no).map(|joined| &mut joined.link)
    }

    /// A buffer for the next read of a link.
    pub fn begin_read(&mut self, no: LinkNo) -> Vec<u8> {
        self.links.get_mut(&no).map(|joined| joined.link.begin_read()).unwrap_or_default()
    }

    /// Takes what a read brought.
    pub fn handle_read(
        &mut self,
        no: LinkNo,
        buffer: Vec<u8>,
        now: Now,
        entropy: &mut dyn Entropy,
        reader: &mut dyn Reader,
    ) {
        let Some(joined) = self.links.get_mut(&no) else { return };
        let result = joined.link.handle_read(buffer, now);
        // What came before the fault still counts.
        while let Some(output) = self.links.get_mut(&no).and_then(|joined| joined.link.poll_output()) {
            match output {
                link::Output::Established(established) => {
                    self.open(no, entropy);
                    self.reports.push_back(Report::LinkUp(no, established));
                }
                link::Output::Cells(cells) => self.hear(no, cells, now, reader),
            }
        }
        self.ready.insert(no);
        if let Err(error) = result {
            self.fail(no, error);
        }
    }

    /// The links that may have something to write.
    pub fn ready(&self) -> impl Iterator<Item = LinkNo> + '_ {
        self.ready.iter().copied()
    }

    /// The next bytes to write to a link. To be called when TLS has written what it had.
    pub fn take_transmit(&mut self, no: LinkNo, now: Now, entropy: &mut dyn Entropy) -> Option<Vec<u8>> {
        while self.links.get(&no).is_some_and(|joined| joined.is_open && joined.link.queued() < LINK_ROOM) {
            if !self.talk(no, now, entropy) {
                break;
            }
        }
        let bytes = self.links.get_mut(&no).and_then(|joined| joined.link.take_transmit());
        if bytes.is_none() {
            self.ready.remove(&no);
        }
        bytes
    }

    /// Builds a tunnel over a link.
    pub fn add_tunnel(
        &mut self,
        no: TunnelNo,
        link: LinkNo,
        path: Vec<PathHop>,
        build_by: Tick,
        entropy: &mut dyn Entropy,
    ) -> Result<(), circuit::Error> {
        let tunnel = Tunnel::build(path, build_by)?;
        self.tunnels.insert(no, Routed { tunnel, link, circ_id: None });
        if self.links.get(&link).is_some_and(|joined| joined.is_open) {
            self.attach(no, link, entropy);
        }
        Ok(())
    }

    /// A tunnel, to be told something; it may then have something to send.
    pub fn tunnel_mut(&mut self, no: TunnelNo) -> Option<&mut Tunnel> {
        self.wake(no);
        self.tunnels.get_mut(&no).map(|routed| &mut routed.tunnel)
    }

    /// A tunnel, to be looked at.
    pub fn tunnel(&self, no: TunnelNo) -> Option<&Tunnel> {
        self.tunnels.get(&no).map(|routed| &routed.tunnel)
    }

    /// Closes a tunnel: its first relay is told, and its streams and its end are reported.
    pub fn close_tunnel(&mut self, no: TunnelNo, now: Now) {
        if let Some(tunnel) = self.tunnel_mut(no) {
            tunnel.close(LEG);
        }
        self.settle(no, now);
    }

    /// What a tunnel whose link is gone came to is reported now.
    fn collect(&mut self, no: TunnelNo) {
        while let Some(output) = self.tunnels.get_mut(&no).and_then(|routed| routed.tunnel.poll_output()) {
            self.report(no, output);
        }
    }

    /// A stream's reader has taken so many bytes for good.
    pub fn handle_taken(&mut self, no: TunnelNo, stream: StreamAt, bytes: usize) {
        if let Some(tunnel) = self.tunnel_mut(no) {
            tunnel.handle_read(stream, bytes);
        }
    }

    /// Closes a tunnel and forgets it. Nothing more is reported of it.
    pub fn drop_tunnel(&mut self, no: TunnelNo, now: Now) {
        let Some(mut routed) = self.tunnels.remove(&no) else { return };
        routed.tunnel.close(LEG);
        while let Some(output) = routed.tunnel.poll_output() {
            if let Output::Closed { tell: Some(reason), .. } = output {
                self.destroy(routed.link, routed.circ_id, reason, now);
            }
        }
        self.release(routed.link, routed.circ_id);
    }

    /// What a link has carried.
    pub fn traffic_of(&self, no: LinkNo) -> Traffic {
        self.links.get(&no).map(|joined| joined.link.traffic()).unwrap_or_default()
    }

    /// What all links have carried, those that are gone too.
    pub fn traffic(&self) -> Traffic {
        self.links.values().fold(self.past, |sum, joined| sum.plus(joined.link.traffic()))
    }

    /// How many tunnels are on a link.
    pub fn tunnels_on(&self, no: LinkNo) -> usize {
        self.tunnels.values().filter(|routed| routed.link == no).count()
    }

    /// Whether there are any.
    pub fn has_tunnels_on(&self, no: LinkNo) -> bool {
        self.tunnels.values().any(|routed| routed.link == no)
    }

    /// Whether anything has happened that was not asked for yet.
    pub fn has_report(&self) -> bool {
        !self.reports.is_empty()
    }

    /// The next thing that happened.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    /// When to call [`Junction::handle_timeout`].
    pub fn next_deadline(&self) -> Option<Tick> {
        let links = self.links.values().map(|joined| joined.link.next_deadline());
        let tunnels = self.tunnels.values().map(|routed| routed.tunnel.next_deadline());
        links.chain(tunnels).fold(None, earlier)
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Now, entropy: &mut dyn Entropy) {
        let is_due = |deadline: Option<Tick>| deadline.is_some_and(|deadline| deadline <= now.tick);
        let links: Vec<_> =
            self.links.iter().filter(|(_, joined)| is_due(joined.link.next_deadline())).map(|(no, _)| *no).collect();
        for no in links {
            let result = self.links.get_mut(&no).map(|joined| joined.link.handle_timeout(now, entropy));
            self.ready.insert(no);
            if let Some(Err(error)) = result {
                self.fail(no, error);
            }
        }
        let late = |routed: &Routed| is_due(routed.tunnel.next_deadline());
        let tunnels: Vec<_> = self.tunnels.iter().filter(|(_, routed)| late(routed)).map(|(no, _)| *no).collect();
        for no in tunnels {
            if let Some(tunnel) = self.tunnel_mut(no) {
                tunnel.handle_timeout(now);
            }
            self.settle(no, now);
        }
    }

    // --- links ---------------------------------------------------------------------------

    /// The link is open: those who waited for it get their circuits.
    fn open(&mut self, no: LinkNo, entropy: &mut dyn Entropy) {
        if let Some(joined) = self.links.get_mut(&no) {
            joined.is_open = true;
        }
        let waiting: Vec<_> = self.tunnels.iter().filter(|(_, routed)| routed.link == no).map(|(no, _)| *no).collect();
        waiting.into_iter().for_each(|tunnel| self.attach(tunnel, no, entropy));
    }

    fn attach(&mut self, tunnel: TunnelNo, no: LinkNo, entropy: &mut dyn Entropy) {
        let (Some(joined), Some(routed)) = (self.links.get_mut(&no), self.tunnels.get_mut(&tunnel)) else { return };
        match joined.link.open_circuit(entropy) {
            Ok(circ_id) => {
                joined.circuits.insert(circ_id, tunnel);
                routed.circ_id = Some(circ_id);
                self.wake(tunnel);
            }
            Err(_) => {
                routed.tunnel.handle_link_closed(LEG);
                self.collect(tunnel);
            }
        }
    }

    fn fail(&mut self, no: LinkNo, error: link::Error) {
        if self.links.contains_key(&no) {
            self.reports.push_back(Report::LinkDown(no, error));
            self.drop_link(no);
        }
    }

    /// Peels the cells of one circuit after the other, all in the buffer that brought them.
    fn hear(&mut self, no: LinkNo, mut cells: Cells, now: Now, reader: &mut dyn Reader) {
        let mut circuits: Vec<CircId> = Vec::new();
        for circ_id in cells.cells.iter().filter_map(|cell| cell.circ_id) {
            if !circuits.contains(&circ_id) {
                circuits.push(circ_id);
            }
        }
        for circ_id in circuits {
            let tunnel = self.links.get(&no).and_then(|joined| joined.circuits.get(&circ_id).copied());
            let Some(tunnel) = tunnel else { continue };
            let mut batch = core::mem::take(&mut self.batch);
            batch.set_buffer(core::mem::take(&mut cells.buffer));
            for cell in cells.cells.iter().filter(|cell| cell.circ_id == Some(circ_id)) {
                // Every cell for a circuit is of fixed length.
                batch.push(cell.command, cell.body.clone());
            }
            cells.buffer = self.peel(tunnel, batch, now, reader);
        }
        if let Some(joined) = self.links.get_mut(&no) {
            joined.link.recycle(cells);
        }
    }

    /// Gives the buffer back.
    fn peel(&mut self, no: TunnelNo, batch: CellBatch, now: Now, reader: &mut dyn Reader) -> Vec<u8> {
        let Some(routed) = self.tunnels.get_mut(&no) else { return Vec::new() };
        routed.tunnel.handle_cells(LEG, batch, now);
        while let Some(output) = self.tunnels.get_mut(&no).and_then(|routed| routed.tunnel.poll_output()) {
            match output {
                Output::Data { stream, at } => self.hand_over(no, stream, &at, reader),
                output => self.close_and_report(no, output, now),
            }
        }
        self.wake(no);
        let batch = self.tunnels.get_mut(&no).and_then(|routed| routed.tunnel.take_batch());
        self.batch = batch.unwrap_or_default();
        self.batch.take_buffer()
    }

    fn hand_over(&mut self, no: TunnelNo, stream: StreamAt, at: &Range<usize>, reader: &mut dyn Reader) {
        if let Some(routed) = self.tunnels.get(&no) {
            reader.data(no, stream, routed.tunnel.bytes(at));
        }
    }

    // --- tunnels -------------------------------------------------------------------------

    fn settle(&mut self, no: TunnelNo, now: Now) {
        while let Some(output) = self.tunnels.get_mut(&no).and_then(|routed| routed.tunnel.poll_output()) {
            self.close_and_report(no, output, now);
        }
    }

    /// A circuit that is over is told to its first relay, and its number is free.
    fn close_and_report(&mut self, no: TunnelNo, output: Output, now: Now) {
        if let Output::Closed { tell, .. } = &output
            && let Some(routed) = self.tunnels.get_mut(&no)
        {
            let (link, circ_id) = (routed.link, routed.circ_id.take());
            if let Some(reason) = *tell {
                self.destroy(link, circ_id, reason, now);
            }
            self.release(link, circ_id);
        }
        self.report(no, output);
    }

    fn report(&mut self, no: TunnelNo, output: Output) {
        self.reports.push_back(Report::Tunnel(no, output));
    }

    fn destroy(&mut self, no: LinkNo, circ_id: Option<CircId>, reason: DestroyReason, now: Now) {
        let (Some(joined), Some(circ_id)) = (self.links.get_mut(&no), circ_id) else { return };
        let result = joined.link.close_circuit(circ_id, reason, now);
        self.ready.insert(no);
        if let Err(error) = result {
            self.fail(no, error);
        }
    }

    fn release(&mut self, no: LinkNo, circ_id: Option<CircId>) {
        if let (Some(joined), Some(circ_id)) = (self.links.get_mut(&no), circ_id) {
            joined.circuits.remove(&circ_id);
        }
    }

    /// A tunnel may have something to send.
    fn wake(&mut self, no: TunnelNo) {
        let Some(routed) = self.tunnels.get(&no) else { return };
        let link = routed.link;
        if let Some(joined) = self.links.get_mut(&link)
            && !joined.talking.contains(&no)
        {
            joined.talking.push_back(no);
            self.ready.insert(link);
        }
    }

    /// Lets the next tunnel of a link send one cell. False if none has any.
    fn talk(&mut self, no: LinkNo, now: Now, entropy: &mut dyn Entropy) -> bool {
        let mut cell = [0; BODY_LEN];
        while let Some(joined) = self.links.get_mut(&no)
            && let Some(tunnel) = joined.talking.pop_front()
        {
            let Some(routed) = self.tunnels.get_mut(&tunnel) else { continue };
            let Some(circ_id) = routed.circ_id else { continue };
            let Some(command) = routed.tunnel.take_cell(LEG, &mut cell, now, entropy) else {
                self.settle(tunnel, now);
                continue;
            };
            // There is room, and the circuit is open: the link says otherwise only when it
            // has failed, which its next read or timeout will say.
            let _ = joined.link.handle_send(circ_id, command, &cell, now);
            joined.talking.push_back(tunnel);
            return true;
        }
        false
    }
}
