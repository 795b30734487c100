//! How often directories are asked, and who, when they do not give what was asked for.

use std::time::Duration;

use cepa::internal::client::Progress;
use cepa::internal::client::notices::{Notice, Source};
use cepa::internal::link::handshake::ClockSkew;
use cepa::lab::authority::{Misbehaviour, Spec};
use cepa::lab::network::{BEGINNING, Network, Place, RelayNo, Weather};

use super::client::{Shell, connect, directory_network, directory_network_of, honest, setup_with, wish};
use super::seed;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn requests(shell: &Shell) -> u32 {
    shell.client.bootstrap().request_count()
}

/// Relays as fallbacks, as a torrc names them.
fn fallbacks(network: &Network, relays: &[RelayNo]) -> String {
    let line = |relay: &RelayNo| {
        let facts = network.facts(*relay);
        let id: String = facts.rsa.0.iter().map(|byte| format!("{byte:02X}")).collect();
        format!("FallbackDir {} orport={} id={id}\n", facts.address, facts.address.port())
    };
    relays.iter().map(line).collect()
}

/// No authority is asked before a fallback.
const FALLBACKS_FIRST: &str = "DirAuthorityFallbackRate 0\nClientBootstrapConsensusAuthorityDownloadInitialDelay 6\n";

#[test]
fn a_round_that_is_missed_is_asked_for_now_and_then() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, setup_with(&cache, "DormantTimeoutEnabled 0"));
    assert!(shell.bootstrap(&mut network));
    shell.run_until(&mut network, 60 * SECOND, |_| false);
    cache.end_votes(Some(network.now().wall));
    let before = requests(&shell);
    shell.run_until(&mut network, 5 * HOUR, |_| false);
    let asked = requests(&shell) - before;
    assert!((3..60).contains(&asked), "{asked} requests");
    // It is used for a day longer than it is good.
    assert_eq!(shell.serve(&mut network, connect("source-5000.lab", "a"), 60 * SECOND).read.len(), 5000);
    // Nor is there more haste when it is too old for that.
    shell.run_until(&mut network, 48 * HOUR, |_| false);
    let asked = requests(&shell) - before;
    assert!(asked < 240, "{asked} requests");
    cache.end_votes(None);
    let valid_after = |shell: &Shell| shell.client.dir().unwrap().consensus().lifetime().valid_after;
    let old = valid_after(&shell);
    assert!(shell.run_until(&mut network, 2 * HOUR, |shell| valid_after(shell) > old));
}

/// A microdescriptor that nobody has is not asked for as fast as directories answer.
#[test]
fn what_no_directory_has_is_asked_for_now_and_then() {
    let spec = Spec { misbehaviour: Some(Misbehaviour::WrongDigests), ..Spec::new(seed(), BEGINNING) };
    let (mut network, _, cache) = directory_network_of(spec, honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    shell.run_until(&mut network, HOUR, |_| false);
    assert!(shell.client.dir().unwrap().missing_count() > 0);
    assert!((5..60).contains(&requests(&shell)), "{} requests", requests(&shell));
}

/// Directories that have no room for us are not asked faster for there being many.
#[test]
fn directories_that_are_all_busy_are_asked_ever_more_rarely() {
    let (mut network, relays, cache) = directory_network(seed(), honest);
    cache.set_busy(true);
    let lines = fallbacks(&network, &relays);
    let mut shell = Shell::start(&mut network, setup_with(&cache, &lines));
    shell.run_until(&mut network, 600 * SECOND, |_| false);
    assert!((5..25).contains(&requests(&shell)), "{} requests", requests(&shell));
    cache.set_busy(false);
    let is_done = |shell: &Shell| shell.progress.last() >= Some(&Progress::EnoughDirectory);
    assert!(shell.run_until(&mut network, HOUR, is_done));
}

/// Its connection is up when it dies; nobody waits for it for longer than for an honest one.
#[test]
fn a_directory_that_stalls_is_not_waited_for() {
    for after in [50, 100, 200] {
        let (mut network, relays, cache) = directory_network(seed(), honest);
        let mut shell = Shell::start(&mut network, wish(&cache));
        shell.run_until(&mut network, Duration::from_millis(after), |_| false);
        let first = relays.iter().find(|relay| network.facts(**relay).address == shell.dialled[0]).copied().unwrap();
        network.deaden(Place::Scripts, first);
        let begun = network.now().tick;
        assert!(shell.bootstrap(&mut network));
        let took = network.now().tick.since(begun);
        assert!(took < 7 * SECOND, "after {after} ms: {took:?}");
    }
}

/// It sends something now and then, which is why it looks alive.
#[test]
fn a_directory_that_is_slow_beyond_use_is_left() {
    let spec = Spec { listed: 2000, ..Spec::new(seed(), BEGINNING) };
    let (mut network, relays, cache) = directory_network_of(spec, honest);
    // One at a time, so that none is asked beside it.
    let one = "ClientBootstrapConsensusMaxInProgressTries 1\nTestingDirConnectionMaxStall 300";
    let lines = format!("{FALLBACKS_FIRST}{one}\n{}", fallbacks(&network, &relays[..1]));
    let mut shell = Shell::start(&mut network, setup_with(&cache, &lines));
    let is_asked = |shell: &Shell| shell.progress.last() >= Some(&Progress::RequestingStatus);
    assert!(shell.run_until(&mut network, SECOND, is_asked));
    network.set_weather(relays[0], Weather { bandwidth: Some(300), ..Weather::default() });
    let begun = network.now().tick;
    assert!(shell.run_until(&mut network, HOUR, |shell| shell.client.dir().is_some()));
    let took = network.now().tick.since(begun);
    assert!(took > 60 * SECOND && took < 200 * SECOND, "{took:?}");
}

/// It falls silent in the middle of its answer. How soon another is asked shows how long it was
/// waited for.
#[test]
fn a_directory_may_be_silent_as_long_as_the_user_says() {
    for (stall, least, most) in [(20, 20, 40), (50, 50, 59)] {
        let spec = Spec { listed: 2000, ..Spec::new(seed(), BEGINNING) };
        let (mut network, relays, cache) = directory_network_of(spec, honest);
        let one = format!("ClientBootstrapConsensusMaxInProgressTries 1\nTestingDirConnectionMaxStall {stall}");
        let lines = format!("{FALLBACKS_FIRST}{one}\n{}", fallbacks(&network, &relays[..1]));
        let mut shell = Shell::start(&mut network, setup_with(&cache, &lines));
        let is_loading = |shell: &Shell| shell.progress.last() >= Some(&Progress::LoadingStatus);
        network.set_weather(relays[0], Weather { bandwidth: Some(20_000), ..Weather::default() });
        assert!(shell.run_until(&mut network, 60 * SECOND, is_loading));
        network.deaden(Place::Scripts, relays[0]);
        let (begun, asked) = (network.now().tick, shell.client.bootstrap().request_count());
        let is_left = |shell: &Shell| shell.client.bootstrap().request_count() > asked;
        assert!(shell.run_until(&mut network, HOUR, is_left));
        let took = network.now().tick.since(begun);
        assert!(took >= least * SECOND && took < most * SECOND, "{stall}: {took:?}");
    }
}

/// Authorities are asked on purpose when fallbacks have had their time.
#[test]
fn authorities_are_asked_in_their_time() {
    let (mut network, relays, cache) = directory_network(seed(), honest);
    let authorities: Vec<_> = relays[..3].iter().map(|relay| network.facts(*relay).address).collect();
    let dead = format!("FallbackDir 192.0.2.1:80 orport=443 id={}\n", "A".repeat(40));
    for (delay, earliest) in [("6", 6), ("20", 20)] {
        let option = "ClientBootstrapConsensusAuthorityDownloadInitialDelay";
        let lines = format!("DirAuthorityFallbackRate 0\n{option} {delay}\n{dead}");
        let mut shell = Shell::start(&mut network, setup_with(&cache, &lines));
        let begun = network.now().tick;
        let asks = |shell: &Shell| shell.dialled.iter().any(|to| authorities.contains(to));
        assert!(shell.run_until(&mut network, 60 * SECOND, asks));
        let took = network.now().tick.since(begun);
        assert!(took >= earliest * SECOND && took < (earliest + 8) * SECOND, "{delay}: {took:?}");
        assert!(shell.bootstrap(&mut network));
    }
    // And with a delay for those as well, nobody is asked before.
    let lines = format!("ClientBootstrapConsensusFallbackDownloadInitialDelay 4\n{FALLBACKS_FIRST}{dead}");
    let mut shell = Shell::start(&mut network, setup_with(&cache, &lines));
    shell.run_until(&mut network, 3 * SECOND, |_| false);
    assert!(shell.dialled.is_empty());
    shell.run_until(&mut network, 2 * SECOND, |_| false);
    assert_eq!(shell.dialled.len(), 1);
    let lines = "ClientBootstrapConsensusAuthorityOnlyDownloadInitialDelay 4";
    let mut shell = Shell::start(&mut network, setup_with(&cache, lines));
    shell.run_until(&mut network, 3 * SECOND, |_| false);
    assert!(shell.dialled.is_empty());
    assert!(shell.bootstrap(&mut network));
}

/// What the last run saved does not fit a clock that is days ahead: a fallback can tell.
#[test]
fn a_clock_that_is_ahead_is_named_whatever_the_files_say() {
    let (mut network, relays, cache) = directory_network(seed(), honest);
    let lines = format!("{FALLBACKS_FIRST}{}", fallbacks(&network, &relays[3..]));
    let mut first = Shell::start(&mut network, setup_with(&cache, &lines));
    assert!(first.bootstrap(&mut network));
    let disk = first.end(&mut network);
    let mut shell = Shell::prepare(&network, setup_with(&cache, &lines));
    shell.disk = disk;
    shell.set_clock(72 * 3600);
    shell.begin(&mut network);
    shell.run_until(&mut network, HOUR, |_| false);
    let is_about_it = |notice: &Notice| match notice {
        Notice::Clock(ClockSkew::Ahead(by), Source::Directory) => by.as_secs().abs_diff(72 * 3600) < 60,
        _ => false,
    };
    assert!(shell.notices.iter().any(is_about_it), "{:?}", shell.notices);
    assert!(requests(&shell) < 40, "{} requests", requests(&shell));
}

/// The user says how much of the network must be known.
#[test]
fn circuits_wait_for_as_many_paths_as_the_user_wants() {
    let missing = |lines: &str| {
        let spec = Spec { listed: 3000, ..Spec::new(seed(), BEGINNING) };
        let (mut network, _, cache) = directory_network_of(spec, honest);
        let mut shell = Shell::start(&mut network, setup_with(&cache, lines));
        assert!(shell.bootstrap(&mut network));
        shell.client.dir().unwrap().missing_count()
    };
    let [few, usual, many] =
        ["0.25", "-1", "0.95"].map(|paths| missing(&format!("PathsNeededToBuildCircuits {paths}")));
    assert!(few >= usual && usual > many, "{few} {usual} {many}");
}

/// Guards that may not be asked yet are waited for: nobody else is told that we are here.
#[test]
fn a_directory_request_waits_for_a_guard() {
    let (mut network, relays, cache) = directory_network(seed(), honest);
    network.refuse_floods(cache.authorities());
    // Fallbacks that are no guards, to be told apart.
    let options = "NumDirectoryGuards 1\nNumEntryGuards 1\nMaxClientCircuitsPending 1024";
    let lines = format!("{FALLBACKS_FIRST}{options}\n{}", fallbacks(&network, &relays[7..]));
    let mut shell = Shell::start(&mut network, setup_with(&cache, &lines));
    assert!(shell.bootstrap(&mut network));
    let before = shell.dialled.len();
    // Its budget goes to a crowd, and the next consensus is due.
    for user in 0..200 {
        shell.request(&mut network, connect("source-400.lab", &format!("{user}")));
    }
    shell.set_clock(3 * 3600);
    shell.run_until(&mut network, 20 * SECOND, |_| false);
    let asked = requests(&shell);
    shell.run_until(&mut network, 200 * SECOND, |_| false);
    assert!(requests(&shell) > asked, "the next consensus was not due");
    let fallbacks: Vec<_> = relays[7..].iter().map(|relay| network.facts(*relay).address).collect();
    assert!(shell.dialled[before..].iter().all(|to| !fallbacks.contains(to)), "{:?}", &shell.dialled[before..]);
}
