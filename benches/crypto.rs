//! What a cell and a handshake cost: relay ciphers for one and three hops, each end of
//! each circuit handshake.
#![allow(clippy::unwrap_used, reason = "a bench that cannot start should say where")]

use std::hint::black_box;

use cepa::internal::base::random::Entropy;
use cepa::internal::base::{Ed25519Id, RsaId};
use cepa::internal::crypto::kdf::{KeyStream, ShakeStream};
use cepa::internal::crypto::layer::{Cipher, ClientLayer, RelayLayer};
use cepa::internal::crypto::x25519::KeyPair;
use cepa::internal::crypto::{Secret, fast, hs_ntor, ntor, ntor3};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const RELAY: u8 = 3;

/// Fast and repeatable; nothing here is a secret.
struct Counter(u64);

impl Entropy for Counter {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

fn keys(hop: u8) -> KeyStream {
    KeyStream::Shake(Box::new(ShakeStream::new(&[&[hop]])))
}

fn clients(cipher: Cipher, hops: u8) -> Vec<ClientLayer> {
    (0..hops).map(|hop| ClientLayer::new(cipher, keys(hop)).unwrap().0).collect()
}

fn relays(cipher: Cipher, hops: u8) -> Vec<RelayLayer> {
    (0..hops).map(|hop| RelayLayer::new(cipher, keys(hop)).unwrap().0).collect()
}

fn cells(c: &mut Criterion) {
    let mut group = c.benchmark_group("cell");
    group.throughput(Throughput::Bytes(509));
    for (name, cipher) in [("tor1", Cipher::Tor1), ("onion_service", Cipher::OnionService), ("cgo", Cipher::Cgo)] {
        for hops in [1, 3] {
            group.bench_function(format!("{name}/{hops}_hops/client_sends"), |b| {
                let mut layers = clients(cipher, hops);
                let mut cell = [7; 509];
                b.iter(|| {
                    let (target, nearer) = layers.split_last_mut().unwrap();
                    target.originate(RELAY, &mut cell);
                    nearer.iter_mut().rev().for_each(|layer| layer.wrap(RELAY, &mut cell));
                    black_box(&mut cell);
                });
            });
            group.bench_function(format!("{name}/{hops}_hops/client_receives"), |b| {
                let mut clients = clients(cipher, hops);
                let mut relays = relays(cipher, hops);
                b.iter_custom(|rounds| receive(&mut clients, &mut relays, rounds));
            });
        }
        group.bench_function(format!("{name}/relay_passes"), |b| {
            let mut layer = relays(cipher, 1).remove(0);
            let mut cell = [7; 509];
            b.iter(|| {
                layer.wrap(RELAY, &mut cell);
                black_box(&mut cell);
            });
        });
    }
}

/// How long the client takes to peel `rounds` cells that the last relay has sealed.
#[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn receive(clients: &mut [ClientLayer], relays: &mut [RelayLayer], rounds: u64) -> std::time::Duration {
    const BATCH: usize = 64;
    let mut spent = std::time::Duration::ZERO;
    let mut left = usize::try_from(rounds).unwrap();
    while left > 0 {
        let mut batch = [[0; 509]; BATCH];
        let count = left.min(BATCH);
        for cell in &mut batch[..count] {
            let (source, nearer) = relays.split_last_mut().unwrap();
            source.originate(RELAY, cell);
            nearer.iter_mut().rev().for_each(|relay| relay.wrap(RELAY, cell));
        }
        let start = std::time::Instant::now();
        for cell in &mut batch[..count] {
            let arrived = clients.iter_mut().any(|client| client.peel(RELAY, cell).is_some());
            assert!(arrived);
        }
        spent += start.elapsed();
        left -= count;
    }
    spent
}

fn handshakes(c: &mut Criterion) {
    let mut entropy = Counter(1);
    let mut group = c.benchmark_group("handshake");
    let onion = KeyPair::random(&mut entropy);

    group.bench_function("create_fast/client", |b| {
        b.iter_batched(
            || {
                let (client, message) = fast::Client::start(&mut entropy);
                (client, fast::respond(&mut entropy, &message).unwrap().0)
            },
            |(client, reply)| client.finish(&reply).unwrap(),
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("create_fast/relay", |b| b.iter(|| fast::respond(&mut entropy, &[1; 20])));

    let relay = ntor::RelayKey { id: RsaId([1; 20]), onion_key: onion.public };
    group.bench_function("ntor/client", |b| {
        b.iter_batched(
            || {
                let (client, skin) = ntor::Client::start(&mut entropy, relay).unwrap();
                (client, ntor::respond(&mut entropy, relay.id, &[&onion], &skin).unwrap().0)
            },
            |(client, reply)| client.finish(&reply).unwrap(),
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("ntor/client_start", |b| b.iter(|| ntor::Client::start(&mut entropy, relay)));
    let (_, skin) = ntor::Client::start(&mut entropy, relay).unwrap();
    group.bench_function("ntor/relay", |b| b.iter(|| ntor::respond(&mut entropy, relay.id, &[&onion], &skin)));

    let relay = ntor3::RelayKey { id: Ed25519Id([1; 32]), onion_key: onion.public };
    let ask = [2, 1, 0, 3, 2, 2, 6];
    let answer = [1, 2, 1, 31];
    let start = |entropy: &mut Counter| ntor3::Client::start(entropy, relay, &ask, ntor3::CIRCUIT_EXTEND).unwrap();
    let respond = |entropy: &mut Counter, skin: &[u8]| {
        let (responder, _) = ntor3::Relay::receive(relay.id, &[&onion], skin, ntor3::CIRCUIT_EXTEND).unwrap();
        responder.respond(entropy, &answer).unwrap()
    };
    group.bench_function("ntor_v3/client_start", |b| b.iter(|| start(&mut entropy)));
    group.bench_function("ntor_v3/client", |b| {
        b.iter_batched(
            || {
                let (client, skin) = start(&mut entropy);
                (client, respond(&mut entropy, &skin).0)
            },
            |(client, reply)| client.finish(&reply).unwrap(),
            criterion::BatchSize::SmallInput,
        );
    });
    let (_, skin) = start(&mut entropy);
    group.bench_function("ntor_v3/relay", |b| b.iter(|| respond(&mut entropy, &skin)));

    let subcredential = Secret::new([3; 32]);
    let keys = hs_ntor::IntroductionKeys { auth_key: Ed25519Id([1; 32]), enc_key: onion.public };
    let header = [0; 56];
    let start =
        |entropy: &mut Counter| hs_ntor::Client::start(entropy, keys, &subcredential, &header, &[0; 190]).unwrap();
    let subcredentials = [subcredential.clone()];
    let respond = |entropy: &mut Counter, encrypted: &[u8]| {
        let received = hs_ntor::Service::receive(keys.auth_key, &onion, &subcredentials, &header, encrypted);
        received.unwrap().0.respond(entropy).unwrap()
    };
    group.bench_function("hs_ntor/client_start", |b| b.iter(|| start(&mut entropy)));
    group.bench_function("hs_ntor/client", |b| {
        b.iter_batched(
            || {
                let (client, encrypted) = start(&mut entropy);
                (client, respond(&mut entropy, &encrypted).0)
            },
            |(client, reply)| client.finish(&reply).unwrap(),
            criterion::BatchSize::SmallInput,
        );
    });
    let (_, encrypted) = start(&mut entropy);
    group.bench_function("hs_ntor/service", |b| b.iter(|| respond(&mut entropy, &encrypted)));
}

criterion_group!(benches, cells, handshakes);
criterion_main!(benches);
