use proptest::prelude::*;

use super::*;

/// Arti 2.7, tor-netdoc, `testdata-live`: of five relays of the real network, on 2026-07-27.
const LIVE: &str = include_str!("../testdata/live-microdescs.txt");
/// What the consensus of that hour calls them.
const LIVE_DIGESTS: [&str; 5] = [
    "vtKpzB+Vw6LlETW6txvAH+1G6gJIl6x1D/N3NZdPK24",
    "3/USjOwgkJJ8l49JlpCnSiXLByanULxEoeUwRj5+P0s",
    "PSFWDSIK+sMS6+fkLrc7PSZ6L0Rkscbz2WcmKCDIdOQ",
    "mSR+4lUpkjOhKMUQWHdxwJQOQYPb0J1dmWsyw48+Bt0",
    "DT8j0UcSuHr0xhwGrfng1922N+n4h6/3rhvmPcWqulo",
];
const SMALL: &str = "onion-key\nntor-onion-key UTHMgMUssIcB0r5wY9b+3sfmFW9ii/Kktx/nMrZnaz8=\nid rsa1024 x\n\
    id ed25519 G9p5nGpznNYTboOmx+6xxxKjSGoq2FYUU3MCIxHF/8k\nfamily-ids ed25519:abc any\np reject 25\n";

type Found = Vec<Result<(String, Option<Wall>), Error>>;

fn read(text: &str, step: usize) -> Found {
    let mut all = Vec::new();
    let mut found = |one: Result<Microdesc<'_>, Error>| {
        all.push(one.map(|one| (text::base64_unpadded(&one.digest), one.last_listed)));
    };
    let mut parser = Parser::default();
    text.as_bytes().chunks(step).for_each(|piece| parser.push(piece, &mut found));
    parser.finish(&mut found);
    all
}

fn one(text: &str) -> Result<Microdesc<'_>, Error> {
    Microdesc::parse(text.as_bytes())
}

#[test]
fn published_microdescriptors_have_the_digests_that_the_consensus_gives() {
    let expected: Found = LIVE_DIGESTS.iter().map(|digest| Ok(((*digest).to_owned(), None))).collect();
    for step in [1, 3, 100, LIVE.len()] {
        assert_eq!(read(LIVE, step), expected, "{step}");
    }
    let start = LIVE.find("MIGJAoGBAP5gDfqw93").unwrap() - "onion-key\n-----BEGIN RSA PUBLIC KEY-----\n".len();
    let end = LIVE[start + 1..].find("onion-key\n-----").unwrap() + start + 1;
    let d2d4 = one(&LIVE[start..end]).unwrap();
    assert_eq!(text::base64_unpadded(&d2d4.ed25519.unwrap()), "SScEVxrvJIgSd5PQROVA47vXiEZoWmb6PDY0Y7jCHI0");
    assert_eq!(text::base64_unpadded(&d2d4.ntor.unwrap()), "6xXRR08fb9zL1JFuXqdfU1a1s2mzgAai2pSynTuAwng");
    let family: Vec<_> = family_members(d2d4.family).map(|id| text::hex(&id)).collect();
    assert_eq!(family, ["50485E03CA39D393BD54D315CEBA65E6DD0FDDB9", "FAF0A8829E39063669FA609B904E0FB8D5E1F23F"]);
    for summary in [d2d4.policy, d2d4.policy6] {
        let policy = Policy::parse(summary).unwrap();
        assert!(policy.allows(80) && policy.allows(81) && policy.allows(19638));
        assert!(!policy.allows(25) && !policy.allows(82) && !policy.allows(65535) && !policy.allows(0));
    }
}

/// C tor, `test_microdesc.c`, `test_md_parse`: eighteen, of which it takes fourteen.
#[test]
fn what_c_tor_takes_is_taken() {
    const TEXT: &str = include_str!("../testdata/c-tor-microdescs.txt");
    let mut all = Vec::new();
    let mut found = |one: Result<Microdesc<'_>, Error>| {
        all.push(one.map(|one| (text::hex(&one.digest), Policy::parse(one.policy).is_some(), one.ntor.is_some())));
    };
    let mut parser = Parser::default();
    parser.push(TEXT.as_bytes(), &mut found);
    parser.finish(&mut found);
    assert_eq!(all.len(), 18);
    let refused: Vec<_> = (0..18).filter(|&at| all[at].is_err()).collect();
    assert_eq!(refused, [1, 4, 13]);
    let good = |digest: &str, policy: bool, ntor: bool| {
        assert!(all.contains(&Ok((digest.to_uppercase(), policy, ntor))), "{digest}");
    };
    // C tor looks at the old onion key, which nobody uses, and does not like this one.
    good("20d1576c5ab11bbcff0dedb1db4a3cfcc8bc8dd839d8cbfef92d00a1a7d7b294", true, true);
    good("54bb6d733ddeb375d2456c79ae103961da0cae29620375ac4cf13d54da4d92b3", false, true);
    good("53f740bd222ab37f19f604b1d3759aa65eff1fbce9ac254bd0fa50d4af9b1bae", false, true);
    good("a0a155562d8093d8fd0feb7b93b7226e17f056c2142aab7a4ea8c5867a0376d5", false, true);
    good("409ebd87d23925a2732bd467a92813c921ca378fcb9ca193d354c51550b6d5e9", false, true);
}

#[test]
fn an_onion_key_needs_no_object() {
    let small = one(SMALL).unwrap();
    assert!(small.ntor.is_some() && small.ed25519.is_some() && small.last_listed.is_none());
    assert_eq!((small.family, small.family_ids, small.policy, small.policy6), ("", "ed25519:abc any", "reject 25", ""));
    assert_eq!(small.digest, kdf::sha256(&[SMALL.as_bytes()]));
    assert_eq!(read(&SMALL.repeat(3), 5).len(), 3);
    assert_eq!(one("onion-key\n").unwrap().ntor, None);
}

#[test]
fn annotations_come_before_and_are_not_part_of_it() {
    let text =
        format!("@last-listed 2020-09-25 02:13:20\n@what ever\n{SMALL}@last-listed 1970-01-01 00:00:01\n{SMALL}");
    let digest = text::base64_unpadded(&kdf::sha256(&[SMALL.as_bytes()]));
    let listed = |secs| Ok((digest.clone(), Some(Wall::from_secs(secs))));
    for step in [1, 17, text.len()] {
        assert_eq!(read(&text, step), [listed(1_601_000_000), listed(1)]);
    }
    assert_eq!(one("@last-listed 2020-09-25\nonion-key\n"), Err(Error::LineMalformed));
}

/// As in Arti 2.7, tor-netdoc, `testdata/bad-mds`, and as C tor's table of keywords asks.
#[test]
fn each_bad_microdescriptor_is_refused_for_its_fault_and_costs_only_itself() {
    for (from, to, error) in [
        ("onion-key\nntor", "x-key\nntor", Error::LineOutOfPlace),
        ("ntor-onion-key UT", "ntor-onion-key T", Error::LineMalformed),
        ("id ed25519 G9", "id ed25519 ", Error::LineMalformed),
        ("id rsa1024 x", "id ed25519 G9p5nGpznNYTboOmx+6xxxKjSGoq2FYUU3MCIxHF/8k", Error::LineTwice),
        ("p reject", "p accept 1\np reject", Error::LineTwice),
        ("id rsa1024", "\nid rsa1024", Error::Document(crate::wire::Error::EmptyLine)),
    ] {
        let bad = SMALL.replacen(from, to, 1);
        assert_ne!(bad, SMALL);
        assert_eq!(one(&bad), Err(error), "{from:?} to {to:?}");
        let found = read(&format!("{SMALL}{bad}{SMALL}"), 11);
        let good: Vec<_> = found.iter().map(Result::is_ok).collect();
        // One without its first line is taken for more of the one before.
        let expected: &[bool] = if error == Error::LineOutOfPlace { &[false, true] } else { &[true, false, true] };
        assert!(good == expected || good == [true, true], "{from:?} {good:?}");
    }
    assert_eq!(one(""), Err(Error::LineMissing));
    assert_eq!(one("@last-listed 2020-09-25 02:13:20\n"), Err(Error::LineMissing));
    assert_eq!(one(&format!("{SMALL}{SMALL}")), Err(Error::LineOutOfPlace));
    assert_eq!(read("", 1), []);
    assert_eq!(read("HTTP is not spoken here", 3), [Err(Error::LineOutOfPlace)]);
}

#[test]
fn a_cut_microdescriptor_has_another_digest_or_is_refused() {
    let whole = one(SMALL).unwrap().digest;
    for length in 0..SMALL.len() {
        assert!(one(&SMALL[..length]).map(|cut| cut.digest) != Ok(whole), "{length}");
        let found = read(&SMALL[..length], 1);
        assert_eq!(found.len(), usize::from(length > 0), "{length}");
    }
}

#[test]
fn one_that_is_too_long_is_passed_over() {
    let digest = text::base64_unpadded(&kdf::sha256(&[SMALL.as_bytes()]));
    let good = Ok((digest, None));
    for long in [format!("family {}\n", "x".repeat(2 * MAX_LEN)), "x y\n".repeat(MAX_LEN)] {
        let text = format!("{SMALL}onion-key\n{long}{SMALL}{SMALL}");
        for step in [1000, PIECE, text.len()] {
            assert_eq!(read(&text, step), [good.clone(), Err(Error::DocumentTooLong), good.clone(), good.clone()]);
        }
    }
}

#[test]
fn what_waits_is_bounded() {
    let mut parser = Parser::default();
    for _ in 0..100 {
        parser.push(&[b'x'; 10_000], &mut |_| {});
        assert!(parser.waiting.len() <= MAX_LEN + PIECE);
    }
}

#[test]
fn family_members_are_those_that_say_who_they_are() {
    let id = "50485E03CA39D393BD54D315CEBA65E6DD0FDDB9";
    let line = format!("${id} nick ${id}=nick {} ${id}x $50485E \t ${id}~a", id.to_lowercase());
    assert_eq!(family_members(&line).map(|id| text::hex(&id)).collect::<Vec<_>>(), [id; 4]);
    let blanks = format!("  ${id} ${id}  ${id}\t${id}$ ${id} ");
    assert_eq!(family_members(&blanks).count(), 4);
    assert_eq!(family_members("$50485E03CA39D393BD54D315CEBA65E6DD0FDD\u{e9}").count(), 0);
}

#[test]
fn a_policy_says_which_ports_it_allows() {
    let allowed = |summary: &str| {
        Policy::parse(summary).map(|policy| [1, 24, 25, 26, 80, 443, 65535].map(|port| policy.allows(port)))
    };
    let (y, n) = (true, false);
    assert_eq!(allowed("accept 1-65535"), Some([y; 7]));
    assert_eq!(allowed("reject 1-65535"), Some([n; 7]));
    assert_eq!(allowed("accept 25,80-443"), Some([n, n, y, n, y, y, n]));
    assert_eq!(allowed("reject 25-26,65535"), Some([y, y, n, n, y, y, n]));
    assert!(Policy::parse("reject 1-65535").unwrap().is_reject_all());
    assert!(!Policy::parse("accept 1-65535").unwrap().is_reject_all());
    let many =
        |count: u16| format!("accept {}", (1..=count).map(|port| port.to_string()).collect::<Vec<_>>().join(","));
    assert!(Policy::parse(&many(1000)).is_some() && Policy::parse(&many(1001)).is_none());
    for bad in [
        "",
        "accept",
        "accept ",
        "permit 80",
        "accept 0",
        "accept 65536",
        "accept 80-79",
        "accept +80",
        "accept 80-",
        "accept -80",
        "accept 80 81",
        "accept 1-2-3",
        "accept  80",
        "Accept 80",
    ] {
        assert_eq!(Policy::parse(bad), None, "{bad}");
    }
}

proptest! {
    // Each case reads the document eight times and more.
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn any_change_reads_alike_however_it_is_cut(at in 0..LIVE.len(), byte: u8, end in 0..LIVE.len()) {
        let mut bytes = LIVE.as_bytes().to_vec();
        bytes[at] = byte;
        fuzz(&bytes);
        fuzz(&bytes[..end]);
        fuzz(&[&bytes[..at], b"\n@last-listed 2020-09-25 02:13:20\n", &bytes[at..]].concat());
    }
}
