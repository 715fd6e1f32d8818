//! Attackers that must not walk through: each is banned by the rule that names it, within its
//! number. What a stock scanner's signature shows is in `guard.rs`.

mod scene;

use std::time::Duration;

use scene::{Driver, Job, Login, START, Scene, digest, millis, minutes, seconds};
use sipward_engine::{Command, Detector, Scope};
use test_case::test_case;

const ATTACKER: &str = "203.0.113.66:5070";

/// A password that is in nobody's list.
fn password(n: u32) -> String {
    format!("zq{n}-Xw{}", n * 7919)
}

fn guess(n: u32, gap: Duration) -> Job {
    Job::new(ATTACKER, "REGISTER", "100")
        .password(&password(n))
        .at(gap * n)
}

/// One account, whose password is the 200th that is tried.
fn scene(driver: Driver) -> Scene {
    let mut scene = Scene::new(driver);
    scene.account("100", &password(200));
    scene
}

fn on(host: u32) -> String {
    format!("{}:5070", std::net::Ipv4Addr::from(0xcb00_7100 + host))
}

fn hours(n: u64) -> Duration {
    minutes(60 * n)
}

#[test_case(Driver::ChanSip, "REGISTER")]
#[test_case(Driver::ChanSip, "INVITE")]
#[test_case(Driver::ChanSip, "SUBSCRIBE")]
#[test_case(Driver::ChanSip, "MESSAGE")]
#[test_case(Driver::PjSip, "REGISTER")]
#[test_case(Driver::PjSip, "INVITE")]
#[test_case(Driver::PjSip, "SUBSCRIBE")]
#[test_case(Driver::PjSip, "MESSAGE")]
#[test_case(Driver::PjSip, "OPTIONS")]
#[test_case(Driver::PjSip, "REFER")]
#[test_case(Driver::FreeSwitch, "REGISTER")]
#[test_case(Driver::FreeSwitch, "INVITE")]
fn a_guesser_gets_five_passwords_refused_whatever_the_method(driver: Driver, method: &'static str) {
    let mut scene = scene(driver);
    let guesses = (0..300).map(|n| {
        let job = Job {
            method,
            ..guess(n, millis(100))
        };
        job.to("100")
    });
    scene.add_all(guesses);
    scene.play(minutes(1));
    let ban = scene.banned_by(Detector::PasswordGuessing);
    assert_eq!((ban.proven, ban.scope), (true, Scope::All));
    assert_eq!(ban.account.as_deref(), Some("100"));
    assert!(ban.since < START + millis(500), "at the fifth");
    assert!(
        !scene
            .commands
            .iter()
            .any(|c| matches!(c, Command::Trust(_))),
        "not found"
    );
}

#[test]
fn a_missing_user_agent_helps_no_guesser() {
    let mut scene = scene(Driver::ChanSip);
    scene.add_all((0..50).map(|n| Job {
        user_agent: None,
        ..guess(n, millis(100))
    }));
    scene.play(minutes(1)).banned_by(Detector::PasswordGuessing);
}

#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
fn the_nonce_oracle_gets_five_answers(driver: Driver) {
    let mut scene = scene(driver);
    let job = |n: u32| {
        let oracle = Login::Oracle(password(n));
        guess(n, millis(100)).login(oracle)
    };
    scene.add_all((0..300).map(job));
    scene.play(minutes(1));
    let ban = scene.banned_by(Detector::PasswordGuessing);
    assert_eq!((ban.proven, ban.scope), (false, Scope::Sip));
    assert!(ban.since < START + millis(500), "at the fifth");
}

/// Guesses within one dialog, with nonces of the guesser's own making, as fast as the wire is.
#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
fn the_nonce_oracle_within_one_dialog_gets_five_answers(driver: Driver) {
    let mut scene = scene(driver);
    let job = |n: u32| {
        let mut job = guess(n, Duration::from_micros(100));
        job.call = Some("one-dialog".to_owned());
        let uri = "sip:198.51.100.1";
        let response = digest("100", &password(n), "REGISTER", uri, "facade00");
        job.first_authorization = Some(format!(
            "Authorization: Digest username=\"100\", realm=\"asterisk\", nonce=\"facade00\", uri=\"{uri}\", response=\"{response}\"\r\n"
        ));
        job.cseq = 1 + n;
        job.login(Login::Never)
    };
    scene.add_all((0..300).map(job));
    scene.play(minutes(1));
    scene.banned_by(Detector::PasswordGuessing);
    // The first request of a dialog tells a chan_sip guesser nothing.
    assert!(
        scene.answers_to("203.0.113.66") <= 6,
        "{}",
        scene.answers_to("203.0.113.66")
    );
}

#[test]
fn two_common_passwords_of_one_user_are_enough() {
    let mut scene = scene(Driver::PjSip);
    let job = |n, password| guess(n, minutes(20)).password(password);
    scene.add_all([
        job(0, "1234"),
        job(1, "1234"),
        job(2, "secret"),
        job(3, "100"),
    ]);
    scene.play(hours(2));
    let ban = scene.banned_by(Detector::PasswordGuessing);
    assert!(ban.since > START + minutes(40) && ban.since < START + minutes(41));
}

#[test_case(Driver::ChanSip, "REGISTER", "")]
#[test_case(Driver::PjSip, "REGISTER", "")]
#[test_case(Driver::PjSip, "OPTIONS", "100")]
#[test_case(Driver::PjSip, "SUBSCRIBE", "100")]
#[test_case(Driver::PjSip, "MESSAGE", "100")]
fn an_enumerator_is_banned_four_seconds_after_the_sixth_identity(
    driver: Driver,
    method: &'static str,
    target: &str,
) {
    let mut scene = scene(driver);
    let job = |n: u32| Job::new(ATTACKER, method, &(100 + n).to_string());
    scene.add_all((0..40).map(|n| job(n).to(target).at(seconds(1) * n)));
    scene.play(minutes(5));
    let ban = scene.banned_by(Detector::ExtensionEnumeration);
    assert_eq!((ban.proven, ban.scope), (false, Scope::Sip));
    assert!(ban.since < START + seconds(10));
}

#[test]
fn a_server_that_tells_who_exists_tells_it_of_six() {
    let mut scene = scene(Driver::ChanSip);
    scene.pbx.always_auth_reject = false;
    let job = |n: u32| Job::new(ATTACKER, "REGISTER", &(200 + n).to_string());
    scene.add_all((0..1_000).map(|n| job(n).at(millis(10) * n)));
    scene.play(minutes(5));
    scene.banned_by(Detector::ExtensionEnumeration);
    assert!(scene.answers_to("203.0.113.66") <= 7);
}

#[test]
fn an_enumerator_over_tcp_is_proven() {
    let mut scene = scene(Driver::PjSip);
    let job = |n: u32| Job::new(ATTACKER, "REGISTER", &(200 + n).to_string()).over_tcp();
    scene.add_all((0..10).map(|n| job(n).at(seconds(1) * n)));
    scene.play(minutes(5));
    assert!(scene.banned_by(Detector::ExtensionEnumeration).proven);
}

#[test]
fn a_dialog_that_goes_on_without_credentials_hides_no_enumerator() {
    let mut scene = scene(Driver::PjSip);
    let job = |n: u32| Job {
        call: Some("one-dialog".to_owned()),
        cseq: 1 + n,
        ..Job::new(ATTACKER, "REGISTER", &(200 + n).to_string())
    };
    scene.add_all((0..10).map(|n| job(n).at(seconds(1) * n)));
    scene.play(minutes(5));
    scene.banned_by(Detector::ExtensionEnumeration);
}

#[test]
fn a_fast_enumerator_is_held_before_it_is_banned() {
    let mut scene = scene(Driver::PjSip);
    let job = |n: u32| Job::new(ATTACKER, "REGISTER", &(1_000 + n).to_string());
    scene.add_all((0..400).map(|n| job(n).at(millis(10) * n)));
    scene.play(minutes(1));
    let first_hold = scene
        .commands
        .iter()
        .position(|c| matches!(c, Command::Hold(_)));
    let first_ban = scene
        .commands
        .iter()
        .position(|c| matches!(c, Command::Ban(_)));
    assert!(first_hold.unwrap() < first_ban.unwrap());
    scene.banned_by(Detector::ExtensionEnumeration);
    assert!(
        scene.answers_to("203.0.113.66") < 140,
        "{}",
        scene.answers_to("203.0.113.66")
    );
}

/// SIPVicious asks for somebody who does not exist first, then for a thousand who do, one every 5 ms.
#[test]
fn an_enumerator_that_was_told_who_does_not_exist_learns_twice_twelve() {
    let mut scene = scene(Driver::ChanSip);
    scene.pbx.always_auth_reject = false;
    for n in 0..1_000 {
        scene.account(&(1_000 + n).to_string(), "unguessed");
    }
    scene.add(Job::new(ATTACKER, "REGISTER", "9182736455"));
    let job = |n: u32| Job::new(ATTACKER, "REGISTER", &(1_000 + n).to_string());
    scene.add_all((0..1_000).map(|n| job(n).at(millis(100) + millis(5) * n)));
    scene.play(minutes(1));
    scene.banned_by(Detector::ExtensionEnumeration);
    let answers = scene.answers_to("203.0.113.66");
    assert!(answers <= 27, "{answers}");
}

#[test_case(Driver::ChanSip, false)]
#[test_case(Driver::ChanSip, true)]
#[test_case(Driver::PjSip, false)]
#[test_case(Driver::PjSip, true)]
fn a_caller_that_never_acknowledges_draws_twelve_answers(driver: Driver, tcp: bool) {
    let mut scene = scene(driver);
    let job = |n: u32| {
        let number = format!("90044{n:07}");
        let job = Job::new(ATTACKER, "INVITE", "100").to(&number).silent();
        Job { tcp, ..job }.at(seconds(2) * n)
    };
    scene.add_all((0..50).map(job));
    scene.play(minutes(2));
    let ban = scene.banned_by(Detector::UnansweredInvite);
    assert_eq!(ban.proven, tcp);
    assert!(
        ban.since < START + seconds(7),
        "long before the server warns"
    );
    // What chan_sip repeats for calls that are in it already, nothing can stop.
    let fresh = scene.answers_within("203.0.113.66", ban.since);
    assert!(fresh <= 12, "{fresh}");
}

#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
#[test_case(Driver::FreeSwitch)]
fn a_caller_of_one_number_per_200_seconds_is_banned_at_the_twelfth(driver: Driver) {
    let mut scene = scene(driver);
    let job = |n: u32| {
        let number = format!("{}{:07}", 9_000 + n, 5_550_000 + n);
        Job::new(ATTACKER, "INVITE", "100").to(&number)
    };
    scene.add_all((0..100).map(|n| job(n).at(seconds(200) * n)));
    scene.play(hours(6));
    let ban = scene.banned_by(Detector::TollFraudProbe);
    assert_eq!((ban.proven, ban.scope), (true, Scope::All));
    assert!(ban.since < START + seconds(200) * 11 + seconds(5));
}

#[test]
fn one_number_with_three_prefixes_is_enough() {
    let mut scene = scene(Driver::ChanSip);
    let job = |n: u32, prefix| {
        let number = format!("{prefix}972595123456");
        Job::new(ATTACKER, "INVITE", "100")
            .to(&number)
            .at(minutes(30) * n)
    };
    scene.add_all([job(0, "00"), job(1, "900"), job(2, "0"), job(3, "011")]);
    scene.play(hours(3));
    let ban = scene.banned_by(Detector::TollFraudProbe);
    assert!(ban.since < START + minutes(61));
}

#[test]
fn many_different_requests_are_probing() {
    let mut scene = scene(Driver::ChanSip);
    let job = |n: u32| Job::new(ATTACKER, "OPTIONS", "x").to(&(300 + n).to_string());
    scene.add_all((0..40).map(|n| job(n).at(seconds(10) * n)));
    scene.play(minutes(10));
    let ban = scene.banned_by(Detector::ServerProbing);
    assert!(ban.since < START + seconds(200));
}

#[test]
fn three_methods_without_a_dialog_are_probing() {
    let mut scene = scene(Driver::PjSip);
    for (n, method) in [(0, "BYE"), (1, "CANCEL"), (2, "INFO"), (3, "UPDATE")] {
        scene.add(Job::new(ATTACKER, method, "100").to("100").at(seconds(n)));
    }
    scene.play(minutes(1));
    let ban = scene.banned_by(Detector::ServerProbing);
    assert!(ban.since < START + seconds(3));
}

#[test]
fn twenty_broken_messages_in_a_minute_are_a_flood() {
    let mut scene = scene(Driver::PjSip);
    for n in 0..30 {
        scene.play(seconds(2) * n);
        scene.send(ATTACKER, "INVITE sip:x SIP/2.0\r\nFrom: nobody\r\n\r\n");
    }
    let ban = scene.banned_by(Detector::MalformedFlood);
    assert!(ban.since <= START + seconds(40));
}

#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
#[test_case(Driver::FreeSwitch)]
fn one_valid_login_does_not_cover_an_enumerator_that_answers_challenges(driver: Driver) {
    let mut scene = scene(driver);
    scene.add(Job::new(ATTACKER, "REGISTER", "100").password(&password(200)));
    let job = |n: u32| Job::new(ATTACKER, "REGISTER", &(200 + n).to_string()).password("x0-Yz");
    scene.add_all((0..40).map(|n| job(n).at(seconds(70) * n + seconds(5))));
    scene.play(minutes(20));
    let ban = scene.banned_by(Detector::ExtensionEnumeration);
    assert_eq!((ban.port, ban.proven), (Some(5_070), true));
}

/// Nothing tells it from somebody who forges the phone's packets: only the larger rate goes.
#[test]
fn one_valid_login_and_an_enumerator_that_proves_nothing_raise_an_alert() {
    let mut scene = scene(Driver::PjSip);
    scene.add(Job::new(ATTACKER, "REGISTER", "100").password(&password(200)));
    let job = |n: u32| Job::new(ATTACKER, "REGISTER", &(200 + n).to_string());
    scene.add_all((0..40).map(|n| job(n).at(seconds(1) * n + seconds(5))));
    scene.play(minutes(5));
    assert_eq!(scene.bans().len(), 0);
    assert_eq!(scene.alerts()[0].detector, Detector::ExtensionEnumeration);
    assert!(
        scene
            .commands
            .iter()
            .any(|c| matches!(c, Command::TakeRate(_)))
    );
}

#[test]
fn a_day_of_slow_guessing_ends_at_the_hundredth_password() {
    let mut scene = scene(Driver::ChanSip);
    // Ten accounts in turn: no phone that repeats itself, and no ten phones either.
    let job = |n: u32| Job {
        user: (100 + n % 10).to_string(),
        ..guess(n, minutes(8))
    };
    scene.add_all((0..180).map(job));
    scene.play(hours(24));
    let ban = scene.banned_by(Detector::PasswordGuessing);
    assert!(ban.since > START + hours(18) && ban.since < START + hours(20));
}

#[test]
fn a_day_of_slow_enumeration_ends_at_the_twentieth_identity() {
    let mut scene = scene(Driver::ChanSip);
    let job = |n: u32| Job::new(ATTACKER, "REGISTER", &(100 + n).to_string());
    scene.add_all((0..90).map(|n| job(n).at(minutes(15) * n)));
    scene.play(hours(24));
    let ban = scene.banned_by(Detector::ExtensionEnumeration);
    assert!(ban.since < START + minutes(15) * 20);
}

#[test]
fn a_day_of_slow_unacknowledged_calls_ends_at_the_sixth() {
    let mut scene = scene(Driver::ChanSip);
    let job = |n: u32| {
        Job::new(ATTACKER, "INVITE", "100")
            .to("900441234567")
            .silent()
            .at(hours(1) * n)
    };
    scene.add_all((0..20).map(job));
    scene.play(hours(24));
    let ban = scene.banned_by(Detector::UnansweredInvite);
    assert!(ban.since < START + hours(5) + minutes(1));
}

#[test]
fn a_day_of_slow_probing_ends_at_the_sixtieth_request() {
    let mut scene = scene(Driver::ChanSip);
    let job = |n: u32| Job::new(ATTACKER, "OPTIONS", "x").to(&(300 + n).to_string());
    scene.add_all((0..90).map(|n| job(n).at(minutes(15) * n)));
    scene.play(hours(24));
    let ban = scene.banned_by(Detector::ServerProbing);
    assert!(ban.since < START + minutes(15) * 60);
}

#[test]
fn guessing_spread_over_one_account_is_one_attempt_for_each_address() {
    let mut scene = scene(Driver::ChanSip);
    let job = |n: u32| {
        let from = format!(
            "{}:5070",
            std::net::Ipv4Addr::from(0x0b00_0001 + n * 65_536)
        );
        Job::new(&from, "REGISTER", "100")
            .password(&password(n))
            .at(minutes(10) * n)
    };
    scene.add_all((0..60).map(job));
    scene.play(hours(11));
    let bans = scene.bans();
    assert_eq!(bans.len(), 56, "all from the fifth on");
    assert!(
        bans.iter()
            .all(|ban| ban.detector == Some(Detector::AccountAttacked))
    );
}

#[test]
fn guessing_spread_over_a_24_ends_with_the_24() {
    let mut scene = scene(Driver::ChanSip);
    // Three attempts of each address, at once: half-way.
    let job = |n: u32| {
        Job::new(&on(n / 3), "REGISTER", &(100 + n / 3).to_string())
            .password(&password(n))
            .at(minutes(20) * (n / 3) + seconds(1) * (n % 3))
    };
    scene.add_all((0..90).map(job));
    scene.play(hours(11));
    let ban = scene.banned_by(Detector::PrefixCampaign);
    assert_eq!(ban.prefix.to_string(), "203.0.113.0/24");
    assert!(ban.proven);
    assert!(ban.since < START + minutes(82));
}

#[test]
fn guessing_spread_over_a_48_ends_with_the_48() {
    let mut scene = scene(Driver::PjSip);
    let job = |n: u32| {
        let from = format!("[2001:db8:7:{n:x}::1]:5070");
        Job::new(&from, "REGISTER", "100")
            .password(&password(n))
            .at(minutes(1) * n)
    };
    scene.add_all((0..200).map(job));
    scene.play(hours(4));
    let bans = scene.bans();
    assert!(
        bans[..8]
            .iter()
            .all(|ban| ban.detector == Some(Detector::AccountAttacked))
    );
    assert_eq!(bans[8].detector, Some(Detector::PrefixCampaign));
    assert_eq!(bans[8].prefix.to_string(), "2001:db8:7::/48");
}
