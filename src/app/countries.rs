//! In which country addresses are, out of the files that Debian and others ship for `tor`.
//!
//! One pass through a file for all addresses at once, with a buffer and nothing else: a file is
//! some ten megabytes, and what is looked for is a few thousand addresses. Blocks; called by
//! `driver.rs` on a thread that may. Spec: none. C tor: `geoip_load_file` and
//! `geoip_parse_entry` in lib/geoip/geoip.c, which keep all of the file.

use core::net::Ipv4Addr;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};

use crate::base::country::Country;

/// What of a file is in memory at once; ours.
const BUFFER_LEN: usize = 64 * 1024;
/// A line that is longer is none. C tor: it reads so much at once.
const MAX_LINE_LEN: u64 = 512;
/// No more of a file is read; ours, six times what there is today.
const MAX_FILE_LEN: u64 = 64 * 1024 * 1024;

/// What a file says.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where each address is that was asked for, in their order.
    pub found: Vec<(Ipv4Addr, Country)>,
    /// All countries of the file.
    pub known: BTreeSet<Country>,
    /// How many lines say nothing.
    pub bad_lines: usize,
}

/// Looks addresses up, which ascend.
pub fn find(path: &str, addresses: &[Ipv4Addr]) -> io::Result<Finding> {
    // What is no file may never answer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut lines = BufReader::with_capacity(BUFFER_LEN, File::open(path)?.take(MAX_FILE_LEN));
    let mut finding = nowhere(addresses);
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.by_ref().take(MAX_LINE_LEN).read_until(b'\n', &mut line)? == 0 {
            return Ok(finding);
        }
        finding.take(line.trim_ascii());
    }
}

/// That nothing is known of addresses.
pub fn nowhere(addresses: &[Ipv4Addr]) -> Finding {
    let found = addresses.iter().map(|address| (*address, Country::UNKNOWN)).collect();
    Finding { found, known: BTreeSet::new(), bad_lines: 0 }
}

impl Finding {
    /// Takes a line of the file.
    fn take(&mut self, line: &[u8]) {
        if line.is_empty() || line.starts_with(b"#") {
            return;
        }
        let Some((low, high, country)) = core::str::from_utf8(line).ok().and_then(range) else {
            self.bad_lines += 1;
            return;
        };
        self.known.insert(country);
        let from = self.found.partition_point(|(address, _)| *address < low);
        let here = self.found.iter_mut().skip(from).take_while(|(address, _)| *address <= high);
        here.for_each(|(_, found)| *found = country);
    }
}

/// `16777216,16777471,AU`, each perhaps in quotes, and with more behind it.
fn range(line: &str) -> Option<(Ipv4Addr, Ipv4Addr, Country)> {
    let mut parts = line.split(',').map(|part| part.trim_matches('"'));
    let mut address = || Some(Ipv4Addr::from_bits(parts.next()?.parse().ok()?));
    let (low, high) = (address()?, address()?);
    Some((low, high, Country::parse(parts.next()?)?))
}

#[cfg(test)]
mod tests {
    use super::super::disk::tests::Scratch;
    use super::*;

    fn found(text: &str, addresses: &[&str]) -> (Vec<String>, usize) {
        let scratch = Scratch::new("countries");
        fs::create_dir_all(&scratch.0).unwrap();
        let path = scratch.0.join("geoip");
        fs::write(&path, text).unwrap();
        let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let finding = find(path.to_str().unwrap(), &addresses).unwrap();
        (finding.found.iter().map(|(_, country)| country.to_string()).collect(), finding.bad_lines)
    }

    /// After `test_geoip` and its neighbours in C tor's src/test/test_geoip.c.
    #[test]
    fn addresses_are_where_a_line_says() {
        let text = "# a word\n\n5,10,AB\n\"16\",\"32\",\"XY\",\"Xylophone\"\n3221225984,3221226239,DE\r\n4294967295,4294967295,zz";
        let asked = ["0.0.0.4", "0.0.0.5", "0.0.0.10", "0.0.0.11", "0.0.0.32", "192.0.2.77", "255.255.255.255"];
        assert_eq!(found(text, &asked).0, ["??", "ab", "ab", "??", "xy", "de", "zz"]);
        assert_eq!(found(text, &asked).1, 0);
    }

    #[test]
    fn lines_that_say_nothing_are_counted() {
        let long = format!("1,{},AB\n", "9".repeat(700));
        let text = format!("1,2\n1,2,ABC\nx,2,AB\n-1,2,AB\n1,4294967296,AB\n10,5,AB\n{long}\u{e4}\n7,7,CD\n");
        let (countries, bad_lines) = found(&text, &["0.0.0.1", "0.0.0.7"]);
        assert_eq!(countries, ["??", "cd"]);
        // The long one is two, and one from high to low is a line like others.
        assert_eq!(bad_lines, 8);
    }

    #[test]
    fn no_file_is_an_error() {
        assert!(find("/nonexistent/geoip", &[]).is_err());
        assert_eq!(find("/dev/zero", &[]).unwrap_err().to_string(), "it is no regular file");
    }
}
