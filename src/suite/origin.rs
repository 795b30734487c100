//! The server at the far end of every measurement, on a port and a thread of its own: gives, takes
//! and echoes bytes, looks at each that it takes, and counts for each run apart.
//!
//! A connection carries frames: one byte that says what is wanted, the number of the run, and a
//! length; behind those that send, so many bytes. All bytes of one direction of one connection are
//! one long pattern that never comes the same way twice within a window, so that a lost, doubled or
//! swapped cell shows. Called by `engine.rs`; `load.rs` is its client. Spec: none.

use core::net::{Ipv4Addr, SocketAddr};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::figure::Fault;
use crate::app::runtime;

/// The head of a frame: what is wanted, the run, the length.
pub const HEAD_LEN: usize = 13;
/// What a server says of all that it took in one frame: how much it took in good order.
pub const RECEIPT_LEN: usize = 8;
/// How much is read or written at once; ours.
pub const CHUNK: usize = 64 * 1024;
/// The longest frame that is echoed; ours, many times what a workload echoes.
const MAX_ECHO: u32 = 1 << 20;
/// After so many bytes the pattern comes again: a prime, so that no power of two, no cell and no
/// TLS record is a part of it.
const PERIOD: usize = 65_521;

/// What a frame wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// So many bytes of the server's pattern.
    Give,
    /// That so many bytes are taken; a receipt comes back.
    Take,
    /// So many bytes back.
    Echo,
}

impl Want {
    fn byte(self) -> u8 {
        match self {
            Want::Give => b'g',
            Want::Take => b't',
            Want::Echo => b'e',
        }
    }

    /// The head of a frame.
    pub fn head(self, run: u64, length: u32) -> [u8; HEAD_LEN] {
        let mut head = [self.byte(); HEAD_LEN];
        head[1..9].copy_from_slice(&run.to_be_bytes());
        head[9..].copy_from_slice(&length.to_be_bytes());
        head
    }

    fn parse(head: [u8; HEAD_LEN]) -> Option<(Want, u64, u32)> {
        let [byte, run @ .., a, b, c, d] = head;
        let want = [Want::Give, Want::Take, Want::Echo].into_iter().find(|want| want.byte() == byte)?;
        Some((want, u64::from_be_bytes(run), u32::from_be_bytes([a, b, c, d])))
    }
}

/// A pattern, twice its period and more, of which each part that is sent at once is a slice.
pub struct Pattern(Box<[u8]>);

impl Pattern {
    /// It.
    pub fn new() -> Pattern {
        let byte = |at: usize| {
            let mixed = u64::try_from(at % PERIOD).unwrap_or(0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (mixed ^ (mixed >> 29)).to_le_bytes()[4]
        };
        Pattern((0..PERIOD + CHUNK).map(byte).collect())
    }

    /// At most so many of its bytes, from that one on.
    pub fn from(&self, offset: u64, length: usize) -> &[u8] {
        let period = u64::try_from(PERIOD).unwrap_or(u64::MAX);
        let at = usize::try_from(offset % period).unwrap_or(0);
        self.0.get(at..at + length.min(CHUNK)).unwrap_or_default()
    }

    /// Whether these are its bytes from that one on.
    pub fn check(&self, mut offset: u64, mut bytes: &[u8]) -> Result<u64, Fault> {
        while !bytes.is_empty() {
            let expected = self.from(offset, bytes.len());
            let (now, rest) = bytes.split_at(expected.len());
            if now != expected {
                let good = now.iter().zip(expected).take_while(|(is, should)| is == should).count();
                return Err(Fault::WrongBytes(offset + u64::try_from(good).unwrap_or(0)));
            }
            offset += u64::try_from(now.len()).unwrap_or(0);
            bytes = rest;
        }
        Ok(offset)
    }
}

/// What the server counted for one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes of patterns that it wrote.
    pub given: u64,
    /// Bytes that came as they were sent.
    pub taken: u64,
}

/// What all connections share.
struct Shared {
    pattern: Pattern,
    /// The run that is counted, and its tally: what belongs to another is late, and counts nowhere.
    count: Mutex<(u64, Tally)>,
}

impl Shared {
    fn count(&self) -> MutexGuard<'_, (u64, Tally)> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, run: u64, change: impl FnOnce(&mut Tally)) {
        let mut count = self.count();
        if count.0 == run {
            change(&mut count.1);
        }
    }
}

/// The server.
pub struct Origin {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Origin {
    /// Opens its port.
    pub fn start() -> io::Result<Origin> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { pattern: Pattern::new(), count: Mutex::default() });
        let (stop, stopped) = oneshot::channel();
        let (executor, of_thread) = (runtime::executor()?, Arc::clone(&shared));
        let serve = move || {
            executor.block_on(async {
                tokio::select! {
                    () = listen(listener, of_thread) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = thread::Builder::new().name("bench origin".to_owned()).spawn(serve)?;
        Ok(Origin { shared, address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to count anew; the number of the run.
    pub fn begin(&self) -> u64 {
        let mut count = self.shared.count();
        *count = (count.0 + 1, Tally::default());
        count.0
    }

    /// What was counted since.
    pub fn tally(&self) -> Tally {
        self.shared.count().1
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

async fn listen(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        match listener.accept().await {
            // Whoever goes early, or says what is no frame, is let go.
            Ok((tcp, _)) => drop(tokio::spawn(serve(tcp, Arc::clone(&shared)))),
            // A moment without descriptors.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn serve(tcp: TcpStream, shared: Arc<Shared>) -> Result<(), Fault> {
    // What is echoed is not to wait for more.
    tcp.set_nodelay(true)?;
    let (mut wire, mut given, mut taken) = (Wire::new(tcp), 0, 0);
    loop {
        let mut head = [0; HEAD_LEN];
        if !wire.read_exact_or_end(&mut head).await? {
            return Ok(());
        }
        match Want::parse(head).ok_or(Fault::Gibberish)? {
            (Want::Give, run, length) => given = give(&wire, &shared, run, given, length).await?,
            (Want::Take, run, length) => {
                taken = take(&mut wire, &shared, run, taken, length).await?;
                wire.write(&taken.to_be_bytes()).await?;
            }
            (Want::Echo, _, length) if length > MAX_ECHO => return Err(Fault::Gibberish),
            (Want::Echo, run, length) => {
                let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
                wire.read_exact(&mut bytes).await?;
                taken = shared.pattern.check(taken, &bytes)?;
                shared.add(run, |tally| tally.taken += u64::from(length));
                // What comes back is what was taken: the other direction of the same pattern.
                shared.add(run, |tally| tally.given += u64::from(length));
                wire.write(&bytes).await?;
            }
        }
    }
}

async fn give(wire: &Wire, shared: &Shared, run: u64, mut offset: u64, length: u32) -> Result<u64, Fault> {
    let end = offset + u64::from(length);
    while offset < end {
        let left = usize::try_from(end - offset).unwrap_or(CHUNK);
        let bytes = shared.pattern.from(offset, left);
        let count = u64::try_from(bytes.len()).unwrap_or(0);
        // Before: whoever has them may ask at once how many there were.
        shared.add(run, |tally| tally.given += count);
        wire.write(bytes).await?;
        offset += count;
        // Others have their turn, however much room there is.
        tokio::task::yield_now().await;
    }
    Ok(offset)
}

async fn take(wire: &mut Wire, shared: &Shared, run: u64, mut offset: u64, length: u32) -> Result<u64, Fault> {
    let end = offset + u64::from(length);
    while offset < end {
        let most = usize::try_from(end - offset).unwrap_or(CHUNK);
        let bytes = wire.read(most).await?;
        let count = u64::try_from(bytes.len()).unwrap_or(0);
        offset = shared.pattern.check(offset, bytes)?;
        shared.add(run, |tally| tally.taken += count);
    }
    Ok(offset)
}

/// A connection with a buffer, read and written in whole pieces.
pub struct Wire {
    tcp: TcpStream,
    buffer: Box<[u8]>,
    /// What of the buffer is filled and not yet taken: `begin <= end <= CHUNK`.
    begin: usize,
    end: usize,
}

impl Wire {
    /// One over this connection.
    pub fn new(tcp: TcpStream) -> Wire {
        Wire { tcp, buffer: vec![0; CHUNK].into(), begin: 0, end: 0 }
    }

    /// Writes all of it.
    pub async fn write(&self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            match self.tcp.try_write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.tcp.writable().await?,
                Err(error) => return Err(gone(error)),
            }
        }
        Ok(())
    }

    /// The next bytes, at least one and so many at most.
    pub async fn read(&mut self, most: usize) -> Result<&[u8], Fault> {
        if self.begin == self.end && self.fill().await? == 0 {
            return Err(Fault::CutOff);
        }
        let from = self.begin;
        self.begin = self.end.min(from.saturating_add(most));
        Ok(self.buffer.get(from..self.begin).unwrap_or_default())
    }

    /// So many bytes.
    pub async fn read_exact(&mut self, out: &mut [u8]) -> Result<(), Fault> {
        if self.read_exact_or_end(out).await? { Ok(()) } else { Err(Fault::CutOff) }
    }

    /// So many bytes; false where there is not one.
    async fn read_exact_or_end(&mut self, out: &mut [u8]) -> Result<bool, Fault> {
        let mut filled = 0;
        while let Some(room) = out.get_mut(filled..).filter(|room| !room.is_empty()) {
            let bytes = match self.read(room.len()).await {
                Err(Fault::CutOff) if filled == 0 => return Ok(false),
                other => other?,
            };
            room[..bytes.len()].copy_from_slice(bytes);
            filled += bytes.len();
        }
        Ok(true)
    }

    /// Whether nothing more has come than was read.
    pub fn check_end(&mut self) -> Result<(), Fault> {
        if self.begin < self.end {
            return Err(Fault::Surplus);
        }
        match self.tcp.try_read(&mut self.buffer) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Fault::Surplus),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(gone(error)),
        }
    }

    async fn fill(&mut self) -> Result<usize, Fault> {
        (self.begin, self.end) = (0, 0);
        loop {
            match self.tcp.try_read(&mut self.buffer) {
                Ok(count) => {
                    self.end = count;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.tcp.readable().await?,
                Err(error) => return Err(gone(error)),
            }
        }
    }
}

/// A far end that closes its socket while we write to it has cut us off.
fn gone(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Fault::CutOff,
        _ => Fault::Network(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        for want in [Want::Give, Want::Take, Want::Echo] {
            assert_eq!(Want::parse(want.head(7 << 40, u32::MAX)), Some((want, 7 << 40, u32::MAX)));
        }
        assert_eq!(Want::parse([0; HEAD_LEN]), None);
    }

    #[test]
    fn a_changed_lost_or_swapped_piece_shows_where_it_is() {
        let pattern = Pattern::new();
        let sent: Vec<u8> = (0..400).flat_map(|cell| pattern.from(cell * 498, 498).to_vec()).collect();
        assert_eq!(pattern.check(0, &sent).unwrap(), 400 * 498);
        assert_eq!(pattern.check(498 * 3, &sent[498 * 3..]).unwrap(), 400 * 498);
        let wrong = |bytes: &[u8]| match pattern.check(0, bytes) {
            Err(Fault::WrongBytes(at)) => at,
            other => panic!("{other:?}"),
        };
        let mut changed = sent.clone();
        changed[100_000] ^= 1;
        assert_eq!(wrong(&changed), 100_000);
        let lost = [&sent[..498 * 5], &sent[498 * 6..]].concat();
        assert!((498 * 5..498 * 5 + 8).contains(&wrong(&lost)));
        let swapped = [&sent[..498], &sent[498 * 2..498 * 3], &sent[498..498 * 2], &sent[498 * 3..]].concat();
        assert!((498..506).contains(&wrong(&swapped)));
    }

    #[test]
    fn a_late_frame_of_another_run_counts_nowhere() {
        let origin = Origin::start().unwrap();
        let old = origin.begin();
        let run = origin.begin();
        runtime::executor().unwrap().block_on(async {
            let mut wire = Wire::new(TcpStream::connect(origin.address()).await.unwrap());
            for (run, length) in [(old, 100), (run, 70_000)] {
                wire.write(&Want::Give.head(run, length)).await.unwrap();
                let mut bytes = vec![0; usize::try_from(length).unwrap()];
                wire.read_exact(&mut bytes).await.unwrap();
            }
            let sent = Pattern::new().from(0, 10).to_vec();
            wire.write(&[&Want::Take.head(run, 10)[..], &sent].concat()).await.unwrap();
            let mut receipt = [0; RECEIPT_LEN];
            wire.read_exact(&mut receipt).await.unwrap();
            assert_eq!(u64::from_be_bytes(receipt), 10);
            wire.write(b"nonsense, and more of it").await.unwrap();
            assert!(matches!(wire.read(1).await, Err(Fault::CutOff)));
        });
        assert_eq!(origin.tally(), Tally { given: 70_000, taken: 10 });
    }
}
