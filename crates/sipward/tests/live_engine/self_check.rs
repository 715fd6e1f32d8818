//! Somebody takes the shield away behind sipward's back: sipward says so, and mends it.

use std::{
    net::UdpSocket,
    path::Path,
    time::{Duration, Instant},
};

use sipward_testkit::{
    bpf,
    guard::Guard,
    lab::{ATTACKER, Lab},
    process::wait_until,
    require::{Need, require},
};

use crate::guard;

/// Within which `status` has to say it.
const PROMISED: Duration = Duration::from_secs(2);
const PBX: &str = "192.0.2.1:5060";

/// A PBX, whose guard bans the attacker.
struct Scene {
    lab: Lab,
}

impl Scene {
    fn new() -> Option<Self> {
        if !require(&[Need::Root, Need::Program("ip")]) {
            return None;
        }
        Some(Self {
            lab: Lab::new().unwrap(),
        })
    }

    fn guard(&self) -> Guard<'_> {
        let guard = guard(&self.lab.pbx);
        let banned = guard.ask(&["ban", ATTACKER, "--for", "1h"]).unwrap();
        assert!(banned.status.success(), "{}", banned.stderr);
        assert_eq!(state(&guard), ("ok".to_owned(), 0), "{}", guard.log());
        guard
    }

    /// Whether a packet of the attacker reaches the PBX.
    fn reaches(&self) -> bool {
        let pbx = self.lab.pbx.enter(|| UdpSocket::bind(PBX)).unwrap();
        pbx.set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let attacker = self
            .lab
            .attacker
            .enter(|| UdpSocket::bind((ATTACKER, 5070)));
        attacker.unwrap().send_to(b"hello", PBX).unwrap();
        pbx.recv(&mut [0; 16]).is_ok()
    }
}

fn state(guard: &Guard<'_>) -> (String, u64) {
    let status = guard.json(&["status"]).unwrap();
    let enforcement = &status["enforcement"];
    (
        enforcement["state"].as_str().unwrap().to_owned(),
        enforcement["leaked_packets"].as_u64().unwrap(),
    )
}

/// Waits until the state is another than ok; the promise is a time.
fn told_in_time(guard: &Guard<'_>) -> (String, u64) {
    let begin = Instant::now();
    wait_until("another state than ok", 5 * PROMISED, || {
        state(guard).0 != "ok"
    })
    .unwrap();
    let told = begin.elapsed();
    assert!(told < PROMISED, "{told:?}");
    state(guard)
}

/// Waits for a line of the log, and that it is the only one that says so.
fn warned_once(guard: &Guard<'_>, line: &str) {
    wait_until(line, 5 * PROMISED, || guard.log().contains(line)).unwrap();
    assert_eq!(guard.log().matches(line).count(), 1, "{}", guard.log());
}

#[test]
fn a_shield_that_is_detached_is_told_and_put_back() {
    let Some(scene) = Scene::new() else { return };
    let guard = scene.guard();
    bpf::detach(&guard.pin("link-").unwrap()).unwrap();
    let (state, _) = told_in_time(&guard);
    assert!(["detached", "leaking"].contains(&state.as_str()), "{state}");
    warned_once(&guard, "eth0: the shield had been taken off, and is back");
    warned_once(
        &guard,
        "enforcement: leaking: the shield was missing on eth0",
    );
    assert!(!scene.reaches());
    let status = guard.json(&["status"]).unwrap();
    assert_eq!(status["interfaces"][0]["attached"], true, "{status}");
}

#[test]
fn another_program_in_the_place_of_the_shield_is_told_and_replaced() {
    let Some(scene) = Scene::new() else { return };
    let guard = scene.guard();
    bpf::replace_program(&guard.pin("link-").unwrap()).unwrap();
    told_in_time(&guard);
    let line = "eth0: another program stood in the place of the shield, which is back";
    warned_once(&guard, line);
    assert!(!scene.reaches());
}

#[test]
fn a_ban_that_is_deleted_from_the_kernel_is_told_and_put_back() {
    let Some(scene) = Scene::new() else { return };
    let guard = scene.guard();
    assert_eq!(bpf::clear_map(&guard.pin("bans").unwrap()).unwrap(), 1);
    assert_eq!(told_in_time(&guard).0, "leaking");
    warned_once(&guard, "1 bans were missing in the kernel and are back");
    assert!(!scene.reaches());
}

#[test]
fn packets_of_a_banned_source_behind_the_shield_are_counted() {
    let Some(scene) = Scene::new() else { return };
    let guard = scene.guard();
    let bans = guard.pin("bans").unwrap();
    // A ban is fresh for 100 ms, and is put back by the first packet: so one packet is counted
    // each time that the ban is deleted.
    wait_until("a leaked packet", 5 * PROMISED, || {
        bpf::clear_map(&bans).unwrap();
        let _ = scene.reaches();
        state(&guard).1 > 0
    })
    .unwrap();
    assert_eq!(state(&guard).0, "leaking");
    warned_once(&guard, "enforcement: leaking: ");
    let text = guard.ask(&["status"]).unwrap();
    assert!(text.stdout.contains("LEAKING"), "{}", text.stdout);
    assert_eq!(text.status.code(), Some(1));
}

#[test]
fn the_kernel_itself_refuses_what_ip_link_would_take_off() {
    let Some(scene) = Scene::new() else { return };
    let guard = scene.guard();
    // The first looks for a native program, and there is none.
    let off = |mode| format!("ip link set dev eth0 {mode} off");
    scene.lab.pbx.run(&off("xdp")).unwrap();
    scene.lab.pbx.run(&off("xdpgeneric")).unwrap_err();
    assert!(!scene.reaches());
    assert_eq!(state(&guard).0, "ok");
}

#[test]
fn an_interface_that_goes_away_and_comes_back_is_guarded_and_read_again() {
    let Some(scene) = Scene::new() else { return };
    let guard = scene.guard();
    let lab = &scene.lab;
    lab.pbx.run("ip link del eth0").unwrap();
    wait_until("detached", PROMISED, || state(&guard).0 == "detached").unwrap();
    lab.pbx.veth("eth0", &lab.router, "pbx").unwrap();
    lab.pbx.address("eth0", "192.0.2.1/24").unwrap();
    lab.router.address("pbx", "192.0.2.254/24").unwrap();
    lab.pbx.route("default", "192.0.2.254").unwrap();
    wait_until("the interface is guarded again", 5 * PROMISED, || {
        state(&guard).0 == "leaking" && guard.log().contains("the packets of eth0 are read again")
    })
    .unwrap();
    assert!(!scene.reaches());
    let events = |guard: &Guard<'_>| {
        let status = guard.json(&["status"]).unwrap();
        status["sensors"]["packets"]["events"].as_u64().unwrap()
    };
    let before = events(&guard);
    let phone = lab.phones.enter(|| UdpSocket::bind("198.51.100.10:5060"));
    let options = b"OPTIONS sip:192.0.2.1 SIP/2.0\r\nCall-ID: 1\r\n\r\n";
    phone.unwrap().send_to(options, PBX).unwrap();
    wait_until("a message to be seen", 5 * PROMISED, || {
        events(&guard) > before
    })
    .unwrap();
    assert!(Path::new(&guard.pin("link-").unwrap()).exists());
}
