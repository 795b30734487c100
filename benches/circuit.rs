//! What a DATA cell costs a tunnel: from a writer's bytes to a sealed cell, and from a read's
//! cells to a reader's bytes.
#![allow(clippy::unwrap_used, reason = "a bench that cannot start should say where")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use cepa::internal::base::codec::Writer;
use cepa::internal::base::random::Entropy;
use cepa::internal::base::time::Now;
use cepa::internal::circuit::Output;
use cepa::internal::circuit::far::{FarEnd, pair};
use cepa::internal::circuit::hop::{HopNo, Leg, StreamAt};
use cepa::internal::circuit::tunnel::Tunnel;
use cepa::internal::crypto::SendmeTag;
use cepa::internal::crypto::layer::Cipher;
use cepa::internal::wire::batch::CellBatch;
use cepa::internal::wire::cell::{self, BODY_LEN, Body};
use cepa::internal::wire::relay::{Command, Format};
use cepa::internal::wire::relay_msg::{BeginFlags, ClaimedTag, Sendme};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const LEG: Leg = Leg(0);
/// Cells of one read, or of one turn of writing.
const BATCH: usize = 50;

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

/// A tunnel with one stream open, and its far end.
struct Pair {
    tunnel: Tunnel,
    far: FarEnd,
    at: StreamAt,
    sent: u32,
}

impl Pair {
    fn new(hops: usize) -> Pair {
        let (mut tunnel, far) = pair(&vec![Cipher::Tor1; hops]).unwrap();
        let exit = HopNo(u8::try_from(hops - 1).unwrap());
        let at = tunnel.begin(exit, "a.example", 80, BeginFlags::default(), true, &mut Counter(1)).unwrap();
        let mut pair = Pair { tunnel, far, at, sent: 0 };
        let mut cells = pair.pull();
        pair.hear_out(&mut cells);
        let mut batch = CellBatch::default();
        pair.say(&mut batch, Command::CONNECTED, true, &[]);
        pair.take(batch);
        pair
    }

    fn pull(&mut self) -> Vec<(cell::Command, Body)> {
        let mut cells = Vec::new();
        let mut body = [0; BODY_LEN];
        while let Some(command) = self.tunnel.take_cell(LEG, &mut body, Now::default(), &mut Counter(1)) {
            cells.push((command, body));
        }
        cells
    }

    /// The far end hears cells; gives the proofs of those that a SENDME is for.
    fn hear_out(&mut self, cells: &mut [(cell::Command, Body)]) -> Vec<SendmeTag> {
        let mut tags = Vec::new();
        for (command, body) in cells {
            let (_, tag) = self.far.hear(*command, body).unwrap();
            if Format::V0.parse(body).unwrap().command == Command::DATA {
                self.sent += 1;
                if self.sent.is_multiple_of(100) {
                    tags.push(tag);
                }
            }
        }
        tags
    }

    fn say(&mut self, batch: &mut CellBatch, command: Command, of_stream: bool, body: &[u8]) {
        let stream = of_stream.then_some(self.at.id);
        let cell = self.far.say(self.at.hop, command, stream, body, &mut Counter(1)).unwrap();
        batch.append(cell::Command::RELAY, &cell);
    }

    /// The tunnel takes a batch, and its reader all that is in it.
    fn take(&mut self, batch: CellBatch) {
        self.tunnel.handle_cells(LEG, batch, Now::default());
        while let Some(output) = self.tunnel.poll_output() {
            if let Output::Data { stream, at } = output {
                black_box(self.tunnel.bytes(&at));
                self.tunnel.handle_read(stream, at.len());
            }
        }
        black_box(self.tunnel.take_batch());
    }
}

/// How long the tunnel takes to receive `rounds` DATA cells.
#[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn receive(pair: &mut Pair, rounds: u64) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..rounds.div_ceil(BATCH as u64) {
        let mut batch = CellBatch::default();
        (0..BATCH).for_each(|_| pair.say(&mut batch, Command::DATA, true, &[7; 498]));
        let begun = Instant::now();
        pair.take(batch);
        spent += begun.elapsed();
        let mut cells = pair.pull();
        pair.hear_out(&mut cells);
    }
    spent
}

/// How long the tunnel takes to send `rounds` DATA cells.
#[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn send(pair: &mut Pair, rounds: u64) -> Duration {
    let data = [7; 498];
    let mut spent = Duration::ZERO;
    let mut cells = vec![(cell::Command::RELAY, [0; BODY_LEN]); BATCH];
    for _ in 0..rounds.div_ceil(BATCH as u64) {
        let begun = Instant::now();
        for (command, body) in &mut cells {
            pair.tunnel.handle_write(pair.at, &data);
            *command = pair.tunnel.take_cell(LEG, body, Now::default(), &mut Counter(1)).unwrap();
        }
        spent += begun.elapsed();
        let mut rest = pair.pull();
        let mut tags = pair.hear_out(&mut cells);
        tags.extend(pair.hear_out(&mut rest));
        let mut batch = CellBatch::default();
        pair.say(&mut batch, Command::SENDME, true, &[]);
        for tag in tags {
            let mut body = [0; 23];
            let claimed = ClaimedTag::Tor1(tag.as_bytes().try_into().unwrap());
            Sendme::V1(claimed).encode(&mut Writer::new(&mut body)).unwrap();
            pair.say(&mut batch, Command::SENDME, false, &body);
        }
        pair.take(batch);
    }
    spent
}

fn cells(c: &mut Criterion) {
    let mut group = c.benchmark_group("tunnel");
    group.throughput(Throughput::Bytes(498));
    for hops in [1, 3] {
        group.bench_function(format!("{hops}_hops/receives"), |b| {
            let mut pair = Pair::new(hops);
            b.iter_custom(|rounds| receive(&mut pair, rounds));
        });
        group.bench_function(format!("{hops}_hops/sends"), |b| {
            let mut pair = Pair::new(hops);
            b.iter_custom(|rounds| send(&mut pair, rounds));
        });
    }
    group.finish();
}

criterion_group!(benches, cells);
criterion_main!(benches);
