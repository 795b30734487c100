//! The two questions every error answers: whose fault was it, and how much falls with it.
//!
//! Not an error type: each folder has its own small enum and maps it here. Called by the
//! shell (what to retry, what to log) and by the metrics. Spec: none.

/// Whose fault it was, by what the reader can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blame {
    /// The other side broke the protocol. Do not ask it again soon.
    Peer,
    /// The network between us and the other side. Ask again later.
    Network,
    /// This machine: disk, memory, descriptors.
    Local,
    /// Whoever gave us this configuration or request.
    User,
    /// This machine's clock.
    Clock,
    /// Ourselves. Always worth a report.
    Bug,
}

/// How much must be given up because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One stream.
    Stream,
    /// One circuit with all its streams.
    Circuit,
    /// One link with all its circuits.
    Link,
    /// Everything.
    Client,
}
