//! The disk of the ledger: full, read-only, or with a damaged file on it. The daemon guards on, says
//! what is wrong, and in the end nothing is lost.

use std::{
    fs::{self, File},
    io::Write as _,
    net::UdpSocket,
    path::{Path, PathBuf},
    process::Command,
};

use rusqlite::Connection;
use serde_json::Value;
use sipward_testkit::{
    count::PacketCounter,
    lab::{ATTACKER, Lab, PBX},
    process::wait_until,
    require::{Need, require},
};

use crate::place::{PATIENCE, Place, has_xdp, kill, stop};

pub const XDP: &str = "interfaces = [\"eth0\"]\nbackend = \"xdp\"";
pub const NFTABLES: &str = "interfaces = [\"eth0\"]\nbackend = \"nftables\"";
/// Banned by hand before anything goes wrong; the attacker is one of them.
const BEFORE: &str = "ban 203.0.113.7 203.0.113.64/27 2001:db8:bad::/48 --for 2h --reason before";

/// A small disk of its own in the place of a folder.
struct Disk {
    folder: PathBuf,
}

impl Disk {
    fn mount(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let folder = folder.to_owned();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m,mode=700", "sipward-test"])
            .arg(&folder));
        Self { folder }
    }

    fn is_writable(&self, writable: bool) {
        let option = if writable { "remount,rw" } else { "remount,ro" };
        run(Command::new("mount").args(["-o", option]).arg(&self.folder));
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Takes the last byte of it.
    fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        for length in [65_536, 4_096, 1] {
            while filler.write_all(&vec![0; length]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(&self.folder)
            .status();
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

fn send(lab: &Lab, from: &str, text: &str, times: usize) {
    lab.attacker.enter(|| {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        for _ in 0..times {
            socket.send_to(text.as_bytes(), (PBX, 5060)).unwrap();
        }
    });
}

/// A scanner's request; over nftables a first one comes through and is found by the tap.
fn scan(lab: &Lab, from: &str) {
    let text = "OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n";
    send(lab, from, text, 1);
}

/// Packets of who was banned before, who looks harmless.
pub fn attack(lab: &Lab) {
    send(lab, ATTACKER, "OPTIONS sip:192.0.2.1 SIP/2.0\r\n\r\n", 50);
}

fn ledger_state(place: &Place) -> String {
    let status = place.json("status");
    status["ledger"]["state"].as_str().unwrap().to_owned()
}

fn wait_for_ledger(place: &Place, state: &str) {
    wait_until(&format!("the ledger to be {state}"), PATIENCE, || {
        ledger_state(place) == state
    })
    .unwrap();
}

/// The ban of exactly this prefix.
fn ban_of(place: &Place, prefix: &str) -> Value {
    let bans = place.bans().into_iter();
    let mut found = bans.filter(|ban| ban["prefix"] == prefix);
    found.next().unwrap_or_else(|| panic!("no ban of {prefix}"))
}

/// What is enforced goes, as in a reboot.
pub fn forget_what_is_enforced(lab: &Lab, place: &Place) {
    if place.pins.exists() {
        fs::remove_dir_all(&place.pins).unwrap();
        wait_until("the links to go with their pins", PATIENCE, || {
            !has_xdp(&lab.pbx, "eth0")
        })
        .unwrap();
    } else {
        lab.pbx.run("nft delete table inet sipward").unwrap();
    }
}

fn told(log: &str) -> usize {
    log.matches("cannot write the ledger").count()
}

fn a_full_disk(configuration: &str) {
    if !require(&[Need::Root, Need::Program("nft"), Need::Program("iptables")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new(configuration);
    let disk = Disk::mount(&place.state());
    let daemon = place.start(&lab.pbx);
    assert_eq!(place.sipward(BEFORE).code, 0);
    let counter = PacketCounter::new(&lab.pbx, ATTACKER, 5060).unwrap();

    disk.fill();
    for last in 10..40 {
        scan(&lab, &format!("203.0.113.{last}"));
    }
    for last in 10..40 {
        place.wait_for_ban(&format!("203.0.113.{last}/32"));
    }
    wait_for_ledger(&place, "unwritable");
    let by_hand = place.sipward("ban 203.0.113.50 --reason later");
    assert_eq!(by_hand.code, 2, "{by_hand:?}");
    for part in ["in force now", "not survive a reboot", "full"] {
        assert!(by_hand.stderr.contains(part), "no {part:?}: {by_hand:?}");
    }
    let allowed = place.sipward("allow 198.51.100.0/24");
    assert_eq!((allowed.code, allowed.stderr.contains("full")), (2, true));
    assert!(place.sipward("status").stdout.contains("NOT WRITTEN"));
    attack(&lab);
    assert_eq!(told(&daemon.output()), 1, "{}", daemon.output());

    // Started anew on the full disk it knows what was written, and keeps what was not.
    kill(daemon);
    attack(&lab);
    let daemon = place.start(&lab.pbx);
    attack(&lab);
    wait_for_ledger(&place, "unwritable");
    assert_eq!(ban_of(&place, "203.0.113.7/32")["reason"], "before");
    ban_of(&place, "203.0.113.50/32");
    scan(&lab, "203.0.113.60");
    place.wait_for_ban("203.0.113.60/32");
    assert!(place.bans().len() >= 35, "{:?}", place.bans());

    disk.free();
    wait_for_ledger(&place, "ok");
    let bans = place.bans();
    kill(daemon);
    forget_what_is_enforced(&lab, &place);
    let passed = counter.packets().unwrap();
    let daemon = place.start(&lab.pbx);
    assert_eq!(place.bans(), bans);
    attack(&lab);
    assert_eq!((passed, counter.packets().unwrap()), (0, 0));
    stop(daemon);
}

#[test]
fn on_a_full_disk_it_guards_with_xdp_and_writes_all_of_it_later() {
    a_full_disk(XDP);
}

#[test]
fn on_a_full_disk_it_guards_with_nftables_and_writes_all_of_it_later() {
    a_full_disk(NFTABLES);
}

/// Without a journal, as a clean stop leaves it, and with one, as a crash does.
#[test]
fn a_ledger_on_a_read_only_disk_is_read_and_written_once_that_is_possible() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    for ends in [stop as fn(_) -> String, |daemon| {
        kill(daemon);
        String::new()
    }] {
        let place = Place::new(XDP);
        let disk = Disk::mount(&place.state());
        let daemon = place.start(&lab.pbx);
        assert_eq!(place.sipward(BEFORE).code, 0);
        ends(daemon);
        disk.is_writable(false);
        if place.pins.exists() {
            forget_what_is_enforced(&lab, &place);
        }
        let daemon = place.start(&lab.pbx);
        assert_eq!(ban_of(&place, "203.0.113.7/32")["reason"], "before");
        assert_eq!(place.bans().len(), 3);
        let said = place.sipward("ban 203.0.113.50");
        assert_eq!(said.code, 2, "{said:?}");
        assert_eq!(ledger_state(&place), "unwritable");
        assert_eq!(told(&daemon.output()), 1, "{}", daemon.output());

        disk.is_writable(true);
        wait_for_ledger(&place, "ok");
        let bans = place.bans();
        kill(daemon);
        forget_what_is_enforced(&lab, &place);
        let daemon = place.start(&lab.pbx);
        assert_eq!(place.bans(), bans);
        assert_eq!(bans.len(), 4);
        stop(daemon);
    }
}

/// A way to spoil the file, and its name.
type Damage = (&'static str, fn(&Path));

/// Cut off in the middle, nothing like a database, a broken page, and emptied with its journal.
fn damages() -> [Damage; 4] {
    [
        ("cut off", |ledger| {
            checkpoint(ledger);
            let file = File::options().write(true).open(ledger).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }),
        ("garbage", |ledger| {
            checkpoint(ledger);
            fs::write(ledger, b"this is no database at all".repeat(1_000)).unwrap();
        }),
        ("a broken page", |ledger| {
            checkpoint(ledger);
            let mut content = fs::read(ledger).unwrap();
            content[4_096..4_296].fill(0x5a);
            fs::write(ledger, content).unwrap();
        }),
        ("emptied beside its journal", |ledger| {
            File::create(ledger).unwrap();
        }),
    ]
}

/// Puts the journal into the file, as SQLite does now and then.
fn checkpoint(ledger: &Path) {
    let connection = Connection::open(ledger).unwrap();
    let sql = "pragma wal_checkpoint(truncate)";
    connection.query_row(sql, [], |_| Ok(())).unwrap();
}

#[test]
fn a_damaged_ledger_is_kept_aside_and_what_the_kernel_holds_stays_in_force() {
    if !require(&[Need::Root, Need::Program("iptables")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new(XDP);
    let ledger = place.state().join("ledger.db");
    let mut daemon = place.start(&lab.pbx);
    let counter = PacketCounter::new(&lab.pbx, ATTACKER, 5060).unwrap();
    assert_eq!(place.sipward(BEFORE).code, 0);
    for (number, (what, damage)) in (1..).zip(damages()) {
        kill(daemon);
        damage(&ledger);
        let damaged = fs::read(&ledger).unwrap();
        attack(&lab);
        daemon = place.start(&lab.pbx);
        attack(&lab);
        assert_eq!(counter.packets().unwrap(), 0, "{what}");
        assert_eq!(place.bans().len(), 3, "{what}");
        let aside = place.state().join(format!("ledger.db.damaged-{number}"));
        assert!(fs::read(&aside).unwrap() == damaged, "{what}: changed");
        let note = place.json("status")["ledger"]["note"].to_string();
        assert!(note.contains(aside.to_str().unwrap()), "{what}: {note}");
        assert!(
            daemon.output().contains(aside.to_str().unwrap()),
            "{what}: {}",
            daemon.output()
        );
    }
    stop(daemon);
}

#[test]
fn a_damaged_ledger_on_a_full_disk_is_copied_once_there_is_room() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new(XDP);
    let disk = Disk::mount(&place.state());
    let daemon = place.start(&lab.pbx);
    assert_eq!(place.sipward(BEFORE).code, 0);
    kill(daemon);
    let ledger = place.state().join("ledger.db");
    let [_, _, (_, break_page), _] = damages();
    break_page(&ledger);
    let damaged = fs::read(&ledger).unwrap();
    disk.fill();
    // Room enough to see that it is damaged: SQLite makes an index of 32 kB beside it.
    let filler = File::options().write(true).open(disk.filler()).unwrap();
    let filled = filler.metadata().unwrap().len();
    filler.set_len(filled - 65_536).unwrap();
    drop(filler);
    let daemon = place.start(&lab.pbx);
    // What the disk says before anything is copied; SQLite calls it full.
    let said = place.sipward("ban 203.0.113.50");
    let is_told = said.stderr.contains("No space left on device");
    assert_eq!((said.code, is_told), (2, true), "{said:?}");
    assert!(fs::read(&ledger).unwrap() == damaged, "it was changed");

    disk.free();
    wait_for_ledger(&place, "ok");
    assert_eq!(place.bans().len(), 4);
    let aside = place.state().join("ledger.db.damaged-1");
    assert!(fs::read(aside).unwrap() == damaged, "it was changed");
    stop(daemon);
}

#[test]
fn the_ledger_of_a_newer_version_is_refused_and_protection_stays() {
    if !require(&[Need::Root, Need::Program("iptables")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new(XDP);
    let daemon = place.start(&lab.pbx);
    let counter = PacketCounter::new(&lab.pbx, ATTACKER, 5060).unwrap();
    assert_eq!(place.sipward(BEFORE).code, 0);
    kill(daemon);
    let ledger = place.state().join("ledger.db");
    let connection = Connection::open(&ledger).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let written = fs::read(&ledger).unwrap();
    let said = place.refused(&lab.pbx, &[]);
    said.assert_one_line(
        2,
        &[
            "ledger.db",
            "newer sipward",
            "--state-dir",
            "sipward export",
        ],
    );
    assert!(fs::read(&ledger).unwrap() == written, "changed");
    attack(&lab);
    assert_eq!(counter.packets().unwrap(), 0);
    assert!(has_xdp(&lab.pbx, "eth0"));
}
