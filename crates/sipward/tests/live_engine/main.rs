//! The engine at work, fed by the taps: attackers without any signature, against a real Asterisk,
//! both of its SIP drivers.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]

use std::path::Path;

use sipward_testkit::{guard::Guard, namespace::Namespace};

mod invites;
mod self_check;

/// PJSIP listens on 5062 here, beside chan_sip.
const PORTS: &str = "[ports]\nsip-udp = [5060, 5062]\nsip-tcp = [5060, 5062]\n";

fn guard(namespace: &Namespace) -> Guard<'_> {
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    Guard::start_with(program, namespace, PORTS).unwrap()
}
