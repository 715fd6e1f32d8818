//! Who is logged in by SSH is never banned and may open as many connections as he likes. Who only holds
//! a connection is banned, and loses nothing but SIP.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use sipward_testkit::{
    asterisk::{Asterisk, Settings},
    guard::Guard,
    lab::{ATTACKER, ATTACKER_V6, Lab, PBX, PBX_V6, PHONES, PHONES_V6},
    namespace::Namespace,
    process::wait_until,
    require::{Need, require},
    sshd::Sshd,
};
use tempfile::NamedTempFile;
use test_case::test_case;

use crate::{
    placement::banned,
    stage::{Backend, guess},
};

const LOGIN_GRACE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(120);
/// Before Linux sends a SYN again.
const SOON: Duration = Duration::from_millis(500);
/// More than the limit lets through at once; it gives back one in 20 s.
const MANY: usize = 15;

/// Ends the attack, also where the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How many of [`MANY`] connections are opened at once.
fn connect(from: &Namespace, server: SocketAddr) -> usize {
    from.enter(|| {
        let open = |_: &usize| TcpStream::connect_timeout(&server, SOON).is_ok();
        (0..MANY).filter(open).count()
    })
}

/// Holds a connection and says nothing on it; opens another where the server closes it.
fn be_silent(from: &Namespace, server: SocketAddr, ended: &AtomicBool) {
    from.enter(|| {
        while !ended.load(Ordering::Relaxed) {
            let Ok(mut silent) = TcpStream::connect_timeout(&server, SOON) else {
                continue;
            };
            let _ = silent.set_read_timeout(Some(SOON));
            while !ended.load(Ordering::Relaxed) {
                match silent.read(&mut [0; 64]) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
            }
        }
    });
}

#[test_case(Backend::Generic; "xdp generic")]
#[test_case(Backend::Nftables; "nftables")]
fn who_is_logged_in_by_ssh_is_not_limited_and_who_only_holds_a_connection_is(backend: Backend) {
    let programs = ["ip", "nft", "ssh", "ssh-keygen"].map(Need::Program);
    if !require(&[[Need::Root, Need::Sshd].as_slice(), &programs].concat()) {
        return;
    }
    let lab = Lab::new().unwrap();
    let sshd = Sshd::start(&lab.pbx, LOGIN_GRACE).unwrap();
    let grace = LOGIN_GRACE.as_secs();
    let configuration = format!(
        "{}[limits.ssh]\nlogin-grace = \"{grace}s\"\n",
        backend.configuration()
    );
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let guard = Guard::start_with(program, &lab.pbx, &configuration).unwrap();
    let [v4, v6] = [PBX, PBX_V6].map(|pbx| SocketAddr::new(pbx.parse().unwrap(), 22));

    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = End(&ended);
        for server in [v4, v6] {
            let (attacker, ended) = (&lab.attacker, &ended);
            scope.spawn(move || be_silent(attacker, server, ended));
        }
        let sessions = [PBX, PBX_V6].map(|pbx| sshd.login(&lab.phones, pbx).unwrap());
        for server in [v4, v6] {
            wait_until("the limit to be lifted", PATIENCE, || {
                connect(&lab.phones, server) == MANY
            })
            .unwrap_or_else(|error| panic!("{error:#}\n{}", guard.log()));
            assert!(connect(&lab.attacker, server) < MANY, "{server}");
        }
        drop(sessions);
    });
}

/// A connection on which sshd awaits a login: it has accepted it, for it has greeted.
fn connect_silently(from: &Namespace, server: SocketAddr) -> TcpStream {
    let mut stream = from.enter(|| TcpStream::connect_timeout(&server, PATIENCE).unwrap());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut greeting = Vec::new();
    while !greeting.ends_with(b"\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        greeting.extend(byte);
    }
    assert!(greeting.starts_with(b"SSH-2.0-"), "{greeting:?}");
    stream
}

/// The bans of this prefix.
fn bans(guard: &Guard<'_>, prefix: &str) -> Vec<Value> {
    let all = guard.json(&["bans"]).unwrap();
    let all = all.as_array().unwrap().iter();
    all.filter(|ban| ban["prefix"] == prefix).cloned().collect()
}

fn is_protected(guard: &Guard<'_>, address: &str) -> bool {
    let why = guard.json(&["why", address]).unwrap();
    let protected = why["protected"].as_str();
    protected.is_some_and(|why| why.contains("SSH session"))
}

#[test_case(Backend::Generic; "xdp generic")]
#[test_case(Backend::Nftables; "nftables")]
fn a_guesser_with_an_ssh_connection_loses_sip_and_one_who_is_logged_in_nothing(backend: Backend) {
    let programs = ["ip", "nft", "ssh", "ssh-keygen"].map(Need::Program);
    let cached = [Need::Root, Need::Sshd, Need::Asterisk, Need::SipVicious];
    if !require(&[cached.as_slice(), &programs].concat()) {
        return;
    }
    let lab = Lab::new().unwrap();
    let _asterisk = Asterisk::start(&lab.pbx, &Settings::default()).unwrap();
    // Longer than the test.
    let sshd = Sshd::start(&lab.pbx, Duration::from_secs(3_600)).unwrap();
    let configuration = |grace| {
        format!(
            "{}[limits.ssh]\nlogin-grace = \"{grace}\"\n",
            backend.configuration()
        )
    };
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let mut guard = Guard::start_with(program, &lab.pbx, &configuration("1h")).unwrap();
    let sessions = [PBX, PBX_V6].map(|pbx| sshd.login(&lab.phones, pbx).unwrap());

    for (attacker, server) in [(ATTACKER, PBX), (ATTACKER_V6, PBX_V6)] {
        let ssh = SocketAddr::new(server.parse().unwrap(), 22);
        let mut connection = connect_silently(&lab.attacker, ssh);
        // By hand, which also has the daemon look at the connections.
        let said = guard.ask(&["ban", attacker, "--for", "1h"]).unwrap();
        assert!(said.status.success(), "{}", said.stderr);
        assert!(
            said.stderr.contains("has just connected by SSH"),
            "{}",
            said.stderr
        );
        let why = guard.json(&["why", attacker]).unwrap();
        assert_eq!(why["bans"][0]["scope"], "sip", "{why}");
        assert!(guard.ask(&["unban", attacker]).unwrap().status.success());
        let mut list = NamedTempFile::new().unwrap();
        writeln!(list, "{attacker}").unwrap();
        let path = list.path().to_str().unwrap();
        let imported = guard.json(&["import", path]).unwrap();
        assert_eq!(imported["banned"], 1, "{imported}");
        assert_eq!(imported["sip_only"], json!([attacker]), "{imported}");
        assert!(guard.ask(&["unban", attacker]).unwrap().status.success());

        let guesser = guess(&lab.attacker, server);
        let prefix = banned(attacker);
        wait_until("the guesser's ban", PATIENCE, || {
            !bans(&guard, &prefix).is_empty()
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}{}", guesser.output(), guard.log()));
        let [ban] = &bans(&guard, &prefix)[..] else {
            panic!("one ban\n{}", guard.log());
        };
        let (scope, reason) = (&ban["scope"], ban["reason"].as_str().unwrap());
        assert_eq!(
            (scope, ban["detector"].as_str()),
            (&Value::from("sip"), Some("password-guessing"))
        );
        let why = format!("SIP only, for {attacker} has just connected by SSH");
        assert!(reason.ends_with(&why), "{reason}");
        assert!(guard.log().contains(&why), "{}", guard.log());
        // sshd hears him, and he its answer.
        connection.write_all(b"SSH-2.0-stranger\r\n").unwrap();
        assert!(connection.read(&mut [0; 64]).unwrap() > 0, "{attacker}");
    }

    guard.reload(&configuration("1s")).unwrap();
    for (admin, server) in [(PHONES, PBX), (PHONES_V6, PBX_V6)] {
        wait_until("the session to be old enough", PATIENCE, || {
            is_protected(&guard, admin)
        })
        .unwrap();
        let guesser = guess(&lab.phones, server);
        let spared = || {
            let why = guard.json(&["why", admin]).unwrap();
            let alerts = why["alerts"].as_array().unwrap();
            let of_guessing = alerts
                .iter()
                .find(|alert| alert["detector"] == "password-guessing");
            of_guessing
                .is_some_and(|alert| alert["spared"].as_str().unwrap().contains("SSH session"))
        };
        wait_until("the guesser to be spared", PATIENCE, spared)
            .unwrap_or_else(|error| panic!("{error:#}\n{}{}", guesser.output(), guard.log()));
        assert_eq!(guard.json(&["why", admin]).unwrap()["banned"], false);
        let said = guard.ask(&["ban", admin]).unwrap();
        assert!(
            !said.status.success() && said.stderr.contains("--force"),
            "{}",
            said.stderr
        );
    }

    // Of whom another daemon knows nothing.
    guard.reload(&configuration("1h")).unwrap();
    guard.kill();
    guard.run().unwrap();
    for admin in [PHONES, PHONES_V6] {
        assert!(is_protected(&guard, admin), "{admin}");
    }
    drop(sessions);
}
