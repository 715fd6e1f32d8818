//! Frames taken from the socket, some at a time in one system call.

use std::{
    io,
    mem::{self, MaybeUninit},
    os::fd::{AsRawFd as _, OwnedFd},
    ptr,
};

/// Bytes of the longest frame, a super-packet of 65,535 bytes behind an Ethernet header.
const LONGEST: usize = 68 << 10;
/// Frames in one call. Under load a call costs more than a frame does; without any there is one.
const FRAMES: usize = 32;
/// Bytes for what comes with a frame: its time, and what the kernel says of it.
const CONTROL: usize = 128;

/// The frames of one call, oldest first.
pub struct Batch {
    bytes: Box<[u8]>,
    controls: Box<[Control]>,
    frames: [Received; FRAMES],
    taken: usize,
    filled: usize,
}

/// One frame.
#[derive(Clone, Copy, Default)]
pub struct Received {
    /// Nanoseconds of UNIX time.
    pub at: u64,
    /// It left the machine.
    pub is_outgoing: bool,
    /// Its length on the wire.
    pub length: usize,
    /// The VLAN tag that is not in the frame.
    pub vlan: Option<u16>,
}

/// Control messages are aligned to words.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

impl Batch {
    pub fn new() -> Self {
        Self {
            bytes: vec![0; FRAMES * LONGEST].into_boxed_slice(),
            controls: vec![Control([0; CONTROL]); FRAMES].into_boxed_slice(),
            frames: [Received::default(); FRAMES],
            taken: 0,
            filled: 0,
        }
    }

    /// The next frame; asks the socket where none is left here. An error is as good as none: what
    /// ails the socket, its statistics say.
    pub fn peek(&mut self, socket: &OwnedFd) -> Option<&Received> {
        if self.taken == self.filled {
            self.taken = 0;
            self.filled = self.receive(socket).unwrap_or(0);
        }
        self.frames
            .get(self.taken)
            .filter(|_| self.taken < self.filled)
    }

    /// Takes the frame that [`Self::peek`] has shown, and its bytes, as far as they found room.
    pub fn take(&mut self) -> Option<(Received, &[u8])> {
        let number = self.taken;
        let frame = *self.frames.get(number).filter(|_| number < self.filled)?;
        self.taken += 1;
        let start = number * LONGEST;
        let bytes = self.bytes.get(start..start + frame.length.min(LONGEST))?;
        Some((frame, bytes))
    }

    fn receive(&mut self, socket: &OwnedFd) -> io::Result<usize> {
        // SAFETY: these are plain structs of the kernel's, for which zeroes are "nothing".
        let mut messages: [libc::mmsghdr; FRAMES] = unsafe { mem::zeroed() };
        // SAFETY: the same.
        let mut addresses: [libc::sockaddr_ll; FRAMES] = unsafe { mem::zeroed() };
        // SAFETY: the same.
        let mut slices: [libc::iovec; FRAMES] = unsafe { mem::zeroed() };
        let buffers = self.bytes.chunks_exact_mut(LONGEST);
        for ((((message, address), slice), buffer), control) in messages
            .iter_mut()
            .zip(&mut addresses)
            .zip(&mut slices)
            .zip(buffers)
            .zip(&mut self.controls)
        {
            slice.iov_base = buffer.as_mut_ptr().cast();
            slice.iov_len = LONGEST;
            let header = &mut message.msg_hdr;
            header.msg_iov = slice;
            header.msg_iovlen = 1;
            header.msg_name = ptr::from_mut(address).cast();
            header.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL;
        }
        // SAFETY: each message names buffers that live and are not touched through the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                FRAMES as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for ((frame, message), address) in self
            .frames
            .iter_mut()
            .zip(&messages)
            .zip(&addresses)
            .take(received)
        {
            *frame = Received {
                is_outgoing: address.sll_pkttype == libc::PACKET_OUTGOING,
                length: message.msg_len as usize,
                ..said_with(&message.msg_hdr)
            };
        }
        Ok(received)
    }
}

/// What the control messages say.
fn said_with(header: &libc::msghdr) -> Received {
    let mut frame = Received::default();
    // SAFETY: the kernel has filled in the header and the control messages that it names.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: the macro gives a whole header within the control buffer, or none.
        let control = unsafe { ptr::read_unaligned(next) };
        // SAFETY: the data begin behind the header.
        let data = unsafe { libc::CMSG_DATA(next) };
        match (control.cmsg_level, control.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                if let Some(time) = value::<libc::timespec>(&control, data) {
                    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
                    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
                    frame.at = seconds * 1_000_000_000 + nanoseconds;
                }
            }
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                if let Some(auxiliary) = value::<libc::tpacket_auxdata>(&control, data) {
                    frame.vlan = (auxiliary.tp_status & libc::TP_STATUS_VLAN_VALID != 0)
                        .then_some(auxiliary.tp_vlan_tci & 0xfff);
                }
            }
            (_, _) => {}
        }
        // SAFETY: as for the first one.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    frame
}

/// The value of a control message, if it is as long as one.
fn value<T: Plain>(control: &libc::cmsghdr, data: *const u8) -> Option<T> {
    let header = data_offset();
    (control.cmsg_len >= header + size_of::<T>()).then(|| {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: so many bytes are there, and any bytes are a value of a plain type.
        unsafe {
            ptr::copy_nonoverlapping(data, value.as_mut_ptr().cast(), size_of::<T>());
            value.assume_init()
        }
    })
}

const fn data_offset() -> usize {
    // SAFETY: it only calculates.
    unsafe { libc::CMSG_LEN(0) as usize }
}

/// Structs of integers only.
///
/// # Safety
/// Any bytes must be a value of the type.
unsafe trait Plain: Copy {}
// SAFETY: integers.
unsafe impl Plain for libc::timespec {}
// SAFETY: integers.
unsafe impl Plain for libc::tpacket_auxdata {}
