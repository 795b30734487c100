//! Names of options as people write them: old ones, cut ones, misspelt ones.
//!
//! Says which row of the table is meant; what a value of it means is not known here. Called by
//! `config/mod.rs` for every line, and by the shell for words of the command line. Spec: none.
//! C tor: `option_abbrevs_` and `option_deprecation_notes_` in app/config/config.c,
//! `config_expand_abbrev` and `config_mgr_find_var` in lib/confmgt/confmgt.c.

use super::{Entry, Kind, rows, table};

/// Another name of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abbreviation {
    /// What is written.
    pub name: &'static str,
    /// What it stands for.
    pub stands_for: &'static str,
    /// Whether it is told that there is a better name.
    pub is_told: bool,
}

const fn silent(name: &'static str, stands_for: &'static str) -> Abbreviation {
    Abbreviation { name, stands_for, is_told: false }
}

const fn told(name: &'static str, stands_for: &'static str) -> Abbreviation {
    Abbreviation { name, stands_for, is_told: true }
}

/// Other names of options. C tor: goes through them in this order, and may go on from one to another.
pub static ABBREVIATIONS: &[Abbreviation] = &[
    silent("AuthDirBadDirCC", "AuthDirBadDirCCs"),
    silent("AuthDirBadExitCC", "AuthDirBadExitCCs"),
    silent("AuthDirInvalidCC", "AuthDirInvalidCCs"),
    silent("AuthDirMiddleOnlyCC", "AuthDirMiddleOnlyCCs"),
    silent("AuthDirRejectCC", "AuthDirRejectCCs"),
    silent("EntryNode", "EntryNodes"),
    silent("ExcludeNode", "ExcludeNodes"),
    silent("FirewallPort", "FirewallPorts"),
    silent("LongLivedPort", "LongLivedPorts"),
    silent("NumCPU", "NumCPUs"),
    silent("RecommendedPackage", "RecommendedPackages"),
    silent("StrictEntryNode", "StrictEntryNodes"),
    silent("StrictExitNode", "StrictExitNodes"),
    silent("StrictNode", "StrictNodes"),
    silent("AllowUnverifiedNodes", "AllowInvalidNodes"),
    silent("AutomapHostSuffixes", "AutomapHostsSuffixes"),
    silent("AutomapHostOnResolve", "AutomapHostsOnResolve"),
    silent("BandwidthRateBytes", "BandwidthRate"),
    silent("BandwidthBurstBytes", "BandwidthBurst"),
    silent("DirServer", "DirAuthority"),
    told("MaxConn", "ConnLimit"),
    silent("MaxMemInCellQueues", "MaxMemInQueues"),
    silent("ORBindAddress", "ORListenAddress"),
    silent("DirBindAddress", "DirListenAddress"),
    silent("SocksBindAddress", "SocksListenAddress"),
    silent("UseHelperNodes", "UseEntryGuards"),
    silent("NumHelperNodes", "NumEntryGuards"),
    silent("UseEntryNodes", "UseEntryGuards"),
    silent("NumEntryNodes", "NumEntryGuards"),
    told("ResolvConf", "ServerDNSResolvConfFile"),
    told("SearchDomains", "ServerDNSSearchDomains"),
    silent("ServerDNSAllowBrokenResolvConf", "ServerDNSAllowBrokenConfig"),
    silent("PreferTunnelledDirConns", "PreferTunneledDirConns"),
    silent("BridgeAuthoritativeDirectory", "BridgeAuthoritativeDir"),
    silent("VirtualAddrNetwork", "VirtualAddrNetworkIPv4"),
    told("SocksSocketsGroupWritable", "UnixSocksGroupWritable"),
    told("_HSLayer2Nodes", "HSLayer2Nodes"),
    told("_HSLayer3Nodes", "HSLayer3Nodes"),
    told("ClientBootstrapConsensusAuthorityDownloadSchedule", "ClientBootstrapConsensusAuthorityDownloadInitialDelay"),
    told(
        "ClientBootstrapConsensusAuthorityOnlyDownloadSchedule",
        "ClientBootstrapConsensusAuthorityOnlyDownloadInitialDelay",
    ),
    told("ClientBootstrapConsensusFallbackDownloadSchedule", "ClientBootstrapConsensusFallbackDownloadInitialDelay"),
    told("TestingBridgeDownloadSchedule", "TestingBridgeDownloadInitialDelay"),
    told("TestingBridgeBootstrapDownloadSchedule", "TestingBridgeBootstrapDownloadInitialDelay"),
    told("TestingClientDownloadSchedule", "TestingClientDownloadInitialDelay"),
    told("TestingClientConsensusDownloadSchedule", "TestingClientConsensusDownloadInitialDelay"),
    told("TestingServerDownloadSchedule", "TestingServerDownloadInitialDelay"),
    told("TestingServerConsensusDownloadSchedule", "TestingServerConsensusDownloadInitialDelay"),
];

/// What means something else on the command line than in a file. A password that is given there
/// is this run's, and is written to no file.
const IN_WORDS: [(&str, &str); 2] = [("l", "Log"), ("HashedControlPassword", "__HashedControlSessionPassword")];

/// Options that C tor would rather not have, in its order.
pub const DEPRECATED: [&str; 5] =
    ["HTTPProxy", "HTTPProxyAuthenticator", "ReachableDirAddresses", "ClientPreferIPv6DirPort", "ClientAutoIPv6ORPort"];

/// The row of exactly that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    rows().find(|entry| entry.name.eq_ignore_ascii_case(name))
}

/// The row that is meant by a name, and whether that is told: old names, and those that are cut
/// short. C tor: of several that begin so, the first in the order of their names.
pub fn named(name: &str) -> Option<(&'static Entry, bool)> {
    let old = ABBREVIATIONS.iter().find(|old| old.name.eq_ignore_ascii_case(name));
    let (name, is_told) = old.map_or((name, false), |old| (old.stands_for, old.is_told));
    if let Some(entry) = find(name) {
        return Some((entry, is_told));
    }
    let begins_so = |entry: &&Entry| entry.name.get(..name.len()).is_some_and(|cut| cut.eq_ignore_ascii_case(name));
    let cut = table().into_iter().filter(|_| !name.is_empty()).find(begins_so);
    cut.map(|entry| (entry, true))
}

/// The other row of the same port, whose name has `__` before it, or has not.
pub fn twin(entry: &Entry) -> Option<&'static Entry> {
    let is_port = |entry: &&Entry| matches!(entry.kind, Kind::Listeners(_));
    let port = Some(entry).filter(is_port)?;
    match port.name.strip_prefix("__") {
        Some(name) => find(name),
        None => find(&format!("__{}", port.name)),
    }
}

/// The name that is meant by a word of the command line.
pub fn named_in_words(name: &str) -> &str {
    IN_WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(name)).map_or(name, |(_, meant)| meant)
}

/// The name of the row whose name is most like an unknown one, if any is like it.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let distance = |entry: &Entry| distance(&entry.name.to_ascii_lowercase(), &name);
    let nearest = table().into_iter().min_by_key(|entry| (distance(entry), entry.is_obsolete()))?;
    (distance(nearest) <= MAX_DISTANCE && nearest.name.len() > MAX_DISTANCE).then_some(nearest.name)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_misspelt() {
        assert_eq!(find("socksPORT").map(|entry| entry.name), Some("SocksPort"));
        assert!(find("SocksPorts").is_none() && find("").is_none());
        for (given, meant) in [
            ("SockPort", Some("SocksPort")),
            ("SocksPorts", Some("SocksPort")),
            ("datadirectroy", Some("DataDirectory")),
            ("ExitNode", Some("ExitNodes")),
            ("ContctInfo", Some("ContactInfo")),
            ("x", None),
            ("", None),
            ("SomethingElse", None),
        ] {
            assert_eq!(nearest(given), meant, "{given}");
        }
        assert_eq!(nearest(&"S".repeat(10_000)), None);
    }

    #[test]
    fn old_names_and_short_ones_mean_what_they_mean_to_c_tor() {
        let meant = |name| named(name).map(|(entry, is_told)| (entry.name, is_told));
        for (given, expected) in [
            ("SocksPort", Some(("SocksPort", false))),
            ("entrynode", Some(("EntryNodes", false))),
            ("dirserver", Some(("DirAuthority", false))),
            ("MAXCONN", Some(("ConnLimit", true))),
            ("SocksPor", Some(("SocksPort", true))),
            ("s", Some(("SafeLogging", true))),
            ("SocksPorts", None),
            ("", None),
            ("\u{e4}", None),
        ] {
            assert_eq!(meant(given), expected, "{given}");
        }
        assert_eq!((named_in_words("L"), named_in_words("Log")), ("Log", "Log"));
        assert_eq!(named_in_words("hashedcontrolpassword"), "__HashedControlSessionPassword");
    }

    #[test]
    fn other_names_are_none_of_the_table_and_stand_for_one_that_is() {
        for Abbreviation { name, stands_for, .. } in ABBREVIATIONS {
            assert!(find(name).is_none() && find(stands_for).is_some_and(|entry| entry.name == *stands_for), "{name}");
        }
        for (name, meant) in IN_WORDS {
            assert!(find(meant).is_some(), "{name}");
        }
        assert!(DEPRECATED.into_iter().all(|name| find(name).is_some_and(|entry| entry.name == name)));
    }

    #[test]
    fn distances_count_letters() {
        for (a, b, expected) in [("", "", 0), ("abc", "abc", 0), ("abc", "abd", 1), ("abc", "bc", 1), ("abc", "cab", 2)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
