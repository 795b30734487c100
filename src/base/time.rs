//! Time as a value: [`Now`] is read once at the edge and handed down.
//!
//! Reads no clock and waits for nothing. Monotonic time (timers, round trips) and wall
//! time (certificates, consensuses) are different types, so that a stepped wall clock can
//! never fire a timer. Called by every machine.

use core::ops::{Add, Sub};
use core::time::Duration;

/// Monotonic time since a start that only the edge knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(Duration);

/// Wall-clock time since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(Duration);

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For timers and durations.
    pub tick: Tick,
    /// For dates.
    pub wall: Wall,
}

impl Tick {
    /// The time `since_start` after the start.
    pub fn new(since_start: Duration) -> Self {
        Tick(since_start)
    }

    /// How long after `earlier`; zero if it is not later.
    pub fn since(self, earlier: Tick) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Wall {
    /// The date `since_epoch` after 1970-01-01 00:00 UTC.
    pub fn new(since_epoch: Duration) -> Self {
        Wall(since_epoch)
    }

    /// The date given in seconds after the epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Wall(Duration::from_secs(secs))
    }

    /// Whole seconds after the epoch.
    pub fn as_secs(self) -> u64 {
        self.0.as_secs()
    }

    /// How long after `earlier`; zero if it is not later.
    pub fn since(self, earlier: Wall) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Now {
    /// The same moment plus `step` on both clocks.
    #[must_use]
    pub fn plus(self, step: Duration) -> Now {
        Now { tick: self.tick + step, wall: self.wall + step }
    }
}

impl Add<Duration> for Tick {
    type Output = Tick;

    fn add(self, step: Duration) -> Tick {
        Tick(self.0.saturating_add(step))
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;

    fn add(self, step: Duration) -> Wall {
        Wall(self.0.saturating_add(step))
    }
}

impl Sub<Duration> for Wall {
    type Output = Wall;

    fn sub(self, step: Duration) -> Wall {
        Wall(self.0.saturating_sub(step))
    }
}

/// The earlier of two deadlines, either of which may be absent.
pub fn earlier(a: Option<Tick>, b: Option<Tick>) -> Option<Tick> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_instead_of_panicking() {
        let end = Tick::new(Duration::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(Tick::default().since(end), Duration::ZERO);
        assert_eq!(Wall::from_secs(1) - Duration::from_secs(2), Wall::default());
    }

    #[test]
    fn the_earlier_deadline_wins() {
        let (one, two) = (Tick::new(Duration::from_secs(1)), Tick::new(Duration::from_secs(2)));
        assert_eq!(earlier(Some(two), Some(one)), Some(one));
        assert_eq!(earlier(None, Some(one)), Some(one));
        assert_eq!(earlier(None, None), None);
    }
}
