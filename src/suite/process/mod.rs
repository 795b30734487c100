//! A process that was started to be measured, or to carry: its start and its end, and that of what
//! it starts.
//!
//! It leads a group of processes, which ends with its owner; whoever leaves the group is let go.
//! What they use is counted in `usage.rs`. Called by `subject/`, `network/` and `mod.rs`. Spec:
//! Linux, setpgid(2), waitid(2), proc(5).

mod folder;
mod keeper;
mod usage;

use core::time::Duration;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::time::{Instant, sleep};

pub use self::folder::Folder;
pub use self::usage::{Memory, Usage};
use self::usage::{Stat, family};

/// How long one that was asked to end may take; ours.
const END_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile; ours.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a program may take to tell its version; ours.
const VERSION_LIMIT: Duration = Duration::from_secs(5);
/// The most that is kept of what a program or a person calls it, in characters; ours.
const MAX_TEXT: usize = 400;

/// A process, and those that it starts.
pub struct Process {
    child: Child,
    /// Whether its number may be somebody else's by now.
    is_over: bool,
}

impl Process {
    /// Starts it, apart from the terminal's Ctrl-C, which is for us.
    pub fn start(command: &mut Command) -> io::Result<Process> {
        let child = command.process_group(0).spawn()?;
        keeper::keep(child.id());
        Ok(Process { child, is_over: false })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it says, if it was to be heard.
    pub fn output(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// How it ended, if it has. It is only looked at, so that the number stays its own, and thus its
    /// group's, until all of them are ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(Pid::from_child(&self.child)), options).ok()??;
        let code = status.exit_status().map(|code| code << 8);
        code.or(status.terminating_signal()).map(ExitStatus::from_raw)
    }

    /// Asks it and its group to end as a user does, so that they keep what they know, and waits until
    /// they have.
    pub async fn end(mut self) {
        let (group, family) = (self.id(), family(self.id()));
        self.signal(Signal::TERM);
        let until = Instant::now() + END_LIMIT;
        let lives = |process: &u32| Stat::of(*process).is_some_and(|stat| stat.is_alive && stat.group == group);
        while (self.ended().is_none() || family.iter().any(lives)) && Instant::now() < until {
            sleep(PAUSE).await;
        }
    }

    /// Ends it and its group at once.
    pub fn stop(&mut self) {
        if self.is_over {
            return;
        }
        self.signal(Signal::KILL);
        keeper::forget(self.id());
        // One that is gone has ended.
        let _ = self.child.wait();
        self.is_over = true;
    }

    fn signal(&self, signal: Signal) {
        // Those that are gone already need no word.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The first line of what a program says when it is asked for its version; nothing if it does not
/// say.
pub fn version(program: impl AsRef<OsStr>) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Process::start(&mut command).ok()?;
    let output = process.output()?;
    let (tell, told) = mpsc::channel();
    // Who has given up waiting hears nothing.
    let listen = move || {
        let mut line = Vec::new();
        let most = u64::try_from(MAX_TEXT).unwrap_or(u64::MAX);
        let _ = BufReader::new(output.take(most)).read_until(b'\n', &mut line).map(|_| tell.send(line));
    };
    thread::Builder::new().name("bench version".to_owned()).spawn(listen).ok()?;
    let line = told.recv_timeout(VERSION_LIMIT).ok()?;
    let line = plain(String::from_utf8_lossy(&line).trim_end().trim_end_matches('.'));
    (!line.is_empty()).then_some(line)
}

/// A text that can be shown: without control characters, and not too long.
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

/// Whether whoever started us wants a closed terminal to be ignored, as `nohup` does.
pub fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Signal 1 is the lowest bit.
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::runtime;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        Process::start(command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped())).unwrap()
    }

    /// The number that it says.
    fn said(process: &mut Process) -> u32 {
        let mut line = String::new();
        BufReader::new(process.output().unwrap()).read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }

    fn is_alive(process: u32) -> bool {
        Stat::of(process).is_some_and(|stat| stat.is_alive)
    }

    async fn until_gone(process: u32) {
        let until = Instant::now() + END_LIMIT;
        while is_alive(process) {
            assert!(Instant::now() < until, "{process} does not end");
            sleep(PAUSE).await;
        }
    }

    #[test]
    fn what_a_process_has_started_ends_with_it() {
        runtime::executor().unwrap().block_on(async {
            // It keeps what it knows, which takes a while, and is waited for.
            let mut process = shell("sh -c 'trap \"sleep 0.2; exit\" TERM; echo $$; while :; do sleep 0.05; done'; :");
            let inner = said(&mut process);
            assert!(inner != process.id() && is_alive(inner));
            process.end().await;
            assert!(!is_alive(inner));
            let mut process = shell("sleep 1000 & echo $!; wait");
            let inner = said(&mut process);
            assert!(is_alive(inner));
            drop(process);
            until_gone(inner).await;
        });
    }

    #[test]
    fn what_outlives_its_leader_ends_all_the_same() {
        runtime::executor().unwrap().block_on(async {
            let mut process = shell("sleep 1000 & echo $!; exit 3");
            let inner = said(&mut process);
            let until = Instant::now() + END_LIMIT;
            while process.ended().is_none() {
                assert!(Instant::now() < until);
                sleep(PAUSE).await;
            }
            assert_eq!(process.ended().and_then(|status| status.code()), Some(3));
            assert!(is_alive(inner));
            process.stop();
            process.stop();
            until_gone(inner).await;
            let mut process = shell("kill -9 $$");
            while process.ended().is_none() {
                sleep(PAUSE).await;
            }
            assert_eq!(process.ended().and_then(|status| status.signal()), Some(9));
        });
    }

    #[test]
    fn a_program_tells_its_version_in_a_line_or_nothing() {
        assert!(version("sort").unwrap().starts_with("sort ("), "{:?}", version("sort"));
        assert_eq!((version("/nowhere/x"), version("true")), (None, version("/bin/true")));
        assert_eq!(plain("a\u{1b}[1mb\n\tc\u{7f}"), "a[1mbc");
        assert_eq!(plain(&"x".repeat(MAX_TEXT + 1)).len(), MAX_TEXT);
    }
}
