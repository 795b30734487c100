//! What tries Tor out, on this machine and at the user's word: a whole Tor network in one
//! process, and the probe of one relay.
//!
//! The relays and directories are machines that touch nothing: `network` runs them in virtual
//! time, `loopback` behind TLS on 127.0.0.1. Only that, `plan`, `town`, `fetch` and `probe` touch
//! the world. Not a relay for anybody: its keys follow from a seed. The client never names it, so
//! nothing in here can reach a user by accident. Called by `bin/cepa-lab.rs` and the tests.
//! Spec: none of its own; each folder names what it follows.

pub mod authority;
pub mod cache;
pub mod crooked;
pub mod fetch;
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

pub use crate::app::runtime::{SystemClock, SystemEntropy};
pub use crate::base::RelayIds;
pub use crate::crypto::tls::Provider as TlsProvider;
