//! Which exit a host was asked by last, for hosts that mind who asks.
//!
//! Remembers for a while, and forgets an exit that fails too often; decides nothing about
//! circuits. Called by `requests.rs` and `upkeep.rs`. Spec: tor(1), "TrackHostExits". C tor:
//! `consider_recording_trackhost` in core/or/circuituse.c, and `TRACKHOSTEXITS_RETRIES`.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::base::RsaId;
use crate::base::time::Tick;

/// The most hosts of which an exit is known; ours. What is oldest goes first.
const MAX_TRACKS: usize = 4096;
/// So many circuits are begun to an exit before another is taken. C tor's.
pub const RETRIES: u32 = 5;

/// Which exit each host is asked by.
#[derive(Debug, Default)]
pub struct Tracks(BTreeMap<String, (RsaId, Tick)>);

impl Tracks {
    /// Who is to be asked again.
    pub fn get(&self, host: &str, now: Tick) -> Option<RsaId> {
        self.0.get(host).filter(|(_, until)| now < *until).map(|(exit, _)| *exit)
    }

    /// A host is being asked by an exit. If one was known for it, that stays, and is known for
    /// longer.
    pub fn note(&mut self, host: &str, exit: RsaId, expire: Duration, now: Tick) {
        if self.0.len() >= MAX_TRACKS && !self.0.contains_key(host) {
            let oldest = self.0.iter().min_by_key(|(_, (_, until))| *until).map(|(host, _)| host.clone());
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        let (known, until) = self.0.entry(host.to_owned()).or_insert((exit, now));
        if *until <= now {
            *known = exit;
        }
        *until = now + expire;
    }

    /// An exit is no good any more.
    pub fn forget(&mut self, exit: &RsaId) {
        self.0.retain(|_, (known, _)| known != exit);
    }

    /// "New identity" was said, or the user wants other relays.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Whether a host is one that the user has named: as it is, or `.example.com` for all that end so,
/// or `.` for all there are.
pub fn is_tracked(named: &[String], host: &str) -> bool {
    named.iter().any(|name| match name.strip_prefix('.') {
        None => name == host,
        Some("") => true,
        Some(bare) => host == bare || host.ends_with(name.as_str()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn exit(number: u8) -> RsaId {
        RsaId([number; 20])
    }

    #[test]
    fn an_exit_is_known_for_a_while_from_its_last_use() {
        let mut tracks = Tracks::default();
        let at = |hours: u32| Tick::new(HOUR * hours);
        tracks.note("a", exit(1), HOUR * 2, at(0));
        tracks.note("a", exit(2), HOUR * 2, at(1));
        assert_eq!(
            (tracks.get("a", at(2)), tracks.get("a", at(3)), tracks.get("b", at(0))),
            (Some(exit(1)), None, None)
        );
        tracks.note("a", exit(2), HOUR * 2, at(4));
        assert_eq!(tracks.get("a", at(5)), Some(exit(2)));
        tracks.forget(&exit(2));
        assert_eq!(tracks.get("a", at(5)), None);
    }

    #[test]
    fn the_oldest_goes_first() {
        let mut tracks = Tracks::default();
        for number in 0..=MAX_TRACKS {
            tracks.note(
                &number.to_string(),
                exit(1),
                HOUR,
                Tick::new(Duration::from_millis(u64::try_from(number).unwrap())),
            );
        }
        let now = Tick::default();
        assert!(tracks.0.len() == MAX_TRACKS && tracks.get("0", now).is_none() && tracks.get("1", now).is_some());
    }

    #[test]
    fn hosts_are_named_alone_or_by_what_they_end_in() {
        let named = |names: &str, host| is_tracked(&names.split(',').map(str::to_owned).collect::<Vec<_>>(), host);
        for (names, host, expected) in [
            ("example.com", "example.com", true),
            ("example.com", "www.example.com", false),
            (".example.com", "www.example.com", true),
            (".example.com", "example.com", true),
            (".example.com", "notexample.com", false),
            ("x,.", "anything", true),
            ("x", "anything", false),
        ] {
            assert_eq!(named(names, host), expected, "{names} {host}");
        }
    }
}
