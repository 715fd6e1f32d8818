//! TCP connections whose segments are as small as the test says.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::namespace::Namespace;
use crate::process::wait_until;

/// An open connection.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
}

impl Stream {
    /// Connects from an address and port of the namespace.
    ///
    /// # Errors
    /// If the address is not the namespace's, or nobody has answered after `timeout`.
    pub fn connect(
        namespace: &Namespace,
        source: SocketAddr,
        destination: SocketAddr,
        timeout: Duration,
    ) -> Result<Self> {
        let family = if source.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let socket = namespace.enter(|| -> Result<_> {
            let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            setsockopt(&socket, sockopt::ReuseAddr, &true)?;
            let seconds = i64::try_from(timeout.as_secs())?;
            let limit = TimeVal::new(seconds, i64::from(timeout.subsec_micros()));
            setsockopt(&socket, sockopt::SendTimeout, &limit)?;
            bind(socket.as_raw_fd(), &SockaddrStorage::from(source))?;
            connect(socket.as_raw_fd(), &SockaddrStorage::from(destination))
                .with_context(|| format!("connecting from {source} to {destination}"))?;
            Ok(socket)
        })?;
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        Ok(Self { socket })
    }

    /// Sends each piece as a segment of its own: the next leaves only when the other side's
    /// kernel has acknowledged the one before. Returns how many were acknowledged; it stops at
    /// the first that is not within `timeout`.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn send(&mut self, segments: &[Vec<u8>], timeout: Duration) -> Result<usize> {
        for (sent, segment) in segments.iter().enumerate() {
            self.socket.write_all(segment)?;
            let acknowledged = || unacknowledged(&self.socket).is_ok_and(|bytes| bytes == 0);
            if wait_until("an acknowledgement", timeout, acknowledged).is_err() {
                return Ok(sent);
            }
        }
        Ok(segments.len())
    }

    /// The connection as the standard library has it, for reading answers.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

/// Bytes that were written and not yet acknowledged (`SIOCOUTQ`, tcp(7)).
#[expect(unsafe_code, reason = "no safe wrapper for this ioctl")]
fn unacknowledged(socket: &TcpStream) -> io::Result<libc::c_int> {
    let mut bytes = 0;
    // SAFETY: for a socket this ioctl writes one int, and `bytes` is one that outlives the call.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(bytes)
}
