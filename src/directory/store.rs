//! What is worth keeping between runs, as values to save and to load, in C tor's formats, so
//! that the two programs read each other's files.
//!
//! Opens no file. A consensus is kept as it came, since its signatures are checked again when
//! it is loaded; certificates likewise; microdescriptors each with the date when a consensus
//! named them last. Called by `client`, whose shell owns the files. Spec: none; C tor:
//! `microdesc.c`, `authcert.c`, `networkstatus.c`.

use core::time::Duration;

use super::NetDir;
use super::certs::Certificates;
use super::consensus::Lifetime;
use super::microdesc::{LAST_LISTED, Microdesc};
use crate::base::time::Wall;

/// The consensus that we go by.
pub const CONSENSUS: &str = "cached-microdesc-consensus";
/// A consensus that waits for certificates.
pub const UNVERIFIED_CONSENSUS: &str = "unverified-microdesc-consensus";
/// All certificates, one after the other.
pub const CERTIFICATES: &str = "cached-certs";
/// All microdescriptors, when the file was last written anew.
pub const MICRODESCS: &str = "cached-microdescs";
/// Those that came since.
pub const MICRODESCS_JOURNAL: &str = "cached-microdescs.new";

/// How long a microdescriptor is kept that no consensus names any more. Chosen by C tor:
/// `TOLERATE_MICRODESC_AGE`.
const MICRODESC_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long after its time a consensus is worth loading, at least for a diff. Chosen by C tor.
const CONSENSUS_AGE: Duration = Duration::from_secs(5 * 24 * 3600);
/// A shorter journal is not worth the work. Chosen by C tor.
const MIN_JOURNAL: u64 = 16 * 1024;

/// The text of the file of certificates.
pub fn certificates(certificates: &Certificates) -> String {
    certificates.iter().map(|certificate| certificate.text()).collect()
}

/// Adds a microdescriptor to a file, as named last at `last_listed`. One whose date is not
/// known goes without.
pub fn write_microdesc(out: &mut Vec<u8>, microdesc: &Microdesc<'_>, last_listed: Option<Wall>) {
    if let Some(date) = last_listed {
        out.extend_from_slice(format!("{LAST_LISTED} {date}\n").as_bytes());
    }
    out.extend_from_slice(microdesc.text);
}

/// The date with which to keep a microdescriptor when its file is written anew; nothing if it
/// is to be dropped: no consensus has named it for a week.
pub fn keep(microdesc: &Microdesc<'_>, dir: &NetDir, now: Wall) -> Option<Wall> {
    if dir.names(&microdesc.digest) {
        return Some(dir.consensus().lifetime().valid_after);
    }
    microdesc.last_listed.filter(|listed| *listed + MICRODESC_AGE >= now)
}

/// Whether to write the file anew, given the lengths of both and how much of them is to be
/// dropped, rather than to go on adding to the journal. C tor: `should_rebuild_md_cache`.
pub fn is_rewrite_due(file: u64, journal: u64, dropped: u64) -> bool {
    journal >= MIN_JOURNAL && (dropped > (file + journal) / 3 || journal > file / 2)
}

/// Whether a consensus out of a file is worth reading on. Circuits need one whose time it is.
pub fn is_worth_loading(lifetime: &Lifetime, now: Wall) -> bool {
    now <= lifetime.valid_until + CONSENSUS_AGE
}

#[cfg(test)]
mod tests {
    use super::super::certs::{self, Certificate};
    use super::super::microdesc::Parser;
    use super::super::{Error, consensus};
    use super::*;

    const SMALL: &str = "onion-key\nid x y\n";

    #[test]
    fn microdescriptors_read_back_with_their_dates() {
        let one = Microdesc::parse(SMALL.as_bytes()).unwrap();
        let listed = Wall::parse("2026-07-27", "10:00:00").unwrap();
        let mut file = Vec::new();
        write_microdesc(&mut file, &one, Some(listed));
        write_microdesc(&mut file, &one, None);
        let expected = format!("@last-listed 2026-07-27 10:00:00\n{SMALL}{SMALL}");
        assert_eq!(String::from_utf8(file.clone()).unwrap(), expected);
        let mut dates = Vec::new();
        let mut found = |one: Result<Microdesc<'_>, Error>| dates.push(one.unwrap().last_listed);
        let mut parser = Parser::default();
        parser.push(&file, &mut found);
        parser.finish(&mut found);
        assert_eq!(dates, [Some(listed), None]);
    }

    #[test]
    fn certificates_read_back() {
        let all = certs::tests::all();
        let authorities: Vec<_> = all.iter().map(|it| it.ids().identity).collect();
        let mut kept = Certificates::default();
        all.iter().for_each(|it| assert!(kept.insert(it.clone(), &authorities)));
        let text = certificates(&kept);
        let read: Vec<Certificate> = certs::check_all(text.as_bytes()).map(Result::unwrap).collect();
        assert!(read.iter().eq(kept.iter()));
    }

    #[test]
    fn a_microdescriptor_is_kept_for_a_week_after_it_was_last_named() {
        let dir = NetDir::new(consensus::tests::verified());
        let now = dir.consensus().lifetime().valid_after;
        let week = Duration::from_secs(7 * 24 * 3600);
        let stranger = Microdesc::parse(SMALL.as_bytes()).unwrap();
        let listed = Microdesc { last_listed: Some(now - week), ..stranger };
        assert_eq!(keep(&stranger, &dir, now), None);
        assert_eq!(keep(&listed, &dir, now), Some(now - week));
        assert_eq!(keep(&listed, &dir, now + Duration::from_secs(1)), None);
        let named = Microdesc { digest: dir.missing()[0], ..listed };
        assert_eq!(keep(&named, &dir, now + week), Some(now));
    }

    #[test]
    fn a_consensus_is_loaded_for_five_days_and_a_journal_grows_to_half_of_its_file() {
        let lifetime = consensus::tests::verified().lifetime();
        let end = lifetime.valid_until + CONSENSUS_AGE;
        assert!(is_worth_loading(&lifetime, end) && !is_worth_loading(&lifetime, end + Duration::from_secs(1)));
        let due =
            [(0, 16_383, 0), (0, 16_384, 0), (40_000, 20_000, 20_000), (40_000, 20_001, 0), (40_000, 20_000, 20_001)];
        assert_eq!(due.map(|(f, j, d)| is_rewrite_due(f, j, d)), [false, true, false, true, true]);
    }
}
