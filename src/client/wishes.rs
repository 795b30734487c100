//! What the user says of relays, as paths and dials ask for it.
//!
//! Which may stand where, which are a family, and where a first hop may be dialled at. Asked by
//! `path` of each relay, and by `bootstrap/servers.rs` of directories. Spec: none. C tor:
//! `node_passes_guard_filter`, `choose_good_exit_server_general`, `reachable_addr_allows`.
//! Differs: as long as it is not known where a relay is, a list that names countries has it used
//! nowhere, be it a list of those wanted or of those excluded; C tor uses it if no file says where
//! anybody is.

use core::net::SocketAddr;

use crate::base::RsaId;
use crate::base::country::Country;
use crate::config::Config;
use crate::config::policy::Policy;
use crate::config::relays::{Named, Nodes, Relays};
use crate::config::values::Choice;
use crate::directory::Relay;
use crate::path::rules::{Place, Wishes};

/// The wishes of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserWishes {
    /// Where relays may be dialled at.
    pub firewall: Policy,
    /// Which relays may be in circuits.
    pub nodes: Nodes,
}

impl UserWishes {
    /// Those of a configuration.
    pub fn of(config: &Config) -> UserWishes {
        let mut nodes = config.nodes.clone();
        // C tor: `routerset_add_unknown_ccs`.
        for list in [&mut nodes.excluded, &mut nodes.excluded_exits] {
            let is_added = match config.countries.excludes_unknown {
                Choice::Yes => true,
                Choice::No => false,
                Choice::Auto => list.has_countries(),
            };
            if is_added {
                list.add_country(Country::UNKNOWN);
                list.add_country(Country::ANONYMOUS);
            }
        }
        UserWishes { firewall: config.links.firewall.clone(), nodes }
    }

    /// Whether it must be known where relays are.
    pub fn need_countries(&self) -> bool {
        self.nodes.lists().any(Relays::has_countries)
    }

    /// Whether somebody may name a relay as the exit.
    pub fn may_be_named(&self, relay: &Relay<'_>) -> bool {
        let is_excluded = |list: &Relays| list.contain(&named(relay)).unwrap_or(true);
        let Nodes { excluded, excluded_exits, is_strict, .. } = &self.nodes;
        !(is_excluded(excluded_exits) || *is_strict && is_excluded(excluded))
    }

    /// Whether a directory, of which there is only this to know, is excluded.
    pub fn exclude_directory(&self, id: RsaId, addresses: [Option<SocketAddr>; 2]) -> bool {
        // Where it is cannot be said before there is a consensus.
        self.nodes.excluded.contain(&Named { id, name: None, addresses, country: None }) == Some(true)
    }
}

impl Wishes for UserWishes {
    fn allows(&self, relay: &Relay<'_>, place: Place) -> bool {
        let relay = named(relay);
        let is_excluded = |list: &Relays| list.contain(&relay).unwrap_or(true);
        let is_wanted = |list: &Relays| list.is_empty() || list.contain(&relay).unwrap_or(false);
        !is_excluded(&self.nodes.excluded)
            && match place {
                Place::Guard => is_wanted(&self.nodes.entries),
                Place::Middle => is_wanted(&self.nodes.middles),
                Place::Exit => !is_excluded(&self.nodes.excluded_exits) && is_wanted(&self.nodes.exits),
                Place::Inner => true,
            }
    }

    fn are_few(&self, place: Place) -> bool {
        !match place {
            Place::Guard => self.nodes.entries.is_empty(),
            Place::Middle => self.nodes.middles.is_empty(),
            Place::Exit => self.nodes.exits.is_empty(),
            Place::Inner => true,
        }
    }

    fn are_family(&self, a: &Relay<'_>, b: &Relay<'_>) -> bool {
        let is_in = |list: &Relays, relay| list.contain(&named(relay)).unwrap_or(true);
        self.nodes.families.iter().any(|family| is_in(family, a) && is_in(family, b))
    }

    fn may_connect(&self, to: SocketAddr) -> bool {
        self.firewall.accepts(to.ip(), to.port())
    }
}

fn named<'a>(relay: &Relay<'a>) -> Named<'a> {
    let addresses = [Some(relay.ipv4().into()), relay.ipv6().map(Into::into)];
    Named { id: relay.rsa_id(), name: Some(relay.nickname()), addresses, country: relay.country() }
}
