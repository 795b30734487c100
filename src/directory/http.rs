//! The small HTTP that is spoken to directories: one request a stream, its answer ends with
//! the stream.
//!
//! Requests are text, letter for letter as C tor writes them, so that nobody can tell the two
//! apart by them; answers are read as they arrive. Not what to ask for or when (`download`),
//! and not the decompression of bodies: an answer says only how it is compressed. Called by
//! `client` and `onion`. Spec: dir-spec, "HTTP status codes"; tor-spec, "Opening streams"
//! (BEGIN_DIR).

use core::fmt::Write;
use core::net::SocketAddr;

use super::certs::{self, KeyIds};
use super::consensus::{self, Consensus, Lifetime};
use super::download::MAX_ANSWER_LEN;
use super::params::Param;
use super::{Error, microdesc};
use crate::base::time::{Wall, civil};
use crate::base::{RsaId, text};

/// The longest head of an answer. Chosen by C tor: `MAX_HEADERS_SIZE`.
pub const MAX_HEAD_LEN: usize = 50_000;
/// The longest descriptor of a bridge. C tor: `MAX_DESCRIPTOR_UPLOAD_SIZE`.
pub const MAX_OWN_DESCRIPTOR: usize = 20_000;
/// The longest answer with the descriptor of an onion service; ours. How long that may be is a
/// parameter of the consensus, 50,000 bytes where it says nothing.
pub const MAX_HS_DESCRIPTOR: usize = 1 << 20;
/// How much later than ours a consensus must be to be worth sending. Chosen by C tor:
/// `DEFAULT_IF_MODIFIED_SINCE_DELAY`.
const MODIFIED_DELAY: u64 = 180;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encoding {
    /// `x-tor-lzma`.
    Lzma,
    /// `x-zstd`.
    Zstd,
    /// `deflate`, which is the format of zlib.
    Deflate,
    /// `gzip`.
    Gzip,
    /// Not at all.
    Identity,
}

impl Encoding {
    /// All of them, as C tor prefers them.
    pub const ALL: [Encoding; 5] =
        [Encoding::Lzma, Encoding::Zstd, Encoding::Deflate, Encoding::Gzip, Encoding::Identity];

    /// The name in headers.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Lzma => "x-tor-lzma",
            Encoding::Zstd => "x-zstd",
            Encoding::Deflate => "deflate",
            Encoding::Gzip => "gzip",
            Encoding::Identity => "identity",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Encoding> {
        Encoding::ALL.into_iter().find(|encoding| encoding.name() == name)
    }

    /// What the first bytes of a body look like, none of them if none. C tor: some caches
    /// compress what they do not call compressed.
    pub fn detect(front: &[u8]) -> Option<Encoding> {
        match front {
            [0x1F, 0x8B, _, ..] => Some(Encoding::Gzip),
            [0x5D, 0, 0, ..] => Some(Encoding::Lzma),
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Some(Encoding::Zstd),
            [a, b, _, ..] if a & 15 == 8 && u16::from_be_bytes([*a, *b]).is_multiple_of(31) => Some(Encoding::Deflate),
            _ => None,
        }
    }

    /// Whether an answer to an anonymous request may be so: a decoder for the others is too
    /// much to offer to strangers, and who has it would be known by it.
    pub fn is_for_strangers(self) -> bool {
        matches!(self, Encoding::Deflate | Encoding::Gzip | Encoding::Identity)
    }
}

/// The consensus that we hold, as far as a request for a newer one names it.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    lifetime: Lifetime,
    /// What a diff would begin with, if one is wanted.
    diff_from: Option<[u8; 32]>,
}

impl Held {
    /// This one. A diff from it is wanted if it is not too old for caches to have one.
    pub fn new(consensus: &Consensus, now: Wall) -> Held {
        let lifetime = consensus.lifetime();
        let hours = u64::from(consensus.params().unsigned(Param::TryDiffForConsensusNewerThan));
        let is_young = now.since(lifetime.valid_after).as_secs() <= hours * 3600;
        Held { lifetime, diff_from: is_young.then_some(consensus.digests().signed_sha3) }
    }

    /// The same, of which no diff is wanted.
    #[must_use]
    pub fn without_diff(self) -> Held {
        Held { diff_from: None, ..self }
    }

    fn modified_since(&self) -> Wall {
        let half = self.lifetime.interval().as_secs() / 2;
        Wall::from_secs(self.lifetime.valid_after.as_secs() + MODIFIED_DELAY.min(half))
    }
}

/// What is asked of a directory.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// A consensus signed by enough of these authorities, newer than what is held.
    Consensus {
        /// The authorities that we trust.
        authorities: &'a [RsaId],
        /// What there is to be replaced.
        held: Option<Held>,
    },
    /// Certificates.
    Certificates(&'a [KeyIds]),
    /// Microdescriptors, by digest.
    Microdescs(&'a [[u8; 32]]),
    /// A bridge's own descriptor.
    OwnDescriptor,
    /// The descriptor of an onion service, by its blinded key.
    HsDescriptor(&'a [u8; 32]),
    /// To keep the descriptor of an onion service.
    HsPublish(&'a str),
}

impl Ask<'_> {
    /// Whether the directory must not know who asks, nor by what it offers which program.
    pub fn is_anonymous(&self) -> bool {
        matches!(self, Ask::HsDescriptor(_) | Ask::HsPublish(_))
    }

    /// The longest answer, once it is decompressed.
    pub fn most(&self) -> usize {
        let most = match self {
            Ask::Consensus { .. } => consensus::MAX_LEN,
            Ask::Certificates(ids) => ids.len().saturating_mul(certs::MAX_CERTIFICATE_LEN),
            Ask::Microdescs(digests) => digests.len().saturating_mul(microdesc::MAX_LEN),
            Ask::OwnDescriptor => MAX_OWN_DESCRIPTOR,
            Ask::HsDescriptor(_) => MAX_HS_DESCRIPTOR,
            Ask::HsPublish(_) => MAX_HEAD_LEN,
        };
        most.min(MAX_ANSWER_LEN)
    }

    /// What is asked for. C tor: `.z` offers deflate, whatever the header says, so whoever asks
    /// must be able to inflate.
    pub fn path(&self) -> String {
        match self {
            Ask::Consensus { authorities, .. } => {
                let front = |id: &RsaId| id.0.get(..3).map(text::hex).unwrap_or_default();
                let list = joined(authorities.iter().map(front), "+");
                format!("/tor/status-vote/current/consensus-microdesc/{list}.z")
            }
            Ask::Certificates(ids) => {
                let pair = |ids: &KeyIds| format!("{}-{}", text::hex(&ids.identity.0), text::hex(&ids.signing.0));
                format!("/tor/keys/fp-sk/{}", joined(ids.iter().map(pair), "+"))
            }
            Ask::Microdescs(digests) => {
                let mut sorted = digests.to_vec();
                sorted.sort_unstable();
                let list: Vec<_> = sorted.iter().map(|digest| text::base64_unpadded(digest)).collect();
                format!("/tor/micro/d/{}.z", list.join("-"))
            }
            Ask::OwnDescriptor => "/tor/server/authority.z".to_owned(),
            Ask::HsDescriptor(key) => format!("/tor/hs/3/{}", text::base64_unpadded(*key)),
            Ask::HsPublish(_) => "/tor/hs/3/publish".to_owned(),
        }
    }

    /// The request as it is sent to a directory at `host`. `offered` are the encodings that we
    /// can read; anonymous requests do not say.
    pub fn request(&self, host: SocketAddr, offered: &[Encoding]) -> String {
        let method = if matches!(self, Ask::HsPublish(_)) { "POST" } else { "GET" };
        let mut out = format!("{method} {} HTTP/1.0\r\nHost: ", self.path());
        // C tor: the usual port of HTTP goes without saying.
        match (host.port(), host) {
            (80, SocketAddr::V4(host)) => out.push_str(&host.ip().to_string()),
            (80, SocketAddr::V6(host)) => out.push_str(&format!("[{}]", host.ip())),
            _ => out.push_str(&host.to_string()),
        }
        out.push_str("\r\n");
        let held = if let Ask::Consensus { held, .. } = self { *held } else { None };
        if let Some(held) = held {
            let _ = write!(out, "If-Modified-Since: {}\r\n", http_date(held.modified_since()));
        }
        if !self.is_anonymous() {
            let names = Encoding::ALL.into_iter().filter(|encoding| offered.contains(encoding)).map(Encoding::name);
            let _ = write!(out, "Accept-Encoding: {}\r\n", names.collect::<Vec<_>>().join(", "));
        }
        if let Some(digest) = held.and_then(|held| held.diff_from) {
            let _ = write!(out, "X-Or-Diff-From-Consensus: {}\r\n", text::hex(&digest));
        }
        if let Ask::HsPublish(descriptor) = self {
            let _ = write!(out, "Content-Length: {}\r\n", descriptor.len());
        }
        out.push_str("\r\n");
        if let Ask::HsPublish(descriptor) = self {
            out.push_str(descriptor);
        }
        out
    }
}

fn joined(parts: impl Iterator<Item = String>, separator: &str) -> String {
    let mut parts: Vec<_> = parts.collect();
    parts.sort_unstable();
    parts.join(separator)
}

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A date as HTTP writes it: `Fri, 25 Sep 2020 02:13:20 GMT`.
pub fn http_date(date: Wall) -> String {
    let days = date.as_secs() / 86_400;
    let (year, month, day) = civil(days);
    let pick = |names: &[&'static str], at: u64| usize::try_from(at).ok().and_then(|at| names.get(at).copied());
    let (weekday, month) = (pick(&DAYS, days % 7), pick(&MONTHS, month - 1));
    let text = date.to_string();
    let (_, time) = text.split_once(' ').unwrap_or_default();
    format!("{}, {day:02} {} {year:04} {time} GMT", weekday.unwrap_or_default(), month.unwrap_or_default())
}

/// Reads what [`http_date`] writes.
fn from_http_date(text: &str) -> Option<Wall> {
    let (_, date) = text.split_once(", ")?;
    let mut parts = date.split(' ');
    let (day, month, year, time, zone) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let month: u32 = (1..).zip(MONTHS).find(|(_, name)| *name == month)?.0;
    Wall::parse(&format!("{year}-{month:02}-{day}"), time).filter(|_| zone == "GMT")
}

/// What an answer says before its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// 200 if all is well.
    pub status: u16,
    /// How the body is compressed; `None` in a way that we do not know.
    pub encoding: Option<Encoding>,
    /// How long the body is to be.
    pub length: Option<usize>,
    /// The directory's time.
    pub date: Option<Wall>,
}

/// What a status means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The body is what was asked for.
    Given,
    /// What we hold is the newest that the cache has.
    NotModified,
    /// The cache has it not.
    NotFound,
    /// The cache has too much to do.
    Busy,
    /// Anything else.
    Other,
}

impl Head {
    /// What the status means.
    pub fn answer(&self) -> Answer {
        match self.status {
            200 => Answer::Given,
            304 => Answer::NotModified,
            404 => Answer::NotFound,
            503 => Answer::Busy,
            _ => Answer::Other,
        }
    }

    fn parse(head: &str) -> Result<Head, Error> {
        let mut lines = head.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let first = lines.next().unwrap_or_default();
        let rest = first.strip_prefix("HTTP/1.0 ").or_else(|| first.strip_prefix("HTTP/1.1 "));
        let status = rest.and_then(|rest| rest.split(' ').next()).filter(|status| status.len() == 3);
        let status: u16 = status.and_then(|status| status.parse().ok()).ok_or(Error::AnswerMalformed)?;
        if !(100..600).contains(&status) {
            return Err(Error::AnswerMalformed);
        }
        let mut head = Head { status, encoding: Some(Encoding::Identity), length: None, date: None };
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            if name.eq_ignore_ascii_case("Content-Encoding") {
                head.encoding = Encoding::from_name(value);
            } else if name.eq_ignore_ascii_case("Content-Length") {
                let digits = Some(value).filter(|value| value.bytes().all(|c| c.is_ascii_digit()));
                head.length = Some(digits.and_then(|value| value.parse().ok()).ok_or(Error::AnswerMalformed)?);
            } else if name.eq_ignore_ascii_case("Date") {
                head.date = from_http_date(value);
            }
        }
        Ok(head)
    }
}

/// Reads an answer while it arrives.
#[derive(Debug, Default)]
pub struct Reader {
    /// Of the head, until it is all there.
    waiting: Vec<u8>,
    head: Option<Head>,
    /// Bytes of the body so far.
    length: usize,
}

impl Reader {
    /// Takes the next bytes, and gives those of them that are of the body.
    pub fn push<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Error> {
        if self.head.is_some() {
            return Ok(self.of_body(bytes));
        }
        let before = self.waiting.len();
        // The end may have begun in what came before.
        let from = before.saturating_sub(3);
        self.waiting.extend_from_slice(bytes);
        let end = end_of_head(self.waiting.get(from..).unwrap_or_default()).map(|end| from + end);
        if end.unwrap_or(self.waiting.len()) > MAX_HEAD_LEN {
            return Err(Error::AnswerMalformed);
        }
        let Some(end) = end else { return Ok(&[]) };
        let head = self.waiting.get(..end).and_then(|head| core::str::from_utf8(head).ok());
        self.head = Some(Head::parse(head.ok_or(Error::AnswerMalformed)?)?);
        self.waiting = Vec::new();
        Ok(self.of_body(bytes.get(end - before..).unwrap_or_default()))
    }

    /// What is beyond the length that the head says is of no body.
    fn of_body<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let left = self.head.as_ref().and_then(|head| head.length).map(|length| length - self.length);
        let taken = bytes.get(..left.unwrap_or(bytes.len())).unwrap_or(bytes);
        self.length += taken.len();
        taken
    }

    /// The head, once it is all there.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// The stream is over. A body that is cut may still have been worth reading:
    /// microdescriptors are good one by one.
    pub fn finish(&self) -> Result<&Head, Error> {
        let head = self.head.as_ref().ok_or(Error::AnswerCut)?;
        let is_whole = head.length.is_none_or(|length| length == self.length);
        if is_whole { Ok(head) } else { Err(Error::AnswerCut) }
    }
}

/// Where the body begins: after an empty line.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let is_end = |at: usize| {
        let rest = bytes.get(at..).unwrap_or_default();
        [&b"\r\n\r\n"[..], b"\n\n"].into_iter().find(|end| rest.starts_with(end)).map(|end| at + end.len())
    };
    (0..bytes.len()).find_map(is_end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};

    fn host() -> SocketAddr {
        (Ipv4Addr::new(192, 0, 2, 1), 9001).into()
    }

    /// The bytes of C tor's `directory_send_command` for the same.
    #[test]
    fn requests_are_those_of_c_tor() {
        let authorities = [RsaId([0xF5; 20]), RsaId([0x02; 20])];
        let ask = Ask::Consensus { authorities: &authorities, held: None };
        assert_eq!(
            ask.request(host(), &[Encoding::Identity, Encoding::Deflate, Encoding::Gzip]),
            "GET /tor/status-vote/current/consensus-microdesc/020202+F5F5F5.z HTTP/1.0\r\nHost: 192.0.2.1:9001\r\n\
            Accept-Encoding: deflate, gzip, identity\r\n\r\n"
        );
        let dates = [1_601_000_000, 1_601_003_600, 1_601_010_800].map(Wall::from_secs);
        let lifetime = Lifetime::new(dates[0], dates[1], dates[2]).unwrap();
        let held = Some(Held { lifetime, diff_from: Some([0xAB; 32]) });
        let request = Ask::Consensus { authorities: &authorities, held }.request(host(), &Encoding::ALL);
        let (_, headers) = request.split_once("9001\r\n").unwrap();
        assert_eq!(
            headers,
            format!(
                "If-Modified-Since: Fri, 25 Sep 2020 02:16:20 GMT\r\n\
                Accept-Encoding: x-tor-lzma, x-zstd, deflate, gzip, identity\r\n\
                X-Or-Diff-From-Consensus: {}\r\n\r\n",
                "AB".repeat(32)
            )
        );
        let ids = |identity, signing| KeyIds { identity: RsaId([identity; 20]), signing: RsaId([signing; 20]) };
        let path = Ask::Certificates(&[ids(2, 1), ids(1, 3)]).path();
        let hex = |byte| text::hex(&[byte; 20]);
        assert_eq!(path, format!("/tor/keys/fp-sk/{}-{}+{}-{}", hex(1), hex(3), hex(2), hex(1)));
        let path = Ask::Microdescs(&[[0xFF; 32], [0; 32]]).path();
        assert_eq!(path, format!("/tor/micro/d/{}-{}8.z", "A".repeat(43), "/".repeat(42)));
        assert_eq!(Ask::OwnDescriptor.path(), "/tor/server/authority.z");
    }

    #[test]
    fn anonymous_requests_say_nothing_of_us() {
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 80));
        assert_eq!(
            Ask::HsDescriptor(&[0; 32]).request(v6, &Encoding::ALL),
            format!("GET /tor/hs/3/{} HTTP/1.0\r\nHost: [::1]\r\n\r\n", "A".repeat(43))
        );
        assert_eq!(
            Ask::HsPublish("hs\n").request(host(), &Encoding::ALL),
            "POST /tor/hs/3/publish HTTP/1.0\r\nHost: 192.0.2.1:9001\r\nContent-Length: 3\r\n\r\nhs\n"
        );
        assert_eq!(Encoding::ALL.map(Encoding::is_for_strangers), [false, false, true, true, true]);
    }

    #[test]
    fn a_diff_is_asked_for_while_the_old_one_is_young() {
        let consensus = consensus::tests::verified();
        let after = |hours: u64| Wall::from_secs(consensus.lifetime().valid_after.as_secs() + hours * 3600);
        let held = Held::new(&consensus, after(72));
        assert_eq!(held.diff_from, Some(consensus.digests().signed_sha3));
        // At most half of the interval, which has twenty seconds here.
        assert_eq!(held.modified_since().since(consensus.lifetime().valid_after).as_secs(), 10);
        assert_eq!(Held::new(&consensus, after(73)).diff_from, None);
    }

    const ANSWER: &str = "HTTP/1.0 200 OK\r\nDate: Fri, 25 Sep 2020 02:13:20 GMT\r\nContent-Type: text/plain\r\n\
        Content-Encoding: deflate\r\nContent-Length: 5\r\n\r\nhello and more";

    fn read(answer: &str, step: usize) -> (Vec<u8>, Result<Head, Error>) {
        let (mut reader, mut body) = (Reader::default(), Vec::new());
        for piece in answer.as_bytes().chunks(step) {
            match reader.push(piece) {
                Ok(bytes) => body.extend_from_slice(bytes),
                Err(error) => return (body, Err(error)),
            }
        }
        (body, reader.finish().cloned())
    }

    #[test]
    fn an_answer_reads_alike_however_it_is_cut() {
        let date = Some(Wall::from_secs(1_601_000_000));
        let head = Head { status: 200, encoding: Some(Encoding::Deflate), length: Some(5), date };
        for step in 1..ANSWER.len() {
            assert_eq!(read(ANSWER, step), (b"hello".to_vec(), Ok(head.clone())), "{step}");
            assert_eq!(read(&ANSWER.replace('\r', ""), step).0, b"hello");
        }
        for length in 0..ANSWER.len() - " and more".len() {
            assert_eq!(read(&ANSWER[..length], 7).1, Err(Error::AnswerCut), "{length}");
        }
        let (body, head) = read("HTTP/1.1 404 Not found\r\n\r\nsorry\n", 3);
        let head = head.unwrap();
        assert_eq!(
            (&body[..], head.answer(), head.encoding),
            (&b"sorry\n"[..], Answer::NotFound, Some(Encoding::Identity))
        );
        let answers = [304, 503, 500].map(|status| read(&format!("HTTP/1.0 {status}\r\n\r\n"), 99).1.unwrap().answer());
        assert_eq!(answers, [Answer::NotModified, Answer::Busy, Answer::Other]);
        assert_eq!(read("HTTP/1.0 200 OK\r\nContent-Encoding: br\r\n\r\n", 9).1.unwrap().encoding, None);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for answer in [
            "SSH-2.0-x\n\n",
            "HTTP/2 200\n\n",
            "HTTP/1.0 99\n\n",
            "HTTP/1.0 600\n\n",
            "HTTP/1.0 +20\n\n",
            "HTTP/1.0\n\n",
            "HTTP/1.0 200\nContent-Length: x\n\n",
            "HTTP/1.0 200\nContent-Length: -1\n\n",
            "\n\n",
        ] {
            assert_eq!(read(answer, 2).1, Err(Error::AnswerMalformed), "{answer:?}");
        }
        let long = format!("HTTP/1.0 200 OK\r\nx: {}", "y".repeat(MAX_HEAD_LEN));
        assert_eq!(read(&long, 100).1, Err(Error::AnswerMalformed));
        assert_eq!(read(&format!("{long}\r\n\r\n"), long.len() + 4).1, Err(Error::AnswerMalformed));
    }

    #[test]
    fn dates_of_http_read_back() {
        assert_eq!(http_date(Wall::from_secs(784_111_777)), "Sun, 06 Nov 1994 08:49:37 GMT");
        for secs in [0, 784_111_777, 951_782_400, 1_601_000_000, 4_107_542_400] {
            assert_eq!(from_http_date(&http_date(Wall::from_secs(secs))), Some(Wall::from_secs(secs)));
        }
        for bad in [
            "",
            "Sun, 06 Nov 1994",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 06 Now 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 Nov 99999 08:49:37 GMT",
        ] {
            assert_eq!(from_http_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_compression_shows_in_its_first_bytes() {
        for (front, encoding) in [
            (&[0x1F, 0x8B, 8][..], Some(Encoding::Gzip)),
            (&[0x78, 0x9C, 1], Some(Encoding::Deflate)),
            (&[0x78, 0xDA, 1], Some(Encoding::Deflate)),
            (&[0x5D, 0, 0], Some(Encoding::Lzma)),
            (&[0x28, 0xB5, 0x2F, 0xFD], Some(Encoding::Zstd)),
            (b"network-status-version", None),
            (b"onion-key", None),
            (&[], None),
        ] {
            assert_eq!(Encoding::detect(front), encoding);
        }
    }
}
