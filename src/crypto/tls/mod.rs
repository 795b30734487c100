//! TLS as a link speaks it: the one place that picks a provider, what the client offers,
//! and the peer key it saw.
//!
//! Not a connection: the shell drives rustls over its sockets with the configurations made
//! here, the lab in memory. Not authentication either: the CERTS cell does that, over the
//! certificate [`peer_leaf`] shows. Called by `app/conn.rs` and the lab; nobody else may
//! name the TLS library. Spec: tor-spec, "Negotiating and initializing channels".
//!
//! Every connection of every cepa sends the same ClientHello but for its random parts,
//! whichever provider serves it; a test compares them byte for byte.

mod aead;
mod gate;
mod kx;
mod portable;
mod sign;
#[cfg(test)]
mod tests;
mod verifier;

use crate::base::error::Blame;
use crate::base::random::{self, Entropy};
use crate::base::text;
use crate::base::time::Wall;
use crate::crypto::x509::{self, SignatureAlgorithm, Template};
use core::time::Duration;
use p256::ecdsa::{self, signature::Signer};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, ClientConnection, NamedGroup, ServerConfig, SupportedProtocolVersion};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Where TLS's cryptography comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Assembly, for the processors it was written for. Made only behind the gate.
    Graviola,
    /// RustCrypto, everywhere.
    Portable,
}

impl Provider {
    /// The provider every processor can run.
    pub const PORTABLE: Provider = Provider(Kind::Portable);

    /// The fast provider, if this processor can run it.
    pub fn graviola() -> Option<Provider> {
        Some(Self::choose(&gate::detect())).filter(|chosen| *chosen != Self::PORTABLE)
    }

    /// The fastest provider this processor can run.
    pub fn best() -> Provider {
        Self::choose(&gate::detect())
    }

    /// What to call it in logs.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Graviola => "graviola",
            Kind::Portable => "portable",
        }
    }

    fn choose(features: &gate::Features) -> Provider {
        if gate::allows_graviola(features) { Provider(Kind::Graviola) } else { Self::PORTABLE }
    }

    /// All that this provider can do, cut down to what a link offers.
    fn offered(self) -> CryptoProvider {
        let mut provider = match self.0 {
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            // Only what is done for each record, and the key exchange: its other half, curves
            // that no relay uses among it, would make a megabyte more of a program.
            Kind::Graviola => CryptoProvider {
                cipher_suites: rustls_graviola::suites::ALL_CIPHER_SUITES.to_vec(),
                kx_groups: vec![&rustls_graviola::kx::P256, &rustls_graviola::kx::X25519],
                ..portable::provider()
            },
            _ => portable::provider(),
        };
        let suites = &provider.cipher_suites;
        provider.cipher_suites =
            SUITES.iter().filter_map(|wanted| suites.iter().find(|suite| suite.suite() == *wanted).copied()).collect();
        let groups = &provider.kx_groups;
        provider.kx_groups =
            GROUPS.iter().filter_map(|wanted| groups.iter().find(|group| group.name() == *wanted).copied()).collect();
        provider
    }
}

/// C tor: the order of its cipher lists, `ciphers_v13.inc` then `ciphers.inc`, less what we
/// do not speak.
const SUITES: [CipherSuite; 9] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];

/// C tor: `P-256:X25519:P-224`. rustls sends a key share for the first group alone, and
/// P-256 is the one that every relay takes: older ones know no other, and asking them
/// again costs a round trip.
///
/// Differs: no `X25519MLKEM768`, which C tor offers with OpenSSL 3.5. Of our providers only
/// graviola has it, so the ClientHello would tell which processor we run on.
const GROUPS: [NamedGroup; 2] = [NamedGroup::secp256r1, NamedGroup::X25519];

const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// How a client opens TLS to any relay. One for the whole process.
pub fn client_config(provider: Provider) -> Arc<ClientConfig> {
    Arc::new(client_config_of(provider.offered(), VERSIONS))
}

fn client_config_of(provider: CryptoProvider, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let verifier = verifier::AnyRelay(provider.signature_verification_algorithms);
    let mut config = ClientConfig::builder_with_details(Arc::new(provider), Arc::new(NoClock))
        .with_protocol_versions(versions)
        .expect("both providers have suites and groups for both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // A resumed session would link two connections of one client.
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}

/// The certificate the relay showed and signed the handshake with, once it has.
///
/// The CERTS cell must carry its SHA-256.
pub fn peer_leaf(connection: &ClientConnection) -> Option<&[u8]> {
    if connection.is_handshaking() {
        return None;
    }
    connection.peer_certificates()?.first().map(|leaf| leaf.as_ref())
}

/// A made-up name for the server: `www.`, 4 to 25 characters of base32, `.com`.
///
/// C tor: `crypto_random_hostname(4, 25, "www.", ".com")`. A client that names nobody, or
/// the relay's address, would stand out.
pub fn random_server_name(entropy: &mut dyn Entropy) -> ServerName<'static> {
    let length = 4 + usize::try_from(random::below(entropy, 22)).unwrap_or(0);
    let mut label = text::base32(&random::array::<16>(entropy));
    label.truncate(length);
    ServerName::try_from(format!("www.{label}.com")).expect("letters and digits make a host name")
}

/// Whose fault a failed TLS connection is. What falls with it is always the link.
pub fn blame(error: &rustls::Error) -> Blame {
    match error {
        rustls::Error::FailedToGetRandomBytes | rustls::Error::FailedToGetCurrentTime => Blame::Local,
        rustls::Error::General(_) | rustls::Error::EncryptError | rustls::Error::HandshakeNotComplete => Blame::Bug,
        _ => Blame::Peer,
    }
}

/// A relay's TLS key and the certificate it made for it. For the lab and tests.
pub struct Leaf {
    /// The certificate's DER.
    pub certificate: Vec<u8>,
    /// PKCS#8.
    key: Zeroizing<Vec<u8>>,
}

impl Leaf {
    /// A fresh P-256 key, its certificate valid between the two dates.
    pub fn generate(entropy: &mut dyn Entropy, not_before: Wall, not_after: Wall) -> Leaf {
        let (secret, key) = loop {
            let secret = Zeroizing::new(random::array::<32>(entropy));
            if let Ok(key) = ecdsa::SigningKey::from_slice(secret.as_slice()) {
                break (secret, key);
            }
        };
        let point = kx::uncompressed(&p256::PublicKey::from(*key.verifying_key()));
        let template = Template {
            serial: random::array(entropy),
            issuer: &format!("www.{}.com", text::base32(&random::array::<8>(entropy))),
            subject: &format!("www.{}.net", text::base32(&random::array::<8>(entropy))),
            not_before,
            not_after,
            public_key: &x509::p256_public_key(&point),
            signed_with: SignatureAlgorithm::EcdsaSha256,
        };
        let certificate = template.sign(|body| {
            let signature: ecdsa::DerSignature = key.sign(body);
            signature.as_bytes().to_vec()
        });
        Leaf { certificate, key: Zeroizing::new(x509::p256_pkcs8(&secret, &point)) }
    }
}

/// How a relay answers TLS: no tickets, no client certificates. For the lab and tests.
pub fn server_config(provider: Provider, leaf: &Leaf) -> Arc<ServerConfig> {
    let provider = provider.offered();
    let key = PrivatePkcs8KeyDer::from(leaf.key.to_vec());
    let key = provider.key_provider.load_private_key(key.into()).expect("both providers take a P-256 key in PKCS#8");
    let certified = CertifiedKey::new(vec![CertificateDer::from(leaf.certificate.clone())], key);
    Arc::new(server_config_of(provider, VERSIONS, certified))
}

fn server_config_of(
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
    certified: CertifiedKey,
) -> ServerConfig {
    let mut config = ServerConfig::builder_with_details(Arc::new(provider), Arc::new(NoClock))
        .with_protocol_versions(versions)
        .expect("both providers have suites and groups for both versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config
}

/// Keeps rustls from reading the clock. It would want the date for a certificate's, which
/// we do not check, and for a ticket's age, and we have no tickets.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::ZERO))
    }
}
