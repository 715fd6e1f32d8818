//! Every way of writing a scanner's name that a real Asterisk was seen to read, and one packet can
//! show, is dropped; what stands where no PBX looks passes.

use sipward_shield::{Reason, Simulator, Verdict};
use sipward_signature::Profile;
use sipward_testkit::evasions::{EVASIONS, Evasion, Field, Request};

use crate::common::*;

fn request_of(evasion: &Evasion, number: usize) -> Request {
    let value = match evasion.field {
        Field::UserAgent => "friendly-scanner",
        Field::FromUser => "sipvicious",
    };
    let pbx = if evasion.is_ipv6() { PBX6 } else { PBX };
    let mut destination: std::net::SocketAddr = pbx.parse().unwrap();
    destination.set_port(evasion.port.unwrap_or(destination.port()));
    Request {
        field: evasion.field,
        value: value.to_owned(),
        call_id: format!("evasion-{number}"),
        source: evasion.source(number),
        destination,
        transport: evasion.transport,
    }
}

/// Reason of each packet, up to and with the first one that is dropped. Each evasion comes from an
/// address of its own.
fn reasons(simulator: &mut Simulator, evasion: &Evasion, number: usize) -> Vec<(Verdict, Reason)> {
    let mut reasons = Vec::new();
    for frame in evasion.frames(&request_of(evasion, number)) {
        let judged = judge(simulator, &frame);
        reasons.push(judged);
        if judged.0 == DROP {
            break;
        }
    }
    reasons
}

#[test]
fn what_asterisk_reads_and_one_packet_shows_is_dropped() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let mut seen = 0;
    let mut for_the_tap = Vec::new();
    let mut missed = Vec::new();
    for (number, evasion) in EVASIONS
        .iter()
        .enumerate()
        .filter(|(_, evasion)| evasion.is_read())
    {
        let reasons = reasons(&mut simulator, evasion, number);
        let dropped = reasons.last() == Some(&(DROP, Reason::Signature));
        match (evasion.seen_in_one_packet, dropped) {
            (true, true) => seen += 1,
            (true, false) => missed.push((evasion.name, reasons)),
            (false, _) => for_the_tap.push((evasion.name, reasons)),
        }
    }
    println!("{seen} ways that one packet shows: dropped");
    for (name, reasons) in for_the_tap {
        let (verdict, reason) = reasons.last().unwrap();
        println!("for the tap: {name}: {verdict:?} {}", reason.name());
    }
    assert!(missed.is_empty(), "{missed:#?}");
    assert!(seen >= 40, "the list has shrunk to {seen}");
}

#[test]
fn what_stands_where_no_pbx_looks_passes() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let decoys: Vec<_> = EVASIONS
        .iter()
        .enumerate()
        .filter(|(_, evasion)| evasion.must_pass)
        .collect();
    assert!(!decoys.is_empty());
    for (number, evasion) in decoys {
        for (verdict, reason) in reasons(&mut simulator, evasion, number) {
            assert_eq!((verdict, reason), (PASS, Reason::Clean), "{}", evasion.name);
        }
    }
}
