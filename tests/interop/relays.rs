//! The suite's network of Debian's `tor`, as tests have it, which wait for it on their own threads.
//!
//! Never started outside the empty namespace that `main` has checked.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use cepa::suite::Relays;

use super::origin;

/// What its authorities vote for besides: that lists of guards as short as a test's restrict.
const RESTRICTED: &str = "ConsensusParams guard-meaningful-restriction-percent=50\n";

/// The network that tests share which do it no harm.
static SHARED: Mutex<Option<Arc<TorNetwork>>> = Mutex::new(None);

/// It, started by the first who wants it, together with the name server of its exits.
pub fn shared() -> Arc<TorNetwork> {
    let mut shared = SHARED.lock().unwrap();
    let start = || {
        origin::serve_names();
        Arc::new(TorNetwork::start())
    };
    Arc::clone(shared.get_or_insert_with(start))
}

/// Ends it. Nobody else would: what is static is never dropped.
pub fn end_shared() {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner).take();
}

/// A running network.
pub struct TorNetwork(Relays);

impl TorNetwork {
    /// Starts it and waits until all its relays know all others.
    pub fn start() -> TorNetwork {
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        TorNetwork(executor.block_on(Relays::open(RESTRICTED)).unwrap())
    }
}

impl Deref for TorNetwork {
    type Target = Relays;

    fn deref(&self) -> &Relays {
        &self.0
    }
}
