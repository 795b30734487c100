//! What the shell is to do with files, as values: the quiet side of a disk.
//!
//! A [`Desk`] holds the work that waits for the shell: files to be read, files to be replaced as
//! one, and what is to be added to a journal. Knows no path, opens nothing, and does not say
//! what is in a file: `bootstrap/keep.rs` and `state.rs` do. Called by those two; the shell
//! takes [`Work`] out of the client. Spec: none; C tor: `start_writing_to_file` and its
//! neighbours in lib/fs/files.c.
//!
//! Heads up: a file that the shell cannot write costs nothing but itself. Whoever reads it
//! again checks what it finds.

use std::collections::{BTreeSet, VecDeque};

/// A file, by its name in the data directory, which is one that C tor has too.
pub type Name = &'static str;

/// In pieces of at most so many bytes a shell should read a file; ours.
pub const PIECE_LEN: usize = 64 * 1024;
/// How much may wait to be written; ours: more than a read of a link becomes when it is
/// decompressed, and than a diff of an hour adds at one place.
pub const MAX_WAITING: usize = 1024 * 1024;

/// What the shell is to do with a file, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Read it, from front to end, and give each piece to `handle_file`, the end to
    /// `handle_file_end`.
    Read(Name),
    /// Begin a new one beside it. If there is one that was begun, begin that anew.
    Begin(Name),
    /// Add to the one that was begun.
    Piece(Name, Vec<u8>),
    /// The one that was begun is whole: put it in the old one's place, as one step.
    Commit(Name),
    /// The one that was begun is whole, and has all that the second has: put it in the old one's
    /// place, and when that is done, remove the second.
    Absorb(Name, Name),
    /// The one that was begun is no good: forget it. The old one stays.
    Abort(Name),
    /// Something in it is broken: keep it as it is under another name, beside it.
    SetAside(Name),
    /// Add to its end; make it if there is none.
    Append(Name, Vec<u8>),
}

/// The work that waits for the shell.
#[derive(Debug, Default)]
pub struct Desk {
    is_kept: bool,
    queue: VecDeque<Work>,
    /// Bytes in the queue.
    waiting: usize,
    /// Files that were begun.
    open: BTreeSet<Name>,
}

impl Desk {
    /// Of a client that keeps files, or of one that keeps nothing and has no work for anybody.
    pub fn new(is_kept: bool) -> Desk {
        Desk { is_kept, ..Desk::default() }
    }

    /// Whether anything is kept at all.
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Work> {
        let work = self.queue.pop_front()?;
        if let Work::Piece(_, bytes) | Work::Append(_, bytes) = &work {
            self.waiting -= bytes.len();
        }
        Some(work)
    }

    /// Has a file read.
    pub fn read(&mut self, name: Name) {
        self.push(Work::Read(name));
    }

    /// Begins a file anew.
    pub fn begin(&mut self, name: Name) {
        if self.is_kept {
            self.open.insert(name);
            self.push(Work::Begin(name));
        }
    }

    /// Adds to a file that was begun. If too much waits, the file is given up.
    pub fn piece(&mut self, name: Name, bytes: &[u8]) {
        if !self.open.contains(name) {
            return;
        }
        if self.waiting + bytes.len() > MAX_WAITING {
            return self.abort(name);
        }
        self.waiting += bytes.len();
        match self.queue.back_mut() {
            Some(Work::Piece(last, held)) if *last == name && held.len() < PIECE_LEN => held.extend_from_slice(bytes),
            _ => self.push(Work::Piece(name, bytes.to_vec())),
        }
    }

    /// A file that was begun is whole. False if it was given up before.
    pub fn commit(&mut self, name: Name) -> bool {
        let is_whole = self.open.remove(name);
        if is_whole {
            self.push(Work::Commit(name));
        }
        is_whole
    }

    /// A file that was begun is whole, and has what a journal has. False if it was given up before.
    pub fn absorb(&mut self, name: Name, journal: Name) -> bool {
        let is_whole = self.open.remove(name);
        if is_whole {
            self.push(Work::Absorb(name, journal));
        }
        is_whole
    }

    /// Gives a file up, if it was begun.
    pub fn abort(&mut self, name: Name) {
        if self.open.remove(name) {
            self.push(Work::Abort(name));
        }
    }

    /// Keeps a broken file under another name.
    pub fn set_aside(&mut self, name: Name) {
        self.push(Work::SetAside(name));
    }

    /// Adds to a journal. False if too much waits: then it is left out.
    pub fn append(&mut self, name: Name, bytes: &[u8]) -> bool {
        if !self.is_kept || self.waiting + bytes.len() > MAX_WAITING {
            return false;
        }
        self.waiting += bytes.len();
        match self.queue.back_mut() {
            Some(Work::Append(last, held)) if *last == name && held.len() < PIECE_LEN => held.extend_from_slice(bytes),
            _ => self.push(Work::Append(name, bytes.to_vec())),
        }
        true
    }

    /// Whether the shell has not begun yet to read what was to be read last.
    pub fn is_unread(&self, name: Name) -> bool {
        self.queue.contains(&Work::Read(name))
    }

    /// What another client goes on with, at the same files: whatever is whole is put in its place,
    /// what is not is given up, and nothing is read for it.
    #[must_use]
    pub fn left(mut self) -> Desk {
        self.open.clone().into_iter().for_each(|name| self.abort(name));
        self.queue.retain(|work| !matches!(work, Work::Read(_)));
        self
    }

    fn push(&mut self, work: Work) {
        if self.is_kept {
            self.queue.push_back(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(desk: &mut Desk) -> Vec<Work> {
        core::iter::from_fn(|| desk.poll()).collect()
    }

    #[test]
    fn work_comes_in_its_order_and_small_pieces_as_one() {
        let mut desk = Desk::new(true);
        desk.read("a");
        desk.begin("a");
        desk.piece("a", b"one ");
        desk.piece("a", b"two");
        assert!(desk.append("j", b"x") && desk.append("j", b"y"));
        desk.piece("a", b"!");
        assert!(desk.commit("a") && !desk.commit("a"));
        desk.piece("a", b"after its end");
        desk.abort("a");
        let expected = [
            Work::Read("a"),
            Work::Begin("a"),
            Work::Piece("a", b"one two".to_vec()),
            Work::Append("j", b"xy".to_vec()),
            Work::Piece("a", b"!".to_vec()),
            Work::Commit("a"),
        ];
        assert_eq!(all(&mut desk), expected);
        assert_eq!(desk.waiting, 0);
    }

    #[test]
    fn what_waits_is_bounded_and_a_file_is_whole_or_given_up() {
        let mut desk = Desk::new(true);
        desk.begin("a");
        desk.begin("b");
        let piece = vec![7; PIECE_LEN];
        for _ in 0..100 {
            desk.piece("a", &piece);
        }
        assert!(desk.waiting <= MAX_WAITING && !desk.append("j", &piece));
        let work = all(&mut desk);
        assert_eq!(work.last(), Some(&Work::Abort("a")));
        assert_eq!(work.len(), 3 + MAX_WAITING / PIECE_LEN);
        desk.piece("b", &piece);
        assert!(!desk.commit("a") && desk.commit("b") && desk.append("j", &piece));
    }

    #[test]
    fn what_is_left_to_another_is_whole() {
        let mut desk = Desk::new(true);
        desk.begin("a");
        desk.read("b");
        desk.commit("a");
        desk.begin("c");
        assert!(desk.is_unread("b") && !desk.is_unread("a"));
        let work = all(&mut desk.left());
        assert_eq!(work, [Work::Begin("a"), Work::Commit("a"), Work::Begin("c"), Work::Abort("c")]);
    }

    #[test]
    fn whoever_keeps_nothing_has_no_work() {
        let mut desk = Desk::new(false);
        desk.read("a");
        desk.begin("a");
        desk.piece("a", b"x");
        assert!(!desk.commit("a") && !desk.append("j", b"x"));
        assert_eq!(all(&mut desk), []);
        assert_eq!(desk.waiting, 0);
    }
}
