//! The probe against a relay of C tor: our TLS, framing, handshake and certificates
//! against code that is not ours.

use std::process::{Command, Output};

use super::cpu;
use super::tor::{LoneRelay, free_port};

fn probe(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cepa-lab")).arg("probe").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The providers that this machine can run, and no fewer.
fn providers() -> Vec<&'static str> {
    let graviola = cepa::lab::TlsProvider::graviola().map(|provider| provider.name());
    if let Some(can) = cpu::can_run_graviola() {
        assert_eq!(graviola.is_some(), can, "what the kernel says this processor can run");
    }
    let providers: Vec<_> = ["portable"].into_iter().chain(graviola).collect();
    println!("interop: TLS by {}", providers.join(" and "));
    providers
}

pub fn a_lone_relay_is_proved_with_both_tls_providers() {
    let relay = LoneRelay::start();
    let address = relay.address.to_string();
    for provider in providers() {
        for fingerprint in [None, Some(&relay.rsa), Some(&relay.ed25519)] {
            let mut arguments = vec!["--tls", provider, &address];
            arguments.extend(fingerprint.map(String::as_str));
            let output = probe(&arguments);
            let (said, complained) = (text(&output.stdout), text(&output.stderr));
            assert_eq!(output.status.code(), Some(0), "{provider}: {complained}");
            for line in [
                format!("address       {address}"),
                format!("rsa           ${}", relay.rsa),
                format!("ed25519       {}", relay.ed25519),
                "link          5".to_owned(),
                "our address   127.0.0.1".to_owned(),
                // C tor: a relay does not claim a loopback address as its own.
                "proven        both identities; the address dialled is not one of its own".to_owned(),
            ] {
                assert!(said.lines().any(|said| said == line), "{line:?} is not in:\n{said}");
            }
            assert!(said.contains("TLSv1_3 TLS13_") && said.contains(provider), "{said}");
            assert_eq!(said.matches("certificate   ").count(), 4, "{said}");
            let clock = said.lines().find(|line| line.starts_with("clock")).unwrap();
            let off: u64 = clock.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
            assert!(off <= 2, "one machine, one clock: {clock}");
        }
    }
}

pub fn a_wanted_identity_must_be_the_relays() {
    let relay = LoneRelay::start();
    let address = relay.address.to_string();
    let (rsa, ed25519) = ("AB".repeat(20), "A".repeat(43));
    for (other, kind) in [(&rsa, "RSA"), (&ed25519, "Ed25519")] {
        for provider in providers() {
            let output = probe(&["--tls", provider, &address, other]);
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(text(&output.stdout), "");
            let expected = format!("not proven: the relay has another {kind} identity than the one wanted");
            assert!(text(&output.stderr).contains(&expected), "{}", text(&output.stderr));
        }
    }
}

pub fn a_port_without_a_relay_is_not_proved() {
    let output = probe(&[&format!("127.0.0.1:{}", free_port())]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not proven: the connection failed"), "{}", text(&output.stderr));
    for (arguments, complaint) in [
        (&["--tls", "openssl", "127.0.0.1:1"][..], "known: graviola, portable"),
        (&["localhost:1"], "is not ADDR:PORT"),
        (&["127.0.0.1:1", "xyz"], "is no fingerprint"),
        (&[], "no address given"),
        (&["127.0.0.1:1", &"A".repeat(43), "more"], "unexpected argument"),
    ] {
        let output = probe(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains(complaint), "{arguments:?}: {}", text(&output.stderr));
    }
}
