//! Where relays may be dialled at, by whoever is behind a firewall.
//!
//! Its options, as one policy; what it is asked of is `client/wishes.rs`'s. Called by `mod.rs`.
//! Spec: tor(1). C tor: `parse_reachable_addresses` in core/or/policies.c, `options_validate_cb` in
//! app/config/config.c.
//! Differs: `ReachableDirAddresses` alone says nothing of relays; to C tor it says that none may be
//! dialled.

use super::policy::Policy;
use super::{Complaint, Given, Reader, built_in};

/// Where relays are that are behind no odd port. C tor: what `FascistFirewall` alone means.
const USUAL: &str = "*:443";

impl Reader<'_> {
    /// Everywhere, unless the user says otherwise.
    pub(super) fn firewall(&mut self) -> Result<Policy, Complaint> {
        let (name, given) = self.reachable()?;
        let mut policy = Policy::default();
        for given in &given {
            let added = policy.add_places(&given.value);
            self.check(name, given, added)?;
        }
        if let Some(last) = given.last() {
            let closed = policy.add("reject *:*");
            self.check(name, last, closed)?;
        }
        Ok(policy)
    }

    /// What says where, and of which option it is. C tor: what is said of relays alone goes before
    /// what is said of directories too.
    fn reachable(&mut self) -> Result<(&'static str, Vec<Given>), Complaint> {
        for name in ["ReachableORAddresses", "ReachableAddresses"] {
            let given = self.settings.given(name);
            if !given.is_empty() {
                return Ok((name, given.to_vec()));
            }
        }
        if !self.truth("FascistFirewall")? {
            return Ok(("ReachableAddresses", Vec::new()));
        }
        let ports = self.port_numbers("FirewallPorts")?;
        let places: Vec<String> = ports.iter().map(|port| format!("*:{port}")).collect();
        let places = if places.is_empty() { USUAL.to_owned() } else { places.join(",") };
        Ok(("FirewallPorts", vec![built_in(&places)]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Settings};
    use super::*;

    fn firewall(text: &str) -> Result<Policy, String> {
        let mut settings = Settings::new();
        settings.add_text("torrc", text).unwrap();
        Config::of(&settings).map(|(config, _)| config.links.firewall).map_err(|complaint| complaint.to_string())
    }

    #[test]
    fn relays_may_be_dialled_where_the_user_says() {
        for (text, yes, no) in [
            ("", &["192.0.2.1:1", "[2001:db8::1]:9001"][..], &[][..]),
            ("FascistFirewall 1", &["192.0.2.1:443", "[2001:db8::1]:443"], &["192.0.2.1:80", "192.0.2.1:9001"]),
            ("FascistFirewall 1\nFirewallPorts 80,9001", &["192.0.2.1:80", "192.0.2.1:9001"], &["192.0.2.1:443"]),
            ("FirewallPorts 80", &["192.0.2.1:443"], &[]),
            ("ReachableAddresses 192.0.2.0/24:9001", &["192.0.2.1:9001"], &["192.0.2.1:1", "198.51.100.1:9001"]),
            (
                "ReachableAddresses reject 192.0.2.1, accept *:443\nReachableAddresses 198.51.100.0/24",
                &["192.0.2.2:443", "198.51.100.1:5"],
                &["192.0.2.1:443", "192.0.2.2:80"],
            ),
            ("ReachableAddresses *:80\nReachableORAddresses *:90", &["192.0.2.1:90"], &["192.0.2.1:80"]),
            ("ReachableAddresses *:80\nFascistFirewall 1", &["192.0.2.1:80"], &["192.0.2.1:443"]),
            ("ReachableDirAddresses *:80", &["192.0.2.1:443"], &[]),
        ] {
            let policy = firewall(text).unwrap();
            let accepts = |address: &str| {
                let address: core::net::SocketAddr = address.parse().unwrap();
                policy.accepts(address.ip(), address.port())
            };
            assert!(yes.iter().all(|address| accepts(address)), "{text}");
            assert!(!no.iter().any(|address| accepts(address)), "{text}");
        }
        assert!(
            firewall("ReachableAddresses nonsense:x").unwrap_err().starts_with("torrc:1: ReachableAddresses wants")
        );
    }
}
