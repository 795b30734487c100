//! What we say to somebody who is to connect for us, and what he answers: SOCKS and HTTP CONNECT
//! from the other side.
//!
//! One machine a connection: words out, words in, and then the connection is the relay's. Knows no
//! name: he is given addresses. Not what local programs say to us (`socks.rs`, `http_connect.rs`).
//! Called by the shell, which dials. Spec: socks-extensions; RFC 1928, RFC 1929; RFC 9110,
//! "CONNECT". C tor: `connection_proxy_connect` and `connection_read_proxy_handshake` in
//! core/mainloop/connection.c, `parse_socks_client` in core/proto/proto_socks.c.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use crate::base::text;
use crate::config::outward::{Language, Proxy};

/// The longest head of an answer. C tor: `MAX_HEADERS_SIZE`.
pub const MAX_HEAD_LEN: usize = 50_000;
const HEAD_END: &[u8] = b"\r\n\r\n";
const V4: u8 = 4;
const V5: u8 = 5;
const CONNECT: u8 = 1;
const NO_AUTH: u8 = 0;
const USER_PASS: u8 = 2;
const AUTH_VERSION: u8 = 1;
const GRANTED_V4: u8 = 90;

/// Why he does not connect for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// SOCKS4 has no word for IPv6.
    NoIpv6,
    /// What he says is not in the language that he was asked in.
    OtherLanguage,
    /// He wants to be told who asks in a way that we do not know.
    NoMethod,
    /// He does not know us.
    Unknown,
    /// He says no, with this code or status.
    Refused(u16),
    /// He says something behind his answer, where the relay would wait for us.
    Talkative,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::NoIpv6 => "SOCKS4 cannot reach IPv6",
            Error::OtherLanguage => "the proxy answers in another language",
            Error::NoMethod => "the proxy wants to know who we are in a way that is not known here",
            Error::Unknown => "the proxy takes neither our name nor our password",
            Error::Refused(code) => return write!(f, "the proxy refuses to connect, with {code}"),
            Error::Talkative => "the proxy speaks out of turn",
        })
    }
}

impl core::error::Error for Error {}

/// What is awaited.
///
/// ```text
///   Method ──name and password──> Auth ──┐
///      └──────────none───────────────────┴──> Reply ──> Connected
///   ReplyV4 ──> Connected        Head ──> Connected
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Method,
    Auth,
    Reply,
    ReplyV4,
    Head,
    Connected,
}

/// One connection to a proxy.
pub struct Outward {
    state: State,
    to: SocketAddr,
    credentials: Option<(String, String)>,
    unsent: Vec<u8>,
    buffer: Vec<u8>,
}

impl Outward {
    /// He is to connect to that address.
    pub fn new(proxy: &Proxy, to: SocketAddr) -> Result<Outward, Error> {
        let (state, unsent, credentials) = match &proxy.language {
            Language::Socks4 => (State::ReplyV4, request_v4(to)?, None),
            Language::Socks5(None) => (State::Method, vec![V5, 1, NO_AUTH], None),
            Language::Socks5(both) => (State::Method, vec![V5, 2, NO_AUTH, USER_PASS], both.clone()),
            Language::Https(authenticator) => (State::Head, head(to, authenticator.as_deref()), None),
        };
        Ok(Outward { state, to, credentials, unsent, buffer: Vec::new() })
    }

    /// What is to be said now.
    pub fn take_transmit(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.unsent)
    }

    /// Whether the connection is the relay's from now on.
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// Takes what a read brought.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(bytes);
        while !self.is_connected() {
            let buffer = core::mem::take(&mut self.buffer);
            let taken = self.step(&buffer);
            self.buffer = buffer;
            match taken? {
                Some(length) => drop(self.buffer.drain(..length)),
                None => return Ok(()),
            }
        }
        // C tor: TLS would take it for the relay's.
        if self.buffer.is_empty() { Ok(()) } else { Err(Error::Talkative) }
    }

    /// Reads one answer, if it is all there, and says how long it was.
    fn step(&mut self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        match self.state {
            State::Method => self.on_method(bytes),
            State::Auth => self.on_auth(bytes),
            State::Reply => self.on_reply(bytes),
            State::ReplyV4 => self.on_reply_v4(bytes),
            State::Head => self.on_head(bytes),
            State::Connected => Ok(None),
        }
    }

    fn on_method(&mut self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        let Some([version, method]) = bytes.first_chunk() else { return Ok(None) };
        match (*version, *method, &self.credentials) {
            (V5, NO_AUTH, _) => self.ask(),
            (V5, USER_PASS, Some((user, password))) => {
                let field = |text: &str| [&[u8::try_from(text.len()).unwrap_or(u8::MAX)], text.as_bytes()].concat();
                self.unsent = [vec![AUTH_VERSION], field(user), field(password)].concat();
                self.state = State::Auth;
            }
            (V5, ..) => return Err(Error::NoMethod),
            _ => return Err(Error::OtherLanguage),
        }
        Ok(Some(2))
    }

    fn on_auth(&mut self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        let Some([_, status]) = bytes.first_chunk() else { return Ok(None) };
        if *status != 0 {
            return Err(Error::Unknown);
        }
        self.ask();
        Ok(Some(2))
    }

    fn ask(&mut self) {
        let (kind, octets) = match self.to.ip() {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (4, ip.octets().to_vec()),
        };
        self.unsent = [&[V5, CONNECT, 0, kind][..], &octets, &self.to.port().to_be_bytes()].concat();
        self.state = State::Reply;
    }

    fn on_reply(&mut self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        let Some([version, code, _, kind]) = bytes.first_chunk() else { return Ok(None) };
        match (*version, *code) {
            (V5, 0) => {}
            (V5, code) => return Err(Error::Refused(code.into())),
            _ => return Err(Error::OtherLanguage),
        }
        let address = match (*kind, bytes.get(4)) {
            (1, _) => 4,
            (4, _) => 16,
            (3, Some(length)) => 1 + usize::from(*length),
            (3, None) => return Ok(None),
            _ => return Err(Error::OtherLanguage),
        };
        Ok(self.connected_by(bytes, 4 + address + 2))
    }

    fn on_reply_v4(&mut self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        let Some([version, code]) = bytes.first_chunk() else { return Ok(None) };
        match (*version, *code) {
            (0, GRANTED_V4) => Ok(self.connected_by(bytes, 8)),
            (0, code) => Err(Error::Refused(code.into())),
            _ => Err(Error::OtherLanguage),
        }
    }

    fn on_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        let Some(end) = bytes.windows(HEAD_END.len()).position(|four| four == HEAD_END) else {
            return if bytes.len() > MAX_HEAD_LEN { Err(Error::OtherLanguage) } else { Ok(None) };
        };
        match status(bytes).ok_or(Error::OtherLanguage)? {
            200 => Ok(self.connected_by(bytes, end + HEAD_END.len())),
            status => Err(Error::Refused(status)),
        }
    }

    /// An answer that says yes is so long.
    fn connected_by(&mut self, bytes: &[u8], length: usize) -> Option<usize> {
        let is_whole = bytes.len() >= length;
        if is_whole {
            self.state = State::Connected;
        }
        is_whole.then_some(length)
    }
}

fn request_v4(to: SocketAddr) -> Result<Vec<u8>, Error> {
    match to.ip() {
        IpAddr::V4(ip) => Ok([&[V4, CONNECT][..], &to.port().to_be_bytes(), &ip.octets(), &[0]].concat()),
        IpAddr::V6(_) => Err(Error::NoIpv6),
    }
}

/// C tor: HTTP/1.1 only where it says who asks.
fn head(to: SocketAddr, authenticator: Option<&str>) -> Vec<u8> {
    match authenticator {
        None => format!("CONNECT {to} HTTP/1.0\r\n\r\n"),
        Some(who) => {
            let who = text::base64(who.as_bytes());
            format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nProxy-Authorization: Basic {who}\r\n\r\n")
        }
    }
    .into_bytes()
}

/// The number in the first line of an answer.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = core::str::from_utf8(line).ok()?.split(' ');
    let version = words.next()?;
    words.next().filter(|_| version.starts_with("HTTP/1."))?.parse().ok()
}

/// For the fuzzer: no answer does harm, however it is cut.
pub fn fuzz(data: &[u8]) {
    let Some(([which, cut], bytes)) = data.split_first_chunk() else { return };
    let both = Some(("me".to_owned(), "secret".to_owned()));
    let language = match which % 4 {
        0 => Language::Socks4,
        1 => Language::Socks5(None),
        2 => Language::Socks5(both),
        _ => Language::Https(None),
    };
    let to = SocketAddr::from(([192, 0, 2, 1], 443));
    let run = |size: usize| {
        let mut outward = Outward::new(&Proxy { at: to, language: language.clone() }, to).ok()?;
        let results: Result<Vec<()>, Error> =
            bytes.chunks(size.max(1)).map(|piece| outward.handle_bytes(piece)).collect();
        results.ok().map(|_| (outward.is_connected(), outward.take_transmit()))
    };
    let whole = run(bytes.len());
    // What he says out of turn is only seen where it comes.
    assert!(whole.is_none() || run(usize::from(*cut)) == whole, "how the bytes are cut shows");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TO: &str = "192.0.2.7:9001";
    const TO_V6: &str = "[2001:db8::7]:443";

    fn outward(language: Language, to: &str) -> Result<Outward, Error> {
        Outward::new(&Proxy { at: "127.0.0.1:1".parse().unwrap(), language }, to.parse().unwrap())
    }

    fn both() -> Language {
        Language::Socks5(Some(("me".to_owned(), "secret".to_owned())))
    }

    /// Goes through a talk, each side in turn, one byte at a time.
    fn talk(mut outward: Outward, turns: &[(&[u8], &[u8])]) {
        for (said, answer) in turns {
            assert_eq!(outward.take_transmit(), *said);
            for byte in *answer {
                assert!(!outward.is_connected());
                outward.handle_bytes(&[*byte]).unwrap();
            }
        }
        assert!(outward.is_connected() && outward.take_transmit().is_empty());
    }

    #[test]
    fn proxies_are_asked_as_c_tor_asks_them() {
        talk(
            outward(Language::Socks4, TO).unwrap(),
            &[(b"\x04\x01\x23\x29\xC0\x00\x02\x07\x00", b"\x00\x5A\0\0\0\0\0\0")],
        );
        let asked: &[u8] = b"\x05\x01\x00\x01\xC0\x00\x02\x07\x23\x29";
        let granted: &[u8] = b"\x05\x00\x00\x01\0\0\0\0\0\0";
        talk(outward(Language::Socks5(None), TO).unwrap(), &[(b"\x05\x01\x00", b"\x05\x00"), (asked, granted)]);
        talk(outward(both(), TO).unwrap(), &[(b"\x05\x02\x00\x02", b"\x05\x00"), (asked, granted)]);
        talk(
            outward(both(), TO).unwrap(),
            &[
                (b"\x05\x02\x00\x02", b"\x05\x02"),
                (b"\x01\x02me\x06secret", b"\x01\x00"),
                (asked, b"\x05\x00\x00\x03\x03abc\0\0"),
            ],
        );
        let asked = b"\x05\x01\x00\x04\x20\x01\x0D\xB8\0\0\0\0\0\0\0\0\0\0\0\x07\x01\xBB";
        let granted = b"\x05\x00\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        talk(outward(Language::Socks5(None), TO_V6).unwrap(), &[(b"\x05\x01\x00", b"\x05\x00"), (asked, granted)]);
        let asked = b"CONNECT [2001:db8::7]:443 HTTP/1.0\r\n\r\n";
        talk(outward(Language::Https(None), TO_V6).unwrap(), &[(asked, b"HTTP/1.1 200 Fine\r\nVia: x\r\n\r\n")]);
        let asked = b"CONNECT 192.0.2.7:9001 HTTP/1.1\r\nHost: 192.0.2.7:9001\r\n\
            Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n";
        let who = Language::Https(Some("me:secret".to_owned()));
        talk(outward(who, TO).unwrap(), &[(asked, b"HTTP/1.0 200 OK\r\n\r\n")]);
    }

    #[test]
    fn whoever_says_no_or_something_else_is_understood() {
        let refused = |language, answers: &[&[u8]]| {
            let mut outward = outward(language, TO).unwrap();
            let answers: Vec<_> = answers.iter().map(|answer| outward.handle_bytes(answer)).collect();
            answers.into_iter().find_map(Result::err)
        };
        let https = || Language::Https(None);
        for (language, answers, expected) in [
            (Language::Socks4, &[&b"\x00\x5B\0\0\0\0\0\0"[..]][..], Error::Refused(91)),
            (Language::Socks4, &[b"\x05\x00"], Error::OtherLanguage),
            (Language::Socks5(None), &[b"HTTP"], Error::OtherLanguage),
            (Language::Socks5(None), &[b"\x05\x02"], Error::NoMethod),
            (both(), &[b"\x05\xFF"], Error::NoMethod),
            (both(), &[b"\x05\x02", b"\x01\x01"], Error::Unknown),
            (Language::Socks5(None), &[b"\x05\x00", b"\x05\x05\x00\x01"], Error::Refused(5)),
            (Language::Socks5(None), &[b"\x05\x00", b"\x05\x00\x00\x09"], Error::OtherLanguage),
            (Language::Socks5(None), &[b"\x05\x00", b"\x05\x00\x00\x01\0\0\0\0\0\0x"], Error::Talkative),
            (https(), &[b"HTTP/1.1 403 No\r\n\r\n"], Error::Refused(403)),
            (https(), &[b"SSH-2.0\r\n\r\n"], Error::OtherLanguage),
            (https(), &[b"HTTP/1.1 200 OK\r\n\r\nx"], Error::Talkative),
            (https(), &[&[b'x'; MAX_HEAD_LEN + 1]], Error::OtherLanguage),
        ] {
            assert_eq!(refused(language, answers), Some(expected), "{answers:?}");
        }
        assert_eq!(outward(Language::Socks4, TO_V6).err(), Some(Error::NoIpv6));
    }

    proptest! {
        #[test]
        fn no_answer_does_harm(data in proptest::collection::vec(any::<u8>(), 0..80)) {
            fuzz(&data);
        }

        #[test]
        fn answers_that_look_right_do_none_either(front in "[\\x00-\\x03]{2}", rest in "([\\x00\\x01\\x02\\x05\\x5A]|HTTP/1.0 200\r\n\r\n){0,20}") {
            fuzz(format!("{front}{rest}").as_bytes());
        }
    }
}
