//! Options that may not stand together: C tor and our program refuse and accept the same.

use std::fs;
use std::process::{Command, Stdio};

use super::program::CEPA;
use super::tor::Folder;

const AUTHORITY: &str = "DirAuthority test orport=1 v3ident=14C131DFC5C6F93646BE72FA1401C02A8DF2E8B4 127.0.0.1:1 \
                         0123456789ABCDEF0123456789ABCDEF01234567";
const FALLBACK: &str = "FallbackDir 192.0.2.1:80 orport=443 id=0123456789ABCDEF0123456789ABCDEF01234567";

/// Lines between semicolons; `A` and `F` stand for an authority and for a fallback.
const LINES: &[&str] = &[
    "",
    "NumEntryGuards 4;NumPrimaryGuards 3",
    "NumEntryGuards 3;NumPrimaryGuards 3",
    "NumEntryGuards 4",
    "NumDirectoryGuards 5;NumPrimaryGuards 2",
    "TestingTorNetwork 1",
    "TestingTorNetwork 1;A",
    "TestingTorNetwork 1;AlternateA",
    "A;AlternateA",
    "A;F",
    "F",
    "UseDefaultFallbackDirs 0",
    "TestingDirConnectionMaxStall 30",
    "TestingDirConnectionMaxStall 300",
    "TestingDirConnectionMaxStall 4;A;TestingTorNetwork 1",
    "TestingDirConnectionMaxStall 2 hours;A;TestingTorNetwork 1",
    "TestingClientMaxIntervalWithoutRequest 5",
    "TestingClientMaxIntervalWithoutRequest 0;A;TestingTorNetwork 1",
    "TestingClientMaxIntervalWithoutRequest 2 hours;A;TestingTorNetwork 1",
    "TestingClientDownloadInitialDelay 3",
    "TestingClientConsensusDownloadInitialDelay 3",
    "ClientUseIPv4 0;ClientUseIPv6 0",
    "ClientPreferIPv6ORPort 1;ClientUseIPv6 0",
    "DormantClientTimeout 599",
    "DormantClientTimeout 10 minutes",
    "DormantClientTimeout 5 minutes;DormantTimeoutEnabled 0",
    "DormantClientTimeout 5 minutes;A;TestingTorNetwork 1",
    "ClientDNSRejectInternalAddresses 0",
    "ClientDNSRejectInternalAddresses 0;A",
    "ClientDNSRejectInternalAddresses 0;AlternateA",
    "ClientRejectInternalAddresses 0",
    "ClientBootstrapConsensusMaxInProgressTries 0",
    "ClientBootstrapConsensusMaxInProgressTries 101",
    "CircuitsAvailableTimeout 2 days",
    "CircuitsAvailableTimeout 24 hours",
    "KeepalivePeriod 0",
    "PathsNeededToBuildCircuits 0.99",
    "PathsNeededToBuildCircuits -3",
    "DirAuthorityFallbackRate -1",
    "LearnCircuitBuildTimeout 0",
    "LearnCircuitBuildTimeout 0;CircuitBuildTimeout 5",
    "SocksPort 0",
    "SocksPort 0;SocksPort 9050",
    "SocksPort 192.0.2.1:9050",
    "SocksPort 0.0.0.0:9050",
    "MaxClientCircuitsPending 0",
    "MaxClientCircuitsPending 1025",
    "MaxCircuitDirtiness 1",
    "CircuitStreamTimeout 1",
    "SocksTimeout 0",
    "UseEntryGuards 0;NumEntryGuards 2",
    "ReducedConnectionPadding 1;ConnectionPadding 0",
    "LogTimeGranularity 0",
    "LogTimeGranularity 3",
    "AvoidDiskWrites 2",
    "Log [circ,net]info stdout",
    "Log debug-notice stdout",
    "Log notice-info stdout",
    "Log [~net]info stdout",
    "Log [*,~net]INFO",
    "Log [circ , net]  info   STDERR",
    "Log [circ]debug [net]notice stdout",
    "Log [circ]info-notice [~circ]debug stderr",
    "Log notice [circ]debug",
    "Log notice debug",
    "Log ~net stdout",
    "Log info ~net stdout",
    "Log [nonsense]info stdout",
    "Log [~*]info stdout",
    "Log []info stdout",
    "Log [circ,]info stdout",
    "Log [circ info stdout",
    "Log [circ]",
    "Log [circ] stdout",
    "Log [circ]notice file",
    "Log info stdout extra",
    "Log stdout",
    "Log notice filex",
];

pub fn our_verdicts_on_options_are_those_of_tor() {
    let folder = Folder::with_data();
    let torrc = folder.path().join("torrc");
    for lines in LINES {
        let text: String = lines.split(';').map(|line| expanded(line) + "\n").collect();
        fs::write(&torrc, format!("DataDirectory {}/data\n{text}", folder.path().display())).unwrap();
        let accepts = |program: &mut Command| {
            let program = program.arg("-f").arg(&torrc).arg("--verify-config");
            program.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
        };
        let [tor, ours] = ["tor", CEPA].map(|program| accepts(&mut Command::new(program)));
        assert_eq!(ours, tor, "{lines:?}");
    }
}

fn expanded(line: &str) -> String {
    match line {
        "A" => AUTHORITY.to_owned(),
        "AlternateA" => format!("Alternate{AUTHORITY}"),
        "F" => FALLBACK.to_owned(),
        line => line.to_owned(),
    }
}
