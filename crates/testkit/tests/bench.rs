//! The bench itself: without sipward, phones work, scanners learn what they came for, and the
//! counters see it.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use sipward_testkit::asterisk::{
    Asterisk, Driver, ECHO_EXTENSION, Settings, WEAK_EXTENSION, WEAK_PASSWORD,
};
use sipward_testkit::count::{Capture, PacketCounter};
use sipward_testkit::evasions::Transport;
use sipward_testkit::headers::HeaderReader;
use sipward_testkit::lab::{ATTACKER, Lab, PBX, PHONES, PHONES_V6};
use sipward_testkit::phone::{Phones, Task};
use sipward_testkit::process::{Finished, Process};
use sipward_testkit::require::{Need, require};
use sipward_testkit::scanner::Scanner;
use sipward_testkit::user_agent::{self, Exchange, Pace, UserAgents};

const SCAN: Duration = Duration::from_secs(120);

/// A lab with a PBX, or nothing where the machine has not what it takes.
fn lab(needs: &[Need], round_trip: Duration) -> Option<(Lab, Asterisk)> {
    let all = [&[Need::Root, Need::Asterisk], needs].concat();
    if !require(&all) {
        return None;
    }
    let lab = Lab::with_far_phones(round_trip).expect("the lab");
    let asterisk = Asterisk::start(&lab.pbx, &Settings::default()).expect("Asterisk");
    Some((lab, asterisk))
}

fn scan(lab: &Lab, scanner: Scanner, arguments: &[&str]) -> Finished {
    let mut command = scanner.command(&lab.attacker);
    Process::run(command.args(arguments), SCAN).expect("the scanner ends")
}

#[test]
fn svmap_finds_the_pbx_and_every_packet_is_counted() {
    let needs = [
        Scanner::Svmap.need(),
        Need::Program("tcpdump"),
        Need::Program("iptables"),
    ];
    let Some((lab, _asterisk)) = lab(&needs, Duration::ZERO) else {
        return;
    };
    let counter = PacketCounter::new(&lab.pbx, ATTACKER, 5060).unwrap();
    let filter = format!("src host {ATTACKER} and dst port 5060");
    let capture = Capture::start(&lab.pbx, "eth0", &filter).unwrap();

    let found = scan(&lab, Scanner::Svmap, &[&format!("{PBX}/29")]);
    assert!(
        found.stdout.contains("Asterisk PBX 16.28"),
        "{}{}",
        found.stdout,
        found.stderr
    );
    let frames = capture.stop().unwrap();
    assert!(!frames.is_empty());
    assert_eq!(counter.packets().unwrap(), frames.len() as u64);
    assert!(
        frames[0]
            .bytes
            .windows(16)
            .any(|window| window == b"friendly-scanner")
    );
}

#[test]
fn svwar_finds_extensions_unless_all_are_challenged_alike() {
    let Some((lab, asterisk)) = lab(&[Scanner::Svwar.need()], Duration::ZERO) else {
        return;
    };
    let range = ["-e", "195-204", PBX];
    let found = scan(&lab, Scanner::Svwar, &range);
    assert!(
        found.stderr.contains("unknown extension"),
        "{}{}",
        found.stdout,
        found.stderr
    );
    drop(asterisk);

    let careless = "[general](+)\nalwaysauthreject = no\n".to_owned();
    let settings = Settings {
        appended: [("sip.conf", careless)].into(),
        ..Settings::default()
    };
    let _asterisk = Asterisk::start(&lab.pbx, &settings).unwrap();
    let found = scan(&lab, Scanner::Svwar, &range);
    for (extension, exists) in [("195", true), ("199", true), ("200", false)] {
        assert_eq!(
            found.stdout.contains(extension),
            exists,
            "{extension}: {}",
            found.stdout
        );
    }
}

#[test]
fn svcrack_finds_the_weak_password() {
    let Some((lab, asterisk)) = lab(&[Scanner::Svcrack.need()], Duration::ZERO) else {
        return;
    };
    let extension = WEAK_EXTENSION.to_string();
    let found = scan(
        &lab,
        Scanner::Svcrack,
        &["-u", &extension, "-r", "100-199", PBX],
    );
    assert!(
        found.stdout.contains(WEAK_PASSWORD),
        "{}{}",
        found.stdout,
        found.stderr
    );
    let wrong = |log: &str| log.matches("Wrong password").count() > 40;
    asterisk
        .wait_for_log("messages", Duration::from_secs(5), wrong)
        .unwrap();
}

#[test]
fn nmap_and_sipsak_are_answered() {
    let needs = [Scanner::Nmap.need(), Scanner::Sipsak.need()];
    let Some((lab, _asterisk)) = lab(&needs, Duration::ZERO) else {
        return;
    };
    let found = scan(&lab, Scanner::Nmap, &["-p", "5060", PBX]);
    assert!(
        found.stdout.contains("Asterisk PBX 16.28"),
        "{}",
        found.stdout
    );
    let found = scan(
        &lab,
        Scanner::Sipsak,
        &["-vv", "-s", &format!("sip:100@{PBX}")],
    );
    assert!(
        found.stdout.contains("Asterisk PBX 16.28"),
        "{}{}",
        found.stdout,
        found.stderr
    );
}

#[test]
fn a_phone_registers_calls_and_hangs_up_over_ipv6() {
    let Some((lab, asterisk)) = lab(&[Need::Program("sipp")], Duration::ZERO) else {
        return;
    };
    for driver in [Driver::ChanSip, Driver::Pjsip] {
        let phone = Phones::one(PHONES_V6.parse().unwrap(), driver.address_v6(), Task::Call);
        phone
            .start(&lab.phones)
            .unwrap()
            .finish(Duration::from_secs(30))
            .unwrap();
        assert_eq!(asterisk.registered(driver).unwrap().len(), 1);
    }
}

#[test]
fn a_phone_80_ms_away_registers_calls_and_hangs_up_with_both_drivers() {
    let round_trip = Duration::from_millis(80);
    let Some((lab, asterisk)) = lab(&[Need::Program("sipp")], round_trip) else {
        return;
    };
    for driver in [Driver::ChanSip, Driver::Pjsip] {
        let begin = Instant::now();
        let phone = Phones::one(PHONES.parse().unwrap(), driver.address(), Task::Call);
        phone
            .start(&lab.phones)
            .unwrap()
            .finish(Duration::from_secs(30))
            .unwrap();
        // Two for the registration, two for the call, one for its end.
        assert!(begin.elapsed() > 5 * round_trip, "{:?}", begin.elapsed());
        assert_eq!(asterisk.registered(driver).unwrap().len(), 1);
    }
}

#[test]
fn sixty_phones_register_from_one_address_within_100_ms() {
    let round_trip = Duration::from_millis(80);
    let needs = [Need::Program("sipp"), Need::Program("tcpdump")];
    let Some((lab, asterisk)) = lab(&needs, round_trip) else {
        return;
    };
    let filter = format!("src host {PHONES} and dst port 5060");
    let capture = Capture::start(&lab.pbx, "eth0", &filter).unwrap();
    let server = Driver::ChanSip.address();
    let one = Phones::one(PHONES.parse().unwrap(), server, Task::Register);
    let phones = Phones { count: 60, ..one };
    phones
        .start(&lab.phones)
        .unwrap()
        .finish(Duration::from_secs(30))
        .unwrap();

    assert_eq!(asterisk.registered(Driver::ChanSip).unwrap().len(), 60);
    let frames = capture.stop().unwrap();
    assert_eq!(frames.len(), 120);
    println!(
        "the first 60 REGISTERs took {:?}",
        frames[59].at - frames[0].at
    );
}

#[test]
fn each_driver_tells_what_it_reads() {
    if !require(&[Need::Root, Need::Asterisk]) {
        return;
    }
    let reader = HeaderReader::start().unwrap();
    let request = "INVITE sip:100@192.0.2.1 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK-one;rport\r\n\
        f: \"a\" <sip:alice@203.0.113.7>;tag=one\r\nt: <sip:100@192.0.2.1>\r\ni: one\r\n\
        CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nm: <sip:alice@203.0.113.7>\r\n\
        User-Agent\r\n  : some agent\r\n\r\n";
    for driver in [Driver::ChanSip, Driver::Pjsip] {
        let readings = reader
            .read(driver, request.as_bytes(), Transport::Udp)
            .unwrap();
        assert_eq!(readings.len(), 1, "{readings:?}");
        assert_eq!(readings[0].driver, driver);
        assert_eq!(readings[0].header("Call-ID"), "one");
        assert_eq!(readings[0].header("User-Agent"), "some agent");
        assert_eq!(readings[0].header("Caller"), "alice");
        assert_eq!(
            readings[0].header("From").replace("\"a\" ", ""),
            "<sip:alice@203.0.113.7>;tag=one"
        );
    }
    let nothing = reader
        .read(Driver::Pjsip, b"hello", Transport::Udp)
        .unwrap();
    assert_eq!(nothing, []);
}

#[test]
fn pbxs_run_side_by_side_and_leave_nothing_behind() {
    if !require(&[Need::Root, Need::Asterisk]) {
        return;
    }
    let path = {
        let lab = Lab::new().unwrap();
        let first = Asterisk::start(&lab.pbx, &Settings::default()).unwrap();
        let second = Asterisk::start(&lab.attacker, &Settings::default()).unwrap();
        assert_ne!(first.pid(), second.pid());
        assert!(
            first
                .cli("core show version")
                .unwrap()
                .contains("Asterisk 16.28")
        );
        assert!(
            second
                .cli("sip show peers")
                .unwrap()
                .contains("100 sip peers")
        );
        let manager = lab
            .pbx
            .enter(|| std::net::TcpStream::connect("127.0.0.1:5038"))
            .unwrap();
        let mut greeting = String::new();
        BufReader::new(manager).read_line(&mut greeting).unwrap();
        assert!(greeting.starts_with("Asterisk Call Manager"), "{greeting}");
        let logs = second.stop().unwrap();
        assert!(logs.path().join("log/full").exists());
        lab.pbx.path()
    };
    assert!(!path.exists());
}

#[test]
fn phones_work_over_every_transport() {
    if !require(&[Need::Root, Need::Asterisk, Need::Program("openssl")]) {
        return;
    }
    use user_agent::Transport::{Tcp, Tls, Udp, Ws, Wss};
    for driver in [Driver::ChanSip, Driver::Pjsip] {
        let lab = Lab::new().unwrap();
        let settings = Settings {
            tls_and_web_socket: Some(driver),
            ..Settings::default()
        };
        let asterisk = Asterisk::start(&lab.pbx, &settings).unwrap();
        let mut phones = UserAgents::new(&lab).unwrap();
        phones.trust(&asterisk.certificate().unwrap()).unwrap();
        let mut exchanges = Vec::new();
        for (number, transport) in (0..).zip([Udp, Tcp, Tls, Ws, Wss]) {
            let (extension, port) = (101 + number, 6000 + number);
            let phone = |method: &'static str| {
                let server = driver.address_over(transport).to_string();
                Exchange::new(
                    &format!("{PHONES}:{port}"),
                    &server,
                    method,
                    &extension.to_string(),
                )
                .password(&Asterisk::password(extension))
                .over(transport)
            };
            exchanges.push(phones.name(phone("REGISTER")));
            exchanges.push(phones.name(phone("INVITE").to(ECHO_EXTENSION)));
        }
        let outcomes = phones.play(exchanges, Pace::OneByOne).unwrap();
        let log = asterisk.log("messages");
        assert!(
            outcomes.iter().all(|status| *status == Some(200)),
            "{driver:?} {outcomes:?}: {log}"
        );
    }
}
