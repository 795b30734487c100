//! Going on as another user, whom `User` names: root opens what only root may, and then is nobody
//! that it could be again.
//!
//! Only `/etc/passwd` is asked who that is: what else a C library may know of (LDAP, NIS, systemd's
//! dynamic users) we do not. The system does this to one thread, so there must be no other yet.
//! Who opened what before is `mod.rs`'s, which calls this once. Spec: credentials(7),
//! capabilities(7), passwd(5). C tor: `switch_id` in lib/process/setuid.c, `tor_getpwnam` in
//! lib/fs/userdb.c.
//! Differs: a core of what was root once is not written; C tor has that allowed again, and then
//! forbidden by its `DisableDebuggerAttachment`.

use core::fmt;
use std::fs::File;
use std::io::{self, Read};

/// Where users are.
const PASSWD: &str = "/etc/passwd";
/// The longest list of users that is read; ours, some fifteen thousand of them.
const MAX_PASSWD_LEN: u64 = 1 << 20;
/// What the system takes for "as it was", and nobody is.
const NOBODY_AT_ALL: u32 = u32::MAX;

/// Why it stays who it is.
#[derive(Debug)]
pub enum Fault {
    /// The list of users cannot be read.
    Unread(io::Error),
    /// It is too long for us.
    TooLong,
    /// There is no such user in it.
    Unknown,
    /// There are so many threads already, where there may be one; or nobody says how many.
    Threads(io::Result<usize>),
    /// The system lets nobody change who they are who is not root.
    NotRoot(io::Error),
    /// The same, and it is that user already.
    Already(io::Error),
    /// The right to low ports cannot be kept.
    Rights(io::Error),
    /// It is not quite that user now.
    Halfway,
    /// It could be root again.
    Reversible,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unread(error) => write!(f, "{PASSWD}: {error}"),
            Fault::TooLong => write!(f, "{PASSWD} is longer than {MAX_PASSWD_LEN} bytes"),
            Fault::Unknown => write!(f, "{PASSWD} has no such user"),
            Fault::Threads(Ok(count)) => write!(f, "{count} threads run already, and one alone may become another"),
            Fault::Threads(Err(error)) => write!(f, "/proc does not say how many threads run: {error}"),
            Fault::NotRoot(error) => write!(f, "it must be started as root to become another: {error}"),
            Fault::Already(error) => {
                write!(f, "it is started as that user, and must be started as root or without this: {error}")
            }
            Fault::Rights(error) => write!(f, "KeepBindCapabilities cannot be done: {error}"),
            Fault::Halfway => f.write_str("the system has not made it that user in all ways"),
            Fault::Reversible => f.write_str("it could be root again, so that nothing would be gained"),
        }
    }
}

/// Somebody of this system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    /// The first group.
    gid: u32,
}

/// Goes on as the user of that name, and in their first group alone; perhaps with the right to low
/// ports. To be called while there is one thread.
pub fn become_user(name: &str, keeps_low_ports: bool) -> Result<(), Fault> {
    system::switch(find(name)?, keeps_low_ports)
}

fn find(name: &str) -> Result<User, Fault> {
    let (mut list, file) = (Vec::new(), File::open(PASSWD).map_err(Fault::Unread)?);
    let length = file.take(MAX_PASSWD_LEN + 1).read_to_end(&mut list).map_err(Fault::Unread)?;
    if length as u64 > MAX_PASSWD_LEN {
        return Err(Fault::TooLong);
    }
    listed(&list, name).ok_or(Fault::Unknown)
}

/// The user of that name in a list, of which the first counts.
fn listed(list: &[u8], name: &str) -> Option<User> {
    let mut lines = list.split(|byte| *byte == b'\n').map(|line| line.split(|byte| *byte == b':'));
    let mut fields = lines.find_map(|mut fields| (fields.next()? == name.as_bytes()).then_some(fields))?;
    let number = |field: &[u8]| {
        let is_number = !field.is_empty() && field.iter().all(u8::is_ascii_digit);
        let text = core::str::from_utf8(field).ok().filter(|_| is_number)?;
        text.parse().ok().filter(|number| *number != NOBODY_AT_ALL)
    };
    // Behind the name stands a password.
    let (uid, gid) = (number(fields.nth(1)?)?, number(fields.next()?)?);
    // And behind the numbers three fields more.
    fields.nth(2).filter(|_| !name.is_empty())?;
    Some(User { uid, gid })
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;
    use std::io;

    use rustix::process::{Gid, Uid, getegid, geteuid, getgid, getgroups, getuid};
    use rustix::thread::{
        CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities, set_thread_gid, set_thread_groups,
        set_thread_res_gid, set_thread_res_uid, set_thread_uid,
    };

    use super::{Fault, User};

    /// In C tor's order.
    pub fn switch(User { uid, gid }: User, keeps_low_ports: bool) -> Result<(), Fault> {
        match fs::read_dir("/proc/self/task").map(Iterator::count) {
            Ok(1) => {}
            count => return Err(Fault::Threads(count)),
        }
        let (uid, gid) = (Uid::from_raw_unchecked(uid), Gid::from_raw_unchecked(gid));
        let (old_uid, old_gid) = (getuid(), getgid());
        if keeps_low_ports {
            keep(true).map_err(Fault::Rights)?;
        }
        let refused = |error: rustix::io::Errno| match old_uid == uid {
            true => Fault::Already(error.into()),
            false => Fault::NotRoot(error.into()),
        };
        set_thread_groups(&[gid]).map_err(refused)?;
        set_thread_res_gid(gid, gid, gid).map_err(refused)?;
        set_thread_res_uid(uid, uid, uid).map_err(refused)?;
        if keeps_low_ports {
            keep(false).map_err(Fault::Rights)?;
        }
        let is_it = (getuid(), geteuid(), getgid(), getegid()) == (uid, uid, gid, gid);
        if !is_it || getgroups().ok().as_deref() != Some(&[gid]) {
            return Err(Fault::Halfway);
        }
        if can_go_back(old_uid, old_gid, uid, gid) { Err(Fault::Reversible) } else { Ok(()) }
    }

    /// Whether it can be who it was, as whoever still has rights of root can.
    fn can_go_back(old_uid: Uid, old_gid: Gid, uid: Uid, gid: Gid) -> bool {
        let has_group = || set_thread_gid(old_gid).is_ok() || set_thread_res_gid(None, old_gid, None).is_ok();
        let has_user = || set_thread_uid(old_uid).is_ok() || set_thread_res_uid(None, old_uid, None).is_ok();
        !uid.is_root() && ((gid != old_gid && has_group()) || (uid != old_uid && has_user()))
    }

    /// Gives all rights of root up but that to low ports, and, while it is about to become another,
    /// those that it wants for that.
    fn keep(is_about_to: bool) -> io::Result<()> {
        set_keep_capabilities(is_about_to)?;
        let low_ports = CapabilitySet::NET_BIND_SERVICE;
        let all = if is_about_to { low_ports | CapabilitySet::SETUID | CapabilitySet::SETGID } else { low_ports };
        set_capabilities(None, CapabilitySets { effective: all, permitted: all, inheritable: low_ports })?;
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;

    use super::{Fault, User};

    /// Only of Linux it is known how.
    pub fn switch(_: User, _: bool) -> Result<(), Fault> {
        Err(Fault::NotRoot(io::ErrorKind::Unsupported.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIST: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n# no user:\n\n+::::::\nodd:x:1:2\n\
        tor:x:102:105::/var/lib/tor:/bin/false\ntor:x:0:0::/:/bin/sh\nlate:x:-1:5:::\nhigh:x:4294967295:5:::\n\
        blank:x: 7:5:::\nwide:x:4294967296:5:::\nmost:x:4294967294:5:\xFF::\nlast:*:8:9:a:b:c:d";

    #[test]
    fn a_user_is_who_the_list_says_first() {
        for (name, expected) in [
            ("root", Some((0, 0))),
            ("tor", Some((102, 105))),
            ("most", Some((4_294_967_294, 5))),
            ("last", Some((8, 9))),
            ("", None),
            ("+", None),
            ("to", None),
            ("tor:x", None),
            ("102", None),
            ("odd", None),
            ("late", None),
            ("high", None),
            ("blank", None),
            ("wide", None),
            ("# no user", None),
        ] {
            assert_eq!(listed(LIST, name), expected.map(|(uid, gid)| User { uid, gid }), "{name}");
        }
        assert_eq!(find("root").unwrap(), User { uid: 0, gid: 0 });
    }

    /// Whoever runs this test.
    #[test]
    fn a_program_of_many_threads_stays_who_it_is() {
        let other = std::thread::spawn(std::thread::park);
        assert!(matches!(become_user("root", false), Err(Fault::Threads(Ok(2..)))));
        other.thread().unpark();
        other.join().unwrap();
        assert!(matches!(become_user("no such user", false), Err(Fault::Unknown)));
    }

    proptest! {
        #[test]
        fn no_list_panics(list in "([a-c:0-9\n]|-1|4294967295){0,60}", name in "[a-c:]{0,2}") {
            let _ = listed(list.as_bytes(), &name);
        }
    }
}
