//! The loop: one input for the client, all its outputs done, and the next input.
//!
//! The only holder of the client: every task comes to it through here, so that nobody else knows
//! how the client is shared. Decides nothing. Called by the tasks of `conn.rs` and `program.rs`,
//! and by `mod.rs`. Spec: none.

use core::cell::{Cell, RefCell, RefMut};
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::mpsc::Receiver;
use tokio::task::{spawn_blocking, spawn_local};

use super::client::Conduit;
use super::conn::{self, Bell, Dialler};
use super::countries;
use super::delivery::Delivery;
use super::files::{Done, Files};
use super::heart::Heart;
use super::logging::{Logger, Rarely};
use super::look_ups::Answers;
use super::program::{self, Mailbox, News};
use super::runtime::{SystemClock, SystemEntropy};
use crate::base::country::Country;
use crate::base::time::{Now, Tick};
use crate::client::circuits::Phase;
use crate::client::events::{Event, LinkReason, LinkStatus, Mask};
use crate::client::junction::{LinkNo, TunnelNo};
use crate::client::links::Way;
use crate::client::notices::Notice;
use crate::client::state::STATE;
use crate::client::{Client, Output, RequestNo, Setup, Wish};
use crate::config::relays::Relays;
use crate::config::{Config, Domain, Requests};
use crate::link::identity::LeafDigest;
use crate::proxy::maps::Maps;

/// The client's deadlines are never served more often; ours, what the executor's timers can tell
/// apart.
const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// A client, and what its tasks share.
pub struct Driver {
    client: RefCell<Client>,
    requests: RefCell<Rc<Requests>>,
    atlas: RefCell<Rc<Atlas>>,
    maps: RefCell<Maps>,
    clock: SystemClock,
    log: Rc<Logger>,
    rare: Rare,
    heart: Heart,
    /// What others do wrong is warned of.
    warns_of_protocol: Cell<bool>,
    /// Who is told what happens.
    watcher: RefCell<Option<Watcher>>,
    dialler: Dialler,
    /// The bell of each connection to a relay.
    links: RefCell<BTreeMap<LinkNo, Rc<Bell>>>,
    /// Who is told what becomes of each request.
    programs: RefCell<BTreeMap<RequestNo, Recipient>>,
    /// What a read of a link brings for them; one for all, since nothing waits meanwhile.
    delivery: RefCell<Delivery>,
    /// Where reads from programs go before the client takes them; one for all, since nothing
    /// waits meanwhile.
    scratch: RefCell<Vec<u8>>,
    /// Something happened that may have moved the next deadline.
    stirred: Notify,
    files: Files,
    /// Nothing is left to be done with files.
    rested: Notify,
    /// Why it has to end, and that it has.
    doom: RefCell<Option<String>>,
    doomed: Notify,
}

/// Where it says where relays are.
struct Atlas {
    file: String,
    /// The countries that lists name.
    named: BTreeSet<Country>,
}

impl Atlas {
    fn of(config: &Config) -> Rc<Atlas> {
        let named = config.nodes.lists().flat_map(Relays::countries).collect();
        Rc::new(Atlas { file: config.countries.file.clone(), named })
    }
}

/// Takes what happens, and asks the driver nothing.
pub type Watcher = Box<dyn Fn(Event)>;

/// Who is told what becomes of a request.
pub enum Recipient {
    /// The program that made it, on a connection of its own.
    Program(Rc<Mailbox>),
    /// A port for look-ups.
    LookUps(Rc<Answers>),
    /// The program that we are a part of.
    Embedder(Arc<Conduit>),
}

impl Recipient {
    fn tell(&self, request: RequestNo, news: News) {
        match self {
            Recipient::Program(mailbox) => mailbox.tell(news),
            Recipient::LookUps(answers) => answers.tell(request, news),
            Recipient::Embedder(conduit) => conduit.tell(news),
        }
    }

    /// Says how many bytes are taken at once. A look-up brings none.
    fn deliver(&self, bytes: &[u8]) -> usize {
        match self {
            Recipient::Program(mailbox) => mailbox.deliver(bytes),
            Recipient::LookUps(_) => bytes.len(),
            Recipient::Embedder(conduit) => {
                conduit.deliver(bytes);
                0
            }
        }
    }

    /// The client takes bytes again.
    fn ring(&self) {
        match self {
            Recipient::Program(mailbox) => mailbox.ring(),
            Recipient::LookUps(_) => {}
            Recipient::Embedder(conduit) => conduit.ring(),
        }
    }
}

/// What is warned of once in a while.
pub struct Rare {
    /// No more programs fit.
    pub full: Rarely,
    /// Nobody can be accepted.
    pub deaf: Rarely,
    /// Somebody asks who may not.
    pub stranger: Rarely,
    /// Names are looked up elsewhere.
    pub unsafe_socks: Rarely,
    /// Who asks is said in an old form.
    pub old_authorization: Rarely,
    /// A request was refused before anybody was asked.
    pub refused: Rarely,
    /// A firewall leads to us what was meant for this machine, perhaps what we ask for ourselves.
    pub looping: Rarely,
    /// A file cannot be written.
    pub unwritten: Rarely,
    /// It is not known where relays are.
    pub countries: Rarely,
    /// A file does not say so in all of its lines.
    pub bad_countries: Rarely,
}

impl Default for Rare {
    /// C tor: `WARN_TOO_MANY_CONNS_INTERVAL`, `SOCKS_WARN_INTERVAL` and `WARN_INTRVL_LOOP`.
    fn default() -> Self {
        let rarely = |seconds| Rarely::new(Duration::from_secs(seconds));
        Rare {
            full: rarely(60),
            deaf: rarely(60),
            stranger: rarely(5),
            unsafe_socks: rarely(5),
            old_authorization: rarely(5),
            refused: rarely(5),
            looping: rarely(300),
            unwritten: rarely(60),
            // Once a day: it is looked at with each consensus.
            countries: rarely(86_400),
            bad_countries: rarely(86_400),
        }
    }
}

impl Driver {
    /// A driver of a client of that configuration.
    pub fn new(setup: Setup, dialler: Dialler, files: Files, clock: SystemClock, log: Rc<Logger>) -> Rc<Driver> {
        dialler.configure(&setup.config.links);
        let heart = Heart::default();
        heart.set_period(setup.config.heartbeat);
        Rc::new(Driver {
            heart,
            warns_of_protocol: Cell::new(setup.config.warns_of_protocol),
            requests: RefCell::new(Rc::new(setup.config.requests.clone())),
            atlas: RefCell::new(Atlas::of(&setup.config)),
            maps: RefCell::new(Maps::new(&setup.config.maps)),
            client: RefCell::new(Client::new(setup)),
            clock,
            log,
            rare: Rare::default(),
            watcher: RefCell::default(),
            dialler,
            links: RefCell::default(),
            programs: RefCell::default(),
            delivery: RefCell::default(),
            scratch: RefCell::new(vec![0; program::READ_LEN]),
            stirred: Notify::new(),
            files,
            rested: Notify::new(),
            doom: RefCell::default(),
            doomed: Notify::new(),
        })
    }

    /// Starts the client, and serves its deadlines for ever.
    pub async fn run(self: Rc<Self>) {
        self.with(|client, now| client.start(now, &mut SystemEntropy));
        loop {
            let deadline = self.client.borrow().next_deadline(self.clock.now());
            let due = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(self.clock.instant(deadline)).await,
                    None => core::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = due => {
                    self.with(|client, now| client.handle_timeout(now, &mut SystemEntropy));
                    tokio::time::sleep(LEAST_PAUSE).await;
                }
                () = self.stirred.notified() => {}
            }
        }
    }

    /// Writes now and then how it goes, for ever.
    pub async fn live(self: Rc<Self>) {
        loop {
            self.heart.beat().await;
            let uptime = self.clock.now().tick.since(Tick::default());
            let circuits = self.client.borrow().pool().iter().count();
            self.log.notice(Domain::Heartbeat, format_args!("{}", self.heart.words(uptime, circuits)));
        }
    }

    /// Until it has to end, for that reason.
    pub async fn doomed(&self) -> String {
        loop {
            if let Some(why) = self.doom.borrow_mut().take() {
                return why;
            }
            self.doomed.notified().await;
        }
    }

    fn give_up(&self, why: String) {
        *self.doom.borrow_mut() = Some(why);
        self.doomed.notify_one();
    }

    /// What is written about it.
    pub fn log(&self) -> &Logger {
        &self.log
    }

    /// What of that comes rarely.
    pub fn rare(&self) -> &Rare {
        &self.rare
    }

    /// Which requests are served from now on.
    pub fn requests(&self) -> Rc<Requests> {
        Rc::clone(&self.requests.borrow())
    }

    /// Which addresses stand for others.
    pub fn maps(&self) -> RefMut<'_, Maps> {
        self.maps.borrow_mut()
    }

    /// There is a new configuration.
    pub fn configure(self: &Rc<Self>, setup: Setup) {
        self.requests.replace(Rc::new(setup.config.requests.clone()));
        self.atlas.replace(Atlas::of(&setup.config));
        self.maps.borrow_mut().configure(&setup.config.maps);
        self.dialler.configure(&setup.config.links);
        self.heart.set_period(setup.config.heartbeat);
        self.warns_of_protocol.set(setup.config.warns_of_protocol);
        self.with(|client, now| client.handle_config(setup, now, &mut SystemEntropy));
    }

    /// Has what happens told from now on.
    pub fn watch(&self, mask: Mask, watcher: Watcher) {
        self.client.borrow_mut().subscribe(mask);
        self.watcher.replace(Some(watcher));
    }

    /// What is asked for from now on shares no circuit with what was before.
    pub fn new_identity(self: &Rc<Self>) {
        self.with(|client, now| client.new_identity(now, &mut SystemEntropy));
    }

    /// The circuit of a request, as long as it has one.
    pub fn circuit_of(&self, request: RequestNo) -> Option<TunnelNo> {
        self.client.borrow().streams().get(request).and_then(|request| request.at()).map(|(circuit, _)| circuit)
    }

    /// How many relays those circuits go through that carry streams, or did.
    pub fn hops(&self) -> Vec<usize> {
        let client = self.client.borrow();
        client
            .pool()
            .iter()
            .filter(|(_, circuit)| circuit.is_used())
            .map(|(_, circuit)| circuit.path.hops.len())
            .collect()
    }

    /// What there is now, in a few lines that name nobody.
    pub fn statistics(&self) -> [String; 3] {
        let client = self.client.borrow();
        let count = |is: bool, all: usize| if is { all + 1 } else { all };
        let links = client.links().map(|(_, status)| matches!(status, LinkStatus::Connected));
        let (links, up) = links.fold((0, 0), |(all, up), is_up| (all + 1, count(is_up, up)));
        let circuits = client.pool().iter().map(|(_, circuit)| circuit);
        let (open, used, coming) = circuits.fold((0, 0, 0), |(open, used, coming), circuit| {
            let is_open = circuit.phase >= Phase::Waiting;
            (count(is_open, open), count(circuit.is_used(), used), count(!is_open, coming))
        });
        let streams = client.streams();
        let waiting = streams.waiting().len();
        let directory = client.dir().map_or("none".to_owned(), |dir| {
            let lifetime = dir.consensus().lifetime();
            let (relays, missing) = (dir.relays().count(), dir.missing_count());
            format!("{relays} relays, {missing} descriptors missing, valid until {}", lifetime.valid_until)
        });
        [
            format!("Links: {links}, of which {up} are up. Directory: {directory}."),
            format!("Circuits: {open} open, of which {used} are or were in use; {coming} being built."),
            format!("Streams: {}, of which {waiting} wait; {} bytes are held for them.", streams.len(), streams.held()),
        ]
    }

    /// One input, and all that follows from it.
    fn with<T>(self: &Rc<Self>, input: impl FnOnce(&mut Client, Now) -> T) -> T {
        let result = input(&mut self.client.borrow_mut(), self.clock.now());
        self.settle();
        result
    }

    fn settle(self: &Rc<Self>) {
        loop {
            let output = self.client.borrow_mut().poll_output();
            match output {
                Some(output) => self.obey(output),
                None => break,
            }
        }
        self.report();
        while self.files.has_room()
            && let Some(work) = self.client.borrow_mut().poll_work()
        {
            self.files.order(work);
        }
        let links = self.links.borrow();
        for bell in self.client.borrow().ready().filter_map(|link| links.get(&link)) {
            bell.ring();
        }
        self.stirred.notify_one();
    }

    /// Tells whoever watches what happened.
    fn report(&self) {
        let watcher = self.watcher.borrow();
        while let Some(watcher) = watcher.as_ref() {
            let event = self.client.borrow_mut().poll_event();
            match event {
                Some(event) => watcher(event),
                None => break,
            }
        }
    }

    fn obey(self: &Rc<Self>, output: Output) {
        match output {
            Output::Dial { link, to, way } => self.dial(link, to, way),
            Output::HangUp(link) => {
                if let Some(bell) = self.links.borrow_mut().remove(&link) {
                    bell.hang_up();
                }
            }
            Output::Progress(progress) => self.log.progress(progress),
            Output::Notice(notice) if notice.is_fatal() => {
                self.give_up(notice.to_string());
            }
            Output::Notice(notice) if notice.is_minor() && !self.warns_of_protocol.get() => {
                self.log.info(domain(&notice), format_args!("{notice}"));
            }
            Output::Notice(notice) => self.log.warn(domain(&notice), format_args!("{notice}")),
            Output::FindCountries(addresses) => drop(spawn_local(Rc::clone(self).find_countries(addresses))),
            Output::BadFile(name, error) => {
                self.log.warn(
                    Domain::Dir,
                    format_args!("Something in {name} cannot be used ({error:?}), and is fetched again."),
                );
            }
            Output::BadState(line, fault) => {
                self.log.warn(Domain::General, format_args!("state:{line}: {fault}. The line is left out."));
            }
            Output::Connected(request) => self.tell(request, News::Connected),
            Output::Found(request, found, seconds) => self.tell(request, News::Found(found, seconds)),
            Output::Failed(request, failure) => self.tell(request, News::Failed(failure)),
            Output::Ended { request, is_clean } => self.tell(request, News::Ended { is_clean }),
            Output::GivenUp(request) => self.tell(request, News::GivenUp),
            Output::Writable(request) => {
                if let Some(recipient) = self.programs.borrow().get(&request) {
                    recipient.ring();
                }
            }
        }
    }

    /// Reads where relays are, on a thread that may wait for a disk.
    async fn find_countries(self: Rc<Self>, addresses: Vec<Ipv4Addr>) {
        let atlas = Rc::clone(&self.atlas.borrow());
        let file = atlas.file.clone();
        let read = move || (countries::find(&file, &addresses), addresses);
        // Nothing in it panics; if something did, nobody would know where relays are.
        let Ok((finding, addresses)) = spawn_blocking(read).await else { return };
        if !Rc::ptr_eq(&atlas, &self.atlas.borrow()) {
            return;
        }
        let rare = &self.rare.countries;
        let without = "It is not known in which country any relay is; with lists that name countries, relays are not \
                       used for that, unless GeoIPExcludeUnknown is 0.";
        let finding = match finding {
            Ok(finding) if !finding.known.is_empty() => finding,
            Ok(_) => {
                self.log.warn_rarely(rare, Domain::General, format_args!("{} says nothing. {without}", atlas.file));
                countries::nowhere(&addresses)
            }
            Err(error) => {
                let text = format_args!("{} cannot be read: {error}. {without}", atlas.file);
                self.log.warn_rarely(rare, Domain::General, text);
                countries::nowhere(&addresses)
            }
        };
        let strange: Vec<_> = atlas.named.difference(&finding.known).map(Country::to_string).collect();
        if !finding.known.is_empty() && !strange.is_empty() {
            let strange = strange.join(", ");
            let text = format_args!("No address is in these countries: {strange}.");
            self.log.warn_rarely(rare, Domain::Config, text);
        }
        if finding.bad_lines > 0 {
            let count = finding.bad_lines;
            let text = format_args!("{count} lines of {} say nothing.", atlas.file);
            self.log.warn_rarely(&self.rare.bad_countries, Domain::General, text);
        }
        self.with(|client, now| client.handle_countries(&finding.found, now, &mut SystemEntropy));
    }

    fn tell(&self, request: RequestNo, news: News) {
        if let Some(recipient) = self.programs.borrow().get(&request) {
            recipient.tell(request, news);
        }
    }

    // --- links ---------------------------------------------------------------------------

    /// How relays are reached.
    pub fn dialler(&self) -> &Dialler {
        &self.dialler
    }

    /// A link may be dialled a second time, at another address.
    fn dial(self: &Rc<Self>, link: LinkNo, to: SocketAddr, way: Way) {
        let bell = Rc::new(Bell::default());
        if let Some(old) = self.links.borrow_mut().insert(link, Rc::clone(&bell)) {
            old.hang_up();
        }
        drop(spawn_local(conn::run(Rc::clone(self), link, to, way, bell)));
    }

    /// A connection is up.
    pub fn on_dialled(self: &Rc<Self>, link: LinkNo, leaf: LeafDigest) {
        self.with(|client, now| client.handle_dialled(link, leaf, now));
    }

    /// A connection is gone, or never came to be.
    pub fn on_closed(self: &Rc<Self>, link: LinkNo, why: &io::Error) {
        self.links.borrow_mut().remove(&link);
        self.log.info(Domain::Or, format_args!("The connection of link {} is over: {why}", link.0));
        self.with(|client, now| client.handle_closed(link, reason(why), now, &mut SystemEntropy));
    }

    /// A buffer for the next read of a link.
    pub fn begin_read(&self, link: LinkNo) -> Vec<u8> {
        self.client.borrow_mut().begin_read(link)
    }

    /// What a read brought.
    pub fn on_read(self: &Rc<Self>, link: LinkNo, buffer: Vec<u8>) {
        self.heart.on_received(buffer.len());
        let (programs, mut delivery) = (self.programs.borrow(), self.delivery.borrow_mut());
        let now = self.clock.now();
        let mut client = self.client.borrow_mut();
        client.handle_read(link, buffer, now, &mut SystemEntropy, &mut *delivery);
        delivery.finish(|request, bytes| {
            // What is for nobody any more is as good as taken.
            let taken = programs.get(&request).map_or(bytes.len(), |recipient| recipient.deliver(bytes));
            if taken > 0 {
                client.handle_taken(request, taken);
            }
        });
        drop((client, programs, delivery));
        self.settle();
    }

    /// What is to be written to a link next.
    pub fn take_transmit(self: &Rc<Self>, link: LinkNo) -> Option<Vec<u8>> {
        let bytes = self.with(|client, now| client.take_transmit(link, now, &mut SystemEntropy));
        self.heart.on_sent(bytes.as_ref().map_or(0, Vec::len));
        bytes
    }

    // --- files ---------------------------------------------------------------------------

    /// Tells the client what came of its files, for ever.
    pub async fn hear_files(self: Rc<Self>, mut done: Receiver<Done>) {
        while let Some(done) = done.recv().await {
            self.files.on_done(&done);
            if let Done::Read(STATE, Err(error)) = &done {
                // C tor: ends too. Whoever went on would draw other guards, and write over these.
                self.give_up(format!("The file state cannot be read, and the guards are in it: {error}"));
                continue;
            }
            self.with(|client, now| match &done {
                Done::Piece(name, piece) => client.handle_file(name, piece, now),
                Done::Read(name, result) => {
                    let found = result.as_ref().is_ok_and(|found| *found);
                    client.handle_file_end(name, found, now, &mut SystemEntropy);
                }
                Done::SetAside(..) | Done::Written(_, Ok(())) => {}
                Done::Written(name, Err(_)) => client.handle_unwritten(name, now),
            });
            match done {
                Done::Read(name, Err(error)) => {
                    self.log.warn(Domain::Fs, format_args!("{name} cannot be read: {error}"))
                }
                Done::SetAside(name, Ok(other)) => {
                    self.log.warn(Domain::Fs, format_args!("{name} is broken. As it was it is kept as {other}."));
                }
                Done::SetAside(name, Err(error)) => {
                    self.log.warn(Domain::Fs, format_args!("{name} is broken, and cannot be kept as it was: {error}"));
                }
                Done::Written(name, Err(error)) => {
                    self.log.warn_rarely(
                        &self.rare.unwritten,
                        Domain::Fs,
                        format_args!("{name} cannot be written: {error}"),
                    );
                }
                _ => {}
            }
            if self.files.is_idle() {
                self.rested.notify_one();
            }
        }
    }

    /// Has written what the next run should know.
    pub async fn save(self: &Rc<Self>) {
        self.with(|client, now| client.save(now));
        while !self.files.is_idle() {
            self.rested.notified().await;
        }
    }

    // --- programs ------------------------------------------------------------------------

    /// A program wants something; what becomes of it is told to the recipient.
    pub fn request(self: &Rc<Self>, wish: Wish, recipient: Recipient) -> RequestNo {
        // What comes of it at once must find the recipient.
        let no = self.client.borrow_mut().request(wish, self.clock.now(), &mut SystemEntropy);
        self.programs.borrow_mut().insert(no, recipient);
        self.settle();
        no
    }

    /// A program said something. Says how much of it is taken.
    pub fn write(self: &Rc<Self>, request: RequestNo, bytes: &[u8]) -> usize {
        self.with(|client, _| client.handle_write(request, bytes))
    }

    /// A program's socket took so much of what came for it.
    pub fn on_taken(self: &Rc<Self>, request: RequestNo, length: usize) {
        self.with(|client, _| client.handle_taken(request, length));
    }

    /// A program says no more.
    pub fn finish(self: &Rc<Self>, request: RequestNo) {
        self.programs.borrow_mut().remove(&request);
        self.with(|client, now| client.finish(request, now));
    }

    /// A program is gone.
    pub fn cancel(self: &Rc<Self>, request: RequestNo) {
        self.programs.borrow_mut().remove(&request);
        self.with(|client, now| client.cancel(request, now, &mut SystemEntropy));
    }

    /// A request is over, and the client knows.
    pub fn forget(&self, request: RequestNo) {
        self.programs.borrow_mut().remove(&request);
    }

    /// A buffer to read into, of [`program::READ_LEN`] bytes.
    pub fn scratch(&self) -> RefMut<'_, Vec<u8>> {
        self.scratch.borrow_mut()
    }
}

/// What a controller is told of the end of a connection.
fn reason(error: &io::Error) -> LinkReason {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => LinkReason::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => LinkReason::Reset,
        io::ErrorKind::TimedOut => LinkReason::TimedOut,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => LinkReason::NoRoute,
        io::ErrorKind::OutOfMemory => LinkReason::ResourceLimit,
        // What TLS says.
        io::ErrorKind::InvalidData => LinkReason::Tls,
        _ => LinkReason::Io,
    }
}

/// What a notice is about. C tor: the domains of the same lines.
fn domain(notice: &Notice) -> Domain {
    match notice {
        Notice::Unreachable(_) => Domain::Control,
        Notice::Guard(_) => Domain::Guard,
        Notice::Answer(_) => Domain::Dir,
        _ => Domain::General,
    }
}
