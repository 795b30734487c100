//! One circuit at one relay: the key it shares with the client, its windows, its streams.
//!
//! Knows neither the links on its two sides nor other circuits (`relay/switch.rs`). What it
//! wants sent comes out as messages; sealing and cutting them into cells happens here too.
//! Called by `relay/switch.rs`. Spec: tor-spec, "Creating circuits", "Flow control".

use std::collections::{BTreeMap, VecDeque};

use crate::base::Ed25519Id;
use crate::base::RsaId;
use crate::base::random::Entropy;
use crate::crypto::layer::{Cipher, RelayLayer};
use crate::crypto::x25519::KeyPair;
use crate::crypto::{self, SendmeTag, fast, ntor, ntor3};
use crate::wire::cell::{self, Body};
use crate::wire::cell_msg::{Create2, HandshakeType};
use crate::wire::extension::{self, Extensions, Subprotocols};
use crate::wire::relay::{Command, Format, StreamId};
use crate::wire::relay_msg::{self, Sendme};
use crate::wire::{self};

use super::stream::Stream;

/// tor-spec: DATA cells a circuit may carry each way before it hears a SENDME, and how many
/// of them a SENDME is for.
pub const CIRCUIT_WINDOW: u32 = 1000;
/// tor-spec: likewise.
pub const CIRCUIT_INCREMENT: u32 = 100;

/// Why a relay ends a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client's handshake is no good.
    Handshake(crypto::Error),
    /// A message is malformed.
    Wire(wire::Error),
    /// A handshake nobody speaks any more, or never did.
    UnknownHandshake,
    /// A relay crypto was asked for that this relay does not offer.
    NotOffered,
    /// A message that no client may send, or not now.
    Unexpected(Command),
    /// A cell for nobody.
    Unrecognized,
    /// More data than the window allows.
    WindowOverrun,
    /// A SENDME that was not due, or without the right proof.
    BadSendme,
    /// EXTEND2 in a cell that is not RELAY_EARLY, or too many of these.
    RelayEarly,
}

impl From<crypto::Error> for Fault {
    fn from(error: crypto::Error) -> Self {
        Fault::Handshake(error)
    }
}

impl From<wire::Error> for Fault {
    fn from(error: wire::Error) -> Self {
        Fault::Wire(error)
    }
}

/// The keys by which a relay answers circuit handshakes.
pub struct OnionKeys {
    /// Its RSA identity, which ntor names.
    pub rsa: RsaId,
    /// Its Ed25519 identity, which ntor-v3 names.
    pub ed25519: Ed25519Id,
    /// Its onion key.
    pub ntor: KeyPair,
    /// Whether it lets a client choose Counter Galois Onion. Off until the congestion
    /// control that it needs is here.
    pub offers_cgo: bool,
}

/// A circuit's end at this relay.
pub struct Circuit {
    layer: RelayLayer,
    format: Format,
    package: Package,
    deliver: Deliver,
    pub(super) streams: BTreeMap<StreamId, Stream>,
    /// The stream served last, so that the next one is served next.
    pub(super) served: Option<StreamId>,
}

/// What the relay may still send.
struct Package {
    window: u32,
    sent: u32,
    /// Cells sent that the window did not allow: none, but by a villain.
    overrun: u32,
    /// The tags of the cells that a SENDME must prove, oldest first.
    tags: VecDeque<SendmeTag>,
}

/// What the client may still send.
struct Deliver {
    window: u32,
}

/// A circuit, and the body of the cell that answers its client.
pub struct Created<T> {
    /// The circuit.
    pub circuit: Circuit,
    /// What CREATED_FAST or CREATED2 must carry.
    pub answer: T,
}

impl OnionKeys {
    /// Answers CREATE_FAST.
    pub fn create_fast(&self, x: &[u8; 20], entropy: &mut dyn Entropy) -> Result<Created<[u8; 40]>, Fault> {
        let (answer, keys) = fast::respond(entropy, x)?;
        Ok(Created { circuit: Circuit::new(Cipher::Tor1, keys)?, answer })
    }

    /// Answers CREATE2.
    pub fn create2(&self, create: &Create2<'_>, entropy: &mut dyn Entropy) -> Result<Created<Vec<u8>>, Fault> {
        match create.handshake_type {
            HandshakeType::NTOR => {
                let (answer, keys) = ntor::respond(entropy, self.rsa, &[&self.ntor], create.data)?;
                Ok(Created { circuit: Circuit::new(Cipher::Tor1, keys)?, answer: answer.to_vec() })
            }
            HandshakeType::NTOR_V3 => self.create_v3(create.data, entropy),
            _ => Err(Fault::UnknownHandshake),
        }
    }

    fn create_v3(&self, onionskin: &[u8], entropy: &mut dyn Entropy) -> Result<Created<Vec<u8>>, Fault> {
        let (responder, message) =
            ntor3::Relay::receive(self.ed25519, &[&self.ntor], onionskin, ntor3::CIRCUIT_EXTEND)?;
        let cipher = self.cipher(&Extensions::parse(&message)?)?;
        // No extensions: congestion control is not here, so nothing is granted.
        let (answer, keys) = responder.respond(entropy, &[0])?;
        Ok(Created { circuit: Circuit::new(cipher, keys)?, answer })
    }

    /// C tor: a request for anything but `Relay=6`, or for that where it is not offered,
    /// ends the circuit.
    fn cipher(&self, asked: &Extensions<'_>) -> Result<Cipher, Fault> {
        let Some(request) = asked.get(extension::SUBPROTOCOL_REQUEST) else { return Ok(Cipher::Tor1) };
        let wanted = Subprotocols::parse(request)?;
        if self.offers_cgo && wanted == Subprotocols::CGO { Ok(Cipher::Cgo) } else { Err(Fault::NotOffered) }
    }
}

impl Circuit {
    fn new(cipher: Cipher, keys: crypto::kdf::KeyStream) -> Result<Circuit, Fault> {
        let (layer, _binding) = RelayLayer::new(cipher, keys)?;
        let format = if cipher == Cipher::Cgo { Format::V1 } else { Format::V0 };
        Ok(Circuit {
            layer,
            format,
            package: Package { window: CIRCUIT_WINDOW, sent: 0, overrun: 0, tags: VecDeque::new() },
            deliver: Deliver { window: CIRCUIT_WINDOW },
            streams: BTreeMap::new(),
            served: None,
        })
    }

    /// How messages lie in this circuit's cells.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Takes this relay's layer of a forward cell; a tag means that it ends here.
    pub fn peel(&mut self, command: u8, cell: &mut Body) -> Option<SendmeTag> {
        self.layer.peel(command, cell)
    }

    /// Adds this relay's layer to a backward cell.
    pub fn wrap(&mut self, command: u8, cell: &mut Body) {
        self.layer.wrap(command, cell);
    }

    /// Seals a message of this relay's into a cell.
    pub fn seal(
        &mut self,
        command: Command,
        stream: Option<StreamId>,
        body: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Body, Fault> {
        let mut cell = [0; 509];
        self.format.encode(&mut cell, command, stream, entropy, |out| Ok(out.bytes(body)?))?;
        let tag = self.layer.originate(cell::Command::RELAY.0, &mut cell);
        if command == Command::DATA {
            self.package.on_sent(tag);
        }
        Ok(cell)
    }

    /// DATA cells sent since the last increment was full.
    pub fn sent(&self) -> u32 {
        self.package.sent
    }

    /// DATA cells sent that the window did not allow.
    pub fn overrun(&self) -> u32 {
        self.package.overrun
    }

    /// Whether a DATA cell may be sent.
    pub fn may_package(&self) -> bool {
        self.package.window > 0
    }

    /// A DATA cell arrived whose tag is `tag`; gives the SENDME that is due for it.
    pub fn on_data(&mut self, tag: &SendmeTag) -> Result<Option<Sendme>, Fault> {
        self.deliver.window = self.deliver.window.checked_sub(1).ok_or(Fault::WindowOverrun)?;
        if self.deliver.window > CIRCUIT_WINDOW - CIRCUIT_INCREMENT {
            return Ok(None);
        }
        self.deliver.window += CIRCUIT_INCREMENT;
        let bytes = tag.as_bytes();
        let tag = bytes.try_into().map(relay_msg::ClaimedTag::Tor1);
        let tag = tag.or_else(|_| bytes.try_into().map(relay_msg::ClaimedTag::Cgo));
        Ok(tag.ok().map(Sendme::V1))
    }

    /// A circuit SENDME arrived. C tor: version 0 is taken from circuits made by
    /// CREATE_FAST only; nobody sends it there any more.
    pub fn on_sendme(&mut self, sendme: &Sendme) -> Result<(), Fault> {
        let Sendme::V1(claimed) = sendme else { return Err(Fault::BadSendme) };
        let expected = self.package.tags.pop_front().ok_or(Fault::BadSendme)?;
        if !expected.matches(claimed.as_bytes()) {
            return Err(Fault::BadSendme);
        }
        self.package.window += CIRCUIT_INCREMENT;
        Ok(())
    }
}

impl Package {
    fn on_sent(&mut self, tag: SendmeTag) {
        self.overrun += u32::from(self.window == 0);
        self.window = self.window.saturating_sub(1);
        self.sent += 1;
        if self.sent == CIRCUIT_INCREMENT {
            self.sent = 0;
            self.tags.push_back(tag);
        }
    }
}
