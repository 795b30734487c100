//! TLS records under an AEAD, for the portable provider: TLS 1.3 and TLS 1.2, each suite.
//!
//! Not the ciphers themselves, which are the RustCrypto crates'. Works in place: one
//! allocation per record sent, none per record received. Called by rustls through the
//! suites of `portable.rs`. Spec: RFC 8446, section 5.2; RFC 5288 (AES-GCM in TLS 1.2);
//! RFC 7905 (ChaCha20-Poly1305 in TLS 1.2).

use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::{AeadInOut, KeyInit, KeySizeUser};
use core::marker::PhantomData;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, KeyBlockShape, MessageDecrypter, MessageEncrypter,
    NONCE_LEN, Nonce, OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls12AeadAlgorithm,
    Tls13AeadAlgorithm, UnsupportedOperationError, make_tls12_aad, make_tls13_aad,
};
use rustls::{ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion};

pub(super) static AES_128_GCM: Algorithm<aes_gcm::Aes128Gcm> = Algorithm::new(Nonce12::OnTheWire);
pub(super) static AES_256_GCM: Algorithm<aes_gcm::Aes256Gcm> = Algorithm::new(Nonce12::OnTheWire);
pub(super) static CHACHA20_POLY1305: Algorithm<chacha20poly1305::ChaCha20Poly1305> = Algorithm::new(Nonce12::Derived);

/// What all three ciphers have in common.
pub(super) trait Cipher: AeadInOut<NonceSize = U12, TagSize = U16> + KeyInit + Send + Sync + 'static {}

impl<C: AeadInOut<NonceSize = U12, TagSize = U16> + KeyInit + Send + Sync + 'static> Cipher for C {}

/// A cipher as rustls asks for it. It holds no key.
pub(super) struct Algorithm<C> {
    nonce12: Nonce12,
    cipher: PhantomData<fn() -> C>,
}

/// How TLS 1.2 makes nonces. (TLS 1.3 always derives them.)
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nonce12 {
    /// Four secret bytes, then eight that the record carries.
    OnTheWire,
    /// Twelve secret bytes xor the record's number.
    Derived,
}

/// One direction of a TLS 1.3 connection.
struct Records13<C> {
    cipher: C,
    iv: Iv,
}

/// One direction of a TLS 1.2 connection.
struct Records12<C> {
    cipher: C,
    /// When the record carries half of the nonce: our counter's start, unused for opening.
    iv: [u8; NONCE_LEN],
    nonce12: Nonce12,
}

impl<C> Algorithm<C> {
    const fn new(nonce12: Nonce12) -> Self {
        Algorithm { nonce12, cipher: PhantomData }
    }
}

impl<C: Cipher> Tls13AeadAlgorithm for Algorithm<C> {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Records13 { cipher: keyed::<C>(&key), iv })
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Records13 { cipher: keyed::<C>(&key), iv })
    }

    fn key_len(&self) -> usize {
        <C as KeySizeUser>::key_size()
    }

    fn extract_keys(&self, _: AeadKey, _: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

impl<C: Cipher> Tls12AeadAlgorithm for Algorithm<C> {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        Box::new(Records12 { cipher: keyed::<C>(&key), iv: joined(iv, extra), nonce12: self.nonce12 })
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        Box::new(Records12 { cipher: keyed::<C>(&key), iv: joined(iv, &[]), nonce12: self.nonce12 })
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        let explicit_nonce_len = self.nonce12.carried();
        KeyBlockShape {
            enc_key_len: <C as KeySizeUser>::key_size(),
            fixed_iv_len: NONCE_LEN - explicit_nonce_len,
            explicit_nonce_len,
        }
    }

    fn extract_keys(
        &self,
        _: AeadKey,
        _: &[u8],
        _: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

impl<C: Cipher> MessageEncrypter for Records13<C> {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, seq: u64) -> Result<OutboundOpaqueMessage, Error> {
        let length = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(length);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&message.typ.to_array());
        seal(&self.cipher, Nonce::new(&self.iv, seq).0, &make_tls13_aad(length), &mut payload, 0)?;
        Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, payload))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len + 1 + TAG_LEN
    }
}

impl<C: Cipher> MessageDecrypter for Records13<C> {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let aad = make_tls13_aad(message.payload.len());
        let opened = open(&self.cipher, Nonce::new(&self.iv, seq).0, &aad, &mut message.payload)?;
        message.payload.truncate(opened);
        message.into_tls13_unpadded_message()
    }
}

impl<C: Cipher> MessageEncrypter for Records12<C> {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, seq: u64) -> Result<OutboundOpaqueMessage, Error> {
        let carried = self.nonce12.carried();
        let nonce = Nonce::new(&Iv::new(self.iv), seq).0;
        let aad = make_tls12_aad(seq, message.typ, message.version, message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(self.encrypted_payload_len(message.payload.len()));
        payload.extend_from_slice(&nonce[NONCE_LEN - carried..]);
        payload.extend_from_chunks(&message.payload);
        seal(&self.cipher, nonce, &aad, &mut payload, carried)?;
        Ok(OutboundOpaqueMessage::new(message.typ, message.version, payload))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        self.nonce12.carried() + payload_len + TAG_LEN
    }
}

impl<C: Cipher> MessageDecrypter for Records12<C> {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let carried = self.nonce12.carried();
        let nonce = match self.nonce12 {
            Nonce12::Derived => Nonce::new(&Iv::new(self.iv), seq).0,
            Nonce12::OnTheWire => {
                let explicit = message.payload.get(..carried).ok_or(Error::DecryptError)?;
                joined(&self.iv[..NONCE_LEN - carried], explicit)
            }
        };
        let length = message.payload.len().checked_sub(carried + TAG_LEN).ok_or(Error::DecryptError)?;
        let aad = make_tls12_aad(seq, message.typ, message.version, length);
        open(&self.cipher, nonce, &aad, &mut message.payload[carried..])?;
        if length > MAX_FRAGMENT_LEN {
            return Err(Error::PeerSentOversizedRecord);
        }
        Ok(message.into_plain_message_range(carried..carried + length))
    }
}

impl Nonce12 {
    /// How many bytes of the nonce a record carries.
    fn carried(self) -> usize {
        match self {
            Nonce12::OnTheWire => 8,
            Nonce12::Derived => 0,
        }
    }
}

fn keyed<C: Cipher>(key: &AeadKey) -> C {
    C::new_from_slice(key.as_ref()).expect("rustls cuts keys to the length the algorithm names")
}

/// `front` then `back` then zeros.
fn joined(front: &[u8], back: &[u8]) -> [u8; NONCE_LEN] {
    let mut bytes = [0; NONCE_LEN];
    bytes.iter_mut().zip(front.iter().chain(back)).for_each(|(to, from)| *to = *from);
    bytes
}

/// Encrypts `payload` from `start` on and appends the tag.
fn seal<C: Cipher>(
    cipher: &C,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    payload: &mut PrefixedPayload,
    start: usize,
) -> Result<(), Error> {
    let text = &mut payload.as_mut()[start..];
    let tag = cipher.encrypt_inout_detached(&nonce.into(), aad, text.into()).map_err(|_| Error::EncryptError)?;
    payload.extend_from_slice(&tag);
    Ok(())
}

/// Checks and decrypts `payload`, whose tag comes last; the length of the text.
fn open<C: Cipher>(cipher: &C, nonce: [u8; NONCE_LEN], aad: &[u8], payload: &mut [u8]) -> Result<usize, Error> {
    let (text, tag) = payload.split_last_chunk_mut::<TAG_LEN>().ok_or(Error::DecryptError)?;
    let length = text.len();
    cipher.decrypt_inout_detached(&nonce.into(), aad, text.into(), &(*tag).into()).map_err(|_| Error::DecryptError)?;
    Ok(length)
}

const TAG_LEN: usize = 16;
/// The most text a record may hold.
const MAX_FRAGMENT_LEN: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::text::{from_hex, hex};

    /// Opens a whole ciphertext and every truncation and single-bit change of it.
    fn opens_only_untouched<C: Cipher>(key: &str, nonce: &str, aad: &str, sealed: &str, text: &[u8]) {
        let cipher = C::new_from_slice(&from_hex(key).unwrap()).unwrap();
        let nonce = from_hex(nonce).unwrap().try_into().unwrap();
        let (aad, sealed) = (from_hex(aad).unwrap(), from_hex(sealed).unwrap());

        let mut payload = sealed.clone();
        let length = open(&cipher, nonce, &aad, &mut payload).unwrap();
        assert_eq!(hex(&payload[..length]), hex(text));
        let mut payload = PrefixedPayload::from(text);
        seal(&cipher, nonce, &aad, &mut payload, 0).unwrap();
        assert_eq!(hex(payload.as_ref()), hex(&sealed));

        for length in 0..sealed.len() {
            assert_eq!(open(&cipher, nonce, &aad, &mut sealed[..length].to_vec()), Err(Error::DecryptError));
        }
        for bit in 0..sealed.len() * 8 {
            let mut payload = sealed.clone();
            payload[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&cipher, nonce, &aad, &mut payload), Err(Error::DecryptError));
        }
    }

    /// The GCM specification of McGrew and Viega, test cases 4 and 16.
    #[test]
    fn aes_gcm_agrees_with_its_specification() {
        let text = from_hex(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        )
        .unwrap();
        let (nonce, aad) = ("cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2");
        opens_only_untouched::<aes_gcm::Aes128Gcm>(
            "feffe9928665731c6d6a8f9467308308",
            nonce,
            aad,
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
             21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091\
             5bc94fbc3221a5db94fae95ae7121a47",
            &text,
        );
        opens_only_untouched::<aes_gcm::Aes256Gcm>(
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            nonce,
            aad,
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
             76fc6ece0f4e1768cddf8853bb2d551b",
            &text,
        );
    }

    /// RFC 8439, section 2.8.2.
    #[test]
    fn chacha20_poly1305_agrees_with_rfc_8439() {
        opens_only_untouched::<chacha20poly1305::ChaCha20Poly1305>(
            "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
            "070000004041424344454647",
            "50515253c0c1c2c3c4c5c6c7",
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6\
             3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36\
             92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
             3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691",
            b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
              sunscreen would be it.",
        );
    }

    /// RFC 8448, section 3: the client's first record of application data.
    #[test]
    fn a_record_of_a_known_connection_opens() {
        let cipher =
            aes_gcm::Aes128Gcm::new_from_slice(&from_hex("17422dda596ed5d9acd890e3c63f5051").unwrap()).unwrap();
        let iv: [u8; NONCE_LEN] = from_hex("5b78923dee08579033e523d9").unwrap().try_into().unwrap();
        let mut records = Records13 { cipher, iv: Iv::from(iv) };
        let mut sealed = from_hex(
            "a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a\
             6292a2977014bd1e3deae63aeebb21694915e4",
        )
        .unwrap();
        let record = InboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, &mut sealed);
        let opened = records.decrypt(record, 0).unwrap();
        assert_eq!(opened.typ, ContentType::ApplicationData);
        assert_eq!(opened.payload, (0..50).collect::<Vec<u8>>());
    }

    /// RFC 5246, section 6.2.1, and RFC 8446, section 5.4: at most 2^14 bytes of text.
    #[test]
    fn a_record_holds_16_384_bytes_and_no_more() {
        fn opens<C: Cipher>(algorithm: &Algorithm<C>, length: usize) -> [Result<usize, Error>; 2] {
            let cipher = || C::new_from_slice(&vec![1; C::key_size()]).unwrap();
            let text = vec![7; length];
            let message = || OutboundPlainMessage {
                typ: ContentType::ApplicationData,
                version: ProtocolVersion::TLSv1_2,
                payload: text[..].into(),
            };
            let mut old = Records12 { cipher: cipher(), iv: [2; NONCE_LEN], nonce12: algorithm.nonce12 };
            let mut new = Records13 { cipher: cipher(), iv: Iv::from([2; NONCE_LEN]) };
            let reopen = |sealed: OutboundOpaqueMessage, by: &mut dyn MessageDecrypter| {
                let mut payload = sealed.payload.as_ref().to_vec();
                let record = InboundOpaqueMessage::new(sealed.typ, sealed.version, &mut payload);
                by.decrypt(record, 0).map(|opened| opened.payload.len())
            };
            let sealed = [old.encrypt(message(), 0).unwrap(), new.encrypt(message(), 0).unwrap()];
            let [by_old, by_new] = sealed;
            [reopen(by_old, &mut old), reopen(by_new, &mut new)]
        }
        for length in [0, 1, 16_383, 16_384] {
            assert_eq!(opens(&AES_128_GCM, length), [Ok(length), Ok(length)]);
            assert_eq!(opens(&CHACHA20_POLY1305, length), [Ok(length), Ok(length)]);
        }
        for length in [16_385, 17_000] {
            let refused = [Err(Error::PeerSentOversizedRecord), Err(Error::PeerSentOversizedRecord)];
            assert_eq!(opens(&AES_128_GCM, length), refused);
            assert_eq!(opens(&CHACHA20_POLY1305, length), refused);
        }
    }
}
