//! Asterisk ends and starts anew while it is attacked.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use sipward_testkit::{
    asterisk::{Asterisk, Driver, MANAGER_SECRET, MANAGER_USER, Settings},
    guard::Guard,
    lab::Lab,
    process::wait_until,
    user_agent::{Exchange, Login, Pace, Transport, UserAgents},
};
use tempfile::TempDir;

use crate::{PATIENCE, can_run, sensor, suspicion, wait_for};

/// Addresses that attack before and after, each twice: not yet enough for a ban.
const STEADY: [&str; 3] = ["203.0.113.10", "203.0.113.11", "203.0.113.12"];
const ATTEMPTS: u16 = 2;
/// The first port of the attempts after it.
const LATER: u16 = 21_000;
/// Attempts that are answered before it ends, and again once it is back: each of an address of its
/// own, lest many of a /24 come half-way to a ban.
const ANSWERED: usize = 6;
/// Connections that are tried at most, until the addresses come to an end.
const MOST: u16 = 87;
/// Between two of these: nobody listens for some seconds.
const PAUSE: Duration = Duration::from_millis(200);

/// A guard that follows the security log and the manager interface.
fn guard<'a>(lab: &'a Lab, asterisk: &Asterisk, folder: &Path) -> Guard<'a> {
    let secret = folder.join("secret");
    fs::write(&secret, MANAGER_SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let config = format!(
        "[ports]\nsip-udp = [5060, 5062]\nsip-tcp = [5060, 5062]\nsip-tls = [5061, 5063]\n\
         [detect.password-guessing]\nleak = \"1h\"\n\
         [asterisk]\nconfig-dir = \"/nonexistent\"\nlogs = [{:?}]\n\
         [asterisk.ami]\nuser = \"{MANAGER_USER}\"\nsecret-file = {secret:?}\n",
        asterisk.log_path("security")
    );
    Guard::start_with(Path::new(env!("CARGO_BIN_EXE_sipward")), &lab.pbx, &config).unwrap()
}

/// A wrong password over TLS, where only Asterisk can tell of it. Each address tries accounts of its
/// own: one that many attack would be a reason of its own, and one that is tried again ten seconds
/// later may be a phone's.
fn attempt(attacker: &str, port: u16) -> Exchange {
    let driver = if port.is_multiple_of(2) {
        Driver::ChanSip
    } else {
        Driver::Pjsip
    };
    let server = driver.address_over(Transport::Tls).to_string();
    let (_, host) = attacker.rsplit_once('.').unwrap();
    let account = 101 + (host.parse::<u16>().unwrap() + port / LATER * 13) % 99;
    let source = format!("{attacker}:{port}");
    Exchange::new(&source, &server, "REGISTER", &account.to_string())
        .login(Login::Password("wrong".to_owned()))
        .over(Transport::Tls)
}

/// Plays an attempt from a connection of its own; `None` where nobody listens or answers.
fn play(lab: &Lab, certificate: &str, attempt: Exchange) -> Option<u16> {
    let mut parties = UserAgents::new(lab).unwrap();
    parties.trust(certificate).unwrap();
    let attempt = parties.name(attempt);
    // Nobody listens: no attempt was made.
    let answers = parties.play(vec![attempt], Pace::OneByOne);
    answers.ok()?.first().copied().flatten()
}

/// What Asterisk itself noted of wrong passwords of this address.
fn noted(log: &str, attacker: &str) -> usize {
    let remote = format!("RemoteAddress=\"IPV4/TLS/{attacker}/");
    let kinds = [
        "SecurityEvent=\"InvalidPassword\"",
        "SecurityEvent=\"ChallengeResponseFailed\"",
    ];
    log.lines()
        .filter(|line| line.contains(&remote) && kinds.iter().any(|kind| line.contains(kind)))
        .count()
}

#[test]
fn a_restart_of_asterisk_neither_loses_nor_doubles_an_attempt() {
    if !can_run() {
        return;
    }
    let lab = Lab::new().unwrap();
    let folder = TempDir::new().unwrap();
    let settings = Settings {
        tls_and_web_socket: Some(Driver::Pjsip),
        ..Settings::default()
    };
    let mut asterisk = Asterisk::start(&lab.pbx, &settings).unwrap();
    let certificate = asterisk.certificate().unwrap();
    let lines = |log: &str| log.matches("SecurityEvent=").count();
    let before = lines(&asterisk.log("security"));
    let guard = guard(&lab, &asterisk, folder.path());
    let ami = || guard.json(&["status"]).unwrap()["sensors"]["ami"].clone();
    wait_for("the manager interface", &guard, || ami()["state"] == "on");

    let steady = |first_port: u16| {
        for attacker in STEADY {
            for port in first_port..first_port + ATTEMPTS {
                let answer = play(&lab, &certificate, attempt(attacker, port));
                assert!(
                    matches!(answer, Some(401 | 403)),
                    "{attacker}:{port}: {answer:?}, {:?}",
                    guard.json(&["bans"]).unwrap()
                );
            }
        }
    };
    steady(20_000);
    let log_ins = || guard.log().matches("ami: logged in").count();
    assert_eq!(log_ins(), 1);
    let answered = AtomicUsize::new(0);
    let is_back = AtomicBool::new(false);
    let meanwhile = |number: u16| format!("203.0.113.{}", 40 + number);
    thread::scope(|scope| {
        let attack = scope.spawn(|| {
            let mut wanted = None;
            for number in 0..MOST {
                let so_far = answered.load(Ordering::Acquire);
                if wanted.is_none() && is_back.load(Ordering::Acquire) {
                    wanted = Some(so_far + ANSWERED);
                }
                if wanted.is_some_and(|wanted| so_far >= wanted) {
                    return;
                }
                let attempt = attempt(&meanwhile(number), 20_000 + number);
                match play(&lab, &certificate, attempt) {
                    Some(_) => drop(answered.fetch_add(1, Ordering::AcqRel)),
                    None => thread::sleep(PAUSE),
                }
            }
            panic!("nobody answers any more");
        });
        wait_until("attempts to be answered", PATIENCE, || {
            answered.load(Ordering::Acquire) >= ANSWERED
        })
        .unwrap();
        asterisk.restart(&lab.pbx).unwrap();
        is_back.store(true, Ordering::Release);
        attack.join().unwrap();
    });
    let answered = answered.into_inner();
    wait_for("the manager interface again", &guard, || {
        ami()["state"] == "on" && log_ins() >= 2
    });
    let told = ami()["events"].as_u64().unwrap();
    steady(LATER);

    let log = || asterisk.log("security");
    wait_for("every line to be read once", &guard, || {
        sensor(&guard)["events"] == lines(&log()) - before
    });
    let count = |attacker: &str| {
        suspicion(&guard, attacker, "password-guessing").map_or(0, |it| {
            usize::try_from(it["count"].as_u64().unwrap()).unwrap()
        })
    };
    for attacker in STEADY {
        assert_eq!(noted(&log(), attacker), usize::from(2 * ATTEMPTS));
    }
    // They count 10 s later: a login may still follow.
    let attackers: Vec<String> = (0..MOST)
        .map(meanwhile)
        .chain(STEADY.map(str::to_owned))
        .collect();
    wait_for("every attempt to count", &guard, || {
        let log = log();
        attackers
            .iter()
            .all(|attacker| count(attacker) >= noted(&log, attacker))
    });
    let log = log();
    let all: usize = attackers.iter().map(|it| noted(&log, it)).sum();
    // What it answered in its last moment, it may not have written any more.
    let after_the_restart = ANSWERED + STEADY.len() * usize::from(2 * ATTEMPTS);
    assert!(all >= after_the_restart, "{all} noted, {answered} answered");
    for attacker in &attackers {
        assert_eq!(count(attacker), noted(&log, attacker), "{attacker}");
    }
    assert_eq!(guard.json(&["bans"]).unwrap(), serde_json::json!([]));
    assert_eq!(sensor(&guard)["events"], lines(&log) - before);
    assert_eq!(sensor(&guard)["state"], "on");
    // It told of what came after the restart, too.
    let after = u64::try_from(STEADY.len()).unwrap() * u64::from(ATTEMPTS);
    assert!(ami()["events"].as_u64().unwrap() >= told + after);
    assert_eq!(ami()["state"], "on");
}
