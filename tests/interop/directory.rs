//! The lab's directory documents, read by C tor: it checks certificates and signatures,
//! parses every relay, and must then say that it knows enough to build circuits.
//!
//! They lie in its data directory, as if it had fetched them before; or it fetches them from
//! the lab's cache, over plain HTTP, as relays do from authorities. No relay of the lab runs.

use std::fmt::Write;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use cepa::internal::base::time::Wall;
use cepa::internal::base::{Ed25519Id, RelayIds, RsaId};
use cepa::internal::crypto::x25519::PublicKey;
use cepa::lab::authority::{Authorities, DIR_PORT, Flag, Flags, Invention, Member, Misbehaviour, Spec};
use cepa::lab::cache::Cache;

use super::tor::{Client, Folder, free_port};

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
fn reader(authorities: &Authorities) -> Client {
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
    Client::start(folder, &torrc)
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

/// A cache that answers plain HTTP on a port of this machine, until the test program ends.
struct Server {
    port: u16,
    cache: Arc<Cache>,
    /// Each request, from its first word on, and the head of its answer.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(cache: Cache) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, cache, asked) = (listener.local_addr().unwrap().port(), Arc::new(cache), Arc::default());
        let (shared, heard) = (Arc::clone(&cache), Arc::clone(&asked));
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| serve(stream, &shared, &heard)));
        Server { port, cache, asked }
    }

    /// How many requests there were with all these words in them.
    fn asked(&self, words: &[&str]) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|request| words.iter().all(|word| request.contains(word))).count()
    }

    /// A relay that knows the authorities by their HTTP ports, and serves nothing itself.
    fn relay(&self) -> Client {
        let mut torrc = format!(
            "ORPort 127.0.0.1:{}\nAddress 127.0.0.1\nAssumeReachable 1\nPublishServerDescriptor 0\nExitRelay 0\n\
             DirCache 0\nFetchDirInfoEarly 1\n",
            free_port()
        );
        for (mut trusted, _) in self.cache.authorities().certificates() {
            // C tor: prefers the link port of an authority that it finds in the consensus.
            trusted.relay = RsaId(trusted.relay.0.map(|byte| byte ^ 0x80));
            let line = trusted.torrc_line().replace(&format!(":{DIR_PORT} "), &format!(":{} ", self.port));
            writeln!(torrc, "{}", line.replace(&format!("orport={} ", trusted.address.port()), "")).unwrap();
        }
        Client::start(Folder::new(), &torrc)
    }
}

fn serve(mut stream: TcpStream, cache: &Cache, asked: &Mutex<Vec<String>>) {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count) = stream.read(&mut buffer)
        && count > 0
    {
        request.extend_from_slice(&buffer[..count]);
        if let Some(answer) = cache.answer(&request, now()) {
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
            let both = [&request[..], &answer[..end]].concat();
            asked.lock().unwrap().push(String::from_utf8_lossy(&both).into_owned());
            let _ = stream.write_all(&answer);
            return;
        }
    }
}

/// None of them serves directories, so that tor asks the authorities.
fn members_that_serve_nothing() -> Vec<Member> {
    let serve_nothing = |mut member: Member| {
        let kept: Vec<_> = member.flags.iter().filter(|flag| *flag != Flag::V2Dir).collect();
        member.flags = Flags::of(&kept);
        member
    };
    members().into_iter().map(serve_nothing).collect()
}

pub fn tor_fetches_all_from_the_cache_and_then_a_diff() {
    let spec = Spec { interval: Duration::from_secs(10), ..spec(600) };
    let server = Server::start(Cache::new(Authorities::new(spec, members_that_serve_nothing()).unwrap()));
    let relay = server.relay();
    relay.until(&[ENOUGH]);
    // Each in the way that a relay of C tor would have chosen, and C tor could read.
    for (path, encoding) in [("keys/fp", "x-zstd"), ("micro/d/", "x-zstd"), ("status-vote/", "x-tor-lzma")] {
        let (path, encoding) = (format!("GET /tor/{path}"), format!("Content-Encoding: {encoding}"));
        assert!(server.asked(&[&path, &encoding]) > 0, "{path} {encoding}");
    }
    relay.until(&["Applied consensus diff"]);
    assert!(server.asked(&["consensus-microdesc", "X-Or-Diff-From-Consensus: "]) > 0);
}
