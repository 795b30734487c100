//! Tunnels over the lab's relays: building, every kind of stream, readers that are slow,
//! relays that go away.

use std::time::{Duration, Instant};

use cepa::internal::circuit::hop::{HopNo, Leg, StreamAt};
use cepa::internal::circuit::{Answer, Ended, Error, Output};
use cepa::internal::stream::map::TURN;
use cepa::internal::stream::verdict::{Retry, Verdict};
use cepa::internal::stream::xon;
use cepa::internal::wire::cell_msg::DestroyReason;
use cepa::internal::wire::relay_msg::{BeginFlags, EndReason};
use cepa::lab::authority::Spec;
use cepa::lab::cache::CONSENSUS;
use cepa::lab::network::{BEGINNING, Network, RelayNo, Role, Weather};
use cepa::lab::origin::pattern;

use super::driver::{Ask, Driver};
use super::{seed, three_relays};

const MIB: usize = 1 << 20;
const EXIT: HopNo = HopNo(2);

fn asks(relays: [RelayNo; 3], asks: [Ask; 3]) -> Vec<(RelayNo, Ask)> {
    relays.into_iter().zip(asks).collect()
}

/// A tunnel of three hops, built.
fn tunnel(network: &mut Network, relays: [RelayNo; 3], seed: u64) -> Driver {
    let mut driver = Driver::dial(network, &asks(relays, [Ask::Ntor, Ask::NtorV3, Ask::NtorV3]), seed);
    driver.built(network);
    driver
}

fn begin(driver: &mut Driver, host: &str) -> StreamAt {
    driver.tunnel.begin(EXIT, host, 80, BeginFlags::default(), true, &mut driver.entropy).unwrap()
}

fn open(driver: &mut Driver, network: &mut Network, host: &str) -> StreamAt {
    let at = begin(driver, host);
    let event = driver.event(network);
    assert!(matches!(event, Output::Connected { stream, .. } if stream == at), "{event:?}");
    at
}

/// Waits until the stream ends; gives the reason of the far end, and whether it was open.
fn ended(driver: &mut Driver, network: &mut Network, at: StreamAt) -> (EndReason, bool) {
    match driver.event(network) {
        Output::Ended { stream, why: Ended::ByFarEnd { end, was_open }, .. } if stream == at => (end.reason, was_open),
        other => panic!("not ended: {other:?}"),
    }
}

#[test]
fn every_handshake_builds_every_hop() {
    for kinds in [[Ask::Fast, Ask::Ntor, Ask::NtorV3], [Ask::Ntor; 3], [Ask::NtorV3; 3]] {
        let (mut network, relays) = three_relays(seed());
        let mut driver = Driver::dial(&mut network, &asks(relays, kinds), 1);
        let took = driver.built(&mut network);
        // Ten milliseconds to the first, twenty more to each further one, and back; the two
        // relays greet each other first.
        assert_eq!(took.len(), 3);
        assert!(took[0] == Duration::from_millis(20) && took[0] < took[1] && took[1] < took[2], "{took:?}");
        open(&mut driver, &mut network, "echo.lab");
        assert_eq!(driver.tunnel.next_deadline(), None);
    }
}

/// One MiB over three hops; gives what the run was, and the real time it took.
fn fetch(seed: u64) -> ([u8; 32], Duration, Duration) {
    let (mut network, relays) = three_relays(seed);
    for (relay, latency) in relays.into_iter().zip([5, 20, 10]) {
        let latency = Duration::from_millis(latency);
        network.set_weather(relay, Weather { latency, jitter: latency / 4, bandwidth: Some(4_000_000) });
    }
    let mut driver = tunnel(&mut network, relays, seed);
    let (start, begun) = (network.now().tick, Instant::now());
    let at = open(&mut driver, &mut network, &format!("source-{MIB}.lab"));
    assert_eq!(ended(&mut driver, &mut network, at), (EndReason::DONE, true));
    let expected: Vec<u8> = (0..u64::try_from(MIB).unwrap()).map(pattern).collect();
    assert!(driver.read[&at] == expected);
    (network.digest(), network.now().tick.since(start), begun.elapsed())
}

#[test]
fn a_tunnel_fetches_a_mebibyte_and_replays() {
    let seed = seed();
    let first = fetch(seed);
    println!("{:?} of virtual time took {:?}", first.1, first.2);
    // A stream's window and a round trip of 0.15 s allow 1.7 MB/s.
    assert!(first.1 < Duration::from_secs(2), "{:?}", first.1);
    assert_eq!((first.0, first.1), {
        let again = fetch(seed);
        (again.0, again.1)
    });
}

/// Writes all of `bytes` as room comes, and waits until as many are back.
fn exchange(driver: &mut Driver, network: &mut Network, at: StreamAt, bytes: &[u8]) {
    let mut given = 0;
    driver.wait(network, |driver| {
        given += driver.tunnel.handle_write(at, &bytes[given..]);
        driver.read.get(&at).is_some_and(|read| read.len() == bytes.len())
    });
    assert!(driver.read[&at] == bytes);
}

#[test]
fn an_echo_gives_back_what_went_in() {
    let (mut network, relays) = three_relays(seed());
    let mut driver = tunnel(&mut network, relays, 1);
    let at = open(&mut driver, &mut network, "echo.lab");
    let bytes: Vec<u8> = (0..800_000).map(pattern).collect();
    exchange(&mut driver, &mut network, at, &bytes);
    // A writer is called whenever it was held back, and told nothing else.
    assert!(driver.events.iter().all(|event| matches!(event, Output::Writable { stream } if *stream == at)));
    assert!(!driver.events.is_empty());
    assert_eq!(driver.tunnel.failure(), None);
}

#[test]
fn what_was_under_way_when_we_ended_a_stream_hurts_nobody() {
    let (mut network, relays) = three_relays(seed());
    let mut driver = tunnel(&mut network, relays, 1);
    let at = open(&mut driver, &mut network, "source-2000000.lab");
    driver.wait(&mut network, |driver| driver.read.get(&at).is_some_and(|read| read.len() > 100_000));
    driver.tunnel.handle_write(at, b"goodbye");
    driver.tunnel.finish(at);
    let other = begin(&mut driver, "source-300000.lab");
    driver.run_for(&mut network, Duration::from_secs(5));
    assert!(driver.read[&at].len() < 500_000, "nothing is read after the end");
    assert_eq!((driver.read[&other].len(), driver.tunnel.failure()), (300_000, None));
}

#[test]
fn a_server_that_closes_its_half_ends_the_stream() {
    let (mut network, relays) = three_relays(seed());
    let mut driver = tunnel(&mut network, relays, 1);
    for (host, length, reason) in [
        ("half-close.lab", 0, EndReason::DONE),
        ("source-5000.lab", 5000, EndReason::DONE),
        ("slow-writer-5000.lab", 5000, EndReason::DONE),
        ("reset-700.lab", 700, EndReason::CONNRESET),
    ] {
        let at = open(&mut driver, &mut network, host);
        assert_eq!(ended(&mut driver, &mut network, at), (reason, true), "{host}");
        assert_eq!(driver.read.get(&at).map_or(0, Vec::len), length, "{host}");
    }
    assert_eq!(driver.tunnel.stream_count(EXIT), 0);
}

#[test]
fn a_stream_that_does_not_open_gives_its_data_back() {
    let (mut network, relays) = three_relays(seed());
    let mut driver = tunnel(&mut network, relays, 1);
    for (host, reason, retry) in [
        ("refuse.lab", EndReason::CONNECTREFUSED, Retry::No),
        ("nowhere.example", EndReason::RESOLVEFAILED, Retry::Elsewhere),
    ] {
        let at = begin(&mut driver, host);
        driver.tunnel.handle_write(at, b"GET / HTTP/1.0\r\n\r\n");
        let Output::Ended { stream, why, unanswered } = driver.event(&mut network) else { panic!() };
        assert_eq!((stream, unanswered.into_inner().as_slice()), (at, &b"GET / HTTP/1.0\r\n\r\n"[..]));
        assert_eq!(why.verdict(), Some(Verdict::on(reason)));
        assert_eq!(Verdict::on(reason).retry, retry);
    }
    // The middle is no exit.
    let middle = HopNo(1);
    driver.tunnel.begin(middle, "echo.lab", 80, BeginFlags::default(), true, &mut driver.entropy).unwrap();
    let Output::Ended { why, .. } = driver.event(&mut network) else { panic!() };
    assert_eq!(why.verdict().unwrap().retry, Retry::ElsewhereAddressRefused);
}

#[test]
fn names_are_resolved_and_private_answers_refused() {
    let (mut network, relays) = three_relays(seed());
    let mut driver = tunnel(&mut network, relays, 1);
    let mut ask = |name: &str| {
        let at = driver.tunnel.resolve(EXIT, name, &mut driver.entropy).unwrap();
        match driver.event(&mut network) {
            Output::Resolved { stream, answers } if stream == at => answers,
            Output::Ended { stream, why: Ended::Refused(_), .. } if stream == at => Vec::new(),
            other => panic!("{other:?}"),
        }
    };
    let (answer, ttl) = ask("echo.lab").remove(0);
    let Answer::Address(address) = answer else { panic!() };
    assert_eq!((address.uncover().to_string().as_str(), ttl), ("198.51.100.80", 60));
    assert_eq!(ask("private.lab"), []);
    assert_eq!(ask("fails.lab"), [(Answer::PermanentError, 60)]);
    assert_eq!(ask("fails-now.lab"), [(Answer::TransientError, 60)]);
}

#[test]
fn fifty_streams_go_on_side_by_side() {
    const LENGTH: usize = 40_000;
    let (mut network, relays) = three_relays(seed());
    for relay in relays {
        network.set_weather(relay, Weather { bandwidth: Some(1_000_000), ..Weather::default() });
    }
    let mut driver = tunnel(&mut network, relays, 1);
    let streams: Vec<_> = (0..50).map(|_| begin(&mut driver, "echo.lab")).collect();
    let bytes: Vec<u8> = (0..u64::try_from(LENGTH).unwrap()).map(pattern).collect();
    let mut given = vec![0; 50];
    let mut worst = 0;
    driver.wait(&mut network, |driver| {
        for (given, at) in given.iter_mut().zip(&streams) {
            *given += driver.tunnel.handle_write(*at, &bytes[*given..]);
        }
        let read: Vec<_> = streams.iter().map(|at| driver.read.get(at).map_or(0, Vec::len)).collect();
        worst = worst.max(read.iter().max().unwrap() - read.iter().min().unwrap());
        read.iter().all(|read| *read == LENGTH)
    });
    assert!(streams.iter().all(|at| driver.read[at] == bytes));
    println!("no stream was more than {worst} bytes ahead of another");
    // A turn, and the rest of a cell that the one before left.
    assert!(worst <= (usize::from(TURN) + 1) * 498, "{worst}");
}

#[test]
fn a_slow_reader_is_waited_for_and_holds_up_nobody_else() {
    let (mut network, relays) = three_relays(seed());
    let mut driver = tunnel(&mut network, relays, 1);
    driver.pace = Some(20_000);
    let slow = open(&mut driver, &mut network, "source-2000000.lab");
    driver.run_for(&mut network, Duration::from_secs(30));
    // What it has read in this time, and a window ahead of it.
    let window = usize::try_from(xon::WINDOW).unwrap() * 498;
    let read = driver.read[&slow].len() - driver.unread[&slow];
    assert!((500_000..700_000).contains(&read), "{read}");
    assert!(driver.unread[&slow] <= window + xon::MAX_UNREAD, "{}", driver.unread[&slow]);
    assert_eq!(driver.tunnel.unread(slow), driver.unread[&slow]);
    let start = network.now().tick;
    let quick = open(&mut driver, &mut network, "source-100000.lab");
    driver.wait(&mut network, |driver| driver.read.get(&quick).is_some_and(|read| read.len() == 100_000));
    assert!(network.now().tick.since(start) < Duration::from_secs(1));
    // Reading on, it gets everything.
    driver.pace = Some(1_000_000);
    driver.wait(&mut network, |driver| driver.read[&slow].len() == 2_000_000);
    assert_eq!(driver.tunnel.failure(), None);
}

#[test]
fn a_directory_answers_at_the_first_hop() {
    let mut network = Network::new(seed());
    let relays = [0, 1, 2].map(|_| network.add_relay(Role { is_exit: true, ..Role::default() }).unwrap());
    let cache = network.open_directory(Spec::new(1, BEGINNING)).unwrap();
    let mut driver = Driver::dial(&mut network, &[(relays[0], Ask::Fast)], 1);
    driver.built(&mut network);
    let at = driver.tunnel.begin_dir(HopNo(0), &mut driver.entropy).unwrap();
    driver.tunnel.handle_write(at, format!("GET {CONSENSUS} HTTP/1.0\r\n\r\n").as_bytes());
    assert!(matches!(driver.event(&mut network), Output::Connected { address: None, .. }));
    assert_eq!(ended(&mut driver, &mut network, at), (EndReason::DONE, true));
    let honest = cache.authorities().consensus(cache.authorities().round(BEGINNING)).unwrap();
    assert!(driver.read[&at].ends_with(honest.as_bytes()));
}

#[test]
fn closing_a_tunnel_frees_every_relay() {
    let (mut network, relays) = three_relays(seed());
    let mut driver = tunnel(&mut network, relays, 1);
    let at = open(&mut driver, &mut network, "source-2000000.lab");
    driver.tunnel.close(Leg(0));
    let Output::Ended { stream, why: Ended::WithCircuit(Error::Requested), .. } = driver.event(&mut network) else {
        panic!("{:?}", driver.events)
    };
    assert_eq!(stream, at);
    driver.run_for(&mut network, Duration::from_secs(1));
    for relay in relays {
        assert_eq!(network.relay(relay).circuit_count(), 0);
    }
}

#[test]
fn a_relay_that_is_cut_off_ends_the_tunnel_with_a_name() {
    for (cut, error) in [(2, Error::Destroyed(DestroyReason::DESTROYED)), (0, Error::LinkClosed)] {
        let (mut network, relays) = three_relays(seed());
        let mut driver = tunnel(&mut network, relays, 1);
        let at = open(&mut driver, &mut network, "slow-writer-100000.lab");
        network.cut(relays[cut]);
        assert_eq!(driver.closed(&mut network), error);
        let Output::Ended { stream, .. } = driver.event(&mut network) else { panic!() };
        assert_eq!(stream, at);
        assert!(matches!(driver.event(&mut network), Output::Closed { hops: 3, .. }));
    }
}

#[test]
fn a_relay_that_cannot_be_reached_ends_the_building() {
    let (mut network, relays) = three_relays(seed());
    network.cut(relays[1]);
    let mut driver = Driver::dial(&mut network, &asks(relays, [Ask::Ntor; 3]), 1);
    let error = driver.closed(&mut network);
    assert!(matches!(error, Error::Destroyed(_)), "{error:?}");
    assert!(matches!(driver.events.pop_back(), Some(Output::Closed { hops: 1, .. })));
}

#[test]
fn a_tunnel_that_gets_no_answer_is_given_up() {
    let (mut network, relays) = three_relays(seed());
    network.set_weather(relays[1], Weather { latency: Duration::from_secs(600), ..Weather::default() });
    let mut driver = Driver::dial(&mut network, &asks(relays, [Ask::Ntor; 3]), 1);
    driver.run_for(&mut network, Duration::from_secs(31));
    assert_eq!(driver.tunnel.failure(), Some(Error::BuildTooSlow));
}

/// A tunnel knows nothing of the thread it runs on, nor of another tunnel.
#[test]
fn two_tunnels_run_on_two_threads() {
    let seed = seed();
    let alone = fetch(seed).0;
    let threads: Vec<_> = (0..2).map(|_| std::thread::spawn(move || fetch(seed).0)).collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), alone);
    }
    // One that is half way goes over to another thread.
    let (mut network, relays) = three_relays(seed);
    let mut driver = tunnel(&mut network, relays, 1);
    let at = open(&mut driver, &mut network, "source-300000.lab");
    driver.wait(&mut network, |driver| driver.read.get(&at).is_some_and(|read| read.len() > 100_000));
    let ended = std::thread::spawn(move || ended(&mut driver, &mut network, at));
    assert_eq!(ended.join().unwrap(), (EndReason::DONE, true));
}

/// Five circuits have more under way than a link holds at once: it waits its turn, none of it
/// is lost, and what waits of circuits that are gone is in nobody's way.
#[test]
fn honest_relays_lose_no_cells_however_slow_their_links() {
    for closed in [0, 4] {
        let (mut network, relays) = three_relays(seed());
        let mut drivers: Vec<Driver> = (0..5).map(|number| tunnel(&mut network, relays, number)).collect();
        let slow = Weather { bandwidth: Some(50_000), ..Weather::default() };
        network.set_weather_between(relays[0], relays[1], slow);
        for driver in &mut drivers {
            for _ in 0..2 {
                begin(driver, "source-400000.lab");
            }
            driver.run_for(&mut network, Duration::from_millis(200));
        }
        // By now all windows are used up, and far more waits than a second brings.
        let mut gone: Vec<Driver> = drivers.drain(..closed).collect();
        for driver in &mut gone {
            driver.tunnel.close(Leg(0));
            driver.run_for(&mut network, Duration::from_millis(200));
        }
        let end = network.now().tick + Duration::from_secs(600);
        let read = |driver: &Driver| driver.read.values().map(Vec::len).sum::<usize>();
        while drivers.iter().any(|driver| read(driver) < 800_000) {
            for driver in &mut drivers {
                assert!(driver.step(&mut network, end), "{closed} {:?}", drivers.iter().map(read).collect::<Vec<_>>());
            }
            let failed = drivers.iter().find_map(|driver| driver.tunnel.failure());
            assert_eq!(failed, None, "{closed}");
        }
    }
}
