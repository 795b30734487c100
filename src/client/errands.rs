//! Errands: asking directories, each over a tunnel of one hop that is there for it alone.
//!
//! What is asked, and what the answers mean, is `bootstrap.rs`'s; here is how the question
//! gets there: to a guard once there are any, and before that to whoever the order names.
//! Called by `mod.rs`. Spec: dir-spec, "Downloading information from caches"; tor-spec,
//! "Opening a directory stream". C tor: feature/dirclient/dirclient.c.

use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::bootstrap::{FetchNo, Order};
use super::budget::Awaited;
use super::circuits::Refusal;
use super::events::{CircuitReason, CircuitStatus, StreamReason, StreamStatus};
use super::junction::{LinkNo, TunnelNo};
use super::links::Goal;
use super::streams::RequestNo;
use super::{Client, Progress, world};
use crate::base::random::Entropy;
use crate::base::time::{Now, Wall};
use crate::base::{RelayIds, RsaId};
use crate::circuit::Output;
use crate::circuit::hop::{Handshake, HopNo, PathHop, StreamAt};
use crate::path::guards::Choice;
use crate::path::{Hop, Need, Path};
use crate::wire::extend::Target;
use crate::wire::relay_msg::EndReason;

/// How long a circuit of one hop to a directory may take. C tor: the initial timeout of
/// circuits, which is for three.
const ONE_HOP_LIMIT: Duration = Duration::from_secs(60);

/// A tunnel to a directory, and what it is for.
pub(super) struct Errand {
    pub link: LinkNo,
    pub fetch: FetchNo,
    /// What its stream is called, and when it was begun.
    stream_no: RequestNo,
    created: Wall,
    directory: Option<RsaId>,
    is_built: bool,
    /// The guard that is asked, if it is one, until it has answered.
    guard: Option<Choice>,
    /// The stream of the request, once the tunnel is there.
    stream: Option<StreamAt>,
    /// Of the request, what is still to be written.
    unsent: Vec<u8>,
}

impl Errand {
    pub fn stream_no(&self) -> RequestNo {
        self.stream_no
    }

    pub fn created(&self) -> Wall {
        self.created
    }

    /// Who is asked, as far as that is known.
    pub fn guard_id(&self) -> Option<RsaId> {
        self.directory
    }

    /// Whether its circuit is there.
    pub fn is_built(&self) -> bool {
        self.is_built
    }
}

impl Client {
    pub(super) fn on_errand(&mut self, no: TunnelNo, output: Output, now: Now, entropy: &mut dyn Entropy) {
        match output {
            Output::HopBuilt { .. } => {
                self.on_progress(no, now);
                if let Some(errand) = self.directories.get_mut(&no) {
                    errand.is_built = true;
                    let (link, begun) = (errand.link, self.junction.tunnel(no).and_then(|tunnel| tunnel.begun()));
                    self.on_first_hop(link, begun, now);
                }
                self.say_circuit(no, CircuitStatus::Extended);
            }
            Output::Built { .. } => {
                self.say_circuit(no, CircuitStatus::Built);
                self.ask(no, now, entropy);
            }
            Output::Connected { .. } => {
                self.on_progress(no, now);
                self.say_errand(no, StreamStatus::Succeeded);
            }
            Output::Writable { .. } => self.write_on(no),
            Output::Ended { .. } => self.conclude(no, now, entropy),
            Output::Closed { error, .. } => self.drop_errand(no, error.into(), now, entropy),
            _ => {}
        }
    }

    /// The circuit to a directory is there: sends the request.
    pub(super) fn ask(&mut self, no: TunnelNo, now: Now, entropy: &mut dyn Entropy) {
        let guard = self.directories.get_mut(&no).and_then(|errand| errand.guard.take());
        if let (Some(choice), Some(world)) = (guard, world(&self.bootstrap, &self.setup, now)) {
            self.pool.on_guard(&choice, &world, entropy);
        }
        let request = self.directories.get(&no).and_then(|errand| self.bootstrap.request(errand.fetch, now.wall));
        let stream = self.junction.tunnel_mut(no).and_then(|tunnel| tunnel.begin_dir(HopNo(0), entropy).ok());
        match (self.directories.get_mut(&no), request, stream) {
            (Some(errand), Some(request), Some(stream)) => {
                errand.stream = Some(stream);
                errand.unsent = request.into_bytes();
                self.bootstrap.on_step(Progress::RequestingStatus);
                self.say_errand(no, StreamStatus::New);
                self.say_errand(no, StreamStatus::Sent);
                self.write_on(no);
            }
            _ => self.fail_errand(no, now, entropy),
        }
    }

    pub(super) fn write_on(&mut self, no: TunnelNo) {
        let Some(errand) = self.directories.get_mut(&no) else { return };
        let (Some(stream), Some(tunnel)) = (errand.stream, self.junction.tunnel_mut(no)) else { return };
        let taken = tunnel.handle_write(stream, &errand.unsent);
        errand.unsent.drain(..taken);
    }

    /// The answer of a directory is over.
    pub(super) fn conclude(&mut self, no: TunnelNo, now: Now, entropy: &mut dyn Entropy) {
        self.say_errand(no, StreamStatus::Closed(StreamReason::Ours(EndReason::DONE)));
        self.say_circuit(no, CircuitStatus::Closed(CircuitReason::Finished));
        if let Some(errand) = self.directories.remove(&no) {
            self.junction.drop_tunnel(no, now);
            // Whose fault it was is remembered; what is still wanted is asked for again.
            let _ = self.bootstrap.handle_end(errand.fetch, now, entropy);
            self.stir();
        }
    }

    /// A directory could not be asked, or broke off.
    pub(super) fn fail_errand(&mut self, no: TunnelNo, now: Now, entropy: &mut dyn Entropy) {
        self.drop_errand(no, CircuitReason::Finished, now, entropy);
    }

    /// Nobody wants the answer any more, and nobody is to blame.
    pub(super) fn cancel_errand(&mut self, no: TunnelNo, now: Now) {
        let was_built = self.directories.get(&no).is_some_and(Errand::is_built);
        let why = CircuitReason::Requested;
        self.say_circuit(no, if was_built { CircuitStatus::Closed(why) } else { CircuitStatus::Failed(why) });
        if let Some(errand) = self.directories.remove(&no) {
            self.junction.drop_tunnel(no, now);
            errand.guard.inspect(|choice| self.pool.guards.on_cancelled(&choice.id));
            self.bootstrap.handle_cancelled(errand.fetch);
        }
    }

    /// Nobody wants what a directory was asked for any more.
    pub(super) fn cancel_fetch(&mut self, fetch: FetchNo, now: Now) {
        let tunnel = self.directories.iter().find(|(_, errand)| errand.fetch == fetch).map(|(no, _)| *no);
        tunnel.into_iter().for_each(|no| self.cancel_errand(no, now));
    }

    /// Which go by a link.
    pub(super) fn errands_on(&self, link: LinkNo) -> Vec<TunnelNo> {
        self.directories.iter().filter(|(_, errand)| errand.link == link).map(|(no, _)| *no).collect()
    }

    /// Whoever goes by a link comes on.
    pub(super) fn on_alive(&mut self, link: LinkNo, now: Now) {
        for errand in self.directories.values().filter(|errand| errand.link == link) {
            self.bootstrap.on_alive(errand.fetch, now.tick);
        }
    }

    fn on_progress(&mut self, no: TunnelNo, now: Now) {
        if let Some(errand) = self.directories.get(&no) {
            self.bootstrap.on_alive(errand.fetch, now.tick);
        }
    }

    fn drop_errand(&mut self, no: TunnelNo, why: CircuitReason, now: Now, entropy: &mut dyn Entropy) {
        let Some(errand) = self.directories.get(&no) else { return };
        if errand.stream.is_some() {
            self.say_errand(no, StreamStatus::Closed(StreamReason::Ours(EndReason::DESTROY)));
        }
        let was_built = self.directories.get(&no).is_some_and(Errand::is_built);
        self.say_circuit(no, if was_built { CircuitStatus::Closed(why) } else { CircuitStatus::Failed(why) });
        if let Some(errand) = self.directories.remove(&no) {
            self.junction.drop_tunnel(no, now);
            match (errand.guard, why) {
                // C tor: a DESTROY from the guard says that it lives.
                (Some(choice), CircuitReason::Destroyed(_)) => self.pool.guards.on_cancelled(&choice.id),
                (Some(choice), _) => self.pool.guards.on_failure(&choice.id, now.tick),
                (None, _) => {}
            }
            self.bootstrap.handle_failure(errand.fetch, now, entropy);
            self.stir();
        }
    }

    pub(super) fn run_errand(&mut self, order: Order, now: Now, entropy: &mut dyn Entropy) {
        let Order { fetch, goal, avoided } = order;
        let (goal, guard, handshake) = match self.directory_guard(avoided, now, entropy) {
            // Only where there is no guard to ask is anybody else told that we are here.
            Some(Err(Refusal::NotBefore(until))) => return self.bootstrap.postpone(fetch, until),
            Some(Ok(path)) => {
                let first = path.hops.first().copied();
                let ids = first.map_or(goal.ids, |hop| hop.ids);
                let goal = Goal::direct(ids, vec![path.address]);
                self.bootstrap.redirect(fetch, goal.clone());
                (goal, path.guard, first.map_or(Handshake::Fast, |hop| one_hop(&hop)))
            }
            Some(Err(_)) | None => {
                if let Some(directory) = goal.ids.rsa {
                    self.pool.on_errand(&directory, self.bootstrap.dir(), now.tick);
                }
                (goal, None, Handshake::Fast)
            }
        };
        self.bootstrap.on_step(Progress::Connecting);
        let Some(link) = self.link_to(goal.clone(), now) else {
            guard.inspect(|choice| self.pool.guards.on_cancelled(&choice.id));
            return self.bootstrap.handle_failure(fetch, now, entropy);
        };
        let no = self.next_tunnel();
        let path = vec![PathHop { target: target(goal.ids), handshake }];
        if self.junction.add_tunnel(no, link, path, now.tick + ONE_HOP_LIMIT, entropy).is_ok() {
            let (stream_no, created, directory) = (RequestNo(self.ids.next()), now.wall, goal.ids.rsa);
            let (stream, unsent, is_built) = (None, Vec::new(), false);
            let errand = Errand { link, fetch, stream_no, created, directory, is_built, guard, stream, unsent };
            self.directories.insert(no, errand);
            self.say_circuit(no, CircuitStatus::Launched);
        } else {
            guard.inspect(|choice| self.pool.guards.on_cancelled(&choice.id));
            self.bootstrap.handle_failure(fetch, now, entropy);
        }
    }

    /// A guard to ask, once there are any. C tor: `guards_choose_dirguard`.
    fn directory_guard(
        &mut self,
        avoided: BTreeSet<RsaId>,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Option<Result<Path, Refusal>> {
        self.meet_directory(now, entropy);
        if !self.bootstrap.is_live(now.wall) {
            return None;
        }
        let world = world(&self.bootstrap, &self.setup, now)?;
        let need = Need::Directory { outdated: Arc::new(avoided) };
        Some(self.pool.plan(&need, Awaited::Now, &world, entropy))
    }
}

/// A first hop is reached by its link: nobody is told where it is.
fn target(ids: RelayIds) -> Target {
    Target { ids, ..Target::default() }
}

/// The handshake with a relay that is to be the only hop. C tor: `should_use_create_fast_for_circuit`.
fn one_hop(hop: &Hop) -> Handshake {
    hop.ntor.map_or(Handshake::Fast, Handshake::Ntor)
}
