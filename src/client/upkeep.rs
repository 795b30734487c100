//! Upkeep: what is looked at whenever something has changed, and when a time is over.
//!
//! What has taken too long is given up, requests that wait get circuits, and circuits are
//! begun for them or ahead of them. What may be done is `circuits.rs`'s and `streams.rs`'s to
//! say; here it is done. Called by `mod.rs`. Spec: path-spec, "Building circuits", "Attaching
//! streams to circuits". C tor: `circuit_build_needed_circs`,
//! `connection_ap_handshake_attach_circuit`.

use core::net::IpAddr;
use core::time::Duration;

use super::budget::Awaited;
use super::circuits::{Demand, End, New, Refusal};
use super::events::{CircuitReason, CircuitStatus, Event, Mask, Purpose, StreamStatus};
use super::junction::{LinkNo, TunnelNo};
use super::links::Goal;
use super::notices::Notice;
use super::streams::{Exit, Request, State};
use super::{Client, Failure, Output, Progress, RequestNo, What, world};
use crate::base::RelayIds;
use crate::base::random::Entropy;
use crate::base::time::{Now, Tick, earlier};
use crate::circuit::hop::{Handshake, HopNo, PathHop};
use crate::directory::Protocol;
use crate::directory::params::Param;
use crate::path::{self, Hop, Need, Path};
use crate::wire::extend::Target;
use crate::wire::relay_msg::BeginFlags;

/// No circuit is being built for longer, whatever was learned; ours.
pub(super) const BUILD_LIMIT: Duration = Duration::from_secs(300);
/// What an exit is told of IPv6.
const IPV6: BeginFlags = BeginFlags(BeginFlags::IPV6_OK.0 | BeginFlags::IPV6_PREFERRED.0);
/// The version of `Relay` from which on a relay knows ntor-v3.
const RELAY_NTOR_V3: u8 = 4;

/// Which requests may find more than when they were last looked at. All that wait are looked at
/// beside all circuits only when there is no telling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hope {
    /// Those that came since.
    #[default]
    New,
    /// Those that wait for one of the circuits that are open since, or for one to be begun.
    Circuits,
    /// All.
    All,
}

impl Client {
    /// Looks at requests and circuits; at circuits as such only if something became of them, or
    /// their time is over.
    pub(super) fn look(&mut self, has_changed: bool, now: Now, entropy: &mut dyn Entropy) {
        self.meet_directory(now, entropy);
        if has_changed {
            self.expire(now, entropy);
            self.leave_idle(now);
        }
        if self.can_build && self.bootstrap.is_live(now.wall) && !self.bootstrap.is_too_old() {
            self.serve(now, entropy);
            if self.setup.config.circuits.are_built_ahead && !self.is_dormant(now.tick) {
                self.build_ahead(now, entropy);
            }
        }
    }

    /// Tells guards of a new directory, and finds out whether it is enough to build with.
    pub(super) fn meet_directory(&mut self, now: Now, entropy: &mut dyn Entropy) {
        let Some(world) = world(&self.bootstrap, &self.setup, now) else { return };
        let valid_after = world.dir.consensus().lifetime().valid_after;
        let known = (valid_after, self.bootstrap.answers());
        if self.known == Some(known) && !self.is_placed_anew {
            return;
        }
        let is_new = self.known.is_none_or(|(before, _)| before != valid_after);
        if self.setup.wishes.need_countries() {
            if self.placed.replace(valid_after) != Some(valid_after) {
                self.outputs.push_back(Output::FindCountries(world.dir.places()));
            }
            if !world.dir.has_countries() {
                return;
            }
        }
        let mut left_out = None;
        if core::mem::take(&mut self.is_placed_anew) || is_new {
            self.pool.on_directory(&world, entropy);
            left_out = self.pool.left_out(&world);
        }
        if is_new {
            self.events.say(Mask::NETWORK, || Some(Event::Consensus(valid_after)));
        }
        self.known = Some(known);
        self.hope = Hope::All;
        let is_enough = self.pool.check(&world).is_ok();
        if core::mem::replace(&mut self.can_build, is_enough) != is_enough {
            self.events.say(Mask::NETWORK, || Some(Event::Enough(is_enough)));
        }
        let without = self.pool.without(&world);
        left_out.into_iter().for_each(|percent| self.bootstrap.note(Notice::StandsOut(percent)));
        without.into_iter().for_each(|place| self.bootstrap.note(Notice::Nobody(place)));
        if self.can_build {
            self.bootstrap.on_enough();
            self.tell();
        }
        if is_new {
            self.set_padding(now);
        }
    }

    /// Gives up what has taken too long.
    pub(super) fn expire(&mut self, now: Now, entropy: &mut dyn Entropy) {
        self.find_silent(now, entropy);
        for (no, tunnel, at, since) in self.streams.unanswered(&self.setup.config.circuits, now.tick) {
            self.pool.retire(tunnel);
            self.ask_again(no, tunnel, at, now);
            if let Some(link) = self.pool.get(tunnel).map(|circuit| circuit.link) {
                self.on_unanswered(link, since, now, entropy);
            }
        }
        for no in self.streams.expired(self.setup.config.requests.timeout, now.tick) {
            self.fail(no, Failure::TimedOut, now);
        }
        for no in self.pool.unbegun() {
            if let Some(begun) = self.junction.tunnel(no).and_then(|tunnel| tunnel.begun()) {
                self.pool.on_begun(no, begun);
            }
        }
        let over = world(&self.bootstrap, &self.setup, now).map(|world| self.pool.tidy(&world));
        if self.pool.has_late() {
            self.stir_for(Hope::Circuits);
        }
        self.pool.take_upgraded().into_iter().for_each(|no| self.on_open(no));
        for (no, end) in over.into_iter().flatten() {
            let why = match (end, self.pool.get(no).map(|circuit| circuit.purpose())) {
                (End::TooSlow, Some(Purpose::Measured)) => CircuitReason::MeasurementExpired,
                (End::TooSlow, _) | (_, Some(Purpose::Probed)) => CircuitReason::TimedOut,
                _ => CircuitReason::Finished,
            };
            self.release_circuit(no, end, why, now, entropy);
        }
    }

    /// Puts requests on circuits, or begins circuits for them.
    pub(super) fn serve(&mut self, now: Now, entropy: &mut dyn Entropy) {
        let (hope, opened) = (core::mem::take(&mut self.hope), core::mem::take(&mut self.opened));
        let new = self.streams.take_new();
        if hope == Hope::All {
            for no in self.streams.waiting().to_vec() {
                self.attach_to_best(no, now, entropy);
            }
        } else {
            opened.into_iter().for_each(|tunnel| self.fill(tunnel, now, entropy));
            for no in &new {
                self.attach_to_best(*no, now, entropy);
            }
        }
        let waiting = match hope {
            Hope::New => new.into_iter().collect(),
            Hope::Circuits | Hope::All => self.streams.waiting().to_vec(),
        };
        self.begin_for_all(&waiting, now, entropy);
    }

    /// Puts those that wait on a circuit that is open now, as far as it takes them: nothing else
    /// that is open does, or they would not wait.
    fn fill(&mut self, tunnel: TunnelNo, now: Now, entropy: &mut dyn Entropy) {
        for no in self.streams.waiting().to_vec() {
            let Some(world) = world(&self.bootstrap, &self.setup, now) else { return };
            let Some(request) = self.streams.get(no).filter(|request| !request.is_held) else { continue };
            let demand = request.demand(&self.setup.config.circuits);
            if self.pool.takes(tunnel, &demand, &world) && !self.attach(no, tunnel, None, now, entropy) {
                return;
            }
        }
    }

    /// Begins circuits for those of these that wait and for which none is coming, in this order,
    /// as many as may be begun.
    fn begin_for_all(&mut self, requests: &[RequestNo], now: Now, entropy: &mut dyn Entropy) {
        let mut coming = self.pool.coming();
        for no in requests {
            let Some(world) = world(&self.bootstrap, &self.setup, now) else { return };
            let waits = |request: &&Request| request.state == State::Waiting && !request.is_held;
            let Some(request) = self.streams.get(*no).filter(waits) else { continue };
            let demand = request.demand(&self.setup.config.circuits);
            if self.pool.reserve(&coming, &demand, &world) {
                continue;
            }
            match self.pool.plan_for(&demand, &world, entropy) {
                Ok(path) => coming.extend(self.begin_for(*no, path, now, entropy)),
                Err(Refusal::Path(path::Error::NoExit)) => {
                    let failure = request.failure_without_exits();
                    // With any exit it is looked at again.
                    match self.streams.get_mut(*no).is_some_and(Request::may_leave_exit) {
                        true => self.stir(),
                        false => self.fail(*no, failure, now),
                    }
                }
                Err(Refusal::Path(_)) => return self.pool.on_no_path(now.tick, entropy),
                Err(Refusal::NotBefore(_) | Refusal::Busy) => return,
            }
        }
    }

    /// Sends a request out by the best circuit that has room for it, if there is any.
    fn attach_to_best(&mut self, no: RequestNo, now: Now, entropy: &mut dyn Entropy) -> bool {
        while let Some(world) = world(&self.bootstrap, &self.setup, now)
            && let Some(request) = self.streams.get(no).filter(|it| it.state == State::Waiting && !it.is_held)
            && let Some(tunnel) = self.pool.find(&request.demand(&self.setup.config.circuits), &world)
        {
            if self.attach(no, tunnel, None, now, entropy) {
                return true;
            }
        }
        false
    }

    /// Sends a request out by a circuit, from its last hop or from that one. If the circuit is
    /// full, it takes no more: then false.
    pub(super) fn attach(
        &mut self,
        no: RequestNo,
        tunnel_no: TunnelNo,
        hop: Option<HopNo>,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> bool {
        let (Some(request), Some(tunnel)) = (self.streams.get(no), self.junction.tunnel_mut(tunnel_no)) else {
            self.pool.retire(tunnel_no);
            return false;
        };
        // C tor: only an exit that can is told that it may.
        let exit = hop.unwrap_or(HopNo(u8::try_from(tunnel.hop_count().saturating_sub(1)).unwrap_or(u8::MAX)));
        let last = self.pool.get(tunnel_no).and_then(|circuit| circuit.path.hops.get(usize::from(exit.0))?.ids.rsa);
        let relay = self.bootstrap.dir().zip(last).and_then(|(dir, last)| dir.by_rsa_id(&last));
        let does_ipv6 = |port| relay.is_some_and(|relay| relay.policy6().is_some_and(|policy| policy.allows(port)));
        let stream = match &request.wish.what {
            What::Connect { host, port, flags, .. } => {
                let flags = if does_ipv6(*port) { *flags } else { flags.without(IPV6) };
                tunnel.begin(exit, host.as_str(), *port, flags, true, entropy)
            }
            What::Resolve(name, _) => tunnel.resolve(exit, name.as_str(), entropy),
            What::ResolvePtr(ip) => tunnel.resolve(exit, &reverse_name(*ip), entropy),
        };
        // That the message is too long is no way to fail: no `Host` is.
        let Ok(at) = stream else {
            self.pool.retire(tunnel_no);
            return false;
        };
        if let (Some(world), demand) =
            (world(&self.bootstrap, &self.setup, now), request.demand(&self.setup.config.circuits))
        {
            self.pool.on_attached(tunnel_no, &demand, request.wish.keeps_alive, &world);
        }
        if let Some(link) = self.pool.get(tunnel_no).map(|circuit| circuit.link) {
            self.engage_padding(link, true, now);
        }
        self.track(no, last, now);
        self.streams.on_asked(no, tunnel_no, at, now.tick);
        self.say_stream(no, StreamStatus::Sent);
        self.flush(no, now);
        true
    }

    fn begin_for(&mut self, no: RequestNo, path: Path, now: Now, entropy: &mut dyn Entropy) -> Option<TunnelNo> {
        self.count_try(no);
        let request = self.streams.get(no)?;
        // What is asked of a circuit may not borrow from those who ask while it is begun.
        let demand = request.demand(&self.setup.config.circuits);
        let (facts, fields, avoided) = (demand.facts.clone(), demand.fields, demand.avoided.clone());
        let (target, is_stable, only) = (demand.target, demand.is_stable, demand.only);
        let demand = Demand { target, is_stable, only, avoided: &avoided, facts: &facts, fields };
        self.begin_circuit(path, is_stable, Purpose::General, Some(&demand), now, entropy)
    }

    /// A circuit is begun to the exit that a host was asked by before; if that goes on, it is of no
    /// use any more.
    fn count_try(&mut self, no: RequestNo) {
        let exit = self.streams.get_mut(no).and_then(|request| request.exit.as_mut());
        let Some(Exit { id, tries_left: Some(left) }) = exit else { return };
        *left = left.saturating_sub(1);
        if *left == 0 {
            let id = *id;
            self.tracks.forget(&id);
            self.streams.leave_exit(&id);
        }
    }

    pub(super) fn build_ahead(&mut self, now: Now, entropy: &mut dyn Entropy) {
        while let Some(world) = world(&self.bootstrap, &self.setup, now)
            && let Some(need) = self.pool.foresee(&world)
        {
            let is_stable = matches!(need, Need::Exit { is_stable: true, .. });
            match self.pool.plan(&need, Awaited::Later, &world, entropy) {
                Ok(path) => {
                    self.begin_circuit(path, is_stable, Purpose::General, None, now, entropy);
                }
                Err(Refusal::Path(path::Error::NoExit)) if self.pool.forget_ports(&need) => {}
                Err(Refusal::Path(_)) => return self.pool.on_no_path(now.tick, entropy),
                Err(Refusal::NotBefore(_) | Refusal::Busy) => return,
            }
        }
    }

    pub(super) fn begin_circuit(
        &mut self,
        path: Path,
        is_stable: bool,
        purpose: Purpose,
        demand: Option<&Demand<'_>>,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Option<TunnelNo> {
        let Some((no, link)) = self.build_over(&path, now, entropy) else {
            path.guard.inspect(|choice| self.pool.guards.on_cancelled(&choice.id));
            return None;
        };
        self.set_answers(no);
        if let Some(world) = world(&self.bootstrap, &self.setup, now) {
            self.pool.add(no, New { path, link, is_stable, purpose, demand }, &world);
        }
        self.say_circuit(no, CircuitStatus::Launched);
        Some(no)
    }

    /// A tunnel over these hops, and its link, if both can be had.
    fn build_over(&mut self, path: &Path, now: Now, entropy: &mut dyn Entropy) -> Option<(TunnelNo, LinkNo)> {
        let first = path.hops.first()?;
        let link = self.link_to(Goal::direct(first.ids, vec![path.address]), now)?;
        let is_up = self.links.is_up(link);
        let step = if is_up { Progress::CircuitCreate } else { Progress::CircuitConnecting };
        self.reach([Progress::Starting, step]);
        let with_ed25519 = self.extends_by_ed25519();
        let hops = path.hops.iter().map(|hop| path_hop(hop, with_ed25519)).collect();
        let no = self.next_tunnel();
        self.junction.add_tunnel(no, link, hops, now.tick + BUILD_LIMIT, entropy).ok()?;
        Some((no, link))
    }

    /// Whether relays are told the next one's Ed25519 key.
    pub(super) fn extends_by_ed25519(&self) -> bool {
        self.setup.extends_by_ed25519(self.dir().map(|dir| dir.consensus().params()))
    }

    pub(super) fn when_to_look(&mut self, now: Now) -> Option<Tick> {
        let config = &self.setup.config;
        let streams = self.streams.next_deadline(config.requests.timeout, &config.circuits, now.tick);
        let pool = world(&self.bootstrap, &self.setup, now).and_then(|world| self.pool.next_deadline(&world));
        earlier(earlier(streams, pool), self.next_silent())
    }

    pub(super) fn available_timeout(&self) -> Duration {
        let circuits = &self.setup.config.circuits;
        let params = self.dir().map(|dir| dir.consensus().params().unsigned(Param::NfConntimeoutClients));
        let usual = Duration::from_secs(params.unwrap_or(1800).into());
        let usual = if self.setup.config.links.reduced_padding { usual / 2 } else { usual };
        circuits.available_timeout.unwrap_or(usual)
    }
}

/// How a relay of a path is reached and proved. C tor: Ed25519 identities are in EXTEND2 only
/// if the consensus wants them to be.
pub(super) fn path_hop(hop: &Hop, with_ed25519: bool) -> PathHop {
    let speaks_v3 = hop.protocols.supports(Protocol::Relay, RELAY_NTOR_V3) && hop.ids.ed25519.is_some();
    let handshake = match hop.ntor {
        Some(key) if speaks_v3 => Handshake::NtorV3(key),
        Some(key) => Handshake::Ntor(key),
        None => Handshake::Fast,
    };
    let ed25519 = hop.ids.ed25519.filter(|_| with_ed25519 || speaks_v3);
    let ids = RelayIds { ed25519, ..hop.ids };
    PathHop { target: Target { ids, ipv4: hop.ipv4, ipv6: hop.ipv6 }, handshake }
}

/// The name under which an address is looked up. Spec: tor-spec, "Remote hostname lookup".
fn reverse_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().rev().flat_map(|octet| [octet & 0xF, octet >> 4]);
            let labels: String = nibbles.map(|nibble| format!("{nibble:x}.")).collect();
            format!("{labels}ip6.arpa")
        }
    }
}
