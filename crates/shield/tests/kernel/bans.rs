//! Whom a ban drops, of which scope, and until when.

use std::{
    net::{IpAddr, Ipv4Addr},
    thread,
};

use ipnet::IpNet;
use sipward_shield::{Ban, BootTime, Reason, Scope, Shield as _, Target};
use sipward_signature::Profile;
use sipward_testkit::packet::{Packet, protocol};

use crate::common::*;

#[test]
fn bans_drop_by_scope_and_lapse_by_themselves() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    ban(&mut simulator, "203.0.113.7", Scope::All, in_an_hour());
    ban(&mut simulator, "203.0.113.8", Scope::Sip, in_an_hour());
    ban(&mut simulator, "203.0.113.9", Scope::All, LAPSED);
    ban(&mut simulator, "203.0.113.10", Scope::All, BootTime::NEVER);
    let to = |source: &str, destination: &str| {
        Packet::udp(source, destination).payload(&request("Snom"))
    };
    check(
        &mut simulator,
        &[
            row("all: SIP", &to("203.0.113.7:1", PBX), DROP, Reason::Banned),
            row(
                "all: RTP",
                &to("203.0.113.7:1", "192.0.2.1:10000"),
                DROP,
                Reason::Banned,
            ),
            row(
                "all: ping",
                &Packet::ip("203.0.113.7", "192.0.2.1", protocol::ICMP),
                DROP,
                Reason::Banned,
            ),
            row(
                "all: later fragment",
                &to("203.0.113.7:1", PBX).fragment(1480, false),
                DROP,
                Reason::Banned,
            ),
            row(
                "all: garbage behind the address",
                &to("203.0.113.7:1", PBX).udp_length(3),
                DROP,
                Reason::Banned,
            ),
            row("sip: SIP", &to("203.0.113.8:1", PBX), DROP, Reason::Banned),
            row(
                "sip: IAX2",
                &to("203.0.113.8:1", "192.0.2.1:4569"),
                DROP,
                Reason::Banned,
            ),
            row(
                "sip: TLS",
                &Packet::tcp("203.0.113.8:1", "192.0.2.1:5061"),
                DROP,
                Reason::Banned,
            ),
            row(
                "sip: RTP",
                &to("203.0.113.8:1", "192.0.2.1:10000"),
                PASS,
                Reason::NotProtected,
            ),
            row(
                "sip: SSH",
                &Packet::tcp("203.0.113.8:1", "192.0.2.1:22"),
                PASS,
                Reason::Clean,
            ),
            row("lapsed", &to("203.0.113.9:1", PBX), PASS, Reason::Clean),
            row("for ever", &to("203.0.113.10:1", PBX), DROP, Reason::Banned),
            row(
                "the neighbour",
                &to("203.0.113.6:1", PBX),
                PASS,
                Reason::Clean,
            ),
        ],
    );
    let dropped = simulator.unban(&target("203.0.113.7"), Scope::All).unwrap();
    assert!(dropped > 0);
    let again = simulator.unban(&target("203.0.113.7"), Scope::All).unwrap();
    assert_eq!(again, 0, "no ban");
    check(
        &mut simulator,
        &[row(
            "lifted",
            &to("203.0.113.7:1", PBX),
            PASS,
            Reason::Clean,
        )],
    );
}

#[test]
fn a_ban_of_one_port_leaves_the_neighbours_behind_the_address_alone() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let guesser = Target {
        port: Some(40000),
        ..target("203.0.113.7")
    };
    simulator
        .ban(&Ban {
            target: guesser,
            scope: Scope::Sip,
            until: in_an_hour(),
        })
        .unwrap();
    check(
        &mut simulator,
        &[
            row(
                "the guesser",
                &Packet::udp("203.0.113.7:40000", PBX).payload(b"xxxxxxxxx"),
                DROP,
                Reason::Banned,
            ),
            row(
                "a colleague",
                &Packet::udp("203.0.113.7:40001", PBX).payload(b"xxxxxxxxx"),
                PASS,
                Reason::Clean,
            ),
        ],
    );
    simulator.unban(&guesser, Scope::Sip).unwrap();
    check(
        &mut simulator,
        &[row(
            "lifted",
            &Packet::udp("203.0.113.7:40000", PBX).payload(b"xxxxxxxxx"),
            PASS,
            Reason::Clean,
        )],
    );
    let prefix = Target {
        port: Some(40000),
        ..target("203.0.113.0/24")
    };
    let error = simulator.ban(&Ban {
        target: prefix,
        scope: Scope::Sip,
        until: in_an_hour(),
    });
    assert_eq!(
        error.unwrap_err().to_string(),
        "a ban of one source port needs a single address, not 203.0.113.0/24"
    );
}

#[test]
fn prefixes_are_banned_and_the_latest_end_of_every_cover_holds() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let from = |source: &str| Packet::udp(source, PBX).payload(b"xxxxxxxxx");
    let from6 = |source: &str| Packet::udp(source, PBX6).payload(b"xxxxxxxxx");
    ban(&mut simulator, "10.1.0.0/16", Scope::All, BootTime::NEVER);
    ban(&mut simulator, "10.1.2.0/24", Scope::All, LAPSED);
    ban(&mut simulator, "10.1.2.3", Scope::All, LAPSED);
    ban(&mut simulator, "2001:db8:a::/48", Scope::Sip, in_an_hour());
    ban(
        &mut simulator,
        "2001:db8:b:1::/64",
        Scope::All,
        in_an_hour(),
    );
    ban(&mut simulator, "2001:db8:c::7", Scope::All, in_an_hour());
    check(
        &mut simulator,
        &[
            row("in the /16", &from("10.1.9.9:1"), DROP, Reason::Banned),
            row(
                "in the lapsed /24 in the /16",
                &from("10.1.2.9:1"),
                DROP,
                Reason::Banned,
            ),
            row(
                "the lapsed address in both",
                &from("10.1.2.3:1"),
                DROP,
                Reason::Banned,
            ),
            row("outside", &from("10.2.0.1:1"), PASS, Reason::Clean),
            row(
                "in the /48",
                &from6("[2001:db8:a:ffff::1]:1"),
                DROP,
                Reason::Banned,
            ),
            row(
                "in the /64",
                &from6("[2001:db8:b:1:ffff::1]:1"),
                DROP,
                Reason::Banned,
            ),
            row(
                "next /64",
                &from6("[2001:db8:b:2::1]:1"),
                PASS,
                Reason::Clean,
            ),
            row(
                "the address",
                &from6("[2001:db8:c::7]:1"),
                DROP,
                Reason::Banned,
            ),
            row(
                "its neighbour",
                &from6("[2001:db8:c::8]:1"),
                PASS,
                Reason::Clean,
            ),
        ],
    );
    let dropped = simulator.unban(&target("10.1.0.0/16"), Scope::All).unwrap();
    assert!(dropped > 0);
    check(
        &mut simulator,
        &[
            row("the /16 lifted", &from("10.1.9.9:1"), PASS, Reason::Clean),
            row(
                "the /24 has lapsed",
                &from("10.1.2.9:1"),
                PASS,
                Reason::Clean,
            ),
        ],
    );
}

#[test]
fn bans_list_what_is_in_force_with_the_packets_dropped() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let end = in_an_hour();
    ban(&mut simulator, "203.0.113.0/24", Scope::All, end);
    ban(&mut simulator, "203.0.113.7", Scope::Sip, end);
    ban(&mut simulator, "203.0.113.9", Scope::All, LAPSED);
    for _ in 0..3 {
        judge(&mut simulator, &phone().build());
    }
    let bans: Vec<_> = simulator
        .bans()
        .unwrap()
        .into_iter()
        .map(|listed| {
            (
                listed.ban.target.prefix.to_string(),
                listed.ban.scope,
                listed.dropped_packets,
            )
        })
        .collect();
    assert_eq!(
        bans,
        [
            ("203.0.113.0/24".to_owned(), Scope::All, 0),
            ("203.0.113.7/32".to_owned(), Scope::Sip, 3),
        ]
    );
}

/// More of each kind than the kernel gives away in one call; the daemon reads them in a thread.
#[test]
fn many_bans_are_read_once_each_and_in_order_by_another_thread() {
    const MANY: u32 = 40_000;
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let until = in_an_hour();
    let ban = |prefix: IpNet| Ban {
        target: Target { prefix, port: None },
        scope: Scope::All,
        until,
    };
    let single = |number: u32| IpNet::from(IpAddr::from((0x0a00_0000 + number).to_be_bytes()));
    let network = |number: u32| {
        let first = Ipv4Addr::from_bits(0xac10_0000 + number * 4);
        IpNet::new(first.into(), 30).unwrap()
    };
    let wide6: IpNet = "2001:db8::/48".parse().unwrap();
    let mut bans: Vec<Ban> = (0..MANY).map(|number| ban(single(number))).collect();
    bans.extend((0..MANY).map(|number| ban(network(number))));
    bans.push(ban(wide6));
    simulator.ban_all(&bans).unwrap();
    let read = simulator.read_bans().unwrap();
    let held = thread::spawn(read).join().unwrap().unwrap();
    let held: Vec<Ban> = held.into_iter().map(|held| held.ban).collect();
    assert!(held == bans, "{} of {}", held.len(), bans.len());
}
