//! Which address stands for another when a program asks: rules of the user's, and addresses that
//! were given to names that have none.
//!
//! One table for all ports, which outlives a change of the options as far as they still want it.
//! Looks nothing up, and knows no circuit. Called by `door.rs`; the shell holds the table. Spec:
//! tor(1), "MapAddress", "AutomapHostsOnResolve". C tor: `addressmap_rewrite` and its neighbours
//! in feature/client/addressmap.c, `connection_ap_handshake_rewrite`.
//! Differs: C tor gives addresses until there are none; here the oldest is taken back. It gives one to
//! what ends as onion addresses do and is none; here that is refused before.

use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};

use super::{Command, Failure, Host};
use crate::base::random::{self, Entropy};
use crate::config;
use crate::config::maps::Rule;

/// The most names that have an address of ours at once; ours.
pub const MAX_GIVEN: usize = 8192;
/// Rules are followed so often. C tor's.
const MAX_STEPS: usize = 16;
/// So many addresses are drawn before there seem to be none left. C tor's.
const MAX_DRAWS: usize = 1000;

/// What is asked for in truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// By whom it is to be answered.
    pub host: Host,
    /// The exit that a rule names for it.
    pub exit: Option<String>,
}

/// The table.
pub struct Maps {
    wish: config::maps::Maps,
    /// The rules by what they are for.
    rules: BTreeMap<String, Rule>,
    /// Which name an address was given to.
    names: BTreeMap<IpAddr, String>,
    /// The addresses of a name: of IPv4 and of IPv6.
    addresses: BTreeMap<String, [Option<IpAddr>; 2]>,
    /// Those addresses, the oldest first.
    given: VecDeque<IpAddr>,
}

/// Shows nothing of it: it says where somebody went.
impl core::fmt::Debug for Maps {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Maps").field("given", &self.given.len()).finish_non_exhaustive()
    }
}

impl Maps {
    /// With nothing given yet.
    pub fn new(wish: &config::maps::Maps) -> Maps {
        let rules = wish.rules.iter().map(|rule| (rule.from.clone(), rule.clone())).collect();
        let wish = wish.clone();
        Maps { wish, rules, names: BTreeMap::new(), addresses: BTreeMap::new(), given: VecDeque::new() }
    }

    /// The user wants something else; what was given stays if it could be given now. C tor:
    /// `addressmap_clear_invalid_automaps`.
    pub fn configure(&mut self, wish: &config::maps::Maps) {
        let old = core::mem::replace(self, Maps::new(wish));
        for ip in old.given {
            let name = old.names.get(&ip).filter(|name| self.is_given(name) && self.is_ours(ip));
            name.into_iter().for_each(|name| self.remember(ip, name));
        }
    }

    /// Whether something stands for just that.
    pub fn have(&self, host: &Host) -> bool {
        let is_given = if let Host::Ip(ip) = host { self.names.contains_key(ip) } else { false };
        is_given || self.rules.contains_key(&host.written())
    }

    /// What a program asks for in truth. A name without an address gets one if it is looked up, of
    /// IPv6 if that is `better`.
    pub fn map(
        &mut self,
        command: Command,
        host: &Host,
        ipv6_is_better: bool,
        entropy: &mut dyn Entropy,
    ) -> Result<Mapped, Failure> {
        if command == Command::ResolvePtr {
            return Ok(Mapped { host: host.clone(), exit: None });
        }
        let mut name = self.rewritten(host.written());
        if command == Command::Resolve && self.is_given(&name) && address(&name).is_none() {
            let ip = self.give(&name, ipv6_is_better, entropy).ok_or(Failure::NoMapping)?;
            return Ok(Mapped { host: Host::Ip(ip), exit: None });
        }
        if let Some(given) = address(&name).and_then(|ip| self.names.get(&ip)) {
            given.clone_into(&mut name);
        }
        // It was given and taken back, or never given. No exit should hear of it.
        if name.ends_with(".virtual") || address(&name).is_some_and(|ip| self.is_ours(ip)) {
            return Err(Failure::NoMapping);
        }
        let (name, exit) = match name.strip_suffix(".exit") {
            None => (name.as_str(), None),
            Some(front) => {
                let named = front.rsplit_once('.').filter(|(_, exit)| !exit.is_empty());
                let (name, exit) = named.ok_or(Failure::ExitName)?;
                (name, Some(exit.to_owned()))
            }
        };
        Ok(Mapped { host: if name == host.written() { host.clone() } else { Host::parse_loosely(name)? }, exit })
    }

    /// What rules make of a name.
    fn rewritten(&self, mut name: String) -> String {
        for _ in 0..MAX_STEPS {
            let Some(next) = self.step(&name) else { break };
            name = next;
        }
        name
    }

    /// What the next rule makes of it, if there is one.
    fn step(&self, name: &str) -> Option<String> {
        if let Some(rule) = self.rules.get(name) {
            // All names under one, and it itself, stand for it: it is what is wanted.
            let is_done = rule.is_ending && !rule.keeps_front && rule.to == name;
            return (!is_done).then(|| rule.to.clone());
        }
        let mut dots = name.match_indices('.');
        dots.find_map(|(at, _)| {
            let (front, ending) = (name.get(..at)?, name.get(at + 1..)?);
            let rule = self.rules.get(ending).filter(|rule| rule.is_ending)?;
            Some(if rule.keeps_front { format!("{front}.{}", rule.to) } else { rule.to.clone() })
        })
    }

    /// Whether a name gets an address of ours. C tor: `addressmap_address_should_automap`.
    fn is_given(&self, name: &str) -> bool {
        self.wish.gives_addresses && self.wish.endings.iter().any(|ending| ending == "." || name.ends_with(ending))
    }

    fn is_ours(&self, ip: IpAddr) -> bool {
        self.wish.ipv4.contains(ip) || self.wish.ipv6.contains(ip)
    }

    /// The address of a name, new or given before.
    fn give(&mut self, name: &str, is_ipv6: bool, entropy: &mut dyn Entropy) -> Option<IpAddr> {
        let known = self.addresses.get(name).and_then(|known| known.get(usize::from(is_ipv6)).copied().flatten());
        if known.is_some() {
            return known;
        }
        let block = if is_ipv6 { self.wish.ipv6 } else { self.wish.ipv4 };
        let draws = core::iter::repeat_with(|| block.with(u128::from_be_bytes(random::array(entropy))));
        let ip = draws.take(MAX_DRAWS).find(|ip| is_usual(*ip) && !self.names.contains_key(ip))?;
        self.remember(ip, name);
        Some(ip)
    }

    fn remember(&mut self, ip: IpAddr, name: &str) {
        if self.given.len() >= MAX_GIVEN
            && let Some(oldest) = self.given.pop_front()
        {
            self.forget(oldest);
        }
        self.given.push_back(ip);
        self.names.insert(ip, name.to_owned());
        if let Some(slot) = self.addresses.entry(name.to_owned()).or_default().get_mut(usize::from(ip.is_ipv6())) {
            *slot = Some(ip);
        }
    }

    fn forget(&mut self, ip: IpAddr) {
        let Some(name) = self.names.remove(&ip) else { return };
        let Some(known) = self.addresses.get_mut(&name) else { return };
        known.iter_mut().filter(|known| **known == Some(ip)).for_each(|known| *known = None);
        if *known == [None, None] {
            self.addresses.remove(&name);
        }
    }
}

/// An address, if it is one.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok()
}

/// Whether it ends as no network's own addresses do. C tor's.
fn is_usual(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !matches!(ip.octets(), [.., 0 | 255]),
        IpAddr::V6(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;
    use crate::config::{Config, Settings};
    use proptest::prelude::*;

    const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

    fn wish(text: &str) -> config::maps::Maps {
        let mut settings = Settings::new();
        settings.add_text("torrc", text).unwrap();
        Config::of(&settings).unwrap().0.maps
    }

    fn mapped(maps: &mut Maps, command: Command, host: &str) -> Result<(String, Option<String>), Failure> {
        let host = Host::parse_loosely(host).unwrap();
        maps.map(command, &host, false, &mut Seeded(7)).map(|it| (it.host.written(), it.exit))
    }

    /// After `test_config_addressmap` in C tor's src/test/test_config.c.
    #[test]
    fn rules_are_followed_as_c_tor_follows_them() {
        let text = "MapAddress .invalidwildcard.com *.torserver.exit\nMapAddress *invalidasterisk.com a.exit\n\
                    MapAddress *.google.com *.torserver.google.exit\nMapAddress *.example.com *.x.torserver.exit\n\
                    MapAddress test.torproject.org 1.2.3.4\nMapAddress *.loop.com b.loop.com\n\
                    MapAddress 1.2.3.5 test.example.org\nMapAddress *.one.com one.com\nMapAddress a.b.c d.e\n\
                    MapAddress *.d.e *.f.g\nMapAddress ring.a ring.b\nMapAddress ring.b ring.a\n";
        let mut maps = Maps::new(&wish(text));
        for (host, expected, exit) in [
            ("www.google.com", "www.torserver", Some("google")),
            ("a.b.example.com", "a.b.x", Some("torserver")),
            ("example.com", "*.x.torserver.exit", None),
            ("test.torproject.org", "1.2.3.4", None),
            ("www.test.torproject.org", "www.test.torproject.org", None),
            ("1.2.3.5", "test.example.org", None),
            ("x.one.com", "one.com", None),
            ("one.com", "one.com", None),
            ("A.B.C", "f.g", None),
            ("www.invalidwildcard.com", "www.invalidwildcard.com", None),
            ("ring.a", "ring.a", None),
        ] {
            if host == "example.com" {
                // The name itself stands for what the ending stands for, without a front.
                assert_eq!(maps.rewritten(host.to_owned()), "x.torserver.exit");
                continue;
            }
            let found = mapped(&mut maps, Command::Connect, host);
            assert_eq!(found, Ok((expected.to_owned(), exit.map(str::to_owned))), "{host}");
        }
        assert_eq!(mapped(&mut maps, Command::ResolvePtr, "1.2.3.5").unwrap().0, "1.2.3.5");
    }

    #[test]
    fn exits_are_named_by_rules_alone() {
        let mut maps =
            Maps::new(&wish("MapAddress a b..exit\nMapAddress c relay.exit\nMapAddress d 10.0.0.1.relay.exit"));
        assert_eq!(mapped(&mut maps, Command::Connect, "a"), Err(Failure::ExitName));
        assert_eq!(mapped(&mut maps, Command::Connect, "c"), Err(Failure::ExitName));
        assert_eq!(mapped(&mut maps, Command::Connect, "d"), Ok(("10.0.0.1".to_owned(), Some("relay".to_owned()))));
    }

    #[test]
    fn names_get_addresses_and_keep_them() {
        let text = "AutomapHostsOnResolve 1\nAutomapHostsSuffixes .onion,.Lab\nMapAddress alias x.lab\n";
        let mut maps = Maps::new(&wish(text));
        let look_up = |maps: &mut Maps, host: &str, ipv6| {
            let host = Host::parse_loosely(host).unwrap();
            maps.map(Command::Resolve, &host, ipv6, &mut Seeded(3)).map(|it| it.host.written())
        };
        let onion = look_up(&mut maps, ONION, false).unwrap();
        let ip: IpAddr = onion.parse().unwrap();
        assert!(maps.wish.ipv4.contains(ip) && is_usual(ip));
        assert_eq!(look_up(&mut maps, ONION, false).unwrap(), onion);
        assert!(look_up(&mut maps, ONION, true).unwrap().starts_with("fe"));
        let lab = look_up(&mut maps, "x.lab", true).unwrap();
        assert_eq!(look_up(&mut maps, "alias", true).unwrap(), lab);
        assert_eq!(look_up(&mut maps, "x.example", true).unwrap(), "x.example");
        assert_eq!(look_up(&mut maps, "192.0.2.1", true).unwrap(), "192.0.2.1");
        // And back.
        assert_eq!(mapped(&mut maps, Command::Connect, &onion).unwrap().0, ONION);
        assert_eq!(mapped(&mut maps, Command::Resolve, &lab).unwrap().0, "x.lab");
        assert_eq!(mapped(&mut maps, Command::Connect, "127.192.0.9"), Err(Failure::NoMapping));
        assert_eq!(mapped(&mut maps, Command::Connect, "x.virtual"), Err(Failure::NoMapping));
        assert!(maps.have(&Host::Ip(ip)) && maps.have(&Host::parse("alias").unwrap()));
        assert!(!maps.have(&Host::parse("x.lab").unwrap()));

        maps.configure(&wish("AutomapHostsOnResolve 1\nAutomapHostsSuffixes .onion\n"));
        assert_eq!(mapped(&mut maps, Command::Connect, &onion).unwrap().0, ONION);
        assert_eq!(mapped(&mut maps, Command::Connect, &lab), Err(Failure::NoMapping));
        maps.configure(&wish("AutomapHostsOnResolve 1\nVirtualAddrNetworkIPv4 10.0.0.0/8\n"));
        assert_eq!(mapped(&mut maps, Command::Connect, &onion).unwrap().0, onion);
        assert_eq!(look_up(&mut maps, ONION, false).unwrap().get(..3), Some("10."));
    }

    #[test]
    fn the_oldest_address_is_taken_back() {
        let mut maps = Maps::new(&wish("AutomapHostsOnResolve 1\nAutomapHostsSuffixes .\n"));
        let mut entropy = Seeded(1);
        let mut look_up = |maps: &mut Maps, number: usize| {
            let host = Host::parse(&format!("host{number}.example")).unwrap();
            maps.map(Command::Resolve, &host, number.is_multiple_of(2), &mut entropy).unwrap().host
        };
        let first = look_up(&mut maps, 0);
        let second = look_up(&mut maps, 1);
        for number in 2..=MAX_GIVEN {
            look_up(&mut maps, number);
        }
        assert!(!maps.have(&first) && maps.have(&second));
        assert!(maps.names.len() == MAX_GIVEN && maps.addresses.len() == MAX_GIVEN);
    }

    #[test]
    fn a_block_without_room_gives_nothing() {
        let mut maps = Maps::new(&wish("AutomapHostsOnResolve 1\nAutomapHostsSuffixes .\n"));
        maps.wish.ipv4.bits = 32;
        let host = Host::parse("a.example").unwrap();
        assert_eq!(maps.map(Command::Resolve, &host, false, &mut Seeded(1)), Err(Failure::NoMapping));
    }

    proptest! {
        #[test]
        fn nothing_becomes_a_name_of_an_exit_or_of_ours(
            rules in proptest::collection::vec("(\\*\\.)?[ab]{1,2}(\\.[ab])? (\\*\\.)?[ab]{1,2}(\\.[ab])?(\\.exit|\\.virtual)?", 0..8),
            host in "[ab]{1,2}(\\.[ab]){0,3}"
        ) {
            let text: String = rules.iter().map(|rule| format!("MapAddress {rule}\n")).collect();
            let mut maps = Maps::new(&wish(&text));
            let host = Host::parse(&host).unwrap();
            if let Ok(mapped) = maps.map(Command::Connect, &host, false, &mut Seeded(1)) {
                let name = mapped.host.written();
                prop_assert!(!name.ends_with(".exit") && !name.ends_with(".virtual"), "{}", name);
            }
        }
    }
}
