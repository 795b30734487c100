//! A small SOCKS5 server on top of the client: each user has circuits of its own.
//!
//!     cargo run --release --example socks_users [TORRC [PORT]]
//!
//! Without TORRC it starts the lab's network on 127.0.0.1 and uses that; without PORT it listens
//! anywhere. It prints where, then a line for each stream: whose it is, by number, and on which
//! circuit. Ctrl-C ends it. To try it with the lab's network:
//!
//!     curl --socks5-hostname 127.0.0.1:PORT --proxy-user alice:x http://http.lab/1000
//!
//! SOCKS5 (RFC 1928) with user and password (RFC 1929), which it insists on; CONNECT alone.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "it speaks to the person who started it")]

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cepa::lab::TlsProvider;
use cepa::lab::plan::{Plan, Town};
use cepa::{Client, Error, IsolationToken, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long the client may take to learn the network.
const BOOTSTRAP: Duration = Duration::from_secs(120);
/// How long a program may take to say what it wants.
const NEGOTIATION: Duration = Duration::from_secs(30);
/// How many programs may be connected at once.
const MAX_PROGRAMS: usize = 256;
/// How many users are told apart; nobody is put together with anybody for want of room.
const MAX_USERS: usize = 4096;
/// The most relays of the lab that share a thread.
const THREADS: usize = 2;

/// A user, by when it came, and what keeps its streams apart from those of others.
#[derive(Clone, Copy)]
struct User {
    number: usize,
    token: IsolationToken,
}

/// A name and a password.
type Credentials = (Vec<u8>, Vec<u8>);

/// All users.
#[derive(Default)]
struct Users(Mutex<BTreeMap<Credentials, User>>);

impl Users {
    /// Whose they are: somebody new's if nobody gave them yet.
    fn find(&self, credentials: Credentials) -> Option<User> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = users.len();
        if count >= MAX_USERS && !users.contains_key(&credentials) {
            return None;
        }
        let new = || User { number: count + 1, token: IsolationToken::new() };
        Some(*users.entry(credentials).or_insert_with(new))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let mut words = std::env::args().skip(1);
    // The network goes when this does.
    let (torrc, _town) = network(words.next())?;
    let port = words.next().map_or(Ok(0), |port| port.parse())?;
    let client = Client::builder().torrc(&torrc).start().await?;
    client.bootstrap(BOOTSTRAP).await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("socks {}", listener.local_addr()?);
    tokio::select! {
        result = listen(&listener, &client) => result?,
        result = tokio::signal::ctrl_c() => result?,
    }
    client.shutdown().await?;
    Ok(())
}

/// The lines that name a network: those of a file, or of the lab's, which is started.
fn network(torrc: Option<String>) -> Result<(String, Option<Town>), Box<dyn StdError>> {
    match torrc {
        Some(path) => Ok((std::fs::read_to_string(path)?, None)),
        None => {
            let town = Plan::default().open(THREADS, TlsProvider::best()).map_err(|error| error.to_string())?;
            Ok((town.torrc(), Some(town)))
        }
    }
}

/// Lets programs in, as many at once as there are seats.
async fn listen(listener: &TcpListener, client: &Client) -> io::Result<()> {
    let (users, seats) = (Arc::new(Users::default()), Arc::new(Semaphore::new(MAX_PROGRAMS)));
    loop {
        let seat = Arc::clone(&seats).acquire_owned().await.map_err(io::Error::other)?;
        let (program, _) = listener.accept().await?;
        let (client, users) = (client.clone(), Arc::clone(&users));
        tokio::spawn(async move {
            // A program that leaves or speaks something else is nobody's concern.
            let _ = serve(program, &client, &users).await;
            drop(seat);
        });
    }
}

/// What a program wants.
struct Request {
    user: User,
    host: String,
    port: u16,
}

/// One program, from its first word to its last byte.
async fn serve(mut program: TcpStream, client: &Client, users: &Users) -> io::Result<()> {
    let Some(request) = timeout(NEGOTIATION, negotiate(&mut program, users)).await?? else { return Ok(()) };
    let Request { user, host, port } = request;
    match client.connect((host, port), &user.token.into()).await {
        Ok(stream) => {
            let circuit = stream.circuit().map_or_else(|| "none".to_owned(), |circuit| circuit.to_string());
            println!("user {} circuit {circuit}", user.number);
            reply(&mut program, 0).await?;
            carry(program, stream).await
        }
        Err(error) => reply(&mut program, code(error)).await,
    }
}

/// Until both sides have said all.
async fn carry(mut program: TcpStream, mut stream: Stream) -> io::Result<()> {
    copy_bidirectional(&mut program, &mut stream).await.map(drop)
}

/// Who it is and what it wants; nothing if it was told why that cannot be.
async fn negotiate(program: &mut TcpStream, users: &Users) -> io::Result<Option<Request>> {
    const NO_METHOD: u8 = 0xFF;
    const BY_PASSWORD: u8 = 2;
    expect(program, 5).await?;
    let methods = counted(program).await?;
    if !methods.contains(&BY_PASSWORD) {
        program.write_all(&[5, NO_METHOD]).await?;
        return Ok(None);
    }
    program.write_all(&[5, BY_PASSWORD]).await?;
    expect(program, 1).await?;
    let user = users.find((counted(program).await?, counted(program).await?));
    program.write_all(&[1, u8::from(user.is_none())]).await?;
    let Some(user) = user else { return Ok(None) };

    expect(program, 5).await?;
    let (command, _reserved) = (program.read_u8().await?, program.read_u8().await?);
    let host = match program.read_u8().await? {
        1 => IpAddr::from(Ipv4Addr::from(program.read_u32().await?)).to_string(),
        3 => String::from_utf8(counted(program).await?).map_err(|_| io::ErrorKind::InvalidData)?,
        4 => IpAddr::from(Ipv6Addr::from(program.read_u128().await?)).to_string(),
        _ => return refuse(program, 8).await,
    };
    let port = program.read_u16().await?;
    if command != 1 {
        return refuse(program, 7).await;
    }
    Ok(Some(Request { user, host, port }))
}

/// Reads a byte that must be this one: a version.
async fn expect(program: &mut TcpStream, version: u8) -> io::Result<()> {
    if program.read_u8().await? == version { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Reads a length and so many bytes.
async fn counted(program: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; program.read_u8().await?.into()];
    program.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn refuse<T>(program: &mut TcpStream, code: u8) -> io::Result<Option<T>> {
    reply(program, code).await.map(|()| None)
}

/// An answer, with an address that says nothing.
async fn reply(program: &mut TcpStream, code: u8) -> io::Result<()> {
    program.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await
}

/// What SOCKS5 calls it.
fn code(error: Error) -> u8 {
    match error {
        Error::Internal | Error::Forbidden | Error::NoExit => 2,
        Error::NotBootstrapped | Error::Ended => 3,
        Error::NotFound | Error::Unreachable | Error::OnionsNotHere | Error::BadName => 4,
        Error::Refused => 5,
        Error::TimedOut => 6,
        _ => 1,
    }
}
