use super::consensus::tests as consensus_tests;
use super::*;
use crate::base::{RelayIds, text};

/// Arti 2.7, tor-netdoc, `testdata-live`: five relays of the real network.
const LIVE: &str = include_str!("testdata/live-consensus.txt");
const LIVE_MICRODESCS: &str = include_str!("testdata/live-microdescs.txt");
/// The same, `testdata2`: a whole test network as a C tor stored it.
const NET: &str = include_str!("testdata/net-consensus.txt");
const NET_CERTS: &str = include_str!("testdata/net-certs.txt");
const NET_MICRODESCS: &str = include_str!("testdata/net-microdescs.txt");

fn insert_all(dir: &mut NetDir, text: &str) -> usize {
    let mut count = 0;
    let mut found = |one: Result<Microdesc<'_>, Error>| count += usize::from(one.is_ok_and(|one| dir.insert(&one)));
    let mut parser = microdesc::Parser::default();
    parser.push(text.as_bytes(), &mut found);
    parser.finish(&mut found);
    count
}

fn live() -> NetDir {
    let mut dir = NetDir::new(consensus_tests::unproven(LIVE));
    assert_eq!(insert_all(&mut dir, LIVE_MICRODESCS), 5);
    dir
}

#[test]
fn what_a_c_tor_stored_is_checked_and_joined() {
    let mut certificates = certs::Certificates::default();
    let all: Vec<_> = certs::check_all(NET_CERTS.as_bytes()).map(Result::unwrap).collect();
    let authorities: Vec<_> = all.iter().map(|it| it.ids().identity).collect();
    all.into_iter().for_each(|it| assert!(certificates.insert(it, &authorities)));
    let unchecked = consensus_tests::parse(NET).unwrap();
    let now = unchecked.lifetime().valid_after;
    let consensus::Verdict::Good { consensus, missing } = unchecked.check(&certificates, &authorities, now) else {
        panic!("it is good");
    };
    assert!(missing.is_empty());
    let mut dir = NetDir::new(consensus);
    let relays = dir.relays().count();
    assert_eq!((dir.missing().len(), dir.missing_count()), (relays, relays));
    let joined = insert_all(&mut dir, NET_MICRODESCS);
    assert_eq!((joined, dir.missing_count()), (NET_MICRODESCS.matches("onion-key\n-").count(), relays - joined));
    assert_eq!(insert_all(&mut dir, NET_MICRODESCS), 0, "they are here already");
    for relay in dir.relays().filter(Relay::has_microdesc) {
        assert!(relay.ntor_key().is_some());
        let id = relay.ed25519_id().unwrap();
        assert_eq!(dir.by_ed25519_id(&id).unwrap().index(), relay.index());
        assert_eq!(dir.by_rsa_id(&relay.rsa_id()).unwrap().index(), relay.index());
    }
}

#[test]
fn a_relay_is_what_both_documents_say() {
    let dir = live();
    let names: Vec<_> = dir.relays().map(|relay| relay.nickname()).collect();
    assert_eq!(names, ["lisdex", "moria1", "Ukko", "d2d4", "Akka"]);
    let d2d4 = dir.by_rsa_id(&RsaId(text::hex_array("50485E03CA39D393BD54D315CEBA65E6DD0FDDB9").unwrap())).unwrap();
    assert_eq!((d2d4.nickname(), d2d4.bandwidth()), ("d2d4", 31_000));
    assert_eq!(d2d4.ipv4().to_string(), "185.129.61.129:443");
    assert_eq!(d2d4.ipv6().unwrap().to_string(), "[2001:67c:89c:666::1]:443");
    assert!(d2d4.policy().unwrap().allows(443) && d2d4.policy6().is_some());
    assert_eq!(d2d4.ids(), RelayIds { rsa: Some(d2d4.rsa_id()), ed25519: d2d4.ed25519_id() });
    assert_eq!(dir.by_ed25519_id(&d2d4.ed25519_id().unwrap()).unwrap().nickname(), "d2d4");
    assert!(d2d4.listed_family().eq([d2d4.index()]), "the other of its list is not in the consensus");
    let moria1 = dir.relays().nth(1).unwrap();
    assert!(moria1.policy().is_none() && moria1.ipv6().is_none() && moria1.listed_family().next().is_none());
    assert_eq!(dir.by_rsa_id(&RsaId([7; 20])).map(|relay| relay.index()), None);
    assert_eq!(dir.by_ed25519_id(&Ed25519Id([0; 32])).map(|relay| relay.index()), None);
    assert!(dir.relay(RelayIndex(5)).is_none());
    assert!(dir.names(&moria1.microdesc_digest()) && !dir.names(&[0; 32]));
}

/// A consensus of relays with these flags and bandwidths, and microdescriptors with these lines.
fn made(hour: u8, relays: &[(&str, u32, &str)]) -> (String, Vec<String>) {
    let mut text = format!(
        "network-status-version 3 microdesc\nvote-status consensus\nvalid-after 2026-01-01 {hour:02}:00:00\n\
        fresh-until 2026-01-01 {:02}:00:00\nvalid-until 2026-01-01 {:02}:00:00\nknown-flags Exit Guard\n",
        hour + 1,
        hour + 3
    );
    let mut microdescs = Vec::new();
    for (number, (flags, bandwidth, lines)) in relays.iter().enumerate() {
        let microdesc = format!("onion-key\n{lines}id x {number}\n");
        let digest = text::base64_unpadded(&kdf::sha256(&[microdesc.as_bytes()]));
        let id = text::base64_unpadded(&id(number).0);
        text.push_str(&format!(
            "r n{number} {id} 2038-01-01 00:00:00 10.0.0.{number} 9001 0\nm {digest}\ns {flags}\n\
            pr Link=4\nw Bandwidth={bandwidth}\n"
        ));
        microdescs.push(microdesc);
    }
    text.push_str(
        "directory-footer\ndirectory-signature sha1 x y\n-----BEGIN SIGNATURE-----\n-----END SIGNATURE-----\n",
    );
    (text, microdescs)
}

fn id(number: usize) -> RsaId {
    RsaId([u8::try_from(number).unwrap(); 20])
}

fn dir_of(hour: u8, relays: &[(&str, u32, &str)], here: &[usize]) -> NetDir {
    let (text, microdescs) = made(hour, relays);
    let mut dir = NetDir::new(consensus_tests::unproven(&text));
    here.iter().for_each(|&number| assert_eq!(insert_all(&mut dir, &microdescs[number]), 1));
    dir
}

fn family(members: &[usize]) -> String {
    format!("family{}\n", members.iter().map(|&number| format!(" {}", id(number))).collect::<String>())
}

/// All of a family have the same line; who has it and is not on it is no relative.
#[test]
fn one_line_is_one_family_whoever_comes_first() {
    let list = family(&[0, 1]);
    let relays = [("Fast", 1, list.as_str()); 3];
    for order in [[0, 1, 2], [2, 0, 1], [2, 1, 0], [0, 2, 1]] {
        let dir = dir_of(0, &relays, &order);
        let at = |number: usize| dir.by_rsa_id(&id(number)).unwrap().index();
        let are = |a, b| dir.are_family(at(a), at(b));
        assert_eq!([are(0, 1), are(0, 2), are(1, 2)], [true, false, false], "{order:?}");
    }
}

#[test]
fn a_family_is_mutual_or_shares_a_name() {
    let list = family(&[0, 1, 2, 99]);
    let lines = [
        list.clone(),
        list.clone() + "family-ids b c\n",
        String::new(),
        "family-ids c d\n".to_owned(),
        "family-ids d e\n".to_owned(),
    ];
    let relays: Vec<_> = lines.iter().map(|lines| ("Fast", 1, lines.as_str())).collect();
    let dir = dir_of(0, &relays, &[0, 1, 2, 3, 4]);
    let pairs = |dir: &NetDir| {
        let all: Vec<_> = dir.relays().map(|relay| relay.index()).collect();
        let pairs = all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))).filter(|(a, b)| a < b);
        pairs
            .filter(|(a, b)| dir.are_family(*a, *b) && dir.are_family(*b, *a))
            .map(|(a, b)| (a.0, b.0))
            .collect::<Vec<_>>()
    };
    assert_eq!(pairs(&dir), [(0, 1), (1, 3), (3, 4)], "2 lists nobody");
    assert_eq!(dir.families.len(), 1, "lists that are alike are held once");
    assert_eq!(dir.relays().next().unwrap().listed_family().map(|index| index.0).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(dir.relays().nth(3).unwrap().family_ids().len(), 2);
    for (param, expected) in [("use-family-lists=0", &[(1, 3), (3, 4)][..]), ("use-family-ids=0", &[(0, 1)])] {
        let (text, microdescs) = made(0, &relays);
        let text = text.replace("known-flags", &format!("params {param}\nknown-flags"));
        let mut dir = NetDir::new(consensus_tests::unproven(&text));
        microdescs.iter().for_each(|text| assert_eq!(insert_all(&mut dir, text), 1));
        assert_eq!(pairs(&dir), expected);
    }
}

#[test]
fn a_newer_consensus_keeps_what_is_here() {
    let list = family(&[1, 3]);
    let relays = [
        ("Fast", 1, "p accept 80\n"),
        ("Fast", 1, &(list.clone() + "id ed25519 G9p5nGpznNYTboOmx+6xxxKjSGoq2FYUU3MCIxHF/8k\nfamily-ids a b\n")),
        ("Fast", 1, "p6 accept 443\nfamily-ids b\n"),
        ("Fast", 1, &list),
    ];
    // The last relay is a stranger at first, to the list of the second.
    let mut dir = dir_of(0, &relays[..3], &[0, 1, 2]);
    let stale = dir.clone();
    let (text, microdescs) = made(1, &relays);
    dir.replace(consensus_tests::unproven(&text.replacen("r n0", "x n0", 1))).unwrap();
    assert_eq!((dir.consensus().relay_count(), dir.missing_count()), (3, 1));
    assert_eq!(insert_all(&mut dir, &microdescs[3]), 1);
    let [one, two, three] = [1, 2, 3].map(|number| dir.by_rsa_id(&id(number)).unwrap());
    assert!(dir.are_family(one.index(), three.index()) && dir.are_family(one.index(), two.index()));
    assert!(!dir.are_family(two.index(), three.index()));
    assert!(two.policy6().unwrap().allows(443) && dir.policies.len() == 1, "what nobody has is gone");
    assert_eq!(dir.by_ed25519_id(&one.ed25519_id().unwrap()).unwrap().index(), one.index());
    // Once more: what was a stranger has a row now.
    let (text, _) = made(2, &relays);
    dir.replace(consensus_tests::unproven(&text)).unwrap();
    assert_eq!(dir.missing(), [stale.relays().next().unwrap().microdesc_digest()]);
    let [one, three] = [1, 3].map(|number| dir.by_rsa_id(&id(number)).unwrap());
    assert!(dir.are_family(one.index(), three.index()));
    assert!(dir.strangers.ids.is_empty());
    assert_eq!(dir.replace(stale.consensus().clone()), Err(Error::NotNewer));
    let same = dir.consensus().clone();
    assert_eq!(dir.replace(same), Err(Error::NotNewer));
}

#[test]
fn the_share_of_paths_is_by_bandwidth() {
    let exit = "p accept 80\n";
    let relays = [
        ("Guard", 30, ""),
        ("Guard", 10, ""),
        ("Exit", 60, exit),
        ("Exit", 20, exit),
        ("Exit", 1000, "p reject 1-65535\n"),
        ("Fast", 100, ""),
    ];
    let near = |share: Share, guard: f64, middle: f64, exit: f64| {
        let off = [share.guard - guard, share.middle - middle, share.exit - exit];
        assert!(off.iter().all(|off| off.abs() < 1e-9), "{share:?}");
    };
    let none = dir_of(0, &relays, &[]).share();
    near(none, 0.0, 0.0, 0.0);
    assert!(!none.has_exits && !none.is_enough(&params::Params::default(), None));
    // Without weights in the consensus all bandwidth counts alike.
    let some = dir_of(0, &relays, &[0, 2, 4]).share();
    near(some, 0.75, 1090.0 / 1220.0, 0.75);
    assert!((some.of_paths() - 0.75 * 0.75 * 1090.0 / 1220.0).abs() < 1e-9);
    let all = dir_of(0, &relays, &[0, 1, 2, 3, 4, 5]).share();
    near(all, 1.0, 1.0, 1.0);
    assert!(all.has_exits && all.is_enough(&params::Params::default(), None));
    // A network without exits is one for onion services.
    let inner = dir_of(0, &[("Guard", 1, ""), ("Fast", 3, "")], &[0]).share();
    near(inner, 1.0, 0.25, 0.25);
    // Where nobody has bandwidth, relays are counted.
    near(dir_of(0, &[("Guard", 0, ""), ("Guard", 0, "")], &[0]).share(), 0.5, 0.5, 0.5);
}

#[test]
fn those_with_the_most_bandwidth_are_wanted_first() {
    let dir = dir_of(0, &[("Fast", 5, "p accept 80\n"), ("Fast", 70, ""), ("Fast", 6, "p accept 1\n")], &[]);
    let by_weight = [1, 2, 0].map(|number| dir.relay(RelayIndex(number)).unwrap().microdesc_digest());
    assert_eq!(dir.missing(), by_weight);
}

#[test]
fn two_relays_with_one_identity_are_told_apart_by_the_first() {
    let lines = "id ed25519 G9p5nGpznNYTboOmx+6xxxKjSGoq2FYUU3MCIxHF/8k\n";
    let dir = dir_of(0, &[("Fast", 1, lines), ("Fast", 1, lines)], &[1, 0]);
    let ids: Vec<_> = dir.relays().filter_map(|relay| relay.ed25519_id()).collect();
    assert_eq!(ids[0], ids[1]);
    assert_eq!(dir.by_ed25519_id(&ids[0]).unwrap().index(), RelayIndex(1));
}
