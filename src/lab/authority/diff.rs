//! The difference between two consensuses, as commands of the editor `ed`.
//!
//! Not a general diff: relays are matched by identity, and only the lines of a relay that
//! is in both are compared, so that the time grows with the documents and no faster.
//! Called by `cache`. Spec: dir-spec, "Consensus diffs"; proposal 140.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::base::text;
use crate::crypto::kdf;

/// Where the part that signatures cover ends.
const SIGNATURE: &str = "directory-signature ";

/// The part of a consensus that its signatures cover.
pub fn signed_part(consensus: &str) -> &str {
    let line = format!("\n{SIGNATURE}");
    let end = consensus.find(&line).map_or(consensus.len(), |at| at + line.len());
    consensus.get(..end).unwrap_or(consensus)
}

/// What a diff, and whoever asks for one, calls a consensus: SHA3-256 of its signed part.
pub fn digest(consensus: &str) -> [u8; 32] {
    kdf::sha3_256(&[signed_part(consensus).as_bytes()])
}

/// The diff that makes `new` of `old`.
pub fn write(old: &str, new: &str) -> String {
    let to = kdf::sha3_256(&[new.as_bytes()]);
    let mut out = String::with_capacity(new.len() / 4);
    out.push_str("network-status-diff-version 1\n");
    let _ = writeln!(out, "hash {} {}", text::hex(&digest(old)), text::hex(&to));
    let (old, new) = (Document::of(old), Document::of(new));
    // Everyone's signatures change, so they go as one, and first.
    let _ = writeln!(out, "{},$d", old.body.len() + 1);
    let mut hunks = Hunks::default();
    hunks.body(&old.body, &new.body);
    hunks.add(old.body.len()..old.body.len(), new.signatures);
    for hunk in hunks.0.iter().rev() {
        hunk.write(&mut out);
    }
    out
}

/// A consensus as lines.
struct Document<'a> {
    body: Vec<&'a str>,
    signatures: Vec<&'a str>,
}

impl<'a> Document<'a> {
    fn of(text: &'a str) -> Self {
        let mut body: Vec<&str> = text.lines().collect();
        let at = body.iter().position(|line| line.starts_with(SIGNATURE)).unwrap_or(body.len());
        let signatures = body.split_off(at);
        Document { body, signatures }
    }
}

/// Lines of the old document, counted from 0, and what comes in their place.
struct Hunk<'a> {
    old: core::ops::Range<usize>,
    new: Vec<&'a str>,
}

impl Hunk<'_> {
    fn write(&self, out: &mut String) {
        let (first, last) = (self.old.start + 1, self.old.end);
        let command = match (self.old.is_empty(), self.new.is_empty()) {
            (true, _) => 'a',
            (false, true) => 'd',
            (false, false) => 'c',
        };
        let _ = match first.cmp(&last) {
            // Nothing goes: the new lines come after the line before.
            core::cmp::Ordering::Greater => writeln!(out, "{last}a"),
            core::cmp::Ordering::Equal => writeln!(out, "{first}{command}"),
            core::cmp::Ordering::Less => writeln!(out, "{first},{last}{command}"),
        };
        for line in &self.new {
            out.push_str(line);
            out.push('\n');
        }
        if command != 'd' {
            out.push_str(".\n");
        }
    }
}

/// Hunks in the order of the document; those that touch are one.
#[derive(Default)]
struct Hunks<'a>(Vec<Hunk<'a>>);

impl<'a> Hunks<'a> {
    fn add(&mut self, old: core::ops::Range<usize>, new: Vec<&'a str>) {
        if old.is_empty() && new.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.old.end == old.start => {
                last.old.end = old.end;
                last.new.extend(new);
            }
            _ => self.0.push(Hunk { old, new }),
        }
    }

    /// All but the signatures.
    fn body(&mut self, old: &[&'a str], new: &[&'a str]) {
        let (old, new) = (blocks(old), blocks(new));
        let (in_old, in_new): (BTreeSet<_>, BTreeSet<_>) =
            (old.iter().map(Block::key).collect(), new.iter().map(Block::key).collect());
        let (mut before, mut after) = (old.iter().peekable(), new.iter().peekable());
        let mut line = 0;
        loop {
            let goes = match (before.peek(), after.peek()) {
                (None, None) => return,
                (Some(was), Some(is)) if was.key() == is.key() => {
                    self.block(line, was.0, is.0);
                    line += was.0.len();
                    before.next();
                    after.next();
                    continue;
                }
                (Some(was), Some(is)) => !in_new.contains(&was.key()) || in_old.contains(&is.key()),
                (was, _) => was.is_some(),
            };
            if goes && let Some(was) = before.next() {
                self.add(line..line + was.0.len(), Vec::new());
                line += was.0.len();
            } else if let Some(is) = after.next() {
                self.add(line..line, is.0.to_vec());
            }
        }
    }

    /// The lines of one relay, or of the head, that begin at `line`.
    fn block(&mut self, line: usize, old: &[&'a str], new: &[&'a str]) {
        if old.len() == new.len() {
            for (number, (_, is)) in (line..).zip(old.iter().zip(new)).filter(|(_, (was, is))| was != is) {
                self.add(number..number + 1, vec![is]);
            }
            return;
        }
        let front = old.iter().zip(new).take_while(|(was, is)| was == is).count();
        let (old, new) = (old.get(front..).unwrap_or_default(), new.get(front..).unwrap_or_default());
        let back = old.iter().rev().zip(new.iter().rev()).take_while(|(was, is)| was == is).count();
        let end = line + front + old.len() - back;
        self.add(line + front..end, new.get(..new.len() - back).unwrap_or_default().to_vec());
    }
}

/// The lines of a relay, or the head before them all, or the foot after.
struct Block<'b, 'a>(&'b [&'a str]);

impl<'a> Block<'_, 'a> {
    /// Which block it is: a relay's identity if its line has one.
    fn key(&self) -> &'a str {
        let first = self.0.first().copied().unwrap_or_default();
        if !first.starts_with("r ") {
            return first;
        }
        first.split(' ').nth(2).unwrap_or(first)
    }
}

fn blocks<'b, 'a>(lines: &'b [&'a str]) -> Vec<Block<'b, 'a>> {
    let begins = |line: &&str| line.starts_with("r ") || *line == "directory-footer";
    let mut rest = lines;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().skip(1).position(begins).map_or(rest.len(), |at| at + 1);
        let (block, after) = rest.split_at(end);
        found.push(Block(block));
        rest = after;
    }
    found
}

#[cfg(test)]
pub(crate) mod tests;
