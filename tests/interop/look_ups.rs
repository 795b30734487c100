//! Look-ups by datagrams: dig asks our program, and what it is told is what C tor's own client
//! says on the same network.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::lab::Guest;
use super::origin::{ADDRESS, HOST};
use super::outside::text;
use super::program::{CEPA, lab, start};
use super::relays;
use super::tor::{Client, Folder, free_port};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Types of records. Spec: RFC 1035, 3.2.2; RFC 3596.
pub const A: u16 = 1;
const PTR: u16 = 12;
const TXT: u16 = 16;
pub const AAAA: u16 = 28;

pub const DIG: &str = "dig_finds_names_and_addresses";

/// Where to ask, and the line that says so.
pub fn port() -> (SocketAddr, String) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    (address, format!("DNSPort {address}\n"))
}

pub fn dig_finds_names_and_addresses() {
    let (address, line) = port();
    let lines = format!("{}{line}", relays::shared().directory_lines());
    let _guest = Guest::with(start(&mut Command::new(CEPA), Folder::with_data(), &lines), None);
    let at = format!("@{}", address.ip());
    let number = address.port().to_string();
    let dig = |words: &[&str]| text("dig", &[&[at.as_str(), "-p", &number, "+timeout=60", "+tries=1"], words].concat());
    assert_eq!(dig(&["+short", HOST]), ADDRESS.to_string());
    assert_eq!(dig(&["+short", &HOST.to_uppercase(), "A"]), ADDRESS.to_string());
    assert_eq!(dig(&["+short", "-x", &ADDRESS.to_string()]), format!("{HOST}."));
    for (words, status) in [
        (&[HOST, "AAAA"][..], "NOERROR"),
        (&[HOST, "TXT"], "NOTIMP"),
        (&["nowhere.test"], "NXDOMAIN"),
        (&["x.onion"], "SERVFAIL"),
        (&["x.exit"], "SERVFAIL"),
        (&["-x", "192.168.0.1"], "NXDOMAIN"),
    ] {
        let said = dig(words);
        assert!(said.contains(&format!("status: {status}, ")) && said.contains("ANSWER: 0,"), "{words:?}\n{said}");
    }
    let said = dig(&[HOST]);
    assert!(said.contains("flags: qr rd ra;") && said.contains(&format!("{HOST}.\t\t60\tIN\tA\t{ADDRESS}")), "{said}");
    // Two at once, of which the second need not wait for the first.
    let both = ["a.nowhere.test", HOST].map(|name| {
        let words = ["dig", &at, "-p", &number, "+timeout=60", "+tries=1", name].map(str::to_owned);
        thread::spawn(move || String::from_utf8(Command::new(&words[0]).args(&words[1..]).output().unwrap().stdout))
    });
    let [first, second] = both.map(|asking| asking.join().unwrap().unwrap());
    assert!(first.contains("status: NXDOMAIN") && second.contains(&ADDRESS.to_string()), "{first}\n{second}");
}

/// A query with these questions.
pub fn query(id: u16, flags: u16, questions: &[(&str, u16)]) -> Vec<u8> {
    let count = u16::try_from(questions.len()).unwrap();
    let mut bytes = [id, flags, count, 0, 0, 0].map(u16::to_be_bytes).concat();
    for (name, kind) in questions {
        for label in name.split('.').filter(|label| !label.is_empty()) {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.as_bytes());
        }
        bytes.extend([&[0], &kind.to_be_bytes()[..], &[0, 1]].concat());
    }
    bytes
}

pub fn answer(to: SocketAddr, query: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(query, to).unwrap();
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

/// Byte for byte, where C tor says anything: not to what is no question.
pub fn look_ups_are_answered_as_c_tor_answers() {
    let (_town, lines) = lab();
    let lines = format!("{lines}ClientDNSRejectInternalAddresses 1\n");
    let ((ours, our_line), (theirs, their_line)) = (port(), port());
    let our_lines = format!("{lines}{our_line}");
    let _guest = Guest::with(start(&mut Command::new(CEPA), Folder::with_data(), &our_lines), None);
    let _other = Guest::with(Client::start(Folder::with_data(), &format!("{lines}{their_line}")), None);
    let long = "0.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    let local = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa";
    let onion = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
    let ones = [
        ("echo.lab", A),
        ("EcHo.LaB", AAAA),
        ("_odd.echo.lab", A),
        ("fails.lab", A),
        ("fails-now.lab", A),
        ("nowhere.example", AAAA),
        ("private.lab", A),
        ("80.100.51.198.in-addr.arpa", PTR),
        (long, PTR),
        ("1.0.168.192.IN-ADDR.arpa", PTR),
        (local, PTR),
        ("198.51.100.80", PTR),
        ("10.0.0.1", PTR),
        ("echo.lab", PTR),
        ("1.in-addr.arpa", PTR),
        ("192.0.2.1", A),
        ("192.0.2.1", AAAA),
        ("10.0.0.1", A),
        ("2001:db8::1", A),
        ("2001:db8::1", AAAA),
        (onion, A),
        (onion, AAAA),
        ("short.onion", A),
        ("relay.exit", A),
        ("a b.lab", A),
        ("echo.lab", TXT),
        ("echo.lab", 255),
        ("", TXT),
    ];
    let mut queries: Vec<_> = ones.iter().map(|one| query(7, 0x0100, &[*one])).collect();
    queries.extend([
        query(0xFFFF, 0x0010, &[("echo.lab", A)]),
        query(9, 0x07B0, &[("x.test", TXT), ("Echo.lab", AAAA), ("y.example", A)]),
        query(10, 0, &[("x.example", TXT), ("y.test", 33)]),
        [query(11, 0x0120, &[("echo.lab", A)]), b"\0\0\x29\x04\xD0\0\0\0\0\0\0".to_vec()].concat(),
    ]);
    // With EDNS, which counts a record behind the question.
    if let Some(count) = queries.last_mut().and_then(|query| query.get_mut(11)) {
        *count = 1;
    }
    for query in queries {
        let (our, their) = (answer(ours, &query), answer(theirs, &query));
        assert_eq!(our, their, "{}", String::from_utf8_lossy(&query));
    }
    // What cannot be read.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&query(12, 0x8000, &[("echo.lab", A)]), ours).unwrap();
    socket.send_to(b"short", ours).unwrap();
    socket.send_to(&query(13, 0x0100, &[("echo.lab", A)])[..20], ours).unwrap();
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..length], [0, 13, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]);
}
