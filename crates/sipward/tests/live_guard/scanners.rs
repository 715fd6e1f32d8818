//! Not a packet of a stock scanner reaches the PBX; not a packet of a phone is lost.

use std::time::Duration;

use sipward_testkit::{
    asterisk::{Asterisk, Driver, Settings},
    count::{Capture, PacketCounter},
    lab::{ATTACKER, Lab, PBX, PHONES},
    phone::{Phones, Task},
    process::Process,
    require::{Need, require},
    scanner::Scanner,
};

use crate::guard;

const ROUND_TRIP: Duration = Duration::from_millis(80);
const PATIENCE: Duration = Duration::from_secs(120);

/// A scan, and the signature for which its sender is banned.
struct Scan {
    name: &'static str,
    scanner: Scanner,
    arguments: &'static [&'static str],
    banned_for: Option<&'static str>,
}

const fn scan(
    name: &'static str,
    scanner: Scanner,
    arguments: &'static [&'static str],
    banned_for: Option<&'static str>,
) -> Scan {
    Scan {
        name,
        scanner,
        arguments,
        banned_for,
    }
}

/// What SIPVicious writes into its tags, in front of its User-Agent.
const TAG: Option<&str> = Some("sipvicious-tag");
/// svmap's display name, in front of both.
const NAME: Option<&str> = Some("sipvicious-to");
const USER_AGENT: Option<&str> = Some("sipvicious-friendly-scanner");

const NETWORK: &str = "192.0.2.0/30";
const EXTENSIONS: &[&str] = &["-e", "100-110", PBX];
const PASSWORDS: &[&str] = &["-u", "100", "-r", "100-120", PBX];

const STOCK: &[Scan] = &[
    scan("svmap", Scanner::Svmap, &[NETWORK], NAME),
    scan("svmap -c", Scanner::Svmap, &["-c", NETWORK], NAME),
    scan("svwar REGISTER", Scanner::Svwar, EXTENSIONS, TAG),
    scan(
        "svwar -c",
        Scanner::Svwar,
        &["-c", "-e", "100-110", PBX],
        TAG,
    ),
    scan(
        "svwar INVITE",
        Scanner::Svwar,
        &["-m", "INVITE", "-e", "100-110", PBX],
        TAG,
    ),
    scan(
        "svwar OPTIONS",
        Scanner::Svwar,
        &["-m", "OPTIONS", "-e", "100-110", PBX],
        TAG,
    ),
    scan("svcrack", Scanner::Svcrack, PASSWORDS, USER_AGENT),
];

/// Whose name most scanners have, nowadays.
const GENUINE: &str = "Yealink SIP-T46S 66.86.0.15";

const RENAMED: &[Scan] = &[
    scan("svmap, renamed", Scanner::Svmap, &[NETWORK], TAG),
    scan("svwar, renamed", Scanner::Svwar, EXTENSIONS, TAG),
    // It hears nothing of its first question, so it never has a nonce to guess with; and for that
    // one's tag nobody is banned.
    scan("svcrack, renamed", Scanner::Svcrack, PASSWORDS, None),
];

#[test]
fn scanners_reach_nothing_by_their_own_names_or_a_phones_while_phones_register_and_call() {
    let needs = [
        Need::Root,
        Need::Asterisk,
        Need::SipVicious,
        Need::Program("sipp"),
        Need::Program("tcpdump"),
        Need::Program("iptables"),
    ];
    if !require(&needs) {
        return;
    }
    let lab = Lab::with_far_phones(ROUND_TRIP).unwrap();
    let asterisk = Asterisk::start(&lab.pbx, &Settings::default()).unwrap();
    let guard = guard(&lab.pbx);

    let phones: std::net::IpAddr = PHONES.parse().unwrap();
    let arrived = PacketCounter::new(&lab.pbx, PHONES, 5060).unwrap();
    let sent = Capture::start(&lab.phones, "eth0", "dst port 5060").unwrap();

    // Each scan from scratch: the ban of the one before would hide what the signature does.
    let scans = STOCK.iter().map(|scan| (scan, None));
    let renamed = RENAMED.iter().map(|scan| (scan, Some(GENUINE)));
    for (scan, user_agent) in scans.chain(renamed) {
        let name = scan.name;
        let counter = PacketCounter::new(&lab.pbx, ATTACKER, 5060).unwrap();
        let filter = format!("src host {ATTACKER} and dst port 5060");
        let capture = Capture::start(&lab.pbx, "eth0", &filter).unwrap();
        let scans = Capture::start(&lab.attacker, "eth0", &filter).unwrap();

        let mut command = match user_agent {
            None => scan.scanner.command(&lab.attacker),
            Some(user_agent) => scan.scanner.renamed(&lab.attacker, user_agent).unwrap(),
        };
        let running = Process::spawn(command.args(scan.arguments)).unwrap();
        let phone = Phones::one(phones, Driver::ChanSip.address(), Task::Call);
        phone.start(&lab.phones).unwrap().finish(PATIENCE).unwrap();
        let said = running.finish(PATIENCE).unwrap();

        let packets = scans.stop().unwrap().len();
        let reached = capture.stop().unwrap().len();
        println!(
            "{name}: {packets} packets sent, {reached} seen by tcpdump, {} by iptables",
            counter.packets().unwrap()
        );
        assert!(
            packets > 0,
            "{name} sent nothing: {}{}",
            said.stdout,
            said.stderr
        );
        assert_eq!((reached, counter.packets().unwrap()), (0, 0), "{name}");
        assert!(
            !said.stdout.contains("Asterisk"),
            "{name} learned: {}",
            said.stdout
        );
        let bans = guard.json(&["bans"]).unwrap();
        let banned_for = bans.as_array().unwrap().first();
        let banned_for = banned_for.map(|ban| ban["signature"].as_str().unwrap());
        assert_eq!(banned_for, scan.banned_for, "{name}: {}", guard.log());
        if banned_for.is_some() {
            let unban = guard.ask(&["unban", ATTACKER]).unwrap();
            assert!(unban.status.success(), "{}", unban.stderr);
        }
    }
    let sent = sent.stop().unwrap().len() as u64;
    assert_eq!(
        arrived.packets().unwrap(),
        sent,
        "a phone's packets were lost"
    );
    assert_eq!(asterisk.registered(Driver::ChanSip).unwrap().len(), 1);
}

#[test]
fn sixty_phones_behind_one_address_lose_nothing_during_a_scan() {
    let needs = [
        Need::Root,
        Need::Asterisk,
        Need::SipVicious,
        Need::Program("sipp"),
        Need::Program("tcpdump"),
        Need::Program("iptables"),
    ];
    if !require(&needs) {
        return;
    }
    let lab = Lab::with_far_phones(ROUND_TRIP).unwrap();
    let asterisk = Asterisk::start(&lab.pbx, &Settings::default()).unwrap();
    let guard = guard(&lab.pbx);
    let arrived = PacketCounter::new(&lab.pbx, PHONES, 5060).unwrap();
    let sent = Capture::start(&lab.phones, "eth0", "dst port 5060").unwrap();

    let mut command = Scanner::Svwar.command(&lab.attacker);
    let scan = Process::spawn(command.args(["-e", "100-400", PBX])).unwrap();
    let one = Phones::one(
        PHONES.parse().unwrap(),
        Driver::ChanSip.address(),
        Task::Register,
    );
    let sixty = Phones { count: 60, ..one };
    sixty.start(&lab.phones).unwrap().finish(PATIENCE).unwrap();
    scan.finish(PATIENCE).unwrap();

    assert_eq!(asterisk.registered(Driver::ChanSip).unwrap().len(), 60);
    let frames = sent.stop().unwrap();
    let first_registers = frames[59].at - frames[0].at;
    println!(
        "60 first REGISTERs within {first_registers:?}, {} packets in all",
        frames.len()
    );
    assert_eq!(arrived.packets().unwrap(), frames.len() as u64);
    let status = guard.json(&["status"]).unwrap();
    assert_eq!(status["packets"]["dropped"]["rate"], 0, "{status}");
}

#[test]
fn why_tells_what_the_scanner_did_and_how_to_undo_it() {
    if !require(&[Need::Root, Need::SipVicious]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let guard = guard(&lab.pbx);
    let mut command = Scanner::Svmap.command(&lab.attacker);
    Process::run(command.arg(PBX), PATIENCE).unwrap();
    assert!(guard.bans("203.0.113.7/32").unwrap(), "{}", guard.log());

    let why = guard.json(&["why", ATTACKER]).unwrap();
    assert_eq!(why["banned"], true);
    assert_eq!(why["alerts"][0]["detector"], "scanner-signature");
    let text = guard.ask(&["why", ATTACKER]).unwrap().stdout;
    for expected in [
        "OPTIONS sip:100@192.0.2.1 SIP/2.0",
        "friendly-scanner",
        "sipward unban",
    ] {
        assert!(text.contains(expected), "no {expected:?} in:\n{text}");
    }
    println!("{text}");
}
