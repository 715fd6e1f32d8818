//! The bans in force, loaded by the tools they are exported for.

use std::fs;

use sipward_testkit::{
    guard::Guard,
    lab::Lab,
    require::{Need, require},
};
use tempfile::TempDir;

use crate::{done, program};

#[test]
fn exported_bans_are_loaded_by_ipset_and_nft() {
    if !require(&[Need::Root, Need::Program("ipset"), Need::Program("nft")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let guard = Guard::start(program(), &lab.pbx).unwrap();
    let order = |line: &str| done(guard.ask(&line.split(' ').collect::<Vec<_>>()).unwrap());
    order("ban 203.0.113.64/26 --for 1h");
    // Longer than what it lies in: in an interval set the two would overlap.
    order("ban 203.0.113.77 2001:db8:bad::/48 --forever");
    order("ban 198.51.100.77-198.51.100.79 --scope sip --for 10d");
    // Longer than ipset can count.
    order("ban 198.51.100.80 --for 100d");

    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bans");
    let export = |format: &str| {
        let text = order(&format!("export --format {format}")).stdout;
        fs::write(&file, &text).unwrap();
        text
    };

    export("ipset");
    let load = format!("ipset -exist restore -file {}", file.display());
    for _ in 0..2 {
        lab.router.run(&load).unwrap();
    }
    let banned = |set: &str, address: &str| {
        let test = format!("ipset test sipward-{set} {address}");
        lab.router.run(&test).is_ok()
    };
    for (set, address) in [
        ("all-v4", "203.0.113.64"),
        ("all-v4", "203.0.113.77"),
        ("all-v4", "198.51.100.80"),
        ("all-v6", "2001:db8:bad:1::1"),
        ("sip-v4", "198.51.100.78"),
    ] {
        assert!(banned(set, address), "{set} {address}");
    }
    for (set, address) in [("all-v4", "198.51.100.78"), ("all-v4", "203.0.113.63")] {
        assert!(!banned(set, address), "{set} {address}");
    }

    export("nftables");
    // A second time, as a boot after a boot.
    for _ in 0..2 {
        let load = format!("nft -f {}", file.display());
        lab.router.run(&load).unwrap();
    }
    let listed = |set: &str| {
        let list = format!("nft list set inet sipward-export {set}");
        lab.router.run(&list).unwrap()
    };
    let all = listed("all-v4");
    for part in [
        "203.0.113.64-203.0.113.76 timeout ",
        "203.0.113.77,",
        "203.0.113.78-203.0.113.127 timeout ",
    ] {
        assert!(all.contains(part), "no {part:?} in {all}");
    }
    assert!(!all.contains("198.51.100.78"), "{all}");
    assert!(listed("all-v6").contains("2001:db8:bad::/48"));
    assert!(listed("sip-v4").contains("198.51.100.77-198.51.100.79 timeout "));

    let plain = export("plain");
    assert_eq!(
        plain,
        "198.51.100.80\n203.0.113.64/26\n203.0.113.77\n2001:db8:bad::/48\n"
    );
    let json: serde_json::Value = serde_json::from_str(&export("json")).unwrap();
    assert_eq!(json, guard.json(&["bans"]).unwrap());
}
