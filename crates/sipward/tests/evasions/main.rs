//! Hundreds of ways to write each thing that surely gives a scanner away, as a real Asterisk reads
//! them when nobody guards it. None that one packet shows reaches it behind sipward, and what several
//! packets hide the tap finds.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]
#![allow(
    clippy::print_stdout,
    reason = "the table is what the reader wants to see"
)]

mod guarded;
mod table;
mod unguarded;

use std::{
    net::{IpAddr, SocketAddr},
    thread,
};

use sipward_signature::{Confidence, Field, MatchKind, Signature, SignatureSet};
use sipward_testkit::{
    asterisk::Driver,
    evasions::{Delivery, Mark, Target, Transport, Variation, variations},
    require::{Need, require},
};
use table::Table;

/// Of each signature.
const VARIATIONS: usize = 720;

#[test]
fn no_variation_that_asterisk_reads_gets_by() {
    if !require(&[Need::Root, Need::Asterisk]) {
        return;
    }
    let targets = targets();
    // Each half has an Asterisk of its own, and a core.
    let halves = targets.chunks(targets.len().div_ceil(2)).enumerate();
    let halves: Vec<Half> = thread::scope(|scope| {
        let started: Vec<_> = halves
            .map(|(number, half)| {
                // Namespaces are named after their thread.
                let thread = thread::Builder::new().name(format!("evasions-{number}"));
                thread.spawn_scoped(scope, || tried(half)).unwrap()
            })
            .collect();
        let ended = started.into_iter().map(|half| half.join().unwrap());
        ended.collect()
    });
    let mut table = Table::default();
    let mut missed = Vec::new();
    for half in halves {
        table.extend(half.table);
        missed.extend(half.missed);
    }
    println!("{table}");

    let total = table.total();
    assert!(total.variations >= 20_000, "{total:?}");
    assert!(total.read() * 100 >= total.variations * 95, "{total:?}");
    assert!(table.rows().all(|row| row.read() >= 500));
    assert!(total.sent * 10 >= total.dropped * 9, "{total:?}");
    assert_eq!(total.reached, 0);
    assert!(table.rows().all(|row| row.found == row.hidden));
    assert!(
        missed.is_empty(),
        "one packet shows them:\n{}",
        missed.join("\n")
    );
}

/// What came of some of the signatures.
struct Half {
    table: Table,
    /// Variations that one packet shows and that the kernel program does not drop.
    missed: Vec<String>,
}

fn tried(targets: &[Target]) -> Half {
    let all: Vec<Variation> = targets
        .iter()
        .flat_map(|target| variations(target, VARIATIONS))
        .collect();
    let read_by = unguarded::read(&all);
    let dropped = guarded::verdicts(&all, &read_by);
    let outcome = guarded::send(&all, &read_by, &dropped);

    let mut table = Table::default();
    for (number, variation) in all.iter().enumerate() {
        let row = table.row(&variation.signature);
        row.variations += 1;
        match read_by[number] {
            Some(Driver::ChanSip) => row.chan_sip += 1,
            Some(Driver::Pjsip) => row.pjsip += 1,
            None => continue,
        }
        if dropped[number] {
            row.dropped += 1;
            row.sent += usize::from(outcome.sent.contains(&number));
            row.reached += usize::from(outcome.reached.contains(&number));
        } else {
            row.hidden += 1;
        }
    }
    for (signature, found) in &outcome.found {
        table.row(signature).found = *found;
    }
    let missed = (0..all.len())
        .filter(|number| read_by[*number].is_some() && !dropped[*number])
        .filter(|number| !all[*number].is_in_pieces())
        .map(|number| all[number].name())
        .collect();
    Half { table, missed }
}

/// Every signature that is held against anybody, and what it finds.
fn targets() -> Vec<Target> {
    SignatureSet::builtin()
        .iter()
        .filter(|signature| signature.confidence == Confidence::Certain)
        .map(target)
        .collect()
}

fn target(signature: &Signature) -> Target {
    let pattern = signature.pattern.clone();
    let header = match signature.field {
        Field::UserAgent => "User-Agent",
        Field::From => "From",
        Field::To => "To",
        Field::Contact => "Contact",
        Field::Server | Field::CallId | Field::Via | Field::RequestUri => {
            panic!("{}: how is this field evaded?", signature.name)
        }
    };
    let user_agents = |texts: &[&str]| {
        let value = |text: &&str| Mark::UserAgent(text.replace("{}", &pattern));
        texts.iter().map(value).collect()
    };
    let marks = match (signature.field, signature.kind) {
        (Field::UserAgent, MatchKind::Exact) => user_agents(&["{}"]),
        (Field::UserAgent, MatchKind::Prefix) => {
            user_agents(&["{}", "{}/0.6.1", "{} 1.0 (x86_64)", "{}-next"])
        }
        (Field::UserAgent, MatchKind::Contains) => {
            user_agents(&["{}", "{} 1.0", "my {}", "x-{}/2 (y)"])
        }
        (Field::UserAgent, MatchKind::Regex) if pattern == "^smap( |/|$)" => {
            user_agents(&["smap", "smap 0.6", "smap/0.6"])
        }
        (Field::From, MatchKind::Regex) if signature.name == "sipvicious-tag" => {
            // What svmap, svwar and svcrack asked for, a byte 1, and a number.
            let asked = [
                "c000020113c4\u{1}3871296334",
                "101\u{1}1044873290",
                "100:145\u{1}93718204",
            ];
            asked
                .iter()
                .map(|asked| Mark::Tag(header, in_hexadecimal(asked)))
                .collect()
        }
        (_, MatchKind::Contains) => vec![Mark::Word(header, pattern)],
        (_, MatchKind::Exact) => vec![Mark::Uri(header, pattern)],
        (_, MatchKind::Prefix | MatchKind::Regex) => {
            panic!("{}: which values does it find?", signature.name)
        }
    };
    Target {
        signature: signature.name.clone(),
        marks,
    }
}

fn in_hexadecimal(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The request on its way to this driver, from an address that no other number has: of
/// 198.18.0.0/15, or an IPv6 network of its own.
fn delivery(variation: &Variation, number: usize, driver: Driver, call_id: &str) -> Delivery {
    let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
    let (host, destination) = if variation.wire.is_ipv6() {
        let host = format!("2001:db8:bad:{number:x}::7");
        (host.parse::<IpAddr>().unwrap(), driver.address_v6())
    } else {
        (IpAddr::from([198, 18, high, low]), driver.address())
    };
    // A number may come twice, to either driver.
    let port = match variation.transport {
        Transport::Udp => 5060,
        Transport::Tcp => 20_000 + driver as u16,
    };
    variation.delivery(call_id, SocketAddr::new(host, port), destination)
}
