//! Death in the middle of a flood, and a power cut.

use std::{net::UdpSocket, time::Duration};

use serde_json::Value;
use sipward_testkit::{
    asterisk::{Asterisk, Driver, Settings},
    count::PacketCounter,
    guard::Guard,
    lab::{ATTACKER, Lab, PHONES},
    phone::{Phones, Task},
    process::wait_until,
    require::{Need, require},
};

use crate::guard;

const PATIENCE: Duration = Duration::from_secs(60);

/// Packets of a scanner and of one who looks harmless but was banned by hand: bounded, and as fast
/// as one socket sends.
fn flood(lab: &Lab, packets: usize) {
    lab.attacker.enter(|| {
        let socket = UdpSocket::bind((ATTACKER, 5060)).unwrap();
        let harmless = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: Snom\r\n\r\n";
        for _ in 0..packets {
            // A full queue is no reason to stop.
            let _ = socket.send_to(harmless, "192.0.2.1:5060");
        }
    });
}

/// The bans without what counts on.
fn bans(guard: &Guard<'_>) -> Value {
    let mut bans = guard.json(&["bans"]).unwrap();
    for ban in bans.as_array_mut().unwrap() {
        ban.as_object_mut()
            .unwrap()
            .remove("dropped_packets")
            .unwrap();
    }
    bans
}

#[test]
fn killed_in_a_flood_it_goes_on_banning_and_comes_back_the_same() {
    let needs = [
        Need::Root,
        Need::Asterisk,
        Need::Program("sipp"),
        Need::Program("iptables"),
    ];
    if !require(&needs) {
        return;
    }
    let lab = Lab::new().unwrap();
    let _asterisk = Asterisk::start(&lab.pbx, &Settings::default()).unwrap();
    let mut guard = guard(&lab.pbx);
    for order in [
        &["ban", ATTACKER, "--for", "2h", "--reason", "a test"][..],
        &["ban", "203.0.113.64/26", "--forever", "--scope", "sip"],
        &[
            "ban",
            "2001:db8:bad:7::/64",
            "87.119.220.200-87.119.220.203",
        ],
        &["allow", "198.51.100.99"],
    ] {
        let answer = guard.ask(order).unwrap();
        assert!(answer.status.success(), "{order:?}: {}", answer.stderr);
    }
    let before = bans(&guard);
    assert_eq!(before.as_array().unwrap().len(), 4, "{before}");
    let allowed = guard.json(&["allowed"]).unwrap();
    let counter = PacketCounter::new(&lab.pbx, ATTACKER, 5060).unwrap();

    let phone = || {
        let phone = Phones::one(
            PHONES.parse().unwrap(),
            Driver::ChanSip.address(),
            Task::Call,
        );
        phone.start(&lab.phones).unwrap().finish(PATIENCE).unwrap();
    };
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&lab, 200_000));
        guard.kill();
        phone();
        flooding.join().unwrap();
    });
    assert_eq!(counter.packets().unwrap(), 0);

    guard.run().unwrap();
    assert_eq!(bans(&guard), before);
    assert_eq!(guard.json(&["allowed"]).unwrap(), allowed);
    flood(&lab, 1000);
    phone();
    assert_eq!(counter.packets().unwrap(), 0);
    let listed = guard.json(&["bans"]).unwrap();
    let drops = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|ban| ban["dropped_packets"].as_u64().unwrap());
    let dropped: u64 = drops.sum();
    println!("{dropped} packets of the flood were dropped");
    assert!(dropped >= 100_000);

    // A power cut: the kernel has forgotten everything, the ledger nothing.
    guard.kill();
    guard.lose_pins().unwrap();
    flood(&lab, 10);
    wait_until("the unguarded PBX to be reached", PATIENCE, || {
        counter.packets().unwrap() > 0
    })
    .unwrap();
    guard.run().unwrap();
    // All of it has arrived by now.
    let unguarded = counter.packets().unwrap();
    assert_eq!(bans(&guard), before);
    assert_eq!(guard.json(&["allowed"]).unwrap(), allowed);
    assert!(
        guard.log().contains("was not in the kernel: restored"),
        "{}",
        guard.log()
    );
    flood(&lab, 1000);
    phone();
    assert_eq!(counter.packets().unwrap(), unguarded);
}

#[test]
fn a_clean_stop_leaves_nothing_behind() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let mut guard = guard(&lab.pbx);
    assert!(lab.pbx.run("ip link show eth0").unwrap().contains("xdp"));
    let finished = guard.stop().unwrap();
    assert!(finished.status.success(), "{}", finished.stderr);
    assert!(!lab.pbx.run("ip link show eth0").unwrap().contains("xdp"));
    assert!(
        !std::path::Path::new("/sys/fs/bpf")
            .join(lab.pbx.name())
            .exists()
    );
}
