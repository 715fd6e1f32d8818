//! HEPv3, the Homer Encapsulation Protocol (EEP): what Asterisk's `res_hep` and Kamailio's
//! `siptrace` send of the messages they handle, also of those that were encrypted on the wire.
//!
//! A packet is `HEP3`, its length, and chunks of vendor, type, length and value. Chunks of other
//! vendors and of types that say nothing here (capture agent, correlation id, keys) are skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sipward_engine::{Direction, Time, Transport};
use sipward_signature::Tables;

use super::{
    Counters, Sink, SipPorts,
    packets::{Extent, Reader, Way, is_response},
};

/// Begins each packet.
const MAGIC: &[u8] = b"HEP3";
/// Bytes of a chunk before its value.
const CHUNK_HEADER: usize = 6;
/// IP's protocol number of UDP. Senders name TCP for each stream, or numbers of their own for TLS
/// and WebSocket.
const UDP: u8 = 17;
/// The captured protocol is SIP.
const SIP: u8 = 1;

/// Turns what a server sends of its messages into observations.
#[derive(Debug)]
pub struct HepSensor {
    ports: HepPorts,
    reader: Reader,
    datagrams: u64,
    unreadable: u64,
}

/// The ports of the server that sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HepPorts {
    /// What the wire says at these is read there: the same told twice must not count twice.
    pub on_the_wire: SipPorts,
    /// All others that SIP is spoken at.
    pub others: Vec<u16>,
}

impl HepSensor {
    /// A sensor for a server with these ports.
    #[must_use]
    pub fn new(ports: HepPorts) -> Self {
        Self {
            ports,
            reader: Reader::default(),
            datagrams: 0,
            unreadable: 0,
        }
    }

    /// Reads what these ports say from now on.
    pub fn set_ports(&mut self, ports: HepPorts) {
        self.ports = ports;
    }

    /// Looks for these signatures: the kernel's program cannot read what was encrypted.
    pub fn set_signatures(&mut self, tables: Tables) {
        self.reader.tables = Some(tables);
    }

    /// What was seen so far; frames are datagrams here.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            frames: self.datagrams,
            not_sip: self.reader.counters.not_sip + self.unreadable,
            ..self.reader.counters
        }
    }

    /// Takes a datagram that came at this time.
    pub fn take(&mut self, datagram: &[u8], at: Time, sink: &mut Sink<'_>) {
        self.datagrams += 1;
        let Ok(captured) = read(datagram) else {
            self.unreadable += 1;
            return;
        };
        let Some(direction) = self.direction(&captured) else {
            return;
        };
        let way = Way {
            number: self.datagrams,
            at,
            direction,
            source: captured.source,
            destination: captured.destination,
            transport: if captured.is_stream {
                Transport::Tcp
            } else {
                Transport::Udp
            },
            established: captured.is_stream,
            decrypted: captured.is_stream,
        };
        self.reader
            .read(&way, captured.payload, Extent::Reassembled, sink);
    }

    /// Which way a message went that no other sensor reads.
    fn direction(&self, captured: &Captured<'_>) -> Option<Direction> {
        let HepPorts {
            on_the_wire,
            others,
        } = &self.ports;
        let wire = if captured.is_stream {
            &on_the_wire.tcp
        } else {
            &on_the_wire.udp
        };
        let is_port = |end: SocketAddr| {
            let port = end.port();
            let is_encrypted = on_the_wire.websocket.contains(&port) || others.contains(&port);
            // Over UDP such a port is a phone's own, of a second line.
            captured.is_stream && is_encrypted && !wire.contains(&port)
        };
        match (is_port(captured.destination), is_port(captured.source)) {
            (true, true) if is_response(captured.payload) => Some(Direction::Outbound),
            (true, _) => Some(Direction::Inbound),
            (false, true) => Some(Direction::Outbound),
            (false, false) => None,
        }
    }
}

/// A SIP message, as its server has handled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// TCP, TLS or WebSocket: the server has completed the handshake itself.
    pub is_stream: bool,
    /// The message.
    pub payload: &'a [u8],
}

/// Why a datagram is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCaptured {
    /// No HEPv3, or one that is cut.
    Unreadable,
    /// RTCP, a log line, a keep-alive, a compressed payload.
    NotSip,
    /// An address, a port or the payload is missing.
    Incomplete,
}

#[derive(Default)]
struct Chunks<'a> {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
    protocol: Option<u8>,
    captured: Option<u8>,
    payload: Option<&'a [u8]>,
}

/// Reads a datagram.
///
/// # Errors
/// Where it holds no SIP message.
pub fn read(datagram: &[u8]) -> Result<Captured<'_>, NotCaptured> {
    let chunks = Chunks::read(datagram).ok_or(NotCaptured::Unreadable)?;
    if chunks.captured != Some(SIP) {
        return Err(NotCaptured::NotSip);
    }
    let socket = |address: Option<IpAddr>, port: Option<u16>| {
        let socket = SocketAddr::new(address?, port?);
        Some(socket)
    };
    let complete = || {
        Some(Captured {
            source: socket(chunks.source, chunks.source_port)?,
            destination: socket(chunks.destination, chunks.destination_port)?,
            is_stream: chunks.protocol? != UDP,
            payload: chunks.payload?,
        })
    };
    complete().ok_or(NotCaptured::Incomplete)
}

impl<'a> Chunks<'a> {
    /// None where a length does not fit.
    fn read(datagram: &'a [u8]) -> Option<Self> {
        let rest = datagram.strip_prefix(MAGIC)?;
        let (length, _) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let mut rest = datagram.get(MAGIC.len() + 2..length)?;
        let mut chunks = Self::default();
        while !rest.is_empty() {
            let (header, _) = rest.split_first_chunk::<CHUNK_HEADER>()?;
            let [v, endor, t, ype, len, gth] = *header;
            let length = usize::from(u16::from_be_bytes([len, gth]));
            let value = rest.get(CHUNK_HEADER..length)?;
            if (v, endor) == (0, 0) {
                chunks.note(u16::from_be_bytes([t, ype]), value);
            }
            rest = rest.get(length..)?;
        }
        Some(chunks)
    }

    fn note(&mut self, kind: u16, value: &'a [u8]) {
        let byte = || value.first().copied();
        let port = || value.try_into().ok().map(u16::from_be_bytes);
        let v4 = || {
            Some(IpAddr::from(Ipv4Addr::from(
                <[u8; 4]>::try_from(value).ok()?,
            )))
        };
        let v6 = || {
            Some(IpAddr::from(Ipv6Addr::from(
                <[u8; 16]>::try_from(value).ok()?,
            )))
        };
        match kind {
            2 => self.protocol = byte(),
            3 => self.source = v4(),
            4 => self.destination = v4(),
            5 => self.source = v6(),
            6 => self.destination = v6(),
            7 => self.source_port = port(),
            8 => self.destination_port = port(),
            11 => self.captured = byte(),
            15 => self.payload = Some(value),
            _ => {}
        }
    }
}
