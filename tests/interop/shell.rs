//! Our client on real sockets: the smallest shell that there can be, on one thread.
//!
//! It dials, goes through TLS, and carries bytes, until something is so. The real one is not
//! this. It runs inside the empty namespace that `main` has checked.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use cepa::internal::client::events::LinkReason;
use cepa::internal::client::files::{Name, PIECE_LEN, Work};
use cepa::internal::client::isolation::{Facts, Fields, Group};
use cepa::internal::client::junction::LinkNo;
use cepa::internal::client::name::{ForExit, Host};
use cepa::internal::client::{Client, Output, Progress, Reader, RequestNo, Setup, What, Wish};
use cepa::internal::config::port::Isolation;
use cepa::internal::config::{Config, Settings};
use cepa::internal::crypto::tls;
use cepa::internal::link::frame::READ_LEN;
use cepa::internal::link::identity::LeafDigest;
use cepa::internal::path::rules::Family;
use cepa::internal::wire::relay_msg::BeginFlags;
use cepa::lab::{SystemClock, SystemEntropy, TlsProvider};
use rustls::ClientConnection;

use super::relays;

/// How long it may take to learn a network of eleven relays, and to fetch something through it.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(1);

struct Connection {
    tcp: TcpStream,
    tls: ClientConnection,
    is_greeted: bool,
    is_over: bool,
}

pub struct Shell {
    pub client: Client,
    clock: SystemClock,
    connections: BTreeMap<LinkNo, Connection>,
    /// What else it said.
    told: Vec<Output>,
    read: Vec<u8>,
    pub progress: Vec<Progress>,
    /// Where files are kept, if they are.
    folder: Option<PathBuf>,
    /// Files that were begun.
    begun: BTreeMap<Name, Vec<u8>>,
}

/// Keeps what streams bring.
struct Keep<'a>(&'a mut Vec<u8>, Vec<(RequestNo, usize)>);

impl Reader for Keep<'_> {
    fn data(&mut self, request: RequestNo, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        self.1.push((request, bytes.len()));
    }
}

impl Shell {
    /// One that trusts the authorities of these lines of a torrc.
    pub fn start(lines: &str, folder: Option<&Path>) -> Shell {
        let mut settings = Settings::new();
        settings.add_text("torrc", &format!("TestingTorNetwork 1\n{lines}")).unwrap();
        let setup = Setup::of(Config::of(&settings).unwrap().0).unwrap();
        let setup = if folder.is_some() { setup.with_files() } else { setup };
        let clock = SystemClock::start();
        let mut client = Client::new(setup);
        client.start(clock.now(), &mut SystemEntropy);
        Shell {
            client,
            clock,
            connections: BTreeMap::new(),
            progress: Vec::new(),
            told: Vec::new(),
            read: Vec::new(),
            folder: folder.map(Path::to_owned),
            begun: BTreeMap::new(),
        }
    }

    pub fn run_until(&mut self, mut done: impl FnMut(&Shell) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "in vain, after {:?} {:?}", self.progress, self.told);
            let now = self.clock.now();
            if self.client.next_deadline(now).is_some_and(|deadline| deadline <= now.tick) {
                self.client.handle_timeout(now, &mut SystemEntropy);
            }
            self.obey();
            let links: Vec<_> = self.connections.keys().copied().collect();
            links.into_iter().for_each(|link| self.carry(link));
            thread::sleep(PAUSE);
        }
        // What it came to is still to be done.
        self.obey();
    }

    fn obey(&mut self) {
        while let Some(work) = self.client.poll_work() {
            self.work(work);
        }
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::HangUp(link) => drop(self.connections.remove(&link)),
                Output::Progress(progress) => self.progress.push(progress),
                Output::Notice(notice) => println!("{notice}"),
                Output::BadFile(name, error) => panic!("{name}: {error:?}"),
                Output::Dial { link, to, .. } => {
                    assert!(to.ip().is_loopback(), "it dials somebody else");
                    match Connection::open(to) {
                        Ok(connection) => drop(self.connections.insert(link, connection)),
                        Err(_) => {
                            self.client.handle_closed(link, LinkReason::Refused, self.clock.now(), &mut SystemEntropy)
                        }
                    }
                }
                output => self.told.push(output),
            }
        }
    }

    fn work(&mut self, work: Work) {
        let folder = self.folder.clone().unwrap();
        let write = |name: Name, bytes: &[u8], begins: bool| {
            let mut options = fs::OpenOptions::new();
            options.create(true).append(!begins).write(true).truncate(begins);
            options.open(folder.join(name)).unwrap().write_all(bytes).unwrap();
        };
        match work {
            Work::Read(name) => {
                let (file, now) = (fs::read(folder.join(name)), self.clock.now());
                let pieces = file.iter().flat_map(|file| file.chunks(PIECE_LEN));
                pieces.for_each(|piece| self.client.handle_file(name, piece, now));
                self.client.handle_file_end(name, file.is_ok(), now, &mut SystemEntropy);
            }
            Work::Begin(name) => drop(self.begun.insert(name, Vec::new())),
            Work::Piece(name, bytes) => self.begun.get_mut(name).unwrap().extend(bytes),
            Work::Commit(name) => write(name, &self.begun.remove(name).unwrap(), true),
            Work::Absorb(name, journal) => {
                write(name, &self.begun.remove(name).unwrap(), true);
                let _ = fs::remove_file(folder.join(journal));
            }
            Work::SetAside(_) => {}
            Work::Abort(name) => drop(self.begun.remove(name)),
            Work::Append(name, bytes) => write(name, &bytes, false),
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
                let mut keep = Keep(&mut self.read, Vec::new());
                client.handle_read(link, buffer, now, &mut SystemEntropy, &mut keep);
                keep.1.into_iter().for_each(|(request, length)| client.handle_taken(request, length));
            }
            while let Some(bytes) = client.take_transmit(link, now, &mut SystemEntropy) {
                connection.tls.writer().write_all(&bytes).unwrap();
            }
        }
        connection.flush();
        if connection.is_over {
            self.connections.remove(&link);
            client.handle_closed(link, LinkReason::Refused, now, &mut SystemEntropy);
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

pub fn our_client_learns_a_network_of_tor_and_fetches_through_it() {
    let network = relays::shared();
    let begun = Instant::now();
    let mut shell = Shell::start(network.directory_lines(), None);
    shell.run_until(|shell| shell.progress.last() >= Some(&Progress::EnoughDirectory));
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
    // And then it fetches something through three of them.
    let length = 4 << 20;
    let sent: Vec<u8> = (0..length).map(|place: u32| (place / 7).to_be_bytes()[3]).collect();
    let port = serve_once(sent.clone());
    let begun = Instant::now();
    shell.client.request(wish("127.0.0.1", port), shell.clock.now(), &mut SystemEntropy);
    shell.run_until(|shell| shell.told.iter().any(|output| matches!(output, Output::Ended { .. })));
    println!("four mebibytes came through three of them in {:.2?}", begun.elapsed());
    assert!(
        shell.read == sent && matches!(shell.told[..], [Output::Connected(_), Output::Ended { is_clean: true, .. }])
    );
    assert_eq!(shell.progress.last(), Some(&Progress::Done));
}

/// A server that gives one client these bytes.
fn serve_once(bytes: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.accept().unwrap().0.write_all(&bytes).unwrap());
    port
}

fn for_exit(host: &str) -> ForExit {
    ForExit::of(&Host::parse(host).unwrap()).unwrap()
}

fn wish(host: &str, port: u16) -> Wish {
    let what = What::Connect { host: for_exit(host), port, family: Family::Ipv4, flags: BeginFlags::default() };
    let facts = Facts {
        group: Group::Listener(0),
        epoch: 0,
        protocol: 5,
        client: None,
        credentials: None,
        host: host.to_owned(),
        port,
    };
    Wish { what, exit: None, facts, fields: Fields::of(Isolation::default()), keeps_alive: false, from: None }
}
