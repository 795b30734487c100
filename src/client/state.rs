//! What a client knows from one run to the next: the file `state`, as C tor writes it.
//!
//! Guards, how long circuits take to be built, whether the client sleeps; and every line of
//! another program, which is kept as it is, so that going from one program to the other and
//! back loses nothing. Decides nothing by what it reads (`path` does), and opens no file: it
//! gives text and takes text, and says when it is time to write ([`Schedule`]). Called by
//! `client/mod.rs`. Spec: none; C tor: app/config/statefile.c, doc/state-contents.txt; for how
//! lines are told apart, lib/encoding/confline.c.
//!
//! Differs: C tor puts a file with one bad line aside, and begins anew; here the line goes, and
//! the others stay.

use core::fmt::{self, Write};
use core::time::Duration;
use std::collections::BTreeMap;

use super::files::Name;
use crate::base::time::{Tick, Wall};
use crate::path::guards::sample::{MAX_LINE_LEN, Record};
use crate::path::timeout::Saved;

/// The name of the file.
pub const STATE: Name = "state";
/// How much of the file is read; ours. One of C tor's has some ten kilobytes.
pub const MAX_LEN: usize = 1024 * 1024;

/// How long a change of guards may wait to be written, and with `AvoidDiskWrites`. C tor:
/// `FAST_GUARD_STATE_FLUSH_TIME`, `SLOW_GUARD_STATE_FLUSH_TIME`.
const GUARDS_WAIT: Duration = Duration::from_secs(30);
const GUARDS_WAIT_LONG: Duration = Duration::from_secs(600);
/// After how many circuits their times are written. C tor: `CBT_SAVE_STATE_EVERY`.
const SAVE_EVERY: u32 = 10;
/// How long after a failure it is tried again. C tor: `STATE_WRITE_RETRY_INTERVAL`.
const WRITE_RETRY: Duration = Duration::from_secs(3600);

/// What is wrong with a line, or with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The file is longer than [`MAX_LEN`]; what comes after that is not read.
    FileTooLong,
    /// A line is no text.
    NotText,
    /// A guard's line is longer than any real one.
    LineTooLong,
    /// A line that is known has quotes, or goes on in the next: C tor writes none such.
    LineOdd,
    /// A guard's line does not say who it is, or where.
    GuardMalformed,
    /// What should be a number is none.
    NumberMalformed,
    /// What should be a date is none.
    DateMalformed,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::FileTooLong => "the file is too long, and what comes from here on is not read",
            Fault::NotText => "it is no text",
            Fault::LineTooLong => "it is too long",
            Fault::LineOdd => "it has quotes, or goes on in the next line",
            Fault::GuardMalformed => "it does not say which guard it means",
            Fault::NumberMalformed => "where a number should be there is none",
            Fault::DateMalformed => "where a date should be there is none",
        })
    }
}

/// What outlives a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The program that wrote it.
    pub program: Option<String>,
    /// When it was written. If that is to come, the clock was set back meanwhile.
    pub written: Option<Wall>,
    /// All guards, of every selection, in the order of the file.
    guards: Vec<Record>,
    /// How long circuits took.
    pub build_times: Saved,
    /// Whether the client sleeps for want of a user; nothing if it is to find out.
    pub is_dormant: Option<bool>,
    /// For how long there was no user.
    pub idle_minutes: u32,
    /// What nobody here knows, line by line as it was.
    others: Vec<String>,
}

impl State {
    /// Reads a file. What is wrong is named, with the number of its line, and left out.
    pub fn parse(text: &[u8]) -> (State, Vec<(u32, Fault)>) {
        let mut faults = Vec::new();
        let mut kept = text;
        if text.len() > MAX_LEN {
            faults.push((0, Fault::FileTooLong));
            // A line that is cut is worth nothing.
            let whole = text.iter().take(MAX_LEN).rposition(|&c| c == b'\n').unwrap_or(0);
            kept = text.get(..whole).unwrap_or_default();
        }
        let mut state = State::default();
        for (line, entry) in (Entries { text: kept, at: 0, line: 1 }) {
            let text = core::str::from_utf8(entry).map_err(|_| Fault::NotText);
            if let Err(fault) = text.and_then(|text| state.take(text)) {
                faults.push((line, fault));
            }
        }
        (state, faults)
    }

    /// The guards of a selection, in the order of the file.
    pub fn guards<'a>(&'a self, selection: &'a str) -> impl Iterator<Item = &'a Record> {
        self.guards.iter().filter(move |guard| guard.selection == selection)
    }

    /// Goes on with these guards of a selection, in the order of sampling.
    pub fn set_guards<'a>(&mut self, selection: &str, guards: impl Iterator<Item = &'a Record>) {
        self.guards.retain(|guard| guard.selection != selection);
        self.guards.extend(guards.filter(|guard| guard.selection == selection).cloned());
    }

    /// The text of the file, as written by `program` now.
    pub fn encode(&self, program: &str, now: Wall) -> String {
        let mut out = format!(
            "# Tor state file last generated on {now} UTC\n# Other times below are in UTC\n\
             # You *do not* need to edit this file.\n\n"
        );
        let mut say = |key: &str, value: &dyn fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{key} {value}");
        };
        let Saved { total, abandoned, bins } = &self.build_times;
        // C tor: what is as it would be without a line has none; the others by name.
        if *abandoned > 0 {
            say("CircuitBuildAbandonedCount", abandoned);
        }
        for (middle, count) in bins {
            say("CircuitBuildTimeBin", &format!("{middle} {count}"));
        }
        if let Some(is_dormant) = self.is_dormant {
            say("Dormant", &u8::from(is_dormant));
        }
        let mut places: BTreeMap<&str, u32> = BTreeMap::new();
        for guard in &self.guards {
            let place = places.entry(&guard.selection).or_default();
            say("Guard", &guard.encode(*place));
            *place += 1;
        }
        say("LastWritten", &now);
        if self.idle_minutes > 0 {
            say("MinutesSinceUserActivity", &self.idle_minutes);
        }
        say("TorVersion", &program);
        if *total > 0 {
            say("TotalBuildTimes", total);
        }
        for line in &self.others {
            out.push_str(line);
            out.push('\n');
        }
        out
    }

    /// Takes one entry, which is a line if it does not go on in the next.
    fn take(&mut self, entry: &str) -> Result<(), Fault> {
        if entry.contains('\0') {
            return Err(Fault::NotText);
        }
        let (key, value) = split(entry);
        let is = |name: &str| key.eq_ignore_ascii_case(name);
        let is_known = KEYS.iter().any(|name| is(name));
        if !is_known {
            self.others.push(entry.to_owned());
            return Ok(());
        }
        if is("Guard") && entry.len() > MAX_LINE_LEN {
            return Err(Fault::LineTooLong);
        }
        if value.contains(['"', '\\', '\n']) {
            return Err(Fault::LineOdd);
        }
        if is("Guard") {
            self.guards.push(Record::parse(value).ok_or(Fault::GuardMalformed)?);
        } else if is("CircuitBuildTimeBin") {
            let (middle, count) = value.split_once([' ', '\t']).ok_or(Fault::NumberMalformed)?;
            self.build_times.bins.push((number(middle)?, number(count.trim_matches(BLANKS))?));
        } else if is("CircuitBuildAbandonedCount") {
            self.build_times.abandoned = number(value)?;
        } else if is("TotalBuildTimes") {
            self.build_times.total = number(value)?;
        } else if is("MinutesSinceUserActivity") {
            self.idle_minutes = number(value)?;
        } else if is("Dormant") {
            self.is_dormant = match value {
                "auto" => None,
                value => Some(number(value)? != 0),
            };
        } else if is("LastWritten") {
            let (day, time) = value.split_once(' ').ok_or(Fault::DateMalformed)?;
            self.written = Some(Wall::parse(day, time).ok_or(Fault::DateMalformed)?);
        } else {
            self.program = Some(value.to_owned());
        }
        Ok(())
    }
}

/// The keys that are known. C tor: in letters of either case.
const KEYS: [&str; 8] = [
    "CircuitBuildAbandonedCount",
    "CircuitBuildTimeBin",
    "Dormant",
    "Guard",
    "LastWritten",
    "MinutesSinceUserActivity",
    "TorVersion",
    "TotalBuildTimes",
];

/// What C tor takes for a blank, within a line.
const BLANKS: [char; 5] = [' ', '\t', '\r', '\x0B', '\x0C'];

/// Key and value, without blanks around them, and without a comment.
fn split(entry: &str) -> (&str, &str) {
    let bare = entry.split('#').next().unwrap_or_default().trim_matches(BLANKS);
    let (key, value) = bare.split_once(BLANKS).unwrap_or((bare, ""));
    (key, value.trim_matches(BLANKS))
}

/// A number. C tor: of 31 bits.
fn number(text: &str) -> Result<u32, Fault> {
    let is_number = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let number: Option<i32> = text.parse().ok().filter(|_| is_number);
    number.map(i32::unsigned_abs).ok_or(Fault::NumberMalformed)
}

/// The entries of a file; comments and empty lines aside.
struct Entries<'a> {
    text: &'a [u8],
    at: usize,
    /// The number of the next line.
    line: u32,
}

impl<'a> Entries<'a> {
    /// The next line, without its end.
    fn take_line(&mut self) -> Option<&'a [u8]> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let line = rest.split(|&c| c == b'\n').next()?;
        self.at += line.len() + 1;
        self.line += 1;
        Some(line)
    }
}

/// The number of its first line, and a line with those that it goes on in.
impl<'a> Iterator for Entries<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (number, start) = (self.line, self.at);
            let first = self.take_line()?;
            let front = first.iter().find(|c| !BLANKS.contains(&char::from(**c)));
            if matches!(front, None | Some(b'#')) {
                continue;
            }
            let mut goes_on = first.ends_with(b"\\") && !first.contains(&b'#');
            while goes_on && let Some(next) = self.take_line() {
                // C tor: here a comment goes on in the next line too.
                goes_on = next.ends_with(b"\\") || next.contains(&b'#');
            }
            let entry = self.text.get(start..self.text.len().min(self.at - 1))?;
            return Some((number, entry));
        }
    }
}

/// Collects the file while it is read.
#[derive(Debug, Default)]
pub struct Reader(Vec<u8>);

impl Reader {
    /// The next bytes.
    pub fn push(&mut self, piece: &[u8]) {
        // One more than is read shows that there is more.
        let room = (MAX_LEN + 1).saturating_sub(self.0.len());
        self.0.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }

    /// All came.
    pub fn finish(self) -> (State, Vec<(u32, Fault)>) {
        State::parse(&self.0)
    }
}

/// When the file is to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Schedule {
    /// `AvoidDiskWrites`.
    avoids_writes: bool,
    due: Option<Tick>,
    /// Circuits whose times were learned since.
    built: u32,
}

impl Schedule {
    /// Nothing is to be written.
    pub fn new(avoids_writes: bool) -> Schedule {
        Schedule { avoids_writes, ..Schedule::default() }
    }

    /// The user wants something else.
    pub fn set_avoids_writes(&mut self, avoids_writes: bool) {
        self.avoids_writes = avoids_writes;
    }

    /// Guards have changed.
    pub fn on_guards(&mut self, now: Tick) {
        self.within(if self.avoids_writes { GUARDS_WAIT_LONG } else { GUARDS_WAIT }, now);
    }

    /// A circuit was built, or given up, and its time learned.
    pub fn on_build_time(&mut self, now: Tick) {
        self.built += 1;
        if self.built >= SAVE_EVERY && !self.avoids_writes {
            self.within(Duration::ZERO, now);
        }
    }

    /// It is to be written now: the client ends, or its user wants it so.
    pub fn now(&mut self, now: Tick) {
        self.within(Duration::ZERO, now);
    }

    /// It is written.
    pub fn on_written(&mut self) {
        (self.due, self.built) = (None, 0);
    }

    /// It could not be written.
    pub fn on_failure(&mut self, now: Tick) {
        self.within(WRITE_RETRY, now);
    }

    /// When to write it, if at all.
    pub fn next_deadline(&self) -> Option<Tick> {
        self.due
    }

    fn within(&mut self, wait: Duration, now: Tick) {
        let at = now + wait;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

/// Any bytes as a file: what is written of it must be read as the same, and be written so again.
pub fn fuzz(bytes: &[u8]) {
    let (state, faults) = State::parse(bytes);
    let now = Wall::from_secs(1_800_000_000);
    let text = state.encode("Tor 0.4.9", now);
    let (again, none) = State::parse(text.as_bytes());
    assert_eq!(none, [], "of {faults:?}");
    assert_eq!(again.encode("Tor 0.4.9", now), text);
    assert_eq!((again.others, again.build_times), (state.others, state.build_times));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a C tor wrote it, and with lines of other programs.
    const TEXT: &str = "# Tor state file last generated on 2026-11-21 18:23:07 local time\n\
        # Other times below are in UTC\n# You *do not* need to edit this file.\n\n\
        CircuitBuildAbandonedCount 2\nCircuitBuildTimeBin 125 3\nCircuitBuildTimeBin 335 5\nDormant 0\n\
        Guard in=default rsa_id=706D706B696E736C6964656372756D626D6F736B nickname=Fred \
        sampled_on=2026-11-14T01:00:00 sampled_idx=0 sampled_by=0.4.9.11 listed=1\n\
        Guard in=bridges rsa_id=806D706B696E736C6964656372756D626D6F736B bridge_addr=192.0.2.1:443 \
        sampled_on=2026-11-14T01:00:00 sampled_idx=0 sampled_by=0.4.9.11 listed=1\n\
        Guard in=default rsa_id=906D706B696E736C6964656372756D626D6F736B nickname=Jill \
        sampled_on=2026-11-14T01:00:00 sampled_idx=1 sampled_by=0.4.9.11 listed=1\n\
        LastWritten 2026-11-21 18:23:07\nMinutesSinceUserActivity 7\nTorVersion Tor 0.4.9.11\nTotalBuildTimes 10\n\
        BWHistoryReadInterval 86400\nTransportProxy obfs4 0.0.0.0:4430\nToTheMoon  by \\\n  rocket # or not \\\n ladder\n";

    #[test]
    fn what_a_c_tor_wrote_is_read_and_written_as_it_was() {
        let (state, faults) = State::parse(TEXT.as_bytes());
        assert_eq!(faults, []);
        let now = Wall::parse("2026-11-21", "18:23:07").unwrap();
        assert_eq!((state.program.as_deref(), state.written), (Some("Tor 0.4.9.11"), Some(now)));
        assert_eq!(state.build_times, Saved { total: 10, abandoned: 2, bins: vec![(125, 3), (335, 5)] });
        assert_eq!((state.is_dormant, state.idle_minutes, state.others.len()), (Some(false), 7, 3));
        let names: Vec<_> = state.guards("default").map(|guard| guard.nickname.as_str()).collect();
        assert_eq!(names, ["Fred", "Jill"]);
        let text = state.encode("Tor 0.4.9.11", now);
        let lines = |text: &str| {
            let mut lines: Vec<String> = text.lines().skip(4).map(|line| words(line).join(" ")).collect();
            lines.sort();
            lines
        };
        assert_eq!(lines(&text), lines(TEXT));
        assert!(text.starts_with("# Tor state file last generated on 2026-11-21 18:23:07 UTC\n"));
    }

    /// The parts of a line, whose order is free.
    fn words(line: &str) -> Vec<&str> {
        let mut words: Vec<_> = line.split(' ').collect();
        words.sort_unstable();
        words
    }

    #[test]
    fn a_bad_line_goes_and_the_others_stay() {
        for (line, fault) in [
            ("Guard in=default", Fault::GuardMalformed),
            ("guard in=default rsa_id=706D706B \"x\"", Fault::LineOdd),
            ("Guard in=default \\\n rsa_id=706D", Fault::LineOdd),
            ("TotalBuildTimes -1", Fault::NumberMalformed),
            ("TotalBuildTimes 2147483648", Fault::NumberMalformed),
            ("CircuitBuildTimeBin 5", Fault::NumberMalformed),
            ("CircuitBuildTimeBin 5 x", Fault::NumberMalformed),
            ("CIRCUITBUILDABANDONEDCOUNT", Fault::NumberMalformed),
            ("LastWritten 2026-13-01 00:00:00", Fault::DateMalformed),
            ("LastWritten now", Fault::DateMalformed),
            ("Dormant maybe", Fault::NumberMalformed),
            ("Unheard of\0", Fault::NotText),
        ] {
            let (state, faults) = State::parse(format!("{line}\n{TEXT}").as_bytes());
            assert_eq!(faults, [(1, fault)], "{line}");
            assert_eq!(state, State::parse(TEXT.as_bytes()).0);
        }
        let (state, faults) = State::parse(&[b"Guard \xFF\n", TEXT.as_bytes()].concat());
        assert_eq!((faults, state.guards.len()), (vec![(1, Fault::NotText)], 3));
        let long = format!("Guard in=default x={}\n", "y".repeat(MAX_LINE_LEN));
        assert_eq!(State::parse(long.as_bytes()).1, [(1, Fault::LineTooLong)]);
    }

    #[test]
    fn a_file_is_read_alike_at_every_length_and_to_its_bound() {
        for length in 0..TEXT.len() {
            fuzz(&TEXT.as_bytes()[..length]);
        }
        let mut reader = Reader::default();
        let line = format!("Other {}\n", "x".repeat(993));
        for _ in 0..2000 {
            reader.push(line.as_bytes());
        }
        let (state, faults) = reader.finish();
        assert_eq!(faults, [(0, Fault::FileTooLong)]);
        assert_eq!(state.others.len(), MAX_LEN / 1000);
    }

    #[test]
    fn guards_of_one_selection_are_replaced_and_no_others() {
        let (mut state, _) = State::parse(TEXT.as_bytes());
        let kept: Vec<Record> = state.guards("default").skip(1).cloned().collect();
        state.set_guards("default", kept.iter());
        assert_eq!((state.guards("default").count(), state.guards("bridges").count()), (1, 1));
        let text = state.encode("cepa", Wall::default());
        assert!(text.contains("nickname=Jill sampled_on=2026-11-14T01:00:00 sampled_idx=0 "));
    }

    #[test]
    fn changes_wait_as_c_tors_do() {
        let tick = |secs| Tick::new(Duration::from_secs(secs));
        let due = |avoids_writes, change: fn(&mut Schedule)| {
            let mut schedule = Schedule::new(avoids_writes);
            change(&mut schedule);
            schedule.next_deadline()
        };
        let guards = |schedule: &mut Schedule| schedule.on_guards(Tick::new(Duration::from_secs(5)));
        assert_eq!([false, true].map(|avoids| due(avoids, guards)), [Some(tick(35)), Some(tick(605))]);
        let nine = |schedule: &mut Schedule| (0..9).for_each(|_| schedule.on_build_time(Tick::default()));
        let ten = |schedule: &mut Schedule| (0..10).for_each(|_| schedule.on_build_time(Tick::default()));
        assert_eq!([due(false, nine), due(true, ten), due(false, ten)], [None, None, Some(tick(0))]);
        let mut schedule = Schedule::new(true);
        schedule.on_guards(tick(5));
        schedule.now(tick(6));
        assert_eq!(schedule.next_deadline(), Some(tick(6)));
        schedule.on_written();
        assert_eq!(schedule.next_deadline(), None);
        schedule.on_failure(tick(6));
        schedule.set_avoids_writes(false);
        assert_eq!(schedule.next_deadline(), Some(tick(3606)));
    }
}
