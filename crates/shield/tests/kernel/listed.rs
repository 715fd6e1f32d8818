//! The kernel spares lookups for networks of which nothing is listed: whatever comes and goes, and in
//! which order, it must not spare one that would find something.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use sipward_shield::{
    Ban, BootTime, Limits, Policy, Rate, Reason, Scope, Shield as _, Simulator, Target,
};
use sipward_signature::Profile;
use sipward_testkit::packet::Packet;

use crate::common::*;

/// Of every length that is treated differently, around the sources below.
const PREFIXES: &[&str] = &[
    "203.0.113.7/32",
    "203.0.113.8/32",
    "203.0.113.0/28",
    "203.0.113.0/24",
    "203.0.112.0/23",
    "203.0.0.0/16",
    "202.0.0.0/7",
    "0.0.0.0/0",
    "2001:db8:1:2::7/128",
    "2001:db8:1:2::/64",
    "2001:db8:1::/48",
    "2001:db8::/47",
    "2001:db8::/31",
    "::/0",
];

const SOURCES: &[&str] = &[
    "203.0.113.7",
    "203.0.113.8",
    "203.0.112.7",
    "2001:db8:1:2::7",
    "2001:db8:1:2::8",
    "2001:db8:1:3::7",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    Allowed(IpNet),
    Banned(Target),
    Trusted(IpAddr),
}

fn entry() -> impl Strategy<Value = Entry> {
    let prefix = || select(PREFIXES).prop_map(|text| text.parse::<IpNet>().unwrap());
    let source = || select(SOURCES).prop_map(|text| text.parse::<IpAddr>().unwrap());
    prop_oneof![
        prefix().prop_map(Entry::Allowed),
        prefix().prop_map(|prefix| Entry::Banned(Target { prefix, port: None })),
        source().prop_map(|source| Entry::Banned(Target {
            prefix: source.into(),
            port: Some(5060)
        })),
        source().prop_map(Entry::Trusted),
    ]
}

/// A stranger may send one packet.
fn one_packet() -> Policy {
    let rate = |burst| Rate {
        packets: 1,
        per_seconds: 86_400,
        burst,
    };
    Policy {
        limits: Limits {
            sip: rate(1),
            responses: rate(1),
            unknown: rate(1_000_000),
            trusted: rate(1_000_000),
            ssh: rate(1),
        },
        ..policy()
    }
}

fn expected(entries: &BTreeSet<Entry>, source: IpAddr) -> Reason {
    let mut reason = Reason::Rate;
    for entry in entries {
        match entry {
            Entry::Allowed(prefix) if prefix.contains(&source) => return Reason::Allowed,
            Entry::Banned(target) if target.prefix.contains(&source) => reason = Reason::Banned,
            Entry::Trusted(trusted) if reason == Reason::Rate && same_source(*trusted, source) => {
                reason = Reason::Clean;
            }
            Entry::Allowed(_) | Entry::Banned(_) | Entry::Trusted(_) => {}
        }
    }
    reason
}

#[test]
fn no_lookup_is_spared_that_would_find_something() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    simulator.set_policy(&one_packet()).unwrap();
    let frame = |source: &str| {
        let source = match source.parse::<IpAddr>().unwrap() {
            IpAddr::V4(v4) => (format!("{v4}:5060"), PBX),
            IpAddr::V6(v6) => (format!("[{v6}]:5060"), PBX6),
        };
        Packet::udp(&source.0, source.1)
            .payload(&request("Snom"))
            .build()
    };
    for source in SOURCES {
        simulator.run(&frame(source)).unwrap();
    }
    // proptest calls a closure that may not change what it captures.
    let simulator = RefCell::new(simulator);
    let config = Config {
        cases: 25,
        failure_persistence: None,
        ..Config::default()
    };
    let steps = proptest::collection::vec(entry(), 1..12);
    TestRunner::new(config)
        .run(&steps, |steps| {
            let mut simulator = simulator.borrow_mut();
            let mut entries = BTreeSet::new();
            // All come, and all go: nothing is listed then for the next case.
            let steps = steps.iter().map(|entry| (*entry, true));
            let steps: Vec<_> = steps
                .clone()
                .chain(steps.map(|(entry, _)| (entry, false)))
                .collect();
            let mut apply = |entry: Entry, comes: bool| {
                match (entry, comes) {
                    (Entry::Allowed(prefix), true) => simulator.allow(prefix),
                    (Entry::Allowed(prefix), false) => simulator.disallow(prefix),
                    (Entry::Banned(target), true) => simulator.ban(&Ban {
                        target,
                        scope: Scope::All,
                        until: BootTime::NEVER,
                    }),
                    (Entry::Banned(target), false) => {
                        simulator.unban(&target, Scope::All).map(drop)
                    }
                    (Entry::Trusted(source), true) => simulator.trust(source),
                    (Entry::Trusted(source), false) => simulator.distrust(source),
                }
                .unwrap();
                if comes {
                    entries.insert(entry);
                } else {
                    entries.remove(&entry);
                    // The /64 is one source.
                    if let Entry::Trusted(gone) = entry {
                        entries.retain(|entry| {
                            !matches!(entry, Entry::Trusted(other) if same_source(*other, gone))
                        });
                    }
                }
                prop_assert_eq!(filled(&simulator), held(&entries), "{:?}", &entries);
                for source in SOURCES {
                    let judgement = simulator.run(&frame(source)).unwrap();
                    prop_assert_eq!(
                        judgement.reason,
                        expected(&entries, source.parse().unwrap()),
                        "{} with {:?}",
                        source,
                        &entries
                    );
                }
                Ok(())
            };
            for (entry, comes) in steps {
                apply(entry, comes)?;
                // A second time changes nothing.
                apply(entry, comes)?;
            }
            Ok(())
        })
        .unwrap();
}

/// What is said to be in the tables, by their names.
fn filled(simulator: &Simulator) -> BTreeMap<&'static str, usize> {
    let fill = simulator.fill().into_iter();
    fill.inspect(|fill| assert!(fill.capacity >= 65_536, "{fill:?}"))
        .map(|fill| (fill.table, fill.entries))
        .filter(|(_, entries)| *entries > 0)
        .collect()
}

/// What must be in them.
fn held(entries: &BTreeSet<Entry>) -> BTreeMap<&'static str, usize> {
    let mut held = BTreeMap::new();
    let mut sources = BTreeSet::new();
    for entry in entries {
        let table = match entry {
            Entry::Allowed(IpNet::V4(_)) => "allowed4",
            Entry::Allowed(IpNet::V6(_)) => "allowed6",
            Entry::Banned(Target { prefix, .. })
                if [prefix.max_prefix_len(), 64].contains(&prefix.prefix_len()) =>
            {
                "bans"
            }
            Entry::Banned(target) if target.prefix.addr().is_ipv4() => "prefix_bans4",
            Entry::Banned(_) => "prefix_bans6",
            Entry::Trusted(source) if sources.insert(source_of(*source)) => "trusted",
            Entry::Trusted(_) => continue,
        };
        *held.entry(table).or_default() += 1;
    }
    held
}

fn same_source(one: IpAddr, other: IpAddr) -> bool {
    source_of(one) == source_of(other)
}

fn source_of(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => IpNet::from(address),
        IpAddr::V6(_) => IpNet::new(address, 64).unwrap().trunc(),
    }
}
