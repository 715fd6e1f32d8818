//! The tap behind the table.

use std::{
    net::UdpSocket,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sipward_shield::{Direction, Frames as _, Scope, Shield as _, TapPorts, nftables::Tap};
use sipward_testkit::process::wait_until;

use crate::net::{Net, PBX, PBX6, ban, udp, until};

#[test]
fn the_tap_sees_what_passes_both_ways_and_nothing_that_is_dropped() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    let ports = TapPorts {
        udp: vec![5060],
        tcp: vec![5060],
        handshakes: vec![5061],
    };
    let mut tap = net
        .pbx
        .enter(|| Tap::open(&["wan".to_owned()], &ports).unwrap());
    net.shield(|shield| {
        shield
            .ban(&ban("203.0.113.7", Scope::All, until(3_600)))
            .unwrap();
    });
    net.seen(&udp("203.0.113.7:5060", PBX, b"banned").build());
    net.seen(&udp("203.0.113.8:777", "192.0.2.1:9999", b"not SIP").build());
    net.seen(&udp("203.0.113.8:5060", PBX, b"in, over UDP").build());
    net.pbx.enter(|| {
        let socket = UdpSocket::bind(PBX).unwrap();
        socket.send_to(b"out, over UDP", "192.0.2.7:5070").unwrap();
    });
    net.seen(&udp("[2001:db8:7::7]:5060", PBX6, b"in, over IPv6").build());
    let mut seen = Vec::new();
    wait_until("four frames", Duration::from_secs(10), || {
        while let Some(frame) = tap.next_frame() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let age = u64::try_from(now.as_nanos()).unwrap().abs_diff(frame.at);
            assert!(age < 60_000_000_000, "{age}");
            let payload = String::from_utf8_lossy(&frame.bytes[frame.bytes.len() - 12..]);
            seen.push((frame.direction, payload.into_owned()));
        }
        seen.len() >= 4
    })
    .unwrap();
    let frame = |direction, text: &str| (direction, text.to_owned());
    assert_eq!(
        seen,
        [
            frame(Direction::In, "in, over UDP"),
            frame(Direction::Out, "ut, over UDP"),
            // The neighbour's word that nobody listens.
            frame(Direction::In, "ut, over UDP"),
            frame(Direction::In, "n, over IPv6"),
        ]
    );
    assert!(net.pbx.enter(|| !tap.mend(&ports).unwrap()));
    net.pbx.run("nft flush ruleset").unwrap();
    net.shield(|shield| shield.reattach(&mut |_, _| Ok(())).unwrap());
    assert!(net.pbx.enter(|| tap.mend(&ports).unwrap()));
    net.seen(&udp("203.0.113.8:5060", PBX, b"again there").build());
    wait_until("a frame", Duration::from_secs(10), || {
        tap.next_frame().is_some()
    })
    .unwrap();
}

#[test]
fn rules_of_the_tap_that_nft_did_not_take_are_written_at_the_next_check() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    let ports = TapPorts {
        udp: vec![5060],
        ..TapPorts::default()
    };
    net.pbx.run("nft delete table inet sipward").unwrap();
    let open = || Tap::open(&["wan".to_owned()], &ports).unwrap();
    let mut tap = net.pbx.enter(open);
    net.pbx.enter(|| tap.set_ports(&ports).unwrap_err());
    net.shield(|shield| shield.reattach(&mut |_, _| Ok(())).unwrap());
    assert!(net.pbx.enter(|| tap.mend(&ports).unwrap()));
    assert!(net.pbx.enter(|| !tap.mend(&ports).unwrap()));
}
