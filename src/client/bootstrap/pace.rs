//! When to ask again what was asked for in vain.
//!
//! Each kind of document has a pace of its own, whoever was asked; and there is one for all,
//! for when nobody can be reached. Not who rests because he failed (`directory/download.rs`).
//! Called by `bootstrap.rs`. Spec: dir-spec, "Retrying failed downloads". C tor:
//! `download_status_t`, feature/dirclient/dlstatus.c.

use core::time::Duration;

use crate::base::random::Entropy;
use crate::base::time::Tick;
use crate::directory::download::Backoff;

/// So many failures in a row, and then pauses, each drawn up to three times as long as the one
/// before, until one is `most`.
#[derive(Debug)]
pub(super) struct Pace {
    free: u32,
    most: Duration,
    failures: u32,
    backoff: Backoff,
    until: Option<Tick>,
}

impl Pace {
    pub(super) fn new(free: u32, most: Duration) -> Pace {
        Pace { free, most, failures: 0, backoff: Backoff::new(Duration::ZERO), until: None }
    }

    /// How many failed in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// An attempt was in vain.
    pub(super) fn on_failure(&mut self, now: Tick, entropy: &mut dyn Entropy) {
        self.failures = self.failures.saturating_add(1);
        if self.failures > self.free {
            self.until = Some(now + self.backoff.next_delay(entropy).min(self.most));
        }
    }

    /// An attempt was not, or there is reason to hope.
    pub(super) fn on_success(&mut self) {
        (self.failures, self.until) = (0, None);
        self.backoff.reset();
    }

    /// Whether it is no time for another.
    pub(super) fn rests(&self, now: Tick) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// When it will be, if it is not now.
    pub(super) fn next_deadline(&self, now: Tick) -> Option<Tick> {
        self.until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;

    #[test]
    fn pauses_grow_after_a_few_failures_and_end_with_a_success() {
        let most = Duration::from_secs(60);
        let (mut pace, mut entropy, mut now) = (Pace::new(2, most), Seeded(1), Tick::default());
        for _ in 0..2 {
            pace.on_failure(now, &mut entropy);
            assert!(!pace.rests(now) && pace.next_deadline(now).is_none());
        }
        let mut longest = Duration::ZERO;
        for _ in 0..30 {
            pace.on_failure(now, &mut entropy);
            let until = pace.next_deadline(now).unwrap();
            assert!(pace.rests(now) && !pace.rests(until) && pace.next_deadline(until).is_none());
            assert!(until.since(now) >= Duration::from_secs(1) && until.since(now) <= most);
            (longest, now) = (longest.max(until.since(now)), until);
        }
        assert_eq!((longest, pace.failures()), (most, 32));
        pace.on_success();
        pace.on_failure(now, &mut entropy);
        assert!(!pace.rests(now));
    }
}
