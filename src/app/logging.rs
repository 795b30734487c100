//! What people are told: lines with a date and a severity, to where they want them.
//!
//! Decides what a line looks like and who gets it, and how far the client is on a terminal; not
//! what is worth a line. What names a place on the network is `Sensitive`, and shows only where
//! the user has turned `SafeLogging` off. Called by everything in `app`. Spec: none. C tor:
//! lib/log/log.c for the format, lib/log/ratelim.c for what repeats.
//! Differs: dates are in UTC, where C tor's are local: zones are the C library's, and we have none.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::time::Duration;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use super::runtime::SystemClock;
use super::syslog::{self, Syslog};
use crate::base::redact::{PLACEHOLDER, Sensitive};
use crate::base::time::{Tick, Wall, civil};
use crate::client::Progress;
use crate::config::{self, Domain, Selection, Severity};

/// Who may read a log besides us: the group. C tor has the same.
const LOG_MODE: u32 = 0o640;
/// Where systemd says which stream its journal reads. Spec: systemd.exec(5).
const JOURNAL: &str = "JOURNAL_STREAM";
/// How many signs wide the bar of a terminal is; ours, so that no line is over 80.
const BAR: usize = 12;
/// More lines than this that were not written are not counted. C tor: `RATELIM_TOOMANY`.
const TOO_MANY: u32 = 16 * 1000;
/// How long a date is without what is finer than seconds.
const SECONDS: usize = "Nov 21 18:00:00".len();
/// Takes what is on the line of a terminal away.
const WIPE: &str = "\r\x1b[K";

/// A configured log that cannot be opened.
#[derive(Debug)]
pub struct Unopened {
    /// Which.
    pub path: String,
    /// Why.
    pub error: io::Error,
}

/// All logs.
pub struct Logger {
    clock: SystemClock,
    granularity: Cell<Duration>,
    is_safe: Cell<bool>,
    has_domains: Cell<bool>,
    sinks: RefCell<Vec<Sink>>,
}

/// Logs that are open, and nothing is written to yet; and of these, files that are to be begun
/// anew.
pub struct Sinks(Vec<Sink>, Vec<File>);

/// Where lines go.
struct Sink {
    selection: Selection,
    to: config::Sink,
    out: Out,
    is_terminal: bool,
    /// The journal reads it, and knows by a number at the front how bad a line is.
    is_journal: bool,
    /// A terminal: what stands on its last line and will be drawn over.
    status: Option<String>,
}

/// What takes lines.
enum Out {
    /// Whole ones.
    Stream(Box<dyn Write>),
    /// Ones that have date and severity beside them.
    System(Syslog),
}

/// One line.
struct Line {
    severity: Severity,
    /// With its date and its end.
    text: String,
    /// Where what it says begins.
    begin: usize,
}

/// Text that repeats is written once in a while.
#[derive(Debug)]
pub struct Rarely {
    every: Duration,
    last: Cell<Option<Tick>>,
    /// Since when and how many were not written.
    held: Cell<(Tick, u32)>,
}

impl Rarely {
    /// At most once in so long.
    pub const fn new(every: Duration) -> Rarely {
        Rarely { every, last: Cell::new(None), held: Cell::new((Tick::new(Duration::ZERO), 0)) }
    }

    /// What is to be added to the line if it may be written now.
    fn pass(&self, now: Tick) -> Option<String> {
        let (since, held) = self.held.get();
        if self.last.get().is_some_and(|last| now.since(last) < self.every) {
            let since = if held == 0 { now } else { since };
            self.held.set((since, held.saturating_add(1).min(TOO_MANY)));
            return None;
        }
        self.last.set(Some(now));
        self.held.set((now, 0));
        let over = if held == TOO_MANY { "over " } else { "" };
        let seconds = now.since(since).as_secs().div_ceil(60) * 60;
        let text = || format!(" [{over}{held} similar message(s) suppressed in last {seconds} seconds]");
        Some(if held == 0 { String::new() } else { text() })
    }
}

impl Logger {
    /// Opens all that were asked for.
    pub fn open(config: &config::Config, clock: SystemClock) -> Result<Logger, Unopened> {
        let logger = Logger {
            clock,
            granularity: Cell::new(config.log_granularity),
            is_safe: Cell::new(config.safe_logging),
            has_domains: Cell::new(config.log_domains),
            sinks: RefCell::default(),
        };
        logger.adopt(Sinks::open(config)?, config);
        Ok(logger)
    }

    /// Writes from now on where and how a configuration says, of which the sinks are. One that
    /// is not here yet is told of in the others.
    pub fn adopt(&self, Sinks(mut sinks, old_files): Sinks, config: &config::Config) {
        self.granularity.set(config.log_granularity);
        self.is_safe.set(config.safe_logging);
        self.has_domains.set(config.log_domains);
        // One that cannot be cut off is added to.
        old_files.into_iter().for_each(|file| drop(file.set_len(0)));
        let mut old = self.sinks.take();
        // A terminal is the same as before, and so is what will be drawn over on it.
        for sink in sinks.iter_mut().filter(|sink| sink.is_terminal) {
            sink.status = old.iter_mut().filter(|old| old.to == sink.to).find_map(|old| old.status.take());
        }
        old.iter_mut().for_each(Sink::finish);
        self.sinks.replace(sinks);
    }

    /// Writes everything everywhere, until the next configuration.
    pub fn raise(&self) {
        let all = Selection::between(Severity::Debug, Severity::Err);
        self.sinks.borrow_mut().iter_mut().for_each(|sink| sink.selection = all);
    }

    /// Opens every file anew, since the old one may have been given another name. Whatever
    /// cannot be opened stays as it is.
    pub fn reopen(&self) -> Result<(), Unopened> {
        let mut result = Ok(());
        for sink in self.sinks.borrow_mut().iter_mut() {
            if let config::Sink::File(path) = &sink.to {
                match open_file(path) {
                    Ok(file) => sink.out = Out::Stream(Box::new(file)),
                    Err(unopened) => result = Err(unopened),
                }
            }
        }
        result
    }

    /// One line.
    pub fn say(&self, severity: Severity, domain: Domain, text: fmt::Arguments<'_>) {
        let mut line = None;
        for sink in self.sinks.borrow_mut().iter_mut().filter(|sink| sink.selection.has(domain, severity)) {
            let line = line.get_or_insert_with(|| self.line(severity, domain, text));
            sink.write(line);
        }
    }

    /// What is broken: it cannot go on, or a fault of ours.
    pub fn err(&self, domain: Domain, text: fmt::Arguments<'_>) {
        self.say(Severity::Err, domain, text);
    }

    /// The last line: why it ends. Not where somebody sees it on standard error already.
    pub fn fail(&self, text: fmt::Arguments<'_>) {
        let line = self.line(Severity::Err, Domain::General, text);
        let mut sinks = self.sinks.borrow_mut();
        sinks
            .iter_mut()
            .filter(|sink| !sink.is_console() && sink.selection.has(Domain::General, Severity::Err))
            .for_each(|sink| sink.write(&line));
    }

    /// What is odd but works.
    pub fn warn(&self, domain: Domain, text: fmt::Arguments<'_>) {
        self.say(Severity::Warn, domain, text);
    }

    /// A change that the user feels.
    pub fn notice(&self, domain: Domain, text: fmt::Arguments<'_>) {
        self.say(Severity::Notice, domain, text);
    }

    /// For the curious.
    pub fn info(&self, domain: Domain, text: fmt::Arguments<'_>) {
        self.say(Severity::Info, domain, text);
    }

    /// A warning that may come often.
    pub fn warn_rarely(&self, rarely: &Rarely, domain: Domain, text: fmt::Arguments<'_>) {
        if let Some(suffix) = rarely.pass(self.clock.now().tick) {
            self.warn(domain, format_args!("{text}{suffix}"));
        }
    }

    /// How far the client is: a line each time, and on a terminal one that is drawn over.
    pub fn progress(&self, progress: Progress) {
        let (percent, tag, summary) = progress.words();
        let line =
            self.line(Severity::Notice, Domain::Control, format_args!("Bootstrapped {percent}% ({tag}): {summary}"));
        for sink in
            self.sinks.borrow_mut().iter_mut().filter(|sink| sink.selection.has(Domain::Control, Severity::Notice))
        {
            match sink.is_terminal && percent < 100 {
                true => sink.draw(bar(percent, summary)),
                false => {
                    sink.status = None;
                    sink.write(&line);
                }
            }
        }
    }

    /// The terminal's line is left as it stands.
    pub fn finish(&self) {
        self.sinks.borrow_mut().iter_mut().for_each(Sink::finish);
    }

    /// A sensitive value, as this log may show it.
    pub fn show<'a, T>(&self, hidden: &'a Sensitive<T>) -> Shown<'a, T> {
        Shown { hidden, is_safe: self.is_safe.get() }
    }

    fn line(&self, severity: Severity, domain: Domain, text: fmt::Arguments<'_>) -> Line {
        let mut front = format!("{} [{}] ", date(self.clock.now().wall, self.granularity.get()), name(severity));
        let begin = front.len();
        if self.has_domains.get() {
            front.push_str(&format!("{{{}}} ", domain.name().to_ascii_uppercase()));
        }
        Line { severity, begin, text: format!("{front}{text}\n") }
    }
}

impl Sinks {
    /// Opens all that were asked for, or none.
    pub fn open(config: &config::Config) -> Result<Sinks, Unopened> {
        let (mut sinks, mut old_files) = (Vec::new(), Vec::new());
        let journal = journal();
        for log in &config.logs {
            let (mut is_terminal, mut is_journal) = (false, false);
            let out: Out = match &log.sink {
                config::Sink::Stdout => {
                    (is_terminal, is_journal) = kind(&io::stdout(), journal.as_deref());
                    Out::Stream(Box::new(io::stdout()))
                }
                config::Sink::Stderr => {
                    (is_terminal, is_journal) = kind(&io::stderr(), journal.as_deref());
                    Out::Stream(Box::new(io::stderr()))
                }
                config::Sink::Syslog => Out::System(Syslog::new(config.syslog_tag.as_deref())),
                config::Sink::File(path) => {
                    let file = open_file(path)?;
                    old_files.extend(file.try_clone().ok().filter(|_| config.truncates_logs));
                    Out::Stream(Box::new(file))
                }
            };
            let (selection, to) = (log.selection, log.sink.clone());
            sinks.push(Sink { selection, to, out, is_terminal, is_journal, status: None });
        }
        Ok(Sinks(sinks, old_files))
    }
}

/// The stream that the journal reads, if there is one.
#[allow(clippy::disallowed_methods, reason = "whoever starts us says it there")]
fn journal() -> Option<String> {
    std::env::var(JOURNAL).ok()
}

/// Whether a stream is a terminal, and whether it is the one that the journal has said it reads.
fn kind(stream: &(impl AsFd + IsTerminal), journal: Option<&str>) -> (bool, bool) {
    let metadata = stream.as_fd().try_clone_to_owned().and_then(|own| File::from(own).metadata()).ok();
    let named = metadata.map(|metadata| format!("{}:{}", metadata.dev(), metadata.ino()));
    (stream.is_terminal(), named.is_some() && named.as_deref() == journal)
}

fn open_file(path: &str) -> Result<File, Unopened> {
    let path = super::paths::expand(path);
    let file = OpenOptions::new().append(true).create(true).mode(LOG_MODE).open(&path);
    file.map_err(|error| Unopened { path: path.display().to_string(), error })
}

impl Sink {
    fn is_console(&self) -> bool {
        matches!(self.to, config::Sink::Stdout | config::Sink::Stderr)
    }

    fn write(&mut self, line: &Line) {
        match &mut self.out {
            Out::Stream(_) => {
                let text = match &self.status {
                    Some(status) => &format!("{WIPE}{}{status}", line.text),
                    None if self.is_journal => &format!("<{}>{}", syslog::level(line.severity), line.text),
                    None => &line.text,
                };
                self.print(text);
            }
            Out::System(system) => {
                let said = line.text.get(line.begin..).unwrap_or_default();
                system.send(line.severity, line.text.get(..SECONDS).unwrap_or_default(), said.trim_end());
            }
        }
    }

    fn draw(&mut self, status: String) {
        self.print(&format!("{WIPE}{status}"));
        self.status = Some(status);
    }

    /// Leaves the last line of a terminal as it stands.
    fn finish(&mut self) {
        let end = if self.status.take().is_some() { "\n" } else { "" };
        self.print(end);
    }

    /// Nothing is done about a log that cannot be written to: there is nobody to tell.
    fn print(&mut self, text: &str) {
        if let Out::Stream(out) = &mut self.out {
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }
}

/// A sensitive value that shows, or does not.
pub struct Shown<'a, T> {
    hidden: &'a Sensitive<T>,
    is_safe: bool,
}

impl<T: fmt::Display> fmt::Display for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_safe {
            true => f.write_str(PLACEHOLDER),
            false => self.hidden.uncover().fmt(f),
        }
    }
}

fn name(severity: Severity) -> &'static str {
    match severity {
        Severity::Debug => "debug",
        Severity::Info => "info",
        Severity::Notice => "notice",
        Severity::Warn => "warn",
        Severity::Err => "err",
    }
}

fn bar(percent: u8, summary: &str) -> String {
    let full = usize::from(percent) * BAR / 100;
    format!("Bootstrapped {percent:>3}% [{:<BAR$}] {summary}", "#".repeat(full))
}

/// `Nov 21 18:00:00.000`, no finer than `granularity`.
fn date(wall: Wall, granularity: Duration) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (mut seconds, mut millis) = (wall.as_secs(), wall.since(Wall::from_secs(wall.as_secs())).as_millis());
    let grain = granularity.as_millis().max(1);
    if grain >= 1000 {
        seconds -= seconds % u64::try_from(grain / 1000).unwrap_or(1);
        millis = 0;
    } else {
        millis -= millis % grain;
    }
    let (_, month, day) = civil(seconds / 86_400);
    let month = usize::try_from(month).ok().and_then(|month| MONTHS.get(month.wrapping_sub(1))).unwrap_or(&"");
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{month} {day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}")
}

#[cfg(test)]
mod tests {
    use super::super::disk::tests::Scratch;
    use super::*;
    use std::rc::Rc;

    /// What a log wrote.
    #[derive(Clone, Default)]
    struct Paper(Rc<RefCell<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        /// All that was written, each line from the severity on.
        fn text(&self) -> String {
            let text = String::from_utf8(self.0.borrow().clone()).unwrap();
            text.split_inclusive('\n').map(|line| line.find('[').map_or(line, |at| &line[at..])).collect()
        }
    }

    fn logger(is_safe: bool, is_terminal: bool) -> (Logger, Paper) {
        let paper = Paper::default();
        let sink = Sink {
            selection: Selection::between(Severity::Notice, Severity::Err),
            to: if is_terminal { config::Sink::Stdout } else { config::Sink::File("paper".to_owned()) },
            out: Out::Stream(Box::new(paper.clone())),
            is_terminal,
            is_journal: false,
            status: None,
        };
        let sinks = RefCell::new(vec![sink]);
        let granularity = Cell::new(Duration::from_secs(1));
        let (is_safe, has_domains) = (Cell::new(is_safe), Cell::new(false));
        (Logger { clock: SystemClock::start(), granularity, is_safe, has_domains, sinks }, paper)
    }

    /// The first is as C tor 0.4.9 writes it, in a zone that is UTC.
    #[test]
    fn dates_are_written_as_c_tor_writes_them() {
        let wall = Wall::parse("2026-11-21", "18:04:59").unwrap() + Duration::from_millis(987);
        for (grain, expected) in [
            (1, "Nov 21 18:04:59.987"),
            (10, "Nov 21 18:04:59.980"),
            (500, "Nov 21 18:04:59.500"),
            (1000, "Nov 21 18:04:59.000"),
            (10_000, "Nov 21 18:04:50.000"),
            (0, "Nov 21 18:04:59.987"),
        ] {
            assert_eq!(date(wall, Duration::from_millis(grain)), expected);
        }
        assert_eq!(date(Wall::default(), Duration::from_millis(1)), "Jan 01 00:00:00.000");
    }

    #[test]
    fn a_log_gets_its_severities_and_no_others() {
        let (logger, paper) = logger(true, false);
        logger.info(Domain::General, format_args!("a"));
        logger.notice(Domain::General, format_args!("b"));
        logger.warn(Domain::General, format_args!("c {}", 1));
        logger.err(Domain::General, format_args!("d"));
        assert_eq!(paper.text(), "[notice] b\n[warn] c 1\n[err] d\n");
    }

    #[test]
    fn a_log_gets_everything_once_it_is_raised() {
        let (logger, paper) = logger(true, false);
        logger.raise();
        logger.say(Severity::Debug, Domain::General, format_args!("a"));
        logger.info(Domain::Fs, format_args!("b"));
        assert_eq!(paper.text(), "[debug] a\n[info] b\n");
        logger.adopt(Sinks(Vec::new(), Vec::new()), &config::Config::of(&config::Settings::new()).unwrap().0);
        logger.err(Domain::General, format_args!("c"));
        assert_eq!(paper.text(), "[debug] a\n[info] b\n");
    }

    #[test]
    fn a_log_of_some_domains_gets_those_and_no_others() {
        let scratch = Scratch::new("domains");
        let path = scratch.0.join("log");
        let lines = format!("Log [config,~net]info [dir]warn file {}\n", path.display());
        let logger = Logger::open(&config(&lines), SystemClock::start()).ok().unwrap();
        logger.info(Domain::Config, format_args!("a"));
        logger.info(Domain::Dir, format_args!("b"));
        logger.warn(Domain::Dir, format_args!("c"));
        logger.err(Domain::Net, format_args!("d"));
        logger.progress(Progress::Connecting);
        let text = std::fs::read_to_string(&path).unwrap();
        let said: Vec<&str> =
            text.lines().filter_map(|line| line.split_once(" [")?.1.split_once("] ")).map(|(_, it)| it).collect();
        assert_eq!(said, ["a", "c"]);
    }

    #[test]
    fn places_show_only_where_safe_logging_is_off() {
        let place = Sensitive::new("example.com:443");
        for (is_safe, expected) in [(true, "[warn] [scrubbed]\n"), (false, "[warn] example.com:443\n")] {
            let (logger, paper) = logger(is_safe, false);
            logger.warn(Domain::General, format_args!("{}", logger.show(&place)));
            assert_eq!(paper.text(), expected);
        }
    }

    #[test]
    fn progress_is_lines_in_a_file_and_one_line_on_a_terminal() {
        let (plain, paper) = logger(true, false);
        plain.progress(Progress::Connecting);
        plain.finish();
        assert_eq!(paper.text(), "[notice] Bootstrapped 5% (conn): Connecting to a relay\n");

        let (terminal, paper) = logger(true, true);
        terminal.progress(Progress::LoadingDescriptors(50));
        terminal.notice(Domain::General, format_args!("a line"));
        terminal.finish();
        let text = String::from_utf8(paper.0.borrow().clone()).unwrap();
        let bar = "Bootstrapped  50% [######      ] Loading relay descriptors";
        assert!(text.starts_with(&format!("{WIPE}{bar}{WIPE}")), "{text:?}");
        assert!(text.ends_with(&format!(" [notice] a line\n{bar}\n")), "{text:?}");
        let (percent, _, summary) = Progress::EnoughDirectory.words();
        assert!(super::bar(percent, summary).len() < 80);
    }

    #[test]
    fn what_repeats_is_written_once_in_a_while_and_counted() {
        let at = |secs| Tick::new(Duration::from_secs(secs));
        let rarely = Rarely::new(Duration::from_secs(60));
        assert_eq!(rarely.pass(at(0)).as_deref(), Some(""));
        assert_eq!([rarely.pass(at(1)), rarely.pass(at(59))], [None, None]);
        let suffix = " [2 similar message(s) suppressed in last 60 seconds]";
        assert_eq!(rarely.pass(at(60)).as_deref(), Some(suffix));
        assert_eq!(rarely.pass(at(120)).as_deref(), Some(""));
    }

    fn config(text: &str) -> config::Config {
        let mut settings = config::Settings::new();
        settings.add_text("torrc", text).unwrap();
        config::Config::of(&settings).unwrap().0
    }

    #[test]
    fn a_file_is_added_to_and_one_that_cannot_be_opened_is_named() {
        let scratch = Scratch::new("log");
        let path = scratch.0.join("notices");
        let line = |path: &std::path::Path| format!("Log notice file {}\n", path.display());
        for word in ["one", "two"] {
            let logger = Logger::open(&config(&line(&path)), SystemClock::start()).ok().unwrap();
            logger.notice(Domain::General, format_args!("{word}"));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("[notice] one\n") && text.ends_with("[notice] two\n"));
        let nowhere = scratch.0.join("a/b");
        let unopened = Logger::open(&config(&line(&nowhere)), SystemClock::start()).err().unwrap();
        assert_eq!(unopened.path, nowhere.display().to_string());
    }
    #[test]
    fn a_file_that_got_another_name_is_left_alone_once_it_is_opened_anew() {
        let scratch = Scratch::new("rotated");
        let (path, old) = (scratch.0.join("log"), scratch.0.join("log.1"));
        let config = config(&format!("Log notice file {}\n", path.display()));
        let logger = Logger::open(&config, SystemClock::start()).ok().unwrap();
        let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
        for again in [true, false] {
            logger.notice(Domain::General, format_args!("before"));
            std::fs::rename(&path, &old).unwrap();
            logger.notice(Domain::General, format_args!("meanwhile"));
            match again {
                true => logger.reopen().unwrap(),
                false => logger.adopt(Sinks::open(&config).unwrap(), &config),
            }
            logger.notice(Domain::General, format_args!("after"));
            assert!(read(&old).ends_with("[notice] meanwhile\n") && read(&path).ends_with("[notice] after\n"));
            assert!(!read(&path).contains("meanwhile"));
        }
        std::fs::remove_dir_all(&scratch.0).unwrap();
        assert_eq!(logger.reopen().unwrap_err().path, path.display().to_string());
        // As it is.
        logger.notice(Domain::General, format_args!("nobody reads this"));
    }

    #[test]
    fn other_options_count_from_the_next_line_on() {
        let scratch = Scratch::new("relogged");
        let (one, two) = (scratch.0.join("one"), scratch.0.join("two"));
        let logger = Logger::open(&config(&format!("Log notice file {}\n", one.display())), SystemClock::start());
        let logger = logger.ok().unwrap();
        let place = Sensitive::new("example.com:443");
        logger.info(Domain::General, format_args!("{}", logger.show(&place)));
        logger.notice(Domain::General, format_args!("{}", logger.show(&place)));
        let next = format!("Log info file {}\nSafeLogging 0\nLogTimeGranularity 86400000\n", two.display());
        let next = config(&next);
        logger.adopt(Sinks::open(&next).unwrap(), &next);
        logger.info(Domain::General, format_args!("{}", logger.show(&place)));
        let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
        assert!(read(&one).ends_with("[notice] [scrubbed]\n") && read(&one).lines().count() == 1);
        assert!(read(&two).ends_with(" 00:00:00.000 [info] example.com:443\n"), "{}", read(&two));
    }

    #[test]
    fn what_stands_on_a_terminal_stands_through_a_reload_or_is_left() {
        for (lines, end) in [("Log notice stdout\n", ""), ("Log notice stderr\n", "\n")] {
            let (logger, paper) = logger(true, true);
            logger.progress(Progress::Connecting);
            let to = config(lines);
            let (out, new) = (paper.clone(), to.logs[0].clone());
            let sink = Sink {
                selection: new.selection,
                to: new.sink,
                out: Out::Stream(Box::new(out)),
                is_terminal: true,
                is_journal: false,
                status: None,
            };
            logger.adopt(Sinks(vec![sink], Vec::new()), &to);
            let stands = String::from_utf8(paper.0.borrow().clone()).unwrap();
            assert!(stands.ends_with(&format!("Connecting to a relay{end}")), "{stands:?}");
            logger.notice(Domain::General, format_args!("a line"));
            let text = String::from_utf8(paper.0.borrow().clone()).unwrap();
            assert_eq!(text.ends_with("Connecting to a relay"), end.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn a_line_says_what_it_is_about_where_the_user_wants_that() {
        let (logger, paper) = logger(true, false);
        logger.has_domains.set(config("LogMessageDomains 1\n").log_domains);
        logger.warn(Domain::Fs, format_args!("full"));
        logger.progress(Progress::Done);
        assert_eq!(paper.text(), "[warn] {FS} full\n[notice] {CONTROL} Bootstrapped 100% (done): Done\n");
    }

    #[test]
    fn a_file_is_begun_anew_where_the_user_wants_that() {
        let scratch = Scratch::new("truncated");
        let path = scratch.0.join("log");
        let lines = format!("Log notice file {}\n", path.display());
        for (more, text) in [("", "one"), ("", "two"), ("TruncateLogFile 1\n", "three")] {
            let config = config(&format!("{lines}{more}"));
            let before = std::fs::read_to_string(&path).unwrap_or_default();
            let sinks = Sinks::open(&config).unwrap();
            // Not before it is sure that the options will count.
            assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
            let logger = Logger::open(&config, SystemClock::start()).unwrap();
            drop(sinks);
            logger.notice(Domain::General, format_args!("{text}"));
        }
        let left = std::fs::read_to_string(&path).unwrap();
        assert!(left.ends_with("three\n") && !left.contains("two"), "{left}");
    }

    #[test]
    fn the_journal_is_told_how_bad_a_line_is() {
        let (logger, paper) = logger(true, false);
        logger.sinks.borrow_mut()[0].is_journal = true;
        logger.warn(Domain::General, format_args!("a"));
        let text = String::from_utf8(paper.0.borrow().clone()).unwrap();
        assert!(text.starts_with("<4>") && text.ends_with(" [warn] a\n"), "{text}");
        let scratch = Scratch::new("journal");
        let file = File::create(scratch.0.join("stream")).unwrap();
        let metadata = file.metadata().unwrap();
        let named = format!("{}:{}", metadata.dev(), metadata.ino());
        assert_eq!(
            (kind(&file, Some(&named)), kind(&file, Some("1:1")), kind(&file, None)),
            ((false, true), (false, false), (false, false))
        );
    }
}
