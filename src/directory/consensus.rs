//! The microdescriptor consensus: who is in the network now, as the authorities agreed.
//!
//! Parsed while it arrives (`parse`) into a packed table; its digests are taken on the way, so
//! that the text need not be held. What is parsed is [`Unchecked`], and
//! a [`Verified`] comes only out of [`Unchecked::check`]. Not how to reach a cache
//! (`download`), nor what microdescriptors add (`NetDir`). Called by whoever received or
//! loaded a consensus, and by `diff` by way of them. Spec: dir-spec, "Consensus document
//! format", "Signing documents".
//!
//! C tor: an entry that cannot be used, for want of a line or for a malformed one, is left
//! out, and does not spoil the document; entries that are not in order do.
//! Differs: C tor counts signatures over SHA-1 as well; no authority makes them.

mod parse;

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use core::time::Duration;

use super::Error;
use super::certs::{Certificates, KeyIds};
use super::params::Params;
use super::weights::Weights;
use crate::base::RsaId;
use crate::base::time::Wall;
use crate::wire::protover::Protocols;

pub use parse::Parser;

/// The longest consensus; ours, and near Arti's bound. The real one has 2.8 megabytes.
pub const MAX_LEN: usize = 16 * 1024 * 1024;
/// The most relays, so that two bytes name one; ours. The real network has 8,000.
pub const MAX_RELAYS: usize = 0xFFFE;
/// The most signatures on one; ours. The real one has nine.
pub const MAX_SIGNATURES: usize = 64;
/// Different lists of protocols; ours. The real network has some thirty.
pub const MAX_PROTOCOL_LISTS: usize = 4096;
/// How long before its time and after it a consensus may be used for want of a better.
/// C tor: `REASONABLY_LIVE_TIME`.
const TOLERANCE: Duration = Duration::from_secs(24 * 3600);
/// What the authorities say of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Flag {
    /// It is an authority.
    Authority,
    /// It may not be the last hop.
    BadExit,
    /// Streams may leave from it.
    Exit,
    /// Fit for busy circuits.
    Fast,
    /// Fit for the first hop.
    Guard,
    /// Keeps onion-service descriptors.
    HsDir,
    /// Fit for the places between only.
    MiddleOnly,
    /// It was reached.
    Running,
    /// Fit for long-lived streams.
    Stable,
    /// Its descriptor is old.
    StaleDesc,
    /// One of too many at one address.
    Sybil,
    /// Serves directory documents.
    V2Dir,
    /// It is known to work.
    Valid,
}

impl Flag {
    const NAMES: [(&str, Flag); 13] = [
        ("Authority", Flag::Authority),
        ("BadExit", Flag::BadExit),
        ("Exit", Flag::Exit),
        ("Fast", Flag::Fast),
        ("Guard", Flag::Guard),
        ("HSDir", Flag::HsDir),
        ("MiddleOnly", Flag::MiddleOnly),
        ("Running", Flag::Running),
        ("Stable", Flag::Stable),
        ("StaleDesc", Flag::StaleDesc),
        ("Sybil", Flag::Sybil),
        ("V2Dir", Flag::V2Dir),
        ("Valid", Flag::Valid),
    ];
}

/// Some flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// These.
    pub fn of(flags: &[Flag]) -> Flags {
        flags.iter().fold(Flags::default(), |all, &flag| all.with(flag))
    }

    /// These, and one more.
    #[must_use]
    pub fn with(self, flag: Flag) -> Flags {
        Flags(self.0 | 1 << flag as u8)
    }

    /// Whether `flag` is among them.
    pub fn has(self, flag: Flag) -> bool {
        self.0 & 1 << flag as u8 != 0
    }

    /// Whether streams may leave from it.
    pub fn may_exit(self) -> bool {
        self.has(Flag::Exit) && !self.has(Flag::BadExit)
    }

    /// As controllers are told them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Flag::NAMES.into_iter().filter(move |&(_, flag)| self.has(flag)).map(|(name, _)| name)
    }

    /// Those that are known.
    fn parse<'a>(names: impl Iterator<Item = &'a str>) -> Flags {
        names.fold(Flags::default(), |all, name| {
            let known = Flag::NAMES.iter().find(|(known, _)| *known == name);
            known.map_or(all, |&(_, flag)| all.with(flag))
        })
    }
}

/// When a consensus is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// From when.
    pub valid_after: Wall,
    /// Until then there is none newer.
    pub fresh_until: Wall,
    /// Until when, at the latest.
    pub valid_until: Wall,
}

impl Lifetime {
    /// The three, if they follow each other.
    pub fn new(valid_after: Wall, fresh_until: Wall, valid_until: Wall) -> Result<Lifetime, Error> {
        let in_order = valid_after < fresh_until && fresh_until < valid_until;
        in_order.then_some(Lifetime { valid_after, fresh_until, valid_until }).ok_or(Error::LifetimeBackwards)
    }

    /// Whether it is its time.
    pub fn is_live(&self, now: Wall) -> bool {
        self.valid_after <= now && now <= self.valid_until
    }

    /// Whether it is its time within a day, as is enough to build circuits.
    pub fn is_reasonably_live(&self, now: Wall) -> bool {
        self.valid_after <= now + TOLERANCE && now <= self.valid_until + TOLERANCE
    }

    /// How long one is the newest.
    pub fn interval(&self) -> Duration {
        self.fresh_until.since(self.valid_after)
    }
}

/// What names a consensus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// SHA-256 of the part that is signed: what is signed.
    pub signed: [u8; 32],
    /// SHA3-256 of the part that is signed: what a diff begins with.
    pub signed_sha3: [u8; 32],
    /// SHA3-256 of all of it: what a diff ends with.
    pub whole_sha3: [u8; 32],
}

/// A value that the authorities drew together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedRandom {
    /// How many of them revealed their part.
    pub reveals: u8,
    /// The value.
    pub value: [u8; 32],
}

/// What clients are to speak.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientProtocols {
    /// Without these a client must stop.
    pub required: Protocols,
    /// Without these a client is old.
    pub recommended: Protocols,
}

/// One relay, as the consensus has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) rsa: [u8; 20],
    pub(super) microdesc: [u8; 32],
    ipv4: [u8; 4],
    ipv6: [u8; 16],
    pub(super) bandwidth: u32,
    /// Where in the names its own begins; it ends where the next begins.
    name: u32,
    ipv4_port: u16,
    /// 0 if it has no IPv6 address.
    ipv6_port: u16,
    pub(super) flags: Flags,
    protocols: u16,
}

impl Row {
    pub(super) fn ipv4(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from(self.ipv4), self.ipv4_port)
    }

    pub(super) fn ipv6(&self) -> Option<SocketAddrV6> {
        (self.ipv6_port != 0).then(|| SocketAddrV6::new(Ipv6Addr::from(self.ipv6), self.ipv6_port, 0, 0))
    }
}

/// The relays, ascending by RSA identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    names: String,
    protocols: Vec<Protocols>,
    /// For each front of an identity, how many rows are before the first with it; and how many
    /// there are.
    starts: Vec<u16>,
}

/// Bits of an identity's front: about two rows of the real network have one in common.
const FRONT_BITS: u32 = 12;

/// The front of an identity, which anybody may choose, but which one can only share.
fn front(id: &[u8; 20]) -> usize {
    let [first, second, ..] = *id;
    usize::from(u16::from_be_bytes([first, second]) >> (u16::BITS - FRONT_BITS))
}

impl Rows {
    pub(super) fn nickname(&self, index: usize) -> &str {
        let start = |at: usize| self.rows.get(at).and_then(|row| usize::try_from(row.name).ok());
        let (from, to) = (start(index).unwrap_or(0), start(index + 1).unwrap_or(self.names.len()));
        self.names.get(from..to).unwrap_or_default()
    }

    pub(super) fn protocols(&self, row: &Row) -> Protocols {
        self.protocols.get(usize::from(row.protocols)).copied().unwrap_or_default()
    }

    pub(super) fn find(&self, id: &RsaId) -> Option<usize> {
        let front = front(&id.0);
        let start = self.starts.get(front).copied().map(usize::from)?;
        let end = self.starts.get(front + 1).copied().map(usize::from)?;
        let found = self.rows.get(start..end)?.binary_search_by(|row| row.rsa.cmp(&id.0)).ok()?;
        Some(start + found)
    }

    /// Bytes of the heap that this holds.
    pub(super) fn heap_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
            + self.names.capacity()
            + self.protocols.capacity() * size_of::<Protocols>()
            + self.starts.capacity() * size_of::<u16>()
    }

    /// All rows are there.
    fn finish(&mut self) {
        let rows = &self.rows;
        let start = |at: usize| u16::try_from(rows.partition_point(|row| front(&row.rsa) < at)).unwrap_or(u16::MAX);
        self.starts = (0..=1 << FRONT_BITS).map(start).collect();
        self.rows.shrink_to_fit();
        self.names.shrink_to_fit();
        self.protocols.shrink_to_fit();
    }
}

/// What a consensus says, signatures aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consensus {
    lifetime: Lifetime,
    method: u32,
    known_flags: Flags,
    protocols: ClientProtocols,
    params: Params,
    weights: Weights,
    previous_random: Option<SharedRandom>,
    current_random: Option<SharedRandom>,
    digests: Digests,
    left_out: usize,
    pub(super) rows: Rows,
}

impl Consensus {
    /// When it is to be used.
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// By which rules it was made.
    pub fn method(&self) -> u32 {
        self.method
    }

    /// The flags that were voted on, of those we know.
    pub fn known_flags(&self) -> Flags {
        self.known_flags
    }

    /// What clients are to speak.
    pub fn client_protocols(&self) -> &ClientProtocols {
        &self.protocols
    }

    /// The parameters, with defaults for those that are not in it.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The bandwidth weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The random value before the current one.
    pub fn previous_random(&self) -> Option<SharedRandom> {
        self.previous_random
    }

    /// The current random value.
    pub fn current_random(&self) -> Option<SharedRandom> {
        self.current_random
    }

    /// What names it.
    pub fn digests(&self) -> &Digests {
        &self.digests
    }

    /// How many relays are in it that can be used.
    pub fn relay_count(&self) -> usize {
        self.rows.rows.len()
    }

    /// How many entries could not be used, and were left out.
    pub fn left_out(&self) -> usize {
        self.left_out
    }
}

/// A signature that nobody has checked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    ids: KeyIds,
    bytes: Vec<u8>,
}

/// A consensus that anybody may have made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unchecked {
    consensus: Consensus,
    signatures: Vec<Signature>,
}

/// A consensus that more than half of the authorities signed. Whether it is its time is
/// another question: [`Lifetime`].
#[derive(Clone, Debug)]
pub struct Verified(Consensus);

impl core::ops::Deref for Verified {
    type Target = Consensus;

    fn deref(&self) -> &Consensus {
        &self.0
    }
}

/// What came of a check.
#[derive(Debug)]
pub enum Verdict {
    /// Enough signatures are good.
    Good {
        /// The consensus.
        consensus: Verified,
        /// Certificates that would let us check still more of them.
        missing: Vec<KeyIds>,
    },
    /// With these certificates enough signatures may be good.
    CertificatesMissing {
        /// The consensus, to be checked again.
        consensus: Unchecked,
        /// Never empty.
        missing: Vec<KeyIds>,
    },
    /// Whatever certificates come, it is none.
    Refused(Error),
}

impl Unchecked {
    /// When it says it is to be used.
    pub fn lifetime(&self) -> Lifetime {
        self.consensus.lifetime
    }

    /// What names it.
    pub fn digests(&self) -> &Digests {
        &self.consensus.digests
    }

    /// Counts the `authorities` that signed it, each once. A certificate whose time is over
    /// counts as missing. This is work for a worker: it checks as many RSA signatures.
    pub fn check(self, certificates: &Certificates, authorities: &[RsaId], now: Wall) -> Verdict {
        let mut authorities = authorities.to_vec();
        authorities.sort_unstable();
        authorities.dedup();
        let mut good = 0;
        let mut missing = Vec::new();
        let mut waiting = 0;
        for authority in &authorities {
            let theirs = || self.signatures.iter().filter(|signature| signature.ids.identity == *authority);
            if theirs().any(|signature| self.is_good(signature, certificates, now)) {
                good += 1;
                continue;
            }
            let before = missing.len();
            missing.extend(theirs().map(|it| it.ids).filter(|&ids| certificates.find(ids, now).is_none()));
            waiting += usize::from(missing.len() > before);
        }
        missing.sort_unstable();
        missing.dedup();
        let is_enough = |count: usize| count > authorities.len() / 2;
        if is_enough(good) {
            Verdict::Good { consensus: Verified(self.consensus), missing }
        } else if is_enough(good + waiting) {
            Verdict::CertificatesMissing { consensus: self, missing }
        } else {
            Verdict::Refused(Error::TooFewSignatures)
        }
    }

    fn is_good(&self, signature: &Signature, certificates: &Certificates, now: Wall) -> bool {
        let certificate = certificates.find(signature.ids, now);
        certificate.is_some_and(|it| it.verify(&self.consensus.digests.signed, &signature.bytes))
    }
}

/// C tor: `is_legal_nickname`.
pub(super) fn is_nickname(name: &str) -> bool {
    (1..=19).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_alphanumeric())
}

/// Any bytes, whole and in pieces: both must give the same.
pub fn fuzz(bytes: &[u8]) {
    let read = |step: usize| {
        let mut parser = Parser::default();
        bytes.chunks(step.max(1)).try_for_each(|piece| parser.push(piece))?;
        parser.finish()
    };
    let whole = read(bytes.len());
    for step in [1, 7, 100] {
        let cut = read(step);
        // Of two faults, which shows first may depend on the cut.
        assert!(cut == whole || (cut.is_err() && whole.is_err()));
    }
}

#[cfg(test)]
pub(super) mod tests;
