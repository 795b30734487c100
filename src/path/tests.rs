use super::*;
use crate::base::random::Seeded;
use crate::base::time::{Tick, Wall};
use crate::directory::testing::{Sketch, family, id, net};
use core::time::Duration;
use proptest::prelude::*;
use rules::{Family, Wishes, may_leave_somewhere};
use std::collections::BTreeSet;

const EXIT: &str = "p accept 80,443\n";

/// A network with guards that were drawn from it.
struct World {
    dir: NetDir,
    guards: Guards,
    entropy: Seeded,
    are_subnets_distinct: bool,
    now: Now,
}

fn now() -> Now {
    Now { tick: Tick::new(Duration::from_secs(100_000)), wall: Wall::parse("2026-01-01", "01:30:00").unwrap() }
}

impl World {
    fn new(dir: NetDir, seed: u64) -> World {
        let mut world =
            World { dir, guards: Guards::new(), entropy: Seeded(seed), are_subnets_distinct: true, now: now() };
        world.with(|view, guards, entropy| guards.update(view.scene(), entropy));
        world
    }

    fn with<T>(&mut self, call: impl FnOnce(&View<'_>, &mut Guards, &mut Seeded) -> T) -> T {
        let World { dir, guards, entropy, are_subnets_distinct, now } = self;
        let rules = Rules { are_subnets_distinct: *are_subnets_distinct, ..Rules::default() };
        call(&view(dir, rules, *now), guards, entropy)
    }

    fn pick(&mut self, need: &Need) -> Result<Path, Error> {
        self.with(|view, guards, entropy| view.pick(need, guards, entropy))
    }
}

fn view<'a>(dir: &'a NetDir, rules: Rules<'a>, now: Now) -> View<'a> {
    const NOBODY: &Avoided = &Avoided::new();
    View {
        dir,
        rules,
        dropped: NOBODY,
        wish: Wish::default(),
        uses_guards: true,
        paths_needed: None,
        program: "test",
        now,
    }
}

fn exit_to(port: u16) -> Need {
    let targets = vec![Target { port, family: Family::Either }];
    Need::Exit { targets, is_stable: false, speaks: Vec::new(), avoided: Arc::default() }
}

fn ids(path: &Path) -> Vec<RsaId> {
    path.hops.iter().map(|hop| hop.ids.rsa.unwrap()).collect()
}

/// C tor's network of src/test/test_entrynodes.c: 271 relays, of which every second may be a
/// guard.
fn big_fake_network() -> NetDir {
    let sketch = |number: usize| {
        let flags = if number.is_multiple_of(2) { "Fast Stable V2Dir Exit Guard" } else { "Fast Stable V2Dir Exit" };
        Sketch::new(flags, 30).with(EXIT)
    };
    net("", "", &(0..271).map(sketch).collect::<Vec<_>>())
}

/// C tor: `test_entry_guard_basic_path_selection`.
#[test]
fn a_path_is_a_guard_a_middle_and_an_exit() {
    let mut world = World::new(big_fake_network(), 1);
    world.are_subnets_distinct = false;
    let path = world.pick(&exit_to(443)).unwrap();
    assert_eq!(path.hops.len(), 3);
    let guard = path.guard.unwrap();
    assert_eq!((guard.id, guard.standing), (ids(&path)[0], guards::Standing::OnCompletion));
    assert_eq!(world.guards.primary()[0], guard.id);
    assert_eq!(ids(&path).into_iter().collect::<BTreeSet<_>>().len(), 3);
    let first = world.dir.by_rsa_id(&guard.id).unwrap();
    assert_eq!((path.address, path.hops[0]), (first.ipv4().into(), Hop::of(&first)));
    assert!(path.hops.iter().all(|hop| hop.ntor.is_some() && hop.index.is_some()));
}

/// C tor: `test_new_route_len_noexit`, `..._unsafe_exit`, `..._safe_exit`.
#[test]
fn a_last_hop_that_others_named_is_one_hop_farther() {
    let mut world = World::new(big_fake_network(), 2);
    assert_eq!(world.pick(&Need::Inner { is_stable: true, speaks: Vec::new() }).unwrap().hops.len(), 3);
    let last = Hop::of(&world.dir.by_rsa_id(&id(7)).unwrap());
    for (is_foreign, hops) in [(false, 3), (true, 4)] {
        let need = Need::To { last: Box::new(last), is_foreign, is_stable: true, avoided: Arc::default() };
        let path = world.pick(&need).unwrap();
        assert_eq!((path.hops.len(), path.hops.last()), (hops, Some(&last)));
        assert_eq!(ids(&path).into_iter().collect::<BTreeSet<_>>().len(), hops);
    }
}

#[test]
fn a_guard_that_is_related_to_the_exit_is_passed_over_for_this_path() {
    let mut world = World::new(big_fake_network(), 3);
    let first = world.guards.primary()[0];
    let last = Hop::of(&world.dir.by_rsa_id(&first).unwrap());
    let need = Need::To { last: Box::new(last), is_foreign: false, is_stable: false, avoided: Arc::default() };
    let path = world.pick(&need).unwrap();
    assert_eq!(path.guard.unwrap().id, world.guards.primary()[1]);
    assert!(matches!(&path.restriction, Some(Restriction::Path(avoided)) if avoided.contains(&first)));
    assert_eq!(world.pick(&exit_to(80)).unwrap().guard.unwrap().id, first, "for others it is used again");
    let avoided: Arc<Avoided> = Arc::new(world.guards.primary()[..2].iter().copied().collect());
    let last = Hop::of(&world.dir.by_rsa_id(&id(7)).unwrap());
    let path = world.pick(&Need::To { last: Box::new(last), is_foreign: false, is_stable: false, avoided }).unwrap();
    assert_eq!(path.guard.unwrap().id, world.guards.primary()[2], "another leg has those");
}

#[test]
fn an_exit_that_refused_is_not_chosen_again() {
    let relays = [("Fast Exit", EXIT), ("Fast Exit", EXIT), ("Fast Stable Guard V2Dir", ""), ("Fast", "")];
    let relays: Vec<_> = relays.iter().map(|(flags, lines)| Sketch::new(flags, 5).with(lines)).collect();
    let mut world = World::new(net("", "", &relays), 4);
    world.are_subnets_distinct = false;
    let avoiding = |numbers: &[usize]| Need::Exit {
        targets: vec![Target { port: 443, family: Family::Ipv4 }],
        is_stable: false,
        speaks: Vec::new(),
        avoided: Arc::new(numbers.iter().map(|&number| id(number)).collect()),
    };
    for _ in 0..20 {
        assert_eq!(ids(&world.pick(&avoiding(&[0])).unwrap())[2], id(1));
    }
    assert_eq!(world.pick(&avoiding(&[0, 1])), Err(Error::NoExit));
    assert_eq!(world.pick(&exit_to(25)), Err(Error::NoExit));
}

#[test]
fn a_last_hop_speaks_what_it_must() {
    let speaks = vec![(Protocol::Conflux, 1), (Protocol::HsRend, 2)];
    let protocols = ["Link=4", "Conflux=1 HSRend=1", "Conflux=1 HSRend=1-2", "HSRend=2"];
    let exit = |protocols| Sketch { protocols, ..Sketch::new("Fast Exit", 9).with(EXIT) };
    let guard = Sketch::new("Fast Stable Guard V2Dir", 9);
    let relays: Vec<_> = protocols.map(exit).into_iter().chain([guard, Sketch::new("Fast", 9)]).collect();
    let mut world = World::new(net("", "", &relays), 20);
    world.are_subnets_distinct = false;
    let exit = Need::Exit { targets: Vec::new(), is_stable: false, speaks: speaks.clone(), avoided: Arc::default() };
    for need in [exit, Need::Inner { is_stable: false, speaks }] {
        assert!((0..20).all(|_| ids(&world.pick(&need).unwrap())[2] == id(2)));
    }
}

#[test]
fn what_is_not_as_good_is_taken_rather_than_nothing() {
    let base = [Sketch::new("Fast Stable Guard V2Dir", 9), Sketch::new("Fast", 9)];
    let exits = |flags: &[&str]| -> Vec<Sketch> {
        let exits = flags.iter().map(|flags| Sketch::new(flags, 9).with(EXIT));
        base.iter().cloned().chain(exits).collect()
    };
    let chosen = |flags: &[&str], is_stable| -> BTreeSet<usize> {
        let mut world = World::new(net("", "", &exits(flags)), 5);
        world.are_subnets_distinct = false;
        let Need::Exit { targets, avoided, .. } = exit_to(80) else { return BTreeSet::new() };
        let need = Need::Exit { targets, is_stable, speaks: Vec::new(), avoided };
        let picked: Vec<_> = (0..40).map(|_| ids(&world.pick(&need).unwrap())[2]).collect();
        (0..flags.len()).filter(|number| picked.contains(&id(number + 2))).collect()
    };
    let flags = ["Exit", "Exit Fast", "Exit Stable", "Exit Fast Stable", "Exit Fast Stable BadExit"];
    assert_eq!(chosen(&flags, false), [1, 3].into());
    assert_eq!(chosen(&flags, true), [3].into());
    assert_eq!(chosen(&flags[..3], true), [0, 1, 2].into());
    let doomed = World::new(net("", "", &exits(&flags[4..])), 6).pick(&exit_to(80));
    assert_eq!(doomed, Err(Error::NoExit), "a bad exit is never good enough");
}

#[test]
fn without_a_place_there_is_no_path() {
    let guard = || Sketch::new("Fast Stable Guard V2Dir", 9);
    let exit = || Sketch::new("Fast Exit", 9).with(EXIT);
    let path = |relays: &[Sketch]| World::new(net("", "", relays), 7).pick(&exit_to(80));
    assert_eq!(path(&[guard()]), Err(Error::NoExit));
    assert_eq!(path(&[exit(), exit()]), Err(Error::NoGuard));
    let near = |sketch: Sketch| sketch.at([10, 0, 0, 1]);
    assert_eq!(path(&[near(guard()), near(exit())]), Err(Error::NoGuard));
    assert_eq!(path(&[guard(), exit().at([10, 0, 0, 1])]), Err(Error::NoMiddle));
    assert_eq!(
        World::new(net("", "", &[]), 8).pick(&Need::Inner { is_stable: false, speaks: Vec::new() }),
        Err(Error::NoEnd)
    );
    assert_eq!(
        path(&[near(guard()), exit().at([10, 1, 0, 1]), exit().at([10, 2, 0, 1])]).map(|path| path.hops.len()),
        Ok(3)
    );
}

/// The guard that was chosen in vain must not count as under way.
#[test]
fn a_guard_whose_path_cannot_be_had_is_let_go() {
    let relays = [Sketch::new("Fast Stable Guard V2Dir", 9), Sketch::new("Fast Exit", 9).with(EXIT).at([10, 0, 0, 1])];
    let mut world = World::new(net("guard-n-primary-guards=1", "", &relays), 9);
    for _ in 0..3 {
        assert_eq!(world.pick(&exit_to(80)), Err(Error::NoMiddle));
    }
}

#[test]
fn the_directory_is_asked_over_one_hop() {
    let mut world = World::new(big_fake_network(), 10);
    let primary = world.guards.primary().to_vec();
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        let path = world.pick(&Need::Directory { outdated: Arc::default() }).unwrap();
        assert_eq!((path.hops.len(), path.restriction.is_none()), (1, true));
        seen.insert(path.guard.unwrap().id);
    }
    assert_eq!(seen, primary.iter().copied().collect());
    let outdated = Arc::new(primary[..2].iter().copied().collect());
    let path = world.pick(&Need::Directory { outdated }).unwrap();
    assert_eq!(path.guard.unwrap().id, primary[2]);
}

/// A guard whose microdescriptor is not here can be asked for it, but not for more.
#[test]
fn a_guard_without_a_microdescriptor_serves_the_directory_only() {
    let mut relays: Vec<_> = (0..3).map(|_| Sketch::new("Fast Exit", 9).with(EXIT)).collect();
    relays.push(Sketch { has_microdesc: false, ..Sketch::new("Fast Stable Guard V2Dir", 9) });
    let mut world = World::new(net("", "", &relays), 11);
    assert_eq!(world.pick(&exit_to(80)), Err(Error::NoGuard));
    let path = world.pick(&Need::Directory { outdated: Arc::default() }).unwrap();
    assert_eq!((ids(&path), path.hops[0].ntor), (vec![id(3)], None));
}

/// C tor: `UseEntryGuards 0`.
#[test]
fn who_wants_no_guards_begins_anywhere_that_could_be_one() {
    let mut relays: Vec<_> = (0..6).map(|_| Sketch::new("Fast Stable Guard V2Dir", 9)).collect();
    relays.extend((0..2).map(|_| Sketch::new("Fast Stable", 9)));
    relays.extend((0..2).map(|_| Sketch::new("Fast Exit", 9).with(EXIT)));
    let dir = net("", "", &relays);
    let view = View { uses_guards: false, ..view(&dir, Rules::default(), now()) };
    let (mut guards, mut entropy) = (Guards::new(), Seeded(5));
    assert_eq!(view.check(&guards), Ok(()));
    let mut first = |need: &Need| -> BTreeSet<RsaId> {
        let mut pick = || view.pick(need, &mut guards, &mut entropy).unwrap();
        (0..200).map(|_| pick()).inspect(|path| assert!(path.guard.is_none())).map(|path| ids(&path)[0]).collect()
    };
    let possible: BTreeSet<_> = (0..6).map(id).collect();
    assert_eq!(first(&exit_to(80)), possible);
    assert_eq!(first(&Need::Directory { outdated: Arc::new([id(2)].into()) }), &possible - &[id(2)].into());
    assert!(guards.records().next().is_none());
}

/// C tor: `ExtendAllowPrivateAddresses`.
#[test]
fn relays_on_private_addresses_are_used_by_who_allows_it() {
    let guard = |at: u8| Sketch::new("Fast Stable Guard V2Dir Exit", 9).with(EXIT).at([at, at, 0, 1]);
    let dir = net("", "", &[guard(10), guard(127), guard(50), guard(51), guard(52)]);
    for refuses_private in [false, true] {
        let rules = Rules { refuses_private, ..Rules::default() };
        let fit = |relay: &Relay<'_>| Place::ALL.iter().all(|place| rules.is_fit(relay, *place, Quality::default()));
        let fits: Vec<bool> = dir.relays().map(|relay| fit(&relay) && rules.is_guard_allowed(&relay)).collect();
        assert_eq!(fits.iter().filter(|fits| **fits).count(), if refuses_private { 3 } else { 5 });
    }
}

#[test]
fn a_given_path_is_taken_as_it_is() {
    let mut world = World::new(net("", "", &vec![Sketch::new("", 1).at([10, 0, 0, 1]); 9]), 12);
    let mut given = |numbers: &[usize]| world.pick(&Need::Given(numbers.iter().map(|&number| id(number)).collect()));
    let path = given(&[3, 1, 2, 1]).unwrap();
    assert_eq!((ids(&path), path.guard), ([3, 1, 2, 1].map(id).to_vec(), None));
    for bad in [&[][..], &[1, 1], &[0, 1, 2, 3, 4, 5, 6, 7, 8]] {
        assert_eq!(given(bad), Err(Error::PathMalformed), "{bad:?}");
    }
    assert_eq!(given(&[1, 99]), Err(Error::UnknownRelay));
}

#[test]
fn a_view_says_whether_there_is_enough_to_build_with() {
    let mut world = World::new(big_fake_network(), 13);
    let check = |world: &mut World| world.with(|view, guards, _| view.check(guards));
    assert_eq!(check(&mut world), Ok(()));
    world.now.wall = world.now.wall + Duration::from_secs(40 * 3600);
    assert_eq!(check(&mut world), Err(Error::DirectoryOld));
    // Half of the microdescriptors make an eighth of the paths.
    let half = |number: usize| Sketch {
        has_microdesc: number.is_multiple_of(2),
        ..Sketch::new("Fast Stable V2Dir Exit Guard", 30).with(EXIT)
    };
    let mut world = World::new(net("", "", &(0..100).map(half).collect::<Vec<_>>()), 14);
    assert_eq!(check(&mut world), Err(Error::NotEnoughDirectory));
    // All but those of the guards.
    let sketch = |number: usize| match number {
        0..3 => Sketch { has_microdesc: false, ..Sketch::new("Fast Stable V2Dir Guard", 1) },
        3 => Sketch::new("Fast Guard", 1000),
        _ => Sketch::new("Fast Exit", 1000).with(EXIT),
    };
    let mut world = World::new(net("", "", &(0..9).map(sketch).collect::<Vec<_>>()), 15);
    assert!(world.dir.share().is_enough(world.dir.consensus().params(), None));
    assert_eq!(check(&mut world), Err(Error::NotEnoughDirectory));
}

#[test]
fn guards_are_those_that_may_be_and_weigh_as_guards() {
    let relays = [
        Sketch::new("Fast Stable Guard V2Dir", 10),
        Sketch::new("Fast Stable Guard V2Dir Exit", 10).with(EXIT),
        Sketch::new("Fast Stable V2Dir", 10),
        Sketch { has_microdesc: false, ..Sketch::new("Fast Stable Guard V2Dir", 10) },
    ];
    let weights = "Wbd=0 Wbe=0 Wbg=0 Wbm=0 Wdb=10000 Web=10000 Wed=0 Wee=0 Weg=0 Wem=0 Wgb=10000 Wgd=5000 \
        Wgg=10000 Wgm=10000 Wmb=10000 Wmd=0 Wme=0 Wmg=0 Wmm=0";
    let dir = net("", weights, &relays);
    let dropped = [id(1)].into();
    let view = View { dropped: &dropped, ..view(&dir, Rules::default(), now()) };
    assert_eq!(view.eligible(), [(id(0), 100_000), (id(1), 50_000), (id(3), 100_000)]);
    assert_eq!([0, 1, 2, 3, 4].map(|number| view.is_listed(&id(number))), [true, true, false, true, false]);
    assert_eq!([0, 1, 2, 3, 4].map(|number| view.is_allowed(&id(number))), [true, false, true, true, false]);
    assert_eq!([0, 3, 4].map(|number| view.has_descriptor(&id(number))), [true, false, false]);
    assert_eq!([0, 4].map(|number| view.nickname(&id(number))), ["n0", ""]);
    let late = Now { wall: now().wall + Duration::from_secs(26 * 3600), ..now() };
    assert!(view.is_recent() && !View { now: late, ..view }.is_recent());
}

/// A guard that went from the directory after the guards were told of it.
#[test]
fn guards_that_were_not_updated_are_noticed() {
    let mut world = World::new(big_fake_network(), 16);
    world.dir = net("", "", &vec![Sketch::new("Fast Exit", 1).with(EXIT); 2]);
    let result = world.pick(&Need::Directory { outdated: Arc::default() });
    assert_eq!(result, Err(Error::GuardsOutdated));
    assert_eq!(Error::GuardsOutdated.blame(), Blame::Bug);
}

/// Arti's network of tor-netdir, `testnet`: forty relays in pairs and in five subnets, of which
/// every ten are plain, exits, guards, and both.
fn artis_network(has_exits: bool) -> NetDir {
    let sketch = |number: usize| {
        let flags = ["", "Exit", "Guard", "Exit Guard"][number / 10];
        let is_exit = has_exits && !(number / 10).is_multiple_of(2);
        let policy = match number % 2 {
            _ if !is_exit => "p reject 1-65535\n",
            1 => "p accept 80,443\n",
            _ => "p accept 1-65535\n",
        };
        let bandwidth = 1000 * u32::try_from(number % 10 + 1).unwrap();
        let sketch = Sketch::new(&format!("Fast Stable V2Dir {flags}"), bandwidth);
        sketch.with(policy).with(&family(&[number ^ 1])).at([u8::try_from(number % 5).unwrap(), 0, 0, 3])
    };
    net("bwweightscale=1", "", &(0..40).map(sketch).collect::<Vec<_>>())
}

/// Arti, tor-circmgr, `path/exitpath`: `by_ports`, `any_exit`, `no_exits`.
#[test]
fn the_paths_of_artis_network_are_as_arti_wants_them() {
    let mut world = World::new(artis_network(true), 18);
    let to = |ports: &[u16]| Need::Exit {
        targets: ports.iter().map(|&port| Target { port, family: Family::Ipv4 }).collect(),
        is_stable: false,
        speaks: Vec::new(),
        avoided: Arc::default(),
    };
    let chosen = Hop::of(&world.dir.by_rsa_id(&id(0x20)).unwrap());
    let to_chosen = Need::To { last: Box::new(chosen), is_foreign: false, is_stable: false, avoided: Arc::default() };
    for need in [to(&[443, 1119]), to(&[]), to_chosen] {
        let mut exits = BTreeSet::new();
        for _ in 0..200 {
            let path = world.pick(&need).unwrap();
            assert_lawful(&world.dir, &path, &need);
            assert_eq!(path.hops.len(), 3);
            exits.insert(ids(&path)[2]);
        }
        let expected: BTreeSet<_> = match &need {
            Need::To { .. } => [id(0x20)].into(),
            Need::Exit { targets, .. } if !targets.is_empty() => {
                (0..20).map(|n| id(n % 10 / 2 * 2 + 10 + n / 10 * 20)).collect()
            }
            _ => (10..20).chain(30..40).map(id).collect(),
        };
        assert!(exits.is_subset(&expected) && exits.len() * 4 >= expected.len() * 3, "{need:?} {}", exits.len());
    }
    let mut world = World::new(artis_network(false), 19);
    assert_eq!(world.pick(&to(&[80])), Err(Error::NoExit));
    assert_eq!(world.pick(&to(&[])), Err(Error::NoExit));
    assert_eq!(world.pick(&Need::Inner { is_stable: false, speaks: Vec::new() }).map(|path| path.hops.len()), Ok(3));
}

/// One relay of a random network.
fn any_sketch() -> impl Strategy<Value = (Sketch, Vec<usize>)> {
    let flags = proptest::sample::subsequence(
        vec!["Fast", "Fast", "Stable", "Stable", "Guard", "Guard", "V2Dir", "V2Dir", "Exit", "BadExit", "MiddleOnly"],
        0..=11,
    );
    let flags = prop_oneof![flags, Just(vec!["Fast", "Stable", "Guard", "V2Dir"]), Just(vec!["Fast", "Exit"])];
    let lines = proptest::sample::select(vec!["", "", EXIT, "p6 accept 443\n", "p reject 25,443\n", "p accept 22\n"]);
    let family_ids = proptest::sample::select(vec!["", "", "", "family-ids a\n", "family-ids a b\n", "family-ids c\n"]);
    let subnet = (0..30_u8, 0..3_u8);
    let members = proptest::collection::vec(0..60_usize, 0..4);
    let here = (proptest::bool::weighted(0.95), proptest::bool::weighted(0.95));
    let sketch = (flags, 0..50_u32, lines, family_ids, subnet, here, proptest::option::of(0..20_u16));
    let sketch = sketch.prop_map(|(flags, bandwidth, lines, ids, (subnet, host), (has_ntor, has_microdesc), ipv6)| {
        let mut flags = flags;
        flags.dedup();
        let mut sketch = Sketch::new(&flags.join(" "), bandwidth).with(lines).with(ids).at([10, subnet, host, 7]);
        if let Some(prefix) = ipv6 {
            sketch = sketch.and_at(&format!("[2001:{prefix:x}::{host}]:443"));
        }
        Sketch { has_ntor, has_microdesc, ..sketch }
    });
    (sketch, members)
}

/// Asserts what holds for every path, in other words than the code's.
fn assert_lawful(dir: &NetDir, path: &Path, need: &Need) {
    let relays: Vec<_> = path.hops.iter().map(|hop| dir.relay(hop.index.unwrap()).unwrap()).collect();
    for (at, a) in relays.iter().enumerate() {
        let has = |flag| a.flags().has(flag);
        assert!(has(Flag::Running) && has(Flag::Valid) && a.ntor_key().is_some());
        for b in &relays[at + 1..] {
            assert_ne!(a.rsa_id(), b.rsa_id());
            assert!(!dir.are_family(a.index(), b.index()));
            assert_ne!(a.ipv4().ip().octets()[..2], b.ipv4().ip().octets()[..2]);
            if let (Some(a), Some(b)) = (a.ipv6(), b.ipv6()) {
                assert_ne!(a.ip().segments()[..2], b.ip().segments()[..2]);
            }
        }
    }
    let (first, last) = (relays[0], relays[relays.len() - 1]);
    for flag in [Flag::Guard, Flag::Stable, Flag::Fast, Flag::V2Dir] {
        assert!(first.flags().has(flag));
    }
    assert!(!first.flags().has(Flag::MiddleOnly) && !last.flags().has(Flag::MiddleOnly));
    assert_eq!(path.guard.map(|guard| guard.id), Some(first.rsa_id()));
    if let Need::Exit { targets, avoided, is_stable, .. } = need {
        let serves = |relay: &Relay<'_>| {
            !avoided.contains(&relay.rsa_id())
                && may_leave_somewhere(relay)
                && targets.iter().all(|target| may_leave(relay, *target))
                && !relay.flags().has(Flag::BadExit)
                && !relay.flags().has(Flag::MiddleOnly)
        };
        assert!(serves(&last));
        let is_good =
            |relay: &Relay<'_>| relay.flags().has(Flag::Fast) && (!is_stable || relay.flags().has(Flag::Stable));
        let usable = |relay: &Relay<'_>| relay.ntor_key().is_some();
        let is_there_a_good_one = dir.relays().any(|relay| serves(&relay) && is_good(&relay) && usable(&relay));
        assert!(is_good(&last) || !is_there_a_good_one);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_path_breaks_a_rule(
        sketches in proptest::collection::vec(any_sketch(), 5..60),
        seed in any::<u64>(),
        avoided in proptest::collection::btree_set(0..60_usize, 0..6),
        port in proptest::sample::select(vec![22, 25, 80, 443]),
        is_stable in any::<bool>(),
    ) {
        let count = sketches.len();
        let relays: Vec<_> = sketches.into_iter().map(|(sketch, members)| {
            let members: Vec<_> = members.into_iter().filter(|member| *member < count).collect();
            if members.is_empty() { sketch } else { sketch.with(&family(&members)) }
        }).collect();
        let mut world = World::new(net("", "", &relays), seed);
        let avoided: Arc<Avoided> = Arc::new(avoided.into_iter().map(id).collect());
        let family = [Family::Ipv4, Family::Ipv6, Family::Either][usize::from(port % 3)];
        let last = world.dir.relays().find(|relay| relay.ntor_key().is_some()).map(|relay| Hop::of(&relay));
        let mut needs = vec![
            Need::Exit { targets: vec![Target { port, family }], is_stable, speaks: Vec::new(), avoided: Arc::clone(&avoided) },
            Need::Exit { targets: Vec::new(), is_stable, speaks: Vec::new(), avoided: Arc::default() },
            Need::Inner { is_stable, speaks: Vec::new() },
        ];
        let usable = |hop: &Hop| !world.dir.by_rsa_id(&hop.ids.rsa.unwrap()).unwrap().flags().has(Flag::MiddleOnly);
        needs.extend(last.filter(usable).map(|last| Need::To { last: Box::new(last), is_foreign: true, is_stable, avoided: Arc::clone(&avoided) }));
        for need in &needs {
            for _ in 0..5 {
                match world.pick(need) {
                    Ok(path) => {
                        assert_lawful(&world.dir, &path, need);
                        if let Need::To { avoided, .. } = need {
                            let chosen = &path.hops[..path.hops.len() - 1];
                            prop_assert!(chosen.iter().all(|hop| !avoided.contains(&hop.ids.rsa.unwrap())));
                        }
                    }
                    Err(error) => prop_assert!(error.blame() != Blame::Bug),
                }
            }
        }
    }
}

/// A wish that leaves nobody.
struct Nobody;

impl Wishes for Nobody {
    fn allows(&self, _: &Relay<'_>, _: Place) -> bool {
        false
    }
}

#[test]
fn what_the_user_excludes_is_never_used() {
    let dir = big_fake_network();
    let rules = Rules { wishes: &Nobody, ..Rules::default() };
    let mut guards = Guards::new();
    let view = view(&dir, rules, now());
    guards.update(view.scene(), &mut Seeded(1));
    assert_eq!(view.pick(&exit_to(80), &mut guards, &mut Seeded(1)), Err(Error::NoExit));
    assert_eq!(
        view.pick(&Need::Directory { outdated: Arc::default() }, &mut guards, &mut Seeded(1)),
        Err(Error::NoGuard)
    );
}

#[test]
fn a_path_says_nothing_of_where_it_goes() {
    let mut world = World::new(big_fake_network(), 17);
    let path = world.pick(&exit_to(80)).unwrap();
    let said = format!("{path:?} {:?} {:?}", path.hops, exit_to(80));
    assert!(!said.contains(&path.address.ip().to_string()) && !said.contains('$'));
}
