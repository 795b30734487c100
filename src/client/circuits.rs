//! The pool: which circuits there are and are coming, what each may carry, and when one is let
//! go; which to begin is `circuits/plans.rs`'s.
//!
//! Keeps count of how guards and build times do; opens no link and sends
//! no cell: `mod.rs` does, and reports here. Called by `mod.rs` alone. Spec: path-spec,
//! "Building circuits", "Attaching streams to circuits"; guard-spec. C tor:
//! core/or/circuituse.c.

mod plans;

use core::cell::Cell;
use core::net::Ipv4Addr;
use core::time::Duration;
use std::collections::BTreeMap;

use super::budget::Budget;
use super::events::Purpose;
use super::isolation::{Company, Facts, Fields};
use super::junction::{LinkNo, TunnelNo};
use super::ports::Ports;
use super::setup::{PROGRAM, Setup};
use crate::base::RsaId;
use crate::base::random::Entropy;
use crate::base::time::{Now, Tick, Wall, earlier};
use crate::circuit::hop::StreamAt;
use crate::directory::download::Backoff;
use crate::directory::params::Param;
use crate::directory::{NetDir, Relay};
use crate::path::bias::{Alarm, Closer, Limits, PathBias, Tally};
use crate::path::guards::sample::{DEFAULT, RESTRICTED, Record};
use crate::path::guards::{Choice, Guards, Pending, Standing};
use crate::path::rules::{Avoided, Place, Rules, Target, Wishes, may_leave, may_leave_somewhere};
use crate::path::timeout::{BuildTimes, COUNTED_HOPS, Change};
use crate::path::{self, Path, View};

/// The most circuits that are ready for anybody. C tor: `MAX_UNUSED_OPEN_CIRCUITS`.
const MAX_READY: usize = 14;
/// So many failures in a row are nobody's news; after them there is a pause before each
/// attempt. Ours; C tor: five in half a minute.
const FREE_FAILURES: u32 = 3;
/// No pause is longer: the network may be back. Ours.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// All that a choice depends on, but for the guards.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Who is there.
    pub dir: &'a NetDir,
    /// What the user wants.
    pub setup: &'a Setup,
    /// The time.
    pub now: Now,
}

impl<'a> World<'a> {
    /// By what guards are judged.
    fn limits(&self) -> Limits {
        Limits::of(self.dir.consensus().params(), &self.setup.bias())
    }

    fn view(&self, dropped: &'a Avoided) -> View<'a> {
        let rules = Rules {
            are_subnets_distinct: self.setup.config.circuits.distinct_subnets,
            refuses_private: !self.setup.config.circuits.allows_private,
            reach: self.setup.reach(),
            wishes: &self.setup.wishes,
        };
        View {
            dir: self.dir,
            rules,
            dropped,
            wish: self.setup.guards(),
            uses_guards: self.setup.config.guards.are_used,
            paths_needed: self.setup.config.circuits.paths_needed,
            program: PROGRAM,
            now: self.now,
        }
    }
}

/// What a stream needs of a circuit.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// Where it goes; none for a look-up.
    pub target: Option<Target>,
    /// Whether it lives long.
    pub is_stable: bool,
    /// The one exit that will do, if not any.
    pub only: Option<RsaId>,
    /// Exits that refused it.
    pub avoided: &'a Avoided,
    /// Who asks.
    pub facts: &'a Facts,
    /// Whom it may not meet.
    pub fields: Fields,
}

/// How far a circuit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It is being built.
    Building,
    /// It took too long, and goes on only to be measured.
    Late,
    /// It is built, and a better guard may still answer.
    Waiting,
    /// It carries streams.
    Open,
}

/// One circuit.
#[derive(Debug)]
pub struct Circuit {
    /// What it goes over.
    pub path: Path,
    /// The link it goes out by.
    pub link: LinkNo,
    /// How far it is.
    pub phase: Phase,
    /// Streams that are on it.
    pub streams: usize,
    /// What its exit was asked before it is closed.
    pub probe: Option<Probe>,
    purpose: Purpose,
    created: Wall,
    /// Whether its relays are for streams that live long.
    is_stable: bool,
    /// It was late when nothing else was there: it is taken if there is no better.
    is_relaxed: bool,
    /// When it was asked for, and when its first cell went out.
    since: Tick,
    begun: Option<Tick>,
    hops_built: usize,
    /// All its hops were there once; a controller may have asked for more since.
    was_open: bool,
    standing: Standing,
    tally: Option<Tally>,
    company: Company,
    /// Since when it was used; no new streams so long after.
    dirty: Option<Tick>,
    /// It takes no new streams.
    is_unusable: bool,
    /// Its link says nothing when it should.
    is_out_of_reach: bool,
    /// When to let it go if nobody has used it.
    expires: Tick,
}

/// A stream that an exit must refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Which.
    pub stream: StreamAt,
    /// To what.
    pub wanted: Ipv4Addr,
}

impl Circuit {
    /// What it is for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// When its first cell went out.
    pub fn begun(&self) -> Option<Tick> {
        self.begun
    }

    /// When it was asked for.
    pub fn created(&self) -> Wall {
        self.created
    }

    /// Whether its relays are for streams that live long.
    pub fn is_stable(&self) -> bool {
        self.is_stable
    }

    /// How many of its hops are there.
    pub fn hops_built(&self) -> usize {
        self.hops_built
    }

    /// The name and the password of its streams, if all must have given the same.
    pub fn credentials(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        self.company.credentials().cloned()
    }

    /// Whether how long it takes says something of others. C tor:
    /// `circuit_timeout_want_to_count_circ`.
    fn is_timed(&self) -> bool {
        !self.was_open && self.path.hops.len() >= COUNTED_HOPS
    }

    /// Its last relay.
    pub fn exit(&self) -> Option<RsaId> {
        self.path.hops.last().and_then(|hop| hop.ids.rsa)
    }

    /// Whether it has had streams.
    pub fn is_used(&self) -> bool {
        self.dirty.is_some()
    }

    /// Whether it is there for whoever comes.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Open && self.is_clean()
    }

    /// It is nobody's yet.
    fn is_clean(&self) -> bool {
        self.company.is_empty()
            && self.dirty.is_none()
            && !self.is_unusable
            && !self.is_out_of_reach
            && self.phase != Phase::Late
            && self.purpose == Purpose::General
    }
}

/// A circuit that is to be built.
pub struct New<'a> {
    /// What it goes over.
    pub path: Path,
    /// The link it goes out by.
    pub link: LinkNo,
    /// Whether its relays are for streams that live long.
    pub is_stable: bool,
    /// What it is for.
    pub purpose: Purpose,
    /// For whom, if anybody waits.
    pub demand: Option<&'a Demand<'a>>,
}

/// Why no circuit is begun now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no path.
    Path(path::Error),
    /// Not before then.
    NotBefore(Tick),
    /// Too many are under way.
    Busy,
}

/// All circuits, and what was learned from them.
pub struct Pool {
    circuits: BTreeMap<TunnelNo, Circuit>,
    /// Those that we keep, of the selection that is in use.
    pub guards: Guards,
    /// Those of the other one: there are as many as the user lets us use, or few.
    idle_guards: Guards,
    /// Which it is was found out.
    is_selected: bool,
    /// How long building takes.
    pub times: BuildTimes,
    bias: PathBias,
    budget: Budget,
    /// Which ports are expected.
    pub ports: Ports,
    /// Exits that said they have no room.
    busy: Avoided,
    failures: u32,
    backoff: Backoff,
    /// Nothing is begun before then, after failures.
    paused: Tick,
    /// What the budget said last to those who wait, and to what is built ahead.
    poor: [Option<Tick>; 2],
    /// Circuits that are only measured from now on, to be told of.
    late: Vec<TunnelNo>,
    /// Circuits that had waited for better guards and are open now, to be told of.
    upgraded: Vec<TunnelNo>,
    /// Guards that fare badly, to be told of.
    alarms: Vec<Alarm>,
    /// Guards of an earlier run were judged by how they had fared.
    is_recalled: bool,
    /// What became of the build times, to be told of.
    times_change: Option<Change>,
    /// How often a circuit was held against a request.
    judged: Cell<u64>,
}

impl Pool {
    /// No circuits, and the times of an earlier run.
    pub fn new(times: BuildTimes) -> Pool {
        Pool {
            circuits: BTreeMap::new(),
            guards: Guards::new(),
            idle_guards: Guards::restricted(),
            is_selected: false,
            times,
            bias: PathBias::default(),
            budget: Budget::default(),
            ports: Ports::default(),
            busy: Avoided::new(),
            failures: 0,
            backoff: Backoff::new(Duration::ZERO),
            paused: Tick::default(),
            poor: [None; 2],
            late: Vec::new(),
            upgraded: Vec::new(),
            alarms: Vec::new(),
            is_recalled: false,
            times_change: None,
            judged: Cell::default(),
        }
    }

    /// How often a circuit was held against a request: what a crowd costs.
    pub fn judged(&self) -> u64 {
        self.judged.get()
    }

    /// There is a new directory, or a new configuration.
    pub fn on_directory(&mut self, world: &World<'_>, entropy: &mut dyn Entropy) {
        let is_restricted = self.is_restricted(world);
        if is_restricted != (self.guards.selection() == RESTRICTED) {
            core::mem::swap(&mut self.guards, &mut self.idle_guards);
            // What begins at others is not used any more.
            self.abandon_all();
            self.is_recalled = false;
        }
        self.is_selected = true;
        let view = world.view(self.bias.dropped());
        self.guards.update(view.scene(), entropy);
        self.bias.forget_others(&self.guards);
        if !core::mem::replace(&mut self.is_recalled, true) {
            self.bias.recall(&self.guards, &world.limits());
        }
        self.busy.clear();
    }

    /// Whether so few of those that may be guards are allowed that they are a sample of their own.
    /// What was found before holds near the border. C tor: `choose_guard_selection`.
    fn is_restricted(&self, world: &World<'_>) -> bool {
        let view = world.view(self.bias.dropped());
        let (allowed, all) = view.guards_allowed();
        let percent = world.dir.consensus().params().unsigned(Param::GuardMeaningfulRestrictionPercent);
        let border = match self.guards.selection() {
            _ if !self.is_selected => 1.0,
            RESTRICTED => 1.05,
            _ => 0.95,
        };
        let [allowed, all] = [allowed, all].map(|count| f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        allowed < (all * f64::from(percent) / 100.0 * border).floor()
    }

    /// Which part of all guards the user leaves out, in percent, if hardly anybody else does so.
    /// C tor: the "extreme threshold".
    pub fn left_out(&self, world: &World<'_>) -> Option<usize> {
        let (allowed, all) = world.view(self.bias.dropped()).guards_allowed();
        let percent = world.dir.consensus().params().unsigned(Param::GuardExtremeRestrictionPercent);
        let least = all * usize::try_from(percent).unwrap_or(usize::MAX) / 100;
        (allowed < least).then(|| (all - allowed) * 100 / all)
    }

    /// A place for which the user's lists leave nobody, if there is one.
    pub fn without(&self, world: &World<'_>) -> Option<Place> {
        world.view(self.bias.dropped()).without()
    }

    /// All that is there or coming gets no more streams: the user wants other relays.
    pub fn abandon_all(&mut self) {
        self.circuits.values_mut().for_each(|circuit| circuit.is_unusable = true);
    }

    /// Whether paths can be built.
    pub fn check(&self, world: &World<'_>) -> Result<(), path::Error> {
        world.view(self.bias.dropped()).check(&self.guards)
    }

    /// A circuit of the pool.
    pub fn get(&self, no: TunnelNo) -> Option<&Circuit> {
        self.circuits.get(&no)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (TunnelNo, &Circuit)> {
        self.circuits.iter().map(|(no, circuit)| (*no, circuit))
    }

    /// Whether any are late since [`Pool::take_late`].
    pub fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Circuits that were late since this was last asked, and are only measured now.
    pub fn take_late(&mut self) -> Vec<TunnelNo> {
        core::mem::take(&mut self.late)
    }

    /// Circuits that had waited for better guards, and carry streams since this was last asked.
    pub fn take_upgraded(&mut self) -> Vec<TunnelNo> {
        core::mem::take(&mut self.upgraded)
    }

    /// Guards that fared badly since this was last asked.
    pub fn take_alarms(&mut self) -> Vec<Alarm> {
        core::mem::take(&mut self.alarms)
    }

    /// Guards of an earlier run are there, by selection, to be judged by how they fared.
    pub fn recall(&mut self, mut of: impl FnMut(&'static str) -> Vec<Record>, now: Now) {
        self.guards = Guards::new().with(of(DEFAULT), now);
        self.idle_guards = Guards::restricted().with(of(RESTRICTED), now);
        (self.is_selected, self.is_recalled) = (false, false);
    }

    /// All guards that the next run should know.
    pub fn selections(&self) -> [&Guards; 2] {
        [&self.guards, &self.idle_guards]
    }

    /// Whether they should be saved; asking forgets it.
    pub fn take_guards_changed(&mut self) -> bool {
        self.guards.take_changed() | self.idle_guards.take_changed()
    }

    /// What became of the build times since this was last asked.
    pub fn take_times_change(&mut self) -> Option<Change> {
        self.times_change.take()
    }

    /// More hops are being added to a circuit.
    pub fn on_extended(&mut self, no: TunnelNo, hops: &[path::Hop], now: Tick) {
        if let Some(circuit) = self.circuits.get_mut(&no) {
            circuit.path.hops.extend_from_slice(hops);
            (circuit.phase, circuit.begun) = (Phase::Building, Some(now));
        }
    }

    /// It is for something else now. False if there is none such.
    pub fn set_purpose(&mut self, no: TunnelNo, purpose: Purpose) -> bool {
        self.circuits.get_mut(&no).map(|circuit| circuit.purpose = purpose).is_some()
    }

    /// Whether any can carry streams.
    pub fn has_open(&self) -> bool {
        self.circuits.values().any(|circuit| circuit.phase == Phase::Open && !circuit.is_out_of_reach)
    }

    // --- streams -------------------------------------------------------------------------

    /// The best circuit that is there for a stream. C tor: `circuit_get_best`.
    pub fn find(&self, demand: &Demand<'_>, world: &World<'_>) -> Option<TunnelNo> {
        let mut best: Option<(TunnelNo, &Circuit)> = None;
        for (no, circuit) in self.circuits.iter().filter(|(_, circuit)| circuit.phase == Phase::Open) {
            let is_best = best.is_none_or(|(_, best)| is_better(circuit, best, demand));
            if is_best && self.serves(circuit, demand, world) {
                best = Some((*no, circuit));
            }
        }
        best.map(|(no, _)| no)
    }

    /// Whether one that is there takes a stream.
    pub fn takes(&self, no: TunnelNo, demand: &Demand<'_>, world: &World<'_>) -> bool {
        let open = self.circuits.get(&no).filter(|circuit| circuit.phase == Phase::Open);
        open.is_some_and(|circuit| self.serves(circuit, demand, world))
    }

    /// Those that are being built. One that waits for better guards is none: those must be tried
    /// for it to end.
    pub fn coming(&self) -> Vec<TunnelNo> {
        let building = self.circuits.iter().filter(|(_, circuit)| circuit.phase == Phase::Building);
        building.map(|(no, _)| *no).collect()
    }

    /// Whether one of these will take a stream. Until it is built it is for that stream, and for
    /// those that may be on it with it; a crowd of others would all wait for it.
    pub fn reserve(&mut self, coming: &[TunnelNo], demand: &Demand<'_>, world: &World<'_>) -> bool {
        let serves = |no: &&TunnelNo| self.circuits.get(*no).is_some_and(|circuit| self.serves(circuit, demand, world));
        let chosen = coming.iter().find(serves).and_then(|no| self.circuits.get_mut(no));
        chosen.map(|circuit| circuit.company.join(demand.facts, demand.fields)).is_some()
    }

    /// C tor: `circuit_is_acceptable`.
    fn serves(&self, circuit: &Circuit, demand: &Demand<'_>, world: &World<'_>) -> bool {
        self.judged.set(self.judged.get().wrapping_add(1));
        let max_dirtiness = world.setup.config.circuits.max_dirtiness;
        let is_old = circuit.dirty.is_some_and(|dirty| dirty + max_dirtiness <= world.now.tick);
        let exit = circuit.exit();
        !circuit.is_unusable
            && !circuit.is_out_of_reach
            && circuit.purpose != Purpose::Controller
            && !is_old
            && (circuit.is_stable || !demand.is_stable)
            && circuit.company.admits(demand.facts, demand.fields)
            && exit.is_some_and(|exit| !demand.avoided.contains(&exit) && self.lets_out(&exit, demand, world))
    }

    /// Whether an exit will do. Of one that the user names it is asked only whether it can. C tor:
    /// `connection_ap_can_use_exit`.
    fn lets_out(&self, exit: &RsaId, demand: &Demand<'_>, world: &World<'_>) -> bool {
        match demand.only {
            None => self.lets_anybody_out(exit, demand.target, world),
            Some(only) => {
                only == *exit && world.dir.by_rsa_id(exit).is_some_and(|relay| goes_out(&relay, demand.target))
            }
        }
    }

    /// Whether it will do for those who name none.
    fn lets_anybody_out(&self, exit: &RsaId, target: Option<Target>, world: &World<'_>) -> bool {
        let relay = world.dir.by_rsa_id(exit).filter(|_| !self.busy.contains(exit));
        let relay = relay.filter(|relay| world.setup.wishes.allows(relay, Place::Exit));
        relay.is_some_and(|relay| goes_out(&relay, target))
    }

    /// A stream goes out by a circuit. If its user `keeps_alive` the circuit, it is as if it were
    /// used for the first time. C tor: `connection_ap_handshake_attach_chosen_circuit`.
    pub fn on_attached(&mut self, no: TunnelNo, demand: &Demand<'_>, keeps_alive: bool, world: &World<'_>) {
        let Some(circuit) = self.circuits.get_mut(&no) else { return };
        if circuit.dirty.is_none() {
            self.ports.on_taken(world.now.tick);
        }
        if circuit.dirty.is_none() || keeps_alive {
            circuit.dirty = Some(world.now.tick);
        }
        circuit.company.join(demand.facts, demand.fields);
        circuit.streams += 1;
        if let Some(tally) = &mut circuit.tally {
            self.alarms.extend(self.bias.on_use(tally, &mut self.guards, &world.limits()));
        }
    }

    /// The far end answered a stream in a way that only it could.
    pub fn on_answered(&mut self, no: TunnelNo, world: Option<&World<'_>>) {
        if let (Some(Circuit { tally: Some(tally), .. }), Some(world)) = (self.circuits.get_mut(&no), world) {
            self.alarms.extend(self.bias.on_use_succeeded(tally, &mut self.guards, &world.limits()));
        }
    }

    /// A stream is off a circuit, for which the same holds. C tor: `circuit_detach_stream`, which
    /// brings a circuit back that was too old for new streams.
    pub fn on_detached(&mut self, no: TunnelNo, keeps_alive: bool, now: Tick) {
        if let Some(circuit) = self.circuits.get_mut(&no) {
            circuit.streams = circuit.streams.saturating_sub(1);
            if keeps_alive {
                circuit.dirty = Some(now);
            }
        }
    }

    /// A stream was taken off a circuit, to be tried on another.
    pub fn on_taken_off(&mut self, no: TunnelNo) {
        if let Some(Circuit { tally: Some(tally), .. }) = self.circuits.get_mut(&no) {
            self.bias.on_detached(tally);
        }
    }

    /// Whether nobody knows that a circuit works, though it was used, and its exit was not asked
    /// yet.
    pub fn is_in_doubt(&self, no: TunnelNo) -> bool {
        self.circuits.get(&no).is_some_and(|circuit| {
            let is_usable = circuit.phase == Phase::Open && circuit.probe.is_none();
            is_usable && circuit.tally.as_ref().is_some_and(Tally::is_in_doubt)
        })
    }

    /// Its exit was asked, and has so long to answer as a circuit has to be built. Gives what it
    /// was for until now.
    pub fn on_probed(&mut self, no: TunnelNo, probe: Probe, now: Tick) -> Option<Purpose> {
        let circuit = self.circuits.get_mut(&no)?;
        circuit.probe = Some(probe);
        circuit.is_unusable = true;
        circuit.expires = now + self.times.close(circuit.path.hops.len());
        Some(core::mem::replace(&mut circuit.purpose, Purpose::Probed))
    }

    /// A circuit takes no new streams.
    pub fn retire(&mut self, no: TunnelNo) {
        if let Some(circuit) = self.circuits.get_mut(&no) {
            circuit.is_unusable = true;
        }
    }

    /// No circuit that was used takes new streams; "new identity" was said.
    pub fn retire_all(&mut self) {
        for circuit in self.circuits.values_mut() {
            circuit.is_unusable |= !circuit.is_clean();
        }
    }

    /// Whether the circuits on a link can be reached, as far as anybody knows.
    pub fn set_reach(&mut self, link: LinkNo, is_reached: bool) {
        for circuit in self.circuits.values_mut().filter(|circuit| circuit.link == link) {
            circuit.is_out_of_reach = !is_reached;
        }
    }

    /// The end of a circuit says that something on it is broken.
    pub fn on_broken(&mut self, no: TunnelNo) {
        if let Some(Circuit { tally: Some(tally), .. }) = self.circuits.get_mut(&no) {
            self.bias.on_use_failed(tally);
        }
    }

    /// An exit has no room for anybody. C tor: until the next consensus.
    pub fn on_busy(&mut self, exit: RsaId) {
        self.busy.insert(exit);
    }

    // --- what became of it ---------------------------------------------------------------

    /// Circuits whose first cell is not known to have gone out.
    pub fn unbegun(&self) -> Vec<TunnelNo> {
        self.circuits.iter().filter(|(_, circuit)| circuit.begun.is_none()).map(|(no, _)| *no).collect()
    }

    /// Whether there are any.
    pub fn has_unbegun(&self) -> bool {
        self.circuits.values().any(|circuit| circuit.begun.is_none())
    }

    /// The first cell of a circuit went out.
    pub fn on_begun(&mut self, no: TunnelNo, begun: Tick) {
        if let Some(circuit) = self.circuits.get_mut(&no) {
            circuit.begun.get_or_insert(begun);
        }
    }

    /// A guard answered: the network is there. That circuits can be built is not said by it.
    pub fn on_guard(&mut self, choice: &Choice, world: &World<'_>, entropy: &mut dyn Entropy) -> Standing {
        self.paused = Tick::default();
        self.times.on_live(world.now.tick);
        let view = world.view(self.bias.dropped());
        self.guards.on_success(&choice.id, choice.standing, view.scene(), entropy)
    }

    /// The link to a relay fell by the relay's own fault. One that is a guard is left alone for
    /// as long as if it had not answered, whether or not it has: it would do the same again.
    /// C tor: leaves a guard only for what happens before its first CREATED.
    pub fn on_bad_link(&mut self, relay: &RsaId, now: Tick) {
        self.guards.on_failure(relay, now);
    }

    /// A hop of a circuit is there.
    pub fn on_hop(&mut self, no: TunnelNo, world: &World<'_>, entropy: &mut dyn Entropy) {
        self.times.on_live(world.now.tick);
        let Some(circuit) = self.circuits.get_mut(&no) else { return };
        circuit.hops_built += 1;
        if circuit.hops_built != 1 {
            return;
        }
        let guard = circuit.path.guard;
        if let Some(tally) = &mut circuit.tally {
            self.alarms.extend(self.bias.on_attempt(tally, &mut self.guards, &world.limits()));
        }
        if let Some(choice) = guard {
            let standing = self.on_guard(&choice, world, entropy);
            if let Some(circuit) = self.circuits.get_mut(&no) {
                circuit.standing = standing;
            }
        }
    }

    /// A circuit has all its hops. C tor: only this ends a row of failures, or a guard that
    /// answers and then destroys every circuit would be asked for the next at once.
    pub fn on_built(&mut self, no: TunnelNo, took: Duration, world: &World<'_>) {
        self.failures = 0;
        self.backoff.reset();
        let (params, wish) = (world.dir.consensus().params(), world.setup.build_times());
        let Some(circuit) = self.circuits.get_mut(&no) else { return };
        let is_late = circuit.phase == Phase::Late || circuit.is_relaxed;
        if circuit.is_timed() && circuit.path.hops.len() == COUNTED_HOPS {
            self.times_change = self.times.on_built(took, is_late, params, wish).or(self.times_change);
        }
        if let Some(tally) = &mut circuit.tally {
            self.bias.on_built(tally, &mut self.guards);
        }
        circuit.was_open = true;
        // Whoever waited takes it now, or somebody else does.
        if circuit.dirty.is_none() {
            circuit.company.forget();
        }
        circuit.phase = match circuit.standing {
            Standing::Complete | Standing::OnCompletion => Phase::Open,
            Standing::Waiting | Standing::IfNoBetter => Phase::Waiting,
        };
        // It was measured, and is slower than it should be.
        circuit.is_unusable |= is_late && !circuit.is_relaxed;
    }

    /// A circuit is gone. `why` and by whom; gives it back, so that its streams can be told.
    pub fn on_closed(&mut self, no: TunnelNo, end: End, world: Option<&World<'_>>, entropy: &mut dyn Entropy) {
        let Some(mut circuit) = self.circuits.remove(&no) else { return };
        let was_built = circuit.phase >= Phase::Waiting;
        let closer = if end == End::Ours { Closer::Us } else { Closer::Others };
        if let Some(tally) = &mut circuit.tally {
            self.bias.on_closed(tally, &mut self.guards, closer);
        }
        if was_built {
            return;
        }
        if end != End::Ours && circuit.purpose != Purpose::Controller {
            self.pause(world.map(|world| world.now.tick), entropy);
        }
        let Some(choice) = circuit.path.guard else { return };
        if end == End::Ours {
            return self.guards.on_cancelled(&choice.id);
        }
        let first_failed = circuit.hops_built == 0 && end != End::Destroyed;
        match world {
            // C tor: a DESTROY from the guard says that it lives.
            Some(world) if first_failed => self.guards.on_failure(&choice.id, world.now.tick),
            _ => self.guards.on_cancelled(&choice.id),
        }
        if let (End::TooSlow, Some(world), Some(begun)) = (end, world, circuit.begun.filter(|_| circuit.is_timed())) {
            let change = self.times.on_abandoned(begun, world.dir.consensus().params(), world.setup.build_times());
            self.times_change = change.or(self.times_change);
        }
    }

    /// Something failed: the more in a row, the longer until the next.
    fn pause(&mut self, now: Option<Tick>, entropy: &mut dyn Entropy) {
        self.failures = self.failures.saturating_add(1);
        if let Some(now) = now.filter(|_| self.failures > FREE_FAILURES) {
            self.paused = now + self.backoff.next_delay(entropy).min(MAX_PAUSE);
        }
    }

    /// Whether more failed in a row than is nobody's news.
    pub fn is_failing(&self) -> bool {
        self.failures > FREE_FAILURES
    }

    /// The network answers again: nothing waits, and all guards of the first rank may be tried.
    pub fn on_network_back(&mut self) {
        self.paused = Tick::default();
        self.guards.on_network_back();
    }

    /// No path could be had, for want of guards or relays.
    pub fn on_no_path(&mut self, now: Tick, entropy: &mut dyn Entropy) {
        self.failures = self.failures.max(FREE_FAILURES);
        self.pause(Some(now), entropy);
    }

    // --- time ----------------------------------------------------------------------------

    /// The circuits whose time is over.
    pub fn tidy(&mut self, world: &World<'_>) -> Vec<(TunnelNo, End)> {
        self.mark_late(world);
        self.upgrade(world);
        let (now, max_dirtiness) = (world.now.tick, world.setup.config.circuits.max_dirtiness);
        let over = |circuit: &Circuit| {
            let is_old = circuit.dirty.is_some_and(|dirty| dirty + max_dirtiness <= now);
            let is_spent = circuit.streams == 0 && circuit.phase >= Phase::Waiting;
            let close = self.times.close(circuit.path.hops.len());
            match circuit.phase {
                Phase::Building | Phase::Late => {
                    circuit.begun.is_some_and(|begun| begun + close <= now).then_some(End::TooSlow)
                }
                Phase::Waiting if circuit.since + Guards::patience(world.dir.consensus().params()) <= now => {
                    Some(End::Ours)
                }
                _ if circuit.probe.is_some() => (circuit.expires <= now).then_some(End::Ours),
                _ if is_spent && (is_old || circuit.is_unusable) => Some(End::Ours),
                _ if is_spent && circuit.dirty.is_none() && circuit.expires <= now => Some(End::Ours),
                _ => None,
            }
        };
        self.circuits.iter().filter_map(|(no, circuit)| over(circuit).map(|end| (*no, end))).collect()
    }

    fn mark_late(&mut self, world: &World<'_>) {
        let (params, wish) = (world.dir.consensus().params(), world.setup.build_times());
        let has_open = self.has_open();
        for (no, circuit) in &mut self.circuits {
            let timeout = self.times.timeout(circuit.path.hops.len());
            let is_late = circuit.begun.is_some_and(|begun| begun + timeout <= world.now.tick);
            // Those that say nothing of others have as long as any.
            if circuit.phase != Phase::Building || circuit.is_relaxed || !is_late || !circuit.is_timed() {
                continue;
            }
            // C tor: when nothing is open, better late than never.
            if has_open {
                circuit.phase = Phase::Late;
                circuit.purpose = Purpose::Measured;
                self.late.push(*no);
            } else {
                circuit.is_relaxed = true;
            }
            let change = self.times.on_timeout(circuit.hops_built > 0, params, wish);
            self.times_change = change.or(self.times_change);
            if let Some(tally) = &circuit.tally {
                self.bias.on_timeout(tally, &mut self.guards);
            }
        }
    }

    /// Circuits over guards that are not the best are used when the best do not answer.
    fn upgrade(&mut self, world: &World<'_>) {
        if self.circuits.values().all(|circuit| circuit.phase != Phase::Waiting) {
            return;
        }
        let guarded = |(no, circuit): (&TunnelNo, &Circuit)| {
            let choice = circuit.path.guard?;
            let restriction = circuit.path.restriction.clone();
            let pending = Pending { guard: choice.id, standing: circuit.standing, since: circuit.since, restriction };
            Some((*no, pending))
        };
        let (nos, pending): (Vec<_>, Vec<_>) = self.circuits.iter().filter_map(guarded).unzip();
        let view = world.view(self.bias.dropped());
        for place in self.guards.upgrade(&pending, view.scene()) {
            if let Some((no, circuit)) = nos.get(place).and_then(|no| Some((*no, self.circuits.get_mut(no)?))) {
                circuit.standing = Standing::Complete;
                if circuit.phase == Phase::Waiting {
                    circuit.phase = Phase::Open;
                    self.upgraded.push(no);
                }
            }
        }
    }

    /// When to look again.
    pub fn next_deadline(&self, world: &World<'_>) -> Option<Tick> {
        let max_dirtiness = world.setup.config.circuits.max_dirtiness;
        let params = world.dir.consensus().params();
        let of_circuit = |circuit: &Circuit| match circuit.phase {
            Phase::Building if !circuit.is_relaxed && circuit.is_timed() => {
                circuit.begun.map(|begun| begun + self.times.timeout(circuit.path.hops.len()))
            }
            Phase::Building | Phase::Late => {
                circuit.begun.map(|begun| begun + self.times.close(circuit.path.hops.len()))
            }
            Phase::Waiting => {
                let soon = Duration::from_secs(params.unsigned(Param::GuardNonprimaryConnectTimeout).into());
                let late = circuit.since + Guards::patience(params);
                Some(if circuit.since + soon > world.now.tick { circuit.since + soon } else { late })
            }
            Phase::Open if circuit.probe.is_some() => Some(circuit.expires),
            Phase::Open if circuit.streams > 0 => None,
            Phase::Open => Some(circuit.dirty.map_or(circuit.expires, |dirty| dirty + max_dirtiness)),
        };
        let circuits = self.circuits.values().filter_map(of_circuit).min();
        let waits =
            self.poor.iter().flatten().copied().chain([self.paused]).filter(|wait| *wait > world.now.tick).min();
        let test = self.times.next_test(params, world.setup.build_times());
        earlier(earlier(circuits, waits), test.filter(|test| *test > world.now.tick))
    }
}

/// How a circuit came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// We do not want it any more.
    Ours,
    /// It took too long.
    TooSlow,
    /// A relay said so.
    Destroyed,
    /// The link failed, or what came was wrong.
    Failed,
}

/// Whether a relay lets that out, or a look-up.
fn goes_out(relay: &Relay<'_>, target: Option<Target>) -> bool {
    target.map_or_else(|| may_leave_somewhere(relay), |target| may_leave(relay, target))
}

/// C tor: `circuit_is_better`. One that is in use, rather than another that would have to be
/// built again; of several the one that was first used last.
fn is_better(a: &Circuit, b: &Circuit, demand: &Demand<'_>) -> bool {
    if a.is_relaxed != b.is_relaxed {
        return b.is_relaxed;
    }
    match (a.dirty, b.dirty) {
        (Some(a), Some(b)) if a != b => a > b,
        (Some(_), None) => true,
        (None, Some(_)) => false,
        _ => match (a.company.cost(demand.facts), b.company.cost(demand.facts)) {
            (Some(cost_a), Some(cost_b)) if cost_a != cost_b => cost_a < cost_b,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            _ => a.since > b.since,
        },
    }
}
