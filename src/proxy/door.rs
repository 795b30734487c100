//! What a port lets through: a request as a program made it goes in, and a wish for the
//! client, an answer at once or a refusal comes out.
//!
//! Knows a port's flags and what the user says of all requests; parses no bytes and asks
//! nobody. Called by the shell for each request. Spec: socks-extensions; tor(1), "SocksPort".
//! C tor: `connection_ap_handshake_rewrite_and_attach`, `consider_plaintext_ports`,
//! `parse_socks5_client_request`.

use core::net::{IpAddr, SocketAddr};

use super::maps::{Mapped, Maps};
use super::{Command, Failure, Found, Host, Preference, Protocol, Request, http_connect};
use crate::base::random::Entropy;
use crate::base::redact::Sensitive;
use crate::client::isolation::{Facts, Fields, Group};
use crate::client::name::ForExit;
use crate::client::{What, Wish};
use crate::config::Requests;
use crate::config::port::{Flags, Traffic};
use crate::path::rules::Family;
use crate::wire::relay_msg::BeginFlags;

/// A port, and what holds for all of them.
#[derive(Clone, Copy, Debug)]
pub struct Door<'a> {
    /// Which port, counted from the first.
    pub number: u32,
    /// What its line says.
    pub flags: &'a Flags,
    /// What the user says of all requests.
    pub requests: &'a Requests,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The client is asked.
    Ask(Wish),
    /// No relay is needed to know that.
    Answer(Found),
    /// No.
    Refuse(Failure),
}

/// What the user should know of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It was made with a name, so that nobody else looked it up (`TestSocks`).
    Safe,
    /// It was made with an address: whoever looked that up may have told others. True if it
    /// is refused for that.
    Unsafe(bool),
    /// To a port that carries passwords in the clear. True if it is refused for that.
    PlaintextPort(u16, bool),
    /// It says who asks in a form that was not made for that.
    OldAuthorization,
}

impl Door<'_> {
    /// Judges a request of a program at `client`, which has no address if it came by a socket
    /// in the file system.
    pub fn judge(
        &self,
        request: &Request,
        from: Option<SocketAddr>,
        maps: &mut Maps,
        entropy: &mut dyn Entropy,
    ) -> (Verdict, Vec<Notice>) {
        let mut notices = Vec::new();
        let verdict = self.consider(request, from, maps, entropy, &mut notices);
        (verdict.unwrap_or_else(Verdict::Refuse), notices)
    }

    fn consider(
        &self,
        request: &Request,
        from: Option<SocketAddr>,
        maps: &mut Maps,
        entropy: &mut dyn Entropy,
        notices: &mut Vec<Notice>,
    ) -> Result<Verdict, Failure> {
        match (request.protocol, &request.credentials) {
            // C tor: only who asks by SOCKS is told that a name would be safer.
            (Protocol::HttpConnect, Some(it)) if http_connect::is_old_authorization(&it.user) => {
                notices.push(Notice::OldAuthorization);
            }
            (Protocol::HttpConnect | Protocol::Dns | Protocol::Transparent | Protocol::Natd, _) => {}
            // C tor: what stands for something else was not looked up by anybody.
            (Protocol::Socks4 | Protocol::Socks4a | Protocol::Socks5, _) if !maps.have(&request.host) => {
                self.check_safety(request, notices)?;
            }
            (Protocol::Socks4 | Protocol::Socks4a | Protocol::Socks5, _) => {}
        }
        let asked_for = request.host.written();
        let Mapped { host, exit } = maps.map(request.command, &request.host, self.gives_ipv6(request), entropy)?;
        let request = Request { host, ..request.clone() };
        match self.check(&request, exit.is_some(), notices)? {
            None => self.ask(&request, asked_for, exit, from),
            Some(found) => Ok(Verdict::Answer(found)),
        }
    }

    /// Whether a name that has no address gets one of IPv6.
    fn gives_ipv6(&self, request: &Request) -> bool {
        let (traffic, prefers_ipv6) = self.traffic(request);
        let is_better = prefers_ipv6 || (self.flags.prefer_ipv6_automap && request.protocol != Protocol::Dns);
        !matches!(request.protocol, Protocol::Socks4 | Protocol::Socks4a) && (!traffic.ipv4 || is_better)
    }

    /// Whether anything speaks against it, or answers it. C tor: an exit that the user names may know
    /// addresses that nobody else does.
    fn check(&self, request: &Request, has_exit: bool, notices: &mut Vec<Notice>) -> Result<Option<Found>, Failure> {
        let (traffic, _) = self.traffic(request);
        let is_connect = request.command == Command::Connect;
        if let Host::Onion(_) = request.host {
            return Err(match (traffic.onion, is_connect) {
                (false, _) => Failure::TrafficOff,
                (true, true) => Failure::OnionsNotHere,
                (true, false) => Failure::OnionHasNoAddress,
            });
        }
        check_traffic(traffic, &request.host)?;
        if let (Command::Resolve, Host::Ip(ip)) = (request.command, &request.host) {
            return Ok(Some(Found::Ip(*ip)));
        }
        let is_internal = request.host.is_internal();
        match request.command {
            Command::ResolvePtr if is_internal && self.requests.refuses_internal_answers => {
                Err(Failure::InternalHasNoName)
            }
            Command::Connect if request.port == 0 => Err(Failure::NoPort),
            Command::Connect if is_internal && !has_exit && self.requests.refuses_internal => Err(Failure::Internal),
            Command::Connect => self.check_port(request.port, notices).map(|()| None),
            Command::Resolve | Command::ResolvePtr => Ok(None),
        }
    }

    fn check_safety(&self, request: &Request, notices: &mut Vec<Notice>) -> Result<(), Failure> {
        let is_unsafe = matches!(request.host, Host::Ip(_)) && request.command != Command::ResolvePtr;
        let refuses = self.requests.is_safe_only;
        match is_unsafe {
            true if refuses => {
                notices.push(Notice::Unsafe(true));
                return Err(Failure::Unsafe);
            }
            true => notices.push(Notice::Unsafe(false)),
            false if self.requests.logs_safety => notices.push(Notice::Safe),
            false => {}
        }
        Ok(())
    }

    /// What the port lets through of what the request wants, and whether IPv6 is better.
    fn traffic(&self, request: &Request) -> (Traffic, bool) {
        let Flags { mut traffic, prefer_ipv6, .. } = *self.flags;
        // C tor: the port for look-ups has what each asks for, whatever its flags say.
        if request.protocol == Protocol::Dns {
            traffic = Traffic { ipv4: true, ipv6: true, dns: true, onion: false };
        }
        match request.preference {
            None => (traffic, prefer_ipv6),
            Some(Preference::Ipv4First) => (traffic, false),
            Some(Preference::Ipv6First) => (traffic, true),
            Some(Preference::Ipv4Only) => (Traffic { ipv6: false, ..traffic }, false),
            Some(Preference::Ipv6Only) => (Traffic { ipv4: false, ..traffic }, true),
        }
    }

    fn check_port(&self, port: u16, notices: &mut Vec<Notice>) -> Result<(), Failure> {
        let refuses = self.requests.refused_ports.contains(&port);
        if self.requests.warned_ports.contains(&port) {
            notices.push(Notice::PlaintextPort(port, refuses));
        }
        if refuses { Err(Failure::PlaintextPort) } else { Ok(()) }
    }

    fn ask(
        &self,
        request: &Request,
        asked_for: String,
        exit: Option<String>,
        from: Option<SocketAddr>,
    ) -> Result<Verdict, Failure> {
        let host = ForExit::of(&request.host).ok_or(Failure::OnionsNotHere)?;
        let (traffic, prefers_ipv6) = self.traffic(request);
        let what = match (request.command, &request.host) {
            (Command::Resolve, to) => What::Resolve(host, family(traffic, to)),
            (Command::ResolvePtr, Host::Ip(ip)) => What::ResolvePtr(*ip),
            (Command::ResolvePtr, _) => return Err(Failure::Malformed),
            (Command::Connect, to) => {
                let (family, flags) = (family(traffic, to), begin(traffic, prefers_ipv6));
                What::Connect { host, port: request.port, family, flags }
            }
        };
        let credentials = request.credentials.as_ref();
        let facts = Facts {
            group: self.flags.session_group.map_or(Group::Listener(self.number), Group::Session),
            epoch: 0,
            // They tell languages apart and mean nothing else. C tor: the kind of the listener and
            // the version of SOCKS.
            protocol: match request.protocol {
                Protocol::HttpConnect => 0,
                Protocol::Dns => 1,
                Protocol::Transparent => 2,
                Protocol::Natd => 3,
                Protocol::Socks4 | Protocol::Socks4a => 4,
                Protocol::Socks5 => 5,
            },
            client: from.map(|from| from.ip()),
            credentials: credentials.map(|it| (it.user.clone(), it.password.clone())),
            host: asked_for,
            port: request.port,
        };
        // C tor: only for those who give a name or a password that is not empty.
        let has_said = credentials.is_some_and(|it| !it.user.is_empty() || !it.password.is_empty());
        let keeps_alive = self.flags.keep_alive && self.flags.isolation.socks_auth && has_said;
        let from = from.map(Sensitive::new);
        Ok(Verdict::Ask(Wish { what, exit, facts, fields: Fields::of(self.flags.isolation), keeps_alive, from }))
    }
}

fn check_traffic(traffic: Traffic, host: &Host) -> Result<(), Failure> {
    let Traffic { ipv4, ipv6, dns, .. } = traffic;
    let goes = match host {
        Host::Name(_) => dns && (ipv4 || ipv6),
        Host::Ip(IpAddr::V4(_)) => ipv4,
        Host::Ip(IpAddr::V6(_)) => ipv6,
        Host::Onion(_) => true,
    };
    if goes { Ok(()) } else { Err(Failure::TrafficOff) }
}

fn family(traffic: Traffic, host: &Host) -> Family {
    match host {
        Host::Ip(IpAddr::V4(_)) => Family::Ipv4,
        Host::Ip(IpAddr::V6(_)) => Family::Ipv6,
        _ => match traffic {
            Traffic { ipv4: true, ipv6: true, .. } => Family::Either,
            Traffic { ipv6: true, .. } => Family::Ipv6,
            _ => Family::Ipv4,
        },
    }
}

/// C tor: `connection_ap_get_begincell_flags`. That the exit can do IPv6 at all is the
/// client's to see.
fn begin(traffic: Traffic, prefers_ipv6: bool) -> BeginFlags {
    match traffic {
        Traffic { ipv6: false, .. } => BeginFlags::default(),
        Traffic { ipv4: false, .. } => BeginFlags::IPV4_NOT_OK.with(BeginFlags::IPV6_OK),
        _ if prefers_ipv6 => BeginFlags::IPV6_OK.with(BeginFlags::IPV6_PREFERRED),
        _ => BeginFlags::IPV6_OK,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Credentials;
    use super::*;
    use crate::base::random::Seeded;
    use crate::config::{Config, Settings, port};

    const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

    fn judge(line: &str, torrc: &str, command: Command, host: &str, port: u16) -> (Verdict, Vec<Notice>) {
        let credentials = Some(Credentials { user: b"user".to_vec(), password: Vec::new() });
        let host = Host::parse(host).unwrap();
        let request = Request { command, host, port, protocol: Protocol::Socks5, credentials, preference: None };
        judge_request(line, torrc, &request)
    }

    fn judge_request(line: &str, torrc: &str, request: &Request) -> (Verdict, Vec<Notice>) {
        let flags = port::parse(line, port::Kind::Names).unwrap().port.unwrap().flags;
        let mut settings = Settings::new();
        settings.add_text("torrc", torrc).unwrap();
        let config = Config::of(&settings).unwrap().0;
        let door = Door { number: 3, flags: &flags, requests: &config.requests };
        door.judge(request, None, &mut Maps::new(&config.maps), &mut Seeded(1))
    }

    fn refusal(line: &str, torrc: &str, command: Command, host: &str, port: u16) -> Option<Failure> {
        match judge(line, torrc, command, host, port).0 {
            Verdict::Refuse(failure) => Some(failure),
            _ => None,
        }
    }

    #[test]
    fn each_port_lets_through_what_its_flags_say() {
        use Command::{Connect, Resolve, ResolvePtr};
        for (line, torrc, command, host, port, expected) in [
            ("1", "", Connect, "example.com", 80, None),
            ("1", "", Connect, "8.8.8.8", 80, None),
            ("1", "", Connect, ONION, 80, Some(Failure::OnionsNotHere)),
            ("1", "", Resolve, ONION, 0, Some(Failure::OnionHasNoAddress)),
            ("1 NoOnionTraffic", "", Connect, ONION, 80, Some(Failure::TrafficOff)),
            ("1 OnionTrafficOnly", "", Connect, "example.com", 80, Some(Failure::TrafficOff)),
            ("1 OnionTrafficOnly", "", Connect, "8.8.8.8", 80, Some(Failure::TrafficOff)),
            ("1 OnionTrafficOnly", "", Connect, ONION, 80, Some(Failure::OnionsNotHere)),
            ("1 NoIPv4Traffic", "", Connect, "8.8.8.8", 80, Some(Failure::TrafficOff)),
            ("1 NoIPv4Traffic", "", Connect, "2001:4860::1", 80, None),
            ("1 NoIPv6Traffic", "", Connect, "2001:4860::1", 80, Some(Failure::TrafficOff)),
            ("1 NoDNSRequest", "", Connect, "example.com", 80, Some(Failure::TrafficOff)),
            ("1", "", Connect, "10.0.0.1", 80, Some(Failure::Internal)),
            ("1", "", Connect, "localhost", 80, Some(Failure::Internal)),
            ("1", "ClientRejectInternalAddresses 0", Connect, "10.0.0.1", 80, None),
            ("1", "", ResolvePtr, "10.0.0.1", 0, Some(Failure::InternalHasNoName)),
            ("1", "", ResolvePtr, "8.8.8.8", 0, None),
            ("1", "SafeSocks 1", Connect, "8.8.8.8", 80, Some(Failure::Unsafe)),
            ("1", "SafeSocks 1", Connect, "example.com", 80, None),
            ("1", "SafeSocks 1", ResolvePtr, "8.8.8.8", 0, None),
            ("1", "", Connect, "example.com", 23, None),
            ("1", "RejectPlaintextPorts 23", Connect, "example.com", 23, Some(Failure::PlaintextPort)),
            ("1", "RejectPlaintextPorts 23", Resolve, "example.com", 23, None),
            ("1", "", Connect, "127.192.0.1", 80, Some(Failure::NoMapping)),
            ("1", "MapAddress a 10.0.0.1", Connect, "a", 80, Some(Failure::Internal)),
            ("1", "MapAddress a 10.0.0.1.relay.exit", Connect, "a", 80, None),
            ("1", "MapAddress 10.0.0.1 example.com\nSafeSocks 1", Connect, "10.0.0.1", 80, None),
            ("1 NoIPv6Traffic", "AutomapHostsOnResolve 1", Resolve, ONION, 0, Some(Failure::TrafficOff)),
            ("1 NoPreferIPv6Automap", "AutomapHostsOnResolve 1", Resolve, ONION, 0, None),
        ] {
            assert_eq!(refusal(line, torrc, command, host, port), expected, "{line} {torrc} {command:?} {host}");
        }
    }

    #[test]
    fn the_user_is_told_what_is_odd() {
        let notices = |torrc: &str, host: &str, port| judge("1", torrc, Command::Connect, host, port).1;
        assert_eq!(notices("", "example.com", 80), []);
        assert_eq!(notices("TestSocks 1", "example.com", 80), [Notice::Safe]);
        assert_eq!(notices("", "8.8.8.8", 80), [Notice::Unsafe(false)]);
        assert_eq!(notices("SafeSocks 1", "8.8.8.8", 80), [Notice::Unsafe(true)]);
        assert_eq!(notices("", "example.com", 110), [Notice::PlaintextPort(110, false)]);
        let both = "WarnPlaintextPorts 5\nRejectPlaintextPorts 5";
        assert_eq!(notices(both, "example.com", 5), [Notice::PlaintextPort(5, true)]);
    }

    #[test]
    fn an_address_is_its_own_address() {
        let (verdict, _) = judge("1", "", Command::Resolve, "8.8.8.8", 0);
        assert!(matches!(verdict, Verdict::Answer(Found::Ip(ip)) if ip == IpAddr::from([8, 8, 8, 8])));
    }

    #[test]
    fn a_name_gets_an_address_of_the_kind_that_is_wanted() {
        for (line, protocol, preference, is_ipv6) in [
            ("1", Protocol::Socks5, None, true),
            ("1", Protocol::Socks4a, None, false),
            ("1 NoPreferIPv6Automap", Protocol::Socks5, None, false),
            ("1 NoPreferIPv6Automap PreferIPv6", Protocol::Socks5, None, true),
            ("1 NoPreferIPv6Automap NoIPv4Traffic", Protocol::Socks5, None, true),
            ("1", Protocol::Dns, Some(Preference::Ipv4Only), false),
            ("1", Protocol::Dns, Some(Preference::Ipv6Only), true),
        ] {
            let host = Host::parse(ONION).unwrap();
            let command = Command::Resolve;
            let request = Request { command, host, port: 0, protocol, credentials: None, preference };
            let (verdict, _) = judge_request(line, "AutomapHostsOnResolve 1", &request);
            let Verdict::Answer(Found::Ip(ip)) = verdict else { panic!("{line}: {verdict:?}") };
            assert_eq!(ip.is_ipv6(), is_ipv6, "{line} {protocol:?}");
        }
    }

    #[test]
    fn isolation_is_by_what_was_asked_for() {
        let (verdict, _) = judge("1", "MapAddress a 192.0.2.1.relay.exit", Command::Connect, "a", 80);
        let Verdict::Ask(wish) = verdict else { panic!("{verdict:?}") };
        let What::Connect { host, .. } = &wish.what else { panic!("{:?}", wish.what) };
        assert_eq!((host.as_str(), wish.facts.host.as_str(), wish.exit.as_deref()), ("192.0.2.1", "a", Some("relay")));
    }

    #[test]
    fn a_wish_says_all_that_isolation_asks_for() {
        let wish = |line: &str, host: &str| match judge(line, "", Command::Connect, host, 80).0 {
            Verdict::Ask(wish) => wish,
            verdict => panic!("{verdict:?}"),
        };
        let plain = wish("1", "Example.com");
        assert!(plain.facts.group == Group::Listener(3) && plain.facts.host == "example.com");
        assert_eq!((plain.facts.protocol, plain.keeps_alive), (5, false));
        assert!(wish("1 KeepAliveIsolateSOCKSAuth", "example.com").keeps_alive);
        assert!(wish("1 SessionGroup=7", "example.com").facts.group == Group::Session(7));
        for (line, host, expected) in [
            ("1", "example.com", (Family::Either, BeginFlags::IPV6_OK)),
            ("1 PreferIPv6", "example.com", (Family::Either, BeginFlags(5))),
            ("1 NoIPv6Traffic", "example.com", (Family::Ipv4, BeginFlags(0))),
            ("1 NoIPv4Traffic", "example.com", (Family::Ipv6, BeginFlags(3))),
            ("1", "8.8.8.8", (Family::Ipv4, BeginFlags::IPV6_OK)),
            ("1", "[2001:4860::1]", (Family::Ipv6, BeginFlags::IPV6_OK)),
        ] {
            let What::Connect { family, flags, .. } = wish(line, host).what else { panic!("{line}") };
            assert_eq!((family, flags), expected, "{line} {host}");
        }
    }
    #[test]
    fn look_ups_by_datagrams_get_the_kind_they_ask_for_and_no_onion() {
        let judge = |host: &str, preference| {
            let (host, protocol) = (Host::parse_loosely(host).unwrap(), Protocol::Dns);
            let command = Command::Resolve;
            let request = Request { command, host, port: 0, protocol, credentials: None, preference: Some(preference) };
            let (verdict, notices) = judge_request("1 NoIPv4Traffic PreferIPv6", "TestSocks 1\nSafeSocks 1", &request);
            assert!(notices.is_empty());
            verdict
        };
        for (preference, expected) in [(Preference::Ipv4Only, Family::Ipv4), (Preference::Ipv6Only, Family::Ipv6)] {
            let Verdict::Ask(wish) = judge("example.com", preference) else { panic!("{preference:?}") };
            assert!(matches!(wish.what, What::Resolve(_, family) if family == expected) && wish.facts.protocol == 1);
            assert!(matches!(judge(ONION, preference), Verdict::Refuse(Failure::TrafficOff)));
        }
        assert!(matches!(judge("10.0.0.1", Preference::Ipv4Only), Verdict::Answer(Found::Ip(_))));
        assert!(matches!(judge("10.0.0.1", Preference::Ipv6Only), Verdict::Refuse(Failure::TrafficOff)));
    }

    #[test]
    fn what_a_firewall_led_to_us_is_told_from_what_was_asked_for() {
        let judge = |protocol, host: &str, torrc: &str| {
            let (command, host) = (Command::Connect, Host::parse_loosely(host).unwrap());
            let request = Request { command, host, port: 80, protocol, credentials: None, preference: None };
            let (verdict, notices) = judge_request("1", &format!("SafeSocks 1\nTestSocks 1\n{torrc}"), &request);
            assert!(notices.is_empty());
            verdict
        };
        for (protocol, number) in [(Protocol::Transparent, 2), (Protocol::Natd, 3)] {
            for host in ["8.8.8.8", "2001:4860::1"] {
                let verdict = judge(protocol, host, "");
                assert!(matches!(verdict, Verdict::Ask(wish) if wish.facts.protocol == number), "{host}");
            }
            for host in ["127.0.0.1", "::1", "10.0.0.1", "fd00::1"] {
                let verdict = judge(protocol, host, "");
                assert!(matches!(verdict, Verdict::Refuse(Failure::Internal)), "{host}: {verdict:?}");
                assert!(matches!(judge(protocol, host, "ClientRejectInternalAddresses 0"), Verdict::Ask(_)));
            }
        }
    }

    #[test]
    fn http_has_no_safety_and_may_mind_which_addresses_it_gets() {
        let request = |host: &str, port, user: Option<&str>, preference| Request {
            command: Command::Connect,
            host: Host::parse_loosely(host).unwrap(),
            port,
            protocol: Protocol::HttpConnect,
            credentials: user.map(|user| Credentials { user: user.into(), password: Vec::new() }),
            preference,
        };
        let judge = |line: &str, request: Request| judge_request(line, "SafeSocks 1\nTestSocks 1", &request);
        let (verdict, notices) = judge("1", request("8.8.8.8", 80, Some("Basic dG9yOng="), None));
        assert!(matches!(verdict, Verdict::Ask(wish) if wish.facts.protocol == 0) && notices.is_empty());
        let (_, notices) = judge("1", request("example.com", 80, Some("Basic eDp5"), None));
        assert_eq!(notices, [Notice::OldAuthorization]);
        for (host, port, expected) in
            [("example.com", 0, Failure::NoPort), ("10.0.0.1", 0, Failure::NoPort), ("10.0.0.1", 1, Failure::Internal)]
        {
            let (verdict, _) = judge("1", request(host, port, None, None));
            assert!(matches!(verdict, Verdict::Refuse(failure) if failure == expected), "{host}:{port} {verdict:?}");
        }
        for (line, preference, expected) in [
            ("1 PreferIPv6", Preference::Ipv4First, Some((Family::Either, BeginFlags::IPV6_OK))),
            ("1", Preference::Ipv6First, Some((Family::Either, BeginFlags(5)))),
            ("1", Preference::Ipv4Only, Some((Family::Ipv4, BeginFlags(0)))),
            ("1", Preference::Ipv6Only, Some((Family::Ipv6, BeginFlags(3)))),
            ("1 NoIPv6Traffic", Preference::Ipv6Only, None),
            ("1 NoIPv4Traffic", Preference::Ipv4First, Some((Family::Ipv6, BeginFlags(3)))),
        ] {
            let got = match judge(line, request("example.com", 80, None, Some(preference))).0 {
                Verdict::Ask(Wish { what: What::Connect { family, flags, .. }, .. }) => Some((family, flags)),
                _ => None,
            };
            assert_eq!(got, expected, "{line} {preference:?}");
        }
    }
}
