//! A virtual network's relays serve what is true of it, over BEGIN_DIR.

use cepa::internal::base::text;
use cepa::internal::crypto::kdf;
use cepa::internal::wire::relay::Command;
use cepa::internal::wire::relay_msg::{End, EndReason};
use cepa::lab::authority::Spec;
use cepa::lab::cache::CONSENSUS;
use cepa::lab::network::BEGINNING;

use super::near::{Event, Near};
use super::{seed, three_relays};

#[test]
fn the_consensus_and_the_microdescriptors_it_names_are_served() {
    let (mut network, relays) = three_relays(seed());
    let facts = relays.map(|relay| *network.facts(relay));
    let cache = network.open_directory(Spec { listed: 60, ..Spec::new(seed(), BEGINNING) }).unwrap();
    let mut near = Near::dial(&mut network, relays[0]);
    near.create_fast();
    let (head, body) = near.get(CONSENSUS);
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
    let consensus = String::from_utf8(body).unwrap();
    assert_eq!(consensus, cache.authorities().consensus(cache.authorities().round(BEGINNING)).unwrap());
    for relay in &facts {
        let id = text::base64_unpadded(&relay.rsa.0);
        assert!(consensus.contains(&format!(" {id} ")), "a relay is not listed");
    }

    let digests: Vec<_> = consensus.lines().filter_map(|line| line.strip_prefix("m ")).collect();
    let (_, microdescs) = near.get(&format!("/tor/micro/d/{}", digests.join("-")));
    let microdescs = String::from_utf8(microdescs).unwrap();
    let starts: Vec<_> = microdescs
        .match_indices("onion-key\n")
        .map(|(at, _)| at)
        .filter(|at| *at == 0 || microdescs[..*at].ends_with('\n'))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([microdescs.len()]);
    let served: Vec<_> = starts.iter().zip(ends).map(|(start, end)| &microdescs[*start..end]).collect();
    assert_eq!(served.len(), digests.len());
    for microdesc in served {
        let digest = text::base64_unpadded(&kdf::sha256(&[microdesc.as_bytes()]));
        assert!(digests.contains(&digest.as_str()), "{microdesc}");
    }
    for relay in &facts {
        let line = format!("\nntor-onion-key {}\n", text::base64_unpadded(&relay.onion_key.0));
        assert!(microdescs.contains(&line), "a relay has no microdescriptor");
    }
}

#[test]
fn a_relay_without_a_directory_says_so() {
    let (mut network, relays) = three_relays(seed());
    let mut near = Near::dial(&mut network, relays[0]);
    near.create_fast();
    let stream = near.new_stream();
    near.send(Command::BEGIN_DIR, Some(stream), &[]);
    let event = near.next_event();
    let Event::Message { command: Command::END, body, .. } = event else { panic!("{event:?}") };
    assert_eq!(End::parse(&body).unwrap().reason, EndReason::NOTDIRECTORY);
}
