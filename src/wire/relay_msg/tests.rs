//! Vectors are of Arti 2.7, tor-cell tests/testvec_relaymsg.rs (some taken there from C
//! tor in a test network), unless a test says otherwise.

use super::super::testing::{assert_reads_back, assert_vector, encoded, unhex};
use super::*;
use proptest::prelude::*;

fn begin(host: &str, port: u16, flags: u32) -> Begin<'_> {
    Begin { host: Sensitive::new(host), port, flags: BeginFlags(flags) }
}

fn at(ip: &str, ttl: u32) -> Option<(Sensitive<IpAddr>, u32)> {
    Some((Sensitive::new(ip.parse().unwrap()), ttl))
}

#[test]
fn begin_vectors() {
    for (hex, message) in [
        ("3132372E302E302E313A3730303300", begin("127.0.0.1", 7003, 0)),
        ("7777772e786b63642e636f6d3a34343300 00000003", begin("www.xkcd.com", 443, 3)),
        ("5b323030313a6462383a3a315d3a323200", begin("2001:db8::1", 22, 0)),
    ] {
        let bytes = unhex(hex);
        assert_eq!(Begin::parse(&bytes), Ok(message));
        assert_eq!(encoded(|out| message.encode(out)), bytes);
    }
    assert_eq!(Begin::parse(b"[::]!\0"), Err(Error::PortMissing));
    assert_eq!(Begin::parse("torproject™.org:443\0".as_bytes()), Err(Error::TargetMalformed));
}

/// C tor 0.4.9.11, test_cell_formats.c, `test_cfmt_begin_cells`.
#[test]
fn begin_vectors_of_c_tor() {
    for (bytes, message) in [
        (&b"a.b:9\0"[..], begin("a.b", 9, 0)),
        (b"here-is-a-nice-long.hostname.com:65535\0", begin("here-is-a-nice-long.hostname.com", 65535, 0)),
        (b"18.9.22.169:80\0", begin("18.9.22.169", 80, 0)),
        (b"[2620::6b0:b:1a1a:0:26e5:480e]:80\0", begin("2620::6b0:b:1a1a:0:26e5:480e", 80, 0)),
        (b"another.example.com:80\0\x01\x02", begin("another.example.com", 80, 0)),
        (b"another.example.com:443\0\x01\x02\x03\x04", begin("another.example.com", 443, 0x0102_0304)),
        (b"a-further.example.com:22\0\xee\xaa\x00\xffHi mom", begin("a-further.example.com", 22, 0xeeaa_00ff)),
    ] {
        assert_eq!(Begin::parse(bytes), Ok(message));
        assert_reads_back!(Begin, message);
    }
}

#[test]
fn begin_to_an_onion_service_names_only_a_port() {
    assert_eq!(Begin::parse(b":80\0"), Ok(begin("", 80, 0)));
    assert_eq!(encoded(|out| begin("", 80, 0).encode(out)), b":80\0");
}

#[test]
fn a_malformed_target_is_refused() {
    for bytes in [&b"a.b:9"[..], b"", b"\xC3\xA9:1\0"] {
        assert_eq!(Begin::parse(bytes), Err(Error::TargetMalformed), "{bytes:?}");
    }
    for bytes in [
        &b"\0"[..],
        b"a\0",
        b"a:\0",
        b"a:0\0",
        b"a:65536\0",
        b"a:+1\0",
        b"a:1x\0",
        b"::1:80\0",
        b"[::1]80\0",
        b"[::1\0",
    ] {
        assert_eq!(Begin::parse(bytes), Err(Error::PortMissing), "{bytes:?}");
    }
    let whole = b"www.xkcd.com:443\0";
    for n in 0..whole.len() {
        assert_eq!(Begin::parse(&whole[..n]), Err(Error::TargetMalformed), "the first {n} bytes");
    }
    for (host, port) in [("a", 0), ("a\0", 1), ("é", 1), ("::1]", 1), ("[a", 1)] {
        assert_eq!(begin(host, port, 0).encode(&mut Writer::new(&mut [0; 99])), Err(Error::Unencodable), "{host}");
    }
}

#[test]
fn begin_is_written_in_one_form() {
    for (bytes, canonical) in [(&b"[a.b]:080\0"[..], &b"a.b:80\0"[..]), (b"a.b:80\0\0\0\0\0", b"a.b:80\0")] {
        let message = Begin::parse(bytes).unwrap();
        assert_eq!(encoded(|out| message.encode(out)), canonical);
    }
}

#[test]
fn flags_say_what_may_be_answered() {
    let flags = BeginFlags::IPV6_OK.with(BeginFlags::IPV6_PREFERRED);
    assert_eq!(flags, BeginFlags(5));
    assert!(flags.has(BeginFlags::IPV6_OK) && !flags.has(BeginFlags::IPV4_NOT_OK));
}

#[test]
fn connected_vectors() {
    for (hex, address) in [
        ("", None),
        ("7F000001 00000E10", at("127.0.0.1", 0xe10)),
        ("00000000 06 20010db8000000000000000000001122 00000E10", at("2001:db8::1122", 0xe10)),
    ] {
        let bytes = unhex(hex);
        assert_eq!(Connected::parse(&bytes), Ok(Connected { address }));
        assert_eq!(encoded(|out| Connected { address }.encode(out)), bytes);
    }
    let bogus = unhex("00000000 07 20010db8000000000000000000001122 00000E10");
    assert_eq!(Connected::parse(&bogus), Err(Error::AddressTypeUnknown));
}

/// C tor 0.4.9.11, test_cell_formats.c, `test_cfmt_connected_cells`. C tor takes lifetimes
/// over 2^31 - 1 for unknown; here they stay what they are.
#[test]
fn connected_vectors_of_c_tor() {
    for (hex, address) in [
        ("20304050", at("32.48.64.80", TTL_UNKNOWN)),
        ("11121314 15", at("17.18.19.20", TTL_UNKNOWN)),
        ("02030405 00000e10", at("2.3.4.5", 3600)),
        ("02030405 f0000000", at("2.3.4.5", 0xF000_0000)),
        ("00000000 06 2607f8b0400c0c020000000000000068 00000258", at("2607:f8b0:400c:c02::68", 600)),
    ] {
        assert_eq!(Connected::parse(&unhex(hex)), Ok(Connected { address }));
        assert_reads_back!(Connected, Connected { address });
    }
}

/// C tor 0.4.9.11, core/or/relay.c, `connected_cell_parse`.
#[test]
fn connected_may_lack_only_the_lifetime_of_an_ipv4_address() {
    let bytes = unhex("7F000001 00000E10");
    for n in 1..8 {
        let parsed = Connected::parse(&bytes[..n]);
        match n {
            1..4 => assert_eq!(parsed, Err(Error::Truncated)),
            _ => assert_eq!(parsed, Ok(Connected { address: at("127.0.0.1", TTL_UNKNOWN) })),
        }
    }
    let bytes = unhex("00000000 06 20010db8000000000000000000001122 00000E10");
    for n in 1..bytes.len() {
        assert_eq!(Connected::parse(&bytes[..n]), Err(Error::Truncated), "the first {n} bytes");
    }
    let nowhere = Connected { address: at("0.0.0.0", 1) };
    assert_eq!(nowhere.encode(&mut Writer::new(&mut [0; 99])), Err(Error::Unencodable));
}

#[test]
fn end_vectors() {
    for (hex, message) in [
        ("01", End::new(EndReason::MISC)),
        ("06", End::new(EndReason::DONE)),
        ("04", End::new(EndReason::EXITPOLICY)),
        ("FE", End::new(EndReason(254))),
        ("04 7f000007 00000100", End { reason: EndReason::EXITPOLICY, address: at("127.0.0.7", 256) }),
        (
            "04 20010db8 00000000 00000000 0000f00b 00000200",
            End { reason: EndReason::EXITPOLICY, address: at("2001:db8::f00b", 512) },
        ),
    ] {
        let bytes = unhex(hex);
        assert_eq!(End::parse(&bytes), Ok(message));
        assert_eq!(encoded(|out| message.encode(out)), bytes);
    }
    let message = End::parse(&unhex("04 7f000007")).unwrap();
    assert_eq!(message.address, at("127.0.0.7", u32::MAX));
    assert_eq!(encoded(|out| message.encode(out)), unhex("04 7f000007 ffffffff"));
}

/// C tor's TROVE-2026-011; Arti takes it for MISC.
#[test]
fn end_must_give_a_reason() {
    assert_eq!(End::parse(&[]), Err(Error::EndWithoutReason));
}

#[test]
fn end_has_an_address_only_where_it_can_be_one() {
    for len in (0..40).filter(|len| ![4, 8, 16, 20].contains(len)) {
        let bytes = [&[4][..], &vec![1; len]].concat();
        assert_eq!(End::parse(&bytes), Ok(End::new(EndReason::EXITPOLICY)));
    }
    assert_eq!(End::parse(&unhex("06 7f000007 00000100")), Ok(End::new(EndReason::DONE)));
    let odd = End { reason: EndReason::DONE, address: at("127.0.0.7", 256) };
    assert_eq!(odd.encode(&mut Writer::new(&mut [0; 99])), Err(Error::Unencodable));
}

#[test]
fn resolve_vectors() {
    for name in [
        "www.torproject.org",
        "1.0.0.127.in-addr.arpa",
        "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.2.ip6.arpa",
    ] {
        let bytes = format!("{name}\0").into_bytes();
        let message = Resolve { name: Sensitive::new(name) };
        assert_eq!(Resolve::parse(&bytes), Ok(message));
        assert_eq!(encoded(|out| message.encode(out)), bytes);
        for n in 0..bytes.len() {
            assert_eq!(Resolve::parse(&bytes[..n]), Err(Error::TargetMalformed), "the first {n} bytes");
        }
    }
    let odd = Resolve { name: Sensitive::new("a\0b") };
    assert_eq!(odd.encode(&mut Writer::new(&mut [0; 99])), Err(Error::Unencodable));
}

#[test]
fn resolved_vectors() {
    let address = |ip: &str| Answer::Address(Sensitive::new(ip.parse().unwrap()));
    for (hex, answers) in [
        ("", &[][..]),
        ("F0 00 00000E10", &[(Answer::TransientError, 3600)]),
        ("F1 00 00000E10", &[(Answer::PermanentError, 3600)]),
        (
            "04 04 7f000001 00000E10 04 04 7f000002 00001c20",
            &[(address("127.0.0.1"), 3600), (address("127.0.0.2"), 7200)],
        ),
        ("06 10 12340000000000000000000000005678 00000080", &[(address("1234::5678"), 128)]),
        (
            "00 12 7777772e746f7270726f6a6563742e6f7267 00000258",
            &[(Answer::Hostname(Sensitive::new(b"www.torproject.org")), 600)],
        ),
    ] {
        let bytes = unhex(hex);
        let message = Resolved::parse(&bytes).unwrap();
        assert_eq!(message.iter().collect::<Vec<_>>(), answers);
        assert_eq!(encoded(|out| message.encode(out)), bytes);
        assert_eq!(encoded(|out| Resolved::encode_list(answers, out)), bytes);
    }
    let bytes = unhex("63 12 7777772e746f7270726f6a6563742e6f7267 00000258");
    let message = Resolved::parse(&bytes).unwrap();
    assert_eq!(message.iter().collect::<Vec<_>>(), [(Answer::Unknown(99), 600)]);
    assert_eq!(encoded(|out| message.encode(out)), bytes);
}

/// C tor 0.4.9.11, test_cell_formats.c, `test_cfmt_resolved_cells`, "one of each".
#[test]
fn resolved_vector_of_c_tor() {
    let mut bytes = b"\xee\x16fault in the AE35 unit\x09\x09\x01\x01".to_vec();
    bytes.extend(b"\xf0\x2bI'm sorry, Dave. I'm afraid I can't do that\x00\x11\x22\x33");
    bytes.extend(unhex("06 10 200290900000000000000000f0f0abcd 02000001 04 04 7f00020a 00000100"));
    bytes.extend(b"\x00\x11motherbrain.zebes\0\0\0\0");
    let message = Resolved::parse(&bytes).unwrap();
    let address = |ip: &str| Answer::Address(Sensitive::new(ip.parse().unwrap()));
    assert_eq!(
        message.iter().collect::<Vec<_>>(),
        [
            (Answer::Unknown(0xEE), 0x0909_0101),
            (Answer::TransientError, 0x0011_2233),
            (address("2002:9090::f0f0:abcd"), 0x0200_0001),
            (address("127.0.2.10"), 256),
            (Answer::Hostname(Sensitive::new(b"motherbrain.zebes")), 0),
        ]
    );
    assert_eq!(encoded(|out| message.encode(out)), bytes);
}

#[test]
fn an_answer_is_as_long_as_its_type_says() {
    for hex in ["04 03 010203 00000001", "06 04 01020304 00000001", "00 00 00000001"] {
        assert_eq!(Resolved::parse(&unhex(hex)), Err(Error::AnswerWrongLength));
    }
    let bytes = unhex("04 04 7f000001 00000E10");
    for n in 1..bytes.len() {
        assert_eq!(Resolved::parse(&bytes[..n]), Err(Error::Truncated), "the first {n} bytes");
    }
    for answer in [Answer::Unknown(99), Answer::Hostname(Sensitive::new(b""))] {
        let written = Resolved::encode_list(&[(answer, 0)], &mut Writer::new(&mut [0; 99]));
        assert_eq!(written, Err(Error::Unencodable));
    }
}

#[test]
fn sendme_vectors() {
    let tag: [u8; 20] = unhex("F01234989823478bcdefabcdef01234567890123").try_into().unwrap();
    let tor1 = Sendme::V1(ClaimedTag::Tor1(tag));
    assert_eq!(format!("{tor1:?}"), "V1(Tor1)", "the tag is not printed");
    let bytes = unhex("01 0014 F01234989823478bcdefabcdef01234567890123");
    assert_eq!(Sendme::parse(&bytes), Ok(tor1));
    assert_eq!(encoded(|out| tor1.encode(out)), bytes);
    for n in 1..bytes.len() {
        assert_eq!(Sendme::parse(&bytes[..n]), Err(Error::Truncated), "the first {n} bytes");
    }
    let cgo = Sendme::V1(ClaimedTag::Cgo([7; 16]));
    assert_eq!(encoded(|out| cgo.encode(out)), [&[1, 0, 16][..], &[7; 16]].concat());
    assert_reads_back!(Sendme, cgo);
    assert_eq!(Sendme::parse(&[]), Ok(Sendme::V0));
    assert_eq!(Sendme::parse(&[0, 0, 16]), Ok(Sendme::V0));
    assert_eq!(encoded(|out| Sendme::V0.encode(out)), b"");
}

#[test]
fn a_tag_is_of_one_of_two_lengths() {
    for len in (0..40_u8).filter(|len| ![16, 20].contains(len)) {
        let bytes = [&[1, 0, len][..], &vec![7; usize::from(len)]].concat();
        assert_eq!(Sendme::parse(&bytes), Err(Error::SendmeTagWrongLength));
    }
    assert_eq!(Sendme::parse(&[2]), Err(Error::SendmeVersionUnknown));
}

/// By hand, after C tor 0.4.9.11, trunnel/flow_control_cells.c.
#[test]
fn xon_and_xoff_vectors() {
    assert_vector!(Xoff, "00", Xoff);
    assert_vector!(Xon, "00 000003E8", Xon { kilobytes_per_second: NonZeroU32::new(1000) });
    assert_vector!(Xon, "00 00000000", Xon { kilobytes_per_second: None });
    assert_eq!(Xoff::parse(&[1]), Err(Error::FlowVersionUnknown));
    assert_eq!(Xon::parse(&[1, 0, 0, 0, 0]), Err(Error::FlowVersionUnknown));
}

#[test]
fn nothing_that_names_a_destination_prints_it() {
    let ip = Sensitive::new(IpAddr::from([192, 0, 2, 77]));
    let host = Sensitive::new("example.com");
    let found = [(Answer::Address(ip), 1), (Answer::Hostname(Sensitive::new(b"example.com")), 1)];
    let found = encoded(|out| Resolved::encode_list(&found, out));
    let text = format!(
        "{:?} {:?} {:?} {:?} {:?}",
        Begin { host, port: 1, flags: BeginFlags(0) },
        Resolve { name: host },
        Connected { address: Some((ip, 1)) },
        End { reason: EndReason::EXITPOLICY, address: Some((ip, 1)) },
        Resolved::parse(&found).unwrap(),
    );
    assert_eq!(text.matches("[scrubbed]").count(), 6, "{text}");
    let bytes = format!("{:?}", b"example");
    for secret in ["example", "192", "77", bytes.trim_matches(['[', ']'])] {
        assert!(!text.contains(secret), "{text}");
    }
}

proptest! {
    #[test]
    fn targets_read_back(
        name in "[a-z0-9.-]{0,255}",
        ip in any::<core::net::Ipv6Addr>(),
        port in 1_u16..,
        flags in any::<u32>(),
    ) {
        assert_reads_back!(Begin, begin(&name, port, flags));
        assert_reads_back!(Begin, begin(&ip.to_string(), port, flags));
        assert_reads_back!(Resolve, Resolve { name: Sensitive::new(&name[..]) });
    }

    #[test]
    fn addresses_read_back(ip in any::<IpAddr>(), ttl in any::<u32>(), reason in any::<u8>()) {
        let address = Some((Sensitive::new(ip), ttl));
        if ip != IpAddr::from([0; 4]) {
            assert_reads_back!(Connected, Connected { address });
        }
        assert_reads_back!(End, End { reason: EndReason::EXITPOLICY, address });
        assert_reads_back!(End, End::new(EndReason(reason)));
        let answers = [(Answer::Address(Sensitive::new(ip)), ttl), (Answer::TransientError, ttl)];
        let bytes = encoded(|out| Resolved::encode_list(&answers, out));
        prop_assert_eq!(Resolved::parse(&bytes).unwrap().iter().collect::<Vec<_>>(), answers);
    }

    #[test]
    fn flow_control_reads_back(tor1 in any::<[u8; 20]>(), cgo in any::<[u8; 16]>(), rate in any::<u32>()) {
        assert_reads_back!(Sendme, Sendme::V1(ClaimedTag::Tor1(tor1)));
        assert_reads_back!(Sendme, Sendme::V1(ClaimedTag::Cgo(cgo)));
        assert_reads_back!(Xon, Xon { kilobytes_per_second: NonZeroU32::new(rate) });
    }

    #[test]
    fn what_parses_is_written_and_parses_again(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        fuzz_relay_message(&bytes);
    }

    #[test]
    fn whatever_a_target_is_it_is_written_and_parses_again(target in "[\\[\\]:a0-9]{0,12}\0.{0,8}") {
        fuzz_relay_message(target.as_bytes());
    }
}
