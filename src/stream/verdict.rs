//! What an END means to us: try elsewhere or not, and what the user is told.
//!
//! Decides nothing by itself: `client/streams` asks and knows what was tried before,
//! `proxy` turns the word for the user into its own protocol's code. What we say to the
//! far end is one reason always, [`OUR_REASON`]. Called by `stream/mod.rs` for those
//! above. Spec: tor-spec, "Closing streams"; socks-extensions; the choices are C tor's
//! (`connection_edge_process_end_not_open`, `stream_end_reason_to_socks5_response`).

use crate::wire::relay_msg::EndReason;

/// The only reason a client gives in END: any other would tell the exit something.
pub const OUR_REASON: EndReason = EndReason::MISC;

/// Whether a stream that ended before it was open is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is not.
    No,
    /// On another circuit; this one takes no new streams. C tor: three such ends for one
    /// address are enough.
    Elsewhere,
    /// On another circuit: this exit will not serve that address, and may have said which
    /// it found.
    ElsewhereAddressRefused,
    /// On another circuit: this exit takes nobody for now.
    ElsewhereExitBusy,
    /// On another circuit: this one is closed, because its end says that it is broken.
    ElsewhereCircuitCloses,
}

/// What the user is told, as SOCKS 5 would put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// General failure.
    General,
    /// Not allowed by the rules.
    NotAllowed,
    /// The host cannot be reached.
    HostUnreachable,
    /// Connection refused.
    Refused,
    /// It took too long.
    TtlExpired,
}

/// Both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether to try again, and where. Counts only if the stream was not open yet.
    pub retry: Retry,
    /// What to say if it is not, or not any more.
    pub reply: Reply,
}

impl Verdict {
    /// What an END of the far end means. A reason that nobody defined is no reason to try
    /// again.
    pub fn on(reason: EndReason) -> Verdict {
        let (retry, reply) = match reason {
            EndReason::MISC => (Retry::Elsewhere, Reply::General),
            EndReason::RESOLVEFAILED | EndReason::NOROUTE => (Retry::Elsewhere, Reply::HostUnreachable),
            EndReason::EXITPOLICY => (Retry::ElsewhereAddressRefused, Reply::NotAllowed),
            EndReason::HIBERNATING | EndReason::RESOURCELIMIT => (Retry::ElsewhereExitBusy, Reply::General),
            EndReason::DESTROY | EndReason::TORPROTOCOL => (Retry::ElsewhereCircuitCloses, Reply::General),
            EndReason::CONNECTREFUSED | EndReason::DONE | EndReason::CONNRESET => (Retry::No, Reply::Refused),
            EndReason::TIMEOUT => (Retry::No, Reply::TtlExpired),
            _ => (Retry::No, Reply::General),
        };
        Verdict { retry, reply }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_the_verdict_of_c_tor() {
        use Reply::{General, HostUnreachable, NotAllowed, Refused, TtlExpired};
        let expected = [
            (0, Retry::No, General),
            (1, Retry::Elsewhere, General),
            (2, Retry::Elsewhere, HostUnreachable),
            (3, Retry::No, Refused),
            (4, Retry::ElsewhereAddressRefused, NotAllowed),
            (5, Retry::ElsewhereCircuitCloses, General),
            (6, Retry::No, Refused),
            (7, Retry::No, TtlExpired),
            (8, Retry::Elsewhere, HostUnreachable),
            (9, Retry::ElsewhereExitBusy, General),
            (10, Retry::No, General),
            (11, Retry::ElsewhereExitBusy, General),
            (12, Retry::No, Refused),
            (13, Retry::ElsewhereCircuitCloses, General),
            (14, Retry::No, General),
            (255, Retry::No, General),
        ];
        for (reason, retry, reply) in expected {
            assert_eq!(Verdict::on(EndReason(reason)), Verdict { retry, reply }, "{reason}");
        }
    }
}
