//! Bandwidth weights: how much of a relay's bandwidth counts at each place of a path.
//!
//! Chooses nothing; that is `path`, which draws by the numbers given here. Called by
//! `path` and by `NetDir`, which says what share of paths can be built. Spec: dir-spec,
//! "Computing bandwidth weights"; path-spec, "Weighting node selection".

use super::consensus::{Flag, Flags};
use super::params::parse_pair;

/// A place of a path, as weights know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    /// The first hop.
    Guard,
    /// A hop between.
    Middle,
    /// The hop from which streams leave.
    Exit,
    /// A directory cache, asked without a guard.
    Directory,
}

/// The names on the line, each at the place of its weight.
const NAMES: [&str; 19] = [
    "Wbd", "Wbe", "Wbg", "Wbm", "Wdb", "Web", "Wed", "Wee", "Weg", "Wem", "Wgb", "Wgd", "Wgg", "Wgm", "Wmb", "Wmd",
    "Wme", "Wmg", "Wmm",
];

/// What a `bandwidth-weights` line says; nothing where it is silent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weights([Option<i32>; NAMES.len()]);

impl Weights {
    /// Reads the arguments of the line; `None` if one has not the form `name=number`.
    pub fn parse<'a>(args: impl Iterator<Item = &'a str>) -> Option<Weights> {
        let mut weights = Weights::default();
        for (name, value) in args.map(parse_pair) {
            let value = value?;
            let slots = NAMES.iter().zip(&mut weights.0);
            slots.filter(|(known, _)| **known == name).for_each(|(_, slot)| *slot = Some(value));
        }
        Some(weights)
    }

    /// The weight of that name, unless it is absent or negative.
    pub fn get(&self, name: &str) -> Option<u32> {
        let at = NAMES.iter().position(|known| *known == name)?;
        self.0.get(at).copied().flatten().and_then(|value| u32::try_from(value).ok())
    }

    /// The weights at `position`. C tor: if one of them is absent or negative, all of them
    /// count as one.
    pub fn at(&self, position: Position, scale: u32) -> PositionWeights {
        let [guard, middle, exit, both, dirs] = match position {
            Position::Guard => ["Wgg", "Wgm", "", "Wgd", "b"],
            Position::Middle => ["Wmg", "Wmm", "Wme", "Wmd", "b"],
            Position::Exit => ["Weg", "Wem", "Wee", "Wed", "b"],
            Position::Directory => ["Wbg", "Wbm", "Wbe", "Wbd", ""],
        };
        let get = |name: &str| if name.is_empty() { Some(0) } else { self.get(name) };
        let of_dirs = |name| if dirs.is_empty() { Some(scale) } else { self.get(name) };
        let found = || {
            Some(PositionWeights {
                plain: [get(middle)?, get(guard)?, get(exit)?, get(both)?],
                of_dirs: [of_dirs("Wmb")?, of_dirs("Wgb")?, of_dirs("Web")?, of_dirs("Wdb")?],
                scale,
            })
        };
        found().unwrap_or(PositionWeights { plain: [scale; 4], of_dirs: [scale; 4], scale })
    }
}

/// The weights at one position, by class: neither flag, Guard, Exit, both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionWeights {
    plain: [u32; 4],
    of_dirs: [u32; 4],
    scale: u32,
}

impl PositionWeights {
    /// How much a relay counts, in kilobytes a second times the scale.
    pub fn of(&self, flags: Flags, bandwidth: u32) -> u64 {
        let class = usize::from(flags.has(Flag::Guard)) + 2 * usize::from(flags.may_exit());
        let at = |weights: &[u32; 4]| u64::from(weights.get(class).copied().unwrap_or(0));
        let weighted = u64::from(bandwidth).saturating_mul(at(&self.plain));
        if flags.has(Flag::V2Dir) {
            weighted.saturating_mul(at(&self.of_dirs)) / u64::from(self.scale.max(1))
        } else {
            weighted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the real network, in July 2026 (Arti 2.7, tor-netdoc, `testdata-live`).
    const LINE: &str = "Wbd=817 Wbe=0 Wbg=4040 Wbm=10000 Wdb=10000 Web=10000 Wed=8366 Wee=10000 Weg=8366 Wem=10000 \
        Wgb=10000 Wgd=817 Wgg=5960 Wgm=5960 Wmb=10000 Wmd=817 Wme=0 Wmg=4040 Wmm=10000";

    #[test]
    fn each_position_and_class_has_its_weight() {
        let weights = Weights::parse(LINE.split_whitespace()).unwrap();
        let classes = [&[][..], &[Flag::Guard], &[Flag::Exit], &[Flag::Guard, Flag::Exit]].map(Flags::of);
        for (position, expected) in [
            (Position::Guard, [5960, 5960, 0, 817]),
            (Position::Middle, [10_000, 4040, 0, 817]),
            (Position::Exit, [10_000, 8366, 10_000, 8366]),
            (Position::Directory, [10_000, 4040, 0, 817]),
        ] {
            let at = weights.at(position, 10_000);
            assert_eq!(classes.map(|flags| at.of(flags, 7)), expected.map(|weight| weight * 7), "{position:?}");
            let as_dirs = classes.map(|flags| at.of(flags.with(Flag::V2Dir), 7));
            assert_eq!(as_dirs, expected.map(|weight| weight * 7), "{position:?}");
        }
        let bad_exit = Flags::of(&[Flag::Exit, Flag::BadExit]);
        assert_eq!(weights.at(Position::Middle, 10_000).of(bad_exit, 1), 10_000);
    }

    #[test]
    fn directory_caches_are_weighted_twice() {
        let weights = Weights::parse(LINE.replace("Wgb=10000", "Wgb=2500").split_whitespace()).unwrap();
        let at = weights.at(Position::Guard, 10_000);
        assert_eq!(at.of(Flags::of(&[Flag::Guard]), 100), 596_000);
        assert_eq!(at.of(Flags::of(&[Flag::Guard, Flag::V2Dir]), 100), 149_000);
    }

    #[test]
    fn a_weight_that_is_absent_makes_all_relays_alike() {
        for line in [LINE.replace("Wmg=4040", "x=1"), LINE.replace("Wmg=4040", "Wmg=-1"), String::new()] {
            let weights = Weights::parse(line.split_whitespace()).unwrap();
            let at = weights.at(Position::Middle, 10_000);
            assert_eq!(at.of(Flags::of(&[Flag::Exit]), 3), 30_000);
            assert_eq!(at.of(Flags::of(&[Flag::Guard, Flag::V2Dir]), 3), 30_000);
        }
        assert_eq!(Weights::parse("Wmg=x".split(' ')), None);
        let largest = Weights::parse(LINE.replace("10000", "2147483647").split_whitespace()).unwrap();
        assert!(largest.at(Position::Middle, 1).of(Flags::default().with(Flag::V2Dir), u32::MAX) > 0);
    }
}
