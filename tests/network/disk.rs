//! A disk of the test's own: files that outlive a client, as its shell would keep them.
//!
//! Reads in short pieces, so that they are cut anywhere. Called by `client.rs`.

use std::collections::{BTreeMap, VecDeque};

use cepa::internal::client::files::{Name, Work};

/// In pieces of this length files are read.
const PIECE_LEN: usize = 1000;

/// Files that outlive a client.
#[derive(Clone, Default)]
pub struct Disk {
    pub files: BTreeMap<Name, Vec<u8>>,
    /// Files that were begun.
    begun: BTreeMap<Name, Vec<u8>>,
    /// Broken files as they were.
    pub aside: Vec<(Name, Vec<u8>)>,
    /// Files that are to be read, and how much of them was.
    reading: VecDeque<(Name, usize)>,
    /// How many pieces it gives before it is slow beyond use; none says that it is not.
    pub pieces_left: Option<usize>,
    /// Files that were put in place, and those that were read.
    pub commits: Vec<Name>,
    pub reads: Vec<Name>,
}

/// What is read next.
pub enum Read {
    Piece(Name, Vec<u8>),
    /// The end; whether there is such a file.
    End(Name, bool),
}

impl Disk {
    /// What the next run finds.
    pub fn left(&self) -> Disk {
        Disk { files: self.files.clone(), ..Disk::default() }
    }

    /// Does what a client wants done.
    pub fn obey(&mut self, work: Work) {
        match work {
            Work::Read(name) => {
                self.reading.push_back((name, 0));
                self.reads.push(name);
            }
            Work::Begin(name) => drop(self.begun.insert(name, Vec::new())),
            Work::Piece(name, bytes) => self.begun.get_mut(name).unwrap().extend_from_slice(&bytes),
            Work::Commit(name) => {
                self.files.insert(name, self.begun.remove(name).unwrap());
                self.commits.push(name);
            }
            Work::Absorb(name, journal) => {
                self.files.insert(name, self.begun.remove(name).unwrap());
                self.files.remove(journal);
                self.commits.push(name);
            }
            Work::SetAside(name) => {
                let text = self.files.get(name).cloned().unwrap_or_default();
                self.aside.push((name, text));
            }
            Work::Abort(name) => drop(self.begun.remove(name).unwrap()),
            Work::Append(name, bytes) => self.files.entry(name).or_default().extend_from_slice(&bytes),
        }
    }

    /// The next piece of what is to be read.
    pub fn read(&mut self) -> Option<Read> {
        if let Some(left) = &mut self.pieces_left {
            *left = left.checked_sub(1)?;
        }
        let (name, at) = self.reading.pop_front()?;
        let file = self.files.get(name);
        let rest = file.map(|file| &file[at.min(file.len())..]).unwrap_or_default();
        if rest.is_empty() {
            return Some(Read::End(name, file.is_some()));
        }
        let piece = rest[..rest.len().min(PIECE_LEN)].to_vec();
        self.reading.push_front((name, at + piece.len()));
        Some(Read::Piece(name, piece))
    }
}
