//! Whom we believe, and whom we ask first: the directory authorities and the fallback list,
//! built in or as the user's configuration has them.
//!
//! Only identities are believed; addresses are where to try. Called by `client`, which hands
//! the lines of `DirAuthority` and `FallbackDir` over, by `consensus` by way of it, and by the
//! tests. Spec: dir-spec, "Directory authorities"; dir-list-spec; C tor: `config.c`.

mod fallbacks;

use core::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use super::Error;
use super::consensus::is_nickname;
use crate::base::{RelayIds, RsaId, text};

/// An authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// What it is called.
    pub nickname: Option<String>,
    /// The identity whose signing keys sign consensuses; none if it does not vote.
    pub v3_identity: Option<RsaId>,
    /// Its identity as a relay.
    pub rsa: RsaId,
    /// Its address, with the port of its directory.
    pub ipv4: SocketAddrV4,
    /// The port where it speaks Tor.
    pub or_port: Option<u16>,
    /// Its address of IPv6, with the port where it speaks Tor.
    pub ipv6: Option<SocketAddrV6>,
    /// Whether it is an authority for bridges.
    pub is_bridge: bool,
}

impl Authority {
    /// Reads what follows `DirAuthority` on its line. C tor: flags that it does not know, and
    /// bad values of some that it does, cost only themselves.
    pub fn parse(line: &str) -> Result<Authority, Error> {
        let mut words = line.split_whitespace().peekable();
        let nickname = words.next_if(|word| is_nickname(word)).map(str::to_owned);
        let mut flags = Flags::default();
        while let Some(flag) = words.next_if(|word| !word.starts_with(|c: char| c.is_ascii_digit())) {
            flags.read(flag)?;
        }
        let address = words.next().and_then(|word| word.parse().ok());
        let ipv4 = address.filter(|address: &SocketAddrV4| address.port() != 0);
        let fingerprint: String = words.collect();
        let rsa = text::hex_array(&fingerprint).map(RsaId);
        let (Some(ipv4), Some(rsa)) = (ipv4, rsa) else { return Err(Error::AuthorityLineMalformed) };
        let Flags { or_port, v3_identity, ipv6, is_bridge } = flags;
        Ok(Authority { nickname, v3_identity, rsa, ipv4, or_port, ipv6, is_bridge })
    }
}

/// The flags of an authority's line.
#[derive(Default)]
struct Flags {
    or_port: Option<u16>,
    v3_identity: Option<RsaId>,
    ipv6: Option<SocketAddrV6>,
    is_bridge: bool,
}

impl Flags {
    fn read(&mut self, flag: &str) -> Result<(), Error> {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        match &*name.to_ascii_lowercase() {
            "bridge" => self.is_bridge = true,
            "orport" => self.or_port = port(value).or(self.or_port),
            "v3ident" => self.v3_identity = text::hex_array(value).map(RsaId).or(self.v3_identity),
            "ipv6" => self.ipv6 = Some(self.ipv6.or(value.parse().ok()).ok_or(Error::AuthorityLineMalformed)?),
            _ => {}
        }
        Ok(())
    }
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|&port| port != 0 && text.bytes().all(|c| c.is_ascii_digit()))
}

/// A relay that can be asked for a first consensus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Where it speaks Tor.
    pub address: SocketAddr,
    /// And over IPv6.
    pub ipv6: Option<SocketAddrV6>,
    /// Who it must prove to be.
    pub ids: RelayIds,
}

impl Fallback {
    /// Reads what follows `FallbackDir` on its line. Weights, which C tor has for them, are all
    /// alike here, as they are in its list.
    pub fn parse(line: &str) -> Result<Fallback, Error> {
        let malformed = Error::FallbackLineMalformed;
        let (mut place, mut or_port, mut id, mut ipv6) = (None, None, None, None);
        for word in line.split_whitespace() {
            match word.split_once('=') {
                None if place.is_some() => return Err(malformed),
                None => place = Some(word),
                Some(("orport", value)) => or_port = Some(port(value).ok_or(malformed)?),
                Some(("id", value)) => id = Some(RsaId(text::hex_array(value).ok_or(malformed)?)),
                Some((name, value)) if name.eq_ignore_ascii_case("ipv6") => {
                    ipv6 = ipv6.or(Some(value.parse().map_err(|_| malformed)?));
                }
                Some(_) => {}
            }
        }
        let place = place.ok_or(malformed)?;
        // A port here is the directory's, and not used.
        let ip = place.parse().or_else(|_| place.parse().map(|address: SocketAddr| address.ip()));
        let ip = ip.map_err(|_| malformed)?;
        let rsa = id.filter(|id| !id.is_zero()).ok_or(malformed)?;
        let ids = RelayIds { rsa: Some(rsa), ed25519: None };
        Ok(Fallback { address: SocketAddr::new(ip, or_port.ok_or(malformed)?), ipv6, ids })
    }
}

/// The authorities of the public network. C tor 0.4.9.11: `src/app/config/auth_dirs.inc`.
pub fn built_in() -> Vec<Authority> {
    BUILT_IN.iter().filter_map(|line| Authority::parse(line).ok()).collect()
}

/// The identities that sign consensuses, of those that have one.
pub fn v3_identities(authorities: &[Authority]) -> Vec<RsaId> {
    authorities.iter().filter_map(|authority| authority.v3_identity).collect()
}

/// The fallback list of the public network.
pub fn built_in_fallbacks() -> impl Iterator<Item = Fallback> {
    fallbacks::all()
}

const BUILT_IN: [&str; 10] = [
    "moria1 orport=9201 v3ident=F533C81CEF0BC0267857C99B2F471ADF249FA232 \
     128.31.0.39:9231 1A25C6358DB91342AA51720A5038B72742732498",
    "tor26 orport=443 v3ident=2F3DF9CA0E5D36F2685A2DA67184EB8DCB8CBA8C ipv6=[2a02:16a8:662:2203::1]:443 \
     217.196.147.77:80 FAA4BCA4A6AC0FB4CA2F8AD5A11D9E122BA894F6",
    "dizum orport=443 v3ident=E8A9C45EDE6D711294FADF8E7951F4DE6CA56B58 \
     45.66.35.11:80 7EA6EAD6FD83083C538F44038BBFA077587DD755",
    "Serge orport=9001 bridge 66.111.2.131:9030 BA44A889E64B93FAA2B114E02C2A279A8555C533",
    "gabelmoo orport=443 v3ident=ED03BB616EB2F60BEC80151114BB25CEF515B226 ipv6=[2001:638:a000:4140::ffff:189]:443 \
     131.188.40.189:80 F2044413DAC2E02E3D6BCF4735A19BCA1DE97281",
    "dannenberg orport=443 v3ident=0232AF901C31A04EE9848595AF9BB7620D4C5B2E ipv6=[2001:678:558:1000::244]:443 \
     193.23.244.244:80 7BE683E65D48141321C5ED92F075C55364AC7123",
    "maatuska orport=80 v3ident=49015F787433103580E3B66A1707A00E60F2D15B ipv6=[2001:67c:289c::9]:80 \
     171.25.193.9:443 BD6A829255CB08E66FBE7D3748363586E46B3810",
    "longclaw orport=443 v3ident=23D15D965BC35114467363C165C4F724B64B4F66 \
     199.58.81.140:80 74A910646BCEEFBCD2E874FC1DC997430F968145",
    "bastet orport=443 v3ident=27102BC123E7AF1D4741AE047E160C91ADC76B21 ipv6=[2620:13:4000:6000::1000:118]:443 \
     204.13.164.118:80 24E2F139121D4394C54B5BCC368B3B411857C413",
    "faravahar orport=443 v3ident=70849B868D606BAECFB6128C5E3D782029AA394F \
     216.218.219.41:80 E3E42D35F801C9D5AB23584E0025D56FE2B33396",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Ed25519Id;

    #[test]
    fn nine_authorities_sign_and_one_is_for_bridges() {
        let all = built_in();
        assert_eq!((all.len(), v3_identities(&all).len()), (10, 9));
        assert!(all.iter().all(|authority| authority.is_bridge == authority.v3_identity.is_none()));
        assert!(all.iter().all(|authority| authority.or_port.is_some() && authority.nickname.is_some()));
        assert_eq!(all.iter().filter(|authority| authority.ipv6.is_some()).count(), 5);
        let maatuska = all.iter().find(|authority| authority.nickname.as_deref() == Some("maatuska")).unwrap();
        assert_eq!((maatuska.ipv4.to_string(), maatuska.or_port), ("171.25.193.9:443".to_owned(), Some(80)));
        // Arti 2.7, tor-netdoc, `testdata-live`: all nine signed the real consensus of 2026-07-27.
        let live = include_str!("testdata/live-consensus.txt");
        for id in v3_identities(&all) {
            assert!(live.contains(&format!("\ndirectory-signature sha256 {} ", text::hex(&id.0))), "{id}");
        }
    }

    /// The first and the last of C tor's file, and one that Arti's list has too.
    #[test]
    fn the_fallback_list_is_that_of_c_tor() {
        let all: Vec<_> = built_in_fallbacks().collect();
        assert_eq!(all.len(), 200);
        let first = Fallback::parse("64.65.62.122 orport=443 id=4F067C5C488173987B568CD7245F1CA71DEE996B").unwrap();
        assert_eq!(all[0], first);
        let third = "185.183.157.214 orport=9100 id=5BDD0633E0AC09763E49641DCD1BA3AB3A21AA83 \
            ipv6=[2a03:4000:1d:b7a:782f:17ff:fef0:a708]:9100";
        let ed25519 = text::base64_array("HjGp5vQQwfR424gG0FXNDbtqb5hiKnWiIJPnV9oA58k").map(Ed25519Id);
        let mut third = Fallback::parse(third).unwrap();
        third.ids.ed25519 = ed25519;
        assert_eq!(all[2], third);
        let mut ids: Vec<_> = all.iter().map(|fallback| fallback.ids.rsa).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 200);
        assert_eq!(all.iter().filter(|fallback| fallback.ids.ed25519.is_some()).count(), 6);
        assert!(all.iter().all(|fallback| fallback.address.port() != 0));
        assert!(all.iter().filter_map(|fallback| fallback.ipv6).all(|ipv6| ipv6.port() != 0));
    }

    #[test]
    fn lines_of_authorities_read_as_c_tor_reads_them() {
        let id = "FAA4 BCA4 A6AC 0FB4 CA2F 8AD5 A11D 9E12 2BA8 94F6";
        let all = format!(
            "tor26 orport=443 v3ident=2F3DF9CA0E5D36F2685A2DA67184EB8DCB8CBA8C weight=2.5 no-v2 upload=http://x/ \
            IPv6=[::1]:443 217.196.147.77:80 {id}"
        );
        let authority = Authority::parse(&all).unwrap();
        assert_eq!(text::hex(&authority.rsa.0), id.replace(' ', ""));
        assert!(authority.v3_identity.is_some() && authority.ipv6.is_some() && !authority.is_bridge);
        let bare = Authority::parse(&format!("1.2.3.4:80 {id}")).unwrap();
        assert_eq!((bare.nickname, bare.v3_identity, bare.or_port), (None, None, None));
        let odd = Authority::parse(&format!("orport=0 v3ident=xyz what=ever 1.2.3.4:80 {id}")).unwrap();
        assert_eq!((odd.v3_identity, odd.or_port), (None, None));
        for bad in ["", "tor26", "1.2.3.4:80 x", "1.2.3.4 x", "1.2.3.4:0", "[::1]:80", "ipv6=1.2.3.4:5 1.2.3.4:80"] {
            assert_eq!(Authority::parse(&format!("{bad} {id}")).err(), Some(Error::AuthorityLineMalformed), "{bad}");
        }
        assert_eq!(Authority::parse("1.2.3.4:80 FAA4").err(), Some(Error::AuthorityLineMalformed));
    }

    #[test]
    fn lines_of_fallbacks_read_as_c_tor_reads_them() {
        let id = "id=4F067C5C488173987B568CD7245F1CA71DEE996B";
        let one = Fallback::parse(&format!("192.0.2.1:80 orport=443 {id} weight=3 what=ever")).unwrap();
        assert_eq!(one.address.to_string(), "192.0.2.1:443");
        let six = Fallback::parse(&format!("{id} [::1]:80 orport=443 ipv6=[::2]:1")).unwrap();
        assert_eq!(
            (six.address.to_string(), six.ipv6.unwrap().to_string()),
            ("[::1]:443".to_owned(), "[::2]:1".to_owned())
        );
        for bad in [
            "",
            "192.0.2.1",
            "192.0.2.1 orport=0",
            "192.0.2.1 orport=x",
            "orport=443",
            "x orport=443",
            "192.0.2.1 192.0.2.2 orport=443",
            "192.0.2.1 orport=443 ipv6=1.2.3.4:5",
            "192.0.2.1 orport=443 id=00",
        ] {
            assert_eq!(Fallback::parse(&format!("{bad} {id}")).err(), Some(Error::FallbackLineMalformed), "{bad}");
        }
        let zero = format!("192.0.2.1 orport=443 id={}", "0".repeat(40));
        assert_eq!(Fallback::parse(&zero).err(), Some(Error::FallbackLineMalformed));
    }
}
