//! Sends packets whose IP header the caller has written, with the server's own address and port as
//! their source: a socket of our own could not have the PBX's port.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto,
        socket,
    },
};

use crate::Error;

/// Raw sockets that only send: of their protocol number nothing ever comes in.
#[derive(Debug)]
pub struct RawSender {
    ipv4: OwnedFd,
    /// None on a machine without IPv6.
    ipv6: Option<OwnedFd>,
}

impl RawSender {
    /// Opens them in this network namespace.
    ///
    /// # Errors
    /// [`Error::Raw`]: no permission (CAP_NET_RAW).
    pub fn open() -> Result<Self, Error> {
        let open = |family| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            // With this protocol the kernel takes the packet with its header, in IPv6, too.
            socket(family, SockType::Raw, flags, SockProtocol::Raw)
        };
        let ipv6 = match open(AddressFamily::Inet6) {
            Ok(socket) => Some(socket),
            Err(Errno::EAFNOSUPPORT) => None,
            Err(error) => return Err(Error::Raw(error.into())),
        };
        Ok(Self {
            ipv4: open(AddressFamily::Inet).map_err(|error| Error::Raw(error.into()))?,
            ipv6,
        })
    }

    /// Sends a packet, its IP header included, by the route to its destination. Does not wait.
    ///
    /// # Errors
    /// What the kernel says: no route, a broadcast address (EACCES), longer than the MTU, a full
    /// buffer.
    pub fn send(&self, packet: &[u8], destination: IpAddr) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT;
        match destination {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                let to = SockaddrIn::new(a, b, c, d, 0);
                sendto(self.ipv4.as_raw_fd(), packet, &to, flags)?;
            }
            IpAddr::V6(address) => {
                let socket = self.ipv6.as_ref().ok_or(Errno::EAFNOSUPPORT)?;
                // A raw socket takes the port for a protocol number, and 0 for its own.
                let to = SockaddrIn6::from(std::net::SocketAddrV6::new(address, 0, 0, 0));
                sendto(socket.as_raw_fd(), packet, &to, flags)?;
            }
        }
        Ok(())
    }
}
