//! Honest parties that must never be banned, held or dropped: each is played with the numbers that
//! make it look like an attacker.

mod scene;

use std::time::Duration;

use scene::{Driver, Job, Login, Scene, digest, millis, minutes, seconds};
use sipward_engine::{Command, Config, Detector, Protection, Scope};
use test_case::test_case;

const OFFICE: &str = "203.0.113.20";

/// For a play of days: the list of common passwords is left aside, for the sake of the test's own
/// time.
fn long_scene(driver: Driver, phones: u32) -> Scene {
    let mut scene = scene(driver, phones);
    let mut config = Config::default();
    config.password_guessing.dictionary_per_second = 0;
    scene.engine.set_config(config);
    scene
}

/// Extensions 100, 101 … with passwords that no list has.
fn scene(driver: Driver, phones: u32) -> Scene {
    let mut scene = Scene::new(driver);
    for n in 0..phones {
        scene.account(&(100 + n).to_string(), &secret(n));
    }
    scene
        .pbx
        .numbers
        .extend(["600".to_owned(), "601".to_owned()]);
    scene
}

fn secret(n: u32) -> String {
    format!("Kq7-{n}-pZ")
}

/// A phone behind the office's address, with a port of its own.
fn phone(n: u32, method: &'static str) -> Job {
    let from = format!("{OFFICE}:{}", 20_000 + n);
    Job::new(&from, method, &(100 + n).to_string()).password(&secret(n))
}

fn hours(n: u64) -> Duration {
    minutes(60 * n)
}

#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
#[test_case(Driver::FreeSwitch)]
fn sixty_phones_behind_one_address_after_a_power_cut(driver: Driver) {
    let mut scene = scene(driver, 60);
    let job = |n: u32| {
        phone(n, "REGISTER")
            .far(millis(40))
            .at(Duration::from_micros(1_600) * n)
    };
    scene.add_all((0..60).map(job));
    scene.play(minutes(5)).is_peaceful();
    assert_eq!(scene.engine.trusted(scene.now).count(), 1);
}

/// All at once, and the answers take two seconds: nobody is held for a slow line.
#[test]
fn sixty_phones_behind_a_satellite() {
    let mut scene = scene(Driver::PjSip, 60);
    scene.add_all((0..60).map(|n| phone(n, "REGISTER").far(millis(450))));
    scene.play(minutes(5)).is_peaceful();
}

#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
#[test_case(Driver::FreeSwitch)]
fn sixty_phones_that_kept_their_nonces(driver: Driver) {
    let mut scene = scene(driver, 60);
    let job = |n: u32| {
        phone(n, "REGISTER")
            .login(Login::Cached(secret(n)))
            .far(millis(40))
    };
    scene.add_all((0..60).map(job));
    scene.play(minutes(5)).is_peaceful();
}

#[test_case(Driver::ChanSip, true)]
#[test_case(Driver::ChanSip, false)]
#[test_case(Driver::PjSip, true)]
#[test_case(Driver::PjSip, false)]
fn a_phone_with_sixty_keys_boots(driver: Driver, subscriptions: bool) {
    let mut scene = scene(driver, 1);
    scene.pbx.subscriptions = subscriptions;
    scene.add(phone(0, "REGISTER").far(millis(40)));
    let key = |n: u32| {
        phone(0, "SUBSCRIBE")
            .to(&(100 + n).to_string())
            .far(millis(40))
    };
    scene.add_all((0..60).map(|n| key(n).at(millis(200) + millis(5) * n)));
    scene.play(minutes(5)).is_peaceful();
}

/// The registration was before this program was started.
#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
fn sixty_keys_are_renewed_before_anything_is_known_of_the_phone(driver: Driver) {
    let mut scene = scene(driver, 1);
    scene.pbx.subscriptions = false;
    let key = |n: u32| phone(0, "SUBSCRIBE").to(&(100 + n).to_string());
    scene.add_all((0..60).map(|n| key(n).at(millis(5) * n)));
    scene.play(minutes(5)).is_peaceful();
}

/// The office after a power cut, at a server that tells who exists; one phone's account is gone.
#[test]
fn sixty_phones_behind_one_address_and_one_that_is_unknown() {
    let mut scene = scene(Driver::ChanSip, 60);
    scene.pbx.always_auth_reject = false;
    let removed = Job::new(&format!("{OFFICE}:5199"), "REGISTER", "removed");
    scene.add(removed.far(millis(40)));
    scene.add_all((0..60).map(|n| phone(n, "REGISTER").far(millis(40)).at(millis(20))));
    scene.play(minutes(5)).is_peaceful();
}

#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
#[test_case(Driver::FreeSwitch)]
fn a_gateway_with_forty_eight_ports_150_ms_away(driver: Driver) {
    let mut scene = scene(driver, 48);
    let job = |n: u32| Job {
        from: format!("{OFFICE}:5060").parse().expect("an address"),
        ..phone(n, "REGISTER").far(millis(75))
    };
    scene.add_all((0..48).map(|n| job(n).at(millis(2) * n)));
    scene.play(minutes(5)).is_peaceful();
}

/// The ACKs of a trunk that nobody has proved anything about were in packets that were lost.
#[test]
fn what_nobody_saw_is_held_against_nobody() {
    let mut scene = scene(Driver::ChanSip, 1);
    for n in 0..6u32 {
        let at = seconds(60) * n;
        let number = format!("900445550{n:03}");
        let call = Job::new(&format!("{OFFICE}:5060"), "INVITE", "100").to(&number);
        scene.add(call.silent().at(at));
        scene.play(at + millis(500));
        scene.engine.overlooked(scene.now);
    }
    scene.play(minutes(10));
    let detectors: Vec<Detector> = scene.alerts().iter().map(|alert| alert.detector).collect();
    assert!(
        !detectors.contains(&Detector::UnansweredInvite),
        "{detectors:?}"
    );
}

#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
#[test_case(Driver::FreeSwitch)]
fn two_phones_with_stale_passwords_behind_one_address_for_a_day(driver: Driver) {
    let mut scene = long_scene(driver, 3);
    scene.add(phone(2, "REGISTER"));
    let stale = |phone_number: u32, n: u32| {
        phone(phone_number, "REGISTER")
            .password("last-years")
            .at(seconds(30) * n + seconds(7) * phone_number)
    };
    scene.add_all((0..2_880).flat_map(|n| [stale(0, n), stale(1, n)]));
    scene.play(hours(24)).is_peaceful();
}

#[test]
fn a_phone_that_repeats_a_stale_password_every_ten_seconds_is_banned_mildly() {
    let mut scene = long_scene(Driver::ChanSip, 1);
    let stale = |n: u32| {
        phone(0, "REGISTER")
            .password("last-years")
            .at(seconds(11) * n)
    };
    scene.add_all((0..8_000).map(stale));
    scene.play(hours(24));
    let ban = scene.banned_by(Detector::PasswordGuessing);
    assert_eq!(ban.scope, Scope::Sip);
    assert_eq!(ban.until, Some(ban.since + minutes(10)));
    assert!(ban.since > scene::START + hours(15), "5,000 attempts");
}

#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
#[test_case(Driver::FreeSwitch)]
fn a_user_mistypes_twice(driver: Driver) {
    let mut scene = scene(driver, 1);
    for (n, password) in [(0, "wrong-1"), (1, "wrong-2"), (2, secret(0).as_str())] {
        scene.add(phone(0, "REGISTER").password(password).at(seconds(8) * n));
    }
    scene.play(minutes(5)).is_peaceful();
}

#[test_case(Driver::ChanSip, "REGISTER")]
#[test_case(Driver::PjSip, "REGISTER")]
#[test_case(Driver::ChanSip, "INVITE")]
#[test_case(Driver::PjSip, "INVITE")]
fn nonce_caching_trunks_and_phones_for_a_day(driver: Driver, method: &'static str) {
    let mut scene = scene(driver, 1);
    let job = |n: u32| {
        let login = Login::Cached(secret(0));
        phone(0, method).to("600").login(login).at(minutes(1) * n)
    };
    scene.add_all((0..1_440).map(job));
    scene.play(hours(25)).is_peaceful();
}

/// Chan_sip forgets a nonce within a minute, and does not call it stale.
#[test]
fn a_dozen_phones_keep_a_nonce_that_the_server_forgets_within_a_minute() {
    let mut scene = scene(Driver::ChanSip, 12);
    let uri = "sip:198.51.100.1";
    for round in 0..5u32 {
        let start = seconds(36) * round;
        scene.play(start);
        for n in 0..12 {
            let mut job = phone(n, "REGISTER").at(start + millis(50) * n);
            job.call = Some(format!("{round}-{n}"));
            if let Some(before) = round.checked_sub(1) {
                let nonce = scene.pbx.nonce(&format!("{before}-{n}"));
                let user = 100 + n;
                let response = digest(&user.to_string(), &secret(n), "REGISTER", uri, nonce);
                job.first_authorization = Some(format!(
                    "Authorization: Digest username=\"{user}\", realm=\"asterisk\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\"\r\n"
                ));
            }
            scene.add(job);
        }
    }
    scene.play(minutes(5)).is_peaceful();
}

#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
#[test_case(Driver::FreeSwitch)]
fn ims_handsets_with_an_empty_first_nonce(driver: Driver) {
    let mut scene = scene(driver, 20);
    let job = |n: u32| phone(n, "REGISTER").login(Login::Ims(secret(n)));
    scene.add_all((0..20).map(|n| job(n).at(millis(10) * n)));
    scene.play(minutes(5)).is_peaceful();
}

#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
#[test_case(Driver::FreeSwitch)]
fn logged_in_users_misdial(driver: Driver) {
    let mut scene = scene(driver, 1);
    scene.add(phone(0, "REGISTER"));
    let misdial = |n: u32| phone(0, "INVITE").to(&(7_000 + n).to_string());
    scene.add_all((0..15).map(|n| misdial(n).at(seconds(10) * n + seconds(1))));
    scene.play(minutes(10)).is_peaceful();
}

#[test]
fn a_listed_trunk_misdials() {
    let mut scene = scene(Driver::PjSip, 0);
    scene
        .pbx
        .trunks
        .insert("192.0.2.99".parse().expect("an address"));
    let peer = "192.0.2.99/32".parse().expect("an address");
    scene.engine.protected_mut().add(Protection::Peer, peer);
    let misdial =
        |n: u32| Job::new("192.0.2.99:5060", "INVITE", &format!("4930{n}")).to(&format!("49{n}"));
    scene.add_all((0..40).map(|n| misdial(n).at(seconds(10) * n)));
    scene.play(minutes(10)).is_peaceful();
}

#[test]
fn a_trunk_is_known_by_the_requests_that_the_server_sends_to_it() {
    let mut scene = scene(Driver::PjSip, 0);
    scene
        .pbx
        .trunks
        .insert("192.0.2.99".parse().expect("an address"));
    scene.server_asks("192.0.2.99:5060", "REGISTER", "200 OK");
    let misdial =
        |n: u32| Job::new("192.0.2.99:5060", "INVITE", &format!("4930{n}")).to(&format!("49{n}"));
    scene.add_all((0..40).map(|n| misdial(n).at(seconds(10) * n)));
    scene.play(minutes(10)).is_peaceful();
}

#[test]
fn a_registered_phone_that_the_server_asks_is_no_trunk() {
    let mut scene = scene(Driver::PjSip, 1);
    scene.add(phone(0, "REGISTER"));
    scene.play(seconds(1));
    scene.server_asks(&format!("{OFFICE}:20000"), "OPTIONS", "200 OK");
    let guess = |n: u32| {
        phone(0, "REGISTER")
            .password(&format!("no-{n}"))
            .at(seconds(2) + seconds(1) * n)
    };
    scene.add_all((0..10).map(guess));
    scene.play(minutes(1)).banned_by(Detector::PasswordGuessing);
}

#[test]
fn an_ip_authenticated_trunk_calls_many_numbers_from_many() {
    let mut scene = scene(Driver::ChanSip, 0);
    scene
        .pbx
        .trunks
        .insert("192.0.2.99".parse().expect("an address"));
    scene
        .pbx
        .numbers
        .extend((0..200).map(|n| format!("49{n:05}")));
    let call = |n: u32| {
        Job::new("192.0.2.99:5060", "INVITE", &format!("4930{n}")).to(&format!("49{n:05}"))
    };
    scene.add_all((0..200).map(|n| call(n).at(seconds(2) * n)));
    scene.play(minutes(20)).is_peaceful();
}

#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
fn a_router_swallows_every_ack_of_a_200(driver: Driver) {
    let mut scene = scene(driver, 1);
    scene.add(phone(0, "REGISTER"));
    let call = |n: u32| Job {
        acknowledges_success: false,
        ..phone(0, "INVITE")
            .to("600")
            .at(seconds(40) * n + seconds(1))
    };
    scene.add_all((0..20).map(call));
    scene.play(minutes(20)).is_peaceful();
}

/// Even the ACK of the challenge is lost; the credentials that follow speak for the phone.
#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
fn a_router_swallows_every_ack(driver: Driver) {
    let mut scene = scene(driver, 1);
    scene.add(phone(0, "REGISTER"));
    let call = |n: u32| {
        phone(0, "INVITE")
            .to("600")
            .silent()
            .at(seconds(40) * n + seconds(1))
    };
    scene.add_all((0..20).map(call));
    scene.play(minutes(20)).is_peaceful();
}

#[test_case(Driver::ChanSip, 5)]
#[test_case(Driver::ChanSip, 30)]
#[test_case(Driver::PjSip, 5)]
#[test_case(Driver::PjSip, 30)]
fn a_provider_asks_every_few_seconds_for_a_day(driver: Driver, every: u64) {
    let mut scene = scene(driver, 0);
    let ask = |n: u32| Job::new("192.0.2.77:5060", "OPTIONS", "ping").at(seconds(every) * n);
    scene.add_all((0..3_000).map(ask));
    scene.play(hours(25)).is_peaceful();
}

#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
fn a_phone_keeps_its_nat_open_with_notify(driver: Driver) {
    let mut scene = scene(driver, 1);
    let notify = |n: u32| {
        Job::new("203.0.113.20:20000", "NOTIFY", "100")
            .to("100")
            .at(seconds(15) * n)
    };
    scene.add_all((0..2_000).map(notify));
    scene.play(hours(9)).is_peaceful();
}

#[test]
fn sixty_phones_keep_their_nat_open_with_nothing() {
    let mut scene = scene(Driver::PjSip, 0);
    let stun = "\0\x01\0\0\x21\x12\u{24}\x42aaaaaaaaaaaa";
    for round in 0..20u32 {
        scene.play(seconds(20) * round);
        for n in 0..60 {
            let from = format!("{OFFICE}:{}", 20_000 + n);
            for payload in ["\r\n\r\n", "\0\0\0\0", stun, ""] {
                scene.send(&from, payload);
            }
        }
    }
    scene.is_peaceful();
}

#[test]
fn a_forked_call_that_is_cancelled() {
    let mut scene = scene(Driver::PjSip, 0);
    for n in 0..10 {
        scene.play(seconds(5) * n);
        let head = |branch: &str, tag: &str, method: &str| {
            format!(
                "Via: SIP/2.0/UDP {OFFICE}:20000;branch=z9hG4bK{n}{branch}\r\nFrom: <sip:100@pbx>;tag=f{n}\r\n\
                 To: <sip:600@pbx>{tag}\r\nCall-ID: forked-{n}\r\nCSeq: 1 {method}\r\n\r\n"
            )
        };
        let client = format!("{OFFICE}:20000");
        for branch in ["a", "b"] {
            let (tag, server_tag) = ("", format!(";tag=s{n}{branch}"));
            scene.send(
                &client,
                &format!(
                    "INVITE sip:600@pbx SIP/2.0\r\n{}",
                    head(branch, tag, "INVITE")
                ),
            );
            scene.server_sends(
                &client,
                &format!(
                    "SIP/2.0 180 Ringing\r\n{}",
                    head(branch, &server_tag, "INVITE")
                ),
            );
            scene.send(
                &client,
                &format!(
                    "CANCEL sip:600@pbx SIP/2.0\r\n{}",
                    head(branch, tag, "CANCEL")
                ),
            );
            scene.server_sends(
                &client,
                &format!("SIP/2.0 200 OK\r\n{}", head(branch, &server_tag, "CANCEL")),
            );
            scene.server_sends(
                &client,
                &format!(
                    "SIP/2.0 487 Request Terminated\r\n{}",
                    head(branch, &server_tag, "INVITE")
                ),
            );
            scene.send(
                &client,
                &format!(
                    "ACK sip:600@pbx SIP/2.0\r\n{}",
                    head(branch, &server_tag, "ACK")
                ),
            );
        }
    }
    scene.play(minutes(2)).is_peaceful();
}

#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
#[test_case(Driver::FreeSwitch)]
fn a_softphone_wakes_up_after_a_weekend(driver: Driver) {
    let mut scene = scene(driver, 1);
    scene.add(phone(0, "REGISTER"));
    let weekend = hours(62);
    let wakes = phone(0, "REGISTER").login(Login::Cached(secret(0)));
    // It sends again what it had in mind, several times over, before it listens.
    scene.add_all((0..4).map(|n| wakes.clone().at(weekend + millis(100) * n)));
    scene.add_all((0..4).map(|n| phone(0, "SUBSCRIBE").to("101").at(weekend + seconds(1) * n)));
    scene.play(hours(63)).is_peaceful();
}

#[test_case(Driver::ChanSip)]
#[test_case(Driver::PjSip)]
#[test_case(Driver::FreeSwitch)]
fn a_colleague_behind_the_address_of_a_guesser_loses_nothing(driver: Driver) {
    let mut scene = scene(driver, 3);
    let colleague = |n: u32| phone(0, "REGISTER").at(minutes(1) * n);
    scene.add_all((0..30).map(colleague));
    // The colleague mistypes in the midst of it, right after the guesser's fourth guess.
    scene.add(
        phone(2, "REGISTER")
            .password("mistyped")
            .at(minutes(5) + millis(3_500)),
    );
    let guesser = |n: u32| {
        let job = phone(1, "REGISTER").password(&format!("no-{n}"));
        job.at(minutes(5) + seconds(1) * n)
    };
    scene.add_all((0..60).map(guesser));
    scene.play(minutes(31));
    let guesser = format!("{OFFICE}:20001").parse().expect("an address");
    let ban = scene.banned_by(Detector::PasswordGuessing);
    assert_eq!((ban.port, ban.scope), (Some(20_001), Scope::Sip));
    assert_eq!(scene.bans().len(), 1);
    assert_eq!(scene.dropped.keys().collect::<Vec<_>>(), [&guesser]);
}

/// Guesses from ever new ports: the third port costs the whole address.
#[test]
fn a_guesser_that_changes_its_port_takes_the_address_with_it() {
    let mut scene = scene(Driver::ChanSip, 3);
    scene.add(phone(0, "REGISTER"));
    let guess = |n: u32| Job {
        from: format!("{OFFICE}:{}", 30_000 + n / 5)
            .parse()
            .expect("an address"),
        ..phone(1, "REGISTER")
            .password(&format!("no-{n}"))
            .at(minutes(1) + seconds(1) * n)
    };
    scene.add_all((0..40).map(guess));
    scene.play(minutes(5));
    let ports: Vec<_> = scene.bans().iter().map(|ban| ban.port).collect();
    assert_eq!(ports, [Some(30_000), Some(30_001), None]);
    assert!(
        scene
            .commands
            .iter()
            .any(|c| matches!(c, Command::Distrust(_)))
    );
}

#[test]
fn a_proxy_and_the_server_behind_it_each_ask_for_a_password() {
    let mut scene = scene(Driver::PjSip, 0);
    for n in 0..20 {
        scene.play(seconds(3) * n);
        let client = format!("{OFFICE}:20000");
        let message = |line: &str, cseq: u32, extra: &str| {
            format!(
                "{line}\r\nVia: SIP/2.0/UDP {client};branch=z9hG4bK{n}x{cseq}\r\nFrom: <sip:100@pbx>;tag=f{n}\r\n\
                 To: <sip:100@pbx>\r\nCall-ID: two-{n}\r\nCSeq: {cseq} REGISTER\r\n{extra}\r\n"
            )
        };
        let digest = |realm: &str, nonce: &str| {
            let response = digest("100", "secret-no-one-has", "REGISTER", "sip:pbx", nonce);
            format!(
                "Digest username=\"100\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"sip:pbx\", response=\"{response}\""
            )
        };
        let proxy = digest("proxy", &format!("p{n}"));
        let register = "REGISTER sip:pbx SIP/2.0";
        scene.send(&client, &message(register, 1, ""));
        scene.server_sends(
            &client,
            &message(
                "SIP/2.0 407 Proxy Authentication Required",
                1,
                &format!("Proxy-Authenticate: Digest realm=\"proxy\", nonce=\"p{n}\"\r\n"),
            ),
        );
        scene.send(
            &client,
            &message(register, 2, &format!("Proxy-Authorization: {proxy}\r\n")),
        );
        scene.server_sends(
            &client,
            &message(
                "SIP/2.0 401 Unauthorized",
                2,
                &format!("WWW-Authenticate: Digest realm=\"pbx\", nonce=\"q{n}\"\r\n"),
            ),
        );
        let both = format!(
            "Proxy-Authorization: {proxy}\r\nAuthorization: {}\r\n",
            digest("pbx", &format!("q{n}"))
        );
        scene.send(&client, &message(register, 3, &both));
        scene.server_sends(&client, &message("SIP/2.0 200 OK", 3, ""));
    }
    scene.play(minutes(2)).is_peaceful();
}

#[test]
fn what_the_rate_limit_dropped_is_held_against_nobody() {
    let mut scene = Scene::with(Driver::PjSip, Config::default(), 3);
    let ask = |n: u32| {
        Job::new(
            &format!("{OFFICE}:20000"),
            "REGISTER",
            &(100 + n).to_string(),
        )
    };
    scene.add_all((0..25).map(ask));
    scene.play(seconds(1));
    scene.rate_drops(&format!("{OFFICE}:20000"), 1);
    scene.play(minutes(1)).is_peaceful();
}
