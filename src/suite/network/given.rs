//! A test network that runs already, as the lines of a torrc name it.
//!
//! No client can be sent to the public network by them: there must be authorities, each on the
//! loopback address, and every word of a line must be one that is known to dial nobody else. Clients
//! are told what was understood, in lines made anew, and never the text itself, which another
//! program might read otherwise. Called by `mod.rs`. Spec: none; C tor: the manual, "DirAuthority".

use core::net::{SocketAddr, SocketAddrV4};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Network;

/// The longest file that is read; ours, a hundred times what names a network.
const MAX_LEN: u64 = 256 * 1024;
/// The flags of an authority that name no address.
const FLAGS: [&str; 5] = ["no-v2", "v2", "no-hs", "hs", "bridge"];

/// Reads it.
pub fn read(path: &Path) -> Result<Network, String> {
    let complain = |why: &dyn core::fmt::Display| format!("{}: {why}", path.display());
    let mut text = Vec::new();
    // One byte more tells that there are more; some files have no end, and tell no length.
    let read = File::open(path).and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut text));
    if read.map_err(|error| complain(&error))? as u64 > MAX_LEN {
        return Err(complain(&format_args!("longer than {MAX_LEN} bytes")));
    }
    let text = String::from_utf8(text).map_err(|error| complain(&error))?;
    let torrc = check(&text).map_err(|why| complain(&why))?;
    let name = ("name".to_owned(), format!("torrc={}", path.display()).into());
    Ok(Network { facts: vec![name], torrc, arti: None, processes: Vec::new(), _folder: None })
}

/// The lines that name the same network, if it is on this machine and they say nothing else.
fn check(text: &str) -> Result<String, String> {
    let (mut authorities, mut is_test) = (String::new(), false);
    for line in text.lines() {
        if line.trim_end().ends_with('\\') {
            return Err("a backslash at the end of a line: only whole lines are taken".to_owned());
        }
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let Some((name, values)) = words.split_first() else { continue };
        match name.to_ascii_lowercase().as_str() {
            "dirauthority" => {
                authority(values)?;
                authorities += &format!("DirAuthority {}\n", values.join(" "));
            }
            "testingtornetwork" => is_test = *values == ["1"],
            _ => return Err(format!("{name:?}: only DirAuthority and TestingTorNetwork are taken from such a file")),
        }
    }
    match (authorities.is_empty(), is_test) {
        (true, _) => Err("no DirAuthority, so that clients would go to the public network".to_owned()),
        (_, false) => Err("no \"TestingTorNetwork 1\"".to_owned()),
        _ => Ok(format!("TestingTorNetwork 1\n{authorities}")),
    }
}

/// Whether these are a name, flags, an address and a fingerprint, and nobody is far away.
fn authority(words: &[&str]) -> Result<(), String> {
    let is_hex = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_nickname = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_known = |(number, word): (usize, &&str)| match word.split_once('=') {
        Some(("orport", port)) => port.parse::<u16>().is_ok(),
        Some(("v3ident", identity)) => is_hex(identity),
        Some(("weight", weight)) => weight.parse::<f64>().is_ok(),
        Some(("ipv6", address)) => address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback()),
        Some(_) => false,
        // C tor: what begins with a digit is the address, and no name.
        None => {
            FLAGS.contains(word) || number == 0 && is_nickname(word) && !word.starts_with(|c: char| c.is_ascii_digit())
        }
    };
    let address = |word: &str| word.parse::<SocketAddrV4>().ok();
    let at = words.iter().position(|word| address(word).is_some()).unwrap_or(words.len());
    let (flags, rest) = words.split_at(at);
    let is_near = rest.first().and_then(|word| address(word)).is_some_and(|address| address.ip().is_loopback());
    if !is_near {
        return Err("a DirAuthority is not on the loopback address, and only such are told to a client".to_owned());
    }
    let strange = flags.iter().enumerate().find(|it| !is_known(*it)).map(|(_, word)| word);
    match strange.or(rest.iter().skip(1).find(|word| !is_hex(word))) {
        Some(word) => Err(format!("a DirAuthority has {word:?}, which is not known to stay on this machine")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# ours\nTestingTorNetwork 1\n\nDirAuthority a orport=5 v3ident=AA 127.0.0.1:7 BB\n";

    #[test]
    fn only_a_test_network_on_this_machine_is_taken() {
        let told = Ok("TestingTorNetwork 1\nDirAuthority a orport=5 v3ident=AA 127.0.0.1:7 BB\n".to_owned());
        assert_eq!(check(GOOD), told);
        assert_eq!(check(&GOOD.replace('\n', " # of ours\r\n").replace("DirA", "  dirA")), told);
        let full = "DirAuthority no-v2 orport=5 ipv6=[::1]:6 hs weight=1.5 127.0.0.1:7 AAAA BBBB\n";
        assert_eq!(check(&format!("{full}TestingTorNetwork 1")), Ok(format!("TestingTorNetwork 1\n{full}")));
        for bad in [
            String::new(),
            "TestingTorNetwork 1\n".to_owned(),
            GOOD.replace("TestingTorNetwork 1", ""),
            format!("{GOOD}TestingTorNetwork 0\n"),
            GOOD.replace("127.0.0.1", "192.0.2.1"),
            GOOD.replace("127.0.0.1:7", "localhost"),
            GOOD.replace("127.0.0.1:7", "ipv6=[2001:db8::1]:9 127.0.0.1:7"),
            format!("{GOOD}DirAuthority b orport=5 v3ident=AA 192.0.2.1:7 BB\n"),
        ] {
            assert!(check(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_other_address_is_smuggled_by() {
        let far = "DirAuthority b orport=5 v3ident=AA 192.0.2.1:7 BB\n";
        for name in ["", "+", "/", "\"", "'", "\u{a0}", "\u{c}", "\u{b}", "\r"] {
            assert!(check(&format!("{GOOD}{name}{far}")).is_err(), "{name:?}");
        }
        for end in ["\\", "\\ ", " \\\r"] {
            for line in ["# ours", "TestingTorNetwork 1", "DirAuthority a orport=5 v3ident=AA 127.0.0.1:7 BB"] {
                assert!(check(&format!("{GOOD}{line}{end}\n{far}")).is_err(), "{line:?} {end:?}");
                assert!(check(&GOOD.replace(line, &format!("{line}{end}"))).is_err(), "{line:?} {end:?}");
            }
        }
        for line in [
            "%include /etc/tor/torrc",
            "DirServer a orport=5 127.0.0.1:7 BB",
            "FallbackDir 127.0.0.1:1 id=AA",
            "AlternateDirAuthority a orport=5 127.0.0.1:7 BB",
            "AlternateBridgeAuthority a orport=5 127.0.0.1:7 BB",
            "UseBridges 1",
            "Bridge 192.0.2.1:7",
            "DirPort 192.0.2.1:7",
            "Socks5Proxy 192.0.2.1:7",
            "ClientTransportPlugin x exec /bin/x",
            "DataDirectory /x",
        ] {
            assert!(check(&format!("{GOOD}{line}\n")).unwrap_err().contains("are taken"), "{line}");
        }
        // What else may stand in such a line; what a word is to us need not be that to all.
        for word in [
            "192.0.2.1",
            "192.0.2.1:07",
            "3221225985:7",
            "0xc0000201:7",
            "[2001:db8::1]:7",
            "ipv6=192.0.2.1:7",
            "upload=http://192.0.2.1:7/",
            "download=http://192.0.2.1:7/",
            "vote=http://192.0.2.1:7/",
            "relay.example:7",
            "\"a",
            "a\u{a0}192.0.2.1:7",
        ] {
            for place in ["a orport", " 127", " BB"] {
                let line = GOOD.replace(place, &format!("{}{word} {}", &place[..1], &place[1..]));
                assert!(check(&line).is_err(), "{line}");
            }
        }
    }

    #[test]
    fn a_file_without_an_end_is_read_to_a_bound() {
        let complaint = read(Path::new("/dev/zero")).err().unwrap();
        assert_eq!(complaint, format!("/dev/zero: longer than {MAX_LEN} bytes"));
        assert!(read(Path::new("/nowhere/x")).err().unwrap().starts_with("/nowhere/x: "));
    }
}
