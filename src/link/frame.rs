//! Bytes to link cells and back, in place.
//!
//! One read's bytes stay one buffer: cells are found in it and named by their ranges, so
//! that a relay cell is decrypted where it arrived. What is left of an unfinished cell
//! moves to the front of the next buffer. No state of the handshake, no meaning of a cell.
//! Called by `link/mod.rs`. Spec: tor-spec, "Cells (messages on channels)".

use core::ops::Range;

use super::Error;
use crate::wire::cell::{self, CircId, Command, Era, Header};

/// What one read may bring: two full TLS records' worth of cells, ours.
pub const READ_LEN: usize = 32 * 1024;

/// The longest body of a variable cell in a handshake; ours. CERTS has some two thousand
/// bytes.
pub const MAX_HANDSHAKE_BODY: usize = 16 * 1024;

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

/// What is next in a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A cell, all of it.
    Cell(CellAt),
    /// A cell that says nothing, of which perhaps not all is there; the next begins here,
    /// or behind the buffer.
    Nothing(usize),
    /// The front of a cell, or nothing at all.
    Unfinished,
}

/// Cuts a stream of bytes into cells.
#[derive(Debug, Default)]
pub struct Framer {
    /// The front of a cell whose end has not come; shorter than one cell.
    unfinished: Vec<u8>,
    /// Bytes still to come of a cell that says nothing. They are never kept.
    to_skip: usize,
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

    /// Where the first cell of a buffer begins that was begun by [`Framer::begin_read`].
    pub fn first_cell(&mut self, buffer: &[u8]) -> usize {
        let skipped = self.to_skip.min(buffer.len());
        self.to_skip -= skipped;
        skipped
    }

    /// What is next in `buffer[from..]`.
    ///
    /// VPADDING says nothing, nor do unknown commands once a link is open: these are passed
    /// over as they come. The variable cells of a handshake may come only there, and be no
    /// longer than [`MAX_HANDSHAKE_BODY`]. So nobody can make us gather a large cell byte by
    /// byte.
    pub fn next(&mut self, era: Era, in_handshake: bool, buffer: &[u8], from: usize) -> Result<Next, Error> {
        let rest = buffer.get(from..).unwrap_or_default();
        let Some(header) = cell::peek_header(era, rest)? else { return Ok(Next::Unfinished) };
        let Header { circ_id, command, .. } = header;
        let (body, length) = (header.body(), header.cell_len());
        let is_of_handshake = command.is_variable() && command != Command::VPADDING;
        if command == Command::VPADDING || (is_of_handshake && !command.is_known() && !in_handshake) {
            let here = length.min(rest.len());
            self.to_skip = length - here;
            return Ok(Next::Nothing(from + here));
        }
        if is_of_handshake && era == Era::Wide && !(in_handshake && command.is_known()) {
            return Err(Error::OutOfTurn(command));
        }
        if body.len() > MAX_HANDSHAKE_BODY {
            return Err(Error::HandshakeTooLong);
        }
        if rest.len() < length {
            return Ok(Next::Unfinished);
        }
        Ok(Next::Cell(CellAt { circ_id, command, body: from + body.start..from + body.end }))
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

    /// Reads all of `stream`, cut at `cuts`, as the shell would; gives copies of the cells
    /// and how many said nothing.
    fn read(stream: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, usize) {
        let mut framer = Framer::default();
        let (mut cells, mut nothing) = (Vec::new(), 0);
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
            let mut from = framer.first_cell(&buffer);
            loop {
                match framer.next(Era::Wide, false, &buffer, from).unwrap() {
                    Next::Unfinished => break,
                    Next::Nothing(next) => {
                        nothing += 1;
                        from = next;
                    }
                    Next::Cell(cell) => {
                        assert_eq!(cell.command, Command::RELAY);
                        cells.push(buffer[cell.body.clone()].to_vec());
                        from = cell.body.end;
                    }
                }
            }
            framer.end_read(&buffer, from);
            assert!(framer.unfinished.len() < cell::FIXED_LEN, "no more than a fixed cell is ever kept");
            spare = buffer;
        }
        assert!(framer.unfinished.is_empty() && framer.to_skip == 0);
        (cells, nothing)
    }

    proptest! {
        #[test]
        fn cells_are_the_same_however_the_stream_is_cut(
            lengths in prop::collection::vec(prop_oneof![Just(None), (0_usize..70_000).prop_map(Some)], 1..20),
            cuts in prop::collection::vec(1_usize..2000, 0..60),
        ) {
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            let mut nothing = 0;
            for (n, length) in lengths.into_iter().enumerate() {
                let fill = u8::try_from(n).unwrap();
                if let Some(length) = length.map(|length| length.min(65_535)) {
                    let mut cell = vec![fill; 7 + length];
                    encode_variable(None, Command::VPADDING, &mut cell, |body| Ok(body.reserve(length).map(drop)?)).unwrap();
                    stream.extend_from_slice(&cell);
                    nothing += 1;
                } else {
                    stream.extend_from_slice(&fixed_header(CircId::new(7), Command::RELAY).unwrap());
                    stream.extend_from_slice(&[fill; BODY_LEN]);
                    expected.push(vec![fill; BODY_LEN]);
                }
            }
            prop_assert_eq!(read(&stream, &cuts), (expected, nothing));
        }
    }

    #[test]
    fn a_large_cell_of_a_handshake_is_refused_by_its_header() {
        let mut framer = Framer::default();
        let header = [0, 0, 0, 0, Command::CERTS.0, 0xFF, 0xFF];
        assert_eq!(framer.next(Era::Wide, true, &header, 0), Err(Error::HandshakeTooLong));
        assert_eq!(framer.next(Era::Wide, false, &header, 0), Err(Error::OutOfTurn(Command::CERTS)));
        let header = [0, 0, 0, 0, Command::VPADDING.0, 0xFF, 0xFF];
        assert_eq!(framer.next(Era::Wide, true, &header, 0), Ok(Next::Nothing(7)));
        assert_eq!(framer.first_cell(&[0; 100]), 100);
        assert_eq!(framer.to_skip, 65_535 - 100);
    }
}
