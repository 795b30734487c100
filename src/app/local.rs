//! The client on an executor that is there already, with its ports: what `client/engine.rs` gives
//! a thread of its own, and what the lab runs beside its status line.
//!
//! Hears no signals. Started by its lines alone it keeps nothing on disk but the logs that were
//! asked for. Called by `client/engine.rs` and `lab/town.rs`. Spec: none.

use std::rc::Rc;

use tokio::task::spawn_local;

use super::Error;
use super::conn::Dialler;
use super::driver::Driver;
use super::files::Files;
use super::logging::Logger;
use super::ports::Ports;
use super::runtime::SystemClock;
use crate::client::Setup;
use crate::config::{Config, Domain, Settings};
use crate::crypto::tls::Provider;

/// A client that runs for as long as the `LocalSet` in which it was started.
pub struct LocalClient {
    driver: Rc<Driver>,
    ports: Vec<String>,
}

impl LocalClient {
    /// Begins, with these lines of a torrc, which complaints call by that name. To be called
    /// inside a `LocalSet`.
    pub fn start(name: &str, lines: &str) -> Result<LocalClient, Error> {
        let mut settings = Settings::new();
        let mut warnings = settings.add_text(name, lines)?;
        let (config, odd) = Config::of(&settings)?;
        warnings.extend(odd);
        let setup = Setup::of(config.clone())?;
        let clock = SystemClock::start();
        let log = Rc::new(Logger::open(&config, clock).map_err(Error::Log)?);
        warnings.iter().for_each(|warning| log.warn(Domain::Config, format_args!("{warning}")));
        LocalClient::begin(setup, Files::nowhere(), clock, log)
    }

    /// Begins, with the ports of that configuration. To be called inside a `LocalSet`.
    pub(super) fn begin(setup: Setup, files: Files, clock: SystemClock, log: Rc<Logger>) -> Result<LocalClient, Error> {
        let config = setup.config.clone();
        let driver = Driver::new(setup, Dialler::new(Provider::best()), files, clock, log);
        let mut ports = Ports::new(&driver);
        drop(ports.adopt(ports.plan(&config)?));
        drop(spawn_local(Rc::clone(&driver).run()));
        Ok(LocalClient { driver, ports: ports.places() })
    }

    /// What drives it.
    pub(super) fn driver(&self) -> &Rc<Driver> {
        &self.driver
    }

    /// Where programs connect to, in the order of the lines.
    pub fn ports(&self) -> &[String] {
        &self.ports
    }

    /// How many relays those circuits go through that carry streams, or did.
    pub fn hops(&self) -> Vec<usize> {
        self.driver.hops()
    }
}

#[cfg(test)]
mod tests {
    use super::super::runtime::executor;
    use super::*;
    use std::net::TcpStream;
    use tokio::task::LocalSet;

    /// The only relay that it knows: a port of this machine that nobody has.
    const LINES: &str = "TestingTorNetwork 1\nDirAuthority nobody orport=1 \
                         v3ident=0000000000000000000000000000000000000000 127.0.0.1:1 \
                         0000000000000000000000000000000000000000\nLog err stderr\n";

    fn start(lines: &str) -> Result<(LocalSet, LocalClient), Error> {
        let (runtime, local) = (executor().unwrap(), LocalSet::new());
        let client = local.block_on(&runtime, async { LocalClient::start("lines", &format!("{LINES}{lines}")) })?;
        Ok((local, client))
    }

    #[test]
    fn a_client_of_another_program_has_its_ports_until_it_is_let_go() {
        let (local, client) = start("SocksPort auto\nSocksPort auto\n").unwrap();
        let ports = client.ports().to_owned();
        assert!(ports.len() == 2 && ports.iter().all(|port| TcpStream::connect(port).is_ok()));
        assert_eq!(client.hops(), []);
        drop((client, local));
        assert!(ports.iter().all(|port| TcpStream::connect(port).is_err()));
    }

    #[test]
    fn what_is_wrong_with_its_lines_is_named() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let complaint = |lines: &str| start(lines).map(drop).unwrap_err().to_string();
        assert!(complaint("SockPort 1\n").starts_with("lines:4: there is no option SockPort"));
        let port = held.local_addr().unwrap();
        let expected = format!("SocksPort {port}: the address is in use. Is Tor already running?");
        assert_eq!(complaint(&format!("SocksPort {port}\n")), expected);
    }
}
