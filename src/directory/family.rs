//! Families as numbers: who is on a list, which names were proved, and how both go over from
//! one consensus to the next, where every relay has another number.
//!
//! Whether two relays are family is asked of `NetDir`, which calls this. Spec: path-spec,
//! "Path selection and constraints"; proposals 298 and 321.

use std::collections::BTreeMap;

use super::consensus::Verified;
use super::pool::{NONE, Place, Pool};
use super::{Known, NetDir};
use crate::base::RsaId;
use crate::crypto::kdf;

/// Relays that somebody calls family and that are not in the consensus.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers {
    pub(super) ids: Vec<RsaId>,
    pub(super) numbers: BTreeMap<RsaId, u16>,
}

impl Strangers {
    /// The number of a stranger, beginning at `first`; none when numbers run out, which costs
    /// a relation only if it comes back.
    fn number(&mut self, id: RsaId, first: u16) -> Option<u16> {
        if let Some(&number) = self.numbers.get(&id) {
            return Some(number);
        }
        let number = u16::try_from(self.ids.len()).ok().and_then(|count| first.checked_add(count))?;
        self.ids.push(id);
        self.numbers.insert(id, number);
        Some(number)
    }
}

/// Relays by number.
pub(super) fn numbers(
    members: impl Iterator<Item = RsaId>,
    consensus: &Verified,
    strangers: &mut Strangers,
) -> impl Iterator<Item = u16> {
    let first = u16::try_from(consensus.relay_count()).unwrap_or(u16::MAX);
    members.filter_map(move |id| match consensus.rows.find(&id) {
        Some(at) => u16::try_from(at).ok(),
        None => strangers.number(id, first),
    })
}

/// The place of a family.
pub(super) fn intern(families: &mut Pool<Box<[u16]>>, list: Box<[u16]>) -> Place {
    let text: Vec<u8> = list.iter().flat_map(|number| number.to_be_bytes()).collect();
    families.of_digest(kdf::sha256(&[&text]), || Some(list))
}

pub(super) fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Box<[T]> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.dedup();
    items.into()
}

/// The number of a family's name.
pub(super) fn token(tokens: &mut BTreeMap<Box<str>, u32>, name: &str) -> u32 {
    if let Some(&number) = tokens.get(name) {
        return number;
    }
    // Each name has bytes of its own in a microdescriptor of ours, so they cannot run out.
    let number = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
    tokens.insert(name.into(), number);
    number
}

/// What goes over from one [`NetDir`] to the next, each shared thing once.
pub(super) struct Moving<'a> {
    old: &'a NetDir,
    /// Families' names by number.
    names: Vec<&'a str>,
    /// Where those families by list that have gone over are now.
    families: Vec<Option<Place>>,
}

impl<'a> Moving<'a> {
    pub(super) fn new(old: &'a NetDir) -> Self {
        let mut names = vec![""; old.tokens.len()];
        for (name, &number) in &old.tokens {
            if let Some(slot) = usize::try_from(number).ok().and_then(|at| names.get_mut(at)) {
                *slot = name;
            }
        }
        Moving { old, names, families: vec![None; old.families.len()] }
    }

    pub(super) fn moved(&mut self, known: Known, next: &mut NetDir) -> Known {
        let old = self.old;
        let NetDir { policies, families, family_ids, strangers, tokens, consensus, .. } = next;
        let mut policy = |place| match old.policies.entry(place) {
            Some((digest, policy)) => policies.of_digest(*digest, || Some(policy.clone())),
            None => NONE,
        };
        let (policy, policy6) = (policy(known.policy), policy(known.policy6));
        let family = match (old.families.get(known.family), self.families.get(usize::from(known.family))) {
            (Some(list), Some(None)) => {
                let members = list.iter().filter_map(|number| self.id(*number));
                intern(families, sorted(numbers(members, consensus, strangers)))
            }
            (_, moved) => moved.copied().flatten().unwrap_or(NONE),
        };
        if let Some(moved) = self.families.get_mut(usize::from(known.family)) {
            *moved = Some(family);
        }
        let family_ids = match old.family_ids.entry(known.family_ids) {
            Some((digest, set)) => family_ids.of_digest(*digest, || {
                let names = set.iter().filter_map(|&number| self.names.get(usize::try_from(number).ok()?));
                Some(sorted(names.map(|name| token(tokens, name))))
            }),
            None => NONE,
        };
        Known { policy, policy6, family, family_ids, ..known }
    }

    /// Who a number of a family list stands for.
    fn id(&self, number: u16) -> Option<RsaId> {
        let number = usize::from(number);
        match number.checked_sub(self.old.known.len()) {
            None => self.old.consensus.rows.rows.get(number).map(|row| RsaId(row.rsa)),
            Some(stranger) => self.old.strangers.ids.get(stranger).copied(),
        }
    }
}
