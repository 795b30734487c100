//! Which circuits to begin: paths for streams that wait, and for those to come, as many as may be.
//!
//! Holds nothing: the circuits that there are, and what becomes of them, are `circuits.rs`'s, and
//! so is which of them a stream gets. Called by `upkeep.rs`, `errands.rs` and `control.rs`. Spec:
//! path-spec, "Building circuits". C tor: `circuit_predict_and_launch_new`,
//! `circuit_get_open_circ_or_launch`.

use core::time::Duration;
use std::sync::Arc;

use super::{Circuit, Demand, MAX_READY, New, Phase, Pool, Refusal, World, goes_out};
use crate::base::RsaId;
use crate::base::random::Entropy;
use crate::base::time::Tick;
use crate::client::budget::{Awaited, Limit};
use crate::client::isolation::Company;
use crate::client::junction::{LinkNo, TunnelNo};
use crate::directory::params::Param;
use crate::directory::{NetDir, Relay};
use crate::path::bias::Tally;
use crate::path::guards::Standing;
use crate::path::rules::{Family, Target, may_leave};
use crate::path::{self, Hop, Need, Path};

impl Pool {
    /// A path for a stream that waits.
    pub fn plan_for(
        &mut self,
        demand: &Demand<'_>,
        world: &World<'_>,
        entropy: &mut dyn Entropy,
    ) -> Result<Path, Refusal> {
        if self.is_busy(world) {
            return Err(Refusal::Busy);
        }
        if let Some(only) = demand.only {
            let will_do = |relay: &Relay<'_>| relay.is_usable() && goes_out(relay, demand.target);
            let relay = world.dir.by_rsa_id(&only).filter(|relay| !demand.avoided.contains(&only) && will_do(relay));
            let last = Box::new(Hop::of(&relay.ok_or(Refusal::Path(path::Error::NoExit))?));
            let (is_stable, avoided) = (demand.is_stable, Arc::default());
            return self.plan(&Need::To { last, is_foreign: false, is_stable, avoided }, Awaited::Now, world, entropy);
        }
        let avoided = Arc::new(demand.avoided.union(&self.busy).copied().collect());
        let targets = demand.target.into_iter().collect();
        let need = Need::Exit { targets, is_stable: demand.is_stable, speaks: Vec::new(), avoided };
        self.plan(&need, Awaited::Now, world, entropy)
    }

    /// Whether as many circuits are under way as may be.
    fn is_busy(&self, world: &World<'_>) -> bool {
        let pending = self.circuits.values().filter(|circuit| circuit.phase < Phase::Waiting).count();
        pending >= usize::try_from(world.setup.config.circuits.max_pending).unwrap_or(usize::MAX)
    }

    /// A path for a need, with a token for its guard.
    pub fn plan(
        &mut self,
        need: &Need,
        awaited: Awaited,
        world: &World<'_>,
        entropy: &mut dyn Entropy,
    ) -> Result<Path, Refusal> {
        let (tick, poor) = (
            world.now.tick,
            match awaited {
                Awaited::Now => 0,
                Awaited::Later => 1,
            },
        );
        let not_before = self.poor.get(poor).copied().flatten().max(Some(self.paused));
        if let Some(not_before) = not_before.filter(|not_before| *not_before > tick) {
            return Err(Refusal::NotBefore(not_before));
        }
        let view = world.view(self.bias.dropped());
        let path = view.pick(need, &mut self.guards, entropy).map_err(Refusal::Path)?;
        let Some(first) = path.hops.first().and_then(|hop| hop.ids.rsa) else { return Ok(path) };
        let limit = Limit::of(world.dir.consensus().params());
        self.budget.take(&first, limit, awaited, tick).map_err(|not_before| {
            path.guard.inspect(|choice| self.guards.on_cancelled(&choice.id));
            if let Some(slot) = self.poor.get_mut(poor) {
                *slot = Some(not_before);
            }
            Refusal::NotBefore(not_before)
        })?;
        Ok(path)
    }

    /// A circuit of one hop is begun to a directory that no plan chose. If it is a guard too, it
    /// counts this one with the others.
    pub fn on_errand(&mut self, directory: &RsaId, dir: Option<&NetDir>, now: Tick) {
        match dir.map(|dir| Limit::of(dir.consensus().params())) {
            None => self.budget.spend_early(directory),
            Some(Some(limit)) => self.budget.spend(directory, limit, now),
            Some(None) => {}
        }
    }

    /// A relay is dialled.
    pub fn on_dial(&mut self, link: LinkNo, relay: Option<RsaId>, dir: Option<&NetDir>, now: Tick) {
        if let Some(relay) = relay {
            self.budget.on_dial(link, relay, dir.and_then(|dir| Limit::of(dir.consensus().params())), now);
        }
    }

    /// It has answered, or never will.
    pub fn on_dialled(&mut self, link: LinkNo, now: Tick) {
        self.budget.on_dialled(link, now);
    }

    /// A path that a controller chose is taken, with a token for its first hop. Err says when
    /// there will be one.
    pub fn take_token(&mut self, first: Option<RsaId>, dir: &NetDir, now: Tick) -> Result<(), Tick> {
        let limit = Limit::of(dir.consensus().params());
        first.map_or(Ok(()), |first| self.budget.take(&first, limit, Awaited::Now, now))
    }

    /// What to build ahead, if anything. C tor: `circuit_predict_and_launch_new`.
    pub fn foresee(&mut self, world: &World<'_>) -> Option<Need> {
        let now = world.now.tick;
        let clean = self.circuits.values().filter(|circuit| circuit.is_clean()).count();
        // Differs: C tor counts those that it builds ahead, and begins them all the same.
        if clean >= MAX_READY || self.is_busy(world) {
            return None;
        }
        let (expected, wanted) = (self.ports.expected(now), self.ports.ready_for_each(now));
        let lasts = |port: u16| world.setup.config.circuits.long_lived_ports.contains(&port);
        let target = |port| Target { port, family: Family::Either };
        let lacks = |port: &u16| {
            let serves = |circuit: &&Circuit| {
                let exit = circuit.exit();
                circuit.is_clean()
                    && circuit.phase != Phase::Waiting
                    && (circuit.is_stable || !lasts(*port))
                    && exit.is_some_and(|exit| self.lets_anybody_out(&exit, Some(target(*port)), world))
            };
            self.circuits.values().filter(serves).count() < wanted
        };
        let lacking: Vec<u16> = expected.into_iter().filter(lacks).collect();
        if lacking.is_empty() && !self.is_test_due(clean, world) {
            return None;
        }
        let is_stable = lacking.iter().any(|port| lasts(*port));
        let avoided = Arc::new(self.busy.clone());
        let serves_all = |relay: &Relay<'_>| {
            lacking.iter().all(|port| may_leave(relay, target(*port))) && !avoided.contains(&relay.rsa_id())
        };
        // One exit for all of them, if there is one; else for the first.
        let most = if world.dir.relays().any(|relay| serves_all(&relay)) { lacking.len() } else { 1 };
        let targets = lacking.iter().take(most).map(|port| target(*port)).collect();
        Some(Need::Exit { targets, is_stable, speaks: Vec::new(), avoided })
    }

    /// An expected port that no exit serves is not asked for again until it is wanted again.
    /// False if the need was for no port.
    pub fn forget_ports(&mut self, need: &Need) -> bool {
        let Need::Exit { targets, .. } = need else { return false };
        targets.iter().for_each(|target| self.ports.forget(target.port));
        !targets.is_empty()
    }

    fn is_test_due(&self, clean: usize, world: &World<'_>) -> bool {
        let params = world.dir.consensus().params();
        let most = usize::try_from(params.unsigned(Param::CbtMaxOpenCircs)).unwrap_or(usize::MAX);
        let next = self.times.next_test(params, world.setup.build_times());
        clean < most && next.is_some_and(|next| next <= world.now.tick)
    }

    /// A circuit is to be built. Until somebody uses it, it is for whoever it was begun for.
    pub fn add(&mut self, no: TunnelNo, new: New<'_>, world: &World<'_>) {
        let New { path, link, is_stable, purpose, demand } = new;
        let now = world.now.tick;
        let mut company = Company::default();
        if let Some(demand) = demand {
            company.join(demand.facts, demand.fields);
        }
        let params = world.dir.consensus().params();
        let is_learning = self.times.next_test(params, world.setup.build_times()).is_some();
        let learning = Duration::from_secs(params.unsigned(Param::CbtLearnTimeout).into());
        let idle = if is_learning { learning } else { self.ports.remaining(now).max(learning) };
        self.times.on_begun(now);
        let circuit = Circuit {
            link,
            phase: Phase::Building,
            streams: 0,
            probe: None,
            purpose,
            created: world.now.wall,
            is_stable,
            is_relaxed: false,
            since: now,
            begun: None,
            hops_built: 0,
            was_open: false,
            standing: path.guard.map_or(Standing::OnCompletion, |choice| choice.standing),
            tally: path.guard.map(|choice| Tally::new(choice.id)),
            company,
            dirty: None,
            is_unusable: false,
            is_out_of_reach: false,
            expires: now + idle,
            path,
        };
        self.circuits.insert(no, circuit);
    }
}
