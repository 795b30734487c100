//! Bytes as text: hex, base32 and base64 as Tor writes them.
//!
//! Not for secrets that an attacker could time; decoding is linear and allocates no more
//! than the input. Called by document parsers, onion addresses and the control port.
//! Spec: dir-spec, "Document meta-format"; rend-spec-v3, "Encoding onion addresses".

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Why text is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A character outside the alphabet.
    BadCharacter,
    /// A length no number of bytes has.
    BadLength,
    /// Bits after the last byte that are not zero.
    DirtyTail,
}

/// Upper-case hex.
pub fn hex(bytes: &[u8]) -> String {
    encode(bytes, HEX.as_slice(), 4)
}

/// Hex of either case.
pub fn from_hex(text: &str) -> Result<Vec<u8>, Error> {
    if !text.len().is_multiple_of(2) {
        return Err(Error::BadLength);
    }
    decode(text.as_bytes(), 4, |c| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    })
}

/// The bytes that `text` spells in hex, with blanks, as vectors are written.
#[cfg(test)]
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    from_hex(&text.split_whitespace().collect::<String>()).unwrap()
}

/// Lower-case base32 without padding.
pub fn base32(bytes: &[u8]) -> String {
    encode(bytes, BASE32.as_slice(), 5)
}

/// Base32 of either case, without padding.
pub fn from_base32(text: &str) -> Result<Vec<u8>, Error> {
    decode(text.as_bytes(), 5, |c| match c {
        b'a'..=b'z' => Some(c - b'a'),
        b'A'..=b'Z' => Some(c - b'A'),
        b'2'..=b'7' => Some(c - b'2' + 26),
        _ => None,
    })
}

/// Base64 with `=` to a multiple of four characters.
pub fn base64(bytes: &[u8]) -> String {
    let mut text = base64_unpadded(bytes);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// Base64 without `=`.
pub fn base64_unpadded(bytes: &[u8]) -> String {
    encode(bytes, BASE64.as_slice(), 6)
}

/// Base64, with its padding or without any.
pub fn from_base64(text: &str) -> Result<Vec<u8>, Error> {
    let bare = text.trim_end_matches('=');
    let padding = text.len() - bare.len();
    if padding != 0 && !(padding < 3 && text.len().is_multiple_of(4)) {
        return Err(Error::BadLength);
    }
    decode(bare.as_bytes(), 6, |c| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    })
}

/// Groups of `bits` bits, most significant first, as letters of `alphabet`.
fn encode(bytes: &[u8], alphabet: &[u8], bits: u32) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    let (mut held, mut width) = (0_u32, 0);
    for &byte in bytes {
        held = (held << 8) | u32::from(byte);
        width += 8;
        while width >= bits {
            width -= bits;
            text.push(letter(alphabet, held >> width));
            held &= (1 << width) - 1;
        }
    }
    if width > 0 {
        text.push(letter(alphabet, held << (bits - width)));
    }
    text
}

fn letter(alphabet: &[u8], index: u32) -> char {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    char::from(alphabet.get(index).copied().unwrap_or(b'?'))
}

fn decode(text: &[u8], bits: u32, value: impl Fn(u8) -> Option<u8>) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut held, mut width) = (0_u32, 0);
    for &c in text {
        held = (held << bits) | u32::from(value(c).ok_or(Error::BadCharacter)?);
        width += bits;
        if width >= 8 {
            width -= 8;
            let [.., byte] = (held >> width).to_be_bytes();
            bytes.push(byte);
            held &= (1 << width) - 1;
        }
    }
    // A tail as wide as a letter means that a letter carried nothing.
    if width >= bits {
        return Err(Error::BadLength);
    }
    if held != 0 {
        return Err(Error::DirtyTail);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 4648, section 10 (base32 in lower case and without padding).
    #[test]
    fn published_vectors() {
        for (plain, b64, b32) in [
            ("", "", ""),
            ("f", "Zg==", "my"),
            ("fo", "Zm8=", "mzxq"),
            ("foo", "Zm9v", "mzxw6"),
            ("foob", "Zm9vYg==", "mzxw6yq"),
            ("fooba", "Zm9vYmE=", "mzxw6ytb"),
            ("foobar", "Zm9vYmFy", "mzxw6ytboi"),
        ] {
            assert_eq!(base64(plain.as_bytes()), b64);
            assert_eq!(base32(plain.as_bytes()), b32);
            assert_eq!(from_base64(b64).unwrap(), plain.as_bytes());
            assert_eq!(from_base64(b64.trim_end_matches('=')).unwrap(), plain.as_bytes());
            assert_eq!(from_base32(&b32.to_uppercase()).unwrap(), plain.as_bytes());
        }
        assert_eq!(hex(b"foobar"), "666F6F626172");
    }

    #[test]
    fn bad_text_is_named() {
        assert_eq!(from_hex("0"), Err(Error::BadLength));
        assert_eq!(from_hex("0g"), Err(Error::BadCharacter));
        assert_eq!(from_base64("A"), Err(Error::BadLength));
        assert_eq!(from_base64("AA="), Err(Error::BadLength));
        assert_eq!(from_base64("A==="), Err(Error::BadLength));
        assert_eq!(from_base64("AB"), Err(Error::DirtyTail));
        assert_eq!(from_base64("=AAA"), Err(Error::BadCharacter));
        assert_eq!(from_base32("a"), Err(Error::BadLength));
        assert_eq!(from_base32("ab"), Err(Error::DirtyTail));
        assert_eq!(from_base32("a1"), Err(Error::BadCharacter));
    }

    proptest! {
        #[test]
        fn text_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(from_hex(&hex(&bytes)).unwrap(), &bytes[..]);
            prop_assert_eq!(from_base32(&base32(&bytes)).unwrap(), &bytes[..]);
            prop_assert_eq!(from_base64(&base64(&bytes)).unwrap(), &bytes[..]);
            prop_assert_eq!(from_base64(&base64_unpadded(&bytes)).unwrap(), &bytes[..]);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = (from_hex(&text), from_base32(&text), from_base64(&text));
        }
    }
}
