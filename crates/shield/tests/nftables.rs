//! The nftables backend against the real nf_tables, in network namespaces of its own: what each
//! packet's verdict is, what outlives the daemon, and that nobody else's table is touched.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]
#![allow(clippy::print_stdout, reason = "what was measured")]

#[path = "nftables/net.rs"]
mod net;

use std::{
    net::UdpSocket,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ipnet::IpNet;
use net::{Net, Seen, phone, request, until};
use nix::time::{ClockId, clock_gettime};
use sipward_shield::{
    Ban, BootTime, Direction, Error, Event, Frames as _, Mode, Reason, Scope, Shield as _,
    TapPorts, Target,
    nftables::{Nftables, Tap},
};
use sipward_testkit::{packet::Packet, process::wait_until};

const PBX: &str = "192.0.2.1:5060";
const PBX6: &str = "[2001:db8:2::1]:5060";

const PASSED: bool = false;
const DROPPED: bool = true;

/// UDP with this payload.
fn udp(source: &str, destination: &str, payload: &[u8]) -> Packet {
    Packet::udp(source, destination).payload(payload)
}

fn target(prefix: &str) -> Target {
    let address = prefix
        .parse()
        .map(|address: std::net::IpAddr| address.into());
    Target {
        prefix: prefix.parse::<IpNet>().or(address).unwrap(),
        port: None,
    }
}

fn ban(prefix: &str, scope: Scope, until: BootTime) -> Ban {
    Ban {
        target: target(prefix),
        scope,
        until,
    }
}

#[test]
fn each_packet_has_the_verdict_and_the_reason_of_the_kernel_program() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    net.shield(|shield| {
        shield.allow("198.51.100.0/24".parse().unwrap()).unwrap();
        shield.allow("2001:db8:51::/48".parse().unwrap()).unwrap();
    });
    let v4 = "203.0.113.7:5060";
    let v6 = "[2001:db8:7::7]:5060";
    let to = |port: u16| {
        [
            format!("192.0.2.1:{port}"),
            format!("[2001:db8:2::1]:{port}"),
        ]
    };
    let register = phone();
    for (source, friend, destination) in [
        (v4, "198.51.100.9:5060", 0),
        (v6, "[2001:db8:51::9]:5060", 1),
    ] {
        let at = |port: u16| to(port)[destination].clone();
        let syn = 0x02;
        let ack = 0x10;
        let first = udp(source, &at(5060), &register).fragments(64).remove(0);
        let second = udp(source, &at(5060), &register).fragments(64).remove(1);
        let rows = [
            (
                "a phone",
                udp(source, &at(5060), &register).build(),
                PASSED,
                Reason::Clean,
            ),
            (
                "an answer",
                udp(source, &at(5060), b"sip/2.0 200 OK\r\n\r\n").build(),
                PASSED,
                Reason::Clean,
            ),
            (
                "nothing",
                udp(source, &at(5060), b"").build(),
                PASSED,
                Reason::Clean,
            ),
            (
                "no SIP port",
                udp(source, &at(9999), &register).build(),
                PASSED,
                Reason::NotProtected,
            ),
            (
                "IAX2",
                udp(source, &at(4569), b"xxxxxxxxxxxx").build(),
                PASSED,
                Reason::Clean,
            ),
            (
                "a port that nobody uses",
                udp(source, &at(5090), b"x").build(),
                DROPPED,
                Reason::Tripwire,
            ),
            (
                "the same, a friend",
                udp(friend, &at(5090), b"x").build(),
                PASSED,
                Reason::Allowed,
            ),
            (
                "the same over TCP",
                Packet::tcp(source, at(5090)).tcp_flags(syn).build(),
                DROPPED,
                Reason::Tripwire,
            ),
            (
                "SSH",
                Packet::tcp(source, at(22)).tcp_flags(syn).build(),
                PASSED,
                Reason::Clean,
            ),
            (
                "TCP, a connection",
                Packet::tcp(source, at(5060)).tcp_flags(syn).build(),
                PASSED,
                Reason::Clean,
            ),
            (
                "TCP, an acknowledgement",
                Packet::tcp(source, at(5060)).tcp_flags(ack).build(),
                PASSED,
                Reason::Clean,
            ),
            (
                "TLS",
                Packet::tcp(source, at(5061)).tcp_flags(syn).build(),
                PASSED,
                Reason::Clean,
            ),
            (
                "a ping",
                Packet::ip(host(source), host(&at(1)), 1)
                    .payload(&[8; 16])
                    .build(),
                PASSED,
                Reason::NotProtected,
            ),
            ("a tiny fragment", first, DROPPED, Reason::TinyFragment),
            ("a later fragment", second, PASSED, Reason::LaterFragment),
        ];
        for (name, frame, dropped, reason) in rows {
            let seen = net.seen(&frame);
            assert_eq!(seen, Seen { dropped, reason }, "{name} from {source}");
        }
    }
}

#[test]
fn a_ban_drops_what_its_scope_says_and_nobody_elses_packets() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    net.shield(|shield| {
        shield
            .ban(&ban("203.0.113.7", Scope::All, BootTime::NEVER))
            .unwrap();
        shield
            .ban(&ban("203.0.113.64/26", Scope::Sip, until(3_600)))
            .unwrap();
        shield
            .ban(&ban("2001:db8:7:7::/64", Scope::Sip, until(3_600)))
            .unwrap();
        shield
            .ban(&ban("2001:db8:8::/45", Scope::All, until(3_600)))
            .unwrap();
        let port = Ban {
            target: Target {
                port: Some(5062),
                ..target("203.0.113.9")
            },
            scope: Scope::Sip,
            until: until(3_600),
        };
        shield.ban(&port).unwrap();
        let wide = Target {
            port: Some(1),
            ..target("203.0.113.0/24")
        };
        assert!(matches!(
            shield.ban(&Ban {
                target: wide,
                ..port
            }),
            Err(Error::PortOfPrefix(_))
        ));
    });
    let other = |port: u16, v6: bool| {
        if v6 {
            format!("[2001:db8:2::1]:{port}")
        } else {
            format!("192.0.2.1:{port}")
        }
    };
    for (source, to, banned) in [
        ("203.0.113.7:5060", 5060, true),
        ("203.0.113.7:1", 9999, true),
        ("203.0.113.7:1", 4569, true),
        ("203.0.113.8:5060", 5060, false),
        ("203.0.113.63:5060", 5060, false),
        ("203.0.113.64:5060", 5060, true),
        ("203.0.113.127:5060", 4569, true),
        ("203.0.113.127:5060", 5090, true),
        ("203.0.113.127:5060", 9999, false),
        ("203.0.113.128:5060", 5060, false),
        ("203.0.113.9:5062", 5060, true),
        ("203.0.113.9:5060", 5060, false),
        ("[2001:db8:7:7::1]:5060", 5060, true),
        ("[2001:db8:7:7::1]:5060", 9999, false),
        ("[2001:db8:7:8::1]:5060", 5060, false),
        ("[2001:db8:f:ffff::1]:5060", 9999, true),
        ("[2001:db8:10::1]:5060", 9999, false),
    ] {
        let packet = udp(source, &other(to, source.starts_with('[')), &phone());
        let seen = net.seen(&packet.build());
        assert_eq!(
            seen.reason == Reason::Banned,
            banned,
            "{source} to {to}: {seen:?}"
        );
        assert_eq!(seen.dropped, banned, "{source} to {to}: {seen:?}");
    }
    net.shield(|shield| {
        let bans = shield.bans().unwrap();
        assert_eq!(bans.len(), 5);
        let of = |prefix: &str| {
            bans.iter()
                .find(|held| held.ban.target == target(prefix))
                .unwrap()
        };
        assert_eq!(of("203.0.113.7").dropped_packets, 3);
        assert_eq!(of("203.0.113.7").ban.until, BootTime::NEVER);
        assert_eq!(of("203.0.113.64/26").dropped_packets, 3);
        assert!(of("2001:db8:7:7::/64").ban.until.0.abs_diff(until(3_600).0) < 5_000_000_000);

        // Another end, and the same count.
        shield
            .ban(&ban("203.0.113.7", Scope::All, until(60)))
            .unwrap();
        let end = shield
            .ban_end(&target("203.0.113.7"), Scope::All)
            .unwrap()
            .unwrap();
        assert!(end.0.abs_diff(until(60).0) < 5_000_000_000);
        assert_eq!(
            shield.ban_end(&target("203.0.113.7"), Scope::Sip).unwrap(),
            None
        );
        assert_eq!(shield.unban(&target("203.0.113.7"), Scope::Sip).unwrap(), 0);
        assert_eq!(shield.unban(&target("203.0.113.7"), Scope::All).unwrap(), 3);
        assert_eq!(shield.unban(&target("203.0.113.7"), Scope::All).unwrap(), 0);
        assert_eq!(
            shield.ban_end(&target("203.0.113.7"), Scope::All).unwrap(),
            None
        );
    });
    let free = net.seen(&udp("203.0.113.7:5060", PBX, &phone()).build());
    assert_eq!(free.reason, Reason::Clean);
}

#[test]
fn an_inner_ban_that_ends_opens_nothing_and_a_hole_is_one() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    net.shield(|shield| {
        shield
            .ban(&ban("203.0.113.0/24", Scope::All, BootTime::NEVER))
            .unwrap();
        shield
            .ban(&ban(
                "203.0.113.7",
                Scope::All,
                BootTime(BootTime::now().0 + 300_000_000),
            ))
            .unwrap();
        shield
            .ban(&ban("203.0.113.0/28", Scope::Sip, BootTime(1)))
            .unwrap();
        shield
            .ban(&ban("203.0.0.0/16", Scope::Sip, until(3_600)))
            .unwrap();
        shield.allow("203.0.113.9/32".parse().unwrap()).unwrap();
        shield.allow("203.0.0.0/8".parse().unwrap()).unwrap();
        shield.disallow("203.0.0.0/8".parse().unwrap()).unwrap();
    });
    wait_until("the inner ban to lapse", Duration::from_secs(10), || {
        net.shield(|shield| {
            shield
                .ban_end(&target("203.0.113.7"), Scope::All)
                .unwrap()
                .is_none()
        })
    })
    .unwrap();
    for (source, reason) in [
        ("203.0.113.7:5060", Reason::Banned),
        ("203.0.113.8:5060", Reason::Banned),
        ("203.0.114.8:5060", Reason::Banned),
        ("203.0.113.9:5060", Reason::Allowed),
        ("203.1.113.9:5060", Reason::Clean),
    ] {
        assert_eq!(
            net.seen(&udp(source, PBX, &phone()).build()).reason,
            reason,
            "{source}"
        );
    }
    net.shield(|shield| shield.unban(&target("203.0.113.0/24"), Scope::All).unwrap());
    let seen = net.seen(&udp("203.0.113.7:5060", "192.0.2.1:9999", &phone()).build());
    assert_eq!(seen.reason, Reason::NotProtected);
}

/// How many of so many packets pass.
fn pass(net: &mut Net, packets: u32, packet: impl Fn(u32) -> Packet) -> u32 {
    let passed = (0..packets).filter(|number| !net.seen(&packet(*number).build()).dropped);
    u32::try_from(passed.count()).unwrap()
}

/// What a limit of so many packets a second gives back meanwhile, at most.
fn refilled(since: Instant, per_second: f64) -> u32 {
    (since.elapsed().as_secs_f64() * per_second).ceil() as u32
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
fn all_strangers_together_are_limited_and_who_retransmits_is_served() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    net.shield(|shield| {
        let mut policy = net::policy();
        policy.limits.unknown.packets = 1;
        policy.limits.unknown.per_seconds = 3_600;
        policy.limits.unknown.burst = 50;
        shield.set_policy(&policy).unwrap();
    });
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
fn a_packet_to_a_tripwire_is_told_and_in_observe_mode_nothing_is_dropped() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    net.seen(&udp("203.0.113.7:777", "192.0.2.1:5090", b"hello").build());
    let events = net.events();
    let [event] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(
        (event.reason, event.source_port, event.count),
        (Reason::Tripwire, 777, 1)
    );
    assert_eq!(event.sample, b"hello");
    net.shield(|shield| {
        let mut policy = net::policy();
        policy.mode = Mode::Observe;
        shield.set_policy(&policy).unwrap();
        shield
            .ban(&ban("203.0.113.7", Scope::All, BootTime::NEVER))
            .unwrap();
    });
    let seen = net.seen(&udp("203.0.113.7:777", "192.0.2.1:9999", b"hello").build());
    assert_eq!(
        seen,
        Seen {
            dropped: false,
            reason: Reason::Banned
        }
    );
}

#[test]
fn the_table_outlives_the_daemon_and_the_next_one_takes_it_over() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    let foreign = "table inet other {\n\tset banned {\n\t\ttype ipv4_addr\n\t\telements = { 203.0.113.1 }\n\t}\n}\n";
    net.nft(foreign);
    let everything = net.pbx.run("nft list table inet other").unwrap();
    net.shield(|shield| {
        shield
            .ban(&ban("203.0.113.0/25", Scope::All, until(3_600)))
            .unwrap();
        shield.allow("203.0.113.7/32".parse().unwrap()).unwrap();
        shield.trust("198.51.100.7".parse().unwrap()).unwrap();
        assert!(matches!(
            Nftables::open(&["wan".to_owned()]),
            Err(Error::LogGroup(_))
        ));
    });
    net.kill();
    assert!(!net.reaches("203.0.113.8"));
    assert!(net.reaches("203.0.113.7"));

    net.open();
    net.shield(|shield| {
        let bans = shield.bans().unwrap();
        assert_eq!(bans.len(), 1);
        assert_eq!(bans[0].ban.target, target("203.0.113.0/25"));
        assert_eq!(bans[0].dropped_packets, 1);
        assert_eq!(
            shield.allowed().unwrap(),
            ["203.0.113.7/32".parse::<IpNet>().unwrap()]
        );
        assert_eq!(
            shield.trusted().unwrap(),
            ["198.51.100.7".parse::<std::net::IpAddr>().unwrap()]
        );
        let notes = shield.attach().unwrap();
        assert_eq!(notes, ["table inet sipward: adopted"]);
    });
    assert!(!net.reaches("203.0.113.8"));
    net.shield(|shield| {
        assert!(shield.interfaces().unwrap()[0].attached);
        shield.detach().unwrap();
    });
    assert!(net.reaches("203.0.113.8"));
    let left = net.pbx.run("nft list ruleset").unwrap();
    assert_eq!(left, everything);
}

#[test]
fn a_flushed_ruleset_is_missed_and_made_again_with_all_that_was_in_it() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    net.shield(|shield| {
        shield
            .ban(&ban("203.0.113.0/25", Scope::All, until(3_600)))
            .unwrap();
        shield
            .ban(&ban("203.0.113.200", Scope::Sip, BootTime::NEVER))
            .unwrap();
        shield.allow("203.0.113.7/32".parse().unwrap()).unwrap();
        shield.trust("198.51.100.7".parse().unwrap()).unwrap();
        assert_eq!(shield.reattach().unwrap(), Vec::<String>::new());
    });
    for damage in [
        "nft flush ruleset",
        "nft flush chain inet sipward look-banned-all4",
    ] {
        net.pbx.run(damage).unwrap();
        assert!(net.reaches("203.0.113.8"), "{damage}");
        net.shield(|shield| {
            assert!(!shield.interfaces().unwrap()[0].attached);
            assert_eq!(shield.reattach().unwrap().len(), 1);
            assert!(shield.interfaces().unwrap()[0].attached);
            assert_eq!(shield.bans().unwrap().len(), 2);
        });
        assert!(!net.reaches("203.0.113.8"));
        assert!(!net.reaches("203.0.113.200"));
        assert!(net.reaches("203.0.113.7"));
    }
    assert!(
        net.pbx
            .run("nft list set inet sipward trusted4")
            .unwrap()
            .contains("198.51.100.7")
    );
}

#[test]
fn the_tap_sees_what_passes_both_ways_and_nothing_that_is_dropped() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    let ports = TapPorts {
        udp: vec![5060],
        tcp: vec![5060],
        handshakes: vec![5061],
    };
    let mut tap = net
        .pbx
        .enter(|| Tap::open(&["wan".to_owned()], &ports).unwrap());
    net.shield(|shield| {
        shield
            .ban(&ban("203.0.113.7", Scope::All, until(3_600)))
            .unwrap();
    });
    net.seen(&udp("203.0.113.7:5060", PBX, b"banned").build());
    net.seen(&udp("203.0.113.8:777", "192.0.2.1:9999", b"not SIP").build());
    net.seen(&udp("203.0.113.8:5060", PBX, b"in, over UDP").build());
    net.pbx.enter(|| {
        let socket = UdpSocket::bind(PBX).unwrap();
        socket.send_to(b"out, over UDP", "192.0.2.7:5070").unwrap();
    });
    net.seen(&udp("[2001:db8:7::7]:5060", PBX6, b"in, over IPv6").build());
    let mut seen = Vec::new();
    wait_until("four frames", Duration::from_secs(10), || {
        while let Some(frame) = tap.next_frame() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let age = u64::try_from(now.as_nanos()).unwrap().abs_diff(frame.at);
            assert!(age < 60_000_000_000, "{age}");
            let payload = String::from_utf8_lossy(&frame.bytes[frame.bytes.len() - 12..]);
            seen.push((frame.direction, payload.into_owned()));
        }
        seen.len() >= 4
    })
    .unwrap();
    let frame = |direction, text: &str| (direction, text.to_owned());
    assert_eq!(
        seen,
        [
            frame(Direction::In, "in, over UDP"),
            frame(Direction::Out, "ut, over UDP"),
            // The neighbour's word that nobody listens.
            frame(Direction::In, "ut, over UDP"),
            frame(Direction::In, "n, over IPv6"),
        ]
    );
    assert!(net.pbx.enter(|| !tap.mend(&ports).unwrap()));
    net.pbx.run("nft flush ruleset").unwrap();
    net.shield(|shield| shield.reattach().unwrap());
    assert!(net.pbx.enter(|| tap.mend(&ports).unwrap()));
    net.seen(&udp("203.0.113.8:5060", PBX, b"again there").build());
    wait_until("a frame", Duration::from_secs(10), || {
        tap.next_frame().is_some()
    })
    .unwrap();
}

#[test]
fn a_hundred_thousand_bans_are_set_read_and_looked_up_within_seconds() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    let all: Vec<Ban> = (0..100_000_u32)
        .map(|number| {
            let address = std::net::Ipv4Addr::from(0x0b00_0000 + number * 7);
            ban(&address.to_string(), Scope::Sip, until(3_600))
        })
        .collect();
    let mut times = Vec::new();
    net.shield(|shield| {
        let mut timed = |name: &'static str, work: &mut dyn FnMut()| {
            let (began, worked) = (Instant::now(), cpu_time());
            work();
            times.push((name, cpu_time() - worked, began.elapsed()));
        };
        timed("100,000 bans in one go", &mut || {
            shield.ban_all(&all).unwrap()
        });
        timed("one more ban", &mut || {
            shield
                .ban(&ban("203.0.113.7", Scope::All, until(60)))
                .unwrap();
        });
        timed("a ban of another length", &mut || {
            shield
                .ban(&ban("203.0.113.0/25", Scope::All, until(60)))
                .unwrap();
        });
        timed("reading all bans", &mut || {
            assert_eq!(shield.bans().unwrap().len(), 100_002)
        });
        timed("looking 5,000 up", &mut || {
            for ban in &all[..5_000] {
                assert!(shield.ban_end(&ban.target, Scope::Sip).unwrap().is_some());
            }
        });
        timed("another policy", &mut || {
            shield.set_policy(&net::policy()).unwrap()
        });
        timed("lifting one", &mut || {
            shield.unban(&all[5].target, Scope::Sip).unwrap();
        });
        timed("are the rules there?", &mut || {
            assert!(shield.interfaces().unwrap()[0].attached);
        });
    });
    net.kill();
    let (worked, began) = net.pbx.enter(|| {
        let (began, worked) = (Instant::now(), cpu_time());
        Nftables::open(&["wan".to_owned()]).unwrap();
        (cpu_time() - worked, began.elapsed())
    });
    times.push(("taking the table over", worked, began));
    for (name, worked, took) in times {
        println!("{name}: {took:.1?}, of which {worked:.1?} at work");
        // A second on an idle machine; other tests share its caches, and this is a debug build.
        assert!(worked < Duration::from_secs(5), "{name}: {worked:?}");
    }
}

/// What this thread has worked so far, in the kernel, too.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

/// The address of an address and port.
fn host(source: &str) -> String {
    let source: std::net::SocketAddr = source.parse().unwrap();
    source.ip().to_string()
}
