//! Our program in the place of Debian's `tor`: started by root in the words of Debian's unit, with
//! Debian's file of defaults, it goes on as Debian's user.
//!
//! In a file system of its own, where there are the directories that the package makes and a torrc
//! of ours in the place of the system's. Wants to be root, and not of a namespace of users.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use cepa::lab::plan::Town;

use super::outside::text;
use super::program::{CEPA, lab};
use super::tor::{Folder, Running};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
const USER: &str = "debian-tor";
/// What it keeps of the directory.
const CACHED: &str = "/var/lib/tor/cached-microdesc-consensus";
const FILE: &str = "/lib/systemd/system/tor@default.service";
/// What systemd makes, the package made and `.ci/run` does not: then the rest is the unit's.
const PREPARE: &str = "set -e\nmount -t tmpfs tmpfs /run\nmount -t tmpfs tmpfs /var/lib/tor\n\
                       chown debian-tor:debian-tor /var/lib/tor\nchmod 2700 /var/lib/tor\n\
                       mount --bind \"$0\" /etc/tor/torrc\n";
/// Ports that only root may open, which all else here may be.
const LOW: u16 = 17;
const ANOTHER: u16 = 18;
/// The right to open them. Spec: capabilities(7), `CAP_NET_BIND_SERVICE`.
const LOW_PORTS: &str = "0000000000000400";

pub const UNIT: &str = "debians_unit_starts_our_program";
pub const RIGHTS: &str = "a_user_keeps_what_root_opened_and_the_right_to_low_ports";

/// Whether this is root, for whom all users are there.
pub fn is_root() -> bool {
    let all = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    all.split_ascii_whitespace().eq(["0", "0", "4294967295"]) && text("id", &["-u"]) == "0"
}

/// What the tests need that may not be there.
pub fn missing() -> Option<&'static str> {
    (!Path::new(FILE).exists()).then_some("the tor that is installed is not Debian's")
}

/// The unit's commands, with our program in its program's place; it stays in that of the shell, and
/// may do what the unit lets it, or what root may.
fn commands(is_limited: bool) -> String {
    let unit = fs::read_to_string(FILE).unwrap();
    let of = |key: &str| unit.lines().filter_map(|line| line.strip_prefix(key)).map(str::to_owned).collect::<Vec<_>>();
    let (before, [start]) = (of("ExecStartPre="), <[String; 1]>::try_from(of("ExecStart=")).unwrap());
    assert!(before.len() == 2 && before[1].ends_with(" --verify-config") && start.contains("defaults-torrc"), "{unit}");
    let rights = of("CapabilityBoundingSet=").concat().to_ascii_lowercase().replace(' ', ",").replace("cap_", "+");
    assert!(unit.contains("NoNewPrivileges=yes") && rights.contains("+setuid,+setgid,"), "{unit}");
    let limits =
        if is_limited { format!("setpriv --no-new-privs --bounding-set=-all,{rights} ") } else { String::new() };
    let commands: String =
        before.into_iter().chain([format!("exec {limits}{start}")]).map(|line| line + "\n").collect();
    commands.replace("/usr/bin/tor ", &format!("{CEPA} "))
}

/// One that runs, on the lab's network.
struct Service {
    process: Running,
    folder: Folder,
    lines: String,
}

impl Service {
    fn start(lines: &str, is_limited: bool) -> Service {
        let folder = Folder::new();
        let torrc = folder.path().join("torrc");
        fs::write(&torrc, lines).unwrap();
        let script = format!("{PREPARE}{}", commands(is_limited));
        let mut shell = Command::new("unshare");
        shell
            .args(["--mount", "sh", "-c", &script])
            .arg(&torrc)
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        let mut child = shell.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let process = Running::of(child);
        // One says that and ends, and the other says nothing here.
        let said: Vec<String> = output.lines().map_while(Result::ok).take_while(|line| !is_valid(line)).collect();
        // What Debian's file says is taken, though some of it is not served yet.
        let mut debians = said.iter().filter(|line| !line.starts_with("[warn] /etc/tor/torrc:"));
        assert!(debians.all(|line| line.contains("has no effect here: there is no control port yet")), "{said:?}");
        let service = Service { process, folder, lines: lines.to_owned() };
        service.until("Bootstrapped 100% (done)", 1);
        service
    }

    /// A file as it sees it.
    fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.process.id()))
    }

    /// Of a file that it makes sooner or later.
    fn facts(&self, path: &str) -> fs::Metadata {
        for _ in 0..PATIENCE.as_millis() / 50 {
            match fs::metadata(self.path(path)) {
                Ok(facts) => return facts,
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
        panic!("there is no {path}");
    }

    /// Waits until its log has that so many times.
    fn until(&self, words: &str, times: usize) {
        let mut log = String::new();
        for _ in 0..PATIENCE.as_millis() / 50 {
            log = fs::read_to_string(self.path("/var/lib/tor/log")).unwrap_or_default();
            if log.matches(words).count() >= times {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("nobody said {words:?}:\n{log}");
    }

    /// Reads its options again, with more of them.
    fn hang_up(&self, more: &str) {
        fs::write(self.folder.path().join("torrc"), format!("{}{more}", self.lines)).unwrap();
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    }

    /// What the system says of it.
    fn status(&self, key: &str) -> Vec<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
        line.split_ascii_whitespace().map(str::to_owned).collect()
    }
}

fn is_valid(line: &str) -> bool {
    line == "Configuration was valid"
}

fn fetches(mut program: impl Read + Write) {
    program.write_all(b"\x04\x01\x00\x50\x00\x00\x00\x01\x00source-7000.lab\x00").unwrap();
    let mut answer = Vec::new();
    program.read_to_end(&mut answer).unwrap();
    assert!(answer.len() == 8 + 7000 && answer.starts_with(&[0, 0x5A]));
}

/// The lab, the lines of a client on it, and the numbers of Debian's user and their group.
fn prepared() -> (Town, String, [String; 2]) {
    let (town, lines) = lab();
    let lines = format!("TestingTorNetwork 1\n{lines}Log info file /var/lib/tor/log\n+SocksPort 127.0.0.1:{LOW}\n");
    (town, lines, ["-u", "-g"].map(|which| text("id", &[which, USER])))
}

pub fn debians_unit_starts_our_program() {
    let (_town, lines, [user, group]) = prepared();
    let mut service = Service::start(&format!("{lines}DNSPort 127.0.0.1:{LOW}\n"), true);
    for (key, expected) in [("Uid", vec![&user; 4]), ("Gid", vec![&group; 4]), ("Groups", vec![&group])] {
        assert_eq!(service.status(key), expected.into_iter().cloned().collect::<Vec<_>>(), "{key}");
    }
    for key in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(service.status(key), ["0000000000000000"], "{key}");
    }
    assert!(service.status("Threads").concat().parse::<u32>().unwrap() > 1);
    // All that it has made is that user's, who goes on making it.
    for path in ["/run/tor/tor.pid", "/run/tor/socks", "/var/lib/tor/log", "/var/lib/tor/lock", CACHED] {
        let facts = service.facts(path);
        assert_eq!([facts.uid().to_string(), facts.gid().to_string()], [&*user, &*group], "{path}");
    }
    let number = fs::read_to_string(service.path("/run/tor/tor.pid")).unwrap();
    assert_eq!(number.trim_end(), service.process.id().to_string());
    fetches(TcpStream::connect(("127.0.0.1", 9050)).unwrap());
    fetches(TcpStream::connect(("127.0.0.1", LOW)).unwrap());
    fetches(UnixStream::connect(service.path("/run/tor/socks")).unwrap());
    let log = fs::read_to_string(service.path("/var/lib/tor/log")).unwrap();
    assert!(!log.contains("as root") && log.contains(&format!("DNS listener connection (ready) on 127.0.0.1:{LOW}")));
    // It is nobody's place to make it root again, nor to have it do what root may.
    let stays = "The options stay as they were: ";
    service.hang_up("User root\n");
    service.until(&format!("{stays}User may not change while the program runs"), 1);
    service.hang_up(&format!("+SocksPort 127.0.0.1:{ANOTHER}\n"));
    service.until(&format!("{stays}SocksPort 127.0.0.1:{ANOTHER}: Permission denied"), 1);
    service.hang_up("SocksTimeout 3 minutes\n");
    service.until("Read configuration file \"/etc/tor/torrc\"", 2);
    fetches(TcpStream::connect(("127.0.0.1", LOW)).unwrap());
    assert_eq!(service.process.end(), Some(0));
}

pub fn a_user_keeps_what_root_opened_and_the_right_to_low_ports() {
    let (_town, lines, [user, _]) = prepared();
    let lines = format!("{lines}TransPort auto\nTransProxyType TPROXY\nKeepBindCapabilities 1\n");
    let mut service = Service::start(&lines, false);
    assert_eq!(service.status("Uid"), vec![user; 4]);
    for key in ["CapEff", "CapPrm", "CapInh"] {
        assert_eq!(service.status(key), [LOW_PORTS], "{key}");
    }
    service.hang_up(&format!("+SocksPort 127.0.0.1:{ANOTHER}\n"));
    service.until(&format!("Opened Socks listener connection (ready) on 127.0.0.1:{ANOTHER}"), 1);
    fetches(TcpStream::connect(("127.0.0.1", ANOTHER)).unwrap());
    // What is routed to others is still taken, and no port more may take it.
    service.hang_up("TransPort 127.0.0.2:auto\n");
    service.until("The options stay as they were: TransPort 127.0.0.2:auto: TransProxyType TPROXY wants the right", 1);
    assert_eq!(service.process.end(), Some(0));
}
