//! Programs that nobody here wrote fetch from a server of ours, by our program and C tor's
//! relays: curl, wget under torsocks, Python, a browser, tor's own look-ups.
//!
//! A program that is not installed is skipped by `main`, unless all must be there.

use std::fs;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::countries;
use super::lab::{Guest, MIB};
use super::look_ups;
use super::origin::{ADDRESS, HOST, Origin, TITLE, numbered, write_pattern};
use super::program::{descriptor_limit, guest_on};
use super::redirected::FIREWALL;
use super::relays;
use super::tor::Folder;
use super::tunnels;

/// How long one program may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How many requests are made at once, and by how many who must not share circuits.
const REQUESTS: u64 = 1000;
const STRANGERS: u64 = 8;
/// How long all of them may take together; ours.
const CROWD_LIMIT: Duration = Duration::from_secs(60);
/// How many curl makes at once: the most that it can.
const CURLS: u32 = 300;
/// How much is much, each way: what nobody waits long for in a debug build, and half a gibibyte
/// in a release build.
const MUCH: u64 = if cfg!(debug_assertions) { 64 * MIB } else { 512 * MIB };
/// Debian's, which has its packages; there may be another.
const PYTHON: &str = "/usr/bin/python3";

/// What a test needs that may not be installed.
pub fn missing(test: &str) -> Option<&'static str> {
    let has = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let has_curl = || has("curl", &["--version"]);
    match test {
        CURL | CURLS_AT_ONCE | MUCH_AT_ONCE | FIREWALL | tunnels::CURL | tunnels::CURL_REFUSED if !has_curl() => {
            Some("curl is not installed")
        }
        countries::TOR if !countries::has_file() => Some("tor-geoipdb is not installed"),
        FIREWALL if !has("nft", &["list", "tables"]) => Some("nft is not installed, or may do nothing"),
        look_ups::DIG if !has("dig", &["-v"]) => Some("dig is not installed"),
        WGET if !has("torsocks", &["--version"]) => Some("torsocks is not installed"),
        WGET if !has("wget", &["--version"]) => Some("wget is not installed"),
        REQUESTS_OF_PYTHON if !has(PYTHON, &["-c", "import socks, requests"]) => {
            Some("Python has no PySocks or no requests")
        }
        BROWSER if !has("chromium", &["--version"]) => Some("chromium is not installed"),
        LOOK_UPS if !has("tor-resolve", &["--version"]) => Some("tor-resolve is not installed"),
        _ => None,
    }
}

pub const CURL: &str = "curl_fetches_by_every_kind_of_socks";
pub const CURLS_AT_ONCE: &str = "curl_fetches_a_thousand_pages_in_parallel";
pub const MUCH_AT_ONCE: &str = "much_goes_both_ways_and_arrives_as_it_was";
pub const WGET: &str = "wget_fetches_under_torsocks";
pub const REQUESTS_OF_PYTHON: &str = "python_fetches_by_requests_and_by_pysocks";
pub const BROWSER: &str = "a_browser_loads_a_page_with_all_its_parts";
pub const LOOK_UPS: &str = "tor_resolve_finds_names_and_addresses";

/// The server of all these tests.
pub fn origin() -> &'static Origin {
    static ORIGIN: OnceLock<Origin> = OnceLock::new();
    ORIGIN.get_or_init(Origin::start)
}

/// Our program on C tor's relays.
fn guest() -> Guest {
    guest_on(relays::shared().directory_lines())
}

/// What a program says, which must do what it is told. Nothing of this machine's counts.
pub fn said(program: &str, arguments: &[&str]) -> Vec<u8> {
    let home = Folder::new();
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).arg(program).args(arguments);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home.path());
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{complaint}", output.status);
    output.stdout
}

pub fn text(program: &str, arguments: &[&str]) -> String {
    String::from_utf8(said(program, arguments)).unwrap().trim().to_owned()
}

pub fn bytes(length: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_pattern(&mut bytes, length).unwrap();
    bytes
}

pub fn curl_fetches_by_every_kind_of_socks() {
    let (origin, guest) = (origin(), guest());
    let socks = guest.socks().to_string();
    let (name, address) = (origin.url("/bytes/1048576"), origin.url_by_address("/bytes/1048576"));
    for (kind, url) in [
        ("--socks5-hostname", &name),
        ("--socks5-hostname", &address),
        ("--socks5", &address),
        ("--socks4a", &name),
        ("--socks4", &address),
    ] {
        assert!(said("curl", &["-sS", kind, &socks, url]) == bytes(MIB), "{kind} {url}");
    }
    let url = format!("socks5h://somebody:secret@{socks}");
    assert!(said("curl", &["-sS", "--proxy", &url, &name]) == bytes(MIB));
    // What cannot be is told as what it is: 97 is curl's code for a proxy's refusal.
    let failed = Command::new("curl").args(["-sS", "--socks5-hostname", &socks, "http://nowhere.test/"]).output();
    assert_eq!(failed.unwrap().status.code(), Some(97));
}

/// The name is looked up by our program first, since wget wants an address.
pub fn wget_fetches_under_torsocks() {
    let (origin, guest) = (origin(), guest());
    let (ip, port) = (guest.socks().ip().to_string(), guest.socks().port().to_string());
    for url in [origin.url("/bytes/1048576"), origin.url_by_address("/bytes/1048576")] {
        let came = said("torsocks", &["-a", &ip, "-P", &port, "wget", "-qO", "-", &url]);
        assert!(came == bytes(MIB), "{url}");
    }
}

pub fn python_fetches_by_requests_and_by_pysocks() {
    let (origin, guest) = (origin(), guest());
    let socks = guest.socks();
    let script = "import sys, requests\n\
                  proxy, url = sys.argv[1:]\n\
                  answer = requests.get(url, proxies={'http': proxy}, timeout=60)\n\
                  answer.raise_for_status()\n\
                  sys.stdout.buffer.write(answer.content)\n";
    for kind in ["socks5h://", "socks5h://somebody:secret@", "socks4a://"] {
        let came = said(PYTHON, &["-c", script, &format!("{kind}{socks}"), &origin.url("/bytes/1048576")]);
        assert!(came == bytes(MIB), "{kind}");
    }
    let script = "import sys, socks\n\
                  kind, ip, port, host, far = sys.argv[1:]\n\
                  s = socks.socksocket()\n\
                  s.set_proxy(getattr(socks, kind), ip, int(port), rdns=True)\n\
                  s.settimeout(60)\n\
                  s.connect((host, int(far)))\n\
                  s.sendall(b'GET /number/7 HTTP/1.0\\r\\n\\r\\n')\n\
                  sys.stdout.buffer.write(s.makefile('rb').read().split(b'\\r\\n\\r\\n', 1)[1])\n";
    let (ip, port, far) = (socks.ip().to_string(), socks.port().to_string(), origin.address().port().to_string());
    for kind in ["SOCKS5", "SOCKS4"] {
        assert_eq!(said(PYTHON, &["-c", script, kind, &ip, &port, HOST, &far]), numbered(7), "{kind}");
    }
}

/// A script of the page says how large its image is.
pub fn a_browser_loads_a_page_with_all_its_parts() {
    let (origin, guest) = (origin(), guest());
    let folder = Folder::new();
    let proxy = format!("--proxy-server=socks5://{}", guest.socks());
    let data = format!("--user-data-dir={}", folder.path().display());
    let dom = text(
        "chromium",
        &[
            "--headless",
            "--no-sandbox",
            &proxy,
            "--proxy-bypass-list=<-loopback>",
            "--disable-background-networking",
            &data,
            "--dump-dom",
            &origin.url("/page"),
        ],
    );
    assert!(dom.contains(&format!("<title>{TITLE}</title>")), "{dom}");
    for part in ["/page", "/script.js", "/image.gif"] {
        assert!(!origin.asked(part).is_empty(), "{part}");
    }
}

pub fn tor_resolve_finds_names_and_addresses() {
    let guest = guest();
    let socks = guest.socks().to_string();
    assert_eq!(text("tor-resolve", &[HOST, &socks]), ADDRESS.to_string());
    assert_eq!(text("tor-resolve", &["-4", HOST, &socks]), ADDRESS.to_string());
    assert_eq!(text("tor-resolve", &["-x", &ADDRESS.to_string(), &socks]), HOST);
    let failed = Command::new("tor-resolve").args(["nowhere.test", &socks]).output().unwrap();
    assert!(!failed.status.success());
}

// --- many at once ------------------------------------------------------------------------

/// All are connected before the first says what it wants, and each gets its own page.
pub fn a_thousand_requests_at_once_are_each_answered() {
    let (origin, guest) = (origin(), guest());
    // Both ends of each are in this process.
    let count = (descriptor_limit().saturating_sub(200) as u64 / 2).min(REQUESTS);
    let begun = Instant::now();
    let asked = (0..count).map(|number| ask(guest.socks(), origin.address().port(), number));
    let mut programs: Vec<_> = asked.collect();
    programs.iter_mut().for_each(|program| assert_eq!(answered(program), 0));
    let connected = begun.elapsed();
    for (number, program) in (0..).zip(&mut programs) {
        write!(program, "GET /number/{number} HTTP/1.0\r\n\r\n").unwrap();
    }
    for (number, program) in (0..).zip(&mut programs) {
        let mut answer = Vec::new();
        program.read_to_end(&mut answer).unwrap();
        assert!(answer.ends_with(&[b"\r\n\r\n", &numbered(number)[..]].concat()), "page {number}");
    }
    let took = begun.elapsed();
    println!("{count} programs were connected within {connected:.2?}, and had their pages after {took:.2?}");
    assert!(took < CROWD_LIMIT);
    assert!(count == REQUESTS || !super::is_required(), "no more than {count} descriptors");
}

/// Asks for a stream and does not wait for the answer: greeting, credentials and request at once.
fn ask(socks: SocketAddr, port: u16, number: u64) -> TcpStream {
    let mut stream = TcpStream::connect(socks).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let stranger = format!("stranger{}", number % STRANGERS);
    let length = |text: &str| [u8::try_from(text.len()).unwrap()];
    let credentials = [&[1], &length(&stranger)[..], stranger.as_bytes(), &[1], b"x"].concat();
    let request = [&[5, 1, 0, 3], &length(HOST)[..], HOST.as_bytes(), &port.to_be_bytes()].concat();
    stream.write_all(&[&[5, 1, 2], &credentials[..], &request].concat()).unwrap();
    stream
}

/// The code of the answer.
fn answered(stream: &mut TcpStream) -> u8 {
    let mut answer = [0; 2 + 2 + 10];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..4], [5, 2, 1, 0]);
    answer[5]
}

pub fn curl_fetches_a_thousand_pages_in_parallel() {
    let (origin, guest, folder) = (origin(), guest(), Folder::new());
    let url = origin.url(&format!("/number/[1-{REQUESTS}]"));
    let out = format!("{}/#1", folder.path().display());
    let most = CURLS.to_string();
    let begun = Instant::now();
    let parallel = ["--parallel", "--parallel-immediate", "--parallel-max", &most];
    said(
        "curl",
        &[&["-sS", "--socks5-hostname", &guest.socks().to_string(), "-o", &out, &url], &parallel[..]].concat(),
    );
    let took = begun.elapsed();
    for number in 1..=REQUESTS {
        assert_eq!(fs::read(folder.path().join(number.to_string())).unwrap(), numbered(number), "page {number}");
    }
    println!("curl had {REQUESTS} pages after {took:.2?}");
    assert!(took < CROWD_LIMIT);
}

// --- much --------------------------------------------------------------------------------

pub fn much_goes_both_ways_and_arrives_as_it_was() {
    let (origin, guest, folder) = (origin(), guest(), Folder::new());
    let path = folder.path().join("much");
    let mut file = BufWriter::new(File::create(&path).unwrap());
    write_pattern(&mut file, MUCH).unwrap();
    file.flush().unwrap();
    let (path, socks) = (path.display().to_string(), guest.socks().to_string());
    let sum = text("sha256sum", &[&path]).split(' ').next().unwrap().to_owned();
    let begun = Instant::now();
    let script = "curl -sS --socks5-hostname \"$1\" \"$2\" | sha256sum";
    let came = text("sh", &["-c", script, "sh", &socks, &origin.url(&format!("/bytes/{MUCH}"))]);
    let down = begun.elapsed();
    assert!(came.starts_with(&sum), "{came} is not {sum}");
    let begun = Instant::now();
    let url = origin.url("/sum");
    let went = text("curl", &["-sS", "--socks5-hostname", &socks, "--upload-file", &path, &url]);
    let up = begun.elapsed();
    assert_eq!(went, sum);
    let more = if cfg!(debug_assertions) { "; a release build carries 512" } else { "" };
    println!("{} MiB came down in {down:.1?} and went up in {up:.1?}{more}", MUCH / MIB);
}
