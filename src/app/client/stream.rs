//! A stream as a program holds it, and the buffer in which it meets the client.
//!
//! Bytes are copied once into the buffer and once out of it, by whichever thread has them; a bell
//! tells the client's thread, a waker the program. The client's side is a task ([`Carrier`]). Tells
//! the client that bytes are taken only when the program has read them, so that a program that
//! does not read holds up its own stream alone. Called by `engine.rs`, and by `driver.rs` with what
//! comes of a request. Spec: tor-spec, "Closing streams", of which there are no halves.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::app::driver::Driver;
use crate::app::program::News;
use crate::client::RequestNo;
use crate::client::junction::TunnelNo;

/// How much a program may have written that the client has not taken; ours, two TLS records.
const WRITE_ROOM: usize = 32 * 1024;
/// So much that a program has read is worth telling the client; ours, a third of what a SENDME of
/// a stream stands for.
const TAKEN_STEP: usize = 8 * 1024;
/// An empty buffer keeps no more memory than this for what comes next; ours.
const MOST_SPARE: usize = 16 * 1024;

/// Which circuit. Two streams of the same client that have equal ones share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CircuitId(u32);

impl CircuitId {
    pub(super) fn of(TunnelNo(number): TunnelNo) -> CircuitId {
        CircuitId(number)
    }
}

impl fmt::Display for CircuitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A stream through Tor: bytes both ways, until either side ends it.
///
/// The end of what the server sends is the end of what can be read; a stream that broke is an
/// error, so that what was cut off is never taken for the whole. After `shutdown` all that was
/// written still goes out, and then the stream is over both ways, since Tor has no half of one: read
/// what is wanted first. Dropped without `shutdown` it is reset, and what was not sent is lost.
/// Writing waits where the network is slower; flushing has nothing to do, for whatever is written
/// is on its way.
pub struct Stream {
    conduit: Arc<Conduit>,
    circuit: Option<CircuitId>,
}

impl Stream {
    /// The circuit that it was opened on; nothing if it was over as soon as it was open.
    pub fn circuit(&self) -> Option<CircuitId> {
        self.circuit
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("circuit", &self.circuit).finish_non_exhaustive()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.conduit.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.conduit.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conduit.change(|both| both.is_shut = true);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.conduit.change(|both| both.is_dropped = true);
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The server has said all that it had to say, or the program has.
    Clean,
    /// The server or a relay broke it.
    Broken,
    /// The client gave it up because it held too much.
    GivenUp,
    /// The client is gone.
    Gone,
}

impl End {
    fn error(self) -> io::Error {
        let (kind, text) = match self {
            End::Clean => (io::ErrorKind::BrokenPipe, "the stream has ended"),
            End::Broken => (io::ErrorKind::ConnectionReset, "the stream broke"),
            End::GivenUp => (io::ErrorKind::ConnectionAborted, "the client held too much, and gave the stream up"),
            End::Gone => (io::ErrorKind::ConnectionAborted, "the client has ended"),
        };
        io::Error::new(kind, text)
    }
}

/// What both sides of a stream share.
pub struct Conduit {
    both: Mutex<Both>,
    /// For the client's side.
    bell: Notify,
}

#[derive(Default)]
struct Both {
    /// For the program. What the far end may send ahead of what is taken bounds it:
    /// `stream::xon::MAX_UNREAD` and a window.
    inbound: VecDeque<u8>,
    /// How much of it was read that the client does not know of.
    taken: usize,
    /// From the program: at most [`WRITE_ROOM`].
    outbound: Vec<u8>,
    /// What became of the request: a few at most.
    news: VecDeque<News>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    end: Option<End>,
    /// The program writes no more.
    is_shut: bool,
    /// The program is not there any more.
    is_dropped: bool,
}

/// What the client's side finds.
struct Found {
    taken: usize,
    news: Option<News>,
    is_shut: bool,
    is_dropped: bool,
}

/// Has a waker woken by what comes next.
fn wait(place: &mut Option<Waker>, cx: &Context<'_>) {
    if place.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
        *place = Some(cx.waker().clone());
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Conduit {
    pub(super) fn new() -> Arc<Conduit> {
        Arc::new(Conduit { both: Mutex::default(), bell: Notify::new() })
    }

    /// Nobody leaves it half changed, even who falls over.
    fn lock(&self) -> MutexGuard<'_, Both> {
        self.both.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program's side changes something that the client's must know.
    fn change(&self, change: impl FnOnce(&mut Both)) {
        change(&mut self.lock());
        self.bell.notify_one();
    }

    // --- the program's side --------------------------------------------------------------

    fn poll_read(&self, cx: &Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut both = self.lock();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if both.inbound.is_empty() {
            return match both.end {
                Some(End::Clean) => Poll::Ready(Ok(())),
                Some(end) => Poll::Ready(Err(end.error())),
                None => {
                    wait(&mut both.reader, cx);
                    Poll::Pending
                }
            };
        }
        let (first, second) = both.inbound.as_slices();
        let mut length = 0;
        for part in [first, second] {
            let part = part.get(..part.len().min(buffer.remaining())).unwrap_or_default();
            buffer.put_slice(part);
            length += part.len();
        }
        both.inbound.drain(..length);
        if both.inbound.is_empty() && both.inbound.capacity() > MOST_SPARE {
            both.inbound = VecDeque::new();
        }
        both.taken += length;
        let is_worth_it = both.taken >= TAKEN_STEP || both.inbound.is_empty();
        drop(both);
        if is_worth_it {
            self.bell.notify_one();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut both = self.lock();
        if let Some(end) = both.end {
            return Poll::Ready(Err(end.error()));
        }
        if both.is_shut {
            return Poll::Ready(Err(End::Clean.error()));
        }
        let room = WRITE_ROOM.saturating_sub(both.outbound.len());
        if room == 0 && !bytes.is_empty() {
            wait(&mut both.writer, cx);
            return Poll::Pending;
        }
        let taken = bytes.get(..bytes.len().min(room)).unwrap_or_default();
        // Whoever has not taken what lies there will find this beside it.
        let is_first = both.outbound.is_empty();
        both.outbound.extend_from_slice(taken);
        drop(both);
        if is_first {
            self.bell.notify_one();
        }
        Poll::Ready(Ok(taken.len()))
    }

    // --- the client's side ---------------------------------------------------------------

    /// Something became of the request.
    pub fn tell(&self, news: News) {
        self.change(|both| both.news.push_back(news));
    }

    /// Bytes of the stream. None of them count as taken before the program has read them.
    pub fn deliver(&self, bytes: &[u8]) {
        let mut both = self.lock();
        both.inbound.extend(bytes);
        let reader = both.reader.take();
        drop(both);
        wake(reader);
    }

    /// The client takes bytes again.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// The next that became of the request.
    pub(super) async fn news(&self) -> News {
        loop {
            let news = self.lock().news.pop_front();
            match news {
                Some(news) => return news,
                None => self.bell.notified().await,
            }
        }
    }

    fn look(&self) -> Found {
        let mut both = self.lock();
        let (is_shut, is_dropped) = (both.is_shut, both.is_dropped);
        Found { taken: core::mem::take(&mut both.taken), news: both.news.pop_front(), is_shut, is_dropped }
    }

    /// Takes what the program wrote, in exchange for a buffer that is empty.
    fn swap_outbound(&self, empty: &mut Vec<u8>) {
        let mut both = self.lock();
        core::mem::swap(&mut both.outbound, empty);
        let writer = if empty.is_empty() { None } else { both.writer.take() };
        drop(both);
        wake(writer);
    }

    /// It is over; the first who says how is believed.
    fn end(&self, end: End) {
        let mut both = self.lock();
        both.end.get_or_insert(end);
        if end == End::GivenUp {
            both.inbound = VecDeque::new();
        }
        both.outbound = Vec::new();
        let wakers = [both.reader.take(), both.writer.take()];
        drop(both);
        wakers.into_iter().for_each(wake);
    }
}

/// The client's side of an open stream. Dropped, it ends the program's side too.
pub(super) struct Carrier {
    driver: Rc<Driver>,
    request: RequestNo,
    conduit: Arc<Conduit>,
    /// What the program wrote and the client had no room for.
    unsent: Vec<u8>,
}

impl Carrier {
    pub(super) fn new(driver: &Rc<Driver>, request: RequestNo, conduit: Arc<Conduit>) -> Carrier {
        Carrier { driver: Rc::clone(driver), request, conduit, unsent: Vec::new() }
    }

    /// The program's side, which is on that circuit.
    pub(super) fn stream(&self, circuit: Option<CircuitId>) -> Stream {
        Stream { conduit: Arc::clone(&self.conduit), circuit }
    }

    /// Carries bytes until the stream is over.
    pub(super) async fn run(mut self) {
        while !self.turn() {
            self.conduit.bell.notified().await;
            // Others have their turn, however busy this one is.
            tokio::task::yield_now().await;
        }
        self.driver.forget(self.request);
    }

    /// All that can be done now; true if it is over.
    fn turn(&mut self) -> bool {
        let found = self.conduit.look();
        if found.taken > 0 {
            self.driver.on_taken(self.request, found.taken);
        }
        match found.news {
            Some(News::Ended { is_clean: true }) => self.conduit.end(End::Clean),
            Some(News::GivenUp) => self.conduit.end(End::GivenUp),
            Some(_) => self.conduit.end(End::Broken),
            None if found.is_dropped && !found.is_shut => self.driver.cancel(self.request),
            None if self.send() && found.is_shut => {
                self.driver.finish(self.request);
                self.conduit.end(End::Clean);
            }
            None => return false,
        }
        true
    }

    /// Gives the client what the program wrote; false if it has no room for all.
    fn send(&mut self) -> bool {
        loop {
            if self.unsent.is_empty() {
                self.conduit.swap_outbound(&mut self.unsent);
            }
            if self.unsent.is_empty() {
                return true;
            }
            let taken = self.driver.write(self.request, &self.unsent);
            self.unsent.drain(..taken.min(self.unsent.len()));
            if !self.unsent.is_empty() {
                return false;
            }
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.conduit.end(End::Gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> (Stream, Arc<Conduit>) {
        let conduit = Conduit::new();
        (Stream { conduit: Arc::clone(&conduit), circuit: Some(CircuitId(1)) }, conduit)
    }

    /// What a read of so many bytes brings now.
    fn read(stream: &mut Stream, most: usize) -> Poll<Result<Vec<u8>, io::ErrorKind>> {
        let mut bytes = vec![0; most];
        let mut buffer = ReadBuf::new(&mut bytes);
        let polled = Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer);
        let filled = buffer.filled().to_vec();
        polled.map(|result| result.map(|()| filled).map_err(|error| error.kind()))
    }

    fn write(stream: &mut Stream, bytes: &[u8]) -> Poll<Result<usize, io::ErrorKind>> {
        let polled = Pin::new(stream).poll_write(&mut Context::from_waker(Waker::noop()), bytes);
        polled.map(|result| result.map_err(|error| error.kind()))
    }

    #[test]
    fn what_came_is_read_before_the_end_is_seen_whichever_end_it_is() {
        for (end, expected) in [
            (End::Clean, Ok(Vec::new())),
            (End::Broken, Err(io::ErrorKind::ConnectionReset)),
            (End::Gone, Err(io::ErrorKind::ConnectionAborted)),
        ] {
            let (mut stream, conduit) = stream();
            assert_eq!(read(&mut stream, 9), Poll::Pending);
            conduit.deliver(b"some bytes");
            conduit.end(end);
            conduit.end(End::Gone);
            assert_eq!(read(&mut stream, 4), Poll::Ready(Ok(b"some".to_vec())));
            assert_eq!(read(&mut stream, 9), Poll::Ready(Ok(b" bytes".to_vec())));
            assert_eq!(read(&mut stream, 9), Poll::Ready(expected.clone()), "{end:?}");
            assert!(matches!(write(&mut stream, b"x"), Poll::Ready(Err(_))), "{end:?}");
        }
        let (mut stream, conduit) = stream();
        conduit.deliver(b"not to be kept");
        conduit.end(End::GivenUp);
        assert_eq!(read(&mut stream, 9), Poll::Ready(Err(io::ErrorKind::ConnectionAborted)));
    }

    #[test]
    fn bytes_count_as_taken_when_they_are_read_and_not_before() {
        let (mut stream, conduit) = stream();
        conduit.deliver(&[7; 3 * TAKEN_STEP]);
        assert_eq!(conduit.look().taken, 0);
        let _ = read(&mut stream, TAKEN_STEP - 1);
        let _ = read(&mut stream, 1);
        assert_eq!((conduit.look().taken, conduit.look().taken), (TAKEN_STEP, 0));
        let _ = read(&mut stream, 3 * TAKEN_STEP);
        assert_eq!(conduit.look().taken, 2 * TAKEN_STEP);
        assert!(conduit.lock().inbound.capacity() <= MOST_SPARE, "what was large once need not stay so");
    }

    #[test]
    fn a_writer_waits_where_there_is_no_room_and_writes_nothing_after_its_end() {
        let (mut stream, conduit) = stream();
        assert_eq!(write(&mut stream, &vec![1; WRITE_ROOM + 1]), Poll::Ready(Ok(WRITE_ROOM)));
        assert_eq!(write(&mut stream, b"more"), Poll::Pending);
        assert!(conduit.lock().writer.is_some());
        let mut unsent = Vec::new();
        conduit.swap_outbound(&mut unsent);
        assert!(unsent.len() == WRITE_ROOM && conduit.lock().writer.is_none());
        assert_eq!(write(&mut stream, b"more"), Poll::Ready(Ok(4)));
        let shut = Pin::new(&mut stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(shut, Poll::Ready(Ok(()))) && conduit.look().is_shut);
        assert_eq!(write(&mut stream, b"x"), Poll::Ready(Err(io::ErrorKind::BrokenPipe)));
        assert_eq!(conduit.lock().outbound, b"more", "what was written before still goes");
        assert!(!conduit.look().is_dropped);
        drop(stream);
        assert!(conduit.look().is_dropped);
    }
}
