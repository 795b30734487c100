//! The examples, as a person runs them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use super::*;

/// Where an example is, built anew if it has changed: `cargo test --test library` alone builds none.
fn example(name: &str) -> PathBuf {
    let programs = Path::new(env!("CARGO_BIN_EXE_cepa")).parent().unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "--offline", "--example", name]);
    cargo.arg("--target-dir").arg(programs.parent().unwrap());
    if programs.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
    programs.join("examples").join(name)
}

/// A file of options that names the network that all share.
fn torrc(scratch: &Scratch) -> PathBuf {
    let path = scratch.path("torrc");
    std::fs::write(&path, TOWN.torrc()).unwrap();
    path
}

#[test]
fn fetch_prints_the_page_and_nothing_else() {
    let scratch = Scratch::new("fetch");
    let (program, torrc) = (example("fetch"), torrc(&scratch));
    let output = Command::new(&program).arg(&torrc).args(["http.lab:80", "/5000"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && output.stdout == bytes(5000), "{told}");
    assert!(told.contains("bootstrapped 100% (done)") && told.contains("HTTP/1.0 200 OK\n"), "{told}");
    // With a network of its own.
    let output = Command::new(&program).output().unwrap();
    assert!(output.status.success() && output.stdout == bytes(1000));
    // A server that is not there is no page.
    let output = Command::new(&program).arg(&torrc).args(["refuse.lab", "/1"]).output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
}

/// A server that runs, until it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has a page fetched by a user of the server: its answer code, and the page.
fn fetch(socks: &str, user: &str, host: &str) -> (u8, Vec<u8>) {
    let mut stream = TcpStream::connect(socks).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let mut answer = |words: &[u8], length: usize| {
        stream.write_all(words).unwrap();
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    };
    assert_eq!(answer(&[5, 2, 0, 2], 2), [5, 2]);
    assert_eq!(answer(&[vec![1], text(user), text("secret")].concat(), 2), [1, 0]);
    let code = answer(&[vec![5, 1, 0, 3], text(host), vec![0, 80]].concat(), 10)[1];
    let mut page = Vec::new();
    if code == 0 {
        stream.write_all(b"GET /3000 HTTP/1.0\r\n\r\n").unwrap();
        stream.read_to_end(&mut page).unwrap();
        let head = page.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        page.drain(..head);
    }
    (code, page)
}

#[test]
fn each_user_of_the_socks_server_has_circuits_of_its_own() {
    let scratch = Scratch::new("users");
    let mut child = Command::new(example("socks_users")).arg(torrc(&scratch)).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut server = Server(child);
    let socks = lines.next().unwrap();
    let socks = socks.strip_prefix("socks ").unwrap();
    let mut circuits = Vec::new();
    for (user, number) in [("alice", "user 1 "), ("bob", "user 2 "), ("alice", "user 1 "), ("bob", "user 2 ")] {
        assert_eq!(fetch(socks, user, "http.lab"), (0, bytes(3000)), "{user}");
        let line = lines.next().unwrap();
        circuits.push(line.strip_prefix(number).unwrap_or_else(|| panic!("{user}: {line}")).to_owned());
    }
    assert!(circuits[0] == circuits[2] && circuits[1] == circuits[3] && circuits[0] != circuits[1], "{circuits:?}");
    assert_eq!(fetch(socks, "alice", "refuse.lab"), (5, Vec::new()));
    // Whoever says no user is told so.
    let mut stream = TcpStream::connect(socks).unwrap();
    stream.write_all(&[5, 1, 0]).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, [5, 0xFF]);
    let stopped = Command::new("sh").args(["-c", &format!("kill -INT {}", server.0.id())]).status();
    assert!(stopped.unwrap().success() && server.0.wait().unwrap().success());
    assert_eq!(lines.next(), None);
}
