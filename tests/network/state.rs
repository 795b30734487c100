//! What a client knows but for the directory outlives it: guards, build times, and that it slept.

use std::time::Duration;

use cepa::internal::base::RsaId;
use cepa::internal::client::state::{STATE, State};
use cepa::internal::path::guards::sample::DEFAULT;
use cepa::lab::network::Network;

use super::client::{Shell, connect, directory_network, honest, setup_with, wish};
use super::disk::Disk;
use super::seed;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn state(disk: &Disk) -> State {
    let (state, faults) = State::parse(&disk.files[STATE]);
    assert_eq!(faults, []);
    state
}

fn guards(disk: &Disk) -> Vec<RsaId> {
    state(disk).guards(DEFAULT).map(|guard| guard.id).collect()
}

/// The first relay of the circuit that serves a request.
fn serving_guard(shell: &mut Shell, network: &mut Network) -> RsaId {
    assert_eq!(shell.serve(network, connect("source-5000.lab", "a"), MINUTE).read.len(), 5000);
    let used = shell.client.pool().iter().find(|(_, circuit)| circuit.is_used()).unwrap().1;
    used.path.hops[0].ids.rsa.unwrap()
}

#[test]
fn guards_and_build_times_outlive_a_run() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut first = Shell::start(&mut network, wish(&cache));
    let guard = serving_guard(&mut first, &mut network);
    first.run_until(&mut network, 5 * MINUTE, |_| false);
    let primary = first.client.pool().guards.primary().to_vec();
    let left = first.end(&mut network);
    let (sampled, times) = (guards(&left), state(&left).build_times);
    assert!(sampled.contains(&guard) && times.total > 3, "{times:?}");

    let mut second = Shell::start_with(&mut network, wish(&cache), left);
    assert!(primary.contains(&serving_guard(&mut second, &mut network)));
    assert_eq!(second.client.pool().guards.primary(), primary);
    let left = second.end(&mut network);
    assert_eq!(guards(&left), sampled);
    assert!(state(&left).build_times.total >= times.total);
}

#[test]
fn guards_are_saved_while_the_client_runs_and_again_if_they_could_not_be() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    let writes = |shell: &Shell| shell.disk.commits.iter().filter(|name| **name == STATE).count();
    assert!(shell.bootstrap(&mut network) && writes(&shell) == 0);
    assert!(shell.run_until(&mut network, MINUTE, |shell| writes(shell) == 1));
    assert!(!guards(&shell.disk).is_empty());
    // Nothing happens any more that is worth a write, but the disk says that it was none.
    shell.run_until(&mut network, 2 * HOUR, |_| false);
    let before = writes(&shell);
    shell.client.handle_unwritten(STATE, network.now());
    shell.run_until(&mut network, HOUR - MINUTE, |_| false);
    assert_eq!(writes(&shell), before);
    shell.run_until(&mut network, 2 * MINUTE, |_| false);
    assert_eq!(writes(&shell), before + 1);
}

/// Half of them are of another program, or of other guards.
#[test]
fn lines_that_nobody_here_knows_stay() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let foreign =
        "AccountingBytesReadInInterval 12\nGuard in=bridges rsa_id=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
    let mut disk = Disk::default();
    disk.files.insert(STATE, foreign.as_bytes().to_vec());
    let mut shell = Shell::start_with(&mut network, wish(&cache), disk);
    assert!(shell.bootstrap(&mut network));
    let left = shell.end(&mut network);
    let text = String::from_utf8(left.files[STATE].clone()).unwrap();
    assert!(text.contains("AccountingBytesReadInInterval 12\n") && text.contains("in=bridges rsa_id=AAAA"), "{text}");
    assert!(!guards(&left).is_empty());
}

/// After C tor's `netstatus_load_from_state`.
#[test]
fn whoever_slept_sleeps_on_until_somebody_asks() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let sleepy = |more: &str| setup_with(&cache, &format!("DormantClientTimeout 20 minutes\n{more}"));
    let dials_within_hours = |setup, disk, network: &mut Network| {
        let mut shell = Shell::start_with(network, setup, disk);
        shell.run_until(network, 5 * HOUR, |_| false);
        (shell.dialled.len(), shell)
    };
    let (dialled, first) = dials_within_hours(sleepy(""), Disk::default(), &mut network);
    assert!(dialled > 0);
    let left = first.end(&mut network);
    assert_eq!(state(&left).is_dormant, Some(true));
    assert!((290..=300).contains(&state(&left).idle_minutes), "{}", state(&left).idle_minutes);

    let (dialled, mut second) = dials_within_hours(sleepy(""), left.clone(), &mut network);
    assert_eq!(dialled, 0);
    serving_guard(&mut second, &mut network);
    assert_eq!(state(&second.end(&mut network)).is_dormant, Some(false));
    let (dialled, _) = dials_within_hours(sleepy("DormantCanceledByStartup 1"), left, &mut network);
    assert!(dialled > 0);
    let (dialled, mut fresh) = dials_within_hours(sleepy("DormantOnFirstStartup 1"), Disk::default(), &mut network);
    assert_eq!(dialled, 0);
    serving_guard(&mut fresh, &mut network);
}

/// C tor: `check_network_participation_callback`, `connection_edge_process_inbuf`.
#[test]
fn whoever_has_a_stream_does_not_sleep_nor_as_soon_as_it_is_over() {
    for (more, writes, sleeps) in [
        ("", false, false),
        ("DormantTimeoutDisabledByIdleStreams 0", false, true),
        ("DormantTimeoutDisabledByIdleStreams 0", true, false),
    ] {
        let (mut network, _, cache) = directory_network(seed(), honest);
        let setup = setup_with(&cache, &format!("DormantClientTimeout 20 minutes\n{more}"));
        let mut shell = Shell::start(&mut network, setup);
        let echo = shell.request(&mut network, connect("echo.lab", "a"));
        assert!(shell.run_until(&mut network, MINUTE, |shell| shell.requests[&echo].is_open));
        for _ in 0..6 {
            shell.run_until(&mut network, 10 * MINUTE, |_| false);
            assert!(!writes || shell.write(&mut network, echo, b"still here") == 10);
        }
        shell.cancel(&mut network, echo);
        shell.run_until(&mut network, 15 * MINUTE, |_| false);
        assert_eq!(state(&shell.end(&mut network)).is_dormant, Some(sleeps), "{more:?} {writes}");
    }
}
