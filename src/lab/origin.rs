//! What stands behind an exit: servers that live in this process, each with one habit.
//!
//! A server is named by a host name under `.lab`, so that any client can ask for any habit
//! without configuration: `echo.lab`, `source-1048576.lab`, `refuse.lab`. Not sockets
//! (`loopback.rs`). Called by `relay/stream.rs` for every stream, and by the tests.
//! Spec: none; what an exit answers for each habit is tor-spec, "Opening streams".

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::collections::VecDeque;

use crate::base::address::is_internal;
use crate::base::time::Tick;
use crate::wire::relay_msg::EndReason;

/// The zone all of them live in.
const ZONE: &str = ".lab";
/// What a slow server takes or gives at a time, and how often; ours.
const SLOW_BYTES: usize = 1000;
const SLOW_PERIOD: Duration = Duration::from_millis(100);
/// What the echo server holds before it stops reading; ours.
const ECHO_ROOM: usize = 64 * 1024;
/// The largest page or bulk anybody may ask for, so that a typo cannot fill a disk; ours.
const MAX_BULK: u64 = 64 << 30;
/// Where the servers say they are: a documentation network (RFC 5737, RFC 3849).
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 80));
const ADDRESS_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 0x80));
/// What a look-up of the first of these asks for, and the name that it finds.
const REVERSE: (&str, &str) = ("80.100.51.198.in-addr.arpa", "server.lab");
/// How long the servers' addresses are good, in seconds.
pub const TTL: u32 = 60;

/// One habit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Gives back what it gets.
    Echo,
    /// Gives so many bytes and closes.
    Source(u64),
    /// Takes everything and says nothing until the client closes.
    Sink,
    /// Answers `GET /N` with N bytes over HTTP/1.0.
    Http,
    /// A sink that reads slowly.
    SlowReader,
    /// A source of so many bytes that writes slowly.
    SlowWriter(u64),
    /// Closes its half at once; with that an exit ends the stream, Tor has no half of one.
    HalfClose,
    /// Resets after so many bytes.
    Reset(u64),
    /// Refuses the connection.
    Refuse,
    /// Cannot be reached in time, says its exit.
    TimeOut,
    /// Is never reached: its exit ends the stream with that reason.
    Ends(u8),
    /// Never answers.
    Silent,
}

/// Makes a habit of the number behind its name.
type Make = fn(u64) -> Habit;

/// Every habit with the name a client asks by; a number goes behind a dash.
const NAMES: [(&str, Make); 12] = [
    ("echo", |_| Habit::Echo),
    ("source", Habit::Source),
    ("sink", |_| Habit::Sink),
    ("http", |_| Habit::Http),
    ("slow-reader", |_| Habit::SlowReader),
    ("slow-writer", Habit::SlowWriter),
    ("half-close", |_| Habit::HalfClose),
    ("reset", Habit::Reset),
    ("refuse", |_| Habit::Refuse),
    ("time-out", |_| Habit::TimeOut),
    ("ends", |reason| Habit::Ends(u8::try_from(reason).unwrap_or(u8::MAX))),
    ("silent", |_| Habit::Silent),
];

impl Habit {
    /// The habit a host name asks for.
    pub fn of_host(host: &str) -> Option<Habit> {
        let name = host.strip_suffix(ZONE)?;
        NAMES.iter().find_map(|(known, make)| {
            let rest = name.strip_prefix(known)?;
            match rest.strip_prefix('-') {
                None => rest.is_empty().then(|| make(0)),
                Some(number) => Some(make(number.parse::<u64>().ok()?.min(MAX_BULK))),
            }
        })
    }

    /// The names of all habits.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }
}

/// What a name resolves to: everything under the zone, except what asks to fail.
pub fn resolve(host: &str) -> Result<[IpAddr; 2], ResolveFailure> {
    match host.strip_suffix(ZONE) {
        Some("fails") => Err(ResolveFailure::Permanent),
        Some("fails-now") => Err(ResolveFailure::Transient),
        Some("private") => Ok([IpAddr::from([10, 0, 0, 1]), IpAddr::V6(Ipv6Addr::LOCALHOST)]),
        Some(_) => Ok([ADDRESS, ADDRESS_V6]),
        None => Err(ResolveFailure::Permanent),
    }
}

/// The name of an address, as a look-up asks for it: the servers have one for all.
pub fn name_of(asked: &str) -> Option<&'static str> {
    let (address, name) = REVERSE;
    (asked == address).then_some(name)
}

/// What an exit finds and does not connect to: what is asked for by its address, and what is
/// private.
pub fn forbidden(host: &str) -> Option<IpAddr> {
    let found = || resolve(host).ok().map(|[first, _]| first).filter(|ip| is_internal(*ip));
    host.parse().ok().or_else(found)
}

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveFailure {
    /// It may have one later.
    Transient,
    /// It has none.
    Permanent,
}

/// What a server gives when asked for bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// At least one byte, and no more than asked for.
    Bytes(Vec<u8>),
    /// Nothing until then, or until it is written to.
    NothingUntil(Option<Tick>),
    /// Its half is over.
    End(EndReason),
}

/// One connection to one server.
#[derive(Debug)]
pub struct Origin {
    habit: Habit,
    /// Bytes already given.
    given: u64,
    /// Bytes still to be given, where the habit counts them.
    left: u64,
    /// Echo and HTTP: what was written and not yet answered.
    held: VecDeque<u8>,
    /// Slow habits: when it next takes or gives.
    next: Tick,
    /// Slow reader: written and not yet taken.
    untaken: usize,
    /// Bytes ever written to it.
    taken: u64,
    client_closed: bool,
}

impl Origin {
    /// Connects to the server that `habit` is; an error is the exit's END.
    ///
    /// `None` is a server that never answers.
    pub fn connect(habit: Habit, now: Tick) -> Result<Option<Origin>, EndReason> {
        let left = match habit {
            Habit::Source(n) | Habit::SlowWriter(n) | Habit::Reset(n) => n,
            Habit::Refuse => return Err(EndReason::CONNECTREFUSED),
            Habit::TimeOut => return Err(EndReason::TIMEOUT),
            Habit::Ends(reason) => return Err(EndReason(reason)),
            Habit::Silent => return Ok(None),
            _ => 0,
        };
        Ok(Some(Origin {
            habit,
            given: 0,
            left,
            held: VecDeque::new(),
            next: now,
            untaken: 0,
            taken: 0,
            client_closed: false,
        }))
    }

    /// Takes bytes from the client.
    pub fn write(&mut self, bytes: &[u8]) {
        self.taken += u64::try_from(bytes.len()).unwrap_or(0);
        match self.habit {
            Habit::Echo | Habit::Http => self.held.extend(bytes),
            Habit::SlowReader => self.untaken += bytes.len(),
            _ => {}
        }
    }

    /// The client closed its half, or all of it.
    pub fn close(&mut self) {
        self.client_closed = true;
    }

    /// Bytes the server has been given and not yet taken off the wire.
    pub fn unread(&mut self, now: Tick) -> usize {
        match self.habit {
            Habit::Echo => self.held.len().saturating_sub(ECHO_ROOM),
            Habit::SlowReader => {
                while self.untaken > 0 && self.next <= now {
                    self.untaken = self.untaken.saturating_sub(SLOW_BYTES);
                    self.next = self.next + SLOW_PERIOD;
                }
                if self.untaken == 0 {
                    self.next = self.next.max(now);
                }
                self.untaken
            }
            _ => 0,
        }
    }

    /// When [`Origin::unread`] may say less.
    pub fn reads_again(&self) -> Option<Tick> {
        (self.habit == Habit::SlowReader && self.untaken > 0).then_some(self.next)
    }

    /// How many bytes the client ever wrote.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Gives at most `room` bytes, which is not zero.
    pub fn read(&mut self, room: usize, now: Tick) -> Given {
        match self.habit {
            Habit::Echo if self.held.is_empty() && self.client_closed => Given::End(EndReason::DONE),
            Habit::Echo => self.give_held(room),
            Habit::Http => self.answer(room, now),
            // An HTTP server's header stands before its body.
            Habit::Source(_) if !self.held.is_empty() => self.give_held(room),
            Habit::Source(_) if self.left == 0 => Given::End(EndReason::DONE),
            Habit::Reset(_) if self.left == 0 => Given::End(EndReason::CONNRESET),
            Habit::Source(_) | Habit::Reset(_) => self.give_counted(room),
            Habit::SlowWriter(_) if self.left == 0 => Given::End(EndReason::DONE),
            Habit::SlowWriter(_) if self.next > now => Given::NothingUntil(Some(self.next)),
            Habit::SlowWriter(_) => {
                self.next = now + SLOW_PERIOD;
                self.give_counted(room.min(SLOW_BYTES))
            }
            Habit::HalfClose => Given::End(EndReason::DONE),
            Habit::Sink | Habit::SlowReader if self.client_closed => Given::End(EndReason::DONE),
            Habit::Sink | Habit::SlowReader | Habit::Refuse | Habit::TimeOut | Habit::Ends(_) | Habit::Silent => {
                Given::NothingUntil(None)
            }
        }
    }

    fn give_held(&mut self, room: usize) -> Given {
        let n = room.min(self.held.len());
        if n == 0 { Given::NothingUntil(None) } else { Given::Bytes(self.held.drain(..n).collect()) }
    }

    /// The next bytes of the pattern, which says at which offset each byte is.
    fn give_counted(&mut self, room: usize) -> Given {
        let n = u64::try_from(room).unwrap_or(u64::MAX).min(self.left);
        let bytes = (self.given..self.given + n).map(pattern).collect();
        self.given += n;
        self.left -= n;
        Given::Bytes(bytes)
    }

    /// HTTP/1.0: waits for the end of the request, then is a source behind a header.
    fn answer(&mut self, room: usize, now: Tick) -> Given {
        let request = self.held.make_contiguous();
        let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
            let over = self.client_closed || request.len() > ECHO_ROOM;
            return if over { Given::End(EndReason::DONE) } else { Given::NothingUntil(None) };
        };
        let (header, length) = http_header(&request[..end]);
        self.held = header.into_bytes().into();
        self.left = length;
        self.habit = Habit::Source(length);
        self.read(room, now)
    }
}

/// The byte at `offset` of everything a source gives.
pub fn pattern(offset: u64) -> u8 {
    let [.., byte] = (offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56).to_be_bytes();
    byte
}

fn http_header(request: &[u8]) -> (String, u64) {
    let line = request.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let path = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix("GET /")).unwrap_or_default();
    let length = path.split(' ').next().and_then(|number| number.parse::<u64>().ok());
    match length {
        Some(length) => {
            let length = length.min(MAX_BULK);
            (
                format!(
                    "HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
                ),
                length,
            )
        }
        None => ("HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Tick = Tick::new(Duration::from_secs(1));

    fn connect(host: &str) -> Origin {
        Origin::connect(Habit::of_host(host).unwrap(), START).unwrap().unwrap()
    }

    /// All that it gives at once, and what it says then.
    fn drain(origin: &mut Origin, room: usize, now: Tick) -> (Vec<u8>, Given) {
        let mut all = Vec::new();
        loop {
            match origin.read(room, now) {
                Given::Bytes(bytes) => {
                    assert!(!bytes.is_empty() && bytes.len() <= room);
                    all.extend(bytes);
                }
                last => return (all, last),
            }
        }
    }

    #[test]
    fn every_habit_can_be_asked_for_by_name() {
        for name in Habit::names() {
            assert!(Habit::of_host(&format!("{name}.lab")).is_some(), "{name}");
            assert!(Habit::of_host(&format!("{name}-7.lab")).is_some(), "{name}");
        }
        assert_eq!(Habit::of_host("slow-writer-7.lab"), Some(Habit::SlowWriter(7)));
        assert_eq!(Habit::of_host("source-99999999999999.lab"), Some(Habit::Source(MAX_BULK)));
        for unknown in ["echo", "echo.example", "echoes.lab", "source-x.lab", "source-.lab", ".lab", "other.lab"] {
            assert_eq!(Habit::of_host(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_source_gives_what_was_asked_for() {
        for room in [1, 498, 5000] {
            let (bytes, end) = drain(&mut connect("source-1234.lab"), room, START);
            assert_eq!(end, Given::End(EndReason::DONE));
            assert_eq!(bytes, (0..1234).map(pattern).collect::<Vec<_>>());
        }
        assert_eq!(drain(&mut connect("reset-10.lab"), 498, START).1, Given::End(EndReason::CONNRESET));
    }

    #[test]
    fn an_echo_gives_back_and_ends_with_its_client() {
        let mut echo = connect("echo.lab");
        echo.write(b"hello");
        assert_eq!(drain(&mut echo, 3, START), (b"hello".to_vec(), Given::NothingUntil(None)));
        echo.write(b"bye");
        echo.close();
        assert_eq!(drain(&mut echo, 498, START), (b"bye".to_vec(), Given::End(EndReason::DONE)));
    }

    #[test]
    fn http_answers_a_request_that_comes_in_pieces() {
        for room in [7, 498] {
            let mut http = connect("http.lab");
            http.write(b"GET /10 HTTP/1.1\r\nHost: http.lab\r\n");
            assert_eq!(http.read(room, START), Given::NothingUntil(None));
            http.write(b"\r\n");
            let (answer, end) = drain(&mut http, room, START);
            let text = String::from_utf8_lossy(&answer);
            assert!(text.starts_with("HTTP/1.0 200 OK\r\n") && text.contains("Content-Length: 10\r\n\r\n"), "{text}");
            assert_eq!(answer[answer.len() - 10..], (0..10).map(pattern).collect::<Vec<_>>());
            assert_eq!(end, Given::End(EndReason::DONE));
        }
        let mut http = connect("http.lab");
        http.write(b"POST / HTTP/1.0\r\n\r\n");
        assert!(drain(&mut http, 498, START).0.starts_with(b"HTTP/1.0 404"));
    }

    #[test]
    fn slow_servers_keep_their_pace() {
        let mut slow = connect("slow-writer-2500.lab");
        let mut now = START;
        let mut got = Vec::new();
        let mut waits = 0;
        loop {
            let (bytes, last) = drain(&mut slow, 498, now);
            got.extend(bytes);
            match last {
                Given::NothingUntil(Some(next)) => {
                    assert_eq!(next.since(now), SLOW_PERIOD);
                    now = next;
                    waits += 1;
                }
                last => break assert_eq!(last, Given::End(EndReason::DONE)),
            }
        }
        assert_eq!((got.len(), waits), (2500, 5), "498 bytes each time");

        let mut slow = connect("slow-reader.lab");
        slow.write(&[0; 2500]);
        assert_eq!(slow.unread(START), 1500);
        assert_eq!(slow.reads_again(), Some(START + SLOW_PERIOD));
        assert_eq!(slow.unread(START + SLOW_PERIOD * 2), 0);
        assert_eq!((slow.reads_again(), slow.taken()), (None, 2500));
    }

    #[test]
    fn some_never_connect_and_some_names_fail() {
        assert_eq!(Origin::connect(Habit::Refuse, START).unwrap_err(), EndReason::CONNECTREFUSED);
        assert!(Origin::connect(Habit::Silent, START).unwrap().is_none());
        assert_eq!(resolve("fails.lab"), Err(ResolveFailure::Permanent));
        assert_eq!(resolve("fails-now.lab"), Err(ResolveFailure::Transient));
        assert_eq!(resolve("example.com"), Err(ResolveFailure::Permanent));
        assert_eq!(resolve("echo.lab"), Ok([ADDRESS, ADDRESS_V6]));
        assert_eq!((name_of(REVERSE.0), name_of("81.100.51.198.in-addr.arpa")), (Some("server.lab"), None));
    }
}
