//! A ledger that cannot be written.

use std::net::{IpAddr, Ipv4Addr};

use rusqlite::Connection;

use super::{Bench, ban, net};
use crate::{
    clock::{self, Offset, Step},
    control::api::{BanRequest, LedgerState, UnbanRequest},
    daemon::Guard,
    exit::Failure,
    ledger::{Entry, FILE_NAME},
};

/// Has the ledger refuse every ban until its trigger is dropped.
fn refuse_bans(bench: &Bench) -> Connection {
    let ledger = Connection::open(bench.folder.path().join(FILE_NAME)).unwrap();
    let full =
        "create trigger full before insert on ban begin select raise(abort, 'disk full'); end";
    ledger.execute_batch(full).unwrap();
    ledger
}

#[test]
fn an_order_that_the_ledger_refuses_is_enforced_and_not_acknowledged() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let ledger = refuse_bans(&bench);
    let error = guard.ban(&ban("203.0.113.0/24")).unwrap_err();
    assert!(
        error.text.contains("would not survive") && error.text.contains("disk full"),
        "{error}"
    );
    assert_eq!(bench.enforced(), [net("203.0.113.0/24")]);
    let status = guard.status().unwrap().ledger;
    assert_eq!((status.state, status.waiting), (LedgerState::Unwritable, 1));
    // As soon as there is room it is written, with the next order at the latest.
    ledger.execute_batch("drop trigger full").unwrap();
    guard.ban(&ban("198.51.100.0/24")).unwrap();
    assert_eq!(bench.written(), bench.enforced());
    assert_eq!(guard.status().unwrap().ledger.state, LedgerState::Ok);
}

/// More bans than may wait; returns what is said of it.
fn ban_many(guard: &mut Guard) -> Failure {
    let many = BanRequest {
        prefixes: (0..30_000_u32)
            .map(|number| IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 + number)).into())
            .collect(),
        ..ban("198.51.100.2/32")
    };
    guard.ban(&many).unwrap_err()
}

/// More than may wait, so that some of it is dropped, and found again in the engine.
#[test]
fn what_waited_for_a_full_disk_is_written_however_much_it_was() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    guard.ban(&ban("198.51.100.1/32")).unwrap();
    let ledger = refuse_bans(&bench);
    let refused = ban_many(&mut guard);
    assert!(refused.text.starts_with("in force now, but"), "{refused}");
    let lifted = UnbanRequest::Prefixes(vec![net("198.51.100.1/32")]);
    guard.unban(&lifted).unwrap_err();
    assert_eq!(bench.enforced().len(), 30_000);
    let status = guard.status().unwrap().ledger;
    assert!(status.waiting < 30_000, "{status:?}");
    assert_eq!(bench.written(), [net("198.51.100.1/32")]);

    ledger.execute_batch("drop trigger full").unwrap();
    guard.ban(&ban("198.51.100.3/32")).unwrap();
    assert_eq!(bench.written(), bench.enforced());
}

/// The clock is set while more waits than may: bans are by the new one, and the next start knows it.
#[test]
fn a_step_of_the_clock_is_written_with_what_waited_however_much_it_was() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let ledger = refuse_bans(&bench);
    let (from, hour) = (Offset(1_000), 3_600_000_000_000);
    guard
        .pending
        .push(Entry::Keep("this boot".to_owned(), from));
    ban_many(&mut guard);
    ledger.execute_batch("drop trigger full").unwrap();
    let step = Step {
        from,
        to: Offset(from.0 + hour),
        at: clock::now(),
        was_right: true,
    };
    guard.write_step(step).unwrap();
    assert_eq!(bench.ledger().offset("this boot").unwrap(), Some(step.to));
    let bans = bench.ledger().bans(clock::now()).unwrap();
    assert_eq!(bans.len(), 30_000);
    assert!(bans.iter().all(|ban| ban.since > step.at));
}
