//! The link handshake, both sides: one struct for each awaited cell, each consumed by it.
//!
//! ```text
//! initiator: ExpectVersions -> ExpectCerts -> ExpectAuthChallenge -> ExpectNetinfo -> Established
//! responder: AwaitVersions  -> AwaitNetinfo -> Established
//! ```
//!
//! The initiator stays anonymous: it sends VERSIONS and NETINFO and proves nothing. Only
//! VPADDING may come between the cells named; `frame` passes over it. Not the certificates'
//! meaning (`identity`), not framing. Called by `link/mod.rs`. Spec: tor-spec, "Negotiating
//! and initializing channels".

use core::net::IpAddr;
use core::time::Duration;

use super::Error;
use super::identity::{Credentials, LeafDigest, Proven};
use crate::base::RelayIds;
use crate::base::codec::Writer;
use crate::base::redact::Sensitive;
use crate::base::time::Now;
use crate::wire;
use crate::wire::cell::{self, Command, Era};
use crate::wire::cell_msg::{AuthChallenge, CertType, Certs, Netinfo, Versions};

/// The link protocols we speak. Arti's list; C tor offers 3 as well, which no relay of
/// today needs.
const VERSIONS: [u16; 2] = [4, 5];
/// Addresses kept of those a relay says it has; ours. Real ones have one or two.
const MAX_OWN_ADDRESSES: usize = 8;
/// The one way in which today's relays accept an initiator's authentication.
const AUTH_ED25519_SHA256_RFC5705: u16 = 3;

/// A link whose handshake is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// The link protocol.
    pub version: u16,
    /// Who the relay is; `None` on the relay's side, where the initiator is nobody.
    pub relay: Option<Proven>,
    /// How far the relay's clock is from ours, if it said so. C tor believes it within 180 s
    /// of VERSIONS; a handshake is given up long before.
    pub skew: Option<ClockSkew>,
    /// Our address as the other side sees it.
    pub our_address: Option<Sensitive<IpAddr>>,
    /// The addresses that the other side says are its own.
    pub their_addresses: Vec<Sensitive<IpAddr>>,
    /// Whether the address we dialled is one of these: C tor calls such a link canonical.
    pub canonical: bool,
}

/// A difference between two clocks, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSkew {
    /// Our clock is behind by that much, or right.
    Behind(Duration),
    /// Our clock is ahead by that much.
    Ahead(Duration),
}

/// What a cell did to a handshake.
pub enum Progress {
    /// There is more to come.
    Going(Box<Handshake>),
    /// It is over.
    Done(Box<Established>),
}

/// A handshake under way, on either side.
pub enum Handshake {
    /// Initiator: nothing has come yet.
    ExpectVersions(ExpectVersions),
    /// Initiator: the version is agreed.
    ExpectCerts(ExpectCerts),
    /// Initiator: the relay is proved.
    ExpectAuthChallenge(ExpectAuthChallenge),
    /// Initiator: only the relay's view of the world is missing.
    ExpectNetinfo(ExpectNetinfo),
    /// Responder: nothing has come yet.
    AwaitVersions(AwaitVersions),
    /// Responder: all is said; only the initiator's NETINFO is missing.
    AwaitNetinfo(AwaitNetinfo),
}

impl Handshake {
    /// Begins as initiator, and writes our VERSIONS to `out`.
    pub fn initiate(wanted: RelayIds, tls_leaf: LeafDigest, address: IpAddr, out: &mut Vec<u8>) -> Handshake {
        send_versions(out);
        let dial = Dial { wanted, address };
        Handshake::ExpectVersions(ExpectVersions { dial, tls_leaf })
    }

    /// Begins as responder, which speaks second.
    pub fn respond(responder: Responder) -> Handshake {
        Handshake::AwaitVersions(AwaitVersions { responder })
    }

    /// How the next cell is laid out.
    pub fn era(&self) -> Era {
        match self {
            Handshake::ExpectVersions(_) | Handshake::AwaitVersions(_) => Era::Versions,
            _ => Era::Wide,
        }
    }

    /// Takes one cell, which has no circuit; writes what it calls for to `out`.
    pub fn handle_cell(self, command: Command, body: &[u8], now: Now, out: &mut Vec<u8>) -> Result<Progress, Error> {
        let next = match (self, command) {
            (Handshake::ExpectVersions(state), Command::VERSIONS) => Handshake::ExpectCerts(state.versions(body)?),
            (Handshake::ExpectCerts(state), Command::CERTS) => {
                Handshake::ExpectAuthChallenge(state.certs(body, now, out)?)
            }
            (Handshake::ExpectAuthChallenge(state), Command::AUTH_CHALLENGE) => {
                Handshake::ExpectNetinfo(state.auth_challenge(body)?)
            }
            (Handshake::ExpectNetinfo(state), Command::NETINFO) => {
                return Ok(Progress::Done(state.netinfo(body, now)?));
            }
            (Handshake::AwaitVersions(state), Command::VERSIONS) => {
                Handshake::AwaitNetinfo(state.versions(body, now, out)?)
            }
            // Some other relay wants to prove who it is. We need not know, so we do not look.
            (Handshake::AwaitNetinfo(state), Command::CERTS | Command::AUTHENTICATE) => Handshake::AwaitNetinfo(state),
            (Handshake::AwaitNetinfo(state), Command::NETINFO) => return Ok(Progress::Done(state.netinfo(body)?)),
            (_, command) => return Err(Error::OutOfTurn(command)),
        };
        Ok(Progress::Going(Box::new(next)))
    }
}

/// What an initiator knows from the start.
#[derive(Clone, Copy)]
struct Dial {
    wanted: RelayIds,
    address: IpAddr,
}

/// Initiator: our VERSIONS is sent.
pub struct ExpectVersions {
    dial: Dial,
    tls_leaf: LeafDigest,
}

impl ExpectVersions {
    fn versions(self, body: &[u8]) -> Result<ExpectCerts, Error> {
        let version = agree(body)?;
        Ok(ExpectCerts { dial: self.dial, tls_leaf: self.tls_leaf, version })
    }
}

/// Initiator: the link protocol is agreed.
pub struct ExpectCerts {
    dial: Dial,
    tls_leaf: LeafDigest,
    version: u16,
}

impl ExpectCerts {
    /// Our NETINFO goes out as soon as the relay is proved, as C tor's does, and not before.
    fn certs(self, body: &[u8], now: Now, out: &mut Vec<u8>) -> Result<ExpectAuthChallenge, Error> {
        let certs = Certs::parse(body)?;
        let relay = Proven::check(&certs, self.tls_leaf, &self.dial.wanted, now.wall)?;
        let netinfo = Netinfo::of_client(self.dial.address);
        send_fixed(Command::NETINFO, out, |body| netinfo.encode(body))?;
        Ok(ExpectAuthChallenge { dial: self.dial, version: self.version, relay })
    }
}

/// Initiator: the relay is proved.
pub struct ExpectAuthChallenge {
    dial: Dial,
    version: u16,
    relay: Proven,
}

impl ExpectAuthChallenge {
    /// Clients have no identity to prove: the challenge must be there, and is ignored.
    fn auth_challenge(self, body: &[u8]) -> Result<ExpectNetinfo, Error> {
        AuthChallenge::parse(body)?;
        Ok(ExpectNetinfo { dial: self.dial, version: self.version, relay: self.relay })
    }
}

/// Initiator: only the relay's NETINFO is missing.
pub struct ExpectNetinfo {
    dial: Dial,
    version: u16,
    relay: Proven,
}

impl ExpectNetinfo {
    fn netinfo(self, body: &[u8], now: Now) -> Result<Box<Established>, Error> {
        let netinfo = Netinfo::parse(body)?;
        Ok(Box::new(Established {
            version: self.version,
            relay: Some(self.relay),
            skew: ClockSkew::between(now, netinfo.timestamp),
            our_address: netinfo.other,
            canonical: netinfo.own().take(MAX_OWN_ADDRESSES).any(|own| own == self.dial.address),
            their_addresses: own_addresses(&netinfo),
        }))
    }
}

impl ClockSkew {
    /// Of our clock against a NETINFO's; zero there means that it does not say.
    fn between(now: Now, timestamp: u32) -> Option<ClockSkew> {
        let (ours, theirs) = (now.wall.as_secs(), u64::from(timestamp));
        (theirs != 0).then(|| match theirs.checked_sub(ours) {
            Some(behind) => ClockSkew::Behind(Duration::from_secs(behind)),
            None => ClockSkew::Ahead(Duration::from_secs(ours - theirs)),
        })
    }

    /// The size of the difference.
    pub fn magnitude(self) -> Duration {
        let (ClockSkew::Behind(by) | ClockSkew::Ahead(by)) = self;
        by
    }
}

/// What a relay says in its half of the handshake. For the lab and the tests.
pub struct Responder {
    /// Proof of who it is.
    pub credentials: Credentials,
    /// What it would have a relay sign.
    pub challenge: [u8; 32],
    /// The initiator's address as it sees it.
    pub their_address: IpAddr,
    /// Its own addresses.
    pub own_addresses: Vec<IpAddr>,
}

/// Responder: nothing has come yet.
pub struct AwaitVersions {
    responder: Responder,
}

impl AwaitVersions {
    fn versions(self, body: &[u8], now: Now, out: &mut Vec<u8>) -> Result<AwaitNetinfo, Error> {
        let version = agree(body)?;
        let Responder { credentials, challenge, their_address, own_addresses } = self.responder;
        send_versions(out);
        let certificates: Vec<(CertType, &[u8])> =
            credentials.certificates().iter().map(|(kind, bytes)| (*kind, &bytes[..])).collect();
        send_variable(Command::CERTS, out, |body| Certs::encode_list(&certificates, body))?;
        send_variable(Command::AUTH_CHALLENGE, out, |body| {
            AuthChallenge::encode_list(&challenge, &[AUTH_ED25519_SHA256_RFC5705], body)
        })?;
        let timestamp = u32::try_from(now.wall.as_secs()).unwrap_or(0);
        send_fixed(Command::NETINFO, out, |body| {
            Netinfo::encode_relay(timestamp, their_address, &own_addresses, body)
        })?;
        Ok(AwaitNetinfo { version })
    }
}

/// Responder: all is said.
pub struct AwaitNetinfo {
    version: u16,
}

impl AwaitNetinfo {
    fn netinfo(self, body: &[u8]) -> Result<Box<Established>, Error> {
        let netinfo = Netinfo::parse(body)?;
        Ok(Box::new(Established {
            version: self.version,
            relay: None,
            skew: None,
            our_address: netinfo.other,
            their_addresses: own_addresses(&netinfo),
            canonical: false,
        }))
    }
}

fn own_addresses(netinfo: &Netinfo<'_>) -> Vec<Sensitive<IpAddr>> {
    netinfo.own().take(MAX_OWN_ADDRESSES).map(Sensitive::new).collect()
}

fn agree(body: &[u8]) -> Result<u16, Error> {
    Versions::parse(body)?.highest_common(&VERSIONS).ok_or(Error::NoCommonVersion)
}

fn send_versions(out: &mut Vec<u8>) {
    let mut cell = [0; cell::VERSIONS_HEADER_LEN + 2 * VERSIONS.len()];
    cell::encode_versions(&VERSIONS, &mut Writer::new(&mut cell)).expect("the array has the cell's length");
    out.extend_from_slice(&cell);
}

fn send_fixed(
    command: Command,
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Writer<'_>) -> Result<(), wire::Error>,
) -> Result<(), Error> {
    let mut bytes = [0; cell::FIXED_LEN];
    cell::encode_fixed(None, command, &mut bytes, fill)?;
    out.extend_from_slice(&bytes);
    Ok(())
}

fn send_variable(
    command: Command,
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Writer<'_>) -> Result<(), wire::Error>,
) -> Result<(), Error> {
    let mut bytes = vec![0; cell::MAX_LEN];
    let length = cell::encode_variable(None, command, &mut bytes, fill)?;
    out.extend_from_slice(&bytes[..length]);
    Ok(())
}
