//! The thread that does with files what the client wants done, so that no slow disk holds up a
//! byte of anybody's.
//!
//! One piece of work at a time and in order; what it reads comes back in pieces, few of which
//! wait. Decides nothing, and knows no file but by name: `state` lies in the data directory, all
//! others in that of the caches. Called by `driver.rs`. Spec: none.

use core::cell::Cell;
use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::disk::{Directory, Replacement};
use crate::client::files::{Name, Work};
use crate::client::state::STATE;

/// How many pieces of a file may wait for the client; ours.
const MAX_PIECES: usize = 2;
/// How much work may wait for the thread, so that what more there is waits where it is bounded;
/// ours.
const MAX_ORDERS: usize = 4;

/// How many broken files are kept of each kind; ours. Caches are large, and can be had again.
const MOST_STATES: u32 = 10;
const MOST_CACHES: u32 = 1;

/// A disk that hangs holds the end of the program up for no longer; ours.
const JOIN_LIMIT: Duration = Duration::from_secs(2);

/// Where files lie.
#[derive(Clone, Debug)]
pub struct Places {
    /// DataDirectory.
    pub data: Directory,
    /// CacheDirectory, which is the same if the user says nothing else.
    pub cache: Directory,
}

/// What came of the work.
#[derive(Debug)]
pub enum Done {
    /// The next bytes of a file that is read.
    Piece(Name, Vec<u8>),
    /// All of it was read; or there is none, or it cannot be read.
    Read(Name, io::Result<bool>),
    /// A broken file was kept under that name as well; or could not be.
    SetAside(Name, io::Result<String>),
    /// Something was written; or could not be, and the file is as it was.
    Written(Name, io::Result<()>),
}

/// The thread, as the driver sees it.
pub struct Files {
    orders: Option<mpsc::Sender<Work>>,
    /// Work that was not heard of yet.
    under_way: Cell<usize>,
    thread: Option<(JoinHandle<()>, mpsc::Receiver<()>)>,
}

impl Files {
    /// Starts the thread. What comes of the work is to be taken from the second of these, or it
    /// does no more.
    pub fn start(places: Places) -> io::Result<(Files, Receiver<Done>)> {
        let ((orders, work), (tell, done)) = (mpsc::channel(), channel(MAX_PIECES));
        let clerk = Clerk { places, begun: BTreeMap::new(), tell };
        // It says nothing here: that it is dropped says that the thread is done.
        let (end, ended) = mpsc::channel::<()>();
        let work = move || {
            let _end = end;
            clerk.run(&work);
        };
        let thread = thread::Builder::new().name("files".to_owned()).spawn(work)?;
        Ok((Files { orders: Some(orders), under_way: Cell::new(0), thread: Some((thread, ended)) }, done))
    }

    /// For a client that keeps nothing, and orders nothing.
    pub fn nowhere() -> Files {
        Files { orders: None, under_way: Cell::new(0), thread: None }
    }

    /// Whether it takes more work now.
    pub fn has_room(&self) -> bool {
        self.under_way.get() < MAX_ORDERS
    }

    /// Whether nothing is left to do.
    pub fn is_idle(&self) -> bool {
        self.under_way.get() == 0
    }

    /// Gives it work.
    pub fn order(&self, work: Work) {
        if self.orders.as_ref().is_some_and(|orders| orders.send(work).is_ok()) {
            self.under_way.set(self.under_way.get() + 1);
        }
    }

    /// This came of some of it.
    pub fn on_done(&self, done: &Done) {
        if !matches!(done, Done::Piece(..)) {
            self.under_way.set(self.under_way.get().saturating_sub(1));
        }
    }
}

impl Drop for Files {
    /// What was ordered is done first, if the disk lets it. Nobody may be waiting for a piece any
    /// more.
    fn drop(&mut self) {
        self.orders = None;
        let Some((thread, ended)) = self.thread.take() else { return };
        if ended.recv_timeout(JOIN_LIMIT) == Err(mpsc::RecvTimeoutError::Disconnected) {
            // It panics on nothing, and if it did there would be nothing to do about it.
            let _ = thread.join();
        }
    }
}

/// The thread's own.
struct Clerk {
    places: Places,
    /// Files that were begun; those that cannot be written are there no more.
    begun: BTreeMap<Name, Replacement>,
    tell: Sender<Done>,
}

impl Clerk {
    fn run(mut self, work: &mpsc::Receiver<Work>) {
        for work in work {
            let done = self.obey(work);
            // Whoever hears nothing more wants what is left written all the same.
            let _ = self.tell.blocking_send(done);
        }
    }

    fn obey(&mut self, work: Work) -> Done {
        match work {
            Work::Read(name) => Done::Read(name, self.read(name)),
            Work::Begin(name) => {
                // The old one's unfinished file must be gone before there is a new one.
                self.begun.remove(name);
                Done::Written(name, self.place(name).replace(name).map(|file| drop(self.begun.insert(name, file))))
            }
            Work::Piece(name, bytes) => Done::Written(name, self.write(name, &bytes)),
            Work::Commit(name) => Done::Written(name, self.begun.remove(name).map_or(Ok(()), Replacement::commit)),
            Work::Abort(name) => {
                self.begun.remove(name);
                Done::Written(name, Ok(()))
            }
            Work::SetAside(name) => {
                let most = if name == STATE { MOST_STATES } else { MOST_CACHES };
                Done::SetAside(name, self.place(name).set_aside(name, most))
            }
            Work::Absorb(name, other) => Done::Written(name, self.absorb(name, other)),
            Work::Append(name, bytes) => Done::Written(name, self.place(name).append(name, &bytes)),
        }
    }

    fn place(&self, name: Name) -> &Directory {
        if name == STATE { &self.places.data } else { &self.places.cache }
    }

    fn read(&self, name: Name) -> io::Result<bool> {
        let Some(mut file) = self.place(name).read(name)? else { return Ok(false) };
        loop {
            let piece = file.next_piece()?;
            if piece.is_empty() || self.tell.blocking_send(Done::Piece(name, piece)).is_err() {
                return Ok(true);
            }
        }
    }

    /// What the other file has is dropped only when it is in this one.
    fn absorb(&mut self, name: Name, other: Name) -> io::Result<()> {
        let Some(file) = self.begun.remove(name) else { return Ok(()) };
        file.commit()?;
        self.place(other).remove(other)
    }

    /// A file of which some could not be written is given up.
    fn write(&mut self, name: Name, bytes: &[u8]) -> io::Result<()> {
        let result = self.begun.get_mut(name).map_or(Ok(()), |file| file.write(bytes));
        if result.is_err() {
            self.begun.remove(name);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::tests::Scratch;
    use super::super::runtime::executor;
    use super::*;

    const CACHE: Name = "cached-certs";

    fn files(scratch: &Scratch) -> (Files, Receiver<Done>) {
        let open = |name| Directory::open(&scratch.0.join(name), false, false).unwrap().0;
        Files::start(Places { data: open("data"), cache: open("cache") }).unwrap()
    }

    /// All that comes of some work.
    fn outcome((files, done): &mut (Files, Receiver<Done>), work: Vec<Work>) -> Vec<Done> {
        work.into_iter().for_each(|work| files.order(work));
        executor().unwrap().block_on(async {
            let mut all = Vec::new();
            while !files.is_idle() {
                let one = done.recv().await.unwrap();
                files.on_done(&one);
                all.push(one);
            }
            all
        })
    }

    #[test]
    fn files_are_whole_and_each_in_its_place() {
        let scratch = Scratch::new("files");
        let mut files = files(&scratch);
        let big = vec![7; 100_000];
        for name in [STATE, CACHE] {
            let absent = outcome(&mut files, vec![Work::Read(name)]);
            assert!(matches!(absent[..], [Done::Read(_, Ok(false))]));
            let written = outcome(&mut files, vec![Work::Begin(name), Work::Piece(name, big.clone())]);
            assert!(written.iter().all(|done| matches!(done, Done::Written(_, Ok(())))));
            // It is not there before it is whole.
            assert!(matches!(outcome(&mut files, vec![Work::Read(name)])[..], [Done::Read(_, Ok(false))]));
            outcome(&mut files, vec![Work::Commit(name), Work::Append(name, b"end".to_vec())]);
            let read = outcome(&mut files, vec![Work::Read(name)]);
            let bytes: Vec<u8> = read
                .iter()
                .flat_map(|done| if let Done::Piece(_, it) = done { &it[..] } else { &[] })
                .copied()
                .collect();
            assert_eq!(bytes, [&big[..], b"end"].concat());
            assert!(read.len() == 3 && matches!(read[2], Done::Read(_, Ok(true))));
        }
        assert!(scratch.0.join("data").join(STATE).exists() && scratch.0.join("cache").join(CACHE).exists());
    }

    #[test]
    fn what_is_absorbed_is_gone_only_when_it_is_kept() {
        let scratch = Scratch::new("absorb");
        let mut files = files(&scratch);
        let path = |name: &str| scratch.0.join("cache").join(name);
        outcome(&mut files, vec![Work::Append("journal", b"j".to_vec()), Work::Absorb(CACHE, "journal")]);
        assert!(path("journal").exists(), "nothing was begun");
        outcome(
            &mut files,
            vec![Work::Begin(CACHE), Work::Piece(CACHE, b"j".to_vec()), Work::Absorb(CACHE, "journal")],
        );
        assert!(path(CACHE).exists() && !path("journal").exists());
    }

    #[test]
    fn what_cannot_be_written_is_said_once_and_leaves_the_old_file() {
        let scratch = Scratch::new("unwritten");
        let mut files = files(&scratch);
        outcome(&mut files, vec![Work::Begin(STATE), Work::Piece(STATE, b"old".to_vec()), Work::Commit(STATE)]);
        // The new one's place is taken by a directory.
        std::fs::create_dir(scratch.0.join("data/state.tmp")).unwrap();
        let all =
            outcome(&mut files, vec![Work::Begin(STATE), Work::Piece(STATE, b"new".to_vec()), Work::Commit(STATE)]);
        assert!(matches!(all[..], [Done::Written(_, Err(_)), Done::Written(_, Ok(())), Done::Written(_, Ok(()))]));
        assert_eq!(std::fs::read(scratch.0.join("data").join(STATE)).unwrap(), b"old");
    }

    /// A client that ends orders its last work and hears no more of it.
    #[test]
    fn what_was_ordered_is_done_before_the_end() {
        let scratch = Scratch::new("last");
        let (files, done) = files(&scratch);
        drop(done);
        for work in [Work::Begin(STATE), Work::Piece(STATE, vec![1; 9]), Work::Commit(STATE)] {
            files.order(work);
        }
        drop(files);
        assert_eq!(std::fs::read(scratch.0.join("data").join(STATE)).unwrap(), [1; 9]);
    }
}
