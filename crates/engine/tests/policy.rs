//! The twin of the kernel's policy: one row for each verdict, in the order in which it asks.

use std::time::Duration;

use sipward_engine::{
    Ban, Command, Hold, Origin, Reason, Scope, Time, Trusted, TrustedBy,
    policy::{Policy, PolicyConfig, PortClass},
};
use sipward_signature::{CompiledSignature, Confidence, Field, Profile, SignatureSet};
use sipward_testkit::packet::Packet;
use sipward_wire::LinkType;
use test_case::test_case;

const NOW: Time = Time::from_secs(1_800_000_000);
const STRANGER: &str = "203.0.113.9:5060";
const SERVER: &str = "198.51.100.1:5060";
const REGISTER: &[u8] =
    b"REGISTER sip:pbx SIP/2.0\r\nFrom: <sip:100@pbx>;tag=1\r\nUser-Agent: Phone 1.0\r\n\r\n";
const SCANNER: &[u8] =
    b"OPTIONS sip:100@pbx SIP/2.0\r\nUser-Agent: friendly-scanner\r\nContent-Length: 0\r\n\r\n";

fn policy() -> Policy {
    let mut config = PolicyConfig::default();
    config.ports.udp.insert(5070, PortClass::Tripwire);
    let tables = SignatureSet::builtin()
        .compile(Profile::Standard, &[])
        .expect("the built-in list compiles");
    Policy::new(&config, tables, 5)
}

fn judge(policy: &mut Policy, frame: &[u8], now: Time) -> Reason {
    let packet = sipward_wire::Packet::parse(LinkType::Ethernet, frame);
    policy.judge(&packet, now).reason
}

fn udp(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    Packet::udp(from, to).payload(payload).build()
}

fn ban(prefix: &str, port: Option<u16>, scope: Scope) -> Command {
    Command::Ban(Ban {
        prefix: prefix.parse().expect("a prefix"),
        port,
        scope,
        since: NOW,
        until: Some(NOW + Duration::from_secs(600)),
        detector: None,
        reason: String::new(),
        proven: true,
        signature: None,
        account: None,
        origin: Origin::Manual,
    })
}

fn trust(address: &str) -> Command {
    Command::Trust(Trusted {
        address: address.parse().expect("an address"),
        by: TrustedBy::Login,
        username: None,
        user_agent: None,
        since: NOW,
        last: NOW,
        until: NOW + Duration::from_secs(600),
    })
}

#[test_case(&[0; 20], Reason::NotIp; "no ethertype of ours")]
#[test_case(&[0; 9], Reason::NotUnderstood; "no ethertype at all")]
#[test_case(&udp(STRANGER, SERVER, REGISTER), Reason::Clean; "a register")]
#[test_case(&udp(STRANGER, SERVER, SCANNER), Reason::Signature; "a scanner")]
#[test_case(&udp(STRANGER, "198.51.100.1:5070", REGISTER), Reason::Tripwire; "a tripwire")]
#[test_case(&udp(STRANGER, "198.51.100.1:53", SCANNER), Reason::NotProtected; "another port")]
#[test_case(&udp(STRANGER, "198.51.100.1:4569", SCANNER), Reason::Clean; "iax2 is not scanned")]
#[test_case(&udp("[2001:db8::9]:5060", "[2001:db8::1]:5060", SCANNER), Reason::Signature; "a scanner over v6")]
#[test_case(&Packet::ip("203.0.113.9", "198.51.100.1", 1).payload(b"x").build(), Reason::NotProtected; "icmp too short to read")]
#[test_case(&Packet::tcp(STRANGER, SERVER).payload(SCANNER).build(), Reason::Signature; "a scanner over tcp")]
#[test_case(&Packet::udp(STRANGER, SERVER).payload(SCANNER).vlan(7).build(), Reason::Signature; "a scanner in a vlan")]
#[test_case(&Packet::udp(STRANGER, SERVER).payload(SCANNER).vlan(7).vlan(8).vlan(9).build(), Reason::NotIp; "three tags")]
#[test_case(&Packet::udp(STRANGER, SERVER).udp_length(5).payload(REGISTER).build(), Reason::NotUnderstood; "a bad length")]
#[test_case(&Packet::udp(STRANGER, SERVER).payload(REGISTER).fragments(24)[0], Reason::TinyFragment; "a tiny first fragment")]
#[test_case(&Packet::udp(STRANGER, SERVER).payload(REGISTER).fragments(24)[1], Reason::LaterFragment; "a later fragment")]
fn a_packet_has_one_reason(frame: &[u8], reason: Reason) {
    assert_eq!(judge(&mut policy(), frame, NOW), reason);
}

#[test]
fn a_long_payload_is_scanned_to_its_limit() {
    let long = |scanner: bool| {
        let agent = if scanner { "friendly-scanner" } else { "Phone" };
        let body = "x".repeat(3_000);
        let text = format!("OPTIONS sip:1@pbx SIP/2.0\r\nUser-Agent: {agent}\r\n\r\n{body}");
        udp(STRANGER, SERVER, text.as_bytes())
    };
    assert_eq!(judge(&mut policy(), &long(false), NOW), Reason::CleanLong);
    assert_eq!(judge(&mut policy(), &long(true), NOW), Reason::Signature);
}

#[test]
fn the_order_is_allowed_banned_port_rate_signature() {
    let mut policy = policy();
    let scanner = udp(STRANGER, SERVER, SCANNER);
    assert_eq!(judge(&mut policy, &scanner, NOW), Reason::Signature);
    for _ in 0..119 {
        judge(&mut policy, &scanner, NOW);
    }
    assert_eq!(judge(&mut policy, &scanner, NOW), Reason::Rate);
    policy.apply(&ban("203.0.113.9/32", None, Scope::Sip));
    assert_eq!(judge(&mut policy, &scanner, NOW), Reason::Banned);
    policy.allow("203.0.113.0/24".parse().expect("a prefix"));
    assert_eq!(judge(&mut policy, &scanner, NOW), Reason::Allowed);
}

#[test_case("203.0.113.9/32", None, Scope::All, true, true; "all ports")]
#[test_case("203.0.113.9/32", None, Scope::Sip, true, false; "sip ports")]
#[test_case("203.0.113.9/32", Some(5060), Scope::Sip, true, false; "its source port")]
#[test_case("203.0.113.9/32", Some(5061), Scope::Sip, false, false; "another source port")]
#[test_case("203.0.113.0/24", None, Scope::All, true, true; "its network")]
#[test_case("203.0.114.0/24", None, Scope::All, false, false; "another network")]
fn a_ban_drops_what_it_says(prefix: &str, port: Option<u16>, scope: Scope, sip: bool, dns: bool) {
    let mut policy = policy();
    policy.apply(&ban(prefix, port, scope));
    let mut banned = |to| judge(&mut policy, &udp(STRANGER, to, REGISTER), NOW) == Reason::Banned;
    assert_eq!((banned(SERVER), banned("198.51.100.1:53")), (sip, dns));
    let later = NOW + Duration::from_secs(600);
    let frame = udp(STRANGER, SERVER, REGISTER);
    assert_ne!(judge(&mut policy, &frame, later), Reason::Banned, "lapsed");
}

/// A trie with the longest prefix only would let this pass.
#[test]
fn a_lapsed_ban_within_a_banned_network_frees_nobody() {
    let mut policy = policy();
    policy.apply(&ban("203.0.113.9/32", None, Scope::All));
    let Command::Ban(mut network) = ban("203.0.113.0/24", None, Scope::All) else {
        unreachable!();
    };
    network.until = None;
    policy.apply(&Command::Ban(network));
    let frame = udp(STRANGER, SERVER, REGISTER);
    let later = NOW + Duration::from_secs(601);
    assert_eq!(judge(&mut policy, &frame, later), Reason::Banned);
}

#[test]
fn a_hold_drops_sip_until_it_ends_or_is_released() {
    let mut policy = policy();
    let prefix = "203.0.113.9/32".parse().expect("a prefix");
    let hold = Command::Hold(Hold {
        prefix,
        until: NOW + Duration::from_secs(4),
    });
    let frame = udp(STRANGER, SERVER, REGISTER);
    policy.apply(&hold);
    assert_eq!(judge(&mut policy, &frame, NOW), Reason::Banned);
    policy.apply(&Command::Release(prefix));
    assert_eq!(judge(&mut policy, &frame, NOW), Reason::Clean);
    policy.apply(&hold);
    let end = NOW + Duration::from_secs(4);
    assert_eq!(judge(&mut policy, &frame, end), Reason::Clean);
}

#[test]
fn a_stranger_has_a_burst_of_120_and_five_a_second() {
    let mut policy = policy();
    let frame = udp(STRANGER, SERVER, REGISTER);
    let passed = |policy: &mut Policy, now| {
        (0..200)
            .filter(|_| judge(policy, &frame, now) == Reason::Clean)
            .count()
    };
    assert_eq!(passed(&mut policy, NOW), 120);
    assert_eq!(passed(&mut policy, NOW + Duration::from_secs(10)), 50);
    let answer = udp(
        STRANGER,
        SERVER,
        b"SIP/2.0 200 OK\r\nCSeq: 1 OPTIONS\r\n\r\n",
    );
    assert_eq!(
        judge(&mut policy, &answer, NOW),
        Reason::Clean,
        "its own bucket"
    );
    policy.apply(&trust("203.0.113.9"));
    assert_eq!(passed(&mut policy, NOW), 200);
}

/// Boot time goes on while a machine sleeps: five hours between two packets.
#[test]
fn what_was_slept_ends_bans_and_saves_up_no_more_than_a_burst() {
    let mut policy = policy();
    let hours = |n: u64| Duration::from_secs(3_600 * n);
    policy.apply(&ban("203.0.113.8/32", None, Scope::All));
    let Command::Ban(mut longer) = ban("203.0.113.7/32", None, Scope::All) else {
        unreachable!();
    };
    longer.until = Some(NOW + hours(6));
    policy.apply(&Command::Ban(longer));
    let passed = |policy: &mut Policy, from: &str, now| {
        let frame = udp(&format!("{from}:5060"), SERVER, REGISTER);
        let judged = (0..1_000).map(|_| judge(policy, &frame, now));
        judged.filter(|reason| *reason == Reason::Clean).count()
    };
    assert_eq!(passed(&mut policy, "203.0.113.9", NOW), 120);
    assert_eq!(passed(&mut policy, "203.0.113.8", NOW), 0);
    let awake = NOW + hours(5);
    assert_eq!(passed(&mut policy, "203.0.113.9", awake), 120);
    assert_eq!(passed(&mut policy, "203.0.113.8", awake), 120);
    assert_eq!(passed(&mut policy, "203.0.113.7", awake), 0);
    assert_eq!(passed(&mut policy, "203.0.113.7", NOW + hours(6)), 120);
}

#[test]
fn all_strangers_together_have_600_and_then_must_send_again() {
    let mut policy = policy();
    let from = |n: u32| format!("{}:5060", std::net::Ipv4Addr::from(0x0b00_0000 + n));
    let long = [REGISTER, &[b'x'; 300]].concat();
    let frames: Vec<Vec<u8>> = (0..700).map(|n| udp(&from(n), SERVER, &long)).collect();
    let mut reasons = |at| -> Vec<Reason> {
        frames
            .iter()
            .map(|frame| judge(&mut policy, frame, at))
            .collect()
    };
    let first = reasons(NOW);
    assert!(first[..600].iter().all(|reason| *reason == Reason::Clean));
    assert!(
        first[600..]
            .iter()
            .all(|reason| *reason == Reason::RateUnknown)
    );
    // 60 tokens came back; the others are known again by what they repeat, but for those who
    // passed the first time.
    let again = reasons(NOW + Duration::from_millis(500));
    assert!(again[600..].iter().all(|reason| *reason == Reason::Clean));
    let too_early = reasons(NOW + Duration::from_millis(550));
    assert_eq!(too_early[599], Reason::RateUnknown);
    assert_eq!(too_early[699], Reason::Clean, "what follows passes, too");
}

#[test_case(400, Reason::RateUnknown; "a repeated packet")]
#[test_case(500, Reason::Clean; "T1")]
#[test_case(31_900, Reason::Clean; "the last retransmission")]
#[test_case(32_100, Reason::RateUnknown; "after timer F")]
fn what_was_refused_passes_when_it_comes_again_in_time(milliseconds: u64, reason: Reason) {
    let mut policy = policy();
    let fill = |policy: &mut Policy, networks: u32, at| {
        for n in 0..700 {
            let from = std::net::Ipv4Addr::from(networks + n);
            judge(policy, &udp(&format!("{from}:5060"), SERVER, REGISTER), at);
        }
    };
    let phone = udp("198.51.100.9:5060", SERVER, REGISTER);
    fill(&mut policy, 0x0b00_0000, NOW);
    assert_eq!(judge(&mut policy, &phone, NOW), Reason::RateUnknown);
    let again = NOW + Duration::from_millis(milliseconds);
    fill(&mut policy, 0x0c00_0000, again);
    assert_eq!(judge(&mut policy, &phone, again), reason);
}

#[test]
fn strangers_who_send_again_share_ten_times_the_rate() {
    let mut policy = policy();
    let from = |n: u32| format!("{}:5060", std::net::Ipv4Addr::from(0x0b00_0000 + n));
    let frames = (0..10_000).map(|n| udp(&from(n), SERVER, REGISTER));
    let frames: Vec<Vec<u8>> = frames.collect();
    let mut passed = |at| {
        let clean = frames
            .iter()
            .filter(|frame| judge(&mut policy, frame, at) == Reason::Clean);
        clean.count()
    };
    assert_eq!(passed(NOW), 600);
    // 150 tokens came back, and 10 * 600 may send again.
    assert_eq!(passed(NOW + Duration::from_millis(500)), 6_150);
}

#[test]
fn what_strangers_send_besides_requests_has_buckets_of_its_own() {
    let mut policy = policy();
    let from = |n: u32| format!("{}:5060", std::net::Ipv4Addr::from(0x0b00_0000 + n));
    let kinds: [&dyn Fn(u32) -> Vec<u8>; 3] = [
        &|n| udp(&from(n), SERVER, b"SIP/2.0 200 OK\r\n\r\n"),
        &|n| Packet::tcp(from(n), SERVER).tcp_flags(0x10).build(),
        &|n| udp(&from(n), SERVER, REGISTER),
    ];
    let mut passed = |frame: &dyn Fn(u32) -> Vec<u8>, at| {
        let reasons = (0..7_000).map(|n| judge(&mut policy, &frame(n), at));
        reasons.filter(|reason| *reason == Reason::Clean).count()
    };
    let passing = kinds.map(|frame| passed(frame, NOW));
    assert_eq!(passing, [6_000, 6_000, 600]);
    // 1,500 came back, and the 1,000 that were refused are sent again.
    assert_eq!(passed(kinds[0], NOW + Duration::from_millis(500)), 2_500);
}

#[test]
fn a_later_fragment_follows_a_first_one_or_shares_a_small_bucket() {
    let mut policy = policy();
    let fragments = |n: u32| {
        let from = format!("{}:5060", std::net::Ipv4Addr::from(0x0b00_0000 + n));
        let packet = Packet::udp(from, "198.51.100.1:9999").payload(&[b'x'; 800]);
        packet.fragments(400)
    };
    let mut passed = |frame: &dyn Fn(u32) -> Vec<u8>, at| {
        let reasons = (0..500).map(|n| judge(&mut policy, &frame(n), at));
        let passing = reasons.filter(|reason| *reason != Reason::RateUnknown);
        passing.count()
    };
    let later = |n| fragments(n).remove(1);
    assert_eq!(passed(&later, NOW), 200);
    assert_eq!(passed(&|n| fragments(n).remove(0), NOW), 500);
    assert_eq!(passed(&later, NOW + Duration::from_secs(30)), 500);
    assert_eq!(passed(&later, NOW + Duration::from_secs(61)), 200);
}

#[test]
fn ssh_is_limited_by_new_connections() {
    let mut policy = policy();
    let syn = |flags| {
        Packet::tcp(STRANGER, "198.51.100.1:22")
            .tcp_flags(flags)
            .build()
    };
    let opened = (0..20)
        .filter(|_| judge(&mut policy, &syn(0x02), NOW) == Reason::Clean)
        .count();
    assert_eq!(opened, 10);
    assert_eq!(judge(&mut policy, &syn(0x10), NOW), Reason::Clean);
    let later = NOW + Duration::from_secs(20);
    assert_eq!(judge(&mut policy, &syn(0x02), later), Reason::Clean);
}

#[test]
fn a_login_forgives_what_is_not_certain() {
    let mut policy = policy();
    let is_likely = |signature: &&CompiledSignature| {
        signature.confidence == Confidence::Likely && signature.field == Field::UserAgent
    };
    let signatures = &policy.tables().signatures;
    let likely = signatures
        .iter()
        .find(is_likely)
        .expect("a likely signature");
    let text = format!(
        "OPTIONS sip:1@pbx SIP/2.0\r\nUser-Agent: {}\r\n\r\n",
        likely.pattern
    );
    let frame = udp(STRANGER, SERVER, text.as_bytes());
    assert_eq!(judge(&mut policy, &frame, NOW), Reason::Signature);
    policy.apply(&trust("203.0.113.9"));
    assert_eq!(judge(&mut policy, &frame, NOW), Reason::Clean);
    let certain = udp(STRANGER, SERVER, SCANNER);
    assert_eq!(judge(&mut policy, &certain, NOW), Reason::Signature);
}
