//! Reads a consensus while it arrives, in pieces cut anywhere.
//!
//! Lines to values, chapter by chapter, and the digests on the way; the result is
//! [`Unchecked`], and what its parts mean is `consensus`. Called by whoever received or loaded
//! one. Spec: dir-spec, "Consensus document format".

use core::net::{Ipv4Addr, SocketAddr};
use std::collections::BTreeMap;

use super::super::certs::{KeyIds, date, object};
use super::super::params::Params;
use super::super::weights::Weights;
use super::super::{Error, once};
use super::{
    ClientProtocols, Consensus, Digests, Flag, Flags, Lifetime, MAX_LEN, MAX_PROTOCOL_LISTS, MAX_RELAYS,
    MAX_SIGNATURES, Row, Rows, SharedRandom, Signature, Unchecked, is_nickname,
};
use crate::base::time::Wall;
use crate::base::{RsaId, text};
use crate::crypto::digest;
use crate::wire::netdoc::{Item, Position, Tokenizer};
use crate::wire::protover::Protocols;

/// Bytes that are taken at once, so that a large piece is not held twice; ours.
const PIECE: usize = 64 * 1024;
/// Kilobytes a second of a relay whose bandwidth nobody said. Chosen by C tor.
const UNSAID_BANDWIDTH: u32 = 30;

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
