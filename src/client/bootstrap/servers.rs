//! Whom to ask for the directory before there are guards: fallbacks and authorities, which of
//! them may be asked now, and at which of their addresses.
//!
//! Not when to ask (`pace.rs`), nor what. Called by `bootstrap.rs`. Spec: dir-spec, "Client
//! operation". C tor: `router_pick_dirserver_generic` in feature/nodelist/node_select.c;
//! feature/nodelist/dirlist.c.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;

use super::Wish;
use crate::base::random::{self, Entropy};
use crate::base::time::Tick;
use crate::base::{RelayIds, RsaId};
use crate::client::links::Goal;
use crate::client::wishes::UserWishes;
use crate::directory::authorities::{self, Authority, Fallback};
use crate::directory::download::Directories;
use crate::path::rules::{Reach, Rules};

/// How often a fallback is drawn, for the rate of authorities to be a part of.
const WHOLE: f64 = 1000.0;

/// How directories are to be asked. Unlike [`Wish`], it may change at any time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asking {
    /// Which addresses we may connect to.
    pub reach: Reach,
    /// And which of them the user lets us.
    pub wishes: UserWishes,
    /// How long a directory may say nothing.
    pub max_stall: Duration,
    /// How long to collect microdescriptors before asking for few.
    pub max_wait_for_few: Duration,
    /// Which share of all paths must be known; none leaves it to the consensus.
    pub paths_needed: Option<f64>,
    /// How often an authority is drawn, for a fallback that is drawn once.
    pub authority_rate: f64,
    /// For the first consensus: when authorities are asked on purpose, beside fallbacks.
    pub authority_delay: Duration,
    /// When they are, without fallbacks.
    pub authority_only_delay: Duration,
    /// When fallbacks are.
    pub fallback_delay: Duration,
    /// How many may be asked for it at once.
    pub max_tries: usize,
}

/// Among whom to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Among {
    /// Fallbacks, and authorities as often as the user says.
    All,
    /// Authorities.
    Authorities,
}

/// Who there is, and how they have fared.
pub(super) struct Servers {
    authorities: Vec<Authority>,
    trusted: Vec<RsaId>,
    fallbacks: Vec<Fallback>,
    pub(super) directories: Directories,
}

impl Servers {
    /// C tor: whoever names authorities or fallbacks gets none of those that are built in.
    pub(super) fn new(wish: &Wish) -> Servers {
        let is_default = wish.authorities.is_empty();
        let authorities = if is_default { authorities::built_in() } else { wish.authorities.clone() };
        let uses_built_in = is_default && wish.fallbacks.is_empty() && wish.uses_default_fallbacks;
        let fallbacks =
            if uses_built_in { authorities::built_in_fallbacks().collect() } else { wish.fallbacks.clone() };
        let trusted = authorities::v3_identities(&authorities);
        Servers { authorities, trusted, fallbacks, directories: Directories::default() }
    }

    /// Who signs consensuses.
    pub(super) fn trusted(&self) -> &[RsaId] {
        &self.trusted
    }

    pub(super) fn has_fallbacks(&self) -> bool {
        !self.fallbacks.is_empty()
    }

    pub(super) fn is_authority(&self, ids: &RelayIds) -> bool {
        self.authorities.iter().any(|authority| Some(authority.rsa) == ids.rsa)
    }

    pub(super) fn is_fallback(&self, ids: &RelayIds) -> bool {
        self.fallbacks.iter().any(|fallback| fallback.ids.rsa == ids.rsa)
    }

    /// Somebody to ask, if anybody may be asked now.
    pub(super) fn draw(
        &self,
        among: Among,
        for_microdescs: bool,
        avoided: &BTreeSet<RsaId>,
        asking: &Asking,
        now: Tick,
        entropy: &mut dyn Entropy,
    ) -> Option<Goal> {
        let may_ask = |(goal, _): &(Goal, u32)| {
            let id = goal.ids.rsa.filter(|id| !avoided.contains(id));
            id.is_some_and(|id| self.directories.may_ask(&id, for_microdescs, now))
        };
        let mut all: Vec<(Goal, u32)> = self.weighted(among, asking).into_iter().filter(may_ask).collect();
        let mut drawn = random::below(entropy, all.iter().map(|(_, weight)| weight).sum());
        let place = all.iter().position(|(_, weight)| match drawn.checked_sub(*weight) {
            Some(rest) => (drawn = rest, false).1,
            None => true,
        });
        place.map(|place| all.swap_remove(place).0)
    }

    /// The one with that identity, if it may be asked now.
    pub(super) fn find(&self, id: RsaId, asking: &Asking, now: Tick) -> Option<Goal> {
        let mut all = self.weighted(Among::All, asking).into_iter().map(|(goal, _)| goal);
        all.find(|goal| goal.ids.rsa == Some(id)).filter(|_| self.directories.may_ask(&id, false, now))
    }

    /// Whether the user excludes all who could be asked.
    pub(super) fn are_all_excluded(&self, asking: &Asking) -> bool {
        self.weighted(Among::All, asking).is_empty() && self.reachable(Among::All, asking).next().is_some()
    }

    /// All that may be asked at some time, and how often each is drawn. C tor: those that the user
    /// excludes are asked where there is nobody else, unless that is strict.
    fn weighted(&self, among: Among, asking: &Asking) -> Vec<(Goal, u32)> {
        let wishes = &asking.wishes;
        let is_excluded = |(goal, _): &(Goal, u32)| {
            let addresses = [0, 1].map(|at| goal.addresses.get(at).copied());
            goal.ids.rsa.is_some_and(|id| wishes.exclude_directory(id, addresses))
        };
        let (excluded, others): (Vec<_>, Vec<_>) = self.reachable(among, asking).partition(is_excluded);
        if others.is_empty() && !wishes.nodes.is_strict { excluded } else { others }
    }

    /// All that can be connected to, and how often each is drawn.
    fn reachable<'a>(&'a self, among: Among, asking: &'a Asking) -> impl Iterator<Item = (Goal, u32)> + 'a {
        let are_alone = among == Among::Authorities || self.fallbacks.is_empty();
        let rate = if are_alone { 1.0 } else { asking.authority_rate.clamp(0.0, WHOLE) };
        let fallbacks = self.fallbacks.iter().filter(move |_| !are_alone).map(|fallback| {
            let addresses = [Some(fallback.address), fallback.ipv6.map(Into::into)];
            (fallback.ids, addresses, 1.0)
        });
        let authorities = self.authorities.iter().filter(|authority| !authority.is_bridge);
        let authorities = authorities.filter_map(move |authority| {
            let ipv4 = SocketAddr::new((*authority.ipv4.ip()).into(), authority.or_port?);
            let ids = RelayIds { rsa: Some(authority.rsa), ed25519: None };
            Some((ids, [Some(ipv4), authority.ipv6.map(Into::into)], rate))
        });
        fallbacks.chain(authorities).filter_map(move |(ids, addresses, rate)| {
            let addresses = reached(addresses.into_iter().flatten(), asking);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a million")]
            let weight = (rate * WHOLE) as u32;
            (!addresses.is_empty()).then(|| (Goal::direct(ids, addresses), weight))
        })
    }
}

/// Those of its addresses by which a directory may be reached, the better first.
fn reached(addresses: impl Iterator<Item = SocketAddr>, asking: &Asking) -> Vec<SocketAddr> {
    let rules = Rules { reach: asking.reach, wishes: &asking.wishes, ..Rules::default() };
    let mut may: Vec<SocketAddr> = addresses.filter(|address| rules.may_connect(*address)).collect();
    may.sort_by_key(|address| address.is_ipv6() != asking.reach.prefers_ipv6);
    may
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::random::Seeded;
    use crate::config::policy::Policy;
    use crate::config::relays::{Nodes, Relays};

    const ASKING: Asking = Asking {
        reach: Reach { ipv4: true, ipv6: true, prefers_ipv6: false },
        wishes: UserWishes { firewall: Policy::ALL, nodes: Nodes::ALL },
        max_stall: Duration::ZERO,
        max_wait_for_few: Duration::ZERO,
        paths_needed: None,
        authority_rate: 0.1,
        authority_delay: Duration::ZERO,
        authority_only_delay: Duration::ZERO,
        fallback_delay: Duration::ZERO,
        max_tries: 3,
    };

    fn servers(fallbacks: u8) -> Servers {
        let line = format!("a orport=1 v3ident={} ipv6=[2001:db8::1]:2 127.0.0.1:1 {}", "A".repeat(40), "B".repeat(40));
        let fallback = |n: u8| format!("192.0.2.{n}:1 orport=3 id={:040X} ipv6=[2001:db8::{n}]:4", n);
        Servers::new(&Wish {
            authorities: vec![Authority::parse(&line).unwrap()],
            fallbacks: (1..=fallbacks).map(|n| Fallback::parse(&fallback(n)).unwrap()).collect(),
            ..Wish::default()
        })
    }

    /// How often each was drawn, by its first address.
    fn drawn(servers: &Servers, among: Among, asking: &Asking) -> BTreeMap<String, u32> {
        let mut drawn = BTreeMap::new();
        for seed in 0..1000 {
            let goal = servers.draw(among, false, &BTreeSet::new(), asking, Tick::default(), &mut Seeded(seed * 7919));
            if let Some(goal) = goal {
                *drawn.entry(goal.addresses[0].to_string()).or_default() += 1;
            }
        }
        drawn
    }

    #[test]
    fn authorities_are_drawn_as_often_as_the_user_says() {
        let both = drawn(&servers(1), Among::All, &ASKING);
        assert!((50..150).contains(&both["127.0.0.1:1"]) && both["192.0.2.1:3"] > 800, "{both:?}");
        assert_eq!(drawn(&servers(1), Among::All, &Asking { authority_rate: 0.0, ..ASKING })["192.0.2.1:3"], 1000);
        for (servers, among) in [(servers(1), Among::Authorities), (servers(0), Among::All)] {
            assert_eq!(drawn(&servers, among, &ASKING), BTreeMap::from([("127.0.0.1:1".to_owned(), 1000)]));
        }
    }

    #[test]
    fn directories_are_reached_as_guards_are() {
        let reach = |ipv4, ipv6, prefers_ipv6| Asking { reach: Reach { ipv4, ipv6, prefers_ipv6 }, ..ASKING };
        let addresses = |asking: &Asking, among| {
            let goal = servers(1).draw(among, false, &BTreeSet::new(), asking, Tick::default(), &mut Seeded(2));
            goal.map(|goal| goal.addresses.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        for (among, ipv4, ipv6) in
            [(Among::Authorities, "127.0.0.1:1", "[2001:db8::1]:2"), (Among::All, "192.0.2.1:3", "[2001:db8::1]:4")]
        {
            let asking = |asking| Asking { authority_rate: 0.0, ..asking };
            let said = |asking| addresses(&asking, among).unwrap_or_default();
            assert_eq!(said(asking(reach(true, true, false))), [ipv4, ipv6]);
            assert_eq!(said(asking(reach(true, true, true))), [ipv6, ipv4]);
            assert_eq!(said(asking(reach(false, true, false))), [ipv6]);
            assert_eq!(said(asking(reach(true, false, true))), [ipv4]);
            assert_eq!(addresses(&asking(reach(false, false, false)), among), None);
        }
    }

    #[test]
    fn built_in_places_are_asked_unless_the_user_says_otherwise() {
        for (uses_default_fallbacks, authorities, expected) in [(true, 0, true), (false, 0, false), (true, 1, false)] {
            let authorities = servers(0).authorities.into_iter().take(authorities).collect();
            let wish = Wish { uses_default_fallbacks, authorities, ..Wish::default() };
            assert_eq!(Servers::new(&wish).has_fallbacks(), expected);
        }
    }

    #[test]
    fn who_is_excluded_is_asked_where_there_is_nobody_else_unless_that_is_strict() {
        let asking = |list: &str, is_strict| {
            let mut excluded = Relays::NONE;
            excluded.add(list).unwrap();
            let wishes = UserWishes { nodes: Nodes { excluded, is_strict, ..Nodes::ALL }, firewall: Policy::ALL };
            Asking { wishes, authority_rate: 0.0, ..ASKING }
        };
        let first = format!("{:040X}", 1);
        for (list, is_strict, expected) in [
            (first.as_str(), false, &["192.0.2.2:3"][..]),
            ("192.0.2.2", true, &["192.0.2.1:3"]),
            ("192.0.2.0/24", false, &["127.0.0.1:1"]),
            ("192.0.2.0/24", true, &["127.0.0.1:1"]),
            ("*", true, &[]),
            ("{de}", true, &["192.0.2.1:3", "192.0.2.2:3"]),
        ] {
            // Authorities are asked as well where they are to be.
            let rate = if expected.contains(&"127.0.0.1:1") { 1.0 } else { 0.0 };
            let asking = Asking { authority_rate: rate, ..asking(list, is_strict) };
            let all: Vec<String> = drawn(&servers(2), Among::All, &asking).into_keys().collect();
            assert_eq!(all, expected, "{list} {is_strict}");
        }
        let only_excluded =
            |is_strict| drawn(&servers(2), Among::All, &asking("192.0.2.0/24,127.0.0.1", is_strict)).len();
        assert_eq!((only_excluded(false), only_excluded(true)), (2, 0));
    }

    #[test]
    fn who_is_avoided_or_rests_is_not_drawn() {
        let mut servers = servers(2);
        let ids = [1, 2].map(|n| RsaId([[0; 19].as_slice(), &[n]].concat().try_into().unwrap()));
        let asking = Asking { authority_rate: 0.0, ..ASKING };
        let draw = |servers: &Servers, avoided: &[RsaId]| {
            let avoided = avoided.iter().copied().collect();
            servers.draw(Among::All, false, &avoided, &asking, Tick::default(), &mut Seeded(3))?.ids.rsa
        };
        assert_eq!(draw(&servers, &ids[..1]), Some(ids[1]));
        servers.directories.on_failure(ids[1], Tick::default(), &mut Seeded(4));
        assert_eq!((draw(&servers, &ids[..1]), draw(&servers, &[])), (None, Some(ids[0])));
        assert_eq!(servers.find(ids[1], &asking, Tick::default()), None);
        assert_eq!(servers.find(ids[0], &asking, Tick::default()).unwrap().ids.rsa, Some(ids[0]));
    }
}
