//! The kernel spares lookups for networks of which nothing is listed: whatever comes and goes, and in
//! which order, it must not spare one that would find something.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

use aya::{
    maps::{
        HashMap, Map, MapData, MapInfo,
        lpm_trie::{Key, LpmTrie},
    },
    programs::loaded_programs,
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

/// What becomes of an entry before it is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    /// Somebody else takes it out of the kernel.
    IsLost,
    /// The same, and it is missed and put back.
    ComesBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Comes,
    IsLost,
    Goes,
}

/// All come, some are lost, and all go: nothing is listed then for the next case. A second time
/// changes nothing.
fn steps(entries: &[(Entry, Fate)]) -> Vec<(Entry, Step)> {
    let all = |step: Step| entries.iter().map(move |(entry, _)| (*entry, step));
    let twice = |step: Step| all(step).flat_map(|step| [step; 2]);
    let of = |fate: Fate, step: Step| {
        let of = entries.iter().filter(move |(_, other)| *other == fate);
        of.map(move |(entry, _)| (*entry, step))
    };
    twice(Step::Comes)
        .chain(of(Fate::IsLost, Step::IsLost))
        .chain(of(Fate::ComesBack, Step::IsLost))
        .chain(of(Fate::ComesBack, Step::Comes))
        .chain(twice(Step::Goes))
        .collect()
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
    let behind = RefCell::new(Behind::of(&mut simulator.borrow_mut()));
    let fate = || select(&[Fate::Stays, Fate::IsLost, Fate::ComesBack][..]);
    let entries = proptest::collection::vec((entry(), fate()), 1..12);
    TestRunner::new(config)
        .run(&entries, |entries| {
            let mut simulator = simulator.borrow_mut();
            // What the kernel has, and what it was told.
            let (mut there, mut told) = (BTreeSet::new(), BTreeSet::new());
            for (entry, step) in steps(&entries) {
                match step {
                    Step::Comes => {
                        enter(&mut simulator, entry);
                        there.insert(entry);
                        told.insert(entry);
                    }
                    Step::IsLost if !behind.borrow_mut().take(entry) => continue,
                    Step::IsLost => remove(&mut there, entry),
                    Step::Goes => {
                        take_out(&mut simulator, entry);
                        remove(&mut there, entry);
                        remove(&mut told, entry);
                    }
                }
                prop_assert_eq!(filled(&simulator), held(&told), "{:?}", &told);
                for source in SOURCES {
                    let reason = simulator.run(&frame(source)).unwrap().reason;
                    // What is lost may come back with what is around it.
                    let source = source.parse().unwrap();
                    let expected = [&there, &told].map(|entries| expected(entries, source));
                    prop_assert!(
                        expected.contains(&reason),
                        "{:?} {} with {:?}, told {:?}",
                        reason,
                        source,
                        &there,
                        &told
                    );
                }
            }
            Ok(())
        })
        .unwrap();
}

fn enter(simulator: &mut Simulator, entry: Entry) {
    match entry {
        Entry::Allowed(prefix) => simulator.allow(prefix),
        Entry::Banned(target) => simulator.ban(&Ban {
            target,
            scope: Scope::All,
            until: BootTime::NEVER,
        }),
        Entry::Trusted(source) => simulator.trust(source),
    }
    .unwrap();
}

fn take_out(simulator: &mut Simulator, entry: Entry) {
    match entry {
        Entry::Allowed(prefix) => simulator.disallow(prefix),
        Entry::Banned(target) => simulator.unban(&target, Scope::All).map(drop),
        Entry::Trusted(source) => simulator.distrust(source),
    }
    .unwrap();
}

fn remove(entries: &mut BTreeSet<Entry>, gone: Entry) {
    entries.remove(&gone);
    // The /64 is one source.
    if let Entry::Trusted(gone) = gone {
        entries
            .retain(|entry| !matches!(entry, Entry::Trusted(other) if same_source(*other, gone)));
    }
}

/// What was inside the lost one, as it was counted on, would be banned for ever.
#[test]
fn a_prefix_that_the_kernel_has_lost_is_lifted_with_all_that_it_covered() {
    let Some(mut simulator) = simulator(Profile::Standard) else {
        return;
    };
    let mut behind = Behind::of(&mut simulator);
    for outer in ["203.0.0.0/16", "2001:db8::/47"] {
        ban(&mut simulator, outer, Scope::All, in_an_hour());
        assert!(behind.take(Entry::Banned(target(outer))));
        let dropped = simulator.unban(&target(outer), Scope::All).unwrap();
        assert_eq!(dropped, 0);
    }
    ban(&mut simulator, "203.0.113.0/28", Scope::All, LAPSED);
    ban(&mut simulator, "2001:db8:1::/48", Scope::All, LAPSED);
    let six = Packet::udp(STRANGER6, PBX6).payload(&request("Snom"));
    check(
        &mut simulator,
        &[
            row("IPv4", &phone(), PASS, Reason::Clean),
            row("IPv6", &six, PASS, Reason::Clean),
        ],
    );
}

/// The maps of a simulator, as `bpftool` finds them.
struct Behind {
    bans: HashMap<MapData, [u8; 24], [u8; 40]>,
    prefix_bans4: LpmTrie<MapData, [u8; 4], [u8; 40]>,
    prefix_bans6: LpmTrie<MapData, [u8; 16], [u8; 40]>,
    trusted: HashMap<MapData, [u8; 16], [u8; 40]>,
}

impl Behind {
    /// Of all simulators the one that has a ban which no other has.
    fn of(simulator: &mut Simulator) -> Self {
        static PORTS: AtomicU16 = AtomicU16::new(1);
        let address = IpAddr::from(std::process::id().to_be_bytes());
        let own = Target {
            prefix: address.into(),
            port: Some(PORTS.fetch_add(1, Relaxed)),
        };
        enter(simulator, Entry::Banned(own));
        let others = loaded_programs().filter_map(|program| {
            let maps = program.ok()?.map_ids().ok()??;
            Self::by_numbers(&maps)
        });
        let mut found = others.filter(|behind| behind.bans.get(&single(&own), 0).is_ok());
        let behind = found.next().expect("the kernel lists its programs");
        take_out(simulator, Entry::Banned(own));
        behind
    }

    /// None where the maps are others, or somebody's that are just going.
    fn by_numbers(maps: &[u32]) -> Option<Self> {
        let of_name = |name: &str| {
            let is_it = |number: &&u32| {
                let info = MapInfo::from_id(**number);
                info.is_ok_and(|info| info.name_as_str() == Some(name))
            };
            MapData::from_id(*maps.iter().find(is_it)?).ok()
        };
        Some(Self {
            bans: Map::HashMap(of_name("bans")?).try_into().ok()?,
            prefix_bans4: Map::LpmTrie(of_name("prefix_bans4")?).try_into().ok()?,
            prefix_bans6: Map::LpmTrie(of_name("prefix_bans6")?).try_into().ok()?,
            trusted: Map::HashMap(of_name("trusted")?).try_into().ok()?,
        })
    }

    /// Takes an entry out; false of what the simulator never looks for again.
    fn take(&mut self, entry: Entry) -> bool {
        // It may be gone already.
        let _ = match entry {
            Entry::Allowed(_) => return false,
            Entry::Banned(target) if is_single(&target) => self.bans.remove(&single(&target)),
            Entry::Banned(target) => match target.prefix {
                IpNet::V4(net) => {
                    let key = Key::new(net.prefix_len().into(), net.addr().octets());
                    self.prefix_bans4.remove(&key)
                }
                IpNet::V6(net) => {
                    let key = Key::new(net.prefix_len().into(), net.addr().octets());
                    self.prefix_bans6.remove(&key)
                }
            },
            Entry::Trusted(source) => self.trusted.remove(&octets(source_of(source).addr())),
        };
        true
    }
}

/// Whether it is among the bans of addresses and of IPv6 /64, not of other prefixes.
fn is_single(Target { prefix, .. }: &Target) -> bool {
    [prefix.max_prefix_len(), 64].contains(&prefix.prefix_len())
}

/// The key of a ban of an address: it, the port and the length of the prefix.
fn single(target: &Target) -> [u8; 24] {
    let length = target.prefix.prefix_len();
    let mut key = [0; 24];
    key[..16].copy_from_slice(&octets(target.prefix.addr()));
    key[16..18].copy_from_slice(&target.port.unwrap_or(0).to_ne_bytes());
    key[18] = if length == 64 { 64 } else { 128 };
    key
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
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
            Entry::Banned(target) if is_single(target) => "bans",
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
