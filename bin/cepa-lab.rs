//! `cepa-lab`: tries Tor out. Arguments in, one call, what came of it on the screen.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user")]

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use cepa::lab::plan::{LEAST_RELAYS, MOST_LATENCY};
use cepa::lab::probe::{self, Target};
use cepa::lab::villain::Villain;
use cepa::lab::{RelayIds, TlsProvider, town};

const USAGE: &str = "\
usage: cepa-lab [--relays N] [--listed N] [--seed N] [--latency MS] [--port N] [--villain NAME]
                [--torrc-out FILE] [--arti-out FILE] [--socks-port N | --network-only] [--until-eof]
       cepa-lab probe [--tls graviola|portable] ADDR:PORT [FINGERPRINT]

Without a command: runs a private Tor network on 127.0.0.1, and a client on it, until Ctrl-C.
The client downloads something at once and says so; programs use it by the SOCKS port that is
printed. Other Tor clients can use the network with the lines printed, or written to files.
  --relays N         how many relays run (11)
  --listed N         how many are listed in all; the others are made up
  --seed N           everything but ports and dates follows from it (1)
  --latency MS       how much later each relay hears what its links bring (0, at most 3000)
  --port N           they listen on N, N+1 and so on (without it, on any free ports)
  --villain NAME     one relay misbehaves; an unknown name lists them all
  --torrc-out FILE   lines that point C tor at it, written once it answers
  --arti-out FILE    the same for Arti
  --socks-port N     the client listens there (without it, on any free port)
  --network-only     no client of our own
  --until-eof        ends as well when its standard input does: with whoever started it

probe: dials the relay at ADDR:PORT (an IP address, [IPv6] in brackets), proves its identities
and prints what it said. FINGERPRINT is who it must be: 40 hex digits (RSA), or 43 characters
of base64 (Ed25519). Exit status 0 only if all identities are proven, else 1.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if arguments.iter().any(|argument| matches!(*argument, "--help" | "-h")) {
        return say(USAGE);
    }
    let done = match arguments.split_first() {
        Some((&"probe", rest)) => target(rest).map(|target| probe(&target)),
        _ => wish(&arguments).map(|(wish, until)| run(&wish, until)),
    };
    done.unwrap_or_else(|complaint| {
        eprintln!("cepa-lab: {complaint}\n\n{USAGE}");
        ExitCode::FAILURE
    })
}

/// Until when a network runs, unless Ctrl-C ends it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// For good.
    CtrlC,
    /// Its input is over.
    Eof,
}

fn run(wish: &town::Wish, until: Until) -> ExitCode {
    if until == Until::Eof {
        std::thread::spawn(|| {
            // What cannot be read is over too.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            // It keeps nothing that would have to be saved.
            std::process::exit(0);
        });
    }
    match town::run(wish) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cepa-lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn probe(target: &Target) -> ExitCode {
    match probe::run(target) {
        Ok(report) => say(&report.to_string()),
        Err(error) => {
            eprintln!("cepa-lab: {}: not proven: {error}", target.address);
            ExitCode::FAILURE
        }
    }
}

/// Prints a text. Whoever reads no further, as `head` does, has had enough.
fn say(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// What network the arguments ask for, and until when; or what is wrong with them.
fn wish(arguments: &[&str]) -> Result<(town::Wish, Until), String> {
    let (mut wish, mut until) = (town::Wish::default(), Until::CtrlC);
    let mut rest = arguments.iter();
    while let Some(&flag) = rest.next() {
        let mut value = || rest.next().copied().ok_or_else(|| format!("{flag} wants a value"));
        match flag {
            "--relays" => wish.plan.relays = number(flag, value()?)?,
            "--listed" => wish.plan.listed = number(flag, value()?)?,
            "--seed" => wish.plan.seed = number(flag, value()?)?,
            "--latency" => wish.plan.latency = Duration::from_millis(number(flag, value()?)?),
            "--port" => wish.plan.port = Some(number(flag, value()?)?),
            "--villain" => wish.plan.villain = Some(Villain::of_name(value()?)?),
            "--torrc-out" => wish.torrc = Some(PathBuf::from(value()?)),
            "--arti-out" => wish.arti = Some(PathBuf::from(value()?)),
            "--socks-port" => wish.socks_port = Some(number(flag, value()?)?),
            "--network-only" => wish.network_only = true,
            "--until-eof" => until = Until::Eof,
            other if other.starts_with('-') => {
                return Err(format!(
                    "unknown flag {other:?}; known: --relays, --listed, --seed, --latency, --port, --villain, \
                     --torrc-out, --arti-out, --socks-port, --network-only, --until-eof"
                ));
            }
            other => return Err(format!("unknown command {other:?}; known: probe, or flags for a network")),
        }
    }
    if wish.plan.port == Some(0) {
        return Err("--port 0: ports begin at 1; without --port any free ones are taken".to_owned());
    }
    if wish.socks_port == Some(0) {
        return Err("--socks-port 0: ports begin at 1; without it any free one is taken".to_owned());
    }
    if wish.socks_port.is_some() && wish.network_only {
        return Err("--socks-port is the client's, and --network-only leaves it out".to_owned());
    }
    if wish.plan.latency > MOST_LATENCY {
        let most = MOST_LATENCY.as_millis();
        return Err(format!("--latency {}: at most {most}", wish.plan.latency.as_millis()));
    }
    if wish.plan.relays < LEAST_RELAYS {
        return Err(format!("--relays {}: a network has at least {LEAST_RELAYS}", wish.plan.relays));
    }
    Ok((wish, until))
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{flag} {text:?} is no number"))
}

/// What relay the arguments ask to probe, or what is wrong with them.
fn target(rest: &[&str]) -> Result<Target, String> {
    let (provider, rest) = match rest {
        ["--tls", "portable", rest @ ..] => (TlsProvider::PORTABLE, rest),
        ["--tls", "graviola", rest @ ..] => {
            (TlsProvider::graviola().ok_or("this processor cannot run graviola; try --tls portable")?, rest)
        }
        ["--tls", other, ..] => return Err(format!("unknown TLS provider {other:?}; known: graviola, portable")),
        rest => (TlsProvider::best(), rest),
    };
    let (address, fingerprint) = match rest {
        [address] => (address, None),
        [address, fingerprint] => (address, Some(fingerprint)),
        [] => return Err("no address given".to_owned()),
        [_, _, extra, ..] => return Err(format!("unexpected argument {extra:?}")),
    };
    let address: SocketAddr =
        address.parse().map_err(|_| format!("{address:?} is not ADDR:PORT with an IP address"))?;
    let wanted = match fingerprint {
        None => RelayIds::default(),
        Some(text) => probe::parse_fingerprint(text)
            .ok_or_else(|| format!("{text:?} is no fingerprint: 40 hex digits, or 43 characters of base64"))?,
    };
    Ok(Target { address, wanted, provider })
}
