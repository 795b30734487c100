//! The published vectors, and that both ends agree whatever is sent.

use super::*;
use crate::base::random::{self, Seeded};
use crate::crypto::kdf;
use crate::crypto::tests::{shake, unhex, unhex_array};

const PUBLISHED: &str = include_str!("vectors.txt");

/// The published cases of one kind, their fields as text.
fn cases(kind: &str) -> Vec<Vec<&'static str>> {
    let lines = PUBLISHED.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let cases: Vec<_> = lines.filter(|fields| fields[0] == kind).map(|fields| fields[1..].to_vec()).collect();
    assert!(cases.len() >= 4, "{kind}");
    cases
}

fn state<E: Et>(keys: &str, nonce: &str, last_tag: &str) -> State<E> {
    let mut state = State::new(&unhex_array(&format!("{keys}{nonce}")));
    state.last_tag = unhex_array(last_tag);
    state
}

fn cell(left: &str, right: &str) -> CellBody {
    unhex_array(&format!("{left}{right}"))
}

const ZERO: &str = "00000000000000000000000000000000";

/// Keys cannot be read back, so two states are the same if they do the same.
fn assert_same_state<E>(state: &mut State<E>, expected: &mut State<E>)
where
    E: Et,
{
    assert_eq!(state.nonce, expected.nonce);
    assert_eq!(state.last_tag, expected.last_tag);
    assert!(state.next_keys(&[5; 16]) == expected.next_keys(&[5; 16]));
    assert_eq!(state.mask(3, &[6; RIGHT_LEN]), expected.mask(3, &[6; RIGHT_LEN]));
}

#[test]
fn published_et() {
    for (kind, encrypts) in [("et-encrypt", true), ("et-decrypt", false)] {
        for fields in cases(kind) {
            let [keys, tweak, left, expected] = fields[..] else { panic!("{kind}") };
            let (last_tag, rest) = tweak.split_at(32);
            let (command, right) = rest.split_at(2);
            let all = format!("{keys}{ZERO}{ZERO}");
            let mut left: Block = unhex_array(left);
            let mut state: State<Aes128Dec> = state(&all, ZERO, last_tag);
            let mask = state.mask(unhex(command)[0], &unhex_array(right));
            xor(&mut left, &mask);
            if encrypts {
                Aes128Enc::new((&unhex_array::<16>(&keys[..32])).into()).encrypt_block((&mut left).into());
            } else {
                state.et_cipher.decrypt_block((&mut left).into());
            }
            xor(&mut left, &mask);
            assert_eq!(left[..], unhex(expected));
        }
    }
}

#[test]
fn published_prf() {
    for fields in cases("prf") {
        let [keys, counter, input, expected] = fields[..] else { panic!() };
        let mut state: State<Aes128Enc> = state(&format!("{ZERO}{ZERO}{keys}"), ZERO, ZERO);
        let tag = unhex_array(input);
        if counter == "0" {
            let mut right = [0; RIGHT_LEN];
            state.prf_xor(&tag, &mut right);
            assert_eq!(right[..], unhex(expected));
        } else {
            let expected = unhex(expected);
            assert!(expected.len() >= KEYS_LEN);
            assert_eq!(state.next_keys(&tag).expose()[..], expected[..KEYS_LEN]);
        }
    }
}

#[test]
fn published_uiv() {
    for fields in cases("uiv-encrypt") {
        let [keys, tweak, left, right, expected_left, expected_right] = fields[..] else { panic!() };
        let mut relay = Relay(state(keys, ZERO, &tweak[..32]));
        let mut cell = cell(left, right);
        relay.wrap(unhex(&tweak[32..])[0], &mut cell);
        assert_eq!(cell, self::cell(expected_left, expected_right));
    }
    for fields in cases("uiv-decrypt") {
        let [keys, tweak, left, right, expected_left, expected_right] = fields[..] else { panic!() };
        let mut client = Client(state(keys, ZERO, &tweak[..32]));
        let mut cell = cell(left, right);
        client.wrap(unhex(&tweak[32..])[0], &mut cell);
        assert_eq!(cell, self::cell(expected_left, expected_right));
    }
}

#[test]
fn published_update() {
    for fields in cases("update") {
        let [keys, nonce, new_keys, new_nonce] = fields[..] else { panic!() };
        let mut state: State<Aes128Enc> = state(keys, nonce, ZERO);
        let nonce = unhex_array(nonce);
        assert_eq!(state.next_keys(&nonce).expose()[..], unhex(&format!("{new_keys}{new_nonce}")));
        state.update(&nonce);
        assert_same_state(&mut state, &mut self::state(new_keys, new_nonce, ZERO));
    }
}

#[test]
fn published_relay() {
    for (kind, backward) in [("relay-backward", true), ("relay-forward", false)] {
        for fields in cases(kind) {
            let [keys, nonce, tag, command, left, right, after @ ..] = &fields[..] else { panic!() };
            let [keys_after, nonce_after, tag_after, left_after, right_after] = after else { panic!() };
            let mut relay = Relay(state(keys, nonce, tag));
            let mut cell = cell(left, right);
            let command = unhex(command)[0];
            if backward {
                relay.wrap(command, &mut cell);
            } else {
                relay.peel(command, &mut cell);
            }
            assert_eq!(cell, self::cell(left_after, right_after));
            assert_same_state(&mut relay.0, &mut state(keys_after, nonce_after, tag_after));
        }
    }
}

#[test]
fn published_relay_originate() {
    for fields in cases("relay-originate") {
        let [keys, nonce, tag, command, right, after @ ..] = &fields[..] else { panic!() };
        let [keys_after, nonce_after, tag_after, left_after, right_after] = after else { panic!() };
        let mut relay = Relay(state(keys, nonce, tag));
        let mut cell = cell(ZERO, right);
        let sendme = relay.originate(unhex(command)[0], &mut cell);
        assert_eq!(cell, self::cell(left_after, right_after));
        assert_eq!(sendme.as_bytes(), &cell[..16]);
        assert_same_state(&mut relay.0, &mut state(keys_after, nonce_after, tag_after));
    }
}

#[test]
fn published_client_originate() {
    for fields in cases("client-originate") {
        let [hop, command, right, left_after, right_after, hops @ ..] = &fields[..] else { panic!() };
        let mut clients: Vec<_> = hops.chunks(6).map(|h| Client(state(h[0], h[1], h[2]))).collect();
        let mut cell = cell(ZERO, right);
        let command = unhex(command)[0];
        let target = hop.parse::<usize>().unwrap() - 1;
        clients[target].originate(command, &mut cell);
        clients[..target].iter_mut().rev().for_each(|nearer| nearer.wrap(command, &mut cell));
        assert_eq!(cell, self::cell(left_after, right_after));
        for (client, h) in clients.iter_mut().zip(hops.chunks(6)) {
            assert_same_state(&mut client.0, &mut state(h[3], h[4], h[5]));
        }
    }
}

/// RFC 8452, appendix A.
#[test]
fn published_polyval() {
    let mut hash = Polyval::new((&unhex_array::<16>("25629347589242761d31f826ba4b757b")).into());
    let blocks: [Block; 2] =
        [unhex_array("4f4f95668c83dfb6401762bb2d01a262"), unhex_array("d1a24ddd2721d006bbe45f20d3c9f362")];
    hash.update(Array::cast_slice_from_core(&blocks));
    assert_eq!(hash.finalize()[..], unhex("f7a3b47b846119fae5b7866cf5e5b77e"));
}

/// Inputs that are not all alike, two cells in a row. Made with a program of its own over
/// Python's `cryptography` (OpenSSL's AES), which passes the published cases.
#[test]
fn two_cells_to_the_third_hop() {
    let mut clients: Vec<_> = (1..=3)
        .map(|i| {
            let keys: [u8; 64] = shake(&format!("hop{i}"));
            let nonce: [u8; 16] = shake(&format!("hopN{i}"));
            Client::new(&[&keys[..], &nonce].concat().try_into().unwrap())
        })
        .collect();
    for (c, tag, start, sum) in [
        (
            0,
            "2245bcea8114d908923760f29995bb76",
            "19d3a32ffc624413e655d4f9380af9a9",
            "23aeb2c3bdf94511d1a42f372e22a46c706e9bfbb050344bff701f727377eb8a",
        ),
        (
            1,
            "51f2d9a40015157ef0a73849ea6f9470",
            "88bdb1a0131ae9b0d06aeca62d1c62ef",
            "e1d166e8595fe3f510f0022f69b9a63e055e401b790c7dd4e9ca24998773645e",
        ),
    ] {
        let mut cell = [0; 509];
        cell[16..].copy_from_slice(&shake::<493>(&format!("cgo cell {c}")));
        let sendme = clients[2].originate(3, &mut cell);
        clients[1].wrap(3, &mut cell);
        clients[0].wrap(3, &mut cell);
        assert_eq!(sendme.as_bytes(), unhex(tag));
        assert_eq!(cell[..16], unhex(start));
        assert_eq!(kdf::sha256(&[&cell])[..], unhex(sum));
    }
}

struct Hop {
    client: (Client, Client),
    relay: (Relay, Relay),
}

/// Forward and backward of `n` hops, both ends.
fn circuit(n: usize) -> Vec<Hop> {
    let mut entropy = Seeded(9);
    let mut keys = || random::array::<KEYS_LEN>(&mut entropy);
    (0..n)
        .map(|_| {
            let (forward, backward) = (keys(), keys());
            Hop {
                client: (Client::new(&forward), Client::new(&backward)),
                relay: (Relay::new(&forward), Relay::new(&backward)),
            }
        })
        .collect()
}

/// Sends a cell to `target`; gives which relay recognized it, with both tags.
fn send_forward(hops: &mut [Hop], target: usize, command: u8, cell: &mut CellBody) -> Option<usize> {
    let sent = hops[target].client.0.originate(command, cell);
    hops[..target].iter_mut().rev().for_each(|hop| hop.client.0.wrap(command, cell));
    for (number, hop) in hops.iter_mut().enumerate() {
        if let Some(seen) = hop.relay.0.peel(command, cell) {
            assert!(sent == seen);
            return Some(number);
        }
    }
    None
}

fn send_backward(hops: &mut [Hop], source: usize, command: u8, cell: &mut CellBody) -> Option<usize> {
    let sent = hops[source].relay.1.originate(command, cell);
    hops[..source].iter_mut().rev().for_each(|hop| hop.relay.1.wrap(command, cell));
    for (number, hop) in hops.iter_mut().enumerate() {
        if let Some(seen) = hop.client.1.peel(command, cell) {
            assert!(sent == seen);
            return Some(number);
        }
    }
    None
}

#[test]
fn both_ends_agree_for_any_row_of_cells() {
    let mut hops = circuit(3);
    let mut entropy = Seeded(10);
    for _ in 0..200 {
        let target = usize::try_from(random::below(&mut entropy, 3)).unwrap();
        let command = if random::below(&mut entropy, 8) == 0 { 9 } else { 3 };
        let plain: CellBody = random::array(&mut entropy);
        let mut cell = plain;
        assert_eq!(send_forward(&mut hops, target, command, &mut cell), Some(target));
        assert_eq!(cell[16..], plain[16..]);
        let mut cell = plain;
        assert_eq!(send_backward(&mut hops, target, command, &mut cell), Some(target));
        assert_eq!(cell[16..], plain[16..]);
    }
}

#[test]
fn a_changed_bit_ruins_the_cell_and_all_that_follow() {
    for bit in [0, 127, 128, 509 * 8 - 1] {
        let mut hops = circuit(2);
        let mut cell = [1; 509];
        hops[1].client.0.originate(3, &mut cell);
        hops[0].client.0.wrap(3, &mut cell);
        assert!(hops[0].relay.0.peel(3, &mut cell).is_none());
        cell[bit / 8] ^= 1 << (bit % 8);
        assert!(hops[1].relay.0.peel(3, &mut cell).is_none());
        assert!(cell.iter().filter(|&&byte| byte == 1).count() < 40, "bit {bit}");
        assert_eq!(send_forward(&mut hops, 1, 3, &mut [1; 509]), None);
    }
}

#[test]
fn the_command_is_part_of_the_cell() {
    let mut hops = circuit(1);
    let mut cell = [1; 509];
    hops[0].client.0.originate(9, &mut cell);
    assert!(hops[0].relay.0.peel(3, &mut cell).is_none());
}
