//! A shell that sees to it that nothing is left of us: where we are ended so that we can end nobody,
//! it ends those whom we started.
//!
//! It is told the groups of all processes that run, and hears by the end of its input that we are
//! gone. It is needed because a process can ask to end with its parent only by itself, and not all
//! programs do. Where there is no shell, nothing is kept. Called by `mod.rs`. Spec: POSIX, sh.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};

/// What it does. `groups` has a blank around each.
const SCRIPT: &str = "\
groups=' '
while read -r sign group; do
    case $sign in
        +) groups=\"$groups$group \" ;;
        -) groups=\"${groups%% $group *} ${groups#* $group }\" ;;
    esac
done
for group in $groups; do kill -s KILL -- \"-$group\"; done";

/// It, from when it is first needed.
static KEEPER: LazyLock<Option<Mutex<Child>>> = LazyLock::new(|| {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // Neither Ctrl-C nor a closed terminal is for it.
    command.process_group(0).spawn().ok().map(Mutex::new)
});

/// Should we be gone, that group ends.
pub fn keep(group: u32) {
    tell('+', group);
}

/// That group has ended, and its number may soon be another's.
pub fn forget(group: u32) {
    tell('-', group);
}

fn tell(sign: char, group: u32) {
    let keeper = KEEPER.as_ref().and_then(|keeper| keeper.lock().ok());
    // One that is gone keeps nothing.
    let _ = keeper.and_then(|mut keeper| Some(writeln!(keeper.stdin.as_mut()?, "{sign} {group}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_whom_it_was_told_of_and_not_those_who_ended_before() {
        let sleeper = || Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let (mut kept, mut forgotten) = (sleeper(), sleeper());
        let mut keeper = Command::new("/bin/sh").args(["-c", SCRIPT]).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = keeper.stdin.take().unwrap();
        let (one, other) = (kept.id(), forgotten.id());
        write!(input, "+ {other}\n+ {one}\n- {other}\n").unwrap();
        drop(input);
        assert!(keeper.wait().unwrap().success());
        assert!(!kept.wait().unwrap().success());
        assert!(forgotten.try_wait().unwrap().is_none());
        forgotten.kill().unwrap();
        forgotten.wait().unwrap();
    }
}
