//! The ports for look-ups: datagrams in, and one answer to each that asks for something.
//!
//! Not the language (`proxy/dns.rs`), nor what becomes of a request (`client`). Nobody waits here:
//! whatever was asked lies in a row until the client says what became of it. Called by `ports.rs`,
//! a task for each port. Spec: none. C tor: feature/client/dnsserv.c.

use core::cell::{Cell, RefCell};
use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;

use socket2::{Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use super::driver::{Driver, Recipient};
use super::listener::Fault;
use super::ports::ACCEPT_PAUSE;
use super::program::{Entry, News};
use super::runtime::SystemEntropy;
use crate::base::redact::Sensitive;
use crate::client::RequestNo;
use crate::config::Domain;
use crate::config::port::Place;
use crate::proxy::Failure;
use crate::proxy::dns::{MAX_QUERY_LEN, Query};
use crate::proxy::door::{Door, Verdict};

/// How many look-ups of all ports may wait at once; ours. C tor knows no bound.
pub const MAX_LOOK_UPS: usize = 1024;

/// Somewhere to send datagrams to.
pub struct Datagrams {
    socket: UdpSocket,
    at: String,
}

impl Datagrams {
    /// Opens what a line asks for. To be called where the executor is.
    pub fn open(place: &Place) -> Result<Datagrams, Fault> {
        let address = match place {
            Place::Tcp(address) => *address,
            Place::Auto(ip) => SocketAddr::new(*ip, 0),
            // No line says so.
            Place::Unix(_) => return Err(Fault::System(io::ErrorKind::Unsupported.into())),
        };
        let socket = Socket::new(socket2::Domain::for_address(address), Type::DGRAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket.into())?;
        let at = socket.local_addr()?.to_string();
        Ok(Datagrams { socket, at })
    }

    /// Whether a line asks for just this one.
    pub fn is_at(&self, place: &Place) -> bool {
        self.socket.local_addr().is_ok_and(|at| match place {
            Place::Tcp(address) => at == *address,
            Place::Auto(ip) => at.ip() == *ip,
            Place::Unix(_) => false,
        })
    }

    /// Where it is, in words.
    pub fn at(&self) -> &str {
        &self.at
    }
}

/// How many look-ups wait, at all ports together.
#[derive(Default)]
pub struct Room(Cell<usize>);

impl Room {
    /// Takes a place, if there is one.
    fn take(&self) -> bool {
        let is_free = self.0.get() < MAX_LOOK_UPS;
        self.0.set(self.0.get() + usize::from(is_free));
        is_free
    }

    fn give_back(&self, places: usize) {
        self.0.set(self.0.get().saturating_sub(places));
    }
}

/// Where the client leaves what became of look-ups.
#[derive(Default)]
pub struct Answers {
    news: RefCell<VecDeque<(RequestNo, News)>>,
    bell: Notify,
}

impl Answers {
    /// Something became of one.
    pub fn tell(&self, no: RequestNo, news: News) {
        self.news.borrow_mut().push_back((no, news));
        self.bell.notify_one();
    }
}

/// What is asked at one port.
pub struct LookUps<'a> {
    driver: &'a Rc<Driver>,
    datagrams: &'a Datagrams,
    entry: &'a RefCell<Rc<Entry>>,
    room: &'a Room,
    answers: Rc<Answers>,
    /// What waits: at most [`MAX_LOOK_UPS`].
    waiting: BTreeMap<RequestNo, (Query, SocketAddr)>,
}

impl<'a> LookUps<'a> {
    /// None yet.
    pub fn new(
        driver: &'a Rc<Driver>,
        datagrams: &'a Datagrams,
        entry: &'a RefCell<Rc<Entry>>,
        room: &'a Room,
    ) -> LookUps<'a> {
        LookUps { driver, datagrams, entry, room, answers: Rc::default(), waiting: BTreeMap::new() }
    }

    /// Serves whoever comes, for ever.
    pub async fn run(&mut self) {
        let (log, rare) = (self.driver.log(), self.driver.rare());
        let mut buffer = [0; MAX_QUERY_LEN];
        loop {
            let received = tokio::select! {
                biased;
                () = self.answers.bell.notified() => None,
                received = self.datagrams.socket.recv_from(&mut buffer) => Some(received),
            };
            match received {
                None => self.learn(),
                Some(Ok((length, from))) => self.hear(buffer.get(..length).unwrap_or_default(), from),
                Some(Err(error)) => {
                    let at = self.datagrams.at();
                    log.warn_rarely(&rare.deaf, Domain::Net, format_args!("Nobody can be heard at {at}: {error}."));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Nobody is served any more.
    pub fn give_up(&mut self) {
        self.room.give_back(self.waiting.len());
        for no in core::mem::take(&mut self.waiting).into_keys() {
            self.driver.cancel(no);
        }
    }

    fn hear(&mut self, datagram: &[u8], from: SocketAddr) {
        let Some(query) = Query::parse(datagram) else { return };
        let (requests, log, rare) = (self.driver.requests(), self.driver.log(), self.driver.rare());
        if !requests.policy.accepts(from.ip(), 1) {
            log.warn_rarely(&rare.stranger, Domain::App, format_args!("Rejecting DNS request from disallowed IP."));
            return self.say(&query.refused(), from);
        }
        let request = match query.request() {
            Ok(request) => request,
            Err(answer) => return self.say(&answer, from),
        };
        let entry = Rc::clone(&self.entry.borrow());
        let door = Door { number: entry.number, flags: &entry.flags, requests: &requests };
        // Nothing is odd about a look-up.
        let (verdict, _) = door.judge(request, Some(from), &mut self.driver.maps(), &mut SystemEntropy);
        match verdict {
            Verdict::Ask(_) if !self.room.take() => {
                log.warn_rarely(&rare.full, Domain::App, format_args!("{MAX_LOOK_UPS} look-ups wait; no more fit."));
                self.say(&query.failed(Failure::ResourceLimit), from);
            }
            Verdict::Ask(wish) => {
                let no = self.driver.request(wish, Recipient::LookUps(Rc::clone(&self.answers)));
                self.waiting.insert(no, (query, from));
            }
            Verdict::Answer(found) => self.say(&query.found(&found, None), from),
            Verdict::Refuse(failure) => {
                let host = Sensitive::new(request.host.text());
                let host = log.show(&host);
                log.warn_rarely(
                    &rare.refused,
                    Domain::App,
                    format_args!("A look-up of {host} was refused: {failure:?}."),
                );
                self.say(&query.failed(failure), from);
            }
        }
    }

    /// Takes what became of those that wait.
    fn learn(&mut self) {
        loop {
            // Not held while anybody is told.
            let news = self.answers.news.borrow_mut().pop_front();
            let Some((no, news)) = news else { return };
            let Some((query, from)) = self.waiting.remove(&no) else { continue };
            self.room.give_back(1);
            self.driver.forget(no);
            let answer = match news {
                News::Found(found, seconds) => query.found(&found.into(), Some(seconds)),
                News::Failed(failure) => query.failed(failure.into()),
                // None of these becomes of a look-up.
                News::Connected | News::Ended { .. } | News::GivenUp => query.failed(Failure::Misc),
            };
            self.say(&answer, from);
        }
    }

    /// Whoever has no room for an answer asks again.
    fn say(&self, answer: &[u8], to: SocketAddr) {
        let _ = self.datagrams.socket.try_send_to(answer, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_look_ups_wait_and_no_more() {
        let room = Room::default();
        assert!((0..MAX_LOOK_UPS).all(|_| room.take()) && !room.take() && !room.take());
        room.give_back(1);
        assert!(room.take() && !room.take());
        room.give_back(MAX_LOOK_UPS);
        assert!(room.take());
    }
}
