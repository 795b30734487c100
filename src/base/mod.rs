//! What every floor shares: identities of relays, and the words for time, randomness,
//! blame and privacy.
//!
//! Not a place for helpers: a thing is here because two floors that may not know each
//! other must agree on it. Called by everyone. Spec: tor-spec, "Preliminaries".

pub mod address;
pub mod codec;
pub mod country;
pub mod error;
pub mod random;
pub mod redact;
pub mod text;
pub mod time;

use core::fmt;

/// Length of a relay's RSA identity: the SHA-1 of its public key.
pub const RSA_ID_LEN: usize = 20;
/// Length of an Ed25519 public key.
pub const ED25519_ID_LEN: usize = 32;

/// A relay's RSA identity: SHA-1 over the DER (PKCS#1) of its identity key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RsaId(pub [u8; RSA_ID_LEN]);

/// A relay's Ed25519 identity key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ed25519Id(pub [u8; ED25519_ID_LEN]);

/// The identities by which a relay is known or wanted; `None` where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayIds {
    /// The RSA identity.
    pub rsa: Option<RsaId>,
    /// The Ed25519 identity.
    pub ed25519: Option<Ed25519Id>,
}

impl RsaId {
    /// The identity nobody has; a target may not carry it.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; RSA_ID_LEN]
    }
}

/// As controllers and logs write it: `$` and 40 upper-case hex digits.
impl fmt::Display for RsaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// As directory documents write it: base64 without padding.
impl fmt::Display for Ed25519Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::base64_unpadded(&self.0))
    }
}

impl fmt::Debug for RsaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Ed25519Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_print_as_controllers_expect() {
        assert_eq!(RsaId([0xAB; 20]).to_string(), format!("${}", "AB".repeat(20)));
        assert_eq!(Ed25519Id([0; 32]).to_string(), "A".repeat(43));
        assert!(RsaId([0; 20]).is_zero());
    }
}
