//! Bans within bans: whatever comes, goes and expires, alone or many at once and in whatever order, a
//! packet is dropped while any ban around its source lasts. An inner one that is over opens none.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use ipnet::IpNet;
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use sipward_shield::{Ban, BootTime, Scope, Shield as _, Simulator, Target, Verdict};
use sipward_signature::Profile;
use sipward_testkit::packet::Packet;

use crate::common::*;

const PREFIXES: &[&str] = &[
    "203.0.113.7/32",
    "203.0.113.6/31",
    "203.0.113.0/28",
    "203.0.113.0/24",
    "203.0.112.0/23",
    "203.0.0.0/16",
    "200.0.0.0/5",
    "2001:db8:1:2::7/128",
    "2001:db8:1:2::/96",
    "2001:db8:1:2::/64",
    "2001:db8:1::/48",
    "2001:db8::/32",
];

const SOURCES: &[&str] = &[
    "203.0.113.7",
    "203.0.113.6",
    "203.0.113.99",
    "203.0.1.1",
    "2001:db8:1:2::7",
    "2001:db8:1:2::8",
    "2001:db8:1:2:ffff::7",
    "2001:db8:ffff::7",
];

/// When a ban lapses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It has lapsed before it is set.
    Past,
    /// After it is set, and before the next packet.
    Soon,
    InAnHour,
    Never,
}

const SOON: Duration = Duration::from_millis(2);

#[derive(Clone, Debug)]
enum Step {
    /// Bans that are set in one go.
    Ban(Vec<(IpNet, Scope, End)>),
    Unban(IpNet, Scope),
}

fn step() -> impl Strategy<Value = Step> {
    let prefix = || select(PREFIXES).prop_map(|text| text.parse::<IpNet>().unwrap());
    let scope = || select(&[Scope::All, Scope::Sip]);
    let end = select(&[End::Past, End::Soon, End::InAnHour, End::Never]);
    let bans = proptest::collection::vec((prefix(), scope(), end), 1..5);
    prop_oneof![
        2 => bans.prop_map(Step::Ban),
        1 => (prefix(), scope()).prop_map(|(prefix, scope)| Step::Unban(prefix, scope)),
    ]
}

/// Carries a step out in the kernel and, much simpler, in the model.
fn carry_out(step: &Step, simulator: &mut Simulator, model: &mut BTreeMap<(IpNet, Scope), End>) {
    let target = |prefix| Target { prefix, port: None };
    match step {
        Step::Ban(bans) => {
            let now = BootTime::now().0;
            let until = |end| match end {
                End::Past => LAPSED,
                End::Soon => BootTime(now + SOON.as_nanos() as u64),
                End::InAnHour => in_an_hour(),
                End::Never => BootTime::NEVER,
            };
            let all: Vec<Ban> = bans
                .iter()
                .map(|(prefix, scope, end)| Ban {
                    target: target(*prefix),
                    scope: *scope,
                    until: until(*end),
                })
                .collect();
            simulator.ban_all(&all).unwrap();
            model.extend(
                bans.iter()
                    .map(|(prefix, scope, end)| ((*prefix, *scope), *end)),
            );
            if bans.iter().any(|(_, _, end)| *end == End::Soon) {
                while BootTime::now().0 < now + SOON.as_nanos() as u64 {
                    thread::sleep(SOON / 4);
                }
            }
        }
        Step::Unban(prefix, scope) => {
            simulator.unban(&target(*prefix), *scope).unwrap();
            model.remove(&(*prefix, *scope));
        }
    }
}

/// The bans of the model that have not lapsed.
fn in_force(model: &BTreeMap<(IpNet, Scope), End>) -> impl Iterator<Item = (IpNet, Scope)> {
    model
        .iter()
        .filter(|(_, end)| matches!(end, End::InAnHour | End::Never))
        .map(|(key, _)| *key)
}

#[test]
fn no_inner_ban_that_is_over_opens_an_outer_one() {
    let Some(simulator) = simulator(Profile::Standard) else {
        return;
    };
    // proptest calls a closure that may not change what it captures.
    let simulator = RefCell::new(simulator);
    let config = Config {
        cases: 100,
        failure_persistence: None,
        ..Config::default()
    };
    let steps = proptest::collection::vec(step(), 1..12);
    TestRunner::new(config)
        .run(&steps, |steps| {
            let simulator = &mut *simulator.borrow_mut();
            let mut model = BTreeMap::new();
            for step in &steps {
                carry_out(step, simulator, &mut model);
                for source in SOURCES {
                    let address: IpAddr = source.parse().unwrap();
                    let pbx = if address.is_ipv4() { PBX } else { PBX6 };
                    // Neither port has a rate: what drops a packet is a ban.
                    let to = |port| {
                        let from = SocketAddr::new(address, 5060);
                        Packet::udp(from, pbx.replace("5060", port)).build()
                    };
                    let banned = |scopes: &[Scope]| {
                        in_force(&model).any(|(prefix, scope)| {
                            prefix.contains(&address) && scopes.contains(&scope)
                        })
                    };
                    for (frame, scopes) in [
                        (to("4569"), &[Scope::All, Scope::Sip][..]),
                        (to("10000"), &[Scope::All]),
                    ] {
                        let (verdict, reason) = judge(simulator, &frame);
                        let dropped = verdict == Verdict::Drop;
                        prop_assert_eq!(
                            dropped,
                            banned(scopes),
                            "{}, {:?}: {:?}",
                            source,
                            scopes,
                            reason
                        );
                    }
                }
                let listed: Vec<_> = simulator
                    .bans()
                    .unwrap()
                    .iter()
                    .map(|listed| (listed.ban.target.prefix, listed.ban.scope))
                    .collect();
                prop_assert_eq!(listed, in_force(&model).collect::<Vec<_>>());
            }
            // The next case begins with none.
            for (prefix, scope) in model.keys() {
                let target = Target {
                    prefix: *prefix,
                    port: None,
                };
                simulator.unban(&target, *scope).unwrap();
            }
            Ok(())
        })
        .unwrap();
}
