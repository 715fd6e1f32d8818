//! The demonstration shows what it says it shows.

use std::{path::Path, process::Command, time::Duration};

use sipward_testkit::{
    process::Process,
    require::{Need, asterisk_root, require, skip},
};

#[test]
fn the_demonstration_stops_the_scanner_and_not_the_phone() {
    let needs = [
        Need::Root,
        Need::Asterisk,
        Need::SipVicious,
        Need::Fail2Ban,
        Need::Program("sipp"),
        Need::Program("iptables"),
    ];
    if !require(&needs) {
        return;
    }
    let sipward = Path::new(env!("CARGO_BIN_EXE_sipward"));
    // Built beside it whenever the whole workspace is.
    let demo = sipward.with_file_name("sipward-demo");
    if !demo.exists() {
        return skip("no sipward-demo beside sipward: cargo build -p sipward-testkit");
    }
    let mut command = Command::new(demo);
    // The process gets a home of its own, and with it another cache.
    command.env("SIPWARD_CACHE", asterisk_root().parent().unwrap());
    let finished = Process::run(command.arg(sipward), Duration::from_secs(300)).unwrap();
    let said = finished.stdout;
    assert!(finished.status.success(), "{said}{}", finished.stderr);
    println!("{said}");
    let (demonstration, contest) = said.split_once("Beside Fail2Ban").unwrap();
    let (without, with) = demonstration.split_once("With sipward").unwrap();
    assert!(without.contains("Asterisk PBX 16.28"), "{without}");
    assert!(without.contains("| 145 "), "{without}");
    for expected in [
        "found nothing",
        "A phone registered, called and hung up meanwhile.",
        "by its own iptables: 0",
        "203.0.113.7 is banned until",
        "The interface is as it was before.",
    ] {
        assert!(with.contains(expected), "no {expected:?} in:\n{with}");
    }
    few_get_through_until_the_ban(contest);
}

/// Of the table: how many attempts of each attack get through sipward, and that a ban ends them. How
/// fast Fail2Ban is, is not ours to promise.
fn few_get_through_until_the_ban(contest: &str) {
    for attack in ["svwar:", "svcrack:", "INVITEs", "calls abroad"] {
        let row = contest.lines().find(|line| line.starts_with(attack));
        let row = row.unwrap_or_else(|| panic!("no row {attack:?} in:\n{contest}"));
        // A time is followed by its unit.
        let cells: Vec<&str> = row.get(36..).unwrap().split_whitespace().collect();
        let cells: Vec<&str> = cells.into_iter().filter(|cell| *cell != "s").collect();
        let [_, _, attempts, ban] = cells[..] else {
            panic!("{row}");
        };
        assert!(attempts.parse::<u32>().unwrap() > 0, "{row}");
        assert!(ban.parse::<f64>().is_ok(), "{row}");
    }
}
