//! Circuit numbers of one link: which are free, which are in use, which we have closed
//! while the other side may still be sending.
//!
//! No circuits here, only their numbers. Called by `link/mod.rs`. Spec: tor-spec,
//! "Choosing circuit IDs in create cells" and "Tearing down circuits".

use std::collections::{BTreeMap, VecDeque};

use super::Error;
use crate::base::random::{self, Entropy};
use crate::wire::cell::CircId;

/// C tor: how many random numbers are tried before giving up.
const MAX_TRIES: usize = 64;
/// Cells that may still arrive on a circuit after we closed it; Arti's figure. Three times
/// the fixed window; a congestion window may grow beyond, and this must grow with it.
const MAX_LATE_CELLS: u32 = 3000;
/// Numbers of closed circuits remembered at a time; ours. A relay does not confirm that a
/// circuit is gone, so the oldest is forgotten when there are more.
const MAX_CLOSED: usize = 4096;

/// Circuits the other side may have open at a time; ours.
const MAX_ADOPTED: usize = 65_536;

/// What to do with a cell of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Give it to the circuit.
    Deliver,
    /// Drop it: we closed the circuit, and the cell was on its way.
    Absorb,
}

/// The numbers of one link.
pub struct CircIds {
    we_initiated: bool,
    /// Whether the other side knows of each.
    open: BTreeMap<CircId, bool>,
    /// Closed by us; how many cells came since.
    closed: BTreeMap<CircId, u32>,
    /// The same, oldest first.
    closed_order: VecDeque<CircId>,
}

impl CircIds {
    /// For the side that opened the connection: its numbers have the top bit set.
    pub fn of_initiator() -> Self {
        CircIds::new(true)
    }

    /// For the side that was dialled.
    pub fn of_responder() -> Self {
        CircIds::new(false)
    }

    fn new(we_initiated: bool) -> Self {
        CircIds { we_initiated, open: BTreeMap::new(), closed: BTreeMap::new(), closed_order: VecDeque::new() }
    }

    /// A free number of ours, random so that it says nothing about our other circuits.
    pub fn allocate(&mut self, entropy: &mut dyn Entropy) -> Result<CircId, Error> {
        for _ in 0..MAX_TRIES {
            let random = u32::from_be_bytes(random::array(entropy));
            let number = if self.we_initiated { random | CircId::INITIATOR } else { random & !CircId::INITIATOR };
            let free = CircId::new(number).filter(|id| {
                id.get() != CircId::INITIATOR && !self.open.contains_key(id) && !self.closed.contains_key(id)
            });
            if let Some(id) = free {
                self.open.insert(id, false);
                return Ok(id);
            }
        }
        Err(Error::NoFreeCircId)
    }

    /// The other side opens a circuit. A client never lets a relay do that.
    pub fn adopt(&mut self, id: CircId) -> Result<(), Error> {
        if self.we_initiated {
            return Err(Error::CreateFromRelay);
        }
        // A number that we have closed is free again for its owner.
        self.forget_closed(id);
        if self.open.len() >= MAX_ADOPTED {
            return Err(Error::TooManyCircuits);
        }
        if id.is_of_initiator() && self.open.insert(id, true).is_none() { Ok(()) } else { Err(Error::BadCircId) }
    }

    /// A cell goes out on a circuit. False if it is not open.
    pub fn announce(&mut self, id: CircId) -> bool {
        self.open.get_mut(&id).map(|known| *known = true).is_some()
    }

    /// We close a circuit. True if the other side knows of it and must be told.
    pub fn close(&mut self, id: CircId) -> bool {
        if self.open.remove(&id) != Some(true) {
            return false;
        }
        if self.closed_order.len() >= MAX_CLOSED
            && let Some(oldest) = self.closed_order.pop_front()
        {
            self.closed.remove(&oldest);
        }
        self.closed.insert(id, 0);
        self.closed_order.push_back(id);
        true
    }

    /// The other side closed a circuit, or confirms that it is closed. True if the circuit
    /// was open and must hear of it.
    pub fn on_destroy(&mut self, id: CircId) -> bool {
        self.forget_closed(id);
        // An unknown number is no fault: both sides may have closed at once.
        self.open.remove(&id).is_some()
    }

    /// A cell of a circuit arrived.
    pub fn on_cell(&mut self, id: CircId) -> Result<Fate, Error> {
        if self.is_open(id) {
            return Ok(Fate::Deliver);
        }
        let late = self.closed.get_mut(&id).ok_or(Error::UnknownCircuit)?;
        *late += 1;
        if *late > MAX_LATE_CELLS { Err(Error::TooManyLateCells) } else { Ok(Fate::Absorb) }
    }

    /// Whether a circuit is open.
    pub fn is_open(&self, id: CircId) -> bool {
        self.open.contains_key(&id)
    }

    /// How many circuits are open.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    fn forget_closed(&mut self, id: CircId) {
        if self.closed.remove(&id).is_some() {
            self.closed_order.retain(|closed| *closed != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;

    struct Same(u8);

    impl Entropy for Same {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(self.0);
        }
    }

    fn id(number: u32) -> CircId {
        CircId::new(number).unwrap()
    }

    #[test]
    fn each_side_has_its_own_half_of_the_numbers() {
        let mut entropy = Seeded(1);
        let (mut near, mut far) = (CircIds::of_initiator(), CircIds::of_responder());
        for _ in 0..1000 {
            assert!(near.allocate(&mut entropy).unwrap().is_of_initiator());
            assert!(!far.allocate(&mut entropy).unwrap().is_of_initiator());
        }
        assert_eq!((near.open_count(), far.open_count()), (1000, 1000));
    }

    #[test]
    fn a_number_in_use_or_just_closed_is_not_given_again() {
        let mut ids = CircIds::of_initiator();
        let first = ids.allocate(&mut Same(0xFF)).unwrap();
        assert_eq!(ids.allocate(&mut Same(0xFF)), Err(Error::NoFreeCircId));
        assert!(ids.announce(first) && ids.close(first) && !ids.close(first) && !ids.announce(first));
        assert_eq!(ids.allocate(&mut Same(0xFF)), Err(Error::NoFreeCircId));
        assert!(!ids.on_destroy(first));
        assert_eq!(ids.allocate(&mut Same(0xFF)), Ok(first));
        // 31 zero bits are not random.
        assert_eq!(ids.allocate(&mut Same(0)), Err(Error::NoFreeCircId));
    }

    #[test]
    fn a_circuit_nobody_was_told_of_is_closed_without_a_word() {
        let mut ids = CircIds::of_initiator();
        let circuit = ids.allocate(&mut Seeded(1)).unwrap();
        assert!(!ids.close(circuit));
        assert_eq!((ids.open_count(), ids.closed.len()), (0, 0));
        assert_eq!(ids.on_cell(circuit), Err(Error::UnknownCircuit));
    }

    #[test]
    fn a_relay_may_not_open_circuits_to_us() {
        assert_eq!(CircIds::of_initiator().adopt(id(1)), Err(Error::CreateFromRelay));
        assert_eq!(CircIds::of_initiator().adopt(id(0x8000_0001)), Err(Error::CreateFromRelay));
    }

    #[test]
    fn a_client_opens_circuits_under_its_own_numbers_once() {
        let mut ids = CircIds::of_responder();
        assert_eq!(ids.adopt(id(1)), Err(Error::BadCircId));
        assert_eq!(ids.adopt(id(0x8000_0001)), Ok(()));
        assert_eq!(ids.adopt(id(0x8000_0001)), Err(Error::BadCircId));
        assert!(ids.close(id(0x8000_0001)));
        assert_eq!(ids.adopt(id(0x8000_0001)), Ok(()));
    }

    #[test]
    fn the_other_sides_circuits_are_bounded() {
        let mut ids = CircIds::of_responder();
        let bound = u32::try_from(MAX_ADOPTED).unwrap();
        (1..=bound).for_each(|n| ids.adopt(id(CircId::INITIATOR | n)).unwrap());
        assert_eq!(ids.adopt(id(CircId::INITIATOR | (bound + 1))), Err(Error::TooManyCircuits));
    }

    #[test]
    fn late_cells_are_absorbed_up_to_a_bound() {
        let mut ids = CircIds::of_initiator();
        let circuit = ids.allocate(&mut Seeded(1)).unwrap();
        assert_eq!(ids.on_cell(circuit), Ok(Fate::Deliver));
        ids.announce(circuit);
        ids.close(circuit);
        for _ in 0..MAX_LATE_CELLS {
            assert_eq!(ids.on_cell(circuit), Ok(Fate::Absorb));
        }
        assert_eq!(ids.on_cell(circuit), Err(Error::TooManyLateCells));
        assert_eq!(ids.on_cell(id(0x8000_0001)), Err(Error::UnknownCircuit));
    }

    #[test]
    fn closed_numbers_are_remembered_up_to_a_bound() {
        let mut ids = CircIds::of_initiator();
        let mut entropy = Seeded(1);
        let mut closed = || {
            let circuit = ids.allocate(&mut entropy).unwrap();
            assert!(ids.announce(circuit) && ids.close(circuit));
            circuit
        };
        let first = closed();
        for _ in 0..MAX_CLOSED {
            closed();
        }
        assert_eq!((ids.closed.len(), ids.closed_order.len()), (MAX_CLOSED, MAX_CLOSED));
        assert_eq!(ids.on_cell(first), Err(Error::UnknownCircuit));
    }
}
