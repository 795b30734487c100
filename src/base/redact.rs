//! A wrapper that prints a placeholder, so that a log cannot say where a user went.
//!
//! It hides from people and files, not from memory: keys have their own types in
//! `crypto`. Called by everything that holds an address, a hostname or an onion name.
//! Spec: none.

use core::fmt;

/// What is printed in place of a sensitive value.
pub const PLACEHOLDER: &str = "[scrubbed]";

/// A value that must not show in a log, an error or a metric.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sensitive<T>(T);

impl<T> Sensitive<T> {
    /// Hides `value` from now on.
    pub fn new(value: T) -> Self {
        Sensitive(value)
    }

    /// The value, for use; whoever prints it answers for it.
    pub fn uncover(&self) -> &T {
        &self.0
    }

    /// The value, by itself.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Display for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PLACEHOLDER)
    }
}

impl<T> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PLACEHOLDER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensitive_value_never_prints() {
        let address = Sensitive::new("example.com:443");
        assert_eq!(format!("{address} {address:?} {:#?}", Some(address)).matches("example").count(), 0);
        assert_eq!(address.uncover(), &"example.com:443");
        assert_eq!(address.into_inner(), "example.com:443");
    }
}
