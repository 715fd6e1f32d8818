//! Ethernet frames, built field by field.
//!
//! Lengths and checksums are right unless a test asks otherwise, so that a row of a verdict
//! table says only what is special about it:
//!
//! ```
//! use sipward_testkit::packet::Packet;
//! let frame = Packet::udp("203.0.113.7:5060", "192.0.2.1:5060")
//!     .vlan(5)
//!     .payload(b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\n\r\n")
//!     .build();
//! assert_eq!(frame[12..14], [0x81, 0x00]);
//! ```

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

/// Length of an untagged Ethernet header.
pub const ETHERNET_HEADER: usize = 14;

/// IP protocol numbers (IANA) that the builder writes.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// An IPv6 extension header (RFC 8200 §4). The next-header field is filled in by the builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options; the option bytes are padded with PadN to a multiple of 8.
    HopByHop(Vec<u8>),
    /// Destination options, padded likewise.
    DestinationOptions(Vec<u8>),
    /// A routing header with this type and type-specific bytes, segments left 0.
    Routing(u8, Vec<u8>),
}

/// TCP flags (RFC 9293 §3.1), to be or-ed.
pub mod flags {
    /// FIN
    pub const FIN: u8 = 0x01;
    /// SYN
    pub const SYN: u8 = 0x02;
    /// RST
    pub const RST: u8 = 0x04;
    /// PSH
    pub const PSH: u8 = 0x08;
    /// ACK
    pub const ACK: u8 = 0x10;
}

#[derive(Debug, Clone)]
enum Transport {
    Udp {
        length: Option<u16>,
        checksum: bool,
    },
    Tcp {
        seq: u32,
        ack: u32,
        flags: u8,
        options: Vec<u8>,
    },
    Other(u8),
}

#[derive(Debug, Clone, Copy)]
struct Fragment {
    id: u32,
    offset: usize,
    more: bool,
}

/// A frame in the making. Built by value, so a common start can be cloned and varied.
#[derive(Debug, Clone)]
pub struct Packet {
    source_mac: [u8; 6],
    destination_mac: [u8; 6],
    vlans: Vec<(u16, u16)>,
    source: SocketAddr,
    destination: SocketAddr,
    ttl: u8,
    ipv4_options: Vec<u8>,
    extensions: Vec<Extension>,
    fragment: Option<Fragment>,
    transport: Transport,
    payload: Vec<u8>,
    padding: usize,
}

impl Packet {
    /// A UDP datagram. Addresses read as `192.0.2.1:5060` or `[2001:db8::1]:5060`.
    ///
    /// # Panics
    /// If an address does not parse or the two are of different families: a mistake in the test.
    pub fn udp(source: impl Display, destination: impl Display) -> Self {
        Self::new(
            source,
            destination,
            Transport::Udp {
                length: None,
                checksum: true,
            },
        )
    }

    /// A TCP segment with PSH and ACK set. Panics like [`Packet::udp`].
    pub fn tcp(source: impl Display, destination: impl Display) -> Self {
        let transport = Transport::Tcp {
            seq: 1,
            ack: 1,
            flags: flags::PSH | flags::ACK,
            options: Vec::new(),
        };
        Self::new(source, destination, transport)
    }

    /// Any other IP protocol: the payload follows the IP header, the ports are not used.
    /// Panics like [`Packet::udp`].
    pub fn ip(source: impl Display, destination: impl Display, protocol: u8) -> Self {
        let with_port = |address: String| match address.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, 0).to_string(),
            Err(_) => address,
        };
        Self::new(
            with_port(source.to_string()),
            with_port(destination.to_string()),
            Transport::Other(protocol),
        )
    }

    fn new(source: impl Display, destination: impl Display, transport: Transport) -> Self {
        let parse = |text: String| -> SocketAddr {
            text.parse()
                .unwrap_or_else(|_| panic!("not an address with a port: {text:?}"))
        };
        let (source, destination) = (parse(source.to_string()), parse(destination.to_string()));
        assert_eq!(
            source.is_ipv4(),
            destination.is_ipv4(),
            "{source} and {destination} are of different families"
        );
        Self {
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            vlans: Vec::new(),
            source,
            destination,
            ttl: 64,
            ipv4_options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            transport,
            payload: Vec::new(),
            padding: 0,
        }
    }

    /// Ethernet addresses; by default 02:00:00:00:00:01 to 02:00:00:00:00:02.
    #[must_use]
    pub fn macs(mut self, source: [u8; 6], destination: [u8; 6]) -> Self {
        (self.source_mac, self.destination_mac) = (source, destination);
        self
    }

    /// Adds an 802.1Q tag inside those already there.
    #[must_use]
    pub fn vlan(self, id: u16) -> Self {
        self.tag(0x8100, id)
    }

    /// Adds a tag with its own ethertype (0x88a8 for a service tag) inside those already there.
    /// `control` is the VLAN id with the priority in the top three bits.
    #[must_use]
    pub fn tag(mut self, ethertype: u16, control: u16) -> Self {
        self.vlans.push((ethertype, control));
        self
    }

    /// Time to live or hop limit; 64 by default.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// IPv4 options, at most 40 bytes; padded with end-of-list to a multiple of 4.
    #[must_use]
    pub fn ipv4_options(mut self, options: &[u8]) -> Self {
        assert!(self.source.is_ipv4(), "IPv4 options on an IPv6 packet");
        assert!(options.len() <= 40, "IPv4 options are at most 40 bytes");
        self.ipv4_options = options.to_vec();
        self
    }

    /// Adds an IPv6 extension header behind those already there.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Self {
        assert!(
            self.source.is_ipv6(),
            "an extension header on an IPv4 packet"
        );
        self.extensions.push(extension);
        self
    }

    /// Marks this one frame as a fragment. The transport header is written only at offset 0;
    /// `offset` is in bytes and a multiple of 8. [`Packet::fragments`] cuts a whole datagram.
    #[must_use]
    pub fn fragment(mut self, offset: usize, more: bool) -> Self {
        assert_eq!(offset % 8, 0, "a fragment offset is a multiple of 8");
        self.fragment = Some(Fragment {
            id: 0x5157,
            offset,
            more,
        });
        self
    }

    /// The UDP length field as given instead of the right one.
    #[must_use]
    pub fn udp_length(mut self, value: u16) -> Self {
        if let Transport::Udp { length, .. } = &mut self.transport {
            *length = Some(value);
        }
        self
    }

    /// UDP checksum zero, "not computed" (RFC 768).
    #[must_use]
    pub fn without_udp_checksum(mut self) -> Self {
        if let Transport::Udp { checksum, .. } = &mut self.transport {
            *checksum = false;
        }
        self
    }

    /// TCP sequence and acknowledgement numbers; 1 and 1 by default.
    #[must_use]
    pub fn tcp_numbers(mut self, sequence: u32, acknowledgement: u32) -> Self {
        if let Transport::Tcp { seq, ack, .. } = &mut self.transport {
            (*seq, *ack) = (sequence, acknowledgement);
        }
        self
    }

    /// TCP flags from [`flags`].
    #[must_use]
    pub fn tcp_flags(mut self, value: u8) -> Self {
        if let Transport::Tcp { flags, .. } = &mut self.transport {
            *flags = value;
        }
        self
    }

    /// TCP options, at most 40 bytes; padded with end-of-list to a multiple of 4.
    #[must_use]
    pub fn tcp_options(mut self, value: &[u8]) -> Self {
        assert!(value.len() <= 40, "TCP options are at most 40 bytes");
        if let Transport::Tcp { options, .. } = &mut self.transport {
            *options = value.to_vec();
        }
        self
    }

    /// What follows the transport header.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// Bytes of 0xEE behind the end of the IP packet, as Ethernet's minimum length causes them.
    #[must_use]
    pub fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// The frame.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let body = match self.fragment {
            Some(fragment) if fragment.offset > 0 => self.payload.clone(),
            Some(_) | None => self.transport_bytes(),
        };
        self.frame(&body, self.fragment)
    }

    /// The frames of the whole datagram cut into IP fragments that carry `size` bytes each
    /// (a multiple of 8; the transport header is in the first).
    #[must_use]
    pub fn fragments(&self, size: usize) -> Vec<Vec<u8>> {
        assert!(
            size > 0 && size.is_multiple_of(8),
            "a fragment carries a multiple of 8 bytes"
        );
        let body = self.transport_bytes();
        let pieces = body.chunks(size).enumerate();
        pieces
            .map(|(index, piece)| {
                let offset = index * size;
                let more = offset + piece.len() < body.len();
                self.frame(
                    piece,
                    Some(Fragment {
                        id: 0x5157,
                        offset,
                        more,
                    }),
                )
            })
            .collect()
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Udp { .. } => protocol::UDP,
            Transport::Tcp { .. } => protocol::TCP,
            Transport::Other(protocol) => protocol,
        }
    }

    fn frame(&self, body: &[u8], fragment: Option<Fragment>) -> Vec<u8> {
        let mut frame = Vec::with_capacity(ETHERNET_HEADER + 60 + body.len());
        frame.extend(self.destination_mac);
        frame.extend(self.source_mac);
        for (ethertype, control) in &self.vlans {
            frame.extend(ethertype.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend([0x08, 0x00]);
                self.ipv4(
                    &mut frame,
                    source.octets(),
                    destination.octets(),
                    body,
                    fragment,
                );
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend([0x86, 0xdd]);
                self.ipv6(
                    &mut frame,
                    source.octets(),
                    destination.octets(),
                    body,
                    fragment,
                );
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                unreachable!("the constructor refused mixed families")
            }
        }
        frame.extend(std::iter::repeat_n(0xEE, self.padding));
        frame
    }

    fn ipv4(
        &self,
        frame: &mut Vec<u8>,
        source: [u8; 4],
        destination: [u8; 4],
        body: &[u8],
        fragment: Option<Fragment>,
    ) {
        let options = padded(&self.ipv4_options, 4);
        let header_length = 20 + options.len();
        let total = length16(header_length + body.len());
        let (id, offset_and_flags) = match fragment {
            Some(Fragment { id, offset, more }) => (
                id as u16,
                length16(offset / 8) | if more { 0x2000 } else { 0 },
            ),
            None => (0, 0x4000),
        };
        let mut header = vec![0x40 | (header_length / 4) as u8, 0];
        header.extend(total.to_be_bytes());
        header.extend(id.to_be_bytes());
        header.extend(offset_and_flags.to_be_bytes());
        header.extend([self.ttl, self.protocol(), 0, 0]);
        header.extend(source);
        header.extend(destination);
        header.extend(options);
        let checksum = internet_checksum(&[&header]);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        frame.extend(header);
        frame.extend(body);
    }

    fn ipv6(
        &self,
        frame: &mut Vec<u8>,
        source: [u8; 16],
        destination: [u8; 16],
        body: &[u8],
        fragment: Option<Fragment>,
    ) {
        let mut headers: Vec<(u8, Vec<u8>)> = self.extensions.iter().map(extension_bytes).collect();
        if let Some(Fragment { id, offset, more }) = fragment {
            let mut header = vec![0, 0];
            header.extend((length16(offset) | u16::from(more)).to_be_bytes());
            header.extend(id.to_be_bytes());
            headers.push((protocol::FRAGMENT, header));
        }
        let mut next = self.protocol();
        for (number, header) in headers.iter_mut().rev() {
            header[0] = next;
            next = *number;
        }
        let extensions: usize = headers.iter().map(|(_, header)| header.len()).sum();
        frame.extend([0x60, 0, 0, 0]);
        frame.extend(length16(extensions + body.len()).to_be_bytes());
        frame.extend([next, self.ttl]);
        frame.extend(source);
        frame.extend(destination);
        for (_, header) in headers {
            frame.extend(header);
        }
        frame.extend(body);
    }

    fn transport_bytes(&self) -> Vec<u8> {
        let ports = [
            self.source.port().to_be_bytes(),
            self.destination.port().to_be_bytes(),
        ];
        let mut bytes = ports.concat();
        let checksum_at = match &self.transport {
            Transport::Udp { length, checksum } => {
                let right = length16(8 + self.payload.len());
                bytes.extend(length.unwrap_or(right).to_be_bytes());
                bytes.extend([0, 0]);
                checksum.then_some(6)
            }
            Transport::Tcp {
                seq,
                ack,
                flags,
                options,
            } => {
                let options = padded(options, 4);
                bytes.extend(seq.to_be_bytes());
                bytes.extend(ack.to_be_bytes());
                bytes.extend([((20 + options.len()) << 2) as u8, *flags]);
                bytes.extend(64_240u16.to_be_bytes());
                bytes.extend([0, 0, 0, 0]);
                bytes.extend(options);
                Some(16)
            }
            Transport::Other(_) => return self.payload.clone(),
        };
        bytes.extend(&self.payload);
        if let Some(at) = checksum_at {
            let sum = match internet_checksum(&[&self.pseudo_header(bytes.len()), &bytes]) {
                // On the wire zero means "not computed".
                0 => 0xffff,
                sum => sum,
            };
            bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }

    fn pseudo_header(&self, length: usize) -> Vec<u8> {
        let mut header = Vec::new();
        for address in [self.source.ip(), self.destination.ip()] {
            match address {
                IpAddr::V4(address) => header.extend(address.octets()),
                IpAddr::V6(address) => header.extend(address.octets()),
            }
        }
        header.extend((length as u32).to_be_bytes());
        header.extend([0, 0, 0, self.protocol()]);
        header
    }
}

/// The ones' complement sum of RFC 1071 over the parts as if they were one.
/// Every part but the last must have an even length.
fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn extension_bytes(extension: &Extension) -> (u8, Vec<u8>) {
    match extension {
        Extension::HopByHop(options) => (protocol::HOP_BY_HOP, options_header(options)),
        Extension::DestinationOptions(options) => {
            (protocol::DESTINATION_OPTIONS, options_header(options))
        }
        Extension::Routing(kind, data) => {
            let mut header = vec![0, 0, *kind, 0];
            header.extend(data);
            let mut header = padded(&header, 8);
            header[1] = (header.len() / 8 - 1) as u8;
            (protocol::ROUTING, header)
        }
    }
}

/// The two options headers share a layout; the gap to 8 bytes is Pad1 or PadN (RFC 8200 §4.2).
fn options_header(options: &[u8]) -> Vec<u8> {
    let mut header = vec![0, 0];
    header.extend(options);
    match header.len().next_multiple_of(8) - header.len() {
        0 => {}
        1 => header.push(0),
        gap => {
            header.extend([1, (gap - 2) as u8]);
            header.extend(std::iter::repeat_n(0, gap - 2));
        }
    }
    header[1] = (header.len() / 8 - 1) as u8;
    header
}

fn padded(bytes: &[u8], to: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(to), 0);
    bytes
}

fn length16(length: usize) -> u16 {
    u16::try_from(length).expect("an IP packet holds at most 65,535 bytes")
}

#[cfg(test)]
mod tests;
