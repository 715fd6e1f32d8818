//! What people see while it happens, with a real Asterisk and real phones.

use std::{net::UdpSocket, path::Path};

use nix::sys::signal::Signal;
use serde_json::Value;
use sipward_testkit::{
    asterisk::{Asterisk, Driver, Settings},
    guard::Guard,
    lab::{ATTACKER, Lab, PBX, PHONES},
    phone::{Phones, Task},
    process::{Process, wait_until},
    require::{Need, require},
};

use crate::place::PATIENCE;

/// A call that nobody ever acknowledges.
const INVITE: &str = "INVITE sip:600@192.0.2.1 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 203.0.113.7:5071;branch=z9hG4bK-1;rport\r\n\
    From: <sip:600@192.0.2.1>;tag=1\r\n\
    To: <sip:600@192.0.2.1>\r\n\
    Call-ID: a-call\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:600@203.0.113.7:5071>\r\n\
    User-Agent: harmless\x1b[2J\r\n\
    Max-Forwards: 70\r\n\
    Content-Length: 0\r\n\r\n";

const SCAN: &str = "OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n";

fn guard(lab: &Lab) -> Guard<'_> {
    Guard::start(Path::new(env!("CARGO_BIN_EXE_sipward")), &lab.pbx).unwrap()
}

fn watch(guard: &Guard<'_>, arguments: &[&str]) -> Process {
    let mut watch = guard.spawn(&[&["watch"], arguments].concat()).unwrap();
    watch
        .wait_for("watch to begin", PATIENCE, |said| {
            said.contains("watching;")
        })
        .unwrap();
    watch
}

fn register(lab: &Lab) {
    let phones = PHONES.parse().unwrap();
    let phone = Phones::one(phones, Driver::ChanSip.address(), Task::Register);
    phone.start(&lab.phones).unwrap().finish(PATIENCE).unwrap();
}

#[test]
fn a_login_is_seen_live_and_remembered_with_its_user_agent() {
    if !require(&[Need::Root, Need::Asterisk, Need::Program("sipp")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let _asterisk = Asterisk::start(&lab.pbx, &Settings::default()).unwrap();
    let guard = guard(&lab);
    let mut phones = watch(&guard, &[PHONES]);
    let mut nobody = watch(&guard, &["203.0.113.0/24"]);
    let mut json = watch(&guard, &["--json"]);
    register(&lab);
    phones
        .wait_for("the login", PATIENCE, |said| said.contains("TRUST"))
        .unwrap();
    let seen = phones.stdout();
    println!("{seen}");
    for part in [
        "pass  in  198.51.100.10:",
        "REGISTER sip:192.0.2.1",
        "User-Agent: Yealink SIP-T46S 66.86.0.15",
        "401 Unauthorized (REGISTER)",
        "200 OK (REGISTER)",
        "TRUST 198.51.100.10 registration as 101",
    ] {
        assert!(seen.contains(part), "{part:?} is not in {seen}");
    }
    json.wait_for("the login", PATIENCE, |said| said.contains("\"trust\""))
        .unwrap();
    for line in json.stdout().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["event"].is_string(), "{line}");
    }

    let trusted = guard.json(&["trusted"]).unwrap();
    assert_eq!(trusted[0]["address"], PHONES);
    assert_eq!(trusted[0]["username"], "101");
    assert_eq!(trusted[0]["user_agent"], "Yealink SIP-T46S 66.86.0.15");
    let table = guard.ask(&["trusted"]).unwrap().stdout;
    assert!(table.contains("Yealink"), "{table}");
    let why = guard.json(&["why", "101"]).unwrap();
    assert_eq!(why["logins"], trusted, "{why}");

    assert_eq!(nobody.stdout(), "");
    for watch in [&mut phones, &mut nobody, &mut json] {
        assert!(watch.is_running());
    }
}

#[test]
fn a_suspect_is_seen_before_its_ban_and_a_scanner_as_it_is_dropped() {
    if !require(&[Need::Root, Need::Asterisk]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let _asterisk = Asterisk::start(&lab.pbx, &Settings::default()).unwrap();
    let mut guard = guard(&lab);
    let mut watch = watch(&guard, &[ATTACKER]);
    // Open to the end: a closed one would answer that it is unreachable.
    let attacker = lab
        .attacker
        .enter(|| UdpSocket::bind((ATTACKER, 5071)).unwrap());
    attacker.send_to(INVITE.as_bytes(), (PBX, 5060)).unwrap();
    let suspected = || {
        let suspects = guard.json(&["suspects"]).unwrap();
        let suspects = suspects.as_array().unwrap().clone();
        suspects
            .into_iter()
            .find(|suspect| suspect["detector"] == "unanswered-invite" && suspect["count"] != 0)
    };
    wait_until("the suspicion", PATIENCE, || suspected().is_some()).unwrap();
    let suspect = suspected().unwrap();
    assert_eq!(suspect["address"], ATTACKER);
    assert!(suspect["fires_at"].as_u64() > suspect["count"].as_u64());
    let table = guard.ask(&["suspects"]).unwrap().stdout;
    println!("{table}");
    assert!(table.contains("INVITE sip:600@192.0.2.1"), "{table}");
    let why = guard.ask(&["why", ATTACKER]).unwrap();
    assert_eq!(why.status.code(), Some(1));
    assert!(
        why.stdout
            .contains("is suspected by the detector unanswered-invite"),
        "{}",
        why.stdout
    );

    attacker.send_to(SCAN.as_bytes(), (PBX, 5060)).unwrap();
    watch
        .wait_for("the ban", PATIENCE, |said| said.contains("BAN   "))
        .unwrap();
    let seen = watch.stdout();
    println!("{seen}");
    for part in [
        "pass  in  203.0.113.7:5071 > 192.0.2.1:5060 udp  INVITE sip:600@192.0.2.1  \
         User-Agent: harmless\\x1b[2J",
        "out 192.0.2.1:5060 > 203.0.113.7:5071 udp  401 Unauthorized (INVITE)",
        "DROP  in  203.0.113.7:5071 > 192.0.2.1:5060 udp  OPTIONS sip:100@192.0.2.1  \
         User-Agent: friendly-scanner  signature: sipvicious-friendly-scanner",
        "ALERT 203.0.113.7 scanner-signature",
        "BAN   203.0.113.7 until",
    ] {
        assert!(seen.contains(part), "{part:?} is not in {seen}");
    }
    assert!(!seen.contains('\x1b'));

    guard.stop().unwrap();
    let finished = watch.finish(PATIENCE).unwrap();
    assert!(finished.status.success(), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("the daemon has stopped"),
        "{}",
        finished.stderr
    );
}

/// It stands still while thousands of messages pass, which the daemon goes on to read.
#[test]
fn a_watcher_that_does_not_read_is_told_what_it_lost_and_holds_nobody_up() {
    const MESSAGES: u64 = 5_000;
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let guard = guard(&lab);
    let mut slow = watch(&guard, &["--json"]);
    slow.signal(Signal::SIGSTOP);
    let events = || {
        let status = guard.json(&["status"]).unwrap();
        status["sensors"]["packets"]["events"].as_u64().unwrap()
    };
    let pbx = lab.pbx.enter(|| UdpSocket::bind((PBX, 5060)).unwrap());
    let _phone = lab
        .phones
        .enter(|| UdpSocket::bind((PHONES, 5060)).unwrap());
    // The server's own requests, of which no limit drops any.
    lab.pbx.enter(|| {
        for number in 0..MESSAGES {
            let call = SCAN.replace("friendly-scanner", &format!("the PBX\r\nCall-ID: {number}"));
            pbx.send_to(call.as_bytes(), (PHONES, 5060)).unwrap();
            if number % 256 == 0 {
                // No more than the tap can hold.
                wait_until("the daemon", PATIENCE, || events() >= number).unwrap();
            }
        }
    });
    wait_until("the last message", PATIENCE, || events() >= MESSAGES).unwrap();
    slow.signal(Signal::SIGCONT);
    slow.wait_for("the word of the loss", PATIENCE, |said| {
        said.contains("\"lost\"")
    })
    .unwrap();
    let (mut shown, mut lost) = (0, 0);
    for line in slow.stdout().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        match line["event"].as_str().unwrap() {
            "message" => shown += 1,
            "lost" => lost += line["lines"].as_u64().unwrap(),
            other => panic!("{other}"),
        }
    }
    println!("{shown} lines shown, {lost} lost, of {MESSAGES} messages");
    assert!(lost > 0);
    assert!(shown + lost >= MESSAGES);
    drop(slow);
    assert!(guard.ask(&["status"]).unwrap().status.success());
}
