//! The cells of one circuit that one read brought, in the buffer that brought them.
//!
//! Owns the bytes and knows where bodies begin, and nothing else: whoever cut the bytes made
//! it, `circuit` peels the bodies where they lie, and the buffer goes back to be read into.
//! The place where `link` and `circuit`, which may not know each other, meet. Called by
//! `circuit` and by whoever joins it to a link. Spec: none.

use core::ops::Range;

use super::cell::{BODY_LEN, Body, Command};

/// Cells of fixed length, in the order they came.
#[derive(Debug, Default)]
pub struct CellBatch {
    buffer: Vec<u8>,
    /// Each body is all inside `buffer`.
    cells: Vec<(Command, usize)>,
}

impl CellBatch {
    /// Takes a buffer in whose bytes cells will be named; what was in it is gone.
    pub fn set_buffer(&mut self, buffer: Vec<u8>) {
        self.buffer = buffer;
        self.cells.clear();
    }

    /// Gives the buffer back, and is empty.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        self.cells.clear();
        core::mem::take(&mut self.buffer)
    }

    /// Names a cell in the buffer by where its body is. False, and nothing happens, if that
    /// is no whole body.
    pub fn push(&mut self, command: Command, body: Range<usize>) -> bool {
        let is_whole = body.len() == BODY_LEN && body.end <= self.buffer.len();
        if is_whole {
            self.cells.push((command, body.start));
        }
        is_whole
    }

    /// Copies a cell to the end of the buffer.
    pub fn append(&mut self, command: Command, body: &Body) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(body);
        self.cells.push((command, start));
    }

    /// How many cells there are.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The cell of that number: its command, where its body begins, and the body to be
    /// worked on.
    #[inline]
    pub fn cell_mut(&mut self, number: usize) -> Option<(Command, usize, &mut Body)> {
        let (command, start) = *self.cells.get(number)?;
        let body = self.buffer.get_mut(start..)?.first_chunk_mut()?;
        Some((command, start, body))
    }

    /// Bytes of the buffer; none if they are not there.
    pub fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.buffer.get(range.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_named_where_they_lie() {
        let mut batch = CellBatch::default();
        batch.set_buffer((0..=255).cycle().take(5 + BODY_LEN + 3).collect());
        assert!(batch.push(Command::RELAY, 5..5 + BODY_LEN));
        assert!(!batch.push(Command::RELAY, 5..4 + BODY_LEN) && !batch.push(Command::RELAY, 9..9 + BODY_LEN));
        batch.append(Command::DESTROY, &[7; BODY_LEN]);
        assert_eq!(batch.len(), 2);
        let (command, start, body) = batch.cell_mut(0).unwrap();
        assert_eq!((command, start, body[0]), (Command::RELAY, 5, 5));
        body[0] = 99;
        assert_eq!(batch.bytes(&(5..7)), [99, 6]);
        assert_eq!(batch.cell_mut(1).unwrap().0, Command::DESTROY);
        assert!(batch.cell_mut(2).is_none() && batch.bytes(&(9..99_999)).is_empty());
        assert!(!batch.take_buffer().is_empty());
        assert!(batch.is_empty() && batch.cell_mut(0).is_none());
    }
}
