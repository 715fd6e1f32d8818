//! A version with other maps takes over, and hands back: the program on the interface is replaced in
//! one step, over maps that have the bans already.

use std::{
    fs,
    net::UdpSocket,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use sipward_testkit::{
    bpf,
    count::PacketCounter,
    lab::{ATTACKER, Lab, PBX},
    process::wait_until,
    require::{Need, require},
};

use crate::place::{PATIENCE, Place, has_xdp, kill, stop};

/// How long the flood lasts where nobody tells it to stop: longer than the test waits for anything.
const LONGEST: Duration = Duration::from_secs(10 * PATIENCE.as_secs());

/// Tells the flood to stop, when the test fails, too.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Packets of a banned source that looks harmless and of a scanner, until told to stop: some 2,000
/// a second.
fn flood(lab: &Lab, stop: &AtomicBool, sent: &AtomicU64) {
    lab.attacker.enter(|| {
        let banned = UdpSocket::bind((ATTACKER, 0)).unwrap();
        let scanner = UdpSocket::bind(("203.0.113.99", 0)).unwrap();
        let harmless = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: Snom\r\n\r\n";
        let scan = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n";
        let begun = Instant::now();
        while !stop.load(Ordering::Relaxed) && begun.elapsed() < LONGEST {
            // A full queue is no reason to stop.
            let _ = banned.send_to(harmless, (PBX, 5060));
            let _ = scanner.send_to(scan, (PBX, 5060));
            sent.fetch_add(2, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(1));
        }
    });
}

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
    let counters = [ATTACKER, "203.0.113.99"]
        .map(|source| PacketCounter::new(&lab.pbx, source, 5060).unwrap());

    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&lab, &over, &sent));
        let stopping = Stop(&over);
        place.wait_for_ban("203.0.113.99/32");
        for (what, change) in changes() {
            kill(daemon);
            change(&place.pins);
            let before = sent.load(Ordering::Relaxed);
            daemon = place.start(&lab.pbx);
            let during = sent.load(Ordering::Relaxed) - before;
            let after = sent.load(Ordering::Relaxed);
            wait_until("the flood to go on", PATIENCE, || {
                sent.load(Ordering::Relaxed) > after + 100
            })
            .unwrap();
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
        drop(stopping);
        flooding.join().unwrap();
        stop(daemon);
    });
    assert!(!has_xdp(&lab.pbx, "eth0") && !place.pins.exists());
}
