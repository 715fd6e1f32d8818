//! What bans have dropped, as the ledger has it.

use sipward_shield::EnforcedBan;
use tokio::sync::mpsc;

use super::*;
use crate::{control::server::MOST_WAITING, daemon::drops};

/// What a wider ban has dropped, or the one before.
const OTHER: u64 = 500;

fn lapsing(prefixes: Vec<IpNet>) -> BanRequest {
    BanRequest {
        prefixes,
        seconds: Some(600),
        ..ban("203.0.113.7/32")
    }
}

/// What each ban has dropped that is over once those have lapsed, the latest first.
fn dropped(bench: &Bench) -> Vec<u64> {
    let later = clock::now() + Duration::from_secs(601);
    let history = bench.ledger().history(later, 10_000).unwrap();
    history.iter().map(|past| past.dropped).collect()
}

/// What lapses with the daemon dead is counted as it was at the last look.
#[tokio::test]
async fn what_bans_dropped_is_noted_some_at_a_time() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    guard.ban(&lapsing(addresses(2_001))).unwrap();
    let (sender, mut tasks) = mpsc::channel(MOST_WAITING);
    let noting = drops::note(guard.read_bans().unwrap(), sender);
    let mut turns = 0;
    let served = async {
        while let Some(task) = tasks.recv().await {
            task(&mut guard);
            turns += 1;
        }
    };
    tokio::join!(noting, served);
    assert_eq!(turns, 3);
    assert_eq!(dropped(&bench), vec![DROPPED; 2_001]);
}

#[test]
fn a_count_that_was_read_before_a_ban_began_is_not_of_it() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let request = lapsing(vec![net("203.0.113.7/32")]);
    guard.ban(&request).unwrap();
    let at = clock::now();
    let read: Vec<EnforcedBan> = guard.read_bans().unwrap()()
        .unwrap()
        .into_iter()
        .map(|held| EnforcedBan {
            dropped_packets: OTHER,
            ..held
        })
        .collect();
    guard.unban(&UnbanRequest::All).unwrap();
    guard.note_drops(&read, at);
    guard.write_ledger();
    // In its place the kernel may have found a wider one.
    assert_eq!(dropped(&bench), [DROPPED]);
    guard.ban(&request).unwrap();
    guard.note_drops(&read, at);
    guard.write_ledger();
    assert_eq!(dropped(&bench), [0, DROPPED]);
    guard.note_drops(&read, clock::now());
    guard.write_ledger();
    assert_eq!(dropped(&bench), [OTHER, DROPPED]);
}
