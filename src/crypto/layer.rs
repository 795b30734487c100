//! One onion layer, whichever cipher it is: wrap, peel, and the tag a SENDME must carry.
//!
//! Knows one hop; the row of hops is `circuit`'s. A cell for hop n is originated at n and
//! then wrapped for n-1 … 1; a cell from far away is peeled at 1 … n until a hop says it
//! is its own. Called by `circuit/send.rs` and `circuit/recv.rs`, and by the lab's relays.
//! Spec: tor-spec, "Routing relay cells"; "Setting circuit keys".

use super::cgo;
use super::kdf::KeyStream;
use super::tor1::{HsTor1, Tor1};
use super::{CellBody, Error, Secret, SendmeTag};

/// Length of the key that binds a message to its circuit (KH).
pub const BINDING_LEN: usize = 20;

/// Which cipher protects a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// Any hop without CGO.
    Tor1,
    /// The hop of an onion service.
    OnionService,
    /// A hop that agreed to `Relay=6`.
    Cgo,
}

/// Proof of which circuit a message was made for (ESTABLISH_INTRO). Hops made by ntor and
/// ntor-v3 have one; after CREATE_FAST, whose KH is public, it means nothing.
pub type BindingKey = Secret<BINDING_LEN>;

/// The client's side of one hop, both directions.
pub enum ClientLayer {
    /// Forward and backward.
    Tor1(Box<[Tor1; 2]>),
    /// Forward and backward.
    OnionService(Box<[HsTor1; 2]>),
    /// Forward and backward.
    Cgo(Box<[cgo::Client; 2]>),
}

/// The relay's, or the onion service's, side of one hop, both directions.
pub enum RelayLayer {
    /// Forward and backward.
    Tor1(Box<[Tor1; 2]>),
    /// Forward and backward.
    OnionService(Box<[HsTor1; 2]>),
    /// Forward and backward.
    Cgo(Box<[cgo::Relay; 2]>),
}

impl ClientLayer {
    /// The layer of a hop whose handshake gave `keys`.
    pub fn new(cipher: Cipher, keys: KeyStream) -> Result<(ClientLayer, BindingKey), Error> {
        Ok(match cipher {
            Cipher::Tor1 => {
                let (pair, binding) = tor1(keys)?;
                (ClientLayer::Tor1(pair), binding)
            }
            Cipher::OnionService => (ClientLayer::OnionService(onion_service(keys)?), BindingKey::zero()),
            Cipher::Cgo => {
                let (forward, backward, binding) = cgo_keys(keys)?;
                let pair = [cgo::Client::new(forward.expose()), cgo::Client::new(backward.expose())];
                (ClientLayer::Cgo(Box::new(pair)), binding)
            }
        })
    }

    /// Seals a forward cell for this hop. `command` is the link cell's, RELAY or
    /// RELAY_EARLY, and must be final.
    pub fn originate(&mut self, command: u8, cell: &mut CellBody) -> SendmeTag {
        match self {
            ClientLayer::Tor1(pair) => pair[0].originate(cell),
            ClientLayer::OnionService(pair) => pair[0].originate(cell),
            ClientLayer::Cgo(pair) => pair[0].originate(command, cell),
        }
    }

    /// Adds this hop's layer to a forward cell for a hop farther away.
    pub fn wrap(&mut self, command: u8, cell: &mut CellBody) {
        match self {
            ClientLayer::Tor1(pair) => pair[0].wrap(cell),
            ClientLayer::OnionService(pair) => pair[0].wrap(cell),
            ClientLayer::Cgo(pair) => pair[0].wrap(command, cell),
        }
    }

    /// Takes this hop's layer of a backward cell; a tag means that the cell began there.
    pub fn peel(&mut self, command: u8, cell: &mut CellBody) -> Option<SendmeTag> {
        match self {
            ClientLayer::Tor1(pair) => pair[1].peel(cell),
            ClientLayer::OnionService(pair) => pair[1].peel(cell),
            ClientLayer::Cgo(pair) => pair[1].peel(command, cell),
        }
    }
}

impl RelayLayer {
    /// The layer of a circuit whose handshake gave `keys`.
    pub fn new(cipher: Cipher, keys: KeyStream) -> Result<(RelayLayer, BindingKey), Error> {
        Ok(match cipher {
            Cipher::Tor1 => {
                let (pair, binding) = tor1(keys)?;
                (RelayLayer::Tor1(pair), binding)
            }
            Cipher::OnionService => (RelayLayer::OnionService(onion_service(keys)?), BindingKey::zero()),
            Cipher::Cgo => {
                let (forward, backward, binding) = cgo_keys(keys)?;
                let pair = [cgo::Relay::new(forward.expose()), cgo::Relay::new(backward.expose())];
                (RelayLayer::Cgo(Box::new(pair)), binding)
            }
        })
    }

    /// Seals a backward cell that begins here.
    pub fn originate(&mut self, command: u8, cell: &mut CellBody) -> SendmeTag {
        match self {
            RelayLayer::Tor1(pair) => pair[1].originate(cell),
            RelayLayer::OnionService(pair) => pair[1].originate(cell),
            RelayLayer::Cgo(pair) => pair[1].originate(command, cell),
        }
    }

    /// Adds this hop's layer to a backward cell from a hop farther away.
    pub fn wrap(&mut self, command: u8, cell: &mut CellBody) {
        match self {
            RelayLayer::Tor1(pair) => pair[1].wrap(cell),
            RelayLayer::OnionService(pair) => pair[1].wrap(cell),
            RelayLayer::Cgo(pair) => pair[1].wrap(command, cell),
        }
    }

    /// Takes this hop's layer of a forward cell; a tag means that the cell ends here.
    pub fn peel(&mut self, command: u8, cell: &mut CellBody) -> Option<SendmeTag> {
        match self {
            RelayLayer::Tor1(pair) => pair[0].peel(cell),
            RelayLayer::OnionService(pair) => pair[0].peel(cell),
            RelayLayer::Cgo(pair) => pair[0].peel(command, cell),
        }
    }
}

/// Df 20, Db 20, Kf 16, Kb 16, KH 20.
fn tor1(keys: KeyStream) -> Result<(Box<[Tor1; 2]>, BindingKey), Error> {
    let mut all = Secret::<{ 20 + 20 + 16 + 16 + BINDING_LEN }>::zero();
    keys.read(all.expose_mut())?;
    let (df, rest) = split::<20>(all.expose());
    let (db, rest) = split::<20>(rest);
    let (kf, rest) = split::<16>(rest);
    let (kb, rest) = split::<16>(rest);
    let (binding, _) = split(rest);
    let pair = [Tor1::new(df.expose(), kf.expose().into()), Tor1::new(db.expose(), kb.expose().into())];
    Ok((Box::new(pair), binding))
}

/// Df, Db, Kf, Kb, 32 bytes each.
fn onion_service(keys: KeyStream) -> Result<Box<[HsTor1; 2]>, Error> {
    let mut all = Secret::<128>::zero();
    keys.read(all.expose_mut())?;
    let (df, rest) = split::<32>(all.expose());
    let (db, rest) = split::<32>(rest);
    let (kf, rest) = split::<32>(rest);
    let (kb, _) = split::<32>(rest);
    Ok(Box::new([HsTor1::new(df.expose(), kf.expose().into()), HsTor1::new(db.expose(), kb.expose().into())]))
}

type CgoKeys = Secret<{ cgo::KEYS_LEN }>;

/// Forward, backward, KH.
fn cgo_keys(keys: KeyStream) -> Result<(CgoKeys, CgoKeys, BindingKey), Error> {
    let mut all = Secret::<{ 2 * cgo::KEYS_LEN + BINDING_LEN }>::zero();
    keys.read(all.expose_mut())?;
    let (forward, rest) = split(all.expose());
    let (backward, rest) = split(rest);
    let (binding, _) = split(rest);
    Ok((forward, backward, binding))
}

/// The first `N` bytes as a secret of their own, and the rest. Only for arrays whose
/// length is the sum of what is split off.
fn split<const N: usize>(bytes: &[u8]) -> (Secret<N>, &[u8]) {
    let (head, rest) = bytes.split_first_chunk().expect("the caller added the lengths up");
    (Secret::new(*head), rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::{self, Seeded};
    use crate::crypto::kdf::{self, ShakeStream};
    use crate::crypto::tests::{shake, unhex};
    use crate::crypto::tor1;
    use proptest::prelude::*;

    const RELAY: u8 = 3;

    fn pair(cipher: Cipher, name: &str) -> (ClientLayer, RelayLayer) {
        let stream = || KeyStream::Shake(Box::new(ShakeStream::new(&[name.as_bytes()])));
        let (client, ours) = ClientLayer::new(cipher, stream()).unwrap();
        let (relay, theirs) = RelayLayer::new(cipher, stream()).unwrap();
        assert!(ours == theirs);
        (client, relay)
    }

    fn any_cipher() -> impl Strategy<Value = Cipher> {
        prop_oneof![Just(Cipher::Tor1), Just(Cipher::OnionService), Just(Cipher::Cgo)]
    }

    /// A cell whose "recognized" field is zero, as tor1 wants it.
    fn plain(entropy: &mut Seeded) -> CellBody {
        let mut cell: CellBody = random::array(entropy);
        cell[1..3].fill(0);
        cell
    }

    proptest! {
        /// Whatever mixture of ciphers the hops have, each cell reaches its hop and no
        /// other, in both directions, and both ends agree on its tag.
        #[test]
        fn mixed_circuits_carry_every_cell(
            ciphers in proptest::collection::vec(any_cipher(), 1..5),
            route in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..40),
            seed: u64,
        ) {
            let mut entropy = Seeded(seed);
            let (mut clients, mut relays): (Vec<_>, Vec<_>) =
                ciphers.iter().enumerate().map(|(i, &cipher)| pair(cipher, &format!("hop {i}"))).unzip();
            for (index, forward) in route {
                let hop = index.index(ciphers.len());
                let before = plain(&mut entropy);
                let mut cell = before;
                let arrived = if forward {
                    let sent = clients[hop].originate(RELAY, &mut cell);
                    clients[..hop].iter_mut().rev().for_each(|nearer| nearer.wrap(RELAY, &mut cell));
                    let mut seen = relays.iter_mut().map(|relay| relay.peel(RELAY, &mut cell));
                    seen.position(|tag| tag.is_some_and(|tag| tag == sent))
                } else {
                    let sent = relays[hop].originate(RELAY, &mut cell);
                    relays[..hop].iter_mut().rev().for_each(|nearer| nearer.wrap(RELAY, &mut cell));
                    let mut seen = clients.iter_mut().map(|client| client.peel(RELAY, &mut cell));
                    seen.position(|tag| tag.is_some_and(|tag| tag == sent))
                };
                prop_assert_eq!(arrived, Some(hop));
                prop_assert_eq!(&cell[16..], &before[16..]);
            }
        }
    }

    #[test]
    fn tags_have_the_length_their_cipher_gives_them() {
        for (cipher, length) in [(Cipher::Tor1, 20), (Cipher::OnionService, 20), (Cipher::Cgo, 16)] {
            let (mut client, _) = pair(cipher, "tags");
            let tag = client.originate(RELAY, &mut [0; 509]);
            assert_eq!(tag.as_bytes().len(), length);
            assert!(tag.matches(tag.as_bytes()) && !tag.matches(&tag.as_bytes()[1..]));
        }
    }

    /// The layers of both ends do with the key stream "order" what the two directions do
    /// that were made of it by hand. Each end peels what the other sealed, so that one
    /// sealing end a direction is enough.
    fn assert_order(
        cipher: Cipher,
        binding: [u8; BINDING_LEN],
        forward: impl FnOnce(&mut CellBody) -> SendmeTag,
        backward: impl FnOnce(&mut CellBody) -> SendmeTag,
    ) {
        let (mut client, mut relay) = pair(cipher, "order");
        let stream = KeyStream::Shake(Box::new(ShakeStream::new(&[b"order"])));
        assert_eq!(ClientLayer::new(cipher, stream).unwrap().1.expose(), &binding);

        let plain = plain(&mut Seeded(1));
        let (mut cell, mut by_hand) = (plain, plain);
        let tag = client.originate(RELAY, &mut cell);
        assert!(tag == forward(&mut by_hand) && cell == by_hand, "forward");
        assert!(relay.peel(RELAY, &mut cell) == Some(tag));

        let (mut cell, mut by_hand) = (plain, plain);
        let tag = relay.originate(RELAY, &mut cell);
        assert!(tag == backward(&mut by_hand) && cell == by_hand, "backward");
        assert!(client.peel(RELAY, &mut cell) == Some(tag));
    }

    /// The `N` bytes of `keys` from `at` on.
    fn cut<const N: usize>(keys: &[u8], at: usize) -> [u8; N] {
        keys[at..at + N].try_into().unwrap()
    }

    /// Spec: tor-spec, "Setting circuit keys". C tor 0.4.9.11, `tor1_crypt_init` in
    /// relay_crypto_tor1.c; KH behind the keys, onion_crypto.c.
    #[test]
    fn tor1_cuts_its_keys_in_the_order_of_the_spec() {
        let keys: [u8; 92] = shake("order");
        let (df, db, kf, kb) = (&keys[..20], &keys[20..40], cut::<16>(&keys, 40), cut::<16>(&keys, 56));
        let mut forward = Tor1::new(df, &kf.into());
        let mut backward = Tor1::new(db, &kb.into());
        assert_order(Cipher::Tor1, cut(&keys, 72), |cell| forward.originate(cell), |cell| backward.originate(cell));
    }

    /// Spec: rend-spec-v3, "Using handshake output with legacy hop encryption". C tor
    /// 0.4.9.11, `tor1_crypt_init` in relay_crypto_tor1.c, where `is_hs_v3`. No KH.
    #[test]
    fn an_onion_services_layer_cuts_its_keys_in_the_order_of_the_spec() {
        let keys: [u8; 128] = shake("order");
        let (df, db, kf, kb) = (&keys[..32], &keys[32..64], cut::<32>(&keys, 64), cut::<32>(&keys, 96));
        let mut forward = HsTor1::new(df, &kf.into());
        let mut backward = HsTor1::new(db, &kb.into());
        assert_order(
            Cipher::OnionService,
            [0; BINDING_LEN],
            |cell| forward.originate(cell),
            |cell| backward.originate(cell),
        );
    }

    /// Spec: proposal 359; tor-spec, "Setting circuit keys". C tor 0.4.9.11, `cgo_pair_init` in
    /// relay_crypto.c; KH behind the keys, onion_crypto.c.
    #[test]
    fn cgo_cuts_its_keys_in_the_order_of_the_spec() {
        let keys: [u8; 180] = shake("order");
        let mut forward = cgo::Client::new(&cut(&keys, 0));
        let mut backward = cgo::Relay::new(&cut(&keys, 80));
        assert_order(
            Cipher::Cgo,
            cut(&keys, 160),
            |cell| forward.originate(RELAY, cell),
            |cell| backward.originate(RELAY, cell),
        );
    }

    /// Backward, of the keys and cells published for forward: made by an independent
    /// implementation that passes the published ones. No backward cell is published.
    fn published_backward(number: usize) -> Option<[&'static str; 3]> {
        match number {
            0 => Some([
                "e58df93c8404b9c813e23b8c38d6e5a70dd8be67",
                "7bc31fc70066332df883a380c39a84c4",
                "0688b55e553ed8549c45963b37d8edf0e56fd085384734775c4131371cd0298a",
            ]),
            1 => Some([
                "5ea3de23d718a67d91c989b497da0c908c45b668",
                "15de6a00b60a8b1e9ff43e2f308a5392",
                "2f4b9c719e87305b54f54b11a082b25cf08e7797e3553bef845654b641c24d57",
            ]),
            50 => Some([
                "d7904f983e854581f5dc65fb634c4b17dc5b2ee9",
                "1662626291d750b5ce4df22e078754bb",
                "77ee69f4a21e8b8cb7b7ed858a1dba4366ab10e070f3ab01a93e86ab020f5fff",
            ]),
            _ => None,
        }
    }

    /// From the key bytes of three hops to cells, as in C tor's test_relaycrypt.c.
    #[test]
    fn published_tor1_cells_come_out_of_the_layers() {
        let given = |keys: &'static [u8; 92]| KeyStream::Given(keys);
        let mut clients = tor1::tests::HOPS.map(|keys| ClientLayer::new(Cipher::Tor1, given(keys)).unwrap().0);
        let mut relays = tor1::tests::HOPS.map(|keys| RelayLayer::new(Cipher::Tor1, given(keys)).unwrap().0);
        let mut stream = ShakeStream::new(&[tor1::tests::SEED.as_bytes()]);
        let assert_published = |expected: Option<[&str; 3]>, tag: &SendmeTag, cell: &CellBody| {
            let Some([digest, start, sum]) = expected else { return };
            assert_eq!(tag.as_bytes(), unhex(digest));
            assert_eq!(cell[..16], unhex(start));
            assert_eq!(kdf::sha256(&[cell])[..], unhex(sum));
        };
        for number in 0..51 {
            let plain = tor1::tests::data_cell(stream.secret::<498>().expose());

            let mut cell = plain;
            let tag = clients[2].originate(RELAY, &mut cell);
            clients[..2].iter_mut().rev().for_each(|nearer| nearer.wrap(RELAY, &mut cell));
            assert_published(tor1::tests::published(number), &tag, &cell);
            assert_eq!(relays.iter_mut().position(|relay| relay.peel(RELAY, &mut cell) == Some(tag)), Some(2));

            let mut cell = plain;
            let tag = relays[2].originate(RELAY, &mut cell);
            relays[..2].iter_mut().rev().for_each(|nearer| nearer.wrap(RELAY, &mut cell));
            assert_published(published_backward(number), &tag, &cell);
            assert_eq!(clients.iter_mut().position(|client| client.peel(RELAY, &mut cell) == Some(tag)), Some(2));
        }
    }
}
