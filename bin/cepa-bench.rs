//! `cepa-bench`: measures clients of Tor. Arguments in, one call, a table on the screen.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cepa::suite::compare::{self, Comparison, Outcome};
use cepa::suite::{self, Ending, Report, Wish};

const USAGE: &str = "\
usage: cepa-bench run [--quick] [--workload NAME]… [--subject SUBJECT]… [--network NETWORK]
                      [--listed N] [--repeats N] [--seed N] [--json FILE]
       cepa-bench compare A.json B.json
       cepa-bench list

run: measures each subject by each workload, in turns on the same network of this machine, and
prints a table. Exit status 0, or 1 if something could not be measured, 2 if nothing was tried or
the results cannot be written, 130 after Ctrl-C or a closed terminal, which keeps what was measured.
  --quick            within a minute, and less sure
  --workload NAME    only that one; may be given again (all)
  --subject SUBJECT  cepa, inside, tor, arti=PATH, 'cmd:COMMAND', or NAME=arti=PATH and
                     'NAME=cmd:COMMAND' by a name of your own; words are quoted as in a shell;
                     may be given again (cepa and inside)
  --network NETWORK  lab, ctor, torrc=FILE (lab)
  --listed N         how many relays the lab's network lists
  --repeats N        how often each is measured (9; with --quick, 2)
  --seed N           what the lab's network and the intervals follow from (1)
  --json FILE        where the results are written as well

compare: says of each row whether B is better or worse than A, or that nobody can tell, and names
what only one of them has. Exit status 0, or 1 if any row of a subject is worse or failed since, 2
if a file cannot be read or nothing can be compared: another network, machine or build, only one of
them quick, or no row in both.

list: all workloads, subjects and networks.";

/// Said by programs that were ended by Ctrl-C.
const INTERRUPTED: u8 = 130;
/// Said where nothing was done, or what was done is lost.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let arguments: Result<Vec<String>, OsString> = std::env::args_os().skip(1).map(OsString::into_string).collect();
    let arguments = match arguments {
        Ok(arguments) => arguments,
        Err(foreign) => return misuse(format!("argument {foreign:?} is no UTF-8")),
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if arguments.iter().any(|argument| matches!(*argument, "--help" | "-h")) {
        return say(USAGE, ExitCode::SUCCESS);
    }
    match arguments[..] {
        ["run", ref rest @ ..] => wish(rest).map_or_else(misuse, |wish| run(&wish)),
        ["compare", a, b] => compare(Path::new(a), Path::new(b)),
        ["list"] => say(suite::list().trim_end(), ExitCode::SUCCESS),
        ["compare", ..] => misuse("compare wants two files".to_owned()),
        ["list", extra, ..] => misuse(format!("unexpected argument {extra:?}")),
        [other, ..] => misuse(format!("unknown command {other:?}; known: run, compare, list")),
        [] => misuse("no command given; known: run, compare, list".to_owned()),
    }
}

fn run(wish: &Wish) -> ExitCode {
    let mut said = ExitCode::SUCCESS;
    let ending = suite::run(wish, |report| said = say(&report.to_string(), ExitCode::SUCCESS));
    match ending {
        Err(error) => fail(&error.to_string()),
        Ok(_) if said != ExitCode::SUCCESS => said,
        Ok(Ending::Whole) => ExitCode::SUCCESS,
        Ok(Ending::Failed) => ExitCode::FAILURE,
        Ok(Ending::Interrupted) => ExitCode::from(INTERRUPTED),
        Ok(Ending::Nothing) => {
            complain("nothing was measured, and no file is written");
            ExitCode::from(INTERRUPTED)
        }
    }
}

fn compare(a: &Path, b: &Path) -> ExitCode {
    match compared(a, b) {
        Ok(comparison) => {
            let status = match comparison.outcome() {
                Outcome::NotWorse => ExitCode::SUCCESS,
                Outcome::Worse => ExitCode::FAILURE,
                Outcome::Nothing => ExitCode::from(MISUSED),
            };
            say(comparison.to_string().trim_end(), status)
        }
        Err(complaint) => fail(&complaint),
    }
}

fn compared(a: &Path, b: &Path) -> Result<Comparison, String> {
    let load = |path: &Path| Report::load(path).map_err(|error| format!("{}: {error}", path.display()));
    compare::compare(&load(a)?, &load(b)?).map_err(|mismatch| mismatch.to_string())
}

/// What the arguments ask for, or what is wrong with them.
fn wish(arguments: &[&str]) -> Result<Wish, String> {
    let mut wish = Wish::default();
    let mut rest = arguments.iter();
    while let Some(&flag) = rest.next() {
        let mut value = || rest.next().copied().ok_or_else(|| format!("{flag} wants a value"));
        match flag {
            "--quick" => wish.is_quick = true,
            "--workload" => wish.workloads.push(value()?.to_owned()),
            "--subject" => wish.subjects.push(value()?.to_owned()),
            "--network" => wish.network = value()?.to_owned(),
            "--listed" => wish.listed = number(flag, value()?)?,
            "--repeats" => wish.repeats = Some(number(flag, value()?)?),
            "--seed" => wish.seed = number(flag, value()?)?,
            "--json" => wish.json = Some(PathBuf::from(value()?)),
            other => {
                return Err(format!(
                    "unknown argument {other:?}; known: --quick, --workload, --subject, --network, --listed, \
                     --repeats, --seed, --json"
                ));
            }
        }
    }
    Ok(wish)
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{flag} {text:?} is no number"))
}

fn misuse(complaint: String) -> ExitCode {
    fail(&format!("{complaint}\n\n{USAGE}"))
}

fn fail(complaint: &str) -> ExitCode {
    complain(complaint);
    ExitCode::from(MISUSED)
}

fn complain(complaint: &str) {
    // Whoever closed where complaints go has had enough of them.
    let _ = writeln!(io::stderr(), "cepa-bench: {complaint}");
}

/// Prints a text. Whoever reads no further, as `head` does, has had enough; on a full disk it is
/// lost, which no other status may hide.
fn say(text: &str, status: ExitCode) -> ExitCode {
    let mut out = io::stdout();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => fail(&format!("standard output: {error}")),
        _ => status,
    }
}
