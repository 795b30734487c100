//! Counter Galois Onion, the relay cipher that turns any changed cell, and all after it,
//! into noise.
//!
//! Heads up, read proposal 359 first. A hop keeps per direction: a wide-block cipher over
//! the whole cell (UIV: a tweakable block cipher ET over the first 16 bytes, a key stream
//! PRF over the rest), a nonce N that marks the cells of this hop, and T′, the tag of the
//! previous cell, which chains them. Relays encrypt and clients decrypt, in both
//! directions, because only encryption hides what was changed. Not negotiation: `circuit`
//! asks for it by ntor-v3. Called by `layer`. Spec: proposal 359; tor-spec, "Counter
//! Galois Onion".

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128Dec, Aes128Enc};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;
use zeroize::Zeroize;

use super::aes_ctr::{keystream, xor};
use super::{CELL_BODY_LEN, CellBody, Secret, SendmeTag, same};

/// Length of a tag and of a nonce.
pub const TAG_LEN: usize = 16;
/// Key bytes of one direction: J (K_B, K_U), S (K, B), N.
pub const KEYS_LEN: usize = 80;
/// What the nonce leaves of a cell.
const RIGHT_LEN: usize = CELL_BODY_LEN - TAG_LEN;
/// Blocks of key stream for the right part; an update's bytes come from behind them.
const RIGHT_BLOCKS: usize = RIGHT_LEN.div_ceil(TAG_LEN);
/// The same as a step of the counter.
const UPDATE_OFFSET: u128 = 31;
const _: () = assert!(RIGHT_BLOCKS == 31);
/// The mask's input: H, the command, the right part, zeros to a whole block.
const MASK_BLOCKS: usize = (TAG_LEN + 1 + RIGHT_LEN).div_ceil(TAG_LEN);

type Block = [u8; TAG_LEN];

/// What both sides keep of one direction, `E` being the block cipher in the direction
/// they need it.
struct State<E> {
    et_cipher: E,
    et_hash: Polyval,
    prf_cipher: Aes128Enc,
    prf_hash: Polyval,
    /// N.
    nonce: Secret<TAG_LEN>,
    /// T′.
    last_tag: Block,
}

/// The client's half of either direction, which decrypts.
pub struct Client(State<Aes128Dec>);
/// A relay's half of either direction, which encrypts.
pub struct Relay(State<Aes128Enc>);

impl Client {
    /// A direction from its key bytes.
    pub fn new(keys: &[u8; KEYS_LEN]) -> Self {
        Client(State::new(keys))
    }

    /// Seals a forward cell that begins here for this hop. What the caller has in the
    /// first 16 bytes is overwritten.
    pub fn originate(&mut self, command: u8, cell: &mut CellBody) -> SendmeTag {
        let (left, _) = halves(cell);
        *left = *self.0.nonce.expose();
        self.wrap(command, cell);
        let nonce = *self.0.nonce.expose();
        self.0.update(&nonce);
        SendmeTag::new::<TAG_LEN>(halves(cell).0)
    }

    /// Adds this hop's layer to a forward cell for a hop farther away.
    pub fn wrap(&mut self, command: u8, cell: &mut CellBody) {
        self.open(command, cell);
    }

    /// Takes this hop's layer of a backward cell; a tag means that the cell began there.
    pub fn peel(&mut self, command: u8, cell: &mut CellBody) -> Option<SendmeTag> {
        let tag = self.open(command, cell);
        if !same(halves(cell).0, self.0.nonce.expose()) {
            return None;
        }
        self.0.update(&tag);
        Some(SendmeTag::new::<TAG_LEN>(&tag))
    }

    /// Decrypts the cell, chained to the one before; gives the tag it came with.
    fn open(&mut self, command: u8, cell: &mut CellBody) -> Block {
        let (left, right) = halves(cell);
        let tag = *left;
        self.0.prf_xor(&tag, right);
        let mask = self.0.mask(command, right);
        xor(left, &mask);
        self.0.et_cipher.decrypt_block(left.into());
        xor(left, &mask);
        self.0.last_tag = tag;
        tag
    }
}

impl Relay {
    /// A direction from its key bytes.
    pub fn new(keys: &[u8; KEYS_LEN]) -> Self {
        Relay(State::new(keys))
    }

    /// Seals a backward cell that begins here. What the caller has in the first 16 bytes
    /// is overwritten.
    pub fn originate(&mut self, command: u8, cell: &mut CellBody) -> SendmeTag {
        let (left, _) = halves(cell);
        *left = *self.0.nonce.expose();
        self.wrap(command, cell);
        let tag = *halves(cell).0;
        self.0.update(&tag);
        SendmeTag::new::<TAG_LEN>(&tag)
    }

    /// Adds this hop's layer to a backward cell from a hop farther away.
    pub fn wrap(&mut self, command: u8, cell: &mut CellBody) {
        let (left, right) = halves(cell);
        let mask = self.0.mask(command, right);
        xor(left, &mask);
        self.0.et_cipher.encrypt_block(left.into());
        xor(left, &mask);
        let tag = *left;
        self.0.prf_xor(&tag, right);
        self.0.last_tag = tag;
    }

    /// Takes this hop's layer of a forward cell; a tag means that the cell ends here.
    pub fn peel(&mut self, command: u8, cell: &mut CellBody) -> Option<SendmeTag> {
        let tag = SendmeTag::new::<TAG_LEN>(halves(cell).0);
        self.wrap(command, cell);
        if !same(halves(cell).0, self.0.nonce.expose()) {
            return None;
        }
        let nonce = *self.0.nonce.expose();
        self.0.update(&nonce);
        Some(tag)
    }
}

impl<E: KeyInit + aes::cipher::KeySizeUser<KeySize = aes::cipher::consts::U16>> State<E> {
    fn new(keys: &[u8; KEYS_LEN]) -> Self {
        let (blocks, _) = keys.as_chunks::<TAG_LEN>();
        let [k_b, k_u, k, b, nonce] = [blocks[0], blocks[1], blocks[2], blocks[3], blocks[4]].map(Secret::new);
        State {
            et_cipher: E::new(k_b.expose().into()),
            et_hash: Polyval::new(k_u.expose().into()),
            prf_cipher: Aes128Enc::new(k.expose().into()),
            prf_hash: Polyval::new(b.expose().into()),
            nonce,
            last_tag: [0; TAG_LEN],
        }
    }

    /// UPDATE: new keys and a new nonce out of `nonce`; the chain of tags goes on.
    fn update(&mut self, nonce: &Block) {
        let last_tag = self.last_tag;
        *self = State::new(self.next_keys(nonce).expose());
        self.last_tag = last_tag;
    }

    /// PRF(S, nonce, 1).
    fn next_keys(&self, nonce: &Block) -> Secret<KEYS_LEN> {
        let mut blocks = [Array::from([0; TAG_LEN]); KEYS_LEN / TAG_LEN];
        keystream(&self.prf_cipher, self.prf_iv(nonce).wrapping_add(UPDATE_OFFSET), &mut blocks);
        let mut keys = Secret::zero();
        for (key, block) in keys.expose_mut().as_chunks_mut().0.iter_mut().zip(&mut blocks) {
            *key = (*block).into();
            block.zeroize();
        }
        keys
    }

    /// Adds PRF(S, tag, 0) to the right part.
    fn prf_xor(&self, tag: &Block, right: &mut [u8; RIGHT_LEN]) {
        let mut blocks = [Array::from([0; TAG_LEN]); RIGHT_BLOCKS];
        keystream(&self.prf_cipher, self.prf_iv(tag), &mut blocks);
        xor(right, Array::cast_slice_to_core(&blocks).as_flattened());
    }

    /// The first counter for `tag`: a hash whose low six bits are free for 64 blocks.
    fn prf_iv(&self, tag: &Block) -> u128 {
        let mut hash = self.prf_hash.clone();
        hash.update(&[(*tag).into()]);
        u128::from_be_bytes(hash.finalize().into()) & !0x3F
    }

    /// The mask of ET: it depends on everything but the left part.
    fn mask(&self, command: u8, right: &[u8; RIGHT_LEN]) -> Block {
        let mut input = [0; MASK_BLOCKS * TAG_LEN];
        input[..TAG_LEN].copy_from_slice(&self.last_tag);
        input[TAG_LEN] = command;
        input[TAG_LEN + 1..=TAG_LEN + RIGHT_LEN].copy_from_slice(right);
        let mut hash = self.et_hash.clone();
        hash.update(Array::cast_slice_from_core(input.as_chunks().0));
        hash.finalize().into()
    }
}

fn halves(cell: &mut CellBody) -> (&mut Block, &mut [u8; RIGHT_LEN]) {
    let (left, right) = cell.split_first_chunk_mut().expect("16 of 509 bytes");
    (left, right.try_into().expect("the other 493"))
}

#[cfg(test)]
mod tests;
