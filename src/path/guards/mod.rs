//! Which guard now: a small sample that is kept for months, and an order of trying it.
//!
//! SAMPLED, in the order in which they were drawn; of these FILTERED are those the user and
//! the directory let us use, CONFIRMED those that have served, PRIMARY the first few. Knows no
//! circuit: what became of one comes in, what to use comes out. Called by `path` and by
//! `client`, which saves it. Spec: guard-spec; proposal 310 for the order. C tor:
//! feature/client/entrynodes.c. Not here yet: bridges.

pub mod sample;

use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;

use self::sample::{DEFAULT, RESTRICTED, Record};
use crate::base::RsaId;
use crate::base::random::{self, Entropy};
use crate::base::time::{Now, Tick};
use crate::directory::params::{Param, Params};

/// The most guards that are read from a file; ours, twice what C tor samples at most.
pub const MAX_LOADED: usize = 512;
const DAY: Duration = Duration::from_secs(86_400);
/// Dates are made vague by this part of the time they decide. C tor's.
const VAGUE_PART: u32 = 10;
const VAGUE_UNLISTED_PART: u32 = 5;

/// How long after its last trial a guard that fails is tried again: by how long it fails,
/// for a primary one and for others. C tor: `get_retry_schedule`.
const RETRIES: [(Duration, Duration, Duration); 4] = [
    (hours(6), minutes(10), hours(1)),
    (hours(96), minutes(90), hours(4)),
    (hours(168), hours(4), hours(18)),
    (Duration::MAX, hours(9), hours(36)),
];

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}

/// What the directory and the user say of possible guards.
pub trait Candidates {
    /// Whether what it says is recent enough to change a sample by.
    fn is_recent(&self) -> bool;
    /// Those that may be sampled, and their weights.
    fn eligible(&self) -> Vec<(RsaId, u64)>;
    /// Whether it is listed as one that may be a guard. C tor: one that lost a flag it needs
    /// for that counts as gone.
    fn is_listed(&self, id: &RsaId) -> bool;
    /// Whether the user lets us connect to it.
    fn is_allowed(&self, id: &RsaId) -> bool;
    /// Whether enough is known of it to build circuits.
    fn has_descriptor(&self, id: &RsaId) -> bool;
    /// What it is called.
    fn nickname(&self, id: &RsaId) -> &str;
}

/// What a guard is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Usage {
    /// Circuits for streams.
    Traffic,
    /// Asking for the directory.
    Directory,
}

/// Guards that will not do for one circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restriction {
    /// They are in its path already, or related to a relay that is. C tor: skipped ones count
    /// among those that may be used, so that a choice of exits makes nobody use more guards.
    Path(Arc<BTreeSet<RsaId>>),
    /// They do not have what is wanted of a directory.
    Outdated(Arc<BTreeSet<RsaId>>),
}

impl Restriction {
    fn allows(&self, id: &RsaId) -> bool {
        let (Restriction::Path(avoided) | Restriction::Outdated(avoided)) = self;
        !avoided.contains(id)
    }
}

/// How far a circuit is allowed to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It may be used once it is built.
    OnCompletion,
    /// It is built only in case no better guard works.
    IfNoBetter,
    /// It is built, and better guards may still turn out to work.
    Waiting,
    /// It may be used.
    Complete,
}

/// A guard that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Who.
    pub id: RsaId,
    /// What its circuit may do.
    pub standing: Standing,
}

/// A circuit of those for which a guard was chosen.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its guard.
    pub guard: RsaId,
    /// What it may do.
    pub standing: Standing,
    /// Since when.
    pub since: Tick,
    /// What its guard had to obey.
    pub restriction: Option<Restriction>,
}

/// What became of a guard, for those who watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It is in the sample now.
    New(RsaId),
    /// It works.
    Up(RsaId),
    /// It does not.
    Down(RsaId),
    /// It is out of the sample.
    Dropped(RsaId),
}

/// How many guards, where the user says it; zero leaves it to the consensus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// In use for traffic.
    pub in_use: u32,
    /// In use for the directory.
    pub for_directory: u32,
    /// In the first rank.
    pub primary: u32,
    /// How long one is kept.
    pub lifetime: Option<Duration>,
}

/// Whether a guard can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Yes,
    No,
    Maybe,
}

/// A guard in this run.
#[derive(Clone, Debug)]
struct Guard {
    record: Record,
    reach: Reach,
    /// The user and the directory let us use it.
    is_filtered: bool,
    is_primary: bool,
    /// A circuit over it is under way, though it is no primary one.
    is_pending: bool,
    failing_since: Option<Tick>,
    tried: Option<Tick>,
}

/// The guards of one selection.
#[derive(Clone, Debug, Default)]
pub struct Guards {
    /// They are a sample of those that the user lets us use, who are few. C tor: it filters before
    /// it samples, or might sample none of them.
    is_restricted: bool,
    /// In the order of sampling.
    sample: Vec<Guard>,
    /// In the order of use.
    primary: Vec<RsaId>,
    last_success: Option<Tick>,
    /// Something changed that the next run should know.
    is_changed: bool,
    news: Vec<News>,
}

/// All that a decision depends on.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// What the directory and the user say.
    pub candidates: &'a dyn Candidates,
    /// The consensus parameters.
    pub params: &'a Params,
    /// How many guards the user wants.
    pub wish: Wish,
    /// The name and version of this program, for the state file.
    pub program: &'a str,
    /// The time.
    pub now: Now,
}

impl Guards {
    /// None yet.
    pub fn new() -> Guards {
        Guards::default()
    }

    /// None yet, of somebody who lets us use few.
    pub fn restricted() -> Guards {
        Guards { is_restricted: true, ..Guards::default() }
    }

    /// What the selection is called.
    pub fn selection(&self) -> &'static str {
        if self.is_restricted { RESTRICTED } else { DEFAULT }
    }

    /// The same with those of an earlier run.
    #[must_use]
    pub fn with(self, records: impl IntoIterator<Item = Record>, now: Now) -> Guards {
        let mut records: Vec<Record> = records.into_iter().take(MAX_LOADED).collect();
        // Those without a place are last, in the order of the file.
        records.sort_by_key(|record| record.sampled_index.unwrap_or(u32::MAX));
        let mut seen = BTreeSet::new();
        records.retain(|record| seen.insert(record.id));
        records.iter_mut().for_each(|record| record.forget_the_future(now.wall));
        let mut guards = Guards { sample: records.into_iter().map(Guard::of).collect(), ..self };
        guards.number_confirmed();
        guards
    }

    /// What the next run should know, in the order of sampling.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.sample.iter().map(|guard| &guard.record)
    }

    /// Whether it should be saved; asking forgets it.
    pub fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.is_changed)
    }

    /// What became of guards since this was last asked.
    pub fn take_news(&mut self) -> Vec<News> {
        core::mem::take(&mut self.news)
    }

    /// The primary ones, in the order of use.
    pub fn primary(&self) -> &[RsaId] {
        &self.primary
    }

    /// Whether this one is in the sample.
    pub fn contains(&self, id: &RsaId) -> bool {
        self.sample.iter().any(|guard| guard.record.id == *id)
    }

    /// Whether this one failed when it was tried last, and is to be left alone for a while.
    pub fn is_down(&self, id: &RsaId) -> bool {
        self.get(id).is_some_and(|guard| guard.reach == Reach::No)
    }

    /// How often circuits over a guard did what; `None` if it is none.
    pub fn record_mut(&mut self, id: &RsaId) -> Option<&mut Record> {
        self.is_changed = true;
        self.get_mut(id).map(|guard| &mut guard.record)
    }

    /// A new consensus, or a new wish of the user.
    pub fn update(&mut self, scene: Scene<'_>, entropy: &mut dyn Entropy) {
        if scene.candidates.is_recent() {
            self.update_listed(scene, entropy);
            self.prune(scene);
        }
        self.filter(scene);
        self.expand(scene, entropy);
        self.choose_primary(scene);
    }

    /// A guard for a circuit. `None` if all were tried in vain: then all may be tried again.
    pub fn choose(
        &mut self,
        usage: Usage,
        restriction: Option<&Restriction>,
        scene: Scene<'_>,
        entropy: &mut dyn Entropy,
    ) -> Option<Choice> {
        self.retry(scene.now.tick);
        let choice = self
            .choose_of_primary(usage, restriction, scene, entropy)
            .map(|id| Choice { id, standing: Standing::OnCompletion })
            .or_else(|| self.choose_of_others(usage, restriction, scene, entropy));
        match choice {
            Some(choice) => {
                if let Some(guard) = self.get_mut(&choice.id) {
                    guard.tried = Some(scene.now.tick);
                    guard.is_pending |= choice.standing == Standing::IfNoBetter;
                }
            }
            None => self.sample.iter_mut().for_each(Guard::forgive),
        }
        choice
    }

    /// A circuit over a guard got through its first hop; gives what the circuit may do now.
    pub fn on_success(
        &mut self,
        id: &RsaId,
        standing: Standing,
        scene: Scene<'_>,
        entropy: &mut dyn Entropy,
    ) -> Standing {
        let last_success = self.last_success.replace(scene.now.tick);
        let next_index = self.sample.iter().filter(|guard| guard.record.confirmed.is_some()).count();
        let lifetime = scene.lifetime();
        let Some(guard) = self.get_mut(id) else { return Standing::Complete };
        let is_new = guard.reach != Reach::Yes;
        guard.reach = Reach::Yes;
        guard.failing_since = None;
        guard.is_pending = false;
        if guard.record.confirmed.is_none() {
            let on = sample::vague(scene.now.wall, lifetime / VAGUE_PART, entropy);
            guard.record.confirmed = Some((on, u32::try_from(next_index).unwrap_or(u32::MAX)));
            self.is_changed = true;
            self.choose_primary(scene);
        }
        self.news.extend(is_new.then_some(News::Up(*id)));
        if self.is_primary(id) {
            return Standing::Complete;
        }
        // After a long silence the primary ones deserve another trial.
        let silence = seconds(scene.params, Param::GuardInternetLikelyDownInterval);
        if last_success.is_some_and(|last| last + silence < scene.now.tick) {
            self.sample.iter_mut().filter(|guard| guard.is_primary).for_each(Guard::forgive);
        }
        match standing {
            Standing::OnCompletion | Standing::Complete => Standing::Complete,
            Standing::IfNoBetter | Standing::Waiting => Standing::Waiting,
        }
    }

    /// A guard could not be reached, or its handshake failed.
    pub fn on_failure(&mut self, id: &RsaId, now: Tick) {
        let Some(guard) = self.get_mut(id) else { return };
        guard.reach = Reach::No;
        guard.is_pending = false;
        guard.failing_since.get_or_insert(now);
        self.news.push(News::Down(*id));
    }

    /// A circuit over a guard was not built after all, which says nothing about the guard.
    pub fn on_cancelled(&mut self, id: &RsaId) {
        if let Some(guard) = self.get_mut(id) {
            guard.is_pending = false;
        }
    }

    /// The network is back: every primary guard may be tried at once.
    pub fn on_network_back(&mut self) {
        self.sample.iter_mut().filter(|guard| guard.is_primary).for_each(Guard::forgive);
    }

    /// Of circuits that wait for better guards, the places of those that need not any more.
    pub fn upgrade(&self, circuits: &[Pending], scene: Scene<'_>) -> Vec<usize> {
        let all_down = self.primary.iter().all(|id| self.get(id).is_none_or(|guard| guard.reach == Reach::No));
        let waiting = circuits.iter().filter(|circuit| circuit.standing == Standing::Waiting);
        let best = waiting.reduce(|best, other| if self.is_better(&other.guard, &best.guard) { other } else { best });
        let Some(best) = best.filter(|_| all_down) else { return Vec::new() };
        let patience = seconds(scene.params, Param::GuardNonprimaryConnectTimeout);
        let blocks = |circuit: &&Pending| {
            let may_block = match circuit.standing {
                Standing::Complete => true,
                Standing::IfNoBetter => circuit.since + patience > scene.now.tick,
                Standing::OnCompletion | Standing::Waiting => false,
            };
            let obeys = best.restriction.as_ref().is_none_or(|restriction| restriction.allows(&circuit.guard));
            may_block && obeys && self.is_better(&circuit.guard, &best.guard)
        };
        if circuits.iter().any(|circuit| blocks(&circuit)) {
            return Vec::new();
        }
        let is_as_good = |circuit: &Pending| {
            let is_best = core::ptr::eq(circuit, best);
            let is_equal = best.restriction.is_none() && !self.is_better(&best.guard, &circuit.guard);
            circuit.standing == Standing::Waiting && (is_best || is_equal)
        };
        (0..circuits.len()).filter(|place| circuits.get(*place).is_some_and(is_as_good)).collect()
    }

    /// For how long a circuit waits for better guards before it is given up.
    pub fn patience(params: &Params) -> Duration {
        seconds(params, Param::GuardNonprimaryIdleTimeout)
    }

    /// Whether one of the primary guards that will be tried next cannot be used for want of
    /// its descriptor. C tor: it looks at one more than it uses.
    pub fn lacks_descriptor(&self, scene: Scene<'_>) -> bool {
        let most = scene.in_use(Usage::Traffic) + 1;
        let next = self.primary.iter().filter_map(|id| self.get(id)).filter(|guard| guard.reach != Reach::No);
        next.take(most).any(|guard| !scene.candidates.has_descriptor(&guard.record.id))
    }

    // --- the sample ----------------------------------------------------------------------

    fn update_listed(&mut self, scene: Scene<'_>, entropy: &mut dyn Entropy) {
        let vague = days(scene.params, Param::GuardRemoveUnlistedAfterDays) / VAGUE_UNLISTED_PART;
        for guard in &mut self.sample {
            let is_listed = scene.candidates.is_listed(&guard.record.id);
            let record = &mut guard.record;
            self.is_changed |= record.is_listed != is_listed;
            record.is_listed = is_listed;
            record.unlisted_since = match record.unlisted_since {
                _ if is_listed => None,
                Some(since) => Some(since),
                None => Some(sample::vague(scene.now.wall, vague, entropy)),
            };
        }
    }

    /// Drops those that are gone from the network, never served, or served long enough.
    fn prune(&mut self, scene: Scene<'_>) {
        let now = scene.now.wall;
        let (unlisted, lifetime) = (days(scene.params, Param::GuardRemoveUnlistedAfterDays), scene.lifetime());
        let confirmed_lifetime =
            scene.wish.lifetime.unwrap_or(days(scene.params, Param::GuardConfirmedMinLifetimeDays));
        let is_over = |record: &Record| {
            let is_gone = record.unlisted_since.is_some_and(|since| now.since(since) > unlisted);
            let is_old = match record.confirmed {
                None => now.since(record.sampled_on) > lifetime,
                Some((on, _)) => now.since(on) > confirmed_lifetime,
            };
            is_gone || is_old
        };
        let dropped: Vec<RsaId> = self.records().filter(|record| is_over(record)).map(|record| record.id).collect();
        if !dropped.is_empty() {
            self.sample.retain(|guard| !dropped.contains(&guard.record.id));
            self.primary.retain(|id| !dropped.contains(id));
            self.news.extend(dropped.into_iter().map(News::Dropped));
            self.number_confirmed();
            self.is_changed = true;
        }
    }

    fn filter(&mut self, scene: Scene<'_>) {
        for guard in &mut self.sample {
            let id = &guard.record.id;
            guard.is_filtered =
                guard.record.is_listed && scene.candidates.is_listed(id) && scene.candidates.is_allowed(id);
        }
    }

    /// Draws more guards until enough of them are usable, or there are too many.
    fn expand(&mut self, scene: Scene<'_>, entropy: &mut dyn Entropy) {
        let wanted = usize_of(scene.params.unsigned(Param::GuardMinFilteredSampleSize));
        let usable = |sample: &[Guard]| sample.iter().filter(|guard| guard.is_usable()).count();
        if !scene.candidates.is_recent() || usable(&self.sample) >= wanted {
            return;
        }
        let mut eligible = scene.candidates.eligible();
        if self.is_restricted {
            eligible.retain(|(id, _)| scene.candidates.is_allowed(id));
        }
        let most = most_sampled(scene.params, eligible.len());
        let mine: BTreeSet<RsaId> = self.records().map(|record| record.id).collect();
        eligible.retain(|(id, _)| !mine.contains(id));
        while usable(&self.sample) < wanted && self.sample.len() < most {
            let Some(id) = draw(&mut eligible, entropy) else { return };
            let on = sample::vague(scene.now.wall, scene.lifetime() / VAGUE_PART, entropy);
            let record = Record::new(self.selection(), id, scene.candidates.nickname(&id), scene.program, on);
            let is_filtered = scene.candidates.is_allowed(&id);
            self.sample.push(Guard { is_filtered, ..Guard::of(record) });
            self.news.push(News::New(id));
            self.is_changed = true;
        }
    }

    /// Confirmed ones first, then those that were primary before, then the next of the sample.
    fn choose_primary(&mut self, scene: Scene<'_>) {
        let count = match scene.wish.primary {
            0 => scene.params.unsigned(Param::GuardNPrimaryGuards),
            count => count,
        };
        let usable = |guard: &&Guard| guard.is_filtered;
        let confirmed = self.sample.iter().filter(|guard| guard.record.confirmed.is_some()).filter(usable);
        let before = self.primary.iter().filter_map(|id| self.get(id)).filter(usable);
        let next = self.sample.iter().filter(|guard| guard.is_usable());
        let mut chosen: Vec<RsaId> = Vec::new();
        for guard in confirmed.chain(before).chain(next) {
            if chosen.len() < usize_of(count) && !chosen.contains(&guard.record.id) {
                chosen.push(guard.record.id);
            }
        }
        for guard in &mut self.sample {
            guard.is_primary = chosen.contains(&guard.record.id);
        }
        // C tor: whoever they are, they are used in the order of sampling.
        if chosen != self.primary {
            chosen = self.sample.iter().filter(|guard| guard.is_primary).map(|guard| guard.record.id).collect();
        }
        self.primary = chosen;
    }

    /// Keeps the numbers of those confirmed dense.
    fn number_confirmed(&mut self) {
        let mut confirmed: Vec<_> =
            self.sample.iter_mut().filter_map(|guard| guard.record.confirmed.as_mut()).collect();
        confirmed.sort_by_key(|(_, index)| *index);
        (0..).zip(confirmed).for_each(|(number, (_, index))| *index = number);
    }

    // --- the choice ----------------------------------------------------------------------

    /// Those that failed long enough ago may be tried again.
    fn retry(&mut self, now: Tick) {
        for guard in &mut self.sample {
            if guard.is_retry_due(now) {
                guard.forgive();
            }
        }
    }

    fn choose_of_primary(
        &self,
        usage: Usage,
        restriction: Option<&Restriction>,
        scene: Scene<'_>,
        entropy: &mut dyn Entropy,
    ) -> Option<RsaId> {
        let most = scene.in_use(usage);
        let (mut usable, mut considered) = (Vec::new(), 0);
        for guard in self.primary.iter().filter_map(|id| self.get(id)) {
            let id = guard.record.id;
            if restriction.is_some_and(|restriction| !restriction.allows(&id)) {
                considered += usize::from(matches!(restriction, Some(Restriction::Path(_))));
            } else if guard.reach != Reach::No && guard.is_ready(usage, scene) {
                usable.push(id);
                considered += 1;
            } else {
                continue;
            }
            if considered >= most && !usable.is_empty() {
                break;
            }
        }
        let place = random::below(entropy, u32::try_from(usable.len()).unwrap_or(u32::MAX));
        usable.get(usize_of(place)).copied()
    }

    /// The first confirmed one that is not under way; then the first of the sample.
    fn choose_of_others(
        &mut self,
        usage: Usage,
        restriction: Option<&Restriction>,
        scene: Scene<'_>,
        entropy: &mut dyn Entropy,
    ) -> Option<Choice> {
        // C tor: what a restriction forbids is not counted among those there are.
        let wanted = usize_of(scene.params.unsigned(Param::GuardMinFilteredSampleSize));
        let obeys = |guard: &Guard| restriction.is_none_or(|restriction| restriction.allows(&guard.record.id));
        if self.sample.iter().filter(|guard| guard.is_usable() && obeys(guard)).count() < wanted {
            self.expand(scene, entropy);
        }
        let fits = |guard: &&Guard| {
            guard.is_usable() && !guard.is_primary && !guard.is_pending && obeys(guard) && guard.is_ready(usage, scene)
        };
        let is_confirmed = |guard: &&Guard| guard.record.confirmed.is_some();
        let confirmed = self.sample.iter().filter(is_confirmed).find(fits);
        let guard = confirmed.or_else(|| self.sample.iter().find(fits))?;
        Some(Choice { id: guard.record.id, standing: Standing::IfNoBetter })
    }

    /// Whether a circuit over the first is worth more than one over the second.
    fn is_better(&self, a: &RsaId, b: &RsaId) -> bool {
        let (Some(a), Some(b)) = (self.get(a), self.get(b)) else { return false };
        let index = |guard: &Guard| guard.record.confirmed.map(|(_, index)| index);
        match (index(a), index(b)) {
            (Some(a), Some(b)) => a < b,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => a.is_pending && (!b.is_pending || a.tried < b.tried),
        }
    }

    fn is_primary(&self, id: &RsaId) -> bool {
        self.primary.contains(id)
    }

    fn get(&self, id: &RsaId) -> Option<&Guard> {
        self.sample.iter().find(|guard| guard.record.id == *id)
    }

    fn get_mut(&mut self, id: &RsaId) -> Option<&mut Guard> {
        self.sample.iter_mut().find(|guard| guard.record.id == *id)
    }
}

impl Guard {
    fn of(record: Record) -> Guard {
        Guard {
            record,
            reach: Reach::Maybe,
            is_filtered: false,
            is_primary: false,
            is_pending: false,
            failing_since: None,
            tried: None,
        }
    }

    fn is_usable(&self) -> bool {
        self.is_filtered && self.reach != Reach::No
    }

    fn is_ready(&self, usage: Usage, scene: Scene<'_>) -> bool {
        usage == Usage::Directory || scene.candidates.has_descriptor(&self.record.id)
    }

    /// It may be tried again, though it is known to fail.
    fn forgive(&mut self) {
        if self.reach == Reach::No {
            self.reach = Reach::Maybe;
        }
    }

    /// C tor: how long to wait follows from how long it fails by now, not by its last trial.
    fn is_retry_due(&self, now: Tick) -> bool {
        let (Some(tried), Some(since)) = (self.tried, self.failing_since) else { return true };
        tried + retry_delay(now.since(since), self.is_primary) <= now
    }
}

fn retry_delay(failing: Duration, is_primary: bool) -> Duration {
    let row = RETRIES.iter().find(|(most, ..)| failing <= *most);
    row.map_or(Duration::MAX, |(_, primary, other)| if is_primary { *primary } else { *other })
}

impl Scene<'_> {
    fn lifetime(&self) -> Duration {
        self.wish.lifetime.unwrap_or(days(self.params, Param::GuardLifetimeDays))
    }

    /// Of how many primary guards one is drawn.
    fn in_use(&self, usage: Usage) -> usize {
        let (wish, param) = match usage {
            Usage::Traffic => (self.wish.in_use, Param::GuardNPrimaryGuardsToUse),
            Usage::Directory => (self.wish.for_directory, Param::GuardNPrimaryDirGuardsToUse),
        };
        usize_of(if wish == 0 { self.params.unsigned(param) } else { wish })
    }
}

/// A share of all guards, but neither too few nor too many.
fn most_sampled(params: &Params, guards: usize) -> usize {
    let share = guards * usize_of(params.unsigned(Param::GuardMaxSampleThresholdPercent)) / 100;
    let most = usize_of(params.unsigned(Param::GuardMaxSampleSize));
    share.min(most).max(usize_of(params.unsigned(Param::GuardMinFilteredSampleSize)))
}

/// Takes one out, each as likely as its weight; all alike if none has any.
fn draw(eligible: &mut Vec<(RsaId, u64)>, entropy: &mut dyn Entropy) -> Option<RsaId> {
    let total = eligible.iter().fold(0_u64, |sum, (_, weight)| sum.saturating_add(*weight));
    let place = if total == 0 {
        usize_of(random::below(entropy, u32::try_from(eligible.len()).unwrap_or(u32::MAX)))
    } else {
        let mut left = super::weights::below(entropy, total);
        eligible.iter().position(|(_, weight)| match left.checked_sub(*weight) {
            None => true,
            Some(rest) => {
                left = rest;
                false
            }
        })?
    };
    (place < eligible.len()).then(|| eligible.swap_remove(place).0)
}

fn days(params: &Params, param: Param) -> Duration {
    DAY * params.unsigned(param)
}

fn seconds(params: &Params, param: Param) -> Duration {
    Duration::from_secs(params.unsigned(param).into())
}

fn usize_of(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
