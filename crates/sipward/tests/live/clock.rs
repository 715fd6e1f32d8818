//! Somebody sets the clock: days forward, back again, while nobody looks, and from 1970 to today.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use sipward_testkit::{
    clock::Clock,
    count::PacketCounter,
    lab::{ATTACKER, Lab, PBX},
    process::{Process, wait_until},
    require::{Need, require},
};

use crate::{
    disk::{NFTABLES, XDP, attack, forget_what_is_enforced},
    place::{PATIENCE, Place, kill, program, stop},
};

const DAY: i64 = 86_400;
/// A ban's end by what is shown and by this clock: small steps are followed without a word.
const SAME: SignedDuration = SignedDuration::from_secs(10);

/// A guarded PBX whose clock is set.
struct Stage<'a> {
    lab: &'a Lab,
    place: Place,
    clock: Clock,
    ahead: i64,
    /// Between which times of the test each prefix was banned.
    banned: BTreeMap<&'static str, (Timestamp, Timestamp)>,
}

impl Stage<'_> {
    fn start(&self) -> Process {
        let mut command = self.lab.pbx.command(program());
        self.clock.give_to(&mut command);
        self.place.start_by(command)
    }

    fn set(&mut self, seconds: i64) {
        self.ahead = seconds;
        self.clock.set(seconds).unwrap();
    }

    fn ban(&mut self, prefix: &'static str, how: &str) {
        let before = Timestamp::now();
        let said = self.place.sipward(&format!("ban {prefix} {how}"));
        assert_eq!(said.code, 0, "{said:?}");
        self.banned.insert(prefix, (before, Timestamp::now()));
    }

    /// When the ban of this prefix ends, by the clock that the test has.
    fn end(&self, prefix: &str) -> Option<Timestamp> {
        let bans = self.place.bans();
        let ban = bans.iter().find(|ban| ban["prefix"] == prefix)?;
        let until: Timestamp = ban["until"].as_str()?.parse().unwrap();
        Some(until - SignedDuration::from_secs(self.ahead))
    }

    /// Whether it ends so many minutes after it was set.
    fn lasts(&self, prefix: &str, minutes: i64) -> bool {
        let (before, after) = self.banned[prefix];
        let minutes = SignedDuration::from_mins(minutes);
        let wanted = before + minutes - SAME..=after + minutes + SAME;
        self.end(prefix).is_some_and(|end| wanted.contains(&end))
    }

    fn wait_for(&self, what: &str, prefix: &str, minutes: i64) {
        let waited = wait_until(what, PATIENCE, || self.lasts(prefix, minutes));
        if let Err(error) = waited {
            let (end, banned) = (self.end(prefix), self.banned[prefix]);
            panic!("{prefix} was banned at {banned:?}, until {end:?}: {error}");
        }
    }
}

impl<'a> Stage<'a> {
    fn new(lab: &'a Lab, configuration: &str) -> Self {
        Self {
            lab,
            place: Place::new(configuration),
            clock: Clock::new().unwrap(),
            ahead: 0,
            banned: BTreeMap::new(),
        }
    }

    /// The next start is the first one since the machine was.
    fn reboot(&self) {
        forget_what_is_enforced(self.lab, &self.place);
        let ledger = Connection::open(self.place.state().join("ledger.db")).unwrap();
        ledger
            .execute("update clock set boot = 'the one before'", [])
            .unwrap();
    }

    /// Waits until what happens is dated by the clock as it is set.
    fn wait_until_followed(&self) {
        let mut last = 0;
        wait_until("the clock to be followed", PATIENCE, || {
            last += 1;
            let prefix = format!("198.18.{}.{last}/32", self.ahead);
            let before = Timestamp::now();
            assert_eq!(
                self.place.sipward(&format!("ban {prefix} --for 1h")).code,
                0
            );
            let took = Timestamp::now().duration_since(before);
            let bans = self.place.bans();
            let ban = bans.iter().find(|ban| ban["prefix"] == *prefix).unwrap();
            let since: Timestamp = ban["since"].as_str().unwrap().parse().unwrap();
            assert_eq!(self.place.sipward(&format!("unban {prefix}")).code, 0);
            // Shown to the millisecond. Of an order that took long nothing can be told.
            let behind = before + SignedDuration::from_secs(self.ahead) - since;
            let is_followed = behind.get_milliseconds() <= 1 && behind.get_seconds() <= 0;
            is_followed && took < SignedDuration::from_millis(900)
        })
        .unwrap();
    }
}

fn a_clock_that_is_set(configuration: &str) {
    let needs = [Need::Root, Need::Program("iptables"), Need::Program("cc")];
    if !require(&needs) {
        return;
    }
    let lab = Lab::new().unwrap();
    let mut stage = Stage::new(&lab, configuration);
    let mut daemon = stage.start();
    let counter = PacketCounter::new(&lab.pbx, ATTACKER, 5060).unwrap();
    let (attacker, minutes) = ("203.0.113.7/32", 600);
    stage.ban(attacker, "--for 10h");
    stage.ban("203.0.113.64/27", "--for 1h");
    stage.ban("2001:db8:bad::/48", "--forever");

    for (what, ahead) in [("forward", 5 * DAY), ("back", -3 * DAY)] {
        stage.set(ahead);
        stage.wait_for(what, attacker, minutes);
        stage.wait_for(what, "203.0.113.64/27", 60);
        attack(&lab);
        assert_eq!(
            (stage.place.bans().len(), counter.packets().unwrap()),
            (3, 0)
        );
        assert_eq!(daemon.output().matches("the clock was set").count(), 1);
        // Ledger and kernel agree, by the same clock as before and by another one.
        kill(daemon);
        stage.set(ahead + 30 * DAY);
        daemon = stage.start();
        stage.wait_for("the next start", attacker, minutes);
        attack(&lab);
        assert_eq!(
            (stage.place.bans().len(), counter.packets().unwrap()),
            (3, 0)
        );
        assert!(
            !daemon.output().contains("reconcile: "),
            "{}",
            daemon.output()
        );
        kill(daemon);
        daemon = stage.start();
    }

    // A reboot on a machine whose clock stands in 1970 until somebody tells it the time.
    kill(daemon);
    stage.reboot();
    let today = stage.ahead;
    stage.set(DAY - Timestamp::now().as_second());
    daemon = stage.start();
    attack(&lab);
    assert_eq!(
        (stage.place.bans().len(), counter.packets().unwrap()),
        (3, 0)
    );
    stage.ban("203.0.113.9/32", "--for 1h");
    assert!(stage.lasts("203.0.113.9/32", 60));

    // It was off for two hours: one of the bans is over, the others end when they were to.
    stage.set(today + 2 * 3_600);
    stage.wait_for("today", attacker, minutes - 120);
    stage.wait_for("today", "203.0.113.9/32", 60);
    assert_eq!(stage.end("203.0.113.64/27"), None);
    attack(&lab);
    assert_eq!(
        (stage.place.bans().len(), counter.packets().unwrap()),
        (3, 0)
    );
    kill(daemon);
    daemon = stage.start();
    assert!(
        !daemon.output().contains("reconcile: "),
        "{}",
        daemon.output()
    );
    stop(daemon);
}

#[test]
fn with_xdp_a_clock_that_is_set_ends_no_ban_and_makes_none_longer() {
    a_clock_that_is_set(XDP);
}

#[test]
fn with_nftables_a_clock_that_is_set_ends_no_ban_and_makes_none_longer() {
    a_clock_that_is_set(NFTABLES);
}

#[test]
fn a_clock_that_is_kept_right_changes_nothing_and_a_mistake_afterwards_ends_no_ban() {
    let needs = [Need::Root, Need::Program("iptables"), Need::Program("cc")];
    if !require(&needs) {
        return;
    }
    let lab = Lab::new().unwrap();
    let mut stage = Stage::new(&lab, XDP);
    let daemon = stage.start();
    let (attacker, minutes) = ("203.0.113.7/32", 600);
    stage.ban(attacker, "--for 10h");
    kill(daemon);
    stage.reboot();
    stage.clock.is_kept_right().unwrap();
    let daemon = stage.start();
    let counter = PacketCounter::new(&lab.pbx, ATTACKER, 5060).unwrap();
    let steps = |daemon: &Process| daemon.output().matches("the clock was set").count();

    // As NTP corrects a clock: by less than two seconds at a time.
    for seconds in 1..=3 {
        stage.set(seconds);
        stage.wait_until_followed();
    }
    assert!(stage.lasts(attacker, minutes));
    attack(&lab);
    assert_eq!((steps(&daemon), counter.packets().unwrap()), (0, 0));

    // What was banned before this boot stays, since the clock was right; there and back.
    for (known, ahead) in [(1, 5 * DAY), (2, 3)] {
        stage.set(ahead);
        wait_until("the step", PATIENCE, || steps(&daemon) == known).unwrap();
        stage.wait_for("the step", attacker, minutes);
        attack(&lab);
        assert_eq!(counter.packets().unwrap(), 0);
    }
    stop(daemon);
}

/// Scans over a connection, in which nobody can forge an address, and in two segments, which the daemon
/// sees in one piece; returns for how long that is banned.
fn scan(stage: &Stage<'_>, pbx: &TcpListener) -> SignedDuration {
    let first = *b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: friendly-";
    stage.lab.attacker.enter(|| {
        let mut attacker = TcpStream::connect((PBX, 5060)).unwrap();
        attacker.write_all(&first).unwrap();
        let (mut answering, _) = pbx.accept().unwrap();
        let mut heard = first;
        answering.read_exact(&mut heard).unwrap();
        attacker.write_all(b"scanner\r\n\r\n").unwrap();
    });
    let prefix = format!("{ATTACKER}/32");
    stage.place.wait_for_ban(&prefix);
    let bans = stage.place.bans();
    let ban = bans.iter().find(|ban| ban["prefix"] == *prefix).unwrap();
    let time = |name: &str| -> Timestamp { ban[name].as_str().unwrap().parse().unwrap() };
    let length = time("until").duration_since(time("since"));
    let said = stage.place.sipward(&format!("unban {ATTACKER}"));
    assert_eq!(said.code, 0, "{said:?}");
    length
}

#[test]
fn who_comes_back_is_banned_for_longer_whatever_the_clock_was_set_to() {
    if !require(&[Need::Root, Need::Program("cc")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let mut stage = Stage::new(&lab, XDP);
    let daemon = stage.start();
    let pbx = lab.pbx.enter(|| TcpListener::bind((PBX, 5060)).unwrap());
    let steps = |daemon: &Process| daemon.output().matches("the clock was set").count();
    let mut lengths = vec![scan(&stage, &pbx)];
    for (known, ahead) in [(1, 5 * DAY), (2, -300 * DAY), (3, 0)] {
        stage.set(ahead);
        wait_until("the step", PATIENCE, || steps(&daemon) == known).unwrap();
        lengths.push(scan(&stage, &pbx));
    }
    let hours = [1, 24, 240].map(SignedDuration::from_hours);
    assert_eq!(lengths[0], SignedDuration::from_mins(10));
    assert_eq!(lengths[1..], hours);
    stop(daemon);
}
