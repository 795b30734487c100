//! Bytes to link cells and back, in place.
//!
//! One read's bytes stay one buffer: cells are found in it and named by their ranges, so
//! that a relay cell is decrypted where it arrived. What is left of an unfinished cell
//! moves to the front of the next buffer. No state of the handshake, no meaning of a cell.
//! Called by `link/mod.rs`. Spec: tor-spec, "Cells (messages on channels)".

use core::ops::Range;

use super::Error;
use crate::wire::cell::{self, CircId, Command, Era, Header};

/// What one read may bring: eight full TLS records' worth of cells, ours.
pub const READ_LEN: usize = 32 * 1024;

/// A cell inside a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellAt {
    /// Its circuit, if it belongs to one.
    pub circ_id: Option<CircId>,
    /// Its command.
    pub command: Command,
    /// Where its body is in the buffer.
    pub body: Range<usize>,
}

/// Cuts a stream of bytes into cells.
#[derive(Debug, Default)]
pub struct Framer {
    /// The front of a cell whose end has not come; shorter than one cell.
    unfinished: Vec<u8>,
}

impl Framer {
    /// A buffer to read into: what is unfinished is at its front already, and there is
    /// room for [`READ_LEN`] bytes behind it. `spare` is a buffer nobody uses any more.
    ///
    /// Nothing is lost if the buffer is: what is unfinished is kept until the next
    /// [`Framer::end_read`].
    pub fn begin_read(&self, spare: Vec<u8>) -> Vec<u8> {
        let mut buffer = spare;
        buffer.clear();
        buffer.reserve(self.unfinished.len() + READ_LEN);
        buffer.extend_from_slice(&self.unfinished);
        buffer
    }

    /// The cell at the front of `buffer[from..]`, if all of it is there.
    pub fn next_cell(&self, era: Era, buffer: &[u8], from: usize) -> Result<Option<CellAt>, Error> {
        let rest = buffer.get(from..).unwrap_or_default();
        let header = cell::peek(era, rest)?;
        Ok(header.map(|header| {
            let Header { circ_id, command, .. } = header;
            let body = header.body();
            CellAt { circ_id, command, body: from + body.start..from + body.end }
        }))
    }

    /// Keeps what is left of `buffer` behind its last whole cell for the next read.
    pub fn end_read(&mut self, buffer: &[u8], from: usize) {
        self.unfinished.clear();
        self.unfinished.extend_from_slice(buffer.get(from..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::cell::{BODY_LEN, encode_variable, fixed_header};
    use proptest::prelude::*;

    /// Reads all of `stream`, cut at `cuts`, as the shell would; gives copies of the cells.
    fn read(stream: &[u8], cuts: &[usize]) -> Vec<(Command, Vec<u8>)> {
        let mut framer = Framer::default();
        let mut cells = Vec::new();
        let mut spare = Vec::new();
        let mut rest = stream;
        let mut cuts = cuts.iter();
        while !rest.is_empty() {
            let n = cuts.next().copied().unwrap_or(READ_LEN).clamp(1, READ_LEN).min(rest.len());
            // A read that was given up loses nothing.
            drop(framer.begin_read(Vec::new()));
            let mut buffer = framer.begin_read(std::mem::take(&mut spare));
            buffer.extend_from_slice(&rest[..n]);
            rest = &rest[n..];
            let mut from = 0;
            while let Some(cell) = framer.next_cell(Era::Wide, &buffer, from).unwrap() {
                cells.push((cell.command, buffer[cell.body.clone()].to_vec()));
                from = cell.body.end;
            }
            framer.end_read(&buffer, from);
            spare = buffer;
        }
        assert!(framer.unfinished.is_empty());
        cells
    }

    proptest! {
        #[test]
        fn cells_are_the_same_however_the_stream_is_cut(
            lengths in prop::collection::vec(prop_oneof![Just(None), (0_usize..3000).prop_map(Some)], 1..30),
            cuts in prop::collection::vec(1_usize..2000, 0..60),
        ) {
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            for (n, length) in lengths.into_iter().enumerate() {
                let fill = u8::try_from(n).unwrap();
                if let Some(length) = length {
                    let mut cell = vec![0; 7 + length];
                    encode_variable(None, Command::VPADDING, &mut cell, |body| {
                        body.reserve(length)?.fill(fill);
                        Ok(())
                    }).unwrap();
                    stream.extend_from_slice(&cell);
                    expected.push((Command::VPADDING, vec![fill; length]));
                } else {
                    stream.extend_from_slice(&fixed_header(CircId::new(7), Command::RELAY).unwrap());
                    stream.extend_from_slice(&[fill; BODY_LEN]);
                    expected.push((Command::RELAY, vec![fill; BODY_LEN]));
                }
            }
            prop_assert_eq!(read(&stream, &cuts), expected);
        }
    }
}
