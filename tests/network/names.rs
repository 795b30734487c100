//! Names that no exit may hear: those of onion services, and those that name an exit. Every
//! BEGIN and RESOLVE that reaches any relay is searched for them, whatever programs said.

use std::time::Duration;

use cepa::internal::client::control::Refused;
use cepa::internal::client::name::BadName;
use cepa::internal::config::port::{self, Flags};
use cepa::internal::config::{Config, Settings};
use cepa::internal::proxy::dns::Query;
use cepa::internal::proxy::door::{Door, Verdict};
use cepa::internal::proxy::http_connect::HttpConnect;
use cepa::internal::proxy::maps::Maps;
use cepa::internal::proxy::socks::{Manner, Socks};
use cepa::internal::proxy::{Command, Found, Host, Language, Output, Request};
use cepa::lab::network::Network;
use cepa::lab::seed::SeededEntropy;

use super::client::{Shell, connect, directory_network, honest, resolve, setup_with};
use super::seed;

/// One that could be an onion service's: its checksum is right.
const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
/// What is in front of an ending, and what is behind it.
const FRONTS: [&str; 6] = ["", "x.", "www.example.com.", "echo.lab.", "-.", "a b."];
const BACKS: [&str; 4] = ["", ".", "..", "...."];
const CONNECT: u8 = 1;
const RESOLVE: u8 = 0xF0;
const RESOLVE_PTR: u8 = 0xF1;

/// All that a program might say with those endings, in any case.
fn secret_names() -> Vec<String> {
    let endings = ["onion", "exit", "ONION", "EXIT", "oNiOn", "eXiT"];
    let each = |ending: &str| {
        let of_front = |front: &str| BACKS.map(|back| format!("{front}{ending}{back}"));
        FRONTS.iter().flat_map(|front| of_front(front)).collect::<Vec<_>>()
    };
    let mut names: Vec<String> = endings.into_iter().flat_map(each).collect();
    names.extend(BACKS.map(|back| format!("{ONION}{back}")));
    names.extend(BACKS.map(|back| format!("www.{}{back}", ONION.to_uppercase())));
    names.extend(["[x.onion]", "[x.exit.]", "x.onion]", "echo.lab.$0123456789ABCDEF.exit"].map(str::to_owned));
    names
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("onion") || name.contains("exit")
}

/// What is heard of a request in every language that has names.
fn in_every_language(command: u8, name: &str) -> Vec<Option<Request>> {
    let socks4a = [&[4, command, 0, 80, 0, 0, 0, 1], &b"user\0"[..], name.as_bytes(), &[0]].concat();
    let length = u8::try_from(name.len()).unwrap();
    let socks5 = [&[5, 1, 0, 5, command, 0, 3, length], name.as_bytes(), &[0, 80]].concat();
    let (user, password) = (b"u", b"p");
    let with_password = [&[5, 1, 2, 1, 1], &user[..], &[1], password, &socks5[3..]].concat();
    let socks = |bytes: Vec<u8>| heard(Language::Socks(Socks::new(Manner::default())), &bytes);
    let mut said: Vec<_> = [socks4a, socks5, with_password].map(socks).into();
    if command == CONNECT {
        let head = format!("CONNECT {name}:80 HTTP/1.1\r\nHost: {name}:80\r\n\r\n");
        said.push(heard(Language::HttpConnect(HttpConnect::new()), head.as_bytes()));
    } else {
        let kinds: &[u8] = if command == RESOLVE { &[1, 28] } else { &[12] };
        said.extend(kinds.iter().map(|kind| Query::parse(&datagram(name, *kind))?.request().ok().cloned()));
    }
    said
}

/// A question for a record of that kind.
fn datagram(name: &str, kind: u8) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let labels = labels.flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
    [&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &labels.collect::<Vec<_>>()[..], &[0, 0, kind, 0, 1]].concat()
}

fn heard(mut language: Language, bytes: &[u8]) -> Option<Request> {
    language.handle_bytes(bytes);
    std::iter::from_fn(|| language.poll_output()).find_map(|output| match output {
        Output::Request(request) => Some(request),
        Output::Reply(_) | Output::Close => None,
    })
}

/// What a port lets through of what a program says.
fn judged(request: &Request, flags: &Flags, config: &Config, maps: &mut Maps) -> Verdict {
    let door = Door { number: 0, flags, requests: &config.requests };
    door.judge(request, None, maps, &mut SeededEntropy::new(1, "maps")).0
}

/// All that any relay was asked for.
fn asked(network: &Network) -> Vec<String> {
    let of_relay = |relay| network.relay(relay).asked().iter().map(|name| name.uncover().clone()).collect::<Vec<_>>();
    network.relays().flat_map(of_relay).collect()
}

#[test]
fn no_name_of_an_onion_or_an_exit_reaches_a_relay_and_others_do() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, setup_with(&cache, ""));
    assert!(shell.bootstrap(&mut network));
    let flags = port::parse("9050 IPv6Traffic", port::Kind::Names).unwrap().port.unwrap().flags;
    let open = ["echo.lab", "Echo.LAB", "onion.lab", "exit.lab.", "x.onion.lab", "notonion.lab", "an-exit.lab"];
    let (mut said, mut answered) = (0, 0);
    // With addresses of ours for names as well: those are no names, and lead to none that is heard.
    for torrc in ["", "AutomapHostsOnResolve 1\n"] {
        let mut settings = Settings::new();
        settings.add_text("torrc", torrc).unwrap();
        let config = Config::of(&settings).unwrap().0;
        let mut maps = Maps::new(&config.maps);
        let names = secret_names().into_iter().chain(open.map(str::to_owned));
        let requests = names.flat_map(|name| {
            let commands = [CONNECT, RESOLVE, RESOLVE_PTR].into_iter();
            commands
                .flat_map(|command| in_every_language(command, &name))
                .map(|it| (name.clone(), it))
                .collect::<Vec<_>>()
        });
        for (name, request) in requests {
            said += 1;
            match request.map(|request| (judged(&request, &flags, &config, &mut maps), request)) {
                Some((Verdict::Ask(wish), _)) => {
                    assert!(!is_secret(&name) || open.contains(&name.as_str()), "{name:?} is let through");
                    shell.request(&mut network, wish);
                }
                Some((Verdict::Answer(Found::Ip(ip)), request)) => {
                    assert!(!torrc.is_empty());
                    let back = Request { command: Command::Connect, host: Host::Ip(ip), port: 80, ..request };
                    assert!(matches!(judged(&back, &flags, &config, &mut maps), Verdict::Refuse(_)), "{name}");
                    answered += 1;
                }
                _ => {}
            }
        }
    }
    assert!(answered > 20, "{answered}");
    assert!(said > 1000, "{said}");
    shell.run_until(&mut network, Duration::from_secs(20), |_| false);
    let asked = asked(&network);
    for name in open {
        let count = asked.iter().filter(|asked| **asked == name.to_ascii_lowercase()).count();
        // In three languages, twice, and three times in two others: nobody looks up the name of a name.
        assert!(count >= if name.ends_with('.') { 7 } else { 9 }, "{name} was asked for {count} times");
    }
    let endings = |asked: &String| {
        let bare = asked.trim_end_matches('.');
        bare.ends_with(".onion") || bare.ends_with(".exit") || bare == "onion" || bare == "exit"
    };
    let leaked: Vec<_> = asked.iter().filter(|asked| endings(&asked.to_ascii_lowercase())).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
}

/// A controller may send a stream where a program may go, and nowhere else.
#[test]
fn a_controller_sends_no_stream_to_an_onion_or_an_exit() {
    let (mut network, _, cache) = directory_network(seed(), honest);
    let mut shell = Shell::start(&mut network, setup_with(&cache, "ClientRejectInternalAddresses 1"));
    assert!(shell.bootstrap(&mut network));
    shell.client.hold_requests(true);
    let stream = shell.request(&mut network, connect("echo.lab", "a"));
    let look_up = shell.request(&mut network, resolve("echo.lab"));
    for no in [stream, look_up] {
        for name in secret_names() {
            assert!(shell.client.redirect(no, &name, None).is_err(), "{name}");
        }
        for name in ["", "a b", "-x", "two..dots", &"x".repeat(300)] {
            assert_eq!(shell.client.redirect(no, name, None), Err(Refused::BadName(BadName::Malformed)), "{name}");
        }
        for name in ["10.0.0.1", "localhost", "[::1]"] {
            assert_eq!(shell.client.redirect(no, name, None), Err(Refused::Internal), "{name}");
        }
        assert_eq!(shell.client.redirect(no, "Source-400.LAB", None), Ok(()));
    }
    let (facts, _) = shell.client.requests().find(|(facts, _)| facts.stream == stream).unwrap();
    assert_eq!(facts.wish.unwrap().facts.host, "source-400.lab");
    for no in [stream, look_up] {
        shell.client.attach_request(no, None, network.now(), &mut shell.entropy).unwrap();
    }
    let are_over = |shell: &Shell| shell.requests[&stream].is_over() && shell.requests[&look_up].is_over();
    assert!(shell.run_until(&mut network, Duration::from_secs(20), are_over));
    let asked: std::collections::BTreeSet<_> = asked(&network).into_iter().collect();
    assert_eq!(asked, ["source-400.lab".to_owned()].into());
}
