//! The option table: every option's name, what its values may be, and its default.
//!
//! Defaults are C tor's. What is not in the table is unknown, and refused by name. Read by
//! `mod.rs` alone, which gives every row its typed place in `Config`. Spec: tor(1).
//! C tor: `option_vars_` in app/config/config.c; app/config/testnet.inc for what
//! `TestingTorNetwork 1` changes.

use super::port;
use Kind::{Choice, Fraction, Lines, Listeners, Number, Patterns, PortNumbers, Seconds, Text, Truth, Words};

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// As it is written in messages and files; case does not matter when it is read.
    pub name: &'static str,
    /// What a value may be.
    pub kind: Kind,
    /// Its value when nobody gives one; empty if it then has none.
    pub default: &'static str,
    /// Its value when nobody gives one and `TestingTorNetwork` is set.
    pub testing: Option<&'static str>,
    /// What it does, in a line.
    pub help: &'static str,
}

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// 0 or 1.
    Truth,
    /// 0, 1 or auto.
    Choice,
    /// A whole number between these two.
    Number(u64, u64),
    /// A fraction between these two.
    Fraction(f64, f64),
    /// A time. C tor counts it in seconds.
    Seconds,
    /// One line of text.
    Text,
    /// Words between commas.
    Words,
    /// Ports between commas.
    PortNumbers,
    /// Any number of lines, each a value.
    Lines,
    /// The same, each a listener.
    Listeners(port::Kind),
    /// The same, each patterns of a policy.
    Patterns,
}

impl Kind {
    /// Whether a second line adds to the first, where otherwise it takes its place.
    pub fn is_list(self) -> bool {
        matches!(self, Lines | Listeners(_) | Patterns)
    }
}

/// The entry of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    OPTIONS.iter().find(|entry| entry.name.eq_ignore_ascii_case(name))
}

/// The name of the entry whose name is most like an unknown one, if any is like it.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let distance = |entry: &&Entry| distance(&entry.name.to_ascii_lowercase(), &name);
    let nearest = OPTIONS.iter().min_by_key(distance)?;
    (distance(&nearest) <= MAX_DISTANCE && nearest.name.len() > MAX_DISTANCE).then_some(nearest.name)
}

/// Options that may be given and change nothing, with the reason. C tor: has them for other parts
/// of itself, or for times that are over.
pub const WITHOUT_EFFECT: [(&str, &str); 6] = [
    ("AllowNonRFC953Hostnames", "no exit could look such a name up"),
    ("DirAllowPrivateAddresses", "it is for authorities"),
    ("FetchUselessDescriptors", "nothing is fetched that no circuit needs"),
    ("NewCircuitPeriod", "circuits are thought of whenever something changes"),
    ("TestingClientConsensusDownloadInitialDelay", "the first attempt is made at once"),
    ("TestingClientDownloadInitialDelay", "the first attempt is made at once"),
];

/// How many letters may be wrong for a name to be like another; ours.
const MAX_DISTANCE: usize = 3;
/// The longest name that is compared; ours.
const MAX_NAME_LEN: usize = 80;

/// How many letters must be put in, taken out or changed.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > MAX_NAME_LEN || b.len() > MAX_NAME_LEN {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let changed = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = changed.min(*cell + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

const fn entry(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Entry {
    Entry { name, kind, default, testing: None, help }
}

const fn testing(entry: Entry, value: &'static str) -> Entry {
    Entry { testing: Some(value), ..entry }
}

/// C tor: `ULIMIT_BUFFER`, which it finds out when it starts.
const LEAST_CONN_LIMIT: u64 = 32;

/// In the order of their names.
pub static OPTIONS: &[Entry] = &[
    entry("AllowNonRFC953Hostnames", Truth, "0", "kept; names are held to the characters of host names"),
    entry("AlternateDirAuthority", Lines, "", "a directory authority, in place of the built-in ones"),
    entry("AvoidDiskWrites", Truth, "0", "write to disk less often"),
    entry("CacheDirectory", Text, "", "where to keep directory documents, if not in DataDirectory"),
    entry("CircuitBuildTimeout", Seconds, "0", "how long a circuit may take to build; 0 learns it"),
    entry("CircuitsAvailableTimeout", Seconds, "0", "how long to keep circuits ready; 0 chooses it"),
    entry("CircuitStreamTimeout", Seconds, "0", "how long a stream waits on one circuit; 0 chooses it"),
    testing(
        entry(
            "ClientBootstrapConsensusAuthorityDownloadInitialDelay",
            Number(0, 0x7FFF_FFFF),
            "6",
            "seconds before an authority is asked for the first consensus, beside fallbacks",
        ),
        "0",
    ),
    testing(
        entry(
            "ClientBootstrapConsensusAuthorityOnlyDownloadInitialDelay",
            Number(0, 0x7FFF_FFFF),
            "0",
            "the same where there are no fallbacks",
        ),
        "0",
    ),
    testing(
        entry(
            "ClientBootstrapConsensusFallbackDownloadInitialDelay",
            Number(0, 0x7FFF_FFFF),
            "0",
            "seconds before a fallback is asked for the first consensus",
        ),
        "0",
    ),
    entry(
        "ClientBootstrapConsensusMaxInProgressTries",
        Number(0, 0x7FFF_FFFF),
        "3",
        "how many are asked at once for the first consensus",
    ),
    testing(
        entry(
            "ClientDNSRejectInternalAddresses",
            Truth,
            "1",
            "do not believe exits that answer with private addresses",
        ),
        "0",
    ),
    entry("ClientOnly", Truth, "0", "never be a relay, which this program never is"),
    entry("ClientPreferIPv6ORPort", Choice, "auto", "whether to reach guards by IPv6 first"),
    testing(entry("ClientRejectInternalAddresses", Truth, "1", "refuse requests for private addresses"), "0"),
    entry("ClientUseIPv4", Truth, "1", "reach guards by IPv4"),
    entry("ClientUseIPv6", Truth, "1", "reach guards by IPv6"),
    entry("ConnectionPadding", Choice, "auto", "pad links to guards"),
    entry(
        "ConnLimit",
        Number(LEAST_CONN_LIMIT, 0x7FFF_FFFF),
        "1000",
        "how many connections and files the system must let us have open",
    ),
    entry("DataDirectory", Text, "", "where to keep what outlives a run"),
    testing(entry("DirAllowPrivateAddresses", Truth, "0", "kept, for authorities"), "1"),
    entry("DirAuthority", Lines, "", "a directory authority, in place of the built-in ones"),
    entry(
        "DirAuthorityFallbackRate",
        Fraction(f64::MIN, f64::MAX),
        "0.1",
        "how often authorities are asked as fallbacks",
    ),
    entry("DisableNetwork", Truth, "0", "open no connection to the network"),
    entry("DNSPort", Listeners(port::Kind::Dns), "0", "where programs send look-ups to us"),
    entry("DormantCanceledByStartup", Truth, "0", "wake up at every start"),
    entry("DormantClientTimeout", Seconds, "24 hours", "how long nobody asks for anything before we fall dormant"),
    entry("DormantOnFirstStartup", Truth, "0", "begin the first run dormant"),
    entry("DormantTimeoutDisabledByIdleStreams", Truth, "1", "stay awake while any stream is open"),
    entry("DormantTimeoutEnabled", Truth, "1", "fall dormant at all"),
    testing(entry("EnforceDistinctSubnets", Truth, "1", "no two relays of a circuit from one network"), "0"),
    testing(entry("ExtendAllowPrivateAddresses", Truth, "0", "extend circuits to relays on private addresses"), "1"),
    entry("FallbackDir", Lines, "", "where to ask for the first consensus, in place of the built-in places"),
    entry("FetchUselessDescriptors", Truth, "0", "kept; nothing is fetched that no circuit needs"),
    entry("GuardLifetime", Seconds, "0", "how long to keep a guard; 0 leaves it to the consensus"),
    entry("HTTPTunnelPort", Listeners(port::Kind::Tunnels), "0", "where programs speak HTTP CONNECT to us"),
    entry("KeepalivePeriod", Seconds, "5 minutes", "how long a link may be silent before it is padded"),
    entry("LearnCircuitBuildTimeout", Truth, "1", "learn how long circuits take to build"),
    entry("Log", Lines, "", "what to log, and where to"),
    entry("LogTimeGranularity", Number(1, 0x7FFF_FFFF), "1000", "how exact the times in logs are, in milliseconds"),
    entry(
        "LongLivedPorts",
        PortNumbers,
        "21,22,706,1863,5050,5190,5222,5223,6523,6667,6697,8300",
        "ports whose streams last, and get stable relays",
    ),
    entry("MaxCircuitDirtiness", Seconds, "10 minutes", "how long after its first use a circuit gets new streams"),
    entry("MaxClientCircuitsPending", Number(1, 1024), "32", "how many circuits may be under way at once"),
    entry("NewCircuitPeriod", Seconds, "30 seconds", "kept; circuits are thought of whenever something changes"),
    entry(
        "NumDirectoryGuards",
        Number(0, 0x7FFF_FFFF),
        "0",
        "guards asked for the directory; 0 leaves it to the consensus",
    ),
    entry("NumEntryGuards", Number(0, 0x7FFF_FFFF), "0", "guards in use; 0 leaves it to the consensus"),
    entry("NumPrimaryGuards", Number(0, 0x7FFF_FFFF), "0", "guards in the first rank; 0 leaves it to the consensus"),
    entry(
        "PathsNeededToBuildCircuits",
        Fraction(f64::MIN, f64::MAX),
        "-1",
        "the share of all paths that must be known before circuits are built",
    ),
    entry("ReducedConnectionPadding", Truth, "0", "pad links less"),
    entry("RejectPlaintextPorts", PortNumbers, "", "ports that are refused because they carry passwords in the clear"),
    entry("SafeLogging", Words, "1", "keep addresses out of logs: 1, relay or 0"),
    entry("SafeSocks", Truth, "0", "refuse requests that show that a name was looked up outside of Tor"),
    entry("SocksPolicy", Patterns, "", "who may use the ports for programs"),
    entry("SocksPort", Listeners(port::Kind::Names), "9050", "where programs speak SOCKS to us"),
    entry("SocksTimeout", Seconds, "2 minutes", "how long a request waits for a circuit"),
    entry("TestingClientConsensusDownloadInitialDelay", Number(0, 0x7FFF_FFFF), "0", "kept for testing networks"),
    entry("TestingClientDownloadInitialDelay", Number(0, 0x7FFF_FFFF), "0", "kept for testing networks"),
    testing(
        entry(
            "TestingClientMaxIntervalWithoutRequest",
            Seconds,
            "10 minutes",
            "how long to collect microdescriptors before asking for few",
        ),
        "5 seconds",
    ),
    testing(
        entry("TestingDirConnectionMaxStall", Seconds, "5 minutes", "how long a directory may say nothing"),
        "30 seconds",
    ),
    entry("TestingTorNetwork", Truth, "0", "this is a private network for tests"),
    entry("TestSocks", Truth, "0", "log for each request whether it is safe"),
    entry("UseDefaultFallbackDirs", Truth, "1", "ask the built-in places for the first consensus"),
    entry("UseEntryGuards", Truth, "1", "keep to a few first relays"),
    entry(
        "WarnPlaintextPorts",
        PortNumbers,
        "23,109,110,143",
        "ports that are warned of because they carry passwords in the clear",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_each_once() {
        let names: Vec<_> = OPTIONS.iter().map(|entry| entry.name.to_ascii_lowercase()).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }

    #[test]
    fn names_are_found_in_any_case_and_misspelt() {
        assert_eq!(find("socksPORT").map(|entry| entry.name), Some("SocksPort"));
        assert!(find("SocksPorts").is_none() && find("").is_none());
        for (given, meant) in [
            ("SockPort", Some("SocksPort")),
            ("SocksPorts", Some("SocksPort")),
            ("datadirectroy", Some("DataDirectory")),
            ("x", None),
            ("", None),
            ("SomethingElse", None),
        ] {
            assert_eq!(nearest(given), meant, "{given}");
        }
        assert_eq!(nearest(&"S".repeat(10_000)), None);
    }

    #[test]
    fn what_has_no_effect_is_an_option() {
        for (name, why) in WITHOUT_EFFECT {
            assert!(find(name).is_some_and(|entry| entry.name == name) && !why.is_empty(), "{name}");
        }
    }

    #[test]
    fn distances_count_letters() {
        for (a, b, expected) in [("", "", 0), ("abc", "abc", 0), ("abc", "abd", 1), ("abc", "bc", 1), ("abc", "cab", 2)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
