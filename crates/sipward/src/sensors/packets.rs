//! Frames to observations.

use std::net::{IpAddr, SocketAddr};

use sipward_engine::{
    Direction, Message, Observation, Place, Time, Transport as SipTransport, Unreachable,
};
use sipward_wire::{
    LinkType, Packet, Transport,
    icmp::Icmp,
    ip,
    sip::{self, Anomalies, Method, PayloadKind, StartLine},
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
}

/// Receives what was observed, and when.
pub type Sink<'s> = dyn FnMut(&Observation<'_>, Time) + 's;

/// Turns frames into observations.
#[derive(Debug)]
pub struct PacketSensor {
    ports: SipPorts,
    servers: Vec<IpAddr>,
    counters: Counters,
}

impl PacketSensor {
    /// A sensor for these ports. `servers` tells which way a frame went where the frame does not
    /// say so itself; it may be empty where each does.
    #[must_use]
    pub fn new(ports: SipPorts, servers: Vec<IpAddr>) -> Self {
        Self {
            ports,
            servers,
            counters: Counters::default(),
        }
    }

    /// What was seen so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes a frame and gives what it completes: nothing, a message, more than one.
    pub fn take(&mut self, frame: &Frame<'_>, sink: &mut Sink<'_>) {
        let packet = Packet::parse(frame.link, frame.bytes);
        self.take_packet(frame, &packet, sink);
    }

    /// As [`Self::take`], for a frame that was parsed already.
    pub fn take_packet(&mut self, frame: &Frame<'_>, packet: &Packet<'_>, sink: &mut Sink<'_>) {
        self.counters.frames += 1;
        let Some(ip) = packet.ip else {
            return;
        };
        if ip.fragment.is_some_and(|fragment| !fragment.is_whole()) {
            return;
        }
        match packet.transport {
            Transport::Udp(udp) => {
                let source = SocketAddr::new(ip.source, udp.source_port);
                let destination = SocketAddr::new(ip.destination, udp.destination_port);
                let is_cut = ip.truncated || frame.is_cut;
                self.datagram(frame, source, destination, udp.payload, is_cut, sink);
            }
            Transport::Icmp(icmp) => self.icmp(frame, ip.source, &icmp, sink),
            Transport::Tcp(_)
            | Transport::Other
            | Transport::LaterFragment
            | Transport::NotUnderstood(_) => {}
        }
    }

    fn datagram(
        &mut self,
        frame: &Frame<'_>,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
        is_cut: bool,
        sink: &mut Sink<'_>,
    ) {
        let Some(direction) = self.direction(frame, source, destination, payload) else {
            return;
        };
        if !begins_like_sip(payload) {
            self.counters.not_sip += 1;
            return;
        }
        let message = sip::Message::parse(payload);
        // What was not captured would look as if the sender had left it out.
        if is_cut && message.anomalies().contains(Anomalies::NO_EMPTY_LINE) {
            self.counters.cut += 1;
            return;
        }
        self.counters.messages += 1;
        let observation = Observation::Message(Message {
            direction,
            source,
            destination,
            transport: SipTransport::Udp,
            established: false,
            place: Place::Packet(frame.number),
            sip: &message,
        });
        sink(&observation, frame.at);
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
        self.counters.unreachable += 1;
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
}

/// SIP, or what somebody may want to pass for SIP.
fn begins_like_sip(payload: &[u8]) -> bool {
    match sip::classify(payload) {
        PayloadKind::Sip => true,
        PayloadKind::KeepAlive | PayloadKind::Stun => false,
        PayloadKind::Other => {
            let word = payload
                .trim_ascii_start()
                .split(|byte| *byte == b' ')
                .next();
            Method::from_name(word.unwrap_or_default()) != Method::Other
        }
    }
}

fn is_response(payload: &[u8]) -> bool {
    let line = payload.split(|byte| matches!(byte, b'\r' | b'\n')).next();
    matches!(
        StartLine::parse(line.unwrap_or_default()),
        StartLine::Response(_)
    )
}
