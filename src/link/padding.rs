//! Link padding: how long a silent link waits before it sends a cell that means nothing,
//! so that a netflow record cannot tell one use from the next.
//!
//! Sends nothing itself and keeps no clock. Circuit padding is another thing. Called by
//! `link/mod.rs`. Spec: padding-spec, "Connection-level padding".

use core::time::Duration;

use super::Error;
use crate::base::random::{self, Entropy};
use crate::base::time::Tick;
use crate::wire::cell_msg::PaddingNegotiate;

/// The first link protocol with padding.
const FIRST_VERSION: u16 = 5;

/// The bounds of one silence, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// nf_ito_low.
    pub low_ms: u16,
    /// nf_ito_high.
    pub high_ms: u16,
}

/// What the consensus says of padding, already clamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// nf_ito_low and nf_ito_high; both zero: nobody pads.
    pub normal: Silence,
    /// nf_ito_low_reduced and nf_ito_high_reduced.
    pub reduced: Silence,
}

impl Default for Timing {
    /// padding-spec's.
    fn default() -> Self {
        Timing { normal: Silence { low_ms: 1500, high_ms: 9500 }, reduced: Silence { low_ms: 9000, high_ms: 14000 } }
    }
}

/// How much the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Both sides pad.
    Normal,
    /// The relay is asked not to; we do, more rarely (ReducedConnectionPadding).
    Reduced,
    /// The relay is asked not to, and we do not (ConnectionPadding 0).
    Off,
}

/// One side's padding of one link.
///
/// The silence is measured from the last cell in either direction and drawn anew after it.
pub struct Padding {
    is_client: bool,
    mode: Mode,
    timing: Timing,
    /// The link protocol has padding.
    negotiable: bool,
    /// The link is used for more than directory requests.
    engaged: bool,
    /// A relay: what the client asked for.
    asked: Option<PaddingNegotiate>,
    deadline: Option<Tick>,
}

impl Padding {
    /// A client's side, silent until engaged.
    pub fn of_client(timing: Timing) -> Self {
        Padding::new(true, timing)
    }

    /// A relay's side.
    pub fn of_relay(timing: Timing) -> Self {
        Padding::new(false, timing)
    }

    fn new(is_client: bool, timing: Timing) -> Self {
        Padding {
            is_client,
            mode: Mode::Normal,
            timing,
            negotiable: false,
            engaged: false,
            asked: None,
            deadline: None,
        }
    }

    /// The link protocol was agreed.
    pub fn set_version(&mut self, version: u16) {
        self.negotiable = version >= FIRST_VERSION;
    }

    /// The link is used in earnest from now on. A relay need only be told what differs
    /// from its own default.
    pub fn engage(&mut self, now: Tick, entropy: &mut dyn Entropy) -> Option<PaddingNegotiate> {
        if self.engaged {
            return None;
        }
        self.engaged = true;
        self.draw(now, entropy);
        self.to_negotiate(Mode::Normal)
    }

    /// Another mode or timing. Gives what the relay must be told.
    pub fn set(
        &mut self,
        mode: Mode,
        timing: Timing,
        now: Tick,
        entropy: &mut dyn Entropy,
    ) -> Option<PaddingNegotiate> {
        let told = core::mem::replace(&mut self.mode, mode);
        self.timing = timing;
        self.draw(now, entropy);
        self.to_negotiate(told)
    }

    fn to_negotiate(&self, told: Mode) -> Option<PaddingNegotiate> {
        let relay_pads = |mode| mode == Mode::Normal;
        if !self.is_client || !self.engaged || !self.negotiable || relay_pads(told) == relay_pads(self.mode) {
            return None;
        }
        Some(if relay_pads(self.mode) {
            let Silence { low_ms, high_ms } = self.timing.normal;
            PaddingNegotiate::Start { low_ms, high_ms }
        } else {
            PaddingNegotiate::Stop
        })
    }

    /// The other side wants other padding. Only a client may.
    pub fn on_negotiate(&mut self, asked: PaddingNegotiate) -> Result<(), Error> {
        if self.is_client {
            return Err(Error::PaddingNegotiateFromRelay);
        }
        self.asked = Some(asked);
        if asked == PaddingNegotiate::Stop {
            self.deadline = None;
        }
        Ok(())
    }

    /// A cell was sent, or one or more were received.
    pub fn on_cell(&mut self, now: Tick, entropy: &mut dyn Entropy) {
        self.draw(now, entropy);
    }

    /// When the silence will have lasted long enough.
    pub fn next_deadline(&self) -> Option<Tick> {
        self.deadline
    }

    /// Whether a PADDING cell is to be sent now. If so, a new silence begins.
    pub fn handle_timeout(&mut self, now: Tick, entropy: &mut dyn Entropy) -> bool {
        let due = self.deadline.is_some_and(|deadline| now >= deadline);
        if due {
            self.draw(now, entropy);
        }
        due
    }

    /// How long a silence may be now; `None` if nothing is padded.
    fn silence(&self) -> Option<Silence> {
        let wanted = match (self.mode, self.asked) {
            (Mode::Off, _) | (_, Some(PaddingNegotiate::Stop)) => None,
            (Mode::Reduced, _) => Some(self.timing.reduced),
            // C tor: a relay pads no more often than the consensus says.
            (Mode::Normal, Some(PaddingNegotiate::Start { low_ms, high_ms })) => Some(Silence {
                low_ms: low_ms.max(self.timing.normal.low_ms),
                high_ms: high_ms.max(self.timing.normal.high_ms),
            }),
            (Mode::Normal, None) => Some(self.timing.normal),
        };
        let in_use = self.negotiable && (self.engaged || !self.is_client);
        let consensus_pads = self.timing.normal.high_ms > 0;
        wanted.filter(|silence| in_use && consensus_pads && silence.high_ms > 0)
    }

    /// low + max(X, Y), X and Y uniform in [0, high - low).
    fn draw(&mut self, now: Tick, entropy: &mut dyn Entropy) {
        self.deadline = self.silence().map(|Silence { low_ms, high_ms }| {
            let width = u32::from(high_ms.saturating_sub(low_ms));
            let extra = random::below(entropy, width).max(random::below(entropy, width));
            now + Duration::from_millis(u64::from(u32::from(low_ms) + extra))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;

    const START: Tick = Tick::new(Duration::from_secs(100));

    fn client() -> Padding {
        let mut padding = Padding::of_client(Timing::default());
        padding.set_version(5);
        padding
    }

    #[test]
    fn a_client_pads_only_links_used_in_earnest() {
        let mut entropy = Seeded(1);
        let mut padding = client();
        padding.on_cell(START, &mut entropy);
        assert_eq!(padding.next_deadline(), None);
        assert_eq!(padding.engage(START, &mut entropy), None);
        assert!(padding.next_deadline().is_some());
    }

    #[test]
    fn link_protocol_four_has_no_padding() {
        let mut entropy = Seeded(1);
        let mut padding = Padding::of_client(Timing::default());
        padding.set_version(4);
        assert_eq!(padding.set(Mode::Reduced, Timing::default(), START, &mut entropy), None);
        assert_eq!(padding.engage(START, &mut entropy), None);
        assert_eq!(padding.next_deadline(), None);
    }

    /// The larger of two uniform draws lies at two thirds of the width on average, and in
    /// the lower half a quarter of the time.
    #[test]
    fn silences_are_distributed_as_the_spec_says() {
        let mut entropy = Seeded(1);
        let mut padding = client();
        padding.engage(START, &mut entropy);
        let (mut sum, mut lower) = (Duration::ZERO, 0_u32);
        const ROUNDS: u32 = 20_000;
        for _ in 0..ROUNDS {
            padding.on_cell(START, &mut entropy);
            let silence = padding.next_deadline().unwrap().since(START);
            assert!((1500..9500).contains(&silence.as_millis()), "{silence:?}");
            sum += silence;
            lower += u32::from(silence.as_millis() < 5500);
        }
        let mean = (sum / ROUNDS).as_millis();
        assert!((6783..6883).contains(&mean), "{mean}");
        assert!((ROUNDS / 4 - 300..ROUNDS / 4 + 300).contains(&lower), "{lower}");
    }

    #[test]
    fn padding_is_sent_when_due_and_begins_a_new_silence() {
        let mut entropy = Seeded(1);
        let mut padding = client();
        padding.engage(START, &mut entropy);
        let due = padding.next_deadline().unwrap();
        assert!(!padding.handle_timeout(START, &mut entropy));
        assert_eq!(padding.next_deadline(), Some(due));
        assert!(padding.handle_timeout(due, &mut entropy));
        assert!(padding.next_deadline().unwrap() > due);
    }

    #[test]
    fn reduced_padding_tells_the_relay_to_stop_and_goes_on_alone() {
        let mut entropy = Seeded(1);
        let mut padding = client();
        assert_eq!(padding.set(Mode::Reduced, Timing::default(), START, &mut entropy), None, "not engaged yet");
        assert_eq!(padding.engage(START, &mut entropy), Some(PaddingNegotiate::Stop));
        let silence = padding.next_deadline().unwrap().since(START).as_millis();
        assert!((9000..14000).contains(&silence));
        assert_eq!(padding.set(Mode::Off, Timing::default(), START, &mut entropy), None, "the relay is silent already");
        assert_eq!(padding.next_deadline(), None);
        let start = padding.set(Mode::Normal, Timing::default(), START, &mut entropy);
        assert_eq!(start, Some(PaddingNegotiate::Start { low_ms: 1500, high_ms: 9500 }));
    }

    #[test]
    fn the_consensus_can_turn_padding_off_for_all() {
        let mut entropy = Seeded(1);
        let zero = Silence { low_ms: 0, high_ms: 0 };
        let mut padding = Padding::of_client(Timing { normal: zero, ..Timing::default() });
        padding.set_version(5);
        padding.engage(START, &mut entropy);
        for mode in [Mode::Normal, Mode::Reduced] {
            padding.set(mode, Timing { normal: zero, ..Timing::default() }, START, &mut entropy);
            assert_eq!(padding.next_deadline(), None);
        }
    }

    #[test]
    fn a_relay_obeys_but_never_pads_faster_than_the_consensus() {
        let mut entropy = Seeded(1);
        let mut padding = Padding::of_relay(Timing::default());
        padding.set_version(5);
        padding.on_cell(START, &mut entropy);
        assert!(padding.next_deadline().is_some(), "a relay pads by default");
        padding.on_negotiate(PaddingNegotiate::Stop).unwrap();
        assert_eq!(padding.next_deadline(), None);
        padding.on_negotiate(PaddingNegotiate::Start { low_ms: 1, high_ms: 2 }).unwrap();
        padding.on_cell(START, &mut entropy);
        assert!(padding.next_deadline().unwrap().since(START).as_millis() >= 1500);
        padding.on_negotiate(PaddingNegotiate::Start { low_ms: 60_000, high_ms: 1 }).unwrap();
        padding.on_cell(START, &mut entropy);
        assert_eq!(padding.next_deadline().unwrap().since(START).as_secs(), 60);
    }

    #[test]
    fn a_client_never_obeys_a_relay() {
        assert_eq!(client().on_negotiate(PaddingNegotiate::Stop), Err(Error::PaddingNegotiateFromRelay));
    }
}
