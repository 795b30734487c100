//! The password of the control port as it is kept: salted and hashed over and over.
//!
//! Makes the line; asks nobody for the password. Called by the command line, and by the control
//! port to come. Spec: control-spec, "AUTHENTICATE"; RFC 2440, "Iterated and Salted S2K". C tor:
//! lib/crypt_ops/crypto_s2k.c.

use sha1::{Digest, Sha1};

use crate::base::text;

/// Which hash and how often: 64 KiB are hashed. C tor's, the only one that it makes.
const INDICATOR: u8 = 0x60;
/// Before the hexadecimal digits.
const PREFIX: &str = "16:";

/// The line of a torrc that lets in whoever knows the password.
pub fn hashed(password: &[u8], salt: [u8; 8]) -> String {
    let digest = iterated(&[&salt[..], password].concat(), count(INDICATOR));
    let all = [&salt[..], &[INDICATOR], &digest].concat();
    format!("{PREFIX}{}", text::hex(&all).to_ascii_uppercase())
}

/// How many bytes an indicator has hashed.
fn count(indicator: u8) -> usize {
    (16 + usize::from(indicator & 15)) << ((indicator >> 4) + 6)
}

/// So many bytes of a text that is said again and again.
fn iterated(text: &[u8], count: usize) -> [u8; 20] {
    let mut hash = Sha1::new();
    let mut left = count;
    while left > 0 {
        let piece = text.get(..left).unwrap_or(text);
        hash.update(piece);
        left -= piece.len();
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three that C tor 0.4.9.11 made, by `--hash-password`.
    #[test]
    fn passwords_are_hashed_as_c_tor_hashes_them() {
        for (password, expected) in [
            ("foo", "16:FD5EA4A785FA4DE7600AF92E917BA24A21D6CEA63023489D2537083D12"),
            ("", "16:6253244838C8548860FD2B3E50980E3D7D1B7EC907292835759FDCB164"),
            ("password", "16:A4AC5AC01D05320660701F69FEB47414821FAE140BC455B49D327E8F88"),
        ] {
            let salt = text::hex_array(&expected[3..19]).unwrap();
            assert_eq!(hashed(password.as_bytes(), salt), expected);
        }
    }

    #[test]
    fn an_indicator_says_how_much_is_hashed() {
        assert_eq!((count(0), count(0x60), count(0xFF)), (1024, 65_536, 65_011_712));
    }
}
