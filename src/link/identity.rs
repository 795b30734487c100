//! From a CERTS cell to a proved relay: which certificates there must be, and what binds
//! what.
//!
//! The chain: the Ed25519 identity signs the signing key (type 4), which signs the digest
//! of the TLS certificate we saw (type 5); the RSA identity (type 2) signs the Ed25519 one
//! (type 7). Both directions of it are here: checking, and issuing for a relay of the lab.
//! Not the order of cells (`handshake`). Called by `handshake`, and by the lab. Spec: tor-spec, "CERTS cells"; cert-spec.

use core::fmt;
use core::time::Duration;

use super::Error;
use crate::base::random::{self, Entropy};
use crate::base::text;
use crate::base::time::Wall;
use crate::base::{Ed25519Id, RelayIds, RsaId};
use crate::crypto::cert::{self, Certificate, Kind, Signer};
use crate::crypto::x509::{self, SignatureAlgorithm, Template};
use crate::crypto::{ed25519, kdf, rsa};
use crate::wire::cell_msg::{CertType, Certs};

/// C tor: how long after its date an RSA identity certificate is still taken, and how long
/// before.
const IDENTITY_CERT_PAST: Duration = Duration::from_secs(48 * 3600);
const IDENTITY_CERT_FUTURE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The SHA-256 of the TLS certificate a relay showed: what CERTS must vouch for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafDigest(pub [u8; 32]);

impl LeafDigest {
    /// Of a certificate's DER.
    pub fn of(leaf: &[u8]) -> Self {
        LeafDigest(kdf::sha256(&[leaf]))
    }
}

/// A relay that has proved both its identities over this very TLS connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Proven {
    rsa: RsaId,
    ed25519: Ed25519Id,
    /// What proved it, and until when that is good.
    certificates: [(CertType, Wall); 4],
}

impl Proven {
    /// Its RSA identity.
    pub fn rsa(&self) -> RsaId {
        self.rsa
    }

    /// Its Ed25519 identity.
    pub fn ed25519(&self) -> Ed25519Id {
        self.ed25519
    }

    /// The certificates that proved it, each with its expiry.
    pub fn certificates(&self) -> &[(CertType, Wall)] {
        &self.certificates
    }

    /// Checks a CERTS cell against the TLS certificate, and against whom we wanted: every
    /// identity wanted must be the one proved.
    ///
    /// Differs: C tor falls back to RSA alone when there is no Ed25519 certificate; every
    /// relay of today has one, so without it the link is refused, as by Arti.
    pub fn check(certs: &Certs<'_>, tls_leaf: LeafDigest, wanted: &RelayIds, now: Wall) -> Result<Proven, Error> {
        let get = |kind| certs.get(kind).ok_or(Error::CertificateMissing(kind));
        let by_identity = get(CertType::IDENTITY_V_SIGNING)?;
        let by_signing_key = get(CertType::SIGNING_V_TLS_CERT)?;
        let by_rsa = get(CertType::RSA_ID_V_IDENTITY)?;
        let rsa_certificate = get(CertType::RSA_ID_X509)?;

        let signing = Certificate::check(by_identity, Kind::Signing, Signer::Named, now)?;
        let tls = Certificate::check(by_signing_key, Kind::TlsLink, Signer::Known(signing.subject_key()), now)?;
        if tls.subject() != &tls_leaf.0 {
            return Err(Error::TlsNotCertified);
        }
        let (rsa_identity, rsa_expires) = rsa_identity(rsa_certificate, now)?;
        let (ed25519, cross_expires) = cert::check_cross_certificate(by_rsa, &rsa_identity, now)?;
        if ed25519 != signing.signer() {
            return Err(Error::IdentitiesDisagree);
        }
        let proven = Proven {
            rsa: rsa_identity.id(),
            ed25519,
            certificates: [
                (CertType::RSA_ID_X509, rsa_expires),
                (CertType::IDENTITY_V_SIGNING, signing.expires()),
                (CertType::SIGNING_V_TLS_CERT, tls.expires()),
                (CertType::RSA_ID_V_IDENTITY, cross_expires),
            ],
        };
        proven.is_wanted(wanted)?;
        Ok(proven)
    }

    fn is_wanted(&self, wanted: &RelayIds) -> Result<(), Error> {
        if wanted.rsa.is_some_and(|rsa| rsa != self.rsa) {
            return Err(Error::WrongRsaIdentity);
        }
        if wanted.ed25519.is_some_and(|ed25519| ed25519 != self.ed25519) {
            return Err(Error::WrongEd25519Identity);
        }
        Ok(())
    }
}

/// Says that somebody is proved, not who: that may be our guard.
impl fmt::Debug for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proven").finish_non_exhaustive()
    }
}

/// The RSA identity inside its certificate. Like Arti, and unlike C tor, we do not check
/// that it signed itself: what it must have signed is the Ed25519 identity.
fn rsa_identity(certificate: &[u8], now: Wall) -> Result<(rsa::PublicKey, Wall), Error> {
    let certificate = x509::Certificate::parse(certificate)?;
    let key = rsa::PublicKey::from_der(certificate.public_key.rsa_pkcs1()?).map_err(|_| Error::BadRsaIdentity)?;
    if key.bits() != rsa::RELAY_IDENTITY_BITS {
        return Err(Error::BadRsaIdentity);
    }
    if now > certificate.not_after + IDENTITY_CERT_PAST || now + IDENTITY_CERT_FUTURE < certificate.not_before {
        return Err(Error::IdentityCertificateOutdated);
    }
    Ok((key, certificate.not_after))
}

/// What a relay shows to prove itself, made once for each TLS certificate.
#[derive(Clone)]
pub struct Credentials {
    certificates: Vec<(CertType, Vec<u8>)>,
}

/// A relay's long-term keys. For the lab and the tests.
pub struct RelayKeys {
    /// 1024 bits.
    pub rsa: rsa::KeyPair,
    /// The identity.
    pub ed25519: ed25519::KeyPair,
    /// The key that signs for it from day to day.
    pub signing: ed25519::KeyPair,
}

impl RelayKeys {
    /// Fresh keys.
    pub fn random(entropy: &mut dyn Entropy) -> Result<Self, crate::crypto::Error> {
        Ok(RelayKeys {
            rsa: rsa::KeyPair::random(entropy, rsa::RELAY_IDENTITY_BITS)?,
            ed25519: ed25519::KeyPair::random(entropy),
            signing: ed25519::KeyPair::random(entropy),
        })
    }

    /// Both identities.
    pub fn ids(&self) -> RelayIds {
        RelayIds { rsa: Some(self.rsa.public().id()), ed25519: Some(self.ed25519.public()) }
    }
}

impl Credentials {
    /// Certifies `tls_leaf`; all certificates are good between the two dates.
    pub fn issue(
        keys: &RelayKeys,
        tls_leaf: LeafDigest,
        not_before: Wall,
        not_after: Wall,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, crate::crypto::Error> {
        let signing = keys.signing.public();
        let cross = cert::issue_cross_certificate(&keys.ed25519.public(), not_after, &keys.rsa)?;
        Ok(Credentials {
            certificates: vec![
                (CertType::RSA_ID_X509, self_signed(&keys.rsa, not_before, not_after, entropy)?),
                (CertType::IDENTITY_V_SIGNING, cert::issue(Kind::Signing, &signing.0, not_after, &keys.ed25519, true)),
                (
                    CertType::SIGNING_V_TLS_CERT,
                    cert::issue(Kind::TlsLink, &tls_leaf.0, not_after, &keys.signing, false),
                ),
                (CertType::RSA_ID_V_IDENTITY, cross),
            ],
        })
    }

    /// The certificates, in the order they are sent.
    pub fn certificates(&self) -> &[(CertType, Vec<u8>)] {
        &self.certificates
    }

    /// The same, open to change: the lab's villains lie here.
    pub fn certificates_mut(&mut self) -> &mut Vec<(CertType, Vec<u8>)> {
        &mut self.certificates
    }
}

fn self_signed(
    key: &rsa::KeyPair,
    not_before: Wall,
    not_after: Wall,
    entropy: &mut dyn Entropy,
) -> Result<Vec<u8>, crate::crypto::Error> {
    let name = format!("www.{}.net", text::base32(&random::array::<8>(entropy)));
    let template = Template {
        serial: random::array(entropy),
        issuer: &name,
        subject: &name,
        not_before,
        not_after,
        public_key: &x509::rsa_public_key(&key.public().to_der()),
        signed_with: SignatureAlgorithm::RsaSha256,
    };
    let mut failed = Ok(());
    let certificate = template.sign(|body| {
        key.sign_sha256(body).unwrap_or_else(|error| {
            failed = Err(error);
            Vec::new()
        })
    });
    failed.map(|()| certificate)
}
