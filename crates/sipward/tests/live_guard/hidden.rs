//! A scanner's name that no single packet shows reaches the PBX, and its sender is banned for it.

use std::time::Duration;

use sipward_testkit::{
    asterisk::{Asterisk, Guests, Settings},
    evasions::EVASIONS,
    lab::Lab,
    process::wait_until,
    require::{Need, require},
};

use crate::{guard, scan};

const SEGMENT: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn who_hides_a_name_from_the_kernel_is_banned_when_the_message_is_whole() {
    if !require(&[Need::Root, Need::Asterisk]) {
        return;
    }
    let lab = Lab::new().unwrap();
    lab.pbx_mtu(9000).unwrap();
    let settings = Settings {
        guests: Guests::Noted,
        ..Settings::default()
    };
    let _asterisk = Asterisk::start(&lab.pbx, &settings).unwrap();
    let guard = guard(&lab.pbx);
    let tiny = || guard.json(&["status"]).unwrap()["packets"]["dropped"]["tiny_fragment"].clone();
    let (mut banned, mut stopped) = (0, 0);
    for (number, evasion) in EVASIONS.iter().enumerate() {
        if !evasion.is_read() || evasion.seen_in_one_packet {
            continue;
        }
        let request = scan(number, evasion);
        let tiny_before = tiny();
        let sent = evasion.send(&lab, &request, SEGMENT).unwrap();
        // Where the first piece is too small, or the pieces too many, the rest reaches nobody.
        let is_whole =
            sent.connection.is_none() || sent.packets == evasion.payloads(&request).len();
        if tiny() != tiny_before || !is_whole {
            stopped += 1;
            continue;
        }
        let address = request.source.ip().to_string();
        let is_banned = || {
            guard
                .json(&["why", &address])
                .is_ok_and(|why| why["banned"] == true)
        };
        if wait_until("a ban", PATIENCE, is_banned).is_err() {
            panic!("{}: {sent:?}\n{}", evasion.name, guard.log());
        }
        let why = guard.json(&["why", &address]).unwrap();
        assert_eq!(
            why["alerts"][0]["detector"], "scanner-signature",
            "{}: {why}",
            evasion.name
        );
        banned += 1;
    }
    println!(
        "{banned} ways of hiding a scanner's name from the kernel, and a ban for each; \
         {stopped} more do not reach Asterisk"
    );
    assert!(banned > 0);
}
