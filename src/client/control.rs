//! What a controller decides in the client's place: which relays a circuit goes over and what it
//! is for, which circuit a stream gets and at which hop it leaves, where it goes, and when
//! either is over.
//!
//! Inputs like all others: what becomes of them is seen by events. Not the language that
//! controllers speak. Called by the shell. Spec: control-spec, "EXTENDCIRCUIT" and those
//! after it. C tor: feature/control/control_cmd.c.

use core::net::IpAddr;

use super::circuits::{Circuit, End, Phase};
use super::events::{CircuitReason, CircuitStatus, Purpose, StreamReason, StreamStatus};
use super::junction::{LEG, TunnelNo};
use super::name::{BadName, ForExit, Host};
use super::streams::{Failure, RequestNo, State, What};
use super::upkeep::{BUILD_LIMIT, path_hop};
use super::{Client, Output};
use crate::base::RsaId;
use crate::base::random::Entropy;
use crate::base::time::{Now, Tick};
use crate::circuit::hop::HopNo;
use crate::path::rules::{Family, Rules};
use crate::path::{Hop, MAX_GIVEN, Path};
use crate::wire::relay_msg::EndReason;

/// Why it cannot be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such circuit.
    NoSuchCircuit,
    /// There is no such stream.
    NoSuchStream,
    /// No path can be like that, or nobody can be reached where it begins.
    BadPath,
    /// The circuit is not built.
    NotBuilt,
    /// The circuit has no such hop.
    NoSuchHop,
    /// The stream would leave at the first hop, which knows who we are.
    OneHop,
    /// The stream is not one that waits for a circuit.
    NotWaiting,
    /// No exit may be asked for such a name.
    BadName(BadName),
    /// That is an address of this machine or a local network.
    Internal,
    /// Onion services are not here yet.
    OnionsNotHere,
    /// The first relay would take us for a flood, until then.
    NotBefore(Tick),
    /// The circuit has no room for more streams.
    Full,
}

impl Client {
    /// Whether requests wait, from now on, for a controller to say which circuit they get.
    pub fn hold_requests(&mut self, holds: bool) {
        self.holds_requests = holds;
    }

    /// A relay of the directory as a hop.
    pub fn hop(&self, id: &RsaId) -> Option<Hop> {
        self.dir().and_then(|dir| dir.by_rsa_id(id)).map(|relay| Hop::of(&relay))
    }

    /// Builds a circuit over these hops, once there is a directory.
    pub fn build(
        &mut self,
        hops: Vec<Hop>,
        purpose: Purpose,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<TunnelNo, Refused> {
        let first = hops.first().filter(|_| hops.len() <= MAX_GIVEN).ok_or(Refused::BadPath)?;
        let rules = Rules { reach: self.setup.reach(), ..Rules::default() };
        let address = rules.address(first.ipv4, first.ipv6).ok_or(Refused::BadPath)?;
        let dir = self.bootstrap.dir().ok_or(Refused::BadPath)?;
        self.pool.take_token(first.ids.rsa, dir, now.tick).map_err(Refused::NotBefore)?;
        let path = Path { hops, address, guard: None, restriction: None };
        let no = self.begin_circuit(path, false, purpose, None, now, entropy).ok_or(Refused::BadPath)?;
        self.work(now, entropy);
        Ok(no)
    }

    /// Adds hops to a circuit that is built.
    pub fn extend(&mut self, no: TunnelNo, hops: &[Hop], now: Now, entropy: &mut dyn Entropy) -> Result<(), Refused> {
        let circuit = self.pool.get(no).ok_or(Refused::NoSuchCircuit)?;
        if circuit.phase != Phase::Open {
            return Err(Refused::NotBuilt);
        }
        let with_ed25519 = self.extends_by_ed25519();
        let path = hops.iter().map(|hop| path_hop(hop, with_ed25519)).collect();
        let tunnel = self.junction.tunnel_mut(no).ok_or(Refused::NoSuchCircuit)?;
        tunnel.extend(LEG, path, now.tick + BUILD_LIMIT).map_err(|_| Refused::BadPath)?;
        self.pool.on_extended(no, hops, now.tick);
        self.work(now, entropy);
        Ok(())
    }

    /// A circuit is for something else now.
    pub fn set_purpose(&mut self, no: TunnelNo, purpose: Purpose) -> Result<(), Refused> {
        let before = self.pool.get(no).map(|circuit| circuit.purpose()).ok_or(Refused::NoSuchCircuit)?;
        self.pool.set_purpose(no, purpose);
        self.say_circuit(no, CircuitStatus::Repurposed(before));
        self.stir();
        Ok(())
    }

    /// Closes a circuit, unless `only_if_unused` and it has streams.
    pub fn close_circuit(
        &mut self,
        no: TunnelNo,
        only_if_unused: bool,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Refused> {
        let has_streams = self.pool.get(no).map(|circuit| circuit.streams > 0).ok_or(Refused::NoSuchCircuit)?;
        if !has_streams {
            self.release_circuit(no, End::Ours, CircuitReason::Requested, now, entropy);
        } else if !only_if_unused {
            self.junction.close_tunnel(no, now);
        }
        self.work(now, entropy);
        Ok(())
    }

    /// Puts a request that waits on a circuit, to leave it at `hop` or at its end; without a
    /// circuit, it gets whichever is best.
    pub fn attach_request(
        &mut self,
        no: RequestNo,
        circuit: Option<(TunnelNo, Option<HopNo>)>,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Refused> {
        let request = self.streams.get(no).ok_or(Refused::NoSuchStream)?;
        if request.state != State::Waiting {
            return Err(Refused::NotWaiting);
        }
        let Some((tunnel, hop)) = circuit else {
            self.streams.release(no);
            self.stir();
            self.work(now, entropy);
            return Ok(());
        };
        let is_left = |circuit: &&Circuit| circuit.probe.is_none();
        let circuit = self.pool.get(tunnel).filter(is_left).ok_or(Refused::NoSuchCircuit)?;
        if circuit.phase != Phase::Open {
            return Err(Refused::NotBuilt);
        }
        if circuit.hops_built() < 2 || hop == Some(HopNo(0)) {
            return Err(Refused::OneHop);
        }
        if hop.is_some_and(|hop| usize::from(hop.0) >= circuit.hops_built()) {
            return Err(Refused::NoSuchHop);
        }
        let is_attached = self.attach(no, tunnel, hop, now, entropy);
        self.stir();
        self.work(now, entropy);
        is_attached.then_some(()).ok_or(Refused::Full)
    }

    /// A request that waits goes elsewhere, if that is where a program may go. C tor: sends whatever
    /// the controller says to the exit.
    pub fn redirect(&mut self, no: RequestNo, to: &str, to_port: Option<u16>) -> Result<(), Refused> {
        let to = Host::parse(to).map_err(Refused::BadName)?;
        if to.is_internal() && self.setup.config.requests.refuses_internal {
            return Err(Refused::Internal);
        }
        let to_host = ForExit::of(&to).ok_or(Refused::OnionsNotHere)?;
        let request = self.streams.get_mut(no).ok_or(Refused::NoSuchStream)?;
        if request.state != State::Waiting {
            return Err(Refused::NotWaiting);
        }
        let facts = &mut request.wish.facts;
        to_host.as_str().clone_into(&mut facts.host);
        match &mut request.wish.what {
            What::Connect { host, port, family, .. } => {
                *host = to_host;
                *port = to_port.unwrap_or(*port);
                facts.port = *port;
                match to {
                    Host::Ip(IpAddr::V4(_)) => *family = Family::Ipv4,
                    Host::Ip(IpAddr::V6(_)) => *family = Family::Ipv6,
                    Host::Name(_) | Host::Onion(_) => *family = Family::Either,
                }
            }
            What::Resolve(name, _) => *name = to_host,
            What::ResolvePtr(_) => return Err(Refused::NotWaiting),
        }
        self.streams.renew(no);
        self.say_stream(no, StreamStatus::Redirected);
        self.stir();
        Ok(())
    }

    /// Ends a stream, or a request; its program is told.
    pub fn close_request(
        &mut self,
        no: RequestNo,
        reason: EndReason,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Refused> {
        let request = self.streams.get(no).ok_or(Refused::NoSuchStream)?;
        if let State::Open { .. } = request.state {
            self.say_stream(no, StreamStatus::Closed(StreamReason::Ours(reason)));
            self.end_stream(no, now);
            self.outputs.push_back(Output::Ended { request: no, is_clean: false });
        } else {
            self.fail(no, Failure::Closed(reason), now);
        }
        self.work(now, entropy);
        Ok(())
    }
}
