use super::*;
use proptest::prelude::*;

/// All that comes of bytes given at once.
fn run(http: &mut HttpConnect, bytes: &[u8]) -> Vec<Output> {
    http.handle_bytes(bytes);
    core::iter::from_fn(|| http.poll_output()).collect()
}

fn heard(head: &str) -> Vec<Output> {
    run(&mut HttpConnect::new(), format!("{head}\r\n\r\n").as_bytes())
}

fn request(host: &str, port: u16) -> Request {
    let (command, protocol) = (Command::Connect, Protocol::HttpConnect);
    Request { command, host: Host::parse_loosely(host).unwrap(), port, protocol, credentials: None, preference: None }
}

fn refused(status: &str, reason: Option<&str>) -> Vec<Output> {
    vec![Output::Reply(answer(status, reason)), Output::Close]
}

/// Bytes that C tor 0.4.9.11 sent, but for the name behind `Via`.
#[test]
fn answers_are_c_tors() {
    let ours = |text: &str| text.replace("tor 0.4.9.11", concat!("cepa ", env!("CARGO_PKG_VERSION"))).into_bytes();
    let told = |failure: Option<Failure>| {
        let mut http = HttpConnect::new();
        run(&mut http, b"CONNECT host:80 HTTP/1.1\r\n\r\n");
        match failure {
            Some(failure) => http.handle_failure(failure),
            None => http.handle_connected(),
        }
        run(&mut http, b"")
    };
    let open = "HTTP/1.0 200 OK\r\nTor-Capabilities: \r\nVia: tor/1.0 tor-network (tor 0.4.9.11)\r\n\r\n";
    assert_eq!(told(None), [Output::Reply(ours(open))]);
    for (failure, expected) in [
        (
            Failure::Refused,
            "HTTP/1.0 403 Forbidden (connection refused)\r\nTor-Capabilities: \r\n\
             Via: tor/1.0 tor-network (tor 0.4.9.11)\r\nTor-Request-Failed: end/CONNECTREFUSED\r\n\r\n",
        ),
        (
            Failure::Internal,
            "HTTP/1.0 500 Internal Server Error (weird end reason)\r\nTor-Capabilities: \r\n\
             Via: tor/1.0 tor-network (tor 0.4.9.11)\r\nTor-Request-Failed: c-tor/PRIVATE_ADDR\r\n\r\n",
        ),
        (
            Failure::TrafficOff,
            "HTTP/1.0 403 Forbidden (entry policy violation)\r\nTor-Capabilities: \r\n\
             Via: tor/1.0 tor-network (tor 0.4.9.11)\r\n\r\n",
        ),
    ] {
        assert_eq!(told(Some(failure)), [Output::Reply(ours(expected)), Output::Close]);
    }
    let options =
        "HTTP/1.0 200 OK\r\nAllow: OPTIONS, CONNECT\r\nTor-Capabilities: \r\nServer: tor/1.0 (tor 0.4.9.11)\r\n\r\n";
    assert_eq!(heard("OPTIONS * HTTP/1.1\r\nHost: localhost"), [Output::Reply(ours(options)), Output::Close]);
}

#[test]
fn a_target_is_a_host_and_a_port() {
    for (target, host, port) in [
        ("example.com:443", "example.com", 443),
        ("EXAMPLE.com:1", "example.com", 1),
        ("192.0.2.1:80", "192.0.2.1", 80),
        ("[2001:db8::1]:80", "2001:db8::1", 80),
        ("_odd.example.com:80", "_odd.example.com", 80),
        // C tor: no port is port 0, which the door refuses.
        ("example.com", "example.com", 0),
        ("[2001:db8::1]", "2001:db8::1", 0),
        ("2001:db8::1:80", "2001:db8::1:80", 0),
    ] {
        for head in [format!("CONNECT {target} HTTP/1.1"), format!("  connect\t{target}  HTTP/1.0\r\nHost: x")] {
            assert_eq!(heard(&head), [Output::Request(request(host, port))], "{head}");
        }
    }
    let long = format!("{}:80", "a".repeat(256));
    let violation = ("502 Bad Gateway (tor protocol violation)", Some("end/TORPROTOCOL"));
    for (target, (status, reason)) in [
        ("example.com:0", (BAD_REQUEST, None)),
        ("example.com:65536", (BAD_REQUEST, None)),
        ("example.com:", (BAD_REQUEST, None)),
        ("example.com:80x", (BAD_REQUEST, None)),
        (long.as_str(), (TOO_LONG, None)),
        ("a..b:80", violation),
        ("a/b:80", violation),
        ("x.exit:80", violation),
        ("x.onion:80", violation),
        (":80", violation),
        ("http://example.com:80", violation),
        ("http://example.com:80/", violation),
        ("https://example.com/a:80", violation),
    ] {
        assert_eq!(heard(&format!("CONNECT {target} HTTP/1.0")), refused(status, reason), "{target}");
    }
}

#[test]
fn what_is_no_http_gets_no_answer() {
    for head in [
        "",
        "CONNECT",
        "CONNECT example.com:80",
        "CONNECT example.com:80 HTTP/2.0",
        "CONNECT example.com:80 HTTP/1.",
        "CONNECT example.com:80 HTTP/1.1x",
        "CONNECT example.com:80 HTTP/1.99999999999",
        "CONNECT example.com:80 and HTTP/1.1",
        "CONNECT exam#ple.com:80 HTTP/1.1",
        "\r\nCONNECT example.com:80 HTTP/1.1",
        "\x16\x03\x01",
    ] {
        assert_eq!(heard(head), [Output::Close], "{head:?}");
    }
    assert_eq!(run(&mut HttpConnect::new(), b"CONNECT a:1 HTTP/1.1\nHost: x\r\n\r\n"), [Output::Close]);
}

#[test]
fn pages_are_refused_in_words_to_those_who_ask_this_machine() {
    for host in ["localhost", "localhost:9080", "LOCALHOST", "127.0.0.1:9080", "[::1]:1", "::1"] {
        let outputs = heard(&format!("GET http://example.com/ HTTP/1.1\r\nHost: {host}"));
        assert_eq!(outputs, [Output::Reply(not_a_proxy().into_bytes()), Output::Close], "{host}");
    }
    for head in [
        "GET http://example.com/ HTTP/1.1\r\nHost: example.com",
        "GET / HTTP/1.0",
        "OPTIONS * HTTP/1.1\r\nHost: localhost.example.com",
        "OPTIONS * HTTP/1.1\r\nHost: localhost:0",
        "POST / HTTP/1.1\r\nHost: 192.0.2.1",
    ] {
        assert_eq!(heard(head), [Output::Close], "{head}");
    }
    assert!(not_a_proxy().starts_with("HTTP/1.0 405 Method Not Allowed\r\nContent-Type: text/html"));
}

#[test]
fn headers_say_who_asks_and_for_which_addresses() {
    let credentials = |headers: &str| match &heard(&format!("CONNECT host:80 HTTP/1.1\r\n{headers}"))[..] {
        [Output::Request(request)] => request.credentials.clone().map(|it| (it.user, it.password)),
        outputs => panic!("{headers}: {outputs:?}"),
    };
    let both = |user: &[u8], password: &[u8]| Some((user.to_vec(), password.to_vec()));
    for (headers, expected) in [
        ("Host: host", None),
        ("Proxy-Authorization: Basic dG9yOng=", both(b"Basic dG9yOng=", b"")),
        ("Tor-Stream-Isolation: a", both(b"", b"a\x01\xFF\x01\xFF")),
        ("X-Tor-Stream-Isolation: b", both(b"", b"\x01\xFF\x01\xFFb")),
        ("x-tor-stream-ISOLATION:b \r\nTor-Stream-Isolation:\ta", both(b"", b"a\x01\xFF\x01\xFFb")),
        ("Proxy-Authorization: x\r\nTor-Stream-Isolation: ", both(b"x", b"\x01\xFF\x01\xFF")),
        ("Tor-Stream-Isolation: a\r\nTor-Stream-Isolation: b", both(b"", b"a\x01\xFF\x01\xFF")),
        ("Not-Tor-Stream-Isolation: a", None),
    ] {
        assert_eq!(credentials(headers), expected, "{headers}");
    }
    let preferred = |value: &str| heard(&format!("CONNECT host:80 HTTP/1.1\r\nTor-Family-Preference: {value}"));
    for (value, expected) in [
        ("ipv4-preferred", Preference::Ipv4First),
        ("IPv6-Preferred", Preference::Ipv6First),
        ("ipv4-only", Preference::Ipv4Only),
        ("ipv6-only", Preference::Ipv6Only),
    ] {
        let expected = Request { preference: Some(expected), ..request("host", 80) };
        assert_eq!(preferred(value), [Output::Request(expected)], "{value}");
    }
    assert_eq!(preferred("ipv5-only"), refused(BAD_REQUEST, None));
    assert_eq!(heard("CONNECT host:80 HTTP/1.1\r\nTor-RPC-Target: x"), refused(NO_RPC, None));
}

/// After C tor's src/test/test_proto_http.c, which calls nothing at all old too.
#[test]
fn who_asks_has_a_form_that_was_made_for_it() {
    for (value, is_old) in [
        ("", false),
        ("Basic dG9yOng=", false),
        ("bAsIc  dG9yOng=", false),
        ("Basic dG9yOg", false),
        ("Basic dG9yLWlzbzo=", true),
        ("Basic dG9y", true),
        ("Basic !", true),
        ("Basic", true),
        ("Digest dG9yOng=", true),
        ("Foo Bar", true),
        ("Basicish Bar", true),
        ("Basic x", true),
        ("Basic Zm9vOmJhcg==", true),
        ("Basic dG9yeDpiYXI=", true),
        ("Basic dG9yOnJhbmRvbQ==", false),
    ] {
        assert_eq!(is_old_authorization(value.as_bytes()), is_old, "{value}");
    }
}

#[test]
fn what_comes_behind_the_head_is_the_streams() {
    let mut http = HttpConnect::new();
    let outputs = run(&mut http, b"CONNECT host:80 HTTP/1.1\r\nContent-Length: 1\r\n\r\nGET / HTTP/1.0\r\n\r\n");
    assert_eq!(outputs, [Output::Request(request("host", 80))]);
    assert_eq!(http.take_early(), b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(run(&mut http, b"more"), []);
    http.handle_connected();
    assert_eq!(run(&mut http, b""), [Output::Reply(answer(OK, None))]);
    assert_eq!(http.take_early(), b"more");
    http.handle_failure(Failure::Misc);
    assert_eq!(run(&mut http, b""), [], "it is answered once");
}

#[test]
fn a_head_has_a_longest() {
    let head = |length: usize| {
        let front = b"CONNECT host:80 HTTP/1.1\r\nX: ";
        [&front[..], &vec![b'x'; length - front.len() - HEAD_END.len()], HEAD_END].concat()
    };
    let expected = [Output::Request(request("host", 80))];
    assert_eq!(run(&mut HttpConnect::new(), &head(MAX_HEAD_LEN)), expected);
    assert_eq!(run(&mut HttpConnect::new(), &head(MAX_HEAD_LEN + 1)), [Output::Close]);
    let mut slow = HttpConnect::new();
    let all = head(MAX_HEAD_LEN);
    for (place, byte) in all.iter().enumerate() {
        assert_eq!(slow.take_early(), []);
        let outputs = run(&mut slow, &[*byte]);
        assert_eq!(outputs.is_empty(), place + 1 < all.len());
    }
    let mut endless = HttpConnect::new();
    let outputs: Vec<_> = (0..MAX_HEAD_LEN).flat_map(|_| run(&mut endless, b"x")).collect();
    assert_eq!(outputs, [Output::Close]);
}

#[test]
fn each_failure_has_an_answer_of_its_kind() {
    for (failure, code, reason) in [
        (Failure::ResolveFailed, "503", Some("end/RESOLVEFAILED")),
        (Failure::NoRoute, "503", Some("end/NOROUTE")),
        (Failure::ExitPolicy, "403", Some("end/EXITPOLICY")),
        (Failure::Reset, "403", Some("end/CONNRESET")),
        (Failure::Destroyed, "502", Some("end/DESTROY")),
        (Failure::Done, "502", Some("end/DONE")),
        (Failure::Hibernating, "502", Some("end/HIBERNATING")),
        (Failure::ExitInternal, "502", Some("end/INTERNAL")),
        (Failure::ResourceLimit, "502", Some("end/RESOURCELIMIT")),
        (Failure::TorProtocol, "502", Some("end/TORPROTOCOL")),
        (Failure::NoPort, "502", Some("end/TORPROTOCOL")),
        (Failure::TimedOut, "504", Some("end/TIMEOUT")),
        (Failure::ExitTimedOut, "504", Some("end/TIMEOUT")),
        (Failure::Misc, "500", Some("end/MISC")),
        (Failure::NotDirectory, "500", Some("end/NOTDIRECTORY")),
        (Failure::Unattachable, "500", Some("c-tor/CANT_ATTACH")),
        (Failure::NoDirectory, "500", Some("c-tor/NET_UNREACHABLE")),
        (Failure::PlaintextPort, "403", None),
    ] {
        let (status, said) = status(failure);
        assert_eq!((status.split(' ').next(), said), (Some(code), reason), "{failure:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "(CONNECT |GET |\\[|\\]|:|80|[a-z.]{0,5}| HTTP/1.1|\r\n|Host: |\r\n\r\n){0,14}") {
        fuzz(&bytes);
        fuzz(&[&[3], text.as_bytes()].concat());
    }
}
