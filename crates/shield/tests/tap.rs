//! The tap on real interfaces, in network namespaces of its own.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]

use std::{
    fs,
    net::UdpSocket,
    os::fd::AsFd as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sipward_shield::{
    Ban, BootTime, Direction, Error, Frames as _, Policy, Ports, Scope, Shield as _, Tap, TapPorts,
    Target, XdpMode,
    xdp::{Interface, Options, Xdp},
};
use sipward_testkit::{
    link::PacketSocket,
    namespace::Namespace,
    packet::Packet,
    require::{Need, require},
};
use test_case::test_case;

const PBX: &str = "192.0.2.1:5060";
const NEIGHBOUR: &str = "192.0.2.7:5060";
const PATIENCE: Duration = Duration::from_secs(10);
/// The length of the headers before a UDP payload.
const HEADERS: usize = 14 + 20 + 8;

/// A PBX's machine and a neighbour, and a tap on the PBX's interface.
struct Net {
    pbx: Namespace,
    neighbour: Namespace,
}

/// A frame, kept.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    bytes: Vec<u8>,
    at: u64,
    direction: Direction,
    is_cut: bool,
    vlan: Option<u16>,
}

impl Seen {
    fn ends_with(&self, payload: &[u8]) -> bool {
        self.bytes.ends_with(payload)
    }
}

impl Net {
    fn new() -> Option<Self> {
        if !require(&[Need::Root, Need::Program("ip")]) {
            return None;
        }
        let pbx = Namespace::new("pbx").unwrap();
        let neighbour = Namespace::new("neighbour").unwrap();
        pbx.veth("wan", &neighbour, "lan").unwrap();
        pbx.address("wan", "192.0.2.1/24").unwrap();
        neighbour.address("lan", "192.0.2.7/24").unwrap();
        Some(Self { pbx, neighbour })
    }

    fn tap(&self) -> Tap {
        let ports = TapPorts {
            udp: vec![5060],
            tcp: vec![5060],
            handshakes: Vec::new(),
        };
        self.pbx.enter(|| Tap::open("wan", &ports)).unwrap()
    }

    fn socket(&self, address: &str) -> UdpSocket {
        let namespace = if address.starts_with("192.0.2.1:") {
            &self.pbx
        } else {
            &self.neighbour
        };
        namespace.udp_socket(address).unwrap()
    }

    /// A frame from the neighbour with the addresses of the link.
    fn frame(&self, packet: Packet) -> Vec<u8> {
        let from = self.neighbour.mac("lan").unwrap();
        packet.macs(from, self.pbx.mac("wan").unwrap()).build()
    }
}

/// Takes frames up to the first that ends with `last`.
fn until(tap: &mut Tap, last: &[u8]) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    let end = SystemTime::now() + PATIENCE;
    while !seen.last().is_some_and(|frame| frame.ends_with(last)) {
        assert!(SystemTime::now() < end, "{} frames and not it", seen.len());
        if let Some(next) = tap.next_at() {
            let frame = tap.next_frame().unwrap();
            assert_eq!(frame.at, next);
            seen.push(Seen {
                bytes: frame.bytes.to_vec(),
                at: frame.at,
                direction: frame.direction,
                is_cut: frame.is_cut,
                vlan: frame.vlan,
            });
            continue;
        }
        let mut wait = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
        poll(&mut wait, PollTimeout::from(100u8)).unwrap();
    }
    seen
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

#[test]
fn both_directions_are_seen_with_their_time_and_media_is_not() {
    let Some(net) = Net::new() else { return };
    let mut tap = net.tap();
    let (pbx, neighbour) = (net.socket(PBX), net.socket(NEIGHBOUR));
    let (media, far_media) = (net.socket("192.0.2.1:10000"), net.socket("192.0.2.7:20000"));

    let before = now();
    far_media.send_to(b"media in", "192.0.2.1:10000").unwrap();
    neighbour.send_to(b"a request", PBX).unwrap();
    media.send_to(b"media out", "192.0.2.7:20000").unwrap();
    pbx.send_to(b"its answer", NEIGHBOUR).unwrap();
    let seen = until(&mut tap, b"its answer");
    let after = now();

    let [request, answer] = seen.as_slice() else {
        panic!("{seen:?}")
    };
    assert!(request.ends_with(b"a request"), "{request:?}");
    assert_eq!(
        (request.direction, answer.direction),
        (Direction::In, Direction::Out)
    );
    assert!(before <= request.at && request.at <= answer.at && answer.at <= after);
    assert_eq!(request.bytes.len(), HEADERS + b"a request".len());
    assert!(
        seen.iter()
            .all(|frame| !frame.is_cut && frame.vlan.is_none())
    );
    let statistics = tap.statistics().unwrap();
    assert_eq!((statistics.frames, statistics.lost), (2, 0));
}

#[test]
fn a_frame_of_64_kilobytes_is_whole() {
    let Some(net) = Net::new() else { return };
    net.pbx.mtu("wan", 65_535).unwrap();
    net.neighbour.mtu("lan", 65_535).unwrap();
    let mut tap = net.tap();
    let mut datagram = vec![b'x'; 65_507];
    datagram[65_506] = b'!';
    net.socket(NEIGHBOUR).send_to(&datagram, PBX).unwrap();
    let seen = until(&mut tap, b"!");
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].bytes.len(), HEADERS + datagram.len());
    assert!(seen[0].ends_with(&datagram) && !seen[0].is_cut);
}

#[test]
fn every_fragment_of_a_datagram_of_60_000_bytes_is_seen() {
    let Some(net) = Net::new() else { return };
    let mut tap = net.tap();
    let mut datagram = vec![b'x'; 60_000];
    datagram[59_999] = b'!';
    net.socket(NEIGHBOUR).send_to(&datagram, PBX).unwrap();
    let seen = until(&mut tap, b"!");
    let payload: usize = seen.iter().map(|frame| frame.bytes.len() - 34).sum();
    assert_eq!((seen.len(), payload), (41, 60_008));
}

#[test]
fn packets_in_a_vlan_are_seen_with_the_tag_outside_or_inside_the_frame() {
    let Some(net) = Net::new() else { return };
    let mut tap = net.tap();
    let lan = PacketSocket::open(&net.neighbour, "lan").unwrap();
    let wan = PacketSocket::open(&net.pbx, "wan").unwrap();
    let tagged = Packet::udp(NEIGHBOUR, PBX).vlan(5);
    lan.send(&net.frame(tagged.clone().payload(b"in a vlan")))
        .unwrap();
    let twice = Packet::udp(NEIGHBOUR, PBX).tag(0x88a8, 9).vlan(5);
    lan.send(&net.frame(twice.payload(b"in two vlans")))
        .unwrap();
    let incoming = until(&mut tap, b"in two vlans");
    let vlans: Vec<Option<u16>> = incoming.iter().map(|frame| frame.vlan).collect();
    assert_eq!(vlans, [Some(5), Some(9)]);
    assert_eq!(incoming[0].bytes.len(), HEADERS + b"in a vlan".len());
    assert_eq!(incoming[1].bytes[12..16], [0x81, 0, 0, 5]);

    wan.send(&net.frame(tagged.payload(b"out in a vlan")))
        .unwrap();
    let outgoing = until(&mut tap, b"out in a vlan").pop().unwrap();
    assert_eq!((outgoing.vlan, outgoing.direction), (None, Direction::Out));
    assert_eq!(outgoing.bytes[12..16], [0x81, 0, 0, 5]);
}

#[test_case(XdpMode::Native; "native")]
#[test_case(XdpMode::Generic; "generic")]
fn what_the_shield_drops_is_not_seen(mode: XdpMode) {
    let Some(net) = Net::new() else { return };
    let pin_dir = std::path::Path::new("/sys/fs/bpf").join(net.pbx.name());
    let mut xdp = net.pbx.enter(|| guard(pin_dir.clone(), mode)).unwrap();
    let _listens = net.socket(PBX);
    let mut tap = net.tap();
    let neighbour = net.socket(NEIGHBOUR);
    let other = net
        .neighbour
        .enter(|| UdpSocket::bind("192.0.2.7:5061"))
        .unwrap();

    let banned = Target {
        prefix: "192.0.2.7/32".parse().unwrap(),
        port: Some(5060),
    };
    let ban = Ban {
        target: banned,
        scope: Scope::Sip,
        until: BootTime::NEVER,
    };
    xdp.ban(&ban).unwrap();
    for _ in 0..100 {
        neighbour.send_to(b"from a banned port", PBX).unwrap();
    }
    other.send_to(b"from another", PBX).unwrap();
    assert_eq!(until(&mut tap, b"from another").len(), 1);

    xdp.unban(&banned, Scope::Sip).unwrap();
    neighbour.send_to(b"no longer banned", PBX).unwrap();
    assert_eq!(until(&mut tap, b"no longer banned").len(), 1);
    xdp.detach().unwrap();
    let _ = fs::remove_dir_all(pin_dir);
}

fn guard(pin_dir: std::path::PathBuf, mode: XdpMode) -> Result<Xdp, Error> {
    let mut xdp = Xdp::open(&Options {
        pin_dir,
        interfaces: vec![Interface {
            name: "wan".to_owned(),
            mode: Some(mode),
        }],
    })?;
    xdp.set_policy(&Policy::without_limits(Ports::sip(&[5060])))?;
    xdp.attach()?;
    Ok(xdp)
}

#[test]
fn other_ports_are_seen_after_a_change() {
    let Some(net) = Net::new() else { return };
    let _listen = [PBX, "192.0.2.1:5070"].map(|address| net.socket(address));
    let mut tap = net.tap();
    let neighbour = net.socket("192.0.2.7:9");
    tap.set_ports(&TapPorts {
        udp: vec![5070],
        tcp: Vec::new(),
        handshakes: Vec::new(),
    })
    .unwrap();
    neighbour.send_to(b"to the old port", PBX).unwrap();
    neighbour
        .send_to(b"to the new one", "192.0.2.1:5070")
        .unwrap();
    assert_eq!(until(&mut tap, b"to the new one").len(), 1);
}

#[test]
fn what_finds_no_room_is_counted_and_the_tap_goes_on() {
    let Some(net) = Net::new() else { return };
    net.pbx.mtu("wan", 65_535).unwrap();
    net.neighbour.mtu("lan", 65_535).unwrap();
    let _listens = net.socket(PBX);
    let mut tap = net.tap();
    let neighbour = net.socket(NEIGHBOUR);
    let sent = 400;
    for _ in 0..sent {
        neighbour.send_to(&[b'x'; 60_000], PBX).unwrap();
    }
    let statistics = tap.statistics().unwrap();
    assert_eq!(statistics.frames, sent);
    assert!(statistics.lost > 0, "{statistics:?}");
    let mut taken = 0;
    while tap.next_frame().is_some() {
        taken += 1;
    }
    assert!(taken > 100, "{taken}");

    neighbour.send_to(b"after it", PBX).unwrap();
    let rest = until(&mut tap, b"after it").len() as u64;
    let statistics = tap.statistics().unwrap();
    assert_eq!(statistics.frames, sent + 1);
    assert_eq!(taken + rest + statistics.lost, sent + 1);
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    let Some(net) = Net::new() else { return };
    let opened = net.pbx.enter(|| Tap::open("eth9", &TapPorts::default()));
    let error = opened.err().unwrap();
    assert_eq!(
        error.to_string(),
        "no interface \"eth9\" here: `ip link` lists them"
    );
}
