//! RSA keys as Tor still has them: relay identities, and the authorities' two keys.
//!
//! Signatures are PKCS#1 v1.5 padding over a bare digest, without the object identifier
//! that names the hash. Not the signatures of TLS (`tls`). A client only checks; making
//! keys and signing is for the lab and the tests. Called by `cert`, by
//! `directory/certs.rs`, and by the lab's authorities and relays. Spec: tor-spec,
//! "Ciphers"; dir-spec, "Creating key certificates".

use core::convert::Infallible;

use rsa::pkcs1::{DecodeRsaPrivateKey, DecodeRsaPublicKey, EncodeRsaPrivateKey, EncodeRsaPublicKey};
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa::traits::PublicKeyParts;
use rsa::{BoxedUint, Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use zeroize::Zeroizing;

use super::{Error, kdf};
use crate::base::RsaId;
use crate::base::random::Entropy;

/// Bits of a relay's identity key.
pub const RELAY_IDENTITY_BITS: u32 = 1024;
/// The largest key anybody in Tor has is an authority's of 3072 bits; ours, for a bound.
const MAX_BITS: u32 = 4096;
/// Every RSA key of Tor has this exponent.
const EXPONENT: u32 = 65_537;

/// What PKCS#1 v1.5 puts in front of a SHA-256 (RFC 8017, section 9.2, note 1).
const SHA256_DIGEST_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(RsaPublicKey);

impl PublicKey {
    /// A key from its PKCS#1 DER, of which it must be the only encoding.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        let key = RsaPublicKey::from_pkcs1_der(der).map_err(|_| Error::BadRsaKey)?;
        let key = PublicKey(key);
        // The library of today refuses short keys and second encodings too. The tests hold the
        // outcome, whoever brings it about.
        let sound = key.bits() >= RELAY_IDENTITY_BITS
            && key.bits() <= MAX_BITS
            && key.0.e() == &BoxedUint::from(EXPONENT)
            && key.to_der() == der;
        if sound { Ok(key) } else { Err(Error::BadRsaKey) }
    }

    /// The PKCS#1 DER.
    pub fn to_der(&self) -> Vec<u8> {
        self.0.to_pkcs1_der().map(|der| der.as_bytes().to_vec()).unwrap_or_default()
    }

    /// Bits of the modulus.
    pub fn bits(&self) -> u32 {
        self.0.n().bits()
    }

    /// The identity that this key is: the SHA-1 of its DER.
    pub fn id(&self) -> RsaId {
        RsaId(kdf::sha1(&[&self.to_der()]))
    }

    /// Checks a signature over a bare digest.
    pub fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<(), Error> {
        self.0.verify(Pkcs1v15Sign::new_unprefixed(), digest, signature).map_err(|_| Error::WrongSignature)
    }
}

/// A key pair, for the lab and the tests.
pub struct KeyPair(RsaPrivateKey);

impl KeyPair {
    /// A fresh pair of `bits` bits: 1024 take tens of milliseconds, 3072 most of a second.
    pub fn random(entropy: &mut dyn Entropy, bits: u32) -> Result<Self, Error> {
        let bits = usize::try_from(bits).map_err(|_| Error::BadRsaKey)?;
        RsaPrivateKey::new(&mut Rng(entropy), bits).map(KeyPair).map_err(|_| Error::BadRsaKey)
    }

    /// A pair from its PKCS#1 DER.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        RsaPrivateKey::from_pkcs1_der(der).map(KeyPair).map_err(|_| Error::BadRsaKey)
    }

    /// The PKCS#1 DER.
    pub fn to_der(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let der = self.0.to_pkcs1_der().map_err(|_| Error::BadRsaKey)?;
        Ok(Zeroizing::new(der.as_bytes().to_vec()))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.to_public_key())
    }

    /// Signs the SHA-256 of `message`, the hash named: what X.509 wants.
    pub fn sign_sha256(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.sign(&[&SHA256_DIGEST_INFO[..], &kdf::sha256(&[message])].concat())
    }

    /// Signs a bare digest.
    pub fn sign(&self, digest: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.sign(Pkcs1v15Sign::new_unprefixed(), digest).map_err(|_| Error::BadRsaKey)
    }
}

/// Our source of randomness as the library wants it.
struct Rng<'a>(&'a mut dyn Entropy);

impl TryRng for Rng<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_be_bytes(crate::base::random::array(self.0)))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_be_bytes(crate::base::random::array(self.0)))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for Rng<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;
    use crate::base::text;
    use crate::crypto::tests::unhex;

    /// Arti 2.7, tor-cert, `tests/testvec_certs.rs`: a relay of a test network.
    const IDENTITY: &str = "30818902818100d38b1e6ceb946e0db0751f4cbace3dcb9688b6c25304227b4710c35afb73627e50500f
        5913e158b621802612d1c75827003703338375237552eb3cd3c12f6ab3604e60c1a2d26bb1fbad206ff023969a90909d6a65a545
        8a5312c26ebd3a3dad30302d4515cdcd264146ac18e6fc60a04bd3ec327f04294d96ba5aa25b464c3f0203010001";

    #[test]
    fn published_identity() {
        let key = PublicKey::from_der(&unhex(IDENTITY)).unwrap();
        assert_eq!(key.id().0[..], unhex("2f1fb49bb332a9eec617e41e911c33fb3890aef3"));
        assert_eq!(key.bits(), 1024);
        assert_eq!(key.to_der(), unhex(IDENTITY));
    }

    #[test]
    fn any_cut_or_second_encoding_of_a_key_is_refused() {
        let der = unhex(IDENTITY);
        for n in 0..der.len() {
            assert_eq!(PublicKey::from_der(&der[..n]).err(), Some(Error::BadRsaKey));
        }
        assert_eq!(PublicKey::from_der(&[&der[..], &[0]].concat()).err(), Some(Error::BadRsaKey));
        let mut other_exponent = der.clone();
        *other_exponent.last_mut().unwrap() = 3;
        assert_eq!(PublicKey::from_der(&other_exponent).err(), Some(Error::BadRsaKey));
    }

    /// A key of `bits` bits that nobody has the other half of.
    fn key_of(bits: usize, length_bytes: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
        let mut modulus = vec![0xA5; bits.div_ceil(8)];
        modulus[0] = 1 << ((bits - 1) % 8);
        if modulus[0] >= 0x80 {
            modulus.insert(0, 0);
        }
        let element = |tag: u8, contents: &[u8]| [&[tag], &length_bytes(contents.len())[..], contents].concat();
        element(0x30, &[element(0x02, &modulus), element(0x02, &[1, 0, 1])].concat())
    }

    /// DER's one way to write a length below 65,536.
    fn shortest(length: usize) -> Vec<u8> {
        let bytes = u16::try_from(length).unwrap().to_be_bytes();
        match length {
            0..0x80 => vec![bytes[1]],
            0x80..0x100 => vec![0x81, bytes[1]],
            _ => vec![0x82, bytes[0], bytes[1]],
        }
    }

    #[test]
    fn a_key_has_1024_to_4096_bits() {
        for (bits, sound) in [(1016, false), (1023, false), (1024, true), (4096, true), (4097, false), (8192, false)] {
            let key = PublicKey::from_der(&key_of(bits, shortest));
            assert_eq!(key.is_ok_and(|key| usize::try_from(key.bits()) == Ok(bits)), sound, "{bits}");
        }
    }

    /// BER has many ways to write one number, and each would be another identity.
    #[test]
    fn a_key_is_written_in_one_way() {
        let long = |length: usize| [&[0x83, 0], &u16::try_from(length).unwrap().to_be_bytes()[..]].concat();
        let long_if_short = |length: usize| if length < 0x80 { vec![0x81, 3] } else { shortest(length) };
        for other in [key_of(1024, long), key_of(1024, long_if_short)] {
            assert_eq!(PublicKey::from_der(&other).err(), Some(Error::BadRsaKey));
        }
        // A zero in front of the exponent, or of the modulus; a negative modulus.
        let der = unhex(IDENTITY);
        let (head, exponent) = der.split_at(der.len() - 5);
        let padded = [&[0x30, 0x81, 0x8A], &head[3..], &[2, 4, 0], &exponent[2..]].concat();
        assert_eq!(PublicKey::from_der(&padded).err(), Some(Error::BadRsaKey));
        assert_eq!(head[..7], [0x30, 0x81, 0x89, 2, 0x81, 0x81, 0]);
        let padded = [&[0x30, 0x81, 0x8A, 2, 0x81, 0x82, 0, 0], &der[7..]].concat();
        assert_eq!(PublicKey::from_der(&padded).err(), Some(Error::BadRsaKey));
        let negative = [&[0x30, 0x81, 0x88, 2, 0x81, 0x80], &der[7..]].concat();
        assert_eq!(PublicKey::from_der(&negative).err(), Some(Error::BadRsaKey));
    }

    /// Arti 2.7, tor-netdoc, `testdata/authcert1.txt`: of an authority of the real network in
    /// 2020, with an identity of 3072 bits and a signing key of 2048.
    /// Spec: dir-spec, "Creating key certificates".
    #[test]
    fn published_authority_certificate() {
        const TEXT: &str = include_str!("rsa/authority_certificate.txt");
        let object = |keyword: &str| {
            let (_, rest) = TEXT.split_once(&format!("\n{keyword}\n-----BEGIN ")).unwrap();
            let (_, body) = rest.split_once('\n').unwrap();
            let (body, _) = body.split_once("-----END").unwrap();
            text::from_base64(&body.split_whitespace().collect::<String>()).unwrap()
        };
        let identity = PublicKey::from_der(&object("dir-identity-key")).unwrap();
        let signing = PublicKey::from_der(&object("dir-signing-key")).unwrap();
        assert_eq!((identity.bits(), signing.bits()), (3072, 2048));
        assert!(TEXT.contains(&format!("\nfingerprint {}\n", text::hex(&identity.id().0))));

        // The signing key accepts the identity; the identity signs all up to its signature.
        let cross = object("dir-key-crosscert");
        assert_eq!(signing.verify(&identity.id().0, &cross), Ok(()));
        assert_eq!(signing.verify(&signing.id().0, &cross), Err(Error::WrongSignature));
        assert_eq!(identity.verify(&identity.id().0, &cross), Err(Error::WrongSignature));
        let end = TEXT.find("-----BEGIN SIGNATURE").unwrap();
        let digest = kdf::sha1(&[&TEXT.as_bytes()[..end]]);
        let certification = object("dir-key-certification");
        assert_eq!(identity.verify(&digest, &certification), Ok(()));
        let digest = kdf::sha1(&[&TEXT.as_bytes()[1..end]]);
        assert_eq!(identity.verify(&digest, &certification), Err(Error::WrongSignature));
    }

    #[test]
    fn signatures_cover_a_digest_of_any_length() {
        let pair = KeyPair::random(&mut Seeded(1), RELAY_IDENTITY_BITS).unwrap();
        let pair = KeyPair::from_der(&pair.to_der().unwrap()).unwrap();
        let public = PublicKey::from_der(&pair.public().to_der()).unwrap();
        for digest in [&[7_u8; 20][..], &[7; 32]] {
            let signature = pair.sign(digest).unwrap();
            assert_eq!(public.verify(digest, &signature), Ok(()));
            assert_eq!(public.verify(&digest[1..], &signature), Err(Error::WrongSignature));
            assert_eq!(public.verify(digest, &signature[1..]), Err(Error::WrongSignature));
            let mut changed = signature.clone();
            changed[64] ^= 1;
            assert_eq!(public.verify(digest, &changed), Err(Error::WrongSignature));
        }
    }
}
