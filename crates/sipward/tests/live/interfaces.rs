//! An interface that comes while the daemon runs: it is guarded at once, by one daemon, and by
//! nftables together with all others where XDP cannot judge it.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
};

use serde_json::Value;
use sipward_testkit::{
    bpf,
    count::PacketCounter,
    flood::Trickle,
    lab::{ATTACKER, ATTACKER_V6, Lab},
    namespace::Namespace,
    process::{Process, wait_until},
    require::{Need, require},
};
use tempfile::TempDir;
use test_case::test_case;

use crate::place::{PATIENCE, Place, has_xdp, kill, program, said, stop};

/// Rounds in which somebody else may have been in the way.
const ROUNDS: usize = 30;

fn namespace() -> Option<Namespace> {
    let needs = ["ip", "nft"].map(Need::Program);
    if !require(&[[Need::Root].as_slice(), &needs].concat()) {
        return None;
    }
    let inside = Namespace::new("inside").unwrap();
    inside.run("ip link add first0 type bridge").unwrap();
    inside.run("ip link add second0 type bridge").unwrap();
    Some(inside)
}

/// What `status` has of the interface that is called so.
fn interface(place: &Place, name: &str) -> Value {
    let status = place.json("status");
    let mut interfaces = status["interfaces"].as_array().unwrap().iter();
    let found = interfaces.find(|interface| interface["name"] == name);
    found.cloned().unwrap_or_default()
}

fn is_attached(place: &Place, name: &str) -> bool {
    interface(place, name)["attached"] == true
}

/// Once a second the daemon looks by itself, and then puts back a ban that is missing, too: one that
/// is still missing shows that it was the kernel's word that had it look.
#[test]
fn an_interface_that_comes_is_guarded_upon_the_kernels_word() {
    let Some(inside) = namespace() else { return };
    let place = Place::new("interfaces = [\"first0\", \"late0\"]\nbackend = \"xdp\"");
    let daemon = place.start(&inside);
    assert_eq!(place.sipward("ban 203.0.113.7 --forever").code, 0);
    let bans = place.pins.join("layout-1/bans");
    let has_ban = || !bpf::keys::<24>(&bans).unwrap().is_empty();
    let mut upon_its_word = 0;
    for _ in 0..ROUNDS {
        bpf::clear_map(&bans).unwrap();
        wait_until("a look", PATIENCE, has_ban).unwrap();
        bpf::clear_map(&bans).unwrap();
        inside.run("ip link add late0 type bridge").unwrap();
        wait_until("it to be guarded", PATIENCE, || has_xdp(&inside, "late0")).unwrap();
        upon_its_word += usize::from(!has_ban());
        if upon_its_word == 3 {
            stop(daemon);
            return;
        }
        inside.run("ip link del late0").unwrap();
    }
    panic!("{upon_its_word} times of {ROUNDS}: {}", daemon.output());
}

#[test_case("xdp"; "xdp beside auto")]
#[test_case("nftables"; "nftables beside auto")]
fn an_interface_that_comes_late_has_one_guard(backend: &str) {
    let Some(inside) = namespace() else { return };
    let place = |interface: &str, backend: &str| {
        let place = Place::new(&format!(
            "interfaces = [\"{interface}\", \"late0\"]\nbackend = \"{backend}\""
        ));
        let daemon = place.start(&inside);
        (place, daemon)
    };
    let mut both = [place("first0", backend), place("second0", "auto")];
    inside.run("ip link add late0 type bridge").unwrap();
    let guards = |(place, _): &(Place, Process)| is_attached(place, "late0");
    let is_refused = |(place, _): &(Place, Process)| {
        let note = interface(place, "late0")["note"].clone();
        let note = note.as_str().unwrap_or_default();
        note.contains("guarded by another sipward that is running (process ")
    };
    wait_until("one to guard it and one to be refused", PATIENCE, || {
        both.sort_by_key(|one| !guards(one));
        guards(&both[0]) && is_refused(&both[1])
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", both[0].1.output(), both[1].1.output()));
    let [(guards, first), (awaits, second)] = both;
    assert!(!is_attached(&awaits, "late0"));
    let kept = [&guards, &awaits].map(|place| place.json("status")["backend"].clone());
    assert!(
        kept.contains(&backend.into()) && kept.contains(&"xdp".into()),
        "{kept:?}"
    );
    let third = Place::new("interfaces = [\"late0\"]");
    let refused = third.refused(&inside, &[]);
    refused.assert_one_line(2, &["late0", "guarded by another sipward", "process "]);

    stop(first);
    wait_until("the other one to guard it", PATIENCE, || {
        is_attached(&awaits, "late0")
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", second.output()));
    stop(second);
}

#[test]
fn a_tunnel_that_comes_late_has_nftables_guard_all_without_a_gap() {
    let needs = ["ip", "nft", "iptables", "ip6tables"].map(Need::Program);
    if !require(&[[Need::Root].as_slice(), &needs].concat()) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new("interfaces = [\"eth0\", \"tun0\"]");
    let daemon = place.start(&lab.pbx);
    let by_hand = format!("ban {ATTACKER} {ATTACKER_V6} 203.0.113.64/28 2001:db8:bad::/48");
    assert_eq!(place.sipward(&by_hand).code, 0);
    assert_eq!(place.sipward("allow 198.51.100.0/24").code, 0);
    let (bans, allowed) = (place.bans(), place.json("allowed"));
    assert_eq!(place.json("status")["backend"], "xdp");
    let sources = [ATTACKER, ATTACKER_V6];
    let counters = sources.map(|source| PacketCounter::new(&lab.pbx, source, 5060).unwrap());
    let flood = Trickle::of(&lab, &sources).unwrap();
    flood.go_on(100).unwrap();

    lab.pbx.run("ip tuntap add dev tun0 mode tun").unwrap();
    let before = flood.sent();
    wait_until("nftables to guard", PATIENCE, || {
        place.json("status")["backend"] == "nftables"
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.output()));
    let during = flood.sent() - before;
    flood.go_on(100).unwrap();
    let passed = counters.map(|counter| counter.packets().unwrap());
    println!("{during} packets sent during the change, {passed:?} came through");
    assert_eq!(passed, [0, 0], "{}", daemon.output());

    let status = place.json("status");
    let reason = status["backend_reason"].as_str().unwrap();
    assert!(
        reason.contains("tun0") && reason.contains("Ethernet"),
        "{reason}"
    );
    for name in ["eth0", "tun0"] {
        assert!(is_attached(&place, name), "{status}");
    }
    assert!(!has_xdp(&lab.pbx, "eth0") && !place.pins.exists());
    assert_eq!((place.bans(), place.json("allowed")), (bans, allowed));
    let said = daemon.output();
    assert_eq!(
        said.matches("nftables is to guard from now on").count(),
        1,
        "{said}"
    );

    // It goes on as one that was started so: new bans bite, and it sees what comes through.
    let unbanned = place.sipward(&format!("unban {ATTACKER}"));
    assert_eq!(unbanned.code, 0, "{unbanned:?}");
    wait_until("the tap to see it", PATIENCE, || {
        place.json("status")["sensors"]["packets"]["events"].as_u64() > Some(0)
    })
    .unwrap();
    drop(flood);
    stop(daemon);
    assert_eq!(lab.pbx.run("nft list tables inet").unwrap(), "");
}

#[test]
fn a_strangers_xdp_program_on_an_interface_that_comes_late_stays_there() {
    let Some(inside) = namespace() else { return };
    // Whose it is the name of the pin tells.
    let dead = Place::new("interfaces = [\"second0\"]\nbackend = \"xdp\"");
    kill(dead.start(&inside));
    let pins = fs::read_dir(dead.pins.join("layout-1")).unwrap().flatten();
    let is_link = |name: &OsStr| name.to_string_lossy().starts_with("link-");
    let mut names = pins.map(|pin| pin.file_name());
    let link = names.find(|name| is_link(name)).unwrap();
    let link = dead.pins.join("layout-1").join(link);
    fs::rename(link, dead.pins.join("stranger")).unwrap();
    let place = Place::new("interfaces = [\"first0\", \"late0\"]");
    let daemon = place.start(&inside);
    inside.run("ip link set second0 name late0").unwrap();
    wait_until("nftables to guard", PATIENCE, || {
        place.json("status")["backend"] == "nftables"
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.output()));
    let reason = place.json("status")["backend_reason"].clone();
    assert!(
        reason.as_str().unwrap().contains("another XDP program"),
        "{reason}"
    );
    assert!(is_attached(&place, "first0") && is_attached(&place, "late0"));
    assert!(has_xdp(&inside, "late0") && !has_xdp(&inside, "first0"));
    stop(daemon);
    assert!(has_xdp(&inside, "late0"));
}

#[test]
fn what_another_sipward_that_died_has_left_stays_that_ones() {
    let Some(inside) = namespace() else { return };
    let dead = Place::new("interfaces = [\"second0\"]\nbackend = \"xdp\"");
    kill(dead.start(&inside));
    let place = Place::new("interfaces = [\"first0\", \"late0\"]");
    let daemon = place.start(&inside);
    inside.run("ip link set second0 name late0").unwrap();
    let has_note = |part: &str| {
        let note = interface(&place, "late0")["note"].clone();
        note.as_str().is_some_and(|note| note.contains(part))
    };
    wait_until("the program to be found", PATIENCE, || {
        has_note("another XDP program")
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.output()));
    let again = dead.start(&inside);
    wait_until("its owner to be found", PATIENCE, || {
        // By its lock, or by its program where that was seen first.
        has_note("guarded by another sipward that is running") || has_note("held by process")
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.output()));
    assert_eq!(place.json("status")["backend"], "xdp");
    assert!(is_attached(&place, "first0") && is_attached(&dead, "late0"));
    stop(again);
    wait_until("the other one to guard it", PATIENCE, || {
        is_attached(&place, "late0")
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.output()));
    stop(daemon);
}

#[test]
fn where_nftables_cannot_guard_either_each_bare_interface_is_named_with_both_reasons() {
    let Some(inside) = namespace() else { return };
    let place = Place::new("interfaces = [\"first0\", \"tun0\", \"tun1\"]");
    let path = TempDir::new().unwrap();
    symlink(which("nsenter"), path.path().join("nsenter")).unwrap();
    let mut command = inside.command(program());
    command.env("PATH", path.path());
    let daemon = place.start_by(command);
    for tunnel in ["tun0", "tun1"] {
        let add = format!("ip tuntap add dev {tunnel} mode tun");
        inside.run(&add).unwrap();
    }
    let reasons = ["Ethernet", "nor can nftables guard", "apt install nftables"];
    let named = |text: &str| reasons.iter().all(|reason| text.contains(reason));
    wait_until("both reasons", PATIENCE, || {
        ["tun0", "tun1"].iter().all(|tunnel| {
            let note = interface(&place, tunnel)["note"].clone();
            note.as_str().is_some_and(named)
        })
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.output()));
    let status = place.json("status");
    assert_eq!(status["backend"], "xdp");
    assert_eq!(status["enforcement"]["state"], "detached");
    assert!(is_attached(&place, "first0") && has_xdp(&inside, "first0"));

    let mut doctor = inside.command(program());
    let doctor = doctor
        .args(["doctor", "--json", "--socket"])
        .arg(place.socket());
    let found = said(doctor.arg("--config").arg(place.config()));
    let found: Value = serde_json::from_str(&found.stdout).unwrap();
    let mut checks = found["checks"].as_array().unwrap().iter();
    let enforcement = checks.find(|check| check["name"] == "enforcement").unwrap();
    assert_eq!(enforcement["state"], "failed");
    let text = enforcement["found"].as_str().unwrap();
    assert!(text.contains("tun0") && named(text), "{text}");
    let log = stop(daemon);
    assert_eq!(log.matches("nor can nftables guard").count(), 1, "{log}");
}

/// The table is made, and then an error follows.
#[test]
fn a_change_to_nftables_that_fails_half_way_leaves_no_table() {
    let Some(inside) = namespace() else { return };
    let place = Place::new("interfaces = [\"first0\", \"tun0\"]");
    let path = TempDir::new().unwrap();
    symlink(which("nsenter"), path.path().join("nsenter")).unwrap();
    let script = format!(
        "#!/bin/sh\nrules=$({})\nprintf '%s\\n' \"$rules\" | {} -f - || exit 1\n\
         case \"$rules\" in *prerouting*) exit 1 ;; esac\n",
        which("cat").display(),
        which("nft").display()
    );
    let nft = path.path().join("nft");
    fs::write(&nft, script).unwrap();
    fs::set_permissions(&nft, Permissions::from_mode(0o755)).unwrap();
    let mut command = inside.command(program());
    command.env("PATH", path.path());
    let daemon = place.start_by(command);
    inside.run("ip tuntap add dev tun0 mode tun").unwrap();
    wait_until("the change to have failed", PATIENCE, || {
        let note = interface(&place, "tun0")["note"].clone();
        let note = note.as_str().unwrap_or_default();
        note.contains("nor can nftables guard: nftables: nft refused the rules")
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.output()));
    assert_eq!(inside.run("nft list tables inet").unwrap(), "");
    assert_eq!(place.json("status")["backend"], "xdp");
    stop(daemon);
}

fn which(name: &str) -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap();
    let mut all = std::env::split_paths(&folders).map(|folder| folder.join(name));
    all.find(|path| fs::metadata(path).is_ok()).unwrap()
}
