//! Forged packets: who is not there cannot be banned for long, who matters not at all.

mod scene;

use std::net::Ipv4Addr;

use scene::{Driver, Job, START, Scene, millis, minutes, seconds};
use sipward_engine::{
    Command, Confidence, Detector, KernelDrop, Observation, Protection, Reason, Scope,
    SignatureHit, Time, Transport, TrustedBy,
};
use test_case::test_case;

const PHONE: &str = "203.0.113.20:5060";
const RESOLVER: &str = "192.0.2.53:53";
const GATEWAY: &str = "192.0.2.1:5060";
const TRUNK: &str = "192.0.2.99:5060";

/// A phone that logged in, a trunk that the server registered with, a resolver and a gateway.
fn scene() -> Scene {
    let mut scene = Scene::new(Driver::ChanSip);
    scene.account("100", "Kq7-0-pZ");
    for (protection, address) in [
        (Protection::Resolver, "192.0.2.53/32"),
        (Protection::Gateway, "192.0.2.1/32"),
    ] {
        let prefix = address.parse().expect("an address");
        scene.engine.protected_mut().add(protection, prefix);
    }
    scene.server_asks(TRUNK, "REGISTER", "200 OK");
    scene.add(Job::new(PHONE, "REGISTER", "100").password("Kq7-0-pZ"));
    scene.play(seconds(1));
    scene
}

fn signature(from: &str) -> Observation<'static> {
    Observation::KernelDrop(KernelDrop {
        source: from.parse().expect("an address"),
        destination: scene::SERVER.parse().expect("an address"),
        transport: Transport::Udp,
        established: false,
        reason: Reason::Signature,
        count: 1,
        passed: 0,
        signature: Some(SignatureHit {
            name: "some",
            confidence: Confidence::Certain,
        }),
        packet: None,
        sample: b"OPTIONS sip:100@198.51.100.1 SIP/2.0\r\n",
    })
}

#[test_case(RESOLVER)]
#[test_case(GATEWAY)]
#[test_case(TRUNK)]
#[test_case(PHONE)]
fn every_forged_attack_together_bans_none_that_matters(victim: &str) {
    let mut scene = scene();
    for n in 0..40u32 {
        let at = seconds(2) + seconds(1) * n;
        let register = Job::new(victim, "REGISTER", &(200 + n).to_string());
        let number = format!("{n}00441234567{n:03}");
        let invite = Job::new(victim, "INVITE", "100").to(&number).silent();
        let options = Job::new(victim, "OPTIONS", "x").to(&(300 + n).to_string());
        let mut oracle = Job::new(victim, "REGISTER", "100");
        oracle.first_authorization = Some(format!(
            "Authorization: Digest username=\"100\", realm=\"asterisk\", nonce=\"n{n}\", uri=\"sip:x\", response=\"{n:032x}\"\r\n"
        ));
        scene.add_all([register, invite, options, oracle].map(|job| job.at(at)));
        scene.play(at);
        scene.observe(&signature(victim));
        scene.send(victim, "INVITE sip:x SIP/2.0\r\nFrom: nobody\r\n\r\n");
    }
    scene.play(minutes(5));
    assert_eq!(scene.bans().len(), 0, "{:#?}", scene.bans());
    assert!(scene.dropped.is_empty());
}

/// 60,000 sources, with a scanner's signature and without.
#[test]
fn a_forged_flood_bans_few_for_ten_minutes_and_nobody_that_matters() {
    let mut scene = scene();
    // Not logged in yet, and not forged: it comes in the midst of the flood.
    scene.account("101", "Kq7-1-pZ");
    scene.add(
        Job::new("203.0.113.21:5060", "REGISTER", "101")
            .password("Kq7-1-pZ")
            .at(seconds(31)),
    );
    let protected = [RESOLVER, GATEWAY, TRUNK, PHONE];
    for n in 0..60_000u32 {
        scene.play(seconds(2) + millis(1) * n);
        let from = match n % 100 {
            0 => protected[n as usize / 100 % 4].to_owned(),
            _ => format!("{}:5060", Ipv4Addr::from(0x0b00_0000 + n * 257)),
        };
        if n % 2 == 0 {
            scene.observe(&signature(&from));
        } else {
            let register = format!(
                "REGISTER sip:x SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKf{n}\r\nFrom: <sip:{n}@x>;tag=1\r\n\
                 To: <sip:{n}@x>\r\nCall-ID: f{n}\r\nCSeq: 1 REGISTER\r\n\r\n"
            );
            scene.send(&from, &register);
        }
    }
    scene.play(minutes(3));
    let bans = scene.bans();
    assert!(bans.len() <= 120, "{}: 60 a minute", bans.len());
    assert!(
        bans.iter()
            .all(|ban| ban.scope == Scope::Sip && !ban.proven)
    );
    assert!(
        bans.iter()
            .all(|ban| ban.until == Some(ban.since + minutes(10)))
    );
    for address in [
        "192.0.2.53",
        "192.0.2.1",
        "192.0.2.99",
        "203.0.113.20",
        "203.0.113.21",
    ] {
        let address = address.parse().expect("an address");
        assert_eq!(scene.engine.why(address, scene.now).bans, []);
    }
    let trusted: Vec<String> = scene
        .engine
        .trusted(scene.now)
        .map(|trusted| trusted.address.to_string())
        .collect();
    assert_eq!(trusted, ["192.0.2.99", "203.0.113.20", "203.0.113.21"]);
    assert!(scene.engine.statistics().unproven_bans_withheld > 20_000);
}

#[test]
fn an_unproven_ban_climbs_only_after_three_days_and_ends_at_a_day() {
    let mut scene = scene();
    for day in 0..9 {
        scene.play(minutes(24 * 60) * day + minutes(1));
        scene.observe(&signature("198.18.0.1:5060"));
    }
    let lengths: Vec<u64> = scene
        .bans()
        .iter()
        .map(|ban| ban.until.unwrap_or(Time(0)).since(ban.since).as_secs())
        .collect();
    const DAY: u64 = 86_400;
    assert_eq!(lengths, [600, 600, 3_600, 3_600, 3_600, DAY, DAY, DAY, DAY]);
}

#[test]
fn half_of_the_unproven_bans_are_kept_for_those_whom_the_server_answered() {
    let mut scene = scene();
    // Somebody real, whom the server answers for more than five seconds, and who proves nothing.
    let real = "198.18.0.1:5060";
    for n in 0..6 {
        scene.add(Job::new(real, "REGISTER", &n.to_string()).at(seconds(2) * n));
    }
    for n in 0..3_000u32 {
        scene.play(seconds(2) + millis(5) * n);
        scene.observe(&signature(&format!(
            "{}:5060",
            Ipv4Addr::from(0x0b00_0000 + n)
        )));
    }
    let real = real
        .parse::<std::net::SocketAddr>()
        .expect("an address")
        .ip();
    let ban = scene
        .bans()
        .into_iter()
        .find(|ban| ban.prefix.contains(&real));
    assert_eq!(
        ban.and_then(|ban| ban.detector),
        Some(Detector::ExtensionEnumeration)
    );
    assert!(scene.engine.statistics().unproven_bans_withheld > 2_000);
}

#[test]
fn an_icmp_unreachable_excuses_the_victim_of_forged_calls() {
    let mut scene = scene();
    let victim = "198.18.0.1:5060";
    for n in 0..10u32 {
        let number = format!("{n}44123456789");
        scene.add(
            Job::new(victim, "INVITE", "100")
                .to(&number)
                .silent()
                .at(seconds(60 * u64::from(n))),
        );
        scene.play(seconds(60 * u64::from(n)) + millis(100));
        scene.observe(&Observation::Unreachable(sipward_engine::Unreachable {
            reporter: "198.18.0.1".parse().expect("an address"),
            destination: victim.parse().expect("an address"),
        }));
    }
    scene.play(minutes(15));
    let by_missing_acks = scene
        .alerts()
        .iter()
        .any(|alert| alert.detector == Detector::UnansweredInvite);
    assert!(!by_missing_acks);
}

#[test]
fn forged_packets_of_one_kind_do_not_ban_a_neighbourhood() {
    let mut scene = scene();
    for n in 0..50 {
        scene.observe(&signature(&format!("198.18.0.{n}:5060")));
    }
    let wide = scene.bans().iter().any(|ban| ban.prefix.prefix_len() < 32);
    assert!(!wide);
    assert!(
        scene
            .commands
            .iter()
            .any(|command| matches!(command, Command::Ban(_)))
    );
    assert!(scene.now < START + minutes(1));
}

/// The server goes on asking whether a phone is there, whatever became of the trust in it.
#[test]
fn who_has_lost_his_trust_does_not_become_a_trunk_by_answering() {
    let mut scene = scene();
    scene.play(minutes(24 * 60) * 8);
    scene.server_asks(PHONE, "OPTIONS", "200 OK");
    scene.play(minutes(24 * 60) * 8 + minutes(1));
    let trusted: Vec<String> = scene
        .engine
        .trusted(scene.now)
        .map(|trusted| trusted.address.to_string())
        .collect();
    assert!(!trusted.contains(&"203.0.113.20".to_owned()), "{trusted:?}");
}

/// PJSIP asks where the Contact of a registration is, and whoever has stolen an account writes that.
#[test]
fn who_is_named_as_the_contact_of_an_account_does_not_become_a_trunk_by_answering() {
    for (asked, is_trunk) in [
        ("sip:x@203.0.113.66:5060", false),
        ("sip:x@203.0.113.66:5060;ob", false),
        ("sip:trunk@203.0.113.66", true),
    ] {
        let mut scene = scene();
        let headers = "Via: SIP/2.0/UDP 203.0.113.20:5060;branch=z9hG4bKreg\r\n\
                       From: <sip:100@198.51.100.1>;tag=r\r\nTo: <sip:100@198.51.100.1>;tag=p\r\n\
                       Call-ID: registers\r\nCSeq: 2 REGISTER\r\n";
        let contact =
            "Contact: <sip:x@203.0.113.66:5060;ob>;expires=300\r\nContent-Length: 0\r\n\r\n";
        let request = format!("REGISTER sip:198.51.100.1 SIP/2.0\r\n{headers}{contact}");
        scene.send(PHONE, &request);
        scene.server_sends(PHONE, &format!("SIP/2.0 200 OK\r\n{headers}{contact}"));

        let own = "Via: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKo\r\nFrom: <sip:a@198.51.100.1>;tag=o\r\n\
                   To: <sip:x@203.0.113.66>\r\nCall-ID: qualifies\r\nCSeq: 1 OPTIONS\r\n\
                   Content-Length: 0\r\n\r\n";
        scene.server_sends(ASKED, &format!("OPTIONS {asked} SIP/2.0\r\n{own}"));
        scene.send(ASKED, &format!("SIP/2.0 200 OK\r\n{own}"));
        let address: std::net::IpAddr = "203.0.113.66".parse().unwrap();
        let mut trusted = scene.engine.trusted(scene.now);
        assert_eq!(
            trusted.any(|trusted| trusted.address == address),
            is_trunk,
            "{asked}"
        );
    }
}

/// It may be the Contact of a stolen account: of an earlier registration, or one that was lost.
#[test]
fn who_is_asked_while_registrations_may_be_unknown_becomes_no_trunk_by_answering() {
    let mut scene = scene();
    let is_peer = |scene: &Scene, address: &str| {
        let address: std::net::IpAddr = address.parse().unwrap();
        let mut trusted = scene.engine.trusted(scene.now);
        trusted.any(|it| it.address == address && it.by == TrustedBy::Peer)
    };
    scene.engine.overlooked(scene.now);
    for method in ["OPTIONS", "INVITE"] {
        scene.server_asks(ASKED, method, "200 OK");
        assert!(!is_peer(&scene, "203.0.113.66"), "{method}");
    }
    scene.server_asks("203.0.113.67:5060", "REGISTER", "200 OK");
    assert!(is_peer(&scene, "203.0.113.67"));
    // A peer of before stays one for another week.
    scene.play(minutes(119));
    let until = |scene: &Scene| {
        let address: std::net::IpAddr = "192.0.2.99".parse().unwrap();
        let mut trusted = scene.engine.trusted(scene.now);
        trusted.find(|it| it.address == address).unwrap().until
    };
    let before = until(&scene);
    scene.server_asks(TRUNK, "OPTIONS", "200 OK");
    assert!(until(&scene) > before);
    scene.play(minutes(121));
    scene.server_asks(ASKED, "OPTIONS", "200 OK");
    assert!(is_peer(&scene, "203.0.113.66"));
}

const ASKED: &str = "203.0.113.66:5060";
