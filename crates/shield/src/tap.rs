//! The tap behind the shield: what went in and out at the protected ports of an interface.
//!
//! A packet that the XDP program drops, native or generic, is not seen here; what nftables or TC
//! would drop is (measured on Linux 6.18).
//!
//! - Checksums are not filled in where a device offloads them: never check them.
//! - A frame may be a super-packet of 64 kB, put together or not yet cut by the device.
//! - The outermost VLAN tag of what comes in is not in the frame, for the kernel or the device
//!   takes it out; of what goes out it may be. [`TapFrame::vlan`] has it in the first case.
//! - IP fragments come as they are.

mod batch;
mod filter;
mod socket;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use self::batch::Batch;
use crate::{Error, sys};

/// The ports whose packets are seen, from or to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TapPorts {
    /// UDP ports.
    pub udp: Vec<u16>,
    /// TCP ports.
    pub tcp: Vec<u16>,
    /// TCP ports of which only the opening and the closing of connections is seen: from them SYN,
    /// FIN and RST, and whatever goes to them, the first 256 bytes of each.
    pub handshakes: Vec<u16>,
}

/// Which way a frame went at the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Into the machine, or past it.
    In,
    /// Out of the machine.
    Out,
}

/// A frame as the tap saw it, from the Ethernet header on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapFrame<'a> {
    /// The frame.
    pub bytes: &'a [u8],
    /// When it was seen, in nanoseconds of UNIX time.
    pub at: u64,
    /// Which way it went.
    pub direction: Direction,
    /// It was longer than what is here.
    pub is_cut: bool,
    /// The identifier of the outermost VLAN tag, where the device or the kernel took it out.
    pub vlan: Option<u16>,
}

/// What a tap counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapStatistics {
    /// Frames that concerned it.
    pub frames: u64,
    /// Of these, those that were lost because nobody took the ones before in time.
    pub lost: u64,
}

/// A tap on one interface. Its descriptor becomes readable with each frame; what is taken from it
/// at once may be more than one frame, so [`Self::next_frame`] has to be asked until it has none.
pub struct Tap {
    interface: String,
    ifindex: u32,
    socket: OwnedFd,
    batch: Batch,
    statistics: TapStatistics,
}

/// What comes through the shield and what goes out, frame by frame. Its descriptor becomes readable
/// with each frame; [`Self::next_frame`] has to be asked until it has none.
pub trait Frames: AsFd {
    /// The interface, or the interfaces.
    fn interface(&self) -> &str;

    /// Takes hold again of what it has lost: its interface, its rules. Returns whether there was
    /// anything to mend; the descriptor may be another then, and the statistics begin anew.
    ///
    /// # Errors
    /// It cannot, for now.
    fn mend(&mut self, ports: &TapPorts) -> Result<bool, Error>;

    /// Sees other ports from now on; frames that wait are still given.
    ///
    /// # Errors
    /// Too many ports; it then goes on as it was.
    fn set_ports(&mut self, ports: &TapPorts) -> Result<(), Error>;

    /// When the frame was seen that [`Self::next_frame`] gives next, in nanoseconds of UNIX time.
    fn next_at(&mut self) -> Option<u64>;

    /// The next frame that waits, oldest first; none where none waits.
    fn next_frame(&mut self) -> Option<TapFrame<'_>>;

    /// What was counted so far.
    ///
    /// # Errors
    /// What the kernel says.
    fn statistics(&mut self) -> Result<TapStatistics, Error>;
}

impl Tap {
    /// Opens a tap on an interface of this network namespace. It stays with the interface until
    /// that goes away, however it is called then.
    ///
    /// # Errors
    /// No such interface, or none of Ethernet; too many ports; no permission (CAP_NET_RAW).
    pub fn open(interface: &str, ports: &TapPorts) -> Result<Self, Error> {
        Self::open_for(interface, interface, ports)
    }

    /// The same where the interface that is meant by a name is called otherwise now: whoever bears
    /// that name later takes its place, see [`Self::is_severed`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_for(interface: &str, called: &str, ports: &TapPorts) -> Result<Self, Error> {
        let ifindex = sys::interface_index(called)
            .map_err(Error::Interfaces)?
            .ok_or_else(|| Error::NoInterface(called.to_owned()))?;
        let program = filter::program(ports)?;
        let open = || {
            let socket = socket::packet()?;
            socket::filter(&socket, &program)?;
            if !socket::bind(&socket, ifindex)? {
                return Err(io::Error::other("its frames are not Ethernet's"));
            }
            Ok(socket)
        };
        let socket = open().map_err(|source| Error::Tap {
            interface: interface.to_owned(),
            source,
        })?;
        Ok(Self {
            interface: interface.to_owned(),
            ifindex,
            socket,
            batch: Batch::new(),
            statistics: TapStatistics::default(),
        })
    }

    /// Whether another interface has its name now, or none: then this tap sees nothing of it.
    #[must_use]
    pub fn is_severed(&self) -> bool {
        sys::interface_index(&self.interface).is_ok_and(|index| index != Some(self.ifindex))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Tap {
            interface: self.interface.clone(),
            source,
        }
    }
}

impl Frames for Tap {
    fn interface(&self) -> &str {
        &self.interface
    }

    fn mend(&mut self, ports: &TapPorts) -> Result<bool, Error> {
        if !self.is_severed() {
            return Ok(false);
        }
        *self = Self::open(&self.interface, ports)?;
        Ok(true)
    }

    fn set_ports(&mut self, ports: &TapPorts) -> Result<(), Error> {
        let program = filter::program(ports)?;
        socket::filter(&self.socket, &program).map_err(|source| self.failed(source))
    }

    fn next_at(&mut self) -> Option<u64> {
        self.batch.peek(&self.socket).map(|frame| frame.at)
    }

    fn next_frame(&mut self) -> Option<TapFrame<'_>> {
        self.batch.peek(&self.socket)?;
        let (frame, bytes) = self.batch.take()?;
        Some(TapFrame {
            bytes,
            at: frame.at,
            direction: if frame.is_outgoing {
                Direction::Out
            } else {
                Direction::In
            },
            is_cut: bytes.len() < frame.length,
            vlan: frame.vlan,
        })
    }

    fn statistics(&mut self) -> Result<TapStatistics, Error> {
        let (frames, lost) =
            socket::statistics(&self.socket).map_err(|source| self.failed(source))?;
        self.statistics.frames += u64::from(frames);
        self.statistics.lost += u64::from(lost);
        Ok(self.statistics)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
