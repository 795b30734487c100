//! What a local program may ask for by name, and what kind of name it is.
//!
//! Host names, addresses in brackets or bare, onion addresses, and the two endings that must
//! never reach an exit or a look-up: `.onion` and `.exit`. What an exit may be asked for is a
//! type of its own, [`ForExit`]. Resolves nothing. Called by `proxy` for every name that comes
//! in, and by `control.rs` for those of controllers. Spec: rend-spec-v3, "Encoding
//! onion addresses"; address-spec. C tor: `string_is_valid_dest` in lib/net/address.c,
//! `parse_extended_hostname` in core/or/connection_edge.c.
//! Differs: C tor takes `x.onion.` and `x.exit.`, with a dot behind, for ordinary names, and
//! asks exits for them. Here they are what they look like.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::address::is_internal;
use crate::base::{Ed25519Id, text};
use crate::crypto::kdf;

/// The longest name a BEGIN cell and SOCKS can carry.
pub const MAX_NAME_LEN: usize = 255;
/// The version of onion addresses there is.
const ONION_VERSION: u8 = 3;
/// Letters of an onion address.
const ONION_LEN: usize = 56;

/// Where a request goes. Shows nothing of it when printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A host name, in lower case, which only an exit may look up.
    Name(String),
    /// An onion service.
    Onion(Ed25519Id),
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Host::Ip(_) => "Host::Ip",
            Host::Name(_) => "Host::Name",
            Host::Onion(_) => "Host::Onion",
        })
    }
}

/// A name or an address that an exit may be asked for. Shows nothing of it when printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ForExit(String);

impl ForExit {
    /// None if only an onion service can be asked.
    pub fn of(host: &Host) -> Option<ForExit> {
        match host {
            Host::Ip(ip) => Some(ForExit::from(*ip)),
            Host::Name(name) => Some(ForExit(name.clone())),
            Host::Onion(_) => None,
        }
    }

    /// As it stands in a BEGIN or a RESOLVE.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<IpAddr> for ForExit {
    fn from(ip: IpAddr) -> Self {
        ForExit(ip.to_string())
    }
}

impl fmt::Debug for ForExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForExit")
    }
}

/// Why a name cannot be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadName {
    /// It is no name.
    Malformed,
    /// It ends in `.onion` and is no onion address.
    BadOnion,
    /// It ends in `.exit`.
    Exit,
}

impl Host {
    /// Reads what a program gave.
    pub fn parse(text: &str) -> Result<Host, BadName> {
        Host::read(text, |label| !label.starts_with(['-', '_']))
    }

    /// The same in languages other than SOCKS, where labels may begin with any letter of theirs.
    /// C tor: only its SOCKS looks closer than `address_is_invalid_destination`.
    pub fn parse_loosely(text: &str) -> Result<Host, BadName> {
        Host::read(text, |_| true)
    }

    fn read(text: &str, may_be_label: impl Fn(&str) -> bool) -> Result<Host, BadName> {
        let is_host_name = |name: &str| name.split('.').all(|label| is_label(label) && may_be_label(label));
        if text.is_empty() || text.len() > MAX_NAME_LEN {
            return Err(BadName::Malformed);
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse::<Ipv4Addr>() {
            return Ok(Host::Ip(ip.into()));
        }
        if let Ok(ip) = bare.parse::<Ipv6Addr>() {
            return Ok(Host::Ip(ip.into()));
        }
        let name = bare.to_ascii_lowercase();
        let undotted = name.strip_suffix('.').unwrap_or(&name);
        match undotted.rsplit_once('.').map_or(("", undotted), |(front, ending)| (front, ending)) {
            // What is before the dot need not be a host name for these.
            (_, "exit") => Err(BadName::Exit),
            (front, "onion") => onion(front.rsplit('.').next().unwrap_or_default()).ok_or(BadName::BadOnion),
            _ if is_host_name(undotted) => Ok(Host::Name(name)),
            _ => Err(BadName::Malformed),
        }
    }

    /// As it is written, whatever it is. Not to be shown.
    pub fn written(&self) -> String {
        match self {
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.clone(),
            Host::Onion(key) => {
                let [first, second, ..] = onion_checksum(&key.0);
                let bytes = [&key.0[..], &[first, second, ONION_VERSION]].concat();
                format!("{}.onion", text::base32(&bytes))
            }
        }
    }

    /// As it is written, to be shown to those who may see it.
    pub fn text(&self) -> String {
        match self {
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.clone(),
            Host::Onion(_) => "[onion]".to_owned(),
        }
    }

    /// Whether it is nobody's on the public network, so that no exit should be asked.
    /// C tor: `tor_addr_is_internal`, and the names of `ClientRejectInternalAddresses`.
    pub fn is_internal(&self) -> bool {
        match self {
            Host::Ip(ip) => is_internal(*ip),
            Host::Name(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                matches!(name, "localhost" | "local") || name.ends_with(".local")
            }
            Host::Onion(_) => false,
        }
    }
}

/// Letters, digits, `-` and `_`.
fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// An onion address without its ending, if its checksum and version fit.
fn onion(letters: &str) -> Option<Host> {
    if letters.len() != ONION_LEN {
        return None;
    }
    let bytes: [u8; 35] = text::from_base32(letters).ok()?.try_into().ok()?;
    let (key, tail) = bytes.split_first_chunk::<32>()?;
    let [first, second, ..] = onion_checksum(key);
    (tail == [first, second, ONION_VERSION]).then_some(Host::Onion(Ed25519Id(*key)))
}

fn onion_checksum(key: &[u8; 32]) -> [u8; 32] {
    kdf::sha3_256(&[b".onion checksum", key, &[ONION_VERSION]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From rend-spec-v3, "Encoding onion addresses".
    const PUBLISHED: [&str; 3] = [
        "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd",
        "sp3k262uwy4r2k3ycr5awluarykdpag6a7y33jxop4cs2lu5uz5sseqd",
        "xa4r2iadxm55fbnqgwwi5mymqdcofiu3w6rpbtqn7b2dyn7mgwj64jyd",
    ];

    #[test]
    fn published_onion_addresses_are_read() {
        for letters in PUBLISHED {
            for text in [
                format!("{letters}.onion"),
                format!("www.{letters}.onion"),
                format!("{}.ONION.", letters.to_uppercase()),
                format!("_odd._label.{letters}.onion"),
            ] {
                assert!(matches!(Host::parse(&text), Ok(Host::Onion(_))), "{text}");
            }
        }
    }

    #[test]
    fn onion_addresses_that_are_none_are_told_apart_from_names() {
        let letters = PUBLISHED[0];
        let mut flipped = letters.to_owned();
        flipped.replace_range(0..1, "q");
        let version = format!("{}e", &letters[..55]);
        for text in [
            "onion".to_owned() + ".onion",
            ".onion".to_owned(),
            format!("{}.onion", &letters[1..]),
            format!("a{letters}.onion"),
            format!("{flipped}.onion"),
            format!("{version}.onion."),
            format!("{}1.onion", &letters[1..]),
        ] {
            assert_eq!(Host::parse(&text), Err(BadName::BadOnion), "{text}");
        }
    }

    #[test]
    fn exit_names_are_never_names() {
        for text in ["www.example.com.relay.exit", "a.EXIT", "a.exit.", ".exit"] {
            assert_eq!(Host::parse(text), Err(BadName::Exit), "{text}");
        }
    }

    /// The cases of `test_util_hostname_validation` and `test_util_dest_validation_edgecase`
    /// in C tor's src/test/test_util.c.
    #[test]
    fn host_names_are_what_c_tor_takes() {
        for text in [
            "torproject.org",
            "ocw.mit.edu",
            "i.4cdn.org",
            "i.4cdn.org.",
            "stanford.edu",
            "multiple-words-with-hypens.jp",
            "Example.COM",
            "lets_encrypt.org",
            "a_b",
            "x--y.z-",
            "0123",
        ] {
            assert_eq!(Host::parse(text), Ok(Host::Name(text.to_ascii_lowercase())), "{text}");
        }
        for text in [
            "",
            ".",
            "..",
            "-torproject.org",
            "subdomain.-domain.org",
            "-subdomain.domain.org",
            "___abc.org",
            "subdomain._domain.org",
            "www.torproject.org..",
            "a..b",
            "sub dom.org",
            "exa,mple.org",
            "\\xff.org",
            "a\0b",
            "[example.org",
            "ümlaut.de",
        ] {
            assert_eq!(Host::parse(text), Err(BadName::Malformed), "{text:?}");
        }
        assert!(Host::parse(&"a".repeat(255)).is_ok() && Host::parse(&"a".repeat(256)).is_err());
    }

    #[test]
    fn labels_may_begin_with_anything_outside_of_socks() {
        for text in ["_dmarc.example.com", "-a.b", "a._b.", "__"] {
            assert_eq!(Host::parse_loosely(text), Ok(Host::Name(text.to_owned())), "{text}");
        }
        for text in ["", ".", "a..b", "a b", "a/b", "[a", "a\0b", "http://a"] {
            assert_eq!(Host::parse_loosely(text), Err(BadName::Malformed), "{text:?}");
        }
        assert_eq!(Host::parse_loosely("_x.exit"), Err(BadName::Exit));
        assert_eq!(Host::parse_loosely("_x.onion"), Err(BadName::BadOnion));
        assert!(matches!(Host::parse_loosely(&format!("{}.onion", PUBLISHED[0])), Ok(Host::Onion(_))));
    }

    #[test]
    fn addresses_are_no_names() {
        for (text, ip) in
            [("8.8.8.8", "8.8.8.8"), ("2001:db8::1", "2001:db8::1"), ("[::1]", "::1"), ("[1.2.3.4]", "1.2.3.4")]
        {
            assert_eq!(Host::parse(text), Ok(Host::Ip(ip.parse().unwrap())), "{text}");
        }
        assert!(matches!(Host::parse("1.2.3"), Ok(Host::Name(_))));
    }

    #[test]
    fn internal_are_addresses_and_names_of_here() {
        let is_internal = |text: &str| Host::parse(text).unwrap().is_internal();
        for text in ["10.255.0.1", "[fe80::1]", "localhost", "LOCALHOST.", "local", "printer.local"] {
            assert!(is_internal(text), "{text}");
        }
        for text in ["1.1.1.1", "2001:db8::1", "localhost.example.com", "notlocal"] {
            assert!(!is_internal(text), "{text}");
        }
    }

    #[test]
    fn a_host_prints_nothing_of_itself() {
        for text in ["secret.example.com", "192.0.2.77"] {
            let printed = format!("{:?}", Host::parse(text).unwrap());
            assert!(!printed.contains("secret") && !printed.contains("77"), "{printed}");
        }
    }

    proptest! {
        #[test]
        fn no_name_panics_and_no_special_one_becomes_ordinary(text in ".{0,80}|[a-z2-7.\\[\\]:]{0,70}(\\.onion|\\.exit)\\.?") {
            if let Ok(Host::Name(name)) = Host::parse(&text) {
                let undotted = name.strip_suffix('.').unwrap_or(&name);
                prop_assert!(!undotted.ends_with(".onion") && !undotted.ends_with(".exit"), "{}", name);
                prop_assert_eq!(Host::parse(&name), Ok(Host::Name(name.clone())));
            }
        }
    }
}
