//! Whole Ethernet frames onto an interface: what no ordinary socket would send.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::namespace::Namespace;

/// A packet socket on one interface.
#[derive(Debug)]
pub struct Injector {
    socket: OwnedFd,
    index: i32,
}

impl Injector {
    /// Opens the interface of that namespace for sending.
    ///
    /// # Errors
    /// If there is no such interface.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        namespace.enter(|| {
            let index = if_nametoindex(interface)
                .with_context(|| format!("no interface {interface} in {}", namespace.name()))?;
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
            Ok(Self {
                socket,
                index: i32::try_from(index)?,
            })
        })
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// If it is longer than the interface's MTU or the interface is down.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = send_to_interface(self.socket.as_raw_fd(), self.index, frame);
        sent.with_context(|| format!("sending a frame of {} bytes", frame.len()))
    }
}

#[expect(unsafe_code, reason = "no safe wrapper builds a link-layer address")]
fn send_to_interface(socket: i32, index: i32, frame: &[u8]) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0; 8],
    };
    // SAFETY: both pointers are to live values of the lengths given, and sendto only reads them.
    let sent = unsafe {
        libc::sendto(
            socket,
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
