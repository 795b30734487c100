//! `cepa-bench` as a person meets it: what it measures on the lab's network, and what it says of
//! subjects that die, hang or lie.
//!
//! The bad subjects are this very program, started again to run one of the tests that are left out
//! otherwise: they serve SOCKS at the address that stands among their arguments, badly.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should say where")]
#![allow(clippy::disallowed_methods, reason = "a test of a program reads a clock and its arguments, and waits")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The workloads that a client as a process is measured by.
const OF_PROCESSES: [&str; 14] = [
    "cold-start",
    "warm-start",
    "first-byte",
    "fresh-isolation",
    "bulk-down-1",
    "bulk-down-8",
    "bulk-down-64",
    "bulk-up-1",
    "bulk-up-8",
    "bulk-up-64",
    "stream-rate",
    "concurrent",
    "interactive",
    "memory",
];
/// The one that we are measured by in that process.
const INSIDE: &str = "circuit-build";
/// How long anything may take, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(120);

fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cepa-bench"));
    command.args(arguments);
    command
}

/// A file for results, which goes when it is dropped.
struct Results(PathBuf);

impl Results {
    fn new(name: &str) -> Results {
        Results(std::env::temp_dir().join(format!("cepa-bench-test-{name}-{}.json", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn read(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(&self.0).unwrap()).unwrap()
    }

    fn write(&self, value: &Value) {
        std::fs::write(&self.0, value.to_string()).unwrap();
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

/// The rows of results that are of that subject and workload.
fn rows<'a>(results: &'a Value, subject: &'a str, workload: &'a str) -> impl Iterator<Item = &'a Value> {
    let rows = results["rows"].as_array().unwrap();
    rows.iter().filter(move |row| row["subject"] == subject && row["workload"] == workload)
}

/// Quick runs of one repeat, on the lab.
fn run(name: &str, arguments: &[&str]) -> (Output, Value) {
    let results = Results::new(name);
    let output =
        bench(&["run", "--quick", "--repeats", "1", "--json", results.path()]).args(arguments).output().unwrap();
    let value = results.read();
    (output, value)
}

#[test]
fn each_workload_is_real_and_none_is_zero() {
    let (output, results) = run("all", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let of_processes = OF_PROCESSES.iter().map(|workload| ("cepa", *workload));
    for (subject, workload) in of_processes.chain([("inside", INSIDE)]) {
        let first = rows(&results, subject, workload).next().unwrap_or_else(|| panic!("no {workload}"));
        for name in ["median", "low", "high"] {
            assert!(first[name].as_f64().unwrap() > 0.0, "{first}");
        }
        assert_eq!(first["samples"].as_array().unwrap().len(), 1, "{first}");
        assert!(first["metric"].is_string() && first["unit"].is_string(), "{first}");
    }
    // What the kernel says of the process.
    for metric in ["rate", "cpu", "switches", "memory", "peak"] {
        let is_it = |row: &&Value| row["metric"] == metric && row["median"].as_f64().unwrap() > 0.0;
        assert!(rows(&results, "cepa", "bulk-down-1").any(|row| is_it(&row)), "{metric}");
    }
    // What does not apply is not there, and the generator is faster than any client.
    assert_eq!(rows(&results, "cepa", INSIDE).count() + rows(&results, "inside", "bulk-down-1").count(), 0);
    for workload in ["bulk-down-1", "bulk-up-8", "stream-rate", "concurrent"] {
        let rate = |subject| rows(&results, subject, workload).next().unwrap()["median"].as_f64().unwrap();
        assert!(rate("direct") > rate("cepa"), "{workload}: {} {}", rate("direct"), rate("cepa"));
    }
    for (name, field) in [("machine", "cores"), ("build", "profile"), ("network", "name")] {
        assert!(!results[name][field].is_null(), "{name}");
    }
    assert_eq!((&results["seed"], &results["whole"]), (&Value::from("1"), &Value::from(true)));
    let table = text(&output.stdout);
    assert!(OF_PROCESSES.iter().all(|workload| table.contains(workload)), "{table}");
}

/// The words for a subject: this program, running that test.
fn bad(test: &str) -> String {
    format!("cmd:{} --exact {test} --include-ignored {{socks}}", std::env::current_exe().unwrap().display())
}

/// What it is called in results.
fn this_program() -> String {
    std::env::current_exe().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
}

/// Measures a bad subject beside us; what its row says.
fn verdict(test: &str) -> String {
    let subject = bad(test);
    let arguments =
        ["--workload", "bulk-down-1", "--workload", "first-byte", "--subject", &subject, "--subject", "cepa"];
    let (output, results) = run(test, &arguments);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    for workload in ["bulk-down-1", "first-byte"] {
        assert!(rows(&results, "cepa", workload).next().unwrap()["median"].as_f64().unwrap() > 0.0, "{workload}");
    }
    let name = this_program();
    let [row] = rows(&results, &name, "bulk-down-1").collect::<Vec<_>>()[..] else { panic!("{results}") };
    assert!(row.get("median").is_none(), "{row}");
    let error = row["error"].as_str().unwrap().to_owned();
    assert!(text(&output.stdout).contains(&error));
    error
}

#[test]
fn a_subject_that_dies_says_so_and_the_run_goes_on() {
    let said = verdict("bad_dies");
    assert!(said.contains("it died (exit status: 3)"), "{said}");
}

#[test]
fn a_subject_that_hangs_says_so_and_the_run_goes_on() {
    let said = verdict("bad_hangs");
    assert!(said.contains("it hangs: nothing came of it in "), "{said}");
}

#[test]
fn a_subject_that_serves_wrong_bytes_says_so_and_the_run_goes_on() {
    let said = verdict("bad_lies");
    assert!(said.contains("wrong bytes: what came is not what was sent, from byte "), "{said}");
}

#[test]
fn a_subject_that_cuts_streams_off_says_so_and_the_run_goes_on() {
    let said = verdict("bad_cuts_off");
    assert!(said.contains("a stream ends before its time"), "{said}");
}

#[test]
fn a_subject_that_is_not_there_is_named() {
    let arguments = ["--workload", "first-byte", "--subject", "cmd:/nowhere/tor"];
    let (output, results) = run("missing", &arguments);
    assert_eq!(output.status.code(), Some(1));
    let error = rows(&results, "tor", "first-byte").next().unwrap()["error"].as_str().unwrap();
    assert!(error.starts_with("it does not start: /nowhere/tor: "), "{error}");
}

/// What a bad subject does with what comes from the server, given how much came before.
type Habit = fn(before: usize, bytes: &mut [u8]) -> Option<usize>;

/// So much goes well, so that the subject is taken for one that works.
const GOOD: usize = 100_000;

/// The stream at which a subject leaves a mark, if it is told where. The round that warms up has
/// fewer than that, and the next one comes to it while a hundred streams are opened at once.
const MARKED: usize = 130;

/// A SOCKS port that reaches the server straight, until its habit shows. Never returns.
fn serve(habit: Habit) {
    let Some(at) = std::env::args().find_map(|argument| argument.parse::<SocketAddr>().ok()) else {
        // Run with all others, by somebody who runs what is left out.
        return;
    };
    let listener = TcpListener::bind(at).unwrap();
    let mark = std::env::args().find_map(|argument| argument.strip_prefix("mark=").map(PathBuf::from));
    for (number, client) in listener.incoming().flatten().enumerate() {
        thread::spawn(move || relay(client, habit));
        if let Some(mark) = mark.as_ref().filter(|_| number == MARKED) {
            std::fs::write(mark, []).unwrap();
        }
    }
}

fn relay(mut client: TcpStream, habit: Habit) -> std::io::Result<()> {
    client.read_exact(&mut [0; 3])?;
    client.write_all(&[5, 0])?;
    let mut head = [0; 5];
    client.read_exact(&mut head)?;
    let mut to = vec![0; usize::from(head[4]) + 2];
    client.read_exact(&mut to)?;
    let (host, port) = to.split_at(to.len() - 2);
    let port = u16::from_be_bytes(port.try_into().unwrap());
    let mut server = TcpStream::connect((std::str::from_utf8(host).unwrap(), port))?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut up, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || std::io::copy(&mut up, &mut to_server));
    let (mut before, mut buffer) = (0, [0; 4096]);
    loop {
        let read = server.read(&mut buffer)?;
        let Some(kept) = habit(before, &mut buffer[..read]).filter(|_| read > 0) else {
            // The other thread has it too.
            return client.shutdown(std::net::Shutdown::Both);
        };
        client.write_all(&buffer[..kept])?;
        before += read;
    }
}

#[test]
#[ignore = "it is a bad subject of other tests"]
fn bad_dies() {
    serve(|before, bytes| if before > GOOD { std::process::exit(3) } else { Some(bytes.len()) });
}

#[test]
#[ignore = "it is a bad subject of other tests"]
fn bad_hangs() {
    serve(|before, bytes| Some(if before > GOOD { 0 } else { bytes.len() }));
}

#[test]
#[ignore = "it is a bad subject of other tests"]
fn bad_lies() {
    serve(|before, bytes| {
        if before > GOOD {
            bytes[0] ^= 1;
        }
        Some(bytes.len())
    });
}

#[test]
#[ignore = "it is a bad subject of other tests"]
fn bad_cuts_off() {
    serve(|before, bytes| (before <= GOOD).then_some(bytes.len()));
}

#[test]
#[ignore = "it is a subject of another test, and not even bad"]
fn good() {
    serve(|_, bytes| Some(bytes.len()));
}

/// What is said where nothing is measured; with status 2.
fn complaint(arguments: &[&str]) -> String {
    let output = bench(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    text(&output.stderr)
}

#[test]
fn an_unknown_workload_subject_or_network_lists_all_there_are() {
    let said = complaint(&["run", "--workload", "bulk"]);
    assert!(OF_PROCESSES.iter().chain([&INSIDE]).all(|known| said.contains(known)), "{said}");
    let said = complaint(&["run", "--subject", "chrome"]);
    assert!(["cepa", "inside", "tor", "arti=PATH", "cmd:COMMAND"].iter().all(|known| said.contains(known)), "{said}");
    assert!(complaint(&["run", "--network", "public"]).contains("known: lab, ctor, torrc=FILE"));
    assert!(complaint(&["run", "--quik"]).contains("known: --quick, --workload, --subject"));
    assert!(complaint(&["measure"]).contains("known: run, compare, list"));
    assert!(complaint(&["run", "--repeats", "0"]).contains("1 to 500"));
    assert!(
        complaint(&["run", "--subject", "cmd:a x", "--subject", "cmd:a y"]).contains("two subjects are called \"a\"")
    );
    assert!(complaint(&["run", "--quick", "--json", "/nowhere/x.json"]).contains("/nowhere/x.json: "));
}

#[test]
fn the_list_has_all_that_can_be_asked_for() {
    let output = bench(&["list"]).output().unwrap();
    let said = text(&output.stdout);
    let all = OF_PROCESSES.iter().chain(&[INSIDE, "cepa", "inside", "tor", "arti=PATH", "cmd:COMMAND", "ctor"]);
    for known in all {
        assert!(said.lines().any(|line| line.trim_start().starts_with(known)), "{known}: {said}");
    }
}

#[test]
fn no_client_is_sent_to_a_network_that_is_not_of_this_machine() {
    let torrc = Results::new("torrc");
    std::fs::write(&torrc.0, "TestingTorNetwork 1\nDirAuthority a orport=1 v3ident=AA 192.0.2.1:7 BB\n").unwrap();
    let said = complaint(&["run", "--quick", "--network", &format!("torrc={}", torrc.path())]);
    assert!(said.contains("not on the loopback address"), "{said}");
}

#[test]
fn a_network_that_runs_already_is_measured_on_by_its_torrc() {
    let torrc = Results::new("running");
    let mut lab = Command::new(env!("CARGO_BIN_EXE_cepa-lab"))
        .args(["--network-only", "--torrc-out", torrc.path()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It speaks once the file is whole.
    lab.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let network = format!("torrc={}", torrc.path());
    let (output, results) = run("given", &["--workload", "first-byte", "--network", &network]);
    lab.kill().unwrap();
    lab.wait().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(rows(&results, "cepa", "first-byte").next().unwrap()["median"].as_f64().unwrap() > 0.0);
    assert_eq!(results["network"]["name"], Value::from(network));
}

/// Results of one row with these samples, as another program would write them.
fn results(name: &str, version: u32, samples: &[f64]) -> Results {
    let results = Results::new(name);
    let noise = serde_json::json!({"share": 0.01, "look_ms": [5.0, 5.05, 5.0]});
    results.write(&serde_json::json!({
        "format": "cepa-bench", "version": version, "seed": "1", "quick": false, "whole": true,
        "machine": {}, "noise": noise, "build": {}, "subjects": {}, "network": {"name": "lab"}, "ratios": [],
        "rows": [{"subject": "cepa", "workload": "bulk-down-1", "metric": "rate", "unit": "MiB/s",
                  "median": samples[2], "low": samples[0], "high": samples[4], "samples": samples}],
    }));
    results
}

#[test]
fn a_comparison_says_better_worse_or_that_nobody_can_tell() {
    let slow = results("slow", 1, &[98.0, 99.0, 100.0, 101.0, 102.0, 99.5]);
    let fast = results("fast", 1, &[148.0, 149.0, 150.0, 151.0, 152.0, 149.5]);
    let wild = results("wild", 1, &[60.0, 90.0, 120.0, 150.0, 180.0, 110.0]);
    let compare = |a: &Results, b: &Results| {
        let output = bench(&["compare", a.path(), b.path()]).output().unwrap();
        let said = text(&output.stdout);
        (output.status.code(), said.lines().next().unwrap().rsplit("  ").next().unwrap().to_owned())
    };
    assert_eq!(compare(&slow, &fast), (Some(0), "better".to_owned()));
    assert_eq!(compare(&fast, &slow), (Some(1), "worse".to_owned()));
    assert_eq!(compare(&slow, &wild), (Some(0), "cannot tell".to_owned()));
    assert_eq!(compare(&slow, &slow), (Some(0), "cannot tell".to_owned()));
}

#[test]
fn results_that_cannot_be_read_are_refused_and_told_why() {
    let (good, later) = (results("good", 1, &[1.0; 5]), results("later", 2, &[1.0; 5]));
    let said = complaint(&["compare", good.path(), later.path()]);
    assert!(
        said.contains(&format!("{}: results of version 2, and this program reads version 1", later.path())),
        "{said}"
    );
    assert!(complaint(&["compare", "/nowhere/a.json", good.path()]).contains("/nowhere/a.json: "));
    std::fs::write(&good.0, "[1, 2").unwrap();
    assert!(complaint(&["compare", good.path(), later.path()]).contains("no JSON at byte 5"));
    assert!(complaint(&["compare", good.path()]).contains("compare wants two files"));
}

/// Ends it as Ctrl-C does; all that it says.
fn interrupt(mut child: Child) -> Output {
    let done = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(done.success());
    let end = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "it does not end");
        thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn ctrl_c_keeps_what_was_measured() {
    let (results, mark) = (Results::new("interrupted"), Results::new("mark"));
    let subject = format!("{} mark={}", bad("good"), mark.path());
    let arguments = ["--workload", "first-byte", "--workload", "concurrent", "--repeats", "200", "--subject", &subject];
    let mut command = bench(&["run", "--quick", "--json", results.path()]);
    let child = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    while !mark.0.exists() {
        assert!(Instant::now() < end, "nothing is measured");
        thread::sleep(Duration::from_millis(20));
    }
    let output = interrupt(child);
    assert_eq!(output.status.code(), Some(130));
    let value = results.read();
    let name = this_program();
    let measured = rows(&value, &name, "first-byte").next().unwrap()["samples"].as_array().unwrap().len();
    assert!((1..200).contains(&measured), "{measured}");
    assert_eq!((rows(&value, &name, "concurrent").count(), &value["whole"]), (0, &Value::from(false)));
    assert!(text(&output.stdout).contains("interrupted"));
}

/// A quick run of one figure.
const ONE: [&str; 8] = ["run", "--quick", "--repeats", "1", "--workload", "first-byte", "--subject", "cepa"];

#[test]
fn results_that_cannot_be_kept_are_shown_before_that_is_said() {
    let output = bench(&ONE).args(["--json", "/dev/full"]).output().unwrap();
    let (table, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(table.lines().any(|line| line.starts_with("first-byte  median ")), "{table}");
    assert_eq!(said, "cepa-bench: /dev/full: No space left on device (os error 28)\n");
    assert!(!std::fs::metadata("/dev/full").unwrap().is_file());
}

#[test]
fn results_stand_behind_the_table_where_both_go_to_one_file() {
    let both = Results::new("both");
    let file = std::fs::File::create(&both.0).unwrap();
    let status = bench(&ONE).args(["--json", "/dev/stdout"]).stdout(file).status().unwrap();
    let said = std::fs::read_to_string(&both.0).unwrap();
    let (table, json) = said.split_at(said.find('{').unwrap());
    assert!(status.success() && table.starts_with("workload"), "{said}");
    assert_eq!(serde_json::from_str::<Value>(json).unwrap()["whole"], Value::from(true));
}

/// Waits until a program looks out for Ctrl-C, by the kernel.
fn listens(child: &Child) {
    let end = Instant::now() + PATIENCE;
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        if u64::from_str_radix(caught, 16).unwrap() & 2 != 0 {
            return;
        }
        assert!(Instant::now() < end, "it does not look out for signals");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn ctrl_c_before_anything_is_measured_leaves_files_as_they_are() {
    let (older, new) = (Results::new("older"), Results::new("new"));
    older.write(&Value::from("older"));
    for file in [&older, &new] {
        let mut command = bench(&["run", "--json", file.path()]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        listens(&child);
        let output = interrupt(child);
        assert_eq!(output.status.code(), Some(130));
        assert!(text(&output.stderr).contains("nothing was measured, and no file is written"));
    }
    assert_eq!((older.read(), new.0.exists()), (Value::from("older"), false));
}

#[test]
fn where_nothing_can_be_compared_the_status_says_so() {
    let samples = [98.0, 99.0, 100.0, 101.0, 102.0, 99.5];
    let (a, b) = (results("one", 1, &samples), results("other", 1, &samples));
    let original = b.read();
    let changed = |change: fn(&mut Value)| {
        let mut value = original.clone();
        change(&mut value);
        b.write(&value);
    };
    let said = |change| {
        changed(change);
        complaint(&["compare", a.path(), b.path()])
    };
    let network = said(|value| value["network"]["name"] = "ctor".into());
    assert_eq!(network, "cepa-bench: nothing can be compared: network.name is \"lab\" in A and \"ctor\" in B\n");
    assert!(said(|value| value["quick"] = true.into()).contains("quick is false in A and true in B"));
    assert!(said(|value| value["machine"]["cores"] = 8.into()).contains("machine.cores is missing in A and 8 in B"));
    assert!(said(|value| value["rows"][0]["unit"] = "\u{1b}[2J".into()).contains("\"rows\" is missing, or is not"));
    assert!(said(|value| value["rows"] = vec![value["rows"][0].clone(); 2].into()).contains("\"rows\" is missing"));

    let compared = |change| {
        changed(change);
        let output = bench(&["compare", a.path(), b.path()]).output().unwrap();
        (output.status.code(), text(&output.stdout))
    };
    let (status, said) = compared(|value| value["rows"][0]["subject"] = "tor".into());
    assert_eq!(status, Some(2), "{said}");
    assert!(said.starts_with("bulk-down-1 rate of cepa: only A has it\nbulk-down-1 rate of tor: only B has it\n"));
    assert!(said.ends_with("nothing can be compared: no row of a subject is in both\n"), "{said}");
    let (status, said) = compared(|value| {
        value["rows"] = serde_json::json!([{"subject": "cepa", "workload": "bulk-down-1", "error": "it died"}]);
    });
    assert_eq!((status, said.contains("worse: it failed\n")), (Some(1), true), "{said}");
}

#[test]
fn what_has_no_end_is_not_read_to_it() {
    let good = results("finite", 1, &[1.0; 5]);
    let said = complaint(&["compare", good.path(), "/dev/zero"]);
    assert_eq!(said, "cepa-bench: /dev/zero: longer than 4194304 bytes\n");
}

#[test]
fn odd_arguments_and_outputs_are_no_reason_to_panic() {
    let odd = OsStr::from_bytes(b"\xff.json");
    let output = bench(&["run", "--json"]).arg(odd).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("cepa-bench: argument \"\\xFF.json\" is no UTF-8\n"));

    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = bench(&["measure"]).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(2));
    let output = bench(&["list"]).stdout(full()).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("cepa-bench: standard output: "));
}

/// The processes that have such a word among theirs.
fn running(word: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let words = processes.filter_map(|it| std::fs::read(it.path().join("cmdline")).ok());
    words.map(|words| String::from_utf8_lossy(&words).replace('\0', " ")).filter(|it| it.contains(word)).collect()
}

/// Waits until no process has such a word among its own.
fn until_none_runs(word: &str, limit: Duration) {
    let end = Instant::now() + limit;
    while !running(word).is_empty() {
        assert!(Instant::now() < end, "left behind: {:?}", running(word));
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_script_is_measured_by_the_program_that_it_starts_and_leaves_nothing_behind() {
    let script = Results::new("a script");
    std::fs::write(&script.0, "\"$@\"\necho done\n").unwrap();
    let (program, word) = (std::env::current_exe().unwrap(), format!("left-{}", std::process::id()));
    let program = format!("'{}' --exact good --include-ignored {{socks}} {word}", program.display());
    let (scripted, plain) =
        (format!("scripted=cmd:sh \"{}\" {program}", script.path()), format!("plain=cmd:{program}"));
    // Its threads end with their streams, so that the kernel's ticks count: it must take many of them.
    let arguments = ["--workload", "concurrent", "--workload", "memory", "--subject", &scripted, "--subject", &plain];
    let (output, results) = run("scripted", &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let of = |subject, workload, metric: &str| {
        let row = rows(&results, subject, workload).find(|row| row["metric"] == metric).unwrap();
        row["median"].as_f64().unwrap()
    };
    for (workload, metric) in [("concurrent", "cpu"), ("concurrent", "memory"), ("memory", "peak")] {
        let (scripted, plain) = (of("scripted", workload, metric), of("plain", workload, metric));
        assert!(scripted > plain / 2.0 && scripted < plain * 3.0, "{workload} {metric}: {scripted} {plain}");
    }
    until_none_runs(&word, Duration::from_secs(2));
}

/// A run under way, of that program or one that becomes it, with something measured already.
fn under_way(name: &str, mut command: Command) -> (Child, Results) {
    let (results, mark) = (Results::new(name), Results::new(&format!("mark-{name}")));
    let subject = format!("good={} mark={}", bad("good"), mark.path());
    command.args(["run", "--quick", "--json", results.path(), "--workload", "first-byte", "--workload", "concurrent"]);
    command.args(["--repeats", "200", "--subject", "cepa", "--subject", &subject]).stdout(Stdio::null());
    let child = command.spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    while !mark.0.exists() {
        assert!(Instant::now() < end, "nothing is measured");
        thread::sleep(Duration::from_millis(20));
    }
    (child, results)
}

/// Sends a signal to a process, or to a group by a minus before its number.
fn signal(name: &str, to: &str) {
    assert!(Command::new("kill").args(["-s", name, "--", to]).status().unwrap().success());
}

/// What it ends with, within that time.
fn status(child: &mut Child, limit: Duration) -> Option<i32> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < end, "it does not end");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_closed_terminal_ends_a_run_as_ctrl_c_does_unless_it_is_to_be_ignored() {
    let (mut child, results) = under_way("hangup", bench(&[]));
    signal("HUP", &child.id().to_string());
    assert_eq!(status(&mut child, PATIENCE), Some(130));
    let value = results.read();
    assert!(rows(&value, "good", "first-byte").next().is_some() && !value["whole"].as_bool().unwrap());
    let mut ignoring = Command::new("sh");
    ignoring.args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_cepa-bench")]);
    let (mut child, _results) = under_way("nohup", ignoring);
    signal("HUP", &child.id().to_string());
    thread::sleep(Duration::from_secs(2));
    assert!(child.try_wait().unwrap().is_none());
    signal("TERM", &child.id().to_string());
    assert_eq!(status(&mut child, PATIENCE), Some(130));
}

#[test]
fn a_run_that_is_killed_leaves_no_process_and_the_next_removes_its_folders() {
    let (mut child, _results) = under_way("killed", bench(&[]));
    let folder = format!("cepa-bench-{}-", child.id());
    // The lab, ourselves, and the one whose arguments name no folder but its mark.
    let mark = format!("mark-killed-{}", std::process::id());
    assert!(running(&folder).len() >= 2 && !running(&mark).is_empty(), "{:?}", running(&folder));
    child.kill().unwrap();
    child.wait().unwrap();
    until_none_runs(&folder, Duration::from_secs(5));
    until_none_runs(&mark, Duration::from_secs(5));
    let left = || {
        let all = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
        all.filter(|it| it.file_name().to_string_lossy().starts_with(&folder)).count()
    };
    assert!(left() >= 2);
    run("after", &["--workload", "first-byte", "--subject", "cmd:/nowhere/tor"]);
    assert_eq!(left(), 0);
}

#[test]
fn a_lab_ends_with_its_input_if_it_is_asked_to() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cepa-lab"));
    command.args(["--relays", "6", "--network-only", "--until-eof"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut lab = command.spawn().unwrap();
    lab.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    lab.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    thread::sleep(Duration::from_millis(500));
    assert!(lab.try_wait().unwrap().is_none());
    drop(lab.stdin.take());
    assert_eq!(status(&mut lab, Duration::from_secs(5)), Some(0));
}

#[test]
fn a_subject_is_called_as_a_person_wants_but_not_as_another_is() {
    let refused = |words: &[&str]| {
        let subjects = words.iter().flat_map(|words| ["--subject", words]);
        complaint(&["run"].into_iter().chain(subjects).collect::<Vec<_>>())
    };
    assert!(
        refused(&["cmd:a x", "cmd:/b/a y"]).contains("are called \"a\", ")
            && refused(&["tor", "tor"]).contains("NAME=cmd:")
    );
    assert!(refused(&["x=cmd:a", "x=arti=a"]).contains("two subjects are called \"x\""));
    assert!(refused(&["cmd:/x/direct"]).contains("\"direct\" is what a report calls something else"));
    assert!(refused(&["my tor=cmd:a"]).contains("\"my tor\" is no name for a subject"));
    assert!(refused(&["cmd:a \"b"]).contains("a \" is not closed"));
}

/// Whoever must try everything has it; others may lack it.
fn has_gencert() -> bool {
    let is_there = Command::new("tor-gencert").arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(is_there || std::env::var("CEPA_INTEROP").is_err(), "there is no tor-gencert");
    is_there
}

#[test]
fn ctrl_c_is_heard_while_keys_are_made() {
    if !has_gencert() {
        println!("not tried: there is no tor-gencert");
        return;
    }
    for whom in ["-", ""] {
        let mut command = bench(&["run", "--quick", "--network", "ctor", "--subject", "cepa"]);
        command.process_group(0).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let path = format!("/proc/{0}/task/{0}/children", child.id());
        let children = || {
            let all = std::fs::read_to_string(&path).unwrap_or_default();
            all.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let is_gencert = |child: &String| {
            std::fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name.trim() == "tor-gencert")
        };
        let end = Instant::now() + PATIENCE;
        while !children().iter().any(is_gencert) {
            assert!(Instant::now() < end && child.try_wait().unwrap().is_none(), "no keys are made");
        }
        // The terminal tells all of its group.
        signal("INT", &format!("{whom}{}", child.id()));
        let mut seen = BTreeSet::new();
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "it does not end");
            seen.extend(children());
        }
        let output = child.wait_with_output().unwrap();
        let nothing = "cepa-bench: nothing was measured, and no file is written\n";
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(130), nothing), "{whom}");
        // The shell that is there for all, and those that make the keys of one relay.
        assert!(seen.len() <= 3, "{seen:?}");
    }
}
