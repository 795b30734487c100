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
