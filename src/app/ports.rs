//! The ports that programs connect to, and who is let in.
//!
//! Opens no socket itself (`listener.rs`), and serves nobody (`program.rs`). Called by `mod.rs` and
//! `client.rs` at the start. Spec: none. C tor: `retry_all_listeners`,
//! `connection_handle_listener_read` in core/mainloop/connection.c.

use core::time::Duration;
use std::rc::Rc;

use tokio::task::spawn_local;

use super::Error;
use super::driver::Driver;
use super::listener::Listener;
use super::logging::Logger;
use super::program::{self, Entry, Seats};
use super::runtime::descriptor_limit;
use crate::config::Config;
use crate::config::policy::Policy;
use crate::config::port::{Place, Port};

/// How long nobody is let in after it has failed, which is when descriptors run out; ours.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens the ports of a client and lets programs in; says where they are.
pub fn open(driver: &Rc<Driver>, config: &Config) -> Result<Vec<String>, Error> {
    let seats = Seats::new(descriptor_limit());
    let listeners = listeners(config, driver.log())?;
    let places = listeners.iter().map(|(listener, _)| listener.at().to_owned()).collect();
    for (listener, entry) in listeners {
        let policy = config.requests.policy.clone();
        drop(spawn_local(welcome(Rc::clone(driver), listener, entry, policy, Rc::clone(&seats))));
    }
    Ok(places)
}

/// Opens all ports, or none.
fn listeners(config: &Config, log: &Logger) -> Result<Vec<(Listener, Rc<Entry>)>, Error> {
    let open = |(number, port): (u32, &Port)| {
        log.notice(format_args!("Opening Socks listener on {}", place(port)));
        let listener = Listener::open(port).map_err(|fault| Error::Port(place(port), fault))?;
        log.notice(format_args!("Opened Socks listener connection (ready) on {}", listener.at()));
        Ok((listener, Rc::new(Entry { number, flags: port.flags.clone() })))
    };
    (0..).zip(&config.socks_ports).map(open).collect()
}

/// Lets programs in at a listener, for ever.
async fn welcome(driver: Rc<Driver>, listener: Listener, entry: Rc<Entry>, policy: Policy, seats: Rc<Seats>) {
    let (log, rare) = (driver.log(), driver.rare());
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                log.warn_rarely(&rare.deaf, format_args!("Nobody can be let in at {}: {error}.", listener.at()));
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // C tor: an address is asked about with port 1. Sockets in the file system have modes.
        if from.is_some_and(|from| !policy.accepts(from.ip(), 1)) {
            log.notice(format_args!("Denying socks connection from untrusted address [scrubbed]."));
            continue;
        }
        let Some((seat, is_full)) = seats.take() else {
            log.warn_rarely(&rare.full, format_args!("{} programs are connected; no more fit.", seats.most()));
            continue;
        };
        drop(spawn_local(program::serve(Rc::clone(&driver), Rc::clone(&entry), stream, from, seat)));
        if is_full {
            log.warn_rarely(&rare.full, format_args!("Too many programs are connected that ask for nothing."));
            // Who has to leave goes before the next comes.
            tokio::task::yield_now().await;
        }
    }
}

/// Where a port is, as a torrc says it.
fn place(port: &Port) -> String {
    match &port.at {
        Place::Tcp(address) => address.to_string(),
        Place::Auto(ip) if ip.is_ipv6() => format!("[{ip}]:auto"),
        Place::Auto(ip) => format!("{ip}:auto"),
        Place::Unix(path) => format!("unix:{path}"),
    }
}
