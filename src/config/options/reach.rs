//! Options of how relays are reached: addresses, bridges, proxies, firewalls, and how fast.
//!
//! Called by `mod.rs`. Spec: tor(1), "GENERAL OPTIONS", "CLIENT OPTIONS".

use super::Kind::{
    Choice, Each, Endpoint, Fraction, Millis, Places, PortNumbers, Proxy, Seconds, Text, Truth, WordsOf,
};
use super::{Entry, Kind, RATE, SIZE, implemented, kept, refused};
use crate::config::forms;

const BRIDGES: &str = "there are no bridges yet";
const PROXIES: &str = "no proxy is asked in that way yet";
const RATES: &str = "traffic is not limited yet";
const SCHEDULER: &str = "links take turns in one way";
const SCHEDULERS: Kind = WordsOf(&["KIST", "KISTLite", "Vanilla"]);

pub static ENTRIES: &[Entry] = &[
    kept(
        "AlternateBridgeAuthority",
        Kind::Lines,
        "",
        "who is asked for bridges, in place of the built-in one",
        BRIDGES,
    ),
    kept("BandwidthBurst", RATE, "1 GB", "how much may be sent and received at once", RATES),
    kept("BandwidthRate", RATE, "1 GB", "how much may be sent and received in a second", RATES),
    kept("Bridge", Each(&Kind::Bridge), "", "a relay to begin at that is in no list", BRIDGES),
    kept(
        "ClientPreferIPv6DirPort",
        Choice,
        "auto",
        "reach directories by IPv6 first",
        "directories are reached as relays are",
    ),
    implemented(
        "ClientPreferIPv6ORPort",
        Choice,
        "auto",
        "whether to reach guards by IPv6 first",
        "lib a_first_hop_is_connected_to_as_the_user_lets_us",
    ),
    kept(
        "ClientTransportPlugin",
        Each(&Kind::Transport(forms::Side::Client)),
        "",
        "how links to bridges are disguised",
        BRIDGES,
    ),
    implemented(
        "ClientUseIPv4",
        Truth,
        "1",
        "reach guards by IPv4",
        "lib a_first_hop_is_connected_to_as_the_user_lets_us",
    ),
    implemented(
        "ClientUseIPv6",
        Truth,
        "1",
        "reach guards by IPv6",
        "lib a_first_hop_is_connected_to_as_the_user_lets_us",
    ),
    implemented(
        "ConnectionPadding",
        Choice,
        "auto",
        "pad links to guards",
        "network links_that_are_open_are_padded_as_the_user_wants_it_now",
    ),
    implemented(
        "ConstrainedSockets",
        Truth,
        "0",
        "give sockets small buffers",
        "lib a_socket_is_bound_and_small_as_the_user_wants",
    ),
    implemented(
        "ConstrainedSockSize",
        SIZE,
        "8192",
        "how small ConstrainedSockets means",
        "lib a_socket_is_bound_and_small_as_the_user_wants",
    ),
    implemented(
        "FascistFirewall",
        Truth,
        "0",
        "dial relays at the usual ports alone",
        "network relays_are_dialled_only_where_the_user_lets_us",
    ),
    implemented(
        "FirewallPorts",
        PortNumbers,
        "",
        "which ports FascistFirewall means",
        "network relays_are_dialled_only_where_the_user_lets_us",
    ),
    kept(
        "HTTPProxy",
        Endpoint,
        "",
        "a proxy for directories that are asked in the clear",
        "no directory is asked in the clear",
    ),
    kept(
        "HTTPProxyAuthenticator",
        Text,
        "",
        "what HTTPProxy is told to be let in",
        "no directory is asked in the clear",
    ),
    implemented(
        "HTTPSProxy",
        Endpoint,
        "",
        "reach relays by a proxy that speaks HTTP CONNECT",
        "interop relays_are_reached_through_proxies_and_not_otherwise",
    ),
    implemented(
        "HTTPSProxyAuthenticator",
        Text,
        "",
        "what HTTPSProxy is told to be let in",
        "interop relays_are_reached_through_proxies_and_not_otherwise",
    ),
    implemented(
        "KeepalivePeriod",
        Seconds,
        "5 minutes",
        "how long a link may be silent before it is padded",
        "network silent_links_are_padded_as_often_as_the_user_says",
    ),
    kept("KISTSchedRunInterval", Millis, "0 msec", "how often links take turns", SCHEDULER),
    kept("KISTSockBufSizeFactor", Fraction(0.0, f64::MAX), "1.0", "how much the system may hold for a link", SCHEDULER),
    implemented(
        "OutboundBindAddress",
        Each(&Kind::Address),
        "",
        "from which address to dial",
        "lib a_socket_is_bound_and_small_as_the_user_wants",
    ),
    kept("OutboundBindAddressExit", Each(&Kind::Address), "", "the same of exits", "cepa is never a relay"),
    implemented(
        "OutboundBindAddressOR",
        Each(&Kind::Address),
        "",
        "from which address to dial relays",
        "lib a_socket_is_bound_and_small_as_the_user_wants",
    ),
    kept("OutboundBindAddressPT", Each(&Kind::Address), "", "the same of what disguises links", BRIDGES),
    kept("PerConnBWBurst", RATE, "0", "how much one link may carry at once", RATES),
    kept("PerConnBWRate", RATE, "0", "how much one link may carry in a second", RATES),
    implemented(
        "ReachableAddresses",
        Places,
        "",
        "where relays may be dialled at",
        "network relays_are_dialled_only_where_the_user_lets_us",
    ),
    kept("ReachableDirAddresses", Places, "", "where directories may be", "no directory is asked in the clear"),
    implemented(
        "ReachableORAddresses",
        Places,
        "",
        "the same, instead of ReachableAddresses",
        "network relays_are_dialled_only_where_the_user_lets_us",
    ),
    kept("ReconfigDropsBridgeDescs", Truth, "0", "forget bridges when the options are read again", BRIDGES),
    implemented(
        "ReducedConnectionPadding",
        Truth,
        "0",
        "pad links less",
        "network links_are_left_sooner_by_whoever_wants_less_padding",
    ),
    kept("Schedulers", SCHEDULERS, "KIST,KISTLite,Vanilla", "how links take turns", SCHEDULER),
    implemented(
        "Socks4Proxy",
        Endpoint,
        "",
        "reach relays by a proxy that speaks SOCKS 4",
        "interop relays_are_reached_through_proxies_and_not_otherwise",
    ),
    implemented(
        "Socks5Proxy",
        Endpoint,
        "",
        "reach relays by a proxy that speaks SOCKS 5",
        "interop relays_are_reached_through_proxies_and_not_otherwise",
    ),
    implemented(
        "Socks5ProxyPassword",
        Text,
        "",
        "what Socks5Proxy is told to be let in",
        "interop relays_are_reached_through_proxies_and_not_otherwise",
    ),
    implemented(
        "Socks5ProxyUsername",
        Text,
        "",
        "who Socks5Proxy is told that we are",
        "interop relays_are_reached_through_proxies_and_not_otherwise",
    ),
    refused("TCPProxy", Proxy, "", "reach relays by a proxy that speaks HAProxy's protocol", PROXIES),
    kept(
        "TestingBridgeBootstrapDownloadInitialDelay",
        Kind::FirstSeconds,
        "0",
        "when a first bridge is asked",
        BRIDGES,
    )
    .testing("0"),
    kept("TestingBridgeDownloadInitialDelay", Kind::FirstSeconds, "10800", "when bridges are asked again", BRIDGES)
        .testing("10"),
    kept("TokenBucketRefillInterval", Millis, "100 msec", "how often BandwidthRate is looked at", RATES),
    kept("UpdateBridgesFromAuthority", Truth, "0", "ask the authority for what is new of bridges", BRIDGES),
    refused("UseBridges", Truth, "0", "begin circuits at bridges", BRIDGES),
];
