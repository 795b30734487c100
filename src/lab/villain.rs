//! Relays that misbehave on request: one named behaviour each.
//!
//! A villain is an honest relay but for one thing, which happens at one of four places:
//! to the cells it writes on a client's link ([`Mangler`]), to the messages it says on a
//! circuit ([`Villain::say`]), to what it answers as a directory (`lab/crooked.rs`), or in
//! the relay itself, which asks [`Villain`] by name. Here
//! it is shown that each misbehaves; what a client must do about it is the client's to
//! show. Called by `relay/`. Spec: what each breaks is beside its name.

use core::time::Duration;

use crate::base::time::Tick;
use crate::wire::cell::{self, Command as CellCommand, Era};
use crate::wire::relay::{Command, StreamId};

/// Messages that a flood says at once; ours.
const FLOOD: usize = 200;
/// Of how many RELAY cells one is dropped, doubled or changed; ours.
const EVERY: u32 = 10;
/// DATA cells before a stream stalls; ours.
pub const STALL_AFTER: u32 = 10;
/// By how many cells of a circuit a villain overruns its window before it keeps to it, lest
/// it write without end where nothing slows it; ours, thrice a window.
pub const OVERRUN_CELLS: u32 = 3000;
/// What trickles, and how often; ours.
const DROP_LEN: usize = 4;
const DROP_PAUSE: Duration = Duration::from_secs(2);
/// VPADDING cells of an endless handshake; ours, more than any client should bear.
const ENDLESS: usize = 1000;

/// One misbehaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is told in the table below")]
pub enum Villain {
    WrongIdentity,
    ExpiredCertificates,
    CertsAfterChallenge,
    NoAuthChallenge,
    TwoNetinfos,
    NoCommonVersion,
    PaddingInHandshake,
    EndlessVpadding,
    StallBeforeVersions,
    StallBeforeCerts,
    StallBeforeNetinfo,
    UnknownCircuit,
    CreateToClient,
    PaddingNegotiateToClient,
    SwallowsCircuits,
    EarlyDestroy,
    RelayEarlyToClient,
    DropsCells,
    ReplaysCells,
    TagsCells,
    WrongDigest,
    BadCreatedAuth,
    CreatedTooLong,
    GarbageCommand,
    DataBeforeConnected,
    DataAfterEnd,
    ConnectedTwice,
    ConnectedPrivate,
    EndTwice,
    EndWithoutReason,
    EmptyData,
    DropFlood,
    SendmeWithoutTag,
    SendmeWrongTag,
    SendmeFlood,
    WindowOverrun,
    StallMidStream,
    ResolvedPrivate,
    ResolvedFlood,
    TruncatedUnasked,
    ExtendedUnasked,
    Trickle,
    EndlessDirectory,
    DecompressionBomb,
    TruncatedConsensus,
    ConsensusSwap,
    FalseDiff,
    FalseCertificates,
    NotModified,
    OldConsensus,
}

/// Every villain: the name it is asked for by, and what it does.
const ALL: [(Villain, &str, &str); 50] = [
    (Villain::WrongIdentity, "wrong-identity", "proves another identity than its own"),
    (Villain::ExpiredCertificates, "expired-certificates", "shows certificates whose time is over"),
    (Villain::CertsAfterChallenge, "certs-after-challenge", "sends CERTS behind AUTH_CHALLENGE"),
    (Villain::NoAuthChallenge, "no-auth-challenge", "leaves AUTH_CHALLENGE out"),
    (Villain::TwoNetinfos, "two-netinfos", "sends NETINFO twice"),
    (Villain::NoCommonVersion, "no-common-version", "offers link protocol 3 alone"),
    (Villain::PaddingInHandshake, "padding-in-handshake", "sends PADDING before CERTS"),
    (Villain::EndlessVpadding, "endless-vpadding", "sends VPADDING instead of an end to the handshake"),
    (Villain::StallBeforeVersions, "stall-before-versions", "says nothing once TLS is up"),
    (Villain::StallBeforeCerts, "stall-before-certs", "falls silent after VERSIONS"),
    (Villain::StallBeforeNetinfo, "stall-before-netinfo", "falls silent before NETINFO"),
    (Villain::UnknownCircuit, "unknown-circuit", "sends a cell of a circuit that is not there"),
    (Villain::CreateToClient, "create-to-client", "opens a circuit to its client"),
    (Villain::PaddingNegotiateToClient, "padding-negotiate-to-client", "tells its client how to pad"),
    (Villain::SwallowsCircuits, "swallows-circuits", "answers no circuit"),
    (Villain::EarlyDestroy, "early-destroy", "destroys each circuit once it is made"),
    (Villain::RelayEarlyToClient, "relay-early-to-client", "answers in RELAY_EARLY cells"),
    (Villain::DropsCells, "drops-cells", "drops every tenth relay cell"),
    (Villain::ReplaysCells, "replays-cells", "sends every tenth relay cell twice"),
    (Villain::TagsCells, "tags-cells", "flips a bit in every tenth relay cell"),
    (Villain::WrongDigest, "wrong-digest", "changes its own messages after their digest is made"),
    (Villain::BadCreatedAuth, "bad-created-auth", "answers handshakes without the proof"),
    (Villain::CreatedTooLong, "created-too-long", "says that CREATED2 is longer than its cell"),
    (Villain::GarbageCommand, "garbage-command", "says a relay command that nobody defined"),
    (Villain::DataBeforeConnected, "data-before-connected", "sends DATA on a stream that is not open yet"),
    (Villain::DataAfterEnd, "data-after-end", "sends DATA on a stream that it has ended"),
    (Villain::ConnectedTwice, "connected-twice", "opens each stream twice"),
    (Villain::ConnectedPrivate, "connected-private", "connects to a private address"),
    (Villain::EndTwice, "end-twice", "ends each stream twice"),
    (Villain::EndWithoutReason, "end-without-reason", "ends streams without saying why"),
    (Villain::EmptyData, "empty-data", "sends DATA of no bytes"),
    (Villain::DropFlood, "drop-flood", "sends hundreds of DROP messages unasked"),
    (Villain::SendmeWithoutTag, "sendme-without-tag", "acknowledges without proof"),
    (Villain::SendmeWrongTag, "sendme-wrong-tag", "acknowledges what it has not seen"),
    (Villain::SendmeFlood, "sendme-flood", "acknowledges what was never sent"),
    (Villain::WindowOverrun, "window-overrun", "sends more than the windows allow"),
    (Villain::StallMidStream, "stall-mid-stream", "stops in the middle of a stream"),
    (Villain::ResolvedPrivate, "resolved-private", "resolves every name to a private address"),
    (Villain::ResolvedFlood, "resolved-flood", "answers one RESOLVE hundreds of times"),
    (Villain::TruncatedUnasked, "truncated-unasked", "says that the circuit was cut when it was not"),
    (Villain::ExtendedUnasked, "extended-unasked", "says that the circuit was extended when nobody asked"),
    (Villain::Trickle, "trickle", "writes four bytes at a time, two seconds apart"),
    (Villain::EndlessDirectory, "endless-directory", "answers directory requests without an end"),
    (Villain::DecompressionBomb, "decompression-bomb", "answers directory requests with lines that inflate to 2 GiB"),
    (Villain::TruncatedConsensus, "truncated-consensus", "serves the first half of the consensus"),
    (Villain::ConsensusSwap, "consensus-swap", "serves the consensus of another network, rightly signed"),
    (Villain::FalseDiff, "false-diff", "serves diffs that make another consensus than they say"),
    (Villain::FalseCertificates, "false-certificates", "serves certificates that their authorities have not signed"),
    (Villain::NotModified, "not-modified", "says that certificates and microdescriptors have not changed"),
    (Villain::OldConsensus, "old-consensus", "serves a consensus of two days ago"),
];

/// A message a relay says: what, on which stream, with which body.
pub type Said = (Command, Option<StreamId>, Vec<u8>);

impl Villain {
    /// The villain of that name; else the names there are.
    pub fn of_name(name: &str) -> Result<Villain, String> {
        let found = ALL.iter().find(|(_, known, _)| *known == name).map(|(villain, ..)| *villain);
        found.ok_or_else(|| {
            let known: Vec<_> = ALL.iter().map(|(_, name, _)| *name).collect();
            format!("no villain is called {name:?}; known: {}", known.join(", "))
        })
    }

    /// Whether what it does wrong is in how it answers as a directory.
    pub fn is_directory(self) -> bool {
        matches!(
            self,
            Villain::EndlessDirectory
                | Villain::DecompressionBomb
                | Villain::TruncatedConsensus
                | Villain::ConsensusSwap
                | Villain::FalseDiff
                | Villain::FalseCertificates
                | Villain::NotModified
                | Villain::OldConsensus
        )
    }

    /// All of them, each with its name and what it does.
    pub fn all() -> impl Iterator<Item = (Villain, &'static str, &'static str)> {
        ALL.into_iter()
    }

    /// What is said instead of one honest message.
    pub fn say(self, honest: Said) -> Vec<Said> {
        let (command, stream, _) = honest;
        let instead = |body: &[u8]| vec![(command, stream, body.to_vec())];
        let before = |mut first: Vec<Said>| {
            first.push(honest.clone());
            first
        };
        let after = |then: Said| vec![honest.clone(), then];
        let data = |bytes: &[u8]| (Command::DATA, stream, bytes.to_vec());
        match (self, command, stream.is_some()) {
            (Villain::GarbageCommand, Command::CONNECTED, _) => before(vec![(Command(99), stream, vec![1, 2, 3])]),
            (Villain::DataBeforeConnected, Command::CONNECTED, _) => before(vec![data(b"early")]),
            (Villain::EmptyData, Command::CONNECTED, _) => after(data(b"")),
            (Villain::DataAfterEnd, Command::END, _) => after(data(b"late")),
            (Villain::ConnectedTwice, Command::CONNECTED, _) | (Villain::EndTwice, Command::END, _) => {
                after(honest.clone())
            }
            (Villain::ConnectedPrivate, Command::CONNECTED, _) => instead(&[10, 0, 0, 1, 0, 0, 0, 60]),
            (Villain::EndWithoutReason, Command::END, _) => instead(&[]),
            (Villain::DropFlood, Command::CONNECTED, _) => before(vec![(Command::DROP, None, Vec::new()); FLOOD]),
            (Villain::SendmeWithoutTag, Command::SENDME, false) => instead(&[]),
            (Villain::SendmeWrongTag, Command::SENDME, false) => instead(&[&[1, 0, 20][..], &[0xEE; 20]].concat()),
            (Villain::SendmeFlood, Command::CONNECTED, _) => {
                let sendme = [&[1, 0, 20][..], &[0xEE; 20]].concat();
                before(vec![(Command::SENDME, None, sendme); FLOOD])
            }
            (Villain::ResolvedPrivate, Command::RESOLVED, _) => instead(&[4, 4, 10, 0, 0, 1, 0, 0, 0, 60]),
            (Villain::ResolvedFlood, Command::RESOLVED, _) => vec![honest.clone(); FLOOD],
            (Villain::TruncatedUnasked, Command::CONNECTED, _) => before(vec![(Command::TRUNCATED, None, vec![9])]),
            (Villain::ExtendedUnasked, Command::CONNECTED, _) => {
                before(vec![(Command::EXTENDED2, None, [&[0, 64][..], &[7; 64]].concat())])
            }
            _ => vec![honest.clone()],
        }
    }
}

/// Changes the cells that a villain writes on one link.
pub struct Mangler {
    villain: Villain,
    /// The front of a cell that is not all there.
    unfinished: Vec<u8>,
    era: Era,
    relay_cells: u32,
    /// What is held back: CERTS, until the challenge is out; of what trickles, all the rest.
    held: Vec<u8>,
    /// When the next bytes trickle.
    next_drop: Tick,
    is_silent: bool,
    is_done: bool,
}

impl Mangler {
    /// For one link of a villain.
    pub fn new(villain: Villain) -> Self {
        Mangler {
            villain,
            unfinished: Vec::new(),
            era: Era::Versions,
            relay_cells: 0,
            held: Vec::new(),
            next_drop: Tick::default(),
            is_silent: villain == Villain::StallBeforeVersions,
            is_done: false,
        }
    }

    /// When the next bytes trickle, if any are held back.
    pub fn next_drop(&self) -> Option<Tick> {
        (self.villain == Villain::Trickle && !self.held.is_empty()).then_some(self.next_drop)
    }

    /// The next bytes that trickle, or none yet; `None` if none are held back.
    pub fn trickle(&mut self, now: Tick) -> Option<Option<Vec<u8>>> {
        let at = self.next_drop()?;
        if now < at {
            return Some(None);
        }
        self.next_drop = now + DROP_PAUSE;
        let length = self.held.len().min(DROP_LEN);
        Some(Some(self.held.drain(..length).collect()))
    }

    /// What is written instead of `bytes`.
    pub fn mangle(&mut self, bytes: Vec<u8>, now: Tick) -> Vec<u8> {
        if self.villain == Villain::Trickle {
            self.held.extend(bytes);
            return self.trickle(now).flatten().unwrap_or_default();
        }
        self.unfinished.extend(bytes);
        let mut out = Vec::new();
        while !self.is_silent
            && let Ok(Some(header)) = cell::peek(self.era, &self.unfinished)
        {
            let cell: Vec<u8> = self.unfinished.drain(..header.cell_len()).collect();
            if self.era == Era::Versions {
                self.era = Era::Wide;
            }
            self.cell(header.command, cell, &mut out);
        }
        out
    }

    fn cell(&mut self, command: CellCommand, cell: Vec<u8>, out: &mut Vec<u8>) {
        match (self.villain, command) {
            (Villain::NoCommonVersion, CellCommand::VERSIONS) => out.extend([0, 0, 7, 0, 2, 0, 3]),
            (Villain::PaddingInHandshake, CellCommand::VERSIONS) => {
                out.extend(cell);
                out.extend(link_cell(CellCommand::PADDING, &[]));
            }
            (Villain::CertsAfterChallenge, CellCommand::CERTS) => self.held = cell,
            (Villain::CertsAfterChallenge, CellCommand::AUTH_CHALLENGE) => {
                out.extend(cell);
                out.append(&mut self.held);
            }
            (Villain::NoAuthChallenge, CellCommand::AUTH_CHALLENGE) => {}
            (Villain::TwoNetinfos, CellCommand::NETINFO) => {
                out.extend(&cell);
                out.extend(cell);
            }
            (Villain::EndlessVpadding, CellCommand::NETINFO) => {
                out.extend([0, 0, 0, 0, CellCommand::VPADDING.0, 0, 1, 0].repeat(ENDLESS));
            }
            (Villain::StallBeforeCerts, CellCommand::CERTS) | (Villain::StallBeforeNetinfo, CellCommand::NETINFO) => {
                self.is_silent = true;
            }
            (Villain::PaddingNegotiateToClient, CellCommand::NETINFO) => {
                out.extend(cell);
                out.extend(link_cell(CellCommand::PADDING_NEGOTIATE, &[0, 2, 0, 1, 0, 2]));
            }
            (Villain::CreateToClient, CellCommand::NETINFO) => {
                out.extend(cell);
                out.extend(circuit_cell(1, CellCommand::CREATE2));
            }
            (Villain::UnknownCircuit, CellCommand::NETINFO) => {
                out.extend(cell);
                out.extend(circuit_cell(0xFFFF_FFFF, CellCommand::RELAY));
            }
            (Villain::SwallowsCircuits, CellCommand::CREATED2 | CellCommand::CREATED_FAST) => {}
            (_, CellCommand::RELAY) => self.relay_cell(cell, out),
            _ => out.extend(cell),
        }
    }

    fn relay_cell(&mut self, mut cell: Vec<u8>, out: &mut Vec<u8>) {
        self.relay_cells += 1;
        let chosen = self.relay_cells.is_multiple_of(EVERY);
        match self.villain {
            Villain::DropsCells if chosen => return,
            Villain::ReplaysCells if chosen => out.extend(&cell),
            Villain::TagsCells if chosen => flip(&mut cell),
            Villain::RelayEarlyToClient if !self.is_done => {
                self.is_done = true;
                if let Some(command) = cell.get_mut(cell::FIXED_HEADER_LEN - 1) {
                    *command = CellCommand::RELAY_EARLY.0;
                }
            }
            _ => {}
        }
        out.extend(cell);
    }
}

/// Flips a bit in the middle of a cell.
pub fn flip(cell: &mut [u8]) {
    let middle = cell.len() / 2;
    if let Some(byte) = cell.get_mut(middle) {
        *byte ^= 0x10;
    }
}

fn link_cell(command: CellCommand, body: &[u8]) -> Vec<u8> {
    padded(&[&[0, 0, 0, 0, command.0], body].concat())
}

fn circuit_cell(number: u32, command: CellCommand) -> Vec<u8> {
    padded(&[&number.to_be_bytes()[..], &[command.0]].concat())
}

fn padded(front: &[u8]) -> Vec<u8> {
    let mut cell = front.to_vec();
    cell.resize(cell::FIXED_LEN, 0);
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_unknown_ones_list_them_all() {
        for (villain, name, what) in Villain::all() {
            assert_eq!(Villain::of_name(name), Ok(villain));
            assert!(!what.is_empty());
        }
        let names: std::collections::BTreeSet<_> = Villain::all().map(|(_, name, _)| name).collect();
        assert_eq!(names.len(), ALL.len());
        let complaint = Villain::of_name("nobody").unwrap_err();
        assert!(complaint.contains("\"nobody\"") && names.iter().all(|name| complaint.contains(name)));
    }
}
