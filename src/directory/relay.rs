//! One relay of a [`NetDir`], and what may be asked of it.
//!
//! A view of two rows, made when asked for; holds nothing. Called by `path`, `client` and
//! whoever builds a circuit. Spec: dir-spec, "Consensus document format", "Computing
//! microdescriptors".

use core::net::{SocketAddrV4, SocketAddrV6};

use super::consensus::{Flag, Flags, Row};
use super::microdesc::Policy;
use super::{Known, NetDir, RelayIndex};
use crate::base::country::Country;
use crate::base::{Ed25519Id, RelayIds, RsaId};
use crate::crypto::x25519;
use crate::wire::protover::Protocols;

/// One relay: what the consensus says of it, and its microdescriptor if that is here.
#[derive(Clone, Copy, Debug)]
pub struct Relay<'a> {
    pub(super) dir: &'a NetDir,
    pub(super) index: RelayIndex,
    pub(super) row: &'a Row,
    pub(super) known: &'a Known,
}

impl<'a> Relay<'a> {
    /// Its number.
    pub fn index(&self) -> RelayIndex {
        self.index
    }

    /// Its RSA identity.
    pub fn rsa_id(&self) -> RsaId {
        RsaId(self.row.rsa)
    }

    /// Its Ed25519 identity.
    pub fn ed25519_id(&self) -> Option<Ed25519Id> {
        (self.known.ed25519 != [0; 32]).then_some(Ed25519Id(self.known.ed25519))
    }

    /// Both.
    pub fn ids(&self) -> RelayIds {
        RelayIds { rsa: Some(self.rsa_id()), ed25519: self.ed25519_id() }
    }

    /// What its operator calls it.
    pub fn nickname(&self) -> &'a str {
        self.dir.consensus.rows.nickname(self.index.at())
    }

    /// Its address.
    pub fn ipv4(&self) -> SocketAddrV4 {
        self.row.ipv4()
    }

    /// Its address of IPv6, if it has one.
    pub fn ipv6(&self) -> Option<SocketAddrV6> {
        self.row.ipv6()
    }

    /// Where it is; nothing if nobody has said so.
    pub fn country(&self) -> Option<Country> {
        self.dir.countries.get(self.index.at())
    }

    /// What the authorities say of it.
    pub fn flags(&self) -> Flags {
        self.row.flags
    }

    /// Its bandwidth, in kilobytes a second.
    pub fn bandwidth(&self) -> u32 {
        self.row.bandwidth
    }

    /// What it speaks.
    pub fn protocols(&self) -> Protocols {
        self.dir.consensus.rows.protocols(self.row)
    }

    /// The digest of its microdescriptor.
    pub fn microdesc_digest(&self) -> [u8; 32] {
        self.row.microdesc
    }

    /// Whether its microdescriptor is here.
    pub fn has_microdesc(&self) -> bool {
        self.known.is_here
    }

    /// The key of the ntor handshake.
    pub fn ntor_key(&self) -> Option<x25519::PublicKey> {
        (self.known.ntor != [0; 32]).then_some(x25519::PublicKey(self.known.ntor))
    }

    /// Whether it runs, and circuits can go through it.
    pub fn is_usable(&self) -> bool {
        self.flags().has(Flag::Running) && self.flags().has(Flag::Valid) && self.ntor_key().is_some()
    }

    /// To which ports of IPv4 streams may leave; none if to no port.
    pub fn policy(&self) -> Option<&'a Policy> {
        self.dir.policies.get(self.known.policy).filter(|policy| !policy.is_reject_all())
    }

    /// The same for IPv6.
    pub fn policy6(&self) -> Option<&'a Policy> {
        self.dir.policies.get(self.known.policy6).filter(|policy| !policy.is_reject_all())
    }

    /// Whether streams may leave to some port.
    pub(super) fn may_exit(&self) -> bool {
        self.policy().or(self.policy6()).is_some()
    }

    pub(super) fn is_exit_listed(&self) -> bool {
        self.flags().has(Flag::Exit)
    }

    /// The relays of the consensus that its operator calls family, this one among them if there
    /// are any. Whether they do so too is [`NetDir::are_family`].
    pub fn listed_family(&self) -> impl Iterator<Item = RelayIndex> + 'a {
        let relays = self.dir.known.len();
        let list = self.dir.families.get(self.known.family).map_or(&[][..], |list| list);
        list.iter().copied().take_while(move |&number| usize::from(number) < relays).map(RelayIndex)
    }

    /// The families that it proved to be of, as numbers that mean nothing elsewhere.
    pub fn family_ids(&self) -> &'a [u32] {
        self.dir.family_ids.get(self.known.family_ids).map_or(&[], |set| set)
    }
}
