//! What a real Asterisk reads of each evasion when nobody guards it does not reach it when sipward
//! does.

use std::time::Duration;

use sipward_testkit::{
    asterisk::{Asterisk, Guests, Settings},
    count::PacketCounter,
    evasions::EVASIONS,
    lab::Lab,
    require::{Need, require},
};

use crate::{guard, scan};

const SEGMENT: Duration = Duration::from_millis(500);

#[test]
fn no_evasion_that_one_packet_shows_reaches_asterisk() {
    if !require(&[Need::Root, Need::Asterisk, Need::Program("iptables")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    lab.pbx_mtu(9000).unwrap();
    let settings = Settings {
        guests: Guests::Noted,
        ..Settings::default()
    };
    let asterisk = Asterisk::start(&lab.pbx, &settings).unwrap();
    let guard = guard(&lab.pbx);

    let mut stopped = 0;
    for (number, evasion) in EVASIONS.iter().enumerate() {
        if !evasion.is_read() || !evasion.seen_in_one_packet {
            continue;
        }
        let request = scan(number, evasion);
        let source = request.source.ip().to_string();
        let counter = PacketCounter::new(&lab.pbx, &source, request.destination.port()).unwrap();
        let sent = evasion.send(&lab, &request, SEGMENT).unwrap();
        assert!(
            sent.packets > 0 || sent.connection.is_some(),
            "{}",
            evasion.name
        );
        let reached = counter.packets().unwrap();
        if sent.connection.is_none() {
            assert_eq!(reached, 0, "{}", evasion.name);
        }
        stopped += 1;
    }
    // Over TCP the handshake reaches the PBX; what it read of any of them, its log would say.
    let noted = asterisk.log("messages") + &asterisk.log("full");
    for value in ["friendly-scanner", "sipvicious"] {
        assert!(
            !noted.contains(value),
            "Asterisk has read {value}:\n{noted}"
        );
    }
    println!("{stopped} ways of writing a scanner's name stopped before Asterisk");
    assert!(
        guard.json(&["bans"]).unwrap().as_array().unwrap().len() >= 40,
        "{}",
        guard.log()
    );
}
