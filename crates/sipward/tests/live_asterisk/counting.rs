//! One attempt, seen on the wire and in three logs, is one attempt.

use std::{fs::OpenOptions, io::Write as _};

use sipward_testkit::{
    asterisk::{Asterisk, Driver, Settings},
    lab::Lab,
    user_agent::{Exchange, Login, Pace, Transport, UserAgents},
};

use crate::{can_run, guard_with, logs_of, mark, sensor, suspicion, wait_for};

/// Attempts that do not yet suffice for a ban, and would if each counted twice.
const ATTEMPTS: u16 = 4;
/// However long the test takes.
const FORGETS_NOTHING: &str = "[detect.password-guessing]\nleak = \"1h\"\n";

fn attempts(attacker: &str, driver: Driver, transport: Transport) -> Vec<Exchange> {
    let server = driver.address_over(transport).to_string();
    (0..ATTEMPTS)
        .map(|number| {
            let source = format!("{attacker}:{}", 20_000 + number);
            Exchange::new(&source, &server, "REGISTER", "101")
                .login(Login::Password(format!("wrong-{number}")))
                .over(transport)
        })
        .collect()
}

#[test]
fn what_the_wire_and_the_logs_show_counts_once() {
    if !can_run() {
        return;
    }
    let lab = Lab::new().unwrap();
    let mut settings = Settings {
        tls_and_web_socket: Some(Driver::ChanSip),
        ..Settings::default()
    };
    // The same events once more.
    let again = "[logfiles](+)\nagain => notice,security\n".to_owned();
    settings.appended.insert("logger.conf", again);
    let asterisk = Asterisk::start(&lab.pbx, &settings).unwrap();
    for (attacker, driver, transport) in [
        ("203.0.113.22", Driver::ChanSip, Transport::Udp),
        ("203.0.113.23", Driver::Pjsip, Transport::Udp),
        ("203.0.113.24", Driver::ChanSip, Transport::Tcp),
        ("203.0.113.25", Driver::ChanSip, Transport::Tls),
        ("203.0.113.26", Driver::Pjsip, Transport::Tls),
        ("203.0.113.27", Driver::ChanSip, Transport::Ws),
        ("203.0.113.28", Driver::ChanSip, Transport::Wss),
    ] {
        let logs = [logs_of(&asterisk), vec![asterisk.log_path("again")]].concat();
        let guard = guard_with(&lab.pbx, &logs, FORGETS_NOTHING);
        let mut parties = UserAgents::new(&lab).unwrap();
        parties.trust(&asterisk.certificate().unwrap()).unwrap();
        let before = asterisk.log("security").matches("ReceivedHash").count()
            + asterisk
                .log("security")
                .matches("ChallengeResponseFailed")
                .count();
        let exchanges = attempts(attacker, driver, transport);
        let named = exchanges.into_iter().map(|exchange| parties.name(exchange));
        let exchanges: Vec<_> = named.collect();
        let answers = parties.play(exchanges, Pace::OneByOne).unwrap();
        assert!(
            answers
                .iter()
                .all(|answer| matches!(answer, Some(401 | 403))),
            "{driver:?} {transport:?}: {answers:?}"
        );
        wait_for("Asterisk's own lines", &guard, || {
            let log = asterisk.log("security");
            let now = log.matches("ReceivedHash").count()
                + log.matches("ChallengeResponseFailed").count();
            now >= before + usize::from(ATTEMPTS)
        });
        // They count 10 s later, where only a log tells of them: a login may still follow.
        let count =
            || suspicion(&guard, attacker, "password-guessing").map(|it| it["count"].clone());
        wait_for(
            &format!("{driver:?} {transport:?} to count"),
            &guard,
            || count().is_some_and(|count| count == ATTEMPTS),
        );
        // A log that is read later would add to it: all are read once these are.
        for (number, path) in (1..).zip(&logs) {
            let mut log = OpenOptions::new().append(true).open(path).unwrap();
            let mark = mark(number);
            log.write_all(mark.as_bytes()).unwrap();
            wait_for("the mark", &guard, || {
                sensor(&guard)["unmatched"].as_u64().unwrap() >= number
            });
        }
        assert!(asterisk.log("again").contains("SecurityEvent="));
        assert_eq!(count().unwrap(), ATTEMPTS, "{driver:?} {transport:?}");
        assert!(!guard.bans(&format!("{attacker}/32")).unwrap());
    }
}
