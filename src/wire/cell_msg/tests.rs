//! Vectors are of Arti 2.7, tor-cell tests/testvec_chanmsg.rs (most of them taken there
//! from C tor in a test network), unless a test says otherwise.

use super::super::testing::{assert_each_prefix_is_truncated, assert_reads_back, assert_vector, encoded, unhex};
use super::*;
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn versions() {
    let bytes = unhex("000300040005");
    let versions = Versions::parse(&bytes).unwrap();
    assert_eq!(versions.iter().collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(versions.highest_common(&[4, 5, 6]), Some(5));
    assert_eq!(versions.highest_common(&[1, 2]), None);
    assert_eq!(encoded(|out| versions.encode(out)), bytes);
    // Cut between two versions, a shorter list; cut inside one, none.
    for n in 0..bytes.len() {
        let cut = Versions::parse(&bytes[..n]).map(|versions| versions.iter().count());
        assert_eq!(cut, if n % 2 == 0 { Ok(n / 2) } else { Err(Error::VersionsOddLength) });
    }
    assert_eq!(Versions::parse(&[]).unwrap().highest_common(&[4, 5]), None);
}

#[test]
fn auth_challenge() {
    let challenge = "00DA5C085DEE4F3656710DA3B73652E48ACD5BAE608335FCA3FB6C4DEE104A51";
    let bytes = unhex(&format!("{challenge} 0002 0001 0003"));
    let message = AuthChallenge::parse(&bytes).unwrap();
    assert_eq!(message.challenge.to_vec(), unhex(challenge));
    assert_eq!(message.methods().collect::<Vec<_>>(), [1, 3]);
    assert_eq!(encoded(|out| message.encode(out)), bytes);
    assert_eq!(encoded(|out| AuthChallenge::encode_list(&message.challenge, &[1, 3], out)), bytes);
    assert_each_prefix_is_truncated(&bytes, |bytes| AuthChallenge::parse(bytes).map(drop));
}

#[test]
fn authenticate() {
    assert_vector!(Authenticate, "0003 0005 4155544830", Authenticate { method: 3, data: b"AUTH0" });
}

/// Without the two X.509 certificates, which only make it longer.
#[test]
fn certs() {
    let signing = unhex(
        "01040006CC2A01F82294B866A31F01FC5D0DA8572850A9B929545C3266558D7D2316E3B74172B00100200400DCB604DB
         2034B00FD16986D4ADB9D16B21CB4E4457A33DEC0F538903683E96E9FF1A5203FA27F86EF7528D89A0845D2520166E34
         0754FFEA2AAE0F612B7CE5DA094A0236CDAC45034B0B6842C18E7F6B51B93A3CF7E60663B8AD061C30A62602",
    );
    let link = unhex(
        "01050006C98A03B4FD606B64E4CBD466B8D76CB131069BAE6F3AA1878857C9F624E31D77A799B8007173E5F8068431D0
         D3F5EE16B4C9FFD59DF373E152A87281BAE744AA5FCF72171BF4B27C4E8FC1C6A9FC5CA11058BC49647063D7903CFD9F
         512F89099B27BC0C",
    );
    let cross = unhex(
        "DCB604DB2034B00FD16986D4ADB9D16B21CB4E4457A33DEC0F538903683E96E90006DA3A805CF6006F9179066534DE6B
         45AD47A5C469063EE462762723396DC9F25452A0A52DA3F5087DD239F2A311F6B0D4DFEFF4ABD089DC3D0237A0ABAB19
         EB2045B91CDCAF04BE0A72D548A27BF2E77BD876ECFE5E1BE622350DA6BF31F6E306ED896488DD5B39409B23FC3EB7B2
         C9F7328EB18DA36D54D80575899EA6507CCBFCDF1F",
    );
    let bytes = [&unhex("03 04 008C")[..], &signing, &unhex("05 0068"), &link, &unhex("07 00A5"), &cross].concat();
    let list = [
        (CertType::IDENTITY_V_SIGNING, &signing[..]),
        (CertType::SIGNING_V_TLS_CERT, &link[..]),
        (CertType::RSA_ID_V_IDENTITY, &cross[..]),
    ];
    assert_eq!(encoded(|out| Certs::encode_list(&list, out)), bytes);
    let certs = Certs::parse(&bytes).unwrap();
    assert_eq!(certs.iter().collect::<Vec<_>>(), list);
    assert_eq!(certs.get(CertType::SIGNING_V_TLS_CERT), Some(&link[..]));
    assert_eq!(certs.get(CertType::RSA_ID_X509), None);
    assert_eq!(encoded(|out| certs.encode(out)), bytes);
    assert_each_prefix_is_truncated(&bytes, |bytes| Certs::parse(bytes).map(drop));
    let trailing = [&bytes[..], b"future"].concat();
    assert_eq!(Certs::parse(&trailing), Ok(certs));
}

#[test]
fn a_certificate_type_comes_once() {
    assert_eq!(Certs::parse(&unhex("02 05 0000 05 0001 00")), Err(Error::CertificateTwice));
    assert_eq!(Certs::parse(&unhex("00")).unwrap().iter().count(), 0);
    let most: Vec<_> = (0..=254).map(|kind| (CertType(kind), &b"x"[..])).collect();
    let bytes = encoded(|out| Certs::encode_list(&most, out));
    assert_eq!(Certs::parse(&bytes).unwrap().iter().count(), 255);
    let too_many = [&most[..], &[(CertType(255), &b"x"[..])]].concat();
    assert_eq!(Certs::encode_list(&too_many, &mut Writer::new(&mut [0; 9])), Err(Error::Unencodable));
}

#[test]
fn netinfo() {
    let local = ip("127.0.0.1");
    assert_vector!(Netinfo, "00000000 04 04 7F000001 00", Netinfo::of_client(local));
    assert_vector!(Netinfo, "00000000 04 04 00000000 00", Netinfo::of_client(ip("0.0.0.0")));
    for (hex, time, other, own) in [
        ("5F6F80E1 04 04 7F000001 01 04 04 7F000001", 0x5f6f_80e1, local, &[local][..]),
        (
            "5F6F859C 06 10 00000000000000000000000000000001 02 04 04 7F000001
             06 10 00000000000000000000000000000001",
            0x5f6f_859c,
            ip("::1"),
            &[local, ip("::1")],
        ),
    ] {
        let bytes = unhex(hex);
        let message = Netinfo::parse(&bytes).unwrap();
        assert_eq!((message.timestamp, message.other.unwrap().into_inner()), (time, other));
        assert_eq!(message.own().collect::<Vec<_>>(), own);
        assert_eq!(encoded(|out| message.encode(out)), bytes);
        assert_eq!(encoded(|out| Netinfo::encode_relay(time, other, own, out)), bytes);
        assert_each_prefix_is_truncated(&bytes, |bytes| Netinfo::parse(bytes).map(drop));
    }
}

/// The second is of C tor 0.4.9.11, test_netinfo.c.
#[test]
fn netinfo_skips_addresses_of_unknown_types() {
    let bytes = unhex("5F6F859C 09 02 0000 02 BB 02 FFFF 06 10 00000000000000000000000000000001");
    let message = Netinfo::parse(&bytes).unwrap();
    assert_eq!(message.other, None);
    assert_eq!(message.own().collect::<Vec<_>>(), [ip("::1")]);
    assert_reparses!(Netinfo, &bytes);
    let bytes = unhex("00000001 04 04 08080808 01 03 05 6164727221");
    let message = Netinfo::parse(&bytes).unwrap();
    assert_eq!((message.timestamp, message.own().count()), (1, 0));
    assert_eq!(encoded(|out| message.encode(out)), bytes);
}

/// C tor 0.4.9.11, trunnel/netinfo.c; Arti would skip them.
#[test]
fn netinfo_refuses_addresses_of_wrong_length() {
    for hex in ["00000000 04 03 7F0000 00", "00000000 04 04 7F000001 01 06 04 00000000"] {
        assert_eq!(Netinfo::parse(&unhex(hex)), Err(Error::AddressWrongLength));
    }
}

#[test]
fn netinfo_prints_no_address() {
    let bytes = encoded(|out| Netinfo::encode_relay(7, ip("1.2.3.4"), &[ip("5.6.7.8")], out));
    let text = format!("{:?}", Netinfo::parse(&bytes).unwrap());
    assert!(text.contains("[scrubbed]") && !text.contains("1.2.3.4") && !text.contains("5.6.7.8"), "{text}");
}

#[test]
fn create_fast_and_created_fast() {
    let x: [u8; 20] = unhex("0DC2A5EB921EF4B71F41184A99F4FAD99620A648").try_into().unwrap();
    assert_vector!(CreateFast, "0DC2A5EB921EF4B71F41184A99F4FAD99620A648", CreateFast { x });
    let y: [u8; 20] = unhex("03B74250B01D09FDA72B70D63AE7994926F13055").try_into().unwrap();
    let key_hash: [u8; 20] = unhex("BED23485F6B3C8C3CEAFE1DF48A9FF8BAC4993FC").try_into().unwrap();
    assert_vector!(
        CreatedFast,
        "03B74250B01D09FDA72B70D63AE7994926F13055 BED23485F6B3C8C3CEAFE1DF48A9FF8BAC4993FC",
        CreatedFast { y, key_hash }
    );
    assert_eq!(format!("{:?}", CreateFast { x }), "CreateFast { .. }");
}

#[test]
fn create2_and_created2() {
    let data = unhex(
        "09164430E84D3BC56EC7E1D22734742345E2DECE0DE535B66B8E8A0EBBDAE3263C53E02EC2215685CD3A977DC7946FF47F84CD70
         25F75D252D1B35DEA28F32FA912513889A207E5049992DBC9BC541194C13624A",
    );
    assert_vector!(
        Create2,
        &format!("0002 0054 {}", crate::base::text::hex(&data)),
        Create2 { handshake_type: HandshakeType::NTOR, data: &data }
    );
    let data = &data[..64];
    assert_vector!(Created2, &format!("0040 {}", crate::base::text::hex(data)), Created2 { data });
}

/// C tor's TROVE-2026-003.
#[test]
fn a_handshake_longer_than_its_cell_is_refused() {
    let mut body = [0; 509];
    body[..2].copy_from_slice(&508_u16.to_be_bytes());
    assert_eq!(Created2::parse(&body), Err(Error::Truncated));
    body[..2].copy_from_slice(&507_u16.to_be_bytes());
    assert_eq!(Created2::parse(&body).unwrap().data.len(), 507);
    body[..4].copy_from_slice(&[0, 3, 1, 0xFA]);
    assert_eq!(Create2::parse(&body), Err(Error::Truncated));
    body[3] = 0xF9;
    assert_eq!(Create2::parse(&body).unwrap().data.len(), 505);
}

#[test]
fn destroy() {
    assert_vector!(Destroy, "04", Destroy { reason: DestroyReason::HIBERNATING });
    assert_vector!(Destroy, "00", Destroy { reason: DestroyReason::NONE });
    assert_vector!(Destroy, "FF", Destroy { reason: DestroyReason(255) });
}

#[test]
fn padding_negotiate() {
    assert_vector!(PaddingNegotiate, "00 02 0100 0200", PaddingNegotiate::Start { low_ms: 256, high_ms: 512 });
    assert_vector!(PaddingNegotiate, "00 01 0000 0000", PaddingNegotiate::Stop);
    assert_eq!(PaddingNegotiate::parse(&unhex("00 01 1111 2222")), Ok(PaddingNegotiate::Stop));
    for hex in ["90 0303 00 0000", "00 00 0000 0000", "00 03 0000 0000"] {
        assert_eq!(PaddingNegotiate::parse(&unhex(hex)), Err(Error::LinkPaddingUnknown));
    }
}

proptest! {
    #[test]
    fn handshakes_read_back(kind in any::<u16>(), data in proptest::collection::vec(any::<u8>(), 0..600)) {
        let create = Create2 { handshake_type: HandshakeType(kind), data: &data };
        assert_reads_back!(Create2, create);
        let created = Created2 { data: &data };
        assert_reads_back!(Created2, created);
        let authenticate = Authenticate { method: kind, data: &data };
        assert_reads_back!(Authenticate, authenticate);
    }

    #[test]
    fn lists_read_back(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..10),
        methods in any::<Vec<u16>>(),
        challenge in any::<[u8; 32]>(),
    ) {
        let certs: Vec<_> = bodies.iter().zip(0..).map(|(body, kind)| (CertType(kind), &body[..])).collect();
        let bytes = encoded(|out| Certs::encode_list(&certs, out));
        prop_assert_eq!(Certs::parse(&bytes).unwrap().iter().collect::<Vec<_>>(), certs);
        let bytes = encoded(|out| AuthChallenge::encode_list(&challenge, &methods, out));
        prop_assert_eq!(AuthChallenge::parse(&bytes).unwrap().methods().collect::<Vec<_>>(), methods);
    }

    #[test]
    fn netinfo_reads_back(
        time in any::<u32>(),
        other in any::<IpAddr>(),
        own in proptest::collection::vec(any::<IpAddr>(), 0..20),
    ) {
        let bytes = encoded(|out| Netinfo::encode_relay(time, other, &own, out));
        let message = Netinfo::parse(&bytes).unwrap();
        prop_assert_eq!(message.own().collect::<Vec<_>>(), own);
        prop_assert_eq!(message.timestamp, time);
        prop_assert_eq!(message.other.map(Sensitive::into_inner), Some(other).filter(|ip| !ip.is_unspecified()));
    }

    #[test]
    fn link_padding_reads_back(low_ms in any::<u16>(), high_ms in any::<u16>()) {
        let start = PaddingNegotiate::Start { low_ms, high_ms };
        assert_reads_back!(PaddingNegotiate, start);
    }

    #[test]
    fn what_parses_is_written_and_parses_again(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        fuzz_cell(&bytes);
    }
}
