//! One request to a directory while it is under way: whom it is for, what came of it, and when it
//! has taken too long.
//!
//! What its bytes mean is `arrive.rs`'s to say, and who else is asked `orders.rs`'s. Called by
//! `bootstrap.rs`. Spec: none; C tor: `DirConnectionMaxStall`, feature/dirclient/dirclient.c.

use core::time::Duration;

use super::arrive::What;
use crate::base::time::Tick;
use crate::client::links::Goal;
use crate::directory::decompress::Decompressor;
use crate::directory::http;

/// As long as circuits cannot be built, somebody else is asked too when nothing came of a request
/// for so long, be it a connection or a byte. Ours: more than an honest directory takes.
const STALL: Duration = Duration::from_secs(3);
/// The least that must come of all answers together, and in which time. A consensus would take
/// twenty minutes. Differs: C tor lets a directory go on as long as it says anything at all, and
/// one that gives a byte a minute goes on for ever.
const LEAST_PIECE: usize = 32 * 1024;
const PIECE_LIMIT: Duration = Duration::from_secs(60);

/// A request, and what came of it so far.
pub(super) struct Fetch {
    pub(super) server: Goal,
    pub(super) what: What,
    pub(super) answer: http::Reader,
    /// From when the head says how the body is compressed.
    pub(super) body: Option<Decompressor>,
    /// Bytes of a body that nobody wants.
    pub(super) unread: usize,
    /// What came is no good, and what comes behind it in the same read is not looked at.
    pub(super) is_spoilt: bool,
    /// When anything came of it last, be it only a connection.
    heard: Tick,
    /// The directory must have said something by then.
    by: Tick,
    /// And so much more by then, once it has begun.
    piece: Option<(usize, Tick)>,
}

impl Fetch {
    /// It is made now, and no silence may be longer than that.
    pub(super) fn new(what: What, server: Goal, max_stall: Duration, now: Tick) -> Fetch {
        let (answer, by) = (http::Reader::default(), now + max_stall);
        Fetch { server, what, answer, body: None, unread: 0, is_spoilt: false, heard: now, by, piece: None }
    }

    /// Something came of it, though no byte.
    pub(super) fn on_alive(&mut self, now: Tick) {
        self.heard = now;
    }

    /// So many bytes came. Each of so many requests must bring its part of the least.
    pub(super) fn on_bytes(&mut self, length: usize, requests: usize, max_stall: Duration, now: Tick) {
        (self.heard, self.by) = (now, now + max_stall);
        let (came, by) = self.piece.unwrap_or((0, now + PIECE_LIMIT));
        let came = came + length;
        let is_enough = came >= LEAST_PIECE / requests.max(1);
        self.piece = Some(if is_enough { (0, now + PIECE_LIMIT) } else { (came, by) });
    }

    /// When somebody else is to be asked too.
    pub(super) fn stalls_at(&self) -> Tick {
        self.heard + STALL
    }

    /// Whether somebody else is.
    pub(super) fn stalls(&self, now: Tick) -> bool {
        self.stalls_at() <= now
    }

    /// When it is over, if nothing more comes.
    pub(super) fn deadline(&self) -> Tick {
        self.piece.map_or(self.by, |(_, by)| by.min(self.by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::RelayIds;

    const MAX_STALL: Duration = Duration::from_secs(30);

    /// When a request among so many is over that gets so many bytes each ten seconds.
    fn lasts(each: usize, requests: usize) -> Option<u64> {
        let at = |secs| Tick::new(Duration::from_secs(secs));
        let what = What::Certificates { asked: Vec::new(), text: Vec::new() };
        let mut fetch = Fetch::new(what, Goal::direct(RelayIds::default(), Vec::new()), MAX_STALL, at(0));
        for secs in (10..1000).step_by(10) {
            if fetch.deadline() <= at(secs) {
                return Some(secs);
            }
            fetch.on_bytes(each, requests, MAX_STALL, at(secs));
        }
        None
    }

    #[test]
    fn all_answers_together_must_bring_so_much() {
        // From the first byte on, which comes after ten seconds.
        assert_eq!(lasts(1, 1), Some(70));
        assert_eq!(lasts(LEAST_PIECE / 7, 1), Some(70));
        assert_eq!(lasts(LEAST_PIECE / 5 + 1, 1), None);
        assert_eq!(lasts(LEAST_PIECE / 20 + 1, 4), None);
        assert_eq!(lasts(LEAST_PIECE / 28, 4), Some(70));
    }

    #[test]
    fn a_silence_is_as_long_as_the_user_says() {
        let at = |secs| Tick::new(Duration::from_secs(secs));
        let what = What::Certificates { asked: Vec::new(), text: Vec::new() };
        let mut fetch = Fetch::new(what, Goal::direct(RelayIds::default(), Vec::new()), MAX_STALL, at(0));
        fetch.on_alive(at(2));
        assert_eq!((fetch.stalls_at(), fetch.stalls(at(4)), fetch.stalls(at(5))), (at(5), false, true));
        // A connection is not a word of the directory's.
        assert_eq!(fetch.deadline(), at(30));
        fetch.on_bytes(LEAST_PIECE, 1, MAX_STALL, at(20));
        assert_eq!((fetch.stalls_at(), fetch.deadline()), (at(23), at(50)));
    }
}
