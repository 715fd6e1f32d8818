//! Whatever `etherparse` reads strictly, this crate reads the same; and nothing makes it panic.

use std::net::IpAddr;

use etherparse::{
    IpAuthHeader, IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv4Options,
    Ipv6Extensions, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, Ipv6RoutingExtensions,
    LinkExtSlice, NetSlice, PacketBuilder, SlicedPacket, TcpHeader, TransportSlice, UdpHeader,
    VlanId,
};
use proptest::collection::vec;
use proptest::prelude::*;
use sipward_wire::link::MAX_VLAN_TAGS;
use sipward_wire::{LinkType, Packet, Transport};

use crate::invariants;

/// Which oracle reads which link type.
const LINKS: [LinkType; 3] = [LinkType::Ethernet, LinkType::LinuxCooked, LinkType::RawIp];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn valid_packets_are_read_as_by_etherparse(packet in packet()) {
        let (link, bytes) = packet;
        let oracle = sliced(link, &bytes).expect("a valid packet");
        prop_assert!(oracle.net.is_some());
        let ours = Packet::parse(link, &bytes);
        prop_assert!(!matches!(ours.transport, Transport::NotUnderstood(_)), "{ours:?}");
        assert_agreement(&oracle, &ours);
    }

    #[test]
    fn mutants_that_etherparse_still_reads_are_read_the_same(
        packet in packet(),
        changes in vec((0usize..120, any::<u8>()), 1..4),
        length in prop::option::weighted(0.2, 0usize..200),
    ) {
        let (link, mut bytes) = packet;
        for (position, value) in changes {
            if let Some(byte) = bytes.get_mut(position) {
                *byte = value;
            }
        }
        bytes.truncate(length.unwrap_or(bytes.len()));
        let ours = Packet::parse(link, &bytes);
        if let Some(oracle) = sliced(link, &bytes)
            && oracle.net.is_some()
        {
            assert_agreement(&oracle, &ours);
        }
    }

    #[test]
    fn arbitrary_bytes_are_read_without_a_panic(
        bytes in vec(any::<u8>(), 0..200),
    ) {
        invariants::packet(&bytes);
    }

    #[test]
    fn a_packet_cut_short_never_says_something_else(packet in packet(), kept in 0usize..200) {
        let (link, bytes) = packet;
        let whole = Packet::parse(link, &bytes);
        let cut = Packet::parse(link, &bytes[..kept.min(bytes.len())]);
        if let Some(ip) = cut.ip {
            prop_assert_eq!(ip.source, whole.source().expect("an address"));
            let payload = whole.payload().expect("UDP or TCP").as_ptr_range();
            let end = payload.end as usize - bytes.as_ptr() as usize;
            prop_assert_eq!(ip.truncated, kept < end, "Ethernet padding is no loss");
        }
        if let Some(ports) = cut.ports() {
            prop_assert_eq!(Some(ports), whole.ports());
        }
        if let Some(payload) = cut.payload() {
            prop_assert!(whole.payload().expect("a payload").starts_with(payload));
        }
    }
}

fn sliced(link: LinkType, bytes: &[u8]) -> Option<SlicedPacket<'_>> {
    match link {
        LinkType::Ethernet => SlicedPacket::from_ethernet(bytes).ok(),
        LinkType::LinuxCooked => SlicedPacket::from_linux_sll(bytes).ok(),
        LinkType::RawIp => SlicedPacket::from_ip(bytes).ok(),
        LinkType::LinuxCooked2 | LinkType::Loopback => None,
    }
}

fn assert_agreement(oracle: &SlicedPacket<'_>, ours: &Packet<'_>) {
    if reads_more_links_than_we(oracle) {
        return;
    }
    let Some(ip) = ours.ip else {
        panic!(
            "etherparse reads {:?}, we do not: {:?}",
            oracle.net, ours.transport
        );
    };
    match oracle
        .net
        .as_ref()
        .expect("only packets with IP are compared")
    {
        NetSlice::Ipv4(theirs) => {
            let header = theirs.header();
            assert_eq!(ip.source, IpAddr::from(header.source_addr()));
            assert_eq!(ip.destination, IpAddr::from(header.destination_addr()));
            assert_eq!(ip.hop_limit, header.ttl());
            // They take AH for an extension of IPv4, too.
            if header.protocol() == IpNumber::AUTHENTICATION_HEADER {
                return;
            }
            assert_eq!(ip.protocol, theirs.payload().ip_number.0);
            assert_eq!(ip.payload, theirs.payload().payload);
            assert_eq!(ip.fragment.is_some(), theirs.payload().fragmented);
            let fragment = ip.fragment;
            assert_eq!(
                fragment.map_or(0, |it| it.offset),
                header.fragments_offset().byte_offset()
            );
            assert_eq!(fragment.is_some_and(|it| it.more), header.more_fragments());
        }
        NetSlice::Ipv6(theirs) => {
            let header = theirs.header();
            assert_eq!(ip.source, IpAddr::from(header.source_addr()));
            assert_eq!(ip.destination, IpAddr::from(header.destination_addr()));
            assert_eq!(ip.hop_limit, header.hop_limit());
            let payload = theirs.payload();
            // They stop at mobility, HIP and shim6 headers, and they walk on in later fragments
            // and behind eight headers.
            let walked_otherwise = matches!(payload.ip_number.0, 135 | 139 | 140)
                || ip.is_later_fragment()
                || ours.transport
                    == Transport::NotUnderstood(sipward_wire::NotUnderstood::TooManyExtensions);
            if walked_otherwise {
                return;
            }
            assert_eq!(ip.protocol, payload.ip_number.0);
            assert_eq!(ip.payload, payload.payload);
            let is_piece = ip.fragment.is_some_and(|fragment| !fragment.is_whole());
            assert_eq!(is_piece, payload.fragmented);
        }
        NetSlice::Arp(_) => panic!("we read ARP as IP: {ip:?}"),
    }
    match oracle.transport.as_ref() {
        Some(TransportSlice::Udp(theirs)) => {
            let Transport::Udp(udp) = ours.transport else {
                panic!("etherparse reads {theirs:?}, we {:?}", ours.transport);
            };
            assert_eq!(udp.source_port, theirs.source_port());
            assert_eq!(udp.destination_port, theirs.destination_port());
            assert_eq!(udp.payload, theirs.payload());
        }
        Some(TransportSlice::Tcp(theirs)) => {
            let Transport::Tcp(tcp) = ours.transport else {
                panic!("etherparse reads {theirs:?}, we {:?}", ours.transport);
            };
            assert_eq!(tcp.source_port, theirs.source_port());
            assert_eq!(tcp.destination_port, theirs.destination_port());
            assert_eq!(tcp.sequence, theirs.sequence_number());
            assert_eq!(tcp.acknowledgment, theirs.acknowledgment_number());
            assert_eq!(tcp.window, theirs.window_size());
            assert_eq!(
                tcp.flags.contains(sipward_wire::tcp::TcpFlags::SYN),
                theirs.syn()
            );
            assert_eq!(
                tcp.flags.contains(sipward_wire::tcp::TcpFlags::FIN),
                theirs.fin()
            );
            assert_eq!(
                tcp.flags.contains(sipward_wire::tcp::TcpFlags::RST),
                theirs.rst()
            );
            assert_eq!(
                tcp.flags.contains(sipward_wire::tcp::TcpFlags::ACK),
                theirs.ack()
            );
            assert_eq!(tcp.payload, theirs.payload());
        }
        // ICMP of the other IP version, IGMP, fragments: theirs or ours have no view of it.
        Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_))
        | None => {}
    }
}

/// More tags than two, the tag of 0x9100, MACsec.
fn reads_more_links_than_we(oracle: &SlicedPacket<'_>) -> bool {
    let is_ours = |slice: &LinkExtSlice<'_>| match slice {
        LinkExtSlice::Vlan(_) => true,
        LinkExtSlice::Macsec(_) => false,
    };
    let q_in_q = oracle.link.as_ref().and_then(|link| link.ether_payload());
    let inner = oracle
        .link_exts
        .iter()
        .filter_map(|ext| ext.ether_payload());
    oracle.link_exts.len() > MAX_VLAN_TAGS
        || !oracle.link_exts.iter().all(is_ours)
        || q_in_q
            .into_iter()
            .chain(inner)
            .any(|payload| payload.ether_type.0 == 0x9100)
}

/// A valid packet with up to two VLAN tags, options, extension headers, UDP or TCP.
fn packet() -> impl Strategy<Value = (LinkType, Vec<u8>)> {
    (
        prop::sample::select(LINKS.to_vec()),
        vec(0u16..4096, 0..=2),
        prop_oneof![ipv4(), ipv6()],
        prop_oneof![udp(), tcp()],
        vec(any::<u8>(), 0..64),
        // Padding of short Ethernet frames.
        prop::option::of(1usize..46),
    )
        .prop_map(|(link, vlans, ip, transport, payload, padding)| {
            let mut bytes = build(link, &vlans, ip, &transport, &payload);
            if link == LinkType::Ethernet {
                bytes.resize(bytes.len() + padding.unwrap_or(0), 0);
            }
            (link, bytes)
        })
}

fn build(
    link: LinkType,
    vlans: &[u16],
    ip: IpHeaders,
    transport: &TransportHeader,
    payload: &[u8],
) -> Vec<u8> {
    let id = |id: u16| VlanId::try_new(id).expect("12 bits");
    let step = match (link, vlans) {
        (LinkType::Ethernet, [vlan]) => PacketBuilder::ethernet2([2; 6], [4; 6])
            .single_vlan(id(*vlan))
            .ip(ip),
        (LinkType::Ethernet, [outer, inner]) => PacketBuilder::ethernet2([2; 6], [4; 6])
            .double_vlan(id(*outer), id(*inner))
            .ip(ip),
        (LinkType::Ethernet, _) => PacketBuilder::ethernet2([2; 6], [4; 6]).ip(ip),
        (LinkType::LinuxCooked, _) => {
            PacketBuilder::linux_sll(etherparse::LinuxSllPacketType::OTHERHOST, 6, [2; 8]).ip(ip)
        }
        (LinkType::RawIp | LinkType::LinuxCooked2 | LinkType::Loopback, _) => PacketBuilder::ip(ip),
    };
    let mut bytes = Vec::new();
    match transport {
        TransportHeader::Udp(header) => step
            .udp(header.source_port, header.destination_port)
            .write(&mut bytes, payload)
            .expect("a packet that fits"),
        TransportHeader::Tcp(header) => step
            .tcp_header(header.clone())
            .write(&mut bytes, payload)
            .expect("a packet that fits"),
    }
    bytes
}

#[derive(Debug, Clone)]
enum TransportHeader {
    Udp(UdpHeader),
    Tcp(TcpHeader),
}

fn udp() -> BoxedStrategy<TransportHeader> {
    any::<(u16, u16)>()
        .prop_map(|(source_port, destination_port)| {
            TransportHeader::Udp(UdpHeader {
                source_port,
                destination_port,
                ..Default::default()
            })
        })
        .boxed()
}

fn tcp() -> BoxedStrategy<TransportHeader> {
    (
        any::<(u16, u16, u32, u32, u16)>(),
        any::<[bool; 5]>(),
        0usize..=10,
    )
        .prop_map(
            |((source, destination, sequence, acknowledgment, window), flags, options)| {
                let mut header = TcpHeader::new(source, destination, sequence, window);
                header.acknowledgment_number = acknowledgment;
                [header.fin, header.syn, header.rst, header.psh, header.ack] = flags;
                header
                    .set_options_raw(&vec![1; options * 4])
                    .expect("at most 40 bytes");
                TransportHeader::Tcp(header)
            },
        )
        .boxed()
}

fn ipv4() -> BoxedStrategy<IpHeaders> {
    (any::<([u8; 4], [u8; 4], u8, u16)>(), 0usize..=10)
        .prop_map(|((source, destination, ttl, id), options)| {
            let mut header = Ipv4Header::new(0, ttl, IpNumber::UDP, source, destination)
                .expect("an empty payload fits");
            header.identification = id;
            header.options =
                Ipv4Options::try_from(vec![1; options * 4].as_slice()).expect("at most 40 bytes");
            IpHeaders::Ipv4(header, Ipv4Extensions::default())
        })
        .boxed()
}

fn ipv6() -> BoxedStrategy<IpHeaders> {
    let options = || {
        let lengths = prop::sample::select(vec![6usize, 14, 22, 62]);
        prop::option::weighted(
            0.3,
            lengths.prop_map(|length| {
                Ipv6RawExtHeader::new_raw(IpNumber::UDP, &vec![0; length]).expect("a multiple of 8")
            }),
        )
    };
    let auth = prop::option::weighted(
        0.2,
        any::<(u32, u32)>().prop_map(|(spi, sequence)| {
            IpAuthHeader::new(IpNumber::UDP, spi, sequence, &[7; 12]).expect("a multiple of 4")
        }),
    );
    let fragment = prop::option::weighted(
        0.2,
        any::<u32>()
            .prop_map(|id| Ipv6FragmentHeader::new(IpNumber::UDP, IpFragOffset::ZERO, false, id)),
    );
    (
        any::<([u8; 16], [u8; 16], u8)>(),
        options(),
        options(),
        options(),
        options(),
        fragment,
        auth,
    )
        .prop_map(
            |((source, destination, hop_limit), hop, before, routing, after, fragment, auth)| {
                let header = Ipv6Header {
                    source,
                    destination,
                    hop_limit,
                    ..Default::default()
                };
                let routing = routing.map(|routing| Ipv6RoutingExtensions {
                    routing,
                    final_destination_options: after,
                });
                let extensions = Ipv6Extensions {
                    hop_by_hop_options: hop,
                    destination_options: before,
                    routing,
                    fragment,
                    auth,
                };
                IpHeaders::Ipv6(header, extensions)
            },
        )
        .boxed()
}
