//! "Timeout on … on non-critical invite transaction", Asterisk's warning without an address, and
//! its sisters.

use std::net::SocketAddr;

use sipward_testkit::{
    asterisk::{Asterisk, Driver, ECHO_EXTENSION, Settings},
    guard::Guard,
    lab::{ATTACKER, Lab, PBX},
    user_agent::{Acknowledges, Ending, Exchange, Pace, UserAgents},
};

use crate::{can_run, guard, logs_of, sensor, suspicion, wait_for};

/// Sixty-four times this Asterisk waits for an ACK: 6.4 s.
const TIMER: &str = "[general](+)\ntimert1 = 100\nt1min = 100\n";

#[test]
fn asterisks_warning_stands_beside_the_packets_of_the_caller() {
    if !can_run() {
        return;
    }
    let lab = Lab::new().unwrap();
    let (asterisk, guard) = impatient(&lab);
    let mut parties = UserAgents::new(&lab).unwrap();
    let call = |port: u16| {
        let server = Driver::ChanSip.address().to_string();
        Exchange::new(&format!("{ATTACKER}:{port}"), &server, "INVITE", "scanner")
            .to("00441904911000")
            .silent()
    };
    let calls: Vec<_> = [5080, 5081].map(|port| parties.name(call(port))).into();
    parties.play(calls, Pace::OneByOne).unwrap();
    asterisk
        .wait_for_log("messages", crate::PATIENCE, |log| {
            log.matches("on non-critical invite transaction").count() >= 2
        })
        .unwrap();
    wait_for("the warning in `why`", &guard, || {
        suspicion(&guard, ATTACKER, "unanswered-invite").is_some_and(|it| {
            let evidence = it["evidence"].to_string();
            it["count"] == 2
                && evidence.contains("INVITE sip:00441904911000@")
                && evidence
                    .matches("on non-critical invite transaction")
                    .count()
                    == 2
        })
    });

    // A call that came in elsewhere: nobody can be blamed, and somebody should know.
    let line = "[2026-11-22 18:55:40.000] WARNING[77] chan_sip.c: Timeout on elsewhere@h on \
                non-critical invite transaction.\n";
    let unmatched = sensor(&guard)["unmatched"].as_u64().unwrap();
    let mut log = std::fs::OpenOptions::new()
        .append(true)
        .open(asterisk.log_path("messages"))
        .unwrap();
    std::io::Write::write_all(&mut log, line.as_bytes()).unwrap();
    wait_for("the unattributed warning", &guard, || {
        let log = guard.log();
        log.contains("unattributed: Asterisk gave up on 1 calls") && log.contains("elsewhere@h")
    });
    // Lines of Asterisk's own may say nothing, too.
    assert!(sensor(&guard)["unmatched"].as_u64().unwrap() > unmatched);
}

#[test]
fn what_asterisk_dropped_and_whom_it_could_not_answer_stand_beside_the_packets() {
    if !can_run() {
        return;
    }
    let lab = Lab::new().unwrap();
    let (_asterisk, guard) = impatient(&lab);
    let mut parties = UserAgents::new(&lab).unwrap();

    // A call with credentials, whose answer is never acknowledged.
    let server = Driver::ChanSip.address().to_string();
    let mut call = Exchange::new(&format!("{ATTACKER}:5080"), &server, "INVITE", "101")
        .to(ECHO_EXTENSION)
        .password(&Asterisk::password(101));
    call.acknowledges = Acknowledges::Refusals;
    call.ending = Ending::Stays;
    let call = parties.name(call);
    let timeout = format!(
        "Retransmission timeout reached on transmission {}",
        call.call_id
    );
    assert_eq!(
        parties.play(vec![call], Pace::OneByOne).unwrap(),
        [Some(200)]
    );

    // A value that does not end. Of less than 70 bytes PJSIP says nothing.
    let source: SocketAddr = "203.0.113.8:5070".parse().unwrap();
    let garbage = format!(
        "REGISTER sip:{PBX} SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bKx\r\n\
         From: <sip:101@{PBX}>;tag=1\r\nTo: <sip:101@{PBX}>\r\nCall-ID: x\r\n\
         CSeq: 1 REGISTER\r\nContact: <sip:101@{source}>\r\nMax-Forwards: 70\r\n\
         Authorization: Digest username=\"101\", nonce=\"x\r\nContent-Length: 0\r\n\r\n"
    );
    for _ in 0..3 {
        parties
            .send(source, Driver::Pjsip.address(), garbage.as_bytes())
            .unwrap();
    }
    let dropped = format!("Dropping {} bytes packet from UDP {source}", garbage.len());
    wait_for("the dropped packets in `why`", &guard, || {
        shown(&guard, "203.0.113.8", "malformed-flood", &dropped) == 3
    });
    wait_for("the answer's timeout in `why`", &guard, || {
        shown(&guard, ATTACKER, "unanswered-invite", &timeout) == 1
    });
    // The wire showed nothing that counts, so its word is all there is.
    let suspicion = suspicion(&guard, "203.0.113.8", "malformed-flood").unwrap();
    assert_eq!(suspicion["count"], 0, "{suspicion}");
}

/// An Asterisk that soon gives up waiting for an ACK, and who guards it.
fn impatient(lab: &Lab) -> (Asterisk, Guard<'_>) {
    let mut settings = Settings::default();
    settings.appended.insert("sip.conf", TIMER.to_owned());
    let asterisk = Asterisk::start(&lab.pbx, &settings).unwrap();
    let guard = guard(&lab.pbx, &logs_of(&asterisk));
    (asterisk, guard)
}

/// How often a line of Asterisk stands among what a detector has of an address.
fn shown(guard: &Guard<'_>, address: &str, detector: &str, line: &str) -> usize {
    suspicion(guard, address, detector)
        .map_or(0, |it| it["evidence"].to_string().matches(line).count())
}
