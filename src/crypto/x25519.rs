//! X25519 key pairs, and the one Diffie-Hellman the handshakes use.
//!
//! Not the key exchange of TLS, which its library asks for in its own way. Called by
//! `ntor`, `ntor3` and `hs_ntor`. Spec: RFC 7748; tor-spec, "Ciphers".

use curve25519_dalek::montgomery::MontgomeryPoint;
use subtle::ConstantTimeEq;

use super::{Error, Secret};
use crate::base::random::Entropy;

/// Length of either key.
pub const KEY_LEN: usize = 32;

/// The public half, as it goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; KEY_LEN]);

/// The secret half.
#[derive(Clone)]
pub struct SecretKey(Secret<KEY_LEN>);

/// A key pair.
#[derive(Clone)]
pub struct KeyPair {
    /// Its secret half.
    pub secret: SecretKey,
    /// Its public half.
    pub public: PublicKey,
}

impl SecretKey {
    /// A key from outside, for instance from a file. Clamped when used.
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        SecretKey(Secret::new(bytes))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(MontgomeryPoint::mul_base_clamped(*self.0.expose()).to_bytes())
    }

    /// The shared secret with `theirs`, which may be of low order: see [`SharedSecrets`].
    fn multiply(&self, theirs: &PublicKey) -> Secret<KEY_LEN> {
        Secret::new(MontgomeryPoint(theirs.0).mul_clamped(*self.0.expose()).to_bytes())
    }
}

impl KeyPair {
    /// A fresh pair.
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        let secret = SecretKey(Secret::random(entropy));
        let public = secret.public();
        KeyPair { secret, public }
    }

    /// The pair of a known secret.
    pub fn from_secret(bytes: [u8; KEY_LEN]) -> Self {
        let secret = SecretKey::from_bytes(bytes);
        let public = secret.public();
        KeyPair { secret, public }
    }
}

/// The shared secrets of a handshake, and whether one of them was zero.
///
/// A zero result is not reported at once: a handshake finishes its computation first and
/// fails once, so that its time does not tell which check failed.
#[derive(Default)]
pub struct SharedSecrets {
    any_zero: bool,
}

impl SharedSecrets {
    /// One Diffie-Hellman of the handshake.
    pub fn agree(&mut self, ours: &SecretKey, theirs: &PublicKey) -> Secret<KEY_LEN> {
        let shared = ours.multiply(theirs);
        self.any_zero |= bool::from(shared.ct_eq(&Secret::zero()));
        shared
    }

    /// The verdict: every result was a secret, and the authenticator fitted.
    pub fn finish(self, authenticated: Result<(), Error>) -> Result<(), Error> {
        if self.any_zero { Err(Error::ZeroSharedSecret) } else { authenticated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::tests::unhex_array;

    /// RFC 7748, section 5.2.
    #[test]
    fn rfc_7748_vectors() {
        for (scalar, point, expected) in [
            (
                "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
                "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
                "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
            ),
            (
                "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
                "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
                "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
            ),
        ] {
            let shared = SecretKey::from_bytes(unhex_array(scalar)).multiply(&PublicKey(unhex_array(point)));
            assert_eq!(shared.expose(), &unhex_array::<32>(expected));
        }
    }

    #[test]
    fn both_ends_agree_and_low_order_shares_are_found() {
        let mut entropy = crate::base::random::Seeded(1);
        let (a, b) = (KeyPair::random(&mut entropy), KeyPair::random(&mut entropy));
        let mut shared = SharedSecrets::default();
        assert!(shared.agree(&a.secret, &b.public) == shared.agree(&b.secret, &a.public));
        assert_eq!(shared.finish(Ok(())), Ok(()));

        for low_order in [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }] {
            let mut shared = SharedSecrets::default();
            shared.agree(&a.secret, &b.public);
            shared.agree(&a.secret, &PublicKey(low_order));
            shared.agree(&a.secret, &b.public);
            assert_eq!(shared.finish(Ok(())), Err(Error::ZeroSharedSecret));
        }
    }
}
