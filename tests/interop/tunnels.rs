//! HTTP tunnels through our program and C tor's relays: curl opens them, and what is said on them
//! is what C tor's own client says on the same network.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::lab::{Guest, MIB};
use super::origin::{HOST, numbered};
use super::outside::{bytes, origin, said};
use super::program::{CEPA, lab, start};
use super::relays;
use super::tor::{Client, Folder, free_port};

/// How long one answer may take: C tor asks three exits for a name that nobody has.
const PATIENCE: Duration = Duration::from_secs(120);

pub const CURL: &str = "curl_fetches_through_http_tunnels";
pub const CURL_REFUSED: &str = "curl_is_told_why_a_tunnel_cannot_be";

/// Where a tunnel begins, and the line that says so.
fn tunnel() -> (SocketAddr, String) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    (address, format!("HTTPTunnelPort {address}\n"))
}

/// Our program and C tor, on the network of these lines: where they listen.
fn ours_and_theirs(lines: &str) -> ([SocketAddr; 2], [Guest; 2]) {
    let ((ours, our_line), (theirs, their_line)) = (tunnel(), tunnel());
    let our_lines = format!("{lines}{our_line}");
    let guest = Guest::with(start(&mut Command::new(CEPA), Folder::with_data(), &our_lines), None);
    let other = Guest::with(Client::start(Folder::with_data(), &format!("{lines}{their_line}")), None);
    ([ours, theirs], [guest, other])
}

pub fn curl_fetches_through_http_tunnels() {
    let ((address, line), origin) = (tunnel(), origin());
    let lines = format!("{}{line}", relays::shared().directory_lines());
    let _guest = Guest::with(start(&mut Command::new(CEPA), Folder::with_data(), &lines), None);
    let proxy = format!("http://{address}");
    let six = serve_once_by_ipv6();
    assert_eq!(said("curl", &["-sSp", "--proxy", &proxy, &format!("http://{six}/")]), b"by IPv6");
    for url in [origin.url("/bytes/1048576"), origin.url_by_address("/bytes/1048576")] {
        assert!(said("curl", &["-sSp", "--proxy", &proxy, &url]) == bytes(MIB), "{url}");
    }
    let stranger = format!("http://tor:somebody@{address}");
    let (url, header) = (origin.url("/number/3"), "X-Tor-Stream-Isolation: a");
    assert_eq!(said("curl", &["-sSp", "--proxy", &stranger, "--proxy-header", header, &url]), numbered(3));
    // Who does not wait for the answer loses nothing.
    let mut hasty = TcpStream::connect(address).unwrap();
    hasty.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(hasty, "CONNECT {HOST}:{} HTTP/1.1\r\n\r\nGET /number/7 HTTP/1.0\r\n\r\n", origin.address().port()).unwrap();
    let mut answer = Vec::new();
    hasty.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.0 200 OK\r\n") && answer.ends_with(&numbered(7)));
}

/// What cannot be is told as what it is; and pages that are not asked for through a tunnel are not
/// for us.
pub fn curl_is_told_why_a_tunnel_cannot_be() {
    let (town, lines) = lab();
    let (address, tunnel) = tunnel();
    let lines = format!("{lines}{tunnel}");
    let _guest = Guest::with(start(&mut Command::new(CEPA), Folder::with_data(), &lines), Some(town));
    let proxy = format!("http://{address}");
    // 56 is curl's code for a tunnel that was refused, and 52 for no answer.
    for (flags, url, code, status) in [
        ("-sp", "http://refuse.lab/", 56, "403"),
        ("-sp", "http://nowhere.example/", 56, "503"),
        ("-sp", "http://time-out.lab/", 56, "504"),
        ("-s", "http://http.lab/1000", 52, "000"),
        ("-sp", "http://http.lab/1000", 0, "200"),
    ] {
        let arguments = [flags, "-o", "/dev/null", "-w", "%{http_connect}", "--proxy", &proxy, url];
        let output = Command::new("curl").args(arguments).output().unwrap();
        assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stdout)), (Some(code), status), "{url}");
    }
}

/// A server that says one thing to one client; where it is.
fn serve_once_by_ipv6() -> SocketAddr {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nby IPv6").unwrap();
    });
    address
}

/// The answer to these bytes, with the name of whoever gave it left out, and no more of it than
/// its head: what a page says is for people.
fn answer(to: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => answer.extend(byte),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{head:?}: {error}"),
        }
    }
    let text = String::from_utf8(answer).unwrap();
    let known = |word: &str| word.starts_with("(cepa ") || word.starts_with("(tor 0.");
    text.split_inclusive("\r\n")
        .map(|line| match line.rfind('(') {
            Some(at) if known(&line[at..]) => format!("{}\r\n", &line[..at]),
            _ => line.to_owned(),
        })
        .collect()
}

pub fn tunnels_are_answered_as_c_tor_answers() {
    let careful = "ClientRejectInternalAddresses 1\nRejectPlaintextPorts 23\n";
    let lines = format!("{}{careful}", relays::shared().directory_lines());
    let (([ours, theirs], _guests), origin) = (ours_and_theirs(&lines), origin());
    let connect = |target: &str| format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let onion = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
    let mut heads = vec![
        connect(&format!("{HOST}:{}", origin.address().port())),
        connect(&origin.address().to_string()),
        connect("nowhere.test:80"),
        connect("_odd.test:80"),
        connect(HOST),
        connect(&format!("{HOST}:0")),
        connect(&format!("{HOST}:65536")),
        connect(&format!("{HOST}:http")),
        connect("127.0.0.1:80"),
        connect("[::1]:80"),
        connect("::1:80"),
        connect("printer.local:80"),
        connect(&format!("{HOST}:23")),
        connect(&format!("{HOST}.relay.exit:80")),
        connect("short.onion:80"),
        connect(&format!("a{onion}:80")),
        connect("a b:80"),
        connect("a/b:80"),
        connect(&format!("http://{HOST}:80")),
        connect(&format!("http://{HOST}:80/")),
        connect(&format!("{}:80", "a".repeat(255))),
        connect(&format!("{}:80", "a".repeat(256))),
        connect("#:80"),
    ];
    heads.extend(
        [
            "CONNECT x.exit:80 HTTP/1.0\r\nTor-RPC-Target: x\r\n\r\n",
            "CONNECT x:80 HTTP/1.0\r\nTor-RPC-Target: x\r\n\r\n",
            "CONNECT x:80 HTTP/2.0\r\n\r\n",
            "CONNECT x:80\r\n\r\n",
            "\r\n\r\n",
            "OPTIONS * HTTP/1.0\r\nHost: localhost\r\n\r\n",
            "options * HTTP/1.1\r\nhost: LOCALHOST:80\r\n\r\n",
            "OPTIONS * HTTP/1.0\r\nHost: localhost:0\r\n\r\n",
            "OPTIONS * HTTP/1.0\r\n\r\n",
            "GET http://x/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST / HTTP/1.0\r\n\r\n",
            "\x05\x01\x00\r\n\r\n",
        ]
        .map(str::to_owned),
    );
    for head in [8191, 8192, 8193] {
        let front = "OPTIONS * HTTP/1.0\r\nHost: localhost\r\nX: ";
        heads.push(format!("{front}{}\r\n\r\n", "x".repeat(head - front.len() - 4)));
    }
    let mut spoken = 0;
    for head in heads {
        let (our, their) = (answer(ours, &head), answer(theirs, &head));
        assert_eq!(our, their, "{head:?}");
        spoken += usize::from(!our.is_empty());
    }
    assert!(spoken >= 20, "most were closed without a word");
}

/// For each reason that an exit can give, and what else can become of a name.
pub fn failures_are_told_as_c_tor_tells_them() {
    let (_town, lines) = lab();
    let ([ours, theirs], _guests) = ours_and_theirs(&lines);
    // Where a policy forbids (4), C tor asks for ever; we ask three exits. Exits that are busy (9
    // and 11) it asks no more, and then it has none; a breach of the protocol (13) closes the
    // circuit first.
    let names = [1, 2, 3, 5, 6, 7, 8, 10, 12, 14].map(|reason| format!("ends-{reason}")).into_iter();
    let names = names.chain(["echo", "refuse", "time-out", "fails", "fails-now"].map(str::to_owned));
    // One after the other: some reasons close circuits, with all that is on them.
    for name in names {
        let head = format!("CONNECT {name}.lab:80 HTTP/1.1\r\n\r\n");
        let (our, their) = (answer(ours, &head), answer(theirs, &head));
        assert_eq!(our, their, "{name}");
    }
}
