//! One stream from its first message to its last, with no circuit around it.

use super::*;
use crate::base::codec::Writer;
use crate::wire::relay_msg::EndReason;
use proptest::prelude::*;

fn stream() -> Stream {
    Stream::begin(BeginFlags::default(), true)
}

fn open() -> Stream {
    let mut stream = stream();
    assert!(matches!(stream.handle(Command::CONNECTED, &[]), Ok(Heard::Connected(None))));
    stream
}

fn asked() -> Stream {
    Stream::asked()
}

/// What each state says to each message.
#[test]
fn each_message_has_its_time() {
    type Made = fn() -> Stream;
    let states: [(&str, Made); 4] =
        [("opening", stream), ("open", open), ("asked", asked), ("resolving", Stream::resolve)];
    let data = |name: &str| match name {
        "opening" => Some(Error::DataBeforeConnected),
        "resolving" => Some(Error::OutOfTurn(Command::DATA)),
        _ => None,
    };
    let connected = |name: &str| match name {
        "opening" => None,
        "open" => Some(Error::ConnectedTwice),
        _ => Some(Error::OutOfTurn(Command::CONNECTED)),
    };
    let sendme = |name: &str| match name {
        "resolving" => Error::OutOfTurn(Command::SENDME),
        _ => Error::SendmeUnexpected,
    };
    for (name, made) in states {
        let said = |command, body: &[u8]| made().handle(command, body).err();
        assert_eq!(said(Command::DATA, b"x"), data(name), "{name}");
        assert_eq!(said(Command::CONNECTED, &[]), connected(name), "{name}");
        assert_eq!(said(Command::SENDME, &[]), Some(sendme(name)), "{name}");
        assert_eq!(said(Command::END, &[6]), None, "{name}");
        let resolved = (name != "resolving").then_some(Error::OutOfTurn(Command::RESOLVED));
        assert_eq!(said(Command::RESOLVED, &[]), resolved, "{name}");
        assert_eq!(said(Command::END, &[]), Some(Error::Wire(wire::Error::EndWithoutReason)), "{name}");
        assert_eq!(said(Command::XOFF, &[0]), Some(Error::FlowControlNotNegotiated), "{name}");
        assert_eq!(said(Command::XON, &[0; 5]), Some(Error::FlowControlNotNegotiated), "{name}");
        assert_eq!(said(Command::XON, &[]), Some(Error::Wire(wire::Error::Truncated)), "{name}");
        assert_eq!(said(Command::BEGIN, b":80\0"), Some(Error::StreamIdInUse), "{name}");
        assert_eq!(said(Command::RESOLVE, b"x\0"), Some(Error::OutOfTurn(Command::RESOLVE)), "{name}");
    }
    assert_eq!(open().handle(Command::DATA, &[]).err(), Some(Error::EmptyData));
}

fn connected(flags: BeginFlags, address: &str) -> Result<bool, Error> {
    let mut body = [0; 32];
    let mut writer = Writer::new(&mut body);
    let address = Some((Sensitive::new(address.parse().unwrap()), 60));
    Connected { address }.encode(&mut writer).unwrap();
    let len = writer.written();
    match Stream::begin(flags, true).handle(Command::CONNECTED, &body[..len])? {
        Heard::Connected(heard) => Ok(heard == address),
        Heard::Refused { error, .. } => Err(error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_address_that_no_exit_can_mean_is_refused() {
    let v6 = BeginFlags::IPV6_OK;
    for address in ["198.51.100.1", "100.63.0.1", "172.32.0.1", "2001:db8::1", "::2", "::ffff:8.8.8.8"] {
        assert_eq!(connected(v6, address), Ok(true), "{address}");
    }
    for address in [
        "10.0.0.1",
        "0.1.2.3",
        "127.0.0.1",
        "100.64.0.1",
        "169.254.1.1",
        "172.16.0.1",
        "192.168.1.1",
        "::",
        "::1",
        "fc00::1",
        "fdff::1",
        "fe80::1",
        "fec0::1",
        "::ffff:10.0.0.1",
    ] {
        assert_eq!(connected(v6, address), Err(Error::AddressRefused), "{address}");
    }
    // A family that was not asked for.
    assert_eq!(connected(BeginFlags::default(), "2001:db8::1"), Err(Error::AddressRefused));
    assert_eq!(connected(BeginFlags::IPV4_NOT_OK.with(v6), "198.51.100.1"), Err(Error::AddressRefused));
    // Whatever a directory says of its address means nothing.
    let heard = Stream::begin_dir().handle(Command::CONNECTED, &[10, 0, 0, 1, 0, 0, 0, 60]).map(|_| ());
    assert_eq!(heard, Ok(()));
}

/// Takes what may be sent now, `len` bytes at a time.
fn drain(stream: &mut Stream, len: usize) -> Vec<u8> {
    let mut sent = Vec::new();
    while stream.sendable() > 0 {
        let n = stream.sendable().min(len);
        sent.extend(stream.next_bytes(n).concat());
        stream.on_sent(n);
    }
    sent
}

#[test]
fn data_before_connected_is_kept_for_another_try() {
    let mut stream = stream();
    assert_eq!(stream.write(b"GET / HTTP/1.0"), 14);
    assert_eq!(drain(&mut stream, 5), b"GET / HTTP/1.0");
    assert_eq!(stream.write(b"\r\n"), 2);
    let Ok(Heard::Ended { end, was_open: false, unanswered }) = stream.handle(Command::END, &[2]) else { panic!() };
    assert_eq!(end.reason, EndReason::RESOLVEFAILED);
    assert_eq!(unanswered.into_inner(), b"GET / HTTP/1.0\r\n");
}

#[test]
fn what_is_kept_goes_when_the_stream_opens() {
    let mut stream = stream();
    stream.write(b"one");
    assert_eq!(drain(&mut stream, 498), b"one");
    stream.write(b"two");
    assert_eq!(stream.room(), MAX_UNSENT - 6);
    stream.handle(Command::CONNECTED, &[]).unwrap();
    assert_eq!(stream.room(), MAX_UNSENT - 3);
    assert_eq!(drain(&mut stream, 2), b"two");
    let Ok(Heard::Ended { unanswered, was_open: true, .. }) = stream.handle(Command::END, &[6]) else { panic!() };
    assert!(unanswered.into_inner().is_empty());
}

#[test]
fn a_stream_that_is_not_optimistic_waits() {
    let mut stream = Stream::begin(BeginFlags::default(), false);
    stream.write(b"later");
    assert_eq!(stream.sendable(), 0);
    stream.handle(Command::CONNECTED, &[]).unwrap();
    assert_eq!(drain(&mut stream, 498), b"later");
    // Nor is anything sent to who has only asked.
    let mut stream = asked();
    stream.write(b"hello");
    assert_eq!(stream.sendable(), 0);
    assert!(stream.accept());
    assert_eq!(drain(&mut stream, 498), b"hello");
}

#[test]
fn a_writer_is_held_back_and_called_again() {
    let too_much = vec![1; MAX_UNSENT + 1];
    let called = |stream: &mut Stream| {
        let (mut cells, mut called) = (0, Vec::new());
        while stream.sendable() > 0 {
            stream.on_sent(498);
            cells += 1;
            if stream.writer_may_go_on() {
                called.push(cells);
            }
        }
        called
    };
    let mut stream = open();
    assert_eq!(stream.write(&too_much), MAX_UNSENT);
    assert_eq!((stream.room(), stream.write(b"x"), stream.writer_may_go_on()), (0, 0, false));
    assert_eq!(called(&mut stream), [32], "once, when half is free");
    // Before CONNECTED all is kept, so there is no room; then there is.
    let mut stream = self::stream();
    assert_eq!(stream.write(&too_much), MAX_UNSENT);
    assert_eq!(called(&mut stream), []);
    stream.handle(Command::CONNECTED, &[]).unwrap();
    assert!(stream.writer_may_go_on() && !stream.writer_may_go_on());
    assert_eq!(Stream::resolve().write(b"x"), 0, "a question has no data");
}

#[test]
fn an_end_follows_the_last_byte() {
    let mut stream = open();
    assert!(open().finish(), "at once, if nothing waits");
    stream.write(&[1; 600]);
    assert!(!stream.finish());
    assert_eq!(stream.write(b"more"), 0);
    stream.on_sent(498);
    assert!(!stream.is_finished());
    stream.on_sent(102);
    assert!(stream.is_finished());
}

#[test]
fn a_stream_sends_no_more_than_its_window() {
    let mut stream = open();
    let mut sent = 0;
    for _ in 0..20 {
        stream.write(&vec![0; MAX_UNSENT]);
        sent += drain(&mut stream, 498).len();
    }
    assert_eq!(sent, 500 * 498);
    stream.handle(Command::SENDME, &[]).unwrap();
    assert_eq!(drain(&mut stream, 498).len(), 50 * 498);
}

/// The two ends of one stream, each the other's far end.
#[test]
fn an_asking_and_an_accepting_stream_understand_each_other() {
    let (mut near, mut far) = (stream(), asked());
    near.write(b"hello");
    let bytes = drain(&mut near, 498);
    assert!(matches!(far.handle(Command::DATA, &bytes), Ok(Heard::Data)));
    assert!(far.accept());
    near.handle(Command::CONNECTED, &[]).unwrap();
    for round in 0..2000_u32 {
        far.write(&round.to_be_bytes());
        let bytes = drain(&mut far, 498);
        assert_eq!(bytes, round.to_be_bytes());
        near.handle(Command::DATA, &bytes).unwrap();
        near.on_read(bytes.len());
        if near.sendme_due() {
            near.on_sendme_sent();
            far.handle(Command::SENDME, &[]).unwrap();
        }
    }
    assert_eq!(near.unread(), 0);
    assert!(matches!(near.handle(Command::END, &[1]), Ok(Heard::Ended { was_open: true, .. })));
}

#[test]
fn errors_say_what_falls_and_print_no_address() {
    assert_eq!(Error::AddressRefused.scope(), Scope::Stream);
    assert_eq!(Error::DataBeforeConnected.scope(), Scope::Circuit);
    assert_eq!(Error::TooManyStreams.blame(), Blame::Local);
    assert_eq!(Error::UnknownStream.blame(), Blame::Peer);
    let mut stream = stream();
    let heard = stream.handle(Command::CONNECTED, &[198, 51, 100, 77, 0, 0, 0, 60]).unwrap();
    assert!(!format!("{heard:?}").contains("77"));
}

proptest! {
    /// Whatever its writer gives and whenever it opens, each byte goes out once, in order.
    #[test]
    fn bytes_go_out_once_and_in_order(
        writes in proptest::collection::vec((1_usize..3000, 1_usize..600), 1..40),
        opens_at in 0_usize..40,
    ) {
        let mut stream = stream();
        let (mut given, mut sent) = (Vec::new(), Vec::new());
        for (round, (len, cell)) in writes.into_iter().enumerate() {
            if round == opens_at {
                stream.handle(Command::CONNECTED, &[]).unwrap();
            }
            let bytes: Vec<u8> = (given.len()..given.len() + len).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let taken = stream.write(&bytes);
            given.extend_from_slice(&bytes[..taken]);
            sent.extend(drain(&mut stream, cell));
            prop_assert!(stream.unsent.len() <= MAX_UNSENT && stream.unsent.capacity() <= MAX_UNSENT);
        }
        prop_assert_eq!(&given[..sent.len()], &sent[..]);
        if !stream.is_open() {
            prop_assert_eq!(stream.take_unanswered().into_inner(), given);
        }
    }
}
