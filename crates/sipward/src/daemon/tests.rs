//! The guard over a shield in memory: what the kernel, the ledger and the engine are each told.

mod allowlist;
mod drops;
mod figures;
mod lists;
mod peers;
mod reconcile;
mod ssh;
mod stories;
mod unwritten;
mod watch;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    sync::mpsc,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use sipward_engine::{Command, Hold, LogTransport, Time, Trusted, TrustedBy};
use sipward_shield::{BootTime, Event, Mode, Reason, Scope, SignatureHit, Target, Verdict};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{
    Guard,
    double::{DROPPED, Double},
};
use crate::{
    clock::{self, Clocks},
    config::{BanScope, Config},
    control::api::{
        AllowRequest, BanRequest, BanView, EnforcementState, ImportRequest, UnbanRequest, WhyView,
    },
    exit::Failure,
    ledger::{Ended, Entry, Ledger},
    signatures,
};

pub(crate) struct Bench {
    pub(super) folder: TempDir,
    pub(super) shield: Double,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            shield: Double::default(),
        }
    }

    fn ledger(&self) -> Ledger {
        Ledger::open(self.folder.path()).unwrap()
    }

    pub(crate) fn guard(&self) -> Guard {
        self.guard_with(Config::default())
    }

    pub(super) fn guard_with(&self, config: Config) -> Guard {
        Guard::new(config, Box::new(self.shield.clone()), self.ledger()).unwrap()
    }

    /// Holds the next reading of all bans up: tells that it has begun, and is told when to go on.
    pub(crate) fn hold_reading_up(&self) -> (oneshot::Receiver<()>, mpsc::Sender<()>) {
        let (begin, begun) = oneshot::channel();
        let (go_on, told) = mpsc::channel();
        self.shield.state().before_reading = Some(Box::new(move || {
            // A test that is over waits for nothing.
            let _ = begin.send(());
            let _ = told.recv();
        }));
        (begun, go_on)
    }

    /// The banned prefixes of the kernel.
    pub(super) fn enforced(&self) -> Vec<IpNet> {
        self.shield
            .state()
            .bans
            .keys()
            .map(|(target, _)| target.prefix)
            .collect()
    }

    /// The banned prefixes of the ledger.
    pub(super) fn written(&self) -> Vec<IpNet> {
        self.ledger()
            .bans(clock::now())
            .unwrap()
            .into_iter()
            .map(|ban| ban.prefix)
            .collect()
    }
}

/// The bans in force, as they are listed.
pub(super) fn bans(guard: &Guard) -> Vec<BanView> {
    let mut list = guard.list_bans().unwrap().read().unwrap();
    let mut bans = Vec::new();
    loop {
        let next = list.views(guard.bans_behind(list.last()));
        if next.is_empty() {
            return bans;
        }
        bans.extend(next);
    }
}

/// What is told of an address.
fn why_of(guard: &Guard, prefix: &str) -> WhyView {
    guard.why(&net(prefix)).unwrap().read().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// The first so many addresses of 100.64.0.0/10.
pub(crate) fn addresses(count: u32) -> Vec<IpNet> {
    (0..count)
        .map(|number| IpAddr::from(Ipv4Addr::from_bits(0x6440_0000 + number)).into())
        .collect()
}

pub(crate) fn ban(prefix: &str) -> BanRequest {
    BanRequest {
        prefixes: vec![net(prefix)],
        seconds: None,
        scope: None,
        reason: None,
        force: false,
    }
}

pub(super) fn target(prefix: &str) -> Target {
    Target {
        prefix: net(prefix),
        port: None,
    }
}

fn reload(guard: &mut Guard, config: Config) -> Result<(), Failure> {
    let (tables, complaints) = signatures::compile(&config.signatures)?;
    guard.reload(config, tables, complaints)
}

/// A packet with the signature of this name, as the kernel reports it.
fn scan(source: &str, name: &str) -> Event {
    let (tables, _) = signatures::compile(&Config::default().signatures).unwrap();
    let slot = (0..)
        .find(|slot| tables.signature(*slot).is_some_and(|it| it.name == name))
        .unwrap();
    Event {
        at: BootTime::now(),
        source: source.parse().unwrap(),
        destination: "192.0.2.1".parse().unwrap(),
        source_port: 5060,
        destination_port: 5060,
        protocol: 17,
        verdict: Verdict::Drop,
        reason: Reason::Signature,
        signature: Some(SignatureHit {
            slot,
            generation: 1,
        }),
        count: 1,
        passed: 0,
        payload_len: 72,
        quote: None,
        sample: b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n"
            .to_vec(),
    }
}

#[test]
fn what_is_wrong_with_a_feed_keeps_nobody_from_guarding_and_stands_in_the_status() {
    let bench = Bench::new();
    let feeds = TempDir::new().unwrap();
    fs::write(feeds.path().join("web.toml"), "no signatures").unwrap();
    let mut config = Config::default();
    config.signatures.feeds_folder = Some(feeds.path().to_owned());
    let mut guard = bench.guard_with(config.clone());
    let [warning] = &guard.status().unwrap().warnings[..] else {
        panic!("one warning");
    };
    assert!(warning.contains("web.toml"), "{warning}");
    fs::remove_file(feeds.path().join("web.toml")).unwrap();
    reload(&mut guard, config).unwrap();
    assert!(guard.status().unwrap().warnings.is_empty());
}

/// Compiled beside the loop, of what is no longer so.
#[test]
fn signatures_that_are_older_than_those_in_force_are_not_taken() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let compiled = || signatures::compile(&Config::default().signatures).unwrap();
    let (_, before) = guard.to_compile();
    // The configuration is the same; a file that it names may be another one.
    reload(&mut guard, Config::default()).unwrap();
    let (tables, complaints) = compiled();
    assert!(!guard.take_signatures(before, tables, complaints).unwrap());
    let (_, now) = guard.to_compile();
    let (tables, complaints) = compiled();
    assert!(guard.take_signatures(now, tables, complaints).unwrap());
    let (tables, complaints) = compiled();
    assert!(!guard.take_signatures(now, tables, complaints).unwrap());
}

#[test]
fn what_guarded_before_and_holds_on_is_asked_again_until_it_lets_go() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let next = Double::default();
    next.state().is_attached = true;
    bench.shield.state().holds_on = true;
    let backend = guard.backend.clone();
    guard.change_shield(Box::new(next), backend).unwrap();
    let state = guard.enforcement().unwrap().state;
    assert_eq!(state, EnforcementState::Leaking);
    assert!(!bench.shield.state().is_detached);
    bench.shield.state().holds_on = false;
    guard.check_enforcement();
    assert!(bench.shield.state().is_detached);
}

fn turn(guard: &mut Guard) {
    guard.take_events(clock::now());
    guard.handle_timeout(clock::now());
    guard.carry_out();
    guard.write_ledger();
}

#[test]
fn a_connection_whose_beginning_no_tap_showed_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = Config::default();
    config.ports.sip_tls = vec![listener.local_addr().unwrap().port()];
    let bench = Bench::new();
    let mut guard = bench.guard_with(config);
    let phone = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let address = phone.local_addr().unwrap();
    let tls = LogTransport::Tls;
    assert_eq!(guard.connection(address, &[tls]), None);
    guard.look_at_machine();
    assert_eq!(guard.connection(address, &[tls]), Some(tls));
}

#[test]
fn an_event_becomes_a_ban_in_the_kernel_and_in_the_ledger_with_its_evidence() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    bench
        .shield
        .state()
        .events
        .push(scan("203.0.113.7", "sipvicious-friendly-scanner"));
    turn(&mut guard);
    assert_eq!(bench.enforced(), [net("203.0.113.7/32")]);
    assert_eq!(bench.written(), [net("203.0.113.7/32")]);
    let why = why_of(&guard, "203.0.113.7/32");
    assert!(why.banned);
    assert_eq!(why.alerts.len(), 1);
    let evidence: Vec<&str> = why.alerts[0]
        .evidence
        .iter()
        .map(|evidence| evidence.summary.as_str())
        .collect();
    assert_eq!(
        evidence,
        [
            "OPTIONS sip:100@192.0.2.1 SIP/2.0",
            "User-Agent: friendly-scanner"
        ]
    );
    assert_eq!(why.bans[0].dropped_packets, DROPPED);
}

#[test]
fn a_flood_that_the_kernel_counted_becomes_a_ban() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let event = |count, passed| Event {
        reason: Reason::Rate,
        signature: None,
        count,
        passed,
        ..scan("203.0.113.7", "sipvicious-friendly-scanner")
    };
    bench.shield.state().events.push(event(500, 700));
    turn(&mut guard);
    bench.shield.state().events.push(event(199, 0));
    turn(&mut guard);
    assert_eq!(bench.enforced(), []);
    bench.shield.state().events.push(event(2, 0));
    turn(&mut guard);
    assert_eq!(bench.enforced(), [net("203.0.113.7/32")]);
    let why = why_of(&guard, "203.0.113.7/32");
    assert_eq!(why.bans[0].detector.as_deref(), Some("rate-exceeded"));
}

/// The kernel's walk ends at the first.
#[test]
fn a_likely_signature_in_front_hides_no_certain_one() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let both = scan("203.0.113.7", "rfc3261-host-to");
    let one = Event {
        sample: b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nTo: <sip:bob@biloxi.com>\r\n\r\n".to_vec(),
        ..scan("203.0.113.8", "rfc3261-host-to")
    };
    bench.shield.state().events.extend([both, one]);
    turn(&mut guard);
    assert_eq!(bench.enforced(), [net("203.0.113.7/32")]);
    let bans = bans(&guard);
    let name = "sipvicious-friendly-scanner";
    assert_eq!(bans[0].signature.as_deref(), Some(name));
}

#[test]
fn what_a_signature_hits_is_counted_shown_and_remembered() {
    let name = "sipvicious-friendly-scanner";
    let bench = Bench::new();
    let mut guard = bench.guard();
    for (source, count) in [("203.0.113.7", 1), ("203.0.113.8", 4)] {
        let scan = Event {
            count,
            ..scan(source, name)
        };
        bench.shield.state().events.push(scan);
    }
    turn(&mut guard);
    let hits_of = |guard: &Guard| {
        let signatures = guard.status().unwrap().signatures.into_iter();
        signatures
            .map(|signature| (signature.name, signature.packets))
            .collect::<Vec<_>>()
    };
    assert_eq!(hits_of(&guard), [(name.to_owned(), 5)]);
    let bans = bans(&guard);
    assert_eq!(bans[0].signature_hits, Some(5));
    drop(guard);
    assert_eq!(hits_of(&bench.guard()), [(name.to_owned(), 5)]);
}

#[test]
fn an_import_bans_nobody_who_has_logged_in_nor_a_private_network() {
    let bench = Bench::new();
    let logged_in = Entry::Trust(Trusted {
        address: "198.51.100.7".parse().unwrap(),
        by: TrustedBy::Registration,
        username: Some("100".to_owned()),
        user_agent: None,
        since: clock::now(),
        last: clock::now(),
        until: clock::now() + Duration::from_secs(600_000),
    });
    bench.ledger().write(&[logged_in]).unwrap();
    let mut guard = bench.guard();
    let prefixes = ["198.51.100.0/24", "10.0.0.0/8", "203.0.113.7/32"];
    let bans = prefixes.map(|prefix| serde_json::json!({"prefix": prefix, "reason": "theirs"}));
    let request: ImportRequest =
        serde_json::from_value(serde_json::json!({ "bans": bans })).unwrap();
    let reply = guard.import(&request).unwrap();
    assert_eq!((reply.banned, reply.skipped.len()), (1, 2), "{reply:?}");
    assert_eq!(bench.enforced(), [net("203.0.113.7/32")]);
}

#[test]
fn an_event_of_unknown_signatures_is_counted_and_nothing_else() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let mut event = scan("203.0.113.7", "sipvicious-friendly-scanner");
    event.signature = Some(SignatureHit {
        slot: 0,
        generation: 99,
    });
    bench.shield.state().events.push(event);
    turn(&mut guard);
    assert_eq!(bench.enforced(), []);
    let sensor = guard.status().unwrap().sensors.kernel;
    assert_eq!((sensor.events, sensor.unmatched), (1, 1));
}

#[test]
fn events_of_the_signatures_before_the_last_reload_are_still_understood() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    reload(&mut guard, Config::default()).unwrap();
    bench
        .shield
        .state()
        .events
        .push(scan("203.0.113.7", "sipvicious-friendly-scanner"));
    turn(&mut guard);
    assert_eq!(bench.enforced(), [net("203.0.113.7/32")]);
}

#[test]
fn an_order_is_in_the_ledger_when_it_is_acknowledged() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    guard.ban(&ban("203.0.113.0/24")).unwrap();
    // Another connection sees what is committed only.
    assert_eq!(bench.written(), [net("203.0.113.0/24")]);
    guard
        .unban(&UnbanRequest::Prefixes(vec![net("203.0.113.0/24")]))
        .unwrap();
    assert_eq!((bench.written(), bench.enforced()), (vec![], vec![]));
}

#[test]
fn an_order_that_the_kernel_refuses_is_not_acknowledged() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    bench.shield.state().is_full = true;
    let error = guard.ban(&ban("203.0.113.0/24")).unwrap_err();
    assert!(error.text.contains("no room"), "{error}");
    assert_eq!(bans(&guard), []);
    assert_eq!(bench.written(), []);
}

#[test]
fn what_the_kernel_refuses_of_an_order_is_taken_back_and_the_rest_is_in_force() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    // One around the refused one and one within it.
    guard.ban(&ban("203.0.0.0/16")).unwrap();
    guard.ban(&ban("203.0.113.7/32")).unwrap();
    let before = bans(&guard);
    bench.shield.state().is_full = true;
    guard
        .ban(&BanRequest {
            prefixes: vec![net("203.0.113.0/24"), net("198.51.100.1/32")],
            ..ban("203.0.113.0/24")
        })
        .unwrap_err();
    assert_eq!(bans(&guard), before);
    assert_eq!(bench.written(), bench.enforced());
    bench.shield.state().is_full = false;
    let reply = guard.ban(&ban("203.0.113.0/24")).unwrap();
    assert_eq!(reply.banned, [net("203.0.113.0/24")]);
    turn(&mut guard);
    assert_eq!(bench.written(), bench.enforced());
    assert_eq!(bench.enforced().len(), 3);
}

#[test]
fn an_automatic_ban_that_the_kernel_refuses_is_taken_back() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    bench.shield.state().is_full = true;
    let event = scan("203.0.113.7", "sipvicious-friendly-scanner");
    bench.shield.state().events.push(event.clone());
    turn(&mut guard);
    assert_eq!(bans(&guard), []);
    assert_eq!(bench.written(), []);
}

/// A request is answered within ten seconds.
#[test]
fn a_ban_of_many_addresses_is_answered_in_time() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let prefixes = addresses(25_000);
    let begin = Instant::now();
    let reply = guard
        .ban(&BanRequest {
            prefixes: prefixes.clone(),
            ..ban("203.0.113.0/24")
        })
        .unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!(reply.banned, prefixes);
}

/// A source that is banned may be held as well; both end when they should.
#[test]
fn a_hold_neither_shortens_nor_ends_a_ban_of_the_same_source() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    guard
        .ban(&BanRequest {
            scope: Some(BanScope::Sip),
            ..ban("203.0.113.7/32")
        })
        .unwrap();
    let key = (target("203.0.113.7/32"), Scope::Sip);
    let held = |bench: &Bench| bench.shield.state().bans.get(&key).copied();
    let banned = held(&bench);
    let prefix = net("203.0.113.7/32");
    guard.decide(Command::Hold(Hold {
        prefix,
        until: clock::now() + Duration::from_secs(3),
    }));
    turn(&mut guard);
    assert_eq!(held(&bench), banned);
    guard.decide(Command::Release(prefix));
    turn(&mut guard);
    assert_eq!(held(&bench), banned);
    // Without a ban the hold is all there is.
    guard.unban(&UnbanRequest::All).unwrap();
    guard.decide(Command::Hold(Hold {
        prefix,
        until: clock::now() + Duration::from_secs(3),
    }));
    turn(&mut guard);
    assert!(held(&bench).is_some());
    guard.decide(Command::Release(prefix));
    turn(&mut guard);
    assert_eq!(held(&bench), None);
}

#[test]
fn a_bad_signature_file_on_reload_changes_nothing() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let file = bench.folder.path().join("own.toml");
    fs::write(&file, "[[signature]]\n").unwrap();
    let mut config = Config {
        mode: crate::config::GuardMode::Observe,
        ..Config::default()
    };
    config.signatures.files = vec![file];
    reload(&mut guard, config).unwrap_err();
    assert_eq!(
        bench.shield.state().policy.as_ref().unwrap().mode,
        Mode::Protect
    );
    assert_eq!(guard.config(), &Config::default());
}

#[test]
fn a_reload_that_the_kernel_refuses_leaves_the_running_configuration_in_force() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let in_force = |bench: &Bench| {
        let state = bench.shield.state();
        (
            state.policy.clone(),
            state.signatures.clone(),
            state.allowed.clone(),
        )
    };
    let before = in_force(&bench);
    let mut config = Config {
        mode: crate::config::GuardMode::Observe,
        ..Config::default()
    };
    config.signatures.profile = crate::config::Profile::Strict;
    config.allow.addresses = vec!["192.0.2.7".parse().unwrap()];
    bench.shield.state().has_no_allowlist = true;
    reload(&mut guard, config.clone()).unwrap_err();
    assert_eq!(in_force(&bench), before);
    assert_eq!(guard.config(), &Config::default());

    bench.shield.state().has_no_allowlist = false;
    reload(&mut guard, config.clone()).unwrap();
    assert_ne!(in_force(&bench), before);
    assert_eq!(guard.config(), &config);
}

#[test]
fn a_lost_interface_is_told() {
    let bench = Bench::new();
    bench.shield.state().is_attached = true;
    let guard = bench.guard();
    assert_eq!(
        guard.status().unwrap().enforcement.state,
        EnforcementState::Ok
    );
    bench.shield.state().is_attached = false;
    assert_eq!(
        guard.status().unwrap().enforcement.state,
        EnforcementState::Detached
    );
}

#[test]
fn a_million_addresses_are_one_prefix_and_history_is_told() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    guard.ban(&ban("100.64.0.0/12")).unwrap();
    guard.unban(&UnbanRequest::All).unwrap();
    let history = guard.past_bans().unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].ended_by.as_deref(), Some("lifted"));
    assert_eq!(history[0].dropped_packets, DROPPED);
}

#[test]
fn a_ban_says_what_the_allowlist_lets_through_of_it() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let forced = |prefix| BanRequest {
        force: true,
        ..ban(prefix)
    };
    guard
        .allow(
            &AllowRequest {
                prefixes: [
                    "192.0.2.7/32",
                    "192.0.2.128/25",
                    "198.51.100.0/24",
                    "2001:db8::/48",
                ]
                .map(net)
                .into(),
                ..AllowRequest::default()
            },
            Vec::new(),
        )
        .unwrap();
    for prefix in ["192.0.2.0/24", "198.51.100.9/32", "203.0.113.0/24"] {
        guard.ban(&forced(prefix)).unwrap();
    }
    let passing: Vec<Vec<IpNet>> = bans(&guard).into_iter().map(|ban| ban.allowed).collect();
    let parts = ["192.0.2.7/32", "192.0.2.128/25"].map(net).to_vec();
    assert_eq!(passing, [parts, vec![net("198.51.100.9/32")], vec![]]);
    assert!(why_of(&guard, "198.51.100.9/32").allowed);
}
