//! What options may not say together, and what is odd of them together.
//!
//! Each value is one that its option takes (`mod.rs`, which calls this with all of them). The
//! verdicts are C tor's: what it refuses is refused, what it warns of is warned of. Spec: none.
//! C tor: `options_validate_cb` and `validate_dir_servers` in app/config/config.c,
//! `warn_nonlocal_client_ports`.

use core::net::IpAddr;
use core::time::Duration;

use super::options::Value;
use super::port::{Place, Port};
use super::values::{Choice, Wanted};
use super::{Complaint, Config, Objection, Oddity, Origin, Settings, Warning, built_in, find};
use crate::base::address::is_internal;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
/// C tor: `KIST_SCHED_RUN_INTERVAL_MAX`.
const LONGEST_RUN: Duration = Duration::from_millis(100);
/// Of which one is enough.
const PROXIES: [&str; 4] = ["Socks4Proxy", "Socks5Proxy", "HTTPSProxy", "TCPProxy"];
/// C tor: how large `ConstrainedSockSize` may be.
const SOCKETS: core::ops::RangeInclusive<u64> = 2048..=262_144;
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
const ONLY_TESTING: [&str; 21] = [
    "TestingV3AuthInitialVotingInterval",
    "TestingV3AuthInitialVoteDelay",
    "TestingV3AuthInitialDistDelay",
    "TestingV3AuthVotingStartOffset",
    "TestingAuthDirTimeToLearnReachability",
    "TestingServerDownloadInitialDelay",
    "TestingClientDownloadInitialDelay",
    "TestingServerConsensusDownloadInitialDelay",
    "TestingClientConsensusDownloadInitialDelay",
    "TestingBridgeDownloadInitialDelay",
    "TestingBridgeBootstrapDownloadInitialDelay",
    "TestingClientMaxIntervalWithoutRequest",
    "TestingDirConnectionMaxStall",
    "TestingAuthKeyLifetime",
    "TestingLinkCertLifetime",
    "TestingSigningKeySlop",
    "TestingAuthKeySlop",
    "TestingLinkKeySlop",
    "TestingMinTimeToReportBandwidth",
    "TestingEnableConnBwEvent",
    "TestingEnableCellStatsEvent",
];

/// The first conflict, if there is any; else what is odd.
pub(super) fn check(settings: &Settings, config: &Config) -> Result<Vec<Warning>, Complaint> {
    let unusual = ONLY_TESTING.into_iter().find(|option| !config.is_testing && !is_usual(settings, option));
    let unusual = unusual.map(|option| (option, "TestingTorNetwork 1 beside it, or its default"));
    let said = Said { settings, is_testing: config.is_testing };
    let unserved = || said.refused_ways(config.guards.are_used).into_iter().chain(said.refused_means());
    let refused = || refused(settings, config).into_iter().chain(unserved()).find(|(is_wrong, ..)| *is_wrong);
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

/// Whether an option has the value that it has where nobody gives one.
fn is_usual(settings: &Settings, option: &str) -> bool {
    find(option).is_none_or(|entry| entry.is_usual(settings, false))
}

/// What is refused: whether it is so, of which option, and what would be right.
fn refused(settings: &Settings, config: &Config) -> [(bool, &'static str, &'static str); 10] {
    let Config { is_testing, directory, guards, circuits, dormancy, links, requests, .. } = config;
    let has_authorities = !directory.authorities.is_empty();
    let has_alternates = !directory.alternate_authorities.is_empty();
    let is_long_available = circuits.available_timeout.is_some_and(|time| time > MOST_AVAILABLE_TIMEOUT);
    let is_hardly_awake = dormancy.timeout < LEAST_DORMANT_TIMEOUT && !is_testing;
    let has_few_primaries = guards.primary > 0 && guards.in_use > guards.primary;
    let has_others = has_authorities || (has_alternates && !is_usual(settings, "AlternateBridgeAuthority"));
    let is_default = !requests.refuses_internal_answers && !has_others;
    [
        (is_long_available, "CircuitsAvailableTimeout", "at most 24 hours"),
        (has_few_primaries, "NumEntryGuards", "no more than NumPrimaryGuards"),
        (is_hardly_awake, "DormantClientTimeout", "at least 10 minutes"),
        (links.keepalive < SECOND, "KeepalivePeriod", "at least 1 second"),
        (has_authorities && has_alternates, "AlternateDirAuthority", "to stand where there is no DirAuthority"),
        (*is_testing && !has_others, "TestingTorNetwork", "DirAuthority lines beside it, or 0"),
        (is_default, "ClientDNSRejectInternalAddresses", "1, or DirAuthority lines beside it"),
        (directory.max_wait_for_few < SECOND, "TestingClientMaxIntervalWithoutRequest", "at least 1 second"),
        (directory.max_stall < LEAST_STALL, "TestingDirConnectionMaxStall", "at least 5 seconds"),
        (directory.max_tries < 1, "ClientBootstrapConsensusMaxInProgressTries", "at least 1"),
    ]
}

/// What is said of options that `Config` has no place for. They are well-formed.
struct Said<'a> {
    settings: &'a Settings,
    is_testing: bool,
}

impl Said<'_> {
    /// Whether it has another value than where nobody gives one.
    fn has(&self, option: &str) -> bool {
        find(option).is_some_and(|entry| !entry.is_usual(self.settings, self.is_testing))
    }

    /// The first of them that has.
    fn first(&self, options: &[&'static str]) -> Option<&'static str> {
        options.iter().copied().find(|option| self.has(option))
    }

    fn value(&self, option: &str) -> Option<Value> {
        find(option)?.value(self.settings, self.is_testing)
    }

    fn size(&self, option: &str) -> u64 {
        if let Some(Value::Number(size)) = self.value(option) { size } else { 0 }
    }

    fn time(&self, option: &str) -> Duration {
        if let Some(Value::Time(time)) = self.value(option) { time } else { Duration::ZERO }
    }

    /// The same as `refused`, of how the network is reached and how others reach us. What is
    /// refused by itself has been, unless the network is off.
    fn refused_ways(&self, has_guards: bool) -> [(bool, &'static str, &'static str); 14] {
        let has = |option| self.has(option);
        let (user, password) = (has("Socks5ProxyUsername"), has("Socks5ProxyPassword"));
        let (bridge, entry) = (has("UseBridges"), has("EntryNodes"));
        let proxy = self.first(&PROXIES).unwrap_or_default();
        let is_one_of_two = PROXIES.into_iter().filter(|proxy| has(proxy)).count() > 1;
        let is_transparent = self.first(&["TransPort", "__TransPort"]).is_some();
        let is_relay = self.first(&["ORPort", "__ORPort"]).is_some();
        let line =
            self.settings.options().find(|entry| entry.kind.is_list() && entry.name.starts_with("HiddenService"));
        let line = line.filter(|_| !has("HiddenServiceDir")).map_or("", |entry| entry.name);
        let (single, open) = (has("HiddenServiceSingleHopMode"), has("HiddenServiceNonAnonymousMode"));
        let is_stuck = has("AssumeReachable") && self.value("AssumeReachableIPv6") == Some(Value::Choice(Choice::No));
        [
            (!line.is_empty(), line, "a HiddenServiceDir before it"),
            (single && !open, "HiddenServiceSingleHopMode", "HiddenServiceNonAnonymousMode 1 beside it"),
            (open && !single, "HiddenServiceNonAnonymousMode", "HiddenServiceSingleHopMode 1 beside it"),
            (bridge && !has("Bridge"), "UseBridges", "0, or Bridge lines beside it"),
            (bridge && !has_guards, "UseBridges", "0, or UseEntryGuards 1 beside it"),
            (bridge && entry, "EntryNodes", "to stand where UseBridges is 0"),
            (entry && !has_guards, "EntryNodes", "UseEntryGuards 1 beside it"),
            (is_one_of_two, proxy, "to be the only proxy"),
            (user && !password, "Socks5ProxyUsername", "Socks5ProxyPassword beside it"),
            (password && !user, "Socks5ProxyPassword", "Socks5ProxyUsername beside it"),
            (has("TransProxyType") && !is_transparent, "TransProxyType", "default, or a TransPort beside it"),
            (is_stuck, "AssumeReachableIPv6", "1 or auto beside AssumeReachable 1"),
            (has("BridgeRelay") && !is_relay, "BridgeRelay", "0, or an ORPort beside it"),
            (has("BridgeDistribution") && !has("BridgeRelay"), "BridgeDistribution", "BridgeRelay 1 beside it"),
        ]
    }

    /// The same of all others.
    fn refused_means(&self) -> [(bool, &'static str, &'static str); 10] {
        let lacks = |option, beside| self.has(option) && !self.has(beside);
        let socket = self.size("ConstrainedSockSize");
        let is_odd_socket = !SOCKETS.contains(&socket) || !socket.is_multiple_of(1024);
        let is_more_than_once = self.size("BandwidthRate") > self.size("BandwidthBurst");
        let rate = self.first(&["BandwidthBurst", "BandwidthRate"]).unwrap_or_default();
        let is_seldom = self.time("KISTSchedRunInterval") > LONGEST_RUN;
        let is_refilled = (MILLISECOND..=SECOND).contains(&self.time("TokenBucketRefillInterval"));
        let is_short = |lifetime, slop| self.time(lifetime) < self.time(slop) * 2;
        let early = "FetchDirInfoEarly";
        let control = "ControlSocket";
        [
            (lacks("AccelDir", "AccelName"), "AccelDir", "AccelName beside it"),
            (lacks("FetchDirInfoExtraEarly", early), "FetchDirInfoExtraEarly", "FetchDirInfoEarly 1 beside it"),
            (lacks("ControlSocketsGroupWritable", control), "ControlSocketsGroupWritable", "a ControlSocket beside it"),
            (self.has("ConstrainedSockets") && is_odd_socket, "ConstrainedSockSize", "2 to 256 KB, in steps of 1 KB"),
            (is_more_than_once, rate, "BandwidthBurst to be at least BandwidthRate"),
            (is_seldom, "KISTSchedRunInterval", "at most 100 milliseconds"),
            (!is_refilled, "TokenBucketRefillInterval", "1 to 1000 milliseconds"),
            (is_short("SigningKeyLifetime", "TestingSigningKeySlop"), "SigningKeyLifetime", "more time"),
            (is_short("TestingLinkCertLifetime", "TestingAuthKeySlop"), "TestingLinkCertLifetime", "more time"),
            (is_short("TestingAuthKeyLifetime", "TestingLinkKeySlop"), "TestingAuthKeyLifetime", "more time"),
        ]
    }
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
    let Config { socks_ports, http_tunnel_ports, dns_ports, trans_ports, natd_ports, .. } = config;
    let all: [(_, &[Port]); 5] = [
        ("SocksPort", socks_ports),
        ("HTTPTunnelPort", http_tunnel_ports),
        ("DNSPort", dns_ports),
        ("TransPort", trans_ports),
        ("NATDPort", natd_ports),
    ];
    all.into_iter()
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
