//! The microdescriptor consensus: head, relays, foot, signatures.
//!
//! Votes nothing: the authorities of the lab are of one mind. Which relays there are and when
//! comes from `authority/mod.rs`, which calls this. Spec: dir-spec, "Consensus document
//! format", "Microdescriptor consensus". The order of lines is that of C tor's
//! `networkstatus_compute_consensus`, method 35.

use std::fmt::Write;

use super::diff::signed_part;
use super::member::{Flag, Member};
use super::misbehaviour::{GIANT_PARAMS, Misbehaviour};
use super::weights::{self, Sums};
use super::{Authority, Spec};
use crate::base::random::array;
use crate::base::time::Wall;
use crate::base::{RsaId, text};
use crate::crypto::{Error, kdf};
use crate::lab::seed::SeededEntropy;
use crate::wire::netdoc::{write_line, write_object};

/// The consensus method that is followed.
const METHOD: &str = "35";
/// Since method 33 nobody learns when a descriptor was published.
const PUBLISHED: &str = "2038-01-01 00:00:00";
/// Versions the authorities recommend.
const VERSIONS: &str = "0.4.9.4-rc,0.4.9.5,0.4.9.6,0.4.9.7,0.4.9.8,0.4.9.9,0.4.9.10,0.4.9.11";
/// Rounds of voting that make one shared random value; the spec's.
const ROUNDS_PER_RUN: u64 = 24;
/// C tor's least, for the two halves of a vote.
const LEAST_DELAY_SECS: u64 = 2;
/// What authorities with an interval of an hour have.
const MOST_DELAY_SECS: u64 = 300;
/// By how many intervals the two misbehaviours that shift time do so, and at least how long.
const SHIFT_SECS: u64 = 5 * 86_400;

const REQUIRED_OF_CLIENTS: &str = "required-client-protocols";
/// The protocol lists of July 2026.
const PROTOCOLS: [(&str, &str); 4] = [
    (
        "recommended-client-protocols",
        "Cons=2 Desc=2 DirCache=2 FlowCtrl=1-2 HSDir=2 HSIntro=4 HSRend=2 Link=4-5 Microdesc=2 Relay=2-4",
    ),
    (
        "recommended-relay-protocols",
        "Cons=2 Desc=2 DirCache=2 FlowCtrl=1-2 HSDir=2 HSIntro=4-5 HSRend=2 Link=4-5 LinkAuth=3 Microdesc=2 Relay=2-4",
    ),
    (REQUIRED_OF_CLIENTS, "Cons=2 Desc=2 FlowCtrl=1 Link=4 Microdesc=2 Relay=2"),
    (
        "required-relay-protocols",
        "Cons=2 Desc=2 DirCache=2 FlowCtrl=1-2 HSDir=2 HSIntro=4-5 HSRend=2 Link=4-5 LinkAuth=3 Microdesc=2 Relay=2-4",
    ),
];

/// The parameters of July 2026.
const PARAMS: &str = "AuthDirMaxServersPerAddr=8 CircuitPriorityHalflifeMsec=30000 DoSCircuitCreationBurst=60 \
     DoSCircuitCreationEnabled=1 DoSCircuitCreationMinConnections=2 DoSCircuitCreationRate=2 DoSConnectionEnabled=1 \
     DoSConnectionMaxConcurrentCount=50 DoSRefuseSingleHopClientRendezvous=1 ExtendByEd25519ID=1 \
     KISTSchedRunInterval=3 NumNTorsPerTAP=100 UseOptimisticData=1 bwauthpid=1 bwscanner_cc=1 cbttestfreq=10 cc_alg=2 \
     cc_cwnd_full_gap=4 cc_cwnd_full_minpct=25 cc_cwnd_inc=1 cc_cwnd_inc_rate=31 cc_cwnd_min=124 cc_sscap_exit=600 \
     cc_sscap_onion=475 cc_sscap_sbws=600 cc_vegas_alpha_exit=186 cc_vegas_alpha_sbws=186 cc_vegas_beta_onion=372 \
     cc_vegas_beta_sbws=248 cc_vegas_delta_exit=310 cc_vegas_delta_onion=434 cc_vegas_delta_sbws=310 \
     cc_vegas_gamma_onion=248 cc_vegas_gamma_sbws=186 cfx_low_exit_threshold=5000 circ_max_cell_queue_size=1750 \
     circ_max_cell_queue_size_out=1500 dos_num_circ_max_outq=5 guard-n-primary-dir-guards-to-use=2 \
     guard-n-primary-guards-to-use=2 hs_service_max_rdv_failures=1 hsdir_spread_store=4 \
     overload_onionskin_ntor_period_secs=10800 overload_onionskin_ntor_scale_percent=500 sendme_accept_min_version=1";

/// A parameter as it was asked for, or as it usually is.
pub(super) fn param(spec: &Spec, name: &str) -> Option<i32> {
    let asked = spec.params.iter().find(|(asked, _)| asked == name).map(|(_, value)| *value);
    let mut usual = PARAMS.split(' ').filter_map(|param| param.split_once('='));
    asked.or_else(|| usual.find(|(usual, _)| *usual == name)?.1.parse().ok())
}

/// When a consensus is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// From then on.
    pub valid_after: Wall,
    /// Until then there is no newer one.
    pub fresh_until: Wall,
    /// Until then.
    pub valid_until: Wall,
}

impl Lifetime {
    /// That of the consensus of voting round `round`.
    pub(super) fn of(spec: &Spec, round: u64, misbehaviour: Option<Misbehaviour>) -> Lifetime {
        let interval = spec.interval_secs();
        let start = round.saturating_mul(interval);
        let start = match misbehaviour {
            Some(Misbehaviour::Expired) => start.saturating_sub(SHIFT_SECS + 3 * interval),
            Some(Misbehaviour::FromTheFuture) => start.saturating_add(SHIFT_SECS),
            _ => start,
        };
        let after = |intervals| Wall::from_secs(start.saturating_add(intervals * interval));
        Lifetime { valid_after: after(0), fresh_until: after(1), valid_until: after(3) }
    }
}

/// A relay as a consensus lists it.
pub(super) struct Entry {
    pub(super) rsa: RsaId,
    /// Its `r` and `a` lines.
    front: String,
    /// SHA-256 of its microdescriptor.
    pub(super) microdesc: [u8; 32],
    /// Its `s`, `v` and `pr` lines, and the beginning of its `w` line.
    back: String,
    sort: Sort,
    bandwidth: u32,
    is_invented: bool,
}

/// What a relay may be, as far as weights care.
#[derive(Clone, Copy)]
enum Sort {
    Guard,
    Exit,
    Both,
    Middle,
}

impl Entry {
    pub(super) fn of(member: &Member, rsa: RsaId, microdesc: [u8; 32], is_invented: bool) -> Entry {
        let mut front = String::with_capacity(140);
        let (id, ipv4) = (text::base64_unpadded(&rsa.0), member.ipv4);
        let _ = writeln!(front, "r {} {id} {PUBLISHED} {} {} 0", member.nickname, ipv4.ip(), ipv4.port());
        if let Some(ipv6) = member.ipv6 {
            let _ = writeln!(front, "a [{}]:{}", ipv6.ip(), ipv6.port());
        }
        let flags: Vec<_> = member.flags.iter().map(Flag::name).collect();
        let mut back = String::with_capacity(240);
        let _ = write!(back, "s {}\nv {}\npr {}\nw Bandwidth=", flags.join(" "), member.version, member.protocols);
        let is_exit = member.flags.contains(Flag::Exit) && !member.flags.contains(Flag::BadExit);
        let sort = match (member.flags.contains(Flag::Guard), is_exit) {
            (true, true) => Sort::Both,
            (true, false) => Sort::Guard,
            (false, true) => Sort::Exit,
            (false, false) => Sort::Middle,
        };
        Entry { rsa, front, microdesc, back, sort, bandwidth: member.bandwidth, is_invented }
    }

    /// Its weight in a round. Each round an eighth of the invented are measured anew.
    fn bandwidth(&self, round: u64) -> u32 {
        if !self.is_invented {
            return self.bandwidth;
        }
        let spread = self.bandwidth / 4 + 4;
        self.bandwidth.saturating_add(self.draw(b'w', round, 8) % spread)
    }

    /// Whether it is there in a round. One in 64 of the invented is gone for a day.
    fn is_listed(&self, round: u64) -> bool {
        !self.is_invented || !self.draw(b'l', round, ROUNDS_PER_RUN).is_multiple_of(64)
    }

    /// A number that depends on the relay and changes every `period` rounds, not for all
    /// relays at once.
    fn draw(&self, what: u8, round: u64, period: u64) -> u32 {
        let id = u64::from_be_bytes(*self.rsa.0.first_chunk().unwrap_or(&[0; 8]));
        let mut mixed = id ^ u64::from(what) << 56 ^ (round.wrapping_add(id % period) / period);
        for _ in 0..3 {
            mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        }
        let [a, b, c, d, ..] = mixed.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

/// What a consensus is made from.
pub(super) struct Material<'a> {
    pub(super) spec: &'a Spec,
    pub(super) authorities: &'a [Authority],
    /// Sorted by identity.
    pub(super) entries: &'a [Entry],
    pub(super) misbehaviour: Option<Misbehaviour>,
}

impl Material<'_> {
    /// Writes and signs the consensus of a round.
    pub(super) fn write(&self, round: u64) -> Result<String, Error> {
        let mut out = String::with_capacity(self.entries.len() * 400 + 16_384);
        self.head(&mut out, round);
        for authority in self.authorities {
            let at = authority.address;
            let identity = text::hex(&authority.keys.identity().0);
            let (ip, port) = (at.ip().to_string(), at.port().to_string());
            let dir_port = super::DIR_PORT.to_string();
            write_line(&mut out, "dir-source", &[&authority.nickname, &identity, &ip, &ip, &dir_port, &port]);
            write_line(&mut out, "contact", &["the lab"]);
            let vote = kdf::sha1(&[identity.as_bytes(), &round.to_be_bytes()]);
            write_line(&mut out, "vote-digest", &[&text::hex(&vote)]);
        }
        let sums = self.relays(&mut out, round);
        out.push_str("directory-footer\n");
        write_line(&mut out, "bandwidth-weights", &[&weights::line(sums)]);
        self.sign(&mut out)?;
        Ok(out)
    }

    fn is(&self, misbehaviour: Misbehaviour) -> bool {
        self.misbehaviour == Some(misbehaviour)
    }

    fn head(&self, out: &mut String, round: u64) {
        let lifetime = Lifetime::of(self.spec, round, self.misbehaviour);
        let delay = (self.spec.interval_secs() / 12).clamp(LEAST_DELAY_SECS, MOST_DELAY_SECS).to_string();
        write_line(out, "network-status-version", &["3", "microdesc"]);
        write_line(out, "vote-status", &["consensus"]);
        write_line(out, "consensus-method", &[METHOD]);
        write_line(out, "valid-after", &[&lifetime.valid_after.to_string()]);
        write_line(out, "fresh-until", &[&lifetime.fresh_until.to_string()]);
        write_line(out, "valid-until", &[&lifetime.valid_until.to_string()]);
        write_line(out, "voting-delay", &[&delay, &delay]);
        write_line(out, "client-versions", &[VERSIONS]);
        write_line(out, "server-versions", &[VERSIONS]);
        let mut flags: Vec<_> = Flag::ALL.iter().map(|flag| flag.name()).collect();
        if self.is(Misbehaviour::UnknownKeywords) {
            flags.push("Zealous");
        }
        write_line(out, "known-flags", &flags);
        for (keyword, list) in PROTOCOLS {
            let own = self.spec.required.as_deref().filter(|_| keyword == REQUIRED_OF_CLIENTS);
            write_line(out, keyword, &[own.unwrap_or(list)]);
        }
        write_line(out, "params", &[&self.params()]);
        let run = round / ROUNDS_PER_RUN;
        for (keyword, run) in [("shared-rand-previous-value", run.wrapping_sub(1)), ("shared-rand-current-value", run)]
        {
            let value: [u8; 32] = array(&mut SeededEntropy::new(self.spec.seed, &format!("shared random value {run}")));
            write_line(out, keyword, &[&self.authorities.len().to_string(), &text::base64(&value)]);
        }
        if self.is(Misbehaviour::UnknownKeywords) {
            write_line(out, "phase-of-the-moon", &["waxing", "gibbous"]);
        }
    }

    /// The usual parameters, those that were asked for in their place, sorted.
    fn params(&self) -> String {
        let asked = self.spec.params.iter().map(|(name, value)| format!("{name}={value}"));
        let is_asked = |param: &&str| {
            let name = param.split('=').next().unwrap_or_default();
            !self.spec.params.iter().any(|(asked, _)| asked == name)
        };
        let mut params: Vec<_> = PARAMS.split(' ').filter(is_asked).map(str::to_owned).chain(asked).collect();
        if self.is(Misbehaviour::GiantLists) {
            params.extend((0..GIANT_PARAMS).map(|number| format!("{}_{number:03}=1", "z".repeat(260))));
        }
        if self.is(Misbehaviour::UnknownKeywords) {
            params.push("zz_unheard_of=1".to_owned());
        }
        params.sort_unstable();
        params.join(" ")
    }

    fn relays(&self, out: &mut String, round: u64) -> Sums {
        let mut sums = Sums::default();
        for entry in self.entries.iter().filter(|entry| entry.is_listed(round)) {
            let bandwidth = entry.bandwidth(round);
            let mut digest = entry.microdesc;
            if self.is(Misbehaviour::WrongDigests) {
                digest[0] ^= 1;
            }
            out.push_str(&entry.front);
            write_line(out, "m", &[&text::base64_unpadded(&digest)]);
            out.push_str(&entry.back);
            let _ = writeln!(out, "{bandwidth}");
            if self.is(Misbehaviour::UnknownKeywords) {
                write_line(out, "z", &["who=knows"]);
            }
            let sum = match entry.sort {
                Sort::Guard => &mut sums.guard,
                Sort::Exit => &mut sums.exit,
                Sort::Both => &mut sums.both,
                Sort::Middle => &mut sums.middle,
            };
            *sum += i64::from(bandwidth);
        }
        sums
    }

    fn sign(&self, out: &mut String) -> Result<(), Error> {
        out.push_str("directory-signature ");
        let mut digest = kdf::sha256(&[signed_part(out).as_bytes()]);
        if self.is(Misbehaviour::WrongSignatures) {
            digest[0] ^= 1;
        }
        let signers = match self.misbehaviour {
            Some(Misbehaviour::TooFewSignatures) => self.authorities.len() / 2,
            _ => self.authorities.len(),
        };
        for (number, authority) in self.authorities.iter().take(signers).enumerate() {
            if number > 0 {
                out.push_str("directory-signature ");
            }
            let (identity, signing) = (authority.keys.identity(), authority.keys.signing());
            let _ = writeln!(out, "sha256 {} {}", text::hex(&identity.0), text::hex(&signing.0));
            write_object(out, "SIGNATURE", &authority.keys.sign(&digest)?);
        }
        Ok(())
    }
}
