//! Made-up networks, for tests of what stands on a `NetDir`.
//!
//! Nothing of it is signed, and nothing in a client can name it. Called by tests of this floor
//! and of `path`. Spec: none.

use core::net::{Ipv4Addr, SocketAddrV6};

use super::consensus::tests::unproven;
use super::microdesc::Microdesc;
use super::{NetDir, RelayIndex};
use crate::base::{RsaId, text};
use crate::crypto::kdf;

/// One relay, before it is written down.
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    pub(crate) flags: String,
    pub(crate) bandwidth: u32,
    pub(crate) ipv4: Ipv4Addr,
    pub(crate) ipv6: Option<SocketAddrV6>,
    pub(crate) protocols: &'static str,
    /// Lines of its microdescriptor.
    pub(crate) lines: String,
    pub(crate) has_ntor: bool,
    pub(crate) has_microdesc: bool,
}

impl Sketch {
    /// One of that bandwidth, with these flags beside those that make it usable.
    pub(crate) fn new(flags: &str, bandwidth: u32) -> Sketch {
        Sketch {
            flags: format!("Running Valid {flags}"),
            bandwidth,
            ipv4: Ipv4Addr::UNSPECIFIED,
            ipv6: None,
            protocols: "Link=4",
            lines: String::new(),
            has_ntor: true,
            has_microdesc: true,
        }
    }

    /// With these lines in its microdescriptor.
    pub(crate) fn with(mut self, lines: &str) -> Sketch {
        self.lines.push_str(lines);
        self
    }

    /// At that address.
    pub(crate) fn at(mut self, ipv4: [u8; 4]) -> Sketch {
        self.ipv4 = ipv4.into();
        self
    }

    /// With that address of IPv6 as well.
    pub(crate) fn and_at(mut self, ipv6: &str) -> Sketch {
        self.ipv6 = Some(ipv6.parse().unwrap());
        self
    }
}

/// The identity of a relay; they ascend.
pub(crate) fn id(number: usize) -> RsaId {
    let mut id = [0xA5; 20];
    id[..2].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
    RsaId(id)
}

pub(crate) fn index(number: usize) -> RelayIndex {
    RelayIndex(u16::try_from(number).unwrap())
}

/// A `family` line of these relays.
pub(crate) fn family(members: &[usize]) -> String {
    format!("family{}\n", members.iter().map(|&number| format!(" {}", id(number))).collect::<String>())
}

/// A network of them, each at its number; one without an address has one of its own.
pub(crate) fn net(params: &str, weights: &str, relays: &[Sketch]) -> NetDir {
    let mut text = String::from(
        "network-status-version 3 microdesc\nvote-status consensus\nvalid-after 2026-01-01 00:00:00\n\
        fresh-until 2026-01-01 01:00:00\nvalid-until 2026-01-01 03:00:00\nknown-flags Exit Guard\n",
    );
    if !params.is_empty() {
        text.push_str(&format!("params {params}\n"));
    }
    let mut microdescs = Vec::new();
    for (number, relay) in relays.iter().enumerate() {
        let microdesc = microdesc(number, relay);
        let digest = text::base64_unpadded(&kdf::sha256(&[microdesc.as_bytes()]));
        let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
        let ipv4 = if relay.ipv4.is_unspecified() { [high.max(1), low, high, 9].into() } else { relay.ipv4 };
        text.push_str(&format!(
            "r n{number} {} 2038-01-01 00:00:00 {ipv4} 9001 0\n",
            text::base64_unpadded(&id(number).0)
        ));
        if let Some(ipv6) = relay.ipv6 {
            text.push_str(&format!("a {ipv6}\n"));
        }
        text.push_str(&format!(
            "m {digest}\ns {}\npr {}\nw Bandwidth={}\n",
            relay.flags, relay.protocols, relay.bandwidth
        ));
        microdescs.push(microdesc);
    }
    text.push_str("directory-footer\n");
    if !weights.is_empty() {
        text.push_str(&format!("bandwidth-weights {weights}\n"));
    }
    text.push_str("directory-signature sha1 x y\n-----BEGIN SIGNATURE-----\n-----END SIGNATURE-----\n");
    let mut dir = NetDir::new(unproven(&text));
    for (relay, text) in relays.iter().zip(&microdescs).filter(|(relay, _)| relay.has_microdesc) {
        assert!(dir.insert(&Microdesc::parse(text.as_bytes()).unwrap()), "{relay:?}");
    }
    dir
}

fn microdesc(number: usize, relay: &Sketch) -> String {
    let key = kdf::sha256(&[&number.to_be_bytes()]);
    let ntor = if relay.has_ntor { format!("ntor-onion-key {}\n", text::base64_unpadded(&key)) } else { String::new() };
    format!("onion-key\n{ntor}{}id x {number}\n", relay.lines)
}
