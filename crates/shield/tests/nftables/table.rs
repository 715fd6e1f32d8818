//! What outlives the daemon, what is made again, how large it may be, and that nobody else's table
//! is touched.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::time::{ClockId, clock_gettime};
use sipward_shield::{Ban, BootTime, Error, Scope, Shield as _, nftables::Nftables};

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
        assert_eq!(
            shield.allowed().unwrap(),
            ["203.0.113.7/32".parse::<IpNet>().unwrap()]
        );
        assert_eq!(
            shield.trusted().unwrap(),
            ["198.51.100.7".parse::<std::net::IpAddr>().unwrap()]
        );
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
        assert_eq!(shield.reattach().unwrap(), Vec::<String>::new());
    });
    for damage in [
        "nft flush ruleset",
        "nft flush chain inet sipward look-banned-all4",
    ] {
        net.pbx.run(damage).unwrap();
        assert!(net.reaches("203.0.113.8"), "{damage}");
        net.shield(|shield| {
            assert!(!shield.interfaces().unwrap()[0].attached);
            assert_eq!(shield.reattach().unwrap().len(), 1);
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
        // A second on an idle machine; other tests share its caches, and this is a debug build.
        assert!(worked < Duration::from_secs(5), "{name}: {worked:?}");
    }
}

/// What this thread has worked so far, in the kernel, too.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}
