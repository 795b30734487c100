//! Published certificates, every way to spoil one, and that what we issue we accept.

use super::*;
use crate::base::random::Seeded;
use crate::crypto::Secret;
use crate::crypto::tests::{unhex, unhex_array};

// Arti 2.7, tor-cert, `tests/testvec_certs.rs`: the CERTS cell of a relay in a test network.
const IDENTITY: &str = "DCB604DB2034B00FD16986D4ADB9D16B21CB4E4457A33DEC0F538903683E96E9";
const SIGNING_KEY: &str = "F82294B866A31F01FC5D0DA8572850A9B929545C3266558D7D2316E3B74172B0";
const SIGNING_CERT: &str = "01 04 0006CC2A 01 F82294B866A31F01FC5D0DA8572850A9B929545C3266558D7D2316E3B74172B0
    01 0020 04 00 DCB604DB2034B00FD16986D4ADB9D16B21CB4E4457A33DEC0F538903683E96E9
    FF1A5203FA27F86EF7528D89A0845D2520166E340754FFEA2AAE0F612B7CE5DA
    094A0236CDAC45034B0B6842C18E7F6B51B93A3CF7E60663B8AD061C30A62602";
const TLS_CERT: &str = "01 05 0006C98A 03 B4FD606B64E4CBD466B8D76CB131069BAE6F3AA1878857C9F624E31D77A799B8 00
    7173E5F8068431D0D3F5EE16B4C9FFD59DF373E152A87281BAE744AA5FCF7217
    1BF4B27C4E8FC1C6A9FC5CA11058BC49647063D7903CFD9F512F89099B27BC0C";
const RSA_IDENTITY: &str = "30818902818100d38b1e6ceb946e0db0751f4cbace3dcb9688b6c25304227b4710c35afb73627e50500f
    5913e158b621802612d1c75827003703338375237552eb3cd3c12f6ab3604e60c1a2d26bb1fbad206ff023969a90909d6a65a545
    8a5312c26ebd3a3dad30302d4515cdcd264146ac18e6fc60a04bd3ec327f04294d96ba5aa25b464c3f0203010001";
const CROSS_CERT: &str = "DCB604DB2034B00FD16986D4ADB9D16B21CB4E4457A33DEC0F538903683E96E9 0006DA3A 80
    5CF6006F9179066534DE6B45AD47A5C469063EE462762723396DC9F25452A0A5
    2DA3F5087DD239F2A311F6B0D4DFEFF4ABD089DC3D0237A0ABAB19EB2045B91C
    DCAF04BE0A72D548A27BF2E77BD876ECFE5E1BE622350DA6BF31F6E306ED8964
    88DD5B39409B23FC3EB7B2C9F7328EB18DA36D54D80575899EA6507CCBFCDF1F";

/// 2020-09-25 02:13:20, when the above were good.
const THEN: Wall = Wall::from_secs(1_601_000_000);
/// 2020-10-26 18:00:00.
const SIGNING_EXPIRY: Wall = Wall::from_secs(445_482 * 3600);

fn key(hex: &str) -> Ed25519Id {
    Ed25519Id(unhex_array(hex))
}

#[test]
fn published_signing_certificate() {
    for signer in [Signer::Named, Signer::Known(key(IDENTITY)), Signer::KnownAndNamed(key(IDENTITY))] {
        let certificate = Certificate::check(&unhex(SIGNING_CERT), Kind::Signing, signer, THEN).unwrap();
        assert_eq!(certificate.subject_key(), key(SIGNING_KEY));
        assert_eq!(certificate.signer(), key(IDENTITY));
        assert_eq!(certificate.expires(), SIGNING_EXPIRY);
    }
}

#[test]
fn published_tls_certificate() {
    let signer = Signer::Known(key(SIGNING_KEY));
    let certificate = Certificate::check(&unhex(TLS_CERT), Kind::TlsLink, signer, THEN).unwrap();
    let digest = "B4FD606B64E4CBD466B8D76CB131069BAE6F3AA1878857C9F624E31D77A799B8";
    assert_eq!(certificate.subject()[..], unhex(digest));
    assert_eq!(certificate.expires(), Wall::from_secs(1_601_316_000));
    for signer in [Signer::Named, Signer::KnownAndNamed(key(SIGNING_KEY))] {
        let refused = Certificate::check(&unhex(TLS_CERT), Kind::TlsLink, signer, THEN);
        assert_eq!(refused, Err(Error::SignerMissing));
    }
}

#[test]
fn published_cross_certificate() {
    let identity = rsa::PublicKey::from_der(&unhex(RSA_IDENTITY)).unwrap();
    let bytes = unhex(CROSS_CERT);
    let expiry = hours(0x0006_DA3A);
    assert_eq!(check_cross_certificate(&bytes, &identity, THEN), Ok((key(IDENTITY), expiry)));
    assert_eq!(check_cross_certificate(&bytes, &identity, expiry), Err(Error::Expired));
    for byte in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[byte] ^= 1;
        let expected = if byte == 36 { Error::Malformed } else { Error::WrongSignature };
        assert_eq!(check_cross_certificate(&changed, &identity, THEN), Err(expected), "byte {byte}");
        assert_eq!(check_cross_certificate(&bytes[..byte], &identity, THEN), Err(Error::Malformed));
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(check_cross_certificate(&longer, &identity, THEN), Err(Error::Malformed));
    let other = rsa::KeyPair::random(&mut Seeded(1), 1024).unwrap().public();
    assert_eq!(check_cross_certificate(&bytes, &other, THEN), Err(Error::WrongSignature));
}

#[test]
fn each_field_has_its_own_refusal() {
    let check = |bytes: &[u8], kind, now| Certificate::check(bytes, kind, Signer::Named, now).unwrap_err();
    let good = unhex(SIGNING_CERT);
    let with = |at: usize, value: u8| {
        let mut changed = good.clone();
        changed[at] = value;
        changed
    };
    assert_eq!(check(&with(0, 3), Kind::Signing, THEN), Error::UnknownVersion);
    assert_eq!(check(&good, Kind::HsIntroAuth, THEN), Error::WrongKind);
    assert_eq!(check(&with(6, 2), Kind::Signing, THEN), Error::WrongKeyType);
    assert_eq!(check(&good, Kind::Signing, SIGNING_EXPIRY), Error::Expired);
    // The extension's length, its type (then the signer is missing), its critical flag.
    assert_eq!(check(&with(41, 33), Kind::Signing, THEN), Error::Malformed);
    assert_eq!(check(&with(42, 9), Kind::Signing, THEN), Error::SignerMissing);
    let mut critical = with(42, 9);
    critical[43] = 1;
    assert_eq!(check(&critical, Kind::Signing, THEN), Error::UnknownCriticalExtension);
    let other = Signer::Known(key(SIGNING_KEY));
    assert_eq!(Certificate::check(&good, Kind::Signing, other, THEN), Err(Error::WrongSigner));
    for n in 0..good.len() {
        assert_eq!(check(&good[..n], Kind::Signing, THEN), Error::Malformed);
    }
    assert_eq!(check(&[&good[..], &[0]].concat(), Kind::Signing, THEN), Error::Malformed);
}

/// C tor 0.4.9.11, feature/nodelist/torcert.c, `tor_cert_parse`.
#[test]
fn the_signer_is_named_once() {
    let signer = ed25519::KeyPair::from_seed(&Secret::new([1; 32]));
    let expires = Wall::from_secs(1_700_000_000);
    let once = issue(Kind::Signing, &[2; 32], expires, &signer, true);
    // Up to the number of extensions; the extension.
    let (head, named) = (&once[..39], &once[40..76]);
    let other = [&named[..4], &[3; 32]].concat();
    for (extensions, expected) in [
        (vec![named], Ok(signer.public())),
        (vec![named, named], Err(Error::SignerTwice)),
        (vec![named, &other[..]], Err(Error::SignerTwice)),
        (vec![&other[..], named], Err(Error::SignerTwice)),
    ] {
        let count = u8::try_from(extensions.len()).unwrap();
        let mut bytes = [head, &[count], &extensions.concat()].concat();
        let signature = signer.sign(&bytes);
        bytes.extend_from_slice(&signature);
        for wanted in [Signer::Named, Signer::Known(signer.public()), Signer::KnownAndNamed(signer.public())] {
            let checked = Certificate::check(&bytes, Kind::Signing, wanted, Wall::from_secs(0));
            assert_eq!(checked.map(|certificate| certificate.signer()), expected);
        }
    }
}

#[test]
fn any_changed_byte_is_noticed() {
    for byte in 0..unhex(SIGNING_CERT).len() {
        let mut changed = unhex(SIGNING_CERT);
        changed[byte] ^= 0x10;
        assert!(Certificate::check(&changed, Kind::Signing, Signer::KnownAndNamed(key(IDENTITY)), THEN).is_err());
    }
}

#[test]
fn what_we_issue_we_accept_until_it_expires() {
    let signer = ed25519::KeyPair::from_seed(&Secret::new([1; 32]));
    let subject = ed25519::KeyPair::from_seed(&Secret::new([2; 32])).public();
    let expires = Wall::from_secs(1_700_000_000);
    let last = hours(hour_after(expires));
    for kind in [
        Kind::Signing,
        Kind::TlsLink,
        Kind::LinkAuth,
        Kind::HsDescriptorSigning,
        Kind::HsIntroAuth,
        Kind::NtorOnionKey,
        Kind::HsIntroEncryption,
        Kind::Family,
    ] {
        for (named, wanted) in [(false, Signer::Known(signer.public())), (true, Signer::KnownAndNamed(signer.public()))]
        {
            let bytes = issue(kind, &subject.0, expires, &signer, named);
            let certificate = Certificate::check(&bytes, kind, wanted, expires).unwrap();
            assert_eq!((certificate.subject_key(), certificate.signer()), (subject, signer.public()));
            assert_eq!(certificate.expires(), last);
            assert_eq!(Certificate::check(&bytes, kind, wanted, last), Err(Error::Expired));
        }
    }
    let rsa_identity = rsa::KeyPair::random(&mut Seeded(1), 1024).unwrap();
    let bytes = issue_cross_certificate(&subject, expires, &rsa_identity).unwrap();
    assert_eq!(check_cross_certificate(&bytes, &rsa_identity.public(), expires), Ok((subject, last)));
}

#[test]
fn the_fuzz_body_accepts_what_is_published() {
    for bytes in [SIGNING_CERT, TLS_CERT, CROSS_CERT, RSA_IDENTITY] {
        fuzz(&unhex(bytes));
    }
}
