//! A day of a client: consensuses come and go, a guard is lost, the network is cut and comes
//! back, clocks jump, the machine sleeps; and once a minute somebody wants something.

use std::time::Duration;

use cepa::internal::client::{Failure, RequestNo};
use cepa::lab::network::{Network, Place, RelayNo};

use super::client::{Shell, connect, directory_network, honest, wish};
use super::seed;

const MINUTE: Duration = Duration::from_secs(60);
/// C tor: `SocksTimeout`, and some time to notice.
const SOCKS_TIMEOUT: Duration = Duration::from_secs(125);

/// What happens at which minute of a day, and for how long.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The guard in use is gone, for good.
    GuardLost,
    /// Nothing goes in or out.
    Cut(u32),
    /// The wall clock is set by so many seconds.
    Clock(i64),
    /// The machine sleeps, and its connections die.
    Sleep(u32),
}

const EVENTS: [(u32, Event); 9] = [
    (10, Event::Cut(3)),
    (20, Event::Clock(-90)),
    (30, Event::Sleep(20)),
    (55, Event::Clock(90)),
    (70, Event::GuardLost),
    (200, Event::Cut(45)),
    (400, Event::Sleep(180)),
    (700, Event::GuardLost),
    (1000, Event::Clock(1800)),
];

/// Lives so many minutes; gives how many requests were served, and how many could not be.
fn live(minutes: u32, seed: u64) -> (usize, usize) {
    let (mut network, relays, cache) = directory_network(seed, honest);
    let mut shell = Shell::start(&mut network, wish(&cache));
    let mut open: Vec<(u32, bool, RequestNo, Duration)> = Vec::new();
    let (mut served, mut cut) = (0, 0);
    let mut cut_until = 0;
    let mut minute = 0;
    while minute < minutes {
        let at_once = minute;
        for (_, event) in EVENTS.iter().filter(|(at, _)| *at == at_once) {
            match event {
                Event::Cut(length) => {
                    network.part(&[Place::Scripts]);
                    cut_until = minute + length;
                }
                Event::Clock(by) => shell.set_clock(*by),
                Event::GuardLost => lose_guard(&shell, &mut network, &relays),
                Event::Sleep(length) => {
                    shell.sleep(&mut network, MINUTE * *length);
                    minute += length;
                }
            }
        }
        let was_cut = minute < cut_until;
        let no = shell.request(&mut network, connect("source-5000.lab", &format!("{}", minute % 7)));
        open.push((minute, was_cut, no, network.now().tick.since(Default::default())));
        shell.run_until(&mut network, MINUTE, |_| false);
        minute += 1;
        if minute == cut_until {
            network.join();
        }
        let now = network.now().tick.since(Default::default());
        open.retain(|(asked, was_cut, no, at)| {
            let told = &shell.requests[no];
            if let Some(failure) = told.failure {
                assert!(*was_cut || told_while_cut(*asked, minute, cut_until), "{asked}: {failure:?}");
                assert_eq!(failure, Failure::TimedOut, "{asked}");
                cut += 1;
            } else if told.end.is_some() {
                assert_eq!((told.end, told.read.len()), (Some(true), 5000), "{asked}");
                served += 1;
            } else {
                assert!(now - *at < SOCKS_TIMEOUT + MINUTE, "{asked} is neither served nor refused: {told:?}");
                return true;
            }
            false
        });
    }
    assert!(open.len() < 3, "{open:?}");
    (served, cut)
}

/// Asked before the network was cut, and not served in time.
fn told_while_cut(asked: u32, minute: u32, cut_until: u32) -> bool {
    cut_until + 2 >= minute && asked + 3 >= minute
}

fn lose_guard(shell: &Shell, network: &mut Network, relays: &[RelayNo]) {
    let used = shell.client.pool().iter().find(|(_, circuit)| circuit.is_used());
    let guard = used.and_then(|(_, circuit)| circuit.path.hops.first()).and_then(|hop| hop.ids.rsa);
    let is_it = |relay: &&RelayNo| network.facts(**relay).ids.rsa == guard;
    let relay = *relays.iter().find(is_it).expect("somebody has asked within the last minutes");
    network.cut(relay);
}

/// How soon a client must serve again: what it dialled in vain may have to be given up first.
const BACK_WITHIN: Duration = Duration::from_secs(20);

#[test]
fn a_client_is_back_within_seconds_of_the_network() {
    for seed in seed()..seed().saturating_add(3) {
        for minutes in [0, 90] {
            let (mut network, _, cache) = directory_network(seed, honest);
            let mut shell = Shell::start(&mut network, wish(&cache));
            shell.serve(&mut network, connect("source-5000.lab", "a"), MINUTE);
            network.part(&[Place::Scripts]);
            for minute in 0..=minutes {
                let told = shell.serve(&mut network, connect("source-5000.lab", "a"), 3 * MINUTE);
                assert_eq!(told.failure, Some(Failure::TimedOut), "seed {seed}, minute {minute}");
            }
            network.join();
            let back = network.now().tick;
            let told = shell.serve(&mut network, connect("source-5000.lab", "a"), 3 * MINUTE);
            let took = network.now().tick.since(back);
            assert_eq!((told.end, told.read.len()), (Some(true), 5000), "seed {seed}, cut for {minutes} minutes");
            assert!(took < BACK_WITHIN, "seed {seed}: cut for {minutes} minutes, back after {took:?}");
        }
    }
}

#[test]
fn a_client_serves_whoever_asks_for_two_hours_whatever_happens() {
    let (served, cut) = live(120, seed());
    println!("{served} served, {cut} while the network was cut");
    assert!(served >= 94 && cut <= 6, "{served} {cut}");
}

/// The whole day: by night.
#[test]
fn a_client_serves_whoever_asks_for_a_day_whatever_happens() {
    let (served, cut) = live(24 * 60, seed());
    println!("{served} served, {cut} while the network was cut");
    assert!(served >= 1185 && cut <= 55, "{served} {cut}");
}
