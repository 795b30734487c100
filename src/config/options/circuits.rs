//! Options of circuits: which relays are in them, how long they last, how they are disguised.
//!
//! Called by `mod.rs`. Spec: tor(1), "CLIENT OPTIONS", "CIRCUIT TIMEOUT OPTIONS", "NODE SELECTION
//! OPTIONS".

use super::Kind::{Choice, Each, Exactly, Fraction, Integer, Number, PortNumbers, Relays, Seconds, Truth, Words};
use super::{ANY, Entry, Kind, implemented, kept, refused};

const BIAS: &str = "guards that fail circuits are judged as the consensus says";
const CONFLUX: &str = "circuits have one path yet";
const PADDING: &str = "circuits are not padded yet";
const UX: Kind = Exactly(&["throughput", "latency", "throughput_lowmem", "latency_lowmem"]);
const RATIO: Kind = Fraction(f64::MIN, 1.0);

pub static ENTRIES: &[Entry] = &[
    kept(
        "__AlwaysCongestionControl",
        Truth,
        "0",
        "use congestion control unasked",
        "there is no congestion control yet",
    ),
    refused(
        "__DisablePredictedCircuits",
        Truth,
        "0",
        "build no circuits ahead of requests",
        "circuits are built ahead all the same",
    ),
    implemented(
        "CircuitBuildTimeout",
        Seconds,
        "0",
        "how long a circuit may take to build; 0 learns it",
        "network circuits_may_take_as_long_as_the_user_says",
    ),
    kept("CircuitPadding", Truth, "1", "pad circuits", PADDING),
    implemented(
        "CircuitsAvailableTimeout",
        Seconds,
        "0",
        "how long to keep circuits ready; 0 chooses it",
        "network circuits_are_kept_ready_as_long_as_the_user_says",
    ),
    implemented(
        "CircuitStreamTimeout",
        Seconds,
        "0",
        "how long a stream waits on one circuit; 0 chooses it",
        "network a_stream_waits_on_one_circuit_as_long_as_the_user_says",
    ),
    kept("ConfluxClientUX", UX, "throughput", "what circuits of several paths are to be good at", CONFLUX),
    kept("ConfluxEnabled", Choice, "auto", "let circuits have several paths", CONFLUX),
    implemented(
        "EnforceDistinctSubnets",
        Truth,
        "1",
        "no two relays of a circuit from one network",
        "network relays_of_one_network_share_no_circuit_unless_the_user_says_so",
    )
    .testing("0"),
    implemented(
        "EntryNodes",
        Relays,
        "",
        "relays that circuits may begin at",
        "network circuits_begin_and_end_where_the_user_wants",
    ),
    implemented(
        "ExcludeExitNodes",
        Relays,
        "",
        "relays that circuits may not end at",
        "network nobody_who_is_excluded_is_in_a_circuit",
    ),
    implemented(
        "ExcludeNodes",
        Relays,
        "",
        "relays to keep out of circuits",
        "network nobody_who_is_excluded_is_in_a_circuit",
    ),
    implemented(
        "ExitNodes",
        Relays,
        "",
        "relays that circuits may end at",
        "network circuits_begin_and_end_where_the_user_wants",
    ),
    implemented(
        "ExtendAllowPrivateAddresses",
        Truth,
        "0",
        "extend circuits to relays on private addresses",
        "network relays_on_private_addresses_are_no_use_where_they_are_not_allowed",
    )
    .testing("1"),
    refused(
        "ExtendByEd25519ID",
        Choice,
        "auto",
        "whether relays are told the next one's Ed25519 key",
        "the consensus decides that",
    ),
    implemented(
        "GeoIPExcludeUnknown",
        Choice,
        "auto",
        "leave out relays of no known country",
        "network relays_are_excluded_by_country",
    ),
    implemented("GuardLifetime", Seconds, "0 minutes", "how long to keep a guard; 0 leaves it to the consensus", ""),
    implemented(
        "LearnCircuitBuildTimeout",
        Truth,
        "1",
        "learn how long circuits take to build",
        "network build_times_are_learned_unless_the_user_says_otherwise",
    ),
    implemented(
        "LongLivedPorts",
        PortNumbers,
        "21,22,706,1863,5050,5190,5222,5223,6523,6667,6697,8300",
        "ports whose streams last, and get stable relays",
        "network streams_that_last_get_stable_relays",
    ),
    implemented(
        "MaxCircuitDirtiness",
        Seconds,
        "10 minutes",
        "how long after its first use a circuit gets new streams",
        "network circuits_that_are_there_obey_too",
    ),
    implemented(
        "MaxClientCircuitsPending",
        Number(1, 1024),
        "32",
        "how many circuits may be under way at once",
        "network no_more_circuits_are_under_way_than_the_user_wants",
    ),
    implemented(
        "MiddleNodes",
        Relays,
        "",
        "relays that may be in the middle of circuits",
        "network circuits_begin_and_end_where_the_user_wants",
    ),
    kept(
        "NewCircuitPeriod",
        Seconds,
        "30 seconds",
        "how often to think of new circuits",
        "circuits are thought of whenever something changes",
    ),
    implemented(
        "NodeFamily",
        Each(&Relays),
        "",
        "relays of which no two may be in a circuit",
        "network relays_that_the_user_calls_a_family_share_no_circuit",
    ),
    implemented(
        "NumDirectoryGuards",
        ANY,
        "0",
        "guards asked for the directory; 0 leaves it to the consensus",
        "network a_directory_request_waits_for_a_guard",
    ),
    implemented(
        "NumEntryGuards",
        ANY,
        "0",
        "guards in use; 0 leaves it to the consensus",
        "lib the_user_may_say_how_many",
    ),
    implemented(
        "NumPrimaryGuards",
        ANY,
        "0",
        "guards in the first rank; 0 leaves it to the consensus",
        "lib the_user_may_say_how_many",
    ),
    refused("PathBiasCircThreshold", Integer, "-1", "how many circuits of a guard to judge it by", BIAS),
    refused("PathBiasDropGuards", Choice, "0", "whether guards that fail circuits are given up", BIAS),
    refused("PathBiasExtremeRate", RATIO, "-1", "how few circuits may succeed before that", BIAS),
    refused("PathBiasExtremeUseRate", RATIO, "-1", "how few uses may succeed before that", BIAS),
    refused("PathBiasNoticeRate", RATIO, "-1", "how few circuits may succeed before it is told", BIAS),
    refused("PathBiasNoticeUseRate", RATIO, "-1", "how few uses may succeed before it is told", BIAS),
    refused("PathBiasScaleThreshold", Integer, "-1", "after how many circuits old ones count less", BIAS),
    refused("PathBiasScaleUseThreshold", Integer, "-1", "after how many uses old ones count less", BIAS),
    refused("PathBiasUseThreshold", Integer, "-1", "how many uses of a guard to judge it by", BIAS),
    refused("PathBiasWarnRate", RATIO, "-1", "how few circuits may succeed before it is warned of", BIAS),
    implemented(
        "PathsNeededToBuildCircuits",
        Fraction(f64::MIN, f64::MAX),
        "-1",
        "the share of all paths that must be known before circuits are built",
        "network circuits_wait_for_as_many_paths_as_the_user_wants",
    ),
    kept("ReducedCircuitPadding", Truth, "0", "pad circuits less", PADDING),
    implemented(
        "StrictNodes",
        Truth,
        "0",
        "whether ExcludeNodes counts where nothing works without them",
        "network an_excluded_directory_is_asked_where_there_is_no_other_unless_that_is_strict",
    ),
    implemented(
        "TrackHostExits",
        Words,
        "",
        "hosts that are to be asked by the same exit again",
        "network hosts_are_asked_by_the_same_exit_again",
    ),
    implemented(
        "TrackHostExitsExpire",
        Seconds,
        "30 minutes",
        "for how long TrackHostExits remembers an exit",
        "network hosts_are_asked_by_the_same_exit_again",
    ),
    implemented(
        "UseEntryGuards",
        Truth,
        "1",
        "keep to a few first relays",
        "network who_wants_no_guards_confirms_none_and_asks_any_relay",
    ),
    refused(
        "UseGuardFraction",
        Choice,
        "auto",
        "weigh guards by how long they are guards",
        "they are weighed by the consensus",
    ),
];
