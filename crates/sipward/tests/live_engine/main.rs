//! Attackers without a scanner's signature against a real Asterisk, chan_sip and PJSIP: what they
//! get before the engine, behind the tap, has them banned.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]
#![allow(
    clippy::print_stdout,
    reason = "the figures are what the tests are for"
)]

mod answering;
mod dialogue;
mod forgery;
mod guessing;
mod hep;
mod invites;
mod reaction;
mod scanning;
mod self_check;

use std::{path::Path, time::Duration};

use sipward_testkit::{
    asterisk::Driver,
    guard::Guard,
    namespace::Namespace,
    process::wait_until,
    require::{Need, require},
};

const PATIENCE: Duration = Duration::from_secs(120);
/// What a genuine telephone calls itself.
const GENUINE: &str = "Yealink SIP-T46S 66.86.0.15";
/// chan_sip and PJSIP listen here.
const PORTS: &str = "[ports]\nsip-udp = [5060, 5062]\nsip-tcp = [5060, 5062]\n";

fn guard(namespace: &Namespace) -> Guard<'_> {
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    Guard::start_with(program, namespace, PORTS).unwrap()
}

fn can_run() -> bool {
    require(&[
        Need::Root,
        Need::Asterisk,
        Need::SipVicious,
        Need::Program("tcpdump"),
    ])
}

/// Waits for the ban of an address and returns the detector that wanted it.
fn banned_by(guard: &Guard<'_>, address: &str) -> String {
    let detector = || {
        let bans = guard.json(&["bans"]).unwrap();
        let bans = bans.as_array().unwrap();
        let ban = bans
            .iter()
            .find(|ban| ban["prefix"] == format!("{address}/32"))?;
        Some(ban["detector"].as_str().unwrap().to_owned())
    };
    wait_until("the attacker's ban", Duration::from_secs(10), || {
        detector().is_some()
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", guard.log()));
    detector().unwrap()
}

const fn port(driver: Driver) -> u16 {
    match driver {
        Driver::ChanSip => 5060,
        Driver::Pjsip => 5062,
    }
}
