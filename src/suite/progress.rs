//! What a person at a terminal sees while it measures: one line, drawn anew. Others see nothing.
//!
//! Called by `engine.rs`. Spec: none.
#![allow(clippy::print_stderr, reason = "it speaks to the person who started it")]

use core::time::Duration;
use std::io::{IsTerminal, Write};

use tokio::time::Instant;

use super::figure::Figure;

/// How often the line is drawn anew while one thing is measured; ours.
pub const STEP: Duration = Duration::from_secs(1);

/// The line.
pub struct Progress {
    is_shown: bool,
    /// What each measurement of a round took the last time, or is planned to take.
    costs: Vec<Duration>,
    /// How many rounds there are, which one it is, and which of its measurements.
    rounds: u32,
    round: u32,
    item: usize,
    begun: Instant,
    name: String,
    last: String,
}

impl Progress {
    /// A line for so many rounds, of measurements that are planned to take so long each.
    pub fn new(rounds: u32, costs: Vec<Duration>) -> Progress {
        let is_shown = std::io::stderr().is_terminal();
        let (name, last) = (String::new(), String::new());
        Progress { is_shown, costs, rounds, round: 0, item: 0, begun: Instant::now(), name, last }
    }

    /// Something that is neither here nor there in the plan.
    pub fn tell(&self, text: &str) {
        self.draw(text);
    }

    /// That measurement of that round begins.
    pub fn begin(&mut self, round: u32, item: usize, name: String) {
        (self.round, self.item, self.name, self.begun) = (round, item, name, Instant::now());
        self.go_on();
    }

    /// It still measures.
    pub fn go_on(&self) {
        self.draw(&format!("{}, {} s left{}", self.name, self.left().as_secs(), self.last));
    }

    /// It is over, with that figure. A round that warms up is shorter, and says nothing of others.
    pub fn end(&mut self, is_warm_up: bool, figure: Option<&Figure>) {
        if let Some(cost) = self.costs.get_mut(self.item).filter(|_| !is_warm_up) {
            *cost = self.begun.elapsed();
        }
        let Some(Figure { metric, unit, value }) = figure else { return };
        self.last = format!("; {}: {metric} {value:.2} {}", self.name, unit.word());
    }

    /// That measurement is never taken again.
    pub fn skip(&mut self, item: usize) {
        if let Some(cost) = self.costs.get_mut(item) {
            *cost = Duration::ZERO;
        }
    }

    /// What is left of this measurement, of this round, and of the rounds behind it.
    fn left(&self) -> Duration {
        let now = self.costs.get(self.item).copied().unwrap_or_default().saturating_sub(self.begun.elapsed());
        let behind: Duration = self.costs.iter().skip(self.item + 1).sum();
        let rounds = self.rounds.saturating_sub(self.round + 1);
        now + behind + self.costs.iter().sum::<Duration>() * rounds
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_it_took_the_last_time() {
        let seconds = Duration::from_secs;
        let mut progress = Progress::new(3, vec![seconds(3), seconds(5)]);
        progress.begin(1, 0, String::new());
        let left = progress.left();
        assert!(left > seconds(15) && left <= seconds(16), "{left:?}");
        progress.end(false, None);
        progress.begin(1, 1, String::new());
        let left = progress.left();
        assert!(left > seconds(9) && left < seconds(11), "{left:?}");
        progress.skip(1);
        assert!(progress.left() < seconds(1));
    }
}
