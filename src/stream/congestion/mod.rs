//! How many DATA cells one hop may have under way, and the proof that they arrived.
//!
//! Decides when data may be packaged for a hop, when a circuit SENDME is due to it, and
//! whether one that comes is the next one. Not the flow of a single stream (that is
//! `stream/xon.rs`); knows no cell and holds no data. What a proof is, and how two are
//! compared in constant time, is for `crypto`, so the type of a proof is the caller's.
//! Called by `circuit/recv.rs` and `circuit/send.rs`. Spec: tor-spec, "Flow control";
//! proposal 289, "Authenticating sendme cells"; proposal 324 for the controllers to come.

use std::collections::VecDeque;

use super::Error;
use crate::base::random::{self, Entropy};
use crate::base::time::Tick;

/// DATA cells a hop without congestion control may have under way; the spec's.
pub const WINDOW: u32 = 1000;
/// Of how many DATA cells one is acknowledged; the spec's.
pub const INCREMENT: u32 = 100;
/// Random bytes a cell must hold to make its tag unguessable, and the zeros that stand
/// before them (proposal 289; C tor: `RELAY_CELL_PADDING_GAP`).
const UNGUESSABLE: usize = 16 + 4;

/// Says how much may be under way. One for each hop and direction away from us.
pub trait Controller: Send {
    /// Of how many DATA cells one is acknowledged.
    fn increment(&self) -> u32;
    /// How many more DATA cells may be sent now.
    fn room(&self) -> u32;
    /// How many DATA cells the far end may send before it has our SENDME; `None` if
    /// nothing says.
    fn deliver_window(&self) -> Option<u32>;
    /// A DATA cell was sent; `fills` if it is the one that a SENDME will be for.
    fn on_sent(&mut self, fills: bool, now: Tick);
    /// A SENDME came, and its proof was right.
    fn on_sendme(&mut self, now: Tick) -> Result<(), Error>;
}

/// A window that never changes: all there is without congestion control.
#[derive(Debug)]
pub struct FixedWindow {
    /// `package <= WINDOW`.
    package: u32,
}

impl Default for FixedWindow {
    fn default() -> Self {
        FixedWindow { package: WINDOW }
    }
}

impl Controller for FixedWindow {
    fn increment(&self) -> u32 {
        INCREMENT
    }

    fn room(&self) -> u32 {
        self.package
    }

    fn deliver_window(&self) -> Option<u32> {
        Some(WINDOW)
    }

    fn on_sent(&mut self, _fills: bool, _now: Tick) {
        self.package = self.package.saturating_sub(1);
    }

    fn on_sendme(&mut self, _now: Tick) -> Result<(), Error> {
        let package = self.package + INCREMENT;
        if package > WINDOW {
            return Err(Error::SendmeUnexpected);
        }
        self.package = package;
        Ok(())
    }
}

/// One hop's side of the circuit's flow, both directions. `T` is what proves that a cell
/// arrived.
pub struct Congestion<T> {
    controller: Box<dyn Controller>,
    /// DATA cells sent since the last that a SENDME will be for.
    sent: u32,
    /// Proofs of the cells that a SENDME will be for, oldest first. As many as fit into
    /// what may be under way.
    proofs: VecDeque<T>,
    /// DATA cells received since the last that our SENDME is for.
    received: u32,
    /// DATA cells received for which no SENDME was sent yet.
    unacknowledged: u32,
    /// C tor: `send_randomness_after_n_cells`; drawn before the first cell.
    short_cell_in: Option<u32>,
    /// C tor: `have_sent_sufficiently_random_cell`.
    short_cell_sent: bool,
}

impl<T> Congestion<T> {
    /// The flow of a hop that keeps to `controller`.
    pub fn new(controller: Box<dyn Controller>) -> Self {
        Congestion {
            controller,
            sent: 0,
            proofs: VecDeque::new(),
            received: 0,
            unacknowledged: 0,
            short_cell_in: None,
            short_cell_sent: false,
        }
    }

    /// Without congestion control.
    pub fn fixed() -> Self {
        Congestion::new(Box::new(FixedWindow::default()))
    }

    /// How many more DATA cells may be sent now.
    pub fn room(&self) -> u32 {
        self.controller.room()
    }

    /// How many bytes of `available` the next DATA cell takes, of at most `max`.
    ///
    /// Now and then it is fewer than would fit, so that random padding goes along and
    /// nobody who has not seen the cells can know what a SENDME must prove. C tor:
    /// `connection_edge_get_inbuf_bytes_to_package`.
    pub fn package_len(&mut self, available: usize, max: usize, entropy: &mut dyn Entropy) -> usize {
        let left = *self.short_cell_in.get_or_insert_with(|| next_short_cell(entropy));
        let short = max.saturating_sub(UNGUESSABLE);
        let len = available.min(if left == 0 && !self.short_cell_sent { short } else { max });
        self.short_cell_sent |= len <= short;
        let left = if left == 0 {
            self.short_cell_sent = false;
            next_short_cell(entropy)
        } else {
            left
        };
        self.short_cell_in = Some(left - 1);
        len
    }

    /// A DATA cell was sent that `proof` is for.
    pub fn on_sent(&mut self, proof: T, now: Tick) {
        self.sent += 1;
        let fills = self.sent == self.controller.increment();
        if fills {
            self.sent = 0;
            self.proofs.push_back(proof);
        }
        self.controller.on_sent(fills, now);
    }

    /// A SENDME came; `proves` says whether it repeats a proof.
    pub fn on_sendme(&mut self, proves: impl FnOnce(&T) -> bool, now: Tick) -> Result<(), Error> {
        let expected = self.proofs.pop_front().ok_or(Error::SendmeUnexpected)?;
        if !proves(&expected) {
            return Err(Error::SendmeTagWrong);
        }
        self.controller.on_sendme(now)
    }

    /// A DATA cell came, of whatever stream. True if a SENDME is due for it.
    pub fn on_data(&mut self) -> Result<bool, Error> {
        self.unacknowledged += 1;
        if self.controller.deliver_window().is_some_and(|window| self.unacknowledged > window) {
            return Err(Error::WindowOverrun);
        }
        self.received += 1;
        let due = self.received == self.controller.increment();
        if due {
            self.received = 0;
        }
        Ok(due)
    }

    /// A SENDME that was due leaves. Only now may the far end send more, so that a link
    /// which is not drained bounds how many are due.
    pub fn on_sendme_sent(&mut self) {
        self.unacknowledged = self.unacknowledged.saturating_sub(self.controller.increment());
    }
}

/// C tor: `circuit_reset_sendme_randomness`. At least 1.
fn next_short_cell(entropy: &mut dyn Entropy) -> u32 {
    INCREMENT / 2 + random::below(entropy, INCREMENT / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;

    const NOW: Tick = Tick::new(core::time::Duration::ZERO);

    #[test]
    fn a_window_of_a_thousand_opens_by_a_hundred_for_the_right_proof() {
        let mut flow = Congestion::fixed();
        (1..=WINDOW).for_each(|n| flow.on_sent(n, NOW));
        assert_eq!(flow.room(), 0);
        // The proofs wanted are of every hundredth cell, in order.
        for n in 1..=10 {
            assert_eq!(flow.on_sendme(|proof| *proof == n * INCREMENT, NOW), Ok(()));
            assert_eq!(flow.room(), n * INCREMENT);
        }
        assert_eq!(flow.on_sendme(|_| true, NOW), Err(Error::SendmeUnexpected));
    }

    #[test]
    fn a_sendme_too_early_or_with_another_proof_is_refused() {
        let mut flow = Congestion::fixed();
        (1..INCREMENT).for_each(|n| flow.on_sent(n, NOW));
        assert_eq!(flow.on_sendme(|_| true, NOW), Err(Error::SendmeUnexpected));
        flow.on_sent(INCREMENT, NOW);
        assert_eq!(flow.on_sendme(|_| false, NOW), Err(Error::SendmeTagWrong));
    }

    #[test]
    fn a_sendme_is_due_for_each_hundredth_cell_and_the_window_may_not_be_overrun() {
        let mut flow = Congestion::<()>::fixed();
        let due: Vec<u32> = (1..=WINDOW).filter(|_| flow.on_data().unwrap()).collect();
        assert_eq!(due, (1..=10).map(|n| n * INCREMENT).collect::<Vec<_>>());
        // Due is not sent; what is sent lets as many come as it is for.
        flow.on_sendme_sent();
        assert!((0..INCREMENT).all(|_| flow.on_data().is_ok()));
        assert_eq!(flow.on_data(), Err(Error::WindowOverrun));

        let mut flow = Congestion::<()>::fixed();
        for _ in 0..5 * WINDOW {
            if flow.on_data().unwrap() {
                flow.on_sendme_sent();
            }
        }
    }

    #[test]
    fn a_window_is_never_more_than_it_was() {
        let mut window = FixedWindow::default();
        assert_eq!(window.on_sendme(NOW), Err(Error::SendmeUnexpected));
        (0..INCREMENT - 1).for_each(|_| window.on_sent(false, NOW));
        assert_eq!(window.on_sendme(NOW), Err(Error::SendmeUnexpected));
        window.on_sent(true, NOW);
        assert_eq!(window.on_sendme(NOW), Ok(()));
    }

    #[test]
    fn each_increment_has_a_cell_nobody_can_guess() {
        let mut flow = Congestion::<()>::fixed();
        let mut entropy = Seeded(1);
        let lens: Vec<usize> = (0..10_000).map(|_| flow.package_len(1 << 20, 498, &mut entropy)).collect();
        assert!(lens.iter().all(|&len| len == 498 || len == 478));
        for run in lens.split(|&len| len == 478) {
            assert!(run.len() < 100, "{}", run.len());
        }
        // Never more than one in fifty.
        assert!(lens.iter().filter(|&&len| len == 478).count() <= 10_000 / 50);
        // A cell that is short anyway serves as well.
        let mut flow = Congestion::<()>::fixed();
        let lens: Vec<_> =
            (0..1000).map(|n| flow.package_len(if n % 40 == 0 { 5 } else { 498 }, 498, &mut entropy)).collect();
        assert!(!lens.contains(&478));
    }
}
