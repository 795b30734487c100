//! Link cells: their commands, circuit numbers, headers and where one ends.
//!
//! Copies nothing and knows no body: those are in `cell_msg`, and in `relay` once peeled.
//! Called by `link/frame.rs` with the bytes of a connection, and by whoever writes a cell
//! into a buffer. Spec: tor-spec, "Cells (messages on channels)".

use super::Error;
use crate::base::codec::Writer;
use core::num::NonZeroU32;
use core::ops::Range;

/// Length of the body of a fixed-length cell. Chosen by the spec.
pub const BODY_LEN: usize = 509;
/// Length of a fixed-length cell's header: circuit and command.
pub const FIXED_HEADER_LEN: usize = 5;
/// Length of a whole fixed-length cell.
pub const FIXED_LEN: usize = FIXED_HEADER_LEN + BODY_LEN;
/// Length of a variable-length cell's header: circuit, command and length.
pub const VARIABLE_HEADER_LEN: usize = 7;
/// Length of the header of VERSIONS, whose circuit number has only two bytes.
pub const VERSIONS_HEADER_LEN: usize = 5;
/// The longest cell there can be. Chosen by the spec: a length of two bytes.
pub const MAX_LEN: usize = VARIABLE_HEADER_LEN + 0xFFFF;

/// The body of a fixed-length cell.
pub type Body = [u8; BODY_LEN];

/// A circuit's number on one link. Zero is no circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CircId(NonZeroU32);

impl CircId {
    /// The circuit of that number, if it is one.
    pub fn new(number: u32) -> Option<CircId> {
        NonZeroU32::new(number).map(CircId)
    }

    /// Its number.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// Whether the side that opened the connection chose it, as we do: by the top bit.
    pub fn is_of_initiator(self) -> bool {
        self.get() & CircId::INITIATOR != 0
    }

    /// The bit that the side that opened the connection sets in its numbers.
    pub const INITIATOR: u32 = 0x8000_0000;
}

/// A link cell's command. Any byte is one; those with a name are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Command(pub u8);

#[allow(missing_docs, reason = "the spec's names, listed in its order")]
impl Command {
    pub const PADDING: Command = Command(0);
    pub const CREATE: Command = Command(1);
    pub const CREATED: Command = Command(2);
    pub const RELAY: Command = Command(3);
    pub const DESTROY: Command = Command(4);
    pub const CREATE_FAST: Command = Command(5);
    pub const CREATED_FAST: Command = Command(6);
    pub const VERSIONS: Command = Command(7);
    pub const NETINFO: Command = Command(8);
    pub const RELAY_EARLY: Command = Command(9);
    pub const CREATE2: Command = Command(10);
    pub const CREATED2: Command = Command(11);
    pub const PADDING_NEGOTIATE: Command = Command(12);
    pub const VPADDING: Command = Command(128);
    pub const CERTS: Command = Command(129);
    pub const AUTH_CHALLENGE: Command = Command(130);
    pub const AUTHENTICATE: Command = Command(131);
    pub const AUTHORIZE: Command = Command(132);
}

/// Whether cells of a command name a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircIdUse {
    /// They do.
    Required,
    /// They may not.
    Forbidden,
    /// Nobody has defined the command.
    Unknown,
}

impl Command {
    /// Whether its cells say how long they are. True also of unknown commands, so that
    /// they can be skipped.
    #[inline]
    pub fn is_variable(self) -> bool {
        self == Command::VERSIONS || self.0 >= 128
    }

    /// Whether its cells name a circuit.
    #[inline]
    pub fn circ_id_use(self) -> CircIdUse {
        match self {
            Command::CREATE
            | Command::CREATED
            | Command::RELAY
            | Command::DESTROY
            | Command::CREATE_FAST
            | Command::CREATED_FAST
            | Command::RELAY_EARLY
            | Command::CREATE2
            | Command::CREATED2 => CircIdUse::Required,
            Command::PADDING
            | Command::VERSIONS
            | Command::NETINFO
            | Command::PADDING_NEGOTIATE
            | Command::VPADDING
            | Command::CERTS
            | Command::AUTH_CHALLENGE
            | Command::AUTHENTICATE
            | Command::AUTHORIZE => CircIdUse::Forbidden,
            _ => CircIdUse::Unknown,
        }
    }

    /// Whether it has a name here. C tor: a cell of an unknown command is dropped.
    pub fn is_known(self) -> bool {
        self.circ_id_use() != CircIdUse::Unknown
    }

    #[inline]
    fn check(self, circ_id: Option<CircId>) -> Result<(), Error> {
        match (self.circ_id_use(), circ_id) {
            (CircIdUse::Required, None) => Err(Error::CircIdMissing),
            (CircIdUse::Forbidden, Some(_)) => Err(Error::CircIdForbidden),
            _ => Ok(()),
        }
    }
}

/// How headers are laid out on a link, which depends on how far its handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Each side's first cell, VERSIONS, with a circuit number of two bytes.
    Versions,
    /// Link protocol 4 or 5 is agreed. `Differs:` 3 and older are not supported.
    Wide,
}

/// Where the cell at the front of some bytes is, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its circuit; present exactly if a known command requires one.
    pub circ_id: Option<CircId>,
    /// Its command.
    pub command: Command,
    start: usize,
    len: usize,
}

impl Header {
    /// Where the body is, counted from the first byte of the cell.
    pub fn body(&self) -> Range<usize> {
        self.start..self.start + self.len
    }

    /// Length of the whole cell.
    pub fn cell_len(&self) -> usize {
        self.start + self.len
    }
}

/// Finds the cell at the front of `bytes`; `None` if more bytes must come first.
#[inline]
pub fn peek(era: Era, bytes: &[u8]) -> Result<Option<Header>, Error> {
    let header = peek_header(era, bytes)?;
    Ok(header.filter(|header| header.cell_len() <= bytes.len()))
}

/// Reads the header at the front of `bytes`, of a cell whose body may not be there yet;
/// `None` if more bytes must come first. For whoever bounds what it will wait for.
///
/// C tor: a circuit number where none may be is refused in CERTS and AUTH_CHALLENGE only;
/// like Arti we refuse it everywhere.
#[inline]
pub fn peek_header(era: Era, bytes: &[u8]) -> Result<Option<Header>, Error> {
    match era {
        Era::Versions => peek_versions(bytes),
        Era::Wide => peek_wide(bytes),
    }
}

fn peek_versions(bytes: &[u8]) -> Result<Option<Header>, Error> {
    if bytes.get(2).is_some_and(|&command| Command(command) != Command::VERSIONS) {
        return Err(Error::VersionsExpected);
    }
    let Some(&[circ_high, circ_low, command, high, low]) = bytes.first_chunk() else {
        return Ok(None);
    };
    if (circ_high, circ_low) != (0, 0) {
        return Err(Error::CircIdForbidden);
    }
    let len = usize::from(u16::from_be_bytes([high, low]));
    Ok(Some(Header { circ_id: None, command: Command(command), start: VERSIONS_HEADER_LEN, len }))
}

#[inline]
fn peek_wide(bytes: &[u8]) -> Result<Option<Header>, Error> {
    let Some((&[a, b, c, d, command], rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let circ_id = CircId::new(u32::from_be_bytes([a, b, c, d]));
    let command = Command(command);
    command.check(circ_id)?;
    if !command.is_variable() {
        return Ok(Some(Header { circ_id, command, start: FIXED_HEADER_LEN, len: BODY_LEN }));
    }
    let len = rest.first_chunk().map(|&len| usize::from(u16::from_be_bytes(len)));
    Ok(len.map(|len| Header { circ_id, command, start: VARIABLE_HEADER_LEN, len }))
}

/// The header of a fixed-length cell, to be written in front of its body.
pub fn fixed_header(circ_id: Option<CircId>, command: Command) -> Result<[u8; FIXED_HEADER_LEN], Error> {
    if command.is_variable() || command.check(circ_id).is_err() {
        return Err(Error::Unencodable);
    }
    let [a, b, c, d] = circ_id.map_or(0, CircId::get).to_be_bytes();
    Ok([a, b, c, d, command.0])
}

/// Writes a whole fixed-length cell whose body `fill` begins and zeros end.
pub fn encode_fixed(
    circ_id: Option<CircId>,
    command: Command,
    out: &mut [u8; FIXED_LEN],
    fill: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut cell = Writer::new(out);
    cell.bytes(&fixed_header(circ_id, command)?)?;
    fill(&mut cell)?;
    let unused = cell.room();
    cell.reserve(unused)?.fill(0);
    Ok(())
}

/// Writes a whole variable-length cell, whose body `fill` writes, to the front of `out`;
/// says how long it became.
pub fn encode_variable(
    circ_id: Option<CircId>,
    command: Command,
    out: &mut [u8],
    fill: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>,
) -> Result<usize, Error> {
    // VERSIONS has a header of its own.
    if !command.is_variable() || command == Command::VERSIONS || command.check(circ_id).is_err() {
        return Err(Error::Unencodable);
    }
    let (header, body) = out.split_first_chunk_mut::<VARIABLE_HEADER_LEN>().ok_or(Error::NoRoom)?;
    let mut body = Writer::new(body);
    fill(&mut body)?;
    let [a, b, c, d] = circ_id.map_or(0, CircId::get).to_be_bytes();
    let len = u16::try_from(body.written()).map_err(|_| Error::Unencodable)?;
    let [high, low] = len.to_be_bytes();
    *header = [a, b, c, d, command.0, high, low];
    Ok(VARIABLE_HEADER_LEN + body.written())
}

/// Writes a whole VERSIONS cell that offers `versions`.
pub fn encode_versions(versions: &[u16], out: &mut Writer<'_>) -> Result<(), Error> {
    let len = u16::try_from(versions.len() * 2).map_err(|_| Error::Unencodable)?;
    out.u16(0)?;
    out.u8(Command::VERSIONS.0)?;
    out.u16(len)?;
    for &version in versions {
        out.u16(version)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{encoded, unhex};
    use super::*;
    use proptest::prelude::*;

    const CIRC: u32 = 0x8000_0001;

    fn wide(circ_id: u32, command: u8, tail: &[u8]) -> Vec<u8> {
        [&circ_id.to_be_bytes()[..], &[command], tail].concat()
    }

    /// What C tor 0.4.9 sends first (versions 3, 4, 5), with the body of Arti 2.7,
    /// tor-cell tests/testvec_chanmsg.rs.
    #[test]
    fn versions_has_a_short_circuit_number() {
        let cell = unhex("0000 07 0006 000300040005");
        let header = peek(Era::Versions, &cell).unwrap().unwrap();
        assert_eq!(header.command, Command::VERSIONS);
        assert_eq!((header.body(), header.cell_len()), (5..11, 11));
        assert_eq!(encoded(|out| encode_versions(&[3, 4, 5], out)), cell);
        for n in 0..cell.len() {
            assert_eq!(peek(Era::Versions, &cell[..n]), Ok(None), "the first {n} bytes");
        }
    }

    #[test]
    fn nothing_but_versions_may_come_first() {
        assert_eq!(peek(Era::Versions, &[0, 0, 8]), Err(Error::VersionsExpected));
        assert_eq!(peek(Era::Versions, b"HTTP"), Err(Error::VersionsExpected));
        assert_eq!(peek(Era::Versions, &[0, 1, 7, 0, 0]), Err(Error::CircIdForbidden));
    }

    #[test]
    fn a_fixed_cell_is_there_when_its_last_byte_is() {
        let cell = wide(CIRC, 3, &[0; BODY_LEN]);
        assert_eq!(cell.len(), FIXED_LEN);
        for n in 0..cell.len() {
            assert_eq!(peek(Era::Wide, &cell[..n]), Ok(None), "the first {n} bytes");
        }
        let header = peek(Era::Wide, &cell).unwrap().unwrap();
        assert_eq!((header.circ_id, header.command), (CircId::new(CIRC), Command::RELAY));
        assert_eq!((header.body(), header.cell_len()), (5..514, 514));
    }

    #[test]
    fn a_variable_cell_says_how_long_it_is() {
        let cell = wide(0, 129, &[0, 3, 1, 2, 3]);
        for n in 0..cell.len() {
            assert_eq!(peek(Era::Wide, &cell[..n]), Ok(None), "the first {n} bytes");
        }
        let header = peek(Era::Wide, &[&cell[..], b"next"].concat()).unwrap().unwrap();
        assert_eq!((header.command, header.body()), (Command::CERTS, 7..10));
        let announced = peek_header(Era::Wide, &cell[..7]).unwrap().unwrap();
        assert_eq!((announced.body(), announced.cell_len()), (7..10, 10));
        let longest = peek(Era::Wide, &wide(0, 128, &[0xFF; 0x1_0001])).unwrap().unwrap();
        assert_eq!(longest.cell_len(), MAX_LEN);
    }

    #[test]
    fn circuits_are_named_where_the_spec_wants_them() {
        for command in 0..=255 {
            let (with, without) = (wide(CIRC, command, &[]), wide(0, command, &[]));
            let (with, without) = (peek(Era::Wide, &with), peek(Era::Wide, &without));
            match Command(command).circ_id_use() {
                CircIdUse::Required => assert_eq!((with, without), (Ok(None), Err(Error::CircIdMissing))),
                CircIdUse::Forbidden => assert_eq!((with, without), (Err(Error::CircIdForbidden), Ok(None))),
                CircIdUse::Unknown => assert_eq!((with, without), (Ok(None), Ok(None))),
            }
        }
        assert_eq!((0..=255).filter(|&c| Command(c).is_known()).count(), 18);
        assert!(CircId::new(CIRC).unwrap().is_of_initiator());
        assert!(!CircId::new(1).unwrap().is_of_initiator());
        assert_eq!(CircId::new(0), None);
    }

    #[test]
    fn unused_bytes_of_a_fixed_cell_are_zero() {
        let mut out = [0xFF; FIXED_LEN];
        encode_fixed(CircId::new(CIRC), Command::DESTROY, &mut out, |body| Ok(body.u8(9)?)).unwrap();
        assert_eq!(out[..6], [0x80, 0, 0, 1, 4, 9]);
        assert!(out[6..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_cell_against_the_rules_cannot_be_written() {
        assert_eq!(fixed_header(None, Command::RELAY), Err(Error::Unencodable));
        assert_eq!(fixed_header(CircId::new(1), Command::PADDING), Err(Error::Unencodable));
        assert_eq!(fixed_header(None, Command::CERTS), Err(Error::Unencodable));
        let mut out = [0; MAX_LEN + 1];
        let mut write = |command, len: usize| {
            encode_variable(None, command, &mut out, |body| Ok(body.reserve(len).map(|room| room.fill(1))?))
        };
        assert_eq!(write(Command::VERSIONS, 0), Err(Error::Unencodable));
        assert_eq!(write(Command::NETINFO, 0), Err(Error::Unencodable));
        assert_eq!(write(Command::VPADDING, 0xFFFF), Ok(MAX_LEN));
        assert_eq!(write(Command::VPADDING, 0x1_0000), Err(Error::Unencodable));
        assert_eq!(encode_variable(None, Command::CERTS, &mut [0; 6], |_| Ok(())), Err(Error::NoRoom));
    }

    proptest! {
        #[test]
        fn a_header_reads_back_as_written(
            circ in any::<u32>(),
            command in any::<u8>(),
            body in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let (circ_id, command) = (CircId::new(circ), Command(command));
            let mut out = [0; 1024];
            let written = if command.is_variable() {
                encode_variable(circ_id, command, &mut out, |w| Ok(w.bytes(&body)?))
            } else {
                let cell = out.first_chunk_mut().unwrap();
                let body = &body[..body.len().min(BODY_LEN)];
                encode_fixed(circ_id, command, cell, |w| Ok(w.bytes(body)?)).map(|()| FIXED_LEN)
            };
            if let Ok(len) = written {
                let header = peek(Era::Wide, &out[..len]).unwrap().unwrap();
                prop_assert_eq!((header.circ_id, header.command, header.cell_len()), (circ_id, command, len));
                prop_assert_eq!(peek(Era::Wide, &out[..len - 1]), Ok(None));
            } else {
                prop_assert!(command == Command::VERSIONS || command.check(circ_id).is_err());
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (peek(Era::Versions, &bytes), peek(Era::Wide, &bytes));
        }
    }
}
