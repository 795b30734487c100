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
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;

use super::runtime::SystemClock;
use crate::base::redact::{PLACEHOLDER, Sensitive};
use crate::base::time::{Tick, Wall, civil};
use crate::client::Progress;
use crate::config::{self, Severity};

/// Who may read a log besides us: the group. C tor has the same.
const LOG_MODE: u32 = 0o640;
/// How many signs wide the bar of a terminal is; ours, so that no line is over 80.
const BAR: usize = 12;
/// More lines than this that were not written are not counted. C tor: `RATELIM_TOOMANY`.
const TOO_MANY: u32 = 16 * 1000;
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
    granularity: Duration,
    is_safe: bool,
    sinks: RefCell<Vec<Sink>>,
}

/// Where lines go.
struct Sink {
    severities: (Severity, Severity),
    out: Box<dyn Write>,
    is_console: bool,
    is_terminal: bool,
    /// A terminal: what stands on its last line and will be drawn over.
    status: Option<String>,
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
    /// Opens all that were asked for. One that is not here yet is told of in the others.
    pub fn open(config: &config::Config, clock: SystemClock) -> Result<Logger, Unopened> {
        let (mut sinks, mut has_syslog) = (Vec::new(), false);
        for log in &config.logs {
            let is_console = matches!(log.sink, config::Sink::Stdout | config::Sink::Stderr);
            let (out, is_terminal): (Box<dyn Write>, bool) = match &log.sink {
                config::Sink::Stdout => (Box::new(io::stdout()), io::stdout().is_terminal()),
                config::Sink::Stderr => (Box::new(io::stderr()), io::stderr().is_terminal()),
                config::Sink::Syslog => {
                    has_syslog = true;
                    continue;
                }
                config::Sink::File(path) => {
                    let path = super::paths::expand(path);
                    let file = OpenOptions::new().append(true).create(true).mode(LOG_MODE).open(&path);
                    let file = file.map_err(|error| Unopened { path: path.display().to_string(), error })?;
                    (Box::new(file), false)
                }
            };
            sinks.push(Sink { severities: log.severities, out, is_console, is_terminal, status: None });
        }
        let logger = Logger {
            clock,
            granularity: config.log_granularity,
            is_safe: config.safe_logging,
            sinks: RefCell::new(sinks),
        };
        if has_syslog {
            logger.say_at_least_once(format_args!("the system's log cannot be written to yet; those lines are lost"));
        }
        Ok(logger)
    }

    /// One line.
    pub fn say(&self, severity: Severity, text: fmt::Arguments<'_>) {
        let mut line = None;
        for sink in self.sinks.borrow_mut().iter_mut().filter(|sink| sink.wants(severity)) {
            let line = line.get_or_insert_with(|| self.line(severity, text));
            sink.write(line);
        }
    }

    /// What is broken: it cannot go on, or a fault of ours.
    pub fn err(&self, text: fmt::Arguments<'_>) {
        self.say(Severity::Err, text);
    }

    /// The last line: why it ends. Not where somebody sees it on standard error already.
    pub fn fail(&self, text: fmt::Arguments<'_>) {
        let line = self.line(Severity::Err, text);
        let mut sinks = self.sinks.borrow_mut();
        sinks
            .iter_mut()
            .filter(|sink| !sink.is_console && sink.wants(Severity::Err))
            .for_each(|sink| sink.write(&line));
    }

    /// What is odd but works.
    pub fn warn(&self, text: fmt::Arguments<'_>) {
        self.say(Severity::Warn, text);
    }

    /// A change that the user feels.
    pub fn notice(&self, text: fmt::Arguments<'_>) {
        self.say(Severity::Notice, text);
    }

    /// For the curious.
    pub fn info(&self, text: fmt::Arguments<'_>) {
        self.say(Severity::Info, text);
    }

    /// A warning that may come often.
    pub fn warn_rarely(&self, rarely: &Rarely, text: fmt::Arguments<'_>) {
        if let Some(suffix) = rarely.pass(self.clock.now().tick) {
            self.warn(format_args!("{text}{suffix}"));
        }
    }

    /// How far the client is: a line each time, and on a terminal one that is drawn over.
    pub fn progress(&self, progress: Progress) {
        let (percent, tag, summary) = progress.words();
        let line = self.line(Severity::Notice, format_args!("Bootstrapped {percent}% ({tag}): {summary}"));
        for sink in self.sinks.borrow_mut().iter_mut().filter(|sink| sink.wants(Severity::Notice)) {
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
        for sink in self.sinks.borrow_mut().iter_mut() {
            if sink.status.take().is_some() {
                let _ = writeln!(sink.out);
            }
            let _ = sink.out.flush();
        }
    }

    /// A sensitive value, as this log may show it.
    pub fn show<'a, T>(&self, hidden: &'a Sensitive<T>) -> Shown<'a, T> {
        Shown { hidden, is_safe: self.is_safe }
    }

    /// A warning that somebody must see, even where no log is open.
    fn say_at_least_once(&self, text: fmt::Arguments<'_>) {
        match self.sinks.borrow().iter().any(|sink| sink.wants(Severity::Warn)) {
            true => {}
            false => {
                let _ = write!(io::stderr(), "{}", self.line(Severity::Warn, text));
                return;
            }
        }
        self.warn(text);
    }

    fn line(&self, severity: Severity, text: fmt::Arguments<'_>) -> String {
        format!("{} [{}] {text}\n", date(self.clock.now().wall, self.granularity), name(severity))
    }
}

impl Sink {
    fn wants(&self, severity: Severity) -> bool {
        (self.severities.0..=self.severities.1).contains(&severity)
    }

    /// Nothing is done about a log that cannot be written to: there is nobody to tell.
    fn write(&mut self, line: &str) {
        let _ = match &self.status {
            Some(status) => write!(self.out, "{WIPE}{line}{status}"),
            None => self.out.write_all(line.as_bytes()),
        };
        let _ = self.out.flush();
    }

    fn draw(&mut self, status: String) {
        let _ = write!(self.out, "{WIPE}{status}");
        let _ = self.out.flush();
        self.status = Some(status);
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
            severities: (Severity::Notice, Severity::Err),
            out: Box::new(paper.clone()),
            is_console: is_terminal,
            is_terminal,
            status: None,
        };
        let sinks = RefCell::new(vec![sink]);
        (Logger { clock: SystemClock::start(), granularity: Duration::from_secs(1), is_safe, sinks }, paper)
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
        logger.info(format_args!("a"));
        logger.notice(format_args!("b"));
        logger.warn(format_args!("c {}", 1));
        logger.err(format_args!("d"));
        assert_eq!(paper.text(), "[notice] b\n[warn] c 1\n[err] d\n");
    }

    #[test]
    fn places_show_only_where_safe_logging_is_off() {
        let place = Sensitive::new("example.com:443");
        for (is_safe, expected) in [(true, "[warn] [scrubbed]\n"), (false, "[warn] example.com:443\n")] {
            let (logger, paper) = logger(is_safe, false);
            logger.warn(format_args!("{}", logger.show(&place)));
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
        terminal.progress(Progress::LoadingDescriptors);
        terminal.notice(format_args!("a line"));
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

    #[test]
    fn a_file_is_added_to_and_one_that_cannot_be_opened_is_named() {
        let scratch = Scratch::new("log");
        let path = scratch.0.join("notices");
        let line = |path: &std::path::Path| format!("Log notice file {}\n", path.display());
        let config = |text: &str| {
            let mut settings = config::Settings::new();
            settings.add_text("torrc", text).unwrap();
            config::Config::of(&settings).unwrap().0
        };
        for word in ["one", "two"] {
            let logger = Logger::open(&config(&line(&path)), SystemClock::start()).ok().unwrap();
            logger.notice(format_args!("{word}"));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("[notice] one\n") && text.ends_with("[notice] two\n"));
        let nowhere = scratch.0.join("a/b");
        let unopened = Logger::open(&config(&line(&nowhere)), SystemClock::start()).err().unwrap();
        assert_eq!(unopened.path, nowhere.display().to_string());
    }
}
