//! What a process and all that it has started use, as the kernel counts it.
//!
//! They are counted together, whichever of them does the work: a subject may be a script that starts
//! the program, or a program that starts others. One whose parent has ended is no longer among them.
//! Called by `scene.rs`, `network/` and `workload/`. Spec: Linux, proc(5).

use core::time::Duration;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The kernel's unit of processor time, the same on every Linux of today.
const TICK: Duration = Duration::from_millis(10);
/// The most processes that are counted as one; ours, many more than any client starts.
const MAX_FAMILY: usize = 256;

/// That process and all that it has started, by their numbers, itself first. Itself alone where the
/// kernel tells of no children.
pub fn family(process: u32) -> Vec<u32> {
    let (mut family, mut next) = (vec![process], 0);
    while let Some(member) = family.get(next) {
        for thread in fs::read_dir(format!("/proc/{member}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            family.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        family.truncate(MAX_FAMILY);
        next += 1;
    }
    family
}

/// What the kernel says of a process in a line.
pub struct Stat {
    /// Whether it does anything yet, or only waits to be asked how it ended.
    pub is_alive: bool,
    /// Its group.
    pub group: u32,
    /// How long the processors worked for it, also for threads that ended, and for those it has
    /// started, once they ended and it was told.
    ticks: Duration,
}

impl Stat {
    /// Of that process; nothing of one that is gone.
    pub fn of(process: u32) -> Option<Stat> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name of the program may hold blanks; it ends at the last parenthesis.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u32>().ok();
        let ticks = (11..15).map(number).sum::<Option<u32>>()?;
        Some(Stat { is_alive: !matches!(*fields.first()?, "Z" | "X"), group: number(2)?, ticks: TICK * ticks })
    }
}

/// What they have used until now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the processors, as the kernel counts in [`TICK`]s for all threads, also those that ended.
    ticks: Duration,
    /// Of how many processes that is the sum, each rounded.
    processes: u32,
    /// To the nanosecond, by thread.
    threads: BTreeMap<u32, Duration>,
    /// How often a thread was put off a processor, of those that there are.
    switches: u64,
}

impl Usage {
    /// Of that process and all that it has started; nothing of one that is gone.
    pub fn of(process: u32) -> Option<Usage> {
        // Others may end while they are looked at.
        Stat::of(process)?;
        let mut usage = Usage::default();
        for member in family(process) {
            let Some(stat) = Stat::of(member) else { continue };
            usage.ticks += stat.ticks;
            usage.processes += 1;
            for entry in fs::read_dir(format!("/proc/{member}/task")).into_iter().flatten().flatten() {
                // And so may a thread.
                let Some((thread, busy, switches)) = thread(&entry.path()) else { continue };
                usage.threads.insert(thread, busy);
                usage.switches += switches;
            }
        }
        Some(usage)
    }

    /// How long the processors worked for them since: by the nanosecond, but where the kernel counted
    /// more than the threads can tell, because some have ended since, or began and ended.
    pub fn busy_since(&self, before: &Usage) -> Duration {
        let sum = |usage: &Usage| usage.threads.values().sum::<Duration>();
        let (ticks, threads) = (self.ticks.saturating_sub(before.ticks), sum(self).saturating_sub(sum(before)));
        let is_whole = before.threads.keys().all(|thread| self.threads.contains_key(thread));
        let rounding = TICK * self.processes.max(before.processes).max(1);
        if !is_whole || self.threads.is_empty() || ticks > threads + rounding { ticks } else { threads }
    }

    /// How often their threads were put off a processor since.
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

/// What a process and all that it has started hold in memory, in bytes. Where they are several, what
/// they share is counted for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Now (VmRSS).
    pub now: u64,
    /// At most since each began (VmHWM), of those that there are. Where they are several, no more
    /// than this: each may have had its own at another time.
    pub peak: u64,
}

impl Memory {
    /// Of that process and all that it has started; nothing of one that is gone.
    pub fn of(process: u32) -> Option<Memory> {
        let mut memory = Memory::of_one(process)?;
        for other in family(process).into_iter().skip(1).filter_map(Memory::of_one) {
            memory = Memory { now: memory.now + other.now, peak: memory.peak + other.peak };
        }
        Some(memory)
    }

    fn of_one(process: u32) -> Option<Memory> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        Some(Memory { now: field(&status, "VmRSS:")? * 1024, peak: field(&status, "VmHWM:")? * 1024 })
    }
}

/// The number behind a name that begins a line.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::super::Process;
    use super::*;

    #[test]
    fn the_kernel_counts_what_this_process_does() {
        let before = Usage::of(std::process::id()).unwrap();
        super::super::super::noise::Noise::default().look();
        let after = Usage::of(std::process::id()).unwrap();
        assert!(after.busy_since(&before) > Duration::from_millis(20), "{before:?} {after:?}");
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.now > 1 << 20 && memory.peak >= memory.now, "{memory:?}");
        assert_eq!((Usage::of(u32::MAX), Memory::of(u32::MAX)), (None, None));
    }

    fn usage(ticks: u64, processes: u32, threads: &[(u32, u64)]) -> Usage {
        let threads = threads.iter().map(|(thread, busy)| (*thread, Duration::from_millis(*busy))).collect();
        Usage { ticks: Duration::from_millis(ticks), processes, threads, switches: 0 }
    }

    #[test]
    fn where_a_thread_has_ended_the_whole_process_is_counted() {
        let before = usage(100, 1, &[(1, 50), (2, 50)]);
        let since = |ticks, processes, threads: &[_]| usage(ticks, processes, threads).busy_since(&before).as_millis();
        assert_eq!(since(110, 1, &[(1, 54), (2, 51), (3, 2)]), 7);
        assert_eq!(since(110, 1, &[(1, 54)]), 10);
        // One that began and ended since is in the ticks alone; what they are rounded by is nobody.
        assert_eq!(since(500, 1, &[(1, 54), (2, 51)]), 400);
        assert_eq!(since(110, 1, &[(1, 50), (2, 50)]), 0);
        assert_eq!((since(120, 1, &[(1, 50), (2, 50)]), since(120, 2, &[(1, 50), (2, 50)])), (20, 0));
    }

    /// A shell that runs this, which says something once its work is done.
    fn done(script: &str) -> Process {
        let mut command = Command::new("sh");
        let command = command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Process::start(command).unwrap();
        process.output().unwrap().read_exact(&mut [0]).unwrap();
        process
    }

    /// A tenth of a second's, or several.
    const WORK: &str = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";

    #[test]
    fn what_a_process_has_started_is_counted_with_it() {
        let inner = done(&format!("sh -c \"sh -c '{}; echo; sleep 1000; :'; :\"; :", WORK.replace('$', "\\$")));
        let ended = done(&format!("sh -c '{WORK}; :'; echo; sleep 1000; :"));
        let idle = done("echo; sleep 1000; :");
        let busy = |process: &Process| Usage::of(process.id()).unwrap().busy_since(&Usage::default());
        let [inside, before, none] = [&inner, &ended, &idle].map(busy);
        let least = Duration::from_millis(50);
        assert!(inside > least && before > least && none < least, "{inside:?} {before:?} {none:?}");
        assert!(family(inner.id()).len() > 2 && family(idle.id()).len() <= 2);
        let (all, one) = (Memory::of(inner.id()).unwrap(), Memory::of_one(inner.id()).unwrap());
        assert!(all.now > one.now * 2 && all.peak >= all.now, "{all:?} {one:?}");
    }
}
