//! Many bans: a start says how many it restored, and while they are listed nobody waits.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use ipnet::IpNet;
use serde_json::Value;
use sipward_testkit::{
    guard::Guard,
    lab::Lab,
    prefixes,
    require::{Need, require},
};
use tempfile::TempDir;

use crate::place::program;

/// For a daemon without optimisations, on a machine that does other things, too.
const IMPORT: Duration = Duration::from_secs(300);

/// Behind all of the list, in the order in which bans are listed.
const LAST: &str = "223.255.255.7";

/// Imports so many bans; returns them.
fn import(guard: &Guard<'_>, count: usize) -> BTreeSet<IpNet> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("list");
    let list = prefixes::list(count);
    let lines: Vec<String> = list.iter().map(ToString::to_string).collect();
    fs::write(&file, lines.join("\n")).unwrap();
    let words = ["import", &file.to_string_lossy()];
    let finished = guard.spawn(&words).unwrap().finish(IMPORT).unwrap();
    assert!(finished.status.success(), "{}", finished.stderr);
    list.into_iter().map(IpNet::from).collect()
}

/// Without a word on thousands that are the same.
#[track_caller]
fn assert_same(found: &BTreeSet<IpNet>, wanted: &BTreeSet<IpNet>) {
    let other: Vec<&IpNet> = found.symmetric_difference(wanted).take(5).collect();
    let numbers = (found.len(), wanted.len());
    assert!(other.is_empty(), "{numbers:?}, {other:?} and more");
}

fn prefixes_of(bans: &Value) -> BTreeSet<IpNet> {
    let bans = bans.as_array().unwrap().iter();
    let prefix = |ban: &Value| ban["prefix"].as_str().unwrap().parse().unwrap();
    bans.map(prefix).collect()
}

#[test]
fn a_start_with_many_bans_tells_their_number_and_enforces_each() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let mut guard = Guard::start(program(), &lab.pbx).unwrap();
    let bans = import(&guard, 5_000);
    assert_same(&guard.enforced().unwrap(), &bans);

    guard.kill();
    guard.run().unwrap();
    assert!(!guard.log().contains("reconcile: "), "{}", guard.log());

    guard.kill();
    guard.lose_pins().unwrap();
    guard.run().unwrap();
    let log = guard.log();
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("reconcile: "))
        .collect();
    let [told] = told[..] else {
        panic!("{} lines, first {:?}", told.len(), told.first());
    };
    let number = "5000 bans were not in the kernel: restored";
    assert!(told.contains(number), "{told}");
    assert_same(&guard.enforced().unwrap(), &bans);
    assert_same(&prefixes_of(&guard.json(&["bans"]).unwrap()), &bans);
}

/// Who lists them does not read on: the list waits for it, and nobody else does.
#[test]
fn while_bans_are_listed_the_daemon_answers_and_bans() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let guard = Guard::start(program(), &lab.pbx).unwrap();
    let mut bans = import(&guard, 30_000);
    let why = guard.json(&["why", "0.0.0.0/0"]).unwrap();
    assert_eq!(prefixes_of(&why["bans"]).len(), 1_000);
    assert_eq!(
        (&why["banned"], &why["more_bans"]),
        (&false.into(), &true.into())
    );
    let mut slow = UnixStream::connect(guard.socket()).unwrap();
    slow.write_all(b"GET /v1/bans HTTP/1.0\r\n\r\n").unwrap();
    let mut head = [0; 400];
    slow.read_exact(&mut head).unwrap();

    let status = guard.json(&["status"]).unwrap();
    assert_eq!(status["bans"], 30_000);
    assert!(guard.ask(&["ban", LAST]).unwrap().status.success());
    bans.insert(LAST.parse::<std::net::IpAddr>().unwrap().into());
    assert_same(&prefixes_of(&guard.json(&["bans"]).unwrap()), &bans);

    // What was banned meanwhile stands behind what was read, so it is in this list, too.
    let mut answer = head.to_vec();
    slow.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let listed: Value = serde_json::from_str(body).unwrap();
    assert_same(&prefixes_of(&listed), &bans);
    assert_eq!(listed.as_array().unwrap().len(), bans.len());
}
