//! Which relays the user lets stand where: lists of names, fingerprints, addresses and countries.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use cepa::internal::base::RsaId;
use cepa::internal::base::country::Country;
use cepa::internal::client::notices::Notice;
use cepa::internal::client::state::{STATE, State};
use cepa::internal::client::{Failure, Progress, Wish};
use cepa::internal::directory::consensus::Flag;
use cepa::internal::path::guards::sample::{DEFAULT, RESTRICTED};
use cepa::internal::path::rules::Place;
use cepa::lab::authority::Spec;
use cepa::lab::cache::Cache;
use cepa::lab::network::{BEGINNING, Network};

use super::client::{Shell, connect, directory_network, directory_network_of, honest, setup_with};
use super::seed;

const MINUTE: Duration = Duration::from_secs(60);
const USERS: u32 = 25;

/// A relay as a list may name it.
struct Relay {
    id: RsaId,
    name: String,
    address: Ipv4Addr,
    is_guard: bool,
    is_exit: bool,
}

/// A network and its relays, as a client without wishes finds them.
struct World {
    network: Network,
    cache: Arc<Cache>,
    relays: Vec<Relay>,
}

impl World {
    fn new() -> World {
        World::of(directory_network(seed(), honest))
    }

    fn of((mut network, _, cache): (Network, Vec<impl Sized>, Arc<Cache>)) -> World {
        let mut shell = Shell::start(&mut network, setup_with(&cache, ""));
        assert!(shell.run_until(&mut network, 5 * MINUTE, |shell| {
            shell.client.dir().is_some_and(|dir| dir.missing_count() == 0)
        }));
        let dir = shell.client.dir().unwrap();
        let relays = dir.relays().map(|relay| Relay {
            id: relay.rsa_id(),
            name: relay.nickname().to_owned(),
            address: *relay.ipv4().ip(),
            is_guard: relay.flags().has(Flag::Guard),
            is_exit: relay.policy().is_some(),
        });
        World { relays: relays.collect(), cache, network }
    }

    fn guards(&self) -> Vec<&Relay> {
        self.relays.iter().filter(|relay| relay.is_guard && !relay.is_exit).collect()
    }

    fn exits(&self) -> Vec<&Relay> {
        self.relays.iter().filter(|relay| relay.is_exit).collect()
    }

    fn start(&mut self, options: &str) -> Shell {
        Shell::start(&mut self.network, setup_with(&self.cache, options))
    }

    /// The paths of circuits of many users, none of whom shares one.
    fn paths(&mut self, shell: &mut Shell) -> Vec<Vec<RsaId>> {
        let mut paths = Vec::new();
        for user in 0..USERS {
            let told = shell.serve(&mut self.network, connect("source-5000.lab", &format!("{user}")), MINUTE);
            assert_eq!(told.read.len(), 5000, "{user}: {:?}", told.failure);
            let circuits = shell.client.pool().iter().filter(|(_, circuit)| circuit.is_used());
            let hops = circuits.map(|(_, circuit)| circuit.path.hops.iter().map(|hop| hop.ids.rsa.unwrap()).collect());
            paths.extend(hops);
            paths.sort_unstable();
            paths.dedup();
        }
        assert!(paths.len() > 2, "{}", paths.len());
        paths
    }

    fn paths_with(&mut self, options: &str) -> Vec<Vec<RsaId>> {
        let mut shell = self.start(options);
        assert!(shell.bootstrap(&mut self.network), "{options}");
        self.paths(&mut shell)
    }
}

fn at(paths: &[Vec<RsaId>], place: usize) -> BTreeSet<RsaId> {
    paths.iter().filter_map(|path| path.get(place).copied()).collect()
}

fn ids(relays: &[&Relay]) -> BTreeSet<RsaId> {
    relays.iter().map(|relay| relay.id).collect()
}

#[test]
fn circuits_begin_and_end_where_the_user_wants() {
    let mut world = World::new();
    let free = world.paths_with("");
    assert!(at(&free, 1).len() > 3 && at(&free, 2).len() > 1);
    let (guards, exits) = (world.guards(), world.exits());
    let options = format!(
        "EntryNodes {}\nMiddleNodes {}, {}\nMiddleNodes ${}\nExitNodes {}\n",
        guards[1].id,
        guards[2].name.to_uppercase(),
        guards[3].address,
        guards[4].id.to_string().trim_start_matches('$').to_lowercase(),
        exits[0].name,
    );
    let expected = [ids(&guards[1..2]), ids(&guards[2..5]), ids(&exits[..1])];
    let paths = world.paths_with(&options);
    for (place, expected) in expected.iter().enumerate() {
        assert_eq!(at(&paths, place), *expected, "{place}");
    }
}

#[test]
fn nobody_who_is_excluded_is_in_a_circuit() {
    let mut world = World::new();
    let (guards, exits) = (world.guards(), world.exits());
    let excluded = [guards[0], guards[1], exits[0]];
    let excluded_exits = [exits[1], exits[2]];
    let options = format!(
        "ExcludeNodes {},{}:1-65535,{}\nExcludeExitNodes {}\nExcludeExitNodes {}/32\n",
        guards[0].name, guards[1].address, exits[0].id, exits[1].id, exits[2].address,
    );
    let (excluded, no_exits, left) = (ids(&excluded), ids(&excluded_exits), ids(&exits[3..]));
    let paths = world.paths_with(&options);
    assert!(paths.iter().flatten().all(|relay| !excluded.contains(relay)));
    assert_eq!(at(&paths, 2), left);
    // Who may not be the last may stand elsewhere.
    assert!(paths.iter().any(|path| path[..2].iter().any(|relay| no_exits.contains(relay))));
}

#[test]
fn relays_that_the_user_calls_a_family_share_no_circuit() {
    let mut world = World::new();
    let (guards, exits) = (world.guards(), world.exits());
    let entry = format!("EntryNodes {}\nExitNodes {}\n", guards[0].id, exits[0].id);
    let family = format!(
        "{entry}NodeFamily {},{},{}\nNodeFamily {},{}\n",
        exits[0].id, guards[1].name, guards[2].address, guards[0].id, guards[3].id
    );
    let (kin, alone) = (ids(&guards[1..4]), ids(&guards[4..]));
    let free = world.paths_with(&entry);
    assert!(kin.iter().any(|relay| at(&free, 1).contains(relay)));
    let middles = at(&world.paths_with(&family), 1);
    assert!(middles.is_disjoint(&kin) && !middles.is_disjoint(&alone));
}

/// Relays are in the countries of the digits that their addresses end in.
fn place(shell: &mut Shell, world: &mut World, country: impl Fn(&Ipv4Addr) -> &'static str) {
    let asked = core::mem::take(&mut shell.asked_where);
    assert!(!asked.is_empty() && asked.is_sorted());
    let found: Vec<_> =
        asked.into_iter().map(|address| (address, Country::parse(country(&address)).unwrap())).collect();
    shell.client.handle_countries(&found, world.network.now(), &mut shell.entropy);
    shell.turn(&mut world.network);
}

#[test]
fn relays_are_excluded_by_country() {
    let mut world = World::new();
    let (guards, exits) = (world.guards(), world.exits());
    let places =
        [(guards[0].address, "de"), (guards[1].address, "??"), (exits[0].address, "a1"), (exits[1].address, "fr")];
    let country = move |address: &Ipv4Addr| places.iter().find(|(place, _)| place == address).map_or("se", |it| it.1);
    let found = [guards[0].id, guards[1].id, exits[0].id, exits[1].id];
    for (options, is_excluded, ends_in) in [
        ("ExcludeNodes {DE}\n", [true, true, true, false], None),
        ("ExcludeNodes {de}\nGeoIPExcludeUnknown 0\n", [true, false, false, false], None),
        ("GeoIPExcludeUnknown 1\n", [false, true, true, false], None),
        ("ExitNodes {fr}\n", [false; 4], Some(exits[1].id)),
    ] {
        let mut shell = Shell::start(&mut world.network, setup_with(&world.cache, options));
        // Before it is known where they are nobody is used.
        assert!(
            !shell
                .run_until(&mut world.network, 2 * MINUTE, |shell| shell.progress.contains(&Progress::EnoughDirectory))
        );
        let asked = core::mem::take(&mut shell.asked_where);
        assert_eq!(asked.len(), world.relays.len());
        let told: Vec<_> = asked.iter().map(|place| (*place, Country::parse(country(place)).unwrap())).collect();
        shell.client.handle_countries(&told, world.network.now(), &mut shell.entropy);
        assert!(shell.bootstrap(&mut world.network), "{options}");
        let mut paths = Vec::new();
        for user in 0..USERS {
            shell.serve(&mut world.network, connect("source-5000.lab", &format!("{user}")), MINUTE);
            let circuits = shell.client.pool().iter().filter(|(_, circuit)| circuit.is_used());
            let hops = circuits.map(|(_, it)| it.path.hops.iter().map(|hop| hop.ids.rsa.unwrap()).collect::<Vec<_>>());
            paths.extend(hops);
        }
        let used: BTreeSet<RsaId> = paths.iter().flatten().copied().collect();
        for (relay, is_excluded) in found.iter().zip(is_excluded) {
            assert!(!(is_excluded && used.contains(relay)), "{options}: {relay}");
        }
        assert!(ends_in.is_none_or(|exit| at(&paths, 2) == BTreeSet::from([exit])), "{options}");
        // Those who are allowed are used by somebody, or nothing would have been shown.
        let allowed = found.iter().zip(is_excluded).filter(|(_, is_excluded)| !is_excluded).map(|(relay, _)| *relay);
        assert!(ends_in.is_some() || allowed.collect::<BTreeSet<_>>().is_subset(&used), "{options}");
    }
}

#[test]
fn a_new_consensus_is_asked_about_anew_and_meanwhile_what_is_known_holds() {
    let mut world = World::new();
    let mut shell = world.start("ExcludeNodes {de}\nLearnCircuitBuildTimeout 0\n");
    assert!(shell.run_until(&mut world.network, MINUTE, |shell| !shell.asked_where.is_empty()));
    let first = world.guards()[0].address;
    place(&mut shell, &mut world, |address| if *address == first { "de" } else { "se" });
    assert!(shell.bootstrap(&mut world.network));
    assert!(shell.asked_where.is_empty());
    assert!(shell.run_until(&mut world.network, 240 * MINUTE, |shell| !shell.asked_where.is_empty()));
    let told = shell.serve(&mut world.network, connect("source-5000.lab", "meanwhile"), MINUTE);
    assert_eq!(told.read.len(), 5000);
    let excluded = world.guards()[0].id;
    let is_in = |shell: &Shell| {
        let all = shell.client.pool().iter();
        all.flat_map(|(_, circuit)| circuit.path.hops.clone()).any(|hop| hop.ids.rsa == Some(excluded))
    };
    assert!(!is_in(&shell));
}

#[test]
fn an_excluded_directory_is_asked_where_there_is_no_other_unless_that_is_strict() {
    let mut world = World::new();
    let authorities: Vec<String> = world.relays.iter().map(|relay| relay.id.to_string()).collect();
    let excluded = format!("ExcludeNodes {}\n", authorities.join(","));
    let mut shell = world.start(&excluded);
    assert!(shell.run_until(&mut world.network, 5 * MINUTE, |shell| shell.client.dir().is_some()));
    let mut shell = world.start(&format!("{excluded}StrictNodes 1\n"));
    assert!(!shell.run_until(&mut world.network, 60 * MINUTE, |shell| shell.client.dir().is_some()));
    assert!(shell.dialled.is_empty());
    assert_eq!(shell.notices, [Notice::NobodyToAsk]);
}

#[test]
fn other_lists_take_effect_on_what_is_there() {
    let mut world = World::new();
    let exits: Vec<RsaId> = world.exits().iter().map(|relay| relay.id).collect();
    let mut shell = world.start(&format!("ExitNodes {}\n", exits[0]));
    assert!(shell.bootstrap(&mut world.network));
    let wish = || connect("source-5000.lab", "the same");
    let exits_used = |shell: &Shell| -> Vec<RsaId> {
        shell.client.pool().iter().filter(|(_, it)| it.is_used()).filter_map(|(_, it)| it.exit()).collect()
    };
    assert_eq!(shell.serve(&mut world.network, wish(), MINUTE).read.len(), 5000);
    assert_eq!(exits_used(&shell), [exits[0]]);
    // The same says nothing new.
    shell.configure(&mut world.network, setup_with(&world.cache, &format!("ExitNodes {}\nSafeSocks 0\n", exits[0])));
    assert_eq!(shell.serve(&mut world.network, wish(), MINUTE).read.len(), 5000);
    assert_eq!(exits_used(&shell), [exits[0]]);
    shell.configure(&mut world.network, setup_with(&world.cache, &format!("ExitNodes {}\n", exits[1])));
    assert_eq!(shell.serve(&mut world.network, wish(), MINUTE).read.len(), 5000);
    assert!(exits_used(&shell).contains(&exits[1]));

    // What is open and goes through somebody who is excluded now is left, whatever its exit.
    let carrying = |shell: &Shell| {
        let mut all = shell.client.pool().iter().filter(|(_, it)| it.streams > 0);
        all.next().map(|(_, it)| it.path.hops.iter().map(|hop| hop.ids.rsa.unwrap()).collect::<Vec<_>>()).unwrap()
    };
    let through = |shell: &mut Shell, world: &mut World| {
        let no = shell.request(&mut world.network, connect("echo.lab", "the same"));
        assert!(shell.run_until(&mut world.network, MINUTE, |shell| shell.requests[&no].is_open));
        let path = carrying(shell);
        shell.cancel(&mut world.network, no);
        path
    };
    let path = through(&mut shell, &mut world);
    assert_eq!(through(&mut shell, &mut world), path);
    let lines = format!("ExitNodes {}\nExcludeNodes {}\n", exits[1], path[1]);
    shell.configure(&mut world.network, setup_with(&world.cache, &lines));
    assert!(!through(&mut shell, &mut world).contains(&path[1]));
}

#[test]
fn whoever_wants_nobody_is_told() {
    for (options, place) in [
        ("ExitNodes nosuchrelay\n", Place::Exit),
        ("EntryNodes nosuchrelay\n", Place::Guard),
        ("MiddleNodes 192.0.2.1\n", Place::Middle),
        ("ExcludeNodes *\n", Place::Guard),
        ("ExcludeExitNodes *\n", Place::Exit),
    ] {
        let mut world = World::new();
        let mut shell = world.start(options);
        let is_told = |shell: &Shell| shell.notices.contains(&Notice::Nobody(place));
        assert!(shell.run_until(&mut world.network, 10 * MINUTE, is_told), "{options}: {:?}", shell.notices);
        // Those who are excluded everywhere are known all the same.
        let is_enough = shell.progress.contains(&Progress::EnoughDirectory);
        assert_eq!(is_enough, options.starts_with("Exclude"), "{options}");
        assert_eq!(shell.notices.iter().filter(|notice| **notice == Notice::Nobody(place)).count(), 1);
    }
}

/// Whoever lets us use few guards has a sample of their own, and comes back to the others.
#[test]
fn few_guards_are_a_sample_of_their_own() {
    let mut spec = Spec::new(seed(), BEGINNING);
    spec.params.push(("guard-meaningful-restriction-percent".to_owned(), 60));
    let mut world = World::of(directory_network_of(spec, honest));
    let kept = |shell: Shell, world: &mut World| {
        let disk = shell.end(&mut world.network);
        let (state, faults) = State::parse(&disk.files[STATE]);
        assert!(faults.is_empty());
        let guards = |selection| state.guards(selection).map(|guard| guard.id).collect::<Vec<_>>();
        ((guards(DEFAULT), guards(RESTRICTED)), disk)
    };
    let mut shell = world.start("");
    assert!(shell.bootstrap(&mut world.network));
    world.paths(&mut shell);
    let ((usual, none), disk) = kept(shell, &mut world);
    assert!(usual.len() > 2 && none.is_empty());

    let few: Vec<RsaId> = world.guards()[..2].iter().map(|relay| relay.id).collect();
    let options = format!("EntryNodes {},{}\n", few[0], few[1]);
    let mut shell = Shell::start_with(&mut world.network, setup_with(&world.cache, &options), disk);
    assert!(shell.bootstrap(&mut world.network));
    let firsts = at(&world.paths(&mut shell), 0);
    assert!(firsts.iter().all(|guard| few.contains(guard)));
    // And back, as it runs.
    shell.configure(&mut world.network, setup_with(&world.cache, ""));
    let told = shell.serve(&mut world.network, connect("source-5000.lab", "after"), MINUTE);
    assert_eq!(told.read.len(), 5000);
    let ((after, restricted), _) = kept(shell, &mut world);
    assert_eq!(after, usual);
    assert!(restricted.len() == 2 && restricted.iter().all(|guard| few.contains(guard)));
}

/// The exits of the circuits that carried something.
fn exits_used(shell: &Shell) -> BTreeSet<RsaId> {
    shell.client.pool().iter().filter(|(_, it)| it.is_used()).filter_map(|(_, it)| it.exit()).collect()
}

/// A stream to a server of the lab by an exit that its user names.
fn by(exit: &str, user: &str) -> Wish {
    Wish { exit: Some(exit.to_owned()), ..connect("source-5000.lab", user) }
}

#[test]
fn whoever_names_an_exit_gets_that_one() {
    let mut world = World::new();
    let exits = world.exits();
    let [first, second] = [exits[0].id, exits[1].id];
    let (name, other) = (exits[0].name.to_uppercase(), exits[2].id);
    let options = format!("ExcludeNodes {first}\nExcludeExitNodes {other}\n");
    let mut shell = world.start(&options);
    assert!(shell.bootstrap(&mut world.network));
    // One that is excluded as well, unless as an exit.
    for (user, (named, id)) in
        [(&*name, first), (&first.to_string(), first), (&second.to_string(), second)].into_iter().enumerate()
    {
        let before = exits_used(&shell);
        let told = shell.serve(&mut world.network, by(named, &user.to_string()), MINUTE);
        assert_eq!(told.read.len(), 5000, "{named}: {:?}", told.failure);
        assert!(exits_used(&shell).difference(&before).all(|exit| *exit == id) && exits_used(&shell).contains(&id));
    }
    // One that lets nothing out is not asked, and learns nothing.
    let guard = world.guards()[0].id;
    let told = shell.serve(&mut world.network, by(&guard.to_string(), "w"), MINUTE);
    assert_eq!(told.failure, Some(Failure::NoExit));
    for unknown in [&other.to_string(), "nosuchrelay", &"AB".repeat(20), ""] {
        let told = shell.serve(&mut world.network, by(unknown, "z"), MINUTE);
        assert_eq!(told.failure, Some(Failure::UnknownExit), "{unknown}");
    }
    shell.configure(&mut world.network, setup_with(&world.cache, &format!("{options}StrictNodes 1\n")));
    let told = shell.serve(&mut world.network, by(&first.to_string(), "y"), MINUTE);
    assert_eq!(told.failure, Some(Failure::UnknownExit));
    // Those who name none share no circuit that ends where they would not.
    shell.configure(&mut world.network, setup_with(&world.cache, &options));
    assert_eq!(shell.serve(&mut world.network, by(&first.to_string(), "x"), MINUTE).read.len(), 5000);
    let before = shell.client.pool().iter().map(|(_, it)| it.streams).sum::<usize>();
    assert_eq!(before, 0);
    for _ in 0..5 {
        let no = shell.request(&mut world.network, connect("echo.lab", "x"));
        assert!(shell.run_until(&mut world.network, MINUTE, |shell| shell.requests[&no].is_open));
        let carrying = shell.client.pool().iter().find(|(_, it)| it.streams > 0).and_then(|(_, it)| it.exit());
        assert_ne!(carrying, Some(first));
        shell.cancel(&mut world.network, no);
    }
}

#[test]
fn hosts_are_asked_by_the_same_exit_again() {
    for (options, at_most) in [
        ("TrackHostExits .lab\n", 1),
        ("TrackHostExits source-5000.lab\nTrackHostExitsExpire 5 minutes\n", 1),
        ("TrackHostExits other.lab\n", 4),
        ("", 4),
    ] {
        let mut world = World::new();
        let mut shell = world.start(options);
        assert!(shell.bootstrap(&mut world.network));
        let mut exits = BTreeSet::new();
        for user in 0..20 {
            let told = shell.serve(&mut world.network, connect("source-5000.lab", &user.to_string()), MINUTE);
            assert_eq!(told.read.len(), 5000);
            exits.extend(exits_used(&shell));
        }
        assert!(if at_most == 1 { exits.len() == 1 } else { exits.len() > 1 }, "{options}: {}", exits.len());
        if at_most == 1 {
            // "New identity" forgets it, and so does time.
            let mut after = BTreeSet::new();
            for user in 0..12 {
                match options.contains("Expire") {
                    true => drop(shell.run_until(&mut world.network, 6 * MINUTE, |_| false)),
                    false => shell.new_identity(&mut world.network),
                }
                let told = shell.serve(&mut world.network, connect("source-5000.lab", &format!("u{user}")), MINUTE);
                assert_eq!(told.read.len(), 5000);
                after.extend(exits_used(&shell));
            }
            assert!(after.len() > 1, "{options}");
        }
    }
}

/// An exit that is gone is not waited for.
#[test]
fn a_host_whose_exit_is_gone_is_asked_by_another() {
    let mut world = World::new();
    let mut shell = world.start("TrackHostExits .\n");
    assert!(shell.bootstrap(&mut world.network));
    let told = shell.serve(&mut world.network, connect("source-5000.lab", "a"), MINUTE);
    assert_eq!(told.read.len(), 5000);
    let [gone] = exits_used(&shell).into_iter().collect::<Vec<_>>()[..] else { panic!("another number than one") };
    let relay = world.network.relays().find(|relay| world.network.facts(*relay).ids.rsa == Some(gone)).unwrap();
    world.network.cut(relay);
    let told = shell.serve(&mut world.network, connect("source-5000.lab", "b"), 2 * MINUTE);
    assert_eq!(told.read.len(), 5000, "{:?}", told.failure);
}
