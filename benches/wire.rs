//! What one cell and one line of a document cost: the hot paths of `wire`.

use cepa::internal::base::random::Entropy;
use cepa::internal::wire::cell::{BODY_LEN, Era, peek};
use cepa::internal::wire::netdoc::{Tokenizer, write_line, write_object};
use cepa::internal::wire::relay::{Command, Format, StreamId};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// Padding bytes for nothing, so that what is measured is the cell.
struct Zeros;

impl Entropy for Zeros {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}

fn link_cells(c: &mut Criterion) {
    let mut fixed = vec![0; 514];
    fixed[..5].copy_from_slice(&[0x80, 0, 0, 1, 3]);
    let variable = [&[0, 0, 0, 0, 129, 2, 0][..], &[0; 512]].concat();
    for (name, cell) in [("peek/fixed", fixed), ("peek/variable", variable)] {
        c.bench_function(name, |b| b.iter(|| peek(Era::Wide, black_box(&cell))));
    }
}

fn relay_cells(c: &mut Criterion) {
    let stream = StreamId::new(0x1234);
    let data = [0xA5; 498];
    for (name, format) in [("v0", Format::V0), ("v1", Format::V1)] {
        let body = &data[..format.max_body(Command::DATA)];
        let mut cell = [0; BODY_LEN];
        format.encode(&mut cell, Command::DATA, stream, &mut Zeros, |out| Ok(out.bytes(body)?)).expect("it fits");
        c.bench_function(&format!("relay/{name}/parse"), |b| b.iter(|| black_box(format.parse(black_box(&cell)))));
        c.bench_function(&format!("relay/{name}/encode"), |b| {
            b.iter(|| {
                format.encode(black_box(&mut cell), Command::DATA, stream, &mut Zeros, |out| Ok(out.bytes(body)?))
            })
        });
    }
}

/// A megabyte in the shape of a microdescriptor consensus.
fn consensus() -> String {
    let mut text = String::new();
    write_line(&mut text, "network-status-version", &["3", "microdesc"]);
    write_line(&mut text, "valid-after", &["2026-01-01", "00:00:00"]);
    let mut n = 0;
    while text.len() < 1 << 20 {
        let relay = format!("Unnamed{n}");
        let address = format!("192.0.2.{}", n % 256);
        let id = "oQZFLYe9e4A7bOkWKR7TaNxb0JE";
        write_line(&mut text, "r", &[&relay, id, "2026-01-01", "00:00:00", &address, "9001", "0"]);
        write_line(&mut text, "m", &["KIM8ORVzU2D0bKP8TtW9fRSvlfPJGuKhUeYYKnrZ4oQ"]);
        write_line(&mut text, "s", &["Exit", "Fast", "Guard", "HSDir", "Running", "Stable", "V2Dir", "Valid"]);
        write_line(&mut text, "v", &["Tor", "0.4.9.11"]);
        write_line(&mut text, "pr", &["Conflux=1", "Cons=1-2", "Desc=1-4", "DirCache=2", "FlowCtrl=1-2", "HSDir=2"]);
        write_line(&mut text, "w", &["Bandwidth=23000"]);
        n += 1;
    }
    write_line(&mut text, "directory-signature", &["sha256", "AA", "BB"]);
    write_object(&mut text, "SIGNATURE", &[0xA5; 256]);
    text
}

/// Half a megabyte of base64, of which a consensus has little and a certificate much.
fn objects() -> String {
    let mut text = String::new();
    while text.len() < 1 << 19 {
        write_line(&mut text, "onion-key", &[]);
        write_object(&mut text, "RSA PUBLIC KEY", &[0xA5; 140]);
    }
    text
}

fn documents(c: &mut Criterion) {
    let mut group = c.benchmark_group("netdoc");
    for (name, text) in [("consensus", consensus()), ("objects", objects())] {
        group.throughput(Throughput::Bytes(text.len().try_into().expect("it is short")));
        group.bench_function(name, |b| {
            b.iter(|| Tokenizer::new(black_box(text.as_bytes())).filter(|item| item.is_ok()).count())
        });
        group.bench_function(format!("{name}/arguments"), |b| {
            b.iter(|| {
                Tokenizer::new(black_box(text.as_bytes())).flatten().map(|item| item.args().count()).sum::<usize>()
            })
        });
    }
    group.finish();
}

criterion_group!(benches, link_cells, relay_cells, documents);
criterion_main!(benches);
