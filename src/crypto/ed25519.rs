//! Ed25519 keys and signatures, with secrets in Tor's expanded form.
//!
//! A blinded key has no seed, so every secret here is the 64 bytes a ‖ RH that a seed
//! expands to. Not blinding itself (`blind`). Called by `cert`, `blind`, and by whoever
//! signs a document. Spec: tor-spec, "Ciphers"; rend-spec-v3, "Key derivation overview".

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use super::x25519::PublicKey as X25519PublicKey;
use super::{Error, Secret};
use crate::base::Ed25519Id;
use crate::base::random::Entropy;

/// Length of a signature.
pub const SIGNATURE_LEN: usize = 64;
/// Length of an expanded secret: a ‖ RH.
pub const EXPANDED_LEN: usize = 64;

/// A key pair; the secret is wiped on drop and never printed.
pub struct KeyPair {
    secret: ExpandedSecretKey,
    public: VerifyingKey,
}

impl KeyPair {
    /// A fresh pair.
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        KeyPair::from_seed(&Secret::random(entropy))
    }

    /// The pair that a seed expands to (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: &Secret<32>) -> Self {
        let expanded = Secret::new(Sha512::digest(seed.expose()).into());
        KeyPair::from_clamped(&expanded)
    }

    /// The pair of an expanded secret whose scalar is clamped, as key files hold it.
    pub fn from_clamped(expanded: &Secret<EXPANDED_LEN>) -> Self {
        let (scalar, hash_prefix) = halves(expanded);
        let clamped = Zeroizing::new(clamp_integer(*scalar));
        KeyPair::from_parts(&clamped, hash_prefix)
    }

    /// The pair of an expanded secret whose scalar is used as it is: a blinded one.
    pub fn from_unclamped(expanded: &Secret<EXPANDED_LEN>) -> Self {
        let (scalar, hash_prefix) = halves(expanded);
        KeyPair::from_parts(scalar, hash_prefix)
    }

    fn from_parts(scalar: &[u8; 32], hash_prefix: &[u8; 32]) -> Self {
        let scalar = Scalar::from_bytes_mod_order(*scalar);
        let secret = ExpandedSecretKey { scalar, hash_prefix: *hash_prefix };
        let public = VerifyingKey::from(&secret);
        KeyPair { secret, public }
    }

    /// The public half.
    pub fn public(&self) -> Ed25519Id {
        Ed25519Id(self.public.to_bytes())
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        raw_sign::<Sha512>(&self.secret, message, &self.public).to_bytes()
    }

    pub(super) fn scalar(&self) -> &Scalar {
        &self.secret.scalar
    }

    pub(super) fn hash_prefix(&self) -> &[u8; 32] {
        &self.secret.hash_prefix
    }
}

/// a and RH, where they lie: a copy would have to be wiped.
fn halves(expanded: &Secret<EXPANDED_LEN>) -> (&[u8; 32], &[u8; 32]) {
    let (scalar, hash_prefix) = expanded.expose().split_first_chunk().expect("32 of 64 bytes");
    (scalar, hash_prefix.try_into().expect("the other 32"))
}

/// Checks a signature.
///
/// Differs: keys and nonces of small order are refused, which C tor and Arti accept; no
/// honest signer makes them, and they would let one signature fit any message.
pub fn verify(key: &Ed25519Id, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<(), Error> {
    let key = VerifyingKey::from_bytes(&key.0).map_err(|_| Error::NotACurvePoint)?;
    key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| Error::WrongSignature)
}

/// Whether a key is a point of the curve's prime-order group, as an onion address must be.
pub fn is_torsion_free(key: &Ed25519Id) -> bool {
    CompressedEdwardsY(key.0).decompress().is_some_and(|point| point.is_torsion_free())
}

/// The Ed25519 form of an X25519 key, its sign bit as given: how an onion service's
/// certificates name its encryption key.
pub fn from_x25519(key: &X25519PublicKey, sign: bool) -> Result<Ed25519Id, Error> {
    let point = MontgomeryPoint(key.0).to_edwards(u8::from(sign)).ok_or(Error::NotACurvePoint)?;
    Ok(Ed25519Id(point.compress().to_bytes()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::crypto::tests::{unhex, unhex_array};

    /// C tor's ten keys, each as the fields of one line.
    pub(crate) fn published() -> Vec<Vec<&'static str>> {
        let lines = include_str!("ed25519/vectors.txt").lines().filter(|line| !line.starts_with('#'));
        let keys: Vec<Vec<&str>> = lines.map(|line| line.split(' ').collect()).collect();
        assert_eq!(keys.len(), 10);
        keys
    }

    /// C tor 0.4.9, ed25519_vectors.inc.
    #[test]
    fn published_keys_and_signatures() {
        for fields in published() {
            let [seed, expanded, public, curve25519, _, blinded, blinded_public, signature] = fields[..] else {
                panic!()
            };
            let pair = KeyPair::from_seed(&Secret::new(unhex_array(seed)));
            let from_file = KeyPair::from_clamped(&Secret::new(unhex_array(expanded)));
            let message = pair.public().0;
            for pair in [&pair, &from_file] {
                assert_eq!(pair.public().0[..], unhex(public));
                assert_eq!(pair.sign(&message)[..], unhex(signature));
            }
            assert_eq!(verify(&pair.public(), &message, &unhex_array(signature)), Ok(()));
            assert!(is_torsion_free(&pair.public()));

            let sign = pair.public().0[31] & 0x80 != 0;
            assert_eq!(from_x25519(&X25519PublicKey(unhex_array(curve25519)), sign), Ok(pair.public()));

            let blinded = KeyPair::from_unclamped(&Secret::new(unhex_array(blinded)));
            assert_eq!(blinded.public().0[..], unhex(blinded_public));
            assert_eq!(verify(&blinded.public(), b"x", &blinded.sign(b"x")), Ok(()));
        }
    }

    /// RFC 8032, section 7.1, tests 1 and 2.
    #[test]
    fn rfc_8032_vectors() {
        for (seed, public, message, signature) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bac
                c61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e
                458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
        ] {
            let pair = KeyPair::from_seed(&Secret::new(unhex_array(seed)));
            assert_eq!(pair.public().0[..], unhex(public));
            assert_eq!(pair.sign(&unhex(message))[..], unhex(signature));
        }
    }

    #[test]
    fn a_changed_message_key_or_signature_is_refused() {
        let pair = KeyPair::from_seed(&Secret::new([1; 32]));
        let signature = pair.sign(b"message");
        assert_eq!(verify(&pair.public(), b"massage", &signature), Err(Error::WrongSignature));
        for byte in 0..SIGNATURE_LEN {
            let mut changed = signature;
            changed[byte] ^= 1;
            assert_eq!(verify(&pair.public(), b"message", &changed), Err(Error::WrongSignature));
        }
        let other = KeyPair::from_seed(&Secret::new([2; 32])).public();
        assert_eq!(verify(&other, b"message", &signature), Err(Error::WrongSignature));
    }

    #[test]
    fn keys_of_small_order_sign_nothing() {
        let mut identity = [0; 32];
        identity[0] = 1;
        // S = 0, R = identity: fits any message under a key of order one.
        let mut forged = [0; 64];
        forged[0] = 1;
        assert_eq!(verify(&Ed25519Id(identity), b"any", &forged), Err(Error::WrongSignature));
        assert!(!is_torsion_free(&Ed25519Id([0; 32])), "(sqrt(-1), 0) has order four");
    }
}
