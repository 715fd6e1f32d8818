//! A machine that sleeps. Boot time and UNIX time count that; timers, and the timeouts of nftables, do
//! not. Where the tests run nothing may sleep, so one of Debian's kernels does it under qemu.

use std::{
    collections::BTreeSet,
    fs,
    net::UdpSocket,
    path::Path,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::Value;
use sipward_shield::BootTime;
use sipward_testkit::{
    guard::Guard,
    lab::{Lab, PBX, PBX_V6, PHONES},
    machine::{self, Clock, Machine, SLEEP},
    process::wait_until,
};

use crate::stage::{
    Backend::{self, Generic, Native, Nftables},
    PATIENCE_EMULATED, programs, request,
};

/// What is banned, for how long, and one address of it.
struct Banned {
    prefix: &'static str,
    how: &'static str,
    source: &'static str,
}

/// Its end is in the first sleep.
const SHORT: Banned = Banned {
    prefix: "203.0.113.20/32",
    how: "--for 5m",
    source: "203.0.113.20",
};
/// In the second.
const LONG: Banned = Banned {
    prefix: "203.0.113.64/27",
    how: "--for 30m",
    source: "203.0.113.70",
};
const EVER: Banned = Banned {
    prefix: "2001:db8:bad::/48",
    how: "--forever",
    source: "2001:db8:bad:20::7",
};

const SCANNER: &str = "203.0.113.30";
const SCANNERS_BAN: &str = "203.0.113.30/32";

#[test]
fn bans_end_while_the_machine_sleeps() {
    let Some(programs) = programs(&["ip", "nft", "nsenter"]) else {
        return;
    };
    let machine = Machine {
        suite: "trixie",
        release: "6.12.",
        programs: &programs,
        clock: Clock::OwnWithSleep,
    };
    machine::within(&machine, || {
        let scene = Scene::new();
        for backend in [Generic, Nftables] {
            scene.play(backend);
        }
    });
}

/// A PBX whose machine sleeps.
struct Scene {
    lab: Lab,
    pbx: UdpSocket,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new().unwrap();
        let pbx = lab.pbx.udp_socket("[::]:5060").unwrap();
        pbx.set_read_timeout(Some(PATIENCE_EMULATED)).unwrap();
        Self { lab, pbx }
    }

    /// Bans whose end was slept through are over, with the daemon and without; others are not.
    fn play(&self, backend: Backend) {
        let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
        let mut guard = Guard::start_with(program, &self.lab.pbx, backend.configuration()).unwrap();
        for banned in [SHORT, LONG, EVER] {
            let line = format!("ban {} {}", banned.prefix, banned.how);
            let words: Vec<&str> = line.split(' ').collect();
            let said = guard.ask(&words).unwrap();
            assert!(said.status.success(), "{line}: {}", said.stderr);
        }
        assert_eq!(
            self.arriving(&[SHORT, LONG, EVER].map(|it| it.source)),
            [""; 0]
        );
        let end = end_of(&guard, LONG.prefix);

        let slept = sleep();
        if backend == Nftables {
            // Its timeouts stood still: the daemon ends the ban.
            wait_for_bans(&guard, &[LONG.prefix, EVER.prefix]);
        }
        self.send(SCANNER, "friendly-scanner");
        let arrived = self.arriving(&[SHORT, LONG, EVER].map(|it| it.source));
        let name = backend.name();
        println!("{name}: {slept:.1?} slept, of those then {arrived:?} arrived");
        let expected = match backend {
            Native | Generic => vec![SHORT.source],
            Nftables => vec![SCANNER, SHORT.source],
        };
        assert_eq!(arrived, expected, "{}", guard.log());
        wait_for_bans(&guard, &[LONG.prefix, EVER.prefix, SCANNERS_BAN]);
        assert_eq!(self.arriving(&[SCANNER]), [""; 0]);
        assert_eq!(end_of(&guard, LONG.prefix), end);
        let left = end.duration_since(Timestamp::now());
        let awake = Duration::from_secs(30 * 60) - slept;
        assert!(left < awake.try_into().unwrap(), "{left:?}");
        assert_sane(&guard);

        guard.kill();
        sleep();
        let over = match backend {
            Native | Generic => vec![LONG.source],
            Nftables => vec![],
        };
        assert_eq!(self.arriving(&[LONG, EVER].map(|it| it.source)), over);
        guard.run().unwrap();
        wait_for_bans(&guard, &[EVER.prefix]);
        let over = [LONG.source, SCANNER];
        assert_eq!(self.arriving(&[LONG.source, EVER.source, SCANNER]), over);
        let ever: IpNet = EVER.prefix.parse().unwrap();
        assert_eq!(guard.enforced().unwrap(), BTreeSet::from([ever]));
        guard.stop().unwrap();
    }

    /// A request of who is not banned for what it says, and a phone's behind it: who of those that
    /// have sent anything since has come through. Packets keep their order.
    fn arriving(&self, sources: &[&str]) -> Vec<String> {
        for source in sources.iter().chain([&PHONES]) {
            self.send(source, "Snom D785/10.1.64");
        }
        let mut arrived = Vec::new();
        loop {
            let (_, sender) = self.pbx.recv_from(&mut [0; 2_048]).unwrap();
            let sender = sender.ip().to_canonical().to_string();
            if sender == PHONES {
                return arrived;
            }
            arrived.push(sender);
        }
    }

    fn send(&self, source: &str, user_agent: &str) {
        let sender = if source == PHONES {
            &self.lab.phones
        } else {
            &self.lab.attacker
        };
        let pbx = if source.contains(':') { PBX_V6 } else { PBX };
        let socket = sender.enter(|| UdpSocket::bind((source, 0)).unwrap());
        socket.send_to(&request(user_agent), (pbx, 5060)).unwrap();
    }
}

/// As who closes the lid does; returns how much more that was of boot time than of the monotonic clock.
fn sleep() -> Duration {
    let (boot, monotonic) = (BootTime::now(), Instant::now());
    fs::write("/sys/power/state", "mem").unwrap();
    let slept = Duration::from_nanos(BootTime::now().0 - boot.0) - monotonic.elapsed();
    // The hardware's clock has whole seconds.
    let whole = Duration::from_secs(SLEEP.cast_unsigned());
    assert!(slept > whole - Duration::from_secs(2), "{slept:?}");
    slept
}

fn bans(guard: &Guard<'_>) -> Vec<Value> {
    guard.json(&["bans"]).unwrap().as_array().unwrap().clone()
}

fn wait_for_bans(guard: &Guard<'_>, prefixes: &[&str]) {
    let wanted: BTreeSet<&str> = prefixes.iter().copied().collect();
    wait_until("the bans", PATIENCE_EMULATED, || {
        let bans = bans(guard);
        let held = bans.iter().filter_map(|ban| ban["prefix"].as_str());
        wanted == held.collect()
    })
    .unwrap_or_else(|error| panic!("{wanted:?}: {error:#}\n{}", guard.log()));
}

fn end_of(guard: &Guard<'_>, prefix: &str) -> Timestamp {
    let bans = bans(guard);
    let ban = bans.iter().find(|ban| ban["prefix"] == prefix).unwrap();
    ban["until"].as_str().unwrap().parse().unwrap()
}

/// Neither status nor log tells of anything but what happened.
fn assert_sane(guard: &Guard<'_>) {
    let status = guard.json(&["status"]).unwrap();
    assert_eq!(status["enforcement"]["state"], "ok", "{status}");
    assert_eq!(status["enforcement"]["leaked_packets"], 0, "{status}");
    let log = guard.log();
    let ended = format!("the ban of {} has ended", SHORT.prefix);
    assert_eq!(log.matches(&ended).count(), 1, "{log}");
    let trouble = ["WARN", "ERROR", "the clock was set", "reconcile"];
    assert!(!trouble.iter().any(|word| log.contains(word)), "{log}");
}
