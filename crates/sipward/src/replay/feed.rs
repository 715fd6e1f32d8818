//! Reads a file in a thread of its own and hands on what concerns a server, in batches whose memory
//! goes back and forth.

use std::{
    net::IpAddr,
    sync::mpsc::{Receiver, SyncSender},
};

use sipward_engine::Time;
use sipward_wire::{LinkType, Packet, Transport, ip::Ip};

use super::{
    lines::{self, Line, Seen},
    survey::{Input, Kind},
};
use crate::{
    config::Config,
    exit::Failure,
    pcap::{self, Recorded},
};

/// Bytes of a batch, about.
const BATCH: usize = 256 << 10;
/// Packets of a batch at most, those that concern nobody included, so that time goes on.
const PACKETS: u64 = 8_192;
/// Batches that may be on their way.
pub const BATCHES: usize = 4;

/// Packets in a row, as far as they concern a server, or lines, as far as they say something.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// What was read of the file for it.
    pub read: Read,
}

/// What was read of a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Read {
    /// Packets.
    pub packets: u64,
    /// Lines.
    pub lines: u64,
    /// Some of these lines had the form of a server's.
    pub is_log: bool,
    /// Bytes of the file up to here, unpacked.
    pub offset: u64,
    /// The earliest and the latest packet or line that says something.
    pub range: Option<(Time, Time)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u64,
    at: Option<Time>,
    end: usize,
    what: What,
}

/// A packet or a line of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Entered<'a> {
    /// Counted from 1 in its file.
    pub number: u64,
    /// When it was captured or written; none where the file does not say.
    pub at: Option<Time>,
    /// The captured bytes, or the line.
    pub bytes: &'a [u8],
    /// Which of the two.
    pub what: What,
}

/// What an entry is.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// A packet.
    Packet {
        /// How the bytes begin.
        link: LinkType,
        /// Whether the packet was longer than what was captured of it.
        is_cut: bool,
    },
    /// A line of a log.
    Line {
        /// Whether a stranger may have written it.
        is_doubtful: bool,
    },
}

/// Reads the file into batches until its end, or until nobody takes them.
///
/// # Errors
/// As [`pcap::read`] and [`lines::read`]; what was read before it is handed on.
pub fn read(
    input: Input,
    filter: &Filter,
    batches: &SyncSender<Batch>,
    empty: &Receiver<Batch>,
) -> Result<(), Failure> {
    let mut batch = Batch::default();
    let hand_on = |batch: &mut Batch| {
        let next = empty.try_recv().unwrap_or_default();
        let full = std::mem::replace(batch, next);
        batches
            .send(full)
            .map_err(|_| Failure::input("the replay has ended"))
    };
    let result = match input.kind {
        Kind::Capture => pcap::read(&input.path, |recorded| {
            batch.add(&recorded, filter);
            if batch.bytes.len() >= BATCH || batch.read.packets >= PACKETS {
                hand_on(&mut batch)?;
            }
            Ok(())
        }),
        Kind::Log(mut calendar) => {
            let mut before = 0;
            lines::read(&input.path, &mut calendar, |seen| {
                match seen {
                    Seen::Line(line) => batch.add_line(&line),
                    Seen::Part(part) => {
                        batch.read.lines += part.lines - before;
                        batch.read.is_log |= part.program.is_some();
                        batch.read.offset = part.bytes;
                        before = part.lines;
                    }
                }
                if batch.bytes.len() >= BATCH || matches!(seen, Seen::Part(_)) {
                    hand_on(&mut batch)?;
                }
                Ok(())
            })
        }
    };
    // Nobody takes it where the replay has ended; then there is nothing to tell.
    let _ = batches.send(batch);
    result
}

impl Batch {
    /// The entry `index`, of which the bytes begin at `start`; where its bytes end.
    pub fn entry(&self, index: usize, start: usize) -> Option<(Entered<'_>, usize)> {
        let entry = self.entries.get(index)?;
        let entered = Entered {
            number: entry.number,
            at: entry.at,
            bytes: self.bytes.get(start..entry.end).unwrap_or_default(),
            what: entry.what,
        };
        Some((entered, entry.end))
    }

    /// Makes it empty, and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.read = Read::default();
    }

    fn add(&mut self, recorded: &Recorded<'_>, filter: &Filter) {
        self.read.packets += 1;
        self.read.offset = recorded.offset;
        self.note_time(recorded.at);
        let Some(link) = recorded.link_type else {
            return;
        };
        let packet = Packet::parse(link, recorded.bytes);
        if !filter.passes(&packet) {
            return;
        }
        let is_cut = recorded.is_cut;
        let what = What::Packet { link, is_cut };
        self.push(recorded.number, recorded.at, recorded.bytes, what);
    }

    fn add_line(&mut self, line: &Line<'_>) {
        self.note_time(line.at);
        let is_doubtful = line.is_doubtful;
        self.push(line.number, line.at, line.text, What::Line { is_doubtful });
    }

    fn push(&mut self, number: u64, at: Option<Time>, bytes: &[u8], what: What) {
        self.bytes.extend_from_slice(bytes);
        self.entries.push(Entry {
            number,
            at,
            end: self.bytes.len(),
            what,
        });
    }

    fn note_time(&mut self, at: Option<Time>) {
        if let Some(at) = at {
            let (first, last) = self.read.range.get_or_insert((at, at));
            *first = at.min(*first);
            *last = at.max(*last);
        }
    }
}

/// Which packets are worth to be handed on: whatever goes to a server, and what a server says on a
/// SIP port or where connections are noted.
#[derive(Clone, Debug)]
pub struct Filter {
    servers: Vec<IpAddr>,
    udp: Vec<u16>,
    tcp: Vec<u16>,
}

impl Filter {
    /// For these servers.
    pub fn new(config: &Config, servers: Vec<IpAddr>) -> Self {
        let (sip, connections) = (config.ports.sip(), config.connection_ports());
        let tcp = [sip.tcp, sip.websocket, connections.tls, connections.manager];
        Self {
            servers,
            udp: sip.udp,
            tcp: tcp.concat(),
        }
    }

    fn passes(&self, packet: &Packet<'_>) -> bool {
        let Some(ip) = packet.ip else {
            return false;
        };
        if self.servers.contains(&ip.destination) {
            return true;
        }
        self.servers.contains(&ip.source) && self.is_answer(packet, &ip)
    }

    fn is_answer(&self, packet: &Packet<'_>, ip: &Ip<'_>) -> bool {
        if ip.fragment.is_some_and(|fragment| !fragment.is_whole()) {
            return true;
        }
        match packet.transport {
            Transport::Udp(udp) => self.udp.contains(&udp.source_port),
            Transport::Tcp(tcp) => [tcp.source_port, tcp.destination_port]
                .iter()
                .any(|port| self.tcp.contains(port)),
            Transport::Icmp(_)
            | Transport::Other
            | Transport::LaterFragment
            | Transport::NotUnderstood(_) => false,
        }
    }
}
