mod rescue;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, slice};

use ipnet::IpNet;
use rusqlite::Connection;
use sipward_engine::{
    Alert, Ban, Detector, Evidence, Origin, Place, Scope, Time, Trusted, TrustedBy,
};
use tempfile::TempDir;
use test_case::test_case;

use super::{AllowedName, Ended, Entry, FILE_NAME, Hits, Ledger, PastBan, Target};
use crate::{
    clock::{Offset, Step},
    exit::Exit,
};

/// Minutes after a moment in 2026.
fn at(minutes: u64) -> Time {
    Time(1_795_348_085_123_456_789 + minutes * 60_000_000_000)
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ban(prefix: &str, until: Option<u64>) -> Ban {
    Ban {
        prefix: net(prefix),
        port: None,
        scope: Scope::All,
        since: at(0),
        until: until.map(at),
        detector: Some(Detector::ScannerSignature),
        reason: "a scanner's User-Agent".to_owned(),
        proven: true,
        signature: Some("sipvicious-friendly-scanner".to_owned()),
        account: None,
        origin: Origin::Local,
    }
}

fn alert() -> Alert {
    let evidence = |place| Evidence {
        at: at(0),
        place,
        summary: "OPTIONS".to_owned(),
    };
    Alert {
        at: at(1),
        source: net("192.0.2.1/32"),
        port: Some(5060),
        detector: Detector::ScannerSignature,
        proven: false,
        summary: "a scanner's User-Agent".to_owned(),
        account: Some("100".to_owned()),
        evidence: [Place::Packet(7), Place::Line(8), Place::Kernel, Place::Ami]
            .map(evidence)
            .into(),
        spared: None,
    }
}

fn open(folder: &TempDir) -> Ledger {
    Ledger::open(folder.path()).unwrap()
}

#[test]
fn what_was_written_is_there_after_the_process_died() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let [a, b, c] = [
        ban("2001:db8::/64", None),
        ban("192.0.2.1/32", Some(10)),
        ban("10.0.0.0/8", None),
    ];
    ledger
        .write(&[&a, &b, &c].map(|ban| Entry::Ban(ban.clone())))
        .unwrap();
    // Without its destructor the connection never closes: as after kill -9.
    std::mem::forget(ledger);
    assert_eq!(open(&folder).bans(at(5)).unwrap(), [c, b, a]);
}

#[test]
fn a_ban_lapses_and_is_history() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    ledger
        .write(&[Entry::Ban(ban("192.0.2.1/32", Some(10)))])
        .unwrap();
    assert_eq!(ledger.bans(at(10)).unwrap(), []);
    assert_eq!(ledger.history(at(9), 10).unwrap(), []);
    let untidied = ledger.history(at(10), 10).unwrap();
    assert_eq!((untidied[0].ended, untidied[0].by), (at(10), Ended::Lapsed));
    ledger.tidy(at(11)).unwrap();
    assert_eq!(ledger.history(at(11), 10).unwrap(), untidied);
}

#[test]
fn a_second_ban_of_the_same_target_replaces_the_first() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let first = ban("192.0.2.1/32", Some(10));
    let again = Ban {
        since: at(5),
        until: None,
        ..first.clone()
    };
    let sip = Ban {
        scope: Scope::Sip,
        ..first.clone()
    };
    let port = Ban {
        port: Some(0),
        ..first.clone()
    };
    let bans = [&first, &again, &sip, &port].map(|ban| Entry::Ban(ban.clone()));
    ledger.write(&bans).unwrap();
    assert_eq!(ledger.bans(at(6)).unwrap(), [again, sip, port]);
    let history = ledger.history(at(6), 10).unwrap();
    assert_eq!(
        (history.len(), history[0].ended, history[0].by),
        (1, at(5), Ended::Replaced)
    );
}

#[test]
fn what_lists_do_not_ban_is_kept_until_its_time_is_over() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let [one, other] = ["192.0.2.1/32", "192.0.2.2/32"].map(net);
    ledger
        .write(&[
            Entry::Spare(one, at(0), at(10)),
            Entry::Spare(one, at(5), at(15)),
            Entry::Spare(other, at(0), at(20)),
        ])
        .unwrap();
    let spared = |ledger: &Ledger| ledger.spared().unwrap().into_iter().collect::<Vec<_>>();
    assert_eq!(spared(&ledger), [(one, at(15)), (other, at(20))]);
    ledger.tidy(at(15)).unwrap();
    assert_eq!(spared(&ledger), [(other, at(20))]);
    ledger.write(&[Entry::SpareNoLonger(other)]).unwrap();
    assert_eq!(spared(&ledger), []);
}

#[test]
fn a_lifted_ban_tells_how_it_ended() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let ban = ban("192.0.2.1/32", None);
    let target = Target::of(&ban);
    assert_eq!(ledger.last_end(&target).unwrap(), None);
    ledger.write(&[Entry::Ban(ban.clone())]).unwrap();
    assert_eq!(ledger.last_end(&target).unwrap(), None);
    let lift = Entry::Lift(target, at(5), Ended::Lifted);
    ledger.write(&[lift.clone(), lift]).unwrap();
    let past = PastBan {
        ban,
        ended: at(5),
        by: Ended::Lifted,
        dropped: 0,
    };
    assert_eq!(ledger.last_end(&target).unwrap(), Some(past));
    assert_eq!(ledger.bans(at(5)).unwrap(), []);
}

#[test]
fn a_ban_that_has_lapsed_is_not_lifted_afterwards() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let ban = ban("192.0.2.1/32", Some(10));
    let lift = Entry::Lift(Target::of(&ban), at(20), Ended::Lifted);
    ledger.write(&[Entry::Ban(ban), lift]).unwrap();
    let history = ledger.history(at(20), 10).unwrap();
    assert_eq!((history[0].ended, history[0].by), (at(10), Ended::Lapsed));
}

#[test]
fn what_a_ban_dropped_is_its_own_and_never_shrinks() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let ban = ban("192.0.2.1/32", None);
    let target = Target::of(&ban);
    let lift = |minutes| Entry::Lift(target, at(minutes), Ended::Lifted);
    ledger
        .write(&[
            Entry::Ban(ban.clone()),
            Entry::Dropped(target, 100),
            lift(5),
            Entry::Dropped(target, 120),
            Entry::Ban(Ban {
                since: at(6),
                ..ban
            }),
            Entry::Dropped(target, 3),
            // After the kernel's maps were lost.
            Entry::Dropped(target, 1),
            lift(7),
        ])
        .unwrap();
    let history = ledger.history(at(8), 10).unwrap();
    let dropped: Vec<u64> = history.iter().map(|past| past.dropped).collect();
    assert_eq!(dropped, [3, 120]);
}

#[test]
fn a_ledger_of_the_first_schema_is_brought_up_to_date() {
    let folder = TempDir::new().unwrap();
    let first = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    first
        .execute_batch(concat!(
            include_str!("schema.sql"),
            "insert into ban values (1, '192.0.2.1/32', x'00', x'00', null, 'all', 0, null, null,
                 'night', 0, null, null, 'manual', 1, 'lifted');
             pragma application_id = 0x53495057; pragma user_version = 1;"
        ))
        .unwrap();
    drop(first);
    let history = open(&folder).history(at(0), 10).unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(
        (history[0].ban.reason.as_str(), history[0].dropped),
        ("night", 0)
    );
    assert_eq!(open(&folder).history(at(0), 10).unwrap(), history);
}

#[test_case("192.0.2.1/32", true; "the address itself")]
#[test_case("192.0.2.0/24", true; "a prefix around it")]
#[test_case("192.0.2.2/32", false; "its neighbour")]
#[test_case("2001:db8::/32", false; "the other family")]
fn alerts_are_found_by_any_prefix_that_overlaps(asked: &str, found: bool) {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    ledger.write(&[Entry::Alert(alert())]).unwrap();
    let expected = if found { vec![alert()] } else { Vec::new() };
    assert_eq!(ledger.alerts(&net(asked), 10).unwrap(), expected);
}

#[test]
fn alerts_are_found_by_their_account() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    ledger.write(&[Entry::Alert(alert())]).unwrap();
    assert_eq!(ledger.alerts_of_account("100", 10).unwrap(), [alert()]);
    assert_eq!(ledger.alerts_of_account("10", 10).unwrap(), []);
}

#[test]
fn the_allowlist_is_kept_with_its_first_date() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let (a, b) = (net("192.0.2.0/24"), net("2001:db8::/48"));
    ledger
        .write(&[
            Entry::Allow(b, at(0)),
            Entry::Allow(a, at(0)),
            Entry::Allow(a, at(9)),
        ])
        .unwrap();
    assert_eq!(ledger.allowed().unwrap(), [(a, at(0)), (b, at(0))]);
    ledger.write(&[Entry::Disallow(a)]).unwrap();
    assert_eq!(ledger.allowed().unwrap(), [(b, at(0))]);
}

#[test]
fn a_name_is_kept_with_what_it_stood_for_last() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let name = |name: &str, addresses: &[&str]| AllowedName {
        name: name.to_owned(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        since: at(0),
    };
    let b = name("b.example", &["192.0.2.9", "198.51.100.10", "2001:db8::1"]);
    let entries = [
        name("b.example", &["192.0.2.1"]),
        name("a.example", &["192.0.2.1"]),
        b.clone(),
    ];
    ledger.write(&entries.map(Entry::AllowName)).unwrap();
    let a = name("a.example", &["192.0.2.1"]);
    assert_eq!(ledger.allowed_names().unwrap(), [a.clone(), b]);
    let gone = Entry::DisallowName("b.example".to_owned());
    ledger.write(&[gone]).unwrap();
    assert_eq!(ledger.allowed_names().unwrap(), [a]);
}

#[test]
fn a_trusted_address_is_renewed_and_forgotten() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let trusted = Trusted {
        address: "2001:db8::7".parse().unwrap(),
        by: TrustedBy::Registration,
        username: Some("100".to_owned()),
        user_agent: Some(b"a phone \xff".to_vec()),
        since: at(0),
        last: at(1),
        until: at(9),
    };
    let renewed = Trusted {
        last: at(2),
        ..trusted.clone()
    };
    ledger
        .write(&[Entry::Trust(trusted), Entry::Trust(renewed.clone())])
        .unwrap();
    assert_eq!(ledger.trusted().unwrap(), std::slice::from_ref(&renewed));
    ledger.write(&[Entry::Distrust(renewed.address)]).unwrap();
    assert_eq!(ledger.trusted().unwrap(), []);
}

#[test]
fn a_batch_is_written_whole_or_not_at_all() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let trigger = "create trigger full before insert on alert
                   begin select raise(abort, 'disk full'); end";
    ledger.connection.execute_batch(trigger).unwrap();
    let batch = [Entry::Ban(ban("192.0.2.1/32", None)), Entry::Alert(alert())];
    let error = ledger.write(&batch).unwrap_err();
    assert!(error.text.contains("disk full"), "{error}");
    assert_eq!(ledger.bans(at(0)).unwrap(), []);
}

#[test]
fn old_history_is_forgotten_and_a_ban_for_ever_is_not() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let forever = ban("192.0.2.1/32", None);
    let lapsed = ban("192.0.2.2/32", Some(10));
    ledger
        .write(&[
            Entry::Ban(forever.clone()),
            Entry::Ban(lapsed),
            Entry::Alert(alert()),
        ])
        .unwrap();
    let later = at(91 * 24 * 60);
    ledger.tidy(later).unwrap();
    assert_eq!(ledger.history(later, 10).unwrap(), []);
    assert_eq!(ledger.alerts(&net("192.0.2.1/32"), 10).unwrap(), []);
    let left: u32 = ledger
        .connection
        .query_row("select count(*) from evidence", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
    assert_eq!(ledger.bans(later).unwrap(), [forever]);
}

#[test]
fn folder_and_files_are_for_the_owner_alone() {
    let folder = TempDir::new().unwrap();
    let state = folder.path().join("state");
    let mut ledger = Ledger::open(&state).unwrap();
    ledger
        .write(&[Entry::Allow(net("192.0.2.0/24"), at(0))])
        .unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        assert_eq!(mode(&state.join(name)), 0o600, "{name}");
    }
}

#[test_case(b"not a database, but longer than the sixteen bytes of a header".to_vec(), "no ledger of sipward"; "text")]
#[test_case(foreign(), "belongs to another program"; "the database of another program")]
#[test_case(newer(), "a newer sipward"; "a ledger from the future")]
#[test_case(damaged(), "damaged"; "a ledger with a broken page")]
fn a_file_that_is_no_whole_ledger_is_refused_and_left_alone(content: Vec<u8>, part: &str) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(FILE_NAME);
    fs::write(&path, &content).unwrap();
    let error = Ledger::open(folder.path()).map(drop).unwrap_err();
    assert_eq!(error.exit, Exit::Input);
    assert!(
        error.text.contains(part) && error.text.contains("ledger.db"),
        "{error}"
    );
    assert!(!error.text.contains('\n'), "{error}");
    assert!(fs::read(&path).unwrap() == content, "the file was changed");
}

#[test]
fn a_folder_in_the_place_of_the_ledger_is_refused() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join(FILE_NAME)).unwrap();
    let error = Ledger::open(folder.path()).map(drop).unwrap_err();
    assert!(error.text.contains("Is a directory"), "{error}");
}

/// Booted at minute 0, and at minute 60 set 1,000 minutes forward; each ban had 60 minutes left.
#[test_case(10, false, 1_010, 1_120; "by this clock: what is left stays")]
#[test_case(-10, false, -10, 120; "before this boot: the new clock tells what is left")]
#[test_case(-10, true, 990, 1_120; "before this boot, and the clock was right: what is left stays")]
#[test_case(70, true, 70, 120; "later than the clock said: it was behind")]
fn a_step_of_the_clock_is_followed(since: i64, was_right: bool, then: i64, until: i64) {
    let minute = |minutes: i64| Time(at(0).0.saturating_add_signed(minutes * 60_000_000_000));
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let ban = Ban {
        since: minute(since),
        ..ban("192.0.2.1/32", Some(120))
    };
    let trusted = Trusted {
        address: "198.51.100.10".parse().unwrap(),
        by: TrustedBy::Login,
        username: None,
        user_agent: None,
        since: minute(since),
        last: minute(since),
        until: at(120),
    };
    let offset = |minutes| Offset(i64::try_from(minute(minutes).0).unwrap());
    let step = Step {
        from: offset(0),
        to: offset(1_000),
        at: at(60),
        was_right,
    };
    ledger
        .write(&[
            Entry::Keep("this boot".to_owned(), step.from),
            Entry::Ban(ban.clone()),
            Entry::Trust(trusted.clone()),
            Entry::Spare(net("203.0.113.7/32"), minute(since), at(120)),
            Entry::Step(step),
        ])
        .unwrap();
    assert_eq!(ledger.offset("this boot").unwrap(), Some(step.to));
    assert_eq!(ledger.offset("another boot").unwrap(), None);
    let stepped = Ban {
        since: minute(then),
        until: Some(minute(until)),
        ..ban
    };
    assert_eq!(ledger.bans(at(60)).unwrap(), [stepped]);
    let login = &ledger.trusted().unwrap()[0];
    assert_eq!((login.last, login.until), (minute(then), minute(until)));
    let spared = ledger.spared().unwrap();
    assert_eq!(spared[&net("203.0.113.7/32")], minute(until));
}

/// Booted at minute 0; mistaken at minute 60 and corrected, by a clock that nobody keeps any more, at
/// minute 70, with a start in between. Both bans had time left.
#[test_case(1_000; "forward and back")]
#[test_case(-65; "back and forward")]
fn a_mistake_that_is_corrected_leaves_what_was_before_this_boot_as_it_was(mistake: i64) {
    let minute = |minutes: i64| Time(at(0).0.saturating_add_signed(minutes * 60_000_000_000));
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let (short, long) = (
        ban("192.0.2.1/32", Some(75)),
        ban("192.0.2.2/32", Some(9_000)),
    );
    let before = [short, long].map(|ban| Ban {
        since: minute(-10),
        ..ban
    });
    let trusted = Trusted {
        address: "198.51.100.10".parse().unwrap(),
        by: TrustedBy::Login,
        username: None,
        user_agent: None,
        since: minute(-20),
        last: minute(-10),
        until: minute(75),
    };
    let offset = |minutes| Offset(i64::try_from(minute(minutes).0).unwrap());
    let keep = |minutes| Entry::Keep("this boot".to_owned(), offset(minutes));
    let step = |from, to, at, was_right| {
        Entry::Step(Step {
            from: offset(from),
            to: offset(to),
            at: minute(at),
            was_right,
        })
    };
    ledger
        .write(&before.clone().map(Entry::Ban))
        .and_then(|()| ledger.write(&[Entry::Trust(trusted.clone()), keep(0)]))
        .and_then(|()| ledger.write(&[step(0, mistake, 60, true)]))
        .unwrap();
    assert_eq!(ledger.bans(minute(mistake + 60)).unwrap().len(), 2);
    ledger
        .write(&[keep(mistake), step(mistake, 0, mistake + 70, false)])
        .unwrap();
    assert_eq!(ledger.bans(minute(70)).unwrap(), before);
    assert_eq!(ledger.trusted().unwrap(), [trusted]);

    // Of the next boot nobody knows yet whether its clock is right.
    ledger
        .write(&[
            Entry::Keep("the next boot".to_owned(), offset(100)),
            step(100, 1_100, 160, false),
        ])
        .unwrap();
    let long = &ledger.bans(minute(70)).unwrap()[1];
    assert_eq!(long.until, Some(at(9_000)));
}

/// As an import has them, of a fail2ban `bantime` of 9999999999 s.
#[test]
fn a_far_end_does_not_keep_a_step_from_being_followed() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let far = Ban {
        until: Some(Time(u64::MAX)),
        ..ban("192.0.2.1/32", Some(0))
    };
    let offset = |at: Time| Offset(i64::try_from(at.0).unwrap());
    let step = Step {
        from: offset(at(0)),
        to: offset(at(1_000)),
        at: at(60),
        was_right: false,
    };
    ledger
        .write(&[
            Entry::Keep("this boot".to_owned(), step.from),
            Entry::Ban(far),
            Entry::Step(step),
        ])
        .unwrap();
    let until = ledger.bans(at(1_060)).unwrap()[0].until;
    assert_eq!(until, Some(Time(i64::MAX.cast_unsigned())));
}

fn database(write: impl FnOnce(&Connection)) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.db");
    let connection = Connection::open(&path).unwrap();
    write(&connection);
    drop(connection);
    fs::read(path).unwrap()
}

fn foreign() -> Vec<u8> {
    database(|connection| {
        connection
            .execute_batch("create table bips (ip text)")
            .unwrap()
    })
}

fn newer() -> Vec<u8> {
    database(|connection| {
        connection
            .execute_batch("pragma application_id = 0x53495057; pragma user_version = 99")
            .unwrap();
    })
}

fn damaged() -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    drop(open(&folder));
    let mut content = fs::read(folder.path().join(FILE_NAME)).unwrap();
    let second_page = 4096;
    content[second_page..second_page + 200].fill(0x5a);
    content
}

#[test]
fn hits_of_signatures_add_up_and_the_first_and_the_last_time_stay() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let look_for = |name: &str, minutes| Entry::LookFor(name.to_owned(), at(minutes));
    let hits = |packets, minutes| Entry::Hits("busy".to_owned(), packets, at(minutes));
    ledger
        .write(&[
            look_for("busy", 0),
            look_for("idle", 1),
            hits(2, 5),
            hits(3, 4),
        ])
        .unwrap();
    ledger.write(&[look_for("busy", 9), hits(1, 3)]).unwrap();
    drop(ledger);
    let busy = Hits {
        name: "busy".to_owned(),
        packets: 6,
        since: at(0),
        last: Some(at(5)),
    };
    let idle = Hits::none("idle".to_owned(), at(1));
    assert_eq!(Ledger::hits_in(folder.path()).unwrap(), [busy, idle]);
}

#[test]
fn where_no_ledger_is_nothing_was_hit_and_none_is_made() {
    let folder = TempDir::new().unwrap();
    assert_eq!(Ledger::hits_in(folder.path()).unwrap(), []);
    assert!(!folder.path().join(FILE_NAME).exists());
}
