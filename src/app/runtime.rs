//! What the client cannot have as a value: the real clocks, the real randomness, and the one
//! thread on which all its tasks run.
//!
//! Decides nothing. Called by everything in `app` that needs the time, and by the lab. Spec: none.

use std::io;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::{Builder, Runtime};

use crate::base::random::Entropy;
use crate::base::time::{Now, Tick, Wall};

/// The operating system's randomness.
#[derive(Clone, Copy, Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        getrandom::fill(out).expect("a system without randomness cannot keep a secret");
    }
}

/// The real clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

#[allow(clippy::disallowed_methods, reason = "this is the edge that reads the clocks")]
impl SystemClock {
    /// Monotonic time counts from here.
    pub fn start() -> Self {
        SystemClock { start: Instant::now() }
    }

    /// Both clocks, read together.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { tick: Tick::new(self.start.elapsed()), wall: Wall::new(wall) }
    }

    /// A tick as the executor's timers count.
    pub fn instant(&self, tick: Tick) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start + tick.since(Tick::default()))
    }
}

/// The executor: one thread, because all tasks share the one client.
pub fn executor() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
