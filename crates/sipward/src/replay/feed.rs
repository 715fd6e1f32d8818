//! Reads a recording in a thread of its own and hands on what concerns a server, in batches whose
//! memory goes back and forth.

use std::{
    net::IpAddr,
    path::Path,
    sync::mpsc::{Receiver, SyncSender},
};

use sipward_engine::Time;
use sipward_wire::{LinkType, Packet, Transport, ip::Ip};

use crate::{
    exit::Failure,
    pcap::{self, Recorded},
    sensors::SipPorts,
};

/// Bytes of a batch, about.
const BATCH: usize = 256 << 10;
/// Packets of a batch at most, those that concern nobody included, so that time goes on.
const PACKETS: u64 = 8_192;
/// Batches that may be on their way.
pub const BATCHES: usize = 4;

/// Packets in a row, as far as they concern a server.
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
    /// Bytes of the file up to here.
    pub offset: u64,
    /// The earliest and the latest packet.
    pub range: Option<(Time, Time)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u64,
    at: Option<Time>,
    link: LinkType,
    end: usize,
    is_cut: bool,
}

/// A packet of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Entered<'a> {
    /// Counted from 1 in its file.
    pub number: u64,
    /// When it was captured; none where the file does not say.
    pub at: Option<Time>,
    /// How the bytes begin.
    pub link: LinkType,
    /// The captured bytes.
    pub bytes: &'a [u8],
    /// Whether the packet was longer than what was captured of it.
    pub is_cut: bool,
}

/// Reads the file into batches until its end, or until nobody takes them.
///
/// # Errors
/// As [`pcap::read`]; what was read before it is handed on.
pub fn read(
    file: &Path,
    servers: &[IpAddr],
    ports: &SipPorts,
    batches: &SyncSender<Batch>,
    empty: &Receiver<Batch>,
) -> Result<(), Failure> {
    let mut batch = Batch::default();
    let result = pcap::read(file, |recorded| {
        batch.add(&recorded, servers, ports);
        if batch.bytes.len() >= BATCH || batch.read.packets >= PACKETS {
            let next = empty.try_recv().unwrap_or_default();
            let full = std::mem::replace(&mut batch, next);
            batches
                .send(full)
                .map_err(|_| Failure::input("the replay has ended"))?;
        }
        Ok(())
    });
    // Nobody takes it where the replay has ended; then there is nothing to tell.
    let _ = batches.send(batch);
    result
}

impl Batch {
    /// Its packets, in order.
    pub fn packets(&self) -> impl Iterator<Item = Entered<'_>> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let bytes = self.bytes.get(start..entry.end).unwrap_or_default();
            start = entry.end;
            Entered {
                number: entry.number,
                at: entry.at,
                link: entry.link,
                bytes,
                is_cut: entry.is_cut,
            }
        })
    }

    /// Makes it empty, and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.read = Read::default();
    }

    fn add(&mut self, recorded: &Recorded<'_>, servers: &[IpAddr], ports: &SipPorts) {
        self.read.packets += 1;
        self.read.offset = recorded.offset;
        if let Some(at) = recorded.at {
            let (first, last) = self.read.range.get_or_insert((at, at));
            *first = at.min(*first);
            *last = at.max(*last);
        }
        let Some(link) = recorded.link_type else {
            return;
        };
        let packet = Packet::parse(link, recorded.bytes);
        if !concerns_server(&packet, servers, ports) {
            return;
        }
        self.bytes.extend_from_slice(recorded.bytes);
        self.entries.push(Entry {
            number: recorded.number,
            at: recorded.at,
            link,
            end: self.bytes.len(),
            is_cut: recorded.is_cut,
        });
    }
}

/// Whether the policy or the sensor has to see a packet: whatever goes to a server, and what a
/// server says on a SIP port.
fn concerns_server(packet: &Packet<'_>, servers: &[IpAddr], ports: &SipPorts) -> bool {
    let Some(ip) = packet.ip else {
        return false;
    };
    if servers.contains(&ip.destination) {
        return true;
    }
    servers.contains(&ip.source) && may_be_sip(packet, &ip, ports)
}

fn may_be_sip(packet: &Packet<'_>, ip: &Ip<'_>, ports: &SipPorts) -> bool {
    if ip.fragment.is_some_and(|fragment| !fragment.is_whole()) {
        return true;
    }
    match packet.transport {
        Transport::Udp(udp) => ports.udp.contains(&udp.source_port),
        Transport::Tcp(tcp) => [tcp.source_port, tcp.destination_port]
            .iter()
            .any(|port| ports.tcp.contains(port) || ports.websocket.contains(port)),
        Transport::Icmp(_)
        | Transport::Other
        | Transport::LaterFragment
        | Transport::NotUnderstood(_) => false,
    }
}
