//! Packets that are written here, from the IP header on.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::ip::{Ip, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};

/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;
/// Bytes of an ICMP header, and as many of the transport are quoted (RFC 792).
const ICMP_HEADER: usize = 8;
/// Destination unreachable: communication administratively prohibited (RFC 1812 section 5.2.7.1).
const PROHIBITED_V4: [u8; 2] = [3, 13];
/// The same of ICMPv6 (RFC 4443 section 3.1).
const PROHIBITED_V6: [u8; 2] = [1, 1];
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

/// The ICMP or ICMPv6 error that says "administratively prohibited" about a packet of UDP or TCP, from
/// its destination to its source: 56 bytes, over IPv6 96, more where IPv4 has options. It quotes the
/// IP header and 8 bytes, which is what hosts and address translators know their packets by. `head`
/// is how the packet begins, `length` how long it is. Allocates.
///
/// `None` wherever the error would be longer than the packet, or must not be (RFC 1122 section 3.2.2,
/// RFC 4443 section 2.4): about another protocol, ICMP first of all, about a later fragment, and
/// where source and destination are not each [one host](is_host). Also behind IPv6 extension headers:
/// the 8 bytes would not reach the ports.
#[must_use]
pub fn prohibited(head: &[u8], length: usize) -> Option<Vec<u8>> {
    let ip = Ip::parse(head).ok()?;
    if ip.is_later_fragment() || !matches!(ip.protocol, PROTOCOL_UDP | PROTOCOL_TCP) {
        return None;
    }
    let quoted = head.len() - ip.payload.len() + ICMP_HEADER;
    let quote = head.get(..quoted)?;
    let (protocol, kind) = match ip.source {
        IpAddr::V4(_) => (PROTOCOL_ICMP, PROHIBITED_V4),
        IpAddr::V6(_) => (PROTOCOL_ICMPV6, PROHIBITED_V6),
    };
    let mut icmp = Vec::with_capacity(ICMP_HEADER + quoted);
    icmp.extend(kind);
    icmp.extend([0; ICMP_HEADER - 2]);
    icmp.extend(quote);
    let icmp_length = u16::try_from(icmp.len()).ok()?;
    let sum = match ip.source {
        IpAddr::V4(_) => checksum(&[&icmp]),
        IpAddr::V6(_) => {
            let pseudo = pseudo_header(ip.destination, ip.source, protocol, icmp_length);
            checksum(&[&pseudo, &icmp])
        }
    };
    put_u16(&mut icmp, 2, sum);
    let error = ip_packet(ip.destination, ip.source, protocol, &icmp)?;
    (error.len() <= length).then_some(error)
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
    use alloc::string::ToString as _;

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

    /// A packet of this protocol and length, from its IP header on.
    fn packet(ipv6: bool, protocol: u8, length: usize) -> Vec<u8> {
        let (from, to) = if ipv6 {
            ("2001:db8:7::7", "2001:db8:2::1")
        } else {
            ("203.0.113.7", "192.0.2.1")
        };
        let header = if ipv6 { 40 } else { 20 };
        let payload: Vec<u8> = (0..length - header).map(|n| n as u8).collect();
        ip_packet(
            from.parse().unwrap(),
            to.parse().unwrap(),
            protocol,
            &payload,
        )
        .unwrap()
    }

    #[test_case(false, PROTOCOL_UDP; "udp over ipv4")]
    #[test_case(false, PROTOCOL_TCP; "tcp over ipv4")]
    #[test_case(true, PROTOCOL_UDP; "udp over ipv6")]
    #[test_case(true, PROTOCOL_TCP; "tcp over ipv6")]
    fn another_reader_reads_the_error(ipv6: bool, protocol: u8) {
        let original = packet(ipv6, protocol, 300);
        let error = prohibited(&original[..48], original.len()).unwrap();
        assert_eq!(error.len(), if ipv6 { 96 } else { 56 });
        let sliced = SlicedPacket::from_ip(&error).unwrap();
        match sliced.transport {
            Some(TransportSlice::Icmpv4(icmp)) if !ipv6 => {
                let ip = Ipv4HeaderSlice::from_slice(&error).unwrap();
                assert_eq!(ip.source_addr().to_string(), "192.0.2.1");
                assert_eq!(ip.destination_addr().to_string(), "203.0.113.7");
                assert_eq!((icmp.type_u8(), icmp.code_u8()), (3, 13));
                let sum = icmp.icmp_type().calc_checksum(icmp.payload());
                assert_eq!(icmp.checksum(), sum);
                assert_eq!(icmp.payload(), &original[..28]);
            }
            Some(TransportSlice::Icmpv6(icmp)) if ipv6 => {
                let (from, to) = (&error[8..24], &error[24..40]);
                assert_eq!((from, to), (&original[24..40], &original[8..24]));
                assert_eq!((icmp.type_u8(), icmp.code_u8()), (1, 1));
                let sum = icmp.icmp_type().calc_checksum(
                    from.try_into().unwrap(),
                    to.try_into().unwrap(),
                    icmp.payload(),
                );
                assert_eq!(icmp.checksum(), sum.unwrap());
                assert_eq!(icmp.payload(), &original[..48]);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test_case(false, 55, 56; "ipv4")]
    #[test_case(true, 95, 96; "ipv6")]
    fn no_error_is_longer_than_its_packet(ipv6: bool, short: usize, enough: usize) {
        let head = packet(ipv6, PROTOCOL_UDP, 300);
        assert_eq!(prohibited(&head, short), None);
        assert_eq!(prohibited(&head, enough).unwrap().len(), enough);
    }

    #[test]
    fn options_are_quoted_where_the_head_has_them() {
        let mut original = packet(false, PROTOCOL_UDP, 300);
        original[0] = 0x4a;
        let error = prohibited(&original[..48], 300).unwrap();
        assert_eq!(error.len(), 76);
        assert_eq!(error[28..], original[..48]);
        original[0] = 0x4b;
        assert_eq!(prohibited(&original[..48], 300), None);
    }

    /// What the header of a packet says otherwise, and where.
    #[test_case(false, 9, &[PROTOCOL_ICMP]; "icmp")]
    #[test_case(false, 9, &[47]; "another protocol")]
    #[test_case(false, 6, &[0, 1]; "a later fragment")]
    #[test_case(false, 12, &[224, 0, 1, 75]; "from a group")]
    #[test_case(false, 12, &[255, 255, 255, 255]; "from everybody")]
    #[test_case(false, 12, &[127, 0, 0, 1]; "from this machine")]
    #[test_case(false, 16, &[224, 0, 1, 75]; "to a group")]
    #[test_case(false, 16, &[255, 255, 255, 255]; "to everybody")]
    #[test_case(true, 6, &[PROTOCOL_ICMPV6]; "icmpv6")]
    #[test_case(true, 6, &[44]; "a fragment of ipv6")]
    #[test_case(true, 6, &[0]; "an extension header")]
    #[test_case(true, 8, &[0xff, 2]; "from a group of ipv6")]
    #[test_case(true, 24, &[0xff, 2]; "to a group of ipv6")]
    fn what_must_not_have_an_error_has_none(ipv6: bool, at: usize, bytes: &[u8]) {
        let mut original = packet(ipv6, PROTOCOL_UDP, 300);
        assert!(prohibited(&original, 300).is_some());
        original[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(prohibited(&original, 300), None);
    }

    proptest! {
        #[test]
        fn an_error_about_anything_is_no_longer_and_goes_back(
            mut head in proptest::collection::vec(any::<u8>(), 0..80),
            version in prop_oneof![Just(0x45u8), Just(0x4a), Just(0x60), any::<u8>()],
            protocol in prop_oneof![Just(PROTOCOL_UDP), any::<u8>()],
            length in 0usize..200,
        ) {
            if let Some(first) = head.first_mut() {
                *first = version;
            }
            for at in [6, 9] {
                if let Some(byte) = head.get_mut(at) {
                    *byte = protocol;
                }
            }
            let Some(error) = prohibited(&head, length) else {
                return Ok(());
            };
            prop_assert!(error.len() <= length);
            let (about, error) = (Ip::parse(&head).unwrap(), Ip::parse(&error).unwrap());
            prop_assert_eq!((error.source, error.destination), (about.destination, about.source));
            prop_assert!(is_host(about.source) && is_host(about.destination));
        }
    }
}
