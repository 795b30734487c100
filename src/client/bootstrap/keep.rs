//! What of the directory outlives a run: read at the start, written as it changes.
//!
//! The files are C tor's, so that either program goes on with what the other had: certificates,
//! the consensus that we go by, microdescriptors and their journal (`directory/store.rs` has
//! their names and formats). A consensus goes to its file while it arrives, and takes the old
//! one's place when it was checked; one that comes as a diff is made out of the old one's file,
//! so that no text of a whole consensus is ever held. Opens no file (`client/files.rs` says
//! what the shell does), and is not how documents are checked (`directory`). Called by
//! `bootstrap.rs`, and by `client/mod.rs` with what was read. Spec: dir-spec, "Consensus
//! diffs"; C tor: `networkstatus.c`, `authcert.c`, `microdesc.c`.
//!
//! Differs: C tor keeps a consensus that waits for certificates in a file of its own, and goes
//! on with it in the next run. Here it is fetched again.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use super::{Bootstrap, Origin};
use crate::base::RsaId;
use crate::base::random::Entropy;
use crate::base::time::{Now, Tick, Wall};
use crate::client::files::{Desk, Name, Work};
use crate::directory::certs::{self, Certificates};
use crate::directory::consensus::{self, Unchecked};
use crate::directory::diff::{Diff, Patch};
use crate::directory::microdesc::{self, Microdesc};
use crate::directory::{Error, NetDir, store};

/// How much of a file of certificates is read; ours. Nine authorities have 20 kilobytes.
const MAX_CERTIFICATES_LEN: usize = 1024 * 1024;
/// How many microdescriptors a file has when it is written anew; ours: as many as there can be
/// relays, in a week in which half of them change.
const MAX_REWRITTEN: usize = 0x1_8000;
/// How often it is seen whether the file of microdescriptors is to be written anew. C tor:
/// `CLEAN_CACHES_INTERVAL`.
const REWRITE_EVERY: Duration = Duration::from_secs(30 * 60);
/// When that is first seen to, after all was read; ours, so that the first circuits do not wait
/// behind it. C tor: at once.
const REWRITE_FIRST: Duration = Duration::from_secs(60);

/// What is known of the files, and what is being done with them.
pub(super) struct Keep {
    desk: Desk,
    /// Files that are still to be read at the start.
    unread: VecDeque<Name>,
    /// Whether microdescriptors are still to be read, for which there must be a consensus.
    has_unread_microdescs: bool,
    job: Option<Job>,
    /// Files that are being read for nobody: whoever wanted them is no more.
    forsaken: Vec<Name>,
    /// A diff that is to be applied, and whose it is.
    diff: Option<(Diff, RsaId)>,
    /// The signed part of the consensus in our file, by its SHA3-256, if it is the one we go by.
    on_disk: Option<[u8; 32]>,
    /// The last diff was no good, so that the next consensus is asked for whole.
    has_diff_failed: bool,
    /// Bytes of microdescriptors: in the file, in the journal, and those of them to be dropped.
    file_len: u64,
    journal_len: u64,
    dropped: u64,
    next_look: Option<Tick>,
    /// Something in them cannot be read, and may spoil what is added behind it.
    is_torn: bool,
    /// What was wrong with which file.
    faults: VecDeque<(Name, Error)>,
}

/// A file that is being read, and what for.
enum Job {
    Certificates(Vec<u8>),
    Consensus(Box<Loading>),
    /// Both files of microdescriptors, one after the other.
    Microdescs(Name, microdesc::Parser),
    Patch(Box<Patching>),
    Rewrite(Rewriting),
}

impl Job {
    fn file(&self) -> Name {
        match self {
            Job::Certificates(_) => store::CERTIFICATES,
            Job::Consensus(_) | Job::Patch(_) => store::CONSENSUS,
            Job::Microdescs(name, _) => name,
            Job::Rewrite(rewriting) => rewriting.file,
        }
    }
}

/// A consensus while it is read out of its file, or made.
#[derive(Default)]
struct Loading {
    parser: consensus::Parser,
    fault: Option<Error>,
}

impl Loading {
    fn push(&mut self, bytes: &[u8]) {
        if self.fault.is_none() {
            self.fault = self.parser.push(bytes).err();
        }
    }

    fn finish(self) -> Result<Unchecked, Error> {
        self.fault.map_or(Ok(()), Err)?;
        self.parser.finish()
    }
}

/// A diff while it is applied to the consensus in the file.
struct Patching {
    patch: Patch,
    new: Loading,
    server: RsaId,
}

/// The file of microdescriptors while it is written anew.
struct Rewriting {
    file: Name,
    parser: microdesc::Parser,
    /// The fronts of the digests of those that are written.
    written: BTreeSet<[u8; 8]>,
    /// What of this file was read so far.
    read: u64,
    len: u64,
}

impl Keep {
    pub(super) fn new(keeps_files: bool) -> Keep {
        let unread: &[Name] = if keeps_files { &[store::CERTIFICATES, store::CONSENSUS] } else { &[] };
        Keep {
            desk: Desk::new(keeps_files),
            unread: unread.iter().copied().collect(),
            has_unread_microdescs: keeps_files,
            job: None,
            forsaken: Vec::new(),
            diff: None,
            on_disk: None,
            has_diff_failed: false,
            file_len: 0,
            journal_len: 0,
            dropped: 0,
            next_look: None,
            is_torn: false,
            faults: VecDeque::new(),
        }
    }

    /// Goes on where another was, at the same files.
    fn follow(&mut self, old: Keep) {
        let under_way = old.job.as_ref().map(Job::file).filter(|name| !old.desk.is_unread(name));
        self.forsaken = old.forsaken;
        self.forsaken.extend(under_way);
        self.desk = old.desk.left();
    }

    /// Whether a diff from that consensus could be applied.
    pub(super) fn can_patch(&self, digest: &[u8; 32]) -> bool {
        self.on_disk.as_ref() == Some(digest) && !self.has_diff_failed
    }

    /// Whether a consensus is being made out of a diff, or will be.
    pub(super) fn is_patching(&self) -> bool {
        self.diff.is_some() || matches!(self.job, Some(Job::Patch(_)))
    }

    /// A diff arrived, and is to be applied.
    pub(super) fn plan_patch(&mut self, diff: Diff, server: RsaId) {
        self.diff = Some((diff, server));
    }

    /// When to look again.
    pub(super) fn next_deadline(&self) -> Option<Tick> {
        self.next_look.filter(|_| self.job.is_none())
    }

    /// A consensus begins to arrive.
    pub(super) fn begin_consensus(&mut self) {
        self.desk.begin(store::CONSENSUS);
    }

    /// The next bytes of it.
    pub(super) fn write_consensus(&mut self, bytes: &[u8]) {
        self.desk.piece(store::CONSENSUS, bytes);
    }

    /// It is no good.
    pub(super) fn drop_consensus(&mut self) {
        self.desk.abort(store::CONSENSUS);
    }

    /// A diff is no good: the next consensus is asked for whole. C tor: asks the next directory
    /// for a diff again.
    pub(super) fn on_bad_diff(&mut self) {
        self.has_diff_failed = true;
    }

    /// It is good, and the one we go by now.
    pub(super) fn on_consensus(&mut self, digest: [u8; 32], origin: Origin) {
        let is_there = origin == Origin::File || self.desk.commit(store::CONSENSUS);
        self.on_disk = is_there.then_some(digest);
        self.has_diff_failed = false;
    }

    /// It is not on the disk.
    pub(super) fn on_unwritten(&mut self) {
        self.on_disk = None;
    }

    /// A file cannot be used. What is broken in it, and not only old or cut off, may be worth a look.
    pub(super) fn on_bad_file(&mut self, name: Name, error: Error) {
        let is_broken = name != store::MICRODESCS_JOURNAL
            && !matches!(error, Error::ConsensusOutdated | Error::DiffFromOther | Error::NotNewer);
        if !self.faults.iter().any(|(bad, _)| *bad == name) {
            if is_broken {
                self.desk.set_aside(name);
            }
            self.faults.push_back((name, error));
        }
    }

    /// Writes all certificates.
    pub(super) fn save_certificates(&mut self, certificates: &Certificates) {
        self.desk.begin(store::CERTIFICATES);
        certificates.iter().for_each(|one| self.desk.piece(store::CERTIFICATES, one.text().as_bytes()));
        self.desk.commit(store::CERTIFICATES);
    }

    /// Keeps a microdescriptor that was fetched.
    pub(super) fn save_microdesc(&mut self, microdesc: &Microdesc<'_>, last_listed: Wall) {
        if !self.desk.is_kept() {
            return;
        }
        let mut text = Vec::new();
        store::write_microdesc(&mut text, microdesc, Some(last_listed));
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if let Some(Job::Rewrite(rewriting)) = &mut self.job {
            // The journal may have been read already, and will be emptied.
            rewriting.len += length;
            self.desk.piece(store::MICRODESCS, &text);
        } else if self.desk.append(store::MICRODESCS_JOURNAL, &text) {
            self.journal_len += length;
        }
    }

    /// The next file that there is reason to read.
    fn next_job(&mut self, dir: Option<&NetDir>, now: Now) -> Option<Job> {
        if !self.desk.is_kept() {
            return None;
        }
        let job = match self.unread.pop_front() {
            Some(store::CERTIFICATES) => Job::Certificates(Vec::new()),
            Some(_) => Job::Consensus(Box::default()),
            None if dir.is_some() && core::mem::take(&mut self.has_unread_microdescs) => {
                Job::Microdescs(store::MICRODESCS, microdesc::Parser::default())
            }
            None => match self.diff.take() {
                Some((diff, server)) => {
                    self.begin_consensus();
                    Job::Patch(Box::new(Patching { patch: Patch::new(diff), new: Loading::default(), server }))
                }
                None => self.rewrite(dir?, now)?,
            },
        };
        self.desk.read(job.file());
        Some(job)
    }

    /// Begins to write the file of microdescriptors anew, if it is time to.
    fn rewrite(&mut self, dir: &NetDir, now: Now) -> Option<Job> {
        // C tor: after a while without a consensus, nothing is known to be too old.
        let is_live = dir.consensus().lifetime().is_reasonably_live(now.wall);
        let is_time = self.next_look.is_some_and(|at| at <= now.tick);
        if is_time {
            self.next_look = Some(now.tick + REWRITE_EVERY);
        }
        let is_due = is_time && store::is_rewrite_due(self.file_len, self.journal_len, self.dropped);
        if !is_live || !(is_due || self.is_torn) {
            return None;
        }
        self.is_torn = false;
        self.desk.begin(store::MICRODESCS);
        Some(Job::Rewrite(Rewriting {
            file: store::MICRODESCS,
            parser: microdesc::Parser::default(),
            written: BTreeSet::new(),
            read: 0,
            len: 0,
        }))
    }

    /// A microdescriptor out of a file, at the start.
    fn load_microdesc(&mut self, file: Name, found: Result<Microdesc<'_>, Error>, dir: &mut NetDir, now: Wall) {
        match found {
            Ok(microdesc) => {
                // What is there twice goes, and what is of no use to anybody.
                let is_of_use =
                    |dir: &NetDir| !dir.names(&microdesc.digest) && store::keep(&microdesc, dir, now).is_some();
                if !dir.insert(&microdesc) && !is_of_use(dir) {
                    self.dropped += u64::try_from(microdesc.text.len()).unwrap_or(u64::MAX);
                }
            }
            Err(error) => {
                self.is_torn = true;
                self.on_bad_file(file, error);
            }
        }
    }
}

impl Rewriting {
    fn take(&mut self, found: Result<Microdesc<'_>, Error>, dir: &NetDir, desk: &mut Desk, now: Wall) {
        let Ok(microdesc) = found else { return };
        let Some(date) = store::keep(&microdesc, dir, now) else { return };
        let Some(front) = microdesc.digest.first_chunk::<8>() else { return };
        if self.written.len() < MAX_REWRITTEN && self.written.insert(*front) {
            let mut text = Vec::new();
            store::write_microdesc(&mut text, &microdesc, Some(date));
            self.len += u64::try_from(text.len()).unwrap_or(u64::MAX);
            desk.piece(store::MICRODESCS, &text);
        }
    }
}

impl Bootstrap {
    /// Takes the place of another, of which nothing counts any more. What is still being read for
    /// it comes first, and is not for us.
    pub fn follow(&mut self, old: Bootstrap) {
        self.keep.follow(old.keep);
    }

    /// The next thing to do with a file.
    pub fn poll_work(&mut self) -> Option<Work> {
        self.keep.desk.poll()
    }

    /// A file that cannot be used, all or in part, and why.
    pub fn poll_fault(&mut self) -> Option<(Name, Error)> {
        self.keep.faults.pop_front()
    }

    /// Begins to read what is to be read next. False as long as what is here is not known.
    pub(super) fn read_on(&mut self, now: Now) -> bool {
        if self.keep.job.is_none() {
            self.keep.job = self.keep.next_job(self.dir.as_ref(), now);
        }
        !matches!(self.keep.job, Some(Job::Certificates(_) | Job::Consensus(_) | Job::Microdescs(..)))
    }

    /// The next bytes of a file that is read.
    pub fn handle_file(&mut self, name: Name, piece: &[u8], now: Now) {
        if self.keep.forsaken.contains(&name) {
            return;
        }
        let Some(mut job) = self.keep.job.take_if(|job| job.file() == name) else { return };
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        let Bootstrap { dir, keep, .. } = self;
        match &mut job {
            Job::Certificates(text) => {
                let room = MAX_CERTIFICATES_LEN - text.len();
                text.extend_from_slice(piece.get(..room).unwrap_or(piece));
            }
            Job::Consensus(loading) => loading.push(piece),
            Job::Microdescs(file, parser) => {
                let total = if *file == store::MICRODESCS { &mut keep.file_len } else { &mut keep.journal_len };
                *total += length;
                if let Some(dir) = dir {
                    parser.push(piece, &mut |found| keep.load_microdesc(file, found, dir, now.wall));
                }
            }
            Job::Patch(patching) => {
                let Patching { patch, new, .. } = &mut **patching;
                patch.push(piece, &mut |bytes| {
                    new.push(bytes);
                    keep.write_consensus(bytes);
                });
            }
            Job::Rewrite(rewriting) => {
                rewriting.read += length;
                let mut parser = core::mem::take(&mut rewriting.parser);
                if let Some(dir) = dir {
                    parser.push(piece, &mut |found| rewriting.take(found, dir, &mut keep.desk, now.wall));
                }
                rewriting.parser = parser;
            }
        }
        self.keep.job = Some(job);
    }

    /// A file was read to its end; or `found` is false, and there is none, or it cannot be read.
    pub fn handle_file_end(&mut self, name: Name, found: bool, now: Now, entropy: &mut dyn Entropy) {
        if let Some(place) = self.keep.forsaken.iter().position(|it| *it == name) {
            self.keep.forsaken.remove(place);
            return;
        }
        let Some(job) = self.keep.job.take_if(|job| job.file() == name) else { return };
        match job {
            Job::Certificates(text) => self.load_certificates(&text),
            Job::Consensus(loading) if found => {
                if let Err(error) = self.load_consensus(*loading, now, entropy) {
                    self.keep.on_bad_file(name, error);
                }
            }
            Job::Consensus(_) => {}
            Job::Microdescs(file, parser) => self.end_microdescs(file, parser, now),
            Job::Patch(patching) => self.end_patch(*patching, found, now, entropy),
            Job::Rewrite(rewriting) => self.end_rewrite(rewriting, found, now),
        }
        self.measure();
    }

    /// What is bad among them is said once, and the file is written anew without it. If all is, it
    /// is as long as nobody has others.
    fn load_certificates(&mut self, text: &[u8]) {
        let mut is_whole = true;
        for certificate in certs::check_all(text) {
            match certificate {
                Ok(certificate) => drop(self.certificates.insert(certificate, self.servers.trusted())),
                Err(error) => {
                    is_whole = false;
                    self.keep.on_bad_file(store::CERTIFICATES, error);
                }
            }
        }
        if !is_whole && self.certificates.iter().next().is_some() {
            self.keep.save_certificates(&self.certificates);
        }
    }

    fn load_consensus(&mut self, loading: Loading, now: Now, entropy: &mut dyn Entropy) -> Result<(), Error> {
        let unchecked = loading.finish()?;
        if !store::is_worth_loading(&unchecked.lifetime(), now.wall) {
            return Err(Error::ConsensusOutdated);
        }
        self.check(unchecked, Origin::File, now, entropy)
    }

    fn end_microdescs(&mut self, file: Name, parser: microdesc::Parser, now: Now) {
        let Bootstrap { dir, keep, .. } = self;
        if let Some(dir) = dir {
            parser.finish(&mut |found| keep.load_microdesc(file, found, dir, now.wall));
        }
        if file == store::MICRODESCS {
            keep.job = Some(Job::Microdescs(store::MICRODESCS_JOURNAL, microdesc::Parser::default()));
            keep.desk.read(store::MICRODESCS_JOURNAL);
        } else {
            keep.next_look = Some(now.tick + REWRITE_FIRST);
        }
    }

    fn end_patch(&mut self, patching: Patching, found: bool, now: Now, entropy: &mut dyn Entropy) {
        let Patching { patch, mut new, server } = patching;
        let keep = &mut self.keep;
        let patched = patch.finish(&mut |bytes| {
            new.push(bytes);
            keep.write_consensus(bytes);
        });
        let patched = if found { patched } else { Err(Error::DiffFromOther) };
        let checked = patched.and_then(|()| new.finish());
        let checked = checked.and_then(|new| self.check(new, Origin::Directory(server), now, entropy));
        self.tell(checked);
        match checked {
            Ok(()) => {}
            Err(Error::DiffFromOther) => {
                // The diff says that it begins with what we have: the file is another.
                self.keep.drop_consensus();
                self.keep.on_disk = None;
                self.keep.on_bad_file(store::CONSENSUS, Error::DiffFromOther);
            }
            Err(_) => {
                self.keep.drop_consensus();
                self.keep.on_bad_diff();
                self.servers.directories.on_failure(server, now.tick, entropy);
            }
        }
    }

    fn end_rewrite(&mut self, mut rewriting: Rewriting, found: bool, now: Now) {
        let Bootstrap { dir, keep, .. } = self;
        let parser = core::mem::take(&mut rewriting.parser);
        if let Some(dir) = dir {
            parser.finish(&mut |found| rewriting.take(found, dir, &mut keep.desk, now.wall));
        }
        let expected = if rewriting.file == store::MICRODESCS { keep.file_len } else { keep.journal_len };
        if !found && expected > 0 {
            // It broke off: what is there is better than what was read of it.
            return keep.desk.abort(store::MICRODESCS);
        }
        if rewriting.file == store::MICRODESCS {
            (rewriting.file, rewriting.read) = (store::MICRODESCS_JOURNAL, 0);
            keep.desk.read(store::MICRODESCS_JOURNAL);
            keep.job = Some(Job::Rewrite(rewriting));
        } else if keep.desk.absorb(store::MICRODESCS, store::MICRODESCS_JOURNAL) {
            (keep.file_len, keep.journal_len, keep.dropped) = (rewriting.len, 0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Wish;
    use super::*;
    use crate::base::random::Seeded;
    use crate::client::bootstrap::Asking;
    use crate::client::files::PIECE_LEN;
    use crate::directory::authorities::Authority;

    const NOW: Now = Now { tick: Tick::new(Duration::ZERO), wall: Wall::from_secs(1_800_000_000) };

    fn bootstrap() -> Bootstrap {
        let line = format!("a orport=1 v3ident={} 127.0.0.1:1 {}", "A".repeat(40), "B".repeat(40));
        let authorities = vec![Authority::parse(&line).unwrap()];
        Bootstrap::new(&Wish { authorities, keeps_files: true, ..Wish::default() }, Asking::default())
    }

    /// Reads files to their ends, each as long as said, and gives what else was to be done.
    fn read_all(bootstrap: &mut Bootstrap, mut file: impl FnMut(Name) -> Option<Vec<u8>>) -> Vec<Work> {
        let mut others = Vec::new();
        let mut orders = bootstrap.orders(NOW, &mut Seeded(1));
        while let Some(work) = bootstrap.poll_work() {
            if let Work::SetAside(_) = work {
                continue;
            }
            let Work::Read(name) = work else {
                others.push(work);
                continue;
            };
            assert!(orders.is_empty(), "asked for something before it is known what is here");
            let bytes = file(name);
            bytes.iter().flat_map(|bytes| bytes.chunks(PIECE_LEN)).for_each(|it| bootstrap.handle_file(name, it, NOW));
            bootstrap.handle_file_end(name, bytes.is_some(), NOW, &mut Seeded(1));
            orders = bootstrap.orders(NOW, &mut Seeded(1));
        }
        assert!(!orders.is_empty(), "there is nothing, and it asks for nothing");
        others
    }

    #[test]
    fn no_file_makes_us_hold_more_than_its_bound() {
        let mut bootstrap = bootstrap();
        let others = read_all(&mut bootstrap, |_| Some(vec![b'x'; 3 * consensus::MAX_LEN]));
        assert_eq!(others, []);
        let faults: Vec<Name> = core::iter::from_fn(|| bootstrap.poll_fault()).map(|(name, _)| name).collect();
        assert_eq!(faults, [store::CERTIFICATES, store::CONSENSUS]);
    }

    #[test]
    fn what_is_not_there_is_no_fault() {
        let mut bootstrap = bootstrap();
        assert_eq!(read_all(&mut bootstrap, |_| None), []);
        assert_eq!(bootstrap.poll_fault(), None);
    }

    #[test]
    fn what_was_not_asked_for_is_not_read() {
        let mut bootstrap = bootstrap();
        bootstrap.handle_file(store::CONSENSUS, b"x", NOW);
        bootstrap.handle_file_end(store::CONSENSUS, true, NOW, &mut Seeded(1));
        bootstrap.orders(NOW, &mut Seeded(1));
        bootstrap.handle_file(store::MICRODESCS, b"x", NOW);
        bootstrap.handle_file_end("state", true, NOW, &mut Seeded(1));
        assert!(matches!(bootstrap.keep.job, Some(Job::Certificates(text)) if text.is_empty()));
    }
}
