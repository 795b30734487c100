//! Countries, by the two letters that lists of relays and files of addresses call them by.
//!
//! Which address is in which is for a file to say, that the shell reads. Called by `config`,
//! `directory` and the shell. Spec: none; ISO 3166-1. C tor: lib/geoip/geoip.c.

use core::fmt;

/// A country: two characters, letters in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Of an address that is in no country anybody knows. C tor: "??".
    pub const UNKNOWN: Country = Country(*b"??");
    /// Of an address that proxies hide behind, in old files. C tor: "A1".
    pub const ANONYMOUS: Country = Country(*b"a1");

    /// By its code, in letters of either case.
    pub fn parse(code: &str) -> Option<Country> {
        let code: [u8; 2] = code.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_graphic).then(|| Country(code.map(|byte| byte.to_ascii_lowercase())))
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_two_characters_of_either_case() {
        assert_eq!(Country::parse("DE").map(|country| country.to_string()), Some("de".to_owned()));
        assert_eq!((Country::parse("??"), Country::parse("A1")), (Some(Country::UNKNOWN), Some(Country::ANONYMOUS)));
        for bad in ["", "d", "deu", "d ", "\u{e4}", "d\u{e4}"] {
            assert_eq!(Country::parse(bad), None, "{bad:?}");
        }
    }
}
