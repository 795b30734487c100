use super::*;
use crate::base::random::Seeded;
use crate::crypto::{rsa, x25519};
use crate::wire::netdoc::{Item, MAX_LINE_LEN, Tokenizer};
use crate::wire::protover::Protocols;

/// The middle of an hour of November 2026.
pub(crate) const START: Wall = Wall::from_secs(1_795_271_400);

/// Eleven relays: three authorities, guards, exits, one that is both.
pub(crate) fn members() -> Vec<Member> {
    let member = |number: u8| {
        let member = Member::example(number);
        match number {
            4..7 => member.flagged(Flag::Guard),
            7..9 => member.exit(),
            9 => member.exit().flagged(Flag::Guard),
            _ => member,
        }
    };
    (1..12).map(member).collect()
}

pub(crate) fn network(spec: Spec) -> Authorities {
    Authorities::new(spec, members()).unwrap()
}

fn misbehaving(misbehaviour: Misbehaviour) -> Authorities {
    network(Spec { misbehaviour: Some(misbehaviour), listed: 40, ..Spec::new(1, START) })
}

fn newest(authorities: &Authorities) -> String {
    authorities.consensus(authorities.round(START)).unwrap()
}

fn items(text: &str) -> Vec<Item<'_>> {
    Tokenizer::new(text.as_bytes()).map(|item| item.unwrap()).collect()
}

/// How many authorities, whose certificates say with which key, have signed the document.
pub(crate) fn good_signatures(authorities: &Authorities, consensus: &str) -> usize {
    let end = consensus.find("\ndirectory-signature ").unwrap() + "\ndirectory-signature ".len();
    let digest = kdf::sha256(&[&consensus.as_bytes()[..end]]);
    let mut good = 0;
    for (trusted, certificate) in authorities.certificates() {
        let certificate = items(certificate);
        let key = certificate.iter().find(|item| item.keyword == "dir-signing-key").unwrap().object.unwrap();
        let key = rsa::PublicKey::from_der(&key.decode().unwrap()).unwrap();
        assert_eq!(key.id(), trusted.signing);
        let names = ["sha256".to_owned(), text::hex(&trusted.identity.0), text::hex(&trusted.signing.0)];
        let document = items(consensus);
        let signature =
            document.iter().find(|item| item.keyword == "directory-signature" && item.args().eq(names.iter()));
        let signature = signature.map(|item| item.object.unwrap().decode().unwrap());
        good += usize::from(signature.is_some_and(|signature| key.verify(&digest, &signature).is_ok()));
    }
    good
}

/// The order in which a consensus of 27 July 2026 has its keywords, each the first time.
const REAL_ORDER: &str = "network-status-version vote-status consensus-method valid-after fresh-until valid-until \
     voting-delay client-versions server-versions known-flags recommended-client-protocols \
     recommended-relay-protocols required-client-protocols required-relay-protocols params \
     shared-rand-previous-value shared-rand-current-value dir-source contact vote-digest r a m s v pr w \
     directory-footer bandwidth-weights directory-signature";

#[test]
fn lines_stand_in_the_order_of_the_real_ones() {
    let text = newest(&network(Spec { listed: 60, ..Spec::new(1, START) }));
    let mut seen: Vec<&str> = Vec::new();
    for item in items(&text) {
        if !seen.contains(&item.keyword) {
            seen.push(item.keyword);
        }
    }
    // Not every first relay has an IPv6 address.
    let without = |keywords: Vec<&str>| keywords.into_iter().filter(|word| *word != "a").collect::<Vec<_>>().join(" ");
    assert_eq!(without(seen), without(REAL_ORDER.split(' ').collect()));
}

#[test]
fn all_sign_and_every_relay_is_there_in_order() {
    let authorities = network(Spec { listed: 200, ..Spec::new(1, START) });
    let text = newest(&authorities);
    assert_eq!(good_signatures(&authorities, &text), 3);
    let (mut ids, mut microdescs) = (Vec::new(), 0);
    for item in items(&text) {
        let args: Vec<_> = item.args().collect();
        match item.keyword {
            "r" => ids.push(text::from_base64(args[1]).unwrap()),
            "m" => {
                let digest = text::from_base64(args[0]).unwrap().try_into().unwrap();
                let microdesc = authorities.microdesc(&digest).unwrap();
                assert_eq!(kdf::sha256(&[microdesc.as_bytes()]), digest);
                assert!(!items(microdesc).is_empty());
                microdescs += 1;
            }
            "pr" => assert!(Protocols::parse(item.rest).is_ok(), "{}", item.rest),
            "s" => assert!(args.iter().all(|name| Flag::from_name(name).is_some())),
            _ => {}
        }
    }
    assert!(ids.is_sorted() && ids.len() == microdescs && (190..=200).contains(&ids.len()), "{}", ids.len());
    assert!(members().iter().all(|member| ids.contains(&member.ids.rsa.unwrap().0.to_vec())));
    assert_eq!(text.matches("\npr Cons=1-2 Desc=1-4 DirCache=2 FlowCtrl=1 Link=4-5").count(), 11);
}

#[test]
fn the_same_seed_and_round_give_the_same_bytes() {
    let make = |seed, round| network(Spec { listed: 50, ..Spec::new(seed, START) }).consensus(round).unwrap();
    assert_eq!(make(1, 1000), make(1, 1000));
    assert_ne!(make(1, 1000), make(2, 1000));
    assert_ne!(make(1, 1000), make(1, 1001));
}

#[test]
fn a_new_consensus_comes_on_schedule() {
    let interval = Duration::from_secs(60);
    let authorities = network(Spec { interval, ..Spec::new(1, START) });
    let round = authorities.round(START);
    let lifetime = authorities.lifetime(round);
    assert!(lifetime.valid_after <= START && START < lifetime.fresh_until);
    assert_eq!(lifetime.valid_until, lifetime.valid_after + 3 * interval);
    assert_eq!(authorities.round(lifetime.fresh_until), round + 1);
    let text = newest(&authorities);
    assert!(text.contains(&format!("\nvalid-after {}\n", lifetime.valid_after)), "{text}");
    assert!(text.contains("\nvoting-delay 5 5\n"), "{text}");
}

#[test]
fn shared_random_values_move_on_after_a_day_of_rounds() {
    let authorities = network(Spec::new(1, START));
    let value = |round, keyword: &str| {
        let text = authorities.consensus(round).unwrap();
        items(&text).iter().find(|item| item.keyword == keyword).unwrap().rest.to_owned()
    };
    assert_eq!(value(48, "shared-rand-current-value"), value(71, "shared-rand-current-value"));
    assert_eq!(value(71, "shared-rand-current-value"), value(72, "shared-rand-previous-value"));
    assert_ne!(value(71, "shared-rand-current-value"), value(72, "shared-rand-current-value"));
}

#[test]
fn parameters_can_be_asked_for() {
    let params = vec![("cc_alg".to_owned(), 0), ("aaa".to_owned(), -1)];
    let text = newest(&network(Spec { params, ..Spec::new(1, START) }));
    let params = items(&text).iter().find(|item| item.keyword == "params").unwrap().rest.to_owned();
    assert!(params.contains(" cc_alg=0 ") && !params.contains("cc_alg=2") && params.contains("aaa=-1"), "{params}");
    assert!(params.split(' ').is_sorted());
}

#[test]
fn every_misbehaviour_shows() {
    let with = |misbehaviour| {
        let authorities = misbehaving(misbehaviour);
        let text = newest(&authorities);
        items(&text);
        (good_signatures(&authorities, &text), text, authorities)
    };
    let (good, text, _) = with(Misbehaviour::TooFewSignatures);
    assert_eq!((good, text.matches("\ndirectory-signature ").count()), (1, 1));
    let (good, text, _) = with(Misbehaviour::WrongSignatures);
    assert_eq!((good, text.matches("\ndirectory-signature ").count()), (0, 3));
    let day = Duration::from_secs(86_400);
    let lifetime = |authorities: &Authorities| authorities.lifetime(authorities.round(START));
    let (good, _, authorities) = with(Misbehaviour::Expired);
    assert!(good == 3 && lifetime(&authorities).valid_until + 4 * day < START);
    let (good, _, authorities) = with(Misbehaviour::FromTheFuture);
    assert!(good == 3 && lifetime(&authorities).valid_after > START + 4 * day);
    let (good, text, authorities) = with(Misbehaviour::WrongDigests);
    let items = items(&text);
    let mut digests = items.iter().filter(|item| item.keyword == "m").map(|item| text::from_base64(item.rest).unwrap());
    assert!(good == 3 && digests.all(|digest| authorities.microdesc(&digest.try_into().unwrap()).is_none()));
}

#[test]
fn the_unknown_and_the_giant_still_parse() {
    for (misbehaviour, keyword) in
        [(Misbehaviour::UnknownKeywords, "phase-of-the-moon"), (Misbehaviour::GiantLists, "params")]
    {
        let authorities = misbehaving(misbehaviour);
        let text = newest(&authorities);
        assert_eq!(good_signatures(&authorities, &text), 3);
        let longest = items(&text).iter().filter(|item| item.keyword == keyword).map(|item| item.rest.len()).max();
        assert!(longest.is_some_and(|len| len < MAX_LINE_LEN));
        assert!(misbehaviour != Misbehaviour::GiantLists || longest > Some(100_000));
        authorities.microdescs().for_each(|(_, text)| drop(items(text)));
    }
}

#[test]
fn impossible_networks_are_refused() {
    let make = |spec: Spec, members| Authorities::new(spec, members).err();
    let spec = || Spec::new(1, START);
    assert_eq!(make(spec(), members()[..2].to_vec()), Some(Error::TooFewMembers));
    assert_eq!(make(Spec { authorities: 0, ..spec() }, members()), Some(Error::TooFewMembers));
    assert_eq!(make(Spec { listed: MAX_LISTED + 1, ..spec() }, members()), Some(Error::TooManyListed));
    let twice: Vec<_> = members().into_iter().chain(members()).collect();
    assert_eq!(make(spec(), twice), Some(Error::IdentityTwice));
    let mut nobody = members();
    nobody[4].ids.ed25519 = None;
    assert_eq!(make(spec(), nobody), Some(Error::IdentityMissing));
}

#[test]
fn a_torrc_line_names_the_authority() {
    let authorities = network(Spec::new(1, START));
    for (trusted, certificate) in authorities.certificates() {
        let line = trusted.torrc_line();
        assert!(line.starts_with("DirAuthority relay") && line.contains(" orport=500"), "{line}");
        assert!(certificate.contains(&format!("\nfingerprint {}\n", text::hex(&trusted.identity.0))));
    }
}

/// A real key agrees with the form that is written: a relay can be given any.
#[test]
fn a_members_onion_key_is_written_as_it_is() {
    let pair = x25519::KeyPair::random(&mut Seeded(1));
    let mut members = members();
    members[5].ntor = pair.public;
    let authorities = Authorities::new(Spec::new(1, START), members).unwrap();
    let line = format!("\nntor-onion-key {}\n", text::base64_unpadded(&pair.public.0));
    assert_eq!(authorities.microdescs().filter(|(_, text)| text.contains(&line)).count(), 1);
}

/// Sizes as those of the public network: a consensus of 8,000 relays weighs 2.8 MB, its
/// microdescriptors 4 MB, or up to 20 with lists of families.
#[test]
fn sizes_are_those_of_the_public_network() {
    let listed = 2000;
    let sizes = |family_lists| {
        let invention = Invention { family_lists, ..Invention::default() };
        let authorities = network(Spec { listed, invention, ..Spec::new(1, START) });
        let microdescs: usize = authorities.microdescs().map(|(_, text)| text.len()).sum();
        (newest(&authorities).len() / listed, microdescs / listed)
    };
    let (consensus, microdescs) = sizes(false);
    assert!((330..400).contains(&consensus), "{consensus} bytes a relay");
    assert!((400..650).contains(&microdescs), "{microdescs} bytes a relay");
    let (_, microdescs) = sizes(true);
    assert!((1500..3500).contains(&microdescs), "{microdescs} bytes a relay");
}

/// For each number of relays, with and without lists of families: everything is made in
/// time. A budget of release builds; `.ci/run soak` runs it.
#[test]
#[ignore = "a budget of release builds"]
#[allow(clippy::disallowed_methods, reason = "it measures")]
fn ten_thousand_relays_are_listed_within_ten_seconds() {
    for (listed, family_lists) in [(0, false), (8000, false), (8000, true), (10_000, false), (10_000, true)] {
        let invention = Invention { family_lists, ..Invention::default() };
        let start = std::time::Instant::now();
        let authorities = network(Spec { listed, invention, ..Spec::new(1, START) });
        let old = authorities.consensus(1000).unwrap();
        let first = start.elapsed();
        let new = authorities.consensus(1001).unwrap();
        let second = start.elapsed() - first;
        let diff = diff::write(&old, &new);
        let diffed = start.elapsed() - second - first;
        let microdescs: usize = authorities.microdescs().map(|(_, text)| text.len()).sum();
        println!(
            "{listed} lists={family_lists}: microdescriptors and a consensus in {first:?}, the next in {second:?}, \
             a diff in {diffed:?}; consensus {} microdescs {microdescs} diff {}",
            new.len(),
            diff.len()
        );
        assert!(first < Duration::from_secs(10), "{listed} relays took {first:?}");
    }
}
