//! Consensus diffs, applied as a stream: the old text comes in pieces out of its file, the
//! new one goes out in pieces, to a parser and to another file.
//!
//! The diff itself is held whole, with its commands parsed and in order, before the first
//! piece. Not a check of the new consensus: its signatures are checked as if it had been
//! fetched whole. Called by whoever asked for a diff. Spec: dir-spec, "Consensus diffs";
//! proposal 140.
//!
//! Heads up: what goes out is good only when [`Patch::finish`] says so, for the digests are
//! known only then.

use super::Error;
use crate::base::text;
use crate::crypto::digest::Sha3;

/// The longest diff; ours. A diff over an hour has some 200 kilobytes, over three days less
/// than a whole consensus has.
pub const MAX_LEN: usize = 8 * 1024 * 1024;
/// The longest line of the head, or command. Chosen by C tor for commands: the room for one.
/// The line with both digests has 134 bytes.
const MAX_COMMAND_LEN: usize = 160;

/// In place of the last line: however many there are.
const ALL_LEFT: usize = usize::MAX - 1;

/// What every diff begins with.
pub const VERSION: &str = "network-status-diff-version 1";

/// One command of the editor `ed`; lines are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Command {
    action: Action,
    /// Where in the diff's text the new lines are.
    lines: core::ops::Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The new lines come after this one, or before all if it is 0.
    Append(usize),
    /// The new lines, if any, come in place of these; the last may be all there are.
    Replace(usize, usize),
}

/// A diff whose commands are in order.
#[derive(Clone, Debug)]
pub struct Diff {
    from: [u8; 32],
    to: [u8; 32],
    /// Descending by line, as they were sent.
    commands: Vec<Command>,
    text: Vec<u8>,
}

impl Diff {
    /// Whether an answer that begins with these bytes is a diff, and no consensus.
    pub fn is_diff(bytes: &[u8]) -> bool {
        bytes.starts_with(VERSION.as_bytes())
    }

    /// Parses a diff, which is all of `text`.
    pub fn parse(text: Vec<u8>) -> Result<Diff, Error> {
        if text.len() > MAX_LEN {
            return Err(Error::DocumentTooLong);
        }
        let mut lines = Lines { text: &text, at: 0 };
        if lines.command()? != Some(VERSION) {
            return Err(Error::UnknownVersion);
        }
        let digests =
            lines.command()?.and_then(|line| line.strip_prefix("hash ")).and_then(|line| line.split_once(' '));
        let (from, to) = digests.ok_or(Error::LineMalformed)?;
        let digest = |hex| text::hex_array(hex).ok_or(Error::LineMalformed);
        let (from, to) = (digest(from)?, digest(to)?);
        let mut commands: Vec<Command> = Vec::new();
        // The first line that is behind all commands so far.
        let mut untouched = usize::MAX;
        while let Some(line) = lines.command()? {
            let (action, takes_lines) = action(line).ok_or(Error::DiffCommandMalformed)?;
            untouched = match action {
                Action::Append(line) if line < untouched => line + 1,
                Action::Replace(first, last) if last < untouched => first,
                _ => return Err(Error::DiffOutOfOrder),
            };
            let lines = if takes_lines { lines.added()? } else { 0..0 };
            commands.push(Command { action, lines });
        }
        Ok(Diff { from, to, commands, text })
    }

    /// SHA3-256 of the signed part of the consensus that it begins with.
    pub fn from(&self) -> &[u8; 32] {
        &self.from
    }

    /// SHA3-256 of all of the consensus that it ends with.
    pub fn to(&self) -> &[u8; 32] {
        &self.to
    }
}

/// Reads a command; and whether lines follow it.
fn action(line: &str) -> Option<(Action, bool)> {
    let (range, command) = line.split_at_checked(line.len().checked_sub(1)?)?;
    let (first, last) = match range.split_once(',') {
        Some((first, "$")) => (number(first)?, None),
        Some((first, last)) => (number(first)?, Some(number(last).filter(|last| Some(*last) > number(first))?)),
        None => (number(range)?, Some(number(range)?)),
    };
    match (command, last) {
        ("a", Some(line)) if !range.contains(',') => Some((Action::Append(line), true)),
        ("c", Some(last)) if first > 0 => Some((Action::Replace(first, last), true)),
        ("d", Some(last)) if first > 0 => Some((Action::Replace(first, last), false)),
        // All that is left, which can be said first only: the number that no line has.
        ("d", None) if first > 0 => Some((Action::Replace(first, ALL_LEFT), false)),
        _ => None,
    }
}

/// A number of a line. It can be no more than there are bytes in a consensus.
fn number(text: &str) -> Option<usize> {
    let is_number = (1..=8).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// A diff, line by line.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// The next line, without its end.
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let line = rest.split(|&c| c == b'\n').next()?;
        self.at += line.len() + 1;
        Some(line)
    }

    fn command(&mut self) -> Result<Option<&'a str>, Error> {
        let Some(line) = self.next() else { return Ok(None) };
        let line =
            Some(line).filter(|line| line.len() <= MAX_COMMAND_LEN).and_then(|line| core::str::from_utf8(line).ok());
        line.map(Some).ok_or(Error::DiffCommandMalformed)
    }

    /// Where the lines are that follow a command, up to the one that ends them.
    fn added(&mut self) -> Result<core::ops::Range<usize>, Error> {
        let start = self.at;
        loop {
            let end = self.at;
            match self.next() {
                Some(b".") if end > start => return Ok(start..end),
                Some(b".") | None => return Err(Error::DiffCommandMalformed),
                Some(_) => {}
            }
        }
    }
}

/// A diff being applied.
pub struct Patch {
    diff: Diff,
    /// Commands that were not carried out yet; they go from the last to the first.
    left: usize,
    /// The number of the line that the next byte is in.
    line: usize,
    at_line_start: bool,
    /// Lines up to this one are left out.
    drop_until: usize,
    /// Whether the line that the next byte is in stays.
    keeps: bool,
    /// Of the old signed part.
    from: SignedPart,
    to: Sha3,
}

impl Patch {
    /// Applies `diff`. Whoever knows the digest of what is there compares it with
    /// [`Diff::from`] first.
    pub fn new(diff: Diff) -> Patch {
        Patch {
            left: diff.commands.len(),
            diff,
            line: 1,
            at_line_start: true,
            drop_until: 0,
            keeps: true,
            from: SignedPart::default(),
            to: Sha3::default(),
        }
    }

    /// Takes the next bytes of the old text, and gives the next of the new to `out`.
    pub fn push(&mut self, old: &[u8], out: &mut impl FnMut(&[u8])) {
        self.from.update(old);
        let (mut start, mut at) = (0, 0);
        while at < old.len() {
            // Only here it can change whether the old text stays.
            if self.at_line_start && (self.has_command() || self.line == self.drop_until + 1) {
                self.give(old.get(start..at), out);
                start = at;
                self.run_commands(out);
                self.keeps = self.line > self.drop_until;
            }
            let rest = old.get(at..).unwrap_or_default();
            let length = rest.iter().position(|&c| c == b'\n');
            self.at_line_start = length.is_some();
            self.line += usize::from(self.at_line_start);
            at += length.map_or(rest.len(), |length| length + 1);
        }
        self.give(old.get(start..), out);
    }

    /// Gives out old text, if it stays.
    fn give(&mut self, bytes: Option<&[u8]>, out: &mut impl FnMut(&[u8])) {
        if let Some(bytes) = bytes.filter(|bytes| self.keeps && !bytes.is_empty()) {
            self.to.update(bytes);
            out(bytes);
        }
    }

    /// The next command to be carried out.
    fn next(&self) -> Option<&Command> {
        self.diff.commands.get(self.left.checked_sub(1)?)
    }

    /// Whether the next command is for the front of this line.
    fn has_command(&self) -> bool {
        self.next().is_some_and(|command| match command.action {
            Action::Append(line) => line + 1 == self.line,
            Action::Replace(first, _) => first == self.line,
        })
    }

    fn run_commands(&mut self, out: &mut impl FnMut(&[u8])) {
        while self.has_command() {
            self.left -= 1;
            let Some(command) = self.diff.commands.get(self.left).cloned() else { return };
            if let Action::Replace(_, last) = command.action {
                self.drop_until = self.drop_until.max(last);
            }
            if let Some(lines) = self.diff.text.get(command.lines) {
                self.to.update(lines);
                out(lines);
            }
        }
    }

    /// The old text is over. If this is an error, what was given out is no consensus.
    pub fn finish(mut self, out: &mut impl FnMut(&[u8])) -> Result<(), Error> {
        self.line += usize::from(!self.at_line_start);
        self.run_commands(out);
        let past_end = self.drop_until >= self.line && self.drop_until != ALL_LEFT;
        if self.left > 0 || past_end {
            return Err(Error::DiffOutOfOrder);
        }
        if self.from.finish() != Some(self.diff.from) {
            return Err(Error::DiffFromOther);
        }
        if self.to.finish() != self.diff.to {
            return Err(Error::DiffToOther);
        }
        Ok(())
    }
}

/// Where the signed part of a consensus ends, and its digest.
#[derive(Default)]
struct SignedPart {
    sha3: Sha3,
    /// How much of [`SIGNATURE`] the last bytes were.
    matched: usize,
    is_over: bool,
}

const SIGNATURE: &[u8] = b"\ndirectory-signature ";

impl SignedPart {
    fn update(&mut self, bytes: &[u8]) {
        if self.is_over {
            return;
        }
        let mut end = bytes.len();
        for (at, &byte) in bytes.iter().enumerate() {
            // The pattern begins with the only newline in it, so a mismatch begins it anew.
            let goes_on = SIGNATURE.get(self.matched) == Some(&byte);
            self.matched = if goes_on { self.matched + 1 } else { usize::from(byte == b'\n') };
            if self.matched == SIGNATURE.len() {
                (self.is_over, end) = (true, at + 1);
                break;
            }
        }
        self.sha3.update(bytes.get(..end).unwrap_or_default());
    }

    fn finish(self) -> Option<[u8; 32]> {
        self.is_over.then(|| self.sha3.finish())
    }
}

/// Any bytes as a diff, over a few lines whole and in pieces: both must give the same, and as
/// much as `ed` would.
pub fn fuzz(bytes: &[u8]) {
    let Ok(diff) = Diff::parse(bytes.to_vec()) else { return };
    let old = "a\nb\nc\nd\ne\n\ndirectory-signature x\ny\n";
    let patched = |step: usize| {
        let mut new = Vec::new();
        let mut patch = Patch::new(diff.clone());
        let mut out = |bytes: &[u8]| new.extend_from_slice(bytes);
        old.as_bytes().chunks(step).for_each(|piece| patch.push(piece, &mut out));
        let done = patch.finish(&mut out);
        (done, new)
    };
    let whole = patched(old.len());
    assert!(whole.1.len() <= old.len() + bytes.len());
    for step in [1, 2, 7] {
        assert_eq!(patched(step), whole);
    }
    if whole.0 != Err(Error::DiffOutOfOrder) {
        assert_eq!(whole.1, edited(old, &diff));
    }
}

/// What `ed` makes of lines, one command after the other.
fn edited(old: &str, diff: &Diff) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = old.as_bytes().split_inclusive(|&c| c == b'\n').collect();
    for command in &diff.commands {
        let new = diff.text.get(command.lines.clone()).unwrap_or_default();
        let range = match command.action {
            Action::Append(line) => line..line,
            Action::Replace(first, last) => first - 1..last.min(lines.len()),
        };
        if range.start <= range.end && range.end <= lines.len() {
            lines.splice(range, (!new.is_empty()).then_some(new));
        }
    }
    lines.concat()
}

#[cfg(test)]
mod tests;
