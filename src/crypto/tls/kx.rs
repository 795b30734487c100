//! Key exchange of the portable provider: P-256 and X25519.
//!
//! Not the order they are offered in (`mod.rs`). Called by rustls through `portable.rs`.
//! Spec: RFC 8446, sections 4.2.8.2 and 7.4.2; RFC 7748; SEC 1.

use curve25519_dalek::MontgomeryPoint;
use p256::elliptic_curve::ecdh;
use p256::{PublicKey, SecretKey};
use rustls::crypto::{ActiveKeyExchange, GetRandomFailed, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

#[derive(Debug)]
pub(super) struct P256;

#[derive(Debug)]
pub(super) struct X25519;

struct StartedP256 {
    /// Wipes itself.
    secret: SecretKey,
    public: [u8; P256_LEN],
}

struct StartedX25519 {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl SupportedKxGroup for P256 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        loop {
            getrandom::fill(bytes.as_mut_slice()).map_err(|_| GetRandomFailed)?;
            // Refused once in 2^32: zero, or not below the group's order.
            if let Ok(secret) = SecretKey::from_slice(bytes.as_slice()) {
                return Ok(Box::new(StartedP256::new(secret)));
            }
        }
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }
}

impl StartedP256 {
    fn new(secret: SecretKey) -> Self {
        let public = uncompressed(&secret.public_key());
        StartedP256 { secret, public }
    }
}

impl ActiveKeyExchange for StartedP256 {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        // TLS has no other point format than the uncompressed one, which the curve crate
        // would be less strict about; that the point is on the curve is its check.
        if peer.len() != P256_LEN || peer.first() != Some(&4) {
            return Err(PeerMisbehaved::InvalidKeyShare.into());
        }
        let peer = PublicKey::from_sec1_bytes(peer).map_err(|_| PeerMisbehaved::InvalidKeyShare)?;
        let shared = ecdh::diffie_hellman(self.secret.to_nonzero_scalar(), peer.as_affine());
        Ok(SharedSecret::from(shared.raw_secret_bytes().as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        P256.name()
    }
}

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(secret.as_mut_slice()).map_err(|_| GetRandomFailed)?;
        Ok(Box::new(StartedX25519::new(secret)))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl StartedX25519 {
    fn new(secret: Zeroizing<[u8; 32]>) -> Self {
        let public = MontgomeryPoint::mul_base_clamped(*secret).0;
        StartedX25519 { secret, public }
    }
}

impl ActiveKeyExchange for StartedX25519 {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer = <[u8; 32]>::try_from(peer).map_err(|_| PeerMisbehaved::InvalidKeyShare)?;
        let shared = Zeroizing::new(MontgomeryPoint(peer).mul_clamped(*self.secret).0);
        // RFC 8446, section 7.4.2: a share of low order must end the handshake.
        if bool::from(shared.ct_eq(&[0; 32])) {
            return Err(PeerMisbehaved::InvalidKeyShare.into());
        }
        Ok(SharedSecret::from(shared.as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        X25519.name()
    }
}

/// A point as TLS and certificates write it.
pub(super) fn uncompressed(key: &PublicKey) -> [u8; P256_LEN] {
    use p256::elliptic_curve::sec1::ToSec1Point;
    let point = key.to_sec1_point(false);
    point.as_bytes().try_into().expect("an uncompressed P-256 point has 65 bytes")
}

/// The length of an uncompressed point.
const P256_LEN: usize = 65;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::text::from_hex;

    fn bytes(hex: &str) -> [u8; 32] {
        from_hex(hex).unwrap().try_into().unwrap()
    }

    fn x25519(secret: [u8; 32]) -> Box<StartedX25519> {
        Box::new(StartedX25519::new(Zeroizing::new(secret)))
    }

    fn p256(secret: [u8; 32]) -> Box<StartedP256> {
        Box::new(StartedP256::new(SecretKey::from_slice(&secret).unwrap()))
    }

    /// RFC 7748, section 6.1.
    #[test]
    fn x25519_agrees_with_rfc_7748() {
        let alice = x25519(bytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
        let bob = x25519(bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
        let (alice_public, bob_public) = (alice.public, bob.public);
        assert_eq!(alice_public, bytes("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
        assert_eq!(bob_public, bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
        let shared = bytes("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(alice.complete(&bob_public).unwrap().secret_bytes(), shared);
        assert_eq!(bob.complete(&alice_public).unwrap().secret_bytes(), shared);
    }

    /// NIST CAVP, ECC CDH Primitive, P-256, COUNT = 0.
    #[test]
    fn p256_agrees_with_the_nist_vector() {
        let ours = p256(bytes("7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534"));
        let theirs = "04700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287\
                      db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac";
        let shared = bytes("46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b");
        assert_eq!(ours.complete(&from_hex(theirs).unwrap()).unwrap().secret_bytes(), shared);
    }
}
