use super::*;

/// Arti 2.7, tor-netdoc, `testdata/authcerts2.txt`: the three authorities of a test network.
pub(crate) const CERTS: &str = include_str!("../testdata/authcerts2.txt");

fn date_of(day: &str) -> Wall {
    Wall::parse(day, "00:00:00").unwrap()
}

pub(crate) fn all() -> Vec<Certificate> {
    check_all(CERTS.as_bytes()).collect::<Result<_, _>>().unwrap()
}

/// One certificate with a change; the signatures then fit no more, but the lines are looked
/// at first.
fn changed(from: &str, to: &str) -> Result<Certificate, Error> {
    let one = all()[0].text().to_owned();
    assert!(one.contains(from), "{from}");
    Certificate::check(one.replacen(from, to, 1).as_bytes())
}

#[test]
fn published_certificates_of_three_authorities() {
    let certificates = all();
    let ids: Vec<_> = certificates.iter().map(|it| text::hex(&it.ids().identity.0)).collect();
    assert_eq!(
        ids,
        [
            "5A23BA701776C9C1AB1C06E734E92AB3D5350D64",
            "7C47DCB4A90E2C2B7C7AD27BD641D038CF5D7EBE",
            "5696AB38CB3852AFA476A5C07B2D4788963D5567"
        ]
    );
    let joined: String = certificates.iter().map(Certificate::text).collect();
    assert_eq!(joined, CERTS);
    assert!(certificates.iter().all(|it| it.published() < it.expires()));
}

#[test]
fn the_real_certificate_of_2020_is_good() {
    let certificate = Certificate::check(include_bytes!("../../crypto/rsa/authority_certificate.txt")).unwrap();
    assert_eq!(text::hex(&certificate.ids().identity.0), "ED03BB616EB2F60BEC80151114BB25CEF515B226");
    assert_eq!(certificate.published().to_string(), "2020-04-18 08:36:57");
    assert_eq!(certificate.expires().to_string(), "2021-04-18 08:36:57");
}

/// The first five as in Arti 2.7, tor-netdoc, `testdata/bad-certs`.
#[test]
fn each_bad_certificate_is_refused_for_its_fault() {
    for (from, to, error) in [
        ("BEGIN ID SIGNATURE", "BEGIN HAPPY FROGS", Error::Document(crate::wire::Error::BadObjectEnd)),
        ("fingerprint 5A23", "fingerprint FFFF", Error::WrongFingerprint),
        ("version 3", "version 4", Error::UnknownVersion),
        ("dir-key-certificate-version 3\n", "", Error::LineOutOfPlace),
        ("dir-key-certification\n", "dir-key-certification\nx\n", Error::LineMalformed),
        ("dir-key-certification\n", "dir-key-certification \n", Error::LineMalformed),
        ("dir-key-certification\n", "dir-key-certification x\n", Error::LineMalformed),
        ("dir-key-certification\n", "opt dir-key-certification\n", Error::LineMalformed),
        ("dir-key-published", "dir-key-publishes", Error::WrongSignature),
        ("dir-key-expires 20", "dir-key-expires 2", Error::LineMalformed),
        ("fingerprint 5A23", "fingerprint A23", Error::LineMalformed),
        ("dir-key-crosscert", "dir-key-crosscerts", Error::LineMissing),
        ("fingerprint 5A23", "fingerprints 5A23", Error::LineMissing),
        ("dir-key-published", "dir-key-certificate-version 3\ndir-key-published", Error::LineOutOfPlace),
    ] {
        assert_eq!(changed(from, to).unwrap_err(), error, "{from:?} to {to:?}");
    }
    let one = all()[0].text().to_owned();
    let line = one.lines().find(|line| line.starts_with("dir-key-published")).unwrap();
    assert_eq!(changed(line, &format!("{line}\n{line}")), Err(Error::LineTwice));
    let more = format!("{one}contact nobody\n");
    assert_eq!(Certificate::check(more.as_bytes()), Err(Error::LineOutOfPlace));
    let long = one.replace("dir-key-published", &format!("x {}\ndir-key-published", "y".repeat(MAX_CERTIFICATE_LEN)));
    assert_eq!(Certificate::check(long.as_bytes()), Err(Error::DocumentTooLong));
}

#[test]
fn a_change_or_a_cut_anywhere_is_refused() {
    let one = all()[0].text().as_bytes().to_vec();
    for length in (0..one.len() - 1).step_by(7).chain([one.len() - 2]) {
        assert!(Certificate::check(&one[..length]).is_err(), "{length}");
    }
    for at in (0..one.len() - 1).step_by(97) {
        let mut bytes = one.clone();
        bytes[at] ^= 1;
        assert!(Certificate::check(&bytes).is_err(), "{at}");
    }
}

#[test]
fn a_bad_certificate_does_not_cost_the_others() {
    let certificates = all();
    let spoiled = CERTS.replacen("fingerprint 7C47", "fingerprint 7C48", 1);
    let found: Vec<_> = check_all(spoiled.as_bytes()).collect();
    assert_eq!(found, [Ok(certificates[0].clone()), Err(Error::WrongFingerprint), Ok(certificates[2].clone())]);
    assert_eq!(check_all(b"").count(), 0);
    assert_eq!(check_all(b"x\ny\n").count(), 1);
}

#[test]
fn only_certificates_of_our_authorities_are_kept_and_while_their_time_is_not_over() {
    let certificates = all();
    let ours: Vec<_> = certificates.iter().take(2).map(|it| it.ids().identity).collect();
    let mut kept = Certificates::default();
    let added: Vec<_> = certificates.iter().map(|it| kept.insert(it.clone(), &ours)).collect();
    assert_eq!(added, [true, true, false]);
    assert!(!kept.insert(certificates[0].clone(), &ours), "it is there already");
    let ids = certificates[0].ids();
    let end = certificates[0].expires();
    assert!(kept.find(ids, end).is_some());
    assert!(kept.find(ids, end + core::time::Duration::from_secs(1)).is_none());
    assert!(kept.find(KeyIds { signing: ids.identity, ..ids }, end).is_none());
    kept.expire(date_of("2100-01-01"));
    assert_eq!(kept.iter().count(), 0);
}

#[test]
fn an_authority_has_so_many_certificates_and_the_newest_stay() {
    let one = all()[0].clone();
    let ours = [one.ids().identity];
    let made = |number: u8| Certificate {
        ids: KeyIds { signing: RsaId([number; 20]), ..one.ids() },
        published: Wall::from_secs(u64::from(number)),
        ..one.clone()
    };
    let mut kept = Certificates::default();
    for number in [5, 1, 2, 3, 4] {
        assert!(kept.insert(made(number), &ours) || number == 1, "{number}");
    }
    assert!(!kept.insert(made(0), &ours));
    let held: Vec<_> = kept.iter().map(|it| it.ids().signing.0[0]).collect();
    assert_eq!(held, [2, 3, 4, 5]);
}
