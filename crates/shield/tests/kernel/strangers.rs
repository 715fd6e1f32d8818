//! What all strangers share, by kind of packet: forged sources that send what is no request.

use std::{
    thread,
    time::{Duration, Instant},
};

use sipward_shield::{Reason, Shield as _, Simulator};
use sipward_signature::Profile;
use sipward_testkit::packet::{Packet, flags};

use crate::{
    common::*,
    rates::{T1, burst, limited},
};

/// Ten times the burst that is set: what every kind but requests gets.
const SHARE: usize = 100;

const ANSWER: &[u8] = b"SIP/2.0 200 OK\r\nCSeq: 1 OPTIONS\r\n\r\n";

fn strangers_get_ten() -> Option<Simulator> {
    let mut simulator = simulator(Profile::Standard)?;
    let policy = limited(|limits| limits.unknown = burst(SHARE as u32 / 10));
    simulator.set_policy(&policy).unwrap();
    Some(simulator)
}

/// A source of its own for each number, and the PBX over the same version of IP.
fn forged(number: usize, v6: bool) -> (String, &'static str) {
    if v6 {
        (format!("[2001:db8:{number:x}::7]:5060"), PBX6)
    } else {
        (format!("11.0.{}.{}:5060", number / 250, number % 250), PBX)
    }
}

/// The numbers of those that are dropped; all others pass as clean.
fn dropped(simulator: &mut Simulator, frames: &[Vec<u8>]) -> Vec<usize> {
    let mut dropped = Vec::new();
    for (number, frame) in frames.iter().enumerate() {
        match judge(simulator, frame) {
            (DROP, reason) => {
                assert_eq!(reason, Reason::RateUnknown);
                dropped.push(number);
            }
            (PASS, reason) => assert_eq!(reason, Reason::Clean),
        }
    }
    dropped
}

#[test]
fn answers_and_keep_alives_of_forged_sources_share_a_bucket_that_is_not_that_of_requests() {
    for v6 in [false, true] {
        let Some(mut simulator) = strangers_get_ten() else {
            return;
        };
        let payloads: [&[u8]; 3] = [ANSWER, b"\r\n\r\n", b"\0"];
        let frames: Vec<_> = (0..SHARE + 50)
            .map(|number| {
                let (source, pbx) = forged(number, v6);
                Packet::udp(source, pbx)
                    .payload(payloads[number % 3])
                    .build()
            })
            .collect();
        let refused = dropped(&mut simulator, &frames);
        assert_eq!(refused, (SHARE..SHARE + 50).collect::<Vec<_>>());
        let (source, pbx) = forged(999, v6);
        let phone = Packet::udp(source, pbx).payload(&request("Snom")).build();
        assert_eq!(judge(&mut simulator, &phone), (PASS, Reason::Clean));
        // A server that is no peer answers again where nobody acknowledges.
        thread::sleep(T1);
        let again = &frames[SHARE];
        assert_eq!(judge(&mut simulator, again), (PASS, Reason::Clean));
    }
}

#[test]
fn segments_of_forged_sources_share_a_bucket_that_is_not_that_of_connections() {
    for v6 in [false, true] {
        let Some(mut simulator) = strangers_get_ten() else {
            return;
        };
        let text = request("Snom");
        let segment = |number: usize| {
            let (source, pbx) = forged(number, v6);
            let packet = Packet::tcp(source, pbx);
            match number % 4 {
                0 => packet.tcp_flags(flags::ACK),
                1 => packet.tcp_flags(flags::FIN | flags::ACK),
                2 => packet.tcp_flags(flags::RST),
                _ => packet.payload(&text),
            }
            .build()
        };
        let frames: Vec<_> = (0..SHARE + 50).map(segment).collect();
        let refused = dropped(&mut simulator, &frames);
        assert_eq!(refused, (SHARE..SHARE + 50).collect::<Vec<_>>());

        let (source, pbx) = forged(999, v6);
        let honest = |flags| Packet::tcp(&source, pbx).tcp_flags(flags).build();
        assert_eq!(
            judge(&mut simulator, &honest(flags::SYN)),
            (PASS, Reason::Clean)
        );
        let answer = Packet::udp(&source, pbx).payload(ANSWER).build();
        assert_eq!(judge(&mut simulator, &answer), (PASS, Reason::Clean));
        // TCP sends again what is not acknowledged.
        let ack = honest(flags::ACK);
        assert_eq!(judge(&mut simulator, &ack), (DROP, Reason::RateUnknown));
        thread::sleep(T1);
        assert_eq!(judge(&mut simulator, &ack), (PASS, Reason::Clean));
        let (known, pbx) = forged(1_000, v6);
        let address = known.parse::<std::net::SocketAddr>().unwrap().ip();
        simulator.trust(address).unwrap();
        let ack = Packet::tcp(known, pbx).tcp_flags(flags::ACK).build();
        assert_eq!(judge(&mut simulator, &ack), (PASS, Reason::Clean));
    }
}

/// What the bucket of later fragments gives back in this time, at most.
fn given_back(since: Instant) -> usize {
    (since.elapsed().as_secs_f64() * 50.0).ceil() as usize
}

#[test]
fn later_fragments_follow_a_first_one_and_what_follows_none_shares_a_small_bucket() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let text = vec![b'x'; 1_200];
    let fragments = |source: &str, pbx: &str, port: u16| {
        let pbx: std::net::SocketAddr = pbx.parse().unwrap();
        let to = std::net::SocketAddr::new(pbx.ip(), port);
        Packet::udp(source, to).payload(&text).fragments(400)
    };
    let mut passing = |frames: &mut dyn Iterator<Item = Vec<u8>>| {
        let verdicts = frames.map(|frame| match judge(&mut simulator, &frame) {
            (PASS, Reason::LaterFragment) => 1,
            (DROP, Reason::RateUnknown) => 0,
            other => panic!("{other:?}"),
        });
        verdicts.sum::<usize>()
    };
    let began = Instant::now();
    let mut forged = (0..600).map(|number| {
        let (source, pbx) = forged(number, number % 2 == 0);
        fragments(&source, pbx, 5060).remove(1)
    });
    let passed = passing(&mut forged);
    assert!(
        (200..=200 + given_back(began)).contains(&passed),
        "{passed}"
    );

    let rows = [
        ("203.0.113.7:5060", PBX, 5060),
        ("203.0.113.8:5060", PBX, 9_999),
        ("[2001:db8:1:2::7]:5060", PBX6, 5060),
        ("[2001:db8:1:2::8]:5060", PBX6, 9_999),
    ];
    for (source, pbx, port) in rows {
        let all = fragments(source, pbx, port);
        assert_eq!(judge(&mut simulator, &all[0]).0, PASS);
        for later in all[1..].iter().cycle().take(300) {
            let seen = judge(&mut simulator, later);
            assert_eq!(seen, (PASS, Reason::LaterFragment), "{source} to {port}");
        }
    }
    // Nothing follows one that is dropped, nor one to another address.
    let tiny = Packet::udp("203.0.113.9:5060", PBX)
        .payload(&text)
        .fragments(64);
    assert_eq!(
        judge(&mut simulator, &tiny[0]),
        (DROP, Reason::TinyFragment)
    );
    let elsewhere = fragments("203.0.113.8:5060", "192.0.2.9:1", 9_999);
    for later in [&tiny[1], &elsewhere[1]] {
        let mut passed = 0;
        for _ in 0..300 {
            passed += usize::from(judge(&mut simulator, later).0 == PASS);
        }
        assert!(passed <= 1 + given_back(began), "{passed}");
    }
    simulator.trust("203.0.113.9".parse().unwrap()).unwrap();
    for later in tiny.iter().cycle().skip(1).take(300) {
        assert_eq!(judge(&mut simulator, later).0, PASS);
    }
}

/// Half a second of 600,000 packets a second from as many addresses.
const FLOOD: u32 = 300_000;
/// An emulated machine is slower than that, and a packet is waited for no longer than 32 s.
const IN_TIME: Duration = Duration::from_secs(10);

/// Behind the link header and twelve bytes of the IPv4 header.
const IPV4_SOURCE: usize = 14 + 12;

#[test]
fn a_flood_does_not_make_it_forget_what_strangers_will_send_again() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    simulator
        .set_policy(&limited(|limits| limits.unknown = burst(3)))
        .unwrap();
    let payload = request("Snom");
    let frame = |source: std::net::Ipv4Addr| {
        let packet = Packet::udp(format!("{source}:5060"), PBX);
        packet.payload(&payload).build()
    };
    let strangers: Vec<_> = (1..=20)
        .map(|host| frame([198, 51, 100, host].into()))
        .collect();
    for host in 1..=3 {
        judge(&mut simulator, &frame([203, 0, 113, host].into()));
    }
    for stranger in &strangers {
        assert_eq!(judge(&mut simulator, stranger), (DROP, Reason::RateUnknown));
    }
    let refused = Instant::now();
    let mut forged = frame([0, 0, 0, 0].into());
    let mut sent = 0;
    while sent < FLOOD && refused.elapsed() < IN_TIME {
        // Nobody here looks at checksums.
        forged[IPV4_SOURCE..][..4].copy_from_slice(&(0x0b00_0000 + sent).to_be_bytes());
        simulator.time(&forged, 1).unwrap();
        sent += 1;
    }
    thread::sleep(T1.saturating_sub(refused.elapsed()));
    let passed = strangers
        .iter()
        .filter(|stranger| judge(&mut simulator, stranger).0 == PASS);
    // Four that came later may have taken a place; then the phone sends again.
    let passed = passed.count();
    assert!(passed >= 19, "{passed} of 20 after {sent} packets");
}
