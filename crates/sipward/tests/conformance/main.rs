//! Who gets through and who does not, by one list of scenarios, on every backend: XDP in the
//! driver, XDP in the network stack, nftables. Prints one table.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]
#![allow(clippy::print_stdout, reason = "the table")]

mod attaching;
mod engine;
mod placement;
mod proxy;
mod rejection;
mod scenarios;
mod ssh;
mod stacked;
mod stage;
mod suspended;

use std::thread;

use sipward_testkit::{
    lab::Lab,
    require::{Need, require},
};

use scenarios::SCENARIOS;
use stage::{Backend, Stage};

#[test]
fn every_backend_lets_the_same_packets_through() {
    let needs = ["ip", "nft", "iptables"].map(Need::Program);
    if !require(&[[Need::Root].as_slice(), &needs].concat()) {
        return;
    }
    // Namespaces are named after the thread.
    let columns = Backend::ALL.map(|backend| {
        let run = move || {
            let lab = Lab::new().unwrap();
            let mut stage = Stage::new(&lab, backend);
            SCENARIOS.map(|scenario| (scenario.play)(&mut stage))
        };
        let named = thread::Builder::new().name(backend.name().to_owned());
        named.spawn(run).unwrap()
    });
    let columns = columns.map(|column| column.join().expect("a stage that could be set up"));

    let mut wrong = Vec::new();
    println!("packets let through, of those sent");
    print!("{:<62}", "");
    for backend in Backend::ALL {
        print!("{:>14}", backend.name());
    }
    println!();
    for (row, scenario) in SCENARIOS.iter().enumerate() {
        print!("{:<62}", scenario.name);
        for (backend, column) in Backend::ALL.into_iter().zip(&columns) {
            let seen = &column[row];
            print!("{:>14}", format!("{} of {}", seen.passed, seen.sent));
            if !(scenario.passes)(backend, seen.took).contains(&seen.passed) {
                wrong.push(format!("{} on {}: {seen:?}", scenario.name, backend.name()));
            }
        }
        println!();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
