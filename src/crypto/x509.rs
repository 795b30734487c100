//! The little of X.509 that Tor needs: a certificate's public key and dates, and the
//! self-made certificates of relays.
//!
//! Not a validator: no names, no chains, no extensions, no signatures. A relay's
//! certificate is bound to its identity by the CERTS cell, never by an authority. Reading
//! allocates nothing. Called by `tls/` (the leaf's key), by `link/identity.rs` (the RSA
//! identity) and, for writing, by the lab. Spec: tor-spec, "Negotiating and initializing
//! channels"; cert-spec, "RSA identity certificates"; RFC 5280, section 4.1; X.690.

use crate::base::codec::{self, Reader};
use crate::base::error::{Blame, Scope};
use crate::base::time::{Wall, civil, days_since_epoch};

/// Why bytes are not a certificate, or not one of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The bytes ended inside an element.
    Truncated,
    /// The bytes went on after the last element.
    TrailingBytes,
    /// An element is of another kind than the one that belongs there.
    UnexpectedTag,
    /// A length without an end, which DER forbids.
    IndefiniteLength,
    /// A length written with more bytes than needed, which DER forbids.
    LengthNotMinimal,
    /// A length of four bytes or more: nothing of that size is a certificate.
    LengthTooLarge,
    /// A bit string that does not end on a byte.
    PartialByte,
    /// A date that is not one.
    BadDate,
    /// The key is not an RSA key.
    NotRsa,
    /// The RSA key's numbers are not two positive integers.
    BadRsaKey,
}

impl Error {
    /// Always the one who made the certificate.
    pub fn blame(self) -> Blame {
        Blame::Peer
    }

    /// No link without a readable certificate.
    pub fn scope(self) -> Scope {
        Scope::Link
    }
}

impl From<codec::Error> for Error {
    fn from(error: codec::Error) -> Self {
        match error {
            codec::Error::TrailingBytes => Error::TrailingBytes,
            _ => Error::Truncated,
        }
    }
}

/// What a client wants to know of a certificate, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate<'a> {
    /// The key it speaks for.
    pub public_key: PublicKey<'a>,
    /// Not valid before this date; dates before 1970 read as 1970.
    pub not_before: Wall,
    /// Not valid after this date.
    pub not_after: Wall,
}

/// A SubjectPublicKeyInfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey<'a> {
    /// The contents of the AlgorithmIdentifier: an OID and its parameters, still DER.
    pub algorithm: &'a [u8],
    /// The key, as its algorithm writes it.
    pub key: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads a certificate that fills `der` to its last byte.
    pub fn parse(der: &'a [u8]) -> Result<Self, Error> {
        let mut outer = Reader::new(der);
        let mut certificate = Reader::new(element(&mut outer, SEQUENCE)?);
        outer.finish()?;
        let mut body = Reader::new(element(&mut certificate, SEQUENCE)?);
        element(&mut certificate, SEQUENCE)?; // signature algorithm
        bits(&mut certificate)?; // signature
        certificate.finish()?;

        if peek_tag(&body) == Some(EXPLICIT_0) {
            element(&mut body, EXPLICIT_0)?; // version
        }
        element(&mut body, INTEGER)?; // serial number
        element(&mut body, SEQUENCE)?; // signature algorithm
        element(&mut body, SEQUENCE)?; // issuer
        let mut validity = Reader::new(element(&mut body, SEQUENCE)?);
        let not_before = date(&mut validity)?;
        let not_after = date(&mut validity)?;
        validity.finish()?;
        element(&mut body, SEQUENCE)?; // subject
        let public_key = PublicKey::read(&mut body)?;
        // Unique identifiers and extensions: whatever they say, we would not act on it.
        Ok(Certificate { public_key, not_before, not_after })
    }
}

impl<'a> PublicKey<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let mut info = Reader::new(element(reader, SEQUENCE)?);
        let algorithm = element(&mut info, SEQUENCE)?;
        let key = bits(&mut info)?;
        info.finish()?;
        Ok(PublicKey { algorithm, key })
    }

    /// The PKCS#1 form of an RSA key, whose SHA-1 is a relay's RSA identity.
    pub fn rsa_pkcs1(&self) -> Result<&'a [u8], Error> {
        if element(&mut Reader::new(self.algorithm), OID)? != RSA_ENCRYPTION {
            return Err(Error::NotRsa);
        }
        let mut outer = Reader::new(self.key);
        let mut numbers = Reader::new(element(&mut outer, SEQUENCE)?);
        outer.finish()?;
        for _modulus_then_exponent in 0..2 {
            let number = element(&mut numbers, INTEGER)?;
            if number.first().is_none_or(|&first| first >= 0x80) || number == [0] {
                return Err(Error::BadRsaKey);
            }
        }
        numbers.finish()?;
        Ok(self.key)
    }
}

/// The P-256 secret inside a PKCS#8 private key.
pub fn p256_secret_from_pkcs8(der: &[u8]) -> Result<&[u8], Error> {
    let mut outer = Reader::new(der);
    let mut info = Reader::new(element(&mut outer, SEQUENCE)?);
    outer.finish()?;
    element(&mut info, INTEGER)?; // version
    if element(&mut info, SEQUENCE)? != P256_KEY {
        return Err(Error::UnexpectedTag);
    }
    let mut wrapped = Reader::new(element(&mut info, OCTET_STRING)?);
    let mut key = Reader::new(element(&mut wrapped, SEQUENCE)?);
    element(&mut key, INTEGER)?; // version
    element(&mut key, OCTET_STRING)
}

/// A self-made certificate before it is signed.
#[derive(Clone, Copy, Debug)]
pub struct Template<'a> {
    /// Eight random bytes, as C tor's.
    pub serial: [u8; 8],
    /// The issuer's common name.
    pub issuer: &'a str,
    /// The subject's common name.
    pub subject: &'a str,
    /// Valid from.
    pub not_before: Wall,
    /// Valid until.
    pub not_after: Wall,
    /// The key it speaks for, from [`p256_public_key`] or [`rsa_public_key`].
    pub public_key: &'a [u8],
    /// How `sign` signs.
    pub signed_with: SignatureAlgorithm,
}

/// How a certificate is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// ecdsa-with-SHA256; the signature is DER.
    EcdsaSha256,
    /// sha256WithRSAEncryption.
    RsaSha256,
}

impl Template<'_> {
    /// The finished certificate; `sign` gets the bytes to be signed.
    pub fn sign(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let algorithm = match self.signed_with {
            SignatureAlgorithm::EcdsaSha256 => write(SEQUENCE, &[ECDSA_WITH_SHA256]),
            SignatureAlgorithm::RsaSha256 => write(SEQUENCE, &[RSA_WITH_SHA256]),
        };
        let body = write(
            SEQUENCE,
            &[
                &write(EXPLICIT_0, &[&write(INTEGER, &[&[2]])]), // version 3
                &write_unsigned(&self.serial),
                &algorithm,
                &write_common_name(self.issuer),
                &write(SEQUENCE, &[&write_date(self.not_before), &write_date(self.not_after)]),
                &write_common_name(self.subject),
                self.public_key,
            ],
        );
        let signature = sign(&body);
        write(SEQUENCE, &[&body, &algorithm, &write(BIT_STRING, &[&[0], &signature])])
    }
}

/// The SubjectPublicKeyInfo of an uncompressed P-256 point.
pub fn p256_public_key(point: &[u8; 65]) -> Vec<u8> {
    write(SEQUENCE, &[&write(SEQUENCE, &[P256_KEY]), &write(BIT_STRING, &[&[0], point])])
}

/// The SubjectPublicKeyInfo of an RSA key in PKCS#1 form.
pub fn rsa_public_key(pkcs1: &[u8]) -> Vec<u8> {
    let algorithm = write(SEQUENCE, &[&write(OID, &[RSA_ENCRYPTION]), &[0x05, 0x00]]);
    write(SEQUENCE, &[&algorithm, &write(BIT_STRING, &[&[0], pkcs1])])
}

/// The PKCS#8 form of a P-256 secret. The caller wipes it.
pub fn p256_pkcs8(secret: &[u8; 32], point: &[u8; 65]) -> Vec<u8> {
    // A fixed frame, because building it from nested parts would leave copies of the secret.
    let mut der = Vec::with_capacity(PKCS8_HEAD.len() + 32 + PKCS8_MIDDLE.len() + 65);
    der.extend_from_slice(PKCS8_HEAD);
    der.extend_from_slice(secret);
    der.extend_from_slice(PKCS8_MIDDLE);
    der.extend_from_slice(point);
    der
}

/// What fuzzing calls: nothing may panic, and what parses must lie inside the input.
pub fn fuzz(bytes: &[u8]) {
    if let Ok(certificate) = Certificate::parse(bytes) {
        let inside = bytes.as_ptr_range();
        assert!(inside.contains(&certificate.public_key.key.as_ptr()) || certificate.public_key.key.is_empty());
        let _either = certificate.public_key.rsa_pkcs1();
    }
    let _either = p256_secret_from_pkcs8(bytes);
}

/// The contents of the next element, which must be a `tag`.
fn element<'a>(reader: &mut Reader<'a>, tag: u8) -> Result<&'a [u8], Error> {
    if reader.u8()? != tag {
        return Err(Error::UnexpectedTag);
    }
    let length = length(reader)?;
    Ok(reader.take(length)?)
}

/// A definite length in its shortest form.
fn length(reader: &mut Reader<'_>) -> Result<usize, Error> {
    let first = reader.u8()?;
    let (length, least) = match first {
        0..=0x7F => return Ok(usize::from(first)),
        0x80 => return Err(Error::IndefiniteLength),
        0x81 => (u32::from(reader.u8()?), 0x80),
        0x82 => (u32::from(reader.u16()?), 0x100),
        0x83 => (u32::from_be_bytes([0, reader.u8()?, reader.u8()?, reader.u8()?]), 0x1_0000),
        _ => return Err(Error::LengthTooLarge),
    };
    if length < least {
        return Err(Error::LengthNotMinimal);
    }
    usize::try_from(length).map_err(|_| Error::LengthTooLarge)
}

/// The bytes of a bit string.
fn bits<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    let mut string = Reader::new(element(reader, BIT_STRING)?);
    if string.u8()? != 0 {
        return Err(Error::PartialByte);
    }
    Ok(string.rest())
}

fn peek_tag(reader: &Reader<'_>) -> Option<u8> {
    let mut ahead = *reader;
    ahead.u8().ok()
}

/// A UTCTime (`YYMMDDHHMMSSZ`) or a GeneralizedTime (`YYYYMMDDHHMMSSZ`).
fn date(reader: &mut Reader<'_>) -> Result<Wall, Error> {
    let long = peek_tag(reader) == Some(GENERALIZED_TIME);
    let mut text = Reader::new(element(reader, if long { GENERALIZED_TIME } else { UTC_TIME })?);
    let year = match two_digits(&mut text)? {
        century if long => century * 100 + two_digits(&mut text)?,
        // RFC 5280: the years 1950 to 2049.
        year if year >= 50 => 1900 + year,
        year => 2000 + year,
    };
    let (month, day) = (two_digits(&mut text)?, two_digits(&mut text)?);
    let days = days_since_epoch(year, month, day).ok_or(Error::BadDate)?;
    let hour = at_most(two_digits(&mut text)?, 23)?;
    let minute = at_most(two_digits(&mut text)?, 59)?;
    let second = at_most(two_digits(&mut text)?, 59)?;
    if text.rest() != b"Z" {
        return Err(Error::BadDate);
    }
    if year < 1970 {
        return Ok(Wall::from_secs(0));
    }
    Ok(Wall::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

fn two_digits(text: &mut Reader<'_>) -> Result<u64, Error> {
    match text.array().map_err(|_| Error::BadDate)? {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => Ok(u64::from(tens - b'0') * 10 + u64::from(ones - b'0')),
        _ => Err(Error::BadDate),
    }
}

fn at_most(value: u64, most: u64) -> Result<u64, Error> {
    if value <= most { Ok(value) } else { Err(Error::BadDate) }
}

/// One element of the concatenated `parts`.
fn write(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut der = vec![tag];
    write_length(&mut der, length);
    parts.iter().for_each(|part| der.extend_from_slice(part));
    der
}

fn write_length(der: &mut Vec<u8>, length: usize) {
    let bytes = length.to_be_bytes();
    match length {
        0..=0x7F => der.extend_from_slice(&bytes[bytes.len() - 1..]),
        _ => {
            let needed = &bytes[bytes.iter().position(|&byte| byte != 0).unwrap_or(0)..];
            der.push(0x80 | u8::try_from(needed.len()).expect("a length has at most eight bytes"));
            der.extend_from_slice(needed);
        }
    }
}

/// A positive INTEGER, in its shortest form.
fn write_unsigned(number: &[u8]) -> Vec<u8> {
    let digits = &number[number.iter().position(|&byte| byte != 0).unwrap_or(number.len().saturating_sub(1))..];
    let pad: &[u8] = if digits.first().is_none_or(|&first| first >= 0x80) { &[0] } else { &[] };
    write(INTEGER, &[pad, digits])
}

fn write_common_name(name: &str) -> Vec<u8> {
    let attribute = write(SEQUENCE, &[COMMON_NAME, &write(UTF8_STRING, &[name.as_bytes()])]);
    write(SEQUENCE, &[&write(SET, &[&attribute])])
}

fn write_date(date: Wall) -> Vec<u8> {
    let (days, in_day) = (date.as_secs() / 86_400, date.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (in_day / 3600, in_day / 60 % 60, in_day % 60);
    let rest = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    if year < 2050 {
        return write(UTC_TIME, &[format!("{:02}", year % 100).as_bytes(), rest.as_bytes()]);
    }
    write(GENERALIZED_TIME, &[format!("{year:04}").as_bytes(), rest.as_bytes()])
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0C;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const EXPLICIT_0: u8 = 0xA0;

/// 1.2.840.113549.1.1.1, without its tag.
const RSA_ENCRYPTION: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
/// 1.2.840.113549.1.1.11 and its NULL.
const RSA_WITH_SHA256: &[u8] = &[0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B, 0x05, 0x00];
/// 1.2.840.10045.4.3.2, which has no parameters.
const ECDSA_WITH_SHA256: &[u8] = &[0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
/// id-ecPublicKey on prime256v1.
const P256_KEY: &[u8] =
    &[0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
/// 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
/// PKCS#8 and SEC1 around a P-256 key, up to the 32 bytes of the secret.
const PKCS8_HEAD: &[u8] = &[
    0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08,
    0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07, 0x04, 0x6D, 0x30, 0x6B, 0x02, 0x01, 0x01, 0x04, 0x20,
];
/// From the secret to the public point.
const PKCS8_MIDDLE: &[u8] = &[0xA1, 0x44, 0x03, 0x42, 0x00];

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::text::{from_hex, hex};
    use proptest::prelude::*;
    use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPublicKey};
    use rsa::signature::{SignatureEncoding, Signer, Verifier};
    use sha1::{Digest, Sha1};

    /// A relay's RSA identity as OpenSSL 3.0 writes it, with extensions C tor's lacks.
    const IDENTITY: &str = "308202023082016ba00302010202081122334455667788300d06092a864886f70d01010b050030193117301506035504030c0e7777772e6964746573742e6e6574301e170d3236313132313132353032315a170d3237313132313132353032315a30193117301506035504030c0e7777772e6964746573742e6e657430819f300d06092a864886f70d010101050003818d0030818902818100dabaddfc06ea8fbcad2d6dc95452fe8acc768664ebe79b6a1ec67bb91edd6097d0469819cae7cafcc8d4e3268a0dd8f8921cbe5770fbad3b7803af840a7a858ea930b999e9096e8c76a26f87f3bf543eddb241e6f1a1bfe8a67712859bb808a339a524eb8b67f839127d6aebe1e375e3795666c8e4bdfcf0ea39a421d020e3810203010001a3533051301d0603551d0e04160414eda0fb355d5a53dfa83b95ecff86979b6e11fbd8301f0603551d23041830168014eda0fb355d5a53dfa83b95ecff86979b6e11fbd8300f0603551d130101ff040530030101ff300d06092a864886f70d01010b05000381810017a4a7b396aae227e5a221b55ae9a3d14f5b0732cc575fee9c39cc2c049821bc881c5ee2ce8bc18038db3d1286db23967e2d2e5d91fcd81c300e66d223db487ba322af5cc0528e853ccf6a60501fc72bcef4e784794425a2f6946a9de559c987d735b46f24b585fa4f0c749f459754fc2439b934e3b153897c11c83fddab3f15";
    /// The identity certificate of a C tor relay in a test network, as published among the
    /// handshake vectors of Arti's `tor-proto` (`channel/handshake.rs`), with its RSA identity.
    const C_TOR: &str = "308201b930820122a0030201020208607c28be6c390943300d06092a864886f70d01010b0500301f311d301b06035504030c147777772e74636a76356b766a646472322e636f6d301e170d3230303831303030303030305a170d3231303831303030303030305a301f311d301b06035504030c147777772e74636a76356b766a646472322e636f6d30819f300d06092a864886f70d010101050003818d0030818902818100d38b1e6ceb946e0db0751f4cbace3dcb9688b6c25304227b4710c35afb73627e50500f5913e158b621802612d1c75827003703338375237552eb3cd3c12f6ab3604e60c1a2d26bb1fbad206ff023969a90909d6a65a5458a5312c26ebd3a3dad30302d4515cdcd264146ac18e6fc60a04bd3ec327f04294d96ba5aa25b464c3f0203010001300d06092a864886f70d01010b0500038181003bce561ea7f95cc00b78aab5d69573ff301c282a751d4a651921d042f1becdba24d918a6d8a5e138dc07bba0b335478ae37abd2c93a93932442ae9084329e846170fe0fc4a50aafc804f311cc3ca4f41d845a7ba5901cbbc3e021e9794aac70ce1f37b0a951592db1b64f2b4afb81ae52dbd9b6fede96a5fb8125eb6251ee50a";
    const C_TOR_SHA1: &str = "2f1fb49bb332a9eec617e41e911c33fb3890aef3";
    /// The private key of [`IDENTITY`], PKCS#1.
    pub const IDENTITY_KEY: &str = "3082025c02010002818100dabaddfc06ea8fbcad2d6dc95452fe8acc768664ebe79b6a1ec67bb91edd6097d0469819cae7cafcc8d4e3268a0dd8f8921cbe5770fbad3b7803af840a7a858ea930b999e9096e8c76a26f87f3bf543eddb241e6f1a1bfe8a67712859bb808a339a524eb8b67f839127d6aebe1e375e3795666c8e4bdfcf0ea39a421d020e381020301000102818077a48f98341049df62badebaa9ad5c1e8008b52aaeff593b8ae9f6f323b6e407269df6c4e5003540607a5265da4e08c8aee39a1a2a6b002eef4ed4cadd1077ccb64ac63b5e0d03d7606144083d41624c6d8e43c96f6c362baaf6f1523b721fa5f2e9c6b8d3f22c60656392abc73023d57a71b9c2e353e4ec9c443605a4d14d81024100ef6fe9c13a1b0320d6aeed4357ba66c76e3e3ff36084d5458491a20c3b6814fca7f82868bdb88979ff489437cb30c6308891b12426e7d8bc700e0c892fbd46f5024100e9dc4259320accbd1e8c03c56dbb76232b645829b40947ee7a99c4bb8e53fc641bc2db039cdfef0ad122ba5f1f77d21bbaba9fe6b0c32c2478e8556d2156dadd0240361e688a6934c3cf3f57087fc92b73a1ae1459e60bb1da76bd1121bc7c0cf9796609dc305879867151b738f127771dc4c8898dad6b31ca3645699781c68d94a502405a17371c237213a37b8416e3d4bd15eac0899c891c494303b5094dc7af31dd9637379ea5caa65df13dd5f214390c30cdebe67f3920b95f65018b0775ce1526a5024100dd75564b040ce9593aa170b7848dc761085af9585371d7da1483b0514990d34e44ed5c4e991695883038fbdba7adc501929e5b3a601e4a7fdce56b28c306c757";
    /// What `openssl rsa -RSAPublicKey_out | sha1sum` says of it.
    const IDENTITY_SHA1: &str = "eda0fb355d5a53dfa83b95ecff86979b6e11fbd8";

    fn identity() -> Vec<u8> {
        from_hex(IDENTITY).unwrap()
    }

    /// A certificate of our own making over some P-256 point.
    fn leaf(not_before: Wall, not_after: Wall) -> Vec<u8> {
        let template = Template {
            serial: [0x80, 1, 2, 3, 4, 5, 6, 7],
            issuer: "www.issuer.com",
            subject: "www.subject.net",
            not_before,
            not_after,
            public_key: &p256_public_key(&[4; 65]),
            signed_with: SignatureAlgorithm::EcdsaSha256,
        };
        template.sign(|_| vec![0x30, 0x00])
    }

    #[test]
    fn identity_of_an_openssl_certificate_is_read() {
        let der = identity();
        let certificate = Certificate::parse(&der).unwrap();
        let pkcs1 = certificate.public_key.rsa_pkcs1().unwrap();
        assert_eq!(hex(&Sha1::digest(pkcs1)).to_lowercase(), IDENTITY_SHA1);
        assert_eq!(certificate.not_before, Wall::from_secs(1_795_265_421));
        assert_eq!(certificate.not_after, Wall::from_secs(1_826_801_421));
    }

    #[test]
    fn identity_of_a_c_tor_relay_is_read() {
        let der = from_hex(C_TOR).unwrap();
        let certificate = Certificate::parse(&der).unwrap();
        let pkcs1 = certificate.public_key.rsa_pkcs1().unwrap();
        assert_eq!(hex(&Sha1::digest(pkcs1)).to_lowercase(), C_TOR_SHA1);
        // 2020-08-10 and 2021-08-10, at midnight, as C tor rounds them.
        assert_eq!(certificate.not_before, Wall::from_secs(1_597_017_600));
        assert_eq!(certificate.not_after, Wall::from_secs(1_628_553_600));
    }

    #[test]
    fn a_certificate_of_the_first_version_has_no_version() {
        let der = leaf(Wall::from_secs(5), Wall::from_secs(6));
        let mut outer = Reader::new(&der);
        let mut rest = Reader::new(element(&mut outer, SEQUENCE).unwrap());
        let body = element(&mut rest, SEQUENCE).unwrap();
        let first = write(SEQUENCE, &[&write(SEQUENCE, &[&body[5..]]), rest.rest()]);
        assert_eq!(body[..5], [EXPLICIT_0, 3, INTEGER, 1, 2]);
        assert_eq!(Certificate::parse(&first).unwrap().public_key, Certificate::parse(&der).unwrap().public_key);
    }

    #[test]
    fn every_truncation_and_every_tail_is_refused() {
        for der in [identity(), from_hex(C_TOR).unwrap(), leaf(Wall::from_secs(0), Wall::from_secs(1))] {
            for length in 0..der.len() {
                assert_eq!(Certificate::parse(&der[..length]), Err(Error::Truncated), "at {length}");
            }
            let mut longer = der.clone();
            longer.push(0);
            assert_eq!(Certificate::parse(&longer), Err(Error::TrailingBytes));
        }
    }

    #[test]
    fn nothing_follows_the_signature() {
        for der in [identity(), from_hex(C_TOR).unwrap()] {
            let contents = element(&mut Reader::new(&der), SEQUENCE).unwrap();
            assert!(Certificate::parse(&write(SEQUENCE, &[contents])).is_ok());
            let longer = write(SEQUENCE, &[contents, &write(INTEGER, &[&[1]])]);
            assert_eq!(Certificate::parse(&longer), Err(Error::TrailingBytes));
        }
    }

    #[test]
    fn a_length_must_be_definite_short_and_of_a_sane_size() {
        let read = |bytes: &[u8]| length(&mut Reader::new(bytes));
        assert_eq!(read(&[0x7F]), Ok(0x7F));
        assert_eq!(read(&[0x81, 0x80]), Ok(0x80));
        assert_eq!(read(&[0x82, 0x01, 0x00]), Ok(0x100));
        assert_eq!(read(&[0x83, 0x01, 0x00, 0x00]), Ok(0x1_0000));
        assert_eq!(read(&[0x80, 0, 0]), Err(Error::IndefiniteLength));
        assert_eq!(read(&[0x81, 0x7F]), Err(Error::LengthNotMinimal));
        assert_eq!(read(&[0x82, 0x00, 0xFF]), Err(Error::LengthNotMinimal));
        assert_eq!(read(&[0x83, 0x00, 0xFF, 0xFF]), Err(Error::LengthNotMinimal));
        assert_eq!(read(&[0x84, 1, 0, 0, 0]), Err(Error::LengthTooLarge));
        assert_eq!(read(&[0x82, 1]), Err(Error::Truncated));
    }

    #[test]
    fn an_rsa_identity_certificate_of_ours_carries_its_key_and_signature() {
        let key = rsa::RsaPrivateKey::from_pkcs1_der(&from_hex(IDENTITY_KEY).unwrap()).unwrap();
        let pkcs1 = key.to_public_key().to_pkcs1_der().unwrap();
        let signer = rsa::pkcs1v15::SigningKey::<sha2::Sha256>::new(key.clone());
        let template = Template {
            serial: [0; 8],
            issuer: "www.a.net",
            subject: "www.a.net",
            not_before: Wall::from_secs(1_700_000_000),
            not_after: Wall::from_secs(2_600_000_000),
            public_key: &rsa_public_key(pkcs1.as_bytes()),
            signed_with: SignatureAlgorithm::RsaSha256,
        };
        let mut signed = Vec::new();
        let der = template.sign(|body| {
            signed = body.to_vec();
            signer.sign(body).to_vec()
        });

        let certificate = Certificate::parse(&der).unwrap();
        assert_eq!(certificate.public_key.rsa_pkcs1(), Ok(pkcs1.as_bytes()));
        assert_eq!((certificate.not_before, certificate.not_after), (template.not_before, template.not_after));
        let verifier = rsa::pkcs1v15::VerifyingKey::<sha2::Sha256>::new(key.to_public_key());
        let signature = rsa::pkcs1v15::Signature::try_from(&der[der.len() - 128..]).unwrap();
        assert!(verifier.verify(&signed, &signature).is_ok());
    }

    #[test]
    fn a_p256_key_is_no_rsa_identity() {
        let der = leaf(Wall::from_secs(0), Wall::from_secs(1));
        let key = Certificate::parse(&der).unwrap().public_key;
        assert_eq!(key.algorithm, P256_KEY);
        assert_eq!(key.key, [4; 65]);
        assert_eq!(key.rsa_pkcs1(), Err(Error::NotRsa));
    }

    #[test]
    fn an_rsa_key_must_be_two_positive_integers() {
        let algorithm = write(OID, &[RSA_ENCRYPTION]);
        let rsa = |key: &[u8]| PublicKey { algorithm: &algorithm, key }.rsa_pkcs1().map(|_| ());
        assert_eq!(rsa(&[0x30, 6, 2, 1, 5, 2, 1, 3]), Ok(()));
        assert_eq!(rsa(&[0x30, 6, 2, 1, 0x85, 2, 1, 3]), Err(Error::BadRsaKey));
        assert_eq!(rsa(&[0x30, 6, 2, 1, 0, 2, 1, 3]), Err(Error::BadRsaKey));
        assert_eq!(rsa(&[0x30, 5, 2, 0, 2, 1, 3]), Err(Error::BadRsaKey));
        assert_eq!(rsa(&[0x30, 3, 2, 1, 5]), Err(Error::Truncated));
        assert_eq!(rsa(&[0x30, 9, 2, 1, 5, 2, 1, 3, 2, 1, 3]), Err(Error::TrailingBytes));
    }

    #[test]
    fn dates_of_both_forms_are_read_and_nonsense_is_not() {
        let read = |tag, text: &str| date(&mut Reader::new(&write(tag, &[text.as_bytes()])));
        assert_eq!(read(UTC_TIME, "700101000000Z"), Ok(Wall::from_secs(0)));
        assert_eq!(read(UTC_TIME, "691231235959Z"), Ok(Wall::from_secs(0)), "before the epoch");
        assert_eq!(read(UTC_TIME, "491231235959Z"), Ok(Wall::from_secs(2_524_607_999)));
        assert_eq!(read(GENERALIZED_TIME, "20500101000000Z"), Ok(Wall::from_secs(2_524_608_000)));
        assert_eq!(read(GENERALIZED_TIME, "20000229120000Z"), Ok(Wall::from_secs(951_825_600)));
        assert_eq!(read(GENERALIZED_TIME, "99991231235959Z"), Ok(Wall::from_secs(253_402_300_799)));
        for nonsense in [
            "",
            "Z",
            "700101000000",
            "700101000000+0000",
            "701301000000Z",
            "700132000000Z",
            "700101240000Z",
            "7a0101000000Z",
            "990229000000Z",
            "7001010000Z",
        ] {
            assert_eq!(read(UTC_TIME, nonsense), Err(Error::BadDate), "{nonsense}");
        }
    }

    #[test]
    fn a_pkcs8_key_reads_back() {
        let der = p256_pkcs8(&[7; 32], &[4; 65]);
        assert_eq!(p256_secret_from_pkcs8(&der), Ok(&[7; 32][..]));
        for length in 0..der.len() {
            assert_eq!(p256_secret_from_pkcs8(&der[..length]), Err(Error::Truncated));
        }
    }

    proptest! {
        #[test]
        fn dates_read_back_as_written(secs in 0_u64..253_402_300_800) {
            let der = write_date(Wall::from_secs(secs));
            prop_assert_eq!(date(&mut Reader::new(&der)), Ok(Wall::from_secs(secs)));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            fuzz(&bytes);
        }

        #[test]
        fn no_damage_to_a_certificate_panics(at in 0_usize..518, value in any::<u8>()) {
            let mut der = identity();
            der[at] = value;
            fuzz(&der);
        }
    }
}
