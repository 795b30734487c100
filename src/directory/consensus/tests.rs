use proptest::prelude::*;

use super::super::certs::tests as certs;
use super::super::params::Param;
use super::*;
use crate::base::text;
use crate::wire::protover::Protocol;

/// Arti 2.7, tor-netdoc, `testdata/mdconsensus1.txt`: of a test network, with three signatures.
pub(crate) const CONSENSUS: &str = include_str!("../testdata/mdconsensus1.txt");
/// Arti 2.7, tor-netdoc, `testdata-live/consensus-microdesc`: of the real network on
/// 2026-07-27, all but five relays taken out, so that its signatures do not fit.
const LIVE: &str = include_str!("../testdata/live-consensus.txt");

pub(crate) fn parse(text: &str) -> Result<Unchecked, Error> {
    let mut parser = Parser::default();
    parser.push(text.as_bytes())?;
    parser.finish()
}

fn changed(from: &str, to: &str) -> Result<Unchecked, Error> {
    assert!(CONSENSUS.contains(from), "{from}");
    parse(&CONSENSUS.replacen(from, to, 1))
}

fn certificates(count: usize) -> (Certificates, Vec<RsaId>) {
    let all = certs::all();
    let authorities: Vec<_> = all.iter().map(|it| it.ids().identity).collect();
    let mut kept = Certificates::default();
    all.into_iter().take(count).for_each(|it| assert!(kept.insert(it, &authorities)));
    (kept, authorities)
}

fn now() -> Wall {
    Wall::parse("2020-08-07", "12:42:50").unwrap()
}

/// The published consensus, checked.
pub(crate) fn verified() -> Verified {
    let (certificates, authorities) = certificates(3);
    match parse(CONSENSUS).unwrap().check(&certificates, &authorities, now()) {
        Verdict::Good { consensus, missing } if missing.is_empty() => consensus,
        other => panic!("{other:?}"),
    }
}

/// What nobody signed, as if it were checked: for tests of what stands on a consensus.
pub(crate) fn unproven(text: &str) -> Verified {
    Verified(parse(text).unwrap().consensus)
}

#[test]
fn the_published_consensus_says_what_it_says() {
    let consensus = verified();
    assert_eq!(consensus.lifetime().valid_after.to_string(), "2020-08-07 12:42:40");
    assert_eq!(consensus.lifetime().interval(), Duration::from_secs(20));
    assert_eq!((consensus.method(), consensus.relay_count(), consensus.left_out()), (28, 6, 0));
    assert!(consensus.client_protocols().required.supports(Protocol::Link, 4));
    // What the test of Arti says of the first relay.
    let row = &consensus.rows.rows[0];
    assert_eq!(row.ipv4().to_string(), "127.0.0.1:5002");
    assert_eq!(consensus.rows.nickname(0), "test002a");
    assert!(row.flags.has(Flag::Fast) && row.flags.has(Flag::Running) && row.flags.has(Flag::Valid));
    assert!(consensus.rows.rows.is_sorted_by_key(|row| row.rsa));
    assert_eq!(consensus.rows.find(&RsaId(row.rsa)), Some(0));
    assert_eq!(consensus.rows.find(&RsaId([0xFF; 20])), None);
    assert_eq!(
        consensus.known_flags(),
        Flags::of(&[
            Flag::Authority,
            Flag::Exit,
            Flag::Fast,
            Flag::Guard,
            Flag::HsDir,
            Flag::Running,
            Flag::Stable,
            Flag::V2Dir,
            Flag::Valid,
        ])
    );
}

#[test]
fn the_real_consensus_says_what_it_says() {
    let unchecked = parse(LIVE).unwrap();
    assert_eq!(unchecked.signatures.len(), 9);
    let consensus = &unchecked.consensus;
    assert_eq!((consensus.method, consensus.relay_count(), consensus.left_out()), (35, 5, 0));
    assert_eq!(consensus.params().get(Param::GuardNPrimaryGuardsToUse), 2);
    assert_eq!(consensus.params().get(Param::CcVegasDeltaOnion), 434);
    assert_eq!(consensus.weights().get("Wgg"), Some(5960));
    let random = consensus.current_random().unwrap();
    assert_eq!(random.reveals, 9);
    assert_eq!(text::base64(&random.value), "zwbAmnMGie00x5rmWGk+lP2rTXK2n0OmkF/1Ih4LcAI=");
    assert!(consensus.previous_random().is_some());
    let names: Vec<_> = (0..5).map(|at| consensus.rows.nickname(at)).collect();
    assert_eq!(names, ["lisdex", "moria1", "Ukko", "d2d4", "Akka"]);
    let lisdex = &consensus.rows.rows[0];
    assert_eq!(lisdex.ipv6().unwrap().to_string(), "[2a0a:4cc0:c1:2aac::1]:8443");
    assert_eq!(text::base64_unpadded(&lisdex.microdesc), "vtKpzB+Vw6LlETW6txvAH+1G6gJIl6x1D/N3NZdPK24");
    assert_eq!(lisdex.bandwidth, 53_000);
    assert_eq!(consensus.rows.rows[1].ipv6(), None);
    assert!(consensus.rows.protocols(lisdex).supports(Protocol::Conflux, 1));
    assert_eq!(consensus.rows.protocols.len(), 1, "lists are held once");
    assert!(!consensus.rows.rows[1].flags.has(Flag::Fast));
    assert_eq!(
        consensus.rows.rows[3].flags.names().collect::<Vec<_>>(),
        ["Exit", "Fast", "Running", "Stable", "Valid"]
    );
}

/// The digests of Arti 2.7, tor-consdiff, are in `diff`; here against the whole text at once.
#[test]
fn digests_cover_the_signed_part_and_the_whole() {
    use crate::crypto::kdf;
    let end = CONSENSUS.find("\ndirectory-signature ").unwrap() + "\ndirectory-signature ".len();
    let signed = &CONSENSUS.as_bytes()[..end];
    let expected = Digests {
        signed: kdf::sha256(&[signed]),
        signed_sha3: kdf::sha3_256(&[signed]),
        whole_sha3: kdf::sha3_256(&[CONSENSUS.as_bytes()]),
    };
    for step in [1, 13, 1000, CONSENSUS.len()] {
        let mut parser = Parser::default();
        CONSENSUS.as_bytes().chunks(step).for_each(|piece| parser.push(piece).unwrap());
        assert_eq!(parser.finish().unwrap().digests(), &expected, "{step}");
    }
}

#[test]
fn more_than_half_of_the_authorities_must_have_signed() {
    let missing = |count| {
        let (certificates, authorities) = certificates(count);
        match parse(CONSENSUS).unwrap().check(&certificates, &authorities, now()) {
            Verdict::Good { missing, .. } => ("good", missing.len()),
            Verdict::CertificatesMissing { missing, .. } => ("missing", missing.len()),
            Verdict::Refused(error) => panic!("{error:?}"),
        }
    };
    assert_eq!([3, 2, 1, 0].map(missing), [("good", 0), ("good", 1), ("missing", 2), ("missing", 3)]);
    // With others among the authorities the same signatures are too few.
    let (certificates, mut authorities) = certificates(3);
    let check = |authorities: &[RsaId]| parse(CONSENSUS).unwrap().check(&certificates, authorities, now());
    authorities.extend([RsaId([1; 20]), RsaId([2; 20])]);
    assert!(matches!(check(&authorities), Verdict::Good { .. }), "three of five");
    authorities.push(RsaId([3; 20]));
    assert!(matches!(check(&authorities), Verdict::Refused(Error::TooFewSignatures)), "three of six");
    assert!(matches!(check(&[]), Verdict::Refused(Error::TooFewSignatures)));
    // The same authority, configured thrice, is one.
    authorities.truncate(1);
    authorities.extend([authorities[0], authorities[0], RsaId([1; 20])]);
    assert!(matches!(check(&authorities), Verdict::Refused(Error::TooFewSignatures)), "one of two");
}

#[test]
fn an_authority_that_signs_twice_counts_once() {
    let at = CONSENSUS.find("directory-signature").unwrap();
    let (front, signatures) = CONSENSUS.split_at(at);
    let first = &signatures[..signatures[1..].find("directory-signature").unwrap() + 1];
    let text = format!("{front}{first}{first}{first}");
    let (certificates, authorities) = certificates(3);
    let verdict = parse(&text).unwrap().check(&certificates, &authorities, now());
    assert!(matches!(verdict, Verdict::Refused(Error::TooFewSignatures)));
}

#[test]
fn a_certificate_whose_time_is_over_is_missing() {
    let (certificates, authorities) = certificates(3);
    let late = Wall::parse("2031-01-01", "00:00:00").unwrap();
    let verdict = parse(CONSENSUS).unwrap().check(&certificates, &authorities, late);
    assert!(matches!(verdict, Verdict::CertificatesMissing { missing, .. } if missing.len() == 3));
}

#[test]
fn a_change_of_the_signed_part_is_noticed() {
    let (certificates, authorities) = certificates(3);
    let verdict = changed("Bandwidth=", "Bandwidth=1").unwrap().check(&certificates, &authorities, now());
    assert!(matches!(verdict, Verdict::Refused(Error::TooFewSignatures)));
    // Signatures of a kind that we do not check do not count, and do no harm.
    let verdict = changed("directory-signature sha256", "directory-signature sha256").unwrap();
    assert!(matches!(verdict.check(&certificates, &authorities, now()), Verdict::Good { .. }));
    for other in ["sha512", "sha1", "x y"] {
        let text = CONSENSUS.replace("directory-signature sha256", &format!("directory-signature {other}"));
        let verdict = parse(&text).unwrap().check(&certificates, &authorities, now());
        assert!(matches!(verdict, Verdict::Refused(Error::TooFewSignatures)), "{other}");
    }
}

/// As in Arti 2.7, tor-netdoc, `testdata/bad-mdconsensus`, where it and C tor agree.
#[test]
fn each_bad_consensus_is_refused_for_its_fault() {
    for (from, to, error) in [
        ("network-status-version 3", "network-status-version 4", Error::UnknownVersion),
        ("version 3 microdesc", "version 3", Error::WrongFlavour),
        ("network-status-version", "x-status-version", Error::LineOutOfPlace),
        ("vote-status consensus", "vote-status vote", Error::LineMalformed),
        ("vote-status consensus\n", "", Error::LineMissing),
        ("valid-after 2020", "valid-after 2021", Error::LifetimeBackwards),
        ("fresh-until 2020", "fresh-until 2021", Error::LifetimeBackwards),
        ("valid-until 2020-08", "valid-until 2020-8", Error::LineMalformed),
        ("valid-until", "x-valid-until", Error::LineMissing),
        ("known-flags", "x-known-flags", Error::LineMissing),
        ("known-flags", "params a=b\nknown-flags", Error::LineMalformed),
        ("known-flags", "params a=1\nparams a=1\nknown-flags", Error::LineTwice),
        ("known-flags", "network-status-version 3 microdesc\nknown-flags", Error::LineOutOfPlace),
        ("bandwidth-weights Wbd=", "bandwidth-weights Wbd=x", Error::LineMalformed),
        ("directory-footer\n", "directory-footer\nr a b c d\n", Error::LineOutOfPlace),
        ("directory-signature ", "directory-signature\t", Error::LineMalformed),
        ("directory-signature ", "opt directory-signature ", Error::LineMalformed),
        ("directory-signature sha256 5", "directory-signature sha256 ", Error::LineMalformed),
    ] {
        assert_eq!(changed(from, to).err(), Some(error), "{from:?} to {to:?}");
    }
    let unsigned = CONSENSUS.split_once("directory-signature").unwrap().0;
    assert_eq!(parse(unsigned).err(), Some(Error::SignatureMissing));
    let start = CONSENSUS.find("\nr ").unwrap() + 1;
    let second = start + CONSENSUS[start..].find("\nr ").unwrap() + 1;
    let (first, rest) = (&CONSENSUS[start..second], &CONSENSUS[second..]);
    assert_eq!(parse(&format!("{}{first}{first}{rest}", &CONSENSUS[..start])).err(), Some(Error::RelaysUnsorted));
    let third = rest.find("\nr ").unwrap() + 1;
    let swapped = format!("{}{}{first}{}", &CONSENSUS[..start], &rest[..third], &rest[third..]);
    assert_eq!(parse(&swapped).err(), Some(Error::RelaysUnsorted));
    assert_eq!(parse("").err(), Some(Error::SignatureMissing));
}

#[test]
fn an_entry_that_cannot_be_used_is_left_out() {
    let entry = |from: &str, to: &str| {
        let consensus = changed(from, to).unwrap().consensus;
        assert_eq!(consensus.rows.names.len(), consensus.relay_count() * "test002a".len());
        (consensus.relay_count(), consensus.left_out())
    };
    for (from, to) in [
        ("\nr test002a ", "\nr test_002 "),
        ("\nr test002a ", "\nr "),
        (" 5002 ", " 65536 "),
        (" 5002 ", " +5002 "),
        ("127.0.0.1 5002", "localhost 5002"),
        ("\nm ", "\nx "),
        ("\nm ", "\nm A"),
        ("\npr ", "\nx "),
        ("\npr ", "\npr Link=3-2 "),
        ("\npr Cons", "\npr Link=3\npr Cons"),
        ("\ns ", "\nx "),
        ("\nw Bandwidth=", "\nw Bandwidth=x"),
    ] {
        assert_eq!(entry(from, to), (5, 1), "{from:?} to {to:?}");
    }
    assert_eq!(entry("\nw ", "\nx "), (6, 0));
    assert_eq!(changed("\nw ", "\nx ").unwrap().consensus.rows.rows[0].bandwidth, 30);
    assert_eq!(entry("\nm ", "\na 10.0.0.1:80\na [::1]\nopt unheard of\nm "), (6, 0));
    let two = changed("\na [::1]:5002\nm ", "\na [::1]:1\na [::2]:2\nm ").unwrap().consensus;
    assert_eq!(two.rows.rows[0].ipv6().unwrap().to_string(), "[::1]:1", "of two, the first");
}

#[test]
fn a_consensus_cut_anywhere_is_refused_or_lacks_signatures() {
    let (certificates, authorities) = certificates(3);
    for length in 0..CONSENSUS.len() - 1 {
        let Ok(unchecked) = parse(&CONSENSUS[..length]) else { continue };
        assert!(length > CONSENSUS.find("directory-signature").unwrap(), "{length}");
        if length % 50 == 0 {
            assert!(unchecked.signatures.len() < 3);
        }
    }
    let two = CONSENSUS.rfind("directory-signature").unwrap();
    let verdict = parse(&CONSENSUS[..two]).unwrap().check(&certificates, &authorities, now());
    assert!(matches!(verdict, Verdict::Good { .. }), "two of three");
}

#[test]
fn a_consensus_has_a_greatest_length_and_so_many_signatures() {
    let mut parser = Parser::default();
    parser.push(CONSENSUS.as_bytes()).unwrap();
    let line = format!("x {}\n", "y".repeat(65_000));
    let error = (0..400).find_map(|_| parser.push(line.as_bytes()).err());
    assert_eq!(error, Some(Error::DocumentTooLong));
    assert_eq!(parser.push(b"").err(), error, "an error stays");
    let at = CONSENSUS.rfind("directory-signature").unwrap();
    let many = CONSENSUS[at..].repeat(MAX_SIGNATURES);
    assert_eq!(parse(&format!("{CONSENSUS}{many}")).err(), Some(Error::TooManySignatures));
}

/// An item that comes byte by byte is not looked at for each.
#[test]
fn a_long_item_that_trickles_in_costs_linear_time() {
    let object = "A".repeat(63).chars().chain(['\n']).collect::<String>().repeat(1500);
    let text = format!("{CONSENSUS}x\n-----BEGIN X-----\n{object}-----END X-----\n");
    let mut parser = Parser::default();
    text.as_bytes().chunks(1).for_each(|byte| parser.push(byte).unwrap());
    assert_eq!(parser.finish().unwrap().signatures.len(), 3);
}

#[test]
fn a_lifetime_is_over_when_it_is_over() {
    let lifetime = parse(LIVE).unwrap().lifetime();
    let at = |hours: i64| {
        let hour = Duration::from_secs(3600);
        let (later, earlier) = (u32::try_from(hours.max(0)).unwrap(), u32::try_from((-hours).max(0)).unwrap());
        lifetime.valid_after + hour * later - hour * earlier
    };
    let live: Vec<_> =
        [-25, -24, -1, 0, 3, 4, 27, 28].map(|h| (lifetime.is_live(at(h)), lifetime.is_reasonably_live(at(h)))).into();
    let (no, day, yes) = ((false, false), (false, true), (true, true));
    assert_eq!(live, [no, day, day, yes, yes, day, day, no]);
    assert!(Lifetime::new(at(0), at(0), at(1)).is_err() && Lifetime::new(at(0), at(1), at(1)).is_err());
}

proptest! {
    // Each case reads the document eight times and more.
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn any_change_reads_alike_however_it_is_cut(at in 0..CONSENSUS.len(), byte: u8, end in 0..CONSENSUS.len()) {
        let mut bytes = CONSENSUS.as_bytes().to_vec();
        bytes[at] = byte;
        fuzz(&bytes);
        fuzz(&bytes[..end]);
    }
}
