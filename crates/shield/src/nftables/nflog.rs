//! Packets that a rule logs, from the kernel to us (`nfnetlink_log`).

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd},
};

use super::netlink::{Attributes, Message, Socket, ULOG, UNSPECIFIED};

const PACKET: u8 = 0;
const CONFIG: u8 = 1;
const CONFIG_COMMAND: u16 = 1;
const CONFIG_MODE: u16 = 2;
const CONFIG_FLAGS: u16 = 6;
const BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
/// Packets are numbered, so that lost ones are missed.
const NUMBERED: u16 = 1;
const PACKET_HEADER: u16 = 1;
const PACKET_TIMESTAMP: u16 = 3;
const PACKET_PAYLOAD: u16 = 9;
const PACKET_PREFIX: u16 = 10;
const PACKET_NUMBER: u16 = 12;
/// The longest packet there is.
const WHOLE: u32 = 0xffff;
/// The hook in which packets leave.
const POSTROUTING: u8 = 4;
/// Bytes of packets that may wait, as the kernel counts them: some 7,000 SIP messages.
const WAITING: usize = 16 << 20;

/// A packet that was logged, from its IP header on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The prefix of the rule.
    pub prefix: String,
    /// The EtherType of the packet.
    pub protocol: u16,
    /// Whether it left the machine.
    pub is_outgoing: bool,
    /// When it came, in nanoseconds of UNIX time; what goes out has no time.
    pub at: Option<u64>,
    /// The packet.
    pub bytes: Vec<u8>,
}

/// Who listens to a log group. The kernel has one listener for each.
pub struct Listener {
    socket: Socket,
    waiting: VecDeque<Logged>,
    next: Option<u32>,
    /// Packets that found no room, as far as a later one has shown.
    pub lost: u64,
}

impl Listener {
    /// Listens to a group of this network namespace.
    ///
    /// # Errors
    /// EBUSY where somebody else does; EPERM; a kernel without `nfnetlink_log`.
    pub fn open(group: u16) -> io::Result<Self> {
        let mut socket = Socket::open()?;
        socket.set_waiting(WAITING)?;
        let mut bind = Message::new(ULOG, CONFIG, UNSPECIFIED, group);
        bind.put(CONFIG_COMMAND, &[BIND]);
        socket.order(bind)?;
        let mut mode = Message::new(ULOG, CONFIG, UNSPECIFIED, group);
        let [a, b, c, d] = WHOLE.to_be_bytes();
        mode.put(CONFIG_MODE, &[a, b, c, d, COPY_PACKET, 0]);
        mode.put(CONFIG_FLAGS, &NUMBERED.to_be_bytes());
        socket.order(mode)?;
        Ok(Self {
            socket,
            waiting: VecDeque::new(),
            next: None,
            lost: 0,
        })
    }

    /// The next packet, without taking it.
    pub fn peek(&mut self) -> Option<&Logged> {
        if self.waiting.is_empty() {
            self.receive();
        }
        self.waiting.front()
    }

    /// Takes the next packet.
    pub fn next(&mut self) -> Option<Logged> {
        self.peek()?;
        self.waiting.pop_front()
    }

    /// Takes what one system call gives. That some were lost, the kernel says once by an error, and
    /// their number shows in the next packet's.
    fn receive(&mut self) {
        let Self {
            socket,
            waiting,
            next,
            lost,
        } = self;
        let mut sink = |message: &super::netlink::Received<'_>| {
            if !message.is(ULOG, PACKET) {
                return;
            }
            let attributes = message.attributes();
            if let Some(number) = attributes.small_number(PACKET_NUMBER) {
                let missed = next.map_or(0, |next: u32| number.wrapping_sub(next));
                *lost += u64::from(missed);
                *next = Some(number.wrapping_add(1));
            }
            waiting.extend(read(attributes));
        };
        let overrun = |error: &io::Error| error.raw_os_error() == Some(libc::ENOBUFS);
        while socket.take(&mut sink).is_err_and(|error| overrun(&error)) {}
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn read(attributes: Attributes<'_>) -> Option<Logged> {
    let [high, low, hook, ..] = *attributes.of(PACKET_HEADER)? else {
        return None;
    };
    Some(Logged {
        prefix: attributes
            .name(PACKET_PREFIX)
            .unwrap_or_default()
            .to_owned(),
        protocol: u16::from_be_bytes([high, low]),
        is_outgoing: hook == POSTROUTING,
        at: attributes.of(PACKET_TIMESTAMP).and_then(nanoseconds),
        bytes: attributes.of(PACKET_PAYLOAD)?.to_vec(),
    })
}

/// Seconds and microseconds.
fn nanoseconds(bytes: &[u8]) -> Option<u64> {
    let (seconds, micros) = bytes.split_at_checked(8)?;
    let seconds = u64::from_be_bytes(seconds.try_into().ok()?);
    let micros = u64::from_be_bytes(micros.try_into().ok()?);
    Some(seconds * 1_000_000_000 + micros * 1_000)
}
