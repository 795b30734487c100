//! What many relays have alike, held once: exit policies and families.
//!
//! Known by a SHA-256, so that nobody can make two of them pass for one: of the text that it
//! was read from, which is then hashed and seldom parsed, or of what it is. Called by
//! `NetDir`. Spec: none.

use crate::crypto::kdf;

/// Where an item is in its pool.
pub(super) type Place = u16;
/// No item.
pub(super) const NONE: Place = Place::MAX;

/// Items of one kind.
#[derive(Clone, Debug)]
pub(super) struct Pool<T> {
    items: Vec<([u8; 32], T)>,
    /// The places of the items, ascending by their digests.
    order: Vec<Place>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Pool { items: Vec::new(), order: Vec::new() }
    }
}

impl<T> Pool<T> {
    /// The place of what `text` says, which `read` reads from it if it is not there yet. None
    /// if there is no text, or nothing to be read from it.
    pub(super) fn of_text(&mut self, text: &str, read: impl FnOnce() -> Option<T>) -> Place {
        if text.is_empty() {
            return NONE;
        }
        self.of_digest(kdf::sha256(&[text.as_bytes()]), read)
    }

    /// The same, of a text whose digest is known.
    pub(super) fn of_digest(&mut self, digest: [u8; 32], read: impl FnOnce() -> Option<T>) -> Place {
        let digest_of = |place: &Place| self.items.get(usize::from(*place)).map(|(digest, _)| *digest);
        match self.order.binary_search_by_key(&Some(digest), digest_of) {
            Ok(at) => self.order.get(at).copied().unwrap_or(NONE),
            Err(at) => {
                let place = Place::try_from(self.items.len()).ok().filter(|place| *place != NONE);
                let Some((place, item)) = place.and_then(|place| Some((place, read()?))) else { return NONE };
                self.items.push((digest, item));
                self.order.insert(at, place);
                place
            }
        }
    }

    /// The item at a place.
    pub(super) fn get(&self, place: Place) -> Option<&T> {
        self.items.get(usize::from(place)).map(|(_, item)| item)
    }

    /// The item at a place, and the digest of its text.
    pub(super) fn entry(&self, place: Place) -> Option<&([u8; 32], T)> {
        self.items.get(usize::from(place))
    }

    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Bytes of the heap that this holds, with what each item says that it holds.
    pub(super) fn heap_bytes(&self, of_item: impl Fn(&T) -> usize) -> usize {
        let items: usize = self.items.iter().map(|(_, item)| of_item(item)).sum();
        items + self.items.capacity() * size_of::<([u8; 32], T)>() + self.order.capacity() * size_of::<Place>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_held_once() {
        let mut pool = Pool::default();
        let texts = ["b", "a", "", "b", "c", "a"];
        let places = texts.map(|text| pool.of_text(text, || (text != "c").then(|| text.to_owned())));
        assert_eq!(places, [0, 1, NONE, 0, NONE, 1]);
        assert_eq!((pool.get(0), pool.get(1), pool.get(NONE)), (Some(&"b".to_owned()), Some(&"a".to_owned()), None));
        assert_eq!(pool.len(), 2);
    }

    #[test]
    fn a_pool_has_no_more_items_than_places() {
        let mut pool = Pool::default();
        for number in 0..70_000_u32 {
            pool.of_text(&number.to_string(), || Some(number));
        }
        assert_eq!(pool.len(), usize::from(NONE));
        assert_eq!(pool.of_text("65534", || Some(65_534)), 65_534);
        assert_eq!(pool.of_text("65535", || Some(65_535)), NONE);
    }
}
