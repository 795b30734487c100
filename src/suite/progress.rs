//! What a person at a terminal sees while it measures: one line, drawn anew. Others see nothing.
//!
//! Called by `engine.rs`. Spec: none.
#![allow(clippy::print_stderr, reason = "it speaks to the person who started it")]

use std::io::{IsTerminal, Write};

use tokio::time::Instant;

use super::figure::Figure;

/// The line.
pub struct Progress {
    is_shown: bool,
    begun: Instant,
    /// How much there is to do, and how much of it is done, in seconds as they were planned.
    planned: f64,
    done: f64,
    last: String,
}

impl Progress {
    /// A line for something that was planned to take so many seconds.
    pub fn new(planned: f64) -> Progress {
        let is_shown = std::io::stderr().is_terminal();
        Progress { is_shown, begun: Instant::now(), planned, done: 0.0, last: String::new() }
    }

    /// Something that is neither here nor there in the plan.
    pub fn tell(&self, text: &str) {
        self.draw(text);
    }

    /// This begins.
    pub fn begin(&self, workload: &str, subject: &str) {
        let left = match self.left() {
            Some(left) => format!(", {left:.0} s left"),
            None => String::new(),
        };
        self.draw(&format!("{workload} of {subject}{left}{}", self.last));
    }

    /// What was planned to take so many seconds is over, with that figure.
    pub fn end(&mut self, planned: f64, workload: &str, subject: &str, figure: Option<&Figure>) {
        self.done += planned;
        let Some(Figure { metric, unit, value }) = figure else { return };
        self.last = format!("; {workload} of {subject}: {metric} {value:.2} {}", unit.word());
    }

    /// What is left, by how long it took until now; nothing before anything is done.
    fn left(&self) -> Option<f64> {
        let share = self.done / self.planned;
        (share > 0.0).then(|| self.begun.elapsed().as_secs_f64() * (1.0 / share - 1.0).max(0.0))
    }

    fn draw(&self, line: &str) {
        if self.is_shown {
            let mut out = std::io::stderr().lock();
            // Who closed the screen sees no line.
            let _ = write!(out, "\r\x1b[K{line}").and_then(|()| out.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.draw("");
    }
}
