//! The provider for every processor graviola is not for: RustCrypto's primitives in the
//! shapes rustls asks for.
//!
//! Holds no keys and no policy: what is offered and in which order is `mod.rs`'s. Reads the
//! operating system's randomness, alone among the quiet floors: rustls asks its provider
//! for it in the middle of a handshake, so it cannot be an argument. Called by `mod.rs`.
//! Spec: RFC 8446, sections 7.1 and B.4; RFC 5246, section 5.

use super::{aead, kx, sign};
use core::marker::PhantomData;
use hmac::{Hmac, KeyInit, Mac};
use rustls::crypto::tls12::PrfUsingHmac;
use rustls::crypto::tls13::HkdfUsingHmac;
use rustls::crypto::{
    CipherSuiteCommon, CryptoProvider, GetRandomFailed, KeyExchangeAlgorithm, SecureRandom, hash, hmac as tls_hmac,
};
use rustls::{CipherSuite, SignatureScheme, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite};
use sha2::{Digest, Sha256, Sha384};

/// All this provider can do, in no order that matters.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            SupportedCipherSuite::Tls13(&TLS13_AES_128),
            SupportedCipherSuite::Tls13(&TLS13_AES_256),
            SupportedCipherSuite::Tls13(&TLS13_CHACHA20),
            SupportedCipherSuite::Tls12(&ECDSA_AES_128),
            SupportedCipherSuite::Tls12(&ECDSA_AES_256),
            SupportedCipherSuite::Tls12(&ECDSA_CHACHA20),
            SupportedCipherSuite::Tls12(&RSA_AES_128),
            SupportedCipherSuite::Tls12(&RSA_AES_256),
            SupportedCipherSuite::Tls12(&RSA_CHACHA20),
        ],
        kx_groups: vec![&kx::P256, &kx::X25519],
        signature_verification_algorithms: sign::ALGORITHMS,
        secure_random: &SystemRandom,
        key_provider: &sign::P256Keys,
    }
}

static TLS13_AES_128: Tls13CipherSuite = Tls13CipherSuite {
    common: with_sha256(CipherSuite::TLS13_AES_128_GCM_SHA256, GCM_RECORDS),
    hkdf_provider: &HkdfUsingHmac(&HMAC_SHA256),
    aead_alg: &aead::AES_128_GCM,
    quic: None,
};

static TLS13_AES_256: Tls13CipherSuite = Tls13CipherSuite {
    common: with_sha384(CipherSuite::TLS13_AES_256_GCM_SHA384, GCM_RECORDS),
    hkdf_provider: &HkdfUsingHmac(&HMAC_SHA384),
    aead_alg: &aead::AES_256_GCM,
    quic: None,
};

static TLS13_CHACHA20: Tls13CipherSuite = Tls13CipherSuite {
    common: with_sha256(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, CHACHA20_RECORDS),
    hkdf_provider: &HkdfUsingHmac(&HMAC_SHA256),
    aead_alg: &aead::CHACHA20_POLY1305,
    quic: None,
};

static ECDSA_AES_128: Tls12CipherSuite = Tls12CipherSuite {
    common: with_sha256(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, GCM_RECORDS),
    prf_provider: &PrfUsingHmac(&HMAC_SHA256),
    kx: KeyExchangeAlgorithm::ECDHE,
    sign: ECDSA_SCHEMES,
    aead_alg: &aead::AES_128_GCM,
};

static ECDSA_AES_256: Tls12CipherSuite = Tls12CipherSuite {
    common: with_sha384(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, GCM_RECORDS),
    prf_provider: &PrfUsingHmac(&HMAC_SHA384),
    kx: KeyExchangeAlgorithm::ECDHE,
    sign: ECDSA_SCHEMES,
    aead_alg: &aead::AES_256_GCM,
};

static ECDSA_CHACHA20: Tls12CipherSuite = Tls12CipherSuite {
    common: with_sha256(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, CHACHA20_RECORDS),
    prf_provider: &PrfUsingHmac(&HMAC_SHA256),
    kx: KeyExchangeAlgorithm::ECDHE,
    sign: ECDSA_SCHEMES,
    aead_alg: &aead::CHACHA20_POLY1305,
};

static RSA_AES_128: Tls12CipherSuite = Tls12CipherSuite {
    common: with_sha256(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, GCM_RECORDS),
    prf_provider: &PrfUsingHmac(&HMAC_SHA256),
    kx: KeyExchangeAlgorithm::ECDHE,
    sign: RSA_SCHEMES,
    aead_alg: &aead::AES_128_GCM,
};

static RSA_AES_256: Tls12CipherSuite = Tls12CipherSuite {
    common: with_sha384(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, GCM_RECORDS),
    prf_provider: &PrfUsingHmac(&HMAC_SHA384),
    kx: KeyExchangeAlgorithm::ECDHE,
    sign: RSA_SCHEMES,
    aead_alg: &aead::AES_256_GCM,
};

static RSA_CHACHA20: Tls12CipherSuite = Tls12CipherSuite {
    common: with_sha256(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, CHACHA20_RECORDS),
    prf_provider: &PrfUsingHmac(&HMAC_SHA256),
    kx: KeyExchangeAlgorithm::ECDHE,
    sign: RSA_SCHEMES,
    aead_alg: &aead::CHACHA20_POLY1305,
};

const ECDSA_SCHEMES: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
const RSA_SCHEMES: &[SignatureScheme] = &[
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// How many records one AES-GCM key may seal; rustls then renews it (TLS 1.3) or ends the
/// connection. rustls's own figure, from draft-irtf-cfrg-aead-limits.
const GCM_RECORDS: u64 = 1 << 24;
/// ChaCha20-Poly1305 has no limit that a connection could reach.
const CHACHA20_RECORDS: u64 = u64::MAX;

const fn with_sha256(suite: CipherSuite, confidentiality_limit: u64) -> CipherSuiteCommon {
    CipherSuiteCommon { suite, hash_provider: &SHA256, confidentiality_limit }
}

const fn with_sha384(suite: CipherSuite, confidentiality_limit: u64) -> CipherSuiteCommon {
    CipherSuiteCommon { suite, hash_provider: &SHA384, confidentiality_limit }
}

static SHA256: Hash<Sha256> = Hash(hash::HashAlgorithm::SHA256, PhantomData);
static SHA384: Hash<Sha384> = Hash(hash::HashAlgorithm::SHA384, PhantomData);
static HMAC_SHA256: HmacOf<Hmac<Sha256>> = HmacOf(PhantomData);
static HMAC_SHA384: HmacOf<Hmac<Sha384>> = HmacOf(PhantomData);

struct Hash<D>(hash::HashAlgorithm, PhantomData<fn() -> D>);

struct Hashing<D>(D);

impl<D: Digest + Clone + Send + Sync + 'static> hash::Hash for Hash<D> {
    fn start(&self) -> Box<dyn hash::Context> {
        Box::new(Hashing(D::new()))
    }

    fn hash(&self, data: &[u8]) -> hash::Output {
        hash::Output::new(&D::digest(data))
    }

    fn output_len(&self) -> usize {
        <D as Digest>::output_size()
    }

    fn algorithm(&self) -> hash::HashAlgorithm {
        self.0
    }
}

impl<D: Digest + Clone + Send + Sync + 'static> hash::Context for Hashing<D> {
    fn fork_finish(&self) -> hash::Output {
        hash::Output::new(&self.0.clone().finalize())
    }

    fn fork(&self) -> Box<dyn hash::Context> {
        Box::new(Hashing(self.0.clone()))
    }

    fn finish(self: Box<Self>) -> hash::Output {
        hash::Output::new(&self.0.finalize())
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
}

struct HmacOf<M>(PhantomData<fn() -> M>);

struct HmacKey<M>(M);

impl<M: Mac + KeyInit + Clone + Send + Sync + 'static> tls_hmac::Hmac for HmacOf<M> {
    fn with_key(&self, key: &[u8]) -> Box<dyn tls_hmac::Key> {
        Box::new(HmacKey(<M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length")))
    }

    fn hash_output_len(&self) -> usize {
        M::output_size()
    }
}

impl<M: Mac + Clone + Send + Sync> tls_hmac::Key for HmacKey<M> {
    fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> tls_hmac::Tag {
        let mut mac = self.0.clone();
        mac.update(first);
        middle.iter().for_each(|part| mac.update(part));
        mac.update(last);
        tls_hmac::Tag::new(&mac.finalize().into_bytes())
    }

    fn tag_len(&self) -> usize {
        M::output_size()
    }
}

#[derive(Debug)]
struct SystemRandom;

impl SecureRandom for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        getrandom::fill(bytes).map_err(|_| GetRandomFailed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::text::{from_hex, hex};
    use rustls::crypto::hash::Hash as _;
    use rustls::crypto::tls13::{Hkdf, OkmBlock};

    /// RFC 8448, section 3: the client's application traffic secret, then its key and IV.
    #[test]
    fn hkdf_expands_the_keys_of_a_known_connection() {
        let secret = from_hex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5").unwrap();
        let hkdf = HkdfUsingHmac(&HMAC_SHA256).expander_for_okm(&OkmBlock::new(&secret));
        let (mut key, mut iv) = ([0; 16], [0; 12]);
        hkdf.expand_slice(&[&[0, 16, 9], b"tls13 key", &[0]], &mut key).unwrap();
        hkdf.expand_slice(&[&[0, 12, 8], b"tls13 iv", &[0]], &mut iv).unwrap();
        assert_eq!(key.as_slice(), from_hex("17422dda596ed5d9acd890e3c63f5051").unwrap());
        assert_eq!(iv.as_slice(), from_hex("5b78923dee08579033e523d9").unwrap());
    }

    /// RFC 4231, test case 2, and FIPS 180-2 appendix C.1 and D.1.
    #[test]
    fn hmac_and_hashes_agree_with_their_vectors() {
        use tls_hmac::Hmac;
        let tag = |hmac: &dyn Hmac| {
            hex(hmac.with_key(b"Jefe").sign_concat(b"what do ya", &[b" want", b" for"], b" nothing?").as_ref())
                .to_lowercase()
        };
        assert_eq!(tag(&HMAC_SHA256), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(
            tag(&HMAC_SHA384),
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649"
        );
        let mut hashing = SHA384.start();
        hashing.update(b"a");
        let mut fork = hashing.fork();
        hashing.update(b"bc");
        fork.update(b"bc");
        assert_eq!(
            hex(hashing.fork_finish().as_ref()).to_lowercase(),
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
        );
        assert_eq!(fork.finish().as_ref(), SHA384.hash(b"abc").as_ref());
        assert_eq!(
            hex(SHA256.hash(b"abc").as_ref()).to_lowercase(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
