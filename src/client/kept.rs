//! What of a client outlives a run, but for the directory: its guards, its build times, and
//! whether it sleeps.
//!
//! Has the file `state` read at the start, before anything is asked of anybody, and written
//! when something has changed. What stands in it is `state.rs`, who does it is the shell
//! (`files.rs`). Called by `client/mod.rs`. Spec: none; C tor: app/config/statefile.c, and
//! `netstatus_load_from_state` in core/mainloop/netstatus.c.

use core::time::Duration;
use std::collections::VecDeque;

use super::circuits::Pool;
use super::files::{Desk, Work};
use super::setup::PROGRAM;
use super::state::{Fault, Reader, STATE, Schedule, State};
use crate::base::time::{Tick, Wall};
use crate::config::Dormancy;

const MINUTE: Duration = Duration::from_secs(60);

/// What is known of the file.
pub(super) struct Kept {
    desk: Desk,
    /// What was read of it so far; nothing once all of it was.
    reader: Option<Reader>,
    state: State,
    schedule: Schedule,
    faults: VecDeque<(u32, Fault)>,
}

impl Kept {
    pub(super) fn new(keeps_files: bool, avoids_writes: bool) -> Kept {
        let mut desk = Desk::new(keeps_files);
        desk.read(STATE);
        Kept {
            desk,
            reader: keeps_files.then(Reader::default),
            state: State::default(),
            schedule: Schedule::new(avoids_writes),
            faults: VecDeque::new(),
        }
    }

    /// The user wants something else.
    pub(super) fn set_avoids_writes(&mut self, avoids_writes: bool) {
        self.schedule.set_avoids_writes(avoids_writes);
    }

    /// The next thing to do with it.
    pub(super) fn poll_work(&mut self) -> Option<Work> {
        self.desk.poll()
    }

    /// A line of it that cannot be used.
    pub(super) fn poll_fault(&mut self) -> Option<(u32, Fault)> {
        self.faults.pop_front()
    }

    /// The next bytes of it.
    pub(super) fn push(&mut self, piece: &[u8]) {
        if let Some(reader) = &mut self.reader {
            reader.push(piece);
        }
    }

    /// Whether it is still to be read: nobody may be asked before.
    pub(super) fn is_reading(&self) -> bool {
        self.reader.is_some()
    }

    /// Whether something in it was wrong.
    pub(super) fn is_broken(&self) -> bool {
        !self.faults.is_empty()
    }

    /// It was read to its end, or there is none: what stands in it, if that was not said before.
    pub(super) fn finish(&mut self) -> Option<&State> {
        let (state, faults) = self.reader.take()?.finish();
        self.state = state;
        if !faults.is_empty() {
            self.desk.set_aside(STATE);
        }
        self.faults.extend(faults);
        Some(&self.state)
    }

    /// Sees what has changed since it was last looked.
    pub(super) fn look(&mut self, pool: &mut Pool, now: Tick) {
        if pool.take_guards_changed() {
            self.schedule.on_guards(now);
        }
        (0..pool.times.take_learned()).for_each(|_| self.schedule.on_build_time(now));
    }

    /// When to write it, if at all.
    pub(super) fn next_deadline(&self) -> Option<Tick> {
        // What was not read yet would be lost.
        self.schedule.next_deadline().filter(|_| self.desk.is_kept() && self.reader.is_none())
    }

    /// Has it written at the next opportunity, whatever has changed.
    pub(super) fn save_soon(&mut self, now: Tick) {
        self.schedule.now(now);
    }

    /// Has it written. `asleep_for` is how long nobody has asked for anything, and whether the
    /// client sleeps for that.
    pub(super) fn save(&mut self, pool: &Pool, (idle, is_dormant): (Duration, bool), now: Wall) {
        for guards in pool.selections() {
            self.state.set_guards(guards.selection(), guards.records());
        }
        self.state.build_times = pool.times.save();
        self.state.idle_minutes = u32::try_from(idle.as_secs() / MINUTE.as_secs()).unwrap_or(u32::MAX);
        self.state.is_dormant = Some(is_dormant);
        self.desk.begin(STATE);
        self.desk.piece(STATE, self.state.encode(PROGRAM, now).as_bytes());
        self.desk.commit(STATE);
        self.schedule.on_written();
    }

    /// It could not be written.
    pub(super) fn on_unwritten(&mut self, now: Tick) {
        self.schedule.on_failure(now);
    }
}

/// For how long nobody has asked for anything when a run begins.
pub(super) fn idle_at_start(state: &State, dormancy: &Dormancy) -> Duration {
    match state.is_dormant {
        _ if dormancy.wakes_at_start => Duration::ZERO,
        Some(true) => dormancy.timeout,
        Some(false) => MINUTE * state.idle_minutes,
        None if dormancy.sleeps_first => dormancy.timeout,
        None => Duration::ZERO,
    }
}
