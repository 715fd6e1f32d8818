//! What an administrator may order, and how it is answered.

use std::{fs, os::unix::fs::PermissionsExt};

use sipward_testkit::{
    lab::{Lab, PBX},
    process::Process,
    require::{Need, require},
};

use crate::place::{Place, stop};

fn guarded() -> Option<(Lab, Place, Process)> {
    if !require(&[Need::Root]) {
        return None;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new("interfaces = [\"eth0\"]\nallow.addresses = [\"198.51.100.99\"]");
    let daemon = place.start(&lab.pbx);
    Some((lab, place, daemon))
}

fn prefixes(place: &Place) -> Vec<String> {
    let bans = place.bans();
    bans.iter()
        .map(|ban| ban["prefix"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_range_is_banned_as_the_fewest_prefixes() {
    let Some((_lab, place, daemon)) = guarded() else {
        return;
    };
    let said = place.sipward("ban 87.119.220.200-87.119.220.204 --reason night");
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(prefixes(&place), ["87.119.220.200/30", "87.119.220.204/32"]);
    assert_eq!(place.bans()[0]["reason"], "night");
    assert_eq!(place.bans()[0]["until"], serde_json::Value::Null);
    stop(daemon);
}

#[test]
fn an_address_out_of_a_range_gets_a_hole_and_is_told_so() {
    let Some((_lab, place, daemon)) = guarded() else {
        return;
    };
    assert_eq!(place.sipward("ban 87.119.220.200/30").code, 0);
    let said = place.sipward("unban 87.119.220.201");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.stderr.contains("a hole in 87.119.220.200/30"),
        "{said:?}"
    );
    assert_eq!(prefixes(&place), ["87.119.220.200/32", "87.119.220.202/31"]);
    assert_eq!(place.sipward("why 87.119.220.201").code, 1);
    assert_eq!(place.sipward("why 87.119.220.203").code, 0);
    let said = place.sipward("unban 87.119.220.201");
    assert_eq!(
        (said.code, said.stderr.as_str()),
        (1, "87.119.220.201 was not banned\n")
    );
    assert_eq!(place.sipward("unban --all").code, 0);
    assert!(prefixes(&place).is_empty());
    stop(daemon);
}

#[test]
fn what_the_machine_lives_on_is_not_banned_without_force() {
    let Some((_lab, place, daemon)) = guarded() else {
        return;
    };
    for (address, why) in [
        (PBX, "an address of this machine"),
        ("192.0.2.254", "a default gateway"),
        ("192.0.2.0/24", "192.0.2.1 is an address of this machine"),
        ("198.51.100.99", "on the allowlist"),
        ("127.0.0.1", "loopback"),
        ("224.0.0.1", "multicast"),
    ] {
        // One protected address refuses the whole order.
        let said = place.sipward(&format!("ban 203.0.113.9 {address}"));
        said.assert_one_line(2, &[why, "--force"]);
    }
    assert!(prefixes(&place).is_empty());
    let said = place.sipward("ban 198.51.100.99 --force");
    assert_eq!(said.code, 0);
    assert!(said.stderr.contains("passes all the same"), "{said:?}");
    stop(daemon);
}

#[test]
fn allowing_ends_bans_and_disallowing_says_what_holds_an_address() {
    let Some((_lab, place, daemon)) = guarded() else {
        return;
    };
    assert_eq!(place.sipward("ban 203.0.113.0/30").code, 0);
    let said = place.sipward("allow 203.0.113.2");
    assert_eq!(said.code, 0);
    assert!(said.stderr.contains("a hole in 203.0.113.0/30"), "{said:?}");
    assert_eq!(prefixes(&place), ["203.0.113.0/31", "203.0.113.3/32"]);
    assert_eq!(place.json("why 203.0.113.2")["allowed"], true);
    assert_eq!(place.sipward("disallow 203.0.113.2").code, 0);
    assert_eq!(place.sipward("allow 203.0.113.0/24").code, 0);
    place
        .sipward("disallow 203.0.113.2")
        .assert_negative("as part of 203.0.113.0/24");
    place
        .sipward("disallow 198.51.100.99")
        .assert_negative("by the configuration");
    place
        .sipward("disallow 192.0.2.9")
        .assert_negative("not on the allowlist");
    stop(daemon);
}

#[test]
fn a_shorter_ban_does_not_shorten_a_longer_one() {
    let Some((_lab, place, daemon)) = guarded() else {
        return;
    };
    assert_eq!(place.sipward("ban 203.0.113.9").code, 0);
    let said = place.sipward("ban 203.0.113.9 --for 10m");
    assert!(said.stderr.contains("banned already"), "{said:?}");
    assert_eq!(place.bans()[0]["until"], serde_json::Value::Null);
    stop(daemon);
}

#[test]
fn the_socket_is_for_its_owner_alone() {
    let Some((_lab, place, daemon)) = guarded() else {
        return;
    };
    let mode = fs::metadata(place.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    stop(daemon);
}

#[test]
fn the_text_of_a_reason_cannot_steer_a_terminal() {
    let Some((_lab, place, daemon)) = guarded() else {
        return;
    };
    assert_eq!(place.sipward("ban 203.0.113.9 --reason a\x1b[2Jb").code, 0);
    let bans = place.sipward("bans");
    assert!(bans.stdout.contains("a\\x1b[2Jb"), "{bans:?}");
    stop(daemon);
}
