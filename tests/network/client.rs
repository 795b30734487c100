//! Drives a whole client through the virtual network, as its shell would.
//!
//! It dials what the client wants dialled, carries bytes both ways, has a disk of its own, and
//! keeps what it says. Decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use cepa::internal::base::time::{Now, Tick, earlier};
use cepa::internal::client::events::{Event, LinkReason};
use cepa::internal::client::files::Name;
use cepa::internal::client::isolation::{Facts, Fields, Group};
use cepa::internal::client::junction::LinkNo;
use cepa::internal::client::name::{ForExit, Host};
use cepa::internal::client::notices::Notice;
use cepa::internal::client::{Client, Failure, Found, Output, Progress, Reader, RequestNo, Setup, What, Wish};
use cepa::internal::config::port::Isolation;
use cepa::internal::config::{Config, Settings};
use cepa::internal::directory::Error;
use cepa::internal::link::frame;
use cepa::internal::path::rules::Family;
use cepa::internal::wire::relay_msg::BeginFlags;
use cepa::lab::authority::Spec;
use cepa::lab::cache::Cache;
use cepa::lab::network::{Arrival, BEGINNING, NearId, Network, RelayNo, Role};
use cepa::lab::seed::SeededEntropy;
use std::sync::Arc;

use super::disk::{Disk, Read};

/// A client and its connections.
pub struct Shell {
    pub client: Client,
    pub entropy: SeededEntropy,
    connections: BTreeMap<LinkNo, Connection>,
    pub progress: Vec<Progress>,
    /// Where it ever dialled.
    pub dialled: Vec<core::net::SocketAddr>,
    /// Whose connections it closed.
    pub hung_up: Vec<core::net::SocketAddr>,
    /// Bytes that it sent.
    pub sent: usize,
    /// Whether programs read what comes.
    pub is_reading: bool,
    /// How far its clock is ahead, in seconds.
    ahead: i64,
    /// How long its machine has slept, while its timers stood still.
    dozed: Duration,
    /// What became of requests.
    pub requests: BTreeMap<RequestNo, Told>,
    pub disk: Disk,
    /// What was wrong with files.
    pub bad_files: Vec<(Name, Error)>,
    /// All that was told of it.
    pub events: Vec<Event>,
    /// What its user was told.
    pub notices: Vec<Notice>,
    /// The addresses of which it wanted to know where they are.
    pub asked_where: Vec<core::net::Ipv4Addr>,
}

/// What a program was told, and has read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub is_open: bool,
    pub read: Vec<u8>,
    pub found: Option<Found>,
    pub failure: Option<Failure>,
    /// Over after it was open, and whether cleanly.
    pub end: Option<bool>,
    /// Over because all held too much.
    pub is_given_up: bool,
}

impl Told {
    pub fn is_over(&self) -> bool {
        self.end.is_some() || self.failure.is_some() || self.found.is_some() || self.is_given_up
    }
}

/// So often a client may be called at one instant, though nothing has come.
const MAX_IDLE: u32 = 1000;

/// Reads all that comes.
struct Programs<'a>(&'a mut BTreeMap<RequestNo, Told>, Vec<(RequestNo, usize)>);

impl Reader for Programs<'_> {
    fn data(&mut self, request: RequestNo, bytes: &[u8]) {
        self.0.entry(request).or_default().read.extend_from_slice(bytes);
        self.1.push((request, bytes.len()));
    }
}

struct Connection {
    near: NearId,
    /// The relay at its other end, once that is known to be there.
    is_up: bool,
    to: core::net::SocketAddr,
}

/// A network that is its own directory: three authorities, guards, middles and exits.
pub fn directory_network(seed: u64, villain: impl Fn(usize) -> Role) -> (Network, Vec<RelayNo>, Arc<Cache>) {
    directory_network_of(Spec::new(seed, BEGINNING), villain)
}

/// The same with a directory of that kind.
pub fn directory_network_of(spec: Spec, villain: impl Fn(usize) -> Role) -> (Network, Vec<RelayNo>, Arc<Cache>) {
    let seed = spec.seed;
    let mut network = Network::new(seed);
    let relays = (0..11).map(|number| network.add_relay(villain(number)).unwrap()).collect();
    let cache = network.open_directory(spec).unwrap();
    (network, relays, cache)
}

/// Honest relays, of which the last four are exits.
pub fn honest(number: usize) -> Role {
    Role { is_exit: number > 6, ..Role::default() }
}

/// What a torrc would say of such a network.
pub fn wish(cache: &Cache) -> Setup {
    setup_with(cache, "")
}

/// The same with more lines.
pub fn setup_with(cache: &Cache, more: &str) -> Setup {
    let lines = cache.authorities().certificates().map(|(trusted, _)| trusted.torrc_line());
    let text = format!("TestingTorNetwork 1\n{}\n{more}\n", lines.collect::<Vec<_>>().join("\n"));
    let mut settings = Settings::new();
    settings.add_text("torrc", &text).unwrap();
    Setup::of(Config::of(&settings).unwrap().0).unwrap().with_files()
}

/// What an exit may be asked for.
pub fn for_exit(host: &str) -> ForExit {
    ForExit::of(&Host::parse(host).unwrap()).unwrap()
}

/// A stream to a server of the lab, as a program asks for it whose name is `user`.
pub fn connect(host: &str, user: &str) -> Wish {
    let what = What::Connect { host: for_exit(host), port: 80, family: Family::Either, flags: BeginFlags::IPV6_OK };
    asked(what, host, user)
}

/// A look-up.
pub fn resolve(name: &str) -> Wish {
    asked(What::Resolve(for_exit(name), Family::Either), name, "")
}

/// Anything, asked for by a program whose name is `user`.
pub fn asked(what: What, host: &str, user: &str) -> Wish {
    let facts = Facts {
        group: Group::Listener(0),
        epoch: 0,
        protocol: 5,
        client: None,
        credentials: Some((user.into(), Vec::new())),
        host: host.to_owned(),
        port: 80,
    };
    Wish { what, exit: None, facts, fields: Fields::of(Isolation::default()), keeps_alive: false, from: None }
}

impl Shell {
    /// With an empty disk.
    pub fn start(network: &mut Network, setup: Setup) -> Shell {
        Shell::start_with(network, setup, Disk::default())
    }

    /// With what an earlier one left.
    pub fn start_with(network: &mut Network, setup: Setup, disk: Disk) -> Shell {
        let mut shell = Shell { disk, ..Shell::prepare(network, setup) };
        shell.begin(network);
        shell
    }

    /// One that has not begun, with an empty disk.
    pub fn prepare(network: &Network, setup: Setup) -> Shell {
        Shell {
            client: Client::new(setup),
            entropy: SeededEntropy::new(network.seed(), "client"),
            connections: BTreeMap::new(),
            progress: Vec::new(),
            dialled: Vec::new(),
            hung_up: Vec::new(),
            sent: 0,
            is_reading: true,
            ahead: 0,
            dozed: Duration::ZERO,
            requests: BTreeMap::new(),
            disk: Disk::default(),
            bad_files: Vec::new(),
            events: Vec::new(),
            notices: Vec::new(),
            asked_where: Vec::new(),
        }
    }

    /// Begins what was prepared.
    pub fn begin(&mut self, network: &mut Network) {
        self.client.start(network.now(), &mut self.entropy);
        self.turn(network);
    }

    /// Does all that can be done now.
    pub fn turn(&mut self, network: &mut Network) {
        self.hear(network);
        loop {
            while let Some(work) = self.client.poll_work() {
                self.disk.obey(work);
            }
            match self.client.poll_output() {
                Some(output) => self.obey(output, network),
                None => match self.disk.read() {
                    Some(Read::Piece(name, bytes)) => self.client.handle_file(name, &bytes, self.now(network)),
                    Some(Read::End(name, found)) => {
                        self.client.handle_file_end(name, found, self.now(network), &mut self.entropy);
                    }
                    None => break,
                },
            }
        }
        self.events.extend(core::iter::from_fn(|| self.client.poll_event()));
        let (now, ready) = (self.now(network), self.client.ready().collect::<Vec<_>>());
        for link in ready {
            while let Some(bytes) = self.client.take_transmit(link, now, &mut self.entropy) {
                self.sent += bytes.len();
                if let Some(connection) = self.connections.get(&link) {
                    network.send(connection.near, bytes);
                }
            }
        }
    }

    fn obey(&mut self, output: Output, network: &mut Network) {
        match output {
            Output::Dial { link, to, .. } => {
                self.dialled.push(to);
                let near = network.connect(to);
                self.connections.insert(link, Connection { near, is_up: false, to });
                self.greet(link, network);
            }
            Output::HangUp(link) => {
                if let Some(connection) = self.connections.remove(&link) {
                    self.hung_up.push(connection.to);
                    network.hang_up(connection.near);
                }
            }
            Output::Progress(progress) => self.progress.push(progress),
            Output::Connected(no) => self.told(no).is_open = true,
            Output::Found(no, found, _) => self.told(no).found = Some(found),
            Output::Failed(no, failure) => self.told(no).failure = Some(failure),
            Output::Ended { request, is_clean } => self.told(request).end = Some(is_clean),
            Output::Writable(_) => {}
            Output::GivenUp(no) => self.told(no).is_given_up = true,
            Output::Notice(notice) => self.notices.push(notice),
            Output::FindCountries(addresses) => self.asked_where = addresses,
            Output::BadFile(name, error) => self.bad_files.push((name, error)),
            Output::BadState(line, fault) => panic!("state:{line}: {fault:?}"),
        }
    }

    /// What stands for TLS shows a leaf at once; the first bytes wait until the connection is there.
    fn greet(&mut self, link: LinkNo, network: &Network) {
        let Some(connection) = self.connections.get_mut(&link) else { return };
        if let Some(facts) = network.facts_of(connection.to) {
            connection.is_up = true;
            self.client.handle_dialled(link, facts.leaf, self.now(network));
        }
    }

    fn hear(&mut self, network: &mut Network) {
        let now = self.now(network);
        let links: Vec<(LinkNo, NearId)> = self.connections.iter().map(|(link, it)| (*link, it.near)).collect();
        for (link, near) in links {
            while let Some(arrival) = network.receive(near) {
                match arrival {
                    Arrival::Closed => {
                        self.connections.remove(&link);
                        self.client.handle_closed(link, LinkReason::Refused, now, &mut self.entropy);
                    }
                    Arrival::Bytes(bytes) => {
                        for chunk in bytes.chunks(frame::READ_LEN) {
                            let mut buffer = self.client.begin_read(link);
                            buffer.extend_from_slice(chunk);
                            let mut programs = Programs(&mut self.requests, Vec::new());
                            self.client.handle_read(link, buffer, now, &mut self.entropy, &mut programs);
                            for (request, length) in programs.1.into_iter().filter(|_| self.is_reading) {
                                self.client.handle_taken(request, length);
                            }
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
        let mut idle = (network.now().tick, 0);
        while !done(self) {
            let deadline = self.client.next_deadline(self.now(network)).map(|deadline| deadline + self.dozed);
            let deadline: Tick = earlier(deadline, Some(end)).unwrap_or(end);
            let heard = network.step(deadline.max(network.now().tick));
            if !heard {
                if network.now().tick >= end {
                    return false;
                }
                let now = self.now(network);
                self.client.handle_timeout(now, &mut self.entropy);
                idle = if idle.0 == now.tick { (now.tick, idle.1 + 1) } else { (now.tick, 0) };
                assert!(idle.1 < MAX_IDLE, "it wants to be called again and again, with nothing to do");
            }
            self.turn(network);
        }
        true
    }

    /// Runs until it knows enough to build circuits.
    pub fn bootstrap(&mut self, network: &mut Network) -> bool {
        self.run_until(network, Duration::from_secs(600), |shell| {
            shell.progress.iter().any(|progress| *progress >= Progress::EnoughDirectory)
        })
    }

    /// What the client takes for the time.
    fn now(&self, network: &Network) -> Now {
        let Now { tick, wall } = network.now();
        let ahead = Duration::from_secs(self.ahead.unsigned_abs());
        let tick = Tick::new(tick.since(Tick::default()) - self.dozed);
        Now { tick, wall: if self.ahead < 0 { wall - ahead } else { wall + ahead } }
    }

    /// The clock on the wall is set.
    pub fn set_clock(&mut self, by: i64) {
        self.ahead += by;
    }

    /// The machine sleeps for so long: nobody answers its connections, which die.
    pub fn sleep(&mut self, network: &mut Network, length: Duration) {
        let end = network.now().tick + length;
        while network.now().tick < end {
            network.step(end);
        }
        let links: Vec<LinkNo> = self.connections.keys().copied().collect();
        for link in links {
            if let Some(connection) = self.connections.remove(&link) {
                network.hang_up(connection.near);
            }
            let now = self.now(network);
            self.client.handle_closed(link, LinkReason::Refused, now, &mut self.entropy);
        }
        self.turn(network);
    }

    /// The machine sleeps for so long, its timers stand still, and its connections look as if
    /// nothing had happened.
    pub fn doze(&mut self, network: &mut Network, length: Duration) {
        let end = network.now().tick + length;
        while network.now().tick < end {
            network.step(end);
        }
        self.dozed += length;
    }

    // --- programs ------------------------------------------------------------------------

    fn told(&mut self, no: RequestNo) -> &mut Told {
        self.requests.entry(no).or_default()
    }

    /// A program asks.
    pub fn request(&mut self, network: &mut Network, wish: Wish) -> RequestNo {
        let no = self.client.request(wish, self.now(network), &mut self.entropy);
        self.told(no);
        self.turn(network);
        no
    }

    /// A program writes, and writes no more.
    pub fn write(&mut self, network: &mut Network, no: RequestNo, bytes: &[u8]) -> usize {
        let taken = self.client.handle_write(no, bytes);
        self.turn(network);
        taken
    }

    /// A program is gone.
    pub fn cancel(&mut self, network: &mut Network, no: RequestNo) {
        self.client.cancel(no, self.now(network), &mut self.entropy);
        self.turn(network);
    }

    /// A program asks, and reads until it is over, for so long.
    pub fn serve(&mut self, network: &mut Network, wish: Wish, limit: Duration) -> Told {
        let no = self.request(network, wish);
        self.run_until(network, limit, |shell| shell.requests[&no].is_over());
        self.requests[&no].clone()
    }

    /// The user wants something else from now on.
    pub fn configure(&mut self, network: &mut Network, setup: Setup) {
        self.client.handle_config(setup, self.now(network), &mut self.entropy);
        self.turn(network);
    }

    /// Ends it, as a user would; gives what it leaves.
    pub fn end(mut self, network: &mut Network) -> Disk {
        self.client.save(self.now(network));
        self.turn(network);
        self.disk.left()
    }

    /// "New identity".
    pub fn new_identity(&mut self, network: &mut Network) {
        self.client.new_identity(self.now(network), &mut self.entropy);
        self.turn(network);
    }
}
