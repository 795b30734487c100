//! As much of HTTP/1.0 as directory caches speak: one request, one answer, and dates.
//!
//! Knows no document. Called by `cache/mod.rs`. Spec: dir-spec, "Standards compliance";
//! RFC 1945. C tor: `feature/dircache/dircache.c`, for which headers there are and in which
//! order.

use core::net::IpAddr;
use core::time::Duration;

use super::compress::{Encoding, Use};
use crate::base::time::Wall;

/// The longest request that is waited for. C tor: `MAX_HEADERS_SIZE`.
pub const MAX_REQUEST_LEN: usize = 50_000;
const END: &[u8] = b"\r\n\r\n";
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_SECS: u64 = 86_400;
/// The last year whose dates are read; ours, for a bound.
const LAST_YEAR: u64 = 9999;

/// A request, all there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// Without the `.z` at its end.
    pub(super) path: &'a str,
    /// Whether it had one.
    wants_deflate: bool,
    head: &'a str,
}

/// What cannot be a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadRequest;

impl<'a> Request<'a> {
    /// Reads a request; `None` while it is not all there.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Result<Self, BadRequest>> {
        let bounded = bytes.get(..MAX_REQUEST_LEN).unwrap_or(bytes);
        match bounded.windows(END.len()).position(|window| window == END) {
            Some(end) => Some(Request::of_head(bounded.get(..end).unwrap_or_default())),
            None if bytes.len() >= MAX_REQUEST_LEN => Some(Err(BadRequest)),
            None => None,
        }
    }

    fn of_head(head: &'a [u8]) -> Result<Self, BadRequest> {
        let head = core::str::from_utf8(head).map_err(|_| BadRequest)?;
        let mut words = head.lines().next().unwrap_or_default().split(' ');
        let (Some(method), Some(url), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(BadRequest);
        };
        if !version.starts_with("HTTP/1.") || !url.starts_with('/') {
            return Err(BadRequest);
        }
        let bare = url.strip_suffix(".z");
        Ok(Request { method, path: bare.unwrap_or(url), wants_deflate: bare.is_some(), head })
    }

    /// The value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The best encoding that the client takes and we have.
    pub(super) fn encoding(&self, usage: Use) -> Encoding {
        match self.header("Accept-Encoding") {
            Some(listed) => Encoding::best(listed.split(',').map(str::trim), usage),
            None if self.wants_deflate => Encoding::Deflate,
            None => Encoding::Identity,
        }
    }

    /// The date before which nothing is news.
    pub(super) fn if_modified_since(&self) -> Option<Wall> {
        self.header("If-Modified-Since").and_then(parse_date)
    }
}

/// An answer without a body.
pub(super) fn short(status: u16, reason: &str, now: Wall) -> Vec<u8> {
    format!("HTTP/1.0 {status} {reason}\r\nDate: {}\r\n\r\n", date(now)).into_bytes()
}

/// What stands over a body.
pub(super) struct Head {
    pub(super) encoding: Encoding,
    /// Said only where C tor says it: where a whole document is sent as it is.
    pub(super) length: Option<usize>,
    /// How long the answer stays true; zero if it may not be kept.
    pub(super) lifetime: Duration,
    /// Whether another header would have changed the answer.
    pub(super) varies: bool,
}

impl Head {
    /// The bytes; `peer` is told which address it comes from.
    pub(super) fn encode(&self, peer: Option<IpAddr>, now: Wall) -> Vec<u8> {
        let mut out = format!("HTTP/1.0 200 OK\r\nDate: {}\r\nContent-Type: text/plain\r\n", date(now));
        if let Some(peer) = peer {
            out.push_str(&format!("X-Your-Address-Is: {peer}\r\n"));
        }
        out.push_str(&format!("Content-Encoding: {}\r\n", self.encoding.name()));
        if let Some(length) = self.length {
            out.push_str(&format!("Content-Length: {length}\r\n"));
        }
        if self.lifetime.is_zero() {
            out.push_str("Pragma: no-cache\r\n");
        } else {
            out.push_str(&format!("Expires: {}\r\n", date(now + self.lifetime)));
        }
        if self.varies {
            out.push_str("Vary: X-Or-Diff-From-Consensus\r\n");
        }
        out.push_str("\r\n");
        out.into_bytes()
    }
}

/// As HTTP writes a date: `Sat, 21 Nov 2026 14:00:00 GMT`.
pub(super) fn date(at: Wall) -> String {
    let iso = at.to_string();
    let (day, time) = iso.split_once(' ').unwrap_or_default();
    let mut parts = day.split('-');
    let (year, month, day) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let index = |number: u64| usize::try_from(number).unwrap_or_default();
    let weekday = DAYS.get(index(at.as_secs() / DAY_SECS % 7)).unwrap_or(&"Thu");
    let month = month.parse::<usize>().ok().and_then(|month| MONTHS.get(month.checked_sub(1)?)).unwrap_or(&"Jan");
    format!("{weekday}, {day} {month} {year} {time} GMT")
}

/// Reads such a date; its weekday is not looked at.
fn parse_date(text: &str) -> Option<Wall> {
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let month = words.next().and_then(|name| MONTHS.iter().position(|month| *month == name))?;
    let year: u64 = words.next()?.parse().ok().filter(|year| (1970..=LAST_YEAR).contains(year))?;
    let mut time = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let years = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum::<u64>();
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334].get(month)?;
    let days = years + before + u64::from(month > 1 && is_leap(year)) + day - 1;
    Some(Wall::from_secs(days * DAY_SECS + hour * 3600 + minute * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Option<Result<Request<'_>, BadRequest>> {
        Request::parse(text.as_bytes())
    }

    /// What C tor 0.4.9 sends.
    #[test]
    fn a_request_of_c_tor_is_read() {
        let text = "GET /tor/status-vote/current/consensus-microdesc/0232AF+14C131.z HTTP/1.0\r\nHost: 127.0.0.1\r\n\
             If-Modified-Since: Sat, 21 Nov 2026 14:03:00 GMT\r\n\
             Accept-Encoding: x-tor-lzma, x-zstd, deflate, gzip, identity\r\nX-Or-Diff-From-Consensus: 00\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end]), None);
        }
        let request = parse(text).unwrap().unwrap();
        assert_eq!(
            (request.method, request.path),
            ("GET", "/tor/status-vote/current/consensus-microdesc/0232AF+14C131")
        );
        assert_eq!(request.encoding(Use::Kept), Encoding::Lzma);
        assert_eq!(request.encoding(Use::Passing), Encoding::Zstd);
        assert_eq!(request.header("x-or-diff-from-consensus"), Some("00"));
        assert_eq!(request.header("Accept"), None);
        assert_eq!(request.if_modified_since().unwrap().to_string(), "2026-11-21 14:03:00");
    }

    #[test]
    fn encodings_are_asked_for_in_two_ways() {
        for (text, expected) in [
            ("GET /a HTTP/1.0\r\n\r\n", Encoding::Identity),
            ("GET /a.z HTTP/1.0\r\n\r\n", Encoding::Deflate),
            ("GET /a HTTP/1.0\r\nAccept-Encoding: identity, x-tor-lzma\r\n\r\n", Encoding::Identity),
            ("GET /a HTTP/1.0\r\naccept-encoding: identity,deflate\r\n\r\n", Encoding::Deflate),
        ] {
            assert_eq!(parse(text).unwrap().unwrap().encoding(Use::Passing), expected, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_and_nothing_is_waited_for_for_ever() {
        for text in ["\r\n\r\n", "GET /\r\n\r\n", "GET / FTP/1\r\n\r\n", "GET x HTTP/1.0\r\n\r\n", "A B C D\r\n\r\n"] {
            assert_eq!(parse(text), Some(Err(BadRequest)), "{text}");
        }
        assert_eq!(Request::parse(b"GET /\xff HTTP/1.0\r\n\r\n"), Some(Err(BadRequest)));
        assert_eq!(Request::parse(&[b'x'; MAX_REQUEST_LEN - 1]), None);
        assert_eq!(Request::parse(&[b'x'; MAX_REQUEST_LEN]), Some(Err(BadRequest)));
    }

    #[test]
    fn answers_have_the_headers_of_c_tor() {
        let now = Wall::from_secs(1_795_270_000);
        assert_eq!(
            short(404, "Not found", now),
            b"HTTP/1.0 404 Not found\r\nDate: Sat, 21 Nov 2026 14:06:40 GMT\r\n\r\n"
        );
        let head =
            Head { encoding: Encoding::Identity, length: Some(7), lifetime: Duration::from_secs(60), varies: false };
        assert_eq!(
            String::from_utf8(head.encode(Some(IpAddr::from([192, 0, 2, 1])), now)).unwrap(),
            "HTTP/1.0 200 OK\r\nDate: Sat, 21 Nov 2026 14:06:40 GMT\r\nContent-Type: text/plain\r\n\
             X-Your-Address-Is: 192.0.2.1\r\nContent-Encoding: identity\r\nContent-Length: 7\r\n\
             Expires: Sat, 21 Nov 2026 14:07:40 GMT\r\n\r\n"
        );
        let head = Head { encoding: Encoding::Deflate, length: None, lifetime: Duration::ZERO, varies: true };
        let text = String::from_utf8(head.encode(None, now)).unwrap();
        assert!(text.ends_with("deflate\r\nPragma: no-cache\r\nVary: X-Or-Diff-From-Consensus\r\n\r\n"), "{text}");
    }

    proptest! {
        #[test]
        fn dates_read_back(secs in 0_u64..253_402_300_799) {
            prop_assert_eq!(parse_date(&date(Wall::from_secs(secs))), Some(Wall::from_secs(secs)));
        }

        #[test]
        fn no_request_panics(text in ".*", date in "[A-Z][a-z]{2}, [0-9]{1,3} (Jan|Feb|X) [0-9]{1,20} [0-9:]{0,9}") {
            let head = format!("GET {text} HTTP/1.0\r\nIf-Modified-Since: {date}\r\n{text}\r\n\r\n");
            if let Some(Ok(request)) = Request::parse(head.as_bytes()) {
                let _ = (request.encoding(Use::Passing), request.if_modified_since());
            }
        }
    }
}
