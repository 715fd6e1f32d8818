use super::*;

const V4: (&str, &str) = ("203.0.113.7:5060", "192.0.2.1:5061");
const V6: (&str, &str) = ("[2001:db8::7]:5060", "[2001:db8::1]:5061");

/// A packet whose checksum field is right sums to zero.
fn transport_sums_to_zero(packet: &Packet) -> bool {
    let bytes = packet.transport_bytes();
    internet_checksum(&[&packet.pseudo_header(bytes.len()), &bytes]) == 0
}

#[test]
fn ipv4_header_has_right_length_and_checksum() {
    let frame = Packet::udp(V4.0, V4.1)
        .ipv4_options(&[7, 3, 4])
        .payload(b"abc")
        .build();
    assert_eq!(frame.len(), ETHERNET_HEADER + 24 + 8 + 3);
    assert_eq!(frame[14], 0x46);
    assert_eq!(u16::from_be_bytes([frame[16], frame[17]]), 35);
    assert_eq!(internet_checksum(&[&frame[14..38]]), 0);
}

#[test]
fn checksums_cover_odd_payloads_of_both_families_and_transports() {
    for (source, destination) in [V4, V6] {
        assert!(transport_sums_to_zero(
            &Packet::udp(source, destination).payload(b"odd")
        ));
        let tcp = Packet::tcp(source, destination).tcp_options(&[2, 4, 5, 0xb4]);
        assert!(transport_sums_to_zero(&tcp.payload(b"INVITE")));
    }
}

#[test]
fn extension_headers_are_chained_in_order() {
    let frame = Packet::udp(V6.0, V6.1)
        .extension(Extension::HopByHop(vec![]))
        .extension(Extension::Routing(0, vec![0; 4]))
        .extension(Extension::DestinationOptions(vec![0; 7]))
        .payload(b"x")
        .build();
    let chain = [frame[20], frame[54], frame[62], frame[70], frame[71]];
    assert_eq!(chain, [0, 43, 60, 17, 1]);
    assert_eq!(frame.len(), ETHERNET_HEADER + 40 + 8 + 8 + 16 + 8 + 1);
}

#[test]
fn fragments_join_to_the_whole_datagram() {
    for (source, destination, header) in [(V4.0, V4.1, 34), (V6.0, V6.1, 62)] {
        let packet = Packet::udp(source, destination).payload(&[b'z'; 45]);
        let fragments = packet.fragments(16);
        assert_eq!(fragments.len(), 4);
        let joined: Vec<u8> = fragments
            .iter()
            .flat_map(|f| f[header..].to_vec())
            .collect();
        assert_eq!(joined, packet.transport_bytes());
    }
}

#[test]
fn tags_stand_outside_in_order() {
    let frame = Packet::udp(V4.0, V4.1).tag(0x88a8, 3).vlan(4).build();
    assert_eq!(frame[12..22], [0x88, 0xa8, 0, 3, 0x81, 0, 0, 4, 0x08, 0]);
}

#[test]
fn a_later_fragment_has_no_transport_header() {
    let frame = Packet::udp(V4.0, V4.1)
        .fragment(1480, false)
        .payload(b"tail")
        .build();
    assert_eq!(&frame[34..], b"tail");
    assert_eq!(u16::from_be_bytes([frame[20], frame[21]]), 185);
}
