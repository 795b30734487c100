//! A Tor client as a library of quiet machines, and the few loud folders that run them.
//!
//! A program that wants streams through Tor needs [`Client`], and nothing below it.
//!
//! The crate is built in floors. A folder may name only folders below it, in the table
//! of `docs/ARCHITECTURE.md`, which `tests/floors.rs` enforces. The quiet floors own no
//! socket, file, clock, thread or operating-system randomness: bytes and a time go in,
//! bytes and facts come out.
//!
//! - floor 0: `base` (identifiers, bounded reading and writing, time, redaction, blame)
//!   and [`bench`](mod@bench) (the measuring instruments)
//! - floor 1: `wire` (cells, relay messages and document lines, as bytes and as values),
//!   `crypto` (handshakes, relay crypto, certificates, TLS) and [`config`] (a torrc, typed and
//!   complete)
//! - floor 2: `link` (one connection to one relay), `stream` (one stream, its flow, and what
//!   one hop may have under way) and `directory` (who is in the network)
//! - floor 3: `circuit` (a row of hops, what goes through it, and the streams at its hops) and
//!   `path` (guards, and which relays a circuit goes through)
//! - floor 5: `client` (all of it as one machine)
//! - floor 6: `proxy` (what local programs say, and what they are told)
//! - floor 7: [`app`] (sockets, clocks, files and signals, and the client that lives on them)
//! - floor 8: `lab` (a Tor network in one process, in virtual time or on 127.0.0.1, and the
//!   probe of one relay)
//! - floor 9: `suite` (what a client takes, beside others on the same network)
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod app;
mod base;
pub mod bench;
mod circuit;
mod client;
pub mod config;
mod crypto;
mod directory;
#[cfg(feature = "tools")]
pub mod lab;
mod link;
mod path;
mod proxy;
mod stream;
#[cfg(feature = "tools")]
pub mod suite;
mod wire;

pub use crate::app::client::{
    BootstrapError, CircuitId, CircuitStatus, Client, ClientBuilder, Error, Event, Events, Isolation, IsolationToken,
    Progress, ProgressSteps, ShutdownError, StartError, Stream, Target,
};

/// The quiet floors, for benches, fuzz targets and this package's own tests.
///
/// Not an interface: anything in here may change in any commit.
#[doc(hidden)]
pub mod internal {
    pub mod base {
        pub use crate::base::*;
    }
    pub mod circuit {
        pub use crate::circuit::*;
    }
    pub mod client {
        pub use crate::client::*;
    }
    pub mod config {
        pub use crate::config::*;
    }
    pub mod crypto {
        pub use crate::crypto::*;
    }
    pub mod directory {
        pub use crate::directory::*;
    }
    pub mod link {
        pub use crate::link::*;
    }
    pub mod path {
        pub use crate::path::*;
    }
    pub mod proxy {
        pub use crate::proxy::*;
    }
    pub mod stream {
        pub use crate::stream::*;
    }
    pub mod wire {
        pub use crate::wire::*;
    }
}
