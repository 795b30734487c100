//! What is wrong with a configuration, and what is odd about one, in words for whoever wrote it.
//!
//! Each names the file, the line, the option and what would be right. Finds nothing itself: the
//! readers beside it do. Made by `mod.rs` and its neighbours; the shell prints them. Spec: none.

use core::fmt;

use super::Origin;
use super::torrc::Fault;
use super::values::Wanted;

/// Why a configuration cannot be had.
#[derive(Clone, Debug, PartialEq)]
pub struct Complaint {
    /// Where.
    pub origin: Origin,
    /// What.
    pub fault: Objection,
}

/// What is wrong at one place.
#[derive(Clone, Debug, PartialEq)]
pub enum Objection {
    /// The line cannot be read.
    Line(Fault),
    /// It includes files, where there are none.
    Include,
    /// There is no such option; perhaps this one was meant.
    Unknown(String, Option<&'static str>),
    /// An option's value is not what it may be.
    Value {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        wanted: Wanted,
    },
    /// An option that may not have this value while there is a network.
    Refused {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// Why not.
        why: &'static str,
    },
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        match &self.fault {
            Objection::Line(fault) => write!(f, "{fault}"),
            Objection::Include => write!(f, "only files of options can include others"),
            Objection::Unknown(name, None) => write!(f, "there is no option {name}"),
            Objection::Unknown(name, Some(like)) => write!(f, "there is no option {name}; did you mean {like}?"),
            Objection::Value { option, value, wanted } => write!(f, "{option} wants {wanted}, not {value:?}"),
            Objection::Refused { option, value, why } => write!(f, "{option} {value:?} is refused: {why}"),
        }
    }
}

/// Something odd that is no reason to stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Warning {
    /// Where.
    pub origin: Origin,
    /// What.
    pub oddity: Oddity,
}

/// What is odd at one place.
#[derive(Clone, Debug, PartialEq)]
pub enum Oddity {
    /// An option that has one value was given another; the later one counts.
    Twice(&'static str),
    /// A flag of a listener that there is not.
    UnknownFlag(&'static str, String),
    /// A flag of a listener that does nothing any more.
    UselessFlag(&'static str, String),
    /// A value below or above what it may be was brought to this.
    Clamped(&'static str, String),
    /// Another name of an option, which is this.
    OtherName(String, &'static str),
    /// An option that changes nothing, and why.
    WithoutEffect(&'static str, &'static str),
    /// An option that would be refused if the network were on, and why.
    KeepsOff(&'static str, &'static str),
    /// What an option says is odd, perhaps only beside what others do.
    Says(&'static str, &'static str),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        match &self.oddity {
            Oddity::Twice(option) => write!(f, "{option} was given twice; this one counts"),
            Oddity::UnknownFlag(option, flag) => write!(f, "{option} has no flag {flag}; it is ignored"),
            Oddity::UselessFlag(option, flag) => write!(f, "the flag {flag} of {option} does nothing any more"),
            Oddity::Clamped(option, to) => write!(f, "{option} is brought to {to}"),
            Oddity::OtherName(name, option) => write!(f, "{name} is called {option} now"),
            Oddity::KeepsOff(option, why) => write!(f, "{option} is refused once DisableNetwork is 0: {why}"),
            Oddity::WithoutEffect(option, why) => write!(f, "{option} has no effect here: {why}"),
            Oddity::Says(option, what) => write!(f, "{option} says {what}"),
        }
    }
}
