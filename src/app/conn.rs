//! One relay's TCP and TLS, on a task of its own.
//!
//! Carries bytes between a socket and a link of the client, and knows none of them. How long a
//! dial may take is the client's to say: it hangs up. Wakes when the socket is ready or the
//! client has something to send, and never otherwise. Called by `driver.rs`. Spec: tor-spec,
//! "Negotiating and initializing channels", as far as TLS goes.

use core::cell::{Cell, RefCell};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io::{self, BufRead, Read, Write};
use std::rc::Rc;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection};
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;

use super::driver::Driver;
use super::runtime::SystemEntropy;
use crate::client::junction::LinkNo;
use crate::client::links::Way;
use crate::config::Links;
use crate::crypto::tls::{self, Provider};
use crate::link::frame::READ_LEN;
use crate::link::identity::LeafDigest;
use crate::proxy::outward::Outward;

/// How long a connection that we close may take to say so; ours.
const GOODBYE: Duration = Duration::from_secs(2);

/// How much of a proxy's answer is read at once; ours.
const ANSWER_LEN: usize = 1024;

/// How TLS is spoken to all relays, and by which sockets.
pub struct Dialler {
    config: Arc<ClientConfig>,
    sockets: Cell<Sockets>,
    /// Where a read goes before TLS takes it; one for all, since nothing waits meanwhile.
    scratch: RefCell<Vec<u8>>,
}

impl Dialler {
    /// With the fastest cryptography that this processor can run.
    pub fn new(provider: Provider) -> Dialler {
        let (config, scratch) = (tls::client_config(provider), RefCell::new(vec![0; READ_LEN]));
        Dialler { config, sockets: Cell::default(), scratch }
    }

    /// From now on sockets are as the user wants them.
    pub fn configure(&self, links: &Links) {
        self.sockets.set(Sockets { from: links.from, buffers: links.buffers });
    }

    async fn reach(&self, to: SocketAddr, way: Way) -> io::Result<(Channel, LeafDigest)> {
        let tcp = connect(to, way, self.sockets.get()).await?;
        tcp.set_nodelay(true)?;
        let name = tls::random_server_name(&mut SystemEntropy);
        let mut tls = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        // A link has its own bound on what waits, and TLS is emptied before it gets more.
        tls.set_buffer_limit(None);
        let mut channel = Channel { tcp, tls, early: Vec::new() };
        channel.handshake(&self.scratch).await?;
        let leaf = tls::peer_leaf(&channel.tls).map(LeafDigest::of);
        leaf.map(|leaf| (channel, leaf)).ok_or(io::ErrorKind::InvalidData.into())
    }
}

/// What sockets to relays are like.
#[derive(Clone, Copy, Default)]
struct Sockets {
    /// From which addresses they are dialled: of IPv4 and of IPv6.
    from: [Option<IpAddr>; 2],
    /// How small their buffers are.
    buffers: Option<u32>,
}

impl Sockets {
    /// TCP to there.
    async fn connect(self, to: SocketAddr) -> io::Result<TcpStream> {
        self.connect_from(self.source(to.ip()), to).await
    }

    async fn connect_from(self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(size) = self.buffers {
            // They are a wish, which the system may not grant.
            let _ = socket.set_send_buffer_size(size).and(socket.set_recv_buffer_size(size));
        }
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        socket.connect(to).await
    }

    /// C tor: whoever is on this machine is dialled from wherever.
    fn source(self, to: IpAddr) -> Option<IpAddr> {
        let mut all = self.from.into_iter().flatten().filter(|_| !to.is_loopback());
        all.find(|from| from.is_ipv4() == to.is_ipv4())
    }
}

/// TCP to a relay, by whoever connects for us, if anybody does.
async fn connect(to: SocketAddr, way: Way, sockets: Sockets) -> io::Result<TcpStream> {
    match way {
        Way::Proxy(proxy) => {
            let outward = Outward::new(&proxy, to).map_err(io::Error::other)?;
            let tcp = sockets.connect(proxy.at).await?;
            negotiate(&tcp, outward).await?;
            Ok(tcp)
        }
        _ => sockets.connect(to).await,
    }
}

/// Has the proxy connect. How long that may take is the client's to say, as with a dial.
async fn negotiate(tcp: &TcpStream, mut outward: Outward) -> io::Result<()> {
    let (mut bytes, mut unsent) = ([0; ANSWER_LEN], Vec::new());
    while !outward.is_connected() {
        unsent.append(&mut outward.take_transmit());
        let is_blocked = !unsent.is_empty();
        let ready = tcp.ready(if is_blocked { Interest::WRITABLE } else { Interest::READABLE }).await?;
        let moved = match is_blocked {
            true => tcp.try_write(&unsent).map(|length| drop(unsent.drain(..length))),
            false => tcp.try_read(&mut bytes).and_then(|length| match bytes.get(..length) {
                None | Some([]) => Err(io::ErrorKind::UnexpectedEof.into()),
                Some(answer) => outward.handle_bytes(answer).map_err(io::Error::other),
            }),
        };
        match moved {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !ready.is_error() => {}
            moved => moved?,
        }
    }
    Ok(())
}

/// How the task of a connection is told that something is to be done.
#[derive(Default)]
pub struct Bell {
    notify: Notify,
    is_over: Cell<bool>,
}

impl Bell {
    /// There is something to send.
    pub fn ring(&self) {
        self.notify.notify_one();
    }

    /// It is to close.
    pub fn hang_up(&self) {
        self.is_over.set(true);
        self.notify.notify_one();
    }

    async fn hung_up(&self) {
        while !self.is_over.get() {
            self.notify.notified().await;
        }
    }
}

/// The life of a connection, from its dial to its end.
pub async fn run(driver: Rc<Driver>, link: LinkNo, to: SocketAddr, way: Way, bell: Rc<Bell>) {
    let reached = tokio::select! {
        biased;
        () = bell.hung_up() => return,
        reached = driver.dialler().reach(to, way) => reached,
    };
    match reached {
        Ok((channel, leaf)) => {
            driver.on_dialled(link, leaf);
            carry(&driver, channel, link, &bell).await;
        }
        Err(error) => driver.on_closed(link, &error),
    }
}

/// Carries bytes both ways until either side closes.
async fn carry(driver: &Rc<Driver>, mut channel: Channel, link: LinkNo, bell: &Bell) {
    if !channel.early.is_empty() {
        let mut buffer = driver.begin_read(link);
        buffer.append(&mut channel.early);
        driver.on_read(link, buffer);
    }
    loop {
        if bell.is_over.get() {
            // Whoever hears nothing of it sees the connection close all the same.
            let _ = tokio::time::timeout(GOODBYE, channel.part()).await;
            return;
        }
        match turn(driver, &mut channel, link, bell).await {
            // A link that was hung up may be dialled again, and is not this one any more.
            Err(error) if !bell.is_over.get() => return driver.on_closed(link, &error),
            _ => {}
        }
    }
}

/// Writes what there is, waits, and reads once if there is something.
async fn turn(driver: &Rc<Driver>, channel: &mut Channel, link: LinkNo, bell: &Bell) -> io::Result<()> {
    let is_blocked = !send(driver, channel, link)?;
    let is_readable = tokio::select! {
        ready = channel.tcp.readable() => ready.map(|()| true)?,
        ready = channel.tcp.writable(), if is_blocked => ready.map(|()| false)?,
        () = bell.notify.notified() => false,
    };
    if is_readable && !bell.is_over.get() {
        let mut buffer = driver.begin_read(link);
        let held = buffer.len();
        let result = channel.fill(&driver.dialler().scratch, &mut buffer);
        // What came before the end still counts.
        if buffer.len() > held {
            driver.on_read(link, buffer);
        }
        result?;
        // A relay that always has more to say lets others have their turn.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Writes what the client has for a link, until there is nothing; false if TCP is full first.
fn send(driver: &Rc<Driver>, channel: &mut Channel, link: LinkNo) -> io::Result<bool> {
    loop {
        if !channel.flush()? {
            return Ok(false);
        }
        match driver.take_transmit(link) {
            Some(bytes) => channel.tls.writer().write_all(&bytes)?,
            None => return Ok(true),
        }
    }
}

/// TCP and TLS.
struct Channel {
    tcp: TcpStream,
    tls: ClientConnection,
    /// What came together with the end of the handshake.
    early: Vec<u8>,
}

impl Channel {
    async fn handshake(&mut self, scratch: &RefCell<Vec<u8>>) -> io::Result<()> {
        while self.tls.is_handshaking() || self.tls.wants_write() {
            if !self.flush()? {
                self.tcp.writable().await?;
            } else if self.tls.is_handshaking() {
                self.tcp.readable().await?;
                let mut early = core::mem::take(&mut self.early);
                let result = self.fill(scratch, &mut early);
                self.early = early;
                result?;
            }
        }
        Ok(())
    }

    /// Says goodbye.
    async fn part(&mut self) -> io::Result<()> {
        self.tls.send_close_notify();
        while !self.flush()? {
            self.tcp.writable().await?;
        }
        Ok(())
    }

    /// Writes what TLS has; false if TCP is full first.
    fn flush(&mut self) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Now(&self.tcp)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads what TCP has, once, and appends what TLS makes of it. The end is an error.
    fn fill(&mut self, scratch: &RefCell<Vec<u8>>, buffer: &mut Vec<u8>) -> io::Result<()> {
        let mut scratch = scratch.borrow_mut();
        let length = match self.tcp.try_read(&mut scratch) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut sealed = scratch.get(..length).unwrap_or_default();
        while !sealed.is_empty() {
            self.tls.read_tls(&mut sealed)?;
            let state =
                self.tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let (mut left, has_closed) = (state.plaintext_bytes_to_read(), state.peer_has_closed());
            while left > 0 {
                let mut reader = self.tls.reader();
                let text = reader.fill_buf()?;
                let taken = text.len();
                buffer.extend_from_slice(text);
                reader.consume(taken);
                left = left.saturating_sub(taken.max(1));
            }
            if has_closed {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

/// TCP as TLS reads and writes it: now, or not at all.
struct Now<'a>(&'a TcpStream);

impl Read for Now<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(out)
    }
}

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::runtime::executor;
    use super::*;
    use crate::config::{Config, Settings};

    fn sockets(text: &str) -> Sockets {
        let mut settings = Settings::new();
        settings.add_text("torrc", text).unwrap();
        let dialler = Dialler::new(Provider::best());
        dialler.configure(&Config::of(&settings).unwrap().0.links);
        dialler.sockets.get()
    }

    #[test]
    fn a_socket_is_bound_and_small_as_the_user_wants() {
        let from = |text: &str, to: &str| sockets(text).source(to.parse().unwrap()).map(|from| from.to_string());
        let both = "OutboundBindAddress 192.0.2.1\nOutboundBindAddress [2001:db8::1]\n";
        for (text, to, expected) in [
            ("", "198.51.100.1", None),
            (both, "198.51.100.1", Some("192.0.2.1")),
            (both, "2001:db8::9", Some("2001:db8::1")),
            (both, "127.0.0.1", None),
            ("OutboundBindAddress 192.0.2.1\n", "2001:db8::9", None),
            ("OutboundBindAddress 192.0.2.1\nOutboundBindAddressOR 192.0.2.2\n", "198.51.100.1", Some("192.0.2.2")),
        ] {
            assert_eq!(from(text, to).as_deref(), expected, "{text} {to}");
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let room = |text: &str| {
            let tcp = executor().unwrap().block_on(sockets(text).connect(to)).unwrap();
            socket2::SockRef::from(&tcp).send_buffer_size().unwrap()
        };
        let (usual, small) = (room(""), room("ConstrainedSockets 1\nConstrainedSockSize 4096\n"));
        assert!(small < usual && small <= 2 * 8192, "{small} {usual}");
        let from = IpAddr::from([127, 0, 0, 2]);
        let tcp = executor().unwrap().block_on(Sockets::default().connect_from(Some(from), to)).unwrap();
        assert_eq!(tcp.local_addr().unwrap().ip(), from);
    }
}
