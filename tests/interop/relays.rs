//! A network of Debian's `tor`: authorities that vote, relays and exits, on the loopback address.
//!
//! All keys are made anew, all processes end with their owner. It takes some ten seconds
//! until a consensus lists everybody. Never started outside the empty namespace that
//! `main` has checked.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::origin;
use super::tor::{Folder, Running, free_port, processor_time, start_quietly};

const AUTHORITIES: usize = 3;
const RELAYS: usize = 5;
const EXITS: usize = 3;
/// How long until everybody is in a consensus.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a relay may go without the consensus that the authorities have. One that asked for
/// it too early asks again after longer and longer times, but when it starts anew.
const RELAY_PATIENCE: Duration = Duration::from_secs(5);
/// How long a relay may be in no consensus, though others are; some votes.
const LISTED_PATIENCE: Duration = Duration::from_secs(40);
/// Where a relay keeps it.
const CONSENSUS: &str = "cached-microdesc-consensus";
const PAUSE: Duration = Duration::from_millis(200);

/// The network that tests share which do it no harm.
static SHARED: Mutex<Option<Arc<TorNetwork>>> = Mutex::new(None);

/// It, started by the first who wants it, together with the name server of its exits.
pub fn shared() -> Arc<TorNetwork> {
    let mut shared = SHARED.lock().unwrap();
    let start = || {
        origin::serve_names();
        Arc::new(TorNetwork::start())
    };
    Arc::clone(shared.get_or_insert_with(start))
}

/// Ends it. Nobody else would: what is static is never dropped.
pub fn end_shared() {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner).take();
}

/// A running network.
pub struct TorNetwork {
    processes: Vec<Running>,
    directory_lines: String,
    addresses: Vec<SocketAddr>,
    _folder: Folder,
}

/// What a relay is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Authority,
    Relay,
    Exit,
}

/// One relay before it runs.
struct Draft {
    kind: Kind,
    nickname: String,
    data: PathBuf,
    or_port: u16,
    dir_port: u16,
}

impl TorNetwork {
    /// Starts it and waits until a consensus lists all its relays as running.
    pub fn start() -> TorNetwork {
        let folder = Folder::new();
        let kinds = [(Kind::Authority, AUTHORITIES), (Kind::Relay, RELAYS), (Kind::Exit, EXITS)];
        let kinds = kinds.into_iter().flat_map(|(kind, count)| std::iter::repeat_n(kind, count));
        let drafts: Vec<_> = kinds.enumerate().map(|(number, kind)| Draft::new(folder.path(), number, kind)).collect();
        let directory_lines: String = drafts.iter().filter_map(Draft::directory_line).collect();
        let processes = drafts.iter().map(|draft| start_quietly(&draft.write_torrc(&directory_lines))).collect();
        let addresses = drafts.iter().map(|draft| SocketAddr::from(([127, 0, 0, 1], draft.or_port))).collect();
        let mut network = TorNetwork { processes, directory_lines, addresses, _folder: folder };
        network.wait(&drafts);
        network
    }

    /// Waits until each relay knows all others: an exit refuses streams of relays that it does
    /// not know.
    fn wait(&mut self, drafts: &[Draft]) {
        let end = Instant::now() + PATIENCE;
        let mut began = vec![Instant::now(); drafts.len()];
        // Authorities are the first, and need nobody to learn from.
        for draft in drafts {
            while !draft.knows(drafts.len()) {
                let file = |name| fs::read_to_string(draft.data.join(name)).unwrap_or_default();
                let (text, log) = (file(CONSENSUS), file("notice.log"));
                assert!(Instant::now() < end, "{} does not know all others:\n{text}\n{log}", draft.nickname);
                match draft.kind {
                    Kind::Authority => self.start_unlisted(drafts, &text, &mut began),
                    Kind::Relay | Kind::Exit => self.hurry(drafts, &mut began),
                }
                thread::sleep(PAUSE);
            }
        }
    }

    /// Starts those anew that have asked too early.
    fn hurry(&mut self, drafts: &[Draft], began: &mut [Instant]) {
        self.start_anew(drafts, began, |draft, age| !draft.knows(drafts.len()) && age > RELAY_PATIENCE);
    }

    /// Starts those anew of which no consensus has heard for long.
    fn start_unlisted(&mut self, drafts: &[Draft], consensus: &str, began: &mut [Instant]) {
        let is_listed = |draft: &Draft| consensus.contains(&format!("\nr {} ", draft.nickname));
        let is_authority = |draft: &Draft| draft.kind == Kind::Authority;
        self.start_anew(drafts, began, |draft, age| !is_authority(draft) && !is_listed(draft) && age > LISTED_PATIENCE);
    }

    fn start_anew(&mut self, drafts: &[Draft], began: &mut [Instant], should: impl Fn(&Draft, Duration) -> bool) {
        for ((draft, process), began) in drafts.iter().zip(&mut self.processes).zip(began) {
            if should(draft, began.elapsed()) {
                process.stop();
                // Or it would be content with an old one.
                let _ = fs::remove_file(draft.data.join(CONSENSUS));
                *process = start_quietly(&draft.data.join("torrc"));
                *began = Instant::now();
            }
        }
    }

    /// The lines of a torrc that name its authorities.
    pub fn directory_lines(&self) -> &str {
        &self.directory_lines
    }

    /// Where its relays listen.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What all its processes together have used of the processors.
    pub fn processor_time(&self) -> Duration {
        self.processes.iter().map(|process| processor_time(process.id())).sum()
    }
}

impl Draft {
    fn new(folder: &Path, number: usize, kind: Kind) -> Draft {
        let data = folder.join(format!("{number}"));
        fs::create_dir_all(data.join("keys")).unwrap();
        let nickname = format!("tor{number}");
        let draft = Draft { kind, nickname, data, or_port: free_port(), dir_port: free_port() };
        if kind == Kind::Authority {
            draft.certify();
        }
        draft
    }

    /// Makes an authority's keys and its certificate.
    fn certify(&self) {
        let address = format!("127.0.0.1:{}", self.dir_port);
        let mut process = Command::new("tor-gencert")
            .args(["--create-identity-key", "--passphrase-fd", "0", "-m", "12", "-a", &address])
            .current_dir(self.data.join("keys"))
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(process.wait().unwrap().success(), "tor-gencert failed");
    }

    /// The line of a torrc that names an authority.
    fn directory_line(&self) -> Option<String> {
        if self.kind != Kind::Authority {
            return None;
        }
        let certificate = fs::read_to_string(self.data.join("keys/authority_certificate")).unwrap();
        let identity = certificate.lines().find_map(|line| line.strip_prefix("fingerprint ")).unwrap();
        Some(format!(
            "DirAuthority {} orport={} no-v2 v3ident={identity} 127.0.0.1:{} {}\n",
            self.nickname,
            self.or_port,
            self.dir_port,
            self.fingerprint()
        ))
    }

    /// Makes the relay's keys; 40 hex digits.
    fn fingerprint(&self) -> String {
        let nobody = format!("x orport=1 127.0.0.1:1 {}", "A".repeat(40));
        let output = Command::new("tor")
            .args(["--list-fingerprint", "--defaults-torrc", "/dev/null", "-f", "/dev/null", "--ignore-missing-torrc"])
            .args(["--TestingTorNetwork", "1", "--DirAuthority", &nobody, "--Address", "127.0.0.1"])
            .args(["--Nickname", &self.nickname, "--ORPort", &self.or_port.to_string(), "--Log", "err stderr"])
            .arg("--DataDirectory")
            .arg(&self.data)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "tor made no keys:\n{said}");
        let words = said.lines().last().unwrap().split_whitespace().skip(1);
        words.collect()
    }

    /// Whether its consensus lists so many relays as running.
    fn knows(&self, count: usize) -> bool {
        let text = fs::read_to_string(self.data.join(CONSENSUS)).unwrap_or_default();
        text.lines().filter(|line| line.starts_with("s ") && line.contains(" Running")).count() == count
    }

    fn write_torrc(&self, directory_lines: &str) -> PathBuf {
        let (data, nickname, or_port) = (self.data.display(), &self.nickname, self.or_port);
        let mut torrc = format!(
            "TestingTorNetwork 1\n{directory_lines}DataDirectory {data}\nNickname {nickname}\nORPort 127.0.0.1:{or_port}\n\
             Address 127.0.0.1\nAssumeReachable 1\nSocksPort 0\nShutdownWaitLength 0\nExtraInfoStatistics 0\n\
             PathsNeededToBuildCircuits 0.67\nTestingDirAuthVoteExit *\nTestingDirAuthVoteHSDir *\n\
             Log notice file {data}/notice.log\n"
        );
        torrc.push_str(match self.kind {
            Kind::Authority => {
                "AuthoritativeDirectory 1\nV3AuthoritativeDirectory 1\nExitPolicy reject *:*\n\
                 TestingV3AuthInitialVotingInterval 10\nTestingV3AuthInitialVoteDelay 2\n\
                 TestingV3AuthInitialDistDelay 2\nV3AuthVotingInterval 10\nV3AuthVoteDelay 2\nV3AuthDistDelay 2\n\
                 V3AuthNIntervalsValid 200\nTestingDirAuthVoteGuard *\nTestingMinExitFlagThreshold 0\n\
                 AuthDirMaxServersPerAddr 0\nMinUptimeHidServDirectoryV2 0\nAuthDirTestReachability 0\n\
                 ConsensusParams guard-meaningful-restriction-percent=50\n"
            }
            Kind::Relay => "ExitPolicy reject *:*\n",
            Kind::Exit => "ExitRelay 1\nIPv6Exit 1\nExitPolicyRejectPrivate 0\nExitPolicy accept *:*\n",
        });
        if self.kind == Kind::Exit {
            let names = self.data.join("resolv.conf");
            fs::write(&names, origin::RESOLV_CONF).unwrap();
            writeln!(torrc, "ServerDNSResolvConfFile {}", names.display()).unwrap();
        }
        if self.kind == Kind::Authority {
            writeln!(torrc, "DirPort 127.0.0.1:{}", self.dir_port).unwrap();
        }
        let file = self.data.join("torrc");
        fs::write(&file, torrc).unwrap();
        file
    }
}
