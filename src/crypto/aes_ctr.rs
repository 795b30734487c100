//! AES in counter mode, as Tor uses it: a 128-bit big-endian counter, one long stream.
//!
//! Authenticates nothing; whoever calls it has a digest or a MAC of its own. Called by
//! `tor1` and `cgo` for every cell, by the handshakes and the onion-service documents for
//! short texts. Written here because a cell is not a whole number of blocks and because
//! CGO starts in the middle of a stream. Spec: tor-spec, "Ciphers".

use aes::cipher::{Array, BlockCipherEncrypt, BlockSizeUser, Key, KeyInit, consts::U16};
use zeroize::Zeroize;

/// AES-128, encryption only: half the key schedule.
pub type Aes128 = aes::Aes128Enc;
/// AES-256, encryption only.
pub type Aes256 = aes::Aes256Enc;

const BLOCK: usize = 16;
/// Blocks made at a time: a relay cell is 31.8 of them.
const BATCH: usize = 32;

type Block = Array<u8, U16>;

/// A key stream at some position. Its secrets are wiped on drop.
pub struct AesCtr<C> {
    cipher: C,
    /// The counter of the next block to make.
    counter: u128,
    /// The last block made, of which the first `used` bytes are spent.
    tail: [u8; BLOCK],
    /// `used <= BLOCK`.
    used: usize,
}

impl<C> AesCtr<C>
where
    C: BlockCipherEncrypt + KeyInit + BlockSizeUser<BlockSize = U16>,
{
    /// The stream of `key` from the block numbered `iv` on.
    pub fn new(key: &Key<C>, iv: u128) -> Self {
        AesCtr::with_cipher(C::new(key), iv)
    }

    /// The stream of a cipher whose key schedule is made already.
    pub fn with_cipher(cipher: C, iv: u128) -> Self {
        AesCtr { cipher, counter: iv, tail: [0; BLOCK], used: BLOCK }
    }

    /// Encrypts or decrypts `data` in place, and moves on behind it.
    pub fn apply(&mut self, data: &mut [u8]) {
        let held = (BLOCK - self.used).min(data.len());
        let (head, rest) = data.split_at_mut(held);
        xor(head, &self.tail[self.used..]);
        self.used += held;
        for chunk in rest.chunks_mut(BATCH * BLOCK) {
            let mut stream = [Block::default(); BATCH];
            let count = chunk.len().div_ceil(BLOCK);
            self.counter = keystream(&self.cipher, self.counter, &mut stream[..count]);
            let bytes = Array::cast_slice_to_core(&stream[..count]).as_flattened();
            xor(chunk, bytes);
            self.tail.copy_from_slice(&bytes[bytes.len() - BLOCK..]);
            self.used = BLOCK - (bytes.len() - chunk.len());
        }
    }
}

impl<C> Drop for AesCtr<C> {
    fn drop(&mut self) {
        // The cipher wipes its own key schedule.
        self.tail.zeroize();
        self.counter.zeroize();
    }
}

/// Fills `blocks` with the key stream from `counter` on, and gives the counter after it.
pub fn keystream<C>(cipher: &C, counter: u128, blocks: &mut [Block]) -> u128
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let mut counter = counter;
    for block in blocks.iter_mut() {
        *block = Array::from(counter.to_be_bytes());
        counter = counter.wrapping_add(1);
    }
    cipher.encrypt_blocks(blocks);
    counter
}

/// Adds the front of `stream` to `data`.
pub fn xor(data: &mut [u8], stream: &[u8]) {
    for (byte, key) in data.iter_mut().zip(stream) {
        *byte ^= key;
    }
}

/// AES-256-CTR from counter zero, for a text that has a key of its own.
pub fn apply_once(key: &[u8; 32], data: &mut [u8]) {
    AesCtr::<Aes256>::new(key.into(), 0).apply(data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::tests::{unhex, unhex_array};
    use proptest::prelude::*;

    /// NIST SP 800-38A, appendix F.5.1 and F.5.5.
    #[test]
    fn nist_vectors() {
        let plain = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51
            30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";
        let iv = u128::from_be_bytes(unhex_array("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"));
        let mut data = unhex(plain);
        AesCtr::<Aes128>::new(&unhex_array::<16>("2b7e151628aed2a6abf7158809cf4f3c").into(), iv).apply(&mut data);
        let expected = "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff
            5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee";
        assert_eq!(data, unhex(expected));

        let mut data = unhex(plain);
        let key = unhex_array::<32>("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
        AesCtr::<Aes256>::new(&key.into(), iv).apply(&mut data);
        let expected = "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5
            2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6";
        assert_eq!(data, unhex(expected));
    }

    #[test]
    fn the_counter_wraps_over_all_its_bits() {
        let key = [9_u8; 16];
        let mut across = [0; 48];
        AesCtr::<Aes128>::new(&key.into(), u128::MAX).apply(&mut across);
        let mut from_zero = [0; 32];
        AesCtr::<Aes128>::new(&key.into(), 0).apply(&mut from_zero);
        assert_eq!(across[16..], from_zero);
    }

    proptest! {
        #[test]
        fn a_stream_is_the_same_however_it_is_cut(cuts in proptest::collection::vec(0_usize..700, 1..8)) {
            let total = cuts.iter().sum();
            let mut whole = vec![0; total];
            AesCtr::<Aes128>::new(&[1; 16].into(), 7).apply(&mut whole);
            let mut pieces = vec![0; total];
            let mut stream = AesCtr::<Aes128>::new(&[1; 16].into(), 7);
            let mut rest = &mut pieces[..];
            for cut in cuts {
                let (head, tail) = rest.split_at_mut(cut);
                stream.apply(head);
                rest = tail;
            }
            prop_assert_eq!(whole, pieces);
        }
    }
}
