//! What costs no allocation: reading, writing, sealing and peeling a cell; and that no
//! parser allocates more than its input allows, whatever the input says.
//!
//! The one test with `unsafe` in it: it counts through an allocator of its own.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use cepa::internal::base::random::Entropy;
use cepa::internal::base::time::Wall;
use cepa::internal::crypto::kdf::{KeyStream, ShakeStream};
use cepa::internal::crypto::layer::{Cipher, ClientLayer, RelayLayer};
use cepa::internal::crypto::{cert, rsa, x509};
use cepa::internal::directory::microdesc;
use cepa::internal::wire::cell::{self, CircId, Era};
use cepa::internal::wire::relay::{Command, Format, StreamId};
use cepa::internal::wire::{cell_msg, extend, extension, hs_msg, netdoc, relay_msg};

struct Counting;

thread_local! {
    /// Allocations and bytes of this thread.
    static SPENT: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is going away has no count any more.
        let _ = SPENT.try_with(|spent| spent.set((spent.get().0 + 1, spent.get().1 + layout.size())));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many allocations, and of how many bytes, `f` makes.
fn spent(f: impl FnOnce()) -> (usize, usize) {
    let before = SPENT.get();
    f();
    let after = SPENT.get();
    (after.0 - before.0, after.1 - before.1)
}

struct Zeros;

impl Entropy for Zeros {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(spent(|| drop(std::hint::black_box(vec![0_u8; 1000]))), (1, 1000));
}

#[test]
fn a_cell_costs_no_allocation_between_its_message_and_the_bytes_of_a_link() {
    let keys = || KeyStream::Shake(Box::new(ShakeStream::new(&[b"allocations"])));
    for (cipher, format) in [(Cipher::Tor1, Format::V0), (Cipher::OnionService, Format::V0), (Cipher::Cgo, Format::V1)]
    {
        let (mut client, _) = ClientLayer::new(cipher, keys()).unwrap();
        let (mut relay, _) = RelayLayer::new(cipher, keys()).unwrap();
        let mut bytes = [0; cell::FIXED_LEN];
        let count = spent(|| {
            for number in 1..100_u16 {
                let mut body = [0; 509];
                let stream = StreamId::new(number);
                format.encode(&mut body, Command::DATA, stream, &mut Zeros, |out| Ok(out.bytes(&[7; 400])?)).unwrap();
                client.originate(cell::Command::RELAY.0, &mut body);
                let header = cell::fixed_header(CircId::new(1), cell::Command::RELAY).unwrap();
                bytes[..5].copy_from_slice(&header);
                bytes[5..].copy_from_slice(&body);

                let found = cell::peek(Era::Wide, &bytes).unwrap().unwrap();
                let mut arrived: [u8; 509] = bytes[found.body()].try_into().unwrap();
                assert!(relay.peel(found.command.0, &mut arrived).is_some());
                let message = format.parse(&arrived).unwrap();
                assert_eq!((message.stream, message.body.len()), (stream, 400));
            }
        });
        assert_eq!(count, (0, 0), "{cipher:?}");
    }
}

/// Parses every input as each of these, which must allocate nothing.
macro_rules! parse_for_nothing {
    ($inputs:expr, $($message:ty),* $(,)?) => {
        for input in $inputs {
            $(assert_eq!(spent(|| { let _ = std::hint::black_box(<$message>::parse(input)); }), (0, 0), stringify!($message));)*
        }
    };
}

/// Bytes that promise more than is there, or nothing sensible at all.
fn hostile() -> Vec<Vec<u8>> {
    let mut inputs = vec![vec![0xFF; 64], vec![0xFF; 600], vec![0x30; 600], vec![0; 600]];
    for length in [8_usize, 64, 600] {
        for first in [1_u8, 2, 4, 0x30, 0x82, 0xFE] {
            inputs.push((0..length).map(|n| if n % 7 == 0 { first } else { 0xFF ^ (n as u8) }).collect());
        }
    }
    inputs
}

#[test]
fn no_message_costs_an_allocation_to_read() {
    use cepa::internal::wire::circuit_msg::{ConfluxLink, ConfluxSwitch, PaddingNegotiate, PaddingNegotiated};
    use hs_msg::{EstablishIntro, Introduce, IntroduceAck, IntroducePlaintext, Rendezvous1, Rendezvous2};
    use relay_msg::{Begin, Connected, End, Resolve, Resolved, Sendme, Xoff, Xon};
    parse_for_nothing!(
        &hostile(),
        cell_msg::Versions<'_>,
        cell_msg::Certs<'_>,
        cell_msg::AuthChallenge<'_>,
        cell_msg::Netinfo<'_>,
        cell_msg::Create2<'_>,
        cell_msg::Created2<'_>,
        Begin<'_>,
        Connected,
        End,
        Resolve<'_>,
        Resolved<'_>,
        Sendme,
        Xoff,
        Xon,
        extend::Extend2<'_>,
        extension::Extensions<'_>,
        ConfluxLink,
        ConfluxSwitch,
        PaddingNegotiate,
        PaddingNegotiated,
        EstablishIntro<'_>,
        Introduce<'_>,
        IntroducePlaintext<'_>,
        IntroduceAck<'_>,
        Rendezvous1<'_>,
        Rendezvous2,
        x509::Certificate<'_>,
    );
}

#[test]
fn documents_and_keys_cost_no_more_than_their_length_allows() {
    let document = "keyword some arguments\n-----BEGIN THING-----\nAAAA\n-----END THING-----\n".repeat(500);
    let count = spent(|| {
        let items = netdoc::Tokenizer::new(document.as_bytes()).filter(Result::is_ok).count();
        assert_eq!(items, 500);
    });
    assert_eq!(count, (0, 0), "items are borrowed");
    let microdesc =
        "onion-key\nntor-onion-key UTHMgMUssIcB0r5wY9b+3sfmFW9ii/Kktx/nMrZnaz8\nfamily $50 x\np accept 80\n";
    let count = spent(|| assert!(microdesc::Microdesc::parse(microdesc.as_bytes()).unwrap().ntor.is_some()));
    assert_eq!(count, (0, 0), "and so is a microdescriptor");
    for input in hostile() {
        let (_, bytes) = spent(|| {
            let _ = rsa::PublicKey::from_der(&input);
            let _ = cert::Certificate::check(&input, cert::Kind::Signing, cert::Signer::Named, Wall::from_secs(1));
        });
        assert!(bytes <= 64 * input.len() + 4096, "{bytes} bytes for {}", input.len());
    }
}

/// Both ways between a writer, a tunnel, its far end and a reader, with all its SENDMEs.
#[test]
fn a_data_cell_costs_no_allocation_either_way() {
    use cepa::internal::base::time::Now;
    use cepa::internal::circuit::Output;
    use cepa::internal::circuit::far::pair;
    use cepa::internal::circuit::hop::{HopNo, Leg};
    use cepa::internal::wire::batch::CellBatch;
    use cepa::internal::wire::relay_msg::{BeginFlags, ClaimedTag, Sendme};

    let (mut tunnel, mut far) = pair(&[Cipher::Tor1; 3]).unwrap();
    let exit = HopNo(2);
    let at = tunnel.begin(exit, "a.example", 80, BeginFlags::default(), true, &mut Zeros).unwrap();
    let mut cell = [0; cell::BODY_LEN];
    let command = tunnel.take_cell(Leg(0), &mut cell, Now::default(), &mut Zeros).unwrap();
    far.hear(command, &mut cell).unwrap();
    let mut batch = CellBatch::default();
    batch.set_buffer(Vec::with_capacity(64 * 1024));
    batch.append(cell::Command::RELAY, &far.say(exit, Command::CONNECTED, Some(at.id), &[], &mut Zeros).unwrap());

    let data = [7; 498];
    let (mut sent, mut received, mut acknowledged) = (0_u32, 0_usize, 0_u32);
    let mut round = |batch: &mut CellBatch| {
        // In: what the far end has said.
        tunnel.handle_cells(Leg(0), std::mem::take(batch), Now::default());
        while let Some(output) = tunnel.poll_output() {
            if let Output::Data { stream, at } = output {
                received += tunnel.bytes(&at).len();
                tunnel.handle_read(stream, at.len());
            }
        }
        *batch = tunnel.take_batch().unwrap();
        let mut buffer = batch.take_buffer();
        buffer.clear();
        batch.set_buffer(buffer);
        // Out: what the writer gives, and what is owed.
        (0..50).for_each(|_| assert_eq!(tunnel.handle_write(at, &data), data.len()));
        let (mut of_stream, mut tag) = (0, None);
        while let Some(command) = tunnel.take_cell(Leg(0), &mut cell, Now::default(), &mut Zeros) {
            let (_, proof) = far.hear(command, &mut cell).unwrap();
            if Format::V0.parse(&cell).unwrap().command != Command::DATA {
                acknowledged += 1;
                continue;
            }
            sent += 1;
            of_stream += u32::from(sent.is_multiple_of(50));
            tag = if sent.is_multiple_of(100) { Some(proof) } else { tag };
        }
        // The far end acknowledges, and says as much as it heard.
        let mut say = |command, stream, body: &[u8]| {
            batch.append(cell::Command::RELAY, &far.say(exit, command, stream, body, &mut Zeros).unwrap());
        };
        (0..of_stream).for_each(|_| say(Command::SENDME, Some(at.id), &[]));
        if let Some(tag) = tag {
            let mut body = [0; 23];
            let mut out = cepa::internal::base::codec::Writer::new(&mut body);
            Sendme::V1(ClaimedTag::Tor1(tag.as_bytes().try_into().unwrap())).encode(&mut out).unwrap();
            say(Command::SENDME, None, &body);
        }
        (0..50).for_each(|_| say(Command::DATA, Some(at.id), &data));
    };
    (0..20).for_each(|_| round(&mut batch));
    let count = spent(|| (0..100).for_each(|_| round(&mut batch)));
    assert_eq!(count, (0, 0));
    assert!(sent >= 6000 && received >= 118 * 50 * 498 && acknowledged >= 150, "{sent} {received} {acknowledged}");
}

/// C tor keeps 32 MiB of such files.
#[test]
fn looking_countries_up_costs_a_buffer() {
    let path = std::env::temp_dir().join(format!("cepa-countries-{}", std::process::id()));
    let lines: String = (0..400_000_u32).map(|at| format!("{},{},DE\n", at * 10_000, at * 10_000 + 9_999)).collect();
    std::fs::write(&path, lines).unwrap();
    let addresses: Vec<_> = (0..8000_u32).map(|at| core::net::Ipv4Addr::from_bits(at * 500_000)).collect();
    let (_, bytes) = spent(|| {
        let finding = cepa::app::countries::find(path.to_str().unwrap(), &addresses).unwrap();
        assert!(finding.found.iter().all(|(_, country)| country.to_string() == "de"));
    });
    std::fs::remove_file(&path).unwrap();
    // That `to_string` of each is among them.
    assert!(bytes < 256 * 1024, "{bytes}");
}
