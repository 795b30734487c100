//! What programs ask of the client, and what becomes of it.
//!
//! Takes wishes and bytes from those who serve programs, and the ends of streams from tunnels;
//! which circuit a request gets is `upkeep.rs`'s. Called by the shell, and by `mod.rs` with
//! what tunnels report. Spec: tor-spec, "Application connections and stream management".
//! C tor: core/or/connection_edge.c.

use core::net::IpAddr;

use super::events::{StreamReason, StreamStatus};
use super::junction::TunnelNo;
use super::streams::{self, Exit, Failure, Fate, Found, RequestNo, State, What, Wish};
use super::upkeep::Hope;
use super::{Client, Output, tracks, world};
use crate::base::RsaId;
use crate::base::random::Entropy;
use crate::base::redact::Sensitive;
use crate::base::time::Now;
use crate::circuit::{Answer, Ended};
use crate::config::relays;
use crate::wire::relay_msg::{End, EndReason};

impl Client {
    /// A program wants something. What becomes of it is an output.
    pub fn request(&mut self, wish: Wish, now: Now, entropy: &mut dyn Entropy) -> RequestNo {
        self.watch_clocks(now, entropy);
        let no = RequestNo(self.ids.next());
        let port = match &wish.what {
            What::Connect { port, .. } => Some(*port),
            What::Resolve(..) | What::ResolvePtr(_) => None,
        };
        self.note_activity(now.tick);
        self.bootstrap.stir();
        self.pool.ports.want(port, self.available_timeout(), now.tick, entropy);
        let mut wish = wish;
        wish.facts.epoch = self.epoch;
        if self.setup.config.is_network_disabled || self.bootstrap.is_too_old() {
            self.outputs.push_back(Output::Failed(no, Failure::NetworkDisabled));
        } else {
            match self.exit_of(&wish, now) {
                Err(failure) => self.outputs.push_back(Output::Failed(no, failure)),
                Ok(exit) if self.streams.add(no, wish, exit, now.tick) => {}
                Ok(_) => self.outputs.push_back(Output::Failed(no, Failure::TooMany)),
            }
        }
        self.say_stream(no, StreamStatus::New);
        if self.holds_requests && self.streams.hold(no) {
            self.say_stream(no, StreamStatus::Held);
        }
        self.work(now, entropy);
        no
    }

    /// The exit that a wish names, or that its host was asked by before. C tor: one that is excluded
    /// may be named, unless that is strict, but not if it is excluded as an exit.
    fn exit_of(&self, wish: &Wish, now: Now) -> Result<Option<Exit>, Failure> {
        let dir = self.bootstrap.dir();
        let relay = |id: &RsaId| dir.and_then(|dir| dir.by_rsa_id(id));
        if let Some(name) = &wish.exit {
            let id = relays::fingerprint(name);
            let named = || dir?.relays().find(|relay| relay.nickname().eq_ignore_ascii_case(name));
            let relay = id.map_or_else(named, |id| relay(&id));
            let relay = relay.filter(|relay| self.setup.wishes.may_be_named(relay)).ok_or(Failure::UnknownExit)?;
            return Ok(Some(Exit { id: relay.rsa_id(), tries_left: None }));
        }
        let host = match &wish.what {
            What::Connect { host, .. } | What::Resolve(host, _) => host.as_str(),
            What::ResolvePtr(_) => return Ok(None),
        };
        let id = self.tracks.get(host, now.tick).filter(|id| relay(id).is_some());
        Ok(id.map(|id| Exit { id, tries_left: Some(tracks::RETRIES) }))
    }

    /// A request goes out by an exit, which is remembered if the user wants that.
    pub(super) fn track(&mut self, no: RequestNo, exit: Option<RsaId>, now: Now) {
        let circuits = &self.setup.config.circuits;
        let is_named = |request: &&streams::Request| request.wish.exit.is_some();
        let host = self.streams.get(no).filter(|request| !is_named(request)).and_then(|request| request.host());
        if let (Some(host), Some(exit)) = (host, exit)
            && tracks::is_tracked(&circuits.tracked_hosts, host)
        {
            self.tracks.note(host, exit, circuits.track_expire, now.tick);
        }
    }

    /// Takes from the writer of a stream what there is room for; gives how much. If that is not
    /// all, [`Output::Writable`] says when to go on. What is written before the stream is open
    /// goes out with the request.
    pub fn handle_write(&mut self, no: RequestNo, bytes: &[u8]) -> usize {
        let Some(request) = self.streams.get_mut(no) else { return 0 };
        let taken = match request.at() {
            Some((tunnel, at)) if request.unsent.is_empty() => {
                self.junction.tunnel_mut(tunnel).map_or(0, |tunnel| tunnel.handle_write(at, bytes))
            }
            _ => {
                let taken = request.room().min(bytes.len());
                request.unsent.extend(bytes.iter().take(taken));
                taken
            }
        };
        self.streams.on_written(no, taken);
        self.is_active |= taken > 0;
        taken
    }

    /// The reader of a stream has taken so many bytes for good.
    pub fn handle_taken(&mut self, no: RequestNo, bytes: usize) {
        self.streams.on_taken(no, bytes);
        if let Some((tunnel, at)) = self.streams.get(no).and_then(|request| request.at()) {
            self.junction.handle_taken(tunnel, at, bytes);
        }
    }

    /// Gives up as many requests and streams as it takes for the others to have room.
    pub(super) fn relieve(&mut self, now: Now) {
        let junction = &self.junction;
        let unsent = |request: &streams::Request| {
            let at = request.at().and_then(|(no, at)| Some(junction.tunnel(no)?.unsent(at)));
            at.unwrap_or(0) + request.unsent.len()
        };
        for no in self.streams.oldest_beyond(self.setup.most_held, unsent) {
            let is_open = self.streams.get(no).is_some_and(|request| matches!(request.state, State::Open { .. }));
            if is_open {
                self.say_stream(no, StreamStatus::Closed(StreamReason::Ours(EndReason::RESOURCELIMIT)));
                self.end_stream(no, now);
                self.outputs.push_back(Output::GivenUp(no));
            } else {
                self.fail(no, Failure::Closed(EndReason::RESOURCELIMIT), now);
            }
        }
    }

    /// The program has written all that it will. Tor has no half-open streams: once what it
    /// wrote is sent, nothing more is read.
    pub fn finish(&mut self, no: RequestNo, now: Now) {
        if let Some(request) = self.streams.get_mut(no) {
            request.is_finished = true;
            self.flush(no, now);
        }
    }

    /// The program is gone.
    pub fn cancel(&mut self, no: RequestNo, now: Now, entropy: &mut dyn Entropy) {
        self.say_stream(no, StreamStatus::Closed(StreamReason::Ours(EndReason::DONE)));
        self.end_stream(no, now);
        self.work(now, entropy);
    }

    /// "New identity": what is asked for from now on shares no circuit with what was before.
    pub fn new_identity(&mut self, now: Now, entropy: &mut dyn Entropy) {
        self.epoch = self.epoch.wrapping_add(1);
        self.pool.retire_all();
        self.tracks.clear();
        self.stir();
        self.work(now, entropy);
    }

    // --- what tunnels report -------------------------------------------------------------

    /// A stream is open; the exit may have said what its name means.
    pub(super) fn on_connected(
        &mut self,
        tunnel: TunnelNo,
        no: RequestNo,
        address: Option<(Sensitive<IpAddr>, u32)>,
        now: Now,
    ) {
        self.streams.on_connected(no);
        self.pool.on_answered(tunnel, world(&self.bootstrap, &self.setup, now).as_ref());
        if let Some((ip, seconds)) = address
            && let Some(host) = self.streams.get(no).and_then(|request| name_of(&request.wish.what))
        {
            self.say_stream(no, StreamStatus::Remapped(ip));
            self.say_name(no, &host, Some(ip.uncover().to_string()), seconds, now);
        }
        self.say_stream(no, StreamStatus::Succeeded);
        self.outputs.push_back(Output::Connected(no));
    }

    /// A look-up was answered, and is over.
    pub(super) fn on_resolved(&mut self, tunnel: TunnelNo, no: RequestNo, answers: &[(Answer, u32)], now: Now) {
        self.pool.on_answered(tunnel, world(&self.bootstrap, &self.setup, now).as_ref());
        let Some(request) = self.streams.get(no) else { return };
        let found = streams::choose(answers, &request.wish.what);
        let (from, seconds) = (asked_for(&request.wish.what), answers.first().map_or(0, |(_, seconds)| *seconds));
        let to = found.as_ref().ok().map(|(found, _)| match found {
            Found::Ip(ip) => ip.uncover().to_string(),
            Found::Name(name) => name.uncover().clone(),
        });
        self.say_name(no, &from, to, seconds, now);
        let (found, seconds) = match found {
            Ok(found) => found,
            Err(failure) => return self.fail(no, failure, now),
        };
        self.say_stream(no, StreamStatus::Succeeded);
        self.say_stream(no, StreamStatus::Closed(StreamReason::Ours(EndReason::DONE)));
        if let Some(request) = self.streams.remove(no) {
            self.detach(&request, now);
        }
        self.outputs.push_back(Output::Found(no, found, seconds));
    }

    /// The far end ended a stream, or it fell with its circuit.
    pub(super) fn on_ended(
        &mut self,
        no: RequestNo,
        tunnel: TunnelNo,
        why: &Ended,
        unanswered: Sensitive<Vec<u8>>,
        now: Now,
    ) {
        let Some(request) = self.streams.get(no) else { return };
        if matches!(request.state, State::Open { .. }) {
            let is_clean = matches!(why, Ended::ByFarEnd { end, .. } if end.reason == EndReason::DONE);
            self.say_stream(no, StreamStatus::Closed(reason(why)));
            if let Some(request) = self.streams.remove(no) {
                self.detach(&request, now);
            }
            return self.outputs.push_back(Output::Ended { request: no, is_clean });
        }
        let exit = self.pool.get(tunnel).and_then(|circuit| circuit.exit());
        let name = name_of(&request.wish.what);
        let allows_internal = !self.setup.config.requests.refuses_internal_answers;
        let outcome = self.streams.judge(no, why, exit, allows_internal);
        self.apply(tunnel, outcome.circuit, why, now);
        if let (Ended::ByFarEnd { end: End { address: Some((ip, seconds)), .. }, .. }, None) = (why, outcome.failure)
            && let Some(name) = name
        {
            self.say_stream(no, StreamStatus::Remapped(*ip));
            self.say_name(no, &name, Some(ip.uncover().to_string()), *seconds, now);
        }
        match outcome.failure {
            Some(failure) => self.fail(no, failure, now),
            None => {
                self.put_back(no, tunnel, unanswered, reason(why), now);
            }
        }
        self.stir_for(Hope::Circuits);
    }

    /// What the end of a stream means for its circuit.
    fn apply(&mut self, tunnel: TunnelNo, fate: Fate, why: &Ended, now: Now) {
        match fate {
            // C tor: INTERNAL may be anything, any other reason only the exit can have said.
            Fate::Closes => {
                self.pool.on_broken(tunnel);
                self.pool.retire(tunnel);
                if matches!(why, Ended::ByFarEnd { .. }) {
                    // Its other streams fall with it.
                    self.junction.close_tunnel(tunnel, now);
                }
                return;
            }
            Fate::Stays => {}
            Fate::Retires => self.pool.retire(tunnel),
            Fate::ExitBusy => {
                let exit = self.pool.get(tunnel).and_then(|circuit| circuit.exit());
                exit.into_iter().for_each(|exit| self.pool.on_busy(exit));
                self.pool.retire(tunnel);
            }
        }
        let is_of_exit = match why {
            Ended::ByFarEnd { end, .. } => end.reason != EndReason::INTERNAL,
            Ended::Refused(_) => true,
            Ended::WithCircuit(_) => false,
        };
        if is_of_exit {
            self.pool.on_answered(tunnel, world(&self.bootstrap, &self.setup, now).as_ref());
        }
    }

    /// A request waits for another circuit.
    pub(super) fn put_back(
        &mut self,
        no: RequestNo,
        tunnel: TunnelNo,
        unanswered: Sensitive<Vec<u8>>,
        why: StreamReason,
        now: Now,
    ) {
        self.say_stream(no, StreamStatus::Detached(why));
        let keeps_alive = self.streams.get(no).is_some_and(|request| request.wish.keeps_alive);
        self.pool.on_detached(tunnel, keeps_alive, now.tick);
        self.pool.on_taken_off(tunnel);
        self.streams.put_back(no, unanswered);
        if self.holds_requests && self.streams.hold(no) {
            self.say_stream(no, StreamStatus::Held);
        }
    }

    fn detach(&mut self, request: &streams::Request, now: Now) {
        if self.setup.config.dormancy.waits_for_streams {
            self.note_activity(now.tick);
        }
        if let Some((tunnel, _)) = request.at() {
            self.pool.on_detached(tunnel, request.wish.keeps_alive, now.tick);
        }
        self.stir_for(if request.wish.keeps_alive { Hope::All } else { Hope::New });
    }

    pub(super) fn fail(&mut self, no: RequestNo, failure: Failure, now: Now) {
        self.say_stream(no, StreamStatus::Failed(failure.into()));
        self.say_stream(no, StreamStatus::Closed(failure.into()));
        self.end_stream(no, now);
        self.outputs.push_back(Output::Failed(no, failure));
    }

    /// There is no network any more for a request or a stream.
    pub(super) fn cut_off(&mut self, no: RequestNo, now: Now) {
        let is_open = self.streams.get(no).is_some_and(|request| matches!(request.state, State::Open { .. }));
        if !is_open {
            return self.fail(no, Failure::NetworkDisabled, now);
        }
        self.say_stream(no, StreamStatus::Closed(StreamReason::NetUnreachable));
        self.end_stream(no, now);
        self.outputs.push_back(Output::Ended { request: no, is_clean: false });
    }

    /// Ends a stream, if it has come so far, and forgets the request.
    pub(super) fn end_stream(&mut self, no: RequestNo, now: Now) {
        let Some(request) = self.streams.remove(no) else { return };
        if let Some((tunnel, at)) = request.at()
            && let Some(tunnel) = self.junction.tunnel_mut(tunnel)
        {
            tunnel.reset(at);
        }
        self.detach(&request, now);
    }

    /// Gives the tunnel what it had no room for. True if it has taken all.
    pub(super) fn flush(&mut self, no: RequestNo, now: Now) -> bool {
        let Some(request) = self.streams.get_mut(no) else { return false };
        let Some((tunnel_no, at)) = request.at() else { return false };
        let Some(tunnel) = self.junction.tunnel_mut(tunnel_no) else { return false };
        let taken = tunnel.handle_write(at, request.unsent.make_contiguous());
        request.unsent.drain(..taken);
        if !request.unsent.is_empty() {
            return false;
        }
        request.unsent.shrink_to_fit();
        if request.is_finished {
            tunnel.finish(at);
            self.say_stream(no, StreamStatus::Closed(StreamReason::Ours(EndReason::DONE)));
            if let Some(request) = self.streams.remove(no) {
                self.detach(&request, now);
            }
            return false;
        }
        true
    }
}

/// The name that a program wants to connect to; none if it gave an address.
fn name_of(what: &What) -> Option<String> {
    match what {
        What::Connect { host, .. } if host.as_str().parse::<IpAddr>().is_err() => Some(host.as_str().to_owned()),
        _ => None,
    }
}

/// What is looked up.
fn asked_for(what: &What) -> String {
    match what {
        What::Connect { host, .. } | What::Resolve(host, _) => host.as_str().to_owned(),
        What::ResolvePtr(ip) => ip.to_string(),
    }
}

fn reason(why: &Ended) -> StreamReason {
    match why {
        Ended::ByFarEnd { end, .. } => StreamReason::Far(end.reason),
        Ended::Refused(_) => StreamReason::Ours(EndReason::TORPROTOCOL),
        Ended::WithCircuit(_) => StreamReason::Ours(EndReason::DESTROY),
    }
}
