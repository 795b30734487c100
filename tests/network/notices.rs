//! What a user is told of this machine and of the program, and when the program has to end.

use std::time::Duration;

use cepa::internal::base::time::Wall;
use cepa::internal::client::notices::{Notice, Source};
use cepa::internal::link::handshake::ClockSkew;
use cepa::lab::authority::Spec;
use cepa::lab::network::BEGINNING;

use super::client::{Shell, connect, directory_network, directory_network_of, honest, setup_with, wish};
use super::seed;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: i64 = 3600;

/// What a client whose clock is so many seconds ahead is told of its clock, each as who said so
/// and by how many hours it is ahead; and whether it is served.
fn with_clock(ahead: i64) -> (Vec<(Source, i64)>, bool) {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::prepare(&network, wish(&cache));
    shell.set_clock(ahead);
    shell.begin(&mut network);
    let is_served = shell.serve(&mut network, connect("source-5000.lab", "a"), 5 * MINUTE).read.len() == 5000;
    // And directories are not asked for ever.
    shell.run_until(&mut network, 60 * MINUTE, |_| false);
    let asked = shell.client.bootstrap().request_count();
    assert!(asked < 40, "{asked} requests by a clock that is {ahead} s ahead");
    let told = shell.notices.iter().filter_map(|notice| match notice {
        Notice::Clock(ClockSkew::Ahead(by), source) => Some((*source, by.as_secs().cast_signed())),
        Notice::Clock(ClockSkew::Behind(by), source) => Some((*source, -by.as_secs().cast_signed())),
        _ => None,
    });
    (told.map(|(source, seconds)| (source, (seconds + 1800 * seconds.signum()) / HOUR)).collect(), is_served)
}

#[test]
fn a_clock_that_is_wrong_is_named_and_used_as_far_as_that_goes() {
    let hours = |hours: i64| with_clock(hours * HOUR);
    assert_eq!(hours(0), (vec![], true));
    assert_eq!(with_clock(50 * 60), (vec![], true));
    assert_eq!(hours(-5), (vec![(Source::Directory, -5), (Source::Consensus, -5)], true));
    assert_eq!(hours(5), (vec![(Source::Directory, 5)], true));
    // Beyond a day no consensus can be believed.
    let (told, is_served) = hours(-72);
    assert!(told.contains(&(Source::Directory, -72)) && told.contains(&(Source::Consensus, -72)) && !is_served);
    let (told, is_served) = hours(200);
    assert!(told == [(Source::Directory, 200)] && !is_served, "{told:?}");
}

/// C tor: `handle_missing_protocol_warning_impl`, and the release date that it goes by.
#[test]
fn a_client_that_the_network_has_left_behind_ends() {
    let spec = Spec { required: Some("Link=4 Relay=9".to_owned()), ..Spec::new(seed(), BEGINNING) };
    let (mut network, _, cache) = directory_network_of(spec, honest);
    let made_on = |released: Wall| setup_with(&cache, "").released_on(released);
    // This consensus is from before we were made: what it requires is history.
    let mut newer = Shell::start(&mut network, made_on(BEGINNING + 48 * 60 * MINUTE));
    assert_eq!(newer.serve(&mut network, connect("source-5000.lab", "a"), MINUTE).read.len(), 5000);
    assert!(newer.notices.is_empty());

    let mut older = Shell::start(&mut network, made_on(BEGINNING - 48 * 60 * MINUTE));
    assert!(older.run_until(&mut network, MINUTE, |shell| !shell.notices.is_empty()));
    assert!(older.notices[0].is_fatal() && older.notices[0].to_string().contains("Relay=9"), "{:?}", older.notices);
    let (dialled, now) = (older.dialled.len(), older.serve(&mut network, connect("source-5000.lab", "a"), 5 * MINUTE));
    assert!(now.failure.is_some() && older.dialled.len() == dialled && older.notices.len() == 1);
    // The same out of a file.
    let next = Shell::start_with(&mut network, made_on(BEGINNING - 48 * 60 * MINUTE), newer.disk.left());
    assert!(next.notices.iter().any(Notice::is_fatal) && next.dialled.is_empty());
}

#[test]
fn what_is_only_recommended_is_said_once() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, setup_with(&cache, "").released_on(BEGINNING - 48 * 60 * MINUTE));
    shell.run_until(&mut network, 300 * MINUTE, |_| false);
    assert!(matches!(shell.notices[..], [Notice::Old(_)]), "{:?}", shell.notices);
}

#[test]
fn a_clock_that_is_set_right_serves_at_once() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::prepare(&network, wish(&cache));
    shell.set_clock(-72 * HOUR);
    shell.begin(&mut network);
    shell.run_until(&mut network, 600 * MINUTE, |_| false);
    assert!(shell.client.dir().is_none());
    shell.set_clock(72 * HOUR);
    let told = shell.serve(&mut network, connect("source-5000.lab", "a"), MINUTE / 4);
    assert_eq!(told.read.len(), 5000, "{told:?}");
}
