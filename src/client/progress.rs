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
    /// Its connection is there, and the link handshake goes on.
    Handshake,
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
    /// Some are there.
    LoadingDescriptors,
    /// Enough are there to build circuits.
    EnoughDirectory,
    /// A first guard is dialled.
    CircuitConnecting,
    /// Its connection is there, and the link handshake goes on.
    CircuitHandshake,
    /// A first circuit is being built.
    CircuitCreate,
    /// It is there.
    Done,
}

impl Progress {
    /// Goes on to `step`, never back.
    pub(super) fn reach(&mut self, step: Progress) {
        *self = (*self).max(step);
    }

    /// Of a hundred, the word for programs, and the one for people.
    pub fn words(self) -> (u8, &'static str, &'static str) {
        match self {
            Progress::Starting => (0, "starting", "Starting"),
            Progress::Connecting => (5, "conn", "Connecting to a relay"),
            Progress::Handshake => (14, "handshake", "Handshaking with a relay"),
            Progress::OneHop => (20, "onehop_create", "Establishing an encrypted directory connection"),
            Progress::RequestingStatus => (25, "requesting_status", "Asking for networkstatus consensus"),
            Progress::LoadingStatus => (30, "loading_status", "Loading networkstatus consensus"),
            Progress::LoadingKeys => (40, "loading_keys", "Loading authority key certs"),
            Progress::RequestingDescriptors => (45, "requesting_descriptors", "Asking for relay descriptors"),
            Progress::LoadingDescriptors => (50, "loading_descriptors", "Loading relay descriptors"),
            Progress::EnoughDirectory => (75, "enough_dirinfo", "Loaded enough directory info to build circuits"),
            Progress::CircuitConnecting => (80, "ap_conn", "Connecting to a relay to build circuits"),
            Progress::CircuitHandshake => (89, "ap_handshake", "Finishing handshake with a relay to build circuits"),
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
        progress.reach(Progress::EnoughDirectory);
        assert_eq!(progress.words(), (75, "enough_dirinfo", "Loaded enough directory info to build circuits"));
    }
}
