//! A relay as the end of a circuit: what its client says to it, and the streams it opens.
//!
//! Answers every relay message, joins streams to the lab's servers, to sockets of this
//! machine or to the directory, and turns what those say into cells when the link has room.
//! The windows of one stream are `stream.rs`, the servers `lab/origin.rs`. Called by
//! `switch.rs` for cells meant for this relay, and by the runner for sockets. Spec: tor-spec,
//! "Opening streams and transferring data".

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::ops::Bound;

use super::circuit::Fault;
use super::stream::{Behind, PIPE_ROOM, Pipe, Stream};
use super::switch::CircuitNo;
use super::{LinkId, MAX_ASKED, Output, Relay, StreamKey};
use crate::base::redact::Sensitive;
use crate::base::time::{Now, earlier};
use crate::crypto::SendmeTag;
use crate::lab::origin::{self, Given, Habit, Origin, ResolveFailure};
use crate::lab::villain::{self, Villain};
use crate::wire::cell::Command as CellCommand;
use crate::wire::relay::{Command, Message, StreamId};
use crate::wire::relay_msg::{Answer, Begin, Connected, End, EndReason, Resolve, Resolved, Sendme};

/// Streams of one circuit; ours.
const MAX_STREAMS: usize = 4096;

impl Relay {
    /// A stream's socket is connected, or why it is not.
    pub fn handle_connected(&mut self, key: StreamKey, result: Result<SocketAddr, EndReason>, now: Now) {
        let StreamKey(no, id) = key;
        if self.pipe(key).is_none() {
            return;
        }
        match result {
            Ok(address) => {
                let address = Some((Sensitive::new(address.ip()), origin::TTL));
                self.say(no, Command::CONNECTED, Some(id), now, |out| Connected { address }.encode(out));
            }
            Err(reason) => {
                self.forget_stream(no, id);
                self.say_end(no, id, reason, now);
            }
        }
    }

    /// How many bytes a stream will take from its socket now.
    pub fn room(&mut self, key: StreamKey) -> usize {
        self.pipe(key).map_or(0, |pipe| PIPE_ROOM.saturating_sub(pipe.inbox.len()))
    }

    /// A stream's socket gave bytes, no more than there was room for.
    pub fn handle_socket_bytes(&mut self, key: StreamKey, bytes: &[u8]) {
        if let Some(pipe) = self.pipe(key) {
            pipe.inbox.extend(bytes);
            self.wake(key.0);
        }
    }

    /// A stream's socket gives no more.
    pub fn handle_socket_end(&mut self, key: StreamKey, reason: EndReason) {
        if let Some(pipe) = self.pipe(key) {
            pipe.ended = Some(reason);
            self.wake(key.0);
        }
    }

    /// What is to be written to a stream's socket; what the stream holds is then nothing.
    pub fn take_socket_bytes(&mut self, key: StreamKey, now: Now) -> Vec<u8> {
        let bytes = self.pipe(key).map(|pipe| core::mem::take(&mut pipe.outbox)).unwrap_or_default();
        if !bytes.is_empty() {
            self.acknowledge_streams(key.0, now);
        }
        bytes
    }

    fn pipe(&mut self, StreamKey(no, id): StreamKey) -> Option<&mut Pipe> {
        match &mut self.circuits.get_mut(&no)?.circuit.streams.get_mut(&id)?.behind {
            Behind::Socket(pipe) => Some(pipe),
            _ => None,
        }
    }

    // --- messages ------------------------------------------------------------------------

    pub(super) fn on_message(
        &mut self,
        no: CircuitNo,
        cell: CellCommand,
        message: &Message<'_>,
        tag: &SendmeTag,
        now: Now,
    ) -> Result<(), Fault> {
        let is_known = |id| self.circuits.get(&no).is_some_and(|routed| routed.circuit.streams.contains_key(&id));
        match (message.command, message.stream) {
            // C tor: drops them unread.
            (Command::BEGIN | Command::BEGIN_DIR | Command::RESOLVE, Some(id)) if is_known(id) => Ok(()),
            (Command::DATA, Some(id)) => self.on_data(no, id, message.body, tag, now),
            (Command::BEGIN, Some(id)) => self.begin(no, id, message.body, now),
            (Command::BEGIN_DIR, Some(id)) => {
                self.begin_directory(no, id, now);
                Ok(())
            }
            (Command::RESOLVE, Some(id)) => self.resolve(no, id, message.body, now),
            (Command::END, Some(id)) => {
                self.forget_stream(no, id);
                Ok(())
            }
            (Command::SENDME, stream) => self.on_sendme(no, stream, &Sendme::parse(message.body)?),
            (Command::EXTEND2, None) => self.extend(no, cell, message.body, now),
            (Command::TRUNCATE, None) => {
                self.truncate(no, now);
                Ok(())
            }
            (Command::DROP, _) => Ok(()),
            // C tor: an unknown command is dropped.
            (command, _) if !command.is_known() => Ok(()),
            (command, _) => Err(Fault::Unexpected(command)),
        }
    }

    fn on_data(&mut self, no: CircuitNo, id: StreamId, bytes: &[u8], tag: &SendmeTag, now: Now) -> Result<(), Fault> {
        let Some(routed) = self.circuits.get_mut(&no) else { return Ok(()) };
        let due = routed.circuit.on_data(tag)?;
        if let Some(stream) = routed.circuit.streams.get_mut(&id) {
            stream.on_data(bytes)?;
            if matches!(stream.behind, Behind::Socket(_)) {
                self.outputs.push_back(Output::Write(StreamKey(no, id)));
            }
            self.answer_directory(no, id, now);
        }
        if let Some(sendme) = due {
            self.say(no, Command::SENDME, None, now, |out| sendme.encode(out));
        }
        self.acknowledge_streams(no, now);
        self.wake(no);
        Ok(())
    }

    /// Sends the stream SENDMEs that are due, and remembers when to look again.
    pub(super) fn acknowledge_streams(&mut self, no: CircuitNo, now: Now) {
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        let mut due = Vec::new();
        let mut deadline = None;
        for (id, stream) in &mut routed.circuit.streams {
            while stream.sendme_due(now.tick) {
                due.push(*id);
            }
            deadline = earlier(deadline, stream.next_deadline());
        }
        routed.reads_again = deadline;
        for id in due {
            self.say_bytes(no, Command::SENDME, Some(id), now, &[]);
        }
    }

    fn on_sendme(&mut self, no: CircuitNo, stream: Option<StreamId>, sendme: &Sendme) -> Result<(), Fault> {
        let Some(routed) = self.circuits.get_mut(&no) else { return Ok(()) };
        match stream {
            None => routed.circuit.on_sendme(sendme)?,
            Some(id) => {
                if let Some(stream) = routed.circuit.streams.get_mut(&id) {
                    stream.on_sendme()?;
                }
            }
        }
        self.wake(no);
        Ok(())
    }

    /// A stream is over, whoever ended it.
    pub(super) fn forget_stream(&mut self, no: CircuitNo, id: StreamId) {
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        match routed.circuit.streams.remove(&id).map(|stream| stream.behind) {
            Some(Behind::Server(mut origin)) => origin.close(),
            Some(Behind::Socket(pipe)) => self.outputs.push_back(Output::HangUp(StreamKey(no, id), pipe.outbox)),
            _ => {}
        }
    }

    fn begin(&mut self, no: CircuitNo, id: StreamId, body: &[u8], now: Now) -> Result<(), Fault> {
        let begin = Begin::parse(body)?;
        self.note(begin.host.uncover());
        let Some(routed) = self.circuits.get_mut(&no) else { return Ok(()) };
        let host = begin.host.uncover();
        let full = routed.circuit.streams.len() >= MAX_STREAMS;
        let to = loopback(host, begin.port).filter(|_| self.config.reaches_loopback);
        if let Some(to) = to.filter(|_| !full) {
            routed.circuit.streams.insert(id, Stream::new(Behind::Socket(Pipe::default())));
            self.outputs.push_back(Output::Connect { stream: StreamKey(no, id), to });
            return Ok(());
        }
        let habit = Habit::of_host(host).filter(|_| self.config.is_exit);
        let refused = match habit {
            None if to.is_some() => EndReason::RESOURCELIMIT,
            None if !self.config.is_exit => EndReason::EXITPOLICY,
            None if origin::forbidden(host).is_some() => EndReason::EXITPOLICY,
            None => EndReason::RESOLVEFAILED,
            Some(_) if full => EndReason::RESOURCELIMIT,
            Some(habit) => match Origin::connect(habit, now.tick) {
                Ok(Some(origin)) => {
                    routed.circuit.streams.insert(id, Stream::new(Behind::Server(origin)));
                    self.say_connected(no, id, host, now);
                    self.wake(no);
                    return Ok(());
                }
                Ok(None) => {
                    routed.circuit.streams.insert(id, Stream::new(Behind::Nobody));
                    return Ok(());
                }
                Err(reason) => reason,
            },
        };
        let found = origin::forbidden(host).or_else(|| Some(*origin::resolve(host).ok()?.first()?));
        let found = found.filter(|_| self.config.is_exit && refused == EndReason::EXITPOLICY);
        let end = End { reason: refused, address: found.map(|ip| (Sensitive::new(ip), origin::TTL)) };
        self.say(no, Command::END, Some(id), now, |out| end.encode(out));
        Ok(())
    }

    fn note(&mut self, host: &str) {
        if self.asked.len() < MAX_ASKED {
            self.asked.push(Sensitive::new(host.to_owned()));
        }
    }

    fn say_connected(&mut self, no: CircuitNo, id: StreamId, host: &str, now: Now) {
        let address = origin::resolve(host).ok().map(|[first, _]| first);
        let address = address.map(|ip| (Sensitive::new(ip), origin::TTL));
        self.say(no, Command::CONNECTED, Some(id), now, |out| Connected { address }.encode(out));
    }

    fn say_end(&mut self, no: CircuitNo, id: StreamId, reason: EndReason, now: Now) {
        self.say(no, Command::END, Some(id), now, |out| End::new(reason).encode(out));
    }

    fn begin_directory(&mut self, no: CircuitNo, id: StreamId, now: Now) {
        let Some(routed) = self.circuits.get_mut(&no) else { return };
        if self.config.directory.is_none() || routed.circuit.streams.len() >= MAX_STREAMS {
            return self.say_end(no, id, EndReason::NOTDIRECTORY, now);
        }
        let behind = Behind::Directory { request: Vec::new(), answer: None, said: 0 };
        routed.circuit.streams.insert(id, Stream::new(behind));
        self.say_bytes(no, Command::CONNECTED, Some(id), now, &[]);
    }

    /// Asks the directory, if a stream to it has a request that may be whole.
    fn answer_directory(&mut self, no: CircuitNo, id: StreamId, now: Now) {
        let stream = self.circuits.get_mut(&no).and_then(|routed| routed.circuit.streams.get_mut(&id));
        let (Some(stream), Some(directory)) = (stream, &self.config.directory) else { return };
        if let Behind::Directory { request, answer: answer @ None, .. } = &mut stream.behind {
            *answer = directory.answer(request, now);
        }
    }

    fn resolve(&mut self, no: CircuitNo, id: StreamId, body: &[u8], now: Now) -> Result<(), Fault> {
        let resolve = Resolve::parse(body)?;
        self.note(resolve.name.uncover());
        // C tor: who is no exit looks nothing up.
        let found = match self.config.is_exit {
            true => origin::resolve(resolve.name.uncover()),
            false => Err(ResolveFailure::Permanent),
        };
        let name = origin::name_of(resolve.name.uncover()).filter(|_| self.config.is_exit);
        let answer = |answer| (answer, origin::TTL);
        let answers = match (name, found) {
            (Some(name), _) => vec![answer(Answer::Hostname(Sensitive::new(name.as_bytes())))],
            (None, Ok(addresses)) => addresses.map(|ip| answer(Answer::Address(Sensitive::new(ip)))).to_vec(),
            (None, Err(ResolveFailure::Transient)) => vec![answer(Answer::TransientError)],
            (None, Err(ResolveFailure::Permanent)) => vec![answer(Answer::PermanentError)],
        };
        self.say(no, Command::RESOLVED, Some(id), now, |out| Resolved::encode_list(&answers, out));
        Ok(())
    }

    /// A circuit may have something to say.
    pub(super) fn wake(&mut self, no: CircuitNo) {
        let Some(routed) = self.circuits.get(&no) else { return };
        let link = routed.client.0;
        if let Some(channel) = self.channels.get_mut(&link)
            && !channel.talking.contains(&no)
        {
            channel.talking.push_back(no);
            self.ready.insert(link);
        }
    }

    /// Lets the next circuit of a link say one thing. False if none has anything to say.
    pub(super) fn talk(&mut self, link: LinkId, now: Now) -> bool {
        while let Some(no) = self.channels.get_mut(&link).and_then(|channel| channel.talking.pop_front()) {
            if self.talk_of(no, now) {
                self.wake(no);
                return true;
            }
        }
        false
    }

    /// Lets the next stream of a circuit say one thing.
    fn talk_of(&mut self, no: CircuitNo, now: Now) -> bool {
        let Some(routed) = self.circuits.get_mut(&no) else { return false };
        let is_overrunner = self.config.villain == Some(Villain::WindowOverrun);
        let overruns = is_overrunner && routed.circuit.overrun() < villain::OVERRUN_CELLS;
        let stalls = self.config.villain == Some(Villain::StallMidStream);
        if !(routed.circuit.may_package() || overruns) || (stalls && routed.circuit.sent() >= villain::STALL_AFTER) {
            return false;
        }
        let room = routed.circuit.format().max_body(Command::DATA);
        let after = routed.circuit.served.map_or(Bound::Unbounded, Bound::Excluded);
        let streams = &routed.circuit.streams;
        let order: Vec<_> = streams.range((after, Bound::Unbounded)).chain(streams).map(|(id, _)| *id).collect();
        for id in order.into_iter().take(streams.len()) {
            let Some(stream) = routed.circuit.streams.get_mut(&id) else { continue };
            match stream.next(room, overruns, now.tick) {
                Given::NothingUntil(deadline) => routed.writes_again = earlier(routed.writes_again, deadline),
                Given::Bytes(bytes) => {
                    routed.circuit.served = Some(id);
                    self.say_bytes(no, Command::DATA, Some(id), now, &bytes);
                    // What an echo has given it has read: its client may send again.
                    self.acknowledge_streams(no, now);
                    return true;
                }
                Given::End(reason) => {
                    self.forget_stream(no, id);
                    self.say_end(no, id, reason, now);
                    return true;
                }
            }
        }
        false
    }
}

/// Where a stream to this machine goes, and nowhere else.
fn loopback(host: &str, port: u16) -> Option<SocketAddr> {
    let ip = if host == "localhost" { Ipv4Addr::LOCALHOST.into() } else { host.parse::<IpAddr>().ok()? };
    ip.is_loopback().then_some(SocketAddr::new(ip, port))
}
