//! What lists of others may ban, and what not.

use std::time::Duration;

use super::{Bench, ban, bans, net};
use crate::{
    clock,
    control::api::{AllowRequest, FeedRequest, UnbanRequest},
    daemon::Guard,
    ledger::{Ended, Entry},
};

fn list(name: &str, prefixes: &[&str]) -> FeedRequest {
    FeedRequest {
        name: name.to_owned(),
        prefixes: prefixes.iter().map(|prefix| net(prefix)).collect(),
        seconds: 3 * 86_400,
        signatures: false,
    }
}

fn unban(prefix: &str) -> UnbanRequest {
    UnbanRequest::Prefixes(vec![net(prefix)])
}

fn banned(guard: &Guard) -> Vec<String> {
    let bans = bans(guard).into_iter();
    bans.map(|ban| ban.prefix.to_string()).collect()
}

#[test]
fn a_list_bans_nobody_whom_we_know_and_undoes_nothing() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    guard.ban(&ban("203.0.113.9/32")).unwrap();
    let own: AllowRequest = serde_json::from_value(serde_json::json!({
        "prefixes": ["192.0.2.0/24"], "names": [],
    }))
    .unwrap();
    guard.allow(&own, Vec::new()).unwrap();
    let listed = [
        "0.0.0.0/0",
        "::/0",
        "192.0.2.7/32",
        "127.0.0.1/32",
        "203.0.113.9/32",
        "198.51.100.7/32",
    ];
    let reply = guard.take_feed(&list("apiban", &listed)).unwrap();
    assert_eq!((reply.banned, reply.spared), (1, 4));
    let bans = bans(&guard);
    let shown: Vec<(String, &str, bool)> = bans
        .iter()
        .map(|ban| {
            (
                ban.prefix.to_string(),
                ban.origin.as_str(),
                ban.until.is_none(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("198.51.100.7/32".to_owned(), "feed", false),
            ("203.0.113.9/32".to_owned(), "manual", true)
        ]
    );
    assert_eq!(bans[0].reason, "on the list apiban");
}

#[test]
fn what_was_lifted_by_hand_no_list_bans_again_while_it_names_it() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let both = list("apiban", &["198.51.100.7/32", "198.51.100.8/32"]);
    guard.take_feed(&both).unwrap();
    let reply = guard.unban(&unban("198.51.100.7/32")).unwrap();
    assert_eq!(reply.spared, [net("198.51.100.7/32")]);

    let again = guard.take_feed(&both).unwrap();
    assert_eq!((again.banned, again.spared), (1, 1));
    assert_eq!(banned(&guard), ["198.51.100.8/32"]);
    drop(guard);
    let mut guard = bench.guard();
    guard.take_feed(&both).unwrap();
    assert_eq!(banned(&guard), ["198.51.100.8/32"]);
    let until = bench.ledger().spared().unwrap()[&net("198.51.100.7/32")];
    let left = until.since(clock::now()).as_secs();
    assert!(left > 2 * 86_400, "as long as the list bans: {left}");

    // By hand it can be banned, and then it is no longer spared.
    guard.ban(&ban("198.51.100.7/32")).unwrap();
    assert!(bench.ledger().spared().unwrap().is_empty());
}

#[test]
fn a_hole_in_a_range_of_a_list_stays_one() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let range = list("apiban", &["198.51.100.0/30"]);
    guard.take_feed(&range).unwrap();
    guard.unban(&unban("198.51.100.1/32")).unwrap();
    let around = ["198.51.100.0/32", "198.51.100.2/31"];
    assert_eq!(banned(&guard), around);
    guard.take_feed(&range).unwrap();
    assert_eq!(banned(&guard), around);
    assert_eq!(bench.enforced(), around.map(net));

    // As large as the range, or larger.
    let reply = guard.unban(&unban("198.51.100.0/24")).unwrap();
    assert_eq!(reply.spared, [net("198.51.100.0/24")]);
    guard.take_feed(&range).unwrap();
    assert!(banned(&guard).is_empty());
}

#[test]
fn what_no_list_had_banned_is_not_told_of_lists() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    guard.ban(&ban("203.0.113.7/32")).unwrap();
    let reply = guard.unban(&unban("203.0.113.7/32")).unwrap();
    assert!(reply.spared.is_empty());
    assert!(
        guard
            .unban(&unban("203.0.113.8/32"))
            .unwrap()
            .spared
            .is_empty()
    );
    // But a list that has it does not ban it at its next fetch.
    let both = list("apiban", &["203.0.113.7/32", "203.0.113.8/32"]);
    guard.take_feed(&both).unwrap();
    assert_eq!(banned(&guard), ["203.0.113.8/32"]);
    assert_eq!(guard.unban(&UnbanRequest::All).unwrap().listed, 1);
}

#[test]
fn lists_together_ban_a_small_part_of_the_internet_only() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let eights = ["1.0.0.0/8", "2.0.0.0/8", "3.0.0.0/8", "4.0.0.0/8"];
    guard.take_feed(&list("one", &eights)).unwrap();
    guard.take_feed(&list("two", &eights)).unwrap();
    let refused = guard.take_feed(&list("two", &["5.0.0.7/32"])).unwrap_err();
    let says =
        "67108865 IPv4 addresses to be banned with those of other lists: lists may ban a 64th";
    assert!(refused.text.contains(says), "{}", refused.text);
    assert_eq!(banned(&guard), eights);
    // Nobody else's bans count.
    guard.unban(&UnbanRequest::All).unwrap();
    guard.ban(&ban("5.0.0.0/8")).unwrap();
    guard.take_feed(&list("one", &eights)).unwrap();
    // The next daemon knows what is banned.
    drop(guard);
    let mut guard = bench.guard();
    guard.take_feed(&list("two", &["6.0.0.7/32"])).unwrap_err();
}

#[test]
fn a_list_that_is_confirmed_makes_its_bans_longer_and_no_history() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let mut list = list("apiban", &["198.51.100.7/32"]);
    guard.take_feed(&list).unwrap();
    let first = bans(&guard).remove(0);
    list.seconds += 60;
    let again = guard.take_feed(&list).unwrap();
    assert_eq!(again.banned, 1);
    let second = bans(&guard).remove(0);
    assert_eq!(second.since, first.since);
    assert!(second.until > first.until);
    let history = |limit| bench.ledger().history(clock::now(), limit).unwrap();
    assert_eq!(history(10), []);
    let written = bench.ledger().bans(clock::now()).unwrap().remove(0);
    assert_eq!(written.until.map(clock::timestamp), second.until);

    guard.unban(&unban("198.51.100.7/32")).unwrap();
    assert_eq!(history(10).remove(0).by, Ended::Lifted);
}

/// When the clock is set, the times of this boot are set with it.
#[test]
fn a_ban_of_a_list_from_before_this_boot_begins_anew() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let list = list("apiban", &["198.51.100.7/32"]);
    guard.take_feed(&list).unwrap();
    drop(guard);
    let mut before = bench.ledger().bans(clock::now()).unwrap().remove(0);
    let years = Duration::from_secs(10 * 365 * 86_400);
    let first = before.since;
    before.since = first - years;
    bench.ledger().write(&[Entry::Ban(before)]).unwrap();

    let mut guard = bench.guard();
    guard.take_feed(&list).unwrap();
    let written = bench.ledger().bans(clock::now()).unwrap();
    assert_eq!(written.len(), 1);
    assert!(written[0].since > first, "{written:?}");
}
