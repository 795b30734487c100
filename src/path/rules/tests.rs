use super::*;
use crate::base::{Ed25519Id, RelayIds};
use crate::directory::testing::{Sketch, family, id, net};
use core::net::{Ipv4Addr, Ipv6Addr};

fn relay(dir: &NetDir, number: usize) -> Relay<'_> {
    dir.by_rsa_id(&id(number)).unwrap()
}

fn are_related(dir: &NetDir, rules: &Rules<'_>, a: usize, b: usize) -> bool {
    let (one, other) = (Hop::of(&relay(dir, a)), Hop::of(&relay(dir, b)));
    let related = Neighbour::new(&one, dir).is_related(&relay(dir, b), dir, rules);
    assert_eq!(related, Neighbour::new(&other, dir).is_related(&relay(dir, a), dir, rules), "it is mutual");
    related
}

fn pairs(dir: &NetDir, rules: &Rules<'_>) -> Vec<(usize, usize)> {
    let count = dir.relays().count();
    let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
    pairs.filter(|&(a, b)| are_related(dir, rules, a, b)).collect()
}

/// The cases of C tor's src/test/test_address.c, `test_address_tor_addr_in_same_network_family`,
/// and the edges of each mask.
#[test]
fn subnets_are_of_16_and_32_bits() {
    for (a, b, expected) in [
        ("8.8.8.8", "8.8.4.4", true),
        ("8.8.8.8", "1.1.1.1", false),
        ("8.8.8.8", "2001:4860:4860::8844", false),
        ("2001:4860:4860::8888", "2001:4860:4860::8844", true),
        ("2001:4860:4860::8888", "2001:470:20::2", false),
        ("8.8.0.0", "8.9.0.0", false),
        ("8.8.0.0", "8.8.255.255", true),
        ("2001:db8::1", "2001:db8:ffff::1", true),
        ("2001:db8::1", "2001:db9::1", false),
        ("0.0.0.0", "0.0.0.0", false),
        ("0.0.0.0", "0.0.1.1", false),
        ("::", "::", false),
        ("::1", "::", false),
    ] {
        let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
        assert_eq!((are_near(a, b), are_near(b, a)), (expected, expected), "{a} {b}");
    }
}

#[test]
fn relatives_share_a_subnet_of_either_address_or_a_family() {
    let relays = [
        Sketch::new("", 1).at([10, 1, 1, 1]).and_at("[2001:db8::1]:9001"),
        Sketch::new("", 1).at([10, 1, 2, 2]).and_at("[2001:db9::1]:9001"),
        Sketch::new("", 1).at([10, 2, 1, 1]).and_at("[2001:db8:1::]:9001"),
        Sketch::new("", 1).at([10, 3, 1, 1]).with(&family(&[3, 4])),
        Sketch::new("", 1).at([10, 4, 1, 1]).with(&family(&[3, 4])),
        Sketch::new("", 1).at([10, 5, 1, 1]).with(&family(&[3, 5])).with("family-ids x y\n"),
        Sketch::new("", 1).at([10, 6, 1, 1]).with("family-ids y z\n"),
    ];
    let dir = net("", "", &relays);
    assert_eq!(pairs(&dir, &Rules::default()), [(0, 1), (0, 2), (3, 4), (5, 6)]);
    let rules = Rules { are_subnets_distinct: false, ..Rules::default() };
    assert_eq!(pairs(&dir, &rules), [(3, 4), (5, 6)]);
    assert!((0..relays.len()).all(|number| are_related(&dir, &rules, number, number)), "the same is related");
    let dir = net("use-family-lists=0 use-family-ids=0", "", &relays);
    assert_eq!(pairs(&dir, &rules), []);
}

#[test]
fn a_stranger_keeps_others_away_by_its_address_and_its_identities() {
    let key = "id ed25519 G9p5nGpznNYTboOmx+6xxxKjSGoq2FYUU3MCIxHF/8k\n";
    let dir = net("", "", &[Sketch::new("", 1).at([10, 1, 1, 1]), Sketch::new("", 1).at([10, 2, 1, 1]).with(key)]);
    let known = Hop::of(&relay(&dir, 1));
    let stranger = |ids, ipv4: [u8; 4]| Hop {
        index: None,
        ids,
        ipv4: Some(SocketAddrV4::new(ipv4.into(), 1)),
        ipv6: None,
        ..known
    };
    let ed25519 = |ed25519| RelayIds { rsa: None, ed25519 };
    for (hop, expected) in [
        (stranger(ed25519(Some(Ed25519Id([9; 32]))), [10, 1, 9, 9]), [true, false]),
        (stranger(ed25519(known.ids.ed25519), [10, 9, 9, 9]), [false, true]),
        (stranger(RelayIds { rsa: known.ids.rsa, ed25519: None }, [10, 9, 9, 9]), [false, true]),
        (stranger(RelayIds::default(), [10, 9, 9, 9]), [false, false]),
    ] {
        let neighbour = Neighbour::new(&hop, &dir);
        let related = [0, 1].map(|number| neighbour.is_related(&relay(&dir, number), &dir, &Rules::default()));
        assert_eq!(related, expected, "{:?}", hop.ids);
    }
}

#[test]
fn each_place_has_its_flags() {
    let all = "Fast Stable Guard V2Dir Exit";
    let exit = "p accept 80\n";
    let strict = Quality { is_fast: true, is_stable: true };
    let fit = |sketch: Sketch, quality: Quality| {
        let dir = net("", "", &[sketch]);
        let rules = Rules::default();
        [Place::Guard, Place::Middle, Place::Exit, Place::Inner]
            .map(|place| dir.relays().next().is_some_and(|relay| rules.is_fit(&relay, place, quality)))
    };
    for (sketch, expected) in [
        (Sketch::new(all, 1).with(exit), [true, true, true, true]),
        (Sketch::new(all, 1), [true, true, false, true]),
        (Sketch::new("Fast Stable Exit", 1).with(exit), [false, true, true, true]),
        (Sketch::new("Fast Stable", 1).with(exit), [false, true, true, true]),
        (Sketch::new("Fast Stable", 1).with("p6 accept 80\n"), [false, true, true, true]),
        (Sketch::new("Fast Stable Exit", 1).with("p reject 1-65535\n"), [false, true, false, true]),
        (Sketch::new("Fast Stable Exit BadExit", 1).with(exit), [false, true, false, true]),
        (Sketch::new(&format!("{all} MiddleOnly"), 1).with(exit), [false, true, false, false]),
        (Sketch::new("Fast Stable Guard", 1), [false, true, false, true]),
        (Sketch::new("Fast Guard V2Dir", 1), [false; 4]),
        (Sketch::new("Stable Guard V2Dir", 1), [false; 4]),
        (Sketch { has_ntor: false, ..Sketch::new(all, 1).with(exit) }, [false; 4]),
        (Sketch { has_microdesc: false, ..Sketch::new(all, 1).with(exit) }, [false; 4]),
    ] {
        assert_eq!(fit(sketch.clone(), strict), expected, "{sketch:?}");
    }
    assert_eq!(fit(Sketch::new("", 1).with(exit), Quality::default()), [false, true, true, true]);
    let fast = Quality { is_fast: true, is_stable: false };
    assert_eq!(fit(Sketch::new("Fast", 1).with(exit), fast), [false, true, true, true]);
    assert_eq!(fit(Sketch::new("Stable", 1).with(exit), fast), [false; 4]);
}

#[test]
fn policies_of_either_family_say_where_streams_may_leave() {
    let relays = [
        Sketch::new("Exit", 1).with("p accept 80,443\n"),
        Sketch::new("Exit", 1).with("p6 accept 80\n"),
        Sketch::new("Exit", 1).with("p accept 22\np6 accept 443\n"),
        Sketch::new("Exit", 1).with("p reject 25\np6 reject 1-65535\n"),
        Sketch::new("Exit", 1),
    ];
    let dir = net("", "", &relays);
    let serving = |port, family| -> Vec<usize> {
        (0..relays.len()).filter(|&number| may_leave(&relay(&dir, number), Target { port, family })).collect()
    };
    for (port, ipv4, ipv6, either) in [
        (80, &[0, 3][..], &[1][..], &[0, 1, 3][..]),
        (443, &[0, 3], &[2], &[0, 2, 3]),
        (22, &[2, 3], &[], &[2, 3]),
        (25, &[], &[], &[]),
        (0, &[], &[], &[]),
    ] {
        assert_eq!(serving(port, Family::Ipv4), ipv4, "{port}");
        assert_eq!(serving(port, Family::Ipv6), ipv6, "{port}");
        assert_eq!(serving(port, Family::Either), either, "{port}");
    }
    let somewhere: Vec<_> = (0..relays.len()).filter(|&number| may_leave_somewhere(&relay(&dir, number))).collect();
    assert_eq!(somewhere, [0, 1, 2, 3]);
}

/// After C tor's src/test/test_policy.c, `test_policies_fascist_firewall_choose_address`.
#[test]
fn a_first_hop_is_connected_to_as_the_user_lets_us() {
    let v4 = SocketAddrV4::new(Ipv4Addr::new(1, 2, 3, 4), 1234);
    let v6 = SocketAddrV6::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 1234, 0, 0);
    let none4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 1234);
    let closed6 = SocketAddrV6::new(*v6.ip(), 0, 0, 0);
    for (ipv4, ipv6, prefers_ipv6, of_both, of_first, of_second) in [
        (true, true, false, Some(v4.into()), Some(v4.into()), Some(v6.into())),
        (true, true, true, Some(v6.into()), Some(v4.into()), Some(v6.into())),
        (true, false, true, Some(v4.into()), Some(v4.into()), None),
        (false, true, false, Some(SocketAddr::from(v6)), None, Some(v6.into())),
        (false, false, false, None, None, None),
    ] {
        let rules = Rules { reach: Reach { ipv4, ipv6, prefers_ipv6 }, ..Rules::default() };
        assert_eq!(rules.address(Some(v4), Some(v6)), of_both);
        assert_eq!(rules.address(Some(v4), None), of_first);
        assert_eq!(rules.address(Some(v4), Some(closed6)), of_first);
        assert_eq!(rules.address(None, Some(v6)), of_second);
        assert_eq!(rules.address(Some(none4), Some(v6)), of_second);
    }
}

/// Wants no relay of that name at a place, no connection to a port, and two relays apart.
struct Fussy;

impl Wishes for Fussy {
    fn allows(&self, relay: &Relay<'_>, place: Place) -> bool {
        place != Place::Middle || relay.nickname() != "n0"
    }

    fn are_family(&self, a: &Relay<'_>, b: &Relay<'_>) -> bool {
        a.nickname() == "n0" && b.nickname() == "n2" || a.nickname() == "n2" && b.nickname() == "n0"
    }

    fn may_connect(&self, to: SocketAddr) -> bool {
        to.port() == 443
    }
}

#[test]
fn the_user_has_the_last_word() {
    let dir = net("", "", &[Sketch::new("", 1), Sketch::new("", 1).and_at("[2001:db8::1]:443"), Sketch::new("", 1)]);
    let rules = Rules { wishes: &Fussy, ..Rules::default() };
    assert_eq!(pairs(&dir, &Rules { are_subnets_distinct: false, ..rules }), [(0, 2)]);
    let fit: Vec<_> = dir.relays().map(|relay| rules.is_fit(&relay, Place::Middle, Quality::default())).collect();
    assert_eq!(fit, [false, true, true]);
    assert!(rules.is_fit(&relay(&dir, 0), Place::Inner, Quality::default()));
    let allowed: Vec<_> = dir.relays().map(|relay| rules.is_guard_allowed(&relay)).collect();
    assert_eq!(allowed, [false, true, false], "9001 is no port that we may connect to");
}
