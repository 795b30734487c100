//! How a connection opens whose program says one thing, with a known end, and is answered once.
//!
//! What comes behind the end is the stream's, and kept for it. What the text means, and which
//! words an answer has, each language knows itself; SOCKS, whose messages take turns and have
//! lengths of their own, does not open so. Called by `http_connect.rs` and `redirected.rs`.
//! Spec: none.

use std::collections::VecDeque;

use super::{Fault, Output, Request};

/// One connection of a program.
pub(super) struct Opening {
    end: &'static [u8],
    longest: usize,
    state: State,
    buffer: Vec<u8>,
    outputs: VecDeque<Output>,
    fault: Option<Fault>,
}

/// What is awaited: `Text ──> Asked ──answered──> Over`, or over at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// What the program says.
    Text,
    /// The request is with others.
    Asked,
    /// Answered, or refused.
    Over,
}

/// What a program said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// All of it, with its end.
    Text(Vec<u8>),
    /// More than there may be, and no end.
    TooLong,
}

impl Opening {
    /// A program connected, and will say something that ends so, in so many bytes at most.
    pub(super) fn new(end: &'static [u8], longest: usize) -> Opening {
        let (buffer, outputs) = (Vec::new(), VecDeque::new());
        Opening { end, longest, state: State::Text, buffer, outputs, fault: None }
    }

    /// Takes what a read brought; what the program said, once that is whole.
    pub(super) fn handle_bytes(&mut self, bytes: &[u8]) -> Option<Heard> {
        // The end may have begun before.
        let from = self.buffer.len().saturating_sub(self.end.len() - 1);
        self.buffer.extend_from_slice(bytes);
        if self.state != State::Text {
            return None;
        }
        let text = self.buffer.get(..self.longest).unwrap_or(&self.buffer);
        let end = text.get(from..).and_then(|new| new.windows(self.end.len()).position(|part| part == self.end));
        match end {
            Some(at) => {
                let early = self.buffer.split_off(from + at + self.end.len());
                Some(Heard::Text(core::mem::replace(&mut self.buffer, early)))
            }
            None => (self.buffer.len() >= self.longest).then_some(Heard::TooLong),
        }
    }

    /// What is to be done next.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Why there was no request, where the user should know.
    pub(super) fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    /// The bytes that came behind the text.
    pub(super) fn take_early(&mut self) -> Vec<u8> {
        match self.state {
            State::Text => Vec::new(),
            State::Asked | State::Over => core::mem::take(&mut self.buffer),
        }
    }

    /// This is what the program wants.
    pub(super) fn ask(&mut self, request: Request) {
        self.state = State::Asked;
        self.outputs.push_back(Output::Request(request));
    }

    /// The request is answered; whether there was one that waited for it.
    pub(super) fn settle(&mut self) -> bool {
        let was_asked = self.state == State::Asked;
        if was_asked {
            self.state = State::Over;
        }
        was_asked
    }

    /// Tells the user, not the program.
    pub(super) fn tell(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    /// Tells the program.
    pub(super) fn reply(&mut self, bytes: Vec<u8>) {
        self.outputs.push_back(Output::Reply(bytes));
    }

    /// It is over, with no stream.
    pub(super) fn close(&mut self) {
        self.state = State::Over;
        self.outputs.push_back(Output::Close);
    }
}
