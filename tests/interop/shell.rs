//! Our client on real sockets: the smallest shell that there can be, on one thread.
//!
//! It dials, goes through TLS, and carries bytes, until something is so. The real one is not
//! this. It runs inside the empty namespace that `main` has checked.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use cepa::internal::client::bootstrap::Wish;
use cepa::internal::client::junction::LinkNo;
use cepa::internal::client::{Client, Output, Progress};
use cepa::internal::crypto::tls;
use cepa::internal::directory::authorities::Authority;
use cepa::internal::link::frame::READ_LEN;
use cepa::internal::link::identity::LeafDigest;
use cepa::lab::{SystemClock, SystemEntropy, TlsProvider};
use rustls::ClientConnection;

use super::relays::TorNetwork;

/// How long it may take to learn a network of eleven relays.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(1);

struct Connection {
    tcp: TcpStream,
    tls: ClientConnection,
    is_greeted: bool,
    is_over: bool,
}

struct Shell {
    client: Client,
    clock: SystemClock,
    connections: BTreeMap<LinkNo, Connection>,
    progress: Vec<Progress>,
}

impl Shell {
    /// One that trusts the authorities of these lines of a torrc.
    fn start(lines: &str) -> Shell {
        let authority = |line: &str| Authority::parse(line.strip_prefix("DirAuthority ")?).ok();
        let wish = Wish {
            authorities: lines.lines().filter_map(authority).collect(),
            max_stall: Duration::from_secs(30),
            ..Wish::default()
        };
        let clock = SystemClock::start();
        let mut client = Client::new(wish);
        client.start(clock.now(), &mut SystemEntropy);
        Shell { client, clock, connections: BTreeMap::new(), progress: Vec::new() }
    }

    fn run_until(&mut self, mut done: impl FnMut(&Shell) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "in vain, after {:?}", self.progress);
            let now = self.clock.now();
            if self.client.next_deadline(now).is_some_and(|deadline| deadline <= now.tick) {
                self.client.handle_timeout(now, &mut SystemEntropy);
            }
            self.obey();
            let links: Vec<_> = self.connections.keys().copied().collect();
            links.into_iter().for_each(|link| self.carry(link));
            thread::sleep(PAUSE);
        }
    }

    fn obey(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::HangUp(link) => drop(self.connections.remove(&link)),
                Output::Progress(progress) => self.progress.push(progress),
                Output::Dial { link, to } => {
                    assert!(to.ip().is_loopback(), "it dials somebody else");
                    match Connection::open(to) {
                        Ok(connection) => drop(self.connections.insert(link, connection)),
                        Err(_) => self.client.handle_closed(link, self.clock.now(), &mut SystemEntropy),
                    }
                }
            }
        }
    }

    /// All that there is to read and to write on one connection.
    fn carry(&mut self, link: LinkNo) {
        let (client, now) = (&mut self.client, self.clock.now());
        let Some(connection) = self.connections.get_mut(&link) else { return };
        connection.fill();
        if !connection.is_greeted && !connection.tls.is_handshaking() {
            connection.is_greeted = true;
            let leaf = tls::peer_leaf(&connection.tls).unwrap();
            client.handle_dialled(link, LeafDigest::of(leaf), now);
        }
        if connection.is_greeted {
            loop {
                let mut buffer = client.begin_read(link);
                let start = buffer.len();
                buffer.resize(start + READ_LEN, 0);
                let length = connection.tls.reader().read(&mut buffer[start..]).unwrap_or(0);
                buffer.truncate(start + length);
                if length == 0 {
                    break;
                }
                client.handle_read(link, buffer, now, &mut SystemEntropy);
            }
            while let Some(bytes) = client.take_transmit(link, now, &mut SystemEntropy) {
                connection.tls.writer().write_all(&bytes).unwrap();
            }
        }
        connection.flush();
        if connection.is_over {
            self.connections.remove(&link);
            client.handle_closed(link, now, &mut SystemEntropy);
        }
    }
}

impl Connection {
    fn open(to: core::net::SocketAddr) -> io::Result<Connection> {
        let tcp = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        tcp.set_nonblocking(true)?;
        tcp.set_nodelay(true)?;
        let name = tls::random_server_name(&mut SystemEntropy);
        let tls = ClientConnection::new(tls::client_config(TlsProvider::best()), name).unwrap();
        Ok(Connection { tcp, tls, is_greeted: false, is_over: false })
    }

    fn fill(&mut self) {
        match self.tls.read_tls(&mut self.tcp) {
            Ok(0) => self.is_over = true,
            Ok(_) => self.is_over |= self.tls.process_new_packets().is_err(),
            Err(error) => self.is_over |= error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    fn flush(&mut self) {
        while self.tls.wants_write() && !self.is_over {
            match self.tls.write_tls(&mut self.tcp) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.is_over = true,
            }
        }
    }
}

pub fn our_client_learns_a_network_of_tor() {
    let network = TorNetwork::start();
    let begun = Instant::now();
    let mut shell = Shell::start(network.directory_lines());
    shell.run_until(|shell| shell.progress.last() == Some(&Progress::EnoughDirectory));
    let took = begun.elapsed();
    shell.run_until(|shell| shell.client.dir().is_some_and(|dir| dir.missing_count() == 0));
    let dir = shell.client.dir().unwrap();
    println!("eleven relays of C tor were learned in {took:.2?}");
    assert_eq!(dir.relays().count(), 11);
    assert!(
        dir.relays().all(|relay| relay.has_microdesc() && relay.ntor_key().is_some() && relay.ed25519_id().is_some())
    );
    let exits = dir.relays().filter(|relay| relay.policy().is_some_and(|policy| policy.allows(80)));
    assert_eq!(exits.count(), 3);
}
