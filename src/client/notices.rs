//! What a user must know of this machine or of this program, in words for people.
//!
//! Says what was found; what follows from it is decided where it was found. Called by
//! `bootstrap.rs` and `mod.rs`; the shell writes it down. Spec: tor-spec, "NETINFO cells", for
//! clocks; dir-spec, "Required and recommended protocols". C tor: `clock_skew_warning`,
//! `handle_missing_protocol_warning_impl`.

use core::fmt;
use core::time::Duration;

use super::silence::Jump;
use crate::directory;
use crate::link::handshake::ClockSkew;
use crate::path::bias::{Alarm, Aspect, Level};
use crate::path::rules::Place;
use crate::wire::protover::Protocols;

/// A clock may be wrong by so much before anybody is told. C tor: `NETINFO_NOTICE_SKEW`.
pub const TOLERATED: Duration = Duration::from_secs(3600);
/// What is spoken here, as far as clients of the consensus may be required to.
pub const SPOKEN: &str = "Cons=2 Desc=2 DirCache=2 FlowCtrl=1 Link=4-5 LinkAuth=3 Microdesc=2-3 Relay=2-4";

/// Something that a user must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The clock is wrong, as far as that source can be believed.
    Clock(ClockSkew, Source),
    /// These protocols are asked of all clients, and not spoken here: nothing can be done any
    /// more.
    TooOld(Protocols),
    /// These are what clients should speak by now.
    Old(Protocols),
    /// So many directories in a row could not be asked.
    Unreachable(u32),
    /// The wall clock did, and connections may be dead.
    Jumped(Jump),
    /// A guard fares badly, and may be doing so on purpose.
    Guard(Alarm),
    /// The user's lists leave out that part of all guards, in percent.
    StandsOut(usize),
    /// They leave nobody who may stand there.
    Nobody(Place),
    /// They leave nobody who can be asked for the first consensus.
    NobodyToAsk,
    /// What a directory answered was dropped for this; another is asked.
    Answer(directory::Error),
}

/// Who says what time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory that is trusted, when a link to it was opened.
    Directory,
    /// The authorities together, by the dates of a consensus.
    Consensus,
}

impl Notice {
    /// Whether both are about the same.
    pub fn is_kindred(&self, other: &Notice) -> bool {
        match (self, other) {
            (Notice::Clock(_, by), Notice::Clock(_, from)) => by == from,
            (Notice::TooOld(_), Notice::TooOld(_))
            | (Notice::Old(_), Notice::Old(_))
            | (Notice::StandsOut(_), Notice::StandsOut(_))
            | (Notice::Unreachable(_), Notice::Unreachable(_)) => true,
            _ => false,
        }
    }

    /// Whether both would tell a user the same.
    pub fn is_alike(&self, other: &Notice) -> bool {
        match (self, other) {
            (Notice::Clock(a, _), Notice::Clock(b, _)) => a.magnitude().abs_diff(b.magnitude()) < TOLERATED,
            (a, b) => a == b,
        }
    }

    /// Whether it is for whoever looks closely: nothing is wrong here, and nothing is to be done.
    pub fn is_minor(&self) -> bool {
        matches!(self, Notice::Answer(_))
    }

    /// Whether the program has to end.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Notice::TooOld(_))
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Clock(skew, source) => {
                let way = match skew {
                    ClockSkew::Ahead(_) => "ahead of",
                    ClockSkew::Behind(_) => "behind",
                };
                let source = match source {
                    Source::Directory => "that of the directory we asked",
                    Source::Consensus => "the dates of the newest consensus",
                };
                write!(
                    f,
                    "Our clock is {} {way} {source}. Tor requires an accurate clock to work: please check your \
                     time, timezone, and date settings.",
                    Spell(skew.magnitude())
                )
            }
            Notice::TooOld(missing) => write!(
                f,
                "This version of cepa is too old for the network, which requires of all clients: {missing}. Please \
                 get a newer one."
            ),
            Notice::Jumped(jump) => {
                let (by, way) = match jump {
                    Jump::Ahead(by) => (by, "forward"),
                    Jump::Back(by) => (by, "back"),
                };
                write!(
                    f,
                    "The clock just jumped {way} by {}: connections that do not answer any more are left.",
                    Spell(*by)
                )
            }
            Notice::Unreachable(count) => write!(
                f,
                "Problem bootstrapping: {count} attempts in a row to reach a directory have failed. Is there a network? \
                 It is tried again and again."
            ),
            Notice::Guard(Alarm { guard, level, aspect }) => {
                let what = match aspect {
                    Aspect::Circuits => "circuits",
                    Aspect::Uses => "streams",
                };
                let end = match level {
                    Level::Notice => "than usual. This may be its load, or the network",
                    Level::Warn => "than it should. This may be its load, or an attack on you",
                    Level::Extreme => "than any should. This may be an attack on you",
                    Level::Dropped => "than any should, and is not used any more",
                };
                write!(f, "The guard {guard} fails at more {what} {end}.")
            }
            Notice::StandsOut(percent) => write!(
                f,
                "Your options leave out {percent} % of all possible guards. That is likely to make you stand out from \
                 the rest of the world."
            ),
            Notice::Nobody(place) => {
                let (option, what) = match place {
                    Place::Guard => ("EntryNodes", "begin"),
                    Place::Exit => ("ExitNodes", "end"),
                    Place::Middle | Place::Inner => ("MiddleNodes", "go on"),
                };
                write!(
                    f,
                    "Of all relays that are running, {option} and those that are excluded leave none: no circuit can {what}."
                )
            }
            Notice::NobodyToAsk => {
                f.write_str("All directories are excluded, and StrictNodes is set: nobody can be asked for anything.")
            }
            Notice::Answer(error) => write!(f, "What a directory answered was dropped: {error:?}."),
            Notice::Old(missing) => {
                write!(f, "The network recommends to all clients what cepa does not speak yet: {missing}.")
            }
        }
    }
}

/// A length of time in its two largest units.
struct Spell(Duration);

impl fmt::Display for Spell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let parts = [
            (seconds / 86_400, "day"),
            (seconds / 3600 % 24, "hour"),
            (seconds / 60 % 60, "minute"),
            (seconds % 60, "second"),
        ];
        let said = parts.iter().skip_while(|(count, _)| *count == 0).take(2).filter(|(count, _)| *count > 0);
        let mut comma = "";
        for (count, unit) in said {
            write!(f, "{comma}{count} {unit}{}", if *count == 1 { "" } else { "s" })?;
            comma = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_in_their_units() {
        for (seconds, said) in [
            (7200, "2 hours"),
            (3 * 86_400 + 7300, "3 days, 2 hours"),
            (3661, "1 hour, 1 minute"),
            (86_401, "1 day"),
            (61, "1 minute, 1 second"),
        ] {
            assert_eq!(Spell(Duration::from_secs(seconds)).to_string(), said);
        }
        let notice = Notice::Clock(ClockSkew::Behind(Duration::from_secs(7200)), Source::Directory).to_string();
        assert!(notice.starts_with("Our clock is 2 hours behind that of the directory we asked. Tor requires"));
    }

    #[test]
    fn what_is_spoken_here_is_what_the_network_requires_today() {
        let spoken = Protocols::parse(SPOKEN).unwrap();
        let live = Protocols::parse("Cons=2 Desc=2 FlowCtrl=1 Link=4 Microdesc=2 Relay=2").unwrap();
        assert!(spoken.missing(&live).is_empty() && !spoken.names_unknown());
    }
}
