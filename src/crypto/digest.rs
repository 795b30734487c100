//! Digests of what is too long to be held: bytes go in as they come.
//!
//! Of public documents only; keyed and secret hashing is in `kdf`. Called by `directory`,
//! which reads documents while they arrive. Spec: dir-spec, "Signing documents"; dir-spec,
//! "Consensus diffs".

use sha2::Digest;

/// SHA-256, as far as it has come. A copy remembers a place.
#[derive(Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes so far.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// SHA3-256, as far as it has come. A copy remembers a place.
#[derive(Clone, Default)]
pub struct Sha3(sha3::Sha3_256);

impl Sha3 {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes so far.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::text;

    /// NIST, example values of FIPS 180-4 and FIPS 202: the digests of "abc".
    #[test]
    fn published_digests_however_the_bytes_are_cut() {
        for cut in 0..=3 {
            let (front, back) = b"abc".split_at(cut);
            let (mut sha2, mut sha3) = (Sha256::default(), Sha3::default());
            for bytes in [front, back] {
                sha2.update(bytes);
                sha3.update(bytes);
            }
            let (sha2, sha3) = (text::hex(&sha2.finish()), text::hex(&sha3.finish()));
            assert_eq!(sha2, "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD");
            assert_eq!(sha3, "3A985DA74FE225B2045C172D6BD390BD855F086E3E9D525B46BFE24511431532");
        }
    }
}
