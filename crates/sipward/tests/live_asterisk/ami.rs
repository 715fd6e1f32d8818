//! The manager interface of a real Asterisk.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sipward_testkit::{
    asterisk::{Asterisk, Driver, MANAGER_SECRET, MANAGER_USER, Settings, make_certificate},
    guard::Guard,
    lab::{Lab, PHONES},
    phone::{Phones, Task},
    process::wait_until,
    require::{Need, require},
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
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
    let (told_before, logged_before) = settled(&told, &asterisk);
    for _ in 0..3 {
        register(&lab);
    }
    wait_until("each event to be shown", PATIENCE, || {
        let logged = said(
            &asterisk.log("security"),
            "SecurityEvent=\"SuccessfulAuth\"",
        );
        logged == logged_before + 3 && told("SuccessfulAuth") >= told_before + 3
    })
    .unwrap();
    assert_eq!(
        told("SuccessfulAuth"),
        told_before + 3,
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
    wait_until("an event after the restart", PATIENCE, || {
        told("SuccessfulAuth") == before + 1
    })
    .unwrap();
    let logged = said(
        &asterisk.log("security"),
        "SecurityEvent=\"SuccessfulAuth\"",
    );
    assert_eq!(logged, 1);
}

/// The events shown and the lines logged, once everything that was logged is shown.
fn settled(told: &dyn Fn(&str) -> usize, asterisk: &Asterisk) -> (usize, usize) {
    let mut last = (0, 0);
    wait_until("the events to be all there", PATIENCE, || {
        let logged = said(
            &asterisk.log("security"),
            "SecurityEvent=\"SuccessfulAuth\"",
        );
        let now = (told("SuccessfulAuth"), logged);
        std::mem::replace(&mut last, now) == now
    })
    .unwrap();
    last
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
    let refused = || {
        let log = asterisk.log("security");
        log.lines()
            .filter(|line| line.contains("ChallengeResponseFailed"))
            .count()
    };
    assert_eq!(refused(), 1, "{}", asterisk.log("security"));
    // Right again, and read again.
    fs::write(folder.path().join("secret"), format!("{MANAGER_SECRET}\n")).unwrap();
    let pid = i32::try_from(guard.pid().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGHUP).unwrap();
    assert_eq!(wait_for(&guard, "on"), "");
    assert_eq!(refused(), 1);
}
