//! Making a hop: CREATE to the first, EXTEND2 through the last, one state per awaited
//! answer.
//!
//! Each state is made with the question and consumed by its answer, so that no answer counts
//! twice. Holds no hop and queues nothing. When to ask is `send.rs`'s, whose answer came is
//! `recv.rs`'s. Called by both. Spec: tor-spec, "Creating circuits", "CREATE2 and CREATED2
//! cells", "EXTEND and EXTENDED messages".

use core::time::Duration;

use super::Error;
use super::hop::{Handshake, Hop, HopNo, Layer, PathHop};
use crate::base::codec::Writer;
use crate::base::random::Entropy;
use crate::base::time::Now;
use crate::crypto::kdf::KeyStream;
use crate::crypto::layer::{Cipher, ClientLayer};
use crate::crypto::{fast, ntor, ntor3};
use crate::wire::cell::{BODY_LEN, Body, Command};
use crate::wire::cell_msg::{Create2, CreateFast, Created2, CreatedFast, HandshakeType};
use crate::wire::extend::{Extend2, Extended2};
use crate::wire::extension::{CC_RESPONSE, Extensions};
use crate::wire::relay::{self, Format};

/// What we ask for in ntor-v3: nothing. One byte, as C tor writes it.
const NO_EXTENSIONS: &[u8] = &[0];

/// Our half of a handshake.
enum Started {
    Fast(fast::Client),
    Ntor(Box<ntor::Client>),
    NtorV3(Box<ntor3::Client>),
}

/// CREATE is sent, CREATED must come.
pub struct ExpectCreated {
    started: Started,
    sent: Now,
}

/// EXTEND2 is sent to a hop, EXTENDED2 must come from it.
pub struct ExpectExtended {
    started: Started,
    through: HopNo,
    sent: Now,
}

impl ExpectCreated {
    /// Writes the cell that asks for the first hop; gives its command.
    pub fn ask(
        hop: &PathHop,
        cell: &mut Body,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<(Command, ExpectCreated), Error> {
        cell.fill(0);
        let mut out = Writer::new(cell);
        if hop.handshake == Handshake::Fast {
            let (client, x) = fast::Client::start(entropy);
            CreateFast { x }.encode(&mut out)?;
            return Ok((Command::CREATE_FAST, ExpectCreated { started: Started::Fast(client), sent: now }));
        }
        let (started, handshake_type, data) = Started::start(hop, entropy)?;
        Create2 { handshake_type, data: &data }.encode(&mut out)?;
        Ok((Command::CREATE2, ExpectCreated { started, sent: now }))
    }

    /// Takes the answer; gives the hop and how long it took.
    pub fn handle(self, command: Command, body: &Body, now: Now) -> Result<(Hop, Duration), Error> {
        let keys = match (self.started, command) {
            (Started::Fast(client), Command::CREATED_FAST) => {
                let CreatedFast { y, key_hash } = CreatedFast::parse(body)?;
                let mut reply = [0; fast::REPLY_LEN];
                Writer::new(&mut reply).bytes(&y).map_err(crate::wire::Error::from)?;
                let (_, back) = reply.split_at_mut(fast::SHARE_LEN);
                back.copy_from_slice(&key_hash);
                client.finish(&reply)?
            }
            (Started::Fast(_), _) => return Err(Error::UnexpectedCell(command)),
            (started, Command::CREATED2) => started.finish(Created2::parse(body)?.data)?,
            _ => return Err(Error::UnexpectedCell(command)),
        };
        Ok((hop(keys)?, now.tick.since(self.sent.tick)))
    }
}

impl ExpectExtended {
    /// Gives the body of the EXTEND2 that asks the hop `through`, which speaks `format`, for
    /// the next.
    pub fn ask(
        hop: &PathHop,
        through: HopNo,
        format: Format,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<(Vec<u8>, ExpectExtended), Error> {
        let (started, handshake_type, data) = Started::start(hop, entropy)?;
        let mut body = [0; BODY_LEN];
        let space = body.get_mut(..format.max_body(relay::Command::EXTEND2)).unwrap_or_default();
        let mut out = Writer::new(space);
        Extend2::encode_to(&hop.target, &Create2 { handshake_type, data: &data }, &mut out)?;
        let len = out.written();
        Ok((body.get(..len).unwrap_or_default().to_vec(), ExpectExtended { started, through, sent: now }))
    }

    /// Takes the answer of the hop `from`; gives the hop and how long it took.
    pub fn handle(self, from: HopNo, body: &[u8], now: Now) -> Result<(Hop, Duration), Error> {
        if from != self.through {
            return Err(Error::Unexpected(relay::Command::EXTENDED2));
        }
        let keys = self.started.finish(Extended2::parse(body)?.data)?;
        Ok((hop(keys)?, now.tick.since(self.sent.tick)))
    }
}

impl Started {
    fn start(hop: &PathHop, entropy: &mut dyn Entropy) -> Result<(Started, HandshakeType, Vec<u8>), Error> {
        let ids = hop.target.ids;
        match hop.handshake {
            Handshake::Fast => Err(Error::BadPath),
            Handshake::Ntor(onion_key) => {
                let id = ids.rsa.ok_or(Error::BadPath)?;
                let (client, data) = ntor::Client::start(entropy, ntor::RelayKey { id, onion_key })?;
                Ok((Started::Ntor(Box::new(client)), HandshakeType::NTOR, data.to_vec()))
            }
            Handshake::NtorV3(onion_key) => {
                let key = ntor3::RelayKey { id: ids.ed25519.ok_or(Error::BadPath)?, onion_key };
                let (client, data) = ntor3::Client::start(entropy, key, NO_EXTENSIONS, ntor3::CIRCUIT_EXTEND)?;
                Ok((Started::NtorV3(Box::new(client)), HandshakeType::NTOR_V3, data))
            }
        }
    }

    fn finish(self, reply: &[u8]) -> Result<KeyStream, Error> {
        match self {
            Started::Fast(_) => Err(Error::BadPath),
            Started::Ntor(client) => Ok(client.finish(reply)?),
            Started::NtorV3(client) => {
                let (message, keys) = client.finish(reply)?;
                // Unknown extensions are ignored; this one we know, and did not ask for.
                match Extensions::parse(&message)?.get(CC_RESPONSE) {
                    Some(_) => Err(Error::UnaskedExtension),
                    None => Ok(keys),
                }
            }
        }
    }
}

/// Nothing was asked for, so the hop has the cipher that all have.
fn hop(keys: KeyStream) -> Result<Hop, Error> {
    let (layer, binding) = ClientLayer::new(Cipher::Tor1, keys)?;
    Ok(Hop::new(Layer::Client(layer), Cipher::Tor1, binding))
}
