//! Programs that know of no proxy, led to our program by a firewall: nftables redirects what they
//! send, or routes it, and what becomes of it is what becomes of it at C tor's own client.
//!
//! A firewall tells by its source whose a connection is: an address of the loopback interface for
//! each way. So what the exits send, who are on this machine too, goes where it is addressed to.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::lab::{Guest, MIB};
use super::origin::{HOST, numbered};
use super::outside::{bytes, origin, said};
use super::program::{CEPA, start};
use super::relays;
use super::tor::{Client, Folder, free_port};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Marks what is to be routed to us, and the table of routes that is for it.
const MARK: u32 = 0xCE9A;
/// Addresses that programs come from: of documentation (RFC 3849) where loopback has one alone.
const SOURCES: [[&str; 2]; 3] =
    [["127.0.0.91", "2001:db8::91"], ["127.0.0.92", "2001:db8::92"], ["127.0.0.93", "2001:db8::93"]];

pub const FIREWALL: &str = "programs_that_know_of_no_proxy_are_led_to_us_by_a_firewall";

/// What a command says, which must do what it is told.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Leads connections from each of the sources to the ports of its place, the last of them by a
/// route, for as long as it is there.
struct Firewall;

impl Firewall {
    fn new(ports: [[SocketAddr; 2]; 3]) -> Firewall {
        let (mut families, mut marks, mut routed) = (String::new(), String::new(), String::new());
        for (family, at) in [("ip", 0), ("ip6", 1)] {
            let [ours, theirs, _] = ports.map(|pair| pair[at].port());
            let [a, b, c] = SOURCES.map(|pair| pair[at]);
            families += &format!(
                "table {family} cepa {{\nchain out {{\ntype nat hook output priority -100\n\
                 {family} saddr {a} meta l4proto tcp redirect to :{ours}\n\
                 {family} saddr {b} meta l4proto tcp redirect to :{theirs}\n}}\n}}\n"
            );
            marks += &format!("{family} saddr {c} meta l4proto tcp meta mark set {MARK}\n");
            let to = ports[2][at];
            routed +=
                &format!("{family} saddr {c} meta l4proto tcp tproxy {family} to {to} meta mark set {MARK} accept\n");
        }
        let rules = format!(
            "{families}table inet cepa {{\nchain out {{\ntype route hook output priority -150\n{marks}}}\n\
             chain in {{\ntype filter hook prerouting priority -150\n{routed}}}\n}}\n"
        );
        let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "{rules}");
        let mark = MARK.to_string();
        for (family, all) in [("-4", "0.0.0.0/0"), ("-6", "::/0")] {
            run("ip", &[family, "rule", "add", "fwmark", &mark, "lookup", &mark]);
            run("ip", &[family, "route", "add", "local", all, "dev", "lo", "table", &mark]);
        }
        for [_, source] in SOURCES {
            run("ip", &["address", "add", &format!("{source}/128"), "dev", "lo", "nodad"]);
        }
        Firewall
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        let mark = MARK.to_string();
        let mut all = vec![];
        for family in ["ip", "ip6", "inet"] {
            all.push(("nft", vec!["delete", "table", family, "cepa"]));
        }
        for family in ["-4", "-6"] {
            all.push(("ip", vec![family, "rule", "del", "fwmark", &mark]));
            all.push(("ip", vec![family, "route", "flush", "table", &mark]));
        }
        let sources = SOURCES.map(|[_, source]| format!("{source}/128"));
        all.extend(sources.iter().map(|source| ("ip", vec!["address", "del", source, "dev", "lo"])));
        for (program, arguments) in all {
            let _ = Command::new(program).args(arguments).status();
        }
    }
}

/// A port of IPv4 and one of IPv6, and the lines that ask for them.
fn ports(option: &str) -> ([SocketAddr; 2], String) {
    let ips: [IpAddr; 2] = [[127, 0, 0, 1].into(), Ipv6Addr::LOCALHOST.into()];
    let ports = ips.map(|ip| SocketAddr::new(ip, free_port()));
    (ports, ports.map(|port| format!("{option} {port}\n")).concat())
}

/// A server that says where each of its clients comes from, by IPv6; where it is.
fn serve_by_ipv6() -> SocketAddr {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|length| length == 1) {
                head.extend(byte);
            }
            let from = stream.peer_addr().unwrap().ip();
            let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{from}");
        }
    });
    address
}

/// What a program at that source has from there, which is at a closed port too.
fn fetched(source: &str, url: &str) -> Vec<u8> {
    said("curl", &["-sSg", "--noproxy", "*", "--interface", source, "--http1.0", url])
}

pub fn programs_that_know_of_no_proxy_are_led_to_us_by_a_firewall() {
    let (origin, network) = (origin(), relays::shared());
    let lines = network.directory_lines();
    let ([ours, theirs, routed], [our_lines, their_lines, routed_lines]) =
        split([ports("TransPort"), ports("TransPort"), ports("TransPort")]);
    let _firewall = Firewall::new([ours, theirs, routed]);
    let our = |lines: &str| Guest::with(start(&mut Command::new(CEPA), Folder::with_data(), lines), None);
    let names = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let automap = format!("DNSPort {names}\nAutomapHostsOnResolve 1\nAutomapHostsSuffixes .test\n");
    let _ours = our(&format!("{lines}{our_lines}{automap}"));
    let _routed = our(&format!("{lines}{routed_lines}TransProxyType TPROXY\n"));
    let their_lines = format!("{lines}{their_lines}");
    let _theirs = Guest::with(Client::start(Folder::with_data(), &their_lines), None);
    let (by_ipv4, by_ipv6) = (origin.url_by_address("/bytes/1048576"), format!("http://{}/", serve_by_ipv6()));
    let closed = format!("http://127.0.0.1:{}/", free_port());
    for [source, source_v6] in SOURCES {
        assert!(fetched(source, &by_ipv4) == bytes(MIB), "{source}");
        // Not the program, but an exit.
        assert_eq!(fetched(source_v6, &by_ipv6), b"::1", "{source_v6}");
        // 52 is curl's code for a server that said nothing: it had connected, to somebody.
        let refused = Command::new("curl").args(["-sS", "--interface", source, &closed]).output().unwrap();
        assert_eq!(refused.status.code(), Some(52), "{source}");
    }
    // A program that looks names up gets an address that is none, and its firewall leads that to us.
    let address = looked_up(names);
    let url = format!("http://{address}:{}/number/5", origin.address().port());
    assert!(address.octets()[0] == 127 && fetched(SOURCES[0][0], &url) == numbered(5), "{address}");
    // Without a firewall it is what it says: nobody.
    let refused = Command::new("curl").args(["-sS", &closed]).output().unwrap();
    assert_eq!(refused.status.code(), Some(7));
}

/// The address of our web server, as one is told there.
fn looked_up(at: SocketAddr) -> Ipv4Addr {
    let labels: Vec<u8> =
        HOST.split('.').flat_map(|word| [&[u8::try_from(word.len()).unwrap()], word.as_bytes()].concat()).collect();
    let query = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &labels[..], &[0, 0, 1, 0, 1]].concat();
    let program = UdpSocket::bind("127.0.0.1:0").unwrap();
    program.set_read_timeout(Some(PATIENCE)).unwrap();
    program.send_to(&query, at).unwrap();
    let mut answer = [0; 512];
    let length = program.recv(&mut answer).unwrap();
    // It stands last.
    <[u8; 4]>::try_from(&answer[length - 4..length]).unwrap().into()
}

fn split<const N: usize, A, B>(pairs: [(A, B); N]) -> ([A; N], [B; N]) {
    let mut seconds = Vec::new();
    let firsts = pairs.map(|(first, second)| {
        seconds.push(second);
        first
    });
    (firsts, seconds.try_into().ok().unwrap())
}

/// All that comes back.
fn answer(to: SocketAddr, text: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{text:?}: {error}"),
        _ => answer,
    }
}

pub fn lines_of_natd_are_answered_as_c_tor_answers() {
    let careful = "ClientRejectInternalAddresses 1\nRejectPlaintextPorts 23\n";
    let lines = format!("{}{careful}", relays::shared().directory_lines());
    let (([ours, _], our_line), ([theirs, _], their_line)) = (ports("NATDPort"), ports("NATDPort"));
    let our_lines = format!("{lines}{our_line}");
    let _guest = Guest::with(start(&mut Command::new(CEPA), Folder::with_data(), &our_lines), None);
    let _other = Guest::with(Client::start(Folder::with_data(), &format!("{lines}{their_line}")), None);
    let (port, mut spoken) = (origin().address().port(), 0);
    for line in [
        format!("[DEST {} {port}]\n", origin().address().ip()),
        format!("[DEST {} {port}]\r\n", origin().address().ip()),
        format!("[DEST {} {port}\n", origin().address().ip()),
        format!("[DEST {} +{port}x\n", origin().address().ip()),
        format!("[DEST {}  {port}]\n", origin().address().ip()),
        format!("[DEST {HOST} {port}]\n"),
        format!("[dest {HOST} {port}]\n"),
        format!("[DEST {HOST} {port:05}]\n"),
        format!("[DEST {HOST}]\n"),
        format!("[DEST {HOST} ]\n"),
        format!("[DEST {HOST} 0]\n"),
        format!("[DEST {HOST} -1]\n"),
        format!("[DEST {HOST} 65536]\n"),
        format!("[DEST {HOST} 23]\n"),
        format!("[DEST  {port}]\n"),
        "[DEST nowhere.test 80]\n".to_owned(),
        "[DEST a..b 80]\n".to_owned(),
        "[DEST a/b 80]\n".to_owned(),
        "[DEST x.onion 80]\n".to_owned(),
        "[DEST x.y.exit 80]\n".to_owned(),
        "[DEST 127.0.0.1 80]\n".to_owned(),
        "[DEST localhost 80]\n".to_owned(),
        "[DEST ::1 80]\n".to_owned(),
        "[DEST 192.0.2.1 80]      \n".to_owned(),
        "[DEST 255.255.255.255 65535]   \n".to_owned(),
        "\n".to_owned(),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
        "\u{5}\u{1}\u{0}\n".to_owned(),
    ] {
        let text = format!("{line}GET /number/7 HTTP/1.0\r\n\r\n");
        let (our, their) = (answer(ours, &text), answer(theirs, &text));
        assert!(our == their, "{line:?}: {} and {} bytes", our.len(), their.len());
        spoken += usize::from(!our.is_empty());
    }
    assert!(spoken >= 6, "only {spoken} were answered");
}
