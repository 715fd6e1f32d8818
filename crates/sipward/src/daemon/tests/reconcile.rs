//! Kernel and ledger compared at the start: which of the two is right.

use std::{
    io,
    sync::{Arc, Mutex},
};

use super::*;

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn bans_that_the_kernel_lost_are_restored() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    guard.ban(&ban("203.0.113.0/24")).unwrap();
    guard
        .ban(&BanRequest {
            seconds: Some(600),
            ..ban("198.51.100.1/32")
        })
        .unwrap();
    guard
        .allow(
            &AllowRequest {
                prefixes: vec![net("192.0.2.5/32")],
                ..AllowRequest::default()
            },
            Vec::new(),
        )
        .unwrap();
    let before = bans(&guard);
    drop(guard);
    *bench.shield.state() = crate::daemon::double::State::default();
    let guard = bench.guard();
    assert_eq!(bans(&guard), before);
    assert_eq!(
        bench.enforced(),
        [net("198.51.100.1/32"), net("203.0.113.0/24")]
    );
    assert!(bench.shield.state().allowed.contains(&net("192.0.2.5/32")));
}

#[test]
fn a_ban_that_was_lifted_in_the_ledger_only_is_lifted_in_the_kernel() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    guard.ban(&ban("203.0.113.0/24")).unwrap();
    drop(guard);
    let mut ledger = bench.ledger();
    let ban = ledger.bans(clock::now()).unwrap().remove(0);
    let lift = Entry::Lift(crate::ledger::Target::of(&ban), clock::now(), Ended::Lifted);
    ledger.write(&[lift]).unwrap();
    bench.guard();
    assert_eq!(bench.enforced(), []);
}

/// The machine slept with no daemon, which nftables' timeouts do not count: what lasts longer than that
/// explains is another ban.
#[test]
fn a_ban_that_ended_while_the_machine_slept_is_lifted_in_the_kernel() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let [over, later, short] = ["203.0.113.7/32", "203.0.113.8/32", "203.0.113.9/32"];
    for prefix in [over, later, short] {
        guard.ban(&ban(prefix)).unwrap();
    }
    drop(guard);
    let now = clock::now();
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let mut ledger = bench.ledger();
    let bans = ledger.bans(now).unwrap().into_iter().map(|mut ban| {
        let lasted = if ban.prefix == net(short) { 10 } else { 60 };
        (ban.since, ban.until) = (now - minutes(lasted), Some(now));
        Entry::Ban(ban)
    });
    let bans: Vec<Entry> = bans.collect();
    ledger.write(&bans).unwrap();
    bench.shield.state().overdue = minutes(30);
    // Of what was slept at most ten minutes were in the short one's time.
    for (prefix, left) in [(over, 29), (later, 31), (short, 11)] {
        let key = (target(prefix), Scope::All);
        let until = Clocks::now().boot(Some(now + minutes(left)));
        bench.shield.state().bans.get_mut(&key).unwrap().until = until;
    }
    bench.guard();
    assert_eq!(bench.enforced(), [net(later), net(short)]);
}

/// The kernel is told of an automatic ban first: what ended before is another ban.
#[test]
fn the_ban_of_a_repeat_offender_that_only_the_kernel_has_is_kept() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let prefix = "203.0.113.7/32";
    guard
        .ban(&BanRequest {
            seconds: Some(600),
            ..ban(prefix)
        })
        .unwrap();
    guard
        .unban(&UnbanRequest::Prefixes(vec![net(prefix)]))
        .unwrap();
    drop(guard);
    let until = clock::now() + Duration::from_secs(3_600);
    let newer = sipward_shield::Ban {
        target: target(prefix),
        scope: Scope::All,
        until: Clocks::now().boot(Some(until)),
    };
    bench
        .shield
        .state()
        .bans
        .insert((newer.target, newer.scope), newer);
    bench.guard();
    assert_eq!(bench.enforced(), [net(prefix)]);
    assert_eq!(bench.written(), [net(prefix)]);
}

#[test]
fn a_ban_that_only_the_kernel_has_is_taken_into_the_ledger_with_its_end() {
    let bench = Bench::new();
    let clocks = Clocks::now();
    let until = clock::now() + Duration::from_secs(600);
    let held = |prefix: &str, until| sipward_shield::Ban {
        target: target(prefix),
        scope: Scope::Sip,
        until: clocks.boot(until),
    };
    // The second is one of the few seconds that a source is held for.
    let hold = clock::now() + Duration::from_secs(3);
    for ban in [
        held("203.0.113.7/32", Some(until)),
        held("203.0.113.8/32", Some(hold)),
    ] {
        bench
            .shield
            .state()
            .bans
            .insert((ban.target, ban.scope), ban);
    }
    bench.guard();
    let written = bench.ledger().bans(clock::now()).unwrap();
    assert_eq!(written.len(), 1);
    let apart = |a: Time, b: Time| a.since(b).max(b.since(a));
    assert!(apart(written[0].until.unwrap(), until) < Duration::from_millis(1));
    assert_eq!(bench.enforced().len(), 2, "a hold lapses by itself");
}

#[test]
fn the_end_of_the_ledger_counts() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    guard
        .ban(&BanRequest {
            seconds: Some(600),
            ..ban("203.0.113.7/32")
        })
        .unwrap();
    drop(guard);
    let key = (target("203.0.113.7/32"), Scope::All);
    bench.shield.state().bans.get_mut(&key).unwrap().until = BootTime::NEVER;
    bench.guard();
    assert_ne!(bench.shield.state().bans[&key].until, BootTime::NEVER);
}

/// Trust that ended with the daemon dead ended in the ledger only.
#[test]
fn trusted_are_those_who_logged_in_and_nobody_else() {
    let bench = Bench::new();
    let logged_in = |address: &str, until| {
        Entry::Trust(Trusted {
            address: address.parse().unwrap(),
            by: TrustedBy::Registration,
            username: Some("100".to_owned()),
            user_agent: None,
            since: clock::now(),
            last: clock::now(),
            until,
        })
    };
    let next_week = clock::now() + Duration::from_secs(600_000);
    bench
        .ledger()
        .write(&[
            logged_in("198.51.100.7", next_week),
            logged_in("198.51.100.8", next_week),
            logged_in("2001:db8::7", next_week),
            logged_in("198.51.100.9", clock::now()),
        ])
        .unwrap();
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    bench.shield.state().trusted = addresses(&["198.51.100.7", "198.51.100.9", "203.0.113.1"]);
    bench.guard();
    assert_eq!(
        bench.shield.state().trusted,
        addresses(&["198.51.100.7", "198.51.100.8", "2001:db8::"])
    );
}

#[test]
fn what_nobody_allows_any_more_is_not_allowed_after_a_restart() {
    let bench = Bench::new();
    bench.shield.state().allowed.insert(net("192.0.2.5/32"));
    bench.guard();
    assert!(bench.shield.state().allowed.is_empty());
}

/// The ledger cannot be opened at this start: what is missing in its stand-in nobody has taken back.
#[test]
fn what_the_kernel_allows_and_trusts_stays_while_the_ledger_cannot_be_opened() {
    let bench = Bench::new();
    drop(bench.ledger());
    let path = bench.folder.path().join(crate::ledger::FILE_NAME);
    std::fs::write(&path, b"this is no database at all".repeat(1_000)).unwrap();
    let in_the_way = bench.folder.path().join("ledger.db.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let (provider, phone) = (net("198.51.100.0/24"), "192.0.2.10".parse().unwrap());
    bench.shield.state().allowed.insert(provider);
    bench.shield.state().trusted.insert(phone);

    let ledger = Ledger::open_to_guard(bench.folder.path(), clock::now()).unwrap();
    let shield = Box::new(bench.shield.clone());
    let mut guard = Guard::new(Config::default(), shield, ledger).unwrap();
    guard.allowed_changed().unwrap();
    assert!(bench.shield.state().allowed.contains(&provider));
    assert!(bench.shield.state().trusted.contains(&phone));
    let scanner = scan("198.51.100.7", "sipvicious-friendly-scanner");
    bench.shield.state().events.push(scanner);
    turn(&mut guard);
    assert_eq!(bench.enforced(), []);

    // Now the ledger is all there is.
    std::fs::remove_dir(&in_the_way).unwrap();
    guard.write_order().unwrap();
    guard.follow_clock();
    assert!(!bench.shield.state().allowed.contains(&provider));
    assert!(!bench.shield.state().trusted.contains(&phone));
}

/// The kernel refuses while the guard begins anew, as after a step of the clock.
#[test]
fn what_cannot_be_restored_at_once_is_restored_later() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    guard.ban(&ban("203.0.113.7/32")).unwrap();
    guard.restoring = crate::daemon::step::Restoring::now(Vec::new());
    *bench.shield.state() = crate::daemon::double::State::default();
    bench.shield.state().is_full = true;
    guard.follow_clock();
    assert_eq!(bench.enforced(), []);
    bench.shield.state().is_full = false;
    guard.follow_clock();
    assert_eq!(bench.enforced(), [net("203.0.113.7/32")]);
    assert_eq!(bans(&guard).len(), 1);
}

/// Somebody has to know what is in force by then.
#[test]
fn what_a_start_restored_is_told_even_where_it_then_fails() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    guard.ban(&ban("198.51.100.7/32")).unwrap();
    guard.ban(&ban("203.0.113.7/32")).unwrap();
    let enforced = std::mem::take(&mut bench.shield.state().bans);
    guard
        .unban(&UnbanRequest::Prefixes(vec![net("203.0.113.7/32")]))
        .unwrap();
    drop(guard);
    // Of the two the kernel has what was lifted.
    let lifted = enforced.into_iter().next_back();
    bench.shield.state().bans.extend(lifted);
    bench.shield.state().lifts_nothing = true;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone());
    // With one alone, what other threads log meanwhile for the first time is logged by nobody.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let failed = tracing::subscriber::with_default(subscriber.finish(), || {
        Guard::new(
            Config::default(),
            Box::new(bench.shield.clone()),
            bench.ledger(),
        )
        .is_err()
    });
    assert!(failed);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let told = "the ban of 198.51.100.7/32 was not in the kernel: restored";
    assert!(text.contains(told), "{text}");
}
