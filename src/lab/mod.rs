//! What tries Tor out, on this machine and at the user's word: a whole Tor network in one
//! process, and the probe of one relay.
//!
//! The relays and directories are machines that touch nothing: `network` runs them in virtual
//! time, `loopback` behind TLS on 127.0.0.1. Only that, `plan`, `town` and `probe` touch the
//! world. Not a relay for anybody: its keys follow from a seed. The client never names it, so
//! nothing in here can reach a user by accident. Called by `bin/cepa-lab.rs` and the tests.
//! Spec: none of its own; each folder names what it follows.

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
pub mod weather;

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
