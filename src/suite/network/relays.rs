//! A network of C tor: authorities that vote, relays and exits, each a process, on the loopback
//! address.
//!
//! All keys are made anew, all processes end with their owner. It takes half a minute until
//! everybody knows everybody; an exit refuses streams of relays that it does not know. They know
//! their own authorities only, publish to nobody else, and ask no name server but the one they are
//! given. Called by `mod.rs`, and by tests that want such a network. Spec: none; C tor: the manual,
//! "TestingTorNetwork" and what is about authorities.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::super::json::Value;
use super::super::process::{Folder, Process, Usage, version};
use super::Network;

/// How many there are of each kind.
const AUTHORITIES: usize = 3;
const RELAYS: usize = 5;
const EXITS: usize = 3;
/// How long until everybody is in a consensus; ours, several times what it takes.
const LIMIT: Duration = Duration::from_secs(150);
/// How long a relay may go without the consensus that the authorities have. One that asked for it
/// too early asks again after longer and longer times, but when it starts anew.
const RELAY_LIMIT: Duration = Duration::from_secs(5);
/// How long a relay may be in no consensus, though others are: some votes.
const LISTED_LIMIT: Duration = Duration::from_secs(40);
/// How often it is looked at meanwhile; ours.
const PAUSE: Duration = Duration::from_millis(200);
/// Where a relay keeps the consensus.
const CONSENSUS: &str = "cached-microdesc-consensus";
/// Whom exits ask for names: nobody who would ask anybody else. Subjects name no names; tests serve
/// them there.
const RESOLV_CONF: &str = "nameserver 127.0.0.1\n";
/// The option by which a C tor ends soon after the process that started it, should that be killed.
pub const OWNER: &str = "__OwningControllerProcess";
/// What keeps all to this machine.
const TESTING: &str = "TestingTorNetwork 1\n";

/// What a relay is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Authority,
    Relay,
    Exit,
}

/// A relay.
struct Relay {
    kind: Kind,
    nickname: String,
    data: PathBuf,
    or_port: u16,
    dir_port: u16,
    /// Its RSA identity, 40 hex digits.
    fingerprint: String,
    /// An authority's, that it votes with; empty of others.
    identity: String,
}

/// A running network. It ends with its owner.
pub struct Relays {
    processes: Vec<Process>,
    relays: Vec<Relay>,
    lines: String,
    folder: Folder,
}

/// The network that subjects are measured on.
pub async fn open() -> Result<Network, String> {
    let Relays { processes, relays, lines, folder } = Relays::open("").await?;
    let facts = [
        ("name", "ctor".into()),
        ("relays", Value::Number(relays.len() as f64)),
        ("version", version("tor").unwrap_or_default().into()),
    ];
    Ok(Network {
        facts: facts.map(|(name, value)| (name.to_owned(), value)).into(),
        torrc: format!("{TESTING}{lines}"),
        arti: arti(&relays),
        processes,
        _folder: Some(folder),
    })
}

impl Relays {
    /// Starts it, with these further lines for its authorities, and waits until all know all.
    pub async fn open(authority_lines: &str) -> Result<Relays, String> {
        let folder = Folder::new().map_err(|error| error.to_string())?;
        let kinds = [(Kind::Authority, AUTHORITIES), (Kind::Relay, RELAYS), (Kind::Exit, EXITS)];
        let kinds = kinds.into_iter().flat_map(|(kind, count)| core::iter::repeat_n(kind, count));
        let mut relays = Vec::new();
        for (number, kind) in kinds.enumerate() {
            relays.push(Relay::new(folder.path(), number, kind)?);
            // Keys take their time, and whoever has had enough is to be heard.
            yield_now().await;
        }
        let authorities = relays.iter().filter(|relay| relay.kind == Kind::Authority);
        let lines: String = authorities.map(Relay::line).collect();
        let mut processes = Vec::new();
        for relay in &relays {
            let ours = if relay.kind == Kind::Authority { authority_lines } else { "" };
            relay.write_torrc(&format!("{TESTING}{lines}{ours}"))?;
            processes.push(relay.start()?);
        }
        until_all_know_all(&relays, &mut processes).await?;
        Ok(Relays { processes, relays, lines, folder })
    }

    /// The lines of a torrc that name its authorities.
    pub fn directory_lines(&self) -> &str {
        &self.lines
    }

    /// Where its relays listen, exits last.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.relays.iter().map(|relay| SocketAddr::from((Ipv4Addr::LOCALHOST, relay.or_port))).collect()
    }

    /// How long the processors have worked for all of it together.
    pub fn processor_time(&self) -> Duration {
        let usage = self.processes.iter().filter_map(|process| Usage::of(process.id()));
        usage.map(|usage| usage.busy_since(&Usage::default())).sum()
    }
}

async fn until_all_know_all(relays: &[Relay], processes: &mut [Process]) -> Result<(), String> {
    let end = Instant::now() + LIMIT;
    let mut begun = vec![Instant::now(); relays.len()];
    // Authorities are the first, and need nobody to learn from.
    for relay in relays {
        while !relay.knows(relays.len()) {
            if Instant::now() > end {
                let log = fs::read_to_string(relay.data.join("notice.log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or("it has said nothing");
                return Err(format!("{} does not know all others in {} s: {last}", relay.nickname, LIMIT.as_secs()));
            }
            let consensus = relay.consensus();
            for ((other, process), begun) in relays.iter().zip(&mut *processes).zip(&mut begun) {
                let is_late = match relay.kind {
                    Kind::Authority => {
                        let is_listed = consensus.contains(&format!("\nr {} ", other.nickname));
                        other.kind != Kind::Authority && !is_listed && begun.elapsed() > LISTED_LIMIT
                    }
                    _ => begun.elapsed() > RELAY_LIMIT && !other.knows(relays.len()),
                };
                if is_late {
                    // Or it would be content with an old one.
                    let _ = fs::remove_file(other.data.join(CONSENSUS));
                    // What it was ends first: one of them holds the lock on the folder.
                    process.stop();
                    *process = other.start()?;
                    *begun = Instant::now();
                }
            }
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

impl Relay {
    fn new(folder: &Path, number: usize, kind: Kind) -> Result<Relay, String> {
        let (data, nickname) = (folder.join(format!("{number}")), format!("tor{number}"));
        let broken = |error: std::io::Error| error.to_string();
        fs::create_dir_all(data.join("keys")).map_err(broken)?;
        let [or_port, dir_port] = [free_port().map_err(broken)?, free_port().map_err(broken)?];
        let identity = if kind == Kind::Authority { certify(&data, dir_port)? } else { String::new() };
        let fingerprint = fingerprint(&data, &nickname, or_port)?;
        Ok(Relay { kind, nickname, data, or_port, dir_port, fingerprint, identity })
    }

    /// The line of a torrc that names an authority.
    fn line(&self) -> String {
        let Relay { nickname, or_port, dir_port, fingerprint, identity, .. } = self;
        format!(
            "DirAuthority {nickname} orport={or_port} no-v2 v3ident={identity} 127.0.0.1:{dir_port} {fingerprint}\n"
        )
    }

    fn consensus(&self) -> String {
        fs::read_to_string(self.data.join(CONSENSUS)).unwrap_or_default()
    }

    /// Whether its consensus lists so many relays as running.
    fn knows(&self, count: usize) -> bool {
        let is_running = |line: &&str| line.starts_with("s ") && line.contains(" Running");
        self.consensus().lines().filter(is_running).count() == count
    }

    fn torrc(&self) -> PathBuf {
        self.data.join("torrc")
    }

    fn write_torrc(&self, lines: &str) -> Result<(), String> {
        let (data, nickname, or_port, dir_port) = (self.data.display(), &self.nickname, self.or_port, self.dir_port);
        let all = format!(
            "{lines}DataDirectory {data}\nNickname {nickname}\nORPort 127.0.0.1:{or_port}\nAddress 127.0.0.1\n\
             AssumeReachable 1\nSocksPort 0\nShutdownWaitLength 0\nExtraInfoStatistics 0\n\
             PathsNeededToBuildCircuits 0.67\nTestingDirAuthVoteExit *\nTestingDirAuthVoteHSDir *\n\
             ServerDNSDetectHijacking 0\nServerDNSResolvConfFile {data}/resolv.conf\n\
             Log notice file {data}/notice.log\n{OWNER} {}\n",
            std::process::id()
        );
        let ours = match self.kind {
            Kind::Authority => format!(
                "AuthoritativeDirectory 1\nV3AuthoritativeDirectory 1\nExitPolicy reject *:*\nDirPort 127.0.0.1:{dir_port}\n\
                 TestingV3AuthInitialVotingInterval 10\nTestingV3AuthInitialVoteDelay 2\n\
                 TestingV3AuthInitialDistDelay 2\nV3AuthVotingInterval 10\nV3AuthVoteDelay 2\nV3AuthDistDelay 2\n\
                 V3AuthNIntervalsValid 200\nTestingDirAuthVoteGuard *\nTestingMinExitFlagThreshold 0\n\
                 AuthDirMaxServersPerAddr 0\nMinUptimeHidServDirectoryV2 0\nAuthDirTestReachability 0\n"
            ),
            Kind::Relay => "ExitPolicy reject *:*\n".to_owned(),
            Kind::Exit => "ExitRelay 1\nIPv6Exit 1\nExitPolicyRejectPrivate 0\nExitPolicy accept *:*\n".to_owned(),
        };
        let written = fs::write(self.data.join("resolv.conf"), RESOLV_CONF);
        written.and_then(|()| fs::write(self.torrc(), all + &ours)).map_err(|error| error.to_string())
    }

    fn start(&self) -> Result<Process, String> {
        let mut command = Command::new("tor");
        command.args(["--defaults-torrc", "/dev/null", "-f"]).arg(self.torrc());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Process::start(&mut command).map_err(|error| format!("tor: {error}"))
    }
}

/// Makes an authority's keys and its certificate; who it is, by its certificate.
fn certify(data: &Path, dir_port: u16) -> Result<String, String> {
    let keys = data.join("keys");
    let broken = |error: std::io::Error| format!("tor-gencert: {error}");
    let mut process = Command::new("tor-gencert")
        .args(["--create-identity-key", "--passphrase-fd", "0", "-m", "12", "-a"])
        .arg(format!("127.0.0.1:{dir_port}"))
        .current_dir(&keys)
        // Ctrl-C is for us, or it would seem to have failed.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(broken)?;
    process.stdin.take().map_or(Ok(()), |mut input| input.write_all(b"\n")).map_err(broken)?;
    let status = process.wait().map_err(broken)?;
    let certificate = fs::read_to_string(keys.join("authority_certificate")).map_err(broken)?;
    let identity = certificate.lines().find_map(|line| line.strip_prefix("fingerprint "));
    identity.filter(|_| status.success()).map(str::to_owned).ok_or_else(|| format!("tor-gencert failed: {status}"))
}

/// Makes a relay's keys; 40 hex digits of them.
fn fingerprint(data: &Path, nickname: &str, or_port: u16) -> Result<String, String> {
    let nobody = format!("x orport=1 127.0.0.1:1 {}", "A".repeat(40));
    let output = Command::new("tor")
        .args(["--list-fingerprint", "--defaults-torrc", "/dev/null", "-f", "/dev/null", "--ignore-missing-torrc"])
        .args(["--TestingTorNetwork", "1", "--DirAuthority", &nobody, "--Address", "127.0.0.1"])
        .args(["--Nickname", nickname, "--ORPort", &or_port.to_string(), "--Log", "err stderr"])
        .arg("--DataDirectory")
        .arg(data)
        .process_group(0)
        .output()
        .map_err(|error| format!("tor: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let digits: Option<String> = said.lines().last().map(|line| line.split_whitespace().skip(1).collect());
    digits.filter(|_| output.status.success()).ok_or_else(|| format!("tor made no keys: {}", output.status))
}

/// What points Arti at it; nothing where a key cannot be read.
fn arti(relays: &[Relay]) -> Option<String> {
    let (mut caches, mut identities) = (String::new(), Vec::new());
    for relay in relays.iter().filter(|relay| relay.kind == Kind::Authority) {
        let file = fs::read_to_string(relay.data.join("fingerprint-ed25519")).ok()?;
        let (ed25519, rsa, port) = (file.split_whitespace().nth(1)?, &relay.fingerprint, relay.or_port);
        caches += &format!(
            "  {{ rsa_identity = \"{rsa}\", ed_identity = \"{ed25519}\", orports = [\"127.0.0.1:{port}\"] }},\n"
        );
        identities.push(format!("\"{}\"", relay.identity));
    }
    Some(format!(
        "[tor_network]\nfallback_caches = [\n{caches}]\n\n[tor_network.authorities]\nv3idents = [{}]\n\n\
         [path_rules]\nipv4_subnet_family_prefix = 33\nipv6_subnet_family_prefix = 129\n\n\
         [address_filter]\nallow_local_addrs = true\n",
        identities.join(", ")
    ))
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_relay_knows_anybody_but_the_authorities_it_is_given() {
        let folder = Folder::new().unwrap();
        for kind in [Kind::Authority, Kind::Relay, Kind::Exit] {
            let relay = Relay {
                kind,
                nickname: "tor0".to_owned(),
                data: folder.path().to_owned(),
                or_port: 1,
                dir_port: 2,
                fingerprint: "F".repeat(40),
                identity: "E".repeat(40),
            };
            relay.write_torrc(&format!("TestingTorNetwork 1\n{}", relay.line())).unwrap();
            let torrc = fs::read_to_string(relay.torrc()).unwrap();
            assert!(torrc.starts_with("TestingTorNetwork 1\nDirAuthority tor0 orport=1 "), "{torrc}");
            assert!(torrc.contains(&format!("\n__OwningControllerProcess {}\n", std::process::id())), "{torrc}");
            assert!(torrc.contains("ServerDNSDetectHijacking 0\n") && torrc.contains("/resolv.conf\n"), "{torrc}");
            assert_eq!(torrc.contains("V3AuthoritativeDirectory 1\n"), kind == Kind::Authority);
            assert_eq!(torrc.contains("ExitPolicy accept *:*\n"), kind == Kind::Exit);
        }
    }
}
