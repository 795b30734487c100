//! Options of the program itself: its files, its logs, what the system gives it, when it sleeps.
//!
//! Called by `mod.rs`. Spec: tor(1), "GENERAL OPTIONS".

use super::Kind::{Choice, File, Lines, Millis, Number, OneOf, Seconds, Text, Truth};
use super::{ANY, Entry, SIZE, implemented, kept, refused};

const CRYPTO: &str = "the processor is used as well as it can be, and no library is loaded";
const GROUP: &str = "the files of others stay closed to the group";
const COUNTRIES: &str = "only relays are looked up yet, by their IPv4 addresses";
/// C tor: `ULIMIT_BUFFER`, which it finds out when it starts.
const LEAST_CONN_LIMIT: u64 = 32;

pub static ENTRIES: &[Entry] = &[
    kept("AccelDir", File, "", "where libraries that encrypt are", CRYPTO),
    kept("AccelName", Text, "", "which library is to encrypt", CRYPTO),
    implemented(
        "AvoidDiskWrites",
        Truth,
        "0",
        "write to disk less often",
        "network guards_are_written_as_often_as_the_user_wants",
    ),
    implemented(
        "CacheDirectory",
        File,
        "",
        "where to keep directory documents, if not in DataDirectory",
        "cepa a_data_directory_that_cannot_be_used_is_named",
    ),
    kept("CacheDirectoryGroupReadable", Choice, "auto", "let the group read CacheDirectory", GROUP),
    implemented(
        "ConnLimit",
        Number(LEAST_CONN_LIMIT, 0x7FFF_FFFF),
        "1000",
        "how many connections and files the system must let us have open",
        "cepa it_takes_the_descriptors_that_it_can_have_and_no_fewer_than_wanted",
    ),
    implemented(
        "DataDirectory",
        File,
        "",
        "where to keep what outlives a run",
        "cepa a_data_directory_is_used_by_one_at_a_time",
    ),
    kept("DataDirectoryGroupReadable", Truth, "0", "let the group read DataDirectory", GROUP),
    refused("DisableAllSwap", Truth, "0", "keep all memory out of swap", "memory is not kept out of swap yet"),
    kept("DisableDebuggerAttachment", Truth, "1", "keep debuggers away", "debuggers are not kept away yet"),
    implemented(
        "DisableNetwork",
        Truth,
        "0",
        "open no connection to the network",
        "cepa a_network_that_is_off_stays_off_while_an_option_is_refused",
    ),
    kept("DisableOOSCheck", Truth, "1", "go on where descriptors run out", "links are kept where descriptors run out"),
    implemented(
        "DormantCanceledByStartup",
        Truth,
        "0",
        "wake up at every start",
        "network whoever_slept_sleeps_on_until_somebody_asks",
    ),
    implemented(
        "DormantClientTimeout",
        Seconds,
        "24 hours",
        "how long nobody asks for anything before we fall dormant",
        "network whoever_slept_sleeps_on_until_somebody_asks",
    ),
    implemented(
        "DormantOnFirstStartup",
        Truth,
        "0",
        "begin the first run dormant",
        "network whoever_slept_sleeps_on_until_somebody_asks",
    ),
    implemented(
        "DormantTimeoutDisabledByIdleStreams",
        Truth,
        "1",
        "stay awake while any stream is open",
        "network whoever_has_a_stream_does_not_sleep_nor_as_soon_as_it_is_over",
    ),
    implemented(
        "DormantTimeoutEnabled",
        Truth,
        "1",
        "fall dormant at all",
        "network a_round_that_is_missed_is_asked_for_now_and_then",
    ),
    implemented(
        "GeoIPFile",
        File,
        "/usr/share/tor/geoip",
        "which address is in which country",
        "interop countries_are_used_as_the_file_says",
    ),
    kept("GeoIPv6File", File, "/usr/share/tor/geoip6", "the same of IPv6", COUNTRIES),
    kept("HardwareAccel", Truth, "0", "encrypt by what the processor has for that", CRYPTO),
    implemented(
        "HeartbeatPeriod",
        Seconds,
        "6 hours",
        "how often to say in the log how it goes; 0 never does",
        "lib a_heart_beats_as_often_as_the_user_wants",
    ),
    implemented(
        "KeepBindCapabilities",
        Choice,
        "auto",
        "keep the right to low ports under another user",
        "interop a_user_keeps_what_root_opened_and_the_right_to_low_ports",
    ),
    implemented("Log", Lines, "", "what to log, and where to", "lib a_log_of_some_domains_gets_those_and_no_others"),
    implemented(
        "LogMessageDomains",
        Truth,
        "0",
        "say in the log what each message is about",
        "lib a_line_says_what_it_is_about_where_the_user_wants_that",
    ),
    implemented(
        "LogTimeGranularity",
        Millis,
        "1 second",
        "how exact the times in logs are",
        "cepa a_hang_up_opens_the_logs_anew_and_reads_the_options_again",
    ),
    kept("MainloopStats", Truth, "0", "log what the loop does", "there is no such line"),
    implemented(
        "MaxMemInQueues",
        SIZE,
        "0",
        "how much to hold for programs; 0 chooses it",
        "network what_is_held_is_bounded_as_the_user_says",
    ),
    kept("NoExec", Truth, "0", "run no other program", "no other program is ever run"),
    kept("NumCPUs", ANY, "0", "how many processors to use; 0 chooses it", "all work is done on one processor yet"),
    implemented("PidFile", File, "", "where to write our process number", "cepa its_number_is_in_a_file_while_it_runs"),
    implemented(
        "ProtocolWarnings",
        Truth,
        "0",
        "warn of what others do wrong",
        "ports what_others_do_wrong_is_warned_of_where_the_user_wants_that",
    ),
    refused("RunAsDaemon", Truth, "0", "run behind the terminal", "start it by systemd, or by nohup"),
    implemented(
        "SafeLogging",
        OneOf(&["0", "1", "relay"]),
        "1",
        "keep addresses out of logs: 1, relay or 0",
        "ports where_a_request_went_is_told_only_to_those_who_want_that",
    ),
    refused("Sandbox", Truth, "0", "let the system refuse us what we never need", "there is no sandbox yet"),
    kept("ShutdownWaitLength", Seconds, "30 seconds", "how long relays wait before they end", "a client ends at once"),
    implemented(
        "SyslogIdentityTag",
        Text,
        "",
        "what is behind our name in the system's log",
        "lib lines_go_to_whoever_listens_and_to_nobody_else",
    ),
    implemented(
        "TestingTorNetwork",
        Truth,
        "0",
        "this is a private network for tests",
        "lib a_testing_network_has_other_defaults",
    ),
    implemented(
        "TruncateLogFile",
        Truth,
        "0",
        "begin log files anew at each start, and when the options are read again",
        "lib a_file_is_begun_anew_where_the_user_wants_that",
    ),
    implemented("User", Text, "", "go on as this user, once ports are open", "interop debians_unit_starts_our_program"),
];
