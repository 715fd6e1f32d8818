//! The limits of each class as a table: how many of some packets pass, over IPv4 and IPv6.

use std::net::IpAddr;

use sipward_shield::{BootTime, Limits, Policy, Rate};
use sipward_testkit::packet::{Packet, flags};

use crate::policy::policy;

pub struct Row {
    pub name: &'static str,
    pub frames: Vec<Vec<u8>>,
    /// So many of them pass, the first ones; the others are over their rate.
    pub passing: usize,
}

const REQUEST: &[u8] = b"REGISTER sip:pbx.example SIP/2.0\r\nCSeq: 1 REGISTER\r\n\r\n";
const RESPONSE: &[u8] = b"SIP/2.0 200 OK\r\nCSeq: 1 OPTIONS\r\n\r\n";
const STUN: &[u8] = &[
    0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// The bursts of the default configuration, of which nothing comes back while a test runs; a
/// trusted source's is smaller, and strangers have no limit together.
pub fn bursts() -> Policy {
    let burst = |burst| Rate {
        packets: 1,
        per_seconds: 86_400,
        burst,
    };
    let mut policy = policy();
    policy.limits = Limits {
        sip: burst(120),
        responses: burst(500),
        trusted: burst(200),
        ssh: burst(10),
        unknown: Rate::UNLIMITED,
    };
    policy
}

/// Who is trusted in the rows.
pub fn trusted(v6: bool) -> IpAddr {
    host(9, v6).parse().expect("an address")
}

/// Who has an SSH session in the rows; over IPv6 another address of the network opens connections.
pub fn in_session(v6: bool) -> IpAddr {
    let address = if v6 {
        "2001:db8:7:d::1"
    } else {
        "203.0.113.13"
    };
    address.parse().expect("an address")
}

pub fn in_an_hour() -> BootTime {
    BootTime(BootTime::now().0 + 3_600_000_000_000)
}

/// The rows in the order in which they are sent.
pub fn rows(v6: bool) -> Vec<Row> {
    let from = |number: u8, port: u16| socket(&host(number, v6), port);
    let to = |port: u16| socket(if v6 { "2001:db8:2::1" } else { "192.0.2.1" }, port);
    let beside = socket(if v6 { "2001:db8:2::2" } else { "192.0.2.2" }, 22);
    let udp =
        |number, port, payload: &[u8]| Packet::udp(from(number, 5060), to(port)).payload(payload);
    let tcp = |number, port: u16| Packet::tcp(from(number, 5060), to(port));
    let syn = |number, port| tcp(number, port).tcp_flags(flags::SYN);
    let mut rows = Vec::new();
    let mut row = |name, count: usize, passing, packet: &dyn Fn(usize) -> Packet| {
        let frames = (0..count).map(|number| packet(number).build()).collect();
        rows.push(Row {
            name,
            frames,
            passing,
        });
    };
    row("requests to UDP 5060", 130, 120, &|_| udp(1, 5060, REQUEST));
    row("requests to UDP 5080", 130, 120, &|_| udp(2, 5080, REQUEST));
    row("requests to TCP 5060", 130, 120, &|_| {
        tcp(3, 5060).payload(REQUEST)
    });
    row("connections to TCP 5060", 130, 120, &|_| syn(4, 5060));
    row(
        "requests to all of them",
        130,
        120,
        &|number| match number % 3 {
            0 => udp(5, 5060, REQUEST),
            1 => udp(5, 5080, REQUEST),
            _ => tcp(5, 5060).payload(REQUEST),
        },
    );
    row("responses and keep-alives", 510, 500, &|number| {
        let payloads = [RESPONSE, b"\r\n\r\n", b"\0", STUN];
        udp(6, 5060, payloads[number % payloads.len()])
    });
    row("requests behind those", 130, 120, &|_| {
        udp(6, 5060, REQUEST)
    });
    row("acknowledgements", 510, 500, &|_| {
        tcp(7, 5060).tcp_flags(flags::ACK)
    });
    row("of who is trusted", 210, 200, &|_| udp(9, 5060, REQUEST));
    row("acknowledgements of who is trusted", 510, 510, &|_| {
        tcp(9, 5060).tcp_flags(flags::ACK)
    });
    row("new SSH connections", 15, 10, &|_| syn(10, 22));
    row("within SSH connections", 50, 50, &|_| {
        tcp(10, 22).payload(b"SSH-2.0-x")
    });
    row("new ones to another address", 15, 10, &|_| {
        Packet::tcp(from(10, 40_000), &beside).tcp_flags(flags::SYN)
    });
    row("new ones from another address", 15, 10, &|_| syn(11, 22));
    row("new SSH connections beside a session", 50, 50, &|_| {
        syn(13, 22)
    });
    row("requests beside a session", 130, 120, &|_| {
        udp(13, 5060, REQUEST)
    });
    row("connections to TCP 5060 beside a session", 10, 0, &|_| {
        syn(13, 5060)
    });
    row(
        "SIP that cannot be read",
        600,
        600,
        &|number| match number % 2 {
            0 => syn(12, 5061),
            _ => udp(12, 4569, b"xxxxxxxxxxxx"),
        },
    );
    if v6 {
        let neighbour = |number| socket(&format!("2001:db8:7:20::{number:x}"), 5060);
        row("a /64 that sends requests", 130, 120, &|number| {
            Packet::udp(neighbour(number), to(5060)).payload(REQUEST)
        });
        row("the /64 beside it", 120, 120, &|_| {
            Packet::udp("[2001:db8:7:21::1]:5060", to(5060)).payload(REQUEST)
        });
        row("a /64 that opens SSH connections", 15, 10, &|number| {
            Packet::tcp(neighbour(number), to(22)).tcp_flags(flags::SYN)
        });
    }
    rows
}

/// A source of its own.
fn host(number: u8, v6: bool) -> String {
    if v6 {
        format!("2001:db8:7:{number:x}::7")
    } else {
        format!("203.0.113.{number}")
    }
}

fn socket(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
