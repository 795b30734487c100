//! The latency tracker over a model checker's lock, for the models in `tests/`.
//!
//! The file under test is the client's own, by path; only its lock is another, which lets
//! the model checker choose who goes next. Run with
//! `cargo test --manifest-path tests/loom/Cargo.toml`.
#![forbid(unsafe_code)]
#![allow(dead_code, reason = "the models do not use all of the tracker")]

#[path = "../../../src/bench/latency.rs"]
pub mod latency;

/// The client's `bench/lock.rs`, over the model checker's mutex.
mod lock {
    use loom::sync::Mutex;

    #[derive(Default)]
    pub struct Lock<T>(Mutex<T>);

    impl<T> Lock<T> {
        pub fn new(value: T) -> Self {
            Lock(Mutex::new(value))
        }

        pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
            f(&mut self.0.lock().expect("no model panics under the lock"))
        }
    }
}
