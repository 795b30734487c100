//! Which addresses are nobody's on the public network.
//!
//! Not the blocks that policies call `private`, which are others (`config/policy.rs`). Called
//! where a program asks for an address, and where an exit says that it found one. Spec:
//! path-spec, "Internal addresses"; RFC 6890. C tor: `tor_addr_is_internal`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is of this machine or of a private network, so that no exit can
/// truly find it.
pub fn is_internal(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_internal_v4(ip),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_internal_v4(ip),
            None => is_internal_v6(ip),
        },
    }
}

fn is_internal_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    a == 0 || ip.is_loopback() || ip.is_private() || ip.is_link_local() || is_shared
}

fn is_internal_v6(ip: Ipv6Addr) -> bool {
    let [first, ..] = ip.segments();
    // fec0/10, site-local, is deprecated and still nobody's on the Internet.
    let is_site_local = first & 0xFFC0 == 0xFEC0;
    ip.is_unique_local() || ip.is_unicast_link_local() || is_site_local || ip.is_unspecified() || ip.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_end_where_they_end() {
        for text in [
            "0.1.2.3",
            "10.255.0.1",
            "127.0.0.1",
            "169.254.0.1",
            "172.16.0.1",
            "172.31.9.9",
            "192.168.7.7",
            "100.64.0.1",
            "100.127.255.255",
            "::",
            "::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_internal(text.parse().unwrap()), "{text}");
        }
        for text in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "192.167.0.1",
            "::2",
            "fe00::1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(!is_internal(text.parse().unwrap()), "{text}");
        }
    }
}
