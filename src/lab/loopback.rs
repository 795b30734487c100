//! The loopback network: the same relays as the virtual one, behind real TLS on 127.0.0.1,
//! so that any Tor client can use them.
//!
//! Each relay lives on one thread with all its connections; threads meet only over
//! sockets. Nothing here listens on, or connects to, any address but the loopback one.
//! Called by `bin/cepa-lab.rs`, by benchmarks and by the interop tests. Spec: tor-spec,
//! "Negotiating and initializing channels", as far as TLS goes.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::Instant;

use super::relay::{Config, LinkId, Output, Relay, StreamKey};
use super::{SystemClock, SystemEntropy};
use crate::crypto::tls::{self, Leaf, Provider};
use crate::link::frame::READ_LEN;
use crate::link::identity::LeafDigest;
use crate::wire::relay_msg::EndReason;

/// How often a relay looks at its timers; ours.
const TICK: Duration = Duration::from_millis(20);
/// How long a stream that is full waits before it looks again; ours.
const PAUSE: Duration = Duration::from_millis(2);
/// How often a relay tells what it counts; ours.
const REPORT: Duration = Duration::from_millis(250);
/// Bytes of a link that may be on their way where there is latency; ours, more than the
/// windows of a few circuits.
const MAX_DELAYED: usize = 4 << 20;
/// How long TLS may take to come up; ours.
const TLS_LIMIT: Duration = Duration::from_secs(30);

/// A relay to be run: what it is, its TLS key, and the port it was promised.
pub struct Member {
    /// What it is.
    pub config: Config,
    /// What its TLS shows.
    pub leaf: Leaf,
    /// Where it listens: a listener that is bound already, so that the port is its own.
    pub listener: std::net::TcpListener,
    /// The name of its stream of randomness.
    pub name: String,
    /// How much later it hears what its links bring.
    pub latency: Duration,
}

/// Relays that run until this is dropped.
pub struct Loopback {
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    counts: Vec<watch::Receiver<Counts>>,
}

/// What relays count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Circuits that end at them.
    pub circuits: usize,
    /// Bytes they have written to their links, before TLS.
    pub written: u64,
}

/// Binds a port of the loopback address: that one, or any.
pub fn bind(port: u16) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Loopback {
    /// Runs the members on so many threads.
    pub fn start(members: Vec<Member>, seed: u64, threads: usize, provider: Provider) -> io::Result<Loopback> {
        let (stop, stopped) = watch::channel(false);
        let threads = threads.clamp(1, members.len().max(1));
        let mut shares: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
        let mut counts = Vec::new();
        for (number, member) in members.into_iter().enumerate() {
            let (report, reported) = watch::channel(Counts::default());
            shares[number % threads].push((member, report));
            counts.push(reported);
        }
        let threads = shares.into_iter().map(|share| {
            let stopped = stopped.clone();
            thread::Builder::new().name("lab relays".to_owned()).spawn(move || serve(share, seed, provider, stopped))
        });
        Ok(Loopback { stop, threads: threads.collect::<io::Result<_>>()?, counts })
    }

    /// What all relays together have counted, but for the last moment.
    pub fn counts(&self) -> Counts {
        self.counts.iter().map(|counts| *counts.borrow()).fold(Counts::default(), |sum, each| Counts {
            circuits: sum.circuits + each.circuits,
            written: sum.written + each.written,
        })
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// One thread: its relays, until told to stop.
fn serve(
    share: Vec<(Member, watch::Sender<Counts>)>,
    seed: u64,
    provider: Provider,
    mut stopped: watch::Receiver<bool>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs but memory and an epoll descriptor");
    let local = LocalSet::new();
    local.block_on(&runtime, async move {
        for (member, report) in share {
            spawn_local(Node::run(member, report, seed, provider));
        }
        let _ = stopped.wait_for(|stop| *stop).await;
    });
}

/// A relay and what its connections need.
struct Node {
    relay: RefCell<Relay>,
    clock: SystemClock,
    latency: Duration,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    /// Wakes the task of each connection.
    wakers: RefCell<BTreeMap<LinkId, Rc<Waker>>>,
    /// Wakes the task of each stream with a socket.
    streams: RefCell<BTreeMap<StreamKey, Rc<Waker>>>,
}

/// How a connection's task is told that something is to be done.
#[derive(Default)]
struct Waker {
    notify: Notify,
    close: RefCell<bool>,
    /// A stream: what is to be written before it closes.
    last: RefCell<Vec<u8>>,
}

impl Waker {
    fn close(&self) {
        self.close.replace(true);
        self.notify.notify_one();
    }
}

impl Node {
    async fn run(member: Member, report: watch::Sender<Counts>, seed: u64, provider: Provider) {
        let node = Rc::new(Node {
            server: tls::server_config(provider, &member.leaf),
            client: tls::client_config(provider),
            relay: RefCell::new(Relay::new(member.config, seed, &member.name)),
            clock: SystemClock::start(),
            latency: member.latency,
            wakers: RefCell::default(),
            streams: RefCell::default(),
        });
        let Ok(listener) = TcpListener::from_std(member.listener) else { return };
        spawn_local(Rc::clone(&node).tick());
        spawn_local(Rc::clone(&node).report(report));
        loop {
            // A failed accept is the visitor's loss, or a moment without descriptors.
            match listener.accept().await {
                Ok((tcp, peer)) => drop(spawn_local(Rc::clone(&node).accept(tcp, peer.ip()))),
                Err(_) => tokio::time::sleep(TICK).await,
            }
        }
    }

    async fn tick(self: Rc<Self>) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let now = self.clock.now();
            let due = self.relay.borrow().next_deadline().is_some_and(|deadline| deadline <= now.tick);
            if due {
                self.relay.borrow_mut().handle_timeout(now);
                self.settle();
            }
        }
    }

    async fn report(self: Rc<Self>, report: watch::Sender<Counts>) {
        let mut interval = tokio::time::interval(REPORT);
        loop {
            interval.tick().await;
            let relay = self.relay.borrow();
            report.send_replace(Counts { circuits: relay.ending_count(), written: relay.written() });
        }
    }

    async fn accept(self: Rc<Self>, tcp: TcpStream, peer: IpAddr) {
        let Ok(tls) = ServerConnection::new(Arc::clone(&self.server)) else { return };
        let Some(channel) = Channel::open(tcp, tls.into()).await else { return };
        let link = self.relay.borrow_mut().handle_accepted(peer, self.clock.now());
        self.serve(channel, link).await;
    }

    async fn dial(self: Rc<Self>, link: LinkId, to: SocketAddr) {
        let channel = self.reach(to).await;
        let leaf = channel.as_ref().and_then(|channel| match &channel.tls {
            Connection::Client(tls) => tls::peer_leaf(tls).map(LeafDigest::of),
            Connection::Server(_) => None,
        });
        let (Some(channel), Some(leaf)) = (channel, leaf) else {
            self.relay.borrow_mut().handle_closed(link, self.clock.now());
            return self.settle();
        };
        self.relay.borrow_mut().handle_dialled(link, to, leaf, self.clock.now());
        self.serve(channel, link).await;
    }

    /// TCP and TLS to another relay, which must be on this machine.
    async fn reach(&self, to: SocketAddr) -> Option<Channel> {
        if !is_here(to) {
            return None;
        }
        let tcp = TcpStream::connect(to).await.ok()?;
        let name = tls::random_server_name(&mut SystemEntropy);
        let tls = ClientConnection::new(Arc::clone(&self.client), name).ok()?;
        Channel::open(tcp, tls.into()).await
    }

    /// Carries bytes both ways until either side closes.
    async fn serve(self: Rc<Self>, mut channel: Channel, link: LinkId) {
        let waker = Rc::new(Waker::default());
        self.wakers.borrow_mut().insert(link, Rc::clone(&waker));
        self.settle();
        while !*waker.close.borrow() && self.write(&mut channel, link).is_ok() {
            let is_blocked = channel.tls.wants_write();
            let due = channel.delayed.front().map(|(due, _)| *due);
            let ready = tokio::select! {
                ready = channel.tcp.readable(), if channel.delayed_len < MAX_DELAYED => ready.map(|()| true),
                () = arrival(due), if due.is_some() => {
                    self.deliver(&mut channel, link, Some(Instant::now()));
                    Ok(false)
                }
                ready = channel.tcp.writable(), if is_blocked => ready.map(|()| false),
                () = waker.notify.notified() => Ok(false),
            };
            let Ok(is_readable) = ready else { break };
            if is_readable && self.read(&mut channel, link).is_err() {
                break;
            }
        }
        // What was on its way when the far end closed.
        self.deliver(&mut channel, link, None);
        // What the relay said last, if there is room: why it closes.
        let _ = self.write(&mut channel, link);
        self.wakers.borrow_mut().remove(&link);
        self.relay.borrow_mut().handle_closed(link, self.clock.now());
        self.settle();
    }

    /// Writes what the relay has for a link, until there is nothing or TCP is full.
    fn write(&self, channel: &mut Channel, link: LinkId) -> io::Result<()> {
        loop {
            if !channel.flush()? {
                return Ok(());
            }
            let bytes = self.relay.borrow_mut().take_transmit(link, self.clock.now());
            match bytes {
                Some(bytes) => channel.tls.writer().write_all(&bytes)?,
                None => return Ok(()),
            }
        }
    }

    /// Reads what TCP has, once; hands all of it to the relay.
    fn read(self: &Rc<Self>, channel: &mut Channel, link: LinkId) -> io::Result<()> {
        let more = channel.fill()?;
        if !self.latency.is_zero() {
            channel.delay(Instant::now() + self.latency)?;
        }
        while self.latency.is_zero() {
            let mut buffer = self.relay.borrow_mut().begin_read(link);
            let n = channel.take(&mut buffer)?;
            if n == 0 {
                break;
            }
            self.relay.borrow_mut().handle_read(link, buffer, self.clock.now());
        }
        self.settle();
        if more { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Hands on what has been on its way long enough, at `now`; or all of it.
    fn deliver(self: &Rc<Self>, channel: &mut Channel, link: LinkId, now: Option<Instant>) {
        while let Some((_, bytes)) = channel.delayed.pop_front_if(|(due, _)| now.is_none_or(|now| *due <= now)) {
            channel.delayed_len -= bytes.len();
            let mut buffer = self.relay.borrow_mut().begin_read(link);
            buffer.extend(bytes);
            self.relay.borrow_mut().handle_read(link, buffer, self.clock.now());
        }
        self.settle();
    }

    /// One stream to a server on this machine.
    async fn stream(self: Rc<Self>, key: StreamKey, to: SocketAddr) {
        let waker = Rc::new(Waker::default());
        self.streams.borrow_mut().insert(key, Rc::clone(&waker));
        let connected = if is_here(to) { TcpStream::connect(to).await.ok() } else { None };
        let result = connected.as_ref().map(|_| to).ok_or(EndReason::CONNECTREFUSED);
        self.relay.borrow_mut().handle_connected(key, result, self.clock.now());
        self.settle();
        if let Some(tcp) = connected {
            let reason = self.pump(key, &tcp, &waker).await;
            self.relay.borrow_mut().handle_socket_end(key, reason);
            self.settle();
        }
        self.streams.borrow_mut().remove(&key);
    }

    /// Carries bytes between a stream and its socket until either ends; says why the
    /// socket's half is over.
    async fn pump(self: &Rc<Self>, key: StreamKey, tcp: &TcpStream, waker: &Waker) -> EndReason {
        let mut unwritten: Vec<u8> = Vec::new();
        let mut buffer = vec![0; READ_LEN];
        loop {
            if unwritten.is_empty() {
                unwritten = self.relay.borrow_mut().take_socket_bytes(key, self.clock.now());
                unwritten.append(&mut waker.last.borrow_mut());
            }
            match tcp.try_write(&unwritten) {
                _ if unwritten.is_empty() => {}
                Ok(n) => {
                    unwritten.drain(..n);
                    self.settle();
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return EndReason::CONNRESET,
            }
            if *waker.close.borrow() && unwritten.is_empty() {
                return EndReason::DONE;
            }
            let room = self.relay.borrow_mut().room(key).min(READ_LEN);
            if room > 0 {
                match tcp.try_read(&mut buffer[..room]) {
                    Ok(0) => return EndReason::DONE,
                    Ok(n) => {
                        self.relay.borrow_mut().handle_socket_bytes(key, &buffer[..n]);
                        self.settle();
                        // Lets the link's task write before more is read.
                        tokio::task::yield_now().await;
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return EndReason::CONNRESET,
                }
            }
            let ready = tokio::select! {
                ready = tcp.readable(), if room > 0 => ready,
                ready = tcp.writable(), if !unwritten.is_empty() => ready,
                () = waker.notify.notified() => Ok(()),
                // A stream whose window is used up is looked at again when it may have moved.
                () = tokio::time::sleep(PAUSE), if room == 0 => Ok(()),
            };
            if ready.is_err() {
                return EndReason::CONNRESET;
            }
        }
    }

    /// Does what the relay wants done besides writing, and wakes who may write.
    fn settle(self: &Rc<Self>) {
        loop {
            let output = self.relay.borrow_mut().poll_output();
            match output {
                None => break,
                Some(Output::Dial { link, to }) => drop(spawn_local(Rc::clone(self).dial(link, to))),
                Some(Output::Close(link)) => {
                    if let Some(waker) = self.wakers.borrow().get(&link) {
                        waker.close();
                    }
                }
                Some(Output::Connect { stream, to }) => drop(spawn_local(Rc::clone(self).stream(stream, to))),
                Some(Output::Write(stream)) => {
                    if let Some(waker) = self.streams.borrow().get(&stream) {
                        waker.notify.notify_one();
                    }
                }
                Some(Output::HangUp(stream, last)) => {
                    if let Some(waker) = self.streams.borrow().get(&stream) {
                        waker.last.borrow_mut().extend(last);
                        waker.close();
                    }
                }
            }
        }
        let wakers = self.wakers.borrow();
        for link in self.relay.borrow().ready() {
            if let Some(waker) = wakers.get(&link) {
                waker.notify.notify_one();
            }
        }
    }
}

/// Whether an address is this machine's. Nothing else is ever dialled.
fn is_here(to: SocketAddr) -> bool {
    to.ip().is_loopback()
}

/// Waits for the time.
async fn arrival(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}

/// TCP and TLS.
struct Channel {
    tcp: TcpStream,
    tls: Connection,
    /// What is on its way where there is latency, and when it arrives; in order.
    delayed: VecDeque<(Instant, Vec<u8>)>,
    /// How many bytes that is.
    delayed_len: usize,
}

impl Channel {
    /// Brings TLS up.
    async fn open(tcp: TcpStream, tls: Connection) -> Option<Channel> {
        tcp.set_nodelay(true).ok()?;
        let mut channel = Channel { tcp, tls, delayed: VecDeque::new(), delayed_len: 0 };
        // A link has its own bound on what waits, and TLS is emptied before it gets more.
        channel.tls.set_buffer_limit(None);
        tokio::time::timeout(TLS_LIMIT, channel.handshake()).await.ok()?.ok()?;
        Some(channel)
    }

    async fn handshake(&mut self) -> io::Result<()> {
        while self.tls.is_handshaking() {
            if !self.flush()? {
                self.tcp.writable().await?;
            } else if self.tls.is_handshaking() {
                self.tcp.readable().await?;
                if !self.fill()? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        while !self.flush()? {
            self.tcp.writable().await?;
        }
        Ok(())
    }

    /// Writes what TLS has; false if TCP is full first.
    fn flush(&mut self) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut NonBlocking(&self.tcp)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads what TCP has into TLS; false at its end.
    fn fill(&mut self) -> io::Result<bool> {
        match self.tls.read_tls(&mut NonBlocking(&self.tcp)) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
        let state =
            self.tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(!state.peer_has_closed())
    }

    /// Sends what TLS has decrypted on its way, to arrive at `due`.
    fn delay(&mut self, due: Instant) -> io::Result<()> {
        loop {
            let mut bytes = Vec::new();
            if self.take(&mut bytes)? == 0 {
                return Ok(());
            }
            self.delayed_len += bytes.len();
            self.delayed.push_back((due, bytes));
        }
    }

    /// Appends what TLS has decrypted; says how much.
    fn take(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let held = buffer.len();
        buffer.resize(held + READ_LEN, 0);
        let read = match self.tls.reader().read(&mut buffer[held..]) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        buffer.truncate(held + read);
        Ok(read)
    }
}

/// TCP as TLS reads and writes it: now, or not at all.
struct NonBlocking<'a>(&'a TcpStream);

impl Read for NonBlocking<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(out)
    }
}

impl Write for NonBlocking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::RelayIds;
    use crate::base::time::Wall;
    use crate::crypto::ed25519;
    use crate::crypto::rsa;
    use crate::crypto::x25519::KeyPair;
    use crate::lab::probe::{self, Target};
    use crate::lab::relay::OnionKeys;
    use crate::lab::seed::SeededEntropy;
    use crate::link::identity::{Credentials, RelayKeys};
    use crate::link::padding::Timing;

    const DAY: Duration = Duration::from_secs(86_400);

    fn member(number: u16, now: Wall, latency: Duration) -> (Member, Target) {
        let mut entropy = SeededEntropy::new(1, &format!("member {number}"));
        let keys = RelayKeys {
            rsa: rsa::KeyPair::random(&mut entropy, rsa::RELAY_IDENTITY_BITS).unwrap(),
            ed25519: ed25519::KeyPair::random(&mut entropy),
            signing: ed25519::KeyPair::random(&mut entropy),
        };
        let leaf = Leaf::generate(&mut entropy, now - DAY, now + DAY);
        let digest = LeafDigest::of(&leaf.certificate);
        let credentials = Credentials::issue(&keys, digest, now - DAY, now + DAY, &mut entropy).unwrap();
        let RelayIds { rsa: Some(rsa), ed25519: Some(ed25519) } = keys.ids() else { panic!() };
        let ntor = KeyPair::random(&mut entropy);
        let listener = bind(0).unwrap();
        let address = listener.local_addr().unwrap();
        let config = Config {
            onion: OnionKeys { rsa, ed25519, ntor, offers_cgo: false },
            credentials,
            addresses: vec![address.ip()],
            is_exit: true,
            reaches_loopback: true,
            directory: None,
            timing: Timing::default(),
            villain: None,
        };
        let name = format!("relay {number}");
        (
            Member { config, leaf, listener, name, latency },
            Target { address, wanted: keys.ids(), provider: Provider::best() },
        )
    }

    #[test]
    fn relays_listen_on_the_loopback_address_alone() {
        let address = bind(0).unwrap().local_addr().unwrap();
        assert_eq!(address.ip(), IpAddr::from(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn relays_reach_the_loopback_address_alone() {
        let is_here = |ip: [u8; 4]| is_here(SocketAddr::from((ip, 443)));
        assert!(is_here([127, 0, 0, 1]) && is_here([127, 3, 2, 1]));
        assert!(!is_here([0, 0, 0, 0]) && !is_here([10, 0, 0, 1]) && !is_here([198, 51, 100, 80]));
        assert!(!super::is_here("[::ffff:198.51.100.80]:443".parse().unwrap()));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "it measures")]
    fn latency_delays_what_a_relay_hears() {
        let now = SystemClock::start().now().wall;
        let latency = Duration::from_millis(120);
        let (member, target) = member(9, now, latency);
        let network = Loopback::start(vec![member], 1, 1, Provider::best()).unwrap();
        let begun = std::time::Instant::now();
        probe::run(&target).unwrap();
        // The relay answers VERSIONS only when it has heard them.
        assert!(begun.elapsed() >= latency);
        while network.counts().written == 0 {
            thread::sleep(TICK);
        }
        assert_eq!(network.counts().circuits, 0);
    }

    #[test]
    fn relays_on_several_threads_are_proved_and_stop_when_dropped() {
        let now = SystemClock::start().now().wall;
        let (members, targets): (Vec<_>, Vec<_>) = (0..3).map(|number| member(number, now, Duration::ZERO)).unzip();
        let network = Loopback::start(members, 1, 2, Provider::best()).unwrap();
        for target in &targets {
            let report = probe::run(target).unwrap();
            assert!(report.established().canonical);
        }
        drop(network);
        assert!(matches!(probe::run(&targets[0]), Err(probe::Error::Network(_))));
    }
}
