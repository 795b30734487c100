//! Held against programs that nobody here wrote: Debian's `tor`, the Arti that `CEPA_ARTI`
//! names, if it names one, and those that fetch through us: curl, wget, Python, a browser.
//!
//! Everything runs inside an empty network namespace (loopback only), which this program
//! makes for itself when it is not in one already, so that no packet can leave the
//! machine. Without `tor` or without namespaces it prints one line and counts its tests
//! as ignored, unless `CEPA_INTEROP=required` says that they must run.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should say where")]
#![allow(clippy::disallowed_methods, reason = "tests of real programs read clocks and the environment, and wait")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test program speaks to whoever runs it")]

mod budget;
mod cost;
mod countries;
mod cpu;
mod dials;
mod directory;
mod kept;
mod lab;
mod look_ups;
mod maps;
mod origin;
mod outside;
mod probe;
mod program;
mod proxies;
mod redirected;
mod relays;
mod shell;
mod suite;
mod tor;
mod tunnels;
mod unit;
mod verdicts;

use std::panic::{self, AssertUnwindSafe};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// A test and its name.
type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("a_lone_relay_is_proved_with_both_tls_providers", probe::a_lone_relay_is_proved_with_both_tls_providers),
    ("a_wanted_identity_must_be_the_relays", probe::a_wanted_identity_must_be_the_relays),
    ("a_port_without_a_relay_is_not_proved", probe::a_port_without_a_relay_is_not_proved),
    ("tor_accepts_a_small_directory", directory::tor_accepts_a_small_directory),
    ("tor_accepts_eight_thousand_relays", directory::tor_accepts_eight_thousand_relays),
    ("tor_ignores_what_it_does_not_know", directory::tor_ignores_what_it_does_not_know),
    ("tor_sees_through_each_lie", directory::tor_sees_through_each_lie),
    ("tor_fetches_all_from_the_cache_and_then_a_diff", directory::tor_fetches_all_from_the_cache_and_then_a_diff),
    ("tor_bootstraps_and_fetches_through_the_lab", lab::tor_bootstraps_and_fetches_through_the_lab),
    ("tor_reaches_a_socket_of_this_machine_through_the_lab", lab::tor_reaches_a_socket_of_this_machine_through_the_lab),
    (
        "tor_reads_from_a_slow_server_while_it_writes_to_a_socket",
        lab::tor_reads_from_a_slow_server_while_it_writes_to_a_socket,
    ),
    (
        "our_client_learns_a_network_of_tor_and_fetches_through_it",
        shell::our_client_learns_a_network_of_tor_and_fetches_through_it,
    ),
    ("the_suite_measures_us_beside_tor_on_relays_of_tor", suite::the_suite_measures_us_beside_tor_on_relays_of_tor),
    ("programs_fetch_through_the_lab_by_our_program", program::programs_fetch_through_the_lab_by_our_program),
    ("our_verdicts_on_options_are_those_of_tor", verdicts::our_verdicts_on_options_are_those_of_tor),
    ("our_dumps_of_options_are_those_of_tor", verdicts::our_dumps_of_options_are_those_of_tor),
    (countries::TOR, countries::countries_are_those_that_tor_names),
    ("countries_are_used_as_the_file_says", countries::countries_are_used_as_the_file_says),
    ("our_verdicts_on_defaults_are_those_of_tor", verdicts::our_verdicts_on_defaults_are_those_of_tor),
    ("our_verdicts_on_what_is_included_are_those_of_tor", verdicts::our_verdicts_on_what_is_included_are_those_of_tor),
    ("our_verdicts_on_values_are_those_of_tor", verdicts::our_verdicts_on_values_are_those_of_tor),
    ("our_lists_of_options_are_those_of_tor", verdicts::our_lists_of_options_are_those_of_tor),
    ("our_program_goes_on_where_it_ended", kept::our_program_goes_on_where_it_ended),
    ("programs_fetch_through_tor_by_our_program", program::programs_fetch_through_tor_by_our_program),
    (outside::CURL, outside::curl_fetches_by_every_kind_of_socks),
    (tunnels::CURL, tunnels::curl_fetches_through_http_tunnels),
    (tunnels::CURL_REFUSED, tunnels::curl_is_told_why_a_tunnel_cannot_be),
    ("failures_are_told_as_c_tor_tells_them", tunnels::failures_are_told_as_c_tor_tells_them),
    ("tunnels_are_answered_as_c_tor_answers", tunnels::tunnels_are_answered_as_c_tor_answers),
    (look_ups::DIG, look_ups::dig_finds_names_and_addresses),
    ("look_ups_are_answered_as_c_tor_answers", look_ups::look_ups_are_answered_as_c_tor_answers),
    ("names_get_addresses_as_tor_gives_them", maps::names_get_addresses_as_tor_gives_them),
    ("addresses_stand_for_others_as_they_do_for_tor", maps::addresses_stand_for_others_as_they_do_for_tor),
    (outside::WGET, outside::wget_fetches_under_torsocks),
    (outside::REQUESTS_OF_PYTHON, outside::python_fetches_by_requests_and_by_pysocks),
    (outside::BROWSER, outside::a_browser_loads_a_page_with_all_its_parts),
    (outside::LOOK_UPS, outside::tor_resolve_finds_names_and_addresses),
    ("a_thousand_requests_at_once_are_each_answered", outside::a_thousand_requests_at_once_are_each_answered),
    (outside::CURLS_AT_ONCE, outside::curl_fetches_a_thousand_pages_in_parallel),
    (dials::DIALS, dials::only_those_are_dialled_whom_a_torrc_names),
    (proxies::PROXIES, proxies::relays_are_reached_through_proxies_and_not_otherwise),
    (redirected::FIREWALL, redirected::programs_that_know_of_no_proxy_are_led_to_us_by_a_firewall),
    ("lines_of_natd_are_answered_as_c_tor_answers", redirected::lines_of_natd_are_answered_as_c_tor_answers),
    (outside::MUCH_AT_ONCE, outside::much_goes_both_ways_and_arrives_as_it_was),
    (
        "a_program_that_ends_its_half_ends_both_once_all_is_sent",
        program::a_program_that_ends_its_half_ends_both_once_all_is_sent,
    ),
    (
        "a_hang_up_opens_and_closes_ports_and_leaves_streams_alone",
        program::a_hang_up_opens_and_closes_ports_and_leaves_streams_alone,
    ),
    ("programs_that_ask_for_nothing_shut_nobody_out", program::programs_that_ask_for_nothing_shut_nobody_out),
    ("tor_starts_from_what_our_client_kept", kept::tor_starts_from_what_our_client_kept),
    ("our_client_starts_from_what_tor_kept", kept::our_client_starts_from_what_tor_kept),
    ("tor_and_our_program_take_turns_on_one_directory", kept::tor_and_our_program_take_turns_on_one_directory),
    ("few_guards_are_the_same_to_tor", kept::few_guards_are_the_same_to_tor),
    ("what_is_broken_is_kept_and_made_anew", kept::what_is_broken_is_kept_and_made_anew),
    ("our_program_may_be_killed_at_any_instant", kept::our_program_may_be_killed_at_any_instant),
    (unit::UNIT, unit::debians_unit_starts_our_program),
    (unit::RIGHTS, unit::a_user_keeps_what_root_opened_and_the_right_to_low_ports),
    (ARTI, lab::arti_bootstraps_and_fetches_through_the_lab),
    (COST, cost::the_labs_relays_cost_less_than_tors),
    (BUDGET, budget::our_client_keeps_its_budgets),
    ("tor_bootstraps_among_eight_thousand_relays", lab::tor_bootstraps_among_eight_thousand_relays),
];

/// Wants an Arti.
const ARTI: &str = "arti_bootstraps_and_fetches_through_the_lab";
/// These want a release build.
const COST: &str = "the_labs_relays_cost_less_than_tors";
const BUDGET: &str = "our_client_keeps_its_budgets";

/// Set by us in the process we start inside the namespace.
const INSIDE: &str = "CEPA_INTEROP_INSIDE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !tor::is_installed() {
        return skip("tor is not installed");
    }
    if !in_empty_namespace() {
        return enter_namespace(&arguments);
    }
    run(&Filters::of(&arguments))
}

/// Which tests are to run: those whose names contain any of these words, if there are any, and
/// none of those; as Rust's own harness has it.
#[derive(Default)]
struct Filters<'a> {
    words: Vec<&'a str>,
    skipped: Vec<&'a str>,
}

impl<'a> Filters<'a> {
    fn of(arguments: &'a [String]) -> Filters<'a> {
        let (mut filters, mut rest) = (Filters::default(), arguments.iter().map(String::as_str));
        while let Some(argument) = rest.next() {
            match argument {
                "--skip" => filters.skipped.extend(rest.next()),
                flag if flag.starts_with('-') => {}
                word => filters.words.push(word),
            }
        }
        filters
    }

    fn choose(&self, name: &str) -> bool {
        let is_any = |words: &[&str]| words.iter().any(|word| name.contains(word));
        (self.words.is_empty() || is_any(&self.words)) && !is_any(&self.skipped)
    }
}

/// Says why nothing runs; a failure where interop is required.
fn skip(reason: &str) -> ExitCode {
    if is_required() {
        eprintln!("interop: required, but {reason}");
        return ExitCode::FAILURE;
    }
    println!("interop: skipped: {reason}");
    println!("test result: ok. 0 passed; 0 failed; {} ignored; 0 measured; 0 filtered out", TESTS.len());
    ExitCode::SUCCESS
}

/// Whether all must run.
fn is_required() -> bool {
    std::env::var("CEPA_INTEROP").is_ok_and(|wish| wish == "required")
}

/// Whether there is no way out of here: no interface but loopback, and no route.
fn in_empty_namespace() -> bool {
    let interfaces = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let mut names = interfaces.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim);
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    !interfaces.is_empty() && names.all(|name| name == "lo") && routes.lines().count() <= 1
}

/// Runs this program again inside a namespace of its own.
fn enter_namespace(arguments: &[String]) -> ExitCode {
    if std::env::var_os(INSIDE).is_some() {
        return skip("the namespace that unshare made is not empty");
    }
    let program = std::env::current_exe().unwrap();
    let script = "ip link set lo up && exec \"$0\" \"$@\"";
    // A plain user may make a network namespace only inside a user namespace.
    for flags in [&["--net"][..], &["--user", "--map-root-user", "--net"]] {
        let probe = Command::new("unshare").args(flags).args(["sh", "-c", "ip link set lo up"]).output();
        if probe.is_ok_and(|output| output.status.success()) {
            let status = Command::new("unshare")
                .args(flags)
                .args(["sh", "-c", script])
                .arg(&program)
                .args(arguments)
                .env(INSIDE, "1")
                .status();
            return match status {
                Ok(status) if status.success() => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            };
        }
    }
    skip("no network namespace can be made here (unshare, ip)")
}

/// Why a test cannot run here, or would show nothing.
fn excuse(name: &str) -> Option<&'static str> {
    match name {
        ARTI if tor::arti().is_none() => Some("CEPA_ARTI names no arti"),
        COST | BUDGET if cfg!(debug_assertions) => Some("only a release build is worth measuring"),
        unit::UNIT | unit::RIGHTS if !unit::is_root() => Some("only root may become another user"),
        // Where all must run, it fails for what is missing.
        _ if is_required() => None,
        dials::DIALS | proxies::PROXIES => dials::missing(),
        unit::UNIT | unit::RIGHTS => unit::missing(),
        _ => outside::missing(name),
    }
}

/// Runs the tests that are chosen, one after the other, and reports like Rust's own harness.
fn run(filters: &Filters<'_>) -> ExitCode {
    let start = Instant::now();
    let chosen: Vec<_> = TESTS.iter().filter(|(name, _)| filters.choose(name)).collect();
    println!("\nrunning {} tests", chosen.len());
    let (mut failed, mut ignored) = (0, 0);
    for (name, test) in &chosen {
        if let Some(reason) = excuse(name) {
            println!("test {name} ... ignored, {reason}");
            ignored += 1;
            continue;
        }
        let passed = panic::catch_unwind(AssertUnwindSafe(test)).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    relays::end_shared();
    println!(
        "\ntest result: {}. {} passed; {failed} failed; {ignored} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        chosen.len() - failed - ignored,
        TESTS.len() - chosen.len(),
        start.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
