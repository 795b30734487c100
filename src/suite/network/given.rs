//! A test network that runs already, as the lines of a torrc name it.
//!
//! Looks at the lines so that no client can be sent to the public network by them: there must be
//! authorities, each on the loopback address, and no lines from elsewhere. Called by `mod.rs`. Spec:
//! none; C tor: the manual, "DirAuthority".

use core::net::SocketAddr;
use std::path::Path;

use super::Network;

/// The longest file that is read; ours, a hundred times what names a network.
const MAX_LEN: u64 = 256 * 1024;

/// Reads it.
pub fn read(path: &Path) -> Result<Network, String> {
    let complain = |why: &dyn core::fmt::Display| format!("{}: {why}", path.display());
    let length = std::fs::metadata(path).map_err(|error| complain(&error))?.len();
    if length > MAX_LEN {
        return Err(complain(&format_args!("longer than {MAX_LEN} bytes")));
    }
    let lines = std::fs::read_to_string(path).map_err(|error| complain(&error))?;
    check(&lines).map_err(|why| complain(&why))?;
    let name = ("name".to_owned(), format!("torrc={}", path.display()).into());
    Ok(Network { facts: vec![name], torrc: format!("{lines}\n"), arti: None, processes: Vec::new(), _folder: None })
}

/// Whether these lines name a network on this machine and nothing else.
fn check(lines: &str) -> Result<(), String> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut authorities = 0;
    let mut is_test = false;
    for line in lines.lines().map(words) {
        let Some(name) = line.first().filter(|name| !name.starts_with('#')) else { continue };
        match name.to_ascii_lowercase().as_str() {
            "dirauthority" => {
                let address = |word: &String| word.trim_start_matches("ipv6=").parse::<SocketAddr>().ok();
                let addresses: Vec<SocketAddr> = line.iter().filter_map(address).collect();
                if addresses.is_empty() || !addresses.iter().all(|address| address.ip().is_loopback()) {
                    let why = "a DirAuthority is not on the loopback address, and only such are told to a client";
                    return Err(why.to_owned());
                }
                authorities += 1;
            }
            "testingtornetwork" => is_test = line.get(1).is_some_and(|value| value == "1"),
            other => {
                return Err(format!("{other}: only DirAuthority and TestingTorNetwork are taken from such a file"));
            }
        }
    }
    match (authorities, is_test) {
        (0, _) => Err("no DirAuthority, so that clients would go to the public network".to_owned()),
        (_, false) => Err("no \"TestingTorNetwork 1\"".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# ours\nTestingTorNetwork 1\n\nDirAuthority a orport=5 v3ident=AA 127.0.0.1:7 BB\n";

    #[test]
    fn only_a_test_network_on_this_machine_is_taken() {
        assert_eq!(check(GOOD), Ok(()));
        for bad in [
            String::new(),
            "TestingTorNetwork 1\n".to_owned(),
            GOOD.replace("TestingTorNetwork 1", ""),
            GOOD.replace("127.0.0.1", "192.0.2.1"),
            GOOD.replace("127.0.0.1:7", "localhost"),
            GOOD.replace("127.0.0.1:7", "ipv6=[2001:db8::1]:9 127.0.0.1:7"),
            format!("{GOOD}%include /etc/tor/torrc\n"),
            format!("{GOOD}FallbackDir 127.0.0.1:1 id=AA\n"),
            format!("{GOOD}DirAuthority b orport=5 v3ident=AA 192.0.2.1:7 BB\n"),
        ] {
            assert!(check(&bad).is_err(), "{bad}");
        }
    }
}
