//! The system calls of the tap.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
};

use super::filter::Instruction;

/// Half of the bytes of frames that may wait, as the kernel counts them: it doubles what it is
/// asked for. A frame of a SIP message takes up some 2,300, so 7,000 may wait.
const WAITING: libc::c_int = 8 << 20;

/// A packet socket that receives nothing before [`bind`].
pub fn packet() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers are passed.
    let socket = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just returned this descriptor, nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let on: libc::c_int = 1;
    set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &on)?;
    set(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &on)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &WAITING)?;
    Ok(socket)
}

/// Puts a filter on a socket, at once in the place of an earlier one.
pub fn filter(socket: &impl AsFd, program: &[Instruction]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(u16::MAX),
        // The kernel only reads it; an Instruction is a struct sock_filter.
        filter: program.as_ptr().cast_mut().cast(),
    };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Takes frames of every protocol that go in or out at this interface from now on. Answers
/// whether they are Ethernet's.
pub fn bind(socket: &OwnedFd, ifindex: u32) -> io::Result<bool> {
    let every_protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or_default();
    let mut address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
        sll_protocol: every_protocol.to_be(),
        sll_ifindex: ifindex.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let mut length = size_of_socklen::<libc::sockaddr_ll>();
    // SAFETY: the address is a sockaddr_ll of that length and lives through the call.
    let failed = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    let to = (&raw mut address).cast();
    // SAFETY: the kernel writes at most `length` bytes, which the address has.
    let failed = unsafe { libc::getsockname(socket.as_raw_fd(), to, &raw mut length) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(matches!(
        address.sll_hatype,
        libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK
    ))
}

/// Frames that the filter let pass, and those of them that found no room, since the last call.
pub fn statistics(socket: &OwnedFd) -> io::Result<(u32, u32)> {
    let mut statistics = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut length = size_of_socklen::<libc::tpacket_stats>();
    // SAFETY: the kernel writes at most `length` bytes, which the struct has.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((statistics.tp_packets, statistics.tp_drops))
}

/// Sets an option whose value is a plain struct of the kernel's.
pub fn set<T>(socket: &impl AsFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the value lives through the call, and the kernel reads no more than its size says.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of_socklen::<T>(),
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn size_of_socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default()
}
