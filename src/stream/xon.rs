//! When one stream must stop sending, and when it tells the far end to go on.
//!
//! Not the flow of the circuit around it (that is `congestion/`); holds no data, only counts.
//! Windows are all there is until congestion control is asked for: where it is, XON and
//! XOFF take their place as another [`Flow`]. Called by `stream/mod.rs`. Spec: tor-spec,
//! "Flow control", stream-level; proposal 324, section 4, for XON and XOFF.

use super::Error;

/// DATA cells a stream may have under way each way; the spec's.
pub const WINDOW: u32 = 500;
/// Of how many DATA cells one is acknowledged; the spec's.
pub const INCREMENT: u32 = 50;
/// Bytes its reader may have left unread when a SENDME is sent; C tor's, which asks
/// `connection_outbuf_too_full`. So an idle reader makes us hold no more than this and a
/// window.
pub const MAX_UNREAD: usize = 10 * 509;

/// How one stream's flow is held.
#[derive(Debug)]
pub enum Flow {
    /// By windows, where the hop has no congestion control.
    Windows(Windows),
}

/// A window each way.
#[derive(Debug)]
pub struct Windows {
    /// What we may still send; at most [`WINDOW`].
    package: u32,
    /// What the far end may still send; at most [`WINDOW`].
    deliver: u32,
    /// SENDMEs that wait to be sent. `deliver + owed * INCREMENT <= WINDOW`.
    owed: u32,
}

impl Flow {
    /// Two full windows.
    pub fn windows() -> Flow {
        Flow::Windows(Windows { package: WINDOW, deliver: WINDOW, owed: 0 })
    }

    /// Whether a DATA cell may be sent.
    pub fn may_send(&self) -> bool {
        match self {
            Flow::Windows(windows) => windows.package > 0,
        }
    }

    /// A DATA cell was sent.
    pub fn on_sent(&mut self) {
        match self {
            Flow::Windows(windows) => windows.package = windows.package.saturating_sub(1),
        }
    }

    /// A DATA cell came.
    pub fn on_data(&mut self) -> Result<(), Error> {
        match self {
            Flow::Windows(windows) => {
                windows.deliver = windows.deliver.checked_sub(1).ok_or(Error::WindowOverrun)?;
            }
        }
        Ok(())
    }

    /// A stream SENDME came.
    pub fn on_sendme(&mut self) -> Result<(), Error> {
        let Flow::Windows(windows) = self;
        let package = windows.package + INCREMENT;
        if package > WINDOW {
            return Err(Error::SendmeUnexpected);
        }
        windows.package = package;
        Ok(())
    }

    /// XON or XOFF came.
    pub fn on_xon_xoff(&mut self) -> Result<(), Error> {
        match self {
            Flow::Windows(_) => Err(Error::FlowControlNotNegotiated),
        }
    }

    /// Whether a SENDME is due while so many bytes wait for the reader. If so it is owed
    /// from now on.
    pub fn sendme_due(&mut self, unread: usize) -> bool {
        let Flow::Windows(windows) = self;
        let due = unread <= MAX_UNREAD && windows.deliver + (windows.owed + 1) * INCREMENT <= WINDOW;
        windows.owed += u32::from(due);
        due
    }

    /// A SENDME that was owed leaves. Only now may the far end send more.
    pub fn on_sendme_sent(&mut self) {
        let Flow::Windows(windows) = self;
        if windows.owed > 0 {
            windows.owed -= 1;
            windows.deliver += INCREMENT;
        }
    }

    /// What may still come once we have sent END and no SENDME more: DATA cells, and
    /// SENDMEs for what we sent.
    pub fn may_still_come(&self) -> (u32, u32) {
        let Flow::Windows(windows) = self;
        (windows.deliver, (WINDOW - windows.package) / INCREMENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_hundred_cells_go_out_before_a_sendme() {
        let mut flow = Flow::windows();
        let mut sent = 0;
        while flow.may_send() {
            flow.on_sent();
            sent += 1;
        }
        assert_eq!(sent, WINDOW);
        for n in 1..=10 {
            assert_eq!(flow.on_sendme(), Ok(()));
            assert_eq!(flow.may_still_come().1, 10 - n);
        }
        assert_eq!(flow.on_sendme(), Err(Error::SendmeUnexpected));
    }

    #[test]
    fn a_sendme_of_cells_not_yet_sent_is_refused() {
        let mut flow = Flow::windows();
        (0..INCREMENT - 1).for_each(|_| flow.on_sent());
        assert_eq!(flow.on_sendme(), Err(Error::SendmeUnexpected));
        flow.on_sent();
        assert_eq!(flow.on_sendme(), Ok(()));
    }

    #[test]
    fn sendmes_wait_for_the_reader_and_for_the_cells_they_are_for() {
        let mut flow = Flow::windows();
        (0..INCREMENT - 1).for_each(|_| flow.on_data().unwrap());
        assert!(!flow.sendme_due(0));
        flow.on_data().unwrap();
        assert!(!flow.sendme_due(MAX_UNREAD + 1));
        assert!(flow.sendme_due(MAX_UNREAD));
        assert!(!flow.sendme_due(0), "one for fifty cells");
        assert_eq!(flow.may_still_come().0, WINDOW - INCREMENT, "owed is not sent");
        flow.on_sendme_sent();
        assert_eq!(flow.may_still_come().0, WINDOW);
        flow.on_sendme_sent();
        assert_eq!(flow.may_still_come().0, WINDOW, "what is not owed opens nothing");
    }

    #[test]
    fn a_reader_that_reads_nothing_lets_one_window_come() {
        let mut flow = Flow::windows();
        for _ in 0..WINDOW {
            flow.on_data().unwrap();
            assert!(!flow.sendme_due(usize::MAX));
        }
        assert_eq!(flow.on_data(), Err(Error::WindowOverrun));
    }
}
