//! Drives a whole client through the virtual network, as its shell would.
//!
//! It dials what the client wants dialled, carries bytes both ways, and keeps what it says.
//! Decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use cepa::internal::base::time::{Tick, earlier};
use cepa::internal::client::bootstrap::Wish;
use cepa::internal::client::junction::LinkNo;
use cepa::internal::client::{Client, Output, Progress};
use cepa::internal::directory::authorities::Authority;
use cepa::internal::link::frame;
use cepa::lab::authority::Spec;
use cepa::lab::cache::Cache;
use cepa::lab::network::{Arrival, BEGINNING, NearId, Network, RelayNo, Role};
use cepa::lab::seed::SeededEntropy;
use std::sync::Arc;

/// How long a directory may say nothing. C tor: `TestingDirConnectionMaxStall`.
const MAX_STALL: Duration = Duration::from_secs(30);

/// A client and its connections.
pub struct Shell {
    pub client: Client,
    entropy: SeededEntropy,
    connections: BTreeMap<LinkNo, Connection>,
    pub progress: Vec<Progress>,
    /// Where it ever dialled.
    pub dialled: Vec<core::net::SocketAddr>,
}

struct Connection {
    near: NearId,
    /// The relay at its other end, once that is known to be there.
    is_up: bool,
    to: core::net::SocketAddr,
}

/// A network that is its own directory: three authorities, guards, middles and exits.
pub fn directory_network(seed: u64, villain: impl Fn(usize) -> Role) -> (Network, Vec<RelayNo>, Arc<Cache>) {
    let mut network = Network::new(seed);
    let relays = (0..11).map(|number| network.add_relay(villain(number)).unwrap()).collect();
    let cache =
        network.open_directory(Spec { interval: Duration::from_secs(3600), ..Spec::new(seed, BEGINNING) }).unwrap();
    (network, relays, cache)
}

/// Honest relays, of which the last four are exits.
pub fn honest(number: usize) -> Role {
    Role { is_exit: number > 6, ..Role::default() }
}

/// What a torrc would say of such a network.
pub fn wish(cache: &Cache) -> Wish {
    let line = |line: String| Authority::parse(line.strip_prefix("DirAuthority ").unwrap()).unwrap();
    let authorities = cache.authorities().certificates().map(|(trusted, _)| line(trusted.torrc_line())).collect();
    Wish { authorities, fallbacks: Vec::new(), uses_default_fallbacks: true, max_stall: MAX_STALL }
}

impl Shell {
    pub fn start(network: &mut Network, wish: Wish) -> Shell {
        let entropy = SeededEntropy::new(network.seed(), "client");
        let mut shell = Shell {
            client: Client::new(wish),
            entropy,
            connections: BTreeMap::new(),
            progress: Vec::new(),
            dialled: Vec::new(),
        };
        let now = network.now();
        shell.client.start(now, &mut shell.entropy);
        shell.turn(network);
        shell
    }

    /// Does all that can be done now.
    pub fn turn(&mut self, network: &mut Network) {
        self.hear(network);
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Dial { link, to } => {
                    self.dialled.push(to);
                    let near = network.connect(to);
                    self.connections.insert(link, Connection { near, is_up: false, to });
                    self.greet(link, network);
                }
                Output::HangUp(link) => {
                    if let Some(connection) = self.connections.remove(&link) {
                        network.hang_up(connection.near);
                    }
                }
                Output::Progress(progress) => self.progress.push(progress),
            }
        }
        let (now, ready) = (network.now(), self.client.ready().collect::<Vec<_>>());
        for link in ready {
            while let Some(bytes) = self.client.take_transmit(link, now, &mut self.entropy) {
                if let Some(connection) = self.connections.get(&link) {
                    network.send(connection.near, bytes);
                }
            }
        }
    }

    /// What stands for TLS shows a leaf at once; the first bytes wait until the connection is there.
    fn greet(&mut self, link: LinkNo, network: &Network) {
        let Some(connection) = self.connections.get_mut(&link) else { return };
        if let Some(facts) = network.facts_of(connection.to) {
            connection.is_up = true;
            self.client.handle_dialled(link, facts.leaf, network.now());
        }
    }

    fn hear(&mut self, network: &mut Network) {
        let now = network.now();
        let links: Vec<(LinkNo, NearId)> = self.connections.iter().map(|(link, it)| (*link, it.near)).collect();
        for (link, near) in links {
            while let Some(arrival) = network.receive(near) {
                match arrival {
                    Arrival::Closed => {
                        self.connections.remove(&link);
                        self.client.handle_closed(link, now, &mut self.entropy);
                    }
                    Arrival::Bytes(bytes) => {
                        for chunk in bytes.chunks(frame::READ_LEN) {
                            let mut buffer = self.client.begin_read(link);
                            buffer.extend_from_slice(chunk);
                            self.client.handle_read(link, buffer, now, &mut self.entropy);
                        }
                    }
                }
            }
        }
    }

    /// Runs until `done`, or for `limit`; says whether it was done.
    pub fn run_until(&mut self, network: &mut Network, limit: Duration, mut done: impl FnMut(&Shell) -> bool) -> bool {
        let end = network.now().tick + limit;
        self.turn(network);
        while !done(self) {
            let deadline: Tick = earlier(self.client.next_deadline(network.now()), Some(end)).unwrap_or(end);
            let heard = network.step(deadline.max(network.now().tick));
            if !heard {
                if network.now().tick >= end {
                    return false;
                }
                let now = network.now();
                self.client.handle_timeout(now, &mut self.entropy);
            }
            self.turn(network);
        }
        true
    }

    /// Runs until it knows enough to build circuits.
    pub fn bootstrap(&mut self, network: &mut Network) -> bool {
        self.run_until(network, Duration::from_secs(600), |shell| {
            shell.progress.last() == Some(&Progress::EnoughDirectory)
        })
    }
}
