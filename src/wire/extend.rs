//! Growing a circuit by a hop: EXTEND2, EXTENDED2, TRUNCATED, and the link specifiers that
//! say to whom.
//!
//! The handshake inside is `crypto`'s; its extensions are in `extension`. TRUNCATE has no
//! body, and clients never send it. EXTEND and EXTENDED are dead and not here. Called by `circuit`, and by
//! `hs_msg` for rendezvous points. Spec: tor-spec, "Creating circuits", "EXTEND and
//! EXTENDED messages".

use super::Error;
use super::cell_msg::{Create2, Created2, DestroyReason, read_part};
use super::testing::assert_reparses;
use crate::base::codec::{Reader, Writer};
use crate::base::{Ed25519Id, RelayIds, RsaId};
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

/// One fact by which a relay can be reached or known. Addresses are not printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LinkSpecifier<'a> {
    /// An address to connect to.
    Ipv4(SocketAddrV4),
    /// An address to connect to.
    Ipv6(SocketAddrV6),
    /// Who must answer there.
    Rsa(RsaId),
    /// Who must answer there.
    Ed25519(Ed25519Id),
    /// Something of a type that nobody defined. It is kept, because a service must hand
    /// on a client's specifiers as they are.
    Unknown {
        /// Its type.
        kind: u8,
        /// Its body.
        data: &'a [u8],
    },
}

impl<'a> LinkSpecifier<'a> {
    /// Reads one and leaves `reader` after it.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let kind = reader.u8()?;
        let data = reader.u8_prefixed()?;
        let specifier = match kind {
            KIND_IPV4 => socket_v4(data),
            KIND_IPV6 => socket_v6(data),
            KIND_RSA => data.try_into().ok().map(|id| LinkSpecifier::Rsa(RsaId(id))),
            KIND_ED25519 => data.try_into().ok().map(|id| LinkSpecifier::Ed25519(Ed25519Id(id))),
            _ => Some(LinkSpecifier::Unknown { kind, data }),
        };
        specifier.ok_or(Error::LinkSpecifierWrongLength)
    }

    /// Writes it.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        match self {
            LinkSpecifier::Ipv4(at) => {
                out.bytes(&[KIND_IPV4, 6])?;
                out.bytes(&at.ip().octets())?;
                Ok(out.u16(at.port())?)
            }
            LinkSpecifier::Ipv6(at) => {
                out.bytes(&[KIND_IPV6, 18])?;
                out.bytes(&at.ip().octets())?;
                Ok(out.u16(at.port())?)
            }
            LinkSpecifier::Rsa(id) => {
                out.u8(KIND_RSA)?;
                Ok(out.u8_prefixed(&id.0)?)
            }
            LinkSpecifier::Ed25519(id) => {
                out.u8(KIND_ED25519)?;
                Ok(out.u8_prefixed(&id.0)?)
            }
            LinkSpecifier::Unknown { kind, .. } if *kind <= KIND_ED25519 => Err(Error::Unencodable),
            LinkSpecifier::Unknown { kind, data } => {
                out.u8(*kind)?;
                Ok(out.u8_prefixed(data)?)
            }
        }
    }
}

impl fmt::Debug for LinkSpecifier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkSpecifier::Ipv4(_) => f.write_str("Ipv4([scrubbed])"),
            LinkSpecifier::Ipv6(_) => f.write_str("Ipv6([scrubbed])"),
            LinkSpecifier::Rsa(id) => write!(f, "Rsa({id})"),
            LinkSpecifier::Ed25519(id) => write!(f, "Ed25519({id})"),
            LinkSpecifier::Unknown { kind, .. } => write!(f, "Unknown({kind})"),
        }
    }
}

/// A well-formed list of link specifiers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LinkSpecifiers<'a> {
    count: u8,
    /// Exactly `count` specifiers with their types and lengths.
    list: &'a [u8],
}

impl<'a> LinkSpecifiers<'a> {
    /// Reads a list that is all of `bytes`, as the onion-service descriptor has it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let specifiers = LinkSpecifiers::read(&mut reader)?;
        reader.finish()?;
        Ok(specifiers)
    }

    /// Reads a list and leaves `reader` after it.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let count = reader.u8()?;
        let all = *reader;
        for _ in 0..count {
            LinkSpecifier::read(reader)?;
        }
        Ok(LinkSpecifiers { count, list: read_part(all, *reader)? })
    }

    /// Writes the list as it came.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.u8(self.count)?;
        Ok(out.bytes(self.list)?)
    }

    /// Writes a list of `specifiers` in their order; for a relay see [`Target::encode`].
    pub fn encode_list(specifiers: &[LinkSpecifier<'_>], out: &mut Writer<'_>) -> Result<(), Error> {
        out.u8_count(specifiers.len())?;
        specifiers.iter().try_for_each(|specifier| specifier.encode(out))
    }

    /// The specifiers, as they came.
    pub fn iter(&self) -> impl Iterator<Item = LinkSpecifier<'a>> + use<'a> {
        let mut reader = Reader::new(self.list);
        core::iter::from_fn(move || LinkSpecifier::read(&mut reader).ok())
    }
}

impl fmt::Debug for LinkSpecifiers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A relay as link specifiers describe it. Addresses are not printed.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Target {
    /// Where it listens.
    pub ipv4: Option<SocketAddrV4>,
    /// Where it listens.
    pub ipv6: Option<SocketAddrV6>,
    /// Who it is.
    pub ids: RelayIds,
}

impl Target {
    /// Puts together what `specifiers` say. C tor: the first of several addresses counts,
    /// a second identity of one kind is an error, unknown types are passed over. Whether
    /// enough is there is for the caller.
    pub fn from_specifiers(specifiers: &LinkSpecifiers<'_>) -> Result<Target, Error> {
        let mut target = Target::default();
        for specifier in specifiers.iter() {
            let twice = match specifier {
                LinkSpecifier::Ipv4(at) => {
                    target.ipv4.get_or_insert(at);
                    false
                }
                LinkSpecifier::Ipv6(at) => {
                    target.ipv6.get_or_insert(at);
                    false
                }
                LinkSpecifier::Rsa(id) => target.ids.rsa.replace(id).is_some(),
                LinkSpecifier::Ed25519(id) => target.ids.ed25519.replace(id).is_some(),
                LinkSpecifier::Unknown { .. } => false,
            };
            if twice {
                return Err(Error::LinkSpecifierTwice);
            }
        }
        Ok(target)
    }

    /// Writes the target as a list, in the order that all clients keep: IPv4, RSA,
    /// Ed25519, IPv6.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        let specifiers = [
            self.ipv4.map(LinkSpecifier::Ipv4),
            self.ids.rsa.map(LinkSpecifier::Rsa),
            self.ids.ed25519.map(LinkSpecifier::Ed25519),
            self.ipv6.map(LinkSpecifier::Ipv6),
        ];
        out.u8_count(specifiers.iter().flatten().count())?;
        specifiers.iter().flatten().try_for_each(|specifier| specifier.encode(out))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("ids", &self.ids).finish_non_exhaustive()
    }
}

/// EXTEND2: make that relay the next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extend2<'a> {
    /// The relay.
    pub specifiers: LinkSpecifiers<'a>,
    /// What to send it.
    pub create: Create2<'a>,
}

impl<'a> Extend2<'a> {
    /// Reads the body.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let specifiers = LinkSpecifiers::read(&mut reader)?;
        Ok(Extend2 { specifiers, create: Create2::parse(reader.rest())? })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        self.specifiers.encode(out)?;
        self.create.encode(out)
    }

    /// Writes a body that extends to `target`.
    pub fn encode_to(target: &Target, create: &Create2<'_>, out: &mut Writer<'_>) -> Result<(), Error> {
        target.encode(out)?;
        create.encode(out)
    }
}

/// EXTENDED2: the next hop's answer, as it came in its CREATED2.
pub type Extended2<'a> = Created2<'a>;

/// TRUNCATED: the circuit now ends at the hop that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// Why.
    pub reason: DestroyReason,
}

impl Truncated {
    /// Reads the body. An empty one is an error (C tor's TROVE-2026-011).
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        Ok(Truncated { reason: DestroyReason(Reader::new(body).u8()?) })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        Ok(out.u8(self.reason.0)?)
    }
}

/// Parses `bytes` as every message of this file; what parses must be written and parse
/// again to the same.
pub fn fuzz_extend(bytes: &[u8]) {
    assert_reparses!(Extend2, bytes);
    assert_reparses!(Truncated, bytes);
    assert_reparses!(LinkSpecifiers, bytes);
    if let Ok(Ok(target)) = LinkSpecifiers::parse(bytes).map(|list| Target::from_specifiers(&list)) {
        let again = super::testing::encoded(|out| target.encode(out));
        let again = LinkSpecifiers::parse(&again).and_then(|list| Target::from_specifiers(&list));
        assert_eq!(again, Ok(target));
    }
}

fn socket_v4(data: &[u8]) -> Option<LinkSpecifier<'static>> {
    let &[a, b, c, d, high, low] = data else { return None };
    let port = u16::from_be_bytes([high, low]);
    Some(LinkSpecifier::Ipv4(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port)))
}

fn socket_v6(data: &[u8]) -> Option<LinkSpecifier<'static>> {
    let (ip, port) = data.split_first_chunk::<16>()?;
    let port = u16::from_be_bytes(port.try_into().ok()?);
    Some(LinkSpecifier::Ipv6(SocketAddrV6::new(Ipv6Addr::from(*ip), port, 0, 0)))
}

const KIND_IPV4: u8 = 0;
const KIND_IPV6: u8 = 1;
const KIND_RSA: u8 = 2;
const KIND_ED25519: u8 = 3;

#[cfg(test)]
mod tests {
    use super::super::cell_msg::HandshakeType;
    use super::super::testing::{assert_each_prefix_is_truncated, assert_vector, encoded, unhex};
    use super::*;
    use proptest::prelude::*;

    const ONIONSKIN: &str =
        "03479E93EBF3FF2C58C1C9DBF2DE9DE9C2801B3E36A3E0BDB1F1A10579820243DD2E228B902940EB49EF842646E3
        926768C28410074BEE50A535116D657C6BFB7E5114119DC69F05DF907EF62002EA782B0A357F";

    /// Arti 2.7, tor-cell tests/testvec_relaymsg.rs: recorded from C tor in a test network.
    #[test]
    fn extend2_vector() {
        let bytes = unhex(&format!(
            "02 00 06 7F0000011388 02 14 03479E93EBF3FF2C58C1C9DBF2DE9DE9C2801B3E 0002 0054 {ONIONSKIN}"
        ));
        let rsa = RsaId(unhex("03479E93EBF3FF2C58C1C9DBF2DE9DE9C2801B3E").try_into().unwrap());
        let message = Extend2::parse(&bytes).unwrap();
        let target = Target::from_specifiers(&message.specifiers).unwrap();
        assert_eq!(target.ipv4, Some("127.0.0.1:5000".parse().unwrap()));
        assert_eq!(target.ids, RelayIds { rsa: Some(rsa), ed25519: None });
        assert_eq!(message.create.handshake_type, HandshakeType::NTOR);
        assert_eq!(message.create.data, unhex(ONIONSKIN));
        assert_eq!(encoded(|out| message.encode(out)), bytes);
        assert_eq!(encoded(|out| Extend2::encode_to(&target, &message.create, out)), bytes);
        assert_each_prefix_is_truncated(&bytes, |bytes| Extend2::parse(bytes).map(drop));
    }

    /// C tor 0.4.9.11, test_cell_formats.c, `test_cfmt_extend_cells`, the "fanciful" cell.
    #[test]
    fn unknown_specifiers_are_kept_and_passed_over() {
        let mut bytes = b"\x04\x00\x06\x12\xf4\x00\x01\xf0\xf1\x02\x14anthropomorphization".to_vec();
        bytes.extend(unhex("01 12 20020000000000000000000000f0c51e 1112"));
        bytes.extend(b"\xf0\x20upupdowndownleftrightleftrightba\x01\x05\x00\x63");
        bytes.extend([9; 99]);
        let message = Extend2::parse(&bytes).unwrap();
        assert_eq!(message.create.handshake_type, HandshakeType(0x105));
        assert_eq!(message.create.data, [9; 99]);
        let konami = LinkSpecifier::Unknown { kind: 0xF0, data: b"upupdowndownleftrightleftrightba" };
        assert_eq!(message.specifiers.iter().last(), Some(konami));
        assert_eq!(encoded(|out| message.encode(out)), bytes);
        let target = Target::from_specifiers(&message.specifiers).unwrap();
        assert_eq!(target.ipv4, Some("18.244.0.1:61681".parse().unwrap()));
        assert_eq!(target.ipv6, Some("[2002::f0:c51e]:4370".parse().unwrap()));
        assert_eq!(target.ids.rsa, Some(RsaId(*b"anthropomorphization")));
        assert_eq!(encoded(|out| target.encode(out))[0], 3);
    }

    #[test]
    fn specifiers_of_a_target_keep_the_order_of_all_clients() {
        let target = Target {
            ipv4: Some("1.2.3.4:5".parse().unwrap()),
            ipv6: Some("[::1]:6".parse().unwrap()),
            ids: RelayIds { rsa: Some(RsaId([1; 20])), ed25519: Some(Ed25519Id([2; 32])) },
        };
        let bytes = encoded(|out| target.encode(out));
        let list = LinkSpecifiers::parse(&bytes).unwrap();
        let kinds: Vec<String> = list.iter().map(|specifier| format!("{specifier:?}")[..3].to_owned()).collect();
        assert_eq!(kinds, ["Ipv", "Rsa", "Ed2", "Ipv"]);
        assert!(matches!(list.iter().next(), Some(LinkSpecifier::Ipv4(_))));
        assert_eq!(Target::from_specifiers(&list), Ok(target));
        assert_each_prefix_is_truncated(&bytes, |bytes| LinkSpecifiers::parse(bytes).map(drop));
        assert_eq!(LinkSpecifiers::parse(&[&bytes[..], &[0]].concat()), Err(Error::TrailingBytes));
    }

    /// C tor 0.4.9.11, core/or/onion.c, `extend_cell_from_extend2_cell_body`.
    #[test]
    fn the_first_address_counts_and_an_identity_comes_once() {
        let [one, two] = ["1.2.3.4:5", "1.2.3.4:6"].map(|at| LinkSpecifier::Ipv4(at.parse().unwrap()));
        let bytes = encoded(|out| LinkSpecifiers::encode_list(&[one, two], out));
        let target = Target::from_specifiers(&LinkSpecifiers::parse(&bytes).unwrap()).unwrap();
        assert_eq!(target.ipv4.unwrap().port(), 5);
        for id in [LinkSpecifier::Rsa(RsaId([1; 20])), LinkSpecifier::Ed25519(Ed25519Id([2; 32]))] {
            let bytes = encoded(|out| LinkSpecifiers::encode_list(&[id, id], out));
            let list = LinkSpecifiers::parse(&bytes).unwrap();
            assert_eq!(Target::from_specifiers(&list), Err(Error::LinkSpecifierTwice));
        }
    }

    #[test]
    fn a_specifier_is_as_long_as_its_type_says() {
        for (kind, len) in [(0, 6), (1, 18), (2, 20), (3, 32)] {
            for wrong in [len - 1, len + 1] {
                let bytes = [&[1, kind, wrong][..], &vec![0; usize::from(wrong)]].concat();
                assert_eq!(LinkSpecifiers::parse(&bytes), Err(Error::LinkSpecifierWrongLength));
            }
        }
        let disguised = LinkSpecifier::Unknown { kind: 2, data: &[0; 20] };
        assert_eq!(disguised.encode(&mut Writer::new(&mut [0; 99])), Err(Error::Unencodable));
    }

    /// Arti 2.7, tor-cell tests/testvec_relaymsg.rs.
    #[test]
    fn extended2_and_truncated_vectors() {
        let hex = "0026619058EB2661834D54C2624828728F28915587CDAD1AD3373B85F33A480E
            EA9D3B2CEF8D39C1DBD2FA519E75296B96960690C79A28D6A0D9454F8E9634BD";
        assert_vector!(Extended2, &format!("0040 {hex}"), Created2 { data: &unhex(hex) });
        assert_vector!(Truncated, "08", Truncated { reason: DestroyReason::CHANNEL_CLOSED });
    }

    #[test]
    fn nothing_prints_an_address() {
        let target = Target { ipv4: Some("1.2.3.4:5678".parse().unwrap()), ..Target::default() };
        let bytes = encoded(|out| target.encode(out));
        let text = format!("{target:?} {:?}", LinkSpecifiers::parse(&bytes).unwrap());
        assert!(!text.contains("1.2.3.4") && !text.contains("5678"), "{text}");
    }

    proptest! {
        #[test]
        fn targets_read_back(
            ipv4 in any::<Option<(Ipv4Addr, u16)>>(),
            ipv6 in any::<Option<(Ipv6Addr, u16)>>(),
            rsa in any::<Option<[u8; 20]>>(),
            ed25519 in any::<Option<[u8; 32]>>(),
            kind in any::<u16>(),
            data in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let target = Target {
                ipv4: ipv4.map(|(ip, port)| SocketAddrV4::new(ip, port)),
                ipv6: ipv6.map(|(ip, port)| SocketAddrV6::new(ip, port, 0, 0)),
                ids: RelayIds { rsa: rsa.map(RsaId), ed25519: ed25519.map(Ed25519Id) },
            };
            let create = Create2 { handshake_type: HandshakeType(kind), data: &data };
            let bytes = encoded(|out| Extend2::encode_to(&target, &create, out));
            let message = Extend2::parse(&bytes).unwrap();
            prop_assert_eq!(Target::from_specifiers(&message.specifiers), Ok(target));
            prop_assert_eq!(message.create, create);
            prop_assert_eq!(encoded(|out| message.encode(out)), bytes);
        }

        #[test]
        fn what_parses_is_written_and_parses_again(bytes in proptest::collection::vec(0_u8..24, 0..80)) {
            fuzz_extend(&bytes);
        }
    }
}
