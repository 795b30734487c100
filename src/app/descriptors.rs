//! How many descriptors the system lets us have: each connection and each file takes one.
//!
//! Raises the limit as far as that goes, and says how far; who gets how many is decided in
//! `program.rs`. Called by `mod.rs` at the start, by `reload.rs` and by `ports.rs`. Spec: none.
//! C tor: `set_max_file_descriptors` in lib/process/restrict.c.

use core::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::logging::Logger;
use crate::config::Domain;

/// The system lets us have fewer than the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFew {
    wanted: u64,
    most: u64,
}

impl fmt::Display for TooFew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooFew { wanted, most } = self;
        write!(f, "ConnLimit {wanted}: the system lets us have {most} descriptors. Please change your ulimit -n.")
    }
}

/// How many we may have now; `None` if there is no limit.
pub fn limit() -> Option<usize> {
    getrlimit(Resource::Nofile).current.map(|most| usize::try_from(most).unwrap_or(usize::MAX))
}

/// Has as many as can be had, of which there must be so many.
pub fn raise(wanted: u64, log: &Logger) -> Result<(), TooFew> {
    let now = getrlimit(Resource::Nofile);
    let Some(raised) = raised(now, wanted)? else { return Ok(()) };
    log.info(
        Domain::Net,
        format_args!("Raising max file descriptors from {} to {}.", words(now.current), words(raised.current)),
    );
    // C tor: goes on with those that there are.
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log.warn(Domain::Config, format_args!("Couldn't set maximum number of file descriptors: {error}"));
    }
    Ok(())
}

/// What a limit is to become, if that is another.
fn raised(now: Rlimit, wanted: u64) -> Result<Option<Rlimit>, TooFew> {
    match now.maximum {
        Some(most) if most < wanted => Err(TooFew { wanted, most }),
        most => Ok((now.current != most).then_some(Rlimit { current: most, ..now })),
    }
}

fn words(limit: Option<u64>) -> String {
    limit.map_or("any number".to_owned(), |limit| limit.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_raised_to_the_most_if_that_is_enough() {
        let limit = |current, maximum| Rlimit { current, maximum };
        for (now, expected) in [
            (limit(Some(256), Some(1000)), Ok(Some(limit(Some(1000), Some(1000))))),
            (limit(Some(256), None), Ok(Some(limit(None, None)))),
            (limit(Some(1000), Some(1000)), Ok(None)),
            (limit(None, None), Ok(None)),
            (limit(Some(256), Some(999)), Err(TooFew { wanted: 1000, most: 999 })),
            (limit(Some(999), Some(999)), Err(TooFew { wanted: 1000, most: 999 })),
        ] {
            assert_eq!(raised(now, 1000), expected, "{now:?}");
        }
    }
}
