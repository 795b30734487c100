//! Whom to let in: patterns of addresses and ports, of which the first that fits decides.
//!
//! For the addresses of local programs (`SocksPolicy`) and of relays we may dial; not the
//! exit policies of relays, which are lists of ports alone. Called by `mod.rs`; asked by
//! whoever accepts or dials. Spec: dir-spec, "exit policy" grammar. C tor:
//! `router_parse_addr_policy_item_from_string` in feature/dirparse/policy_parse.c.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::values::{Wanted, list};

/// The most patterns of one policy; ours, for a bound.
pub const MAX_PATTERNS: usize = 4096;

/// Patterns in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy(Vec<Pattern>);

/// One pattern, and what becomes of those it fits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    accepts: bool,
    addresses: Addresses,
    ports: (u16, u16),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Addresses {
    /// `*`
    All,
    /// `*4` or `*6`
    Family { is_ipv6: bool },
    /// An address and how many of its bits count.
    Block(IpAddr, u32),
    /// `private`
    Private,
}

/// Blocks that are nobody's on the public network. C tor: `private_nets`.
const PRIVATE: &[(IpAddr, u32)] = &[
    (v4(0, 0), 8),
    (v4(169, 254), 16),
    (v4(127, 0), 8),
    (v4(192, 168), 16),
    (v4(10, 0), 8),
    (v4(172, 16), 12),
    (v6(0), 8),
    (v6(0xFC00), 7),
    (v6(0xFE80), 10),
    (v6(0xFEC0), 10),
    (v6(0xFF00), 8),
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 127),
];

const fn v4(a: u8, b: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, 0, 0))
}

const fn v6(first: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0))
}

const WANTED: Wanted = Wanted::Other("accept or reject, then ADDRESS[/BITS][:PORT[-PORT]], *, *4, *6 or private");

impl Policy {
    /// That everybody is let in.
    pub const ALL: Policy = Policy(Vec::new());

    /// Adds what one line says: patterns between commas.
    pub fn add(&mut self, line: &str) -> Result<(), Wanted> {
        for item in list(line) {
            if self.0.len() >= MAX_PATTERNS {
                return Err(Wanted::Other("fewer patterns"));
            }
            self.0.push(Pattern::parse(item).ok_or(WANTED)?);
        }
        Ok(())
    }

    /// Adds the same where a pattern may be only a place, to be let in.
    pub fn add_places(&mut self, line: &str) -> Result<(), Wanted> {
        list(line).try_for_each(|item| match Pattern::parse(item) {
            Some(_) => self.add(item),
            None => self.add(&format!("accept {item}")),
        })
    }

    /// Adds the same where a pattern may be only a place, not to be let in.
    pub fn add_exceptions(&mut self, line: &str) -> Result<(), Wanted> {
        list(line).try_for_each(|item| match Pattern::parse(item) {
            Some(_) => self.add(item),
            None => self.add(&format!("reject {item}")),
        })
    }

    /// Whether it lets this one in. What no pattern fits is let in.
    pub fn accepts(&self, ip: IpAddr, port: u16) -> bool {
        self.0.iter().find(|pattern| pattern.fits(ip, port)).is_none_or(|pattern| pattern.accepts)
    }
}

impl Pattern {
    fn parse(item: &str) -> Option<Pattern> {
        let (verb, rest) = item.split_once([' ', '\t'])?;
        let rest = rest.trim_start();
        let family = match verb.to_ascii_lowercase().as_str() {
            "accept" | "reject" => None,
            "accept6" | "reject6" => Some(true),
            _ => return None,
        };
        let accepts = verb.as_bytes().first().is_some_and(|byte| byte.eq_ignore_ascii_case(&b'a'));
        let (addresses, ports) = split_ports(rest)?;
        let addresses = match (Addresses::parse(addresses)?, family) {
            (Addresses::All, Some(is_ipv6)) => Addresses::Family { is_ipv6 },
            (addresses, _) => addresses,
        };
        Some(Pattern { accepts, addresses, ports: parse_ports(ports)? })
    }

    fn fits(&self, ip: IpAddr, port: u16) -> bool {
        (self.ports.0..=self.ports.1).contains(&port) && self.addresses.contain(ip)
    }
}

impl Addresses {
    fn parse(text: &str) -> Option<Addresses> {
        match text {
            "*" => return Some(Addresses::All),
            "*4" => return Some(Addresses::Family { is_ipv6: false }),
            "*6" => return Some(Addresses::Family { is_ipv6: true }),
            "private" => return Some(Addresses::Private),
            _ => {}
        }
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip = match ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')) {
            Some(ip) => IpAddr::V6(ip.parse().ok()?),
            None => IpAddr::V4(ip.parse().ok()?),
        };
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(mask) => mask_bits(mask, ip)?,
        };
        (bits <= width).then_some(Addresses::Block(ip, bits))
    }

    fn contain(&self, ip: IpAddr) -> bool {
        match *self {
            Addresses::All => true,
            Addresses::Family { is_ipv6 } => ip.is_ipv6() == is_ipv6,
            Addresses::Block(block, bits) => is_in(ip, block, bits),
            Addresses::Private => is_private(ip),
        }
    }
}

/// Whether an address is nobody's on the public network.
pub fn is_private(ip: IpAddr) -> bool {
    PRIVATE.iter().any(|(block, bits)| is_in(ip, *block, *bits))
}

/// Whether the first bits of two addresses are the same.
fn is_in(ip: IpAddr, block: IpAddr, bits: u32) -> bool {
    match (ip, block) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits,
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits,
        _ => false,
    }
}

/// A number of bits, or for IPv4 also a mask of ones and then zeros.
fn mask_bits(text: &str, ip: IpAddr) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let mask = text.parse::<Ipv4Addr>().ok().filter(|_| ip.is_ipv4())?.to_bits();
    (mask.leading_ones() + mask.trailing_zeros() == u32::BITS || mask == u32::MAX).then_some(mask.leading_ones())
}

/// Addresses and ports, which a colon outside brackets divides.
fn split_ports(text: &str) -> Option<(&str, &str)> {
    let behind = text.find(']').unwrap_or(0);
    let (front, rest) = text.split_at_checked(behind)?;
    match rest.find(':') {
        Some(colon) => {
            let at = front.len() + colon;
            Some((text.get(..at)?, text.get(at + 1..)?))
        }
        None => Some((text, "*")),
    }
}

/// One port, a range, or `*`. Port 0 is none.
fn parse_ports(text: &str) -> Option<(u16, u16)> {
    if text == "*" {
        return Some((0, u16::MAX));
    }
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (low.parse().ok()?, high.parse().ok()?);
    (low <= high && high != 0).then_some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(policy: &str, ip: &str, port: u16) -> bool {
        let mut read = Policy::default();
        read.add(policy).unwrap();
        read.accepts(ip.parse().unwrap(), port)
    }

    #[test]
    fn the_first_pattern_that_fits_decides() {
        assert!(accepts("", "192.0.2.1", 1));
        let policy = "accept 127.0.0.0/8, accept 10.0.0.0/255.255.0.0:80-90, reject *4:25, accept6 *:443, reject *";
        for (ip, port, expected) in [
            ("127.5.5.5", 25, true),
            ("10.0.255.1", 80, true),
            ("10.0.0.1", 91, false),
            ("10.1.0.1", 80, false),
            ("192.0.2.1", 25, false),
            ("2001:db8::1", 443, true),
            ("2001:db8::1", 80, false),
        ] {
            assert_eq!(accepts(policy, ip, port), expected, "{ip} {port}");
        }
        assert!(accepts("reject [2001:db8::]/32:1", "2001:db8::1", 2));
        assert!(!accepts("reject [2001:db8::]/32:1", "2001:db8:1::1", 1));
        assert!(!accepts("REJECT private", "fe80::1", 9) && accepts("reject private", "8.8.8.8", 9));
        assert!(!accepts("reject 0.0.0.0/0", "8.8.8.8", 9) && accepts("reject 0.0.0.0/0", "::8", 9));
    }

    #[test]
    fn private_blocks_end_where_they_end() {
        for (ip, expected) in [
            ("172.15.255.255", false),
            ("172.16.0.0", true),
            ("172.31.255.255", true),
            ("172.32.0.0", false),
            ("9.255.255.255", false),
            ("11.0.0.0", false),
            ("fbff::", false),
            ("fdff::", true),
            ("fe80::", true),
            ("ff02::1", true),
            ("2000::1", false),
        ] {
            assert_eq!(is_private(ip.parse().unwrap()), expected, "{ip}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "allow *",
            "accept",
            "accept 1.2.3",
            "accept 1.2.3.4/33",
            "accept [::]/129",
            "accept 1.2.3.4/255.0.255.0",
            "accept *:0",
            "accept *:9-8",
            "accept *:70000",
            "accept ::1",
            "accept [::1",
        ] {
            assert_eq!(Policy::default().add(text), Err(WANTED), "{text}");
        }
        let many = "reject 1.2.3.4,".repeat(MAX_PATTERNS);
        let mut policy = Policy::default();
        assert_eq!(policy.add(&many), Ok(()));
        assert!(policy.add("accept *").is_err());
    }

    proptest! {
        #[test]
        fn no_pattern_panics(text in ".*|(accept6?|reject) [*0-9.:/\\[\\]a-f-]{0,40}") {
            let mut policy = Policy::default();
            let _ = policy.add(&text);
            policy.accepts(Ipv6Addr::LOCALHOST.into(), 1);
        }
    }
}
