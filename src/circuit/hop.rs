//! One hop: its layer, what may be under way to it, its streams; and how to reach the next.
//!
//! A hop may be no relay of the path but an onion service, or its client, whose keys were
//! agreed on elsewhere. The row of hops is `mod.rs`'s. Called by `build.rs`, `recv.rs`,
//! `send.rs`. Spec: tor-spec, "Routing relay cells"; rend-spec-v3, "Completing the
//! handshake" for hops that are no relays.

use crate::crypto::layer::{BindingKey, Cipher, ClientLayer, RelayLayer};
use crate::crypto::x25519::PublicKey;
use crate::crypto::{CellBody, SendmeTag};
use crate::stream::congestion::Congestion;
use crate::stream::map::StreamMap;
use crate::wire::extend::Target;
use crate::wire::relay::{Format, StreamId};

/// A hop of a circuit, counted from the first, which is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopNo(pub u8);

impl HopNo {
    pub(super) fn of(index: usize) -> HopNo {
        HopNo(u8::try_from(index).unwrap_or(u8::MAX))
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One circuit of a tunnel. There is one, until conflux joins several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leg(pub u8);

/// A stream of a tunnel: its hop and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamAt {
    /// At which hop it ends.
    pub hop: HopNo,
    /// Its number at that hop. Taken again only when all others were.
    pub id: StreamId,
}

/// A relay to become a hop: how the one before reaches it, and how we prove it.
#[derive(Clone, Copy, Debug)]
pub struct PathHop {
    /// Its addresses and identities; all that is in here is written into EXTEND2.
    pub target: Target,
    /// The handshake to do.
    pub handshake: Handshake,
}

/// A circuit handshake, and the key that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// CREATE_FAST: trusts the link alone. For a first hop whose key is not known.
    Fast,
    /// Needs the relay's RSA identity.
    Ntor(PublicKey),
    /// Needs the relay's Ed25519 identity. Asks for nothing yet.
    NtorV3(PublicKey),
}

/// Our side of a hop's layer.
pub enum Layer {
    /// The hop is a relay, or an onion service we are a client of.
    Client(ClientLayer),
    /// The hop is a client of our onion service.
    Service(RelayLayer),
}

impl Layer {
    /// Seals a cell for the hop.
    #[inline]
    pub(super) fn originate(&mut self, command: u8, cell: &mut CellBody) -> SendmeTag {
        match self {
            Layer::Client(layer) => layer.originate(command, cell),
            Layer::Service(layer) => layer.originate(command, cell),
        }
    }

    /// Adds the layer to a cell for a hop farther away.
    #[inline]
    pub(super) fn wrap(&mut self, command: u8, cell: &mut CellBody) {
        match self {
            Layer::Client(layer) => layer.wrap(command, cell),
            Layer::Service(layer) => layer.wrap(command, cell),
        }
    }

    /// Takes the layer of a cell; a tag means that the hop sealed it.
    #[inline]
    pub(super) fn peel(&mut self, command: u8, cell: &mut CellBody) -> Option<SendmeTag> {
        match self {
            Layer::Client(layer) => layer.peel(command, cell),
            Layer::Service(layer) => layer.peel(command, cell),
        }
    }
}

/// One hop.
pub struct Hop {
    pub(super) layer: Layer,
    pub(super) format: Format,
    pub(super) congestion: Congestion<SendmeTag>,
    pub(super) streams: StreamMap,
    /// Whether messages that are not the circuit's own go up; else they close it.
    pub(super) is_listened_to: bool,
    pub(super) binding: BindingKey,
}

impl Hop {
    /// A hop whose keys are agreed on. A client of our service may open streams to us.
    pub fn new(layer: Layer, cipher: Cipher, binding: BindingKey) -> Hop {
        let streams = match layer {
            Layer::Client(_) => StreamMap::default(),
            Layer::Service(_) => StreamMap::accepting(),
        };
        Hop {
            layer,
            format: if cipher == Cipher::Cgo { Format::V1 } else { Format::V0 },
            congestion: Congestion::fixed(),
            streams,
            is_listened_to: false,
            binding,
        }
    }
}
