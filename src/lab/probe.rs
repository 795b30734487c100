//! The probe: dial one relay, prove who it is, say what it said.
//!
//! Opens no circuit and sends nothing beyond the link handshake. Called by
//! `bin/cepa-lab.rs`, and by the interop tests, which hold our link code against C tor.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use rustls::ClientConnection;

use super::{SystemClock, SystemEntropy};
use crate::base::time::Tick;
use crate::base::{Ed25519Id, RelayIds, RsaId, text};
use crate::crypto::tls::{self, Provider};
use crate::link::frame::READ_LEN;
use crate::link::handshake::{ClockSkew, Established};
use crate::link::identity::{LeafDigest, Proven};
use crate::link::padding::Timing;
use crate::link::{self, Link, Output};
use crate::wire::cell_msg::CertType;

/// How long the whole probe may take, however slowly the relay answers; ours.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one read or write may block before the time is looked at; ours.
const STEP: Duration = Duration::from_millis(500);

/// Whom to probe, and how.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Where to connect to.
    pub address: SocketAddr,
    /// Who must be there.
    pub wanted: RelayIds,
    /// Whose cryptography TLS uses.
    pub provider: Provider,
}

/// What a relay said and proved.
#[derive(Debug)]
pub struct Report {
    address: SocketAddr,
    tls: String,
    established: Established,
    relay: Proven,
}

/// Why a relay was not proved.
#[derive(Debug)]
pub enum Error {
    /// The connection failed.
    Network(io::Error),
    /// TLS failed.
    Tls(rustls::Error),
    /// The relay closed the connection during the handshake.
    Closed,
    /// The relay took too long.
    TooSlow,
    /// The link handshake failed.
    Link(link::Error),
}

/// The identities that a fingerprint names: 40 hex digits for RSA, with or without `$`, or
/// 43 characters of base64 for Ed25519.
pub fn parse_fingerprint(fingerprint: &str) -> Option<RelayIds> {
    let bare = fingerprint.strip_prefix('$').unwrap_or(fingerprint);
    if let Some(rsa) = text::from_hex(bare).ok().and_then(|bytes| bytes.try_into().ok()) {
        return Some(RelayIds { rsa: Some(RsaId(rsa)), ed25519: None });
    }
    let ed25519 = text::from_base64(fingerprint).ok().and_then(|bytes| bytes.try_into().ok())?;
    Some(RelayIds { rsa: None, ed25519: Some(Ed25519Id(ed25519)) })
}

/// Dials the target and goes through the whole link handshake.
pub fn run(target: &Target) -> Result<Report, Error> {
    run_within(target, PATIENCE)
}

fn run_within(target: &Target, patience: Duration) -> Result<Report, Error> {
    let clock = SystemClock::start();
    let mut connection = Connection::dial(target, clock, patience)?;
    connection.handshake()?;
    let leaf = tls::peer_leaf(&connection.tls).ok_or(Error::Closed)?;
    let mut link =
        Link::initiate(target.wanted, LeafDigest::of(leaf), target.address.ip(), Timing::default(), clock.now());
    let established = loop {
        let mut established = None;
        if let Some(bytes) = link.take_transmit() {
            connection.write(&bytes)?;
        }
        while let Some(output) = link.poll_output() {
            match output {
                Output::Established(done) => established = Some(*done),
                Output::Cells(cells) => link.recycle(cells),
            }
        }
        if let Some(established) = established {
            break established;
        }
        let mut buffer = link.begin_read();
        connection.read(&mut buffer)?;
        link.handle_read(buffer, clock.now()).map_err(Error::Link)?;
    };
    let relay = established.relay.clone().ok_or(Error::Closed)?;
    Ok(Report { address: target.address, tls: connection.describe(target.provider), established, relay })
}

/// TCP and TLS, with a limit on all of it together.
struct Connection {
    tcp: TcpStream,
    tls: ClientConnection,
    clock: SystemClock,
    deadline: Tick,
}

impl Connection {
    fn dial(target: &Target, clock: SystemClock, patience: Duration) -> Result<Self, Error> {
        let deadline = clock.now().tick + patience;
        let tcp = TcpStream::connect_timeout(&target.address, patience).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Error::TooSlow,
            _ => Error::Network(error),
        })?;
        tcp.set_read_timeout(Some(STEP)).map_err(Error::Network)?;
        tcp.set_write_timeout(Some(STEP)).map_err(Error::Network)?;
        let name = tls::random_server_name(&mut SystemEntropy);
        let tls = ClientConnection::new(tls::client_config(target.provider), name).map_err(Error::Tls)?;
        Ok(Connection { tcp, tls, clock, deadline })
    }

    fn handshake(&mut self) -> Result<(), Error> {
        while self.tls.is_handshaking() {
            if self.tls.wants_write() {
                self.flush()?;
            } else {
                self.read_tls()?;
            }
        }
        self.flush()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.tls.writer().write_all(bytes).map_err(Error::Network)?;
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Error> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.tcp) {
                Ok(_) => self.check_time()?,
                Err(error) => self.pause(error)?,
            }
        }
        Ok(())
    }

    /// Appends what the relay says next to `buffer`.
    fn read(&mut self, buffer: &mut Vec<u8>) -> Result<(), Error> {
        let held = buffer.len();
        buffer.resize(held + READ_LEN, 0);
        loop {
            match self.tls.reader().read(&mut buffer[held..]) {
                Ok(0) => return Err(Error::Closed),
                Ok(n) => {
                    buffer.truncate(held + n);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.read_tls()?,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Error::Closed),
                Err(error) => return Err(Error::Network(error)),
            }
        }
    }

    /// Gets more bytes from TCP, and lets TLS look at them.
    fn read_tls(&mut self) -> Result<(), Error> {
        match self.tls.read_tls(&mut self.tcp) {
            Ok(0) => return Err(Error::Closed),
            Ok(_) => self.check_time()?,
            Err(error) => return self.pause(error),
        }
        let processed = self.tls.process_new_packets().map_err(Error::Tls);
        if processed.is_err() {
            // The relay should hear the alert; whether it does changes nothing.
            let _ = self.tls.write_tls(&mut self.tcp);
        }
        processed.map(|_| ())
    }

    /// A step brought nothing: go on unless all steps together took too long.
    fn pause(&self, error: io::Error) -> Result<(), Error> {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => self.check_time(),
            _ => Err(Error::Network(error)),
        }
    }

    fn check_time(&self) -> Result<(), Error> {
        if self.clock.now().tick < self.deadline { Ok(()) } else { Err(Error::TooSlow) }
    }

    fn describe(&self, provider: Provider) -> String {
        let version = self.tls.protocol_version().and_then(|version| version.as_str()).unwrap_or("unknown version");
        let suite = self.tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        format!("{version} {} ({})", suite.unwrap_or("unknown suite"), provider.name())
    }
}

impl Report {
    /// Who the relay is.
    pub fn relay(&self) -> &Proven {
        &self.relay
    }

    /// What the link handshake ended with.
    pub fn established(&self) -> &Established {
        &self.established
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "address       {}", self.address)?;
        writeln!(f, "tls           {}", self.tls)?;
        writeln!(f, "link          {}", self.established.version)?;
        writeln!(f, "rsa           {}", self.relay.rsa())?;
        writeln!(f, "ed25519       {}", self.relay.ed25519())?;
        for (kind, expires) in self.relay.certificates() {
            writeln!(f, "certificate   {} {}, until {expires}", kind.0, certificate_name(*kind))?;
        }
        match self.established.skew {
            Some(ClockSkew::Behind(by)) => writeln!(f, "clock         ours is {} s behind", by.as_secs())?,
            Some(ClockSkew::Ahead(by)) => writeln!(f, "clock         ours is {} s ahead", by.as_secs())?,
            None => writeln!(f, "clock         not said, or too late to be believed")?,
        }
        match &self.established.our_address {
            Some(address) => writeln!(f, "our address   {}", address.uncover())?,
            None => writeln!(f, "our address   not said")?,
        }
        for address in &self.established.their_addresses {
            writeln!(f, "its address   {}", address.uncover())?;
        }
        let canonical = if self.established.canonical { "" } else { "; the address dialled is not one of its own" };
        write!(f, "proven        both identities{canonical}")
    }
}

fn certificate_name(kind: CertType) -> &'static str {
    match kind {
        CertType::RSA_ID_X509 => "RSA identity",
        CertType::IDENTITY_V_SIGNING => "Ed25519 identity to signing key",
        CertType::SIGNING_V_TLS_CERT => "signing key to TLS certificate",
        CertType::RSA_ID_V_IDENTITY => "RSA identity to Ed25519 identity",
        _ => "of another kind",
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Network(error) => write!(f, "the connection failed: {error}"),
            Error::Tls(error) => write!(f, "TLS failed: {error}"),
            Error::Closed => write!(f, "the relay closed the connection during the handshake"),
            Error::TooSlow => write!(f, "the relay took longer than {} s", PATIENCE.as_secs()),
            Error::Link(error) => write!(f, "{error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::thread;

    use super::*;
    use crate::base::random::Seeded;
    use crate::base::time::Wall;
    use crate::crypto::tls::Leaf;
    use crate::link::handshake::Responder;
    use crate::link::identity::{Credentials, RelayKeys};

    const DAY: Duration = Duration::from_secs(86_400);

    /// A relay of ours on a loopback port, for one connection.
    struct Relay {
        address: SocketAddr,
        ids: RelayIds,
    }

    fn relay(provider: Provider, certified_leaf: impl FnOnce(&[u8]) -> LeafDigest) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let now = SystemClock::start().now().wall;
        let keys = RelayKeys::random(&mut Seeded(8)).unwrap();
        let leaf = Leaf::generate(&mut Seeded(9), now - DAY, now + DAY);
        let digest = certified_leaf(&leaf.certificate);
        let credentials = Credentials::issue(&keys, digest, now - DAY, now + DAY, &mut Seeded(10)).unwrap();
        let responder = Responder {
            credentials,
            challenge: [3; 32],
            their_address: address.ip(),
            own_addresses: vec![address.ip()],
        };
        let config = tls::server_config(provider, &leaf);
        thread::spawn(move || {
            let (tcp, _) = listener.accept().unwrap();
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            serve(
                rustls::StreamOwned::new(tls, tcp),
                Link::respond(responder, Timing::default(), SystemClock::start().now()),
            );
        });
        Relay { address, ids: keys.ids() }
    }

    /// Speaks until the other side goes away.
    fn serve(mut stream: rustls::StreamOwned<rustls::ServerConnection, TcpStream>, mut link: Link) {
        let clock = SystemClock::start();
        loop {
            let mut buffer = link.begin_read();
            let held = buffer.len();
            buffer.resize(held + READ_LEN, 0);
            let Ok(n @ 1..) = stream.read(&mut buffer[held..]) else { return };
            buffer.truncate(held + n);
            if link.handle_read(buffer, clock.now()).is_err() {
                return;
            }
            if link.take_transmit().is_some_and(|bytes| stream.write_all(&bytes).is_err()) {
                return;
            }
        }
    }

    fn providers() -> impl Iterator<Item = Provider> {
        [Some(Provider::PORTABLE), Provider::graviola()].into_iter().flatten()
    }

    #[test]
    fn a_relay_of_ours_is_proved_over_real_tls() {
        for (provider, serving) in providers().zip(providers().collect::<Vec<_>>().into_iter().rev()) {
            let relay = relay(serving, LeafDigest::of);
            let report = run(&Target { address: relay.address, wanted: relay.ids, provider }).unwrap();
            assert_eq!(Some(report.relay().rsa()), relay.ids.rsa);
            assert_eq!(Some(report.relay().ed25519()), relay.ids.ed25519);
            let text = report.to_string();
            for line in ["TLSv1_3", "link          5", "proven        both identities", "our address   127.0.0.1"] {
                assert!(text.contains(line), "{text}");
            }
        }
    }

    #[test]
    fn a_relay_with_another_tls_certificate_is_not_proved() {
        let relay = relay(Provider::PORTABLE, |_| LeafDigest([0; 32]));
        let target = Target { address: relay.address, wanted: relay.ids, provider: Provider::PORTABLE };
        assert!(matches!(run(&target), Err(Error::Link(link::Error::TlsNotCertified))));
    }

    #[test]
    fn a_relay_that_is_another_is_not_proved() {
        let relay = relay(Provider::PORTABLE, LeafDigest::of);
        let wanted = parse_fingerprint(&"AB".repeat(20)).unwrap();
        let target = Target { address: relay.address, wanted, provider: Provider::PORTABLE };
        assert!(matches!(run(&target), Err(Error::Link(link::Error::WrongRsaIdentity))));
    }

    #[test]
    fn a_server_that_speaks_no_tls_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || listener.accept().unwrap().0.write_all(b"220 hello\r\n").unwrap());
        let target = Target { address, wanted: RelayIds::default(), provider: Provider::PORTABLE };
        let error = run(&target).unwrap_err();
        assert!(matches!(error, Error::Tls(_) | Error::Network(_) | Error::Closed), "{error}");
    }

    /// A byte now and then keeps no probe alive: the limit is on all of it together.
    #[test]
    fn a_server_that_trickles_or_stalls_is_given_up() {
        for trickles in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            thread::spawn(move || {
                let (mut tcp, _) = listener.accept().unwrap();
                // The front of a TLS record that never ends.
                let _ = tcp.write_all(&[22, 3, 3, 0x3F, 0xFF, 2, 0, 0x3F, 0xFB]);
                let mut byte = [0];
                while tcp.read(&mut byte).is_ok_and(|n| n > 0) && (!trickles || tcp.write_all(&[0]).is_ok()) {}
                thread::park_timeout(PATIENCE);
            });
            let target = Target { address, wanted: RelayIds::default(), provider: Provider::PORTABLE };
            let error = run_within(&target, Duration::from_millis(200)).unwrap_err();
            assert!(matches!(error, Error::TooSlow), "{error}");
        }
    }

    #[test]
    fn a_closed_port_is_a_network_failure() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let target = Target { address, wanted: RelayIds::default(), provider: Provider::PORTABLE };
        assert!(matches!(run(&target), Err(Error::Network(_))));
    }

    #[test]
    fn fingerprints_are_read_as_controllers_write_them() {
        let rsa = parse_fingerprint(&format!("${}", "ab".repeat(20))).unwrap();
        assert_eq!((rsa.rsa, rsa.ed25519), (Some(RsaId([0xAB; 20])), None));
        let ed25519 = parse_fingerprint(&"A".repeat(43)).unwrap();
        assert_eq!((ed25519.rsa, ed25519.ed25519), (None, Some(Ed25519Id([0; 32]))));
        for bad in ["", "$", "abc", "$zz", &"A".repeat(39), &"A".repeat(42)] {
            assert_eq!(parse_fingerprint(bad), None, "{bad}");
        }
        assert_eq!(Wall::from_secs(0).to_string(), "1970-01-01 00:00:00");
    }
}
