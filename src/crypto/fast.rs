//! CREATE_FAST: the first hop of a circuit when the relay's onion key is not known yet.
//!
//! It proves nothing by itself; the TLS link below has proved the relay's identity. Not
//! for any hop but the first. Called by `circuit/build.rs`, and by the lab's relays.
//! Spec: tor-spec, "CREATE_FAST/CREATED_FAST cells".

use super::kdf::{self, KeyStream};
use super::{Error, Secret, same};
use crate::base::random::Entropy;

/// Length of either side's contribution, and of the proof.
pub const SHARE_LEN: usize = 20;
/// Length of the answer: the relay's share and its proof.
pub const REPLY_LEN: usize = 2 * SHARE_LEN;

/// The near end, waiting for CREATED_FAST.
pub struct Client {
    x: Secret<SHARE_LEN>,
}

impl Client {
    /// Starts, and gives the body of CREATE_FAST.
    pub fn start(entropy: &mut dyn Entropy) -> (Client, [u8; SHARE_LEN]) {
        let x = Secret::random(entropy);
        let message = *x.expose();
        (Client { x }, message)
    }

    /// Finishes with the body of CREATED_FAST.
    pub fn finish(self, reply: &[u8; REPLY_LEN]) -> Result<KeyStream, Error> {
        let (y, proof) = reply.split_at(SHARE_LEN);
        let (expected, keys) = derive(self.x.expose(), y)?;
        if same(expected.expose(), proof) { Ok(keys) } else { Err(Error::WrongAuthenticator) }
    }
}

/// The far end: answers the body of CREATE_FAST.
pub fn respond(entropy: &mut dyn Entropy, x: &[u8; SHARE_LEN]) -> Result<([u8; REPLY_LEN], KeyStream), Error> {
    let y = Secret::<SHARE_LEN>::random(entropy);
    let (proof, keys) = derive(x, y.expose())?;
    let mut reply = [0; REPLY_LEN];
    reply[..SHARE_LEN].copy_from_slice(y.expose());
    reply[SHARE_LEN..].copy_from_slice(proof.expose());
    Ok((reply, keys))
}

/// KH, and the keys behind it.
fn derive(x: &[u8], y: &[u8]) -> Result<(Secret<SHARE_LEN>, KeyStream), Error> {
    let mut k0 = Secret::<REPLY_LEN>::zero();
    k0.expose_mut()[..SHARE_LEN].copy_from_slice(x);
    k0.expose_mut()[SHARE_LEN..].copy_from_slice(y);
    let mut proof = Secret::zero();
    kdf::kdf_tor(k0.expose(), 0, proof.expose_mut())?;
    Ok((proof, KeyStream::KdfTor(k0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;
    use crate::crypto::tests::{unhex, unhex_array};

    /// Arti 2.7, tor-proto, `crypto/handshake/fast.rs`.
    #[test]
    fn published_vector() {
        let x = unhex_array("080E247DF7C252FCD2DC10F459703480C223E3A6");
        let reply = unhex_array("BA95C0D092335428BF80093BBED0B7A26C49E1E8 696FBF9C8D6BE26504219C000D26AFE370FCEF04");
        let keys = Client { x: Secret::new(x) }.finish(&reply).unwrap();
        let mut out = [0; 72];
        keys.read(&mut out).unwrap();
        let expected = "AFA89B4FC8CF882335A582C52478B5FCB1E08DAF707E2C2D23B8C27D30BD461F3DF98A3AF82221CB
            658AD0AA8680B99067E4F7DBC546970EA9A56B26433C71DA867BDD09C14A1308";
        assert_eq!(out[..], unhex(expected));
    }

    #[test]
    fn both_ends_agree_and_a_changed_proof_is_refused() {
        let mut entropy = Seeded(1);
        let (client, message) = Client::start(&mut entropy);
        let (reply, relay_keys) = respond(&mut entropy, &message).unwrap();
        let (mut ours, mut theirs) = ([0; 92], [0; 92]);
        let x = client.x.clone();
        client.finish(&reply).unwrap().read(&mut ours).unwrap();
        relay_keys.read(&mut theirs).unwrap();
        assert_eq!(ours, theirs);
        for byte in 0..REPLY_LEN {
            let mut changed = reply;
            changed[byte] ^= 1;
            assert_eq!(Client { x: x.clone() }.finish(&changed).err(), Some(Error::WrongAuthenticator));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_two_ends_agree(seed: u64) {
            let mut entropy = Seeded(seed);
            let (client, message) = Client::start(&mut entropy);
            let (reply, relay_keys) = respond(&mut entropy, &message).unwrap();
            let (mut ours, mut theirs) = ([0; 92], [0; 92]);
            client.finish(&reply).unwrap().read(&mut ours).unwrap();
            relay_keys.read(&mut theirs).unwrap();
            proptest::prop_assert_eq!(ours, theirs);
        }
    }
}
