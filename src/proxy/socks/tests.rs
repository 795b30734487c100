use super::*;
use crate::base::redact::Sensitive;
use proptest::prelude::*;

fn socks() -> Socks {
    Socks::new(Manner::default())
}

/// All that comes of bytes given at once.
fn run(socks: &mut Socks, bytes: &[u8]) -> Vec<Output> {
    socks.handle_bytes(bytes);
    core::iter::from_fn(|| socks.poll_output()).collect()
}

fn reply(bytes: &[u8]) -> Output {
    Output::Reply(bytes.to_vec())
}

fn request(command: Command, host: &str, port: u16, protocol: Protocol) -> Request {
    Request { command, host: Host::parse(host).unwrap(), port, protocol, credentials: None, preference: None }
}

fn by(request: Request, user: &[u8], password: &[u8]) -> Output {
    let credentials = Some(Credentials { user: user.to_vec(), password: password.to_vec() });
    Output::Request(Request { credentials, ..request })
}

const NO_AUTH_CHOSEN: &[u8] = &[5, 0];
const V5_FAILED: &[u8] = &[5, 1, 0, 1, 0, 0, 0, 0, 0, 0];
const V4_FAILED: &[u8] = &[0, 0x5B, 0, 0, 0, 0, 0, 0];

/// A SOCKS5 that has agreed on no authentication.
fn agreed(manner: Manner) -> Socks {
    let mut socks = Socks::new(manner);
    assert_eq!(run(&mut socks, &[5, 1, 0]), [reply(NO_AUTH_CHOSEN)]);
    socks
}

/// What an agreed SOCKS5 makes of a request.
fn asked(bytes: &[u8]) -> Vec<Output> {
    run(&mut agreed(Manner::default()), bytes)
}

/// The messages of C tor's src/test/test_socks.c.
#[test]
fn socks4_is_spoken_as_c_tor_speaks_it() {
    let connect = request(Command::Connect, "2.2.2.3", 16641, Protocol::Socks4);
    assert_eq!(run(&mut socks(), b"\x04\x01\x41\x01\x02\x02\x02\x03\x00"), [Output::Request(connect)]);
    let named = request(Command::Connect, "2.2.2.4", 4371, Protocol::Socks4);
    assert_eq!(run(&mut socks(), b"\x04\x01\x11\x13\x02\x02\x02\x04me\x00"), [by(named, b"me", b"")]);
    let a = request(Command::Connect, "tor.org", 16641, Protocol::Socks4a);
    assert_eq!(run(&mut socks(), b"\x04\x01\x41\x01\x00\x00\x00\x04me\x00tor.org\x00"), [by(a, b"me", b"")]);
    let resolve = request(Command::Resolve, "tor.org", 0, Protocol::Socks4a);
    assert_eq!(run(&mut socks(), b"\x04\xF0\x00\x00\x00\x00\x00\x04me\x00tor.org\x00"), [by(resolve, b"me", b"")]);
    for bad in [
        &b"\x04\x01\x00\x00\x02\x02\x02\x03\x00"[..],
        b"\x04\x01\x41\x01\x00\x00\x00\x00\x00",
        b"\x04\x02\x41\x01\x02\x02\x02\x03\x00",
        b"\x04\xF1\x41\x01\x02\x02\x02\x03\x00",
        b"\x04\x01\x41\x01\x00\x00\x00\x04\x00tor org\x00",
        b"\x04\x01\x41\x01\x00\x00\x00\x04\x00relay.exit\x00",
    ] {
        assert_eq!(run(&mut socks(), bad), [reply(V4_FAILED), Output::Close], "{bad:?}");
    }
    let long = [&b"\x04\x01\x41\x01\x00\x00\x00\x04\x00"[..], &[b'a'; 256], b"\x00"].concat();
    assert_eq!(run(&mut socks(), &long), [reply(V4_FAILED), Output::Close]);
    let endless = [&b"\x04\x01\x41\x01\x02\x02\x02\x04"[..], &[b'a'; 600]].concat();
    assert_eq!(run(&mut socks(), &endless), [reply(V4_FAILED), Output::Close]);
}

#[test]
fn socks5_methods_are_chosen_as_c_tor_chooses_them() {
    let no_auth = Manner { prefers_no_auth: true, ..Manner::default() };
    for (manner, offered, expected) in [
        (Manner::default(), &[5, 1, 0][..], vec![reply(&[5, 0])]),
        (Manner::default(), &[5, 1, 2], vec![reply(&[5, 2])]),
        (Manner::default(), &[5, 2, 0, 2], vec![reply(&[5, 2])]),
        (no_auth, &[5, 2, 0, 2], vec![reply(&[5, 0])]),
        (no_auth, &[5, 1, 2], vec![reply(&[5, 2])]),
        (Manner::default(), &[5, 1, 1], vec![reply(&[5, 0xFF]), Output::Close]),
        (Manner::default(), &[5, 0], vec![Output::Close]),
    ] {
        assert_eq!(run(&mut Socks::new(manner), offered), expected, "{offered:?}");
    }
}

#[test]
fn socks5_requests_are_read_as_c_tor_reads_them() {
    let request = |command, host, port| vec![Output::Request(request(command, host, port, Protocol::Socks5))];
    for (bytes, expected) in [
        (&b"\x05\x01\x00\x01\x02\x02\x02\x02\x01\x01"[..], request(Command::Connect, "2.2.2.2", 257)),
        (b"\x05\x01\x00\x03\x0Etorproject.org\x11\x11", request(Command::Connect, "torproject.org", 4369)),
        (b"\x05\xF0\x00\x03\x0Etorproject.org\x01\x02", request(Command::Resolve, "torproject.org", 258)),
        (b"\x05\xF0\x00\x03\x0Etorproject.org\x00\x00", request(Command::Resolve, "torproject.org", 0)),
        (b"\x05\xF1\x00\x01\x02\x02\x02\x05\x01\x03", request(Command::ResolvePtr, "2.2.2.5", 259)),
        (
            b"\x05\x01\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x50",
            request(Command::Connect, "2001:db8::1", 80),
        ),
        (b"\x05\xF1\x00\x03\x072.2.2.5\x01\x03", request(Command::ResolvePtr, "2.2.2.5", 259)),
    ] {
        assert_eq!(asked(bytes), expected, "{bytes:?}");
    }
}

/// The table of section "failures" that C tor shows.
#[test]
fn socks5_requests_that_cannot_be_get_the_code_c_tor_gives() {
    for (bytes, code) in [
        (&b"\x05\x02\x00\x01\x02\x02\x02\x02\x01\x01"[..], 7),
        (b"\x05\x03\x00\x01\x02\x02\x02\x02\x01\x01", 7),
        (b"\x05\x04\x00\x01\x02\x02\x02\x02\x01\x01", 1),
        (b"\x05\x01\x00\x02\x02\x02\x02\x02\x01\x01", 1),
        (b"\x04\x01\x00\x01\x02\x02\x02\x02\x01\x01", 1),
        (b"\x05\xF1\x00\x03\x0Etorproject.org\x01\x03", 8),
        (b"\x05\x01\x00\x03\x08bad name\x01\x03", 1),
        (b"\x05\x01\x00\x03\x00\x01\x03", 1),
        (b"\x05\x01\x00\x03\x06a.exit\x01\x03", 1),
        (b"\x05\x01\x00\x03\x07a.onion\x01\x03", 1),
        (b"\x05\x01\x00\x01\x02\x02\x02\x02\x00\x00", 1),
    ] {
        let expected = [reply(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]), Output::Close];
        assert_eq!(asked(bytes), expected, "{bytes:?}");
    }
    let mut socks = agreed(Manner { extended_errors: true, ..Manner::default() });
    let bad_onion = run(&mut socks, b"\x05\x01\x00\x03\x07a.onion\x01\x03");
    assert_eq!(bad_onion, [reply(&[5, 0xF6, 0, 1, 0, 0, 0, 0, 0, 0]), Output::Close]);
}

#[test]
fn user_and_password_separate_and_are_never_refused() {
    let asks = b"\x05\x01\x00\x01\x02\x02\x02\x02\x01\x01";
    let expected = request(Command::Connect, "2.2.2.2", 257, Protocol::Socks5);
    for (auth, user, password) in [
        (&b"\x01\x02me\x08mypasswd"[..], &b"me"[..], &b"mypasswd"[..]),
        (b"\x01\x00\x00", b"", b""),
        (b"\x01\x02me\x00", b"me", b""),
        (b"\x01\x09<torS0X>0\x05token", b"<torS0X>0", b"token"),
        (b"\x01\x08<torS0x>\x00", b"<torS0x>", b""),
    ] {
        let mut socks = socks();
        assert_eq!(run(&mut socks, &[5, 2, 0, 2]), [reply(&[5, 2])]);
        let outputs = run(&mut socks, &[auth, asks].concat());
        assert_eq!(outputs, [reply(&[1, 0]), by(expected.clone(), user, password)], "{auth:?}");
    }
    for auth in [&b"\x01\x08<torS0X>\x00"[..], b"\x01\x0A<torS0X>0x\x00", b"\x01\x09<torS0X>1\x01i", b"\x05\x02me\x00"]
    {
        let mut socks = socks();
        run(&mut socks, &[5, 1, 2]);
        assert_eq!(run(&mut socks, auth), [reply(V5_FAILED), Output::Close], "{auth:?}");
    }
    // Said by somebody who agreed on none, and by somebody who agreed on nothing.
    let outputs = asked(&[&b"\x01\x02me\x00"[..], asks].concat());
    assert_eq!(outputs, [reply(&[1, 0]), by(expected, b"me", b"")]);
    assert_eq!(run(&mut socks(), b"\x01\x02me\x00"), [Output::Close]);
}

#[test]
fn a_pipelined_program_gets_its_answers_and_its_data_is_kept() {
    let mut socks = socks();
    let outputs = run(&mut socks, b"\x05\x01\x00\x05\x01\x00\x03\x04host\x00\x50GET / HTTP/1.0\r\n\r\n");
    let expected = request(Command::Connect, "host", 80, Protocol::Socks5);
    assert_eq!(outputs, [reply(NO_AUTH_CHOSEN), Output::Request(expected)]);
    assert_eq!(socks.take_early(), b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(run(&mut socks, b"more"), []);
    assert_eq!(socks.room(), MAX_EARLY_LEN - 4);
    socks.handle_connected();
    assert_eq!(run(&mut socks, b""), [reply(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])]);
    assert_eq!(socks.take_early(), b"more");
}

#[test]
fn what_is_found_is_told_in_the_programs_language() {
    let found = |bytes: &[u8], found: Found| {
        let mut socks = if bytes[0] == 5 { agreed(Manner::default()) } else { socks() };
        run(&mut socks, bytes);
        socks.handle_found(&found);
        run(&mut socks, b"")
    };
    let v5 = b"\x05\xF0\x00\x03\x04host\x00\x00";
    let v4 = b"\x04\xF0\x00\x00\x00\x00\x00\x04\x00host\x00";
    let ip = |text: &str| Found::Ip(text.parse().unwrap());
    for (asked, it, expected) in [
        (&v5[..], ip("1.2.3.4"), vec![5, 0, 0, 1, 1, 2, 3, 4, 0, 0]),
        (v5, ip("::1"), [&[5, 0, 0, 4][..], &[0; 15], &[1, 0, 0]].concat()),
        (v5, Found::Name("a.b".to_owned()), b"\x05\x00\x00\x03\x03a.b\x00\x00".to_vec()),
        (v5, Found::Name("a".repeat(256)), vec![5, 4, 0, 1, 0, 0, 0, 0, 0, 0]),
        (v4, ip("1.2.3.4"), vec![0, 0x5A, 0, 0, 1, 2, 3, 4]),
        (v4, ip("::1"), V4_FAILED.to_vec()),
    ] {
        assert_eq!(found(asked, it), [Output::Reply(expected), Output::Close]);
    }
}

#[test]
fn failures_are_told_in_the_programs_language() {
    let failed = |mut socks: Socks, bytes: &[u8], failure: Failure| {
        run(&mut socks, bytes);
        socks.handle_failure(failure);
        run(&mut socks, b"")
    };
    let v5 = b"\x05\x01\x00\x03\x04host\x00\x50";
    for (failure, code) in [
        (Failure::Refused, 5),
        (Failure::ExitPolicy, 2),
        (Failure::TimedOut, 6),
        (Failure::NoRoute, 4),
        (Failure::NoDirectory, 3),
        (Failure::OnionsNotHere, 1),
    ] {
        let expected = reply(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(failed(agreed(Manner::default()), v5, failure), [expected, Output::Close]);
    }
    // A look-up that comes to nothing comes to an address of no type.
    let look_up = b"\x05\xF0\x00\x03\x04host\x00\x00";
    for (failure, extended_errors, code) in [
        (Failure::OnionHasNoAddress, false, 4),
        (Failure::TrafficOff, false, 4),
        (Failure::BadOnion, false, 4),
        (Failure::BadOnion, true, 0xF6),
    ] {
        let manner = Manner { extended_errors, ..Manner::default() };
        let expected = reply(&[5, code, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(failed(agreed(manner), look_up, failure), [expected, Output::Close]);
    }
    let v4 = b"\x04\x01\x41\x01\x02\x02\x02\x03\x00";
    assert_eq!(failed(socks(), v4, Failure::Refused), [reply(V4_FAILED), Output::Close]);
    let long = [&[5, 5, 0, 4][..], &[0; 18]].concat();
    let manner = Manner { long_replies: true, ..Manner::default() };
    assert_eq!(failed(agreed(manner), v5, Failure::Refused), [Output::Reply(long), Output::Close]);
}

#[test]
fn whatever_is_no_socks_is_closed_and_a_browser_told_why() {
    for first in ["GET / HTTP/1.1\r\n", "HEAD", "POST", "CONNECT a:1"] {
        let outputs = run(&mut socks(), first.as_bytes());
        let [Output::Reply(page), Output::Close] = &outputs[..] else { panic!("{outputs:?}") };
        assert!(page.starts_with(b"HTTP/1.0 501 Tor is not an HTTP Proxy\r\n"));
    }
    for first in [&b"\x00"[..], b"\x06\x01\x00", b"\xFF", b"\x16\x03\x01"] {
        assert_eq!(run(&mut socks(), first), [Output::Close]);
    }
}

#[test]
fn why_there_is_no_request_is_kept_for_the_user() {
    let named = |bad, name: &str| Some(Fault::Name(bad, Sensitive::new(name.to_owned())));
    for (bytes, expected) in [
        (&b"GET / HTTP/1.0\r\n"[..], Some(Fault::Language(b'G'))),
        (b"\x16\x03\x01", Some(Fault::Language(0x16))),
        (b"\x04\x02\x41\x01\x02\x02\x02\x03\x00", Some(Fault::Command(2))),
        (b"\x04\x01\x41\x01\x00\x00\x00\x04\x00tor org\x00", named(BadName::Malformed, "tor org")),
        (b"\x04\x01\x41\x01\x00\x00\x00\x04\x00r.exit\x00", named(BadName::Exit, "r.exit")),
        (b"\x05\x01\x00\x05\x03\x00\x01\x01\x01\x01\x01\x00\x50", Some(Fault::Command(3))),
        (b"\x05\x01\x00\x05\x09\x00\x01\x01\x01\x01\x01\x00\x50", Some(Fault::Command(9))),
        (b"\x05\x01\x00\x05\x01\x00\x03\x07x.onion\x00\x50", named(BadName::BadOnion, "x.onion")),
        (b"\x05\x01\x00\x05\x01\x00\x03\x02\xFFa\x00\x50", named(BadName::Malformed, "\\xffa")),
        (b"\x05\x01\x00\x05\x01\x00\x03\x01a\x00\x50", None),
        (b"\x04\x01\x41\x01\x02\x02\x02\x03\x00", None),
    ] {
        let mut socks = socks();
        socks.handle_bytes(bytes);
        assert_eq!(socks.take_fault(), expected, "{bytes:?}");
    }
}

#[test]
fn a_request_that_is_not_all_there_is_waited_for() {
    let v5 = b"\x05\x01\x00\x05\x01\x00\x03\x04host\x00\x50";
    let v4 = b"\x04\x01\x41\x01\x00\x00\x00\x04me\x00tor.org\x00";
    for whole in [&v5[..], v4] {
        for end in 0..whole.len() {
            let outputs = run(&mut socks(), &whole[..end]);
            let is_quiet = outputs.iter().all(|output| *output == reply(NO_AUTH_CHOSEN));
            assert!(is_quiet, "{end} {outputs:?}");
        }
        assert!(matches!(run(&mut socks(), whole).last(), Some(Output::Request(_))));
    }
}

#[test]
fn answers_nobody_waits_for_are_not_given() {
    let mut socks = socks();
    socks.handle_connected();
    socks.handle_failure(Failure::Misc);
    socks.handle_found(&Found::Name("a".to_owned()));
    assert_eq!(run(&mut socks, b""), []);
}

proptest! {
    #[test]
    fn no_bytes_do_harm(
        cut in any::<u8>(),
        front in proptest::sample::select(vec![&b""[..], b"\x05\x01\x00", b"\x05\x01\x02", b"\x04\x01", b"\x05\x01\x00\x05\x01\x00\x03"]),
        bytes in proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(4), Just(5), any::<u8>()], 0..700),
    ) {
        fuzz_socks(&[&[cut][..], front, &bytes].concat());
    }
}
