//! What it costs to be a relay: the lab's beside C tor's, in one run.
//!
//! A lab that cost more than real relays would hide the client that is measured on it. Both
//! networks carry the same bytes from the same server to clients of the same kind, in turns,
//! so that whatever else the machine does hits both. Only a release build is worth measuring.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::lab::{Guest, MIB};
use super::relays::TorNetwork;
use super::tor::{Folder, Running, processor_time};

const ROUNDS: usize = 5;
const ROUND_LEN: u64 = 64 * MIB;
const CHUNK: usize = 64 * 1024;
/// How long `cepa-lab` may take to write its lines.
const PATIENCE: Duration = Duration::from_secs(10);

/// A `cepa-lab` of its own, so that its processor time is nobody else's.
struct LabProcess {
    process: Running,
    directory_lines: String,
    _folder: Folder,
}

impl LabProcess {
    fn start() -> LabProcess {
        let folder = Folder::new();
        let torrc = folder.path().join("torrc");
        let mut command = Command::new(env!("CARGO_BIN_EXE_cepa-lab"));
        let process = command.args(["--network-only", "--torrc-out"]).arg(&torrc).stdout(Stdio::null()).spawn();
        let process = Running::of(process.unwrap());
        let end = Instant::now() + PATIENCE;
        loop {
            let lines = std::fs::read_to_string(&torrc).unwrap_or_default();
            if lines.ends_with('\n') {
                let directory_lines = lines.replace("TestingTorNetwork 1\n", "");
                return LabProcess { process, directory_lines, _folder: folder };
            }
            assert!(Instant::now() < end, "cepa-lab wrote no torrc");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Gives so many bytes to whoever connects, until the test program ends.
fn source() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let chunk = [0x5A; CHUNK];
            let mut left = ROUND_LEN;
            while left > 0 && stream.write_all(&chunk).is_ok() {
                left = left.saturating_sub(chunk.len() as u64);
            }
        }
    });
    address
}

/// Fetches one round; gives the seconds of processor time that its relays took for a GiB.
fn per_gib(guest: &Guest, source: SocketAddr, spent: &dyn Fn() -> Duration) -> f64 {
    let before = spent();
    let mut stream: TcpStream = guest.connect(&source.ip().to_string(), source.port()).unwrap();
    let (mut got, mut buffer) = (0, vec![0; CHUNK]);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            count => got += count as u64,
        }
    }
    assert_eq!(got, ROUND_LEN);
    (spent() - before).as_secs_f64() * (1024 * MIB) as f64 / ROUND_LEN as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn the_labs_relays_cost_less_than_tors() {
    let (tors, lab, source) = (TorNetwork::start(), LabProcess::start(), source());
    let on_tors = Guest::on(tors.directory_lines());
    let on_lab = Guest::on(&lab.directory_lines);
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(per_gib(&on_tors, source, &|| tors.processor_time()));
        ours.push(per_gib(&on_lab, source, &|| processor_time(lab.process.id())));
    }
    println!("processor seconds of eleven relays for each GiB to a client, {ROUNDS} rounds in turns:");
    println!("  C tor {theirs:.1?}\n  lab   {ours:.1?}");
    let ratio = median(ours) / median(theirs);
    println!("  ratio of the medians {ratio:.2}");
    assert!(ratio < 1.0, "the lab's relays cost more than C tor's");
}
