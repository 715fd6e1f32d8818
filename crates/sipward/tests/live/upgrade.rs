//! A version with other maps takes over, and hands back: the program on the interface is replaced in
//! one step, over maps that have the bans already.

use std::{fs, path::Path};

use sipward_testkit::{
    bpf,
    count::PacketCounter,
    flood::{SCANNER, Trickle},
    lab::{ATTACKER, Lab},
    require::{Need, require},
};

use crate::place::{Place, has_xdp, kill, stop};

/// The pins as a version of another layout would have left them.
fn move_pins(pins: &Path, from: &str, to: &str) {
    fs::create_dir(pins.join(to)).unwrap();
    for pin in fs::read_dir(pins.join(from)).unwrap().flatten() {
        fs::rename(pin.path(), pins.join(to).join(pin.file_name())).unwrap();
    }
    fs::remove_dir(pins.join(from)).unwrap();
}

/// What becomes of the pins, and its name.
type Change = (&'static str, fn(&Path));

/// Pins of another layout, and a map of another size among ours.
fn changes() -> [Change; 3] {
    [
        ("an older layout", |pins| {
            move_pins(pins, "layout-1", "layout-0")
        }),
        ("a newer layout", |pins| {
            move_pins(pins, "layout-1", "layout-2")
        }),
        ("a table of another size", |pins| {
            let pin = pins.join("layout-1/bans");
            fs::remove_file(&pin).unwrap();
            bpf::pin_hash(&pin, 24, 48, 1_000).unwrap();
        }),
    ]
}

#[test]
fn another_layout_of_the_maps_is_replaced_without_a_gap() {
    if !require(&[Need::Root, Need::Program("iptables")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new("interfaces = [\"eth0\"]\nbackend = \"xdp\"");
    let mut daemon = place.start(&lab.pbx);
    let by_hand = format!("ban {ATTACKER} 203.0.113.64/28 2001:db8:bad::/48 --for 2h");
    assert_eq!(place.sipward(&by_hand).code, 0);
    assert_eq!(place.sipward("allow 198.51.100.0/24").code, 0);
    let (bans, allowed) = (place.bans(), place.json("allowed"));
    let counters =
        [ATTACKER, SCANNER].map(|source| PacketCounter::new(&lab.pbx, source, 5060).unwrap());

    let flood = Trickle::start(&lab).unwrap();
    place.wait_for_ban(&format!("{SCANNER}/32"));
    for (what, change) in changes() {
        kill(daemon);
        change(&place.pins);
        let before = flood.sent();
        daemon = place.start(&lab.pbx);
        let during = flood.sent() - before;
        flood.go_on(100).unwrap();
        let passed = counters
            .each_ref()
            .map(|counter| counter.packets().unwrap());
        println!("{what}: {during} packets sent during the start, {passed:?} came through");
        assert_eq!(passed, [0, 0], "{what}: {}", daemon.output());
        let folders: Vec<_> = fs::read_dir(&place.pins).unwrap().flatten().collect();
        assert_eq!(folders.len(), 1, "{what}: {folders:?}");
        assert!(place.pins.join("layout-1").is_dir(), "{what}");
        for ban in &bans {
            assert!(place.bans().contains(ban), "{what}: {ban}");
        }
        assert_eq!(place.json("allowed"), allowed, "{what}");
    }
    drop(flood);
    stop(daemon);
    assert!(!has_xdp(&lab.pbx, "eth0") && !place.pins.exists());
}
