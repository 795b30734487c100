//! Both ends of a link joined by made-up time, a relay's recorded certificates, and each
//! way a handshake or an open link can go wrong.

use core::time::Duration;

use super::handshake::ClockSkew;
use super::identity::{Credentials, Proven, RelayKeys};
use super::*;
use crate::base::random::Seeded;
use crate::base::redact::Sensitive;
use crate::base::text;
use crate::base::time::Wall;
use crate::base::{Ed25519Id, RsaId};
use crate::crypto::{Secret, ed25519, rsa};
use crate::wire::cell_msg::Certs;

const LEAF: LeafDigest = LeafDigest([0xAB; 32]);
const DIALLED: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1));
const OURS: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(198, 51, 100, 7));
const DAY: Duration = Duration::from_secs(86_400);

/// 2020-09-25 02:13:20, when the recorded certificates were good.
fn then() -> Now {
    Now { tick: Tick::new(Duration::from_secs(1000)), wall: Wall::from_secs(1_601_000_000) }
}

fn unhex(text: &str) -> Vec<u8> {
    text::from_hex(&text.split_whitespace().collect::<String>()).unwrap()
}

/// Made once: an RSA key takes a while.
fn keys() -> RelayKeys {
    const RSA: &str = include_str!("tests/rsa1024.hex");
    RelayKeys {
        rsa: rsa::KeyPair::from_der(&unhex(RSA)).unwrap(),
        ed25519: ed25519::KeyPair::from_seed(&Secret::new([1; 32])),
        signing: ed25519::KeyPair::from_seed(&Secret::new([2; 32])),
    }
}

fn credentials(keys: &RelayKeys) -> Credentials {
    let now = then().wall;
    Credentials::issue(keys, LEAF, now - DAY, now + DAY, &mut Seeded(5)).unwrap()
}

fn responder(credentials: Credentials) -> Responder {
    Responder { credentials, challenge: [7; 32], their_address: OURS, own_addresses: vec![DIALLED] }
}

/// Both ends, one clock.
struct Pair {
    near: Link,
    far: Link,
    now: Now,
}

/// What a side was told while the pair was driven.
#[derive(Default)]
struct Heard {
    established: Option<Box<Established>>,
    cells: Vec<(Option<CircId>, Command, Vec<u8>)>,
}

impl Pair {
    fn new(wanted: RelayIds, credentials: Credentials) -> Pair {
        Pair {
            near: Link::initiate(wanted, LEAF, DIALLED, Timing::default(), then()),
            far: Link::respond(responder(credentials), Timing::default(), then()),
            now: then(),
        }
    }

    /// A pair whose handshake is over.
    fn open() -> Pair {
        let keys = keys();
        let mut pair = Pair::new(keys.ids(), credentials(&keys));
        let (near, far) = pair.drive().unwrap();
        assert!(near.established.is_some() && far.established.is_some());
        pair
    }

    /// Carries bytes both ways until both sides are silent.
    fn drive(&mut self) -> Result<(Heard, Heard), Error> {
        let (mut near, mut far) = (Heard::default(), Heard::default());
        loop {
            let forward = drain(&mut self.near, &mut near);
            let backward = drain(&mut self.far, &mut far);
            if forward.is_empty() && backward.is_empty() {
                return Ok((near, far));
            }
            self.feed_far(&forward)?;
            self.feed_near(&backward)?;
        }
    }

    fn feed_near(&mut self, bytes: &[u8]) -> Result<(), Error> {
        feed(&mut self.near, bytes, self.now)
    }

    fn feed_far(&mut self, bytes: &[u8]) -> Result<(), Error> {
        feed(&mut self.far, bytes, self.now)
    }
}

fn feed(link: &mut Link, bytes: &[u8], now: Now) -> Result<(), Error> {
    bytes.chunks(frame::READ_LEN).try_for_each(|chunk| {
        let mut buffer = link.begin_read();
        buffer.extend_from_slice(chunk);
        link.handle_read(buffer, now)
    })
}

fn drain(link: &mut Link, heard: &mut Heard) -> Vec<u8> {
    while let Some(output) = link.poll_output() {
        match output {
            Output::Established(established) => heard.established = Some(established),
            Output::Cells(mut cells) => {
                for (index, cell) in cells.cells.clone().into_iter().enumerate() {
                    let body = cells.body_mut(index).unwrap().to_vec();
                    heard.cells.push((cell.circ_id, cell.command, body));
                }
                link.recycle(cells);
            }
        }
    }
    link.take_transmit().unwrap_or_default()
}

#[test]
fn both_sides_reach_the_end_of_the_handshake() {
    let keys = keys();
    let mut pair = Pair::new(keys.ids(), credentials(&keys));
    let (near, far) = pair.drive().unwrap();
    let near = *near.established.unwrap();
    assert_eq!(near.version, 5);
    let relay = near.relay.unwrap();
    assert_eq!(RelayIds { rsa: Some(relay.rsa()), ed25519: Some(relay.ed25519()) }, keys.ids());
    assert_eq!(relay.certificates().len(), 4);
    assert_eq!(near.skew, Some(ClockSkew::Behind(Duration::ZERO)));
    assert_eq!(near.our_address.map(Sensitive::into_inner), Some(OURS));
    assert!(near.canonical && near.their_addresses == [Sensitive::new(DIALLED)]);

    let far = *far.established.unwrap();
    assert_eq!((far.version, far.relay, far.skew), (5, None, None));
    assert!(far.their_addresses.is_empty(), "a client says no address of its own");
}

#[test]
fn a_handshake_does_not_depend_on_how_its_bytes_are_cut() {
    let keys = keys();
    let mut pair = Pair::new(keys.ids(), credentials(&keys));
    let (mut near, mut far) = (Heard::default(), Heard::default());
    for _ in 0..6 {
        let forward = drain(&mut pair.near, &mut near);
        forward.iter().for_each(|byte| pair.feed_far(&[*byte]).unwrap());
        let backward = drain(&mut pair.far, &mut far);
        backward.iter().for_each(|byte| pair.feed_near(&[*byte]).unwrap());
    }
    assert!(near.established.is_some() && far.established.is_some());
}

#[test]
fn any_identity_wanted_must_be_the_one_proved() {
    let keys = keys();
    let RelayIds { rsa, ed25519 } = keys.ids();
    let drive = |wanted| Pair::new(wanted, credentials(&keys)).drive().map(|_| ());
    for wanted in [RelayIds::default(), RelayIds { rsa, ed25519: None }, RelayIds { rsa: None, ed25519 }] {
        assert_eq!(drive(wanted), Ok(()));
    }
    let (other_rsa, other_ed25519) = (Some(RsaId([9; 20])), Some(Ed25519Id([9; 32])));
    assert_eq!(drive(RelayIds { rsa: other_rsa, ed25519 }), Err(Error::WrongRsaIdentity));
    assert_eq!(drive(RelayIds { rsa, ed25519: other_ed25519 }), Err(Error::WrongEd25519Identity));
}

// Arti 2.7, tor-proto, `channel/handshake.rs`: a relay of a test network, as recorded.
const CERT_2: &str = include_str!("tests/recorded_cert_2.hex");
const CERT_4: &str = "01040006CC2A01F82294B866A31F01FC5D0DA8572850A9B929545C3266558D7D2316E3B74172B00100200400
    DCB604DB2034B00FD16986D4ADB9D16B21CB4E4457A33DEC0F538903683E96E9FF1A5203FA27F86EF7528D89A0845D2520166E34
    0754FFEA2AAE0F612B7CE5DA094A0236CDAC45034B0B6842C18E7F6B51B93A3CF7E60663B8AD061C30A62602";
const CERT_5: &str = "01050006C98A03B4FD606B64E4CBD466B8D76CB131069BAE6F3AA1878857C9F624E31D77A799B8007173E5F8
    068431D0D3F5EE16B4C9FFD59DF373E152A87281BAE744AA5FCF72171BF4B27C4E8FC1C6A9FC5CA11058BC49647063D7903CFD9F
    512F89099B27BC0C";
const CERT_7: &str = "DCB604DB2034B00FD16986D4ADB9D16B21CB4E4457A33DEC0F538903683E96E90006DA3A805CF6006F917906
    6534DE6B45AD47A5C469063EE462762723396DC9F25452A0A52DA3F5087DD239F2A311F6B0D4DFEFF4ABD089DC3D0237A0ABAB19
    EB2045B91CDCAF04BE0A72D548A27BF2E77BD876ECFE5E1BE622350DA6BF31F6E306ED896488DD5B39409B23FC3EB7B2C9F7328E
    B18DA36D54D80575899EA6507CCBFCDF1F";
const RECORDED_LEAF: &str = "b4fd606b64e4cbd466b8d76cb131069bae6f3aa1878857c9f624e31d77a799b8";
const RECORDED_RSA: &str = "2f1fb49bb332a9eec617e41e911c33fb3890aef3";
const RECORDED_ED25519: &str = "dcb604db2034b00fd16986d4adb9d16b21cb4e4457a33dec0f538903683e96e9";

fn recorded() -> Vec<(CertType, Vec<u8>)> {
    vec![
        (CertType::RSA_ID_X509, unhex(CERT_2)),
        (CertType::IDENTITY_V_SIGNING, unhex(CERT_4)),
        (CertType::SIGNING_V_TLS_CERT, unhex(CERT_5)),
        (CertType::RSA_ID_V_IDENTITY, unhex(CERT_7)),
    ]
}

/// A whole variable-length cell.
fn variable(command: Command, body: &[u8]) -> Vec<u8> {
    let mut cell = vec![0; cell::VARIABLE_HEADER_LEN + body.len()];
    cell::encode_variable(None, command, &mut cell, |out| Ok(out.bytes(body)?)).unwrap();
    cell
}

fn fixed(circ_id: Option<CircId>, command: Command, body: &[u8]) -> Vec<u8> {
    let mut cell = [0; cell::FIXED_LEN];
    cell::encode_fixed(circ_id, command, &mut cell, |out| Ok(out.bytes(body)?)).unwrap();
    cell.to_vec()
}

fn certs_cell(certificates: &[(CertType, Vec<u8>)]) -> Vec<u8> {
    let list: Vec<(CertType, &[u8])> = certificates.iter().map(|(kind, bytes)| (*kind, &bytes[..])).collect();
    let mut body = vec![0; 8192];
    let mut writer = Writer::new(&mut body);
    Certs::encode_list(&list, &mut writer).unwrap();
    let n = writer.written();
    variable(Command::CERTS, &body[..n])
}

/// The recorded relay's half, with these certificates.
fn recorded_half(certificates: &[(CertType, Vec<u8>)]) -> [Vec<u8>; 4] {
    [
        unhex("0000 07 0006 0003 0004 0005"),
        certs_cell(certificates),
        unhex(&format!("00000000 82 0026 {} 0002 0003 00ff", "FF".repeat(32))),
        fixed(None, Command::NETINFO, &unhex("48949290 04047f000002 01 04047f000003")),
    ]
}

fn dial_recorded(leaf: &str) -> Link {
    let digest = LeafDigest(unhex(leaf).try_into().unwrap());
    let address = IpAddr::from([127, 0, 0, 3]);
    Link::initiate(RelayIds::default(), digest, address, Timing::default(), then())
}

fn play(link: &mut Link, cells: &[Vec<u8>]) -> Result<Heard, Error> {
    let mut heard = Heard::default();
    for cell in cells {
        feed(link, cell, then())?;
    }
    drain(link, &mut heard);
    Ok(heard)
}

#[test]
fn a_recorded_relay_is_proved() {
    let mut link = dial_recorded(RECORDED_LEAF);
    let heard = play(&mut link, &recorded_half(&recorded())).unwrap();
    let established = *heard.established.unwrap();
    let relay = established.relay.unwrap();
    assert_eq!(relay.rsa().0[..], unhex(RECORDED_RSA));
    assert_eq!(relay.ed25519().0[..], unhex(RECORDED_ED25519));
    // Its NETINFO says 2008-08-02, twelve years before the certificates.
    let Some(ClockSkew::Ahead(by)) = established.skew else { panic!() };
    assert_eq!(by.as_secs(), 1_601_000_000 - 0x4894_9290);
    assert!(established.canonical);
}

#[test]
fn vpadding_may_come_anywhere_and_nothing_else_may() {
    let cells = recorded_half(&recorded());
    for at in 1..=4 {
        let mut with_padding = cells.to_vec();
        with_padding.insert(at, variable(Command::VPADDING, &[1; 700]));
        assert!(play(&mut dial_recorded(RECORDED_LEAF), &with_padding).unwrap().established.is_some());
    }
    for at in 1..4 {
        for (intruder, command) in [
            (fixed(None, Command::PADDING, &[]), Command::PADDING),
            (fixed(CircId::new(0x8000_0001), Command::RELAY, &[]), Command::RELAY),
            (variable(Command(200), &[]), Command(200)),
        ] {
            let mut with_intruder = cells.to_vec();
            with_intruder.insert(at, intruder);
            let error = play(&mut dial_recorded(RECORDED_LEAF), &with_intruder).err();
            assert_eq!(error, Some(Error::OutOfTurn(command)), "at {at}");
        }
    }
}

#[test]
fn each_cell_has_its_turn() {
    let cells = recorded_half(&recorded());
    let commands = [Command::VERSIONS, Command::CERTS, Command::AUTH_CHALLENGE, Command::NETINFO];
    // Twice in a row.
    for again in 1..4 {
        let mut twice = cells.to_vec();
        twice.insert(again, cells[again].clone());
        let error = play(&mut dial_recorded(RECORDED_LEAF), &twice).err();
        assert_eq!(error, Some(Error::OutOfTurn(commands[again])), "{again}");
    }
    // Left out.
    for missing in 1..3 {
        let mut without = cells.to_vec();
        without.remove(missing);
        let error = play(&mut dial_recorded(RECORDED_LEAF), &without).err();
        assert_eq!(error, Some(Error::OutOfTurn(commands[missing + 1])), "{missing}");
    }
    let error = play(&mut dial_recorded(RECORDED_LEAF), &cells[1..]).err();
    assert_eq!(error, Some(Error::Wire(wire::Error::VersionsExpected)));
}

#[test]
fn a_version_must_be_common_to_both() {
    for (versions, error) in [
        ("0000 07 0002 0003", Some(Error::NoCommonVersion)),
        ("0000 07 0000", Some(Error::NoCommonVersion)),
        ("0000 07 0003 000400", Some(Error::Wire(wire::Error::VersionsOddLength))),
        ("0000 07 0004 0004 1234", None),
    ] {
        assert_eq!(play(&mut dial_recorded(RECORDED_LEAF), &[unhex(versions)]).err(), error, "{versions}");
    }
    let mut cells = recorded_half(&recorded());
    cells[0] = unhex("0000 07 0002 0004");
    let heard = play(&mut dial_recorded(RECORDED_LEAF), &cells).unwrap();
    assert_eq!(heard.established.unwrap().version, 4);
}

#[test]
fn every_certificate_is_needed_and_none_may_be_another() {
    let good = recorded();
    let refuse = |certificates: &[(CertType, Vec<u8>)]| {
        play(&mut dial_recorded(RECORDED_LEAF), &recorded_half(certificates)).err().expect("refused")
    };
    for missing in 0..4 {
        let mut without = good.clone();
        let (kind, _) = without.remove(missing);
        assert_eq!(refuse(&without), Error::CertificateMissing(kind));
    }
    // One byte changed, anywhere but in what we do not read: the names, the dates and the
    // signature of the X.509 certificate, which prove nothing.
    for (index, (kind, bytes)) in good.iter().enumerate() {
        for at in 0..bytes.len() {
            let mut changed = good.clone();
            changed[index].1[at] ^= 0x01;
            let result = play(&mut dial_recorded(RECORDED_LEAF), &recorded_half(&changed));
            assert!(result.is_err() || *kind == CertType::RSA_ID_X509, "{kind:?} byte {at}");
            if let Ok(heard) = result {
                let relay = heard.established.unwrap().relay.unwrap();
                assert_eq!(relay.rsa().0[..], unhex(RECORDED_RSA), "byte {at} changed the identity");
            }
        }
    }
    let other_leaf = "00".repeat(32);
    let error = play(&mut dial_recorded(&other_leaf), &recorded_half(&good)).err();
    assert_eq!(error, Some(Error::TlsNotCertified));
}

#[test]
fn a_relay_cannot_borrow_another_relays_rsa_identity() {
    let mut mixed = recorded();
    let keys = keys();
    let ours = credentials(&keys);
    let now = then().wall;
    let leaf = LeafDigest(unhex(RECORDED_LEAF).try_into().unwrap());
    let thief = Credentials::issue(&keys, leaf, now - DAY, now + DAY, &mut Seeded(1)).unwrap();
    mixed[1] = thief.certificates()[1].clone();
    mixed[2] = thief.certificates()[2].clone();
    let error = play(&mut dial_recorded(RECORDED_LEAF), &recorded_half(&mixed)).err();
    assert_eq!(error, Some(Error::IdentitiesDisagree));
    mixed[3] = ours.certificates()[3].clone();
    let error = play(&mut dial_recorded(RECORDED_LEAF), &recorded_half(&mixed)).err();
    assert_eq!(error, Some(Error::Certificate(cert::Error::WrongSignature)));
}

#[test]
fn old_and_future_certificates_blame_the_clock() {
    let keys = keys();
    for (elapsed, error) in [
        (Duration::ZERO, None),
        // The Ed25519 certificates end first.
        (DAY + Duration::from_secs(3600), Some(Error::Certificate(cert::Error::Expired))),
    ] {
        let mut pair = Pair::new(keys.ids(), credentials(&keys));
        pair.now = Now { wall: pair.now.wall + elapsed, ..pair.now };
        assert_eq!(pair.drive().err(), error);
    }
    let identity_only = |from: Wall, to: Wall| {
        let mut credentials = credentials(&keys);
        let other = Credentials::issue(&keys, LEAF, from, to, &mut Seeded(1)).unwrap();
        credentials.certificates_mut()[0] = other.certificates()[0].clone();
        Pair::new(keys.ids(), credentials).drive().err()
    };
    let now = then().wall;
    assert_eq!(identity_only(now - DAY * 9, now - DAY * 2), None);
    assert_eq!(identity_only(now - DAY * 9, now - DAY * 3), Some(Error::IdentityCertificateOutdated));
    assert_eq!(identity_only(now + DAY * 29, now + DAY * 40), None);
    assert_eq!(identity_only(now + DAY * 31, now + DAY * 40), Some(Error::IdentityCertificateOutdated));
    assert_eq!(Error::IdentityCertificateOutdated.blame(), Blame::Clock);
    assert_eq!(Error::Certificate(cert::Error::Expired).blame(), Blame::Clock);
}

#[test]
fn an_identity_of_another_size_is_no_relays() {
    let mut keys = keys();
    keys.rsa = rsa::KeyPair::random(&mut Seeded(3), 1536).unwrap();
    assert_eq!(Pair::new(RelayIds::default(), credentials(&keys)).drive().err(), Some(Error::BadRsaIdentity));
}

#[test]
fn netinfo_goes_out_only_after_the_relay_is_proved() {
    let mut link = dial_recorded(RECORDED_LEAF);
    let cells = recorded_half(&recorded());
    let mut heard = Heard::default();
    assert_eq!(drain(&mut link, &mut heard), unhex("0000 07 0004 0004 0005"));
    feed(&mut link, &cells[0], then()).unwrap();
    assert!(drain(&mut link, &mut heard).is_empty());
    feed(&mut link, &cells[1], then()).unwrap();
    let netinfo = drain(&mut link, &mut heard);
    assert_eq!(netinfo, fixed(None, Command::NETINFO, &unhex("00000000 04 04 7f000003 00")));
}

#[test]
fn cells_flow_both_ways_and_are_worked_on_in_place() {
    let mut pair = Pair::open();
    let (now, mut entropy) = (pair.now, Seeded(2));
    let circuit = pair.near.open_circuit(&mut entropy).unwrap();
    pair.near.handle_send(circuit, Command::CREATE2, &[1; 509], now).unwrap();
    pair.near.handle_send(circuit, Command::RELAY_EARLY, &[2; 509], now).unwrap();
    let (_, far) = pair.drive().unwrap();
    let expected =
        [(Some(circuit), Command::CREATE2, vec![1; 509]), (Some(circuit), Command::RELAY_EARLY, vec![2; 509])];
    assert_eq!(far.cells, expected);

    pair.far.handle_send(circuit, Command::RELAY, &[3; 509], now).unwrap();
    let mut heard = Heard::default();
    let bytes = drain(&mut pair.far, &mut heard);
    pair.feed_near(&bytes).unwrap();
    let Some(Output::Cells(mut cells)) = pair.near.poll_output() else { panic!() };
    cells.body_mut(0).unwrap().fill(9);
    assert_eq!(cells.buffer[cells.cells[0].body.clone()], [9; 509]);
    assert_eq!(cells.body_mut(1), None);
}

#[test]
fn a_destroyed_circuit_is_heard_of_once() {
    let mut pair = Pair::open();
    let (now, mut entropy) = (pair.now, Seeded(2));
    let circuit = pair.near.open_circuit(&mut entropy).unwrap();
    pair.near.handle_send(circuit, Command::CREATE2, &[0; 509], now).unwrap();
    pair.drive().unwrap();
    pair.far.close_circuit(circuit, DestroyReason::FINISHED, now).unwrap();
    pair.far.close_circuit(circuit, DestroyReason::FINISHED, now).unwrap();
    let (near, _) = pair.drive().unwrap();
    assert_eq!(near.cells.len(), 1);
    assert_eq!((near.cells[0].1, near.cells[0].2[0]), (Command::DESTROY, DestroyReason::FINISHED.0));
    // It is gone on this side too: nothing is left to close, and nothing may come.
    pair.near.close_circuit(circuit, DestroyReason::NONE, now).unwrap();
    assert!(pair.near.poll_output().is_none());
    assert_eq!(pair.feed_near(&fixed(Some(circuit), Command::RELAY, &[])), Err(Error::UnknownCircuit));
}

#[test]
fn a_cell_on_its_way_when_we_close_is_dropped_quietly() {
    let mut pair = Pair::open();
    let (now, mut entropy) = (pair.now, Seeded(2));
    let circuit = pair.near.open_circuit(&mut entropy).unwrap();
    pair.near.handle_send(circuit, Command::CREATE2, &[0; 509], now).unwrap();
    pair.near.close_circuit(circuit, DestroyReason::NONE, now).unwrap();
    pair.feed_near(&fixed(Some(circuit), Command::RELAY, &[])).unwrap();
    let mut heard = Heard::default();
    drain(&mut pair.near, &mut heard);
    assert!(heard.cells.is_empty());
}

#[test]
fn an_open_link_names_each_misdeed_and_stays_dead() {
    let circ_id = CircId::new(0x8000_0001);
    for (cell, error) in [
        (fixed(circ_id, Command::CREATE2, &[]), Error::CreateFromRelay),
        (fixed(circ_id, Command::CREATE_FAST, &[]), Error::CreateFromRelay),
        (fixed(circ_id, Command::RELAY, &[]), Error::UnknownCircuit),
        (fixed(circ_id, Command::CREATED2, &[]), Error::UnknownCircuit),
        (fixed(circ_id, Command::RELAY_EARLY, &[]), Error::RelayEarlyFromRelay),
        (fixed(None, Command::NETINFO, &[]), Error::OutOfTurn(Command::NETINFO)),
        (variable(Command::CERTS, &[0]), Error::OutOfTurn(Command::CERTS)),
        (variable(Command::AUTHENTICATE, &[]), Error::OutOfTurn(Command::AUTHENTICATE)),
        (fixed(None, Command::PADDING_NEGOTIATE, &[0, 2, 0, 1, 0, 2]), Error::PaddingNegotiateFromRelay),
        (fixed(None, Command::PADDING_NEGOTIATE, &[9]), Error::Wire(wire::Error::LinkPaddingUnknown)),
        (vec![0, 0, 0, 0, 3], Error::Wire(wire::Error::CircIdMissing)),
        (vec![0, 0, 0, 1, 0], Error::Wire(wire::Error::CircIdForbidden)),
    ] {
        let mut pair = Pair::open();
        assert_eq!(pair.feed_near(&cell), Err(error));
        assert_eq!((error.blame(), error.scope()), (Blame::Peer, Scope::Link));
        let now = pair.now;
        assert_eq!(pair.feed_near(&fixed(None, Command::PADDING, &[])), Err(error));
        let circuit = CircId::new(0x8000_0002).unwrap();
        assert_eq!(pair.near.handle_send(circuit, Command::RELAY, &[0; 509], now), Err(error));
        assert_eq!(pair.near.next_deadline(), None);
    }
}

#[test]
fn padding_and_unknown_commands_are_dropped() {
    let mut pair = Pair::open();
    for cell in [
        fixed(None, Command::PADDING, &[5; 509]),
        variable(Command::VPADDING, &[5; 65_535]),
        variable(Command(250), &[1, 2, 3]),
        fixed(None, Command(99), &[]),
        fixed(CircId::new(0x8000_0001), Command(99), &[]),
        [&[0x80, 0, 0, 1, 200, 0xEA, 0x60][..], &[7; 60_000]].concat(),
    ] {
        pair.feed_near(&cell).unwrap();
        assert!(pair.near.poll_output().is_none());
    }
}

#[test]
fn cells_before_the_cell_that_kills_the_link_are_not_lost() {
    let mut pair = Pair::open();
    let circuit = pair.near.open_circuit(&mut Seeded(2)).unwrap();
    let cells = [fixed(Some(circuit), Command::DESTROY, &[9]), fixed(Some(circuit), Command::RELAY, &[])].concat();
    assert_eq!(pair.feed_near(&cells), Err(Error::UnknownCircuit));
    let mut heard = Heard::default();
    drain(&mut pair.near, &mut heard);
    assert_eq!(heard.cells.len(), 1);
}

#[test]
fn both_sides_of_a_silent_link_pad() {
    let mut pair = Pair::open();
    let (start, mut entropy) = (pair.now, Seeded(2));
    assert!(pair.near.next_deadline().is_none(), "a client pads once the link is used in earnest");
    pair.near.engage_padding(start);
    let (mut near_sent, mut far_sent) = (0, 0);
    let end = start.tick + Duration::from_secs(600);
    while let Some(at) = earlier(pair.near.next_deadline(), pair.far.next_deadline())
        && at < end
    {
        pair.now = Now { tick: at, ..pair.now };
        let now = pair.now;
        pair.near.handle_timeout(now, &mut entropy).unwrap();
        pair.far.handle_timeout(now, &mut entropy).unwrap();
        let (mut near, mut far) = (Heard::default(), Heard::default());
        let (forward, backward) = (drain(&mut pair.near, &mut near), drain(&mut pair.far, &mut far));
        near_sent += forward.len() / cell::FIXED_LEN;
        far_sent += backward.len() / cell::FIXED_LEN;
        assert!(forward.is_empty() || forward[..cell::FIXED_LEN] == fixed(None, Command::PADDING, &[]));
        pair.feed_far(&forward).unwrap();
        pair.feed_near(&backward).unwrap();
    }
    // Each silence ends with the shorter of two draws of 1.5 to 9.5 seconds.
    assert!((60..200).contains(&(near_sent + far_sent)), "{near_sent} {far_sent}");
    assert!(near_sent > 20 && far_sent > 20, "{near_sent} {far_sent}");
}

#[test]
fn reduced_padding_wanted_during_the_handshake_silences_the_relay() {
    let keys = keys();
    let mut pair = Pair::new(keys.ids(), credentials(&keys));
    let start = pair.now;
    pair.near.set_padding(Mode::Reduced, Timing::default(), start);
    pair.near.engage_padding(start);
    pair.drive().unwrap();
    assert_eq!(pair.far.next_deadline(), None, "the relay was told to stop");
    assert!(pair.near.next_deadline().is_some());
}

#[test]
fn padding_waits_while_anything_else_is_to_be_written() {
    let mut pair = Pair::open();
    let (start, mut entropy) = (pair.now, Seeded(2));
    pair.near.engage_padding(start);
    let circuit = pair.near.open_circuit(&mut entropy).unwrap();
    pair.near.handle_send(circuit, Command::CREATE2, &[0; 509], start).unwrap();
    let queued = pair.near.queued();
    for later in 1..100 {
        pair.near.handle_timeout(start.plus(Duration::from_secs(later)), &mut entropy).unwrap();
    }
    assert_eq!(pair.near.queued(), queued);
}

#[test]
fn a_cell_sent_begins_a_new_silence() {
    let mut pair = Pair::open();
    let start = pair.now;
    pair.near.engage_padding(start);
    let circuit = pair.near.open_circuit(&mut Seeded(2)).unwrap();
    let before = pair.near.next_deadline().unwrap();
    let later = start.plus(Duration::from_secs(1));
    pair.near.handle_send(circuit, Command::CREATE2, &[0; 509], later).unwrap();
    assert_eq!(pair.near.next_deadline(), Some(before + Duration::from_secs(1)));
}

#[test]
fn a_handshake_that_takes_too_long_is_given_up() {
    let keys = keys();
    for mut link in [Pair::new(keys.ids(), credentials(&keys)).near, Pair::new(keys.ids(), credentials(&keys)).far] {
        let end = link.next_deadline().unwrap();
        assert_eq!(end.since(then().tick), HANDSHAKE_LIMIT);
        let early = Now { tick: end, ..then() };
        assert_eq!(link.handle_timeout(then(), &mut Seeded(1)), Ok(()));
        assert_eq!(link.handle_timeout(early, &mut Seeded(1)), Err(Error::HandshakeTooSlow));
        assert_eq!(link.handle_timeout(early, &mut Seeded(1)), Err(Error::HandshakeTooSlow));
        assert_eq!((link.next_deadline(), Error::HandshakeTooSlow.blame()), (None, Blame::Network));
    }
    assert!(Pair::open().near.next_deadline().is_none(), "an open link has no such limit");
}

#[test]
fn a_handshake_of_too_many_cells_is_given_up() {
    let mut link = dial_recorded(RECORDED_LEAF);
    let padding = variable(Command::VPADDING, &[0; 60_000]);
    play(&mut link, &recorded_half(&recorded())[..2]).unwrap();
    let fed = (0..100).find_map(|n| feed(&mut link, &padding, then()).err().map(|error| (n, error)));
    assert_eq!(fed, Some((MAX_HANDSHAKE_CELLS - 2, Error::HandshakeTooLong)));
    let mut far = Pair::new(RelayIds::default(), credentials(&keys())).far;
    play(&mut far, &[unhex("0000 07 0004 0004 0005")]).unwrap();
    let authenticate = variable(Command::AUTHENTICATE, &unhex("0003 0000"));
    assert!((0..100).any(|_| feed(&mut far, &authenticate, then()) == Err(Error::HandshakeTooLong)));
}

#[test]
fn each_cell_of_the_handshake_is_read_to_its_end() {
    let good = recorded_half(&recorded());
    for (at, cell, error) in [
        (2, variable(Command::AUTH_CHALLENGE, &[0; 33]), wire::Error::Truncated),
        (3, fixed(None, Command::NETINFO, &unhex("00000000 04 05 7f00000200 00")), wire::Error::AddressWrongLength),
        (1, variable(Command::CERTS, &[2]), wire::Error::Truncated),
    ] {
        let mut cells = good.to_vec();
        cells[at] = cell;
        assert_eq!(play(&mut dial_recorded(RECORDED_LEAF), &cells).err(), Some(Error::Wire(error)));
    }
}

#[test]
fn netinfo_is_believed_for_what_it_says_and_no_more() {
    let established = |netinfo: &str| {
        let mut cells = recorded_half(&recorded());
        cells[3] = fixed(None, Command::NETINFO, &unhex(netinfo));
        *play(&mut dial_recorded(RECORDED_LEAF), &cells).unwrap().established.unwrap()
    };
    let silent = established("00000000 04047f000002 01 04047f000003");
    assert_eq!(silent.skew, None, "zero is no date");
    assert!(silent.canonical);
    assert!(!established("00000000 04047f000002 01 04047f000004").canonical);
    assert!(!established("00000000 04047f000002 00").canonical);
    let many = established(&format!("00000000 04047f000002 14 {}", "04047f000004".repeat(20)));
    assert_eq!(many.their_addresses.len(), 8);
    let text = format!("{silent:?}");
    assert!(!text.contains("127.0") && !text.contains(RECORDED_RSA), "{text}");
}

#[test]
fn destroy_goes_out_however_full_the_queue_is() {
    let mut pair = Pair::open();
    let (now, mut entropy) = (pair.now, Seeded(2));
    let circuit = pair.near.open_circuit(&mut entropy).unwrap();
    while pair.near.handle_send(circuit, Command::CREATE2, &[0; 509], now).is_ok() {}
    let full = pair.near.queued();
    pair.near.close_circuit(circuit, DestroyReason::NONE, now).unwrap();
    pair.near.close_circuit(circuit, DestroyReason::NONE, now).unwrap();
    assert_eq!(pair.near.queued(), full + cell::FIXED_LEN);
    let refused = pair.near.handle_send(circuit, Command::RELAY, &[0; 509], now);
    assert_eq!(refused, Err(Error::CircuitNotOpen));
}

#[test]
fn a_link_whose_other_side_does_not_read_is_given_up() {
    let mut pair = Pair::open();
    let (now, mut entropy) = (pair.now, Seeded(2));
    let mut error = None;
    for _ in 0..10_000 {
        let Ok(circuit) = pair.near.open_circuit(&mut entropy) else { break };
        let sent = pair.near.handle_send(circuit, Command::CREATE2, &[0; 509], now);
        error = pair.near.close_circuit(circuit, DestroyReason::NONE, now).err();
        // What was never announced is not destroyed either.
        assert!(sent.is_ok() || error.is_none());
    }
    assert_eq!(error, None, "a full queue announces no circuits, so none need a DESTROY");
    assert!(pair.near.queued() <= MAX_QUEUED + cell::FIXED_LEN);

    let mut pair = Pair::open();
    for number in 1..10_000 {
        let id = CircId::new(CircId::INITIATOR | number).unwrap();
        if pair.feed_far(&fixed(Some(id), Command::CREATE2, &[])).is_err() {
            break;
        }
        error = pair.far.close_circuit(id, DestroyReason::NONE, now).err();
    }
    assert_eq!(error, Some(Error::Stuck));
    assert_eq!((Error::Stuck.blame(), Error::Stuck.scope()), (Blame::Network, Scope::Link));
    assert!(pair.far.queued() <= MAX_QUEUED + MAX_QUEUED_DESTROYS);
    let again = pair.far.close_circuit(CircId::new(CircId::INITIATOR | 1).unwrap(), DestroyReason::NONE, now);
    assert_eq!(again, Err(Error::Stuck), "a link that failed stays failed");
}

#[test]
fn circuits_open_on_open_links_only() {
    let keys = keys();
    let mut near = Pair::new(keys.ids(), credentials(&keys)).near;
    assert_eq!(near.open_circuit(&mut Seeded(1)), Err(Error::NotOpen));
    let mut pair = Pair::open();
    let error = Error::OutOfTurn(Command::NETINFO);
    assert_eq!(pair.feed_near(&fixed(None, Command::NETINFO, &[])), Err(error));
    assert_eq!(pair.near.open_circuit(&mut Seeded(1)), Err(error));
    pair.near.set_padding(Mode::Off, Timing::default(), pair.now);
    pair.near.engage_padding(pair.now);
    assert_eq!(pair.near.take_transmit(), None);
}

#[test]
fn bytes_that_come_too_late_end_no_handshake() {
    let mut link = dial_recorded(RECORDED_LEAF);
    let cells = recorded_half(&recorded());
    play(&mut link, &cells[..3]).unwrap();
    let late = then().plus(HANDSHAKE_LIMIT);
    assert_eq!(feed(&mut link, &cells[3], late), Err(Error::HandshakeTooSlow));
}

#[test]
fn buffers_that_come_back_are_kept_up_to_a_bound() {
    let mut pair = Pair::open();
    for _ in 0..10 {
        pair.near.recycle(Cells { buffer: vec![1; 10], cells: Vec::new() });
    }
    assert_eq!(pair.near.spare.len(), MAX_SPARE);
    assert!(pair.near.begin_read().is_empty());
}

#[test]
fn a_read_that_was_given_up_loses_nothing() {
    let mut pair = Pair::open();
    let circuit = pair.near.open_circuit(&mut Seeded(2)).unwrap();
    let cell = fixed(Some(circuit), Command::RELAY, &[5; 20]);
    pair.feed_near(&cell[..100]).unwrap();
    drop(pair.near.begin_read());
    pair.feed_near(&cell[100..]).unwrap();
    let mut heard = Heard::default();
    drain(&mut pair.near, &mut heard);
    assert_eq!(heard.cells.len(), 1);
}

#[test]
fn a_relay_hears_no_answers_from_its_clients() {
    let mut pair = Pair::open();
    let circuit = pair.near.open_circuit(&mut Seeded(2)).unwrap();
    pair.feed_far(&fixed(Some(circuit), Command::CREATE2, &[])).unwrap();
    pair.feed_far(&fixed(Some(circuit), Command::RELAY_EARLY, &[])).unwrap();
    let created = fixed(Some(circuit), Command::CREATED2, &[]);
    assert_eq!(pair.feed_far(&created), Err(Error::OutOfTurn(Command::CREATED2)));
}

#[test]
fn a_queue_that_nobody_drains_is_bounded() {
    let mut pair = Pair::open();
    let (now, mut entropy) = (pair.now, Seeded(2));
    let circuit = pair.near.open_circuit(&mut entropy).unwrap();
    let mut sent = 0;
    while pair.near.handle_send(circuit, Command::RELAY, &[0; 509], now).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, MAX_QUEUED / cell::FIXED_LEN);
    let refused = pair.near.handle_send(circuit, Command::RELAY, &[0; 509], now);
    assert_eq!(refused, Err(Error::QueueFull));
    assert_eq!(Error::QueueFull.scope(), Scope::Circuit, "and the link goes on");
    assert!(pair.near.queued() <= MAX_QUEUED);
    pair.near.take_transmit();
    assert_eq!(pair.near.handle_send(circuit, Command::RELAY, &[0; 509], now), Ok(()));
}

#[test]
fn nothing_is_sent_before_the_handshake_is_over() {
    let keys = keys();
    let mut pair = Pair::new(keys.ids(), credentials(&keys));
    let circuit = CircId::new(0x8000_0001).unwrap();
    let refused = pair.near.handle_send(circuit, Command::RELAY, &[0; 509], pair.now);
    assert_eq!(refused, Err(Error::NotOpen));
}

#[test]
fn a_relay_overlooks_an_initiator_that_authenticates() {
    let keys = keys();
    let mut far = Link::respond(responder(credentials(&keys)), Timing::default(), then());
    let half = [
        unhex("0000 07 0006 0003 0004 0005"),
        certs_cell(&recorded()),
        variable(Command::AUTHENTICATE, &unhex("0003 0002 AAAA")),
        fixed(None, Command::NETINFO, &unhex("00000000 04 04 7f000003 00")),
    ];
    assert!(play(&mut far, &half).unwrap().established.is_some());
}

proptest::proptest! {
    /// Whatever a relay sends, and however it is cut, we answer with a value or an error.
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2000), good in 0_usize..5) {
        let mut link = dial_recorded(RECORDED_LEAF);
        play(&mut link, &recorded_half(&recorded())[..good.min(4)]).unwrap();
        let _ = play(&mut link, &[bytes]);
    }
}

#[test]
fn proofs_cannot_be_made_without_certificates() {
    let certs = Certs::parse(&[0]).unwrap();
    let refused = Proven::check(&certs, LEAF, &RelayIds::default(), then().wall);
    assert_eq!(refused, Err(Error::CertificateMissing(CertType::IDENTITY_V_SIGNING)));
}

/// C tor: `KeepalivePeriod`, whatever `ConnectionPadding` says.
#[test]
fn a_link_that_is_not_padded_is_kept_alive_all_the_same() {
    let mut pair = Pair::open();
    pair.near.set_padding(Mode::Off, Timing::default(), pair.now);
    pair.drive().unwrap();
    assert_eq!(pair.near.next_deadline(), None);
    pair.near.set_keepalive(Duration::from_secs(300));
    for _ in 0..3 {
        let last = pair.now.tick;
        let at = pair.near.next_deadline().unwrap();
        assert!(at > last && at.since(last) <= Duration::from_secs(300));
        pair.now = pair.now.plus(at.since(last));
        pair.near.handle_timeout(pair.now, &mut Seeded(1)).unwrap();
        assert_eq!(pair.near.take_transmit().map(|bytes| bytes.len()), Some(cell::FIXED_LEN));
    }
    pair.near.set_keepalive(Duration::ZERO);
    assert_eq!(pair.near.next_deadline(), None);
}
