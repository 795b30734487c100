//! ntor: the circuit handshake that names a relay by its RSA identity.
//!
//! Not ntor-v3, which carries extensions and is preferred. Called by `circuit/build.rs`,
//! and by the lab's relays. Spec: tor-spec, "The \"ntor\" handshake".

use super::kdf::{self, KeyStream};
use super::x25519::{KEY_LEN, KeyPair, PublicKey, SharedSecrets};
use super::{Error, Secret, same};
use crate::base::codec::{Reader, Writer};
use crate::base::random::Entropy;
use crate::base::{RSA_ID_LEN, RsaId};

/// Length of what the client sends: identity, onion key, its share.
pub const ONIONSKIN_LEN: usize = RSA_ID_LEN + 2 * KEY_LEN;
/// Length of the answer: the relay's share and its proof.
pub const REPLY_LEN: usize = KEY_LEN + AUTH_LEN;
const AUTH_LEN: usize = 32;

const PROTOID: &[u8] = b"ntor-curve25519-sha256-1";
const T_MAC: &[u8] = b"ntor-curve25519-sha256-1:mac";
const T_KEY: &[u8] = b"ntor-curve25519-sha256-1:key_extract";
const T_VERIFY: &[u8] = b"ntor-curve25519-sha256-1:verify";
const M_EXPAND: &[u8] = b"ntor-curve25519-sha256-1:key_expand";

/// What a client must know of a relay beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayKey {
    /// The relay's RSA identity.
    pub id: RsaId,
    /// Its onion key, B.
    pub onion_key: PublicKey,
}

/// The near end, waiting for the relay's answer.
pub struct Client {
    relay: RelayKey,
    x: KeyPair,
}

impl Client {
    /// Starts, and gives the handshake data to send.
    pub fn start(entropy: &mut dyn Entropy, relay: RelayKey) -> Result<(Client, [u8; ONIONSKIN_LEN]), Error> {
        Client::start_with(KeyPair::random(entropy), relay)
    }

    fn start_with(x: KeyPair, relay: RelayKey) -> Result<(Client, [u8; ONIONSKIN_LEN]), Error> {
        let mut message = [0; ONIONSKIN_LEN];
        let mut writer = Writer::new(&mut message);
        writer.bytes(&relay.id.0)?;
        writer.bytes(&relay.onion_key.0)?;
        writer.bytes(&x.public.0)?;
        Ok((Client { relay, x }, message))
    }

    /// Finishes with the relay's answer, which must be nothing but the answer.
    pub fn finish(self, reply: &[u8]) -> Result<KeyStream, Error> {
        let mut reader = Reader::new(reply);
        let y = PublicKey(reader.array()?);
        let auth: [u8; AUTH_LEN] = reader.array()?;
        reader.finish()?;

        let mut shared = SharedSecrets::default();
        let xy = shared.agree(&self.x.secret, &y);
        let xb = shared.agree(&self.x.secret, &self.relay.onion_key);
        let transcript = Transcript { relay: &self.relay, x: &self.x.public, y: &y };
        let (expected, keys) = transcript.derive(&xy, &xb);
        let fits = if same(&expected, &auth) { Ok(()) } else { Err(Error::WrongAuthenticator) };
        shared.finish(fits)?;
        Ok(keys)
    }
}

/// The far end: answers an onionskin with the first of `onion_keys` that it names.
pub fn respond(
    entropy: &mut dyn Entropy,
    id: RsaId,
    onion_keys: &[&KeyPair],
    onionskin: &[u8],
) -> Result<([u8; REPLY_LEN], KeyStream), Error> {
    let y = KeyPair::random(entropy);
    respond_with(y, id, onion_keys, onionskin)
}

fn respond_with(
    y: KeyPair,
    id: RsaId,
    onion_keys: &[&KeyPair],
    onionskin: &[u8],
) -> Result<([u8; REPLY_LEN], KeyStream), Error> {
    let mut reader = Reader::new(onionskin);
    let wanted = RelayKey { id: RsaId(reader.array()?), onion_key: PublicKey(reader.array()?) };
    let x = PublicKey(reader.array()?);
    reader.finish()?;
    if wanted.id != id {
        return Err(Error::NotOurKey);
    }
    let b = onion_keys.iter().find(|pair| pair.public == wanted.onion_key).ok_or(Error::NotOurKey)?;

    let mut shared = SharedSecrets::default();
    let xy = shared.agree(&y.secret, &x);
    let xb = shared.agree(&b.secret, &x);
    let (auth, keys) = Transcript { relay: &wanted, x: &x, y: &y.public }.derive(&xy, &xb);
    shared.finish(Ok(()))?;

    let mut reply = [0; REPLY_LEN];
    let mut writer = Writer::new(&mut reply);
    writer.bytes(&y.public.0)?;
    writer.bytes(&auth)?;
    Ok((reply, keys))
}

/// What both ends know of the handshake besides the secrets.
struct Transcript<'a> {
    relay: &'a RelayKey,
    x: &'a PublicKey,
    y: &'a PublicKey,
}

impl Transcript<'_> {
    /// AUTH, and the keys.
    fn derive(&self, xy: &Secret<KEY_LEN>, xb: &Secret<KEY_LEN>) -> ([u8; AUTH_LEN], KeyStream) {
        let (id, b) = (&self.relay.id.0, &self.relay.onion_key.0);
        let secret_input: [&[u8]; 7] = [xy.expose(), xb.expose(), id, b, &self.x.0, &self.y.0, PROTOID];
        let seed = Secret::new(kdf::hmac_sha256(T_KEY, &secret_input));
        let verify = Secret::new(kdf::hmac_sha256(T_VERIFY, &secret_input));
        let auth_input: [&[u8]; 7] = [verify.expose(), id, b, &self.y.0, &self.x.0, PROTOID, b"Server"];
        (kdf::hmac_sha256(T_MAC, &auth_input), KeyStream::Hkdf(seed, M_EXPAND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;
    use crate::crypto::tests::{unhex, unhex_array};

    /// C tor, ntor_ref.py and Arti 2.7, tor-proto, `crypto/handshake/ntor.rs`.
    #[test]
    fn published_vector() {
        let b = KeyPair::from_secret(unhex_array("4820544f4c4420594f5520444f474954204b454550532048415050454e494e47"));
        let x = KeyPair::from_secret(unhex_array("706f6461792069207075742e2e2e2e2e2e2e2e4a454c4c59206f6e2074686973"));
        let y = KeyPair::from_secret(unhex_array("70686520737175697272656c2e2e2e2e2e2e2e2e686173206869732067616d65"));
        assert_eq!(b.public.0[..], unhex("ccbc8541904d18af08753eae967874749e6149f873de937f57f8fd903a21c471"));
        let relay = RelayKey { id: RsaId(*b"iToldYouAboutStairs."), onion_key: b.public };

        let (client, message) = Client::start_with(x, relay).unwrap();
        let expected_x = "e65dfdbef8b2635837fe2cebc086a8096eae3213e6830dc407516083d412b078";
        assert_eq!(message[..], [&relay.id.0[..], &b.public.0, &unhex(expected_x)].concat());

        let (reply, relay_keys) = respond_with(y, relay.id, &[&b], &message).unwrap();
        let expected_reply = "390480a14362761d6aec1fea840f6e9e928fb2adb7b25c670be1045e35133a37
            1cbdf68b89923e1f85e8e18ee6e805ea333fe4849c790ffd2670bd80fec95cc8";
        assert_eq!(reply[..], unhex(expected_reply));

        let expected_keys = "0c62dee7f48893370d0ef896758d35729867beef1a5121df80e00f79ed349af39b51cae125719182
            f19d932a667dae1afbf2e336e6910e7822223e763afad0a13342157969dc6b79";
        for keys in [client.finish(&reply).unwrap(), relay_keys] {
            let mut out = [0; 72];
            keys.read(&mut out).unwrap();
            assert_eq!(out[..], unhex(expected_keys));
        }
    }

    fn relay(entropy: &mut Seeded) -> (RelayKey, KeyPair) {
        let b = KeyPair::random(entropy);
        (RelayKey { id: RsaId([7; 20]), onion_key: b.public }, b)
    }

    #[test]
    fn both_ends_agree_with_the_old_onion_key_too() {
        let mut entropy = Seeded(2);
        let (relay, old) = relay(&mut entropy);
        let new = KeyPair::random(&mut entropy);
        let (client, message) = Client::start(&mut entropy, relay).unwrap();
        let (reply, relay_keys) = respond(&mut entropy, relay.id, &[&new, &old], &message).unwrap();
        let (mut ours, mut theirs) = ([0; 92], [0; 92]);
        client.finish(&reply).unwrap().read(&mut ours).unwrap();
        relay_keys.read(&mut theirs).unwrap();
        assert_eq!(ours, theirs);
        assert_eq!(respond(&mut entropy, relay.id, &[&new], &message).err(), Some(Error::NotOurKey));
        assert_eq!(respond(&mut entropy, RsaId([8; 20]), &[&old], &message).err(), Some(Error::NotOurKey));
    }

    #[test]
    fn a_changed_or_cut_answer_is_refused() {
        let mut entropy = Seeded(3);
        let (relay, b) = relay(&mut entropy);
        let (client, message) = Client::start(&mut entropy, relay).unwrap();
        let (reply, _) = respond(&mut entropy, relay.id, &[&b], &message).unwrap();
        let again = || Client { relay: client.relay, x: client.x.clone() };
        for byte in 0..REPLY_LEN {
            let mut changed = reply;
            changed[byte] ^= 1;
            assert_eq!(again().finish(&changed).err(), Some(Error::WrongAuthenticator));
            assert_eq!(again().finish(&reply[..byte]).err(), Some(Error::WrongLength));
        }
        assert_eq!(again().finish(&[&reply[..], &[0]].concat()).err(), Some(Error::WrongLength));
        for n in 0..ONIONSKIN_LEN {
            assert_eq!(respond(&mut entropy, relay.id, &[&b], &message[..n]).err(), Some(Error::WrongLength));
        }
    }

    #[test]
    fn a_zero_share_is_refused_by_both_ends() {
        let mut entropy = Seeded(4);
        let (relay, b) = relay(&mut entropy);
        let (client, mut message) = Client::start(&mut entropy, relay).unwrap();
        assert_eq!(client.finish(&[0; REPLY_LEN]).err(), Some(Error::ZeroSharedSecret));
        message[ONIONSKIN_LEN - KEY_LEN..].fill(0);
        assert_eq!(respond(&mut entropy, relay.id, &[&b], &message).err(), Some(Error::ZeroSharedSecret));
    }

    proptest::proptest! {
        #[test]
        fn any_two_ends_agree(seed: u64, id: [u8; 20]) {
            let mut entropy = Seeded(seed);
            let b = KeyPair::random(&mut entropy);
            let relay = RelayKey { id: RsaId(id), onion_key: b.public };
            let (client, message) = Client::start(&mut entropy, relay).unwrap();
            let (reply, relay_keys) = respond(&mut entropy, relay.id, &[&b], &message).unwrap();
            let (mut ours, mut theirs) = ([0; 180], [0; 180]);
            client.finish(&reply).unwrap().read(&mut ours).unwrap();
            relay_keys.read(&mut theirs).unwrap();
            proptest::prop_assert_eq!(ours, theirs);
        }
    }
}
