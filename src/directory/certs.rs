//! Authority key certificates: by which signing key an authority signs consensuses now.
//!
//! Parsed and checked in one step, so that no unchecked one can be held. Whether an
//! authority is one of ours, and how many make a consensus, is `consensus`. Called by
//! whoever read a file of certificates or fetched some, and by `consensus`.
//! Spec: dir-spec, "Creating key certificates".

use super::{Error, once};
use crate::base::time::Wall;
use crate::base::{RsaId, text};
use crate::crypto::{kdf, rsa};
use crate::wire::netdoc::{Item, Tokenizer};

/// The longest certificate. Chosen by C tor: `MAX_CERT_SIZE`.
pub const MAX_CERTIFICATE_LEN: usize = 128 * 1024;
/// How many certificates of one authority are kept; ours. It has one for each signing key,
/// of which two overlap when it changes.
pub const MAX_PER_AUTHORITY: usize = 4;

/// Which certificate: of which authority, for which signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyIds {
    /// The authority's identity, by which we know it.
    pub identity: RsaId,
    /// The digest of its signing key.
    pub signing: RsaId,
}

/// A checked certificate. Whether its time is over is asked each time it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    ids: KeyIds,
    published: Wall,
    expires: Wall,
    key: rsa::PublicKey,
    text: Box<str>,
}

impl Certificate {
    /// Parses a certificate, which is all of `bytes`, and checks its two signatures.
    pub fn check(bytes: &[u8]) -> Result<Certificate, Error> {
        if bytes.len() > MAX_CERTIFICATE_LEN {
            return Err(Error::DocumentTooLong);
        }
        let mut draft = Draft::default();
        for (number, item) in Tokenizer::new(bytes).enumerate() {
            let item = item?;
            if (number == 0) != (item.keyword == FIRST) || draft.certification.is_some() {
                return Err(Error::LineOutOfPlace);
            }
            draft.item(&item)?;
        }
        draft.check(core::str::from_utf8(bytes).map_err(|_| Error::LineMalformed)?)
    }

    /// Whose it is, and for which key.
    pub fn ids(&self) -> KeyIds {
        self.ids
    }

    /// When it was made.
    pub fn published(&self) -> Wall {
        self.published
    }

    /// Good until then, inclusively.
    pub fn expires(&self) -> Wall {
        self.expires
    }

    /// The document, as files keep it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the signing key made this signature over a bare digest.
    pub(super) fn verify(&self, digest: &[u8], signature: &[u8]) -> bool {
        self.key.verify(digest, signature).is_ok()
    }
}

/// Checks every certificate of a file or an answer, one after the other.
pub fn check_all(document: &[u8]) -> impl Iterator<Item = Result<Certificate, Error>> + '_ {
    let mut rest = document;
    core::iter::from_fn(move || {
        let (one, after) = rest.split_at_checked(second_start(rest)).filter(|(one, _)| !one.is_empty())?;
        rest = after;
        Some(Certificate::check(one))
    })
}

/// Where the certificate after the first begins.
fn second_start(bytes: &[u8]) -> usize {
    let mut at = 0;
    for line in bytes.split_inclusive(|&c| c == b'\n') {
        if at > 0 && line.starts_with(FIRST.as_bytes()) && line.get(FIRST.len()) == Some(&b' ') {
            break;
        }
        at += line.len();
    }
    at
}

const FIRST: &str = "dir-key-certificate-version";

/// A certificate while its lines are read.
#[derive(Default)]
struct Draft {
    fingerprint: Option<RsaId>,
    published: Option<Wall>,
    expires: Option<Wall>,
    identity: Option<rsa::PublicKey>,
    signing: Option<rsa::PublicKey>,
    cross: Option<Vec<u8>>,
    /// The signature, and where in the document what it covers ends.
    certification: Option<(Vec<u8>, usize)>,
}

impl Draft {
    fn item(&mut self, item: &Item<'_>) -> Result<(), Error> {
        match item.keyword {
            FIRST if item.args().next() != Some("3") => Err(Error::UnknownVersion),
            "fingerprint" => {
                let id = item.args().next().and_then(text::hex_array).ok_or(Error::LineMalformed)?;
                once(&mut self.fingerprint, RsaId(id))
            }
            "dir-key-published" => once(&mut self.published, date(item)?),
            "dir-key-expires" => once(&mut self.expires, date(item)?),
            "dir-identity-key" => once(&mut self.identity, key(item)?),
            "dir-signing-key" => once(&mut self.signing, key(item)?),
            "dir-key-crosscert" => once(&mut self.cross, object(item, &["ID SIGNATURE", "SIGNATURE"])?),
            "dir-key-certification" => {
                // What is signed ends with this line and its end. The line has no arguments, and
                // is written in one way, or what follows the keyword would be signed or not.
                let end = item.at.offset + item.keyword.len() + 1;
                let signature = object(item, &["SIGNATURE"])?;
                if !item.rest.is_empty() {
                    return Err(Error::LineMalformed);
                }
                once(&mut self.certification, (signature, end))
            }
            _ => Ok(()),
        }
    }

    fn check(self, document: &str) -> Result<Certificate, Error> {
        let identity = self.identity.ok_or(Error::LineMissing)?;
        let key = self.signing.ok_or(Error::LineMissing)?;
        let ids = KeyIds { identity: identity.id(), signing: key.id() };
        if self.fingerprint.ok_or(Error::LineMissing)? != ids.identity {
            return Err(Error::WrongFingerprint);
        }
        let cross = self.cross.ok_or(Error::LineMissing)?;
        key.verify(&ids.identity.0, &cross).map_err(|_| Error::WrongSignature)?;
        let (signature, end) = self.certification.ok_or(Error::LineMissing)?;
        let signed = document.get(..end).filter(|signed| signed.ends_with("\ndir-key-certification\n"));
        let digest = kdf::sha1(&[signed.ok_or(Error::LineMalformed)?.as_bytes()]);
        identity.verify(&digest, &signature).map_err(|_| Error::WrongSignature)?;
        let (published, expires) = (self.published.ok_or(Error::LineMissing)?, self.expires.ok_or(Error::LineMissing)?);
        Ok(Certificate { ids, published, expires, key, text: document.into() })
    }
}

/// The date that is all of a line's arguments.
pub(super) fn date(item: &Item<'_>) -> Result<Wall, Error> {
    let mut args = item.args();
    let (day, time) = (args.next().unwrap_or_default(), args.next().unwrap_or_default());
    Wall::parse(day, time).ok_or(Error::LineMalformed)
}

fn key(item: &Item<'_>) -> Result<rsa::PublicKey, Error> {
    rsa::PublicKey::from_der(&object(item, &["RSA PUBLIC KEY"])?).map_err(|_| Error::BadKey)
}

/// The object of an item, which must be called one of these.
pub(super) fn object(item: &Item<'_>, labels: &[&str]) -> Result<Vec<u8>, Error> {
    let object = item.object.filter(|object| labels.contains(&object.label)).ok_or(Error::LineMalformed)?;
    Ok(object.decode()?)
}

/// The certificates of the authorities that we trust.
#[derive(Clone, Debug, Default)]
pub struct Certificates(Vec<Certificate>);

impl Certificates {
    /// Adds a certificate, unless it is of somebody else than one of `authorities` or is there
    /// already, or all that are there of that authority were made later.
    pub fn insert(&mut self, certificate: Certificate, authorities: &[RsaId]) -> bool {
        let ids = certificate.ids();
        if !authorities.contains(&ids.identity) {
            return false;
        }
        if let Some(held) = self.0.iter_mut().find(|held| held.ids() == ids) {
            let is_newer = held.published < certificate.published;
            if is_newer {
                *held = certificate;
            }
            return is_newer;
        }
        let of_same = |held: &&Certificate| held.ids.identity == ids.identity;
        if self.0.iter().filter(of_same).count() >= MAX_PER_AUTHORITY {
            let oldest = self.0.iter().enumerate().filter(|(_, held)| of_same(held));
            let oldest = oldest.min_by_key(|(_, held)| held.published).map(|(at, held)| (at, held.published));
            match oldest {
                Some((at, published)) if published < certificate.published => drop(self.0.remove(at)),
                _ => return false,
            }
        }
        self.0.push(certificate);
        self.0.sort_by_key(Certificate::ids);
        true
    }

    /// The certificate for a key, if there is one whose time is not over.
    pub fn find(&self, ids: KeyIds, now: Wall) -> Option<&Certificate> {
        self.0.iter().find(|held| held.ids == ids && now <= held.expires)
    }

    /// Drops those whose time is over.
    pub fn expire(&mut self, now: Wall) {
        self.0.retain(|held| now <= held.expires);
    }

    /// All of them, by authority and key.
    pub fn iter(&self) -> impl Iterator<Item = &Certificate> {
        self.0.iter()
    }
}

#[cfg(test)]
pub(super) mod tests;
