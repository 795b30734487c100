//! Fetches a page through Tor, and prints it.
//!
//!     cargo run --release --example fetch
//!
//! starts the lab's network on 127.0.0.1 and fetches a page of one of its servers;
//!
//!     cargo run --release --example fetch -- TORRC HOST[:PORT] PATH
//!
//! takes the network from a file of options, such as `cepa-lab --torrc-out TORRC` writes. What is
//! not the page goes to standard error.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "it speaks to the person who started it")]

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use cepa::lab::TlsProvider;
use cepa::lab::plan::{Plan, Town};
use cepa::{Client, Isolation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long the client may take to learn the network.
const BOOTSTRAP: Duration = Duration::from_secs(120);
/// The longest page that is taken.
const MOST: u64 = 64 << 20;
/// The most relays of the lab that share a thread.
const THREADS: usize = 2;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    // The network goes when this does.
    let (torrc, _town) = network(words.next())?;
    let to = words.next().unwrap_or_else(|| "http.lab".to_owned());
    let path = words.next().unwrap_or_else(|| "/1000".to_owned());

    let client = Client::builder().torrc(&torrc).start().await?;
    let mut steps = client.progress();
    let told = tokio::spawn(async move {
        while let Some(progress) = steps.next().await {
            eprintln!("bootstrapped {progress}");
        }
    });
    client.bootstrap(BOOTSTRAP).await?;
    told.await?;

    let (head, page) = fetch(&client, &to, &path).await?;
    eprintln!("{}", head.escape_ascii().to_string().replace(r"\r\n", "\n"));
    print(&page)?;
    client.shutdown().await?;
    Ok(())
}

/// The lines that name a network: those of a file, or of the lab's, which is started.
fn network(torrc: Option<String>) -> Result<(String, Option<Town>), Box<dyn Error>> {
    match torrc {
        Some(path) => Ok((std::fs::read_to_string(path)?, None)),
        None => {
            let town = Plan::default().open(THREADS, TlsProvider::best()).map_err(|error| error.to_string())?;
            Ok((town.torrc(), Some(town)))
        }
    }
}

/// Asks as HTTP/1.0 has it, in which the end of the stream is the end of the page; what the
/// server says before it, and the page.
async fn fetch(client: &Client, to: &str, path: &str) -> Result<(Vec<u8>, Vec<u8>), Box<dyn Error>> {
    let (host, port) = match to.rsplit_once(':') {
        Some((host, port)) => (host, port.parse()?),
        None => (to, 80),
    };
    let mut stream = client.connect((host, port), &Isolation::fresh()).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("the server speaks no HTTP")?;
    let page = answer.split_off(end + 4);
    Ok((answer, page))
}

/// A terminal is not given what it may take for commands.
fn print(page: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.is_terminal() {
        true => writeln!(out, "{}", page.escape_ascii()),
        false => out.write_all(page),
    }
}
