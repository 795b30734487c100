//! Key blinding: from an onion service's identity to its key of one time period, and the
//! credentials that go with it.
//!
//! Not when a period begins (`directory/ring.rs`). Called by `onion` for both sides.
//! Spec: rend-spec-v3, "Key blinding scheme" and "Subcredentials".

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use super::ed25519::{EXPANDED_LEN, KeyPair};
use super::hs_ntor::Subcredential;
use super::{Error, Secret, kdf};
use crate::base::Ed25519Id;

/// The Ed25519 base point as the specification spells it out.
const BASE_POINT: &[u8] = b"(15112221349535400772501151409588531511454012693041857206046113283949847762202, \
46316835694926478169428394003475163141307993866256225615783033603165251855960)";
const _: () = assert!(BASE_POINT.len() == 158);

/// With the NUL at its end, which belongs to it.
const BLIND_STRING: &[u8] = b"Derive temporary signing key\0";
/// Without one.
const PREFIX_STRING: &[u8] = b"Derive temporary signing key hash input";

/// One time period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    /// Which one, counted from the epoch.
    pub number: u64,
    /// How long it is.
    pub length_minutes: u64,
}

/// What a public key is multiplied by in one period: h, clamped.
pub struct BlindingFactor([u8; 32]);

impl BlindingFactor {
    /// The factor of an identity in a period.
    pub fn new(identity: &Ed25519Id, period: Period) -> Self {
        let number = period.number.to_be_bytes();
        let length = period.length_minutes.to_be_bytes();
        let parts: [&[u8]; 6] = [BLIND_STRING, &identity.0, BASE_POINT, b"key-blind", &number, &length];
        BlindingFactor::from_hash(kdf::sha3_256(&parts))
    }

    fn from_hash(hash: [u8; 32]) -> Self {
        BlindingFactor(clamp_integer(hash))
    }

    fn scalar(&self) -> Scalar {
        Scalar::from_bytes_mod_order(self.0)
    }

    /// The blinded public key.
    pub fn public(&self, identity: &Ed25519Id) -> Result<Ed25519Id, Error> {
        let point = CompressedEdwardsY(identity.0).decompress().ok_or(Error::NotACurvePoint)?;
        Ok(Ed25519Id((point * self.scalar()).compress().to_bytes()))
    }

    /// The blinded key pair. It must never be clamped again.
    pub fn key_pair(&self, identity: &KeyPair) -> KeyPair {
        KeyPair::from_unclamped(&self.expanded(identity))
    }

    /// a′ ‖ RH′.
    fn expanded(&self, identity: &KeyPair) -> Secret<EXPANDED_LEN> {
        let mut expanded = Secret::zero();
        let scalar = Zeroizing::new(identity.scalar() * self.scalar());
        expanded.expose_mut()[..32].copy_from_slice(scalar.as_bytes());
        let prefix = Sha512::new().chain_update(PREFIX_STRING).chain_update(identity.hash_prefix()).finalize();
        let prefix = Secret::<64>::new(prefix.into());
        expanded.expose_mut()[32..].copy_from_slice(&prefix.expose()[..32]);
        expanded
    }
}

/// Knowledge of a service's address.
pub fn credential(identity: &Ed25519Id) -> Secret<32> {
    Secret::new(kdf::sha3_256(&[b"credential", &identity.0]))
}

/// Knowledge of a service's address, good for one period.
pub fn subcredential(identity: &Ed25519Id, blinded: &Ed25519Id) -> Subcredential {
    let credential = credential(identity);
    Secret::new(kdf::sha3_256(&[b"subcredential", credential.expose(), &blinded.0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::ed25519::{self, tests::published};
    use crate::crypto::tests::{unhex, unhex_array};

    /// C tor 0.4.9, ed25519_vectors.inc: ten keys with a given parameter each.
    #[test]
    fn published_blinding() {
        for fields in published() {
            let [seed, _, public, _, parameter, blinded, blinded_public, _] = fields[..] else { panic!() };
            let factor = BlindingFactor::from_hash(unhex_array(parameter));
            let identity = KeyPair::from_seed(&Secret::new(unhex_array(seed)));
            assert_eq!(factor.expanded(&identity).expose()[..], unhex(blinded));
            assert_eq!(factor.key_pair(&identity).public().0[..], unhex(blinded_public));
            let public = factor.public(&Ed25519Id(unhex_array(public))).unwrap();
            assert_eq!(public.0[..], unhex(blinded_public));
        }
    }

    /// Arti 2.7, tor-hscrypto, `pk.rs`, and C tor, test_hs_common.c.
    #[test]
    fn published_period_key() {
        let identity = Ed25519Id(unhex_array("833990B085C1A688C1D4C8B1F6B56AFAF5A2ECA674449E1D704F83765CCB7BC6"));
        let expanded = "D8C7FF0E31295B66540D789AF3E3DF992038A9592EEA01D8B7CBA06D6E66D159
            4D6167696320576F7264733A20737065697373636F62616C742062697669756D";
        let pair = KeyPair::from_clamped(&Secret::new(unhex_array(expanded)));
        assert_eq!(pair.public(), identity);

        let factor = BlindingFactor::new(&identity, Period { number: 1234, length_minutes: 1440 });
        let unclamped: [u8; 32] = unhex_array("379E50DB31FEE6775ABD0AF6FB7C371E060308F4F847DB09FE4CFE13AF602287");
        assert_eq!(factor.0, clamp_integer(unclamped));
        let blinded = factor.public(&identity).unwrap();
        assert_eq!(blinded.0[..], unhex("3A50BF210E8F9EE955AE0014F7A6917FB65EBF098A86305ABB508D1A7291B6D5"));
        let secret = "A958DC83AC885F6814C67035DE817A2C604D5D2F715282079448F789B656350B
            4540FE1F80AA3F7E91306B7BF7A8E367293352B14A29FDCC8C19F3558075524B";
        assert_eq!(factor.expanded(&pair).expose()[..], unhex(secret));

        let expected = "96683a9c33235f31c46190f7e6edb2e9cf31af1e2cfc8f596ccf161b73c11a1d";
        assert_eq!(credential(&identity).expose()[..], unhex(expected));
        let expected = "635D55907816E8D76398A675A50B1C2F3E36B42A5CA77BA3A0441285161AE07D";
        assert_eq!(subcredential(&identity, &blinded).expose()[..], unhex(expected));
    }

    proptest::proptest! {
        #[test]
        fn what_the_service_signs_the_client_can_check(seed: [u8; 32], number: u64, length_minutes: u64) {
            let identity = KeyPair::from_seed(&Secret::new(seed));
            let factor = BlindingFactor::new(&identity.public(), Period { number, length_minutes });
            let signature = factor.key_pair(&identity).sign(b"descriptor");
            let blinded = factor.public(&identity.public()).unwrap();
            proptest::prop_assert_eq!(ed25519::verify(&blinded, b"descriptor", &signature), Ok(()));
        }
    }
}
