//! What the user wants: lines in, a typed and complete `Config` out.
//!
//! [`Settings`] holds what was said of each option and where, in layers; [`Config`] is what
//! follows from it, all at once, so that there is never half a configuration. Opens no file
//! and looks nothing up: the shell reads files and gives their text. Called by the shell at
//! the start and on reload, and by the control port. Spec: none. C tor: tor(1);
//! app/config/config.c for defaults, limits and which values are raised or lowered.

mod complaint;
mod conflicts;
pub mod dump;
mod firewall;
mod forms;
mod kept;
mod log;
pub mod maps;
pub mod options;
pub mod outward;
pub mod policy;
pub mod port;
pub mod relays;
pub mod torrc;
pub mod values;

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use complaint::{Complaint, Objection, Oddity, Warning};
pub use log::{Domain, Log, Selection, Severity, Sink};
use maps::Maps;
pub use options::{Entry, Kind, find};
use outward::Proxy;
use policy::Policy;
use port::Port;
use relays::Nodes;
use torrc::Change;
use values::{Choice, Wanted};

/// Where something was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// A file, or a word for what is none, such as the command line.
    pub source: Arc<str>,
    /// The line, from 1; 0 where there are no lines.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.source),
            line => write!(f, "{}:{line}", self.source),
        }
    }
}

/// A value and where it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// As it was written, without quotes.
    pub value: String,
    /// Where.
    pub origin: Origin,
}

/// Takes what a line includes: where that line is, and what it names.
pub type Include<'a, E> = dyn FnMut(&mut Settings, Origin, &str) -> Result<Vec<Warning>, E> + 'a;

/// What was said of each option.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// By name: in which layer it was last set, and its values.
    given: BTreeMap<&'static str, (u32, Vec<Given>)>,
    layer: u32,
}

impl Settings {
    /// Nothing was said.
    pub fn new() -> Settings {
        Settings::default()
    }

    /// What follows is a layer above all before it: the first line of a list takes the place
    /// of what lower layers said, those after it add to it.
    pub fn begin_layer(&mut self) {
        self.layer += 1;
    }

    /// Takes the text of a file, which includes no other.
    pub fn add_text(&mut self, source: &str, text: &str) -> Result<Vec<Warning>, Complaint> {
        self.add_lines(source, text, &mut |_, origin, _| Err(Complaint { origin, fault: Objection::Include }))
    }

    /// Takes the text of a file, and by `include` what its lines include.
    pub fn add_lines<E: From<Complaint>>(
        &mut self,
        source: &str,
        text: &str,
        include: &mut Include<'_, E>,
    ) -> Result<Vec<Warning>, E> {
        let source: Arc<str> = source.into();
        let mut warnings = Vec::new();
        for line in torrc::lines(text) {
            let at = |line| Origin { source: Arc::clone(&source), line };
            let line =
                line.map_err(|(number, fault)| Complaint { origin: at(number), fault: Objection::Line(fault) })?;
            match line.key.as_str() {
                torrc::INCLUDE => warnings.extend(include(self, at(line.number), &line.value)?),
                key => warnings.extend(self.add(at(line.number), line.change, key, line.value)?),
            }
        }
        Ok(warnings)
    }

    /// Takes one option.
    pub fn add(
        &mut self,
        origin: Origin,
        change: Change,
        name: &str,
        value: String,
    ) -> Result<Vec<Warning>, Complaint> {
        let Some((entry, is_told)) = options::named(name) else {
            let fault = Objection::Unknown(name.to_owned(), options::nearest(name));
            return Err(Complaint { origin, fault });
        };
        self.clear_twin(entry, change);
        let mut oddities = Vec::new();
        oddities.extend(is_told.then(|| Oddity::OtherName(name.to_owned(), entry.name)));
        let (layer, values) = self.given.entry(entry.name).or_default();
        let is_above = *layer != self.layer;
        *layer = self.layer;
        let is_twice = !entry.kind.is_list() && !is_above && !values.is_empty();
        oddities.extend(is_twice.then_some(Oddity::Twice(entry.name)));
        let warnings = oddities.into_iter().map(|oddity| Warning { origin: origin.clone(), oddity }).collect();
        if change == Change::Clear || !entry.kind.is_list() || (change == Change::Set && is_above) {
            values.clear();
        }
        // C tor: an option without a value goes back to its default.
        if change != Change::Clear && !value.is_empty() {
            values.push(Given { value, origin });
        }
        Ok(warnings)
    }

    /// A port may be given by two names, one of which is never saved. C tor: their lines are one
    /// list, which the first line of a layer above takes the place of.
    fn clear_twin(&mut self, entry: &Entry, change: Change) {
        let (layer, twin) = (self.layer, options::twin(entry).and_then(|twin| self.given.get_mut(twin.name)));
        match twin {
            Some((below, values)) if change == Change::Clear || (change == Change::Set && *below != layer) => {
                values.clear();
            }
            _ => {}
        }
    }

    /// What was said of an option; nothing if its default counts.
    pub fn given(&self, name: &str) -> &[Given] {
        let entry = find(name).and_then(|entry| self.given.get(entry.name));
        entry.map(|(_, values)| &values[..]).unwrap_or_default()
    }

    /// Whether nothing above the first layer said anything of it.
    fn is_of_first_layer(&self, name: &str) -> bool {
        find(name).and_then(|entry| self.given.get(entry.name)).is_some_and(|(layer, _)| *layer == 0)
    }

    /// The options of which something was said, in the order of their names.
    pub fn options(&self) -> impl Iterator<Item = &'static Entry> + '_ {
        self.given.iter().filter(|(_, (_, values))| !values.is_empty()).filter_map(|(name, _)| find(name))
    }

    /// What was said of a port, by either of its names.
    fn given_of_port(&self, name: &str) -> Vec<&Given> {
        let twin = find(name).and_then(options::twin).map_or(&[][..], |twin| self.given(twin.name));
        self.given(name).iter().chain(twin).collect()
    }
}

/// Everything that was wanted, typed and complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This is a private network for tests.
    pub is_testing: bool,
    /// No connection to the network may be opened.
    pub is_network_disabled: bool,
    /// Where to keep what outlives a run; `None` leaves it to the shell.
    pub data_directory: Option<String>,
    /// Where to keep directory documents, if elsewhere.
    pub cache_directory: Option<String>,
    /// Whether the group may look into these two.
    pub groups: [bool; 2],
    /// Where our process number is written.
    pub pid_file: Option<String>,
    /// Who to go on as.
    pub user: Option<Given>,
    /// Whether whoever that is may open ports that otherwise only root may.
    pub keeps_low_ports: bool,
    /// Whether to write to disk less often.
    pub avoids_disk_writes: bool,
    /// How many descriptors the system must let us have (`ConnLimit`).
    pub least_descriptors: u64,
    /// Who is trusted, and who is asked first.
    pub directory: DirectoryWish,
    /// Where programs speak SOCKS to us.
    pub socks_ports: Vec<Port>,
    /// Where they speak HTTP CONNECT.
    pub http_tunnel_ports: Vec<Port>,
    /// Where they send look-ups.
    pub dns_ports: Vec<Port>,
    /// Where a firewall leads connections that were meant for others.
    pub trans_ports: Vec<Port>,
    /// The same of BSD's natd.
    pub natd_ports: Vec<Port>,
    /// Which of their requests are served.
    pub requests: Requests,
    /// Which addresses stand for others.
    pub maps: Maps,
    /// What is logged, and where to. Never empty.
    pub logs: Vec<Log>,
    /// How exact the times in logs are.
    pub log_granularity: Duration,
    /// Whether addresses are kept out of logs.
    pub safe_logging: bool,
    /// Whether lines say what they are about.
    pub log_domains: bool,
    /// Whether log files are begun anew.
    pub truncates_logs: bool,
    /// What is behind our name in the system's log.
    pub syslog_tag: Option<String>,
    /// Whether what others do wrong is warned of.
    pub warns_of_protocol: bool,
    /// How often to say how it goes.
    pub heartbeat: Option<Duration>,
    /// How circuits are built and used.
    pub circuits: Circuits,
    /// Which relays may be in them.
    pub nodes: Nodes,
    /// Where it says which address is in which country.
    pub countries: Countries,
    /// How guards are chosen and kept.
    pub guards: Guards,
    /// How relays are reached.
    pub links: Links,
    /// When to sleep.
    pub dormancy: Dormancy,
}

/// Who is trusted, and who is asked first. Lines are as they were given: what they mean is
/// the directory's.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectoryWish {
    /// `DirAuthority`.
    pub authorities: Vec<Given>,
    /// `AlternateDirAuthority`.
    pub alternate_authorities: Vec<Given>,
    /// `FallbackDir`.
    pub fallbacks: Vec<Given>,
    /// Whether the built-in fallbacks may be asked, where nothing else replaces them.
    pub uses_default_fallbacks: bool,
    /// How often authorities are asked as fallbacks.
    pub authority_rate: f64,
    /// When authorities are asked for the first consensus, beside fallbacks.
    pub authority_delay: Duration,
    /// The same without fallbacks.
    pub authority_only_delay: Duration,
    /// When fallbacks are.
    pub fallback_delay: Duration,
    /// How many are asked at once.
    pub max_tries: u64,
    /// How long a directory may say nothing.
    pub max_stall: Duration,
    /// How long to collect microdescriptors before asking for few.
    pub max_wait_for_few: Duration,
}

/// Which requests of programs are served.
#[derive(Clone, Debug, PartialEq)]
pub struct Requests {
    /// Who may ask.
    pub policy: Policy,
    /// How long a request waits for a circuit.
    pub timeout: Duration,
    /// Refuse those that show that a name was looked up outside of Tor.
    pub is_safe_only: bool,
    /// Log for each whether it is safe.
    pub logs_safety: bool,
    /// Ports that are warned of.
    pub warned_ports: Vec<u16>,
    /// Ports that are refused.
    pub refused_ports: Vec<u16>,
    /// What all programs together may leave unread and have unsent, if the user says so.
    pub most_held: Option<u64>,
    /// Refuse private addresses.
    pub refuses_internal: bool,
    /// Do not believe exits that answer with them.
    pub refuses_internal_answers: bool,
}

/// How circuits are built and used.
#[derive(Clone, Debug, PartialEq)]
pub struct Circuits {
    /// How long after its first use a circuit gets new streams.
    pub max_dirtiness: Duration,
    /// How long one may take to build, if that is not learned.
    pub build_timeout: Option<Duration>,
    /// Whether that is learned.
    pub learns_timeout: bool,
    /// How long a stream waits on one, if that is not chosen.
    pub stream_timeout: Option<Duration>,
    /// How long to keep some ready, if that is not chosen.
    pub available_timeout: Option<Duration>,
    /// How many may be under way at once.
    pub max_pending: u64,
    /// Ports whose streams last.
    pub long_lived_ports: Vec<u16>,
    /// Whether no two relays may be from one network.
    pub distinct_subnets: bool,
    /// Whether they may extend to relays on private addresses.
    pub allows_private: bool,
    /// Whether relays are told the next one's Ed25519 key, if the user says so.
    pub extends_by_ed25519: Choice,
    /// Whether any are built before they are wanted.
    pub are_built_ahead: bool,
    /// Hosts that are asked by the same exit again.
    pub tracked_hosts: Vec<String>,
    /// For how long after they were asked last.
    pub track_expire: Duration,
    /// The share of all paths that must be known, if not the consensus says.
    pub paths_needed: Option<f64>,
}

/// Which address is in which country.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Countries {
    /// The file of IPv4 addresses.
    pub file: String,
    /// Whether relays of no known country are left out; or only where lists name countries.
    pub excludes_unknown: Choice,
}

/// How guards are chosen and kept. Zero leaves a number to the consensus.
#[derive(Clone, Debug, PartialEq)]
pub struct Guards {
    /// Whether there are any.
    pub are_used: bool,
    /// How many are in use.
    pub in_use: u64,
    /// How many are asked for the directory.
    pub for_directory: u64,
    /// How many are in the first rank.
    pub primary: u64,
    /// How long one is kept.
    pub lifetime: Duration,
    /// How one is judged by what becomes of its circuits.
    pub bias: Bias,
}

/// How guards are judged. What is not said is left to the consensus.
#[derive(Clone, Debug, PartialEq)]
pub struct Bias {
    /// How many circuits and how many uses there must be.
    pub least: [Option<f64>; 2],
    /// After how many circuits and uses old ones count less.
    pub scaled: [Option<f64>; 2],
    /// Below which rate of circuits the user is told, warned, and told of an attack.
    pub circuits: [Option<f64>; 3],
    /// Below which rate of uses the user is told, and told of an attack.
    pub uses: [Option<f64>; 2],
    /// Whether guards that seem to attack are given up.
    pub drops: Choice,
}

/// How relays are reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Links {
    /// By IPv4.
    pub ipv4: bool,
    /// By IPv6.
    pub ipv6: bool,
    /// Which of them first.
    pub prefers_ipv6: Choice,
    /// Whether they are padded.
    pub padding: Choice,
    /// Whether they are padded less.
    pub reduced_padding: bool,
    /// How long one may be silent.
    pub keepalive: Duration,
    /// Who connects for us.
    pub proxy: Option<Proxy>,
    /// Where relays may be dialled at.
    pub firewall: Policy,
    /// From which addresses they are dialled: of IPv4 and of IPv6.
    pub from: [Option<IpAddr>; 2],
    /// How small the buffers of sockets are to be.
    pub buffers: Option<u32>,
}

/// When to sleep.
#[derive(Clone, Debug, PartialEq)]
pub struct Dormancy {
    /// Whether at all.
    pub is_enabled: bool,
    /// How long nobody must have asked for anything.
    pub timeout: Duration,
    /// Whether an open stream is somebody asking.
    pub waits_for_streams: bool,
    /// Whether the first run begins asleep.
    pub sleeps_first: bool,
    /// Whether a start wakes us up.
    pub wakes_at_start: bool,
}

/// C tor: `MIN_MAX_CIRCUIT_DIRTINESS`, `MAX_MAX_CIRCUIT_DIRTINESS`, `MIN_CIRCUIT_STREAM_TIMEOUT`;
/// `MIN_CIRCUIT_BUILD_TIMEOUT` is not enforced.
const DIRTINESS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30 * 86_400));
const LEAST_STREAM_TIMEOUT: Duration = Duration::from_secs(10);
/// C tor: `MIN_HEARTBEAT_PERIOD`.
const LEAST_HEARTBEAT: Duration = Duration::from_secs(30 * 60);
/// No time is longer: C tor keeps them in an `int`.
const FOREVER: Duration = Duration::from_secs(0x7FFF_FFFF);

impl Config {
    /// What follows from the settings, and what is odd about them.
    pub fn of(settings: &Settings) -> Result<(Config, Vec<Warning>), Complaint> {
        let is_testing = Reader { settings, is_testing: false, warnings: Vec::new() }.truth("TestingTorNetwork")?;
        let mut reader = Reader { settings, is_testing, warnings: Vec::new() };
        let config = Config {
            is_testing,
            is_network_disabled: reader.truth("DisableNetwork")?,
            data_directory: reader.text("DataDirectory"),
            cache_directory: reader.text("CacheDirectory"),
            groups: [reader.truth("DataDirectoryGroupReadable")?, reader.group_of_cache()?],
            pid_file: reader.text("PidFile").filter(|path| !path.is_empty()),
            user: settings.given("User").last().cloned(),
            // C tor: `auto` keeps that for relays alone.
            keeps_low_ports: reader.choice("KeepBindCapabilities")? == Choice::Yes,
            avoids_disk_writes: reader.truth("AvoidDiskWrites")?,
            least_descriptors: reader.number("ConnLimit")?,
            directory: reader.directory()?,
            socks_ports: reader.listeners("SocksPort")?,
            http_tunnel_ports: reader.listeners("HTTPTunnelPort")?,
            dns_ports: reader.listeners("DNSPort")?,
            trans_ports: reader.trans_ports()?,
            natd_ports: reader.listeners("NATDPort")?,
            requests: reader.requests()?,
            maps: reader.maps()?,
            logs: reader.logs()?,
            log_granularity: reader.log_granularity()?,
            safe_logging: reader.safe_logging()?,
            log_domains: reader.truth("LogMessageDomains")?,
            truncates_logs: reader.truth("TruncateLogFile")?,
            syslog_tag: reader.text("SyslogIdentityTag"),
            warns_of_protocol: reader.truth("ProtocolWarnings")?,
            heartbeat: reader.heartbeat()?,
            circuits: reader.circuits()?,
            nodes: reader.nodes()?,
            countries: reader.countries()?,
            guards: reader.guards()?,
            links: reader.links()?,
            dormancy: reader.dormancy()?,
        };
        reader.warnings.extend(kept::check(settings, is_testing, config.is_network_disabled)?);
        reader.warnings.extend(conflicts::check(settings, &config)?);
        Ok((config, reader.warnings))
    }

    /// The first option, by name, that is another in `next` and may not change while the program
    /// runs. C tor: `options_transition_allowed`; the others of its list change nothing here.
    pub fn fixed_difference(&self, next: &Config) -> Option<&'static str> {
        let name = |config: &Config| config.user.as_ref().map(|given| given.value.clone());
        let fixed = [
            ("CacheDirectory", self.cache_directory == next.cache_directory),
            ("DataDirectory", self.data_directory == next.data_directory),
            ("KeepBindCapabilities", self.keeps_low_ports == next.keeps_low_ports),
            ("PidFile", self.pid_file == next.pid_file),
            ("SyslogIdentityTag", self.syslog_tag == next.syslog_tag),
            ("TestingTorNetwork", self.is_testing == next.is_testing),
            ("User", name(self) == name(next)),
        ];
        fixed.into_iter().find(|(_, is_same)| !is_same).map(|(option, _)| option)
    }
}

/// Reads settings by the kinds of the table.
struct Reader<'a> {
    settings: &'a Settings,
    is_testing: bool,
    warnings: Vec<Warning>,
}

impl Reader<'_> {
    fn directory(&mut self) -> Result<DirectoryWish, Complaint> {
        Ok(DirectoryWish {
            authorities: self.settings.given("DirAuthority").to_vec(),
            alternate_authorities: self.settings.given("AlternateDirAuthority").to_vec(),
            fallbacks: self.settings.given("FallbackDir").to_vec(),
            uses_default_fallbacks: self.truth("UseDefaultFallbackDirs")?,
            authority_rate: self.fraction("DirAuthorityFallbackRate")?,
            authority_delay: self.first_time("ClientBootstrapConsensusAuthorityDownloadInitialDelay")?,
            authority_only_delay: self.first_time("ClientBootstrapConsensusAuthorityOnlyDownloadInitialDelay")?,
            fallback_delay: self.first_time("ClientBootstrapConsensusFallbackDownloadInitialDelay")?,
            max_tries: self.number("ClientBootstrapConsensusMaxInProgressTries")?,
            max_stall: self.time("TestingDirConnectionMaxStall")?,
            max_wait_for_few: self.time("TestingClientMaxIntervalWithoutRequest")?,
        })
    }

    fn requests(&mut self) -> Result<Requests, Complaint> {
        Ok(Requests {
            policy: self.policy("SocksPolicy")?,
            timeout: self.time("SocksTimeout")?,
            is_safe_only: self.truth("SafeSocks")?,
            logs_safety: self.truth("TestSocks")?,
            warned_ports: self.port_numbers("WarnPlaintextPorts")?,
            refused_ports: self.port_numbers("RejectPlaintextPorts")?,
            most_held: Some(self.single("MaxMemInQueues", values::size)?).filter(|size| *size > 0),
            refuses_internal: self.truth("ClientRejectInternalAddresses")?,
            refuses_internal_answers: self.truth("ClientDNSRejectInternalAddresses")?,
        })
    }

    fn circuits(&mut self) -> Result<Circuits, Complaint> {
        Ok(Circuits {
            max_dirtiness: self.time_between("MaxCircuitDirtiness", DIRTINESS)?,
            build_timeout: self.time_unless_zero("CircuitBuildTimeout", Duration::ZERO)?,
            learns_timeout: self.truth("LearnCircuitBuildTimeout")?,
            stream_timeout: self.time_unless_zero("CircuitStreamTimeout", LEAST_STREAM_TIMEOUT)?,
            available_timeout: self.time_unless_zero("CircuitsAvailableTimeout", Duration::ZERO)?,
            max_pending: self.number("MaxClientCircuitsPending")?,
            long_lived_ports: self.port_numbers("LongLivedPorts")?,
            distinct_subnets: self.truth("EnforceDistinctSubnets")?,
            allows_private: self.truth("ExtendAllowPrivateAddresses")?,
            extends_by_ed25519: self.choice("ExtendByEd25519ID")?,
            are_built_ahead: !self.truth("__DisablePredictedCircuits")?,
            tracked_hosts: self.words("TrackHostExits")?,
            track_expire: self.time("TrackHostExitsExpire")?,
            paths_needed: self.paths_needed()?,
        })
    }

    fn paths_needed(&mut self) -> Result<Option<f64>, Complaint> {
        let name = "PathsNeededToBuildCircuits";
        let given = self.fraction(name)?;
        let clamped = given.clamp(PATHS_NEEDED.0, PATHS_NEEDED.1);
        if given >= 0.0 && !(PATHS_NEEDED.0..=PATHS_NEEDED.1).contains(&given) {
            self.on_clamped(name, clamped.to_string());
        }
        Ok((given >= 0.0).then_some(clamped))
    }

    fn guards(&mut self) -> Result<Guards, Complaint> {
        Ok(Guards {
            are_used: self.truth("UseEntryGuards")?,
            in_use: self.number("NumEntryGuards")?,
            for_directory: self.number("NumDirectoryGuards")?,
            primary: self.number("NumPrimaryGuards")?,
            lifetime: self.time("GuardLifetime")?,
            bias: self.bias()?,
        })
    }

    /// C tor: what is below these counts as not said.
    fn bias(&mut self) -> Result<Bias, Complaint> {
        let number = |name, least: i64| {
            let given = self.single(name, values::integer)?;
            Ok(i32::try_from(given).ok().filter(|_| given >= least).map(f64::from))
        };
        let rate = |name| Ok(Some(self.fraction(name)?).filter(|rate| *rate >= 0.0));
        Ok(Bias {
            least: [number("PathBiasCircThreshold", 5)?, number("PathBiasUseThreshold", 3)?],
            scaled: [number("PathBiasScaleThreshold", 10)?, number("PathBiasScaleUseThreshold", 10)?],
            circuits: [rate("PathBiasNoticeRate")?, rate("PathBiasWarnRate")?, rate("PathBiasExtremeRate")?],
            uses: [rate("PathBiasNoticeUseRate")?, rate("PathBiasExtremeUseRate")?],
            drops: self.choice("PathBiasDropGuards")?,
        })
    }

    fn countries(&mut self) -> Result<Countries, Complaint> {
        let file = self.text("GeoIPFile").or_else(|| find("GeoIPFile").map(|entry| entry.default.to_owned()));
        Ok(Countries { file: file.unwrap_or_default(), excludes_unknown: self.choice("GeoIPExcludeUnknown")? })
    }

    fn links(&mut self) -> Result<Links, Complaint> {
        Ok(Links {
            ipv4: self.truth("ClientUseIPv4")?,
            ipv6: self.truth("ClientUseIPv6")?,
            prefers_ipv6: self.choice("ClientPreferIPv6ORPort")?,
            padding: self.choice("ConnectionPadding")?,
            reduced_padding: self.truth("ReducedConnectionPadding")?,
            keepalive: self.time("KeepalivePeriod")?,
            proxy: self.proxy()?,
            firewall: self.firewall()?,
            from: self.source()?,
            buffers: self.buffers()?,
        })
    }

    /// C tor: `OutboundBindAddressOR` goes before `OutboundBindAddress`, and there is one of a kind.
    fn source(&mut self) -> Result<[Option<IpAddr>; 2], Complaint> {
        let mut from = [None; 2];
        for name in ["OutboundBindAddress", "OutboundBindAddressOR"] {
            let mut own = [None; 2];
            for given in self.settings.given(name) {
                let ip = self.check(name, given, forms::ip(given.value.trim()).ok_or(forms::ADDRESS))?;
                let slot = own.get_mut(usize::from(ip.is_ipv6())).filter(|slot| slot.is_none());
                let slot = slot.ok_or(Wanted::Other("one address of IPv4 and one of IPv6"));
                *self.check(name, given, slot)? = Some(ip);
            }
            from = [0, 1].map(|at| own.get(at).copied().flatten().or(from.get(at).copied().flatten()));
        }
        Ok(from)
    }

    fn buffers(&mut self) -> Result<Option<u32>, Complaint> {
        let size = self.single("ConstrainedSockSize", values::size)?;
        Ok(self.truth("ConstrainedSockets")?.then(|| u32::try_from(size).unwrap_or(u32::MAX)))
    }

    fn dormancy(&mut self) -> Result<Dormancy, Complaint> {
        Ok(Dormancy {
            is_enabled: self.truth("DormantTimeoutEnabled")?,
            timeout: self.time("DormantClientTimeout")?,
            waits_for_streams: self.truth("DormantTimeoutDisabledByIdleStreams")?,
            sleeps_first: self.truth("DormantOnFirstStartup")?,
            wakes_at_start: self.truth("DormantCanceledByStartup")?,
        })
    }

    fn logs(&mut self) -> Result<Vec<Log>, Complaint> {
        let given = self.settings.given("Log");
        let usual = Log { selection: Selection::between(Severity::Notice, Severity::Err), sink: Sink::Stdout };
        match given {
            [] => Ok(vec![usual]),
            given => given.iter().map(|given| self.check("Log", given, log::parse(&given.value))).collect(),
        }
    }

    fn log_granularity(&mut self) -> Result<Duration, Complaint> {
        let given = self.single("LogTimeGranularity", |text| match values::millis(text)? {
            Duration::ZERO => Err(Wanted::Other("at least 1 millisecond")),
            time => Ok(time.as_millis()),
        })?;
        let given = u64::try_from(given).unwrap_or(u64::MAX);
        let granularity = granularity(given);
        if granularity != given {
            self.on_clamped("LogTimeGranularity", format!("{granularity} milliseconds"));
        }
        Ok(Duration::from_millis(granularity))
    }

    /// C tor: what is one directory has one group.
    fn group_of_cache(&mut self) -> Result<bool, Complaint> {
        Ok(self.choice("CacheDirectoryGroupReadable")? == Choice::Yes)
    }

    fn heartbeat(&mut self) -> Result<Option<Duration>, Complaint> {
        self.time_unless_zero("HeartbeatPeriod", LEAST_HEARTBEAT)
    }

    /// C tor: `relay` hides what relays must hide, and is the same as 0 for a client.
    fn safe_logging(&mut self) -> Result<bool, Complaint> {
        let Some(Entry { kind, .. }) = find("SafeLogging") else { return Ok(true) };
        self.single("SafeLogging", |text| Ok(kind.read(text)? == options::Value::Text("1".to_owned())))
    }

    fn truth(&mut self, name: &'static str) -> Result<bool, Complaint> {
        self.single(name, values::truth)
    }

    fn choice(&self, name: &'static str) -> Result<Choice, Complaint> {
        self.single(name, values::choice)
    }

    fn number(&self, name: &'static str) -> Result<u64, Complaint> {
        let Some(Entry { kind: Kind::Number(low, high), .. }) = find(name) else { return Ok(0) };
        self.single(name, |text| values::number(text, *low, *high))
    }

    fn fraction(&self, name: &'static str) -> Result<f64, Complaint> {
        let Some(Entry { kind: Kind::Fraction(low, high), .. }) = find(name) else { return Ok(0.0) };
        self.single(name, |text| values::fraction(text, *low, *high))
    }

    fn time(&self, name: &'static str) -> Result<Duration, Complaint> {
        self.single(name, values::seconds)
    }

    fn first_time(&self, name: &'static str) -> Result<Duration, Complaint> {
        self.single(name, values::first_seconds)
    }

    fn time_between(&mut self, name: &'static str, (low, high): (Duration, Duration)) -> Result<Duration, Complaint> {
        let time = self.time(name)?;
        let clamped = time.clamp(low, high);
        if clamped != time {
            self.on_clamped(name, format!("{} seconds", clamped.as_secs()));
        }
        Ok(clamped)
    }

    /// A value was brought to another.
    fn on_clamped(&mut self, name: &'static str, to: String) {
        if let [.., given] = self.settings.given(name) {
            self.warnings.push(Warning { origin: given.origin.clone(), oddity: Oddity::Clamped(name, to) });
        }
    }

    fn time_unless_zero(&mut self, name: &'static str, least: Duration) -> Result<Option<Duration>, Complaint> {
        match self.time(name)? {
            Duration::ZERO => Ok(None),
            _ => self.time_between(name, (least, FOREVER)).map(Some),
        }
    }

    /// Words between commas, in lower case.
    fn words(&self, name: &'static str) -> Result<Vec<String>, Complaint> {
        self.single(name, |text| Ok(values::list(text).map(str::to_ascii_lowercase).collect()))
    }

    fn port_numbers(&self, name: &'static str) -> Result<Vec<u16>, Complaint> {
        self.single(name, values::ports)
    }

    fn text(&self, name: &'static str) -> Option<String> {
        self.settings.given(name).last().map(|given| given.value.clone())
    }

    fn policy(&self, name: &'static str) -> Result<Policy, Complaint> {
        let mut policy = Policy::default();
        for given in self.settings.given(name) {
            let added = policy.add(&given.value);
            self.check(name, given, added)?;
        }
        Ok(policy)
    }

    fn listeners(&mut self, name: &'static str) -> Result<Vec<Port>, Complaint> {
        let Some(Entry { kind: Kind::Listeners(kind), default, .. }) = find(name) else { return Ok(Vec::new()) };
        let usual = built_in(default);
        let mut given = self.settings.given_of_port(name);
        if given.is_empty() {
            given.push(&usual);
        }
        let mut ports = Vec::new();
        for line in &given {
            let reading = self.check(name, line, port::parse(&line.value, *kind))?;
            let oddities = reading.unknown.into_iter().map(|flag| Oddity::UnknownFlag(name, flag));
            let oddities = oddities.chain(reading.useless.into_iter().map(|flag| Oddity::UselessFlag(name, flag)));
            self.warnings.extend(oddities.map(|oddity| Warning { origin: line.origin.clone(), oddity }));
            // C tor: 0 turns all off, and may not stand beside others.
            if reading.port.is_none() && given.len() > 1 {
                return self.check(name, line, Err(Wanted::Other("0 alone, or other lines without it")));
            }
            ports.extend(reading.port);
        }
        Ok(ports)
    }

    /// Also by which means connections get there.
    fn trans_ports(&mut self) -> Result<Vec<Port>, Complaint> {
        let is_routed = self.single("TransProxyType", |text| match text.to_ascii_lowercase().as_str() {
            "default" => Ok(false),
            "tproxy" => Ok(true),
            "ipfw" | "pf-divert" => Err(Wanted::Other("default or TPROXY: ipfw and pf-divert are not of Linux")),
            _ => Err(Wanted::Other("default or TPROXY")),
        })?;
        let mut ports = self.listeners("TransPort")?;
        ports.iter_mut().for_each(|port| port.flags.is_routed = is_routed);
        Ok(ports)
    }

    /// The value of an option that has one, or none if nobody gives one.
    fn given_or_none<T>(
        &self,
        name: &'static str,
        read: impl Fn(&str) -> Result<T, Wanted>,
    ) -> Result<Option<T>, Complaint> {
        match self.settings.given(name) {
            [.., given] if !given.value.trim().is_empty() => {
                self.check(name, given, read(given.value.trim())).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The value of an option that has one.
    fn single<T>(&self, name: &'static str, read: impl Fn(&str) -> Result<T, Wanted>) -> Result<T, Complaint> {
        match self.settings.given(name) {
            [.., given] => self.check(name, given, read(given.value.trim())),
            [] => {
                let given = built_in(find(name).map_or("", |entry| entry.usual(self.is_testing)));
                self.check(name, &given, read(&given.value))
            }
        }
    }

    fn check<T>(&self, option: &'static str, given: &Given, read: Result<T, Wanted>) -> Result<T, Complaint> {
        read.map_err(|wanted| Complaint {
            origin: given.origin.clone(),
            fault: Objection::Value { option, value: given.value.clone(), wanted },
        })
    }
}

/// C tor: `PathsNeededToBuildCircuits` is brought between these.
const PATHS_NEEDED: (f64, f64) = (0.25, 0.95);

/// The nearest that divides a second, or that a second divides. C tor:
/// `options_init_log_granularity`.
fn granularity(given: u64) -> u64 {
    match given {
        0..40 => (given.max(1)..).find(|millis| 1000 % millis == 0).unwrap_or(1),
        40..1000 => 1000 / (1..=1000 / given).rev().find(|parts| 1000 % parts == 0).unwrap_or(1),
        _ => given.next_multiple_of(1000),
    }
}

fn built_in(value: &str) -> Given {
    Given { value: value.to_owned(), origin: Origin { source: "built in".into(), line: 0 } }
}

#[cfg(test)]
mod tests;
