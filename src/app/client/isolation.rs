//! Whose streams may share a circuit, as a program says it.
//!
//! Only the words: they become the credentials and the flags that a SOCKS port has, and what
//! follows from those is `client/isolation.rs`'s. Called by `mod.rs` and `engine.rs`. Spec:
//! proposal 171, "Separate streams across circuits by connection metadata".

use core::fmt;

use crate::app::runtime::SystemEntropy;
use crate::base::random::array;
use crate::config::port::{self, Flags};
use crate::proxy::Credentials;

/// A secret that only one party of the program's has: streams of the same token may share a
/// circuit, and those of different ones never do.
///
/// No two are equal but copies of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IsolationToken([u8; 16]);

impl IsolationToken {
    /// One that nobody else has.
    #[allow(clippy::new_without_default, reason = "a default that is new each time surprises")]
    pub fn new() -> IsolationToken {
        IsolationToken(array(&mut SystemEntropy))
    }
}

/// Shows nothing: who has it can be told from who has another.
impl fmt::Debug for IsolationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IsolationToken")
    }
}

/// What streams must have in common to share a circuit.
///
/// The default is one for all streams of the client that have no token. Streams of ports never
/// share one with any of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Isolation {
    token: Option<IsolationToken>,
    is_by_host: bool,
    is_by_port: bool,
}

impl Isolation {
    /// With a new token: no stream but those of this value, or of its copies.
    pub fn fresh() -> Isolation {
        IsolationToken::new().into()
    }

    /// Besides, only streams to the same host.
    #[must_use]
    pub fn by_host(self) -> Isolation {
        Isolation { is_by_host: true, ..self }
    }

    /// Besides, only streams to the same port.
    #[must_use]
    pub fn by_port(self) -> Isolation {
        Isolation { is_by_port: true, ..self }
    }

    /// Those of a port's user.
    pub(super) fn credentials(&self) -> Option<Credentials> {
        self.token.map(|token| Credentials { user: token.0.to_vec(), password: Vec::new() })
    }

    /// Those of a port's line.
    pub(super) fn flags(&self) -> Flags {
        let isolation = port::Isolation {
            client_addr: false,
            socks_auth: true,
            client_protocol: false,
            dest_port: self.is_by_port,
            dest_addr: self.is_by_host,
        };
        Flags { isolation, ..Flags::default() }
    }
}

impl From<IsolationToken> for Isolation {
    fn from(token: IsolationToken) -> Self {
        Isolation { token: Some(token), ..Isolation::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_nobody_elses_and_prints_nothing() {
        let (a, b) = (IsolationToken::new(), IsolationToken::new());
        assert!(a != b && Isolation::fresh() != Isolation::fresh());
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
        assert!(Isolation::default().credentials().is_none());
        assert!(Isolation::from(a).credentials() == Isolation::from(a).by_host().credentials());
    }

    #[test]
    fn what_must_be_alike_is_what_was_asked_for() {
        let flags = |isolation: Isolation| isolation.flags().isolation;
        let plain = flags(Isolation::default());
        assert!(plain.socks_auth && !plain.dest_addr && !plain.dest_port);
        assert!(flags(Isolation::fresh().by_host()).dest_addr && flags(Isolation::fresh().by_port()).dest_port);
    }
}
