use sipward_testkit::packet::{Packet, protocol};
use test_case::test_case;

use super::*;
use crate::{
    config::{BanScope, Config},
    control::api::{AllowRequest, BanRequest},
    daemon::tests::{Bench, ban, target},
};

const SECOND: Duration = Duration::from_secs(1);

fn banned(scope: BanScope) -> BanRequest {
    BanRequest {
        seconds: Some(600),
        scope: Some(scope),
        ..ban("203.0.113.0/24")
    }
}

/// Has the guard see a packet that comes in so long after now.
fn see(guard: &mut Guard, packet: &Packet, direction: Direction, after: Duration) -> u64 {
    guard.take_frame(&TapFrame {
        bytes: &packet.build(),
        at: (clock::now() + after).0,
        direction,
        is_cut: false,
        vlan: None,
    });
    guard.enforcement().unwrap().leaked_packets
}

fn leaks(guard: &mut Guard, packet: &Packet) -> u64 {
    see(guard, packet, Direction::In, SECOND)
}

fn udp(source: &str, port: u16) -> Packet {
    Packet::udp(format!("{source}:40000"), format!("192.0.2.1:{port}")).payload(b"x")
}

fn tcp(source: &str, port: u16) -> Packet {
    Packet::tcp(format!("{source}:40000"), format!("192.0.2.1:{port}"))
}

fn icmp(source: &str) -> Packet {
    Packet::ip(source, "192.0.2.1", protocol::ICMP).payload(&[3, 3, 0, 0, 0, 0, 0, 0])
}

#[test_case(BanScope::All, &udp("203.0.113.7", 5060), 1; "to SIP")]
#[test_case(BanScope::All, &tcp("203.0.113.7", 22), 1; "to anything")]
#[test_case(BanScope::All, &icmp("203.0.113.7"), 1; "of any protocol")]
#[test_case(BanScope::All, &udp("203.0.113.7", 5060).fragment(1480, false), 1; "any fragment")]
#[test_case(BanScope::All, &udp("198.51.100.7", 5060), 0; "of another source")]
#[test_case(BanScope::Sip, &udp("203.0.113.7", 5060), 1; "to SIP where only that is banned")]
#[test_case(BanScope::Sip, &tcp("203.0.113.7", 5061), 1; "to SIP that cannot be read")]
#[test_case(BanScope::Sip, &tcp("203.0.113.7", 22), 0; "to SSH where SIP is banned")]
#[test_case(BanScope::Sip, &udp("203.0.113.7", 5060).fragment(1480, false), 0; "no port to see")]
#[test_case(BanScope::Sip, &icmp("203.0.113.7"), 0; "no SIP")]
fn what_a_ban_should_have_dropped_is_a_leak(scope: BanScope, packet: &Packet, expected: u64) {
    let bench = Bench::new();
    bench.shield.state().is_attached = true;
    let mut guard = bench.guard();
    guard.ban(&banned(scope)).unwrap();
    assert_eq!(leaks(&mut guard, packet), expected);
    let state = guard.enforcement().unwrap().state;
    assert_eq!(state == EnforcementState::Leaking, expected > 0);
}

#[test]
fn a_flood_that_leaks_is_counted_and_its_ban_looked_up_once_between_two_checks() {
    let bench = Bench::new();
    bench.shield.state().is_attached = true;
    let mut guard = bench.guard();
    guard.ban(&banned(BanScope::All)).unwrap();
    let packet = udp("203.0.113.7", 5060);
    for check in 1..=3 {
        bench.shield.state().bans.clear();
        bench.shield.state().lookups = 0;
        for number in 1..=100 {
            assert_eq!(leaks(&mut guard, &packet), (check - 1) * 100 + number);
        }
        assert_eq!(bench.shield.state().lookups, 1);
        assert_eq!(bench.shield.state().bans.len(), 1);
        guard.check_enforcement();
    }
}

#[test]
fn leaks_stay_counted_when_the_clock_is_set() {
    let bench = Bench::new();
    bench.shield.state().is_attached = true;
    let mut guard = bench.guard();
    guard.ban(&banned(BanScope::All)).unwrap();
    assert_eq!(leaks(&mut guard, &udp("203.0.113.7", 5060)), 1);
    guard.self_check.begin_anew(clock::now());
    let enforcement = guard.enforcement().unwrap();
    assert_eq!(enforcement.leaked_packets, 1);
    assert_eq!(enforcement.state, EnforcementState::Ok);
}

#[test]
fn what_goes_out_or_comes_at_once_or_after_the_end_is_no_leak() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    guard.ban(&banned(BanScope::All)).unwrap();
    let packet = udp("203.0.113.7", 5060);
    for (direction, after) in [
        (Direction::Out, SECOND),
        (Direction::In, GRACE / 2),
        (Direction::In, 601 * SECOND),
    ] {
        assert_eq!(see(&mut guard, &packet, direction, after), 0, "{after:?}");
    }
}

#[test]
fn who_is_allowed_does_not_leak() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    guard
        .allow(
            &AllowRequest {
                prefixes: vec!["203.0.113.7/32".parse().unwrap()],
                ..AllowRequest::default()
            },
            Vec::new(),
        )
        .unwrap();
    let forced = BanRequest {
        force: true,
        ..banned(BanScope::All)
    };
    guard.ban(&forced).unwrap();
    assert_eq!(leaks(&mut guard, &udp("203.0.113.7", 5060)), 0);
    assert_eq!(leaks(&mut guard, &udp("203.0.113.8", 5060)), 1);
}

#[test]
fn nothing_leaks_where_nothing_is_dropped() {
    let bench = Bench::new();
    let mut guard = bench.guard_with(Config {
        mode: GuardMode::Observe,
        ..Config::default()
    });
    guard.ban(&banned(BanScope::All)).unwrap();
    assert_eq!(leaks(&mut guard, &udp("203.0.113.7", 5060)), 0);
}

#[test]
fn a_ban_that_leaks_because_the_kernel_has_lost_it_is_put_back() {
    let bench = Bench::new();
    bench.shield.state().is_attached = true;
    let mut guard = bench.guard();
    guard.ban(&banned(BanScope::Sip)).unwrap();
    bench.shield.state().bans.clear();
    assert_eq!(leaks(&mut guard, &udp("203.0.113.7", 5060)), 1);
    assert_eq!(bench.enforced(), ["203.0.113.0/24".parse().unwrap()]);
    // What was on its way when it came back does not count.
    let soon = GRACE / 2;
    let packet = udp("203.0.113.7", 5060);
    assert_eq!(see(&mut guard, &packet, Direction::In, soon), 1);
}

#[test]
fn bans_that_are_missing_in_the_kernel_or_end_too_early_are_put_back_without_a_packet() {
    let bench = Bench::new();
    bench.shield.state().is_attached = true;
    let mut guard = bench.guard();
    for prefix in ["203.0.113.7/32", "203.0.113.8/32", "198.51.100.0/24"] {
        guard.ban(&ban(prefix)).unwrap();
    }
    guard.check_enforcement();
    assert_eq!(guard.enforcement().unwrap().state, EnforcementState::Ok);
    let before = bench.shield.state().bans.clone();
    {
        let mut state = bench.shield.state();
        let scope = sipward_shield::Scope::All;
        state
            .bans
            .remove(&(target("203.0.113.7/32"), scope))
            .unwrap();
        let early = state.bans.get_mut(&(target("198.51.100.0/24"), scope));
        early.unwrap().until = BootTime::now();
    }
    guard.check_enforcement();
    assert_eq!(bench.shield.state().bans, before);
    assert_eq!(
        guard.enforcement().unwrap(),
        Enforcement {
            state: EnforcementState::Leaking,
            leaked_packets: 0,
        }
    );
}

#[test]
fn more_bans_than_one_check_looks_at_take_turns() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let hosts: Vec<IpNet> = (0..2 * BANS_AT_ONCE)
        .map(|host| {
            let host = u32::try_from(host).unwrap();
            IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + host)).into()
        })
        .collect();
    guard
        .ban(&BanRequest {
            prefixes: hosts.clone(),
            ..ban("10.0.0.0/32")
        })
        .unwrap();
    bench.shield.state().bans.clear();
    guard.check_enforcement();
    assert_eq!(bench.enforced(), hosts[..BANS_AT_ONCE]);
    guard.check_enforcement();
    assert_eq!(bench.enforced(), hosts);
    bench.shield.state().bans.clear();
    // One check finds that there are no more, and the next begins anew.
    guard.check_enforcement();
    guard.check_enforcement();
    assert_eq!(bench.enforced(), hosts[..BANS_AT_ONCE]);
}

#[test]
fn a_shield_that_is_taken_off_is_put_back_and_told_of_for_a_while() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    assert_eq!(
        guard.enforcement().unwrap().state,
        EnforcementState::Detached
    );
    bench.shield.state().is_occupied = true;
    guard.check_enforcement();
    assert_eq!(
        guard.enforcement().unwrap().state,
        EnforcementState::Detached
    );
    let note = guard.status().unwrap().interfaces.remove(0).note.unwrap();
    assert!(
        note.contains("another XDP program is attached: xdp_pass (id 7)"),
        "{note}"
    );
    bench.shield.state().is_occupied = false;
    guard.check_enforcement();
    assert!(bench.shield.state().is_attached);
    assert_eq!(
        guard.enforcement().unwrap().state,
        EnforcementState::Leaking
    );
}
