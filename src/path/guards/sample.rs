//! One guard as it outlives a run: who it is, since when we have it, how it has served.
//!
//! The line of C tor's `state` file, both ways, so that either program can take over the
//! other's guards. What becomes of guards is `guards/mod.rs`, which calls this. Spec:
//! guard-spec, "Guard persistence". C tor: `entry_guard_encode_for_state` and
//! `entry_guard_parse_from_state` in feature/client/entrynodes.c.

use core::fmt::Write;
use core::time::Duration;

use crate::base::random::{self, Entropy};
use crate::base::time::Wall;
use crate::base::{RsaId, text};

/// The guards of ordinary use, as the file calls them.
pub const DEFAULT: &str = "default";
/// Those of somebody who lets us use few of all.
pub const RESTRICTED: &str = "restricted";
/// A guard line that cannot be read is longer than this, or wrong; ours, for a bound.
pub const MAX_LINE_LEN: usize = 4096;
/// What is smaller is not written. C tor's.
const EPSILON: f64 = 1.0e-6;
/// The most a counter of path bias may say. C tor's.
const MOST: f64 = 1.0e9;

/// What is known of a guard across runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// In which selection it is: `default`, `bridges` or `restricted`.
    pub selection: String,
    /// Who it is.
    pub id: RsaId,
    /// What it is called; empty if that is not known.
    pub nickname: String,
    /// Since when it is in the sample, made vague.
    pub sampled_on: Wall,
    /// Its place in the order of sampling, where the file says it.
    pub sampled_index: Option<u32>,
    /// The program that sampled it.
    pub sampled_by: Option<String>,
    /// Since when it is not in the consensus, made vague.
    pub unlisted_since: Option<Wall>,
    /// Whether it was in the last consensus.
    pub is_listed: bool,
    /// Since when it has served, made vague, and in which order.
    pub confirmed: Option<(Wall, u32)>,
    /// How its circuits did.
    pub bias: Bias,
    /// What other programs said of it: kept as it is.
    pub others: Vec<(String, String)>,
}

/// How the circuits over a guard did. Fractions, because they are scaled down with time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bias(pub [f64; BIAS_NAMES.len()]);

/// The names of those counters, in their order.
pub const BIAS_NAMES: [&str; 8] = [
    "pb_use_attempts",
    "pb_use_successes",
    "pb_circ_attempts",
    "pb_circ_successes",
    "pb_successful_circuits_closed",
    "pb_collapsed_circuits",
    "pb_unusable_circuits",
    "pb_timeouts",
];

impl Record {
    /// A guard that was sampled just now.
    pub fn new(selection: &str, id: RsaId, nickname: &str, by: &str, sampled_on: Wall) -> Record {
        Record {
            selection: selection.to_owned(),
            id,
            nickname: nickname.to_owned(),
            sampled_on,
            sampled_index: None,
            sampled_by: Some(by.to_owned()),
            unlisted_since: None,
            is_listed: true,
            confirmed: None,
            bias: Bias::default(),
            others: Vec::new(),
        }
    }

    /// Reads the value of a `Guard` line; `None` if it does not say who it is, or where.
    pub fn parse(line: &str) -> Option<Record> {
        if line.len() > MAX_LINE_LEN {
            return None;
        }
        // A vertical tab at the end of a line is a blank to whoever reads the file.
        let is_blank = |c: char| c.is_ascii_whitespace() || c == '\x0B';
        let pairs: Vec<(&str, &str)> = line.split(is_blank).filter_map(|pair| pair.split_once('=')).collect();
        let get = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let number = |name: &str| get(name).and_then(|value| value.parse().ok());
        let confirmed_index = number("confirmed_idx");
        let mut record = Record {
            selection: get("in")?.to_owned(),
            id: RsaId(text::from_hex(get("rsa_id")?).ok()?.try_into().ok()?),
            nickname: get("nickname").unwrap_or_default().to_owned(),
            sampled_on: get("sampled_on").and_then(date).unwrap_or_default(),
            // C tor: older versions of it wrote no order of sampling.
            sampled_index: number("sampled_idx").or(confirmed_index),
            sampled_by: get("sampled_by").map(str::to_owned),
            unlisted_since: get("unlisted_since").and_then(date),
            is_listed: get("listed").is_some_and(|listed| listed != "0"),
            confirmed: get("confirmed_on").and_then(date).zip(confirmed_index),
            bias: Bias::default(),
            others: Vec::new(),
        };
        for (name, counter) in BIAS_NAMES.iter().zip(&mut record.bias.0) {
            let value = get(name).and_then(|value| value.parse().ok());
            *counter = value.filter(|value| (0.0..=MOST).contains(value)).unwrap_or(0.0);
        }
        let others = pairs.iter().filter(|(key, _)| !is_known(key));
        record.others = others.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Some(record)
    }

    /// The value of its `Guard` line, at this place in the order of sampling.
    pub fn encode(&self, index: u32) -> String {
        let mut out = format!("in={} rsa_id={}", self.selection, text::hex(&self.id.0));
        let mut say = |key: &str, value: &str| {
            out.push(' ');
            out.push_str(key);
            out.push('=');
            out.push_str(value);
        };
        if is_nickname(&self.nickname) {
            say("nickname", &self.nickname);
        }
        say("sampled_on", &stamp(self.sampled_on));
        say("sampled_idx", &index.to_string());
        if let Some(by) = &self.sampled_by {
            say("sampled_by", by);
        }
        if let Some(since) = self.unlisted_since {
            say("unlisted_since", &stamp(since));
        }
        say("listed", if self.is_listed { "1" } else { "0" });
        if let Some((on, index)) = self.confirmed {
            say("confirmed_on", &stamp(on));
            say("confirmed_idx", &index.to_string());
        }
        for (name, counter) in BIAS_NAMES.iter().zip(self.bias.0) {
            if counter >= EPSILON {
                say(name, &format!("{counter:.6}"));
            }
        }
        self.others.iter().for_each(|(key, value)| say(key, value));
        out
    }

    /// Sets dates that lie in the future back, by no more than they would have been made
    /// vague. C tor: `parse_from_state_handle_time`.
    pub fn forget_the_future(&mut self, now: Wall) {
        self.sampled_on = self.sampled_on.min(now);
        self.unlisted_since = self.unlisted_since.map(|since| since.min(now));
        self.confirmed = self.confirmed.map(|(on, index)| (on.min(now), index));
    }
}

/// A date up to so long before another, so that a file does not say exactly when we did what.
pub fn vague(now: Wall, most: Duration, entropy: &mut dyn Entropy) -> Wall {
    let secs = u32::try_from(most.as_secs()).unwrap_or(u32::MAX);
    let back = u64::from(random::below(entropy, secs));
    Wall::from_secs(now.as_secs().saturating_sub(back).max(1))
}

/// One to nineteen letters and digits.
fn is_nickname(text: &str) -> bool {
    (1..=19).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_known(key: &str) -> bool {
    const KEYS: [&str; 10] = [
        "in",
        "rsa_id",
        "nickname",
        "sampled_on",
        "sampled_idx",
        "sampled_by",
        "unlisted_since",
        "listed",
        "confirmed_on",
        "confirmed_idx",
    ];
    KEYS.contains(&key) || BIAS_NAMES.contains(&key)
}

/// `2026-11-21T12:38:00`.
fn date(text: &str) -> Option<Wall> {
    let (day, time) = text.split_once('T')?;
    Wall::parse(day, time)
}

fn stamp(at: Wall) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(out, "{at}");
    out.replace(' ', "T")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;
    use proptest::prelude::*;

    /// C tor's src/test/test_entrynodes.c, `test_entry_guard_parse_from_state_maximal` (and
    /// `..._encode_for_state_maximal`, whose order of keys it is).
    const MAXIMAL: &str = "in=fred rsa_id=706D706B696E736C6964656372756D626D6F736B nickname=Fred \
        sampled_on=2016-11-14T01:00:00 sampled_idx=0 sampled_by=1.2.3 unlisted_since=2016-11-15T02:00:00 listed=0 \
        confirmed_on=2016-11-16T03:00:00 confirmed_idx=4 pb_use_attempts=9.000000 pb_use_successes=8.000000 \
        pb_circ_attempts=10.000000 pb_circ_successes=7.000000 pb_successful_circuits_closed=3.000000 \
        pb_collapsed_circuits=2.000000 pb_unusable_circuits=1.000000 pb_timeouts=6.000000 and=other stuff=too";

    #[test]
    fn a_full_line_reads_and_writes_as_c_tors() {
        let record = Record::parse(MAXIMAL).unwrap();
        assert_eq!(record.nickname, "Fred");
        assert_eq!(record.confirmed.map(|(_, index)| index), Some(4));
        assert_eq!(record.bias.0, [9.0, 8.0, 10.0, 7.0, 3.0, 2.0, 1.0, 6.0]);
        assert_eq!(record.others.len(), 2);
        assert_eq!(record.encode(0), MAXIMAL.replace("        ", ""));
    }

    /// `test_entry_guard_parse_from_state_minimal` and `..._failure`, `..._partial_failure`.
    #[test]
    fn a_line_needs_an_identity_and_a_selection_and_bears_nonsense_elsewhere() {
        let minimal = "in=default_plus rsa_id=596f75206d6179206e656564206120686f626279";
        let record = Record::parse(minimal).unwrap();
        assert_eq!(record.id.0, *b"You may need a hobby");
        assert!(record.nickname.is_empty() && record.confirmed.is_none() && !record.is_listed);
        for bad in [
            "",
            "in=default",
            "rsa_id=596f75206d6179206e656564206120686f626279",
            "in=default rsa_id=596f7520",
            "in=default rsa_id=596f75206d6179206e656564206120686f626zzz",
        ] {
            assert_eq!(Record::parse(bad), None, "{bad}");
        }
        let partial = format!(
            "{minimal} nickname=Stu listed=0 sampled_on=2016-13-01 confirmed_on=pi confirmed_idx=x pb_timeouts=-3 pb_use_attempts=nan"
        );
        let record = Record::parse(&partial).unwrap();
        assert_eq!((record.nickname.as_str(), record.confirmed), ("Stu", None));
        assert_eq!(record.bias, Bias::default());
        assert_eq!(Record::parse(&format!("{minimal} x={}", "y".repeat(MAX_LINE_LEN))), None);
    }

    #[test]
    fn vague_dates_lie_before_and_not_too_far() {
        let (now, most) = (Wall::from_secs(1_800_000_000), Duration::from_secs(86_400));
        let mut entropy = Seeded(5);
        let drawn: Vec<_> = (0..200).map(|_| now.since(vague(now, most, &mut entropy))).collect();
        assert!(drawn.iter().all(|back| *back < most));
        assert!(drawn.iter().any(|back| *back > most / 2) && drawn.iter().any(|back| *back < most / 2));
        assert_eq!(vague(Wall::from_secs(5), most, &mut entropy).as_secs().max(5), 5);
    }

    #[test]
    fn dates_of_the_future_are_today() {
        let now = Wall::from_secs(1_000_000);
        let mut record = Record::parse(MAXIMAL).unwrap();
        record.forget_the_future(now);
        assert_eq!((record.sampled_on, record.unlisted_since, record.confirmed), (now, Some(now), Some((now, 4))));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_again(line in "(in=d rsa_id=596f75206d6179206e656564206120686f626279)?( [a-z_]{1,12}=[!-~]{0,20}){0,8}") {
            if let Some(record) = Record::parse(&line) {
                let again = Record::parse(&record.encode(3)).unwrap();
                prop_assert_eq!(again.encode(3), record.encode(3));
            }
        }
    }
}
