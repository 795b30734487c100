//! Drives a tunnel over a link through the virtual network, as a shell would.
//!
//! Decides nothing: what the tunnel comes to is kept as events, bytes are read at the pace
//! that a test sets. Cells go from the link's buffer to the tunnel and back in that buffer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cepa::internal::base::RelayIds;
use cepa::internal::base::time::{Tick, earlier};
use cepa::internal::circuit::hop::{Handshake, Leg, PathHop, StreamAt};
use cepa::internal::circuit::tunnel::Tunnel;
use cepa::internal::circuit::{Error, Output};
use cepa::internal::link::padding::Timing;
use cepa::internal::link::{self, Cells, Link, frame};
use cepa::internal::wire::batch::CellBatch;
use cepa::internal::wire::cell::{BODY_LEN, CircId};
use cepa::lab::network::{Arrival, NearId, Network, RelayNo};
use cepa::lab::seed::SeededEntropy;

use super::near::target;

/// How long a test waits for anything, in virtual time.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a tunnel may take to build.
const BUILD_WITHIN: Duration = Duration::from_secs(30);
/// What may wait in a link before a tunnel is asked for more: what a shell would allow.
const LINK_ROOM: usize = 32 * 1024;
const LEG: Leg = Leg(0);

/// How each hop is asked.
#[derive(Clone, Copy)]
pub enum Ask {
    Fast,
    Ntor,
    NtorV3,
}

/// One client: a link, a tunnel, and readers.
pub struct Driver {
    id: NearId,
    link: Link,
    circ_id: Option<CircId>,
    pub tunnel: Tunnel,
    pub entropy: SeededEntropy,
    /// What the tunnel came to, data aside.
    pub events: VecDeque<Output>,
    /// What each stream's reader has, and when it took the last of it.
    pub read: BTreeMap<StreamAt, Vec<u8>>,
    /// What lies before a reader who reads nothing.
    pub unread: BTreeMap<StreamAt, usize>,
    /// Bytes a second that every reader takes; `None` is as they come.
    pub pace: Option<usize>,
    next_read: Tick,
    pub link_error: Option<link::Error>,
    established: bool,
    batch: CellBatch,
}

/// The path over these relays.
pub fn path(network: &Network, relays: &[(RelayNo, Ask)]) -> Vec<PathHop> {
    let hop = |(relay, ask): &(RelayNo, Ask)| {
        let facts = network.facts(*relay);
        let handshake = match ask {
            Ask::Fast => Handshake::Fast,
            Ask::Ntor => Handshake::Ntor(facts.onion_key),
            Ask::NtorV3 => Handshake::NtorV3(facts.onion_key),
        };
        PathHop { target: target(facts), handshake }
    };
    relays.iter().map(hop).collect()
}

impl Driver {
    /// Connects to the first relay of a path; the tunnel is built as the network runs.
    pub fn dial(network: &mut Network, relays: &[(RelayNo, Ask)], seed: u64) -> Driver {
        let facts = *network.facts(relays[0].0);
        let id = network.connect(facts.address);
        let wanted = RelayIds { rsa: Some(facts.rsa), ed25519: Some(facts.ed25519) };
        let tunnel = Tunnel::build(path(network, relays), network.now().tick + BUILD_WITHIN).unwrap();
        let link = Link::initiate(wanted, facts.leaf, facts.address.ip(), Timing::default(), network.now());
        let mut driver = Driver {
            id,
            link,
            circ_id: None,
            tunnel,
            entropy: SeededEntropy::new(seed, "driver"),
            events: VecDeque::new(),
            read: BTreeMap::new(),
            unread: BTreeMap::new(),
            pace: None,
            next_read: network.now().tick,
            link_error: None,
            established: false,
            batch: CellBatch::default(),
        };
        driver.turn(network);
        driver
    }

    /// Does all that can be done now: hears, drains, reads, writes.
    pub fn turn(&mut self, network: &mut Network) {
        while let Some(arrival) = network.receive(self.id) {
            match arrival {
                Arrival::Bytes(bytes) => bytes.chunks(frame::READ_LEN).for_each(|chunk| self.hear(chunk, network)),
                Arrival::Closed => self.tunnel.handle_link_closed(LEG),
            }
        }
        self.read_at_pace(network);
        self.drain();
        self.send(network);
    }

    fn hear(&mut self, bytes: &[u8], network: &Network) {
        let now = network.now();
        let mut buffer = self.link.begin_read();
        buffer.extend_from_slice(bytes);
        if let Err(error) = self.link.handle_read(buffer, now) {
            self.link_error.get_or_insert(error);
        }
        while let Some(output) = self.link.poll_output() {
            match output {
                link::Output::Established(_) => {
                    self.established = true;
                    // What failed in the same read has none.
                    self.circ_id = self.link.open_circuit(&mut self.entropy).ok();
                }
                link::Output::Cells(cells) => self.hear_cells(cells, network),
            }
        }
        if self.link_error.is_some() {
            self.circ_id = None;
            self.tunnel.handle_link_closed(LEG);
        }
    }

    /// The buffer goes to the tunnel and comes back.
    fn hear_cells(&mut self, mut cells: Cells, network: &Network) {
        let mut batch = std::mem::take(&mut self.batch);
        batch.set_buffer(std::mem::take(&mut cells.buffer));
        for cell in cells.cells.iter().filter(|cell| cell.circ_id == self.circ_id) {
            assert!(batch.push(cell.command, cell.body.clone()));
        }
        self.tunnel.handle_cells(LEG, batch, network.now());
        self.drain();
        self.batch = self.tunnel.take_batch().unwrap();
        cells.buffer = self.batch.take_buffer();
        self.link.recycle(cells);
    }

    fn drain(&mut self) {
        while let Some(output) = self.tunnel.poll_output() {
            let Output::Data { stream, at } = &output else {
                self.events.push_back(output);
                continue;
            };
            self.read.entry(*stream).or_default().extend_from_slice(self.tunnel.bytes(at));
            match self.pace {
                None => self.tunnel.handle_read(*stream, at.len()),
                Some(_) => *self.unread.entry(*stream).or_default() += at.len(),
            }
        }
    }

    /// Every tenth of a second each reader takes its share.
    fn read_at_pace(&mut self, network: &Network) {
        let Some(pace) = self.pace else { return };
        while self.next_read <= network.now().tick {
            self.next_read = self.next_read + Duration::from_millis(100);
            for (stream, unread) in &mut self.unread {
                let taken = (*unread).min(pace / 10);
                *unread -= taken;
                self.tunnel.handle_read(*stream, taken);
            }
        }
    }

    fn send(&mut self, network: &mut Network) {
        let now = network.now();
        if let Some(Output::Closed { tell: Some(reason), .. }) = self.events.back()
            && let Some(circ_id) = self.circ_id.take()
        {
            // A link that is gone has nobody to tell.
            let _ = self.link.close_circuit(circ_id, *reason, now);
        }
        let mut cell = [0; BODY_LEN];
        while let Some(circ_id) = self.circ_id
            && self.link.queued() < LINK_ROOM
            && let Some(command) = self.tunnel.take_cell(LEG, &mut cell, now, &mut self.entropy)
        {
            self.link.handle_send(circ_id, command, &cell, now).unwrap();
        }
        if let Some(bytes) = self.link.take_transmit() {
            network.send(self.id, bytes);
        }
        self.drain();
    }

    fn deadline(&self) -> Option<Tick> {
        let reader = self.pace.map(|_| self.next_read);
        earlier(earlier(self.tunnel.next_deadline(), self.link.next_deadline()), reader)
    }

    /// One event of the network, or of the driver's own clock. False if there was none
    /// before `end`.
    pub fn step(&mut self, network: &mut Network, end: Tick) -> bool {
        let deadline = self.deadline().unwrap_or(end).min(end);
        let heard = network.step(deadline);
        let now = network.now();
        if !heard && now.tick < end {
            self.tunnel.handle_timeout(now);
            self.link_error = self.link_error.or(self.link.handle_timeout(now, &mut self.entropy).err());
        }
        self.turn(network);
        heard || now.tick < end
    }

    /// Runs until `done`.
    pub fn wait(&mut self, network: &mut Network, mut done: impl FnMut(&mut Driver) -> bool) {
        let end = network.now().tick + PATIENCE;
        self.turn(network);
        while !done(self) {
            assert!(self.step(network, end), "waited in vain: {:?}", self.events);
        }
    }

    /// Runs for a while.
    pub fn run_for(&mut self, network: &mut Network, time: Duration) {
        let end = network.now().tick + time;
        self.turn(network);
        while self.step(network, end) {}
    }

    /// The next event.
    pub fn event(&mut self, network: &mut Network) -> Output {
        self.wait(network, |driver| !driver.events.is_empty());
        self.events.pop_front().unwrap()
    }

    /// Waits until all hops are there; gives what each took.
    pub fn built(&mut self, network: &mut Network) -> Vec<Duration> {
        let mut took = Vec::new();
        loop {
            match self.event(network) {
                Output::HopBuilt { took: one, .. } => took.push(one),
                Output::Built { .. } => return took,
                other => panic!("not built: {other:?}"),
            }
        }
    }

    /// Waits until the circuit is over; gives why.
    pub fn closed(&mut self, network: &mut Network) -> Error {
        self.wait(network, |driver| driver.tunnel.failure().is_some());
        self.tunnel.failure().unwrap()
    }
}
