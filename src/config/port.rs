//! A port on which we listen to this machine's programs, and the flags behind it.
//!
//! One line of `SocksPort`, `HTTPTunnelPort`, `DNSPort`, `TransPort` or `NATDPort`: an
//! address, `auto`, `unix:"path"` or 0, then flags from left to right of which the last
//! counts. Listens to nothing itself. Called by `mod.rs`; read by the shell and by `proxy`.
//! Spec: none. C tor: `port_parse_config` in app/config/config.c; tor(1), "SocksPort".

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::torrc;
use super::values::Wanted;

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Where.
    pub at: Place,
    /// What its flags say.
    pub flags: Flags,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address and a port.
    Tcp(SocketAddr),
    /// An address, and a port that the system chooses.
    Auto(IpAddr),
    /// A socket in the file system.
    Unix(String),
}

/// The flags of a port, with their defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    /// What streams must have in common to share a circuit.
    pub isolation: Isolation,
    /// The group of listeners that may share circuits; without one, each is its own.
    pub session_group: Option<u32>,
    /// Whether a circuit of streams with a user name lives on from its last use.
    pub keep_alive: bool,
    /// Whether "no authentication" is preferred to user and password.
    pub prefer_no_auth: bool,
    /// Whether SOCKS5 replies may have Tor's own codes.
    pub extended_errors: bool,
    /// Which traffic may go through.
    pub traffic: Traffic,
    /// Whether an exit is told that IPv6 would be better.
    pub prefer_ipv6: bool,
    /// Whether a name that is mapped of itself gets an IPv6 address.
    pub prefer_ipv6_automap: bool,
    /// Who may open the socket in the file system.
    pub socket: SocketMode,
    /// Whether what comes there is routed to us and still addressed to others, which `TransProxyType`
    /// says of every `TransPort`.
    pub is_routed: bool,
}

/// What streams must have in common to share a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// The client's address.
    pub client_addr: bool,
    /// User and password.
    pub socks_auth: bool,
    /// The protocol it speaks to us.
    pub client_protocol: bool,
    /// The port it wants.
    pub dest_port: bool,
    /// The address it wants.
    pub dest_addr: bool,
}

impl Default for Isolation {
    fn default() -> Self {
        Isolation { client_addr: true, socks_auth: true, client_protocol: false, dest_port: false, dest_addr: false }
    }
}

/// Which traffic may go through a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// To IPv4 addresses.
    pub ipv4: bool,
    /// To IPv6 addresses.
    pub ipv6: bool,
    /// To host names, and look-ups.
    pub dns: bool,
    /// To onion services.
    pub onion: bool,
}

/// Who may open a socket in the file system besides its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketMode {
    /// The group.
    pub group: bool,
    /// Everybody.
    pub world: bool,
    /// Whether its folder may be open to others.
    pub relaxed: bool,
}

impl Default for Flags {
    fn default() -> Self {
        Flags {
            isolation: Isolation::default(),
            session_group: None,
            keep_alive: false,
            prefer_no_auth: false,
            extended_errors: false,
            traffic: Traffic { ipv4: true, ipv6: true, dns: true, onion: true },
            prefer_ipv6: false,
            prefer_ipv6_automap: true,
            socket: SocketMode::default(),
            is_routed: false,
        }
    }
}

/// A line, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The listener; `None` for 0, which is none.
    pub port: Option<Port>,
    /// Flags that there are not. C tor: these are warned of, and otherwise ignored.
    pub unknown: Vec<String>,
    /// Flags that do nothing any more.
    pub useless: Vec<String>,
}

const ADDRESS: Wanted = Wanted::Other("a port, ADDRESS:PORT, auto, unix:PATH or 0, and flags behind it");

/// What a listener takes, on which depends which flags it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Takes names and addresses.
    Names,
    /// The same, and is at an address itself. C tor: `conn_listener_type_supports_af_unix`.
    Tunnels,
    /// Takes look-ups alone.
    Dns,
    /// Takes addresses alone.
    Addresses,
    /// Takes commands.
    Commands,
    /// Takes relays, or whoever measures us.
    Others,
}

impl Kind {
    /// Whether it is for programs that want something carried. The flags of the others are not read.
    fn is_for_programs(self) -> bool {
        !matches!(self, Kind::Commands | Kind::Others)
    }
}

/// Reads one line.
pub fn parse(text: &str, kind: Kind) -> Result<Reading, Wanted> {
    let (at, rest) = place(text.trim_start())?;
    let rest = if kind.is_for_programs() { rest } else { "" };
    let mut reading = Reading { port: None, unknown: Vec::new(), useless: Vec::new() };
    let mut flags = Flags::default();
    let mut wants_socket = false;
    for word in rest.split_ascii_whitespace() {
        if let Some(group) = strip_prefix_ignoring_case(word, "SessionGroup=") {
            let group = group.parse().ok().filter(|group| *group <= i32::MAX.unsigned_abs());
            if flags.session_group.is_some() || group.is_none() {
                return Err(Wanted::Other("one SessionGroup=N with N from 0 to 2147483647"));
            }
            flags.session_group = group;
            continue;
        }
        let (name, is_on) = strip_prefix_ignoring_case(word, "No").map_or((word, true), |name| (name, false));
        match flags.set(&name.to_ascii_lowercase(), is_on, kind) {
            Meaning::Known => {}
            Meaning::OfSockets => wants_socket = true,
            Meaning::Useless => reading.useless.push(word.to_owned()),
            Meaning::Unknown => reading.unknown.push(word.to_owned()),
        }
    }
    flags.check(kind)?;
    let is_unix = matches!(at, Some(Place::Unix(_)));
    if is_unix && !matches!(kind, Kind::Names | Kind::Commands) {
        return Err(Wanted::Other("a port or ADDRESS:PORT, for only SocksPort and ControlPort take unix:PATH"));
    }
    if wants_socket && !is_unix {
        return Err(Wanted::Other("GroupWritable, WorldWritable and RelaxDirModeCheck only behind unix:PATH"));
    }
    flags.isolation.client_addr &= !is_unix;
    flags.prefer_no_auth |= !flags.isolation.socks_auth;
    reading.port = at.map(|at| Port { at, flags });
    Ok(reading)
}

/// What a flag turned out to be.
enum Meaning {
    Known,
    OfSockets,
    Useless,
    Unknown,
}

impl Flags {
    /// Sets the flag of that name, which is in lower case.
    fn set(&mut self, name: &str, is_on: bool, kind: Kind) -> Meaning {
        let flag = match name {
            "groupwritable" => return of_sockets(&mut self.socket.group, is_on),
            "worldwritable" => return of_sockets(&mut self.socket.world, is_on),
            "relaxdirmodecheck" => return of_sockets(&mut self.socket.relaxed, is_on),
            "oniontrafficonly" if kind != Kind::Addresses && is_on => {
                self.traffic = Traffic { onion: self.traffic.onion, ipv4: false, ipv6: false, dns: false };
                return Meaning::Known;
            }
            "ipv4traffic" if kind != Kind::Addresses => &mut self.traffic.ipv4,
            "ipv6traffic" if kind != Kind::Addresses => &mut self.traffic.ipv6,
            "preferipv6" if kind != Kind::Addresses => &mut self.prefer_ipv6,
            "dnsrequest" if kind != Kind::Addresses => &mut self.traffic.dns,
            "oniontraffic" if kind != Kind::Addresses => &mut self.traffic.onion,
            "cacheipv4dns" | "cacheipv6dns" | "cachedns" | "useipv4cache" | "useipv6cache" | "usednscache" => {
                return Meaning::Useless;
            }
            "preferipv6automap" => &mut self.prefer_ipv6_automap,
            "prefersocksnoauth" => &mut self.prefer_no_auth,
            "keepaliveisolatesocksauth" => &mut self.keep_alive,
            "extendederrors" => &mut self.extended_errors,
            // C tor: a plural means the same, of these alone.
            name => match name.strip_suffix('s').unwrap_or(name) {
                "isolatedestport" => &mut self.isolation.dest_port,
                "isolatedestaddr" => &mut self.isolation.dest_addr,
                "isolatesocksauth" => &mut self.isolation.socks_auth,
                "isolateclientprotocol" => &mut self.isolation.client_protocol,
                "isolateclientaddr" => &mut self.isolation.client_addr,
                _ => return Meaning::Unknown,
            },
        };
        *flag = is_on;
        Meaning::Known
    }

    fn check(&self, kind: Kind) -> Result<(), Wanted> {
        let Traffic { ipv4, ipv6, dns, onion } = self.traffic;
        if kind == Kind::Dns && !dns {
            return Err(Wanted::Other("DNSRequest, which a port for look-ups cannot do without"));
        }
        if kind != Kind::Dns && !(ipv4 || ipv6 || onion) {
            return Err(Wanted::Other("one of IPv4Traffic, IPv6Traffic and OnionTraffic"));
        }
        if kind != Kind::Dns && dns && !(ipv4 || ipv6) {
            return Err(Wanted::Other("NoDNSRequest where there is neither IPv4Traffic nor IPv6Traffic"));
        }
        if self.keep_alive && !self.isolation.socks_auth {
            return Err(Wanted::Other("KeepAliveIsolateSOCKSAuth only with IsolateSOCKSAuth"));
        }
        Ok(())
    }
}

fn of_sockets(flag: &mut bool, is_on: bool) -> Meaning {
    *flag = is_on;
    Meaning::OfSockets
}

/// The address in front, and what is behind it.
fn place(text: &str) -> Result<(Option<Place>, &str), Wanted> {
    if text.starts_with("unix:\"") {
        let (path, rest) = torrc::unquote(text.get(5..).unwrap_or_default()).ok_or(ADDRESS)?;
        return Ok((Some(Place::Unix(path)), rest));
    }
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    let at = match word.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => Some(Place::Unix(path.to_owned())),
        Some(_) => return Err(ADDRESS),
        None => tcp(word)?,
    };
    Ok((at, rest))
}

fn tcp(word: &str) -> Result<Option<Place>, Wanted> {
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if word.eq_ignore_ascii_case("auto") {
        return Ok(Some(Place::Auto(HERE)));
    }
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        let port = word.parse().map_err(|_| ADDRESS)?;
        return Ok((port != 0).then_some(Place::Tcp(SocketAddr::new(HERE, port))));
    }
    let (host, port) = word.rsplit_once(':').ok_or(ADDRESS)?;
    let ip = address(host).ok_or(ADDRESS)?;
    if port.eq_ignore_ascii_case("auto") {
        return Ok(Some(Place::Auto(ip)));
    }
    match port.parse() {
        Ok(0) | Err(_) => Err(ADDRESS),
        Ok(port) => Ok(Some(Place::Tcp(SocketAddr::new(ip, port)))),
    }
}

/// An address, IPv6 in brackets. Of names only `localhost`: C tor looks names up, we do not.
fn address(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(ipv6) => ipv6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None if text.eq_ignore_ascii_case("localhost") => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (front, rest) = text.split_at_checked(prefix.len())?;
    front.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(text: &str) -> Reading {
        parse(text, Kind::Names).unwrap()
    }

    fn flags(text: &str) -> Flags {
        let reading = names(&format!("9050 {text}"));
        assert!(reading.unknown.is_empty() && reading.useless.is_empty(), "{reading:?}");
        reading.port.unwrap().flags
    }

    /// After `test_config_parse_port_config__ports__ports_given` in C tor's
    /// src/test/test_config.c.
    #[test]
    fn addresses_are_read_as_c_tor_reads_them() {
        for (text, expected) in [
            ("0", None),
            ("9050", Some(Place::Tcp("127.0.0.1:9050".parse().unwrap()))),
            ("auto", Some(Place::Auto("127.0.0.1".parse().unwrap()))),
            ("127.0.0.2:auto", Some(Place::Auto("127.0.0.2".parse().unwrap()))),
            ("127.0.0.1:8080", Some(Place::Tcp("127.0.0.1:8080".parse().unwrap()))),
            ("localhost:1", Some(Place::Tcp("127.0.0.1:1".parse().unwrap()))),
            ("[::1]:9050", Some(Place::Tcp("[::1]:9050".parse().unwrap()))),
            ("unix:/tmp/foo", Some(Place::Unix("/tmp/foo".to_owned()))),
            ("unix:\"/tmp/foo bar\"", Some(Place::Unix("/tmp/foo bar".to_owned()))),
            ("unix:\"/tmp/a\\\"b\" NoPreferIPv6", Some(Place::Unix("/tmp/a\"b".to_owned()))),
        ] {
            assert_eq!(names(text).port.map(|port| port.at), expected, "{text}");
        }
        for text in [
            "",
            "70000",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:70000",
            "1.2.3:9",
            "::1:9050",
            "unix:",
            "unix:\"x",
            "9050x",
            "example.com:80",
        ] {
            assert!(parse(text, Kind::Names).is_err(), "{text}");
        }
    }

    #[test]
    fn flags_count_from_left_to_right() {
        assert_eq!(flags(""), Flags::default());
        assert!(flags("IsolateDestPorts isolatedestADDR").isolation.dest_port);
        assert!(
            flags("IsolateDestAddr").isolation.dest_addr && flags("IsolateClientProtocol").isolation.client_protocol
        );
        assert!(!flags("IsolateDestPort NoIsolateDestPort").isolation.dest_port);
        assert!(!flags("NoIsolateClientAddr").isolation.client_addr);
        let open = flags("NoIsolateSOCKSAuth");
        assert!(!open.isolation.socks_auth && open.prefer_no_auth);
        assert!(flags("PreferSOCKSNoAuth").prefer_no_auth && flags("ExtendedErrors").extended_errors);
        assert!(flags("KeepAliveIsolateSOCKSAuth").keep_alive && flags("PreferIPv6").prefer_ipv6);
        assert!(!flags("NoPreferIPv6Automap").prefer_ipv6_automap);
        let onion = flags("OnionTrafficOnly").traffic;
        assert_eq!(onion, Traffic { ipv4: false, ipv6: false, dns: false, onion: true });
        assert_eq!(flags("SessionGroup=7").session_group, Some(7));
        assert!(!names("unix:/x GroupWritable").port.unwrap().flags.isolation.client_addr);
        assert!(names("unix:/x WorldWritable RelaxDirModeCheck").port.unwrap().flags.socket.world);
    }

    #[test]
    fn strange_flags_are_told_of_and_wrong_ones_refused() {
        let reading = names("9050 Frobnicate NoSuch CacheDNS NoOnionTrafficOnly");
        assert_eq!((reading.unknown.len(), reading.useless.len()), (3, 1));
        for text in [
            "SessionGroup=-1",
            "SessionGroup=x",
            "SessionGroup=2147483648",
            "SessionGroup=1 SessionGroup=1",
            "NoIPv4Traffic NoIPv6Traffic NoOnionTraffic",
            "NoIPv4Traffic NoIPv6Traffic",
            "NoIsolateSOCKSAuth KeepAliveIsolateSOCKSAuth",
            "GroupWritable",
        ] {
            assert!(parse(&format!("9050 {text}"), Kind::Names).is_err(), "{text}");
        }
        assert!(parse("unix:/x", Kind::Tunnels).is_err() && parse("unix:/x", Kind::Dns).is_err());
        assert!(parse("8118 NoIPv4Traffic PreferIPv6", Kind::Tunnels).unwrap().unknown.is_empty());
        assert!(parse("5353 NoDNSRequest", Kind::Dns).is_err());
        assert!(parse("5353 NoIPv4Traffic NoIPv6Traffic", Kind::Dns).is_ok());
        assert_eq!(parse("9040 NoIPv4Traffic", Kind::Addresses).unwrap().unknown.len(), 1);
        assert!(parse("unix:/x GroupWritable", Kind::Commands).unwrap().unknown.is_empty());
        assert!(parse("9001 NoListen IPv4Only", Kind::Others).unwrap().unknown.is_empty());
        assert!(parse("unix:/x", Kind::Others).is_err() && parse("x", Kind::Commands).is_err());
    }

    proptest! {
        #[test]
        fn no_line_panics(text in ".*|(unix:|\"|No|auto|:|[0-9\\[]|SessionGroup=| ){0,12}") {
            for kind in [Kind::Names, Kind::Tunnels, Kind::Dns, Kind::Addresses, Kind::Commands, Kind::Others] {
                let _ = parse(&text, kind);
            }
        }
    }
}
