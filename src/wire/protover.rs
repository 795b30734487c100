//! Subprotocol names, numbers and the lists by which relays say what they speak.
//!
//! A file of its own, because cells (the subprotocol request of a handshake) and documents
//! (the `pr` and `proto` lines) both need it and neither owns it. Not a decision about what
//! we require: that is `directory` for the network and `circuit` for a hop. Called by both.
//! Spec: tor-spec, "Subprotocol versioning"; dir-spec, "Server descriptor format", `proto`.

use super::Error;
use core::fmt;

/// A part of the protocol that is versioned by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Cells and their handshake.
    Link,
    /// How a relay proves itself to a relay.
    LinkAuth,
    /// Circuits and relay messages.
    Relay,
    /// What a directory cache serves.
    DirCache,
    /// Storing onion-service descriptors.
    HsDir,
    /// Serving as an introduction point.
    HsIntro,
    /// Serving as a rendezvous point.
    HsRend,
    /// The relay's own descriptor.
    Desc,
    /// Microdescriptors.
    Microdesc,
    /// Consensuses.
    Cons,
    /// Circuit padding.
    Padding,
    /// Circuit flow and congestion control.
    FlowCtrl,
    /// Several circuits as one.
    Conflux,
}

impl Protocol {
    /// All of them, each at the index of its number.
    pub const ALL: [Protocol; 13] = [
        Protocol::Link,
        Protocol::LinkAuth,
        Protocol::Relay,
        Protocol::DirCache,
        Protocol::HsDir,
        Protocol::HsIntro,
        Protocol::HsRend,
        Protocol::Desc,
        Protocol::Microdesc,
        Protocol::Cons,
        Protocol::Padding,
        Protocol::FlowCtrl,
        Protocol::Conflux,
    ];

    /// The name in documents.
    pub fn name(self) -> &'static str {
        self.number_and_name().1
    }

    /// The number in handshakes.
    pub fn number(self) -> u8 {
        self.number_and_name().0
    }

    fn number_and_name(self) -> (u8, &'static str) {
        match self {
            Protocol::Link => (0, "Link"),
            Protocol::LinkAuth => (1, "LinkAuth"),
            Protocol::Relay => (2, "Relay"),
            Protocol::DirCache => (3, "DirCache"),
            Protocol::HsDir => (4, "HSDir"),
            Protocol::HsIntro => (5, "HSIntro"),
            Protocol::HsRend => (6, "HSRend"),
            Protocol::Desc => (7, "Desc"),
            Protocol::Microdesc => (8, "Microdesc"),
            Protocol::Cons => (9, "Cons"),
            Protocol::Padding => (10, "Padding"),
            Protocol::FlowCtrl => (11, "FlowCtrl"),
            Protocol::Conflux => (12, "Conflux"),
        }
    }

    /// The protocol of that name.
    pub fn from_name(name: &str) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|protocol| protocol.name() == name)
    }

    /// The protocol of that number.
    pub fn from_number(number: u8) -> Option<Protocol> {
        Protocol::ALL.get(usize::from(number)).copied()
    }
}

/// Which versions of which protocols somebody speaks, or wants spoken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Protocols {
    /// Bit `v` of the entry of a protocol stands for its version `v`.
    versions: [u64; Protocol::ALL.len()],
    unknown: bool,
}

impl Protocols {
    /// Reads a list such as `Link=3-5 Relay=2-6`.
    ///
    /// A name may come twice and then adds to what it said first. C tor: a list that does
    /// not parse is treated as an empty one.
    pub fn parse(text: &str) -> Result<Protocols, Error> {
        let mut list = Protocols::default();
        for entry in text.split(' ').filter(|entry| !entry.is_empty()) {
            let (name, ranges) = entry.split_once('=').ok_or(Error::ProtocolNameBad)?;
            check_name(name)?;
            let versions = parse_ranges(ranges)?;
            match Protocol::from_name(name) {
                Some(protocol) => list.insert(protocol, versions),
                None => list.unknown |= versions != 0,
            }
        }
        Ok(list)
    }

    /// The list of only `versions` (a bit each) of `protocol`.
    pub fn of(protocol: Protocol, versions: u64) -> Protocols {
        let mut list = Protocols::default();
        list.insert(protocol, versions);
        list
    }

    /// Adds `versions` (a bit each) of `protocol`.
    pub fn insert(&mut self, protocol: Protocol, versions: u64) {
        if let Some(entry) = self.versions.get_mut(usize::from(protocol.number())) {
            *entry |= versions;
        }
    }

    /// The versions of `protocol` in the list, a bit each.
    pub fn versions(&self, protocol: Protocol) -> u64 {
        self.versions.get(usize::from(protocol.number())).copied().unwrap_or(0)
    }

    /// Whether the list has `version` of `protocol`.
    pub fn supports(&self, protocol: Protocol, version: u8) -> bool {
        version <= MAX_VERSION && self.versions(protocol) & (1 << version) != 0
    }

    /// What of `wanted` is not in the list; unknown protocols are never in it.
    #[must_use]
    pub fn missing(&self, wanted: &Protocols) -> Protocols {
        let mut missing = *wanted;
        for (left, have) in missing.versions.iter_mut().zip(self.versions) {
            *left &= !have;
        }
        missing
    }

    /// Whether the list names a protocol that we have no name for, with some version.
    pub fn names_unknown(&self) -> bool {
        self.unknown
    }

    /// Whether nothing is in the list.
    pub fn is_empty(&self) -> bool {
        *self == Protocols::default()
    }
}

/// The known part of the list as documents write it: protocols by number, versions
/// ascending, runs as ranges.
impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for protocol in Protocol::ALL {
            let versions = self.versions(protocol);
            if versions != 0 {
                write!(f, "{gap}{}=", protocol.name())?;
                write_ranges(f, versions)?;
                gap = " ";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protocols({self}{})", if self.unknown { " and unknown" } else { "" })
    }
}

/// Parses `bytes` as a list; what parses must print and parse again to the same.
pub fn fuzz_protover(bytes: &[u8]) {
    if let Ok(mut list) = core::str::from_utf8(bytes).map_err(|_| ()).and_then(|t| Protocols::parse(t).map_err(|_| ()))
    {
        list.unknown = false;
        assert_eq!(Protocols::parse(&list.to_string()), Ok(list));
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let good = name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    if good && (1..=MAX_NAME_LEN).contains(&name.len()) { Ok(()) } else { Err(Error::ProtocolNameBad) }
}

fn parse_ranges(text: &str) -> Result<u64, Error> {
    let mut versions = 0;
    for range in text.split(',').filter(|_| !text.is_empty()) {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let (low, high) = (parse_version(low)?, parse_version(high)?);
        if low > high {
            return Err(Error::ProtocolVersionBad);
        }
        versions |= (u64::MAX << low) & (u64::MAX >> (MAX_VERSION - high));
    }
    Ok(versions)
}

fn parse_version(text: &str) -> Result<u8, Error> {
    // A sign, which `parse` would take, is not a digit.
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let version = text.parse().ok().filter(|&version| digits && version <= MAX_VERSION);
    version.ok_or(Error::ProtocolVersionBad)
}

fn write_ranges(f: &mut fmt::Formatter<'_>, versions: u64) -> fmt::Result {
    let has = |version: u8| version <= MAX_VERSION && versions & (1 << version) != 0;
    let mut comma = "";
    let mut low = 0;
    while low <= MAX_VERSION {
        if !has(low) {
            low += 1;
            continue;
        }
        let mut high = low;
        while has(high + 1) {
            high += 1;
        }
        match low == high {
            true => write!(f, "{comma}{low}")?,
            false => write!(f, "{comma}{low}-{high}")?,
        }
        (comma, low) = (",", high + 1);
    }
    Ok(())
}

/// The highest version of any protocol. Chosen by the spec.
pub const MAX_VERSION: u8 = 63;
/// The longest name of a protocol. C tor: `MAX_PROTOCOL_NAME_LENGTH`.
pub const MAX_NAME_LEN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// C tor 0.4.9.11, core/or/protover.c, `PR_*_V`.
    const RELAY: &str = "Conflux=1 Cons=1-2 Desc=1-4 DirCache=2 FlowCtrl=1-2 HSDir=2 HSIntro=4-5 HSRend=1-2 \
                         Link=3-5 LinkAuth=3 Microdesc=1-3 Padding=2 Relay=2-6";

    #[test]
    fn a_relays_list_says_what_it_speaks() {
        let list = Protocols::parse(RELAY).unwrap();
        assert!(list.supports(Protocol::Relay, 6) && list.supports(Protocol::Relay, 2));
        assert!(!list.supports(Protocol::Relay, 1) && !list.supports(Protocol::Relay, 7));
        assert!(!list.supports(Protocol::Relay, 64) && !list.supports(Protocol::Relay, 255));
        assert!(!list.names_unknown());
        assert_eq!(Protocols::parse(&list.to_string()), Ok(list));
        assert!(list.to_string().starts_with("Link=3-5 LinkAuth=3 Relay=2-6 DirCache=2 HSDir=2"));
    }

    #[test]
    fn what_is_required_and_not_spoken_is_missing() {
        let list = Protocols::parse(RELAY).unwrap();
        let wanted = Protocols::parse("Cons=2 Link=4,6 Relay=2").unwrap();
        assert_eq!(list.missing(&wanted).to_string(), "Link=6");
        assert!(list.missing(&Protocols::parse("Link=4").unwrap()).is_empty());
        let unknown = Protocols::parse("Wombat=1").unwrap();
        assert!(list.missing(&unknown).names_unknown());
        assert!(!list.missing(&unknown).is_empty());
    }

    #[test]
    fn numbers_and_names_lead_back_to_their_protocol() {
        for (protocol, number) in Protocol::ALL.into_iter().zip(0..) {
            assert_eq!(protocol.number(), number);
            assert_eq!(Protocol::from_number(number), Some(protocol));
            assert_eq!(Protocol::from_name(protocol.name()), Some(protocol));
        }
        assert_eq!(Protocol::from_number(13), None);
        assert_eq!(Protocol::from_name("link"), None);
    }

    #[test]
    fn every_version_has_its_bit() {
        assert_eq!(Protocols::parse("Link=0-63").unwrap().versions(Protocol::Link), u64::MAX);
        assert_eq!(Protocols::parse("Link=63").unwrap().versions(Protocol::Link), 1 << 63);
        assert_eq!(Protocols::parse("Link=0").unwrap().versions(Protocol::Link), 1);
        assert_eq!(Protocols::parse("Link=1,003 Link=5").unwrap().versions(Protocol::Link), 0b10_1010);
        assert_eq!(Protocols::parse("Link=").unwrap(), Protocols::default());
        assert_eq!(Protocols::parse("  ").unwrap(), Protocols::default());
    }

    #[test]
    fn a_bad_list_is_named() {
        for text in ["Link", "=1", "Li_nk=1", &format!("{}=1", "a".repeat(101))] {
            assert_eq!(Protocols::parse(text), Err(Error::ProtocolNameBad), "{text}");
        }
        for text in ["Link=64", "Link=5-3", "Link=1,", "Link=,1", "Link=+1", "Link=1-", "Link=-1", "Link=1-2-3", "L=x"]
        {
            assert_eq!(Protocols::parse(text), Err(Error::ProtocolVersionBad), "{text}");
        }
        assert!(Protocols::parse(&format!("{}=1", "a".repeat(100))).unwrap().names_unknown());
    }

    proptest! {
        #[test]
        fn any_set_of_versions_reads_back(versions in any::<[u64; 13]>()) {
            let list = Protocols { versions, unknown: false };
            prop_assert_eq!(Protocols::parse(&list.to_string()), Ok(list));
        }

        #[test]
        fn no_text_panics(text in "[A-Za-z=,0-9 -]{0,40}") {
            fuzz_protover(text.as_bytes());
        }
    }
}
