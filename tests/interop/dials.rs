//! Whom our program dials, by the word of the kernel: `strace` sees each connection that it
//! tries to make.
//!
//! Nothing leaves the namespace, so that it may also be seen to dial the public network.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cepa::internal::directory::authorities;

use super::program::CEPA;
use super::relays;
use super::tor::{Folder, Running, free_port};

/// How long it is watched where nobody answers; ours, some tries with each.
const WATCHED: Duration = Duration::from_secs(5);
/// How long it may take to learn a network and to build circuits.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
/// What gives an address away, besides what is written to a connection.
const CALLS: &str = "trace=connect,sendto,sendmsg,sendmmsg";
/// Two relays that nobody knows.
const NOBODY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const NO_OTHER: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

pub const DIALS: &str = "only_those_are_dialled_whom_a_torrc_names";

pub fn missing() -> Option<&'static str> {
    // It may be there and not be permitted to look on.
    let done = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if done.is_ok_and(|status| status.success()) { None } else { Some("strace is not installed, or not permitted") }
}

/// Whom it dials with this torrc, from its start until that is in its log, or for a while.
pub fn dialled(lines: &str, until: Option<&str>) -> BTreeSet<SocketAddr> {
    let folder = Folder::with_data();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let torrc = format!("DataDirectory {}\nSocksPort auto\nLog notice file {}\n{lines}", path("data"), path("log"));
    fs::write(path("torrc"), torrc).unwrap();
    let mut command = Command::new("strace");
    // The program is the process that is started, and whoever looks on is apart from it.
    command.args(["-D", "-f", "-qq", "-e", CALLS, "-o", &path("calls"), CEPA]);
    command.args(["--defaults-torrc", "/dev/null/none", "-f", &path("torrc")]).stdout(Stdio::null());
    let mut process = Running::of(command.spawn().unwrap());
    let begun = Instant::now();
    let log = || fs::read_to_string(path("log")).unwrap_or_default();
    match until {
        None => thread::sleep(WATCHED),
        Some(line) => {
            while !log().contains(line) {
                assert!(begun.elapsed() < PATIENCE, "it does not say {line:?}:\n{}", log());
                thread::sleep(PAUSE);
            }
        }
    }
    process.stop();
    addresses(&calls(Path::new(&path("calls"))))
}

/// What was seen, once all of it is written.
fn calls(path: &Path) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(path).unwrap();
        if text.contains("+++ killed by SIGKILL +++") {
            return text;
        }
        assert!(Instant::now() < end, "strace does not end:\n{text}");
        thread::sleep(PAUSE);
    }
}

/// The addresses in what strace wrote, which are all that may be dialled.
fn addresses(calls: &str) -> BTreeSet<SocketAddr> {
    let named = calls.lines().filter(|line| line.contains("sa_family="));
    named.map(|line| address(line).unwrap_or_else(|| panic!("whom does it call? {line}"))).collect()
}

fn address(line: &str) -> Option<SocketAddr> {
    let between = |start: &str, end: char| line.split_once(start)?.1.split_once(end).map(|(inner, _)| inner);
    let port = between("_port=htons(", ')')?.parse().ok()?;
    let ip = between("inet_addr(\"", '"').or_else(|| between("inet_pton(AF_INET6, \"", '"'))?;
    Some(SocketAddr::new(ip.parse::<IpAddr>().ok()?, port))
}

/// The places that are built in: of authorities, and of fallbacks.
fn built_in() -> [BTreeSet<IpAddr>; 2] {
    let authorities = authorities::built_in()
        .into_iter()
        .flat_map(|authority| [Some((*authority.ipv4.ip()).into()), authority.ipv6.map(|ipv6| (*ipv6.ip()).into())]);
    let fallbacks = authorities::built_in_fallbacks()
        .flat_map(|fallback| [Some(fallback.address.ip()), fallback.ipv6.map(|ipv6| (*ipv6.ip()).into())]);
    [authorities.flatten().collect(), fallbacks.flatten().collect()]
}

/// Authorities are asked on purpose after so many seconds, and are no fallbacks before.
fn authorities_after(seconds: u32) -> String {
    format!("ClientBootstrapConsensusAuthorityDownloadInitialDelay {seconds}\nDirAuthorityFallbackRate 0\n")
}

pub fn only_those_are_dialled_whom_a_torrc_names() {
    let network = relays::shared();
    let lines = network.directory_lines();
    let relays: BTreeSet<_> = network.addresses().into_iter().collect();
    let [first, second] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let fallback = format!("FallbackDir 127.0.0.1:1 orport={} id={NOBODY}\n", first.port());
    let done = Some("Bootstrapped 100% (done)");

    // Who names authorities dials them and the relays of their network.
    let with_authorities = dialled(&format!("TestingTorNetwork 1\n{lines}"), done);
    assert!(with_authorities.is_subset(&relays) && !with_authorities.is_empty(), "{with_authorities:?}");
    // Who names a fallback too dials that first of all, and nobody else besides.
    let with_both = dialled(&format!("TestingTorNetwork 1\n{lines}{fallback}{}", authorities_after(2)), done);
    let allowed = &relays | &BTreeSet::from([first]);
    assert!(with_both.is_subset(&allowed) && with_both.contains(&first), "{with_both:?}");
    // An authority instead of the built-in ones that is gone leaves nobody.
    let alternate =
        format!("AlternateDirAuthority gone orport={} v3ident={NO_OTHER} 127.0.0.1:1 {NO_OTHER}\n", second.port());
    assert_eq!(dialled(&alternate, None), BTreeSet::from([second]));
    assert_eq!(dialled(&format!("{alternate}{fallback}"), None), BTreeSet::from([first, second]));

    // A fallback of one's own leaves the built-in authorities, and no other fallback. Those are
    // seen where nobody is named.
    let [authorities, fallbacks] = built_in();
    let ips = |all: BTreeSet<SocketAddr>| all.into_iter().map(|address| address.ip()).collect::<BTreeSet<_>>();
    let with_fallback = ips(dialled(&format!("{fallback}{}", authorities_after(1)), None));
    let allowed = &authorities | &BTreeSet::from([first.ip()]);
    assert!(with_fallback.is_subset(&allowed) && with_fallback.contains(&first.ip()), "{with_fallback:?}");
    assert!(with_fallback.len() > 1, "{with_fallback:?}");
    let with_nobody = ips(dialled("", None));
    assert!(with_nobody.is_subset(&(&authorities | &fallbacks)), "{with_nobody:?}");
    assert!(with_nobody.intersection(&fallbacks).count() > 1, "{with_nobody:?}");
}
