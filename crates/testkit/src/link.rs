//! Whole Ethernet frames, sent and received: what no ordinary socket would do, and a cable as
//! long as a test wants it.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockType, recv, send, sendmmsg, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::namespace::Namespace;

/// How long a reader may sleep before it looks whether it is still wanted.
const READ_TIMEOUT: TimeVal = TimeVal::new(0, 50_000);

/// The longest frame there is: a TCP super-packet between namespaces.
const LONGEST_FRAME: usize = 65_536 + 18;

/// A packet socket on one interface, for sending.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

impl PacketSocket {
    /// Opens the interface of that namespace.
    ///
    /// # Errors
    /// If there is no such interface.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        // Protocol 0 receives nothing, so nothing piles up.
        Self::bind(namespace, interface, 0)
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// If it is longer than the interface's MTU or the interface is down.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty())
            .with_context(|| format!("sending a frame of {} bytes", frame.len()))?;
        Ok(())
    }

    /// Sends these frames in one call; how many left. A full queue takes none, as on any wire.
    ///
    /// # Errors
    /// As [`PacketSocket::send`].
    pub fn send_all(&self, frames: &[Vec<u8>]) -> Result<u64> {
        let slices: Vec<[IoSlice<'_>; 1]> =
            frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
        let mut headers = MultiHeaders::<()>::preallocate(frames.len(), None);
        let sent = sendmmsg(
            self.socket.as_raw_fd(),
            &mut headers,
            &slices,
            vec![None; frames.len()],
            [],
            MsgFlags::empty(),
        );
        match sent {
            Ok(sent) => Ok(sent.count() as u64),
            Err(Errno::ENOBUFS) => Ok(0),
            Err(error) => Err(error).context("sending frames"),
        }
    }

    fn bind(namespace: &Namespace, interface: &str, protocol: libc::c_int) -> Result<Self> {
        namespace.enter(|| {
            let index = if_nametoindex(interface)
                .with_context(|| format!("no interface {interface} in {}", namespace.name()))?;
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
            bind_to_interface(&socket, i32::try_from(index)?, protocol)?;
            Ok(Self { socket })
        })
    }
}

/// How long a cable is, so to speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delay {
    /// From one end to the other and back, at least.
    pub round_trip: Duration,
    /// Each frame takes up to this much longer on its way; the order stays.
    pub jitter: Duration,
}

/// A cable between two interfaces of one namespace: what comes in at one end leaves at the other
/// after a delay, both ways. Not every kernel has netem, which would do the same.
#[derive(Debug)]
pub struct Cable {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Cable {
    /// Lays it. The senders at both far ends must compute their checksums themselves
    /// ([`Namespace::offload`] `tx` off): a frame is passed on as it is.
    ///
    /// # Errors
    /// If there are no such interfaces.
    pub fn lay(namespace: &Namespace, ends: [&str; 2], delay: Delay) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut cable = Self {
            stop,
            threads: Vec::new(),
        };
        for [from, to] in [ends, [ends[1], ends[0]]] {
            let input = PacketSocket::bind(namespace, from, libc::ETH_P_ALL)?;
            setsockopt(&input.socket, sockopt::ReceiveTimeout, &READ_TIMEOUT)?;
            setsockopt(&input.socket, sockopt::RcvBufForce, &(16 << 20))?;
            let output = PacketSocket::open(namespace, to)?;
            let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
            let stop = Arc::clone(&cable.stop);
            cable.threads.push(std::thread::spawn(move || {
                let mut buffer = vec![0; LONGEST_FRAME];
                let mut frames = 0;
                while !stop.load(Ordering::Relaxed) {
                    match recv(input.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                        Ok(length) => {
                            frames += 1;
                            let due = Instant::now() + delay.one_way(frames);
                            if sender.send((due, buffer[..length].to_vec())).is_err() {
                                return;
                            }
                        }
                        Err(Errno::EAGAIN | Errno::EINTR) => {}
                        // The interface went away: the end of a test.
                        Err(_) => return,
                    }
                }
            }));
            cable.threads.push(std::thread::spawn(move || {
                for (due, frame) in receiver {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    // A frame that no longer fits is lost, as on any cable.
                    let _ = output.send(&frame);
                }
            }));
        }
        Ok(cable)
    }
}

impl Delay {
    /// For the frame of this number: anything between none and all of the jitter, and the same
    /// in every run. The cable keeps the order by itself, since a frame waits for the one before.
    fn one_way(self, frame: u32) -> Duration {
        // Steps of the golden ratio are spread evenly and never repeat.
        let share = (f64::from(frame) * 0.618_033_988_75).fract();
        self.round_trip / 2 + self.jitter.mul_f64(share)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[expect(unsafe_code, reason = "no safe wrapper builds a link-layer address")]
fn bind_to_interface(socket: &OwnedFd, index: i32, protocol: libc::c_int) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (protocol as u16).to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let ignore_outgoing: libc::c_int = 1;
    // SAFETY: both calls only read a live value of the length given.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            (&raw const ignore_outgoing).cast(),
            size_of_val(&ignore_outgoing) as libc::socklen_t,
        ) | libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
