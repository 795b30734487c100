//! Microdescriptors: what relays say of themselves that clients must know.
//!
//! A file or an answer is many of them, one after the other, cut apart and parsed while it
//! arrives; each is known by its digest alone, and only the consensus says whose it is, so
//! nothing here is to be trusted before `NetDir` has found it there. Called by whoever
//! fetched or loaded some. Spec: dir-spec, "Computing microdescriptors".
//!
//! C tor: what it keeps has annotations in front of each, and one that cannot be read costs
//! only itself.

use super::certs::date;
use super::{Error, once};
use crate::base::text;
use crate::base::time::Wall;
use crate::crypto::kdf;
use crate::wire::netdoc::{self, Item, Tokenizer};

/// The longest microdescriptor, with its annotations; ours: two of the longest lines. Real
/// ones are made of descriptors of at most 20,000 bytes (C tor:
/// `MAX_DESCRIPTOR_UPLOAD_SIZE`).
pub const MAX_LEN: usize = 2 * netdoc::MAX_LINE_LEN;
/// Port ranges of a policy summary. Chosen by C tor: `MAX_EXITPOLICY_SUMMARY_LEN`.
pub const MAX_RANGES: usize = 1000;
/// Bytes that are taken at once, so that a large piece is not held twice; ours.
const PIECE: usize = 64 * 1024;

/// One microdescriptor; whatever is text is still in the bytes that it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Microdesc<'a> {
    /// All of it, without annotations.
    pub text: &'a [u8],
    /// The SHA-256 of that, by which the consensus names it.
    pub digest: [u8; 32],
    /// When a consensus named it last, if it comes from a file.
    pub last_listed: Option<Wall>,
    /// The key of the ntor handshake.
    pub ntor: Option<[u8; 32]>,
    /// The Ed25519 identity.
    pub ed25519: Option<[u8; 32]>,
    /// Relays that its operator calls family.
    pub family: &'a str,
    /// Names of families that it proved to be of.
    pub family_ids: &'a str,
    /// The summary of its exit policy for IPv4.
    pub policy: &'a str,
    /// The same for IPv6.
    pub policy6: &'a str,
}

impl<'a> Microdesc<'a> {
    /// Parses one, which with its annotations is all of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Microdesc<'a>, Error> {
        let mut draft = Draft::default();
        let mut last_listed = None;
        let mut start = None;
        for item in Tokenizer::new(bytes) {
            let item = item?;
            if start.is_none() && item.is_annotation() {
                if item.keyword == LAST_LISTED {
                    last_listed = Some(date(&item)?);
                }
                continue;
            }
            if item.is_annotation() || start.is_none() != (item.keyword == FIRST) {
                return Err(Error::LineOutOfPlace);
            }
            start = start.or(Some(item.at.offset));
            draft.item(&item)?;
        }
        let text = start.and_then(|start| bytes.get(start..)).ok_or(Error::LineMissing)?;
        Ok(Microdesc {
            text,
            digest: kdf::sha256(&[text]),
            last_listed,
            ntor: draft.ntor,
            ed25519: draft.ed25519,
            family: draft.family.unwrap_or_default(),
            family_ids: draft.family_ids.unwrap_or_default(),
            policy: draft.policy.unwrap_or_default(),
            policy6: draft.policy6.unwrap_or_default(),
        })
    }
}

const FIRST: &str = "onion-key";
/// `$`, and an identity in hex.
const PLAIN_LEN: usize = 41;
pub(super) const LAST_LISTED: &str = "@last-listed";

/// What the lines of one said so far.
#[derive(Default)]
struct Draft<'a> {
    ntor: Option<[u8; 32]>,
    ed25519: Option<[u8; 32]>,
    family: Option<&'a str>,
    family_ids: Option<&'a str>,
    policy: Option<&'a str>,
    policy6: Option<&'a str>,
}

impl<'a> Draft<'a> {
    fn item(&mut self, item: &Item<'a>) -> Result<(), Error> {
        let key = |text: Option<&str>| text.and_then(text::base64_array).ok_or(Error::LineMalformed);
        let mut args = item.args();
        match item.keyword {
            "ntor-onion-key" => once(&mut self.ntor, key(args.next())?),
            "id" if args.next() == Some("ed25519") => once(&mut self.ed25519, key(args.next())?),
            "family" => once(&mut self.family, item.rest),
            "family-ids" => once(&mut self.family_ids, item.rest),
            "p" => once(&mut self.policy, item.rest),
            "p6" => once(&mut self.policy6, item.rest),
            _ => Ok(()),
        }
    }
}

/// The relays on a `family` line, by identity.
///
/// Differs: C tor takes nicknames as well; any relay may have any nickname, and Arti passes
/// them over.
pub fn family_members(line: &str) -> impl Iterator<Item = [u8; 20]> + '_ {
    let mut rest = line;
    core::iter::from_fn(move || {
        loop {
            if let Some((id, after)) = plain_member(rest) {
                rest = after;
                return Some(id);
            }
            let word = rest.split_ascii_whitespace().next()?;
            rest = rest.trim_ascii_start().get(word.len()..)?;
            if let Some(id) = member(word) {
                return Some(id);
            }
        }
    })
}

/// The identity in front, if it is written as authorities write it, and what is behind it. Nearly
/// all are, in lists that make up most of the directory: none of those is searched for its end.
fn plain_member(line: &str) -> Option<([u8; 20], &str)> {
    let (word, after) = line.split_at_checked(PLAIN_LEN)?;
    let after = if after.is_empty() { after } else { after.strip_prefix(' ')? };
    Some((text::hex_array(word.strip_prefix('$')?)?, after))
}

fn member(word: &str) -> Option<[u8; 20]> {
    let hex = word.strip_prefix('$').unwrap_or(word);
    let (hex, nickname) = hex.split_at_checked(40)?;
    let is_plain = nickname.is_empty() || nickname.starts_with(['=', '~']);
    text::hex_array(hex).filter(|_| is_plain)
}

/// A summary of an exit policy: to which ports streams may leave, most addresses granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    is_accept: bool,
    /// First and last port of each range.
    ranges: Box<[(u16, u16)]>,
}

impl Policy {
    /// Reads `accept` or `reject` and ranges of ports. C tor: what cannot be read is no
    /// policy, and allows nothing.
    pub fn parse(summary: &str) -> Option<Policy> {
        let (is_accept, ports) = match summary.split_once(' ')? {
            ("accept", ports) => (true, ports),
            ("reject", ports) => (false, ports),
            _ => return None,
        };
        let mut ranges = Vec::new();
        // C tor: a part that does not begin like a number is passed over.
        for range in ports.split(',').filter(|range| range.starts_with(|c: char| c.is_ascii_digit())) {
            let (low, high) = range.split_once('-').unwrap_or((range, range));
            let (low, high) = (port(low)?, port(high)?);
            if low > high || ranges.len() >= MAX_RANGES {
                return None;
            }
            ranges.push((low, high));
        }
        if ranges.is_empty() {
            return None;
        }
        Some(Policy { is_accept, ranges: ranges.into() })
    }

    /// Whether streams may leave to `port`.
    pub fn allows(&self, port: u16) -> bool {
        let is_listed = self.ranges.iter().any(|&(low, high)| low <= port && port <= high);
        port != 0 && is_listed == self.is_accept
    }

    /// Whether it allows no port at all. C tor: it looks for this one way to write it.
    pub fn is_reject_all(&self) -> bool {
        !self.is_accept && *self.ranges == [(1, u16::MAX)]
    }

    /// Bytes of the heap that this holds.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.ranges)
    }
}

fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|&port| digits && port > 0)
}

/// Cuts a file or an answer into microdescriptors while it arrives.
#[derive(Default)]
pub struct Parser {
    /// From the front of the first that is not known to be all there.
    waiting: Vec<u8>,
    /// How much of that is lines that were looked at.
    looked_at: usize,
    /// Whether its first line, annotations aside, was among them.
    has_begun: bool,
    /// Whether it was too long, and is being passed over.
    is_skipping: bool,
}

impl Parser {
    /// Takes the next bytes and gives `found` every microdescriptor that ends in them, or
    /// what is wrong with it.
    pub fn push(&mut self, bytes: &[u8], found: &mut impl FnMut(Result<Microdesc<'_>, Error>)) {
        for piece in bytes.chunks(PIECE) {
            self.waiting.extend_from_slice(piece);
            self.take_lines(found);
        }
    }

    /// All came.
    pub fn finish(mut self, found: &mut impl FnMut(Result<Microdesc<'_>, Error>)) {
        if !self.waiting.ends_with(b"\n") {
            // Its last line may lack its end, and then may be the first of another.
            self.push(b"\n", found);
            self.waiting.pop();
        }
        if !self.waiting.is_empty() && !self.is_skipping {
            found(Microdesc::parse(&self.waiting));
        }
    }

    fn take_lines(&mut self, found: &mut impl FnMut(Result<Microdesc<'_>, Error>)) {
        let mut start = 0;
        loop {
            let rest = self.waiting.get(self.looked_at..).unwrap_or_default();
            let Some(length) = newline(rest) else { break };
            let is_first =
                rest.starts_with(FIRST.as_bytes()) && matches!(rest.get(FIRST.len()), Some(b'\n' | b' ' | b'\t'));
            if self.has_begun && (is_first || rest.starts_with(b"@")) {
                let one = self.waiting.get(start..self.looked_at).unwrap_or_default();
                if !self.is_skipping {
                    found(Microdesc::parse(one));
                }
                start = self.looked_at;
                (self.has_begun, self.is_skipping) = (false, false);
            }
            self.has_begun |= is_first;
            self.looked_at += length + 1;
            if self.looked_at - start > MAX_LEN {
                self.skip(&mut start, found);
            }
        }
        if self.waiting.len() - start > MAX_LEN {
            // A line without an end. What follows it may be taken for a line, and be found in no
            // consensus.
            self.looked_at = self.waiting.len();
            self.skip(&mut start, found);
        }
        self.waiting.drain(..start);
        self.looked_at -= start;
    }

    /// Gives up the one at `start`, and what was looked at of it.
    fn skip(&mut self, start: &mut usize, found: &mut impl FnMut(Result<Microdesc<'_>, Error>)) {
        if !self.is_skipping {
            found(Err(Error::DocumentTooLong));
        }
        *start = self.looked_at;
        (self.has_begun, self.is_skipping) = (true, true);
    }
}

/// Where the first line ends. Looks at sixteen bytes at once.
fn newline(bytes: &[u8]) -> Option<usize> {
    let (chunks, tail) = bytes.as_chunks::<16>();
    let is_newline = |&c: &u8| c == b'\n';
    for (n, chunk) in chunks.iter().enumerate() {
        if chunk.iter().fold(false, |found, c| found | is_newline(c)) {
            return chunk.iter().position(is_newline).map(|at| n * 16 + at);
        }
    }
    tail.iter().position(is_newline).map(|at| bytes.len() - tail.len() + at)
}

/// Any bytes, whole and in pieces: both must give the same, and each the digest of its text.
pub fn fuzz(bytes: &[u8]) {
    let read = |step: usize| {
        let mut all = Vec::new();
        let mut found = |one: Result<Microdesc<'_>, Error>| {
            if let Ok(one) = &one {
                assert_eq!(one.digest, kdf::sha256(&[one.text]));
                assert_eq!(Microdesc::parse(one.text).map(|again| again.digest), Ok(one.digest));
                let policy = Policy::parse(one.policy);
                assert!(!policy.is_some_and(|policy| policy.is_reject_all() && policy.allows(443)));
                assert!(family_members(one.family).count() <= one.family.len());
            }
            all.push(one.map(|one| (one.digest, one.last_listed)));
        };
        let mut parser = Parser::default();
        bytes.chunks(step.max(1)).for_each(|piece| parser.push(piece, &mut found));
        parser.finish(&mut found);
        all
    };
    let whole = read(bytes.len());
    for step in [1, 7, 100] {
        assert_eq!(read(step), whole);
    }
}

#[cfg(test)]
mod tests;
