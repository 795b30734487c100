//! Drawing a relay by bandwidth, without a list of those that may be drawn.
//!
//! All relays are walked once, with a sum for each block of them; then the one block in which
//! the draw fell is walked again. How much a relay counts is `directory/weights.rs`, who may be
//! drawn is `path/rules.rs`. Called by `path/mod.rs`, and by `guards` for numbers. Spec:
//! path-spec, "Weighting node selection"; C tor: `choose_array_element_by_weight`.

use crate::base::random::{self, Entropy};
use crate::directory::consensus::MAX_RELAYS;
use crate::directory::weights::Position;
use crate::directory::{NetDir, Relay, RelayIndex};

/// Relays of one block: as many as there are blocks in the largest network; ours.
const BLOCK: usize = 256;
const BLOCKS: usize = MAX_RELAYS / BLOCK + 1;

/// What is known of a block.
#[derive(Clone, Copy)]
struct Block {
    /// Its first relay that may be drawn.
    first: Option<RelayIndex>,
    weight: u64,
    count: u64,
}

/// One of the relays that `may` be drawn, each as likely as its weight at a position; all
/// alike if none of them has any weight.
pub fn draw(
    dir: &NetDir,
    position: Position,
    may: impl Fn(&Relay<'_>) -> bool,
    entropy: &mut dyn Entropy,
) -> Option<RelayIndex> {
    let weights = dir.weights_at(position);
    let weight_of = |relay: &Relay<'_>| weights.of(relay.flags(), relay.bandwidth());
    let mut blocks = [Block { first: None, weight: 0, count: 0 }; BLOCKS];
    let mut relays = dir.relays();
    for block in &mut blocks {
        for relay in relays.by_ref().take(BLOCK).filter(|relay| may(relay)) {
            block.first.get_or_insert(relay.index());
            block.weight = block.weight.saturating_add(weight_of(&relay));
            block.count += 1;
        }
    }
    let total = |of: fn(&Block) -> u64| blocks.iter().map(of).fold(0_u64, u64::saturating_add);
    let is_weighty = total(|block| block.weight) > 0;
    let mut left = below(entropy, if is_weighty { total(|block| block.weight) } else { total(|block| block.count) });
    let of_block = |block: &Block| if is_weighty { block.weight } else { block.count };
    let block = blocks.iter().find(|block| falls_in(&mut left, of_block(block)))?;
    let of_relay = |relay: &Relay<'_>| if is_weighty { weight_of(relay) } else { 1 };
    let mut within = dir.relays_from(block.first?).take(BLOCK).filter(|relay| may(relay));
    within.find(|relay| falls_in(&mut left, of_relay(relay))).map(|relay| relay.index())
}

/// Whether what is left of a draw is below that weight; takes it off if not.
fn falls_in(left: &mut u64, weight: u64) -> bool {
    let rest = left.checked_sub(weight);
    *left = rest.unwrap_or(*left);
    rest.is_none()
}

/// A number below `bound`, each equally likely; 0 if there is none.
pub(super) fn below(entropy: &mut dyn Entropy, bound: u64) -> u64 {
    let limit = u64::MAX - u64::MAX.checked_rem(bound).unwrap_or(0);
    loop {
        let draw = u64::from_be_bytes(random::array(entropy));
        if draw < limit {
            return draw.checked_rem(bound).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;
    use crate::directory::testing::{Sketch, index, net};
    use std::collections::BTreeMap;

    const WEIGHTS: &str = "Wbd=0 Wbe=0 Wbg=10000 Wbm=10000 Wdb=10000 Web=10000 Wed=10000 Wee=10000 Weg=0 Wem=0 \
        Wgb=10000 Wgd=0 Wgg=10000 Wgm=10000 Wmb=10000 Wmd=0 Wme=0 Wmg=2000 Wmm=10000";

    fn drawn(dir: &NetDir, position: Position, draws: u32, may: fn(&Relay<'_>) -> bool) -> BTreeMap<RelayIndex, u32> {
        let mut entropy = Seeded(77);
        let mut seen = BTreeMap::new();
        for _ in 0..draws {
            *seen.entry(draw(dir, position, may, &mut entropy).unwrap()).or_default() += 1;
        }
        seen
    }

    /// Pearson's statistic against what was expected.
    fn chi_square(seen: &BTreeMap<RelayIndex, u32>, expected: &[(usize, f64)]) -> f64 {
        let off = |&(number, expected): &(usize, f64)| {
            let count = seen.get(&index(number)).copied().unwrap_or(0);
            (f64::from(count) - expected).powi(2) / expected
        };
        expected.iter().map(off).sum()
    }

    #[test]
    fn relays_are_drawn_as_often_as_they_weigh() {
        // Of every three one is a guard, which counts a fifth, and one an exit, which does not.
        let flags = ["Guard", "Exit", ""];
        let relays: Vec<_> =
            (0..300).map(|number| Sketch::new(flags[number % 3], u32::try_from(number / 3 % 10).unwrap())).collect();
        let dir = net("", WEIGHTS, &relays);
        let weight = |number: usize| (number / 3 % 10) as f64 * [0.2, 0.0, 1.0][number % 3];
        let total: f64 = (0..300).map(weight).sum();
        let draws = 20_000;
        let seen = drawn(&dir, Position::Middle, draws, |_| true);
        assert!(seen.keys().all(|&at| (0..300).any(|number| index(number) == at && weight(number) > 0.0)));
        let expected: Vec<_> = (0..300)
            .filter(|&number| weight(number) > 0.0)
            .map(|number| (number, weight(number) / total * f64::from(draws)))
            .collect();
        // 179 degrees of freedom: mean 179, standard deviation 19.
        assert_eq!(expected.len(), 180);
        let off = chi_square(&seen, &expected);
        assert!((90.0..270.0).contains(&off), "{off}");
    }

    #[test]
    fn without_weight_all_are_alike() {
        let dir = net("", WEIGHTS, &vec![Sketch::new("Exit", 9); 300]);
        let seen = drawn(&dir, Position::Middle, 15_000, |_| true);
        let off = chi_square(&seen, &(0..300).map(|number| (number, 50.0)).collect::<Vec<_>>());
        assert!((180.0..420.0).contains(&off), "{off}");
    }

    #[test]
    fn only_those_that_may_are_drawn() {
        let relays: Vec<_> = (0..700).map(|number| Sketch::new("", u32::from(number != 300))).collect();
        let dir = net("", WEIGHTS, &relays);
        let last = |relay: &Relay<'_>| relay.index() >= index(699);
        assert_eq!(drawn(&dir, Position::Middle, 20, last).keys().copied().collect::<Vec<_>>(), [index(699)]);
        let third = |relay: &Relay<'_>| {
            let [high, low, ..] = relay.rsa_id().0;
            u16::from_be_bytes([high, low]).is_multiple_of(3)
        };
        let seen = drawn(&dir, Position::Middle, 1000, third);
        let thirds: Vec<_> = (0..700).step_by(3).map(index).collect();
        assert!(seen.len() > 200 && seen.keys().all(|at| thirds.contains(at)));
        let weightless = |relay: &Relay<'_>| relay.index() == index(300);
        assert_eq!(drawn(&dir, Position::Middle, 20, weightless).keys().copied().collect::<Vec<_>>(), [index(300)]);
        assert_eq!(draw(&dir, Position::Middle, |_| false, &mut Seeded(1)), None);
        assert_eq!(draw(&net("", "", &[]), Position::Middle, |_| true, &mut Seeded(1)), None);
    }

    #[test]
    fn the_largest_weights_do_not_overflow() {
        let dir =
            net("bwweightscale=1", &WEIGHTS.replace("10000", "2147483647"), &vec![Sketch::new("V2Dir", u32::MAX); 300]);
        assert!(drawn(&dir, Position::Middle, 50, |_| true).len() == 1, "one weighs all that can be said");
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut entropy = Seeded(3);
        let mut seen = [0_u32; 5];
        (0..5000).for_each(|_| seen[usize::try_from(below(&mut entropy, 5)).unwrap()] += 1);
        assert!(seen.iter().all(|&count| (850..1150).contains(&count)), "{seen:?}");
        assert_eq!(below(&mut entropy, 1), 0);
        assert_eq!(below(&mut entropy, 0), 0);
        let bound = (1 << 63) + 1;
        assert!((0..100).all(|_| below(&mut entropy, bound) < bound));
    }
}
