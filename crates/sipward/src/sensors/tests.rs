//! Frames in, observations out.

mod datagrams;
mod forgery;
mod fragments;
mod hep;
mod streams;
mod websocket;

use std::{
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
};

use sipward_engine::{Direction, Observation, Place, Time, Transport};
use sipward_signature::{Profile, SignatureSet, Tables};
use sipward_wire::LinkType;

use super::{Frame, PacketSensor, SipPorts};

pub const CLIENT: &str = "203.0.113.7:5070";
pub const SERVER: &str = "198.51.100.1:5060";

/// What was observed, as much of it as the tests look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Message {
        direction: Direction,
        source: SocketAddr,
        destination: SocketAddr,
        transport: Transport,
        established: bool,
        packet: u64,
        text: Vec<u8>,
    },
    Unreachable(IpAddr, SocketAddr),
    /// Its name, whether the sender is proven to own the address, and the packet.
    Signature(String, bool, u64),
}

impl Seen {
    /// A datagram to the server from [`CLIENT`].
    pub fn request(packet: u64, text: &[u8]) -> Self {
        Self::Message {
            direction: Direction::Inbound,
            source: CLIENT.parse().unwrap(),
            destination: SERVER.parse().unwrap(),
            transport: Transport::Udp,
            established: false,
            packet,
            text: text.to_vec(),
        }
    }

    pub fn text(&self) -> &[u8] {
        match self {
            Self::Message { text, .. } => text,
            Self::Unreachable(..) | Self::Signature(..) => &[],
        }
    }
}

/// A sensor for the default ports of a server at [`SERVER`], with what it has seen.
pub struct Bench {
    pub sensor: PacketSensor,
    pub seen: Vec<Seen>,
    pub now: Time,
    pub packets: u64,
}

impl Bench {
    pub fn new() -> Self {
        let server: SocketAddr = SERVER.parse().unwrap();
        let ports = SipPorts {
            udp: vec![5060, 5080],
            tcp: vec![5060],
            websocket: vec![8088],
        };
        Self {
            sensor: PacketSensor::new(ports, vec![server.ip()]),
            seen: Vec::new(),
            now: Time::from_secs(1_800_000_000),
            packets: 0,
        }
    }

    /// Shows an Ethernet frame.
    pub fn show(&mut self, bytes: &[u8]) -> &mut Self {
        let frame = self.frame(bytes);
        self.show_frame(&frame)
    }

    /// With the built-in signatures.
    pub fn with_signatures() -> Self {
        let mut bench = Self::new();
        bench.sensor.set_signatures(tables());
        bench
    }

    /// The messages, in their order.
    pub fn texts(&self) -> Vec<&[u8]> {
        let texts = self.seen.iter().map(Seen::text);
        texts.filter(|text| !text.is_empty()).collect()
    }

    pub fn signatures(&self) -> Vec<&Seen> {
        let is_signature = |seen: &&Seen| matches!(seen, Seen::Signature(..));
        self.seen.iter().filter(is_signature).collect()
    }

    pub fn frame<'a>(&mut self, bytes: &'a [u8]) -> Frame<'a> {
        self.packets += 1;
        Frame {
            number: self.packets,
            at: self.now,
            link: LinkType::Ethernet,
            bytes,
            is_cut: false,
            direction: None,
        }
    }

    pub fn show_frame(&mut self, frame: &Frame<'_>) -> &mut Self {
        let seen = &mut self.seen;
        self.sensor.take(frame, &mut |observation, at| {
            assert_eq!(at, frame.at);
            seen.push(note(observation));
        });
        self
    }
}

fn note(observation: &Observation<'_>) -> Seen {
    match observation {
        Observation::Message(message) => {
            let Place::Packet(packet) = message.place else {
                panic!("a message was seen in a packet: {:?}", message.place);
            };
            Seen::Message {
                direction: message.direction,
                source: message.source,
                destination: message.destination,
                transport: message.transport,
                established: message.established,
                packet,
                text: [message.sip.head(), message.sip.body()].concat(),
            }
        }
        Observation::Unreachable(unreachable) => {
            Seen::Unreachable(unreachable.reporter, unreachable.destination)
        }
        Observation::Signature(seen) => {
            let Place::Packet(packet) = seen.place else {
                panic!("a signature was seen in a packet: {:?}", seen.place);
            };
            Seen::Signature(seen.hit.name.to_owned(), seen.established, packet)
        }
        Observation::KernelDrop(_) | Observation::Log(_) => {
            panic!("no frame says this: {observation:?}")
        }
    }
}

/// The built-in signatures.
pub fn tables() -> Tables {
    static TABLES: LazyLock<Tables> = LazyLock::new(|| {
        let tables = SignatureSet::builtin().compile(Profile::Standard, &[]);
        tables.unwrap()
    });
    TABLES.clone()
}

/// A request as a phone sends it.
pub fn register(call: &str) -> Vec<u8> {
    format!(
        "REGISTER sip:198.51.100.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.7:5070;branch=z9hG4bK{call}\r\n\
         From: <sip:100@198.51.100.1>;tag=1\r\nTo: <sip:100@198.51.100.1>\r\nCall-ID: {call}\r\n\
         CSeq: 1 REGISTER\r\nContact: <sip:100@203.0.113.7:5070>\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// A server's answer to it.
pub fn unauthorized(call: &str) -> Vec<u8> {
    format!(
        "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP 203.0.113.7:5070;branch=z9hG4bK{call}\r\n\
         From: <sip:100@198.51.100.1>;tag=1\r\nTo: <sip:100@198.51.100.1>;tag=2\r\nCall-ID: {call}\r\n\
         CSeq: 1 REGISTER\r\nWWW-Authenticate: Digest realm=\"a\", nonce=\"b\"\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// A scanner's request, its name behind `padding` bytes of other headers.
pub fn scan(padding: usize) -> Vec<u8> {
    let padding = "x".repeat(padding);
    format!(
        "OPTIONS sip:100@198.51.100.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.7:5070;branch=z9hG4bKs\r\n\
         X-Padding: {padding}\r\nFrom: <sip:1@x>;tag=1\r\nTo: <sip:1@x>\r\nCall-ID: s\r\nCSeq: 1 OPTIONS\r\n\
         User-Agent: friendly-scanner\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// What the signature of [`scan`] is called.
pub const SCANNER: &str = "sipvicious-friendly-scanner";
