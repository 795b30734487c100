//! Relay cells, peeled: where the message is in each of the two layouts.
//!
//! Knows no crypto (the digest, `recognized` and tag fields are `crypto`'s) and no message
//! body. Called by `circuit` after the last layer is off and before the first is put on.
//! Spec: tor-spec, "Relay cells"; proposal 359, "Counter Galois Onion", for the second
//! layout; proposal 289 for the padding.

use super::Error;
use super::cell::{BODY_LEN, Body};
use crate::base::codec::Writer;
use crate::base::random::Entropy;
use core::num::NonZeroU16;

/// A relay message's command. Any byte is one; those with a name are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Command(pub u8);

#[allow(missing_docs, reason = "the spec's names, listed in its order")]
impl Command {
    pub const BEGIN: Command = Command(1);
    pub const DATA: Command = Command(2);
    pub const END: Command = Command(3);
    pub const CONNECTED: Command = Command(4);
    pub const SENDME: Command = Command(5);
    pub const EXTEND: Command = Command(6);
    pub const EXTENDED: Command = Command(7);
    pub const TRUNCATE: Command = Command(8);
    pub const TRUNCATED: Command = Command(9);
    pub const DROP: Command = Command(10);
    pub const RESOLVE: Command = Command(11);
    pub const RESOLVED: Command = Command(12);
    pub const BEGIN_DIR: Command = Command(13);
    pub const EXTEND2: Command = Command(14);
    pub const EXTENDED2: Command = Command(15);
    pub const CONFLUX_LINK: Command = Command(19);
    pub const CONFLUX_LINKED: Command = Command(20);
    pub const CONFLUX_LINKED_ACK: Command = Command(21);
    pub const CONFLUX_SWITCH: Command = Command(22);
    pub const ESTABLISH_INTRO: Command = Command(32);
    pub const ESTABLISH_RENDEZVOUS: Command = Command(33);
    pub const INTRODUCE1: Command = Command(34);
    pub const INTRODUCE2: Command = Command(35);
    pub const RENDEZVOUS1: Command = Command(36);
    pub const RENDEZVOUS2: Command = Command(37);
    pub const INTRO_ESTABLISHED: Command = Command(38);
    pub const RENDEZVOUS_ESTABLISHED: Command = Command(39);
    pub const INTRODUCE_ACK: Command = Command(40);
    pub const PADDING_NEGOTIATE: Command = Command(41);
    pub const PADDING_NEGOTIATED: Command = Command(42);
    pub const XOFF: Command = Command(43);
    pub const XON: Command = Command(44);
}

/// Whether messages of a command belong to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamUse {
    /// They do.
    Required,
    /// They belong to the circuit.
    Forbidden,
    /// SENDME: to either. The v1 layout has no stream number for it, so there only to the
    /// circuit.
    Either,
    /// Nobody has defined the command.
    Unknown,
}

impl Command {
    /// Whether its messages belong to a stream.
    #[inline]
    pub fn stream_use(self) -> StreamUse {
        match self {
            Command::BEGIN
            | Command::BEGIN_DIR
            | Command::CONNECTED
            | Command::DATA
            | Command::END
            | Command::RESOLVE
            | Command::RESOLVED
            | Command::XOFF
            | Command::XON => StreamUse::Required,
            Command::SENDME => StreamUse::Either,
            Command(6..=10 | 14 | 15 | 19..=22 | 32..=42) => StreamUse::Forbidden,
            _ => StreamUse::Unknown,
        }
    }

    /// Whether it has a name here. C tor: a message of an unknown command is dropped in
    /// the v0 layout, and closes the circuit in v1, where it cannot even be laid out.
    pub fn is_known(self) -> bool {
        self.stream_use() != StreamUse::Unknown
    }
}

/// A stream's number at one hop of a circuit. Zero is no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(NonZeroU16);

impl StreamId {
    /// The stream of that number, if it is one.
    pub fn new(number: u16) -> Option<StreamId> {
        NonZeroU16::new(number).map(StreamId)
    }

    /// Its number.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

/// How a relay message lies in a cell body, which follows from the hop's crypto.
///
/// ```text
///      0        1          3        5       9       11
/// v0   command  recognized stream   digest  length  message, padding
///
///      0        16         17       19              19 or 21
/// v1   tag      command    length   stream, if any  message, padding
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// With tor1, and between the ends of an onion-service circuit.
    V0,
    /// With Counter Galois Onion.
    V1,
}

/// One relay message, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its command; in the v0 format perhaps an unknown one.
    pub command: Command,
    /// Its stream. In the v0 format this is what the cell says, fitting or not; in v1
    /// it is there exactly if the command wants it.
    pub stream: Option<StreamId>,
    /// Its body; the padding after it is gone.
    pub body: &'a [u8],
}

impl Message<'_> {
    /// Whether it names a stream if and only if its command wants one. In the v1 format it
    /// always does; in v0 C tor drops one that does not, and Arti closes the circuit.
    pub fn stream_fits(&self) -> bool {
        match self.command.stream_use() {
            StreamUse::Required => self.stream.is_some(),
            StreamUse::Forbidden => self.stream.is_none(),
            StreamUse::Either | StreamUse::Unknown => true,
        }
    }
}

impl Format {
    /// The longest body of a message of `command`.
    pub fn max_body(self, command: Command) -> usize {
        match (self, command.stream_use()) {
            (Format::V0, _) => BODY_LEN - V0_HEADER_LEN,
            (Format::V1, StreamUse::Required) => BODY_LEN - V1_STREAM_HEADER_LEN,
            (Format::V1, _) => BODY_LEN - V1_HEADER_LEN,
        }
    }

    /// Reads the message of a recognized cell.
    #[inline]
    pub fn parse(self, cell: &Body) -> Result<Message<'_>, Error> {
        match self {
            Format::V0 => parse_v0(cell),
            Format::V1 => parse_v1(cell),
        }
    }

    /// Writes a message whose body `fill` writes, and pads the cell.
    ///
    /// The fields of the crypto are left zero. The padding is four zeros, so that a later
    /// protocol may put something there, then random bytes, so that nobody who has not
    /// seen the cell can know what its SENDME tag will be.
    pub fn encode(
        self,
        cell: &mut Body,
        command: Command,
        stream: Option<StreamId>,
        entropy: &mut dyn Entropy,
        fill: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let header_len = self.header_len(command, stream)?;
        let (header, space) = cell.split_at_mut_checked(header_len).ok_or(Error::NoRoom)?;
        let mut body = Writer::new(space);
        fill(&mut body)?;
        let len = body.written();
        self.encode_header(header, command, stream, len)?;
        pad(space.get_mut(len..).unwrap_or_default(), entropy);
        Ok(())
    }

    fn header_len(self, command: Command, stream: Option<StreamId>) -> Result<usize, Error> {
        match (self, command.stream_use(), stream.is_some()) {
            (_, StreamUse::Required, false) | (_, StreamUse::Forbidden, true) => Err(Error::Unencodable),
            (Format::V0, _, _) => Ok(V0_HEADER_LEN),
            (Format::V1, StreamUse::Unknown, _) | (Format::V1, StreamUse::Either, true) => Err(Error::Unencodable),
            (Format::V1, _, true) => Ok(V1_STREAM_HEADER_LEN),
            (Format::V1, _, false) => Ok(V1_HEADER_LEN),
        }
    }

    fn encode_header(
        self,
        header: &mut [u8],
        command: Command,
        stream: Option<StreamId>,
        len: usize,
    ) -> Result<(), Error> {
        let [len_high, len_low] = u16::try_from(len).map_err(|_| Error::Unencodable)?.to_be_bytes();
        let [stream_high, stream_low] = stream.map_or(0, StreamId::get).to_be_bytes();
        let command = command.0;
        let mut header = Writer::new(header);
        match self {
            Format::V0 => header.bytes(&[command, 0, 0, stream_high, stream_low, 0, 0, 0, 0, len_high, len_low])?,
            Format::V1 => {
                header.bytes(&[0; V1_TAG_LEN])?;
                header.bytes(&[command, len_high, len_low])?;
                if stream.is_some() {
                    header.bytes(&[stream_high, stream_low])?;
                }
            }
        }
        Ok(())
    }
}

#[inline]
fn parse_v0(cell: &Body) -> Result<Message<'_>, Error> {
    let (&[command, _, _, stream_high, stream_low, _, _, _, _, len_high, len_low], space) =
        cell.split_first_chunk::<V0_HEADER_LEN>().ok_or(Error::Truncated)?;
    let stream = StreamId::new(u16::from_be_bytes([stream_high, stream_low]));
    let body = message(space, [len_high, len_low])?;
    Ok(Message { command: Command(command), stream, body })
}

#[inline]
fn parse_v1(cell: &Body) -> Result<Message<'_>, Error> {
    let (_, rest) = cell.split_first_chunk::<V1_TAG_LEN>().ok_or(Error::Truncated)?;
    let (&[command, len_high, len_low], rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
    let command = Command(command);
    let (stream, space) = match command.stream_use() {
        StreamUse::Unknown => return Err(Error::RelayCommandUnknown),
        StreamUse::Forbidden | StreamUse::Either => (None, rest),
        StreamUse::Required => {
            let (&stream, space) = rest.split_first_chunk().ok_or(Error::Truncated)?;
            let stream = StreamId::new(u16::from_be_bytes(stream)).ok_or(Error::StreamIdMissing)?;
            (Some(stream), space)
        }
    };
    Ok(Message { command, stream, body: message(space, [len_high, len_low])? })
}

#[inline]
fn message(space: &[u8], len: [u8; 2]) -> Result<&[u8], Error> {
    space.get(..usize::from(u16::from_be_bytes(len))).ok_or(Error::MessageLongerThanCell)
}

fn pad(space: &mut [u8], entropy: &mut dyn Entropy) {
    match space.split_at_mut_checked(ZERO_PADDING_LEN) {
        Some((zeros, rest)) => {
            zeros.fill(0);
            // A full cell, the common one, asks for nothing.
            if !rest.is_empty() {
                entropy.fill(rest);
            }
        }
        None => space.fill(0),
    }
}

/// Parses `bytes` as a cell of both formats; what parses must be written and parse again to
/// the same.
pub fn fuzz_relay_cell(bytes: &[u8]) {
    struct Zeros;
    impl Entropy for Zeros {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(0);
        }
    }
    let mut cell = [0; BODY_LEN];
    for (to, from) in cell.iter_mut().zip(bytes) {
        *to = *from;
    }
    for format in [Format::V0, Format::V1] {
        let Ok(message) = format.parse(&cell) else { continue };
        assert!(message.body.len() <= format.max_body(message.command), "a message fits its cell");
        let mut again = [0; BODY_LEN];
        let write = |out: &mut Writer<'_>| Ok(out.bytes(message.body)?);
        let written = format.encode(&mut again, message.command, message.stream, &mut Zeros, write);
        assert_eq!(written.is_ok(), message.stream_fits());
        assert!(written.is_err() || format.parse(&again) == Ok(message));
    }
}

const V0_HEADER_LEN: usize = 11;
const V1_TAG_LEN: usize = 16;
const V1_HEADER_LEN: usize = 19;
const V1_STREAM_HEADER_LEN: usize = 21;
/// Chosen by the spec.
const ZERO_PADDING_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;
    use proptest::prelude::*;

    const STREAM: Option<StreamId> = Some(StreamId(NonZeroU16::new(0x1234).unwrap()));

    fn cell(format: Format, command: Command, stream: Option<StreamId>, body: &[u8]) -> Result<Body, Error> {
        let mut cell = [0xEE; BODY_LEN];
        format.encode(&mut cell, command, stream, &mut Seeded(1), |out| Ok(out.bytes(body)?))?;
        Ok(cell)
    }

    /// The layouts of C tor 0.4.9.11, core/or/relay_msg.c.
    #[test]
    fn fields_are_where_the_other_side_looks() {
        let v0 = cell(Format::V0, Command::DATA, STREAM, b"abc").unwrap();
        assert_eq!(v0[..18], *b"\x02\0\0\x12\x34\0\0\0\0\0\x03abc\0\0\0\0");
        let v1 = cell(Format::V1, Command::DATA, STREAM, b"abc").unwrap();
        assert_eq!(v1[..28], *b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\x03\x12\x34abc\0\0\0\0");
        let v1 = cell(Format::V1, Command::SENDME, None, b"abc").unwrap();
        assert_eq!(v1[16..26], *b"\x05\0\x03abc\0\0\0\0");
    }

    #[test]
    fn padding_is_random_after_four_zeros() {
        for format in [Format::V0, Format::V1] {
            let cell = cell(format, Command::DATA, STREAM, &[7; 10]).unwrap();
            let at = BODY_LEN - format.max_body(Command::DATA) + 10;
            assert_eq!(cell[at..at + 4], [0; 4]);
            let mut random = vec![0; BODY_LEN - at - 4];
            Seeded(1).fill(&mut random);
            assert_eq!(cell[at + 4..], random);
        }
    }

    #[test]
    fn what_little_room_is_left_is_zero() {
        for left in 0..=4 {
            let body = vec![7; 498 - left];
            let cell = cell(Format::V0, Command::DATA, STREAM, &body).unwrap();
            assert!(cell[BODY_LEN - left..].iter().all(|&byte| byte == 0));
            assert_eq!(Format::V0.parse(&cell).unwrap().body, body);
        }
    }

    #[test]
    fn a_message_is_as_long_as_the_spec_allows() {
        for (format, command, stream, max) in [
            (Format::V0, Command::DATA, STREAM, 498),
            (Format::V0, Command::EXTEND2, None, 498),
            (Format::V1, Command::DATA, STREAM, 488),
            (Format::V1, Command::EXTEND2, None, 490),
            (Format::V1, Command::SENDME, None, 490),
        ] {
            assert_eq!(format.max_body(command), max);
            let full = cell(format, command, stream, &vec![1; max]).unwrap();
            assert_eq!(format.parse(&full).unwrap().body.len(), max);
            assert_eq!(cell(format, command, stream, &vec![1; max + 1]), Err(Error::NoRoom));
        }
    }

    #[test]
    fn a_message_longer_than_its_cell_is_refused() {
        for (format, at, max) in [(Format::V0, 9, 498_u16), (Format::V1, 17, 488)] {
            let mut cell = cell(format, Command::DATA, STREAM, b"").unwrap();
            cell[at..at + 2].copy_from_slice(&max.to_be_bytes());
            assert_eq!(format.parse(&cell).unwrap().body.len(), usize::from(max));
            for len in [max + 1, u16::MAX] {
                cell[at..at + 2].copy_from_slice(&len.to_be_bytes());
                assert_eq!(format.parse(&cell), Err(Error::MessageLongerThanCell));
            }
        }
    }

    #[test]
    fn an_unknown_command_shows_in_v0_and_is_refused_in_v1() {
        let unknown = Command(249);
        let v0 = cell(Format::V0, unknown, None, b"x").unwrap();
        assert!(!Format::V0.parse(&v0).unwrap().command.is_known());
        assert_eq!(cell(Format::V1, unknown, None, b"x"), Err(Error::Unencodable));
        let mut v1 = cell(Format::V1, Command::DROP, None, b"x").unwrap();
        v1[16] = 249;
        assert_eq!(Format::V1.parse(&v1), Err(Error::RelayCommandUnknown));
    }

    #[test]
    fn streams_are_named_where_the_spec_wants_them() {
        assert_eq!(cell(Format::V0, Command::DATA, None, b""), Err(Error::Unencodable));
        assert_eq!(cell(Format::V0, Command::EXTEND2, STREAM, b""), Err(Error::Unencodable));
        assert!(cell(Format::V0, Command::SENDME, STREAM, b"").is_ok());
        assert_eq!(cell(Format::V1, Command::SENDME, STREAM, b""), Err(Error::Unencodable));
        let mut v1 = cell(Format::V1, Command::DATA, STREAM, b"").unwrap();
        v1[19..21].fill(0);
        assert_eq!(Format::V1.parse(&v1), Err(Error::StreamIdMissing));
        let mut v0 = cell(Format::V0, Command::DATA, STREAM, b"").unwrap();
        assert!(Format::V0.parse(&v0).unwrap().stream_fits());
        v0[3..5].fill(0);
        assert!(!Format::V0.parse(&v0).unwrap().stream_fits());
    }

    /// C tor 0.4.9.11, core/or/or.h `is_known_relay_command` and core/or/relay_msg.h
    /// `relay_cmd_expects_streamid_in_v1`.
    #[test]
    fn known_commands_are_those_of_c_tor() {
        let known: Vec<u8> = (0..=255).filter(|&c| Command(c).is_known()).collect();
        assert_eq!(
            known,
            [&(1..=15).collect::<Vec<_>>()[..], &[19, 20, 21, 22], &(32..=44).collect::<Vec<_>>()].concat()
        );
        let streams: Vec<u8> = (0..=255).filter(|&c| Command(c).stream_use() == StreamUse::Required).collect();
        assert_eq!(streams, [1, 2, 3, 4, 11, 12, 13, 43, 44]);
    }

    proptest! {
        #[test]
        fn a_message_reads_back_as_written(
            v1 in any::<bool>(),
            command in any::<u8>(),
            stream in any::<u16>(),
            body in proptest::collection::vec(any::<u8>(), 0..500),
        ) {
            let format = if v1 { Format::V1 } else { Format::V0 };
            let (command, stream) = (Command(command), StreamId::new(stream));
            if let Ok(cell) = cell(format, command, stream, &body) {
                prop_assert_eq!(format.parse(&cell), Ok(Message { command, stream, body: &body }));
            }
        }

        #[test]
        fn what_parses_is_written_and_parses_again(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            fuzz_relay_cell(&bytes);
        }
    }
}
