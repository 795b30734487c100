//! One hop's streams: their numbers, whose turn it is, and those we closed that the far end
//! has not.
//!
//! Knows its hop no more than a stream does: it hears messages and says whose they are.
//! Called by `circuit/hop.rs` and what works on hops. Spec: tor-spec, "Application
//! connections and stream management", "Closing streams"; padding-spec and proposal 344 on
//! why what comes for closed streams is counted.

use std::collections::{BTreeMap, VecDeque};

use super::{Error, Heard, Stream};
use crate::base::random::{self, Entropy};
use crate::wire::relay::{Command, StreamId};
use crate::wire::relay_msg::{Begin, Connected, End, Resolved};

/// Streams of one hop that are not over; ours. One more goes to another circuit.
pub const MAX_STREAMS: usize = 4096;
/// Half-closed streams of one hop that are remembered; ours. C tor: an exit does not answer
/// END with END, so they are forgotten by age alone. What still comes for one of those ends
/// the circuit, so there are more than any round trip sees.
pub const MAX_HALF_CLOSED: usize = 4096;

/// How many cells one stream sends in a row while others wait; ours. A request fits in fewer, and
/// comes together at relays that pass cells on by the clock: an exit that got a part of it waits, by
/// Nagle's rule and a delayed acknowledgement, before it gives the server the rest.
pub const TURN: u8 = 8;

/// The streams of one hop.
#[derive(Default)]
pub struct StreamMap {
    entries: BTreeMap<StreamId, Entry>,
    /// The number after the last that we chose; drawn before the first.
    next: Option<u16>,
    /// Those that may have something to send, each once; they send in this order, up to
    /// [`TURN`] cells each.
    turn: VecDeque<StreamId>,
    /// Who had the last turn, and of how many cells: at most [`TURN`].
    last: Option<(StreamId, u8)>,
    /// The half-closed ones, oldest first, and perhaps some that are over since. At most
    /// [`MAX_HALF_CLOSED`].
    closed: VecDeque<StreamId>,
    /// How many are not over.
    live: usize,
    /// Whether the far end may open streams.
    accepts: bool,
}

enum Entry {
    /// Boxed, so that the many that are half closed stay small.
    Live(Box<Stream>),
    HalfClosed(HalfClosed),
}

/// A stream that we ended and the far end has not: what may still be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfClosed {
    /// DATA cells.
    data: u32,
    /// SENDMEs.
    sendmes: u32,
    /// CONNECTED.
    connected: bool,
    /// RESOLVED, which is then its end.
    resolved: bool,
}

impl StreamMap {
    /// Of a hop that may open streams to us: an onion service's.
    pub fn accepting() -> StreamMap {
        StreamMap { accepts: true, ..StreamMap::default() }
    }

    /// Gives a new stream a number: the next that is free, counting up from a random start.
    pub fn open(&mut self, stream: Stream, entropy: &mut dyn Entropy) -> Result<StreamId, Error> {
        if self.live >= MAX_STREAMS {
            return Err(Error::TooManyStreams);
        }
        let mut number = self.next.unwrap_or_else(|| u16::from_be_bytes(random::array(entropy)));
        // Fewer than MAX_STREAMS and MAX_HALF_CLOSED are taken, so this ends.
        let id = loop {
            let id = StreamId::new(number).filter(|id| !self.entries.contains_key(id));
            number = number.wrapping_add(1);
            if let Some(id) = id {
                break id;
            }
        };
        self.next = Some(number);
        self.entries.insert(id, Entry::Live(Box::new(stream)));
        self.live += 1;
        Ok(id)
    }

    /// A stream that is not over and that we have not ended.
    #[inline]
    pub fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        match self.entries.get_mut(&id)? {
            Entry::Live(stream) => Some(stream),
            Entry::HalfClosed(_) => None,
        }
    }

    /// Likewise.
    pub fn get(&self, id: StreamId) -> Option<&Stream> {
        match self.entries.get(&id)? {
            Entry::Live(stream) => Some(stream),
            Entry::HalfClosed(_) => None,
        }
    }

    /// Takes a message that names a stream of this hop.
    #[inline]
    pub fn handle<'a>(&mut self, id: StreamId, command: Command, body: &'a [u8]) -> Result<Heard<'a>, Error> {
        let heard = match self.entries.get_mut(&id) {
            None => return self.handle_unknown(id, command, body),
            Some(Entry::HalfClosed(half)) => {
                if half.handle(command, body)? {
                    self.entries.remove(&id);
                }
                return Ok(Heard::Nothing);
            }
            Some(Entry::Live(stream)) => stream.handle(command, body)?,
        };
        match heard {
            Heard::Ended { .. } | Heard::Resolved(_) => {
                self.entries.remove(&id);
                self.live -= 1;
            }
            Heard::Refused { .. } => drop(self.close(id)),
            _ => {}
        }
        Ok(heard)
    }

    fn handle_unknown<'a>(&mut self, id: StreamId, command: Command, body: &'a [u8]) -> Result<Heard<'a>, Error> {
        match command {
            Command::BEGIN if self.accepts => {
                let begin = Begin::parse(body)?;
                if self.live >= MAX_STREAMS {
                    return Err(Error::TooManyAsked);
                }
                self.entries.insert(id, Entry::Live(Box::new(Stream::asked())));
                self.live += 1;
                Ok(Heard::Asked(begin))
            }
            Command::BEGIN | Command::BEGIN_DIR => Err(Error::BeginUnexpected),
            _ => Err(Error::UnknownStream),
        }
    }

    /// We end a stream: what is under way may still come. Gives the stream, if it was there.
    pub fn close(&mut self, id: StreamId) -> Option<Stream> {
        let entry = self.entries.get_mut(&id)?;
        let Entry::Live(stream) = entry else { return None };
        let half = Entry::HalfClosed(HalfClosed::of(stream));
        let Entry::Live(stream) = core::mem::replace(entry, half) else { return None };
        self.live -= 1;
        self.remember(id);
        Some(*stream)
    }

    /// Puts a stream behind those closed before it, and forgets the first of them if they
    /// are too many.
    fn remember(&mut self, id: StreamId) {
        if self.closed.len() >= MAX_HALF_CLOSED
            && let Some(oldest) = self.closed.pop_front()
            && matches!(self.entries.get(&oldest), Some(Entry::HalfClosed(_)))
        {
            self.entries.remove(&oldest);
        }
        self.closed.push_back(id);
    }

    /// Puts a stream at the end of the row, if it has something to send and is not there.
    #[inline]
    pub fn wake(&mut self, id: StreamId) {
        if let Some(stream) = self.get_mut(id)
            && !stream.in_turn
            && stream.sendable() > 0
        {
            stream.in_turn = true;
            self.turn.push_back(id);
        }
    }

    /// Whether any stream may have something to send.
    pub fn has_turn(&self) -> bool {
        !self.turn.is_empty()
    }

    /// Who sends a cell next; it leaves the row, and comes back by [`StreamMap::go_on`].
    #[inline]
    pub fn next_turn(&mut self) -> Option<StreamId> {
        while let Some(id) = self.turn.pop_front() {
            if let Some(stream) = self.get_mut(id) {
                stream.in_turn = false;
                if stream.sendable() > 0 {
                    let before = self.last.filter(|(last, _)| *last == id).map_or(0, |(_, cells)| cells % TURN);
                    self.last = Some((id, before + 1));
                    return Some(id);
                }
            }
        }
        None
    }

    /// Who has sent a cell goes on, if there is more and its turn is not over.
    #[inline]
    pub fn go_on(&mut self, id: StreamId) {
        self.wake(id);
        if self.last.is_some_and(|(last, cells)| last == id && cells < TURN) && self.turn.back() == Some(&id) {
            self.turn.rotate_right(1);
        }
    }

    /// The streams that are not over and that we have not ended, in the order of their
    /// numbers.
    pub fn live(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.entries.iter().filter(|(_, entry)| matches!(entry, Entry::Live(_))).map(|(id, _)| *id)
    }

    /// How many numbers are taken.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl HalfClosed {
    fn of(stream: &Stream) -> HalfClosed {
        let (data, sendmes) = stream.flow.may_still_come();
        match stream.state {
            super::State::Resolving => HalfClosed { data: 0, sendmes: 0, connected: false, resolved: true },
            super::State::Opening(_) => HalfClosed { data, sendmes, connected: true, resolved: false },
            super::State::Asked | super::State::Open => HalfClosed { data, sendmes, connected: false, resolved: false },
        }
    }

    /// Takes what was under way. True if nothing more may come.
    fn handle(&mut self, command: Command, body: &[u8]) -> Result<bool, Error> {
        match command {
            Command::DATA if body.is_empty() => return Err(Error::EmptyData),
            Command::DATA if self.connected => return Err(Error::DataBeforeConnected),
            Command::DATA => self.data = self.data.checked_sub(1).ok_or(Error::HalfClosedOverrun)?,
            Command::SENDME => self.sendmes = self.sendmes.checked_sub(1).ok_or(Error::HalfClosedOverrun)?,
            Command::CONNECTED if self.connected => {
                Connected::parse(body)?;
                self.connected = false;
            }
            Command::RESOLVED if self.resolved => return Resolved::parse(body).map(|_| true).map_err(Error::Wire),
            Command::END => return End::parse(body).map(|_| true).map_err(Error::Wire),
            Command::XON | Command::XOFF => return Err(Error::FlowControlNotNegotiated),
            _ => return Err(Error::HalfClosedOverrun),
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Seeded;
    use crate::stream::xon;
    use crate::wire::relay_msg::BeginFlags;

    fn begin() -> Stream {
        Stream::begin(BeginFlags::default(), true)
    }

    fn opened(map: &mut StreamMap) -> StreamId {
        let id = map.open(begin(), &mut Seeded(1)).unwrap();
        assert!(matches!(map.handle(id, Command::CONNECTED, &[]), Ok(Heard::Connected(None))));
        id
    }

    #[test]
    fn numbers_count_up_from_a_random_start_over_zero_and_over_those_taken() {
        let mut map = StreamMap { next: Some(65_534), ..StreamMap::default() };
        let ids: Vec<u16> = (0..4).map(|_| map.open(begin(), &mut Seeded(1)).unwrap().get()).collect();
        assert_eq!(ids, [65_534, 65_535, 1, 2]);
        map.next = Some(65_535);
        assert_eq!(map.open(begin(), &mut Seeded(1)).unwrap().get(), 3);

        let first = |seed| StreamMap::default().open(begin(), &mut Seeded(seed)).unwrap();
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn a_hop_has_so_many_streams_and_no_more() {
        let mut map = StreamMap::default();
        let ids: Vec<_> = (0..MAX_STREAMS).map(|_| map.open(begin(), &mut Seeded(1)).unwrap()).collect();
        assert_eq!(map.open(begin(), &mut Seeded(1)), Err(Error::TooManyStreams));
        // One that is over, or half closed, makes room.
        map.handle(ids[0], Command::END, &[6]).unwrap();
        map.open(begin(), &mut Seeded(1)).unwrap();
        assert_eq!(map.open(begin(), &mut Seeded(1)), Err(Error::TooManyStreams));
        map.close(ids[1]);
        map.open(begin(), &mut Seeded(1)).unwrap();
        assert_eq!(map.open(begin(), &mut Seeded(1)), Err(Error::TooManyStreams));

        let mut map = StreamMap::accepting();
        let asked = |map: &mut StreamMap, n| map.handle(StreamId::new(n).unwrap(), Command::BEGIN, b":80\0").err();
        assert!((1..).take(MAX_STREAMS).all(|n| asked(&mut map, n).is_none()));
        assert_eq!(asked(&mut map, 60_000), Some(Error::TooManyAsked));
    }

    #[test]
    fn half_closed_streams_are_remembered_up_to_a_bound() {
        let mut map = StreamMap::default();
        let ids: Vec<_> = (0..MAX_HALF_CLOSED + 10)
            .map(|_| {
                let id = opened(&mut map);
                map.close(id);
                id
            })
            .collect();
        assert_eq!(map.len(), MAX_HALF_CLOSED);
        assert_eq!(map.handle(ids[9], Command::DATA, b"x").err(), Some(Error::UnknownStream));
        assert!(map.handle(ids[10], Command::DATA, b"x").is_ok());
        // Over and over: the bound holds, also when the far end does say END.
        for _ in 0..70_000 {
            let id = opened(&mut map);
            map.close(id);
            if id.get().is_multiple_of(3) {
                map.handle(id, Command::END, &[6]).unwrap();
            }
            assert!(map.len() <= MAX_HALF_CLOSED && map.closed.len() <= MAX_HALF_CLOSED);
        }
        assert_eq!(map.live, 0);
    }

    #[test]
    fn what_was_under_way_may_come_after_our_end_and_nothing_else() {
        let mut map = StreamMap::default();
        let id = opened(&mut map);
        let stream = map.get_mut(id).unwrap();
        // 10 of 500 DATA cells came; 120 were sent, so two SENDMEs may come.
        for _ in 0..10 {
            stream.handle(Command::DATA, b"x").unwrap();
        }
        (0..120).for_each(|_| stream.flow.on_sent());
        map.close(id).unwrap();
        assert!(map.get_mut(id).is_none() && map.close(id).is_none());
        for _ in 0..xon::WINDOW - 10 {
            assert!(matches!(map.handle(id, Command::DATA, b"x"), Ok(Heard::Nothing)));
        }
        for _ in 0..2 {
            assert!(matches!(map.handle(id, Command::SENDME, &[]), Ok(Heard::Nothing)));
        }
        for command in [Command::DATA, Command::SENDME, Command::CONNECTED, Command::RESOLVED] {
            assert_eq!(map.handle(id, command, b"x").err(), Some(Error::HalfClosedOverrun), "{command:?}");
        }
        assert_eq!(map.handle(id, Command::XON, &[0; 5]).err(), Some(Error::FlowControlNotNegotiated));
        assert_eq!(map.handle(id, Command::DATA, &[]).err(), Some(Error::EmptyData));
        assert!(matches!(map.handle(id, Command::END, &[6]), Ok(Heard::Nothing)));
        assert_eq!(map.handle(id, Command::END, &[6]).err(), Some(Error::UnknownStream));
    }

    #[test]
    fn one_connected_may_come_after_our_end_and_data_only_behind_it() {
        let mut map = StreamMap::default();
        let id = map.open(begin(), &mut Seeded(1)).unwrap();
        map.close(id);
        assert_eq!(map.handle(id, Command::DATA, b"x").err(), Some(Error::DataBeforeConnected));
        assert!(map.handle(id, Command::CONNECTED, &[]).is_ok());
        assert!(map.handle(id, Command::DATA, b"x").is_ok());
        assert_eq!(map.handle(id, Command::CONNECTED, &[]).err(), Some(Error::HalfClosedOverrun));
    }

    #[test]
    fn the_answer_to_a_question_we_gave_up_is_its_end() {
        let mut map = StreamMap::default();
        let id = map.open(Stream::resolve(), &mut Seeded(1)).unwrap();
        map.close(id);
        assert_eq!(map.handle(id, Command::DATA, b"x").err(), Some(Error::HalfClosedOverrun));
        assert!(map.handle(id, Command::RESOLVED, &[4, 4, 1, 2, 3, 4, 0, 0, 0, 9]).is_ok());
        assert!(map.is_empty());
    }

    #[test]
    fn an_end_frees_the_number_and_a_second_one_is_for_nobody() {
        let mut map = StreamMap::default();
        let id = opened(&mut map);
        assert!(matches!(map.handle(id, Command::END, &[6]), Ok(Heard::Ended { was_open: true, .. })));
        for command in [Command::END, Command::DATA, Command::SENDME, Command::CONNECTED, Command::RESOLVED] {
            assert_eq!(map.handle(id, command, b"x").err(), Some(Error::UnknownStream));
        }
    }

    #[test]
    fn a_stream_that_falls_is_half_closed() {
        let mut map = StreamMap::default();
        let id = map.open(begin(), &mut Seeded(1)).unwrap();
        let heard = map.handle(id, Command::CONNECTED, &[10, 0, 0, 1, 0, 0, 0, 60]).unwrap();
        assert!(matches!(heard, Heard::Refused { error: Error::AddressRefused, .. }));
        assert!(map.get(id).is_none() && map.len() == 1);
        // It is open for the far end, which may have sent data.
        assert!(matches!(map.handle(id, Command::DATA, b"x"), Ok(Heard::Nothing)));
        assert_eq!(map.handle(id, Command::CONNECTED, &[]).err(), Some(Error::HalfClosedOverrun));
        assert!(map.handle(id, Command::END, &[6]).is_ok());
    }

    #[test]
    fn streams_take_turns_and_stand_in_the_row_once() {
        let mut map = StreamMap::default();
        let ids: Vec<_> = (0..3).map(|_| opened(&mut map)).collect();
        for id in &ids {
            map.wake(*id);
        }
        assert!(!map.has_turn(), "nobody has anything to send");
        for id in &ids {
            map.get_mut(*id).unwrap().write(&[7; 2000]);
            map.wake(*id);
            map.wake(*id);
        }
        let mut order = Vec::new();
        while let Some(id) = map.next_turn() {
            order.push(ids.iter().position(|known| *known == id).unwrap());
            map.get_mut(id).unwrap().on_sent(1000);
            map.go_on(id);
        }
        assert_eq!(order, [0, 0, 1, 1, 2, 2]);
        // One that is over loses its turn.
        map.get_mut(ids[0]).unwrap().write(b"x");
        map.wake(ids[0]);
        map.close(ids[0]);
        assert_eq!(map.next_turn(), None);
    }

    #[test]
    fn a_turn_is_over_after_so_many_cells_and_whoever_is_alone_goes_on() {
        let mut map = StreamMap::default();
        let [much, little] = [(); 2].map(|()| opened(&mut map));
        for (id, len) in [(much, 20), (little, 1)] {
            map.get_mut(id).unwrap().write(&vec![7; len * 100]);
            map.wake(id);
        }
        let mut order = Vec::new();
        while let Some(id) = map.next_turn() {
            order.push(id);
            map.get_mut(id).unwrap().on_sent(100);
            map.go_on(id);
        }
        let turn = usize::from(TURN);
        assert_eq!(order.iter().position(|id| *id == little), Some(turn));
        assert_eq!(order.len(), 21);
        // Who comes after a turn that was not used up has a whole one.
        map.get_mut(much).unwrap().write(&[7; 300]);
        map.wake(much);
        assert_eq!(map.next_turn(), Some(much));
        map.get_mut(little).unwrap().write(&[7; 1000]);
        map.wake(little);
        map.get_mut(much).unwrap().on_sent(300);
        map.go_on(much);
        for _ in 0..turn {
            assert_eq!(map.next_turn(), Some(little));
            map.get_mut(little).unwrap().on_sent(100);
            map.go_on(little);
        }
    }

    #[test]
    fn only_who_accepts_is_asked() {
        let id = StreamId::new(7).unwrap();
        let mut map = StreamMap::default();
        assert_eq!(map.handle(id, Command::BEGIN, b":80\0").err(), Some(Error::BeginUnexpected));
        let mut map = StreamMap::accepting();
        assert!(matches!(map.handle(id, Command::BEGIN, b":80\0"), Ok(Heard::Asked(begin)) if begin.port == 80));
        assert_eq!(map.handle(id, Command::BEGIN, b":80\0").err(), Some(Error::StreamIdInUse));
        assert_eq!(map.handle(id, Command::CONNECTED, &[]).err(), Some(Error::OutOfTurn(Command::CONNECTED)));
        assert!(matches!(map.handle(id, Command::DATA, b"early"), Ok(Heard::Data)));
        assert!(map.get_mut(id).unwrap().accept());
        assert!(!map.get_mut(id).unwrap().accept(), "once");
        let two = StreamId::new(8).unwrap();
        assert_eq!(map.handle(two, Command::BEGIN_DIR, &[]).err(), Some(Error::BeginUnexpected));
    }
}
