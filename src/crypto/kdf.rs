//! The key derivations: from a shared secret to as many key bytes as a layer needs.
//!
//! Not the handshakes that arrive at the secret. Called by the handshakes; the
//! [`KeyStream`] they return is read once, by `layer`.
//! Spec: tor-spec, "KDF-TOR", "KDF-RFC5869"; proposal 332; rend-spec-v3, "Cryptographic
//! building blocks".

use hmac::{Hmac, KeyInit, Mac};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use sha3::Sha3_256;
use shake::Shake256;
use shake::digest::{ExtendableOutput, Update, XofReader};
use zeroize::Zeroize;

use super::{Error, Secret};

/// HKDF gives at most this many blocks (RFC 5869).
const HKDF_MAX_BLOCKS: usize = 255;
/// KDF-TOR counts its blocks in one byte.
const KDF_TOR_MAX_BLOCKS: usize = 256;

/// Key bytes waiting to be cut. Reading consumes it: the same bytes never serve twice.
pub enum KeyStream {
    /// After CREATE_FAST.
    KdfTor(Secret<40>),
    /// After ntor: HKDF's pseudo-random key and info.
    Hkdf(Secret<32>, &'static [u8]),
    /// After ntor-v3 and hs-ntor: the rest of a SHAKE-256 stream.
    Shake(Box<ShakeStream>),
    /// The key bytes of a published vector.
    #[cfg(test)]
    Given(&'static [u8]),
}

impl KeyStream {
    /// Fills `out` with the next key bytes.
    pub fn read(self, out: &mut [u8]) -> Result<(), Error> {
        match self {
            KeyStream::KdfTor(secret) => kdf_tor(secret.expose(), FAST_KH_LEN, out),
            KeyStream::Hkdf(prk, info) => hkdf_expand(&prk, info, out),
            KeyStream::Shake(mut stream) => {
                stream.0.read(out);
                Ok(())
            }
            #[cfg(test)]
            KeyStream::Given(bytes) => {
                out.copy_from_slice(&bytes[..out.len()]);
                Ok(())
            }
        }
    }
}

/// How much of KDF-TOR's output CREATE_FAST has shown to the world as KH.
const FAST_KH_LEN: usize = 20;

/// A SHAKE-256 stream, part of which may have been read.
pub struct ShakeStream(<Shake256 as ExtendableOutput>::Reader);

impl ShakeStream {
    /// The stream of the concatenated `parts`.
    pub fn new(parts: &[&[u8]]) -> Self {
        let mut hash = Shake256::default();
        parts.iter().for_each(|part| hash.update(part));
        ShakeStream(hash.finalize_xof())
    }

    /// Fills `out` with the next bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.read(out);
    }

    /// The next `N` bytes.
    pub fn secret<const N: usize>(&mut self) -> Secret<N> {
        let mut secret = Secret::zero();
        self.0.read(secret.expose_mut());
        secret
    }
}

/// SHAKE-256 of the concatenated `parts`.
pub fn shake256(parts: &[&[u8]], out: &mut [u8]) {
    ShakeStream::new(parts).0.read(out);
}

/// SHA3-256 of the concatenated `parts`.
pub fn sha3_256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha3_256::new();
    parts.iter().for_each(|part| Digest::update(&mut hash, part));
    hash.finalize().into()
}

/// SHA-256 of the concatenated `parts`.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| Digest::update(&mut hash, part));
    hash.finalize().into()
}

/// SHA-1 of the concatenated `parts`; for identities and old formats only.
pub fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut hash = Sha1::new();
    parts.iter().for_each(|part| Digest::update(&mut hash, part));
    hash.finalize().into()
}

/// HMAC-SHA-256 of the concatenated `parts`.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes a key of any length, so this cannot fail; the fallback is never seen.
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else { return [0; 32] };
    parts.iter().for_each(|part| Mac::update(&mut mac, part));
    mac.finalize().into_bytes().into()
}

/// KDF-TOR: SHA-1(K0 | 00) | SHA-1(K0 | 01) | …, its first `skip` bytes left out.
pub fn kdf_tor(k0: &[u8], skip: usize, out: &mut [u8]) -> Result<(), Error> {
    let mut block_number = 0_u8;
    let mut skip = skip;
    let mut rest = out;
    for round in 0..=KDF_TOR_MAX_BLOCKS {
        if rest.is_empty() {
            return Ok(());
        }
        if round == KDF_TOR_MAX_BLOCKS {
            break;
        }
        let mut block = sha1(&[k0, &[block_number]]);
        let fresh = block.get(skip.min(block.len())..).unwrap_or_default();
        let n = fresh.len().min(rest.len());
        let (head, tail) = rest.split_at_mut(n);
        head.copy_from_slice(&fresh[..n]);
        rest = tail;
        skip = skip.saturating_sub(block.len());
        block.zeroize();
        block_number = block_number.wrapping_add(1);
    }
    Err(Error::TooManyKeyBytes)
}

/// HKDF-SHA-256's second half (RFC 5869, section 2.3).
pub fn hkdf_expand(prk: &Secret<32>, info: &[u8], out: &mut [u8]) -> Result<(), Error> {
    if out.len() > HKDF_MAX_BLOCKS * 32 {
        return Err(Error::TooManyKeyBytes);
    }
    let mut block = Secret::<32>::zero();
    for (number, chunk) in (1..=u8::MAX).zip(out.chunks_mut(32)) {
        let before: &[u8] = if number == 1 { &[] } else { block.expose() };
        block = Secret::new(hmac_sha256(prk.expose(), &[before, info, &[number]]));
        chunk.copy_from_slice(&block.expose()[..chunk.len()]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::tests::unhex;

    /// C tor 0.4.9, test_crypto.c, `kdf_TAP`.
    #[test]
    fn kdf_tor_vectors() {
        for (k0, expected) in
            [("", "5ba93c9db0cff93f52b521d7420e43f6eda2784f"), ("Tor", "776c6214fc647aaa5f683c737ee66ec44f03d037")]
        {
            let mut out = [0; 20];
            kdf_tor(k0.as_bytes(), 0, &mut out).unwrap();
            assert_eq!(out[..], unhex(expected));
        }
    }

    #[test]
    fn kdf_tor_can_start_anywhere_and_ends_after_256_blocks() {
        let mut all = vec![0; 256 * 20];
        kdf_tor(b"k0", 0, &mut all).unwrap();
        for skip in [0, 1, 19, 20, 21, 40, 256 * 20] {
            let mut rest = vec![0; all.len() - skip];
            kdf_tor(b"k0", skip, &mut rest).unwrap();
            assert_eq!(rest, all[skip..]);
        }
        assert_eq!(kdf_tor(b"k0", 1, &mut all), Err(Error::TooManyKeyBytes));
    }

    /// C tor 0.4.9, test_crypto.c, `hkdf_sha256`: salt and info are ntor's.
    #[test]
    fn hkdf_vector() {
        let prk = Secret::new(hmac_sha256(b"ntor-curve25519-sha256-1:key_extract", &[b"Tor"]));
        let mut out = [0; 32];
        hkdf_expand(&prk, b"ntor-curve25519-sha256-1:key_expand", &mut out).unwrap();
        assert_eq!(out[..], unhex("5521492a85139a8d9107a2d5c0d9c91610d0f95989975ebee6c02a4f8d622a6c"));
        assert_eq!(hkdf_expand(&prk, b"", &mut [0; 255 * 32 + 1]), Err(Error::TooManyKeyBytes));
    }

    /// RFC 5869, appendix A.1: an output that is no multiple of a block.
    #[test]
    fn hkdf_rfc_vector() {
        let prk = Secret::new(hmac_sha256(&unhex("000102030405060708090a0b0c"), &[&[0x0b; 22]]));
        let mut out = [0; 42];
        hkdf_expand(&prk, &unhex("f0f1f2f3f4f5f6f7f8f9"), &mut out).unwrap();
        let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
        assert_eq!(out[..], unhex(expected));
    }
}
