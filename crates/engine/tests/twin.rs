//! The twin and the real program: the same frames, whole, mutated and cut short, get the same
//! reason and the same signature from both.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use proptest::prelude::*;
use sipward_engine::{
    Ban, Command, Origin, Reason, Scope, Time, Trusted, TrustedBy,
    policy::{self, Policy, PolicyConfig, PortClass},
};
use sipward_shield::{self as shield, BootTime, Shield as _, Simulator};
use sipward_signature::{Profile, SignatureSet, Tables};
use sipward_testkit::{
    packet::{Extension, Packet, flags},
    require::{Need, require},
};
use sipward_wire::{LinkType, NotUnderstood, Transport};

/// The twin's clock. The kernel's goes on by itself, so no rate here gives a token back while the
/// test runs.
const NOW: Time = Time::from_secs(1_800_000_000);
const NEVER: u32 = 100_000_000;

const SOURCES: [&str; 6] = [
    "203.0.113.7",
    "203.0.113.8",
    "203.0.114.7",
    "2001:db8:1:2::7",
    "2001:db8:1:2::8",
    "2001:db8:1:3::7",
];

#[derive(Clone, Debug)]
struct Frame {
    source: usize,
    source_port: u16,
    port: u16,
    shape: Shape,
    payload: usize,
    vlans: usize,
    extension: bool,
    /// Bytes to overwrite, and where the frame ends.
    mutations: Vec<(usize, u8)>,
    length: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Udp,
    Tcp(u8),
    Other(u8),
    /// The n-th fragment of a datagram or of a segment.
    Fragment(bool, usize, usize),
}

#[derive(Clone, Debug)]
enum Order {
    Allow(String),
    Ban(String, Option<u16>, bool, bool),
    Trust(usize),
}

fn payloads() -> Vec<Vec<u8>> {
    let request = |agent: &str, body: usize| {
        format!(
            "REGISTER sip:pbx SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:1@pbx>;tag=1\r\nTo: <sip:1@pbx>\r\nUser-Agent: {agent}\r\n\r\n{}",
            "x".repeat(body)
        )
        .into_bytes()
    };
    vec![
        Vec::new(),
        b"\r\n\r\n".to_vec(),
        b"SIP/2.0 200 OK\r\nCSeq: 1 OPTIONS\r\n\r\n".to_vec(),
        b"\0\x01\0\0\x21\x12\xa4\x42aaaaaaaaaaaa".to_vec(),
        request("Phone 1.0", 0),
        request("Phone 1.0", 400),
        request("Phone 1.0", 3_000),
        request("friendly-scanner", 0),
        request("friendly-scanner", 3_000),
        b"OPTIONS sip:1@pbx SIP/2.0\r\nUser-Agent: friendly-scanner".to_vec(),
        vec![b'x'; 40],
    ]
}

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let shape = prop_oneof![
        4 => Just(Shape::Udp),
        2 => prop_oneof![Just(flags::SYN), Just(flags::ACK), Just(flags::PSH | flags::ACK), any::<u8>()]
            .prop_map(Shape::Tcp),
        1 => any::<u8>().prop_map(Shape::Other),
        1 => (any::<bool>(), 1usize..40, 0usize..3).prop_map(|(udp, eighths, n)| Shape::Fragment(udp, eighths * 8, n)),
    ];
    let port = prop_oneof![
        6 => Just(5060u16), 1 => Just(5061), 1 => Just(22), 1 => Just(5070), 1 => Just(53),
    ];
    let mutations = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec((0usize..80, any::<u8>()), 1..4),
    ];
    let length = prop_oneof![6 => Just(None), 1 => (14usize..120).prop_map(Some)];
    let frame = (
        0..SOURCES.len(),
        prop_oneof![Just(5060u16), Just(0), Just(40_000)],
        port,
        shape,
        0..payloads().len(),
        prop_oneof![8 => Just(0usize), 1 => 1usize..4],
        prop::bool::weighted(0.1),
        mutations,
        length,
    );
    let frame = frame.prop_map(
        |(source, source_port, port, shape, payload, vlans, extension, mutations, length)| Frame {
            source,
            source_port,
            port,
            shape,
            payload,
            vlans,
            extension,
            mutations,
            length,
        },
    );
    prop::collection::vec(frame, 1..250)
}

fn orders() -> impl Strategy<Value = Vec<Order>> {
    let prefix = prop_oneof![
        Just("203.0.113.7/32"),
        Just("203.0.113.0/24"),
        Just("203.0.112.0/22"),
        Just("2001:db8:1:2::7/128"),
        Just("2001:db8:1:2::/64"),
        Just("2001:db8:1::/48"),
    ]
    .prop_map(str::to_owned);
    let port = prop_oneof![3 => Just(None), 1 => Just(Some(5060u16))];
    let order = prop_oneof![
        1 => prefix.clone().prop_map(Order::Allow),
        3 => (prefix, port, any::<bool>(), any::<bool>())
            .prop_map(|(prefix, port, all, lapsed)| Order::Ban(prefix, port, all, lapsed)),
        1 => (0..SOURCES.len()).prop_map(Order::Trust),
    ];
    prop::collection::vec(order, 0..5)
}

impl Frame {
    fn build(&self) -> Vec<u8> {
        let address: IpAddr = SOURCES[self.source].parse().expect("an address");
        let server: IpAddr = match address {
            IpAddr::V4(_) => "198.51.100.1",
            IpAddr::V6(_) => "2001:db8::1",
        }
        .parse()
        .expect("an address");
        let source = std::net::SocketAddr::new(address, self.source_port);
        let destination = std::net::SocketAddr::new(server, self.port);
        let packet = match self.shape {
            Shape::Udp | Shape::Fragment(true, ..) => Packet::udp(source, destination),
            Shape::Fragment(false, ..) => Packet::tcp(source, destination),
            Shape::Tcp(flags) => Packet::tcp(source, destination).tcp_flags(flags),
            Shape::Other(protocol) => Packet::ip(address, server, protocol),
        };
        let mut packet = packet.payload(&payloads()[self.payload]);
        for n in 0..self.vlans {
            packet = packet.vlan(7 + n as u16);
        }
        if self.extension && address.is_ipv6() {
            packet = packet.extension(Extension::HopByHop(Vec::new()));
        }
        let mut frame = match self.shape {
            Shape::Fragment(_, size, n) => {
                let fragments = packet.fragments(size);
                fragments[n.min(fragments.len() - 1)].clone()
            }
            Shape::Udp | Shape::Tcp(_) | Shape::Other(_) => packet.build(),
        };
        for (at, byte) in &self.mutations {
            if let Some(slot) = frame.get_mut(*at) {
                *slot = *byte;
            }
        }
        if let Some(length) = self.length {
            frame.truncate(length);
        }
        frame
    }
}

fn tables() -> &'static Tables {
    static TABLES: std::sync::OnceLock<Tables> = std::sync::OnceLock::new();
    TABLES.get_or_init(|| {
        SignatureSet::builtin()
            .compile(Profile::Standard, &[])
            .expect("the built-in list compiles")
    })
}

fn rates<Rate>(rate: impl Fn(u32) -> Rate) -> [Rate; 5] {
    // Of all strangers together, so few that what has ten times as many runs out, too.
    [rate(6), rate(4), rate(2), rate(9), rate(3)]
}

fn simulator() -> Simulator {
    let [sip, responses, unknown, trusted, ssh] = rates(|burst| shield::Rate {
        packets: 1,
        per_seconds: NEVER,
        burst,
    });
    let mut simulator = Simulator::new().expect("the kernel takes the program");
    let policy = shield::Policy {
        mode: shield::Mode::Protect,
        ports: shield::Ports {
            udp: vec![
                (5060, shield::PortClass::Sip),
                (5061, shield::PortClass::SipOpaque),
                (5070, shield::PortClass::Tripwire),
            ],
            tcp: vec![
                (5060, shield::PortClass::Sip),
                (22, shield::PortClass::Ssh),
                (5070, shield::PortClass::Tripwire),
            ],
        },
        limits: shield::Limits {
            sip,
            responses,
            unknown,
            trusted,
            ssh,
        },
        over: shield::Over::Drop,
    };
    simulator.set_policy(&policy).expect("a policy");
    simulator.set_signatures(tables()).expect("signatures");
    simulator
}

fn twin() -> Policy {
    let [sip, responses, unknown, trusted, ssh] = rates(|burst| policy::Rate {
        packets: 1,
        per_seconds: NEVER,
        burst,
    });
    let config = PolicyConfig {
        ports: policy::Ports {
            udp: [
                (5060, PortClass::Sip),
                (5061, PortClass::SipOpaque),
                (5070, PortClass::Tripwire),
            ]
            .into(),
            tcp: [
                (5060, PortClass::Sip),
                (22, PortClass::Ssh),
                (5070, PortClass::Tripwire),
            ]
            .into(),
        },
        limits: policy::Limits {
            sip,
            responses,
            unknown,
            trusted,
            ssh,
        },
    };
    Policy::new(&config, tables().clone(), 11)
}

fn obey(order: &Order, simulator: &mut Simulator, twin: &mut Policy) {
    match order {
        Order::Allow(prefix) => {
            let prefix: IpNet = prefix.parse().expect("a prefix");
            simulator.allow(prefix).expect("allowed");
            twin.allow(prefix);
        }
        Order::Trust(source) => {
            let address: IpAddr = SOURCES[*source].parse().expect("an address");
            simulator.trust(address).expect("trusted");
            twin.apply(&Command::Trust(Trusted {
                address,
                by: TrustedBy::Login,
                username: None,
                user_agent: None,
                since: NOW,
                last: NOW,
                until: NOW,
            }));
        }
        Order::Ban(prefix, port, all, lapsed) => {
            let prefix: IpNet = prefix.parse().expect("a prefix");
            let port = port.filter(|_| prefix.prefix_len() == prefix.max_prefix_len());
            let hour = 3_600_000_000_000;
            let until = match lapsed {
                true => BootTime(1),
                false => BootTime(BootTime::now().0 + hour),
            };
            let ban = shield::Ban {
                target: shield::Target { prefix, port },
                scope: match all {
                    true => shield::Scope::All,
                    false => shield::Scope::Sip,
                },
                until,
            };
            simulator.ban(&ban).expect("banned");
            twin.apply(&Command::Ban(Ban {
                prefix,
                port,
                scope: match all {
                    true => Scope::All,
                    false => Scope::Sip,
                },
                since: NOW,
                until: Some(match lapsed {
                    true => Time(1),
                    false => NOW + Duration::from_secs(3_600),
                }),
                detector: None,
                reason: String::new(),
                proven: true,
                signature: None,
                account: None,
                origin: Origin::Manual,
            }));
        }
    }
}

fn is_cut_within_an_extension(packet: &sipward_wire::Packet<'_>) -> bool {
    packet.transport == Transport::NotUnderstood(NotUnderstood::ShortExtension)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_twin_says_what_the_kernel_says(orders in orders(), frames in frames()) {
        if !require(&[Need::Root]) {
            return Ok(());
        }
        let (mut simulator, mut twin) = (simulator(), twin());
        for order in &orders {
            obey(order, &mut simulator, &mut twin);
        }
        for frame in &frames {
            let bytes = frame.build();
            let kernel = simulator.run(&bytes).expect("a judgement");
            let packet = sipward_wire::Packet::parse(LinkType::Ethernet, &bytes);
            let verdict = twin.judge(&packet, NOW);
            let kernel_reason = Reason::from_number(kernel.reason as u8);
            if packet.transport == Transport::NotUnderstood(NotUnderstood::ShortIpHeader) {
                // The kernel has read the addresses before the options that are cut off.
                prop_assert!(matches!(
                    kernel_reason,
                    Some(Reason::NotUnderstood | Reason::Allowed | Reason::Banned)
                ));
                continue;
            }
            if is_cut_within_an_extension(&packet) {
                // The kernel reads less of such a header, so it may see what is behind: a name
                // more for a packet that passes.
                prop_assert_eq!(verdict.is_drop(), kernel.verdict == shield::Verdict::Drop);
                continue;
            }
            prop_assert_eq!(Some(verdict.reason), kernel_reason, "{:?} {:02x?}", frame, bytes);
            prop_assert_eq!(verdict.is_drop(), kernel.verdict == shield::Verdict::Drop);
            prop_assert_eq!(verdict.signature, kernel.signature.map(|hit| hit.slot));
        }
    }
}

#[test]
fn names_and_numbers_of_the_reasons_are_the_kernels() {
    let ours: Vec<_> = Reason::ALL.iter().map(|r| (*r as u8, r.name())).collect();
    let kernels = shield::Reason::ALL.iter().map(|r| (*r as u8, r.name()));
    assert_eq!(ours, kernels.collect::<Vec<_>>());
}
