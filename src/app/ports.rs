//! The ports that programs connect to: which are open, who is let in, and what becomes of them
//! where the options change.
//!
//! Opens no socket itself (`listener.rs`), and serves nobody (`program.rs`, `look_ups.rs`). Called by `mod.rs` and
//! `client.rs` at the start, and by `reload.rs`. Spec: none. C tor: `retry_all_listeners`,
//! `connection_handle_listener_read` in core/mainloop/connection.c.
//! Differs: a port that stays has the flags that its line has now; C tor's keeps its old ones. A
//! port that overlaps with one that is to go, as 127.0.0.1:9050 does with 0.0.0.0:9050, cannot be
//! opened before that; C tor closes the old one first.

use core::cell::RefCell;
use core::time::Duration;
use std::rc::Rc;

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};

use super::driver::Driver;
use super::listener::{self, Listener};
use super::look_ups::{Datagrams, LookUps, Room};
use super::program::{self, Entry, Seats};
use super::{Error, descriptors};
use crate::base::redact::Sensitive;
use crate::config::port::{Flags, Place, Port, SocketMode};
use crate::config::{Config, Domain};

/// How long nobody is let in after it has failed, which is when descriptors run out; ours.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// All ports, and who comes there.
pub struct Ports {
    driver: Rc<Driver>,
    seats: Rc<Seats>,
    room: Rc<Room>,
    /// In the order of their lines.
    open: Vec<Open>,
    /// What the next one is called. None is called as one before it: circuits of a port that is
    /// closed are not for another.
    next: u32,
}

/// What a port listens for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SOCKS.
    Socks,
    /// HTTP CONNECT.
    HttpTunnel,
    /// Look-ups by datagrams.
    Dns,
    /// What a firewall leads to us.
    Trans,
    /// The same, with a line ahead of it.
    Natd,
}

impl Kind {
    /// The lines of all of them. C tor: without a network nothing is listened to but what controls
    /// it.
    fn lines(config: &Config) -> Vec<(Kind, &Port)> {
        let kinds = [
            (Kind::Socks, &config.socks_ports),
            (Kind::HttpTunnel, &config.http_tunnel_ports),
            (Kind::Dns, &config.dns_ports),
            (Kind::Trans, &config.trans_ports),
            (Kind::Natd, &config.natd_ports),
        ];
        let kinds = kinds.into_iter().filter(|_| !config.is_network_disabled);
        kinds.flat_map(|(kind, ports)| ports.iter().map(move |port| (kind, port))).collect()
    }

    /// The option that asks for it.
    fn option(self) -> &'static str {
        match self {
            Kind::Socks => "SocksPort",
            Kind::HttpTunnel => "HTTPTunnelPort",
            Kind::Dns => "DNSPort",
            Kind::Trans => "TransPort",
            Kind::Natd => "NATDPort",
        }
    }

    /// In words. C tor: `conn_type_to_string`.
    fn name(self) -> &'static str {
        match self {
            Kind::Socks => "Socks listener",
            Kind::HttpTunnel => "HTTP tunnel listener",
            Kind::Dns => "DNS listener",
            Kind::Trans => "Transparent pf/netfilter listener",
            Kind::Natd => "Transparent natd listener",
        }
    }
}

/// A port that is open.
struct Open {
    gate: Rc<Gate>,
    /// Which lets programs in.
    task: JoinHandle<()>,
}

/// What its task knows of it.
struct Gate {
    socket: Socket,
    /// For whoever comes next.
    entry: RefCell<Rc<Entry>>,
    /// Nobody is to come any more.
    closing: Notify,
}

/// What is open there.
enum Socket {
    /// For connections.
    Streams(Listener),
    /// For datagrams.
    Datagrams(Datagrams),
}

impl Socket {
    fn open(kind: Kind, port: &Port) -> Result<Socket, listener::Fault> {
        match kind {
            Kind::Dns => Datagrams::open(&port.at).map(Socket::Datagrams),
            Kind::Socks | Kind::HttpTunnel | Kind::Trans | Kind::Natd => Listener::open(port).map(Socket::Streams),
        }
    }

    fn at(&self) -> &str {
        match self {
            Socket::Streams(listener) => listener.at(),
            Socket::Datagrams(datagrams) => datagrams.at(),
        }
    }

    fn is_at(&self, place: &Place) -> bool {
        match self {
            Socket::Streams(listener) => listener.is_at(place),
            Socket::Datagrams(datagrams) => datagrams.is_at(place),
        }
    }

    /// Whether it may stand where it does and take what it is to take from now on.
    fn check(&self, flags: &Flags) -> Result<(), listener::Fault> {
        match self {
            Socket::Streams(listener) => listener.check(flags),
            Socket::Datagrams(_) => Ok(()),
        }
    }

    fn set_mode(&self, mode: SocketMode) -> std::io::Result<()> {
        match self {
            Socket::Streams(listener) => listener.set_mode(mode),
            Socket::Datagrams(_) => Ok(()),
        }
    }
}

/// What becomes of all ports, to which nothing has happened yet: for each line what it listens
/// for, its flags, and where it is served.
pub struct Plan(Vec<(Kind, Flags, Step)>);

enum Step {
    /// By the port that is called so, which is open.
    Stay(u32),
    /// By one that is open now, and lets nobody in yet.
    New(Socket),
}

/// Sockets of ports that are open before anybody can be let in: those that only root may open, of
/// whoever will be another user by then. Those of the file system are made by the other user, whose
/// they are to be.
#[derive(Default)]
pub struct Early(Vec<(Kind, Port, Socket)>);

impl Early {
    /// Opens all of them, which that executor will listen to.
    pub fn open(config: &Config, runtime: &Runtime) -> Result<Early, Error> {
        let _here = runtime.enter();
        let lines = Kind::lines(config).into_iter().filter(|(_, port)| !matches!(port.at, Place::Unix(_)));
        // What is content with any port must not take one that another line names.
        let (autos, named): (Vec<_>, Vec<_>) = lines.partition(|(_, port)| matches!(port.at, Place::Auto(_)));
        let open = |(kind, port): (Kind, &Port)| match Socket::open(kind, port) {
            Ok(socket) => Ok((kind, port.clone(), socket)),
            Err(fault) => Err(Error::Port(kind.option(), place(port), fault)),
        };
        named.into_iter().chain(autos).map(open).collect::<Result<_, _>>().map(Early)
    }

    fn take(&mut self, kind: Kind, port: &Port) -> Option<Socket> {
        let at = self.0.iter().position(|(other, its, _)| (*other, its) == (kind, port))?;
        Some(self.0.remove(at).2)
    }
}

impl Ports {
    /// None yet.
    pub fn new(driver: &Rc<Driver>) -> Ports {
        let seats = Seats::new(descriptors::limit());
        Ports { driver: Rc::clone(driver), seats, room: Rc::default(), open: Vec::new(), next: 0 }
    }

    /// Where they are, in the order of their lines.
    pub fn places(&self) -> Vec<String> {
        self.open.iter().map(|open| open.gate.socket.at().to_owned()).collect()
    }

    /// Opens whatever a configuration asks for and is not open yet; all of it, or nothing.
    pub fn plan(&self, config: &Config) -> Result<Plan, Error> {
        self.plan_with(config, Early::default())
    }

    /// The same, where some are open.
    pub fn plan_with(&self, config: &Config, mut early: Early) -> Result<Plan, Error> {
        let is_auto = |(_, (_, port)): &(u32, (Kind, &Port))| matches!(port.at, Place::Auto(_));
        let (autos, named): (Vec<_>, Vec<_>) = (0..).zip(Kind::lines(config)).partition(is_auto);
        let mut free: Vec<&Gate> = self.open.iter().map(|open| &*open.gate).collect();
        let mut steps = Vec::new();
        // What is content with any port must not take one that another line names.
        for (line, (kind, port)) in named.into_iter().chain(autos) {
            let is_it = |gate: &&Gate| gate.entry.borrow().kind == kind && gate.socket.is_at(&port.at);
            let step = match free.iter().position(is_it) {
                Some(at) => {
                    let gate = free.remove(at);
                    let check = gate.socket.check(&port.flags);
                    check.map_err(|fault| Error::Port(kind.option(), place(port), fault))?;
                    Step::Stay(gate.entry.borrow().number)
                }
                None => Step::New(self.open(kind, port, &mut early)?),
            };
            steps.push((line, kind, port.flags.clone(), step));
        }
        steps.sort_by_key(|(line, ..)| *line);
        Ok(Plan(steps.into_iter().map(|(_, kind, flags, step)| (kind, flags, step)).collect()))
    }

    fn open(&self, kind: Kind, port: &Port, early: &mut Early) -> Result<Socket, Error> {
        self.driver.log().notice(Domain::Net, format_args!("Opening {} on {}", kind.name(), place(port)));
        early
            .take(kind, port)
            .map_or_else(|| Socket::open(kind, port), Ok)
            .map_err(|fault| Error::Port(kind.option(), place(port), fault))
    }

    /// Lets programs in where it is planned, and nowhere else. Each of what this gives is over
    /// once a socket is closed. To be called before anything else is planned.
    pub fn adopt(&mut self, Plan(steps): Plan) -> Vec<JoinHandle<()>> {
        self.seats.fit(descriptors::limit());
        self.driver
            .log()
            .info(Domain::Net, format_args!("Up to {} programs may be connected at once.", self.seats.most()));
        let mut old = core::mem::take(&mut self.open);
        for (kind, flags, step) in steps {
            let staying = |number| old.iter().position(|open| open.gate.entry.borrow().number == number);
            match step {
                Step::New(socket) => self.let_in(kind, socket, flags),
                Step::Stay(number) => {
                    if let Some(at) = staying(number) {
                        let open = old.remove(at);
                        self.change(&open.gate, flags);
                        self.open.push(open);
                    }
                }
            }
        }
        let close = |open: Open| {
            let (at, name) = (open.gate.socket.at(), open.gate.entry.borrow().kind.name());
            self.driver.log().notice(Domain::Net, format_args!("Closing no-longer-configured {name} on {at}"));
            open.gate.closing.notify_one();
            open.task
        };
        old.into_iter().map(close).collect()
    }

    fn let_in(&mut self, kind: Kind, socket: Socket, flags: Flags) {
        let (at, name) = (socket.at(), kind.name());
        self.driver.log().notice(Domain::Net, format_args!("Opened {name} connection (ready) on {at}"));
        let entry = RefCell::new(Rc::new(Entry { number: self.next, kind, flags }));
        self.next = self.next.wrapping_add(1);
        let gate = Rc::new(Gate { socket, entry, closing: Notify::new() });
        let (seats, room) = (Rc::clone(&self.seats), Rc::clone(&self.room));
        let task = spawn_local(listen(Rc::clone(&self.driver), Rc::clone(&gate), seats, room));
        self.open.push(Open { gate, task });
    }

    /// Whoever is in already has what there was when it came.
    fn change(&self, gate: &Gate, flags: Flags) {
        let mut entry = gate.entry.borrow_mut();
        if entry.flags.socket != flags.socket
            && let Err(error) = gate.socket.set_mode(flags.socket)
        {
            let at = gate.socket.at();
            self.driver.log().warn(Domain::Fs, format_args!("The mode of {at} cannot be changed: {error}"));
        }
        *entry = Rc::new(Entry { number: entry.number, kind: entry.kind, flags });
    }
}

/// Lets programs in at a port, until it is closed.
async fn listen(driver: Rc<Driver>, gate: Rc<Gate>, seats: Rc<Seats>, room: Rc<Room>) {
    match &gate.socket {
        Socket::Streams(listener) => tokio::select! {
            () = gate.closing.notified() => {}
            () = welcome(&driver, listener, &gate.entry, &seats) => {}
        },
        Socket::Datagrams(datagrams) => {
            let mut look_ups = LookUps::new(&driver, datagrams, &gate.entry, &room);
            tokio::select! {
                () = gate.closing.notified() => {}
                () = look_ups.run() => {}
            }
            look_ups.give_up();
        }
    }
}

/// Lets those in who connect, for ever.
async fn welcome(driver: &Rc<Driver>, listener: &Listener, entry: &RefCell<Rc<Entry>>, seats: &Rc<Seats>) {
    let (log, rare) = (driver.log(), driver.rare());
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                log.warn_rarely(
                    &rare.deaf,
                    Domain::Net,
                    format_args!("Nobody can be let in at {}: {error}.", listener.at()),
                );
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // C tor: an address is asked about with port 1. Sockets in the file system have modes.
        if let Some(from) = from.filter(|from| !driver.requests().policy.accepts(from.ip(), 1)) {
            let from = Sensitive::new(from.ip());
            let from = log.show(&from);
            log.notice(Domain::App, format_args!("Denying socks connection from untrusted address {from}."));
            continue;
        }
        let Some((seat, is_full)) = seats.take() else {
            log.warn_rarely(
                &rare.full,
                Domain::Net,
                format_args!("{} programs are connected; no more fit.", seats.most()),
            );
            continue;
        };
        let entry = Rc::clone(&entry.borrow());
        drop(spawn_local(program::serve(Rc::clone(driver), entry, stream, from, seat)));
        if is_full {
            log.warn_rarely(
                &rare.full,
                Domain::Net,
                format_args!("Too many programs are connected that ask for nothing."),
            );
            // Who has to leave goes before the next comes.
            tokio::task::yield_now().await;
        }
    }
}

/// Where a port is, as a torrc says it.
fn place(port: &Port) -> String {
    match &port.at {
        Place::Tcp(address) => address.to_string(),
        Place::Auto(ip) if ip.is_ipv6() => format!("[{ip}]:auto"),
        Place::Auto(ip) => format!("{ip}:auto"),
        Place::Unix(path) => format!("unix:{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::conn::Dialler;
    use super::super::disk::tests::Scratch;
    use super::super::files::Files;
    use super::super::logging::Logger;
    use super::super::runtime::{SystemClock, executor};
    use super::*;
    use crate::client::Setup;
    use crate::config::Settings;
    use crate::crypto::tls::Provider;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::PermissionsExt;
    use tokio::task::LocalSet;

    fn config(lines: &str) -> Config {
        let mut settings = Settings::new();
        settings.add_text("torrc", &format!("Log err stderr\n{lines}")).unwrap();
        Config::of(&settings).unwrap().0
    }

    /// Of a client that asks nobody.
    fn ports() -> Ports {
        let config = config("DisableNetwork 1\n");
        let clock = SystemClock::start();
        let log = Rc::new(Logger::open(&config, clock).ok().unwrap());
        let setup = Setup::of(config).unwrap();
        Ports::new(&Driver::new(setup, Dialler::new(Provider::best()), Files::nowhere(), clock, log))
    }

    async fn change(ports: &mut Ports, lines: &str) -> Result<Vec<String>, String> {
        let plan = ports.plan(&config(lines)).map_err(|error| error.to_string())?;
        for closed in ports.adopt(plan) {
            let _ = closed.await;
        }
        Ok(ports.places())
    }

    fn numbers(ports: &Ports) -> Vec<u32> {
        ports.open.iter().map(|open| open.gate.entry.borrow().number).collect()
    }

    fn run(test: impl Future<Output = ()>) {
        LocalSet::new().block_on(&executor().unwrap(), test);
    }

    #[test]
    fn what_is_in_both_stays_and_what_is_in_neither_is_closed() {
        run(async {
            let mut ports = ports();
            let first = change(&mut ports, "SocksPort auto\nSocksPort auto\n").await.unwrap();
            let [a, b] = &first[..] else { panic!("{first:?}") };
            // One waits to be let in, which it would not live to see at another socket.
            let program = TcpStream::connect(b).unwrap();
            let lines = format!("SocksPort auto IsolateDestPort\nSocksPort {a} PreferSOCKSNoAuth\n");
            // What is content with any port leaves the one that is named.
            assert_eq!(change(&mut ports, &lines).await.unwrap(), [b.clone(), a.clone()]);
            assert!(ports.open[0].gate.entry.borrow().flags.isolation.dest_port);
            assert!(ports.open[1].gate.entry.borrow().flags.prefer_no_auth);
            assert_eq!(numbers(&ports), [1, 0]);
            program.set_nonblocking(true).unwrap();
            assert_eq!(program.peek(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);

            assert_eq!(change(&mut ports, &format!("SocksPort {b}\n")).await.unwrap(), std::slice::from_ref(b));
            assert!(TcpStream::connect(a).is_err() && TcpStream::connect(b).is_ok());
            // A port that was closed and is open again is another.
            let again = format!("SocksPort {a}\nSocksPort {b}\n");
            assert_eq!(change(&mut ports, &again).await.unwrap(), first);
            assert_eq!(numbers(&ports), [2, 1]);
            assert!(change(&mut ports, &format!("DisableNetwork 1\n{again}")).await.unwrap().is_empty());
            assert!(TcpStream::connect(a).is_err() && TcpStream::connect(b).is_err());
            assert_eq!(change(&mut ports, &again).await.unwrap(), first);
            assert_eq!(numbers(&ports), [3, 4]);
        });
    }

    #[test]
    fn ports_that_listen_for_something_else_are_others() {
        run(async {
            let mut ports = ports();
            let first = change(&mut ports, "SocksPort auto\nHTTPTunnelPort auto\n").await.unwrap();
            let [socks, http] = &first[..] else { panic!("{first:?}") };
            let kinds = |ports: &Ports| ports.open.iter().map(|open| open.gate.entry.borrow().kind).collect::<Vec<_>>();
            assert_eq!(kinds(&ports), [Kind::Socks, Kind::HttpTunnel]);
            // Each is content with its own kind alone.
            let again = change(&mut ports, "HTTPTunnelPort auto IsolateDestPort\nSocksPort 0\n").await.unwrap();
            assert_eq!((again, numbers(&ports)), (vec![http.clone()], vec![1]));
            assert!(TcpStream::connect(socks).is_err() && TcpStream::connect(http).is_ok());
            let complaint = change(&mut ports, &format!("SocksPort {http}\n")).await.unwrap_err();
            assert_eq!(complaint, format!("SocksPort {http}: the address is in use. Is Tor already running?"));
            let complaint = change(&mut ports, "HTTPTunnelPort 203.0.113.1:80\n").await.unwrap_err();
            assert!(complaint.starts_with("HTTPTunnelPort 203.0.113.1:80: "), "{complaint}");
        });
    }

    /// Which are the same ports, by whichever means connections get there; taking what is routed to
    /// them wants root.
    #[test]
    fn ports_of_firewalls_stay_where_they_are_while_that_is_all_that_changes() {
        run(async {
            let mut ports = ports();
            let lines = "SocksPort 0\nTransPort auto\nNATDPort auto\n";
            let first = change(&mut ports, lines).await.unwrap();
            assert!(first.len() == 2 && first.iter().all(|port| TcpStream::connect(port).is_ok()));
            match change(&mut ports, &format!("{lines}TransProxyType TPROXY\n")).await {
                Ok(again) => assert_eq!(again, first),
                Err(complaint) => assert!(complaint.contains("CAP_NET_ADMIN"), "{complaint}"),
            }
            assert_eq!(change(&mut ports, lines).await.unwrap(), first);
            assert_eq!(numbers(&ports), [0, 1]);
            let complaint = change(&mut ports, "NATDPort 203.0.113.1:80\n").await.unwrap_err();
            assert!(complaint.starts_with("NATDPort 203.0.113.1:80: "), "{complaint}");
            assert!(change(&mut ports, "SocksPort 0\n").await.unwrap().is_empty());
            assert!(first.iter().all(|port| TcpStream::connect(port).is_err()));
        });
    }

    #[test]
    fn look_ups_are_answered_until_their_port_is_closed() {
        run(async {
            let mut ports = ports();
            let first = change(&mut ports, "SocksPort 0\nDNSPort auto\n").await.unwrap();
            let [at] = &first[..] else { panic!("{first:?}") };
            let program = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let ask = async |kind: u8| {
                let query = [&b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0"[..], &[kind, 0, 1]].concat();
                program.send_to(&query, at).await.unwrap();
                let mut answer = [0; 600];
                let waiting = tokio::time::timeout(Duration::from_secs(60), program.recv(&mut answer));
                let length = waiting.await.unwrap().unwrap();
                assert!(length == query.len() && answer[..3] == [0, 7, 0x81]);
                answer[3]
            };
            // There is no network for it, and some things are not done at all.
            assert_eq!((ask(1).await, ask(16).await), (0x82, 0x84));
            let again = change(&mut ports, "SocksPort 0\nDNSPort auto IsolateClientProtocol\n").await.unwrap();
            assert_eq!((again, numbers(&ports)), (first.clone(), vec![0]));
            assert_eq!(ask(28).await, 0x82);
            let complaint = change(&mut ports, "DNSPort 203.0.113.1:53\n").await.unwrap_err();
            assert!(complaint.starts_with("DNSPort 203.0.113.1:53: "), "{complaint}");
            assert!(change(&mut ports, "SocksPort 0\n").await.unwrap().is_empty());
            // What was closed is free at once.
            drop(std::net::UdpSocket::bind(at).unwrap());
            assert_eq!(change(&mut ports, &format!("SocksPort 0\nDNSPort {at}\n")).await.unwrap(), first);
            assert_eq!(ask(16).await, 0x84);
        });
    }

    #[test]
    fn one_that_cannot_be_opened_leaves_all_as_they_were() {
        let scratch = Scratch::new("ports");
        run(async {
            let mut ports = ports();
            let (old, new) = (scratch.0.join("old"), scratch.0.join("new"));
            let line = |path: &std::path::Path| format!("SocksPort unix:{}\n", path.display());
            let first = change(&mut ports, &format!("SocksPort auto\n{}", line(&old))).await.unwrap();
            let held = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let holder = TcpListener::bind(held).unwrap();
            let wrong = format!("{}SocksPort {held}\n", line(&new));
            let complaint = change(&mut ports, &wrong).await.unwrap_err();
            assert_eq!(complaint, format!("SocksPort {held}: the address is in use. Is Tor already running?"));
            assert!(ports.places() == first && TcpStream::connect(&first[0]).is_ok());
            assert!(old.exists() && !new.exists());
            drop(holder);
            let places = change(&mut ports, &wrong).await.unwrap();
            assert_eq!(places, [new.display().to_string(), held.to_string()]);
            assert!(TcpStream::connect(&first[0]).is_err() && !old.exists() && new.exists());
        });
    }

    #[test]
    fn a_socket_that_stays_lets_those_in_whom_its_line_names_now() {
        let scratch = Scratch::new("modes");
        run(async {
            let mut ports = ports();
            let path = scratch.0.join("socks");
            let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            let line = format!("SocksPort unix:{}", path.display());
            for (flags, expected) in [("", 0o600), ("WorldWritable", 0o666), ("GroupWritable", 0o660)] {
                change(&mut ports, &format!("{line} {flags}\n")).await.unwrap();
                assert_eq!((mode(), numbers(&ports)), (expected, vec![0]), "{flags}");
            }
            std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(0o755)).unwrap();
            let complaint = change(&mut ports, &line).await.unwrap_err();
            assert!(complaint.contains("the directory of the socket must be private"), "{complaint}");
            assert_eq!(mode(), 0o660);
        });
    }
}
