//! Addresses that stand for others, and names that get one of ours: to programs it is the same
//! whether C tor or our program serves them, on the lab's network.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::lab::Guest;
use super::look_ups::{A, AAAA, answer, port, query};
use super::program::{CEPA, lab, start};
use super::tor::{Client, Folder};

const PATIENCE: Duration = Duration::from_secs(60);
const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
const RESOLVE: u8 = 0xF0;
const CONNECT: u8 = 1;
const LINES: &str = "AutomapHostsOnResolve 1\nAutomapHostsSuffixes .onion,.given.lab,source-1000.lab\n\
                     VirtualAddrNetworkIPv4 10.192.0.0/10\nMapAddress alias.example source-1000.lab\n\
                     MapAddress *.wild.example *.lab\nMapAddress *.all.example source-1000.lab\n\
                     MapAddress 192.0.2.7 source-1000.lab\nMapAddress here.example 127.0.0.1\n\
                     MapAddress given.example x.given.lab\nMapAddress relay.example source-1000.lab.nobody.exit\n\
                     MapAddress odd.example relay.exit\nMapAddress a.loop b.loop\nMapAddress b.loop a.loop\n\
                     ClientRejectInternalAddresses 1\n";

/// A program, and where it answers look-ups.
struct Served(Guest, SocketAddr);

/// Our program and C tor.
fn both(lines: &str) -> [Served; 2] {
    [true, false].map(|is_ours| {
        let (address, line) = port();
        let lines = format!("{lines}{LINES}{line}");
        let client = match is_ours {
            true => start(&mut Command::new(CEPA), Folder::with_data(), &lines),
            false => Client::start(Folder::with_data(), &lines),
        };
        Served(Guest::with(client, None), address)
    })
}

impl Served {
    /// The code of the answer to a SOCKS5 request, the address in it, and what comes behind it.
    fn ask(&self, command: u8, host: &str, port: u16) -> (u8, Option<IpAddr>, usize) {
        let mut stream = TcpStream::connect(self.0.socks()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let address = match host.parse() {
            Ok(IpAddr::V4(ip)) => [&[1][..], &ip.octets()].concat(),
            Ok(IpAddr::V6(ip)) => [&[4][..], &ip.octets()].concat(),
            Err(_) => [&[3, u8::try_from(host.len()).unwrap()], host.as_bytes()].concat(),
        };
        let request = [&[5, 1, 0, 5, command, 0][..], &address, &port.to_be_bytes()].concat();
        stream.write_all(&request).unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let reply = &all[2..];
        let (ip, length) = match reply[3] {
            1 => (Some(Ipv4Addr::from(<[u8; 4]>::try_from(&reply[4..8]).unwrap()).into()), 10),
            4 => (Some(Ipv6Addr::from(<[u8; 16]>::try_from(&reply[4..20]).unwrap()).into()), 22),
            _ => (None, reply.len()),
        };
        (reply[1], ip, reply.len() - length)
    }

    /// The address that a look-up by datagram finds, and how it is answered otherwise.
    fn look_up(&self, name: &str, kind: u16) -> (Option<IpAddr>, Vec<u8>) {
        let said = answer(self.1, &query(7, 0x0100, &[(name, kind)]));
        let length = if kind == A { 4 } else { 16 };
        let is_found = said[6..8] == [0, 1] && said[said.len() - length - 1] == u8::try_from(length).unwrap();
        if !is_found {
            return (None, said);
        }
        let (front, address) = said.split_at(said.len() - length);
        let ip = match length {
            4 => Ipv4Addr::from(<[u8; 4]>::try_from(address).unwrap()).into(),
            _ => Ipv6Addr::from(<[u8; 16]>::try_from(address).unwrap()).into(),
        };
        (Some(ip), front.to_vec())
    }
}

fn is_ours(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 10 && ip.octets()[1] >= 192 && !matches!(ip.octets()[3], 0 | 255),
        IpAddr::V6(ip) => ip.segments()[0] & 0xFFC0 == 0xFE80,
    }
}

pub fn names_get_addresses_as_tor_gives_them() {
    let (_town, lines) = lab();
    let programs = both(&lines);
    for (name, kind) in
        [(ONION, A), (ONION, AAAA), ("x.given.lab", A), ("given.example", AAAA), ("GIVEN.example", A), ("echo.lab", A)]
    {
        let found = programs.each_ref().map(|program| program.look_up(name, kind));
        let [(ours, our_front), (theirs, their_front)] = &found;
        assert_eq!(our_front, their_front, "{name} {kind}");
        assert_eq!(ours.map(is_ours), theirs.map(is_ours), "{name} {kind}: {found:?}");
        assert_eq!(ours.map(|ip| ip.is_ipv4()), theirs.map(|ip| ip.is_ipv4()));
    }
    for program in &programs {
        // The same name has the same address, and by it is reached what it stands for.
        let ip = program.look_up("source-1000.lab", A).0.unwrap();
        assert_eq!(program.ask(RESOLVE, "source-1000.lab", 0).1.map(|ip| ip.is_ipv6()), Some(true));
        assert_eq!(program.look_up("source-1000.lab", A).0, Some(ip));
        assert_eq!(program.ask(CONNECT, &ip.to_string(), 80).2, 1000);
    }
}

pub fn addresses_stand_for_others_as_they_do_for_tor() {
    let (_town, lines) = lab();
    let [ours, theirs] = both(&lines);
    for (command, host, port) in [
        (CONNECT, "alias.example", 80),
        (CONNECT, "ALIAS.example", 80),
        (CONNECT, "x.alias.example", 80),
        (CONNECT, "source-1000.wild.example", 80),
        (CONNECT, "wild.example", 80),
        (CONNECT, "a.b.all.example", 80),
        (CONNECT, "all.example", 80),
        (CONNECT, "192.0.2.7", 80),
        (CONNECT, "here.example", 80),
        (CONNECT, "relay.example", 80),
        (CONNECT, "a.loop", 80),
        (CONNECT, "10.200.1.1", 80),
        (CONNECT, "fe80::7", 80),
        (CONNECT, "some.virtual", 80),
        (RESOLVE, "alias.example", 0),
        (RESOLVE, "here.example", 0),
        (RESOLVE, "10.200.1.1", 0),
        (RESOLVE, "relay.example", 0),
        (RESOLVE, ONION, 0),
        (RESOLVE, "a.loop", 0),
        (RESOLVE, "fails.lab", 0),
        (RESOLVE, "nowhere.example", 0),
        (RESOLVE, "relay.exit", 0),
    ] {
        let [mine, other] = [&ours, &theirs].map(|program| program.ask(command, host, port));
        let kind = |(code, ip, length): (u8, Option<IpAddr>, usize)| {
            // Which it is was drawn, if it is one of ours.
            (code, ip.map(|ip| if is_ours(ip) { "ours".to_owned() } else { ip.to_string() }), length)
        };
        assert_eq!(kind(mine), kind(other), "{command} {host}");
    }
}
