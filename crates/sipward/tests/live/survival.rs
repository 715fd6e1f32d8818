//! Bans outlive the daemon, and the ledger outlives the pins.

use std::{fs, io::Write as _, net::UdpSocket, time::Duration};

use nix::sys::signal::Signal;
use rusqlite::Connection;
use sipward_testkit::{
    lab::{ATTACKER, Lab, PBX, PHONES},
    process::{Process, wait_until},
    require::{Need, require},
};

use crate::{
    disk,
    place::{PATIENCE, Place, has_xdp, kill, program, stop},
};

const GUARD: &str = "interfaces = [\"eth0\"]";

/// Bans of every kind: a range, a prefix of each family, with and without an end, both scopes, a
/// hole; and an allowance.
fn fill(place: &Place) {
    for line in [
        "ban 87.119.220.200-87.119.220.203 --forever --reason scans",
        "ban 203.0.113.0/25 --for 1h",
        "ban 2001:db8:bad::/48 --for 1d --scope sip",
        "unban 203.0.113.99",
        "allow 198.51.100.0/24",
    ] {
        let said = place.sipward(line);
        assert_eq!(said.code, 0, "{said:?}");
    }
}

#[test]
fn bans_and_allowlist_survive_kill_and_the_loss_of_the_pins() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new(GUARD);
    let daemon = place.start(&lab.pbx);
    fill(&place);
    let (bans, allowed) = (place.bans(), place.json("allowed"));
    assert!(bans.len() > 5 && allowed.as_array().unwrap().len() == 1);

    kill(daemon);
    let daemon = place.start(&lab.pbx);
    assert!(
        !daemon.output().contains("reconcile: "),
        "{}",
        daemon.output()
    );
    assert_eq!(
        (place.bans(), place.json("allowed")),
        (bans.clone(), allowed.clone())
    );

    kill(daemon);
    fs::remove_dir_all(&place.pins).unwrap();
    wait_until("the links to go with their pins", PATIENCE, || {
        !has_xdp(&lab.pbx, "eth0")
    })
    .unwrap();
    let daemon = place.start(&lab.pbx);
    let restored = daemon
        .output()
        .matches("was not in the kernel: restored")
        .count();
    assert_eq!(restored, bans.len(), "{}", daemon.output());
    assert_eq!((place.bans(), place.json("allowed")), (bans, allowed));
    stop(daemon);
}

#[test]
fn what_a_ban_has_dropped_is_in_the_ledger_however_the_daemon_is_told_to_end() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGQUIT] {
        let place = Place::new(disk::XDP);
        let mut daemon = place.start(&lab.pbx);
        assert_eq!(place.sipward(&format!("ban {ATTACKER}")).code, 0);
        disk::attack(&lab);
        daemon.signal(signal);
        daemon.wait(PATIENCE).unwrap();
        let ledger = Connection::open(place.state().join("ledger.db")).unwrap();
        let dropped = "select dropped from ban";
        let dropped: i64 = ledger.query_row(dropped, [], |row| row.get(0)).unwrap();
        assert_eq!(dropped, 50, "{signal}: {}", daemon.output());
        if place.pins.exists() {
            disk::forget_what_is_enforced(&lab, &place);
        }
    }
}

#[test]
fn with_the_daemon_dead_banned_sources_stay_out_and_phones_get_through() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new(GUARD);
    let daemon = place.start(&lab.pbx);
    assert_eq!(place.sipward(&format!("ban {ATTACKER}")).code, 0);
    kill(daemon);

    let pbx = lab.pbx.enter(|| UdpSocket::bind((PBX, 5060)).unwrap());
    pbx.set_read_timeout(Some(PATIENCE)).unwrap();
    let send = |text: &'static [u8]| {
        move || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(text, (PBX, 5060)).unwrap();
        }
    };
    for _ in 0..10 {
        lab.attacker
            .enter(send(b"REGISTER sip:192.0.2.1 SIP/2.0\r\n\r\n"));
    }
    // The phone's packet comes after the attacker's; it is the first to arrive.
    lab.phones
        .enter(send(b"OPTIONS sip:192.0.2.1 SIP/2.0\r\n\r\n"));
    let mut buffer = [0; 100];
    let (_, from) = pbx.recv_from(&mut buffer).unwrap();
    assert_eq!(from.ip().to_string(), PHONES);

    let daemon = place.start(&lab.pbx);
    let dropped = place.json("bans")[0]["dropped_packets"].as_u64().unwrap();
    assert!(dropped >= 10, "{dropped}");
    stop(daemon);
}

#[test]
fn what_the_kernel_and_the_ledger_do_not_agree_about_is_mended_and_logged() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new(GUARD);
    let daemon = place.start(&lab.pbx);
    assert_eq!(place.sipward("ban 192.0.2.77").code, 0);
    kill(daemon);
    // The ledger is lost, the kernel's ban is kept, and the reason why is honestly unknown.
    fs::remove_dir_all(place.state()).unwrap();
    let daemon = place.start(&lab.pbx);
    assert!(
        daemon
            .output()
            .contains("192.0.2.77/32 was not in the ledger: kept")
    );
    let bans = place.bans();
    assert_eq!(bans[0]["prefix"], "192.0.2.77/32");
    assert!(
        bans[0]["reason"]
            .as_str()
            .unwrap()
            .contains("found in the kernel")
    );
    stop(daemon);
}

#[test]
fn a_clean_stop_leaves_nothing_but_the_ledger() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new(GUARD);
    let daemon = place.start(&lab.pbx);
    assert!(has_xdp(&lab.pbx, "eth0"));
    fill(&place);
    let bans = place.bans();
    stop(daemon);
    assert!(!has_xdp(&lab.pbx, "eth0"));
    assert!(!place.pins.exists() && !place.socket().exists());
    let daemon = place.start(&lab.pbx);
    assert_eq!(place.bans(), bans);
    stop(daemon);
}

/// The socket is there before the program is loaded.
#[test]
fn a_stop_during_the_start_is_as_clean_as_one_later() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new(GUARD);
    let mut command = lab.pbx.command(program());
    let daemon = Process::spawn(command.args(place.run_arguments())).unwrap();
    wait_until("the control socket", PATIENCE, || place.socket().exists()).unwrap();
    stop(daemon);
    assert!(!has_xdp(&lab.pbx, "eth0"));
    assert!(!place.pins.exists() && !place.socket().exists());
}

#[test]
fn a_reload_takes_effect_and_a_bad_one_changes_nothing() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new(GUARD);
    let mut daemon = place.start(&lab.pbx);
    assert_eq!(place.json("status")["mode"], "protect");

    place.configure(
        "interfaces = [\"eth0\"]\nmode = \"observe\"\nallow.addresses = [\"192.0.2.5\"]",
    );
    daemon.signal(Signal::SIGHUP);
    daemon
        .wait_for("the reload", PATIENCE, |log| log.contains("is in force"))
        .unwrap();
    assert_eq!(place.json("status")["mode"], "observe");
    assert_eq!(place.json("allowed")[0]["prefix"], "192.0.2.5/32");

    place.configure("mod = \"protect\"");
    daemon.signal(Signal::SIGHUP);
    daemon
        .wait_for("the refusal", PATIENCE, |log| {
            log.contains("in force stays")
        })
        .unwrap();
    assert_eq!(place.json("status")["mode"], "observe");
    assert!(place.json("status")["uptime_seconds"].as_u64() < Some(PATIENCE.as_secs()));
    stop(daemon);
}

#[test]
fn nobody_waits_for_a_configuration_that_is_slow_to_read() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new(GUARD);
    let mut daemon = place.start(&lab.pbx);
    fs::remove_file(place.config()).unwrap();
    nix::unistd::mkfifo(&place.config(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    daemon.signal(Signal::SIGHUP);
    // Comes to its end once the daemon reads it.
    let mut config = fs::OpenOptions::new()
        .write(true)
        .open(place.config())
        .unwrap();
    let status = place.json("status");
    assert_eq!(status["mode"], "protect");
    assert!(status["reloading_seconds"].is_u64(), "{status}");
    assert_eq!(place.sipward(&format!("ban {ATTACKER}")).code, 0);
    config
        .write_all(b"interfaces = [\"eth0\"]\nmode = \"observe\"\n")
        .unwrap();
    drop(config);
    daemon
        .wait_for("the reload", PATIENCE, |log| log.contains("is in force"))
        .unwrap();
    let status = place.json("status");
    assert_eq!(status["mode"], "observe");
    assert!(status["reloading_seconds"].is_null(), "{status}");
    stop(daemon);
}

/// A ban's end is kept by the kernel itself.
#[test]
fn a_ban_lapses_with_the_daemon_dead() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new(GUARD);
    let daemon = place.start(&lab.pbx);
    assert_eq!(place.sipward(&format!("ban {ATTACKER} --for 2s")).code, 0);
    kill(daemon);
    let pbx = lab.pbx.enter(|| UdpSocket::bind((PBX, 5060)).unwrap());
    pbx.set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    wait_until("the ban to lapse", PATIENCE, || {
        lab.attacker.enter(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket
                .send_to(b"OPTIONS sip:192.0.2.1 SIP/2.0\r\n\r\n", (PBX, 5060))
                .unwrap();
        });
        pbx.recv_from(&mut [0; 100]).is_ok()
    })
    .unwrap();
    let daemon = place.start(&lab.pbx);
    assert_eq!(place.bans(), Vec::<serde_json::Value>::new());
    assert_eq!(place.json("bans --history")[0]["ended_by"], "lapsed");
    stop(daemon);
}
