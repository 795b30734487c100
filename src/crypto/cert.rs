//! Tor's own certificates, parsed and checked in one step, so that no unchecked one escapes.
//!
//! Two forms: one Ed25519 key speaks for another (or for the hash of a TLS certificate),
//! and an RSA identity speaks for an Ed25519 one. Not X.509 (`x509`) and not the
//! authorities' text certificates (`directory/certs.rs`). Called by `link/identity.rs`
//! and `onion/descriptor.rs`; issued by the lab's relays and our own services.
//! Spec: cert-spec.

use super::ed25519::{self, SIGNATURE_LEN};
use super::{kdf, rsa};
use crate::base::Ed25519Id;
use crate::base::codec::{self, Reader};
use crate::base::error::{Blame, Scope};
use crate::base::time::Wall;

/// Why a certificate was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is shorter or longer than its fields say.
    Malformed,
    /// A version other than 1.
    UnknownVersion,
    /// Another kind of certificate than the one wanted here.
    WrongKind,
    /// Its subject is no key of the sort this kind certifies.
    WrongKeyType,
    /// An extension that we do not know and that changes what the certificate means.
    UnknownCriticalExtension,
    /// It should say which key signed it, and does not.
    SignerMissing,
    /// It says twice which key signed it.
    SignerTwice,
    /// It was signed by another key than the one that must sign it.
    WrongSigner,
    /// Its signature does not fit.
    WrongSignature,
    /// Its time is over.
    Expired,
}

impl Error {
    /// Who is at fault. An expired certificate is the peer's fault or our clock's.
    pub fn blame(self) -> Blame {
        match self {
            Error::Expired => Blame::Clock,
            _ => Blame::Peer,
        }
    }

    /// What falls.
    pub fn scope(self) -> Scope {
        Scope::Link
    }
}

impl From<codec::Error> for Error {
    fn from(_: codec::Error) -> Self {
        Error::Malformed
    }
}

/// What a certificate is for; the numbers are the certificate's own type field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A relay's identity speaks for its signing key.
    Signing = 0x04,
    /// A relay's signing key speaks for a TLS certificate.
    TlsLink = 0x05,
    /// A relay's signing key speaks for a link authentication key.
    LinkAuth = 0x06,
    /// A service's blinded key speaks for its descriptor signing key.
    HsDescriptorSigning = 0x08,
    /// A descriptor signing key speaks for an introduction point's authentication key.
    HsIntroAuth = 0x09,
    /// A relay's onion key speaks for its identity.
    NtorOnionKey = 0x0A,
    /// A descriptor signing key speaks for an introduction point's encryption key.
    HsIntroEncryption = 0x0B,
    /// A family's key speaks for a relay's identity.
    Family = 0x0C,
}

/// The sort of thing a certificate speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum KeyType {
    Ed25519 = 1,
    Sha256OfX509 = 3,
}

const VERSION: u8 = 1;
const EXTENSION_SIGNED_WITH: u8 = 4;
/// In an extension's flags: who does not know it must refuse the certificate.
const AFFECTS_VALIDATION: u8 = 1;
/// Expiry is counted in hours.
const HOUR: u64 = 3600;

/// Who must have signed a certificate.
#[derive(Clone, Copy, Debug)]
pub enum Signer {
    /// This key; if the certificate names one, it must be the same.
    Known(Ed25519Id),
    /// Whichever key the certificate names; it must name one.
    Named,
    /// This key, and the certificate must name it.
    KnownAndNamed(Ed25519Id),
}

/// A checked certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    subject: [u8; 32],
    signer: Ed25519Id,
    expires: Wall,
}

impl Certificate {
    /// Parses `bytes` and checks all of it: kind, signer, signature, and time.
    pub fn check(bytes: &[u8], kind: Kind, signer: Signer, now: Wall) -> Result<Certificate, Error> {
        let parsed = Parsed::parse(bytes)?;
        if parsed.kind != kind as u8 {
            return Err(Error::WrongKind);
        }
        if parsed.key_type != kind.key_type() as u8 {
            return Err(Error::WrongKeyType);
        }
        let signer = match (signer, parsed.signer) {
            (Signer::Known(key), None) | (Signer::Named, Some(key)) => key,
            (Signer::Known(key) | Signer::KnownAndNamed(key), Some(named)) if key == named => key,
            (Signer::Known(_) | Signer::KnownAndNamed(_), Some(_)) => return Err(Error::WrongSigner),
            (Signer::Named | Signer::KnownAndNamed(_), None) => return Err(Error::SignerMissing),
        };
        ed25519::verify(&signer, parsed.signed, &parsed.signature).map_err(|_| Error::WrongSignature)?;
        if now >= parsed.expires {
            return Err(Error::Expired);
        }
        Ok(Certificate { subject: parsed.subject, signer, expires: parsed.expires })
    }

    /// The key that is certified, or the hash of the TLS certificate.
    pub fn subject(&self) -> &[u8; 32] {
        &self.subject
    }

    /// The key that is certified.
    pub fn subject_key(&self) -> Ed25519Id {
        Ed25519Id(self.subject)
    }

    /// The key that signed.
    pub fn signer(&self) -> Ed25519Id {
        self.signer
    }

    /// Good until then, exclusively.
    pub fn expires(&self) -> Wall {
        self.expires
    }
}

impl Kind {
    /// Differs: cert-spec leaves the pairing open, but no other is made.
    fn key_type(self) -> KeyType {
        if self == Kind::TlsLink { KeyType::Sha256OfX509 } else { KeyType::Ed25519 }
    }
}

/// The fields of a certificate that nobody has checked yet.
struct Parsed<'a> {
    kind: u8,
    key_type: u8,
    subject: [u8; 32],
    signer: Option<Ed25519Id>,
    expires: Wall,
    /// Everything but the signature.
    signed: &'a [u8],
    signature: [u8; SIGNATURE_LEN],
}

impl<'a> Parsed<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(Error::UnknownVersion);
        }
        let kind = reader.u8()?;
        let expires = hours(reader.u32()?);
        let key_type = reader.u8()?;
        let subject = reader.array()?;
        let signer = parse_extensions(&mut reader)?;
        let signed = &bytes[..bytes.len() - reader.remaining()];
        let signature = reader.array()?;
        reader.finish()?;
        Ok(Parsed { kind, key_type, subject, signer, expires, signed, signature })
    }
}

/// The key that the certificate says it was signed with. C tor: it may say so once.
fn parse_extensions(reader: &mut Reader<'_>) -> Result<Option<Ed25519Id>, Error> {
    let mut signer = None;
    for _ in 0..reader.u8()? {
        let length = reader.u16()?;
        let (kind, flags) = (reader.u8()?, reader.u8()?);
        let body = reader.take(usize::from(length))?;
        if kind == EXTENSION_SIGNED_WITH {
            let key = Ed25519Id(body.try_into().map_err(|_| Error::Malformed)?);
            if signer.replace(key).is_some() {
                return Err(Error::SignerTwice);
            }
        } else if flags & AFFECTS_VALIDATION != 0 {
            return Err(Error::UnknownCriticalExtension);
        }
    }
    Ok(signer)
}

fn hours(since_epoch: u32) -> Wall {
    Wall::from_secs(u64::from(since_epoch) * HOUR)
}

/// Issues a certificate over `subject`, good through the hour that holds `expires`.
pub fn issue(kind: Kind, subject: &[u8; 32], expires: Wall, signer: &ed25519::KeyPair, name_signer: bool) -> Vec<u8> {
    let mut bytes = vec![VERSION, kind as u8];
    bytes.extend_from_slice(&hour_after(expires).to_be_bytes());
    bytes.push(kind.key_type() as u8);
    bytes.extend_from_slice(subject);
    bytes.push(u8::from(name_signer));
    if name_signer {
        bytes.extend_from_slice(&[0, 32, EXTENSION_SIGNED_WITH, 0]);
        bytes.extend_from_slice(&signer.public().0);
    }
    let signature = signer.sign(&bytes);
    bytes.extend_from_slice(&signature);
    bytes
}

/// The first full hour at or after `wall`, as certificates count; the last there is if
/// the date is beyond the year 491,000.
fn hour_after(wall: Wall) -> u32 {
    u32::try_from(wall.as_secs().div_ceil(HOUR)).unwrap_or(u32::MAX)
}

/// What is hashed in front of a cross-certificate.
const CROSS_CERTIFICATE_PREFIX: &[u8] = b"Tor TLS RSA/Ed25519 cross-certificate";

/// Checks that a relay's RSA identity speaks for an Ed25519 identity; gives the latter, and
/// until when.
pub fn check_cross_certificate(
    bytes: &[u8],
    rsa_identity: &rsa::PublicKey,
    now: Wall,
) -> Result<(Ed25519Id, Wall), Error> {
    let mut reader = Reader::new(bytes);
    let subject = Ed25519Id(reader.array()?);
    let expires = hours(reader.u32()?);
    let signed = &bytes[..bytes.len() - reader.remaining()];
    let signature = reader.u8_prefixed()?;
    reader.finish()?;
    let digest = kdf::sha256(&[CROSS_CERTIFICATE_PREFIX, signed]);
    rsa_identity.verify(&digest, signature).map_err(|_| Error::WrongSignature)?;
    if now >= expires {
        return Err(Error::Expired);
    }
    Ok((subject, expires))
}

/// Issues a cross-certificate over `subject`.
pub fn issue_cross_certificate(
    subject: &Ed25519Id,
    expires: Wall,
    rsa_identity: &rsa::KeyPair,
) -> Result<Vec<u8>, super::Error> {
    let mut bytes = subject.0.to_vec();
    bytes.extend_from_slice(&hour_after(expires).to_be_bytes());
    let signature = rsa_identity.sign(&kdf::sha256(&[CROSS_CERTIFICATE_PREFIX, &bytes]))?;
    bytes.push(u8::try_from(signature.len()).map_err(|_| super::Error::BadRsaKey)?);
    bytes.extend_from_slice(&signature);
    Ok(bytes)
}

/// The body of the fuzz target: any bytes, as every kind of certificate.
pub fn fuzz(bytes: &[u8]) {
    let now = Wall::from_secs(1_600_000_000);
    for kind in [Kind::Signing, Kind::TlsLink, Kind::HsIntroEncryption] {
        if let Ok(certificate) = Certificate::check(bytes, kind, Signer::Named, now) {
            assert!(certificate.expires() > now);
        }
        let _ = Certificate::check(bytes, kind, Signer::KnownAndNamed(Ed25519Id([1; 32])), now);
    }
    if let Ok(key) = rsa::PublicKey::from_der(bytes) {
        assert_eq!(key.to_der(), bytes);
    }
    // An RSA-1024 identity, and what it may have signed.
    let split = bytes.split_at_checked(140);
    if let Some((Ok(key), cross)) = split.map(|(key, cross)| (rsa::PublicKey::from_der(key), cross))
        && let Ok((subject, expires)) = check_cross_certificate(cross, &key, now)
    {
        assert!(cross.starts_with(&subject.0) && expires > now);
    }
}

#[cfg(test)]
mod tests;
