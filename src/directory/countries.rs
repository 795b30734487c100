//! In which country each relay is: a byte, of one [`NetDir`](super::NetDir).
//!
//! What the bytes mean is in a table beside them. Which address is in which country is told from
//! outside; what was told goes on to the next consensus, where most addresses are the same. Called
//! by `mod.rs`. Spec: none. C tor: `node_set_country` in feature/nodelist/nodelist.c.

use core::net::Ipv4Addr;

use crate::base::country::Country;

/// A relay of which nobody has said yet where it is.
const UNTOLD: u8 = 0;

/// The countries of all relays.
#[derive(Clone, Debug, Default)]
pub(super) struct Countries {
    /// What the bytes mean, from 1 on.
    codes: Vec<Country>,
    /// One for each relay; none at all if nobody has asked.
    of: Vec<u8>,
}

impl Countries {
    /// Whether they were asked for.
    pub(super) fn are_told(&self) -> bool {
        !self.of.is_empty()
    }

    /// Where a relay is; nothing if nobody has said it.
    pub(super) fn get(&self, at: usize) -> Option<Country> {
        let place = self.of.get(at).copied().filter(|byte| *byte != UNTOLD)?;
        self.codes.get(usize::from(place) - 1).copied()
    }

    /// Of relays at these addresses, what was found of addresses, ascending by them.
    pub(super) fn of(addresses: impl Iterator<Item = Ipv4Addr>, found: &[(Ipv4Addr, Country)]) -> Countries {
        let mut codes = Vec::new();
        let byte = |address| lookup(found, &address).map_or(UNTOLD, |country| byte(&mut codes, country));
        let of = addresses.map(byte).collect();
        Countries { codes, of }
    }

    /// The same for the relays of another consensus, as far as their addresses are these.
    pub(super) fn moved(
        &self,
        before: impl Iterator<Item = Ipv4Addr>,
        addresses: impl Iterator<Item = Ipv4Addr>,
    ) -> Countries {
        if !self.are_told() {
            return Countries::default();
        }
        let mut known: Vec<(Ipv4Addr, u8)> = before.zip(self.of.iter().copied()).collect();
        known.retain(|(_, byte)| *byte != UNTOLD);
        known.sort_unstable();
        let of = addresses.map(|address| lookup(&known, &address).unwrap_or(UNTOLD)).collect();
        Countries { codes: self.codes.clone(), of }
    }

    /// Bytes of the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.of.capacity() + self.codes.capacity() * size_of::<Country>()
    }
}

/// What a country is called. There are fewer than a byte has values: in a file that has more, what
/// comes later is in none that is known.
fn byte(codes: &mut Vec<Country>, country: Country) -> u8 {
    let is_full = codes.len() + 1 >= usize::from(u8::MAX);
    let known = codes.iter().position(|code| *code == country);
    let country = if is_full && known.is_none() { Country::UNKNOWN } else { country };
    let place = codes.iter().position(|code| *code == country).unwrap_or_else(|| {
        codes.push(country);
        codes.len() - 1
    });
    u8::try_from(place + 1).unwrap_or(UNTOLD)
}

fn lookup<T: Copy>(sorted: &[(Ipv4Addr, T)], address: &Ipv4Addr) -> Option<T> {
    let at = sorted.binary_search_by_key(address, |(address, _)| *address).ok()?;
    sorted.get(at).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(last: &[u8]) -> impl Iterator<Item = Ipv4Addr> {
        last.iter().map(|last| Ipv4Addr::new(192, 0, 2, *last))
    }

    fn said(countries: &Countries, count: usize) -> Vec<Option<String>> {
        (0..count).map(|at| countries.get(at).map(|country| country.to_string())).collect()
    }

    #[test]
    fn what_was_told_goes_on_with_the_addresses() {
        let nothing = Countries::default();
        assert!(!nothing.are_told() && !nothing.moved(addresses(&[1]), addresses(&[1])).are_told());
        let found: Vec<_> = addresses(&[1, 3]).zip(["de", "fr"].map(|code| Country::parse(code).unwrap())).collect();
        let countries = Countries::of(addresses(&[3, 1, 2]), &found);
        assert_eq!(said(&countries, 4), [Some("fr".to_owned()), Some("de".to_owned()), None, None]);
        let next = countries.moved(addresses(&[3, 1, 2]), addresses(&[5, 3, 2]));
        assert_eq!(said(&next, 3), [None, Some("fr".to_owned()), None]);
    }

    #[test]
    fn more_countries_than_there_are_become_none_that_is_known() {
        let code = |number: u32| {
            let letter = |number: u32| char::from(b'a' + u8::try_from(number).unwrap());
            Country::parse(&format!("{}{}", letter(number / 26), letter(number % 26))).unwrap()
        };
        let all: Vec<_> = (0..300).map(Ipv4Addr::from_bits).collect();
        let found: Vec<_> = all.iter().map(|address| (*address, code(address.to_bits()))).collect();
        let countries = Countries::of(all.iter().copied(), &found);
        assert_eq!(countries.get(253), Some(code(253)));
        assert!((254..300).all(|at| countries.get(at) == Some(Country::UNKNOWN)));
    }
}
