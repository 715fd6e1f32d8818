//! Logs that are rotated, cut short, deleted and made anew while they are written.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
};

use sipward_testkit::{
    asterisk::{Asterisk, Driver, Settings},
    guard::Guard,
    lab::{Lab, PBX},
    namespace::Namespace,
    user_agent::UserAgents,
};

use crate::{can_run, guard, mark, sensor, wait_for};

/// Lines between two disturbances.
const LINES: u64 = 500;

fn line(number: u64) -> String {
    let port = 1_024 + number % 60_000;
    format!(
        "[2026-11-22 18:55:40.000] NOTICE[7] chan_sip.c: Registration from '<sip:{number}@192.0.2.1>' \
         failed for '203.0.113.9:{port}' - Device does not match ACL\n"
    )
}

fn unmatched(guard: &Guard<'_>) -> u64 {
    sensor(guard)["unmatched"].as_u64().unwrap()
}

/// Every line counts once: those before and after, and those that a writer still puts into a file
/// which has lost its name.
#[test]
fn each_line_counts_once_however_the_file_is_treated() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new("pbx").unwrap();
    let other = Namespace::new("wan").unwrap();
    namespace.veth("eth0", &other, "lan").unwrap();
    namespace.address("eth0", &format!("{PBX}/24")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log/messages");
    let logs = [path.clone()];
    let guard = guard(&namespace, &logs);
    wait_for("a first look at it", &guard, || {
        sensor(&guard)["state"] == "waiting"
    });

    fs::create_dir(path.parent().unwrap()).unwrap();
    let open = || -> File {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap()
    };
    let mut file = open();
    // A file that has lost its name before anybody looked is not found any more.
    wait_for("the file to be seen", &guard, || {
        sensor(&guard)["state"] == "on"
    });
    let mut written = 0;
    let mut write = |file: &mut File, lines: u64| {
        for number in written..written + lines {
            file.write_all(line(number).as_bytes()).unwrap();
        }
        written += lines;
        written
    };
    let events = || sensor(&guard)["events"].as_u64().unwrap();
    // There was a mark in each round before.
    for round in 0..3_u64 {
        // Renamed, and its writer goes on for a while.
        write(&mut file, LINES);
        fs::rename(&path, path.with_extension(round.to_string())).unwrap();
        write(&mut file, LINES);
        let mut new = open();
        write(&mut new, LINES);
        write(&mut file, LINES);
        file = new;
        // Cut short: what was not read by then is lost, so it is waited for.
        let total = write(&mut file, LINES);
        wait_for("all lines before the cut", &guard, || {
            events() >= total + round
        });
        file.set_len(0).unwrap();
        write(&mut file, LINES);
        // Deleted with its folder, and made anew.
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        write(&mut file, LINES);
        fs::create_dir(path.parent().unwrap()).unwrap();
        file = open();
        let total = write(&mut file, LINES);
        wait_for("all lines", &guard, || events() >= total + round);
        // What would come twice has come once this has.
        file.write_all(mark(round).as_bytes()).unwrap();
        wait_for("the mark", &guard, || unmatched(&guard) == round + 1);
        assert_eq!(events(), total + round + 1, "round {round}");
    }
    assert_eq!(sensor(&guard)["state"], "on");
}

#[test]
fn asterisks_own_rotation_loses_nothing() {
    if !can_run() {
        return;
    }
    let lab = Lab::new().unwrap();
    let asterisk = Asterisk::start(&lab.pbx, &Settings::default()).unwrap();
    let guard = guard(&lab.pbx, &[asterisk.log_path("security")]);
    let mut parties = UserAgents::new(&lab).unwrap();
    let server = Driver::ChanSip.address();
    // Each is challenged, which is one event, and none comes twice from one address.
    let mut asked = 0_u64;
    for round in 0..3_u16 {
        for number in 0..20_u16 {
            let source = format!("203.0.113.{}:5070", 10 + 20 * round + number);
            let request = format!(
                "REGISTER sip:{PBX} SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK{round}-{number}\r\n\
                 From: <sip:101@{PBX}>;tag=1\r\nTo: <sip:101@{PBX}>\r\nCall-ID: {round}-{number}\r\n\
                 CSeq: 1 REGISTER\r\nContact: <sip:101@{source}>\r\nMax-Forwards: 70\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            parties
                .send(source.parse().unwrap(), server, request.as_bytes())
                .unwrap();
            asked += 1;
            if number == 10 {
                asterisk.cli("logger rotate").unwrap();
            }
        }
        let events = || sensor(&guard)["events"].as_u64().unwrap();
        wait_for("every challenge", &guard, || events() >= asked);
        let path = asterisk.log_path("security");
        let mut log = OpenOptions::new().append(true).open(path).unwrap();
        log.write_all(mark(round.into()).as_bytes()).unwrap();
        asked += 1;
        wait_for("the mark", &guard, || {
            unmatched(&guard) > u64::from(round) && events() >= asked
        });
        assert_eq!(events(), asked, "round {round}");
    }
    // What had been written went into files of other names.
    assert!(asterisk.log("security").matches("ChallengeSent").count() < 30);
}
