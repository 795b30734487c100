//! A new configuration is an input at any time, and holds from then on.

use std::time::Duration;

use cepa::internal::client::Failure;
use cepa::internal::client::events::{Event, LinkStatus, Mask};
use cepa::internal::directory::{Error, store};
use cepa::lab::authority::Spec;
use cepa::lab::network::{BEGINNING, Network};

use super::client::{Shell, connect, directory_network, directory_network_of, honest, resolve, setup_with, wish};
use super::seed;

const MINUTE: Duration = Duration::from_secs(60);

fn is_served(shell: &mut Shell, network: &mut Network, user: &str) -> bool {
    shell.serve(network, connect("source-5000.lab", user), MINUTE).read.len() == 5000
}

#[test]
fn a_user_can_do_without_the_network_and_come_back() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    shell.client.subscribe(Mask::LINKS);
    let open = shell.request(&mut network, connect("echo.lab", "a"));
    assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&open].is_open));
    let waiting = shell.request(&mut network, connect("timeout.lab", "b"));

    shell.configure(&mut network, setup_with(&cache, "DisableNetwork 1"));
    assert_eq!(shell.requests[&open].end, Some(false));
    assert_eq!(shell.requests[&waiting].failure, Some(Failure::NetworkDisabled));
    assert_eq!((shell.client.links().count(), shell.client.circuits().count()), (0, 0));
    let closed = shell.events.iter().filter(|event| matches!(event, Event::Link(_, LinkStatus::Closed(..)))).count();
    assert!(closed > 0);
    let dialled = shell.dialled.len();
    let told = shell.serve(&mut network, connect("source-5000.lab", "a"), MINUTE);
    assert_eq!(told.failure, Some(Failure::NetworkDisabled));
    shell.run_until(&mut network, 300 * MINUTE, |_| false);
    assert_eq!(shell.dialled.len(), dialled);

    shell.configure(&mut network, wish(&cache));
    assert!(is_served(&mut shell, &mut network, "a"));
}

#[test]
fn a_start_without_the_network_dials_nobody() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, setup_with(&cache, "DisableNetwork 1"));
    shell.run_until(&mut network, 60 * MINUTE, |_| false);
    assert!(shell.dialled.is_empty());
    shell.configure(&mut network, wish(&cache));
    assert!(is_served(&mut shell, &mut network, "a"));
}

#[test]
fn circuits_that_are_there_obey_too() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    assert!(is_served(&mut shell, &mut network, "a"));
    let used = |shell: &Shell| shell.client.pool().iter().filter(|(_, circuit)| circuit.is_used()).count();
    shell.run_until(&mut network, MINUTE, |_| false);
    assert_eq!(used(&shell), 1);
    shell.configure(&mut network, setup_with(&cache, "MaxCircuitDirtiness 30 seconds"));
    shell.run_until(&mut network, MINUTE, |_| false);
    assert_eq!(used(&shell), 0);
}

/// Bytes that a client sends in six minutes in which nobody asks for anything.
fn noise(shell: &mut Shell, network: &mut Network) -> usize {
    let before = shell.sent;
    shell.run_until(network, 6 * MINUTE, |_| false);
    shell.sent - before
}

/// A few cells, a PADDING_NEGOTIATE among them; and many.
const QUIET: usize = 6 * 514;
const PADDED: usize = 20 * 514;

#[test]
fn links_that_are_open_are_padded_as_the_user_wants_it_now() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let setup = |more: &str| setup_with(&cache, &format!("LearnCircuitBuildTimeout 0\n{more}"));
    let mut shell = Shell::start(&mut network, setup(""));
    assert!(is_served(&mut shell, &mut network, "a"));
    shell.run_until(&mut network, 10 * MINUTE, |_| false);
    for (more, expected) in
        [("", PADDED..usize::MAX), ("ConnectionPadding 0", 0..QUIET), ("ConnectionPadding 1", PADDED..usize::MAX)]
    {
        shell.configure(&mut network, setup(more));
        let noise = noise(&mut shell, &mut network);
        assert!(expected.contains(&noise), "{more:?}: {noise}");
    }
}

/// Those that were opened to learn what it says among them.
#[test]
fn links_are_padded_as_the_consensus_wants_it() {
    let spec = |params: &[(&str, i32)]| Spec {
        params: params.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        ..Spec::new(seed(), BEGINNING)
    };
    for (params, before, after) in [
        (&[][..], PADDED..usize::MAX, PADDED..usize::MAX),
        (&[("nf_pad_before_usage", 0)], 0..QUIET, PADDED..usize::MAX),
        (&[("nf_ito_low", 0), ("nf_ito_high", 0)], 0..QUIET, 0..QUIET),
    ] {
        let (mut network, _, cache) = directory_network_of(spec(params), honest);
        let mut shell = Shell::start(&mut network, setup_with(&cache, "LearnCircuitBuildTimeout 0"));
        assert!(shell.bootstrap(&mut network));
        shell.run_until(&mut network, 10 * MINUTE, |_| false);
        let unused = noise(&mut shell, &mut network);
        assert!(is_served(&mut shell, &mut network, "a"));
        shell.run_until(&mut network, MINUTE, |_| false);
        let used = noise(&mut shell, &mut network);
        assert!(before.contains(&unused) && after.contains(&used), "{params:?}: {unused} {used}");
    }
}

#[test]
fn circuits_that_are_open_believe_what_the_user_believes_now() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    let found = |shell: &mut Shell, network: &mut Network| shell.serve(network, resolve("private.lab"), MINUTE).found;
    assert!(found(&mut shell, &mut network).is_some());
    shell.configure(&mut network, setup_with(&cache, "ClientDNSRejectInternalAddresses 1"));
    assert!(found(&mut shell, &mut network).is_none());
}

/// Links to directories that are no guards, if it met any, have nothing to do once all is known, or
/// a little before.
#[test]
fn links_are_left_sooner_by_whoever_wants_less_padding() {
    for (options, expected) in [("", 170..275), ("ReducedConnectionPadding 1", 80..140)] {
        let idle = |seed: u64| {
            let (mut network, _, cache) = directory_network(seed, honest);
            let mut shell = Shell::start(&mut network, setup_with(&cache, options));
            assert!(shell.bootstrap(&mut network) && shell.hung_up.is_empty());
            let begun = network.now().tick;
            let is_left = shell.run_until(&mut network, 10 * MINUTE, |shell| !shell.hung_up.is_empty());
            is_left.then(|| network.now().tick.since(begun).as_secs())
        };
        let took = (seed()..).find_map(idle).unwrap();
        assert!(expected.contains(&took), "{took}");
    }
}

/// Who trusts others asks others, and forgets what it was told before.
#[test]
fn another_network_is_another_one() {
    let (mut network, relays, cache) = directory_network(seed(), honest);
    let (_, _, other) = directory_network_of(Spec { first_key: 3, ..Spec::new(seed() + 1, BEGINNING) }, honest);
    let mut shell = Shell::start(&mut network, setup_with(&other, ""));
    shell.run_until(&mut network, MINUTE, |_| false);
    assert!(shell.client.dir().is_none());
    shell.configure(&mut network, wish(&cache));
    assert!(is_served(&mut shell, &mut network, "a"));
    shell.configure(&mut network, setup_with(&other, ""));
    assert!(shell.client.dir().is_none() && !relays.is_empty());
    assert!(!is_served(&mut shell, &mut network, "a"));
}

/// C tor: `UseEntryGuards 0`.
#[test]
fn who_wants_no_guards_confirms_none_and_asks_any_relay() {
    let (mut network, relays, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, setup_with(&cache, "UseEntryGuards 0"));
    for user in 0..40 {
        let told = shell.serve(&mut network, connect("source-400.lab", &format!("{user}")), MINUTE);
        assert_eq!(told.read.len(), 400, "{told:?}");
    }
    let dialled: std::collections::BTreeSet<_> = shell.dialled.iter().collect();
    // Those that could be guards, and are not exits.
    assert_eq!(dialled.len(), 7, "{dialled:?}");
    assert!(relays[..7].iter().all(|relay| dialled.contains(&network.facts(*relay).address)));
    let disk = shell.end(&mut network);
    let state = String::from_utf8(disk.files["state"].clone()).unwrap();
    assert!(!state.contains("confirmed_on"), "{state}");
}

#[test]
fn relays_on_private_addresses_are_no_use_where_they_are_not_allowed() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, setup_with(&cache, "ExtendAllowPrivateAddresses 0"));
    let told = shell.serve(&mut network, connect("source-400.lab", "a"), 3 * MINUTE);
    assert!(told.failure.is_some() && shell.client.pool().iter().next().is_none(), "{told:?}");
}

/// Two who trust others, one after the other at the same files: of one that is still being read
/// for the first, the second takes nothing.
#[test]
fn what_is_being_read_for_one_network_is_not_taken_for_another() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let (_, _, other) = directory_network_of(Spec { first_key: 3, ..Spec::new(seed() + 1, BEGINNING) }, honest);
    let mut first = Shell::start(&mut network, wish(&cache));
    assert!(is_served(&mut first, &mut network, "a"));
    let disk = first.end(&mut network);
    let pieces = disk.files.values().map(|file| file.len() / 1000 + 2).sum();
    for held in 0..pieces {
        let mut shell = Shell::prepare(&network, wish(&cache));
        shell.disk = disk.left();
        shell.disk.pieces_left = Some(held);
        shell.begin(&mut network);
        shell.configure(&mut network, setup_with(&other, ""));
        shell.configure(&mut network, wish(&cache));
        shell.disk.pieces_left = None;
        shell.turn(&mut network);
        assert!(is_served(&mut shell, &mut network, "a"));
        assert_eq!((shell.client.bootstrap().request_count(), shell.bad_files), (0, vec![]), "after {held} pieces");
        assert_eq!(shell.disk.files[store::CONSENSUS], disk.files[store::CONSENSUS]);
    }
}

/// C tor: `consider_adding_dir_servers`. Guards are kept, and are of no use until a consensus lists
/// them again; a consensus keeps its file until there is one of the other network. Differs: C tor
/// uses the old consensus until then.
#[test]
fn what_was_kept_of_one_network_is_there_when_it_comes_back() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let (_, _, other) = directory_network_of(Spec { first_key: 3, ..Spec::new(seed() + 1, BEGINNING) }, honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    assert!(is_served(&mut shell, &mut network, "a"));
    shell.run_until(&mut network, MINUTE, |_| false);
    let guards = |shell: &Shell| shell.client.pool().guards.records().map(|record| record.id).collect::<Vec<_>>();
    let (before, files) = (guards(&shell), shell.disk.files.clone());
    shell.configure(&mut network, setup_with(&other, ""));
    assert!(!is_served(&mut shell, &mut network, "a") && shell.client.dir().is_none());
    assert_eq!(shell.bad_files, [(store::CONSENSUS, Error::TooFewSignatures)]);
    shell.configure(&mut network, wish(&cache));
    assert!(is_served(&mut shell, &mut network, "a"));
    assert_eq!((guards(&shell), shell.client.bootstrap().request_count()), (before, 0));
    for name in [store::CONSENSUS, store::MICRODESCS_JOURNAL, store::CERTIFICATES] {
        assert_eq!(shell.disk.files[name], files[name], "{name}");
    }
}
