//! Whom Asterisk calls, and the names of the configuration.

use std::{collections::BTreeSet, fs, path::Path};

use tempfile::TempDir;

use super::{Bench, net};
use crate::{
    config::Config,
    control::api::{AllowRequest, Resolved},
    daemon::{
        Guard,
        peers::{self, Settings},
    },
};

/// As FreePBX writes it, shortened: every extension may come from anywhere.
const EXTENSIONS: &str = "[200]\ntype=friend\nhost=dynamic\ndeny=0.0.0.0/0.0.0.0\n\
                          permit=0.0.0.0/0.0.0.0\npermit=198.51.100.0/24\n\
                          [trunk]\ntype=peer\nhost=sip.provider.example\n\
                          [any]\ntype=peer\nhost=0.0.0.0\n";
const IDENTIFY: &str = "[a]\ntype=identify\nmatch=0.0.0.0/0\nmatch=198.51.0.0/16\nmatch=203.0.113.77\n\
                        [b]\ntype=identify\nmatch=192.0.2.128/25\n";

fn tree() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("sip.conf"), EXTENSIONS).unwrap();
    fs::write(folder.path().join("pjsip.conf"), IDENTIFY).unwrap();
    folder
}

fn knows(guard: &mut Guard, folder: &Path) {
    guard.peers_are(peers::read(folder).hosts);
}

fn found(name: &str, addresses: &[&str]) -> Vec<Resolved> {
    let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    vec![Resolved {
        name: name.to_owned(),
        addresses,
    }]
}

fn allowed(guard: &Guard) -> Vec<String> {
    let views = guard.allowed().unwrap().into_iter();
    views
        .map(|view| {
            let name = view.name.unwrap_or_default();
            format!("{} {} {name}", view.prefix, view.origin)
        })
        .collect()
}

#[test]
fn a_permit_for_everybody_allows_nobody() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    knows(&mut guard, tree().path());
    let kernel: Vec<_> = bench.shield.state().allowed.iter().copied().collect();
    assert_eq!(kernel, [net("192.0.2.128/25"), net("203.0.113.77/32")]);
    assert_eq!(
        allowed(&guard),
        ["192.0.2.128/25 asterisk ", "203.0.113.77/32 asterisk "]
    );
    let refused: Vec<String> = peers::read(tree().path()).warnings;
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(
        refused[0].starts_with("sip.conf:12: host = 0.0.0.0: shorter than /24"),
        "{refused:?}"
    );
}

#[test]
fn names_of_asterisk_and_of_the_configuration_are_looked_up_and_allowed() {
    let bench = Bench::new();
    let mut config = Config::default();
    config.allow.addresses = vec!["home.example".parse().unwrap()];
    let mut guard = bench.guard_with(config);
    knows(&mut guard, tree().path());
    assert_eq!(
        guard.names().unwrap(),
        ["home.example", "sip.provider.example"]
    );
    guard
        .names_are(found("home.example", &["203.0.113.9"]))
        .unwrap();
    guard
        .names_are(found("sip.provider.example", &["2001:db8::1"]))
        .unwrap();
    assert_eq!(
        allowed(&guard),
        [
            "192.0.2.128/25 asterisk ",
            "203.0.113.9/32 configuration home.example",
            "203.0.113.77/32 asterisk ",
            "2001:db8::1/128 asterisk sip.provider.example",
        ]
    );
    assert!(
        bench
            .shield
            .state()
            .allowed
            .contains(&net("203.0.113.9/32"))
    );

    // Many answer with a few of their addresses at a time.
    guard
        .names_are(found("home.example", &["203.0.113.10"]))
        .unwrap();
    assert!(
        bench
            .shield
            .state()
            .allowed
            .contains(&net("203.0.113.9/32"))
    );
    // Who is no longer named is no longer allowed.
    guard.peers_are(peers::read(Path::new("/nonexistent")).hosts);
    assert_eq!(bench.shield.state().allowed.len(), 2);
}

#[test]
fn a_peer_is_disallowed_in_asterisk_only() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    knows(&mut guard, tree().path());
    let request = AllowRequest {
        prefixes: vec![net("203.0.113.77/32")],
        ..AllowRequest::default()
    };
    let reply = guard.disallow(&request).unwrap();
    assert!(
        reply.refused[0].contains("asterisk-peers = false"),
        "{reply:?}"
    );
    let refused = guard.ban(&super::ban("203.0.113.77/32")).unwrap_err();
    assert!(
        refused.text.contains("a trunk or provider of the PBX"),
        "{refused}"
    );
}

#[test]
fn a_tree_that_is_not_there_or_unreadable_stops_nothing() {
    assert_eq!(peers::read(Path::new("/nonexistent")).warnings, [""; 0]);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a file");
    fs::write(&file, "").unwrap();
    let warnings = peers::read(&file).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("a file: cannot read it"),
        "{warnings:?}"
    );
}

#[test]
fn peers_can_be_switched_off() {
    let mut config = Config::default();
    assert!(Settings::of(&config).0.is_some());
    config.allow.asterisk_peers = false;
    assert_eq!(Settings::of(&config), Settings(None));
}

#[test]
fn the_running_asterisk_names_addresses_and_names_but_no_prefix() {
    let mut hosts = peers::Hosts::default();
    for host in [
        "198.51.100.7",
        "SIP.Provider.example",
        "0.0.0.0",
        "10.0.0.0/8",
        "10.0.0.0-10.255.255.255",
        "a b",
    ] {
        hosts.add(host);
    }
    let bench = Bench::new();
    let mut guard = bench.guard();
    guard.peers_are(hosts);
    let kernel: BTreeSet<_> = bench.shield.state().allowed.clone();
    assert_eq!(kernel, BTreeSet::from([net("198.51.100.7/32")]));
    assert_eq!(guard.names().unwrap(), ["sip.provider.example"]);
}
