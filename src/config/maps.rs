//! Which addresses stand for others: the rules of `MapAddress`, and where names get addresses from
//! that have none.
//!
//! Reads the lines; what becomes of a request by them is `proxy/maps.rs`'s. Called by `mod.rs`.
//! Spec: tor(1). C tor: `config_register_addressmaps`, `addressmap_register_auto`,
//! `parse_virtual_addr_network`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::values::Wanted;
use super::{Complaint, Oddity, Reader, Warning, forms};

/// The most rules; ours, for a bound.
const MAX_RULES: usize = 16_384;

/// That an address stands for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What is asked for, in lower case.
    pub from: String,
    /// Whether that is meant of all names that end in it, too.
    pub is_ending: bool,
    /// What stands for it.
    pub to: String,
    /// Whether only the ending is replaced by that.
    pub keeps_front: bool,
}

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// One of them.
    pub ip: IpAddr,
    /// How many of its bits are those of all.
    pub bits: u32,
}

impl Block {
    /// Whether an address is one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => (own.to_bits() ^ ip.to_bits()).leading_zeros() >= self.bits,
            (IpAddr::V6(own), IpAddr::V6(ip)) => (own.to_bits() ^ ip.to_bits()).leading_zeros() >= self.bits,
            _ => false,
        }
    }

    /// The one of them whose other bits are these.
    pub fn with(&self, low: u128) -> IpAddr {
        match self.ip {
            IpAddr::V4(own) => {
                let mask = u32::MAX.checked_shr(self.bits).unwrap_or(0);
                let [.., a, b, c, d] = low.to_be_bytes();
                Ipv4Addr::from_bits(own.to_bits() & !mask | u32::from_be_bytes([a, b, c, d]) & mask).into()
            }
            IpAddr::V6(own) => {
                let mask = u128::MAX.checked_shr(self.bits).unwrap_or(0);
                Ipv6Addr::from_bits(own.to_bits() & !mask | low & mask).into()
            }
        }
    }
}

/// What the user says of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maps {
    /// In the order of their lines, none for the same address twice.
    pub rules: Vec<Rule>,
    /// Whether names that are looked up get addresses of ours.
    pub gives_addresses: bool,
    /// Those that do: what they end in; `.` are all.
    pub endings: Vec<String>,
    /// Out of which IPv4 addresses.
    pub ipv4: Block,
    /// Out of which IPv6 addresses.
    pub ipv6: Block,
}

impl Reader<'_> {
    /// All of it. C tor: a line of `MapAddress` that it cannot use is warned of, and left out.
    pub(super) fn maps(&mut self) -> Result<Maps, Complaint> {
        let name = "MapAddress";
        let mut rules: Vec<Rule> = Vec::new();
        for given in self.settings.given(name) {
            let fault = match rule(&given.value) {
                Ok(_) if rules.len() >= MAX_RULES => Some("too much: there are too many lines, and it is left out"),
                Ok((rule, is_over)) => {
                    rules.retain(|other| other.from != rule.from);
                    if rule.from != rule.to || rule.is_ending != rule.keeps_front {
                        rules.push(rule);
                    }
                    is_over.then_some("more than an address and what stands for it: that is left out")
                }
                Err(what) => Some(what),
            };
            let origin = given.origin.clone();
            self.warnings.extend(fault.map(|what| Warning { origin, oddity: Oddity::Says(name, what) }));
        }
        Ok(Maps {
            rules,
            gives_addresses: self.truth("AutomapHostsOnResolve")?,
            endings: self.words("AutomapHostsSuffixes")?,
            ipv4: self.block("VirtualAddrNetworkIPv4", forms::Network::V4)?,
            ipv6: self.block("VirtualAddrNetworkIPv6", forms::Network::V6)?,
        })
    }

    fn block(&self, name: &'static str, network: forms::Network) -> Result<Block, Complaint> {
        self.single(name, |text| forms::network(text, network))
    }
}

/// A line, and whether it says more than it should; or what it says that cannot be.
fn rule(line: &str) -> Result<(Rule, bool), &'static str> {
    let mut words = line.split_ascii_whitespace();
    let (Some(from), Some(to)) = (words.next(), words.next()) else {
        return Err("too little: an address and what stands for it are wanted, and it is left out");
    };
    if from.starts_with('.') || to.starts_with('.') {
        return Err("an address that begins with a dot, and is left out");
    }
    if from == "*" || to == "*" {
        return Err("* alone, which is left out");
    }
    let front = |text: &str| text.strip_prefix("*.").map(str::to_owned);
    let rule = Rule {
        from: front(from).unwrap_or(from.to_owned()).to_ascii_lowercase(),
        is_ending: front(from).is_some(),
        to: front(to).unwrap_or(to.to_owned()).to_ascii_lowercase(),
        keeps_front: front(to).is_some(),
    };
    if rule.keeps_front && !rule.is_ending {
        return Err("*. of what stands for an address without that, and is left out");
    }
    let is_destination = |text: &str| {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        text.bytes().all(is_fine) || forms::ip(text).is_some()
    };
    if !is_destination(&rule.to) {
        return Err("what nobody can be asked for, and is left out");
    }
    Ok((rule, words.next().is_some()))
}

/// A block of IPv4 addresses large enough to give some away.
pub(super) const BLOCK_V4: Wanted =
    Wanted::Other("a block of IPv4 addresses whose first 16 bits or fewer are the same");
/// The same of IPv6.
pub(super) const BLOCK_V6: Wanted =
    Wanted::Other("a block of IPv6 addresses whose first 104 bits or fewer are the same");

#[cfg(test)]
mod tests {
    use super::super::{Config, Settings};
    use super::*;

    fn maps(text: &str) -> (Maps, Vec<String>) {
        let mut settings = Settings::new();
        settings.add_text("torrc", text).unwrap();
        let (config, warnings) = Config::of(&settings).unwrap();
        (config.maps, warnings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn lines_are_rules_and_the_last_of_an_address_counts() {
        let text = "MapAddress A.example B.Example\nMapAddress *.c.example *.d.example\nMapAddress *.e *.e\n\
                    MapAddress a.example [2001:db8::1]\nMapAddress *.f g.1234.exit\nMapAddress h h\nMapAddress *.i i\n";
        let rules: Vec<_> = maps(text).0.rules;
        let said: Vec<_> = rules.iter().map(|it| (&*it.from, it.is_ending, &*it.to, it.keeps_front)).collect();
        let expected = [
            ("c.example", true, "d.example", true),
            ("a.example", false, "[2001:db8::1]", false),
            ("f", true, "g.1234.exit", false),
            ("i", true, "i", false),
        ];
        assert_eq!(said, expected);
        assert_eq!(maps(text).1, [] as [String; 0]);
    }

    #[test]
    fn what_cannot_be_a_rule_is_warned_of_and_left_out() {
        for line in ["a", "a .b", ".a b", "* a", "a *", "a *.b", "a b/c", "a b:c"] {
            let (maps, warnings) = maps(&format!("MapAddress {line}\n"));
            assert!(maps.rules.is_empty(), "{line}");
            assert!(
                warnings.len() == 1 && warnings[0].starts_with("torrc:1: MapAddress says "),
                "{line}: {warnings:?}"
            );
        }
        let (maps, warnings) = maps("MapAddress a b c\n");
        assert!(maps.rules.len() == 1 && warnings.len() == 1);
    }

    #[test]
    fn blocks_have_what_their_bits_say() {
        let (maps, _) = maps("VirtualAddrNetworkIPv4 10.192.0.0/10\n");
        for (ip, is_in) in [("10.192.0.1", true), ("10.255.255.255", true), ("10.191.0.1", false), ("fe80::1", false)] {
            assert_eq!(maps.ipv4.contains(ip.parse().unwrap()), is_in, "{ip}");
        }
        assert_eq!(maps.ipv4.with(u128::MAX), IpAddr::from([10, 255, 255, 255]));
        assert_eq!(maps.ipv4.with(0x00FF_0102), IpAddr::from([10, 255, 1, 2]));
        assert_eq!(maps.ipv6.with(5), "fe80::5".parse::<IpAddr>().unwrap());
        let all = Block { ip: [1, 2, 3, 4].into(), bits: 0 };
        assert!(all.contains([9, 9, 9, 9].into()) && all.with(7) == IpAddr::from([0, 0, 0, 7]));
    }
}
