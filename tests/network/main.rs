//! The lab's virtual network, tried by a near end that does everything by hand, and by the
//! machines of the client.
//!
//! One file a situation. Each prints its seed; `LAB_SEED=… cargo test --test network name`
//! runs it again, byte for byte.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should say where")]
#![allow(clippy::disallowed_methods, reason = "a test reads its seed from the environment")]
#![allow(clippy::print_stdout, reason = "a test prints its seed")]

mod answers;
mod bootstrap;
mod circuits;
mod client;
mod config;
mod control;
mod days;
mod directory;
mod disk;
mod downloads;
mod driver;
mod kept;
mod limits;
mod names;
mod near;
mod nodes;
mod notices;
mod options;
mod probes;
mod requests;
mod silence;
mod state;
mod streams;
mod tunnel_villains;
mod tunnels;
mod villains;
mod weather;

use cepa::lab::network::{Network, RelayNo, Role};

/// The seed of this run: `LAB_SEED`, or one for all.
fn seed() -> u64 {
    let seed = std::env::var("LAB_SEED").ok().map_or(1, |text| text.parse().expect("LAB_SEED is a number"));
    println!("LAB_SEED={seed}");
    seed
}

/// A guard, a middle and an exit.
fn three_relays(seed: u64) -> (Network, [RelayNo; 3]) {
    let mut network = Network::new(seed);
    let guard = network.add_relay(Role::default()).unwrap();
    let middle = network.add_relay(Role::default()).unwrap();
    let exit = network.add_relay(Role { is_exit: true, ..Role::default() }).unwrap();
    (network, [guard, middle, exit])
}
