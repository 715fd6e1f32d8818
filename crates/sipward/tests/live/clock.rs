//! Somebody sets the clock: days forward, back again, while nobody looks, and from 1970 to today.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use sipward_testkit::{
    clock::Clock,
    count::PacketCounter,
    lab::{ATTACKER, Lab},
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

fn a_clock_that_is_set(configuration: &str) {
    let needs = [Need::Root, Need::Program("iptables"), Need::Program("cc")];
    if !require(&needs) {
        return;
    }
    let lab = Lab::new().unwrap();
    let mut stage = Stage {
        lab: &lab,
        place: Place::new(configuration),
        clock: Clock::new().unwrap(),
        ahead: 0,
        banned: BTreeMap::new(),
    };
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
    forget_what_is_enforced(&lab, &stage.place);
    let today = stage.ahead;
    let ledger = stage.place.state().join("ledger.db");
    let ledger = Connection::open(ledger).unwrap();
    ledger
        .execute("update clock set boot = 'the one before'", [])
        .unwrap();
    drop(ledger);
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
