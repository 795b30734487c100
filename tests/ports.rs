//! The flags of ports, and what is told of requests: real programs' words to real ports of the
//! client, on the lab's relays over loopback.
//!
//! Which circuits requests share is seen by how many circuits carry them. What each flag means is
//! `client/isolation.rs`'s, whose table is tested there; here it is shown that a line of a torrc
//! gets that far.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should say where")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cepa::app::local::LocalClient;
use cepa::app::runtime::executor;
use cepa::lab::TlsProvider;
use cepa::lab::plan::{Plan, Town};
use cepa::lab::villain::Villain;
use tokio::net::TcpSocket;
use tokio::task::LocalSet;

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Two names and two ports of the lab's.
const ONE: &str = "source-1000.lab";
const OTHER: &str = "source-2000.lab";

/// One request: to which port of the client, in which words, from where, for what.
#[derive(Clone, Copy, Debug)]
struct Asked {
    port: usize,
    version: u8,
    user: Option<&'static str>,
    from: Ipv4Addr,
    host: &'static str,
    to: u16,
}

/// What most of them are.
const PLAIN: Asked = Asked { port: 0, version: 5, user: None, from: Ipv4Addr::LOCALHOST, host: ONE, to: 80 };

fn text(text: &str) -> Vec<u8> {
    let mut out = vec![u8::try_from(text.len()).unwrap()];
    out.extend_from_slice(text.as_bytes());
    out
}

impl Asked {
    /// Its reply code and what came behind it.
    async fn run(self, ports: Vec<SocketAddr>) -> (u8, Vec<u8>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((self.from, 0))).unwrap();
        let stream = socket.connect(ports[self.port]).await.unwrap().into_std().unwrap();
        tokio::task::spawn_blocking(move || self.talk(stream)).await.unwrap()
    }

    fn talk(self, mut stream: TcpStream) -> (u8, Vec<u8>) {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let read = |length| {
            let mut bytes = vec![0; length];
            (&stream).read_exact(&mut bytes).unwrap();
            bytes
        };
        let code = if self.version == 4 {
            let front = [&[4, 1][..], &self.to.to_be_bytes(), &[0, 0, 0, 1, 0]].concat();
            (&stream).write_all(&[&front, self.host.as_bytes(), &[0]].concat()).unwrap();
            read(8)[1]
        } else {
            let way = if self.user.is_some() { 2 } else { 0 };
            (&stream).write_all(&[5, 1, way]).unwrap();
            assert_eq!(read(2), [5, way]);
            if let Some(user) = self.user {
                (&stream).write_all(&[vec![1], text(user), text("secret")].concat()).unwrap();
                assert_eq!(read(2), [1, 0]);
            }
            let address = match self.host.parse::<Ipv4Addr>() {
                Ok(ip) => [&[1][..], &ip.octets()].concat(),
                Err(_) => [vec![3], text(self.host)].concat(),
            };
            (&stream).write_all(&[&[5, 1, 0][..], &address, &self.to.to_be_bytes()].concat()).unwrap();
            read(10)[1]
        };
        let mut rest = Vec::new();
        // One that was refused may be reset.
        let _ = stream.read_to_end(&mut rest);
        (code, rest)
    }
}

fn town() -> Town {
    Plan::default().open(1, TlsProvider::best()).unwrap()
}

/// Has a client with these lines asked all that, one after the other: what came of each, and how
/// many circuits carried them.
fn asked(town: &Town, lines: &str, all: &[Asked]) -> (Vec<(u8, usize)>, usize) {
    let lines = format!("{}Log err stderr\n{lines}", town.torrc().replace("SocksPort 0\n", ""));
    let (runtime, local, all) = (executor().unwrap(), LocalSet::new(), all.to_vec());
    local.block_on(&runtime, async {
        let client = LocalClient::start("lines", &lines).unwrap();
        let ports: Vec<SocketAddr> = client.ports().iter().map(|port| port.parse().unwrap()).collect();
        let mut results = Vec::new();
        for one in all {
            let (code, rest) = one.run(ports.clone()).await;
            results.push((code, rest.len()));
        }
        (results, client.hops().len())
    })
}

/// How many circuits carry these, all of which must be answered.
fn circuits(town: &Town, lines: &str, all: &[Asked]) -> usize {
    let (results, circuits) = asked(town, lines, all);
    for (one, (code, length)) in all.iter().zip(results) {
        let granted = if one.version == 4 { 0x5A } else { 0 };
        let expected = if one.host == ONE { 1000 } else { 2000 };
        assert_eq!((code, length), (granted, expected), "{lines}{one:?}");
    }
    circuits
}

#[test]
fn flags_of_ports_say_who_shares_a_circuit() {
    let town = town();
    let two_hosts = [PLAIN, Asked { host: OTHER, ..PLAIN }];
    let two_ports = [PLAIN, Asked { to: 443, ..PLAIN }];
    let two_users = [Asked { user: Some("a"), ..PLAIN }, Asked { user: Some("b"), ..PLAIN }];
    let two_places = [PLAIN, Asked { from: Ipv4Addr::new(127, 0, 0, 2), ..PLAIN }];
    let two_versions = [PLAIN, Asked { version: 4, ..PLAIN }];
    let two_listeners = [PLAIN, Asked { port: 1, ..PLAIN }];
    for (lines, all, expected) in [
        ("SocksPort auto\n", two_hosts, 1),
        ("SocksPort auto IsolateDestAddr\n", two_hosts, 2),
        ("SocksPort auto\n", two_ports, 1),
        ("SocksPort auto IsolateDestPort\n", two_ports, 2),
        ("SocksPort auto IsolateDestPort\n", two_hosts, 1),
        ("SocksPort auto\n", two_users, 2),
        ("SocksPort auto NoIsolateSOCKSAuth\n", two_users, 1),
        ("SocksPort auto\n", two_places, 2),
        ("SocksPort auto NoIsolateClientAddr\n", two_places, 1),
        ("SocksPort auto\n", two_versions, 1),
        ("SocksPort auto IsolateClientProtocol\n", two_versions, 2),
        ("SocksPort auto\nSocksPort auto\n", two_listeners, 2),
        ("SocksPort auto SessionGroup=7\nSocksPort auto SessionGroup=7\n", two_listeners, 1),
        ("SocksPort auto SessionGroup=7\nSocksPort auto SessionGroup=8\n", two_listeners, 2),
    ] {
        assert_eq!(circuits(&town, lines, &all), expected, "{lines}{all:?}");
    }
}

/// What a client with these lines logs of these requests, and what it answers them.
fn told(town: &Town, lines: &str, all: &[Asked]) -> (Vec<u8>, String) {
    let name = format!("cepa-ports-{}-{}", std::process::id(), lines.len());
    let path = std::env::temp_dir().join(name);
    let (results, _) = asked(town, &format!("SocksPort auto\nLog notice file {}\n{lines}", path.display()), all);
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    (results.into_iter().map(|(code, _)| code).collect(), text)
}

#[test]
fn where_a_request_went_is_told_only_to_those_who_want_that() {
    let town = town();
    for (host, before, behind) in [
        ("hidden.local", "A request for ", ":80 was refused: Internal"),
        ("hidden..example", "gave Tor a malformed hostname: ", ". Rejecting the connection."),
        ("hidden.onion", "Invalid onion hostname ", "; rejecting"),
    ] {
        let all = [Asked { host, ..PLAIN }];
        let lines = "ClientRejectInternalAddresses 1\n";
        let (_, usual) = told(&town, lines, &all);
        assert!(usual.contains(&format!("{before}[scrubbed]{behind}")) && !usual.contains("hidden"), "{usual}");
        let (_, open) = told(&town, &format!("{lines}SafeLogging 0\n"), &all);
        assert!(open.contains(&format!("{before}{host}{behind}")), "{open}");
    }
}

#[test]
fn requests_are_refused_and_warned_of_as_the_options_say() {
    let town = town();
    let by_address = Asked { host: "93.184.216.34", ..PLAIN };
    let (good, bad) = ("This is good.", "is giving Tor only an IP address");
    let (codes, text) = told(&town, "SafeSocks 1\nTestSocks 1\n", &[PLAIN, by_address]);
    assert!(codes[0] == 0 && codes[1] != 0, "{codes:?}");
    assert!(text.contains(good) && text.contains(bad) && text.contains("Rejecting."), "{text}");
    let (codes, text) = told(&town, "", &[PLAIN]);
    assert!(codes == [0] && !text.contains(good), "{text}");
    let plaintext = "this port is commonly used for unencrypted protocols";
    let (codes, text) = told(&town, "WarnPlaintextPorts 80\n", &[PLAIN]);
    assert!(codes == [0] && text.contains(plaintext) && !text.contains("Closing."), "{text}");
    let (codes, text) = told(&town, "WarnPlaintextPorts 80\nRejectPlaintextPorts 80\n", &[PLAIN]);
    assert!(codes[0] != 0 && text.contains(plaintext) && text.contains("Closing."), "{text}");
    let (codes, text) = told(&town, "", &[Asked { host: "a.b.exit", ..PLAIN }]);
    assert!(codes[0] != 0 && text.contains("notation is disabled"), "{text}");
    let (codes, _) = told(&town, "SocksPolicy accept 127.0.0.1\nSocksPolicy reject *\n", &[PLAIN]);
    assert_eq!(codes, [0]);
}

#[test]
fn addresses_stand_for_others() {
    let town = town();
    let lines = "SocksPort auto\nMapAddress alias.example source-1000.lab\nMapAddress *.wild.example *.lab\n";
    let all = [("alias.example", 1000), ("source-2000.wild.example", 2000), (ONE, 1000)];
    let (results, _) = asked(&town, lines, &all.map(|(host, _)| Asked { host, ..PLAIN }));
    assert_eq!(results, all.map(|(_, length)| (0, length)));
    let (results, _) = asked(&town, "SocksPort auto\n", &[Asked { host: "alias.example", ..PLAIN }]);
    assert_ne!(results[0].0, 0);
}

/// Which directory is asked first is drawn: the one that lies is a third of them.
#[test]
fn what_others_do_wrong_is_warned_of_where_the_user_wants_that() {
    let plan = Plan { villain: Villain::of_name("truncated-consensus").ok(), ..Plan::default() };
    let town = plan.open(1, TlsProvider::best()).unwrap();
    let is_told = |lines: &str, most| (0..most).any(|_| told(&town, lines, &[PLAIN]).1.contains("was dropped"));
    assert!(is_told("ProtocolWarnings 1\n", 40));
    assert!(!is_told("", 10));
}

/// How many logs there were.
static LOGS: AtomicUsize = AtomicUsize::new(0);

/// What a client with these lines answers to each of these texts, on connections of their own one
/// after the other, how many circuits carried that, and what it logged.
fn answered(town: &Town, lines: &str, texts: &[&'static str]) -> (Vec<Vec<u8>>, usize, String) {
    let number = LOGS.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("cepa-ports-natd-{}-{number}", std::process::id()));
    let torrc = town.torrc().replace("SocksPort 0\n", "");
    let lines = format!("{torrc}SocksPort 0\nNATDPort auto {lines}\nLog notice file {}\n", path.display());
    let (runtime, local, texts) = (executor().unwrap(), LocalSet::new(), texts.to_vec());
    let (answers, circuits) = local.block_on(&runtime, async {
        let client = LocalClient::start("lines", &lines).unwrap();
        let mut answers = Vec::new();
        for text in texts {
            let port: SocketAddr = client.ports()[0].parse().unwrap();
            let talk = move || {
                let mut stream = TcpStream::connect(port).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(text.as_bytes()).unwrap();
                let mut answer = Vec::new();
                match stream.read_to_end(&mut answer) {
                    // Nobody reads what follows a line that is refused.
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{text:?}"),
                    Ok(length) => assert_eq!(length, answer.len()),
                }
                answer
            };
            answers.push(tokio::task::spawn_blocking(talk).await.unwrap());
        }
        (answers, client.hops().len())
    });
    let log = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    (answers, circuits, log)
}

#[test]
fn natd_says_where_to_go_and_a_program_hears_nothing_but_its_server() {
    let town = town();
    let bulk = |length| -> Vec<u8> { (0..length).map(cepa::lab::origin::pattern).collect() };
    let (one, other) = ("[DEST source-1000.lab 80]\n", "[DEST source-20.lab 80] \r\n");
    let echo = "[DEST http.lab 80]\nGET /30 HTTP/1.0\r\n\r\n";
    let (answers, circuits, log) = answered(&town, "", &[one, other, echo]);
    assert!(answers[..2] == [bulk(1000), bulk(20)] && answers[2].ends_with(&bulk(30)), "{answers:?}");
    assert!(circuits == 1 && !log.contains("NATD"), "{circuits}: {log}");
    let (answers, circuits, _) = answered(&town, "IsolateDestAddr", &[one, other]);
    assert_eq!((answers, circuits), (vec![bulk(1000), bulk(20)], 2));
}

#[test]
fn what_natd_may_not_ask_for_is_closed_and_told() {
    let town = town();
    let nothing = [
        ("[DEST hidden-by-us.lab 0]\n", "NATD handshake failed; port \"[scrubbed]\" is ill-formed or out of range."),
        ("hidden-by-us\n", "NATD handshake was ill-formed; closing. The client said: \"[scrubbed]\""),
        ("[DEST hidden-by-us.lab 80] and more", "NATD handshake failed (DEST too long). Closing"),
        ("[DEST hidden-by-us.onion 80]\n", "Invalid onion hostname [scrubbed]; rejecting"),
        (
            "[DEST 127.0.0.1 80]\n",
            "private address [scrubbed] on a TransPort or NATDPort. Possible loop in your NAT rules?",
        ),
    ];
    for (text, expected) in nothing {
        let (answers, circuits, log) = answered(&town, "\nClientRejectInternalAddresses 1", &[text]);
        assert!(answers == [[0; 0]] && circuits == 0, "{text:?}: {answers:?}");
        assert!(log.contains(expected) && !log.contains("hidden"), "{text:?}: {log}");
    }
    let (_, _, log) = answered(&town, "\nSafeLogging 0", &["hidden-by-us\n"]);
    assert!(log.contains("said: \"hidden-by-us\""), "{log}");
    // Whom a server refuses, who does not go on, and who may not ask: all are closed without a word.
    let (answers, _, log) = answered(&town, "", &["[DEST refuse.lab 80]\n"]);
    assert!(answers == [[0; 0]] && !log.contains("NATD"), "{log}");
    assert_eq!(answered(&town, "\nSocksTimeout 1", &["[DEST so"]).0, [[0; 0]]);
    let (answers, _, log) = answered(&town, "\nSocksPolicy reject *", &["[DEST source-20.lab 80]\n"]);
    assert!(answers == [[0; 0]] && log.contains("Denying socks connection from untrusted address"), "{log}");
}
