//! Who may send how much.

use std::time::{Duration, Instant};

use sipward_shield::{BootTime, Event, Rate, Reason, Shield as _};
use sipward_testkit::{
    packet::{Packet, flags},
    process::wait_until,
};

use crate::{
    limits,
    net::{Net, PBX, PBX6, Seen, phone, request, udp},
    policy::policy,
};

/// How many of so many packets pass.
fn pass(net: &mut Net, packets: u32, packet: impl Fn(u32) -> Packet) -> u32 {
    let passed = (0..packets).filter(|number| !net.seen(&packet(*number).build()).dropped);
    u32::try_from(passed.count()).unwrap()
}

/// What a limit of so many packets a second gives back meanwhile, at most.
fn refilled(since: Instant, per_second: f64) -> u32 {
    (since.elapsed().as_secs_f64() * per_second).ceil() as u32
}

/// All strangers together get so many packets at once, and nothing back while a test runs.
fn limit_strangers(net: &mut Net, burst: u32) {
    net.shield(|shield| {
        let mut policy = policy();
        policy.limits.unknown = Rate {
            packets: 1,
            per_seconds: 3_600,
            burst,
        };
        shield.set_policy(&policy).unwrap();
    });
}

#[test]
fn a_source_has_its_burst_and_what_it_sends_beyond_is_told_once_a_second() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    let stranger = |number: u32| udp("203.0.113.7:5060", PBX, &request(number));
    let began = Instant::now();
    let passed = pass(&mut net, 200, stranger);
    // 5 a second come back while it sends.
    assert!(
        (120..=120 + refilled(began, 5.0)).contains(&passed),
        "{passed}"
    );
    let events: Vec<Event> = net.events();
    let told = events.first().expect("its rate is told");
    assert_eq!(told.reason, Reason::Rate);
    assert_eq!(
        told.source,
        "203.0.113.7".parse::<std::net::IpAddr>().unwrap()
    );
    assert_eq!(
        (told.source_port, told.destination_port, told.protocol),
        (5060, 5060, 17)
    );
    assert!(told.sample.starts_with(b"REGISTER"), "{told:?}");
    let (dropped, counted): (u32, u32) = events.iter().fold((0, 0), |(dropped, passed), event| {
        (dropped + event.count, passed + event.passed)
    });
    assert!(
        dropped >= 1 && dropped <= 200 - passed,
        "{dropped} of {}",
        200 - passed
    );
    assert!((100..=passed).contains(&counted), "{counted} of {passed}");
    assert!(events.len() <= 2 + usize::try_from(began.elapsed().as_secs()).unwrap());

    assert_eq!(
        pass(&mut net, 20, |_| udp("203.0.113.8:5060", PBX, &phone())),
        20
    );
    assert_eq!(
        pass(&mut net, 20, |_| udp(
            "203.0.113.7:5060",
            PBX,
            b"SIP/2.0 200 OK\r\n\r\n"
        )),
        20
    );
    net.shield(|shield| shield.trust("203.0.113.7".parse().unwrap()).unwrap());
    assert_eq!(pass(&mut net, 300, stranger), 300);
    net.shield(|shield| shield.distrust("203.0.113.7".parse().unwrap()).unwrap());
    let began = Instant::now();
    let passed = pass(&mut net, 200, stranger);
    assert!(passed <= 120 + refilled(began, 5.0), "{passed}");
}

#[test]
fn each_class_of_packets_has_its_limit_over_ipv4_and_ipv6() {
    for v6 in [false, true] {
        let Some(mut net) = Net::guarded() else {
            return;
        };
        net.shield(|shield| {
            shield.set_policy(&limits::bursts()).unwrap();
            shield.trust(limits::trusted(v6)).unwrap();
            let sessions = [limits::in_session(v6)];
            shield
                .lift_ssh_limit(&sessions, limits::in_an_hour())
                .unwrap();
        });
        for row in limits::rows(v6) {
            let passed = net.passed(&row.frames);
            assert_eq!(passed, row.passing as u64, "{}, IPv6: {v6}", row.name);
        }
    }
}

#[test]
fn a_bucket_gives_back_what_its_rate_says() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    let mut policy = limits::bursts();
    policy.limits.sip = Rate {
        packets: 5,
        per_seconds: 1,
        burst: 5,
    };
    net.shield(|shield| shield.set_policy(&policy).unwrap());
    let stranger = |number: u32| udp("203.0.113.7:5060", PBX, &request(number));
    let began = Instant::now();
    let mut passed = 0;
    wait_until("ten packets more", Duration::from_secs(20), || {
        passed += pass(&mut net, 1, stranger);
        passed == 15
    })
    .unwrap();
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1_800), "{took:?}");
}

#[test]
fn a_network_of_ipv6_is_one_source_and_so_is_one_who_is_trusted() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    let stranger = |number: u32| udp(&format!("[2001:db8:7:7::{number:x}]:5060"), PBX6, &phone());
    let began = Instant::now();
    let passed = pass(&mut net, 200, stranger);
    assert!(passed <= 120 + refilled(began, 5.0), "{passed}");
    net.shield(|shield| {
        shield.trust("2001:db8:7:7::99".parse().unwrap()).unwrap();
        let network: std::net::IpAddr = "2001:db8:7:7::".parse().unwrap();
        assert_eq!(shield.trusted().unwrap(), [network]);
    });
    assert_eq!(pass(&mut net, 200, stranger), 200);
}

#[test]
fn new_ssh_connections_are_limited_by_source_and_destination() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    let connect = |_| Packet::tcp("203.0.113.7:40000", "192.0.2.1:22").tcp_flags(0x02);
    let began = Instant::now();
    let passed = pass(&mut net, 15, connect);
    assert!(
        (10..=10 + refilled(began, 0.05)).contains(&passed),
        "{passed}"
    );
    let within = |_| Packet::tcp("203.0.113.7:40000", "192.0.2.1:22").tcp_flags(0x18);
    assert_eq!(pass(&mut net, 15, within), 15);
    let other = |_| Packet::tcp("203.0.113.8:40000", "192.0.2.1:22").tcp_flags(0x02);
    assert_eq!(pass(&mut net, 5, other), 5);
}

#[test]
fn an_ssh_session_frees_its_source_for_a_time_and_outlives_the_daemon_and_a_new_policy() {
    for (source, server, address) in [
        ("203.0.113.7:40000", "192.0.2.1:22", "203.0.113.7"),
        (
            "[2001:db8:7:7::9]:40000",
            "[2001:db8:2::1]:22",
            "2001:db8:7:7::1",
        ),
    ] {
        let Some(mut net) = Net::guarded() else {
            return;
        };
        net.shield(|shield| shield.set_policy(&limits::bursts()).unwrap());
        let connect = |_| Packet::tcp(source, server).tcp_flags(flags::SYN);
        let of = [address.parse().unwrap()];
        assert_eq!(pass(&mut net, 15, connect), 10);
        net.shield(|shield| shield.lift_ssh_limit(&of, limits::in_an_hour()).unwrap());
        assert_eq!(pass(&mut net, 15, connect), 15);
        net.kill();
        net.open();
        assert_eq!(pass(&mut net, 15, connect), 15);
        net.shield(|shield| shield.set_policy(&limits::bursts()).unwrap());
        assert_eq!(pass(&mut net, 15, connect), 15);

        // Sooner than it was to be before.
        let soon = BootTime(BootTime::now().0 + 500_000_000);
        net.shield(|shield| shield.lift_ssh_limit(&of, soon).unwrap());
        wait_until("the end of it", Duration::from_secs(20), || {
            pass(&mut net, 11, connect) < 11
        })
        .unwrap();
    }
}

#[test]
fn all_strangers_together_are_limited_and_who_retransmits_is_served() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    limit_strangers(&mut net, 50);
    let forged = |number: u32| udp(&format!("203.0.113.{number}:5060"), PBX, &phone());
    assert_eq!(pass(&mut net, 60, forged), 50);
    let phone_behind = udp("198.51.100.7:5060", PBX, &phone()).build();
    let refused = Seen {
        dropped: true,
        reason: Reason::RateUnknown,
    };
    assert_eq!(net.seen(&phone_behind), refused);
    // RFC 3261 sends it again after half a second; other bytes are no retransmission.
    let began = Instant::now();
    wait_until(
        "the retransmission to pass",
        Duration::from_secs(20),
        || !net.seen(&phone_behind).dropped,
    )
    .unwrap();
    assert!(
        began.elapsed() >= Duration::from_millis(300),
        "{:?}",
        began.elapsed()
    );
    let answer = udp("198.51.100.7:5060", PBX, &request(2)).build();
    assert!(!net.seen(&answer).dropped);
    assert_eq!(net.seen(&forged(200).build()), refused);
    net.shield(|shield| shield.trust("198.51.100.8".parse().unwrap()).unwrap());
    assert!(
        !net.seen(&udp("198.51.100.8:5060", PBX, &phone()).build())
            .dropped
    );
}

#[test]
fn forgers_who_send_the_same_bytes_again_share_ten_times_the_limit() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    limit_strangers(&mut net, 5);
    let forged = |number: u32| udp(&format!("203.0.113.{number}:5060"), PBX, &phone());
    assert_eq!(pass(&mut net, 100, forged), 5);
    // The same bytes pass when they come again after 0.4 s, until the bucket is empty.
    let mut passed = 0;
    let all = || {
        passed += pass(&mut net, 100, forged);
        passed >= 50
    };
    wait_until("what was sent again", Duration::from_secs(20), all).unwrap();
    assert_eq!(passed, 50);
    assert_eq!(pass(&mut net, 100, forged), 0);
}

/// A source of its own for each number, and the PBX over the same version of IP.
fn forged(number: u32) -> (String, &'static str) {
    if number.is_multiple_of(2) {
        (format!("203.0.113.{number}:5060"), PBX)
    } else {
        (format!("[2001:db8:{number:x}::7]:5060"), PBX6)
    }
}

#[test]
fn what_forged_sources_send_besides_requests_has_buckets_of_its_own() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    limit_strangers(&mut net, 5);
    let answer = |number: u32| {
        let (source, pbx) = forged(number);
        udp(&source, pbx, b"SIP/2.0 200 OK\r\nCSeq: 1 OPTIONS\r\n\r\n")
    };
    let segment = |number: u32| {
        let (source, pbx) = forged(number);
        let packet = Packet::tcp(source, pbx);
        match number % 4 {
            0 | 3 => packet.tcp_flags(flags::ACK),
            1 => packet.tcp_flags(flags::RST),
            _ => packet.payload(&phone()),
        }
    };
    // Ten times 5 each.
    assert_eq!(pass(&mut net, 70, answer), 50);
    assert_eq!(pass(&mut net, 70, segment), 50);
    let request = |number: u32| udp(&forged(200 + number).0, forged(200 + number).1, &phone());
    assert_eq!(pass(&mut net, 10, request), 5);
    for packet in [answer(69), segment(68)] {
        let again = || !net.seen(&packet.build()).dropped;
        wait_until("what is sent again", Duration::from_secs(20), again).unwrap();
    }
    net.shield(|shield| shield.trust("203.0.113.250".parse().unwrap()).unwrap());
    let ack = Packet::tcp("203.0.113.250:5060", PBX).tcp_flags(flags::ACK);
    assert_eq!(pass(&mut net, 100, |_| ack.clone()), 100);
}

#[test]
fn later_fragments_follow_a_first_one_and_what_follows_none_shares_a_small_bucket() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    let fragments = |source: &str, pbx: &str| udp(source, pbx, &[b'x'; 1_200]).fragments(400);
    let forged: Vec<_> = (0..1_000)
        .map(|number| forged(number * 2 % 250 + number % 2))
        .map(|(source, pbx)| fragments(&source, pbx).remove(1))
        .collect();
    let began = Instant::now();
    let passed = net.passed(&forged);
    let most = 200 + u64::from(refilled(began, 50.0));
    assert!((200..=most).contains(&passed), "{passed}");
    let known = ["198.51.100.7:5060", "[2001:db8:7:7::1]:5060"];
    for (source, pbx) in known.into_iter().zip([PBX, PBX6]) {
        let all = fragments(source, pbx);
        let clean = Seen {
            dropped: false,
            reason: Reason::Clean,
        };
        assert_eq!(net.seen(&all[0]), clean);
        let later: Vec<_> = all[1..].iter().cycle().take(600).cloned().collect();
        assert_eq!(net.passed(&later), 600, "{source}");
    }
    // A port that nobody protects, and a first fragment that is dropped.
    let rows = [
        ("198.51.100.8:5060", "192.0.2.1:9999", true),
        ("198.51.100.9:5060", PBX, false),
    ];
    for (source, to, passes) in rows {
        let size = if passes { 400 } else { 64 };
        let all = udp(source, to, &[b'x'; 1_200]).fragments(size);
        assert_eq!(net.seen(&all[0]).dropped, !passes);
        let later: Vec<_> = all[1..].iter().cycle().take(600).cloned().collect();
        let passed = net.passed(&later);
        if passes {
            assert_eq!(passed, 600, "{source}");
        } else {
            assert!(passed <= 1 + u64::from(refilled(began, 50.0)), "{passed}");
        }
    }
    net.shield(|shield| shield.trust("198.51.100.9".parse().unwrap()).unwrap());
    let tiny = udp("198.51.100.9:5060", PBX, &[b'x'; 1_200]).fragments(64);
    assert_eq!(net.passed(&vec![tiny[1].clone(); 300]), 300);
}
