//! The buckets: who may send how much before the kernel program says that it is too much.

use std::{
    thread,
    time::{Duration, Instant},
};

use sipward_shield::{
    Event, Limits, Over, Policy, Rate, Reason, Scope, Shield as _, Simulator, Verdict,
};
use sipward_signature::Profile;
use sipward_testkit::packet::{Packet, flags};

use crate::{common::*, limits};

pub fn limited(limits: impl FnOnce(&mut Limits)) -> Policy {
    let mut policy = policy();
    // A token a day: what is measured is the burst alone, however slow the machine.
    let none = burst(1_000_000);
    policy.limits = Limits {
        sip: none,
        responses: none,
        unknown: none,
        trusted: none,
        ssh: none,
    };
    limits(&mut policy.limits);
    policy
}

pub fn burst(burst: u32) -> Rate {
    Rate {
        packets: 1,
        per_seconds: 86_400,
        burst,
    }
}

/// How many of these frames pass before the first one is dropped, and its reason.
fn passes(simulator: &mut Simulator, frame: &[u8], most: usize) -> (usize, Reason) {
    for passed in 0..most {
        let (verdict, reason) = judge(simulator, frame);
        if verdict == DROP {
            return (passed, reason);
        }
    }
    (most, Reason::Clean)
}

#[test]
fn a_stranger_has_a_burst_of_requests_and_another_of_responses() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let policy = limited(|limits| {
        limits.sip = burst(120);
        limits.responses = burst(500);
    });
    simulator.set_policy(&policy).unwrap();
    let frame = phone().build();
    assert_eq!(passes(&mut simulator, &frame, 1000), (120, Reason::Rate));

    let keep_alives: [&[u8]; 5] = [
        b"SIP/2.0 200 OK\r\n\r\n",
        b"sip/2.0 486 Busy Here\r\n\r\n",
        b"\r\n\r\n",
        b"\0",
        &[
            0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    ];
    let mut passed = 0;
    for payload in keep_alives {
        let frame = Packet::udp(STRANGER, PBX).payload(payload).build();
        passed += passes(&mut simulator, &frame, 100).0;
    }
    assert_eq!(passed, 500);
    let next = Packet::udp(STRANGER, PBX).payload(b"\r\n").build();
    assert_eq!(judge(&mut simulator, &next), (DROP, Reason::Rate));

    let other = Packet::udp("203.0.113.8:5060", PBX)
        .payload(&request("Snom"))
        .build();
    assert_eq!(judge(&mut simulator, &other), (PASS, Reason::Clean));
}

#[test]
fn each_class_of_packets_has_its_limit_over_ipv4_and_ipv6() {
    for v6 in [false, true] {
        let Some(mut simulator) = simulator(Profile::Standard) else {
            return;
        };
        simulator.set_policy(&limits::bursts()).unwrap();
        simulator.trust(limits::trusted(v6)).unwrap();
        let sessions = [limits::in_session(v6)];
        simulator
            .lift_ssh_limit(&sessions, limits::in_an_hour())
            .unwrap();
        for row in limits::rows(v6) {
            for (number, frame) in row.frames.iter().enumerate() {
                let expected = if number < row.passing {
                    (PASS, Reason::Clean)
                } else {
                    (DROP, Reason::Rate)
                };
                let seen = judge(&mut simulator, frame);
                assert_eq!(seen, expected, "{}, IPv6: {v6}, {number}", row.name);
            }
        }
    }
}

#[test]
fn a_bucket_gives_back_what_its_rate_says() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let frame = phone().build();
    let began = Instant::now();
    let mut passed = 0;
    // The default: 5 a second, 120 at once.
    while passed < 130 {
        passed += usize::from(judge(&mut simulator, &frame).0 == PASS);
        let most = 121 + (began.elapsed().as_secs_f64() * 5.0) as usize;
        assert!(passed <= most, "{passed}");
        assert!(began.elapsed() < Duration::from_secs(60), "{passed}");
    }
}

#[test]
fn an_ipv6_source_is_its_64() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    simulator
        .set_policy(&limited(|limits| limits.sip = burst(10)))
        .unwrap();
    for host in 1..=10 {
        let frame = Packet::udp(format!("[2001:db8:1:2::{host}]:5060"), PBX6)
            .payload(&request("Snom"))
            .build();
        assert_eq!(judge(&mut simulator, &frame), (PASS, Reason::Clean));
    }
    let same = Packet::udp("[2001:db8:1:2::ffff]:5060", PBX6)
        .payload(&request("Snom"))
        .build();
    assert_eq!(judge(&mut simulator, &same), (DROP, Reason::Rate));
    let next = Packet::udp("[2001:db8:1:3::1]:5060", PBX6)
        .payload(&request("Snom"))
        .build();
    assert_eq!(judge(&mut simulator, &next), (PASS, Reason::Clean));
}

#[test]
fn a_trusted_source_has_the_larger_share_and_only_certain_signatures_hit_it() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let policy = limited(|limits| {
        limits.sip = burst(5);
        limits.unknown = burst(5);
        limits.trusted = burst(50);
    });
    simulator.set_policy(&policy).unwrap();
    simulator.trust("203.0.113.7".parse().unwrap()).unwrap();
    assert_eq!(
        passes(&mut simulator, &phone().build(), 1000),
        (50, Reason::Rate)
    );
    // Trusting again does not refill the bucket.
    simulator.trust("203.0.113.7".parse().unwrap()).unwrap();
    assert_eq!(
        judge(&mut simulator, &phone().build()),
        (DROP, Reason::Rate)
    );

    simulator.trust("203.0.113.9".parse().unwrap()).unwrap();
    let from = |agent: &str| {
        Packet::udp("203.0.113.9:5060", PBX)
            .payload(&request(agent))
            .build()
    };
    assert_eq!(
        judge(&mut simulator, &from("sipcli/v1.8")),
        (PASS, Reason::Clean)
    );
    assert_eq!(
        judge(&mut simulator, &from("friendly-scanner")),
        (DROP, Reason::Signature)
    );
    simulator.trust("2001:db8::7".parse().unwrap()).unwrap();
    let trusted: Vec<String> = simulator
        .trusted()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(trusted, ["203.0.113.7", "203.0.113.9", "2001:db8::"]);
    simulator.distrust("203.0.113.9".parse().unwrap()).unwrap();
    assert_eq!(
        judge(&mut simulator, &from("sipcli/v1.8")),
        (DROP, Reason::Signature)
    );
}

#[test]
fn all_strangers_together_are_limited_and_a_retransmission_passes() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    simulator
        .set_policy(&limited(|limits| limits.unknown = burst(100)))
        .unwrap();
    let from = |number: u32| {
        let source = format!("198.51.{}.{}:5060", number / 250, number % 250);
        Packet::udp(source, PBX).payload(&request("Snom")).build()
    };
    for number in 0..100 {
        assert_eq!(judge(&mut simulator, &from(number)), (PASS, Reason::Clean));
    }
    let refused = Instant::now();
    assert_eq!(
        judge(&mut simulator, &from(100)),
        (DROP, Reason::RateUnknown)
    );
    // Forgers and impatient ones: the same bytes too early, other bytes later.
    let early = judge(&mut simulator, &from(100));
    if refused.elapsed() < Duration::from_millis(400) {
        assert_eq!(early, (DROP, Reason::RateUnknown));
    }
    let deadline = refused + Duration::from_secs(4);
    loop {
        match judge(&mut simulator, &from(100)) {
            (Verdict::Pass, reason) => {
                assert_eq!(reason, Reason::Clean);
                break;
            }
            (Verdict::Drop, reason) => assert_eq!(reason, Reason::RateUnknown),
        }
        assert!(Instant::now() < deadline, "the retransmission never passed");
    }
    assert!(refused.elapsed() >= Duration::from_millis(400));
    // What the phone sends next is another packet, and passes, too.
    let next = Packet::udp("198.51.0.100:5060", PBX)
        .payload(&request("Snom/2"))
        .build();
    assert_eq!(judge(&mut simulator, &next), (PASS, Reason::Clean));
    let syn = Packet::tcp("198.51.1.2:5060", PBX)
        .tcp_flags(flags::SYN)
        .build();
    assert_eq!(judge(&mut simulator, &syn), (DROP, Reason::RateUnknown));
}

/// When a phone sends again (RFC 3261 section 17.1.1.2).
pub const T1: Duration = Duration::from_millis(500);

fn forged(number: u32, payload: &[u8]) -> Vec<u8> {
    let [_, second, third, fourth] = number.to_be_bytes();
    Packet::udp(format!("11.{second}.{third}.{fourth}:5060"), PBX)
        .payload(payload)
        .build()
}

#[test]
fn forgers_who_send_the_same_bytes_again_share_a_bucket() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    simulator
        .set_policy(&limited(|limits| limits.unknown = burst(20)))
        .unwrap();
    let payload = request("Snom");
    let forgers: Vec<_> = (0..400).map(|number| forged(number, &payload)).collect();
    let mut passed = || {
        forgers
            .iter()
            .filter(|frame| judge(&mut simulator, frame).0 == PASS)
            .count()
    };
    assert_eq!(passed(), 20);
    let refused = Instant::now();
    thread::sleep(T1.saturating_sub(refused.elapsed()));
    // Ten times 20.
    assert_eq!(passed(), 200);
}

#[test]
fn phones_behind_one_address_retransmit_each_its_own() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    simulator
        .set_policy(&limited(|limits| limits.unknown = burst(2)))
        .unwrap();
    for _ in 0..2 {
        assert_eq!(
            judge(&mut simulator, &phone().build()),
            (PASS, Reason::Clean)
        );
    }
    let of = |number: u32| {
        let source = format!("198.51.100.10:{}", 40_000 + number);
        let text = request(&format!("Snom/{number}"));
        Packet::udp(source, PBX).payload(&text).build()
    };
    let start = Instant::now();
    for number in 0..20 {
        assert_eq!(
            judge(&mut simulator, &of(number)),
            (DROP, Reason::RateUnknown)
        );
    }
    // In turn, as after a power cut: whose comes first opens the way for all.
    let deadline = start + Duration::from_secs(4);
    while (0..20).any(|number| judge(&mut simulator, &of(number)).0 == DROP) {
        assert!(Instant::now() < deadline, "no retransmission passed");
    }
    assert!(start.elapsed() >= Duration::from_millis(400));
}

#[test]
fn a_debt_made_under_another_limit_is_forgiven() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    simulator
        .set_policy(&limited(|limits| limits.sip = burst(3)))
        .unwrap();
    let frame = phone().build();
    assert_eq!(passes(&mut simulator, &frame, 50), (3, Reason::Rate));
    simulator.set_policy(&policy()).unwrap();
    assert_eq!(judge(&mut simulator, &frame), (PASS, Reason::Clean));
}

#[test]
fn ssh_is_limited_by_new_connections() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    simulator
        .set_policy(&limited(|limits| limits.ssh = burst(10)))
        .unwrap();
    let to = |destination: &str, flags| Packet::tcp(STRANGER, destination).tcp_flags(flags).build();
    assert_eq!(
        passes(&mut simulator, &to("192.0.2.1:22", flags::SYN), 100),
        (10, Reason::Rate)
    );
    assert_eq!(
        judge(&mut simulator, &to("192.0.2.1:22", flags::ACK)),
        (PASS, Reason::Clean)
    );
    assert_eq!(
        judge(&mut simulator, &to("192.0.2.2:22", flags::SYN)),
        (PASS, Reason::Clean)
    );
}

#[test]
fn an_ssh_session_frees_its_source_for_a_time_and_from_no_ban() {
    for (source, server, address) in [
        ("203.0.113.7:40000", "192.0.2.1:22", "203.0.113.7"),
        (
            "[2001:db8:7:7::9]:40000",
            "[2001:db8::1]:22",
            "2001:db8:7:7::1",
        ),
    ] {
        let Some(mut simulator) = simulator(Profile::Standard) else {
            return;
        };
        simulator
            .set_policy(&limited(|limits| limits.ssh = burst(10)))
            .unwrap();
        let syn = Packet::tcp(source, server).tcp_flags(flags::SYN).build();
        let of = [address.parse().unwrap()];
        simulator.lift_ssh_limit(&of, LAPSED).unwrap();
        assert_eq!(passes(&mut simulator, &syn, 50), (10, Reason::Rate));
        simulator.lift_ssh_limit(&of, in_an_hour()).unwrap();
        assert_eq!(passes(&mut simulator, &syn, 50), (50, Reason::Clean));
        simulator.lift_ssh_limit(&of, LAPSED).unwrap();
        assert_eq!(judge(&mut simulator, &syn), (DROP, Reason::Rate));

        simulator.lift_ssh_limit(&of, in_an_hour()).unwrap();
        let banned = source.rsplit_once(':').unwrap().0.trim_matches(['[', ']']);
        ban(&mut simulator, banned, Scope::All, in_an_hour());
        assert_eq!(judge(&mut simulator, &syn), (DROP, Reason::Banned));
    }
}

#[test]
fn bare_acknowledgements_cost_no_token_of_requests() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let policy = limited(|limits| {
        limits.sip = burst(3);
        limits.responses = burst(60);
        limits.trusted = burst(1);
    });
    simulator.set_policy(&policy).unwrap();
    let ack = Packet::tcp(STRANGER, PBX).tcp_flags(flags::ACK).build();
    assert_eq!(passes(&mut simulator, &ack, 100), (60, Reason::Rate));
    let data = Packet::tcp(STRANGER, PBX).payload(&request("Snom")).build();
    assert_eq!(passes(&mut simulator, &data, 50), (3, Reason::Rate));
    // Of who is trusted they cost none at all.
    simulator.trust("203.0.113.7".parse().unwrap()).unwrap();
    assert_eq!(passes(&mut simulator, &ack, 100), (100, Reason::Clean));
}

/// The events of a frame that comes so many times.
fn events_of(simulator: &mut Simulator, frame: &[u8], times: u32) -> Vec<Event> {
    simulator.time(frame, times).unwrap();
    let mut events = Vec::new();
    simulator.drain_events(&mut |event| events.push(event));
    events
}

#[test]
fn drops_for_a_source_s_rate_are_told_once_a_second_with_their_number() {
    for trusted in [false, true] {
        let Some(mut simulator) = simulator(Profile::Standard) else {
            return;
        };
        let policy = limited(|limits| {
            limits.sip = burst(5);
            limits.trusted = burst(5);
        });
        simulator.set_policy(&policy).unwrap();
        if trusted {
            simulator.trust("203.0.113.7".parse().unwrap()).unwrap();
        }
        let frame = phone().build();
        assert_eq!(events_of(&mut simulator, &frame, 5), []);
        let first = events_of(&mut simulator, &frame, 1).remove(0);
        assert_eq!((first.verdict, first.reason), (DROP, Reason::Rate));
        assert_eq!((first.count, first.passed), (1, 5));
        assert_eq!(first.source.to_string(), "203.0.113.7");

        let mut dropped = 0;
        let second = loop {
            dropped += 3;
            if let [event] = &events_of(&mut simulator, &frame, 3)[..] {
                break event.clone();
            }
            assert!(dropped < 10_000_000, "nothing is told");
        };
        assert!(second.at.0 - first.at.0 >= 1_000_000_000);
        // The one that is told need not be the last of its three.
        assert!((dropped - 2..=dropped).contains(&second.count));
        assert_eq!(second.passed, 0);
    }
}

/// Where the link header ends, without a VLAN tag.
const ETHERNET: usize = 14;

#[test]
fn what_is_to_be_rejected_is_told_with_its_header_and_its_length() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let text = request("Snom");
    let from = |source: &str, pbx: &str| Packet::udp(source, pbx).payload(&text);
    let rows = [
        (from("203.0.113.7:5060", PBX), ETHERNET),
        (from("203.0.113.8:5060", PBX).padding(20), ETHERNET),
        (from("203.0.113.9:5060", PBX).vlan(7), ETHERNET + 4),
        (from("[2001:db8:1:2::7]:5060", PBX6), ETHERNET),
        (
            Packet::tcp("203.0.113.10:5060", PBX)
                .tcp_flags(flags::SYN)
                .payload(&[0; 30]),
            ETHERNET,
        ),
    ];
    for over in [Over::Reject, Over::Drop] {
        let policy = Policy {
            over,
            ..limited(|limits| limits.sip = burst(5))
        };
        simulator.set_policy(&policy).unwrap();
        for (packet, header) in &rows {
            let frame = packet.build();
            // A source is told of once a second: time for it to be told again.
            let started = Instant::now();
            let told = loop {
                if let [event] = &events_of(&mut simulator, &frame, 20)[..] {
                    break event.clone();
                }
                assert!(
                    started.elapsed() < Duration::from_secs(10),
                    "nothing is told"
                );
            };
            assert_eq!((told.verdict, told.reason), (DROP, Reason::Rate));
            let quote = told.quote.map(|quote| (quote.head, quote.length));
            let ip = packet.clone().padding(0).build().len() - header;
            let expected = (frame[*header..*header + 48].to_vec(), ip);
            assert_eq!(
                quote,
                (over == Over::Reject).then_some(expected),
                "{packet:?}"
            );
        }
    }
}

#[test]
fn only_requests_of_strangers_over_their_own_limit_are_to_be_rejected() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let policy = Policy {
        over: Over::Reject,
        ..limited(|limits| {
            limits.responses = burst(5);
            limits.trusted = burst(5);
        })
    };
    simulator.set_policy(&policy).unwrap();
    simulator.trust("203.0.113.8".parse().unwrap()).unwrap();
    let response = format!("SIP/2.0 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100));
    let short = limited(|limits| limits.sip = burst(5));
    let rows = [
        (
            "a response",
            Packet::udp(STRANGER, PBX).payload(response.as_bytes()),
        ),
        (
            "somebody trusted",
            Packet::udp("203.0.113.8:5060", PBX).payload(&request("Snom")),
        ),
    ];
    for (name, packet) in rows {
        let told = events_of(&mut simulator, &packet.build(), 6);
        let [event] = &told[..] else {
            panic!("{name}: {told:?}");
        };
        assert_eq!(
            (event.reason, &event.quote),
            (Reason::Rate, &None),
            "{name}"
        );
    }
    // Too short for a quote, and for any answer.
    simulator
        .set_policy(&Policy {
            over: Over::Reject,
            ..short
        })
        .unwrap();
    let packet = Packet::udp("203.0.113.9:5060", PBX).payload(b"0123456789");
    let told = events_of(&mut simulator, &packet.build(), 6);
    assert!(told.iter().all(|event| event.quote.is_none()), "{told:?}");
    assert_eq!(told.len(), 1);
}

#[test]
fn strangers_over_their_common_rate_are_told_of_and_no_more_than_200_a_second() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    simulator
        .set_policy(&limited(|limits| limits.unknown = burst(1)))
        .unwrap();
    simulator.run(&phone().build()).unwrap();
    let start = Instant::now();
    let mut told = 0;
    for number in 0..500 {
        let source = format!("198.18.{}.{}:5060", number / 250, 1 + number % 250);
        let frame = Packet::udp(&source, PBX).payload(&request("Snom")).build();
        for event in events_of(&mut simulator, &frame, 1) {
            assert_eq!((event.reason, event.count), (Reason::RateUnknown, 1));
            told += 1;
        }
    }
    let refilled = start.elapsed().as_millis() / 5 + 1;
    assert!(
        told >= 200 && told <= 200 + refilled,
        "{told} of 200 + {refilled}"
    );
}

#[test]
fn other_drops_are_not_told_of_as_a_source_s_rate() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    simulator
        .set_policy(&limited(|limits| limits.ssh = burst(1)))
        .unwrap();
    ban(&mut simulator, "203.0.113.9", Scope::All, in_an_hour());
    let of =
        |source: &str, destination: &str| Packet::tcp(source, destination).tcp_flags(flags::SYN);
    let banned = of("203.0.113.9:5060", PBX).build();
    assert_eq!(events_of(&mut simulator, &banned, 3), []);
    let ssh = of(STRANGER, "192.0.2.1:22").build();
    assert_eq!(events_of(&mut simulator, &ssh, 3), []);
    assert_eq!(judge(&mut simulator, &ssh), (DROP, Reason::Rate));
}
