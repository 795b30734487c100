//! From nothing to usable: the consensus, its certificates, the microdescriptors; and then the
//! next ones in their time.
//!
//! Says what to ask, takes the answers as they arrive, and holds what came of them. Not who
//! there is to be asked (`bootstrap/servers.rs`) or how he is reached (`errands.rs`), nor how
//! documents are checked (`directory`), nor what outlives a run (`bootstrap/keep.rs`).
//! Spec: dir-spec, "Client operation"; path-spec, "Relays and exits". C tor:
//! feature/nodelist/networkstatus.c, feature/dirclient/; core/mainloop/mainloop.c.

mod arrive;
mod fetch;
mod keep;
mod late;
mod orders;
mod pace;
mod servers;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::arrive::{Keeping, Kind, What, take_microdesc};
use self::fetch::Fetch;
use self::keep::Keep;
use self::late::Late;
use self::pace::Pace;
pub use self::servers::Asking;
use self::servers::Servers;
use super::Progress;
use super::files;
use super::links::Goal;
use super::notices::{Notice, SPOKEN, Source};
use crate::base::random::Entropy;
use crate::base::time::{Now, Tick, Wall, earlier};
use crate::base::{RelayIds, RsaId};
use crate::directory::authorities::{Authority, Fallback};
use crate::directory::certs::{self, Certificates, KeyIds};
use crate::directory::consensus::{ClientProtocols, Consensus, Lifetime, Unchecked, Verdict};
use crate::directory::decompress::{Decompressor, OFFERED};
use crate::directory::download::{Backoff, Fetcher, Holding, MAX_UNREACHABLE, Want};
use crate::directory::http::{Answer, Ask, Held};
use crate::directory::{self, NetDir, Share, store};
use crate::link::handshake::ClockSkew;
use crate::wire::protover::Protocols;

/// How many requests for microdescriptors there are at once. Ours; Arti: four.
const MAX_MICRODESC_FETCHES: usize = 3;
/// How many directories are asked in vain for the certificates of a consensus before it is given
/// up; ours. C tor: gives it twenty minutes.
const MAX_IN_VAIN: u32 = 3;
/// When no directory has a newer consensus, or one that our clock can use, they are asked again
/// after at least and at most so long; ours.
const STALE_WAIT: Duration = Duration::from_secs(60);
const MAX_STALE_WAIT: Duration = Duration::from_secs(3600);
/// So many directories that cannot be asked, in a row, are nobody's news; ours.
const FREE_TROUBLES: u32 = 4;
/// And so many are worth a word. C tor: `BOOTSTRAP_PROBLEM_THRESHOLD`.
const MANY_TROUBLES: u32 = 10;
/// So many answers in a row without what was asked for are nobody's news either, and no pause
/// after more of them is longer; ours. C tor: pauses after the first, for up to a day.
const FREE_FAILURES: u32 = 2;
const MAX_PAUSE: Duration = Duration::from_secs(3600);
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
    /// Whom to ask, if no guard can be.
    pub goal: Goal,
    /// Who is not to be asked: they failed, or are being asked in vain.
    pub avoided: BTreeSet<RsaId>,
}

/// What is known of the network.
pub struct Bootstrap {
    servers: Servers,
    asking: Asking,
    certificates: Certificates,
    /// A consensus without some of the certificates that it needs.
    waiting: Option<Waiting>,
    dir: Option<NetDir>,
    /// When to fetch the next consensus.
    next_consensus: Wall,
    /// Who has no newer one, and how long to wait when nobody has.
    late: Late,
    patience: Backoff,
    /// When to ask after nobody could be reached, and after answers without what was asked for.
    reaching: Pace,
    consensus_pace: Pace,
    certificate_pace: Pace,
    microdesc_pace: Pace,
    /// Until then no consensus is asked for, since the last was none that helps; and what the
    /// clock says then, unless it is set.
    pause: Option<(Tick, Wall)>,
    /// Since when the first consensus is wanted; when an authority is next asked for it on
    /// purpose, and how long after that again.
    wanted_since: Option<Tick>,
    next_authority: Option<Tick>,
    authority_backoff: Backoff,
    /// Nothing is asked for before then: guards are to be asked, and may not be yet.
    hold: Option<Tick>,
    last_microdescs: Option<Tick>,
    fetches: BTreeMap<FetchNo, Fetch>,
    /// Requests whose answers nobody wants any more.
    superfluous: VecDeque<FetchNo>,
    next_fetch: u32,
    progress: Progress,
    /// The steps that nobody was told of.
    steps: VecDeque<Progress>,
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
    /// Whether there was enough then. To find that out, the whole directory is walked.
    was_enough: bool,
    /// How many answers changed what is known.
    answers: usize,
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
    /// Whether the shell has a place for files. Without one nothing is kept.
    pub keeps_files: bool,
    /// When the program was made.
    pub released: Wall,
}

impl Bootstrap {
    /// Nothing is known yet.
    pub fn new(wish: &Wish, asking: Asking) -> Bootstrap {
        let in_vain = || Pace::new(FREE_FAILURES, MAX_PAUSE);
        Bootstrap {
            servers: Servers::new(wish),
            asking,
            certificates: Certificates::default(),
            waiting: None,
            dir: None,
            next_consensus: Wall::default(),
            late: Late::default(),
            patience: Backoff::new(STALE_WAIT),
            reaching: Pace::new(FREE_TROUBLES, MAX_UNREACHABLE),
            consensus_pace: in_vain(),
            certificate_pace: in_vain(),
            microdesc_pace: in_vain(),
            pause: None,
            wanted_since: None,
            next_authority: None,
            authority_backoff: Backoff::new(Duration::ZERO),
            hold: None,
            last_microdescs: None,
            fetches: BTreeMap::new(),
            superfluous: VecDeque::new(),
            next_fetch: 0,
            progress: Progress::Starting,
            steps: VecDeque::new(),
            keep: Keep::new(wish.keeps_files),
            released: wish.released,
            is_too_old: false,
            notices: VecDeque::new(),
            noted: Vec::new(),
            is_stirred: true,
            was_enough: false,
            answers: 0,
        }
    }

    /// The user wants directories asked in another way.
    pub fn set_asking(&mut self, asking: Asking) {
        (self.asking, self.is_stirred) = (asking, true);
        // What was said of other lists says nothing of these.
        let is_of_lists =
            |notice: &Notice| matches!(notice, Notice::Nobody(_) | Notice::NobodyToAsk | Notice::StandsOut(_));
        self.noted.retain(|noted| !is_of_lists(noted));
    }

    /// The directory, once there is one.
    pub fn dir(&self) -> Option<&NetDir> {
        self.dir.as_ref()
    }

    /// The same, to be told where relays are.
    pub(super) fn dir_mut(&mut self) -> Option<&mut NetDir> {
        self.dir.as_mut()
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The next step that it has come to.
    pub fn poll_step(&mut self) -> Option<Progress> {
        self.steps.pop_front()
    }

    fn step(&mut self, step: Progress) {
        if self.progress.reach(step) {
            self.steps.push_back(step);
        }
    }

    /// Whether paths can be built.
    pub fn is_enough(&self, wall: Wall) -> bool {
        self.dir.as_ref().is_some_and(|dir| {
            let consensus = dir.consensus();
            let is_enough = dir.share().is_enough(consensus.params(), self.asking.paths_needed);
            consensus.lifetime().is_reasonably_live(wall) && is_enough
        })
    }

    /// The time has come to look again for what to ask.
    pub fn stir(&mut self) {
        self.is_stirred = true;
    }

    /// What is to be asked for now. Nothing, and at no cost, unless something has changed.
    pub fn orders(&mut self, now: Now, entropy: &mut dyn Entropy) -> Vec<Order> {
        let rests = self.reaching.rests(now.tick) || self.hold.is_some_and(|until| now.tick < until);
        if rests || !core::mem::take(&mut self.is_stirred) {
            return Vec::new();
        }
        if !self.read_on(now) {
            // What is asked for depends on what is there.
            return Vec::new();
        }
        self.was_enough = self.is_enough(now.wall);
        let certificates: Vec<KeyIds> = self.waiting.iter().flat_map(|it| it.missing.clone()).collect();
        let holding = Holding {
            dir: self.dir.as_ref(),
            certificates: &certificates,
            next_consensus: self.next_consensus,
            last_microdescs: self.last_microdescs,
            max_wait_for_few: self.asking.max_wait_for_few,
            is_enough: self.was_enough,
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
        let ask = match fetch.what.ask(self.servers.trusted()) {
            Ask::Consensus { authorities, .. } => {
                let held = self.dir.as_ref().map(|dir| Held::new(dir.consensus(), now));
                let held = held.map(|held| if wants_diff { held } else { held.without_diff() });
                Ask::Consensus { authorities, held }
            }
            ask => ask,
        };
        Some(ask.request(host, &OFFERED))
    }

    /// Something came of a request, though no byte of its answer yet.
    pub fn on_alive(&mut self, no: FetchNo, now: Tick) {
        if let Some(fetch) = self.fetches.get_mut(&no) {
            fetch.on_alive(now);
        }
    }

    /// Bytes of an answer. False if no more of it are wanted.
    pub fn handle_bytes(&mut self, no: FetchNo, bytes: &[u8], now: Now) -> bool {
        if self.fetches.get(&no).is_some_and(|fetch| fetch.is_spoilt) {
            return false;
        }
        let taken = self.take_bytes(no, bytes, now);
        if let Some(fetch) = self.fetches.get_mut(&no) {
            fetch.is_spoilt = taken.is_err();
        }
        self.tell(taken.map(drop));
        taken.unwrap_or(false)
    }

    fn take_bytes(&mut self, no: FetchNo, bytes: &[u8], now: Now) -> Result<bool, directory::Error> {
        let count = self.fetches.len();
        let Some(fetch) = self.fetches.get_mut(&no) else { return Ok(false) };
        fetch.on_bytes(bytes.len(), count, self.asking.max_stall, now.tick);
        let had_head = fetch.answer.head().is_some();
        let body = fetch.answer.push(bytes)?;
        if had_head && body.len() < bytes.len() {
            // It goes on behind what it says is its end, perhaps for ever.
            return Err(directory::Error::AnswerTooLong);
        }
        let Some(head) = fetch.answer.head() else { return Ok(true) };
        if head.answer() != Answer::Given {
            // Its status is all there is to know.
            fetch.unread = fetch.unread.saturating_add(body.len());
            return Ok(fetch.unread <= MAX_UNREAD);
        }
        if fetch.body.is_none() {
            fetch.body = Decompressor::for_answer(&fetch.what.ask(self.servers.trusted()), head).ok();
            if matches!(fetch.what, What::Consensus(_)) {
                self.step(Progress::LoadingStatus);
                if !self.is_first_to_arrive(no, now.tick) {
                    return Ok(true);
                }
            }
        }
        let Some(Fetch { body: decompressor, what, .. }) = self.fetches.get_mut(&no) else { return Ok(false) };
        let mut keeping = Keeping { dir: &mut self.dir, keep: &mut self.keep };
        let decompressor = decompressor.as_mut().ok_or(directory::Error::EncodingRefused)?;
        decompressor.push(body, &mut |piece| what.take(piece, &mut keeping))?;
        Ok(true)
    }

    /// A consensus begins to arrive: whoever else was asked for it is not waited for, unless
    /// another arrives already.
    fn is_first_to_arrive(&mut self, newcomer: FetchNo, now: Tick) -> bool {
        let is_other = |no: &FetchNo, fetch: &Fetch| *no != newcomer && fetch.what.kind() == Kind::Consensus;
        let others = || self.fetches.iter().filter(|(no, fetch)| is_other(no, fetch));
        let is_late = others().any(|(_, fetch)| fetch.body.is_some() && !fetch.stalls(now));
        let over: Vec<FetchNo> = if is_late { vec![newcomer] } else { others().map(|(no, _)| *no).collect() };
        for no in over {
            if let Some(Fetch { body: Some(_), .. }) = self.fetches.remove(&no)
                && no != newcomer
            {
                self.keep.drop_consensus();
            }
            self.superfluous.push_back(no);
        }
        !is_late
    }

    /// A request that need not be answered any more, and is forgotten here.
    pub fn poll_superfluous(&mut self) -> Option<FetchNo> {
        self.superfluous.pop_front()
    }

    /// An answer is over: whether it was any good.
    pub fn handle_end(&mut self, no: FetchNo, now: Now, entropy: &mut dyn Entropy) -> Result<(), directory::Error> {
        let Some(fetch) = self.fetches.remove(&no) else { return Ok(()) };
        let server = fetch.server.ids.rsa.unwrap_or(RsaId([0; 20]));
        let kind = fetch.what.kind();
        let (has_body, missing) = (fetch.body.is_some(), self.dir.as_ref().map(NetDir::missing_count));
        let has_brought = fetch.what.has_brought();
        let result = self.conclude(fetch, server, now, entropy);
        self.tell(result);
        if kind == Kind::Consensus && result.is_err() && has_body {
            self.keep.drop_consensus();
        } else if kind == Kind::Certificates && result.is_err() {
            self.on_certificates_in_vain(now, entropy);
        }
        // An answer with some of many helps too.
        let brings_last = kind == Kind::Microdescs && missing != self.dir.as_ref().map(NetDir::missing_count);
        match result {
            Ok(()) => self.servers.directories.on_success(&server),
            Err(directory::Error::AnswerIncomplete) if kind == Kind::Microdescs => {
                self.servers.directories.on_outdated(server);
            }
            Err(_) => self.servers.directories.on_failure(server, now.tick, entropy),
        }
        match result.is_ok() || has_brought || brings_last {
            // That there is nothing newer has a pause of its own.
            false if matches!(result, Err(directory::Error::ConsensusOutdated | directory::Error::NotNewer)) => {}
            true => self.pace(kind).on_success(),
            false => self.pace(kind).on_failure(now.tick, entropy),
        }
        self.drop_what_is_here(now.tick);
        self.measure();
        result
    }

    /// A directory could not be reached, or broke off.
    pub fn handle_failure(&mut self, no: FetchNo, now: Now, entropy: &mut dyn Entropy) {
        if let Some(fetch) = self.fetches.remove(&no) {
            let server = fetch.server.ids.rsa.unwrap_or(RsaId([0; 20]));
            let kind = fetch.what.kind();
            if fetch.body.is_some() {
                self.servers.directories.on_failure(server, now.tick, entropy);
                match fetch.what.has_brought() {
                    true => self.pace(kind).on_success(),
                    false => self.pace(kind).on_failure(now.tick, entropy),
                }
                if kind == Kind::Consensus {
                    self.keep.drop_consensus();
                }
            } else {
                self.servers.directories.on_unreachable(server, now.tick, entropy);
                self.on_trouble(now.tick, entropy);
            }
        }
        // What came before it broke off was good.
        self.measure();
    }

    /// Nobody wants the answer any more.
    pub fn handle_cancelled(&mut self, no: FetchNo) {
        if let Some(Fetch { what: What::Consensus(_), body: Some(_), .. }) = self.fetches.remove(&no) {
            self.keep.drop_consensus();
        }
        self.is_stirred = true;
    }

    /// A guard is to be asked, which may not be before then: the same will be ordered again.
    pub fn postpone(&mut self, no: FetchNo, until: Tick) {
        if self.fetches.get(&no).is_some_and(|fetch| fetch.what.kind() == Kind::Microdescs) {
            // Nobody was asked.
            self.last_microdescs = None;
        }
        self.handle_cancelled(no);
        self.hold = Some(until);
    }

    /// Requests that stall, and for nothing that others have not brought by now, are over.
    fn drop_what_is_here(&mut self, now: Tick) {
        let Some(dir) = &self.dir else { return };
        let is_missing = |digest: &[u8; 32]| dir.lacks(digest);
        let is_over = |fetch: &Fetch| match &fetch.what {
            What::Microdescs { left, .. } => !left.iter().any(is_missing),
            What::Certificates { .. } => self.waiting.is_none(),
            What::Consensus(_) => false,
        };
        let is_over = |fetch: &Fetch| fetch.stalls(now) && is_over(fetch);
        let over: Vec<FetchNo> = self.fetches.iter().filter(|(_, fetch)| is_over(fetch)).map(|(no, _)| *no).collect();
        for no in over {
            self.fetches.remove(&no);
            self.superfluous.push_back(no);
        }
    }

    /// Somebody could not be asked: after some of those in a row there are pauses, whoever is next.
    fn on_trouble(&mut self, now: Tick, entropy: &mut dyn Entropy) {
        self.reaching.on_failure(now, entropy);
        if self.reaching.failures() == MANY_TROUBLES {
            self.note(Notice::Unreachable(MANY_TROUBLES));
        }
    }

    /// The wall clock has jumped: what was put off by it is planned anew, and what fits it may be
    /// something else.
    pub fn on_jump(&mut self, now: Now, entropy: &mut dyn Entropy) {
        if self.pause.take().is_some() {
            self.plan_next(now, entropy);
        }
        // What did not fit the clock was nobody's fault.
        self.consensus_pace.on_success();
        self.servers.directories.forgive();
        self.measure();
    }

    /// The consensus could not be written: there is nothing to which a diff could be applied.
    pub fn on_unwritten(&mut self, name: files::Name) {
        if name == store::CONSENSUS {
            self.keep.on_unwritten();
        }
    }

    /// Somebody answers.
    pub fn on_network_back(&mut self) {
        if self.reaching.failures() > 0 {
            self.reaching.on_success();
            (self.hold, self.is_stirred) = (None, true);
            self.noted.retain(|noted| !matches!(noted, Notice::Unreachable(_)));
        }
    }

    /// The connection, the link or the circuit to some directory got so far.
    pub fn on_step(&mut self, step: Progress) {
        self.step(step);
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

    /// What a directory gave is dropped, and the user may want to know why.
    fn tell(&mut self, result: Result<(), directory::Error>) {
        // Of what the network requires there is a word of its own.
        if let Err(error) = result
            && error != directory::Error::ProtocolsMissing
        {
            self.say(Notice::Answer(error));
        }
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
    /// as there is no consensus that fits our clock, a fallback. Differs: C tor believes
    /// authorities only, and says nothing if it never asks one.
    pub fn knows_time(&self, ids: &RelayIds, now: Wall) -> bool {
        self.servers.is_authority(ids) || !self.is_live(now) && self.servers.is_fallback(ids)
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
        self.step(Progress::EnoughDirectory);
    }

    /// A circuit of many hops got so far.
    pub fn on_later_step(&mut self, step: Progress) {
        if self.progress >= Progress::EnoughDirectory {
            self.step(step);
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

    /// Whether one is left alone now, because it failed.
    pub fn is_left_alone(&self, id: &RsaId, now: Tick) -> bool {
        !self.servers.directories.may_ask(id, false, now)
    }

    /// Requests whose directories have said nothing for too long, or too little.
    pub fn stalled(&self, now: Tick) -> Vec<FetchNo> {
        self.fetches.iter().filter(|(_, fetch)| fetch.deadline() <= now).map(|(no, _)| *no).collect()
    }

    /// When to look again; one that sleeps asks for nothing new.
    pub fn next_deadline(&self, is_awake: bool, now: Now) -> Option<Tick> {
        let stalls = self.fetches.values().map(Fetch::deadline).min();
        if !is_awake {
            return stalls;
        }
        let later = |at: Option<Tick>| at.filter(|at| *at > now.tick);
        if let Some(rest) = self.reaching.next_deadline(now.tick).max(later(self.hold)) {
            return earlier(stalls, Some(rest));
        }
        let next = self.next_consensus.since(now.wall);
        let next = (self.dir.is_some() && !next.is_zero()).then(|| now.tick + next);
        let few = self.dir.as_ref().filter(|dir| dir.missing_count() > 0).and(self.last_microdescs);
        let paces = [&self.consensus_pace, &self.certificate_pace, &self.microdesc_pace];
        let all = [
            stalls,
            self.servers.directories.next_deadline(now.tick),
            next,
            later(self.pause.map(|(until, _)| until)),
            // A clock that is set in the meantime tells nobody.
            self.pause.filter(|_| !self.is_live(now.wall)).map(|_| now.tick + STALE_WAIT),
            later(few.map(|last| last + self.asking.max_wait_for_few)),
            later(self.next_first(now)),
            self.next_stall(now.tick),
            self.keep.next_deadline(),
        ];
        all.into_iter().chain(paces.map(|pace| pace.next_deadline(now.tick))).fold(None, earlier)
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
            // Only who was told what is here can say that there is nothing newer.
            Answer::NotModified if fetch.what.kind() == Kind::Consensus && self.dir.is_some() => {
                self.on_nothing_newer(server, now, entropy);
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
                self.note_descriptors();
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
        match unchecked.check(&self.certificates, self.servers.trusted(), now.wall) {
            Verdict::Refused(error) => Err(error),
            Verdict::CertificatesMissing { consensus, missing } => {
                self.waiting = Some(Waiting { consensus, missing, origin, in_vain: 0 });
                Ok(())
            }
            Verdict::Good { consensus, .. } => {
                self.compare_clocks(consensus.lifetime(), now.wall);
                // One out of a file may be too old to use, and still be what a diff begins with.
                if let Origin::Directory(server) = origin
                    && !consensus.lifetime().is_reasonably_live(now.wall)
                {
                    self.on_nothing_newer(server, now, entropy);
                    return Err(directory::Error::ConsensusOutdated);
                }
                self.check_protocols(&consensus)?;
                let digest = consensus.digests().signed_sha3;
                let is_live = now.wall <= consensus.lifetime().valid_until;
                match &mut self.dir {
                    Some(dir) => {
                        if let Err(error) = dir.replace(consensus) {
                            if let Origin::Directory(server) = origin {
                                self.on_nothing_newer(server, now, entropy);
                            }
                            return Err(error);
                        }
                    }
                    None => self.dir = Some(NetDir::new(consensus)),
                }
                self.keep.on_consensus(digest, origin);
                self.servers.directories.on_consensus();
                self.microdesc_pace.on_success();
                (self.wanted_since, self.next_authority) = (None, None);
                self.authority_backoff.reset();
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

    fn note_descriptors(&mut self) {
        if let Some(dir) = self.dir.as_ref().filter(|_| self.progress < Progress::EnoughDirectory) {
            let needed = Share::needed(dir.consensus().params(), self.asking.paths_needed);
            self.step(Progress::loading(dir.share().of_paths(), needed));
        }
    }

    /// What is known may have changed.
    fn measure(&mut self) {
        self.is_stirred = true;
        self.answers = self.answers.wrapping_add(1);
    }

    fn plan_next(&mut self, now: Now, entropy: &mut dyn Entropy) {
        let Some(dir) = &self.dir else { return };
        self.next_consensus = Fetcher::Client.next_fetch(&dir.consensus().lifetime(), now.wall, entropy);
        self.pause = None;
        self.late = Late::default();
        self.patience.reset();
    }

    /// A directory has no newer consensus than ours, or none that our clock can use. One may be
    /// late, or lie. If another says the same, so will the next: the authorities have missed a
    /// round, or our clock is wrong.
    fn on_nothing_newer(&mut self, server: RsaId, now: Now, entropy: &mut dyn Entropy) {
        if !self.late.agree(server) {
            return;
        }
        let delay = self.patience.next_delay(entropy).min(MAX_STALE_WAIT);
        self.pause = Some((now.tick + delay, now.wall + delay));
        self.next_consensus = self.next_consensus.max(now.wall + delay);
    }

    fn take_certificates(
        &mut self,
        asked: &[KeyIds],
        text: &[u8],
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<(), directory::Error> {
        let (mut is_changed, mut bad) = (false, None);
        for certificate in certs::check_all(text) {
            match certificate {
                Ok(certificate) if asked.contains(&certificate.ids()) => {
                    is_changed |= self.certificates.insert(certificate, self.servers.trusted());
                }
                Ok(_) => {}
                Err(error) => bad = bad.or(Some(error)),
            }
        }
        // Of many that are bad, one is enough to be told of.
        bad.into_iter().for_each(|error| self.tell(Err(error)));
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
                self.servers.directories.on_failure(server, now.tick, entropy);
            }
        }
    }
}
