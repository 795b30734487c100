//! The bodies of link cells: the link's handshake, circuit creation and end, link padding.
//!
//! Relay cells are in `relay`; certificates inside CERTS are only found here, `crypto`
//! checks them. PADDING and VPADDING have no body worth reading: all zero when sent,
//! ignored when received. Called by `link` and, for CREATED2 and DESTROY, by `circuit`.
//! Spec: tor-spec, "Negotiating and initializing channels" and "Circuit management";
//! padding-spec, "Connection-level padding".

use super::Error;
use super::testing::assert_reparses;
use crate::base::codec::{Reader, Writer};
use crate::base::redact::Sensitive;
use core::fmt;
use core::net::IpAddr;

/// VERSIONS: the link protocols a side offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions<'a> {
    /// Of even length.
    list: &'a [u8],
}

impl<'a> Versions<'a> {
    /// Reads the whole body.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        if body.len().is_multiple_of(2) { Ok(Versions { list: body }) } else { Err(Error::VersionsOddLength) }
    }

    /// Writes the body; for a list of numbers see [`super::cell::encode_versions`].
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        Ok(out.bytes(self.list)?)
    }

    /// The versions offered, as they came.
    pub fn iter(&self) -> impl Iterator<Item = u16> + use<'a> {
        u16s(self.list)
    }

    /// The highest version that is also among `ours`.
    pub fn highest_common(&self, ours: &[u16]) -> Option<u16> {
        self.iter().filter(|version| ours.contains(version)).max()
    }
}

/// CERTS: what proves who the responder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certs<'a> {
    count: u8,
    /// Exactly `count` certificates with their types and lengths.
    list: &'a [u8],
}

/// What a certificate in CERTS certifies. Any byte is one; those with a name are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertType(pub u8);

impl CertType {
    /// X.509: RSA identity to TLS link. Obsolete, ignored.
    pub const TLS_LINK_X509: CertType = CertType(1);
    /// X.509: the RSA identity, signed by itself.
    pub const RSA_ID_X509: CertType = CertType(2);
    /// X.509: RSA identity to link authentication. Obsolete, ignored.
    pub const LINK_AUTH_X509: CertType = CertType(3);
    /// Ed25519: identity to signing key.
    pub const IDENTITY_V_SIGNING: CertType = CertType(4);
    /// Ed25519: signing key to the digest of the TLS certificate.
    pub const SIGNING_V_TLS_CERT: CertType = CertType(5);
    /// Ed25519: signing key to link authentication; only relays send it.
    pub const SIGNING_V_LINK_AUTH: CertType = CertType(6);
    /// RSA identity to Ed25519 identity.
    pub const RSA_ID_V_IDENTITY: CertType = CertType(7);
}

impl<'a> Certs<'a> {
    /// Reads the body; bytes after the last certificate are ignored. C tor refuses a second
    /// certificate of a type it knows, we of any.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let count = reader.u8()?;
        let all = reader;
        let mut seen = [false; 256];
        for _ in 0..count {
            let seen = seen.get_mut(usize::from(reader.u8()?)).ok_or(Error::CertificateTwice)?;
            if core::mem::replace(seen, true) {
                return Err(Error::CertificateTwice);
            }
            reader.u16_prefixed()?;
        }
        Ok(Certs { count, list: read_part(all, reader)? })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.u8(self.count)?;
        Ok(out.bytes(self.list)?)
    }

    /// Writes a body of `certs`.
    pub fn encode_list(certs: &[(CertType, &[u8])], out: &mut Writer<'_>) -> Result<(), Error> {
        out.u8_count(certs.len())?;
        for (kind, cert) in certs {
            out.u8(kind.0)?;
            out.u16_prefixed(cert)?;
        }
        Ok(())
    }

    /// The certificates, as they came.
    pub fn iter(&self) -> impl Iterator<Item = (CertType, &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.list);
        core::iter::from_fn(move || Some((CertType(reader.u8().ok()?), reader.u16_prefixed().ok()?)))
    }

    /// The certificate of that type.
    pub fn get(&self, wanted: CertType) -> Option<&'a [u8]> {
        self.iter().find_map(|(kind, cert)| (kind == wanted).then_some(cert))
    }
}

/// AUTH_CHALLENGE: what an initiator that is a relay would have to sign. Clients ignore it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthChallenge<'a> {
    /// Random bytes.
    pub challenge: [u8; 32],
    /// Of even length.
    methods: &'a [u8],
}

impl<'a> AuthChallenge<'a> {
    /// Reads the body; bytes after the methods are ignored.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let challenge = reader.array()?;
        let count = reader.u16()?;
        let methods = reader.take(usize::from(count) * 2)?;
        Ok(AuthChallenge { challenge, methods })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.bytes(&self.challenge)?;
        out.u16(u16::try_from(self.methods.len() / 2).map_err(|_| Error::Unencodable)?)?;
        Ok(out.bytes(self.methods)?)
    }

    /// The methods accepted: 1 is obsolete, 3 is Ed25519 with a TLS exporter.
    pub fn methods(&self) -> impl Iterator<Item = u16> + use<'a> {
        u16s(self.methods)
    }

    /// Writes a body that accepts `methods`.
    pub fn encode_list(challenge: &[u8; 32], methods: &[u16], out: &mut Writer<'_>) -> Result<(), Error> {
        out.bytes(challenge)?;
        out.u16(u16::try_from(methods.len()).map_err(|_| Error::Unencodable)?)?;
        methods.iter().try_for_each(|&method| Ok(out.u16(method)?))
    }
}

/// AUTHENTICATE: an initiator that claims to be a relay. We only recognise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authenticate<'a> {
    /// One of the challenge's methods.
    pub method: u16,
    /// What the method makes of the challenge.
    pub data: &'a [u8],
}

impl<'a> Authenticate<'a> {
    /// Reads the body; bytes after the data are ignored.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        Ok(Authenticate { method: reader.u16()?, data: reader.u16_prefixed()? })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.u16(self.method)?;
        Ok(out.u16_prefixed(self.data)?)
    }
}

/// NETINFO: each side's clock, and the addresses it sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Netinfo<'a> {
    /// Seconds since the epoch; a client says 0.
    pub timestamp: u32,
    /// The receiver's address as the sender sees it; hidden, for it may be ours. `None`
    /// if it is all zero or of an unknown type, and is then written as 0.0.0.0.
    pub other: Option<Sensitive<IpAddr>>,
    count: u8,
    /// Exactly `count` addresses with their types and lengths.
    own: &'a [u8],
}

impl<'a> Netinfo<'a> {
    /// What a client says: no time, no addresses of its own.
    pub fn of_client(other: IpAddr) -> Netinfo<'static> {
        let other = Some(other).filter(|ip| !ip.is_unspecified()).map(Sensitive::new);
        Netinfo { timestamp: 0, other, count: 0, own: &[] }
    }

    /// Reads the body; bytes after the last address are ignored.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let timestamp = reader.u32()?;
        let other = address(&mut reader)?.filter(|ip| !ip.is_unspecified()).map(Sensitive::new);
        let count = reader.u8()?;
        let all = reader;
        for _ in 0..count {
            address(&mut reader)?;
        }
        Ok(Netinfo { timestamp, other, count, own: read_part(all, reader)? })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        self.encode_front(out)?;
        out.u8(self.count)?;
        Ok(out.bytes(self.own)?)
    }

    /// Writes a body as a relay does, which names its `own` addresses.
    pub fn encode_relay(timestamp: u32, other: IpAddr, own: &[IpAddr], out: &mut Writer<'_>) -> Result<(), Error> {
        Netinfo { timestamp, ..Netinfo::of_client(other) }.encode_front(out)?;
        out.u8_count(own.len())?;
        own.iter().try_for_each(|&ip| encode_address(ip, out))
    }

    /// The sender's own addresses; those of unknown types are left out.
    pub fn own(&self) -> impl Iterator<Item = IpAddr> + use<'a> {
        let (mut reader, count) = (Reader::new(self.own), self.count);
        (0..count).filter_map(move |_| address(&mut reader).ok().flatten())
    }

    fn encode_front(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.u32(self.timestamp)?;
        encode_address(self.other.map_or(IpAddr::from([0; 4]), Sensitive::into_inner), out)
    }
}

/// Counts the sender's addresses and shows none.
impl fmt::Debug for Netinfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Netinfo { timestamp, other, count, .. } = self;
        f.debug_struct("Netinfo")
            .field("timestamp", timestamp)
            .field("other", other)
            .field("own", count)
            .finish_non_exhaustive()
    }
}

/// CREATE_FAST: the client's half of a key, on a link that already keeps secrets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CreateFast {
    /// The client's share.
    pub x: [u8; 20],
}

impl CreateFast {
    /// Reads the front of a cell body.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        Ok(CreateFast { x: Reader::new(body).array()? })
    }

    /// Writes the front of a cell body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        Ok(out.bytes(&self.x)?)
    }
}

impl fmt::Debug for CreateFast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateFast").finish_non_exhaustive()
    }
}

/// CREATED_FAST: the relay's half of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CreatedFast {
    /// The relay's share.
    pub y: [u8; 20],
    /// What proves that the relay derived the same key.
    pub key_hash: [u8; 20],
}

impl CreatedFast {
    /// Reads the front of a cell body.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        Ok(CreatedFast { y: reader.array()?, key_hash: reader.array()? })
    }

    /// Writes the front of a cell body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.bytes(&self.y)?;
        Ok(out.bytes(&self.key_hash)?)
    }
}

impl fmt::Debug for CreatedFast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedFast").finish_non_exhaustive()
    }
}

/// Which handshake makes a circuit's next hop. Any number is one; those with a name are
/// known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandshakeType(pub u16);

impl HandshakeType {
    /// Dead: relays close the circuit.
    pub const TAP: HandshakeType = HandshakeType(0);
    /// Curve25519 and no extensions.
    pub const NTOR: HandshakeType = HandshakeType(2);
    /// Curve25519 with encrypted extensions.
    pub const NTOR_V3: HandshakeType = HandshakeType(3);
}

/// CREATE2, and the end of EXTEND2: the client's message of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Create2<'a> {
    /// Which handshake.
    pub handshake_type: HandshakeType,
    /// The client's message.
    pub data: &'a [u8],
}

impl<'a> Create2<'a> {
    /// Reads the front of a body; a length beyond it is an error.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        Ok(Create2 { handshake_type: HandshakeType(reader.u16()?), data: reader.u16_prefixed()? })
    }

    /// Writes the front of a body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.u16(self.handshake_type.0)?;
        Ok(out.u16_prefixed(self.data)?)
    }
}

/// CREATED2 and EXTENDED2: the relay's message of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created2<'a> {
    /// The relay's message.
    pub data: &'a [u8],
}

impl<'a> Created2<'a> {
    /// Reads the front of a body; a length beyond it is an error.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        Ok(Created2 { data: Reader::new(body).u16_prefixed()? })
    }

    /// Writes the front of a body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        Ok(out.u16_prefixed(self.data)?)
    }
}

/// Why a circuit ended, in DESTROY and TRUNCATED. Any byte is one; those with a name are
/// known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestroyReason(pub u8);

#[allow(missing_docs, reason = "the spec's names, listed in its order")]
impl DestroyReason {
    pub const NONE: DestroyReason = DestroyReason(0);
    pub const PROTOCOL: DestroyReason = DestroyReason(1);
    pub const INTERNAL: DestroyReason = DestroyReason(2);
    pub const REQUESTED: DestroyReason = DestroyReason(3);
    pub const HIBERNATING: DestroyReason = DestroyReason(4);
    pub const RESOURCELIMIT: DestroyReason = DestroyReason(5);
    pub const CONNECTFAILED: DestroyReason = DestroyReason(6);
    pub const OR_IDENTITY: DestroyReason = DestroyReason(7);
    pub const CHANNEL_CLOSED: DestroyReason = DestroyReason(8);
    pub const FINISHED: DestroyReason = DestroyReason(9);
    pub const TIMEOUT: DestroyReason = DestroyReason(10);
    pub const DESTROYED: DestroyReason = DestroyReason(11);
    pub const NOSUCHSERVICE: DestroyReason = DestroyReason(12);
}

/// DESTROY: the circuit is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destroy {
    /// Why. A client always says [`DestroyReason::NONE`].
    pub reason: DestroyReason,
}

impl Destroy {
    /// Reads the front of a cell body.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        Ok(Destroy { reason: DestroyReason(Reader::new(body).u8()?) })
    }

    /// Writes the front of a cell body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        Ok(out.u8(self.reason.0)?)
    }
}

/// PADDING_NEGOTIATE: how the relay shall pad this link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaddingNegotiate {
    /// Not at all. Its times mean nothing and are written as zero.
    Stop,
    /// After a silence between these bounds.
    Start {
        /// The shortest silence.
        low_ms: u16,
        /// The longest silence.
        high_ms: u16,
    },
}

impl PaddingNegotiate {
    /// Reads the front of a cell body.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let (version, command) = (reader.u8()?, reader.u8()?);
        let (low_ms, high_ms) = (reader.u16()?, reader.u16()?);
        match (version, command) {
            (0, 1) => Ok(PaddingNegotiate::Stop),
            (0, 2) => Ok(PaddingNegotiate::Start { low_ms, high_ms }),
            _ => Err(Error::LinkPaddingUnknown),
        }
    }

    /// Writes the front of a cell body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        let (command, low_ms, high_ms) = match *self {
            PaddingNegotiate::Stop => (1, 0, 0),
            PaddingNegotiate::Start { low_ms, high_ms } => (2, low_ms, high_ms),
        };
        out.bytes(&[0, command])?;
        out.u16(low_ms)?;
        Ok(out.u16(high_ms)?)
    }
}

/// Parses `bytes` as cells of both eras and as every body; what parses must be written and
/// parse again to the same.
pub fn fuzz_cell(bytes: &[u8]) {
    use super::cell::{Era, peek};
    for era in [Era::Versions, Era::Wide] {
        if let Ok(Some(header)) = peek(era, bytes) {
            assert!(bytes.get(header.body()).is_some(), "the body of a cell that is there");
        }
    }
    assert_reparses!(Versions, bytes);
    assert_reparses!(Certs, bytes);
    assert_reparses!(AuthChallenge, bytes);
    assert_reparses!(Authenticate, bytes);
    assert_reparses!(Netinfo, bytes);
    assert_reparses!(CreateFast, bytes);
    assert_reparses!(CreatedFast, bytes);
    assert_reparses!(Create2, bytes);
    assert_reparses!(Created2, bytes);
    assert_reparses!(Destroy, bytes);
    assert_reparses!(PaddingNegotiate, bytes);
}

/// What lies between two readings of the same bytes.
pub(super) fn read_part<'a>(mut before: Reader<'a>, after: Reader<'a>) -> Result<&'a [u8], Error> {
    Ok(before.take(before.remaining() - after.remaining())?)
}

fn u16s(list: &[u8]) -> impl Iterator<Item = u16> + '_ {
    let mut reader = Reader::new(list);
    core::iter::from_fn(move || reader.u16().ok())
}

/// One address; `None` of an unknown type. C tor: a wrong length of a known type is an
/// error; Arti skips the address.
fn address(reader: &mut Reader<'_>) -> Result<Option<IpAddr>, Error> {
    let kind = reader.u8()?;
    let bytes = reader.u8_prefixed()?;
    match kind {
        ADDRESS_IPV4 => <[u8; 4]>::try_from(bytes).map(IpAddr::from).map(Some),
        ADDRESS_IPV6 => <[u8; 16]>::try_from(bytes).map(IpAddr::from).map(Some),
        _ => return Ok(None),
    }
    .map_err(|_| Error::AddressWrongLength)
}

fn encode_address(ip: IpAddr, out: &mut Writer<'_>) -> Result<(), Error> {
    match ip {
        IpAddr::V4(ip) => {
            out.u8(ADDRESS_IPV4)?;
            Ok(out.u8_prefixed(&ip.octets())?)
        }
        IpAddr::V6(ip) => {
            out.u8(ADDRESS_IPV6)?;
            Ok(out.u8_prefixed(&ip.octets())?)
        }
    }
}

const ADDRESS_IPV4: u8 = 4;
const ADDRESS_IPV6: u8 = 6;

#[cfg(test)]
mod tests;
