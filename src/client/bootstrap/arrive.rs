//! What a request to a directory is for, and what becomes of its answer while it arrives.
//!
//! A consensus may come whole or as a diff, certificates are few, microdescriptors are good one
//! by one. Decides nothing about what to ask next, and checks no signature. Called by
//! `bootstrap.rs` with the bytes of an answer, decompressed. Spec: dir-spec, "Client
//! operation".

use std::collections::BTreeSet;

use super::keep::Keep;
use crate::base::RsaId;
use crate::directory::certs::KeyIds;
use crate::directory::consensus::{self, Unchecked};
use crate::directory::diff::{self, Diff};
use crate::directory::http::Ask;
use crate::directory::microdesc::{self, Microdesc};
use crate::directory::{Error, NetDir};

/// What a request is for, and what came of it so far.
pub(super) enum What {
    /// A consensus.
    Consensus(Arrival),
    /// Certificates: those that were asked for, and the answer.
    Certificates { asked: Vec<KeyIds>, text: Vec<u8> },
    /// All that were asked for, and those of which there was no word yet.
    Microdescs { asked: Vec<[u8; 32]>, left: BTreeSet<[u8; 32]>, parser: microdesc::Parser },
}

/// The kinds of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Consensus,
    Certificates,
    Microdescs,
}

/// Where what arrives is put.
pub(super) struct Keeping<'a> {
    pub(super) dir: &'a mut Option<NetDir>,
    pub(super) keep: &'a mut Keep,
}

impl What {
    pub(super) fn kind(&self) -> Kind {
        match self {
            What::Consensus(_) => Kind::Consensus,
            What::Certificates { .. } => Kind::Certificates,
            What::Microdescs { .. } => Kind::Microdescs,
        }
    }

    /// Whether some of many are here, though all the rest may never be.
    pub(super) fn has_brought(&self) -> bool {
        matches!(self, What::Microdescs { asked, left, .. } if left.len() < asked.len())
    }

    /// What is asked for, without what is held of it already.
    pub(super) fn ask<'a>(&'a self, trusted: &'a [RsaId]) -> Ask<'a> {
        match self {
            What::Consensus(_) => Ask::Consensus { authorities: trusted, held: None },
            What::Certificates { asked, .. } => Ask::Certificates(asked),
            What::Microdescs { asked, .. } => Ask::Microdescs(asked),
        }
    }

    /// Takes bytes of the document.
    pub(super) fn take(&mut self, bytes: &[u8], keeping: &mut Keeping<'_>) -> Result<(), Error> {
        match self {
            What::Consensus(arrival) => arrival.take(bytes, keeping.keep),
            What::Certificates { text, .. } => {
                text.extend_from_slice(bytes);
                Ok(())
            }
            What::Microdescs { left, parser, .. } => {
                parser.push(bytes, &mut |found| take_microdesc(keeping, left, found));
                Ok(())
            }
        }
    }
}

/// Takes one that was asked for; any other costs nothing but itself.
pub(super) fn take_microdesc(
    keeping: &mut Keeping<'_>,
    left: &mut BTreeSet<[u8; 32]>,
    found: Result<Microdesc<'_>, Error>,
) {
    let (Ok(microdesc), Some(dir)) = (found, keeping.dir.as_mut()) else { return };
    if left.remove(&microdesc.digest) && dir.insert(&microdesc) {
        keeping.keep.save_microdesc(&microdesc, dir.consensus().lifetime().valid_after);
    }
}

/// A consensus while it arrives.
pub(super) struct Arrival {
    /// What a diff would have to begin with, if one was asked for.
    pub(super) diff_from: Option<[u8; 32]>,
    shape: Shape,
}

enum Shape {
    /// So few bytes that it may be either.
    Unknown(Vec<u8>),
    /// It is read, and written to its file, as it comes.
    Whole(Box<consensus::Parser>),
    /// It is held until all of it is there.
    Diff(Vec<u8>),
}

impl Arrival {
    /// Nothing came yet.
    pub(super) fn new(diff_from: Option<[u8; 32]>) -> Arrival {
        Arrival { diff_from, shape: Shape::Unknown(Vec::new()) }
    }

    fn take(&mut self, bytes: &[u8], keep: &mut Keep) -> Result<(), Error> {
        match &mut self.shape {
            Shape::Unknown(front) => {
                front.extend_from_slice(bytes);
                if front.len() < diff::VERSION.len() && self.diff_from.is_some() {
                    return Ok(());
                }
                self.tell(keep)
            }
            Shape::Whole(parser) => {
                keep.write_consensus(bytes);
                parser.push(bytes)
            }
            Shape::Diff(held) if held.len() + bytes.len() > diff::MAX_LEN => {
                keep.on_bad_diff();
                Err(Error::DocumentTooLong)
            }
            Shape::Diff(held) => {
                held.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Tells what it is by its front. A diff that nobody asked for is a malformed consensus.
    fn tell(&mut self, keep: &mut Keep) -> Result<(), Error> {
        let Shape::Unknown(front) = &mut self.shape else { return Ok(()) };
        let front = core::mem::take(front);
        if self.diff_from.is_some() && Diff::is_diff(&front) {
            self.shape = Shape::Diff(front);
            return Ok(());
        }
        keep.begin_consensus();
        self.shape = Shape::Whole(Box::default());
        self.take(&front, keep)
    }

    /// All came: a consensus, or a diff to what was asked for.
    pub(super) fn finish(mut self, keep: &mut Keep) -> Result<Result<Unchecked, Diff>, Error> {
        self.tell(keep)?;
        match self.shape {
            Shape::Diff(text) => {
                let is_of_ours = |diff: &Diff| Some(*diff.from()) == self.diff_from;
                let diff = Diff::parse(text);
                let diff = diff.and_then(|diff| if is_of_ours(&diff) { Ok(diff) } else { Err(Error::DiffFromOther) });
                diff.inspect_err(|_| keep.on_bad_diff()).map(Err)
            }
            Shape::Whole(parser) => parser.finish().map(Ok),
            Shape::Unknown(_) => Err(Error::AnswerCut),
        }
    }
}
