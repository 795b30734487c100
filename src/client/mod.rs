//! The whole client as one machine: bytes of links and wishes of programs in; bytes, dials and
//! answers out.
//!
//! It learns the network ([`bootstrap`]), keeps circuits ready and builds those that are
//! wanted ([`circuits`]), and puts what programs ask for on them ([`streams`]), over links
//! that it dials when it needs them ([`links`]). Touches no socket, file or clock: the shell
//! does, in `app`, and the lab does in tests. Spec: dir-spec, "Client operation"; path-spec.
//! C tor: core/mainloop/, feature/dirclient/, core/or/circuituse.c.

pub mod bootstrap;
pub mod budget;
pub mod circuits;
pub mod control;
mod errands;
pub mod events;
pub mod files;
pub mod isolation;
pub mod junction;
mod kept;
pub mod links;
pub mod name;
pub mod notices;
pub mod ports;
mod probe;
mod progress;
mod requests;
pub mod setup;
pub mod silence;
pub mod state;
pub mod streams;
mod tracks;
mod upkeep;
pub mod wishes;

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::bootstrap::Bootstrap;
use self::circuits::{End, Phase, Pool, World};
use self::errands::Errand;
use self::events::{CircuitReason, CircuitStatus, Event, Events, LinkReason, LinkStatus, Mask};
use self::junction::{Junction, LinkNo, Reader as TunnelReader, Report, TunnelNo};
use self::kept::Kept;
use self::links::{Goal, Links, Step, Way, idle_limit};
use self::notices::{Notice, Source, TOLERATED};
pub use self::progress::Progress;
pub use self::setup::Setup;
use self::silence::Clocks;
use self::streams::Streams;
pub use self::streams::{Failure, Found, RequestNo, What, Wish};
use self::tracks::Tracks;
use self::upkeep::Hope;
use crate::base::RelayIds;
use crate::base::country::Country;
use crate::base::error::Blame;
use crate::base::random::Entropy;
use crate::base::time::{Now, Tick, Wall, earlier};
use crate::circuit::hop::{HopNo, StreamAt};
use crate::circuit::{Error as CircuitError, Output as TunnelOutput};
use crate::directory::params::{Param, Params};
use crate::directory::{self, NetDir};
use crate::link;
use crate::link::handshake::Established;
use crate::link::identity::LeafDigest;
use crate::link::padding::{Silence, Timing};
use crate::path::timeout::BuildTimes;

/// What the shell is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect there, go through TLS, and say so with [`Client::handle_dialled`], or that it
    /// failed with [`Client::handle_closed`].
    Dial {
        /// What the connection will be called.
        link: LinkNo,
        /// Where to.
        to: SocketAddr,
        /// Which way.
        way: Way,
    },
    /// Close that connection.
    HangUp(LinkNo),
    /// It got so far.
    Progress(Progress),
    /// A stream is open.
    Connected(RequestNo),
    /// A look-up found something, good for so many seconds, and is over.
    Found(RequestNo, Found, u32),
    /// Nothing comes of a request.
    Failed(RequestNo, Failure),
    /// The writer of a stream, which had found no room, may go on.
    Writable(RequestNo),
    /// A stream that was open is over, and not by our wish.
    Ended {
        /// Which.
        request: RequestNo,
        /// Whether the far end had said all that it had to say.
        is_clean: bool,
    },
    /// A stream is over because all together hold too much: what it brought and its program has
    /// not taken is not to be kept.
    GivenUp(RequestNo),
    /// The user is to be told. If it is fatal, nothing more is done.
    Notice(Notice),
    /// Say in which countries these addresses are, with [`Client::handle_countries`]. They ascend.
    FindCountries(Vec<Ipv4Addr>),
    /// A file cannot be used, all or in part: to be logged. What it had is fetched again.
    BadFile(files::Name, directory::Error),
    /// Line so many of the file `state` cannot be used; the others can.
    BadState(u32, state::Fault),
}

/// Who takes the bytes of streams.
pub trait Reader {
    /// Bytes of a stream. Once they are read for good, [`Client::handle_taken`] says so.
    fn data(&mut self, request: RequestNo, bytes: &[u8]);
}

/// For those who have no streams.
impl Reader for () {
    fn data(&mut self, _request: RequestNo, _bytes: &[u8]) {}
}

/// Numbers for links and streams, which are never the same: controllers tell them apart by these.
#[derive(Debug, Default)]
pub struct Ids(u64);

impl Ids {
    /// A new one.
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// A client.
pub struct Client {
    setup: Setup,
    bootstrap: Bootstrap,
    links: Links,
    junction: Junction,
    directories: BTreeMap<TunnelNo, Errand>,
    pool: Pool,
    streams: Streams,
    tracks: Tracks,
    next_tunnel: u32,
    /// How often "new identity" was said.
    epoch: u32,
    /// Whether circuits can be built, since the directory last changed.
    can_build: bool,
    /// The consensus that guards were told of, and how much was known when `can_build` was
    /// found out.
    known: Option<(Wall, usize)>,
    /// The consensus of which it was asked where its relays are.
    placed: Option<Wall>,
    /// It was said since guards were told of the directory.
    is_placed_anew: bool,
    /// Something has changed, and it is to be looked at what follows for circuits and requests.
    is_stirred: bool,
    /// Which requests that have been looked at before may find more now.
    hope: Hope,
    /// The circuits that are open and that those have not seen.
    opened: BTreeSet<TunnelNo>,
    /// When to look at them anyway.
    next_look: Option<Tick>,
    /// When somebody last wanted something, or the start; and for how long nobody had before.
    last_wish: Tick,
    idle_before: Duration,
    /// Since then a program has written to a stream, or has had bytes from one.
    is_active: bool,
    kept: Kept,
    outputs: VecDeque<Output>,
    ids: Ids,
    events: Events,
    /// Whether the network answered when that was last told.
    was_alive: bool,
    /// Requests wait for a controller to say which circuit they get.
    holds_requests: bool,
    clocks: Clocks,
    /// How many links could not be had before the first circuit was.
    problems: u32,
}

/// Takes what streams bring while a read of a link is worked on.
struct Answers<'a> {
    errands: &'a BTreeMap<TunnelNo, Errand>,
    bootstrap: &'a mut Bootstrap,
    streams: &'a mut Streams,
    is_active: &'a mut bool,
    reader: &'a mut dyn Reader,
    now: Now,
    /// What directories gave, and whether more is wanted.
    taken: Vec<(TunnelNo, StreamAt, usize, bool)>,
}

impl TunnelReader for Answers<'_> {
    fn data(&mut self, tunnel: TunnelNo, stream: StreamAt, bytes: &[u8]) {
        if let Some(request) = self.streams.on_data(tunnel, stream, bytes.len(), self.now.tick) {
            *self.is_active = true;
            self.reader.data(request, bytes);
        } else if let Some(errand) = self.errands.get(&tunnel) {
            let goes_on = self.bootstrap.handle_bytes(errand.fetch, bytes, self.now);
            self.taken.push((tunnel, stream, bytes.len(), goes_on));
        }
    }
}

/// One that trusts and asks whom the user wants.
fn bootstrap_of(setup: &Setup) -> Bootstrap {
    Bootstrap::new(&bootstrap::Wish { keeps_files: setup.keeps_files, ..setup.directory.clone() }, setup.asking())
}

/// All that a choice depends on, once there is a directory.
fn world<'a>(bootstrap: &'a Bootstrap, setup: &'a Setup, now: Now) -> Option<World<'a>> {
    bootstrap.dir().map(|dir| World { dir, setup, now })
}

impl Client {
    /// A client that knows nothing yet.
    pub fn new(setup: Setup) -> Client {
        let times = BuildTimes::new(&Params::default(), setup.build_times());
        let kept = Kept::new(setup.keeps_files, setup.config.avoids_disk_writes);
        Client {
            bootstrap: bootstrap_of(&setup),
            setup,
            links: Links::default(),
            junction: Junction::new(),
            directories: BTreeMap::new(),
            pool: Pool::new(times),
            streams: Streams::default(),
            tracks: Tracks::default(),
            // C tor: the first has the number 1.
            next_tunnel: 1,
            epoch: 0,
            can_build: false,
            known: None,
            placed: None,
            is_placed_anew: false,
            is_stirred: true,
            hope: Hope::default(),
            opened: BTreeSet::new(),
            next_look: None,
            last_wish: Tick::default(),
            idle_before: Duration::ZERO,
            is_active: false,
            kept,
            outputs: VecDeque::new(),
            ids: Ids::default(),
            events: Events::default(),
            was_alive: true,
            holds_requests: false,
            clocks: Clocks::default(),
            problems: 0,
        }
    }

    /// The directory, once there is one.
    pub fn dir(&self) -> Option<&NetDir> {
        self.bootstrap.dir()
    }

    /// What is known of the network.
    pub fn bootstrap(&self) -> &Bootstrap {
        &self.bootstrap
    }

    /// The circuits that are there or are coming.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Requests and streams.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Begins, and goes on: whatever is wanted now is asked for. To be called once at the start.
    pub fn start(&mut self, now: Now, entropy: &mut dyn Entropy) {
        self.last_wish = now.tick;
        if !self.setup.keeps_files {
            self.idle_before = kept::idle_at_start(&state::State::default(), &self.setup.config.dormancy);
        }
        self.pool.ports.begin(self.available_timeout(), now.tick, entropy);
        self.pursue(now, entropy);
    }

    /// There is a new configuration. Circuits and streams that are there stay, unless the user
    /// wants no network any more, or another one.
    pub fn handle_config(&mut self, setup: Setup, now: Now, entropy: &mut dyn Entropy) {
        self.kept.set_avoids_writes(setup.config.avoids_disk_writes);
        let is_other_network = setup.directory != self.setup.directory;
        let keeps_files = self.setup.keeps_files;
        let has_new_guards = setup.config.guards.are_used && !self.setup.config.guards.are_used;
        if has_new_guards || setup.wishes.nodes != self.setup.wishes.nodes {
            self.pool.abandon_all();
            self.tracks.clear();
        }
        self.setup = Setup { keeps_files, ..setup };
        if is_other_network || self.setup.config.is_network_disabled {
            self.leave(now, entropy);
        }
        if is_other_network {
            let old = core::mem::replace(&mut self.bootstrap, bootstrap_of(&self.setup));
            self.bootstrap.follow(old);
            self.can_build = false;
        }
        let circuits: Vec<TunnelNo> = self.pool.iter().map(|(no, _)| no).collect();
        circuits.into_iter().for_each(|no| self.set_answers(no));
        self.set_padding(now);
        (self.known, self.placed) = (None, None);
        self.streams.forget_deadlines();
        self.bootstrap.set_asking(self.setup.asking());
        self.stir();
        self.work(now, entropy);
    }

    /// Whether the exit of a circuit may find what only a network of tests has.
    fn set_answers(&mut self, no: TunnelNo) {
        let allows_internal = !self.setup.config.requests.refuses_internal_answers;
        if let Some(tunnel) = self.junction.tunnel_mut(no) {
            tunnel.allow_internal_answers(allows_internal);
        }
    }

    /// All links are padded as the user and the consensus want it now.
    fn set_padding(&mut self, now: Now) {
        let (mode, timing) = (self.setup.padding(), self.timing());
        let open: Vec<LinkNo> = self.links.iter().filter(|(_, is_up)| *is_up).map(|(link, _)| link).collect();
        for link in open {
            if let Some(link) = self.junction.link_mut(link) {
                link.set_padding(mode, timing, now);
                link.set_keepalive(self.setup.config.links.keepalive);
            }
        }
    }

    /// A link carries circuits, or somebody's stream if it `is_used`: from when on it is padded is
    /// the consensus's to say. C tor: the answer to EXTEND is taken for a stream.
    fn engage_padding(&mut self, link: LinkNo, is_used: bool, now: Now) {
        let params = self.dir().map(|dir| dir.consensus().params());
        let is_soon = params.is_none_or(|params| params.is_on(Param::NfPadBeforeUsage));
        if let Some(link) = self.junction.link_mut(link).filter(|_| is_used || is_soon) {
            link.engage_padding(now);
        }
    }

    /// Gives up all that goes over the network.
    fn leave(&mut self, now: Now, entropy: &mut dyn Entropy) {
        let errands: Vec<TunnelNo> = self.directories.keys().copied().collect();
        errands.into_iter().for_each(|errand| self.cancel_errand(errand, now));
        let requests: Vec<RequestNo> = self.streams.iter().map(|(no, _)| no).collect();
        requests.into_iter().for_each(|no| self.cut_off(no, now));
        let circuits: Vec<TunnelNo> = self.pool.iter().map(|(no, _)| no).collect();
        circuits.into_iter().for_each(|no| self.drop_circuit(no, End::Ours, CircuitReason::Requested, now, entropy));
        let links: Vec<LinkNo> = self.links.iter().map(|(link, _)| link).collect();
        links.into_iter().for_each(|link| self.let_go(link, now));
    }

    // --- links ---------------------------------------------------------------------------

    /// A connection is up, and its TLS showed `leaf`.
    pub fn handle_dialled(&mut self, link: LinkNo, leaf: LeafDigest, now: Now) {
        let Some((wanted, address)) = self.links.goal(link) else {
            return self.outputs.push_back(Output::HangUp(link));
        };
        self.links.on_dialled(link);
        self.on_alive(link, now);
        self.reach([Progress::Connected, Progress::CircuitConnected]);
        self.reach([Progress::Handshake, Progress::CircuitHandshake]);
        self.junction.add_link(link, wanted, leaf, address.ip(), self.timing(), now);
    }

    /// A connection is gone, or never came to be.
    pub fn handle_closed(&mut self, link: LinkNo, why: LinkReason, now: Now, entropy: &mut dyn Entropy) {
        let was_dialled = self.junction.link_mut(link).is_some();
        match was_dialled {
            true => self.give_up(link, why, now, entropy),
            false => self.dial_on(link, why, now, entropy),
        }
        self.work(now, entropy);
    }

    /// A buffer for the next read of a link.
    pub fn begin_read(&mut self, link: LinkNo) -> Vec<u8> {
        self.junction.begin_read(link)
    }

    /// Takes what a read brought. What it brought for streams goes to `reader` at once.
    pub fn handle_read(
        &mut self,
        link: LinkNo,
        buffer: Vec<u8>,
        now: Now,
        entropy: &mut dyn Entropy,
        reader: &mut dyn Reader,
    ) {
        self.watch_clocks(now, entropy);
        self.on_heard(link, now);
        let mut answers = Answers {
            errands: &self.directories,
            bootstrap: &mut self.bootstrap,
            streams: &mut self.streams,
            is_active: &mut self.is_active,
            reader,
            now,
            taken: Vec::new(),
        };
        self.junction.handle_read(link, buffer, now, entropy, &mut answers);
        for (tunnel, stream, length, goes_on) in answers.taken {
            match goes_on {
                true => self.junction.handle_taken(tunnel, stream, length),
                false => self.fail_errand(tunnel, now, entropy),
            }
        }
        self.work(now, entropy);
    }

    /// The links that may have something to write.
    pub fn ready(&self) -> impl Iterator<Item = LinkNo> + '_ {
        self.junction.ready()
    }

    /// The next bytes to write to a link. To be called when TLS has written what it had.
    pub fn take_transmit(&mut self, link: LinkNo, now: Now, entropy: &mut dyn Entropy) -> Option<Vec<u8>> {
        let bytes = self.junction.take_transmit(link, now, entropy);
        // With it the first cell of a circuit may have gone out, and its time runs.
        self.is_stirred |= bytes.is_some() && self.pool.has_unbegun();
        self.work(now, entropy);
        bytes
    }

    // --- outputs ----------------------------------------------------------------

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        let own = self.outputs.pop_front();
        let own = own.or_else(|| self.poll_notice().map(Output::Notice));
        let own = own.or_else(|| self.bootstrap.poll_fault().map(|(name, error)| Output::BadFile(name, error)));
        own.or_else(|| self.kept.poll_fault().map(|(line, fault)| Output::BadState(line, fault)))
    }

    /// In which countries addresses are that were asked for, ascending by them.
    pub fn handle_countries(&mut self, found: &[(Ipv4Addr, Country)], now: Now, entropy: &mut dyn Entropy) {
        if let Some(dir) = self.bootstrap.dir_mut() {
            dir.place(found);
        }
        self.is_placed_anew = true;
        self.stir();
        self.work(now, entropy);
    }

    // --- files ---------------------------------------------------------------------------

    /// The next thing to do with a file. What waits is bounded, so that a shell takes it when
    /// its disk has time.
    pub fn poll_work(&mut self) -> Option<files::Work> {
        self.kept.poll_work().or_else(|| self.bootstrap.poll_work())
    }

    /// The next bytes of a file that the client wanted to read.
    pub fn handle_file(&mut self, name: files::Name, piece: &[u8], now: Now) {
        match name {
            state::STATE => self.kept.push(piece),
            _ => self.bootstrap.handle_file(name, piece, now),
        }
    }

    /// A file was read to its end; or `found` is false, and there is none, or it cannot be read.
    pub fn handle_file_end(&mut self, name: files::Name, found: bool, now: Now, entropy: &mut dyn Entropy) {
        match name {
            state::STATE => self.recall(now, entropy),
            _ => self.bootstrap.handle_file_end(name, found, now, entropy),
        }
        self.stir();
        self.work(now, entropy);
    }

    /// A file could not be written; the old one is as it was.
    pub fn handle_unwritten(&mut self, name: files::Name, now: Now) {
        if name == state::STATE {
            self.kept.on_unwritten(now.tick);
        }
        self.bootstrap.on_unwritten(name);
    }

    /// Has what the next run should know written. To be called at the end, before the last
    /// [`Client::poll_work`].
    pub fn save(&mut self, now: Now) {
        self.kept.save_soon(now.tick);
        self.remember(now);
    }

    /// Goes on with what an earlier run knew.
    fn recall(&mut self, now: Now, entropy: &mut dyn Entropy) {
        let Some(state) = self.kept.finish() else { return };
        self.idle_before = kept::idle_at_start(state, &self.setup.config.dormancy);
        self.pool.recall(|selection| state.guards(selection).cloned().collect(), now);
        let times = BuildTimes::load(&state.build_times, &Params::default(), self.setup.build_times(), entropy);
        if let Some(times) = times {
            self.pool.times = times;
        }
        if self.kept.is_broken() {
            self.kept.save_soon(now.tick);
        }
        self.known = None;
    }

    /// Writes what the next run should know, if it is time to.
    fn remember(&mut self, now: Now) {
        self.kept.look(&mut self.pool, now.tick);
        if self.kept.next_deadline().is_some_and(|at| at <= now.tick) {
            let idle = self.idle(now.tick);
            self.kept.save(&self.pool, (idle, self.is_dormant(now.tick)), now.wall);
        }
    }

    // --- time ----------------------------------------------------------------------------

    /// When to call [`Client::handle_timeout`].
    pub fn next_deadline(&self, now: Now) -> Option<Tick> {
        let is_awake = !self.setup.config.is_network_disabled && !self.is_dormant(now.tick);
        let own = earlier(self.bootstrap.next_deadline(is_awake, now), self.links.next_deadline());
        let own = if self.pool.is_failing() { earlier(own, self.links.next_stuck()) } else { own };
        earlier(earlier(own, self.junction.next_deadline()), earlier(self.next_look, self.kept.next_deadline()))
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Now, entropy: &mut dyn Entropy) {
        self.watch_clocks(now, entropy);
        self.bootstrap.stir();
        self.junction.handle_timeout(now, entropy);
        for link in self.links.overdue(now.tick) {
            self.outputs.push_back(Output::HangUp(link));
            self.dial_on(link, LinkReason::TimedOut, now, entropy);
        }
        let stuck = if self.pool.is_failing() { self.links.stuck(now.tick) } else { Vec::new() };
        for link in stuck {
            self.outputs.push_back(Output::HangUp(link));
            self.give_up(link, LinkReason::TimedOut, now, entropy);
        }
        for fetch in self.bootstrap.stalled(now.tick) {
            let tunnel = self.directories.iter().find(|(_, errand)| errand.fetch == fetch).map(|(no, _)| *no);
            match tunnel {
                Some(tunnel) => self.fail_errand(tunnel, now, entropy),
                None => self.bootstrap.handle_failure(fetch, now, entropy),
            }
        }
        self.leave_idle(now);
        self.work(now, entropy);
    }

    /// Closes the links that nobody has used for too long, and notes which nobody uses now.
    fn leave_idle(&mut self, now: Now) {
        let junction = &self.junction;
        for link in self.links.idle(|link| junction.has_tunnels_on(link), now.tick) {
            self.let_go(link, now);
        }
    }

    // --- what happened -------------------------------------------------------------------

    /// Works off all that links and tunnels have come to, and goes on.
    fn work(&mut self, now: Now, entropy: &mut dyn Entropy) {
        if core::mem::take(&mut self.is_active) {
            self.note_activity(now.tick);
        }
        if self.streams.may_hold_more(self.setup.most_held) {
            self.relieve(now);
        }
        loop {
            while let Some(report) = self.junction.poll_report() {
                match report {
                    Report::LinkUp(link, established) => self.on_link_up(link, &established, now, entropy),
                    Report::LinkDown(link, error) => {
                        self.outputs.push_back(Output::HangUp(link));
                        self.blame(link, error, now);
                        self.give_up(link, error.into(), now, entropy);
                    }
                    Report::Tunnel(no, output) if self.directories.contains_key(&no) => {
                        self.on_errand(no, output, now, entropy);
                    }
                    Report::Tunnel(no, output) => self.on_tunnel(no, output, now, entropy),
                }
            }
            while let Some(fetch) = self.bootstrap.poll_superfluous() {
                self.cancel_fetch(fetch, now);
            }
            self.pursue(now, entropy);
            if !self.junction.has_report() {
                break;
            }
        }
        self.tell();
        self.say_what_was_learned();
        self.remember(now);
    }

    fn on_link_up(&mut self, link: LinkNo, established: &Established, now: Now, entropy: &mut dyn Entropy) {
        if let (Some(skew), Some((ids, _))) = (established.skew, self.links.goal(link))
            && skew.magnitude() > TOLERATED
            && self.bootstrap.knows_time(&ids, now.wall)
        {
            self.bootstrap.note(Notice::Clock(skew, Source::Directory));
        }
        self.pool.on_dialled(link, now.tick);
        let proved = established.relay.as_ref();
        let proved = proved.map(|it| RelayIds { rsa: Some(it.rsa()), ed25519: Some(it.ed25519()) });
        let config = &self.setup.config;
        let is_reduced = config.links.reduced_padding && config.circuits.available_timeout.is_none();
        self.links.on_up(link, proved.unwrap_or_default(), idle_limit(is_reduced, entropy));
        self.bootstrap.on_network_back();
        self.on_alive(link, now);
        self.say_link(link, LinkStatus::Connected);
        self.reach([Progress::HandshakeDone, Progress::CircuitHandshakeDone]);
        self.reach([Progress::OneHop, Progress::CircuitCreate]);
        let (mode, timing) = (self.setup.padding(), self.timing());
        if let Some(link) = self.junction.link_mut(link) {
            link.set_padding(mode, timing, now);
            link.set_keepalive(self.setup.config.links.keepalive);
        }
        if self.pool.is_failing() {
            self.on_network_back(now, entropy);
        }
    }

    /// After a row of failures there is a link. What was begun meanwhile and hangs was said into
    /// the void: it is begun anew, and blames nobody.
    fn on_network_back(&mut self, now: Now, entropy: &mut dyn Entropy) {
        let hanging = self.links.hanging(now.tick);
        if hanging.is_empty() {
            return;
        }
        for link in hanging {
            let over: Vec<_> = self.pool.iter().filter(|(_, it)| it.link == link).map(|(no, _)| no).collect();
            over.into_iter()
                .for_each(|no| self.drop_circuit(no, End::Ours, CircuitReason::ConnectFailed, now, entropy));
            self.errands_on(link).into_iter().for_each(|no| self.cancel_errand(no, now));
            self.outputs.push_back(Output::HangUp(link));
            self.give_up(link, LinkReason::TimedOut, now, entropy);
        }
        self.pool.on_network_back();
        self.stir();
    }

    /// Whoever broke a link has nobody to share the blame with.
    fn blame(&mut self, link: LinkNo, error: link::Error, now: Now) {
        let relay = self.links.goal(link).and_then(|(ids, _)| ids.rsa);
        if let Some(relay) = relay.filter(|_| error.blame() == Blame::Peer) {
            self.pool.on_bad_link(&relay, now.tick);
        }
    }

    fn on_tunnel(&mut self, no: TunnelNo, output: TunnelOutput, now: Now, entropy: &mut dyn Entropy) {
        match output {
            TunnelOutput::HopBuilt { hop, .. } => self.on_hop(no, hop, now, entropy),
            TunnelOutput::Built { took, .. } => {
                if let Some(world) = world(&self.bootstrap, &self.setup, now) {
                    self.pool.on_built(no, took, &world);
                }
                match self.pool.get(no).map(|circuit| circuit.phase) {
                    Some(Phase::Waiting) => self.say_circuit(no, CircuitStatus::GuardWait),
                    _ => self.on_open(no),
                }
                self.stir_for(Hope::Circuits);
            }
            TunnelOutput::Connected { stream, address } => match self.streams.whose(no, stream) {
                Some(request) => self.on_connected(no, request, address, now),
                None => self.on_probe_answered(no, stream, None, now, entropy),
            },
            TunnelOutput::Resolved { stream, answers } => {
                if let Some(request) = self.streams.whose(no, stream) {
                    self.on_resolved(no, request, &answers, now);
                }
            }
            TunnelOutput::Writable { stream } => {
                if let Some(request) = self.streams.whose(no, stream)
                    && self.flush(request, now)
                {
                    self.outputs.push_back(Output::Writable(request));
                }
            }
            TunnelOutput::Ended { stream, why, unanswered } => match self.streams.whose(no, stream) {
                Some(request) => self.on_ended(request, no, &why, unanswered, now),
                None => self.on_probe_answered(no, stream, Some(&why), now, entropy),
            },
            TunnelOutput::Closed { error, .. } => self.on_circuit_closed(no, error, now, entropy),
            TunnelOutput::Data { .. } | TunnelOutput::Asked { .. } | TunnelOutput::Message { .. } => {}
        }
    }

    /// A circuit carries streams from now on.
    fn on_open(&mut self, no: TunnelNo) {
        self.opened.insert(no);
        self.stir_for(Hope::Circuits);
        self.say_circuit(no, CircuitStatus::Built);
        self.reach([Progress::Starting, Progress::Done]);
    }

    fn on_hop(&mut self, no: TunnelNo, hop: HopNo, now: Now, entropy: &mut dyn Entropy) {
        if let Some(world) = world(&self.bootstrap, &self.setup, now) {
            self.pool.on_hop(no, &world, entropy);
        }
        self.say_circuit(no, CircuitStatus::Extended);
        if let Some(circuit) = self.pool.get(no).filter(|_| hop == HopNo(0)) {
            let (link, begun) = (circuit.link, circuit.begun());
            self.on_first_hop(link, begun, now);
            self.engage_padding(link, false, now);
        }
        self.stir_for(Hope::Circuits);
    }

    fn on_circuit_closed(&mut self, no: TunnelNo, error: CircuitError, now: Now, entropy: &mut dyn Entropy) {
        let end = match error {
            CircuitError::Requested => End::Ours,
            CircuitError::BuildTooSlow => End::TooSlow,
            CircuitError::Destroyed(_) | CircuitError::Truncated(_) => End::Destroyed,
            _ => End::Failed,
        };
        self.drop_circuit(no, end, error.into(), now, entropy);
    }

    fn drop_circuit(&mut self, no: TunnelNo, end: End, why: CircuitReason, now: Now, entropy: &mut dyn Entropy) {
        let was_built = self.pool.get(no).is_some_and(|circuit| circuit.phase >= Phase::Waiting);
        let unanswered = self.pool.get(no).filter(|it| end == End::TooSlow && it.hops_built() == 0);
        let unanswered = unanswered.and_then(|circuit| Some((circuit.link, circuit.begun()?)));
        self.say_circuit(no, if was_built { CircuitStatus::Closed(why) } else { CircuitStatus::Failed(why) });
        self.junction.drop_tunnel(no, now);
        let world = world(&self.bootstrap, &self.setup, now);
        self.pool.on_closed(no, end, world.as_ref(), entropy);
        if let Some((link, begun)) = unanswered {
            self.on_unanswered(link, begun, now, entropy);
        }
        self.stir_for(Hope::Circuits);
    }

    /// A relay cannot be reached at an address: tries its next.
    fn dial_on(&mut self, link: LinkNo, why: LinkReason, now: Now, entropy: &mut dyn Entropy) {
        match self.links.next_address(link, now.tick) {
            Some(to) => self.outputs.push_back(Output::Dial { link, to, way: self.links.way(link) }),
            None => self.give_up(link, why, now, entropy),
        }
    }

    /// A link is gone, or will never be.
    fn give_up(&mut self, link: LinkNo, why: LinkReason, now: Now, entropy: &mut dyn Entropy) {
        let circuits = self.junction.tunnels_on(link);
        self.say_problem(link, why);
        self.say_link(
            link,
            match self.links.is_up(link) {
                true => LinkStatus::Closed(why, circuits),
                false => LinkStatus::Failed(why, circuits),
            },
        );
        self.pool.on_dialled(link, now.tick);
        self.links.on_down(link);
        // Circuits hear of it as reports.
        self.junction.drop_link(link);
        self.errands_on(link).into_iter().for_each(|no| self.fail_errand(no, now, entropy));
    }

    fn let_go(&mut self, link: LinkNo, now: Now) {
        self.pool.on_dialled(link, now.tick);
        self.say_link(link, LinkStatus::Closed(LinkReason::Done, 0));
        self.links.on_down(link);
        self.junction.drop_link(link);
        self.outputs.push_back(Output::HangUp(link));
    }

    // --- what is wanted ------------------------------------------------------------------

    fn stir(&mut self) {
        self.stir_for(Hope::All);
    }

    fn stir_for(&mut self, hope: Hope) {
        self.is_stirred = true;
        self.hope = self.hope.max(hope);
    }

    fn pursue(&mut self, now: Now, entropy: &mut dyn Entropy) {
        if self.setup.config.is_network_disabled || self.kept.is_reading() {
            self.next_look = None;
            return;
        }
        if !self.is_dormant(now.tick) && !self.bootstrap.is_too_old() {
            for order in self.bootstrap.orders(now, entropy) {
                self.run_errand(order, now, entropy);
            }
        }
        if self.next_look.is_some_and(|look| look <= now.tick) {
            self.stir_for(Hope::Circuits);
        }
        let is_stirred = core::mem::take(&mut self.is_stirred);
        if is_stirred || self.streams.has_new() {
            self.look(is_stirred, now, entropy);
            self.next_look = self.when_to_look(now);
        }
    }

    fn is_dormant(&self, now: Tick) -> bool {
        let dormancy = &self.setup.config.dormancy;
        dormancy.is_enabled && self.idle(now) >= dormancy.timeout
    }

    /// For how long nobody has wanted anything. C tor: a stream that is there is a wish, unless
    /// `DormantTimeoutDisabledByIdleStreams` says otherwise.
    fn idle(&self, now: Tick) -> Duration {
        let is_waited_for = self.setup.config.dormancy.waits_for_streams && !self.streams.is_empty();
        if is_waited_for { Duration::ZERO } else { now.since(self.last_wish).saturating_add(self.idle_before) }
    }

    /// Somebody wants something. C tor: `note_user_activity`.
    fn note_activity(&mut self, now: Tick) {
        (self.last_wish, self.idle_before) = (now, Duration::ZERO);
    }

    /// The link to a relay, which is dialled if it is not there.
    fn link_to(&mut self, goal: Goal, now: Now) -> Option<LinkNo> {
        let goal = Goal { way: self.setup.way(), ..goal };
        match self.links.want(&goal, &mut self.ids, now.tick)? {
            Step::Wait(link) => Some(link),
            Step::Dial(link, to) => {
                self.outputs.push_back(Output::Dial { link, to, way: goal.way });
                self.pool.on_dial(link, goal.ids.rsa, self.bootstrap.dir(), now.tick);
                self.say_link(link, LinkStatus::Launched);
                Some(link)
            }
        }
    }

    fn next_tunnel(&mut self) -> TunnelNo {
        let no = TunnelNo(self.next_tunnel);
        self.next_tunnel = self.next_tunnel.wrapping_add(1);
        no
    }

    /// What the consensus says of padding.
    fn timing(&self) -> Timing {
        let Some(dir) = self.dir() else { return Timing::default() };
        let params = dir.consensus().params();
        let millis = |param| u16::try_from(params.unsigned(param)).unwrap_or(u16::MAX);
        let silence = |low, high| Silence { low_ms: millis(low), high_ms: millis(high) };
        Timing {
            normal: silence(Param::NfItoLow, Param::NfItoHigh),
            reduced: silence(Param::NfItoLowReduced, Param::NfItoHighReduced),
        }
    }

    /// What was reached: before there is a directory, and after.
    fn reach(&mut self, [before, after]: [Progress; 2]) {
        match self.can_build {
            false => self.bootstrap.on_step(before),
            true => self.bootstrap.on_later_step(after),
        }
        self.tell();
    }

    fn tell(&mut self) {
        while let Some(progress) = self.bootstrap.poll_step() {
            self.outputs.push_back(Output::Progress(progress));
            self.events.say(Mask::NETWORK, || Some(Event::Progress(progress)));
        }
    }
}
