//! What the real kernel program does with crafted packets: at least one row for every verdict and
//! reason. Each frame goes through BPF_PROG_TEST_RUN; no traffic is sent.

use ipnet::IpNet;
use sipward_shield::{BootTime, Event, Mode, Policy, Reason, Scope, Shield as _};
use sipward_signature::Profile;
use sipward_testkit::packet::{Extension, Packet, flags, protocol};

use crate::common::*;

#[test]
fn what_is_not_understood_passes() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let short = Packet::udp(STRANGER, PBX).payload(b"x").build();
    let cut = |len: usize| short[..len].to_vec();
    let mut not_ipv4 = short.clone();
    not_ipv4[14] = 0x65;
    let mut no_header = short.clone();
    no_header[14] = 0x44;
    let mut arp = short.clone();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let rows = [
        Row {
            name: "ARP",
            frame: arp,
            verdict: PASS,
            reason: Reason::NotIp,
        },
        Row {
            name: "cut in IPv4",
            frame: cut(30),
            verdict: PASS,
            reason: Reason::NotUnderstood,
        },
        Row {
            name: "cut in UDP",
            frame: cut(38),
            verdict: PASS,
            reason: Reason::NotUnderstood,
        },
        Row {
            name: "version 6 in IPv4",
            frame: not_ipv4,
            verdict: PASS,
            reason: Reason::NotUnderstood,
        },
        Row {
            name: "header of 16 bytes",
            frame: no_header,
            verdict: PASS,
            reason: Reason::NotUnderstood,
        },
        row(
            "UDP length 3",
            &phone().udp_length(3),
            PASS,
            Reason::NotUnderstood,
        ),
        row(
            "three VLAN tags",
            &phone().vlan(1).vlan(2).vlan(3),
            PASS,
            Reason::NotIp,
        ),
        row(
            "nine IPv6 extension headers",
            &(0..9).fold(Packet::udp(STRANGER6, PBX6).payload(b"x"), |packet, _| {
                packet.extension(Extension::DestinationOptions(vec![]))
            }),
            PASS,
            Reason::NotUnderstood,
        ),
    ];
    check(&mut simulator, &rows);
}

#[test]
fn ports_that_are_not_protected_are_not_looked_at() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let scan = request("friendly-scanner");
    check(
        &mut simulator,
        &[
            row(
                "RTP",
                &Packet::udp(STRANGER, "192.0.2.1:10000").payload(&scan),
                PASS,
                Reason::NotProtected,
            ),
            row(
                "web",
                &Packet::tcp(STRANGER, "192.0.2.1:443").payload(&scan),
                PASS,
                Reason::NotProtected,
            ),
            row(
                "ping",
                &Packet::ip("203.0.113.7", "192.0.2.1", protocol::ICMP).payload(&[8, 0, 0, 0]),
                PASS,
                Reason::NotProtected,
            ),
            row(
                "TLS",
                &Packet::tcp(STRANGER, "192.0.2.1:5061").payload(&scan),
                PASS,
                Reason::Clean,
            ),
            row(
                "IAX2",
                &Packet::udp(STRANGER, "192.0.2.1:4569").payload(&scan),
                PASS,
                Reason::Clean,
            ),
        ],
    );
}

#[test]
fn a_scanner_is_dropped_however_it_is_wrapped() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let scan = request("friendly-scanner");
    let jumbo = {
        let mut text = scan.clone();
        text.extend(std::iter::repeat_n(b'x', 8000));
        text
    };
    let udp6 = || Packet::udp(STRANGER6, PBX6).payload(&scan);
    check(
        &mut simulator,
        &[
            row("plain", &scanner(), DROP, Reason::Signature),
            row(
                "port 5080",
                &Packet::udp(STRANGER, "192.0.2.1:5080").payload(&scan),
                DROP,
                Reason::Signature,
            ),
            row("VLAN", &scanner().vlan(7), DROP, Reason::Signature),
            row(
                "QinQ",
                &scanner().tag(0x88a8, 7).vlan(8),
                DROP,
                Reason::Signature,
            ),
            row(
                "IPv4 options",
                &scanner().ipv4_options(&[1, 1, 1, 0]),
                DROP,
                Reason::Signature,
            ),
            row(
                "link padding",
                &scanner().padding(20),
                DROP,
                Reason::Signature,
            ),
            row(
                "no UDP checksum",
                &scanner().without_udp_checksum(),
                DROP,
                Reason::Signature,
            ),
            row(
                "9,000 byte frame",
                &Packet::udp(STRANGER, PBX).payload(&jumbo),
                DROP,
                Reason::Signature,
            ),
            row(
                "first fragment",
                &scanner().fragment(0, true),
                DROP,
                Reason::Signature,
            ),
            row(
                "TCP segment",
                &Packet::tcp(STRANGER, PBX).payload(&scan),
                DROP,
                Reason::Signature,
            ),
            row(
                "TCP options",
                &Packet::tcp(STRANGER, PBX)
                    .tcp_options(&[1; 12])
                    .payload(&scan),
                DROP,
                Reason::Signature,
            ),
            row("IPv6", &udp6(), DROP, Reason::Signature),
            row(
                "IPv6 hop-by-hop",
                &udp6().extension(Extension::HopByHop(vec![])),
                DROP,
                Reason::Signature,
            ),
            row(
                "IPv6 routing",
                &udp6().extension(Extension::Routing(0, vec![0; 4])),
                DROP,
                Reason::Signature,
            ),
            row(
                "IPv6 destination options of 64 bytes",
                &udp6().extension(Extension::DestinationOptions(vec![0; 60])),
                DROP,
                Reason::Signature,
            ),
            row(
                "IPv6 first fragment",
                &udp6().fragment(0, true),
                DROP,
                Reason::Signature,
            ),
            row(
                "eight IPv6 extension headers",
                &(0..8).fold(udp6(), |packet, _| {
                    packet.extension(Extension::DestinationOptions(vec![]))
                }),
                DROP,
                Reason::Signature,
            ),
            row(
                "IPv6 atomic fragment",
                &udp6().fragment(0, false),
                DROP,
                Reason::Signature,
            ),
        ],
    );
}

#[test]
fn later_fragments_and_what_is_beyond_the_scan_pass_and_are_counted() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let mut late = request("Snom D785/10.1.64");
    late.truncate(late.len() - 2);
    late.extend(b"X-Filler: ".iter().chain(&[b'x'; 2000]).chain(b"\r\n"));
    late.extend(b"User-Agent: friendly-scanner\r\n\r\n");
    check(
        &mut simulator,
        &[
            row(
                "signature beyond 2,048 bytes",
                &Packet::udp(STRANGER, PBX).payload(&late),
                PASS,
                Reason::CleanLong,
            ),
            row(
                "later fragment",
                &scanner().fragment(1480, false),
                PASS,
                Reason::LaterFragment,
            ),
            row(
                "later IPv6 fragment",
                &Packet::udp(STRANGER6, PBX6)
                    .payload(&late)
                    .fragment(1480, true),
                PASS,
                Reason::LaterFragment,
            ),
        ],
    );
}

#[test]
fn a_first_fragment_too_short_for_a_request_is_dropped_from_a_stranger_only() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let tiny = |source: &str| {
        Packet::udp(source, PBX)
            .payload(&[b'x'; 255])
            .fragment(0, true)
    };
    let long = Packet::udp(STRANGER, PBX)
        .payload(&[b'x'; 256])
        .fragment(0, true);
    simulator.trust("198.51.100.9".parse().unwrap()).unwrap();
    let mut half_a_tcp_header = Packet::tcp(STRANGER, PBX).fragment(0, true).build();
    half_a_tcp_header.truncate(14 + 20 + 8);
    half_a_tcp_header[16..18].copy_from_slice(&28u16.to_be_bytes());
    check(
        &mut simulator,
        &[
            row("tiny", &tiny(STRANGER), DROP, Reason::TinyFragment),
            row("long enough", &long, PASS, Reason::Clean),
            row(
                "tiny from a trusted source",
                &tiny("198.51.100.9:5060"),
                PASS,
                Reason::Clean,
            ),
            row(
                "tiny, not protected",
                &Packet::udp(STRANGER, "192.0.2.1:10000")
                    .payload(b"x")
                    .fragment(0, true),
                PASS,
                Reason::NotProtected,
            ),
            row(
                "a SYN cut in two",
                &Packet::tcp(STRANGER, PBX)
                    .tcp_flags(flags::SYN)
                    .fragment(0, true),
                DROP,
                Reason::TinyFragment,
            ),
            Row {
                name: "ends in the TCP header",
                frame: half_a_tcp_header,
                verdict: DROP,
                reason: Reason::TinyFragment,
            },
        ],
    );
}

#[test]
fn the_allowlist_comes_before_everything() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let provider: IpNet = "203.0.113.0/29".parse().unwrap();
    simulator.allow(provider).unwrap();
    simulator.allow("2001:db8:1::/48".parse().unwrap()).unwrap();
    ban(&mut simulator, "203.0.113.7", Scope::All, BootTime::NEVER);
    check(
        &mut simulator,
        &[
            row("banned and allowed", &scanner(), PASS, Reason::Allowed),
            row(
                "IPv6",
                &Packet::udp(STRANGER6, PBX6).payload(&request("friendly-scanner")),
                PASS,
                Reason::Allowed,
            ),
            row(
                "tripwire",
                &Packet::udp(STRANGER, "192.0.2.1:5090").payload(b"x"),
                PASS,
                Reason::Allowed,
            ),
            row(
                "next to it",
                &Packet::udp("203.0.113.8:1", PBX).payload(&request("friendly-scanner")),
                DROP,
                Reason::Signature,
            ),
        ],
    );
    assert_eq!(
        simulator.allowed().unwrap(),
        [provider, "2001:db8:1::/48".parse().unwrap()]
    );
    simulator.disallow(provider).unwrap();
    check(
        &mut simulator,
        &[row("no longer allowed", &scanner(), DROP, Reason::Banned)],
    );
}

#[test]
fn a_tripwire_drops_and_tells() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    check(
        &mut simulator,
        &[
            row(
                "UDP",
                &Packet::udp(STRANGER, "192.0.2.1:5090").payload(b"x"),
                DROP,
                Reason::Tripwire,
            ),
            row(
                "TCP",
                &Packet::tcp(STRANGER6, "[2001:db8::1]:5090").tcp_flags(flags::SYN),
                DROP,
                Reason::Tripwire,
            ),
        ],
    );
}

#[test]
fn an_ipv6_source_that_spells_an_ipv4_address_is_not_taken_for_it() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    ban(&mut simulator, "203.0.113.7", Scope::All, in_an_hour());
    let scan = request("friendly-scanner");
    let frame = Packet::udp("[::ffff:203.0.113.7]:5060", PBX6).payload(&scan);
    check(
        &mut simulator,
        &[row("mapped", &frame, PASS, Reason::NotUnderstood)],
    );
}

#[test]
fn observe_mode_decides_everything_and_drops_nothing() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    simulator
        .set_policy(&Policy {
            mode: Mode::Observe,
            ..policy()
        })
        .unwrap();
    ban(&mut simulator, "203.0.113.9", Scope::All, BootTime::NEVER);
    check(
        &mut simulator,
        &[
            row("scanner", &scanner(), PASS, Reason::Signature),
            row(
                "banned",
                &Packet::udp("203.0.113.9:1", PBX),
                PASS,
                Reason::Banned,
            ),
            row(
                "tripwire",
                &Packet::udp(STRANGER, "192.0.2.1:5090"),
                PASS,
                Reason::Tripwire,
            ),
        ],
    );
    let counts = simulator.counters().unwrap();
    assert_eq!(counts.of(Reason::Signature).passed, 1);
    assert_eq!(counts.of(Reason::Signature).dropped, 0);
}

#[test]
fn an_event_tells_who_what_and_when() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let tables = tables(Profile::Standard);
    let generation = simulator.set_signatures(tables).unwrap();
    // The simulator reads the event itself, so let a second reader look at one it did not read.
    let before = BootTime::now();
    let frame = scanner().build();
    simulator.time(&frame, 1).unwrap();
    let mut events: Vec<Event> = Vec::new();
    assert_eq!(simulator.drain_events(&mut |event| events.push(event)), 1);
    let event = &events[0];
    assert!(event.at >= before && event.at <= BootTime::now());
    assert_eq!(event.source.to_string(), "203.0.113.7");
    assert_eq!(event.destination.to_string(), "192.0.2.1");
    assert_eq!(
        (event.source_port, event.destination_port, event.protocol),
        (5060, 5060, 17)
    );
    assert_eq!((event.verdict, event.reason), (DROP, Reason::Signature));
    let hit = event.signature.unwrap();
    assert_eq!(hit.generation, generation);
    assert_eq!(
        tables.signature(hit.slot).unwrap().name,
        "sipvicious-friendly-scanner"
    );
    let payload = request("friendly-scanner");
    assert_eq!(event.payload_len as usize, payload.len());
    assert_eq!(event.sample, payload[..payload.len().min(512)]);
}

#[test]
fn signatures_are_swapped_as_a_whole() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let agent = "Cisco-CP7960G/8.0";
    let frame = Packet::udp(STRANGER, PBX).payload(&request(agent)).build();
    for _ in 0..3 {
        assert_eq!(judge(&mut simulator, &frame), (PASS, Reason::Clean));
        simulator.set_signatures(tables(Profile::Strict)).unwrap();
        assert_eq!(judge(&mut simulator, &frame), (DROP, Reason::Signature));
        simulator.set_signatures(tables(Profile::Standard)).unwrap();
    }
}
