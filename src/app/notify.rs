//! What systemd is told: that it runs, reads its options again, ends, and is still alive.
//!
//! Words to the socket that the environment names; nothing where it names none. Called by
//! `mod.rs`. Spec: sd_notify(3), sd_watchdog_enabled(3). C tor: `run_tor_main_loop` and `do_hup` in
//! app/main/main.c.

use core::time::Duration;
use std::env;
use std::ffi::OsStr;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;

use rustix::time::{ClockId, clock_gettime};

/// How many times within the limit it is said that it is alive. C tor: likewise.
const BEATS: u32 = 2;

/// Whoever started us, if he wants to hear.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    beat: Option<Duration>,
}

impl Notifier {
    /// The one that the environment names.
    pub fn of_environment() -> Notifier {
        let [socket, limit, whose] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"].map(env::var_os);
        let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
        let is_ours = whose.is_none_or(|pid| number(&pid) == Some(process::id().into()));
        let limit = limit.as_deref().and_then(number).filter(|_| is_ours).unwrap_or(0);
        Notifier::new(socket.as_deref().unwrap_or_default(), Duration::from_micros(limit))
    }

    fn new(name: &OsStr, limit: Duration) -> Notifier {
        let socket = connect(name.as_bytes());
        let beat = Some(limit / BEATS).filter(|beat| socket.is_some() && !beat.is_zero());
        Notifier { socket, beat }
    }

    /// How often it wants to hear that we are alive.
    pub fn beat(&self) -> Option<Duration> {
        self.beat
    }

    /// All ports are open.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// The options are being read again, which ends with [`Notifier::ready`].
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// It is over.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// It is not.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, words: &str) {
        // Whoever does not listen any more does not want to know.
        self.socket.as_ref().map(|socket| socket.send(words.as_bytes()));
    }
}

/// To a path, or, with `@` before it, a name that is in no file system.
fn connect(name: &[u8]) -> Option<UnixDatagram> {
    let address = match name {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(OsStr::from_bytes(name)),
        _ => return None,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect_addr(&address.ok()?).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::super::disk::tests::Scratch;
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 200];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn whoever_started_us_hears_what_becomes_of_us() {
        let scratch = Scratch::new("notify");
        let path = scratch.0.join("socket");
        let hidden = format!("cepa-notify-{}", process::id());
        let abstract_name = SocketAddr::from_abstract_name(&hidden).unwrap();
        let sockets = [UnixDatagram::bind(&path).unwrap(), UnixDatagram::bind_addr(&abstract_name).unwrap()];
        for (socket, name) in sockets.iter().zip([path.as_os_str(), OsStr::new(&format!("@{hidden}"))]) {
            socket.set_nonblocking(true).unwrap();
            let notifier = Notifier::new(name, Duration::from_secs(30));
            assert_eq!(notifier.beat(), Some(Duration::from_secs(15)));
            notifier.ready();
            notifier.reloading();
            notifier.alive();
            notifier.stopping();
            assert_eq!(heard(socket), "READY=1");
            let reloading = heard(socket);
            let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(micros.parse::<u64>().unwrap() > 0);
            assert_eq!([heard(socket), heard(socket)], ["WATCHDOG=1", "STOPPING=1"]);
        }
    }

    #[test]
    fn nobody_is_told_where_nobody_asked() {
        for name in ["", "relative", "@", "/dev/null/none", "/dev/null"] {
            let notifier = Notifier::new(OsStr::new(name), Duration::from_secs(30));
            assert!(notifier.beat().is_none(), "{name}");
            notifier.ready();
        }
    }
}
