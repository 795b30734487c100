//! The client as other programs have it: handles on a runtime of many threads, streams, look-ups,
//! isolation, events and the end, on the lab's relays over loopback; and the examples, as a
//! person runs them.
//!
//! All share one network. Where something must be seen that the client does not say, the far end
//! is a socket of the test's own, which the lab's exits reach.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should say where")]
#![allow(clippy::disallowed_methods, reason = "a test of programs reads a clock and its environment")]

mod connect;
mod examples;
mod life;
mod pace;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use cepa::lab::TlsProvider;
use cepa::lab::origin::pattern;
use cepa::lab::plan::{Plan, Town};
use cepa::{Client, ClientBuilder};

/// How long anything may take, on a machine that has much else to do.
pub const PATIENCE: Duration = Duration::from_secs(90);

static TOWN: LazyLock<Town> = LazyLock::new(|| Plan::default().open(1, TlsProvider::best()).unwrap());

/// A client to be, on the network that all share.
pub fn builder() -> ClientBuilder {
    Client::builder().torrc(&TOWN.torrc())
}

/// A client that can be used.
pub async fn client() -> Client {
    let client = builder().start().await.unwrap();
    client.bootstrap(PATIENCE).await.unwrap();
    client
}

/// Runs a test as a program would that has several threads.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(3 * PATIENCE, test).await.expect("it hangs") });
}

/// So many bytes as the lab's servers give them.
pub fn bytes(length: u64) -> Vec<u8> {
    (0..length).map(pattern).collect()
}

/// A directory that goes when it is dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("cepa-library-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether a file is there and not empty.
pub fn is_written(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|facts| facts.len() > 0)
}
