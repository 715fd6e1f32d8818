//! What outlives the daemon, what is made again, how large it may be, and that nobody else's table
//! is touched.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use nix::time::{ClockId, clock_gettime};
use sipward_shield::{
    Ban, BootTime, Error, Scope, Shield as _, TapPorts, Target,
    nftables::{Nftables, Tap, remove_leftovers},
};

use crate::{
    net::{Net, ban, target, until},
    policy::policy,
};

#[test]
fn the_table_outlives_the_daemon_and_the_next_one_takes_it_over() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    let foreign = "table inet other {\n\tset banned {\n\t\ttype ipv4_addr\n\t\telements = { 203.0.113.1 }\n\t}\n}\n";
    net.nft(foreign);
    let everything = net.pbx.run("nft list table inet other").unwrap();
    net.shield(|shield| {
        shield
            .ban(&ban("203.0.113.0/25", Scope::All, until(3_600)))
            .unwrap();
        shield.allow("203.0.113.7/32".parse().unwrap()).unwrap();
        shield.trust("198.51.100.7".parse().unwrap()).unwrap();
        assert!(matches!(
            Nftables::open(&["wan".to_owned()]),
            Err(Error::LogGroup(_))
        ));
    });
    net.kill();
    assert!(!net.reaches("203.0.113.8"));
    assert!(net.reaches("203.0.113.7"));

    net.open();
    net.shield(|shield| {
        let bans = shield.bans().unwrap();
        assert_eq!(bans.len(), 1);
        assert_eq!(bans[0].ban.target, target("203.0.113.0/25"));
        assert_eq!(bans[0].dropped_packets, 1);
        assert_eq!(shield.allowed().unwrap(), ["203.0.113.7/32"].map(prefix));
        assert_eq!(shield.trusted().unwrap(), ["198.51.100.7"].map(address));
        let notes = shield.attach().unwrap();
        assert_eq!(notes, ["table inet sipward: adopted"]);
    });
    assert!(!net.reaches("203.0.113.8"));
    net.shield(|shield| {
        assert!(shield.interfaces().unwrap()[0].attached);
        shield.detach().unwrap();
    });
    assert!(net.reaches("203.0.113.8"));
    let left = net.pbx.run("nft list ruleset").unwrap();
    assert_eq!(left, everything);
}

/// What a version with other sets and chains has left, one that drops and knows nothing of ours.
const OTHER_LAYOUT: &str = "delete table inet sipward
table inet sipward {
\tset requests4 {
\t\ttype inet_service
\t}
\tchain sipward-layout-1 {
\t}
\tchain judge4 {
\t\ttype filter hook prerouting priority -450
\t\tip saddr { 203.0.113.7, 203.0.113.8 } drop
\t}
}
";

#[test]
fn a_table_of_another_layout_judges_until_a_whole_one_takes_its_place() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    net.kill();
    net.nft(OTHER_LAYOUT);
    let before = net.pbx.run("nft list ruleset").unwrap();
    let ports = TapPorts {
        udp: vec![5060],
        tcp: Vec::new(),
        handshakes: Vec::new(),
    };
    let bans = [
        ban("203.0.113.0/25", Scope::All, until(3_600)),
        ban("203.0.113.200", Scope::Sip, until(10 * 365 * 86_400)),
        ban("2001:db8:bad::/48", Scope::All, BootTime::NEVER),
        ban("::ffff:0:0/96", Scope::Sip, until(3_600)),
        of_port("203.0.113.201", 5060),
        of_port("2001:db8::1", 5070),
    ];
    // The first one dies half way.
    for dies in [true, false] {
        net.open();
        let notes = net.shield(|shield| {
            let tap = Tap::open(&["wan".to_owned()], &ports).unwrap();
            shield.set_policy(&policy()).unwrap();
            shield.ban_all(&bans).unwrap();
            let lifted = ban("198.51.100.0/24", Scope::All, until(3_600));
            shield.ban(&lifted).unwrap();
            assert_eq!(shield.unban(&lifted.target, Scope::All).unwrap(), 0);
            let end = shield.ban_end(&bans[0].target, Scope::All).unwrap();
            assert_eq!(end, Some(bans[0].until));
            assert_eq!(shield.bans().unwrap().len(), bans.len());
            for allowed in ["203.0.113.7/32", "2001:db8::/64"] {
                shield.allow(allowed.parse().unwrap()).unwrap();
            }
            for trusted in ["198.51.100.7", "2001:db8:51::10"] {
                shield.trust(trusted.parse().unwrap()).unwrap();
            }
            drop(tap);
            (!dies).then(|| shield.attach().unwrap())
        });
        net.kill();
        let Some(notes) = notes else {
            assert_eq!(net.pbx.run("nft list ruleset").unwrap(), before);
            assert!(!net.reaches("203.0.113.7"));
            continue;
        };
        assert!(notes[0].contains("has taken its place"), "{notes:?}");
    }
    assert!(net.reaches("203.0.113.7"));
    assert!(!net.reaches("203.0.113.8"));
    assert!(!net.reaches("203.0.113.200"));
    assert!(!net.reaches("203.0.113.201"));

    net.open();
    net.shield(|shield| {
        let mut held = shield.bans().unwrap();
        assert_eq!(held.len(), bans.len());
        for ban in &bans {
            let at = held.iter().position(|held| held.ban.target == ban.target);
            let held = held.swap_remove(at.unwrap()).ban;
            assert_eq!(held.scope, ban.scope);
            let late = held.until.0.abs_diff(ban.until.0);
            assert!(late < 2_000_000_000, "{held:?} {ban:?}");
        }
        let allowed = shield.allowed().unwrap();
        assert_eq!(allowed, ["203.0.113.7/32", "2001:db8::/64"].map(prefix));
        let trusted = shield.trusted().unwrap();
        assert_eq!(trusted, ["198.51.100.7", "2001:db8:51::"].map(address));
        shield.detach().unwrap();
    });
    assert_eq!(net.pbx.run("nft list ruleset").unwrap(), "");
}

#[test]
fn what_another_layout_has_left_is_removed_where_xdp_takes_over() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    net.kill();
    net.nft(OTHER_LAYOUT);
    assert!(net.pbx.enter(remove_leftovers).unwrap());
    assert_eq!(net.pbx.run("nft list ruleset").unwrap(), "");
}

fn of_port(address: &str, port: u16) -> Ban {
    let whole = ban(address, Scope::Sip, until(600));
    let target = Target {
        port: Some(port),
        ..whole.target
    };
    Ban { target, ..whole }
}

fn prefix(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_flushed_ruleset_is_missed_and_made_again_with_all_that_was_in_it() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    net.shield(|shield| {
        shield
            .ban(&ban("203.0.113.0/25", Scope::All, until(3_600)))
            .unwrap();
        shield
            .ban(&ban("203.0.113.200", Scope::Sip, BootTime::NEVER))
            .unwrap();
        shield.allow("203.0.113.7/32".parse().unwrap()).unwrap();
        shield.trust("198.51.100.7".parse().unwrap()).unwrap();
        assert_eq!(
            shield.reattach(&mut |_, _| Ok(())).unwrap(),
            Vec::<String>::new()
        );
    });
    for damage in [
        "nft flush ruleset",
        "nft flush chain inet sipward look-banned-all4",
    ] {
        net.pbx.run(damage).unwrap();
        assert!(net.reaches("203.0.113.8"), "{damage}");
        net.shield(|shield| {
            assert!(!shield.interfaces().unwrap()[0].attached);
            assert_eq!(shield.reattach(&mut |_, _| Ok(())).unwrap().len(), 1);
            assert!(shield.interfaces().unwrap()[0].attached);
            assert_eq!(shield.bans().unwrap().len(), 2);
        });
        assert!(!net.reaches("203.0.113.8"));
        assert!(!net.reaches("203.0.113.200"));
        assert!(net.reaches("203.0.113.7"));
    }
    assert!(
        net.pbx
            .run("nft list set inet sipward trusted4")
            .unwrap()
            .contains("198.51.100.7")
    );
}

/// The kernel enlarges a set's table behind what fills it, and reads out in two orders meanwhile.
#[test]
fn no_ban_is_left_out_while_the_kernel_enlarges_the_set() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    net.shield(|shield| {
        let mut count = 0;
        // From 64 places on, twice as many whenever three quarters are taken.
        for places in (8..18).map(|power| 1_u32 << power) {
            let taken = places / 4 * 3 + 1;
            let more: Vec<Ban> = (count..taken)
                .map(|number| {
                    let address = std::net::Ipv4Addr::from(0x0b00_0000 + number * 7);
                    ban(&address.to_string(), Scope::Sip, until(3_600))
                })
                .collect();
            shield.ban_all(&more).unwrap();
            count = taken;
            for _ in 0..3 {
                assert_eq!(shield.bans().unwrap().len(), count as usize);
            }
        }
    });
}

#[test]
fn a_hundred_thousand_bans_are_set_read_and_looked_up_within_seconds() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    let all: Vec<Ban> = (0..100_000_u32)
        .map(|number| {
            let address = std::net::Ipv4Addr::from(0x0b00_0000 + number * 7);
            ban(&address.to_string(), Scope::Sip, until(3_600))
        })
        .collect();
    let mut times = Vec::new();
    net.shield(|shield| {
        let mut timed = |name: &'static str, work: &mut dyn FnMut()| {
            let (began, worked) = (Instant::now(), cpu_time());
            work();
            times.push((name, cpu_time() - worked, began.elapsed()));
        };
        timed("100,000 bans in one go", &mut || {
            shield.ban_all(&all).unwrap()
        });
        timed("one more ban", &mut || {
            shield
                .ban(&ban("203.0.113.7", Scope::All, until(60)))
                .unwrap();
        });
        timed("a ban of another length", &mut || {
            shield
                .ban(&ban("203.0.113.0/25", Scope::All, until(60)))
                .unwrap();
        });
        timed("reading all bans", &mut || {
            assert_eq!(shield.bans().unwrap().len(), 100_002)
        });
        timed("looking 5,000 up", &mut || {
            for ban in &all[..5_000] {
                assert!(shield.ban_end(&ban.target, Scope::Sip).unwrap().is_some());
            }
        });
        timed("another policy", &mut || {
            shield.set_policy(&policy()).unwrap()
        });
        timed("lifting one", &mut || {
            shield.unban(&all[5].target, Scope::Sip).unwrap();
        });
        timed("are the rules there?", &mut || {
            assert!(shield.interfaces().unwrap()[0].attached);
        });
    });
    net.kill();
    let (worked, began) = net.pbx.enter(|| {
        let (began, worked) = (Instant::now(), cpu_time());
        Nftables::open(&["wan".to_owned()]).unwrap();
        (cpu_time() - worked, began.elapsed())
    });
    times.push(("taking the table over", worked, began));
    for (name, worked, took) in times {
        println!("{name}: {took:.1?}, of which {worked:.1?} at work");
        // Two seconds on an idle machine; other tests share its caches, and this is a debug build.
        assert!(worked < Duration::from_secs(10), "{name}: {worked:?}");
    }
}

/// What this thread has worked so far, in the kernel, too.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}
