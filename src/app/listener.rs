//! Where programs connect to: TCP addresses and sockets in the file system, opened as C tor
//! opens them, and what is accepted there as one kind of stream.
//!
//! Decides who may come near a socket by modes and directories; not which requests are served,
//! nor how many. Called by `ports.rs`, and by the task of each listener. Spec: none.
//! C tor: `connection_listener_new`, `check_location_for_unix_socket` in core/mainloop/connection.c.

use core::fmt;
use core::net::SocketAddr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::disk::{self, Company};
use super::redirection;
use crate::config::port::{Flags, Place, Port, SocketMode};

/// How many may wait to be accepted. C tor and the system: `SOMAXCONN`.
const BACKLOG: i32 = 4096;
/// How much of what nobody wants any more is read before a connection closes, so that its last
/// words are not lost with it; ours, what a request and a head of HTTP have.
const MAX_UNWANTED: usize = 16 * 1024;

/// Why there is nothing to connect to.
#[derive(Debug)]
pub enum Fault {
    /// The address is taken.
    InUse,
    /// A path of a socket must begin at the root.
    RelativePath,
    /// The directory of the socket.
    Directory(disk::Fault),
    /// What is addressed to others may not be ours.
    NotOurs(io::Error),
    /// The system will not have it so.
    System(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::InUse => f.write_str("the address is in use. Is Tor already running?"),
            Fault::RelativePath => f.write_str("the path of a socket must begin with /"),
            Fault::Directory(fault) => write!(f, "the directory of the socket must be private: {fault}"),
            Fault::NotOurs(error) => {
                write!(f, "TransProxyType TPROXY wants the right to administer the network (CAP_NET_ADMIN): {error}")
            }
            Fault::System(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Fault::InUse,
            _ => Fault::System(error),
        }
    }
}

/// Somewhere to connect to.
pub struct Listener {
    socket: Kind,
    at: String,
}

enum Kind {
    Tcp(TcpListener),
    /// Where it is, and which file that is.
    Unix(UnixListener, PathBuf, Option<(u64, u64)>),
}

impl Listener {
    /// Opens what a line asks for. To be called where the executor is.
    pub fn open(port: &Port) -> Result<Listener, Fault> {
        match &port.at {
            Place::Tcp(address) => Listener::tcp(*address, port.flags.is_routed),
            Place::Auto(ip) => Listener::tcp(SocketAddr::new(*ip, 0), port.flags.is_routed),
            Place::Unix(path) => Listener::unix(path, port.flags.socket),
        }
    }

    fn tcp(address: SocketAddr, is_routed: bool) -> Result<Listener, Fault> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if is_routed {
            redirection::take_all(&socket, address).map_err(Fault::NotOurs)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(socket.into())?;
        let at = listener.local_addr()?.to_string();
        Ok(Listener { socket: Kind::Tcp(listener), at })
    }

    /// The mode is right before anybody can connect.
    fn unix(name: &str, mode: SocketMode) -> Result<Listener, Fault> {
        let path = super::paths::expand(name);
        check_directory(&path, mode)?;
        remove(&path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(&path)?)?;
        fs::set_permissions(&path, Permissions::from_mode(socket_mode(mode)))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = UnixListener::from_std(socket.into())?;
        let (at, file) = (path.display().to_string(), which(&path));
        Ok(Listener { socket: Kind::Unix(listener, path, file), at })
    }

    /// Whether a line asks for just this one. C tor: whoever lets the system choose a port is
    /// content with any.
    pub fn is_at(&self, place: &Place) -> bool {
        match (&self.socket, place) {
            (Kind::Tcp(listener), Place::Tcp(address)) => listener.local_addr().is_ok_and(|at| at == *address),
            (Kind::Tcp(listener), Place::Auto(ip)) => listener.local_addr().is_ok_and(|at| at.ip() == *ip),
            (Kind::Unix(_, path, file), Place::Unix(name)) => {
                let wanted = super::paths::expand(name);
                *path == wanted || file.is_some() && which(&wanted) == *file
            }
            _ => false,
        }
    }

    /// Whether it may stand where it does, for those whom the mode lets in, and take what is routed to
    /// us, if it is to: that it takes it does no harm where it is not to.
    pub fn check(&self, flags: &Flags) -> Result<(), Fault> {
        match &self.socket {
            Kind::Tcp(listener) if flags.is_routed => {
                redirection::take_all(&SockRef::from(listener), listener.local_addr()?).map_err(Fault::NotOurs)
            }
            Kind::Tcp(_) => Ok(()),
            Kind::Unix(_, path, _) => check_directory(path, flags.socket),
        }
    }

    /// Lets those in from now on.
    pub fn set_mode(&self, mode: SocketMode) -> io::Result<()> {
        match &self.socket {
            Kind::Tcp(_) => Ok(()),
            Kind::Unix(_, path, _) => fs::set_permissions(path, Permissions::from_mode(socket_mode(mode))),
        }
    }

    /// Where it is, in words.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// The next who connects, and from where; from nowhere in the file system.
    pub async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.socket {
            Kind::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                // A small answer must not wait for one before it.
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Some(from)))
            }
            Kind::Unix(listener, ..) => Ok((Stream::Unix(listener.accept().await?.0), None)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Kind::Unix(_, path, file) = &self.socket
            // Another may stand there by now, perhaps our own, which has another name for it.
            && which(path) == *file
        {
            let _ = remove(path);
        }
    }
}

/// Which file a path leads to: its device and its number there.
fn which(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn check_directory(path: &Path, mode: SocketMode) -> Result<(), Fault> {
    let directory = path.parent().filter(|_| path.is_absolute()).ok_or(Fault::RelativePath)?;
    // C tor: a socket for all the world may stand anywhere.
    if mode.world {
        return Ok(());
    }
    let company = Company { group: mode.group, lookers: mode.relaxed };
    disk::check_private(directory, company).map_err(Fault::Directory)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn socket_mode(mode: SocketMode) -> u32 {
    match mode {
        SocketMode { world: true, .. } => 0o666,
        SocketMode { group: true, .. } => 0o660,
        _ => 0o600,
    }
}

/// A connection of a program, wherever it came in. Nothing here waits but [`Stream::readable`]
/// and [`Stream::writable`].
pub enum Stream {
    /// From an address.
    Tcp(TcpStream),
    /// From this machine's file system.
    Unix(UnixStream),
}

impl Stream {
    /// There may be something to read.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.readable().await,
            Stream::Unix(stream) => stream.readable().await,
        }
    }

    /// There may be room to write.
    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.writable().await,
            Stream::Unix(stream) => stream.writable().await,
        }
    }

    /// Reads what there is; `None` if that is nothing yet, 0 at the end.
    pub fn read(&self, out: &mut [u8]) -> io::Result<Option<usize>> {
        later(match self {
            Stream::Tcp(stream) => stream.try_read(out),
            Stream::Unix(stream) => stream.try_read(out),
        })
    }

    /// Writes what there is room for; `None` if that is nothing yet.
    pub fn write(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        later(match self {
            Stream::Tcp(stream) => stream.try_write(bytes),
            Stream::Unix(stream) => stream.try_write(bytes),
        })
    }

    /// Where its program wanted to go, which a firewall led to us: by a route, or by another address
    /// in its place.
    pub fn destination(&self, is_routed: bool) -> io::Result<SocketAddr> {
        match self {
            Stream::Tcp(stream) if is_routed => stream.local_addr(),
            Stream::Tcp(stream) => redirection::destination(&SockRef::from(stream), stream.local_addr()?),
            Stream::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Says that nothing more comes, and takes what nobody will read: a connection that closes
    /// over unread bytes takes its last words back.
    pub fn close(&self) {
        let socket = match self {
            Stream::Tcp(stream) => SockRef::from(stream),
            Stream::Unix(stream) => SockRef::from(stream),
        };
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let mut unwanted = [0; 1024];
        for _ in 0..MAX_UNWANTED / unwanted.len() {
            match self.read(&mut unwanted) {
                Ok(Some(1..)) => {}
                _ => break,
            }
        }
    }
}

fn later(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(length) => Ok(Some(length)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::tests::Scratch;
    use super::super::runtime::executor;
    use super::*;
    use crate::config::port::{self, Kind as Names};
    use std::io::{Read, Write};
    use std::os::unix::fs::FileTypeExt;

    fn open(line: &str) -> Result<Listener, Fault> {
        Listener::open(&port::parse(line, Names::Names).unwrap().port.unwrap())
    }

    #[test]
    fn a_port_is_chosen_and_taken_only_once() {
        let runtime = executor().unwrap();
        let _here = runtime.enter();
        let listener = open("auto").unwrap();
        assert!(listener.at().starts_with("127.0.0.1:") && !listener.at().ends_with(":0"));
        assert!(matches!(open(listener.at()), Err(Fault::InUse)));
        assert!(matches!(open("203.0.113.1:9050"), Err(Fault::System(_))));
    }

    #[test]
    fn a_socket_in_the_file_system_has_its_mode_and_goes_with_its_listener() {
        let scratch = Scratch::new("listener");
        let runtime = executor().unwrap();
        let _here = runtime.enter();
        let path = scratch.0.join("socks");
        let line = format!("unix:{}", path.display());
        fs::write(&path, "in the way").unwrap();
        for (flags, mode) in [("", 0o600), ("GroupWritable", 0o660), ("WorldWritable", 0o666)] {
            let listener = open(&format!("{line} {flags}")).unwrap();
            let facts = fs::metadata(&path).unwrap();
            assert!(facts.file_type().is_socket() && facts.permissions().mode() & 0o777 == mode, "{flags}");
            drop(listener);
            assert!(!path.exists());
        }
        fs::set_permissions(&scratch.0, Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(open(&line), Err(Fault::Directory(disk::Fault::TooOpen(0o755)))));
        assert!(open(&format!("{line} RelaxDirModeCheck")).is_ok());
        assert!(open(&format!("{line} WorldWritable")).is_ok());
        assert!(matches!(open("unix:socks"), Err(Fault::RelativePath)));
    }

    #[test]
    fn a_socket_of_another_listener_is_left_where_it_is() {
        let scratch = Scratch::new("other-listener");
        let runtime = executor().unwrap();
        let _here = runtime.enter();
        let (path, link) = (scratch.0.join("real/own/socks"), scratch.0.join("link"));
        fs::create_dir_all(scratch.0.join("real/own")).unwrap();
        fs::set_permissions(scratch.0.join("real/own"), Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(scratch.0.join("real"), &link).unwrap();
        let old = open(&format!("unix:{}", path.display())).unwrap();
        // The same by another name.
        let alias = link.join("own/socks").display().to_string();
        assert!(old.is_at(&Place::Unix(alias.clone())) && !old.is_at(&Place::Unix(format!("{alias}2"))));
        let new = open(&format!("unix:{alias}")).unwrap();
        drop(old);
        assert!(path.exists());
        drop(new);
        assert!(!path.exists());
    }

    #[test]
    fn both_kinds_of_streams_carry_bytes_and_last_words() {
        let scratch = Scratch::new("streams");
        let runtime = executor().unwrap();
        let path = scratch.0.join("socks");
        let (tcp, unix) = {
            let _here = runtime.enter();
            (open("auto").unwrap(), open(&format!("unix:{}", path.display())).unwrap())
        };
        let mut programs: Vec<(&Listener, Box<dyn ReadWrite>)> = vec![
            (&tcp, Box::new(std::net::TcpStream::connect(tcp.at()).unwrap())),
            (&unix, Box::new(std::os::unix::net::UnixStream::connect(&path).unwrap())),
        ];
        for (listener, program) in &mut programs {
            program.write_all(b"hello").unwrap();
            runtime.block_on(async {
                let (stream, from) = listener.accept().await.unwrap();
                assert_eq!(from.is_some(), matches!(stream, Stream::Tcp(_)));
                let mut heard = [0; 4];
                stream.readable().await.unwrap();
                assert_eq!(stream.read(&mut heard).unwrap(), Some(4));
                stream.writable().await.unwrap();
                assert_eq!(stream.write(b"bye").unwrap(), Some(3));
                stream.close();
            });
            let mut said = String::new();
            program.read_to_string(&mut said).unwrap();
            assert_eq!(said, "bye");
        }
    }

    trait ReadWrite: Read + Write {}
    impl<T: Read + Write> ReadWrite for T {}
}
