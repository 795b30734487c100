//! x
pub mod guards;
pub mod timeout;
use crate::base::random::{self, Entropy};
/// A number below `bound`, each equally likely; 0 if there is none.
fn below_u64(entropy: &mut dyn Entropy, bound: u64) -> u64 {
    let limit = u64::MAX - u64::MAX.checked_rem(bound).unwrap_or(0);
    loop {
        let draw = u64::from_be_bytes(random::array(entropy));
        if draw < limit {
            return draw.checked_rem(bound).unwrap_or(0);
        }
    }
}
