//! What can be wrong, as the program is told that embeds us: the kind, and never where it was to
//! go.
//!
//! From what `proxy` knows of refusals and what `app` knows of starts. Called by `mod.rs`,
//! `builder.rs` and `engine.rs`. Spec: none.

use core::fmt;
use std::io;

use super::Progress;
use crate::app;
use crate::app::disk::Fault;
use crate::config::Complaint;
use crate::proxy::Failure;

/// Why there is no stream, or no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The client has not learned the network yet, or may not connect to it.
    NotBootstrapped,
    /// What was given is no name, no address, or no port.
    BadName,
    /// It is an address of this machine or of a local network, which no exit is asked for.
    Internal,
    /// The options do not allow it.
    Forbidden,
    /// Onion services cannot be reached yet.
    OnionsNotHere,
    /// Nobody knows the name, or nobody does now.
    NotFound,
    /// No exit connects there.
    NoExit,
    /// The server says no.
    Refused,
    /// There is no way to the server.
    Unreachable,
    /// It took too long.
    TimedOut,
    /// Circuits broke, or the exit failed.
    CircuitFailed,
    /// Too much is asked for at once, of the client or of the exit.
    Busy,
    /// The client has ended.
    Ended,
}

impl Error {
    /// What a refusal means to a program; `is_usable` says whether the client has been usable.
    pub(super) fn of(failure: Failure, is_usable: bool) -> Error {
        match failure {
            Failure::Malformed | Failure::NoPort | Failure::BadOnion | Failure::ExitName => Error::BadName,
            Failure::OnionsNotHere => Error::OnionsNotHere,
            Failure::TrafficOff | Failure::Unsafe | Failure::PlaintextPort => Error::Forbidden,
            Failure::Internal | Failure::InternalHasNoName => Error::Internal,
            Failure::NoDirectory => Error::NotBootstrapped,
            Failure::TimedOut if !is_usable => Error::NotBootstrapped,
            Failure::TimedOut | Failure::ExitTimedOut => Error::TimedOut,
            Failure::Unattachable | Failure::ExitPolicy => Error::NoExit,
            Failure::NoMapping
            | Failure::OnionHasNoAddress
            | Failure::NotFound
            | Failure::OtherKind
            | Failure::ResolveFailed => Error::NotFound,
            Failure::Refused => Error::Refused,
            Failure::NoRoute => Error::Unreachable,
            Failure::ResourceLimit => Error::Busy,
            Failure::Misc
            | Failure::Destroyed
            | Failure::Done
            | Failure::Hibernating
            | Failure::ExitInternal
            | Failure::Reset
            | Failure::TorProtocol
            | Failure::NotDirectory => Error::CircuitFailed,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::NotBootstrapped => "the client has not learned the network yet",
            Error::BadName => "there is no such name or address",
            Error::Internal => "addresses of this machine and of local networks are not for exits",
            Error::Forbidden => "the options do not allow it",
            Error::OnionsNotHere => "onion services cannot be reached yet",
            Error::NotFound => "nobody knows the name",
            Error::NoExit => "no exit connects there",
            Error::Refused => "the server refuses connections",
            Error::Unreachable => "there is no way to the server",
            Error::TimedOut => "it took too long",
            Error::CircuitFailed => "circuits to it failed",
            Error::Busy => "too much is asked for at once",
            Error::Ended => "the client has ended",
        })
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::BadName => io::ErrorKind::InvalidInput,
            Error::Internal | Error::Forbidden => io::ErrorKind::PermissionDenied,
            Error::OnionsNotHere => io::ErrorKind::Unsupported,
            Error::NotFound => io::ErrorKind::NotFound,
            Error::Refused => io::ErrorKind::ConnectionRefused,
            Error::NotBootstrapped => io::ErrorKind::NetworkDown,
            Error::NoExit | Error::Unreachable => io::ErrorKind::HostUnreachable,
            Error::TimedOut => io::ErrorKind::TimedOut,
            Error::CircuitFailed | Error::Ended => io::ErrorKind::ConnectionAborted,
            Error::Busy => io::ErrorKind::ResourceBusy,
        };
        io::Error::new(kind, error)
    }
}

/// Why a client cannot begin.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// Something is wrong with its options.
    Options(String),
    /// Another client has the data directory.
    InUse,
    /// A directory of its cannot be used.
    Directory(String),
    /// A port that was asked for cannot be opened.
    Port(String),
    /// A log that was asked for cannot be.
    Log(String),
    /// The system will not have it.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Options(text)
            | StartError::Directory(text)
            | StartError::Port(text)
            | StartError::Log(text) => f.write_str(text),
            StartError::InUse => f.write_str("another program is using the data directory"),
            StartError::System(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::System(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Complaint> for StartError {
    fn from(complaint: Complaint) -> Self {
        StartError::Options(complaint.to_string())
    }
}

impl From<app::Error> for StartError {
    fn from(error: app::Error) -> Self {
        match error {
            app::Error::System(error) => StartError::System(error),
            app::Error::Directory(_, _, Fault::Locked) => StartError::InUse,
            app::Error::Directory(..) => StartError::Directory(error.to_string()),
            app::Error::Port(..) => StartError::Port(error.to_string()),
            app::Error::Log(_) => StartError::Log(error.to_string()),
            error => StartError::Options(error.to_string()),
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        StartError::System(error)
    }
}

/// Why a client is not usable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootstrapError {
    /// The time was over; it may be usable later.
    TimedOut {
        /// How far it has come.
        progress: Progress,
        /// Why its last connection to a relay failed, if one did.
        trouble: Option<&'static str>,
    },
    /// It has ended: because somebody wanted it so, or for that reason.
    Ended(Option<String>),
}

impl fmt::Display for BootstrapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootstrapError::TimedOut { progress, trouble } => {
                write!(f, "the client is not usable in time; it has come to {progress}")?;
                trouble.map_or(Ok(()), |trouble| write!(f, "; the last relay could not be reached: {trouble}"))
            }
            BootstrapError::Ended(None) => write!(f, "{}", Error::Ended),
            BootstrapError::Ended(Some(why)) => write!(f, "{}: {why}", Error::Ended),
        }
    }
}

impl std::error::Error for BootstrapError {}

/// What went wrong at the end, which it is all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShutdownError {
    /// Not all that the next run should know was written.
    NotSaved,
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShutdownError::NotSaved => f.write_str("not all that the next run should know was written"),
        }
    }
}

impl std::error::Error for ShutdownError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_what_they_can_do_something_about() {
        for (failure, is_usable, expected) in [
            (Failure::TimedOut, false, Error::NotBootstrapped),
            (Failure::TimedOut, true, Error::TimedOut),
            (Failure::NoDirectory, true, Error::NotBootstrapped),
            (Failure::OnionsNotHere, true, Error::OnionsNotHere),
            (Failure::Internal, true, Error::Internal),
            (Failure::ExitPolicy, true, Error::NoExit),
            (Failure::Refused, true, Error::Refused),
            (Failure::Destroyed, true, Error::CircuitFailed),
        ] {
            assert_eq!(Error::of(failure, is_usable), expected, "{failure:?}");
        }
        let io = io::Error::from(Error::Refused);
        assert_eq!((io.kind(), io.to_string()), (io::ErrorKind::ConnectionRefused, Error::Refused.to_string()));
    }

    #[test]
    fn a_lock_that_another_has_is_told_from_a_directory_that_is_bad() {
        let of = |fault| StartError::from(app::Error::Directory("DataDirectory", "/x".into(), fault));
        assert!(matches!(of(Fault::Locked), StartError::InUse));
        assert!(matches!(of(Fault::NoDirectory), StartError::Directory(_)));
    }
}
