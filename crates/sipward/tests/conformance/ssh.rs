//! Who is logged in by SSH may open as many connections as he likes, and nobody else may.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use sipward_testkit::{
    guard::Guard,
    lab::{Lab, PBX, PBX_V6},
    namespace::Namespace,
    process::wait_until,
    require::{Need, require},
    sshd::Sshd,
};
use test_case::test_case;

use crate::stage::Backend;

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
