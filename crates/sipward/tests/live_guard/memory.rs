//! The kernel kills the daemon for want of memory, while it is given orders.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use sipward_testkit::{
    cgroup::MemoryGroup,
    count::PacketCounter,
    crossfire::signature_file,
    flood::{SCANNER, Trickle},
    lab::{ATTACKER, Lab},
    process::wait_until,
    require::{Need, require, skip},
};
use tempfile::TempDir;

use crate::{
    guard,
    kills::{Acknowledged, CLIENTS, PATIENCE, Random, check, order},
};

/// Enough for its orders: all that they need it has by then. Far from enough for so many signatures.
const MEMORY: u64 = 4 << 20;
const SIGNATURES: usize = 2_000;
const ORDERS: u64 = 100;

#[test]
fn killed_for_want_of_memory_it_goes_on_banning_and_forgets_no_order() {
    if !require(&[Need::Root, Need::Program("iptables")]) {
        return;
    }
    let memory = match MemoryGroup::new(MEMORY) {
        Ok(memory) => memory,
        Err(error) => return skip(&format!("no memory cgroup: {error:#}")),
    };
    let folder = TempDir::new().unwrap();
    let signatures = folder.path().join("many.toml");
    fs::write(&signatures, signature_file("many", SIGNATURES)).unwrap();
    let many = format!(
        "[signatures]\nfiles = [{:?}]\n",
        signatures.display().to_string()
    );

    let lab = Lab::new().unwrap();
    let mut guard = guard(&lab.pbx);
    let ban = guard.ask(&["ban", ATTACKER, "--for", "2h"]).unwrap();
    assert!(ban.status.success(), "{}", ban.stderr);
    let counters =
        [ATTACKER, SCANNER].map(|source| PacketCounter::new(&lab.pbx, source, 5060).unwrap());
    let passed = || {
        let packets = |counter: &PacketCounter<'_>| counter.packets().unwrap();
        counters.each_ref().map(packets)
    };
    let flood = Trickle::start(&lab).unwrap();

    let (socket, answers) = (guard.socket(), AtomicU64::new(0));
    let mut acknowledged = thread::scope(|scope| {
        let ordering: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (socket, answers) = (&socket, &answers);
                scope.spawn(move || {
                    let mut own = Acknowledged::new();
                    order(socket, client, &mut Random(client + 1), &mut own, answers);
                    own
                })
            })
            .collect();
        let are_many = || answers.load(Ordering::Relaxed) > ORDERS;
        let asked = wait_until("orders", PATIENCE, are_many)
            .and_then(|()| memory.take(guard.pid().unwrap()))
            .map(|()| guard.reload(&many));
        if memory.kills().unwrap() == 0 {
            // The clients go on for as long as it lives.
            guard.kill();
        }
        let reloaded = asked.unwrap();
        assert!(reloaded.is_err(), "there was memory for the reload");
        let orders = ordering.into_iter().map(|client| client.join().unwrap());
        orders.flatten().collect::<Acknowledged>()
    });
    let ended = guard.wait().unwrap();
    assert_eq!(ended.status.signal(), Some(9), "{}", ended.stderr);
    assert_eq!(memory.kills().unwrap(), 1);
    let banned = acknowledged.values().filter(|banned| **banned).count();
    println!("killed by the kernel with {banned} bans acknowledged one by one");
    assert!(banned > 30);

    // Nobody there, and nobody through.
    flood.go_on(200).unwrap();
    assert_eq!(passed(), [0, 0]);
    acknowledged.insert(format!("{ATTACKER}/32").parse().unwrap(), true);
    guard.run().unwrap();
    check(&guard, &mut acknowledged, 1);
    flood.go_on(200).unwrap();
    assert_eq!(passed(), [0, 0]);
}
