//! A web server of our own, behind the exits, and the name server that those exits ask.
//!
//! It is on an address of documentation (RFC 5737), which this namespace's loopback interface
//! has for the while: programs that are careful keep from 127.0.0.1. It lives as long as this
//! test program, a thread for each connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use cepa::lab::origin::pattern;

/// Its name, which only our name server knows.
pub const HOST: &str = "origin.test";
/// Its address.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

const PAGE: &str = "<!DOCTYPE html><title>before</title><img id=image src=/image.gif><script src=/script.js></script>";
/// Runs once everything is loaded.
const SCRIPT: &str = "onload = () => { document.title = `${image.naturalWidth} by ${image.naturalHeight}`; };";
/// What the title of the page is then.
pub const TITLE: &str = "3 by 2";
/// Three pixels by two, all of one colour.
const IMAGE: &[u8] = b"GIF89a\x03\0\x02\0\x80\0\0\0\0\0\xFF\xFF\xFF,\0\0\0\0\x03\0\x02\0\0\x02\x02\x84Q\0;";
const CHUNK: usize = 64 * 1024;

/// One that runs.
pub struct Origin {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Origin {
    pub fn start() -> Origin {
        // It may be there already, and `.ci/run` makes it where this process may not.
        let address = format!("{ADDRESS}/32");
        let _ = Command::new("ip").args(["address", "add", &address, "dev", "lo"]).stderr(Stdio::null()).status();
        let listener = TcpListener::bind((ADDRESS, 0)).expect("the interface must get an address");
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let heard = Arc::clone(&heard);
                // Whoever leaves early has had enough.
                thread::spawn(move || drop(answer(stream, &heard)));
            }
        });
        Origin { port, asked }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((ADDRESS, self.port))
    }

    /// A page of it, by name.
    pub fn url(&self, path: &str) -> String {
        format!("http://{HOST}:{}{path}", self.port)
    }

    /// The same, by address.
    pub fn url_by_address(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// What was asked for, of paths that begin like this.
    pub fn asked(&self, path: &str) -> Vec<String> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.starts_with(path)).cloned().collect()
    }
}

/// What a page of a number is.
pub fn numbered(number: u64) -> Vec<u8> {
    format!("this is page {number}\n").repeat(1000).into_bytes()
}

/// One request.
fn answer(mut stream: TcpStream, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    asked.lock().unwrap().push(path.to_owned());
    let number = || path.rsplit('/').next()?.parse().ok();
    let (kind, body) = match path {
        "/page" => ("text/html", PAGE.into()),
        "/script.js" => ("text/javascript", SCRIPT.into()),
        "/image.gif" => ("image/gif", IMAGE.to_vec()),
        "/sum" => ("text/plain", sum(&mut stream, &mut reader, &head)?.into()),
        _ if path.starts_with("/bytes/") => return give(&mut stream, number().unwrap_or(0)),
        _ if path.starts_with("/number/") => ("text/plain", numbered(number().unwrap_or(0))),
        _ => return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    };
    stream.write_all(answer_head(kind, body.len() as u64).as_bytes())?;
    stream.write_all(&body)
}

fn answer_head(kind: &str, length: u64) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
}

fn give(stream: &mut TcpStream, length: u64) -> std::io::Result<()> {
    stream.write_all(answer_head("application/octet-stream", length).as_bytes())?;
    write_pattern(stream, length)
}

/// So many bytes that no program can guess.
pub fn write_pattern(out: &mut impl Write, length: u64) -> std::io::Result<()> {
    let mut offset = 0;
    while offset < length {
        let end = length.min(offset + CHUNK as u64);
        out.write_all(&(offset..end).map(pattern).collect::<Vec<_>>())?;
        offset = end;
    }
    Ok(())
}

/// What `sha256sum` makes of the body of a request.
fn sum(stream: &mut TcpStream, reader: &mut BufReader<TcpStream>, head: &str) -> std::io::Result<String> {
    let head = head.to_ascii_lowercase();
    if head.contains("expect: 100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut process = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut body = reader.take(length);
    std::io::copy(&mut body, &mut process.stdin.take().unwrap())?;
    let said = process.wait_with_output()?;
    Ok(String::from_utf8_lossy(&said.stdout).split(' ').next().unwrap_or_default().to_owned())
}

// --- names -------------------------------------------------------------------------------

/// Codes of DNS. Spec: RFC 1035, "Domain names", section 4.1.1 and 3.2.2.
const NO_SUCH_NAME: u8 = 3;
const ADDRESS_RECORD: u16 = 1;
const NAME_RECORD: u16 = 12;

/// Answers those who ask for names, until this program ends.
pub fn serve_names() {
    let socket = UdpSocket::bind("127.0.0.1:53").expect("the port of names must be free for this process");
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            if let Some(answer) = name_answer(&question[..length]) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
}

/// The answer to one question: its name has one address and its address one name; no other is
/// known.
fn name_answer(question: &[u8]) -> Option<Vec<u8>> {
    let (mut name, mut rest) = (Vec::new(), question.get(12..)?);
    while let Some((&length, after)) = rest.split_first() {
        rest = after;
        if length == 0 {
            break;
        }
        let (label, after) = rest.split_at_checked(length.into())?;
        name.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        rest = after;
    }
    let kind = u16::from_be_bytes(*rest.first_chunk()?);
    let asked = question.get(12..question.len() - rest.len() + 4)?;
    let [a, b, c, d] = ADDRESS.octets();
    let (is_known, record) = match (name.join("."), kind) {
        (name, ADDRESS_RECORD) if name == HOST => (true, Some(ADDRESS.octets().to_vec())),
        (name, _) if name == HOST => (true, None),
        (name, NAME_RECORD) if name == format!("{d}.{c}.{b}.{a}.in-addr.arpa") => (true, Some(labels(HOST))),
        _ => (false, None),
    };
    let code = if is_known { 0 } else { NO_SUCH_NAME };
    // An answer, with the name as it was asked for: who asks mixes its letters to know it again.
    let head = [question[0], question[1], 0x81, 0x80 | code, 0, 1, 0, u8::from(record.is_some()), 0, 0, 0, 0];
    let mut answer = [&head, asked].concat();
    if let Some(record) = record {
        answer.extend([0xC0, 12]);
        answer.extend([kind.to_be_bytes(), [0, 1], [0, 0], [0, 60], [0, u8::try_from(record.len()).ok()?]].concat());
        answer.extend(record);
    }
    Some(answer)
}

fn labels(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
    labels.chain([0]).collect()
}
