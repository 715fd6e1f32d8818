//! Ledgers that cannot be opened, and what becomes of them.

use super::*;

/// The index of the alerts is broken, and nothing else.
#[test]
fn what_can_be_read_of_a_damaged_ledger_is_in_the_new_one() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let (lasting, lapsed) = (ban("192.0.2.1/32", Some(60)), ban("192.0.2.2/32", Some(10)));
    let trusted = Trusted {
        address: "198.51.100.10".parse().unwrap(),
        by: TrustedBy::Login,
        username: None,
        user_agent: None,
        since: at(0),
        last: at(0),
        until: at(60),
    };
    let name = AllowedName {
        name: "sip.example.com".to_owned(),
        addresses: vec!["192.0.2.5".parse().unwrap()],
        since: at(0),
    };
    let target = Target::of(&lasting);
    let right = Step {
        from: Offset(7),
        to: Offset(9),
        at: at(0),
        was_right: true,
    };
    ledger
        .write(&[
            Entry::Keep("this boot".to_owned(), right.from),
            Entry::Step(right),
            Entry::Ban(ban("192.0.2.1/32", Some(20))),
            Entry::Dropped(target, 5),
            Entry::Lift(target, at(3), Ended::Lifted),
            Entry::Ban(lasting.clone()),
            Entry::Ban(lapsed),
            Entry::LookFor("one".to_owned(), at(1)),
            Entry::Hits("two".to_owned(), 8, at(2)),
            Entry::Alert(alert()),
            Entry::Allow(net("10.0.0.0/8"), at(0)),
            Entry::AllowName(name.clone()),
            Entry::Trust(trusted.clone()),
            Entry::Spare(net("203.0.113.7/32"), at(0), at(60)),
        ])
        .unwrap();
    let root = "select rootpage from sqlite_schema where name = 'alert_first'";
    let page = ledger
        .connection
        .query_row(root, [], |row| row.get::<_, i64>(0));
    let page = usize::try_from(page.unwrap()).unwrap() - 1;
    let (history, hits) = (ledger.history(at(30), 10).unwrap(), ledger.hits().unwrap());
    assert_eq!((history.len(), hits.len()), (2, 2));
    drop(ledger);
    let path = folder.path().join(FILE_NAME);
    let mut content = fs::read(&path).unwrap();
    content[page * 4_096..page * 4_096 + 200].fill(0x5a);
    fs::write(&path, &content).unwrap();

    let ledger = Ledger::open_to_guard(folder.path(), at(30)).unwrap();
    let aside = ledger.kept_aside().unwrap();
    assert!(fs::read(aside).unwrap() == content, "{aside:?} was changed");
    assert_eq!(ledger.bans(at(30)).unwrap(), [lasting]);
    assert_eq!(ledger.allowed().unwrap(), [(net("10.0.0.0/8"), at(0))]);
    assert_eq!(ledger.allowed_names().unwrap(), [name]);
    assert_eq!(ledger.trusted().unwrap(), [trusted]);
    assert_eq!(ledger.spared().unwrap()[&net("203.0.113.7/32")], at(60));
    assert_eq!(ledger.history(at(30), 10).unwrap(), history);
    assert_eq!(ledger.hits().unwrap(), hits);
    assert_eq!(ledger.offset("this boot").unwrap(), Some(Offset(9)));
    let was_right = "select was_right from clock";
    let was_right = ledger
        .connection
        .query_row(was_right, [], |row| row.get::<_, bool>(0));
    assert!(was_right.unwrap());
    drop(ledger);
    let whole = Ledger::open_to_guard(folder.path(), at(30)).unwrap();
    assert_eq!(whole.kept_aside(), None);
}

/// Neither the ledger of an older version nor a damaged one can be replaced where nothing can be
/// written: here there is a folder in the way, and the older schema refuses to be changed.
#[test]
fn a_ledger_that_cannot_be_replaced_yet_is_guarded_by_and_replaced_later() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let ban = ban("192.0.2.1/32", Some(60));
    let name = AllowedName {
        name: "sip.example.com".to_owned(),
        addresses: ["192.0.2.5", "192.0.2.6"]
            .map(|it| it.parse().unwrap())
            .into(),
        since: at(0),
    };
    ledger
        .write(&[
            Entry::Keep("this boot".to_owned(), Offset(7)),
            Entry::Ban(ban.clone()),
            Entry::Allow(net("10.0.0.0/8"), at(0)),
            Entry::AllowName(name.clone()),
            Entry::Alert(alert()),
        ])
        .unwrap();
    let root = "select rootpage from sqlite_schema where name = 'alert_first'";
    let page = ledger
        .connection
        .query_row(root, [], |row| row.get::<_, i64>(0));
    let page = usize::try_from(page.unwrap()).unwrap();
    drop(ledger);
    let path = folder.path().join(FILE_NAME);
    let mut content = fs::read(&path).unwrap();
    content[(page - 1) * 4_096..][..200].fill(0x5a);
    fs::write(&path, &content).unwrap();
    let in_the_way = folder.path().join("ledger.db.new");
    fs::create_dir(&in_the_way).unwrap();

    let whole = |ledger: &Ledger| {
        assert_eq!(ledger.bans(at(30)).unwrap(), slice::from_ref(&ban));
        assert_eq!(ledger.allowed().unwrap(), [(net("10.0.0.0/8"), at(0))]);
        assert_eq!(ledger.allowed_names().unwrap(), slice::from_ref(&name));
        assert_eq!(ledger.offset("this boot").unwrap(), Some(Offset(7)));
    };
    for _ in 0..2 {
        let mut ledger = Ledger::open_to_guard(folder.path(), at(30)).unwrap();
        assert!(ledger.stands_in());
        whole(&ledger);
        ledger.write(&[]).unwrap_err();
        whole(&ledger);
        assert!(fs::read(&path).unwrap() == content, "it was changed");
    }
    let mut ledger = Ledger::open_to_guard(folder.path(), at(30)).unwrap();
    fs::remove_dir(&in_the_way).unwrap();
    ledger.write(&[]).unwrap();
    assert!(!ledger.stands_in());
    assert!(fs::read(ledger.kept_aside().unwrap()).unwrap() == content);
    whole(&ledger);
    drop(ledger);
    whole(&open(&folder));
}

/// As after an update on a full disk: what stands in has all that is in force, and only until the file
/// can be brought up to date.
#[test]
fn the_ledger_of_an_older_version_is_guarded_by_where_it_cannot_be_brought_up_to_date() {
    let folder = TempDir::new().unwrap();
    let mut ledger = open(&folder);
    let ban = ban("192.0.2.1/32", Some(60));
    ledger
        .write(&[
            Entry::Ban(ban.clone()),
            Entry::Allow(net("10.0.0.0/8"), at(0)),
        ])
        .unwrap();
    ledger
        .connection
        .execute_batch(
            "drop table clock; drop table spared; drop index ban_until; drop index ban_ended;
             pragma user_version = 6",
        )
        .unwrap();
    drop(ledger);
    // Who writes at present keeps others from it.
    let other = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let mut ledger = Ledger::open_to_guard(folder.path(), at(30)).unwrap();
    assert!(ledger.stands_in());
    assert_eq!(ledger.bans(at(30)).unwrap(), slice::from_ref(&ban));
    assert_eq!(ledger.allowed().unwrap(), [(net("10.0.0.0/8"), at(0))]);
    assert_eq!(ledger.offset("this boot").unwrap(), None);
    other.execute_batch("commit").unwrap();
    ledger
        .write(&[Entry::Keep("this boot".to_owned(), Offset(7))])
        .unwrap();
    assert!(!ledger.stands_in());
    assert_eq!(ledger.bans(at(30)).unwrap(), [ban]);
}

/// SQLite writes the first page before the schema.
#[test]
fn a_first_start_that_died_at_once_is_begun_again() {
    let folder = TempDir::new().unwrap();
    let begun = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    begun.pragma_update(None, "journal_mode", "wal").unwrap();
    drop(begun);
    assert_ne!(
        fs::metadata(folder.path().join(FILE_NAME)).unwrap().len(),
        0
    );
    assert_eq!(open(&folder).bans(at(0)).unwrap(), []);
}
