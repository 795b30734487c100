//! The messages of streams: opening, answering, ending, resolving, and flow control.
//!
//! Bodies only; `relay` says where they lie. DATA is its bytes, BEGIN_DIR and DROP are
//! nothing, so they have no type here. Called by `stream`, and by the far ends in the lab.
//! Names and addresses are wrapped so that they cannot be printed. Spec: tor-spec,
//! "Application connections and stream management", "Flow control"; proposal 324,
//! "Flow control".

use super::Error;
use super::testing::assert_reparses;
use crate::base::codec::{Reader, Writer};
use crate::base::redact::Sensitive;
use core::net::IpAddr;
use core::num::NonZeroU32;

/// What a client will take for an answer to BEGIN. Any bits may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BeginFlags(pub u32);

impl BeginFlags {
    /// An IPv6 address will do.
    pub const IPV6_OK: BeginFlags = BeginFlags(1);
    /// An IPv4 address will not do.
    pub const IPV4_NOT_OK: BeginFlags = BeginFlags(2);
    /// IPv6 is better, if there are both.
    pub const IPV6_PREFERRED: BeginFlags = BeginFlags(4);

    /// Whether all of `flags` are set.
    pub fn has(self, flags: BeginFlags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These and `flags`.
    #[must_use]
    pub fn with(self, flags: BeginFlags) -> BeginFlags {
        BeginFlags(self.0 | flags.0)
    }

    /// These but not those.
    #[must_use]
    pub fn without(self, flags: BeginFlags) -> BeginFlags {
        BeginFlags(self.0 & !flags.0)
    }
}

/// BEGIN: open a stream to a host and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin<'a> {
    /// A name or an address, ASCII, of an IPv6 address without its brackets; empty for an
    /// onion service. Whoever asks has made it lower case.
    pub host: Sensitive<&'a str>,
    /// The port, not 0.
    pub port: u16,
    /// What may be answered.
    pub flags: BeginFlags,
}

impl<'a> Begin<'a> {
    /// Reads the body. One to three bytes where the flags would be are no flags (C tor).
    ///
    /// The canonical form has no brackets around a name without colons, no zeros before
    /// the port, and no flags if none is set.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let (host, port) = split_host_port(ascii_until_nul(&mut reader)?)?;
        let flags = BeginFlags(reader.u32().unwrap_or(0));
        Ok(Begin { host: Sensitive::new(host), port, flags })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        let host = *self.host.uncover();
        let is_ipv6 = host.contains(':');
        let ambiguous = if is_ipv6 { host.contains(']') } else { host.starts_with('[') };
        if ambiguous || host.contains('\0') || !host.is_ascii() || self.port == 0 {
            return Err(Error::Unencodable);
        }
        let (open, close) = if is_ipv6 { ("[", "]:") } else { ("", ":") };
        for part in [open, host, close] {
            out.bytes(part.as_bytes())?;
        }
        encode_decimal(self.port, out)?;
        out.u8(0)?;
        if self.flags == BeginFlags::default() { Ok(()) } else { Ok(out.u32(self.flags.0)?) }
    }
}

/// The lifetime of an address of which nothing is said, and how that is written.
pub const TTL_UNKNOWN: u32 = u32::MAX;

/// CONNECTED: the stream is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// To which address, and for how many seconds that is the name's address. Nothing is
    /// said for a directory or an onion service. An IPv4 address is not 0.0.0.0, which in
    /// the message means that an IPv6 address follows.
    pub address: Option<(Sensitive<IpAddr>, u32)>,
}

impl Connected {
    /// Reads the body. A missing lifetime, which only IPv4 may lack, is
    /// [`TTL_UNKNOWN`] and is written as that.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        if body.is_empty() {
            return Ok(Connected { address: None });
        }
        let mut reader = Reader::new(body);
        let ipv4: [u8; 4] = reader.array()?;
        let (address, ttl) = if ipv4 != [0; 4] {
            (IpAddr::from(ipv4), reader.u32().unwrap_or(TTL_UNKNOWN))
        } else if reader.u8()? == CONNECTED_IPV6 {
            (IpAddr::from(reader.array::<16>()?), reader.u32()?)
        } else {
            return Err(Error::AddressTypeUnknown);
        };
        Ok(Connected { address: Some((Sensitive::new(address), ttl)) })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        let Some((address, ttl)) = self.address else { return Ok(()) };
        match *address.uncover() {
            IpAddr::V4(ip) if ip.is_unspecified() => return Err(Error::Unencodable),
            IpAddr::V4(ip) => out.bytes(&ip.octets())?,
            IpAddr::V6(ip) => {
                out.bytes(&[0, 0, 0, 0, CONNECTED_IPV6])?;
                out.bytes(&ip.octets())?;
            }
        }
        Ok(out.u32(ttl)?)
    }
}

/// Why a stream ended. Any byte is one; those with a name are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndReason(pub u8);

#[allow(missing_docs, reason = "the spec's names, listed in its order")]
impl EndReason {
    pub const MISC: EndReason = EndReason(1);
    pub const RESOLVEFAILED: EndReason = EndReason(2);
    pub const CONNECTREFUSED: EndReason = EndReason(3);
    pub const EXITPOLICY: EndReason = EndReason(4);
    pub const DESTROY: EndReason = EndReason(5);
    pub const DONE: EndReason = EndReason(6);
    pub const TIMEOUT: EndReason = EndReason(7);
    pub const NOROUTE: EndReason = EndReason(8);
    pub const HIBERNATING: EndReason = EndReason(9);
    pub const INTERNAL: EndReason = EndReason(10);
    pub const RESOURCELIMIT: EndReason = EndReason(11);
    pub const CONNRESET: EndReason = EndReason(12);
    pub const TORPROTOCOL: EndReason = EndReason(13);
    pub const NOTDIRECTORY: EndReason = EndReason(14);
}

/// END: the stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Why. A client always says [`EndReason::MISC`].
    pub reason: EndReason,
    /// With [`EndReason::EXITPOLICY`] only: the address that the exit found and will not
    /// connect to, and for how many seconds that is the name's address.
    pub address: Option<(Sensitive<IpAddr>, u32)>,
}

impl End {
    /// An end without an address.
    pub fn new(reason: EndReason) -> End {
        End { reason, address: None }
    }

    /// Reads the body. C tor: no reason at all closes the circuit (Arti takes it for
    /// MISC), and an address of any length but the four there can be is none. A missing
    /// lifetime is [`TTL_UNKNOWN`] and is written as that.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let reason = EndReason(reader.u8().map_err(|_| Error::EndWithoutReason)?);
        let address = match reader.remaining() {
            4 | 8 if reason == EndReason::EXITPOLICY => IpAddr::from(reader.array::<4>()?),
            16 | 20 if reason == EndReason::EXITPOLICY => IpAddr::from(reader.array::<16>()?),
            _ => return Ok(End::new(reason)),
        };
        Ok(End { reason, address: Some((Sensitive::new(address), reader.u32().unwrap_or(TTL_UNKNOWN))) })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.u8(self.reason.0)?;
        let Some((address, ttl)) = self.address else { return Ok(()) };
        if self.reason != EndReason::EXITPOLICY {
            return Err(Error::Unencodable);
        }
        encode_ip(*address.uncover(), out)?;
        Ok(out.u32(ttl)?)
    }
}

/// RESOLVE: look up a name, or for an address written as `in-addr.arpa` its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolve<'a> {
    /// What to look up, ASCII.
    pub name: Sensitive<&'a str>,
}

impl<'a> Resolve<'a> {
    /// Reads the body.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        Ok(Resolve { name: Sensitive::new(ascii_until_nul(&mut Reader::new(body))?) })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        let name = *self.name.uncover();
        if name.contains('\0') || !name.is_ascii() {
            return Err(Error::Unencodable);
        }
        out.bytes(name.as_bytes())?;
        Ok(out.u8(0)?)
    }
}

/// RESOLVED: what was found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// Whole answers, each as long as its type says.
    list: &'a [u8],
}

/// One thing that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// An address of the name.
    Address(Sensitive<IpAddr>),
    /// The name of the address, not empty.
    Hostname(Sensitive<&'a [u8]>),
    /// Nothing now; another try may help.
    TransientError,
    /// Nothing, and there will not be.
    PermanentError,
    /// Something of a type that nobody defined; it is not written.
    Unknown(u8),
}

impl<'a> Resolved<'a> {
    /// Reads the whole body.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        while !reader.is_empty() {
            answer(&mut reader)?;
        }
        Ok(Resolved { list: body })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        Ok(out.bytes(self.list)?)
    }

    /// The answers, and for how many seconds each holds.
    pub fn iter(&self) -> impl Iterator<Item = (Answer<'a>, u32)> + use<'a> {
        let mut reader = Reader::new(self.list);
        core::iter::from_fn(move || answer(&mut reader).ok())
    }

    /// Writes a body of `answers`, each with its lifetime.
    pub fn encode_list(answers: &[(Answer<'_>, u32)], out: &mut Writer<'_>) -> Result<(), Error> {
        for (answer, ttl) in answers {
            match answer {
                Answer::Address(ip) => {
                    let (kind, len) = if ip.uncover().is_ipv4() { (ANSWER_IPV4, 4) } else { (ANSWER_IPV6, 16) };
                    out.bytes(&[kind, len])?;
                    encode_ip(*ip.uncover(), out)?;
                }
                Answer::Hostname(name) if !name.uncover().is_empty() => {
                    out.u8(ANSWER_HOSTNAME)?;
                    out.u8_prefixed(name.uncover())?;
                }
                Answer::TransientError => out.bytes(&[ANSWER_TRANSIENT, 0])?,
                Answer::PermanentError => out.bytes(&[ANSWER_PERMANENT, 0])?,
                Answer::Hostname(_) | Answer::Unknown(_) => return Err(Error::Unencodable),
            }
            out.u32(*ttl)?;
        }
        Ok(())
    }
}

/// Shows the kinds of the answers.
impl core::fmt::Debug for Resolved<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// What a SENDME claims to prove that its sender saw the data: to be held, by
/// `crypto::SendmeTag::matches` and in constant time, against the tag that was sent.
/// Equality here is for tests. Not printed, so that no log holds a proof.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ClaimedTag {
    /// Of tor1 and of onion-service circuits: the front of a running digest.
    Tor1([u8; 20]),
    /// Of Counter Galois Onion: the tag of a cell.
    Cgo([u8; 16]),
}

impl ClaimedTag {
    /// Its bytes, to be compared in constant time.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            ClaimedTag::Tor1(tag) => tag,
            ClaimedTag::Cgo(tag) => tag,
        }
    }
}

impl core::fmt::Debug for ClaimedTag {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            ClaimedTag::Tor1(_) => "Tor1",
            ClaimedTag::Cgo(_) => "Cgo",
        })
    }
}

/// SENDME: more data may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sendme {
    /// Without proof: all there is for streams, too old for circuits. Written as nothing.
    V0,
    /// With proof.
    V1(ClaimedTag),
}

impl Sendme {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        match reader.u8() {
            Err(_) | Ok(0) => return Ok(Sendme::V0),
            Ok(1) => {}
            Ok(_) => return Err(Error::SendmeVersionUnknown),
        }
        let tag = reader.u16_prefixed()?;
        let tor1 = tag.try_into().map(ClaimedTag::Tor1);
        let tag = tor1.or_else(|_| tag.try_into().map(ClaimedTag::Cgo));
        tag.map(Sendme::V1).map_err(|_| Error::SendmeTagWrongLength)
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        let Sendme::V1(tag) = self else { return Ok(()) };
        out.u8(1)?;
        Ok(out.u16_prefixed(tag.as_bytes())?)
    }
}

/// XOFF: stop sending on this stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xoff;

impl Xoff {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        flow_version(&mut Reader::new(body)).map(|()| Xoff)
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        Ok(out.u8(0)?)
    }
}

/// XON: go on sending on this stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xon {
    /// At no more than so many kilobytes (of 1000 bytes) per second; `None` is as fast as
    /// it will go.
    pub kilobytes_per_second: Option<NonZeroU32>,
}

impl Xon {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        flow_version(&mut reader)?;
        Ok(Xon { kilobytes_per_second: NonZeroU32::new(reader.u32()?) })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.u8(0)?;
        Ok(out.u32(self.kilobytes_per_second.map_or(0, NonZeroU32::get))?)
    }
}

/// Parses `bytes` as the body of every message there is; what parses must be written and
/// parse again to the same.
pub fn fuzz_relay_message(bytes: &[u8]) {
    assert_reparses!(Begin, bytes);
    assert_reparses!(Connected, bytes);
    assert_reparses!(End, bytes);
    assert_reparses!(Resolve, bytes);
    assert_reparses!(Resolved, bytes);
    assert_reparses!(Sendme, bytes);
    assert_reparses!(Xoff, bytes);
    assert_reparses!(Xon, bytes);
    super::circuit_msg::fuzz_circuit_message(bytes);
    super::extension::fuzz_extensions(bytes);
    super::extend::fuzz_extend(bytes);
    super::hs_msg::fuzz_hs_message(bytes);
}

fn ascii_until_nul<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Error> {
    let name = reader.until(0).map_err(|_| Error::TargetMalformed)?;
    core::str::from_utf8(name).ok().filter(|name| name.is_ascii()).ok_or(Error::TargetMalformed)
}

/// Splits `name:port` and `[v6]:port`. An IPv6 address without brackets is malformed.
fn split_host_port(target: &str) -> Result<(&str, u16), Error> {
    let (host, port) = match target.strip_prefix('[') {
        Some(rest) => rest.split_once(']').and_then(|(host, rest)| Some((host, rest.strip_prefix(':')?))),
        None => target.split_once(':'),
    }
    .ok_or(Error::PortMissing)?;
    if port.is_empty() || !port.bytes().all(|c| c.is_ascii_digit()) {
        return Err(Error::PortMissing);
    }
    let port = port.parse().ok().filter(|&port| port != 0).ok_or(Error::PortMissing)?;
    // What the brackets held is written with them only if it has a colon.
    if host.starts_with('[') && !host.contains(':') {
        return Err(Error::TargetMalformed);
    }
    Ok((host, port))
}

/// Without the allocation that formatting would take.
fn encode_decimal(number: u16, out: &mut Writer<'_>) -> Result<(), Error> {
    let mut begun = false;
    for unit in [10_000, 1000, 100, 10, 1] {
        let digit = u8::try_from(number / unit % 10).map_err(|_| Error::Unencodable)?;
        begun |= digit != 0 || unit == 1;
        if begun {
            out.u8(b'0' + digit)?;
        }
    }
    Ok(())
}

fn encode_ip(ip: IpAddr, out: &mut Writer<'_>) -> Result<(), Error> {
    match ip {
        IpAddr::V4(ip) => Ok(out.bytes(&ip.octets())?),
        IpAddr::V6(ip) => Ok(out.bytes(&ip.octets())?),
    }
}

fn answer<'a>(reader: &mut Reader<'a>) -> Result<(Answer<'a>, u32), Error> {
    let kind = reader.u8()?;
    let value = reader.u8_prefixed()?;
    let ttl = reader.u32()?;
    let answer = match kind {
        ANSWER_HOSTNAME if !value.is_empty() => Some(Answer::Hostname(Sensitive::new(value))),
        ANSWER_HOSTNAME => None,
        ANSWER_IPV4 => <[u8; 4]>::try_from(value).ok().map(|ip| Answer::Address(Sensitive::new(ip.into()))),
        ANSWER_IPV6 => <[u8; 16]>::try_from(value).ok().map(|ip| Answer::Address(Sensitive::new(ip.into()))),
        ANSWER_TRANSIENT => Some(Answer::TransientError),
        ANSWER_PERMANENT => Some(Answer::PermanentError),
        _ => Some(Answer::Unknown(kind)),
    };
    Ok((answer.ok_or(Error::AnswerWrongLength)?, ttl))
}

fn flow_version(reader: &mut Reader<'_>) -> Result<(), Error> {
    if reader.u8()? == 0 { Ok(()) } else { Err(Error::FlowVersionUnknown) }
}

const CONNECTED_IPV6: u8 = 6;
const ANSWER_HOSTNAME: u8 = 0;
const ANSWER_IPV4: u8 = 4;
const ANSWER_IPV6: u8 = 6;
const ANSWER_TRANSIENT: u8 = 0xF0;
const ANSWER_PERMANENT: u8 = 0xF1;

#[cfg(test)]
mod tests;
