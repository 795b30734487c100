//! The load generator: connections to the server, straight or by a SOCKS port, and what is done on
//! each; all on one thread, which reaches several times what any client does.
//!
//! Waits for nothing but the far end. Called by the files of `workload/`. Spec: SOCKS5 (RFC 1928),
//! username and password (RFC 1929).

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio::task::{JoinSet, yield_now};
use tokio::time::Instant;

use super::alarm::Alarm;
use super::figure::Fault;
use super::origin::{CHUNK, Pattern, RECEIPT_LEN, Want, Wire};

/// How much a stream asks for ahead: more than the window of any stream, so that none runs dry.
const AHEAD: u64 = 512 * 1024;
/// The largest piece that is asked for at once, and the smallest; ours.
const MAX_PIECE: u64 = 128 * 1024;
const MIN_PIECE: u64 = 8 * 1024;
/// Into how many pieces for each stream a whole is cut, so that all end together; ours.
const PIECES: u64 = 16;

/// How the server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Straight: what the generator can do by itself.
    Direct,
    /// By the SOCKS port there.
    Socks(SocketAddr),
}

/// To which server by which way, for which run.
#[derive(Clone)]
pub struct Load {
    /// The way.
    pub route: Route,
    /// The server.
    pub to: SocketAddr,
    /// The number of the run.
    pub run: u64,
    /// What is sent.
    pub pattern: Arc<Pattern>,
}

/// One stream to the server.
pub struct Flow {
    wire: Wire,
    run: u64,
    pattern: Arc<Pattern>,
    /// Bytes of the pattern that were sent, and that came.
    sent: u64,
    came: u64,
}

/// How much is to be carried: so many bytes, or until then, whatever comes first.
pub struct Purse {
    left: Mutex<u64>,
    piece: u64,
    until: Instant,
}

impl Purse {
    /// One that so many streams take from.
    pub fn new(bytes: u64, streams: usize, until: Instant) -> Purse {
        let streams = u64::try_from(streams).unwrap_or(u64::MAX).max(1);
        let piece = (bytes / streams / PIECES).clamp(MIN_PIECE, MAX_PIECE);
        Purse { left: Mutex::new(bytes), piece, until }
    }

    /// The next piece, if there is one.
    fn take(&self) -> Option<u32> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() >= self.until {
            *left = 0;
        }
        let piece = self.piece.min(*left);
        *left -= piece;
        u32::try_from(piece).ok().filter(|piece| *piece > 0)
    }
}

impl Load {
    /// Opens a stream; of a user, if one is given, whom no other shares circuits with.
    pub async fn open(&self, user: Option<&str>) -> Result<Flow, Fault> {
        let at = match self.route {
            Route::Direct => self.to,
            Route::Socks(port) => port,
        };
        let tcp = TcpStream::connect(at).await?;
        tcp.set_nodelay(true)?;
        let mut wire = Wire::new(tcp);
        if self.route != Route::Direct {
            greet(&mut wire, self.to, user).await?;
        }
        Ok(Flow { wire, run: self.run, pattern: Arc::clone(&self.pattern), sent: 0, came: 0 })
    }

    /// Opens so many streams at once.
    pub async fn open_all(&self, streams: usize) -> Result<Vec<Flow>, Fault> {
        let opening = (0..streams).map(|_| {
            let load = self.clone();
            async move { load.open(None).await }
        });
        gather(opening).await
    }
}

/// Runs all at once; the first fault ends them all.
pub async fn gather<T, F>(futures: impl Iterator<Item = F>) -> Result<Vec<T>, Fault>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Fault>> + Send + 'static,
{
    join(futures.collect()).await
}

/// Waits for all of them; the first fault ends the others.
pub async fn join<T: 'static>(mut tasks: JoinSet<Result<T, Fault>>) -> Result<Vec<T>, Fault> {
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.push(done.map_err(|error| Fault::Network(error.into()))??);
    }
    Ok(all)
}

impl Flow {
    /// Has the server give what is in the purse; how many bytes came.
    pub async fn pull(mut self, purse: Arc<Purse>) -> Result<u64, Fault> {
        let (mut asked, begun) = (0, self.came);
        loop {
            while asked < AHEAD
                && let Some(piece) = purse.take()
            {
                self.wire.write(&Want::Give.head(self.run, piece)).await?;
                asked += u64::from(piece);
            }
            if asked == 0 {
                return self.wire.check_end().map(|()| self.came - begun);
            }
            asked -= self.take(asked).await?;
            // Who has bytes waiting would never let others have their turn.
            yield_now().await;
        }
    }

    /// Gives the server what is in the purse; how many bytes it says that it has.
    pub async fn push(mut self, purse: Arc<Purse>) -> Result<u64, Fault> {
        let (mut receipts, mut said) = (0_u32, 0);
        while let Some(piece) = purse.take() {
            self.wire.write(&Want::Take.head(self.run, piece)).await?;
            let end = self.sent + u64::from(piece);
            while self.sent < end {
                let bytes = self.pattern.from(self.sent, usize::try_from(end - self.sent).unwrap_or(CHUNK));
                self.wire.write(bytes).await?;
                self.sent += u64::try_from(bytes.len()).unwrap_or(0);
            }
            receipts += 1;
        }
        for _ in 0..receipts {
            let mut receipt = [0; RECEIPT_LEN];
            self.wire.read_exact(&mut receipt).await?;
            said = u64::from_be_bytes(receipt);
        }
        self.wire.check_end().map(|()| said)
    }

    /// Has so many bytes given, and takes them.
    pub async fn get(&mut self, length: u32) -> Result<(), Fault> {
        self.wire.write(&Want::Give.head(self.run, length)).await?;
        self.hear(length).await
    }

    /// Sends so many bytes to be echoed.
    pub async fn call(&mut self, length: u32) -> Result<(), Fault> {
        let bytes = self.pattern.from(self.sent, usize::try_from(length).unwrap_or(CHUNK));
        let frame = [&Want::Echo.head(self.run, length)[..], bytes].concat();
        self.wire.write(&frame).await?;
        self.sent += u64::from(length);
        Ok(())
    }

    /// Takes so many bytes, which are all that is to come.
    pub async fn hear(&mut self, length: u32) -> Result<(), Fault> {
        let mut left = u64::from(length);
        while left > 0 {
            left -= self.take(left).await?;
        }
        self.wire.check_end()
    }

    /// Sends an echo's worth at each intended moment, answered or not, until that moment, and gives
    /// how late after the intended moment each answer was whole.
    pub async fn pace(
        mut self,
        length: u32,
        mut moments: Moments,
        mut record: impl FnMut(Duration),
    ) -> Result<u64, Fault> {
        let (mut waiting, mut left, mut count) = (VecDeque::new(), u64::from(length), 0);
        let (alarm, mut next) = (Alarm::new()?, moments.next());
        while next.is_some() || !waiting.is_empty() {
            let most = if waiting.is_empty() { 0 } else { left };
            tokio::select! {
                biased;
                () = alarm.until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    self.call(length).await?;
                    waiting.extend(next);
                    next = moments.next();
                }
                came = take(&mut self.wire, &self.pattern, &mut self.came, most), if most > 0 => {
                    left -= came?;
                    if left == 0 {
                        waiting.pop_front().into_iter().for_each(|intended| record(intended.elapsed()));
                        (left, count) = (u64::from(length), count + 1);
                    }
                }
            }
        }
        self.wire.check_end().map(|()| count)
    }

    async fn take(&mut self, most: u64) -> Result<u64, Fault> {
        take(&mut self.wire, &self.pattern, &mut self.came, most).await
    }
}

/// Takes what has come, so much at most, if it is as it was sent; how much.
async fn take(wire: &mut Wire, pattern: &Pattern, came: &mut u64, most: u64) -> Result<u64, Fault> {
    let bytes = wire.read(usize::try_from(most).unwrap_or(CHUNK)).await?;
    let before = *came;
    *came = pattern.check(before, bytes)?;
    Ok(*came - before)
}

/// The moments at which something is meant to happen, whatever became of what was before.
pub struct Moments {
    next: Instant,
    step: Duration,
    until: Instant,
}

impl Moments {
    /// One now, and one after each step, until then; one in any case.
    pub fn new(step: Duration, until: Instant) -> Moments {
        let next = Instant::now();
        Moments { next, step, until: until.max(next + step / 2) }
    }
}

impl Iterator for Moments {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        let now = self.next;
        self.next += self.step;
        (now < self.until).then_some(now)
    }
}

/// Asks a SOCKS5 port for the server.
async fn greet(wire: &mut Wire, to: SocketAddr, user: Option<&str>) -> Result<(), Fault> {
    let method = if user.is_some() { 2 } else { 0 };
    let mut chosen = [0; 2];
    wire.write(&[5, 1, method]).await?;
    wire.read_exact(&mut chosen).await?;
    if chosen != [5, method] {
        return Err(Fault::Gibberish);
    }
    if let Some(user) = user {
        let length = u8::try_from(user.len()).unwrap_or(u8::MAX);
        let user = user.as_bytes().get(..usize::from(length)).unwrap_or_default();
        wire.write(&[&[1, length], user, &[1, b'x']].concat()).await?;
        wire.read_exact(&mut chosen).await?;
        if chosen != [1, 0] {
            return Err(Fault::Gibberish);
        }
    }
    let host = to.ip().to_string();
    let length = u8::try_from(host.len()).unwrap_or(u8::MAX);
    wire.write(&[&[5, 1, 0, 3, length], host.as_bytes(), &to.port().to_be_bytes()].concat()).await?;
    let mut reply = [0; 4];
    wire.read_exact(&mut reply).await?;
    let length = match reply {
        [5, 0, 0, 1] => 4,
        [5, 0, 0, 4] => 16,
        [5, 0, 0, 3] => {
            let mut length = [0];
            wire.read_exact(&mut length).await?;
            usize::from(length[0])
        }
        [5, 0, ..] => return Err(Fault::Gibberish),
        [5, code, ..] => return Err(Fault::Refused(code)),
        _ => return Err(Fault::Gibberish),
    };
    wire.read_exact(&mut vec![0; length + 2]).await
}

#[cfg(test)]
mod tests {
    use super::super::origin::{HEAD_LEN, Origin, Tally};
    use super::*;
    use crate::app::runtime::executor;

    const MIB: u64 = 1 << 20;

    fn load(origin: &Origin) -> Load {
        Load { route: Route::Direct, to: origin.address(), run: origin.begin(), pattern: Arc::new(Pattern::new()) }
    }

    fn purse(bytes: u64, streams: usize) -> Arc<Purse> {
        Arc::new(Purse::new(bytes, streams, Instant::now() + Duration::from_secs(60)))
    }

    #[test]
    fn all_that_is_in_the_purse_is_carried_and_both_ends_count_it_alike() {
        let origin = Origin::start().unwrap();
        executor().unwrap().block_on(async {
            for streams in [1, 8] {
                let load = load(&origin);
                let down = purse(3 * MIB + 17, streams);
                let flows = load.open_all(streams).await.unwrap();
                let came = gather(flows.into_iter().map(|flow| flow.pull(Arc::clone(&down)))).await.unwrap();
                assert_eq!(came.iter().sum::<u64>(), 3 * MIB + 17);
                let up = purse(2 * MIB, streams);
                let flows = load.open_all(streams).await.unwrap();
                let went = gather(flows.into_iter().map(|flow| flow.push(Arc::clone(&up)))).await.unwrap();
                assert_eq!(went.iter().sum::<u64>(), 2 * MIB);
                assert_eq!(origin.tally(), Tally { given: 3 * MIB + 17, taken: 2 * MIB });
            }
        });
    }

    /// A server that stalls once makes all that were due meanwhile late, not one.
    #[test]
    fn what_was_due_while_nothing_moved_counts_as_late() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let far = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut tcp, _) = listener.accept().unwrap();
            let mut frame = [0; HEAD_LEN + 100];
            for number in 0.. {
                if tcp.read_exact(&mut frame).is_err() {
                    break;
                }
                if number == 5 {
                    let (_kept, never) = std::sync::mpsc::channel::<()>();
                    let _ = never.recv_timeout(Duration::from_millis(200));
                }
                tcp.write_all(&frame[HEAD_LEN..]).unwrap();
            }
        });
        let load = Load { route: Route::Direct, to, run: 1, pattern: Arc::new(Pattern::new()) };
        let mut late = Vec::new();
        executor().unwrap().block_on(async {
            let flow = load.open(None).await.unwrap();
            let until = Instant::now() + Duration::from_millis(400);
            flow.pace(100, Moments::new(Duration::from_millis(10), until), |delay| late.push(delay)).await.unwrap();
        });
        far.join().unwrap();
        assert!(late.len() >= 35, "{}", late.len());
        let count = late.iter().filter(|delay| **delay > Duration::from_millis(50)).count();
        assert!((10..25).contains(&count), "{late:?}");
    }

    #[test]
    fn whoever_sends_more_than_was_asked_for_is_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let far = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut tcp, _) = listener.accept().unwrap();
            tcp.read_exact(&mut [0; HEAD_LEN]).unwrap();
            tcp.write_all(Pattern::new().from(0, 2)).unwrap();
            let _ = tcp.read_to_end(&mut Vec::new());
        });
        let load = Load { route: Route::Direct, to, run: 1, pattern: Arc::new(Pattern::new()) };
        executor().unwrap().block_on(async {
            let mut flow = load.open(None).await.unwrap();
            assert!(matches!(flow.get(1).await, Err(Fault::Surplus)));
        });
        far.join().unwrap();
    }

    #[test]
    fn a_port_that_refuses_or_babbles_is_told_apart() {
        let answer = |answer: &'static [u8]| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap();
            let far = std::thread::spawn(move || {
                use std::io::{Read, Write};
                let (mut tcp, _) = listener.accept().unwrap();
                tcp.write_all(answer).unwrap();
                tcp.shutdown(std::net::Shutdown::Write).unwrap();
                let _ = tcp.read_to_end(&mut Vec::new());
            });
            let load = Load { route: Route::Socks(port), to: port, run: 1, pattern: Arc::new(Pattern::new()) };
            let result = executor().unwrap().block_on(load.open(None)).map(drop);
            far.join().unwrap();
            result
        };
        assert!(answer(&[5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).is_ok());
        assert!(answer(&[5, 0, 5, 0, 0, 3, 1, b'x', 0, 0]).is_ok());
        assert!(matches!(answer(&[5, 0, 5, 4, 0, 1]), Err(Fault::Refused(4))));
        assert!(matches!(answer(&[4, 0]), Err(Fault::Gibberish)));
        assert!(matches!(answer(&[5, 0, 5, 0, 0, 9]), Err(Fault::Gibberish)));
        assert!(matches!(answer(&[5]), Err(Fault::CutOff)));
    }
}
