//! Alerts that ban nobody, what logs add and where they count, and what people are shown.

mod scene;

use std::net::SocketAddr;

use scene::{Driver, Job, START, Scene, minutes, seconds};
use sipward_engine::{
    Config, Detector, Engine, LogEvent, LogKind, LogTransport, Observation, Place,
};
use test_case::test_case;

const HOME: &str = "203.0.113.20:5060";
const ABROAD: &str = "198.18.7.7:5060";

fn scene() -> Scene {
    let mut scene = Scene::new(Driver::ChanSip);
    scene.account("100", "Kq7-0-pZ");
    scene
        .pbx
        .numbers
        .extend((0..20).map(|n| format!("00971{n:07}")));
    scene
}

fn login(from: &str) -> Job {
    Job::new(from, "REGISTER", "100").password("Kq7-0-pZ")
}

fn line<'a>(kind: LogKind<'a>, from: &str, transport: LogTransport) -> LogEvent<'a> {
    LogEvent {
        kind,
        source: Some(from.parse().expect("an address")),
        account: Some(b"100"),
        transport,
        connected: transport.is_connected(),
        place: Place::Line(7),
        text: b"a line with \x1b[2J in it",
    }
}

fn warned_of_fraud(scene: &Scene) -> usize {
    let fraud = |alert: &&&sipward_engine::Alert| alert.detector == Detector::FraudAfterLogin;
    scene.alerts().iter().filter(fraud).count()
}

#[test]
fn a_login_from_a_new_place_after_refusals_is_reported() {
    let mut scene = scene();
    scene.add(login(HOME));
    let wrong = |n: u64| {
        Job::new(ABROAD, "REGISTER", "100")
            .password("no")
            .at(minutes(n))
    };
    scene.add_all([
        wrong(1),
        wrong(10),
        wrong(20),
        login(ABROAD).at(minutes(30)),
    ]);
    scene.play(minutes(40));
    assert_eq!(warned_of_fraud(&scene), 1);
    assert_eq!(scene.bans().len(), 0);
    assert!(scene.alerts()[0].spared.is_some());
}

#[test]
fn who_mistypes_twice_in_a_hotel_is_no_thief() {
    let mut scene = scene();
    scene.add(login(HOME));
    let wrong = |n: u64| {
        Job::new(ABROAD, "REGISTER", "100")
            .password("no")
            .at(minutes(n))
    };
    scene.add_all([wrong(1), wrong(2), login(ABROAD).at(minutes(3))]);
    scene.play(minutes(10)).is_peaceful();
}

#[test]
fn guessing_the_secret_prefix_is_reported() {
    let mut scene = scene();
    scene.add(login(HOME));
    let call = |n: u64| {
        let number = format!("{n}1172595123456");
        let job = Job::new(HOME, "INVITE", "100")
            .password("Kq7-0-pZ")
            .to(&number);
        job.at(minutes(1) + seconds(20) * u32::try_from(n).expect("small"))
    };
    scene.add_all((0..6).map(call));
    scene.play(minutes(10));
    assert_eq!(warned_of_fraud(&scene), 1);
    assert_eq!(scene.bans().len(), 0);
}

#[test]
fn five_international_calls_in_an_hour_after_none_in_a_month_are_reported_once() {
    let mut scene = scene();
    scene.add(login(HOME));
    let call = |n: u64| {
        let number = format!("00971{n:07}");
        let job = Job::new(HOME, "INVITE", "100")
            .password("Kq7-0-pZ")
            .to(&number);
        job.at(minutes(1 + 5 * n))
    };
    scene.add_all((0..11).map(call));
    // And again on the next day: now the account is known to do that.
    scene.add_all((0..11).map(|n| call(n).at(minutes(24 * 60 + 5 * n))));
    scene.play(minutes(30 * 60));
    assert_eq!(warned_of_fraud(&scene), 1);
}

#[test_case(LogTransport::Udp)]
#[test_case(LogTransport::Tcp)]
#[test_case(LogTransport::Ws)]
fn what_the_wire_shows_too_counts_once(transport: LogTransport) {
    let mut scene = scene();
    // Three wrong passwords, each seen on the wire and in two logs.
    for n in 0..3 {
        let job = Job::new(ABROAD, "REGISTER", "100").password(&format!("no-{n}"));
        scene.add(job.at(seconds(n)));
        scene.play(seconds(n) + seconds(1));
        for _ in 0..2 {
            scene.observe(&Observation::Log(line(
                LogKind::WrongPassword,
                ABROAD,
                transport,
            )));
        }
    }
    scene.play(minutes(1)).is_peaceful();
    let why = scene.engine.why(address(ABROAD).ip(), scene.now);
    let guessing = why
        .suspicions
        .iter()
        .find(|suspicion| suspicion.detector == Detector::PasswordGuessing)
        .expect("a suspicion");
    assert_eq!((guessing.count, guessing.fires_at), (3, 5));
    assert_eq!(guessing.evidence.len(), 9);
    let escaped = guessing
        .evidence
        .iter()
        .any(|e| e.summary.contains("\\x1b[2J"));
    assert!(escaped, "{:?}", guessing.evidence);
}

/// The server hands on what it has decrypted.
#[test]
fn what_is_encrypted_on_the_wire_and_read_all_the_same_counts_once() {
    let mut scene = scene();
    scene.decrypts = true;
    for n in 0..3 {
        let job = Job::new(ABROAD, "REGISTER", "100").password(&format!("no-{n}"));
        scene.add(job.over_tcp().at(seconds(n)));
        scene.play(seconds(n) + seconds(1));
        let again = line(LogKind::WrongPassword, ABROAD, LogTransport::Tls);
        scene.observe(&Observation::Log(again));
    }
    scene.play(minutes(1)).is_peaceful();
    let why = scene.engine.why(address(ABROAD).ip(), scene.now);
    assert_eq!(why.suspicions[0].count, 3);
    // Another connection is another's.
    for _ in 0..8 {
        let other = line(LogKind::WrongPassword, "198.18.7.7:5099", LogTransport::Tls);
        scene.observe(&Observation::Log(other));
    }
    scene.play(minutes(2));
    assert!(scene.banned_by(Detector::PasswordGuessing).proven);
}

/// Another connection of the guesser's, from the same port to the server's port for cleartext.
#[test]
fn what_is_read_on_one_connection_hides_nothing_of_another() {
    let mut scene = scene();
    for n in 0..8 {
        scene.add(Job::new(ABROAD, "OPTIONS", "100").over_tcp().at(seconds(n)));
        scene.play(seconds(n) + seconds(1));
        let guess = line(LogKind::WrongPassword, ABROAD, LogTransport::Tls);
        scene.observe(&Observation::Log(guess));
    }
    scene.play(minutes(1));
    assert!(scene.banned_by(Detector::PasswordGuessing).proven);
}

#[test_case(LogTransport::Tls, true)]
#[test_case(LogTransport::Wss, true)]
#[test_case(LogTransport::Iax2, false)]
#[test_case(LogTransport::Manager, true)]
fn what_the_wire_does_not_show_counts(transport: LogTransport, proven: bool) {
    let mut scene = scene();
    for n in 0..8 {
        scene.play(seconds(2) * n);
        scene.observe(&Observation::Log(line(
            LogKind::WrongPassword,
            ABROAD,
            transport,
        )));
    }
    scene.play(minutes(1));
    assert_eq!(scene.banned_by(Detector::PasswordGuessing).proven, proven);
}

/// Anybody may write a line into the log that names somebody else.
#[test_case(LogTransport::Tls)]
#[test_case(LogTransport::Wss)]
#[test_case(LogTransport::Manager)]
fn a_line_about_a_connection_that_nobody_saw_counts_nothing(transport: LogTransport) {
    let mut scene = scene();
    for n in 0..60 {
        scene.play(seconds(2) * n);
        for kind in [
            LogKind::WrongPassword,
            LogKind::UnknownAccount,
            LogKind::Challenged,
            LogKind::Malformed,
            LogKind::RefusedCall {
                number: n.to_string().as_bytes(),
            },
            LogKind::Success,
        ] {
            scene.observe(&Observation::Log(LogEvent {
                connected: false,
                account: Some(n.to_string().as_bytes()),
                ..line(kind, ABROAD, transport)
            }));
        }
    }
    scene.play(minutes(10)).is_peaceful();
    assert_eq!(scene.engine.statistics().unconnected_lines, 360);
    assert_eq!(scene.engine.trusted(scene.now).count(), 0);
}

/// Behind one address are a guesser and colleagues, and the guesser can write lines into the log.
#[test]
fn a_line_that_counts_nothing_does_not_choose_whose_port_is_banned() {
    let mut scene = scene();
    scene.add(login(HOME));
    scene.play(minutes(1));
    let guesser = "203.0.113.20:40000";
    let of = |from, connected| LogEvent {
        connected,
        account: Some(b"200"),
        ..line(LogKind::WrongPassword, from, LogTransport::Tls)
    };
    for n in 0..8 {
        scene.play(minutes(1) + seconds(2) * n);
        for _ in 0..30 {
            scene.observe(&Observation::Log(of(HOME, false)));
        }
        scene.observe(&Observation::Log(of(guesser, true)));
    }
    scene.play(minutes(3));
    let ban = scene.banned_by(Detector::PasswordGuessing);
    assert_eq!(ban.port, Some(40_000));
}

/// A name in IAX2 is 255 bytes of anything: a whole line of a login fits in.
#[test]
fn a_line_of_a_login_that_no_connection_proves_is_no_login() {
    let mut scene = scene();
    for n in 0..20 {
        scene.play(seconds(2) * n);
        scene.observe(&Observation::Log(line(
            LogKind::Success,
            ABROAD,
            LogTransport::Iax2,
        )));
    }
    scene.play(minutes(10)).is_peaceful();
    assert_eq!(scene.engine.trusted(scene.now).count(), 0);
}

#[test]
fn numbers_that_the_log_shows_refused_count_where_the_wire_does_not() {
    let numbers: Vec<String> = (0..4).map(|n| format!("0097259{n}77524")).collect();
    for (transport, counts) in [(LogTransport::Tls, true), (LogTransport::Udp, false)] {
        let mut scene = scene();
        for (at, number) in (1..).zip(&numbers) {
            let kind = LogKind::RefusedCall {
                number: number.as_bytes(),
            };
            // The same number again is no other number.
            for _ in 0..5 {
                scene.observe(&Observation::Log(line(kind, ABROAD, transport)));
            }
            scene.play(seconds(at));
        }
        if counts {
            assert!(scene.banned_by(Detector::TollFraudProbe).proven);
        } else {
            scene.is_peaceful();
        }
    }
}

#[test]
fn what_the_log_calls_unreadable_counts_where_the_wire_does_not() {
    for (transport, counts) in [(LogTransport::Tls, true), (LogTransport::Udp, false)] {
        let mut scene = scene();
        for _ in 0..20 {
            let malformed = line(LogKind::Malformed, ABROAD, transport);
            scene.observe(&Observation::Log(malformed));
        }
        scene.play(seconds(1));
        if counts {
            assert!(scene.banned_by(Detector::MalformedFlood).proven);
        } else {
            scene.is_peaceful();
        }
    }
}

#[test]
fn a_log_alone_counts_whatever_the_transport() {
    let config = Config {
        wire_is_read: false,
        ..Config::default()
    };
    let mut scene = Scene::with(Driver::ChanSip, config, 1);
    for n in 0..8 {
        scene.play(seconds(2) * n);
        scene.observe(&Observation::Log(line(
            LogKind::WrongPassword,
            ABROAD,
            LogTransport::Udp,
        )));
    }
    scene.play(minutes(1)).banned_by(Detector::PasswordGuessing);
}

#[test]
fn a_logged_failure_that_a_success_follows_does_not_count() {
    let mut scene = scene();
    for n in 0..60 {
        scene.play(seconds(20) * n);
        scene.observe(&Observation::Log(line(
            LogKind::WrongPassword,
            ABROAD,
            LogTransport::Tls,
        )));
        scene.play(seconds(20) * n + seconds(9));
        scene.observe(&Observation::Log(line(
            LogKind::Success,
            ABROAD,
            LogTransport::Tls,
        )));
    }
    scene.play(minutes(30)).is_peaceful();
    assert_eq!(scene.engine.trusted(scene.now).count(), 1);
}

#[test]
fn logged_misdials_are_no_failures() {
    let mut scene = scene();
    for n in 0..60 {
        scene.play(seconds(1) * n);
        scene.observe(&Observation::Log(line(
            LogKind::Misdial,
            ABROAD,
            LogTransport::Tls,
        )));
    }
    scene.play(minutes(30)).is_peaceful();
}

fn challenged(scene: &mut Scene, account: &str, from: &str, transport: LogTransport) {
    let event = LogEvent {
        account: Some(account.as_bytes()),
        ..line(LogKind::Challenged, from, transport)
    };
    scene.observe(&Observation::Log(event));
}

#[test]
fn accounts_that_never_answer_a_logged_challenge_are_enumerated() {
    for (transport, counts) in [(LogTransport::Tls, true), (LogTransport::Udp, false)] {
        let mut scene = scene();
        for n in 0..6 {
            scene.play(seconds(1) * n);
            challenged(&mut scene, &format!("70{n:02}"), ABROAD, transport);
        }
        scene.play(seconds(8)).is_peaceful();
        scene.play(seconds(9));
        if counts {
            assert!(scene.banned_by(Detector::ExtensionEnumeration).proven);
        } else {
            scene.is_peaceful();
        }
    }
}

#[test]
fn calls_that_never_answer_a_logged_challenge_are_probing() {
    let mut scene = scene();
    for n in 0..20 {
        scene.play(seconds(1) * n);
        challenged(&mut scene, "sip:100@192.0.2.1", ABROAD, LogTransport::Tls);
    }
    scene.play(minutes(1)).banned_by(Detector::ServerProbing);
}

#[test]
fn logged_challenges_that_credentials_follow_do_not_count() {
    for kind in [LogKind::Success, LogKind::WrongPassword] {
        let mut scene = scene();
        for n in 0..4 {
            for account in 0..10 {
                challenged(
                    &mut scene,
                    &format!("1{account:02}"),
                    ABROAD,
                    LogTransport::Tls,
                );
            }
            scene.play(minutes(5) * n + seconds(3));
            scene.observe(&Observation::Log(line(kind, ABROAD, LogTransport::Tls)));
            scene.play(minutes(5) * (n + 1));
        }
        scene.is_peaceful();
    }
}

/// What keeps a door in a router open is challenged for ever, and so is a phone without a password.
#[test]
fn logged_challenges_of_keep_alives_do_not_count() {
    let mut scene = scene();
    for n in 0..400 {
        scene.play(seconds(5) * n);
        challenged(&mut scene, "100", ABROAD, LogTransport::Tls);
    }
    scene.play(minutes(60)).is_peaceful();
}

/// The server's warning carries no address: the Call-ID leads to it.
#[test]
fn the_servers_own_warning_is_tied_to_the_caller_by_the_call_id() {
    let mut scene = scene();
    let job = Job {
        call: Some("1873440594".to_owned()),
        ..Job::new(ABROAD, "INVITE", "100").to("0044123").silent()
    };
    scene.add(job);
    scene.play(seconds(32));
    let event = LogEvent {
        source: None,
        text: b"Timeout on 1873440594 on non-critical invite transaction.",
        ..line(
            LogKind::InviteTimeout {
                call_id: b"1873440594",
            },
            ABROAD,
            LogTransport::Udp,
        )
    };
    scene.observe(&Observation::Log(event));
    let why = scene.engine.why(address(ABROAD).ip(), scene.now);
    let calls = why
        .suspicions
        .iter()
        .find(|suspicion| suspicion.detector == Detector::UnansweredInvite)
        .expect("a suspicion");
    assert_eq!(calls.count, 1);
    assert!(calls.evidence[1].summary.contains("1873440594"));
    assert_eq!(scene.engine.statistics().unattributed_lines, 0);
    for kind in [
        LogKind::InviteTimeout { call_id: b"77" },
        LogKind::AnswerTimeout { call_id: b"78" },
    ] {
        scene.observe(&Observation::Log(LogEvent {
            source: None,
            ..line(kind, ABROAD, LogTransport::Udp)
        }));
    }
    assert_eq!(scene.engine.statistics().unattributed_lines, 2);
}

/// What the wire shows nothing of is the server's word alone: enough to be told, and no more.
#[test]
fn what_only_the_servers_log_holds_against_somebody_is_shown_and_counts_nothing() {
    let mut scene = scene();
    scene.add(login(ABROAD));
    scene.play(seconds(10));
    let line = line(LogKind::Malformed, ABROAD, LogTransport::Udp);
    scene.observe(&Observation::Log(line));
    let why = scene.engine.why(address(ABROAD).ip(), scene.now);
    let [suspicion] = &why.suspicions[..] else {
        panic!("{:?}", why.suspicions);
    };
    assert_eq!(
        (suspicion.detector, suspicion.count, suspicion.last),
        (Detector::MalformedFlood, 0, scene.now)
    );
    assert!(suspicion.evidence[0].summary.starts_with("a line with"));
}

#[test]
fn an_alert_shows_the_requests_and_their_answers() {
    let mut scene = scene();
    let wrong = |n: u64| {
        Job::new(ABROAD, "REGISTER", "100")
            .password("no")
            .at(seconds(n))
    };
    scene.add_all((0..6).map(wrong));
    scene.play(minutes(1));
    let alerts = scene.alerts();
    assert_eq!(alerts[0].evidence.len(), 5);
    let first = &alerts[0].evidence[0];
    assert_eq!(
        first.summary,
        "REGISTER sip:198.51.100.1 SIP/2.0 as 100: 403 Forbidden, wrong password"
    );
    assert!(matches!(first.place, Place::Packet(3)), "{:?}", first.place);
    assert!(first.at > START);
}

#[test]
fn suspects_are_shown_on_their_way() {
    let mut scene = scene();
    let wrong = |n: u64| {
        Job::new(ABROAD, "REGISTER", "100")
            .password("no")
            .at(seconds(n))
    };
    scene.add_all((0..3).map(wrong));
    scene.play(minutes(1));
    let suspects = scene.engine.suspects(scene.now);
    let guesser = &suspects[0];
    assert_eq!(guesser.address, address(ABROAD).ip());
    assert_eq!(
        (guesser.detector, guesser.count),
        (Detector::PasswordGuessing, 3)
    );
}

#[test]
fn a_flood_that_the_rate_limit_drops_is_banned_mildly() {
    let mut scene = scene();
    for n in 0..700u32 {
        scene.play(scene::millis(50) * n);
        scene.rate_drops(ABROAD, 1);
    }
    let ban = scene.banned_by(Detector::RateExceeded);
    assert_eq!(ban.scope, sipward_engine::Scope::Sip);
    assert!(ban.since < START + seconds(31));
}

#[test]
fn a_trusted_address_is_told_once_an_hour_and_after_it_lost_its_rate() {
    let mut scene = scene();
    scene.add_all((0..120).map(|n| login(HOME).at(minutes(n))));
    scene.play(minutes(121));
    let told = scene
        .commands
        .iter()
        .filter(|command| matches!(command, sipward_engine::Command::Trust(_)))
        .count();
    assert_eq!(told, 2);
}

#[test]
fn restored_trust_knows_the_user() {
    let mut scene = scene();
    scene.add(login(HOME));
    scene.play(minutes(1));
    let trusted: Vec<_> = scene.engine.trusted(scene.now).cloned().collect();
    let mut after = Engine::new(Config::default(), 99);
    let restored = sipward_engine::Restored {
        trusted: trusted.clone(),
        ..Default::default()
    };
    after.restore(restored, scene.now);
    assert_eq!(
        after.trusted(scene.now).cloned().collect::<Vec<_>>(),
        trusted
    );
    assert_eq!(trusted[0].username.as_deref(), Some("100"));
    assert_eq!(trusted[0].user_agent.as_deref(), Some(&b"Phone 1.0"[..]));
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}
