//! What a client demands of a relay's TLS certificate: that whoever is at the far end of
//! this connection holds its key. Nothing else.
//!
//! Not the relay's identity: names, dates and issuers are whatever the relay liked, and the
//! CERTS cell binds the certificate's hash to the identity keys. Not webpki either, which
//! refuses certificates that relays have been known to make. Called by rustls, once per
//! handshake. Spec: tor-spec, "Negotiating and initializing channels"; RFC 8446, section
//! 4.4.3; RFC 5246, section 7.4.3.

use crate::crypto::x509::Certificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};

/// Takes any readable certificate whose key signed the handshake.
#[derive(Debug)]
pub(super) struct AnyRelay(pub(super) WebPkiSupportedAlgorithms);

/// What we offer in `signature_algorithms`, in this order. C tor's relays sign with RSA,
/// ours with ECDSA; PKCS#1 is for TLS 1.2, where a relay may have nothing better.
pub(super) const SCHEMES: [SignatureScheme; 7] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// Those of [`SCHEMES`] that may sign a TLS 1.3 handshake (RFC 8446, section 4.2.3).
const SCHEMES_13: &[SignatureScheme] = SCHEMES.split_at(4).0;

impl AnyRelay {
    fn check(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
        allowed: &[SignatureScheme],
    ) -> Result<HandshakeSignatureValid, Error> {
        if !allowed.contains(&signed.scheme) {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let key = parse(certificate)?.public_key;
        let mut checkers =
            self.0.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme).flat_map(|(_, all)| *all);
        let checker = checkers
            .find(|checker| checker.public_key_alg_id().as_ref() == key.algorithm)
            .ok_or(PeerMisbehaved::SignedKxWithWrongAlgorithm)?;
        checker
            .verify_signature(key.key, message, signed.signature())
            .map(|()| HandshakeSignatureValid::assertion())
            .map_err(|_| CertificateError::BadSignature.into())
    }
}

impl ServerCertVerifier for AnyRelay {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        parse(leaf).map(|_| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check(message, leaf, signed, &SCHEMES)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check(message, leaf, signed, SCHEMES_13)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<Certificate<'a>, Error> {
    Certificate::parse(certificate).map_err(|_| CertificateError::BadEncoding.into())
}
