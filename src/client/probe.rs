//! Probes: whether a circuit on which nobody was answered works to its end.
//!
//! It may be that its guard lets none through but those that end at a friend's; or the servers
//! were dead, or the programs left. So before such a circuit is closed, its exit is asked for an
//! address that no exit connects to, of which it can only know by being asked, and whose refusal
//! names it. Counts nothing itself; what it means is `path/bias.rs`'s. Called by `mod.rs`,
//! `upkeep.rs` and `control.rs`. Spec: path-spec, "Detecting route manipulation by guard nodes
//! (path bias)". C tor: `pathbias_send_usable_probe`, `pathbias_check_probe_response`.

use core::net::Ipv4Addr;

use super::Client;
use super::circuits::{End, Probe};
use super::events::{CircuitReason, CircuitStatus};
use super::junction::TunnelNo;
use super::world;
use crate::base::random::{Entropy, array};
use crate::base::time::Now;
use crate::circuit::Ended;
use crate::circuit::hop::{HopNo, StreamAt};
use crate::wire::relay_msg::{BeginFlags, EndReason};

/// The port of the address that is asked for. C tor: the one that most exits refuse anyway.
const PORT: u16 = 25;

impl Client {
    /// Closes a circuit that is not needed any more; if nobody has been answered on it, its exit
    /// is asked first.
    pub(super) fn release_circuit(
        &mut self,
        no: TunnelNo,
        end: End,
        why: CircuitReason,
        now: Now,
        entropy: &mut dyn Entropy,
    ) {
        if end != End::Ours || !self.probe(no, now, entropy) {
            self.drop_circuit(no, end, why, now, entropy);
        }
    }

    /// Asks the exit of a circuit, if there is doubt and a way. The circuit is closed when it has
    /// answered, or has not for as long as others take to be built.
    fn probe(&mut self, no: TunnelNo, now: Now, entropy: &mut dyn Entropy) -> bool {
        if !self.pool.is_in_doubt(no) {
            return false;
        }
        let [a, b, c] = array(entropy);
        let wanted = Ipv4Addr::new(0, a, b, c);
        let Some(tunnel) = self.junction.tunnel_mut(no) else { return false };
        let exit = HopNo(u8::try_from(tunnel.hop_count().saturating_sub(1)).unwrap_or(u8::MAX));
        let stream = tunnel.begin(exit, &wanted.to_string(), PORT, BeginFlags::default(), false, entropy);
        let Ok(stream) = stream else { return false };
        let before = self.pool.on_probed(no, Probe { stream, wanted }, now.tick);
        before.inspect(|before| self.say_circuit(no, CircuitStatus::Repurposed(*before)));
        true
    }

    /// A stream of nobody's was answered: the exit has spoken. `why` is none if it says that it is
    /// connected, which it cannot be.
    pub(super) fn on_probe_answered(
        &mut self,
        no: TunnelNo,
        stream: StreamAt,
        why: Option<&Ended>,
        now: Now,
        entropy: &mut dyn Entropy,
    ) {
        let probe = self.pool.get(no).and_then(|circuit| circuit.probe).filter(|probe| probe.stream == stream);
        let Some(probe) = probe else { return };
        if why.is_some_and(|why| is_refusal_of(probe.wanted, why)) {
            self.pool.on_answered(no, world(&self.bootstrap, &self.setup, now).as_ref());
        }
        self.drop_circuit(no, End::Ours, CircuitReason::Finished, now, entropy);
    }
}

/// Only the exit knows what it was asked for.
fn is_refusal_of(wanted: Ipv4Addr, why: &Ended) -> bool {
    let Ended::ByFarEnd { end, .. } = why else { return false };
    let is_it = end.address.is_some_and(|(ip, _)| *ip.uncover() == wanted);
    end.reason == EndReason::EXITPOLICY && is_it
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::redact::Sensitive;
    use crate::stream;
    use crate::wire::relay_msg::End;

    #[test]
    fn an_answer_names_what_was_asked_for() {
        let wanted = Ipv4Addr::new(0, 1, 2, 3);
        let by_exit = |reason, ip: Option<&str>| {
            let address = ip.map(|ip| (Sensitive::new(ip.parse().unwrap()), 60));
            Ended::ByFarEnd { end: End { reason, address }, was_open: false }
        };
        assert!(is_refusal_of(wanted, &by_exit(EndReason::EXITPOLICY, Some("0.1.2.3"))));
        for other in [
            by_exit(EndReason::EXITPOLICY, Some("0.1.2.4")),
            by_exit(EndReason::EXITPOLICY, Some("::1:203")),
            by_exit(EndReason::EXITPOLICY, None),
            by_exit(EndReason::MISC, None),
            Ended::Refused(stream::Error::AddressRefused),
        ] {
            assert!(!is_refusal_of(wanted, &other), "{other:?}");
        }
    }
}
