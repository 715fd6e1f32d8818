//! Who connects by SSH while somebody behind his address attacks. The connections are the kernel's.

use super::*;
use crate::daemon::ssh_sessions::{JITTER, KEPT, Session};
use sipward_engine::{Ban, Origin, Protection, Scope as BanOf};
use test_case::test_case;

fn decided(prefix: IpNet) -> Ban {
    let now = clock::now();
    Ban {
        prefix,
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
    }
}

/// What a detector would decide of the machine's own address, which no detector bans.
fn decide(guard: &mut Guard, prefix: &str) {
    let (ban, now) = (decided(net(prefix)), clock::now());
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

    guard.ssh_sessions.looked = Instant::now().checked_sub(Duration::from_secs(2));
    decide(&mut guard, prefix);
    assert_eq!(scopes(&bench), [(net(prefix), Scope::Sip)]);
    assert_eq!(bench.written(), bench.enforced());
    let [ban] = &bans(&guard)[..] else {
        panic!("one ban");
    };
    assert!(ban.reason.contains("has just connected"), "{ban:?}");

    // Another one goes by the same look.
    let looked = Some(Instant::now() + Duration::from_secs(60));
    guard.ssh_sessions.looked = looked;
    decide(&mut guard, "127.0.1.0/24");
    assert_eq!(guard.ssh_sessions.looked, looked);
    // And one for which the machine was looked at hits nobody who is connected.
    guard.ssh_sessions.looked = None;
    decide(&mut guard, "127.0.2.0/24");
    let others = [net("127.0.1.0/24"), net("127.0.2.0/24")].map(|other| (other, Scope::All));
    let mine = (net(prefix), Scope::Sip);
    assert_eq!(scopes(&bench), [mine, others[0], others[1]]);
}

#[test]
fn who_is_logged_in_is_never_banned_and_who_has_just_connected_keeps_his_ssh() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let [admin, young] =
        [("198.51.100.7", 1), ("203.0.113.7", 2)].map(|(remote, socket)| Session {
            remote: remote.parse().unwrap(),
            socket,
        });
    let grace = guard.config().limits.ssh.login_grace.duration();
    let began = Instant::now();
    guard.spare_ssh_sessions(&[admin], began);
    assert!(bench.shield.state().free_of_ssh_limit.is_empty());
    let before = BootTime::now();
    guard.spare_ssh_sessions(&[admin, young], began + grace + Duration::from_secs(6));
    let after = BootTime::now();

    let freed = bench.shield.state().free_of_ssh_limit.clone();
    let [(sources, until)] = &freed[..] else {
        panic!("{freed:?}");
    };
    assert_eq!(*sources, [admin.remote]);
    let lasts = u64::try_from((grace + JITTER + KEPT).as_nanos()).unwrap();
    assert!((before.0 + lasts..=after.0 + lasts).contains(&until.0));

    let now = clock::now();
    let refused = guard
        .engine
        .impose(decided(admin.remote.into()), false, now);
    assert_eq!(refused.unwrap_err().protection, Protection::SshSession);
    let other = "203.0.113.8".parse().unwrap();
    for source in [young.remote, other] {
        assert_eq!(
            guard.engine.impose(decided(source.into()), false, now),
            Ok(true)
        );
    }
    guard.carry_out();
    assert_eq!(
        scopes(&bench),
        [
            (young.remote.into(), Scope::Sip),
            (other.into(), Scope::All)
        ]
    );
}
