//! What lies between two places of the virtual network: how bytes travel, and whether at all.
//!
//! Values only; the bytes are `network.rs`'s, which calls this. Spec: none.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::network::RelayNo;

/// How bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// One way.
    pub latency: Duration,
    /// Up to this much more, drawn for each write; the order of bytes stays.
    pub jitter: Duration,
    /// Bytes a second; `None` is as fast as you like.
    pub bandwidth: Option<u64>,
}

impl Default for Weather {
    /// Ten milliseconds one way.
    fn default() -> Self {
        Weather { latency: Duration::from_millis(10), jitter: Duration::ZERO, bandwidth: None }
    }
}

impl Weather {
    /// Nothing in the way.
    const CALM: Weather = Weather { latency: Duration::ZERO, jitter: Duration::ZERO, bandwidth: None };

    /// One behind the other.
    fn and(self, other: Weather) -> Weather {
        Weather {
            latency: self.latency + other.latency,
            jitter: self.jitter + other.jitter,
            bandwidth: match (self.bandwidth, other.bandwidth) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }

    /// How long bytes take to leave.
    pub(super) fn transmission(&self, length: usize) -> Duration {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        self.bandwidth.map_or(Duration::ZERO, |per_second| {
            Duration::from_nanos(length.saturating_mul(1_000_000_000).checked_div(per_second).unwrap_or(u64::MAX))
        })
    }
}

/// One end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Where all scripts of a test are.
    Scripts,
    /// A relay.
    Relay(RelayNo),
}

impl From<RelayNo> for Place {
    fn from(relay: RelayNo) -> Self {
        Place::Relay(relay)
    }
}

/// The weather everywhere.
#[derive(Default)]
pub(super) struct Sky {
    /// At places; where none is said, as by default, and calm where the scripts are.
    over: BTreeMap<Place, Weather>,
    /// Between two places, in place of what each of them adds.
    between: BTreeMap<[Place; 2], Weather>,
    /// Those that only reach each other.
    parted: BTreeSet<Place>,
}

impl Sky {
    pub(super) fn set_over(&mut self, place: Place, weather: Weather) {
        self.over.insert(place, weather);
    }

    pub(super) fn set_between(&mut self, a: Place, b: Place, weather: Weather) {
        self.between.insert(pair(a, b), weather);
    }

    pub(super) fn part(&mut self, places: &[Place]) {
        self.parted = places.iter().copied().collect();
    }

    /// How bytes travel from one place to the other, and back.
    pub(super) fn path(&self, a: Place, b: Place) -> Weather {
        let between = self.between.get(&pair(a, b)).copied();
        between.unwrap_or_else(|| self.over(a).and(self.over(b)))
    }

    fn over(&self, place: Place) -> Weather {
        let usual = if place == Place::Scripts { Weather::CALM } else { Weather::default() };
        self.over.get(&place).copied().unwrap_or(usual)
    }

    pub(super) fn are_parted(&self, a: Place, b: Place) -> bool {
        self.parted.contains(&a) != self.parted.contains(&b)
    }
}

/// The same whichever comes first.
fn pair(a: Place, b: Place) -> [Place; 2] {
    [a.min(b), a.max(b)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Place = Place::Relay(RelayNo(1));
    const B: Place = Place::Relay(RelayNo(2));

    fn weather(millis: u64, bandwidth: Option<u64>) -> Weather {
        Weather { latency: Duration::from_millis(millis), jitter: Duration::from_millis(1), bandwidth }
    }

    #[test]
    fn both_ends_add_up_unless_something_is_said_of_the_two() {
        let mut sky = Sky::default();
        assert_eq!(sky.path(Place::Scripts, A), Weather::default());
        assert_eq!(sky.path(A, B).latency, Duration::from_millis(20));
        sky.set_over(A, weather(5, Some(300)));
        sky.set_over(B, weather(7, Some(200)));
        let both = Weather { jitter: Duration::from_millis(2), ..weather(12, Some(200)) };
        assert_eq!((sky.path(A, B), sky.path(B, A)), (both, both));
        sky.set_between(B, A, weather(100, None));
        assert_eq!(sky.path(A, B), weather(100, None));
        assert_eq!(sky.path(Place::Scripts, A), weather(5, Some(300)));
    }

    #[test]
    fn those_that_are_parted_reach_each_other() {
        let mut sky = Sky::default();
        assert!(!sky.are_parted(A, B));
        sky.part(&[A, Place::Scripts]);
        assert!(sky.are_parted(A, B) && sky.are_parted(B, A) && sky.are_parted(Place::Scripts, B));
        assert!(!sky.are_parted(A, Place::Scripts));
        sky.part(&[]);
        assert!(!sky.are_parted(A, B));
    }

    #[test]
    fn bytes_take_as_long_as_the_bandwidth_says() {
        assert_eq!(weather(0, Some(1000)).transmission(500), Duration::from_millis(500));
        assert_eq!(weather(0, None).transmission(500), Duration::ZERO);
        assert!(weather(0, Some(0)).transmission(1) > Duration::from_secs(86_400));
    }
}
