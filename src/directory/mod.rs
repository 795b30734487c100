//! Who is in the network: what the authorities signed, joined with what relays say of
//! themselves.
//!
//! [`NetDir`] is a consensus with its microdescriptors, packed into a table: under two hundred
//! bytes a relay. Its neighbours read and check the documents (`consensus`, `certs`,
//! `microdesc`, `diff`), say what to ask for and when (`download`), and what to keep
//! (`store`). Nothing here opens a connection or a file, or chooses a relay: paths are
//! `path`, circuits are `client`. Called by `path` and `client`.
//! Spec: dir-spec; path-spec, "Which nodes are usable".

pub mod authorities;
pub mod certs;
pub mod consensus;
mod countries;
pub mod decompress;
pub mod diff;
pub mod download;
mod family;
pub mod http;
pub mod microdesc;
pub mod params;
mod pool;
mod relay;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
pub mod weights;

use core::net::Ipv4Addr;
use std::collections::BTreeMap;

use crate::base::country::Country;
use crate::base::error::{Blame, Scope};
use crate::base::{Ed25519Id, RsaId};
use crate::crypto::kdf;
use crate::wire;
use crate::wire::netdoc;

use consensus::{Flag, Row, Verified};
use countries::Countries;
use family::{Moving, Strangers, intern, numbers, sorted, token};
use microdesc::{Microdesc, Policy};
use params::Param;
use pool::{NONE, Place, Pool};
use weights::{Position, PositionWeights};

pub use crate::crypto::x25519::PublicKey as NtorKey;
pub use crate::wire::protover::{Protocol, Protocols};
pub use relay::Relay;

/// Why a document, or an answer with one, was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A document is malformed as a document.
    Document(wire::Error),
    /// A document is longer than any real one.
    DocumentTooLong,
    /// A line that must be there is not.
    LineMissing,
    /// A line that must be there once is there twice.
    LineTwice,
    /// A line has not the form that its keyword asks for.
    LineMalformed,
    /// A line stands where it may not.
    LineOutOfPlace,
    /// A document is of a version that nobody defined.
    UnknownVersion,
    /// A consensus is of the flavour without microdescriptors.
    WrongFlavour,
    /// A key is none that an authority has.
    BadKey,
    /// A certificate is of another identity than it says.
    WrongFingerprint,
    /// A signature of a certificate does not fit.
    WrongSignature,
    /// The dates of a consensus do not follow each other.
    LifetimeBackwards,
    /// The relays of a consensus are not in order.
    RelaysUnsorted,
    /// A consensus has more relays than we can number.
    TooManyRelays,
    /// A consensus has more signatures than any real one.
    TooManySignatures,
    /// A consensus is not signed at all.
    SignatureMissing,
    /// Not more than half of the authorities signed.
    TooFewSignatures,
    /// A consensus is not newer than the one that it would replace.
    NotNewer,
    /// A diff has a command that `ed` would not take, or that needs no diff.
    DiffCommandMalformed,
    /// A diff's commands do not go from the last line to the first, or go beyond the end.
    DiffOutOfOrder,
    /// A diff is to another consensus than the one that it was applied to.
    DiffFromOther,
    /// A diff did not make the consensus that it said.
    DiffToOther,
    /// A directory's answer is no HTTP, or its head is longer than any real one.
    AnswerMalformed,
    /// A directory's answer ended before it should.
    AnswerCut,
    /// A directory's answer goes on behind its end.
    AnswerTooLong,
    /// A directory's answer is compressed in a way that we did not offer.
    EncodingRefused,
    /// What is compressed is malformed.
    CompressionMalformed,
    /// What is compressed becomes so much larger that it was made to harm.
    CompressionBomb,
    /// A directory has not what was asked for, or too much to do, or says it in a way we cannot read.
    AnswerRefused,
    /// A directory gave some of what was asked for.
    AnswerIncomplete,
    /// A consensus is too old to begin with, or our clock is wrong.
    ConsensusOutdated,
    /// The network requires of clients what is not spoken here.
    ProtocolsMissing,
    /// A `DirAuthority` line is malformed.
    AuthorityLineMalformed,
    /// A `FallbackDir` line is malformed.
    FallbackLineMalformed,
}

impl Error {
    /// Who is at fault.
    pub fn blame(self) -> Blame {
        match self {
            Error::Document(error) => error.blame(),
            Error::AuthorityLineMalformed | Error::FallbackLineMalformed => Blame::User,
            Error::ConsensusOutdated => Blame::Clock,
            Error::ProtocolsMissing => Blame::Local,
            _ => Blame::Peer,
        }
    }

    /// What falls: a document comes over one stream, and from a cache that did not write it.
    pub fn scope(self) -> Scope {
        match self {
            Error::AuthorityLineMalformed | Error::FallbackLineMalformed | Error::ProtocolsMissing => Scope::Client,
            _ => Scope::Stream,
        }
    }
}

impl From<wire::Error> for Error {
    fn from(error: wire::Error) -> Self {
        Error::Document(error)
    }
}

impl From<netdoc::Fault> for Error {
    fn from(fault: netdoc::Fault) -> Self {
        Error::Document(fault.error)
    }
}

/// Keeps what a line says that may stand once.
fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Error> {
    if slot.replace(value).is_some() { Err(Error::LineTwice) } else { Ok(()) }
}

/// A relay of one [`NetDir`]; in another the same number is another relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayIndex(u16);

impl RelayIndex {
    fn at(self) -> usize {
        usize::from(self.0)
    }
}

/// What a microdescriptor adds to a row of the consensus.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// All zero if it gives none.
    ed25519: [u8; 32],
    /// All zero if it gives none.
    ntor: [u8; 32],
    policy: Place,
    policy6: Place,
    family: Place,
    family_ids: Place,
    is_here: bool,
}

impl Known {
    const NOTHING: Known = Known {
        ed25519: [0; 32],
        ntor: [0; 32],
        policy: NONE,
        policy6: NONE,
        family: NONE,
        family_ids: NONE,
        is_here: false,
    };
}

/// A checked consensus joined with the microdescriptors that it names, as far as they are
/// here.
#[derive(Clone, Debug)]
pub struct NetDir {
    consensus: Verified,
    /// One for each row of the consensus.
    known: Vec<Known>,
    missing: usize,
    /// All relays, ascending by the digest of their microdescriptor.
    by_digest: Vec<RelayIndex>,
    /// Relays whose Ed25519 identity is known, ascending by it. Of two that have the same
    /// one, the first that was heard of.
    by_ed25519: Vec<RelayIndex>,
    policies: Pool<Policy>,
    /// Members of families by list, ascending: relays by their index, and from the number of
    /// relays on those that are in no consensus now, but may be in the next.
    families: Pool<Box<[u16]>>,
    /// Where the families are that lines with these digests came to. Authorities write the same
    /// line for all of a family, and reading one takes longer than hashing it.
    family_lines: BTreeMap<[u8; 32], Place>,
    strangers: Strangers,
    /// The families that relays proved to be of, each set ascending.
    family_ids: Pool<Box<[u32]>>,
    tokens: BTreeMap<Box<str>, u32>,
    countries: Countries,
}

impl NetDir {
    /// A consensus none of whose microdescriptors is here.
    pub fn new(consensus: Verified) -> NetDir {
        let count = u16::try_from(consensus.relay_count()).unwrap_or(u16::MAX);
        let mut by_digest: Vec<_> = (0..count).map(RelayIndex).collect();
        let rows = &consensus.rows.rows;
        by_digest.sort_unstable_by_key(|index| rows.get(index.at()).map(|row| row.microdesc));
        NetDir {
            known: vec![Known::NOTHING; usize::from(count)],
            missing: usize::from(count),
            by_digest,
            by_ed25519: Vec::with_capacity(usize::from(count)),
            policies: Pool::default(),
            families: Pool::default(),
            family_lines: BTreeMap::new(),
            strangers: Strangers::default(),
            family_ids: Pool::default(),
            tokens: BTreeMap::new(),
            countries: Countries::default(),
            consensus,
        }
    }

    /// Goes on to a consensus that must be newer, with all microdescriptors that it names
    /// and that are here.
    pub fn replace(&mut self, consensus: Verified) -> Result<(), Error> {
        if consensus.lifetime().valid_after <= self.consensus.lifetime().valid_after {
            return Err(Error::NotNewer);
        }
        let mut next = NetDir::new(consensus);
        let mut moving = Moving::new(self);
        for at in 0..next.known.len() {
            let digest = next.consensus.rows.rows.get(at).map(|row| row.microdesc);
            let Some(old) = digest.and_then(|digest| self.first_known(&digest)) else { continue };
            let known = moving.moved(old, &mut next);
            next.set(RelayIndex(u16::try_from(at).unwrap_or(u16::MAX)), known);
        }
        next.countries = self.countries.moved(self.addresses(), next.addresses());
        *self = next;
        Ok(())
    }

    /// The addresses of all relays.
    fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.consensus.rows.rows.iter().map(|row| *row.ipv4().ip())
    }

    /// Whether it was ever said where relays are.
    pub fn has_countries(&self) -> bool {
        self.countries.are_told()
    }

    /// The addresses of all relays, ascending, each once.
    pub fn places(&self) -> Vec<Ipv4Addr> {
        let mut addresses: Vec<_> = self.addresses().collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// Takes where relays are: addresses, ascending, and their countries. What was said before is
    /// forgotten.
    pub fn place(&mut self, found: &[(Ipv4Addr, Country)]) {
        self.countries = Countries::of(self.addresses(), found);
    }

    /// What is known from the microdescriptor with that digest, if it is here.
    fn first_known(&self, digest: &[u8; 32]) -> Option<Known> {
        let known = |index: RelayIndex| self.known.get(index.at()).copied().filter(|known| known.is_here);
        self.with_digest(digest).find_map(known)
    }

    /// The relays whose microdescriptor has that digest.
    fn with_digest(&self, digest: &[u8; 32]) -> impl Iterator<Item = RelayIndex> + use<'_> {
        let digest = *digest;
        let digest_of = |index: &RelayIndex| self.row(*index).map(|row| row.microdesc);
        let start = self.by_digest.partition_point(|index| digest_of(index) < Some(digest));
        let from = self.by_digest.get(start..).unwrap_or_default();
        from.iter().copied().take_while(move |index| digest_of(index) == Some(digest))
    }

    /// Takes a microdescriptor, if the consensus names it and it is not here yet.
    pub fn insert(&mut self, microdesc: &Microdesc<'_>) -> bool {
        let wanted: Vec<_> = self.with_digest(&microdesc.digest).filter(|index| !self.is_here(*index)).collect();
        if wanted.is_empty() {
            return false;
        }
        let (policy, policy6) = (microdesc.policy, microdesc.policy6);
        let own = wanted.first().map(|index| index.0);
        let known = Known {
            ed25519: microdesc.ed25519.unwrap_or_default(),
            ntor: microdesc.ntor.unwrap_or_default(),
            policy: self.policies.of_text(policy, || Policy::parse(policy)),
            policy6: self.policies.of_text(policy6, || Policy::parse(policy6)),
            family: self.family(microdesc.family, own),
            family_ids: self.family_ids(microdesc.family_ids),
            is_here: true,
        };
        wanted.into_iter().for_each(|index| self.set(index, known));
        if self.missing == 0 {
            // Nobody asks for them any more.
            self.family_lines = BTreeMap::new();
        }
        true
    }

    fn is_here(&self, index: RelayIndex) -> bool {
        self.known.get(index.at()).is_some_and(|known| known.is_here)
    }

    fn set(&mut self, index: RelayIndex, known: Known) {
        let Some(slot) = self.known.get_mut(index.at()) else { return };
        *slot = known;
        self.missing -= 1;
        if known.ed25519 != [0; 32]
            && let Err(at) = self.search_ed25519(&Ed25519Id(known.ed25519))
        {
            self.by_ed25519.insert(at, index);
        }
    }

    fn search_ed25519(&self, id: &Ed25519Id) -> Result<usize, usize> {
        let id_of = |index: &RelayIndex| self.known.get(index.at()).map(|known| known.ed25519);
        self.by_ed25519.binary_search_by_key(&Some(id.0), id_of)
    }

    /// Authorities add a relay to the list that it gave, so that the lists of a family are one.
    /// It is added here too, for those that did not.
    fn family(&mut self, line: &str, own: Option<u16>) -> Place {
        if line.is_empty() {
            return NONE;
        }
        let digest = kdf::sha256(&[line.as_bytes()]);
        if let Some(place) = self.family_lines.get(&digest).copied()
            && own.is_none_or(|own| self.families.get(place).is_some_and(|list| list.binary_search(&own).is_ok()))
        {
            return place;
        }
        let members = microdesc::family_members(line).map(RsaId);
        let listed = sorted(numbers(members, &self.consensus, &mut self.strangers));
        match own.filter(|own| listed.binary_search(own).is_err()) {
            // Who puts himself in says nothing for the others that have the same line.
            Some(own) => intern(&mut self.families, sorted(listed.iter().copied().chain([own]))),
            None => {
                let place = intern(&mut self.families, listed);
                self.family_lines.insert(digest, place);
                place
            }
        }
    }

    fn family_ids(&mut self, line: &str) -> Place {
        let NetDir { family_ids, tokens, .. } = self;
        family_ids.of_text(line, || {
            let words = line.split([' ', '\t']).filter(|word| !word.is_empty());
            Some(sorted(words.map(|word| token(tokens, word))))
        })
    }

    /// The consensus.
    pub fn consensus(&self) -> &Verified {
        &self.consensus
    }

    fn row(&self, index: RelayIndex) -> Option<&Row> {
        self.consensus.rows.rows.get(index.at())
    }

    /// The relay with that number.
    pub fn relay(&self, index: RelayIndex) -> Option<Relay<'_>> {
        let (row, known) = (self.row(index)?, self.known.get(index.at())?);
        Some(Relay { dir: self, index, row, known })
    }

    /// All relays, ascending by RSA identity.
    pub fn relays(&self) -> impl Iterator<Item = Relay<'_>> {
        self.relays_from(RelayIndex(0))
    }

    /// That relay and those after it, in the same order.
    pub fn relays_from(&self, first: RelayIndex) -> impl Iterator<Item = Relay<'_>> {
        let count = u16::try_from(self.known.len()).unwrap_or(u16::MAX);
        (first.0..count).filter_map(|index| self.relay(RelayIndex(index)))
    }

    /// The relay with that RSA identity.
    pub fn by_rsa_id(&self, id: &RsaId) -> Option<Relay<'_>> {
        let at = self.consensus.rows.find(id)?;
        self.relay(RelayIndex(u16::try_from(at).ok()?))
    }

    /// The relay with that Ed25519 identity, if its microdescriptor is here.
    pub fn by_ed25519_id(&self, id: &Ed25519Id) -> Option<Relay<'_>> {
        let at = self.search_ed25519(id).ok()?;
        self.relay(*self.by_ed25519.get(at)?)
    }

    /// The digests of the microdescriptors that are not here, those of relays with the most
    /// bandwidth first: with fewest of them most paths can be built. That order is the same for
    /// all who have this consensus, and tells a directory nothing of who asks.
    ///
    /// Differs: C tor asks in the order of digests.
    pub fn missing(&self) -> Vec<[u8; 32]> {
        let missing = self.by_digest.iter().filter(|index| !self.is_here(**index));
        let mut rows: Vec<_> = missing.filter_map(|index| self.row(*index)).collect();
        rows.dedup_by_key(|row| row.microdesc);
        rows.sort_by_key(|row| core::cmp::Reverse(row.bandwidth));
        rows.into_iter().map(|row| row.microdesc).collect()
    }

    /// How many relays lack their microdescriptor.
    pub fn missing_count(&self) -> usize {
        self.missing
    }

    /// Whether that is the microdescriptor of a relay which lacks its own.
    pub fn lacks(&self, digest: &[u8; 32]) -> bool {
        self.with_digest(digest).any(|index| !self.is_here(index))
    }

    /// Whether a microdescriptor with that digest is named by the consensus.
    pub fn names(&self, digest: &[u8; 32]) -> bool {
        self.with_digest(digest).next().is_some()
    }

    /// Whether two relays are of one family, and so may not be on one path: each lists the
    /// other, or both proved to be of the same.
    pub fn are_family(&self, a: RelayIndex, b: RelayIndex) -> bool {
        let params = self.consensus.params();
        let lists = params.is_on(Param::UseFamilyLists) && self.lists(a, b) && self.lists(b, a);
        lists || (params.is_on(Param::UseFamilyIds) && self.share_family_id(a, b))
    }

    fn lists(&self, a: RelayIndex, b: RelayIndex) -> bool {
        let list = self.known.get(a.at()).and_then(|known| self.families.get(known.family));
        list.is_some_and(|list| list.binary_search(&b.0).is_ok())
    }

    fn share_family_id(&self, a: RelayIndex, b: RelayIndex) -> bool {
        let place = |index: RelayIndex| self.known.get(index.at()).map_or(NONE, |known| known.family_ids);
        let (Some(ours), Some(theirs)) = (self.family_ids.get(place(a)), self.family_ids.get(place(b))) else {
            return false;
        };
        ours.iter().any(|id| theirs.binary_search(id).is_ok())
    }

    /// What share of the paths that bandwidth weights would have us build can be built.
    pub fn share(&self) -> Share {
        let count_exits = |relay: &Relay<'_>| relay.has_microdesc() && relay.is_exit_listed() && relay.may_exit();
        let has_exits = self.relays().any(|relay| count_exits(&relay));
        let guard = self.share_of(Position::Guard, |relay| relay.flags().has(Flag::Guard));
        let middle = self.share_of(Position::Middle, |_| true);
        // One that turns out to let nothing out is not counted on either side.
        let is_exit = |relay: &Relay<'_>| relay.is_exit_listed() && (!relay.has_microdesc() || relay.may_exit());
        let exit = self.share_of(Position::Exit, is_exit);
        // C tor: without any exit, paths to onion services are all there is to build.
        let exit = if !has_exits && exit <= 0.0 { middle } else { exit };
        Share { guard, middle, exit, has_exits }
    }

    /// How much relays count at a position.
    pub fn weights_at(&self, position: Position) -> PositionWeights {
        self.consensus.weights().at(position, self.consensus.params().unsigned(Param::BwWeightScale))
    }

    /// How much of the weight at a position is of relays whose microdescriptors are here.
    pub fn share_of(&self, position: Position, counts: impl Fn(&Relay<'_>) -> bool) -> f64 {
        let weights = self.weights_at(position);
        let (mut here, mut all, mut number_here, mut number) = (0_u128, 0_u128, 0_u32, 0_u32);
        for relay in self.relays().filter(|relay| counts(relay)) {
            let weight = u128::from(weights.of(relay.flags(), relay.bandwidth()));
            all += weight;
            number += 1;
            if relay.has_microdesc() {
                here += weight;
                number_here += 1;
            }
        }
        match (all, number) {
            (0, 0) => 0.0,
            (0, _) => f64::from(number_here) / f64::from(number),
            _ => here as f64 / all as f64,
        }
    }

    /// Bytes of the heap that this holds; what allocations cost beside is not counted.
    pub fn heap_bytes(&self) -> usize {
        let tokens: usize = self.tokens.keys().map(|token| token.len() + size_of::<(Box<str>, u32)>()).sum();
        self.consensus.rows.heap_bytes()
            + self.known.capacity() * size_of::<Known>()
            + (self.by_digest.capacity() + self.by_ed25519.capacity()) * size_of::<RelayIndex>()
            + self.policies.heap_bytes(Policy::heap_bytes)
            + self.families.heap_bytes(|list| size_of_val(&**list))
            + self.family_lines.len() * size_of::<([u8; 32], Place)>()
            + self.strangers.ids.capacity() * size_of::<RsaId>()
            + self.strangers.numbers.len() * size_of::<(RsaId, u16)>()
            + self.family_ids.heap_bytes(|set| size_of_val(&**set))
            + self.countries.heap_bytes()
            + tokens
    }

    /// How much of that is shared: exit policies and families.
    pub fn shared_bytes(&self) -> usize {
        self.heap_bytes()
            - self.consensus.rows.heap_bytes()
            - self.known.capacity() * size_of::<Known>()
            - (self.by_digest.capacity() + self.by_ed25519.capacity()) * size_of::<RelayIndex>()
    }
}

/// What share of the bandwidth at each place of a path is of relays whose microdescriptors
/// are here, between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Of guards.
    pub guard: f64,
    /// Of all.
    pub middle: f64,
    /// Of exits; of all, if there is no exit.
    pub exit: f64,
    /// Whether an exit is known at all.
    pub has_exits: bool,
}

impl Share {
    /// The share of paths.
    pub fn of_paths(&self) -> f64 {
        self.guard * self.middle * self.exit
    }

    /// Whether that is enough to build circuits by: as much as the user says, or else the
    /// consensus.
    pub fn is_enough(&self, params: &params::Params, wish: Option<f64>) -> bool {
        self.of_paths() >= Share::needed(params, wish)
    }

    /// The share of paths that is enough.
    pub fn needed(params: &params::Params, wish: Option<f64>) -> f64 {
        wish.unwrap_or_else(|| f64::from(params.get(Param::MinPathsForCircsPct)) / 100.0)
    }
}

#[cfg(test)]
mod tests;
