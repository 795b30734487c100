//! Which ports will be wanted next: those that were wanted of late, so that circuits for them
//! can be there before they are asked for.
//!
//! Builds nothing. Called by `circuits.rs`. Spec: path-spec, "Circuits that are built
//! preemptively". C tor: feature/stats/predict_ports.c.

use core::time::Duration;
use std::collections::BTreeMap;
use std::collections::VecDeque;

use crate::base::random::{self, Entropy};
use crate::base::time::Tick;

/// The port that is expected before anybody asks, and by those who look names up. C tor's.
const USUAL: u16 = 80;
/// How many ports are remembered; ours.
const MAX_PORTS: usize = 64;
/// Circuits to keep ready for a port. C tor: `MIN_CIRCUITS_HANDLING_STREAM`.
const MIN_READY: usize = 2;
/// As many more are kept ready as were taken within this time; ours.
const RUSH: Duration = Duration::from_secs(10);
/// How many of those are counted; ours, no more are ever ready.
const MAX_TAKEN: usize = 14;

/// The ports of late.
#[derive(Clone, Debug, Default)]
pub struct Ports {
    last: BTreeMap<u16, Tick>,
    /// How long one is expected after it was wanted; drawn when none is.
    lifetime: Duration,
    /// When circuits that were ready were taken.
    taken: VecDeque<Tick>,
}

impl Ports {
    /// Before anybody has asked.
    pub fn begin(&mut self, lifetime: Duration, now: Tick, entropy: &mut dyn Entropy) {
        self.want(None, lifetime, now, entropy);
    }

    /// A port was wanted, or a name looked up. `lifetime` is the least time for which that
    /// counts; the time is drawn up to twice as long. C tor:
    /// `channelpadding_get_circuits_available_timeout`.
    pub fn want(&mut self, port: Option<u16>, lifetime: Duration, now: Tick, entropy: &mut dyn Entropy) {
        self.forget_old(now);
        if self.last.is_empty() {
            let span = u32::try_from(lifetime.as_millis()).unwrap_or(u32::MAX);
            self.lifetime = lifetime + Duration::from_millis(random::below(entropy, span).into());
        }
        let port = port.unwrap_or(USUAL);
        if self.last.len() >= MAX_PORTS && !self.last.contains_key(&port) {
            let oldest = self.last.iter().min_by_key(|(_, last)| **last).map(|(port, _)| *port);
            oldest.map(|port| self.last.remove(&port));
        }
        self.last.insert(port, now);
    }

    /// A port is not expected, until it is wanted again: nothing serves it.
    pub fn forget(&mut self, port: u16) {
        self.last.remove(&port);
    }

    /// A circuit that was ready for anybody is somebody's now.
    pub fn on_taken(&mut self, now: Tick) {
        if self.taken.len() >= MAX_TAKEN {
            self.taken.pop_front();
        }
        self.taken.push_back(now);
    }

    /// The ports that are expected.
    pub fn expected(&mut self, now: Tick) -> Vec<u16> {
        self.forget_old(now);
        self.last.keys().copied().collect()
    }

    /// How many circuits to keep ready for each.
    pub fn ready_for_each(&self, now: Tick) -> usize {
        MIN_READY + self.taken.iter().filter(|taken| now.since(**taken) < RUSH).count()
    }

    /// For how long circuits will be wanted yet.
    pub fn remaining(&self, now: Tick) -> Duration {
        let last = self.last.values().max().map_or(Tick::default(), |last| *last + self.lifetime);
        last.since(now)
    }

    fn forget_old(&mut self, now: Tick) {
        let lifetime = self.lifetime;
        self.last.retain(|_, last| *last + lifetime >= now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;

    const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

    fn at(secs: u64) -> Tick {
        Tick::new(Duration::from_secs(secs))
    }

    #[test]
    fn a_port_is_expected_for_half_an_hour_to_an_hour() {
        let mut ports = Ports::default();
        assert!(ports.expected(at(0)).is_empty() && ports.remaining(at(0)).is_zero());
        ports.begin(HALF_AN_HOUR, at(0), &mut Seeded(1));
        assert_eq!(ports.expected(at(1800)), [80]);
        ports.want(Some(443), HALF_AN_HOUR, at(1000), &mut Seeded(1));
        let lifetime = ports.lifetime;
        assert!((HALF_AN_HOUR..HALF_AN_HOUR * 2).contains(&lifetime), "{lifetime:?}");
        assert_eq!(ports.remaining(at(1000)), lifetime);
        let end = lifetime.as_secs() + 1;
        assert_eq!(ports.expected(at(end)), [443]);
        assert!(ports.expected(at(1001 + end)).is_empty());
    }

    #[test]
    fn what_is_taken_fast_is_kept_ready_in_greater_number() {
        let mut ports = Ports::default();
        assert_eq!(ports.ready_for_each(at(0)), 2);
        (0..100).for_each(|_| ports.on_taken(at(1)));
        assert_eq!((ports.ready_for_each(at(10)), ports.ready_for_each(at(11))), (16, 2));
    }

    #[test]
    fn so_many_ports_are_remembered() {
        let mut ports = Ports::default();
        (1..1000).for_each(|port| ports.want(Some(port), HALF_AN_HOUR, at(port.into()), &mut Seeded(1)));
        let expected = ports.expected(at(1000));
        assert_eq!((expected.len(), expected.first()), (MAX_PORTS, Some(&936)));
    }
}
