//! A network that is wanted, and the making of it: how many relays, who among them is what,
//! their keys, their listing, and how a client is told of it.
//!
//! The listing itself is the authorities' (`authority`), the running the loopback network's
//! (`loopback`). Called by `bin/cepa-lab.rs` and by the interop tests. Spec: none.

use core::fmt;
use core::net::{IpAddr, SocketAddr, SocketAddrV4};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use super::SystemClock;
use super::authority::{self, Authorities, Flag, Invention, Member as Listed, Spec, Trusted};
use super::cache::Cache;
use super::loopback::{self, Counts, Loopback, Member};
use super::relay::{Config, OnionKeys};
use super::seed::SeededEntropy;
use super::villain::Villain;
use crate::base::random::Entropy;
use crate::base::time::Wall;
use crate::base::{Ed25519Id, RelayIds, RsaId, text};
use crate::crypto::tls::{Leaf, Provider};
use crate::crypto::x25519::KeyPair;
use crate::crypto::{self, ed25519, rsa};
use crate::link::identity::{Credentials, LeafDigest, RelayKeys};
use crate::link::padding::Timing;

/// How many of the relays are authorities.
pub const AUTHORITIES: usize = 3;
/// The fewest relays that make a network: its authorities, and a way out of it.
pub const LEAST_RELAYS: usize = AUTHORITIES + 3;
/// The greatest latency: with more, link handshakes and the first look at the network take
/// longer than anybody waits; ours.
pub const MOST_LATENCY: Duration = Duration::from_secs(3);
/// The most that one process runs; ours.
pub const MOST_RELAYS: usize = 200;
/// How long certificates are good before and after the start.
const CERTIFICATES_GOOD: Duration = Duration::from_secs(30 * 86_400);

/// A network that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Everything follows from it, but for ports, dates and TLS.
    pub seed: u64,
    /// How many relays run.
    pub relays: usize,
    /// How many are listed; those that do not run are made up.
    pub listed: usize,
    /// How those are.
    pub invention: Invention,
    /// The time from one consensus to the next.
    pub interval: Duration,
    /// How much later each relay hears what its links bring.
    pub latency: Duration,
    /// Where the first relay listens, and the others behind it; without it, anywhere.
    pub port: Option<u16>,
    /// What the last relay, an exit, does wrong; or, as a directory, the first authority.
    pub villain: Option<Villain>,
}

impl Default for Plan {
    /// Eleven relays, all of them real.
    fn default() -> Self {
        Plan {
            seed: 1,
            relays: 11,
            listed: 0,
            invention: Invention::default(),
            interval: Duration::from_secs(3600),
            latency: Duration::ZERO,
            port: None,
            villain: None,
        }
    }
}

/// Why a network could not be made.
#[derive(Debug)]
pub enum Error {
    /// Fewer relays than [`LEAST_RELAYS`] or more than [`MOST_RELAYS`].
    RelayCount(usize),
    /// The authorities cannot list it.
    Authority(authority::Error),
    /// A key could not be made.
    Crypto(crypto::Error),
    /// A port that was asked for cannot be had.
    Port(u16, io::Error),
    /// There are not so many ports behind the first.
    NoSuchPort,
    /// No port, no thread, no memory.
    System(io::Error),
}

impl From<authority::Error> for Error {
    fn from(error: authority::Error) -> Self {
        Error::Authority(error)
    }
}

impl From<crypto::Error> for Error {
    fn from(error: crypto::Error) -> Self {
        Error::Crypto(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::System(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::RelayCount(n) => write!(f, "{n} relays are no network: {LEAST_RELAYS} to {MOST_RELAYS} are"),
            Error::Authority(error) => write!(f, "the authorities cannot list it: {error:?}"),
            Error::Crypto(error) => write!(f, "a key could not be made: {error:?}"),
            Error::Port(port, error) => write!(f, "port {port} of 127.0.0.1: {error}"),
            Error::NoSuchPort => write!(f, "ports end at 65535"),
            Error::System(error) => write!(f, "{error}"),
        }
    }
}

/// A relay of a running network.
#[derive(Clone, Debug)]
pub struct RelayFacts {
    /// Its nickname.
    pub nickname: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its RSA identity.
    pub rsa: RsaId,
    /// Its Ed25519 identity.
    pub ed25519: Ed25519Id,
}

/// A running network on the loopback address.
pub struct Town {
    trusted: Vec<Trusted>,
    relays: Vec<RelayFacts>,
    running: Loopback,
}

/// One relay before it runs.
struct Draft {
    nickname: String,
    keys: RelayKeys,
    rsa: RsaId,
    ed25519: Ed25519Id,
    ntor: KeyPair,
    listener: std::net::TcpListener,
    address: SocketAddrV4,
    role: Role,
}

/// What a relay is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Authority,
    Guard,
    Exit,
}

impl Plan {
    /// Makes the network and runs it, its relays on so many threads.
    pub fn open(&self, threads: usize, provider: Provider) -> Result<Town, Error> {
        if !(LEAST_RELAYS..=MOST_RELAYS).contains(&self.relays) {
            return Err(Error::RelayCount(self.relays));
        }
        let now = SystemClock::start().now();
        let drafts = (0..self.relays).map(|number| self.draft(number)).collect::<Result<Vec<_>, _>>()?;
        let Plan { listed, invention, interval, .. } = *self;
        let spec = Spec { listed, invention, interval, ..Spec::new(self.seed, now.wall) };
        let authorities = Authorities::new(spec, drafts.iter().map(Draft::listed).collect())?;
        let trusted = authorities.certificates().map(|(trusted, _)| trusted).collect();
        let relays = drafts.iter().map(Draft::facts).collect();
        let cache = Arc::new(Cache::new(authorities));
        // As a directory it is an authority that matters: a client's first word is to one.
        let crook = if self.villain.is_some_and(Villain::is_directory) { 0 } else { self.relays - 1 };
        let members = drafts.into_iter().enumerate().map(|(number, draft)| {
            let villain = self.villain.filter(|_| number == crook);
            let member = draft.member(&mut self.entropy(number, "tls"), now.wall, &cache, villain);
            member.map(|member| Member { latency: self.latency, ..member })
        });
        let members = members.collect::<Result<Vec<_>, _>>()?;
        let running = Loopback::start(members, self.seed, threads, provider)?;
        Ok(Town { trusted, relays, running })
    }

    fn bind(&self, number: usize) -> Result<std::net::TcpListener, Error> {
        let Some(first) = self.port else { return Ok(loopback::bind(0)?) };
        let port = u16::try_from(number).ok().and_then(|number| first.checked_add(number));
        let port = port.ok_or(Error::NoSuchPort)?;
        loopback::bind(port).map_err(|error| Error::Port(port, error))
    }

    fn entropy(&self, number: usize, purpose: &str) -> SeededEntropy {
        SeededEntropy::new(self.seed, &format!("{purpose} of relay {number}"))
    }

    fn draft(&self, number: usize) -> Result<Draft, Error> {
        let mut entropy = self.entropy(number, "keys");
        let role = match number {
            number if number < AUTHORITIES => Role::Authority,
            // Of the others three in eight are exits, the last one always.
            number if (self.relays - 1 - number) * 8 / (self.relays - AUTHORITIES) < 3 => Role::Exit,
            _ => Role::Guard,
        };
        let keys = RelayKeys {
            rsa: rsa::KeyPair::random(&mut entropy, rsa::RELAY_IDENTITY_BITS)?,
            ed25519: ed25519::KeyPair::random(&mut entropy),
            signing: ed25519::KeyPair::random(&mut entropy),
        };
        let listener = self.bind(number)?;
        let SocketAddr::V4(address) = listener.local_addr()? else {
            return Err(Error::System(io::ErrorKind::AddrNotAvailable.into()));
        };
        Ok(Draft {
            nickname: format!("lab{role:?}{number}").to_lowercase(),
            rsa: keys.rsa.public().id(),
            ed25519: keys.ed25519.public(),
            ntor: KeyPair::random(&mut entropy),
            keys,
            listener,
            address,
            role,
        })
    }
}

impl Draft {
    fn facts(&self) -> RelayFacts {
        RelayFacts {
            nickname: self.nickname.clone(),
            address: self.address.into(),
            rsa: self.rsa,
            ed25519: self.ed25519,
        }
    }

    fn listed(&self) -> Listed {
        let ids = RelayIds { rsa: Some(self.rsa), ed25519: Some(self.ed25519) };
        let listed = Listed::new(&self.nickname, ids, self.address, self.ntor.public);
        match self.role {
            Role::Authority => listed,
            Role::Guard => listed.flagged(Flag::Guard),
            Role::Exit => listed.exit(),
        }
    }

    fn member(
        self,
        entropy: &mut dyn Entropy,
        now: Wall,
        cache: &Arc<Cache>,
        villain: Option<Villain>,
    ) -> Result<Member, Error> {
        let (from, to) = (now - CERTIFICATES_GOOD, now + CERTIFICATES_GOOD);
        let leaf = Leaf::generate(entropy, from, to);
        let credentials = Credentials::issue(&self.keys, LeafDigest::of(&leaf.certificate), from, to, entropy)?;
        let is_exit = self.role == Role::Exit;
        let config = Config {
            onion: OnionKeys { rsa: self.rsa, ed25519: self.ed25519, ntor: self.ntor, offers_cgo: false },
            credentials,
            addresses: vec![IpAddr::V4(*self.address.ip())],
            is_exit,
            reaches_loopback: is_exit,
            directory: Some(Box::new(Arc::clone(cache))),
            timing: Timing::default(),
            villain,
        };
        Ok(Member { config, leaf, listener: self.listener, name: self.nickname, latency: Duration::ZERO })
    }
}

impl Town {
    /// The relays that run.
    pub fn relays(&self) -> &[RelayFacts] {
        &self.relays
    }

    /// What its relays have counted.
    pub fn counts(&self) -> Counts {
        self.running.counts()
    }

    /// The lines that point C tor, or our client, at this network.
    pub fn torrc(&self) -> String {
        let authorities: String = self.trusted.iter().map(|trusted| format!("{}\n", trusted.torrc_line())).collect();
        format!("TestingTorNetwork 1\n{authorities}")
    }

    /// The same for Arti.
    pub fn arti_toml(&self) -> String {
        let identities: Vec<_> = self.trusted.iter().map(|trusted| text::hex(&trusted.identity.0)).collect();
        let caches: Vec<_> = self.relays.iter().take(AUTHORITIES).map(RelayFacts::arti_fallback).collect();
        format!(
            "[tor_network]\nfallback_caches = [\n{}]\n\n[tor_network.authorities]\nv3idents = [{}]\n\n\
             [path_rules]\nipv4_subnet_family_prefix = 33\nipv6_subnet_family_prefix = 129\n\n\
             [address_filter]\nallow_local_addrs = true\n",
            caches.concat(),
            identities.iter().map(|identity| format!("\"{identity}\"")).collect::<Vec<_>>().join(", ")
        )
    }
}

impl RelayFacts {
    fn arti_fallback(&self) -> String {
        format!(
            "  {{ rsa_identity = \"{}\", ed_identity = \"{}\", orports = [\"{}\"] }},\n",
            text::hex(&self.rsa.0),
            text::base64_unpadded(&self.ed25519.0),
            self.address
        )
    }
}
