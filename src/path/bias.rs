//! How the circuits over each guard fare, and when that is odd: a guard that lets only those
//! through whose exits are its friends' shows by the many that fail.
//!
//! Counts, and says once what a count means; judges no circuit, sends no probe (`client` does),
//! and forgets no guard: one that fares extremely badly is not used only if the user or the
//! consensus says so (`pb_dropguards`), which it does not, because a crowded network looks the same. Called by
//! `client` with what becomes of circuits; the counters are in the guard's record, and so in
//! the state file. Spec: path-spec, "Detecting route manipulation by guard nodes (path bias)".
//! C tor: feature/client/circpathbias.c.
//!
//! C tor: only circuits whose relays we chose are counted. Not those of one hop, to
//! introduction points, to rendezvous points that a client named, of conflux, for tests, or
//! with a hop that a controller chose.

use std::collections::BTreeMap;

use super::guards::Guards;
use super::guards::sample::Bias;
use super::rules::Avoided;
use crate::base::RsaId;
use crate::directory::params::{Param, Params};

/// How far a circuit came. C tor: `path_state_t`, in its order.
///
/// ```text
/// New -> Attempted -> Built -> UseAttempted <-> UseSucceeded
///                                   |
///                                   v
///                               UseFailed          any of them -> Counted
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    New,
    Attempted,
    Built,
    UseAttempted,
    UseSucceeded,
    UseFailed,
    Counted,
}

/// One circuit over a guard, for as long as it is open. It must be closed by
/// [`PathBias::on_closed`], or it counts as open for ever.
#[derive(Debug, PartialEq, Eq)]
pub struct Tally {
    guard: RsaId,
    state: State,
}

impl Tally {
    /// A circuit that is about to be built.
    pub fn new(guard: RsaId) -> Tally {
        Tally { guard, state: State::New }
    }

    /// It was used, and nobody was answered on it. Before it is closed by us, its exit should be
    /// asked for a stream that it must refuse. If it does, so that the circuit works to its end,
    /// that is a use that succeeded.
    pub fn is_in_doubt(&self) -> bool {
        self.state == State::UseAttempted
    }
}

/// Who closed a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closer {
    /// We did.
    Us,
    /// A relay did, or the link was lost though we did not close it.
    Others,
}

/// How badly a guard fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Worse than usual.
    Notice,
    /// Much worse.
    Warn,
    /// So badly that it may be an attack.
    Extreme,
    /// The same, and it is not used from now on.
    Dropped,
}

/// What it does badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Letting circuits be built and stay.
    Circuits,
    /// Carrying streams.
    Uses,
}

/// What the user says of how guards are judged; what is not said is the consensus's to say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wish {
    /// How many circuits of a guard there must be.
    pub min_circuits: Option<f64>,
    /// How many uses.
    pub min_uses: Option<f64>,
    /// After how many circuits old ones count less.
    pub scale_circuits: Option<f64>,
    /// After how many uses.
    pub scale_uses: Option<f64>,
    /// Below which rate of circuits each level begins: notice, warn, extreme.
    pub circuits: [Option<f64>; 3],
    /// The same of uses: notice, extreme.
    pub uses: [Option<f64>; 2],
    /// Whether guards that fare extremely badly are given up.
    pub drops: Option<bool>,
}

/// By what guards are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    min_circuits: f64,
    min_uses: f64,
    scale_circuits: f64,
    scale_uses: f64,
    /// By what counters are scaled down.
    ratio: f64,
    notice: f64,
    warn: f64,
    extreme: f64,
    notice_use: f64,
    extreme_use: f64,
    drops: bool,
}

impl Limits {
    /// What the user says, and the consensus where the user says nothing. C tor: counters are never
    /// scaled up.
    pub fn of(params: &Params, wish: &Wish) -> Limits {
        let number = |wish: Option<f64>, param| wish.unwrap_or_else(|| f64::from(params.get(param)));
        let rate = |wish: Option<f64>, param| wish.unwrap_or_else(|| f64::from(params.get(param)) / 100.0);
        let below = params.get(Param::PbScaleFactor);
        let ([notice, warn, extreme], [notice_use, extreme_use]) = (wish.circuits, wish.uses);
        Limits {
            min_circuits: number(wish.min_circuits, Param::PbMinCircs),
            min_uses: number(wish.min_uses, Param::PbMinUse),
            scale_circuits: number(wish.scale_circuits, Param::PbScaleCircs),
            scale_uses: number(wish.scale_uses, Param::PbScaleUse),
            ratio: f64::from(params.get(Param::PbMultFactor).min(below)) / f64::from(below),
            notice: rate(notice, Param::PbNoticePct),
            warn: rate(warn, Param::PbWarnPct),
            extreme: rate(extreme, Param::PbExtremePct),
            notice_use: rate(notice_use, Param::PbNoticeUsePct),
            extreme_use: rate(extreme_use, Param::PbExtremeUsePct),
            drops: wish.drops.unwrap_or_else(|| params.is_on(Param::PbDropGuards)),
        }
    }
}

/// That a guard fares badly, said once for each level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Which guard.
    pub guard: RsaId,
    /// How badly.
    pub level: Level,
    /// At what.
    pub aspect: Aspect,
}

/// The open circuits over one guard, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Open([u32; State::Counted as usize]);

impl Open {
    fn change(&mut self, state: State, change: impl FnOnce(u32) -> u32) {
        if let Some(count) = self.0.get_mut(state as usize) {
            *count = change(*count);
        }
    }

    /// How many are in these states.
    fn count(&self, from: State, to: State) -> f64 {
        let counts = self.0.get(from as usize..=to as usize).unwrap_or_default();
        f64::from(counts.iter().sum::<u32>())
    }
}

/// The open circuits over all guards, and what was said of these.
#[derive(Clone, Debug, Default)]
pub struct PathBias {
    open: BTreeMap<RsaId, Open>,
    said: Vec<(RsaId, Level, Aspect)>,
    dropped: Avoided,
}

impl PathBias {
    /// The guards that are not to be used any more.
    pub fn dropped(&self) -> &Avoided {
        &self.dropped
    }

    /// Drops those of an earlier run that fared extremely badly, if that is what the consensus
    /// wants. C tor: `pathbias_check_close_success_count`, however few circuits there were.
    pub fn recall(&mut self, guards: &Guards, limits: &Limits) {
        let is_bad = |bias: &Bias| {
            let Bias([use_attempts, use_successes, attempts, _, closed, ..]) = bias;
            let rates = [(Aspect::Circuits, closed, attempts), (Aspect::Uses, use_successes, use_attempts)];
            let mut rates = rates.into_iter().filter(|(_, _, number)| **number > 0.0);
            rates.any(|(aspect, good, number)| level(aspect, good / number, limits) == Some(Level::Extreme))
        };
        if limits.drops {
            let bad = guards.records().filter(|record| is_bad(&record.bias));
            self.dropped.extend(bad.map(|record| record.id));
        }
    }

    /// Forgets what was said of guards that are no more.
    pub fn forget_others(&mut self, guards: &Guards) {
        self.said.retain(|(guard, ..)| guards.contains(guard));
        self.dropped.retain(|guard| guards.contains(guard));
    }

    /// The first hop is built, and the second is asked for. C tor: from here on a circuit
    /// counts, because a relay that tampers would do so beyond the first hop. If its guard is
    /// [dropped](Self::dropped) by now, it must be closed.
    pub fn on_attempt(&mut self, tally: &mut Tally, guards: &mut Guards, limits: &Limits) -> Option<Alarm> {
        if tally.state != State::New {
            return None;
        }
        self.go(tally, State::Attempted);
        let open = self.open(&tally.guard);
        let bias = &mut guards.record_mut(&tally.guard)?.bias;
        let alarm = self.judge(tally.guard, Aspect::Circuits, open, bias, limits);
        if !self.dropped.contains(&tally.guard) {
            scale_circuits(bias, open, limits);
            let Bias([_, _, attempts, ..]) = bias;
            *attempts += 1.0;
        }
        alarm
    }

    /// Its last hop is built.
    pub fn on_built(&mut self, tally: &mut Tally, guards: &mut Guards) {
        if tally.state == State::Attempted {
            self.go(tally, State::Built);
            count(guards, &tally.guard, |Bias([_, _, _, successes, ..])| *successes += 1.0);
        }
    }

    /// A stream is asked for, or what else it was built for.
    pub fn on_use(&mut self, tally: &mut Tally, guards: &mut Guards, limits: &Limits) -> Option<Alarm> {
        if tally.state != State::Built {
            return None;
        }
        let open = self.open(&tally.guard);
        self.go(tally, State::UseAttempted);
        let bias = &mut guards.record_mut(&tally.guard)?.bias;
        let alarm = self.judge(tally.guard, Aspect::Uses, open, bias, limits);
        scale_uses(bias, open, limits);
        let Bias([attempts, ..]) = bias;
        *attempts += 1.0;
        alarm
    }

    /// Its exit answered in a way that only it could.
    pub fn on_use_succeeded(&mut self, tally: &mut Tally, guards: &mut Guards, limits: &Limits) -> Option<Alarm> {
        let alarm = self.on_use(tally, guards, limits);
        if tally.state == State::UseAttempted {
            self.go(tally, State::UseSucceeded);
        }
        alarm
    }

    /// A stream that succeeded was taken off it, to be tried elsewhere.
    pub fn on_detached(&mut self, tally: &mut Tally) {
        if tally.state == State::UseSucceeded {
            self.go(tally, State::UseAttempted);
        }
    }

    /// It turned out that it cannot be used.
    pub fn on_use_failed(&mut self, tally: &mut Tally) {
        if matches!(tally.state, State::UseAttempted | State::UseSucceeded) {
            self.go(tally, State::UseFailed);
        }
    }

    /// It took too long. C tor: for one that has been used, that is the far end's doing.
    pub fn on_timeout(&mut self, tally: &Tally, guards: &mut Guards) {
        if tally.state != State::UseSucceeded {
            count(guards, &tally.guard, |Bias([.., timeouts])| *timeouts += 1.0);
        }
    }

    /// It is closed.
    pub fn on_closed(&mut self, tally: &mut Tally, guards: &mut Guards, by: Closer) {
        let state = tally.state;
        self.go(tally, State::Counted);
        count(guards, &tally.guard, |Bias([_, use_successes, _, _, closed, collapsed, unusable, _])| {
            match (state, by) {
                (State::Built, Closer::Us) => *closed += 1.0,
                (State::Built, Closer::Others) => *collapsed += 1.0,
                (State::UseSucceeded, _) => {
                    *closed += 1.0;
                    *use_successes += 1.0;
                }
                (State::UseAttempted | State::UseFailed, _) => *unusable += 1.0,
                (State::New | State::Attempted | State::Counted, _) => {}
            }
        });
    }

    fn open(&self, guard: &RsaId) -> Open {
        self.open.get(guard).copied().unwrap_or_default()
    }

    fn go(&mut self, tally: &mut Tally, to: State) {
        let open = self.open.entry(tally.guard).or_default();
        if tally.state != State::New {
            open.change(tally.state, |count| count.saturating_sub(1));
        }
        open.change(to, |count| count.saturating_add(1));
        if *open == Open::default() {
            self.open.remove(&tally.guard);
        }
        tally.state = to;
    }

    /// What the counters mean, if that was not said before. C tor: `pathbias_measure_close_rate`
    /// and `pathbias_measure_use_rate`. Circuits that are open count as good.
    fn judge(&mut self, guard: RsaId, aspect: Aspect, open: Open, bias: &Bias, limits: &Limits) -> Option<Alarm> {
        let Bias([use_attempts, use_successes, attempts, _, closed, ..]) = bias;
        let (most, number, good) = match aspect {
            Aspect::Circuits => {
                (limits.min_circuits, *attempts, closed + open.count(State::Built, State::UseSucceeded))
            }
            Aspect::Uses => {
                (limits.min_uses, *use_attempts, use_successes + open.count(State::UseAttempted, State::UseSucceeded))
            }
        };
        if number <= most {
            return None;
        }
        let level = level(aspect, good / number, limits)?;
        let level = if level == Level::Extreme && limits.drops { Level::Dropped } else { level };
        if level == Level::Dropped {
            self.dropped.insert(guard);
        }
        if self.said.contains(&(guard, level, aspect)) {
            return None;
        }
        self.said.push((guard, level, aspect));
        Some(Alarm { guard, level, aspect })
    }
}

/// C tor: a limit of zero is never undercut, and so turns its level off.
fn level(aspect: Aspect, rate: f64, limits: &Limits) -> Option<Level> {
    let known: &[(f64, Level)] = match aspect {
        Aspect::Circuits => {
            &[(limits.extreme, Level::Extreme), (limits.warn, Level::Warn), (limits.notice, Level::Notice)]
        }
        Aspect::Uses => &[(limits.extreme_use, Level::Extreme), (limits.notice_use, Level::Notice)],
    };
    known.iter().find(|(limit, _)| rate < *limit).map(|(_, level)| *level)
}

fn count(guards: &mut Guards, guard: &RsaId, change: impl FnOnce(&mut Bias)) {
    if let Some(record) = guards.record_mut(guard) {
        change(&mut record.bias);
    }
}

/// Makes old circuits count for less, once there are many; not those that are open, which
/// will be counted again when they close. C tor: `pathbias_scale_close_rates`.
fn scale_circuits(bias: &mut Bias, open: Open, limits: &Limits) {
    let Bias([_, _, attempts, successes, closed, collapsed, unusable, timeouts]) = bias;
    if *attempts <= limits.scale_circuits {
        return;
    }
    let ratio = limits.ratio;
    let built = open.count(State::Built, State::UseFailed);
    let begun = open.count(State::Attempted, State::Attempted) + built;
    *attempts = (*attempts - begun) * ratio + begun;
    *successes = (*successes - built) * ratio + built;
    for counter in [closed, collapsed, unusable, timeouts] {
        *counter *= ratio;
    }
}

/// The same for uses. C tor: `pathbias_scale_use_rates`.
fn scale_uses(bias: &mut Bias, open: Open, limits: &Limits) {
    let Bias([attempts, successes, ..]) = bias;
    if *attempts > limits.scale_uses {
        let (ratio, begun) = (limits.ratio, open.count(State::UseAttempted, State::UseSucceeded));
        *attempts = (*attempts - begun) * ratio + begun;
        *successes *= ratio;
    }
}

#[cfg(test)]
mod tests {
    use super::super::guards::sample::{DEFAULT, Record};
    use super::*;
    use crate::base::time::{Now, Tick, Wall};
    use core::time::Duration;

    const GUARD: RsaId = RsaId([7; 20]);
    const USE_ATTEMPTS: usize = 0;
    const USE_SUCCESSES: usize = 1;
    const ATTEMPTS: usize = 2;
    const SUCCESSES: usize = 3;
    const CLOSED: usize = 4;
    const COLLAPSED: usize = 5;
    const UNUSABLE: usize = 6;
    const TIMEOUTS: usize = 7;

    fn limits(params: &str, wish: &Wish) -> Limits {
        Limits::of(&Params::parse(params.split_whitespace()).unwrap(), wish)
    }

    /// One guard, and circuits over it.
    struct World {
        guards: Guards,
        bias: PathBias,
        limits: Limits,
    }

    impl World {
        fn new(params: &str) -> World {
            let now = Now { tick: Tick::new(Duration::ZERO), wall: Wall::from_secs(1_800_000_000) };
            let guards = Guards::new().with([Record::new(DEFAULT, GUARD, "guard", "test", now.wall)], now);
            World { guards, bias: PathBias::default(), limits: limits(params, &Wish::default()) }
        }

        fn counters(&self) -> [f64; 8] {
            self.guards.records().next().unwrap().bias.0
        }

        fn set(&mut self, counters: &[(usize, f64)]) {
            let bias = &mut self.guards.record_mut(&GUARD).unwrap().bias.0;
            counters.iter().for_each(|&(at, value)| bias[at] = value);
        }

        /// Only these are not zero.
        fn assert(&self, expected: &[(usize, f64)]) {
            let mut all = [0.0; 8];
            expected.iter().for_each(|&(at, value)| all[at] = value);
            assert_eq!(self.counters(), all);
        }

        fn attempt(&mut self) -> (Tally, Option<Alarm>) {
            let mut tally = Tally::new(GUARD);
            let alarm = self.bias.on_attempt(&mut tally, &mut self.guards, &self.limits);
            (tally, alarm)
        }

        fn built(&mut self) -> Tally {
            let (mut tally, _) = self.attempt();
            self.bias.on_built(&mut tally, &mut self.guards);
            tally
        }

        fn used(&mut self) -> (Tally, Option<Alarm>) {
            let mut tally = self.built();
            let alarm = self.bias.on_use(&mut tally, &mut self.guards, &self.limits);
            (tally, alarm)
        }

        fn succeed(&mut self, tally: &mut Tally) {
            self.bias.on_use_succeeded(tally, &mut self.guards, &self.limits);
        }

        fn close(&mut self, tally: &mut Tally, by: Closer) {
            self.bias.on_closed(tally, &mut self.guards, by);
        }
    }

    /// C tor: `pathbias_check_close`.
    #[test]
    fn each_end_of_a_circuit_is_counted_as_what_it_is() {
        const BUILT: [(usize, f64); 2] = [(ATTEMPTS, 1.0), (SUCCESSES, 1.0)];
        let end = |prepare: fn(&mut World) -> Tally, by, expected: &[(usize, f64)]| {
            let mut world = World::new("");
            let mut tally = prepare(&mut world);
            world.close(&mut tally, by);
            world.assert(expected);
            // What was counted is not counted again.
            world.close(&mut tally, by);
            world.succeed(&mut tally);
            world.assert(expected);
            assert!(world.bias.open.is_empty());
        };
        end(|_| Tally::new(GUARD), Closer::Us, &[]);
        end(|world| world.attempt().0, Closer::Others, &[(ATTEMPTS, 1.0)]);
        end(World::built, Closer::Us, &[&BUILT[..], &[(CLOSED, 1.0)]].concat());
        end(World::built, Closer::Others, &[&BUILT[..], &[(COLLAPSED, 1.0)]].concat());
        let used = [&BUILT[..], &[(USE_ATTEMPTS, 1.0)]].concat();
        end(|world| world.used().0, Closer::Us, &[&used[..], &[(UNUSABLE, 1.0)]].concat());
        let succeeded = |world: &mut World| {
            let mut tally = world.built();
            world.succeed(&mut tally);
            tally
        };
        end(succeeded, Closer::Others, &[&used[..], &[(CLOSED, 1.0), (USE_SUCCESSES, 1.0)]].concat());
        let detached = |world: &mut World| {
            let mut tally = world.used().0;
            world.succeed(&mut tally);
            world.bias.on_detached(&mut tally);
            tally
        };
        end(detached, Closer::Us, &[&used[..], &[(UNUSABLE, 1.0)]].concat());
        let failed = |world: &mut World| {
            let mut tally = world.used().0;
            world.bias.on_use_failed(&mut tally);
            tally
        };
        end(failed, Closer::Us, &[&used[..], &[(UNUSABLE, 1.0)]].concat());
    }

    #[test]
    fn a_circuit_that_was_used_in_vain_is_in_doubt_until_its_exit_answers() {
        for (answers, expected) in [(true, (CLOSED, USE_SUCCESSES)), (false, (UNUSABLE, UNUSABLE))] {
            let mut world = World::new("");
            let (mut tally, _) = world.used();
            assert!(tally.is_in_doubt() && !world.built().is_in_doubt());
            if answers {
                world.succeed(&mut tally);
            }
            assert_eq!(tally.is_in_doubt(), !answers);
            world.close(&mut tally, Closer::Us);
            let counters = world.counters();
            assert_eq!((counters[expected.0], counters[expected.1]), (1.0, 1.0));
        }
    }

    #[test]
    fn a_timeout_counts_unless_it_was_used_well() {
        let mut world = World::new("");
        let (mut tally, _) = world.used();
        world.bias.on_timeout(&tally, &mut world.guards);
        world.succeed(&mut tally);
        world.bias.on_timeout(&tally, &mut world.guards);
        assert_eq!(world.counters()[TIMEOUTS], 1.0);
    }

    /// The limits of C tor, at each of which the level is still the milder one.
    #[test]
    fn a_guard_that_fares_badly_is_told_of_once_for_each_level() {
        for (attempts, closed, expected) in [
            (151.0, 151.0 * 0.71, None),
            (150.0, 0.0, None),
            (200.0, 140.0, None),
            (200.0, 139.0, Some(Level::Notice)),
            (200.0, 100.0, Some(Level::Notice)),
            (200.0, 99.0, Some(Level::Warn)),
            (200.0, 60.0, Some(Level::Warn)),
            (200.0, 59.0, Some(Level::Extreme)),
        ] {
            let mut world = World::new("");
            world.set(&[(ATTEMPTS, attempts), (SUCCESSES, attempts), (CLOSED, closed)]);
            let expected = expected.map(|level| Alarm { guard: GUARD, level, aspect: Aspect::Circuits });
            assert_eq!(world.attempt().1, expected, "{closed} of {attempts}");
            world.set(&[(ATTEMPTS, attempts)]);
            assert_eq!(world.attempt().1, None, "once");
            assert!(world.bias.dropped().is_empty());
        }
        for (attempts, successes, expected) in [
            (20.0, 0.0, None),
            (50.0, 40.0, None),
            (50.0, 39.0, Some(Level::Notice)),
            (50.0, 30.0, Some(Level::Notice)),
            (50.0, 29.0, Some(Level::Extreme)),
        ] {
            let mut world = World::new("");
            world.set(&[(USE_ATTEMPTS, attempts), (USE_SUCCESSES, successes)]);
            let expected = expected.map(|level| Alarm { guard: GUARD, level, aspect: Aspect::Uses });
            let (mut tally, alarm) = world.used();
            assert_eq!(alarm, expected, "{successes} of {attempts}");
            world.close(&mut tally, Closer::Us);
            world.set(&[(USE_ATTEMPTS, attempts)]);
            assert_eq!(world.used().1, None, "once");
        }
    }

    #[test]
    fn circuits_that_are_open_count_as_good() {
        let mut world = World::new("");
        let open: Vec<_> = (0..40).map(|_| world.built()).collect();
        world.set(&[(ATTEMPTS, 200.0), (SUCCESSES, 200.0), (CLOSED, 100.0)]);
        assert_eq!(world.attempt().1, None, "140 of 200");
        for mut tally in open {
            world.close(&mut tally, Closer::Others);
        }
        assert_eq!(world.attempt().1.map(|alarm| alarm.level), Some(Level::Warn), "100 of 201");
    }

    #[test]
    fn a_guard_is_dropped_only_if_the_consensus_says_so() {
        let mut world = World::new("pb_dropguards=1");
        world.set(&[(ATTEMPTS, 200.0), (SUCCESSES, 200.0), (CLOSED, 59.0)]);
        assert_eq!(world.attempt().1.map(|alarm| alarm.level), Some(Level::Dropped));
        assert_eq!(world.counters()[ATTEMPTS], 200.0, "what is not used is not counted");
        assert!(world.bias.dropped().contains(&GUARD));
        world.bias.forget_others(&world.guards);
        assert!(world.bias.dropped().contains(&GUARD));
        world.bias.forget_others(&Guards::new());
        assert!(world.bias.dropped().is_empty() && world.bias.said.is_empty());
        // After a restart.
        world.bias.recall(&world.guards, &limits("", &Wish::default()));
        assert!(world.bias.dropped().is_empty());
        world.bias.recall(&world.guards, &world.limits);
        assert!(world.bias.dropped().contains(&GUARD));
        let mut world = World::new("pb_extremepct=0 pb_warnpct=0 pb_noticepct=0");
        world.set(&[(ATTEMPTS, 200.0), (SUCCESSES, 200.0)]);
        assert_eq!(world.attempt().1, None, "zero turns it off");
    }

    /// C tor: `pathbias_scale_close_rates`, which finds the new circuit among those open.
    #[test]
    fn what_is_long_ago_counts_for_half() {
        let mut world = World::new("");
        let _open: Vec<_> = (0..9).map(|_| world.built()).collect();
        world.set(&[
            (ATTEMPTS, 301.0),
            (SUCCESSES, 299.0),
            (CLOSED, 280.0),
            (COLLAPSED, 4.0),
            (UNUSABLE, 2.0),
            (TIMEOUTS, 6.0),
        ]);
        let (_tally, alarm) = world.attempt();
        assert_eq!(alarm, None);
        let expected = [
            (ATTEMPTS, (301.0 - 10.0) / 2.0 + 10.0 + 1.0),
            (SUCCESSES, (299.0 - 9.0) / 2.0 + 9.0),
            (CLOSED, 140.0),
            (COLLAPSED, 2.0),
            (UNUSABLE, 1.0),
            (TIMEOUTS, 3.0),
        ];
        world.assert(&expected);
        let mut world = World::new("pb_scaleuse=10 pb_scalefactor=4 pb_multfactor=3");
        let (_open, _) = world.used();
        world.set(&[(ATTEMPTS, 0.0), (SUCCESSES, 0.0), (USE_ATTEMPTS, 13.0), (USE_SUCCESSES, 12.0)]);
        world.used();
        let counters = world.counters();
        assert_eq!((counters[USE_ATTEMPTS], counters[USE_SUCCESSES]), (12.0 * 0.75 + 1.0 + 1.0, 9.0));
        assert_eq!(limits("pb_scalefactor=2 pb_multfactor=9", &Wish::default()).ratio, 1.0);
    }

    #[test]
    fn what_is_out_of_order_counts_for_nothing() {
        let mut world = World::new("");
        let mut tally = Tally::new(GUARD);
        world.bias.on_built(&mut tally, &mut world.guards);
        world.succeed(&mut tally);
        world.bias.on_detached(&mut tally);
        world.bias.on_use_failed(&mut tally);
        world.assert(&[]);
        let (mut tally, _) = world.attempt();
        assert_eq!(world.bias.on_attempt(&mut tally, &mut world.guards, &world.limits), None);
        world.succeed(&mut tally);
        world.assert(&[(ATTEMPTS, 1.0)]);
        // Of a guard that is gone nothing is counted.
        let mut other = Tally::new(RsaId([8; 20]));
        world.bias.on_attempt(&mut other, &mut world.guards, &world.limits);
        world.close(&mut other, Closer::Us);
        world.assert(&[(ATTEMPTS, 1.0)]);
    }

    #[test]
    fn the_user_may_say_how_guards_are_judged() {
        let wish = Wish {
            min_circuits: Some(5.0),
            circuits: [None, Some(0.4), Some(0.125)],
            scale_circuits: Some(10.0),
            drops: Some(true),
            ..Wish::default()
        };
        for (closed, level) in [(6.0, Level::Notice), (3.0, Level::Warn), (1.0, Level::Dropped)] {
            let mut world = World { limits: limits("pb_dropguards=0", &wish), ..World::new("") };
            world.set(&[(ATTEMPTS, 9.0), (SUCCESSES, 9.0), (CLOSED, closed)]);
            assert_eq!(world.attempt().1.map(|alarm| alarm.level), Some(level), "{closed}");
            world.set(&[(ATTEMPTS, 5.0), (CLOSED, 0.0)]);
            assert_eq!(world.attempt().1, None);
        }
        let wish = Wish { min_uses: Some(3.0), uses: [Some(1.0), Some(0.0)], scale_uses: Some(10.0), ..wish };
        let mut world = World { limits: limits("", &wish), ..World::new("") };
        world.set(&[(USE_ATTEMPTS, 20.0), (USE_SUCCESSES, 19.0)]);
        assert_eq!(world.used().1.map(|alarm| alarm.level), Some(Level::Notice));
        assert_eq!(world.counters()[USE_ATTEMPTS], 11.0);
        assert!(!limits("pb_dropguards=1", &Wish { drops: Some(false), ..wish }).drops);
    }
}
