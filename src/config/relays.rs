//! Lists of relays: by name, fingerprint, address and country.
//!
//! Reads what a line says and answers whether a relay is meant; who the relay is comes from
//! outside. Called by `mod.rs`; asked by `client/wishes.rs`. Spec: tor(1), "NODE SELECTION
//! OPTIONS". C tor: feature/nodelist/routerset.c.
//! Differs: a pattern of IPv6 addresses fits relays that have one; to C tor, which looks at their
//! IPv4 addresses only, it fits none.

use core::net::SocketAddr;
use std::collections::BTreeSet;

use super::forms::{FINGERPRINT_LEN, is_nickname};
use super::policy::Policy;
use super::values::{Wanted, list};
use super::{Complaint, Reader};
use crate::base::country::Country;
use crate::base::{RsaId, text};

/// The most names, fingerprints and countries of one list; ours, for a bound. Addresses have that of
/// a policy.
const MAX_ITEMS: usize = 16_384;

const WANTED: Wanted = Wanted::Other("names, fingerprints, {COUNTRIES} or addresses of relays between commas");

/// Relays that somebody named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relays {
    /// Without regard to case.
    names: BTreeSet<String>,
    ids: BTreeSet<RsaId>,
    /// It refuses those that are meant.
    places: Policy,
    countries: BTreeSet<Country>,
}

/// A relay, as far as lists name it.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Its fingerprint.
    pub id: RsaId,
    /// What its operator calls it; nothing if that is not known.
    pub name: Option<&'a str>,
    /// Its addresses.
    pub addresses: [Option<SocketAddr>; 2],
    /// Where it is; nothing as long as nobody has looked.
    pub country: Option<Country>,
}

impl Relays {
    /// Nobody.
    pub const NONE: Relays =
        Relays { names: BTreeSet::new(), ids: BTreeSet::new(), places: Policy::ALL, countries: BTreeSet::new() };

    /// Adds what one line says.
    pub fn add(&mut self, line: &str) -> Result<(), Wanted> {
        for item in list(line) {
            if self.names.len() + self.ids.len() + self.countries.len() >= MAX_ITEMS {
                return Err(Wanted::Other("fewer relays"));
            }
            if let Some(id) = fingerprint(item) {
                self.ids.insert(id);
            } else if is_nickname(item) {
                self.names.insert(item.to_ascii_lowercase());
            } else if let Some(code) = item.strip_prefix('{').and_then(|item| item.strip_suffix('}')) {
                self.countries.insert(Country::parse(code).ok_or(WANTED)?);
            } else if item.contains(['.', ':', '*']) {
                self.places.add_exceptions(item).map_err(|_| WANTED)?;
            } else {
                return Err(WANTED);
            }
        }
        Ok(())
    }

    /// Adds all relays of a country.
    pub fn add_country(&mut self, country: Country) {
        self.countries.insert(country);
    }

    /// Whether it names nobody.
    pub fn is_empty(&self) -> bool {
        *self == Relays::NONE
    }

    /// The countries that it names.
    pub fn countries(&self) -> impl Iterator<Item = Country> + '_ {
        self.countries.iter().copied()
    }

    /// Whether it names any.
    pub fn has_countries(&self) -> bool {
        !self.countries.is_empty()
    }

    /// Whether a relay is named; nothing if only its country could say so, and that is not known.
    pub fn contain(&self, relay: &Named<'_>) -> Option<bool> {
        let is_placed = || relay.addresses.iter().flatten().any(|at| !self.places.accepts(at.ip(), at.port()));
        let is_called = || relay.name.is_some_and(|name| self.names.contains(&name.to_ascii_lowercase()));
        if self.ids.contains(&relay.id) || (!self.names.is_empty() && is_called()) || is_placed() {
            return Some(true);
        }
        match relay.country {
            _ if self.countries.is_empty() => Some(false),
            Some(country) => Some(self.countries.contains(&country)),
            None => None,
        }
    }
}

/// Whom the user lets stand where. A list of those wanted that is empty wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// `ExcludeNodes`.
    pub excluded: Relays,
    /// `ExcludeExitNodes`.
    pub excluded_exits: Relays,
    /// `EntryNodes`.
    pub entries: Relays,
    /// `MiddleNodes`.
    pub middles: Relays,
    /// `ExitNodes`.
    pub exits: Relays,
    /// `StrictNodes`: those excluded are not used even where nothing works without them.
    pub is_strict: bool,
    /// `NodeFamily`: of each, no two are in one circuit.
    pub families: Vec<Relays>,
}

impl Nodes {
    /// Nobody is excluded, and all are wanted.
    pub const ALL: Nodes = Nodes {
        excluded: Relays::NONE,
        excluded_exits: Relays::NONE,
        entries: Relays::NONE,
        middles: Relays::NONE,
        exits: Relays::NONE,
        is_strict: false,
        families: Vec::new(),
    };

    /// All lists there are.
    pub fn lists(&self) -> impl Iterator<Item = &Relays> {
        let Nodes { excluded, excluded_exits, entries, middles, exits, is_strict: _, families } = self;
        [excluded, excluded_exits, entries, middles, exits].into_iter().chain(families)
    }
}

impl Reader<'_> {
    /// The lists of the options.
    pub(super) fn nodes(&mut self) -> Result<Nodes, Complaint> {
        let families = "NodeFamily";
        let given = self.settings.given(families);
        let family = |line: &str| {
            let mut relays = Relays::default();
            relays.add(line).map(|()| relays)
        };
        Ok(Nodes {
            excluded: self.relays("ExcludeNodes")?,
            excluded_exits: self.relays("ExcludeExitNodes")?,
            entries: self.relays("EntryNodes")?,
            middles: self.relays("MiddleNodes")?,
            exits: self.relays("ExitNodes")?,
            is_strict: self.truth("StrictNodes")?,
            families: given
                .iter()
                .map(|given| self.check(families, given, family(&given.value)))
                .collect::<Result<_, _>>()?,
        })
    }

    fn relays(&self, name: &'static str) -> Result<Relays, Complaint> {
        let mut relays = Relays::default();
        for given in self.settings.given(name) {
            let added = relays.add(&given.value);
            self.check(name, given, added)?;
        }
        Ok(relays)
    }
}

/// 40 digits, with a `$` before them or not, and perhaps a name behind them that says nothing.
pub fn fingerprint(item: &str) -> Option<RsaId> {
    let digits = item.strip_prefix('$').unwrap_or(item);
    let (digits, name) = digits.split_at_checked(FINGERPRINT_LEN)?;
    let is_named = name.is_empty() || name.strip_prefix(['=', '~']).is_some_and(is_nickname);
    let id = text::from_hex(digits).ok().filter(|_| is_named)?;
    Some(RsaId(id.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn relays(text: &str) -> Relays {
        let mut relays = Relays::default();
        relays.add(text).unwrap();
        relays
    }

    fn named(name: &str, id: u8, address: &str, country: &str) -> (RsaId, String, SocketAddr, Option<Country>) {
        (RsaId([id; 20]), name.to_owned(), address.parse().unwrap(), Country::parse(country))
    }

    #[test]
    fn relays_are_named_in_four_ways() {
        let alice = named("Alice", 0xAA, "192.0.2.1:9001", "de");
        let bob = named("bob", 0xBB, "[2001:db8::7]:443", "");
        let id = "AA".repeat(20);
        for (text, is_alice, is_bob) in [
            ("", Some(false), Some(false)),
            ("alice, carol", Some(true), Some(false)),
            ("BOB", Some(false), Some(true)),
            (&format!("${id}"), Some(true), Some(false)),
            (&format!("{}~carol", id.to_lowercase()), Some(true), Some(false)),
            ("{DE}", Some(true), None),
            ("{fr},bob", Some(false), Some(true)),
            ("{??}", Some(false), None),
            ("192.0.2.0/24", Some(true), Some(false)),
            ("192.0.2.0/24:1-9000", Some(false), Some(false)),
            ("accept 192.0.2.1, *4", Some(false), Some(false)),
            ("[2001:db8::]/32:443", Some(false), Some(true)),
            ("*:443", Some(false), Some(true)),
        ] {
            let contain = |(id, name, address, country): &(RsaId, String, SocketAddr, Option<Country>)| {
                let addresses = [Some(*address), None];
                relays(text).contain(&Named { id: *id, name: Some(name), addresses, country: *country })
            };
            assert_eq!((contain(&alice), contain(&bob)), (is_alice, is_bob), "{text}");
        }
    }

    /// After `test_rset_parse` and its neighbours in C tor's src/test/test_routerset.c.
    #[test]
    fn what_names_nobody_is_refused() {
        let id = "0123456789ABCDEF0123456789abcdef01234567";
        for good in [id, &format!("{id}=name"), "a, b,", "", "{A1}", "accept *:80", "192.0.2.0/24:80-90"] {
            assert_eq!(Relays::default().add(good), Ok(()), "{good}");
        }
        for bad in [&format!("{id}-name"), &format!("{id}="), "abcdefghijklmnopqrst", "a b"] {
            assert!(Relays::default().add(bad).is_err(), "{bad}");
        }
        for bad in ["a-b", "{deu}", "{d}", "{de", "1.2.3", "$AA", "$alice", "*x", "a.b"] {
            assert!(Relays::default().add(bad).is_err(), "{bad}");
        }
        let many: Vec<String> = (0..=MAX_ITEMS).map(|number| format!("r{number}")).collect();
        assert_eq!(Relays::default().add(&many.join(",")), Err(Wanted::Other("fewer relays")));
    }

    proptest! {
        #[test]
        fn no_list_panics(text in ".*|[${}a-fA-F0-9.:/*, ]{0,90}") {
            let mut relays = Relays::default();
            let is_fine = relays.add(&text).is_ok();
            prop_assert!(is_fine || !text.trim().is_empty());
        }
    }
}
