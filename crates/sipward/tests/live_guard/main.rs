//! The live guard, with a real Asterisk, unmodified scanners and real phones: what reaches the PBX
//! is counted by its own packet filter and by tcpdump, nothing of ours.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]

use std::{net::IpAddr, path::Path};

use sipward_testkit::{
    evasions::{Evasion, Field, Request},
    guard::Guard,
    lab::{PBX, PBX_V6},
    namespace::Namespace,
};

mod demo;
mod evasions;
mod hidden;
mod kills;
mod memory;
mod restarts;
mod scanners;
mod swap;

fn guard(namespace: &Namespace) -> Guard<'_> {
    Guard::start(Path::new(env!("CARGO_BIN_EXE_sipward")), namespace).unwrap()
}

/// A request with a scanner's name, for the evasion of this number to hide.
fn scan(number: usize, evasion: &Evasion) -> Request {
    let host = if evasion.is_ipv6() { PBX_V6 } else { PBX };
    let host: IpAddr = host.parse().unwrap();
    let value = match evasion.field {
        Field::UserAgent => "friendly-scanner",
        Field::FromUser => "sipvicious",
    };
    Request {
        field: evasion.field,
        value: value.to_owned(),
        call_id: format!("evasion-{number}"),
        source: evasion.source(number),
        destination: (host, evasion.port.unwrap_or(5060)).into(),
        transport: evasion.transport,
    }
}
