//! How far the client is, as controllers and people are told.
//!
//! Only words and numbers; what leads from one to the next is `bootstrap.rs` and `mod.rs`.
//! Spec: control-spec, "Bootstrap phases". C tor: feature/control/control_bootstrap.c.

/// The steps that this client goes through, in order. Bridges and proxies have more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Nothing was done yet.
    Starting,
    /// A first directory is dialled.
    Connecting,
    /// Its connection is there.
    Connected,
    /// The link handshake goes on.
    Handshake,
    /// It is over.
    HandshakeDone,
    /// The circuit of one hop is being built.
    OneHop,
    /// A consensus is asked for.
    RequestingStatus,
    /// It arrives.
    LoadingStatus,
    /// It needs certificates.
    LoadingKeys,
    /// Microdescriptors are asked for.
    RequestingDescriptors,
    /// Some are there: so many in a hundred of all that is to be done, from 50 to 74.
    LoadingDescriptors(u8),
    /// Enough are there to build circuits.
    EnoughDirectory,
    /// A first guard is dialled.
    CircuitConnecting,
    /// Its connection is there.
    CircuitConnected,
    /// The link handshake goes on.
    CircuitHandshake,
    /// It is over.
    CircuitHandshakeDone,
    /// A first circuit is being built.
    CircuitCreate,
    /// It is there.
    Done,
}

impl Progress {
    /// Goes on to `step`, never back. True if that was on.
    pub(super) fn reach(&mut self, step: Progress) -> bool {
        let is_new = step > *self;
        *self = (*self).max(step);
        is_new
    }

    /// So much of the paths that are needed can be built by now. C tor:
    /// `count_loading_descriptors_progress`.
    pub(super) fn loading(share: f64, needed: f64) -> Progress {
        const FIRST: u8 = 50;
        const SPAN: f64 = 24.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 24")]
        let part = if needed > 0.0 { (share / needed).clamp(0.0, 1.0) * SPAN } else { 0.0 } as u8;
        Progress::LoadingDescriptors(FIRST + part)
    }

    /// Of a hundred, the word for programs, and the one for people.
    pub fn words(self) -> (u8, &'static str, &'static str) {
        match self {
            Progress::Starting => (0, "starting", "Starting"),
            Progress::Connecting => (5, "conn", "Connecting to a relay"),
            Progress::Connected => (10, "conn_done", "Connected to a relay"),
            Progress::Handshake => (14, "handshake", "Handshaking with a relay"),
            Progress::HandshakeDone => (15, "handshake_done", "Handshake with a relay done"),
            Progress::OneHop => (20, "onehop_create", "Establishing an encrypted directory connection"),
            Progress::RequestingStatus => (25, "requesting_status", "Asking for networkstatus consensus"),
            Progress::LoadingStatus => (30, "loading_status", "Loading networkstatus consensus"),
            Progress::LoadingKeys => (40, "loading_keys", "Loading authority key certs"),
            Progress::RequestingDescriptors => (45, "requesting_descriptors", "Asking for relay descriptors"),
            Progress::LoadingDescriptors(percent) => (percent, "loading_descriptors", "Loading relay descriptors"),
            Progress::EnoughDirectory => (75, "enough_dirinfo", "Loaded enough directory info to build circuits"),
            Progress::CircuitConnecting => (80, "ap_conn", "Connecting to a relay to build circuits"),
            Progress::CircuitConnected => (85, "ap_conn_done", "Connected to a relay to build circuits"),
            Progress::CircuitHandshake => (89, "ap_handshake", "Finishing handshake with a relay to build circuits"),
            Progress::CircuitHandshakeDone => {
                (90, "ap_handshake_done", "Handshake finished with a relay to build circuits")
            }
            Progress::CircuitCreate => (95, "circuit_create", "Establishing a Tor circuit"),
            Progress::Done => (100, "done", "Done"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_never_goes_back() {
        let mut progress = Progress::LoadingKeys;
        progress.reach(Progress::Connecting);
        assert_eq!(progress.words().0, 40);
        for (share, expected) in [(0.0, 50), (0.3, 62), (0.6, 74), (0.9, 74)] {
            progress.reach(Progress::loading(share, 0.6));
            assert_eq!(progress.words(), (expected, "loading_descriptors", "Loading relay descriptors"));
        }
        progress.reach(Progress::EnoughDirectory);
        assert_eq!(progress.words(), (75, "enough_dirinfo", "Loaded enough directory info to build circuits"));
    }
}
