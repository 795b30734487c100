//! One program's connection: what it says to `proxy`, its request to the client, and then bytes
//! both ways.
//!
//! Reads from the program only what the client takes, and tells the client that bytes are taken
//! only when the socket has them. Not the language (`proxy`), nor what becomes of a request
//! (`client`). Called by `driver.rs`, a task for each connection. Spec: none. C tor:
//! `connection_edge_reached_eof` in core/or/connection_edge.c: a program that ends its half has
//! ended both, once all that it said is sent; `connection_expire_held_open`.

use core::cell::{Cell, RefCell};
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;

use tokio::sync::Notify;

use super::driver::{Driver, Recipient};
use super::listener::Stream;
use super::ports::Kind;
use super::runtime::SystemEntropy;
use crate::base::redact::Sensitive;
use crate::client::{Failure, Found, RequestNo};
use crate::config::Domain;
use crate::config::port::Flags;
use crate::proxy::door::{Door, Notice, Verdict};
use crate::proxy::http_connect::HttpConnect;
use crate::proxy::redirected::Redirected;
use crate::proxy::socks::{MAX_MESSAGE_LEN, Manner, Socks};
use crate::proxy::{self, BadName, Fault, Language, MAX_EARLY_LEN, Output, Protocol, Request};

/// How much is read from a program at once; ours, a TLS record.
pub const READ_LEN: usize = 16 * 1024;
/// How long the last words for a program wait for it to take some. Chosen by C tor.
const FLUSH_LIMIT: Duration = Duration::from_secs(15);
/// How many programs may be connected at once; ours. Each costs a few hundred bytes until it
/// asks for something.
pub const MAX_PROGRAMS: usize = 8192;
/// How many descriptors are left to all else: relays, logs, listeners. C tor leaves 32 and knows
/// no bound on programs but the system's.
const RESERVED: usize = 128;

/// A listener, as its programs meet it.
pub struct Entry {
    /// Which listener, for what may share a circuit.
    pub number: u32,
    /// What it listens for.
    pub kind: Kind,
    /// What its line says.
    pub flags: Flags,
}

impl Entry {
    /// What a program speaks that comes from there; nothing where no connections are.
    /// Fails where nobody knows where it wanted to go.
    fn language(&self, stream: &Stream, from: Option<SocketAddr>) -> io::Result<Option<Language>> {
        Ok(match self.kind {
            Kind::Socks => Some(Language::Socks(Socks::new(self.manner(from)))),
            Kind::HttpTunnel => Some(Language::HttpConnect(HttpConnect::new())),
            Kind::Trans => Some(Language::Redirected(Redirected::to(stream.destination(self.flags.is_routed)?))),
            Kind::Natd => Some(Language::Redirected(Redirected::by_natd())),
            Kind::Dns => None,
        })
    }

    fn manner(&self, from: Option<SocketAddr>) -> Manner {
        Manner {
            prefers_no_auth: self.flags.prefer_no_auth,
            extended_errors: self.flags.extended_errors,
            long_replies: from.is_none_or(|from| from.is_ipv6()),
        }
    }
}

// --- seats -------------------------------------------------------------------------------

/// How many programs are here. Where all seats are taken, whoever has longest not said what it
/// wants makes room for the next: so a program that only connects shuts nobody out.
pub struct Seats {
    most: Cell<usize>,
    taken: Cell<usize>,
    /// Those who have not said what they want, in the order they came.
    silent: RefCell<BTreeMap<u64, Rc<Notify>>>,
    next: Cell<u64>,
}

/// A program's own, until it is dropped.
pub struct Seat {
    seats: Rc<Seats>,
    number: u64,
    leave: Rc<Notify>,
}

impl Seats {
    /// As many as so many descriptors allow.
    pub fn new(descriptors: Option<usize>) -> Rc<Seats> {
        let seats = Seats { most: Cell::new(0), taken: Cell::new(0), silent: RefCell::default(), next: Cell::new(0) };
        seats.fit(descriptors);
        Rc::new(seats)
    }

    /// There are so many descriptors now. Whoever is here stays.
    pub fn fit(&self, descriptors: Option<usize>) {
        let most = descriptors.map_or(MAX_PROGRAMS, |all| all - RESERVED.min(all / 2));
        self.most.set(most.clamp(1, MAX_PROGRAMS));
    }

    /// How many there are.
    pub fn most(&self) -> usize {
        self.most.get()
    }

    /// One for a new program, if there is one. Says also whether another must leave for it.
    pub fn take(self: &Rc<Self>) -> Option<(Seat, bool)> {
        let is_full = self.taken.get() >= self.most.get();
        if is_full {
            let (_, leave) = self.silent.borrow_mut().pop_first()?;
            leave.notify_one();
        }
        let (number, leave) = (self.next.get(), Rc::new(Notify::new()));
        self.next.set(number.wrapping_add(1));
        self.taken.set(self.taken.get() + 1);
        self.silent.borrow_mut().insert(number, Rc::clone(&leave));
        Some((Seat { seats: Rc::clone(self), number, leave }, is_full))
    }
}

impl Seat {
    /// It has said what it wants.
    fn keep(&self) {
        self.seats.silent.borrow_mut().remove(&self.number);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.keep();
        self.seats.taken.set(self.seats.taken.get().saturating_sub(1));
    }
}

// --- what the client says ----------------------------------------------------------------

/// What became of a request.
#[derive(Debug)]
pub enum News {
    /// The stream is open.
    Connected,
    /// The look-up found this, good for so many seconds.
    Found(Found, u32),
    /// Nothing came of it.
    Failed(Failure),
    /// Nothing more comes.
    Ended {
        /// Whether the far end had said all that it had to say.
        is_clean: bool,
    },
    /// Nor is what came to be kept.
    GivenUp,
}

/// Where the client leaves what is for a program.
pub struct Mailbox {
    stream: Rc<Stream>,
    bell: Notify,
    news: RefCell<VecDeque<News>>,
    /// Bytes that the socket had no room for. What the far end may send ahead of what is taken
    /// bounds them: `stream::xon::MAX_UNREAD` and a window.
    unwritten: RefCell<VecDeque<u8>>,
    /// The program has its answer, and bytes may go to it at once.
    is_open: Cell<bool>,
}

impl Mailbox {
    fn new(stream: Rc<Stream>) -> Rc<Mailbox> {
        Rc::new(Mailbox {
            stream,
            bell: Notify::new(),
            news: RefCell::default(),
            unwritten: RefCell::default(),
            is_open: Cell::new(false),
        })
    }

    /// Something became of the request.
    pub fn tell(&self, news: News) {
        if matches!(news, News::GivenUp) {
            *self.unwritten.borrow_mut() = VecDeque::new();
        }
        self.news.borrow_mut().push_back(news);
        self.bell.notify_one();
    }

    /// The client takes bytes again.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// Bytes of the stream. Says how many of them the socket has taken, without a copy; the
    /// others wait.
    pub fn deliver(&self, bytes: &[u8]) -> usize {
        let mut unwritten = self.unwritten.borrow_mut();
        let is_direct = self.is_open.get() && unwritten.is_empty();
        // An error shows again when the task of the connection writes the rest.
        let taken = if is_direct { self.stream.write(bytes).ok().flatten().unwrap_or(0) } else { 0 };
        unwritten.extend(bytes.get(taken..).unwrap_or_default());
        if taken < bytes.len() {
            self.bell.notify_one();
        }
        taken
    }

    /// Writes what waits; says how much went.
    fn flush(&self) -> io::Result<usize> {
        let (mut unwritten, mut all) = (self.unwritten.borrow_mut(), 0);
        while !unwritten.is_empty() {
            let Some(length) = self.stream.write(unwritten.as_slices().0)? else { return Ok(all) };
            unwritten.drain(..length);
            all += length;
        }
        // A program that was slow once need not hold the memory of it.
        *unwritten = VecDeque::new();
        Ok(all)
    }

    fn is_empty(&self) -> bool {
        self.unwritten.borrow().is_empty()
    }
}

// --- the connection ----------------------------------------------------------------------

/// The life of a connection.
pub async fn serve(driver: Rc<Driver>, entry: Rc<Entry>, stream: Stream, from: Option<SocketAddr>, seat: Seat) {
    let stream = Rc::new(stream);
    let mut language = match entry.language(&stream, from) {
        Ok(Some(language)) => language,
        Ok(None) => return,
        Err(error) => {
            let text = format_args!("Fetching original destination failed: {error}. Closing.");
            return driver.log().warn_rarely(&driver.rare().refused, Domain::App, text);
        }
    };
    let request = tokio::select! {
        biased;
        () = seat.leave.notified() => None,
        () = tokio::time::sleep(driver.requests().timeout) => None,
        request = negotiate(&stream, &mut language) => request.ok().flatten(),
    };
    seat.keep();
    if let Some(fault) = language.take_fault() {
        complain(&driver, &fault);
    }
    if let Some(request) = request {
        answer(&driver, &entry, &stream, from, language, &request).await;
    }
    stream.close();
}

/// Asks the client, unless the answer is known already.
async fn answer(
    driver: &Rc<Driver>,
    entry: &Entry,
    stream: &Rc<Stream>,
    from: Option<SocketAddr>,
    mut language: Language,
    request: &Request,
) {
    let requests = driver.requests();
    let door = Door { number: entry.number, flags: &entry.flags, requests: &requests };
    let (verdict, notices) = door.judge(request, from, &mut driver.maps(), &mut SystemEntropy);
    notices.into_iter().for_each(|notice| warn(driver, request, notice));
    match verdict {
        Verdict::Ask(wish) => {
            let mailbox = Mailbox::new(Rc::clone(stream));
            let no = driver.request(wish, Recipient::Program(Rc::clone(&mailbox)));
            let unsent = language.take_early();
            let (reply, phase) = (Vec::new(), Phase::Asked);
            return Talk { driver, stream, language, no, mailbox, reply, unsent, phase }.run().await;
        }
        Verdict::Answer(found) => language.handle_found(&found),
        Verdict::Refuse(failure) => {
            tell_of_refusal(driver, request, failure);
            language.handle_failure(failure);
        }
    }
    while let Some(output) = language.poll_output() {
        if let Output::Reply(bytes) = output {
            // Who does not read it does not get it.
            let _ = tokio::time::timeout(FLUSH_LIMIT, write_all(stream, &bytes)).await;
        }
    }
}

/// Tells the user that a request was refused.
fn tell_of_refusal(driver: &Driver, request: &Request, failure: proxy::Failure) {
    let (log, rare) = (driver.log(), driver.rare());
    let (host, port) = (Sensitive::new(request.host.text()), request.port);
    let host = log.show(&host);
    match (request.protocol, failure) {
        (Protocol::Transparent | Protocol::Natd, proxy::Failure::Internal) => log.warn_rarely(
            &rare.looping,
            Domain::Net,
            format_args!(
                "Rejecting request for anonymous connection to private address {host} on a TransPort or NATDPort. \
                 Possible loop in your NAT rules?"
            ),
        ),
        _ => log.warn_rarely(
            &rare.refused,
            Domain::App,
            format_args!("A request for {host}:{port} was refused: {failure:?}."),
        ),
    }
}

/// Tells the user why there was no request. C tor: says more of what programs do every day.
fn complain(driver: &Driver, fault: &Fault) {
    let (log, rare) = (driver.log(), &driver.rare().refused);
    match fault {
        Fault::Language(first) => log.warn_rarely(
            rare,
            Domain::App,
            format_args!(
                "Socks version {first} not recognized. (This port is not an HTTP proxy; did you want to use \
                 HTTPTunnelPort?)"
            ),
        ),
        Fault::Command(command) => {
            log.warn_rarely(rare, Domain::App, format_args!("socks: command {command} not recognized. Rejecting."));
        }
        Fault::LongLine => {
            log.warn_rarely(rare, Domain::App, format_args!("NATD handshake failed (DEST too long). Closing"));
        }
        Fault::NoLine(said) => log.warn_rarely(
            rare,
            Domain::App,
            format_args!("NATD handshake was ill-formed; closing. The client said: \"{}\"", log.show(said)),
        ),
        Fault::LineWithoutPort(port) => log.warn_rarely(
            rare,
            Domain::App,
            format_args!("NATD handshake failed; port \"{}\" is ill-formed or out of range.", log.show(port)),
        ),
        Fault::Name(BadName::Exit, _) => log.warn_rarely(
            rare,
            Domain::App,
            format_args!("The  \".exit\" notation is disabled in Tor due to security risks."),
        ),
        Fault::Name(BadName::BadOnion, name) => {
            log.warn_rarely(rare, Domain::App, format_args!("Invalid onion hostname {}; rejecting", log.show(name)));
        }
        Fault::Name(BadName::Malformed, name) => log.warn_rarely(
            rare,
            Domain::Protocol,
            format_args!(
                "Your application gave Tor a malformed hostname: {}. Rejecting the connection.",
                log.show(name)
            ),
        ),
    }
}

/// Tells the user what there is to know of a request, in C tor's words.
pub fn warn(driver: &Driver, request: &Request, notice: Notice) {
    let (log, port) = (driver.log(), request.port);
    let end = |refused: bool, word: &'static str| if refused { word } else { "" };
    match notice {
        Notice::Safe => log.notice(
            Domain::App,
            format_args!(
                "Your application (to port {port}) instructed Tor to take care of the DNS resolution itself if \
             necessary. This is good."
            ),
        ),
        Notice::Unsafe(refused) => {
            let text = format!(
                "Your application (to port {port}) is giving Tor only an IP address. Applications that do DNS \
                 resolves themselves may leak information.{}",
                end(refused, " Rejecting.")
            );
            // C tor: each is told of to those who asked for that.
            match refused || driver.requests().logs_safety {
                true => log.warn(Domain::App, format_args!("{text}")),
                false => log.warn_rarely(&driver.rare().unsafe_socks, Domain::App, format_args!("{text}")),
            }
        }
        Notice::PlaintextPort(port, refused) => log.warn(
            Domain::App,
            format_args!(
                "Application request to port {port}: this port is commonly used for unencrypted protocols. Please make \
             sure you don't send anything you would mind the rest of the Internet reading!{}",
                end(refused, " Closing.")
            ),
        ),
        Notice::OldAuthorization => log.warn_rarely(
            &driver.rare().old_authorization,
            Domain::App,
            format_args!(
                "Proxy-Authorization header in legacy format. With modern Tor, use Basic auth with username=tor."
            ),
        ),
    }
}

/// Hears what a program wants; `None` if nothing that can be.
async fn negotiate(stream: &Stream, language: &mut Language) -> io::Result<Option<Request>> {
    loop {
        while let Some(output) = language.poll_output() {
            match output {
                Output::Reply(bytes) => write_all(stream, &bytes).await?,
                Output::Request(request) => return Ok(Some(request)),
                Output::Close => return Ok(None),
            }
        }
        stream.readable().await?;
        hear(stream, language)?;
    }
}

/// Reads once. Not in the task itself, which would keep the buffer for as long as it waits.
fn hear(stream: &Stream, language: &mut Language) -> io::Result<()> {
    let mut bytes = [0; MAX_MESSAGE_LEN];
    match stream.read(&mut bytes)? {
        Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(length) => {
            language.handle_bytes(bytes.get(..length).unwrap_or_default());
            Ok(())
        }
        None => Ok(()),
    }
}

async fn write_all(stream: &Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes)? {
            Some(length) => bytes = bytes.get(length..).unwrap_or_default(),
            None => stream.writable().await?,
        }
    }
    Ok(())
}

/// A request and what follows it.
struct Talk<'a> {
    driver: &'a Rc<Driver>,
    stream: &'a Stream,
    language: Language,
    no: RequestNo,
    mailbox: Rc<Mailbox>,
    /// What is said to the program before any bytes of the stream.
    reply: Vec<u8>,
    /// What the program said and the client has not taken: at most [`MAX_EARLY_LEN`] before the
    /// answer, and [`READ_LEN`] after it.
    unsent: Vec<u8>,
    phase: Phase,
}

/// How far it is.
///
/// ```text
///   Asked ──connected──> Open ──nothing more comes──> Closing
///     └──found, failed──────────────────────────────────^
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The program waits for its answer.
    Asked,
    /// Bytes go both ways.
    Open,
    /// The client is done with it; the program gets what waits for it.
    Closing,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client knows.
    Known,
    /// All that the program said is with the client, and it says no more.
    Finished,
    /// The program is gone.
    Gone,
}

/// What one turn came to.
enum Turn {
    /// Something was read.
    Read,
    /// There is nothing to do before one of these.
    Wait { reads: bool, writes: bool },
    /// It is over.
    Over(End),
}

impl Talk<'_> {
    async fn run(mut self) {
        let end = loop {
            match self.turn() {
                Ok(Turn::Over(end)) => break end,
                // Others have their turn, and what was read goes on its way.
                Ok(Turn::Read) => tokio::task::yield_now().await,
                Ok(Turn::Wait { reads, writes }) => {
                    if let Err(end) = self.wait(reads, writes).await {
                        break end;
                    }
                }
                Err(_) => break End::Gone,
            }
        };
        match (end, self.phase) {
            (_, Phase::Closing) | (End::Known, _) => {}
            (End::Finished, _) => self.driver.finish(self.no),
            (End::Gone, _) => self.driver.cancel(self.no),
        }
        self.driver.forget(self.no);
    }

    async fn wait(&self, reads: bool, writes: bool) -> Result<(), End> {
        let is_closing = self.phase == Phase::Closing;
        tokio::select! {
            ready = self.stream.readable(), if reads => ready.map_err(|_| End::Gone),
            ready = self.stream.writable(), if writes => ready.map_err(|_| End::Gone),
            () = self.mailbox.bell.notified() => Ok(()),
            () = tokio::time::sleep(FLUSH_LIMIT), if is_closing => Err(End::Known),
        }
    }

    /// All that can be done now.
    fn turn(&mut self) -> io::Result<Turn> {
        self.learn();
        let is_written = self.write()?;
        if self.phase == Phase::Closing {
            return Ok(if is_written { Turn::Over(End::Known) } else { Turn::Wait { reads: false, writes: true } });
        }
        if !self.unsent.is_empty() {
            let taken = self.driver.write(self.no, &self.unsent);
            self.unsent.drain(..taken.min(self.unsent.len()));
        }
        let room = match self.phase {
            Phase::Asked => MAX_EARLY_LEN.saturating_sub(self.unsent.len()),
            _ if self.unsent.is_empty() => READ_LEN,
            _ => 0,
        };
        match if room > 0 { self.read(room)? } else { None } {
            None => Ok(Turn::Wait { reads: room > 0, writes: !is_written }),
            // C tor: before its answer that is the end of it.
            Some(0) if self.phase == Phase::Asked => Ok(Turn::Over(End::Gone)),
            // It is only read from where all that it said is with the client.
            Some(0) => Ok(Turn::Over(End::Finished)),
            Some(_) => Ok(Turn::Read),
        }
    }

    /// Takes what became of the request.
    fn learn(&mut self) {
        loop {
            // Not held while the program is told.
            let news = self.mailbox.news.borrow_mut().pop_front();
            match news {
                None => return,
                Some(News::Connected) => {
                    self.phase = Phase::Open;
                    self.language.handle_connected();
                }
                Some(News::Found(found, _)) => self.language.handle_found(&found.into()),
                Some(News::Failed(failure)) => self.language.handle_failure(failure.into()),
                Some(News::Ended { .. } | News::GivenUp) => self.phase = Phase::Closing,
            }
            while let Some(output) = self.language.poll_output() {
                match output {
                    Output::Reply(bytes) => self.reply.extend(bytes),
                    Output::Close => self.phase = Phase::Closing,
                    Output::Request(_) => {}
                }
            }
        }
    }

    /// Writes the answer, and then what the stream brought. Says whether that was all.
    fn write(&mut self) -> io::Result<bool> {
        while !self.reply.is_empty() {
            match self.stream.write(&self.reply)? {
                Some(length) => drop(self.reply.drain(..length)),
                None => return Ok(false),
            }
        }
        if self.phase == Phase::Asked {
            return Ok(true);
        }
        self.mailbox.is_open.set(true);
        let taken = self.mailbox.flush()?;
        if taken > 0 {
            self.driver.on_taken(self.no, taken);
        }
        Ok(self.mailbox.is_empty())
    }

    /// Reads at most so much; what the client does not take waits.
    fn read(&mut self, room: usize) -> io::Result<Option<usize>> {
        let mut scratch = self.driver.scratch();
        let Some(buffer) = scratch.get_mut(..room) else { return Ok(None) };
        let Some(length) = self.stream.read(buffer)? else { return Ok(None) };
        let bytes = buffer.get(..length).unwrap_or_default();
        let taken = if self.unsent.is_empty() && length > 0 { self.driver.write(self.no, bytes) } else { 0 };
        self.unsent.extend_from_slice(bytes.get(taken..).unwrap_or_default());
        Ok(Some(length))
    }
}

#[cfg(test)]
mod tests {
    use super::super::runtime::executor;
    use super::*;
    use tokio::net::{UnixListener, UnixStream};

    #[test]
    fn seats_are_as_many_as_descriptors_allow_and_no_more() {
        for (descriptors, expected) in
            [(None, MAX_PROGRAMS), (Some(1 << 20), MAX_PROGRAMS), (Some(1024), 896), (Some(64), 32), (Some(0), 1)]
        {
            assert_eq!(Seats::new(descriptors).most(), expected, "{descriptors:?}");
        }
    }

    #[test]
    fn a_program_that_asks_for_nothing_makes_room() {
        let seats = Seats::new(Some(6));
        let [first, second, third] = [(); 3].map(|()| seats.take().unwrap().0);
        first.keep();
        let (fourth, is_full) = seats.take().unwrap();
        assert!(is_full && third.leave.notified().now_or_never().is_none());
        assert!(second.leave.notified().now_or_never().is_some());
        // Those that have asked stay, so that at some time nobody makes room.
        drop(second);
        third.keep();
        fourth.keep();
        assert!(seats.take().is_none());
        drop(first);
        assert!(seats.take().is_some_and(|(_, is_full)| !is_full));
        assert!(seats.silent.borrow().is_empty() && seats.taken.get() == 2);
    }

    /// What is so without waiting.
    trait NowOrNever: Future + Sized {
        fn now_or_never(self) -> Option<Self::Output> {
            let mut future = core::pin::pin!(self);
            match future.as_mut().poll(&mut core::task::Context::from_waker(core::task::Waker::noop())) {
                core::task::Poll::Ready(output) => Some(output),
                core::task::Poll::Pending => None,
            }
        }
    }
    impl<F: Future> NowOrNever for F {}

    #[test]
    fn bytes_wait_for_the_answer_and_for_room_and_stay_in_order() {
        let scratch = super::super::disk::tests::Scratch::new("mailbox");
        executor().unwrap().block_on(async {
            let path = scratch.0.join("socks");
            let listener = UnixListener::bind(&path).unwrap();
            let far = UnixStream::connect(&path).await.unwrap();
            let near = Stream::Unix(listener.accept().await.unwrap().0);
            near.writable().await.unwrap();
            let mailbox = Mailbox::new(Rc::new(near));
            assert_eq!(mailbox.deliver(b"early "), 0);
            assert!(mailbox.bell.notified().now_or_never().is_some() && !mailbox.is_empty());
            mailbox.is_open.set(true);
            assert_eq!(mailbox.flush().unwrap(), 6);
            assert_eq!(mailbox.deliver(b"at once"), 7);
            assert!(mailbox.bell.notified().now_or_never().is_none());
            let much: Vec<u8> = (0..1_000_000_u32).map(|place| place.to_be_bytes()[2]).collect();
            let at_once = mailbox.deliver(&much);
            assert!(at_once < much.len() && mailbox.deliver(b"the end") == 0);
            let (mut heard, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
            while heard.len() < 13 + much.len() + 7 {
                let _ = mailbox.flush().unwrap();
                // Each may be what the other waits for.
                tokio::select! {
                    ready = far.readable() => ready.unwrap(),
                    ready = mailbox.stream.writable(), if !mailbox.is_empty() => ready.unwrap(),
                }
                if let Ok(length) = far.try_read(&mut buffer) {
                    heard.extend_from_slice(&buffer[..length]);
                }
            }
            assert!(mailbox.is_empty() && heard == [b"early at once", &much[..], b"the end"].concat());
            while mailbox.is_empty() {
                mailbox.deliver(&much);
            }
            mailbox.tell(News::GivenUp);
            assert!(mailbox.is_empty(), "what is given up is not kept for anybody");
        });
    }
}
