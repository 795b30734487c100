//! Bounded reading and writing of byte slices; every length check of the project is here.
//!
//! Knows no protocol: `wire`, `crypto` and the document parsers give the bytes meaning.
//! Called by every parser and encoder. Spec: tor-spec, "Notation and encoding" (all
//! integers big-endian).

/// Why bytes could not be read, or a value not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The input ended inside a field.
    Truncated,
    /// The input went on after the last field.
    TrailingBytes,
    /// The output has no room for the value.
    NoRoom,
    /// A value is longer than its length field can say.
    LengthTooLarge,
}

/// Reads fields off the front of a slice. Nothing is copied, nothing is allocated.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes, as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(u8::from_be_bytes)
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_be_bytes)
    }

    /// A body after its one-byte length.
    pub fn u8_prefixed(&mut self) -> Result<&'a [u8], Error> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// A body after its two-byte length.
    pub fn u16_prefixed(&mut self) -> Result<&'a [u8], Error> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// Everything up to, not including, the first `stop`, which is consumed.
    pub fn until(&mut self, stop: u8) -> Result<&'a [u8], Error> {
        let at = self.rest.iter().position(|&byte| byte == stop).ok_or(Error::Truncated)?;
        let taken = self.take(at)?;
        self.u8()?;
        Ok(taken)
    }

    /// All that is left; the reader is then empty.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The end of a message that must be read to its last byte.
    pub fn finish(self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::TrailingBytes) }
    }
}

/// Writes fields to the front of a slice, and never past its end.
#[derive(Debug)]
pub struct Writer<'a> {
    /// `at <= bytes.len()`.
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// A writer at the front of `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Writer { bytes, at: 0 }
    }

    /// How many bytes were written.
    pub fn written(&self) -> usize {
        self.at
    }

    /// How many more fit.
    pub fn room(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `n` bytes of the output, to be filled by the caller.
    pub fn reserve(&mut self, n: usize) -> Result<&mut [u8], Error> {
        if n > self.room() {
            return Err(Error::NoRoom);
        }
        let start = self.at;
        self.at += n;
        self.bytes.get_mut(start..start + n).ok_or(Error::NoRoom)
    }

    /// Copies `bytes`.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.reserve(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> Result<(), Error> {
        self.bytes(&value.to_be_bytes())
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self, value: u16) -> Result<(), Error> {
        self.bytes(&value.to_be_bytes())
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self, value: u32) -> Result<(), Error> {
        self.bytes(&value.to_be_bytes())
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self, value: u64) -> Result<(), Error> {
        self.bytes(&value.to_be_bytes())
    }

    /// A body after its one-byte length.
    pub fn u8_prefixed(&mut self, body: &[u8]) -> Result<(), Error> {
        self.u8(u8::try_from(body.len()).map_err(|_| Error::LengthTooLarge)?)?;
        self.bytes(body)
    }

    /// A body after its two-byte length.
    pub fn u16_prefixed(&mut self, body: &[u8]) -> Result<(), Error> {
        self.u16(u16::try_from(body.len()).map_err(|_| Error::LengthTooLarge)?)?;
        self.bytes(body)
    }

    /// A list's one-byte count.
    pub fn u8_count(&mut self, count: usize) -> Result<(), Error> {
        self.u8(u8::try_from(count).map_err(|_| Error::LengthTooLarge)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_read_back_as_written() {
        let mut bytes = [0; 64];
        let mut writer = Writer::new(&mut bytes);
        writer.u8(1).unwrap();
        writer.u16(0x0203).unwrap();
        writer.u32(0x0405_0607).unwrap();
        writer.u64(0x0809_0A0B_0C0D_0E0F).unwrap();
        writer.u8_prefixed(b"ab").unwrap();
        writer.u16_prefixed(b"cde").unwrap();
        writer.bytes(b"name\0").unwrap();
        let n = writer.written();

        let mut reader = Reader::new(&bytes[..n]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(0x0203));
        assert_eq!(reader.u32(), Ok(0x0405_0607));
        assert_eq!(reader.u64(), Ok(0x0809_0A0B_0C0D_0E0F));
        assert_eq!(reader.u8_prefixed(), Ok(&b"ab"[..]));
        assert_eq!(reader.u16_prefixed(), Ok(&b"cde"[..]));
        assert_eq!(reader.until(0), Ok(&b"name"[..]));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn reading_past_the_end_is_an_error_and_takes_nothing() {
        let mut reader = Reader::new(&[0, 9]);
        assert_eq!(reader.u32(), Err(Error::Truncated));
        assert_eq!(reader.remaining(), 2);
        assert_eq!(reader.u16_prefixed(), Err(Error::Truncated));
        assert_eq!(Reader::new(b"abc").until(0), Err(Error::Truncated));
        assert_eq!(Reader::new(b"abc").finish(), Err(Error::TrailingBytes));
        assert_eq!(Reader::new(b"abc").take(usize::MAX), Err(Error::Truncated));
    }

    #[test]
    fn writing_past_the_end_is_an_error_and_writes_nothing() {
        let mut bytes = [0; 3];
        let mut writer = Writer::new(&mut bytes);
        assert_eq!(writer.u32(1), Err(Error::NoRoom));
        assert_eq!(writer.written(), 0);
        assert_eq!(writer.u8_prefixed(&[0; 256]), Err(Error::LengthTooLarge));
        assert_eq!(writer.u16(7), Ok(()));
        assert_eq!(writer.room(), 1);
        assert_eq!(writer.reserve(usize::MAX).map(|_| ()), Err(Error::NoRoom));
    }
}
