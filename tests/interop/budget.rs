//! What our client takes beside C tor, on the same networks in one run: the time and the
//! processor until the first byte, and the memory when nothing happens and when a new consensus
//! comes.
//!
//! They start in turns, so that whatever else the machine does hits both; the table says how
//! much that was. On a network of C tor, and on the lab's with as many relays as the public one
//! lists, once with families as keys and once as lists, which make microdescriptors as heavy as
//! they have ever been. What the lab cannot show: relays that are far away, and bandwidth that
//! is spread over thousands; nearly all of its is that of the few relays that run. Only a
//! release build is worth measuring.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cepa::lab::TlsProvider;
use cepa::lab::authority::Invention;
use cepa::lab::plan::{Plan, Town};

use super::lab::MIB;
use super::program;
use super::relays::TorNetwork;
use super::tor::{Folder, Running, free_port, processor_time};

/// How often each starts without files and with them.
const ROUNDS: u32 = 7;
/// As many relays as the public network lists.
const LISTED: usize = 8000;
/// The time from a consensus to the next where memory is measured: as short as can be with no
/// client fetching another within [`SETTLED`] of one.
const INTERVAL: Duration = Duration::from_secs(80);
/// How long after a start, and after a new consensus, memory is looked at.
const RESTED: Duration = Duration::from_secs(20);
const SETTLED: Duration = Duration::from_secs(60);
/// How long a start may take, and how often its port is tried.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(1);
/// Where both keep the consensus they go by.
const CONSENSUS: &str = "cached-microdesc-consensus";

/// The budgets.
const MOST_IDLE_SMALL: u64 = 16 * MIB;
const MOST_IDLE: u64 = 20 * MIB;
const MOST_PEAK: u64 = 30 * MIB;
const MOST_COLD_SMALL: Duration = Duration::from_secs(1);
const MOST_COLD: Cost = Cost { time: Duration::from_millis(500), processor: Duration::from_millis(200) };
const MOST_WARM: Cost = Cost { time: Duration::from_millis(120), processor: Duration::from_millis(80) };

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Cepa,
    Tor,
}

const BOTH: [Who; 2] = [Who::Cepa, Who::Tor];

/// What a start takes until the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    time: Duration,
    processor: Duration,
}

impl Cost {
    /// The budgets are half of what peers took on a machine that was as fast as it can be. What
    /// C tor takes in this run says how fast this one is.
    fn beside(self, theirs: Cost) -> Cost {
        Cost { processor: self.processor.max(theirs.processor / 2), ..self }
    }
}

/// What a process holds: now, and at most so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Memory {
    now: u64,
    peak: u64,
}

/// A network, as a client is told of it, and what is asked of its exits.
struct Network {
    name: &'static str,
    lines: String,
    server: (String, u16),
}

/// What is running.
struct Started {
    process: Running,
    cost: Cost,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::Cepa => "cepa",
            Who::Tor => "C tor",
        }
    }

    /// Starts it with these files, and waits for the first byte of an answer through three relays,
    /// which is asked for as soon as the port is there.
    fn start(self, network: &Network, folder: &Path) -> Started {
        let (port, torrc) = (free_port(), folder.join("torrc"));
        let (data, lines) = (folder.join("data"), &network.lines);
        let lines =
            format!("TestingTorNetwork 1\n{lines}DataDirectory {}\nSocksPort 127.0.0.1:{port}\n", data.display());
        fs::write(&torrc, lines).unwrap();
        let mut command = Command::new(match self {
            Who::Cepa => program::CEPA,
            Who::Tor => "tor",
        });
        command.args(["--defaults-torrc", "/dev/null", "-f"]).arg(&torrc).stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        let process = Running::of(command.spawn().unwrap());
        ask(SocketAddr::from(([127, 0, 0, 1], port)), &network.server);
        let cost = Cost { time: begun.elapsed(), processor: processor_time(process.id()) };
        Started { process, cost }
    }
}

impl Started {
    fn memory(&self) -> Memory {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let field = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_ascii_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
        };
        Memory { now: field("VmRSS:"), peak: field("VmHWM:") }
    }

    /// Ends it as a user does, so that it keeps what it knows.
    fn end(mut self) {
        self.process.end();
    }
}

/// Asks for something by SOCKS5, and takes the first byte of it.
fn ask(socks: SocketAddr, (host, port): &(String, u16)) {
    let end = Instant::now() + PATIENCE;
    let mut stream = loop {
        match TcpStream::connect(socks) {
            Ok(stream) => break stream,
            Err(_) => assert!(Instant::now() < end, "no port"),
        }
        thread::sleep(PAUSE);
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&[5, 1, 0]).unwrap();
    stream.read_exact(&mut [0; 2]).unwrap();
    let length = u8::try_from(host.len()).unwrap();
    stream.write_all(&[&[5, 1, 0, 3, length][..], host.as_bytes(), &port.to_be_bytes()].concat()).unwrap();
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply[1], 0, "refused");
    stream.write_all(b"GET /1000 HTTP/1.0\r\n\r\n").unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

/// Says a byte to whoever says anything, until the test program ends.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Whoever is gone gets nothing.
            let _ = stream.read(&mut [0; 64]).and_then(|_| stream.write_all(b"x"));
        }
    });
    address
}

/// Of one program on one network.
struct Row {
    who: Who,
    cold: Vec<Cost>,
    warm: Vec<Cost>,
    idle: Memory,
}

impl Row {
    fn new(who: Who) -> Row {
        Row { who, cold: Vec::new(), warm: Vec::new(), idle: Memory::default() }
    }
}

/// The middle time and what the processor did on average, whose clock is too coarse for one.
fn middle(costs: &[Cost]) -> Cost {
    let mut times: Vec<_> = costs.iter().map(|cost| cost.time).collect();
    times.sort_unstable();
    let processor = costs.iter().map(|cost| cost.processor).sum::<Duration>() / u32::try_from(costs.len()).unwrap();
    Cost { time: times[times.len() / 2], processor }
}

fn told(costs: &[Cost]) -> String {
    let Cost { time, processor } = middle(costs);
    let (least, most) = (costs.iter().map(|it| it.time).min().unwrap(), costs.iter().map(|it| it.time).max().unwrap());
    let [time, least, most] = [time, least, most].map(|time| time.as_secs_f64());
    format!("{time:.3} s ({least:.3} to {most:.3}), {:.3} CPU s", processor.as_secs_f64())
}

#[allow(clippy::cast_precision_loss, reason = "to be read")]
fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / MIB as f64)
}

/// Starts both in turns, often, without files and with the files of a run that has settled.
fn starts(network: &Network) -> [Row; 2] {
    // Networks make some documents only when they are asked for them.
    for who in BOTH {
        who.start(network, Folder::with_data().path()).end();
    }
    let mut rows = BOTH.map(Row::new);
    for _ in 0..ROUNDS {
        for row in &mut rows {
            let (folder, who) = (Folder::with_data(), row.who);
            let started = who.start(network, folder.path());
            row.cold.push(started.cost);
            started.end();
        }
    }
    let folders = BOTH.map(|_| Folder::with_data());
    let running: Vec<_> = BOTH.iter().zip(&folders).map(|(who, folder)| who.start(network, folder.path())).collect();
    thread::sleep(RESTED);
    for (row, started) in rows.iter_mut().zip(running) {
        row.idle = started.memory();
        started.end();
    }
    for _ in 0..ROUNDS {
        for (row, folder) in rows.iter_mut().zip(&folders) {
            let started = row.who.start(network, folder.path());
            row.warm.push(started.cost);
            started.end();
        }
    }
    rows
}

/// A program while the network goes on: when its consensus was last seen to be another.
struct Watched {
    network: &'static str,
    who: Who,
    started: Started,
    consensus: PathBuf,
    /// What the file says that it is from.
    dated: String,
    /// What there was to see, in the order of `STAGES`.
    seen: Vec<Memory>,
    swapped: Option<Instant>,
    _folder: Folder,
}

/// When memory is looked at. Without its file we are given the second consensus whole. C tor asks
/// for a diff all the same, to which it then has nothing to apply it: it keeps its file.
const STAGES: [&str; 2] = ["a diff", "a whole consensus (C tor: another diff)"];

impl Watched {
    fn start(network: &Network, who: Who) -> Watched {
        let folder = Folder::with_data();
        let consensus = folder.path().join("data").join(CONSENSUS);
        let started = who.start(network, folder.path());
        let (network, dated) = (network.name, date(&consensus).expect("a client keeps its consensus"));
        Watched { network, who, started, consensus, dated, seen: Vec::new(), swapped: None, _folder: folder }
    }

    fn is_done(&self) -> bool {
        self.seen.len() == STAGES.len()
    }

    fn look(&mut self) {
        match (self.swapped, date(&self.consensus)) {
            (Some(at), _) if at.elapsed() >= SETTLED && !self.is_done() => {
                self.seen.push(self.started.memory());
                self.swapped = None;
                if self.who == Who::Cepa {
                    fs::remove_file(&self.consensus).unwrap();
                }
            }
            (None, Some(date)) if date != self.dated => {
                self.dated = date;
                self.swapped = Some(Instant::now());
            }
            _ => {}
        }
    }
}

/// When a consensus is from, by its file.
fn date(file: &Path) -> Option<String> {
    let text = fs::read(file).ok()?;
    let front = String::from_utf8_lossy(text.get(..1000)?).into_owned();
    front.lines().find(|line| line.starts_with("valid-after ")).map(str::to_owned)
}

/// Watches both on networks that go on fast, all at once.
fn swaps(towns: &[(Town, Network)]) -> Vec<Watched> {
    let mut all: Vec<_> = towns.iter().flat_map(|(_, network)| BOTH.map(|who| Watched::start(network, who))).collect();
    // Each of two stages takes at most the three intervals that a consensus is good for.
    let end = Instant::now() + (INTERVAL * 3 + SETTLED) * 3;
    while !all.iter().all(Watched::is_done) {
        assert!(Instant::now() < end, "no new consensus: {}", waiting(&all));
        thread::sleep(Duration::from_millis(200));
        all.iter_mut().for_each(Watched::look);
    }
    all
}

/// For whom a new consensus does not come, and how many of them did.
fn waiting(all: &[Watched]) -> String {
    let waiting = all.iter().filter(|it| !it.is_done());
    let told = waiting.map(|it| format!("{} of {} on {}, {}", it.seen.len(), STAGES.len(), it.network, it.who.name()));
    told.collect::<Vec<_>>().join("; ")
}

fn town(name: &'static str, family_lists: bool, interval: Duration) -> (Town, Network) {
    let invention = Invention { family_lists, ..Invention::default() };
    let plan = Plan { listed: LISTED, invention, interval, ..Plan::default() };
    let town = plan.open(2, TlsProvider::best()).unwrap();
    let lines = town.torrc().replace("TestingTorNetwork 1\n", "");
    (town, Network { name, lines, server: ("http.lab".to_owned(), 80) })
}

fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// What is over its budget.
#[derive(Default)]
struct Misses(String);

impl Misses {
    fn check<T: PartialOrd + std::fmt::Debug>(&mut self, what: &str, is: T, most: T) {
        if is > most {
            writeln!(self.0, "{what}: {is:?}, and at most {most:?} is wanted").unwrap();
        }
    }

    fn start(&mut self, what: &str, is: Cost, most: Cost) {
        self.check(&format!("{what}, time"), is.time, most.time);
        self.check(&format!("{what}, processor"), is.processor, most.processor);
    }
}

fn print(network: &str, rows: &[Row]) {
    println!("{network} (load {}), {ROUNDS} starts of each, in turns:", load());
    for Row { who, cold, warm, idle } in rows {
        println!("  {:5}  cold {}", who.name(), told(cold));
        println!("         warm {}", told(warm));
        println!("         {} MiB after {} s, at most {}", mib(idle.now), RESTED.as_secs(), mib(idle.peak));
    }
}

pub fn our_client_keeps_its_budgets() {
    let mut misses = Misses::default();
    let (tors, server) = (TorNetwork::start(), server());
    let small = Network {
        name: "11 relays of C tor",
        lines: tors.directory_lines().to_owned(),
        server: (server.ip().to_string(), server.port()),
    };
    let rows = starts(&small);
    print(small.name, &rows);
    misses.check("a small network, idle", rows[0].idle.now, MOST_IDLE_SMALL);
    misses.check("a small network, cold", middle(&rows[0].cold).time, MOST_COLD_SMALL);
    drop(tors);
    let large = [("8000 relays, families as keys", false), ("8000 relays, families as lists", true)];
    for (name, family_lists) in large {
        let (town, network) = town(name, family_lists, Duration::from_secs(3600));
        let rows = starts(&network);
        drop(town);
        print(name, &rows);
        misses.check(&format!("{name}, idle"), rows[0].idle.now, MOST_IDLE);
        let [ours, theirs] = &rows;
        misses.start(&format!("{name}, cold"), middle(&ours.cold), MOST_COLD.beside(middle(&theirs.cold)));
        misses.start(&format!("{name}, warm"), middle(&ours.warm), MOST_WARM.beside(middle(&theirs.warm)));
    }
    let towns = large.map(|(name, family_lists)| town(name, family_lists, INTERVAL));
    for watched in swaps(&towns) {
        let (network, who) = (watched.network, watched.who);
        for (stage, memory) in STAGES.iter().zip(&watched.seen) {
            let (now, peak) = (mib(memory.now), mib(memory.peak));
            println!("{network}, {}: {} s after {stage} {now} MiB, at most {peak}", who.name(), SETTLED.as_secs());
            if who == Who::Cepa {
                misses.check(&format!("{network}, after {stage}"), memory.now, MOST_IDLE);
                misses.check(&format!("{network}, while {stage} came"), memory.peak, MOST_PEAK);
            }
        }
    }
    assert!(misses.0.is_empty(), "over budget:\n{}", misses.0);
}
