//! Options of the ports that programs come to, and of what is served there.
//!
//! Called by `mod.rs`. Spec: tor(1), "CLIENT OPTIONS".

use super::Kind::{Each, File, Lines, Listeners, OneOf, Patterns, PortNumbers, Seconds, Truth, Words};
use super::{Entry, Kind, implemented, kept, refused};
use crate::config::forms;
use crate::config::port::Kind::{Addresses, Commands, Dns, Names, Others, Tunnels};

const CONTROL: &str = "there is no control port yet";
const METRICS: &str = "there is no port for metrics yet";
const OWN_NUMBER: Kind = Kind::Number(0, u64::MAX);
const PROXY_TYPES: Kind = OneOf(&["default", "tproxy"]);

pub static ENTRIES: &[Entry] = &[
    kept("__DisableSignalHandlers", Truth, "0", "leave signals to somebody else", "signals are heard all the same"),
    kept("__HashedControlSessionPassword", Each(&Kind::Password), "", "a password for this run", CONTROL),
    refused("__LeaveStreamsUnattached", Truth, "0", "streams wait for a controller", CONTROL),
    kept("__OwningControllerFD", OWN_NUMBER, "18446744073709551615", "end when this is closed", CONTROL),
    kept("__OwningControllerProcess", Kind::Process, "", "end when this process does", CONTROL),
    kept(
        "__ReloadTorrcOnSIGHUP",
        Truth,
        "1",
        "read the options again at SIGHUP",
        "they are read again at SIGHUP all the same",
    ),
    kept("__ControlPort", Listeners(Commands), "", "the same as ControlPort, never saved", CONTROL),
    implemented(
        "__DNSPort",
        Listeners(Dns),
        "",
        "the same as DNSPort, never saved",
        "lib ports_that_are_never_saved_are_ports_too",
    ),
    implemented(
        "__HTTPTunnelPort",
        Listeners(Tunnels),
        "",
        "the same as HTTPTunnelPort, never saved",
        "lib ports_that_are_never_saved_are_ports_too",
    ),
    kept("__MetricsPort", Listeners(Others), "", "the same as MetricsPort, never saved", METRICS),
    implemented(
        "__NATDPort",
        Listeners(Addresses),
        "",
        "the same as NATDPort, never saved",
        "lib ports_that_are_never_saved_are_ports_too",
    ),
    implemented(
        "__SocksPort",
        Listeners(Names),
        "",
        "the same as SocksPort, never saved",
        "lib ports_that_are_never_saved_are_ports_too",
    ),
    implemented(
        "__TransPort",
        Listeners(Addresses),
        "",
        "the same as TransPort, never saved",
        "lib ports_that_are_never_saved_are_ports_too",
    ),
    kept(
        "AllowNonRFC953Hostnames",
        Truth,
        "0",
        "take names that are none of hosts",
        "no exit could look such a name up",
    ),
    implemented(
        "AutomapHostsOnResolve",
        Truth,
        "0",
        "give names that have no address one of ours",
        "interop names_get_addresses_as_tor_gives_them",
    ),
    implemented(
        "AutomapHostsSuffixes",
        Words,
        ".onion,.exit",
        "which names AutomapHostsOnResolve means",
        "lib names_get_addresses_and_keep_them",
    ),
    implemented(
        "ClientDNSRejectInternalAddresses",
        Truth,
        "1",
        "do not believe exits that answer with private addresses",
        "network circuits_that_are_open_believe_what_the_user_believes_now",
    )
    .testing("0"),
    implemented(
        "ClientRejectInternalAddresses",
        Truth,
        "1",
        "refuse requests for private addresses",
        "lib each_port_lets_through_what_its_flags_say",
    )
    .testing("0"),
    kept("ControlPort", Listeners(Commands), "0", "where controllers speak to us", CONTROL),
    kept("ControlPortFileGroupReadable", Truth, "0", "let the group read ControlPortWriteToFile", CONTROL),
    kept("ControlPortWriteToFile", File, "", "where to write which ControlPort is open", CONTROL),
    kept("ControlSocket", Lines, "", "a socket in the file system for controllers", CONTROL),
    kept("ControlSocketsGroupWritable", Truth, "0", "let the group open ControlSocket", CONTROL),
    kept("CookieAuthentication", Truth, "0", "let in controllers that can read a file of ours", CONTROL),
    kept("CookieAuthFile", File, "", "which file that is", CONTROL),
    kept("CookieAuthFileGroupReadable", Truth, "0", "let the group read CookieAuthFile", CONTROL),
    implemented(
        "DNSPort",
        Listeners(Dns),
        "0",
        "where programs send look-ups to us",
        "interop look_ups_are_answered_as_c_tor_answers",
    ),
    kept("HashedControlPassword", Each(&Kind::Password), "", "let in controllers that know a password", CONTROL),
    implemented(
        "HTTPTunnelPort",
        Listeners(Tunnels),
        "0",
        "where programs speak HTTP CONNECT to us",
        "interop tunnels_are_answered_as_c_tor_answers",
    ),
    implemented("MapAddress", Lines, "", "which address is to stand for which", "ports addresses_stand_for_others"),
    kept("MetricsPort", Listeners(Others), "0", "where Prometheus asks how we are", METRICS),
    kept("MetricsPortPolicy", Lines, "", "who may ask at MetricsPort", METRICS),
    implemented(
        "NATDPort",
        Listeners(Addresses),
        "0",
        "where natd of BSD sends connections to",
        "interop lines_of_natd_are_answered_as_c_tor_answers",
    ),
    implemented(
        "RejectPlaintextPorts",
        PortNumbers,
        "",
        "ports that are refused because they carry passwords in the clear",
        "lib each_port_lets_through_what_its_flags_say",
    ),
    implemented(
        "SafeSocks",
        Truth,
        "0",
        "refuse requests that show that a name was looked up outside of Tor",
        "ports requests_are_refused_and_warned_of_as_the_options_say",
    ),
    implemented(
        "SocksPolicy",
        Patterns,
        "",
        "who may use the ports for programs",
        "ports requests_are_refused_and_warned_of_as_the_options_say",
    ),
    implemented(
        "SocksPort",
        Listeners(Names),
        "9050",
        "where programs speak SOCKS to us",
        "interop a_hang_up_opens_and_closes_ports_and_leaves_streams_alone",
    ),
    implemented(
        "SocksTimeout",
        Seconds,
        "2 minutes",
        "how long a request waits for a circuit",
        "network a_request_that_nobody_answers_is_tried_elsewhere_until_its_time_is_over",
    ),
    implemented("TestSocks", Truth, "0", "log for each request whether it is safe", "lib the_user_is_told_what_is_odd"),
    implemented(
        "TransPort",
        Listeners(Addresses),
        "0",
        "where a firewall sends connections to",
        "interop programs_that_know_of_no_proxy_are_led_to_us_by_a_firewall",
    ),
    implemented(
        "TransProxyType",
        PROXY_TYPES,
        "default",
        "how a firewall sends them to TransPort: default or TPROXY",
        "interop programs_that_know_of_no_proxy_are_led_to_us_by_a_firewall",
    ),
    kept(
        "UnixSocksGroupWritable",
        Truth,
        "0",
        "let the group open the sockets of SocksPort",
        "write GroupWritable behind the SocksPort instead",
    ),
    implemented(
        "VirtualAddrNetworkIPv4",
        Kind::Network(forms::Network::V4),
        "127.192.0.0/10",
        "where mapped addresses are taken from",
        "lib names_get_addresses_and_keep_them",
    ),
    implemented(
        "VirtualAddrNetworkIPv6",
        Kind::Network(forms::Network::V6),
        "[FE80::]/10",
        "where mapped IPv6 addresses are taken from",
        "lib names_get_addresses_and_keep_them",
    ),
    implemented(
        "WarnPlaintextPorts",
        PortNumbers,
        "23,109,110,143",
        "ports that are warned of because they carry passwords in the clear",
        "ports requests_are_refused_and_warned_of_as_the_options_say",
    ),
];
