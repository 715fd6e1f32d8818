//! A phone that has logged in registers and calls through every flood, and one that nobody has
//! seen before gets in. `make floods` is the same at length, beside others.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]
#![allow(clippy::print_stdout, reason = "the figures are what the test is for")]

use std::{net::Ipv4Addr, path::Path, time::Duration};

use sipward_testkit::{
    asterisk::{Asterisk, Settings},
    flood::{Flood, endure, log_in},
    guard::Guard,
    lab::{Lab, PHONES},
    process::wait_until,
    require::{Need, require},
};

/// Long enough for five retransmissions of a stranger.
const TIME: Duration = Duration::from_secs(15);
/// What a machine with other work takes in, too; `make floods` sends as fast as a core can.
const PER_SECOND: u64 = 100_000;
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn no_honest_phone_notices_a_flood() {
    if !require(&[Need::Root, Need::Asterisk, Need::Program("sipp")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    Flood::prepare(&lab).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let guard = Guard::start(program, &lab.pbx).unwrap();
    let _asterisk = Asterisk::start(&lab.pbx, &Settings::default()).unwrap();
    log_in(&lab).unwrap();
    wait_until("the phone to be trusted", PATIENCE, || {
        let trusted = guard.ask(&["trusted"]);
        trusted.is_ok_and(|trusted| trusted.stdout.contains(PHONES))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", guard.log()));
    for (flood, host) in Flood::ALL.into_iter().zip(20..) {
        let stranger = Ipv4Addr::new(198, 51, 100, host);
        let outcome = endure(flood, &lab, TIME, PER_SECOND, stranger).unwrap();
        println!("{}: {outcome:?}", flood.name());
        assert!(outcome.packets_per_second > 0);
        assert!(
            outcome.is_harmless(),
            "{}: {outcome:?}\n{}",
            flood.name(),
            guard.log()
        );
    }
}
