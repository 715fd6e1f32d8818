//! The logs and the manager interface of a real Asterisk beside the packets that the tap sees.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]

mod ami;
mod counting;
mod forgery;
mod matrix;
mod restart;
mod rotation;
mod warning;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use sipward_testkit::{
    asterisk::Asterisk,
    guard::Guard,
    namespace::Namespace,
    process::wait_until,
    require::{Need, require},
};

const PATIENCE: Duration = Duration::from_secs(30);

fn can_run() -> bool {
    require(&[Need::Root, Need::Asterisk])
}

/// A guard that follows these logs.
fn guard<'a>(namespace: &'a Namespace, logs: &[PathBuf]) -> Guard<'a> {
    guard_with(namespace, logs, "")
}

/// The same, configured further.
fn guard_with<'a>(namespace: &'a Namespace, logs: &[PathBuf], more: &str) -> Guard<'a> {
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let config = format!(
        "[ports]\nsip-udp = [5060, 5062]\nsip-tcp = [5060, 5062]\nsip-tls = [5061, 5063]\n\
         [asterisk]\nconfig-dir = \"/nonexistent\"\nlogs = {logs:?}\n{more}"
    );
    Guard::start_with(program, namespace, &config).unwrap()
}

/// All logs of an Asterisk: each record is in more than one of them.
fn logs_of(asterisk: &Asterisk) -> Vec<PathBuf> {
    ["messages", "full", "security"]
        .map(|name| asterisk.log_path(name))
        .into()
}

/// What `status` says of the sensor of logs.
fn sensor(guard: &Guard<'_>) -> Value {
    guard.json(&["status"]).unwrap()["sensors"]["asterisk_log"].clone()
}

/// A line that nothing comes of: a call that no packet told of.
fn mark(number: u64) -> String {
    format!(
        "[2026-11-22 18:55:40.000] WARNING[7] chan_sip.c: Timeout on mark-{number}@h on non-critical \
         invite transaction.\n"
    )
}

/// What an address is suspected of by a detector, and at which count.
fn suspicion(guard: &Guard<'_>, address: &str, detector: &str) -> Option<Value> {
    let why = guard.json(&["why", address]).unwrap();
    let suspicions = why["suspicions"].as_array().unwrap().clone();
    suspicions
        .into_iter()
        .find(|suspicion| suspicion["detector"] == detector)
}

fn wait_for(what: &str, guard: &Guard<'_>, condition: impl FnMut() -> bool) {
    wait_until(what, PATIENCE, condition).unwrap_or_else(|error| {
        let suspects = guard.json(&["suspects"]).unwrap();
        panic!("{error:#}\n{}\n{}\n{suspects}", guard.log(), sensor(guard))
    });
}
