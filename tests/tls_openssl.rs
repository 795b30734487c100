//! TLS with something nobody here wrote: the `openssl` command, over loopback, both ways.
//!
//! Not about Tor. Where there is no such command, each test says so in one line and passes
//! nothing. The server's certificate is as C tor's relays make them: RSA-2048, self-signed.

use cepa::internal::base::random::Entropy;
use cepa::internal::base::time::Wall;
use cepa::internal::crypto::tls::{Leaf, Provider, client_config, peer_leaf, random_server_name, server_config};
use rustls::{ClientConnection, ServerConnection, Stream};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[path = "interop/cpu.rs"]
mod cpu;

const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/crypto/tls/testdata/rsa2048_leaf.der");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/crypto/tls/testdata/rsa2048_key.pkcs8");

/// Not random, and need not be: the keys of the handshake come from elsewhere.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(5).wrapping_add(1);
            *byte = self.0;
        }
    }
}

/// A process that ends with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _status = self.0.wait();
    }
}

fn has_openssl() -> bool {
    Command::new("openssl").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn providers() -> Vec<Provider> {
    [Some(Provider::PORTABLE), Provider::graviola()].into_iter().flatten().collect()
}

/// `openssl s_server`, which sends each line back reversed, and its port.
fn openssl_server(options: &[&str]) -> io::Result<(Ending, u16)> {
    let child = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-rev", "-certform", "DER"])
        .args(["-cert", CERTIFICATE, "-key", KEY])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut child = Ending(child);
    let stdout = child.0.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    for line in BufReader::new(stdout).lines() {
        if let Some(port) = line?.strip_prefix("ACCEPT 127.0.0.1:").and_then(|port| port.parse().ok()) {
            return Ok((child, port));
        }
    }
    Err(io::Error::other("openssl said no port"))
}

/// What the server with these options makes of `ping`, after showing its certificate.
fn ask(provider: Provider, options: &[&str]) -> io::Result<String> {
    let (_server, port) = openssl_server(options)?;
    let name = random_server_name(&mut Counting(1));
    let mut connection = ClientConnection::new(client_config(provider), name).map_err(io::Error::other)?;
    let mut socket = connected(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?)?;
    let mut stream = Stream::new(&mut connection, &mut socket);
    stream.write_all(b"ping\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    if peer_leaf(&connection) != Some(&std::fs::read(CERTIFICATE)?[..]) {
        return Err(io::Error::other("another certificate"));
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn connected(socket: TcpStream) -> io::Result<TcpStream> {
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    socket.set_write_timeout(Some(Duration::from_secs(20)))?;
    Ok(socket)
}

/// Else the tests that go through all providers would go through one.
#[test]
fn every_provider_that_the_processor_can_run_is_tested() {
    if let Some(can) = cpu::can_run_graviola() {
        assert_eq!(providers().len(), if can { 2 } else { 1 });
    }
}

#[test]
fn an_openssl_server_is_spoken_to() {
    if !has_openssl() {
        return println!("skipped: no openssl command");
    }
    let tls13: [&[&str]; 5] = [
        &["-tls1_3"],
        &["-tls1_3", "-groups", "X25519"], // which means being asked again
        &["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
        &["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
        &["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"],
    ];
    let tls12: [&[&str]; 6] = [
        &["-tls1_2"],
        &["-tls1_2", "-groups", "X25519"],
        &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
        &["-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305"],
        &["-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"],
        &["-tls1_2", "-sigalgs", "RSA+SHA256"], // PKCS#1
    ];
    for provider in providers() {
        for options in tls13.iter().chain(&tls12) {
            let answer = ask(provider, options).unwrap_or_else(|error| error.to_string());
            assert_eq!(answer, "gnip\n", "{} {options:?}", provider.name());
        }
    }
}

#[test]
fn an_openssl_server_of_tls11_is_refused() {
    if !has_openssl() {
        return println!("skipped: no openssl command");
    }
    for provider in providers() {
        let refusal = ask(provider, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]).map_err(|error| error.to_string());
        assert_eq!(refusal, Err("received fatal alert: ProtocolVersion".into()));
    }
}

/// Lets `openssl s_client` with these options say `ping` to a server of ours.
fn answer(provider: Provider, options: &[&str]) -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let child = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &listener.local_addr()?.to_string()])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut child = Ending(child);
    child.0.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(b"ping\n")?;
    let leaf = Leaf::generate(&mut Counting(2), Wall::from_secs(0), Wall::from_secs(4_000_000_000));
    let mut connection = ServerConnection::new(server_config(provider, &leaf)).map_err(io::Error::other)?;
    let mut socket = connected(listener.accept()?.0)?;
    let mut said = [0; 5];
    Stream::new(&mut connection, &mut socket).read_exact(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn an_openssl_client_is_answered() {
    if !has_openssl() {
        return println!("skipped: no openssl command");
    }
    // The last is what C tor offers as a client.
    let options: [&[&str]; 5] = [
        &["-tls1_3"],
        &["-tls1_3", "-groups", "X25519"],
        &["-tls1_2"],
        &["-tls1_2", "-groups", "P-256"],
        &["-groups", "P-256:X25519:P-224"],
    ];
    for provider in providers() {
        for options in options {
            let said = answer(provider, options).unwrap_or_else(|error| error.to_string());
            assert_eq!(said, "ping\n", "{} {options:?}", provider.name());
        }
    }
}
