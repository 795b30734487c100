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
/// The silence is measured from the last cell in either direction and drawn anew after it;
/// drawn only when the shortest one has passed, so that a busy link draws nothing.
pub struct Padding {
    is_client: bool,
    mode: Mode,
    timing: Timing,
    /// The link protocol has padding.
    negotiable: bool,
    /// The link is used for more than directory requests.
    engaged: bool,
    /// A client: what the relay thinks we want. It begins with [`Mode::Normal`].
    told: Mode,
    /// A relay: what the client asked for.
    asked: Option<PaddingNegotiate>,
    /// When the last cell went either way.
    last_cell: Tick,
    /// When the silence drawn since then is over.
    drawn: Option<Tick>,
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
            told: Mode::Normal,
            asked: None,
            last_cell: Tick::default(),
            drawn: None,
        }
    }

    /// The link protocol was agreed. Gives what the relay must be told.
    pub fn set_version(&mut self, version: u16, now: Tick) -> Option<PaddingNegotiate> {
        self.negotiable = version >= FIRST_VERSION;
        self.on_cell(now);
        self.negotiate()
    }

    /// The link is used in earnest from now on. Gives what the relay must be told.
    ///
    /// Which use is earnest is the caller's to say: C tor pads no link that only had
    /// circuits of one hop, and with `nf_pad_before_usage 0` none whose circuits nobody
    /// has used.
    pub fn engage(&mut self, now: Tick) -> Option<PaddingNegotiate> {
        if !self.engaged {
            self.engaged = true;
            self.on_cell(now);
        }
        self.negotiate()
    }

    /// Perhaps another mode or timing. Gives what the relay must be told.
    pub fn set(&mut self, mode: Mode, timing: Timing, now: Tick) -> Option<PaddingNegotiate> {
        if (self.mode, self.timing) != (mode, timing) {
            (self.mode, self.timing) = (mode, timing);
            self.on_cell(now);
        }
        self.negotiate()
    }

    /// A relay need only be told what differs from what it thinks.
    fn negotiate(&mut self) -> Option<PaddingNegotiate> {
        let relay_pads = |mode| mode == Mode::Normal;
        let news = relay_pads(self.told) != relay_pads(self.mode);
        if !self.is_client || !self.engaged || !self.negotiable || !news {
            return None;
        }
        self.told = self.mode;
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
        self.drawn = None;
        Ok(())
    }

    /// A cell was sent, or one or more were received.
    pub fn on_cell(&mut self, now: Tick) {
        self.last_cell = now;
        self.drawn = None;
    }

    /// When to call [`Padding::handle_timeout`]: when the shortest silence is over, then when
    /// the one drawn is.
    pub fn next_deadline(&self) -> Option<Tick> {
        let silence = self.silence()?;
        Some(self.drawn.unwrap_or(self.last_cell + Duration::from_millis(u64::from(silence.low_ms))))
    }

    /// Whether a PADDING cell is due now. If so, a new silence begins.
    pub fn handle_timeout(&mut self, now: Tick, entropy: &mut dyn Entropy) -> bool {
        let Some(silence) = self.silence() else { return false };
        if self.next_deadline().is_none_or(|deadline| now < deadline) {
            return false;
        }
        let over = *self.drawn.get_or_insert_with(|| self.last_cell + silence.draw(entropy));
        if now < over {
            return false;
        }
        self.on_cell(now);
        true
    }

    /// How long a silence may be now; `None` if nothing is padded.
    fn silence(&self) -> Option<Silence> {
        let normal = self.timing.normal;
        let wanted = match (self.mode, self.asked) {
            (Mode::Off, _) | (_, Some(PaddingNegotiate::Stop)) => None,
            // C tor: nobody pads more often than the consensus says.
            (Mode::Reduced, _) => Some(normal.at_least(self.timing.reduced)),
            (Mode::Normal, Some(PaddingNegotiate::Start { low_ms, high_ms })) => {
                Some(normal.at_least(Silence { low_ms, high_ms }))
            }
            (Mode::Normal, None) => Some(normal),
        };
        let in_use = self.negotiable && (self.engaged || !self.is_client);
        let consensus_pads = normal.low_ms > 0 || normal.high_ms > 0;
        // A silence of no length would never end.
        wanted.map(Silence::not_empty).filter(|_| in_use && consensus_pads)
    }
}

impl Silence {
    fn at_least(self, other: Silence) -> Silence {
        Silence { low_ms: self.low_ms.max(other.low_ms), high_ms: self.high_ms.max(other.high_ms) }
    }

    fn not_empty(self) -> Silence {
        Silence { low_ms: self.low_ms.max(1), ..self }
    }

    /// low + max(X, Y), X and Y uniform in [0, high - low).
    fn draw(self, entropy: &mut dyn Entropy) -> Duration {
        let width = u32::from(self.high_ms.saturating_sub(self.low_ms));
        let extra = random::below(entropy, width).max(random::below(entropy, width));
        Duration::from_millis(u64::from(u32::from(self.low_ms) + extra))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;

    const START: Tick = Tick::new(Duration::from_secs(100));

    fn client() -> Padding {
        let mut padding = Padding::of_client(Timing::default());
        assert_eq!(padding.set_version(5, START), None);
        padding
    }

    fn engaged() -> Padding {
        let mut padding = client();
        assert_eq!(padding.engage(START), None);
        padding
    }

    /// Waits until the padding is sent; gives how long that took.
    fn sent_after(padding: &mut Padding, from: Tick, entropy: &mut Seeded) -> Duration {
        let mut now = from;
        loop {
            let deadline = padding.next_deadline().unwrap();
            assert!(deadline >= now, "time does not go back");
            now = deadline;
            if padding.handle_timeout(now, entropy) {
                return now.since(from);
            }
        }
    }

    #[test]
    fn a_client_pads_only_links_used_in_earnest() {
        let mut padding = client();
        padding.on_cell(START);
        assert_eq!(padding.next_deadline(), None);
        assert_eq!(padding.engage(START), None);
        assert!(padding.next_deadline().is_some());
    }

    #[test]
    fn link_protocol_four_has_no_padding() {
        let mut padding = Padding::of_client(Timing::default());
        assert_eq!(padding.set_version(4, START), None);
        assert_eq!(padding.set(Mode::Reduced, Timing::default(), START), None);
        assert_eq!(padding.engage(START), None);
        assert_eq!(padding.next_deadline(), None);
        assert!(!padding.handle_timeout(START + Duration::from_secs(60), &mut Seeded(1)));
    }

    /// The larger of two uniform draws lies at two thirds of the width on average, and in
    /// the lower half a quarter of the time.
    #[test]
    fn silences_are_distributed_as_the_spec_says() {
        const ROUNDS: u32 = 20_000;
        let mut entropy = Seeded(1);
        let mut padding = engaged();
        let (mut sum, mut lower) = (Duration::ZERO, 0_u32);
        for _ in 0..ROUNDS {
            padding.on_cell(START);
            let silence = sent_after(&mut padding, START, &mut entropy);
            assert!((1500..9500).contains(&silence.as_millis()), "{silence:?}");
            sum += silence;
            lower += u32::from(silence.as_millis() < 5500);
        }
        let mean = (sum / ROUNDS).as_millis();
        assert!((6783..6883).contains(&mean), "{mean}");
        assert!((ROUNDS / 4 - 300..ROUNDS / 4 + 300).contains(&lower), "{lower}");
    }

    #[test]
    fn any_cell_begins_a_new_silence() {
        let mut entropy = Seeded(1);
        let mut padding = engaged();
        let shortest = padding.next_deadline().unwrap();
        assert_eq!(shortest.since(START).as_millis(), 1500);
        assert!(!padding.handle_timeout(START, &mut entropy));
        assert!(!padding.handle_timeout(shortest, &mut entropy), "drawn, and longer than the shortest");
        let drawn = padding.next_deadline().unwrap();
        assert!(drawn > shortest);
        padding.set(Mode::Normal, Timing::default(), drawn);
        assert_eq!(padding.next_deadline(), Some(drawn), "nothing new was said");
        padding.on_cell(drawn);
        assert_eq!(padding.next_deadline(), Some(drawn + Duration::from_millis(1500)));
        let late = drawn + Duration::from_secs(60);
        assert!(padding.handle_timeout(late, &mut entropy));
        assert_eq!(padding.next_deadline(), Some(late + Duration::from_millis(1500)), "padding is a cell too");
    }

    #[test]
    fn reduced_padding_tells_the_relay_to_stop_and_goes_on_alone() {
        let mut entropy = Seeded(1);
        let mut padding = client();
        assert_eq!(padding.set(Mode::Reduced, Timing::default(), START), None, "not engaged yet");
        assert_eq!(padding.engage(START), Some(PaddingNegotiate::Stop));
        assert_eq!(padding.engage(START), None, "told once");
        let silence = sent_after(&mut padding, START, &mut entropy).as_millis();
        assert!((9000..14000).contains(&silence));
        assert_eq!(padding.set(Mode::Off, Timing::default(), START), None, "the relay is silent already");
        assert_eq!(padding.next_deadline(), None);
        let start = padding.set(Mode::Normal, Timing::default(), START);
        assert_eq!(start, Some(PaddingNegotiate::Start { low_ms: 1500, high_ms: 9500 }));
    }

    #[test]
    fn what_was_wanted_before_the_version_was_known_is_told_after() {
        let mut padding = Padding::of_client(Timing::default());
        assert_eq!(padding.set(Mode::Off, Timing::default(), START), None);
        assert_eq!(padding.engage(START), None);
        assert_eq!(padding.set_version(5, START), Some(PaddingNegotiate::Stop));
    }

    #[test]
    fn the_consensus_can_turn_padding_off_for_all() {
        let timing = Timing { normal: Silence { low_ms: 0, high_ms: 0 }, ..Timing::default() };
        let mut padding = engaged();
        for mode in [Mode::Normal, Mode::Reduced] {
            padding.set(mode, timing, START);
            assert_eq!(padding.next_deadline(), None);
        }
    }

    #[test]
    fn nobody_pads_more_often_than_the_consensus() {
        let mut entropy = Seeded(1);
        let slow = Timing { normal: Silence { low_ms: 20_000, high_ms: 30_000 }, ..Timing::default() };
        let mut padding = engaged();
        padding.set(Mode::Reduced, slow, START);
        assert!(sent_after(&mut padding, START, &mut entropy).as_millis() >= 20_000);

        let mut relay = Padding::of_relay(Timing::default());
        relay.set_version(5, START);
        relay.on_negotiate(PaddingNegotiate::Start { low_ms: 1, high_ms: 2 }).unwrap();
        let silences: Vec<_> = (0..50)
            .map(|_| {
                relay.on_cell(START);
                sent_after(&mut relay, START, &mut entropy).as_millis()
            })
            .collect();
        assert!(silences.iter().all(|silence| (1500..9500).contains(silence)), "{silences:?}");
        assert!(silences.iter().any(|silence| *silence > 5000), "both bounds are the consensus's: {silences:?}");
    }

    /// The consensus may say any of these.
    #[test]
    fn the_shortest_silences_end_once_and_not_for_ever() {
        let mut entropy = Seeded(1);
        for high_ms in [1, 2, 3] {
            let mut padding = engaged();
            padding.set(Mode::Normal, Timing { normal: Silence { low_ms: 0, high_ms }, ..Timing::default() }, START);
            for _ in 0..100 {
                assert!(!padding.handle_timeout(START, &mut entropy));
                assert!(padding.next_deadline().unwrap() > START);
            }
            assert!(sent_after(&mut padding, START, &mut entropy) >= Duration::from_millis(1));
        }
    }

    #[test]
    fn a_relay_obeys_its_client() {
        let mut entropy = Seeded(1);
        let mut padding = Padding::of_relay(Timing::default());
        padding.set_version(5, START);
        assert!(padding.next_deadline().is_some(), "a relay pads by default");
        padding.on_negotiate(PaddingNegotiate::Stop).unwrap();
        assert_eq!(padding.next_deadline(), None);
        padding.on_negotiate(PaddingNegotiate::Start { low_ms: 60_000, high_ms: 1 }).unwrap();
        padding.on_cell(START);
        assert_eq!(sent_after(&mut padding, START, &mut entropy).as_secs(), 60);
    }

    #[test]
    fn a_client_never_obeys_a_relay() {
        assert_eq!(client().on_negotiate(PaddingNegotiate::Stop), Err(Error::PaddingNegotiateFromRelay));
    }
}
