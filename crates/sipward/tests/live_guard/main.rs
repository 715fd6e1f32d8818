//! The live guard, with a real Asterisk, unmodified scanners and real phones: what reaches the PBX
//! is counted by its own packet filter and by tcpdump, nothing of ours.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]

use std::path::Path;

use sipward_testkit::{guard::Guard, namespace::Namespace};

mod demo;
mod evasions;
mod hidden;
mod restarts;
mod scanners;

fn guard(namespace: &Namespace) -> Guard<'_> {
    Guard::start(Path::new(env!("CARGO_BIN_EXE_sipward")), namespace).unwrap()
}
