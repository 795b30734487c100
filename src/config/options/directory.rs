//! Options of what is known of the network: who says it, who is asked for it, and when.
//!
//! Called by `mod.rs`. Spec: tor(1), "GENERAL OPTIONS", "CLIENT OPTIONS", "TESTING NETWORK
//! OPTIONS".

use super::Kind::{Choice, FirstSeconds, Fraction, Lines, Seconds, Truth};
use super::{ANY, Entry, SIZE, implemented, kept, refused};

const EARLY: &str = "documents are fetched when clients fetch them";
const NOTHING_USELESS: &str = "nothing is fetched that no circuit needs";
const AT_ONCE: &str = "the first attempt is made at once";
const RELAY: &str = "cepa is never a relay";

pub static ENTRIES: &[Entry] = &[
    refused(
        "__AllDirActionsPrivate",
        Truth,
        "0",
        "ask directories by circuits alone",
        "directories are asked over one hop",
    ),
    implemented(
        "AlternateDirAuthority",
        Lines,
        "",
        "a directory authority, in place of the built-in ones",
        "interop only_those_are_dialled_whom_a_torrc_names",
    ),
    implemented(
        "ClientBootstrapConsensusAuthorityDownloadInitialDelay",
        FirstSeconds,
        "6",
        "when an authority is asked for the first consensus, beside fallbacks",
        "network authorities_are_asked_in_their_time",
    )
    .testing("0"),
    implemented(
        "ClientBootstrapConsensusAuthorityOnlyDownloadInitialDelay",
        FirstSeconds,
        "0",
        "the same where there are no fallbacks",
        "network authorities_are_asked_in_their_time",
    )
    .testing("0"),
    implemented(
        "ClientBootstrapConsensusFallbackDownloadInitialDelay",
        FirstSeconds,
        "0",
        "when a fallback is asked for the first consensus",
        "network authorities_are_asked_in_their_time",
    )
    .testing("0"),
    implemented(
        "ClientBootstrapConsensusMaxInProgressTries",
        ANY,
        "3",
        "how many are asked at once for the first consensus",
        "network a_directory_that_is_slow_beyond_use_is_left",
    ),
    kept("DirAllowPrivateAddresses", Truth, "0", "list relays on private addresses", "it is for authorities")
        .testing("1"),
    implemented(
        "DirAuthority",
        Lines,
        "",
        "a directory authority, in place of the built-in ones",
        "interop only_those_are_dialled_whom_a_torrc_names",
    ),
    implemented(
        "DirAuthorityFallbackRate",
        Fraction(f64::MIN, f64::MAX),
        "0.1",
        "how often authorities are asked as fallbacks",
        "network authorities_are_asked_in_their_time",
    ),
    kept("DownloadExtraInfo", Truth, "0", "fetch what relays say of their traffic", NOTHING_USELESS),
    implemented(
        "FallbackDir",
        Lines,
        "",
        "where to ask for the first consensus, in place of the built-in places",
        "interop only_those_are_dialled_whom_a_torrc_names",
    ),
    kept("FetchDirInfoEarly", Truth, "0", "fetch documents as relays do", EARLY),
    kept("FetchDirInfoExtraEarly", Truth, "0", "fetch documents before all others", EARLY),
    refused("FetchServerDescriptors", Truth, "1", "fetch documents at all", "they are fetched all the same"),
    kept("FetchUselessDescriptors", Truth, "0", "fetch documents that nobody needs", NOTHING_USELESS),
    kept("MaxConsensusAgeForDiffs", Seconds, "0 seconds", "how long to keep what others may be told of", RELAY),
    kept("MaxUnparseableDescSizeToLog", SIZE, "10 MB", "how much of broken documents to keep", "none is kept"),
    kept("TestingClientConsensusDownloadInitialDelay", FirstSeconds, "0", "when a consensus is asked for", AT_ONCE)
        .testing("0"),
    kept("TestingClientDownloadInitialDelay", FirstSeconds, "0", "when other documents are asked for", AT_ONCE)
        .testing("0"),
    implemented(
        "TestingClientMaxIntervalWithoutRequest",
        Seconds,
        "10 minutes",
        "how long to collect microdescriptors before asking for few",
        "lib the_most_urgent_is_fetched_first",
    )
    .testing("5 seconds"),
    implemented(
        "TestingDirConnectionMaxStall",
        Seconds,
        "5 minutes",
        "how long a directory may say nothing",
        "network a_directory_may_be_silent_as_long_as_the_user_says",
    )
    .testing("30 seconds"),
    kept("TestingServerConsensusDownloadInitialDelay", FirstSeconds, "0", "when relays ask for a consensus", RELAY)
        .testing("0"),
    kept("TestingServerDownloadInitialDelay", FirstSeconds, "0", "when relays ask for other documents", RELAY)
        .testing("0"),
    implemented(
        "UseDefaultFallbackDirs",
        Truth,
        "1",
        "ask the built-in places for the first consensus",
        "lib built_in_places_are_asked_unless_the_user_says_otherwise",
    ),
    kept("UseMicrodescriptors", Choice, "auto", "know relays by short documents", "they are known by short ones alone"),
];
