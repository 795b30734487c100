//! From nothing to usable: the consensus, its certificates, the microdescriptors; and then the
//! next ones in their time.
//!
//! Says what to ask whom, takes the answers as they arrive, and holds what came of them. Not
//! how a directory is reached (`mod.rs`), nor how its documents are checked (`directory`), nor
//! what outlives a run (`bootstrap/keep.rs`).
//! Spec: dir-spec, "Client operation"; path-spec, "Relays and exits". C tor:
//! feature/nodelist/networkstatus.c, feature/dirclient/; core/mainloop/mainloop.c.

mod arrive;
mod keep;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::arrive::{Arrival, Keeping, What, take_microdesc};
use self::keep::Keep;
use super::Progress;
use super::links::Goal;
use super::notices::{Notice, SPOKEN, Source};
use crate::base::random::{self, Entropy};
use crate::base::time::{Now, Tick, Wall, earlier};
use crate::base::{RelayIds, RsaId};
use crate::directory::authorities::{self, Authority, Fallback};
use crate::directory::certs::{self, Certificates, KeyIds};
use crate::directory::consensus::{ClientProtocols, Consensus, Lifetime, Unchecked, Verdict};
use crate::directory::decompress::{Decompressor, OFFERED};
use crate::directory::download::{Backoff, Directories, Fetcher, Holding, MAX_UNREACHABLE, Want, requests};
use crate::directory::http::{self, Answer, Ask, Held};
use crate::directory::{self, NetDir, microdesc, store};
use crate::link::handshake::ClockSkew;
use crate::wire::protover::Protocols;

/// How many consensuses are asked for at once, and microdescriptors. Ours: three, as C tor has
/// it for the first of these; Arti asks four for the second.
const MAX_CONSENSUS_FETCHES: usize = 1;
const MAX_MICRODESC_FETCHES: usize = 3;
/// How many directories are asked in vain for the certificates of a consensus before it is given
/// up; ours. C tor: gives it twenty minutes.
const MAX_IN_VAIN: u32 = 3;
/// When all that directories have is too old, they are asked again after at least and at most so
/// long; ours.
const STALE_WAIT: Duration = Duration::from_secs(60);
const MAX_STALE_WAIT: Duration = Duration::from_secs(3600);
/// So many directories that cannot be asked, in a row, are nobody's news; ours.
const FREE_TROUBLES: u32 = 4;
/// And so many are worth a word. C tor: `BOOTSTRAP_PROBLEM_THRESHOLD`.
const MANY_TROUBLES: u32 = 10;
/// A consensus may be from so far ahead of our clock. C tor: `EARLY_CONSENSUS_NOTICE_SKEW`.
const EARLY_TOLERATED: Duration = Duration::from_secs(60);
/// How much of a body is passed over whose status says that it is not what was asked for; ours.
const MAX_UNREAD: usize = 64 * 1024;

/// One request to a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchNo(pub u32);

/// A request that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which.
    pub fetch: FetchNo,
    /// Whom to ask.
    pub goal: Goal,
}

/// What is known of the network.
pub struct Bootstrap {
    authorities: Vec<Authority>,
    trusted: Vec<RsaId>,
    fallbacks: Vec<Fallback>,
    certificates: Certificates,
    /// A consensus without some of the certificates that it needs.
    waiting: Option<Waiting>,
    dir: Option<NetDir>,
    /// When to fetch the next consensus.
    next_consensus: Wall,
    /// How long to wait when all that directories have is too old.
    patience: Backoff,
    /// How many could not be asked, in a row; how long to rest after the next, and until when.
    troubles: u32,
    calm: Backoff,
    rest: Option<Tick>,
    /// Until then no consensus is asked for, since the last was none that our clock can use; and
    /// what the clock says then, unless it is set.
    pause: Option<(Tick, Wall)>,
    last_microdescs: Option<Tick>,
    directories: Directories,
    fetches: BTreeMap<FetchNo, Fetch>,
    next_fetch: u32,
    max_stall: Duration,
    progress: Progress,
    keep: Keep,
    /// When this program was made: what an older consensus requires of clients is history.
    released: Wall,
    /// Consensuses require what is not spoken here.
    is_too_old: bool,
    notices: VecDeque<Notice>,
    /// The last of each kind, which are not repeated.
    noted: Vec<Notice>,
    /// Something has changed since it was last looked for what to ask.
    is_stirred: bool,
    /// How many answers changed what is known.
    answers: usize,
}

struct Fetch {
    server: Goal,
    what: What,
    answer: http::Reader,
    /// From when the head says how the body is compressed.
    body: Option<Decompressor>,
    /// Bytes of a body that nobody wants.
    unread: usize,
    /// The directory must have said something by then.
    by: Tick,
}

/// A consensus that cannot be checked yet.
struct Waiting {
    consensus: Unchecked,
    missing: Vec<KeyIds>,
    origin: Origin,
    /// How many directories brought none of what is missing.
    in_vain: u32,
}

/// Where a consensus came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Our own file.
    File,
    /// This directory.
    Directory(RsaId),
}

/// What the user says about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// Those trusted, in place of the built-in ones.
    pub authorities: Vec<Authority>,
    /// Those asked first, in place of the built-in ones.
    pub fallbacks: Vec<Fallback>,
    /// Whether the built-in fallbacks may be asked where nothing replaces them.
    pub uses_default_fallbacks: bool,
    /// How long a directory may say nothing.
    pub max_stall: Duration,
    /// Whether the shell has a place for files. Without one nothing is kept.
    pub keeps_files: bool,
    /// When the program was made.
    pub released: Wall,
}

impl Bootstrap {
    /// Nothing is known yet. C tor: whoever names authorities or fallbacks gets none of those
    /// that are built in.
    pub fn new(wish: Wish) -> Bootstrap {
        let is_default = wish.authorities.is_empty();
        let authorities = if is_default { authorities::built_in() } else { wish.authorities };
        let uses_built_in = is_default && wish.fallbacks.is_empty() && wish.uses_default_fallbacks;
        let fallbacks = if uses_built_in { authorities::built_in_fallbacks().collect() } else { wish.fallbacks };
        Bootstrap {
            trusted: authorities::v3_identities(&authorities),
            authorities,
            fallbacks,
            certificates: Certificates::default(),
            waiting: None,
            dir: None,
            next_consensus: Wall::default(),
            patience: Backoff::new(STALE_WAIT),
            pause: None,
            troubles: 0,
            calm: Backoff::new(Duration::ZERO),
            rest: None,
            last_microdescs: None,
            directories: Directories::default(),
            fetches: BTreeMap::new(),
            next_fetch: 0,
            max_stall: wish.max_stall,
            progress: Progress::Starting,
            keep: Keep::new(wish.keeps_files),
            released: wish.released,
            is_too_old: false,
            notices: VecDeque::new(),
            noted: Vec::new(),
            is_stirred: true,
            answers: 0,
        }
    }

    /// The directory, once there is one.
    pub fn dir(&self) -> Option<&NetDir> {
        self.dir.as_ref()
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Whether paths can be built.
    pub fn is_enough(&self, wall: Wall) -> bool {
        self.dir.as_ref().is_some_and(|dir| {
            let consensus = dir.consensus();
            consensus.lifetime().is_reasonably_live(wall) && dir.share().is_enough(consensus.params())
        })
    }

    /// The time has come to look again for what to ask.
    pub fn stir(&mut self) {
        self.is_stirred = true;
    }

    /// What is to be asked for now. Nothing, and at no cost, unless something has changed.
    pub fn orders(&mut self, now: Now, entropy: &mut dyn Entropy) -> Vec<Order> {
        let rests = self.rest.is_some_and(|until| now.tick < until);
        if rests || !core::mem::take(&mut self.is_stirred) {
            return Vec::new();
        }
        if !self.read_on(now) {
            // What is asked for depends on what is there.
            return Vec::new();
        }
        let certificates: Vec<KeyIds> = self.waiting.iter().flat_map(|it| it.missing.clone()).collect();
        let holding = Holding {
            dir: self.dir.as_ref(),
            certificates: &certificates,
            next_consensus: self.next_consensus,
            last_microdescs: self.last_microdescs,
            is_enough: self.is_enough(now.wall),
        };
        match holding.want(now.wall, now.tick) {
            Want::Nothing => Vec::new(),
            Want::Certificates => self.order_certificates(certificates, now, entropy),
            Want::Consensus => self.order_consensus(now, entropy),
            Want::Microdescs => self.order_microdescs(now, entropy),
        }
    }

    /// The text of a request, as it is sent to whoever it is for.
    pub fn request(&self, no: FetchNo, now: Wall) -> Option<String> {
        let fetch = self.fetches.get(&no)?;
        let host = *fetch.server.addresses.first()?;
        let wants_diff = matches!(&fetch.what, What::Consensus(arrival) if arrival.diff_from.is_some());
        let ask = match fetch.what.ask(&self.trusted) {
            Ask::Consensus { authorities, .. } => {
                let held = self.dir.as_ref().map(|dir| Held::new(dir.consensus(), now));
                let held = held.map(|held| if wants_diff { held } else { held.without_diff() });
                Ask::Consensus { authorities, held }
            }
            ask => ask,
        };
        Some(ask.request(host, &OFFERED))
    }

    /// Bytes of an answer. False if no more of it are wanted.
    pub fn handle_bytes(&mut self, no: FetchNo, bytes: &[u8], now: Now) -> bool {
        let Some(fetch) = self.fetches.get_mut(&no) else { return false };
        fetch.by = now.tick + self.max_stall;
        let had_head = fetch.answer.head().is_some();
        let Ok(body) = fetch.answer.push(bytes) else { return false };
        if had_head && body.len() < bytes.len() {
            // It goes on behind what it says is its end, perhaps for ever.
            return false;
        }
        let Some(head) = fetch.answer.head() else { return true };
        if head.answer() != Answer::Given {
            // Its status is all there is to know.
            fetch.unread = fetch.unread.saturating_add(body.len());
            return fetch.unread <= MAX_UNREAD;
        }
        if matches!(fetch.what, What::Consensus(_)) {
            self.progress.reach(Progress::LoadingStatus);
        }
        let Fetch { body: decompressor, what, .. } = fetch;
        if decompressor.is_none() {
            *decompressor = Decompressor::for_answer(&what.ask(&self.trusted), head).ok();
        }
        let mut keeping = Keeping { dir: &mut self.dir, keep: &mut self.keep };
        decompressor.as_mut().is_some_and(|it| it.push(body, &mut |piece| what.take(piece, &mut keeping)).is_ok())
    }

    /// An answer is over: whether it was any good.
    pub fn handle_end(&mut self, no: FetchNo, now: Now, entropy: &mut dyn Entropy) -> Result<(), directory::Error> {
        let Some(fetch) = self.fetches.remove(&no) else { return Ok(()) };
        let server = fetch.server.ids.rsa.unwrap_or(RsaId([0; 20]));
        let (is_consensus, is_certificates) =
            (matches!(fetch.what, What::Consensus(_)), matches!(fetch.what, What::Certificates { .. }));
        let result = self.conclude(fetch, server, now, entropy);
        if is_consensus && result.is_err() {
            self.keep.drop_consensus();
        } else if is_certificates && result.is_err() {
            self.on_certificates_in_vain(now, entropy);
        }
        self.measure();
        match result {
            Ok(()) => self.directories.on_success(&server),
            Err(_) => self.directories.on_failure(server, now.tick, entropy),
        }
        result
    }

    /// A directory could not be reached, or broke off.
    pub fn handle_failure(&mut self, no: FetchNo, now: Now, entropy: &mut dyn Entropy) {
        if let Some(fetch) = self.fetches.remove(&no) {
            let server = fetch.server.ids.rsa.unwrap_or(RsaId([0; 20]));
            if fetch.body.is_some() {
                self.directories.on_failure(server, now.tick, entropy);
            } else {
                self.directories.on_unreachable(server, now.tick, entropy);
                self.on_trouble(now.tick, entropy);
            }
            if matches!(fetch.what, What::Consensus(_)) {
                self.keep.drop_consensus();
            }
        }
        // What came before it broke off was good.
        self.measure();
    }

    /// Nobody wants the answer any more.
    pub fn handle_cancelled(&mut self, no: FetchNo) {
        if let Some(Fetch { what: What::Consensus(_), .. }) = self.fetches.remove(&no) {
            self.keep.drop_consensus();
        }
        self.is_stirred = true;
    }

    /// Somebody could not be asked: after some of those in a row there are pauses, whoever is next.
    fn on_trouble(&mut self, now: Tick, entropy: &mut dyn Entropy) {
        self.troubles = self.troubles.saturating_add(1);
        if self.troubles > FREE_TROUBLES {
            self.rest = Some(now + self.calm.next_delay(entropy).min(MAX_UNREACHABLE));
        }
        if self.troubles == MANY_TROUBLES {
            self.note(Notice::Unreachable(self.troubles));
        }
    }

    /// Somebody answers.
    pub fn on_network_back(&mut self) {
        if self.troubles > 0 {
            (self.troubles, self.rest, self.is_stirred) = (0, None, true);
            self.calm.reset();
            self.noted.retain(|noted| !matches!(noted, Notice::Unreachable(_)));
        }
    }

    /// The connection, the link or the circuit to some directory got so far.
    pub fn on_step(&mut self, step: Progress) {
        self.progress.reach(step);
    }

    /// The user is to be told, unless that was said before; of a clock, unless it was said that
    /// it is wrong by about as much.
    pub fn note(&mut self, notice: Notice) {
        let known = self.noted.iter().position(|noted| noted.is_kindred(&notice));
        if known.and_then(|at| self.noted.get(at)).is_some_and(|noted| noted.is_alike(&notice)) {
            return;
        }
        known.map(|at| self.noted.swap_remove(at));
        self.noted.push(notice.clone());
        self.notices.push_back(notice);
    }

    /// The user is to be told, each time anew.
    pub fn say(&mut self, notice: Notice) {
        self.notices.push_back(notice);
    }

    /// What the user is to be told next.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Whether the network requires what is not spoken here, so that nothing can be done.
    pub fn is_too_old(&self) -> bool {
        self.is_too_old
    }

    /// Whether these are of somebody who is trusted to know the time: an authority, or, as long
    /// as there is nothing better, a fallback. Differs: C tor believes authorities only, and
    /// says nothing if it never asks one.
    pub fn knows_time(&self, ids: &RelayIds) -> bool {
        let is_fallback = || self.fallbacks.iter().any(|fallback| fallback.ids.rsa == ids.rsa);
        self.authorities.iter().any(|authority| Some(authority.rsa) == ids.rsa) || self.dir.is_none() && is_fallback()
    }

    /// Whether a client like this one may still use the network. What is only recommended is
    /// worth a word.
    fn check_protocols(&mut self, consensus: &Consensus) -> Result<(), directory::Error> {
        if consensus.lifetime().valid_after < self.released {
            return Ok(());
        }
        let spoken = Protocols::parse(SPOKEN).unwrap_or_default();
        let ClientProtocols { required, recommended } = consensus.client_protocols();
        let missing = spoken.missing(required);
        if !missing.is_empty() {
            self.is_too_old = true;
            self.note(Notice::TooOld(missing));
            return Err(directory::Error::ProtocolsMissing);
        }
        let missing = spoken.missing(recommended);
        if !missing.is_empty() {
            self.note(Notice::Old(missing));
        }
        Ok(())
    }

    /// What the dates of a consensus that is well signed say of our clock.
    fn compare_clocks(&mut self, lifetime: Lifetime, now: Wall) {
        // One that is too old may only be that.
        let early = lifetime.valid_after.since(now);
        if early > EARLY_TOLERATED {
            self.note(Notice::Clock(ClockSkew::Behind(early), Source::Consensus));
        }
    }

    /// Paths can be built.
    pub fn on_enough(&mut self) {
        self.progress.reach(Progress::EnoughDirectory);
    }

    /// A circuit of many hops got so far.
    pub fn on_later_step(&mut self, step: Progress) {
        if self.progress >= Progress::EnoughDirectory {
            self.progress.reach(step);
        }
    }

    /// How many requests were made of directories so far.
    pub fn request_count(&self) -> u32 {
        self.next_fetch
    }

    /// How many answers changed what is known.
    pub fn answers(&self) -> usize {
        self.answers
    }

    /// Whether the consensus is recent enough to be used.
    pub fn is_live(&self, wall: Wall) -> bool {
        self.dir.as_ref().is_some_and(|dir| dir.consensus().lifetime().is_reasonably_live(wall))
    }

    /// Somebody else is asked than the one that the order named.
    pub fn redirect(&mut self, no: FetchNo, to: Goal) {
        if let Some(fetch) = self.fetches.get_mut(&no) {
            fetch.server = to;
        }
    }

    /// Directories that are not to be asked now, because they failed.
    pub fn resting(&self, now: Tick) -> BTreeSet<RsaId> {
        self.directories.resting(now)
    }

    /// Requests whose directories have said nothing for too long.
    pub fn stalled(&self, now: Tick) -> Vec<FetchNo> {
        self.fetches.iter().filter(|(_, fetch)| fetch.by <= now).map(|(no, _)| *no).collect()
    }

    /// When to look again; one that sleeps asks for nothing new.
    pub fn next_deadline(&self, is_awake: bool, now: Now) -> Option<Tick> {
        let stalls = self.fetches.values().map(|fetch| fetch.by).min();
        if !is_awake {
            return stalls;
        }
        let retries = self.directories.next_deadline(now.tick);
        let next = self.next_consensus.since(now.wall);
        let next = (self.dir.is_some() && !next.is_zero()).then(|| now.tick + next);
        let pause = self.pause.map(|(until, _)| until).filter(|until| *until > now.tick);
        if let Some(rest) = self.rest.filter(|until| *until > now.tick) {
            return earlier(stalls, Some(rest));
        }
        earlier(earlier(earlier(stalls, retries), earlier(next, pause)), self.keep.next_deadline())
    }

    // --- what to ask ---------------------------------------------------------------------

    fn count(&self, is_such: impl Fn(&What) -> bool) -> usize {
        self.fetches.values().filter(|fetch| is_such(&fetch.what)).count()
    }

    fn order_consensus(&mut self, now: Now, entropy: &mut dyn Entropy) -> Vec<Order> {
        let under_way = self.count(|what| matches!(what, What::Consensus(_)));
        let is_paused = self.pause.is_some_and(|(until, wall)| {
            let left = until.since(now.tick);
            let expected = now.wall + left;
            let was_set = expected.since(wall).max(wall.since(expected)) > EARLY_TOLERATED;
            !left.is_zero() && !was_set
        });
        if under_way >= MAX_CONSENSUS_FETCHES || self.keep.is_patching() || is_paused {
            return Vec::new();
        }
        let digest = self.dir.as_ref().map(|dir| dir.consensus().digests().signed_sha3);
        let arrival = Arrival::new(digest.filter(|digest| self.keep.can_patch(digest)));
        let goal = self.server(false, now.tick, entropy);
        goal.map(|goal| self.order(What::Consensus(arrival), goal, now)).into_iter().collect()
    }

    fn order_certificates(&mut self, asked: Vec<KeyIds>, now: Now, entropy: &mut dyn Entropy) -> Vec<Order> {
        if self.count(|what| matches!(what, What::Certificates { .. })) > 0 {
            return Vec::new();
        }
        self.progress.reach(Progress::LoadingKeys);
        // C tor: whoever gave the consensus is asked first; it can be reached, and may be already.
        let source = self.waiting.as_ref().filter(|waiting| waiting.in_vain == 0);
        let source = source.and_then(|waiting| match waiting.origin {
            Origin::Directory(server) => {
                self.servers(false, now.tick).into_iter().find(|goal| goal.ids.rsa == Some(server))
            }
            Origin::File => None,
        });
        let goal = source.or_else(|| self.server(false, now.tick, entropy));
        let what = What::Certificates { asked, text: Vec::new() };
        goal.map(|goal| self.order(what, goal, now)).into_iter().collect()
    }

    fn order_microdescs(&mut self, now: Now, entropy: &mut dyn Entropy) -> Vec<Order> {
        let mut under_way: BTreeSet<[u8; 32]> = BTreeSet::new();
        for fetch in self.fetches.values() {
            if let What::Microdescs { left, .. } = &fetch.what {
                under_way.extend(left);
            }
        }
        let mut missing = self.dir.as_ref().map(NetDir::missing).unwrap_or_default();
        missing.retain(|digest| !under_way.contains(digest));
        let free = MAX_MICRODESC_FETCHES.saturating_sub(self.count(|what| matches!(what, What::Microdescs { .. })));
        let parts: Vec<Vec<[u8; 32]>> = requests(&missing).take(free).map(<[_]>::to_vec).collect();
        if !parts.is_empty() {
            self.progress.reach(Progress::RequestingDescriptors);
            self.last_microdescs = Some(now.tick);
        }
        let order = |asked: Vec<[u8; 32]>| {
            let left = asked.iter().copied().collect();
            let what = What::Microdescs { asked, left, parser: microdesc::Parser::default() };
            let goal = self.server(true, now.tick, entropy)?;
            Some(self.order(what, goal, now))
        };
        parts.into_iter().filter_map(order).collect()
    }

    fn order(&mut self, what: What, goal: Goal, now: Now) -> Order {
        let fetch = FetchNo(self.next_fetch);
        self.next_fetch = self.next_fetch.wrapping_add(1);
        let (by, answer) = (now.tick + self.max_stall, http::Reader::default());
        self.fetches.insert(fetch, Fetch { server: goal.clone(), what, answer, body: None, unread: 0, by });
        Order { fetch, goal }
    }

    /// Whom to ask, each equally likely.
    fn server(&self, for_microdescs: bool, now: Tick, entropy: &mut dyn Entropy) -> Option<Goal> {
        let mut goals = self.servers(for_microdescs, now);
        let drawn = random::below(entropy, u32::try_from(goals.len()).ok()?);
        let place = usize::try_from(drawn).ok()?;
        (place < goals.len()).then(|| goals.swap_remove(place))
    }

    /// Who may be asked: fallbacks, or where none of them may be asked now, authorities.
    fn servers(&self, for_microdescs: bool, now: Tick) -> Vec<Goal> {
        let may_ask = |goal: &Goal| goal.ids.rsa.is_some_and(|id| self.directories.may_ask(&id, for_microdescs, now));
        let fallbacks = self.fallbacks.iter().map(|fallback| {
            let addresses = [Some(fallback.address), fallback.ipv6.map(Into::into)].into_iter().flatten();
            Goal::direct(fallback.ids, addresses.collect())
        });
        let mut goals: Vec<Goal> = fallbacks.filter(may_ask).collect();
        if goals.is_empty() {
            let authorities = self.authorities.iter().filter(|authority| !authority.is_bridge);
            goals.extend(authorities.filter_map(goal).filter(may_ask));
        }
        goals
    }

    // --- what came of it -----------------------------------------------------------------

    fn conclude(
        &mut self,
        mut fetch: Fetch,
        server: RsaId,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<(), directory::Error> {
        match fetch.answer.finish()?.answer() {
            Answer::Given => {}
            Answer::NotModified => {
                self.plan_next(now, entropy);
                return Ok(());
            }
            _ => return Err(directory::Error::AnswerRefused),
        }
        let mut keeping = Keeping { dir: &mut self.dir, keep: &mut self.keep };
        if let Some(body) = fetch.body.take() {
            let what = &mut fetch.what;
            body.finish(&mut |piece| what.take(piece, &mut keeping))?;
        }
        match fetch.what {
            What::Consensus(arrival) => match arrival.finish(&mut self.keep)? {
                Ok(unchecked) => self.check(unchecked, Origin::Directory(server), now, entropy),
                Err(diff) => {
                    self.keep.plan_patch(diff, server);
                    Ok(())
                }
            },
            What::Certificates { asked, text } => self.take_certificates(&asked, &text, now, entropy),
            What::Microdescs { mut left, parser, .. } => {
                parser.finish(&mut |found| take_microdesc(&mut keeping, &mut left, found));
                self.progress.reach(Progress::LoadingDescriptors);
                // What it did not have it may never have.
                if left.is_empty() { Ok(()) } else { Err(directory::Error::AnswerIncomplete) }
            }
        }
    }

    fn check(
        &mut self,
        unchecked: Unchecked,
        origin: Origin,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<(), directory::Error> {
        match unchecked.check(&self.certificates, &self.trusted, now.wall) {
            Verdict::Refused(error) => Err(error),
            Verdict::CertificatesMissing { consensus, missing } => {
                self.waiting = Some(Waiting { consensus, missing, origin, in_vain: 0 });
                Ok(())
            }
            Verdict::Good { consensus, .. } => {
                self.compare_clocks(consensus.lifetime(), now.wall);
                // One out of a file may be too old to use, and still be what a diff begins with.
                if origin != Origin::File && !consensus.lifetime().is_reasonably_live(now.wall) {
                    // The next directory would give us the same.
                    let delay = self.patience.next_delay(entropy).min(MAX_STALE_WAIT);
                    self.pause = Some((now.tick + delay, now.wall + delay));
                    return Err(directory::Error::ConsensusOutdated);
                }
                self.check_protocols(&consensus)?;
                let digest = consensus.digests().signed_sha3;
                let is_live = now.wall <= consensus.lifetime().valid_until;
                match &mut self.dir {
                    Some(dir) => dir.replace(consensus)?,
                    None => self.dir = Some(NetDir::new(consensus)),
                }
                self.keep.on_consensus(digest, origin);
                self.directories.on_consensus();
                // An old one out of a file says nothing of what others have.
                if origin == Origin::File && !is_live {
                    self.next_consensus = now.wall;
                } else {
                    self.plan_next(now, entropy);
                }
                Ok(())
            }
        }
    }

    /// What is known may have changed.
    fn measure(&mut self) {
        self.is_stirred = true;
        self.answers = self.answers.wrapping_add(1);
    }

    fn plan_next(&mut self, now: Now, entropy: &mut dyn Entropy) {
        let Some(dir) = &self.dir else { return };
        let lifetime = dir.consensus().lifetime();
        self.next_consensus = Fetcher::Client.next_fetch(&lifetime, now.wall, entropy);
        if lifetime.valid_until < now.wall {
            // Nobody has a newer one, or our clock is wrong.
            self.next_consensus = now.wall + self.patience.next_delay(entropy).min(MAX_STALE_WAIT);
        } else {
            self.patience.reset();
        }
    }

    fn take_certificates(
        &mut self,
        asked: &[KeyIds],
        text: &[u8],
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<(), directory::Error> {
        let mut is_changed = false;
        for certificate in certs::check_all(text).flatten().filter(|it| asked.contains(&it.ids())) {
            is_changed |= self.certificates.insert(certificate, &self.trusted);
        }
        if is_changed {
            self.keep.save_certificates(&self.certificates);
        }
        let Some(before) = self.waiting.take() else { return Ok(()) };
        if let Err(error) = self.check(before.consensus, before.origin, now, entropy) {
            self.give_up(before.origin, now, entropy);
            return Err(error);
        }
        let Some(waiting) = &mut self.waiting else { return Ok(()) };
        // A directory that gave none of them is asked for nothing more.
        waiting.in_vain = before.in_vain;
        let is_stuck = waiting.missing.len() == before.missing.len();
        if is_stuck { Err(directory::Error::AnswerIncomplete) } else { Ok(()) }
    }

    /// A directory had none of the certificates that a consensus waits for.
    fn on_certificates_in_vain(&mut self, now: Now, entropy: &mut dyn Entropy) {
        if let Some(waiting) = &mut self.waiting {
            waiting.in_vain += 1;
            if waiting.in_vain >= MAX_IN_VAIN {
                // Nobody knows by whom it is signed.
                let origin = waiting.origin;
                self.waiting = None;
                self.give_up(origin, now, entropy);
            }
        }
    }

    /// A consensus that waited for certificates is no good.
    fn give_up(&mut self, origin: Origin, now: Now, entropy: &mut dyn Entropy) {
        match origin {
            Origin::File => self.keep.on_bad_file(store::CONSENSUS, directory::Error::TooFewSignatures),
            Origin::Directory(server) => {
                self.keep.drop_consensus();
                self.directories.on_failure(server, now.tick, entropy);
            }
        }
    }
}

/// Where an authority speaks Tor.
fn goal(authority: &Authority) -> Option<Goal> {
    let ipv4 = core::net::SocketAddr::new((*authority.ipv4.ip()).into(), authority.or_port?);
    let addresses = [Some(ipv4), authority.ipv6.map(Into::into)].into_iter().flatten().collect();
    Some(Goal::direct(RelayIds { rsa: Some(authority.rsa), ed25519: None }, addresses))
}
