//! Who connects by SSH while somebody behind his address attacks. The connections are the kernel's.

use super::*;
use sipward_engine::{Ban, Origin, Scope as BanOf};
use test_case::test_case;

/// What a detector would decide of the machine's own address, which no detector bans.
fn decide(guard: &mut Guard, prefix: &str) {
    let now = clock::now();
    let ban = Ban {
        prefix: net(prefix),
        port: None,
        scope: BanOf::All,
        since: now,
        until: Some(now + Duration::from_secs(600)),
        detector: None,
        reason: "for the test".to_owned(),
        proven: true,
        signature: None,
        account: None,
        origin: Origin::Local,
    };
    assert_eq!(guard.engine.impose(ban, true, now), Ok(true));
    turn(guard);
}

fn scopes(bench: &Bench) -> Vec<(IpNet, Scope)> {
    let state = bench.shield.state();
    let bans = state.bans.keys();
    bans.map(|(target, scope)| (target.prefix, *scope))
        .collect()
}

#[test_case("127.0.0.1/32"; "his address")]
#[test_case("127.0.0.0/24"; "the prefix around it")]
fn who_has_connected_by_ssh_since_the_last_look_keeps_it_when_he_is_banned(prefix: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = Config::default();
    config.limits.ssh.ports = vec![address.port()];
    let bench = Bench::new();
    let mut guard = bench.guard_with(config);
    let _admin = TcpStream::connect(address).unwrap();
    let _accepted = listener.accept().unwrap();

    guard.looked = Instant::now().checked_sub(Duration::from_secs(2));
    decide(&mut guard, prefix);
    assert_eq!(scopes(&bench), [(net(prefix), Scope::Sip)]);
    assert_eq!(bench.written(), bench.enforced());
    let [ban] = &bans(&guard)[..] else {
        panic!("one ban");
    };
    assert!(ban.reason.contains("has just connected"), "{ban:?}");

    // Another one goes by the same look.
    let looked = Some(Instant::now() + Duration::from_secs(60));
    guard.looked = looked;
    decide(&mut guard, "127.0.1.0/24");
    assert_eq!(guard.looked, looked);
    // And one for which the machine was looked at hits nobody who is connected.
    guard.looked = None;
    decide(&mut guard, "127.0.2.0/24");
    let others = [net("127.0.1.0/24"), net("127.0.2.0/24")].map(|other| (other, Scope::All));
    let mine = (net(prefix), Scope::Sip);
    assert_eq!(scopes(&bench), [mine, others[0], others[1]]);
}
