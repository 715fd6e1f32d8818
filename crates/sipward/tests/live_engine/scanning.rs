//! Enumerators.

use sipward_testkit::{
    asterisk::{Asterisk, Driver, Settings},
    lab::{ATTACKER, Lab, PBX},
    process::Process,
    scanner::Scanner,
};

use crate::{GENUINE, PATIENCE, banned_by, can_run, guard, port};

/// A server that tells who exists, and a thousand that do.
fn talkative() -> Settings {
    let mut settings = Settings {
        extensions: Some(1_000..=1_999),
        ..Settings::default()
    };
    let general = "[general](+)\nalwaysauthreject = no\n".to_owned();
    settings.appended.insert("sip.conf", general);
    settings
}

/// Extensions that svwar has learned, and all it said.
fn scan(lab: &Lab, driver: Driver) -> (usize, String) {
    let mut command = Scanner::Svwar.disguised(&lab.attacker, GENUINE).unwrap();
    let port = port(driver).to_string();
    command.args(["-e", "1000-1999", "-p", &port, "--maximumtime", "3", PBX]);
    let scan = Process::run(&mut command, PATIENCE).unwrap();
    let learned = scan.stdout.lines().filter(|line| line.starts_with("| 1"));
    (learned.count(), scan.stdout + &scan.stderr)
}

#[test]
fn svwar_learns_few_of_a_thousand_extensions_of_chan_sip() {
    if !can_run() {
        return;
    }
    let lab = Lab::new().unwrap();
    let _asterisk = Asterisk::start(&lab.pbx, &talkative()).unwrap();
    let guard = guard(&lab.pbx);
    let (learned, said) = scan(&lab, Driver::ChanSip);
    let detector = banned_by(&guard, ATTACKER);
    println!("svwar, chan_sip: {learned} of 1,000 extensions learned, banned by {detector}");
    assert!((1..=30).contains(&learned), "{learned}: {said}");
    assert_eq!(detector, "extension-enumeration");
}

/// PJSIP challenges whomever it does not know, and svwar stops by itself.
#[test]
fn svwar_learns_nothing_of_pjsip() {
    if !can_run() {
        return;
    }
    let lab = Lab::new().unwrap();
    let _asterisk = Asterisk::start(&lab.pbx, &talkative()).unwrap();
    let _guard = guard(&lab.pbx);
    let (learned, said) = scan(&lab, Driver::Pjsip);
    println!("svwar, PJSIP: {learned} of 1,000 extensions learned");
    assert_eq!(learned, 0);
    assert!(
        said.contains("authentication request for an unknown extension"),
        "{said}"
    );
}
