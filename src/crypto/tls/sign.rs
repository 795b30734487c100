//! Signatures of the portable provider: checking a server's, and making a P-256 server's.
//!
//! Not the choice of what is acceptable (`verifier.rs`). Called by rustls through
//! `portable.rs`, and by the verifier through its table. Spec: RFC 8446, section 4.2.3.

use crate::crypto::x509;
use core::marker::PhantomData;
use p256::ecdsa;
use rsa::RsaPublicKey;
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::signature::Verifier;
use rsa::traits::PublicKeyParts;
use rustls::crypto::{KeyProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, PrivateKeyDer, SignatureVerificationAlgorithm, alg_id};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use sha2::{Sha256, Sha384, Sha512};
use std::sync::Arc;

/// The signatures a relay's leaf can make, as rustls wants them listed.
pub(super) static ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[ECDSA, PSS_256, PSS_384, PSS_512, PKCS1_256, PKCS1_384, PKCS1_512],
    mapping: &[
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[ECDSA]),
        (SignatureScheme::RSA_PSS_SHA256, &[PSS_256]),
        (SignatureScheme::RSA_PSS_SHA384, &[PSS_384]),
        (SignatureScheme::RSA_PSS_SHA512, &[PSS_512]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[PKCS1_256]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[PKCS1_384]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[PKCS1_512]),
    ],
};

static ECDSA: &dyn SignatureVerificationAlgorithm = &EcdsaP256;
static PSS_256: &dyn SignatureVerificationAlgorithm = &Pss::<Sha256>(alg_id::RSA_PSS_SHA256, PhantomData);
static PSS_384: &dyn SignatureVerificationAlgorithm = &Pss::<Sha384>(alg_id::RSA_PSS_SHA384, PhantomData);
static PSS_512: &dyn SignatureVerificationAlgorithm = &Pss::<Sha512>(alg_id::RSA_PSS_SHA512, PhantomData);
static PKCS1_256: &dyn SignatureVerificationAlgorithm = &Pkcs1::<Sha256>(alg_id::RSA_PKCS1_SHA256, PhantomData);
static PKCS1_384: &dyn SignatureVerificationAlgorithm = &Pkcs1::<Sha384>(alg_id::RSA_PKCS1_SHA384, PhantomData);
static PKCS1_512: &dyn SignatureVerificationAlgorithm = &Pkcs1::<Sha512>(alg_id::RSA_PKCS1_SHA512, PhantomData);

#[derive(Debug)]
struct EcdsaP256;

/// RSASSA-PSS, the salt as long as the digest.
#[derive(Debug)]
struct Pss<D>(AlgorithmIdentifier, PhantomData<fn() -> D>);

/// RSASSA-PKCS1-v1_5.
#[derive(Debug)]
struct Pkcs1<D>(AlgorithmIdentifier, PhantomData<fn() -> D>);

impl SignatureVerificationAlgorithm for EcdsaP256 {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| InvalidSignature)?;
        let signature = ecdsa::Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}

impl<D> SignatureVerificationAlgorithm for Pss<D>
where
    D: sha2::digest::Digest + sha2::digest::FixedOutputReset + core::fmt::Debug,
{
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let signature = rsa::pss::Signature::try_from(signature).map_err(|_| InvalidSignature)?;
        let key = rsa::pss::VerifyingKey::<D>::new(rsa_key(key)?);
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.0
    }
}

impl<D> SignatureVerificationAlgorithm for Pkcs1<D>
where
    D: sha2::digest::Digest + rsa::pkcs8::AssociatedOid + core::fmt::Debug,
{
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let signature = rsa::pkcs1v15::Signature::try_from(signature).map_err(|_| InvalidSignature)?;
        let key = rsa::pkcs1v15::VerifyingKey::<D>::new(rsa_key(key)?);
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.0
    }
}

/// A key of 2048 to 8192 bits: graviola's limits, and a bound on our work.
fn rsa_key(pkcs1: &[u8]) -> Result<RsaPublicKey, InvalidSignature> {
    if pkcs1.len() > RSA_MAX_LEN + RSA_FRAME_LEN {
        return Err(InvalidSignature);
    }
    let key = RsaPublicKey::from_pkcs1_der(pkcs1).map_err(|_| InvalidSignature)?;
    if (RSA_MIN_LEN..=RSA_MAX_LEN).contains(&key.size()) { Ok(key) } else { Err(InvalidSignature) }
}

/// The shortest modulus, in bytes.
const RSA_MIN_LEN: usize = 2048 / 8;
/// The longest modulus, in bytes.
const RSA_MAX_LEN: usize = 8192 / 8;
/// More than what PKCS#1 puts around a modulus: tags, lengths, a sign byte, an exponent.
const RSA_FRAME_LEN: usize = 32;

/// Loads the keys that the lab's relays have: P-256, in PKCS#8.
#[derive(Debug)]
pub(super) struct P256Keys;

impl KeyProvider for P256Keys {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let secret = x509::p256_secret_from_pkcs8(key.secret_der()).ok();
        let key = secret.and_then(|secret| ecdsa::SigningKey::from_slice(secret).ok());
        Ok(Arc::new(P256Key(key.ok_or_else(|| Error::General("not a P-256 key in PKCS#8".into()))?)))
    }
}

/// A P-256 server's key, which wipes itself.
#[derive(Clone)]
struct P256Key(ecdsa::SigningKey);

impl SigningKey for P256Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme()).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for P256Key {
    /// Deterministic, by RFC 6979.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature: ecdsa::DerSignature = ecdsa::signature::Signer::sign(&self.0, message);
        Ok(signature.as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

impl core::fmt::Debug for P256Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("P256Key(_)")
    }
}
