//! The microdescriptor consensus: who is in the network now, as the authorities agreed.
//!
//! Parsed while it arrives, in pieces cut anywhere, into a packed table; its digests are
//! taken on the way, so that the text need not be held. What is parsed is [`Unchecked`], and
//! a [`Verified`] comes only out of [`Unchecked::check`]. Not how to reach a cache
//! (`download`), nor what microdescriptors add (`NetDir`). Called by whoever received or
//! loaded a consensus, and by `diff` by way of them. Spec: dir-spec, "Consensus document
//! format", "Signing documents".
//!
//! C tor: an entry that cannot be used, for want of a line or for a malformed one, is left
//! out, and does not spoil the document; entries that are not in order do.
//! Differs: C tor counts signatures over SHA-1 as well; no authority makes them.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use core::time::Duration;
use std::collections::BTreeMap;

use super::certs::{Certificates, KeyIds, date, object};
use super::params::Params;
use super::weights::Weights;
use super::{Error, once};
use crate::base::time::Wall;
use crate::base::{RsaId, text};
use crate::crypto::digest;
use crate::wire::netdoc::{Item, Position, Tokenizer};
use crate::wire::protover::Protocols;

/// The longest consensus; ours, and near Arti's bound. The real one has 2.8 megabytes.
pub const MAX_LEN: usize = 16 * 1024 * 1024;
/// The most relays, so that two bytes name one; ours. The real network has 8,000.
pub const MAX_RELAYS: usize = 0xFFFE;
/// The most signatures on one; ours. The real one has nine.
pub const MAX_SIGNATURES: usize = 64;
/// Different lists of protocols; ours. The real network has some thirty.
pub const MAX_PROTOCOL_LISTS: usize = 4096;
/// Bytes that are taken at once, so that a large piece is not held twice; ours.
const PIECE: usize = 64 * 1024;
/// How long before its time and after it a consensus may be used for want of a better.
/// C tor: `REASONABLY_LIVE_TIME`.
const TOLERANCE: Duration = Duration::from_secs(24 * 3600);
/// Kilobytes a second of a relay whose bandwidth nobody said. Chosen by C tor.
const UNSAID_BANDWIDTH: u32 = 30;

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

/// Reads a consensus while it arrives.
pub struct Parser {
    /// What was not taken yet, and where in the document it begins.
    waiting: Vec<u8>,
    at: Position,
    /// With how much waiting it is worth looking again: more than doubled each time, or a
    /// long item that trickles in would be looked at once for each of its bytes.
    look_at: usize,
    length: usize,
    digests: Running,
    draft: Draft,
    failed: Option<Error>,
}

impl Default for Parser {
    fn default() -> Self {
        Parser {
            waiting: Vec::new(),
            at: Position::START,
            look_at: 0,
            length: 0,
            digests: Running::default(),
            draft: Draft::default(),
            failed: None,
        }
    }
}

impl Parser {
    /// Takes the next bytes. After an error nothing more is taken, and every call gives it.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for piece in bytes.chunks(PIECE) {
            if let Some(error) = self.failed {
                return Err(error);
            }
            if let Err(error) = self.push_piece(piece) {
                self.failed = Some(error);
            }
        }
        self.failed.map_or(Ok(()), Err)
    }

    fn push_piece(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.length += piece.len();
        if self.length > MAX_LEN {
            return Err(Error::DocumentTooLong);
        }
        self.waiting.extend_from_slice(piece);
        if self.waiting.len() < self.look_at {
            return Ok(());
        }
        self.take_items(false)
    }

    /// All came.
    pub fn finish(mut self) -> Result<Unchecked, Error> {
        self.push(&[])?;
        self.take_items(true)?;
        let digests = self.digests.finish()?;
        self.draft.finish(digests)
    }

    fn take_items(&mut self, is_last: bool) -> Result<(), Error> {
        let start = self.at.offset;
        let make = if is_last { Tokenizer::last_piece } else { Tokenizer::piece };
        let mut tokenizer = make(&self.waiting, self.at);
        let mut hashed = 0;
        for item in &mut tokenizer {
            let item = item?;
            if item.keyword == SIGNATURE && self.digests.signed.is_none() {
                let from = item.at.offset - start;
                let end = from + SIGNATURE.len() + 1;
                // C tor looks for exactly these bytes, and so do the signers.
                let literal = self.waiting.get(from..end).is_some_and(|line| line == b"directory-signature ");
                if !literal {
                    return Err(Error::LineMalformed);
                }
                self.digests.update(self.waiting.get(hashed..end).unwrap_or_default());
                self.digests.end_signed_part();
                hashed = end;
            }
            self.draft.item(&item)?;
        }
        self.at = tokenizer.position();
        let taken = self.at.offset - start;
        self.digests.update(self.waiting.get(hashed..taken).unwrap_or_default());
        self.waiting.drain(..taken);
        self.look_at = 2 * self.waiting.len();
        Ok(())
    }
}

const SIGNATURE: &str = "directory-signature";

/// The digests, as far as they have come.
#[derive(Default)]
struct Running {
    sha256: digest::Sha256,
    sha3: digest::Sha3,
    /// Of the signed part, once it is over.
    signed: Option<([u8; 32], [u8; 32])>,
}

impl Running {
    fn update(&mut self, bytes: &[u8]) {
        self.sha3.update(bytes);
        if self.signed.is_none() {
            self.sha256.update(bytes);
        }
    }

    fn end_signed_part(&mut self) {
        self.signed = Some((self.sha256.clone().finish(), self.sha3.clone().finish()));
    }

    fn finish(self) -> Result<Digests, Error> {
        let (signed, signed_sha3) = self.signed.ok_or(Error::SignatureMissing)?;
        Ok(Digests { signed, signed_sha3, whole_sha3: self.sha3.finish() })
    }
}

/// The chapters of a consensus, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Chapter {
    #[default]
    Start,
    Head,
    Authorities,
    Relays,
    Footer,
    Signatures,
}

/// A consensus while its lines are read.
#[derive(Default)]
struct Draft {
    chapter: Chapter,
    is_consensus: Option<()>,
    method: Option<u32>,
    valid_after: Option<Wall>,
    fresh_until: Option<Wall>,
    valid_until: Option<Wall>,
    known_flags: Option<Flags>,
    required: Option<Protocols>,
    recommended: Option<Protocols>,
    params: Option<Params>,
    weights: Option<Weights>,
    previous_random: Option<SharedRandom>,
    current_random: Option<SharedRandom>,
    relay: Option<Entry>,
    last: Option<RsaId>,
    rows: Rows,
    /// The lists of protocols so far, and their numbers.
    lists: BTreeMap<Box<str>, u16>,
    left_out: usize,
    signatures: Vec<Signature>,
}

impl Draft {
    fn item(&mut self, item: &Item<'_>) -> Result<(), Error> {
        match (item.keyword, self.chapter) {
            ("network-status-version", Chapter::Start) => {
                self.chapter = Chapter::Head;
                return version(item);
            }
            (_, Chapter::Start) | ("network-status-version", _) => return Err(Error::LineOutOfPlace),
            ("dir-source", _) => self.turn(Chapter::Authorities)?,
            ("r", _) => {
                self.turn(Chapter::Relays)?;
                return self.begin_relay(item);
            }
            ("directory-footer", _) => self.turn(Chapter::Footer)?,
            (SIGNATURE, _) => {
                self.turn(Chapter::Signatures)?;
                return self.signature(item);
            }
            _ => {}
        }
        match self.chapter {
            Chapter::Head => self.head(item),
            Chapter::Relays => {
                if let Some(relay) = &mut self.relay {
                    relay.item(item, &mut self.rows.protocols, &mut self.lists);
                }
                Ok(())
            }
            Chapter::Footer if item.keyword == "bandwidth-weights" => {
                once(&mut self.weights, Weights::parse(item.args()).ok_or(Error::LineMalformed)?)
            }
            _ => Ok(()),
        }
    }

    /// Goes on to a chapter, or stays; there is no way back.
    fn turn(&mut self, chapter: Chapter) -> Result<(), Error> {
        if chapter < self.chapter {
            return Err(Error::LineOutOfPlace);
        }
        self.end_relay()?;
        self.chapter = chapter;
        Ok(())
    }

    fn head(&mut self, item: &Item<'_>) -> Result<(), Error> {
        match item.keyword {
            "vote-status" if item.args().next() == Some("consensus") => once(&mut self.is_consensus, ()),
            "vote-status" => Err(Error::LineMalformed),
            "consensus-method" => once(&mut self.method, number(item.args().next())?),
            "valid-after" => once(&mut self.valid_after, date(item)?),
            "fresh-until" => once(&mut self.fresh_until, date(item)?),
            "valid-until" => once(&mut self.valid_until, date(item)?),
            "known-flags" => once(&mut self.known_flags, Flags::parse(item.args())),
            "params" => once(&mut self.params, Params::parse(item.args()).ok_or(Error::LineMalformed)?),
            // C tor: a list that does not parse is an empty one.
            "required-client-protocols" => once(&mut self.required, Protocols::parse(item.rest).unwrap_or_default()),
            "recommended-client-protocols" => {
                once(&mut self.recommended, Protocols::parse(item.rest).unwrap_or_default())
            }
            "shared-rand-previous-value" => once(&mut self.previous_random, shared_random(item)?),
            "shared-rand-current-value" => once(&mut self.current_random, shared_random(item)?),
            _ => Ok(()),
        }
    }

    fn begin_relay(&mut self, item: &Item<'_>) -> Result<(), Error> {
        let Some((entry, nickname)) = Entry::parse(item) else {
            self.left_out += 1;
            return Ok(());
        };
        let id = RsaId(entry.row.rsa);
        if self.last.is_some_and(|last| last >= id) {
            return Err(Error::RelaysUnsorted);
        }
        self.last = Some(id);
        let name = u32::try_from(self.rows.names.len()).map_err(|_| Error::DocumentTooLong)?;
        self.rows.names.push_str(nickname);
        self.relay = Some(Entry { row: Row { name, ..entry.row }, ..entry });
        Ok(())
    }

    fn end_relay(&mut self) -> Result<(), Error> {
        let Some(entry) = self.relay.take() else { return Ok(()) };
        let name = entry.row.name;
        match entry.finish() {
            Some(_) if self.rows.rows.len() >= MAX_RELAYS => Err(Error::TooManyRelays),
            Some(row) => {
                self.rows.rows.push(row);
                Ok(())
            }
            None => {
                self.rows.names.truncate(usize::try_from(name).unwrap_or(usize::MAX));
                self.left_out += 1;
                Ok(())
            }
        }
    }

    fn signature(&mut self, item: &Item<'_>) -> Result<(), Error> {
        let args: Vec<_> = item.args().take(3).collect();
        // Without a name the digest is SHA-1. A digest that we do not take just does not count.
        let [algorithm, identity, signing] = args[..] else { return Ok(()) };
        if algorithm != "sha256" {
            return Ok(());
        }
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(Error::TooManySignatures);
        }
        let id = |hex: &str| text::hex_array(hex).map(RsaId).ok_or(Error::LineMalformed);
        let ids = KeyIds { identity: id(identity)?, signing: id(signing)? };
        self.signatures.push(Signature { ids, bytes: object(item, &["SIGNATURE"])? });
        Ok(())
    }

    fn finish(mut self, digests: Digests) -> Result<Unchecked, Error> {
        let must = |date: Option<Wall>| date.ok_or(Error::LineMissing);
        self.is_consensus.ok_or(Error::LineMissing)?;
        let lifetime = Lifetime::new(must(self.valid_after)?, must(self.fresh_until)?, must(self.valid_until)?)?;
        self.rows.finish();
        let consensus = Consensus {
            lifetime,
            // C tor: a consensus that does not say was made by the first.
            method: self.method.unwrap_or(1),
            known_flags: self.known_flags.ok_or(Error::LineMissing)?,
            protocols: ClientProtocols {
                required: self.required.unwrap_or_default(),
                recommended: self.recommended.unwrap_or_default(),
            },
            params: self.params.unwrap_or_default(),
            weights: self.weights.unwrap_or_default(),
            previous_random: self.previous_random,
            current_random: self.current_random,
            digests,
            left_out: self.left_out,
            rows: self.rows,
        };
        Ok(Unchecked { consensus, signatures: self.signatures })
    }
}

/// Checks the first line: of the third version, and of the flavour with microdescriptors.
fn version(item: &Item<'_>) -> Result<(), Error> {
    let mut args = item.args();
    match (args.next(), args.next()) {
        (Some("3"), Some("microdesc")) => Ok(()),
        (Some("3"), _) => Err(Error::WrongFlavour),
        _ => Err(Error::UnknownVersion),
    }
}

fn number<T: core::str::FromStr>(text: Option<&str>) -> Result<T, Error> {
    let digits = text.filter(|text| text.bytes().all(|c| c.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or(Error::LineMalformed)
}

fn shared_random(item: &Item<'_>) -> Result<SharedRandom, Error> {
    let mut args = item.args();
    let reveals = number(args.next())?;
    let value = args.next().and_then(text::base64_array).ok_or(Error::LineMalformed)?;
    Ok(SharedRandom { reveals, value })
}

/// A relay's entry while its lines are read.
#[derive(Clone)]
struct Entry {
    row: Row,
    has_microdesc: bool,
    has_flags: bool,
    has_protocols: bool,
    has_bandwidth: bool,
    is_malformed: bool,
}

impl Entry {
    /// Reads an `r` line; the date on it means nothing.
    fn parse<'a>(item: &Item<'a>) -> Option<(Entry, &'a str)> {
        let mut args = item.args();
        let nickname = args.next().filter(|name| is_nickname(name))?;
        let rsa = text::base64_array(args.next()?)?;
        let (_date, _time) = (args.next()?, args.next()?);
        let ipv4: Ipv4Addr = args.next()?.parse().ok()?;
        let ipv4_port = number(args.next()).ok()?;
        // The directory port, which nobody uses.
        args.next()?;
        let row = Row {
            rsa,
            microdesc: [0; 32],
            ipv4: ipv4.octets(),
            ipv6: [0; 16],
            bandwidth: UNSAID_BANDWIDTH,
            name: 0,
            ipv4_port,
            ipv6_port: 0,
            flags: Flags::default(),
            protocols: 0,
        };
        let no = false;
        let entry =
            Entry { row, has_microdesc: no, has_flags: no, has_protocols: no, has_bandwidth: no, is_malformed: no };
        Some((entry, nickname))
    }

    fn item(&mut self, item: &Item<'_>, protocols: &mut Vec<Protocols>, lists: &mut BTreeMap<Box<str>, u16>) {
        let done = match item.keyword {
            "a" => {
                self.address(item.rest);
                Some(())
            }
            "m" => self.microdesc(item),
            "s" => self.flags(item),
            "w" => self.bandwidth(item),
            "pr" => self.protocols(item.rest, protocols, lists),
            _ => Some(()),
        };
        self.is_malformed |= done.is_none();
    }

    /// C tor: of all further addresses the first of IPv6 counts, and a bad one is passed over.
    fn address(&mut self, address: &str) {
        if let Ok(SocketAddr::V6(ipv6)) = address.parse()
            && self.row.ipv6_port == 0
        {
            (self.row.ipv6, self.row.ipv6_port) = (ipv6.ip().octets(), ipv6.port());
        }
    }

    fn microdesc(&mut self, item: &Item<'_>) -> Option<()> {
        self.row.microdesc = item.args().next().and_then(text::base64_array)?;
        is_first(&mut self.has_microdesc)
    }

    fn flags(&mut self, item: &Item<'_>) -> Option<()> {
        // C tor: being in the consensus says as much as these two.
        self.row.flags = Flags::parse(item.args()).with(Flag::Running).with(Flag::Valid);
        is_first(&mut self.has_flags)
    }

    fn bandwidth(&mut self, item: &Item<'_>) -> Option<()> {
        for arg in item.args() {
            if let Some(value) = arg.strip_prefix("Bandwidth=") {
                self.row.bandwidth = number(Some(value)).ok()?;
            }
        }
        is_first(&mut self.has_bandwidth)
    }

    fn protocols(&mut self, list: &str, known: &mut Vec<Protocols>, lists: &mut BTreeMap<Box<str>, u16>) -> Option<()> {
        self.row.protocols = match lists.get(list) {
            Some(&number) => number,
            None => {
                let number = u16::try_from(known.len()).ok().filter(|_| known.len() < MAX_PROTOCOL_LISTS)?;
                known.push(Protocols::parse(list).ok()?);
                lists.insert(list.into(), number);
                number
            }
        };
        is_first(&mut self.has_protocols)
    }

    /// The row, if all was said that must be.
    fn finish(self) -> Option<Row> {
        let whole = self.has_microdesc && self.has_flags && self.has_protocols && !self.is_malformed;
        whole.then_some(self.row)
    }
}

/// Marks a line as seen; `None` if it was already.
fn is_first(seen: &mut bool) -> Option<()> {
    (!core::mem::replace(seen, true)).then_some(())
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
