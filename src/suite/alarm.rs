//! Wakes whoever is to do something at a given moment, to a tenth of a thousandth of a second.
//!
//! The executor's timers know thousandths of a second, which is as long as some of what is measured
//! from such a moment takes; so a thread waits instead. Called by `load.rs` and
//! `workload/first_byte.rs`. Spec: none.

use core::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;

use tokio::sync::Notify;
use tokio::time::Instant;

/// An alarm. Its thread ends with it.
pub struct Alarm {
    moments: Sender<Instant>,
    /// The last moment that the thread was told.
    told: Cell<Option<Instant>>,
    bell: Arc<Notify>,
}

impl Alarm {
    /// One that is not set.
    pub fn new() -> io::Result<Alarm> {
        let ((moments, told), bell) = (channel(), Arc::new(Notify::new()));
        let of_thread = Arc::clone(&bell);
        thread::Builder::new().name("bench alarm".to_owned()).spawn(move || ring(&told, &of_thread))?;
        Ok(Alarm { moments, told: Cell::new(None), bell })
    }

    /// Waits until that moment, if it has not passed. Whoever gives up waiting may wait again, for
    /// another one.
    pub async fn until(&self, moment: Instant) {
        while Instant::now() < moment {
            if self.told.replace(Some(moment)) != Some(moment) {
                // The thread is there as long as this is.
                let _ = self.moments.send(moment);
            }
            self.bell.notified().await;
        }
    }
}

/// Rings at each moment, but for those that another took the place of.
fn ring(moments: &Receiver<Instant>, bell: &Notify) {
    let mut next = moments.recv().ok();
    while let Some(moment) = next {
        next = match moments.recv_timeout(moment.saturating_duration_since(Instant::now())) {
            Ok(other) => Some(other),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                bell.notify_one();
                moments.recv().ok()
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::app::runtime::executor;

    #[test]
    fn it_wakes_after_the_moment_and_mostly_at_once() {
        let mut late = Vec::new();
        executor().unwrap().block_on(async {
            let alarm = Alarm::new().unwrap();
            alarm.until(Instant::now()).await;
            let begun = Instant::now();
            for step in 1..=41 {
                let moment = begun + Duration::from_micros(3300) * step;
                alarm.until(moment).await;
                assert!(Instant::now() >= moment);
                late.push(moment.elapsed());
            }
        });
        late.sort();
        assert!(late[20] < Duration::from_micros(500), "{late:?}");
    }

    #[test]
    fn who_gave_up_waits_for_another_moment() {
        executor().unwrap().block_on(async {
            let alarm = Alarm::new().unwrap();
            let soon = Instant::now() + Duration::from_millis(5);
            let given_up = tokio::time::timeout(Duration::from_millis(1), alarm.until(soon)).await;
            assert!(given_up.is_err());
            let later = soon + Duration::from_millis(20);
            alarm.until(later).await;
            assert!(Instant::now() >= later);
        });
    }
}
