//! Packets byte by byte: link types, bounds, fragments, ICMP errors, and each reason for which a
//! packet is not understood.

use std::net::{IpAddr, SocketAddr};

use sipward_wire::ip::MAX_IPV6_EXTENSIONS;
use sipward_wire::tcp::TcpFlags;
use sipward_wire::{LinkType, NotUnderstood, Packet, Transport};
use test_case::test_case;

const PAYLOAD: &[u8] = b"OPTIONS sip:example.com SIP/2.0\r\n\r\n";

fn udp(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len())
        .expect("short")
        .to_be_bytes();
    [
        &[0x13, 0xc5, 0x13, 0xc4],
        length.as_slice(),
        &[0, 0],
        payload,
    ]
    .concat()
}

fn tcp(offset: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![
        0x13,
        0xc5,
        0x13,
        0xc4,
        0,
        0,
        0,
        7,
        0,
        0,
        0,
        9,
        offset << 4,
        0x18,
    ];
    header.extend([0x20, 0, 0, 0, 0, 0]);
    [header, payload.to_vec()].concat()
}

/// `fragment`: the flags and the offset in units of 8 bytes.
fn ipv4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len())
        .expect("short")
        .to_be_bytes();
    let fragment = fragment.to_be_bytes();
    let head = [
        0x45,
        0,
        length[0],
        length[1],
        0xab,
        0xcd,
        fragment[0],
        fragment[1],
        61,
        protocol,
    ];
    [
        &head,
        [0, 0, 192, 0, 2, 7, 198, 51, 100, 9].as_slice(),
        payload,
    ]
    .concat()
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("short").to_be_bytes();
    let mut head = vec![0x60, 0, 0, 0, length[0], length[1], next, 62];
    head.extend(
        "2001:db8::7"
            .parse::<std::net::Ipv6Addr>()
            .expect("an address")
            .octets(),
    );
    head.extend(
        "2001:db8::9"
            .parse::<std::net::Ipv6Addr>()
            .expect("an address")
            .octets(),
    );
    [head, payload.to_vec()].concat()
}

fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&[2; 12], ether_type.to_be_bytes().as_slice(), payload].concat()
}

fn tag(id: u16, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [
        &(0xe000 | id).to_be_bytes(),
        ether_type.to_be_bytes().as_slice(),
        payload,
    ]
    .concat()
}

fn whole_ipv4() -> Vec<u8> {
    ipv4(17, 0, &udp(PAYLOAD))
}

fn whole_ipv6() -> Vec<u8> {
    ipv6(17, &udp(PAYLOAD))
}

/// Extension headers of 8 bytes each, then UDP.
fn with_extensions(kinds: &[u8]) -> Vec<u8> {
    let mut payload = udp(PAYLOAD);
    let mut next = 17;
    for kind in kinds.iter().rev() {
        // The length of an authentication header counts four bytes, and two less.
        payload = [&[next, 0, 0, 0, 0, 0, 0, 0], payload.as_slice()].concat();
        next = *kind;
    }
    ipv6(next, &payload)
}

#[test_case(LinkType::Ethernet, ethernet(0x0800, &whole_ipv4()); "Ethernet and IPv4")]
#[test_case(LinkType::Ethernet, ethernet(0x86dd, &whole_ipv6()); "Ethernet and IPv6")]
#[test_case(LinkType::LinuxCooked, [&[0; 14], [8, 0].as_slice(), &whole_ipv4()].concat(); "cooked")]
#[test_case(LinkType::LinuxCooked, [&[0; 14], [0x81, 0].as_slice(), &tag(5, 0x800, &whole_ipv4())].concat(); "cooked with a tag")]
#[test_case(LinkType::LinuxCooked2, [&[8, 0], [0; 18].as_slice(), &whole_ipv4()].concat(); "cooked version 2")]
#[test_case(LinkType::LinuxCooked2, [&[0x86, 0xdd], [0; 18].as_slice(), &whole_ipv6()].concat(); "cooked version 2 and IPv6")]
#[test_case(LinkType::RawIp, whole_ipv4(); "no link header and IPv4")]
#[test_case(LinkType::RawIp, whole_ipv6(); "no link header and IPv6")]
#[test_case(LinkType::Loopback, [&[2, 0, 0, 0], whole_ipv4().as_slice()].concat(); "loopback in little endian")]
#[test_case(LinkType::Loopback, [&[0, 0, 0, 2], whole_ipv4().as_slice()].concat(); "loopback in big endian")]
#[test_case(LinkType::Loopback, [&[0, 0, 0, 24], whole_ipv6().as_slice()].concat(); "loopback of OpenBSD and IPv6")]
#[test_case(LinkType::Loopback, [&[30, 0, 0, 0], whole_ipv6().as_slice()].concat(); "loopback of Darwin and IPv6")]
fn each_link_type_leads_to_the_payload(link: LinkType, bytes: Vec<u8>) {
    let packet = Packet::parse(link, &bytes);
    assert_eq!(packet.payload(), Some(PAYLOAD));
    assert_eq!(packet.ports(), Some((5061, 5060)));
    let source = if packet.source().is_some_and(|source| source.is_ipv4()) {
        "192.0.2.7:5061"
    } else {
        "[2001:db8::7]:5061"
    };
    assert_eq!(packet.source_socket(), source.parse::<SocketAddr>().ok());
}

#[test_case(0, Some(LinkType::Loopback))]
#[test_case(1, Some(LinkType::Ethernet))]
#[test_case(12, Some(LinkType::RawIp))]
#[test_case(101, Some(LinkType::RawIp))]
#[test_case(108, Some(LinkType::Loopback))]
#[test_case(113, Some(LinkType::LinuxCooked))]
#[test_case(228, Some(LinkType::RawIp))]
#[test_case(229, Some(LinkType::RawIp))]
#[test_case(276, Some(LinkType::LinuxCooked2))]
#[test_case(105, None; "802.11")]
fn link_types_have_their_pcap_numbers(number: u32, link: Option<LinkType>) {
    assert_eq!(LinkType::from_pcap(number), link);
}

#[test]
fn two_tags_are_read_outermost_first() {
    let inner = tag(42, 0x0800, &whole_ipv4());
    let bytes = ethernet(0x88a8, &tag(7, 0x8100, &inner));
    let packet = Packet::parse(LinkType::Ethernet, &bytes);
    assert_eq!(packet.vlan_ids, [Some(7), Some(42)]);
    assert_eq!(packet.payload(), Some(PAYLOAD));

    let bytes = ethernet(0x8100, &inner);
    assert_eq!(
        Packet::parse(LinkType::Ethernet, &bytes).vlan_ids,
        [Some(42), None]
    );
}

fn edited(mut bytes: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    bytes[at] = value;
    bytes
}

fn cut(bytes: &[u8], length: usize) -> Vec<u8> {
    bytes[..length].to_vec()
}

#[test_case(ethernet(0x0806, &[0; 28]), NotUnderstood::NotIp; "ARP")]
#[test_case(ethernet(0x0100, &whole_ipv4()), NotUnderstood::NotIp; "802.3 length")]
#[test_case(vec![0; 13], NotUnderstood::ShortLinkHeader; "no EtherType")]
#[test_case(ethernet(0x8100, &[0, 1]), NotUnderstood::ShortLinkHeader; "half a tag")]
#[test_case(ethernet(0x8100, &tag(1, 0x8100, &tag(2, 0x8100, &tag(3, 0x0800, &whole_ipv4())))), NotUnderstood::TooManyVlanTags; "three tags")]
#[test_case(ethernet(0x0800, &[]), NotUnderstood::ShortIpHeader; "nothing after the EtherType")]
#[test_case(ethernet(0x0800, &cut(&whole_ipv4(), 19)), NotUnderstood::ShortIpHeader; "19 bytes of IPv4")]
#[test_case(ethernet(0x0800, &cut(&edited(whole_ipv4(), 0, 0x4f), 59)), NotUnderstood::ShortIpHeader; "options cut off")]
#[test_case(ethernet(0x86dd, &cut(&whole_ipv6(), 39)), NotUnderstood::ShortIpHeader; "39 bytes of IPv6")]
#[test_case(ethernet(0x0800, &whole_ipv6()), NotUnderstood::WrongIpVersion; "IPv6 as IPv4")]
#[test_case(ethernet(0x86dd, &whole_ipv4()), NotUnderstood::WrongIpVersion; "IPv4 as IPv6")]
#[test_case(ethernet(0x0800, &edited(whole_ipv4(), 0, 0x44)), NotUnderstood::BadIpHeaderLength; "header of 16 bytes")]
#[test_case(ethernet(0x0800, &edited(edited(whole_ipv4(), 2, 0), 3, 19)), NotUnderstood::BadIpHeaderLength; "packet shorter than its header")]
#[test_case(ethernet(0x0800, &ipv4(17, 0, &[0; 7])), NotUnderstood::ShortTransport; "7 bytes of UDP")]
#[test_case(ethernet(0x0800, &ipv4(6, 0, &[0; 19])), NotUnderstood::ShortTransport; "19 bytes of TCP")]
#[test_case(ethernet(0x0800, &ipv4(1, 0, &[3; 7])), NotUnderstood::ShortTransport; "7 bytes of ICMP")]
#[test_case(ethernet(0x0800, &edited(whole_ipv4(), 25, 7)), NotUnderstood::BadUdpLength; "UDP length of 7")]
#[test_case(ethernet(0x0800, &ipv4(6, 0, &tcp(4, PAYLOAD))), NotUnderstood::BadTcpOffset; "TCP header of 16 bytes")]
#[test_case(ethernet(0x86dd, &ipv6(60, &[17])), NotUnderstood::ShortExtension; "one byte of an extension")]
#[test_case(ethernet(0x86dd, &ipv6(60, &[17, 1, 0, 0, 0, 0, 0, 0])), NotUnderstood::ShortExtension; "extension longer than the packet")]
#[test_case(ethernet(0x86dd, &ipv6(44, &[17, 0, 0, 1])), NotUnderstood::ShortExtension; "half a fragment header")]
#[test_case(ethernet(0x86dd, &with_extensions(&[60; 9])), NotUnderstood::TooManyExtensions; "nine extensions")]
fn what_is_not_understood_has_a_reason(bytes: Vec<u8>, reason: NotUnderstood) {
    let packet = Packet::parse(LinkType::Ethernet, &bytes);
    assert_eq!(packet.transport, Transport::NotUnderstood(reason));
    assert_eq!(packet.payload(), None);
}

#[test]
fn addresses_are_known_even_where_the_transport_is_not() {
    let bytes = with_extensions(&[60; 9]);
    let packet = Packet::parse(LinkType::RawIp, &bytes);
    assert_eq!(packet.source(), "2001:db8::7".parse().ok());
    let bytes = ipv4(17, 0, &[0; 7]);
    let packet = Packet::parse(LinkType::RawIp, &bytes);
    assert_eq!(packet.destination(), "198.51.100.9".parse().ok());
}

#[test_case(&[0]; "hop-by-hop")]
#[test_case(&[43]; "routing")]
#[test_case(&[60]; "destination options")]
#[test_case(&[135]; "mobility")]
#[test_case(&[139]; "host identity")]
#[test_case(&[140]; "shim6")]
#[test_case(&[51]; "authentication")]
#[test_case(&[44]; "atomic fragment")]
#[test_case(&[0, 60, 43, 44, 51, 60, 135, 0]; "eight of them")]
fn extension_headers_are_walked(kinds: &[u8]) {
    let bytes = with_extensions(kinds);
    let packet = Packet::parse(LinkType::RawIp, &bytes);
    assert_eq!(packet.payload(), Some(PAYLOAD));
    assert!(kinds.len() <= MAX_IPV6_EXTENSIONS);
}

#[test]
fn the_payload_ends_where_the_length_fields_end() {
    let padded = [whole_ipv4(), vec![0xee; 9]].concat();
    let packet = Packet::parse(LinkType::RawIp, &padded);
    assert_eq!(packet.payload(), Some(PAYLOAD));
    assert!(!packet.ip.expect("IP").truncated);

    let short_udp = edited(whole_ipv4(), 25, 8 + 7);
    assert_eq!(
        Packet::parse(LinkType::RawIp, &short_udp).payload(),
        Some(&PAYLOAD[..7])
    );

    let long_udp = edited(whole_ipv4(), 24, 0x40);
    assert_eq!(
        Packet::parse(LinkType::RawIp, &long_udp).payload(),
        Some(PAYLOAD)
    );
}

#[test]
fn a_truncated_capture_says_so_and_keeps_what_is_there() {
    for bytes in [whole_ipv4(), whole_ipv6()] {
        let bytes = cut(&bytes, bytes.len() - 5);
        let packet = Packet::parse(LinkType::RawIp, &bytes);
        assert!(packet.ip.expect("IP").truncated);
        assert_eq!(packet.payload(), Some(&PAYLOAD[..PAYLOAD.len() - 5]));
    }
}

#[test]
fn offloaded_packets_without_a_length_reach_to_their_end() {
    let unfinished = edited(whole_ipv4(), 3, 0);
    let packet = Packet::parse(LinkType::RawIp, &unfinished);
    assert_eq!(packet.payload(), Some(PAYLOAD));

    for jumbo in [whole_ipv6(), with_extensions(&[0])] {
        let jumbo = edited(jumbo, 5, 0);
        let packet = Packet::parse(LinkType::RawIp, &jumbo);
        assert_eq!(packet.payload(), Some(PAYLOAD));
    }
    let unfinished = edited(whole_ipv4(), 25, 0);
    let packet = Packet::parse(LinkType::RawIp, &unfinished);
    assert_eq!(packet.payload(), Some(PAYLOAD), "a UDP length of 0");
}

#[test]
fn ports_are_known_even_where_the_header_is_cut() {
    let first = ipv4(6, 0x2000, &tcp(5, PAYLOAD)[..8]);
    let packet = Packet::parse(LinkType::RawIp, &first);
    let short = Transport::NotUnderstood(NotUnderstood::ShortTransport);
    assert_eq!(
        (packet.transport, packet.ports()),
        (short, Some((5061, 5060)))
    );

    let two_bytes = ipv4(6, 0, &[0x13, 0xc5]);
    assert_eq!(Packet::parse(LinkType::RawIp, &two_bytes).ports(), None);
    let icmp = ipv4(1, 0, &[8; 8]);
    assert_eq!(Packet::parse(LinkType::RawIp, &icmp).ports(), None);
}

#[test]
fn tcp_fields_and_options() {
    let segment = tcp(6, &[&[1, 1, 1, 1], PAYLOAD].concat());
    let bytes = ipv4(6, 0x4000, &segment);
    let packet = Packet::parse(LinkType::RawIp, &bytes);
    let Transport::Tcp(tcp_view) = packet.transport else {
        panic!("not TCP: {packet:?}");
    };
    assert_eq!(
        (tcp_view.sequence, tcp_view.acknowledgment, tcp_view.window),
        (7, 9, 0x2000)
    );
    assert!(tcp_view.flags.contains(TcpFlags::PSH) && tcp_view.flags.contains(TcpFlags::ACK));
    assert!(!tcp_view.flags.contains(TcpFlags::SYN));
    assert_eq!(tcp_view.payload, PAYLOAD);
    assert_eq!(packet.ip.expect("IP").fragment, None, "DF is no fragment");

    let beyond = ipv4(6, 0, &tcp(15, b"x"));
    let packet = Packet::parse(LinkType::RawIp, &beyond);
    assert_eq!(
        (packet.ports(), packet.payload()),
        (Some((5061, 5060)), Some(b"".as_slice()))
    );
}

#[test]
fn ipv4_fragments_are_told_apart_and_put_together() {
    let datagram = udp(PAYLOAD);
    let first_bytes = ipv4(17, 0x2000, &datagram[..24]);
    let first = Packet::parse(LinkType::RawIp, &first_bytes);
    assert_eq!(first.payload(), Some(&PAYLOAD[..16]));
    let head = first.ip.and_then(|ip| ip.fragment).expect("a fragment");
    assert_eq!(
        (head.id, head.offset, head.more, head.is_later()),
        (0xabcd, 0, true, false)
    );

    let later_bytes = ipv4(17, 3, &datagram[24..]);
    let later = Packet::parse(LinkType::RawIp, &later_bytes);
    assert_eq!(later.transport, Transport::LaterFragment);
    assert_eq!(later.ports(), None);
    let tail = later.ip.and_then(|ip| ip.fragment).expect("a fragment");
    assert_eq!((tail.offset, tail.more, tail.is_later()), (24, false, true));

    let whole = [head.data, tail.data].concat();
    let packet = Packet::of_reassembled(&later.ip.expect("IP"), &whole);
    assert_eq!(packet.payload(), Some(PAYLOAD));
    assert_eq!(packet.source(), "192.0.2.7".parse().ok());
}

/// Fragments of 8 bytes: the second one holds no header, however close to the start it is.
#[test]
fn the_smallest_offset_is_a_later_fragment() {
    let v4 = ipv4(17, 0x2001, &[0x13; 8]);
    let v6 = ipv6(
        44,
        &[&[17, 0, 0, 8, 0, 0, 0, 7], [0x13; 8].as_slice()].concat(),
    );
    for bytes in [v4, v6] {
        let packet = Packet::parse(LinkType::RawIp, &bytes);
        assert_eq!(
            (packet.transport, packet.ports()),
            (Transport::LaterFragment, None)
        );
    }
}

#[test]
fn ipv6_fragments_keep_the_extension_headers_of_the_whole() {
    let fragmented = [&[17, 0, 0, 0, 0, 0, 0, 0], udp(PAYLOAD).as_slice()].concat();
    let piece = |offset_and_flags: u16, data: &[u8]| {
        let [high, low] = offset_and_flags.to_be_bytes();
        ipv6(44, &[&[60, 0, high, low, 1, 2, 3, 4], data].concat())
    };
    let first_bytes = piece(1, &fragmented[..24]);
    let first = Packet::parse(LinkType::RawIp, &first_bytes);
    assert_eq!(first.payload(), Some(&PAYLOAD[..8]));
    let later_bytes = piece(24, &fragmented[24..]);
    let later = Packet::parse(LinkType::RawIp, &later_bytes);
    assert_eq!(later.transport, Transport::LaterFragment);

    let head = first.ip.and_then(|ip| ip.fragment).expect("a fragment");
    let tail = later.ip.and_then(|ip| ip.fragment).expect("a fragment");
    assert_eq!((head.id, head.more, tail.more), (0x0102_0304, true, false));
    assert_eq!((tail.offset, tail.protocol), (24, 60));
    let whole = [head.data, tail.data].concat();
    let packet = Packet::of_reassembled(&first.ip.expect("IP"), &whole);
    assert_eq!(packet.payload(), Some(PAYLOAD));
}

#[test]
fn icmp_unreachable_names_the_datagram_that_did_not_arrive() {
    let error_v4 = [&[3, 3, 0, 0, 0, 0, 0, 0], whole_ipv4().as_slice()].concat();
    let error_v6 = [&[1, 4, 0, 0, 0, 0, 0, 0], whole_ipv6().as_slice()].concat();
    for bytes in [ipv4(1, 0, &error_v4), ipv6(58, &error_v6)] {
        let packet = Packet::parse(LinkType::RawIp, &bytes);
        let Transport::Icmp(icmp) = packet.transport else {
            panic!("not ICMP: {packet:?}");
        };
        assert!(icmp.is_unreachable());
        let original = icmp.original.expect("a quote");
        assert_eq!(original.ports, Some((5061, 5060)));
        assert_eq!(
            Some(original.source),
            packet.source(),
            "the test quotes its own header"
        );
        assert_eq!(
            original.destination_socket().map(|to| to.port()),
            Some(5060)
        );
        assert_eq!(original.source_socket().map(|from| from.port()), Some(5061));
        assert_eq!(original.payload, PAYLOAD);
    }
}

#[test]
fn the_least_that_a_router_quotes_is_enough_for_the_ports() {
    let quote = cut(&whole_ipv4(), 28);
    let bytes = ipv4(
        1,
        0,
        &[&[11, 0, 0, 0, 0, 0, 0, 0], quote.as_slice()].concat(),
    );
    let Transport::Icmp(icmp) = Packet::parse(LinkType::RawIp, &bytes).transport else {
        panic!("not ICMP");
    };
    assert!(!icmp.is_unreachable(), "time exceeded");
    let original = icmp.original.expect("a quote");
    assert_eq!(
        original.destination,
        "198.51.100.9".parse::<IpAddr>().expect("an address")
    );
    assert_eq!(
        (original.ports, original.payload),
        (Some((5061, 5060)), b"".as_slice())
    );
}

#[test]
fn other_icmp_has_no_original() {
    let bytes = ipv4(
        1,
        0,
        &[&[8, 0, 0, 0, 0, 0, 0, 0], whole_ipv4().as_slice()].concat(),
    );
    let Transport::Icmp(icmp) = Packet::parse(LinkType::RawIp, &bytes).transport else {
        panic!("not ICMP");
    };
    assert_eq!((icmp.kind, icmp.original), (8, None));
}

#[test_case(ipv4(132, 0, PAYLOAD), 132; "SCTP")]
#[test_case(ipv4(58, 0, PAYLOAD), 58; "ICMPv6 in IPv4")]
#[test_case(ipv4(51, 0, PAYLOAD), 51; "authentication header in IPv4")]
#[test_case(ipv6(1, PAYLOAD), 1; "ICMP in IPv6")]
#[test_case(ipv6(59, PAYLOAD), 59; "no next header")]
fn other_protocols_are_named(bytes: Vec<u8>, protocol: u8) {
    let packet = Packet::parse(LinkType::RawIp, &bytes);
    assert_eq!(packet.transport, Transport::Other);
    assert_eq!(packet.ip.expect("IP").protocol, protocol);
}
