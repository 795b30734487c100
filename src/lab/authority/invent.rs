//! Relays that exist on paper only, to give a network the size of the public one.
//!
//! Nobody answers at their addresses: those are of 127.0.0.0/8, and of the IPv6 block that is
//! for documents, so that a client that does dial one sends nothing off its machine. None is
//! a guard, or clients would put dead guards first; none keeps onion-service descriptors,
//! because clients choose those places regardless of bandwidth. Called by
//! `authority/mod.rs`. Spec: none; sizes and shares are those of July 2026.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use super::member::{Flag, Flags, Member, TOR_PROTOCOLS};
use crate::base::random::{Entropy, array, below};
use crate::base::{RelayIds, RsaId};
use crate::crypto::{Secret, ed25519, x25519};
use crate::lab::seed::SeededEntropy;

/// How the invented relays are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invention {
    /// Whether families are lists, as they were for twenty years, or keys alone. Lists make
    /// four fifths of what all microdescriptors weigh.
    pub family_lists: bool,
    /// The weight of the heaviest, in kilobytes per second. Beside members of a million each
    /// a small one sees to it that a circuit hardly ever goes over a relay that is not there.
    pub max_bandwidth: u32,
}

impl Default for Invention {
    fn default() -> Self {
        Invention { family_lists: false, max_bandwidth: 20 }
    }
}

/// Invents `count` relays.
pub(super) fn relays(seed: u64, count: usize, invention: Invention) -> Vec<Member> {
    let mut entropy = SeededEntropy::new(seed, "invented relays");
    let mut relays: Vec<_> = (0..count).map(|_| relay(&mut entropy, invention)).collect();
    let mut entropy = SeededEntropy::new(seed, "invented families");
    let mut rest = &mut relays[..];
    let largest = count / LARGEST_FAMILY;
    while !rest.is_empty() {
        let (family, after) = rest.split_at_mut(family_size(&mut entropy, largest).min(rest.len()));
        relate(&mut entropy, family, invention.family_lists);
        rest = after;
    }
    relays
}

fn relay(entropy: &mut dyn Entropy, invention: Invention) -> Member {
    let ed25519 = ed25519::KeyPair::from_seed(&Secret::random(entropy)).public();
    let ids = RelayIds { rsa: Some(RsaId(array(entropy))), ed25519: Some(ed25519) };
    let [b, c, d] = array::<3>(entropy);
    let port = pick(entropy, PORTS);
    let ipv4 = SocketAddrV4::new(Ipv4Addr::new(127, b.max(1), c, d.max(2)), port);
    let mut member = Member::new(&nickname(entropy), ids, ipv4, x25519::PublicKey(array(entropy)));
    member.flags = Flags::of(&[Flag::Running, Flag::Valid]);
    for (flag, percent) in [(Flag::Fast, 90), (Flag::Stable, 80), (Flag::V2Dir, 75)] {
        if chance(entropy, percent) {
            member = member.flagged(flag);
        }
    }
    if chance(entropy, 60) {
        let [e, f, g, h] = array::<4>(entropy).map(u16::from);
        let address = Ipv6Addr::new(0x3FFF, e << 4 | f >> 4, f, 0, 0, 0, g, h + 1);
        member.ipv6 = Some(SocketAddrV6::new(address, port, 0, 0));
    }
    if chance(entropy, 30) {
        member.policy = Some(pick(entropy, EXIT_POLICIES).to_owned());
        member.policy6 = member.policy.clone().filter(|_| member.ipv6.is_some());
        member = member.flagged(Flag::Exit);
    }
    if chance(entropy, 95) {
        member.tap = Some(tap_key(entropy));
    }
    member.bandwidth = bandwidth(entropy, invention.max_bandwidth);
    member.version = pick(entropy, &["Tor 0.4.8.21", "Tor 0.4.9.9", "Tor 0.4.9.10", "Tor 0.4.9.11"]);
    member.protocols = TOR_PROTOCOLS;
    member
}

/// Mostly small, a few at the top: as many between 1 and 2 as between 512 and 1024.
fn bandwidth(entropy: &mut dyn Entropy, max: u32) -> u32 {
    let top = below(entropy, u32::BITS - max.leading_zeros()) + 1;
    let ceiling = (u32::MAX >> (u32::BITS - top)).min(max);
    1 + below(entropy, ceiling)
}

fn nickname(entropy: &mut dyn Entropy) -> String {
    let number = below(entropy, 1000);
    let (first, second) = (pick(entropy, FIRST), pick(entropy, SECOND));
    match below(entropy, 4) {
        0 => format!("{first}{second}"),
        1 => "Unnamed".to_owned(),
        2 => format!("{second}{number}"),
        _ => format!("{first}{number:02}"),
    }
}

/// The DER of an RSA key of 1024 bits that nobody made: only its shape is looked at.
fn tap_key(entropy: &mut dyn Entropy) -> Vec<u8> {
    let mut modulus = array::<128>(entropy);
    modulus[0] |= 0x80;
    modulus[127] |= 1;
    [&[0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00][..], &modulus, &[0x02, 0x03, 0x01, 0x00, 0x01]].concat()
}

/// How many relays the next operator runs.
fn family_size(entropy: &mut dyn Entropy, largest: usize) -> usize {
    let size = match below(entropy, 100) {
        0..40 => 1,
        40..70 => 2 + below(entropy, 4),
        70..88 => 6 + below(entropy, 14),
        88..99 => 20 + below(entropy, 30),
        _ => 80 + below(entropy, 140),
    };
    usize::try_from(size).unwrap_or(1).min(largest.max(2))
}

fn relate(entropy: &mut dyn Entropy, family: &mut [Member], lists: bool) {
    if family.len() < 2 {
        return;
    }
    let key = ed25519::KeyPair::from_seed(&Secret::random(entropy)).public();
    let all: Vec<_> = family.iter().filter_map(|member| member.ids.rsa).collect();
    for member in family {
        member.family_ids = vec![key];
        if lists {
            member.family = all.iter().copied().filter(|id| Some(*id) != member.ids.rsa).collect();
        }
    }
}

fn chance(entropy: &mut dyn Entropy, percent: u32) -> bool {
    below(entropy, 100) < percent
}

fn pick<T: Copy>(entropy: &mut dyn Entropy, from: &[T]) -> T {
    let count = u32::try_from(from.len()).unwrap_or(u32::MAX);
    from[usize::try_from(below(entropy, count)).unwrap_or(0)]
}

/// The largest family is one of so many relays.
const LARGEST_FAMILY: usize = 16;

/// None on which another program of this machine is likely to listen.
const PORTS: &[u16] = &[9001, 9001, 9001, 9010, 9100, 9101, 9443, 10_001];

const FIRST: &[&str] = &[
    "quiet", "amber", "north", "river", "silver", "paper", "winter", "copper", "hidden", "lucky", "velvet", "distant",
];
const SECOND: &[&str] = &[
    "Relay", "Onion", "Harbor", "Falcon", "Node", "Lantern", "Otter", "Garden", "Bridge", "Cactus", "Meadow", "Comet",
];

const EXIT_POLICIES: &[&str] = &[
    "accept 1-65535",
    "reject 25",
    "reject 25,119,135-139,445,563,1214,4661-4666,6346-6429,6699,6881-6999",
    "accept 80,443",
    "accept 20-23,43,53,79-81,88,110,143,194,220,389,443,464,531,543-544,554,563,636,706,749,873,902-904,981,989-995,\
     1194,1220,1293,1500,1533,1677,1723,1755,1863,2082-2083,2086-2087,2095-2096,2102-2104,3128,3389,3690,4321,4643,5050,\
     5190,5222-5223,5228,5900,6660-6669,6679,6697,8000,8008,8074,8080,8087-8088,8332-8333,8443,8888,9418,9999-10000",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_invented_are_varied_and_harmless() {
        let relays = relays(1, 500, Invention::default());
        let share = |what: &dyn Fn(&Member) -> bool| relays.iter().filter(|member| what(member)).count();
        assert_eq!(share(&|member| member.ipv4.ip().is_loopback()), 500);
        assert_eq!(share(&|member| member.flags.contains(Flag::Guard) || member.flags.contains(Flag::HsDir)), 0);
        assert!((100..200).contains(&share(&|member| member.flags.contains(Flag::Exit))));
        assert!((250..350).contains(&share(&|member| member.ipv6.is_some())));
        assert!((300..500).contains(&share(&|member| !member.family_ids.is_empty())));
        assert_eq!(share(&|member| member.bandwidth == 0 || member.bandwidth > 20), 0);
        assert_eq!(share(&|member| member.nickname.len() > 19 || !member.nickname.is_ascii()), 0);
    }

    #[test]
    fn the_same_seed_invents_the_same() {
        let told = |seed| format!("{:?}", relays(seed, 20, Invention::default()));
        assert_eq!(told(1), told(1));
        assert_ne!(told(1), told(2));
    }

    #[test]
    fn lists_name_the_others_of_a_family() {
        let relays = relays(1, 200, Invention { family_lists: true, ..Invention::default() });
        for member in relays.iter().filter(|member| !member.family.is_empty()) {
            assert!(!member.family.contains(&member.ids.rsa.unwrap()));
            let other = relays.iter().find(|other| other.ids.rsa == Some(member.family[0])).unwrap();
            assert!(other.family.contains(&member.ids.rsa.unwrap()));
            assert_eq!(other.family_ids, member.family_ids);
        }
    }

    #[test]
    fn bandwidths_of_any_ceiling_are_drawn() {
        let mut entropy = SeededEntropy::new(1, "bandwidth");
        for max in [1, 2, 20, 1000, u32::MAX] {
            assert!((0..50).all(|_| (1..=max).contains(&bandwidth(&mut entropy, max))));
        }
    }
}
