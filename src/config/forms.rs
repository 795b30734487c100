//! The form of values that other parts of Tor have a language for: relays, bridges, passwords.
//!
//! Only whether a value has the form that C tor wants, so that one who writes it wrong is told
//! here as there; what it means is for whoever serves the option. Names of hosts are not looked
//! up. Called by `options/kind.rs`. Spec: none. C tor: `routerset_parse`, `parse_bridge_line`,
//! `pt_parse_transport_line`, `parse_virtual_addr_network`, `decode_hashed_passwords`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::maps::{BLOCK_V4, BLOCK_V6, Block};
use super::values::{Wanted, list};

/// Which addresses a block is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Which side of a disguised link a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Client,
    /// The bridge's.
    Server,
}

/// C tor: the longest name of a relay, and how many digits its fingerprint has.
const MAX_NICKNAME_LEN: usize = 19;
pub(super) const FINGERPRINT_LEN: usize = 40;
/// What is left of a password: how it was mixed, and its SHA-1.
const PASSWORD_LEN: usize = 29;

const FAMILY: Wanted = Wanted::Other("names or fingerprints of relays between commas");
const NICKNAME: Wanted = Wanted::Other("1 to 19 letters and digits");
pub(super) const ADDRESS: Wanted = Wanted::Other("an address");
const ENDPOINT: Wanted = Wanted::Other("HOST or HOST:PORT");
const PROXY: Wanted = Wanted::Other("haproxy HOST:PORT");
const PASSWORD: Wanted = Wanted::Other("what --hash-password prints");
const BRIDGE: Wanted = Wanted::Other("[TRANSPORT] ADDRESS[:PORT] [FINGERPRINT] [KEY=VALUE]...");
const MOMENT: Wanted = Wanted::Other("month DAY HH:MM, week DAY HH:MM or day HH:MM");
const VERSION: Wanted = Wanted::Other("a version, such as 0.4.9.11");
const KEY: Wanted = Wanted::Other("an Ed25519 key in base64, or *");
const PROCESS: Wanted = Wanted::Other("the number of a process");
const KEYWORD: Wanted = Wanted::Other("none, any, or a word of letters, digits, - and _");
const LISTEN: Wanted = Wanted::Other("TRANSPORT ADDRESS:PORT");
const PAIRS: Wanted = Wanted::Other("TRANSPORT KEY=VALUE...");
const CLIENT: Wanted = Wanted::Other("TRANSPORTS exec PROGRAM..., or TRANSPORT socks4 or socks5 HOST:PORT");
const SERVER: Wanted = Wanted::Other("TRANSPORTS exec PROGRAM..., or TRANSPORT proxy HOST:PORT");

/// Whether these are relays by name or fingerprint. C tor: blanks part them as well as commas.
pub fn family(text: &str) -> Result<(), Wanted> {
    list(text).flat_map(str::split_ascii_whitespace).all(is_named).then_some(()).ok_or(FAMILY)
}

/// Whether this may be the name of a relay.
pub fn nickname(text: &str) -> Result<(), Wanted> {
    is_nickname(text).then_some(()).ok_or(NICKNAME)
}

pub(super) fn is_nickname(text: &str) -> bool {
    (1..=MAX_NICKNAME_LEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A name, or a fingerprint and perhaps the name behind it.
fn is_named(item: &str) -> bool {
    let digits = item.strip_prefix('$').unwrap_or(item);
    let is_fingerprint = match digits.split_at_checked(FINGERPRINT_LEN) {
        Some((digits, "")) => is_hex(digits),
        Some((digits, name)) => is_hex(digits) && name.strip_prefix(['=', '~']).is_some_and(is_nickname),
        None => false,
    };
    is_fingerprint || is_nickname(item)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether this is an address; IPv6 may have brackets.
pub fn address(text: &str) -> Result<(), Wanted> {
    ip(text).map(|_| ()).ok_or(ADDRESS)
}

pub(super) fn ip(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(text) => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// A block of addresses, if it is large enough to give some away.
pub fn network(text: &str, network: Network) -> Result<Block, Wanted> {
    let wanted = match network {
        Network::V4 => BLOCK_V4,
        Network::V6 => BLOCK_V6,
    };
    let parts = text.split_once('/').and_then(|(at, bits)| Some((ip(at)?, bits.parse::<u32>().ok()?)));
    let Some((ip, bits)) = parts else { return Err(wanted) };
    let is_fine = match (network, ip) {
        (Network::V4, IpAddr::V4(_)) => bits <= 16,
        (Network::V6, IpAddr::V6(_)) => bits <= 104,
        _ => false,
    };
    is_fine.then_some(Block { ip, bits }).ok_or(wanted)
}

/// Whether this is a host, by name or address, and perhaps a port.
pub fn endpoint(text: &str) -> Result<(), Wanted> {
    is_endpoint(text).then_some(()).ok_or(ENDPOINT)
}

fn is_endpoint(text: &str) -> bool {
    let is_host = |host: &str| match host.strip_prefix('[') {
        Some(_) => ip(host).is_some(),
        None => !host.is_empty() && !host.contains([':', ' ', '\t', '[', ']']),
    };
    is_host(text) || text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok())
}

/// Whether this is a proxy behind the one protocol that there is.
pub fn proxy(text: &str) -> Result<(), Wanted> {
    let (protocol, at) = text.split_once(' ').ok_or(PROXY)?;
    (protocol.eq_ignore_ascii_case("haproxy") && is_endpoint(at.trim())).then_some(()).ok_or(PROXY)
}

/// Whether this is what is left of a password: in hexadecimal, or as it once was in base64.
pub fn password(text: &str) -> Result<(), Wanted> {
    let is_fine = match text.strip_prefix("16:") {
        Some(digits) => digits.len() == 2 * PASSWORD_LEN && is_hex(digits),
        None => {
            let digits = text.trim_end_matches('=');
            let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
            digits.len() == (PASSWORD_LEN * 4).div_ceil(3) && digits.bytes().all(is_digit)
        }
    };
    is_fine.then_some(()).ok_or(PASSWORD)
}

/// Whether this is a bridge.
pub fn bridge(text: &str) -> Result<(), Wanted> {
    let mut words = text.split_ascii_whitespace().peekable();
    let transport = words.next_if(|word| is_identifier(word));
    let at = words.next().ok_or(BRIDGE)?;
    let has_address = match at.rsplit_once(':') {
        Some((host, port)) if ip(at).is_none() => is_bare(host) && port.parse::<u16>().is_ok_and(|port| port != 0),
        _ => is_bare(at),
    };
    // C tor: without a transport, all that follows is the fingerprint, which had blanks once.
    let fingerprint = match transport {
        Some(_) => words.next_if(|word| !is_pair(word)).unwrap_or_default().to_owned(),
        None => words.by_ref().collect(),
    };
    let has_fingerprint = fingerprint.is_empty() || (fingerprint.len() == FINGERPRINT_LEN && is_hex(&fingerprint));
    (has_address && has_fingerprint && words.all(is_pair)).then_some(()).ok_or(BRIDGE)
}

/// C tor: `string_is_key_value`.
fn is_pair(word: &str) -> bool {
    word.find('=').is_some_and(|at| at > 0)
}

/// An address as it may have a port behind it.
fn is_bare(text: &str) -> bool {
    text.starts_with('[') && ip(text).is_some() || text.parse::<Ipv4Addr>().is_ok()
}

/// Whether this names a program that disguises links, or where one listens.
pub fn transport(text: &str, side: Side) -> Result<(), Wanted> {
    let wanted = || if side == Side::Client { CLIENT } else { SERVER };
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [names, how, at, ..] = words[..] else { return Err(wanted()) };
    let is_at =
        || list(names).count() == 1 && is_endpoint(at) && at.rsplit_once(':').is_some_and(|(_, port)| port != "0");
    let is_fine = match (how, side) {
        ("exec", _) => true,
        ("socks4" | "socks5", Side::Client) | ("proxy", Side::Server) => is_at(),
        _ => false,
    };
    (is_fine && list(names).all(is_identifier)).then_some(()).ok_or_else(wanted)
}

/// Whether this says where one such program listens.
pub fn transport_address(text: &str) -> Result<(), Wanted> {
    let (_, at) = text.split_once([' ', '\t']).ok_or(LISTEN)?;
    let at = at.split_ascii_whitespace().next().and_then(|at| at.rsplit_once(':'));
    at.is_some_and(|(host, port)| is_bare(host) && port.parse::<u16>().is_ok()).then_some(()).ok_or(LISTEN)
}

/// Whether this says what one such program is told.
pub fn transport_options(text: &str) -> Result<(), Wanted> {
    let mut pairs = text.split_ascii_whitespace().skip(1).peekable();
    (pairs.peek().is_some() && pairs.all(is_pair)).then_some(()).ok_or(PAIRS)
}

/// Whether this is a moment that comes again.
pub fn moment(text: &str) -> Result<(), Wanted> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let is_day = |unit: &str, day: &str| {
        let lasts = [("month", 28), ("week", 7)];
        let last = lasts.into_iter().find(|(name, _)| unit.eq_ignore_ascii_case(name)).map_or(0, |(_, last)| last);
        day.parse().is_ok_and(|day: u32| (1..=last).contains(&day))
    };
    let time = match words[..] {
        [unit, time] if unit.eq_ignore_ascii_case("day") => Some(time),
        [unit, day, time] if is_day(unit, day) => Some(time),
        _ => None,
    };
    let (hour, minute) = time.and_then(|time| time.split_once(':')).ok_or(MOMENT)?;
    let is_below = |text: &str, end: u32| text.parse().is_ok_and(|number: u32| number < end);
    (is_below(hour, 24) && is_below(minute, 60)).then_some(()).ok_or(MOMENT)
}

/// Whether this is a version of Tor: three or four numbers, and perhaps a word.
pub fn version(text: &str) -> Result<(), Wanted> {
    let numbers = text.split_once('-').map_or(text, |(numbers, _)| numbers);
    let is_fine = numbers.split('.').all(|number| number.parse::<u32>().is_ok());
    (is_fine && (3..=4).contains(&numbers.split('.').count())).then_some(()).ok_or(VERSION)
}

/// Whether this is a key of Ed25519, or any.
pub fn key(text: &str) -> Result<(), Wanted> {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let digits = text.strip_suffix('=').unwrap_or(text);
    (text == "*" || (digits.len() == 43 && digits.bytes().all(is_digit))).then_some(()).ok_or(KEY)
}

/// Whether this names a process.
pub fn process(text: &str) -> Result<(), Wanted> {
    let digits = text.split([' ', ':']).next().unwrap_or_default();
    digits.parse::<i32>().ok().filter(|number| *number > 0).map(|_| ()).ok_or(PROCESS)
}

/// Whether this is one word.
pub fn keyword(text: &str) -> Result<(), Wanted> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.bytes().all(is_letter).then_some(()).ok_or(KEYWORD)
}

/// C tor: `string_is_C_identifier`.
fn is_identifier(text: &str) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    text.as_bytes().first().is_some_and(is_first) && text.bytes().all(|byte| is_first(&byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "0123456789ABCDEF0123456789abcdef01234567";

    fn assert_takes(form: impl Fn(&str) -> Result<(), Wanted>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(form(&text.replace("ID", ID)), Ok(()), "{text}");
        }
        for text in bad {
            assert!(form(&text.replace("ID", ID)).is_err(), "{text}");
        }
    }

    #[test]
    fn relays_have_names_and_fingerprints() {
        assert_takes(family, &["ID", "$ID~name,b c"], &["{de}", "192.0.2.1"]);
        assert_takes(nickname, &["a", "abcdefghijklmnopqrs"], &["", "abcdefghijklmnopqrst", "a-b"]);
    }

    /// After `test_config_parse_bridge_line` in C tor's src/test/test_config.c.
    #[test]
    fn bridges_have_addresses_and_perhaps_a_transport() {
        let good = [
            "192.0.2.1:4123",
            "192.0.2.1",
            "[2001:db8::1]:443 ID",
            "192.0.2.1:4123 0123456789ABCDEF0123 456789abcdef01234567",
            "obfs4 192.0.2.1:4123 ID cert=x iat-mode=0",
            "obfs2 198.51.100.2:80 rats=rats",
            "meek_lite 0.0.2.0:3 ID url=https://example.com/",
        ];
        let bad = ["", "obfs4", "192.0.2.1:x", "192.0.2.1:0", "example.com:80", "192.0.2.1:1 12", "a 192.0.2.1:1 ID x"];
        assert_takes(bridge, &good, &bad);
    }

    /// After `test_config_parse_transport_plugin_line` there.
    #[test]
    fn transports_are_programs_or_at_an_address() {
        let client = |text: &str| transport(text, Side::Client);
        let server = |text: &str| transport(text, Side::Server);
        let good = ["a,b exec /usr/bin/x --flag", "a socks4 1.2.3.4:4711", "a socks5 localhost:1"];
        let bad = ["", "a exec", "a socks6 1.2.3.4:1", "a,b socks5 1.2.3.4:1", "a-b exec /x", "a socks5 1.2.3.4"];
        assert_takes(client, &good, &bad);
        assert_takes(server, &["a exec /x", "a proxy 1.2.3.4:1"], &["a socks5 1.2.3.4:1", "a proxy"]);
    }

    #[test]
    fn addresses_hosts_and_blocks_are_told_apart() {
        assert_takes(address, &["192.0.2.1", "2001:db8::1", "[2001:db8::1]"], &["", "example.com", "192.0.2.1:1"]);
        let good = ["192.0.2.1", "192.0.2.1:80", "example.com", "example.com:80", "[::1]:1", "[::1]"];
        assert_takes(endpoint, &good, &["", ":80", "a:b", "a:70000", "a b", "[::1", "::1:"]);
        assert_takes(proxy, &["haproxy 192.0.2.1:80", "HAProxy a"], &["", "haproxy", "http 192.0.2.1:80"]);
        let v4 = |text: &str| network(text, Network::V4).map(|_| ());
        let v6 = |text: &str| network(text, Network::V6).map(|_| ());
        assert_takes(v4, &["127.192.0.0/10", "10.0.0.0/16"], &["10.0.0.0/17", "10.0.0.0", "[fe80::]/10", "x/1", ""]);
        assert_takes(v6, &["[FE80::]/10", "[fe80::]/104"], &["[fe80::]/105", "127.192.0.0/10", "[fe80::"]);
    }

    #[test]
    fn what_only_relays_say_has_its_form_too() {
        assert_takes(transport_address, &["a 192.0.2.1:0", "a [::]:80 b"], &["", "a", "a b:1", "a 192.0.2.1"]);
        assert_takes(transport_options, &["a b=c", "a b=c d="], &["", "a", "a b", "a =c"]);
        let bad =
            ["month 1", "month 29 10:00", "week 8 1:0", "day 1 10:00", "day 24:00", "day 1:60", "year 1 1:1", "1"];
        assert_takes(moment, &["month 28 00:00", "Week 7 23:59", "day 5:05"], &bad);
        assert_takes(version, &["0.4.9.11", "0.4.8.0-alpha-dev", "1.2.3"], &["1", "0.4", "a.b.c", "", "1.2.3.4.5"]);
        assert_takes(key, &["*", &"A".repeat(43)], &["", "A", &"!".repeat(43)]);
        assert_takes(process, &["1", "12:x"], &["", "0", "x", "-1", "1x"]);
        assert_takes(keyword, &["any", "a-b_1"], &["a b", "a:b"]);
    }

    #[test]
    fn passwords_are_what_is_left_of_them() {
        let long = format!("16:{}", "A9".repeat(29));
        let old = format!("{}abc=", "a+/9".repeat(9));
        assert_takes(password, &[&long, &old], &["", "16:", "secret", &long[..60]]);
    }

    proptest! {
        #[test]
        fn no_value_panics(text in ".*|[a-z0-9$~={}:/., \\[\\]]{0,60}") {
            let _ = (family(&text), nickname(&text), address(&text), endpoint(&text), proxy(&text));
            let _ = (password(&text), bridge(&text), transport(&text, Side::Client), transport(&text, Side::Server));
            let _ = (transport_address(&text), transport_options(&text), moment(&text), version(&text));
            let _ = (key(&text), process(&text), keyword(&text));
            let _ = (network(&text, Network::V4), network(&text, Network::V6));
        }
    }
}
