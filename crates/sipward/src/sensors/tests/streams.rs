use std::time::Duration;

use proptest::prelude::*;
use sipward_engine::Direction;
use sipward_testkit::packet::{Packet, flags};

use super::{Bench, CLIENT, SCANNER, SERVER, Seen, register, scan, unauthorized};

const CLIENT_START: u32 = 0xffff_ff00;
const SERVER_START: u32 = 7_000;

/// One connection, seen from the wire.
struct Wire {
    bench: Bench,
}

impl Wire {
    fn new() -> Self {
        Self {
            bench: Bench::with_signatures(),
        }
    }

    fn connected() -> Self {
        let mut wire = Self::new();
        wire.inbound(-1, 0, flags::SYN, b"");
        wire.outbound(-1, 0, flags::SYN | flags::ACK, b"");
        wire.inbound(0, 0, flags::ACK, b"");
        wire
    }

    /// A segment of the client; numbers count from behind the SYN.
    fn inbound(&mut self, seq: i64, ack: i64, flags: u8, payload: &[u8]) {
        let numbers = (number(CLIENT_START, seq), number(SERVER_START, ack));
        self.show(CLIENT, SERVER, numbers, flags, payload);
    }

    fn outbound(&mut self, seq: i64, ack: i64, flags: u8, payload: &[u8]) {
        let numbers = (number(SERVER_START, seq), number(CLIENT_START, ack));
        self.show(SERVER, CLIENT, numbers, flags, payload);
    }

    fn show(&mut self, from: &str, to: &str, (seq, ack): (u32, u32), flags: u8, payload: &[u8]) {
        let packet = Packet::tcp(from, to).tcp_numbers(seq, ack).tcp_flags(flags);
        self.bench.show(&packet.payload(payload).build());
    }

    /// Whether the senders of the messages so far were proven.
    fn proven(&self) -> Vec<bool> {
        let proven = |seen: &Seen| match seen {
            Seen::Message { established, .. } => Some(*established),
            Seen::Unreachable(..) | Seen::Signature(..) => None,
        };
        self.bench.seen.iter().filter_map(proven).collect()
    }

    fn texts_of(&self, wanted: Direction) -> Vec<&[u8]> {
        let text = |seen: &'_ Seen| matches!(seen, Seen::Message { direction, .. } if *direction == wanted);
        let seen = self.bench.seen.iter().filter(|seen| text(seen));
        seen.map(Seen::text).collect()
    }
}

fn number(start: u32, offset: i64) -> u32 {
    start.wrapping_add(1).wrapping_add(offset as u32)
}

/// Segments of a text, in any order, overlapping and repeated.
fn segments(length: usize) -> impl Strategy<Value = Vec<(usize, usize)>> {
    let cuts = prop::collection::vec(0..length, 0..60);
    let back = prop::collection::vec(0usize..40, 61);
    let twice = prop::collection::vec(any::<prop::sample::Index>(), 0..10);
    (cuts, back, twice).prop_flat_map(move |(mut cuts, back, twice)| {
        cuts.push(length);
        cuts.sort_unstable();
        cuts.dedup();
        let mut start = 0;
        let mut segments: Vec<(usize, usize)> = Vec::new();
        for (end, back) in cuts.into_iter().zip(back) {
            segments.push((start - back.min(start), end));
            start = end;
        }
        for index in twice {
            segments.push(segments[index.index(segments.len())]);
        }
        Just(segments).prop_shuffle()
    })
}

fn conversation() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let asked = vec![register("a"), scan(300), register("b"), scan(3_000)];
    let answered = vec![unauthorized("a"), unauthorized("b")];
    (asked, answered)
}

fn lengths() -> (usize, usize) {
    let (asked, answered) = conversation();
    (asked.concat().len(), answered.concat().len())
}

proptest! {
    #[test]
    fn any_segments_in_any_order_give_the_messages(
        there in segments(lengths().0),
        back in segments(lengths().1),
        turns in prop::collection::vec(any::<bool>(), 200),
    ) {
        let (asked, answered) = conversation();
        let (asking, answering) = (asked.concat(), answered.concat());
        let mut wire = Wire::connected();
        let (mut there, mut back) = (there.into_iter(), back.into_iter());
        for turn in turns {
            if turn && let Some((start, end)) = there.next() {
                wire.inbound(start as i64, 0, flags::ACK | flags::PSH, &asking[start..end]);
            }
            if !turn && let Some((start, end)) = back.next() {
                wire.outbound(start as i64, 0, flags::ACK, &answering[start..end]);
            }
        }
        for (start, end) in there {
            wire.inbound(start as i64, 0, flags::ACK, &asking[start..end]);
        }
        for (start, end) in back {
            wire.outbound(start as i64, 0, flags::ACK, &answering[start..end]);
        }
        prop_assert_eq!(wire.texts_of(Direction::Inbound), asked);
        prop_assert_eq!(wire.texts_of(Direction::Outbound), answered);
        prop_assert!(wire.proven().iter().all(|proven| *proven));
        prop_assert_eq!(wire.bench.signatures().len(), 2);
        prop_assert_eq!(wire.bench.sensor.held(), 0);
    }

    #[test]
    fn garbage_is_bounded(
        segments in prop::collection::vec(
            (0u8..4, any::<bool>(), any::<u32>(), any::<u32>(), any::<u8>(), 0usize..1_400), 0..300),
    ) {
        let mut bench = Bench::new();
        for (port, inbound, seq, ack, flags, length) in segments {
            let client = format!("203.0.113.7:{}", 6_000 + u16::from(port));
            let (from, to) = if inbound { (&client[..], SERVER) } else { (SERVER, &client[..]) };
            let packet = Packet::tcp(from, to).tcp_numbers(seq, ack).tcp_flags(flags);
            bench.show(&packet.payload(&vec![b'x'; length]).build());
            prop_assert!(bench.sensor.held() <= 8 * (2 * 65_536 + 256 * 64 + 3_000));
            prop_assert!(bench.sensor.connections() <= 4);
        }
        bench.now = bench.now + Duration::from_secs(3_700);
        bench.show(&Packet::tcp("203.0.113.9:9", SERVER).tcp_flags(flags::ACK).payload(b"").build());
        prop_assert_eq!(bench.sensor.held(), 0);
        prop_assert_eq!(bench.sensor.connections(), 0);
    }
}

#[test]
fn a_name_in_segments_of_one_byte_is_found_and_its_sender_proven() {
    let mut wire = Wire::connected();
    let scan = scan(0);
    for (at, byte) in scan.iter().enumerate() {
        wire.inbound(at as i64, 0, flags::ACK, &[*byte]);
    }
    let packets = 3 + scan.len() as u64;
    let found = Seen::Signature(SCANNER.to_owned(), true, packets);
    assert_eq!(wire.bench.signatures(), [&found]);
}

#[test]
fn a_segment_out_of_the_blue_proves_nothing() {
    let mut wire = Wire::new();
    wire.inbound(0, 12_345, flags::ACK | flags::PSH, &scan(0));
    assert_eq!(wire.proven(), [false]);
    let found = Seen::Signature(SCANNER.to_owned(), false, 1);
    assert_eq!(wire.bench.signatures(), [&found]);
}

#[test]
fn a_handshake_whose_end_is_guessed_proves_nothing() {
    let mut wire = Wire::new();
    wire.inbound(-1, 0, flags::SYN, b"");
    wire.outbound(-1, 0, flags::SYN | flags::ACK, b"");
    wire.inbound(0, 99, flags::ACK, &register("a"));
    assert_eq!(wire.proven(), [false]);
}

#[test]
fn a_connection_found_in_the_middle_is_proven_by_an_acknowledged_answer() {
    let mut wire = Wire::new();
    let (request, answer) = (register("a"), unauthorized("a"));
    let end = request.len() as i64;
    wire.inbound(-21, 0, flags::ACK, b"Content-Length: 0\r\n\r\n");
    wire.inbound(0, 0, flags::ACK, &request);
    wire.outbound(0, end, flags::ACK, &answer);
    wire.inbound(end, answer.len() as i64, flags::ACK, &request);
    assert_eq!(wire.proven(), [false, false, true]);
    let (client, server) = (CLIENT.parse().unwrap(), SERVER.parse().unwrap());
    assert!(wire.bench.sensor.is_established(client, server));
    assert!(!wire.bench.sensor.is_established(server, client));
    assert_eq!(wire.bench.texts(), [&request[..], &answer, &request]);
}

#[test]
fn segments_that_were_not_captured_cost_their_message_only() {
    let mut wire = Wire::connected();
    let (a, b) = (register("a"), register("b"));
    let half = a.len() / 2;
    wire.inbound(0, 0, flags::ACK, &a[..half]);
    wire.inbound(a.len() as i64, 0, flags::ACK, &b);
    assert_eq!(wire.bench.texts(), Vec::<&[u8]>::new());
    let end = (a.len() + b.len()) as i64;
    wire.outbound(0, end, flags::ACK, b"");
    assert_eq!(wire.bench.texts(), [&b[..]]);
    assert_eq!(wire.bench.sensor.counters().streams.gaps, 1);
}

#[test]
fn what_waits_behind_a_gap_is_bounded() {
    let mut wire = Wire::connected();
    for segment in 1..2_000 {
        wire.inbound(segment * 1_000, 0, flags::ACK, &[b'x'; 900]);
    }
    assert!(wire.bench.sensor.held() < 3 * 65_536);
}

/// Somebody who knows both ends and neither number: his text is not the phone's.
#[test]
fn segments_that_guess_the_numbers_are_not_read() {
    let mut wire = Wire::connected();
    let (request, answer) = (register("a"), unauthorized("a"));
    let end = request.len() as i64;
    wire.inbound(0, 0, flags::ACK, &request);
    wire.outbound(0, end, flags::ACK, &answer);
    let answered = answer.len() as i64;
    for (seq, ack) in [
        (end, 0x4000_0000),
        (end, answered - 0x200_0000),
        (0x4000_0000, answered),
        (end - 0x4000_0000, answered),
    ] {
        for n in 0..300 {
            wire.inbound(seq + n * 500, ack, flags::ACK, &scan(0));
        }
    }
    let next = register("b");
    wire.inbound(end, answered, flags::ACK, &next);
    assert_eq!(wire.bench.texts(), [&request[..], &answer, &next]);
    let signature = |seen: &Seen| matches!(seen, Seen::Signature(..));
    assert!(!wire.bench.seen.iter().any(signature));
}

#[test]
fn a_reset_that_guesses_does_not_end_a_connection() {
    let mut wire = Wire::connected();
    let request = register("a");
    wire.inbound(0, 0, flags::ACK, &request[..50]);
    wire.inbound(9_999, 0, flags::RST, b"");
    wire.inbound(50, 0, flags::ACK, &request[50..]);
    assert_eq!(wire.bench.texts(), [&request[..]]);
    wire.inbound(request.len() as i64, 0, flags::RST, b"");
    assert_eq!(wire.bench.sensor.connections(), 0);
}

#[test]
fn a_connection_that_both_ends_close_is_forgotten() {
    let mut wire = Wire::connected();
    let request = register("a");
    let end = request.len() as i64;
    wire.inbound(0, 0, flags::ACK | flags::FIN, &request);
    assert_eq!(wire.bench.sensor.connections(), 1);
    wire.outbound(0, end + 1, flags::ACK | flags::FIN, b"");
    assert_eq!(wire.bench.sensor.connections(), 0);
    assert_eq!(wire.proven(), [true]);
}

#[test]
fn a_port_that_is_used_again_is_another_connection() {
    let mut wire = Wire::connected();
    wire.inbound(0, 0, flags::ACK, &register("a")[..30]);
    let (client, server) = (77_000, 90_000);
    wire.show(CLIENT, SERVER, (client, 0), flags::SYN, b"");
    wire.show(
        SERVER,
        CLIENT,
        (server, client + 1),
        flags::SYN | flags::ACK,
        b"",
    );
    let request = register("b");
    wire.show(
        CLIENT,
        SERVER,
        (client + 1, server + 1),
        flags::ACK,
        &request,
    );
    assert_eq!(wire.bench.texts(), [&request[..]]);
    assert_eq!(wire.proven(), [true]);
}

#[test]
fn a_forged_syn_does_not_disturb_a_connection() {
    let mut wire = Wire::connected();
    let request = register("a");
    wire.inbound(0, 0, flags::ACK, &request[..50]);
    wire.show(CLIENT, SERVER, (123_456, 0), flags::SYN, b"");
    wire.inbound(50, 0, flags::ACK, &request[50..]);
    assert_eq!(wire.bench.texts(), [&request[..]]);
}

#[test]
fn a_connection_that_the_server_opens_is_read() {
    let mut bench = Bench::new();
    let (own, trunk) = ("198.51.100.1:40000", "203.0.113.7:5060");
    let mut show = |from, to, numbers: (u32, u32), flags, payload: &[u8]| {
        let packet = Packet::tcp(from, to).tcp_numbers(numbers.0, numbers.1);
        bench.show(&packet.tcp_flags(flags).payload(payload).build());
    };
    show(own, trunk, (10, 0), flags::SYN, b"");
    show(trunk, own, (50, 11), flags::SYN | flags::ACK, b"");
    show(own, trunk, (11, 51), flags::ACK, &register("a"));
    show(trunk, own, (51, 11), flags::ACK, &unauthorized("a"));
    let directions: Vec<_> = bench
        .seen
        .iter()
        .map(|seen| match seen {
            Seen::Message {
                direction,
                established,
                ..
            } => (*direction, *established),
            Seen::Unreachable(..) | Seen::Signature(..) => panic!("{seen:?}"),
        })
        .collect();
    assert_eq!(
        directions,
        [(Direction::Outbound, true), (Direction::Inbound, true)]
    );
}

#[test]
fn a_flood_of_connections_does_not_push_out_the_established() {
    let mut wire = Wire::connected();
    let request = register("a");
    wire.inbound(0, 0, flags::ACK, &request[..50]);
    for source in 0u32..20_000 {
        let mut frame = Packet::tcp(CLIENT, SERVER).payload(b"INVITE").build();
        frame[26..30].copy_from_slice(&(source | 0x0a00_0000).to_be_bytes());
        wire.bench.show(&frame);
    }
    assert!(wire.bench.sensor.connections() <= 16_384);
    wire.inbound(50, 0, flags::ACK, &request[50..]);
    assert_eq!(wire.bench.texts(), [&request[..]]);
    assert_eq!(wire.proven(), [true]);
}

#[test]
fn bytes_of_all_connections_together_are_bounded() {
    let mut bench = Bench::new();
    let begun = [&register("a")[..200], &[b'x'; 60_000]].concat();
    for source in 0u32..1_000 {
        let mut frame = Packet::tcp(CLIENT, SERVER).payload(&begun).build();
        frame[26..30].copy_from_slice(&(source | 0x0a00_0000).to_be_bytes());
        bench.show(&frame);
    }
    assert!(bench.sensor.held() <= 32 << 20, "{}", bench.sensor.held());
    assert!(bench.sensor.counters().streams.evicted > 400);
}
