//! The directory authorities of the lab: they vote nothing, and sign everything.
//!
//! Keys and certificates (`keys`), the relays they are told of (`member`) and make up
//! (`invent`), the microdescriptors (`microdesc`), the consensus of every voting round
//! (`consensus`, `weights`) and what changed since an older one (`diff`). All follows from
//! the seed, the members and the time; nothing is stored. Not what serves it (`lab/cache`).
//! Called by whoever builds a network. Spec: dir-spec.

mod consensus;
pub mod diff;
mod invent;
mod keys;
pub mod member;
mod microdesc;
mod misbehaviour;
mod weights;

use core::net::SocketAddrV4;
use core::time::Duration;
use std::collections::BTreeMap;

pub use consensus::Lifetime;
pub use invent::Invention;
pub use member::{Flag, Flags, Member};
pub use misbehaviour::Misbehaviour;

use self::consensus::{Entry, Material};
use self::keys::Keys;
use crate::base::time::Wall;
use crate::base::{RsaId, text};
use crate::crypto::{self, kdf};

/// The most relays of a network; ours, for a bound.
pub const MAX_LISTED: usize = 20_000;
/// The port on which C tor believes an authority to serve plain HTTP. Nobody is there.
pub const DIR_PORT: u16 = 1;
/// Certificates are good from so long before the network's start.
const CERTIFICATE_BEFORE: Duration = Duration::from_secs(30 * 86_400);
/// And so long after it.
const CERTIFICATE_AFTER: Duration = Duration::from_secs(365 * 86_400);

/// Why there can be no such network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// An authority is a relay too, and there are fewer relays than authorities.
    TooFewMembers,
    /// More relays than [`MAX_LISTED`].
    TooManyListed,
    /// A member lacks one of its identities.
    IdentityMissing,
    /// Two members have the same RSA identity.
    IdentityTwice,
    /// A key could not be made or used.
    Crypto(crypto::Error),
}

impl From<crypto::Error> for Error {
    fn from(error: crypto::Error) -> Self {
        Error::Crypto(error)
    }
}

/// What network there is to be.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Everything that is made up follows from it.
    pub seed: u64,
    /// How many authorities. The first members are they.
    pub authorities: usize,
    /// The number of the first one's keys. Those serve every seed, so two networks that must
    /// not take each other's consensus begin with different ones.
    pub first_key: usize,
    /// How many relays there are in all; if members are fewer, the others are made up. Of
    /// those, one or two in a hundred are away in any one round.
    pub listed: usize,
    /// How those are.
    pub invention: Invention,
    /// The time from a consensus to the next, at least 10 seconds (C tor's least in a testing
    /// network). Each is good for three of them.
    pub interval: Duration,
    /// About when the network begins: dates its certificates.
    pub start: Wall,
    /// Parameters in place of the usual ones, or besides them.
    pub params: Vec<(String, i32)>,
    /// What all clients must speak, in place of what the live network requires.
    pub required: Option<String>,
    /// What the authorities do wrong.
    pub misbehaviour: Option<Misbehaviour>,
}

impl Spec {
    /// Three authorities, an hour's interval, nobody made up.
    pub fn new(seed: u64, start: Wall) -> Spec {
        Spec {
            seed,
            authorities: 3,
            first_key: 0,
            listed: 0,
            invention: Invention::default(),
            interval: Duration::from_secs(3600),
            start,
            params: Vec::new(),
            required: None,
            misbehaviour: None,
        }
    }

    fn interval_secs(&self) -> u64 {
        self.interval.as_secs().max(LEAST_INTERVAL_SECS)
    }
}

/// C tor: `MIN_VOTE_INTERVAL_TESTING`.
const LEAST_INTERVAL_SECS: u64 = 10;

/// One authority.
struct Authority {
    nickname: String,
    address: SocketAddrV4,
    /// Which relay it is.
    relay: RsaId,
    keys: Keys,
    certificate: String,
}

/// An authority as those who must trust it are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// Its nickname.
    pub nickname: String,
    /// What its certificates are signed by: the "v3 identity".
    pub identity: RsaId,
    /// Its signing key, as `/tor/keys/fp-sk/` names it.
    pub signing: RsaId,
    /// Which relay it is.
    pub relay: RsaId,
    /// Where that relay listens.
    pub address: SocketAddrV4,
}

impl Trusted {
    /// The line by which C tor, or our client, trusts it.
    pub fn torrc_line(&self) -> String {
        format!(
            "DirAuthority {} orport={} v3ident={} {}:{DIR_PORT} {}",
            self.nickname,
            self.address.port(),
            text::hex(&self.identity.0),
            self.address.ip(),
            text::hex(&self.relay.0)
        )
    }
}

/// All authorities of a network, and what they know.
pub struct Authorities {
    spec: Spec,
    /// Sorted by identity.
    authorities: Vec<Authority>,
    /// Sorted by identity.
    entries: Vec<Entry>,
    microdescs: BTreeMap<[u8; 32], String>,
}

impl Authorities {
    /// Makes keys, certificates and microdescriptors. The first members become authorities
    /// and get the flag.
    pub fn new(spec: Spec, mut members: Vec<Member>) -> Result<Authorities, Error> {
        if members.len() < spec.authorities || spec.authorities == 0 {
            return Err(Error::TooFewMembers);
        }
        if spec.listed.max(members.len()) > MAX_LISTED {
            return Err(Error::TooManyListed);
        }
        let mut authorities = Vec::new();
        for (number, member) in members.iter_mut().take(spec.authorities).enumerate() {
            member.flags = member.flags.with(Flag::Authority);
            authorities.push(Authority::of(number, member, &spec)?);
        }
        authorities.sort_by_key(|authority| authority.keys.identity());
        let mut all = Authorities { authorities, entries: Vec::new(), microdescs: BTreeMap::new(), spec };
        let invented = all.spec.listed.saturating_sub(members.len());
        members.iter().try_for_each(|member| all.list(member, false))?;
        let invented = invent::relays(all.spec.seed, invented, all.spec.invention);
        invented.iter().try_for_each(|member| all.list(member, true))?;
        all.entries.sort_by_key(|entry| entry.rsa);
        let is_twice = all.entries.windows(2).any(|pair| matches!(pair, [a, b] if a.rsa == b.rsa));
        if is_twice { Err(Error::IdentityTwice) } else { Ok(all) }
    }

    fn list(&mut self, member: &Member, is_invented: bool) -> Result<(), Error> {
        let (Some(rsa), Some(_)) = (member.ids.rsa, member.ids.ed25519) else {
            return Err(Error::IdentityMissing);
        };
        let microdesc = microdesc::write(member, self.spec.misbehaviour);
        let digest = kdf::sha256(&[microdesc.as_bytes()]);
        self.entries.push(Entry::of(member, rsa, digest, is_invented));
        self.microdescs.insert(digest, microdesc);
        Ok(())
    }

    /// The voting round whose consensus is the newest at `now`.
    pub fn round(&self, now: Wall) -> u64 {
        now.as_secs() / self.spec.interval_secs()
    }

    /// What the consensus says of a parameter, if anything.
    pub fn param(&self, name: &str) -> Option<i32> {
        consensus::param(&self.spec, name)
    }

    /// When the consensus of a round is good.
    pub fn lifetime(&self, round: u64) -> Lifetime {
        Lifetime::of(&self.spec, round, self.spec.misbehaviour)
    }

    /// The microdescriptor consensus of a round: the same text whenever it is asked for.
    pub fn consensus(&self, round: u64) -> Result<String, Error> {
        let material = Material {
            spec: &self.spec,
            authorities: &self.authorities,
            entries: &self.entries,
            misbehaviour: self.spec.misbehaviour,
        };
        Ok(material.write(round)?)
    }

    /// The microdescriptor of that SHA-256.
    pub fn microdesc(&self, digest: &[u8; 32]) -> Option<&str> {
        self.microdescs.get(digest).map(String::as_str)
    }

    /// All microdescriptors, in the order of their digests.
    pub fn microdescs(&self) -> impl Iterator<Item = (&[u8; 32], &str)> {
        self.microdescs.iter().map(|(digest, text)| (digest, text.as_str()))
    }

    /// Whom to trust, and the certificate of each.
    pub fn certificates(&self) -> impl Iterator<Item = (Trusted, &str)> {
        self.authorities.iter().map(|authority| (authority.trusted(), authority.certificate.as_str()))
    }

    /// When the certificates begin to be good.
    pub fn certified_since(&self) -> Wall {
        self.spec.start - CERTIFICATE_BEFORE
    }
}

impl Authority {
    fn of(number: usize, member: &Member, spec: &Spec) -> Result<Authority, Error> {
        let keys = Keys::of(spec.first_key + number, spec.seed)?;
        let at = SocketAddrV4::new(*member.ipv4.ip(), DIR_PORT);
        let certificate = keys.certificate(at, spec.start - CERTIFICATE_BEFORE, spec.start + CERTIFICATE_AFTER)?;
        Ok(Authority {
            nickname: member.nickname.clone(),
            address: member.ipv4,
            relay: member.ids.rsa.ok_or(Error::IdentityMissing)?,
            keys,
            certificate,
        })
    }

    fn trusted(&self) -> Trusted {
        Trusted {
            nickname: self.nickname.clone(),
            identity: self.keys.identity(),
            signing: self.keys.signing(),
            relay: self.relay,
            address: self.address,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
