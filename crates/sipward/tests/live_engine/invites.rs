//! The scanner of INVITEs that never acknowledges what it is answered.

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use sipward_testkit::{
    asterisk::{Asterisk, Driver, Settings},
    lab::{ATTACKER, Lab},
    require::{Need, require},
};

use crate::guard;

/// Answers that may be drawn before the ban.
const MOST: usize = 12;
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn who_never_acknowledges_chan_sip_is_banned_within_seconds() {
    if require(&[Need::Root, Need::Asterisk]) {
        println!("{}", scan(Driver::ChanSip));
    }
}

#[test]
fn who_never_acknowledges_pjsip_is_banned_within_seconds() {
    if require(&[Need::Root, Need::Asterisk]) {
        println!("{}", scan(Driver::Pjsip));
    }
}

/// Scans until the ban, and tells how that went.
fn scan(driver: Driver) -> String {
    let lab = Lab::new().unwrap();
    let asterisk = Asterisk::start(&lab.pbx, &Settings::default()).unwrap();
    let guard = guard(&lab.pbx);
    let server = driver.address();
    let scanner = lab.attacker.enter(|| UdpSocket::bind((ATTACKER, 5071)));
    let scanner = scanner.unwrap();
    scanner
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();

    let begin = Instant::now();
    let (mut sent, mut answers) = (0, 0);
    let mut buffer = [0; 4096];
    while !guard.bans("203.0.113.7/32").unwrap() {
        assert!(begin.elapsed() < PATIENCE, "{}", guard.log());
        // Three calls, and another one every two seconds.
        if sent < 3 || begin.elapsed() > Duration::from_secs(2 * (sent - 2)) {
            sent += 1;
            let invite = invite(sent, server);
            scanner.send_to(invite.as_bytes(), server).unwrap();
        }
        while scanner.recv(&mut buffer).is_ok() {
            answers += 1;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let why = guard.json(&["why", ATTACKER]).unwrap();
    assert_eq!(why["alerts"][0]["detector"], "unanswered-invite", "{why}");
    assert!(answers <= MOST, "{answers}");
    let warns = |messages: &str| messages.contains("Timeout on");
    assert!(!warns(&asterisk.log("messages")));
    let status = guard.json(&["status"]).unwrap();
    let sensor = &status["sensors"]["packets"];
    assert_eq!(sensor["state"], "on", "{status}");
    assert!(sensor["events"].as_u64().unwrap() >= sent, "{status}");
    // It does warn, but then it is over. PJSIP never does.
    if driver == Driver::ChanSip {
        let late = Duration::from_secs(40);
        asterisk.wait_for_log("messages", late, warns).unwrap();
    }
    format!("{driver:?}: banned after {seconds:.1} s, {sent} INVITEs, {answers} answers")
}

fn invite(number: u64, server: SocketAddr) -> String {
    format!(
        "INVITE sip:600@{server} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {ATTACKER}:5071;branch=z9hG4bK-{number:08x};rport\r\n\
         From: <sip:600@{server}>;tag=c{number:07x}\r\n\
         To: <sip:600@{server}>\r\n\
         Call-ID: {number:016x}\r\n\
         CSeq: 1 INVITE\r\n\
         Contact: <sip:600@{ATTACKER}:5071>\r\n\
         User-Agent: Yealink SIP-T46S 66.86.0.15\r\n\
         Max-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n"
    )
}
