//! Real handshakes in memory, between every pair of providers, and with OpenSSL.
//!
//! Vectors of the pieces are beside the pieces; this file is about the whole.

use super::*;
use crate::base::random::Seeded;
use crate::crypto::x509::Certificate;
use rsa::pkcs8::DecodePrivateKey;
use rsa::rand_core::{Infallible, TryCryptoRng, TryRng};
use rsa::signature::{RandomizedSigner, SignatureEncoding};
use rustls::sign::SigningKey;
use rustls::{
    CertificateError, Error, HandshakeKind, PeerMisbehaved, ServerConnection, SignatureAlgorithm as KeyKind,
    SignatureScheme,
};
use std::collections::BTreeMap;
use std::io::{Read, Write};

/// A relay's leaf as OpenSSL makes it, with a critical extension that nobody knows.
const RSA_LEAF: &[u8] = include_bytes!("testdata/rsa2048_leaf.der");
const RSA_KEY: &[u8] = include_bytes!("testdata/rsa2048_key.pkcs8");

/// What an RSA key can sign with, of what we offer.
const RSA_SCHEMES: &[SignatureScheme] = verifier::SCHEMES.split_at(1).1;

fn providers() -> Vec<Provider> {
    [Some(Provider::PORTABLE), Provider::graviola()].into_iter().flatten().collect()
}

fn leaf(seed: u64) -> Leaf {
    Leaf::generate(&mut Seeded(seed), Wall::from_secs(0), Wall::from_secs(1))
}

fn name() -> ServerName<'static> {
    random_server_name(&mut Seeded(1))
}

/// A client that offers nothing but this.
fn client_of(provider: Provider, suite: CipherSuite, group: NamedGroup) -> ClientConnection {
    let mut provider = provider.offered();
    provider.cipher_suites.retain(|offered| offered.suite() == suite);
    provider.kx_groups.retain(|offered| offered.name() == group);
    let version = provider.cipher_suites[0].version();
    ClientConnection::new(Arc::new(client_config_of(provider, &[version])), name()).unwrap()
}

fn client(provider: Provider) -> ClientConnection {
    ClientConnection::new(client_config(provider), name()).unwrap()
}

/// A server that says this certificate is its own and signs with that key.
fn server_of(provider: Provider, certificate: &[u8], key: Arc<dyn SigningKey>) -> ServerConnection {
    let certified = CertifiedKey::new(vec![CertificateDer::from(certificate.to_vec())], key);
    ServerConnection::new(Arc::new(server_config_of(provider.offered(), VERSIONS, certified))).unwrap()
}

fn key_of(provider: Provider, leaf: &Leaf) -> Arc<dyn SigningKey> {
    let key = PrivatePkcs8KeyDer::from(leaf.key.to_vec());
    provider.offered().key_provider.load_private_key(key.into()).unwrap()
}

/// Carries bytes both ways until neither side has more to say.
fn handshake(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), Error> {
    while client.wants_write() || server.wants_write() {
        carry(client, server)?;
        carry(server, client)?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(())
}

fn carry<A, B>(from: &mut rustls::ConnectionCommon<A>, to: &mut rustls::ConnectionCommon<B>) -> Result<(), Error>
where
    A: rustls::SideData,
    B: rustls::SideData,
{
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    deliver(&bytes, to)
}

fn deliver<B: rustls::SideData>(mut bytes: &[u8], to: &mut rustls::ConnectionCommon<B>) -> Result<(), Error> {
    while !bytes.is_empty() {
        to.read_tls(&mut bytes).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

/// Sends records of every interesting length and compares what arrives.
fn assert_carries<A: rustls::SideData, B: rustls::SideData>(
    from: &mut rustls::ConnectionCommon<A>,
    to: &mut rustls::ConnectionCommon<B>,
) {
    for length in [1, 15, 16, 17, 514, 4096, 16_384] {
        let sent: Vec<u8> = (0..length).map(|i: u32| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
        from.writer().write_all(&sent).unwrap();
        carry(from, to).unwrap();
        let mut received = vec![0; sent.len()];
        to.reader().read_exact(&mut received).unwrap();
        assert!(received == sent, "{length} bytes");
    }
}

/// A server key made of the test's RSA key: the schemes it may use, the first wanted first.
#[derive(Clone, Debug)]
struct RsaServer(rsa::RsaPrivateKey, Vec<SignatureScheme>);

impl RsaServer {
    fn signing(schemes: &[SignatureScheme]) -> Arc<dyn SigningKey> {
        Arc::new(RsaServer(rsa::RsaPrivateKey::from_pkcs8_der(RSA_KEY).unwrap(), schemes.to_vec()))
    }
}

impl SigningKey for RsaServer {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        let scheme = *self.1.iter().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(RsaServer(self.0.clone(), vec![scheme])))
    }

    fn algorithm(&self) -> KeyKind {
        KeyKind::RSA
    }
}

impl rustls::sign::Signer for RsaServer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        use rsa::{pkcs1v15, pss};
        use sha2::{Sha256, Sha384, Sha512};
        let (key, rng) = (self.0.clone(), &mut Rng(Seeded(9)));
        Ok(match self.scheme() {
            SignatureScheme::RSA_PSS_SHA256 => pss::SigningKey::<Sha256>::new(key).sign_with_rng(rng, message).to_vec(),
            SignatureScheme::RSA_PSS_SHA384 => pss::SigningKey::<Sha384>::new(key).sign_with_rng(rng, message).to_vec(),
            SignatureScheme::RSA_PSS_SHA512 => pss::SigningKey::<Sha512>::new(key).sign_with_rng(rng, message).to_vec(),
            SignatureScheme::RSA_PKCS1_SHA256 => pkcs1v15::SigningKey::<Sha256>::new(key).sign(message).to_vec(),
            SignatureScheme::RSA_PKCS1_SHA384 => pkcs1v15::SigningKey::<Sha384>::new(key).sign(message).to_vec(),
            SignatureScheme::RSA_PKCS1_SHA512 => pkcs1v15::SigningKey::<Sha512>::new(key).sign(message).to_vec(),
            other => panic!("{other:?}"),
        })
    }

    fn scheme(&self) -> SignatureScheme {
        self.1[0]
    }
}

/// Signs well, but says it signed by another scheme.
#[derive(Clone, Debug)]
struct Mislabelled(Arc<dyn SigningKey>, SignatureScheme);

impl SigningKey for Mislabelled {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        Some(Box::new(self.clone()))
    }

    fn algorithm(&self) -> KeyKind {
        self.0.algorithm()
    }
}

impl rustls::sign::Signer for Mislabelled {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.choose_scheme(&verifier::SCHEMES).unwrap().sign(message)
    }

    fn scheme(&self) -> SignatureScheme {
        self.1
    }
}

/// The test's source of bytes, as the RSA crate asks for one.
struct Rng(Seeded);

impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_be_bytes(random::array(&mut self.0)))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_be_bytes(random::array(&mut self.0)))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Rng {}

/// Whether a TLS 1.2 suite, or any of TLS 1.3, goes with this kind of key.
fn fits(suite: CipherSuite, kind: KeyKind) -> bool {
    let name = format!("{suite:?}");
    match kind {
        KeyKind::RSA => !name.contains("_ECDSA_"),
        _ => !name.contains("_RSA_"),
    }
}

/// Not AES-GCM, whose hash keys are not wiped: Cargo.toml says why.
#[test]
fn whatever_holds_a_key_of_tls_wipes_itself() {
    use crate::crypto::tests::wipes;
    wipes::<p256::ecdh::EphemeralSecret>();
    wipes::<ecdsa::SigningKey>();
    wipes::<chacha20poly1305::ChaCha20Poly1305>();
}

#[test]
fn every_pair_of_providers_connects_with_every_suite_group_and_key() {
    let ours = leaf(1);
    let rsa = RsaServer::signing(RSA_SCHEMES);
    for (client_side, server_side) in pairs() {
        for (suite, group) in SUITES.iter().flat_map(|suite| GROUPS.map(|group| (*suite, group))) {
            let ecdsa = key_of(server_side, &ours);
            for (certificate, key) in [(&ours.certificate[..], ecdsa), (RSA_LEAF, Arc::clone(&rsa))] {
                if !fits(suite, key.algorithm()) {
                    continue;
                }
                let mut client = client_of(client_side, suite, group);
                let mut server = server_of(server_side, certificate, key);
                assert_eq!(peer_leaf(&client), None);
                handshake(&mut client, &mut server).unwrap();
                assert_eq!(client.negotiated_cipher_suite().unwrap().suite(), suite);
                assert_eq!(client.negotiated_key_exchange_group().unwrap().name(), group);
                assert_eq!(peer_leaf(&client), Some(certificate));
                assert_carries(&mut client, &mut server);
                assert_carries(&mut server, &mut client);
            }
        }
    }
}

fn pairs() -> Vec<(Provider, Provider)> {
    providers().into_iter().flat_map(|client| providers().into_iter().map(move |server| (client, server))).collect()
}

#[test]
fn every_rsa_scheme_a_relay_may_sign_with_is_checked() {
    let tls12 = CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
    for provider in providers() {
        for scheme in &verifier::SCHEMES[1..] {
            let mut client = client_of(provider, tls12, NamedGroup::X25519);
            let mut server = server_of(Provider::PORTABLE, RSA_LEAF, RsaServer::signing(&[*scheme]));
            handshake(&mut client, &mut server).unwrap();
        }
    }
}

#[test]
fn two_of_ours_choose_what_we_offer_first() {
    for (client_side, server_side) in pairs() {
        let mut client = client(client_side);
        let mut server = ServerConnection::new(server_config(server_side, &leaf(2))).unwrap();
        handshake(&mut client, &mut server).unwrap();
        assert_eq!(client.negotiated_cipher_suite().unwrap().suite(), SUITES[0]);
        assert_eq!(client.negotiated_key_exchange_group().unwrap().name(), GROUPS[0]);
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn a_server_without_p256_is_reached_by_asking_again() {
    for (client_side, server_side) in pairs() {
        let ours = leaf(3);
        let mut only_x25519 = server_side.offered();
        only_x25519.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
        let certified = CertifiedKey::new(vec![ours.certificate.clone().into()], key_of(server_side, &ours));
        let config = server_config_of(only_x25519, VERSIONS, certified);
        let (mut client, mut server) = (client(client_side), ServerConnection::new(Arc::new(config)).unwrap());
        handshake(&mut client, &mut server).unwrap();
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::FullWithHelloRetryRequest));
        assert_carries(&mut client, &mut server);
    }
}

#[test]
fn a_server_without_the_certificates_key_is_refused() {
    let (ours, other) = (leaf(4), leaf(5));
    for (provider, suite) in each_provider_with(&SUITES) {
        let mut client = client_of(provider, suite, NamedGroup::X25519);
        let key_kind = if fits(suite, KeyKind::ECDSA) { KeyKind::ECDSA } else { KeyKind::RSA };
        let mut server = match key_kind {
            KeyKind::RSA => {
                // The certificate's key with one bit of its modulus changed.
                let mut certificate = RSA_LEAF.to_vec();
                let modulus = Certificate::parse(RSA_LEAF).unwrap().public_key.key[20..40].to_vec();
                let at = certificate.windows(20).position(|window| window == modulus).unwrap();
                certificate[at] ^= 1;
                server_of(provider, &certificate, RsaServer::signing(RSA_SCHEMES))
            }
            _ => server_of(provider, &ours.certificate, key_of(provider, &other)),
        };
        let refusal = handshake(&mut client, &mut server).unwrap_err();
        assert_eq!(refusal, Error::InvalidCertificate(CertificateError::BadSignature));
        assert_eq!(blame(&refusal), Blame::Peer);
        assert_eq!(peer_leaf(&client), None);
    }
}

/// In TLS 1.2 the client has seen the certificate, and a signature by it, while the server
/// has yet to prove that both heard the same handshake.
#[test]
fn a_leaf_is_shown_only_after_the_handshake() {
    let ours = leaf(16);
    for provider in providers() {
        let mut client = client_of(provider, SUITES[3], NamedGroup::X25519);
        let mut server = server_of(provider, &ours.certificate, key_of(provider, &ours));
        carry(&mut client, &mut server).unwrap();
        carry(&mut server, &mut client).unwrap();
        assert!(client.is_handshaking() && client.peer_certificates().is_some());
        assert_eq!(peer_leaf(&client), None);
        handshake(&mut client, &mut server).unwrap();
        assert_eq!(peer_leaf(&client), Some(&ours.certificate[..]));
    }
}

fn each_provider_with(suites: &[CipherSuite]) -> Vec<(Provider, CipherSuite)> {
    providers().into_iter().flat_map(|provider| suites.iter().map(move |suite| (provider, *suite))).collect()
}

#[test]
fn tls13_refuses_the_signatures_of_tls12() {
    let wrong = Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme);
    let rsa = RsaServer::signing(&verifier::SCHEMES[4..]);
    for provider in providers() {
        for scheme in [
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::RSA_PKCS1_SHA1,
            SignatureScheme::ECDSA_SHA1_Legacy,
            SignatureScheme::ED25519,
        ] {
            let mut client = client_of(provider, SUITES[0], NamedGroup::X25519);
            let key = Arc::new(Mislabelled(Arc::clone(&rsa), scheme));
            assert_eq!(handshake(&mut client, &mut server_of(provider, RSA_LEAF, key)), Err(wrong.clone()));
        }
    }
}

#[test]
fn a_scheme_must_fit_the_certificates_key() {
    let ours = leaf(6);
    for provider in providers() {
        let key = Arc::new(Mislabelled(key_of(provider, &ours), SignatureScheme::RSA_PSS_SHA256));
        let mut client = client_of(provider, SUITES[0], NamedGroup::X25519);
        let refusal = handshake(&mut client, &mut server_of(provider, &ours.certificate, key));
        assert_eq!(refusal, Err(PeerMisbehaved::SignedKxWithWrongAlgorithm.into()));
    }
}

#[test]
fn an_unreadable_certificate_is_refused() {
    let ours = leaf(7);
    for (provider, suite) in each_provider_with(&[SUITES[0], SUITES[3]]) {
        for length in [0, 1, 50, ours.certificate.len() - 1] {
            let mut client = client_of(provider, suite, NamedGroup::X25519);
            let mut server = server_of(provider, &ours.certificate[..length], key_of(provider, &ours));
            assert!(handshake(&mut client, &mut server).is_err());
            assert_eq!(peer_leaf(&client), None);
        }
    }
}

#[test]
fn what_follows_the_leaf_does_not_matter() {
    let ours = leaf(15);
    for (provider, suite) in each_provider_with(&[SUITES[0], SUITES[3]]) {
        let chain = vec![ours.certificate.clone().into(), RSA_LEAF.to_vec().into(), b"no certificate".to_vec().into()];
        let certified = CertifiedKey::new(chain, key_of(provider, &ours));
        let config = server_config_of(provider.offered(), VERSIONS, certified);
        let mut client = client_of(provider, suite, NamedGroup::X25519);
        handshake(&mut client, &mut ServerConnection::new(Arc::new(config)).unwrap()).unwrap();
        assert_eq!(peer_leaf(&client), Some(&ours.certificate[..]));
    }
}

#[test]
fn a_changed_record_is_refused() {
    let ours = leaf(8);
    let rsa = RsaServer::signing(RSA_SCHEMES);
    for (provider, suite) in each_provider_with(&SUITES) {
        // The first, a middle and the last byte of what follows the header of five.
        for at in [5, 100, usize::MAX] {
            let mut client = client_of(provider, suite, NamedGroup::X25519);
            let mut server = match fits(suite, KeyKind::ECDSA) {
                true => server_of(provider, &ours.certificate, key_of(provider, &ours)),
                false => server_of(provider, RSA_LEAF, Arc::clone(&rsa)),
            };
            handshake(&mut client, &mut server).unwrap();
            server.writer().write_all(&[7; 500]).unwrap();
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).unwrap();
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 0x40;
            assert_eq!(deliver(&bytes, &mut client), Err(Error::DecryptError), "{suite:?} at {at}");
        }
    }
}

/// Whether this signature is taken, by us as by graviola, whose code is another's.
fn verdict(scheme: SignatureScheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let ours = [Provider::PORTABLE.offered()].into_iter();
    let verdicts: Vec<bool> = ours
        .chain(Provider::graviola().map(|_| rustls_graviola::default_provider()))
        .map(|provider| {
            let mapping = provider.signature_verification_algorithms.mapping;
            let (_, checkers) = mapping.iter().find(|(offered, _)| *offered == scheme).unwrap();
            checkers[0].verify_signature(key, message, signature).is_ok()
        })
        .collect();
    assert!(verdicts.windows(2).all(|pair| pair[0] == pair[1]), "{scheme:?} {verdicts:?}");
    verdicts[0]
}

#[test]
fn providers_agree_on_which_rsa_keys_and_signatures_are_good() {
    let good = Certificate::parse(RSA_LEAF).unwrap().public_key.rsa_pkcs1().unwrap();
    for scheme in RSA_SCHEMES {
        let signer = RsaServer::signing(&[*scheme]).choose_scheme(RSA_SCHEMES).unwrap();
        let signature = signer.sign(b"message").unwrap();
        assert!(verdict(*scheme, good, b"message", &signature));
        assert!(!verdict(*scheme, good, b"massage", &signature));
        assert!(!verdict(*scheme, good, b"message", &signature[1..]));
        assert!(!verdict(*scheme, good, b"message", &[&[0], &signature[..]].concat()));
        assert!(!verdict(*scheme, good, b"message", &[0xFF; 256]));
        assert!(!verdict(*scheme, good, b"message", &[]));
        // Every byte in turn: frames that no longer fit, even moduli, even exponents.
        for at in 0..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 1;
            assert!(!verdict(*scheme, &bad, b"message", &signature), "byte {at}");
            assert!(!verdict(*scheme, &good[..at], b"message", &signature), "{at} bytes");
        }
    }
}

#[test]
fn an_rsa_key_of_1024_bits_may_not_sign_a_handshake() {
    use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPublicKey};
    let key = text::from_hex(x509::tests::IDENTITY_KEY).unwrap();
    let key = rsa::RsaPrivateKey::from_pkcs1_der(&key).unwrap();
    let public = key.to_public_key().to_pkcs1_der().unwrap();
    for scheme in RSA_SCHEMES {
        let signer = RsaServer(key.clone(), vec![*scheme]);
        // PSS with SHA-512 does not even fit.
        if *scheme != SignatureScheme::RSA_PSS_SHA512 {
            let signature = rustls::sign::Signer::sign(&signer, b"message").unwrap();
            assert!(!verdict(*scheme, public.as_bytes(), b"message", &signature));
        }
    }
}

#[test]
fn providers_agree_on_which_ecdsa_signatures_are_good() {
    let (ours, scheme) = (leaf(14), SignatureScheme::ECDSA_NISTP256_SHA256);
    let key = Certificate::parse(&ours.certificate).unwrap().public_key.key;
    for provider in providers() {
        let signature = key_of(provider, &ours).choose_scheme(&[scheme]).unwrap().sign(b"message").unwrap();
        assert!(verdict(scheme, key, b"message", &signature));
        for at in 0..signature.len() {
            let mut bad = signature.clone();
            bad[at] ^= 1;
            assert!(!verdict(scheme, key, b"message", &bad), "byte {at}");
            assert!(!verdict(scheme, key, b"message", &signature[..at]), "{at} bytes");
        }
        for at in 0..key.len() {
            let mut bad = key.to_vec();
            bad[at] ^= 1;
            assert!(!verdict(scheme, &bad, b"message", &signature), "key byte {at}");
        }
    }
}

#[test]
fn bad_key_shares_are_refused() {
    for provider in providers() {
        let offered = provider.offered();
        let group = |name| *offered.kx_groups.iter().find(|group| group.name() == name).unwrap();
        let refuses = |name, share: &[u8]| {
            let refusal = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);
            group(name).start().unwrap().complete(share).err() == Some(refusal)
        };

        let mut one = [0; 32];
        one[0] = 1;
        let order_eight = text::from_hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800").unwrap();
        let minus_one = text::from_hex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f").unwrap();
        for share in [&[0; 32], &one[..], &order_eight, &minus_one, &[9; 31], &[9; 33], &[]] {
            assert!(refuses(NamedGroup::X25519, share), "{} {share:?}", provider.name());
        }

        let good = group(NamedGroup::secp256r1).start().unwrap().pub_key().to_vec();
        assert!(!refuses(NamedGroup::secp256r1, &good));
        let (mut off_curve, mut compressed, mut hybrid) = (good.clone(), good[..33].to_vec(), good.clone());
        off_curve[64] ^= 1;
        compressed[0] = 2 + (good[64] & 1);
        hybrid[0] = 6 + (good[64] & 1);
        let infinity = [0];
        for share in [&off_curve[..], &compressed, &hybrid, &infinity, &[4; 65], &good[..64], &[]] {
            assert!(refuses(NamedGroup::secp256r1, share), "{} {share:?}", provider.name());
        }
    }
}

/// A ClientHello with its random parts taken out.
#[derive(Debug, PartialEq)]
struct Hello {
    /// Record and handshake headers without their lengths, the version.
    head: Vec<u8>,
    session_id_length: usize,
    suites: Vec<u16>,
    compression: Vec<u8>,
    /// rustls shuffles these. The name and the key-share payloads are masked.
    extensions: BTreeMap<u16, Vec<u8>>,
    /// Groups, and the length of the share of each.
    shares: Vec<(u16, usize)>,
}

fn hello(client: &mut ClientConnection) -> Hello {
    use crate::base::codec::Reader;
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    let mut reader = Reader::new(&bytes);
    let mut head = reader.take(3).unwrap().to_vec(); // record type and version
    let mut record = Reader::new(reader.u16_prefixed().unwrap());
    reader.finish().unwrap();
    head.extend_from_slice(&record.array::<1>().unwrap()); // message type
    record.take(3).unwrap(); // its length: all that follows
    head.extend_from_slice(&record.array::<2>().unwrap()); // version
    record.take(32).unwrap(); // random
    let session_id_length = record.u8_prefixed().unwrap().len();
    let suites = words(record.u16_prefixed().unwrap());
    let compression = record.u8_prefixed().unwrap().to_vec();
    let mut list = Reader::new(record.u16_prefixed().unwrap());
    record.finish().unwrap();
    let mut extensions = BTreeMap::new();
    while !list.is_empty() {
        let kind = list.u16().unwrap();
        assert_eq!(extensions.insert(kind, list.u16_prefixed().unwrap().to_vec()), None);
    }
    let name = extensions.insert(SERVER_NAME, vec![]).unwrap();
    assert!(name.ends_with(b".com") && name[5..].starts_with(b"www."));
    let shares = extensions.insert(KEY_SHARE, vec![]).map(|shares| key_shares(&shares)).unwrap_or_default();
    Hello { head, session_id_length, suites, compression, extensions, shares }
}

const SERVER_NAME: u16 = 0;
const KEY_SHARE: u16 = 51;

fn key_shares(extension: &[u8]) -> Vec<(u16, usize)> {
    use crate::base::codec::Reader;
    let mut list = Reader::new(Reader::new(extension).u16_prefixed().unwrap());
    let mut shares = Vec::new();
    while !list.is_empty() {
        shares.push((list.u16().unwrap(), list.u16_prefixed().unwrap().len()));
    }
    shares
}

fn words(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks(2).map(|word| u16::from_be_bytes([word[0], word[1]])).collect()
}

#[test]
fn both_providers_say_the_same_hello() {
    let hellos: Vec<Hello> = providers().into_iter().map(|provider| hello(&mut client(provider))).collect();
    for other in &hellos[1..] {
        assert_eq!(*other, hellos[0]);
    }
    let hello = &hellos[0];
    assert_eq!(hello.head, [22, 3, 1, 1, 3, 3]);
    assert_eq!(hello.session_id_length, 32);
    // The suites of C tor's order, and the sign that we never renegotiate.
    assert_eq!(hello.suites, [0x1301, 0x1303, 0x1302, 0xC02B, 0xC02F, 0xCCA9, 0xCCA8, 0xC02C, 0xC030, 0x00FF]);
    assert_eq!(hello.compression, [0]);
    assert_eq!(hello.shares, [(23, 65)]);
    let expected: [(u16, &[u8]); 9] = [
        (SERVER_NAME, &[]),
        (5, &[1, 0, 0, 0, 0]),                                    // status request
        (10, &[0, 4, 0, 23, 0, 29]),                              // P-256, X25519
        (11, &[1, 0]),                                            // uncompressed points
        (13, &[0, 14, 4, 3, 8, 4, 8, 5, 8, 6, 4, 1, 5, 1, 6, 1]), // signatures
        (23, &[]),                                                // extended master secret
        (43, &[4, 3, 4, 3, 3]),                                   // TLS 1.3, TLS 1.2
        (45, &[1, 1]),                                            // PSK with DHE
        (KEY_SHARE, &[]),
    ];
    let expected: BTreeMap<u16, Vec<u8>> = expected.into_iter().map(|(kind, body)| (kind, body.to_vec())).collect();
    assert_eq!(hello.extensions, expected);
}

#[test]
fn nothing_of_one_connection_shows_in_the_next() {
    for provider in providers() {
        let config = client_config(provider);
        let new = || ClientConnection::new(Arc::clone(&config), name()).unwrap();
        let first = hello(&mut new());
        // A server that would resume, and sends tickets to do it with.
        let ours = leaf(10);
        let certified = CertifiedKey::new(vec![ours.certificate.clone().into()], key_of(provider, &ours));
        let mut server = server_config_of(provider.offered(), VERSIONS, certified);
        server.send_tls13_tickets = 2;
        server.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
        let server = Arc::new(server);
        for _ in 0..2 {
            let mut client = new();
            handshake(&mut client, &mut ServerConnection::new(Arc::clone(&server)).unwrap()).unwrap();
            assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
        }
        assert_eq!(hello(&mut new()), first);
    }
}

#[test]
fn a_relay_of_ours_sends_no_ticket() {
    for provider in providers() {
        let (mut client, server) = (client(provider), server_config(provider, &leaf(11)));
        handshake(&mut client, &mut ServerConnection::new(server).unwrap()).unwrap();
        assert_eq!(client.tls13_tickets_received(), 0);
    }
}

#[test]
fn each_missing_feature_alone_chooses_the_portable_provider() {
    let all = [true; gate::NEEDED.len()];
    if gate::NEEDED.is_empty() {
        assert_eq!(Provider::choose(&all), Provider::PORTABLE);
    } else {
        assert_eq!(Provider::choose(&all), Provider(Kind::Graviola));
    }
    for (missing, feature) in gate::NEEDED.iter().enumerate() {
        let mut features = all;
        features[missing] = false;
        assert_eq!(Provider::choose(&features), Provider::PORTABLE, "without {feature}");
    }
    assert_eq!(Provider::best(), Provider::graviola().unwrap_or(Provider::PORTABLE));
}

#[test]
fn server_names_are_as_c_tor_makes_them() {
    let mut entropy = Seeded(12);
    let mut lengths = BTreeMap::new();
    for _ in 0..2000 {
        let ServerName::DnsName(name) = random_server_name(&mut entropy) else { panic!("not a host name") };
        let label = name.as_ref().strip_prefix("www.").unwrap().strip_suffix(".com").unwrap();
        assert!(label.bytes().all(|c| matches!(c, b'a'..=b'z' | b'2'..=b'7')));
        *lengths.entry(label.len()).or_insert(0) += 1;
    }
    assert_eq!(lengths.len(), 22);
    assert_eq!((lengths.first_key_value().unwrap().0, lengths.last_key_value().unwrap().0), (&4, &25));
}

#[test]
fn a_generated_leaf_is_signed_by_its_own_key() {
    let ours = Leaf::generate(&mut Seeded(13), Wall::from_secs(1_700_000_000), Wall::from_secs(1_800_000_000));
    let certificate = Certificate::parse(&ours.certificate).unwrap();
    assert_eq!(certificate.not_before, Wall::from_secs(1_700_000_000));
    assert_eq!(certificate.not_after, Wall::from_secs(1_800_000_000));
    let again = Leaf::generate(&mut Seeded(13), Wall::from_secs(1_700_000_000), Wall::from_secs(1_800_000_000));
    assert_eq!(ours.certificate, again.certificate, "the same seed gives the same certificate");
    // webpki reads it and finds its key equal to ours.
    for provider in providers() {
        let certified = CertifiedKey::new(vec![ours.certificate.clone().into()], key_of(provider, &ours));
        assert_ne!(certified.keys_match(), Err(rustls::InconsistentKeys::KeyMismatch.into()));
    }
}
