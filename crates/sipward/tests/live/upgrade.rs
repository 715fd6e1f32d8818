//! A version with other maps takes over, and hands back: the program on the interface is replaced in
//! one step, over maps that have the bans already. So is a table of nftables.

use std::{fs, path::Path};

use serde_json::Value;
use sipward_shield::{TapPorts, nftables::Tap};
use sipward_testkit::{
    bpf,
    count::PacketCounter,
    flood::{SCANNER, Trickle},
    lab::{ATTACKER, ATTACKER_V6, Lab},
    process::Process,
    require::{Need, require},
};

use crate::place::{Place, has_xdp, kill, said, stop};

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

/// A daemon with bans and an allowlist, and those who flood it.
struct Flooded<'a> {
    lab: &'a Lab,
    place: &'a Place,
    flood: Trickle,
    counters: Vec<PacketCounter<'a>>,
    bans: Vec<Value>,
    allowed: Value,
}

impl<'a> Flooded<'a> {
    fn by(lab: &'a Lab, place: &'a Place, sources: &[&str]) -> Self {
        let by_hand =
            format!("ban {ATTACKER} {ATTACKER_V6} 203.0.113.64/28 2001:db8:bad::/48 --for 2h");
        assert_eq!(place.sipward(&by_hand).code, 0);
        assert_eq!(place.sipward("allow 198.51.100.0/24").code, 0);
        let (bans, allowed) = (place.bans(), place.json("allowed"));
        let counter = |source: &&str| PacketCounter::new(&lab.pbx, source, 5060).unwrap();
        Self {
            lab,
            place,
            counters: sources.iter().map(counter).collect(),
            flood: Trickle::of(lab, sources).unwrap(),
            bans,
            allowed,
        }
    }

    /// More packets come, and none has come through since the first one.
    fn assert_dropped(&self, what: &str) {
        self.flood.go_on(100).unwrap();
        for counter in &self.counters {
            assert_eq!(counter.packets().unwrap(), 0, "{what}");
        }
    }

    /// The next one takes over, and has what the one before had. Returns how many packets were sent
    /// meanwhile, too.
    fn start(&self, what: &str) -> (Process, u64) {
        let before = self.flood.sent();
        let daemon = self.place.start(&self.lab.pbx);
        let during = self.flood.sent() - before;
        self.assert_dropped(what);
        for ban in &self.bans {
            assert!(self.place.bans().contains(ban), "{what}: {ban}");
        }
        assert_eq!(self.place.json("allowed"), self.allowed, "{what}");
        (daemon, during)
    }
}

#[test]
fn another_layout_of_the_maps_is_replaced_without_a_gap() {
    if !require(&[Need::Root, Need::Program("iptables")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new("interfaces = [\"eth0\"]\nbackend = \"xdp\"");
    let mut daemon = place.start(&lab.pbx);
    let flooded = Flooded::by(&lab, &place, &[ATTACKER, SCANNER]);
    place.wait_for_ban(&format!("{SCANNER}/32"));
    for (what, change) in changes() {
        kill(daemon);
        change(&place.pins);
        let during;
        (daemon, during) = flooded.start(what);
        println!("{what}: {during} packets sent during the start, 0 came through");
        let folders: Vec<_> = fs::read_dir(&place.pins).unwrap().flatten().collect();
        assert_eq!(folders.len(), 1, "{what}: {folders:?}");
        assert!(place.pins.join("layout-1").is_dir(), "{what}");
    }
    drop(flooded);
    stop(daemon);
    assert!(!has_xdp(&lab.pbx, "eth0") && !place.pins.exists());
}

/// As another version would have left it: by another number, and with sets and chains that are
/// called like ours and are others.
const OTHER_TABLES: [(&str, &str); 2] = [
    (
        "a table of another number",
        "rename chain inet sipward sipward-layout-2 sipward-layout-1",
    ),
    (
        "a table of other sets and chains",
        "delete table inet sipward; table inet sipward { chain sipward-layout-9 { }; \
         set requests4 { type inet_service; }; \
         chain judge4 { type filter hook prerouting priority -450; \
         ip saddr 203.0.113.7 drop; ip6 saddr 2001:db8:7::7 drop; }; }",
    ),
];

#[test]
fn another_layout_of_the_table_is_replaced_without_a_gap() {
    let needs = ["iptables", "ip6tables", "nft"].map(Need::Program);
    if !require(&[[Need::Root].as_slice(), &needs].concat()) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new("interfaces = [\"eth0\"]\nbackend = \"nftables\"");
    let mut daemon = place.start(&lab.pbx);
    let flooded = Flooded::by(&lab, &place, &[ATTACKER, ATTACKER_V6]);
    let ports = TapPorts {
        udp: vec![5060],
        tcp: Vec::new(),
        handshakes: Vec::new(),
    };
    for (what, change) in OTHER_TABLES {
        kill(daemon);
        nft(&lab, change);
        let chains = || lab.pbx.run("nft --terse list chains inet").unwrap();
        let before = chains();
        // Somebody holds what the tap needs: the start fails half way.
        let eth0 = ["eth0".to_owned()];
        let held = lab.pbx.enter(|| Tap::open(&eth0, &ports).unwrap());
        let refused = place.refused(&lab.pbx, &[]);
        assert!(refused.stderr.contains("log group 5061"), "{refused:?}");
        assert_eq!(chains(), before);
        flooded.assert_dropped("a start that fails");
        drop(held);
        lab.pbx.await_log_group(5061).unwrap();

        let during;
        (daemon, during) = flooded.start(what);
        println!("{what}: {during} packets sent during the start, 0 came through");
        let said = daemon.output();
        assert!(said.contains("has taken its place"), "{said}");
    }
    drop(flooded);
    stop(daemon);
    let tables = lab.pbx.run("nft list tables inet").unwrap();
    assert_eq!(tables, "");
}

fn nft(lab: &Lab, change: &str) {
    let mut nft = lab.pbx.command("nft");
    let done = said(nft.arg(change));
    assert_eq!(done.code, 0, "{done:?}");
}
