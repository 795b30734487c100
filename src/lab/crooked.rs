//! Directories that deceive: an honest one behind them, and one thing wrong with its answers.
//!
//! Knows no link and no circuit: what a villain does there is `villain.rs`'s and the
//! relay's. An answer that costs its reader gigabytes costs nothing to make. Called by
//! `relay/mod.rs` when a villain is given a directory. Spec: what each breaks is dir-spec,
//! "Client operation".

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::sync::OnceLock;

use miniz_oxide::deflate::core::CompressorOxide;
use miniz_oxide::deflate::stream::deflate;
use miniz_oxide::{DataFormat, MZFlush};

use super::authority::{Authorities, Member, Spec};
use super::cache::{CONSENSUS, Cache};
use super::relay::{Answered, Directory};
use super::villain::Villain;
use crate::base::time::Now;
use crate::base::{Ed25519Id, RelayIds, RsaId};
use crate::crypto::x25519::PublicKey;

/// What the decompression bomb inflates to behind its first line, in pieces of which size it is
/// made, and in lines of which length; ours. No line is too long, and none has a fault.
const BOMB_LEN: u64 = 2 << 30;
const PIECE_LEN: usize = 1 << 20;
const LINE_LEN: usize = 1 << 16;
const BOMB_FRONT: &[u8] = b"network-status-version 3 microdesc\n";
/// What the bomb says before its body.
const BOMB_HEAD: &str = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: deflate\r\n\r\n";
/// The other network's authorities have keys that no network of the lab begins with.
const OTHER_KEYS: usize = 6;
/// What has not changed.
const NOT_MODIFIED: &[u8] = b"HTTP/1.0 304 Not modified\r\n\r\n";
/// How old a consensus is that is old.
const OLD: Duration = Duration::from_secs(48 * 3600);
/// How a diff begins.
const DIFF: &str = "network-status-diff-version ";
/// How many relays the other network says it has; ours.
const OTHER_LISTED: usize = 40;

/// A directory whose answers are `villain`'s; the honest one itself, if that is another
/// kind of villain.
pub fn wrap(honest: Box<dyn Directory>, villain: Villain) -> Box<dyn Directory> {
    match villain {
        Villain::EndlessDirectory
        | Villain::TruncatedConsensus
        | Villain::FalseDiff
        | Villain::FalseCertificates
        | Villain::NotModified
        | Villain::OldConsensus => Box::new(Mangled { honest, villain }),
        Villain::DecompressionBomb => Box::new(Bomb { honest, bytes: OnceLock::new() }),
        Villain::ConsensusSwap => Box::new(Swap { honest, other: OnceLock::new() }),
        _ => honest,
    }
}

/// Says what is honest too often, or not to its end.
struct Mangled {
    honest: Box<dyn Directory>,
    villain: Villain,
}

impl Directory for Mangled {
    fn answer(&self, request: &[u8], now: Now) -> Option<Answered> {
        match self.villain {
            Villain::FalseDiff => return self.false_diff(request, now),
            Villain::FalseCertificates => return self.false_certificates(request, now),
            Villain::OldConsensus if is_consensus(request) => {
                // The one before that is no older to whoever holds none.
                let wall = now.wall - OLD;
                return self.honest.answer(request, Now { wall, ..now });
            }
            Villain::NotModified if !is_consensus(request) => {
                self.honest.answer(request, now)?;
                return Some(Answered { bytes: NOT_MODIFIED.to_vec(), again_from: None });
            }
            Villain::NotModified | Villain::OldConsensus => return self.honest.answer(request, now),
            _ => {}
        }
        let mut answer = self.honest.answer(request, now)?;
        let body = body_of(&answer.bytes);
        if self.villain == Villain::EndlessDirectory {
            // Of an empty body there is no end either.
            if body == answer.bytes.len() {
                answer.bytes.push(b'\n');
            }
            answer.again_from = Some(body);
        } else if is_consensus(request) {
            answer.bytes.truncate(body + (answer.bytes.len() - body) / 2);
        }
        Some(answer)
    }
}

impl Mangled {
    /// A diff to a consensus that is good for a thousand years; any other answer as it is.
    fn false_diff(&self, request: &[u8], now: Now) -> Option<Answered> {
        let honest = self.honest.answer(request, now)?;
        let Some(plain) = core::str::from_utf8(request).ok().filter(|_| is_consensus(request)) else {
            return Some(honest);
        };
        let mut answer = self.honest.answer(uncompressed(plain).as_bytes(), now)?;
        let body = body_of(&answer.bytes);
        let diff = answer.bytes.get(body..).and_then(|diff| core::str::from_utf8(diff).ok());
        let Some(diff) = diff.filter(|diff| diff.starts_with(DIFF)) else { return Some(honest) };
        let diff = diff.replace("\nvalid-until 2", "\nvalid-until 3");
        answer.bytes.truncate(body);
        answer.bytes.extend(diff.as_bytes());
        Some(answer)
    }

    /// Certificates that are good for a thousand years; any other answer as it is.
    fn false_certificates(&self, request: &[u8], now: Now) -> Option<Answered> {
        let honest = self.honest.answer(request, now)?;
        let Some(plain) = core::str::from_utf8(request).ok().filter(|it| it.starts_with("GET /tor/keys/")) else {
            return Some(honest);
        };
        let answer = self.honest.answer(uncompressed(plain).as_bytes(), now)?;
        let text = String::from_utf8(answer.bytes).ok()?;
        let bytes = text.replace("\ndir-key-expires 2", "\ndir-key-expires 3").into_bytes();
        Some(Answered { bytes, again_from: None })
    }
}

/// The same request by somebody who takes nothing compressed, which could not be changed.
fn uncompressed(request: &str) -> String {
    let lines = request.split_inclusive('\n').filter(|line| !line.starts_with("Accept-Encoding"));
    lines.map(|line| line.replace(".z HTTP", " HTTP")).collect()
}

/// Says what is small, and large when it is inflated.
struct Bomb {
    honest: Box<dyn Directory>,
    bytes: OnceLock<Vec<u8>>,
}

impl Directory for Bomb {
    fn answer(&self, request: &[u8], now: Now) -> Option<Answered> {
        // Not before the request is all there.
        self.honest.answer(request, now)?;
        let body = self.bytes.get_or_init(bomb);
        Some(Answered { bytes: [BOMB_HEAD.as_bytes(), body].concat(), again_from: None })
    }
}

/// Says what is true of another network.
struct Swap {
    honest: Box<dyn Directory>,
    other: OnceLock<Option<Cache>>,
}

impl Directory for Swap {
    fn answer(&self, request: &[u8], now: Now) -> Option<Answered> {
        let honest = self.honest.answer(request, now)?;
        if !is_consensus(request) {
            return Some(honest);
        }
        let other = self.other.get_or_init(|| elsewhere(now));
        // Whoever's signatures were asked for, it gives those that it has.
        let request = format!("GET {CONSENSUS} HTTP/1.0\r\n\r\n");
        let bytes = other.as_ref()?.answer(request.as_bytes(), now.wall)?;
        Some(Answered { bytes, again_from: None })
    }
}

/// A network that nobody asked for: three authorities, and relays that are made up.
fn elsewhere(now: Now) -> Option<Cache> {
    let member = |number: u8| {
        let ids = RelayIds { rsa: Some(RsaId([number; 20])), ed25519: Some(Ed25519Id([number; 32])) };
        let address = SocketAddrV4::new(Ipv4Addr::new(10, number, 1, 1), 9001);
        Member::new(&format!("elsewhere{number}"), ids, address, PublicKey([number; 32]))
    };
    let spec = Spec { first_key: OTHER_KEYS, listed: OTHER_LISTED, ..Spec::new(u64::MAX, now.wall) };
    Authorities::new(spec, (1..4).map(member).collect()).ok().map(Cache::new)
}

fn is_consensus(request: &[u8]) -> bool {
    request.strip_prefix(b"GET ").is_some_and(|rest| rest.starts_with(CONSENSUS.as_bytes()))
}

/// Where the body of an answer begins.
fn body_of(answer: &[u8]) -> usize {
    let end = b"\r\n\r\n";
    answer.windows(end.len()).position(|window| window == end).map_or(answer.len(), |at| at + end.len())
}

/// The front of a consensus, and lines that nobody knows, in the format of zlib and good to the
/// checksum at its end: one piece, which a flush has ended at a whole byte, as often as it takes.
fn bomb() -> Vec<u8> {
    let line = [&[b'0'; LINE_LEN - 1][..], b"\n"].concat();
    let plain = line.repeat(PIECE_LEN / LINE_LEN);
    let (front, piece) = (deflated(BOMB_FRONT), deflated(&plain));
    let mut bytes = [&[0x78, 0xDA], &front[..]].concat();
    let mut sum = Adler::of(BOMB_FRONT);
    let of_piece = Adler::of(&plain);
    for _ in 0..BOMB_LEN / PIECE_LEN as u64 {
        bytes.extend(&piece);
        sum = sum.then(of_piece);
    }
    // An empty last block.
    bytes.extend([3, 0]);
    bytes.extend(sum.bytes());
    bytes
}

/// Compressed, and ended at a whole byte.
fn deflated(plain: &[u8]) -> Vec<u8> {
    let mut compressor = CompressorOxide::default();
    compressor.set_format_and_level(DataFormat::Raw, 9);
    let mut piece = vec![0; plain.len() + 64];
    let result = deflate(&mut compressor, plain, &mut piece, MZFlush::Full);
    piece.truncate(result.bytes_written);
    piece
}

/// The checksum of zlib: of these many bytes, their sum, and the sum of such sums; without the
/// one that all begins with. Spec: RFC 1950, "Adler-32".
#[derive(Clone, Copy)]
struct Adler {
    length: u64,
    sum: u64,
    sums: u64,
}

impl Adler {
    const PRIME: u64 = 65_521;

    fn of(bytes: &[u8]) -> Adler {
        let mut adler = Adler { length: bytes.len() as u64, sum: 0, sums: 0 };
        for byte in bytes {
            adler.sum = (adler.sum + u64::from(*byte)) % Adler::PRIME;
            adler.sums = (adler.sums + adler.sum) % Adler::PRIME;
        }
        adler
    }

    /// Of these bytes, and those behind them.
    fn then(self, next: Adler) -> Adler {
        let length = (self.length + next.length) % Adler::PRIME;
        let sums = self.sums + next.length % Adler::PRIME * self.sum + next.sums;
        Adler { length, sum: (self.sum + next.sum) % Adler::PRIME, sums: sums % Adler::PRIME }
    }

    fn bytes(self) -> [u8; 4] {
        let sums = (self.sums + self.length) % Adler::PRIME;
        let all = (sums << 16) + (self.sum + 1) % Adler::PRIME;
        u32::try_from(all).unwrap_or(0).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Tick;
    use crate::lab::authority::tests::{START, good_signatures, network};
    use miniz_oxide::inflate::TINFLStatus;
    use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
    use std::sync::Arc;

    const NOW: Now = Now { tick: Tick::new(Duration::ZERO), wall: START };

    fn crooked(villain: Villain) -> Box<dyn Directory> {
        wrap(Box::new(Arc::new(Cache::new(network(Spec::new(1, START))))), villain)
    }

    fn consensus(villain: Villain) -> String {
        let request = format!("GET {CONSENSUS} HTTP/1.0\r\n\r\n");
        let answer = crooked(villain).answer(request.as_bytes(), NOW).unwrap();
        String::from_utf8(answer.bytes[body_of(&answer.bytes)..].to_vec()).unwrap()
    }

    #[test]
    fn a_bomb_inflates_to_gigabytes_and_its_checksum_is_right() {
        let bytes = bomb();
        assert!(bytes.len() < 3 << 20, "{}", bytes.len());
        let mut window = vec![0; 1 << 15];
        let (mut inflater, mut at, mut total) = (Box::<DecompressorOxide>::default(), 0, 0_u64);
        loop {
            let place = usize::try_from(total).unwrap() % window.len();
            let flags = inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER | inflate_flags::TINFL_FLAG_COMPUTE_ADLER32;
            let (status, read, written) = decompress(&mut inflater, &bytes[at..], &mut window, place, flags);
            at += read;
            total += written as u64;
            match status {
                TINFLStatus::HasMoreOutput => {}
                TINFLStatus::Done => break,
                other => panic!("{other:?} after {total}"),
            }
        }
        assert_eq!((at, total), (bytes.len(), BOMB_FRONT.len() as u64 + BOMB_LEN));
    }

    #[test]
    fn a_swapped_consensus_is_rightly_signed_by_others() {
        let text = consensus(Villain::ConsensusSwap);
        let other = elsewhere(NOW).unwrap();
        assert_eq!(good_signatures(other.authorities(), &text), 3);
        assert_eq!(good_signatures(&network(Spec::new(1, START)), &text), 0);
    }

    #[test]
    fn a_directory_says_nothing_before_the_request_is_there() {
        for (villain, ..) in Villain::all().filter(|(villain, ..)| villain.is_directory()) {
            assert_eq!(crooked(villain).answer(b"GET /tor/", NOW), None, "{villain:?}");
        }
    }

    #[test]
    fn an_honest_directory_stays_honest_with_a_villain_of_another_kind() {
        assert_eq!(consensus(Villain::TagsCells).matches("\ndirectory-signature ").count(), 3);
    }
}
