//! A directory cache: the bytes of a request in, the bytes of the whole answer out.
//!
//! Serves what `authority` makes: the microdescriptor consensus, whole or as a diff,
//! certificates and microdescriptors. Not the stream they travel on, no upload, no relay
//! descriptors, and no onion-service descriptors yet. One cache serves all relays of a
//! network, so that each document is made and compressed once. Called by `lab/relay` for
//! what arrives over BEGIN_DIR. Spec: dir-spec, "Client operation", "General-use HTTP URLs".
//! C tor: `feature/dircache/dircache.c`.

mod compress;
mod http;

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use self::compress::{Encoding, Use};
use self::http::{Head, Request};
use super::authority::{Authorities, diff};
use super::relay::{Answered, Directory};
use crate::base::text;
use crate::base::time::{Now, Wall};

pub use self::http::MAX_REQUEST_LEN;

/// Microdescriptors that one request may ask for; what C tor and Arti ask at most.
pub const MAX_MICRODESCS: usize = 500;
/// From how many of the consensuses before the newest there are diffs; ours.
const DIFF_ROUNDS: u64 = 4;
/// How long clients are told that a certificate, or a microdescriptor, stays true; C tor's.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(3600);
const MICRODESC_LIFETIME: Duration = Duration::from_secs(48 * 3600);

/// Under which path the consensus is.
pub const CONSENSUS: &str = "/tor/status-vote/current/consensus-microdesc";

/// A cache of one network's documents.
pub struct Cache {
    authorities: Authorities,
    shelf: Mutex<Option<Arc<Shelf>>>,
    is_busy: AtomicBool,
    /// The round that no other follows.
    last_round: Mutex<Option<u64>>,
}

/// The documents of one voting round.
struct Shelf {
    round: u64,
    consensus: Document,
    digest: [u8; 32],
    /// By what they begin from. Made when one is first asked for.
    diffs: OnceLock<BTreeMap<[u8; 32], Document>>,
}

/// A document, and each compressed form of it from when that is first asked for.
struct Document {
    text: String,
    compressed: Mutex<BTreeMap<Encoding, Arc<[u8]>>>,
}

/// An answer that is not a short one.
struct Found {
    body: Vec<u8>,
    head: Head,
}

/// A status and its reason.
type Refusal = (u16, &'static str);

const NOT_FOUND: Refusal = (404, "Not found");
const NOT_MODIFIED: Refusal = (304, "Not modified");
const BUSY: Refusal = (503, "Directory busy, try again later");
const BAD_REQUEST: Refusal = (400, "Bad request");
const NOT_SIGNED: Refusal = (404, "Consensus not signed by sufficient number of requested authorities");
const NO_DIFF: Refusal = (404, "No such diff available");

impl Cache {
    /// A cache of what these authorities make.
    pub fn new(authorities: Authorities) -> Cache {
        Cache { authorities, shelf: Mutex::new(None), is_busy: AtomicBool::new(false), last_round: Mutex::new(None) }
    }

    /// Whose documents these are.
    pub fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// From now on refuses every request for a while with 503, or no longer.
    pub fn set_busy(&self, is_busy: bool) {
        self.is_busy.store(is_busy, Ordering::Relaxed);
    }

    /// After that moment the authorities agree on nothing any more; or do again.
    pub fn end_votes(&self, after: Option<Wall>) {
        let round = after.map(|after| self.authorities.round(after));
        *self.last_round.lock().unwrap_or_else(PoisonError::into_inner) = round;
    }

    /// The whole answer to a request; `None` while the request is not all there. Of
    /// [`MAX_REQUEST_LEN`] bytes there is always an answer.
    pub fn answer(&self, request: &[u8], now: Wall) -> Option<Vec<u8>> {
        self.answer_to(None, request, now)
    }

    /// The same, for a client whose address it is to be told. C tor: tells it to nobody on
    /// the same machine or network.
    pub fn answer_to(&self, peer: Option<IpAddr>, request: &[u8], now: Wall) -> Option<Vec<u8>> {
        let found = match Request::parse(request)? {
            Ok(request) => self.find(&request, now),
            Err(_) => Err(BAD_REQUEST),
        };
        Some(match found {
            Ok(found) => {
                let mut answer = found.head.encode(peer, now);
                answer.extend_from_slice(&found.body);
                answer
            }
            Err((status, reason)) => http::short(status, reason, now),
        })
    }

    fn find(&self, request: &Request<'_>, now: Wall) -> Result<Found, Refusal> {
        if self.is_busy.load(Ordering::Relaxed) {
            return Err(BUSY);
        }
        if request.method != "GET" {
            return Err(NOT_FOUND);
        }
        if let Some(rest) = request.path.strip_prefix(CONSENSUS) {
            return self.consensus(rest, request, now);
        }
        if let Some(names) = request.path.strip_prefix("/tor/keys/") {
            return self.certificates(names, request);
        }
        match request.path.strip_prefix("/tor/micro/d/") {
            Some(digests) => self.microdescs(digests, request.encoding(Use::Passing)),
            None => Err(NOT_FOUND),
        }
    }

    /// The newest consensus: `/diff/FROM` for a diff and nothing else, then `/F1+F2…` for one
    /// that more than half of these authorities signed.
    ///
    /// Differs: a cache of C tor keeps a consensus that is too old or too new, or that too
    /// few have signed, to itself; those of our authorities that misbehave must reach clients.
    fn consensus(&self, rest: &str, request: &Request<'_>, now: Wall) -> Result<Found, Refusal> {
        let rest = rest.strip_prefix('/').map_or(if rest.is_empty() { Ok("") } else { Err(NOT_FOUND) }, Ok)?;
        let (only_from, wanted) = match rest.strip_prefix("diff/") {
            Some(rest) => {
                let (from, wanted) = rest.split_once('/').unwrap_or((rest, ""));
                (Some(from), wanted)
            }
            None => (None, rest),
        };
        let shelf = self.shelf(now).ok_or(NOT_FOUND)?;
        let named = only_from.or_else(|| request.header("X-Or-Diff-From-Consensus")).unwrap_or_default();
        let bases: Vec<[u8; 32]> = named.split([',', ' ']).filter_map(digest_of_hex).collect();
        if bases.contains(&shelf.digest) {
            return Err(NOT_MODIFIED);
        }
        let diff = bases.iter().find_map(|base| self.diffs(&shelf).get(base));
        if only_from.is_some() && diff.is_none() {
            return Err(NO_DIFF);
        }
        if !self.is_liked(wanted) {
            return Err(NOT_SIGNED);
        }
        let lifetime = self.authorities.lifetime(shelf.round);
        if request.if_modified_since().is_some_and(|since| lifetime.valid_after <= since) {
            return Err(NOT_MODIFIED);
        }
        let encoding = request.encoding(Use::Kept);
        let body = diff.unwrap_or(&shelf.consensus).encoded(encoding);
        let head = Head { encoding, length: None, lifetime: lifetime.fresh_until.since(now), varies: true };
        Ok(Found { body, head })
    }

    /// Whether more than half of the authorities named, by the beginnings of their
    /// fingerprints, are ours.
    fn is_liked(&self, wanted: &str) -> bool {
        let identities: Vec<_> = self.authorities.certificates().map(|(it, _)| text::hex(&it.identity.0)).collect();
        let names: Vec<_> = wanted.split('+').filter(|name| !name.is_empty()).collect();
        let is_ours = |name: &str| identities.iter().any(|identity| identity.starts_with(&name.to_ascii_uppercase()));
        names.is_empty() || names.iter().filter(|name| is_ours(name)).count() * 2 > names.len()
    }

    fn certificates(&self, names: &str, request: &Request<'_>) -> Result<Found, Refusal> {
        let names = match names.split_once('/') {
            None if names == "all" => None,
            Some(("fp", list)) => Some((Name::Identity, list)),
            Some(("sk", list)) => Some((Name::Signing, list)),
            Some(("fp-sk", list)) => Some((Name::Both, list)),
            _ => return Err(BAD_REQUEST),
        };
        let mut body = String::new();
        for (trusted, certificate) in self.authorities.certificates() {
            let (identity, signing) = (text::hex(&trusted.identity.0), text::hex(&trusted.signing.0));
            let is_wanted = names.is_none_or(|(name, list)| {
                let name = match name {
                    Name::Identity => identity,
                    Name::Signing => signing,
                    Name::Both => format!("{identity}-{signing}"),
                };
                list.split('+').any(|wanted| wanted.eq_ignore_ascii_case(&name))
            });
            if is_wanted {
                body.push_str(certificate);
            }
        }
        if body.is_empty() {
            return Err(NOT_FOUND);
        }
        if request.if_modified_since().is_some_and(|since| self.authorities.certified_since() < since) {
            return Err(NOT_MODIFIED);
        }
        let encoding = request.encoding(Use::Passing);
        let length = (encoding == Encoding::Identity).then_some(body.len());
        let head = Head { encoding, length, lifetime: CERTIFICATE_LIFETIME, varies: false };
        Ok(Found { body: encoding.encode(body.as_bytes(), Use::Passing), head })
    }

    /// Those there are, in the order of their digests.
    fn microdescs(&self, digests: &str, encoding: Encoding) -> Result<Found, Refusal> {
        let digests = digests.split('-').take(MAX_MICRODESCS);
        let digests: BTreeSet<[u8; 32]> =
            digests.filter_map(|digest| text::from_base64(digest).ok()?.try_into().ok()).collect();
        let body: String = digests.iter().filter_map(|digest| self.authorities.microdesc(digest)).collect();
        if body.is_empty() {
            return Err(NOT_FOUND);
        }
        let head = Head { encoding, length: None, lifetime: MICRODESC_LIFETIME, varies: false };
        Ok(Found { body: encoding.encode(body.as_bytes(), Use::Passing), head })
    }

    /// The documents of the round that `now` is in. Whoever needs them while they are made
    /// waits.
    fn shelf(&self, now: Wall) -> Option<Arc<Shelf>> {
        let last = *self.last_round.lock().unwrap_or_else(PoisonError::into_inner);
        let round = last.unwrap_or(u64::MAX).min(self.authorities.round(now));
        let mut held = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shelf) = held.as_ref().filter(|shelf| shelf.round == round) {
            return Some(Arc::clone(shelf));
        }
        let consensus = self.authorities.consensus(round).ok()?;
        let digest = diff::digest(&consensus);
        let shelf = Arc::new(Shelf { round, consensus: Document::new(consensus), digest, diffs: OnceLock::new() });
        *held = Some(Arc::clone(&shelf));
        Some(shelf)
    }

    /// The diffs to the consensus on the shelf. The older ones are made again, because all
    /// follows from the round.
    fn diffs<'a>(&self, shelf: &'a Shelf) -> &'a BTreeMap<[u8; 32], Document> {
        shelf.diffs.get_or_init(|| {
            let rounds = shelf.round.saturating_sub(DIFF_ROUNDS)..shelf.round;
            let older = rounds.filter_map(|round| self.authorities.consensus(round).ok());
            let new = &shelf.consensus.text;
            older.map(|old| (diff::digest(&old), Document::new(diff::write(&old, new)))).collect()
        })
    }
}

/// The cache of a network, as each of its relays serves it.
impl Directory for Arc<Cache> {
    fn answer(&self, request: &[u8], now: Now) -> Option<Answered> {
        let bytes = Cache::answer(self, request, now.wall)?;
        Some(Answered { bytes, again_from: None })
    }
}

/// By what a certificate is asked for.
#[derive(Clone, Copy)]
enum Name {
    Identity,
    Signing,
    Both,
}

impl Document {
    fn new(text: String) -> Document {
        Document { text, compressed: Mutex::default() }
    }

    fn encoded(&self, encoding: Encoding) -> Vec<u8> {
        if encoding == Encoding::Identity {
            return self.text.as_bytes().to_vec();
        }
        let mut compressed = self.compressed.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes =
            compressed.entry(encoding).or_insert_with(|| encoding.encode(self.text.as_bytes(), Use::Kept).into());
        bytes.to_vec()
    }
}

fn digest_of_hex(hex: &str) -> Option<[u8; 32]> {
    text::from_hex(hex).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
