//! What TLS costs: opening one record of 4 KiB, and one handshake of both ends.
//!
//! Not the network. `cargo bench --bench tls`; each line names the provider and the suite.
//! Opening includes copying the record into place, because opening destroys it.

use cepa::internal::base::random::Entropy;
use cepa::internal::base::time::Wall;
use cepa::internal::crypto::tls::{Leaf, Provider, client_config, random_server_name, server_config};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rustls::crypto::cipher::{
    InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, NONCE_LEN, OutboundPlainMessage,
};
use rustls::crypto::tls13::OkmBlock;
use rustls::internal::derive_traffic_key;
use rustls::{ClientConnection, ContentType, ProtocolVersion, ServerConnection, SupportedCipherSuite};
use std::hint::black_box;
use std::sync::Arc;

const RECORD_LEN: usize = 4096;
/// What comes before the payload in a record.
const HEADER_LEN: usize = 5;

struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(5).wrapping_add(1);
            *byte = self.0;
        }
    }
}

fn providers() -> Vec<Provider> {
    [Some(Provider::PORTABLE), Provider::graviola()].into_iter().flatten().collect()
}

/// Both ends of a TLS 1.3 suite under one key.
fn sealed_and_opener(suite: SupportedCipherSuite) -> Option<(Vec<u8>, Box<dyn MessageDecrypter>)> {
    let SupportedCipherSuite::Tls13(suite) = suite else { return None };
    let expander =
        suite.hkdf_provider.expander_for_okm(&OkmBlock::new(&[7; 48][..suite.common.hash_provider.output_len()]));
    let key = || derive_traffic_key(expander.as_ref(), suite.aead_alg);
    let mut sealer: Box<dyn MessageEncrypter> = suite.aead_alg.encrypter(key(), Iv::from([3; NONCE_LEN]));
    let text = [5; RECORD_LEN];
    let plain = OutboundPlainMessage {
        typ: ContentType::ApplicationData,
        version: ProtocolVersion::TLSv1_2,
        payload: text.as_slice().into(),
    };
    let record = sealer.encrypt(plain, 0).ok()?.encode();
    Some((record[HEADER_LEN..].to_vec(), suite.aead_alg.decrypter(key(), Iv::from([3; NONCE_LEN]))))
}

fn open_records(c: &mut Criterion) {
    let mut group = c.benchmark_group("open_4KiB");
    group.throughput(Throughput::Bytes(4096));
    for provider in providers() {
        for suite in &client_config(provider).crypto_provider().cipher_suites {
            let Some((sealed, mut opener)) = sealed_and_opener(*suite) else { continue };
            let mut place = sealed.clone();
            group.bench_function(format!("{}/{:?}", provider.name(), suite.suite()), |b| {
                b.iter(|| {
                    place.copy_from_slice(&sealed);
                    let record =
                        InboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, &mut place);
                    black_box(opener.decrypt(record, 0).map(|opened| opened.payload.len()))
                });
            });
        }
    }
    group.finish();
}

fn handshakes(c: &mut Criterion) {
    let mut group = c.benchmark_group("handshake_both_ends");
    for provider in providers() {
        let leaf = Leaf::generate(&mut Counting(1), Wall::from_secs(0), Wall::from_secs(1));
        let (client, server) = (client_config(provider), server_config(provider, &leaf));
        let name = random_server_name(&mut Counting(2));
        group.bench_function(provider.name(), |b| {
            b.iter(|| {
                let client = ClientConnection::new(Arc::clone(&client), name.clone()).expect("a client");
                let server = ServerConnection::new(Arc::clone(&server)).expect("a server");
                shake(client, server).expect("a handshake");
            });
        });
    }
    group.finish();
}

fn shake(mut client: ClientConnection, mut server: ServerConnection) -> Result<(), rustls::Error> {
    let mut bytes = Vec::with_capacity(4096);
    while client.is_handshaking() || server.is_handshaking() {
        let _memory = client.write_tls(&mut bytes);
        let _memory = server.read_tls(&mut bytes.as_slice());
        server.process_new_packets()?;
        bytes.clear();
        while server.wants_write() {
            let _memory = server.write_tls(&mut bytes);
        }
        let _memory = client.read_tls(&mut bytes.as_slice());
        client.process_new_packets()?;
        bytes.clear();
    }
    Ok(())
}

criterion_group!(benches, open_records, handshakes);
criterion_main!(benches);
