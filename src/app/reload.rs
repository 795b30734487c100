//! What a hang-up asks for: the options are read again, and what follows from them takes the
//! place of what there was, all of it or nothing.
//!
//! First what can fail, of which nobody sees anything yet; then what cannot. What is open stays:
//! connections, streams, circuits. Called by `mod.rs`. Spec: none. C tor: `do_hup` in
//! app/main/main.c; `options_act_reversible`, `options_transition_allowed` in app/config/config.c.
//! Differs: where there is something wrong with the new options, the old ones stay; C tor ends.
//! Circuits in use get new streams as before, unless other relays are wanted; C tor begins anew. A directory that was opened to be
//! written to less often, or more, stays so: `AvoidDiskWrites` counts for the client at once, and
//! for what is seen onto the disk from the next start on.

use std::rc::Rc;

use super::command::{Start, Wanted};
use super::driver::Driver;
use super::logging::Sinks;
use super::ports::{Early, Plan, Ports};
use super::{Error, descriptors, tell, understand};
use crate::client::Setup;
use crate::config::Domain;

/// What runs, and what it runs by.
pub struct Running {
    start: Start,
    wanted: Wanted,
    driver: Rc<Driver>,
    ports: Ports,
}

/// What will take its place.
struct Next {
    wanted: Wanted,
    setup: Setup,
    sinks: Sinks,
    plan: Plan,
}

impl Running {
    /// Opens the ports, of which some may be open. The driver is of the client that wanted that.
    pub fn begin(start: Start, wanted: Wanted, driver: Rc<Driver>, early: Early) -> Result<Running, Error> {
        let mut ports = Ports::new(&driver);
        drop(ports.adopt(ports.plan_with(&wanted.config, early)?));
        tell_of_network(&wanted, &driver);
        Ok(Running { start, wanted, driver, ports })
    }

    /// Reads the options again, and does as they say.
    pub async fn reload(&mut self) {
        let driver = Rc::clone(&self.driver);
        let log = driver.log();
        log.notice(
            Domain::General,
            format_args!("Received reload signal (hup). Reloading config and resetting internal state."),
        );
        let error = match self.next() {
            Ok(next) => return self.adopt(next).await,
            Err(error) => error,
        };
        // Whoever moved the logs away waits for this, whatever else is wrong.
        let reopened = log.reopen();
        log.warn(Domain::Config, format_args!("The options stay as they were: {error}"));
        if let (Err(unopened), false) = (reopened, matches!(error, Error::Log(_))) {
            log.warn(Domain::Fs, format_args!("{}", Error::Log(unopened)));
        }
    }

    /// Logs what there is now. C tor: `dumpstats`.
    pub fn tell_statistics(&self) {
        let log = self.driver.log();
        self.driver.statistics().iter().for_each(|line| log.notice(Domain::General, format_args!("{line}")));
    }

    fn next(&self) -> Result<Next, Error> {
        let (wanted, setup) = understand(self.start.options_again(&self.wanted), self.start.quiet)?;
        if let Some(option) = self.wanted.config.fixed_difference(&wanted.config) {
            return Err(Error::Fixed(option));
        }
        let sinks = Sinks::open(&wanted.config).map_err(Error::Log)?;
        let plan = self.ports.plan(&wanted.config)?;
        descriptors::raise(wanted.config.least_descriptors, self.driver.log()).map_err(Error::Descriptors)?;
        Ok(Next { wanted, setup, sinks, plan })
    }

    async fn adopt(&mut self, Next { wanted, setup, sinks, plan }: Next) {
        let log = self.driver.log();
        log.adopt(sinks, &wanted.config);
        tell(&wanted, log);
        let closing = self.ports.adopt(plan);
        tell_of_network(&wanted, &self.driver);
        self.driver.configure(setup);
        self.wanted = wanted;
        // What comes next may open what is being closed.
        for closed in closing {
            let _ = closed.await;
        }
    }
}

fn tell_of_network(wanted: &Wanted, driver: &Driver) {
    if wanted.config.is_network_disabled {
        driver
            .log()
            .notice(Domain::Net, format_args!("DisableNetwork is set: nothing is listened to, and nobody is asked."));
    }
}
