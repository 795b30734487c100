//! Vectors are of Arti 2.7, tor-cell tests/testvec_relaymsg.rs, unless a test says
//! otherwise.

use super::super::extend::{LinkSpecifier, Target};
use super::super::extension::{CC_REQUEST, Extension, SUBPROTOCOL_REQUEST, Subprotocols};
use super::super::testing::{assert_each_prefix_is_truncated, assert_reads_back, assert_vector, encoded, unhex};
use super::*;
use crate::base::RsaId;
use proptest::prelude::*;

const COOKIE: [u8; COOKIE_LEN] = [1; COOKIE_LEN];

fn array<const N: usize>(hex: &str) -> [u8; N] {
    unhex(hex).try_into().unwrap()
}

/// `establish_intro_canned`: made by C tor in a test network.
#[test]
fn establish_intro_of_c_tor() {
    let bytes = unhex(
        "02 0020 75BC879BF697A9B12E1E10596FEF041127FECD11FDD80706AEAE35812EA74328 00
         A3DF998D6749A9323035AD23DAA7F8607E4F87473A975E50A42DEC9C0E565C48 0040
         5A7F5E53D55B307B5F7866AE14508DDA3412E2B3E4805176C25413CEDF204F7F
         53EAECADC0844472AA7BEC3BDCBA0A65F1FCDEF397B399F534F46E535B0E6301",
    );
    let message = EstablishIntro::parse(&bytes).unwrap();
    assert_eq!(message.auth_key, array("75BC879BF697A9B12E1E10596FEF041127FECD11FDD80706AEAE35812EA74328"));
    assert_eq!(message.extensions, Extensions::NONE);
    assert_eq!(message.handshake_auth, array("A3DF998D6749A9323035AD23DAA7F8607E4F87473A975E50A42DEC9C0E565C48"));
    assert_eq!(message.signature[..4], unhex("5A7F5E53"));
    assert_eq!(encoded(|out| message.encode(out)), bytes);
    assert_each_prefix_is_truncated(&bytes, |bytes| EstablishIntro::parse(bytes).map(drop));
}

#[test]
fn the_mac_and_the_signature_cover_all_before_them() {
    let bytes = unhex(&format!(
        "02 0020 {} 02 01 13 02 01 0000000000000001 02 0000000000000002 02 01 00 {} 0040 {}",
        "33".repeat(32),
        "01".repeat(32),
        "15".repeat(64)
    ));
    let message = EstablishIntro::parse(&bytes).unwrap();
    assert_eq!(message.maced(&bytes), &bytes[..bytes.len() - 98]);
    assert_eq!(message.signed(&bytes), &bytes[..bytes.len() - 66]);
    assert_eq!(message.signed(&[]), b"");
    let params = DosParams::parse(message.extensions.get(DosParams::KIND).unwrap()).unwrap();
    assert_eq!(params, DosParams { rate_per_second: Some(1), burst: Some(2) });

    let mut again = [0; 498];
    let len = EstablishIntro::encode_signed(
        &message.auth_key,
        &message.extensions,
        &mut again,
        |maced| {
            assert_eq!(maced, message.maced(&bytes));
            [1; 32]
        },
        |signed| {
            assert_eq!(signed, message.signed(&bytes));
            [0x15; 64]
        },
    );
    assert_eq!(again[..len.unwrap()], bytes);
    for room in 0..bytes.len() {
        let written = EstablishIntro::encode_signed(
            &message.auth_key,
            &message.extensions,
            &mut again[..room],
            |_| [1; 32],
            |_| [2; 64],
        );
        assert_eq!(written, Err(Error::NoRoom), "in {room} bytes");
    }
}

#[test]
fn dos_params_vectors() {
    let both = DosParams { rate_per_second: Some(1), burst: Some(2) };
    assert_vector!(DosParams, "02 01 0000000000000001 02 0000000000000002", both);
    assert_vector!(DosParams, "00", DosParams::default());
    let odd = unhex("03 02 0000000000000002 77 0000000000000000 01 0000000000000001");
    assert_eq!(DosParams::parse(&odd), Ok(both));
}

#[test]
fn keys_of_other_types_and_lengths_are_refused() {
    let intro = |hex: &str| EstablishIntro::parse(&unhex(&format!("{hex} {}", "00".repeat(200)))).unwrap_err();
    // The introduction protocol of the second version, as C tor once sent it.
    assert_eq!(intro("008C3081"), Error::KeyTypeUnknown);
    assert_eq!(intro("02 001F"), Error::KeyWrongLength);
    assert_eq!(intro(&format!("02 0020 {} 00 {} 003F", "33".repeat(32), "01".repeat(32))), Error::KeyWrongLength);
    let plaintext = |hex: &str| {
        let bytes = unhex(&format!("{} 00 {hex} {}", "01".repeat(20), "00".repeat(60)));
        IntroducePlaintext::parse(&bytes).unwrap_err()
    };
    assert_eq!(plaintext("02 0020"), Error::KeyTypeUnknown);
    assert_eq!(plaintext("01 0021"), Error::KeyWrongLength);
}

/// The recorded message of the second version in the comment "For onion services only".
#[test]
fn introductions_of_the_second_version_are_refused() {
    let bytes = unhex(&format!("3AA272C26715FC3EEFE93C1CEE9ED90ACF702221 {}", "00".repeat(200)));
    assert_eq!(Introduce::parse(&bytes), Err(Error::LegacyIntroduction));
}

/// Arti 2.7, tor-proto src/crypto/handshake/hs_ntor.rs, `testvec`: made by C tor.
#[test]
fn introduce1_vector() {
    let bytes = unhex(
        "000000000000000000000000000000000000000002002034E171E4358E501BFF21ED907E96AC6BFEF697C779D040BBAF
         49ACC30FC5D21F00BF04348B46D09AED726F1D66C618FDEA1DE58E8CB8B89738D7356A0C59111D5DADBECCCB38E37830
         4DCC179D3D9E437B452AF5702CED2CCFEC085BC02C4C175FA446525C1B9D5530563C362FDFFB802DAB8CD9EBC7A5EE17
         DA62E37DEEB0EB187FBB48C63298B0E83F391B7566F42ADC97C46BA7588278273A44CE96BC68FFDAE31EF5F0913B9A9C
         7E0F173DBC0BDDCD4ACB4C4600980A7DDD9EAEC6E7F3FA3FC37CD95E5B8BFB3E35717012B78B4930569F895CB349A075
         38E42309C993223AEA77EF8AEA64F25DDEE97DA623F1AEC0A47F150002150455845C385E5606E41A9A199E7111D54EF2
         D1A51B7554D8B3692D85AC587FB9E69DF990EFB776D8",
    );
    let message = Introduce::parse(&bytes).unwrap();
    assert_eq!(message.auth_key, array("34E171E4358E501BFF21ED907E96AC6BFEF697C779D040BBAF49ACC30FC5D21F"));
    assert_eq!(message.client_key, array("BF04348B46D09AED726F1D66C618FDEA1DE58E8CB8B89738D7356A0C59111D5D"));
    assert_eq!(message.ciphertext.len(), 190);
    assert_eq!(message.mac, array("E41A9A199E7111D54EF2D1A51B7554D8B3692D85AC587FB9E69DF990EFB776D8"));
    assert_eq!(message.encrypted(&bytes), &bytes[56..]);
    assert_eq!(Introduce::maced(&bytes), &bytes[..bytes.len() - 32]);
    assert_eq!(Introduce::maced(&[]), b"");
    assert_eq!(encoded(|out| message.encode(out)), bytes);
    let header = encoded(|out| Introduce::encode_header(&message.auth_key, &message.extensions, out));
    assert_eq!(header, bytes[..56]);
    for n in 0..120 {
        let expected = if n < 56 { Error::Truncated } else { Error::EncryptedTooShort };
        assert_eq!(Introduce::parse(&bytes[..n]), Err(expected), "the first {n} bytes");
    }
    assert!(Introduce::parse(&bytes[..120]).is_ok());
}

/// The plaintext of that message, with a request for congestion control.
#[test]
fn introduce_plaintext_of_that_vector() {
    let bytes = unhex(
        "6BD364C12638DD5C3BE23D76ACA05B04E6CE932C0101000100200DE6130E4FCAC4EDDA24E21220CC3EADAE403EF6B7D1
         1C8273AC71908DE565450300067F00000113890214F823C4F8CC085C792E0AEE0283FE00AD7520B37D0320728D5DF39B
         7B7077A0118A900FF4456C382F0041300ACF9C58E51C392795EF87000000000000000000000000000000000000000000
         00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
    );
    let message = IntroducePlaintext::parse(&bytes).unwrap();
    assert_eq!(message.cookie, array("6BD364C12638DD5C3BE23D76ACA05B04E6CE932C"));
    assert_eq!(message.extensions.get(CC_REQUEST), Some(&[][..]));
    assert_eq!(message.onion_key, array("0DE6130E4FCAC4EDDA24E21220CC3EADAE403EF6B7D11C8273AC71908DE56545"));
    assert_eq!(message.specifiers.iter().count(), 3);
    let written = encoded(|out| message.encode(out));
    assert_eq!(written, bytes[..written.len()]);
    assert!(bytes[written.len()..].iter().all(|&byte| byte == 0), "only padding is left");
}

/// `testvec_intro_payload`: made by a modified C tor in a test network.
#[test]
fn introduce_plaintext_vector() {
    let bytes = unhex(
        "1EFFEACE9BE629B357ADA359071A7912DB828A5B 00
         01 0020 7D73D007977A08CD1ABAD50F6B836C718700D687E000728C357ABC7CE3C8334D
         03 00 06 7F000001138A
            02 14 E48664DBCCEF9650B5D0E7B60E6DE9BCED2FB91E
            03 20 3FF84AA4B21453D20106BD4EDDA919386BF67D541CAA78F38BE6A08C2B3D0C4F
         000000000000000000000000",
    );
    let message = IntroducePlaintext::parse(&bytes).unwrap();
    assert_eq!(message.cookie, array("1EFFEACE9BE629B357ADA359071A7912DB828A5B"));
    assert_eq!(message.onion_key, array("7D73D007977A08CD1ABAD50F6B836C718700D687E000728C357ABC7CE3C8334D"));
    let target = Target::from_specifiers(&message.specifiers).unwrap();
    assert_eq!(target.ipv4, Some("127.0.0.1:5002".parse().unwrap()));
    assert_eq!(target.ids.rsa, Some(RsaId(array("E48664DBCCEF9650B5D0E7B60E6DE9BCED2FB91E"))));
    let unpadded = &bytes[..bytes.len() - 12];
    assert_eq!(encoded(|out| message.encode(out)), unpadded);
    assert_each_prefix_is_truncated(unpadded, |bytes| IntroducePlaintext::parse(bytes).map(drop));
}

#[test]
fn a_client_may_ask_for_everything_at_once() {
    let pow = PowSolution { nonce: [1; 16], effort: 77, seed_head: [2; 4], solution: [3; 16] };
    let pow_bytes = encoded(|out| pow.encode(out));
    assert_eq!(pow_bytes.len(), 41);
    let list = [
        Extension { kind: CC_REQUEST, data: &[] },
        Extension { kind: PowSolution::KIND, data: &pow_bytes },
        Extension { kind: SUBPROTOCOL_REQUEST, data: Subprotocols::CGO.as_bytes() },
    ];
    let bytes = encoded(|out| Extensions::encode_list(&list, out));
    let extensions = Extensions::parse(&bytes).unwrap();
    assert_eq!(PowSolution::parse(extensions.get(PowSolution::KIND).unwrap()), Ok(pow));
    assert_eq!(PowSolution::parse(&[2; 41]), Err(Error::PowVersionUnknown));
    assert_each_prefix_is_truncated(&pow_bytes, |bytes| PowSolution::parse(bytes).map(drop));
}

#[test]
fn short_message_vectors() {
    let status = IntroduceStatus::SUCCESS;
    assert_vector!(IntroduceAck, "0000 00", IntroduceAck { status, extensions: Extensions::NONE });
    assert_vector!(IntroEstablished, "00", IntroEstablished { extensions: Extensions::NONE });
    assert_vector!(EstablishRendezvous, &"01".repeat(20), EstablishRendezvous { cookie: COOKIE });
    let bytes = unhex(&format!("{} 123456", "01".repeat(20)));
    let message = Rendezvous1 { cookie: COOKIE, handshake: &[0x12, 0x34, 0x56] };
    assert_eq!(Rendezvous1::parse(&bytes), Ok(message));
    assert_eq!(encoded(|out| message.encode(out)), bytes);
    for n in 0..COOKIE_LEN {
        assert_eq!(Rendezvous1::parse(&bytes[..n]), Err(Error::Truncated));
    }
    let message = Rendezvous2 { service_key: [5; 32], auth: [6; 32] };
    assert_vector!(Rendezvous2, &format!("{}{}", "05".repeat(32), "06".repeat(32)), message);
}

#[test]
fn no_cookie_is_printed() {
    let specifiers = encoded(|out| LinkSpecifiers::encode_list(&[LinkSpecifier::Rsa(RsaId([9; 20]))], out));
    let specifiers = LinkSpecifiers::parse(&specifiers).unwrap();
    let cookie = [77; COOKIE_LEN];
    let plaintext = IntroducePlaintext { cookie, extensions: Extensions::NONE, onion_key: [0; 32], specifiers };
    let text =
        format!("{plaintext:?} {:?} {:?}", EstablishRendezvous { cookie }, Rendezvous1 { cookie, handshake: &cookie });
    assert!(!text.contains("77"), "{text}");
}

proptest! {
    #[test]
    fn messages_read_back(
        key in any::<[u8; 32]>(),
        mac in any::<[u8; 32]>(),
        cookie in any::<[u8; COOKIE_LEN]>(),
        tail in proptest::collection::vec(any::<u8>(), 0..400),
        half in any::<[u8; 32]>(),
        numbers in any::<(Option<u64>, Option<u64>, u32, u16)>(),
    ) {
        let extension = [Extension { kind: 9, data: &tail[..tail.len().min(255)] }];
        let bytes = encoded(|out| Extensions::encode_list(&extension, out));
        let extensions = Extensions::parse(&bytes).unwrap();
        let signature = [half, mac].concat().try_into().unwrap();
        assert_reads_back!(
            EstablishIntro,
            EstablishIntro { auth_key: key, extensions, handshake_auth: mac, signature }
        );
        assert_reads_back!(
            Introduce,
            Introduce { auth_key: key, extensions, client_key: half, ciphertext: &tail, mac }
        );
        let list = encoded(|out| LinkSpecifiers::encode_list(&[LinkSpecifier::Rsa(RsaId(cookie))], out));
        let specifiers = LinkSpecifiers::parse(&list).unwrap();
        assert_reads_back!(IntroducePlaintext, IntroducePlaintext { cookie, extensions, onion_key: key, specifiers });
        assert_reads_back!(IntroduceAck, IntroduceAck { status: IntroduceStatus(numbers.3), extensions });
        assert_reads_back!(IntroEstablished, IntroEstablished { extensions });
        assert_reads_back!(DosParams, DosParams { rate_per_second: numbers.0, burst: numbers.1 });
        assert_reads_back!(EstablishRendezvous, EstablishRendezvous { cookie });
        assert_reads_back!(Rendezvous1, Rendezvous1 { cookie, handshake: &tail });
        assert_reads_back!(Rendezvous2, Rendezvous2 { service_key: key, auth: mac });
    }

    #[test]
    fn what_parses_is_written_and_parses_again(bytes in proptest::collection::vec(0_u8..4, 0..200)) {
        fuzz_hs_message(&bytes);
    }
}
