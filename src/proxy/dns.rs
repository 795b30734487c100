//! The port for look-ups: a datagram of a program in, one request, and the datagram that answers it.
//!
//! Of all questions the first that can be answered is: for addresses of IPv4 (A) or IPv6 (AAAA),
//! or for the name of an address (PTR). An answer is one record or none. Keeps nothing and knows
//! no time; caches no answer, which would say who asked before. Called by the shell, once for each
//! datagram. Spec: RFC 1035, "Domain names", 4.1; RFC 3596, "DNS Extensions to Support IPv6".
//! C tor: feature/client/dnsserv.c, and what it makes of libevent's `request_parse` and
//! `evdns_server_request_format_response`.
//! Differs: C tor says nothing to what cannot be read, and takes every operation for a question.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Command, Failure, Found, Host, Preference, Protocol, Request};
use crate::base::codec::{self, Reader};
use crate::client::name::MAX_NAME_LEN;

/// The longest datagram that is looked at. C tor: what libevent reads.
pub const MAX_QUERY_LEN: usize = 1500;
/// The longest answer. Spec: RFC 1035, 2.3.4.
const MAX_ANSWER_LEN: usize = 512;
/// No answer is good for a shorter time than this, in seconds, nor one of which nobody knows how
/// long. C tor: `dnsserv_resolved`.
const LEAST_TTL: u32 = 60;
/// Spec: RFC 2181, section 8.
const MOST_TTL: u32 = 0x7FFF_FFFF;
const MAX_LABEL_LEN: usize = 63;

const HEAD_LEN: usize = 12;
const IS_ANSWER: u16 = 0x8000;
const OPERATION: u16 = 0x7800;
const IS_CUT: u16 = 0x0200;
const MAY_ASK_FURTHER: u16 = 0x0080;
/// What an answer repeats of its question besides the operation: that it may be asked further,
/// and that nothing is to be checked.
const REPEATED: u16 = 0x0110;
const INTERNET: u16 = 1;
/// In place of a name: where in the datagram it was said before.
const SAID_BEFORE: u16 = 0xC000;

/// How a look-up ended. Spec: RFC 1035, 4.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// There is an answer, or there is nothing to be said.
    NoError = 0,
    /// It cannot be read.
    Malformed = 1,
    /// It failed.
    ServerFailure = 2,
    /// Nobody has that name.
    NoSuchName = 3,
    /// That is not done here.
    NotImplemented = 4,
    /// Not for whoever asks.
    Refused = 5,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    A = 1,
    Ptr = 12,
    Aaaa = 28,
}

/// A datagram that can be answered.
#[derive(Clone, PartialEq, Eq)]
pub struct Query {
    id: u16,
    /// As they came.
    flags: u16,
    count: u16,
    /// All of them, as they came: who asks mixes the case of letters, to know its answer.
    questions: Vec<u8>,
    asked: Result<Asked, Code>,
}

/// The question that is answered.
#[derive(Clone, PartialEq, Eq)]
struct Asked {
    kind: Kind,
    /// Where its name begins in the datagram.
    at: u16,
    request: Result<Request, Failure>,
}

/// Shows nothing of it.
impl core::fmt::Debug for Query {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Query")
    }
}

impl Query {
    /// Reads a datagram; `None` if nothing must be said to it, for it may be somebody's answer.
    pub fn parse(datagram: &[u8]) -> Option<Query> {
        let mut reader = Reader::new(datagram);
        let (id, flags, count) = (reader.u16().ok()?, reader.u16().ok()?, reader.u16().ok()?);
        reader.take(HEAD_LEN - 6).ok().filter(|_| flags & IS_ANSWER == 0)?;
        let bare = |code| Query { id, flags, count: 0, questions: Vec::new(), asked: Err(code) };
        if flags & OPERATION != 0 {
            return Some(bare(Code::NotImplemented));
        }
        let Ok((asked, length)) = questions(datagram, count) else { return Some(bare(Code::Malformed)) };
        let questions = datagram.get(HEAD_LEN..length)?.to_vec();
        let nothing = if count == 0 { Code::NoError } else { Code::NotImplemented };
        Some(Query { id, flags, count, questions, asked: asked.ok_or(nothing) })
    }

    /// What is to be served, or the answer that is known already.
    pub fn request(&self) -> Result<&Request, Vec<u8>> {
        match &self.asked {
            Ok(Asked { request: Ok(request), .. }) => Ok(request),
            Ok(Asked { request: Err(failure), .. }) => Err(self.failed(*failure)),
            Err(code) => Err(self.answer(*code, None)),
        }
    }

    /// The answer to whoever may not ask.
    pub fn refused(&self) -> Vec<u8> {
        self.answer(Code::Refused, None)
    }

    /// The answer, if nothing came of it.
    pub fn failed(&self, failure: Failure) -> Vec<u8> {
        self.answer(code(failure), None)
    }

    /// The answer, if this was found; it is good for so many seconds, if that is known.
    pub fn found(&self, found: &Found, seconds: Option<u32>) -> Vec<u8> {
        let Ok(asked) = &self.asked else { return self.answer(Code::ServerFailure, None) };
        let data = match (asked.kind, found) {
            (Kind::A, Found::Ip(IpAddr::V4(ip))) => Some(ip.octets().to_vec()),
            (Kind::Aaaa, Found::Ip(IpAddr::V6(ip))) => Some(ip.octets().to_vec()),
            (Kind::Ptr, Found::Name(name)) => labels(name),
            _ => None,
        };
        let Some(data) = data else { return self.answer(Code::ServerFailure, None) };
        let seconds = seconds.unwrap_or(LEAST_TTL).clamp(LEAST_TTL, MOST_TTL);
        let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
        let mut record = Vec::new();
        for word in [SAID_BEFORE | asked.at, asked.kind as u16, INTERNET] {
            record.extend(word.to_be_bytes());
        }
        record.extend(seconds.to_be_bytes());
        record.extend(length.to_be_bytes());
        record.extend(data);
        self.answer(Code::NoError, Some(&record))
    }

    fn answer(&self, code: Code, record: Option<&[u8]>) -> Vec<u8> {
        let flags = IS_ANSWER | (self.flags & (OPERATION | REPEATED)) | MAY_ASK_FURTHER | code as u16;
        let count = u16::from(record.is_some());
        let length = HEAD_LEN + self.questions.len() + record.map_or(0, <[u8]>::len);
        // C tor: it is cut wherever that is.
        let flags = if length > MAX_ANSWER_LEN { flags | IS_CUT } else { flags };
        let head = [self.id, flags, self.count, count, 0, 0].map(u16::to_be_bytes);
        let mut answer = [head.as_flattened(), &self.questions, record.unwrap_or_default()].concat();
        answer.truncate(MAX_ANSWER_LEN);
        answer
    }
}

/// The first of so many questions that can be answered, and where the last ends.
fn questions(datagram: &[u8], count: u16) -> Result<(Option<Asked>, usize), codec::Error> {
    let mut reader = Reader::new(datagram);
    reader.take(HEAD_LEN)?;
    let mut first = None;
    for _ in 0..count {
        let at = datagram.len() - reader.remaining();
        let name = name(&mut reader)?;
        let (kind, class) = (reader.u16()?, reader.u16()?);
        let kinds = [Kind::A, Kind::Ptr, Kind::Aaaa];
        let kind = kinds.into_iter().find(|known| *known as u16 == kind && class == INTERNET);
        if let (None, Some(kind), Ok(at)) = (&first, kind, u16::try_from(at)) {
            first = Some(Asked { kind, at, request: request(kind, name) });
        }
    }
    Ok((first, datagram.len() - reader.remaining()))
}

/// A name, with dots between its labels; none if it has letters that only look like that.
fn name(reader: &mut Reader<'_>) -> Result<Option<String>, codec::Error> {
    let mut name = Some(String::new());
    let mut length = 0;
    loop {
        let label = match usize::from(reader.u8()?) {
            0 => return Ok(name),
            label @ ..=MAX_LABEL_LEN => reader.take(label)?,
            // A name before which there is none has nowhere to point to.
            _ => return Err(codec::Error::LengthTooLarge),
        };
        length += label.len() + 1;
        if length > MAX_NAME_LEN {
            return Err(codec::Error::LengthTooLarge);
        }
        let text = core::str::from_utf8(label).ok().filter(|text| text.is_ascii() && !text.contains('.'));
        name = name.zip(text).map(|(name, text)| if name.is_empty() { text.to_owned() } else { name + "." + text });
    }
}

fn request(kind: Kind, name: Option<String>) -> Result<Request, Failure> {
    let name = name.ok_or(Failure::Malformed)?;
    let (command, host, preference) = match kind {
        Kind::A => (Command::Resolve, Host::parse_loosely(&name)?, Some(Preference::Ipv4Only)),
        Kind::Aaaa => (Command::Resolve, Host::parse_loosely(&name)?, Some(Preference::Ipv6Only)),
        Kind::Ptr => (Command::ResolvePtr, Host::Ip(reversed(&name).ok_or(Failure::Malformed)?), None),
    };
    Ok(Request { command, host, port: 0, protocol: Protocol::Dns, credentials: None, preference })
}

/// The address whose name is asked for. C tor: `tor_addr_parse_PTR_name`, which takes an address
/// as it is, too; a name for look-ups holds none of IPv6.
fn reversed(name: &str) -> Option<IpAddr> {
    let name = name.to_ascii_lowercase();
    if let Some(front) = name.strip_suffix(".in-addr.arpa") {
        let [a, b, c, d] = front.parse::<Ipv4Addr>().ok()?.octets();
        return Some(Ipv4Addr::new(d, c, b, a).into());
    }
    let Some(front) = name.strip_suffix(".ip6.arpa") else { return name.parse::<Ipv4Addr>().ok().map(IpAddr::V4) };
    let mut digits = front.rsplit('.');
    let mut bits: u128 = 0;
    for _ in 0..32 {
        let digit = digits.next().filter(|digit| digit.len() == 1 && *digit != "+")?;
        bits = (bits << 4) | u128::from_str_radix(digit, 16).ok()?;
    }
    digits.next().is_none().then(|| Ipv6Addr::from(bits).into())
}

/// A name as labels, if it can be one.
fn labels(name: &str) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    for label in name.strip_suffix('.').unwrap_or(name).split('.') {
        let length =
            u8::try_from(label.len()).ok().filter(|length| (1..=MAX_LABEL_LEN).contains(&usize::from(*length)))?;
        labels.push(length);
        labels.extend(label.as_bytes());
    }
    labels.push(0);
    (labels.len() <= MAX_NAME_LEN).then_some(labels)
}

/// The table of answers. C tor: what an exit says that there is not, and an address of here, are
/// nobody's; whatever else goes wrong may be better later.
fn code(failure: Failure) -> Code {
    match failure {
        Failure::NotFound | Failure::InternalHasNoName => Code::NoSuchName,
        Failure::OtherKind => Code::NoError,
        _ => Code::ServerFailure,
    }
}

/// For the fuzzer: no datagram does harm, and whatever becomes of it has one answer that fits.
pub fn fuzz(data: &[u8]) {
    let Some(query) = Query::parse(data) else { return };
    let mut answers = vec![query.refused(), query.failed(Failure::NotFound), query.failed(Failure::OtherKind)];
    answers.push(query.found(&Found::Ip(Ipv4Addr::LOCALHOST.into()), None));
    answers.push(query.found(&Found::Ip(Ipv6Addr::LOCALHOST.into()), Some(u32::MAX)));
    answers.push(query.found(&Found::Name("a.example".to_owned()), Some(0)));
    match query.request() {
        Ok(request) => assert!(request.protocol == Protocol::Dns && request.port == 0, "not a look-up"),
        Err(answer) => answers.push(answer),
    }
    for answer in answers {
        assert!((HEAD_LEN..=MAX_ANSWER_LEN).contains(&answer.len()), "an answer of no length");
        assert!(answer.get(..2) == data.get(..2), "somebody else's answer");
        assert!(Query::parse(&answer).is_none(), "an answer that would be answered");
    }
}

#[cfg(test)]
mod tests;
