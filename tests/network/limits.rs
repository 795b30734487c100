//! Guards that defend themselves against floods, as the live consensus has them: two circuits a
//! second, sixty at once. No client of ours is ever taken for one.

use std::time::Duration;

use cepa::internal::client::RequestNo;
use cepa::lab::network::{Place, Weather};

use super::client::{Shell, connect, directory_network, honest, setup_with};
use super::seed;

const MINUTE: Duration = Duration::from_secs(60);
/// How many want something at once, and more than a guard lets through at once.
const CROWD: u64 = 150;
/// They wait for longer than programs usually would.
const PATIENT: &str = "SocksTimeout 1000";

/// Programs that may not meet each other want something at once.
fn crowd(seed: u64, guards: u64) {
    let (mut network, _, cache) = directory_network(seed, honest);
    network.refuse_floods(cache.authorities());
    let setup = setup_with(&cache, &format!("{PATIENT}\nNumEntryGuards {guards}\nMaxClientCircuitsPending 1024"));
    let mut shell = Shell::start(&mut network, setup);
    assert!(shell.bootstrap(&mut network));
    let begun = network.now().tick;
    let wishes = (0..CROWD).map(|user| connect("source-400.lab", &format!("{user}")));
    let all: Vec<RequestNo> = wishes.map(|wish| shell.request(&mut network, wish)).collect();
    let are_served = |shell: &Shell| all.iter().all(|no| shell.requests[no].is_over());
    assert!(shell.run_until(&mut network, 5 * MINUTE, are_served));
    assert!(all.iter().all(|no| shell.requests[no].end == Some(true)));
    // What is let through at once, and then two a second over each guard.
    let left = (CROWD - 60 * guards) / (2 * guards);
    let took = network.now().tick.since(begun);
    assert!(took < Duration::from_secs(left + 20), "{took:?}");
    // And it goes on as it may: what is built ahead waits for its own share.
    shell.run_until(&mut network, 2 * MINUTE, |_| false);
    let refused = network.relays().map(|relay| network.relay(relay).refused_count());
    assert_eq!(refused.sum::<usize>(), 0);
}

#[test]
fn a_crowd_of_isolations_is_served_and_no_guard_is_flooded() {
    crowd(seed(), 1);
}

/// All that was begun while it was dialled goes out when it answers.
#[test]
fn a_crowd_behind_a_slow_dial_is_no_flood() {
    for seed in seed()..seed().saturating_add(3) {
        let (mut network, relays, cache) = directory_network(seed, honest);
        network.refuse_floods(cache.authorities());
        // All but the authorities, who are asked for the directory.
        let slow = Weather { latency: Duration::from_secs(3), ..Weather::default() };
        relays[3..].iter().for_each(|relay| network.set_weather_between(Place::Scripts, *relay, slow));
        let setup = setup_with(&cache, &format!("{PATIENT}\nNumEntryGuards 1\nMaxClientCircuitsPending 1024"));
        let mut shell = Shell::start(&mut network, setup);
        assert!(shell.bootstrap(&mut network));
        let mut all = Vec::new();
        for user in 0..CROWD {
            all.push(shell.request(&mut network, connect("source-400.lab", &format!("{user}"))));
            shell.run_until(&mut network, Duration::from_millis(80), |_| false);
        }
        let are_served = |shell: &Shell| all.iter().all(|no| shell.requests[no].is_over());
        assert!(shell.run_until(&mut network, 10 * MINUTE, are_served));
        assert!(all.iter().all(|no| shell.requests[no].end == Some(true)));
        let refused: usize = network.relays().map(|relay| network.relay(relay).refused_count()).sum();
        assert_eq!(refused, 0, "seed {seed}");
    }
}

/// One of the two is an authority as well, and was asked for the directory before it was a guard.
#[test]
fn what_a_guard_was_asked_before_it_was_one_counts() {
    let is_so = |seed: &u64| {
        let (mut network, _, cache) = directory_network(*seed, honest);
        let mut shell = Shell::start(&mut network, setup_with(&cache, "NumEntryGuards 2"));
        assert!(shell.bootstrap(&mut network));
        shell.run_until(&mut network, MINUTE, |_| false);
        let first = network.facts_of(shell.dialled[0]).map(|facts| facts.rsa);
        shell.client.pool().iter().any(|(_, circuit)| circuit.path.hops[0].ids.rsa == first)
    };
    crowd((seed()..).find(is_so).unwrap(), 2);
}

/// What was asked of a guard while nothing came through may all come through at once.
#[test]
fn an_outage_ends_in_no_flood() {
    for minutes in [3, 45] {
        let (mut network, _, cache) = directory_network(seed(), honest);
        network.refuse_floods(cache.authorities());
        let mut shell = Shell::start(&mut network, setup_with(&cache, ""));
        shell.serve(&mut network, connect("source-400.lab", "a"), MINUTE);
        network.part(&[Place::Scripts]);
        for minute in 0..minutes {
            for user in 0..5 {
                shell.request(&mut network, connect("source-400.lab", &format!("{}", minute * 5 + user)));
            }
            shell.run_until(&mut network, MINUTE, |_| false);
        }
        network.join();
        let told = shell.serve(&mut network, connect("source-400.lab", "a"), MINUTE);
        assert_eq!(told.read.len(), 400, "{told:?}");
        shell.run_until(&mut network, 2 * MINUTE, |_| false);
        let refused: usize = network.relays().map(|relay| network.relay(relay).refused_count()).sum();
        assert_eq!(refused, 0, "after {minutes} minutes");
    }
}
