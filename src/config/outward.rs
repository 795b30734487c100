//! The proxy that the user wants all relays reached through, if he wants one.
//!
//! Its options. Which of them may stand together is `conflicts.rs`'s to say. Speaks to nobody (`proxy/outward.rs`). Called
//! by `mod.rs`. Spec: tor(1). C tor: `options_validate_cb` in app/config/config.c.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use super::values::Wanted;
use super::{Complaint, Reader};

/// The usual ports. C tor's.
const SOCKS_PORT: u16 = 1080;
const HTTPS_PORT: u16 = 443;
/// The longest name and password, by RFC 1929.
const MAX_FIELD_LEN: usize = 255;
/// The longest that HTTP is told. C tor: "must be < 512".
const MAX_AUTHENTICATOR_LEN: usize = 511;

/// Somebody who connects for us.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Where.
    pub at: SocketAddr,
    /// How it is asked.
    pub language: Language,
}

/// How a proxy is asked.
#[derive(Clone, PartialEq, Eq)]
pub enum Language {
    /// By SOCKS4, which knows no IPv6.
    Socks4,
    /// By SOCKS5, perhaps with a name and a password.
    Socks5(Option<(String, String)>),
    /// By HTTP CONNECT, perhaps with `NAME:PASSWORD`.
    Https(Option<String>),
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy {{ at: {}, .. }}", self.at)
    }
}

impl Reader<'_> {
    /// Differs: C tor looks up a name, with whatever the system asks.
    pub(super) fn proxy(&mut self) -> Result<Option<Proxy>, Complaint> {
        let at = |port| move |text: &str| address(text, port);
        let socks4 = self.given_or_none("Socks4Proxy", at(SOCKS_PORT))?;
        let socks5 = self.given_or_none("Socks5Proxy", at(SOCKS_PORT))?;
        let https = self.given_or_none("HTTPSProxy", at(HTTPS_PORT))?;
        let credentials = self.credentials()?;
        let authenticator = self.given_or_none("HTTPSProxyAuthenticator", |text| match text.len() {
            0..=MAX_AUTHENTICATOR_LEN => Ok(text.to_owned()),
            _ => Err(Wanted::Other("at most 511 bytes")),
        })?;
        let all = [
            (socks4, Language::Socks4),
            (socks5, Language::Socks5(credentials)),
            (https, Language::Https(authenticator)),
        ];
        let mut given = all.into_iter().filter_map(|(at, language)| Some(Proxy { at: at?, language }));
        // Of more than one, `conflicts.rs` complains.
        Ok(given.next())
    }

    /// Both or none, of which `conflicts.rs`'sees to it. C tor: of 1 to 255 bytes.
    fn credentials(&mut self) -> Result<Option<(String, String)>, Complaint> {
        let field = |text: &str| match text.len() {
            1..=MAX_FIELD_LEN => Ok(text.to_owned()),
            _ => Err(Wanted::Other("1 to 255 bytes")),
        };
        let user = self.given_or_none("Socks5ProxyUsername", field)?;
        let password = self.given_or_none("Socks5ProxyPassword", field)?;
        Ok(user.zip(password))
    }
}

/// `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
fn address(text: &str, usual: u16) -> Result<SocketAddr, Wanted> {
    if let Ok(mut address) = text.parse::<SocketAddr>() {
        // C tor: no port is the usual one.
        if address.port() == 0 {
            address.set_port(usual);
        }
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, usual)).map_err(|_| WANTED)
}

const WANTED: Wanted = Wanted::Other("an address, perhaps with a port (names are not looked up outside of Tor)");

#[cfg(test)]
mod tests {
    use super::super::{Config, Settings};
    use super::*;

    fn proxy(text: &str) -> Result<Option<Proxy>, String> {
        let mut settings = Settings::new();
        settings.add_text("torrc", text).unwrap();
        Config::of(&settings).map(|(config, _)| config.links.proxy).map_err(|complaint| complaint.to_string())
    }

    #[test]
    fn a_proxy_is_read_with_its_usual_port_and_who_asks_it() {
        let both = Some(("me".to_owned(), "secret".to_owned()));
        for (text, at, language) in [
            ("Socks4Proxy 192.0.2.1", "192.0.2.1:1080", Language::Socks4),
            ("Socks5Proxy 192.0.2.1:9", "192.0.2.1:9", Language::Socks5(None)),
            ("Socks5Proxy 192.0.2.1:0", "192.0.2.1:1080", Language::Socks5(None)),
            ("Socks5Proxy [2001:db8::1]", "[2001:db8::1]:1080", Language::Socks5(None)),
            (
                "Socks5Proxy 127.0.0.1\nSocks5ProxyUsername me\nSocks5ProxyPassword secret",
                "127.0.0.1:1080",
                Language::Socks5(both),
            ),
            ("HTTPSProxy [::1]:8080", "[::1]:8080", Language::Https(None)),
            (
                "HTTPSProxy 192.0.2.1\nHTTPSProxyAuthenticator me:secret",
                "192.0.2.1:443",
                Language::Https(Some("me:secret".to_owned())),
            ),
        ] {
            assert_eq!(proxy(text), Ok(Some(Proxy { at: at.parse().unwrap(), language })), "{text}");
        }
        assert_eq!(proxy(""), Ok(None));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, expected) in [
            ("Socks5Proxy example.com", "torrc:1: Socks5Proxy wants an address"),
            ("Socks4Proxy 192.0.2.1\nHTTPSProxy 192.0.2.1", "torrc:1: Socks4Proxy wants to be the only proxy"),
            ("Socks5ProxyUsername me", "torrc:1: Socks5ProxyUsername wants Socks5ProxyPassword"),
            ("Socks5ProxyPassword me", "torrc:1: Socks5ProxyPassword wants Socks5ProxyUsername"),
        ] {
            let complaint = proxy(text).unwrap_err();
            assert!(complaint.starts_with(expected), "{complaint}");
        }
        let long = proxy(&format!("HTTPSProxyAuthenticator {}", "a".repeat(512))).unwrap_err();
        assert!(long.starts_with("torrc:1: HTTPSProxyAuthenticator wants at most 511 bytes"), "{long}");
    }
}
