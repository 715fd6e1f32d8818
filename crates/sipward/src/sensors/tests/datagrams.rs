use sipward_engine::Direction;
use sipward_testkit::packet::{Packet, protocol};
use sipward_wire::LinkType;
use test_case::test_case;

use super::{Bench, CLIENT, SCANNER, SERVER, Seen, register, scan, unauthorized};
use crate::sensors::Frame;

#[test]
fn requests_go_in_and_answers_out() {
    let mut bench = Bench::new();
    let (request, answer) = (register("a"), unauthorized("a"));
    bench.show(&Packet::udp(CLIENT, SERVER).payload(&request).build());
    bench.show(&Packet::udp(SERVER, CLIENT).payload(&answer).build());
    assert_eq!(bench.seen[0], Seen::request(1, &request));
    let Seen::Message {
        direction, packet, ..
    } = bench.seen[1]
    else {
        panic!("{:?}", bench.seen);
    };
    assert_eq!((direction, packet), (Direction::Outbound, 2));
    assert_eq!(bench.seen[1].text(), answer);
}

#[test_case("203.0.113.7:5060", "203.0.113.8:5060"; "of others")]
#[test_case(CLIENT, "198.51.100.1:5090"; "to another port")]
#[test_case("198.51.100.1:40000", "203.0.113.7:5060"; "from another port of the server")]
fn datagrams_that_are_not_a_guarded_servers_say_nothing(source: &str, destination: &str) {
    let mut bench = Bench::new();
    bench.show(
        &Packet::udp(source, destination)
            .payload(&register("a"))
            .build(),
    );
    assert_eq!(bench.seen, []);
}

#[test]
fn the_captures_word_for_the_direction_needs_no_address() {
    let mut bench = Bench::new();
    let frame = Packet::udp("192.0.2.1:5060", "192.0.2.2:5060")
        .payload(&register("a"))
        .build();
    for direction in [Direction::Inbound, Direction::Outbound] {
        let frame = Frame {
            direction: Some(direction),
            ..bench.frame(&frame)
        };
        bench.show_frame(&frame);
        let Some(Seen::Message {
            direction: seen, ..
        }) = bench.seen.last()
        else {
            panic!("{:?}", bench.seen);
        };
        assert_eq!(*seen, direction);
    }
}

#[test]
fn of_two_servers_each_is_asked_and_answers() {
    let mut bench = Bench::new();
    let (a, b) = ("198.51.100.1:5060", "198.51.100.1:5080");
    bench.show(&Packet::udp(a, b).payload(&register("a")).build());
    bench.show(&Packet::udp(b, a).payload(&unauthorized("a")).build());
    let directions: Vec<_> = bench
        .seen
        .iter()
        .map(|seen| match seen {
            Seen::Message { direction, .. } => *direction,
            Seen::Unreachable(..) | Seen::Signature(..) => panic!("{seen:?}"),
        })
        .collect();
    assert_eq!(directions, [Direction::Inbound, Direction::Outbound]);
}

#[test_case(b"\r\n\r\n"; "a keep-alive")]
#[test_case(b"\0\x01\0\0\x21\x12\xa4\x42aaaaaaaaaaaa"; "stun")]
#[test_case(b"hello, anybody there?"; "a text")]
fn what_is_no_sip_is_counted_only(payload: &[u8]) {
    let mut bench = Bench::new();
    bench.show(&Packet::udp(CLIENT, SERVER).payload(payload).build());
    assert_eq!(bench.seen, []);
    assert_eq!(bench.sensor.counters().not_sip, 1);
}

#[test]
fn what_begins_like_sip_is_shown_to_the_engine() {
    let mut bench = Bench::new();
    let payload = b"INVITE \xff\xff HTTP/1.0\r\n\r\n";
    bench.show(&Packet::udp(CLIENT, SERVER).payload(payload).build());
    assert_eq!(bench.seen.len(), 1);
}

#[test]
fn a_message_whose_headers_were_not_captured_is_not_called_malformed() {
    let mut bench = Bench::new();
    let whole = Packet::udp(CLIENT, SERVER).payload(&register("a")).build();
    let frame = Frame {
        is_cut: true,
        ..bench.frame(&whole[..120])
    };
    bench.show_frame(&frame);
    assert_eq!(bench.seen, []);
    assert_eq!(bench.sensor.counters().cut, 1);
}

#[test]
fn a_message_that_ends_within_what_was_captured_is_read() {
    let mut bench = Bench::new();
    let request = register("a");
    let body = [&request[..request.len() - 2], b"X: y\r\n\r\n", &[b'b'; 40]].concat();
    let whole = Packet::udp(CLIENT, SERVER).payload(&body).build();
    let frame = Frame {
        is_cut: true,
        ..bench.frame(&whole[..whole.len() - 30])
    };
    bench.show_frame(&frame);
    assert_eq!(bench.seen.len(), 1);
}

#[test_case(LinkType::RawIp, 14, &[]; "raw")]
#[test_case(LinkType::LinuxCooked, 12, &[0; 12 + 2]; "cooked")]
fn other_links_are_read(link: LinkType, cut: usize, header: &[u8]) {
    let mut bench = Bench::new();
    let request = register("a");
    let frame = Packet::udp(CLIENT, SERVER).payload(&request).build();
    let bytes = [header, &frame[cut..]].concat();
    let frame = Frame {
        link,
        ..bench.frame(&bytes)
    };
    bench.show_frame(&frame);
    assert_eq!(bench.seen, [Seen::request(1, &request)]);
}

/// Destination unreachable, port: type 3, code 3, and the packet it is about.
fn unreachable(quoted: &[u8]) -> Vec<u8> {
    [&[3, 3, 0, 0, 0, 0, 0, 0], quoted].concat()
}

#[test]
fn an_answer_that_did_not_arrive_is_reported() {
    let mut bench = Bench::new();
    let answer = Packet::udp(SERVER, CLIENT)
        .payload(&unauthorized("a"))
        .build();
    let icmp = Packet::ip("203.0.113.1", "198.51.100.1", protocol::ICMP)
        .payload(&unreachable(&answer[14..]))
        .build();
    bench.show(&icmp);
    let reporter = "203.0.113.1".parse().unwrap();
    assert_eq!(
        bench.seen,
        [Seen::Unreachable(reporter, CLIENT.parse().unwrap())]
    );
}

#[test_case(CLIENT, SERVER; "a clients packet")]
#[test_case("198.51.100.1:40000", CLIENT; "another port of the server")]
fn reports_about_other_packets_say_nothing(source: &str, destination: &str) {
    let mut bench = Bench::new();
    let packet = Packet::udp(source, destination).payload(b"x").build();
    let icmp = Packet::ip("203.0.113.1", "198.51.100.1", protocol::ICMP)
        .payload(&unreachable(&packet[14..]))
        .build();
    bench.show(&icmp);
    assert_eq!(bench.seen, []);
}

#[test]
fn a_name_beyond_what_the_kernel_scans_is_found() {
    let mut bench = Bench::with_signatures();
    for padding in [100, 4_000] {
        let frame = Packet::udp(CLIENT, SERVER).payload(&scan(padding)).build();
        bench.show(&frame);
    }
    let found = Seen::Signature(SCANNER.to_owned(), false, 2);
    assert_eq!(bench.signatures(), [&found]);
    assert_eq!(bench.texts(), [scan(100), scan(4_000)]);
}
