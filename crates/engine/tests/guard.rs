//! What the kernel's events lead to: bans, who is spared, how long, and what an administrator can
//! do about it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic as the tests may"
)]

use std::time::Duration;

use sipward_engine::{
    Ban, Command, Confidence, Config, Detector, Engine, KernelDrop, Observation, Origin, Place,
    Protection, Reason, Restored, Scope, SignatureHit, SignatureSeen, Time, Transport, Trusted,
    TrustedBy, Unban, UnbanCause,
};
use test_case::test_case;

const START: Time = Time::from_secs(1_800_000_000);

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

fn days(n: u64) -> Duration {
    minutes(n * 24 * 60)
}

fn scanner(source: &str) -> KernelDrop<'static> {
    KernelDrop {
        source: source.parse().unwrap(),
        destination: "198.51.100.1:5060".parse().unwrap(),
        transport: Transport::Udp,
        established: false,
        reason: Reason::Signature,
        count: 1,
        passed: 0,
        signature: Some(SignatureHit {
            name: "sipvicious-friendly-scanner",
            confidence: Confidence::Certain,
        }),
        packet: None,
        sample: b"OPTIONS sip:100@198.51.100.1 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n",
    }
}

fn over_tcp(source: &str) -> KernelDrop<'static> {
    KernelDrop {
        transport: Transport::Tcp,
        established: true,
        ..scanner(source)
    }
}

fn tripwire(source: &str) -> KernelDrop<'static> {
    KernelDrop {
        reason: Reason::Tripwire,
        signature: None,
        sample: b"",
        ..scanner(source)
    }
}

fn engine() -> Engine {
    Engine::new(Config::default(), 1)
}

fn see(engine: &mut Engine, drop: KernelDrop<'_>, now: Time) -> Vec<Command> {
    engine.observe(&Observation::KernelDrop(drop), now);
    commands(engine)
}

fn commands(engine: &mut Engine) -> Vec<Command> {
    std::iter::from_fn(|| engine.next_command()).collect()
}

fn bans(commands: &[Command]) -> Vec<Ban> {
    commands.iter().filter_map(Command::ban).cloned().collect()
}

fn manual(prefix: &str) -> Ban {
    Ban {
        prefix: prefix.parse().unwrap(),
        port: None,
        scope: Scope::All,
        since: START,
        until: None,
        detector: None,
        reason: "by hand".to_owned(),
        proven: true,
        signature: None,
        account: None,
        origin: Origin::Manual,
    }
}

fn trusted(address: &str, last: Time) -> Trusted {
    Trusted {
        address: address.parse().unwrap(),
        by: TrustedBy::Registration,
        username: Some("100".to_owned()),
        user_agent: None,
        since: last,
        last,
        until: last + days(7),
    }
}

fn trusting(address: &str, last: Time) -> Engine {
    let mut engine = engine();
    let trusted = vec![trusted(address, last)];
    engine.restore(
        Restored {
            trusted,
            ..Restored::default()
        },
        START,
    );
    engine
}

#[test]
fn a_scanner_over_udp_loses_the_sip_ports_for_ten_minutes() {
    let seen = see(&mut engine(), scanner("203.0.113.7:5061"), START);
    let [Command::Alert(alert), Command::Ban(ban)] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert_eq!(alert.detector, Detector::ScannerSignature);
    assert_eq!(
        alert.evidence[0].summary,
        "OPTIONS sip:100@198.51.100.1 SIP/2.0"
    );
    assert_eq!(ban.prefix.to_string(), "203.0.113.7/32");
    assert_eq!(
        ban.signature.as_deref(),
        Some("sipvicious-friendly-scanner")
    );
    assert_eq!((ban.port, ban.scope, ban.proven), (None, Scope::Sip, false));
    assert_eq!(ban.until, Some(START + minutes(10)));
}

#[test_case(false; "in fragments")]
#[test_case(true; "in an established connection")]
fn a_signature_that_no_single_packet_shows_bans_as_one_that_does(established: bool) {
    let transport = if established {
        Transport::Tcp
    } else {
        Transport::Udp
    };
    let dropped = KernelDrop {
        transport,
        established,
        ..scanner("203.0.113.7:5061")
    };
    let passed = SignatureSeen {
        source: dropped.source,
        transport,
        established,
        hit: dropped.signature.unwrap(),
        place: Place::Packet(9),
        message: dropped.sample,
    };
    let mut engine = engine();
    engine.observe(&Observation::Signature(passed), START);
    let seen = commands(&mut engine);
    assert_eq!(bans(&seen), bans(&see(&mut self::engine(), dropped, START)));
    let [Command::Alert(alert), _] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert_eq!(alert.evidence[0].place, Place::Packet(9));
}

#[test]
fn a_scanner_in_an_established_connection_loses_every_port_and_climbs_the_ladder() {
    let mut engine = engine();
    let mut now = START;
    for length in [minutes(10), minutes(60), days(1), days(10), days(10)] {
        let ban = &bans(&see(&mut engine, over_tcp("203.0.113.7:5061"), now))[0];
        assert_eq!((ban.scope, ban.proven), (Scope::All, true));
        assert_eq!(ban.until, Some(now + length));
        now = now + length;
    }
}

#[test]
fn one_segment_outside_a_connection_proves_nothing() {
    let drop = KernelDrop {
        established: false,
        ..over_tcp("203.0.113.7:5061")
    };
    assert!(!bans(&see(&mut engine(), drop, START))[0].proven);
}

#[test_case(Confidence::Likely)]
#[test_case(Confidence::Shared)]
fn nobody_is_banned_for_less_than_a_certain_signature(confidence: Confidence) {
    let drop = KernelDrop {
        signature: Some(SignatureHit {
            name: "some",
            confidence,
        }),
        ..scanner("203.0.113.7:5061")
    };
    assert_eq!(see(&mut engine(), drop, START), []);
}

#[test]
fn a_ban_in_force_is_not_set_again_and_a_proven_one_follows_an_unproven_one() {
    let mut engine = engine();
    see(&mut engine, scanner("203.0.113.7:5061"), START);
    assert_eq!(
        see(&mut engine, scanner("203.0.113.7:5062"), START + minutes(1)),
        []
    );
    let proven = bans(&see(
        &mut engine,
        over_tcp("203.0.113.7:5062"),
        START + minutes(1),
    ));
    assert_eq!(proven[0].scope, Scope::All);
    assert_eq!(
        see(&mut engine, scanner("203.0.113.7:5061"), START + minutes(2)),
        []
    );
}

#[test]
fn bans_lapse_at_their_time() {
    let mut engine = engine();
    see(&mut engine, scanner("203.0.113.7:5061"), START);
    let end = engine.poll_timeout().unwrap();
    assert_eq!(end, START + minutes(10));
    engine.handle_timeout(Time(end.0 - 1));
    assert_eq!(commands(&mut engine), []);
    engine.handle_timeout(end);
    let lapsed = Command::Unban(Unban {
        prefix: "203.0.113.7/32".parse().unwrap(),
        port: None,
        scope: Scope::Sip,
        cause: UnbanCause::Lapsed,
    });
    assert_eq!(commands(&mut engine), [lapsed]);
    assert_eq!(engine.bans().count(), 0);
    assert_eq!(engine.poll_timeout(), None);
}

/// A laptop that sleeps for two days between two observations, and is asked for time before the
/// second one, or not.
#[test_case(true; "time first")]
#[test_case(false; "the packet first")]
fn what_was_slept_ends_bans_and_the_next_one_is_longer(time_first: bool) {
    let mut engine = engine();
    let scan = || over_tcp("203.0.113.7:5060");
    see(&mut engine, scan(), START);
    see(&mut engine, scan(), START + minutes(11));
    let awake = START + days(2);
    let mut seen = Vec::new();
    if time_first {
        engine.handle_timeout(awake);
        seen = commands(&mut engine);
    }
    seen.extend(see(&mut engine, scan(), awake));
    let lapsed = |command: &&Command| matches!(command, Command::Unban(_));
    assert_eq!(seen.iter().filter(lapsed).count(), 1, "{seen:?}");
    assert_eq!(bans(&seen)[0].until, Some(awake + days(1)));
    assert_eq!(engine.poll_timeout(), Some(awake + days(1)));
}

#[test_case("198.51.100.1", Protection::Own)]
#[test_case("198.51.100.254", Protection::Gateway)]
#[test_case("9.9.9.9", Protection::Resolver)]
#[test_case("192.0.2.123", Protection::TimeServer)]
#[test_case("192.0.2.22", Protection::SshSession)]
#[test_case("192.0.2.50", Protection::Allowlist)]
#[test_case("192.0.2.60", Protection::Peer)]
fn who_is_protected_is_never_banned(address: &str, protection: Protection) {
    let mut engine = engine();
    let prefix: ipnet::IpNet = format!("{address}/32").parse().unwrap();
    engine.protected_mut().add(protection, prefix);
    let seen = see(&mut engine, over_tcp(&format!("{address}:5060")), START);
    let [Command::Alert(alert)] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert!(alert.spared.as_ref().unwrap().contains(protection.words()));

    let around = manual(&format!("{address}/16"));
    assert!(engine.impose(around, false, START).is_err());
    let exact = manual(&format!("{address}/32"));
    assert!(engine.impose(exact.clone(), false, START).is_err());
    assert_eq!(commands(&mut engine), []);
    engine.impose(exact.clone(), true, START).unwrap();
    assert_eq!(commands(&mut engine), [Command::Ban(exact)]);
}

/// Who has just connected by SSH may be the administrator, or anybody.
#[test_case("203.0.113.7", "203.0.113.7/32"; "of the same address")]
#[test_case("2001:db8:1:2::7", "2001:db8:1:2::/64"; "of the same address over IPv6")]
fn who_has_just_connected_by_ssh_is_banned_and_loses_sip_only(address: &str, prefix: &str) {
    let mut engine = engine();
    let protected = engine.protected_mut();
    protected.set_ssh_connections([address.parse().unwrap()]);
    let source = match address.contains(':') {
        true => format!("[{address}]:5060"),
        false => format!("{address}:5060"),
    };
    let seen = see(&mut engine, over_tcp(&source), START);
    let [Command::Alert(alert), Command::Ban(ban)] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert_eq!(alert.spared, None);
    assert_eq!((ban.scope, ban.proven), (Scope::Sip, true));
    assert_eq!(ban.prefix.to_string(), prefix);
    let why = format!("; SIP only, for {address} has just connected by SSH");
    assert_eq!(ban.reason, format!("{}{why}", alert.summary));

    // The next ban finds no connection.
    engine.protected_mut().set_ssh_connections([]);
    let next = bans(&see(&mut engine, over_tcp(&source), START + minutes(10)));
    assert_eq!(next[0].scope, Scope::All);
    assert_eq!(next[0].reason, alert.summary);
}

#[test]
fn an_ssh_connection_keeps_no_neighbourhood_from_its_ban() {
    let neighbour = |n: u32| format!("203.0.113.{n}:5060");
    let campaign = |connected: Option<&str>| {
        let mut engine = engine();
        let connected = connected.map(|address| address.parse().unwrap());
        engine.protected_mut().set_ssh_connections(connected);
        let mut seen = (1..=5).flat_map(|n| {
            let now = START + minutes(u64::from(n));
            bans(&see(&mut engine, over_tcp(&neighbour(n)), now))
        });
        let ban = seen.find(|ban| ban.detector == Some(Detector::PrefixCampaign));
        let ban = ban.unwrap();
        (ban.prefix.to_string(), ban.scope)
    };
    let around = "203.0.113.0/24".to_owned();
    assert_eq!(campaign(None), (around.clone(), Scope::All));
    assert_eq!(
        campaign(Some("203.0.113.200")),
        (around.clone(), Scope::Sip)
    );
    assert_eq!(campaign(Some("203.0.114.200")), (around, Scope::All));
}

#[test]
fn what_others_ban_spares_an_ssh_connection_unless_it_is_forced() {
    let mut engine = engine();
    let connected = "203.0.113.7".parse().unwrap();
    engine.protected_mut().set_ssh_connections([connected]);
    let asked = manual("203.0.113.0/24");
    assert_eq!(engine.impose(asked.clone(), false, START), Ok(true));
    let seen = bans(&commands(&mut engine));
    assert_eq!(seen[0].scope, Scope::Sip);
    let why = "by hand; SIP only, for 203.0.113.7 has just connected by SSH";
    assert_eq!(seen[0].reason, why);
    assert_eq!(engine.impose(asked.clone(), true, START), Ok(true));
    assert_eq!(commands(&mut engine), [Command::Ban(asked)]);
}

#[test]
fn a_decided_ban_gives_way_to_who_has_connected_by_ssh_since() {
    let mut engine = engine();
    let [decided, other] = ["203.0.113.7/32", "203.0.113.8/32"].map(manual);
    for ban in [&decided, &other] {
        assert_eq!(engine.impose(ban.clone(), false, START), Ok(true));
    }
    commands(&mut engine);
    let connected = "203.0.113.7".parse().unwrap();
    engine.protected_mut().set_ssh_connections([connected]);
    assert!(!engine.narrow_decided(&other));
    assert!(engine.narrow_decided(&decided));
    let seen = bans(&commands(&mut engine));
    let [narrowed] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert_eq!(
        (narrowed.prefix, narrowed.scope),
        (decided.prefix, Scope::Sip)
    );
    let mut in_force: Vec<Ban> = engine.bans().cloned().collect();
    in_force.sort_by_key(|ban| ban.prefix);
    assert_eq!(in_force, [narrowed.clone(), other]);

    // It has ended meanwhile: it is not enforced, and nothing in its place.
    assert!(engine.narrow_decided(&decided));
    assert_eq!(commands(&mut engine), []);
}

#[test_case("127.0.0.1:5060"; "loopback")]
#[test_case("169.254.7.7:5060"; "link local")]
#[test_case("224.0.1.75:5060"; "multicast")]
#[test_case("255.255.255.255:5060"; "broadcast")]
#[test_case("0.0.0.0:5060"; "unspecified")]
#[test_case("[fe80::1]:5060"; "link local v6")]
#[test_case("[ff02::1]:5060"; "multicast v6")]
#[test_case("[::ffff:127.0.0.1]:5060"; "loopback in v6 clothes")]
fn special_addresses_are_never_banned(source: &str) {
    assert_eq!(bans(&see(&mut engine(), over_tcp(source), START)), []);
}

#[test]
fn a_phone_that_logged_in_loses_only_its_rate_to_a_forger() {
    let mut engine = trusting("203.0.113.7", START);
    let seen = see(&mut engine, scanner("203.0.113.7:5061"), START + days(6));
    let address: std::net::IpAddr = "203.0.113.7".parse().unwrap();
    assert!(matches!(&seen[..], [Command::Alert(_), Command::TakeRate(a)] if *a == address));
    let later = see(&mut engine, scanner("203.0.113.7:5061"), START + days(7));
    assert_eq!(bans(&later).len(), 1, "trust lasts seven days");
}

#[test]
fn a_proven_attacker_behind_a_trusted_address_loses_its_port_and_the_third_the_address() {
    let mut engine = trusting("203.0.113.7", START);
    for port in [40_001, 40_002] {
        let seen = see(&mut engine, over_tcp(&format!("203.0.113.7:{port}")), START);
        let ban = &bans(&seen)[0];
        assert_eq!((ban.port, ban.scope), (Some(port), Scope::Sip));
    }
    let seen = see(&mut engine, over_tcp("203.0.113.7:40003"), START);
    assert!(seen.contains(&Command::Distrust("203.0.113.7".parse().unwrap())));
    let ban = &bans(&seen)[0];
    assert_eq!((ban.port, ban.scope), (None, Scope::All));
    assert_eq!(
        ban.until,
        Some(START + minutes(10)),
        "ports do not climb the ladder"
    );
}

#[test]
fn ipv6_is_banned_by_64_but_for_a_trusted_neighbour() {
    let source = "[2001:db8:1:2::7]:5060";
    let ban = &bans(&see(&mut engine(), scanner(source), START))[0];
    assert_eq!(ban.prefix.to_string(), "2001:db8:1:2::/64");
    let mut engine = trusting("2001:db8:1:2::8", START);
    let ban = &bans(&see(&mut engine, scanner(source), START))[0];
    assert_eq!(ban.prefix.to_string(), "2001:db8:1:2::7/128");
}

#[test]
fn a_tripwire_bans_at_once_but_not_a_phone_that_worked_here_this_month() {
    let ban = &bans(&see(&mut engine(), tripwire("203.0.113.7:5060"), START))[0];
    assert_eq!(ban.detector, Some(Detector::Tripwire));
    assert_eq!(ban.scope, Scope::Sip);
    let mut engine = trusting("203.0.113.7", START);
    assert_eq!(
        see(&mut engine, tripwire("203.0.113.7:5060"), START + days(30)),
        []
    );
    let later = see(&mut engine, tripwire("203.0.113.7:5060"), START + days(31));
    assert_eq!(bans(&later).len(), 1);
}

#[test]
fn forged_scanners_cannot_fill_the_table() {
    let mut engine = engine();
    let mut set = 0;
    for n in 0..60_000u32 {
        let source = format!("{}:5060", std::net::Ipv4Addr::from(0x0b00_0000 + n));
        let now = START + Duration::from_millis(u64::from(n));
        set += bans(&see(&mut engine, scanner(&source), now)).len();
    }
    assert_eq!(set, 60, "one minute, half of 120");
    assert_eq!(engine.statistics().unproven_bans_withheld, 60_000 - 60);
}

#[test]
fn an_address_in_a_banned_range_is_freed_and_the_rest_stays_banned() {
    let mut engine = engine();
    engine.impose(manual("192.0.2.0/24"), false, START).unwrap();
    commands(&mut engine);
    let lifted = engine.lift("192.0.2.9/32".parse().unwrap(), START);
    assert!(lifted.bans.is_empty());
    assert_eq!(lifted.holes_in[0].prefix.to_string(), "192.0.2.0/24");
    let seen = commands(&mut engine);
    assert_eq!(bans(&seen).len(), 8);
    assert!(matches!(seen.last(), Some(Command::Unban(unban)) if unban.cause == UnbanCause::Split));
    assert!(
        engine
            .why("192.0.2.9".parse().unwrap(), START)
            .bans
            .is_empty()
    );
    assert_eq!(
        engine.why("192.0.2.8".parse().unwrap(), START).bans.len(),
        1
    );
}

#[test]
fn lifting_takes_every_ban_within_or_nothing() {
    let mut engine = engine();
    see(&mut engine, scanner("192.0.2.1:5060"), START);
    see(&mut engine, scanner("192.0.2.2:5060"), START);
    see(&mut engine, scanner("192.0.3.1:5060"), START);
    assert_eq!(
        engine
            .lift("192.0.2.0/24".parse().unwrap(), START)
            .bans
            .len(),
        2
    );
    assert!(
        engine
            .lift("192.0.2.0/24".parse().unwrap(), START)
            .is_empty()
    );
    assert_eq!(engine.lift_all(START).bans.len(), 1);
}

#[test]
fn a_ban_that_could_not_be_enforced_is_withdrawn_without_a_word_and_nothing_else_is() {
    let mut engine = engine();
    let [around, forever, within] =
        ["203.0.0.0/16", "203.0.113.0/24", "203.0.113.7/32"].map(manual);
    let refused = Ban {
        until: Some(START + minutes(10)),
        ..forever.clone()
    };
    for ban in [&around, &refused, &within] {
        engine.impose(ban.clone(), false, START).unwrap();
    }
    commands(&mut engine);
    assert!(engine.withdraw(&refused));
    assert_eq!(commands(&mut engine), []);
    assert_eq!(engine.bans().collect::<Vec<_>>(), [&around, &within]);

    engine.impose(forever.clone(), false, START).unwrap();
    assert!(!engine.withdraw(&refused), "another ban is in its place");
    assert!(engine.withdraw(&forever));
}

#[test]
fn a_manual_ban_survives_what_detectors_do() {
    let mut engine = engine();
    let ban = Ban {
        scope: Scope::Sip,
        ..manual("203.0.113.7/32")
    };
    engine.impose(ban.clone(), false, START).unwrap();
    see(&mut engine, over_tcp("203.0.113.7:5060"), START);
    engine.handle_timeout(START + days(30));
    assert_eq!(engine.bans().collect::<Vec<_>>(), [&ban]);
}

#[test]
fn after_a_restart_bans_and_ladder_are_as_before() {
    let mut before = engine();
    let first = bans(&see(&mut before, over_tcp("203.0.113.7:5060"), START));
    let second = bans(&see(
        &mut before,
        over_tcp("203.0.113.7:5060"),
        START + minutes(10),
    ));
    let mut after = engine();
    let restored = Restored {
        bans: [second.clone(), first].concat(),
        trusted: Vec::new(),
    };
    after.restore(restored, START + minutes(11));
    assert_eq!(commands(&mut after), []);
    assert_eq!(after.bans().cloned().collect::<Vec<_>>(), second);
    let third = bans(&see(
        &mut after,
        over_tcp("203.0.113.7:5060"),
        START + minutes(70),
    ));
    assert_eq!(third[0].until, Some(START + minutes(70) + days(1)));
}

/// A second's drops for its rate, as the kernel tells of them.
fn over_its_rate(count: u32, passed: u32) -> KernelDrop<'static> {
    KernelDrop {
        reason: Reason::Rate,
        count,
        passed,
        signature: None,
        sample: b"",
        ..scanner("203.0.113.7:5061")
    }
}

#[test_case(60, 0 => true; "that fills the minute")]
#[test_case(60, 59 => true; "most of whose packets are dropped")]
#[test_case(60, 61 => false; "most of whose packets pass")]
#[test_case(59, 0 => false; "that is short of 600")]
#[test_case(u32::MAX, 0 => true; "of any number")]
fn a_flood_is_known_by_the_numbers_that_the_kernel_counted(count: u32, passed: u32) -> bool {
    let mut engine = engine();
    let mut banned = false;
    for second in 0..10 {
        let seen = see(
            &mut engine,
            over_its_rate(count, passed),
            START + Duration::from_secs(second),
        );
        banned |= bans(&seen)
            .iter()
            .any(|ban| ban.detector == Some(Detector::RateExceeded));
    }
    banned
}
