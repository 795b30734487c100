//! What the tests and fuzz bodies of this floor share: encoding into a buffer, and the two
//! properties that hold for every message.
//!
//! Not for use by a client. Called by the tests beside the parsers and by the `fuzz_*`
//! functions. Spec: none.

use super::Error;
use crate::base::codec::Writer;

/// The bytes that `encode` writes, however many.
pub fn encoded(encode: impl Fn(&mut Writer<'_>) -> Result<(), Error>) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    loop {
        let mut writer = Writer::new(&mut bytes);
        let result = encode(&mut writer);
        let written = writer.written();
        if result == Err(Error::NoRoom) {
            bytes.resize(bytes.len() * 4, 0);
            continue;
        }
        assert_eq!(result, Ok(()), "what parsed can be encoded");
        bytes.truncate(written);
        return bytes;
    }
}

/// Asserts that what `bytes` parse to, if anything, is encoded and parses again to itself.
macro_rules! assert_reparses {
    ($message:ident, $bytes:expr) => {
        if let Ok(message) = $message::parse($bytes) {
            let again = crate::wire::testing::encoded(|out| message.encode(out));
            assert_eq!($message::parse(&again), Ok(message));
        }
    };
}
pub(in crate::wire) use assert_reparses;

#[cfg(test)]
pub(crate) use crate::base::text::unhex;

/// Asserts that `bytes` parse, and that no shorter prefix of them does.
#[cfg(test)]
pub fn assert_each_prefix_is_truncated(bytes: &[u8], parse: impl Fn(&[u8]) -> Result<(), Error>) {
    assert_eq!(parse(bytes), Ok(()));
    for n in 0..bytes.len() {
        assert_eq!(parse(&bytes[..n]), Err(Error::Truncated), "the first {n} bytes");
    }
}

/// Asserts that a value is written to bytes that parse to it.
#[cfg(test)]
macro_rules! assert_reads_back {
    ($message:ident, $value:expr) => {{
        let bytes = crate::wire::testing::encoded(|out| $value.encode(out));
        assert_eq!($message::parse(&bytes), Ok($value));
    }};
}
#[cfg(test)]
pub(in crate::wire) use assert_reads_back;

/// Asserts that hex digits parse to a value, that it is written as them, that no prefix of
/// them parses, and that bytes after them are ignored.
#[cfg(test)]
macro_rules! assert_vector {
    ($message:ident, $hex:expr, $value:expr) => {{
        let bytes = crate::wire::testing::unhex($hex);
        assert_eq!($message::parse(&bytes), Ok($value));
        assert_eq!(crate::wire::testing::encoded(|out| $value.encode(out)), bytes);
        crate::wire::testing::assert_each_prefix_is_truncated(&bytes, |bytes| $message::parse(bytes).map(drop));
        assert_eq!($message::parse(&[&bytes[..], b"later"].concat()), Ok($value));
    }};
}
#[cfg(test)]
pub(in crate::wire) use assert_vector;
