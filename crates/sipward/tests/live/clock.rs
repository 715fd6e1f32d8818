//! Somebody sets the clock: days forward, back again, while nobody looks, and from 1970 to today.

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
/// A ban's end by what is shown and by this clock, the time of the test beside it.
const SAME: SignedDuration = SignedDuration::from_mins(5);

/// A guarded PBX whose clock is set.
struct Stage<'a> {
    lab: &'a Lab,
    place: Place,
    clock: Clock,
    ahead: i64,
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

    /// How long this prefix is still banned, by the clock as it is set.
    fn left(&self, prefix: &str) -> Option<SignedDuration> {
        let bans = self.place.bans();
        let ban = bans.iter().find(|ban| ban["prefix"] == prefix)?;
        let until: Timestamp = ban["until"].as_str()?.parse().unwrap();
        let now = Timestamp::now() + SignedDuration::from_secs(self.ahead);
        Some(until.duration_since(now))
    }

    fn has_left(&self, prefix: &str, minutes: i64) -> bool {
        let wanted = SignedDuration::from_mins(minutes);
        let left = self.left(prefix);
        left.is_some_and(|left| left <= wanted && left > wanted - SAME)
    }

    fn wait_for(&self, what: &str, prefix: &str, minutes: i64) {
        let waited = wait_until(what, PATIENCE, || self.has_left(prefix, minutes));
        if let Err(error) = waited {
            panic!("{prefix} is banned for {:?}: {error}", self.left(prefix));
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
    };
    let mut daemon = stage.start();
    let counter = PacketCounter::new(&lab.pbx, ATTACKER, 5060).unwrap();
    let (attacker, minutes) = ("203.0.113.7/32", 600);
    let ban = |prefix: &str, how: &str| {
        let said = stage.place.sipward(&format!("ban {prefix} {how}"));
        assert_eq!(said.code, 0, "{said:?}");
    };
    ban(attacker, "--for 10h");
    ban("203.0.113.64/27", "--for 1h");
    ban("2001:db8:bad::/48", "--forever");

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
    let said = stage.place.sipward("ban 203.0.113.9 --for 1h");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(stage.has_left("203.0.113.9/32", 60));

    // It was off for two hours: one of the bans is over, the others end when they were to.
    stage.set(today + 2 * 3_600);
    stage.wait_for("today", attacker, minutes - 120);
    stage.wait_for("today", "203.0.113.9/32", 60);
    assert_eq!(stage.left("203.0.113.64/27"), None);
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
