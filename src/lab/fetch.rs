//! One download by a client's SOCKS port, as any program makes it: whoever starts a client on
//! the lab's network sees that it works.
//!
//! Asks one of the lab's servers for bytes and looks at each. Called by `town.rs`, on a thread
//! of its own, since it waits. Spec: SOCKS5 (RFC 1928); the server is `origin.rs`.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::SystemClock;
use super::origin::pattern;

/// The server that is asked.
pub const HOST: &str = "http.lab";
/// What ends the head of its answer.
const HEAD_END: &[u8] = b"\r\n\r\n";
/// The longest head that it has; ours, several of it.
const MAX_HEAD_LEN: usize = 1024;
/// How much is read at once; ours.
const READ_LEN: usize = 16 * 1024;

/// Why it was in vain.
#[derive(Debug)]
pub enum Error {
    /// The connection to the port.
    Network(io::Error),
    /// The port does not speak SOCKS5, or the server no HTTP.
    Gibberish,
    /// The port says no, with this code.
    Refused(u8),
    /// Only so many bytes came as they were sent, or more came than were sent.
    Incorrect(u64),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Network(error) => write!(f, "{error}"),
            Error::Gibberish => f.write_str("the answer is not what it should be"),
            Error::Refused(code) => write!(f, "the SOCKS port says no, with code {code}"),
            Error::Incorrect(length) => write!(f, "what came is not what was sent, from byte {length} on"),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Network(error)
    }
}

/// Fetches so many bytes; says how long that took. Gives up where nothing comes for `patience`.
pub fn fetch(socks: SocketAddr, length: u64, patience: Duration) -> Result<Duration, Error> {
    let (clock, mut stream) = (SystemClock::start(), TcpStream::connect(socks)?);
    let begun = clock.now().tick;
    stream.set_read_timeout(Some(patience))?;
    connect(&mut stream)?;
    write!(stream, "GET /{length} HTTP/1.0\r\n\r\n")?;
    read_head(&mut stream)?;
    read_body(&mut stream, length)?;
    Ok(clock.now().tick.since(begun))
}

/// Asks a SOCKS5 port for the server, by name.
fn connect(stream: &mut TcpStream) -> Result<(), Error> {
    let length = u8::try_from(HOST.len()).unwrap_or(u8::MAX);
    stream.write_all(&[5, 1, 0])?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen)?;
    stream.write_all(&[&[5, 1, 0, 3, length], HOST.as_bytes(), &80_u16.to_be_bytes()].concat())?;
    // A port of 127.0.0.1 answers with an address of IPv4.
    let mut reply = [0; 10];
    stream.read_exact(&mut reply)?;
    match (chosen, reply) {
        ([5, 0], [5, 0, 0, 1, ..]) => Ok(()),
        ([5, 0], [5, code, ..]) => Err(Error::Refused(code)),
        _ => Err(Error::Gibberish),
    }
}

fn read_head(stream: &mut TcpStream) -> Result<(), Error> {
    let mut head = Vec::new();
    while !head.ends_with(HEAD_END) {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
        if head.len() > MAX_HEAD_LEN {
            return Err(Error::Gibberish);
        }
    }
    if head.starts_with(b"HTTP/1.0 200 ") { Ok(()) } else { Err(Error::Gibberish) }
}

/// Reads so many bytes, and then the end.
fn read_body(stream: &mut TcpStream, length: u64) -> Result<(), Error> {
    let (mut came, mut buffer) = (0, vec![0; READ_LEN]);
    loop {
        let read = stream.read(&mut buffer)?;
        for byte in buffer.get(..read).unwrap_or_default() {
            if came == length || *byte != pattern(came) {
                return Err(Error::Incorrect(came));
            }
            came += 1;
        }
        match read {
            0 if came < length => return Err(Error::Incorrect(came)),
            0 => return Ok(()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    const CHOSEN: &[u8] = &[5, 0];
    const YES: &[u8] = &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    const HEAD: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\n";

    /// Fetches four bytes from a port that says this, whatever it hears.
    fn fetched(answer: &[&[u8]]) -> Result<Duration, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socks = listener.local_addr().unwrap();
        let answer = answer.concat();
        let far = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            stream.write_all(&answer).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let result = fetch(socks, 4, Duration::from_secs(10));
        far.join().unwrap();
        result
    }

    #[test]
    fn only_all_bytes_as_they_were_sent_are_a_download() {
        let body: Vec<u8> = (0..4).map(pattern).collect();
        assert!(fetched(&[CHOSEN, YES, HEAD, &body]).is_ok());
        assert!(matches!(fetched(&[CHOSEN, YES, HEAD, &body[..3]]), Err(Error::Incorrect(3))));
        assert!(matches!(fetched(&[CHOSEN, YES, HEAD, &body[..2], &[!body[2]]]), Err(Error::Incorrect(2))));
        assert!(matches!(fetched(&[CHOSEN, YES, HEAD, &body, &[pattern(4)]]), Err(Error::Incorrect(4))));
        assert!(matches!(fetched(&[CHOSEN, YES, b"HTTP/1.0 404 Not Found\r\n\r\n"]), Err(Error::Gibberish)));
        assert!(matches!(fetched(&[CHOSEN, YES, &[b'x'; 2000]]), Err(Error::Gibberish)));
        assert!(matches!(fetched(&[CHOSEN, &[5, 4, 0, 1, 0, 0, 0, 0, 0, 0]]), Err(Error::Refused(4))));
        assert!(matches!(fetched(&[&[4, 0], YES]), Err(Error::Gibberish)));
        assert!(matches!(fetched(&[CHOSEN]), Err(Error::Network(_))));
    }
}
