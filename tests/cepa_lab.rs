//! `cepa-lab` as a person meets it who asks for what cannot be.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![allow(clippy::disallowed_methods, reason = "a test of a program holds a socket")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What it complains of; it must do so with status 1, and say nothing else.
fn complaint(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cepa-lab")).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The same, of which one line must be all.
fn one_line(arguments: &[&str]) -> String {
    let text = complaint(arguments);
    assert!(text.starts_with("cepa-lab: ") && text.lines().count() == 1, "{text}");
    text
}

#[test]
fn a_port_in_use_is_named() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let text = one_line(&["--relays", "6", "--port", &port.to_string()]);
    assert!(text.contains(&format!("port {port} of 127.0.0.1: ")), "{text}");
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    for flag in ["--torrc-out", "--arti-out"] {
        let text = one_line(&["--relays", "6", flag, "/dev/null/nowhere"]);
        assert!(text.contains("/dev/null/nowhere: "), "{text}");
    }
}

#[test]
fn too_many_relays_and_too_many_listed_are_refused() {
    assert!(one_line(&["--relays", "201"]).contains("6 to 200"));
    assert!(one_line(&["--relays", "6", "--listed", "20001"]).contains("TooManyListed"));
    assert!(one_line(&["--relays", "6", "--port", "65533"]).contains("65535"));
}

#[test]
fn an_unknown_villain_lists_all_there_are() {
    let text = complaint(&["--villain", "nobody"]);
    for (_, name, _) in cepa::lab::villain::Villain::all() {
        assert!(text.contains(name), "{name} is not listed");
    }
}

#[test]
fn an_unknown_flag_or_command_lists_all_there_are() {
    assert!(complaint(&["--relais", "6"]).contains("known: --relays, --listed, --seed, --latency, --port, --villain"));
    assert!(complaint(&["prob"]).contains("known: probe"));
    assert!(complaint(&["--latency", "soon"]).contains("no number"));
    assert!(complaint(&["--latency", "3001"]).contains("at most 3000"));
    assert!(complaint(&["--port", "0"]).contains("ports begin at 1"));
}

#[test]
fn help_is_there_beside_anything_and_for_those_who_read_half_of_it() {
    for arguments in [&["--help"][..], &["--relays", "6", "-h"], &["probe", "--help"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_cepa-lab")).args(arguments).output().unwrap();
        assert!(output.status.success() && output.stdout.starts_with(b"usage: cepa-lab"), "{arguments:?}");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_cepa-lab")).arg("--help").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_lines_are_there_within_three_seconds() {
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_cepa-lab")).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let found = lines.any(|line| line.starts_with("curl --socks5-hostname"));
    let took = begun.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(found && took < Duration::from_secs(3), "{took:?}");
}
