//! The client on a real machine: sockets, clocks, files and signals, and the loop that turns
//! them into the client's inputs and its outputs into them.
//!
//! Knows nothing of the protocol; what is decided, the quiet floors decide. The lab may use it,
//! it never names the lab. Called by `bin/cepa.rs`. Spec: none.

pub mod command;
pub mod conn;
pub mod disk;
pub mod driver;
pub mod listener;
pub mod logging;
pub mod paths;
pub mod program;
pub mod runtime;
