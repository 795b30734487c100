//! The lab's directory documents, read by C tor: it checks certificates and signatures,
//! parses every relay, and must then say that it knows enough to build circuits.
//!
//! The documents lie in its data directory, as if it had fetched them before; nothing
//! serves them and no relay runs.

use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::SystemTime;

use cepa::internal::base::time::Wall;
use cepa::internal::base::{Ed25519Id, RelayIds, RsaId};
use cepa::internal::crypto::x25519::PublicKey;
use cepa::lab::authority::{Authorities, Flag, Invention, Member, Misbehaviour, Spec};

use super::tor::{Folder, Reader, free_port};

fn now() -> Wall {
    Wall::new(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

/// Eleven relays that are not there: three authorities, guards, exits and middles.
fn members() -> Vec<Member> {
    let port = free_port();
    let member = |number: u8| {
        let ids = RelayIds { rsa: Some(RsaId([number; 20])), ed25519: Some(Ed25519Id([number; 32])) };
        let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let member = Member::new(&format!("lab{number}"), ids, at, PublicKey([number; 32])).flagged(Flag::HsDir);
        match number {
            1..4 => member,
            4..7 => member.flagged(Flag::Guard),
            7..9 => member.exit(),
            9 => member.exit().flagged(Flag::Guard),
            _ => member,
        }
    };
    (1..12).map(member).collect()
}

fn spec(listed: usize) -> Spec {
    Spec { listed, ..Spec::new(1, now()) }
}

/// Starts a client that finds the documents of `authorities` on its disk.
fn reader(authorities: &Authorities) -> Reader {
    let folder = Folder::new();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let consensus = authorities.consensus(authorities.round(now())).unwrap();
    fs::write(data.join("cached-microdesc-consensus"), consensus).unwrap();
    let (mut torrc, mut certificates, mut microdescs) = (String::new(), String::new(), String::new());
    for (trusted, certificate) in authorities.certificates() {
        writeln!(torrc, "{}", trusted.torrc_line()).unwrap();
        certificates.push_str(certificate);
    }
    for (_, microdesc) in authorities.microdescs() {
        writeln!(microdescs, "@last-listed {}", now()).unwrap();
        microdescs.push_str(microdesc);
    }
    fs::write(data.join("cached-certs"), certificates).unwrap();
    fs::write(data.join("cached-microdescs"), microdescs).unwrap();
    Reader::start(folder, &torrc)
}

const ENOUGH: &str = "enough directory information to build circuits";

/// But of how it is run.
fn complains_of_nothing(said: &[String]) {
    let usual = ["DirAuthority", "TestingTorNetwork", "Fixing permissions", "Your log may", "running Tor as root"];
    let complaints = said.iter().filter(|line| line.contains("[warn]") || line.contains("[err]"));
    let complaints: Vec<_> = complaints.filter(|line| !usual.iter().any(|usual| line.contains(usual))).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

pub fn tor_accepts_a_small_directory() {
    let authorities = Authorities::new(spec(0), members()).unwrap();
    complains_of_nothing(&reader(&authorities).until(&[ENOUGH]));
}

pub fn tor_accepts_eight_thousand_relays() {
    let spec = Spec { invention: Invention { family_lists: true, ..Invention::default() }, ..spec(8000) };
    let authorities = Authorities::new(spec, members()).unwrap();
    complains_of_nothing(&reader(&authorities).until(&[ENOUGH]));
}

pub fn tor_ignores_what_it_does_not_know() {
    for misbehaviour in [Misbehaviour::UnknownKeywords, Misbehaviour::GiantLists] {
        let spec = Spec { misbehaviour: Some(misbehaviour), ..spec(30) };
        let authorities = Authorities::new(spec, members()).unwrap();
        reader(&authorities).until(&[ENOUGH]);
    }
}

pub fn tor_sees_through_each_lie() {
    for (misbehaviour, finding) in [
        (Misbehaviour::TooFewSignatures, "This microdesc one has 1 "),
        (Misbehaviour::WrongSignatures, "This microdesc one has 0 "),
        (Misbehaviour::Expired, "Loaded an expired consensus"),
        (Misbehaviour::FromTheFuture, "behind the time published in the consensus"),
        (Misbehaviour::WrongDigests, "We need more microdescriptors: we have 0/"),
    ] {
        let spec = Spec { misbehaviour: Some(misbehaviour), ..spec(30) };
        let authorities = Authorities::new(spec, members()).unwrap();
        let said = reader(&authorities).until(&[finding, ENOUGH]);
        assert!(!said.last().unwrap().contains(ENOUGH), "{misbehaviour:?}");
    }
}
