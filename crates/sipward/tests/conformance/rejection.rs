//! `over = "reject"`: who is over the limit hears of it, as a program on its machine does.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    time::{Duration, Instant},
};

use sipward_testkit::{
    count::Capture,
    guard::Guard,
    lab::{ATTACKER, ATTACKER_V6, Lab, PBX, PBX_V6, PHONES, PHONES_V6},
    packet,
    pcap::Frame,
    process::wait_until,
    require::{Need, require},
};
use sipward_wire::{LinkType, Packet, Transport};
use test_case::test_case;

use crate::stage::Backend;

const PATIENCE: Duration = Duration::from_secs(30);
/// Requests that may come at once, and many more.
const BURST: u32 = 5;
const MANY: u32 = 100;
/// From here comes a packet to the tripwire.
const FENCE: &str = "203.0.113.99";
/// What a program is told by IPv4's "administratively prohibited", and by IPv6's.
const EHOSTUNREACH: i32 = 113;
const EACCES: i32 = 13;

fn guard<'a>(lab: &'a Lab, backend: Backend, over: &str) -> Guard<'a> {
    let configuration = format!(
        "{}[ports]\ntripwire = [5090]\n[limits.sip]\nrate = \"1/min\"\nburst = {BURST}\n\
         over = \"{over}\"\n",
        backend.configuration()
    );
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    Guard::start_with(program, &lab.pbx, &configuration).unwrap()
}

/// What comes through is received, or the kernel would send errors of its own.
fn receivers(lab: &Lab) -> [UdpSocket; 2] {
    lab.pbx.enter(|| {
        let bind = |host: &str| UdpSocket::bind(SocketAddr::new(host.parse().unwrap(), 5060));
        [PBX, PBX_V6].map(|host| bind(host).unwrap())
    })
}

/// A client at an address of its namespace, connected to the PBX.
fn client(from: &str, pbx: &str) -> UdpSocket {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.connect((pbx, 5060)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Sends a request of this length so often; an error of an earlier one is the answer, if there is
/// one.
fn flood(client: &UdpSocket, length: usize) -> Option<i32> {
    let request = vec![b'R'; length];
    let mut heard = None;
    for _ in 0..MANY {
        heard = client.send(&request).err().or(heard);
    }
    heard.and_then(|error| error.raw_os_error())
}

/// The error that waits at a socket.
fn error_of(client: &UdpSocket) -> Option<i32> {
    match client.recv(&mut [0; 2_000]) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => error.raw_os_error(),
        Ok(_) | Err(_) => None,
    }
}

/// Whom the captured ICMP errors went to, each with its type and code, its length and that of what it
/// quotes.
fn errors(frames: &[Frame]) -> Vec<(IpAddr, (u8, u8), usize)> {
    let error = |frame: &Frame| {
        let packet = Packet::parse(LinkType::Ethernet, &frame.bytes);
        let Transport::Icmp(icmp) = packet.transport else {
            return None;
        };
        let ports = icmp.original?.ports?;
        (ports.1 == 5060).then_some(())?;
        let header = if icmp.ipv6 { 40 } else { 20 };
        let length = header + packet.ip?.payload.len();
        Some((packet.destination()?, (icmp.kind, icmp.code), length))
    };
    frames.iter().filter_map(error).collect()
}

/// Has the daemon ban somebody for a later packet: it has then dealt with all events before.
fn fence(lab: &Lab, guard: &Guard<'_>) {
    let socket = lab
        .attacker
        .enter(|| UdpSocket::bind((FENCE, 5060)).unwrap());
    socket.send_to(b"x", (PBX, 5090)).unwrap();
    wait_until("the ban of who touched the tripwire", PATIENCE, || {
        guard.bans(&format!("{FENCE}/32")).unwrap()
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", guard.log()));
}

#[test_case(Backend::Native; "xdp native")]
#[test_case(Backend::Generic; "xdp generic")]
#[test_case(Backend::Nftables; "nftables")]
fn who_is_over_the_limit_hears_of_it_where_that_is_wanted(backend: Backend) {
    let needs = ["ip", "nft", "tcpdump"].map(Need::Program);
    if !require(&[[Need::Root].as_slice(), &needs].concat()) {
        return;
    }
    let lab = Lab::new().unwrap();
    let _pbx = receivers(&lab);
    let large = lab
        .phones
        .enter(|| [client(PHONES, PBX), client(PHONES_V6, PBX_V6)]);
    let small = lab
        .attacker
        .enter(|| [client(ATTACKER, PBX), client(ATTACKER_V6, PBX_V6)]);

    let capture = Capture::start(&lab.pbx, "eth0", "icmp or icmp6").unwrap();
    let mut guard_of = guard(&lab, backend, "drop");
    for socket in &large {
        assert_eq!(flood(socket, 300), None);
    }
    fence(&lab, &guard_of);
    assert_eq!(errors(&capture.frames().unwrap()), []);
    assert_eq!(large.each_ref().map(error_of), [None, None]);
    guard_of.stop().unwrap();
    drop(guard_of);

    let mut guard_of = guard(&lab, backend, "reject");
    // A byte less than the message itself would be long.
    for (socket, length) in small.iter().zip([55 - 28, 95 - 48]) {
        assert_eq!(flood(socket, length), None);
    }
    let started = Instant::now();
    let mut heard = [None, None];
    for (socket, heard) in large.iter().zip(&mut heard) {
        *heard = flood(socket, 300);
        if heard.is_none() {
            wait_until("an error of the socket", PATIENCE, || {
                *heard = error_of(socket);
                heard.is_some()
            })
            .unwrap_or_else(|error| panic!("{error:#}\n{}", guard_of.log()));
        }
    }
    let took = started.elapsed();
    assert_eq!(heard, [Some(EHOSTUNREACH), Some(EACCES)]);
    // tcpdump may see them later than the sockets, and what it has not read at its end it never sees.
    let seen = || errors(&capture.frames().unwrap());
    let has = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        seen().iter().any(|(to, ..)| *to == address)
    };
    wait_until("both errors in the capture", PATIENCE, || {
        has(PHONES) && has(PHONES_V6)
    })
    .unwrap();
    let errors = seen();
    capture.stop().unwrap();
    let of = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        let of_address = |(to, ..): &&(IpAddr, (u8, u8), usize)| *to == address;
        errors.iter().filter(of_address).collect::<Vec<_>>()
    };
    println!(
        "{}: of {MANY} requests within {took:.1?}: {} errors of 56 bytes, over IPv6 {} of 96; about \
         short ones {}",
        backend.name(),
        of(PHONES).len(),
        of(PHONES_V6).len(),
        of(ATTACKER).len() + of(ATTACKER_V6).len(),
    );
    for (address, kind, length) in [(PHONES, (3, 13), 56), (PHONES_V6, (1, 1), 96)] {
        let told = of(address);
        assert!(
            told.iter()
                .all(|error| (error.1, error.2) == (kind, length)),
            "{told:?}"
        );
        // One a second.
        let most = usize::try_from(took.as_secs()).unwrap() + 2;
        assert!((1..=most).contains(&told.len()), "{told:?} in {took:?}");
    }
    assert_eq!(of(ATTACKER).len() + of(ATTACKER_V6).len(), 0);
    let metrics = guard_of.metrics().unwrap();
    let sent = metrics.split_once("sipward_sent_packets_total{kind=\"rejection\"} ");
    let (sent, _) = sent.and_then(|(_, rest)| rest.split_once('\n')).unwrap();
    assert!(sent.parse::<usize>().unwrap() >= errors.len(), "{sent}");
    guard_of.stop().unwrap();
}

#[test_case(Backend::Native; "xdp native")]
#[test_case(Backend::Generic; "xdp generic")]
#[test_case(Backend::Nftables; "nftables")]
fn who_wears_an_address_of_the_machine_has_it_told_nothing(backend: Backend) {
    let needs = ["ip", "nft", "tcpdump"].map(Need::Program);
    if !require(&[[Need::Root].as_slice(), &needs].concat()) {
        return;
    }
    let lab = Lab::new().unwrap();
    let _pbx = receivers(&lab);
    let own = ["192.0.2.77", "2001:db8:2::77"];
    for (address, length) in own.into_iter().zip([24, 64]) {
        let address = format!("{address}/{length}");
        lab.pbx.address("eth0", &address).unwrap();
    }
    let capture = Capture::start(&lab.pbx, "lo", "icmp or icmp6").unwrap();
    let guard = guard(&lab, backend, "reject");
    for (own, pbx) in own.into_iter().zip([PBX, PBX_V6]) {
        let [own, pbx] = [own, pbx].map(|host| SocketAddr::new(host.parse().unwrap(), 5060));
        let forged = packet::Packet::udp(own, pbx).payload(&[b'R'; 300]).build();
        for _ in 0..MANY {
            lab.inject(&forged).unwrap();
        }
    }
    fence(&lab, &guard);
    let limited = guard.json(&["status"]).unwrap();
    let limited = limited["packets"]["dropped"]["rate"].as_u64().unwrap();
    assert!(limited > 0, "{limited}");
    // One that is there, to wait for: nobody listens at this port.
    lab.pbx.enter(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", "127.0.0.1:9").unwrap();
    });
    wait_until("an error in the capture", PATIENCE, || {
        !capture.frames().unwrap().is_empty()
    })
    .unwrap();
    assert_eq!(errors(&capture.frames().unwrap()), []);
}
