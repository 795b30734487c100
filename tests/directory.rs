//! The directory of a network as large as the public one, out of the lab's documents: that it
//! is read, checked and joined, how large it is in memory, and how long that takes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that says what it measured")]
#![allow(clippy::disallowed_methods, reason = "reads a clock to measure")]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use cepa::internal::base::random::Entropy;
use cepa::internal::base::time::{Now, Tick, Wall};
use cepa::internal::base::{Ed25519Id, RelayIds, RsaId};
use cepa::internal::client::files::{PIECE_LEN, Work};
use cepa::internal::client::{Client, Setup};
use cepa::internal::config::{Config, Settings};
use cepa::internal::crypto::x25519;
use cepa::internal::directory::authorities::Authority;
use cepa::internal::directory::certs::{Certificates, check_all};
use cepa::internal::directory::consensus::{self, Unchecked, Verdict, Verified};
use cepa::internal::directory::decompress::{Decompressor, OFFERED};
use cepa::internal::directory::diff::{Diff, Patch};
use cepa::internal::directory::download::requests;
use cepa::internal::directory::http::{Answer, Ask, Head, Held, Reader};
use cepa::internal::directory::microdesc;
use cepa::internal::directory::{Error, NetDir, store};
use cepa::internal::path::{Need, View, guards, rules};
use cepa::lab::authority::{Authorities, Flag, Invention, Member, Misbehaviour, Spec, diff};
use cepa::lab::cache::Cache;

/// As many as the public network has.
const RELAYS: usize = 8000;
const START: u64 = 1_784_000_000;

fn members(count: u8) -> Vec<Member> {
    (1..=count)
        .map(|number| {
            let ids = RelayIds { rsa: Some(RsaId([number; 20])), ed25519: Some(Ed25519Id([number; 32])) };
            let ipv4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, number), 5000);
            Member::new(&format!("member{number}"), ids, ipv4, x25519::PublicKey([number; 32])).flagged(Flag::Guard)
        })
        .collect()
}

fn network(listed: usize, misbehaviour: Option<Misbehaviour>) -> Authorities {
    let invention = Invention { family_lists: true, ..Invention::default() };
    let spec = Spec { listed, invention, misbehaviour, ..Spec::new(1, Wall::from_secs(START)) };
    Authorities::new(spec, members(4)).unwrap()
}

/// Documents of a network of the public size.
struct Documents {
    authorities: Authorities,
    consensus: String,
    microdescs: String,
}

fn documents() -> &'static Documents {
    static DOCUMENTS: OnceLock<Documents> = OnceLock::new();
    DOCUMENTS.get_or_init(|| {
        let authorities = network(RELAYS, None);
        let consensus = authorities.consensus(round(&authorities)).unwrap();
        let microdescs = authorities.microdescs().map(|(_, text)| text).collect();
        Documents { authorities, consensus, microdescs }
    })
}

fn round(authorities: &Authorities) -> u64 {
    authorities.round(Wall::from_secs(START + 7200))
}

fn parse(text: &str) -> Unchecked {
    let mut parser = consensus::Parser::default();
    text.as_bytes().chunks(16_384).for_each(|piece| parser.push(piece).unwrap());
    parser.finish().unwrap()
}

fn trust(authorities: &Authorities) -> (Certificates, Vec<RsaId>) {
    let ids: Vec<_> = authorities.certificates().map(|(trusted, _)| trusted.identity).collect();
    let mut certificates = Certificates::default();
    for (_, text) in authorities.certificates() {
        check_all(text.as_bytes()).for_each(|one| assert!(certificates.insert(one.unwrap(), &ids)));
    }
    (certificates, ids)
}

fn checked(authorities: &Authorities, unchecked: Unchecked) -> Verified {
    let (certificates, ids) = trust(authorities);
    match unchecked.check(&certificates, &ids, Wall::from_secs(START + 7200)) {
        Verdict::Good { consensus, .. } => consensus,
        other => panic!("{other:?}"),
    }
}

fn insert_all(dir: &mut NetDir, text: &str) -> usize {
    let mut count = 0;
    let mut found = |one: Result<microdesc::Microdesc<'_>, _>| count += usize::from(dir.insert(&one.unwrap()));
    let mut parser = microdesc::Parser::default();
    text.as_bytes().chunks(16_384).for_each(|piece| parser.push(piece, &mut found));
    parser.finish(&mut found);
    count
}

#[test]
fn a_network_of_the_public_size_takes_under_two_hundred_bytes_a_relay() {
    let Documents { authorities, consensus, microdescs } = documents();
    let mut dir = NetDir::new(checked(authorities, parse(consensus)));
    let relays = dir.consensus().relay_count();
    assert_eq!(insert_all(&mut dir, microdescs), relays);
    assert_eq!((dir.missing_count(), dir.consensus().left_out()), (0, 0));
    let share = dir.share();
    assert!((share.of_paths() - 1.0).abs() < 1e-9, "{share:?}");
    let (all, shared) = (dir.heap_bytes(), dir.shared_bytes());
    println!(
        "{relays} relays: {all} bytes, {} a relay and {shared} shared; from {} and {} bytes of text",
        (all - shared) / relays,
        consensus.len(),
        microdescs.len()
    );
    assert!((all - shared) / relays <= 180);
    assert!(shared < 200_000);
    // The next hour's: about as large, and nothing to be fetched that is here.
    let next = authorities.consensus(round(authorities) + 1).unwrap();
    let before = dir.clone();
    dir.replace(checked(authorities, parse(&next))).unwrap();
    assert_eq!(dir.missing_count(), dir.relays().filter(|relay| before.by_rsa_id(&relay.rsa_id()).is_none()).count());
    insert_all(&mut dir, microdescs);
    assert_eq!(dir.missing_count(), 0);
    assert!(dir.heap_bytes() < all + all / 20);
    for relay in dir.relays() {
        let Some(same) = before.by_rsa_id(&relay.rsa_id()) else { continue };
        assert_eq!(relay.ed25519_id(), same.ed25519_id());
        assert_eq!(relay.policy(), same.policy());
    }
}

#[test]
fn families_are_those_that_the_lab_made() {
    let Documents { authorities, consensus, microdescs } = documents();
    let mut dir = NetDir::new(checked(authorities, parse(consensus)));
    insert_all(&mut dir, microdescs);
    let (mut listed, mut mutual) = (0, 0);
    for relay in dir.relays().step_by(37) {
        for other in relay.listed_family().filter(|other| *other != relay.index()) {
            listed += 1;
            mutual += usize::from(dir.are_family(relay.index(), other));
        }
    }
    assert!(listed > 1000 && mutual == listed, "{mutual} of {listed}");
}

#[test]
fn a_diff_of_the_labs_makes_the_next_consensus() {
    let authorities = network(300, None);
    let [old, new] = [0, 1].map(|later| authorities.consensus(round(&authorities) + later).unwrap());
    let diff = Diff::parse(diff::write(&old, &new).into_bytes()).unwrap();
    assert_eq!(diff.from(), &parse(&old).digests().signed_sha3);
    let (mut text, mut parser) = (Vec::new(), consensus::Parser::default());
    let mut out = |bytes: &[u8]| {
        text.extend_from_slice(bytes);
        parser.push(bytes).unwrap();
    };
    let mut patch = Patch::new(diff);
    old.as_bytes().chunks(1000).for_each(|piece| patch.push(piece, &mut out));
    patch.finish(&mut out).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), new);
    let consensus = parser.finish().unwrap();
    assert_eq!(consensus.digests().whole_sha3, parse(&new).digests().whole_sha3);
    checked(&authorities, consensus);
}

/// What the cache says to a request of ours: the head, and the body, decompressed.
fn fetched(cache: &Cache, ask: Ask<'_>, now: Wall) -> (Head, Vec<u8>) {
    let request = ask.request("127.0.0.1:5000".parse().unwrap(), &OFFERED);
    let answer = cache.answer(request.as_bytes(), now).unwrap();
    let (mut reader, mut decompressor, mut body) = (Reader::default(), None, Vec::new());
    let mut give = |bytes: &[u8]| {
        body.extend_from_slice(bytes);
        Ok(())
    };
    for cell in answer.chunks(498) {
        let bytes = reader.push(cell).unwrap();
        if let Some(head) = reader.head() {
            let decompressor = decompressor.get_or_insert_with(|| Decompressor::for_answer(&ask, head).unwrap());
            decompressor.push(bytes, &mut give).unwrap();
        }
    }
    let head = reader.finish().unwrap().clone();
    assert_eq!(head.date, Some(now));
    decompressor.unwrap().finish(&mut give).unwrap();
    (head, body)
}

/// From nothing to a directory, and on to the next hour's by a diff, as a client does it.
#[test]
fn a_directory_is_fetched_from_the_labs_cache() {
    let cache = Cache::new(network(1000, None));
    let (_, ids) = trust(cache.authorities());
    let now = Wall::from_secs(START + 7200);
    let (head, text) = fetched(&cache, Ask::Consensus { authorities: &ids, held: None }, now);
    assert_eq!(head.answer(), Answer::Given);
    let text = String::from_utf8(text).unwrap();
    let mut certificates = Certificates::default();
    let Verdict::CertificatesMissing { consensus, missing } = parse(&text).check(&certificates, &ids, now) else {
        panic!("none is here yet");
    };
    let (_, certs) = fetched(&cache, Ask::Certificates(&missing), now);
    check_all(&certs).for_each(|one| assert!(certificates.insert(one.unwrap(), &ids)));
    let Verdict::Good { consensus, .. } = consensus.check(&certificates, &ids, now) else { panic!("all are here") };
    let mut dir = NetDir::new(consensus);
    let missing = dir.missing();
    let parts: Vec<_> = requests(&missing).collect();
    assert_eq!(parts.len(), 3);
    for part in parts {
        let (head, body) = fetched(&cache, Ask::Microdescs(part), now);
        assert_eq!(head.answer(), Answer::Given);
        assert_eq!(insert_all(&mut dir, core::str::from_utf8(&body).unwrap()), part.len());
    }
    assert!(dir.missing_count() == 0 && dir.share().is_enough(dir.consensus().params(), None));

    // The same again is no news; an hour later it is a diff.
    let held = |now| Some(Held::new(dir.consensus(), now));
    let (head, _) = fetched(&cache, Ask::Consensus { authorities: &ids, held: held(now) }, now);
    assert_eq!(head.answer(), Answer::NotModified);
    let next = now + Duration::from_secs(3600);
    let (_, diff) = fetched(&cache, Ask::Consensus { authorities: &ids, held: held(next) }, next);
    assert!(Diff::is_diff(&diff) && diff.len() < text.len() / 2);
    let (mut patch, mut parser) = (Patch::new(Diff::parse(diff).unwrap()), consensus::Parser::default());
    let mut out = |bytes: &[u8]| parser.push(bytes).unwrap();
    patch.push(text.as_bytes(), &mut out);
    patch.finish(&mut out).unwrap();
    let Verdict::Good { consensus, .. } = parser.finish().unwrap().check(&certificates, &ids, next) else {
        panic!("the diff made something else");
    };
    dir.replace(consensus).unwrap();
    assert!(dir.missing_count() < 50 && dir.share().is_enough(dir.consensus().params(), None));
    cache.set_busy(true);
    assert_eq!(fetched(&cache, Ask::Microdescs(&missing[..1]), next).0.answer(), Answer::Busy);
}

#[test]
fn what_authorities_do_wrong_is_noticed_and_what_is_odd_is_not_wrong() {
    let now = Wall::from_secs(START + 7200);
    for wrong in Misbehaviour::ALL {
        let authorities = network(40, Some(wrong));
        let (certificates, ids) = trust(&authorities);
        let text = authorities.consensus(round(&authorities)).unwrap();
        let microdescs: String = authorities.microdescs().map(|(_, text)| text).collect();
        let verdict = parse(&text).check(&certificates, &ids, now);
        if matches!(wrong, Misbehaviour::TooFewSignatures | Misbehaviour::WrongSignatures) {
            assert!(matches!(verdict, Verdict::Refused(Error::TooFewSignatures)), "{wrong:?}");
            continue;
        }
        let Verdict::Good { consensus, .. } = verdict else { panic!("{wrong:?}: {verdict:?}") };
        let is_dated = matches!(wrong, Misbehaviour::Expired | Misbehaviour::FromTheFuture);
        assert_eq!(consensus.lifetime().is_reasonably_live(now), !is_dated, "{wrong:?}");
        assert_eq!(consensus.left_out(), 0);
        let mut dir = NetDir::new(consensus);
        let expected = if wrong == Misbehaviour::WrongDigests { 0 } else { dir.missing_count() };
        assert_eq!(insert_all(&mut dir, &microdescs), expected, "{wrong:?}");
    }
}

#[test]
fn the_labs_authorities_are_trusted_by_their_lines() {
    for (trusted, _) in documents().authorities.certificates() {
        let authority = Authority::parse(trusted.torrc_line().strip_prefix("DirAuthority ").unwrap()).unwrap();
        assert_eq!((authority.v3_identity, authority.rsa), (Some(trusted.identity), trusted.relay));
        assert_eq!(authority.or_port, Some(trusted.address.port()));
    }
}

/// How long `f` takes at best, of ten times.
fn best<T>(what: &str, mut f: impl FnMut() -> T) -> Duration {
    let mut least = Duration::MAX;
    for _ in 0..10 {
        let begun = Instant::now();
        let result = std::hint::black_box(f());
        least = least.min(begun.elapsed());
        drop(result);
    }
    println!("{what}: {least:?}");
    least
}

/// Run by `.ci/run soak`: `cargo test --release --test directory -- --ignored --nocapture`.
#[test]
#[ignore = "measures; only a release build says something"]
fn how_long_a_network_of_the_public_size_takes() {
    let Documents { authorities, consensus, microdescs } = documents();
    println!("{} and {} bytes of text", consensus.len(), microdescs.len());
    let mut all = best("parse the consensus", || parse(consensus));
    let unchecked = parse(consensus);
    let (certificates, ids) = trust(authorities);
    let now = Wall::from_secs(START + 7200);
    all += best("check three signatures", || unchecked.clone().check(&certificates, &ids, now));
    let verified = checked(authorities, unchecked);
    let empty = NetDir::new(verified.clone());
    all += best("make a directory of it", || NetDir::new(verified.clone()));
    best("cut and parse the microdescriptors", || {
        let mut parser = microdesc::Parser::default();
        let mut count = 0_usize;
        microdescs.as_bytes().chunks(16_384).for_each(|piece| parser.push(piece, &mut |_| count += 1));
        count
    });
    all += best("cut, parse and join the microdescriptors", || {
        let mut dir = empty.clone();
        insert_all(&mut dir, microdescs);
        dir
    });
    println!("together: {all:?}");
    let mut dir = empty;
    insert_all(&mut dir, microdescs);
    let next = checked(authorities, parse(&authorities.consensus(round(authorities) + 1).unwrap()));
    best("go on to the next consensus", || {
        let mut dir = dir.clone();
        dir.replace(next.clone()).unwrap();
        dir
    });
    best("the share of paths", || dir.share());
    let new = authorities.consensus(round(authorities) + 1).unwrap();
    let diff = Diff::parse(diff::write(consensus, &new).into_bytes()).unwrap();
    best("apply a diff", || {
        let mut length = 0;
        let mut patch = Patch::new(diff.clone());
        consensus.as_bytes().chunks(16_384).for_each(|piece| patch.push(piece, &mut |bytes| length += bytes.len()));
        patch.finish(&mut |bytes: &[u8]| length += bytes.len()).unwrap();
        length
    });
    assert!(all < Duration::from_millis(150), "{all:?}");
}

/// A client that finds these files at its start, after it has read them.
fn started(files: &[(&str, &[u8])], setup: &Setup, now: Now) -> Client {
    let (mut client, mut entropy) = (Client::new(setup.clone()), Drawn(1));
    client.start(now, &mut entropy);
    while let Some(work) = client.poll_work() {
        let Work::Read(name) = work else { panic!("{work:?}") };
        let file = files.iter().find(|(known, _)| *known == name).map(|(_, file)| *file);
        file.iter().flat_map(|file| file.chunks(PIECE_LEN)).for_each(|piece| client.handle_file(name, piece, now));
        client.handle_file_end(name, file.is_some(), now, &mut entropy);
    }
    client
}

/// By hand, as above: all that a client reads before it can build circuits.
#[test]
#[ignore = "measures; only a release build says something"]
fn how_long_a_start_from_files_takes() {
    let Documents { authorities, consensus, microdescs } = documents();
    let lines = authorities.certificates().map(|(trusted, _)| trusted.torrc_line() + "\n");
    let mut settings = Settings::new();
    settings.add_text("torrc", &format!("TestingTorNetwork 1\n{}", lines.collect::<String>())).unwrap();
    let setup = Setup::of(Config::of(&settings).unwrap().0).unwrap().with_files();
    let certificates: String = authorities.certificates().map(|(_, text)| text).collect();
    let dated = microdescs.replace("onion-key\n", "@last-listed 2026-07-14 05:33:20\nonion-key\n");
    let files = [
        (store::CERTIFICATES, certificates.as_bytes()),
        (store::CONSENSUS, consensus.as_bytes()),
        (store::MICRODESCS, dated.as_bytes()),
        (store::MICRODESCS_JOURNAL, &[]),
    ];
    let now = Now { tick: Tick::new(Duration::from_secs(1)), wall: Wall::from_secs(START + 7200) };
    let client = started(&files, &setup, now);
    assert_eq!(client.dir().unwrap().missing_count(), 0);
    let took = best("start from files", || started(&files, &setup, now));
    assert!(took < Duration::from_millis(150), "{took:?}");
}

/// Bytes that are as good as random, to draw by.
struct Drawn(u64);

impl Entropy for Drawn {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = self.0.to_be_bytes()[0];
        }
    }
}

/// By hand, as above: a third of the relays may be guards.
#[test]
#[ignore = "measures; only a release build says something"]
fn how_long_a_path_takes() {
    let guard = |number: usize| {
        let mut id = [9; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let rsa = RsaId(id[..20].try_into().unwrap());
        let ids = RelayIds { rsa: Some(rsa), ed25519: Some(Ed25519Id(id)) };
        let [.., c, d] = number.to_be_bytes();
        let member = Member::new("guard", ids, SocketAddrV4::new([127, d, c, 2].into(), 5000), x25519::PublicKey(id));
        [Flag::Guard, Flag::Fast, Flag::Stable, Flag::V2Dir].into_iter().fold(member, Member::flagged)
    };
    let invention = Invention { family_lists: true, ..Invention::default() };
    let spec = Spec { listed: RELAYS, invention, ..Spec::new(1, Wall::from_secs(START)) };
    let authorities = Authorities::new(spec, (0..2700).map(guard).collect()).unwrap();
    let consensus = authorities.consensus(round(&authorities)).unwrap();
    let mut dir = NetDir::new(checked(&authorities, parse(&consensus)));
    insert_all(&mut dir, &authorities.microdescs().map(|(_, text)| text).collect::<String>());
    let now = Now { tick: Tick::new(Duration::from_secs(100_000)), wall: Wall::from_secs(START + 7200) };
    let nobody = rules::Avoided::new();
    let (rules, wish) = (rules::Rules::default(), guards::Wish::default());
    let view =
        View { dir: &dir, rules, dropped: &nobody, wish, uses_guards: true, paths_needed: None, program: "test", now };
    let (mut guards, mut entropy) = (guards::Guards::new(), Drawn(1));
    best("sample guards", || {
        guards = guards::Guards::new();
        guards.update(view.scene(), &mut entropy);
    });
    best("see whether there is enough to build with", || view.check(&guards).unwrap());
    let targets = vec![rules::Target { port: 443, family: rules::Family::Either }];
    let exit = Need::Exit { targets, is_stable: false, speaks: Vec::new(), avoided: Arc::default() };
    for (what, need) in
        [("a path to port 443", exit), ("an inner path", Need::Inner { is_stable: true, speaks: Vec::new() })]
    {
        best(what, || view.pick(&need, &mut guards, &mut entropy).unwrap());
    }
}
