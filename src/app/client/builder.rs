//! How a client of another program is begun: its options, where it keeps what outlives it, and
//! the start of its thread.
//!
//! The same options as a torrc has, over two that differ: no port is opened and nothing is logged
//! unless somebody asks for it. Opens nothing itself; the thread does. Called by `mod.rs`. Spec:
//! none.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::engine::{self, Hub, Plan, State};
use super::events::MAX_EVENTS;
use super::{Client, Facts, MAX_ORDERS, StartError};
use crate::client::Setup;
use crate::config::torrc::Change;
use crate::config::{Complaint, Config, Origin, Settings, Warning};

/// What complaints call the lines of [`ClientBuilder::torrc`].
const LINES: &str = "torrc";
/// What they call the options that a program gives one by one.
const OPTION: &str = "option";

/// What a client is to be like. Made by [`Client::builder`].
#[derive(Debug)]
#[must_use = "it is nothing before it is started"]
pub struct ClientBuilder {
    settings: Settings,
    warnings: Vec<Warning>,
    /// What was wrong first.
    fault: Option<StartError>,
}

impl ClientBuilder {
    pub(super) fn new() -> ClientBuilder {
        let mut builder = ClientBuilder { settings: Settings::new(), warnings: Vec::new(), fault: None };
        builder.add("SocksPort", "0");
        // What anybody says of it takes the place of that.
        builder.settings.begin_layer();
        builder
    }

    /// Takes lines of a torrc, which may open ports and logs. Nothing can be included, and what is
    /// about a process of our own does nothing, as `PidFile`, `ConnLimit` and `User`.
    pub fn torrc(mut self, lines: &str) -> ClientBuilder {
        let result = self.settings.add_text(LINES, lines);
        self.note(result);
        self
    }

    /// Takes one option, as a torrc has it, but without quotes.
    pub fn option(mut self, name: &str, value: &str) -> ClientBuilder {
        self.add(name, value);
        self
    }

    /// Keeps guards and the directory there, which makes the next start fast and is what guards
    /// are for. Made if it is not there; locked, so that no other client uses it meanwhile, be it
    /// `cepa`'s or C tor. Without one, nothing is kept.
    pub fn data_directory(mut self, path: impl AsRef<Path>) -> ClientBuilder {
        match path.as_ref().to_str() {
            Some(path) => self.add("DataDirectory", path),
            None => self.fail(StartError::Directory("the path of the data directory is no UTF-8".to_owned())),
        }
        self
    }

    /// Begins. It is there when this is over, and asks the network from then on; whether it can
    /// be used is for [`Client::bootstrap`] to say.
    pub async fn start(self) -> Result<Client, StartError> {
        let (plan, warnings) = self.plan()?;
        let (orders, ordered) = mpsc::channel(MAX_ORDERS);
        let (events, _) = broadcast::channel(MAX_EVENTS);
        let (tell, state) = watch::channel(State::default());
        let (begun, has_begun) = oneshot::channel();
        let weak = events.downgrade();
        let hub = Hub::new(events, tell);
        let run = move || engine::run(&plan, ordered, hub, begun);
        drop(thread::Builder::new().name(engine::THREAD.to_owned()).spawn(run).map_err(StartError::System)?);
        // It says nothing only if it fell over.
        let ports = has_begun.await.unwrap_or(Err(std::io::Error::other("its thread ended").into()))?;
        Ok(Client { orders, state, events: weak, facts: Arc::new(Facts { ports, warnings }) })
    }

    /// What follows from the options, and what is odd about them.
    fn plan(self) -> Result<(Plan, Vec<String>), StartError> {
        let ClientBuilder { settings, mut warnings, fault } = self;
        if let Some(fault) = fault {
            return Err(fault);
        }
        let (mut config, odd) = Config::of(&settings)?;
        warnings.extend(odd);
        if settings.given("Log").is_empty() {
            config.logs.clear();
        }
        let setup = Setup::of(config)?;
        let warnings: Vec<String> = warnings.iter().map(Warning::to_string).collect();
        Ok((Plan { setup, warnings: warnings.clone() }, warnings))
    }

    fn add(&mut self, name: &str, value: &str) {
        let origin = Origin { source: OPTION.into(), line: 0 };
        let result = self.settings.add(origin, Change::Set, name, value.to_owned());
        self.note(result);
    }

    fn note(&mut self, result: Result<Vec<Warning>, Complaint>) {
        match result {
            Ok(warnings) => self.warnings.extend(warnings),
            Err(complaint) => self.fail(complaint.into()),
        }
    }

    fn fail(&mut self, fault: StartError) {
        self.fault.get_or_insert(fault);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(builder: ClientBuilder) -> Result<Plan, String> {
        builder.plan().map(|(plan, _)| plan).map_err(|error| error.to_string())
    }

    #[test]
    fn no_port_is_opened_and_nothing_is_logged_or_kept_unless_somebody_asks() {
        let config = plan(Client::builder()).unwrap().setup.config;
        assert!(config.socks_ports.is_empty() && config.logs.is_empty() && config.data_directory.is_none());
        let lines = "SocksPort auto\nLog warn stderr\n";
        let config = plan(Client::builder().torrc(lines).data_directory("/x")).unwrap().setup.config;
        assert_eq!((config.socks_ports.len(), config.logs.len(), config.data_directory.as_deref()), (1, 1, Some("/x")));
    }

    #[test]
    fn what_is_wrong_first_is_named_with_its_place() {
        let complaint = |builder: ClientBuilder| plan(builder).err().unwrap();
        let twice = Client::builder().torrc("\nSockPort 1\n").option("SafeLogging", "maybe");
        assert!(complaint(twice).starts_with("torrc:2: there is no option SockPort"));
        let text = complaint(Client::builder().option("SafeLogging", "maybe"));
        assert!(text.starts_with("option: SafeLogging wants"), "{text}");
        assert!(complaint(Client::builder().torrc("%include /x\n")).starts_with("torrc:1: only files"));
        let lines = "DirAuthority nobody\n";
        assert!(complaint(Client::builder().torrc(lines)).starts_with("torrc:1: DirAuthority wants"));
    }
}
