//! Options of directory authorities, one of which this program never is.
//!
//! What would make it one is refused; the rest does nothing by itself, and is kept. Called by
//! `mod.rs`. Spec: tor(1), "DIRECTORY AUTHORITY SERVER OPTIONS", "TESTING NETWORK OPTIONS". C tor:
//! feature/dirauth/dirauth_options.inc.

use super::Kind::{File, Fraction, Integer, Lines, Places, Relays, Seconds, Text, Truth, Words};
use super::{ANY, Entry, Kind, SIZE, kept, refused};

const AUTHORITY: &str = "cepa is never an authority";
const SERVES: &str = "cepa is never an authority, and serves nobody but programs of this machine";
const PART: Kind = Fraction(0.0, 1.0);
const SHARE: Kind = Fraction(f64::MIN, f64::MAX);

pub static ENTRIES: &[Entry] = &[
    kept("AuthDirBadExit", Places, "", "relays that are bad exits", AUTHORITY),
    kept("AuthDirBadExitCCs", Words, "", "countries of bad exits", AUTHORITY),
    kept("AuthDirFastGuarantee", SIZE, "100 KB", "what is always fast", AUTHORITY),
    kept("AuthDirGuardBWGuarantee", SIZE, "2 MB", "what is always fast enough for a guard", AUTHORITY),
    kept("AuthDirHasIPv6Connectivity", Truth, "0", "try relays by IPv6", AUTHORITY),
    kept("AuthDirInvalid", Places, "", "relays that are not valid", AUTHORITY),
    kept("AuthDirInvalidCCs", Words, "", "countries of such relays", AUTHORITY),
    kept("AuthDirListBadExits", Truth, "0", "vote on bad exits", AUTHORITY),
    kept("AuthDirListMiddleOnly", Truth, "0", "vote on relays for the middle alone", AUTHORITY),
    kept("AuthDirMaxServersPerAddr", ANY, "2", "how many relays one address may have", AUTHORITY).testing("0"),
    kept("AuthDirMiddleOnly", Places, "", "relays for the middle alone", AUTHORITY),
    kept("AuthDirMiddleOnlyCCs", Words, "", "countries of such relays", AUTHORITY),
    kept("AuthDirPinKeys", Truth, "1", "keep a relay's keys together", AUTHORITY),
    kept("AuthDirReject", Places, "", "relays to leave out", AUTHORITY),
    kept("AuthDirRejectCCs", Words, "", "countries of such relays", AUTHORITY),
    kept("AuthDirRejectRequestsUnderLoad", Truth, "1", "answer relays first", AUTHORITY),
    kept("AuthDirSharedRandomness", Truth, "1", "take part in the random value", AUTHORITY),
    kept("AuthDirTestEd25519LinkKeys", Truth, "1", "try the Ed25519 keys of relays", AUTHORITY),
    kept("AuthDirTestReachability", Truth, "1", "try whether relays are there", AUTHORITY),
    kept("AuthDirVoteGuard", Relays, "", "relays that are guards in any case", AUTHORITY),
    kept("AuthDirVoteGuardBwThresholdFraction", PART, "0.75", "how fast guards are among relays", AUTHORITY),
    kept("AuthDirVoteGuardGuaranteeTimeKnown", Seconds, "8 days", "how long guards are known", AUTHORITY),
    kept("AuthDirVoteGuardGuaranteeWFU", SHARE, "0.98", "how much of the time guards are there", AUTHORITY),
    kept("AuthDirVoteStableGuaranteeMinUptime", Seconds, "30 days", "after what time a relay is stable", AUTHORITY),
    kept("AuthDirVoteStableGuaranteeMTBF", Seconds, "5 days", "how long a stable relay runs at once", AUTHORITY),
    refused("AuthoritativeDirectory", Truth, "0", "be an authority", SERVES),
    refused("BridgeAuthoritativeDir", Truth, "0", "be the authority for bridges", SERVES),
    kept("BridgePassword", Text, "", "who may ask it for all bridges", AUTHORITY),
    kept("ConsensusParams", Lines, "", "parameters to vote for", AUTHORITY),
    kept("GuardfractionFile", File, "", "how long guards are guards", AUTHORITY),
    kept("MinimalAcceptedServerVersion", Kind::Version, "0.4.8.0-alpha-dev", "the oldest relays to list", AUTHORITY),
    kept("MinMeasuredBWsForAuthToIgnoreAdvertised", Integer, "500", "when measured speeds alone count", AUTHORITY),
    kept("MinUptimeHidServDirectoryV2", Seconds, "96 hours", "when a relay is a directory of services", AUTHORITY)
        .testing("0 minutes"),
    kept("RecommendedClientVersions", Lines, "", "which clients to use", AUTHORITY),
    kept("RecommendedServerVersions", Lines, "", "which relays to use", AUTHORITY),
    kept("RecommendedVersions", Lines, "", "which versions to use", AUTHORITY),
    kept("TestingAuthDirTimeToLearnReachability", Seconds, "30 minutes", "how long to try relays first", AUTHORITY)
        .testing("0 minutes"),
    kept("TestingDirAuthVoteExit", Relays, "", "relays that are exits in any case", AUTHORITY),
    kept("TestingDirAuthVoteExitIsStrict", Truth, "0", "no others are", AUTHORITY),
    kept("TestingDirAuthVoteGuard", Relays, "", "relays that are guards in any case", AUTHORITY),
    kept("TestingDirAuthVoteGuardIsStrict", Truth, "0", "no others are", AUTHORITY),
    kept("TestingDirAuthVoteHSDir", Relays, "", "relays that are directories of services in any case", AUTHORITY),
    kept("TestingDirAuthVoteHSDirIsStrict", Truth, "0", "no others are", AUTHORITY),
    kept("TestingMinExitFlagThreshold", SIZE, "0", "how fast an exit is", AUTHORITY),
    kept("TestingMinFastFlagThreshold", SIZE, "0", "how fast a fast relay is", AUTHORITY),
    kept("TestingV3AuthInitialDistDelay", Seconds, "5 minutes", "the first V3AuthDistDelay", AUTHORITY)
        .testing("20 seconds"),
    kept("TestingV3AuthInitialVoteDelay", Seconds, "5 minutes", "the first V3AuthVoteDelay", AUTHORITY)
        .testing("20 seconds"),
    kept("TestingV3AuthInitialVotingInterval", Seconds, "30 minutes", "the first V3AuthVotingInterval", AUTHORITY)
        .testing("150 seconds"),
    kept("TestingV3AuthVotingStartOffset", Seconds, "0", "when in the hour to vote", AUTHORITY),
    kept("V3AuthDistDelay", Seconds, "5 minutes", "how long to collect signatures", AUTHORITY).testing("20 seconds"),
    kept("V3AuthNIntervalsValid", ANY, "3", "how many rounds a consensus is good for", AUTHORITY),
    refused("V3AuthoritativeDirectory", Truth, "0", "be one of the authorities that vote", SERVES),
    kept("V3AuthUseLegacyKey", Truth, "0", "sign with an old key too", AUTHORITY),
    kept("V3AuthVoteDelay", Seconds, "5 minutes", "how long to collect votes", AUTHORITY).testing("20 seconds"),
    kept("V3AuthVotingInterval", Seconds, "1 hour", "how often to vote", AUTHORITY).testing("5 minutes"),
    kept("V3BandwidthsFile", File, "", "how fast relays were measured", AUTHORITY),
    refused("VersioningAuthoritativeDirectory", Truth, "0", "be an authority that says which versions to use", SERVES),
];
