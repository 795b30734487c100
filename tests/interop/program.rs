//! Our program, as programs meet it: `cepa` with a torrc, on the lab's network or on C tor's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cepa::lab::TlsProvider;
use cepa::lab::plan::{Plan, Town};

use super::lab::{Guest, MIB};
use super::relays;
use super::tor::{Client, Folder, free_port};

pub const CEPA: &str = env!("CARGO_BIN_EXE_cepa");
/// How many descriptors it has where programs crowd it. C tor: a usual `ulimit -n`.
const DESCRIPTORS: usize = 1024;
/// How many programs connect that ask for nothing, where this process may have so many.
const SILENT: usize = 10_000;
/// How much it may grow for all of them; ours.
const MOST_GROWTH: u64 = 8 * MIB;

/// Starts it on the network of these lines, with a socket in `folder`.
pub fn start(command: &mut Command, folder: Folder, lines: &str) -> Client {
    let lines = format!("{}SocksPort unix:{}/socks RelaxDirModeCheck\n", lines, folder.path().display());
    Client::start_as(command, folder, &lines)
}

pub fn lab() -> (Town, String) {
    let town = Plan::default().open(2, TlsProvider::best()).unwrap();
    let lines = town.torrc().replace("TestingTorNetwork 1\n", "");
    (town, lines)
}

pub fn programs_fetch_through_the_lab_by_our_program() {
    let (town, lines) = lab();
    let folder = Folder::with_data();
    let socket = folder.path().join("socks");
    let mut guest = Guest::with(start(&mut Command::new(CEPA), folder, &lines), Some(town));
    guest.fetches(16 * MIB);
    guest.hears_its_echo();
    assert_eq!(guest.connect("refuse.lab", 80).err(), Some(5));
    assert_eq!(guest.connect("nowhere.example", 80).err(), Some(4));
    // SOCKS4a, by a socket in the file system.
    fetches_by_socks4a(UnixStream::connect(&socket).unwrap());
    assert_eq!(guest.client().end(), Some(0));
    assert!(!socket.exists());
}

fn fetches_by_socks4a(mut program: impl Read + Write) {
    program.write_all(b"\x04\x01\x00\x50\x00\x00\x00\x01\x00source-70000.lab\x00").unwrap();
    let mut answer = Vec::new();
    program.read_to_end(&mut answer).unwrap();
    assert!(answer.len() == 8 + 70_000 && answer.starts_with(&[0, 0x5A]));
}

fn echoes(stream: &mut TcpStream) {
    stream.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
}

pub fn a_hang_up_opens_and_closes_ports_and_leaves_streams_alone() {
    let (town, lines) = lab();
    let folder = Folder::with_data();
    let (torrc, socket) = (folder.path().join("torrc"), folder.path().join("socks"));
    let mut guest = Guest::with(start(&mut Command::new(CEPA), folder, &lines), Some(town));
    let process = guest.client().id().to_string();
    let hang_up = |lines: &str| {
        std::fs::write(&torrc, lines).unwrap();
        assert!(Command::new("kill").args(["-HUP", &process]).status().unwrap().success());
    };
    let mut open = guest.connect("echo.lab", 7).unwrap();
    echoes(&mut open);
    // One stays, one comes, one goes.
    let new = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let before = std::fs::read_to_string(&torrc).unwrap();
    let without: String = before.split_inclusive('\n').filter(|line| !line.contains("unix:")).collect();
    // Those who name the network say the same, on other lines.
    let changed = format!("SocksPort {new}\n{without}");
    hang_up(&changed);
    guest.client().until(&["Closing no-longer-configured Socks listener on"]);
    guest.fetches(1000);
    fetches_by_socks4a(TcpStream::connect(new).unwrap());
    assert!(UnixStream::connect(&socket).is_err());
    echoes(&mut open);
    // One that cannot come keeps the others from going.
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    hang_up(&format!("{before}SocksPort {address}\n"));
    let complaint = format!("The options stay as they were: SocksPort {address}: the address is in use.");
    guest.client().until(&[&complaint]);
    assert!(!socket.exists());
    fetches_by_socks4a(TcpStream::connect(new).unwrap());
    // Nobody is let in any more, and who is in stays.
    hang_up(&format!("{changed}SocksPolicy reject *\n"));
    guest.client().until(&["Read configuration file"]);
    assert!(is_closed(&mut TcpStream::connect(new).unwrap()));
    echoes(&mut open);
    hang_up(&changed);
    guest.client().until(&["Read configuration file"]);
    fetches_by_socks4a(TcpStream::connect(new).unwrap());
    echoes(&mut open);
    // What the client itself is told it does.
    hang_up(&format!("{changed}DisableNetwork 1\n"));
    guest.client().until(&["DisableNetwork is set"]);
    assert!(is_closed(&mut open) && TcpStream::connect(new).is_err());
    hang_up(&changed);
    guest.client().until(&["Opened Socks listener connection (ready) on 127.0.0.1:"]);
    fetches_by_socks4a(TcpStream::connect(new).unwrap());
    assert_eq!(guest.client().end(), Some(0));
}

/// Our program on the network of these lines, which is another process's.
pub fn guest_on(lines: &str) -> Guest {
    Guest::with(start(&mut Command::new(CEPA), Folder::with_data(), lines), None)
}

pub fn programs_fetch_through_tor_by_our_program() {
    let guest = guest_on(relays::shared().directory_lines());
    guest.reaches_a_socket_of_this_machine();
}

/// Those that said all that they had to say get nothing more: Tor has no half-open streams.
pub fn a_program_that_ends_its_half_ends_both_once_all_is_sent() {
    let (town, lines) = lab();
    let guest = Guest::with(start(&mut Command::new(CEPA), Folder::with_data(), &lines), Some(town));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut program = guest.connect("127.0.0.1", port).unwrap();
    let mut server = listener.accept().unwrap().0;
    let sent = vec![9; usize::try_from(MIB).unwrap()];
    let up = sent.clone();
    let writing = std::thread::spawn(move || {
        program.write_all(&up).unwrap();
        program.shutdown(std::net::Shutdown::Write).unwrap();
        program.read_to_end(&mut Vec::new()).unwrap()
    });
    let mut heard = Vec::new();
    server.read_to_end(&mut heard).unwrap();
    assert!(heard == sent && writing.join().unwrap() == 0);
}

pub fn programs_that_ask_for_nothing_shut_nobody_out() {
    let (town, lines) = lab();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\""), CEPA]);
    let mut guest = Guest::with(start(&mut command, Folder::with_data(), &lines), Some(town));
    guest.fetches(1000);
    let process = guest.client().id();
    let before = memory(process);
    let here = descriptor_limit().saturating_sub(200).min(SILENT);
    assert!(here == SILENT || !super::is_required(), "this process may have {here} descriptors");
    let begun = Instant::now();
    let mut silent: Vec<TcpStream> = (0..here).map(|_| silent_program(guest.socks())).collect();
    let grown = memory(process).saturating_sub(before);
    println!("{here} silent programs within {:.2?} cost {} KiB", begun.elapsed(), grown / 1024);
    assert!(grown < MOST_GROWTH && descriptors(process) < DESCRIPTORS);
    guest.fetches(1000);
    // Whoever came last is still here, and whoever came first made room.
    assert!(is_closed(&mut silent[0]) && !is_closed(silent.last_mut().unwrap()));
    drop(silent);
    guest.fetches(1000);
}

/// One that is half way through its greeting.
fn silent_program(socks: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(socks).unwrap();
    // It may have had to make room already.
    let _ = stream.write_all(&[5, 1]);
    stream
}

fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    match stream.read(&mut [0]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// What a process holds in memory.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

fn descriptors(process: u32) -> usize {
    std::fs::read_dir(Path::new("/proc").join(process.to_string()).join("fd")).unwrap().count()
}

/// Of this process.
pub fn descriptor_limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}
