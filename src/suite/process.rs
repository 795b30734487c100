//! A process that was started to be measured, or to carry: its start and end, and what the kernel
//! says of it.
//!
//! It ends with its owner. Of a program that starts others, only itself is counted. Called by
//! `subject/` and `network/`. Spec: Linux, proc(5).

use core::time::Duration;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// How long one that was asked to end may take; ours.
const END_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile; ours.
const PAUSE: Duration = Duration::from_millis(5);
/// The kernel's unit of processor time, the same on every Linux of today.
const TICK: Duration = Duration::from_millis(10);

/// A process.
pub struct Process(Child);

impl Process {
    /// Starts it, apart from the terminal's Ctrl-C, which is for us.
    pub fn start(command: &mut Command) -> io::Result<Process> {
        command.process_group(0).spawn().map(Process)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// What it says, if it was to be heard.
    pub fn output(&mut self) -> Option<std::process::ChildStdout> {
        self.0.stdout.take()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Asks it to end as a user does, so that it keeps what it knows, and waits until it has.
    pub async fn end(mut self) {
        // One that is gone already needs no word.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let until = Instant::now() + END_LIMIT;
        while self.ended().is_none() && Instant::now() < until {
            sleep(PAUSE).await;
        }
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        // One that is gone has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a process has used until now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the processors, as the kernel counts in [`TICK`]s for all its threads, also those that
    /// ended.
    ticks: Duration,
    /// To the nanosecond, by thread.
    threads: BTreeMap<u32, Duration>,
    /// How often a thread was put off a processor, of those that there are.
    switches: u64,
}

impl Usage {
    /// Of that process; nothing of one that is gone.
    pub fn of(process: u32) -> Option<Usage> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name of the program may hold blanks; it ends at the last parenthesis.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u32>().ok();
        let mut usage = Usage { ticks: TICK * (ticks(11)? + ticks(12)?), ..Usage::default() };
        for entry in fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten() {
            // A thread may end while it is looked at.
            let Some((thread, busy, switches)) = thread(&entry.path()) else { continue };
            usage.threads.insert(thread, busy);
            usage.switches += switches;
        }
        Some(usage)
    }

    /// How long the processors worked for it since.
    pub fn busy_since(&self, before: &Usage) -> Duration {
        let is_whole = before.threads.keys().all(|thread| self.threads.contains_key(thread));
        if !is_whole || self.threads.is_empty() {
            return self.ticks.saturating_sub(before.ticks);
        }
        let sum = |usage: &Usage| usage.threads.values().sum::<Duration>();
        sum(self).saturating_sub(sum(before))
    }

    /// How often its threads were put off a processor since.
    pub fn switches_since(&self, before: &Usage) -> u64 {
        self.switches.saturating_sub(before.switches)
    }
}

fn thread(path: &Path) -> Option<(u32, Duration, u64)> {
    let number = path.file_name()?.to_str()?.parse().ok()?;
    let busy = fs::read_to_string(path.join("schedstat")).ok()?;
    let busy = Duration::from_nanos(busy.split(' ').next()?.parse().ok()?);
    let status = fs::read_to_string(path.join("status")).ok()?;
    let switches = field(&status, "voluntary_ctxt_switches:")? + field(&status, "nonvoluntary_ctxt_switches:")?;
    Some((number, busy, switches))
}

/// What a process holds in memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Now (VmRSS).
    pub now: u64,
    /// At most since it began (VmHWM).
    pub peak: u64,
}

impl Memory {
    /// Of that process; nothing of one that is gone.
    pub fn of(process: u32) -> Option<Memory> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        Some(Memory { now: field(&status, "VmRSS:")? * 1024, peak: field(&status, "VmHWM:")? * 1024 })
    }
}

/// The number behind a name that begins a line.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// A folder that nobody else may look into, and that goes away with its owner.
pub struct Folder(PathBuf);

/// How many there were.
static FOLDERS: AtomicUsize = AtomicUsize::new(0);

impl Folder {
    /// A new one.
    pub fn new() -> io::Result<Folder> {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cepa-bench-{}-{number}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the folder for what is temporary.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_what_this_process_does() {
        let before = Usage::of(std::process::id()).unwrap();
        super::super::noise::Noise::default().look();
        let after = Usage::of(std::process::id()).unwrap();
        assert!(after.busy_since(&before) > Duration::from_millis(20), "{before:?} {after:?}");
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.now > 1 << 20 && memory.peak >= memory.now, "{memory:?}");
        assert_eq!((Usage::of(u32::MAX), Memory::of(u32::MAX)), (None, None));
    }

    #[test]
    fn where_a_thread_has_ended_the_whole_process_is_counted() {
        let usage = |ticks: u64, threads: &[(u32, u64)]| Usage {
            ticks: Duration::from_millis(ticks),
            threads: threads.iter().map(|(thread, busy)| (*thread, Duration::from_millis(*busy))).collect(),
            switches: 0,
        };
        let before = usage(100, &[(1, 50), (2, 50)]);
        assert_eq!(usage(110, &[(1, 54), (2, 51), (3, 2)]).busy_since(&before), Duration::from_millis(7));
        assert_eq!(usage(110, &[(1, 54)]).busy_since(&before), Duration::from_millis(10));
    }

    #[test]
    fn a_folder_goes_with_its_owner() {
        let folder = Folder::new().unwrap();
        let path = folder.path().to_owned();
        assert!(path.is_dir());
        drop(folder);
        assert!(!path.exists());
    }
}
