//! What tries Tor out, on this machine and at the user's word.
//!
//! A floor that touches the world: sockets, clocks and the system's randomness are read
//! here. The client never names it, so nothing in here can reach a user by accident.
//! Called by `bin/cepa-lab.rs`.

pub mod authority;
pub mod cache;
pub mod crooked;
pub mod loopback;
pub mod network;
pub mod origin;
pub mod plan;
pub mod probe;
pub mod relay;
pub mod seed;
pub mod town;
pub mod villain;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub use crate::base::RelayIds;
use crate::base::random::Entropy;
use crate::base::time::{Now, Tick, Wall};
pub use crate::crypto::tls::Provider as TlsProvider;

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
}
