use proptest::prelude::*;
use test_case::test_case;

use super::{SCANNER, Seen, note, register, scan, tables};
use crate::sensors::{
    HepPorts, HepSensor, SipPorts,
    hep::{Captured, NotCaptured, read},
};
use sipward_engine::{Direction, Time, Transport};

fn chunk(vendor: u16, kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 6 + value.len() as u16;
    let header = [vendor, kind, length].map(u16::to_be_bytes).concat();
    [&header, value].concat()
}

fn datagram(chunks: &[Vec<u8>]) -> Vec<u8> {
    let chunks = chunks.concat();
    let length = 6 + chunks.len() as u16;
    [b"HEP3", &length.to_be_bytes()[..], &chunks].concat()
}

/// What Asterisk's `res_hep` sends: addresses, protocol, time, kind, agent, correlation, payload.
fn of_asterisk(protocol: u8, payload: &[u8]) -> Vec<Vec<u8>> {
    vec![
        chunk(0, 1, &[2]),
        chunk(0, 2, &[protocol]),
        chunk(0, 3, &[203, 0, 113, 7]),
        chunk(0, 4, &[198, 51, 100, 1]),
        chunk(0, 7, &5070u16.to_be_bytes()),
        chunk(0, 8, &5061u16.to_be_bytes()),
        chunk(0, 9, &1_800_000_000u32.to_be_bytes()),
        chunk(0, 10, &[0, 0, 0, 7]),
        chunk(0, 11, &[1]),
        chunk(0, 12, &[0, 0, 0, 1]),
        chunk(0, 17, b"call-id"),
        chunk(0, 15, payload),
    ]
}

#[test_case(6, true; "over tls")]
#[test_case(22, true; "over tls, as kamailio says it")]
#[test_case(17, false; "over udp")]
fn a_message_is_read_with_its_ends(protocol: u8, is_stream: bool) {
    let request = register("a");
    assert_eq!(
        read(&datagram(&of_asterisk(protocol, &request))),
        Ok(Captured {
            source: "203.0.113.7:5070".parse().unwrap(),
            destination: "198.51.100.1:5061".parse().unwrap(),
            is_stream,
            payload: &request,
        })
    );
}

#[test]
fn ipv6_and_unknown_chunks_are_read() {
    let request = register("a");
    let mut chunks = of_asterisk(6, &request);
    chunks[2] = chunk(0, 5, &std::net::Ipv6Addr::LOCALHOST.octets());
    chunks[3] = chunk(0, 6, &std::net::Ipv6Addr::LOCALHOST.octets());
    chunks.push(chunk(9, 15, b"of another vendor"));
    let datagram = datagram(&chunks);
    let captured = read(&datagram).unwrap();
    assert_eq!(captured.source, "[::1]:5070".parse().unwrap());
    assert_eq!(captured.payload, request);
}

#[test_case(8; "no destination port")]
#[test_case(3; "no source")]
#[test_case(15; "no payload")]
fn a_chunk_that_is_missing_is_missed(kind: u16) {
    let mut chunks = of_asterisk(6, b"x");
    chunks.retain(|chunk| chunk[2..4] != kind.to_be_bytes());
    assert_eq!(read(&datagram(&chunks)), Err(NotCaptured::Incomplete));
}

#[test]
fn other_protocols_are_no_sip() {
    let mut chunks = of_asterisk(6, b"x");
    chunks[8] = chunk(0, 11, &[5]);
    assert_eq!(read(&datagram(&chunks)), Err(NotCaptured::NotSip));
}

proptest! {
    #[test]
    fn cut_and_damaged_datagrams_are_refused_or_read(
        cut in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = datagram(&of_asterisk(6, b"OPTIONS sip:x SIP/2.0\r\n\r\n"));
        let cut = cut.index(bytes.len());
        prop_assert_eq!(read(&bytes[..cut]), Err(NotCaptured::Unreadable));
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // Whatever it says, it is no panic, and the payload lies in the datagram.
        if let Ok(captured) = read(&bytes) {
            prop_assert!(captured.payload.len() < bytes.len());
        }
    }
}

fn sensor() -> HepSensor {
    let mut sensor = HepSensor::new(HepPorts {
        on_the_wire: SipPorts {
            udp: vec![5060],
            tcp: vec![5060],
            websocket: vec![8089],
        },
        others: vec![5061],
    });
    sensor.set_signatures(tables());
    sensor
}

/// What the sensor says of a message of this protocol to this port.
fn seen(protocol: u8, port: u16, payload: &[u8]) -> Vec<Seen> {
    let mut chunks = of_asterisk(protocol, payload);
    chunks[5] = chunk(0, 8, &port.to_be_bytes());
    let mut seen = Vec::new();
    sensor().take(
        &datagram(&chunks),
        Time::from_secs(9),
        &mut |observation, at| {
            assert_eq!(at, Time::from_secs(9));
            seen.push(note(observation));
        },
    );
    seen
}

#[test]
fn what_was_encrypted_is_read_and_its_sender_proven() {
    let request = scan(0);
    let message = Seen::Message {
        direction: Direction::Inbound,
        source: "203.0.113.7:5070".parse().unwrap(),
        destination: "198.51.100.1:5061".parse().unwrap(),
        transport: Transport::Tcp,
        established: true,
        packet: 1,
        text: request.clone(),
    };
    let signature = Seen::Signature(SCANNER.to_owned(), true, 1);
    assert_eq!(seen(6, 5061, &request), [signature, message]);
    assert_eq!(seen(6, 8089, &register("a")).len(), 1);
}

#[test_case(17, 5060; "udp")]
#[test_case(6, 5060; "tcp")]
#[test_case(6, 9999; "a port of something else")]
fn what_is_read_on_the_wire_counts_once(protocol: u8, port: u16) {
    assert_eq!(seen(protocol, port, &register("a")), []);
}
