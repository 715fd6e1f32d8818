//! "Timeout on … on non-critical invite transaction", Asterisk's warning without an address.

use sipward_testkit::{
    asterisk::{Asterisk, Driver, Settings},
    lab::{ATTACKER, Lab},
    user_agent::{Exchange, Pace, UserAgents},
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
    let mut settings = Settings::default();
    settings.appended.insert("sip.conf", TIMER.to_owned());
    let asterisk = Asterisk::start(&lab.pbx, &settings).unwrap();
    let guard = guard(&lab.pbx, &logs_of(&asterisk));
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
