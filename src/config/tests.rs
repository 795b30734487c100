use super::options::table;
use super::port::Place;
use super::*;
use proptest::prelude::*;

fn settings(text: &str) -> Settings {
    let mut settings = Settings::new();
    settings.add_text("torrc", text).unwrap();
    settings
}

fn config(text: &str) -> Config {
    Config::of(&settings(text)).unwrap().0
}

/// A line that C tor takes.
const AUTHORITY: &str = "DirAuthority test orport=1 v3ident=14C131DFC5C6F93646BE72FA1401C02A8DF2E8B4 127.0.0.1:1 \
                         0123456789ABCDEF0123456789ABCDEF01234567\n";

/// What is said of a text that is no configuration.
fn complaint(text: &str) -> String {
    let mut settings = Settings::new();
    let read = settings.add_text("torrc", text).and_then(|_| Config::of(&settings));
    read.unwrap_err().to_string()
}

fn warnings(text: &str) -> Vec<String> {
    let mut settings = Settings::new();
    let mut warnings = settings.add_text("torrc", text).unwrap();
    warnings.extend(Config::of(&settings).unwrap().1);
    warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn an_option_that_does_nothing_says_so() {
    let said = "torrc:2: NewCircuitPeriod has no effect here: circuits are thought of whenever something changes";
    assert_eq!(warnings("\nNewCircuitPeriod 1 minute"), [said]);
    assert_eq!(warnings("FetchUselessDescriptors 1").len(), 1);
    assert!(warnings("FetchUselessDescriptors 0\nNewCircuitPeriod 30 seconds").is_empty());
    assert!(complaint("FetchUselessDescriptors 2").contains("FetchUselessDescriptors wants"));
}

#[test]
fn nothing_said_is_a_whole_configuration() {
    let config = config("");
    assert_eq!(config.socks_ports.len(), 1);
    assert_eq!(config.socks_ports[0].at, Place::Tcp("127.0.0.1:9050".parse().unwrap()));
    assert_eq!(config.requests.timeout, Duration::from_secs(120));
    assert_eq!(config.requests.warned_ports, [23, 109, 110, 143]);
    assert_eq!(config.circuits.long_lived_ports.len(), 12);
    assert_eq!(
        config.logs,
        [Log { selection: Selection::between(Severity::Notice, Severity::Err), sink: Sink::Stdout }]
    );
    assert!(config.safe_logging && config.requests.refuses_internal && config.circuits.distinct_subnets);
    assert_eq!((config.circuits.paths_needed, config.circuits.stream_timeout), (None, None));
    assert_eq!(config.dormancy.timeout, Duration::from_secs(86_400));
    assert_eq!(config.least_descriptors, 1000);
    assert!(warnings("").is_empty());
}

/// Alone, and in a testing network its own.
#[test]
fn every_default_is_a_configuration_and_changes_nothing() {
    for (beside, is_testing) in [("", false), ("TestingTorNetwork 1\n", true)] {
        let without = config(&format!("{AUTHORITY}{beside}"));
        for entry in table().into_iter().filter(|entry| !entry.usual(is_testing).is_empty()) {
            let text = format!("{AUTHORITY}{beside}{} {}\n", entry.name, entry.usual(is_testing));
            let expected = if entry.name == "TestingTorNetwork" { config(AUTHORITY) } else { without.clone() };
            assert_eq!(config(&text), expected, "{text}");
            assert!(!warnings(&text).join("").contains("no effect"), "{text}");
        }
    }
}

/// Of these each option takes one that it does not have in a testing network.
const SAMPLES: [&str; 9] =
    ["1", "0", "1 hour", "auto", "KIST", "relay", "127.0.0.1", "haproxy 192.0.2.1:80", "x exec /y"];

fn sample(entry: &Entry) -> String {
    let password = format!("16:{}", "A".repeat(58));
    let more = [
        "month 1 0:00",
        "a=b",
        "x 192.0.2.1:1",
        "x y=z",
        "0.4.9.11",
        "any",
        "*",
        "10.0.0.0/8",
        "[fd00::]/8",
        "latency",
        "max",
        "in",
        "sum",
        "tproxy",
        "{de}",
        "accept *:80",
        "v3",
        &password,
    ];
    let is_other = |text: &&str| {
        let value = entry.kind.read(text);
        value.is_ok() && entry.kind.read(entry.usual(true)) != value
    };
    (*SAMPLES.iter().chain(&more).find(|text| is_other(text)).unwrap_or_else(|| panic!("{}", entry.name))).to_owned()
}

/// What some options want beside them.
const BESIDE: &str = "TestingTorNetwork 1\nFetchDirInfoEarly 1\nControlSocket /x\nBridge 192.0.2.1\nBandwidthRate 1\n\
                      Socks5ProxyUsername a\nSocks5ProxyPassword b\nTestingSigningKeySlop 0\nTestingAuthKeySlop 0\n\
                      TestingLinkKeySlop 0\nAccelName x\n";

fn unserved() -> impl Iterator<Item = &'static Entry> {
    table().into_iter().filter(|entry| !matches!(entry.state, options::State::Implemented(_)))
}

#[test]
fn whatever_is_not_served_is_told_of_or_refused() {
    for entry in unserved() {
        let (name, sample) = (entry.name, sample(entry));
        let text = format!("{AUTHORITY}{BESIDE}{name} {sample}\n");
        match entry.state {
            options::State::Implemented(_) => {}
            // It wants what is refused.
            _ if name == "BridgeDistribution" => assert!(complaint(&text).contains("BridgeRelay 1 beside it")),
            options::State::Kept(why) => {
                let expected = format!("torrc:13: {name} has no effect here: {why}");
                assert!(warnings(&text).contains(&expected), "{text}: {:?}", warnings(&text));
            }
            options::State::Refused(why) => {
                assert_eq!(complaint(&text), format!("torrc:13: {name} {sample:?} is refused: {why}"));
            }
        }
    }
}

#[test]
fn while_the_network_is_off_nothing_is_refused_that_is_well_formed() {
    for entry in unserved() {
        let beside = "DisableNetwork 1\nORPort 9001\nBridgeRelay 1\nHiddenServiceDir /x\n\
                      HiddenServiceSingleHopMode 1\nHiddenServiceNonAnonymousMode 1\n";
        let text = format!("{AUTHORITY}{BESIDE}{beside}{} {}\n", entry.name, sample(entry));
        assert!(config(&text).is_network_disabled, "{text}");
        if let options::State::Refused(why) = entry.state {
            let expected = format!("torrc:19: {} is refused once DisableNetwork is 0: {why}", entry.name);
            assert!(warnings(&text).contains(&expected), "{text}: {:?}", warnings(&text));
        }
    }
}

#[test]
fn what_is_refused_is_named_with_its_reason() {
    let serves = "cepa is never a relay, and serves nobody but programs of this machine";
    for (text, expected) in [
        ("\nORPort 9001\n", format!("torrc:2: ORPort \"9001\" is refused: {serves}")),
        ("ClientOnly 1\nORPort auto\n", format!("torrc:2: ORPort \"auto\" is refused: {serves}")),
        ("UseBridges 1\n", "torrc:1: UseBridges \"1\" is refused: there are no bridges yet".to_owned()),
        ("sandbox 1\n", "torrc:1: Sandbox \"1\" is refused: there is no sandbox yet".to_owned()),
        ("RunAsDaemon 1\n", "torrc:1: RunAsDaemon \"1\" is refused: start it by systemd, or by nohup".to_owned()),
        ("ExitNods a\n", "torrc:1: there is no option ExitNods; did you mean ExitNodes?".to_owned()),
    ] {
        assert_eq!(complaint(text), expected);
    }
    for text in ["ORPort 0\nDirPort 0 NoListen\n", "UseBridges 0\n", "PathBiasNoticeRate -1.0\n", "__ORPort 0\n"] {
        assert!(warnings(text).is_empty(), "{text}: {:?}", warnings(text));
    }
}

#[test]
fn what_is_malformed_is_refused_whatever_becomes_of_it() {
    for text in ["Nickname a-b\n", "ORPort x\n", "Bridge nowhere\n", "ExitNodes a b\n", "UseBridges yes\n"] {
        for network in ["DisableNetwork 1\n", ""] {
            let option = text.split(' ').next().unwrap();
            assert!(complaint(&format!("{network}{text}")).contains(&format!(": {option} wants ")), "{text}");
        }
    }
    assert!(complaint("ControlPort 0\nControlPort 9051\n").contains("wants 0 alone"));
    assert!(complaint("ControlPort 0\n__ControlPort 9051\n").contains("wants 0 alone"));
}

/// After what C tor's `options_validate_cb` says of them.
#[test]
fn what_is_not_served_may_not_contradict_itself_either() {
    for (text, option) in [
        ("UseBridges 1\n", "UseBridges"),
        ("AccelDir /x\n", "AccelDir"),
        ("HiddenServiceVersion 3\n", "HiddenServiceVersion"),
        ("HiddenServiceSingleHopMode 1\n", "HiddenServiceSingleHopMode"),
        ("UseBridges 1\nBridge 192.0.2.1\nUseEntryGuards 0\n", "UseBridges"),
        ("UseBridges 1\nBridge 192.0.2.1\nEntryNodes a\n", "EntryNodes"),
        ("EntryNodes a\nUseEntryGuards 0\n", "EntryNodes"),
        ("Socks4Proxy a:1\nHTTPSProxy a:1\n", "Socks4Proxy"),
        ("Socks5ProxyUsername a\n", "Socks5ProxyUsername"),
        ("Socks5ProxyPassword a\n", "Socks5ProxyPassword"),
        ("TransProxyType tproxy\n", "TransProxyType"),
        ("FetchDirInfoExtraEarly 1\n", "FetchDirInfoExtraEarly"),
        ("ControlSocketsGroupWritable 1\n", "ControlSocketsGroupWritable"),
        ("AssumeReachable 1\nAssumeReachableIPv6 0\n", "AssumeReachableIPv6"),
        ("BridgeRelay 1\n", "BridgeRelay"),
        ("BridgeDistribution any\n", "BridgeDistribution"),
        ("ConstrainedSockets 1\nConstrainedSockSize 1000\n", "ConstrainedSockSize"),
        ("BandwidthRate 2 MB\nBandwidthBurst 1 MB\n", "BandwidthBurst"),
        ("BandwidthRate 2 GB\n", "BandwidthRate"),
        ("HiddenServiceNonAnonymousMode 1\n", "HiddenServiceNonAnonymousMode"),
        ("KISTSchedRunInterval 101\n", "KISTSchedRunInterval"),
        ("TokenBucketRefillInterval 0\n", "TokenBucketRefillInterval"),
        ("SigningKeyLifetime 1 day\n", "SigningKeyLifetime"),
    ] {
        let complaint = complaint(&format!("DisableNetwork 1\n{text}"));
        assert!(complaint.contains(&format!(": {option} wants ")), "{text}: {complaint}");
    }
}

#[test]
fn firewalls_lead_connections_to_us_in_two_ways() {
    let ways = |lines: &str| {
        let config = config(&format!("TransPort 9040\nTransPort 9041 IsolateDestAddr\nNATDPort 9042\n{lines}"));
        assert!(!config.natd_ports[0].flags.is_routed && config.trans_ports[1].flags.isolation.dest_addr);
        config.trans_ports.iter().map(|port| port.flags.is_routed).collect::<Vec<_>>()
    };
    assert_eq!(ways(""), [false, false]);
    assert_eq!(ways("TransProxyType Default\n"), [false, false]);
    assert_eq!(ways("TransProxyType TPROXY\n"), [true, true]);
    for (other, expected) in [
        ("ipfw", "default or TPROXY: ipfw and pf-divert are not of Linux"),
        ("pf-divert", "default or TPROXY: ipfw and pf-divert are not of Linux"),
        ("nat", "default or TPROXY"),
    ] {
        let complaint = complaint(&format!("TransPort 9040\nTransProxyType {other}\n"));
        assert_eq!(complaint, format!("torrc:2: TransProxyType wants {expected}, not {other:?}"));
    }
}

#[test]
fn ports_that_are_never_saved_are_ports_too() {
    let config = config("__SocksPort 1\n__DNSPort 2\n__HTTPTunnelPort 3\n__TransPort 4\n__NATDPort 5\n");
    let Config { socks_ports, dns_ports, http_tunnel_ports, trans_ports, natd_ports, .. } = config;
    let ports = [socks_ports, dns_ports, http_tunnel_ports, trans_ports, natd_ports].map(|ports| {
        let [port] = <[_; 1]>::try_from(ports).unwrap();
        port_of(port.at)
    });
    assert_eq!(ports, [1, 2, 3, 4, 5]);
    let socks = |settings: &Settings| {
        let (config, _) = Config::of(settings).unwrap();
        config.socks_ports.into_iter().map(|port| port_of(port.at)).collect::<Vec<_>>()
    };
    let mut settings = settings("SocksPort 1\n__SocksPort 2\n");
    assert_eq!(socks(&settings), [1, 2]);
    settings.begin_layer();
    settings.add_text("above", "+__SocksPort 3\n").unwrap();
    assert_eq!(socks(&settings), [1, 2, 3]);
    settings.begin_layer();
    settings.add_text("above", "__SocksPort 4\nSocksPort 5\n").unwrap();
    assert_eq!(socks(&settings), [5, 4]);
    settings.begin_layer();
    settings.add_text("above", "/SocksPort\n").unwrap();
    assert_eq!(socks(&settings), [9050]);
    settings.add_text("above", "__SocksPort 0\n").unwrap();
    assert_eq!(socks(&settings), []);
}

#[test]
fn other_names_mean_their_options() {
    assert_eq!(warnings("MaxConn 40\n"), ["torrc:1: MaxConn is called ConnLimit now"]);
    assert_eq!((config("MaxConn 40\n").least_descriptors, config("connlimi 41\n").least_descriptors), (40, 41));
    assert_eq!(warnings("ConnLimi 40\n"), ["torrc:1: ConnLimi is called ConnLimit now"]);
    assert!(warnings("NumHelperNodes 2\n").is_empty() && config("NumHelperNodes 2\n").guards.in_use == 2);
    let obsolete = "torrc:1: TunnelDirConns has no effect here: it is obsolete, and does nothing in C tor either";
    assert_eq!(warnings("TunnelDirConns what\n"), [obsolete]);
    assert_eq!(
        config("ClientBootstrapConsensusAuthorityDownloadInitialDelay 1 minute, 7\n")
            .directory
            .authority_delay
            .as_secs(),
        60
    );
}

/// What C tor's app/config/testnet.inc lists of what we have.
#[test]
fn a_testing_network_has_other_defaults() {
    let testing = config(&format!("TestingTorNetwork 1\n{AUTHORITY}"));
    assert!(testing.is_testing && testing.circuits.allows_private);
    assert!(!testing.circuits.distinct_subnets && !testing.requests.refuses_internal);
    assert!(!testing.requests.refuses_internal_answers);
    assert_eq!(testing.directory.authority_delay, Duration::ZERO);
    assert_eq!(testing.directory.max_stall, Duration::from_secs(30));
    assert_eq!(testing.directory.max_wait_for_few, Duration::from_secs(5));
    assert_eq!(config("").directory.authority_delay, Duration::from_secs(6));
    // What is said counts more.
    assert!(config(&format!("EnforceDistinctSubnets 1\nTestingTorNetwork 1\n{AUTHORITY}")).circuits.distinct_subnets);
}

#[test]
fn a_layer_above_takes_the_place_of_lists_below() {
    let mut settings = settings("SocksPort 1\nSocksPort 2\nSafeSocks 1\n");
    let ports = |settings: &Settings| {
        let (config, _) = Config::of(settings).unwrap();
        config.socks_ports.iter().map(|port| port.at.clone()).map(port_of).collect::<Vec<_>>()
    };
    assert_eq!(ports(&settings), [1, 2]);
    settings.begin_layer();
    settings.add_text("above", "+SocksPort 3\n").unwrap();
    assert_eq!(ports(&settings), [1, 2, 3]);
    settings.begin_layer();
    settings.add_text("top", "SocksPort 4\nSocksPort 5\n").unwrap();
    assert_eq!(ports(&settings), [4, 5]);
    settings.begin_layer();
    settings.add_text("none", "/SocksPort\n").unwrap();
    assert_eq!(ports(&settings), [9050]);
    assert!(Config::of(&settings).unwrap().0.requests.is_safe_only);
    settings.add_text("none", "SafeSocks\n").unwrap();
    assert!(!Config::of(&settings).unwrap().0.requests.is_safe_only);
}

fn port_of(place: Place) -> u16 {
    match place {
        Place::Tcp(address) => address.port(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn complaints_name_the_line_the_option_and_what_would_be_right() {
    for (text, expected) in [
        ("\nSafeSocks yes\n", "torrc:2: SafeSocks wants 0 or 1, not \"yes\""),
        ("SocksPrt 1\n", "torrc:1: there is no option SocksPrt; did you mean SocksPort?"),
        ("Xyzzy 1\n", "torrc:1: there is no option Xyzzy"),
        ("Log \"x\n", "torrc:1: the quoted value does not end, or has an escape that there is not"),
        (
            "SocksTimeout soon\n",
            "torrc:1: SocksTimeout wants a time, such as 30, \"10 minutes\" or \"2 hours\", not \"soon\"",
        ),
        (
            "MaxClientCircuitsPending 2000\n",
            "torrc:1: MaxClientCircuitsPending wants a number from 1 to 1024, not \"2000\"",
        ),
        ("SocksPort 0\nSocksPort 9050\n", "torrc:1: SocksPort wants 0 alone, or other lines without it, not \"0\""),
        ("SafeLogging maybe\n", "torrc:1: SafeLogging wants one of 0, 1, relay, not \"maybe\""),
        ("LongLivedPorts 1,x\n", "torrc:1: LongLivedPorts wants ports between commas, not \"1,x\""),
        ("ConnectionPadding 2\n", "torrc:1: ConnectionPadding wants 0, 1 or auto, not \"2\""),
        ("ClientOnly 7\n", "torrc:1: ClientOnly wants 0 or 1, not \"7\""),
        ("ConnLimit 31\n", "torrc:1: ConnLimit wants a number from 32 to 2147483647, not \"31\""),
    ] {
        assert_eq!(complaint(text), expected);
    }
    assert!(complaint("Log loud\n").starts_with("torrc:1: Log wants LEAST"));
    assert!(complaint("SocksPolicy allow *\n").starts_with("torrc:1: SocksPolicy wants accept or reject"));
}

#[test]
fn what_is_odd_is_told_and_no_reason_to_stop() {
    assert_eq!(warnings("SafeSocks 0\nSafeSocks 1\n"), ["torrc:2: SafeSocks was given twice; this one counts"]);
    assert_eq!(warnings("SocksPort 1 Wrong\n"), ["torrc:1: SocksPort has no flag Wrong; it is ignored"]);
    assert_eq!(warnings("SocksPort 1 CacheDNS\n"), ["torrc:1: the flag CacheDNS of SocksPort does nothing any more"]);
    assert_eq!(warnings("MaxCircuitDirtiness 1\n"), ["torrc:1: MaxCircuitDirtiness is brought to 10 seconds"]);
    assert_eq!(config("MaxCircuitDirtiness 3 months\n").circuits.max_dirtiness, Duration::from_secs(30 * 86_400));
    assert_eq!(config("CircuitStreamTimeout 3\n").circuits.stream_timeout, Some(Duration::from_secs(10)));
    for (given, paths, is_told) in
        [("0.1", Some(0.25), true), ("0.99", Some(0.95), true), ("0.5", Some(0.5), false), ("-3", None, false)]
    {
        let text = format!("PathsNeededToBuildCircuits {given}\n");
        assert_eq!(config(&text).circuits.paths_needed, paths);
        let told = paths.map(|paths| format!("torrc:1: PathsNeededToBuildCircuits is brought to {paths}"));
        assert_eq!(warnings(&text), if is_told { vec![told.unwrap()] } else { vec![] });
    }
}

#[test]
fn what_may_not_stand_together_is_refused_by_line_and_option() {
    for (text, expected) in [
        ("NumPrimaryGuards 3\nNumEntryGuards 4\n", "2: NumEntryGuards wants no more than NumPrimaryGuards, not \"4\""),
        ("TestingTorNetwork 1\n", "1: TestingTorNetwork wants DirAuthority lines beside it, or 0, not \"1\""),
        ("DormantClientTimeout 5 minutes\n", "1: DormantClientTimeout wants at least 10 minutes, not \"5 minutes\""),
        ("CircuitsAvailableTimeout 2 days\n", "1: CircuitsAvailableTimeout wants at most 24 hours, not \"2 days\""),
        ("KeepalivePeriod 0\n", "1: KeepalivePeriod wants at least 1 second, not \"0\""),
        (
            "ClientBootstrapConsensusMaxInProgressTries 0\n",
            "1: ClientBootstrapConsensusMaxInProgressTries wants at least 1, not \"0\"",
        ),
        (
            "ClientDNSRejectInternalAddresses 0\n",
            "1: ClientDNSRejectInternalAddresses wants 1, or DirAuthority lines beside it, not \"0\"",
        ),
    ] {
        assert_eq!(complaint(text), format!("torrc:{expected}"));
    }
    let alternate = format!("{AUTHORITY}Alternate{AUTHORITY}");
    assert!(
        complaint(&alternate)
            .starts_with("torrc:2: AlternateDirAuthority wants to stand where there is no DirAuthority")
    );
    for (line, least) in
        [("TestingDirConnectionMaxStall 4", "5 seconds"), ("TestingClientMaxIntervalWithoutRequest 0", "1 second")]
    {
        let (option, value) = line.split_once(' ').unwrap();
        let alone = "TestingTorNetwork 1 beside it, or its default";
        assert_eq!(complaint(line), format!("torrc:1: {option} wants {alone}, not {value:?}"));
        let beside = format!("TestingTorNetwork 1\n{AUTHORITY}{line}");
        assert_eq!(complaint(&beside), format!("torrc:3: {option} wants at least {least}, not {value:?}"));
    }
    assert!(complaint("TestingClientDownloadInitialDelay 3\n").contains("wants TestingTorNetwork 1 beside it"));
    assert!(
        complaint("TestingClientConsensusDownloadInitialDelay 3\n").contains("wants TestingTorNetwork 1 beside it")
    );
    // As C tor has it, these may.
    for text in [
        "NumEntryGuards 3\nNumPrimaryGuards 3\n",
        "NumEntryGuards 4\n",
        "NumDirectoryGuards 5\nNumPrimaryGuards 2\n",
        "TestingDirConnectionMaxStall 300 seconds\n",
        "CircuitsAvailableTimeout 1 day\n",
        "DirAuthorityFallbackRate -1\n",
        "UseEntryGuards 0\nNumEntryGuards 2\n",
    ] {
        assert_eq!(warnings(text), [""; 0], "{text}");
    }
}

#[test]
fn what_is_odd_beside_others_is_told() {
    let said = |text: &str| warnings(text).join("; ");
    for (text, expected) in [
        ("SocksPort 0\n", "torrc:1: SocksPort says that there is none"),
        (
            "LearnCircuitBuildTimeout 0\nCircuitBuildTimeout 5\n",
            "torrc:2: CircuitBuildTimeout says less than 10 seconds",
        ),
        ("ClientUseIPv4 0\nClientUseIPv6 0\n", "torrc:2: ClientUseIPv6 says 0, and so is ClientUseIPv4"),
        (
            "ClientBootstrapConsensusMaxInProgressTries 101\n",
            "torrc:1: ClientBootstrapConsensusMaxInProgressTries says more",
        ),
        ("LogTimeGranularity 3\n", "torrc:1: LogTimeGranularity is brought to 4 milliseconds"),
        ("SocksPort 192.0.2.1:9050\n", "torrc:1: SocksPort says a public address"),
        ("SocksPort 0.0.0.0:9050\n", "torrc:1: SocksPort says a public address"),
        ("SocksPort [::]:auto\n", "torrc:1: SocksPort says a public address"),
        ("SocksPort 100.64.0.1:9050\n", "torrc:1: SocksPort says a public address"),
        ("SocksPort 10.0.0.1:9050\n", "torrc:1: SocksPort says an address by which everybody on your local network"),
        ("HTTPTunnelPort 0.0.0.0:8118\n", "torrc:1: HTTPTunnelPort says a public address"),
        ("DNSPort 10.0.0.1:53\n", "torrc:1: DNSPort says an address by which everybody on your local network"),
        ("SocksPort 0\nHTTPTunnelPort 8118\n", ""),
        ("SocksPort 0\nDNSPort 53\n", ""),
        ("SocksPort 127.0.0.1:9050\n", ""),
        ("SocksPort [::1]:9050\nSocksPort unix:/tmp/x\n", ""),
        ("LearnCircuitBuildTimeout 0\nCircuitBuildTimeout 60\n", ""),
        (AUTHORITY, "torrc:1: DirAuthority says an authority of its own"),
    ] {
        let said = said(text);
        assert!(said.starts_with(expected) && said.is_empty() == expected.is_empty(), "{text}: {said}");
    }
    let testing = said(&format!("{AUTHORITY}TestingTorNetwork 1\nTestingDirConnectionMaxStall 2 hours\n"));
    assert!(testing.contains("torrc:3: TestingDirConnectionMaxStall says more than an hour"), "{testing}");
    assert!(testing.contains("torrc:2: TestingTorNetwork says 1, which makes this client"), "{testing}");
}

/// As C tor's `options_init_log_granularity` finds them.
#[test]
fn times_in_logs_are_as_exact_as_a_second_can_be_parted() {
    for (given, expected) in
        [(1, 1), (3, 4), (39, 40), (41, 50), (300, 500), (333, 500), (600, 1000), (1000, 1000), (1500, 2000)]
    {
        assert_eq!(granularity(given), expected, "{given}");
    }
}

/// After the options of ours that `options_transition_allowed` in C tor's app/config/config.c names.
#[test]
fn what_may_not_change_while_it_runs_is_named() {
    let config = |text: &str| config(&format!("{AUTHORITY}{text}"));
    let change = |before: &str, after: &str| config(before).fixed_difference(&config(after));
    assert_eq!(change("SocksPort 1\nDataDirectory /a\n", "DataDirectory /a\nSafeLogging 0\nSocksTimeout 1\n"), None);
    assert_eq!(change("User a\n", "SocksTimeout 1\nUser a\nKeepBindCapabilities 0\n"), None);
    for (before, after, option) in [
        ("", "DataDirectory /a\n", "DataDirectory"),
        ("DataDirectory /a\n", "DataDirectory /b\n", "DataDirectory"),
        ("CacheDirectory /a\n", "", "CacheDirectory"),
        ("User a\n", "", "User"),
        ("User a\n", "\n\nUser b\n", "User"),
        ("", "KeepBindCapabilities 1\n", "KeepBindCapabilities"),
        ("", "TestingTorNetwork 1\n", "TestingTorNetwork"),
        ("", "DataDirectory /a\nCacheDirectory /b\n", "CacheDirectory"),
    ] {
        assert_eq!(change(before, after), Some(option), "{before:?} {after:?}");
    }
}

#[test]
fn logs_go_where_they_are_sent() {
    let logs = config("Log info-notice stderr\nLog debug file /tmp/x y\nLog err syslog\nLog warn file \"/a b\"\n").logs;
    let expected = [
        ((Severity::Info, Severity::Notice), Sink::Stderr),
        ((Severity::Debug, Severity::Err), Sink::File("/tmp/x y".to_owned())),
        ((Severity::Err, Severity::Err), Sink::Syslog),
        ((Severity::Warn, Severity::Err), Sink::File("/a b".to_owned())),
    ];
    let log = |((least, most), sink)| Log { selection: Selection::between(least, most), sink };
    assert_eq!(logs, expected.map(log));
}

proptest! {
    #[test]
    fn no_torrc_panics(lines in proptest::collection::vec((0..table().len(), ".{0,12}|auto|[0-9]{1,6}( minutes)?"), 0..6)) {
        let (mut settings, table) = (Settings::new(), table());
        for (index, value) in lines {
            let _ = settings.add_text("torrc", &format!("{} {value}\n", table[index].name));
        }
        let _ = Config::of(&settings);
    }
}
