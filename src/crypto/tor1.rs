//! The classic relay cipher: AES in counter mode with a running digest.
//!
//! It cannot tell a changed cell from a foreign one, and a relay that flips a bit is found
//! out only by the hop that owns the cell; `cgo` mends that. The same construction with
//! SHA3-256 and AES-256 protects the hop of an onion service. Called by `layer`.
//! Spec: tor-spec, "Relay cells"; rend-spec-v3, "Using handshake output with legacy hop
//! encryption".

use aes::cipher::{BlockCipherEncrypt, BlockSizeUser, Key, KeyInit, consts::U16};
use sha1::{Digest, Sha1};
use sha3::Sha3_256;

use super::aes_ctr::{Aes128, Aes256, AesCtr};
use super::{CellBody, SendmeTag, same};

/// One direction of an ordinary hop.
pub type Tor1 = Direction<Sha1, Aes128>;
/// One direction of an onion service's hop.
pub type HsTor1 = Direction<Sha3_256, Aes256>;

/// Two bytes that are zero in a cell for this hop.
const RECOGNIZED: core::ops::Range<usize> = 1..3;
/// Four bytes of digest, zero while the digest is made.
const DIGEST: core::ops::Range<usize> = 5..9;
/// How much of the digest goes into the cell.
const DIGEST_LEN: usize = 4;
/// How much of the digest a SENDME repeats.
const TAG_LEN: usize = 20;

/// One direction of one hop: a key stream, and a digest of every cell that began or ended
/// here. The client's forward half and the relay's are the same thing, and so backward.
pub struct Direction<D, C> {
    digest: D,
    stream: AesCtr<C>,
}

impl<D, C> Direction<D, C>
where
    D: Digest + Clone,
    C: BlockCipherEncrypt + KeyInit + BlockSizeUser<BlockSize = U16>,
{
    /// A direction from its digest seed (Df or Db) and its key (Kf or Kb).
    pub fn new(seed: &[u8], key: &Key<C>) -> Self {
        Direction { digest: D::new_with_prefix(seed), stream: AesCtr::new(key, 0) }
    }

    /// Seals a cell that begins here: writes its digest, adds this hop's layer.
    pub fn originate(&mut self, cell: &mut CellBody) -> SendmeTag {
        cell[DIGEST].fill(0);
        self.digest.update(&cell[..]);
        let tag = self.tag();
        cell[DIGEST].copy_from_slice(&tag.as_bytes()[..DIGEST_LEN]);
        self.stream.apply(cell);
        tag
    }

    /// Adds or takes this hop's layer of a cell that begins farther away.
    pub fn wrap(&mut self, cell: &mut CellBody) {
        self.stream.apply(cell);
    }

    /// Takes this hop's layer; a tag means that the cell ends here.
    pub fn peel(&mut self, cell: &mut CellBody) -> Option<SendmeTag> {
        self.stream.apply(cell);
        if cell[RECOGNIZED] != [0, 0] {
            return None;
        }
        // One cell in 65,536 for another hop comes this far. It must leave no trace.
        let before = self.digest.clone();
        let mut claimed = [0; DIGEST_LEN];
        claimed.copy_from_slice(&cell[DIGEST]);
        cell[DIGEST].fill(0);
        self.digest.update(&cell[..]);
        cell[DIGEST].copy_from_slice(&claimed);
        let tag = self.tag();
        if same(&tag.as_bytes()[..DIGEST_LEN], &claimed) {
            Some(tag)
        } else {
            self.digest = before;
            None
        }
    }

    fn tag(&self) -> SendmeTag {
        SendmeTag::new::<TAG_LEN>(&self.digest.clone().finalize())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::crypto::kdf::{self, ShakeStream};
    use crate::crypto::tests::{shake, unhex};

    pub(crate) const SEED: &str = "'You mean to tell me that there's a version of Sha-3 with no limit on the output length?', \
        said Tom shakily.";

    /// Df 20, Db 20, Kf 16, Kb 16, and 20 bytes nobody uses.
    pub(crate) const HOPS: [&[u8; 92]; 3] = [
        b"    'My public key is in this signed x509 object', said Tom assertively.      (N-PREG-VIRYL)",
        b"'Let's chart the pedal phlanges in the tomb', said Tom cryptographically.  (PELCG-GBR-TENCU)",
        b"     'Segmentation fault bugs don't _just happen_', said Tom seethingly.        (P-GUVAT-YL)",
    ];

    fn forward(keys: &[u8; 92]) -> Tor1 {
        let key: [u8; 16] = keys[40..56].try_into().unwrap();
        Tor1::new(&keys[..20], &key.into())
    }

    pub(crate) fn data_cell(body: &[u8; 498]) -> CellBody {
        let mut cell = [0; 509];
        cell[..11].copy_from_slice(&[2, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0xF2]);
        cell[11..].copy_from_slice(body);
        cell
    }

    /// C tor, test_relaycrypt.c, and Arti 2.7, tor-proto, `testdata/cell_crypt.rs`: three
    /// hops, the last of which is addressed. The tag, the front and the SHA-256 of the cells
    /// that are given.
    pub(crate) fn published(number: usize) -> Option<[&'static str; 3]> {
        match number {
            0 => Some([
                "1339633cc1527afa8565bed5a02f855cb2fd26be",
                "caec8c2606b65a1d42eebb1dd3fdc997",
                "f3cc9a1db3b472b95a5344d4bd9756bf8a1b827b4b65770f4bea3e2486e37ad6",
            ]),
            1 => Some([
                "145c5b0a512b3c6fa6cd2be8face0748e6df75b9",
                "5670825c1c8c446bf1adca2492a35589",
                "d531b194233f70e76d72e4d5b656099328ae95634401bbb26ae71904b26b65a6",
            ]),
            50 => Some([
                "baf820fd38668e73e6b783ac68870da1cc2fa0cb",
                "e728044dc5c658c7059f6cb9619a4d9f",
                "0ceaabe1dd9fd32184163dcf130543ec24c58f4aa5c3a718a782e01cfa2305fb",
            ]),
            _ => None,
        }
    }

    #[test]
    fn published_vectors() {
        let mut client = HOPS.map(forward);
        let mut relays = HOPS.map(forward);
        let mut stream = ShakeStream::new(&[SEED.as_bytes()]);
        for number in 0..51 {
            let plain = data_cell(stream.secret::<498>().expose());
            let mut cell = plain;
            let tag = client[2].originate(&mut cell);
            client[1].wrap(&mut cell);
            client[0].wrap(&mut cell);
            if let Some([digest, start, sum]) = published(number) {
                assert_eq!(tag.as_bytes(), unhex(digest));
                assert_eq!(cell[..16], unhex(start));
                assert_eq!(kdf::sha256(&[&cell])[..], unhex(sum));
            }
            assert!(relays[0].peel(&mut cell).is_none());
            assert!(relays[1].peel(&mut cell).is_none());
            assert!(relays[2].peel(&mut cell) == Some(tag));
            assert_eq!(cell[11..], plain[11..]);
        }
    }

    /// None is published. Made with a program of its own over Python's `hashlib` and
    /// `cryptography`, so with OpenSSL's primitives; the key order is read from C tor's
    /// source.
    #[test]
    fn onion_service_vectors() {
        let keys: [u8; 128] = shake("hs layer test");
        let kf: [u8; 32] = keys[64..96].try_into().unwrap();
        let mut near = HsTor1::new(&keys[..32], &kf.into());
        let mut far = HsTor1::new(&keys[..32], &kf.into());
        for (number, digest, start, sum) in [
            (
                0,
                "260efb2e887d05343095f6394d0cfb5c35f4c8b5",
                "dc353786e39179788561f6f34564ed34",
                "17e624a73620a54bcd16dd3f7b5cf55d1b80dc6ac338f34d3ffa15056a24c450",
            ),
            (
                1,
                "8ee9e11e19c992bf55190a32ae1a0a37cf49c589",
                "7ea652d1434f3ca26a55801a2e36f028",
                "32b88931d9bea48ac485370fa06d7c1f7b39ef1525d1428e592766a039bb230c",
            ),
            (
                2,
                "d7c06ca872a53bbe5560a4db75be7c334c538af0",
                "eca3dea9eb287ad50222801efdb5e696",
                "443e28ba8922fd4d3a6e3d525cf33246742ec8a4b79ecd569b2c49242de48bc1",
            ),
        ] {
            let mut cell = data_cell(&shake(&format!("cell{number}")));
            let tag = near.originate(&mut cell);
            assert_eq!(tag.as_bytes(), unhex(digest));
            assert_eq!(cell[..16], unhex(start));
            assert_eq!(kdf::sha256(&[&cell])[..], unhex(sum));
            assert!(far.peel(&mut cell) == Some(tag));
        }
    }

    #[test]
    fn a_cell_that_only_looks_recognized_leaves_the_digest_alone() {
        let (mut near, mut far) = (forward(HOPS[0]), forward(HOPS[0]));
        let mut foreign = [7; 509];
        foreign[RECOGNIZED].fill(0);
        near.wrap(&mut foreign);
        assert!(far.peel(&mut foreign).is_none());
        let mut cell = data_cell(&[1; 498]);
        let tag = near.originate(&mut cell);
        assert!(far.peel(&mut cell) == Some(tag));
    }

    #[test]
    fn any_changed_byte_is_noticed_by_the_hop_that_owns_the_cell() {
        for byte in 0..509 {
            let (mut near, mut far) = (forward(HOPS[0]), forward(HOPS[0]));
            let mut cell = data_cell(&[1; 498]);
            near.originate(&mut cell);
            cell[byte] ^= 0x80;
            assert!(far.peel(&mut cell).is_none());
        }
    }
}
