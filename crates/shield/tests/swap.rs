//! Thousands of signatures swapped under traffic: what is genuine arrives, what a scanner sends
//! does not, whichever of the two lists a packet meets.
#![allow(clippy::print_stdout, reason = "the counts are what is promised")]
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]

use std::{fs, net::UdpSocket, path::PathBuf, time::Instant};

use sipward_shield::{
    Policy, Ports, Shield as _,
    xdp::{Interface, Options, Xdp},
};
use sipward_signature::{Profile, SignatureSet, Tables};
use sipward_testkit::{
    crossfire::{crossfire, signature_file},
    namespace::Namespace,
    require::{Need, require},
};

const PBX: &str = "192.0.2.1:5060";
/// Beside the built-in ones.
const SIGNATURES: usize = 2_000;
const SWAPS: usize = 40;

#[test]
fn swapping_two_thousand_signatures_drops_nothing_genuine_and_lets_no_scanner_through() {
    if !require(&[Need::Root, Need::Program("ip")]) {
        return;
    }
    let lists = ["one", "two"].map(list);
    let pbx = Namespace::new("pbx").unwrap();
    let neighbour = Namespace::new("neighbour").unwrap();
    pbx.veth("wan", &neighbour, "lan").unwrap();
    pbx.address("wan", "192.0.2.1/24").unwrap();
    neighbour.address("lan", "192.0.2.7/24").unwrap();
    let pins = Pins(PathBuf::from("/sys/fs/bpf").join(pbx.name()));
    let options = Options {
        pin_dir: pins.0.clone(),
        interfaces: vec![Interface {
            name: "wan".to_owned(),
            mode: None,
        }],
    };
    let mut xdp = pbx.enter(|| Xdp::open(&options)).unwrap();
    xdp.set_policy(&Policy::without_limits(Ports::sip(&[5060])))
        .unwrap();
    xdp.set_signatures(&lists[0]).unwrap();
    pbx.enter(|| xdp.attach()).unwrap();

    let receiver = pbx.enter(|| UdpSocket::bind(PBX)).unwrap();
    let sender = neighbour
        .enter(|| UdpSocket::bind("192.0.2.7:5060"))
        .unwrap();
    sender.connect(PBX).unwrap();
    let began = Instant::now();
    let counts = crossfire(&sender, &receiver, |counts| {
        for swap in 1..=SWAPS {
            xdp.set_signatures(&lists[swap % 2])?;
            // Some swaps follow each other at once, some meet more traffic.
            if swap % 4 == 0 {
                counts.one_more_round()?;
            }
        }
        Ok(())
    })
    .unwrap();
    println!(
        "{SWAPS} swaps of {SIGNATURES} signatures in {:?}: of {} genuine messages {} arrived, of {} \
         of a scanner {}",
        began.elapsed(),
        counts.genuine_sent(),
        counts.genuine(),
        counts.scanner_sent(),
        counts.scanner(),
    );
    assert!(counts.genuine_sent() >= SWAPS, "{counts:?}");
    assert_eq!(counts.genuine(), counts.genuine_sent());
    assert_eq!(counts.scanner(), 0);
}

/// The built-in signatures and the test's.
fn list(name: &str) -> Tables {
    let mut set = SignatureSet::builtin();
    let more = SignatureSet::parse(name, &signature_file(name, SIGNATURES)).unwrap();
    set.merge(more);
    set.compile(Profile::Standard, &[]).unwrap()
}

/// A folder for pins that goes with the test.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
