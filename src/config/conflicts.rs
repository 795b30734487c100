//! What options may not say together, and what is odd of them together.
//!
//! Each value is one that its option takes (`mod.rs`, which calls this with all of them). The
//! verdicts are C tor's: what it refuses is refused, what it warns of is warned of. Spec: none.
//! C tor: `options_validate_cb` and `validate_dir_servers` in app/config/config.c,
//! `warn_nonlocal_client_ports`.

use core::net::IpAddr;
use core::time::Duration;

use super::port::{Place, Port};
use super::values::{self, Wanted};
use super::{Complaint, Config, Kind, Objection, Oddity, Origin, Settings, Warning, built_in, find};
use crate::base::address::is_internal;

const SECOND: Duration = Duration::from_secs(1);
/// C tor: the least of `DormantClientTimeout`, and the most of `CircuitsAvailableTimeout`.
const LEAST_DORMANT_TIMEOUT: Duration = Duration::from_secs(600);
const MOST_AVAILABLE_TIMEOUT: Duration = Duration::from_secs(86_400);
/// C tor: what `TestingDirConnectionMaxStall` is at least, and what is "insanely high".
const LEAST_STALL: Duration = Duration::from_secs(5);
const MUCH: Duration = Duration::from_secs(3600);
const MANY_TRIES: u64 = 100;
/// C tor: `RECOMMENDED_MIN_CIRCUIT_BUILD_TIMEOUT`.
const SHORT_BUILD_TIMEOUT: Duration = Duration::from_secs(10);

/// Only a network for tests may have others than the usual values.
const ONLY_TESTING: [&str; 4] = [
    "TestingClientDownloadInitialDelay",
    "TestingClientConsensusDownloadInitialDelay",
    "TestingClientMaxIntervalWithoutRequest",
    "TestingDirConnectionMaxStall",
];

/// The first conflict, if there is any; else what is odd.
pub(super) fn check(settings: &Settings, config: &Config) -> Result<Vec<Warning>, Complaint> {
    let unusual = ONLY_TESTING.into_iter().find(|option| !config.is_testing && !is_usual(settings, option));
    let unusual = unusual.map(|option| (option, "TestingTorNetwork 1 beside it, or its default"));
    let refused = || refused(config).into_iter().find(|(is_wrong, ..)| *is_wrong);
    match unusual.or_else(|| refused().map(|(_, option, wanted)| (option, wanted))) {
        Some((option, wanted)) => {
            let given = settings.given(option).last().cloned();
            let given = given.unwrap_or_else(|| built_in(find(option).map_or("", |entry| entry.default)));
            let fault = Objection::Value { option, value: given.value, wanted: Wanted::Other(wanted) };
            Err(Complaint { origin: given.origin, fault })
        }
        None => Ok(odd(settings, config)),
    }
}

/// Whether an option has the value that it has where nobody gives one, however that is written.
fn is_usual(settings: &Settings, option: &str) -> bool {
    let Some(entry) = find(option) else { return true };
    let read = |text: &str| match entry.kind {
        Kind::Number(low, high) => values::number(text.trim(), low, high).ok(),
        _ => values::seconds(text.trim()).ok().map(|time| time.as_secs()),
    };
    settings.given(option).last().is_none_or(|given| read(&given.value) == read(entry.default))
}

/// What is refused: whether it is so, of which option, and what would be right.
fn refused(config: &Config) -> [(bool, &'static str, &'static str); 10] {
    let Config { is_testing, directory, guards, circuits, dormancy, links, requests, .. } = config;
    let has_authorities = !directory.authorities.is_empty();
    let has_alternates = !directory.alternate_authorities.is_empty();
    let is_long_available = circuits.available_timeout.is_some_and(|time| time > MOST_AVAILABLE_TIMEOUT);
    let is_hardly_awake = dormancy.timeout < LEAST_DORMANT_TIMEOUT && !is_testing;
    let has_few_primaries = guards.primary > 0 && guards.in_use > guards.primary;
    let is_default = !requests.refuses_internal_answers && !has_authorities;
    [
        (is_long_available, "CircuitsAvailableTimeout", "at most 24 hours"),
        (has_few_primaries, "NumEntryGuards", "no more than NumPrimaryGuards"),
        (is_hardly_awake, "DormantClientTimeout", "at least 10 minutes"),
        (links.keepalive < SECOND, "KeepalivePeriod", "at least 1 second"),
        (has_authorities && has_alternates, "AlternateDirAuthority", "to stand where there is no DirAuthority"),
        (*is_testing && !has_authorities, "TestingTorNetwork", "DirAuthority lines beside it, or 0"),
        (is_default, "ClientDNSRejectInternalAddresses", "1, or DirAuthority lines beside it"),
        (directory.max_wait_for_few < SECOND, "TestingClientMaxIntervalWithoutRequest", "at least 1 second"),
        (directory.max_stall < LEAST_STALL, "TestingDirConnectionMaxStall", "at least 5 seconds"),
        (directory.max_tries < 1, "ClientBootstrapConsensusMaxInProgressTries", "at least 1"),
    ]
}

/// What is odd, in C tor's order.
fn odd(settings: &Settings, config: &Config) -> Vec<Warning> {
    let Config { directory, circuits, links, .. } = config;
    let short = |time: Duration| time < SHORT_BUILD_TIMEOUT;
    let all = [
        (nobody_can_ask(config), "SocksPort", "that there is none: nobody can ask for anything"),
        (
            !circuits.learns_timeout && circuits.build_timeout.is_some_and(short),
            "CircuitBuildTimeout",
            "less than 10 seconds, and LearnCircuitBuildTimeout is 0: circuits may never be built",
        ),
        // C tor: says nothing, and bootstraps for ever.
        (!links.ipv4 && !links.ipv6, "ClientUseIPv6", "0, and so is ClientUseIPv4: no relay can be reached"),
        (
            !directory.authorities.is_empty(),
            "DirAuthority",
            "an authority of its own, which may set this client apart from all others",
        ),
        (
            !directory.alternate_authorities.is_empty(),
            "AlternateDirAuthority",
            "an authority of its own, which may set this client apart from all others",
        ),
        (
            directory.max_wait_for_few > MUCH,
            "TestingClientMaxIntervalWithoutRequest",
            "more than an hour, which is very much",
        ),
        (directory.max_stall > MUCH, "TestingDirConnectionMaxStall", "more than an hour, which is very much"),
        (
            directory.max_tries > MANY_TRIES,
            "ClientBootstrapConsensusMaxInProgressTries",
            "more than 100, which is very many",
        ),
        (config.is_testing, "TestingTorNetwork", "1, which makes this client all but useless in the public network"),
    ];
    let told = all.into_iter().filter(|(is_so, ..)| *is_so);
    let told =
        told.map(|(_, option, what)| Warning { origin: origin(settings, option), oddity: Oddity::Says(option, what) });
    told.chain(open_to_others(settings, config)).collect()
}

fn nobody_can_ask(config: &Config) -> bool {
    ports(config).all(|(_, ports)| ports.is_empty())
}

/// Where programs connect to, by option.
fn ports(config: &Config) -> impl Iterator<Item = (&'static str, &[Port])> {
    let Config { socks_ports, http_tunnel_ports, dns_ports, .. } = config;
    [("SocksPort", &socks_ports[..]), ("HTTPTunnelPort", http_tunnel_ports), ("DNSPort", dns_ports)].into_iter()
}

/// Ports that programs of other machines reach.
fn open_to_others<'a>(settings: &'a Settings, config: &'a Config) -> impl Iterator<Item = Warning> + 'a {
    let all = ports(config).flat_map(|(option, ports)| ports.iter().map(move |port| (option, port)));
    all.filter_map(|(option, port)| {
        let ip = match port.at {
            Place::Tcp(address) => address.ip(),
            Place::Auto(ip) => ip,
            Place::Unix(_) => return None,
        };
        let what = match ip.to_canonical() {
            ip if ip.is_loopback() => return None,
            ip if is_near(ip) => "an address by which everybody on your local network can use this machine as a proxy",
            _ => "a public address, by which others on the Internet may use this machine as an open proxy",
        };
        Some(Warning { origin: origin(settings, option), oddity: Oddity::Says(option, what) })
    })
}

/// C tor: `tor_addr_is_internal`, of an address to listen at: all addresses at once are public, and
/// so are those that providers share among their customers (RFC 6598).
fn is_near(ip: IpAddr) -> bool {
    let is_shared = matches!(ip, IpAddr::V4(ip) if ip.octets().starts_with(&[100]) && ip.octets()[1] & 0xC0 == 64);
    !ip.is_unspecified() && !is_shared && is_internal(ip)
}

fn origin(settings: &Settings, option: &str) -> Origin {
    settings.given(option).last().map_or_else(|| built_in("").origin, |given| given.origin.clone())
}
