//! Which streams may share a circuit.
//!
//! A stream says what is known of it ([`Facts`]) and in what all others on its circuit must
//! be like it ([`Fields`]); a circuit collects what its streams are ([`Company`]). Chooses no
//! circuit. Called by `circuits.rs`. Spec: proposal 171, "Separate streams across circuits by
//! connection metadata". C tor: `connection_edge_compatible_with_circuit`.

use core::net::IpAddr;

use crate::config::port::Isolation;

/// What is known of a stream and of who asks for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Facts {
    /// The listener, or the group of listeners that it belongs to.
    pub group: Group,
    /// Whether "new identity" was said since.
    pub epoch: u32,
    /// The language that it was asked in.
    pub protocol: u8,
    /// Who asks.
    pub client: Option<IpAddr>,
    /// The name and the password that were given.
    pub credentials: Option<(Vec<u8>, Vec<u8>)>,
    /// Where to, as it was asked for.
    pub host: String,
    /// Which port there.
    pub port: u16,
}

/// Shows nothing of it: all of this says where somebody went.
impl core::fmt::Debug for Facts {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Facts")
    }
}

/// Listeners whose streams may meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// This one alone.
    Listener(u32),
    /// All that `SessionGroup` puts together.
    Session(u32),
    /// Those of the program that we are a part of.
    Embedder,
    /// Our own.
    Internal,
}

/// Some of the facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields(u8);

impl Fields {
    const GROUP: u8 = 1;
    const EPOCH: u8 = 2;
    const PROTOCOL: u8 = 4;
    const CLIENT: u8 = 8;
    const CREDENTIALS: u8 = 16;
    const HOST: u8 = 32;
    const PORT: u8 = 64;

    /// What the flags of a listener name; and always the group and the epoch.
    pub fn of(flags: Isolation) -> Fields {
        let bit = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        Fields(
            Fields::GROUP
                | Fields::EPOCH
                | bit(flags.client_protocol, Fields::PROTOCOL)
                | bit(flags.client_addr, Fields::CLIENT)
                | bit(flags.socks_auth, Fields::CREDENTIALS)
                | bit(flags.dest_addr, Fields::HOST)
                | bit(flags.dest_port, Fields::PORT),
        )
    }

    /// Those in which two streams differ.
    fn between(a: &Facts, b: &Facts) -> Fields {
        let bit = |differs: bool, bit: u8| if differs { bit } else { 0 };
        Fields(
            bit(a.group != b.group, Fields::GROUP)
                | bit(a.epoch != b.epoch, Fields::EPOCH)
                | bit(a.protocol != b.protocol, Fields::PROTOCOL)
                | bit(a.client != b.client, Fields::CLIENT)
                | bit(a.credentials != b.credentials, Fields::CREDENTIALS)
                | bit(!a.host.eq_ignore_ascii_case(&b.host), Fields::HOST)
                | bit(a.port != b.port, Fields::PORT),
        )
    }
}

/// The streams that a circuit has had, as far as others must know.
#[derive(Clone, Debug, Default)]
pub struct Company {
    /// The first.
    first: Option<Facts>,
    /// In what others were not like it.
    mixed: Fields,
    /// In what some stream wants all others to be like itself.
    wanted: Fields,
}

impl Company {
    /// Whether there was a stream.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Whether a stream may join: it is like all others in `fields`, and in what they want.
    ///
    /// C tor: only what the new stream wants counts, for all streams of a listener want the
    /// same, and those of different ones never meet. With `SessionGroup` they do; here both
    /// sides count.
    pub fn admits(&self, facts: &Facts, fields: Fields) -> bool {
        let Some(first) = &self.first else { return true };
        let differs = Fields::between(first, facts).0;
        (fields.0 & self.mixed.0) == 0 && (fields.0 & differs) == 0 && (self.wanted.0 & differs) == 0
    }

    /// In how many more fields streams would differ with this one; `None` if it is the first.
    /// C tor: the fewer, the better.
    pub fn cost(&self, facts: &Facts) -> Option<u32> {
        let first = self.first.as_ref()?;
        Some((Fields::between(first, facts).0 & !self.mixed.0).count_ones())
    }

    /// The name and the password of all of them, where all must have the same.
    pub fn credentials(&self) -> Option<&(Vec<u8>, Vec<u8>)> {
        let are_alike = self.wanted.0 & Fields::CREDENTIALS != 0;
        self.first.as_ref().filter(|_| are_alike)?.credentials.as_ref()
    }

    /// A stream joins.
    pub fn join(&mut self, facts: &Facts, fields: Fields) {
        match &self.first {
            Some(first) => self.mixed.0 |= Fields::between(first, facts).0,
            None => self.first = Some(facts.clone()),
        }
        self.wanted.0 |= fields.0;
    }

    /// Nobody came after all.
    pub fn forget(&mut self) {
        *self = Company::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            group: Group::Listener(1),
            epoch: 0,
            protocol: 5,
            client: Some([192, 0, 2, 1].into()),
            credentials: Some((b"user".to_vec(), b"password".to_vec())),
            host: "example.com".to_owned(),
            port: 80,
        }
    }

    /// One that differs in one fact, for each of them, and the flag that minds.
    fn others() -> [(Facts, Isolation); 7] {
        let none = Isolation {
            client_addr: false,
            socks_auth: false,
            client_protocol: false,
            dest_port: false,
            dest_addr: false,
        };
        [
            (Facts { group: Group::Listener(2), ..facts() }, none),
            (Facts { epoch: 1, ..facts() }, none),
            (Facts { protocol: 4, ..facts() }, Isolation { client_protocol: true, ..none }),
            (Facts { client: Some([192, 0, 2, 2].into()), ..facts() }, Isolation { client_addr: true, ..none }),
            (
                Facts { credentials: Some((b"user".to_vec(), b"other".to_vec())), ..facts() },
                Isolation { socks_auth: true, ..none },
            ),
            (Facts { host: "example.org".to_owned(), ..facts() }, Isolation { dest_addr: true, ..none }),
            (Facts { port: 443, ..facts() }, Isolation { dest_port: true, ..none }),
        ]
    }

    #[test]
    fn streams_that_must_be_alike_in_a_fact_do_not_meet_others() {
        let all = others();
        for (number, (other, flags)) in all.iter().enumerate() {
            let mut company = Company::default();
            company.join(&facts(), Fields::of(*flags));
            assert!(company.admits(&facts(), Fields::of(*flags)), "{number}");
            assert!(!company.admits(other, Fields::of(*flags)), "{number}");
            // Nor where only those who were there first mind, or only the one who comes.
            let (_, easy) = &all[0];
            assert!(!company.admits(other, Fields::of(*easy)), "{number}");
            let mut company = Company::default();
            company.join(&facts(), Fields::of(*easy));
            assert!(!company.admits(other, Fields::of(*flags)), "{number}");
            // Two and up are facts that a flag stands for: nobody minds without it.
            assert_eq!(company.admits(other, Fields::of(*easy)), number > 1, "{number}");
        }
    }

    #[test]
    fn a_circuit_that_is_mixed_is_closed_to_those_who_mind() {
        let [.., (other, by_port)] = others();
        let easy = Isolation { dest_port: false, ..by_port };
        let mut company = Company::default();
        assert_eq!((company.is_empty(), company.cost(&facts())), (true, None));
        company.join(&facts(), Fields::of(easy));
        assert_eq!((company.cost(&facts()), company.cost(&other)), (Some(0), Some(1)));
        company.join(&other, Fields::of(easy));
        // Now even one that is like the first has another on it.
        assert!(company.admits(&facts(), Fields::of(easy)) && !company.admits(&facts(), Fields::of(by_port)));
        assert_eq!(company.cost(&other), Some(0));
        company.forget();
        assert!(company.is_empty() && company.admits(&other, Fields::of(by_port)));
    }

    #[test]
    fn names_are_alike_in_any_case() {
        let flags = Isolation { dest_addr: true, ..Isolation::default() };
        let mut company = Company::default();
        company.join(&facts(), Fields::of(flags));
        assert!(company.admits(&Facts { host: "EXAMPLE.com".to_owned(), ..facts() }, Fields::of(flags)));
        assert_eq!(format!("{:?}", facts()), "Facts");
    }
}
