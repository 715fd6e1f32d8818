//! What sipward does with each variation: the verdict of its kernel program on every frame, and
//! what reaches Asterisk behind the running daemon.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    time::Duration,
};

use serde_json::Value;
use sipward_shield::{Policy, Ports, Reason, Shield as _, Simulator, Verdict};
use sipward_signature::{Profile, SignatureSet};
use sipward_testkit::{
    asterisk::Driver,
    evasions::{Transport, Variation},
    guard::Guard,
    headers::HeaderReader,
    lab::ATTACKER,
    process::wait_until,
};

use crate::{
    delivery,
    unguarded::{self, DATAGRAMS},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Of the connections every fourth is sent: what the shield drops of one, its end included, keeps
/// a thread of Asterisk waiting.
const CONNECTIONS: usize = 4;
/// What the shield drops fills no socket.
const AT_ONCE: usize = 1000;

/// The ports of both drivers, and limits that a flood from thousands of sources does not reach:
/// a packet over its rate would be dropped whatever it says, and so would one of a prefix that is
/// banned as a whole.
const CONFIGURATION: &str = "
[ports]
sip-udp = [5060, 5062, 5080]
sip-tcp = [5060, 5062, 5080]
[detect.prefix-campaign]
enabled = false
[limits.sip]
rate = \"10000/s\"
burst = 1000000
[limits.unknown]
rate = \"100000/s\"
burst = 1000000
";

/// Whether the real kernel program drops a packet of each that Asterisk reads, so that it never
/// becomes whole.
pub fn verdicts(all: &[Variation], read_by: &[Option<Driver>]) -> Vec<bool> {
    let mut simulator = Simulator::new().unwrap();
    simulator
        .set_policy(&Policy::without_limits(Ports::sip(&[5060, 5062, 5080])))
        .unwrap();
    let signatures = SignatureSet::builtin();
    let tables = signatures.compile(Profile::Standard, &[]).unwrap();
    simulator.set_signatures(&tables).unwrap();
    let mut is_dropped = |number: usize, driver: Driver| {
        let frames = delivery(&all[number], number, driver, &call_id(number, driver)).frames();
        frames.iter().any(|frame| {
            let judged = simulator.run(frame).unwrap();
            assert_ne!(judged.reason, Reason::Rate, "{}", all[number].name());
            judged.verdict == Verdict::Drop
        })
    };
    (0..all.len())
        .map(|number| read_by[number].is_some_and(|driver| is_dropped(number, driver)))
        .collect()
}

/// What came of it all behind the running daemon; by number.
pub struct Outcome {
    /// Those that the kernel program drops and that were sent.
    pub sent: HashSet<usize>,
    /// Those that Asterisk read.
    pub reached: HashSet<usize>,
    /// What the tap found of those that no packet shows, by signature. Not each has a ban: of
    /// sources that may be forged, a minute has room for some only.
    pub found: BTreeMap<String, usize>,
}

/// Sends to an Asterisk that sipward guards whatever one read that nobody did.
pub fn send(all: &[Variation], read_by: &[Option<Driver>], dropped: &[bool]) -> Outcome {
    let reader = HeaderReader::start().unwrap();
    unguarded::prepare(&reader);
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let guard = Guard::start_with(program, &reader.lab.pbx, CONFIGURATION).unwrap();
    // From there come the ordinary requests that show when Asterisk has caught up.
    assert!(guard.ask(&["allow", ATTACKER]).unwrap().status.success());

    let asked = |wanted: &dyn Fn(usize) -> bool| -> Vec<(usize, Driver)> {
        let numbers = (0..all.len()).filter(|number| wanted(*number));
        numbers
            .filter_map(|number| Some((number, read_by[number]?)))
            .collect()
    };
    let hidden = asked(&|number| !dropped[number]);
    unguarded::send(&reader, all, &hidden, DATAGRAMS, call_id);
    let mut found = BTreeMap::new();
    let _ = wait_until("the tap to find all who hid", PATIENCE, || {
        found = found_by_tap(&guard);
        found.values().sum::<usize>() >= hidden.len()
    });

    let shown = asked(&|number| {
        let is_connection = all[number].transport == Transport::Tcp;
        dropped[number] && (!is_connection || number.is_multiple_of(CONNECTIONS))
    });
    unguarded::send(&reader, all, &shown, AT_ONCE, call_id);
    let readings = unguarded::readings(&reader);
    let is_read =
        |(number, driver): &&(usize, Driver)| readings.contains_key(&call_id(*number, *driver));
    Outcome {
        sent: shown.iter().map(|(number, _)| *number).collect(),
        reached: shown
            .iter()
            .filter(is_read)
            .map(|(number, _)| *number)
            .collect(),
        found,
    }
}

/// Packets and messages that had a signature, by its name; none of it dropped by the kernel.
fn found_by_tap(guard: &Guard) -> BTreeMap<String, usize> {
    let status = guard.json(&["status"]).unwrap();
    assert_eq!(status["packets"]["dropped"]["signature"], 0, "{status}");
    let count = |found: &Value| {
        let packets = usize::try_from(found["packets"].as_u64().unwrap()).unwrap();
        (found["name"].as_str().unwrap().to_owned(), packets)
    };
    let signatures = status["signatures"].as_array().unwrap();
    signatures.iter().map(count).collect()
}

fn call_id(number: usize, driver: Driver) -> String {
    format!("guarded-{number}-{driver:?}")
}
