//! Bytes to values and back: every cell, relay message and document line of the protocol.
//!
//! The promise of this floor, which the ones above lean on:
//! - Parsing arbitrary bytes gives a value or a named [`Error`]. It never panics, never
//!   allocates and takes time linear in the input.
//! - What parses can be encoded, and parses again to an equal value. Where several byte
//!   strings mean the same, encoding writes one of them, and the type says which.
//! - Bytes after the last known field of a message are ignored, because the protocol grows
//!   by adding fields. A document ends with its last byte.
//! - A value that names a destination does not print it.
//!
//! Not a judge: whether a message may arrive here and now, on this circuit and from this
//! hop, is for `link`, `circuit` and `stream`; signatures and MACs are for `crypto`. Called
//! by every floor that speaks to a relay, and by `directory`. Spec: tor-spec, "Cells",
//! "Relay cells" and what follows; dir-spec, "Document meta-format".
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::as_conversions))]

pub mod batch;
pub mod cell;
pub mod cell_msg;
pub mod circuit_msg;
pub mod extend;
pub mod extension;
pub mod hs_msg;
pub mod netdoc;
pub mod protover;
pub mod relay;
pub mod relay_msg;
mod testing;

use crate::base::codec;
use crate::base::error::{Blame, Scope};

/// What is wrong with bytes we were given, or with a value we were asked to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Error {
    /// A message ended inside a field.
    Truncated,
    /// A list that must fill its field did not.
    TrailingBytes,
    /// We tried to write more than the cell holds.
    NoRoom,
    /// We tried to write a value that the protocol has no bytes for.
    Unencodable,

    /// Something else came where only VERSIONS may come.
    VersionsExpected,
    /// VERSIONS has an odd number of bytes.
    VersionsOddLength,
    /// A command that belongs to a circuit came without one.
    CircIdMissing,
    /// A command that belongs to the link came with a circuit.
    CircIdForbidden,
    /// CERTS holds two certificates of one type.
    CertificateTwice,
    /// PADDING_NEGOTIATE has a version or command that nobody defined.
    LinkPaddingUnknown,
    /// An address is not as long as its type says.
    AddressWrongLength,

    /// A relay message is longer than the cell that brings it.
    MessageLongerThanCell,
    /// The v1 relay-cell format carries a command that nobody defined.
    RelayCommandUnknown,
    /// A stream message in the v1 format names no stream.
    StreamIdMissing,

    /// BEGIN or RESOLVE has no `NUL` after its name, or the name is not ASCII.
    TargetMalformed,
    /// BEGIN names no port.
    PortMissing,
    /// CONNECTED has an address of a type that nobody defined.
    AddressTypeUnknown,
    /// RESOLVED has an answer that is not as long as its type says.
    AnswerWrongLength,
    /// END gives no reason.
    EndWithoutReason,
    /// SENDME has a version that nobody defined.
    SendmeVersionUnknown,
    /// SENDME carries a tag that no relay crypto makes.
    SendmeTagWrongLength,
    /// XON or XOFF has a version that nobody defined.
    FlowVersionUnknown,
    /// A conflux message has a version that nobody defined.
    ConfluxVersionUnknown,
    /// A padding-machine message has a field outside its range.
    CircuitPaddingUnknown,

    /// A link specifier is not as long as its type says.
    LinkSpecifierWrongLength,
    /// Two link specifiers give the same identity.
    LinkSpecifierTwice,
    /// An extension is not as long as its type says.
    ExtensionWrongLength,
    /// Subprotocols were requested unsorted or twice.
    SubprotocolsUnsorted,

    /// An introduction message names a kind of key that nobody defined.
    KeyTypeUnknown,
    /// A key or signature of an onion-service message has the wrong length.
    KeyWrongLength,
    /// INTRODUCE1 names an onion service of the second version.
    LegacyIntroduction,
    /// The encrypted part of INTRODUCE1 has no room for its key and its MAC.
    EncryptedTooShort,
    /// A proof of work is of a version that nobody defined.
    PowVersionUnknown,

    /// A subprotocol list has an entry without `=`, or with a bad name.
    ProtocolNameBad,
    /// A subprotocol list has a number that is no version, or a reversed range.
    ProtocolVersionBad,

    /// A document is not UTF-8.
    NotUtf8,
    /// A document contains a `NUL`.
    NulInDocument,
    /// A document begins with a byte-order mark.
    ByteOrderMark,
    /// A document has an empty line.
    EmptyLine,
    /// A line is longer than any real one.
    LineTooLong,
    /// A line does not begin with a keyword.
    BadKeyword,
    /// A line that begins an object is malformed.
    BadObjectBegin,
    /// An object has a line that is not base64.
    BadObjectBase64,
    /// An object is not ended, or by another name.
    BadObjectEnd,
    /// An object is longer than any real one.
    ObjectTooLong,
}

impl Error {
    /// Whose fault it was: our own for what we tried to write, else the far end's.
    pub fn blame(self) -> Blame {
        match self {
            Error::NoRoom | Error::Unencodable => Blame::Bug,
            _ => Blame::Peer,
        }
    }

    /// How much falls with it. During the link handshake, where there is no circuit yet,
    /// the caller widens it to the link.
    pub fn scope(self) -> Scope {
        match self {
            Error::VersionsExpected
            | Error::VersionsOddLength
            | Error::CircIdMissing
            | Error::CircIdForbidden
            | Error::CertificateTwice
            | Error::LinkPaddingUnknown
            | Error::AddressWrongLength => Scope::Link,
            // A document comes over one stream, and from a cache that did not write it.
            Error::ProtocolNameBad
            | Error::ProtocolVersionBad
            | Error::NotUtf8
            | Error::NulInDocument
            | Error::ByteOrderMark
            | Error::EmptyLine
            | Error::LineTooLong
            | Error::BadKeyword
            | Error::BadObjectBegin
            | Error::BadObjectBase64
            | Error::BadObjectEnd
            | Error::ObjectTooLong => Scope::Stream,
            _ => Scope::Circuit,
        }
    }
}

impl From<codec::Error> for Error {
    fn from(error: codec::Error) -> Self {
        match error {
            codec::Error::Truncated => Error::Truncated,
            codec::Error::TrailingBytes => Error::TrailingBytes,
            codec::Error::NoRoom => Error::NoRoom,
            codec::Error::LengthTooLarge => Error::Unencodable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_wrote_ourselves_is_our_fault() {
        assert_eq!(Error::from(codec::Error::NoRoom).blame(), Blame::Bug);
        assert_eq!(Error::from(codec::Error::LengthTooLarge).blame(), Blame::Bug);
        assert_eq!(Error::from(codec::Error::Truncated).blame(), Blame::Peer);
        assert_eq!(Error::from(codec::Error::TrailingBytes).blame(), Blame::Peer);
    }

    #[test]
    fn each_chapter_of_the_protocol_fells_what_carries_it() {
        assert_eq!(Error::CircIdForbidden.scope(), Scope::Link);
        assert_eq!(Error::SendmeTagWrongLength.scope(), Scope::Circuit);
        assert_eq!(Error::BadKeyword.scope(), Scope::Stream);
    }
}
