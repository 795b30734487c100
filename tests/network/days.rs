//! A day of a client: consensuses come and go, a guard is lost, the network is cut and comes
//! back, clocks jump, the machine sleeps; and once a minute somebody wants something.

use std::time::Duration;

use cepa::internal::base::time::Tick;
use cepa::internal::client::{Failure, RequestNo};
use cepa::internal::directory::store;
use cepa::lab::network::{Network, Place, RelayNo};

use super::client::{Shell, connect, directory_network, honest, wish};
use super::seed;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: i64 = 3600;
/// C tor: `SocksTimeout`, which bounds all of a request here, and a second to see it.
const SOCKS_TIMEOUT: Duration = Duration::from_secs(121);
/// How soon a client must serve: after a pause, when what it dialled in vain was given up, and with
/// guards among those it knows that are gone for good.
const SOON: Duration = Duration::from_secs(25);
/// The same where no guard is gone.
const BACK_WITHIN: Duration = Duration::from_secs(20);

/// What happens to a client.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The guard in use is gone, for good.
    GuardLost,
    /// Nothing goes in or out any more.
    Cut,
    /// All does again.
    Join,
    /// The wall clock is set by so many seconds.
    Clock(i64),
    /// The same, and so far that no consensus fits it: nothing is asked of the client that it
    /// could not know. C tor: streams are put off, and fail after `SocksTimeout`.
    Misset(i64),
    /// It is set right again.
    Reset(i64),
    /// The machine sleeps for so many minutes; its connections die, and it is told.
    Sleep(u32),
    /// The machine sleeps; its connections look as if nothing had happened, and are good.
    Doze(u32),
    /// The machine sleeps; its connections look so, and are dead.
    DozeAndLose(u32),
}

/// What happens when: at which minute and second of a day.
const EVENTS: [(u32, f64, Event); 27] = [
    (10, 0.15, Event::Cut),
    (13, 30.0, Event::Join),
    (20, 0.0, Event::Clock(-90)),
    (24, 0.1, Event::Clock(5 * HOUR)),
    (30, 0.0, Event::Sleep(20)),
    (52, 0.05, Event::Clock(-5 * HOUR)),
    (55, 0.0, Event::Clock(90)),
    (58, 0.0, Event::DozeAndLose(12)),
    (74, 0.2, Event::GuardLost),
    (78, 0.0, Event::Doze(7)),
    (88, 0.0, Event::Clock(-20 * HOUR)),
    (92, 0.0, Event::Clock(20 * HOUR)),
    (96, 0.1, Event::Misset(30 * HOUR)),
    (100, 30.0, Event::Reset(-30 * HOUR)),
    (104, 0.0, Event::Misset(-72 * HOUR)),
    (109, 30.0, Event::Reset(72 * HOUR)),
    (200, 0.1, Event::Cut),
    (245, 20.0, Event::Join),
    (400, 0.0, Event::Sleep(180)),
    (600, 0.0, Event::DozeAndLose(75)),
    (700, 0.1, Event::GuardLost),
    (760, 0.0, Event::Cut),
    (760, 10.0, Event::Join),
    (800, 0.0, Event::Doze(200)),
    (1020, 0.0, Event::Clock(1800)),
    (1100, 0.0, Event::Cut),
    (1220, 0.0, Event::Join),
];

/// A request that is neither served nor refused.
#[derive(Clone, Copy, Debug)]
struct Asked {
    no: RequestNo,
    at: Tick,
    /// How long the machine had slept by then.
    slept: Duration,
}

/// A client's life so far.
struct Life {
    network: Network,
    relays: Vec<RelayNo>,
    shell: Shell,
    open: Vec<Asked>,
    /// From when until when nobody could be served.
    troubles: Vec<(Tick, Option<Tick>)>,
    /// How long the machine has slept.
    slept: Duration,
    asked: u32,
    served: u32,
}

impl Life {
    /// One of so many minutes, in which all are served but for those who cannot be; gives how
    /// many asked, and how many were served.
    fn of(minutes: u32, seed: u64) -> (u32, u32) {
        let (mut network, relays, cache) = directory_network(seed, honest);
        let shell = Shell::start(&mut network, wish(&cache));
        let (open, troubles) = (Vec::new(), Vec::new());
        let mut life = Life { network, relays, shell, open, troubles, slept: Duration::ZERO, asked: 0, served: 0 };
        let begun = life.now();
        let mut events = EVENTS.iter().copied().peekable();
        for minute in 0..minutes {
            let at = begun + MINUTE * minute;
            // Nobody asks a machine that sleeps.
            if life.now() <= at {
                life.run_to(at);
                life.ask(minute);
            }
            while let Some((_, second, event)) = events.next_if(|(when, ..)| *when == minute) {
                life.run_to(at + Duration::from_secs_f64(second));
                life.meet(event);
            }
        }
        life.run_to(begun + MINUTE * minutes + SOON);
        assert!(life.open.is_empty(), "{:?}", life.open);
        let rounds = life.shell.disk.commits.iter().filter(|name| **name == store::CONSENSUS).count();
        assert!(rounds > minutes as usize / 200, "{rounds} consensuses in {minutes} minutes");
        (life.asked, life.served)
    }

    fn now(&self) -> Tick {
        self.network.now().tick
    }

    fn ask(&mut self, minute: u32) {
        let at = self.now();
        let wish = connect("source-5000.lab", &format!("{}", minute % 7));
        let no = self.shell.request(&mut self.network, wish);
        self.open.push(Asked { no, at, slept: self.slept });
        self.asked += 1;
    }

    fn run_to(&mut self, end: Tick) {
        while self.now() < end {
            let left = end.since(self.now());
            let over = |shell: &Shell| self.open.iter().any(|asked| shell.requests[&asked.no].is_over());
            self.shell.run_until(&mut self.network, left.min(SECOND), over);
            self.judge();
        }
    }

    fn meet(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::GuardLost => lose_guard(&self.shell, &mut self.network, &self.relays),
            Event::Cut => {
                self.network.part(&[Place::Scripts]);
                self.troubles.push((now, None));
            }
            Event::Join => {
                self.network.join();
                self.troubles.last_mut().unwrap().1 = Some(now);
            }
            Event::Clock(by) => self.shell.set_clock(by),
            Event::Misset(by) => {
                self.shell.set_clock(by);
                self.troubles.push((now, None));
            }
            Event::Reset(by) => {
                self.shell.set_clock(by);
                self.troubles.last_mut().unwrap().1 = Some(now);
            }
            Event::Sleep(minutes) => self.sleep(minutes, Shell::sleep),
            Event::Doze(minutes) => self.sleep(minutes, Shell::doze),
            Event::DozeAndLose(minutes) => {
                self.relays.iter().for_each(|relay| self.network.deaden(Place::Scripts, *relay));
                self.sleep(minutes, Shell::doze);
            }
        }
    }

    /// Whoever sleeps has no network.
    fn sleep(&mut self, minutes: u32, how: fn(&mut Shell, &mut Network, Duration)) {
        let now = self.now();
        how(&mut self.shell, &mut self.network, MINUTE * minutes);
        self.slept += MINUTE * minutes;
        self.troubles.push((now, Some(self.now())));
    }

    /// Whoever fails could not be served at some moment while he waited, and does in time, not
    /// counting what the machine sleeps; and whoever could be served all the time is so soon.
    fn judge(&mut self) {
        let now = self.now();
        let troubles = &self.troubles;
        let shell = &self.shell;
        let is_troubled =
            |at: Tick| troubles.iter().any(|(from, until)| *from <= now && until.is_none_or(|until| at < until));
        self.open.retain(|asked| {
            let told = &shell.requests[&asked.no];
            let waited = now.since(asked.at).saturating_sub(self.slept - asked.slept);
            let say = || format!("asked at {:?}, after {waited:?}: {told:?}", asked.at);
            assert!(waited < SOON || is_troubled(asked.at), "{}", say());
            match (told.failure, told.end) {
                (Some(failure), _) => assert!(failure == Failure::TimedOut && waited <= SOCKS_TIMEOUT, "{}", say()),
                (None, Some(true)) => {
                    assert_eq!(told.read.len(), 5000);
                    self.served += 1;
                }
                (None, Some(false)) => {}
                // One that is open waits for the network.
                (None, None) => assert!(told.is_open || waited <= SOCKS_TIMEOUT, "{}", say()),
            }
            let fares_well = told.end == Some(true) || !told.is_over();
            assert!(fares_well || is_troubled(asked.at), "{}", say());
            !told.is_over()
        });
    }
}

fn lose_guard(shell: &Shell, network: &mut Network, relays: &[RelayNo]) {
    let used = shell.client.pool().iter().find(|(_, circuit)| circuit.is_used());
    let guard = used.and_then(|(_, circuit)| circuit.path.hops.first()).and_then(|hop| hop.ids.rsa);
    let is_it = |relay: &&RelayNo| network.facts(**relay).ids.rsa == guard;
    let relay = *relays.iter().find(is_it).expect("somebody has asked within the last minutes");
    network.cut(relay);
}

#[test]
fn a_client_is_back_within_seconds_of_the_network() {
    for seed in seed()..seed().saturating_add(3) {
        for minutes in [0, 90] {
            let (mut network, _, cache) = directory_network(seed, honest);
            let mut shell = Shell::start(&mut network, wish(&cache));
            shell.serve(&mut network, connect("source-5000.lab", "a"), MINUTE);
            network.part(&[Place::Scripts]);
            for minute in 0..=minutes {
                let told = shell.serve(&mut network, connect("source-5000.lab", "a"), 3 * MINUTE);
                assert_eq!(told.failure, Some(Failure::TimedOut), "seed {seed}, minute {minute}");
            }
            network.join();
            let back = network.now().tick;
            let told = shell.serve(&mut network, connect("source-5000.lab", "a"), 3 * MINUTE);
            let took = network.now().tick.since(back);
            assert_eq!((told.end, told.read.len()), (Some(true), 5000), "seed {seed}, cut for {minutes} minutes");
            assert!(took < BACK_WITHIN, "seed {seed}: cut for {minutes} minutes, back after {took:?}");
        }
    }
}

/// Of those who ask, so many are not served: each who asks more than `SocksTimeout` before the end of
/// a cut or of a wrong clock, whoever is at it when a machine falls asleep for long, and nobody else.
fn is_lived(minutes: u32, refused: u32) {
    let (asked, served) = Life::of(minutes, seed());
    assert_eq!(asked - served, refused, "of {asked}");
}

#[test]
fn a_client_serves_whoever_asks_for_two_hours_whatever_happens() {
    is_lived(120, 8);
}

/// The whole day: by night.
#[test]
fn a_client_serves_whoever_asks_for_a_day_whatever_happens() {
    is_lived(24 * 60, 171);
}
