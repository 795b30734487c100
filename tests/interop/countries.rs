//! Where addresses are: by the files of Debian's tor-geoipdb, as C tor says it, and what our
//! program does with it.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use cepa::app::countries;
use cepa::internal::base::random::Entropy;
use cepa::lab::seed::SeededEntropy;

use super::lab::Guest;
use super::program::{self, CEPA};
use super::tor::{Client, Folder};

pub const TOR: &str = "countries_are_those_that_tor_names";
/// Where Debian has it, which is where both programs look for it.
const FILE: &str = "/usr/share/tor/geoip";
const ADDRESSES: usize = 2000;
const AUTHORITY: &str = "DirAuthority test orport=1 v3ident=14C131DFC5C6F93646BE72FA1401C02A8DF2E8B4 127.0.0.1:1 \
                         0123456789ABCDEF0123456789ABCDEF01234567";

/// Whether Debian's file is here.
pub fn has_file() -> bool {
    Path::new(FILE).exists()
}

pub fn countries_are_those_that_tor_names() {
    let folder = Folder::with_data();
    // C tor makes no socket where others could list it.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    let socket = folder.path().join("control");
    let lines = format!("{AUTHORITY}\nDisableNetwork 1\nControlSocket {}\n", socket.display());
    let tor = Client::start(folder, &lines);
    tor.until(&["Opened Control listener"]);
    let mut control = BufReader::new(UnixStream::connect(&socket).unwrap());
    let mut ask = |line: &str| {
        control.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let mut all = Vec::new();
        loop {
            let mut line = String::new();
            control.read_line(&mut line).unwrap();
            let is_last = line.get(3..4) == Some(" ");
            all.push(line.trim_end().to_owned());
            if is_last {
                return all;
            }
        }
    };
    assert_eq!(ask("AUTHENTICATE"), ["250 OK"]);
    let mut entropy = SeededEntropy::new(1, "addresses");
    let mut addresses: Vec<Ipv4Addr> = (0..ADDRESSES).map(|_| address(&mut entropy)).collect();
    addresses.extend([Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::LOCALHOST]);
    addresses.sort_unstable();
    let finding = countries::find(FILE, &addresses).unwrap();
    assert_eq!((finding.bad_lines, finding.found.len()), (0, addresses.len()));
    for (address, country) in finding.found {
        let said = ask(&format!("GETINFO ip-to-country/{address}"));
        assert_eq!(said[0], format!("250-ip-to-country/{address}={country}"));
    }
}

fn address(entropy: &mut SeededEntropy) -> Ipv4Addr {
    let mut bytes = [0; 4];
    entropy.fill(&mut bytes);
    Ipv4Addr::from(bytes)
}

/// All relays of the lab are on this machine, which a file of ours puts somewhere.
pub fn countries_are_used_as_the_file_says() {
    let places = Folder::new();
    let file = places.path().join("geoip");
    fs::write(&file, "# ours\n2130706432,2147483647,AA\n").unwrap();
    let (mut town, lines) = program::lab();
    let options = |file: &Path, list: &str| format!("{lines}\nGeoIPFile {}\n{list}\n", file.display());
    let start = |lines: &str| program::start(&mut Command::new(CEPA), Folder::with_data(), lines);
    for list in ["ExitNodes {aa}\nExcludeNodes {bb}", "EntryNodes {AA}"] {
        let guest = Guest::with(start(&options(&file, list)), Some(town));
        guest.fetches(1000);
        town = guest.part().1.unwrap();
    }
    let nobody = start(&options(&file, "ExitNodes {bb}"));
    nobody.until(&["No address is in these countries: bb."]);
    nobody.until(&["Of all relays that are running, ExitNodes"]);
    // Whoever is nowhere that is known may be where nobody should be.
    let blind = start(&options(&places.path().join("none"), "ExcludeNodes {bb}"));
    blind.until(&["none cannot be read"]);
    drop((nobody, blind));
    // Nor does it hang at its end on what it waits for there.
    let pipe = places.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut stuck = start(&options(&pipe, "ExcludeNodes {bb}"));
    stuck.until(&["Bootstrapped 45%"]);
    assert_eq!(stuck.end(), Some(0));
    let guest = Guest::with(
        start(&options(&places.path().join("none"), "ExcludeNodes {bb}\nGeoIPExcludeUnknown 0")),
        Some(town),
    );
    guest.fetches(1000);
}
