//! What the user says of relays, as paths and dials ask for it.
//!
//! Says where a first hop may be dialled at; lists of relays will be here too. Asked by `path` of
//! each relay, and by `bootstrap/servers.rs` of directories. Spec: none. C tor: core/or/policies.c,
//! `reachable_addr_allows`.

use core::net::SocketAddr;

use crate::config::policy::Policy;
use crate::path::rules::Wishes;

/// The wishes of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserWishes {
    /// Where relays may be dialled at.
    pub firewall: Policy,
}

impl Wishes for UserWishes {
    fn may_connect(&self, to: SocketAddr) -> bool {
        self.firewall.accepts(to.ip(), to.port())
    }
}
