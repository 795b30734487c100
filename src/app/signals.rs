//! What each signal means.
//!
//! Hears them and says what is wanted; does nothing about it. Called by `mod.rs`. Spec: none.
//! C tor: `process_signal` in app/main/main.c.

use std::io;

use rustix::process::Signal as Number;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What somebody wants of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// INT: to end.
    Interrupt,
    /// TERM: likewise.
    Terminate,
    /// HUP: to read the options again.
    Reload,
    /// USR1: to tell what there is.
    Statistics,
    /// USR2: to log everything, until the next reload.
    Debug,
}

/// From now on a file that may not become larger, by XFSZ, is one that cannot be written, and not
/// our end. C tor: ignores it, which is the same to whoever writes.
pub fn outlive_limits(runtime: &Runtime) -> io::Result<()> {
    let _inside = runtime.enter();
    // Heard once, it is heard until the end, though nobody listens.
    signal(SignalKind::from_raw(Number::XFSZ.as_raw())).map(drop)
}

/// All signals that are heard.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    first: Signal,
    second: Signal,
}

impl Signals {
    /// From now on. To be called where the executor is.
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            first: signal(SignalKind::user_defined1())?,
            second: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.interrupt.recv() => Wish::Interrupt,
            _ = self.terminate.recv() => Wish::Terminate,
            _ = self.hang_up.recv() => Wish::Reload,
            _ = self.first.recv() => Wish::Statistics,
            _ = self.second.recv() => Wish::Debug,
        }
    }

    /// The next that wants it to end; what others want is too late.
    pub async fn end(&mut self) {
        while !matches!(self.next().await, Wish::Interrupt | Wish::Terminate) {}
    }
}
