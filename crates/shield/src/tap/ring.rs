//! The memory that a packet socket shares with the kernel: TPACKET_V3, blocks of frames that are
//! handed back and forth.

use std::{
    io, mem,
    os::fd::{AsRawFd as _, OwnedFd},
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU32, Ordering},
};

use super::socket;

/// Bytes of a block, which holds the longest frame of 65,535 bytes and its headers.
const BLOCK: usize = 128 << 10;
/// Blocks. Under any load at all one is filled every one or two milliseconds, so these bridge 128
/// of them, in 16 MB.
const BLOCKS: usize = 128;
/// Milliseconds after which a block is handed over that is not full. At the usual 10 a frame is
/// read 5 ms after it came, in the median; at 1 after 0.5 ms (measured on Linux 6.18).
const RETIRE_MS: u32 = 1;
/// What the kernel wants to know although TPACKET_V3 has frames of any length.
const NOMINAL_FRAME: usize = 2 << 10;

/// Where a block says whose it is.
const STATUS_AT: usize = mem::offset_of!(libc::tpacket_block_desc, hdr)
    + mem::offset_of!(libc::tpacket_hdr_v1, block_status);
/// Where a frame says which way it went: behind its header, aligned to 16 bytes.
const ADDRESS_AT: usize = size_of::<libc::tpacket3_hdr>().next_multiple_of(16);

/// The mapped ring.
pub struct Ring {
    start: NonNull<u8>,
}

// SAFETY: the memory is nobody else's in this process, and not bound to a thread.
unsafe impl Send for Ring {}

/// A frame's place in the ring.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Offset of its header in the ring.
    at: usize,
    /// Frames of the block from this one on.
    left: u32,
}

/// What stands before a frame.
pub struct Header {
    /// The kernel's header.
    pub kernel: libc::tpacket3_hdr,
    /// Interface, protocol and direction.
    pub address: libc::sockaddr_ll,
}

impl Ring {
    /// Gives the socket a ring.
    pub fn map(socket: &OwnedFd) -> io::Result<Self> {
        let version = libc::tpacket_versions::TPACKET_V3 as libc::c_int;
        socket::set(socket, libc::SOL_PACKET, libc::PACKET_VERSION, &version)?;
        let request = libc::tpacket_req3 {
            tp_block_size: number(BLOCK),
            tp_block_nr: number(BLOCKS),
            tp_frame_size: number(NOMINAL_FRAME),
            tp_frame_nr: number(BLOCKS * (BLOCK / NOMINAL_FRAME)),
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        socket::set(socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        // SAFETY: a new mapping of the ring's size, at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                BLOCK * BLOCKS,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast())
            .ok_or_else(|| io::Error::other("the kernel mapped the ring at address 0"))?;
        Ok(Self { start })
    }

    /// The block after this one.
    pub const fn after(block: usize) -> usize {
        (block + 1) % BLOCKS
    }

    /// The first frame of a block, if the kernel has handed it over.
    pub fn take(&self, block: usize) -> Option<Place> {
        let status = self.status(block).load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        let at = block * BLOCK;
        let descriptor: libc::tpacket_block_desc = self.read(at)?;
        // SAFETY: this is the union's only variant.
        let header = unsafe { descriptor.hdr.bh1 };
        Some(Place {
            at: at + index(header.offset_to_first_pkt),
            left: header.num_pkts,
        })
    }

    /// Hands a block back; nothing of it is read after.
    pub fn give_back(&mut self, block: usize) {
        self.status(block)
            .store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }

    /// What stands before the frame; none past the last one of its block.
    pub fn header(&self, place: Place) -> Option<Header> {
        (place.left > 0).then_some(())?;
        Some(Header {
            kernel: self.read(place.at)?,
            address: self.read(place.at + ADDRESS_AT)?,
        })
    }

    /// The frame itself, as far as it was copied.
    pub fn bytes(&self, place: Place, header: &Header) -> Option<&[u8]> {
        let at = place.at + usize::from(header.kernel.tp_mac);
        let length = index(header.kernel.tp_snaplen);
        Self::within(at, length)?;
        // SAFETY: the bytes are within the mapping, and the kernel leaves them alone until
        // their block is given back, which takes `&mut self`.
        Some(unsafe { slice::from_raw_parts(self.start.as_ptr().add(at), length) })
    }

    /// The frame behind this one.
    pub fn next(place: Place, header: &Header) -> Place {
        Place {
            at: place.at + index(header.kernel.tp_next_offset),
            left: place.left - 1,
        }
    }

    fn status(&self, block: usize) -> &AtomicU32 {
        let at = (block % BLOCKS) * BLOCK + STATUS_AT;
        // SAFETY: within the mapping, aligned to 4 bytes, and only ever accessed atomically
        // while it can change.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(at).cast()) }
    }

    fn read<T: Plain>(&self, at: usize) -> Option<T> {
        Self::within(at, size_of::<T>())?;
        // SAFETY: within the mapping; any bytes are a value of a plain type.
        Some(unsafe { ptr::read_unaligned(self.start.as_ptr().add(at).cast()) })
    }

    fn within(at: usize, length: usize) -> Option<()> {
        (at.checked_add(length)? <= BLOCK * BLOCKS).then_some(())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: this mapping is ours, and no slice of it outlives self.
        unsafe { libc::munmap(self.start.as_ptr().cast(), BLOCK * BLOCKS) };
    }
}

/// Structs of integers only.
///
/// # Safety
/// Any bytes must be a value of the type.
unsafe trait Plain: Copy {}
// SAFETY: integers.
unsafe impl Plain for libc::tpacket_block_desc {}
// SAFETY: integers.
unsafe impl Plain for libc::tpacket3_hdr {}
// SAFETY: integers.
unsafe impl Plain for libc::sockaddr_ll {}

fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX / 2)
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
