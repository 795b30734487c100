//! What C tor and our program say of options: both have the same, and refuse and accept the same
//! values of them, alone and together.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output, Stdio};

use cepa::internal::config::options::{Entry, table};

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
    "OutboundBindAddress 192.0.2.1;OutboundBindAddress 192.0.2.2",
    "OutboundBindAddress 192.0.2.1;OutboundBindAddress [::1];OutboundBindAddressOR 192.0.2.2",
    "PathBiasCircThreshold 3;PathBiasNoticeRate 0.5",
    "PathBiasNoticeRate 1.5",
    "MaxMemInQueues 10",
    "MapAddress a",
    "MapAddress a *;MapAddress *.b *.c;MapAddress a.b c/d",
    "TrackHostExits a,.b;TrackHostExitsExpire 1 hour",
    "AutomapHostsOnResolve 1;AutomapHostsSuffixes .;VirtualAddrNetworkIPv4 10.0.0.0/17",
    "EntryNodes a;UseEntryGuards 0",
    "ExcludeNodes {us},{??},$0123456789ABCDEF0123456789ABCDEF01234567~a,192.0.2.1:80,accept *:90",
    "ExcludeNodes {usa}",
    "ExcludeNodes a;ExcludeNodes b-c",
    "ExitNodes 192.0.2.0/33",
    "NodeFamily a;NodeFamily {u}",
    "StrictNodes 1;ExcludeNodes *",
    "GeoIPExcludeUnknown 2",
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

/// Values of options that C tor takes and we do not, or the other way round, and why.
const DIFFERENT: &[(&str, &str)] = &[
    // An authority is never refused for being half of one, but for being one.
    ("AuthoritativeDirectory", "1"),
    ("VersioningAuthoritativeDirectory", "1"),
    // No bridge is asked for, and its lines are not read.
    ("AlternateBridgeAuthority", "1"),
    ("AlternateBridgeAuthority", "a-b c:d"),
    // Nothing is looked for on the disk that is not used.
    ("ClientOnionAuthDir", "1"),
    ("ClientOnionAuthDir", "a-b c:d"),
    // A service is read by whoever will offer it.
    ("HiddenServiceDir", "1"),
    ("HiddenServiceDir", "a-b c:d"),
    // To C tor that is a name, and it has it looked up.
    ("HTTPSProxy", "1"),
    ("Socks4Proxy", "1"),
    ("Socks5Proxy", "1"),
    // C tor takes it and ends when it starts.
    ("ConnLimit", "1"),
];

pub fn our_verdicts_on_options_are_those_of_tor() {
    let folder = Folder::with_data();
    for lines in LINES {
        let text: String = lines.split(';').map(|line| expanded(line) + "\n").collect();
        let [tor, ours] = verdicts(&folder, &text);
        assert_eq!(ours.status.success(), tor.status.success(), "{lines:?}");
    }
}

/// What a torrc includes, in a folder where there are some files.
pub fn our_verdicts_on_what_is_included_are_those_of_tor() {
    let folder = Folder::with_data();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("conf.d/inner")).unwrap();
    for (name, text) in [
        ("good", "SocksTimeout 5\n"),
        ("bad", "SocksTimeout soon\n"),
        ("empty", ""),
        ("self", "%include self\n"),
        ("twice", "%include good\n%include good\n"),
        ("a b", "SocksTimeout 6\n"),
        ("star*", "SocksTimeout 7\n"),
        ("conf.d/10", "SocksTimeout 8\n"),
        ("conf.d/.bad", "Nonsense\n"),
        ("conf.d/inner/bad", "Nonsense\n"),
    ] {
        fs::write(path(name), text).unwrap();
    }
    for lines in [
        "%include good",
        "%include bad",
        "%include none",
        "%include empty",
        "%include self",
        "%include twice",
        "%include no*",
        "%include *",
        "%include g*",
        "%include b?d",
        "%include [b]ad",
        "%include [b]a*",
        "%include [!b]oo?",
        "%include conf.d",
        "%include conf.d/",
        "%include conf.d/*",
        "%include conf.d/1*",
        "%include conf.d/.*d",
        "%include */10",
        "%include */bad",
        "%include */*/bad",
        "%include star\\*",
        "%include star*",
        "%include \"a b\"",
        "%include a b",
        "%include",
        "%include /dev/null",
        "%INCLUDE good",
        "%Include none",
        "+%include good",
        "/%include good",
        "SocksTimeout 9\n%include good",
    ] {
        let [tor, ours] = verdicts(&folder, &format!("{lines}\n"));
        assert_eq!(ours.status.success(), tor.status.success(), "{lines:?}: {}", String::from_utf8_lossy(&ours.stderr));
    }
}

/// What both say of a torrc.
fn verdicts(folder: &Folder, text: &str) -> [Output; 2] {
    let torrc = folder.path().join("torrc");
    fs::write(&torrc, format!("DataDirectory {}/data\n{text}", folder.path().display())).unwrap();
    ["tor", CEPA].map(|program| {
        let mut program = Command::new(program);
        // Both make directories that a torrc names, tor even to look at it.
        let program = program
            .current_dir(folder.path())
            .arg("--defaults-torrc")
            .arg(folder.path().join("none"))
            .arg("-f")
            .arg(&torrc);
        program.arg("--verify-config").stdin(Stdio::null()).output().unwrap()
    })
}

/// What is dumped of a torrc, to the letter.
pub fn our_dumps_of_options_are_those_of_tor() {
    let folder = Folder::with_data();
    let torrc = folder.path().join("torrc");
    let data = folder.path().display();
    let text = format!(
        "DataDirectory {data}/data\nDisableNetwork 1\nSocksPort 9060 IsolateDestAddr\nSocksPort 9061\n\
         SocksTimeout 3 minutes\nBandwidthRate 1 MB\nExcludeNodes {{us}},abcd\nExcludeNodes {{DE}} , 192.0.2.0/24:80-90\n\
         NodeFamily a,b\nNodeFamily c, d\nLog notice stdout\n\
         LongLivedPorts 21, 22\nsafelogging 0\nCircuitBuildTimeout 1.5 minutes\nKISTSchedRunInterval 10 msec\n\
         ConnectionPadding 1\nPathsNeededToBuildCircuits 0.5\nSocksPolicy accept 127.0.0.1,reject *\n\
         MapAddress a.b c.d\nNickname \"foo\"\nDormantClientTimeout 1 day\nControlPort 0\nConnLimit 1000\n"
    );
    fs::write(&torrc, text).unwrap();
    for which in ["short", "non-builtin", "full"] {
        let [tor, ours] = ["tor", CEPA].map(|program| {
            let mut program = Command::new(program);
            program.args(["--quiet", "--defaults-torrc"]).arg(folder.path().join("none")).arg("-f").arg(&torrc);
            let output = program.args(["--dump-config", which]).stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "{which}");
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines().map(|line| line.trim_end().to_owned()).collect::<BTreeSet<_>>()
        });
        let different: Vec<_> = tor.symmetric_difference(&ours).collect();
        assert!(tor.len() > 10 && different.is_empty(), "{which}: {different:?}");
    }
}

/// All of them at once, so that each of its own is the default of the other.
pub fn our_verdicts_on_defaults_are_those_of_tor() {
    let folder = Folder::with_data();
    let line = |entry: &&Entry, is_testing| match (entry.usual(is_testing), entry.is_obsolete()) {
        (_, true) => format!("{} anything\n", entry.name),
        ("", _) => String::new(),
        (usual, _) => format!("{} {usual}\n", entry.name),
    };
    let usual: String = table().iter().map(|entry| line(entry, false)).collect();
    let rows = table().into_iter().filter(|entry| entry.name != "TestingTorNetwork");
    let testing: String = rows.map(|entry| line(&entry, true)).collect();
    for text in [usual, format!("TestingTorNetwork 1\n{AUTHORITY}\n{testing}")] {
        for output in verdicts(&folder, &text) {
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            // What is a default to one and none to the other is told of by that.
            let is_ours = said.starts_with("[warn] ") || said.starts_with("Configuration was valid");
            let told = said.lines().filter(|line| line.contains("has no effect here") && !line.contains("is obsolete"));
            assert!(!is_ours || told.count() == 0, "{said}");
        }
    }
}

/// While the network is off, so that none is refused for what it asks for.
pub fn our_verdicts_on_values_are_those_of_tor() {
    let mut different = Vec::new();
    for entry in table().into_iter().filter(|entry| !entry.is_obsolete() && entry.name != "DisableNetwork") {
        for value in ["1", "a-b c:d"] {
            // In which tor leaves files, of that name too.
            let folder = Folder::with_data();
            let [tor, ours] = verdicts(&folder, &format!("DisableNetwork 1\n{} {value}\n", entry.name));
            if tor.status.success() != ours.status.success() && !DIFFERENT.contains(&(entry.name, value)) {
                let by = if tor.status.success() { "tor" } else { "us" };
                different.push(format!("{} {value:?} is taken by {by} alone", entry.name));
            }
        }
    }
    assert!(different.is_empty(), "{different:#?}");
}

pub fn our_lists_of_options_are_those_of_tor() {
    let printed = |program: &str, list: &str| {
        let output = Command::new(program).args(["--quiet", list]).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{program} {list}");
        String::from_utf8(output.stdout).unwrap()
    };
    for list in ["--list-torrc-options", "--list-deprecated-options"] {
        assert_eq!(printed(CEPA, list), printed("tor", list));
    }
    // Debian builds with all of them; none is here.
    let modules = printed("tor", "--list-modules");
    assert_eq!(printed(CEPA, "--list-modules"), modules.replace(": yes", ": no"));
}

fn expanded(line: &str) -> String {
    match line {
        "A" => AUTHORITY.to_owned(),
        "AlternateA" => format!("Alternate{AUTHORITY}"),
        "F" => FALLBACK.to_owned(),
        line => line.to_owned(),
    }
}
