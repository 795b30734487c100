//! Our program where relays are reached through a proxy only. The proxy is a C tor on the lab's
//! network, whose exits connect to relays of C tor where its own would not: what is asked for goes
//! through six relays, and our program connects to nobody but the proxy.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::dials::dialled;
use super::lab::Guest;
use super::program::{guest_on, lab};
use super::relays;
use super::tor::{Client, Folder, free_port};

pub const PROXIES: &str = "relays_are_reached_through_proxies_and_not_otherwise";

pub fn relays_are_reached_through_proxies_and_not_otherwise() {
    let network = relays::shared();
    let lines = network.directory_lines();
    let tunnels = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (town, town_lines) = lab();
    let proxy = Client::start(Folder::with_data(), &format!("{town_lines}HTTPTunnelPort {tunnels}\n"));
    let tor = Guest::with(proxy, Some(town));
    let socks = tor.socks();
    for (proxy, at) in [
        (format!("Socks5Proxy {socks}\n"), socks),
        (format!("Socks5Proxy {socks}\nSocks5ProxyUsername me\nSocks5ProxyPassword secret\n"), socks),
        (format!("Socks4Proxy {socks}\n"), socks),
        (format!("HTTPSProxy {tunnels}\n"), tunnels),
        (format!("HTTPSProxy {tunnels}\nHTTPSProxyAuthenticator tor:secret\n"), tunnels),
    ] {
        let lines = format!("{lines}{proxy}");
        guest_on(&lines).reaches_a_socket_of_this_machine();
        let dialled = dialled(&format!("TestingTorNetwork 1\n{lines}"), Some("Bootstrapped 100% (done)"));
        assert_eq!(dialled, BTreeSet::from([at]), "{proxy}");
    }
}
