//! As a service of a real systemd, installed as the README says.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
};

use serde_json::Value;
use sipward_testkit::{
    count::PacketCounter,
    flood::{SCANNER, Trickle},
    lab::{ATTACKER, Lab},
    process::{Finished, Process, read_lossy, wait_until},
    require::{Need, require, skip},
    systemd::Systemd,
};
use tempfile::TempDir;

use crate::place::{PATIENCE, Place, has_xdp, program, stop};

const CONFIGURATION: &str = "/etc/sipward/sipward.toml";
const LOG: &str = "/run/sipward.log";
const RESTARTS: usize = 3;
const OTHERS_LOCK: &str = "/run/sipward/interfaces/1-1";

/// The lines that the README has an administrator type.
fn installation() -> String {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let (before, after) = readme.split_once("systemctl enable").unwrap();
    let begin = before.rfind("```sh\n").unwrap() + "```sh\n".len();
    let end = before.len() + "systemctl enable".len() + after.find("```").unwrap();
    readme[begin..end].to_owned()
}

fn repository() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap()
}

/// What the service may, by the names of setpriv(1).
fn capabilities() -> Vec<String> {
    let unit = fs::read_to_string(repository().join("packaging/sipward.service")).unwrap();
    let setting = "CapabilityBoundingSet=";
    let line = unit.lines().find_map(|line| line.strip_prefix(setting));
    let names = line.unwrap().split_whitespace();
    names
        .map(|name| name.strip_prefix("CAP_").unwrap().to_ascii_lowercase())
        .collect()
}

/// A machine whose systemd has the service.
struct Machine<'a> {
    lab: &'a Lab,
    systemd: Systemd,
    sources: TempDir,
}

impl<'a> Machine<'a> {
    fn new(lab: &'a Lab, configuration: &str) -> Option<Self> {
        let systemd = match Systemd::boot(&lab.pbx) {
            Ok(systemd) => systemd,
            Err(error) => {
                skip(&format!("no systemd of its own: {error:#}"));
                return None;
            }
        };
        // As it is after `make build`.
        let sources = TempDir::new().unwrap();
        let built = sources.path().join("target/release");
        fs::create_dir_all(&built).unwrap();
        fs::copy(program(), built.join("sipward")).unwrap();
        let units = sources.path().join("packaging");
        fs::create_dir(&units).unwrap();
        for unit in fs::read_dir(repository().join("packaging")).unwrap() {
            let unit = unit.unwrap();
            fs::copy(unit.path(), units.join(unit.file_name())).unwrap();
        }
        let machine = Self {
            lab,
            systemd,
            sources,
        };
        machine.write(CONFIGURATION, configuration);
        // There is no journal.
        machine.write(
            "/etc/systemd/system/sipward.service.d/log.conf",
            &format!("[Service]\nStandardError=append:{LOG}\n"),
        );
        Some(machine)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.systemd.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn ask(&self, line: &str) -> Finished {
        self.systemd.shell(self.sources.path(), line).unwrap()
    }

    fn run(&self, line: &str) -> String {
        let said = self.ask(line);
        let shown = (&said.stdout, &said.stderr, self.log());
        assert!(said.status.success(), "{line}: {}, {shown:?}", said.status);
        said.stdout
    }

    fn log(&self) -> String {
        read_lossy(&self.systemd.path(LOG))
    }

    /// What systemd has noted of a unit.
    fn property(&self, unit: &str, name: &str) -> String {
        let shown = self.run(&format!("systemctl show --property={name} --value {unit}"));
        shown.trim().to_owned()
    }

    fn state(&self, unit: &str) -> String {
        self.property(unit, "ActiveState")
    }

    /// The bans in force without their counters.
    fn bans(&self) -> Vec<Value> {
        let mut bans: Value = serde_json::from_str(&self.run("sipward bans --json")).unwrap();
        let bans = bans.as_array_mut().unwrap();
        for ban in &mut *bans {
            let ban = ban.as_object_mut().unwrap();
            ban.retain(|name, _| name != "dropped_packets" && name != "signature_hits");
        }
        std::mem::take(bans)
    }

    fn wait_for_mode(&self, mode: &str) {
        let waited = wait_until(&format!("mode {mode}"), PATIENCE, || {
            let status: Value = serde_json::from_str(&self.run("sipward status --json")).unwrap();
            status["mode"] == mode
        });
        waited.unwrap_or_else(|error| panic!("{error}: {}", self.log()));
    }

    /// Until the unit of what is enforced has removed all of it.
    fn wait_for_no_leftovers(&self) {
        self.wait_for_no_enforcement_unit();
        assert!(!self.systemd.path("/sys/fs/bpf/sipward").exists());
    }

    fn wait_for_no_enforcement_unit(&self) {
        wait_until("nothing to be left to remove", PATIENCE, || {
            self.state("sipward-enforcement") == "inactive"
        })
        .unwrap();
    }

    fn is_enforced(&self) -> bool {
        let tables = self.lab.pbx.run("nft list tables").unwrap();
        has_xdp(&self.lab.pbx, "eth0") || tables.contains("table inet sipward")
    }
}

/// What the restarts were, if this machine can show them.
fn a_service(configuration: &str) -> Option<String> {
    let needs = [
        Need::Root,
        Need::Program("iptables"),
        Need::Program("nft"),
        Need::Program("systemctl"),
    ];
    if !require(&needs) {
        return None;
    }
    let lab = Lab::new().unwrap();
    let machine = Machine::new(&lab, configuration)?;
    machine.run(&installation());
    assert!(machine.is_enforced());
    let verified = machine.ask("systemd-analyze verify /etc/systemd/system/sipward*.service");
    assert!(verified.status.success(), "{}", verified.stderr);
    assert_eq!(verified.stderr, "");

    machine.run(&format!(
        "sipward ban {ATTACKER} 2001:db8:bad::/48 --for 2h"
    ));
    let counter = PacketCounter::new(&lab.pbx, ATTACKER, 5060).unwrap();
    let flood = Trickle::start(&lab).unwrap();
    let scanner = format!("{SCANNER}/32");
    let is_banned = || machine.bans().iter().any(|ban| ban["prefix"] == *scanner);
    wait_until("the scanner's ban", PATIENCE, is_banned).unwrap();
    // As of another sipward, which guards another interface.
    machine.write(OTHERS_LOCK, "1");
    let bans = machine.bans();
    assert_eq!(bans.len(), 3);

    let begun = flood.sent();
    for _ in 0..RESTARTS {
        machine.run("systemctl restart sipward");
        assert_eq!(machine.bans(), bans);
    }
    let during = flood.sent() - begun;
    // Dead without a word: systemd starts it again.
    let before = machine.property("sipward", "MainPID");
    machine.run(&format!("kill -KILL {before}"));
    wait_until("systemd to start it again", PATIENCE, || {
        let is_new = machine.property("sipward", "MainPID") != before;
        is_new && machine.state("sipward") == "active"
    })
    .unwrap();
    assert_eq!(machine.bans(), bans);
    flood.go_on(100).unwrap();
    assert_eq!(counter.packets().unwrap(), 0, "{}", machine.log());
    assert!(!machine.log().contains("reconcile: "), "{}", machine.log());

    // A mistake is told to who reloads, and changes nothing.
    machine.write(CONFIGURATION, "mode = \"protekt\"\n");
    let refused = machine.ask("systemctl reload sipward");
    assert!(!refused.status.success());
    assert_eq!(machine.state("sipward"), "active");
    machine.write(
        CONFIGURATION,
        &format!("mode = \"observe\"\n{configuration}"),
    );
    machine.run("systemctl reload sipward");
    machine.wait_for_mode("observe");
    machine.write(CONFIGURATION, configuration);
    machine.run("systemctl reload sipward");
    machine.wait_for_mode("protect");
    let observed = counter.packets().unwrap();

    // One that keeps it from starting leaves in force what is, until the file is mended.
    machine.write(CONFIGURATION, "mode = \"protekt\"\n");
    assert!(!machine.ask("systemctl restart sipward").status.success());
    flood.go_on(100).unwrap();
    assert!(machine.is_enforced());
    assert_eq!(counter.packets().unwrap(), observed, "{}", machine.log());
    machine.write(CONFIGURATION, configuration);
    wait_until("a start by itself", PATIENCE, || {
        machine.state("sipward") == "active"
    })
    .unwrap();
    assert_eq!(machine.bans(), bans);

    // A stop is one, and whoever starts next has the bans again, and keeps what is enforced.
    machine.run("systemctl stop sipward");
    assert!(!machine.is_enforced(), "{}", machine.log());
    machine.wait_for_no_leftovers();
    assert!(machine.systemd.path(OTHERS_LOCK).exists());
    let by_hand = machine.run("sipward run >/run/by-hand 2>&1 & echo $!");
    wait_until("a start by hand", PATIENCE, || {
        machine.ask("sipward status").status.success()
    })
    .unwrap();
    machine.run("systemctl start sipward-enforcement");
    machine.wait_for_no_enforcement_unit();
    assert!(machine.is_enforced());
    assert_eq!(machine.bans(), bans);
    let by_hand = by_hand.trim();
    machine.run(&format!(
        "kill -QUIT {by_hand}; tail --pid={by_hand} --follow /dev/null"
    ));
    assert!(machine.is_enforced());
    machine.run("systemctl start sipward");
    assert_eq!(machine.bans(), bans);

    // One that is dead leaves what is enforced to the stop.
    machine.write(CONFIGURATION, "mode = \"protekt\"\n");
    assert!(!machine.ask("systemctl restart sipward").status.success());
    assert!(machine.is_enforced());
    machine.run("systemctl stop sipward");
    machine.wait_for_no_leftovers();
    assert!(!machine.is_enforced());
    drop(flood);
    Some(format!(
        "{RESTARTS} restarts, {during} packets sent during them, none came through"
    ))
}

#[test]
fn with_xdp_a_restart_by_systemd_lets_no_banned_packet_through() {
    let shown = a_service("backend = \"xdp\"\n");
    println!("XDP: {}", shown.unwrap_or_default());
}

#[test]
fn with_nftables_a_restart_by_systemd_lets_no_banned_packet_through() {
    let shown = a_service("backend = \"nftables\"\n");
    println!("nftables: {}", shown.unwrap_or_default());
}

#[test]
fn the_service_may_do_what_it_needs_and_nothing_else() {
    if !require(&[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    // Asterisk's, and nobody else's to read.
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("security");
    fs::write(&log, "").unwrap();
    for path in [&*log, folder.path()] {
        chown(path, Some(65_534), Some(65_534)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
    }
    let place = Place::new(&format!(
        "interfaces = [\"eth0\"]\nbackend = \"xdp\"\n[asterisk]\nconfig-dir = {:?}\nlogs = [{log:?}]",
        folder.path()
    ));
    let with = |capabilities: &[String]| {
        let mut command = lab.pbx.command("setpriv");
        let set = format!("--bounding-set=-all,+{}", capabilities.join(",+"));
        command.arg(set).arg("--").arg(program());
        command
    };
    let all = capabilities();
    let said = stop(place.start_by(with(&all)));
    assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
    for (at, missing) in all.iter().enumerate() {
        let others = [&all[..at], &all[at + 1..]].concat();
        let mut daemon = Process::spawn(with(&others).args(place.run_arguments())).unwrap();
        let complaint = format!("a complaint without {missing}");
        daemon
            .wait_for(&complaint, PATIENCE, |said| {
                said.contains("error: ") || said.contains("WARN")
            })
            .unwrap();
    }
}
