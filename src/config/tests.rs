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
fn nothing_said_is_a_whole_configuration() {
    let config = config("");
    assert_eq!(config.socks_ports.len(), 1);
    assert_eq!(config.socks_ports[0].at, Place::Tcp("127.0.0.1:9050".parse().unwrap()));
    assert_eq!(config.requests.timeout, Duration::from_secs(120));
    assert_eq!(config.requests.warned_ports, [23, 109, 110, 143]);
    assert_eq!(config.circuits.long_lived_ports.len(), 12);
    assert_eq!(config.logs, [Log { severities: (Severity::Notice, Severity::Err), sink: Sink::Stdout }]);
    assert!(config.safe_logging && config.requests.refuses_internal && config.circuits.distinct_subnets);
    assert_eq!((config.circuits.paths_needed, config.circuits.stream_timeout), (None, None));
    assert_eq!(config.dormancy.timeout, Duration::from_secs(86_400));
    assert_eq!(config.least_descriptors, 1000);
    assert!(warnings("").is_empty());
}

#[test]
fn every_default_is_one_that_its_kind_takes() {
    for entry in OPTIONS {
        for default in [Some(entry.default), entry.testing].into_iter().flatten() {
            let text = format!("{} {default}\n", entry.name);
            assert!(default.is_empty() || Config::of(&settings(&text)).is_ok(), "{text}");
        }
    }
}

/// What C tor's app/config/testnet.inc lists of what we have.
#[test]
fn a_testing_network_has_other_defaults() {
    let testing = config("TestingTorNetwork 1\n");
    assert!(testing.is_testing && testing.directory.allows_private && testing.circuits.allows_private);
    assert!(!testing.circuits.distinct_subnets && !testing.requests.refuses_internal);
    assert!(!testing.requests.refuses_internal_answers);
    assert_eq!(testing.directory.authority_delay, Duration::ZERO);
    assert_eq!(testing.directory.max_stall, Duration::from_secs(30));
    assert_eq!(testing.directory.max_wait_for_few, Duration::from_secs(5));
    assert_eq!(config("").directory.authority_delay, Duration::from_secs(6));
    // What is said counts more.
    assert!(config("EnforceDistinctSubnets 1\nTestingTorNetwork 1\n").circuits.distinct_subnets);
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
    assert_eq!(config("PathsNeededToBuildCircuits 0.1\n").circuits.paths_needed, Some(0.25));
}

/// After the options of ours that `options_transition_allowed` in C tor's app/config/config.c names.
#[test]
fn what_may_not_change_while_it_runs_is_named() {
    let change = |before: &str, after: &str| config(before).fixed_difference(&config(after));
    assert_eq!(change("SocksPort 1\nDataDirectory /a\n", "DataDirectory /a\nSafeLogging 0\nSocksTimeout 1\n"), None);
    for (before, after, option) in [
        ("", "DataDirectory /a\n", "DataDirectory"),
        ("DataDirectory /a\n", "DataDirectory /b\n", "DataDirectory"),
        ("CacheDirectory /a\n", "", "CacheDirectory"),
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
    assert_eq!(logs, expected.map(|(severities, sink)| Log { severities, sink }));
    for text in ["err-debug", "", "notice file", "notice filex", "notice elsewhere"] {
        assert!(log(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_torrc_panics(lines in proptest::collection::vec((0..OPTIONS.len(), ".{0,12}|auto|[0-9]{1,6}( minutes)?"), 0..6)) {
        let mut settings = Settings::new();
        for (index, value) in lines {
            let _ = settings.add_text("torrc", &format!("{} {value}\n", OPTIONS[index].name));
        }
        let _ = Config::of(&settings);
    }
}
