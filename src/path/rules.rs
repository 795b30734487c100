//! Who may stand where on a path, and who beside whom.
//!
//! Answers for one relay, and draws none; that is `weights.rs`, and the order of choosing is
//! `mod.rs`, which calls this. Spec: path-spec, "Constraints"; dir-spec, "Exit policy
//! summaries". C tor: `router_can_choose_node`, `nodelist_add_node_and_family`.

use core::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::collections::BTreeSet;

use super::Hop;
use crate::base::RsaId;
use crate::base::address::is_internal;
use crate::directory::consensus::Flag;
use crate::directory::weights::Position;
use crate::directory::{NetDir, Relay, RelayIndex};

/// Relays by identity, as in what must not be used this time.
pub type Avoided = BTreeSet<RsaId>;

/// Relays whose IPv4 addresses begin alike for so many bits may not be on one path.
const SUBNET_V4: u32 = 16;
/// The same for IPv6.
const SUBNET_V6: u32 = 32;

/// What the user says of relays. Everything may be used, unless said otherwise.
pub trait Wishes {
    /// Whether a relay may stand at a place.
    fn allows(&self, _relay: &Relay<'_>, _place: Place) -> bool {
        true
    }

    /// Whether the user has said which relays may stand at a place, and not only which may not.
    fn are_few(&self, _place: Place) -> bool {
        false
    }

    /// Whether the user calls two relays one family.
    fn are_family(&self, _a: &Relay<'_>, _b: &Relay<'_>) -> bool {
        false
    }

    /// Whether we may connect there.
    fn may_connect(&self, _to: SocketAddr) -> bool {
        true
    }
}

/// No wishes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWishes;

impl Wishes for NoWishes {}

/// Which addresses of a first hop we may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Those of IPv4.
    pub ipv4: bool,
    /// Those of IPv6.
    pub ipv6: bool,
    /// Whether the one of IPv6 is taken of two.
    pub prefers_ipv6: bool,
}

/// As C tor has it, where nobody says otherwise.
impl Default for Reach {
    fn default() -> Self {
        Reach { ipv4: true, ipv6: true, prefers_ipv6: false }
    }
}

/// A place on a path, as rules know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The first hop.
    Guard,
    /// A hop between.
    Middle,
    /// The hop from which streams leave.
    Exit,
    /// The last hop of a path on which they do not.
    Inner,
}

impl Place {
    /// All there are.
    pub const ALL: [Place; 4] = [Place::Guard, Place::Middle, Place::Exit, Place::Inner];

    /// By which weights relays are drawn for it. C tor: the last hop of an inner path is drawn
    /// as those between are.
    pub fn position(self) -> Position {
        match self {
            Place::Guard => Position::Guard,
            Place::Middle | Place::Inner => Position::Middle,
            Place::Exit => Position::Exit,
        }
    }
}

/// How good a relay must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// For busy circuits.
    pub is_fast: bool,
    /// For long-lived streams.
    pub is_stable: bool,
}

impl Quality {
    fn is_met_by(self, relay: &Relay<'_>) -> bool {
        let has = |flag| relay.flags().has(flag);
        (!self.is_fast || has(Flag::Fast)) && (!self.is_stable || has(Flag::Stable))
    }
}

/// By which protocol of the Internet a stream leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Its destination is an address of IPv4, or it may only be one.
    Ipv4,
    /// The same for IPv6.
    Ipv6,
    /// Its destination is a name, and either will do.
    Either,
}

/// Where a stream goes, as far as exit policies say whether it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The port.
    pub port: u16,
    /// The family of the address.
    pub family: Family,
}

/// Whether streams may leave from a relay to `target`, as far as a summary says it.
///
/// Differs: of an exit for a name C tor looks at the policy for IPv4 only.
pub fn may_leave(relay: &Relay<'_>, target: Target) -> bool {
    let ipv4 = || relay.policy().is_some_and(|policy| policy.allows(target.port));
    let ipv6 = || relay.policy6().is_some_and(|policy| policy.allows(target.port));
    match target.family {
        Family::Ipv4 => ipv4(),
        Family::Ipv6 => ipv6(),
        Family::Either => ipv4() || ipv6(),
    }
}

/// Whether streams may leave from a relay at all.
pub fn may_leave_somewhere(relay: &Relay<'_>) -> bool {
    relay.policy().or(relay.policy6()).is_some()
}

/// What holds for all paths.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// Whether two relays of one subnet may not be on one path. C tor: `EnforceDistinctSubnets`,
    /// off in testing networks.
    pub are_subnets_distinct: bool,
    /// Whether relays on addresses of this machine or a local network are not used. C tor: the
    /// opposite of `ExtendAllowPrivateAddresses`.
    pub refuses_private: bool,
    /// How first hops are connected to.
    pub reach: Reach,
    /// What the user says.
    pub wishes: &'a dyn Wishes,
}

impl Default for Rules<'_> {
    fn default() -> Self {
        Rules { are_subnets_distinct: true, refuses_private: false, reach: Reach::default(), wishes: &NoWishes }
    }
}

impl Rules<'_> {
    /// Whether a relay may stand at a place, alone. C tor: the flag `Exit` is not asked for,
    /// because policies say more; weights see to it that relays without it are spared.
    pub fn is_fit(&self, relay: &Relay<'_>, place: Place, quality: Quality) -> bool {
        let has = |flag| relay.flags().has(flag);
        relay.is_usable()
            && quality.is_met_by(relay)
            && match place {
                Place::Guard => self.may_be_guard(relay),
                Place::Exit => !has(Flag::BadExit) && !has(Flag::MiddleOnly) && may_leave_somewhere(relay),
                Place::Inner => !has(Flag::MiddleOnly),
                Place::Middle => true,
            }
            && self.is_public_enough(relay)
            && self.wishes.allows(relay, place)
    }

    fn is_public_enough(&self, relay: &Relay<'_>) -> bool {
        !(self.refuses_private && is_internal((*relay.ipv4().ip()).into()))
    }

    /// Whether a relay is one of which guards are sampled, wishes aside. C tor:
    /// `node_is_possible_guard`.
    pub fn may_be_guard(&self, relay: &Relay<'_>) -> bool {
        const NEEDED: [Flag; 6] = [Flag::Guard, Flag::Stable, Flag::Fast, Flag::Valid, Flag::Running, Flag::V2Dir];
        NEEDED.into_iter().all(|flag| relay.flags().has(flag)) && !relay.flags().has(Flag::MiddleOnly)
    }

    /// Whether the user lets us use a relay as a guard, and connect to it.
    pub fn is_guard_allowed(&self, relay: &Relay<'_>) -> bool {
        self.is_public_enough(relay)
            && self.wishes.allows(relay, Place::Guard)
            && self.address(Some(relay.ipv4()), relay.ipv6()).is_some()
    }

    /// Whether a first hop may be connected to there.
    pub fn may_connect(&self, to: SocketAddr) -> bool {
        let is_real = !to.ip().is_unspecified() && to.port() != 0;
        let is_reached = if to.is_ipv4() { self.reach.ipv4 } else { self.reach.ipv6 };
        is_real && is_reached && self.wishes.may_connect(to)
    }

    /// Where to connect to a first hop, if anywhere.
    pub fn address(&self, ipv4: Option<SocketAddrV4>, ipv6: Option<SocketAddrV6>) -> Option<SocketAddr> {
        let may = |address: &SocketAddr| self.may_connect(*address);
        let ipv4 = ipv4.map(SocketAddr::from).filter(may);
        let ipv6 = ipv6.map(SocketAddr::from).filter(may);
        if self.reach.prefers_ipv6 { ipv6.or(ipv4) } else { ipv4.or(ipv6) }
    }
}

/// A hop that is chosen, as far as others keep away from it.
pub struct Neighbour<'a> {
    hop: &'a Hop,
    /// Its row, if it has one.
    relay: Option<Relay<'a>>,
    /// Its operator says that it has relatives, without which there is nothing to look for.
    has_family: bool,
}

impl<'a> Neighbour<'a> {
    /// That hop, which need not be in the directory.
    pub fn new(hop: &'a Hop, dir: &'a NetDir) -> Neighbour<'a> {
        let relay = hop.ids.rsa.and_then(|id| dir.by_rsa_id(&id));
        let relay = relay.or_else(|| hop.ids.ed25519.and_then(|id| dir.by_ed25519_id(&id)));
        let has_family =
            relay.is_some_and(|relay| relay.listed_family().next().is_some() || !relay.family_ids().is_empty());
        Neighbour { hop, relay, has_family }
    }

    /// Whether a relay may not be on one path with it: it is the same, or of its subnet or its
    /// family.
    pub fn is_related(&self, relay: &Relay<'_>, dir: &NetDir, rules: &Rules<'_>) -> bool {
        self.is_same(relay)
            || (rules.are_subnets_distinct && self.is_near(relay))
            || self.relay.is_some_and(|own| {
                (self.has_family && dir.are_family(own.index(), relay.index())) || rules.wishes.are_family(&own, relay)
            })
    }

    fn is_same(&self, relay: &Relay<'_>) -> bool {
        let ids = &self.hop.ids;
        let index: Option<RelayIndex> = self.relay.map(|own| own.index());
        index == Some(relay.index())
            || ids.rsa == Some(relay.rsa_id())
            || (ids.ed25519.is_some() && ids.ed25519 == relay.ed25519_id())
    }

    fn is_near(&self, relay: &Relay<'_>) -> bool {
        let near = |ours: Option<IpAddr>, theirs: Option<IpAddr>| {
            ours.zip(theirs).is_some_and(|(ours, theirs)| are_near(ours, theirs))
        };
        let ipv6 = |address: Option<SocketAddrV6>| address.map(|address| IpAddr::V6(*address.ip()));
        near(self.hop.ipv4.map(|address| IpAddr::V4(*address.ip())), Some(IpAddr::V4(*relay.ipv4().ip())))
            || near(ipv6(self.hop.ipv6), ipv6(relay.ipv6()))
    }
}

/// Whether two addresses are of one subnet. C tor: `router_addrs_in_same_network`.
pub fn are_near(a: IpAddr, b: IpAddr) -> bool {
    if a.is_unspecified() || b.is_unspecified() {
        return false;
    }
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= SUBNET_V4,
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= SUBNET_V6,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
