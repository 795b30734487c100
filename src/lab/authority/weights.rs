//! Bandwidth weights: how much of each sort of relay serves in which position.
//!
//! Pure arithmetic over four sums. Called by `consensus`. Spec: dir-spec, "Computing
//! bandwidth weights". C tor: `networkstatus_compute_bw_weights_v10`.
//!
//! Differs: where one of the four is empty, or the middle has too much to be balanced, C tor
//! leaves the line out. A small network is often so, and gets plain weights here.

/// What all weights are parts of: `bwweightscale`.
const SCALE: i64 = 10_000;
/// By how much parts may miss their whole, by rounding; C tor's.
const MARGIN: i64 = 10;

/// The bandwidth of a network by what its relays may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Guards that are no exits.
    pub(super) guard: i64,
    /// Exits that are no guards.
    pub(super) exit: i64,
    /// Both.
    pub(super) both: i64,
    /// Neither.
    pub(super) middle: i64,
}

/// The weights that differ; the others follow from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weights {
    gg: i64,
    gd: i64,
    mg: i64,
    me: i64,
    md: i64,
    ee: i64,
    ed: i64,
}

/// The arguments of the `bandwidth-weights` line.
pub(super) fn line(sums: Sums) -> String {
    let Weights { gg, gd, mg, me, md, ee, ed } = weights(sums).unwrap_or_else(|| plain(sums));
    format!(
        "Wbd={md} Wbe={me} Wbg={mg} Wbm={SCALE} Wdb={SCALE} Web={SCALE} Wed={ed} Wee={ee} Weg={ed} Wem={ee} \
         Wgb={SCALE} Wgd={gd} Wgg={gg} Wgm={gg} Wmb={SCALE} Wmd={md} Wme={me} Wmg={mg} Wmm={SCALE}"
    )
}

/// Everyone where only they can be; a third of the ends in the middle if nobody else is there.
fn plain(sums: Sums) -> Weights {
    let third = SCALE / 3;
    if sums.middle > 0 {
        Weights { gg: SCALE, gd: SCALE / 2, ee: SCALE, ed: SCALE / 2, ..Weights::default() }
    } else {
        let rest = SCALE - third;
        Weights { gg: rest, gd: third, mg: third, me: third, md: third, ee: rest, ed: third }
    }
}

/// Balanced weights; `None` if there are none.
fn weights(sums: Sums) -> Option<Weights> {
    let Sums { guard: g, exit: e, both: d, middle: m } = sums;
    if [g, e, d, m].iter().any(|&sum| sum <= 0) {
        return None;
    }
    let t = g + e + d + m;
    match (3 * g < t, 3 * e < t) {
        (false, false) => plenty(sums).filter(|weights| weights.fault(sums).is_none()),
        (true, true) => both_scarce(sums),
        _ => one_scarce(sums),
    }
}

/// Case 1: guards and exits both have a third.
fn plenty(Sums { guard: g, exit: e, middle: m, .. }: Sums) -> Option<Weights> {
    let ee = SCALE * (e + g + m) / (3 * e);
    let mg = SCALE * (2 * g - e - m) / (3 * g);
    let third = SCALE / 3;
    Some(Weights { gg: SCALE - mg, gd: third, mg, me: SCALE - ee, md: third, ee, ed: third })
}

/// Case 2: neither has.
fn both_scarce(sums: Sums) -> Option<Weights> {
    let Sums { guard: g, exit: e, both: d, middle: m } = sums;
    let base = Weights { gg: SCALE, ee: SCALE, ..Weights::default() };
    if g.min(e) + d < g.max(e) {
        return Some(if e < g { Weights { ed: SCALE, ..base } } else { Weights { gd: SCALE, ..base } });
    }
    let ed = SCALE * (d - 2 * e + 4 * g - 2 * m) / (3 * d);
    let half = (SCALE - ed) / 2;
    let balanced = Weights { ee: SCALE * (e - g + m) / e, ed, me: SCALE * (g - m) / e, md: half, gd: half, ..base };
    if balanced.fault(sums).is_none() {
        return Some(balanced);
    }
    let ed = SCALE * (d - 2 * e + g + m) / (3 * d);
    let md = (SCALE * (d - 2 * m + g + e) / (3 * d)).max(0);
    let uneven = Weights { ed, md, gd: SCALE - ed - md, ..base };
    match uneven.fault(sums) {
        None | Some(Fault::Middle) => Some(uneven),
        Some(_) => None,
    }
}

/// Case 3: one of them has.
fn one_scarce(sums: Sums) -> Option<Weights> {
    let Sums { guard: g, exit: e, both: d, middle: m } = sums;
    let t = g + e + d + m;
    if 3 * (g.min(e) + d) < t {
        return Some(if g < e {
            let me = if e < m { 0 } else { SCALE * (e - m) / (2 * e) };
            Weights { gg: SCALE, gd: SCALE, me, ee: SCALE - me, ..Weights::default() }
        } else {
            let mg = if g < m { 0 } else { SCALE * (g - m) / (2 * g) };
            Weights { ee: SCALE, ed: SCALE, mg, gg: SCALE - mg, ..Weights::default() }
        });
    }
    let weights = if g < e {
        let gd = SCALE * (d - 2 * g + e + m) / (3 * d);
        let ee = SCALE * (e + m) / (2 * e);
        let half = (SCALE - gd) / 2;
        Weights { gg: SCALE, gd, mg: 0, ee, me: SCALE - ee, md: half, ed: half }
    } else {
        let ed = SCALE * (d - 2 * e + g + m) / (3 * d);
        let gg = SCALE * (g + m) / (2 * g);
        let half = (SCALE - ed) / 2;
        Weights { ee: SCALE, ed, me: 0, gg, mg: SCALE - gg, md: half, gd: half }
    };
    Some(weights).filter(|weights| weights.fault(sums).is_none())
}

/// What is wrong with weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The parts of a sort of relay do not make a whole, or one is no part.
    Parts,
    /// Entries and exits do not get the same.
    Ends,
    /// The middle does not get the same as the entries.
    Middle,
}

impl Weights {
    fn fault(&self, Sums { guard: g, exit: e, both: d, middle: m }: Sums) -> Option<Fault> {
        let Weights { gg, gd, mg, me, md, ee, ed } = *self;
        let near = |a: i64, b: i64, margin: i64| (a - b).abs() <= margin;
        let wholes = [ed + md + gd, mg + gg, me + ee].iter().all(|&sum| near(sum, SCALE, MARGIN));
        let parts = [gg, gd, mg, me, md, ee, ed].iter().all(|part| (0..=SCALE).contains(part));
        let margin = MARGIN * (g + e + d + m) / 3;
        let entry = gg * g + gd * d;
        if !wholes || !parts {
            Some(Fault::Parts)
        } else if !near(entry, ee * e + ed * d, margin) {
            Some(Fault::Ends)
        } else if !near(entry, m * SCALE + md * d + me * e + mg * g, margin) {
            Some(Fault::Middle)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sums(guard: i64, exit: i64, both: i64, middle: i64) -> Sums {
        Sums { guard, exit, both, middle }
    }

    #[test]
    fn what_cannot_be_balanced_is_plain() {
        for (sums, expected) in [
            (sums(3, 2, 1, 5), "Wed=5000 Wee=10000 "),
            (sums(3, 3, 0, 5), "Wed=5000 Wee=10000 "),
            (sums(3, 3, 0, 0), "Wed=3333 Wee=6667 "),
            (Sums::default(), "Wed=3333 Wee=6667 "),
        ] {
            assert!(line(sums).contains(expected), "{}", line(sums));
        }
    }

    /// A network shaped like the public one (exits scarce, guards plenty) gets its weights,
    /// of 27 July 2026, up to how exactly its sums are known.
    #[test]
    fn the_shape_of_the_public_network_gives_its_weights() {
        let line = line(sums(604, 82, 368, 116));
        assert!(line.contains(" Wee=10000 ") && line.contains(" Wme=0 "), "{line}");
        assert!(line.contains("Wgg=5960") && line.contains("Wgd=81") && line.contains("Wed=836"), "{line}");
        assert!(line.starts_with("Wbd=") && line.ends_with("Wmm=10000"), "{line}");
    }

    #[test]
    fn every_case_is_reached() {
        for (sums, expected) in [
            (sums(40, 40, 10, 10), Weights { gg: 7500, gd: 3333, mg: 2500, me: 2500, md: 3333, ee: 7500, ed: 3333 }),
            (sums(1, 20, 5, 60), Weights { gg: 10000, gd: 10000, ee: 10000, ..Weights::default() }),
            (sums(20, 1, 5, 60), Weights { gg: 10000, ed: 10000, ee: 10000, ..Weights::default() }),
            (sums(1, 60, 5, 20), Weights { gg: 10000, gd: 10000, me: 3333, ee: 6667, ..Weights::default() }),
            (sums(60, 1, 5, 20), Weights { ee: 10000, ed: 10000, mg: 3333, gg: 6667, ..Weights::default() }),
        ] {
            assert_eq!(weights(sums), Some(expected), "{sums:?}");
        }
        assert!(weights(sums(30, 30, 30, 30)).is_some());
        assert!(weights(sums(25, 25, 30, 20)).is_some());
    }

    proptest! {
        #[test]
        fn weights_are_parts_of_the_scale(g in 1_i64..1 << 40, e in 1_i64..1 << 40, d in 1_i64..1 << 40, m in 1_i64..1 << 40) {
            if let Some(Weights { gg, gd, mg, me, md, ee, ed }) = weights(sums(g, e, d, m)) {
                for part in [gg, gd, mg, me, md, ee, ed] {
                    prop_assert!((0..=SCALE).contains(&part));
                }
            }
        }
    }
}
