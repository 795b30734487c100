//! The whole client as one machine: bytes of links and wishes of programs in; bytes, dials and
//! answers out.
//!
//! So far it learns the network: it reaches directories, and fetches and checks what they have
//! ([`bootstrap`]), over links that it dials when it needs them ([`links`]). Circuits for
//! streams come next. Touches no socket, file or clock: the shell does, in `app`, and the lab
//! does in tests. Spec: dir-spec, "Client operation"; path-spec. C tor: core/mainloop/,
//! feature/dirclient/.

pub mod bootstrap;
pub mod budget;
pub mod isolation;
pub mod junction;
pub mod links;
mod progress;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use self::bootstrap::{Bootstrap, FetchNo, Order};
use self::junction::{Junction, LinkNo, Reader, Report, TunnelNo};
use self::links::{Goal, Links, Step};
pub use self::progress::Progress;
use crate::base::RelayIds;
use crate::base::random::Entropy;
use crate::base::time::{Now, Tick, earlier};
use crate::circuit::Output as TunnelOutput;
use crate::circuit::hop::{Handshake, HopNo, PathHop, StreamAt};
use crate::directory::NetDir;
use crate::link::identity::LeafDigest;
use crate::link::padding::Timing;
use crate::wire::extend::Target;

/// How long a circuit of one hop to a directory may take. C tor: the initial timeout of
/// circuits, which is for three.
const ONE_HOP_LIMIT: Duration = Duration::from_secs(60);

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
    },
    /// Close that connection.
    HangUp(LinkNo),
    /// It got so far.
    Progress(Progress),
}

/// A client.
pub struct Client {
    bootstrap: Bootstrap,
    links: Links,
    junction: Junction,
    directories: BTreeMap<TunnelNo, Errand>,
    next_tunnel: u32,
    timing: Timing,
    /// What was last told of how far it is.
    told: Progress,
    outputs: VecDeque<Output>,
}

/// A tunnel to a directory, and what it is for.
struct Errand {
    link: LinkNo,
    fetch: FetchNo,
    /// The stream of the request, once the tunnel is there.
    stream: Option<StreamAt>,
    /// Of the request, what is still to be written.
    unsent: Vec<u8>,
}

/// Takes the answers of directories while a read of a link is worked on.
struct Answers<'a> {
    errands: &'a BTreeMap<TunnelNo, Errand>,
    bootstrap: &'a mut Bootstrap,
    now: Now,
    /// What was taken, and whether more is wanted.
    taken: Vec<(TunnelNo, StreamAt, usize, bool)>,
}

impl Reader for Answers<'_> {
    fn data(&mut self, tunnel: TunnelNo, stream: StreamAt, bytes: &[u8]) {
        let Some(errand) = self.errands.get(&tunnel) else { return };
        let goes_on = self.bootstrap.handle_bytes(errand.fetch, bytes, self.now);
        self.taken.push((tunnel, stream, bytes.len(), goes_on));
    }
}

impl Client {
    /// A client that knows nothing yet.
    pub fn new(wish: bootstrap::Wish) -> Client {
        Client {
            bootstrap: Bootstrap::new(wish),
            links: Links::default(),
            junction: Junction::new(),
            directories: BTreeMap::new(),
            next_tunnel: 0,
            timing: Timing::default(),
            told: Progress::Starting,
            outputs: VecDeque::new(),
        }
    }

    /// The directory, once there is one.
    pub fn dir(&self) -> Option<&NetDir> {
        self.bootstrap.dir()
    }

    /// Begins, and goes on: whatever is wanted now is asked for. To be called once at the start.
    pub fn start(&mut self, now: Now, entropy: &mut dyn Entropy) {
        self.pursue(now, entropy);
    }

    /// A connection is up, and its TLS showed `leaf`.
    pub fn handle_dialled(&mut self, link: LinkNo, leaf: LeafDigest, now: Now) {
        let Some((wanted, address)) = self.links.goal(link) else {
            return self.outputs.push_back(Output::HangUp(link));
        };
        self.links.on_dialled(link);
        self.reach(Progress::Handshake);
        self.junction.add_link(link, wanted, leaf, address.ip(), self.timing, now);
    }

    /// A connection is gone, or never came to be.
    pub fn handle_closed(&mut self, link: LinkNo, now: Now, entropy: &mut dyn Entropy) {
        let was_dialled = self.junction.link_mut(link).is_some();
        self.junction.drop_link(link);
        let next = if was_dialled { None } else { self.links.on_dial_failed(link, now.tick) };
        match next {
            Some(to) => self.outputs.push_back(Output::Dial { link, to }),
            None => self.give_up(link, now, entropy),
        }
        self.work(now, entropy);
    }

    /// A buffer for the next read of a link.
    pub fn begin_read(&mut self, link: LinkNo) -> Vec<u8> {
        self.junction.begin_read(link)
    }

    /// Takes what a read brought.
    pub fn handle_read(&mut self, link: LinkNo, buffer: Vec<u8>, now: Now, entropy: &mut dyn Entropy) {
        let mut answers =
            Answers { errands: &self.directories, bootstrap: &mut self.bootstrap, now, taken: Vec::new() };
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
        self.work(now, entropy);
        bytes
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Client::handle_timeout`].
    pub fn next_deadline(&self, now: Now) -> Option<Tick> {
        let own = earlier(self.bootstrap.next_deadline(now), self.links.next_deadline());
        earlier(own, self.junction.next_deadline())
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Now, entropy: &mut dyn Entropy) {
        self.bootstrap.stir();
        self.junction.handle_timeout(now, entropy);
        for link in self.links.overdue(now.tick) {
            self.outputs.push_back(Output::HangUp(link));
            match self.links.on_dial_failed(link, now.tick) {
                Some(to) => self.outputs.push_back(Output::Dial { link, to }),
                None => self.give_up(link, now, entropy),
            }
        }
        for fetch in self.bootstrap.stalled(now.tick) {
            let tunnel = self.directories.iter().find(|(_, errand)| errand.fetch == fetch).map(|(no, _)| *no);
            match tunnel {
                Some(tunnel) => self.fail_errand(tunnel, now, entropy),
                None => self.bootstrap.handle_failure(fetch, now, entropy),
            }
        }
        let junction = &self.junction;
        for link in self.links.idle(|link| junction.tunnels_on(link) > 0, now.tick) {
            self.let_go(link);
        }
        self.work(now, entropy);
    }

    // --- what happened -------------------------------------------------------------------

    /// Works off all that links and tunnels have come to, and goes on.
    fn work(&mut self, now: Now, entropy: &mut dyn Entropy) {
        while let Some(report) = self.junction.poll_report() {
            match report {
                Report::LinkUp(link, _) => {
                    self.links.on_up(link);
                    self.reach(Progress::OneHop);
                }
                Report::LinkDown(link, _) => {
                    self.outputs.push_back(Output::HangUp(link));
                    self.give_up(link, now, entropy);
                }
                Report::Tunnel(tunnel, output) => self.on_tunnel(tunnel, output, now, entropy),
            }
        }
        self.pursue(now, entropy);
        let progress = self.bootstrap.progress();
        if progress > self.told {
            self.told = progress;
            self.outputs.push_back(Output::Progress(progress));
        }
    }

    fn on_tunnel(&mut self, no: TunnelNo, output: TunnelOutput, now: Now, entropy: &mut dyn Entropy) {
        match output {
            TunnelOutput::Built { .. } => self.ask(no, now, entropy),
            TunnelOutput::Writable { .. } => self.write_on(no),
            TunnelOutput::Ended { .. } => self.conclude(no, now, entropy),
            TunnelOutput::Closed { .. } => self.fail_errand(no, now, entropy),
            _ => {}
        }
    }

    /// The circuit to a directory is there: sends the request.
    fn ask(&mut self, no: TunnelNo, now: Now, entropy: &mut dyn Entropy) {
        let request = self.directories.get(&no).and_then(|errand| self.bootstrap.request(errand.fetch, now.wall));
        let stream = self.junction.tunnel_mut(no).and_then(|tunnel| tunnel.begin_dir(HopNo(0), entropy).ok());
        match (self.directories.get_mut(&no), request, stream) {
            (Some(errand), Some(request), Some(stream)) => {
                errand.stream = Some(stream);
                errand.unsent = request.into_bytes();
                self.reach(Progress::RequestingStatus);
                self.write_on(no);
            }
            _ => self.fail_errand(no, now, entropy),
        }
    }

    fn write_on(&mut self, no: TunnelNo) {
        let Some(errand) = self.directories.get_mut(&no) else { return };
        let (Some(stream), Some(tunnel)) = (errand.stream, self.junction.tunnel_mut(no)) else { return };
        let taken = tunnel.handle_write(stream, &errand.unsent);
        errand.unsent.drain(..taken);
    }

    /// The answer of a directory is over.
    fn conclude(&mut self, no: TunnelNo, now: Now, entropy: &mut dyn Entropy) {
        if let Some(errand) = self.directories.remove(&no) {
            self.junction.drop_tunnel(no, now);
            // Whose fault it was is remembered; what is still wanted is asked for again.
            let _ = self.bootstrap.handle_end(errand.fetch, now, entropy);
        }
    }

    /// A directory could not be asked, or broke off.
    fn fail_errand(&mut self, no: TunnelNo, now: Now, entropy: &mut dyn Entropy) {
        if let Some(errand) = self.directories.remove(&no) {
            self.junction.drop_tunnel(no, now);
            self.bootstrap.handle_failure(errand.fetch, now, entropy);
        }
    }

    /// A link is gone, or will never be.
    fn give_up(&mut self, link: LinkNo, now: Now, entropy: &mut dyn Entropy) {
        self.links.on_down(link);
        let on_it = |errand: &Errand| errand.link == link;
        let errands: Vec<_> = self.directories.iter().filter(|(_, errand)| on_it(errand)).map(|(no, _)| *no).collect();
        errands.into_iter().for_each(|tunnel| self.fail_errand(tunnel, now, entropy));
    }

    fn let_go(&mut self, link: LinkNo) {
        self.links.on_down(link);
        self.junction.drop_link(link);
        self.outputs.push_back(Output::HangUp(link));
    }

    fn reach(&mut self, step: Progress) {
        self.bootstrap.on_step(step);
    }

    // --- what is wanted ------------------------------------------------------------------

    fn pursue(&mut self, now: Now, entropy: &mut dyn Entropy) {
        for Order { fetch, goal } in self.bootstrap.orders(now, entropy) {
            if !self.run_errand(fetch, &goal, now, entropy) {
                self.bootstrap.handle_failure(fetch, now, entropy);
            }
        }
    }

    fn run_errand(&mut self, fetch: FetchNo, goal: &Goal, now: Now, entropy: &mut dyn Entropy) -> bool {
        let link = match self.links.want(goal, now.tick) {
            Some(Step::Wait(link)) => link,
            Some(Step::Dial(link, to)) => {
                self.reach(Progress::Connecting);
                self.outputs.push_back(Output::Dial { link, to });
                link
            }
            None => return false,
        };
        let no = TunnelNo(self.next_tunnel);
        self.next_tunnel = self.next_tunnel.wrapping_add(1);
        let path = vec![PathHop { target: target(goal.ids), handshake: Handshake::Fast }];
        let is_added = self.junction.add_tunnel(no, link, path, now.tick + ONE_HOP_LIMIT, entropy).is_ok();
        if is_added {
            self.directories.insert(no, Errand { link, fetch, stream: None, unsent: Vec::new() });
        }
        is_added
    }
}

/// A first hop is reached by its link: nobody is told where it is.
fn target(ids: RelayIds) -> Target {
    Target { ids, ..Target::default() }
}
