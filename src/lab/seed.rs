//! Randomness that replays: the same seed and name give the same bytes for ever.
//!
//! Fit for a network that anyone may repeat, not for keys that guard anything: whoever
//! knows the seed knows them all. Called by everything in `lab` that draws. Spec: none.

use crate::base::random::Entropy;
use crate::crypto::kdf::ShakeStream;

/// The stream of one seed and name: SHAKE-256 over both.
pub struct SeededEntropy(ShakeStream);

impl SeededEntropy {
    /// The stream of `name` under `seed`. Streams of different names have nothing in common,
    /// so that adding a relay does not change what another draws.
    pub fn new(seed: u64, name: &str) -> Self {
        SeededEntropy(ShakeStream::new(&[b"cepa lab ", &seed.to_be_bytes(), name.as_bytes()]))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random;

    #[test]
    fn a_stream_depends_on_seed_and_name_alone() {
        let draw = |seed, name| random::array::<32>(&mut SeededEntropy::new(seed, name));
        assert_eq!(draw(1, "relay"), draw(1, "relay"));
        assert_ne!(draw(1, "relay"), draw(2, "relay"));
        assert_ne!(draw(1, "relay"), draw(1, "other"));
        let mut stream = SeededEntropy::new(1, "relay");
        let two: [u8; 64] = [random::array::<32>(&mut stream), random::array(&mut stream)].concat().try_into().unwrap();
        assert_eq!(two[..32], draw(1, "relay"));
    }
}
