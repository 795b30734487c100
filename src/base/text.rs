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

/// `N` bytes that `text` spells in hex of either case, and nothing else.
pub fn hex_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut all = 0;
    for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (value_of(&HEX_VALUES, high), value_of(&HEX_VALUES, low));
        all |= high | low;
        *byte = (high << 4) | (low & 15);
    }
    (all != NO_VALUE).then_some(bytes)
}

/// `N` bytes that `text` spells in base64, padded or not, and nothing else.
pub fn base64_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (letters, padding) = text.as_bytes().split_at_checked((N * 8).div_ceil(6))?;
    let is_padded = || padding.iter().all(|&c| c == b'=') && text.len() == N.div_ceil(3) * 4;
    if !(padding.is_empty() || is_padded()) {
        return None;
    }
    let mut all = 0;
    let mut tail = 0;
    for (group, out) in letters.chunks(4).zip(bytes.chunks_mut(3)) {
        let mut held = 0_u32;
        for at in 0..4 {
            let value = group.get(at).map_or(0, |&letter| value_of(&BASE64_VALUES, letter));
            all |= value;
            held = (held << 6) | u32::from(value & 63);
        }
        let [_, spelled @ ..] = held.to_be_bytes();
        let (filled, unused) = spelled.split_at_checked(out.len())?;
        out.copy_from_slice(filled);
        tail = unused.iter().fold(0, |bits, byte| bits | byte);
    }
    (all != NO_VALUE && tail == 0).then_some(bytes)
}

/// In the tables below: no letter of the alphabet. As all its bits are set, it shows in the
/// union of many values; no union of values below 64 has them.
const NO_VALUE: u8 = u8::MAX;
const HEX_VALUES: [u8; 256] = values(HEX, b"0123456789abcdef");
const BASE64_VALUES: [u8; 256] = values(BASE64, BASE64);

/// The place of each letter in `alphabet`, or in the `other` that means the same.
const fn values<const N: usize>(alphabet: &[u8; N], other: &[u8; N]) -> [u8; 256] {
    let mut table = [NO_VALUE; 256];
    let mut at = 0;
    let mut value = 0_u8;
    while at < N {
        table[alphabet[at] as usize] = value;
        table[other[at] as usize] = value;
        at += 1;
        value += 1;
    }
    table
}

fn value_of(table: &[u8; 256], letter: u8) -> u8 {
    table.get(usize::from(letter)).copied().unwrap_or(NO_VALUE)
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

    /// The quick ways read what the slow ones read, and refuse what they refuse.
    #[test]
    fn arrays_read_as_all_text_does() {
        fn agree<const N: usize>(text: &str) {
            let of_length =
                |bytes: Result<Vec<u8>, Error>| bytes.ok().and_then(|bytes| <[u8; N]>::try_from(bytes).ok());
            assert_eq!(base64_array::<N>(text), of_length(from_base64(text)), "{text}");
            assert_eq!(hex_array::<N>(text), of_length(from_hex(text)), "{text}");
        }
        let texts = [
            "Zg==",
            "Zg",
            "Zh",
            "Zm8=",
            "Zm8",
            "Zm9",
            "Zm9v",
            "Zm9vYg==",
            "Zm9vYg=",
            "Zm9vYg",
            "Zm9v=",
            "",
            "=",
            "Zm9vYmE=",
            "Zm9vYmFy",
            "Zm9vYmFy====",
            "0a",
            "0A1b",
            "0g",
            "é",
            "Zm9\u{e9}",
            "a",
            "abc",
            "////",
            "/w==",
            "///=",
        ];
        for text in texts {
            agree::<0>(text);
            agree::<1>(text);
            agree::<2>(text);
            agree::<3>(text);
            agree::<4>(text);
            agree::<6>(text);
        }
    }

    proptest! {
        #[test]
        fn arrays_read_back(bytes: [u8; 32], id: [u8; 20], changed in 0..27_usize, letter: char) {
            prop_assert_eq!(base64_array(&base64(&bytes)), Some(bytes));
            prop_assert_eq!(base64_array(&base64_unpadded(&bytes)), Some(bytes));
            prop_assert_eq!(base64_array(&base64_unpadded(&id)), Some(id));
            prop_assert_eq!(hex_array(&hex(&id)), Some(id));
            let mut text = base64_unpadded(&id);
            text.replace_range(changed..=changed, &letter.to_string());
            let slow = from_base64(&text).ok().and_then(|bytes| <[u8; 20]>::try_from(bytes).ok());
            prop_assert_eq!(base64_array::<20>(&text), slow);
        }

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
