//! The client on a real machine: sockets, clocks, files and signals, and the loop that turns
//! them into the client's inputs and its outputs into them.
//!
//! Here it starts and stops, in order, and says in one line why it cannot. Knows nothing of the
//! protocol; what is decided, the quiet floors decide. The lab may use it, it never names the
//! lab. Called by `bin/cepa.rs`; what other programs call is `client`. Spec: none. C tor:
//! app/main/main.c, app/config/config.c.

pub mod client;
pub mod command;
pub mod conn;
pub mod countries;
mod delivery;
pub mod descriptors;
pub mod disk;
pub mod driver;
pub mod files;
pub mod glob;
pub mod heart;
pub mod listener;
pub mod local;
pub mod logging;
pub mod look_ups;
pub mod notify;
pub mod paths;
pub mod pid_file;
pub mod ports;
pub mod program;
pub mod redirection;
pub mod reload;
pub mod runtime;
pub mod signals;
pub mod syslog;
pub mod torrc;
pub mod user;

use core::fmt;
use core::time::Duration;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use tokio::runtime::Runtime;
use tokio::task::{LocalSet, spawn_local};

use self::command::{Command, Misuse, Quiet, Start, Wanted};
use self::conn::Dialler;
use self::descriptors::TooFew;
use self::disk::{Directory, Fault, Lock};
use self::driver::Driver;
use self::files::{Files, Places};
use self::logging::{Logger, Unopened};
use self::notify::Notifier;
use self::pid_file::PidFile;
use self::ports::Early;
use self::reload::Running;
use self::runtime::{SystemClock, SystemEntropy};
use self::signals::{Signals, Wish};
use crate::base::random::Entropy;
use crate::client::Setup;
use crate::config::{Complaint, Config, Domain, Given, Log, Selection, Severity, dump, options};
use crate::crypto::password;
use crate::crypto::tls::Provider;

/// How long a disk may take to write what the next run should know; ours.
const SAVE_LIMIT: Duration = Duration::from_secs(5);
/// How often a lock that another program has is tried again, and how long after; ours. C tor: five
/// seconds in all.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// C tor's version, which is what controllers look for, and then ours.
const VERSION: &str = concat!("Tor version 0.4.9.11 (cepa-", env!("CARGO_PKG_VERSION"), ").");

const USAGE: &str = "\
usage: cepa [-f TORRC] [--OPTION VALUE]...

A Tor client: a SOCKS proxy that programs on this machine connect to. It reads the options that
C tor reads; tor(1) says what they mean.
  -f, --torrc-file FILE    read options from there (/etc/tor/torrc, else ~/.torrc); from standard
                           input if FILE is -
  --defaults-torrc FILE    lay them over those of that file (/etc/tor/torrc-defaults)
  --ignore-missing-torrc, --allow-missing-torrc
                           go on if the first is not there
  --OPTION VALUE           lay this option over those of the files; +OPTION adds to a list,
                           /OPTION leaves nothing of it
  --verify-config          say whether the options are right, and end
  --dump-config HOW        print the options that are not as usual (short), or all (full)
  --list-torrc-options     print the names of all options
  --list-deprecated-options, --list-modules
                           print those to leave alone; what there is of C tor's parts
  --hash-password WORD     print what HashedControlPassword is to say of this password
  --quiet, --hush          print nothing; nothing but what is wrong
  --version, -h, --help    print what it is; print this

It ends at Ctrl-C and at SIGTERM. SIGHUP: it reads its options again, and reopens its logs.
SIGUSR1: it logs what there is now. SIGUSR2: it logs everything, until SIGHUP. Exit status 0 if it
ends because it was told to, or has printed what was asked for; 1, and one line on standard error,
if it cannot begin or go on, or the options are wrong.";

/// C tor's parts that one can leave out when one builds it. None is here: three are of relays, and
/// no puzzle is solved yet.
const MODULES: [&str; 4] = ["relay", "dirauth", "dircache", "pow"];

/// Why it cannot begin.
#[derive(Debug)]
pub enum Error {
    /// A word of the command line that is no text.
    NotText(OsString),
    /// Words of the command line.
    Misuse(Misuse),
    /// The options.
    Options(torrc::Error),
    /// A log.
    Log(Unopened),
    /// The system.
    Descriptors(TooFew),
    /// A directory of ours.
    Directory(&'static str, PathBuf, Fault),
    /// A port for programs, of that option.
    Port(&'static str, String, listener::Fault),
    /// The user to go on as.
    User(Given, user::Fault),
    /// An option that may not change any more.
    Fixed(&'static str),
    /// The file of our process number.
    PidFile(PathBuf, io::Error),
    /// It could begin, and cannot go on.
    Doomed(String),
    /// The executor, or signals.
    System(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotText(word) => write!(f, "command line: {word:?} is no text"),
            Error::Misuse(misuse) => write!(f, "command line: {misuse}"),
            Error::Options(error) => write!(f, "{error}"),
            Error::Log(Unopened { path, error }) => write!(f, "Log file {path}: {error}"),
            Error::Descriptors(too_few) => write!(f, "{too_few}"),
            Error::Directory(option, path, fault) => write!(f, "{option} {}: {fault}", path.display()),
            Error::Port(option, port, fault) => write!(f, "{option} {port}: {fault}"),
            Error::User(Given { value, origin }, fault) => write!(f, "{origin}: User {value}: {fault}"),
            Error::Fixed(option) => write!(f, "{option} may not change while the program runs"),
            Error::PidFile(path, error) => write!(f, "PidFile {}: {error}", path.display()),
            Error::Doomed(why) => f.write_str(why),
            Error::System(error) => write!(f, "{error}"),
        }
    }
}

impl From<Complaint> for Error {
    fn from(complaint: Complaint) -> Self {
        Error::Options(complaint.into())
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::System(error)
    }
}

/// All that the program does, from the words behind its name to its exit status.
pub fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    match words.map(|word| word.into_string().map_err(Error::NotText)).collect::<Result<Vec<_>, _>>().and_then(obey) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "cepa: {error}");
            ExitCode::FAILURE
        }
    }
}

fn obey(words: Vec<String>) -> Result<(), Error> {
    match command::parse(&words).map_err(Error::Misuse)? {
        Command::Help => say(USAGE),
        Command::Version => say(VERSION),
        Command::HashPassword(password) => {
            let mut salt = [0; 8];
            SystemEntropy.fill(&mut salt);
            say(&password::hashed(password.as_bytes(), salt));
        }
        Command::ListOptions => {
            options::table().iter().filter(|entry| !entry.is_obsolete()).for_each(|entry| say(entry.name));
        }
        Command::ListDeprecated => options::DEPRECATED.iter().for_each(|name| say(name)),
        Command::ListModules => MODULES.iter().for_each(|name| say(&format!("{name}: no"))),
        Command::Dump(start, which) => {
            let wanted = start.options().map_err(Error::Options)?;
            let lines = dump::lines(&wanted.settings, wanted.config.is_testing, which);
            lines.iter().for_each(|line| say(line));
        }
        Command::Verify(start) => {
            let wanted = start.options().map_err(Error::Options)?;
            wanted.warnings.iter().for_each(|warning| say(&format!("[warn] {warning}")));
            // C tor: becomes that user even to look at a torrc.
            become_user(&wanted.config)?;
            Setup::of(wanted.config)?;
            say("Configuration was valid");
        }
        Command::Run(start) => run(start)?,
    }
    Ok(())
}

/// Prints a line. Whoever reads no further, as `head` does, has had enough.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Begins, and ends when a signal says so.
fn run(start: Start) -> Result<(), Error> {
    let (wanted, setup) = understand(start.options(), start.quiet)?;
    let (runtime, clock) = (runtime::executor()?, SystemClock::start());
    signals::outlive_limits(&runtime)?;
    // C tor: ports while it is root, and files once it is not.
    let early = match wanted.config.user {
        Some(_) => Early::open(&wanted.config, &runtime)?,
        None => Early::default(),
    };
    become_user(&wanted.config)?;
    let log = Rc::new(Logger::open(&wanted.config, clock).map_err(Error::Log)?);
    let result = live(start, wanted, setup, early, clock, &log, &runtime);
    // A disk that hangs while countries are read holds up nobody who ends it.
    runtime.shutdown_background();
    log.finish();
    if let Err(error) = &result {
        log.fail(format_args!("{error}"));
    }
    result
}

/// Goes on as the user who is named, if one is.
fn become_user(config: &Config) -> Result<(), Error> {
    let Some(given) = &config.user else { return Ok(()) };
    user::become_user(&given.value, config.keeps_low_ports).map_err(|fault| Error::User(given.clone(), fault))
}

/// What is wanted, with what follows from it for the client.
fn understand(options: Result<Wanted, torrc::Error>, quiet: Quiet) -> Result<(Wanted, Setup), Error> {
    let mut wanted = options.map_err(Error::Options)?;
    let setup = Setup::of(wanted.config.clone())?;
    wanted.config.logs = quieter(wanted.config.logs, quiet, wanted.has_logs);
    Ok((wanted, setup))
}

fn live(
    start: Start,
    wanted: Wanted,
    setup: Setup,
    early: Early,
    clock: SystemClock,
    log: &Rc<Logger>,
    runtime: &Runtime,
) -> Result<(), Error> {
    greet(&wanted, log);
    descriptors::raise(wanted.config.least_descriptors, log).map_err(Error::Descriptors)?;
    let (places, _lock) = directories(&wanted.config, log, runtime)?;
    let _pid_file =
        PidFile::write(wanted.config.pid_file.as_deref()).map_err(|(path, error)| Error::PidFile(path, error))?;
    // Its thread outlives the loop, and does what it was told last.
    let (files, done) = Files::start(places)?;
    LocalSet::new().block_on(runtime, async {
        let mut signals = Signals::listen()?;
        let driver = Driver::new(setup.with_files(), Dialler::new(Provider::best()), files, clock, Rc::clone(log));
        let mut running = Running::begin(start, wanted, Rc::clone(&driver), early)?;
        let notifier = Notifier::of_environment();
        notifier.ready();
        drop(spawn_local(Rc::clone(&driver).hear_files(done)));
        drop(spawn_local(Rc::clone(&driver).run()));
        drop(spawn_local(Rc::clone(&driver).live()));
        let doom = tokio::select! {
            () = wait(&mut signals, &mut running, log, &notifier) => None,
            () = live_on(&notifier) => None,
            why = driver.doomed() => Some(why),
        };
        notifier.stopping();
        tokio::select! {
            saved = tokio::time::timeout(SAVE_LIMIT, driver.save()) => if saved.is_err() {
                log.warn(Domain::Fs, format_args!("The disk is too slow to have everything written."));
            },
            // Whoever says it twice does not want to wait.
            () = signals.end() => log.warn(Domain::General, format_args!("Another signal: not everything is written.")),
        }
        doom.map_or(Ok(()), |why| Err(Error::Doomed(why)))
    })
}

/// Until a signal says that it is over.
async fn wait(signals: &mut Signals, running: &mut Running, log: &Logger, notifier: &Notifier) {
    loop {
        match signals.next().await {
            Wish::Interrupt => return log.notice(Domain::General, format_args!("Interrupt: exiting cleanly.")),
            Wish::Terminate => {
                return log.notice(Domain::General, format_args!("Catching signal TERM, exiting cleanly."));
            }
            Wish::Reload => {
                notifier.reloading();
                running.reload().await;
                notifier.ready();
            }
            Wish::Statistics => running.tell_statistics(),
            Wish::Debug => {
                log.raise();
                log.notice(
                    Domain::General,
                    format_args!("Caught USR2, going to loglevel debug. Send HUP to change back."),
                );
            }
        }
    }
}

/// Says as often as is wanted that it is alive, which it is as long as this goes on.
async fn live_on(notifier: &Notifier) {
    let Some(beat) = notifier.beat() else { return core::future::pending().await };
    loop {
        notifier.alive();
        tokio::time::sleep(beat).await;
    }
}

fn greet(wanted: &Wanted, log: &Logger) {
    log.notice(
        Domain::General,
        format_args!("cepa {} running, with TLS by {}.", env!("CARGO_PKG_VERSION"), Provider::best().name()),
    );
    tell(wanted, log);
    if disk::user() == Some(0) {
        log.warn(
            Domain::General,
            format_args!("You are running cepa as root. You don't need to, and you probably shouldn't."),
        );
    }
}

/// Where the options come from, and what is odd about them.
fn tell(wanted: &Wanted, log: &Logger) {
    let included = wanted.defaults.included.iter().chain(&wanted.torrc.included);
    for path in included {
        log.notice(Domain::Config, format_args!("Including configuration file \"{}\".", path.display()));
    }
    let path = wanted.torrc.path.display();
    match wanted.torrc.is_there {
        true => log.notice(Domain::Config, format_args!("Read configuration file \"{path}\".")),
        false => log.notice(
            Domain::Config,
            format_args!("Configuration file \"{path}\" not present, using reasonable defaults."),
        ),
    }
    wanted.warnings.iter().for_each(|warning| log.warn(Domain::Config, format_args!("{warning}")));
}

/// Makes sure of the directories, and locks the one that no two programs may share.
fn directories(config: &Config, log: &Logger, runtime: &Runtime) -> Result<(Places, Lock), Error> {
    let is_durable = !config.avoids_disk_writes;
    let open = |option, path: PathBuf, is_for_group| match Directory::open(&path, is_durable, is_for_group) {
        Ok((directory, was_open)) => {
            if was_open {
                log.warn(Domain::Fs, format_args!("Fixing permissions on directory {}", path.display()));
            }
            Ok(directory)
        }
        Err(fault) => Err(Error::Directory(option, path, fault)),
    };
    let data = open("DataDirectory", paths::data_directory(config.data_directory.as_deref()), config.groups[0])?;
    let cache = match &config.cache_directory {
        Some(cache) => open("CacheDirectory", paths::expand(cache), config.groups[1])?,
        None => data.clone(),
    };
    let lock = runtime
        .block_on(locked(&data, log))
        .map_err(|fault| Error::Directory("DataDirectory", data.path().to_owned(), fault))?;
    Ok((Places { data, cache }, lock))
}

/// The lock of a directory; another program may be about to end. C tor: looks again once, after
/// all of that time.
async fn locked(data: &Directory, log: &Logger) -> Result<Lock, Fault> {
    let mut lock = data.lock();
    if matches!(lock, Err(Fault::Locked)) {
        let seconds = (LOCK_PAUSE * LOCK_TRIES).as_secs();
        log.warn(Domain::General, format_args!(
            "It looks like another program is running with the same data directory. Waiting {seconds} seconds to see \
             if it goes away."
        ));
    }
    for _ in 0..LOCK_TRIES {
        if !matches!(lock, Err(Fault::Locked)) {
            break;
        }
        tokio::time::sleep(LOCK_PAUSE).await;
        lock = data.lock();
    }
    lock
}

/// What is logged where no log was asked for.
fn quieter(logs: Vec<Log>, quiet: Quiet, has_logs: bool) -> Vec<Log> {
    match quiet {
        _ if has_logs => logs,
        Quiet::No => logs,
        Quiet::Silent => Vec::new(),
        Quiet::Hush => logs
            .into_iter()
            .map(|log| Log { selection: Selection::between(Severity::Warn, Severity::Err), ..log })
            .collect(),
    }
}
