//! Bans are read in another thread, while others come, go and lapse: those that are there all the time
//! are in each read.

use std::{collections::BTreeSet, net::Ipv4Addr, thread};

use sipward_shield::{Ban, BootTime, ReadBans, Scope, Shield as _, Target, nftables::Nftables};

use crate::net::{Net, ban, until};

/// More than the kernel tells in one go.
const LASTING: u32 = 6_000;
const READS: u32 = 8;

/// Bans of addresses from this one on.
fn bans(first: Ipv4Addr, count: u32, until: impl Fn(u32) -> BootTime) -> Vec<Ban> {
    let address = |number: u32| Ipv4Addr::from(u32::from(first) + number * 7).to_string();
    let one = |number: u32| ban(&address(number), Scope::Sip, until(number));
    (0..count).map(one).collect()
}

fn lasting(shield: &mut Nftables) -> BTreeSet<Target> {
    let end = until(3_600);
    let lasting = bans([11, 0, 0, 0].into(), LASTING, |_| end);
    shield.ban_all(&lasting).unwrap();
    lasting.iter().map(|ban| ban.target).collect()
}

/// Of these, what is not in a read.
fn missing(read: ReadBans, lasting: &BTreeSet<Target>) -> Vec<Target> {
    let read = read().unwrap();
    let read: BTreeSet<Target> = read.iter().map(|read| read.ban.target).collect();
    lasting.difference(&read).copied().collect()
}

#[test]
fn no_ban_is_left_out_while_others_come_and_go() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    net.shield(|shield| {
        let lasting = lasting(shield);
        let mut changes = 0;
        for number in 0..READS {
            let read = shield.read_bans().unwrap();
            thread::scope(|scope| {
                let reader = scope.spawn(|| missing(read, &lasting));
                while !reader.is_finished() {
                    let first = Ipv4Addr::new(12, 0, 0, 0);
                    let others = bans(first, 40, |_| until(600));
                    shield.ban_all(&others).unwrap();
                    for other in others {
                        shield.unban(&other.target, other.scope).unwrap();
                    }
                    changes += 41;
                }
                let missing = reader.join().unwrap();
                assert_eq!(missing, [], "read {number}, after {changes} changes");
            });
        }
    });
}

/// The kernel takes lapsed ones away once a second, and tells nobody who is just reading.
#[test]
fn no_ban_is_left_out_while_others_lapse() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    net.shield(|shield| {
        let lasting = lasting(shield);
        let begin = until(1);
        let end = |number: u32| BootTime(begin.0 + u64::from(number) * 5_000_000);
        let lapsing = bans([12, 0, 0, 0].into(), 800, end);
        shield.ban_all(&lapsing).unwrap();
        let last = end(800).0 + 2_000_000_000;
        let mut reads = 0;
        while BootTime::now().0 < last {
            let read = shield.read_bans().unwrap();
            assert_eq!(missing(read, &lasting), [], "read {reads}");
            reads += 1;
        }
        assert_eq!(shield.bans().unwrap().len(), lasting.len());
    });
}
