use proptest::prelude::*;
use sipward_engine::Direction;
use sipward_testkit::packet::{Packet, flags};
use test_case::test_case;

use super::{Bench, SCANNER, Seen, register, scan, unauthorized};

const CLIENT: &str = "203.0.113.7:40000";
const SERVER: &str = "198.51.100.1:8088";
const ASK: &[u8] = b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: sip\r\n\r\n";
const GRANT: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
const TEXT: u8 = 1;
const PING: u8 = 9;
const FIN: u8 = 0x80;

fn websocket_frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(masked | length as u8),
        length => {
            frame.push(masked | 126);
            frame.extend((length as u16).to_be_bytes());
        }
    }
    let mask = mask.inspect(|mask| frame.extend(mask)).unwrap_or_default();
    let bytes = payload.iter().zip(mask.iter().cycle());
    frame.extend(bytes.map(|(byte, mask)| byte ^ mask));
    frame
}

/// Sends the bytes in segments that end at the cuts.
fn send(bench: &mut Bench, direction: Direction, bytes: &[u8], cuts: &[usize]) {
    let (from, to) = match direction {
        Direction::Inbound => (CLIENT, SERVER),
        Direction::Outbound => (SERVER, CLIENT),
    };
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % bytes.len()).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    let mut start = 0;
    for end in cuts {
        let numbers = (1_000 + start as u32, 1);
        let packet = Packet::tcp(from, to).tcp_numbers(numbers.0, numbers.1);
        bench.show(
            &packet
                .tcp_flags(flags::ACK)
                .payload(&bytes[start..end])
                .build(),
        );
        start = end;
    }
}

proptest! {
    #[test]
    fn messages_are_read_however_they_are_cut(
        cuts in prop::collection::vec(0usize..4_000, 0..40),
        mask in any::<[u8; 4]>(),
        part in 1usize..200,
    ) {
        let (a, b) = (register("a"), scan(500));
        let bytes = [
            ASK.to_vec(),
            websocket_frame(FIN | TEXT, Some(mask), &a),
            websocket_frame(FIN | PING, Some(mask), b"still there?"),
            websocket_frame(TEXT, Some(mask), &b[..part]),
            websocket_frame(FIN | PING, Some(mask), b""),
            websocket_frame(FIN, Some(mask), &b[part..]),
        ]
        .concat();
        let mut bench = Bench::with_signatures();
        send(&mut bench, Direction::Inbound, &bytes, &cuts);
        prop_assert_eq!(bench.texts(), [&a[..], &b]);
        prop_assert_eq!(bench.signatures().len(), 1);
        prop_assert!(matches!(bench.signatures()[0], Seen::Signature(name, ..) if name == SCANNER));
        prop_assert_eq!(bench.sensor.held(), 0);
    }
}

#[test]
fn the_servers_frames_have_no_mask() {
    let mut bench = Bench::new();
    let answer = unauthorized("a");
    let bytes = [GRANT, &websocket_frame(FIN | TEXT, None, &answer)].concat();
    send(&mut bench, Direction::Outbound, &bytes, &[]);
    assert_eq!(bench.texts(), [&answer[..]]);
}

#[test_case(&[0x16, 3, 1, 2, 0, 1, 0, 1]; "tls")]
#[test_case(b"POST / HTTP/1.1\r\n\r\n"; "another request")]
#[test_case(&websocket_frame(FIN | TEXT, None, &register("a")); "found in the middle")]
fn what_is_no_websocket_says_nothing_and_keeps_nothing(bytes: &[u8]) {
    let mut bench = Bench::new();
    send(
        &mut bench,
        Direction::Inbound,
        &[bytes, &register("b")].concat(),
        &[],
    );
    assert_eq!(bench.seen, []);
    assert_eq!(bench.sensor.held(), 0);
}

#[test_case(&[FIN | TEXT, 127, 0, 0, 1, 0, 0, 0, 0, 0]; "too long")]
#[test_case(&[FIN | TEXT | 0x40, 5, b'h', b'e', b'l', b'l', b'o']; "compressed")]
fn what_cannot_be_read_is_kept_no_longer(frame: &[u8]) {
    let mut bench = Bench::new();
    send(&mut bench, Direction::Inbound, &[ASK, frame].concat(), &[]);
    assert_eq!(bench.seen, []);
    assert_eq!(bench.sensor.held(), 0);
}
