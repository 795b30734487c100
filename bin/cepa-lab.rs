//! `cepa-lab`: tries Tor out. Arguments in, one call, what came of it on the screen.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user")]

use std::net::SocketAddr;
use std::process::ExitCode;

use cepa::lab::probe::{self, Target};
use cepa::lab::{RelayIds, TlsProvider};

const USAGE: &str = "\
usage: cepa-lab probe [--tls graviola|portable] ADDR:PORT [FINGERPRINT]

Dials the relay at ADDR:PORT (an IP address, [IPv6] in brackets), proves its identities and
prints what it said. FINGERPRINT is who it must be: 40 hex digits (RSA), or 43 characters of
base64 (Ed25519). Exit status 0 only if all identities are proven, else 1.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if matches!(arguments[..], ["--help" | "-h"] | ["probe", "--help" | "-h"]) {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match target(&arguments) {
        Ok(target) => probe(&target),
        Err(complaint) => {
            eprintln!("cepa-lab: {complaint}\n\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn probe(target: &Target) -> ExitCode {
    match probe::run(target) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cepa-lab: {}: not proven: {error}", target.address);
            ExitCode::FAILURE
        }
    }
}

/// What the arguments ask for, or what is wrong with them.
fn target(arguments: &[&str]) -> Result<Target, String> {
    let rest = match arguments {
        [] => return Err("no command given; known: probe".to_owned()),
        ["probe", rest @ ..] => rest,
        [other, ..] => return Err(format!("unknown command {other:?}; known: probe")),
    };
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
