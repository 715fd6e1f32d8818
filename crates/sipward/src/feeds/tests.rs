use std::{fs, path::Path, time::Duration};

use sipward_engine::Time;
use tempfile::TempDir;
use test_case::test_case;

use super::{
    Terms, Validators, age, in_force, is_loopback, is_open,
    store::{self, Record},
    views,
};
use crate::{clock, config};

/// As if the list of this name had been taken, now.
pub(crate) fn take_for_test(folder: &Path, name: &str, signatures: &str) {
    fs::write(store::path(folder, name, store::SIGNATURES), signatures).unwrap();
    let record = Record {
        confirmed: clock::timestamp(clock::now()),
        ..record(false)
    };
    store::write_record(folder, name, &record).unwrap();
}

const CONFIRMED: Time = Time::from_secs(1_795_348_085);
const DAY: u64 = 86_400;

fn config(folder: &TempDir, text: &str) -> config::Signatures {
    config::Signatures {
        feeds_folder: Some(folder.path().to_owned()),
        ..toml::from_str(text).unwrap()
    }
}

fn record(subscribed: bool) -> Record {
    Record {
        from: "https://lists.example.org".to_owned(),
        terms: Terms::default(),
        subscribed,
        entries: 7,
        signatures: 5,
        validators: Validators::default(),
        goes_on: None,
        signed_at: None,
        confirmed: clock::timestamp(CONFIRMED),
        keep_seconds: 30 * DAY,
    }
}

const NAMED: &str = "[[feed]]\nname = \"web\"\nurl = \"https://lists.example.org\"";
const MOVED: &str = "[[feed]]\nname = \"web\"\nurl = \"https://moved.example.org\"";
const SHORT: &str = "[[feed]]\nname = \"web\"\nurl = \"https://lists.example.org\"\nkeep = \"1d\"";
const OTHER: &str = "[[feed]]\nname = \"other\"\nurl = \"https://lists.example.org\"";

#[test_case(NAMED, true, 0, Ok(1); "just confirmed")]
#[test_case(NAMED, true, 30 * DAY - 1, Ok(1); "not confirmed for nearly thirty days")]
#[test_case(NAMED, true, 30 * DAY, Err("was last there on 2026-11-22"); "not confirmed for thirty days")]
#[test_case(MOVED, true, 0, Err("was taken from elsewhere or on other terms"); "now to be had elsewhere")]
#[test_case(SHORT, true, DAY, Err("was last there on 2026-11-22"); "not confirmed for the day that is now asked for")]
#[test_case(OTHER, true, 0, Ok(0); "no longer in the configuration")]
#[test_case(OTHER, false, 0, Ok(1); "taken by hand")]
#[test_case("", false, 31 * DAY, Err("was last there on 2026-11-22"); "taken by hand long ago")]
fn a_list_is_in_force_while_somebody_wants_it_and_its_server_has_it(
    configured: &str,
    subscribed: bool,
    later: u64,
    expected: Result<usize, &str>,
) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("web.toml"), "").unwrap();
    store::write_record(folder.path(), "web", &record(subscribed)).unwrap();
    let config = config(&folder, configured);
    let found = in_force(&config, CONFIRMED + Duration::from_secs(later)).unwrap();
    match expected {
        Ok(files) => {
            assert_eq!(found.files.len(), files);
            assert!(found.left_out.is_empty(), "{found:?}");
        }
        Err(why) => {
            assert!(found.files.is_empty());
            let [line] = &found.left_out[..] else {
                panic!("one line: {found:?}");
            };
            assert!(line.contains(why), "{line}");
            assert!(line.contains("update --force --name web"), "{line}");
            // The configuration does not say where it is.
            let from = line.contains("--name web --from https://lists.example.org`");
            assert_eq!(from, !subscribed, "{line}");
        }
    }
}

const KEY: &str = "key = \"RWQBAgMEBQYHCAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g\"";

#[test_case("", "", true; "evidence")]
#[test_case("", "promote = true", true; "evidence, to be promoted")]
#[test_case("promote = true", "promote = true", true; "promoted")]
#[test_case("promote = true", "", false; "promoted, to be evidence")]
#[test_case("", KEY, false; "unsigned, to be signed")]
#[test_case(KEY, "", false; "signed, by nobody in particular")]
#[test_case(KEY, KEY, true; "signed")]
fn a_list_is_in_force_on_terms_that_the_configuration_still_has(
    taken: &str,
    asked: &str,
    expected: bool,
) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("web.toml"), "").unwrap();
    let then = config(&folder, &format!("{NAMED}\n{taken}"));
    let record = Record {
        terms: Terms::of(&then.feeds[0]),
        ..record(true)
    };
    store::write_record(folder.path(), "web", &record).unwrap();
    let now = config(&folder, &format!("{NAMED}\n{asked}"));
    let found = in_force(&now, CONFIRMED).unwrap();
    let counts = (found.files.len(), found.left_out.len());
    assert_eq!(counts == (1, 0), expected, "{found:?}");
    assert_eq!(counts == (0, 1), !expected, "{found:?}");
}

#[test]
fn a_list_of_unknown_age_is_left_out() {
    let folder = TempDir::new().unwrap();
    take_for_test(folder.path(), "web", "");
    let config = config(&folder, "");
    assert_eq!(in_force(&config, clock::now()).unwrap().files.len(), 1);
    fs::write(folder.path().join("web.json"), "{}").unwrap();
    let found = in_force(&config, clock::now()).unwrap();
    assert!(found.files.is_empty());
    assert!(
        found
            .left_out
            .concat()
            .contains("nobody knows how old it is")
    );
}

#[test]
fn a_list_of_an_earlier_version_ages_from_when_it_was_written() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("web.toml"), "").unwrap();
    let earlier = "{\"from\":\"/lists/web\",\"entries\":5,\"signatures\":5,\
                   \"validators\":{\"etag\":null,\"last_modified\":null}}";
    fs::write(folder.path().join("web.json"), earlier).unwrap();
    let config = config(&folder, "");
    let after = |days: u64| {
        let now = clock::now() + Duration::from_secs(days * DAY);
        in_force(&config, now).unwrap()
    };
    assert_eq!(after(29).files.len(), 1);
    let [line] = &after(31).left_out[..] else {
        panic!("it is left out");
    };
    assert!(line.contains("--name web --from /lists/web`"), "{line}");
}

#[test]
fn a_list_confirmed_by_a_clock_that_was_ahead_ages_from_now() {
    let folder = TempDir::new().unwrap();
    take_for_test(folder.path(), "web", "");
    store::write_record(folder.path(), "web", &record(false)).unwrap();
    let years_before = CONFIRMED - Duration::from_secs(1_000 * DAY);
    age(folder.path(), years_before).unwrap();
    let config = config(&folder, "");
    let after = |days: u64| {
        let now = years_before + Duration::from_secs(days * DAY);
        in_force(&config, now).unwrap().files.len()
    };
    assert_eq!((after(29), after(30)), (1, 0));
    // One of the past stays as it is.
    age(folder.path(), CONFIRMED).unwrap();
    assert_eq!(after(30), 0);
}

#[test]
fn a_list_that_was_taken_by_hand_fails_no_longer() {
    let folder = TempDir::new().unwrap();
    let config = config(&folder, NAMED);
    let failing = store::Plan {
        failures: 3,
        error: Some("no list".to_owned()),
        ..store::plan(folder.path(), &config.feeds[0])
    };
    store::write_plan(folder.path(), "web", &failing).unwrap();
    store::forget_error(folder.path(), "web").unwrap();
    let [view] = &views(&config)[..] else {
        panic!("one list");
    };
    assert_eq!(view.error, None);
    store::forget_error(folder.path(), "other").unwrap();
    assert_eq!(store::plan(folder.path(), &config.feeds[0]).failures, 0);
}

#[test]
fn the_status_tells_of_configured_lists_and_of_those_taken_by_hand() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, subscribed: bool| {
        fs::write(folder.path().join(format!("{name}.toml")), "").unwrap();
        store::write_record(folder.path(), name, &record(subscribed)).unwrap();
    };
    write("by-hand", false);
    write("dropped", true);
    write("web", true);
    let text = format!("{NAMED}\n{}", NAMED.replace("web", "new"));
    let config = config(&folder, &text);
    let plan = store::Plan {
        error: Some("no list".to_owned()),
        ..store::plan(folder.path(), &config.feeds[1])
    };
    store::write_plan(folder.path(), "new", &plan).unwrap();
    let views = views(&config);
    let told: Vec<_> = views
        .iter()
        .map(|view| (view.name.as_str(), view.entries, view.error.as_deref()))
        .collect();
    let expected = [
        ("by-hand", 7, None),
        ("new", 0, Some("no list")),
        ("web", 7, None),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_plan_for_another_list_or_other_terms_is_none() {
    let folder = TempDir::new().unwrap();
    let feed = |text: &str| config(&folder, text).feeds.remove(0);
    let before = feed(NAMED);
    let plan = store::Plan {
        failures: 3,
        ..store::plan(folder.path(), &before)
    };
    store::write_plan(folder.path(), "web", &plan).unwrap();
    assert_eq!(store::plan(folder.path(), &before).failures, 3);
    let moved = feed(&NAMED.replace("lists.", "moved."));
    assert_eq!(store::plan(folder.path(), &moved).failures, 0);
    let promoted = feed(&format!("{NAMED}\npromote = true"));
    assert_eq!(store::plan(folder.path(), &promoted).failures, 0);
}

#[test_case("localhost", true)]
#[test_case("LocalHost", true)]
#[test_case("127.0.0.53", true)]
#[test_case("[::1]", true)]
#[test_case("localhost.example.org", false)]
#[test_case("127.0.0.1.example.org", false)]
#[test_case("192.0.2.1", false)]
#[test_case("", false)]
fn this_machine_is_told_from_others(host: &str, expected: bool) {
    assert_eq!(is_loopback(host), expected);
}

#[test_case("https://lists.example.org/x", false; "under TLS")]
#[test_case("http://lists.example.org/x", true; "without")]
#[test_case("http://localhost@lists.example.org/x", true; "with somebody's name before the host")]
#[test_case("http://localhost:80@lists.example.org/x", true; "with what looks like a port before the host")]
#[test_case("http://127.0.0.1:80/x", false; "from this machine")]
#[test_case("/etc/sipward/list", false; "from a file")]
fn who_could_write_a_list_is_known(from: &str, expected: bool) {
    assert_eq!(is_open(from, &Terms::default()), expected);
}
