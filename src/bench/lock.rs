//! The one kind of lock used here: a closure runs under it and only a value comes out.
//!
//! Not for I/O, sorting or anything that waits. Called by `latency` and `perf`; a model
//! checker puts its own in its place. Spec: none.

use std::sync::{Mutex, PoisonError};

/// A mutex that a panicking holder does not spoil for others.
///
/// What it guards must be sound after any single step of its holder; counters and lists
/// of numbers are.
#[derive(Default)]
pub struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    /// Guards `value`.
    pub fn new(value: T) -> Self {
        Lock(Mutex::new(value))
    }

    /// Runs `f` alone with the value. `R` cannot borrow from it.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panicking_holder_spoils_nothing() {
        let lock = Lock::new(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lock.with(|value| {
                *value = 2;
                panic!("while holding the lock");
            });
        }));
        assert!(panicked.is_err());
        assert_eq!(lock.with(|value| *value), 2);
    }
}
