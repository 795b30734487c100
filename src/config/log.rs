//! `Log` lines: which severities of which domains go where.
//!
//! Domains are C tor's, so that its lines are understood, whether or not anything of ours is of
//! one. Opens nothing and writes nothing (`app/logging.rs`). Called by `mod.rs`. Spec: tor(1).
//! C tor: `parse_log_severity_config` in lib/log/log.c.

use super::torrc;
use super::values::Wanted;

/// Where to log what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// What.
    pub selection: Selection,
    /// Where to.
    pub sink: Sink,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For developers.
    Debug,
    /// For the curious.
    Info,
    /// For everybody.
    Notice,
    /// Something is wrong.
    Warn,
    /// It cannot go on.
    Err,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The system's log.
    Syslog,
    /// A file.
    File(String),
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named in the table below")]
pub enum Domain {
    General,
    Crypto,
    Net,
    Config,
    Fs,
    Protocol,
    Mm,
    Http,
    App,
    Control,
    Circ,
    Rend,
    Bug,
    Dir,
    DirServ,
    Or,
    Edge,
    Acct,
    Hist,
    Handshake,
    Heartbeat,
    Channel,
    Sched,
    Guard,
    ConsDiff,
    Dos,
    Process,
    Pt,
    Btrack,
    Mesg,
}

/// By the names that C tor has for them, and in its order.
const DOMAINS: [(&str, Domain); 30] = [
    ("general", Domain::General),
    ("crypto", Domain::Crypto),
    ("net", Domain::Net),
    ("config", Domain::Config),
    ("fs", Domain::Fs),
    ("protocol", Domain::Protocol),
    ("mm", Domain::Mm),
    ("http", Domain::Http),
    ("app", Domain::App),
    ("control", Domain::Control),
    ("circ", Domain::Circ),
    ("rend", Domain::Rend),
    ("bug", Domain::Bug),
    ("dir", Domain::Dir),
    ("dirserv", Domain::DirServ),
    ("or", Domain::Or),
    ("edge", Domain::Edge),
    ("acct", Domain::Acct),
    ("hist", Domain::Hist),
    ("handshake", Domain::Handshake),
    ("heartbeat", Domain::Heartbeat),
    ("channel", Domain::Channel),
    ("sched", Domain::Sched),
    ("guard", Domain::Guard),
    ("consdiff", Domain::ConsDiff),
    ("dos", Domain::Dos),
    ("process", Domain::Process),
    ("pt", Domain::Pt),
    ("btrack", Domain::Btrack),
    ("mesg", Domain::Mesg),
];

impl Domain {
    /// As C tor calls it, in capitals where it stands in a line.
    pub fn name(self) -> &'static str {
        DOMAINS.iter().find(|(_, domain)| *domain == self).map_or("general", |(name, _)| name)
    }
}

const SEVERITIES: [(&str, Severity); 5] = [
    ("debug", Severity::Debug),
    ("info", Severity::Info),
    ("notice", Severity::Notice),
    ("warn", Severity::Warn),
    ("err", Severity::Err),
];

pub(super) const WANTED: Wanted = Wanted::Other(
    "LEAST[-MOST] of debug, info, notice, warn, err, each time with [DOMAINS] before it if of some only, then stdout, \
     stderr, syslog or file PATH",
);

/// Sets of domains, a bit for each.
type Domains = u32;

const ALL: Domains = Domains::MAX;

/// Of each severity, which domains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection([Domains; SEVERITIES.len()]);

impl Selection {
    /// Everything between these, which count. Nothing, if the first is the greater.
    pub fn between(least: Severity, most: Severity) -> Selection {
        let mut selection = Selection::default();
        selection.add(ALL, least, most);
        selection
    }

    /// Whether such a line is in it.
    pub fn has(&self, domain: Domain, severity: Severity) -> bool {
        self.0.get(severity as usize).is_some_and(|domains| domains & bit(domain) != 0)
    }

    fn add(&mut self, domains: Domains, least: Severity, most: Severity) {
        for (slot, (_, severity)) in self.0.iter_mut().zip(SEVERITIES) {
            if (least..=most).contains(&severity) {
                *slot |= domains;
            }
        }
    }
}

fn bit(domain: Domain) -> Domains {
    1 << domain as u32
}

/// `[[DOMAINS]LEAST[-MOST]]… [SINK]`.
pub(super) fn parse(text: &str) -> Result<Log, Wanted> {
    let (mut selection, mut rest) = (Selection::default(), text.trim());
    let (mut is_for_all, mut is_empty) = (false, true);
    while !rest.is_empty() {
        let mut domains = None;
        if let Some(list) = rest.strip_prefix('[') {
            let (list, behind) = list.split_once(']').ok_or(WANTED)?;
            (domains, rest) = (Some(listed(list)?), behind.trim_start());
        }
        if is_sink(rest) {
            break;
        }
        // C tor: what has no domains may stand there once.
        if domains.is_none() && core::mem::replace(&mut is_for_all, true) {
            return Err(WANTED);
        }
        let (range, behind) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let (least, most) = range.split_once('-').unwrap_or((range, "err"));
        selection.add(domains.unwrap_or(ALL), named(&SEVERITIES, least)?, named(&SEVERITIES, most)?);
        (rest, is_empty) = (behind.trim_start(), false);
    }
    if is_empty { Err(WANTED) } else { Ok(Log { selection, sink: sink(rest)? }) }
}

/// Domains between commas, all of them as `*`, without those that have `~` before them. If all
/// have, any others.
fn listed(list: &str) -> Result<Domains, Wanted> {
    let (mut with, mut without) = (0, 0);
    for name in list.split(',').map(str::trim) {
        match name.strip_prefix('~') {
            _ if name == "*" => with = ALL,
            Some(name) => without |= bit(named(&DOMAINS, name)?),
            None => with |= bit(named(&DOMAINS, name)?),
        }
    }
    Ok(if with == 0 { !without } else { with & !without })
}

fn named<T: Copy>(table: &[(&str, T)], name: &str) -> Result<T, Wanted> {
    table.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, it)| *it).ok_or(WANTED)
}

/// Whether severities are over. C tor: by how it begins, and then it may be wrong.
fn is_sink(text: &str) -> bool {
    let begins = |word: &str| text.get(..word.len()).is_some_and(|front| front.eq_ignore_ascii_case(word));
    ["file", "stdout", "stderr", "syslog"].into_iter().any(begins)
}

fn sink(text: &str) -> Result<Sink, Wanted> {
    let (kind, path) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    match (kind.to_ascii_lowercase().as_str(), path.trim_start()) {
        ("" | "stdout", "") => Ok(Sink::Stdout),
        ("stderr", "") => Ok(Sink::Stderr),
        ("syslog", "") => Ok(Sink::Syslog),
        ("file", path) if !path.is_empty() => {
            Ok(Sink::File(torrc::unquote(path).map_or(path.to_owned(), |(path, _)| path)))
        }
        _ => Err(WANTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line as C tor 0.4.9 takes it, by what it lets through: domain, severity, yes or no.
    #[test]
    fn lines_let_through_what_c_tor_lets_through() {
        use Severity::{Debug, Err, Info, Notice, Warn};
        let (circ, net, dir) = (Domain::Circ, Domain::Net, Domain::Dir);
        for (line, yes, no) in [
            ("info", &[(dir, Info), (circ, Err)][..], &[(dir, Debug)][..]),
            ("debug-notice stdout", &[(dir, Debug), (dir, Notice)], &[(dir, Warn)]),
            ("[circ,net]info file x", &[(circ, Info), (net, Err)], &[(circ, Debug), (dir, Err)]),
            ("[CIRC , Net]  INFO-Notice", &[(circ, Info), (net, Notice)], &[(net, Warn), (dir, Info)]),
            ("[~net]info stdout", &[(circ, Info), (dir, Warn)], &[(net, Err)]),
            ("[*,~net]info", &[(circ, Info)], &[(net, Err)]),
            ("[circ,~net]info", &[(circ, Info)], &[(net, Info), (dir, Info)]),
            ("[*]info", &[(dir, Info)], &[(dir, Debug)]),
            ("[circ]debug [net]notice stderr", &[(circ, Debug), (net, Notice)], &[(net, Info), (dir, Err)]),
            ("notice [circ]debug", &[(dir, Notice), (circ, Debug)], &[(dir, Info)]),
            ("[circ]info-notice [~circ]debug stderr", &[(circ, Info), (dir, Debug)], &[(circ, Warn), (circ, Debug)]),
            ("notice-info", &[], &[(dir, Notice), (dir, Info)]),
        ] {
            let Log { selection, .. } = parse(line).unwrap();
            assert!(yes.iter().all(|(domain, severity)| selection.has(*domain, *severity)), "{line}");
            assert!(!no.iter().any(|(domain, severity)| selection.has(*domain, *severity)), "{line}");
        }
        for line in [
            "",
            "stdout",
            "file x",
            "~net stdout",
            "info ~net stdout",
            "notice info",
            "[nonsense]info",
            "[~nonsense]info",
            "[~*]info",
            "[]info",
            "[circ,]info",
            "[circ info",
            "[circ]",
            "[circ] stdout",
            "[circ]notice file",
            "info stdout extra",
            "notice filex",
            "notice elsewhere",
            "loud",
        ] {
            assert_eq!(parse(line), Result::Err(WANTED), "{line}");
        }
    }

    #[test]
    fn every_domain_has_a_bit_of_its_own() {
        for (at, (_, domain)) in (0..).zip(DOMAINS) {
            assert_eq!(bit(domain), 1 << at);
        }
    }
}
