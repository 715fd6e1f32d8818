//! Packets that are written here, from the IP header on.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::ip::PROTOCOL_UDP;

/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;
/// What the usual operating systems begin with.
const HOP_LIMIT: u8 = 64;

/// Whether one host may have this address, so that it can be sent to and answered from: none that
/// is unspecified, of this machine only, of a group, or everybody's.
#[must_use]
pub fn is_host(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            !matches!(first, 0 | 127 | 224..=255)
        }
        IpAddr::V6(address) => {
            !(address.is_unspecified() || address.is_loopback() || address.is_multicast())
        }
    }
}

/// A datagram with its IP header, checksums included. Allocates.
///
/// `None` where the two addresses are not of one IP version or not each of [one host](is_host), and
/// for a payload that is too long.
#[must_use]
pub fn udp_packet(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(UDP_HEADER + payload.len()).ok()?;
    let mut udp = Vec::with_capacity(length.into());
    udp.extend(source.port().to_be_bytes());
    udp.extend(destination.port().to_be_bytes());
    udp.extend(length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let (from, to) = (source.ip(), destination.ip());
    let sum = match checksum(&[&pseudo_header(from, to, PROTOCOL_UDP, length), &udp]) {
        // Zero would say that there is no checksum (RFC 768).
        0 => 0xffff,
        sum => sum,
    };
    put_u16(&mut udp, 6, sum);
    ip_packet(from, to, PROTOCOL_UDP, &udp)
}

fn ip_packet(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Option<Vec<u8>> {
    if !is_host(source) || !is_host(destination) {
        return None;
    }
    let mut packet = match (source.to_canonical(), destination.to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = Vec::with_capacity(20 + payload.len());
            header.extend([0x45, 0]);
            header.extend(u16::try_from(20 + payload.len()).ok()?.to_be_bytes());
            header.extend([0, 0, 0, 0, HOP_LIMIT, protocol, 0, 0]);
            header.extend(source.octets());
            header.extend(destination.octets());
            let sum = checksum(&[&header]);
            put_u16(&mut header, 10, sum);
            header
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = Vec::with_capacity(40 + payload.len());
            header.extend([0x60, 0, 0, 0]);
            header.extend(u16::try_from(payload.len()).ok()?.to_be_bytes());
            header.extend([protocol, HOP_LIMIT]);
            header.extend(source.octets());
            header.extend(destination.octets());
            header
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    packet.extend(payload);
    Some(packet)
}

/// What a transport's checksum covers besides the transport (RFC 768, RFC 8200 section 8.1).
fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: u16) -> Vec<u8> {
    let mut header = Vec::with_capacity(40);
    for address in [source, destination] {
        match address.to_canonical() {
            IpAddr::V4(address) => header.extend(address.octets()),
            IpAddr::V6(address) => header.extend(address.octets()),
        }
    }
    // The sum is the same whether length and protocol take 16 bits or 32.
    header.extend(length.to_be_bytes());
    header.extend([0, protocol]);
    header
}

/// The Internet checksum (RFC 1071) of these pieces; all but the last have an even length.
fn checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for piece in pieces {
        for pair in piece.chunks(2) {
            let mut word = [0; 2];
            for (to, from) in word.iter_mut().zip(pair) {
                *to = *from;
            }
            sum += u64::from(u16::from_be_bytes(word));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{Ipv4HeaderSlice, SlicedPacket, TransportSlice};
    use proptest::prelude::*;
    use test_case::test_case;

    use super::*;

    #[test_case("192.0.2.1:5060", "203.0.113.7:5063"; "ipv4")]
    #[test_case("[2001:db8:2::1]:5060", "[2001:db8:7::7]:5063"; "ipv6")]
    #[test_case("[::ffff:192.0.2.1]:5060", "203.0.113.7:5063"; "ipv4 in other clothes")]
    fn another_reader_reads_the_datagram(source: &str, destination: &str) {
        let source: SocketAddr = source.parse().unwrap();
        let destination: SocketAddr = destination.parse().unwrap();
        proptest!(|(payload: Vec<u8>)| {
            let packet = udp_packet(source, destination, &payload).unwrap();
            let sliced = SlicedPacket::from_ip(&packet).unwrap();
            let Some(TransportSlice::Udp(udp)) = sliced.transport else {
                panic!("no UDP");
            };
            prop_assert_eq!(udp.source_port(), source.port());
            prop_assert_eq!(udp.destination_port(), destination.port());
            prop_assert_eq!(udp.payload(), &payload);
            let header = udp.to_header();
            let expected = match (source.ip().to_canonical(), destination.ip()) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    let ip = Ipv4HeaderSlice::from_slice(&packet).unwrap();
                    prop_assert_eq!(ip.source_addr(), from);
                    prop_assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
                    header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &payload)
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    header.calc_checksum_ipv6_raw(from.octets(), to.octets(), &payload)
                }
                _ => unreachable!(),
            };
            prop_assert_eq!(header.checksum, expected.unwrap());
        });
    }

    #[test_case("192.0.2.1:1", "224.0.1.75:1"; "to a group")]
    #[test_case("192.0.2.1:1", "255.255.255.255:1"; "to everybody")]
    #[test_case("192.0.2.1:1", "0.0.0.0:1"; "to nobody")]
    #[test_case("192.0.2.1:1", "127.0.0.1:1"; "to oneself")]
    #[test_case("224.0.1.75:1", "192.0.2.1:1"; "from a group")]
    #[test_case("[2001:db8::1]:1", "[ff02::1]:1"; "to a group of IPv6")]
    #[test_case("[2001:db8::1]:1", "[::1]:1"; "to oneself over IPv6")]
    #[test_case("[2001:db8::1]:1", "192.0.2.1:1"; "from IPv6 to IPv4")]
    fn what_no_single_host_gets_is_not_written(source: &str, destination: &str) {
        let packet = udp_packet(source.parse().unwrap(), destination.parse().unwrap(), b"x");
        assert_eq!(packet, None);
    }

    #[test]
    fn a_payload_too_long_for_a_datagram_is_not_written() {
        let (source, destination) = (
            "192.0.2.1:1".parse().unwrap(),
            "192.0.2.2:1".parse().unwrap(),
        );
        assert!(udp_packet(source, destination, &[0; 65_507]).is_some());
        assert_eq!(udp_packet(source, destination, &[0; 65_508]), None);
    }
}
