//! The seam for random bytes: who needs some takes an [`Entropy`], who owns a source is
//! outside the quiet floors.
//!
//! Holds no generator and reads no operating system. Called by every handshake and by
//! padding. Spec: none.

/// A source of random bytes fit for keys.
///
/// It cannot fail: a source that runs dry must end the process, because no caller has a
/// safe way to go on without it.
pub trait Entropy {
    /// Fills `out`.
    fn fill(&mut self, out: &mut [u8]);
}

/// `N` fresh bytes.
pub fn array<const N: usize>(entropy: &mut dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// A number below `bound`, each equally likely. A `bound` of 0 gives 0.
pub fn below(entropy: &mut dyn Entropy, bound: u32) -> u32 {
    if bound < 2 {
        return 0;
    }
    // Draws at or above the largest multiple of `bound` would favour small numbers.
    let limit = u32::MAX - u32::MAX % bound;
    loop {
        let draw = u32::from_be_bytes(array(entropy));
        if draw < limit {
            return draw % bound;
        }
    }
}

/// A repeatable source for tests: the same seed gives the same bytes.
#[cfg(test)]
pub struct Seeded(pub u64);

#[cfg(test)]
impl Entropy for Seeded {
    /// SplitMix64.
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            chunk.copy_from_slice(&z.to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut entropy = Seeded(1);
        let mut seen = [0_u32; 7];
        for _ in 0..7000 {
            seen[usize::try_from(below(&mut entropy, 7)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&count| (800..1200).contains(&count)), "{seen:?}");
        assert_eq!(below(&mut entropy, 0), 0);
        assert_eq!(below(&mut entropy, 1), 0);
    }
}
