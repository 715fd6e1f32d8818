//! Netlink of netfilter, as far as the elements of sets, counters and logged packets need it. What
//! is text, tables and rules, goes through `nft`: see docs/decisions/005.
//!
//! `nft` itself takes 2.3 s to list a set of 100,000 elements and 1.7 s to look one up, since it
//! reads all of them first (nft 1.0.6); asked over netlink, the kernel does the first in 0.1 s and
//! the second in microseconds.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
        setsockopt, socket, sockopt,
    },
};

/// The family of netfilter's tables for IPv4 and IPv6 together.
pub const INET: u8 = 1;
/// No family.
pub const UNSPECIFIED: u8 = 0;
/// `NFNL_SUBSYS_NFTABLES`
pub const NFTABLES: u8 = 10;
/// `NFNL_SUBSYS_ULOG`
pub const ULOG: u8 = 4;

const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
/// A dump was overtaken by a change.
const INTERRUPTED: u16 = 0x10;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NESTED: u16 = 0x8000;
const KIND: u16 = 0x3fff;
/// `struct nlmsghdr` and the `struct nfgenmsg` behind it.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
/// More than the kernel puts into one answer, and than a logged packet takes.
const BUFFER: usize = 128 << 10;
/// For an order of 100,000 elements in one go.
const SENDING: usize = 64 << 20;
/// How often a dump that is overtaken by changes is begun anew.
pub const DUMPS: usize = 8;

/// A message on its way to the kernel.
#[derive(Clone, Debug)]
pub struct Message(Vec<u8>);

impl Message {
    /// A message of a subsystem; `number` is a log group, or 0.
    pub fn new(subsystem: u8, kind: u8, family: u8, number: u16) -> Self {
        Self::of_type(u16::from(subsystem) << 8 | u16::from(kind), family, number)
    }

    fn of_type(message_type: u16, family: u8, number: u16) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&message_type.to_ne_bytes());
        bytes.extend([family, 0]);
        bytes.extend(number.to_be_bytes());
        Self(bytes)
    }

    /// Adds an attribute.
    pub fn put(&mut self, attribute: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(attribute.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// Adds a name, as C has it.
    pub fn put_name(&mut self, attribute: u16, name: &str) {
        self.put(attribute, &[name.as_bytes(), &[0]].concat());
    }

    /// Adds an attribute that has others in it; all of them within 64 kB.
    pub fn nest(&mut self, attribute: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend((attribute | NESTED).to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn seal(&mut self, flags: u16, sequence: u32) {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

/// A message from the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl<'a> Received<'a> {
    /// Its attributes.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes(self.body.get(FAMILY_HEADER..).unwrap_or_default())
    }

    /// Whether it is of this subsystem and kind.
    pub fn is(&self, subsystem: u8, kind: u8) -> bool {
        self.kind == u16::from(subsystem) << 8 | u16::from(kind)
    }

    /// What the kernel says of an order: done, or why not.
    fn verdict(&self) -> Option<io::Result<()>> {
        let code = || {
            let code = self.body.get(..4)?.try_into().ok()?;
            Some(i32::from_ne_bytes(code))
        };
        match self.kind {
            ERROR => Some(match code().unwrap_or(-libc::EPROTO) {
                0 => Ok(()),
                negative => Err(io::Error::from_raw_os_error(-negative)),
            }),
            _ => None,
        }
    }
}

/// Attributes in the order in which they came.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, kind) = (word(self.0, 0)?, word(self.0, 2)?);
        let length = usize::from(length);
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & KIND, value))
    }
}

impl<'a> Attributes<'a> {
    /// The first attribute of this kind.
    pub fn of(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(found, value)| (found == kind).then_some(value))
    }

    /// The attributes in the first attribute of this kind.
    pub fn within(self, kind: u16) -> Option<Self> {
        self.of(kind).map(Self)
    }

    /// A number of eight bytes, as netfilter writes it.
    pub fn number(self, kind: u16) -> Option<u64> {
        let bytes = self.of(kind)?.try_into().ok()?;
        Some(u64::from_be_bytes(bytes))
    }

    /// A number of four bytes.
    pub fn small_number(self, kind: u16) -> Option<u32> {
        let bytes = self.of(kind)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    /// A name without its final zero.
    pub fn name(self, kind: u16) -> Option<&'a str> {
        let bytes = self.of(kind)?;
        std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes)).ok()
    }
}

/// What a batch does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Makes what is not there.
    Create,
    /// Takes away what is there.
    Delete,
}

/// A socket of `NETLINK_NETFILTER`, in the network namespace of the thread that made it.
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one.
    pub fn open() -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self {
            fd,
            sequence: 0,
            buffer: vec![0; BUFFER],
        })
    }

    /// Has so many bytes wait at most.
    pub fn set_waiting(&self, bytes: usize) -> io::Result<()> {
        Ok(setsockopt(&self.fd, sockopt::RcvBufForce, &bytes)?)
    }

    /// Sends one order and waits until it is carried out.
    pub fn order(&mut self, mut message: Message) -> io::Result<()> {
        let sequence = self.next_sequence();
        message.seal(REQUEST | ACKNOWLEDGE, sequence);
        self.send(&message.0)?;
        self.await_verdict(sequence, sequence)
    }

    /// Carries out all of these or none.
    pub fn transact(&mut self, messages: Vec<(Change, Message)>) -> io::Result<()> {
        let first = self.next_sequence();
        let mut bytes = Vec::new();
        let mut begin = Message::of_type(BATCH_BEGIN, UNSPECIFIED, u16::from(NFTABLES));
        begin.seal(REQUEST, first);
        bytes.extend(begin.0);
        let mut last = first;
        let count = messages.len();
        for (number, (change, mut message)) in messages.into_iter().enumerate() {
            last = self.next_sequence();
            let create = match change {
                Change::Create => CREATE,
                Change::Delete => 0,
            };
            let acknowledge = if number + 1 == count { ACKNOWLEDGE } else { 0 };
            message.seal(REQUEST | create | acknowledge, last);
            bytes.extend(message.0);
        }
        if last == first {
            return Ok(());
        }
        let mut end = Message::of_type(BATCH_END, UNSPECIFIED, u16::from(NFTABLES));
        end.seal(REQUEST, self.next_sequence());
        bytes.extend(end.0);
        if bytes.len() > BUFFER {
            setsockopt(&self.fd, sockopt::SndBufForce, &SENDING)?;
        }
        self.send(&bytes)?;
        self.await_verdict(first, last)
    }

    /// Everything that answers a question, given to `sink` message by message. A dump that changes
    /// have overtaken begins anew: `sink` may then see something twice.
    ///
    /// # Errors
    /// The kernel refuses; or changes overtook it each time, and what `sink` saw may not be all.
    pub fn dump(
        &mut self,
        message: &Message,
        sink: &mut dyn FnMut(&Received<'_>),
    ) -> io::Result<()> {
        for _ in 0..DUMPS {
            if self.dump_once(message.clone(), sink)? {
                return Ok(());
            }
        }
        Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("the ruleset was changed while it was read, {DUMPS} times on end"),
        ))
    }

    /// One thing; none where there is none of that name.
    pub fn get<T>(
        &mut self,
        mut message: Message,
        read: impl FnOnce(&Received<'_>) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let sequence = self.next_sequence();
        message.seal(REQUEST, sequence);
        self.send(&message.0)?;
        let length = loop {
            let length = self.receive()?;
            let belongs = messages(&self.buffer[..length]).any(|found| found.sequence == sequence);
            if belongs {
                break length;
            }
        };
        let found = messages(&self.buffer[..length]).find(|found| found.sequence == sequence);
        match found.as_ref().and_then(Received::verdict) {
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Some(Err(error)) => Err(error),
            Some(Ok(())) => Ok(None),
            None => Ok(found.as_ref().and_then(read)),
        }
    }

    /// Gives the messages of one datagram to `sink`; false where none waits.
    pub fn take(&mut self, sink: &mut dyn FnMut(&Received<'_>)) -> io::Result<bool> {
        match self.receive_with(MsgFlags::MSG_DONTWAIT) {
            Ok(length) => {
                messages(&self.buffer[..length]).for_each(|message| sink(&message));
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What answers a question once. True where no change has overtaken the answer.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn dump_once(
        &mut self,
        mut message: Message,
        sink: &mut dyn FnMut(&Received<'_>),
    ) -> io::Result<bool> {
        let sequence = self.next_sequence();
        message.seal(REQUEST | DUMP, sequence);
        self.send(&message.0)?;
        let mut is_whole = true;
        loop {
            let length = self.receive()?;
            let belonging = |found: &Received<'_>| found.sequence == sequence;
            for found in messages(&self.buffer[..length]).filter(belonging) {
                is_whole &= found.flags & INTERRUPTED == 0;
                match found.verdict() {
                    Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
                    Some(Err(error)) => return Err(error),
                    Some(Ok(())) => return Ok(is_whole),
                    None if found.kind == DONE => return Ok(is_whole),
                    None => sink(&found),
                }
            }
        }
    }

    /// Waits for the word on the order of the number `last`, or that one from `first` on failed.
    fn await_verdict(&mut self, first: u32, last: u32) -> io::Result<()> {
        loop {
            let length = self.receive()?;
            let own = first..=last;
            for found in messages(&self.buffer[..length]) {
                match found.verdict().filter(|_| own.contains(&found.sequence)) {
                    Some(Err(error)) => return Err(error),
                    Some(Ok(())) if found.sequence == last => return Ok(()),
                    Some(Ok(())) | None => {}
                }
            }
        }
    }

    fn next_sequence(&mut self) -> u32 {
        // One that is 0 is the kernel's own; a logged packet has it.
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        self.sequence
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match send(self.fd.as_raw_fd(), bytes, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        self.receive_with(MsgFlags::empty())
    }

    fn receive_with(&mut self, flags: MsgFlags) -> io::Result<usize> {
        loop {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, flags) {
                Ok(length) => return Ok(length),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The messages of a datagram.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(double_word(bytes, 0)?).ok()?;
        let message = Received {
            kind: word(bytes, 4)?,
            flags: word(bytes, 6)?,
            sequence: double_word(bytes, 8)?,
            body: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn double_word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::{io, os::fd::OwnedFd, thread};

    use nix::sys::socket::MsgFlags;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, recv, send, socketpair};
    use std::os::fd::AsRawFd as _;

    use super::{BUFFER, DONE, DUMPS, INTERRUPTED, Message, NFTABLES, Socket, double_word};

    /// Asks a kernel for a dump that changes overtake so many times.
    fn dump_overtaken(times: usize) -> io::Result<()> {
        let (ours, kernels): (OwnedFd, OwnedFd) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        let kernel = thread::spawn(move || {
            let mut question = vec![0; BUFFER];
            for number in 0.. {
                let asked = recv(kernels.as_raw_fd(), &mut question, MsgFlags::empty());
                if asked.unwrap() == 0 {
                    return number;
                }
                let mut answer = Message::of_type(DONE, super::UNSPECIFIED, u16::from(NFTABLES));
                let flags = if number < times { INTERRUPTED } else { 0 };
                answer.seal(flags, double_word(&question, 8).unwrap());
                send(kernels.as_raw_fd(), &answer.0, MsgFlags::empty()).unwrap();
            }
            unreachable!("the loop has no end")
        });
        let mut socket = Socket {
            fd: ours,
            sequence: 0,
            buffer: vec![0; BUFFER],
        };
        let question = Message::of_type(DONE, super::UNSPECIFIED, u16::from(NFTABLES));
        let dumped = socket.dump(&question, &mut |_| {});
        drop(socket);
        assert_eq!(kernel.join().unwrap(), DUMPS.min(times + 1));
        dumped
    }

    #[test]
    fn a_dump_that_changes_overtake_each_time_is_not_taken_as_whole() {
        dump_overtaken(0).unwrap();
        dump_overtaken(DUMPS - 1).unwrap();
        let error = dump_overtaken(DUMPS).unwrap_err();
        assert!(error.to_string().contains("8 times on end"), "{error}");
    }
}
