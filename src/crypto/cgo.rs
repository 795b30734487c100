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

use core::hint::black_box;
use core::mem::ManuallyDrop;

use aes::cipher::common::Reset;
use aes::cipher::consts::U16;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit, KeySizeUser};
use aes::{Aes128Dec, Aes128Enc};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

use super::aes_ctr::xor;
use super::{CELL_BODY_LEN, CellBody, Secret, SendmeTag, same};

/// Length of a tag and of a nonce.
pub const TAG_LEN: usize = 16;
/// Key bytes of one direction: J (K_B, K_U), S (K, B), N.
pub const KEYS_LEN: usize = 80;
/// What the nonce leaves of a cell.
const RIGHT_LEN: usize = CELL_BODY_LEN - TAG_LEN;
/// Blocks of key stream for the right part.
const RIGHT_BLOCKS: usize = RIGHT_LEN.div_ceil(TAG_LEN);
/// Where an update's bytes begin: behind the last block of the right part.
const UPDATE_OFFSET: u8 = 31;
const _: () = assert!(RIGHT_BLOCKS == 31);
/// The mask's input: H, the command, the right part, zeros to a whole block.
const MASK_BLOCKS: usize = (TAG_LEN + 1 + RIGHT_LEN).div_ceil(TAG_LEN);

type Block = [u8; TAG_LEN];

/// What both sides keep of one direction, `E` being the block cipher in the direction
/// they need it.
///
/// Keys change with every cell that begins or ends here, so the old ones are overwritten
/// in place rather than dropped: the ciphers' own wiping, byte by byte, would take longer
/// than the cell.
struct State<E: Et> {
    et_cipher: ManuallyDrop<E>,
    et_hash: Polyval,
    prf_cipher: ManuallyDrop<Aes128Enc>,
    prf_hash: Polyval,
    /// N.
    nonce: Block,
    /// T′.
    last_tag: Block,
}

/// The block cipher of ET, in one of its directions.
trait Et: KeyInit + KeySizeUser<KeySize = U16> {}
impl Et for Aes128Enc {}
impl Et for Aes128Dec {}

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
        *left = self.0.nonce;
        self.wrap(command, cell);
        let nonce = self.0.nonce;
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
        if !same(halves(cell).0, &self.0.nonce) {
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
        *left = self.0.nonce;
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
        if !same(halves(cell).0, &self.0.nonce) {
            return None;
        }
        let nonce = self.0.nonce;
        self.0.update(&nonce);
        Some(tag)
    }
}

impl<E: Et> State<E> {
    fn new(keys: &[u8; KEYS_LEN]) -> Self {
        let mut state = State::blank();
        state.set_keys(keys);
        state
    }

    fn blank() -> Self {
        let zero = &[0; TAG_LEN].into();
        State {
            et_cipher: ManuallyDrop::new(E::new(zero)),
            et_hash: Polyval::new(zero),
            prf_cipher: ManuallyDrop::new(Aes128Enc::new(zero)),
            prf_hash: Polyval::new(zero),
            nonce: [0; TAG_LEN],
            last_tag: [0; TAG_LEN],
        }
    }

    fn set_keys(&mut self, keys: &[u8; KEYS_LEN]) {
        let (blocks, _) = keys.as_chunks::<TAG_LEN>();
        self.et_cipher = ManuallyDrop::new(E::new((&blocks[0]).into()));
        self.et_hash = Polyval::new((&blocks[1]).into());
        self.prf_cipher = ManuallyDrop::new(Aes128Enc::new((&blocks[2]).into()));
        self.prf_hash = Polyval::new((&blocks[3]).into());
        self.nonce = blocks[4];
    }

    /// UPDATE: new keys and a new nonce out of `nonce`; the chain of tags goes on.
    fn update(&mut self, nonce: &Block) {
        let keys = self.next_keys(nonce);
        self.set_keys(keys.expose());
    }

    /// PRF(S, nonce, 1).
    fn next_keys(&mut self, nonce: &Block) -> Secret<KEYS_LEN> {
        let mut keys = Secret::<KEYS_LEN>::zero();
        // Made where they stay, so that no copy of them has to be wiped.
        let (blocks, _) = keys.expose_mut().as_chunks_mut();
        blocks.fill(self.prf_start(nonce));
        self.prf_blocks(UPDATE_OFFSET, Array::cast_slice_from_core_mut(blocks));
        keys
    }

    /// Adds PRF(S, tag, 0) to the right part.
    fn prf_xor(&mut self, tag: &Block, right: &mut [u8; RIGHT_LEN]) {
        let mut blocks = [Array::from(self.prf_start(tag)); RIGHT_BLOCKS];
        self.prf_blocks(0, &mut blocks);
        xor(right, Array::cast_slice_to_core(&blocks).as_flattened());
    }

    /// Where the counter of the key stream for `tag` starts: at a hash of the tag whose low
    /// six bits are cleared, enough for all the blocks there are, so that counting never
    /// carries out of the last byte.
    fn prf_start(&mut self, tag: &Block) -> Block {
        self.prf_hash.reset();
        self.prf_hash.update(&[(*tag).into()]);
        let mut start: Block = self.prf_hash.clone().finalize().into();
        start[TAG_LEN - 1] &= !0x3F;
        start
    }

    /// Makes key stream, from block `offset` on, of `blocks` that are all the start.
    #[inline]
    fn prf_blocks(&self, offset: u8, blocks: &mut [Array<u8, U16>]) {
        for (block, number) in blocks.iter_mut().zip(offset..) {
            block[TAG_LEN - 1] |= number;
        }
        self.prf_cipher.encrypt_blocks(blocks);
    }

    /// The mask of ET: it depends on everything but the left part.
    fn mask(&mut self, command: u8, right: &[u8; RIGHT_LEN]) -> Block {
        let mut input = [0; MASK_BLOCKS * TAG_LEN];
        input[..TAG_LEN].copy_from_slice(&self.last_tag);
        input[TAG_LEN] = command;
        input[TAG_LEN + 1..=TAG_LEN + RIGHT_LEN].copy_from_slice(right);
        self.et_hash.reset();
        self.et_hash.update(Array::cast_slice_from_core(input.as_chunks().0));
        self.et_hash.clone().finalize().into()
    }
}

impl<E: Et> Drop for State<E> {
    fn drop(&mut self) {
        self.set_keys(&[0; KEYS_LEN]);
        // Seen from here the memory is still in use, so the compiler may not skip the wiping.
        black_box(self);
    }
}

fn halves(cell: &mut CellBody) -> (&mut Block, &mut [u8; RIGHT_LEN]) {
    let (left, right) = cell.split_first_chunk_mut().expect("16 of 509 bytes");
    (left, right.try_into().expect("the other 493"))
}

#[cfg(test)]
mod tests;
