//! ntor-v3: the circuit handshake that names a relay by its Ed25519 identity and carries
//! an encrypted message each way.
//!
//! The messages are lists of extensions, which `wire/extend.rs` reads and writes; here
//! they are bytes. The client's message has no forward secrecy. Called by
//! `circuit/build.rs`, and by the lab's relays. Spec: proposal 332.

use super::aes_ctr;
use super::kdf::{self, KeyStream, ShakeStream};
use super::x25519::{KEY_LEN, KeyPair, PublicKey, SharedSecrets};
use super::{Error, Secret, same};
use crate::base::codec::Reader;
use crate::base::random::Entropy;
use crate::base::{ED25519_ID_LEN, Ed25519Id};

const DIGEST_LEN: usize = 32;
/// Length of what the client sends around its encrypted message.
pub const ONIONSKIN_OVERHEAD: usize = ED25519_ID_LEN + 2 * KEY_LEN + DIGEST_LEN;
/// Length of the answer in front of the relay's encrypted message.
pub const REPLY_OVERHEAD: usize = KEY_LEN + DIGEST_LEN;

/// The verification string of CREATE2 and EXTEND2.
pub const CIRCUIT_EXTEND: &[u8] = b"circuit extend";

const PROTOID: &[u8] = b"ntor3-curve25519-sha3_256-1";
const T_KDF_PHASE1: &[u8] = b"ntor3-curve25519-sha3_256-1:kdf_phase1";
const T_MSG_MAC: &[u8] = b"ntor3-curve25519-sha3_256-1:msg_mac";
const T_KEY_SEED: &[u8] = b"ntor3-curve25519-sha3_256-1:key_seed";
const T_VERIFY: &[u8] = b"ntor3-curve25519-sha3_256-1:verify";
const T_KDF_FINAL: &[u8] = b"ntor3-curve25519-sha3_256-1:kdf_final";
const T_AUTH_FINAL: &[u8] = b"ntor3-curve25519-sha3_256-1:auth_final";

/// What a client must know of a relay beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayKey {
    /// The relay's Ed25519 identity.
    pub id: Ed25519Id,
    /// Its onion key, B.
    pub onion_key: PublicKey,
}

/// The near end, waiting for the relay's answer.
pub struct Client {
    relay: RelayKey,
    x: KeyPair,
    bx: Secret<KEY_LEN>,
    /// Our message's MAC, which the relay's proof covers.
    mac: [u8; DIGEST_LEN],
    verification: &'static [u8],
}

impl Client {
    /// Starts, and gives the handshake data to send, with `message` encrypted in it.
    pub fn start(
        entropy: &mut dyn Entropy,
        relay: RelayKey,
        message: &[u8],
        verification: &'static [u8],
    ) -> Result<(Client, Vec<u8>), Error> {
        Client::start_with(KeyPair::random(entropy), relay, message, verification)
    }

    fn start_with(
        x: KeyPair,
        relay: RelayKey,
        message: &[u8],
        verification: &'static [u8],
    ) -> Result<(Client, Vec<u8>), Error> {
        let mut shared = SharedSecrets::default();
        let bx = shared.agree(&x.secret, &relay.onion_key);
        shared.finish(Ok(()))?;

        let phase1 = Phase1::derive(&bx, &relay, &x.public, verification);
        let mut encrypted = message.to_vec();
        aes_ctr::apply_once(phase1.encryption.expose(), &mut encrypted);
        let mac = phase1.mac(&relay, &x.public, &encrypted);

        let onionskin = [&relay.id.0[..], &relay.onion_key.0, &x.public.0, &encrypted, &mac].concat();
        Ok((Client { relay, x, bx, mac, verification }, onionskin))
    }

    /// Finishes with the relay's answer: its message, and the keys.
    pub fn finish(self, reply: &[u8]) -> Result<(Vec<u8>, KeyStream), Error> {
        let mut reader = Reader::new(reply);
        let y = PublicKey(reader.array()?);
        let auth: [u8; DIGEST_LEN] = reader.array()?;
        let mut message = reader.rest().to_vec();

        let mut shared = SharedSecrets::default();
        let yx = shared.agree(&self.x.secret, &y);
        let transcript = Transcript {
            relay: &self.relay,
            x: &self.x.public,
            y: &y,
            client_mac: &self.mac,
            verification: self.verification,
        };
        let phase2 = transcript.derive(&yx, &self.bx);
        let expected = transcript.authenticate(&phase2.verify, &message);
        shared.finish(if same(&expected, &auth) { Ok(()) } else { Err(Error::WrongAuthenticator) })?;

        let keys = phase2.decrypt(&mut message);
        Ok((message, keys))
    }
}

/// A relay's half way: the client's message is proved and read, the answer not yet given.
pub struct Relay {
    client: ClientShare,
    bx: Secret<KEY_LEN>,
    wanted: RelayKey,
    verification: &'static [u8],
}

struct ClientShare {
    x: PublicKey,
    mac: [u8; DIGEST_LEN],
}

impl Relay {
    /// Reads an onionskin with the one of `onion_keys` that it names, and gives the
    /// client's message.
    pub fn receive(
        id: Ed25519Id,
        onion_keys: &[&KeyPair],
        onionskin: &[u8],
        verification: &'static [u8],
    ) -> Result<(Relay, Vec<u8>), Error> {
        let mut reader = Reader::new(onionskin);
        let wanted = RelayKey { id: Ed25519Id(reader.array()?), onion_key: PublicKey(reader.array()?) };
        let x = PublicKey(reader.array()?);
        let message_len = reader.remaining().checked_sub(DIGEST_LEN).ok_or(Error::WrongLength)?;
        let mut message = reader.take(message_len)?.to_vec();
        let mac = reader.array()?;
        if wanted.id != id {
            return Err(Error::NotOurKey);
        }
        let b = onion_keys.iter().find(|pair| pair.public == wanted.onion_key).ok_or(Error::NotOurKey)?;

        let mut shared = SharedSecrets::default();
        let bx = shared.agree(&b.secret, &x);
        let phase1 = Phase1::derive(&bx, &wanted, &x, verification);
        let expected = phase1.mac(&wanted, &x, &message);
        shared.finish(if same(&expected, &mac) { Ok(()) } else { Err(Error::WrongMac) })?;

        aes_ctr::apply_once(phase1.encryption.expose(), &mut message);
        Ok((Relay { client: ClientShare { x, mac }, bx, wanted, verification }, message))
    }

    /// Answers, with `message` encrypted in the answer.
    pub fn respond(self, entropy: &mut dyn Entropy, message: &[u8]) -> Result<(Vec<u8>, KeyStream), Error> {
        self.respond_with(&KeyPair::random(entropy), message)
    }

    fn respond_with(self, y: &KeyPair, message: &[u8]) -> Result<(Vec<u8>, KeyStream), Error> {
        let mut shared = SharedSecrets::default();
        let yx = shared.agree(&y.secret, &self.client.x);
        shared.finish(Ok(()))?;
        let transcript = Transcript {
            relay: &self.wanted,
            x: &self.client.x,
            y: &y.public,
            client_mac: &self.client.mac,
            verification: self.verification,
        };
        let phase2 = transcript.derive(&yx, &self.bx);
        let verify = phase2.verify.clone();
        let mut encrypted = message.to_vec();
        let keys = phase2.decrypt(&mut encrypted);
        let auth = transcript.authenticate(&verify, &encrypted);
        Ok(([&y.public.0[..], &auth, &encrypted].concat(), keys))
    }
}

/// The keys that protect the client's message.
struct Phase1 {
    encryption: Secret<32>,
    mac_key: Secret<32>,
}

impl Phase1 {
    fn derive(bx: &Secret<KEY_LEN>, relay: &RelayKey, x: &PublicKey, verification: &[u8]) -> Phase1 {
        let mut stream = ShakeStream::new(&[
            &encap_len(T_KDF_PHASE1),
            T_KDF_PHASE1,
            bx.expose(),
            &relay.id.0,
            &x.0,
            &relay.onion_key.0,
            PROTOID,
            &encap_len(verification),
            verification,
        ]);
        Phase1 { encryption: stream.secret(), mac_key: stream.secret() }
    }

    /// Note the order: B before X here, X before B in the derivation.
    fn mac(&self, relay: &RelayKey, x: &PublicKey, encrypted: &[u8]) -> [u8; DIGEST_LEN] {
        let key = self.mac_key.expose();
        kdf::sha3_256(&[
            &encap_len(T_MSG_MAC),
            T_MSG_MAC,
            &encap_len(key),
            key,
            &relay.id.0,
            &relay.onion_key.0,
            &x.0,
            encrypted,
        ])
    }
}

/// What both ends know of the handshake besides the secrets.
struct Transcript<'a> {
    relay: &'a RelayKey,
    x: &'a PublicKey,
    y: &'a PublicKey,
    client_mac: &'a [u8; DIGEST_LEN],
    verification: &'a [u8],
}

/// What the whole handshake proves, and the stream of keys.
struct Phase2 {
    verify: Secret<DIGEST_LEN>,
    stream: ShakeStream,
}

impl Transcript<'_> {
    fn derive(&self, yx: &Secret<KEY_LEN>, bx: &Secret<KEY_LEN>) -> Phase2 {
        let hash = |tweak: &[u8]| {
            Secret::new(kdf::sha3_256(&[
                &encap_len(tweak),
                tweak,
                yx.expose(),
                bx.expose(),
                &self.relay.id.0,
                &self.relay.onion_key.0,
                &self.x.0,
                &self.y.0,
                PROTOID,
                &encap_len(self.verification),
                self.verification,
            ]))
        };
        let seed: Secret<DIGEST_LEN> = hash(T_KEY_SEED);
        let stream = ShakeStream::new(&[&encap_len(T_KDF_FINAL), T_KDF_FINAL, seed.expose()]);
        Phase2 { verify: hash(T_VERIFY), stream }
    }

    fn authenticate(&self, verify: &Secret<DIGEST_LEN>, encrypted: &[u8]) -> [u8; DIGEST_LEN] {
        kdf::sha3_256(&[
            &encap_len(T_AUTH_FINAL),
            T_AUTH_FINAL,
            verify.expose(),
            &self.relay.id.0,
            &self.relay.onion_key.0,
            &self.y.0,
            &self.x.0,
            self.client_mac,
            &encap_len(encrypted),
            encrypted,
            PROTOID,
            b"Server",
        ])
    }
}

impl Phase2 {
    /// Decrypts or encrypts the relay's message with the front of the stream; the rest of
    /// it are the circuit's keys.
    fn decrypt(mut self, message: &mut [u8]) -> KeyStream {
        let key: Secret<32> = self.stream.secret();
        aes_ctr::apply_once(key.expose(), message);
        KeyStream::Shake(Box::new(self.stream))
    }
}

/// The eight bytes that ENCAP puts in front of a string.
fn encap_len(text: &[u8]) -> [u8; 8] {
    u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;
    use crate::crypto::tests::{unhex, unhex_array};

    struct Published {
        b: KeyPair,
        x: KeyPair,
        y: KeyPair,
        relay: RelayKey,
    }

    /// Proposal 332, appendix, and C tor, test_ntor_v3.c.
    fn published() -> Published {
        let pair = |hex| KeyPair::from_secret(unhex_array(hex));
        let b = pair("4051daa5921cfa2a1c27b08451324919538e79e788a81b38cbed097a5dff454a");
        let id = Ed25519Id(unhex_array("9fad2af287ef942632833d21f946c6260c33fae6172b60006e86e4a6911753a2"));
        Published {
            relay: RelayKey { id, onion_key: b.public },
            b,
            x: pair("b825a3719147bcbe5fb1d0b0fcb9c09e51948048e2e3283d2ab7b45b5ef38b49"),
            y: pair("4865a5b7689dafd978f529291c7171bc159be076b92186405d13220b80e2a053"),
        }
    }

    struct Exchange {
        /// Encrypted client message and MAC.
        sent: Vec<u8>,
        /// AUTH and encrypted relay message.
        answered: Vec<u8>,
        keys: [u8; 180],
    }

    fn run(client_message: &[u8], relay_message: &[u8], verification: &'static [u8]) -> Exchange {
        let Published { b, x, y, relay } = published();
        let (client, onionskin) = Client::start_with(x, relay, client_message, verification).unwrap();
        let (responder, seen) = Relay::receive(relay.id, &[&b], &onionskin, verification).unwrap();
        assert_eq!(seen, client_message);
        let (reply, relay_keys) = responder.respond_with(&y, relay_message).unwrap();
        let (answer, client_keys) = client.finish(&reply).unwrap();
        assert_eq!(answer, relay_message);
        let (mut ours, mut theirs) = ([0; 180], [0; 180]);
        client_keys.read(&mut ours).unwrap();
        relay_keys.read(&mut theirs).unwrap();
        assert_eq!(ours, theirs);
        assert_eq!(reply[..32], unhex("4bf4814326fdab45ad5184f5518bd7fae25dc59374062698201a50a22954246d"));
        Exchange { sent: onionskin[96..].to_vec(), answered: reply[32..].to_vec(), keys: ours }
    }

    #[test]
    fn published_vector() {
        let exchange = run(b"hello world", b"Hola Mundo", b"xyzzy");
        let sent = "3bebd9151fd3b47c180abc 9e044d53565f04d82bbb3bebed3d06cea65db8be9c72b68cd461942088502f67";
        let answered = "2fc5f8773ca824542bc6cf6f57c7c29bbf4e5476461ab130c5b18ab0a9127665 1202c3e1e87c0d32054c";
        let keys = "9c19b631fd94ed86a817e01f6c80b0743a43f5faebd39cfaa8b00fa8bcc65c3b
            feaa403d91acbd68a821bf6ee8504602b094a254392a07737d5662768c7a9fb1";
        assert_eq!(exchange.sent, unhex(sent));
        assert_eq!(exchange.answered, unhex(answered));
        assert_eq!(exchange.keys[..64], unhex(keys));
    }

    /// With the live verification string. Made with a program of its own over Python's
    /// `hashlib` and `cryptography`, which passes the published vector.
    #[test]
    fn live_verification_string() {
        for (client_message, relay_message, sent, answered) in [
            (
                "00",
                "00",
                "1d 440a5d1bcfc343b1c8f49c85a19ccff74f193fb9ab33c757b9ec49aa2981ec36",
                "e3d6f4baaf91ab8222ba421f1465e5f56cece85e3f9397fd0edc3d8783427922 d1",
            ),
            (
                "010100",
                "0102011f",
                "1c4bea 1cba28bfa010cf17e831d93d9a7a7383f0f62f5404a3b43f690394e4577a3ea2",
                "361f401b00c4305dba65020ca5f311d3c40b0c23b97154234a589f422b637b38 d0627d1d",
            ),
            (
                "02010003020206",
                "0102011f",
                "1f4bea3ece4cf2 48c23f0baa1046bf5a0479d7d134625bf5db07c0176386bccabe5f20fc8322c0",
                "b7fadf17c99185b8871de35fa4bfdbcaf676f53a259fe1e02fc78aad23279ea7 d0627d1d",
            ),
        ] {
            let exchange = run(&unhex(client_message), &unhex(relay_message), CIRCUIT_EXTEND);
            assert_eq!(exchange.sent, unhex(sent));
            assert_eq!(exchange.answered, unhex(answered));
            let first = "2c1ab7f069893275b092398965822cc84bac1af9d8a6d6e7689eb686d41a4a40";
            assert_eq!(exchange.keys[..32], unhex(first));
            let sum = "cd82b66ed5b61f0531e0cea9abff2f9bf3b1c0c2a7a8eb7d13b2c6f6c78141ee";
            assert_eq!(kdf::sha256(&[&exchange.keys])[..], unhex(sum));
        }
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_refused() {
        let Published { b, x, relay, .. } = published();
        let mut entropy = Seeded(1);
        let start = || Client::start_with(x.clone(), relay, b"ask", CIRCUIT_EXTEND).unwrap();
        let (_, onionskin) = start();
        let receive = |bytes: &[u8]| Relay::receive(relay.id, &[&b], bytes, CIRCUIT_EXTEND).map(|_| ()).unwrap_err();
        for byte in 0..onionskin.len() {
            let mut changed = onionskin.clone();
            changed[byte] ^= 1;
            assert_eq!(receive(&changed), if byte < 64 { Error::NotOurKey } else { Error::WrongMac });
            assert!(matches!(receive(&onionskin[..byte]), Error::WrongLength | Error::WrongMac));
        }
        let (responder, _) = Relay::receive(relay.id, &[&b], &onionskin, CIRCUIT_EXTEND).unwrap();
        let (reply, _) = responder.respond(&mut entropy, b"answer").unwrap();
        for byte in 0..reply.len() {
            let mut changed = reply.clone();
            changed[byte] ^= 1;
            assert_eq!(start().0.finish(&changed).err(), Some(Error::WrongAuthenticator));
            let expected = if byte < REPLY_OVERHEAD { Error::WrongLength } else { Error::WrongAuthenticator };
            assert_eq!(start().0.finish(&reply[..byte]).err(), Some(expected));
        }
        assert_eq!(start().0.finish(&[0; 64]).err(), Some(Error::ZeroSharedSecret));
    }

    #[test]
    fn a_relay_key_of_low_order_is_refused_at_once() {
        let relay = RelayKey { id: Ed25519Id([1; 32]), onion_key: PublicKey([0; 32]) };
        let started = Client::start(&mut Seeded(1), relay, b"", CIRCUIT_EXTEND);
        assert_eq!(started.map(|_| ()).err(), Some(Error::ZeroSharedSecret));
    }

    proptest::proptest! {
        #[test]
        fn any_two_ends_agree_and_read_each_other(
            seed: u64,
            ask in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
            answer in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
        ) {
            let mut entropy = Seeded(seed);
            let b = KeyPair::random(&mut entropy);
            let relay = RelayKey { id: Ed25519Id(crate::base::random::array(&mut entropy)), onion_key: b.public };
            let (client, onionskin) = Client::start(&mut entropy, relay, &ask, CIRCUIT_EXTEND).unwrap();
            proptest::prop_assert_eq!(onionskin.len(), ONIONSKIN_OVERHEAD + ask.len());
            let (responder, asked) = Relay::receive(relay.id, &[&b], &onionskin, CIRCUIT_EXTEND).unwrap();
            let (reply, relay_keys) = responder.respond(&mut entropy, &answer).unwrap();
            proptest::prop_assert_eq!(reply.len(), REPLY_OVERHEAD + answer.len());
            let (answered, client_keys) = client.finish(&reply).unwrap();
            proptest::prop_assert_eq!((asked, answered), (ask, answer));
            let (mut ours, mut theirs) = ([0; 180], [0; 180]);
            client_keys.read(&mut ours).unwrap();
            relay_keys.read(&mut theirs).unwrap();
            proptest::prop_assert_eq!(ours, theirs);
        }
    }
}
