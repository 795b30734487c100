//! The command line, and the files of options that it names: words in, a `Config` out.
//!
//! Reads files; what is in them `config` understands. Called by `mod.rs`. Spec: none. C tor:
//! `config_parse_commandline`, `load_torrc_from_disk` in app/config/config.c; tor(1).

use core::fmt;

use super::paths;
use super::torrc::{self, Error, Source};
use crate::config::dump::Dump;
use crate::config::options::named_in_words;
use crate::config::torrc::Change;
use crate::config::{Config, Origin, Settings, Warning};

/// What the words ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// To run.
    Run(Start),
    /// To say whether the options are right.
    Verify(Start),
    /// What can be asked for.
    Help,
    /// Which this is.
    Version,
    /// All names of options.
    ListOptions,
    /// What follows from the files and the words, as lines.
    Dump(Start, Dump),
    /// What a torrc says so that this password opens the control port.
    HashPassword(String),
    /// Those of them that have better names.
    ListDeprecated,
    /// What there is of C tor's parts.
    ListModules,
}

/// How to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    torrc: Option<String>,
    defaults: Option<String>,
    is_missing_fine: bool,
    options: Vec<(Change, String, String)>,
    /// How much is said where no log was asked for.
    pub quiet: Quiet,
}

/// How much is said where no log was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quiet {
    /// All that everybody wants to know.
    #[default]
    No,
    /// What is wrong.
    Hush,
    /// Nothing.
    Silent,
}

/// Words that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// A word that wants another behind it.
    NoValue(String),
    /// There is no such way to dump the options.
    NoDump(String),
    /// What C tor does for relays.
    OfRelays(String),
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misuse::NoValue(word) => write!(f, "{word} wants a value"),
            Misuse::OfRelays(word) => write!(f, "{word} is for relays, and cepa is none: it has no keys of its own"),
            Misuse::NoDump(word) => write!(f, "--dump-config wants short, non-builtin or full, not {word:?}"),
        }
    }
}

/// Reads the words behind the program's name. An option has two dashes before it, or one, or none.
pub fn parse(words: &[String]) -> Result<Command, Misuse> {
    let mut start = Start::default();
    let mut command: Option<fn(Start) -> Command> = None;
    let mut dump = None;
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let mut value = || rest.next().cloned().ok_or_else(|| Misuse::NoValue(word.clone()));
        match word.as_str() {
            "-h" | "--help" => return Ok(Command::Help),
            "--version" => return Ok(Command::Version),
            "--list-torrc-options" => return Ok(Command::ListOptions),
            "--hash-password" => return Ok(Command::HashPassword(value()?)),
            "--list-deprecated-options" => return Ok(Command::ListDeprecated),
            "--list-modules" => return Ok(Command::ListModules),
            "--list-fingerprint" | "--keygen" | "--newpass" | "--key-expiration" => {
                return Err(Misuse::OfRelays(word.clone()));
            }
            "--verify-config" => command = Some(Command::Verify),
            "--dump-config" => {
                let word = value()?;
                dump = Some(Dump::of_word(&word).ok_or(Misuse::NoDump(word))?);
            }
            "-f" | "--torrc-file" => start.torrc = Some(value()?),
            "--defaults-torrc" => start.defaults = Some(value()?),
            "--ignore-missing-torrc" | "--allow-missing-torrc" => start.is_missing_fine = true,
            "--hush" => start.quiet = start.quiet.max(Quiet::Hush),
            "--quiet" => start.quiet = start.quiet.max(Quiet::Silent),
            _ => {
                let option = word.strip_prefix('-').unwrap_or(word);
                let option = option.strip_prefix('-').unwrap_or(option);
                let (change, name) = match (option.strip_prefix('+'), option.strip_prefix('/')) {
                    (Some(name), _) => (Change::Append, name),
                    (_, Some(name)) => (Change::Clear, name),
                    _ => (Change::Set, option),
                };
                let value = if change == Change::Clear { String::new() } else { value()? };
                start.options.push((change, named_in_words(name).to_owned(), value));
            }
        }
    }
    if let Some(dump) = dump {
        return Ok(Command::Dump(start, dump));
    }
    Ok(command.unwrap_or(Command::Run)(start))
}

/// What follows from the files and the words, and what is worth a line about them.
pub struct Wanted {
    /// All of it.
    pub config: Config,
    /// What is odd.
    pub warnings: Vec<Warning>,
    /// The file that was read, or that would have been.
    pub torrc: Source,
    /// The one that it was laid over.
    pub defaults: Source,
    /// Whether a log was asked for.
    pub has_logs: bool,
    /// What was said, as it was said.
    pub settings: Settings,
}

impl Start {
    /// Reads the files, each laid over the one before, and the words over them.
    pub fn options(&self) -> Result<Wanted, Error> {
        self.read(None)
    }

    /// Reads them again. Differs: a file that was there must be there, whoever named it, so that
    /// nobody gets the defaults who is about to write it anew; C tor takes them.
    pub fn options_again(&self, before: &Wanted) -> Result<Wanted, Error> {
        self.read(Some(before))
    }

    fn read(&self, before: Option<&Wanted>) -> Result<Wanted, Error> {
        let mut settings = Settings::new();
        let (old_torrc, old_defaults) = before.map(|before| (&before.torrc, &before.defaults)).unzip();
        // C tor: that these are missing is always fine.
        let path = || self.defaults.as_deref().map_or_else(paths::default_defaults, paths::expand);
        let (defaults, mut warnings) = torrc::add(&mut settings, old_defaults, path, true)?;
        settings.begin_layer();
        let path = || self.torrc.as_deref().map_or_else(paths::default_torrc, paths::expand);
        let is_missing_fine = self.is_missing_fine || self.torrc.is_none();
        let (torrc, odd) = torrc::add(&mut settings, old_torrc, path, is_missing_fine)?;
        warnings.extend(odd);
        settings.begin_layer();
        for (change, name, value) in &self.options {
            let origin = Origin { source: "command line".into(), line: 0 };
            warnings.extend(settings.add(origin, *change, name, value.clone())?);
        }
        let (config, odd) = Config::of(&settings)?;
        warnings.extend(odd);
        let has_logs = !settings.given("Log").is_empty();
        Ok(Wanted { config, warnings, torrc, defaults, has_logs, settings })
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::tests::Scratch;
    use super::*;
    use std::os::fd::AsRawFd;
    use std::{fs, io};

    fn words(text: &str) -> Vec<String> {
        text.split_ascii_whitespace().map(str::to_owned).collect()
    }

    fn start(text: &str) -> Start {
        match parse(&words(text)).unwrap() {
            Command::Run(start) => start,
            other => panic!("{other:?}"),
        }
    }

    /// After `test_config_parse_commandline` in C tor's src/test/test_config.c, and its manual page.
    #[test]
    fn options_have_one_dash_or_two_and_their_marks_behind_them() {
        let option = |change, name: &str, value: &str| (change, name.to_owned(), value.to_owned());
        let all = start("--SocksPort 9050 -datadirectory /x --+Log debug -/Log Nickname -dash");
        assert_eq!(
            all.options,
            [
                option(Change::Set, "SocksPort", "9050"),
                option(Change::Set, "datadirectory", "/x"),
                option(Change::Append, "Log", "debug"),
                option(Change::Clear, "Log", ""),
                option(Change::Set, "Nickname", "-dash"),
            ]
        );
        let named = start("-f a --defaults-torrc b --ignore-missing-torrc --quiet --hush");
        assert_eq!((named.torrc.as_deref(), named.defaults.as_deref()), (Some("a"), Some("b")));
        assert!(named.is_missing_fine && named.quiet == Quiet::Silent);
        for (text, command) in [
            ("-h", Command::Help),
            ("--SocksPort 0 --version", Command::Version),
            ("--list-torrc-options", Command::ListOptions),
            ("--list-deprecated-options", Command::ListDeprecated),
            ("--list-modules", Command::ListModules),
            ("--verify-config", Command::Verify(Start::default())),
            ("--dump-config short", Command::Dump(Start::default(), Dump::Short)),
            ("--hash-password foo", Command::HashPassword("foo".to_owned())),
            ("", Command::Run(Start::default())),
        ] {
            assert_eq!(parse(&words(text)).unwrap(), command);
        }
        let logs = start("-l debug").options;
        assert_eq!(logs, [option(Change::Set, "Log", "debug")]);
        for word in ["--keygen", "--list-fingerprint", "--newpass", "--key-expiration"] {
            assert_eq!(parse(&words(word)), Err(Misuse::OfRelays(word.to_owned())));
        }
        assert_eq!(parse(&words("--SocksPort")), Err(Misuse::NoValue("--SocksPort".to_owned())));
        assert_eq!(parse(&words("--hash-password")), Err(Misuse::NoValue("--hash-password".to_owned())));
        assert_eq!(parse(&words("--dump-config all")), Err(Misuse::NoDump("all".to_owned())));
        assert_eq!(parse(&words("-f")), Err(Misuse::NoValue("-f".to_owned())));
    }

    #[test]
    fn files_lie_over_each_other_and_the_words_over_them() {
        let scratch = Scratch::new("options");
        let path = |name: &str| scratch.0.join(name).display().to_string();
        let options = |text: &str| start(text).options().map(|wanted| wanted.config);
        fs::write(path("defaults"), "SocksPort 1\nSocksPort 2\nSafeLogging 0\n").unwrap();
        fs::write(path("torrc"), "SocksPort 3\nDisableNetwork 1\n").unwrap();
        let line = format!("-f {} --defaults-torrc {}", path("torrc"), path("defaults"));
        let config = options(&line).unwrap();
        assert!(config.socks_ports.len() == 1 && !config.safe_logging && config.is_network_disabled);
        let config = options(&format!("{line} --DisableNetwork 0 --+SocksPort 4 --SafeLogging 1")).unwrap();
        assert!(config.socks_ports.len() == 2 && config.safe_logging && !config.is_network_disabled);
    }

    #[test]
    fn a_file_that_was_named_must_be_there_and_be_one() {
        let scratch = Scratch::new("torrc");
        let path = |name: &str| scratch.0.join(name).display().to_string();
        let complaint = |line: &str| start(line).options().err().map(|error| error.to_string()).unwrap_or_default();
        let none = path("none");
        let defaults = format!("--defaults-torrc {none}");
        assert!(complaint(&format!("{defaults} -f {none}")).starts_with(&format!("{none}: ")));
        assert_eq!(complaint(&format!("{defaults} -f {none} --ignore-missing-torrc")), "");
        let folder = scratch.0.display();
        assert_eq!(complaint(&format!("{defaults} -f {folder}")), format!("{folder}: it is no file"));
        let odd = path("odd");
        fs::write(&odd, b"# fine\nDataDirectory \xFF\n").unwrap();
        assert_eq!(complaint(&format!("{defaults} -f {odd}")), format!("{odd}:2: the value is not UTF-8"));
        fs::write(&odd, "\n\nSockPort 9050\n").unwrap();
        let expected = format!("{odd}:3: there is no option SockPort; did you mean SocksPort?");
        assert_eq!(complaint(&format!("{defaults} -f {odd}")), expected);
        let expected = "command line: there is no option Sokcs";
        assert!(complaint(&format!("{defaults} -f {none} --ignore-missing-torrc --Sokcs 1")).starts_with(expected));
    }
    #[test]
    fn files_are_read_again_where_they_were_and_must_be_there_if_they_were() {
        let scratch = Scratch::new("again");
        let path = |name: &str| scratch.0.join(name).display().to_string();
        let (torrc, defaults) = (path("torrc"), path("defaults"));
        let start = start(&format!("-f {torrc} --defaults-torrc {defaults} --ignore-missing-torrc --SafeLogging 0"));
        let none = start.options().unwrap();
        assert!(!none.torrc.is_there && !start.options_again(&none).unwrap().torrc.is_there);
        fs::write(&torrc, "SocksTimeout 7\n").unwrap();
        fs::write(&defaults, "SafeSocks 1\n").unwrap();
        let both = start.options_again(&none).unwrap();
        let requests = &both.config.requests;
        assert!(requests.timeout.as_secs() == 7 && requests.is_safe_only && !both.config.safe_logging);
        let complaint = || start.options_again(&both).err().map(|error| error.to_string()).unwrap_or_default();
        for name in [&torrc, &defaults] {
            let text = fs::read(name).unwrap();
            fs::remove_file(name).unwrap();
            assert!(complaint().starts_with(&format!("{name}: No such file")), "{}", complaint());
            fs::write(name, text).unwrap();
            assert_eq!(complaint(), "");
        }
        fs::write(&torrc, "\nSocksTimeout soon\n").unwrap();
        assert!(complaint().starts_with(&format!("{torrc}:2: SocksTimeout wants a time")), "{}", complaint());
        // One that has said all that it had to say: an empty file would look the same.
        fs::remove_file(&torrc).unwrap();
        let (pipe, _) = io::pipe().unwrap();
        std::os::unix::fs::symlink(format!("/proc/self/fd/{}", pipe.as_raw_fd()), &torrc).unwrap();
        assert_eq!(complaint(), format!("{torrc}: it is a pipe, and cannot be read a second time"));
    }
}
