//! The messages of onion services: establishing, introducing, meeting.
//!
//! Layouts only: `crypto` makes and checks every MAC and signature, and decrypts what
//! INTRODUCE2 carries; this file says which bytes they cover. RENDEZVOUS_ESTABLISHED is
//! nothing, whatever its body. Called by `onion`, and by relays in the lab. Spec:
//! rend-spec-v3, "The introduction protocol" and "The rendezvous protocol"; proposal 327
//! for the proof of work.

use super::Error;
use super::extend::LinkSpecifiers;
use super::extension::Extensions;
use super::testing::assert_reparses;
use crate::base::codec::{Reader, Writer};

/// Length of the cookie by which a client and a service find each other. Chosen by the spec.
pub const COOKIE_LEN: usize = 20;
/// Length that INTRODUCE1 is padded to, so that it does not show its extensions. Chosen
/// by Arti and the newer spec (C tor pads less).
pub const INTRODUCE1_PADDED_LEN: usize = 490;
/// Length that RENDEZVOUS1 is padded to, with random bytes. Chosen by C tor.
pub const RENDEZVOUS1_PADDED_LEN: usize = 168;

/// ESTABLISH_INTRO: be an introduction point for the owner of this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EstablishIntro<'a> {
    /// The service's key at this introduction point, an Ed25519 public key.
    pub auth_key: [u8; 32],
    /// Perhaps a [`DosParams`].
    pub extensions: Extensions<'a>,
    /// A MAC over [`EstablishIntro::maced`], with a key that both ends of the circuit
    /// share.
    pub handshake_auth: [u8; 32],
    /// A signature by `auth_key` over [`EstablishIntro::PREFIX`] and
    /// [`EstablishIntro::signed`].
    pub signature: [u8; 64],
}

impl<'a> EstablishIntro<'a> {
    /// What is signed in front of the message.
    pub const PREFIX: &'static [u8] = b"Tor establish-intro cell v1";

    /// Reads the body.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let (auth_key, extensions) = read_auth_key(&mut reader)?;
        let handshake_auth = reader.array()?;
        let signature = reader.u16_prefixed()?;
        let signature = signature.try_into().map_err(|_| Error::KeyWrongLength)?;
        Ok(EstablishIntro { auth_key, extensions, handshake_auth, signature })
    }

    /// Writes the body of a message that is complete; to make one see
    /// [`EstablishIntro::encode_signed`].
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        encode_auth_key(&self.auth_key, &self.extensions, out)?;
        out.bytes(&self.handshake_auth)?;
        Ok(out.u16_prefixed(&self.signature)?)
    }

    /// Writes a body to the front of `out`, and says how long it is. `mac` is given the
    /// bytes that the MAC covers, `sign` those that the signature covers but for the
    /// prefix.
    pub fn encode_signed(
        auth_key: &[u8; 32],
        extensions: &Extensions<'_>,
        out: &mut [u8],
        mac: impl FnOnce(&[u8]) -> [u8; 32],
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> Result<usize, Error> {
        let mut front = Writer::new(out);
        encode_auth_key(auth_key, extensions, &mut front)?;
        let maced_len = front.written();
        let (maced, rest) = out.split_at_mut_checked(maced_len).ok_or(Error::NoRoom)?;
        Writer::new(rest).bytes(&mac(maced))?;
        let signed_len = maced_len + MAC_LEN;
        let (signed, rest) = out.split_at_mut_checked(signed_len).ok_or(Error::NoRoom)?;
        let mut end = Writer::new(rest);
        end.u16_prefixed(&sign(signed))?;
        Ok(signed_len + end.written())
    }

    /// The front of the message in `body` that the MAC covers.
    pub fn maced<'b>(&self, body: &'b [u8]) -> &'b [u8] {
        body.get(..self.maced_len()).unwrap_or_default()
    }

    /// The front of the message in `body` that the signature covers, after the prefix.
    pub fn signed<'b>(&self, body: &'b [u8]) -> &'b [u8] {
        body.get(..self.maced_len() + MAC_LEN).unwrap_or_default()
    }

    fn maced_len(&self) -> usize {
        AUTH_KEY_LEN + self.extensions.encoded_len()
    }
}

/// The extension of ESTABLISH_INTRO that bounds how many introductions are let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DosParams {
    /// How many per second.
    pub rate_per_second: Option<u64>,
    /// How many at once.
    pub burst: Option<u64>,
}

impl DosParams {
    /// Its type among the extensions of ESTABLISH_INTRO.
    pub const KIND: u8 = 1;

    /// Reads the extension's body. Unknown parameters are passed over, of several of one
    /// kind the last counts, and the canonical form has the known ones in order.
    pub fn parse(data: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(data);
        let mut params = DosParams::default();
        for _ in 0..reader.u8()? {
            match (reader.u8()?, reader.u64()?) {
                (DOS_RATE, value) => params.rate_per_second = Some(value),
                (DOS_BURST, value) => params.burst = Some(value),
                _ => {}
            }
        }
        Ok(params)
    }

    /// Writes the extension's body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        let params = [(DOS_RATE, self.rate_per_second), (DOS_BURST, self.burst)];
        out.u8_count(params.iter().filter(|(_, value)| value.is_some()).count())?;
        for (kind, value) in params {
            if let Some(value) = value {
                out.u8(kind)?;
                out.u64(value)?;
            }
        }
        Ok(())
    }
}

/// INTRO_ESTABLISHED: it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntroEstablished<'a> {
    /// None that anybody defined.
    pub extensions: Extensions<'a>,
}

impl<'a> IntroEstablished<'a> {
    /// Reads the body.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        Ok(IntroEstablished { extensions: Extensions::read(&mut Reader::new(body))? })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        self.extensions.encode(out)
    }
}

/// ESTABLISH_RENDEZVOUS: wait here for whoever says this cookie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EstablishRendezvous {
    /// Not printed: whoever knows it can answer in the service's place.
    pub cookie: [u8; COOKIE_LEN],
}

impl EstablishRendezvous {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        Ok(EstablishRendezvous { cookie: Reader::new(body).array()? })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        Ok(out.bytes(&self.cookie)?)
    }
}

/// INTRODUCE1 and INTRODUCE2: somebody wants to meet the owner of this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introduce<'a> {
    /// The service's key at this introduction point.
    pub auth_key: [u8; 32],
    /// None that anybody defined; those of the client are encrypted.
    pub extensions: Extensions<'a>,
    /// The client's key, which also tells a replay.
    pub client_key: [u8; 32],
    /// An [`IntroducePlaintext`], encrypted.
    pub ciphertext: &'a [u8],
    /// A MAC over [`Introduce::maced`].
    pub mac: [u8; MAC_LEN],
}

impl<'a> Introduce<'a> {
    /// Reads the whole body.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        if reader.array()? != [0; COOKIE_LEN] {
            return Err(Error::LegacyIntroduction);
        }
        let (auth_key, extensions) = read_auth_key(&mut reader)?;
        let ciphertext_len = reader.remaining().checked_sub(KEY_LEN + MAC_LEN).ok_or(Error::EncryptedTooShort)?;
        let (client_key, ciphertext) = (reader.array()?, reader.take(ciphertext_len)?);
        Ok(Introduce { auth_key, extensions, client_key, ciphertext, mac: reader.array()? })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        Introduce::encode_header(&self.auth_key, &self.extensions, out)?;
        out.bytes(&self.client_key)?;
        out.bytes(self.ciphertext)?;
        Ok(out.bytes(&self.mac)?)
    }

    /// Writes what comes before the client's key.
    pub fn encode_header(auth_key: &[u8; 32], extensions: &Extensions<'_>, out: &mut Writer<'_>) -> Result<(), Error> {
        out.bytes(&[0; COOKIE_LEN])?;
        encode_auth_key(auth_key, extensions, out)
    }

    /// What the MAC at the end of `body` covers: all before it.
    pub fn maced(body: &[u8]) -> &[u8] {
        body.split_last_chunk::<MAC_LEN>().map(|(maced, _)| maced).unwrap_or_default()
    }

    /// The part of `body` that a service keeps to tell replays: all after the extensions.
    pub fn encrypted<'b>(&self, body: &'b [u8]) -> &'b [u8] {
        body.get(COOKIE_LEN + AUTH_KEY_LEN + self.extensions.encoded_len()..).unwrap_or_default()
    }
}

/// What a client tells a service, decrypted: where to meet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IntroducePlaintext<'a> {
    /// What to say there. Not printed.
    pub cookie: [u8; COOKIE_LEN],
    /// Perhaps a request for congestion control, a [`PowSolution`], a subprotocol request.
    pub extensions: Extensions<'a>,
    /// The rendezvous point's ntor key.
    pub onion_key: [u8; 32],
    /// The rendezvous point.
    pub specifiers: LinkSpecifiers<'a>,
}

impl<'a> IntroducePlaintext<'a> {
    /// Reads the plaintext; the padding after it is ignored.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let (cookie, extensions) = (reader.array()?, Extensions::read(&mut reader)?);
        let onion_key = read_key(&mut reader, ONION_KEY_NTOR)?;
        Ok(IntroducePlaintext { cookie, extensions, onion_key, specifiers: LinkSpecifiers::read(&mut reader)? })
    }

    /// Writes the plaintext without padding; zeros follow.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.bytes(&self.cookie)?;
        self.extensions.encode(out)?;
        encode_key(ONION_KEY_NTOR, &self.onion_key, out)?;
        self.specifiers.encode(out)
    }
}

impl core::fmt::Debug for IntroducePlaintext<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("IntroducePlaintext").field("specifiers", &self.specifiers).finish_non_exhaustive()
    }
}

impl core::fmt::Debug for EstablishRendezvous {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("EstablishRendezvous").finish_non_exhaustive()
    }
}

/// The extension of the plaintext that shows that the client has worked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowSolution {
    /// What the client tried last.
    pub nonce: [u8; 16],
    /// How hard it says it worked.
    pub effort: u32,
    /// The front of the seed it worked with.
    pub seed_head: [u8; 4],
    /// The proof.
    pub solution: [u8; 16],
}

impl PowSolution {
    /// Its type among the extensions of the plaintext.
    pub const KIND: u8 = 2;

    /// Reads the extension's body.
    pub fn parse(data: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(data);
        if reader.u8()? != POW_V1 {
            return Err(Error::PowVersionUnknown);
        }
        Ok(PowSolution {
            nonce: reader.array()?,
            effort: reader.u32()?,
            seed_head: reader.array()?,
            solution: reader.array()?,
        })
    }

    /// Writes the extension's body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.u8(POW_V1)?;
        out.bytes(&self.nonce)?;
        out.u32(self.effort)?;
        out.bytes(&self.seed_head)?;
        Ok(out.bytes(&self.solution)?)
    }
}

/// What an introduction point made of INTRODUCE1. Any number is one; those with a name are
/// known, and all but one are failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntroduceStatus(pub u16);

impl IntroduceStatus {
    /// The service has it.
    pub const SUCCESS: IntroduceStatus = IntroduceStatus(0);
    /// No such service is here, or no longer, or it has had enough.
    pub const NOT_RECOGNIZED: IntroduceStatus = IntroduceStatus(1);
    /// INTRODUCE1 made no sense.
    pub const BAD_MESSAGE_FORMAT: IntroduceStatus = IntroduceStatus(2);
    /// The service could not be told.
    pub const CANNOT_RELAY: IntroduceStatus = IntroduceStatus(3);
}

/// INTRODUCE_ACK: what became of INTRODUCE1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntroduceAck<'a> {
    /// What became of it.
    pub status: IntroduceStatus,
    /// None that anybody defined.
    pub extensions: Extensions<'a>,
}

impl<'a> IntroduceAck<'a> {
    /// Reads the body.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let status = IntroduceStatus(reader.u16()?);
        Ok(IntroduceAck { status, extensions: Extensions::read(&mut reader)? })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.u16(self.status.0)?;
        self.extensions.encode(out)
    }
}

/// RENDEZVOUS1: here I am, for whoever said this cookie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rendezvous1<'a> {
    /// Not printed.
    pub cookie: [u8; COOKIE_LEN],
    /// A [`Rendezvous2`] with its padding. The rendezvous point hands it on unread.
    pub handshake: &'a [u8],
}

impl<'a> Rendezvous1<'a> {
    /// Reads the whole body.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        Ok(Rendezvous1 { cookie: reader.array()?, handshake: reader.rest() })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.bytes(&self.cookie)?;
        Ok(out.bytes(self.handshake)?)
    }
}

impl core::fmt::Debug for Rendezvous1<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Rendezvous1").finish_non_exhaustive()
    }
}

/// RENDEZVOUS2: the service's half of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rendezvous2 {
    /// The service's key.
    pub service_key: [u8; 32],
    /// What proves that it is the service.
    pub auth: [u8; MAC_LEN],
}

impl Rendezvous2 {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        Ok(Rendezvous2 { service_key: reader.array()?, auth: reader.array()? })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.bytes(&self.service_key)?;
        Ok(out.bytes(&self.auth)?)
    }
}

/// Parses `bytes` as every message of this file; what parses must be written and parse
/// again to the same.
pub fn fuzz_hs_message(bytes: &[u8]) {
    assert_reparses!(EstablishIntro, bytes);
    assert_reparses!(DosParams, bytes);
    assert_reparses!(IntroEstablished, bytes);
    assert_reparses!(EstablishRendezvous, bytes);
    assert_reparses!(Introduce, bytes);
    assert_reparses!(IntroducePlaintext, bytes);
    assert_reparses!(PowSolution, bytes);
    assert_reparses!(IntroduceAck, bytes);
    assert_reparses!(Rendezvous1, bytes);
    assert_reparses!(Rendezvous2, bytes);
}

fn read_auth_key<'a>(reader: &mut Reader<'a>) -> Result<([u8; KEY_LEN], Extensions<'a>), Error> {
    Ok((read_key(reader, AUTH_KEY_ED25519)?, Extensions::read(reader)?))
}

fn encode_auth_key(key: &[u8; KEY_LEN], extensions: &Extensions<'_>, out: &mut Writer<'_>) -> Result<(), Error> {
    encode_key(AUTH_KEY_ED25519, key, out)?;
    extensions.encode(out)
}

fn read_key(reader: &mut Reader<'_>, kind: u8) -> Result<[u8; KEY_LEN], Error> {
    if reader.u8()? != kind {
        return Err(Error::KeyTypeUnknown);
    }
    reader.u16_prefixed()?.try_into().map_err(|_| Error::KeyWrongLength)
}

fn encode_key(kind: u8, key: &[u8; KEY_LEN], out: &mut Writer<'_>) -> Result<(), Error> {
    out.u8(kind)?;
    Ok(out.u16_prefixed(key)?)
}

const KEY_LEN: usize = 32;
const MAC_LEN: usize = 32;
/// Type, length and key, in front of extensions.
const AUTH_KEY_LEN: usize = 3 + KEY_LEN;
const AUTH_KEY_ED25519: u8 = 2;
const ONION_KEY_NTOR: u8 = 1;
const DOS_RATE: u8 = 1;
const DOS_BURST: u8 = 2;
const POW_V1: u8 = 1;

#[cfg(test)]
mod tests;
