//! Every key, handshake, cipher layer and certificate of the Tor protocol, both ends of each.
//!
//! Knows no cell layout beyond a relay cell's 509 bytes and no message: `wire` cuts the
//! bytes, `link`, `circuit` and `onion` put the two together. The only folder that names
//! a cryptographic primitive; secrets are wiped when dropped, compared in constant time
//! and cannot be printed. Called by `link` (certificates, TLS), `circuit` (handshakes and
//! layers), `directory` (signatures) and `onion` (blinding, hs-ntor).
//! Spec: tor-spec, "Preliminaries" and "Creating circuits"; cert-spec; rend-spec-v3.

pub mod aes_ctr;
pub mod blind;
pub mod cert;
pub mod cgo;
pub mod digest;
pub mod ed25519;
pub mod fast;
pub mod hs_ntor;
pub mod kdf;
pub mod layer;
pub mod ntor;
pub mod ntor3;
pub mod password;
pub mod rsa;
pub mod tls;
pub mod tor1;
pub mod x25519;
pub mod x509;

use subtle::{Choice, ConstantTimeEq};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::base::codec;
use crate::base::error::{Blame, Scope};
use crate::base::random::{self, Entropy};

/// Why a handshake, a layer or a key was refused. All of it falls on the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A message has not the length its handshake fixes.
    WrongLength,
    /// The far end's proof does not fit: it has not the key we asked for.
    WrongAuthenticator,
    /// A message was changed, or was made for somebody else.
    WrongMac,
    /// The near end asked for another relay, or for a key we do not hold.
    NotOurKey,
    /// A Diffie-Hellman share of low order: the result would be known to everybody.
    ZeroSharedSecret,
    /// Bytes that are no point of the curve, or a point no honest key is.
    NotACurvePoint,
    /// A signature does not fit its message and key.
    WrongSignature,
    /// An RSA key of a size, exponent or encoding that no part of Tor has.
    BadRsaKey,
    /// More key bytes were asked for than the derivation may give.
    TooManyKeyBytes,
}

impl Error {
    /// Who is at fault.
    pub fn blame(self) -> Blame {
        match self {
            Error::TooManyKeyBytes => Blame::Bug,
            _ => Blame::Peer,
        }
    }

    /// What falls.
    pub fn scope(self) -> Scope {
        Scope::Circuit
    }
}

impl From<codec::Error> for Error {
    fn from(_: codec::Error) -> Self {
        Error::WrongLength
    }
}

/// `N` bytes nobody may see: wiped on drop, compared in constant time, without `Debug`.
#[derive(Clone)]
pub struct Secret<const N: usize>(Zeroizing<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Takes the bytes; the caller's copy, if any, stays the caller's to wipe.
    pub fn new(bytes: [u8; N]) -> Self {
        Secret(Zeroizing::new(bytes))
    }

    /// All zeros, to be filled.
    pub fn zero() -> Self {
        Secret::new([0; N])
    }

    /// Fresh random bytes.
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        Secret::new(random::array(entropy))
    }

    /// The bytes, for use.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// The bytes, to be filled.
    pub fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

/// By its only field.
impl<const N: usize> ZeroizeOnDrop for Secret<N> {}

impl<const N: usize> ConstantTimeEq for Secret<N> {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.expose().ct_eq(other.expose())
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

/// Length of a relay cell's body.
pub const CELL_BODY_LEN: usize = 509;
/// A relay cell's body, encrypted or not.
pub type CellBody = [u8; CELL_BODY_LEN];

/// What a SENDME must repeat to prove that a cell arrived: 20 bytes of tor1, 16 of CGO.
#[derive(Clone, Copy)]
pub struct SendmeTag {
    bytes: [u8; SendmeTag::MAX_LEN],
    /// `len <= MAX_LEN`.
    len: usize,
}

impl SendmeTag {
    /// Length of the longest.
    pub const MAX_LEN: usize = 20;

    /// The first `N` bytes of `digest`, which has them.
    fn new<const N: usize>(digest: &[u8]) -> Self {
        const { assert!(N <= SendmeTag::MAX_LEN) };
        let mut bytes = [0; SendmeTag::MAX_LEN];
        bytes[..N].copy_from_slice(&digest[..N]);
        SendmeTag { bytes, len: N }
    }

    /// The tag as it goes into the message.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Whether a message repeats this tag, compared in constant time.
    pub fn matches(&self, claimed: &[u8]) -> bool {
        same(self.as_bytes(), claimed)
    }
}

impl PartialEq for SendmeTag {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.as_bytes())
    }
}

/// Whether two byte strings are equal, in a time that depends on their lengths only.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    pub(crate) use crate::base::text::unhex;

    /// [`unhex`], of a known length.
    pub(crate) fn unhex_array<const N: usize>(text: &str) -> [u8; N] {
        unhex(text).try_into().unwrap()
    }

    /// SHAKE-256 of an ASCII text: how several vectors name long inputs.
    pub(crate) fn shake<const N: usize>(text: &str) -> [u8; N] {
        let mut bytes = [0; N];
        kdf::shake256(&[text.as_bytes()], &mut bytes);
        bytes
    }

    #[test]
    fn secrets_compare_by_value_and_fresh_ones_differ() {
        let mut entropy = random::Seeded(1);
        let (a, b) = (Secret::<32>::random(&mut entropy), Secret::<32>::random(&mut entropy));
        assert!(a == a.clone());
        assert!(a != b);
        assert!(same(b"abc", b"abc") && !same(b"abc", b"abd") && !same(b"abc", b"ab"));
    }

    /// Compiles only for what wipes itself. A `zeroize` feature that is lost in Cargo.toml
    /// breaks it; where a type of a crate lacks the mark, its neighbour stands for it: the
    /// readers of SHAKE and the HMACs wipe by the same feature as their hashes.
    pub(crate) fn wipes<T: ZeroizeOnDrop>() {}

    #[test]
    fn whatever_holds_a_key_wipes_itself() {
        wipes::<Secret<32>>();
        wipes::<aes_ctr::Aes128>();
        wipes::<aes_ctr::Aes256>();
        wipes::<aes::Aes128Dec>();
        wipes::<sha1::Sha1>();
        wipes::<sha2::Sha256>();
        wipes::<sha2::Sha512>();
        wipes::<sha3::Sha3_256>();
        wipes::<shake::Shake256>();
        wipes::<ed25519_dalek::hazmat::ExpandedSecretKey>();
        wipes::<::rsa::RsaPrivateKey>();
        // The marks above are promises of their crates; this one is ours, so look inside.
        let _wiped_by_its_type: fn(Secret<32>) -> Zeroizing<[u8; 32]> = |secret| secret.0;
    }

    /// What `Secret` relies on: dropping a `Zeroizing` wipes what is in it.
    #[test]
    fn a_dropped_secret_is_wiped() {
        struct Seen<'a>(&'a core::cell::Cell<bool>);
        impl zeroize::Zeroize for Seen<'_> {
            fn zeroize(&mut self) {
                self.0.set(true);
            }
        }
        let wiped = core::cell::Cell::new(false);
        let secret = Zeroizing::new(Seen(&wiped));
        assert!(!wiped.get());
        drop(secret);
        assert!(wiped.get());
    }
}
