//! What a firewall leads to us that was meant for others: where to, by what the system knows of it.
//!
//! Two questions to the system and no more; which connections are asked about, `listener.rs` says,
//! which calls this. Spec: none; nft(8), "REDIRECT STATEMENT", "TPROXY STATEMENT"; ip(7),
//! `IP_TRANSPARENT`. C tor: `destination_from_socket` in core/or/connection_edge.c,
//! `connection_listener_new`.
//! Differs: here nothing is listened to that may not take what is addressed to others; C tor warns,
//! and gets nothing.

use core::net::SocketAddr;
use std::io;

use socket2::Socket;

/// Has a socket at that address take what is routed to it, whoever it is addressed to.
#[cfg(target_os = "linux")]
pub fn take_all(socket: &Socket, at: SocketAddr) -> io::Result<()> {
    // Whoever has become another user may not ask for it again, and need not.
    match at {
        SocketAddr::V4(_) if socket.ip_transparent_v4()? => Ok(()),
        SocketAddr::V6(_) if socket.ip_transparent_v6()? => Ok(()),
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true),
    }
}

/// Where a connection was going before its address was changed for that one of ours.
#[cfg(target_os = "linux")]
pub fn destination(socket: &Socket, at: SocketAddr) -> io::Result<SocketAddr> {
    let address = match at {
        SocketAddr::V4(_) => socket.original_dst_v4()?,
        SocketAddr::V6(_) => socket.original_dst_v6()?,
    };
    address.as_socket().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Only Linux has it.
#[cfg(not(target_os = "linux"))]
pub fn take_all(_: &Socket, _: SocketAddr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Only Linux knows it.
#[cfg(not(target_os = "linux"))]
pub fn destination(_: &Socket, _: SocketAddr) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}
