//! What the formats are; that the tools take them is tested with the tools.

use jiff::Timestamp;

use super::{ipset, nftables, of_ports, of_sip, plain};
use crate::control::api::BanView;

fn now() -> Timestamp {
    "2026-11-22T16:00:00Z".parse().unwrap()
}

fn bans() -> Vec<BanView> {
    let bans = serde_json::json!([
        ["203.0.113.7/32", null, null, "all"],
        ["203.0.113.0/24", null, "2026-11-22T16:10:00Z", "sip"],
        ["198.51.100.9/32", 5062, null, "all"],
        ["203.0.113.0/24", null, "2036-11-22T16:10:00Z", "all"],
        ["0.0.0.0/0", null, "2026-11-22T15:59:59Z", "sip"],
        ["2001:db8::/48", null, null, "sip"],
    ]);
    let view = |ban: &serde_json::Value| {
        serde_json::json!({
            "prefix": ban[0], "port": ban[1], "since": now(), "until": ban[2], "scope": ban[3],
            "detector": null, "reason": "night", "proven": false, "origin": "manual",
            "dropped_packets": 0,
        })
    };
    let views = bans.as_array().unwrap().iter().map(view);
    views
        .map(|view| serde_json::from_value(view).unwrap())
        .collect()
}

#[test]
fn a_plain_list_has_each_prefix_once() {
    assert_eq!(plain(&bans()), "203.0.113.0/24\n203.0.113.7\n");
    assert_eq!(of_sip(&bans()), 3, "a plain list would widen them");
    assert_eq!(of_ports(&bans()), 1, "the one that is not in it");
}

#[test]
fn an_ipset_has_what_is_left_of_each_ban() {
    insta::assert_snapshot!(ipset(&bans(), now()));
}

#[test]
fn a_set_of_nftables_has_no_overlap() {
    insta::assert_snapshot!(nftables(&bans(), now()));
}
