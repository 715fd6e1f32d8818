//! What Asterisk reads of each evasion, without anything that protects it.

use std::collections::BTreeSet;
use std::time::Duration;

use sipward_testkit::asterisk::Driver;
use sipward_testkit::evasions::{EVASIONS, Evasion, Field, Request, Transport};
use sipward_testkit::headers::{HeaderReader, Reading};
use sipward_testkit::require::{Need, require};

const VALUE: &str = "friendly-scanner test";
const USER: &str = "friendly-scanner";

#[test]
fn evasions_are_read_by_asterisk() {
    if !require(&[Need::Root, Need::Asterisk]) {
        return;
    }
    let reader = HeaderReader::start().unwrap();
    reader.lab.pbx_mtu(9000).unwrap();
    let mut open = Vec::new();
    for (number, evasion) in EVASIONS.iter().enumerate() {
        for driver in drivers(evasion) {
            let request = request(number, evasion, driver);
            open.push(
                evasion
                    .send(&reader.lab, &request, Duration::from_secs(10))
                    .unwrap(),
            );
            // A burst of fragments would overrun the driver's socket.
            reader.drain(driver).unwrap();
        }
    }
    reader.settle().unwrap();
    let readings = reader.readings().unwrap();

    let mut wrong = Vec::new();
    println!("{:52} chan_sip  pjsip  one packet", "");
    for (number, evasion) in EVASIONS.iter().enumerate() {
        let read_by: Vec<Driver> = drivers(evasion)
            .into_iter()
            .filter(|driver| {
                let request = request(number, evasion, *driver);
                readings.iter().any(|reading| has_value(reading, &request))
            })
            .collect();
        let mark = |yes: bool| if yes { "yes" } else { "-" };
        println!(
            "{:52} {:8}  {:5}  {}",
            evasion.name,
            mark(read_by.contains(&Driver::ChanSip)),
            mark(read_by.contains(&Driver::Pjsip)),
            mark(evasion.seen_in_one_packet),
        );
        if read_by != evasion.read_by {
            wrong.push(format!(
                "{}: {:?}, not {:?}",
                evasion.name, read_by, evasion.read_by
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "read by other drivers than listed:\n{}",
        wrong.join("\n")
    );
}

/// chan_sip listens on one port only.
fn drivers(evasion: &Evasion) -> Vec<Driver> {
    match evasion.port {
        Some(_) => vec![Driver::Pjsip],
        None => vec![Driver::ChanSip, Driver::Pjsip],
    }
}

fn request(number: usize, evasion: &Evasion, driver: Driver) -> Request {
    let mut destination = if evasion.is_ipv6() {
        driver.address_v6()
    } else {
        driver.address()
    };
    if let Some(port) = evasion.port {
        destination.set_port(port);
    }
    let value = match evasion.field {
        Field::UserAgent => VALUE,
        Field::FromUser => USER,
    };
    Request {
        field: evasion.field,
        value: value.to_owned(),
        call_id: format!("evasion-{number}-{driver:?}"),
        source: evasion.source(number),
        destination,
        transport: evasion.transport,
    }
}

/// Whether this is a reading of the request (or of the innocent one sent with it) that has the
/// value, letter case aside.
fn has_value(reading: &Reading, request: &Request) -> bool {
    let headers: &[&str] = match request.field {
        Field::UserAgent => &["User-Agent"],
        Field::FromUser => &["Caller", "CallerName"],
    };
    let mut values = headers.iter().map(|header| reading.header(header).trim());
    let call_id = reading.header("Call-ID");
    call_id.strip_prefix("innocent-").unwrap_or(call_id) == request.call_id
        && values.any(|value| value.eq_ignore_ascii_case(&request.value))
}

#[test]
fn chan_sip_undoes_quoted_pairs_in_the_name_in_from() {
    if !require(&[Need::Root, Need::Asterisk]) {
        return;
    }
    let reader = HeaderReader::start().unwrap();
    let request = b"INVITE sip:100@192.0.2.1 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK-pairs;rport\r\nMax-Forwards: 70\r\n\
        From: \"\\s\\i\\p\" <sip:alice@203.0.113.7>;tag=pairs\r\nTo: <sip:100@192.0.2.1>\r\n\
        Call-ID: pairs\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@203.0.113.7>\r\n\r\n";
    for (driver, name) in [(Driver::ChanSip, "sip"), (Driver::Pjsip, "\\s\\i\\p")] {
        let readings = reader.read(driver, request, Transport::Udp).unwrap();
        assert_eq!(readings.len(), 1);
        assert_eq!(readings[0].header("CallerName"), name, "{driver:?}");
    }
}

#[test]
fn nobody_reads_a_decoy_and_no_name_is_used_twice() {
    let mut names = BTreeSet::new();
    for evasion in EVASIONS {
        assert!(
            !(evasion.must_pass && evasion.is_read()),
            "{}",
            evasion.name
        );
        assert!(names.insert(evasion.name), "{}", evasion.name);
    }
}
