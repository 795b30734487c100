//! The lab's loopback network, used by C tor and by Arti: they fetch the directory from the
//! lab's caches, build circuits through the lab's relays, and carry bytes to the lab's
//! servers and to sockets of this machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use cepa::lab::TlsProvider;
use cepa::lab::origin::pattern;
use cepa::lab::plan::{Plan, Town};

use super::tor::{self, Client, Folder};

pub const MIB: u64 = 1 << 20;
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client that has bootstrapped, and the lab network it is on, if it is one of this process.
pub struct Guest {
    client: Client,
    socks: SocketAddr,
    town: Option<Town>,
}

impl Guest {
    fn of(plan: &Plan) -> Guest {
        let town = plan.open(2, TlsProvider::best()).unwrap();
        let lines = town.torrc().replace("TestingTorNetwork 1\n", "");
        Guest { town: Some(town), ..Guest::on(&lines) }
    }

    /// A C tor on whichever network these lines of a torrc name.
    pub fn on(lines: &str) -> Guest {
        Guest::with(Client::start(Folder::with_data(), lines), None)
    }

    /// One that was started, once it is on its network.
    pub fn with(client: Client, town: Option<Town>) -> Guest {
        let said = client.until(&["Bootstrapped 100% (done)"]);
        let ready = "Opened Socks listener connection (ready) on ";
        let socks = said.iter().find_map(|line| line.split_once(ready)).unwrap().1.trim().parse().unwrap();
        Guest { client, socks, town }
    }

    /// Ends it; gives what it leaves, and its network.
    pub fn part(self) -> (Folder, Option<Town>) {
        (self.client.stop(), self.town)
    }

    /// Its process.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Where it listens.
    pub fn socks(&self) -> SocketAddr {
        self.socks
    }

    fn of_arti(program: &Path, plan: &Plan) -> Guest {
        let town = plan.open(2, TlsProvider::best()).unwrap();
        let socks = SocketAddr::from(([127, 0, 0, 1], tor::free_port()));
        let client = Client::start_arti(program, &town.arti_toml(), socks);
        client.until(&["proxy now functional"]);
        Guest { client, socks, town: Some(town) }
    }

    /// Connects through SOCKS5 by name; gives the reply code if it is refused.
    pub fn connect(&self, host: &str, port: u16) -> Result<TcpStream, u8> {
        let mut stream = TcpStream::connect(self.socks).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&[5, 1, 0]).unwrap();
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen).unwrap();
        assert_eq!(chosen, [5, 0]);
        let length = u8::try_from(host.len()).unwrap();
        let request = [&[5, 1, 0, 3, length][..], host.as_bytes(), &port.to_be_bytes()].concat();
        stream.write_all(&request).unwrap();
        let mut reply = [0; 10];
        stream.read_exact(&mut reply).unwrap();
        if reply[1] == 0 { Ok(stream) } else { Err(reply[1]) }
    }

    fn get(&self, length: u64) -> Vec<u8> {
        let mut stream = self.connect("http.lab", 80).unwrap();
        write!(stream, "GET /{length} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        answer.split_off(end + 4)
    }

    /// So many bytes down, as they were sent.
    pub fn fetches(&self, length: u64) {
        let bytes = self.get(length);
        assert_eq!(bytes.len() as u64, length);
        assert!(bytes.iter().zip(0..).all(|(byte, offset)| *byte == pattern(offset)), "not what was sent");
    }

    /// Up and back again, more than a window of it.
    pub fn hears_its_echo(&self) {
        let mut echo = self.connect("echo.lab", 7).unwrap();
        let sent: Vec<u8> = (0..2 * MIB).map(pattern).collect();
        let mut writer = echo.try_clone().unwrap();
        let up = sent.clone();
        let writing = thread::spawn(move || writer.write_all(&up).unwrap());
        let mut back = vec![0; sent.len()];
        echo.read_exact(&mut back).unwrap();
        writing.join().unwrap();
        assert!(back == sent, "the echo is not what was sent");
    }

    /// A mebibyte for a word, from a server that nobody else runs.
    pub fn reaches_a_socket_of_this_machine(&self) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut byte = [0];
            while !asked.ends_with(b"\n") && tcp.read(&mut byte).unwrap() == 1 {
                asked.push(byte[0]);
            }
            tcp.write_all(&(0..MIB).map(pattern).collect::<Vec<_>>()).unwrap();
            asked
        });
        let mut stream = self.connect("127.0.0.1", port).unwrap();
        stream.write_all(b"give me a mebibyte\n").unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, (0..MIB).map(pattern).collect::<Vec<_>>());
        assert_eq!(serving.join().unwrap(), b"give me a mebibyte\n");
    }
}

pub fn tor_bootstraps_and_fetches_through_the_lab() {
    let guest = Guest::of(&Plan::default());
    guest.fetches(16 * MIB);
    guest.hears_its_echo();
    assert_eq!(guest.connect("refuse.lab", 80).err(), Some(5));
    assert_eq!(guest.connect("nowhere.example", 80).err(), Some(4));
}

pub fn arti_bootstraps_and_fetches_through_the_lab() {
    let program = tor::arti().expect("run only where an Arti is named");
    let guest = Guest::of_arti(&program, &Plan::default());
    guest.fetches(16 * MIB);
    guest.hears_its_echo();
    assert!(guest.connect("refuse.lab", 80).is_err());
}

pub fn tor_reaches_a_socket_of_this_machine_through_the_lab() {
    Guest::of(&Plan::default()).reaches_a_socket_of_this_machine();
}

/// Both over one circuit: what is written to the socket must not make the exit forget when the
/// slow server has something again.
pub fn tor_reads_from_a_slow_server_while_it_writes_to_a_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut tcp in listener.incoming().flatten() {
            let mut taken = Vec::new();
            let _ = tcp.read_to_end(&mut taken);
        }
    });
    let guest = Guest::of(&Plan::default());
    let mut slow = guest.connect("slow-writer-20000.lab", 80).unwrap();
    let mut sink = guest.connect("127.0.0.1", port).unwrap();
    let (mut read, mut buffer) = (0, [0; 4096]);
    loop {
        match slow.read(&mut buffer).unwrap() {
            0 => break,
            count => read += count,
        }
        sink.write_all(&[7; 400]).unwrap();
    }
    assert_eq!(read, 20_000);
}

pub fn tor_bootstraps_among_eight_thousand_relays() {
    let guest = Guest::of(&Plan { listed: 8000, ..Plan::default() });
    guest.fetches(16 * MIB);
}
