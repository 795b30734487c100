//! What one read of a link brings for programs, put together again: a socket is written once for all
//! of a stream's cells, since that costs several times what opening a cell does.
//!
//! Holds bytes for no longer than the read that brought them, and knows no socket. Called by
//! `driver.rs`. Spec: none.

use core::ops::Range;

use crate::client::{Reader, RequestNo};

/// What one read brought until now.
#[derive(Default)]
pub struct Delivery {
    /// The bytes of all streams as they came, hardly more than a link is read at once.
    bytes: Vec<u8>,
    /// Whose they are, in their order.
    pieces: Vec<(RequestNo, Range<usize>)>,
    /// Those of one stream whose pieces lie apart.
    joined: Vec<u8>,
}

impl Reader for Delivery {
    fn data(&mut self, request: RequestNo, bytes: &[u8]) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        match self.pieces.last_mut() {
            Some((last, range)) if *last == request => range.end = self.bytes.len(),
            _ => self.pieces.push((request, begin..self.bytes.len())),
        }
    }
}

impl Delivery {
    /// Gives each stream's bytes at once, and forgets them.
    pub fn finish(&mut self, mut give: impl FnMut(RequestNo, &[u8])) {
        self.pieces.sort_unstable_by_key(|(request, range)| (*request, range.start));
        for pieces in self.pieces.chunk_by(|(a, _), (b, _)| a == b) {
            let piece = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
            match pieces {
                [(request, range)] => give(*request, piece(range)),
                [(request, _), ..] => {
                    self.joined.clear();
                    pieces.iter().for_each(|(_, range)| self.joined.extend_from_slice(piece(range)));
                    give(*request, &self.joined);
                }
                [] => {}
            }
        }
        self.bytes.clear();
        self.pieces.clear();
        self.joined.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_gets_its_bytes_at_once_and_in_their_order() {
        let [one, other] = [RequestNo(1), RequestNo(2)];
        let mut delivery = Delivery::default();
        let given = |delivery: &mut Delivery| {
            let mut given = Vec::new();
            delivery.finish(|request, bytes| given.push((request, bytes.to_vec())));
            given
        };
        for (request, bytes) in [(other, &b"ab"[..]), (one, b"1"), (one, b"2"), (other, b"c"), (one, b"3")] {
            delivery.data(request, bytes);
        }
        assert_eq!(given(&mut delivery), [(one, b"123".to_vec()), (other, b"abc".to_vec())]);
        assert_eq!(given(&mut delivery), []);
        delivery.data(other, b"d");
        assert_eq!(given(&mut delivery), [(other, b"d".to_vec())]);
    }
}
