//! One stream at an exit or a directory: a server behind it, and its two windows.
//!
//! Which message ends or opens it is here; cells are `circuit.rs`'s. Called by
//! `relay/exit.rs`. Spec: tor-spec, "Application connections and stream management".

use std::collections::VecDeque;

use super::Answered;
use super::circuit::Fault;
use crate::base::time::Tick;
use crate::lab::cache::MAX_REQUEST_LEN;
use crate::lab::origin::{Given, Origin};
use crate::wire::relay_msg::EndReason;

/// tor-spec: DATA cells a stream may carry each way before it hears a SENDME, and how many
/// of them a SENDME is for.
pub const STREAM_WINDOW: u32 = 500;
/// tor-spec: likewise.
pub const STREAM_INCREMENT: u32 = 50;
/// C tor: a stream's SENDME waits while its server has more than that to read.
const UNREAD_MAX: usize = 10 * 498;

/// What is behind a stream.
#[derive(Debug)]
pub enum Behind {
    /// A server in this process.
    Server(Origin),
    /// A server that never answers.
    Nobody,
    /// A socket that the runner holds.
    Socket(Pipe),
    /// A finished answer of the directory, given piece by piece once the request is there.
    Directory {
        /// What was asked so far.
        request: Vec<u8>,
        /// What is left to say, once it is known.
        answer: Option<Answered>,
        /// How much of it is said.
        said: usize,
    },
}

/// What waits between a stream and a socket that the runner holds.
#[derive(Debug, Default)]
pub struct Pipe {
    /// From the socket, not yet in cells; at most [`PIPE_ROOM`].
    pub(super) inbox: VecDeque<u8>,
    /// From the client, not yet written; bounded by the stream's window.
    pub(super) outbox: Vec<u8>,
    /// Why the socket gives no more.
    pub(super) ended: Option<EndReason>,
}

/// Bytes of a socket that may wait for cells; ours.
pub const PIPE_ROOM: usize = 64 * 1024;

/// One stream.
#[derive(Debug)]
pub struct Stream {
    pub(super) behind: Behind,
    package: u32,
    deliver: u32,
    /// DATA cells taken and not yet acknowledged.
    unacknowledged: u32,
}

impl Stream {
    /// An open stream.
    pub fn new(behind: Behind) -> Self {
        Stream { behind, package: STREAM_WINDOW, deliver: STREAM_WINDOW, unacknowledged: 0 }
    }

    /// Takes a DATA cell's bytes.
    pub fn on_data(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.deliver = self.deliver.checked_sub(1).ok_or(Fault::WindowOverrun)?;
        self.unacknowledged += 1;
        match &mut self.behind {
            Behind::Server(origin) => origin.write(bytes),
            // What comes behind a request that is whole, or too long to be one, says nothing.
            Behind::Directory { request, answer: None, .. } if request.len() <= MAX_REQUEST_LEN => {
                request.extend_from_slice(bytes);
            }
            Behind::Directory { .. } => {}
            Behind::Socket(pipe) => pipe.outbox.extend_from_slice(bytes),
            Behind::Nobody => {}
        }
        Ok(())
    }

    /// Whether a stream SENDME is due: enough was taken, and the server has read it.
    pub fn sendme_due(&mut self, now: Tick) -> bool {
        let unread = match &mut self.behind {
            Behind::Server(origin) => origin.unread(now),
            Behind::Socket(pipe) => pipe.outbox.len(),
            Behind::Nobody | Behind::Directory { .. } => 0,
        };
        let due = self.unacknowledged >= STREAM_INCREMENT && unread <= UNREAD_MAX;
        if due {
            self.unacknowledged -= STREAM_INCREMENT;
            self.deliver += STREAM_INCREMENT;
        }
        due
    }

    /// A stream SENDME arrived.
    pub fn on_sendme(&mut self) -> Result<(), Fault> {
        self.package += STREAM_INCREMENT;
        if self.package > STREAM_WINDOW { Err(Fault::BadSendme) } else { Ok(()) }
    }

    /// What goes to the client next, at most `room` bytes. A villain `overruns` the window.
    pub fn next(&mut self, room: usize, overruns: bool, now: Tick) -> Given {
        if self.package == 0 && !overruns {
            return Given::NothingUntil(None);
        }
        let given = match &mut self.behind {
            Behind::Server(origin) => origin.read(room, now),
            Behind::Socket(pipe) => pipe.next(room),
            Behind::Nobody => Given::NothingUntil(None),
            Behind::Directory { answer: None, .. } => Given::NothingUntil(None),
            Behind::Directory { answer: Some(answer), said, .. } => {
                if *said >= answer.bytes.len() {
                    *said = answer.again_from.unwrap_or(*said);
                }
                let rest = answer.bytes.get(*said..).unwrap_or_default();
                let piece = rest.get(..room).unwrap_or(rest).to_vec();
                *said += piece.len();
                if piece.is_empty() { Given::End(EndReason::DONE) } else { Given::Bytes(piece) }
            }
        };
        if matches!(given, Given::Bytes(_)) {
            self.package = self.package.saturating_sub(1);
        }
        given
    }

    /// When something may change without a message.
    pub fn next_deadline(&self) -> Option<Tick> {
        match &self.behind {
            Behind::Server(origin) => origin.reads_again(),
            Behind::Nobody | Behind::Socket(_) | Behind::Directory { .. } => None,
        }
    }
}

impl Pipe {
    fn next(&mut self, room: usize) -> Given {
        let n = room.min(self.inbox.len());
        match (n, self.ended) {
            (0, Some(reason)) => Given::End(reason),
            (0, None) => Given::NothingUntil(None),
            (n, _) => Given::Bytes(self.inbox.drain(..n).collect()),
        }
    }
}
