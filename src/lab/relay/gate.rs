//! How many circuits a relay lets one address open: what C tor's relays do against floods.
//!
//! A bucket for each address that is no relay's, filled every whole second. Who empties it is
//! refused for an hour, whatever comes. Opens and closes no circuit: `switch.rs` asks, for each
//! CREATE. Spec: param-spec, "DoSCircuitCreationRate". C tor: core/or/dos.c.
//!
//! Differs: C tor leaves alone whoever has fewer connections than
//! `DoSCircuitCreationMinConnections`; here a client that is over the limit at all is to show.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::base::time::{Now, Wall};

/// For how long nothing more is let in. C tor: `DOS_CC_DEFENSE_TIME_PERIOD_DEFAULT`, which it
/// draws up to half again.
const REFUSED_FOR: Duration = Duration::from_secs(3600);

/// The gate of one relay.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Circuits a second, and at once.
    rate: u64,
    burst: u64,
    /// Who may open as many as it likes.
    relays: BTreeSet<IpAddr>,
    clients: BTreeMap<IpAddr, Client>,
    refused: usize,
}

#[derive(Clone, Copy, Debug)]
struct Client {
    left: u64,
    filled: Wall,
    refused_until: Wall,
}

impl Gate {
    /// One that lets through as many, and all of these relays.
    pub fn new(rate: u64, burst: u64, relays: BTreeSet<IpAddr>) -> Gate {
        Gate { rate, burst, relays, clients: BTreeMap::new(), refused: 0 }
    }

    /// How many circuits were refused.
    pub fn refused(&self) -> usize {
        self.refused
    }

    /// Whether an address may open one circuit more.
    pub fn admits(&mut self, from: IpAddr, now: Now) -> bool {
        if self.relays.contains(&from) {
            return true;
        }
        // Whole seconds.
        let now = Wall::from_secs(now.wall.as_secs());
        let full = Client { left: self.burst, filled: now, refused_until: Wall::default() };
        let client = self.clients.entry(from).or_insert(full);
        let gained = now.since(client.filled).as_secs().saturating_mul(self.rate);
        client.left = client.left.saturating_add(gained).min(self.burst).saturating_sub(1);
        client.filled = now;
        if client.left == 0 {
            client.refused_until = now + REFUSED_FOR;
        }
        let is_refused = now < client.refused_until;
        self.refused += usize::from(is_refused);
        !is_refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Tick;

    const RELAY: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 1, 0, 1));
    const CLIENT: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1));

    fn at(secs: u64) -> Now {
        Now { tick: Tick::new(Duration::from_secs(secs)), wall: Wall::from_secs(1_000_000 + secs) }
    }

    #[test]
    fn the_last_of_a_burst_is_refused_and_all_that_follow() {
        let mut gate = Gate::new(2, 60, BTreeSet::from([RELAY]));
        assert_eq!((0..100).filter(|_| gate.admits(CLIENT, at(0))).count(), 59);
        assert_eq!(gate.refused(), 41);
        assert!(!gate.admits(CLIENT, at(3599)) && gate.admits(CLIENT, at(3600)));
        assert!((0..1000).all(|_| gate.admits(RELAY, at(0))));
        let mut gate = Gate::new(2, 60, BTreeSet::new());
        assert!((0..1000).all(|second| gate.admits(CLIENT, at(second)) && gate.admits(CLIENT, at(second))));
        assert!((0..1000).any(|_| !gate.admits(CLIENT, at(1000))));
    }
}
