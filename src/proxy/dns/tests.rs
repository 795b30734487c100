use super::*;
use proptest::prelude::*;

/// A datagram with these questions.
fn datagram(flags: u16, questions: &[(&str, u16, u16)]) -> Vec<u8> {
    let count = u16::try_from(questions.len()).unwrap();
    let head = [0x1234, flags, count, 0, 0, 0].map(u16::to_be_bytes);
    let mut bytes = head.concat();
    for (name, kind, class) in questions {
        bytes.extend(if name.is_empty() { vec![0] } else { labels(name).unwrap() });
        bytes.extend([kind.to_be_bytes(), class.to_be_bytes()].concat());
    }
    bytes
}

fn query(name: &str, kind: u16) -> Query {
    Query::parse(&datagram(0x0100, &[(name, kind, 1)])).unwrap()
}

fn wanted(command: Command, host: &str, preference: Option<Preference>) -> Request {
    let host = Host::parse_loosely(host).unwrap();
    Request { command, host, port: 0, protocol: Protocol::Dns, credentials: None, preference }
}

/// Its flags, and how many records.
fn head(answer: &[u8]) -> (u16, u16, u16) {
    let word = |at: usize| u16::from_be_bytes([answer[at], answer[at + 1]]);
    (word(2), word(4), word(6))
}

#[test]
fn names_and_addresses_are_asked_for() {
    let (v4, v6) = (Some(Preference::Ipv4Only), Some(Preference::Ipv6Only));
    let long = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    for (name, kind, expected) in [
        ("Example.COM", 1, wanted(Command::Resolve, "example.com", v4)),
        ("example.com", 28, wanted(Command::Resolve, "example.com", v6)),
        ("_dmarc.example.com", 1, wanted(Command::Resolve, "_dmarc.example.com", v4)),
        ("192.0.2.1", 1, wanted(Command::Resolve, "192.0.2.1", v4)),
        ("1.2.0.192.in-addr.arpa", 12, wanted(Command::ResolvePtr, "192.0.2.1", None)),
        ("1.2.0.192.IN-ADDR.Arpa", 12, wanted(Command::ResolvePtr, "192.0.2.1", None)),
        (long, 12, wanted(Command::ResolvePtr, "2001:db8::1", None)),
        ("192.0.2.1", 12, wanted(Command::ResolvePtr, "192.0.2.1", None)),
    ] {
        assert_eq!(query(name, kind).request(), Ok(&expected), "{name} {kind}");
    }
}

#[test]
fn what_cannot_be_asked_has_its_code() {
    for (questions, expected) in [
        (&[("example.com", 16, 1)][..], Code::NotImplemented),
        (&[("example.com", 255, 1)], Code::NotImplemented),
        (&[("example.com", 1, 3)], Code::NotImplemented),
        (&[], Code::NoError),
        (&[("", 1, 1)], Code::ServerFailure),
        (&[("a b.example", 1, 1)], Code::ServerFailure),
        (&[("x.exit", 1, 1)], Code::ServerFailure),
        (&[("short.onion", 28, 1)], Code::ServerFailure),
        (&[("example.com", 12, 1)], Code::ServerFailure),
        (&[("2.0.192.in-addr.arpa", 12, 1)], Code::ServerFailure),
        (&[("1.0.ip6.arpa", 12, 1)], Code::ServerFailure),
    ] {
        let asked = datagram(0x0110, questions);
        let answer = Query::parse(&asked).unwrap().request().unwrap_err();
        let count = u16::try_from(questions.len()).unwrap();
        assert_eq!(head(&answer), (0x8190 | expected as u16, count, 0), "{questions:?}");
        assert!(answer[..2] == asked[..2] && answer[12..] == asked[12..], "{questions:?}");
    }
    // Other operations, of which it is not known what their questions are.
    let answer = Query::parse(&datagram(0x2800, &[("example.com", 1, 1)])).unwrap().request().unwrap_err();
    assert_eq!((head(&answer), answer.len()), ((0xA884, 0, 0), 12));
}

#[test]
fn a_datagram_is_read_alike_at_every_length() {
    let asked = datagram(0x0100, &[("www.example.com", 1, 1)]);
    for length in 0..asked.len() {
        let answer = Query::parse(&asked[..length]).map(|query| query.request().unwrap_err());
        match length {
            ..12 => assert_eq!(answer, None),
            _ => assert_eq!(head(&answer.unwrap()), (0x8181, 0, 0), "{length}"),
        }
    }
    // What is behind the questions says nothing, and answers get none.
    assert!(Query::parse(&[&asked[..], b"more"].concat()) == Query::parse(&asked));
    assert!(Query::parse(&datagram(0x8100, &[("example.com", 1, 1)])).is_none());
}

#[test]
fn names_are_labels_and_nothing_else() {
    let refused = |name: &[u8]| {
        let bytes = [&datagram(0, &[])[..4], &[0, 1, 0, 0, 0, 0, 0, 0], name, &[0, 1, 0, 1]].concat();
        Query::parse(&bytes).unwrap().request().unwrap_err()
    };
    let label = [&[63][..], &[b'a'; 63]].concat();
    for name in [&b"\xC0\x0C"[..], b"\x40aaaa\0", &[&label.repeat(4)[..], &[0]].concat()] {
        assert_eq!(head(&refused(name)), (0x8081, 0, 0), "{name:?}");
    }
    // Letters that would make another name of it.
    for name in [&b"\x07a.onion\0"[..], b"\x03a\0b\0", b"\x02\xC3\xBC\0"] {
        assert_eq!(head(&refused(name)), (0x8082, 1, 0), "{name:?}");
    }
    let longest = [&label.repeat(3)[..], &[62], &[b'a'; 62], &[0]].concat();
    let bytes = [&datagram(0, &[])[..4], &[0, 1, 0, 0, 0, 0, 0, 0], &longest, &[0, 1, 0, 1]].concat();
    assert!(Query::parse(&bytes).unwrap().request().is_ok());
}

#[test]
fn the_first_that_can_be_answered_is_and_all_are_repeated() {
    let asked = datagram(0, &[("a.example", 16, 1), ("b.example", 28, 1), ("c.example", 1, 1)]);
    let query = Query::parse(&asked).unwrap();
    assert_eq!(query.request().unwrap(), &wanted(Command::Resolve, "b.example", Some(Preference::Ipv6Only)));
    let answer = query.found(&Found::Ip("2001:db8::1".parse().unwrap()), Some(100));
    assert_eq!((head(&answer), &answer[12..asked.len()]), ((0x8080, 3, 1), &asked[12..]));
    assert_eq!(answer[asked.len()..][..12], [0xC0, 12 + 15, 0, 28, 0, 1, 0, 0, 0, 100, 0, 16]);
    let many = vec![("a-name-of-some-length.example", 1, 1); 30];
    let answer = Query::parse(&datagram(0, &many)).unwrap().failed(Failure::NotFound);
    assert_eq!((head(&answer), answer.len()), ((0x8283, 30, 0), 512));
}

#[test]
fn what_is_found_is_one_record_good_for_a_minute_at_least() {
    let asked = datagram(0x0100, &[("Host.example", 1, 1)]);
    let query = Query::parse(&asked).unwrap();
    for (seconds, expected) in
        [(None, 60), (Some(0), 60), (Some(61), 61), (Some(u32::MAX), 0x7FFF_FFFF), (Some(3600), 3600)]
    {
        let answer = query.found(&Found::Ip([192, 0, 2, 1].into()), seconds);
        let record = [&[0xC0, 12, 0, 1, 0, 1][..], &u32::to_be_bytes(expected), &[0, 4, 192, 0, 2, 1]].concat();
        assert_eq!((head(&answer), &answer[asked.len()..]), ((0x8180, 1, 1), &record[..]));
    }
    let reverse = datagram(0, &[("1.2.0.192.in-addr.arpa", 12, 1)]);
    let reverse_query = Query::parse(&reverse).unwrap();
    let answer = reverse_query.found(&Found::Name("a.example".to_owned()), None);
    assert_eq!(answer[reverse.len()..], *b"\xC0\x0C\0\x0C\0\x01\0\0\0\x3C\0\x0B\x01a\x07example\0");
    for name in ["", "a..b", &"a".repeat(64), &"a.".repeat(128)] {
        let answer = reverse_query.found(&Found::Name(name.to_owned()), None);
        assert_eq!(head(&answer), (0x8082, 1, 0), "{name}");
    }
    // Nobody should have found that.
    assert_eq!(head(&query.found(&Found::Ip("::1".parse().unwrap()), None)), (0x8182, 1, 0));
}

#[test]
fn failures_have_the_codes_c_tor_gives_them() {
    for (failure, expected) in [
        (Failure::NotFound, Code::NoSuchName),
        (Failure::InternalHasNoName, Code::NoSuchName),
        (Failure::OtherKind, Code::NoError),
        (Failure::ResolveFailed, Code::ServerFailure),
        (Failure::TrafficOff, Code::ServerFailure),
        (Failure::TimedOut, Code::ServerFailure),
        (Failure::OnionHasNoAddress, Code::ServerFailure),
    ] {
        assert_eq!(head(&query("a.example", 1).failed(failure)), (0x8180 | expected as u16, 1, 0), "{failure:?}");
    }
    assert_eq!(head(&query("a.example", 1).refused()), (0x8185, 1, 0));
}

proptest! {
    #[test]
    fn no_datagram_does_harm(bytes in proptest::collection::vec(any::<u8>(), 0..600), name in "[a-z0-9.\0]{0,70}(in-addr.arpa|ip6.arpa|onion|exit)?") {
        fuzz(&bytes);
        if let Some(name) = labels(&name) {
            for kind in [1, 12, 28, 16] {
                fuzz(&[&datagram(0, &[])[..4], &[0, 1, 0, 0, 0, 0, 0, 0], &name, &[0, kind, 0, 1]].concat());
            }
        }
    }
}
