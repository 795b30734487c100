//! hs-ntor: the handshake between an onion service and its client, through an
//! introduction point and a rendezvous point.
//!
//! Knows the encrypted part of INTRODUCE1 and the body of RENDEZVOUS1; the fields around
//! and inside them are `wire/hs_msg.rs`'s. Called by `onion/client.rs` and
//! `onion/service.rs`. Spec: rend-spec-v3, "Introduction handshake encryption
//! requirements" and "The ntor handshake".

use super::aes_ctr;
use super::kdf::{self, KeyStream, ShakeStream};
use super::x25519::{KEY_LEN, KeyPair, PublicKey, SharedSecrets};
use super::{Error, Secret, same};
use crate::base::Ed25519Id;
use crate::base::codec::Reader;
use crate::base::random::Entropy;

const DIGEST_LEN: usize = 32;
/// Length of the encrypted part of INTRODUCE1 around its plaintext.
pub const INTRODUCE_OVERHEAD: usize = KEY_LEN + DIGEST_LEN;
/// Length of the handshake in RENDEZVOUS1 and RENDEZVOUS2.
pub const RENDEZVOUS_LEN: usize = KEY_LEN + DIGEST_LEN;

const PROTOID: &[u8] = b"tor-hs-ntor-curve25519-sha3-256-1";
const T_ENC: &[u8] = b"tor-hs-ntor-curve25519-sha3-256-1:hs_key_extract";
const T_VERIFY: &[u8] = b"tor-hs-ntor-curve25519-sha3-256-1:hs_verify";
const T_MAC: &[u8] = b"tor-hs-ntor-curve25519-sha3-256-1:hs_mac";
const M_EXPAND: &[u8] = b"tor-hs-ntor-curve25519-sha3-256-1:hs_key_expand";

/// A subcredential: proof that one knows the service's address in this time period.
pub type Subcredential = Secret<32>;

/// One introduction point of a service, as its descriptor names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntroductionKeys {
    /// The key that names the introduction point's circuit (ipt_sid).
    pub auth_key: Ed25519Id,
    /// The service's encryption key for it (hss_ntor), B.
    pub enc_key: PublicKey,
}

/// The near end, waiting for RENDEZVOUS2.
pub struct Client {
    keys: IntroductionKeys,
    x: KeyPair,
    bx: Secret<KEY_LEN>,
}

impl Client {
    /// Starts: `header` is INTRODUCE1 up to its encrypted part, which this gives.
    pub fn start(
        entropy: &mut dyn Entropy,
        keys: IntroductionKeys,
        subcredential: &Subcredential,
        header: &[u8],
        plaintext: &[u8],
    ) -> Result<(Client, Vec<u8>), Error> {
        Client::start_with(KeyPair::random(entropy), keys, subcredential, header, plaintext)
    }

    fn start_with(
        x: KeyPair,
        keys: IntroductionKeys,
        subcredential: &Subcredential,
        header: &[u8],
        plaintext: &[u8],
    ) -> Result<(Client, Vec<u8>), Error> {
        let mut shared = SharedSecrets::default();
        let bx = shared.agree(&x.secret, &keys.enc_key);
        shared.finish(Ok(()))?;

        let intro = IntroduceKeys::derive(&bx, &keys, &x.public, subcredential);
        let mut encrypted = [&x.public.0[..], plaintext].concat();
        aes_ctr::apply_once(intro.encryption.expose(), &mut encrypted[KEY_LEN..]);
        let mac = mac(intro.mac_key.expose(), &[header, &encrypted]);
        encrypted.extend_from_slice(&mac);
        Ok((Client { keys, x, bx }, encrypted))
    }

    /// Finishes with the handshake part of RENDEZVOUS2.
    pub fn finish(self, reply: &[u8; RENDEZVOUS_LEN]) -> Result<KeyStream, Error> {
        let mut reader = Reader::new(reply);
        let y = PublicKey(reader.array()?);
        let auth: [u8; DIGEST_LEN] = reader.array()?;

        let mut shared = SharedSecrets::default();
        let xy = shared.agree(&self.x.secret, &y);
        let rendezvous = Rendezvous { keys: &self.keys, x: &self.x.public, y: &y };
        let (expected, stream) = rendezvous.derive(&xy, &self.bx);
        shared.finish(if same(&expected, &auth) { Ok(()) } else { Err(Error::WrongAuthenticator) })?;
        Ok(stream)
    }
}

/// A service's half way: an introduction is proved and read, the answer not yet given.
pub struct Service {
    keys: IntroductionKeys,
    x: PublicKey,
    bx: Secret<KEY_LEN>,
}

impl Service {
    /// Reads the encrypted part of INTRODUCE2 behind `header`, for whichever of
    /// `subcredentials` it was made; gives its plaintext.
    ///
    /// Every subcredential is tried, whichever fits, so that time does not tell which.
    pub fn receive(
        auth_key: Ed25519Id,
        enc_key: &KeyPair,
        subcredentials: &[Subcredential],
        header: &[u8],
        encrypted: &[u8],
    ) -> Result<(Service, Vec<u8>), Error> {
        let (mac_covers, their_mac) =
            encrypted.len().checked_sub(DIGEST_LEN).map(|at| encrypted.split_at(at)).ok_or(Error::WrongLength)?;
        let mut reader = Reader::new(mac_covers);
        let x = PublicKey(reader.array()?);
        let mut plaintext = reader.rest().to_vec();

        let keys = IntroductionKeys { auth_key, enc_key: enc_key.public };
        let mut shared = SharedSecrets::default();
        let bx = shared.agree(&enc_key.secret, &x);
        let mut found = None;
        // No test can see that this loop has no way out but its end; whoever changes it must.
        for subcredential in subcredentials {
            let intro = IntroduceKeys::derive(&bx, &keys, &x, subcredential);
            if same(&mac(intro.mac_key.expose(), &[header, mac_covers]), their_mac) {
                found = Some(intro);
            }
        }
        shared.finish(if found.is_some() { Ok(()) } else { Err(Error::WrongMac) })?;
        let intro = found.ok_or(Error::WrongMac)?;
        aes_ctr::apply_once(intro.encryption.expose(), &mut plaintext);
        Ok((Service { keys, x, bx }, plaintext))
    }

    /// Answers: the handshake part of RENDEZVOUS1, and the keys.
    pub fn respond(self, entropy: &mut dyn Entropy) -> Result<([u8; RENDEZVOUS_LEN], KeyStream), Error> {
        self.respond_with(&KeyPair::random(entropy))
    }

    fn respond_with(self, y: &KeyPair) -> Result<([u8; RENDEZVOUS_LEN], KeyStream), Error> {
        let mut shared = SharedSecrets::default();
        let xy = shared.agree(&y.secret, &self.x);
        shared.finish(Ok(()))?;
        let (auth, stream) = Rendezvous { keys: &self.keys, x: &self.x, y: &y.public }.derive(&xy, &self.bx);
        let mut reply = [0; RENDEZVOUS_LEN];
        reply[..KEY_LEN].copy_from_slice(&y.public.0);
        reply[KEY_LEN..].copy_from_slice(&auth);
        Ok((reply, stream))
    }
}

/// The keys that protect an introduction.
struct IntroduceKeys {
    encryption: Secret<32>,
    mac_key: Secret<32>,
}

impl IntroduceKeys {
    fn derive(
        bx: &Secret<KEY_LEN>,
        keys: &IntroductionKeys,
        x: &PublicKey,
        subcredential: &Subcredential,
    ) -> IntroduceKeys {
        let mut stream = ShakeStream::new(&[
            bx.expose(),
            &keys.auth_key.0,
            &x.0,
            &keys.enc_key.0,
            PROTOID,
            T_ENC,
            M_EXPAND,
            subcredential.expose(),
        ]);
        IntroduceKeys { encryption: stream.secret(), mac_key: stream.secret() }
    }
}

/// What both ends know at the rendezvous besides the secrets.
struct Rendezvous<'a> {
    keys: &'a IntroductionKeys,
    x: &'a PublicKey,
    y: &'a PublicKey,
}

impl Rendezvous<'_> {
    /// AUTH, and the keys.
    fn derive(&self, xy: &Secret<KEY_LEN>, bx: &Secret<KEY_LEN>) -> ([u8; DIGEST_LEN], KeyStream) {
        let (auth_key, b) = (&self.keys.auth_key.0, &self.keys.enc_key.0);
        // Both with room for all that follows: what grows leaves copies behind.
        let mut input = zeroize::Zeroizing::new(Vec::with_capacity(6 * KEY_LEN + PROTOID.len()));
        for part in [xy.expose(), bx.expose(), auth_key, b, &self.x.0, &self.y.0] {
            input.extend_from_slice(part);
        }
        input.extend_from_slice(PROTOID);
        // Spec: the secret input is the *key* of this MAC, so its length is hashed first.
        let seed = Secret::new(mac(&input, &[T_ENC]));
        let verify = Secret::new(mac(&input, &[T_VERIFY]));
        let mut auth_input = zeroize::Zeroizing::new(Vec::with_capacity(6 * KEY_LEN + PROTOID.len()));
        for part in [verify.expose(), auth_key, b, &self.y.0, &self.x.0] {
            auth_input.extend_from_slice(part);
        }
        auth_input.extend_from_slice(PROTOID);
        auth_input.extend_from_slice(b"Server");
        let auth = mac(&auth_input, &[T_MAC]);
        (auth, KeyStream::Shake(Box::new(ShakeStream::new(&[seed.expose(), M_EXPAND]))))
    }
}

/// The MAC of onion services: SHA3-256(length of key | key | message).
pub fn mac(key: &[u8], message: &[&[u8]]) -> [u8; DIGEST_LEN] {
    let key_len = u64::try_from(key.len()).unwrap_or(u64::MAX).to_be_bytes();
    let mut parts: Vec<&[u8]> = vec![&key_len, key];
    parts.extend_from_slice(message);
    kdf::sha3_256(&parts)
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
        keys: IntroductionKeys,
        subcredential: Subcredential,
        header: Vec<u8>,
        plaintext: Vec<u8>,
    }

    /// C tor, hs_ntor_ref.py, and Arti 2.7, tor-proto, `crypto/handshake/hs_ntor.rs`.
    fn published() -> Published {
        let pair = |hex| KeyPair::from_secret(unhex_array(hex));
        let b = pair("A0ED5DBF94EEB2EDB3B514E4CF6ABFF6022051CC5F103391F1970A3FCD15296A");
        let auth_key = Ed25519Id(unhex_array("34E171E4358E501BFF21ED907E96AC6BFEF697C779D040BBAF49ACC30FC5D21F"));
        Published {
            keys: IntroductionKeys { auth_key, enc_key: b.public },
            b,
            x: pair("60B4D6BF5234DCF87A4E9D7487BDF3F4A69B6729835E825CA29089CFDDA1E341"),
            y: pair("68CB5188CA0CD7924250404FAB54EE1392D3D2B9C049A2E446513875952F8F55"),
            subcredential: Secret::new(unhex_array("0085D26A9DEBA252263BF0231AEAC59B17CA11BAD8A218238AD6487CBAD68B57")),
            header: unhex(
                "000000000000000000000000000000000000000002002034E171E4358E501BFF
                21ED907E96AC6BFEF697C779D040BBAF49ACC30FC5D21F00",
            ),
            plaintext: unhex(
                "6BD364C12638DD5C3BE23D76ACA05B04E6CE932C0101000100200DE6130E4FCA
                C4EDDA24E21220CC3EADAE403EF6B7D11C8273AC71908DE565450300067F0000
                0113890214F823C4F8CC085C792E0AEE0283FE00AD7520B37D0320728D5DF39B
                7B7077A0118A900FF4456C382F0041300ACF9C58E51C392795EF870000000000
                0000000000000000000000000000000000000000000000000000000000000000
                000000000000000000000000000000000000000000000000000000000000",
            ),
        }
    }

    #[test]
    fn published_vector() {
        let p = published();
        let (client, encrypted) =
            Client::start_with(p.x.clone(), p.keys, &p.subcredential, &p.header, &p.plaintext).unwrap();
        let expected = "BF04348B46D09AED
            726F1D66C618FDEA1DE58E8CB8B89738D7356A0C59111D5DADBECCCB38E37830
            4DCC179D3D9E437B452AF5702CED2CCFEC085BC02C4C175FA446525C1B9D5530
            563C362FDFFB802DAB8CD9EBC7A5EE17DA62E37DEEB0EB187FBB48C63298B0E8
            3F391B7566F42ADC97C46BA7588278273A44CE96BC68FFDAE31EF5F0913B9A9C
            7E0F173DBC0BDDCD4ACB4C4600980A7DDD9EAEC6E7F3FA3FC37CD95E5B8BFB3E
            35717012B78B4930569F895CB349A07538E42309C993223AEA77EF8AEA64F25D
            DEE97DA623F1AEC0A47F150002150455845C385E5606E41A9A199E7111D54EF2
            D1A51B7554D8B3692D85AC587FB9E69DF990EFB776D8";
        assert_eq!(encrypted, unhex(expected));

        let intro = IntroduceKeys::derive(&client.bx, &p.keys, &p.x.public, &p.subcredential);
        let expected_keys = "9b8917ba3d05f3130dacce5300c3dc27f6d012912f1c733036f822d0ed238706
            fc4058da59d4df61e7b40985d122f502fd59336bc21c30caf5e7f0d4a2c38fd5";
        assert_eq!([&intro.encryption.expose()[..], intro.mac_key.expose()].concat(), unhex(expected_keys));

        let (service, plaintext) =
            Service::receive(p.keys.auth_key, &p.b, &[p.subcredential], &p.header, &encrypted).unwrap();
        assert_eq!(plaintext, p.plaintext);
        let (reply, service_keys) = service.respond_with(&p.y).unwrap();
        let expected_reply = "8fbe0db4d4a9c7ff46701e3e0ee7fd05cd28be4f302460addeec9e93354ee700
            4A92E8437B8424D5E5EC279245D5C72B25A0327ACF6DAF902079FCB643D8B208";
        assert_eq!(reply[..], unhex(expected_reply));

        let expected_keys = "d02a24dfe70151ba16fc67a623bdb26b9715ec40628d3c06fa285bfc308c4a80
            8af14bebae313947d8d3820c85c273ae2cb14e24e796251571db7163bdd992f8
            f191044c02bb743cd58e1ea9aa117bca975afe8207b791210ae4ab82a04e556a
            6fb0d1b019e7a548ab9eed89dc5762b8e9ee72a4787a51b3534561e0f4c1f343";
        for keys in [client.finish(&reply).unwrap(), service_keys] {
            let mut out = [0; 128];
            keys.read(&mut out).unwrap();
            assert_eq!(out[..], unhex(expected_keys));
        }
    }

    /// C tor, test_hs_common.c / hs_ntor_ref.py.
    #[test]
    fn mac_vector() {
        let key = b"i'm from the past talking to the future.";
        let message = b"i am in a library somewhere using my computer";
        let expected = "753fba6d87d49497238a512a3772dd291e55f7d1cd332c9fb5c967c7a10a13ca";
        assert_eq!(mac(key, &[message])[..], unhex(expected));
    }

    #[test]
    fn an_introduction_reaches_the_service_under_any_of_its_subcredentials() {
        let p = published();
        let mut entropy = Seeded(1);
        let others = [Secret::new([1; 32]), p.subcredential.clone(), Secret::new([2; 32])];
        let (client, encrypted) =
            Client::start(&mut entropy, p.keys, &p.subcredential, &p.header, &p.plaintext).unwrap();
        let receive = |subs: &[Subcredential], header: &[u8], bytes: &[u8]| {
            Service::receive(p.keys.auth_key, &p.b, subs, header, bytes)
        };
        let (service, seen) = receive(&others, &p.header, &encrypted).unwrap();
        assert_eq!(seen, p.plaintext);
        assert_eq!(receive(&others[..1], &p.header, &encrypted).map(|_| ()).err(), Some(Error::WrongMac));
        assert_eq!(receive(&[], &p.header, &encrypted).map(|_| ()).err(), Some(Error::WrongMac));
        for byte in 0..encrypted.len() {
            let mut changed = encrypted.clone();
            changed[byte] ^= 1;
            assert_eq!(receive(&others, &p.header, &changed).map(|_| ()).err(), Some(Error::WrongMac));
            assert!(receive(&others, &p.header, &encrypted[..byte]).is_err());
        }
        let mut other_header = p.header.clone();
        other_header[25] ^= 1;
        assert_eq!(receive(&others, &other_header, &encrypted).map(|_| ()).err(), Some(Error::WrongMac));

        let (reply, _) = service.respond(&mut entropy).unwrap();
        for byte in 0..RENDEZVOUS_LEN {
            let mut changed = reply;
            changed[byte] ^= 1;
            let again = Client { keys: client.keys, x: client.x.clone(), bx: client.bx.clone() };
            assert_eq!(again.finish(&changed).err(), Some(Error::WrongAuthenticator));
        }
        assert_eq!(client.finish(&[0; 64]).err(), Some(Error::ZeroSharedSecret));
    }

    #[test]
    fn zero_shares_are_refused_on_both_sides() {
        let p = published();
        let keys = IntroductionKeys { enc_key: PublicKey([0; 32]), ..p.keys };
        let started = Client::start(&mut Seeded(1), keys, &p.subcredential, &p.header, b"");
        assert_eq!(started.map(|_| ()).err(), Some(Error::ZeroSharedSecret));
        let received = Service::receive(p.keys.auth_key, &p.b, &[p.subcredential], &p.header, &[0; 64]);
        assert_eq!(received.map(|_| ()).err(), Some(Error::ZeroSharedSecret));
    }

    proptest::proptest! {
        #[test]
        fn any_two_ends_agree_and_the_service_reads_its_introduction(
            seed: u64,
            header in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
            plaintext in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
            mine in 0_usize..4,
        ) {
            let mut entropy = Seeded(seed);
            let b = KeyPair::random(&mut entropy);
            let auth_key = Ed25519Id(crate::base::random::array(&mut entropy));
            let keys = IntroductionKeys { auth_key, enc_key: b.public };
            let subcredentials: [Subcredential; 4] = core::array::from_fn(|_| Secret::random(&mut entropy));
            let (client, encrypted) =
                Client::start(&mut entropy, keys, &subcredentials[mine], &header, &plaintext).unwrap();
            proptest::prop_assert_eq!(encrypted.len(), INTRODUCE_OVERHEAD + plaintext.len());
            let (service, seen) = Service::receive(auth_key, &b, &subcredentials, &header, &encrypted).unwrap();
            proptest::prop_assert_eq!(seen, plaintext);
            let (reply, service_keys) = service.respond(&mut entropy).unwrap();
            let (mut ours, mut theirs) = ([0; 128], [0; 128]);
            client.finish(&reply).unwrap().read(&mut ours).unwrap();
            service_keys.read(&mut theirs).unwrap();
            proptest::prop_assert_eq!(ours, theirs);
        }
    }
}
