//! Streams: every server's habit, both windows, names and addresses, and replay.

use std::time::{Duration, Instant};

use cepa::internal::wire::relay::Command;
use cepa::internal::wire::relay_msg::{Answer, End, EndReason, Resolved};
use cepa::lab::network::{Network, RelayNo, Weather};
use cepa::lab::origin::pattern;

use super::near::{Event, Near};
use super::{seed, three_relays};

const MIB: u64 = 1 << 20;

fn circuit<'n>(network: &'n mut Network, [guard, middle, exit]: [RelayNo; 3]) -> Near<'n> {
    let mut near = Near::dial(network, guard);
    near.create_fast();
    near.extend_ntor(middle);
    near.extend_ntor(exit);
    near
}

/// One MiB over three hops; gives what the run was.
fn fetch(seed: u64) -> ([u8; 32], Duration) {
    let (mut network, relays) = three_relays(seed);
    for (relay, latency) in relays.into_iter().zip([5, 20, 10]) {
        let latency = Duration::from_millis(latency);
        let weather = Weather { latency, jitter: latency / 4, bandwidth: Some(4_000_000) };
        network.set_weather(relay, weather);
    }
    let mut near = circuit(&mut network, relays);
    let stream = near.begin(&format!("source-{MIB}.lab"));
    let (bytes, reason) = near.read_to_end(stream);
    assert_eq!(reason, EndReason::DONE);
    assert_eq!(bytes, (0..MIB).map(pattern).collect::<Vec<_>>());
    let now = network.now();
    (network.digest(), now.tick.since(Default::default()))
}

#[test]
fn a_mebibyte_comes_over_three_hops_faster_than_real_time() {
    let begun = Instant::now();
    let (_, took) = fetch(seed());
    let real = begun.elapsed();
    println!("{took:?} of virtual time took {real:?}");
    // Windows of 1,000 cells and a round trip of 0.1 s allow some 5 MB/s; the slowest wire 4.
    assert!(took > Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn the_same_seed_replays_byte_for_byte() {
    let seed = seed();
    assert_eq!(fetch(seed), fetch(seed));
    assert_ne!(fetch(seed).0, fetch(seed.wrapping_add(1)).0);
}

#[test]
fn an_upload_is_acknowledged_and_arrives() {
    let (mut network, relays) = three_relays(seed());
    let mut near = circuit(&mut network, relays);
    let stream = near.begin("echo.lab");
    let (mut circuit_window, mut stream_window) = (1000_u32, 500_u32);
    let (mut sent, mut back, mut heard_back) = (0_u32, Vec::new(), 0_u32);
    let mut tags = std::collections::VecDeque::new();
    while heard_back < 1500 {
        while sent < 1500 && circuit_window > 0 && stream_window > 0 {
            let body = [u8::try_from(sent % 251).unwrap(); 498];
            let exit = cepa::internal::wire::cell::Command::RELAY;
            let tag = near.send_as(exit, 2, Command::DATA, Some(stream), &body);
            sent += 1;
            (circuit_window, stream_window) = (circuit_window - 1, stream_window - 1);
            if sent.is_multiple_of(100) {
                tags.push_back(tag);
            }
        }
        match near.next_event() {
            Event::Message { command: Command::SENDME, stream: None, body, .. } => {
                let expected = tags.pop_front().expect("a SENDME that is due");
                assert_eq!(body[3..], *expected.as_bytes(), "the circuit SENDME proves the hundredth cell");
                circuit_window += 100;
            }
            Event::Message { command: Command::SENDME, stream: Some(_), .. } => stream_window += 50,
            Event::Message { command: Command::DATA, body, .. } => {
                heard_back += 1;
                back.extend(body);
                near.acknowledge(stream, heard_back);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(back.len(), 1500 * 498);
    assert!(back.chunks(498).zip(0_u32..).all(|(chunk, n)| chunk.iter().all(|&byte| u32::from(byte) == n % 251)));
}

/// A client that reads nothing until an echo takes no more must be let on as soon as it reads.
#[test]
fn an_echo_that_was_full_takes_more_once_it_has_given() {
    let (mut network, relays) = three_relays(seed());
    let mut near = circuit(&mut network, relays);
    let stream = near.begin("echo.lab");
    let (mut circuit_window, mut stream_window) = (1000_u32, 500_u32);
    let (mut sent, mut heard_back) = (0_u32, 0_u32);
    let mut reads = false;
    loop {
        while !reads && circuit_window > 0 && stream_window > 0 {
            near.send(Command::DATA, Some(stream), &[5; 498]);
            (sent, circuit_window, stream_window) = (sent + 1, circuit_window - 1, stream_window - 1);
        }
        match near.event_within(Duration::from_secs(30)) {
            Some(Event::Message { command: Command::SENDME, stream: None, .. }) => circuit_window += 100,
            Some(Event::Message { command: Command::SENDME, stream: Some(_), .. }) => stream_window += 50,
            Some(Event::Message { command: Command::DATA, .. }) => {
                heard_back += 1;
                if reads {
                    near.acknowledge(stream, heard_back);
                }
            }
            Some(other) => panic!("{other:?}"),
            None if reads => break,
            None => {
                assert!(stream_window == 0 && heard_back < sent, "the echo is full");
                reads = true;
                (1..=heard_back).for_each(|cells| near.acknowledge(stream, cells));
            }
        }
    }
    assert_eq!(heard_back, sent);
    assert!(stream_window > 450, "{stream_window}: a SENDME is owed");
}

/// Without a SENDME a relay stops when the smaller window, the stream's, is used up.
#[test]
fn windows_hold_a_relay_back() {
    let (mut network, relays) = three_relays(seed());
    let mut near = circuit(&mut network, relays);
    near.begin("source-1000000.lab");
    let mut cells = 0;
    while let Some(event) = near.event_within(Duration::from_secs(30)) {
        assert!(matches!(event, Event::Message { command: Command::DATA, .. }));
        cells += 1;
    }
    assert_eq!(cells, 500);
    // Two more streams share what the circuit's window leaves.
    near.begin_unheard("source-1000000.lab", 80);
    near.begin_unheard("source-1000000.lab", 80);
    let mut data = 0;
    while let Some(event) = near.event_within(Duration::from_secs(30)) {
        data += u32::from(matches!(event, Event::Message { command: Command::DATA, .. }));
    }
    assert_eq!(data, 500);
}

#[test]
fn each_habit_shows() {
    let seed = seed();
    for (host, length, reason) in [
        ("source-5000.lab", 5000, EndReason::DONE),
        ("slow-writer-5000.lab", 5000, EndReason::DONE),
        ("reset-700.lab", 700, EndReason::CONNRESET),
        ("half-close.lab", 0, EndReason::DONE),
    ] {
        let (mut network, relays) = three_relays(seed);
        let mut near = circuit(&mut network, relays);
        let stream = near.begin(host);
        let (bytes, why) = near.read_to_end(stream);
        assert_eq!((bytes.len(), why), (length, reason), "{host}");
    }
    for (host, reason, found) in [
        ("refuse.lab", EndReason::CONNECTREFUSED, None),
        ("time-out.lab", EndReason::TIMEOUT, None),
        ("nowhere.example", EndReason::RESOLVEFAILED, None),
        ("private.lab", EndReason::EXITPOLICY, Some("10.0.0.1")),
        ("ends-4.lab", EndReason::EXITPOLICY, Some("198.51.100.80")),
        ("0.1.2.3", EndReason::EXITPOLICY, Some("0.1.2.3")),
    ] {
        let (mut network, relays) = three_relays(seed);
        let mut near = circuit(&mut network, relays);
        near.begin_unheard(host, 80);
        let event = near.next_event();
        let Event::Message { command: Command::END, body, .. } = event else { panic!("{event:?}") };
        let end = End::parse(&body).unwrap();
        let address = end.address.map(|(ip, _)| ip.uncover().to_string());
        assert_eq!((end.reason, address.as_deref()), (reason, found));
    }
    let (mut network, relays) = three_relays(seed);
    let mut near = circuit(&mut network, relays);
    near.begin_unheard("silent.lab", 80);
    assert_eq!(near.event_within(Duration::from_secs(300)), None);
}

#[test]
fn a_slow_reader_delays_the_stream_but_not_the_circuit() {
    let (mut network, relays) = three_relays(seed());
    let mut near = circuit(&mut network, relays);
    let slow = near.begin("slow-reader.lab");
    for _ in 0..500 {
        near.send(Command::DATA, Some(slow), &[7; 498]);
    }
    let (mut of_circuit, mut of_stream) = (0, 0);
    let start = near.network.now().tick;
    let mut first_of_stream = None;
    while let Some(event) = near.event_within(Duration::from_secs(60)) {
        match event {
            Event::Message { command: Command::SENDME, stream: None, .. } => of_circuit += 1,
            Event::Message { command: Command::SENDME, stream: Some(_), .. } => {
                of_stream += 1;
                first_of_stream.get_or_insert(near.network.now().tick.since(start));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((of_circuit, of_stream), (5, 10));
    // 249,000 bytes at 10,000 a second.
    assert!(first_of_stream.unwrap() > Duration::from_secs(20), "{first_of_stream:?}");
}

#[test]
fn an_exit_only_exits_where_it_may() {
    let (mut network, [guard, middle, _]) = three_relays(seed());
    let mut near = Near::dial(&mut network, guard);
    near.create_fast();
    near.extend_ntor(middle);
    near.begin_unheard("echo.lab", 80);
    let event = near.next_event();
    let Event::Message { command: Command::END, body, .. } = event else { panic!("{event:?}") };
    assert_eq!(End::parse(&body).unwrap().reason, EndReason::EXITPOLICY);
}

#[test]
fn names_resolve_or_fail_as_asked() {
    let (mut network, relays) = three_relays(seed());
    let mut near = circuit(&mut network, relays);
    for (name, wanted) in [
        ("echo.lab", "198.51.100.80"),
        ("private.lab", "10.0.0.1"),
        ("fails.lab", "permanent"),
        ("fails-now.lab", "transient"),
    ] {
        let stream = near.new_stream();
        near.send(Command::RESOLVE, Some(stream), &[name.as_bytes(), &[0]].concat());
        let event = near.next_event();
        let Event::Message { command: Command::RESOLVED, body, .. } = event else { panic!("{event:?}") };
        let resolved = Resolved::parse(&body).unwrap();
        let (answer, _) = resolved.iter().next().unwrap();
        let said = match answer {
            Answer::Address(address) => address.uncover().to_string(),
            Answer::PermanentError => "permanent".to_owned(),
            Answer::TransientError => "transient".to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(said, wanted);
    }
}

#[test]
fn a_relay_that_is_no_exit_looks_nothing_up_and_a_second_begin_is_dropped() {
    let (mut network, [guard, middle, exit]) = three_relays(seed());
    let mut near = Near::dial(&mut network, guard);
    near.create_ntor(guard);
    near.extend_ntor(middle);
    let stream = near.new_stream();
    near.send(Command::RESOLVE, Some(stream), b"echo.lab\0");
    let event = near.next_event();
    assert!(matches!(&event, Event::Message { command: Command::RESOLVED, body, .. } if body[0] == 0xF1), "{event:?}");
    near.extend_ntor(exit);
    let stream = near.begin("echo.lab");
    near.send(Command::BEGIN, Some(stream), b"sink.lab:80\0");
    near.send(Command::BEGIN_DIR, Some(stream), &[]);
    near.send(Command::RESOLVE, Some(stream), b"echo.lab\0");
    near.send(Command::DATA, Some(stream), b"echo");
    let event = near.next_event();
    assert!(matches!(event, Event::Message { command: Command::DATA, .. }), "{event:?}");
}
