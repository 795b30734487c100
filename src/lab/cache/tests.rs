use super::*;
use crate::lab::authority::diff::tests::apply;
use crate::lab::authority::tests::{START, network};
use crate::lab::authority::{Misbehaviour, Spec};
use lzma_rust2::LzmaReader;
use proptest::prelude::*;
use std::io::Read;

/// What C tor's decoder may use: its `MEMORY_LIMIT`.
const TOR_MEMORY_KIB: u32 = 16 * 1024;

fn cache(listed: usize) -> Cache {
    Cache::new(network(Spec { listed, ..Spec::new(1, START) }))
}

/// The status line and headers, and the body, decompressed if it was not.
fn get(cache: &Cache, path: &str, headers: &str, now: Wall) -> (String, String) {
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n{headers}\r\n");
    let answer = cache.answer(request.as_bytes(), now).unwrap();
    let at = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8(answer[..at].to_vec()).unwrap();
    let name = head.split("Content-Encoding: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let body = decoded(name.unwrap_or("identity"), &answer[at..]);
    (head, String::from_utf8(body).unwrap())
}

fn decoded(name: &str, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match name {
        "identity" => out.extend_from_slice(body),
        "deflate" => out = miniz_oxide::inflate::decompress_to_vec_zlib(body).unwrap(),
        "x-zstd" => {
            ruzstd::decoding::StreamingDecoder::new(body).unwrap().read_to_end(&mut out).unwrap();
        }
        "x-tor-lzma" => {
            LzmaReader::new_mem_limit(body, TOR_MEMORY_KIB, None).unwrap().read_to_end(&mut out).unwrap();
        }
        other => panic!("{other}"),
    }
    out
}

fn status(cache: &Cache, path: &str, headers: &str) -> u16 {
    get(cache, path, headers, START).0.split(' ').nth(1).unwrap().parse().unwrap()
}

fn hour(count: u64) -> Wall {
    START + Duration::from_secs(count * 3600)
}

#[test]
fn documents_come_in_the_best_way_that_a_client_takes() {
    let cache = cache(30);
    let expected = cache.authorities().consensus(cache.authorities().round(START)).unwrap();
    let (head, plain) = get(&cache, CONSENSUS, "", START);
    assert!(head.contains("Content-Encoding: identity\r\n") && head.contains("Vary: "), "{head}");
    assert_eq!(plain, expected);
    let all = "Accept-Encoding: x-tor-lzma, x-zstd, deflate, gzip, identity\r\n";
    let deflated = format!("{CONSENSUS}.z");
    for (path, headers, encoding) in [
        (&*deflated, "", "deflate"),
        (&*deflated, all, "x-tor-lzma"),
        (CONSENSUS, all, "x-tor-lzma"),
        (CONSENSUS, "Accept-Encoding: deflate, identity, x-zstd\r\n", "x-zstd"),
        (CONSENSUS, "Accept-Encoding: br,deflate\r\n", "deflate"),
        (&*deflated, "Accept-Encoding: br\r\n", "identity"),
        // What is made for one answer is never lzma.
        ("/tor/keys/all", all, "x-zstd"),
    ] {
        let (head, body) = get(&cache, path, headers, START);
        assert!(head.contains(&format!("Content-Encoding: {encoding}\r\n")), "{path} {headers}: {head}");
        assert!(body == expected || path == "/tor/keys/all", "{path} {headers}");
        assert_eq!(body, get(&cache, path.trim_end_matches(".z"), "", START).1);
    }
}

#[test]
fn a_consensus_needs_more_than_half_of_those_asked_for() {
    let cache = cache(0);
    let ids: Vec<_> = cache.authorities().certificates().map(|(it, _)| text::hex(&it.identity.0)).collect();
    let [a, b, c] = &ids[..] else { panic!() };
    let strange = "00".repeat(20);
    for (wanted, expected) in [
        (format!("{a}+{b}+{c}"), 200),
        (format!("{}+{}+{}.z", &a[..6], &b[..6], c[..6].to_lowercase()), 200),
        (format!("{a}+{b}+{strange}"), 200),
        (format!("{a}+{strange}"), 404),
        (strange.clone(), 404),
        (String::new(), 200),
    ] {
        assert_eq!(status(&cache, &format!("{CONSENSUS}/{wanted}"), ""), expected, "{wanted}");
    }
    assert_eq!(status(&cache, &format!("{CONSENSUS}s"), ""), 404);
}

#[test]
fn nothing_new_is_said_in_three_ways() {
    let cache = cache(0);
    let (_, old) = get(&cache, CONSENSUS, "", START);
    let since = |at| format!("If-Modified-Since: {}\r\n", http::date(at));
    let fresh = cache.authorities().lifetime(cache.authorities().round(START)).valid_after;
    assert_eq!(status(&cache, CONSENSUS, &since(fresh + Duration::from_secs(180))), 304);
    assert_eq!(status(&cache, CONSENSUS, &since(fresh - Duration::from_secs(1))), 200);
    assert_eq!(status(&cache, CONSENSUS, "If-Modified-Since: yesterday\r\n"), 200);
    let held = format!("X-Or-Diff-From-Consensus: {}\r\n", text::hex(&diff::digest(&old)));
    assert_eq!(status(&cache, CONSENSUS, &held), 304);
    assert_eq!(status(&cache, "/tor/keys/all", &since(hour(1))), 304);
}

#[test]
fn a_diff_makes_the_newest_of_each_recent_one() {
    let cache = cache(300);
    let (_, newest) = get(&cache, CONSENSUS, "", hour(4));
    for age in 1..=4 {
        let old = get(&cache, CONSENSUS, "", hour(4 - age)).1;
        let from = text::hex(&diff::digest(&old));
        let header = format!("X-Or-Diff-From-Consensus: {}, {from}\r\n", "00".repeat(32));
        for (path, header) in [(format!("{CONSENSUS}.z"), header.as_str()), (format!("{CONSENSUS}/diff/{from}"), "")] {
            let (_, diff) = get(&cache, &path, header, hour(4));
            assert!(diff.starts_with("network-status-diff-version 1\n"), "{diff}");
            assert!(diff.len() < newest.len() / 2, "{} of {}", diff.len(), newest.len());
            assert_eq!(apply(&old, &diff).unwrap(), newest);
        }
    }
    let strange = "00".repeat(32);
    let header = format!("X-Or-Diff-From-Consensus: {strange}\r\n");
    assert_eq!(get(&cache, CONSENSUS, &header, hour(4)).1, newest);
    assert_eq!(status(&cache, &format!("{CONSENSUS}/diff/{strange}"), ""), 404);
}

#[test]
fn certificates_are_found_by_each_of_their_names() {
    let cache = cache(0);
    let all: Vec<_> = cache.authorities().certificates().map(|(trusted, text)| (trusted, text.to_owned())).collect();
    let (trusted, text) = &all[1];
    let (identity, signing) = (text::hex(&trusted.identity.0), text::hex(&trusted.signing.0).to_lowercase());
    let joined: String = all.iter().map(|(_, text)| text.as_str()).collect();
    let (head, body) = get(&cache, "/tor/keys/all", "", START);
    assert_eq!(body, joined);
    assert!(head.contains(&format!("Content-Length: {}\r\n", joined.len())), "{head}");
    for path in [format!("fp/{identity}"), format!("sk/{signing}"), format!("fp-sk/{}+{identity}-{signing}", "0-0")] {
        assert_eq!(&get(&cache, &format!("/tor/keys/{path}"), "", START).1, text);
    }
    assert_eq!(status(&cache, &format!("/tor/keys/fp/{}", "00".repeat(20)), ""), 404);
    assert_eq!(status(&cache, "/tor/keys/door", ""), 400);
}

#[test]
fn microdescriptors_come_by_their_digests() {
    let cache = cache(600);
    let all: Vec<_> = cache.authorities().microdescs().map(|(digest, text)| (*digest, text.to_owned())).collect();
    let ask = |some: &[([u8; 32], String)]| {
        let names: Vec<_> = some.iter().rev().map(|(digest, _)| text::base64_unpadded(digest)).collect();
        get(&cache, &format!("/tor/micro/d/{}", names.join("-")), "Accept-Encoding: deflate\r\n", START).1
    };
    let joined = |some: &[([u8; 32], String)]| some.iter().map(|(_, text)| text.as_str()).collect::<String>();
    assert_eq!(ask(&all[..1]), joined(&all[..1]));
    assert_eq!(ask(&all[..500]), joined(&all[..500]));
    assert_eq!(ask(&all[..501]), joined(&all[1..501]), "no more than {MAX_MICRODESCS}");
    let one = text::base64_unpadded(&all[0].0);
    assert_eq!(get(&cache, &format!("/tor/micro/d/{one}-{one}-{}.z", "A".repeat(43)), "", START).1, all[0].1);
    assert_eq!(status(&cache, &format!("/tor/micro/d/{}", "A".repeat(43)), ""), 404);
    assert_eq!(status(&cache, "/tor/micro/d/", ""), 404);
}

#[test]
fn what_is_not_served_is_refused() {
    let cache = cache(0);
    for path in ["/", "/tor/server/all", "/tor/status-vote/current/consensus", "/tor/hs/3/x"] {
        assert_eq!(status(&cache, path, ""), 404, "{path}");
    }
    assert!(cache.answer(b"POST /tor/hs/3/publish HTTP/1.0\r\n\r\n", START).unwrap().starts_with(b"HTTP/1.0 404 "));
    assert!(cache.answer(b"\r\n\r\n", START).unwrap().starts_with(b"HTTP/1.0 400 Bad request\r\n"));
    assert_eq!(cache.answer(b"GET / HTTP/1.0\r\n", START), None);
    cache.set_busy(true);
    assert_eq!(status(&cache, CONSENSUS, ""), 503);
    cache.set_busy(false);
    assert_eq!(status(&cache, CONSENSUS, ""), 200);
}

#[test]
fn a_lie_reaches_whoever_asks() {
    for misbehaviour in Misbehaviour::ALL {
        let spec = Spec { misbehaviour: Some(misbehaviour), ..Spec::new(1, START) };
        let cache = Cache::new(network(spec));
        let ids: Vec<_> = cache.authorities().certificates().map(|(it, _)| text::hex(&it.identity.0)).collect();
        assert_eq!(status(&cache, &format!("{CONSENSUS}/{}", ids.join("+")), ""), 200, "{misbehaviour:?}");
    }
}

#[test]
fn a_client_is_told_its_address() {
    let request = format!("GET {CONSENSUS} HTTP/1.0\r\n\r\n");
    let answer = cache(0).answer_to(Some(IpAddr::from([192, 0, 2, 9])), request.as_bytes(), START).unwrap();
    let head = String::from_utf8_lossy(&answer[..200]).into_owned();
    assert!(head.contains("\r\nX-Your-Address-Is: 192.0.2.9\r\n"), "{head}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_request_panics(path in "(/tor/(keys/(fp|sk|fp-sk|x)/|micro/d/|status-vote/current/consensus-microdesc/?(diff/)?))?.{0,40}") {
        let cache = cache(0);
        let request = format!("GET {path} HTTP/1.0\r\nX-Or-Diff-From-Consensus: {path}\r\n\r\n");
        let _ = cache.answer(request.as_bytes(), START);
    }
}
