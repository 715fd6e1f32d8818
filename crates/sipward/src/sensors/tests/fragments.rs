use std::time::Duration;

use proptest::prelude::*;
use sipward_engine::policy::SCAN_MAX;
use sipward_testkit::packet::{Packet, protocol};

use super::{Bench, CLIENT, SCANNER, SERVER, Seen, register, scan};

/// A piece of a datagram: offset, bytes, and whether more follow.
type Piece<'a> = (usize, &'a [u8], bool);

/// What is behind the IP header.
fn datagram(payload: &[u8]) -> Vec<u8> {
    Packet::udp(CLIENT, SERVER).payload(payload).build()[34..].to_vec()
}

fn frame(id: u16, (offset, bytes, more): Piece<'_>) -> Vec<u8> {
    let packet = Packet::ip("203.0.113.7", "198.51.100.1", protocol::UDP);
    let mut frame = packet.payload(bytes).fragment(offset, more).build();
    frame[18..20].copy_from_slice(&id.to_be_bytes());
    frame
}

fn pieces<'a>(datagram: &'a [u8], cuts: &[usize]) -> Vec<Piece<'a>> {
    let mut ends: Vec<usize> = cuts
        .iter()
        .map(|cut| cut % datagram.len() / 8 * 8)
        .filter(|end| *end > 0)
        .chain([datagram.len()])
        .collect();
    ends.sort_unstable();
    ends.dedup();
    let mut start = 0;
    ends.into_iter()
        .map(|end| {
            let piece = (start, &datagram[start..end], end < datagram.len());
            start = end;
            piece
        })
        .collect()
}

proptest! {
    #[test]
    fn any_fragments_in_any_order_give_the_message(
        cuts in prop::collection::vec(0usize..4_096, 1..40),
        order in any::<prop::sample::Index>(),
        shuffle in any::<u64>(),
        twice in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        padding in 0usize..3_000,
    ) {
        let request = scan(padding);
        let datagram = datagram(&request);
        let mut pieces = pieces(&datagram, &cuts);
        // All but the last to arrive may come twice; then the datagram is gone.
        shuffled(&mut pieces, shuffle);
        let last = pieces.remove(order.index(pieces.len()));
        for index in twice {
            if !pieces.is_empty() {
                let piece = pieces[index.index(pieces.len())];
                pieces.push(piece);
            }
        }
        pieces.push(last);
        let mut bench = Bench::with_signatures();
        for piece in &pieces {
            bench.show(&frame(7, *piece));
        }
        prop_assert_eq!(bench.texts(), [&request[..]]);
        // What one packet shows to the kernel's program is its to find.
        let is_shown = pieces.len() == 1 && request.len() <= SCAN_MAX;
        prop_assert_eq!(bench.signatures().len(), usize::from(!is_shown));
        prop_assert_eq!(bench.sensor.held(), 0);
    }

    #[test]
    fn garbage_is_bounded_and_leaves_nothing(
        fragments in prop::collection::vec(
            (any::<u16>(), 0u8..4, 0usize..8_000, 0usize..200, any::<bool>()), 0..300),
    ) {
        let mut bench = Bench::new();
        for (id, source, eighths, length, more) in fragments {
            let bytes = vec![0x55; length];
            let mut frame = frame(id % 8, (eighths * 8, &bytes, more));
            frame[29] = source;
            bench.show(&frame);
        }
        prop_assert_eq!(bench.texts(), Vec::<&[u8]>::new());
        prop_assert!(bench.sensor.held() < 300 * 600);
        bench.now = bench.now + Duration::from_secs(31);
        bench.show(&frame(9, (0, &[0; 8], true)));
        prop_assert!(bench.sensor.held() < 512);
    }
}

fn shuffled<T>(items: &mut [T], mut seed: u64) {
    for at in (1..items.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        items.swap(at, (seed >> 33) as usize % (at + 1));
    }
}

#[test]
fn ipv6_fragments_are_put_together() {
    let (client, server) = ("[2001:db8::7]:5070", "198.51.100.1:5060");
    let mut bench = Bench::new();
    let request = register("a");
    let packet = Packet::udp(client, "[2001:db8::1]:5060").payload(&request);
    let mut fragments = packet.fragments(64);
    fragments.reverse();
    let directed = |bench: &mut Bench, bytes: &[u8]| {
        let frame = super::Frame {
            direction: Some(sipward_engine::Direction::Inbound),
            ..bench.frame(bytes)
        };
        bench.show_frame(&frame);
    };
    fragments
        .iter()
        .for_each(|bytes| directed(&mut bench, bytes));
    assert_eq!(bench.texts(), [&request[..]], "{server}");
}

#[test]
fn a_name_cut_in_two_is_found() {
    let mut bench = Bench::with_signatures();
    let frames = Packet::udp(CLIENT, SERVER).payload(&scan(0)).fragments(8);
    frames.iter().for_each(|frame| {
        bench.show(frame);
    });
    let found = Seen::Signature(SCANNER.to_owned(), false, frames.len() as u64);
    assert_eq!(bench.signatures(), [&found]);
}

#[test]
fn overlapping_fragments_are_dropped_with_their_datagram_as_the_kernel_does() {
    let mut bench = Bench::new();
    let request = register("a");
    let datagram = datagram(&request);
    bench.show(&frame(7, (0, &datagram[..64], true)));
    bench.show(&frame(7, (56, &datagram[56..128], true)));
    bench.show(&frame(7, (64, &datagram[64..], false)));
    assert_eq!(bench.texts(), Vec::<&[u8]>::new());
    assert_eq!(bench.sensor.counters().fragments.contradictory, 1);
    // What came after it begins a datagram anew.
    bench.show(&frame(7, (0, &datagram[..64], true)));
    assert_eq!(bench.texts(), [&request[..]]);
}

#[test]
fn two_ends_of_one_datagram_contradict_each_other() {
    let mut bench = Bench::new();
    let datagram = datagram(&register("a"));
    bench.show(&frame(7, (0, &datagram[..64], true)));
    bench.show(&frame(7, (128, &datagram[128..160], false)));
    bench.show(&frame(7, (64, &datagram[64..], false)));
    assert_eq!(bench.sensor.counters().fragments.contradictory, 1);
    assert_eq!(bench.sensor.held(), 0);
}

#[test]
fn what_comes_after_half_a_minute_is_too_late() {
    let mut bench = Bench::new();
    let datagram = datagram(&register("a"));
    bench.show(&frame(7, (0, &datagram[..64], true)));
    bench.now = bench.now + Duration::from_secs(30);
    bench.show(&frame(7, (64, &datagram[64..], false)));
    assert_eq!(bench.texts(), Vec::<&[u8]>::new());
    assert_eq!(bench.sensor.counters().fragments.incomplete, 1);
}

#[test]
fn a_flood_is_bounded_and_pushes_out_its_own_first() {
    let mut bench = Bench::new();
    let request = register("a");
    let datagram = datagram(&request);
    bench.show(&frame(7, (0, &datagram[..64], true)));
    for id in 0..2_000 {
        let mut flood = frame(id, (64, &[0; 1_400], true));
        flood[29] = 200;
        bench.show(&flood);
    }
    bench.show(&frame(7, (64, &datagram[64..], false)));
    assert_eq!(bench.texts(), [&request[..]]);
    assert!(bench.sensor.held() < 64 * 2_000, "{}", bench.sensor.held());
}

#[test]
fn a_flood_of_many_sources_is_bounded() {
    let mut bench = Bench::new();
    for source in 0u32..20_000 {
        let mut flood = frame(1, (64, &[0; 1_400], true));
        flood[26..30].copy_from_slice(&(source | 0x0a00_0000).to_be_bytes());
        bench.show(&flood);
    }
    assert!(bench.sensor.held() <= 8 << 20, "{}", bench.sensor.held());
    assert!(bench.sensor.counters().fragments.evicted > 10_000);
}
