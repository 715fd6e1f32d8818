//! Names on the allowlist.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use rusqlite::Connection;

use super::{Bench, ban, bans, net};
use crate::{
    config::Config,
    control::api::{AllowRequest, Resolved},
    daemon::{Guard, names},
    exit::Exit,
    ledger::FILE_NAME,
};

const NAME: &str = "sip.example.org";

fn named(addresses: &[&str]) -> Vec<Resolved> {
    vec![Resolved {
        name: NAME.to_owned(),
        addresses: addresses
            .iter()
            .map(|text| text.parse::<IpAddr>().unwrap())
            .collect(),
    }]
}

fn allow(guard: &mut Guard, addresses: &[&str]) {
    let request = AllowRequest {
        names: vec![NAME.to_owned()],
        ..AllowRequest::default()
    };
    guard.allow(&request, named(addresses)).unwrap();
}

/// The allowlist of the kernel.
fn enforced(bench: &Bench) -> Vec<IpNet> {
    bench.shield.state().allowed.iter().copied().collect()
}

fn prefixes(request: &[&str]) -> AllowRequest {
    AllowRequest {
        prefixes: request.iter().map(|text| net(text)).collect(),
        ..AllowRequest::default()
    }
}

#[test]
fn a_name_allows_its_addresses_and_ends_their_bans() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    guard.ban(&ban("192.0.2.7/32")).unwrap();
    allow(&mut guard, &["192.0.2.7", "2001:db8::7"]);
    assert_eq!(
        enforced(&bench),
        [net("192.0.2.7/32"), net("2001:db8::7/128")]
    );
    assert_eq!(bans(&guard), []);
    let refused = guard.ban(&ban("192.0.2.7/32")).unwrap_err();
    assert!(refused.text.contains("on the allowlist"), "{refused}");
    let allowed = guard.allowed().unwrap();
    assert_eq!(allowed.len(), 2);
    assert!(
        allowed
            .iter()
            .all(|allowed| allowed.name.as_deref() == Some(NAME))
    );
}

#[test]
fn a_name_that_moves_on_keeps_its_addresses_for_a_day_and_a_restart_knows_them() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    allow(&mut guard, &["192.0.2.7", "192.0.2.8"]);
    let since = guard.allowed().unwrap()[0].since;
    guard.names_are(named(&["192.0.2.8", "192.0.2.9"])).unwrap();
    let all = ["192.0.2.7/32", "192.0.2.8/32", "192.0.2.9/32"].map(net);
    assert_eq!(enforced(&bench), all);
    for seen in guard.named.values_mut() {
        *seen = *seen - Duration::from_secs(86_400);
    }
    guard.names_are(named(&["192.0.2.9", "192.0.2.8"])).unwrap();
    let moved = [net("192.0.2.8/32"), net("192.0.2.9/32")];
    assert_eq!(enforced(&bench), moved);
    assert_eq!(guard.allowed().unwrap()[1].since, since);
    guard.ban(&ban("192.0.2.7/32")).unwrap();

    drop(guard);
    *bench.shield.state() = crate::daemon::double::State::default();
    let guard = bench.guard();
    assert_eq!(enforced(&bench), moved);
    assert_eq!(guard.names().unwrap(), [NAME]);
}

/// A look-up that failed is not among what was found.
/// On a full disk a name that was allowed by hand keeps what it had, and no other suffers by that.
#[test]
fn a_name_of_the_configuration_is_followed_though_the_ledger_cannot_be_written() {
    let bench = Bench::new();
    let mut config = Config::default();
    config.allow.addresses = vec!["home.example".parse().unwrap()];
    let mut guard = bench.guard_with(config);
    allow(&mut guard, &["192.0.2.7"]);
    let full = "create trigger full before insert on allowed_name
                begin select raise(abort, 'disk full'); end";
    let ledger = Connection::open(bench.folder.path().join(FILE_NAME)).unwrap();
    ledger.execute_batch(full).unwrap();
    let mut found = named(&["192.0.2.8"]);
    found.push(Resolved {
        name: "home.example".to_owned(),
        addresses: vec!["203.0.113.9".parse().unwrap()],
    });
    guard.names_are(found).unwrap_err();
    assert_eq!(
        enforced(&bench),
        [net("192.0.2.7/32"), net("203.0.113.9/32")]
    );
}

#[test]
fn a_name_that_cannot_be_looked_up_keeps_its_addresses() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    allow(&mut guard, &["192.0.2.7"]);
    guard.names_are(Vec::new()).unwrap();
    assert_eq!(enforced(&bench), [net("192.0.2.7/32")]);
}

#[test]
fn a_name_that_is_disallowed_goes_with_its_addresses_but_for_those_allowed_otherwise() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    allow(&mut guard, &["192.0.2.7", "192.0.2.8"]);
    let reply = guard
        .allow(&prefixes(&["192.0.2.8/32"]), Vec::new())
        .unwrap();
    assert_eq!(reply.allowed, [net("192.0.2.8/32")], "by itself, too");
    let reply = guard.disallow(&prefixes(&["192.0.2.7/32"])).unwrap();
    assert_eq!(
        reply.refused,
        ["192.0.2.7 is allowed as sip.example.org: disallow that"]
    );

    let disallow = AllowRequest {
        names: [NAME, "other.example"].map(str::to_owned).into(),
        ..AllowRequest::default()
    };
    let reply = guard.disallow(&disallow).unwrap();
    assert_eq!(reply.names, [NAME]);
    assert_eq!(reply.refused, ["other.example is not on the allowlist"]);
    assert_eq!(enforced(&bench), [net("192.0.2.8/32")]);
    // It was being looked up meanwhile.
    guard.names_are(named(&["192.0.2.7"])).unwrap();
    assert_eq!(enforced(&bench), [net("192.0.2.8/32")]);
}

#[tokio::test]
async fn names_are_looked_up_as_the_machine_does_and_what_is_none_is_refused() {
    let found = names::look_up_all(&["localhost".to_owned()]).await.unwrap();
    let addresses = &found[0].addresses;
    assert!(
        !addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback),
        "{found:?}"
    );
    for name in ["no such name", "-x", "nothing.invalid"] {
        let error = names::look_up_all(&[name.to_owned()]).await.unwrap_err();
        assert_eq!(error.exit, Exit::Input);
        assert!(error.text.contains(name), "{error}");
    }
}
