//! The messages about a circuit itself: padding machines, and joining circuits (conflux).
//!
//! Growing and shrinking a circuit is in `extend`. CONFLUX_LINKED_ACK is nothing, so it
//! has no type here. Called by `circuit`. Spec: padding-spec, "Circuit-level padding";
//! proposal 329, "Overcoming Tor's bottlenecks with traffic splitting".

use super::Error;
use super::testing::assert_reparses;
use crate::base::codec::{Reader, Writer};

/// What to do with a padding machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaddingCommand {
    /// End it.
    Stop,
    /// Begin it.
    Start,
}

/// Which padding machine. Any byte is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineType(pub u8);

impl MachineType {
    /// The one that hides the set-up of onion-service circuits.
    pub const CIRC_SETUP: MachineType = MachineType(1);
}

/// PADDING_NEGOTIATE of a circuit: begin or end a padding machine at a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaddingNegotiate {
    /// Begin or end.
    pub command: PaddingCommand,
    /// Which machine.
    pub machine_type: MachineType,
    /// Whether an answer is wanted. Nobody sets it.
    pub echo_request: bool,
    /// Which run of the machine, so that a late answer is not taken for a new one.
    pub machine_ctr: u32,
}

impl PaddingNegotiate {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let command = padding_command(&mut reader)?;
        let machine_type = MachineType(reader.u8()?);
        let echo_request = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Error::CircuitPaddingUnknown),
        };
        Ok(PaddingNegotiate { command, machine_type, echo_request, machine_ctr: reader.u32()? })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        encode_padding_command(self.command, out)?;
        out.u8(self.machine_type.0)?;
        out.u8(u8::from(self.echo_request))?;
        Ok(out.u32(self.machine_ctr)?)
    }
}

/// PADDING_NEGOTIATED: what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaddingNegotiated {
    /// Begun or ended.
    pub command: PaddingCommand,
    /// Whether it was done.
    pub accepted: bool,
    /// Which machine.
    pub machine_type: MachineType,
    /// Which run of it.
    pub machine_ctr: u32,
}

impl PaddingNegotiated {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let command = padding_command(&mut reader)?;
        let accepted = match reader.u8()? {
            1 => true,
            2 => false,
            _ => return Err(Error::CircuitPaddingUnknown),
        };
        Ok(PaddingNegotiated { command, accepted, machine_type: MachineType(reader.u8()?), machine_ctr: reader.u32()? })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        encode_padding_command(self.command, out)?;
        out.u8(if self.accepted { 1 } else { 2 })?;
        out.u8(self.machine_type.0)?;
        Ok(out.u32(self.machine_ctr)?)
    }
}

/// What the sender of LINK wishes for. Any byte is one; those with a name are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DesiredUx(pub u8);

#[allow(missing_docs, reason = "the spec's names, listed in its order")]
impl DesiredUx {
    pub const NO_OPINION: DesiredUx = DesiredUx(0);
    pub const MIN_LATENCY: DesiredUx = DesiredUx(1);
    pub const LOW_MEM_LATENCY: DesiredUx = DesiredUx(2);
    pub const HIGH_THROUGHPUT: DesiredUx = DesiredUx(3);
    pub const LOW_MEM_THROUGHPUT: DesiredUx = DesiredUx(4);
}

/// CONFLUX_LINK and CONFLUX_LINKED: this circuit is a leg of that set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConfluxLink {
    /// What names the set, and a secret: whoever looks a set up by it compares with
    /// `crypto::same`, in constant time. Equality of messages is for tests. Not printed.
    pub nonce: [u8; 32],
    /// The highest sequence number sent on any leg.
    pub last_seqno_sent: u64,
    /// The highest sequence number delivered from any leg.
    pub last_seqno_recv: u64,
    /// What the sender wishes the other to aim at.
    pub desired_ux: DesiredUx,
}

impl ConfluxLink {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        if reader.u8()? != CONFLUX_VERSION {
            return Err(Error::ConfluxVersionUnknown);
        }
        Ok(ConfluxLink {
            nonce: reader.array()?,
            last_seqno_sent: reader.u64()?,
            last_seqno_recv: reader.u64()?,
            desired_ux: DesiredUx(reader.u8()?),
        })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        out.u8(CONFLUX_VERSION)?;
        out.bytes(&self.nonce)?;
        out.u64(self.last_seqno_sent)?;
        out.u64(self.last_seqno_recv)?;
        Ok(out.u8(self.desired_ux.0)?)
    }
}

impl core::fmt::Debug for ConfluxLink {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let ConfluxLink { last_seqno_sent, last_seqno_recv, desired_ux, .. } = self;
        f.debug_struct("ConfluxLink")
            .field("last_seqno_sent", last_seqno_sent)
            .field("last_seqno_recv", last_seqno_recv)
            .field("desired_ux", desired_ux)
            .finish_non_exhaustive()
    }
}

/// CONFLUX_SWITCH: what follows on this leg comes so much later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfluxSwitch {
    /// How far the leg's sequence numbers jump.
    pub seqno: u32,
}

impl ConfluxSwitch {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        Ok(ConfluxSwitch { seqno: Reader::new(body).u32()? })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        Ok(out.u32(self.seqno)?)
    }
}

/// Parses `bytes` as every message of this file; what parses must be written and parse
/// again to the same.
pub fn fuzz_circuit_message(bytes: &[u8]) {
    assert_reparses!(PaddingNegotiate, bytes);
    assert_reparses!(PaddingNegotiated, bytes);
    assert_reparses!(ConfluxLink, bytes);
    assert_reparses!(ConfluxSwitch, bytes);
}

fn padding_command(reader: &mut Reader<'_>) -> Result<PaddingCommand, Error> {
    match (reader.u8()?, reader.u8()?) {
        (0, 1) => Ok(PaddingCommand::Stop),
        (0, 2) => Ok(PaddingCommand::Start),
        _ => Err(Error::CircuitPaddingUnknown),
    }
}

fn encode_padding_command(command: PaddingCommand, out: &mut Writer<'_>) -> Result<(), Error> {
    let command = match command {
        PaddingCommand::Stop => 1,
        PaddingCommand::Start => 2,
    };
    Ok(out.bytes(&[0, command])?)
}

const CONFLUX_VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_reads_back, assert_vector, unhex};
    use super::*;
    use proptest::prelude::*;

    /// Arti 2.7, tor-cell tests/testvec_relaymsg.rs, the comment "For circuit padding":
    /// recorded from C tor in a test network.
    #[test]
    fn padding_machine_vectors() {
        use PaddingCommand::{Start, Stop};
        let (machine_0, setup) = (MachineType(0), MachineType::CIRC_SETUP);
        assert_vector!(
            PaddingNegotiate,
            "0002000000000001",
            PaddingNegotiate { command: Start, machine_type: machine_0, echo_request: false, machine_ctr: 1 }
        );
        for (hex, command, machine_type) in [
            ("0001010000000001", Stop, machine_0),
            ("0002010000000001", Start, machine_0),
            ("0002010100000001", Start, setup),
        ] {
            let message = PaddingNegotiated { command, accepted: true, machine_type, machine_ctr: 1 };
            assert_vector!(PaddingNegotiated, hex, message);
        }
    }

    /// The ranges of C tor 0.4.9.11, trunnel/circpad_negotiation.c.
    #[test]
    fn padding_fields_out_of_range_are_refused() {
        for hex in ["0102000000000001", "0000000000000001", "0003000000000001", "0002000200000001"] {
            assert_eq!(PaddingNegotiate::parse(&unhex(hex)), Err(Error::CircuitPaddingUnknown), "{hex}");
        }
        for hex in ["0102010000000001", "0003010000000001", "0002000000000001", "0002030000000001"] {
            assert_eq!(PaddingNegotiated::parse(&unhex(hex)), Err(Error::CircuitPaddingUnknown), "{hex}");
        }
    }

    /// By hand, after C tor 0.4.9.11, trunnel/conflux.c.
    #[test]
    fn conflux_vectors() {
        let nonce = "A5".repeat(32);
        let link = ConfluxLink {
            nonce: [0xA5; 32],
            last_seqno_sent: 1,
            last_seqno_recv: 2,
            desired_ux: DesiredUx::HIGH_THROUGHPUT,
        };
        assert_vector!(ConfluxLink, &format!("01 {nonce} 0000000000000001 0000000000000002 03"), link);
        assert_vector!(ConfluxSwitch, "00000005", ConfluxSwitch { seqno: 5 });
        assert_eq!(ConfluxLink::parse(&[2; 50]), Err(Error::ConfluxVersionUnknown));
        assert!(!format!("{link:?}").contains("165"), "the nonce is not printed");
    }

    proptest! {
        #[test]
        fn messages_read_back(
            nonce in any::<[u8; 32]>(),
            sent in any::<u64>(),
            recv in any::<u64>(),
            byte in any::<u8>(),
            word in any::<u32>(),
            flag in any::<bool>(),
        ) {
            let command = if flag { PaddingCommand::Start } else { PaddingCommand::Stop };
            let machine_type = MachineType(byte);
            assert_reads_back!(
                ConfluxLink,
                ConfluxLink { nonce, last_seqno_sent: sent, last_seqno_recv: recv, desired_ux: DesiredUx(byte) }
            );
            assert_reads_back!(ConfluxSwitch, ConfluxSwitch { seqno: word });
            assert_reads_back!(
                PaddingNegotiate,
                PaddingNegotiate { command, machine_type, echo_request: flag, machine_ctr: word }
            );
            assert_reads_back!(
                PaddingNegotiated,
                PaddingNegotiated { command, accepted: !flag, machine_type, machine_ctr: word }
            );
        }

        #[test]
        fn what_parses_is_written_and_parses_again(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            fuzz_circuit_message(&bytes);
        }
    }
}
