//! The heartbeat: now and then, how long we have run, and how much we have carried.
//!
//! Counts, and says when it is time; `driver.rs` writes the line. Names nobody. Called by that.
//! Spec: none. C tor: `log_heartbeat` in core/or/status.c.

use core::cell::Cell;
use core::fmt;
use core::time::Duration;

use tokio::sync::Notify;

/// When it beats, and what it knows.
#[derive(Default)]
pub struct Heart {
    period: Cell<Option<Duration>>,
    changed: Notify,
    sent: Cell<u64>,
    received: Cell<u64>,
}

impl Heart {
    /// It beats so often from now on, if at all.
    pub fn set_period(&self, period: Option<Duration>) {
        if self.period.replace(period) != period {
            self.changed.notify_one();
        }
    }

    /// So many bytes went out.
    pub fn on_sent(&self, bytes: usize) {
        count(&self.sent, bytes);
    }

    /// So many bytes came in.
    pub fn on_received(&self, bytes: usize) {
        count(&self.received, bytes);
    }

    /// Until the next beat.
    pub async fn beat(&self) {
        loop {
            let due = async {
                match self.period.get() {
                    Some(period) => tokio::time::sleep(period).await,
                    None => core::future::pending().await,
                }
            };
            tokio::select! {
                () = due => return,
                () = self.changed.notified() => {}
            }
        }
    }

    /// What there is to say.
    pub fn words(&self, uptime: Duration, circuits: usize) -> String {
        let (sent, received) = (Amount(self.sent.get()), Amount(self.received.get()));
        let (days, hours, minutes) =
            (uptime.as_secs() / 86_400, uptime.as_secs() / 3600 % 24, uptime.as_secs() / 60 % 60);
        let days = match days {
            0 => String::new(),
            1 => "1 day ".to_owned(),
            days => format!("{days} days "),
        };
        format!(
            "Heartbeat: Tor's uptime is {days}{hours}:{minutes:02} hours, with {circuits} circuits open. I've sent \
             {sent} and received {received}."
        )
    }
}

fn count(counter: &Cell<u64>, bytes: usize) {
    counter.set(counter.get().saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX)));
}

/// Bytes in the unit that C tor takes.
struct Amount(u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = |unit: u32| {
            let whole = self.0 >> unit;
            let rest = ((self.0 & ((1 << unit) - 1)) * 100) >> unit;
            format!("{whole}.{rest:02}")
        };
        match self.0 {
            0..0x10_0000 => write!(f, "{} kB", self.0 >> 10),
            0x10_0000..0x4000_0000 => write!(f, "{} MB", hundredths(20)),
            _ => write!(f, "{} GB", hundredths(30)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::runtime::executor;
    use super::*;

    /// The words are those of C tor 0.4.9, as far as there is something to say.
    #[test]
    fn a_heartbeat_says_how_it_goes() {
        let heart = Heart::default();
        let words = heart.words(Duration::from_secs(59), 3);
        assert_eq!(
            words,
            "Heartbeat: Tor's uptime is 0:00 hours, with 3 circuits open. I've sent 0 kB and received 0 kB."
        );
        heart.on_sent(3 << 19);
        heart.on_received(1023);
        heart.on_received((5 << 30) - 1023);
        let words = heart.words(Duration::from_secs(2 * 86_400 + 3 * 3600 + 240), 0);
        assert!(
            words.contains("is 2 days 3:04 hours") && words.contains("sent 1.50 MB and received 5.00 GB."),
            "{words}"
        );
    }

    #[test]
    fn a_heart_beats_as_often_as_the_user_wants() {
        executor().unwrap().block_on(async {
            let heart = Heart::default();
            let within = |millis| tokio::time::timeout(Duration::from_millis(millis), heart.beat());
            assert!(within(20).await.is_err(), "nobody wants it to");
            heart.set_period(Some(Duration::from_secs(3600)));
            assert!(within(20).await.is_err(), "an hour is longer");
            heart.set_period(Some(Duration::from_millis(5)));
            assert!(within(20_000).await.is_ok());
            assert!(within(20_000).await.is_ok());
        });
    }
}
