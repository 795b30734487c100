//! Silence: connections that are dead, and of which nobody has said so.
//!
//! A machine that slept, or an address translator that forgot us, leaves connections that look
//! open and answer nothing. What would wait for them goes another way at once: circuits on them
//! take nothing new, and who was asked over them is asked again. Streams that are open stay,
//! for as soon as such a link speaks again, all on it is as good as before. Called by `mod.rs`
//! and `upkeep.rs`. Spec: none; C tor: `circuit_note_clock_jumped` in core/or/circuitlist.c,
//! and nothing for the rest, where each stream waits for its own timeout.

use core::time::Duration;

use super::Client;
use super::circuits::End;
use super::events::{CircuitReason, StreamReason};
use super::junction::{LinkNo, TunnelNo};
use super::notices::Notice;
use super::streams::{RequestNo, State};
use crate::base::random::Entropy;
use crate::base::redact::Sensitive;
use crate::base::time::{Now, Tick};
use crate::circuit::hop::StreamAt;
use crate::wire::relay_msg::EndReason;

/// A clock that moves by so much more, or less, than time has passed, has jumped: it was set, or
/// the machine slept. C tor: `NUM_JUMPED_SECONDS_BEFORE_WARN`.
const JUMP: Duration = Duration::from_secs(100);

/// What the clocks said when they were last looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clocks(Option<Now>);

/// By how much the wall clock has jumped, and where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    /// It skipped so much. If the machine slept, it is right now.
    Ahead(Duration),
    /// It was set back.
    Back(Duration),
}

impl Clocks {
    fn look(&mut self, now: Now) -> Option<Jump> {
        let before = self.0.replace(now)?;
        let expected = before.wall + now.tick.since(before.tick);
        let (ahead, back) = (now.wall.since(expected), expected.since(now.wall));
        if ahead >= JUMP { Some(Jump::Ahead(ahead)) } else { (back >= JUMP).then_some(Jump::Back(back)) }
    }
}

impl Client {
    /// To be called first with each input that brings the time.
    pub(super) fn watch_clocks(&mut self, now: Now, entropy: &mut dyn Entropy) {
        let Some(jump) = self.clocks.look(now) else { return };
        self.bootstrap.say(Notice::Jumped(jump));
        self.bootstrap.on_jump(now, entropy);
        for link in self.links.doubt(now.tick) {
            self.leave_silent(link, now, entropy);
        }
    }

    /// Something came over a link.
    pub(super) fn on_heard(&mut self, link: LinkNo, now: Now) {
        if self.links.on_heard(link, now.tick) {
            self.pool.set_reach(link, true);
            self.stir();
        }
    }

    /// The first hop of a circuit has answered.
    pub(super) fn on_first_hop(&mut self, link: LinkNo, begun: Option<Tick>, now: Now) {
        if let Some(begun) = begun {
            self.links.on_answered(link, now.tick.since(begun));
        }
    }

    /// Finds the links that should have answered by now.
    pub(super) fn find_silent(&mut self, now: Now, entropy: &mut dyn Entropy) {
        let is_over =
            |(link, begun): &(LinkNo, Tick)| self.links.silent_at(*link, *begun).is_some_and(|at| at <= now.tick);
        let over: Vec<_> = self.unanswered_circuits().filter(is_over).collect();
        for (link, begun) in over {
            self.on_unanswered(link, begun, now, entropy);
        }
    }

    /// When to look for them.
    pub(super) fn next_silent(&self) -> Option<Tick> {
        self.unanswered_circuits().filter_map(|(link, begun)| self.links.silent_at(link, begun)).min()
    }

    /// What was asked over a link then has had no answer for too long. If nothing came over it at
    /// all, the others may be dead for the same reason, and whoever is dialled anew speaks first.
    pub(super) fn on_unanswered(&mut self, link: LinkNo, begun: Tick, now: Now, entropy: &mut dyn Entropy) {
        if self.links.on_unanswered(link, begun) {
            self.leave_silent(link, now, entropy);
            for other in self.links.doubt(begun) {
                self.leave_silent(other, now, entropy);
            }
        }
    }

    /// The circuits of which the first relay has not answered: over which link, and when they
    /// were begun.
    fn unanswered_circuits(&self) -> impl Iterator<Item = (LinkNo, Tick)> + '_ {
        let circuits = self.pool.iter().filter(|(_, it)| it.hops_built() == 0).map(|(no, it)| (no, it.link));
        let errands = self.directories.iter().filter(|(_, it)| !it.is_built()).map(|(no, it)| (*no, it.link));
        circuits.chain(errands).filter_map(|(no, link)| Some((link, self.junction.tunnel(no)?.begun()?)))
    }

    /// Whoever waits for a link that is silent goes another way, and blames nobody: it is the
    /// connection that is dead, and not the relay behind it. Unless the relay has never answered
    /// there: then its circuits run out of their time, which is its fault.
    fn leave_silent(&mut self, link: LinkNo, now: Now, entropy: &mut dyn Entropy) {
        self.pool.set_reach(link, false);
        let asked: Vec<(RequestNo, TunnelNo, StreamAt)> = self.asked_over(link).collect();
        for (no, tunnel, at) in asked {
            self.ask_again(no, tunnel, at, now);
        }
        if !self.links.has_answered(link) {
            return self.stir();
        }
        let being_built = self.pool.iter().filter(|(_, it)| it.link == link && it.hops_built() == 0);
        let being_built: Vec<TunnelNo> = being_built.map(|(no, _)| no).collect();
        for no in being_built {
            self.drop_circuit(no, End::Ours, CircuitReason::TimedOut, now, entropy);
        }
        self.errands_on(link).into_iter().for_each(|no| self.cancel_errand(no, now));
        self.stir();
    }

    fn asked_over(&self, link: LinkNo) -> impl Iterator<Item = (RequestNo, TunnelNo, StreamAt)> + '_ {
        self.streams.iter().filter_map(move |(no, request)| match request.state {
            State::Asked { tunnel, at, .. } => {
                self.pool.get(tunnel).is_some_and(|circuit| circuit.link == link).then_some((no, tunnel, at))
            }
            State::Waiting | State::Open { .. } => None,
        })
    }

    /// A request that was not answered waits for another circuit.
    pub(super) fn ask_again(&mut self, no: RequestNo, tunnel: TunnelNo, at: StreamAt, now: Now) {
        let unanswered = self.junction.tunnel_mut(tunnel).map(|tunnel| tunnel.recall(at));
        let unanswered = unanswered.unwrap_or_else(|| Sensitive::new(Vec::new()));
        self.put_back(no, tunnel, unanswered, StreamReason::Ours(EndReason::TIMEOUT), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Wall;

    #[test]
    fn a_jump_is_what_no_time_accounts_for() {
        let mut clocks = Clocks::default();
        let at = |tick, wall| Now { tick: Tick::new(Duration::from_secs(tick)), wall: Wall::from_secs(wall) };
        let secs = Duration::from_secs;
        for (now, expected) in [
            (at(0, 1000), None),
            (at(5000, 6000), None),
            (at(5001, 6100), None),
            (at(5001, 6200), Some(Jump::Ahead(secs(100)))),
            (at(5002, 6201), None),
            (at(5012, 6112), None),
            (at(5022, 6022), Some(Jump::Back(secs(100)))),
            (at(5022, 0), Some(Jump::Back(secs(6022)))),
        ] {
            assert_eq!(clocks.look(now), expected, "{now:?}");
        }
    }
}
