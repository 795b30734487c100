//! The option table: every option's name, what its values may be, its default, and what becomes
//! of it here.
//!
//! All of C tor's options are rows of it, whether anything here serves them or not; what has no
//! row is unknown, and refused by name. The rows are in the files beside this one, by subject; a
//! row's first word is its state, so that an option that comes to life changes in one place. Read
//! by `config/mod.rs`, which gives every implemented row its typed place in `Config`, and by
//! `kept.rs`. Spec: tor(1). C tor: `option_vars_` in app/config/config.c and the files
//! `*_options.inc`, for names, types and defaults; app/config/testnet.inc for what
//! `TestingTorNetwork 1` changes.

mod authorities;
mod circuits;
mod directory;
mod kind;
mod names;
mod obsolete;
mod process;
mod programs;
mod reach;
mod relays;
mod services;

pub use kind::{Kind, Value};
pub use names::{ABBREVIATIONS, Abbreviation, DEPRECATED, find, named, named_in_words, nearest, twin};

use super::Settings;

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// As it is written in messages and files; case does not matter when it is read.
    pub name: &'static str,
    /// What a value may be.
    pub kind: Kind,
    /// Its value when nobody gives one; empty if it then has none.
    pub default: &'static str,
    /// Its value when nobody gives one and `TestingTorNetwork` is set.
    pub testing: Option<&'static str>,
    /// What it does, in a line; here, or in C tor if it is not implemented.
    pub help: &'static str,
    /// What becomes of it.
    pub state: State,
}

/// What becomes of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does what it says. A test shows its effect, named as `suite test_name`.
    Implemented(&'static str),
    /// It may be given and changes nothing, which is told with this reason unless it has its
    /// default.
    Kept(&'static str),
    /// It may have its default alone, for this reason, or any value while the network is off.
    Refused(&'static str),
}

impl Entry {
    /// Its value where nobody gives one.
    pub fn usual(&self, is_testing: bool) -> &'static str {
        self.testing.filter(|_| is_testing).unwrap_or(self.default)
    }

    /// Its value, if it has one; of a list, the last line's.
    pub fn value(&self, settings: &Settings, is_testing: bool) -> Option<Value> {
        let given = settings.given(self.name).last().map(|given| given.value.as_str());
        let text = given.unwrap_or(self.usual(is_testing));
        (!text.is_empty()).then(|| self.kind.read(text).ok())?
    }

    /// Whether it has the value that it has where nobody gives one, however that is written.
    pub fn is_usual(&self, settings: &Settings, is_testing: bool) -> bool {
        let usual = match self.usual(is_testing) {
            "" => Some(Value::Off),
            usual => self.kind.read(usual).ok(),
        };
        settings.given(self.name).iter().all(|given| usual.is_some() && self.kind.read(&given.value).ok() == usual)
    }

    const fn testing(self, value: &'static str) -> Entry {
        Entry { testing: Some(value), ..self }
    }
}

/// The rows, by subject.
static TABLES: [&[Entry]; 9] = [
    programs::ENTRIES,
    circuits::ENTRIES,
    reach::ENTRIES,
    directory::ENTRIES,
    process::ENTRIES,
    services::ENTRIES,
    relays::ENTRIES,
    authorities::ENTRIES,
    obsolete::ENTRIES,
];

/// All rows, in no order that means anything.
pub fn rows() -> impl Iterator<Item = &'static Entry> {
    TABLES.into_iter().flatten()
}

/// All rows, in the order of their names.
pub fn table() -> Vec<&'static Entry> {
    let mut table: Vec<_> = rows().collect();
    table.sort_by_cached_key(|entry| entry.name.to_ascii_lowercase());
    table
}

const fn row(name: &'static str, kind: Kind, default: &'static str, help: &'static str, state: State) -> Entry {
    Entry { name, kind, default, testing: None, help, state }
}

/// An option that does what it says, which this test shows.
const fn implemented(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
    test: &'static str,
) -> Entry {
    row(name, kind, default, help, State::Implemented(test))
}

/// An option that changes nothing, for this reason.
const fn kept(name: &'static str, kind: Kind, default: &'static str, help: &'static str, why: &'static str) -> Entry {
    row(name, kind, default, help, State::Kept(why))
}

/// An option that may not be used, for this reason.
const fn refused(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
    why: &'static str,
) -> Entry {
    row(name, kind, default, help, State::Refused(why))
}

/// What C tor has left behind: it takes any value, and does nothing with it.
const fn obsolete(name: &'static str) -> Entry {
    kept(name, Kind::Anything, "", "obsolete", OBSOLETE)
}

/// Why an obsolete option is kept, by which it is told from the others.
const OBSOLETE: &str = "it is obsolete, and does nothing in C tor either";

impl Entry {
    /// Whether C tor has left it behind. Such an option is in no list.
    pub fn is_obsolete(&self) -> bool {
        self.state == State::Kept(OBSOLETE)
    }
}

/// Numbers that C tor keeps in an `int`.
const ANY: Kind = Kind::Number(0, 0x7FFF_FFFF);
/// Sizes. C tor: what does not fit into an `int64_t` is too large.
const SIZE: Kind = Kind::Size(i64::MAX.unsigned_abs());
/// How many bytes a second. C tor: `config_ensure_bandwidth_cap` takes 2 GB for one byte less.
const RATE: Kind = Kind::Size(1 << 31);

#[cfg(test)]
mod tests;
