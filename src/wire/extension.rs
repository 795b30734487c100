//! Extensions: the typed list that handshakes and onion-service messages carry.
//!
//! Not the handshake: `crypto` encrypts the list, `circuit` decides what is asked for.
//! The meaning of a type depends on the message around it: type 2 is the answer about
//! congestion control from a relay, and a proof of work from a client of a service.
//! Called by `circuit`, `onion` and `hs_msg`. Spec: tor-spec, "Extensions in ntor-v3
//! messages"; rend-spec-v3, "Extensible ESTABLISH_INTRO protocol" and "INTRODUCE1 cell
//! extensions"; proposal 346, "Clarifying and extending the use of protocol versioning".

use super::Error;
use super::cell_msg::read_part;
use super::protover::Protocol;
use super::testing::assert_reparses;
use crate::base::codec::{Reader, Writer};

/// One extension. Of several of one type only the first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// What it is, in the message it came in.
    pub kind: u8,
    /// Its body.
    pub data: &'a [u8],
}

/// A well-formed list of extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions<'a> {
    count: u8,
    /// Exactly `count` extensions with their types and lengths.
    list: &'a [u8],
}

impl<'a> Extensions<'a> {
    /// No extensions.
    pub const NONE: Extensions<'static> = Extensions { count: 0, list: &[] };

    /// Reads a list that is all of `bytes`, as a handshake's message is. C tor ignores bytes
    /// after it, Arti refuses them, and so do we.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let extensions = Extensions::read(&mut reader)?;
        reader.finish()?;
        Ok(extensions)
    }

    /// Reads a list and leaves `reader` after it.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let count = reader.u8()?;
        let all = *reader;
        for _ in 0..count {
            reader.u8()?;
            reader.u8_prefixed()?;
        }
        Ok(Extensions { count, list: read_part(all, *reader)? })
    }

    /// Writes the list as it came.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.u8(self.count)?;
        Ok(out.bytes(self.list)?)
    }

    /// Writes a list of `extensions`, whose types must ascend so that all clients write
    /// the same bytes.
    pub fn encode_list(extensions: &[Extension<'_>], out: &mut Writer<'_>) -> Result<(), Error> {
        if !extensions.is_sorted_by(|a, b| a.kind < b.kind) {
            return Err(Error::Unencodable);
        }
        out.u8_count(extensions.len())?;
        for extension in extensions {
            out.u8(extension.kind)?;
            out.u8_prefixed(extension.data)?;
        }
        Ok(())
    }

    /// How many bytes the list takes.
    pub fn encoded_len(&self) -> usize {
        1 + self.list.len()
    }

    /// The extensions, as they came.
    pub fn iter(&self) -> impl Iterator<Item = Extension<'a>> + use<'a> {
        let mut reader = Reader::new(self.list);
        core::iter::from_fn(move || Some(Extension { kind: reader.u8().ok()?, data: reader.u8_prefixed().ok()? }))
    }

    /// The body of the first extension of type `kind`.
    pub fn get(&self, kind: u8) -> Option<&'a [u8]> {
        self.iter().find_map(|extension| (extension.kind == kind).then_some(extension.data))
    }
}

/// Client to relay or service, empty: let us have congestion control.
pub const CC_REQUEST: u8 = 1;
/// Relay to client, a [`CcResponse`]: there is congestion control.
pub const CC_RESPONSE: u8 = 2;
/// Client to relay or service, [`Subprotocols`]: use these.
pub const SUBPROTOCOL_REQUEST: u8 = 3;

/// What a relay says about congestion control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CcResponse {
    /// After how many data cells a SENDME is due.
    pub sendme_inc: u8,
}

impl CcResponse {
    /// Reads the extension's body; more bytes than one are ignored (C tor).
    pub fn parse(data: &[u8]) -> Result<Self, Error> {
        Ok(CcResponse { sendme_inc: Reader::new(data).u8().map_err(|_| Error::ExtensionWrongLength)? })
    }

    /// Writes the extension's body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        Ok(out.u8(self.sendme_inc)?)
    }
}

/// Capabilities that a client asks a relay to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subprotocols<'a> {
    /// Pairs of a protocol's number and a version, strictly ascending.
    pairs: &'a [u8],
}

impl<'a> Subprotocols<'a> {
    /// What a client sends for Counter Galois Onion: `Relay=6`, the only capability that
    /// may be asked for today.
    pub const CGO: Subprotocols<'static> = Subprotocols { pairs: &[2, 6] };

    /// Reads the extension's whole body.
    pub fn parse(data: &'a [u8]) -> Result<Self, Error> {
        let (pairs, rest) = data.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Error::ExtensionWrongLength);
        }
        if pairs.is_sorted_by(|a, b| a < b) {
            Ok(Subprotocols { pairs: data })
        } else {
            Err(Error::SubprotocolsUnsorted)
        }
    }

    /// Writes the extension's body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        Ok(out.bytes(self.pairs)?)
    }

    /// The extension's body.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.pairs
    }

    /// The protocols asked for, `None` where the number is unknown, and their versions.
    pub fn iter(&self) -> impl Iterator<Item = (Option<Protocol>, u8)> + use<'a> {
        let (pairs, _) = self.pairs.as_chunks::<2>();
        pairs.iter().map(|&[number, version]| (Protocol::from_number(number), version))
    }
}

/// Parses `bytes` as a list and as every extension; what parses must be written and parse
/// again to the same.
pub fn fuzz_extensions(bytes: &[u8]) {
    assert_reparses!(Extensions, bytes);
    assert_reparses!(CcResponse, bytes);
    assert_reparses!(Subprotocols, bytes);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_each_prefix_is_truncated, assert_reads_back, encoded, unhex};
    use super::*;
    use proptest::prelude::*;

    /// The client messages that C tor 0.4.9.11 and Arti 2.7 put into ntor-v3.
    #[test]
    fn what_clients_ask_for() {
        let cc = Extension { kind: CC_REQUEST, data: &[] };
        let cgo = Extension { kind: SUBPROTOCOL_REQUEST, data: Subprotocols::CGO.as_bytes() };
        for (hex, list) in [("00", &[][..]), ("01 01 00", &[cc]), ("02 01 00 03 02 02 06", &[cc, cgo])] {
            let bytes = unhex(hex);
            assert_eq!(encoded(|out| Extensions::encode_list(list, out)), bytes);
            let parsed = Extensions::parse(&bytes).unwrap();
            assert_eq!(parsed.iter().collect::<Vec<_>>(), list);
            assert_eq!(encoded(|out| parsed.encode(out)), bytes);
            assert_each_prefix_is_truncated(&bytes, |bytes| Extensions::parse(bytes).map(drop));
        }
        let asked: Vec<_> = Subprotocols::CGO.iter().collect();
        assert_eq!(asked, [(Some(Protocol::Relay), 6)]);
    }

    #[test]
    fn what_a_relay_answers() {
        let bytes = unhex("01 02 01 1f");
        let data = Extensions::parse(&bytes).unwrap().get(CC_RESPONSE).unwrap();
        assert_eq!(CcResponse::parse(data), Ok(CcResponse { sendme_inc: 31 }));
        assert_eq!(CcResponse::parse(&[]), Err(Error::ExtensionWrongLength));
        assert_eq!(CcResponse::parse(&[31, 0, 7]), Ok(CcResponse { sendme_inc: 31 }));
        assert_each_prefix_is_truncated(&bytes, |bytes| Extensions::parse(bytes).map(drop));
        for sendme_inc in 0..=u8::MAX {
            assert_reads_back!(CcResponse, CcResponse { sendme_inc });
        }
    }

    #[test]
    fn a_list_is_well_formed_to_its_last_byte() {
        assert_eq!(Extensions::parse(&[0, 0]), Err(Error::TrailingBytes));
        let mut reader = Reader::new(&[1, 7, 1, 9, 8]);
        assert_eq!(Extensions::read(&mut reader).unwrap().get(7), Some(&[9][..]));
        assert_eq!(reader.rest(), [8]);
    }

    #[test]
    fn the_first_of_a_type_counts() {
        let bytes = unhex("03 07 01 01 07 01 02 05 00");
        let list = Extensions::parse(&bytes).unwrap();
        assert_eq!(list.get(7), Some(&[1][..]));
        assert_eq!(list.get(6), None);
    }

    #[test]
    fn types_ascend_when_written() {
        let list = [3, 1].map(|kind| Extension { kind, data: &[] });
        assert_eq!(Extensions::encode_list(&list, &mut Writer::new(&mut [0; 9])), Err(Error::Unencodable));
    }

    /// C tor 0.4.9.11, core/crypto/onion_crypto.c, refuses such a circuit.
    #[test]
    fn subprotocols_ascend_without_repeating() {
        assert_eq!(Subprotocols::parse(&[2, 6, 2, 5]), Err(Error::SubprotocolsUnsorted));
        assert_eq!(Subprotocols::parse(&[2, 6, 2, 6]), Err(Error::SubprotocolsUnsorted));
        assert_eq!(Subprotocols::parse(&[2, 6, 1, 7]), Err(Error::SubprotocolsUnsorted));
        assert_eq!(Subprotocols::parse(&[2, 6, 3]), Err(Error::ExtensionWrongLength));
        let list = Subprotocols::parse(&[2, 5, 2, 6, 77, 0]).unwrap();
        assert_eq!(list.iter().last(), Some((None, 0)));
        // Cut between two pairs, a shorter list; cut inside one, none.
        for n in 0..6 {
            let cut = Subprotocols::parse(&[2, 5, 2, 6, 77, 0][..n]).map(|list| list.iter().count());
            assert_eq!(cut, if n % 2 == 0 { Ok(n / 2) } else { Err(Error::ExtensionWrongLength) });
        }
        assert_reads_back!(Subprotocols, Subprotocols::CGO);
    }

    proptest! {
        #[test]
        fn lists_read_back(bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..256), 0..20)) {
            let list: Vec<_> = bodies.iter().zip(0..).map(|(data, kind)| Extension { kind, data }).collect();
            let bytes = encoded(|out| Extensions::encode_list(&list, out));
            prop_assert_eq!(Extensions::parse(&bytes).unwrap().iter().collect::<Vec<_>>(), list);
        }

        #[test]
        fn what_parses_is_written_and_parses_again(bytes in proptest::collection::vec(0_u8..4, 0..40)) {
            fuzz_extensions(&bytes);
        }
    }
}
