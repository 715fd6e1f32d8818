//! What each packet's verdict is, and under which reason it is counted.

use std::time::Duration;

use sipward_shield::{Ban, BootTime, Error, Mode, Reason, Scope, Shield as _, Target};
use sipward_testkit::{
    packet::{Packet, flags},
    process::wait_until,
};

use crate::{
    net::{Net, PBX, Seen, ban, phone, target, udp, until},
    policy::policy,
};

const PASSED: bool = false;
const DROPPED: bool = true;

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
    for (source, to, banned) in [
        ("203.0.113.7:1", 22, true),
        ("203.0.113.64:1", 5060, true),
        ("203.0.113.64:1", 5061, true),
        ("203.0.113.64:1", 22, false),
        ("[2001:db8:7:7::1]:1", 5061, true),
        ("[2001:db8:7:7::1]:1", 22, false),
    ] {
        let syn = Packet::tcp(source, other(to, source.starts_with('[')));
        let seen = net.seen(&syn.tcp_flags(flags::SYN).build());
        assert_eq!(seen.dropped, banned, "{source} to TCP {to}: {seen:?}");
    }
    net.shield(|shield| {
        let bans = shield.bans().unwrap();
        assert_eq!(bans.len(), 5);
        let of = |prefix: &str| {
            bans.iter()
                .find(|held| held.ban.target == target(prefix))
                .unwrap()
        };
        assert_eq!(of("203.0.113.7").dropped_packets, 4);
        assert_eq!(of("203.0.113.7").ban.until, BootTime::NEVER);
        assert_eq!(of("203.0.113.64/26").dropped_packets, 5);
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
        assert_eq!(shield.unban(&target("203.0.113.7"), Scope::All).unwrap(), 4);
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
        let mut policy = policy();
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

/// The address of an address and port.
fn host(source: &str) -> String {
    let source: std::net::SocketAddr = source.parse().unwrap();
    source.ip().to_string()
}
