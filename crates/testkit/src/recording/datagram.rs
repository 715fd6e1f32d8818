//! The UDP or TCP payload of a frame: as much as telling parties and messages apart needs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A UDP datagram or TCP segment, not put together from fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// What it holds.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads an untagged Ethernet frame; `None` if it holds neither.
    #[must_use]
    pub fn read(frame: &'a [u8]) -> Option<Self> {
        let (ethernet, packet) = frame.split_at_checked(14)?;
        let (source, destination, protocol, rest) = match ethernet.get(12..)? {
            [0x08, 0x00] => {
                let length = usize::from(packet.first()? & 0x0f) * 4;
                let total = usize::from(word(packet, 2)?);
                let address = |at: usize| {
                    let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
                    Some(IpAddr::V4(Ipv4Addr::from(bytes)))
                };
                let rest = packet.get(length..total)?;
                (address(12)?, address(16)?, *packet.get(9)?, rest)
            }
            [0x86, 0xdd] => {
                let address = |at: usize| {
                    let bytes: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
                    Some(IpAddr::V6(Ipv6Addr::from(bytes)))
                };
                let rest = packet.get(40..40 + usize::from(word(packet, 4)?))?;
                (address(8)?, address(24)?, *packet.get(6)?, rest)
            }
            _ => return None,
        };
        let header = match protocol {
            6 => usize::from(rest.get(12)? >> 4) * 4,
            17 => 8,
            _ => return None,
        };
        Some(Self {
            source: SocketAddr::new(source, word(rest, 0)?),
            destination: SocketAddr::new(destination, word(rest, 2)?),
            payload: rest.get(header..)?,
        })
    }
}

/// The value of the first header of that name, written in full; empty where there is none.
#[must_use]
pub fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let mut lines = message.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_default().trim()
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;

    #[test]
    fn the_payload_of_both_transports_and_families_is_found() {
        for (source, destination) in [
            ("203.0.113.7:5070", "192.0.2.1:5060"),
            ("[2001:db8::7]:5070", "[2001:db8::1]:5060"),
        ] {
            for packet in [
                Packet::udp(source, destination),
                Packet::tcp(source, destination),
            ] {
                let frame = packet
                    .payload(b"OPTIONS sip:a SIP/2.0\r\nCall-ID: 7\r\n\r\n")
                    .build();
                let datagram = Datagram::read(&frame).unwrap();
                assert_eq!(datagram.source.to_string(), source);
                assert_eq!(datagram.destination.to_string(), destination);
                let text = String::from_utf8_lossy(datagram.payload);
                assert_eq!(header(&text, "Call-ID"), "7");
            }
        }
        assert_eq!(Datagram::read(&[0; 60]), None);
    }
}
