//! `cepa` as a person meets it who starts it wrongly, and as a system does that stops it.
//!
//! None of these may dial anybody else: each has `DisableNetwork 1`, fails before that, or knows
//! nobody but this machine. What it does on a network is in `tests/interop/program.rs`, which is in an empty namespace.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should say where")]
#![allow(clippy::disallowed_methods, reason = "a test of a program reads a clock and waits")]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A directory that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("cepa-program-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Scratch(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// A file of options that has no one dial, and lines of its own.
    fn torrc(&self, lines: &str) -> String {
        let path = self.path("torrc");
        let text = format!("DisableNetwork 1\nDataDirectory {}\n{lines}\n", self.path("data"));
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Nothing of this machine's counts.
fn with<'a>(command: &'a mut Command, arguments: &[&str]) -> &'a mut Command {
    command.args(["--defaults-torrc", "/dev/null/none"]).args(arguments).env("HOME", "/dev/null")
}

fn cepa(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cepa"));
    with(&mut command, arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    cepa(arguments).stdin(Stdio::null()).output().unwrap()
}

/// What it complains of, which must be one line and end it with status 1.
fn complaint(arguments: &[&str]) -> String {
    let output = run(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    assert!(text.starts_with("cepa: ") && text.lines().count() == 1, "{arguments:?}: {text}");
    text.trim_start_matches("cepa: ").trim_end().to_owned()
}

/// One that runs, and has said that it does.
struct Running(Child);

impl Running {
    fn start(arguments: &[&str]) -> Running {
        Running::of(&mut Command::new(env!("CARGO_BIN_EXE_cepa")), arguments)
    }

    fn of(command: &mut Command, arguments: &[&str]) -> Running {
        let mut running = Running(with(command, arguments).stdout(Stdio::piped()).spawn().unwrap());
        let mut lines = BufReader::new(running.0.stdout.as_mut().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("DisableNetwork is set")), "it ended");
        running
    }

    fn signal(&self, name: &str) {
        let done = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.0.id())]).status();
        assert!(done.unwrap().success());
    }

    /// Its status, and what else it said.
    fn end(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        (self.0.wait().unwrap().code(), text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_wrong_with_a_torrc_is_told_with_its_line() {
    let scratch = Scratch::new("torrc");
    for (lines, expected) in [
        ("SockPort 9050", ":3: there is no option SockPort; did you mean SocksPort?"),
        ("\n\nSocksPort nine", ":5: SocksPort wants a port"),
        ("SafeLogging maybe", ":3: SafeLogging wants"),
        ("Nickname \"x", ":3: the quoted value does not end"),
        ("DirAuthority nobody", ":3: DirAuthority wants"),
    ] {
        let torrc = scratch.torrc(lines);
        for verify in [&["-f", &torrc][..], &["-f", &torrc, "--verify-config"]] {
            let text = complaint(verify);
            assert!(text.starts_with(&format!("{torrc}{expected}")), "{text}");
        }
    }
    fs::write(scratch.path("torrc"), b"\nSocksPort \xFF\n").unwrap();
    let text = complaint(&["-f", &scratch.path("torrc")]);
    assert!(text.ends_with(":2: the value is not UTF-8"), "{text}");
}

#[test]
fn a_torrc_that_is_named_must_be_there() {
    let scratch = Scratch::new("missing");
    let (none, torrc) = (scratch.path("none"), scratch.torrc(""));
    assert!(complaint(&["-f", &none]).starts_with(&format!("{none}: ")));
    assert!(complaint(&["-f", &scratch.path("")]).ends_with("it is no file"));
    assert!(run(&["-f", &none, "--ignore-missing-torrc", "--verify-config"]).status.success());
    assert!(run(&["-f", &torrc, "--verify-config"]).status.success());
}

#[test]
fn what_is_refused_ends_it_and_what_is_kept_is_told_once() {
    let scratch = Scratch::new("refused");
    let torrc = scratch.torrc("ORPort 9001\nNickname me\nBridge 192.0.2.1\nBridge 192.0.2.2");
    let on = ["-f", &torrc, "--DisableNetwork", "0"];
    for words in [&on[..], &[&on[..], &["--verify-config"]].concat()] {
        let expected = format!("{torrc}:3: ORPort \"9001\" is refused: cepa is never a relay");
        assert!(complaint(words).starts_with(&expected), "{}", complaint(words));
    }
    let output = run(&["-f", &torrc, "--verify-config"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("ORPort is refused once DisableNetwork is 0"), "{text}");
    assert_eq!(text.matches("Bridge has no effect here").count(), 1, "{text}");
    assert_eq!(text.matches("Nickname has no effect here").count(), 1, "{text}");
}

#[test]
fn what_is_wrong_with_the_command_line_is_told_as_that() {
    let scratch = Scratch::new("words");
    let torrc = scratch.torrc("");
    let text = complaint(&["-f", &torrc, "--SocksPrt", "9050"]);
    assert_eq!(text, "command line: there is no option SocksPrt; did you mean SocksPort?");
    assert_eq!(complaint(&["-f", &torrc, "--SocksPort"]), "command line: --SocksPort wants a value");
    let text = complaint(&["-f", &torrc, "--SocksPort", "x"]);
    assert!(text.starts_with("command line: SocksPort wants a port"), "{text}");
}

#[test]
fn what_it_is_and_can_be_asked_for_is_printed() {
    let said = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // What controllers look for, and who it is.
    assert_eq!(said(&["--version"]), concat!("Tor version 0.4.9.11 (cepa-", env!("CARGO_PKG_VERSION"), ").\n"));
    let hashed = said(&["--hash-password", "foo"]);
    let digits = hashed.trim_end().strip_prefix("16:").unwrap();
    assert!(digits.len() == 58 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hashed}");
    assert_ne!(said(&["--hash-password", "foo"]), hashed);
    for help in [&["--help"][..], &["-h"], &["--SocksPort", "9050", "--help"]] {
        assert!(said(help).starts_with("usage: cepa"));
    }
    assert!(said(&["--list-torrc-options"]).lines().any(|line| line == "SocksPort"));
    assert_eq!(said(&["--list-deprecated-options"]).lines().next(), Some("HTTPProxy"));
    assert_eq!(said(&["--list-modules"]), "relay: no\ndirauth: no\ndircache: no\npow: no\n");
    // Whoever reads no further has had enough.
    let mut child = cepa(&["--help"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

/// What keeps one that should not have started from knowing anybody but this machine.
const NOBODY: &str = "TestingTorNetwork 1\nDirAuthority nobody orport=1 v3ident=0000000000000000000000000000000000000000 \
                      127.0.0.1:1 0000000000000000000000000000000000000000";

/// It is on the network, but fails before it would dial.
#[test]
fn a_port_in_use_is_named() {
    let scratch = Scratch::new("port");
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap();
    let line = format!("{NOBODY}\nSocksPort auto\nSocksPort {port}");
    let text = complaint(&["-f", &scratch.torrc(&line), "--DisableNetwork", "0", "--quiet"]);
    assert_eq!(text, format!("SocksPort {port}: the address is in use. Is Tor already running?"));
    fs::set_permissions(&scratch.0, Permissions::from_mode(0o755)).unwrap();
    let path = scratch.path("socks");
    let text = complaint(&["-f", &scratch.torrc(&format!("{NOBODY}\nSocksPort unix:{path}")), "--DisableNetwork", "0"]);
    assert!(text.starts_with(&format!("SocksPort unix:{path}: the directory of the socket must be private")), "{text}");
    assert!(!Path::new(&path).exists());
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named() {
    let scratch = Scratch::new("data");
    let torrc = scratch.torrc("");
    fs::write(scratch.path("file"), "").unwrap();
    for (path, why) in [
        (scratch.path("file"), "it is no directory"),
        (scratch.path("a/b"), "No such file"),
        ("/proc/cepa".to_owned(), ""),
        ("/dev/null/cepa".to_owned(), ""),
    ] {
        let text = complaint(&["-f", &torrc, "--DataDirectory", &path, "--hush"]);
        assert!(text.starts_with(&format!("DataDirectory {path}: {why}")), "{text}");
        let text = complaint(&["-f", &torrc, "--CacheDirectory", &path, "--hush"]);
        assert!(text.starts_with(&format!("CacheDirectory {path}: {why}")), "{text}");
    }
    let text = complaint(&["-f", &torrc, "--Log", &format!("notice file {}", scratch.path("a/log"))]);
    assert!(text.starts_with(&format!("Log file {}: ", scratch.path("a/log"))), "{text}");
}

#[test]
fn a_data_directory_is_used_by_one_at_a_time() {
    let scratch = Scratch::new("locked");
    let torrc = scratch.torrc("");
    let first = Running::start(&["-f", &torrc]);
    let data = scratch.path("data");
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(complaint(&["-f", &torrc, "--hush"]), format!("DataDirectory {data}: another program is using it"));
    // Of one that ends meanwhile the next takes the place.
    let ended = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        first.signal("TERM");
        first.end().0
    });
    let second = Running::start(&["-f", &torrc]);
    assert_eq!(ended.join().unwrap(), Some(0));
    second.signal("INT");
    assert_eq!(second.end().0, Some(0));
}

/// As with a quota: what cannot be written is told of, as far as that goes, and all goes on.
#[test]
fn a_file_that_may_not_grow_does_not_end_it() {
    let scratch = Scratch::new("limits");
    let torrc = scratch.torrc(&format!("Log notice stdout\nLog info file {}", scratch.path("log")));
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 0; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_cepa")]);
    let running = Running::of(&mut limited, &["-f", &torrc]);
    running.signal("TERM");
    let (status, text) = running.end();
    assert_eq!(status, Some(0));
    assert!(text.contains("[warn] state cannot be written: ") && text.contains("TERM, exiting cleanly.\n"), "{text}");
    assert_eq!(fs::read_to_string(scratch.path("log")).unwrap(), "");
}

#[test]
fn signals_end_it_politely_or_not_at_all() {
    let scratch = Scratch::new("signals");
    let log = scratch.path("log");
    let running = Running::start(&["-f", &scratch.torrc(&format!("Log notice stdout\nLog info file {log}"))]);
    for name in ["HUP", "PIPE", "USR1", "USR2"] {
        running.signal(name);
        std::thread::sleep(Duration::from_millis(50));
    }
    running.signal("TERM");
    let (status, text) = running.end();
    assert_eq!(status, Some(0));
    assert!(
        text.contains("[notice] Received reload signal (hup).") && text.ends_with("TERM, exiting cleanly.\n"),
        "{text}"
    );
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("[notice] cepa ") && log.ends_with("TERM, exiting cleanly.\n"), "{log}");
    for line in ["Links: 0, of which 0 are up. Directory: none.", "Circuits: 0 open", "Streams: 0", "Caught USR2"] {
        assert!(log.contains(&format!("[notice] {line}")), "{log}");
    }
}

#[test]
fn systemd_hears_what_becomes_of_it() {
    let scratch = Scratch::new("systemd");
    let socket = UnixDatagram::bind(scratch.0.join("socket")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cepa"));
    command.env("NOTIFY_SOCKET", scratch.path("socket")).env("WATCHDOG_USEC", "100000");
    let running = Running::of(&mut command, &["-f", &scratch.torrc("")]);
    let hear = |word: &str| {
        let mut buffer = [0; 200];
        for beats in 0..100 {
            let length = socket.recv(&mut buffer).unwrap();
            let said = std::str::from_utf8(&buffer[..length]).unwrap();
            if said.starts_with(word) {
                return beats;
            }
            assert_eq!(said, "WATCHDOG=1", "before {word}");
        }
        panic!("nobody said {word}");
    };
    assert_eq!(hear("READY=1"), 0);
    hear("WATCHDOG=1");
    running.signal("HUP");
    hear("RELOADING=1\nMONOTONIC_USEC=");
    hear("READY=1");
    hear("WATCHDOG=1");
    running.signal("TERM");
    hear("STOPPING=1");
    assert_eq!(running.end().0, Some(0));
}

/// What it says of a user, where it has all rights of root but these. `None` where this is not root,
/// or nobody can take them.
fn complaint_without(rights: &[&str], user: &str) -> Option<String> {
    let mut command = Command::new("setpriv");
    command.args(rights).arg(env!("CARGO_BIN_EXE_cepa"));
    let words = ["--defaults-torrc", "/dev/null/none", "-f", "/dev/null/none", "--ignore-missing-torrc"];
    command.args(words).args(["--User", user, "--verify-config"]).env("HOME", "/dev/null");
    let uid = fs::metadata("/proc/self").unwrap().uid();
    let can = || Command::new("setpriv").args(rights).arg("true").output().is_ok_and(|output| output.status.success());
    if uid != 0 || !can() {
        return None;
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    Some(String::from_utf8(output.stderr).unwrap())
}

/// What becomes of it where it can is in `tests/interop/unit.rs`.
#[test]
fn a_user_that_it_cannot_become_is_named() {
    let scratch = Scratch::new("user");
    let torrc = scratch.torrc("User no-such-user");
    for words in [&["-f", &torrc][..], &["-f", &torrc, "--verify-config"]] {
        assert_eq!(complaint(words), format!("{torrc}:3: User no-such-user: /etc/passwd has no such user"));
    }
    assert!(!Path::new(&scratch.path("data")).exists());
    let must = "it must be started as root to become another: Operation not permitted (os error 1)";
    let powerless = &["--bounding-set", "-setuid,-setgid"][..];
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        assert_eq!(complaint(&["-f", &torrc, "--User", "root"]), format!("command line: User root: {must}"));
    }
    if let Some(text) = complaint_without(powerless, "nobody") {
        assert_eq!(text, format!("cepa: command line: User nobody: {must}\n"));
    }
    if let Some(text) = complaint_without(powerless, "root") {
        assert!(text.starts_with("cepa: command line: User root: it is started as that user, and must be"), "{text}");
    }
    // As if what is given up were not gone. Root of a namespace of users can become nobody else.
    let users = fs::read_to_string("/proc/self/uid_map").unwrap();
    let has_all = users.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    let text = complaint_without(&["--securebits", "+no_setuid_fixup"], "nobody").filter(|_| has_all);
    if let Some(text) = text {
        assert!(text.starts_with("cepa: command line: User nobody: it could be root again, so that"), "{text}");
    }
}

#[test]
fn its_number_is_in_a_file_while_it_runs() {
    let scratch = Scratch::new("pid");
    let file = scratch.path("pid");
    let running = Running::start(&["-f", &scratch.torrc(&format!("PidFile {file}"))]);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", running.0.id()));
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    assert!(!Path::new(&file).exists());
    let nowhere = complaint(&["-f", &scratch.torrc("PidFile /dev/null/pid")]);
    assert_eq!(nowhere, "PidFile /dev/null/pid: Not a directory (os error 20)");
}

#[test]
fn options_come_from_standard_input_and_from_files_that_others_include() {
    let scratch = Scratch::new("include");
    let (torrc, log, more) = (scratch.path("torrc"), scratch.path("log"), scratch.path("more"));
    fs::create_dir(&more).unwrap();
    let file = |name: &str, text: &str| fs::write(format!("{more}/{name}"), text).unwrap();
    file("10-log", &format!("Log notice stdout\nLog notice file {log}\n"));
    file("20-socks", "SocksTimeout 5\n");
    scratch.torrc(&format!("%include {more}/[0-9]*"));
    let mut fed = Command::new("sh");
    fed.args(["-c", &format!("exec \"$0\" \"$@\" <{torrc}"), env!("CARGO_BIN_EXE_cepa")]);
    let running = Running::of(&mut fed, &["-f", "-"]);
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains(&format!("Including configuration file \"{more}/20-socks\"")), "{text}");
    // What was said by standard input counts again, and what it includes is read again.
    file("20-socks", "\nSocksTimeout soon\n");
    running.signal("HUP");
    read_until(&log, &format!("The options stay as they were: {more}/20-socks:2: SocksTimeout wants a time"));
    file("20-socks", "SocksTimeout 6\nSocksTimeout 7\n");
    running.signal("HUP");
    read_until(&log, &format!("{more}/20-socks:2: SocksTimeout was given twice"));
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

/// What is in a file, once `word` is.
fn read_until(path: &str, word: &str) -> String {
    for _ in 0..500 {
        if let Ok(text) = fs::read_to_string(path)
            && text.contains(word)
        {
            return text;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("nobody wrote {word:?} to {path}: {:?}", fs::read_to_string(path));
}

#[test]
fn a_hang_up_opens_the_logs_anew_and_reads_the_options_again() {
    let scratch = Scratch::new("reload");
    let (log, old, other) = (scratch.path("log"), scratch.path("log.1"), scratch.path("other"));
    let lines = format!("Log notice stdout\nLog notice file {log}\n");
    let torrc = scratch.torrc(&lines);
    let running = Running::start(&["-f", &torrc]);
    let (id, zeros) = ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "0000000000000000000000000000000000000000");
    let testing = format!("TestingTorNetwork 1\nDirAuthority nobody orport=1 v3ident={zeros} 127.0.0.1:1 {id}");
    // The log is moved away each time, as logrotate does.
    let hang_up = |word: &str| {
        fs::rename(&log, &old).unwrap();
        running.signal("HUP");
        let text = read_until(&log, word);
        assert!(fs::read_to_string(&old).unwrap().contains("[notice] Received reload signal (hup). Reloading config"));
        text
    };
    let text = hang_up("DisableNetwork is set");
    assert!(
        text.contains(&format!("[notice] Read configuration file \"{torrc}\".")) && !text.contains("[warn]"),
        "{text}"
    );
    for (more, expected) in [
        ("SockPort 1", format!("{torrc}:6: there is no option SockPort; did you mean SocksPort?")),
        ("DirAuthority nobody", format!("{torrc}:6: DirAuthority wants")),
        ("CacheDirectory /x", "CacheDirectory may not change while the program runs".to_owned()),
        ("/DataDirectory", "DataDirectory may not change while the program runs".to_owned()),
        ("TestingTorNetwork 1", format!("{torrc}:6: TestingTorNetwork wants DirAuthority lines beside it")),
        (&testing, "TestingTorNetwork may not change while the program runs".to_owned()),
        ("Log err file /dev/null/x", "Log file /dev/null/x: Not a directory".to_owned()),
    ] {
        scratch.torrc(&format!("{lines}\n{more}"));
        let text = hang_up("stay as they were");
        assert!(text.contains(&format!("[warn] The options stay as they were: {expected}")), "{text}");
        assert_eq!(text.matches("[warn]").count(), 1, "{text}");
    }
    fs::remove_file(&torrc).unwrap();
    assert!(hang_up("stay as they were").contains(&format!("{torrc}: No such file")));

    scratch.torrc(&format!("Log info file {other}\nLogTimeGranularity 86400000\nSocksPort 1 Frobnicate"));
    fs::rename(&log, &old).unwrap();
    running.signal("HUP");
    let text = read_until(&other, "has no flag Frobnicate");
    assert!(text.lines().all(|line| line.contains(" 00:00:00.000 [")), "{text}");
    running.signal("TERM");
    let (status, said) = running.end();
    assert_eq!(status, Some(0));
    // Nothing goes any more where nothing is logged any more.
    assert!(said.contains("Received reload") && !said.contains("exiting cleanly") && !Path::new(&log).exists());
    assert!(read_until(&other, "TERM").ends_with("TERM, exiting cleanly.\n"));
}

/// The sockets of a process that could reach anybody.
fn network_sockets(process: u32) -> Vec<String> {
    let is_socket = |path: PathBuf| Some(path.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    let links = fs::read_dir(format!("/proc/{process}/fd")).unwrap().map_while(Result::ok);
    let own: Vec<_> = links.filter_map(|link| is_socket(fs::read_link(link.path()).ok()?)).collect();
    let table = |name| fs::read_to_string(format!("/proc/{process}/net/{name}")).unwrap_or_default();
    let tables: String = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"].map(table).concat();
    own.into_iter().filter(|inode| tables.split_whitespace().any(|word| word == inode)).collect()
}

/// As Tor Browser begins: without a network, until it has said which bridges there are.
#[test]
fn a_network_that_is_off_stays_off_while_an_option_is_refused() {
    let scratch = Scratch::new("bridges");
    let log = scratch.path("log");
    let bridges = "UseBridges 1\n\
                   ClientTransportPlugin meek_lite,obfs4,webtunnel exec ./TorBrowser/Tor/PluggableTransports/lyrebird\n\
                   Bridge obfs4 192.0.2.3:443 0123456789ABCDEF0123456789ABCDEF01234567 cert=x iat-mode=0";
    let lines = format!("Log notice stdout\nLog notice file {log}\n{NOBODY}\n__SocksPort auto\n{bridges}");
    let torrc = scratch.torrc(&lines);
    let running = Running::start(&["-f", &torrc]);
    let told = fs::read_to_string(&log).unwrap();
    assert!(told.contains("UseBridges is refused once DisableNetwork is 0: there are no bridges yet"), "{told}");
    let text = fs::read_to_string(&torrc).unwrap();
    fs::write(&torrc, text.replace("DisableNetwork 1", "DisableNetwork 0")).unwrap();
    running.signal("HUP");
    let told = read_until(&log, "stay as they were");
    let expected =
        format!("[warn] The options stay as they were: {torrc}:8: UseBridges \"1\" is refused: there are no");
    assert!(told.contains(&expected), "{told}");
    for _ in 0..50 {
        assert_eq!(network_sockets(running.0.id()), [""; 0]);
        std::thread::sleep(Duration::from_millis(20));
    }
    // Without bridges it may, which shows that one would have been seen.
    fs::write(&torrc, text.replace("DisableNetwork 1", "DisableNetwork 0").replace("UseBridges 1", "")).unwrap();
    running.signal("HUP");
    let seen = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        !network_sockets(running.0.id()).is_empty()
    });
    assert!(seen, "{}", fs::read_to_string(&log).unwrap());
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn a_hang_up_without_a_torrc_is_as_good() {
    let scratch = Scratch::new("none");
    let (none, data, log) = (scratch.path("none"), scratch.path("data"), scratch.path("log"));
    let file = format!("notice file {log}");
    let words = ["-f", &none, "--ignore-missing-torrc", "--DisableNetwork", "1", "--DataDirectory", &data];
    let running = Running::start(&[&words[..], &["--+Log", "notice stdout", "--+Log", &file]].concat());
    fs::remove_file(&log).unwrap();
    running.signal("HUP");
    let text = read_until(&log, "DisableNetwork is set");
    assert!(text.contains(&format!("\"{none}\" not present, using reasonable defaults.")), "{text}");
    // One that is there by now counts.
    fs::write(&none, "SafeLogging 0\nSafeLogging 1\n").unwrap();
    running.signal("HUP");
    read_until(&log, &format!("[warn] {none}:2: SafeLogging was given twice"));
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn what_is_odd_is_warned_of_and_quiet_ones_hear_only_that() {
    let scratch = Scratch::new("odd");
    let torrc = scratch.torrc("SocksPort 9050 Frobnicate\nSafeLogging 1\nSafeLogging 0");
    let mut child = cepa(&["-f", &torrc, "--hush"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut next = || lines.next().unwrap_or_default();
    let first = next();
    assert!(first.ends_with(&format!("[warn] {torrc}:5: SafeLogging was given twice; this one counts")), "{first}");
    let second = next();
    assert!(second.contains("[warn]") && second.contains("has no flag Frobnicate"), "{second}");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The program under a limit of descriptors, which `ulimit` is told.
fn limited(limit: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_cepa")]);
    command.args(["--defaults-torrc", "/dev/null/none"]).args(arguments).env("HOME", "/dev/null");
    command
}

#[test]
fn it_takes_the_descriptors_that_it_can_have_and_no_fewer_than_wanted() {
    let scratch = Scratch::new("descriptors");
    let torrc = scratch.torrc("Log info stdout");
    let mut running = limited("-Sn 500", &["-f", &torrc]).stdout(Stdio::piped()).spawn().map(Running).unwrap();
    let mut lines = BufReader::new(running.0.stdout.as_mut().unwrap()).lines().map_while(Result::ok);
    let said: Vec<String> = lines.by_ref().take_while(|line| !line.contains("DisableNetwork is set")).collect();
    let limits = fs::read_to_string(format!("/proc/{}/limits", running.0.id())).unwrap();
    let mut limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap().split_whitespace();
    let (soft, hard) = (limit.next().unwrap(), limit.next().unwrap());
    assert!(soft == hard && soft != "500", "{limits}");
    let expected = format!("[info] Raising max file descriptors from 500 to {hard}.");
    assert!(said.iter().any(|line| line.ends_with(&expected)), "{said:?}");
    // Less what else it needs, and no more than it ever lets in.
    let most = hard.parse().map_or(8192, |hard: usize| (hard - 128).min(8192));
    let expected = format!("[info] Up to {most} programs may be connected at once.");
    assert!(said.iter().any(|line| line.ends_with(&expected)), "{said:?}");
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));

    for (limit, more, wanted, most) in [("-n 999", "", 1000, 999), ("-n 300", "ConnLimit 301", 301, 300)] {
        let output = limited(limit, &["-f", &scratch.torrc(more), "--quiet"]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let expected = format!("cepa: ConnLimit {wanted}: the system lets us have {most} descriptors.");
        assert!(output.status.code() == Some(1) && text.starts_with(&expected), "{text}");
    }
    let log = scratch.path("log");
    let few = |limit| scratch.torrc(&format!("Log info file {log}\nConnLimit {limit}"));
    let running = limited("-n 300", &["-f", &few(300)]).spawn().map(Running).unwrap();
    read_until(&log, "[info] Up to 172 programs may be connected at once.");
    // Whoever limits it further while it runs is heard at the next reload.
    let fewer = ["--pid", &running.0.id().to_string(), "--nofile=240:240"];
    assert!(Command::new("prlimit").args(fewer).status().unwrap().success());
    few(240);
    running.signal("HUP");
    read_until(&log, "[info] Up to 120 programs may be connected at once.");
    few(241);
    running.signal("HUP");
    read_until(&log, "stay as they were: ConnLimit 241: the system lets us have 240");
}

/// The guards are in it: whoever went on without them would write others over them.
#[test]
fn a_state_that_cannot_be_read_ends_it_and_stays_as_it_is() {
    let scratch = Scratch::new("state");
    let data = PathBuf::from(scratch.path("data"));
    fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
    // As good as a disk that fails, and the same for every user.
    fs::create_dir(data.join("state")).unwrap();
    let text = complaint(&["-f", &scratch.torrc("")]);
    assert!(text.starts_with("The file state cannot be read"), "{text}");
    assert!(data.join("state").is_dir());
}

#[test]
fn a_disk_that_hangs_holds_nobody_up() {
    let scratch = Scratch::new("stuck");
    let log = scratch.path("log");
    let running = Running::start(&["-f", &scratch.torrc(&format!("Log notice stdout\nLog notice file {log}"))]);
    // Whoever opens it to write waits for a reader.
    let pipe = Path::new(&scratch.path("data")).join("state.tmp");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let begun = std::time::Instant::now();
    running.signal("TERM");
    std::thread::sleep(Duration::from_millis(300));
    // That is for one who stays.
    running.signal("HUP");
    std::thread::sleep(Duration::from_millis(300));
    assert!(fs::read_to_string(&log).unwrap().ends_with("TERM, exiting cleanly.\n"));
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    assert!(fs::read_to_string(&log).unwrap().ends_with("Another signal: not everything is written.\n"));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}
