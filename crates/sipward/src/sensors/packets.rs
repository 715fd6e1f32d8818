//! Frames to observations.

use std::net::{IpAddr, SocketAddr};

use sipward_engine::{
    Direction, Message, Observation, Place, SignatureHit, SignatureSeen, Time,
    Transport as SipTransport, Unreachable, policy::SCAN_MAX,
};
use sipward_signature::{ScanMode, Tables};
use sipward_wire::{
    LinkType, Packet, Transport,
    icmp::Icmp,
    ip::{self, Ip},
    sip::{self, Anomalies, Method, StartLine},
    tcp::Tcp,
};

use super::{
    fragments::{FragmentCounters, Fragments},
    streams::{Framing, Segment, StreamCounters, Streams},
};

/// A frame as the tap or a recording has it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Counted from 1.
    pub number: u64,
    /// When it was captured.
    pub at: Time,
    /// How the bytes begin.
    pub link: LinkType,
    /// The captured bytes.
    pub bytes: &'a [u8],
    /// Whether the frame was longer than what was captured of it.
    pub is_cut: bool,
    /// Which way it went, where the capture says so; otherwise the servers' addresses tell.
    pub direction: Option<Direction>,
}

/// The ports on which a server's SIP can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SipPorts {
    /// Over UDP.
    pub udp: Vec<u16>,
    /// Over cleartext TCP.
    pub tcp: Vec<u16>,
    /// Over WebSocket, as far as it is cleartext.
    pub websocket: Vec<u16>,
}

/// What the sensor saw, in packets and messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames taken.
    pub frames: u64,
    /// SIP messages, and what begins like one, given to the engine.
    pub messages: u64,
    /// Payloads on a SIP port that are no SIP: keep-alives, STUN, anything.
    pub not_sip: u64,
    /// Messages whose headers were cut when they were captured.
    pub cut: u64,
    /// Reports that a packet of the server did not arrive.
    pub unreachable: u64,
    /// Signatures in what one packet did not show.
    pub signatures: u64,
    /// Datagrams that came in fragments.
    pub fragments: FragmentCounters,
    /// Connections.
    pub streams: StreamCounters,
}

/// Receives what was observed, and when.
pub type Sink<'s> = dyn FnMut(&Observation<'_>, Time) + 's;

/// Turns frames into observations.
#[derive(Debug)]
pub struct PacketSensor {
    ports: SipPorts,
    servers: Vec<IpAddr>,
    fragments: Fragments,
    streams: Streams,
    reader: Reader,
}

/// Reads messages, wherever they came from.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub tables: Option<Tables>,
    /// Nobody has scanned what comes in one packet.
    pub scans_all: bool,
    pub counters: Counters,
}

/// The way of a message, and where and when it was complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub number: u64,
    pub at: Time,
    pub direction: Direction,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub transport: SipTransport,
    pub established: bool,
    pub decrypted: bool,
}

/// How much of a message there is, and whether the kernel has looked at all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// As it came in one packet.
    Packet,
    /// The same, and the end was not captured.
    Cut,
    /// Put together.
    Reassembled,
}

impl PacketSensor {
    /// A sensor for these ports. `servers` tells which way a frame went where the frame does not
    /// say so itself; it may be empty where each does.
    #[must_use]
    pub fn new(ports: SipPorts, servers: Vec<IpAddr>) -> Self {
        Self {
            ports,
            servers,
            fragments: Fragments::default(),
            streams: Streams::default(),
            reader: Reader::default(),
        }
    }

    /// Reads what these ports say from now on.
    pub fn set_ports(&mut self, ports: SipPorts) {
        self.ports = ports;
    }

    /// Looks for these signatures in what one packet does not show: in fragments, in segments,
    /// and beyond what the kernel scans. Only `certain` ones are told.
    pub fn set_signatures(&mut self, tables: Tables) {
        self.reader.tables = Some(tables);
    }

    /// Looks for signatures in every message from now on: what drops packets does not.
    pub fn scan_all(&mut self) {
        self.reader.scans_all = true;
    }

    /// What was seen so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            fragments: self.fragments.counters(),
            streams: self.streams.counters(),
            ..self.reader.counters
        }
    }

    /// Whether this TCP connection's remote end has shown that it gets what is sent to its
    /// address: for the kernel's word about a packet that it dropped there.
    #[must_use]
    pub fn is_established(&self, remote: SocketAddr, local: SocketAddr) -> bool {
        self.streams.is_established(remote, local)
    }

    /// Bytes kept of what is not whole yet, overhead included.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.fragments.bytes() + self.streams.bytes()
    }

    /// Connections that are remembered.
    #[cfg(test)]
    pub fn connections(&self) -> usize {
        self.streams.connections()
    }

    /// Takes a frame and gives what it completes: nothing, a message, more than one.
    pub fn take(&mut self, frame: &Frame<'_>, sink: &mut Sink<'_>) {
        let packet = Packet::parse(frame.link, frame.bytes);
        self.take_packet(frame, &packet, sink);
    }

    /// As [`Self::take`], for a frame that was parsed already.
    pub fn take_packet(&mut self, frame: &Frame<'_>, packet: &Packet<'_>, sink: &mut Sink<'_>) {
        self.reader.counters.frames += 1;
        let Some(ip) = packet.ip else {
            return;
        };
        let is_cut = ip.truncated || frame.is_cut;
        let Some(fragment) = ip.fragment.filter(|fragment| !fragment.is_whole()) else {
            let extent = if is_cut { Extent::Cut } else { Extent::Packet };
            self.whole(frame, &ip, packet, extent, sink);
            return;
        };
        if is_cut || !self.is_of_server(frame, &ip) {
            return;
        }
        if let Some(whole) = self.fragments.take(&ip, &fragment, frame.at) {
            let packet = Packet::of_reassembled(&whole.first, &whole.payload);
            self.whole(frame, &whole.first, &packet, Extent::Reassembled, sink);
        }
    }

    fn whole(
        &mut self,
        frame: &Frame<'_>,
        ip: &Ip<'_>,
        packet: &Packet<'_>,
        extent: Extent,
        sink: &mut Sink<'_>,
    ) {
        match packet.transport {
            Transport::Udp(udp) => {
                let source = SocketAddr::new(ip.source, udp.source_port);
                let destination = SocketAddr::new(ip.destination, udp.destination_port);
                let payload = udp.payload;
                let Some(direction) = self.direction(frame, source, destination, payload) else {
                    return;
                };
                let way = Way {
                    number: frame.number,
                    at: frame.at,
                    direction,
                    source,
                    destination,
                    transport: SipTransport::Udp,
                    established: false,
                    decrypted: false,
                };
                self.reader.read(&way, payload, extent, sink);
            }
            Transport::Tcp(tcp) if extent != Extent::Cut => {
                let source = SocketAddr::new(ip.source, tcp.source_port);
                let destination = SocketAddr::new(ip.destination, tcp.destination_port);
                if let Some(segment) = self.segment(frame, source, destination, tcp) {
                    self.take_segment(frame, &segment, sink);
                }
            }
            Transport::Icmp(icmp) => self.icmp(frame, ip.source, &icmp, sink),
            Transport::Tcp(_)
            | Transport::Other
            | Transport::LaterFragment
            | Transport::NotUnderstood(_) => {}
        }
    }

    fn take_segment(&mut self, frame: &Frame<'_>, segment: &Segment<'_>, sink: &mut Sink<'_>) {
        let Segment { remote, local, .. } = *segment;
        let reader = &mut self.reader;
        let mut deliver = |direction, message: &[u8], established| {
            let (source, destination) = match direction {
                Direction::Inbound => (remote, local),
                Direction::Outbound => (local, remote),
            };
            let way = Way {
                number: frame.number,
                at: frame.at,
                direction,
                source,
                destination,
                transport: SipTransport::Tcp,
                established,
                decrypted: false,
            };
            reader.read(&way, message, Extent::Reassembled, sink);
        };
        self.streams.take(segment, frame.at, &mut deliver);
    }

    /// Whether a fragment, which may have no ports, comes from a server or goes to one.
    fn is_of_server(&self, frame: &Frame<'_>, ip: &Ip<'_>) -> bool {
        frame.direction.is_some()
            || [ip.source, ip.destination]
                .iter()
                .any(|address| self.servers.contains(address))
    }

    fn icmp(&mut self, frame: &Frame<'_>, reporter: IpAddr, icmp: &Icmp<'_>, sink: &mut Sink<'_>) {
        let Some(original) = icmp.original.filter(|_| icmp.is_unreachable()) else {
            return;
        };
        let (Some(source), Some(destination)) =
            (original.source_socket(), original.destination_socket())
        else {
            return;
        };
        let is_own = match frame.direction {
            Some(Direction::Inbound) => true,
            Some(Direction::Outbound) => false,
            None => self.servers.contains(&source.ip()),
        };
        let is_sip =
            original.protocol == ip::PROTOCOL_UDP && self.ports.udp.contains(&source.port());
        if !is_own || !is_sip {
            return;
        }
        self.reader.counters.unreachable += 1;
        let observation = Observation::Unreachable(Unreachable {
            reporter,
            destination,
        });
        sink(&observation, frame.at);
    }

    /// Which way a datagram of a SIP port of a server went; `None` for any other.
    fn direction(
        &self,
        frame: &Frame<'_>,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
    ) -> Option<Direction> {
        let is_port = |end: SocketAddr| self.ports.udp.contains(&end.port());
        let (to_server, from_server) = match frame.direction {
            Some(Direction::Inbound) => (is_port(destination), false),
            Some(Direction::Outbound) => (false, is_port(source)),
            None => {
                let is_server = |end: SocketAddr| is_port(end) && self.servers.contains(&end.ip());
                (is_server(destination), is_server(source))
            }
        };
        match (to_server, from_server) {
            (true, false) => Some(Direction::Inbound),
            (false, true) => Some(Direction::Outbound),
            // Two servers talk: each guards what it is asked, and answers.
            (true, true) if is_response(payload) => Some(Direction::Outbound),
            (true, true) => Some(Direction::Inbound),
            (false, false) => None,
        }
    }

    /// A segment of a connection to a SIP port of a server, or of one that a server has opened to
    /// the SIP port of somebody else.
    fn segment<'a>(
        &self,
        frame: &Frame<'_>,
        source: SocketAddr,
        destination: SocketAddr,
        tcp: Tcp<'a>,
    ) -> Option<Segment<'a>> {
        let framing = |end: SocketAddr| {
            if self.ports.tcp.contains(&end.port()) {
                Some(Framing::Sip)
            } else if self.ports.websocket.contains(&end.port()) {
                Some(Framing::WebSocket)
            } else {
                None
            }
        };
        let (to, from) = (framing(destination), framing(source));
        let inbound = |framing| Segment {
            remote: source,
            local: destination,
            direction: Direction::Inbound,
            framing,
            tcp,
        };
        let outbound = |framing| Segment {
            remote: destination,
            local: source,
            direction: Direction::Outbound,
            framing,
            tcp,
        };
        match frame.direction {
            Some(Direction::Inbound) => to.or(from).map(inbound),
            Some(Direction::Outbound) => from.or(to).map(outbound),
            None => {
                let is_server = |end: SocketAddr| self.servers.contains(&end.ip());
                let (from_own, to_own) = (is_server(source), is_server(destination));
                match (to, from) {
                    (Some(framing), _) if to_own => Some(inbound(framing)),
                    (_, Some(framing)) if from_own => Some(outbound(framing)),
                    (_, Some(framing)) if to_own => Some(inbound(framing)),
                    (Some(framing), _) if from_own => Some(outbound(framing)),
                    (_, _) => None,
                }
            }
        }
    }
}

impl Reader {
    /// Reads a message and tells of it; before that of a signature which the kernel cannot have
    /// seen.
    pub fn read(&mut self, way: &Way, payload: &[u8], extent: Extent, sink: &mut Sink<'_>) {
        if payload.len() <= sip::KEEP_ALIVE_MAX {
            self.counters.not_sip += 1;
            return;
        }
        let message = sip::Message::parse(payload);
        if !begins_like_sip(&message) {
            self.counters.not_sip += 1;
            return;
        }
        // What was not captured would look as if the sender had left it out.
        let is_cut = extent == Extent::Cut;
        if is_cut && message.anomalies().contains(Anomalies::NO_EMPTY_LINE) {
            self.counters.cut += 1;
            return;
        }
        if way.direction == Direction::Inbound
            && (self.scans_all || extent == Extent::Reassembled || payload.len() > SCAN_MAX)
        {
            self.scan(way, payload, sink);
        }
        self.counters.messages += 1;
        let observation = Observation::Message(Message {
            direction: way.direction,
            source: way.source,
            destination: way.destination,
            transport: way.transport,
            established: way.established,
            decrypted: way.decrypted,
            place: Place::Packet(way.number),
            sip: &message,
        });
        sink(&observation, way.at);
    }

    fn scan(&mut self, way: &Way, payload: &[u8], sink: &mut Sink<'_>) {
        let mode = ScanMode {
            trusted: true,
            ..ScanMode::DATAGRAM
        };
        let signature = self.tables.as_ref().and_then(|tables| {
            let slot = tables.scan(payload, mode)?;
            tables.signature(slot)
        });
        let Some(signature) = signature else {
            return;
        };
        self.counters.signatures += 1;
        let observation = Observation::Signature(SignatureSeen {
            source: way.source,
            transport: way.transport,
            established: way.established,
            hit: SignatureHit {
                name: &signature.name,
                confidence: signature.confidence,
            },
            place: Place::Packet(way.number),
            message: payload,
        });
        sink(&observation, way.at);
    }
}

/// SIP, or what somebody may want to pass for SIP.
fn begins_like_sip(message: &sip::Message<'_>) -> bool {
    match message.start_line() {
        StartLine::Request(_) | StartLine::Response(_) => true,
        StartLine::Unrecognised(line) => {
            let word = line.trim_ascii_start().split(|byte| *byte == b' ').next();
            Method::from_name(word.unwrap_or_default()) != Method::Other
        }
    }
}

pub(super) fn is_response(payload: &[u8]) -> bool {
    let line = payload.split(|byte| matches!(byte, b'\r' | b'\n')).next();
    matches!(
        StartLine::parse(line.unwrap_or_default()),
        StartLine::Response(_)
    )
}
