//! Interfaces as the kernel has them now: they go, come back, change their names, and carry
//! programs of others.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
        socket,
    },
};

use crate::{nftables::netlink::Attributes, sys};

/// `RTMGRP_LINK`
const LINKS: u32 = 1;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const REQUEST: u16 = 1;
/// `struct nlmsghdr`, and the `struct ifinfomsg` behind it.
const HEADER: usize = 16;
const LINK_HEADER: usize = 16;
/// Where the latter has the kind of the hardware, and the index.
const HARDWARE: usize = 2;
const INDEX: usize = 4;
const MASTER: u16 = 10;
const XDP: u16 = 43;
/// `IFLA_XDP_PROG_ID`, then by mode: driver, stack, hardware. The first is there where there is one.
const XDP_PROGRAMS: [u16; 4] = [4, 5, 6, 7];
/// More than the kernel tells of a link that is asked for without its virtual functions.
const BUFFER: usize = 64 << 10;

/// Wakes when an interface of this network namespace has come, gone, or changed.
pub struct LinkWatch(OwnedFd);

impl LinkWatch {
    /// Watches from now on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open() -> io::Result<Self> {
        let fd = route_socket(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, LINKS)?;
        Ok(Self(fd))
    }

    /// Takes what was told: what changed does not matter, for whoever wakes looks himself.
    pub fn drain(&self) {
        let mut buffer = [0; 4096];
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                // That some found no room is as good as one more.
                Ok(_) | Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An interface that is to be guarded. The name counts; where nobody bears it any more, the
/// interface that did so last is meant as long as it is there, whatever it is called now.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub name: String,
    /// The index of the interface that bore the name last.
    bearer: Option<u32>,
}

/// An interface that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Present {
    pub index: u32,
    pub name: String,
}

impl Wanted {
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            bearer: None,
        }
    }

    /// Remembers of each who bears the name now. Who bore it is forgotten once he is gone, because his
    /// index may come back with another interface, and once he bears another one's name: from then on
    /// he is that one, whatever he is called later.
    pub fn look(all: &mut [Self]) -> io::Result<()> {
        let names: Vec<String> = all.iter().map(|wanted| wanted.name.clone()).collect();
        for wanted in all {
            wanted.bearer = match (sys::interface_index(&wanted.name)?, wanted.bearer) {
                (Some(index), _) => Some(index),
                (None, Some(before)) => sys::interface_name(before)?
                    .filter(|name| !names.contains(name))
                    .map(|_| before),
                (None, None) => None,
            };
        }
        Ok(())
    }

    /// An earlier start has guarded this interface for the name; it counts where nobody is known
    /// to bear that.
    pub fn was(&mut self, index: u32) {
        self.bearer.get_or_insert(index);
    }

    /// The interface that is meant, if it is there; `all` are those that are wanted together with
    /// it: who bears one's name now is that one.
    pub fn present(&self, all: &[Self]) -> io::Result<Option<Present>> {
        if let Some(index) = sys::interface_index(&self.name)? {
            let name = self.name.clone();
            return Ok(Some(Present { index, name }));
        }
        let Some(index) = self.bearer else {
            return Ok(None);
        };
        let name = sys::interface_name(index)?;
        let is_anothers = |name: &String| all.iter().any(|wanted| wanted.name == *name);
        let name = name.filter(|name| !is_anothers(name));
        Ok(name.map(|name| Present { index, name }))
    }
}

/// A name of an interface where dots and blanks cannot be: names of pins and of chains.
pub(crate) fn hexadecimal(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// What [`hexadecimal`] was made of.
pub(crate) fn from_hexadecimal(text: &str) -> Option<String> {
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    String::from_utf8(bytes?).ok()
}

/// What the kernel tells of a link.
pub(crate) struct Link {
    /// Whether its frames begin with an Ethernet header.
    pub is_ethernet: bool,
    /// The index of the interface that it is a port of: a bridge, a bond.
    pub master: Option<u32>,
    /// The ids of the XDP programs on it.
    pub programs: Vec<u32>,
}

impl Link {
    /// The kind and the name of what the interface of this index is a port of, where its packets come
    /// to rules as those of that.
    pub fn port_of(index: u32) -> Option<(&'static str, String)> {
        let master = sys::interface_name(Self::of(index).ok()?.master?).ok()??;
        let kind = match sys::driver(&master).ok()?.as_str() {
            "bridge" => "bridge",
            "bonding" => "bond",
            "team" => "team",
            // A VRF leaves its ports their packets.
            _ => return None,
        };
        Some((kind, master))
    }

    /// Asks for the link of this index.
    pub fn of(index: u32) -> io::Result<Self> {
        let socket = route_socket(SockFlag::SOCK_CLOEXEC, 0)?;
        let mut question = [0; HEADER + LINK_HEADER];
        let length = u32::try_from(question.len()).unwrap_or_default();
        question[0..4].copy_from_slice(&length.to_ne_bytes());
        question[4..6].copy_from_slice(&GET_LINK.to_ne_bytes());
        question[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
        question[HEADER + INDEX..][..4].copy_from_slice(&index.to_ne_bytes());
        send(socket.as_raw_fd(), &question, MsgFlags::empty())?;
        let mut buffer = vec![0; BUFFER];
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        Self::read(&buffer[..length]).ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }

    fn read(answer: &[u8]) -> Option<Self> {
        let half = |at: usize| Some(u16::from_ne_bytes(answer.get(at..at + 2)?.try_into().ok()?));
        if half(4)? != NEW_LINK {
            return None;
        }
        let attributes = Attributes(answer.get(HEADER + LINK_HEADER..)?);
        let number = |value: &[u8]| Some(u32::from_ne_bytes(value.try_into().ok()?));
        let mut programs: Vec<u32> = attributes
            .within(XDP)
            .into_iter()
            .flatten()
            .filter(|(kind, _)| XDP_PROGRAMS.contains(kind))
            .filter_map(|(_, value)| number(value))
            .collect();
        programs.sort_unstable();
        programs.dedup();
        Some(Self {
            is_ethernet: matches!(
                half(HEADER + HARDWARE)?,
                libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK
            ),
            master: attributes.of(MASTER).and_then(number),
            programs,
        })
    }
}

fn route_socket(flags: SockFlag, groups: u32) -> io::Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        flags,
        SockProtocol::NetlinkRoute,
    )?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(fd)
}
