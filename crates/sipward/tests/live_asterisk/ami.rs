//! The manager interface of a real Asterisk.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sipward_testkit::{
    asterisk::{Asterisk, Driver, MANAGER_SECRET, MANAGER_USER, Settings, make_certificate},
    guard::Guard,
    lab::{ATTACKER, Lab, PBX, PHONES},
    phone::{Phones, Task},
    process::{Process, wait_until},
    require::{Need, require},
    user_agent::UserAgents,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
/// A login, in Asterisk's log.
const LOGGED: &str = "SecurityEvent=\"SuccessfulAuth\"";
/// A trunk that no message is ever exchanged with.
const TRUNK: &str = "[trunk]\ntype = peer\nhost = 198.51.100.77\nqualify = no\n\
                     [200]\ntype = friend\nhost = dynamic\npermit = 0.0.0.0/0.0.0.0\n";

fn can_run() -> bool {
    require(&[Need::Root, Need::Asterisk, Need::Program("sipp")])
}

/// Asterisk, its manager interface over TLS, too, and a trunk that only it knows of.
fn settings() -> Settings {
    let manager = "[general](+)\ntlsenable = yes\ntlsbindaddr = 127.0.0.1:5039\n\
                   tlscertfile = /srv/etc/tls.crt\ntlsprivatekey = /srv/etc/tls.key\n";
    let mut settings = Settings {
        tls_and_web_socket: Some(Driver::Pjsip),
        ..Settings::default()
    };
    settings.appended.extend([
        ("sip.conf", TRUNK.to_owned()),
        ("manager.conf", manager.to_owned()),
    ]);
    settings
}

fn guard<'a>(lab: &'a Lab, folder: &Path, secret: &str, more: &str) -> Guard<'a> {
    let file = folder.join("secret");
    fs::write(&file, format!("{secret}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let config = format!(
        "[asterisk]\nconfig-dir = \"/nonexistent\"\n[asterisk.ami]\nuser = \"{MANAGER_USER}\"\n\
         secret-file = \"{}\"\n{more}\n",
        file.display()
    );
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    Guard::start_with(program, &lab.pbx, &config).unwrap()
}

/// Waits until `status` has the sensor so, and returns its note.
fn wait_for(guard: &Guard<'_>, state: &str) -> String {
    let sensor = || guard.json(&["status"]).unwrap()["sensors"]["ami"].clone();
    wait_until(
        &format!("the manager interface to be {state}"),
        PATIENCE,
        || sensor()["state"] == state,
    )
    .unwrap();
    sensor()["note"].as_str().unwrap_or_default().to_owned()
}

fn register(lab: &Lab) {
    Phones::one(
        PHONES.parse().unwrap(),
        Driver::ChanSip.address(),
        Task::Register,
    )
    .start(&lab.phones)
    .unwrap()
    .finish(PATIENCE)
    .unwrap();
}

/// Lines in which this is said of the phones.
fn said(text: &str, event: &str) -> usize {
    let lines = text.lines();
    lines
        .filter(|line| line.contains(event) && line.contains(PHONES))
        .count()
}

#[test]
fn events_come_once_and_again_after_a_restart_of_asterisk() {
    if !can_run() {
        return;
    }
    let lab = Lab::new().unwrap();
    let folder = TempDir::new().unwrap();
    let asterisk = Asterisk::start(&lab.pbx, &settings()).unwrap();
    let guard = guard(&lab, folder.path(), MANAGER_SECRET, "");
    assert_eq!(wait_for(&guard, "on"), "");
    let trunk = || {
        let allowed = guard.json(&["allowed"]).unwrap();
        let allowed = allowed.as_array().unwrap();
        let entries = allowed
            .iter()
            .map(|entry| format!("{} {}", entry["prefix"], entry["origin"]));
        entries.collect::<Vec<_>>()
    };
    wait_until("the trunk to be allowed", PATIENCE, || !trunk().is_empty()).unwrap();
    assert_eq!(trunk(), [r#""198.51.100.77/32" "asterisk""#]);

    let watch = guard.spawn(&["watch", "--json"]).unwrap();
    // What `watch` shows begins with the first registration that it shows.
    let told = |event: &str| said(&watch.output(), &format!("Event: {event},"));
    wait_until("an event to be shown", PATIENCE, || {
        register(&lab);
        told("SuccessfulAuth") > 0
    })
    .unwrap();
    let mut marks = Marks::new(&lab);
    let logged = |asterisk: &Asterisk| said(&asterisk.log("security"), LOGGED);
    marks.pass(&watch, &asterisk);
    let (told_before, logged_before) = (told("SuccessfulAuth"), logged(&asterisk));
    for _ in 0..3 {
        register(&lab);
    }
    marks.pass(&watch, &asterisk);
    // A phone that was not answered in time has asked again.
    let new = logged(&asterisk) - logged_before;
    assert!(new >= 3, "{new}");
    assert_eq!(
        told("SuccessfulAuth"),
        told_before + new,
        "{}",
        watch.output()
    );

    asterisk.stop().unwrap();
    let note = wait_for(&guard, "waiting");
    assert!(note.starts_with("tester@127.0.0.1:5038: "), "{note}");
    let asterisk = Asterisk::start(&lab.pbx, &settings()).unwrap();
    wait_for(&guard, "on");
    let before = told("SuccessfulAuth");
    register(&lab);
    marks.pass(&watch, &asterisk);
    let new = logged(&asterisk);
    assert!(new >= 1, "{new}");
    assert_eq!(told("SuccessfulAuth"), before + new, "{}", watch.output());
}

/// Events that are known from all others: what came before one of them is there once it is.
struct Marks<'a> {
    strangers: UserAgents<'a>,
    last: u16,
}

impl<'a> Marks<'a> {
    fn new(lab: &'a Lab) -> Self {
        let strangers = UserAgents::new(lab).unwrap();
        Self { strangers, last: 0 }
    }

    /// Waits until all events up to now are logged and shown.
    fn pass(&mut self, watch: &Process, asterisk: &Asterisk) {
        self.last += 1;
        let source = format!("{ATTACKER}:{}", 30_000 + self.last);
        let request = format!(
            "REGISTER sip:{PBX} SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK{}\r\n\
             From: <sip:101@{PBX}>;tag=1\r\nTo: <sip:101@{PBX}>\r\nCall-ID: {source}\r\n\
             CSeq: 1 REGISTER\r\nContact: <sip:101@{source}>\r\nMax-Forwards: 70\r\n\
             Content-Length: 0\r\n\r\n",
            self.last
        );
        let server = Driver::ChanSip.address();
        self.strangers
            .send(source.parse().unwrap(), server, request.as_bytes())
            .unwrap();
        let logged = format!("IPV4/UDP/{}", source.replace(':', "/"));
        asterisk
            .wait_for_log("security", PATIENCE, |log| log.contains(&logged))
            .unwrap();
        // The packet itself is shown, too.
        let is_mark = |line: &str| line.contains(&source) && line.contains("Event: ");
        wait_until("the mark to be shown", PATIENCE, || {
            watch.output().lines().any(is_mark)
        })
        .unwrap();
    }
}

#[test]
fn the_interface_speaks_tls_to_whom_its_certificate_is_known() {
    if !can_run() {
        return;
    }
    let lab = Lab::new().unwrap();
    let folder = TempDir::new().unwrap();
    let asterisk = Asterisk::start(&lab.pbx, &settings()).unwrap();
    let certificate = folder.path().join("ca.pem");
    fs::write(&certificate, asterisk.certificate().unwrap()).unwrap();
    let tls = format!("tls = true\nca-file = \"{}\"", certificate.display());
    let known = guard(&lab, folder.path(), MANAGER_SECRET, &tls);
    assert_eq!(wait_for(&known, "on"), "");
    drop(known);

    // The certificate of another Asterisk.
    let other = TempDir::new().unwrap();
    make_certificate(other.path()).unwrap();
    fs::copy(other.path().join("tls.crt"), &certificate).unwrap();
    let unknown = guard(&lab, folder.path(), MANAGER_SECRET, &tls);
    let note = wait_for(&unknown, "waiting");
    assert!(note.contains("TLS: invalid peer certificate"), "{note}");
}

#[test]
fn a_wrong_secret_is_told_and_not_tried_again_at_once() {
    if !can_run() {
        return;
    }
    let lab = Lab::new().unwrap();
    let folder = TempDir::new().unwrap();
    let asterisk = Asterisk::start(&lab.pbx, &Settings::default()).unwrap();
    let guard = guard(&lab, folder.path(), "another-secret", "");
    let note = wait_for(&guard, "refused");
    assert_eq!(
        note,
        "tester@127.0.0.1:5038: the login is refused: Authentication failed"
    );
    let refused = |log: &str| {
        log.matches("SecurityEvent=\"ChallengeResponseFailed\"")
            .count()
    };
    // Asterisk answers first, and logs then.
    asterisk
        .wait_for_log("security", PATIENCE, |log| refused(log) > 0)
        .unwrap();
    assert_eq!(refused(&asterisk.log("security")), 1);
    // Right again, and read again.
    fs::write(folder.path().join("secret"), format!("{MANAGER_SECRET}\n")).unwrap();
    let pid = i32::try_from(guard.pid().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGHUP).unwrap();
    assert_eq!(wait_for(&guard, "on"), "");
    asterisk
        .wait_for_log("security", PATIENCE, |log| log.contains(LOGGED))
        .unwrap();
    assert_eq!(refused(&asterisk.log("security")), 1);
}
