//! A relay as the authorities are told of it, and the flags they may give it.
//!
//! What a relay is, not what the documents say of it (`consensus`, `microdesc`) and not the
//! relay itself (`lab/relay`). Made by whoever builds a network, and by `invent` for those
//! that only exist on paper. Spec: dir-spec, "Consensus status entries", "Microdescriptors".

use core::net::{SocketAddrV4, SocketAddrV6};

use crate::base::{Ed25519Id, RelayIds, RsaId};
use crate::crypto::x25519;

/// What a relay that runs in the lab speaks.
///
/// Neither congestion control nor what stands on it: no `FlowCtrl=2`, no Conflux, no CGO.
/// Nor `Padding`, whose machines it does not run, nor anything of onion services. `LinkAuth`
/// without which C tor would not name a relay's Ed25519 identity, though nobody asks for it.
pub const LAB_PROTOCOLS: &str = "Cons=1-2 Desc=1-4 DirCache=2 FlowCtrl=1 Link=4-5 LinkAuth=3 Microdesc=1-3 Relay=2-4";
/// What a relay of C tor 0.4.9 speaks.
pub const TOR_PROTOCOLS: &str = "Conflux=1 Cons=1-2 Desc=1-4 DirCache=2 FlowCtrl=1-2 HSDir=2 HSIntro=4-5 HSRend=1-2 \
     Link=3-5 LinkAuth=3 Microdesc=1-3 Padding=2 Relay=2-6";

/// What the authorities think of a relay; in the order in which documents name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// It is a directory authority.
    Authority,
    /// It must not be an exit, whatever it says.
    BadExit,
    /// It lets most of the web through.
    Exit,
    /// It is fast enough for every circuit.
    Fast,
    /// It may be an entry.
    Guard,
    /// It stores descriptors of onion services.
    HsDir,
    /// It may be nothing but the middle.
    MiddleOnly,
    /// The authorities do not agree on its Ed25519 identity.
    NoEdConsensus,
    /// It answers.
    Running,
    /// It stays for long.
    Stable,
    /// Its descriptor is old.
    StaleDesc,
    /// It is one of too many at one address.
    Sybil,
    /// It serves directory documents.
    V2Dir,
    /// It was not thrown out.
    Valid,
}

impl Flag {
    /// All there are.
    pub const ALL: [Flag; 14] = [
        Flag::Authority,
        Flag::BadExit,
        Flag::Exit,
        Flag::Fast,
        Flag::Guard,
        Flag::HsDir,
        Flag::MiddleOnly,
        Flag::NoEdConsensus,
        Flag::Running,
        Flag::Stable,
        Flag::StaleDesc,
        Flag::Sybil,
        Flag::V2Dir,
        Flag::Valid,
    ];

    /// As documents write it.
    pub fn name(self) -> &'static str {
        match self {
            Flag::Authority => "Authority",
            Flag::BadExit => "BadExit",
            Flag::Exit => "Exit",
            Flag::Fast => "Fast",
            Flag::Guard => "Guard",
            Flag::HsDir => "HSDir",
            Flag::MiddleOnly => "MiddleOnly",
            Flag::NoEdConsensus => "NoEdConsensus",
            Flag::Running => "Running",
            Flag::Stable => "Stable",
            Flag::StaleDesc => "StaleDesc",
            Flag::Sybil => "Sybil",
            Flag::V2Dir => "V2Dir",
            Flag::Valid => "Valid",
        }
    }

    /// The flag of that name.
    pub fn from_name(name: &str) -> Option<Flag> {
        Flag::ALL.into_iter().find(|flag| flag.name() == name)
    }
}

/// A set of flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// These.
    pub fn of(flags: &[Flag]) -> Flags {
        flags.iter().fold(Flags::default(), |set, &flag| set.with(flag))
    }

    /// What every relay that may be used has.
    pub fn usable() -> Flags {
        Flags::of(&[Flag::Fast, Flag::Running, Flag::Stable, Flag::V2Dir, Flag::Valid])
    }

    /// These and one more.
    #[must_use]
    pub fn with(self, flag: Flag) -> Flags {
        Flags(self.0 | 1 << flag as u16)
    }

    /// Whether `flag` is one of them.
    pub fn contains(self, flag: Flag) -> bool {
        self.0 & 1 << flag as u16 != 0
    }

    /// Each, in the order of documents.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL.into_iter().filter(move |&flag| self.contains(flag))
    }
}

/// A relay to be listed.
#[derive(Clone, Debug)]
pub struct Member {
    /// Up to 19 letters and digits.
    pub nickname: String,
    /// Both of its identities.
    pub ids: RelayIds,
    /// Where it listens.
    pub ipv4: SocketAddrV4,
    /// Where else it listens.
    pub ipv6: Option<SocketAddrV6>,
    /// Its ntor onion key.
    pub ntor: x25519::PublicKey,
    /// The modulus and all of an onion key that nobody uses any more, which most relays of the
    /// network still have (DER).
    pub tap: Option<Vec<u8>>,
    /// What the authorities think of it.
    pub flags: Flags,
    /// Its weight, in kilobytes per second.
    pub bandwidth: u32,
    /// `accept` or `reject` and ports, to IPv4; without it nothing is let through.
    pub policy: Option<String>,
    /// The same to IPv6.
    pub policy6: Option<String>,
    /// The relays it names as its family.
    pub family: Vec<RsaId>,
    /// The keys of the families it has proved to be in.
    pub family_ids: Vec<Ed25519Id>,
    /// The version it says it runs.
    pub version: &'static str,
    /// The subprotocols it says it speaks.
    pub protocols: &'static str,
}

impl Member {
    /// A relay of the lab that is good for the middle, and nothing else so far.
    pub fn new(nickname: &str, ids: RelayIds, ipv4: SocketAddrV4, ntor: x25519::PublicKey) -> Member {
        Member {
            nickname: nickname.to_owned(),
            ids,
            ipv4,
            ipv6: None,
            ntor,
            tap: None,
            flags: Flags::usable(),
            bandwidth: LAB_BANDWIDTH,
            policy: None,
            policy6: None,
            family: Vec::new(),
            family_ids: Vec::new(),
            version: "Tor 0.4.9.11",
            protocols: LAB_PROTOCOLS,
        }
    }

    /// Adds a flag.
    #[must_use]
    pub fn flagged(mut self, flag: Flag) -> Member {
        self.flags = self.flags.with(flag);
        self
    }

    /// Lets all ports through and says so.
    #[must_use]
    pub fn exit(mut self) -> Member {
        self.policy = Some("accept 1-65535".to_owned());
        self.policy6.clone_from(&self.policy);
        self.flagged(Flag::Exit)
    }

    /// A relay of no meaning for tests.
    #[cfg(test)]
    pub(super) fn example(number: u8) -> Member {
        let ids = RelayIds { rsa: Some(RsaId([number; 20])), ed25519: Some(Ed25519Id([number; 32])) };
        let ipv4 = SocketAddrV4::new(core::net::Ipv4Addr::LOCALHOST, 5000 + u16::from(number));
        Member::new(&format!("relay{number}"), ids, ipv4, x25519::PublicKey([number; 32]))
    }
}

/// A weight beside which those of the invented do not count. C tor: clamps what is above
/// 2,147,483.
const LAB_BANDWIDTH: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_keep_the_order_of_documents() {
        let names: Vec<_> = Flag::ALL.iter().map(|flag| flag.name()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted);
        for flag in Flag::ALL {
            assert_eq!(Flag::from_name(flag.name()), Some(flag));
            assert_eq!(Flags::of(&[flag]).iter().collect::<Vec<_>>(), [flag]);
        }
        assert_eq!(Flag::from_name("Named"), None);
        let flags = Flags::usable().with(Flag::Guard);
        assert!(flags.contains(Flag::Guard) && !flags.contains(Flag::Exit));
    }

    #[test]
    fn an_exit_says_so_everywhere() {
        let member = Member::example(1).exit();
        assert!(member.flags.contains(Flag::Exit) && member.policy.is_some() && member.policy6.is_some());
    }
}
