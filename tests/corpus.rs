//! The fuzz bodies on stable: their corpora and past crashes, then mutants of both for a while.
//!
//! Knows no coverage, so it digs less deep than `fuzz/`, whose eighteen mains call the same
//! functions. `CEPA_CORPUS_SECONDS` is how long each target is mutated (default 1), and
//! `CEPA_CORPUS_SEED` which mutants come: the same seed gives the same ones in the same order.
//! An input that makes a target panic is printed in hex, to be kept under `fuzz/crashes/`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper that fails should say where")]
#![allow(clippy::print_stdout, reason = "a number of executions is what a run is for")]
#![allow(clippy::disallowed_methods, reason = "reads its environment, and a clock for how long to go on")]

use std::fmt::Write as _;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

/// One parser under test.
struct Target {
    name: &'static str,
    /// The path of `body`, as the target's main must call it.
    path: &'static str,
    body: fn(&[u8]),
    /// What its inputs are made of that bytes at random would seldom hit.
    words: &'static [&'static [u8]],
}

/// A row of [`TARGETS`] for each name, path and words, and a test that runs it.
macro_rules! targets {
    ($($name:ident: $($part:ident)::+, $words:expr;)+) => {
        const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            path: stringify!($($part)::+),
            body: $($part)::+,
            words: $words,
        }),+];
        $(#[test]
        fn $name() {
            run(TARGETS.iter().find(|target| target.name == stringify!($name)).unwrap());
        })+
    };
}

targets! {
    cell: cepa::internal::wire::cell_msg::fuzz_cell, CELL_WORDS;
    relay_cell: cepa::internal::wire::relay::fuzz_relay_cell, CELL_WORDS;
    relay_message: cepa::internal::wire::relay_msg::fuzz_relay_message, MESSAGE_WORDS;
    netdoc: cepa::internal::wire::netdoc::fuzz_netdoc, NETDOC_WORDS;
    protover: cepa::internal::wire::protover::fuzz_protover, PROTOVER_WORDS;
    cert: cepa::internal::crypto::cert::fuzz, CERT_WORDS;
    x509: cepa::internal::crypto::x509::fuzz, X509_WORDS;
    consensus: cepa::internal::directory::consensus::fuzz, CONSENSUS_WORDS;
    microdesc: cepa::internal::directory::microdesc::fuzz, MICRODESC_WORDS;
    consdiff: cepa::internal::directory::diff::fuzz, CONSDIFF_WORDS;
    tunnel: cepa::internal::circuit::far::fuzz_tunnel, TUNNEL_WORDS;
    torrc: cepa::internal::config::torrc::fuzz_torrc, TORRC_WORDS;
    socks: cepa::internal::proxy::socks::fuzz_socks, SOCKS_WORDS;
    http_connect: cepa::internal::proxy::http_connect::fuzz, HTTP_CONNECT_WORDS;
    dns: cepa::internal::proxy::dns::fuzz, DNS_WORDS;
    natd: cepa::internal::proxy::redirected::fuzz, NATD_WORDS;
    outward: cepa::internal::proxy::outward::fuzz, OUTWARD_WORDS;
    decompress: cepa::internal::directory::decompress::fuzz, DECOMPRESS_WORDS;
    state: cepa::internal::client::state::fuzz, STATE_WORDS;
}

const NATD_WORDS: &[&[u8]] = &[b"[DEST ", b"192.0.2.1", b" 80", b"]\n", b" \n", b"\r\n", b".onion", b"65536"];
const OUTWARD_WORDS: &[&[u8]] = &[&[5, 0], &[5, 2], &[1, 0], &[5, 0, 0, 1], &[0, 90], b"HTTP/1.0 200", b"\r\n\r\n"];
const CELL_WORDS: &[&[u8]] = &[&[0x80, 0, 0, 1], &[0; 4], &[0; 16], &[4, 4, 127, 0, 0, 1], &[1, 0xFD], &[1, 0xF2]];
const MESSAGE_WORDS: &[&[u8]] =
    &[b"[::1]:80\0", b".onion:1\0", b"\xF0\0\0\0\x0E\x10", &[2, 0, 32], &[0, 6, 127, 0, 0, 1], &[2, 20], &[3, 32]];
const NETDOC_WORDS: &[&[u8]] = &[
    b"\n",
    b"opt ",
    b"@a",
    b" \t",
    b"\r\n",
    b"\0",
    b"=",
    b"AAAA\n",
    b"-----BEGIN X-----\n",
    b"-----END X-----\n",
    b"-----",
    b"\xEF\xBB\xBF",
    b"directory-signature sha256 ",
];
const PROTOVER_WORDS: &[&[u8]] = &[b"Link=", b"Relay=", b"=", b",", b"-", b" ", b"63", b"64", b"0", b"4294967296"];
const CERT_WORDS: &[&[u8]] = &[&[1, 4], &[1, 5], &[0, 32, 4, 0], &[0, 0, 9, 1], &[0xFF; 4], &[3, 1, 0, 1]];
/// Operations of four bytes: what, and three numbers; see `circuit/far.rs`.
const TUNNEL_WORDS: &[&[u8]] = &[
    &[0, 2, 0, 0],
    &[1, 0, 0, 0],
    &[2, 2, 0, 0],
    &[7, 0, 0, 255],
    &[10, 0, 0, 4],
    &[10, 0, 0, 5],
    &[10, 0, 0, 3],
    &[11, 0, 0, 100],
    &[3, 0, 0, 255],
    &[4, 0, 0, 255],
    &[12, 2, 0, 0],
];
const X509_WORDS: &[&[u8]] = &[
    &[0x30, 0x80],
    &[0x30, 0x82],
    &[0x30, 0x84],
    &[2, 1, 0],
    &[3, 1, 0],
    b"\x17\x0D700101000000Z",
    &[0xA0, 3, 2, 1, 2],
];

const CONSENSUS_WORDS: &[&[u8]] = &[
    b"\n",
    b"\nr ",
    b"\nm ",
    b"\ns ",
    b"\npr ",
    b"\ndir-source ",
    b"directory-signature ",
    b" sha256 ",
    b"opt ",
    b"65536",
];
const MICRODESC_WORDS: &[&[u8]] =
    &[b"\n", b"\nonion-key\n", b"\n@last-listed ", b"\np ", b"\nfamily $", b"-65535,", b"="];
const TORRC_WORDS: &[&[u8]] = &[b"\n", b"\\\n", b" \"", b"\"\n", b"#", b"\\x4", b"\\40", b"+", b"/", b"\r\n", b" "];
const SOCKS_WORDS: &[&[u8]] =
    &[&[5, 1, 0], &[5, 1, 2], &[4, 1, 0, 80], &[0, 0, 0, 1, 0], &[1, 0, 0], &[5, 0xF0, 0, 3], b"\x09<torS0X>0", &[0]];
const HTTP_CONNECT_WORDS: &[&[u8]] = &[
    b"CONNECT ",
    b"OPTIONS ",
    b" HTTP/1.1",
    b"\r\n",
    b"\r\n\r\n",
    b":80",
    b"[::1]",
    b"Host: localhost",
    b"Tor-Stream-Isolation: ",
    b"Tor-Family-Preference: ipv6-only",
    b"Proxy-Authorization: Basic dG9yOg==",
    b".onion",
    b"http://",
];
const DNS_WORDS: &[&[u8]] = &[
    b"\0\x01\0\0\0\0\0\0",
    b"\0\x01\0\x01",
    b"\0\x1C\0\x01",
    b"\0\x0C\0\x01",
    b"\x07in-addr\x04arpa\0",
    b"\x03ip6\x04arpa\0",
    b"\x05onion\0",
    b"\x011",
    &[0xC0, 12],
];
const CONSDIFF_WORDS: &[&[u8]] = &[b"\n", b"1", b"7", b",", b"$d\n", b"a\n", b"c\n", b"d\n", b"\n.\n", b"0a\nx\n.\n"];
const STATE_WORDS: &[&[u8]] = &[
    b"\n",
    b"\\\n",
    b"#",
    b"\"",
    b"\nGuard in=d rsa_id=",
    b" x=",
    b"\nTotalBuildTimes ",
    b"\nDormant auto\n",
    b"\r\n",
];
const DECOMPRESS_WORDS: &[&[u8]] = &[
    &[0x78, 0xDA],
    &[0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3],
    &[0x28, 0xB5, 0x2F, 0xFD, 0, 0x60],
    &[0x5D, 0, 0, 0x80, 0],
    &[0xFF; 8],
    &[0, 0, 0xFF, 0xFF],
    &[1, 0, 0],
    &[2, 0, 0x10],
    &[4, 1, 0],
];

/// Replays what is kept of a target, mutates it for as long as asked, and says how much was done.
fn run(target: &Target) {
    let asked = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let seed = asked("CEPA_CORPUS_SEED", 1);
    let time = Duration::from_secs(asked("CEPA_CORPUS_SECONDS", 1));
    let crashes = inputs(&format!("{FUZZ}/crashes/{}", target.name));
    let seeds = [inputs(&format!("{FUZZ}/corpus/{}", target.name)), crashes].concat();
    assert!(!seeds.is_empty(), "no corpus for {}", target.name);
    let executions = match fuzz(target, &seeds, seed, time) {
        Ok(executions) => executions,
        Err(crash) => panic!("{crash}"),
    };
    println!(
        "{}: {} seeds, {executions} executions in {time:?} with CEPA_CORPUS_SEED={seed}",
        target.name,
        seeds.len()
    );
}

/// The files of a folder, in the order of their names; none if there is no such folder.
fn inputs(folder: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// The number of inputs tried, or the one that made the target panic, put into words.
fn fuzz(target: &Target, seeds: &[Vec<u8>], seed: u64, time: Duration) -> Result<u64, String> {
    let mut executions = 0;
    let mut execute = |input: &[u8]| {
        executions += 1;
        catch_unwind(|| (target.body)(input)).map(|()| executions).map_err(|_| {
            let (name, hex) = (target.name, hex(input));
            format!(
                "{name} panicked at execution {executions} with CEPA_CORPUS_SEED={seed}; to keep it:\n\
                     mkdir -p fuzz/crashes/{name} && echo {hex} | xxd -r -p > fuzz/crashes/{name}/what-it-shows\n"
            )
        })
    };
    let mut last = 0;
    for input in seeds {
        last = execute(input)?;
    }
    let mut mutator = Mutator { random: Random(seed), seeds, words: target.words };
    let begun = Instant::now();
    while begun.elapsed() < time {
        for _between_looks_at_the_clock in 0..64 {
            last = execute(&mutator.mutant())?;
        }
    }
    Ok(last)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, or 0.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Makes inputs out of others.
struct Mutator<'a> {
    random: Random,
    seeds: &'a [Vec<u8>],
    words: &'a [&'a [u8]],
}

impl Mutator<'_> {
    /// Longer than any cell, so that a length may be right and still too long.
    const MAX_LEN: usize = 1024;

    /// One of the seeds after one to six changes.
    fn mutant(&mut self) -> Vec<u8> {
        let mut input = self.seed().to_vec();
        for _change in 0..=self.random.below(6) {
            self.change(&mut input);
        }
        input.truncate(Self::MAX_LEN);
        input
    }

    fn seed(&mut self) -> &[u8] {
        let at = self.random.below(self.seeds.len());
        &self.seeds[at]
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        match self.random.below(9) {
            0 => self.flip_a_bit(input),
            1 => self.set_a_byte(input),
            2 => self.set_a_length(input),
            3 => input.truncate(self.random.below(input.len() + 1)),
            4 => self.splice(input),
            5 => self.repeat(input),
            6 => drop(input.drain(self.range(input.len()))),
            7 => self.put_a_word(input),
            _ => self.append(input),
        }
    }

    fn flip_a_bit(&mut self, input: &mut [u8]) {
        let at = self.random.below(input.len());
        if let Some(byte) = input.get_mut(at) {
            *byte ^= 1 << self.random.below(8);
        }
    }

    fn set_a_byte(&mut self, input: &mut [u8]) {
        let at = self.random.below(input.len());
        if let Some(byte) = input.get_mut(at) {
            *byte = self.random.byte();
        }
    }

    /// Two bytes, or one, become the length of what follows, or about that.
    fn set_a_length(&mut self, input: &mut [u8]) {
        let at = self.random.below(input.len());
        let Some((field, rest)) = input.split_at_mut_checked(at + 1 + self.random.below(2)) else { return };
        let length = match self.random.below(4) {
            0 => self.random.below(Self::MAX_LEN),
            1 => usize::from(u16::MAX),
            _ => rest.len() + self.random.below(5),
        };
        let length = length.saturating_sub(2).to_be_bytes();
        let width = field.len() - at;
        field[at..].copy_from_slice(&length[length.len() - width..]);
    }

    /// The front of one input and the back of another.
    fn splice(&mut self, input: &mut Vec<u8>) {
        input.truncate(self.random.below(input.len() + 1));
        let other = self.seed().to_vec();
        let at = self.random.below(other.len());
        input.extend_from_slice(&other[at..]);
    }

    fn repeat(&mut self, input: &mut Vec<u8>) {
        let range = self.range(input.len());
        let again = input[range.clone()].to_vec();
        input.splice(range.end..range.end, again);
    }

    fn put_a_word(&mut self, input: &mut Vec<u8>) {
        let word = self.words[self.random.below(self.words.len())];
        let at = self.random.below(input.len() + 1);
        let end = if self.random.below(2) == 0 { at } else { input.len().min(at + word.len()) };
        input.splice(at..end, word.iter().copied());
    }

    fn append(&mut self, input: &mut Vec<u8>) {
        for _ in 0..self.random.below(40) {
            input.push(self.random.byte());
        }
    }

    /// Some of `len` bytes: at most 64, perhaps none.
    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.random.below(len + 1);
        start..len.min(start + self.random.below(65))
    }
}

/// A parser that trusts a length: it panics only behind the right first byte, and only at a
/// length that is one too large.
fn trusting(bytes: &[u8]) {
    if let [0x42, length, rest @ ..] = bytes {
        assert!(usize::from(*length) != rest.len() + 1, "one byte beyond the end");
    }
}

const TRUSTING: Target = Target { name: "trusting", path: "trusting", body: trusting, words: &[b"x"] };

#[test]
fn a_crash_is_found_told_and_found_again() {
    let long = Duration::from_secs(60);
    let seeds = [vec![0x42, 3, 1, 2, 3], vec![0; 9]];
    let crash = fuzz(&TRUSTING, &seeds, 7, long).unwrap_err();
    assert_eq!(fuzz(&TRUSTING, &seeds, 7, long).unwrap_err(), crash, "the same seed, the same crash");
    assert_ne!(fuzz(&TRUSTING, &seeds, 8, long).unwrap_err(), crash);

    assert!(crash.starts_with("trusting panicked at execution ") && crash.contains("CEPA_CORPUS_SEED=7"), "{crash}");
    let input = crash.split_once("echo ").unwrap().1.split_once(" |").unwrap().0;
    let input: Vec<u8> =
        (0..input.len()).step_by(2).map(|at| u8::from_str_radix(&input[at..at + 2], 16).unwrap()).collect();
    assert!(catch_unwind(|| trusting(&input)).is_err(), "what was printed is what crashed");
    let told = fuzz(&TRUSTING, &[input], 7, Duration::ZERO).unwrap_err();
    assert!(told.contains("at execution 1 "), "a kept crash is replayed before any mutant: {told}");
}

#[test]
fn the_mains_in_fuzz_are_the_targets_here() {
    let names = |folder: &str| {
        let mut names: Vec<_> = std::fs::read_dir(Path::new(FUZZ).join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap() != "README.md")
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let mut targets: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    targets.sort_unstable();
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("corpus"), targets);
    let manifest = std::fs::read_to_string(format!("{FUZZ}/Cargo.toml")).unwrap();
    for Target { name, path, .. } in TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not in the manifest");
        let main = std::fs::read_to_string(format!("{FUZZ}/fuzz_targets/{name}.rs")).unwrap();
        let path: String = path.split_whitespace().collect();
        assert!(main.contains(&format!("fuzz_target!(|bytes: &[u8]| {path}(bytes));")), "{name} calls something else");
    }
}

/// Each seed is written down with where it came from.
#[test]
fn no_seed_without_a_source() {
    let readme = std::fs::read_to_string(format!("{FUZZ}/README.md")).unwrap();
    for Target { name, .. } in TARGETS {
        let rows = readme.split_once(&format!("### {name}\n")).unwrap().1.split("\n### ").next().unwrap();
        for seed in std::fs::read_dir(format!("{FUZZ}/corpus/{name}")).unwrap() {
            let seed = seed.unwrap().file_name().into_string().unwrap();
            assert!(rows.contains(&format!("`{seed}`")), "{name}/{seed} is not in fuzz/README.md");
        }
    }
}
