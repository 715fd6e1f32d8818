//! What Asterisk reads with nobody before it.

use std::{collections::HashMap, time::Duration};

use sipward_testkit::{
    asterisk::Driver,
    evasions::{Transport, Variation},
    headers::{HeaderReader, Reading},
    lab::ATTACKER,
};

use crate::delivery;

const PATIENCE: Duration = Duration::from_secs(10);
/// No more datagrams at once than the sockets of both drivers hold.
pub const DATAGRAMS: usize = 40;
/// No more connections at once than the drivers let wait, five each: a further one is tried again
/// after a second.
const CONNECTIONS: usize = 8;

/// The driver that reads each of them, if one does. The one that is likelier to is asked first.
pub fn read(all: &[Variation]) -> Vec<Option<Driver>> {
    let reader = HeaderReader::start().unwrap();
    prepare(&reader);
    let mut read_by = vec![None; all.len()];
    for turn in 0..3 {
        let asked: Vec<(usize, Driver)> = (0..all.len())
            .filter(|number| read_by[*number].is_none())
            .filter_map(|number| Some((number, driver(&all[number], number, turn)?)))
            .collect();
        send(&reader, all, &asked, DATAGRAMS, call_id);
        let readings = readings(&reader);
        for (number, driver) in asked {
            let reading = readings.get(&call_id(number, driver));
            let is_read = reading.is_some_and(|reading| all[number].is_read_in(reading));
            read_by[number] = is_read.then_some(driver);
        }
    }
    read_by
}

/// Room for whole frames, and a way back to the sources.
pub fn prepare(reader: &HeaderReader) {
    let lab = &reader.lab;
    lab.pbx_mtu(9000).unwrap();
    lab.attacker.own_all("198.18.0.0/15").unwrap();
    lab.router.route("198.18.0.0/15", ATTACKER).unwrap();
}

/// Sends what these drivers are to read, so much at once, and waits until they have.
pub fn send(
    reader: &HeaderReader,
    all: &[Variation],
    asked: &[(usize, Driver)],
    datagrams_at_once: usize,
    call_id: fn(usize, Driver) -> String,
) {
    let is_udp = |(number, _): &(usize, Driver)| all[*number].transport == Transport::Udp;
    let (datagrams, connections): (Vec<_>, Vec<_>) = asked.iter().copied().partition(is_udp);
    for (some, transport) in datagrams
        .chunks(datagrams_at_once)
        .map(|some| (some, Transport::Udp))
        .chain(
            connections
                .chunks(CONNECTIONS)
                .map(|some| (some, Transport::Tcp)),
        )
    {
        let mut open = Vec::new();
        for (number, driver) in some {
            let delivery = delivery(&all[*number], *number, *driver, &call_id(*number, *driver));
            // Each fragment takes of the socket what a datagram does.
            let fragments = transport == Transport::Udp && delivery.frames().len() > 1;
            if fragments {
                reader.drain(*driver).unwrap();
            }
            open.push(delivery.post(&reader.lab, PATIENCE).unwrap());
            if fragments {
                reader.drain(*driver).unwrap();
            }
        }
        reader.catch_up(&[transport]).unwrap();
    }
    reader.settle().unwrap();
}

/// Everything that Asterisk has read, by Call-ID.
pub fn readings(reader: &HeaderReader) -> HashMap<String, Reading> {
    let readings = reader.readings().unwrap().into_iter();
    readings
        .map(|reading| (reading.header("Call-ID").to_owned(), reading))
        .collect()
}

/// Whom to ask in each turn; at the end once more, for what a full socket has lost.
fn driver(variation: &Variation, number: usize, turn: usize) -> Option<Driver> {
    let likely = variation.read_by[number % variation.read_by.len()];
    let other = match likely {
        Driver::ChanSip => Driver::Pjsip,
        Driver::Pjsip => Driver::ChanSip,
    };
    // chan_sip listens on one port only.
    let other = variation.port.is_none().then_some(other);
    [Some(likely), other, Some(likely)][turn]
}

fn call_id(number: usize, driver: Driver) -> String {
    format!("unguarded-{number}-{driver:?}")
}
