//! Password guessers.

use std::{net::UdpSocket, time::Duration};

use sipward_testkit::{
    asterisk::{Asterisk, Driver, Settings},
    count::Capture,
    lab::{ATTACKER, Lab, PBX, PHONES},
    process::Process,
    require::{Need, require},
    scanner::Scanner,
};
use test_case::test_case;

use crate::{GENUINE, PATIENCE, banned_by, can_run, dialogue::Dialogue, guard, port};

/// An extension whose password is the 200th of those that svcrack tries from 100 on.
const GUESSED: &str = "777";
const PASSWORD: &str = "299";

fn settings() -> Settings {
    let mut settings = Settings::default();
    let chan_sip = format!("[{GUESSED}](phone)\nsecret = {PASSWORD}\n");
    let pjsip = format!(
        "[{GUESSED}](phone)\nauth = auth-{GUESSED}\naors = {GUESSED}\n[{GUESSED}](phone-aor)\n\
         [auth-{GUESSED}](phone-auth)\nusername = {GUESSED}\npassword = {PASSWORD}\n"
    );
    settings
        .appended
        .extend([("sip.conf", chan_sip), ("pjsip.conf", pjsip)]);
    settings
}

/// The refused attempts that svcrack was answered, and all its output.
fn crack(lab: &Lab, driver: Driver, compact: bool) -> (Dialogue, String) {
    let filter = format!("host {ATTACKER} and udp port {}", port(driver));
    let capture = Capture::start(&lab.pbx, "eth0", &filter).unwrap();
    let mut command = Scanner::Svcrack.disguised(&lab.attacker, GENUINE).unwrap();
    command.args([
        "-u",
        GUESSED,
        "-r",
        "100-999",
        "-p",
        &port(driver).to_string(),
    ]);
    // After the ban it goes on for so long without an answer.
    command.args(["--maximumtime", "3"]);
    if compact {
        command.arg("-c");
    }
    let scan = Process::run(command.arg(PBX), PATIENCE).unwrap();
    let dialogue = Dialogue::of(&capture.stop().unwrap());
    (dialogue, scan.stdout + &scan.stderr)
}

/// Whether the password stands in a row of svcrack's table: its warnings have digits of their own
/// (`3.001291513442993 seconds`).
fn found_the_password(said: &str) -> bool {
    said.lines()
        .any(|line| line.starts_with('|') && line.contains(PASSWORD))
}

/// Without this the other test would prove nothing.
#[test_case(Driver::ChanSip)]
#[test_case(Driver::Pjsip)]
fn svcrack_finds_the_password_of_an_unguarded_server(driver: Driver) {
    if !can_run() {
        return;
    }
    let lab = Lab::new().unwrap();
    let _asterisk = Asterisk::start(&lab.pbx, &settings()).unwrap();
    let (dialogue, said) = crack(&lab, driver, false);
    assert!(found_the_password(&said), "{said}");
    assert!(
        dialogue.refused_attempts() >= 199,
        "{}",
        dialogue.refused_attempts()
    );
}

#[test_case(Driver::ChanSip, false; "chan_sip")]
#[test_case(Driver::ChanSip, true; "chan_sip without a user agent")]
#[test_case(Driver::Pjsip, false; "pjsip")]
#[test_case(Driver::Pjsip, true; "pjsip without a user agent")]
fn svcrack_gets_six_refusals_and_no_password(driver: Driver, compact: bool) {
    if !can_run() {
        return;
    }
    let lab = Lab::new().unwrap();
    let _asterisk = Asterisk::start(&lab.pbx, &settings()).unwrap();
    let guard = guard(&lab.pbx);
    let (dialogue, said) = crack(&lab, driver, compact);
    let detector = banned_by(&guard, ATTACKER);
    println!(
        "svcrack, {driver:?}, compact {compact}: {} attempts reached it, {} refused, banned by {detector}",
        dialogue.attempts(),
        dialogue.refused_attempts(),
    );
    assert!(!found_the_password(&said), "{said}");
    assert!(dialogue.refused_attempts() <= 6);
    // Nothing got through at all: then this test shows nothing of the engine.
    assert_eq!(detector, "password-guessing");
    assert!(dialogue.refused_attempts() >= 1);
}

/// Within one Call-ID chan_sip answers a nonce it never issued with `stale=true` if the password
/// is right, and logs nothing. The guesser is 20 ms away and waits for each answer. One on the same
/// machine asks every 80 us, and how often until the ban is the scheduler's affair.
#[test_case(Driver::ChanSip)]
#[test_case(Driver::Pjsip)]
fn the_nonce_oracle_is_asked_six_times(driver: Driver) {
    if !can_run() || !require(&[Need::Program("ethtool")]) {
        return;
    }
    let lab = Lab::with_far_phones(Duration::from_millis(20)).unwrap();
    let _asterisk = Asterisk::start(&lab.pbx, &settings()).unwrap();
    let guard = guard(&lab.pbx);
    let filter = format!("host {PHONES} and udp port {}", port(driver));
    let capture = Capture::start(&lab.pbx, "eth0", &filter).unwrap();
    let socket = lab
        .phones
        .enter(|| UdpSocket::bind((PHONES, 5060)).unwrap());
    socket.connect((PBX, port(driver))).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    // On a busy machine an answer may be late: silence is the end only where it is a ban's.
    let silence = (1..=200).find(|guess| {
        socket.send(oracle(*guess).as_bytes()).unwrap();
        let silent = socket.recv(&mut [0; 2_000]).is_err();
        silent
            && !guard
                .json(&["bans"])
                .unwrap()
                .as_array()
                .unwrap()
                .is_empty()
    });
    assert!(silence.is_some(), "it was never banned\n{}", guard.log());
    let detector = banned_by(&guard, PHONES);
    let answers = Dialogue::of(&capture.stop().unwrap()).answered();
    println!("nonce oracle, {driver:?}: {answers} answers, banned by {detector}");
    assert!((1..=6).contains(&answers), "{answers}");
    assert_eq!(detector, "password-guessing");
}

fn oracle(guess: u32) -> String {
    format!(
        "REGISTER sip:{PBX} SIP/2.0\r\nVia: SIP/2.0/UDP {PHONES}:5060;branch=z9hG4bKo{guess};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{GUESSED}@{PBX}>;tag=oracle\r\nTo: <sip:{GUESSED}@{PBX}>\r\n\
         Call-ID: oracle@{PHONES}\r\nCSeq: {guess} REGISTER\r\nContact: <sip:{GUESSED}@{PHONES}:5060>\r\n\
         User-Agent: {GENUINE}\r\nAuthorization: Digest username=\"{GUESSED}\", realm=\"asterisk\", \
         nonce=\"{:08x}\", uri=\"sip:{PBX}\", response=\"{:032x}\", algorithm=MD5\r\n\
         Expires: 3600\r\nContent-Length: 0\r\n\r\n",
        0x5eed_0000_u32 + guess,
        0x0123_4567_89ab_cdef_u128 * u128::from(guess),
    )
}
